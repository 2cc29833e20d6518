/* SPDX-License-Identifier: MIT
 *
 * Enumeration. Calls block, front, large, region. */
#include "walk.h"

#include "freelist.h"
#include "front.h"
#include "large.h"
#include "report.h"

static enum nth_status damaged_pages(void)
{
    nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
    return NTH_CORRUPT;
}

static enum nth_status large_element(struct nth_heap *heap, uint64_t word,
                                     struct nth_element *element)
{
    if (word == 0) {
        return NTH_ABSENT;
    }
    struct nth_region *region = nth_large_at(heap, word);
    if (region == NULL) {
        nth_note(NTH_CORRUPT_LARGE_BLOCK, NULL, "large.list");
        return NTH_CORRUPT;
    }
    *element = (struct nth_element){
        .kind = NTH_ELEMENT_BUSY,
        .data = nth_large_data(region),
        .data_bytes = region->requested,
        .region_idx = NTH_LARGE_INDEX,
        .block_bytes = region->committed_pages * NTH_PAGE_BYTES,
    };
    element->overhead_bytes = element->block_bytes - element->data_bytes;
    return NTH_OK;
}

/* The data of a segment's first block: where a chunk stands, that of its first slot. */
static enum nth_status first_place(struct nth_heap *heap, struct nth_region *region, void **place)
{
    struct nth_block block;
    struct nth_chunk chunk;
    bool present = false;
    *place = nth_region_place(region, NTH_SEGMENT_FIRST + NTH_HEADER_BYTES);
    enum nth_status status = nth_block_next(heap, region, NTH_SEGMENT_FIRST, &present);
    if (status != NTH_OK || !present) {
        return status;
    }
    status = nth_block_read(heap, region, NTH_SEGMENT_FIRST, &block);
    if (status == NTH_OK && block.state == NTH_BLOCK_CHUNK) {
        status = nth_chunk_read(heap, &block, &chunk);
        if (status == NTH_OK) {
            *place = nth_region_place(region, nth_chunk_slot(&chunk, 0) + NTH_HEADER_BYTES);
        }
    }
    return status;
}

/* The region element of the first segment from `number` on; behind the last, the large blocks. */
static enum nth_status region_element(struct nth_heap *heap, uint64_t number,
                                      struct nth_element *element)
{
    for (; number < heap->state.segment_count; number++) {
        struct nth_region *region = nth_segment_at(heap, number);
        void *first = NULL;
        bool damaged = false;
        if (nth_noted()) {
            return NTH_CORRUPT;
        }
        if (region == NULL) {
            continue;
        }
        (void)nth_page_committed(region, 0, &damaged); /* are descriptor and map of one time */
        if (damaged) {
            return damaged_pages();
        }
        const enum nth_status status = first_place(heap, region, &first);
        if (status != NTH_OK) {
            return status;
        }
        *element = (struct nth_element){
            .kind = NTH_ELEMENT_REGION,
            .data = nth_region_place(region, 0),
            .data_bytes = region->bytes,
            .overhead_bytes = NTH_SEGMENT_FIRST,
            .region_idx = (uint32_t)number,
            .committed_bytes = region->committed_pages * NTH_PAGE_BYTES,
            .uncommitted_bytes = region->bytes - region->committed_pages * NTH_PAGE_BYTES,
            .first = first,
            .last = nth_region_place(region, region->bytes),
        };
        return NTH_OK;
    }
    return large_element(heap, heap->state.large_first, element);
}

/* `extra` bytes around the block are nobody else's; the last of a segment has the border too. */
static void block_element(const struct nth_block *block, uint64_t extra,
                          struct nth_element *element)
{
    const bool is_free = block->state == NTH_BLOCK_FREE;
    const uint64_t bytes = nth_block_bytes(block);
    const uint64_t end = block->offset + bytes + NTH_BORDER_BYTES;
    extra += end == block->region->bytes ? NTH_BORDER_BYTES : 0u;
    const bool slot = block->state == NTH_BLOCK_SLOT_FREE || block->state == NTH_BLOCK_SLOT_BUSY;
    *element = (struct nth_element){
        .kind = nth_block_is_busy(block->state) ? NTH_ELEMENT_BUSY : NTH_ELEMENT_FREE,
        .front_end = slot,
        .data = is_free ? nth_region_place(block->region, block->offset + NTH_FREE_DATA)
                        : nth_block_user(block),
        .data_bytes = is_free                           ? bytes - NTH_FREE_OVERHEAD
                      : nth_block_is_busy(block->state) ? nth_block_requested(block)
                                                        : bytes - NTH_HEADER_BYTES,
        .region_idx = (uint32_t)nth_region_number(block->region),
        .block_bytes = bytes + extra,
    };
    element->overhead_bytes = bytes + extra - element->data_bytes;
}

/* The block is what may stand behind one that is free, or is not: the map says which, and two free
 * blocks would be one. A free one ends where the map and its footer say so. */
