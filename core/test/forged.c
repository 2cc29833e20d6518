/* SPDX-License-Identifier: MIT
 *
 * A word that opens is not yet to be believed. Headers, free lists, footers, large blocks,
 * descriptors and totals, each sealed as core seals it and wrong in one thing: the call that meets
 * it, the report that comes of it, and that one only. What damage cannot make by accident a bug in
 * core could. */
#include "support/forge.h"

#define BYTES ((SIZE_T)100)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define GROWN ((SIZE_T)3000)
#define WIDE_BYTES ((SIZE_T)0x800 - 8u)

static uint64_t units_of(HANDLE heap, SIZE_T bytes)
{
    return nth_units_for(forge_inside(heap), bytes, false);
}

/* ---- headers ---- */

static void one_block(struct forge_scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    scene->blocks[0] = HeapAlloc(scene->heap, 0, BYTES);
    scene->blocks[1] = HeapAlloc(scene->heap, 0, BYTES);
    assert_non_null(scene->blocks[1]);
}

static void header(struct forge_scene *scene, unsigned state, uint64_t body, uint64_t change)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[0]);
    forge_word(scene->heap, scene->blocks[0], 0, forge_header(&block, state, body) ^ change);
}

static uint64_t body_of(struct forge_scene *scene, uint64_t units, uint64_t slack)
{
    (void)scene;
    return slack << 20 | units;
}

static void state_none(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_NONE, body_of(scene, units_of(scene->heap, BYTES), 0), 0);
}

static void state_large(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_LARGE, body_of(scene, units_of(scene->heap, BYTES), 0), 0);
}

static void state_unknown(struct forge_scene *scene)
{
    header(scene, 7, body_of(scene, units_of(scene->heap, BYTES), 0), 0);
}

static void state_free(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_FREE, units_of(scene->heap, BYTES), 0);
}

static void body_too_long(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_BUSY, body_of(scene, units_of(scene->heap, BYTES), 0) | 1ull << 34, 0);
}

static void generation_of_another_time(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_BUSY, body_of(scene, units_of(scene->heap, BYTES), 0),
           1ull << NTH_HEADER_GENERATION_SHIFT);
}

static void smaller_than_a_block(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_BUSY, body_of(scene, NTH_BLOCK_MIN_BYTES / NTH_UNIT_BYTES - 1u, 0), 0);
}

static void more_slack_than_bytes(struct forge_scene *scene)
{
    const uint64_t units = units_of(scene->heap, BYTES);
    header(scene, NTH_BLOCK_BUSY, body_of(scene, units, units * NTH_UNIT_BYTES - 7u), 0);
}

static void no_room_for_user_info(struct forge_scene *scene)
{
    const uint64_t units = NTH_BLOCK_MIN_BYTES / NTH_UNIT_BYTES;
    header(scene, NTH_BLOCK_BUSY, body_of(scene, units, 9), NTH_HEADER_USER_INFO);
}

static void past_the_segment(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[0]);
    const uint64_t most = (block.region->bytes - block.offset) / NTH_UNIT_BYTES;
    header(scene, NTH_BLOCK_BUSY, body_of(scene, most + 1u, 0), 0);
}

static void slot_of_no_class(struct forge_scene *scene)
{
    header(scene, NTH_BLOCK_SLOT_BUSY, NTH_BUCKET_COUNT, 0);
}

#define HEADER_ROW(forge)                                                                          \
    {                                                                                              \
#forge, forge, RIG_HEAP_FREE, 0, 0, 0, NTH_CORRUPT_BLOCK_HEADER, "block.header"            \
    }

static void a_header_that_no_block_has_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        HEADER_ROW(state_none),
        HEADER_ROW(state_large),
        HEADER_ROW(state_unknown),
        HEADER_ROW(state_free),
        HEADER_ROW(body_too_long),
        HEADER_ROW(generation_of_another_time),
        HEADER_ROW(smaller_than_a_block),
        HEADER_ROW(more_slack_than_bytes),
        HEADER_ROW(no_room_for_user_info),
        HEADER_ROW(past_the_segment),
        HEADER_ROW(slot_of_no_class),
    };
    forge_run(one_block, rows, FORGE_ROW_COUNT(rows));
}

