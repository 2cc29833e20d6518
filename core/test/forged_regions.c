/* SPDX-License-Identifier: MIT
 *
 * Large blocks, segments, maps of committed pages and totals, sealed as core seals them and wrong
 * in one thing; and what a walk meets that was right when it began. See forged.c. */
#include "support/forge.h"

#include <string.h>

#define BYTES ((SIZE_T)100)
#define LARGE_BYTES ((SIZE_T)0x90000)

#define ROW(forge, call, size, block, blamed, reason, field)                                       \
    {                                                                                              \
#forge, forge, call, size, block, blamed, reason, field                                    \
    }

static struct nth_region *region_of(const struct forge_scene *scene, int block)
{
    struct nth_region *region = nth_region_of(scene->blocks[block]);
    assert_non_null(region);
    return region;
}

static uint64_t word_of(const struct forge_scene *scene, int block)
{
    return (uint64_t)(uintptr_t)region_of(scene, block);
}

static struct nth_state *state_of(const struct forge_scene *scene)
{
    return &forge_inside(scene->heap)->state;
}

/* ---- large blocks ---- */

static void three_large(struct forge_scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    scene->other = HeapCreate(0, 0, 0);
    scene->other_block = HeapAlloc(scene->other, 0, LARGE_BYTES);
    for (unsigned idx = 0; idx < 3; idx++) {
        scene->blocks[idx] = HeapAlloc(scene->heap, 0, LARGE_BYTES);
        assert_non_null(scene->blocks[idx]);
    }
    scene->blocks[3] = HeapAlloc(scene->heap, 0, BYTES);
    assert_non_null(scene->blocks[3]);
}

static void links(struct forge_scene *scene, int block, uint64_t next, uint64_t previous)
{
    struct nth_region *region = region_of(scene, block);
    region->next = next;
    region->previous = previous;
    nth_region_seal(region);
}

static void next_leaves_one_out(struct forge_scene *scene)
{
    links(scene, 0, word_of(scene, 2), 0);
}

static void first_is_the_last(struct forge_scene *scene)
{
    links(scene, 0, 0, 0);
}

static void last_goes_on(struct forge_scene *scene)
{
    links(scene, 2, word_of(scene, 0), word_of(scene, 1));
}

static void next_is_a_segment(struct forge_scene *scene)
{
    links(scene, 1, word_of(scene, 3), word_of(scene, 0));
}

static void next_is_another_heaps(struct forge_scene *scene)
{
    links(scene, 1, (uint64_t)(uintptr_t)nth_region_of(scene->other_block), word_of(scene, 0));
}

static void next_is_inside(struct forge_scene *scene)
{
    links(scene, 1, word_of(scene, 2) + 8u, word_of(scene, 0));
}

static void second_is_the_first(struct forge_scene *scene)
{
    links(scene, 1, word_of(scene, 2), 0);
}

static void previous_is_the_next(struct forge_scene *scene)
{
    links(scene, 1, word_of(scene, 2), word_of(scene, 2));
}

static void previous_is_nowhere(struct forge_scene *scene)
{
    links(scene, 1, word_of(scene, 2), 0x10000);
}

static void first_has_a_previous(struct forge_scene *scene)
{
    links(scene, 0, word_of(scene, 1), word_of(scene, 2));
}

static void size_is_one_more(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, 1);
    region->requested++;
    nth_region_seal(region);
}

static void pages_are_one_more(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, 1);
    region->committed_pages++;
    nth_region_seal(region);
}

static void large_is_of_another_heap(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, 1);
    region->heap = (uint64_t)(uintptr_t)forge_inside(scene->other);
    nth_region_seal_front(region);
}

static void totals(struct forge_scene *scene, uint64_t *total, uint64_t value)
{
    *total = value;
    forge_seal_state(scene->heap);
}

static void list_begins_with_the_second(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_first, word_of(scene, 1));
}

static void list_begins_with_a_segment(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_first, word_of(scene, 3));
}

static void list_ends_nowhere(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_last, 0x10000);
}

static void one_large_more(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_count, state_of(scene)->large_count + 1u);
}

static void one_large_less(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_count, state_of(scene)->large_count - 1u);
}

