/* SPDX-License-Identifier: MIT
 *
 * Take, give and resize blocks of segments. Each operation has two halves: the first checks
 * everything that it will touch and may fail, the second only changes and cannot. Calls freelist,
 * region, report. */
#include "backend.h"

#include "freelist.h"
#include "report.h"

/* A stretch that is to become free, with what it merges with. */
struct span {
    struct nth_region *region;
    uint64_t first; /* offsets of the merged stretch */
    uint64_t end;
    uint64_t start;           /* where the stretch itself began, before merging */
    bool previous_stays_free; /* a free block before it that is not merged */
    bool merge_previous;
    bool merge_next;
    struct nth_block previous;
    struct nth_block next;
    /* Pages to decommit, none when equal, and whether the whole segment goes. */
    uint64_t page_first;
    uint64_t page_end;
    bool remove;
};

static bool merges(const struct nth_heap *heap)
{
    return !nth_heap_has(heap, HEAP_DISABLE_COALESCE_ON_FREE);
}

/* The size at a free block's end is not to be believed; known is only the block behind it, if any.
 */
static enum nth_status footer_broken(const struct nth_region *region, uint64_t end)
{
    const bool block = nth_tag_starts(*nth_tag_at(region, end), end);
    nth_note(NTH_CORRUPT_FREE_FOOTER,
             block ? nth_region_place(region, end + NTH_HEADER_BYTES) : NULL, "free.footer");
    return NTH_CORRUPT;
}

/* A free block of so many units, header and map say, as nth_block_peek would; but where the answer
 * is no, another thread's slot may be there, and change meanwhile. */
NTH_GLANCE static bool glance_free(const struct nth_heap *heap, const struct nth_region *region,
                                   uint64_t offset, uint64_t units)
{
    const uint8_t tag = *(const volatile uint8_t *)nth_tag_at(region, offset);
    uint64_t value = 0;
    return nth_tag_starts(tag, offset) && (tag & NTH_TAG_BUSY) == 0 &&
           nth_word_open(nth_inband_glance(region, offset), nth_block_pad(heap, region, offset),
                         &value) &&
           (value & NTH_HEADER_STATE) == NTH_BLOCK_FREE &&
           ((value >> NTH_HEADER_GENERATION_SHIFT) & 0xFu) == (tag & NTH_TAG_GENERATION) &&
           value >> NTH_HEADER_BODY_SHIFT == units;
}

/* The map says that no free block ends at `end`. It is wrong when the word there is a free block's
 * size, and that block's header agrees: an application cannot write such a word by accident. */
static enum nth_status previous_busy(struct nth_heap *heap, struct nth_region *region, uint64_t end)
{
    uint64_t units = 0;
    const uint64_t place = end - NTH_FREE_FOOTER_BACK;
    if (end <= NTH_SEGMENT_FIRST ||
        !nth_word_open(nth_inband_glance(region, place), nth_block_pad(heap, region, place),
                       &units) ||
        units > (end - NTH_SEGMENT_FIRST) / NTH_UNIT_BYTES ||
        !glance_free(heap, region, end - units * NTH_UNIT_BYTES, units)) {
        return NTH_OK;
    }
    nth_note(NTH_CORRUPT_BLOCK_MAP,
             nth_region_place(region, end - units * NTH_UNIT_BYTES + NTH_HEADER_BYTES),
             "block.tag");
    return NTH_CORRUPT;
}

/* The free block that ends at `end`, where the map says that there is one. */
static enum nth_status previous_free(struct nth_heap *heap, struct nth_region *region, uint64_t end,
                                     bool *present, struct nth_block *block)
{
    uint64_t units = 0;
    *present = (*nth_tag_at(region, end) & NTH_TAG_PREVIOUS_FREE) != 0;
    if (!*present) {
        return previous_busy(heap, region, end);
    }
    if (!nth_inband_open(heap, region, end - NTH_FREE_FOOTER_BACK, &units) ||
        units > (end - NTH_SEGMENT_FIRST) / NTH_UNIT_BYTES) {
        return footer_broken(region, end);
    }
    enum nth_status status = nth_block_read(heap, region, end - units * NTH_UNIT_BYTES, block);
    if (status == NTH_OK && (block->state != NTH_BLOCK_FREE || block->units != units)) {
        return footer_broken(region, end);
    }
    return status == NTH_OK ? nth_freelist_check(heap, block) : status;
}