/* At the edges of what is refused above. */
static void a_header_at_its_limits_is_believed(void **state)
{
    (void)state;
    struct forge_scene scene;
    one_block(&scene);
    const struct nth_block block = forge_block(scene.heap, scene.blocks[0]);
    const uint64_t least = NTH_BLOCK_MIN_BYTES / NTH_UNIT_BYTES;
    const uint64_t most = (block.region->bytes - block.offset) / NTH_UNIT_BYTES;
    header(&scene, NTH_BLOCK_BUSY, body_of(&scene, least, 0), 0);
    assert_int_equal(HeapSize(scene.heap, 0, scene.blocks[0]), NTH_BLOCK_MIN_BYTES - 8u);
    header(&scene, NTH_BLOCK_BUSY, body_of(&scene, least, NTH_BLOCK_MIN_BYTES - 8u), 0);
    assert_int_equal(HeapSize(scene.heap, 0, scene.blocks[0]), 0);
    header(&scene, NTH_BLOCK_BUSY, body_of(&scene, least, 8), NTH_HEADER_USER_INFO);
    assert_int_equal(HeapSize(scene.heap, 0, scene.blocks[0]), 0);
    header(&scene, NTH_BLOCK_BUSY, body_of(&scene, most, 0), 0);
    assert_int_equal(HeapSize(scene.heap, 0, scene.blocks[0]), most * NTH_UNIT_BYTES - 8u);
    header(&scene, NTH_BLOCK_BUSY, body_of(&scene, 0xFFFFu & most, 0x3FFF), 0);
    assert_int_equal(HeapSize(scene.heap, 0, scene.blocks[0]),
                     most * NTH_UNIT_BYTES - 8u - 0x3FFFu);
    rig_report_demand_none();
}

/* ---- free lists ---- */

/* Three free blocks of one size on one list, c first, each behind a busy one of its own and before
 * another: blocks 0, 2, 4 are free, 1, 3, 5 busy. Behind all of them the rest of the segment. */
#define FREE_A 0
#define FREE_B 2
#define FREE_C 4
#define BUSY_BEHIND_A 1
#define BUSY_BEHIND_B 3
#define BUSY_BEHIND_C 5
#define REST 6 /* data of the free block at the end */
#define LARGE 7

static void three_free(struct forge_scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    scene->other = HeapCreate(0, 0, 0);
    scene->other_block = HeapAlloc(scene->other, 0, BYTES);
    for (unsigned idx = 0; idx < 6; idx++) {
        scene->blocks[idx] = HeapAlloc(scene->heap, 0, BYTES);
        assert_non_null(scene->blocks[idx]);
    }
    scene->blocks[LARGE] = HeapAlloc(scene->heap, 0, LARGE_BYTES);
    assert_non_null(scene->blocks[LARGE]);
    const uint64_t bytes = units_of(scene->heap, BYTES) * NTH_UNIT_BYTES;
    scene->blocks[REST] = (uint8_t *)scene->blocks[5] + bytes;
    assert_true(HeapFree(scene->heap, 0, scene->blocks[FREE_A]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[FREE_B]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[FREE_C]));
}

static void link_to(struct forge_scene *scene, int block, uint64_t place, uint64_t reference)
{
    forge_word(scene->heap, scene->blocks[block], place, reference);
}

static void next_is_nowhere(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, NTH_WORD_MASK / 2u);
}

static void next_is_another_heaps(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->other_block));
}

static void next_is_a_large_block(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->blocks[LARGE]));
}

static void next_is_inside_a_block(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT,
            forge_reference((uint8_t *)scene->blocks[BUSY_BEHIND_A] + 2u * NTH_UNIT_BYTES));
}

static void next_is_no_place_of_a_block(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->blocks[FREE_B]) + 1u);
}

static void next_is_beyond_the_map(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_C]);
    link_to(scene, FREE_C, NTH_FREE_NEXT,
            nth_block_reference(block.region, block.region->bytes - NTH_BORDER_BYTES));
}

static void next_is_busy(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->blocks[BUSY_BEHIND_B]));
}

static void next_is_of_another_size(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->blocks[REST]));
}

static void next_leaves_one_out(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_NEXT, forge_reference(scene->blocks[FREE_A]));
}

