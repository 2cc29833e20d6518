/* SPDX-License-Identifier: MIT
 *
 * The back end: cutting, merging, growing in place, giving pages back, fixed heaps to their last
 * byte, many segments, large blocks. In heaps that have no front end; over the arena and over the
 * operating system's pages. */
#include "support/crew.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"

#define PLAIN HEAP_NO_SERIALIZE /* never has a front end */
#define HEADER ((SIZE_T)8)
#define FREE_OVERHEAD ((SIZE_T)32)

/* What a request takes from the back end. */
static SIZE_T gross(SIZE_T size)
{
    const SIZE_T whole = (size + HEADER + NTH_UNIT_BYTES - 1) / NTH_UNIT_BYTES * NTH_UNIT_BYTES;
    return whole < NTH_BLOCK_MIN_BYTES ? NTH_BLOCK_MIN_BYTES : whole;
}

static HANDLE heap_new(void)
{
    HANDLE heap = HeapCreate(PLAIN, 0, 0);
    assert_non_null(heap);
    return heap;
}

static uint8_t *take(HANDLE heap, SIZE_T size)
{
    uint8_t *block = HeapAlloc(heap, 0, size);
    assert_non_null(block);
    memset(block, (int)(size % 251) + 1, size);
    return block;
}

static void demand_kept(const uint8_t *block, SIZE_T size, SIZE_T as_taken)
{
    for (SIZE_T idx = 0; idx < size; idx++) {
        assert_int_equal(block[idx], as_taken % 251 + 1);
    }
}

/* Bytes of the free block that starts at `place` (where its user data would be), 0 if none does. */
static SIZE_T free_at(HANDLE heap, const uint8_t *place)
{
    PROCESS_HEAP_ENTRY entry = {0};
    SIZE_T found = 0;
    while (HeapWalk(heap, &entry)) {
        if (entry.wFlags == 0 && (uint8_t *)entry.lpData - 16 == place) {
            found = entry.cbData + FREE_OVERHEAD;
        }
    }
    return found;
}

static unsigned regions(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    unsigned count = 0;
    while (HeapWalk(heap, &entry)) {
        count += (entry.wFlags & PROCESS_HEAP_REGION) != 0;
    }
    return count;
}

static SIZE_T committed(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, 0, &summary));
    return summary.cbCommitted;
}

static SIZE_T reserved(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, 0, &summary));
    return summary.cbReserved;
}

/* ---- cutting and merging ---- */

static void a_block_is_cut_from_the_front_of_a_free_one(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *first = take(heap, 1000);
    const SIZE_T rest = free_at(heap, first + gross(1000));
    assert_true(rest > 0);
    uint8_t *second = take(heap, 300);
    assert_ptr_equal(second, first + gross(1000));
    assert_int_equal(free_at(heap, second + gross(300)), rest - gross(300));
    assert_true(HeapValidate(heap, 0, NULL));
}

#define NEIGHBOUR ((SIZE_T)200)

/* Five in a row and something behind them; the one in the middle is freed last. */
static void merge(BOOLEAN previous_free, BOOLEAN next_free)
{
    HANDLE heap = heap_new();
    uint8_t *row[5];
    for (size_t idx = 0; idx < 5; idx++) {
        row[idx] = take(heap, NEIGHBOUR + 16 * idx);
    }
    (void)take(heap, 50);
    if (previous_free) {
        assert_true(HeapFree(heap, 0, row[1]));
    }
    if (next_free) {
        assert_true(HeapFree(heap, 0, row[3]));
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, row[2]));
    assert_true(HeapValidate(heap, 0, NULL));
    const uint8_t *start = previous_free ? row[1] : row[2];
    const uint8_t *end = next_free ? row[4] : row[3];
    assert_int_equal(free_at(heap, start), end - start);
    if (previous_free) {
        assert_int_equal(free_at(heap, row[2]), 0);
    }
    if (next_free) {
        assert_int_equal(free_at(heap, row[3]), 0);
    }
    demand_kept(row[0], NEIGHBOUR, NEIGHBOUR);
    demand_kept(row[4], NEIGHBOUR + 64, NEIGHBOUR + 64);
    assert_ptr_equal(take(heap, (SIZE_T)(end - start) - HEADER), start);
    assert_true(HeapDestroy(heap));
}

