/* SPDX-License-Identifier: MIT
 *
 * What a walk shows of the memory behind blocks: the region that an allocation had made, and what
 * became of the pages of a block that was freed. Walks are asked for only where a heap took or
 * could give back memory. */
#include "exec_internal.h"

#include "program/size.h"

#define WALK_FRONT 0x8000u          /* flag of the front end's elements, in Rtl walks */
#define FREE_WATCHED_BYTES 0x10000u /* a block worth a look in a heap of usual thresholds */
#define FREE_OVERHEAD_BYTES 32u     /* of a free block: what its data leaves out (D68) */

/* A walk to its end, or NULL. A damaged heap is not walked beside its calls: that may report. */
static const struct rig_walk *walk_of(struct rig_exec *exec, const struct rig_step *step)
{
    if (exec->damaged[step->heap->idx]) {
        return NULL;
    }
    const struct rig_walk *walk = rig_walk_aside(exec, step->heap->handle);
    return walk != NULL && walk->ended && !walk->cut && !walk->raised ? walk : NULL;
}

static bool grew(const struct rig_step *step)
{
    return step->held_known && step->heap->growable &&
           step->held_after.reserved_bytes > step->held_before.reserved_bytes &&
           step->size_bytes <= step->heap->threshold_bytes;
}

/* The region under which the walk shows the block. */
static const struct rig_element *region_of(const struct rig_walk *walk, uintptr_t block)
{
    const struct rig_element *region = NULL;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (element->busy && element->address == block) {
            return region;
        }
        region = element->region && !element->busy ? element : region;
    }
    return NULL;
}

static size_t region_count(const struct rig_walk *walk)
{
    size_t count = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        count += walk->elements[idx].region && !walk->elements[idx].busy;
    }
    return count;
}

/* Numbers tell regions apart as long as none that was seen has gone: then this one is the newest.
 */
void rig_see_growth(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_walk *walk = grew(step) ? walk_of(exec, step) : NULL;
    const size_t count = walk == NULL ? 0 : region_count(walk);
    struct rig_heap *heap = step->heap;
    if (count < 2) {
        return;
    }
    const struct rig_element *region = region_of(walk, step->outcome.value);
    const size_t further = count - 1;
    const bool newest = further == heap->further_peak + 1 && region != NULL &&
                        region->region_idx == further && step->outcome.filter_runs == 0;
    if (newest && step->op != RIG_OP_MULTI_ALLOC) {
        step->growth = (struct rig_growth){
            .known = true,
            .further = further,
            .bytes = region->bytes,
            .committed_bytes = region->committed_bytes,
        };
    }
    heap->further_peak = further > heap->further_peak ? further : heap->further_peak;
}

bool rig_free_watched(const struct rig_exec *exec, const struct rig_step *step)
{
    const struct rig_heap *heap = step->heap;
    const size_t bytes = step->block_before.size_bytes;
    return exec->program != NULL && !exec->watch.on && step->phase == RIG_PHASE_PROGRAM &&
           exec->subject->holdings != NULL && !heap->has_base && bytes <= heap->threshold_bytes &&
           (bytes >= FREE_WATCHED_BYTES || heap->decommit_block_bytes != 0 ||
            heap->decommit_total_bytes != 0);
}

/* A free block of the back end, with what its data leaves out; of other elements 0. */
static size_t free_bytes(const struct rig_element *element)
{
    const bool is_free = !element->busy && !element->region && !element->uncommitted &&
                         (element->flags & WALK_FRONT) == 0;
    return is_free ? element->bytes + FREE_OVERHEAD_BYTES : 0;
}

void rig_see_freed(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_walk *walk = walk_of(exec, step);
    const uintptr_t from = step->block_before.address;
    const uintptr_t end = from + step->block_before.size_bytes;
    if (walk == NULL) {
        return;
    }
    step->freed.known = true;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        const size_t bytes = free_bytes(element);
        step->freed.total_bytes += bytes;
        if (element->address < end && element->address + element->bytes > from &&
            bytes > step->freed.bytes) {
            step->freed.bytes = bytes;
        }
    }
}

/* Only where pages were refused: else a failure has to have another cause. */
void rig_see_spare(struct rig_exec *exec, struct rig_step *step)
{
    const bool asked = step->outcome.refusals > 0 && step->outcome.filter_runs == 0 &&
                       step->outcome.reports == 0 && exec->subject->RtlWalkHeap != NULL &&
                       rig_may_look(exec);
    const struct rig_walk *walk = asked ? walk_of(exec, step) : NULL;
    if (walk == NULL) {
        return;
    }
    step->spare_known = true;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        const size_t bytes = free_bytes(element);
        step->spare_bytes = bytes > step->spare_bytes ? bytes : step->spare_bytes;
        if (element->uncommitted &&
            (step->range_bytes == 0 || element->bytes < step->range_bytes)) {
            step->range_bytes = element->bytes;
        }
    }
}