static void more_large_bytes(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->large_bytes, state_of(scene)->large_bytes + NTH_PAGE_BYTES);
}

#define LARGE_ROW(forge, call, block, blamed, field)                                               \
    {                                                                                              \
#forge, forge, call, LARGE_BYTES, block, blamed, NTH_CORRUPT_LARGE_BLOCK, field            \
    }

static void a_list_of_large_blocks_that_contradicts_itself_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        LARGE_ROW(next_leaves_one_out, RIG_HEAP_FREE, 0, 0, "large.next"),
        LARGE_ROW(next_leaves_one_out, RIG_HEAP_SIZE, 0, 0, "large.next"),
        LARGE_ROW(next_leaves_one_out, RIG_HEAP_REALLOC, 0, 0, "large.next"),
        LARGE_ROW(next_leaves_one_out, RIG_HEAP_VALIDATE, -1, 0, "large.next"),
        LARGE_ROW(first_is_the_last, RIG_HEAP_FREE, 0, 0, "large.next"),
        LARGE_ROW(last_goes_on, RIG_HEAP_FREE, 2, 2, "large.next"),
        LARGE_ROW(next_is_a_segment, RIG_HEAP_FREE, 1, 1, "large.next"),
        LARGE_ROW(next_is_another_heaps, RIG_HEAP_FREE, 1, 1, "large.next"),
        LARGE_ROW(next_is_inside, RIG_HEAP_FREE, 1, 1, "large.next"),
        LARGE_ROW(second_is_the_first, RIG_HEAP_FREE, 1, 1, "large.previous"),
        LARGE_ROW(second_is_the_first, RIG_HEAP_FREE, 0, 0, "large.next"),
        LARGE_ROW(previous_is_the_next, RIG_HEAP_FREE, 1, 1, "large.previous"),
        LARGE_ROW(previous_is_nowhere, RIG_HEAP_FREE, 1, 1, "large.previous"),
        LARGE_ROW(first_has_a_previous, RIG_HEAP_FREE, 0, 0, "large.previous"),
        ROW(size_is_one_more, RIG_HEAP_FREE, 0, 1, 1, NTH_CORRUPT_BLOCK_HEADER, "block.header"),
        ROW(size_is_one_more, RIG_HEAP_SIZE, 0, 1, 1, NTH_CORRUPT_BLOCK_HEADER, "block.header"),
        ROW(large_is_of_another_heap, RIG_HEAP_FREE, 0, 1, 1, NTH_CORRUPT_WRONG_HEAP, NULL),
        LARGE_ROW(large_is_of_another_heap, RIG_HEAP_VALIDATE, -1, 0, "large.next"),
        LARGE_ROW(pages_are_one_more, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
        LARGE_ROW(list_begins_with_the_second, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
        LARGE_ROW(list_begins_with_the_second, RIG_HEAP_FREE, 0, 0, "large.previous"),
        LARGE_ROW(list_begins_with_a_segment, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
        LARGE_ROW(list_begins_with_a_segment, RIG_HEAP_WALK, -1, -1, "large.list"),
        LARGE_ROW(list_ends_nowhere, RIG_HEAP_ALLOC, -1, -1, "heap.large_last"),
        LARGE_ROW(list_ends_nowhere, RIG_HEAP_FREE, 2, 2, "large.next"),
        LARGE_ROW(one_large_more, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
        LARGE_ROW(one_large_less, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
        LARGE_ROW(more_large_bytes, RIG_HEAP_VALIDATE, -1, -1, "large.list"),
    };
    forge_run(three_large, rows, FORGE_ROW_COUNT(rows));
}

/* ---- segments ---- */

/* Small segments: blocks 0 to 7, two or three to a segment, every third free, all sizes different.
 * Number 8 is the data of segment 1's first block, 9 of segment 2's. */
static void segments(struct forge_scene *scene)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    scene->heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    scene->other = HeapCreate(0, 0, 0);
    for (unsigned idx = 0; idx < 8; idx++) {
        scene->blocks[idx] = HeapAlloc(scene->heap, 0, 18000 + idx * 600);
        assert_non_null(scene->blocks[idx]);
    }
    for (unsigned number = 1; number < 3; number++) {
        uint64_t word = 0;
        struct nth_heap *inside = forge_inside(scene->heap);
        assert_true(nth_segment_word(inside, number, &word));
        const struct nth_region *region = (const struct nth_region *)(uintptr_t)word;
        assert_non_null(region);
        scene->blocks[7u + number] = nth_region_place(region, NTH_SEGMENT_FIRST + NTH_HEADER_BYTES);
    }
    for (unsigned idx = 1; idx < 8; idx += 3) {
        assert_true(HeapFree(scene->heap, 0, scene->blocks[idx]));
    }
}

#define FIRST 0     /* in segment 0 */
#define IN_SECOND 8 /* in segment 1 */
#define IN_THIRD 9  /* in segment 2 */

static void segment_word(struct forge_scene *scene, unsigned number, uint64_t value)
{
    struct nth_heap *inside = forge_inside(scene->heap);
    nth_heap_put(inside, &inside->segments[number], value);
}

static void two_numbers_for_one_segment(struct forge_scene *scene)
{
    segment_word(scene, 1, word_of(scene, IN_THIRD));
}

static void segment_is_gone(struct forge_scene *scene)
{
    segment_word(scene, 1, 0);
}

static void segment_is_not_marked(struct forge_scene *scene)
{
    totals(scene, &state_of(scene)->segment_map, state_of(scene)->segment_map & ~2ull);
}

/* Word and mark agree, but for the blocks that are still on lists. */
static void segment_is_hidden(struct forge_scene *scene)
{
    segment_is_gone(scene);
    segment_is_not_marked(scene);
}

static void segment_is_of_another_heap(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, IN_SECOND);
    region->heap = (uint64_t)(uintptr_t)forge_inside(scene->other);
    nth_region_seal_front(region);
}

static void segment_has_another_number(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, IN_SECOND);
    region->kind += 1u << 8;
    nth_region_seal_front(region);
}

