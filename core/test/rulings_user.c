/* SPDX-License-Identifier: MIT
 *
 * Rulings on user values and flags of blocks, and on the calls for many blocks (D49, D50). */
#include "support/rig.h"

#include <string.h>

#define VALUE ((PVOID)(uintptr_t)0xABCD1234u)
#define UNTOUCHED ((PVOID)(uintptr_t)0x55555550u)

static void demand_info(HANDLE heap, PVOID block, PVOID value, ULONG flags)
{
    PVOID value_now = UNTOUCHED;
    ULONG flags_now = 99;
    struct rig_args args = {.call = RIG_GET_USER_INFO,
                            .heap = heap,
                            .block = block,
                            .extra = &value_now,
                            .extra2 = &flags_now};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, TRUE);
    assert_ptr_equal(value_now, value);
    assert_int_equal(flags_now, flags);
}

static struct rig_outcome set_flags(HANDLE heap, PVOID block, ULONG reset, ULONG set)
{
    struct rig_args args = {
        .call = RIG_SET_USER_FLAGS, .heap = heap, .block = block, .reset = reset, .set = set};
    return rig_run(&args);
}

/* D49 */
static void a_user_value_starts_null_and_is_kept(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    const SIZE_T sizes[] = {0, 1, 24, 1000, 0x20000, 0x100000};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        uint8_t *block = HeapAlloc(heap, 0x100 | 0x400, sizes[idx]);
        demand_info(heap, block, NULL, 0x400);
        assert_true(RtlSetUserValueHeap(heap, 0, block, VALUE));
        memset(block, 0xFF, sizes[idx]); /* the caller's bytes are not the value's */
        demand_info(heap, block, VALUE, 0x400);
        assert_int_equal(HeapSize(heap, 0, block), sizes[idx]);
        assert_true(RtlGetUserInfoHeap(heap, 0, block, NULL, NULL));
        assert_true(HeapValidate(heap, 0, block));
        assert_true(HeapFree(heap, 0, block));
    }
}

/* D49 */
static void user_flags_are_reset_then_set(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, 0x100 | 0x200 | 0x400, 100);
    demand_info(heap, block, NULL, 0x600);
    struct rig_outcome outcome = set_flags(heap, block, 0x200, 0x800);
    rig_demand_value(&outcome, TRUE);
    demand_info(heap, block, NULL, 0xC00);
    outcome = set_flags(heap, block, 0xE00, 0xE00);
    rig_demand_value(&outcome, TRUE);
    demand_info(heap, block, NULL, 0xE00);
    outcome = set_flags(heap, block, 0, 0);
    rig_demand_value(&outcome, TRUE);
    demand_info(heap, block, NULL, 0xE00);
}

/* D49 */
static void flags_outside_the_mask_are_refused(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, 0x100 | 0x200, 100);
    for (unsigned bit = 0; bit < 32; bit++) {
        const ULONG flag = (ULONG)1 << bit;
        if ((flag & HEAP_SETTABLE_USER_FLAGS) != 0) {
            continue;
        }
        struct rig_outcome outcome = set_flags(heap, block, flag, 0x400);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        outcome = set_flags(heap, block, 0x200, flag | 0x400);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 0);
    }
    demand_info(heap, block, NULL, 0x200);
}

/* D49 */
static void a_block_without_user_information_has_none_to_set(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    const ULONG flags[] = {0, 0x200, 0xE00};
    for (size_t idx = 0; idx < 3; idx++) {
        PVOID block = HeapAlloc(heap, flags[idx], 100);
        struct rig_args args = {
            .call = RIG_SET_USER_VALUE, .heap = heap, .block = block, .extra = VALUE};
        demand_info(heap, block, UNTOUCHED, 0);
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        outcome = set_flags(heap, block, 0, 0x200);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 0);
        block = HeapReAlloc(heap, 0x100 | 0x400, block, 3000);
        demand_info(heap, block, UNTOUCHED, 0);
        assert_true(HeapFree(heap, 0, block));
    }
}