static void next_is_the_first(struct forge_scene *scene)
{
    link_to(scene, FREE_B, NTH_FREE_NEXT, forge_reference(scene->blocks[FREE_C]));
}

static void first_has_a_previous(struct forge_scene *scene)
{
    link_to(scene, FREE_C, NTH_FREE_PREVIOUS, forge_reference(scene->blocks[FREE_B]));
}

static void previous_is_none(struct forge_scene *scene)
{
    link_to(scene, FREE_B, NTH_FREE_PREVIOUS, 0);
}

static void previous_leaves_one_out(struct forge_scene *scene)
{
    link_to(scene, FREE_A, NTH_FREE_PREVIOUS, forge_reference(scene->blocks[FREE_C]));
}

static void previous_is_busy(struct forge_scene *scene)
{
    link_to(scene, FREE_B, NTH_FREE_PREVIOUS, forge_reference(scene->blocks[BUSY_BEHIND_A]));
}

static void previous_is_nowhere(struct forge_scene *scene)
{
    link_to(scene, FREE_B, NTH_FREE_PREVIOUS, NTH_WORD_MASK / 2u);
}

static void list_ends_early(struct forge_scene *scene)
{
    link_to(scene, FREE_B, NTH_FREE_NEXT, 0);
}

static void list_begins_with_a_later_one(struct forge_scene *scene)
{
    forge_bin(scene->heap, units_of(scene->heap, BYTES), forge_reference(scene->blocks[FREE_B]));
}

static void list_begins_with_another_size(struct forge_scene *scene)
{
    forge_bin(scene->heap, units_of(scene->heap, BYTES), forge_reference(scene->blocks[REST]));
}

static void list_begins_with_a_busy_one(struct forge_scene *scene)
{
    forge_bin(scene->heap, units_of(scene->heap, BYTES),
              forge_reference(scene->blocks[BUSY_BEHIND_A]));
}

static void list_is_empty(struct forge_scene *scene)
{
    forge_bin(scene->heap, units_of(scene->heap, BYTES), 0);
}

static void list_is_not_marked(struct forge_scene *scene)
{
    forge_bin_bit(scene->heap, units_of(scene->heap, BYTES), FALSE);
}

static void empty_list_is_marked(struct forge_scene *scene)
{
    forge_bin_bit(scene->heap, units_of(scene->heap, BYTES) - 1u, TRUE);
}

/* A word of the bitmap as nothing seals it: that of the small blocks, that of the largest. */
static void first_of_the_map_is_damaged(struct forge_scene *scene)
{
    forge_inside(scene->heap)->bin_map[0] ^= 1u;
}

static void last_of_the_map_is_damaged(struct forge_scene *scene)
{
    forge_inside(scene->heap)->bin_map[NTH_BIN_MAP_WORDS - 1u] ^= 1u;
}

/* One free block in a list of several sizes, and none that is larger. */
static void one_of_a_wide_list(struct forge_scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    scene->blocks[0] = HeapAlloc(scene->heap, 0, WIDE_BYTES);
    scene->blocks[1] = HeapAlloc(scene->heap, 0, BYTES);
    assert_non_null(scene->blocks[1]);
    assert_int_equal(nth_bin_of(units_of(scene->heap, WIDE_BYTES)),
                     nth_bin_of(units_of(scene->heap, WIDE_BYTES + 0x80u)));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[0]));
}

/* A heap that cannot grow, with one free block: all the rest of it. */
static void fixed_heap(struct forge_scene *scene)
{
    scene->heap = RtlCreateHeap(0, NULL, 0x10000, 0xF001, NULL, NULL);
    assert_non_null(scene->heap);
    scene->blocks[0] = HeapAlloc(scene->heap, 0, BYTES);
    assert_non_null(scene->blocks[0]);
    scene->blocks[1] = (uint8_t *)scene->blocks[0] + units_of(scene->heap, BYTES) * NTH_UNIT_BYTES;
}

static uint64_t rest_units(struct forge_scene *scene)
{
    return forge_block(scene->heap, scene->blocks[1]).units;
}

static void rest_is_not_marked(struct forge_scene *scene)
{
    forge_bin_bit(scene->heap, rest_units(scene), FALSE);
}