static void segment_has_a_page_more(struct forge_scene *scene)
{
    struct nth_region *region = region_of(scene, IN_SECOND);
    region->committed_pages++;
    nth_region_seal(region);
}

static void map_is_shorter(struct forge_scene *scene)
{
    nth_region_reach_put(region_of(scene, FIRST), 8u);
}

static void chunk_where_a_block_is(struct forge_scene *scene)
{
    memset(scene->blocks[FIRST], 0x5A, 64); /* no words of a free block, which would open */
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FIRST]);
    forge_word(scene->heap, scene->blocks[FIRST], 0,
               forge_header(&block, NTH_BLOCK_CHUNK, block.units));
}

static void a_segment_that_is_not_what_the_heap_says_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        ROW(two_numbers_for_one_segment, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_SEGMENT,
            "region"),
        ROW(segment_is_gone, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_SEGMENT, "heap.segments"),
        ROW(segment_is_gone, RIG_HEAP_ALLOC, 60000, -1, -1, NTH_CORRUPT_SEGMENT, "heap.segments"),
        ROW(segment_is_gone, RIG_HEAP_COMPACT, 0, -1, -1, NTH_CORRUPT_SEGMENT, "heap.segments"),
        ROW(segment_is_not_marked, RIG_HEAP_WALK, 0, -1, -1, NTH_CORRUPT_SEGMENT, "heap.segments"),
        ROW(segment_is_hidden, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_FREE_LIST, "free.next"),
        ROW(segment_is_of_another_heap, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(segment_is_of_another_heap, RIG_HEAP_FREE, 0, IN_SECOND, IN_SECOND,
            NTH_CORRUPT_WRONG_HEAP, NULL),
        ROW(segment_has_another_number, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_SEGMENT,
            "region"),
        ROW(segment_has_a_page_more, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(map_is_shorter, RIG_HEAP_FREE, 0, 2, 2, NTH_CORRUPT_INTERIOR_POINTER, NULL),
        ROW(chunk_where_a_block_is, RIG_HEAP_FREE, 0, FIRST, FIRST, NTH_CORRUPT_INTERIOR_POINTER,
            NULL),
        ROW(chunk_where_a_block_is, RIG_HEAP_VALIDATE, 0, -1, FIRST, NTH_CORRUPT_CHUNK,
            "chunk.info"),
    };
    forge_run(segments, rows, FORGE_ROW_COUNT(rows));
}