static enum nth_status neighbour_check(const struct nth_heap *heap, const struct nth_block *block,
                                       bool previous_free)
{
    const bool says = (*nth_tag_at(block->region, block->offset) & NTH_TAG_PREVIOUS_FREE) != 0;
    const bool joins = previous_free && block->state == NTH_BLOCK_FREE &&
                       !nth_heap_has(heap, HEAP_DISABLE_COALESCE_ON_FREE);
    if (says != previous_free || joins) {
        nth_note(NTH_CORRUPT_BLOCK_MAP, nth_block_user(block), "block.tag");
        return NTH_CORRUPT;
    }
    return block->state == NTH_BLOCK_FREE ? nth_freelist_end_check(heap, block) : NTH_OK;
}

/* What stands at `offset`, behind a free block or not: a block, a chunk's first slot, an
 * uncommitted range, the end. */
static enum nth_status element_at(struct nth_heap *heap, struct nth_region *region, uint64_t offset,
                                  bool previous_free, struct nth_element *element)
{
    struct nth_block block;
    struct nth_chunk chunk;
    bool present = false;
    bool damaged = false;
    enum nth_status status = nth_block_next(heap, region, offset, &present);
    if (status != NTH_OK) {
        return status;
    }
    if (present) {
        status = nth_block_read(heap, region, offset, &block);
        status = status == NTH_OK ? neighbour_check(heap, &block, previous_free) : status;
        if (status != NTH_OK || block.state != NTH_BLOCK_CHUNK) {
            if (status == NTH_OK) {
                block_element(&block, 0, element);
            }
            return status;
        }
        status = nth_chunk_read(heap, &block, &chunk);
        status = status == NTH_OK ? nth_block_read(heap, region, nth_chunk_slot(&chunk, 0), &block)
                                  : status;
        if (status == NTH_OK) {
            block_element(&block, nth_chunk_first(chunk.bucket), element);
        }
        return status;
    }
    const uint64_t page = (offset + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
    if (page == region->bytes / NTH_PAGE_BYTES) {
        return region_element(heap, nth_region_number(region) + 1, element);
    }
    const uint64_t end = nth_page_run(region, page, &damaged) * NTH_PAGE_BYTES;
    *element = (struct nth_element){
        .kind = NTH_ELEMENT_UNCOMMITTED,
        .data = nth_region_place(region, page * NTH_PAGE_BYTES),
        .data_bytes = end - page * NTH_PAGE_BYTES,
        .overhead_bytes = NTH_BORDER_BYTES * (end < region->bytes ? 2u : 1u),
        .region_idx = (uint32_t)nth_region_number(region),
    };
    return damaged ? damaged_pages() : NTH_OK;
}

/* After a slot: the next of its chunk, or what stands behind the chunk. */
static enum nth_status after_slot(struct nth_heap *heap, const struct nth_block *slot,
                                  struct nth_element *element)
{
    struct nth_chunk chunk;
    struct nth_block next;
    enum nth_status status = nth_chunk_of(heap, slot, &chunk);
    if (status != NTH_OK) {
        return status;
    }
    if (slot->slot + 1 == chunk.slots) {
        return element_at(heap, slot->region, chunk.offset + chunk.units * NTH_UNIT_BYTES, false,
                          element);
    }
    status = nth_block_read(heap, slot->region, nth_chunk_slot(&chunk, slot->slot + 1), &next);
    if (status == NTH_OK) {
        const bool last = next.slot + 1 == chunk.slots;
        const uint64_t end = chunk.offset + chunk.units * NTH_UNIT_BYTES;
        uint64_t rest = end - nth_chunk_slot(&chunk, chunk.slots);
        if (rest > 0 && end + NTH_BORDER_BYTES == slot->region->bytes) {
            rest += NTH_BORDER_BYTES; /* where there is no rest the slot itself is the last */
        }
        block_element(&next, last ? rest : 0, element);
    }
    return status;
}

/* The block whose element has this data address. */
static enum nth_status block_of_data(struct nth_heap *heap, struct nth_region *region,
                                     const void *data, struct nth_block *block)
{
    const uint64_t place = (uint64_t)(uintptr_t)data - region->base;
    bool damaged = false;
    if (!nth_tag_reaches(region, place) &&
        nth_page_committed(region, place / NTH_PAGE_BYTES, &damaged)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region"); /* the map goes as far as pages do */
        return NTH_CORRUPT;
    }
    for (uint64_t back = NTH_HEADER_BYTES; back <= NTH_FREE_DATA;
         back += NTH_FREE_DATA - NTH_HEADER_BYTES) {
        const uint64_t offset = place - back;
        if (place < NTH_SEGMENT_FIRST + back || !nth_tag_reaches(region, offset) ||
            offset % NTH_UNIT_BYTES != NTH_SEGMENT_FIRST % NTH_UNIT_BYTES ||
            !nth_tag_starts(*nth_tag_at(region, offset), offset)) {
            continue;
        }
        const enum nth_status status = nth_block_read(heap, region, offset, block);
        if (status != NTH_OK) {
            return status;
        }
        if (block->state != NTH_BLOCK_CHUNK &&
            (block->state == NTH_BLOCK_FREE) == (back == NTH_FREE_DATA)) {
            return NTH_OK;
        }
    }
    return NTH_BAD_ARGUMENT;
}

static enum nth_status after_uncommitted(struct nth_heap *heap, struct nth_region *region,
                                         const void *data, struct nth_element *element)
{
    const uint64_t place = (uint64_t)(uintptr_t)data - region->base;
    const uint64_t page = place / NTH_PAGE_BYTES;
    bool damaged = false;
    if (!nth_region_holds(region)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return NTH_CORRUPT;
    }
    if (page == 0 || place % NTH_PAGE_BYTES != 0 || nth_page_committed(region, page, &damaged) ||
        !nth_page_committed(region, page - 1, &damaged)) {
        return damaged ? damaged_pages() : NTH_BAD_ARGUMENT;
    }
    const uint64_t end = nth_page_run(region, page, &damaged) * NTH_PAGE_BYTES;
    if (damaged) {
        return damaged_pages();
    }
    return end == region->bytes ? region_element(heap, nth_region_number(region) + 1, element)
                                : element_at(heap, region, end + NTH_BORDER_BYTES, false, element);
}

enum nth_status nth_walk_next(struct nth_heap *heap, struct nth_element *element)
{
    struct nth_block block;
    if (element->kind == NTH_ELEMENT_NONE) {
        return region_element(heap, 0, element);
    }
    struct nth_region *region = nth_map_find(element->data);
    if (region != NULL && !nth_region_front_holds(region)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return NTH_CORRUPT;
    }
    region = nth_region_of(element->data);
    if (region == NULL || nth_region_heap(region) != heap) {
        return NTH_BAD_ARGUMENT;
    }
    if (nth_region_is(region, NTH_LARGE)) {
        return element->data != nth_large_data(region) || element->kind != NTH_ELEMENT_BUSY
                   ? NTH_BAD_ARGUMENT
               : nth_large_check(heap, region) != NTH_OK
                   ? NTH_CORRUPT
                   : large_element(heap, region->next, element);
    }
    if (element->kind == NTH_ELEMENT_REGION) {
        return element->data == nth_region_place(region, 0)
                   ? element_at(heap, region, NTH_SEGMENT_FIRST, false, element)
                   : NTH_BAD_ARGUMENT;
    }
    if (element->kind == NTH_ELEMENT_UNCOMMITTED) {
        return after_uncommitted(heap, region, element->data, element);
    }
    const enum nth_status status = block_of_data(heap, region, element->data, &block);
    if (status != NTH_OK) {
        return status;
    }
    if (nth_block_is_busy(block.state) != (element->kind == NTH_ELEMENT_BUSY)) {
        return NTH_BAD_ARGUMENT;
    }
    if (block.state == NTH_BLOCK_SLOT_FREE || block.state == NTH_BLOCK_SLOT_BUSY) {
        return after_slot(heap, &block, element);
    }
    return element_at(heap, region, block.offset + nth_block_bytes(&block),
                      block.state == NTH_BLOCK_FREE, element);
}

/* How a walk of core's own ended: an element that it just found and cannot find again is damage. */
static enum nth_status walked(enum nth_status status)
{
    if (status == NTH_BAD_ARGUMENT) {
        nth_note(NTH_CORRUPT_BLOCK_MAP, NULL, "region.tags");
        return NTH_CORRUPT;
    }
    return status == NTH_ABSENT ? NTH_OK : status;
}

/* A free block ends where map and footer say, which the walk has asked; how long a slot is says its
 * header, and before anything is written its chunk must say so too. */
static enum nth_status zero_free(struct nth_heap *heap, const struct nth_element *element)
{
    struct nth_region *region = nth_region_of(element->data);
    struct nth_block slot;
    struct nth_chunk chunk;
    enum nth_status status = NTH_OK;
    if (element->front_end) {
        status = block_of_data(heap, region, element->data, &slot);
        status = status == NTH_OK ? nth_chunk_of(heap, &slot, &chunk) : status;
    }
    if (status == NTH_OK) {
        nth_inband_zero(region, (uint64_t)(uintptr_t)element->data - region->base,
                        element->data_bytes);
    }
    return status;
}

enum nth_status nth_walk_zero(struct nth_heap *heap)
{
    struct nth_element element = {.kind = NTH_ELEMENT_NONE};
    enum nth_status status = nth_walk_next(heap, &element);
    while (status == NTH_OK) {
        status = element.kind == NTH_ELEMENT_FREE ? zero_free(heap, &element) : NTH_OK;
        status = status == NTH_OK ? nth_walk_next(heap, &element) : status;
    }
    return walked(status);
}

enum nth_status nth_walk_allocated(struct nth_heap *heap, uint64_t *bytes)
{
    struct nth_element element = {.kind = NTH_ELEMENT_NONE};
    enum nth_status status = nth_walk_next(heap, &element);
    *bytes = 0;
    while (status == NTH_OK) {
        *bytes += element.kind == NTH_ELEMENT_BUSY ? element.data_bytes : 0;
        status = nth_walk_next(heap, &element);
    }
    return walked(status);
}
