/* SPDX-License-Identifier: MIT
 *
 * Rules on blocks: allocating, reallocating, freeing, sizes, contents, user values. */
#include "facts.h"

/* ---- Allocating ---- */

static void rules_alloc(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const uintptr_t address = step->outcome.value;
    const size_t align = sizeof(void *) == 8 ? 16 : 8;
    const bool too_small = step->expect == RIG_EXPECT_TOO_SMALL;

    CLAUSE(ALLOC_02, !rig_failed(step), !step->sight.overlaps);
    CLAUSE(ALLOC_04, rig_failed(step) && !rig_exceptions_on(step), !step->outcome.raised);
    CLAUSE(ALLOC_08, rig_failed(step) && rig_exceptions_on(step),
           step->outcome.raised || rig_continued(step));
    CLAUSE(ALLOC_11, !rig_failed(step) && step->sight.zero_asked,
           step->sight.dirty_at == RIG_NO_OFFSET);
    CLAUSE(ALLOC_16, too_small && rig_exceptions_on(step),
           rig_raised(step, STATUS_BUFFER_TOO_SMALL) || rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(ALLOC_41, !rig_failed(step), address % align == 0);
    CLAUSE(ALLOC_43, rig_failed(step), rig_error_untouched(step));
    CLAUSE(D36, rig_failed(step) && step->expect == RIG_EXPECT_BLOCK && heap->growable, rig_refused(step));
    CLAUSE(D40, !rig_failed(step) && step->sight.size_known,
           step->sight.size_now == step->size_bytes);
}

void rig_rules_blocks(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
        rules_alloc(judge, step);
        break;
    default:
        break;
    }
}