/* ---- totals, neighbours, lists by the whole ---- */

/* Blocks of which 1 is free; 4 and 5 as well, one behind the other: the second was freed while the
 * heap was told not to merge. 7 and 8 are one size, free, and apart. */
static void some_free(struct forge_scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    for (unsigned idx = 0; idx < 10; idx++) {
        const SIZE_T bytes = idx == 7 || idx == 9 ? 3 * BYTES : BYTES;
        scene->blocks[idx] = HeapAlloc(scene->heap, 0, bytes);
        assert_non_null(scene->blocks[idx]);
    }
    scene->blocks[8] = scene->blocks[9];
    assert_non_null(HeapAlloc(scene->heap, 0, BYTES));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[1]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[4]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[7]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[8]));
}

static void merging(struct forge_scene *scene, BOOLEAN merges)
{
    struct nth_heap *inside = forge_inside(scene->heap);
    const uint64_t flag = HEAP_DISABLE_COALESCE_ON_FREE;
    inside->config.flags = merges ? inside->config.flags & ~flag : inside->config.flags | flag;
    nth_heap_seal_config(inside);
}

static void two_free_neighbours(struct forge_scene *scene)
{
    merging(scene, FALSE);
    assert_true(HeapFree(scene->heap, 0, scene->blocks[5]));
    merging(scene, TRUE);
}

/* Each names the other as next and as previous, and the list is empty. */
static void two_free_blocks_of_no_list(struct forge_scene *scene)
{
    const uint64_t units = nth_units_for(forge_inside(scene->heap), 3 * BYTES, false);
    for (int idx = 0; idx < 2; idx++) {
        const uint64_t other = forge_reference(scene->blocks[8 - idx]);
        forge_word(scene->heap, scene->blocks[7 + idx], NTH_FREE_NEXT, other);
        forge_word(scene->heap, scene->blocks[7 + idx], NTH_FREE_PREVIOUS, other);
    }
    forge_bin(scene->heap, units, 0);
    forge_bin_bit(scene->heap, units, FALSE);
}

static void slot_where_a_block_is(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[0]);
    const uint32_t bucket = nth_bucket_of(nth_block_bytes(&block));
    assert_int_equal(nth_bucket_units(bucket), block.units);
    forge_word(scene->heap, scene->blocks[0], 0, forge_header(&block, NTH_BLOCK_SLOT_BUSY, bucket));
}

#define TOTAL(member)                                                                              \
    static void another_##member(struct forge_scene *scene)                                        \
    {                                                                                              \
        totals(scene, &state_of(scene)->member, state_of(scene)->member + 1u);                     \
    }

TOTAL(free_units)
TOTAL(free_count)
TOTAL(busy_units)
TOTAL(busy_count)
TOTAL(chunk_count)
TOTAL(committed_bytes)

