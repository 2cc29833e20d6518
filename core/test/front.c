/* SPDX-License-Identifier: MIT
 *
 * The low-fragmentation front end: when it starts, whose slots it hands out, what happens to the
 * magazines of threads that are gone, and that all of it can be given back. Which part of the heap
 * a block belongs to is what RtlWalkHeap says. */
#include "support/crew.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"

#define START NTH_LFH_START_COUNT
#define COUNT 400u

static HANDLE heap_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    return heap;
}

struct census {
    unsigned front_busy;
    unsigned front_free;
    unsigned back_busy;
};

static struct census census_take(HANDLE heap)
{
    RTL_HEAP_WALK_ENTRY entry = {0};
    struct census census = {0};
    while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS) {
        const BOOLEAN front = (entry.Flags & RTL_HEAP_WALK_LFH) != 0;
        const BOOLEAN busy = (entry.Flags & RTL_HEAP_WALK_BUSY) == RTL_HEAP_WALK_BUSY;
        census.front_busy += front && busy;
        census.front_free += front && !busy;
        census.back_busy += !front && busy;
    }
    return census;
}

/* Is the block of the front end? It must be there exactly once, with its size. */
static BOOLEAN is_front(HANDLE heap, LPCVOID block)
{
    RTL_HEAP_WALK_ENTRY entry = {0};
    unsigned found = 0;
    BOOLEAN front = FALSE;
    while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS) {
        if (entry.DataAddress == block) {
            found++;
            front = (entry.Flags & RTL_HEAP_WALK_LFH) != 0;
            assert_int_equal(entry.DataSize, HeapSize(heap, 0, block));
        }
    }
    assert_int_equal(found, 1);
    return front;
}

/* D61 */
static void each_class_starts_at_its_own_count_of_outstanding_blocks(void **state)
{
    (void)state;
    static const SIZE_T sizes[] = {1, 40, 250, 1000, 5000, 16000};
    HANDLE heap = heap_new();
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        for (unsigned count = 1; count < START; count++) {
            assert_false(is_front(heap, HeapAlloc(heap, 0, sizes[idx])));
        }
        assert_true(is_front(heap, HeapAlloc(heap, 0, sizes[idx])));
        assert_true(is_front(heap, HeapAlloc(heap, 0, sizes[idx])));
    }
    for (unsigned count = 0; count < 4 * START; count++) {
        assert_false(is_front(heap, HeapAlloc(heap, 0, NTH_LFH_MAX_BYTES)));
    }
    assert_true(HeapValidate(heap, 0, NULL));
}

static void what_was_freed_before_does_not_count(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    for (unsigned count = 0; count < 3 * START; count++) {
        PVOID block = HeapAlloc(heap, 0, 40);
        assert_false(is_front(heap, block));
        assert_true(HeapFree(heap, 0, block));
    }
}

static int compare(const void *left, const void *right)
{
    const uintptr_t a = (uintptr_t) * (void *const *)left;
    const uintptr_t b = (uintptr_t) * (void *const *)right;
    return (a > b) - (a < b);
}

/* Sorted by address afterwards. */
static void allocate_many(HANDLE heap, SIZE_T size, PVOID *blocks, unsigned count)
{
    for (unsigned idx = 0; idx < count; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, size);
        crew_demand(blocks[idx] != NULL);
        memset(blocks[idx], (int)idx, size);
    }
    qsort(blocks, count, sizeof(blocks[0]), compare);
}

static void free_many(HANDLE heap, PVOID *blocks, unsigned count)
{
    for (unsigned idx = 0; idx < count; idx++) {
        crew_demand(HeapFree(heap, 0, blocks[idx]));
    }
}

static void blocks_do_not_overlap(void **state)
{
    (void)state;
    static const SIZE_T sizes[] = {0, 24, 100, 777, 3000};
    HANDLE heap = heap_new();
    PVOID blocks[5][COUNT];
    PVOID all[5 * COUNT];
    for (size_t idx = 0; idx < 5; idx++) {
        allocate_many(heap, sizes[idx], blocks[idx], COUNT);
        memcpy(all + idx * COUNT, blocks[idx], sizeof(blocks[idx]));
    }
    qsort(all, 5 * COUNT, sizeof(all[0]), compare);
    for (size_t idx = 0; idx + 1 < (size_t)5 * COUNT; idx++) {
        const SIZE_T size = HeapSize(heap, 0, all[idx]);
        assert_true((uintptr_t)all[idx] + size < (uintptr_t)all[idx + 1]);
    }
    const struct census census = census_take(heap);
    assert_int_equal(census.front_busy + census.back_busy, 5 * COUNT);
    assert_true(census.front_busy >= 5 * (COUNT - START));
    assert_true(HeapValidate(heap, 0, NULL));
    for (size_t idx = 0; idx < 5; idx++) {
        free_many(heap, blocks[idx], COUNT);
    }
    assert_int_equal(census_take(heap).front_busy, 0);
    assert_true(HeapValidate(heap, 0, NULL));
}