/* D49 */
static void user_flags_follow_the_reallocation(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = HeapAlloc(heap, 0x100 | 0x200, 3000);
    assert_true(RtlSetUserValueHeap(heap, 0, block, VALUE));
    uint8_t *same = HeapReAlloc(heap, 0x800, block, 2000);
    assert_ptr_equal(same, block);
    demand_info(heap, block, VALUE, 0x200); /* in-place shrink: kept */
    block = HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY | 0x400, block, 3000);
    demand_info(heap, block, VALUE, 0x400); /* in-place growth: the call's */
    assert_non_null(HeapAlloc(heap, 0, 3000));
    uint8_t *moved = HeapReAlloc(heap, 0x800, block, 0x20000);
    assert_ptr_not_equal(moved, block);
    demand_info(heap, moved, VALUE, 0x800); /* moved: the call's */
    moved = HeapReAlloc(heap, 0, moved, 0x100000);
    demand_info(heap, moved, VALUE, 0);
    assert_true(HeapFree(heap, 0, moved));
}

/* D49 */
static void user_information_that_cannot_be_written_is_not_given(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID value = UNTOUCHED;
    ULONG flags = 99;
    struct rig_args args = {.call = RIG_GET_USER_INFO,
                            .heap = heap,
                            .block = HeapAlloc(heap, 0x100, 10),
                            .extra = rig_foreign(8),
                            .extra2 = &flags};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_error(&outcome, FALSE, ERROR_NOACCESS);
    args.extra = &value;
    args.extra2 = rig_foreign(8);
    outcome = rig_run(&args);
    rig_demand_error(&outcome, FALSE, ERROR_NOACCESS);
    assert_ptr_equal(value, UNTOUCHED);
    assert_int_equal(flags, 99);
}

/* ---- many blocks ---- */

static struct rig_outcome many(HANDLE heap, ULONG flags, SIZE_T size, ULONG count, PVOID array)
{
    struct rig_args args = {.call = RIG_MULTIPLE_ALLOCATE,
                            .heap = heap,
                            .flags = flags,
                            .size = size,
                            .set = count,
                            .extra = array};
    return rig_run(&args);
}

static struct rig_outcome free_many(HANDLE heap, ULONG flags, ULONG count, PVOID array)
{
    struct rig_args args = {
        .call = RIG_MULTIPLE_FREE, .heap = heap, .flags = flags, .set = count, .extra = array};
    return rig_run(&args);
}

/* D50 */
static void many_blocks_are_made_and_freed_in_order(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID array[41];
    array[40] = UNTOUCHED;
    struct rig_outcome outcome = many(heap, HEAP_ZERO_MEMORY, 50, 40, array);
    rig_demand_value(&outcome, 40);
    assert_ptr_equal(array[40], UNTOUCHED);
    for (size_t idx = 0; idx < 40; idx++) {
        assert_int_equal(HeapSize(heap, 0, array[idx]), 50);
    }
    assert_true(HeapFree(heap, 0, array[7]));
    array[7] = NULL;
    outcome = free_many(heap, 0, 40, array);
    rig_demand_value(&outcome, 40);
    assert_int_equal(outcome.reports, 0);
}

/* D50 */
static void many_blocks_stop_at_the_first_failure(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0x10000);
    PVOID array[16];
    for (size_t idx = 0; idx < 16; idx++) {
        array[idx] = UNTOUCHED;
    }
    struct rig_outcome outcome = many(heap, 0, 0x4000, 16, array);
    rig_demand_error(&outcome, outcome.value, ERROR_NOT_ENOUGH_MEMORY);
    assert_in_range(outcome.value, 1, 3);
    assert_int_equal(HeapSize(heap, 0, array[outcome.value - 1]), 0x4000);
    for (size_t idx = outcome.value; idx < 16; idx++) {
        assert_ptr_equal(array[idx], UNTOUCHED);
    }
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D50 */
static void many_blocks_with_exceptions_raise(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0x10000);
    PVOID array[16] = {NULL};
    struct rig_outcome outcome = many(heap, HEAP_GENERATE_EXCEPTIONS, 0x4000, 16, array);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 0x4000);
    assert_int_equal(HeapSize(heap, 0, array[0]), 0x4000);
    outcome = many(heap, HEAP_GENERATE_EXCEPTIONS, 0x100000, 16, array);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, 0x100000);
    outcome = many(NULL, HEAP_GENERATE_EXCEPTIONS, 10, 16, array);
    rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, 0);
}

