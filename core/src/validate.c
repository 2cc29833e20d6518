/* SPDX-License-Identifier: MIT
 *
 * Invariants of a whole heap. Segments block by block against the map, the lists, the totals; then
 * chunks against magazines; large blocks; the plain flags. Calls everything below the API. */
#include "validate.h"

#include "backend.h"
#include "freelist.h"
#include "front.h"
#include "large.h"
#include "ops.h"
#include "report.h"

#include <string.h>

struct tally {
    uint64_t free_units;
    uint64_t free_count;
    uint64_t busy_units;
    uint64_t busy_count;
    uint64_t chunk_count;
    uint64_t slots_free;   /* by their headers */
    uint64_t slots_listed; /* in chunks' free words */
    uint64_t committed_bytes;
};

static enum nth_status broken(enum nth_reason reason, const void *user, const char *field)
{
    nth_note(reason, user, field);
    return NTH_CORRUPT;
}

/* No start in the map between two offsets, as far as the map reaches: tags of no block, eight at a
 * time. */
static bool map_is_clear(const struct nth_region *region, uint64_t first, uint64_t end)
{
    const uint64_t strange = (uint8_t)~NTH_TAG_GENERATION * 0x0101010101010101u;
    uint64_t reach = 0;
    const bool whole = nth_region_reach(region, &reach);
    const uint64_t last = end / NTH_WINDOW_BYTES; /* before `from`, where slots are damaged */
    const uint64_t from = first / NTH_WINDOW_BYTES + 1;
    const uint64_t to = !whole ? from : last < reach ? last : reach; /* else a call says so */
    const uint8_t *tag = nth_tag_at(region, first) + 1;
    uint64_t left = to > from ? to - from : 0;
    for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t)) {
        uint64_t tags;
        memcpy(&tags, tag, sizeof(tags));
        if ((tags & strange) != 0) {
            return false;
        }
        tag += sizeof(tags);
    }
    for (; left > 0; left--) {
        if ((*tag++ & ~NTH_TAG_GENERATION) != 0) {
            return false;
        }
    }
    return true;
}

static enum nth_status check_chunk(struct nth_heap *heap, const struct nth_block *block,
                                   struct tally *tally)
{
    struct nth_chunk chunk;
    uint32_t free_slots = 0;
    enum nth_status status = nth_chunk_read(heap, block, &chunk);
    status = status == NTH_OK ? nth_chunk_check(heap, &chunk, &free_slots) : status;
    if (status != NTH_OK) {
        return status;
    }
    tally->chunk_count++;
    tally->slots_free += free_slots;
    tally->slots_listed += chunk.free;
    uint64_t before = block->offset;
    for (uint32_t slot = 0; slot <= chunk.slots; slot++) {
        const uint64_t after = slot < chunk.slots ? nth_chunk_slot(&chunk, slot)
                                                  : block->offset + nth_block_bytes(block);
        if (!map_is_clear(block->region, before, after)) {
            return broken(NTH_CORRUPT_BLOCK_MAP, nth_region_place(block->region, before + 8u),
                          "block.tag");
        }
        before = after;
    }
    return NTH_OK;
}

/* User value and flags, where there are any. */
static enum nth_status info_check(struct nth_heap *heap, const struct nth_target *target)
{
    bool present = false;
    uint64_t value = 0;
    uint32_t flags = 0;
    return nth_info_read(heap, target, &present, &value, &flags);
}

static enum nth_status check_block(struct nth_heap *heap, const struct nth_block *block,
                                   bool previous_free, struct tally *tally)
{
    const uint64_t end = block->offset + nth_block_bytes(block);
    const bool says = (*nth_tag_at(block->region, block->offset) & NTH_TAG_PREVIOUS_FREE) != 0;
    if (says != previous_free) {
        return broken(NTH_CORRUPT_BLOCK_MAP, nth_block_user(block), "block.tag");
    }
    if (block->state == NTH_BLOCK_FREE) {
        tally->free_units += block->units;
        tally->free_count++;
        if (previous_free && !nth_heap_has(heap, HEAP_DISABLE_COALESCE_ON_FREE)) {
            return broken(NTH_CORRUPT_FREE_LIST, nth_block_user(block), "free.neighbour");
        }
        if (!map_is_clear(block->region, block->offset, end)) {
            return broken(NTH_CORRUPT_BLOCK_MAP, nth_block_user(block), "block.tag");
        }
        return nth_backend_check_free(heap, block);
    }
    tally->busy_units += block->units;
    tally->busy_count++;
    if (block->state == NTH_BLOCK_CHUNK) {
        return check_chunk(heap, block, tally);
    }
    if (block->state != NTH_BLOCK_BUSY) {
        return broken(NTH_CORRUPT_BLOCK_HEADER, nth_block_user(block), "block.header");
    }
    const struct nth_target target = {.region = block->region, .block = *block};
    if (info_check(heap, &target) != NTH_OK) {
        return NTH_CORRUPT;
    }
    return map_is_clear(block->region, block->offset, end)
               ? NTH_OK
               : broken(NTH_CORRUPT_BLOCK_MAP, nth_block_user(block), "block.tag");
}