static void freed_slots_are_handed_out_again(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    PVOID first[COUNT];
    PVOID again[COUNT];
    allocate_many(heap, 100, first, COUNT); /* and the front end has started */
    free_many(heap, first, COUNT);
    allocate_many(heap, 100, first, COUNT);
    free_many(heap, first, COUNT);
    const struct nth_balance before = nth_balance_now();
    for (unsigned round = 0; round < 20; round++) {
        allocate_many(heap, 100, again, COUNT);
        free_many(heap, again, COUNT);
    }
    const struct nth_balance after = nth_balance_now();
    assert_int_equal(after.reserved_bytes, before.reserved_bytes);
    assert_true(after.committed_bytes <= before.committed_bytes + before.committed_bytes / 8);
    PVOID last = HeapAlloc(heap, 0, 100);
    assert_true(HeapFree(heap, 0, last));
    assert_ptr_equal(HeapAlloc(heap, 0, 100), last);
}

static void a_walk_shows_slots_used_and_free(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    PVOID blocks[COUNT];
    allocate_many(heap, 60, blocks, COUNT);
    for (unsigned idx = 0; idx < COUNT; idx += 2) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    const struct census census = census_take(heap);
    assert_int_equal(census.front_busy + census.back_busy, COUNT / 2);
    assert_true(census.front_free >= COUNT / 2 - START);
    for (unsigned idx = 1; idx < COUNT; idx += 50) {
        (void)is_front(heap, blocks[idx]);
    }
}

static uintptr_t allocate_and_leave(struct crew_hand *hand)
{
    PVOID blocks[COUNT];
    allocate_many(hand->heap, 100, blocks, COUNT);
    free_many(hand->heap, blocks, COUNT);
    hand->block = HeapAlloc(hand->heap, 0, 100); /* on top of the magazine */
    crew_demand(HeapFree(hand->heap, 0, hand->block));
    return (uintptr_t)hand->block;
}

/* Started while the first one lives, so that it is not mistaken for it. */
static uintptr_t allocate_one(struct crew_hand *hand)
{
    crew_await(hand->extra);
    hand->block = HeapAlloc(hand->heap, 0, 100);
    crew_demand(HeapFree(hand->heap, 0, hand->block));
    return (uintptr_t)hand->block;
}

static void magazines_of_a_thread_that_is_gone_are_taken_over(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    int go[5] = {0};
    struct crew_hand next[5];
    struct crew_hand first = {.work = allocate_and_leave, .heap = heap};
    crew_start(&first);
    for (size_t idx = 0; idx < 5; idx++) {
        next[idx] = (struct crew_hand){.work = allocate_one, .heap = heap, .extra = &go[idx]};
        crew_start(&next[idx]);
    }
    const uintptr_t top = crew_join(&first);
    const size_t reservations = nth_balance_now().reservation_count;
    for (size_t idx = 0; idx < 5; idx++) {
        crew_raise(&go[idx]);
        assert_int_equal(crew_join(&next[idx]), top);
    }
    assert_int_equal(nth_balance_now().reservation_count, reservations);
}

struct crowd {
    int ready; /* atomic */
    int go;
};

static uintptr_t stay(struct crew_hand *hand)
{
    struct crowd *crowd = hand->extra;
    PVOID blocks[20];
    allocate_many(hand->heap, 100, blocks, 20);
    __atomic_add_fetch(&crowd->ready, 1, __ATOMIC_RELEASE);
    crew_await(&crowd->go);
    free_many(hand->heap, blocks, 20);
    return 1;
}

