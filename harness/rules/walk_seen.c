/* SPDX-License-Identifier: MIT
 *
 * Looking at a walk: one pass over its elements, each against the model and its region. */
#include "walk_seen.h"

#define LARGE_REGION_IDX 64u
#define SATURATED 255u
#define FRONT_MAX_BYTES 0x5000u /* about 16 KiB and no more */
#define WALK_KINDS (PROCESS_HEAP_REGION | PROCESS_HEAP_UNCOMMITTED_RANGE | PROCESS_HEAP_ENTRY_BUSY)

#ifdef NTH_STRESS
#define SEGMENT_BYTES 0x10000u
#else
#define SEGMENT_BYTES 0x100000u
#endif

/* The region that is being walked. */
struct region {
    const struct rig_element *element;
    const struct rig_element *last; /* element before */
    size_t elements_bytes;          /* data and overhead */
    size_t uncommitted_bytes;
    bool saturated; /* some overhead is too large for its byte */
};

static uint64_t sum_of(uintptr_t address)
{
    const uint64_t mixed = (uint64_t)address * 0x9E3779B97F4A7C15u;
    return mixed ^ mixed >> 31;
}

/* Where its bytes start, the header included. */
static uintptr_t start_of(const struct rig_element *element)
{
    if (element->uncommitted || element->region) {
        return element->address;
    }
    return element->address - (element->busy ? RIG_BLOCK_HEADER_BYTES : RIG_FREE_DATA_OFFSET);
}

/* Where the data of a region's first block is, or would be if it were not free. A free slot of the
 * front end, which Win32 walks do not tell apart, has its data where a busy one has. */
static bool is_first_block(const struct rig_element *element, uintptr_t first)
{
    const uintptr_t due =
        element->uncommitted ? element->address : start_of(element) + RIG_BLOCK_HEADER_BYTES;
    return first == due || (rig_element_free(element) && first == element->address);
}

/* ---- One element ---------------------------------------------------------------------------- */

static void see_flags(struct rig_seen *seen, const struct rig_element *element)
{
    const unsigned flags = element->flags;
    const unsigned kinds = flags & WALK_KINDS;
    const unsigned bare = flags & ~RIG_WALK_FRONT;
    const bool old = bare == 0x411u || bare == 0x100u;
    const bool ruled = bare == (RIG_WALK_BUSY_MORE | RIG_WALK_BUSY) || bare == 0x1000u ||
                       bare == 0 || flags == RIG_WALK_REGION;
    seen->flags_known = seen->flags_known && (kinds & (kinds - 1)) == 0 && element->address != 0;
    seen->rtl_flags_known = seen->rtl_flags_known && (ruled || old);
    seen->rtl_flags_ruled = seen->rtl_flags_ruled && ruled;
    if (element->busy && (flags & RIG_WALK_FRONT) != 0) {
        seen->front_count++;
        seen->front_small = seen->front_small && element->bytes <= FRONT_MAX_BYTES;
    }
}

static void see_busy(struct rig_seen *seen, const struct rig_judge *judge,
                     const struct rig_step *step, const struct rig_element *element,
                     const struct region *region)
{
    const struct rig_heap *heap = &step->heap_before;
    const struct rig_block *block = rig_model_find(judge, element->address);
    seen->busy_count++;
    seen->busy_sum += sum_of(element->address);
    if (block == NULL || block->heap != heap->idx) {
        seen->busy_live = false;
        return;
    }
    const bool large = heap->growable && block->size_bytes > heap->threshold_bytes;
    seen->sized_count += block->size_bytes > 0;
    seen->large_count += large;
    seen->busy_sizes = seen->busy_sizes && element->bytes >= block->size_bytes;
    seen->busy_exact = seen->busy_exact && element->bytes == block->size_bytes;
    seen->overheads = seen->overheads && (large || element->overhead > 0);
    if (large) {
        const uintptr_t offset =
            region->element == NULL ? SIZE_MAX : element->address - region->element->address;
        seen->large_plain = seen->large_plain && !element->region &&
                            (region->element == NULL || offset >= region->element->bytes);
        seen->large_indexed = seen->large_indexed && element->region_idx == LARGE_REGION_IDX;
    }
}

static void see_idle(struct rig_seen *seen, const struct rig_judge *judge,
                     const struct rig_element *element, const struct region *region)
{
    if (element->uncommitted) {
        const uintptr_t end = element->address + element->bytes;
        seen->uncommitted_count++;
        seen->uncommitted_inside = seen->uncommitted_inside && region->element != NULL &&
                                   element->address >= region->element->address &&
                                   end <= region->element->last_block;
        return;
    }
    seen->free_count++;
    seen->free_empty =
        seen->free_empty && rig_model_touch(judge, element->address, element->bytes) == NULL;
    const struct rig_element *last = region->last;
    if (last != NULL && rig_element_free(last) && (last->flags & RIG_WALK_FRONT) == 0 &&
        (element->flags & RIG_WALK_FRONT) == 0) {
        const uintptr_t end = last->address + last->bytes;
        seen->apart = seen->apart && start_of(element) > end + RIG_BLOCK_HEADER_BYTES;
    }
}

/* ---- One region ----------------------------------------------------------------------------- */

