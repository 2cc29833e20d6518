/* SPDX-License-Identifier: MIT
 *
 * Size lists: search by bitmap, checked unlink, link. Calls block, heap, report. */
#include "freelist.h"

#include "backend.h"
#include "report.h"

/* Blocks looked at in a list whose members may be too small, before larger lists are tried. */
#define TRIES_MAX 2u

static enum nth_status broken(enum nth_reason reason, const struct nth_block *block,
                              const char *field)
{
    nth_note(reason, nth_block_user(block), field);
    return NTH_CORRUPT;
}

static uint64_t map_sum(const struct nth_heap *heap)
{
    return nth_seal(heap->bin_map, NTH_BIN_MAP_WORDS, 0);
}

void nth_freelist_map_sum(struct nth_heap *heap)
{
    heap->state.bin_map_sum = map_sum(heap);
}

void nth_freelist_init(struct nth_heap *heap)
{
    for (uint32_t bin = 0; bin < NTH_BIN_COUNT; bin++) {
        nth_heap_put(heap, &heap->bins[bin], 0);
    }
    for (uint32_t idx = 0; idx < NTH_BIN_MAP_WORDS; idx++) {
        nth_heap_put(heap, &heap->bin_map[idx], 0);
    }
    nth_freelist_map_sum(heap);
}

static enum nth_status map_word(struct nth_heap *heap, uint32_t idx, uint64_t *bits)
{
    if (map_sum(heap) != heap->state.bin_map_sum) { /* a word that was whole once was put back */
        nth_note(NTH_CORRUPT_FREE_LIST, NULL, "heap.bin_map");
        return NTH_CORRUPT;
    }
    return nth_heap_open(heap, &heap->bin_map[idx], NTH_CORRUPT_FREE_LIST, "heap.bin_map", bits);
}

static enum nth_status head(struct nth_heap *heap, uint32_t bin, uint64_t *reference)
{
    return nth_heap_open(heap, &heap->bins[bin], NTH_CORRUPT_FREE_LIST, "heap.bins", reference);
}

/* The free block that a link names. */
static enum nth_status follow(struct nth_heap *heap, uint64_t reference, struct nth_block *block)
{
    struct nth_region *region = NULL;
    uint64_t offset = 0;
    if (nth_reference_resolve(heap, reference, &region, &offset) != NTH_OK ||
        !nth_tag_starts(*nth_tag_at(region, offset), offset)) {
        nth_note(NTH_CORRUPT_FREE_LINK, NULL, "free.link");
        return NTH_CORRUPT;
    }
    const enum nth_status status = nth_block_read(heap, region, offset, block);
    if (status == NTH_OK && block->state != NTH_BLOCK_FREE) {
        return broken(NTH_CORRUPT_FREE_LINK, block, "free.link");
    }
    return status;
}

static enum nth_status link_read(struct nth_heap *heap, const struct nth_block *block,
                                 uint64_t place, uint64_t *reference)
{
    if (!nth_inband_open(heap, block->region, block->offset + place, reference)) {
        return broken(NTH_CORRUPT_FREE_LINK, block,
                      place == NTH_FREE_NEXT ? "free.next" : "free.previous");
    }
    return NTH_OK;
}

/* The word that must point back at `block` does. */
static enum nth_status points_back(struct nth_heap *heap, const struct nth_block *block,
                                   const struct nth_block *other, uint64_t place)
{
    uint64_t back = 0;
    const enum nth_status status = link_read(heap, other, place, &back);
    if (status != NTH_OK) {
        return status;
    }
    return back == nth_block_reference(block->region, block->offset)
               ? NTH_OK
               : broken(NTH_CORRUPT_FREE_LINK, other,
                        place == NTH_FREE_NEXT ? "free.next" : "free.previous");
}

/* The block's own list must begin with it, and be marked as not empty. */
static enum nth_status heads_list(struct nth_heap *heap, const struct nth_block *block)
{
    const uint32_t bin = nth_bin_of(block->units);
    uint64_t first = 0;
    uint64_t bits = 0;
    if (head(heap, bin, &first) != NTH_OK || map_word(heap, bin / NTH_WORD_BITS, &bits) != NTH_OK) {
        return NTH_CORRUPT;
    }
    return first == nth_block_reference(block->region, block->offset) &&
                   ((bits >> (bin % NTH_WORD_BITS)) & 1u) != 0
               ? NTH_OK
               : broken(NTH_CORRUPT_FREE_LIST, block, "heap.bins");
}

bool nth_freelist_ends(const struct nth_block *block)
{
    const uint64_t end = block->offset + nth_block_bytes(block);
    const bool at_border = (end + NTH_BORDER_BYTES) % NTH_PAGE_BYTES == 0;
    if (!nth_tag_reaches(block->region, end)) {
        return false;
    }
    const uint8_t tag = *nth_tag_at(block->region, end);
    return (tag & NTH_TAG_PREVIOUS_FREE) != 0 &&
           (nth_tag_starts(tag, end) || (at_border && (tag & NTH_TAG_START) == 0));
}