static void demand_array_violation(const struct rig_outcome *outcome, PVOID array)
{
    assert_true(outcome->raised);
    assert_int_equal(outcome->record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(outcome->record.NumberParameters, 2);
    assert_int_equal(outcome->record.ExceptionInformation[0], EXCEPTION_WRITE_FAULT);
    assert_int_equal(outcome->record.ExceptionInformation[1], (uintptr_t)array);
    assert_int_equal(outcome->last_error, RIG_LAST_ERROR);
}

/* D50 */
static void an_array_that_cannot_be_used_is_refused(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID arrays[] = {NULL, rig_foreign(3), rig_foreign(8), rig_foreign(10)};
    HEAP_SUMMARY before = {.cb = sizeof(before)};
    HEAP_SUMMARY after = {.cb = sizeof(after)};
    assert_true(HeapSummary(heap, 0, &before));
    for (size_t idx = 0; idx < 4; idx++) {
        struct rig_outcome outcome = many(heap, 0, 10, 1, arrays[idx]);
        rig_demand_error(&outcome, 0, ERROR_NOACCESS);
        outcome = many(heap, HEAP_GENERATE_EXCEPTIONS, 10, 1, arrays[idx]);
        demand_array_violation(&outcome, arrays[idx]);
        outcome = free_many(heap, HEAP_GENERATE_EXCEPTIONS, 1, arrays[idx]);
        rig_demand_error(&outcome, 0, ERROR_NOACCESS);
        outcome = many(heap, 0, 10, UINT32_MAX, arrays[idx]);
        rig_demand_error(&outcome, 0, ERROR_NOACCESS);
        outcome = many(heap, HEAP_GENERATE_EXCEPTIONS, 10, 0, arrays[idx]);
        rig_demand_value(&outcome, 0);
        outcome = free_many(heap, 0, 0, arrays[idx]);
        rig_demand_value(&outcome, 0);
        outcome = many(NULL, 0, 10, 0, arrays[idx]);
        rig_demand_value(&outcome, 0);
    }
    assert_true(HeapSummary(heap, 0, &after));
    assert_int_equal(before.cbAllocated, after.cbAllocated);
}

/* D50 */
static void freeing_many_stops_at_the_first_bad_block(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID array[6];
    struct rig_outcome outcome = many(heap, 0, 10, 6, array);
    PVOID fourth = array[3];
    array[3] = (PVOID)64;
    array[1] = NULL;
    outcome = free_many(heap, HEAP_GENERATE_EXCEPTIONS, 6, array);
    rig_demand_error(&outcome, 3, ERROR_INVALID_PARAMETER);
    rig_report_demand(NTH_CORRUPT_FOREIGN_POINTER, heap, (PVOID)64);
    assert_int_equal(HeapSize(heap, 0, array[5]), 10);
    assert_int_equal(HeapSize(heap, 0, fourth), 10);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D50 */
static void freeing_many_looks_at_the_handle_for_the_first_block(void **state)
{
    (void)state;
    PVOID array[4] = {NULL, NULL, (PVOID)64, NULL};
    struct rig_outcome outcome = free_many((HANDLE)64, 0, 2, array);
    rig_demand_value(&outcome, 2);
    assert_int_equal(outcome.reports, 0);
    outcome = free_many((HANDLE)64, 0, 4, array);
    rig_demand_error(&outcome, 2, ERROR_INVALID_HANDLE);
    rig_report_demand(NTH_CORRUPT_BAD_HANDLE, (HANDLE)64, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_user_value_starts_null_and_is_kept),
        TEST(user_flags_are_reset_then_set),
        TEST(flags_outside_the_mask_are_refused),
        TEST(a_block_without_user_information_has_none_to_set),
        TEST(user_flags_follow_the_reallocation),
        TEST(user_information_that_cannot_be_written_is_not_given),
        TEST(many_blocks_are_made_and_freed_in_order),
        TEST(many_blocks_stop_at_the_first_failure),
        TEST(many_blocks_with_exceptions_raise),
        TEST(an_array_that_cannot_be_used_is_refused),
        TEST(freeing_many_stops_at_the_first_bad_block),
        TEST(freeing_many_looks_at_the_handle_for_the_first_block),
    };
    return cmocka_run_group_tests_name("rulings on user data and many blocks", tests, NULL, NULL);
}
