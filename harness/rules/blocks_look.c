/* SPDX-License-Identifier: MIT
 *
 * Rules on asking about a block, disowning it, and on contents. */
#include "blocks.h"

static bool whole(const struct rig_step *step)
{
    return step->sight.spoilt_at == RIG_NO_OFFSET;
}

void rig_rules_size(struct rig_judge *judge, const struct rig_step *step)
{
    const size_t bytes = step->block_before.size_bytes;
    const bool told = !step->outcome.raised && step->outcome.value != SIZE_MAX;
    const bool right = told && step->outcome.value == bytes;
    const bool by_call = (step->flags & HEAP_NO_SERIALIZE) != 0;
    if (step->win32) {
        CLAUSE(HSIZE_01, true, right);
        CLAUSE(HSIZE_03, true, rig_error_untouched(step));
        CLAUSE(HSIZE_04, true, told);
        CLAUSE(HSIZE_06, rig_heap_win32(step), told);
        CLAUSE(HSIZE_07, rig_kept_out(step) && by_call, right && !step->outcome.blocked);
        CLAUSE(HSIZE_09, rig_kept_out(step) && !by_call, right && step->outcome.blocked);
        CLAUSE(HALLOC_19, true, told);
        CLAUSE(HFUNC_07, true, told);
        CLAUSE(LASTERR_02, true, rig_error_untouched(step));
    } else {
        CLAUSE(RSIZE_01, true, right);
        CLAUSE(D48, true, right);
    }
    CLAUSE(D8, true, rig_error_untouched(step));
    CLAUSE(D19, (step->flags & ~(ULONG)HEAP_NO_SERIALIZE) != 0, right);
    CLAUSE(D40, true, right);
}

void rig_rules_validate(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->win32) {
        CLAUSE(HFUNC_07, step->op == RIG_OP_VALIDATE_BLOCK, rig_said_yes(step));
        CLAUSE(LASTERR_02, true, rig_error_untouched(step));
    }
    CLAUSE(D2, true, !rig_raised_any(step));
    CLAUSE(D8, true, rig_error_untouched(step));
}

void rig_rules_disown(struct rig_judge *judge, const struct rig_step *step)
{
    const size_t bytes = step->block_before.size_bytes;
    const bool success = !step->outcome.raised && step->outcome.value == STATUS_SUCCESS;
    const bool sized = !step->sight.size_known || step->sight.size_now == bytes;
    CLAUSE(DISOWN_04, true, success);
    CLAUSE(DISOWN_05, true, success);
    CLAUSE(DISOWN_06, true, success);
    CLAUSE(DISOWN_10, bytes > 0, success && whole(step) && sized && step->outcome.reports == 0);
    CLAUSE(DISOWN_11, step->sight.size_known, sized);
    CLAUSE(DISOWN_14, step->block_before.disowned, success);
    CLAUSE(DISOWN_19, bytes > 0, success && whole(step));
    CLAUSE(DISOWN_20, step->second, success);
    CLAUSE(D8, true, rig_error_untouched(step));
    CLAUSE(D78, true, success && step->outcome.reports == 0);
}

/* All blocks of a heap. */
void rig_rules_check(struct rig_judge *judge, const struct rig_step *step)
{
    const bool valid = step->blocks_valid == step->blocks_seen;
    CLAUSE(ALLOC_25, step->blocks_seen > 0, valid && step->spoilt_count == 0);
    CLAUSE(ALLOC_42, step->contents_seen > 0, step->spoilt_count == 0);
    CLAUSE(D46, step->blocks_seen > 0, valid && step->spoilt_count == 0);
}

/* A block before its operation. No call comes before this look in which a lie could be told, so it
 * does not count as exercise; the same clause is exercised by looks at all blocks. */
void rig_rules_contents(struct rig_judge *judge, const struct rig_step *step)
{
    CLAUSE(ALLOC_42, !whole(step), false);
    CLAUSE(D40, step->sight.size_known && step->sight.size_now != step->block_before.size_bytes,
           false);
}
