/* SPDX-License-Identifier: MIT
 *
 * Rules on freeing. */
#include "blocks.h"

static void rules_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const bool freed = rig_said_yes(step);
    const bool free_of_lock = (step->flags & HEAP_NO_SERIALIZE) != 0;
    CLAUSE(ALLOC_24, true, freed);
    CLAUSE(ALLOC_38, !step->heap_before.win32 && step->heap_before.idx != 0, freed);
    CLAUSE(RFREE_01, true, freed);
    CLAUSE(RFREE_02, !step->heap_before.win32 && step->heap_before.idx != 0, freed);
    CLAUSE(RFREE_03, rig_kept_out(step) && free_of_lock, freed && !step->outcome.blocked);
    CLAUSE(RFREE_04, true, freed && step->outcome.reports == 0);
    CLAUSE(RFREE_05, true, freed);
    CLAUSE(RFREE_06, true, step->outcome.value != 0);
    CLAUSE(RFREE_08, (step->heap_before.flags & HEAP_GENERATE_EXCEPTIONS) != 0,
           !rig_raised_any(step));
    CLAUSE(D47, true, !rig_raised_any(step) && step->outcome.value == 1);
}

static void rules_win32(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool freed = rig_said_yes(step);
    const bool by_heap = (heap->flags & HEAP_NO_SERIALIZE) != 0;
    const bool by_call = (step->flags & HEAP_NO_SERIALIZE) != 0;
    CLAUSE(HALLOC_18, true, freed);
    CLAUSE(HREALLOC_23, step->block_before.resized, freed);
    CLAUSE(HFREE_01, true, freed);
    CLAUSE(HFREE_02, rig_heap_win32(step), freed);
    CLAUSE(HFREE_03, rig_kept_out(step) && by_call, freed && !step->outcome.blocked);
    CLAUSE(HFREE_04, by_heap && by_call, freed);
    CLAUSE(HFREE_06, true, freed && step->outcome.reports == 0);
    CLAUSE(HFREE_08, true, step->outcome.value != 0);
    CLAUSE(HFREE_15, rig_kept_out(step) && !by_call, freed && step->outcome.blocked);
    CLAUSE(HFREE_18, rig_kept_out(step) && by_call, freed && !step->outcome.blocked);
    CLAUSE(HFREE_20, (by_heap || by_call) && judge->shadow->second_count == 0, freed);
    CLAUSE(HFREE_21, by_heap && heap->second_count == 0 && !step->second, freed);
    CLAUSE(HFREE_22, by_heap && (heap->second_count > 0 || step->second), freed);
    CLAUSE(HFREE_24, heap->idx == 0, freed);
    CLAUSE(HFREE_26, (step->flags & ~(ULONG)HEAP_NO_SERIALIZE) != 0, freed);
    CLAUSE(HFREE_27, !heap->win32 && heap->idx != 0, freed);
    CLAUSE(HFUNC_07, true, freed);
    CLAUSE(D9, freed, rig_error_untouched(step));
}

void rig_rules_free(struct rig_judge *judge, const struct rig_step *step)
{
    const bool odd = (step->flags & ~(ULONG)HEAP_NO_SERIALIZE) != 0;
    if (step->win32) {
        rules_win32(judge, step);
    } else {
        rules_rtl(judge, step);
        CLAUSE(D8, true, rig_error_untouched(step));
    }
    CLAUSE(D19, odd, rig_said_yes(step));
}

void rig_rules_free_null(struct rig_judge *judge, const struct rig_step *step)
{
    const bool harmless = !rig_raised_any(step) && step->outcome.reports == 0;
    if (step->win32) {
        CLAUSE(HFREE_07, true, harmless && rig_error_untouched(step));
    } else {
        CLAUSE(RFREE_07, true, harmless);
    }
    CLAUSE(D4, true, harmless && step->outcome.value == 1 && rig_error_untouched(step));
}

/* Blocks need not be freed before their heap is destroyed. */
void rig_rules_freed_by_destroy(struct rig_judge *judge, const struct rig_step *step)
{
    CLAUSE(RFREE_12, !step->win32 && step->heap_before.block_count > 0,
           !step->outcome.raised && step->outcome.value == 0);
}
