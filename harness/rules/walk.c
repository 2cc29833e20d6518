/* SPDX-License-Identifier: MIT
 *
 * Rules on walks. A whole walk is looked at once, element by element against the model; what was
 * seen is then asked for by clause. */
#include "heaps.h"

#define LARGE_REGION_IDX 64u
#define SATURATED 255u
#define HEADER_BYTES 8u
#define FREE_DATA_OFFSET 24u /* of a free block's data from its start (D68) */
#define FRONT_MAX_BYTES 0x5000u /* about 16 KiB and no more */
#define WALK_FRONT 0x8000u
#define WALK_KINDS                                                                                 \
    (PROCESS_HEAP_REGION | PROCESS_HEAP_UNCOMMITTED_RANGE | PROCESS_HEAP_ENTRY_BUSY)

#ifdef NTH_STRESS
#define SEGMENT_BYTES 0x10000u
#else
#define SEGMENT_BYTES 0x100000u
#endif

/* What a walk showed: counts of elements, and whether each kind was as it must be. */
struct seen {
    const struct rig_walk *walk;
    size_t region_count;
    size_t region_bytes;   /* of all regions */
    size_t busy_count;
    size_t free_count;
    size_t uncommitted_count;
    size_t large_count;    /* busy, above the threshold */
    size_t sized_count;    /* busy, and more than no bytes asked for */
    size_t front_count;    /* busy, of the front end; Rtl walks only */
    uint64_t busy_sum;     /* one number for all busy addresses */
    /* No element was found that breaks: */
    bool flags_known;      /* its flags are those of one kind */
    bool rtl_flags_known;
    bool rtl_flags_ruled;
    bool busy_live;        /* busy: a live block of this heap starts there */
    bool busy_sizes;       /* busy: no smaller than asked for */
    bool busy_exact;       /* busy: as asked for */
    bool overheads;        /* a busy block has some */
    bool ascending;        /* it comes behind the one before, in a region */
    bool indexed;          /* it has its region's index */
    bool large_plain;      /* a large block is flagged as no region and lies in none */
    bool large_indexed;
    bool inside;           /* it lies in its region */
    bool uncommitted_inside;
    bool free_empty;       /* a free one holds no live block */
    bool apart;            /* two free ones of the back end are not neighbours */
    bool front_small;
    bool region_first;     /* a region starts where no other is */
    bool region_sums;      /* committed and uncommitted bytes are those of its elements */
    bool uncommitted_sums;
    bool first_blocks;
    bool first_exact;      /* but for the front end, whose chunk begins before its first block */
    bool last_blocks;
    bool members;
    bool adds_up;          /* D68: data and overhead are the whole region */
    bool region_base;      /* the first one is at the handle */
    bool region_indexes;   /* numbered from 0 on; what was released leaves a gap */
    bool later_regions;    /* D29 */
};

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
    return element->address - (element->busy ? HEADER_BYTES : FREE_DATA_OFFSET);
}

/* Where the data of a region's first block is, or would be if it were not free. */
static uintptr_t first_block_due(const struct rig_element *element)
{
    return element->uncommitted ? element->address : start_of(element) + HEADER_BYTES;
}

/* ---- One element ---------------------------------------------------------------------------- */

static void see_flags(struct seen *seen, const struct rig_element *element)
{
    const unsigned flags = element->flags;
    const unsigned kinds = flags & WALK_KINDS;
    const unsigned bare = flags & ~WALK_FRONT;
    const bool old = bare == 0x411u || bare == 0x100u;
    const bool ruled = bare == 0x4011u || bare == 0x1000u || bare == 0 || flags == RIG_WALK_REGION;
    seen->flags_known = seen->flags_known && (kinds & (kinds - 1)) == 0 && element->address != 0;
    seen->rtl_flags_known = seen->rtl_flags_known && (ruled || old);
    seen->rtl_flags_ruled = seen->rtl_flags_ruled && ruled;
    if (element->busy && (flags & WALK_FRONT) != 0) {
        seen->front_count++;
        seen->front_small = seen->front_small && element->bytes <= FRONT_MAX_BYTES;
    }
}