#define TOTAL_ROW(member)                                                                          \
    ROW(another_##member, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_HEAP_STATE, "heap.state")

static void totals_that_blocks_do_not_add_up_to_are_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        TOTAL_ROW(free_units),
        TOTAL_ROW(free_count),
        TOTAL_ROW(busy_units),
        TOTAL_ROW(busy_count),
        TOTAL_ROW(chunk_count),
        TOTAL_ROW(committed_bytes),
        ROW(two_free_neighbours, RIG_HEAP_VALIDATE, 0, -1, 5, NTH_CORRUPT_FREE_LIST,
            "free.neighbour"),
        ROW(two_free_neighbours, RIG_HEAP_WALK, 0, -1, 5, NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(two_free_blocks_of_no_list, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(slot_where_a_block_is, RIG_HEAP_VALIDATE, 0, -1, 0, NTH_CORRUPT_BLOCK_HEADER,
            "block.header"),
    };
    forge_run(some_free, rows, FORGE_ROW_COUNT(rows));
}

/* ---- committed pages ---- */

/* One bit of a segment's map of committed pages, with its mirror as region.c makes it. */
static void page(struct nth_region *region, uint64_t number, BOOLEAN committed)
{
    const uint64_t words = nth_round_up((size_t)(region->bytes / NTH_PAGE_BYTES), 64) / 64;
    uint64_t *map = (uint64_t *)(uintptr_t)region->page_map;
    const uint64_t idx = number / 64;
    const uint64_t bit = 1ull << (number % 64);
    map[idx] = committed ? map[idx] | bit : map[idx] & ~bit;
    map[words + idx] =
        nth_mix(map[idx] ^ nth_process.key.first ^ ~idx ^ nth_rotate(region->page_generation, 40u));
    assert_true(nth_page_map_holds(region));
}

/* A live block, number 3, between two free ones; on both sides of these are no pages. */
static void stretch(struct forge_scene *scene, SIZE_T threshold_bytes)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitFreeBlockThreshold = threshold_bytes,
                                  .DeCommitTotalFreeThreshold = threshold_bytes};
    scene->heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, &wanted);
    PVOID before = HeapAlloc(scene->heap, 0, 0x6700u - NTH_SEGMENT_FIRST - 8u);
    scene->blocks[3] = HeapAlloc(scene->heap, 0, 0x1100);
    PVOID behind = HeapAlloc(scene->heap, 0, 0x5000);
    scene->blocks[1] = HeapAlloc(scene->heap, 0, 0x3000);
    scene->blocks[2] = HeapAlloc(scene->heap, 0, BYTES);
    assert_non_null(scene->blocks[2]);
    assert_true(HeapFree(scene->heap, 0, before));
    assert_true(HeapFree(scene->heap, 0, behind));
}

/* When it is freed, the pages of all three go. */
static void stretch_that_goes(struct forge_scene *scene)
{
    stretch(scene, 0x1000);
}

/* A free block alone between two stretches without pages: number 0. */
static void island(struct forge_scene *scene)
{
    stretch(scene, 0x2000);
    assert_true(HeapFree(scene->heap, 0, scene->blocks[3]));
    scene->blocks[0] = nth_region_place(region_of(scene, 2),
                                        0x6000u + NTH_BORDER_BYTES + NTH_HEADER_BYTES);
    const struct nth_block found = forge_block(scene->heap, scene->blocks[0]);
    assert_int_equal(found.state, NTH_BLOCK_FREE);
}

static void first_page_is_not_there(struct forge_scene *scene)
{
    page(region_of(scene, 2), 0, FALSE);
}

static void islands_second_page_is_not_there(struct forge_scene *scene)
{
    page(region_of(scene, 2), 7, FALSE);
}

static void page_before_the_border_is_there(struct forge_scene *scene)
{
    page(region_of(scene, 2), 8, TRUE);
}

static void page_of_a_block_is_not_there(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[1]);
    page(block.region, block.offset / NTH_PAGE_BYTES + 2u, FALSE);
}

static void first_page_of_a_block_is_not_there(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[1]);
    page(block.region, block.offset / NTH_PAGE_BYTES + 1u, FALSE);
}

/* The map has a start in front of pages that are not there, where only a border can be. */
static void border_is_said_to_start_a_block(struct forge_scene *scene)
{
    const uint64_t border = 0x8000u - NTH_BORDER_BYTES;
    *nth_tag_at(region_of(scene, 2), border) |= (uint8_t)(NTH_TAG_START | nth_tag_position(border));
}

/* And here that the block before it is free, or is not. */
static void border_says_otherwise_of_the_block_before(struct forge_scene *scene)
{
    const uint64_t border = 0x8000u - NTH_BORDER_BYTES;
    *nth_tag_at(region_of(scene, 2), border) ^= NTH_TAG_PREVIOUS_FREE;
}

/* Far behind the run that is to be committed: it would be sealed with the others. */
static void later_word_is_damaged(struct forge_scene *scene)
{
    ((uint64_t *)(uintptr_t)region_of(scene, 2)->page_map)[3] ^= 1u;
}