/* The block behind `end`, when it is free. */
static enum nth_status next_free(struct nth_heap *heap, struct nth_region *region, uint64_t end,
                                 bool *present, struct nth_block *block)
{
    enum nth_status status = nth_block_next(heap, region, end, present);
    if (status != NTH_OK || !*present) {
        return status;
    }
    status = nth_block_read(heap, region, end, block);
    *present = status == NTH_OK && block->state == NTH_BLOCK_FREE;
    return *present ? nth_freelist_check(heap, block) : status;
}

/* First page to decommit: what stays before it is a whole free block, or nothing. A span that
 * begins behind an uncommitted page goes from its very first page. */
static uint64_t decommit_from(const struct span *span, bool *damaged)
{
    const uint64_t before = span->first - NTH_BORDER_BYTES;
    if (before % NTH_PAGE_BYTES == 0 &&
        !nth_page_committed(span->region, before / NTH_PAGE_BYTES - 1, damaged)) {
        return before / NTH_PAGE_BYTES;
    }
    uint64_t page = nth_round_up((size_t)(span->first + NTH_BORDER_BYTES), NTH_PAGE_BYTES);
    const uint64_t left = page - NTH_BORDER_BYTES - span->first;
    if (left != 0 && left < NTH_BLOCK_MIN_BYTES) {
        page += NTH_PAGE_BYTES;
    }
    return page / NTH_PAGE_BYTES;
}