static void a_freed_block_between_busy_ones_stands_alone(void **state)
{
    (void)state;
    merge(FALSE, FALSE);
}

static void a_freed_block_merges_with_the_one_before(void **state)
{
    (void)state;
    merge(TRUE, FALSE);
}

static void a_freed_block_merges_with_the_one_behind(void **state)
{
    (void)state;
    merge(FALSE, TRUE);
}

static void a_freed_block_merges_with_both(void **state)
{
    (void)state;
    merge(TRUE, TRUE);
}

static void a_hole_of_the_right_size_is_filled_before_a_larger_one(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *large = take(heap, 5000);
    (void)take(heap, 50);
    uint8_t *exact = take(heap, 700);
    (void)take(heap, 50);
    assert_true(HeapFree(heap, 0, large));
    assert_true(HeapFree(heap, 0, exact));
    assert_ptr_equal(take(heap, 700), exact);
    assert_ptr_equal(take(heap, 700), large);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* What is left of a hole is a free block, or goes with the block when it is too small for one. */
static void what_cutting_leaves_over_is_never_lost(void **state)
{
    (void)state;
    for (SIZE_T less = 0; less <= 80; less += 8) {
        HANDLE heap = heap_new();
        uint8_t *hole = take(heap, 600);
        uint8_t *behind = take(heap, 50);
        const SIZE_T bytes = (SIZE_T)(behind - hole);
        assert_true(HeapFree(heap, 0, hole));
        assert_ptr_equal(take(heap, 600 - less), hole);
        const SIZE_T left = bytes - gross(600 - less);
        assert_int_equal(free_at(heap, hole + gross(600 - less)),
                         left < NTH_BLOCK_MIN_BYTES ? 0 : left);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(HeapFree(heap, 0, hole));
        assert_int_equal(free_at(heap, hole), bytes);
        assert_true(HeapDestroy(heap));
    }
}

/* ---- resizing in place ---- */

static void in_place_a_block_grows_into_the_free_one_behind(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *block = take(heap, 300);
    uint8_t *next = take(heap, 1000);
    uint8_t *behind = take(heap, 100);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 320));
    assert_int_equal(HeapSize(heap, 0, block), 300);
    assert_true(HeapFree(heap, 0, next));
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block,
                            (SIZE_T)(behind - block) - HEADER + 1));
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 700), block);
    demand_kept(block, 300, 300);
    assert_int_equal(free_at(heap, block + gross(700)), (SIZE_T)(behind - block) - gross(700));
    assert_ptr_equal(
        HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, (SIZE_T)(behind - block) - HEADER),
        block);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 10), block);
    assert_int_equal(free_at(heap, block + gross(10)), (SIZE_T)(behind - block) - gross(10));
    demand_kept(block, 10, 300);
    demand_kept(behind, 100, 100);
    assert_true(HeapValidate(heap, 0, NULL));
}

static void at_the_end_of_what_is_committed_a_block_grows_in_place(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *block = take(heap, 1000);
    SIZE_T size = 1000;
    const SIZE_T before = committed(heap);
    while (size < 0x30000) {
        size += 3000;
        assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, size), block);
        memset(block + 1000, 0xEE, size - 1000);
    }
    demand_kept(block, 1000, 1000);
    assert_true(committed(heap) > before + 0x20000);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 0x7E000));
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- pages ---- */