enum nth_status nth_freelist_end_check(const struct nth_heap *heap, const struct nth_block *block)
{
    const uint64_t end = block->offset + nth_block_bytes(block);
    uint64_t footer = 0;
    if (!nth_freelist_ends(block)) {
        return broken(NTH_CORRUPT_BLOCK_MAP, block, "block.tag");
    }
    return nth_inband_open(heap, block->region, end - NTH_FREE_FOOTER_BACK, &footer) &&
                   footer == block->units
               ? NTH_OK
               : broken(NTH_CORRUPT_FREE_FOOTER, block, "free.footer");
}

enum nth_status nth_freelist_check(struct nth_heap *heap, const struct nth_block *block)
{
    uint64_t next = 0;
    uint64_t previous = 0;
    struct nth_block other;
    enum nth_status status = link_read(heap, block, NTH_FREE_NEXT, &next);
    status = status == NTH_OK ? link_read(heap, block, NTH_FREE_PREVIOUS, &previous) : status;
    status = status == NTH_OK ? nth_freelist_end_check(heap, block) : status;
    if (status == NTH_OK && next != 0) {
        status = follow(heap, next, &other);
        status = status == NTH_OK && nth_bin_of(other.units) != nth_bin_of(block->units)
                     ? broken(NTH_CORRUPT_FREE_LINK, block, "free.next")
                     : status;
        status = status == NTH_OK ? points_back(heap, block, &other, NTH_FREE_PREVIOUS) : status;
    }
    if (status == NTH_OK && previous != 0) {
        status = follow(heap, previous, &other);
        status = status == NTH_OK ? points_back(heap, block, &other, NTH_FREE_NEXT) : status;
    }
    return status == NTH_OK && previous == 0 ? heads_list(heap, block) : status;
}

static void map_put(struct nth_heap *heap, uint32_t bin, bool full)
{
    uint64_t bits = 0;
    uint64_t *word = &heap->bin_map[bin / NTH_WORD_BITS];
    NTH_ASSERT(nth_heap_open(heap, word, NTH_CORRUPT_FREE_LIST, NULL, &bits) == NTH_OK);
    const uint64_t bit = 1ull << (bin % NTH_WORD_BITS);
    nth_heap_put(heap, word, full ? bits | bit : bits & ~bit);
    nth_freelist_map_sum(heap);
}

static void link_put(struct nth_heap *heap, uint64_t reference, uint64_t place, uint64_t value)
{
    struct nth_region *region = NULL;
    uint64_t offset = 0;
    NTH_ASSERT(nth_reference_resolve(heap, reference, &region, &offset) == NTH_OK);
    nth_inband_put(heap, region, offset + place, value);
}

void nth_freelist_unlink(struct nth_heap *heap, const struct nth_block *block)
{
    const uint32_t bin = nth_bin_of(block->units);
    uint64_t next = 0;
    uint64_t previous = 0;
    NTH_ASSERT(link_read(heap, block, NTH_FREE_NEXT, &next) == NTH_OK);
    NTH_ASSERT(link_read(heap, block, NTH_FREE_PREVIOUS, &previous) == NTH_OK);
    if (next != 0) {
        link_put(heap, next, NTH_FREE_PREVIOUS, previous);
    }
    if (previous != 0) {
        link_put(heap, previous, NTH_FREE_NEXT, next);
    } else {
        nth_heap_put(heap, &heap->bins[bin], next);
        if (next == 0) {
            map_put(heap, bin, false);
        }
    }
    heap->state.free_units -= block->units;
    heap->state.free_count--;
}

enum nth_status nth_freelist_ready(struct nth_heap *heap, uint64_t units)
{
    struct nth_block first;
    bool present = false;
    uint64_t bits = 0;
    if (map_word(heap, nth_bin_of(units) / NTH_WORD_BITS, &bits) != NTH_OK) {
        return NTH_CORRUPT;
    }
    return nth_freelist_first(heap, nth_bin_of(units), &present, &first);
}

enum nth_status nth_freelist_ready_all(struct nth_heap *heap)
{
    struct nth_block first;
    bool present = false;
    enum nth_status status = NTH_OK;
    for (uint32_t bin = 0; bin < NTH_BIN_COUNT && status == NTH_OK; bin++) {
        uint64_t bits = 0;
        status = map_word(heap, bin / NTH_WORD_BITS, &bits);
        status = status == NTH_OK ? nth_freelist_first(heap, bin, &present, &first) : status;
    }
    return status;
}

void nth_freelist_link(struct nth_heap *heap, const struct nth_block *block)
{
    const uint32_t bin = nth_bin_of(block->units);
    const uint64_t own = nth_block_reference(block->region, block->offset);
    uint64_t first = 0;
    NTH_ASSERT(block->state == NTH_BLOCK_FREE);
    NTH_ASSERT(head(heap, bin, &first) == NTH_OK);
    nth_block_write(heap, block);
    nth_inband_put(heap, block->region, block->offset + NTH_FREE_NEXT, first);
    nth_inband_put(heap, block->region, block->offset + NTH_FREE_PREVIOUS, 0);
    nth_inband_put(heap, block->region,
                   block->offset + nth_block_bytes(block) - NTH_FREE_FOOTER_BACK, block->units);
    nth_tag_previous_free(block->region, block->offset + nth_block_bytes(block), true);
    if (first != 0) {
        link_put(heap, first, NTH_FREE_PREVIOUS, own);
    } else {
        map_put(heap, bin, true);
    }
    nth_heap_put(heap, &heap->bins[bin], own);
    heap->state.free_units += block->units;
    heap->state.free_count++;
}