static enum nth_status check_segment(struct nth_heap *heap, struct nth_region *region,
                                     struct tally *tally)
{
    uint64_t offset = NTH_SEGMENT_FIRST;
    uint64_t pages = 0;
    bool previous_free = false;
    bool damaged = false;
    if (!nth_page_map_holds(region)) {
        return broken(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
    }
    if ((*nth_tag_at(region, 0) & ~NTH_TAG_GENERATION) != 0 || !map_is_clear(region, 0, offset)) {
        return broken(NTH_CORRUPT_BLOCK_MAP, nth_region_place(region, offset), "block.tag");
    }
    while (offset + NTH_BORDER_BYTES <= region->bytes) {
        struct nth_block block;
        bool present = false;
        enum nth_status status = nth_block_next(heap, region, offset, &present);
        if (status == NTH_OK && present) {
            status = nth_block_read(heap, region, offset, &block);
            status = status == NTH_OK ? check_block(heap, &block, previous_free, tally) : status;
        }
        if (status != NTH_OK) {
            return status;
        }
        if (present) {
            previous_free = block.state == NTH_BLOCK_FREE;
            offset += nth_block_bytes(&block);
            continue;
        }
        const bool says = (*nth_tag_at(region, offset) & NTH_TAG_PREVIOUS_FREE) != 0;
        const uint64_t page = (offset + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
        const unsigned start = NTH_TAG_START | NTH_TAG_BUSY | NTH_TAG_POSITION;
        if (says != previous_free || (*nth_tag_at(region, offset) & start) != 0) {
            return broken(NTH_CORRUPT_BLOCK_MAP, nth_region_place(region, offset), "block.tag");
        }
        const uint64_t end =
            page == region->bytes / NTH_PAGE_BYTES ? page : nth_page_run(region, page, &damaged);
        const bool tail = end == region->bytes / NTH_PAGE_BYTES; /* the map has whole pages */
        if (!map_is_clear(region, offset, tail ? UINT64_MAX : end * NTH_PAGE_BYTES)) {
            return broken(NTH_CORRUPT_BLOCK_MAP, nth_region_place(region, offset), "block.tag");
        }
        pages += end - page;
        previous_free = false;
        if (tail || damaged) {
            break;
        }
        offset = end * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
    }
    tally->committed_bytes += region->bytes - pages * NTH_PAGE_BYTES;
    if (damaged || region->bytes / NTH_PAGE_BYTES - pages != region->committed_pages) {
        return broken(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
    }
    return NTH_OK;
}

/* Every list ends, holds only its own sizes, and together they hold every free block. */
static enum nth_status check_lists(struct nth_heap *heap, const struct tally *tally)
{
    uint64_t count = 0;
    for (uint32_t bin = 0; bin < NTH_BIN_COUNT; bin++) {
        struct nth_block block;
        bool present = false;
        enum nth_status status = nth_freelist_first(heap, bin, &present, &block);
        uint64_t bits = 0;
        status = status == NTH_OK ? nth_heap_open(heap, &heap->bin_map[bin / NTH_WORD_BITS],
                                                  NTH_CORRUPT_FREE_LIST, "heap.bin_map", &bits)
                                  : status;
        if (status == NTH_OK && ((bits >> (bin % NTH_WORD_BITS)) & 1u) != (present ? 1u : 0u)) {
            return broken(NTH_CORRUPT_FREE_LIST, NULL, "heap.bin_map");
        }
        while (status == NTH_OK && present) {
            if (++count > tally->free_count || nth_bin_of(block.units) != bin) {
                return broken(NTH_CORRUPT_FREE_LIST, nth_block_user(&block), "free.next");
            }
            struct nth_block next;
            status = nth_freelist_next(heap, &block, &present, &next);
            block = status == NTH_OK && present ? next : block;
        }
        if (status != NTH_OK) {
            return status;
        }
    }
    return count == tally->free_count ? NTH_OK : broken(NTH_CORRUPT_FREE_LIST, NULL, "heap.bins");
}

static enum nth_status check_large(struct nth_heap *heap, struct tally *tally)
{
    uint64_t count = 0;
    uint64_t bytes = 0;
    for (uint64_t word = heap->state.large_first; word != 0; count++) {
        struct nth_region *region = nth_large_at(heap, word);
        if (region == NULL || count >= heap->state.large_count) {
            return broken(NTH_CORRUPT_LARGE_BLOCK, NULL, "large.list");
        }
        const struct nth_target target = {.region = region, .large = true};
        if (nth_large_check(heap, region) != NTH_OK || info_check(heap, &target) != NTH_OK) {
            return NTH_CORRUPT;
        }
        bytes += region->committed_pages * NTH_PAGE_BYTES;
        word = region->next;
    }
    tally->committed_bytes += bytes;
    return count == heap->state.large_count && bytes == heap->state.large_bytes
               ? NTH_OK
               : broken(NTH_CORRUPT_LARGE_BLOCK, NULL, "large.list");
}

/* Slots in magazines and slots listed in chunks are all the free slots there are. */
static enum nth_status check_front(struct nth_heap *heap, const struct tally *tally)
{
    uint64_t cached = 0;
    const enum nth_status status = nth_front_check(heap, &cached);
    if (status != NTH_OK) {
        return status;
    }
    return cached + tally->slots_listed == tally->slots_free
               ? NTH_OK
               : broken(NTH_CORRUPT_CHUNK, NULL, "chunk.free");
}

static enum nth_status check_totals(const struct nth_heap *heap, const struct tally *tally)
{
    const struct nth_state *state = &heap->state;
    return state->free_units == tally->free_units && state->free_count == tally->free_count &&
                   state->busy_units == tally->busy_units &&
                   state->busy_count == tally->busy_count &&
                   state->chunk_count == tally->chunk_count &&
                   state->committed_bytes == tally->committed_bytes
               ? NTH_OK
               : broken(NTH_CORRUPT_HEAP_STATE, NULL, "heap.state");
}

/* Words that name nothing are words all the same. */
static enum nth_status check_lists_of_regions(struct nth_heap *heap)
{
    uint64_t value = 0;
    for (uint64_t idx = 0; idx < NTH_SEGMENT_NEAR_COUNT; idx++) {
        if (!nth_segment_word(heap, idx, &value)) {
            return NTH_CORRUPT;
        }
    }
    for (uint64_t idx = 0; idx < NTH_CACHE_MAX_COUNT; idx++) {
        if (nth_cache_at(heap, idx) == NULL && nth_noted()) {
            return NTH_CORRUPT;
        }
    }
    return NTH_OK;
}

enum nth_status nth_validate_heap(struct nth_heap *heap)
{
    struct tally tally = {0};
    enum nth_status status = nth_heap_mirror_holds(heap) ? NTH_OK : NTH_CORRUPT;
    status = status == NTH_OK ? check_lists_of_regions(heap) : status;
    for (uint64_t number = 0; status == NTH_OK && number < heap->state.segment_count; number++) {
        struct nth_region *region = nth_segment_at(heap, number);
        if (region == NULL) {
            status = nth_noted() ? NTH_CORRUPT : NTH_OK;
            continue;
        }
        status = nth_region_heap(region) == heap && nth_region_number(region) == number
                     ? check_segment(heap, region, &tally)
                     : broken(NTH_CORRUPT_SEGMENT, NULL, "region");
    }
    status = status == NTH_OK ? check_lists(heap, &tally) : status;
    status = status == NTH_OK ? check_large(heap, &tally) : status;
    status = status == NTH_OK ? check_front(heap, &tally) : status;
    return status == NTH_OK ? check_totals(heap, &tally) : status;
}