static void pages_go_back_and_come_again(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *kept = take(heap, 100);
    for (unsigned round = 0; round < 3; round++) {
        uint8_t *blocks[16];
        for (size_t idx = 0; idx < 16; idx++) {
            blocks[idx] = take(heap, 0x8000);
        }
        const SIZE_T high = committed(heap);
        for (size_t idx = 0; idx < 16; idx += 2) {
            assert_true(HeapFree(heap, 0, blocks[idx])); /* holes between committed pages */
        }
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(committed(heap) < high - 4 * 0x7000);
        uint8_t *again = HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x7000);
        for (SIZE_T idx = 0; idx < 0x7000; idx++) {
            assert_int_equal(again[idx], 0);
        }
        assert_true(HeapFree(heap, 0, again));
        for (size_t idx = 1; idx < 16; idx += 2) {
            demand_kept(blocks[idx], 0x8000, 0x8000);
            assert_true(HeapFree(heap, 0, blocks[idx]));
        }
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(committed(heap) < 0x20000);
    }
    demand_kept(kept, 100, 100);
}

/* ---- fixed heaps ---- */

/* The largest request that the walk promises: a free block, alone or with an uncommitted range next
 * to it, whose first 8 bytes and borders it takes over. */
static SIZE_T promised(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    SIZE_T run = 0;
    SIZE_T most = 0;
    while (HeapWalk(heap, &entry)) {
        const SIZE_T bytes = entry.cbData + entry.cbOverhead;
        const BOOLEAN room = entry.wFlags == 0 || entry.wFlags == PROCESS_HEAP_UNCOMMITTED_RANGE;
        run = room ? run + bytes : 0;
        most = run > most ? run : most;
    }
    /* The last element of a region counts the 8 bytes at its very end as its own. */
    return most < NTH_BLOCK_MIN_BYTES ? 0 : (most - 8) / NTH_UNIT_BYTES * NTH_UNIT_BYTES;
}

static void a_fixed_heap_fills_to_its_last_byte(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        HANDLE heap = HeapCreate(seed % 2 == 0 ? PLAIN : 0, 0, 0x40000);
        PVOID blocks[6000];
        uint32_t random = seed;
        unsigned count = 0;
        unsigned failures = 0;
        for (SIZE_T most = 20000; most > 0; most /= 2) {
            for (unsigned tries = 0; tries < 200 && count < 6000; tries++) {
                random = random * 1664525u + 1013904223u;
                const SIZE_T size = (random >> 8) % most;
                PVOID block = HeapAlloc(heap, 0, size);
                if (block == NULL) {
                    failures++;
                    assert_true(promised(heap) < gross(size));
                    break;
                }
                memset(block, 1, size);
                if (tries % 5 == 4) {
                    assert_true(HeapFree(heap, 0, block));
                } else {
                    blocks[count++] = block;
                }
            }
            assert_true(HeapValidate(heap, 0, NULL));
        }
        while (count < 6000) {
            blocks[count] = HeapAlloc(heap, 0, 0);
            if (blocks[count] == NULL) {
                break;
            }
            count++;
        }
        assert_true(failures > 0);
        assert_true(promised(heap) < NTH_BLOCK_MIN_BYTES);
        for (unsigned idx = 0; idx < count; idx++) {
            assert_true(HeapFree(heap, 0, blocks[(idx * 7919u) % count]));
        }
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(HeapDestroy(heap));
    }
}

/* ---- segments ---- */

/* Past the pointers kept in the heap object, into directory pages. More would only be larger. */
#define SEGMENTS 110u