enum nth_status nth_freelist_first(struct nth_heap *heap, uint32_t bin, bool *present,
                                   struct nth_block *block)
{
    uint64_t reference = 0;
    enum nth_status status = head(heap, bin, &reference);
    *present = status == NTH_OK && reference != 0;
    status = *present ? follow(heap, reference, block) : status;
    if (status == NTH_OK && *present) {
        uint64_t previous = 0;
        status = link_read(heap, block, NTH_FREE_PREVIOUS, &previous);
        if (status == NTH_OK && (previous != 0 || nth_bin_of(block->units) != bin)) {
            return broken(NTH_CORRUPT_FREE_LIST, block, "heap.bins");
        }
    }
    return status;
}

enum nth_status nth_freelist_next(struct nth_heap *heap, const struct nth_block *block,
                                  bool *present, struct nth_block *next)
{
    uint64_t reference = 0;
    enum nth_status status = link_read(heap, block, NTH_FREE_NEXT, &reference);
    *present = status == NTH_OK && reference != 0;
    return *present ? follow(heap, reference, next) : status;
}

/* In one list, the first of at most `tries` blocks that is large enough. */
static enum nth_status search_list(struct nth_heap *heap, uint32_t bin, uint64_t units,
                                   uint64_t tries, struct nth_block *block)
{
    bool present = false;
    enum nth_status status = nth_freelist_first(heap, bin, &present, block);
    for (uint64_t count = 0; status == NTH_OK && present && count < tries; count++) {
        if (block->units >= units) {
            return nth_freelist_check(heap, block);
        }
        struct nth_block next;
        status = nth_freelist_next(heap, block, &present, &next);
        *block = status == NTH_OK && present ? next : *block;
    }
    return status == NTH_OK ? NTH_ABSENT : status;
}

/* The lowest list that is not empty, from `bin` on. */
static enum nth_status lowest_list(struct nth_heap *heap, uint32_t bin, uint32_t *found)
{
    for (uint32_t idx = bin / NTH_WORD_BITS; idx < NTH_BIN_MAP_WORDS; idx++) {
        uint64_t bits = 0;
        if (map_word(heap, idx, &bits) != NTH_OK) {
            return NTH_CORRUPT;
        }
        if (idx == bin / NTH_WORD_BITS) {
            bits &= ~0ull << (bin % NTH_WORD_BITS);
        }
        if (bits != 0) {
            *found = idx * NTH_WORD_BITS + (uint32_t)__builtin_ctzll(bits);
            return NTH_OK;
        }
    }
    return NTH_ABSENT;
}

enum nth_status nth_freelist_none(struct nth_heap *heap, uint64_t units)
{
    for (uint32_t bin = nth_bin_of(units); bin < NTH_BIN_COUNT; bin++) {
        uint64_t first = 0;
        uint64_t bits = 0;
        if (head(heap, bin, &first) != NTH_OK ||
            map_word(heap, bin / NTH_WORD_BITS, &bits) != NTH_OK) {
            return NTH_CORRUPT;
        }
        if (((bits >> (bin % NTH_WORD_BITS)) & 1u) != (first != 0 ? 1u : 0u)) {
            nth_note(NTH_CORRUPT_FREE_LIST, NULL, "heap.bin_map");
            return NTH_CORRUPT;
        }
    }
    return NTH_NO_MEMORY;
}

/* Own list first, a few tries; then any larger list, whose blocks all fit; at last all of the own
 * list, so that a request fails only when no free block can hold it. */
enum nth_status nth_freelist_find(struct nth_heap *heap, uint64_t units, struct nth_block *block)
{
    const uint32_t bin = nth_bin_of(units);
    uint32_t larger = 0;
    enum nth_status status = lowest_list(heap, bin, &larger);
    if (status != NTH_OK) {
        return status;
    }
    if (larger == bin) {
        status = search_list(heap, bin, units, TRIES_MAX, block);
        if (status != NTH_ABSENT) {
            return status;
        }
        status = bin + 1 < NTH_BIN_COUNT ? lowest_list(heap, bin + 1, &larger) : NTH_ABSENT;
    }
    if (status == NTH_OK) {
        status = search_list(heap, larger, units, 1, block);
        if (status == NTH_ABSENT) { /* the bitmap promised a block */
            nth_note(NTH_CORRUPT_FREE_LIST, NULL, "heap.bin_map");
            status = NTH_CORRUPT;
        }
        return status;
    }
    return status == NTH_ABSENT ? search_list(heap, bin, units, heap->state.free_count, block)
                                : status;
}