/* More threads at once than a heap has room for magazines: the others go without. */
static void there_may_be_any_number_of_threads(void **state)
{
    (void)state;
    enum { CROWD = NTH_CACHE_MAX_COUNT + 10 };
    static struct crew_hand hands[CROWD];
    struct crowd crowd = {0, 0};
    HANDLE heap = heap_new();
    for (unsigned idx = 0; idx < CROWD; idx++) {
        hands[idx] = (struct crew_hand){.work = stay, .heap = heap, .extra = &crowd};
        crew_start(&hands[idx]);
    }
    while (__atomic_load_n(&crowd.ready, __ATOMIC_ACQUIRE) < CROWD) {
        (void)HeapFree(heap, 0, HeapAlloc(heap, 0, 100));
    }
    assert_true(HeapValidate(heap, 0, NULL));
    crew_raise(&crowd.go);
    for (unsigned idx = 0; idx < CROWD; idx++) {
        assert_int_equal(crew_join(&hands[idx]), 1);
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_int_equal(crew_walk_busy(heap), 0);
}

static void compacting_gives_everything_back(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct crew_hand other = {.work = allocate_and_leave, .heap = heap};
    HEAP_SUMMARY first = {.cb = sizeof(first)};
    HEAP_SUMMARY last = {.cb = sizeof(last)};
    PVOID blocks[COUNT];
    assert_true(HeapSummary(heap, 0, &first));
    for (SIZE_T size = 50; size < 3000; size += 500) {
        allocate_many(heap, size, blocks, COUNT);
        free_many(heap, blocks, COUNT);
    }
    assert_true(crew_run(&other) != 0);
    assert_true(census_take(heap).front_free > 0);
    assert_true(HeapCompact(heap, 0) != 0);
    const struct census census = census_take(heap);
    assert_int_equal(census.front_free + census.front_busy + census.back_busy, 0);
    assert_true(HeapSummary(heap, 0, &last));
    assert_int_equal(last.cbReserved, first.cbReserved);
    assert_true(HeapValidate(heap, 0, NULL));
    allocate_many(heap, 100, blocks, COUNT);
    assert_true(HeapValidate(heap, 0, NULL));
}

static uintptr_t mix(struct crew_hand *hand)
{
    PVOID blocks[COUNT];
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(hand->heap, idx % 3 == 0 ? HEAP_NO_SERIALIZE : 0, 70);
        crew_demand(blocks[idx] != NULL);
        memset(blocks[idx], (int)idx, 70);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        const uint8_t *bytes = blocks[idx];
        crew_demand(bytes[0] == (uint8_t)idx);
        crew_demand(bytes[69] == (uint8_t)idx);
        crew_demand(HeapFree(hand->heap, idx % 2 == 0 ? HEAP_NO_SERIALIZE : 0, blocks[idx]));
    }
    return 1;
}

/* While nobody else is there: that is what the flag promises. */
static void calls_that_do_not_serialize_mix_with_those_that_do(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct crew_hand hand = {.work = mix, .heap = heap};
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(mix(&hand), 1);
        assert_int_equal(crew_run(&hand), 1);
        assert_true(HeapValidate(heap, round % 2 == 0 ? HEAP_NO_SERIALIZE : 0, NULL));
    }
    assert_int_equal(crew_walk_busy(heap), 0);
}

static void a_slot_takes_what_fits_and_a_larger_block_moves(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    PVOID blocks[COUNT];
    allocate_many(heap, 100, blocks, COUNT);
    uint8_t *block = blocks[COUNT - 1];
    memset(block, 0x5A, 100);
    assert_true(is_front(heap, block));
    assert_ptr_equal(HeapReAlloc(heap, 0, block, 90), block);
    assert_int_equal(HeapSize(heap, 0, block), 90);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, 104), block);
    assert_int_equal(block[89], 0x5A);
    assert_int_equal(block[90], 0);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 300));
    uint8_t *moved = HeapReAlloc(heap, 0, block, 300);
    assert_ptr_not_equal(moved, block);
    assert_int_equal(moved[89], 0x5A);
    assert_true(HeapValidate(heap, 0, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, crew_setup_arena, crew_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_class_starts_at_its_own_count_of_outstanding_blocks),
        TEST(what_was_freed_before_does_not_count),
        TEST(blocks_do_not_overlap),
        TEST(freed_slots_are_handed_out_again),
        TEST(a_walk_shows_slots_used_and_free),
        TEST(magazines_of_a_thread_that_is_gone_are_taken_over),
        TEST(there_may_be_any_number_of_threads),
        TEST(compacting_gives_everything_back),
        TEST(calls_that_do_not_serialize_mix_with_those_that_do),
        TEST(a_slot_takes_what_fits_and_a_larger_block_moves),
    };
    return cmocka_run_group_tests_name("the front end", tests, NULL, NULL);
}