static void many_segments_come_and_go(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS parameters = {.Length = sizeof(parameters), .SegmentReserve = 0x10000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE | PLAIN, NULL, 0, 0, NULL, &parameters);
    static uint8_t *blocks[4000];
    unsigned count = 0;
    assert_non_null(heap);
    const SIZE_T before = reserved(heap);
    while (regions(heap) < SEGMENTS) {
        for (unsigned burst = 0; burst < 8; burst++) {
            assert_true(count < 4000);
            blocks[count] = HeapAlloc(heap, 0, count < 200 ? 0xF000 : 0x7E000);
            assert_non_null(blocks[count]);
            blocks[count][0] = (uint8_t)count;
            count++;
        }
    }
    assert_true(HeapValidate(heap, 0, NULL));
    for (unsigned step = 0; step < count; step++) {
        const unsigned idx = step % 2 == 0 ? step / 2 : count - 1 - step / 2;
        assert_int_equal(blocks[idx][0], (uint8_t)idx);
        assert_true(HeapFree(heap, 0, blocks[idx]));
        if (step % 64 == 0) {
            assert_true(HeapValidate(heap, 0, NULL));
        }
    }
    (void)HeapCompact(heap, 0);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_int_equal(regions(heap), 1);
    assert_int_equal(reserved(heap), before);
    assert_non_null(HeapAlloc(heap, 0, 0x7E000));
}

#define STEP_MAX ((SIZE_T)0x100000) /* D80: what is committed at once, beyond what is needed */
#define MUCH ((SIZE_T)0x2800000)    /* a sixteenth of it is 2.5 MiB */

static void a_large_heap_grows_by_a_mebibyte_at_a_time(void **state)
{
    (void)state;
    const SIZE_T size = 0xF000;
    HANDLE heap = HeapCreate(0, 0, 0);
    SIZE_T widest = 0;
    for (SIZE_T before = committed(heap), now = before; now < MUCH; before = now) {
        assert_non_null(HeapAlloc(heap, 0, size));
        now = committed(heap);
        widest = now - before > widest ? now - before : widest;
    }
    assert_in_range(widest, STEP_MAX, STEP_MAX + 2 * size);
}

/* ---- large blocks ---- */

#define LARGE ((SIZE_T)0x90000)

static void pattern_put(uint8_t *block, SIZE_T first, SIZE_T end)
{
    for (SIZE_T idx = first; idx < end; idx += 509) {
        block[idx] = (uint8_t)(idx / 509);
    }
    block[end - 1] = 0x77;
}

static void pattern_check(const uint8_t *block, SIZE_T end)
{
    for (SIZE_T idx = 0; idx < end; idx += 509) {
        assert_true(block[idx] == (uint8_t)(idx / 509) || block[idx] == 0x77);
    }
}

/* Between two others, so that the list of large blocks has neighbours to mend. */
static void large_blocks_grow_and_shrink(void)
{
    HANDLE heap = heap_new();
    uint8_t *before = take(heap, LARGE);
    uint8_t *block = HeapAlloc(heap, 0, LARGE);
    uint8_t *behind = take(heap, LARGE + 1);
    pattern_put(block, 0, LARGE);
    uint8_t *grown = HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, LARGE + LARGE / 8);
    assert_ptr_equal(grown, block);
    pattern_check(block, LARGE);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 8 * LARGE));
    assert_int_equal(HeapSize(heap, 0, block), LARGE + LARGE / 8);
    block[LARGE + LARGE / 8 - 1] = 0x77;
    for (SIZE_T size = 2 * LARGE; size <= 16 * LARGE; size *= 2) {
        const SIZE_T last = HeapSize(heap, 0, block) - 1;
        block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, size);
        assert_non_null(block);
        assert_int_equal(block[last], 0x77);
        assert_int_equal(block[size - 1], 0);
        pattern_check(block, LARGE);
        for (SIZE_T idx = LARGE + LARGE / 8; idx < size; idx += 1021) {
            assert_true(block[idx] == 0 || block[idx] == 0x77);
        }
        assert_int_equal(HeapSize(heap, 0, block), size);
        block[size - 1] = 0x77;
        assert_true(HeapValidate(heap, 0, NULL));
    }
    const SIZE_T high = committed(heap);
    assert_ptr_equal(HeapReAlloc(heap, 0, block, LARGE), block);
    assert_true(committed(heap) < high - 12 * LARGE);
    pattern_check(block, LARGE);
    uint8_t *small = HeapReAlloc(heap, 0, block, 1000);
    pattern_check(small, 1000);
    uint8_t *large = HeapReAlloc(heap, 0, small, 2 * LARGE);
    pattern_check(large, 1000);
    demand_kept(before, LARGE, LARGE);
    demand_kept(behind, LARGE + 1, LARGE + 1);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, before));
    assert_true(HeapFree(heap, 0, large));
    assert_true(HeapFree(heap, 0, behind));
    assert_true(HeapValidate(heap, 0, NULL));
    assert_int_equal(crew_walk_busy(heap), 0);
}