static uint64_t decommit_to(const struct span *span, bool at_border)
{
    if (at_border) {
        return (span->end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
    }
    uint64_t page = nth_round_down((size_t)(span->end - NTH_BORDER_BYTES), NTH_PAGE_BYTES);
    const uint64_t right = span->end - page - NTH_BORDER_BYTES;
    if (right != 0 && right < NTH_BLOCK_MIN_BYTES) {
        page -= NTH_PAGE_BYTES;
    }
    return page / NTH_PAGE_BYTES;
}

/* The map of committed pages, which is whole, agrees that all of [first, last) are. */
static bool pages_committed(const struct nth_region *region, uint64_t first, uint64_t last,
                            bool *damaged)
{
    return nth_page_map_holds(region) && nth_page_committed(region, first, damaged) &&
           nth_page_run(region, first, damaged) >= last && !*damaged;
}

/* What of the merged span goes back to the system, by the heap's thresholds. */
static enum nth_status plan_decommit(struct nth_heap *heap, struct span *span)
{
    const uint64_t bytes = span->end - span->first;
    const uint64_t merged = (span->merge_previous ? span->previous.units : 0) +
                            (span->merge_next ? span->next.units : 0);
    const uint64_t total = (heap->state.free_units - merged) * NTH_UNIT_BYTES + bytes;
    bool present = false;
    bool damaged = false;
    if (!nth_region_holds(span->region)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return NTH_CORRUPT;
    }
    if (span->region->foreign || /* as it is where a CommitRoutine gives the pages */
        bytes < heap->config.decommit_block_bytes || total <= heap->config.decommit_total_bytes) {
        return NTH_OK;
    }
    const enum nth_status status = nth_block_next(heap, span->region, span->end, &present);
    if (status != NTH_OK) {
        return status;
    }
    const uint64_t page = (span->end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
    const bool to_end = !present && (page == span->region->bytes / NTH_PAGE_BYTES ||
                                     nth_page_run(span->region, page, &damaged) ==
                                         span->region->bytes / NTH_PAGE_BYTES);
    span->remove =
        to_end && span->first == NTH_SEGMENT_FIRST && nth_region_number(span->region) != 0;
    const uint64_t from = decommit_from(span, &damaged);
    const uint64_t to = decommit_to(span, !present);
    if (from < to) {
        span->page_first = from;
        span->page_end = to;
        damaged = damaged || !pages_committed(span->region, from, to, &damaged);
    }
    if (damaged) {
        nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
    }
    return damaged ? NTH_CORRUPT : NTH_OK;
}

static enum nth_status ready_for(struct nth_heap *heap, uint64_t first, uint64_t end)
{
    return end - first < NTH_BLOCK_MIN_BYTES
               ? NTH_OK
               : nth_freelist_ready(heap, (end - first) / NTH_UNIT_BYTES);
}

/* First half of freeing [first, end), of a span that says no more yet: look at both neighbours, the
 * lists, the pages. */
static enum nth_status span_check(struct nth_heap *heap, struct span *span)
{
    enum nth_status status = NTH_OK;
    span->start = span->first;
    if (span->merge_previous) {
        status =
            previous_free(heap, span->region, span->first, &span->merge_previous, &span->previous);
    }
    if (status == NTH_OK) {
        status = next_free(heap, span->region, span->end, &span->merge_next, &span->next);
    }
    if (!merges(heap)) {
        span->previous_stays_free = span->merge_previous;
        span->merge_previous = false;
        span->merge_next = false;
    }
    if (status == NTH_OK) {
        span->first = span->merge_previous ? span->previous.offset : span->first;
        span->end += span->merge_next ? nth_block_bytes(&span->next) : 0;
        status = plan_decommit(heap, span);
    }
    if (status == NTH_OK) {
        status = ready_for(heap, span->first, span->end);
    }
    if (status == NTH_OK && span->page_first < span->page_end) {
        const uint64_t left = span->page_first * NTH_PAGE_BYTES - NTH_BORDER_BYTES;
        const uint64_t right = span->page_end * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
        status = left > span->first ? ready_for(heap, span->first, left) : NTH_OK;
        status = status == NTH_OK && right < span->end ? ready_for(heap, right, span->end) : status;
    }
    return status;
}

static void link_span(struct nth_heap *heap, struct nth_region *region, uint64_t first,
                      uint64_t end)
{
    const struct nth_block block = {.region = region,
                                    .offset = first,
                                    .state = NTH_BLOCK_FREE,
                                    .units = (end - first) / NTH_UNIT_BYTES};
    nth_freelist_link(heap, &block);
}

/* A refused decommit changes nothing but that the pages stay: nobody needs to know. */
static bool span_decommit(struct nth_heap *heap, struct span *span)
{
    if (span->page_first >= span->page_end ||
        nth_segment_decommit(heap, span->region, span->page_first, span->page_end) != NTH_OK) {
        return false;
    }
    const uint64_t left = span->page_first * NTH_PAGE_BYTES - NTH_BORDER_BYTES;
    const uint64_t right = span->page_end * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
    nth_tag_previous_free(span->region, left, left == span->first && span->previous_stays_free);
    nth_tag_previous_free(span->region, span->end, false);
    if (left > span->first) {
        link_span(heap, span->region, span->first, left);
    }
    if (right < span->end) {
        link_span(heap, span->region, right, span->end);
    }
    return true;
}

/* Second half: everything was checked. */
static void span_free(struct nth_heap *heap, struct span *span)
{
    const bool keep = span->previous_stays_free;
    nth_block_erase(span->region, span->start);
    nth_tag_previous_free(span->region, span->start, keep);
    if (span->merge_previous) {
        nth_freelist_unlink(heap, &span->previous);
        nth_block_erase(span->region, span->previous.offset);
    }
    if (span->merge_next) {
        nth_freelist_unlink(heap, &span->next);
        nth_block_erase(span->region, span->next.offset);
    }
    if (span->remove) {
        nth_segment_remove(heap, span->region);
    } else if (!span_decommit(heap, span)) {
        link_span(heap, span->region, span->first, span->end);
    }
}

void nth_backend_found(struct nth_heap *heap, struct nth_region *region, uint64_t committed_bytes)
{
    link_span(heap, region, NTH_SEGMENT_FIRST, committed_bytes - NTH_BORDER_BYTES);
}

/* A run of uncommitted pages, and the free blocks on both sides of it. */
struct run {
    struct nth_region *region;
    uint64_t page_first;
    uint64_t page_end;
    bool lead_present;
    bool tail_present;
    struct nth_block lead;
    struct nth_block tail;
    uint64_t start;    /* offset where a block over the run would start */
    uint64_t full_end; /* and end, were all of the run committed */
};

static enum nth_status run_look(struct nth_heap *heap, struct run *run)
{
    const uint64_t border = run->page_first * NTH_PAGE_BYTES - NTH_BORDER_BYTES;
    const uint64_t behind = run->page_end * NTH_PAGE_BYTES;
    enum nth_status status =
        previous_free(heap, run->region, border, &run->lead_present, &run->lead);
    run->tail_present = false;
    run->start = run->lead_present ? run->lead.offset : border;
    run->full_end = behind - NTH_BORDER_BYTES;
    if (status == NTH_OK && behind < run->region->bytes) {
        run->full_end = behind + NTH_BORDER_BYTES;
        status = nth_block_read(heap, run->region, run->full_end, &run->tail);
        run->tail_present = status == NTH_OK && run->tail.state == NTH_BLOCK_FREE;
        if (run->tail_present) {
            status = nth_freelist_check(heap, &run->tail);
            run->full_end += nth_block_bytes(&run->tail);
        }
    }
    return status;
}

/* Pages to commit so that `bytes` fit; 0 when they do not. */
static uint64_t run_pages(const struct run *run, uint64_t bytes)
{
    const uint64_t border = run->page_first * NTH_PAGE_BYTES - NTH_BORDER_BYTES;
    const uint64_t lead = border - run->start;
    const uint64_t more = bytes > lead ? bytes - lead : 1;
    const uint64_t pages = nth_round_up((size_t)more, NTH_PAGE_BYTES) / NTH_PAGE_BYTES;
    if (pages < run->page_end - run->page_first) {
        return pages;
    }
    return run->full_end - run->start >= bytes ? run->page_end - run->page_first : 0;
}

/* Commit more than asked for, in proportion to what is committed. */
static uint64_t generous(const struct nth_heap *heap, const struct run *run, uint64_t pages)
{
    uint64_t step = heap->state.committed_bytes / NTH_PAGE_BYTES / NTH_GROW_SHARE;
    const uint64_t least = heap->config.segment_commit_bytes / NTH_PAGE_BYTES;
    step = step > NTH_GROW_MAX_PAGES ? NTH_GROW_MAX_PAGES : step;
    step = step < least ? least : step;
    const uint64_t most = run->page_end - run->page_first;
    return pages > step ? pages : (step > most ? most : step);
}

static enum nth_status run_commit(struct nth_heap *heap, struct run *run, uint64_t bytes)
{
    const uint64_t least = run_pages(run, bytes);
    enum nth_status status = nth_freelist_ready_all(heap);
    if (status != NTH_OK) {
        return status;
    }
    uint64_t last = run->page_first + generous(heap, run, least);
    status = nth_segment_commit(heap, run->region, run->page_first, &last);
    if (status == NTH_NO_MEMORY && last > run->page_first + least && !nth_self.call->thrown) {
        last = run->page_first + least; /* generosity refused: what is needed may still be had */
        status = nth_segment_commit(heap, run->region, run->page_first, &last);
    }
    if (status != NTH_OK) {
        return status;
    }
    const bool all = last == run->page_end;
    nth_block_erase(run->region, run->page_first * NTH_PAGE_BYTES - NTH_BORDER_BYTES);
    if (run->lead_present) { /* its start stays, and with it what the map says of the block before
                              */
        nth_freelist_unlink(heap, &run->lead);
    }
    if (all && run->tail_present) {
        nth_freelist_unlink(heap, &run->tail);
        nth_block_erase(run->region, run->tail.offset);
    }
    link_span(heap, run->region, run->start,
              all ? run->full_end : last * NTH_PAGE_BYTES - NTH_BORDER_BYTES);
    return NTH_OK;
}

/* The first run of uncommitted pages of a segment where `bytes` fit. */
static enum nth_status segment_grow(struct nth_heap *heap, struct nth_region *region,
                                    uint64_t bytes)
{
    const uint64_t count = region->bytes / NTH_PAGE_BYTES;
    bool damaged = false;
    for (uint64_t page = 0; page < count && region->committed_pages < count;) {
        struct run run = {.region = region, .page_first = page};
        const bool committed = nth_page_committed(region, page, &damaged);
        page = nth_page_run(region, page, &damaged);
        if (damaged || (run.page_first == 0 && !committed)) {
            nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
            return NTH_CORRUPT;
        }
        run.page_end = page;
        if (committed) {
            continue;
        }
        const enum nth_status status = run_look(heap, &run);
        if (status != NTH_OK) {
            return status;
        }
        if (run_pages(&run, bytes) != 0) {
            return run_commit(heap, &run, bytes);
        }
    }
    return NTH_ABSENT;
}

/* More free memory, enough for a block of `bytes`. Newest segments first: they have room. */
static enum nth_status grow(struct nth_heap *heap, uint64_t bytes)
{
    for (uint64_t number = heap->state.segment_count; number-- > 0;) {
        struct nth_region *region = nth_segment_at(heap, number);
        if (nth_noted()) {
            return NTH_CORRUPT;
        }
        const enum nth_status status =
            region == NULL ? NTH_ABSENT : segment_grow(heap, region, bytes);
        if (status != NTH_ABSENT) {
            return status;
        }
    }
    if (!nth_heap_has(heap, HEAP_GROWABLE)) {
        return NTH_NO_MEMORY;
    }
    struct nth_region *region = NULL;
    enum nth_status status = nth_freelist_ready_all(heap);
    status = status == NTH_OK ? nth_segment_add(heap, bytes, &region) : status;
    if (status == NTH_OK) {
        nth_backend_found(heap, region, region->committed_pages * NTH_PAGE_BYTES);
    }
    return status;
}

/* Cut `units` from the front of a free stretch [offset, end) that is on no list. */
static void carve(struct nth_heap *heap, struct nth_block *block, uint64_t units, uint64_t end)
{
    const uint64_t used = block->offset + units * NTH_UNIT_BYTES;
    block->units = units;
    if (end - used >= NTH_BLOCK_MIN_BYTES) {
        link_span(heap, block->region, used, end);
    } else {
        block->units = (end - block->offset) / NTH_UNIT_BYTES;
        nth_tag_previous_free(block->region, end, false);
    }
}

enum nth_status nth_backend_take(struct nth_heap *heap, uint64_t units, struct nth_block *block)
{
    struct nth_block found;
    bool present = false;
    enum nth_status status = nth_freelist_find(heap, units, &found);
    if (status == NTH_ABSENT) {
        status = grow(heap, units * NTH_UNIT_BYTES);
        status = status == NTH_OK ? nth_freelist_find(heap, units, &found) : status;
    }
    if (status == NTH_ABSENT || status == NTH_NO_MEMORY) {
        return nth_freelist_none(heap, units);
    }
    if (status != NTH_OK) {
        return status;
    }
    const uint64_t end = found.offset + nth_block_bytes(&found);
    status = nth_block_next(heap, found.region, end, &present);
    status =
        status == NTH_OK ? ready_for(heap, found.offset + units * NTH_UNIT_BYTES, end) : status;
    if (status != NTH_OK) {
        return status;
    }
    nth_freelist_unlink(heap, &found);
    block->region = found.region;
    block->offset = found.offset;
    carve(heap, block, units, end);
    block->slack += (uint32_t)((block->units - units) * NTH_UNIT_BYTES);
    nth_block_write(heap, block);
    heap->state.busy_units += block->units;
    heap->state.busy_count++;
    return NTH_OK;
}

static struct span span_of(const struct nth_block *block)
{
    return (struct span){.region = block->region,
                         .first = block->offset,
                         .end = block->offset + nth_block_bytes(block),
                         .merge_previous = true};
}

enum nth_status nth_backend_give_check(struct nth_heap *heap, const struct nth_block *block)
{
    struct span span = span_of(block);
    return span_check(heap, &span);
}

enum nth_status nth_backend_give_after(struct nth_heap *heap, const struct nth_block *block,
                                       void (*between)(struct nth_heap *heap, const void *context),
                                       const void *context)
{
    struct span span = span_of(block);
    const enum nth_status status = span_check(heap, &span);
    if (status != NTH_OK) {
        return status;
    }
    if (between != NULL) {
        between(heap, context);
    }
    nth_block_take_back(block->region, block->offset, nth_block_bytes(block));
    heap->state.busy_units -= block->units;
    heap->state.busy_count--;
    span_free(heap, &span);
    return NTH_OK;
}

enum nth_status nth_backend_give(struct nth_heap *heap, const struct nth_block *block)
{
    return nth_backend_give_after(heap, block, NULL, NULL);
}

static enum nth_status shrink(struct nth_heap *heap, struct nth_block *block, uint64_t units)
{
    const uint64_t rest = (block->units - units) * NTH_UNIT_BYTES;
    const uint64_t end = block->offset + nth_block_bytes(block);
    if (rest < NTH_BLOCK_MIN_BYTES) {
        return NTH_OK;
    }
    struct span span = {.region = block->region, .first = end - rest, .end = end};
    const enum nth_status status = span_check(heap, &span);
    if (status != NTH_OK) {
        return status;
    }
    nth_block_take_back(block->region, end - rest, rest);
    span_free(heap, &span);
    heap->state.busy_units -= block->units - units;
    block->units = units;
    return NTH_OK;
}

/* Commit pages right behind `end`, so that `bytes` more can be had there. */
static enum nth_status grow_behind(struct nth_heap *heap, struct nth_region *region, uint64_t end,
                                   uint64_t bytes)
{
    const uint64_t page = (end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
    struct run run = {.region = region, .page_first = page};
    bool present = false;
    bool damaged = false;
    enum nth_status status = nth_block_next(heap, region, end, &present);
    if (status != NTH_OK || present || page == region->bytes / NTH_PAGE_BYTES) {
        return status == NTH_OK ? NTH_ABSENT : status;
    }
    run.page_end = nth_page_run(region, page, &damaged);
    if (damaged) {
        nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
        return NTH_CORRUPT;
    }
    status = run_look(heap, &run);
    if (status == NTH_OK) {
        status = run_pages(&run, bytes) == 0 ? NTH_ABSENT : run_commit(heap, &run, bytes);
    }
    return status;
}

static enum nth_status enlarge(struct nth_heap *heap, struct nth_block *block, uint64_t units)
{
    const uint64_t end = block->offset + nth_block_bytes(block);
    const uint64_t more = (units - block->units) * NTH_UNIT_BYTES;
    struct nth_block next;
    bool present = false;
    enum nth_status status = next_free(heap, block->region, end, &present, &next);
    if (status == NTH_OK && (!present || nth_block_bytes(&next) < more)) {
        status =
            grow_behind(heap, block->region, present ? end + nth_block_bytes(&next) : end, more);
        status = status == NTH_OK ? next_free(heap, block->region, end, &present, &next) : status;
    }
    if (status != NTH_OK || !present || nth_block_bytes(&next) < more) {
        return status == NTH_OK ? NTH_ABSENT : status;
    }
    const uint64_t limit = end + nth_block_bytes(&next);
    status = ready_for(heap, end + more, limit);
    if (status != NTH_OK) {
        return status;
    }
    const uint64_t before = block->units;
    nth_freelist_unlink(heap, &next);
    nth_block_erase(block->region, next.offset);
    carve(heap, block, units, limit);
    heap->state.busy_units += block->units - before;
    return NTH_OK;
}

enum nth_status nth_backend_resize(struct nth_heap *heap, struct nth_block *block, uint64_t units)
{
    return units <= block->units ? shrink(heap, block, units) : enlarge(heap, block, units);
}

/* A free block between two uncommitted ranges: its pages join them. */
static enum nth_status sink_island(struct nth_heap *heap, const struct nth_block *block)
{
    const uint64_t end = block->offset + nth_block_bytes(block);
    const uint64_t before = block->offset - NTH_BORDER_BYTES;
    bool present = false;
    bool damaged = false;
    enum nth_status status = nth_block_next(heap, block->region, end, &present);
    if (status != NTH_OK || present || before % NTH_PAGE_BYTES != 0 || block->region->foreign ||
        nth_page_committed(block->region, before / NTH_PAGE_BYTES - 1, &damaged) || damaged) {
        return status;
    }
    status = nth_freelist_check(heap, block);
    if (status == NTH_OK && !pages_committed(block->region, before / NTH_PAGE_BYTES,
                                             (end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES, &damaged)) {
        nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
        status = NTH_CORRUPT;
    }
    if (status != NTH_OK) {
        return status;
    }
    nth_freelist_unlink(heap, block);
    if (nth_segment_decommit(heap, block->region, before / NTH_PAGE_BYTES,
                             (end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES) == NTH_OK) {
        nth_block_erase(block->region, block->offset);
        nth_tag_previous_free(block->region, end, false);
    } else {
        nth_freelist_link(heap, block);
    }
    return NTH_OK;
}

/* Blocks of a segment in turn, for compact: merge each free run, hand back what is wholly free. */
static enum nth_status compact_segment(struct nth_heap *heap, struct nth_region *region)
{
    uint64_t offset = NTH_SEGMENT_FIRST;
    while (offset + NTH_BORDER_BYTES < region->bytes) {
        struct nth_block block;
        struct nth_block next;
        bool present = false;
        bool damaged = false;
        enum nth_status status = nth_block_next(heap, region, offset, &present);
        if (status != NTH_OK) {
            return status;
        }
        if (!present) {
            const uint64_t page = (offset + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
            offset = nth_page_run(region, page, &damaged) * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
            if (damaged) {
                nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
                return NTH_CORRUPT;
            }
            continue;
        }
        status = nth_block_read(heap, region, offset, &block);
        const uint64_t end = offset + nth_block_bytes(&block);
        if (status == NTH_OK && block.state == NTH_BLOCK_FREE) {
            status = nth_freelist_check(heap, &block);
            status = status == NTH_OK ? next_free(heap, region, end, &present, &next) : status;
            status = status == NTH_OK && present
                         ? nth_freelist_ready(heap, block.units + next.units)
                         : status;
            if (status == NTH_OK && present) {
                nth_freelist_unlink(heap, &block);
                nth_freelist_unlink(heap, &next);
                nth_block_erase(region, next.offset);
                block.units += next.units;
                nth_freelist_link(heap, &block);
                continue; /* look at the merged block again */
            }
            status = status == NTH_OK ? sink_island(heap, &block) : status;
        }
        if (status != NTH_OK) {
            return status;
        }
        offset = end;
    }
    return NTH_OK;
}

/* A further segment whose committed part is one free block goes back. */
static enum nth_status retire_segment(struct nth_heap *heap, struct nth_region *region)
{
    struct nth_block block;
    bool present = false;
    bool damaged = false;
    enum nth_status status = nth_block_read(heap, region, NTH_SEGMENT_FIRST, &block);
    if (status != NTH_OK || block.state != NTH_BLOCK_FREE) {
        return status;
    }
    const uint64_t end = block.offset + nth_block_bytes(&block);
    const uint64_t page = (end + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
    const uint64_t count = region->bytes / NTH_PAGE_BYTES;
    status = nth_block_next(heap, region, end, &present);
    if (status != NTH_OK || present ||
        (page < count && nth_page_run(region, page, &damaged) != count) || damaged) {
        return status;
    }
    status = nth_freelist_check(heap, &block);
    if (status == NTH_OK) {
        nth_freelist_unlink(heap, &block);
        nth_segment_remove(heap, region);
    }
    return status;
}

enum nth_status nth_backend_compact(struct nth_heap *heap)
{
    for (uint64_t number = 0; number < heap->state.segment_count; number++) {
        struct nth_region *region = nth_segment_at(heap, number);
        if (nth_noted()) {
            return NTH_CORRUPT;
        }
        enum nth_status status = region == NULL ? NTH_OK : compact_segment(heap, region);
        if (status == NTH_OK && region != NULL && number > 0) {
            status = retire_segment(heap, region);
        }
        if (status != NTH_OK) {
            return status;
        }
    }
    return NTH_OK;
}

enum nth_status nth_backend_largest(struct nth_heap *heap, uint64_t *units)
{
    *units = 0;
    for (uint32_t bin = NTH_BIN_COUNT; bin-- > 0 && *units == 0;) {
        struct nth_block block;
        bool present = false;
        enum nth_status status = nth_freelist_first(heap, bin, &present, &block);
        for (uint64_t count = 0; status == NTH_OK && present; count++) {
            if (count > heap->state.free_count) {
                nth_note(NTH_CORRUPT_FREE_LIST, nth_block_user(&block), "free.next");
                return NTH_CORRUPT;
            }
            *units = block.units > *units ? block.units : *units;
            struct nth_block next;
            status = nth_freelist_next(heap, &block, &present, &next);
            block = status == NTH_OK && present ? next : block;
        }
        if (status != NTH_OK) {
            return status;
        }
    }
    return NTH_OK;
}

enum nth_status nth_backend_check_free(struct nth_heap *heap, const struct nth_block *block)
{
    return nth_freelist_check(heap, block);
}
