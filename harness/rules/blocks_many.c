/* SPDX-License-Identifier: MIT
 *
 * Rules on several blocks at once. */
#include "blocks.h"

/* Blocks that the array shows; with an exception no count tells. */
static unsigned made(const struct rig_step *step)
{
    unsigned count = 0;
    while (count < step->many_count && step->many_after[count] != NULL &&
           step->many_after[count] != step->many_before[count]) {
        count++;
    }
    return count;
}

static bool rest_untouched(const struct rig_step *step, unsigned from)
{
    for (unsigned idx = from; idx < RIG_MANY_MAX; idx++) {
        if (step->many_after[idx] != step->many_before[idx]) {
            return false;
        }
    }
    return true;
}

static bool aligned(const struct rig_step *step, unsigned count)
{
    const size_t align = (step->heap_before.flags & 0x10000u) != 0 ? 16u : RIG_ALIGN_BYTES;
    for (unsigned idx = 0; idx < count; idx++) {
        if ((uintptr_t)step->many_after[idx] % align != 0) {
            return false;
        }
    }
    return true;
}

void rig_rules_multi_alloc(struct rig_judge *judge, const struct rig_step *step)
{
    const unsigned count = made(step);
    const bool raised = rig_raised_any(step);
    const bool all = count == step->many_count;
    const bool whole =
        aligned(step, count) && !step->sight.overlaps && step->sight.dirty_at == RIG_NO_OFFSET;
    CLAUSE(RMULTI_01, !raised,
           step->outcome.value == count && rest_untouched(step, count) && whole);
    CLAUSE(RMULTI_02, !all && rig_exceptions_on(step) && !step->outcome.routine_raised,
           rig_raised(step, STATUS_NO_MEMORY) || rig_raised(step, STATUS_BUFFER_TOO_SMALL));
    CLAUSE(D50, !raised,
           step->outcome.value == count && rest_untouched(step, count) && whole &&
               step->outcome.error_after ==
                   (all ? step->outcome.error_before : (DWORD)ERROR_NOT_ENOUGH_MEMORY));
    CLAUSE(D38, count > 0, aligned(step, count));
    CLAUSE(D42, count > 0 && step->sight.zero_asked && step->size_bytes > 0,
           step->sight.dirty_at == RIG_NO_OFFSET);
}

void rig_rules_multi_free(struct rig_judge *judge, const struct rig_step *step)
{
    const bool all = !rig_raised_any(step) && step->outcome.value == step->many_count;
    CLAUSE(RMULTI_03, true, all);
    CLAUSE(D50, true, all && rig_error_untouched(step));
}