static void large_blocks_keep_their_bytes_where_pages_cannot_move(void **state)
{
    (void)state;
    const unsigned before = crew_pages_count(NTH_PAGE_REMAP);
    large_blocks_grow_and_shrink();
    assert_int_equal(crew_pages_count(NTH_PAGE_REMAP), before);
}

static void large_blocks_keep_their_bytes_where_pages_move(void **state)
{
    (void)state;
    crew_use_pages(nth_pages_os());
    const unsigned before = crew_pages_count(NTH_PAGE_REMAP);
    large_blocks_grow_and_shrink();
    assert_int_equal(crew_pages_count(NTH_PAGE_REMAP) > before, !NTH_SHADOW_ONLY_IN_PLACE);
}

/* D80: a heap that may not grow as much as it likes grows as much as it must, to the last pages. */
static void the_last_pages_serve_as_well(void **state)
{
    (void)state;
    const SIZE_T limit = 0x800000;
    const SIZE_T size = 0x4000;
    struct nth_arena *arena = nth_arena_create(0x4000000, limit);
    assert_non_null(arena);
    crew_use_pages(nth_arena_pages(arena));
    HANDLE heap = HeapCreate(PLAIN, 0, 2 * limit); /* further segments would have the last pages */
    assert_non_null(heap);
    for (unsigned count = 0; HeapAlloc(heap, 0, size) != NULL; count++) {
        assert_in_range(count, 0, limit / size);
    }
    assert_in_range(nth_balance_now().committed_bytes, limit - 2 * size, limit);
    assert_true(HeapValidate(heap, 0, NULL));
    nth_process_reset();
    crew_use_pages(nth_pages_os());
    nth_arena_destroy(arena);
}

#define OVER_ARENA(name) cmocka_unit_test_setup_teardown(name, crew_setup_arena, crew_teardown)
#define OVER_SYSTEM(name)                                                                          \
    {                                                                                              \
#name "_over_the_system", name, crew_setup, crew_teardown, NULL                            \
    }
#define OVER_BOTH(name) OVER_ARENA(name), OVER_SYSTEM(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_BOTH(a_block_is_cut_from_the_front_of_a_free_one),
        OVER_BOTH(a_freed_block_between_busy_ones_stands_alone),
        OVER_BOTH(a_freed_block_merges_with_the_one_before),
        OVER_BOTH(a_freed_block_merges_with_the_one_behind),
        OVER_BOTH(a_freed_block_merges_with_both),
        OVER_BOTH(a_hole_of_the_right_size_is_filled_before_a_larger_one),
        OVER_BOTH(what_cutting_leaves_over_is_never_lost),
        OVER_BOTH(in_place_a_block_grows_into_the_free_one_behind),
        OVER_BOTH(at_the_end_of_what_is_committed_a_block_grows_in_place),
        OVER_BOTH(pages_go_back_and_come_again),
        OVER_BOTH(a_fixed_heap_fills_to_its_last_byte),
        OVER_BOTH(many_segments_come_and_go),
        OVER_BOTH(a_large_heap_grows_by_a_mebibyte_at_a_time),
        OVER_ARENA(the_last_pages_serve_as_well),
        OVER_ARENA(large_blocks_keep_their_bytes_where_pages_cannot_move),
        OVER_ARENA(large_blocks_keep_their_bytes_where_pages_move),
    };
    return cmocka_run_group_tests_name("the back end", tests, NULL, NULL);
}