static void head_of_a_larger_list_is_damaged(struct forge_scene *scene)
{
    forge_inside(scene->heap)->bins[NTH_BIN_COUNT - 1u] ^= 1u;
}

static void footer(struct forge_scene *scene, int block, uint64_t units)
{
    const uint64_t bytes = units_of(scene->heap, BYTES) * NTH_UNIT_BYTES;
    forge_word(scene->heap, scene->blocks[block], bytes - NTH_FREE_FOOTER_BACK, units);
}

static void footer_is_one_more(struct forge_scene *scene)
{
    footer(scene, FREE_C, units_of(scene->heap, BYTES) + 1u);
}

/* A header of FREE_B with another size, its own footer as it was. */
static void free_block_of(struct forge_scene *scene, uint64_t units)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_B]);
    forge_word(scene->heap, scene->blocks[FREE_B], 0, forge_header(&block, NTH_BLOCK_FREE, units));
}

/* Up to the end of a busy block. */
static void free_block_is_longer(struct forge_scene *scene)
{
    free_block_of(scene, 2u * units_of(scene->heap, BYTES));
}

/* Where FREE_C ends. */
static void free_block_ends_with_the_next(struct forge_scene *scene)
{
    free_block_of(scene, 3u * units_of(scene->heap, BYTES));
}

/* By one unit: not where the next block starts, though its part of the map says that one before is
 * free. */
static void free_block_is_one_unit_longer(struct forge_scene *scene)
{
    free_block_of(scene, units_of(scene->heap, BYTES) + 1u);
}

/* To where no page was ever committed, and the map of blocks does not reach. */
static void free_block_is_far_longer(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_B]);
    free_block_of(scene, (block.region->bytes - block.offset) / NTH_UNIT_BYTES - 1u);
}

static void footer_is_past_the_first_block(struct forge_scene *scene)
{
    footer(scene, FREE_A, units_of(scene->heap, BYTES) + 1u);
}

static void footer_leads_to_a_busy_block(struct forge_scene *scene)
{
    footer(scene, FREE_B, 2u * units_of(scene->heap, BYTES));
}

static void footer_leads_to_another_free_block(struct forge_scene *scene)
{
    footer(scene, FREE_B, 3u * units_of(scene->heap, BYTES));
}

static void map_denies_the_free_block_before(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[BUSY_BEHIND_B]);
    nth_tag_previous_free(block.region, block.offset, false);
}

static void map_claims_a_free_block_before(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_B]);
    nth_tag_previous_free(block.region, block.offset, true);
}

static void map_has_a_start_too_many(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_B]);
    uint8_t *tag = nth_tag_at(block.region, block.offset + NTH_WINDOW_BYTES);
    *tag = NTH_TAG_START;
}

static void map_has_a_mark_too_many(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[BUSY_BEHIND_B]);
    uint8_t *tag = nth_tag_at(block.region, block.offset + NTH_WINDOW_BYTES);
    *tag = NTH_TAG_PREVIOUS_FREE;
}

static void map_has_a_start_before_the_first(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_A]);
    *nth_tag_at(block.region, NTH_WINDOW_BYTES) = NTH_TAG_START;
}

static void map_has_a_start_in_its_first_window(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_A]);
    *nth_tag_at(block.region, 0) = NTH_TAG_START;
}

/* The last window that the map has: its page was never committed. */
static void map_has_a_start_where_no_page_is(struct forge_scene *scene)
{
    const struct nth_block block = forge_block(scene->heap, scene->blocks[FREE_A]);
    uint64_t reach = 0;
    assert_true(nth_region_reach(block.region, &reach));
    *nth_tag_at(block.region, (reach - 1u) * NTH_WINDOW_BYTES) = NTH_TAG_PREVIOUS_FREE;
}

static void border(struct forge_scene *scene, uint8_t bits)
{
    const struct nth_block rest = forge_block(scene->heap, scene->blocks[REST]);
    *nth_tag_at(rest.region, rest.offset + nth_block_bytes(&rest)) ^= bits;
}

static void border_denies_the_free_block(struct forge_scene *scene)
{
    border(scene, NTH_TAG_PREVIOUS_FREE);
}

