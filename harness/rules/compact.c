/* SPDX-License-Identifier: MIT
 *
 * Rules on compacting, and on what a heap is like when all is freed: the walk against the promise.
 */
#include "walk_seen.h"

/* The most bytes that one allocation could have from a free block that the walk shows. */
static size_t largest_free(const struct rig_walk *walk)
{
    size_t most = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        const bool back = rig_element_free(element) && (element->flags & RIG_WALK_FRONT) == 0;
        const size_t bytes = element->bytes + RIG_FREE_DATA_OFFSET;
        most = back && bytes > most ? bytes : most;
    }
    return most;
}

/* Of a document the bookkeeping of a free block may count or not. */
static bool told_about_right(size_t told, size_t largest)
{
    return told == 0
               ? largest == 0
               : told <= largest + RIG_BLOCK_HEADER_BYTES && told + RIG_FREE_DATA_OFFSET >= largest;
}

/* The walk shows nothing but what the new heap's walk did: each region one free block, and behind
 * it what is not committed. */
static bool as_at_first(const struct rig_seen *seen, const struct rig_heap *heap)
{
    const struct rig_walk *walk = seen->walk;
    size_t in_region = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        in_region = element->region ? 0 : in_region + 1;
        if (element->busy || in_region > 2 || (in_region == 2 && !element->uncommitted)) {
            return false;
        }
    }
    return heap->first_free == 0 || heap->block_peak == 0 ||
           (walk->count > 1 && walk->elements[1].address == heap->first_free);
}

void rig_rules_compact(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool end = step->phase == RIG_PHASE_END;
    const size_t told = end ? step->span_told : step->outcome.value;
    if (!rig_walk_whole(step->walk)) {
        return;
    }
    const struct rig_seen seen = rig_seen_of(judge, step);
    const size_t largest = largest_free(step->walk);
    const bool right = told_about_right(told, largest);
    const bool coalesces = (heap->flags & HEAP_DISABLE_COALESCE_ON_FREE) == 0;
    CLAUSE(D73, true, told == largest);
    CLAUSE(HCOMPACT_02, !coalesces && seen.free_count > 0, seen.apart);
    CLAUSE(HCOMPACT_10, heap->block_count > 0, rig_seen_all(&seen, judge, step));
    if (end) {
        CLAUSE(D73, step->span_asked > 0, step->span_had);
        /* Where a decommit is refused, ranges stay apart (D80). */
        CLAUSE(D71, heap->block_count == 0 && !rig_refused(step), as_at_first(&seen, heap));
        return;
    }
    CLAUSE(HCOMPACT_01, step->win32 && largest > 0, right);
    CLAUSE(HCOMPACT_05, step->win32 && told == 0,
           largest == 0 && step->outcome.error_after == NO_ERROR);
    CLAUSE(HCOMPACT_07, step->win32 && (step->flags & HEAP_NO_SERIALIZE) != 0, right);
    CLAUSE(HCOMPACT_08, step->win32 && rig_heap_win32(step), !step->outcome.raised && right);
    CLAUSE(RCOMPACT_01, !step->win32, right);
}