static void region_end(struct rig_seen *seen, const struct region *region)
{
    const struct rig_element *element = region->element;
    if (element == NULL) {
        return;
    }
    const size_t uncommitted = element->uncommitted_bytes;
    const size_t committed = element->committed_bytes;
    const size_t all = element->bytes & UINT32_MAX;
    seen->region_sums = seen->region_sums && (committed == 0 || committed + uncommitted == all);
    seen->uncommitted_sums =
        seen->uncommitted_sums && (uncommitted == 0 || uncommitted >= region->uncommitted_bytes);
    if (!region->saturated) {
        seen->adds_up =
            seen->adds_up && element->overhead + region->elements_bytes == element->bytes;
    } else {
        seen->adds_up =
            seen->adds_up && element->overhead + region->elements_bytes <= element->bytes;
    }
}

static void region_begin(struct rig_seen *seen, struct region *region, const struct rig_step *step,
                         const struct rig_element *element)
{
    const struct rig_element *before = region->element;
    region_end(seen, region);
    seen->region_first = seen->region_first &&
                         (before == NULL || element->address >= before->last_block ||
                          element->address < before->address) &&
                         element->first_block > element->address;
    seen->region_base = seen->region_base &&
                        (before != NULL || element->address == (uintptr_t)step->heap_before.handle);
    seen->region_indexes =
        seen->region_indexes && (before == NULL ? element->region_idx == 0
                                                : element->region_idx > before->region_idx ||
                                                      element->region_idx == SATURATED);
    if (before != NULL) {
        const size_t due =
            step->heap_before.segment_bytes != 0 ? step->heap_before.segment_bytes : SEGMENT_BYTES;
        seen->later_regions = seen->later_regions && element->bytes >= due;
    }
    seen->first_blocks = seen->first_blocks && element->first_block > element->address &&
                         element->first_block <= element->last_block;
    seen->last_blocks = seen->last_blocks && element->last_block > element->address &&
                        element->last_block - element->address <= element->bytes;
    seen->members = seen->members && element->first_block < element->last_block;
    seen->region_count++;
    seen->region_bytes += element->bytes;
    *region = (struct region){.element = element, .saturated = element->overhead == SATURATED};
}

static void see_place(struct rig_seen *seen, struct region *region,
                      const struct rig_element *element)
{
    const struct rig_element *home = region->element;
    const uintptr_t end = element->address + element->bytes;
    const struct rig_element *last = region->last;
    const bool behind = last == NULL || element->address >= last->address + last->bytes;
    seen->ascending =
        seen->ascending && behind && (last == NULL || element->address > last->address);
    seen->indexed = seen->indexed && element->region_idx == home->region_idx;
    seen->inside =
        seen->inside && element->address >= home->address && end <= home->address + home->bytes;
    seen->last_blocks = seen->last_blocks && end <= home->last_block;
    seen->first_blocks =
        seen->first_blocks && (last != NULL || element->address >= home->first_block);
    seen->first_exact =
        seen->first_exact && (last != NULL || is_first_block(element, home->first_block));
    region->elements_bytes += element->bytes + element->overhead;
    region->uncommitted_bytes += element->uncommitted ? element->bytes : 0;
    region->saturated = region->saturated || element->overhead == SATURATED;
    region->last = element;
}

/* Large blocks come behind all regions: those above the threshold, and on other heaps whatever lies
 * outside the region before. */
static bool is_large(const struct rig_element *element, const struct region *region)
{
    const struct rig_element *home = region->element;
    return home == NULL || (element->busy && (element->address < home->address ||
                                              element->address - home->address >= home->bytes));
}

static void see_walk(struct rig_seen *seen, const struct rig_judge *judge,
                     const struct rig_step *step)
{
    struct region region = {0};
    for (size_t idx = 0; idx < seen->walk->count; idx++) {
        const struct rig_element *element = &seen->walk->elements[idx];
        see_flags(seen, element);
        if (element->region && !element->busy) {
            region_begin(seen, &region, step, element);
            continue;
        }
        if (element->busy) {
            see_busy(seen, judge, step, element, &region);
        } else {
            see_idle(seen, judge, element, &region);
        }
        if (!is_large(element, &region)) {
            see_place(seen, &region, element);
        }
    }
    region_end(seen, &region);
}

struct rig_seen rig_seen_of(const struct rig_judge *judge, const struct rig_step *step)
{
    struct rig_seen seen = {
        .walk = step->walk,
        .flags_known = true,
        .rtl_flags_known = true,
        .rtl_flags_ruled = true,
        .busy_live = true,
        .busy_sizes = true,
        .busy_exact = true,
        .overheads = true,
        .ascending = true,
        .indexed = true,
        .large_plain = true,
        .large_indexed = true,
        .inside = true,
        .uncommitted_inside = true,
        .free_empty = true,
        .apart = true,
        .front_small = true,
        .region_first = true,
        .region_sums = true,
        .uncommitted_sums = true,
        .first_blocks = true,
        .first_exact = true,
        .last_blocks = true,
        .members = true,
        .adds_up = true,
        .region_base = true,
        .region_indexes = true,
        .later_regions = true,
    };
    see_walk(&seen, judge, step);
    return seen;
}

/* One number for the addresses of all live blocks of the heap. */
static uint64_t live_sum(const struct rig_judge *judge, const struct rig_heap *heap)
{
    uint64_t sum = 0;
    struct rig_shadow *shadow = (struct rig_shadow *)(uintptr_t)judge->shadow;
    for (struct rig_block *block = rig_shadow_first(shadow); block != NULL;
         block = rig_shadow_next(block)) {
        sum += block->heap == heap->idx ? sum_of(block->address) : 0;
    }
    return sum;
}

bool rig_seen_all(const struct rig_seen *seen, const struct rig_judge *judge,
                  const struct rig_step *step)
{
    return seen->busy_live && seen->busy_count == step->heap_before.block_count &&
           seen->busy_sum == live_sum(judge, &step->heap_before);
}