static void border_claims_to_be_busy(struct forge_scene *scene)
{
    border(scene, NTH_TAG_BUSY);
}

/* What is left behind a block that grows goes to this list. */
static void list_of_the_rest_is_damaged(struct forge_scene *scene)
{
    struct nth_heap *inside = forge_inside(scene->heap);
    const struct nth_block rest = forge_block(scene->heap, scene->blocks[REST]);
    const uint64_t more = units_of(scene->heap, GROWN) - units_of(scene->heap, BYTES);
    const uint32_t bin = nth_bin_of(rest.units - more);
    assert_int_not_equal(bin, nth_bin_of(rest.units));
    inside->bins[bin] ^= 1u;
}

#define ROW(forge, call, size, block, blamed, reason, field)                                       \
    {                                                                                              \
#forge, forge, call, size, block, blamed, reason, field                                    \
    }

static void a_free_list_that_contradicts_itself_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        ROW(next_is_nowhere, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK, "free.link"),
        ROW(next_is_another_heaps, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_a_large_block, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_inside_a_block, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_no_place_of_a_block, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_beyond_the_map, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_busy, RIG_HEAP_ALLOC, BYTES, -1, BUSY_BEHIND_B, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(next_is_of_another_size, RIG_HEAP_ALLOC, BYTES, -1, FREE_C, NTH_CORRUPT_FREE_LINK,
            "free.next"),
        ROW(next_leaves_one_out, RIG_HEAP_ALLOC, BYTES, -1, FREE_A, NTH_CORRUPT_FREE_LINK,
            "free.previous"),
        ROW(next_is_the_first, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, FREE_C, NTH_CORRUPT_FREE_LINK,
            "free.previous"),
        ROW(next_is_the_first, RIG_HEAP_VALIDATE, 0, -1, FREE_B, NTH_CORRUPT_FREE_LINK,
            "free.next"),
        ROW(first_has_a_previous, RIG_HEAP_ALLOC, BYTES, -1, FREE_C, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(first_has_a_previous, RIG_HEAP_FREE, 0, BUSY_BEHIND_C, FREE_B, NTH_CORRUPT_FREE_LINK,
            "free.next"),
        ROW(previous_is_none, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, FREE_B, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(previous_leaves_one_out, RIG_HEAP_FREE, 0, BUSY_BEHIND_A, FREE_C, NTH_CORRUPT_FREE_LINK,
            "free.next"),
        ROW(previous_is_busy, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, BUSY_BEHIND_A, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(previous_is_nowhere, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, -1, NTH_CORRUPT_FREE_LINK,
            "free.link"),
        ROW(list_ends_early, RIG_HEAP_VALIDATE, 0, -1, FREE_B, NTH_CORRUPT_FREE_LINK, "free.next"),
        ROW(list_begins_with_a_later_one, RIG_HEAP_ALLOC, BYTES, -1, FREE_B, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(list_begins_with_a_later_one, RIG_HEAP_FREE, 0, BUSY_BEHIND_C, FREE_C,
            NTH_CORRUPT_FREE_LIST, "heap.bins"),
        ROW(list_begins_with_another_size, RIG_HEAP_ALLOC, BYTES, -1, REST, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(list_begins_with_a_busy_one, RIG_HEAP_ALLOC, BYTES, -1, BUSY_BEHIND_A,
            NTH_CORRUPT_FREE_LINK, "free.link"),
        ROW(list_is_empty, RIG_HEAP_ALLOC, BYTES - 2u * NTH_UNIT_BYTES, -1, -1,
            NTH_CORRUPT_FREE_LIST, "heap.bin_map"),
        ROW(list_is_not_marked, RIG_HEAP_FREE, 0, BUSY_BEHIND_C, FREE_C, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(list_is_not_marked, RIG_HEAP_VALIDATE, 0, -1, FREE_C, NTH_CORRUPT_FREE_LIST,
            "heap.bins"),
        ROW(empty_list_is_marked, RIG_HEAP_ALLOC, BYTES - 2u * NTH_UNIT_BYTES, -1, -1,
            NTH_CORRUPT_FREE_LIST, "heap.bin_map"),
        ROW(empty_list_is_marked, RIG_HEAP_VALIDATE, 0, -1, -1, NTH_CORRUPT_FREE_LIST,
            "heap.bin_map"),
        ROW(first_of_the_map_is_damaged, RIG_HEAP_ALLOC, 0x30000, -1, -1, NTH_CORRUPT_FREE_LIST,
            "heap.bin_map"),
        ROW(list_of_the_rest_is_damaged, RIG_HEAP_REALLOC, GROWN, BUSY_BEHIND_C, -1,
            NTH_CORRUPT_FREE_LIST, "heap.bins"),
    };
    static const struct forge_row wide_rows[] = {
        ROW(last_of_the_map_is_damaged, RIG_HEAP_ALLOC, WIDE_BYTES + 0x80u, -1, -1,
            NTH_CORRUPT_FREE_LIST, "heap.bin_map"),
    };
    static const struct forge_row fixed_rows[] = {
        ROW(rest_is_not_marked, RIG_HEAP_ALLOC, BYTES, -1, -1, NTH_CORRUPT_FREE_LIST,
            "heap.bin_map"),
        ROW(head_of_a_larger_list_is_damaged, RIG_HEAP_ALLOC, 0x20000, -1, -1,
            NTH_CORRUPT_FREE_LIST, "heap.bins"),
        ROW(last_of_the_map_is_damaged, RIG_HEAP_ALLOC, 0x20000, -1, -1, NTH_CORRUPT_FREE_LIST,
            "heap.bin_map"),
    };
    forge_run(one_of_a_wide_list, wide_rows, FORGE_ROW_COUNT(wide_rows));
    forge_run(fixed_heap, fixed_rows, FORGE_ROW_COUNT(fixed_rows));
    forge_run(three_free, rows, FORGE_ROW_COUNT(rows));
}

static void a_footer_or_a_map_that_says_something_else_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        ROW(footer_is_one_more, RIG_HEAP_ALLOC, BYTES, -1, FREE_C, NTH_CORRUPT_FREE_FOOTER,
            "free.footer"),
        ROW(free_block_is_longer, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(free_block_is_longer, RIG_RTL_ZERO, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(free_block_is_one_unit_longer, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(free_block_ends_with_the_next, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_FREE_FOOTER,
            "free.footer"),
        ROW(free_block_is_far_longer, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(free_block_is_far_longer, RIG_HEAP_FREE, 0, BUSY_BEHIND_A, FREE_B,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(footer_is_one_more, RIG_RTL_ZERO, 0, -1, FREE_C, NTH_CORRUPT_FREE_FOOTER,
            "free.footer"),
        ROW(footer_is_past_the_first_block, RIG_HEAP_FREE, 0, BUSY_BEHIND_A, BUSY_BEHIND_A,
            NTH_CORRUPT_FREE_FOOTER, "free.footer"),
        ROW(footer_leads_to_a_busy_block, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, BUSY_BEHIND_B,
            NTH_CORRUPT_FREE_FOOTER, "free.footer"),
        ROW(footer_leads_to_another_free_block, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, BUSY_BEHIND_B,
            NTH_CORRUPT_FREE_FOOTER, "free.footer"),
        ROW(map_denies_the_free_block_before, RIG_HEAP_FREE, 0, BUSY_BEHIND_B, FREE_B,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(map_denies_the_free_block_before, RIG_HEAP_FREE, 0, BUSY_BEHIND_A, FREE_B,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(map_denies_the_free_block_before, RIG_HEAP_VALIDATE, 0, -1, FREE_B,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(map_denies_the_free_block_before, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_claims_a_free_block_before, RIG_HEAP_VALIDATE, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_claims_a_free_block_before, RIG_HEAP_WALK, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_has_a_start_too_many, RIG_HEAP_VALIDATE, 0, -1, FREE_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_has_a_mark_too_many, RIG_HEAP_VALIDATE, 0, -1, BUSY_BEHIND_B, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_has_a_start_before_the_first, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_has_a_start_in_its_first_window, RIG_HEAP_VALIDATE, 0, -1, -2,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        ROW(map_has_a_start_where_no_page_is, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(border_denies_the_free_block, RIG_HEAP_VALIDATE, 0, -1, REST, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(border_claims_to_be_busy, RIG_HEAP_VALIDATE, 0, -1, -2, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
    };
    forge_run(three_free, rows, FORGE_ROW_COUNT(rows));
}

/* The last word of a busy block may hold anything, even a word that opens. */
static void the_end_of_a_busy_block_is_no_footer(void **state)
{
    (void)state;
    static const int64_t multiples[] = {0, 1, 2, 3, 1000};
    for (size_t idx = 0; idx < sizeof(multiples) / sizeof(multiples[0]); idx++) {
        struct forge_scene scene;
        three_free(&scene);
        const uint64_t units = units_of(scene.heap, BYTES) * (uint64_t)multiples[idx];
        PVOID again = HeapAlloc(scene.heap, 0, BYTES); /* in place of c, busy before a busy one */
        assert_ptr_equal(again, scene.blocks[FREE_C]);
        footer(&scene, FREE_C, units);
        assert_true(HeapFree(scene.heap, 0, scene.blocks[BUSY_BEHIND_C]));
        rig_report_demand_none();
        assert_true(HeapValidate(scene.heap, 0, NULL));
        nth_process_reset();
    }
}

/* ---- a resize that meets damage in its middle ---- */

#define MIXED 24u
#define TRIALS 100000u /* one of thousands does what is looked for */

/* Blocks of many sizes with holes between them, some of the map's bits wrong, and one block that is
 * to move: all by a number. */
static HANDLE mixture(uint64_t draw, PVOID *moves, unsigned *busy)
{
    PVOID blocks[MIXED];
    PROCESS_HEAP_ENTRY entry = {0};
    HANDLE heap = rig_heap_new();
    for (unsigned idx = 0; idx < MIXED; idx++) {
        blocks[idx] = rig_block_new(heap, 8u + 16u * ((idx * 7u + (SIZE_T)(draw >> 40)) % 29u));
    }
    for (unsigned idx = 0; idx < MIXED; idx += 3) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    *moves = blocks[(draw >> 50) % (MIXED / 3u) * 3u + 1u];
    for (*busy = 0; HeapWalk(heap, &entry);) {
        *busy += entry.wFlags == PROCESS_HEAP_ENTRY_BUSY;
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        forge_bin_bit(heap, 2u + (draw >> (7u * idx)) % 60u, (draw >> (30u + idx)) & 1u);
    }
    return heap;
}

/* It has changed nothing, or its heap is damaged from there on: TRUE. */
static BOOLEAN resize_damages(uint64_t draw)
{
    PVOID block = NULL;
    unsigned before = 0;
    unsigned after = 0;
    PROCESS_HEAP_ENTRY entry = {0};
    HANDLE heap = mixture(draw, &block, &before);
    const BOOLEAN moved = HeapReAlloc(heap, 0, block, 40u + (SIZE_T)(draw >> 20) % 500u) != NULL;
    assert_true(moved || rig_report_count() > 0);
    rig_report_forget();
    while (HeapWalk(heap, &entry)) {
        after += entry.wFlags == PROCESS_HEAP_ENTRY_BUSY;
    }
    const BOOLEAN damaged =
        rig_report_count() > 0 && rig_report_last()->reason == NTH_CORRUPT_DAMAGED;
    assert_true(damaged ? !moved : after == before);
    assert_true(HeapDestroy(heap));
    rig_report_forget();
    return damaged;
}

/* D18: the old block cannot be freed, and nor can the new one. */
static void a_resize_that_cannot_be_undone_leaves_a_damaged_heap(void **state)
{
    (void)state;
    BOOLEAN damaged = FALSE;
    uint64_t draw = 1;
    for (unsigned count = 0; count < TRIALS && !damaged; count++) {
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        damaged = resize_damages(draw ^ draw >> 29);
    }
    assert_true(damaged);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_header_that_no_block_has_is_reported),
        TEST(a_header_at_its_limits_is_believed),
        TEST(a_free_list_that_contradicts_itself_is_reported),
        TEST(a_footer_or_a_map_that_says_something_else_is_reported),
        TEST(the_end_of_a_busy_block_is_no_footer),
        TEST(a_resize_that_cannot_be_undone_leaves_a_damaged_heap),
    };
    return cmocka_run_group_tests_name("forged words", tests, NULL, NULL);
}