static void a_map_of_pages_that_contradicts_the_blocks_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        ROW(first_page_is_not_there, RIG_HEAP_ALLOC, 0x8000, -1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(later_word_is_damaged, RIG_HEAP_ALLOC, 0x4800, -1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(later_word_is_damaged, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(islands_second_page_is_not_there, RIG_HEAP_COMPACT, 0, -1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(page_before_the_border_is_there, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(page_of_a_block_is_not_there, RIG_HEAP_FREE, 0, 1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(first_page_of_a_block_is_not_there, RIG_HEAP_FREE, 0, 1, -1, NTH_CORRUPT_PAGE_MAP,
            "region.pages"),
        ROW(border_says_otherwise_of_the_block_before, RIG_HEAP_VALIDATE, 0, -1, -2,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
    };
    static const struct forge_row before[] = {
        ROW(border_is_said_to_start_a_block, RIG_HEAP_FREE, 0, 3, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(border_is_said_to_start_a_block, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
    };
    forge_run(island, rows, FORGE_ROW_COUNT(rows));
    forge_run(stretch_that_goes, before, FORGE_ROW_COUNT(before));
}

/* ---- damage in the middle of a walk ---- */

/* Walks until an element of these flags; the entry then holds it. */
static void walk_to(HANDLE heap, WORD flags, PROCESS_HEAP_ENTRY *entry)
{
    entry->lpData = NULL;
    do {
        assert_true(HeapWalk(heap, entry));
    } while ((entry->wFlags & flags) != flags);
}

static void demand_walk_fails(HANDLE heap, PROCESS_HEAP_ENTRY *entry, enum nth_reason reason,
                              const char *field)
{
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = entry});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(reason, heap, NULL, field);
}

static void a_walk_that_goes_on_looks_again(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, NULL);
    PVOID block = HeapAlloc(heap, 0, BYTES);
    struct nth_region *region = nth_region_of(block);
    walk_to(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, &entry);
    PROCESS_HEAP_ENTRY again = entry;
    region->hold_bytes ^= 1u;
    demand_walk_fails(heap, &again, NTH_CORRUPT_SEGMENT, "region");
    region->hold_bytes ^= 1u;
    uint64_t *later = (uint64_t *)(uintptr_t)region->page_map + 2;
    *later ^= 1u;
    again = entry;
    demand_walk_fails(heap, &again, NTH_CORRUPT_PAGE_MAP, "region.pages");
    *later ^= 1u;
    walk_to(heap, PROCESS_HEAP_ENTRY_BUSY, &entry);
    uint64_t reach = 0;
    assert_true(nth_region_reach(region, &reach));
    nth_region_reach_put(region, 0);
    demand_walk_fails(heap, &entry, NTH_CORRUPT_SEGMENT, "region");
    nth_region_reach_put(region, reach);
    rig_flip((uint8_t *)block - 8);
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = &entry});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_BLOCK_HEADER, heap, block, "block.header");
    rig_flip((uint8_t *)block - 8);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* Core finds the heap by its own table, its blocks no more. */
static void a_heap_that_the_map_does_not_have_is_missed_by_its_own_walks(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    struct nth_region *region = nth_region_of(HeapAlloc(heap, 0, BYTES));
    nth_map_remove(heap, (size_t)region->bytes);
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_RTL_ZERO, .heap = heap});
    rig_demand_value(&outcome, (uintptr_t)(ULONG)STATUS_HEAP_CORRUPTION);
    rig_report_demand_field(NTH_CORRUPT_BLOCK_MAP, heap, NULL, "region.tags");
    assert_int_equal(nth_map_enter(heap, (size_t)region->bytes, region), NTH_OK);
    assert_true(HeapValidate(heap, 0, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_of_large_blocks_that_contradicts_itself_is_reported),
        TEST(a_segment_that_is_not_what_the_heap_says_is_reported),
        TEST(totals_that_blocks_do_not_add_up_to_are_reported),
        TEST(a_map_of_pages_that_contradicts_the_blocks_is_reported),
        TEST(a_walk_that_goes_on_looks_again),
        TEST(a_heap_that_the_map_does_not_have_is_missed_by_its_own_walks),
    };
    return cmocka_run_group_tests_name("forged words of regions", tests, NULL, NULL);
}
