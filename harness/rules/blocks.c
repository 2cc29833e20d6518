/* SPDX-License-Identifier: MIT
 *
 * Rules on blocks, by operation. */
#include "blocks.h"

#include <string.h>

static bool reason_is(const struct rig_report *report, const char *reason)
{
    return report->reason != NULL && strcmp(report->reason, reason) == 0;
}

/* What holds of every operation on blocks. */
static void rules_any(struct rig_judge *judge, const struct rig_step *step)
{
    const bool allocates =
        step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC || step->op == RIG_OP_MULTI_ALLOC;
    const struct rig_outcome *outcome = &step->outcome;
    CLAUSE(D17, outcome->reentries > 0,
           outcome->reports == outcome->reentries && reason_is(&outcome->report, "REENTERED"));
    /* Seen from its other side: where nothing is corrupt, nothing is reported. */
    CLAUSE(D10, outcome->reentries == 0, outcome->reports == 0);
    CLAUSE(D2, !allocates, !rig_raised_any(step));
}

void rig_rules_blocks(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
        rules_any(judge, step);
        rig_rules_alloc(judge, step);
        rig_rules_user_made(judge, step);
        rig_rules_fail(judge, step);
        break;
    case RIG_OP_REALLOC:
        rules_any(judge, step);
        rig_rules_realloc(judge, step);
        rig_rules_user_resized(judge, step);
        rig_rules_fail(judge, step);
        break;
    case RIG_OP_MULTI_ALLOC:
        rules_any(judge, step);
        rig_rules_multi_alloc(judge, step);
        rig_rules_fail(judge, step);
        break;
    case RIG_OP_FREE:
        rules_any(judge, step);
        rig_rules_contents(judge, step);
        rig_rules_free(judge, step);
        break;
    case RIG_OP_FREE_NULL:
        rules_any(judge, step);
        rig_rules_free_null(judge, step);
        break;
    case RIG_OP_MULTI_FREE:
        rules_any(judge, step);
        rig_rules_multi_free(judge, step);
        break;
    case RIG_OP_DESTROY:
        rig_rules_freed_by_destroy(judge, step);
        break;
    case RIG_OP_SIZE:
        rules_any(judge, step);
        rig_rules_size(judge, step);
        break;
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_VALIDATE:
        rig_rules_validate(judge, step);
        break;
    case RIG_OP_DISOWN:
        rules_any(judge, step);
        rig_rules_disown(judge, step);
        break;
    case RIG_OP_CHECK:
        rig_rules_check(judge, step);
        break;
    case RIG_OP_READ:
    case RIG_OP_WRITE:
        rig_rules_contents(judge, step);
        break;
    case RIG_OP_SET_USER_VALUE:
        rules_any(judge, step);
        rig_rules_set_user_value(judge, step);
        break;
    case RIG_OP_GET_USER_INFO:
        rules_any(judge, step);
        rig_rules_get_user_info(judge, step);
        break;
    case RIG_OP_SET_USER_FLAGS:
        rules_any(judge, step);
        rig_rules_set_user_flags(judge, step);
        break;
    case RIG_OP_RAISE:
        rig_rules_raise(judge, step);
        break;
    case RIG_OP_ADD_VECTORED:
    case RIG_OP_REMOVE_VECTORED:
        rig_rules_vectored(judge, step);
        break;
    case RIG_OP_DOS_ERROR:
        rig_rules_dos_error(judge, step);
        break;
    case RIG_OP_SECTION_INIT:
    case RIG_OP_SECTION_ENTER:
    case RIG_OP_SECTION_TRY:
    case RIG_OP_SECTION_LEAVE:
    case RIG_OP_SECTION_DELETE:
        rig_rules_section(judge, step);
        break;
    default:
        break;
    }
}