static void see_busy(struct seen *seen, const struct rig_judge *judge, const struct rig_step *step,
                     const struct rig_element *element, const struct region *region)
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

static void see_idle(struct seen *seen, const struct rig_judge *judge,
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
    if (last != NULL && rig_element_free(last) && (last->flags & WALK_FRONT) == 0 &&
        (element->flags & WALK_FRONT) == 0) {
        const uintptr_t end = last->address + last->bytes;
        seen->apart = seen->apart && start_of(element) > end + HEADER_BYTES;
    }
}

/* ---- One region ----------------------------------------------------------------------------- */

static void region_end(struct seen *seen, const struct region *region)
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
        seen->adds_up = seen->adds_up &&
                        element->overhead + region->elements_bytes == element->bytes;
    } else {
        seen->adds_up = seen->adds_up &&
                        element->overhead + region->elements_bytes <= element->bytes;
    }
}

static void region_begin(struct seen *seen, struct region *region, const struct rig_step *step,
                         const struct rig_element *element)
{
    const struct rig_element *before = region->element;
    region_end(seen, region);
    seen->region_first =
        seen->region_first && (before == NULL || element->address >= before->last_block ||
                               element->address < before->address) &&
        element->first_block > element->address;
    seen->region_base = seen->region_base && (before != NULL || element->address ==
                                                 (uintptr_t)step->heap_before.handle);
    seen->region_indexes =
        seen->region_indexes &&
        (before == NULL ? element->region_idx == 0
                        : element->region_idx > before->region_idx ||
                              element->region_idx == SATURATED);
    if (before != NULL) {
        const size_t due = step->heap_before.segment_bytes != 0 ? step->heap_before.segment_bytes
                                                                : SEGMENT_BYTES;
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

static void see_place(struct seen *seen, struct region *region, const struct rig_element *element)
{
    const struct rig_element *home = region->element;
    const uintptr_t end = element->address + element->bytes;
    const struct rig_element *last = region->last;
    const bool behind = last == NULL || element->address >= last->address + last->bytes;
    seen->ascending = seen->ascending && behind && (last == NULL || element->address > last->address);
    seen->indexed = seen->indexed && element->region_idx == home->region_idx;
    seen->inside = seen->inside && element->address >= home->address &&
                   end <= home->address + home->bytes;
    seen->last_blocks = seen->last_blocks && end <= home->last_block;
    seen->first_blocks = seen->first_blocks && (last != NULL || element->address >= home->first_block);
    seen->first_exact =
        seen->first_exact && (last != NULL || first_block_due(element) == home->first_block ||
                              (element->flags & WALK_FRONT) != 0);
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

static void see_walk(struct seen *seen, const struct rig_judge *judge, const struct rig_step *step)
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

static struct seen seen_of(const struct rig_judge *judge, const struct rig_step *step)
{
    struct seen seen = {
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

/* Every live block once and nothing else. */
static bool shows_all(const struct seen *seen, const struct rig_judge *judge,
                      const struct rig_step *step)
{
    return seen->busy_live && seen->busy_count == step->heap_before.block_count &&
           seen->busy_sum == live_sum(judge, &step->heap_before);
}

/* ---- Clauses -------------------------------------------------------------------------------- */

static void rules_entries(struct rig_judge *judge, const struct rig_step *step,
                          const struct seen *seen)
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
    const struct seen seen = seen_of(judge, step);
    CLAUSE(WALK_01, walk->count > 0, seen.flags_known);
    CLAUSE(WALK_03, walk->count > 1, seen.ascending && seen.busy_count <= step->heap_before.block_count);
    CLAUSE(WALK_10, true, shows_all(&seen, judge, step) && seen.inside);
    CLAUSE(CREATE_25, !step->heap_before.growable && !step->heap_before.win32,
           seen.region_bytes <= step->heap_before.reserve_bytes);
    CLAUSE(HCREATE_14, !step->heap_before.growable && step->heap_before.win32,
           seen.region_bytes <= step->heap_before.reserve_bytes);
    rules_entries(judge, step, &seen);
    CLAUSE(RWALK_01, step->twin_known, step->twin_same);
}

static bool is_ruled(const struct seen *seen)
{
    return seen->busy_exact && seen->large_indexed && seen->adds_up && seen->region_base &&
           seen->region_indexes && seen->first_exact && seen->ascending && seen->inside && seen->region_sums;
}

static void rules_walk_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    CLAUSE(RWALK_02, true, step->walk->end_status == STATUS_NO_MORE_ENTRIES);
    CLAUSE(D70, true, step->walk->end_untouched);
    if (!rig_walk_whole(step->walk)) {
        return;
    }
    const struct seen seen = seen_of(judge, step);
    CLAUSE(RWALK_03, true, seen.rtl_flags_known);
    CLAUSE(LFH_02, seen.front_count > 0, seen.front_small);
    CLAUSE(HCOMPACT_03, (heap->flags & HEAP_DISABLE_COALESCE_ON_FREE) == 0 && seen.free_count > 0,
           seen.apart);
    CLAUSE(HPARAM_02, seen.region_count > 1 && heap->segment_bytes == 0 && !heap->has_base,
           seen.later_regions);
    CLAUSE(D29, seen.region_count > 1, seen.later_regions);
    CLAUSE(D68, true, shows_all(&seen, judge, step) && is_ruled(&seen));
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
    const bool live = !step->element.busy || (block != NULL && block->heap == step->heap_before.idx);
    CLAUSE(WALK_06, whole && step->walk_mixed,
           (found && live) || (end && step->walk_busy == step->heap_before.block_count));
    CLAUSE(WALK_05, step->win32 && !found && !end && !step->outcome.raised, rig_error_set(step));
    CLAUSE(LASTERR_03, step->win32 && !found && !step->outcome.raised, rig_error_set(step));
    CLAUSE(D70, !found, step->walk_untouched && !step->outcome.raised &&
                            (end || step->walk_stale));
}

/* ---- Compacting ----------------------------------------------------------------------------- */

/* The most bytes that one allocation could have from a free block that the walk shows. */
static size_t largest_free(const struct rig_walk *walk)
{
    size_t most = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        const bool back = rig_element_free(element) && (element->flags & WALK_FRONT) == 0;
        const size_t bytes = element->bytes + FREE_DATA_OFFSET;
        most = back && bytes > most ? bytes : most;
    }
    return most;
}

/* Of a document the bookkeeping of a free block may count or not. */
static bool told_about_right(size_t told, size_t largest)
{
    return told == 0 ? largest == 0 : told <= largest + HEADER_BYTES &&
                                          told + FREE_DATA_OFFSET >= largest;
}

/* The walk shows nothing but what the new heap's walk did: each region one free block, and behind
 * it what is not committed. */
static bool as_at_first(const struct seen *seen, const struct rig_heap *heap)
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
    const struct seen seen = seen_of(judge, step);
    const size_t largest = largest_free(step->walk);
    const bool right = told_about_right(told, largest);
    const bool coalesces = (heap->flags & HEAP_DISABLE_COALESCE_ON_FREE) == 0;
    CLAUSE(D73, true, told == largest);
    CLAUSE(HCOMPACT_02, !coalesces && seen.free_count > 0, seen.apart);
    CLAUSE(HCOMPACT_10, heap->block_count > 0, shows_all(&seen, judge, step));
    if (end) {
        CLAUSE(D73, step->span_asked > 0, step->span_had);
        CLAUSE(D71, heap->block_count == 0, as_at_first(&seen, heap));
        return;
    }
    CLAUSE(HCOMPACT_01, step->win32 && largest > 0, right);
    CLAUSE(HCOMPACT_05, step->win32 && told == 0,
           largest == 0 && step->outcome.error_after == NO_ERROR);
    CLAUSE(HCOMPACT_07, step->win32 && (step->flags & HEAP_NO_SERIALIZE) != 0, right);
    CLAUSE(HCOMPACT_08, step->win32 && rig_heap_win32(step), !step->outcome.raised && right);
    CLAUSE(RCOMPACT_01, !step->win32, right);
}
