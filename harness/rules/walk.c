/* SPDX-License-Identifier: MIT
 *
 * Rules on walks, whole ones and those made step by step. */
#include "walk_seen.h"

/* ---- Clauses -------------------------------------------------------------------------------- */

static void rules_entries(struct rig_judge *judge, const struct rig_step *step,
                          const struct rig_seen *seen)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool busy = seen->busy_count > 0;
    const bool region = seen->region_count > 0;
    CLAUSE(PHE_01, busy, seen->busy_live);
    CLAUSE(PHE_02, seen->sized_count > 0, seen->busy_sizes);
    CLAUSE(PHE_03, busy && seen->large_count < seen->busy_count, seen->overheads);
    CLAUSE(PHE_04, region && seen->walk->count > seen->region_count, seen->indexed);
    CLAUSE(PHE_05, seen->walk->count > 0, seen->walk->elements[0].region);
    CLAUSE(PHE_06, seen->large_count > 0, seen->large_plain);
    CLAUSE(PHE_07, heap->block_count > 0, seen->busy_count == heap->block_count);
    CLAUSE(PHE_10, region, seen->region_first);
    CLAUSE(PHE_11, seen->uncommitted_count > 0, seen->uncommitted_inside);
    CLAUSE(PHE_12, seen->free_count > 0 && heap->block_count > 0, seen->free_empty);
    CLAUSE(PHE_13, region, seen->region_sums);
    CLAUSE(PHE_14, region && seen->uncommitted_count > 0, seen->uncommitted_sums);
    CLAUSE(PHE_15, region, seen->first_blocks);
    CLAUSE(PHE_16, region, seen->last_blocks);
    CLAUSE(PHE_18, region, seen->members);
    CLAUSE(HCREATE_22, region && heap->win32, seen->inside && seen->ascending);
}

static void rules_walk_win32(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_walk *walk = step->walk;
    CLAUSE(WALK_02, true, walk->count > 0);
    CLAUSE(WALK_04, true, walk->ended);
    CLAUSE(WALK_09, rig_heap_win32(step), !walk->raised && walk->count > 0);
    CLAUSE(LASTERR_06, true, walk->end_error == ERROR_NO_MORE_ITEMS);
    if (!rig_walk_whole(walk)) {
        return;
    }
    const struct rig_seen seen = rig_seen_of(judge, step);
    CLAUSE(WALK_01, walk->count > 0, seen.flags_known);
    CLAUSE(WALK_03, walk->count > 1,
           seen.ascending && seen.busy_count <= step->heap_before.block_count);
    CLAUSE(WALK_10, true, rig_seen_all(&seen, judge, step) && seen.inside);
    CLAUSE(CREATE_25, !step->heap_before.growable && !step->heap_before.win32,
           seen.region_bytes <= step->heap_before.reserve_bytes);
    CLAUSE(HCREATE_14, !step->heap_before.growable && step->heap_before.win32,
           seen.region_bytes <= step->heap_before.reserve_bytes);
    rules_entries(judge, step, &seen);
    CLAUSE(RWALK_01, step->twin_known, step->twin_same);
}

static bool is_ruled(const struct rig_seen *seen)
{
    return seen->busy_exact && seen->large_indexed && seen->adds_up && seen->region_base &&
           seen->region_indexes && seen->first_exact && seen->ascending && seen->inside &&
           seen->region_sums;
}

static void rules_walk_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    CLAUSE(RWALK_02, true, step->walk->end_status == STATUS_NO_MORE_ENTRIES);
    CLAUSE(D70, true, step->walk->end_untouched);
    if (!rig_walk_whole(step->walk)) {
        return;
    }
    const struct rig_seen seen = rig_seen_of(judge, step);
    CLAUSE(RWALK_03, true, seen.rtl_flags_known);
    CLAUSE(LFH_02, seen.front_count > 0, seen.front_small);
    CLAUSE(HCOMPACT_03, (heap->flags & HEAP_DISABLE_COALESCE_ON_FREE) == 0 && seen.free_count > 0,
           seen.apart);
    CLAUSE(HPARAM_02, seen.region_count > 1 && heap->segment_bytes == 0 && !heap->has_base,
           seen.later_regions);
    CLAUSE(D29, seen.region_count > 1, seen.later_regions);
    CLAUSE(D68, true, rig_seen_all(&seen, judge, step) && is_ruled(&seen));
    CLAUSE(D69, true, seen.rtl_flags_ruled && rig_error_untouched(step));
}

void rig_rules_walk(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->walk->cut) {
        return;
    }
    if (step->win32) {
        rules_walk_win32(judge, step);
    } else {
        rules_walk_rtl(judge, step);
    }
}

/* ---- One step of several walks -------------------------------------------------------------- */

void rig_rules_walk_step(struct rig_judge *judge, const struct rig_step *step)
{
    const bool found = rig_succeeded(step);
    const bool end = step->win32 ? !found && step->outcome.error_after == ERROR_NO_MORE_ITEMS
                                 : step->outcome.value == STATUS_NO_MORE_ENTRIES;
    const bool whole = !step->walk_stale;
    const struct rig_block *block = rig_model_find(judge, step->element.address);
    const bool live =
        !step->element.busy || (block != NULL && block->heap == step->heap_before.idx);
    CLAUSE(WALK_06, whole && step->walk_mixed,
           (found && live) || (end && step->walk_busy == step->heap_before.block_count));
    CLAUSE(WALK_05, step->win32 && !found && !end && !step->outcome.raised, rig_error_set(step));
    CLAUSE(LASTERR_03, step->win32 && !found && !step->outcome.raised, rig_error_set(step));
    CLAUSE(D70, !found, step->walk_untouched && !step->outcome.raised && (end || step->walk_stale));
}
