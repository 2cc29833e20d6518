/* SPDX-License-Identifier: MIT
 *
 * Rulings on compacting, summing up and zeroing a heap (D73 to D75). */
#include "support/rig.h"

#include <string.h>

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define HEADER ((SIZE_T)8)         /* in front of a block's data */
#define FREE_OVERHEAD ((SIZE_T)32) /* of a free block */
#define PLAIN ((SIZE_T)0x4800)     /* a size that the front end does not serve */

/* Some live blocks, some freed ones, several regions; none of the front end. */
static void make_mixture(HANDLE heap)
{
    PVOID blocks[60];
    for (size_t idx = 0; idx < 60; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, PLAIN + 0x1230 * (idx % 7));
        assert_non_null(blocks[idx]);
    }
    for (size_t idx = 0; idx < 60; idx += 3) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
}

static SIZE_T largest_free(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    SIZE_T largest = 0;
    while (HeapWalk(heap, &entry)) {
        const SIZE_T bytes = entry.cbData + FREE_OVERHEAD - HEADER;
        largest = entry.wFlags == 0 && bytes > largest ? bytes : largest;
    }
    return largest;
}

/* D73 */
static void compacting_tells_the_largest_free_block(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x20000, NULL, NULL);
    make_mixture(heap);
    const SIZE_T largest = HeapCompact(heap, 0);
    assert_int_equal(largest, largest_free(heap));
    assert_int_equal(RtlCompactHeap(heap, 0), largest);
    rig_pages_refuse(TRUE);
    assert_non_null(HeapAlloc(heap, 0, largest));
    rig_pages_refuse(FALSE);
}

/* D73 */
static void compacting_merges_what_freeing_may_not(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitTotalFreeThreshold = 0x1000000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_DISABLE_COALESCE_ON_FREE, NULL, 0x100000, 0,
                                NULL, &wanted);
    PVOID blocks[8];
    for (size_t idx = 0; idx < 8; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, PLAIN);
    }
    for (size_t idx = 1; idx < 7; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    assert_true(largest_free(heap) < 2 * PLAIN);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapCompact(heap, 0) >= 6 * PLAIN);
    assert_int_equal(HeapSize(heap, 0, blocks[0]), PLAIN);
    assert_int_equal(HeapSize(heap, 0, blocks[7]), PLAIN);
}

/* D73 */
static void a_full_heap_compacts_to_nothing_and_error_0(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0x10000);
    for (SIZE_T size = 0x4000; size > 0; size /= 2) {
        while (HeapAlloc(heap, 0, size) != NULL) {
        }
    }
    while (HeapAlloc(heap, 0, 0) != NULL) {
    }
    struct rig_args args = {.call = RIG_HEAP_COMPACT, .heap = heap};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_error(&outcome, 0, NO_ERROR);
    args.call = RIG_RTL_COMPACT;
    outcome = rig_run(&args);
    rig_demand_value(&outcome, 0);
}

static HEAP_SUMMARY summary_of(HANDLE heap, ULONG flags)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, flags, &summary));
    assert_int_equal(summary.cb, sizeof(summary));
    assert_true(summary.cbAllocated <= summary.cbCommitted);
    assert_true(summary.cbCommitted <= summary.cbReserved);
    assert_true(summary.cbReserved <= summary.cbMaxReserve);
    return summary;
}

/* D74 */
static void a_summary_adds_up(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE fixed = HeapCreate(0, 0, 0x20000);
    assert_int_equal(summary_of(heap, 0).cbAllocated, 0);
    assert_int_equal(summary_of(heap, 0).cbCommitted, PAGE);
    assert_int_equal(summary_of(heap, 0).cbReserved, 64 * PAGE);
    assert_int_equal(summary_of(heap, 0).cbMaxReserve, SIZE_MAX);
    assert_int_equal(summary_of(fixed, 0).cbMaxReserve, 0x20000);
    const SIZE_T sizes[] = {0, 1, 40, 1000, PLAIN, 0x40000, 0x123456};
    SIZE_T total = 0;
    for (unsigned count = 0; count < 20; count++) {
        for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
            assert_non_null(HeapAlloc(heap, 0, sizes[idx]));
            total += sizes[idx];
        }
    }
    assert_int_equal(summary_of(heap, 0xFFFFFFFFu).cbAllocated, total);
}

/* D74 */
static void a_summary_of_the_wrong_size_is_refused(void **state)
{
    (void)state;
    struct rig_args args = {.call = RIG_HEAP_SUMMARY, .heap = rig_heap_new()};
    HEAP_SUMMARY summary = {.cbAllocated = 77};
    args.extra = &summary;
    for (DWORD cb = 0; cb < 2 * sizeof(summary); cb++) {
        summary.cb = cb;
        if (cb != sizeof(summary)) {
            struct rig_outcome outcome = rig_run(&args);
            rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        }
    }
    assert_int_equal(summary.cbAllocated, 77);
    const PVOID bad[] = {NULL, rig_foreign(0), rig_foreign(8), rig_foreign(10), rig_foreign(12)};
    for (size_t idx = 0; idx < sizeof(bad) / sizeof(bad[0]); idx++) {
        args.extra = bad[idx];
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_error(&outcome, FALSE, ERROR_NOACCESS);
    }
}

/* D75 */
static void zeroing_fills_free_blocks_only(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *blocks[3];
    PROCESS_HEAP_ENTRY entry = {0};
    for (size_t idx = 0; idx < 3; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, PLAIN);
        memset(blocks[idx], 0xEE, PLAIN);
    }
    assert_true(HeapFree(heap, 0, blocks[1]));
    assert_int_equal(RtlZeroHeap(heap, 0), STATUS_SUCCESS);
    while (HeapWalk(heap, &entry)) {
        for (SIZE_T idx = 0; entry.wFlags == 0 && idx < entry.cbData; idx++) {
            assert_int_equal(nth_peek((uint8_t *)entry.lpData + idx), 0);
        }
    }
    for (SIZE_T idx = 0; idx < PLAIN; idx++) {
        assert_int_equal(blocks[0][idx], 0xEE);
        assert_int_equal(blocks[2][idx], 0xEE);
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_non_null(HeapAlloc(heap, 0, PLAIN));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(compacting_tells_the_largest_free_block),
        TEST(compacting_merges_what_freeing_may_not),
        TEST(a_full_heap_compacts_to_nothing_and_error_0),
        TEST(a_summary_adds_up),
        TEST(a_summary_of_the_wrong_size_is_refused),
        TEST(zeroing_fills_free_blocks_only),
    };
    return cmocka_run_group_tests_name("rulings on compacting", tests, NULL, NULL);
}
