/* SPDX-License-Identifier: MIT
 *
 * Rulings on freeing and on misuse: bad blocks and their reasons, NULL, detected corruption,
 * terminate-on-corruption (D4, D6, D10, D11, D14, D15, D47, D76). */
#include "support/rig.h"

#include <string.h>

/* Every call that takes a block refuses this one with `reason`, and nothing has changed. */
static void demand_bad_block(HANDLE heap, PVOID block, enum nth_reason reason)
{
    static const enum rig_call falses[] = {RIG_RTL_FREE, RIG_HEAP_FREE, RIG_SET_USER_VALUE,
                                           RIG_GET_USER_INFO, RIG_SET_USER_FLAGS};
    struct rig_args args = {.heap = heap, .block = block, .size = 100};
    struct rig_outcome outcome;
    for (size_t idx = 0; idx < sizeof(falses) / sizeof(falses[0]); idx++) {
        args.call = falses[idx];
        outcome = rig_run(&args);
        rig_demand_error(&outcome, FALSE,
                         args.call == RIG_RTL_FREE ? RIG_LAST_ERROR : ERROR_INVALID_PARAMETER);
        rig_report_demand(reason, heap, block);
    }
    for (enum rig_call call = RIG_RTL_SIZE; call <= RIG_HEAP_SIZE; call++) {
        args.call = call;
        outcome = rig_run(&args);
        rig_demand_value(&outcome, SIZE_MAX);
        rig_report_demand(reason, heap, block);
    }
    for (enum rig_call call = RIG_RTL_REALLOCATE; call <= RIG_HEAP_REALLOC; call++) {
        args.call = call;
        args.flags = 0;
        outcome = rig_run(&args);
        rig_demand_value(&outcome, 0);
        rig_report_demand(reason, heap, block);
        args.flags = HEAP_GENERATE_EXCEPTIONS;
        outcome = rig_run(&args);
        rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, (uintptr_t)block);
        rig_report_demand(reason, heap, block);
    }
    for (enum rig_call call = RIG_RTL_VALIDATE; call <= RIG_HEAP_VALIDATE; call++) {
        args.call = call;
        outcome = rig_run(&args);
        rig_demand_value(&outcome, FALSE);
        rig_report_demand_none();
    }
    args.call = RIG_HEAP_VALIDATE;
    args.block = NULL;
    outcome = rig_run(&args);
    rig_demand_value(&outcome, TRUE);
}

/* D14 */
static void a_block_freed_twice_is_a_double_free(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_non_null(HeapAlloc(heap, 0, 1000));
    PVOID block = HeapAlloc(heap, 0, 1000);
    assert_non_null(HeapAlloc(heap, 0, 1000));
    assert_true(HeapFree(heap, 0, block));
    demand_bad_block(heap, block, NTH_CORRUPT_DOUBLE_FREE);
}

/* D14 */
static void a_front_end_block_freed_twice_is_a_double_free(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID blocks[60];
    for (size_t idx = 0; idx < 60; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40);
    }
    assert_true(HeapFree(heap, 0, blocks[50]));
    demand_bad_block(heap, blocks[50], NTH_CORRUPT_DOUBLE_FREE);
}

/* D14 */
static void an_address_inside_a_block_is_interior(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = HeapAlloc(heap, 0, 1000);
    memset(block, 0, 1000);
    demand_bad_block(heap, block + 16, NTH_CORRUPT_INTERIOR_POINTER);
    demand_bad_block(heap, block + 512, NTH_CORRUPT_INTERIOR_POINTER);
    demand_bad_block(heap, heap, NTH_CORRUPT_INTERIOR_POINTER);
    demand_bad_block(heap, (uint8_t *)heap + 16, NTH_CORRUPT_INTERIOR_POINTER);
}

/* D14 */
static void an_address_in_free_or_uncommitted_memory_is_interior(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry;
    HANDLE heap = rig_heap_new();
    assert_true(rig_element(heap, 0, 0, &entry));
    demand_bad_block(heap, (uint8_t *)entry.lpData + 256, NTH_CORRUPT_INTERIOR_POINTER);
    assert_true(rig_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, 0, &entry));
    demand_bad_block(heap, (uint8_t *)entry.lpData + 256, NTH_CORRUPT_INTERIOR_POINTER);
}

/* D14 */
static void an_address_inside_a_large_block_is_interior(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = HeapAlloc(heap, 0, 0x100000);
    demand_bad_block(heap, block + 16, NTH_CORRUPT_INTERIOR_POINTER);
    demand_bad_block(heap, block + 0x80000, NTH_CORRUPT_INTERIOR_POINTER);
    assert_true(HeapFree(heap, 0, block));
}

/* D14 */
static void a_freed_large_block_is_foreign(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, 0, 0x100000);
    assert_true(HeapFree(heap, 0, block));
    demand_bad_block(heap, block, NTH_CORRUPT_FOREIGN_POINTER);
}

/* D14 */
static void an_address_off_the_alignment_is_misaligned(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = HeapAlloc(heap, 0, 100);
    uint8_t *large = HeapAlloc(heap, 0, 0x100000);
    for (unsigned offset = 1; offset < 8; offset++) {
        demand_bad_block(heap, block + offset, NTH_CORRUPT_MISALIGNED_POINTER);
        demand_bad_block(heap, large + offset, NTH_CORRUPT_MISALIGNED_POINTER);
    }
}

/* D14 */
static void an_address_of_no_heap_is_foreign(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    for (unsigned idx = 0; idx < RIG_FOREIGN_COUNT; idx++) {
        PVOID bad = rig_foreign(idx);
        demand_bad_block(heap, bad,
                         (uintptr_t)bad % NTH_WORDS(16, 8) == 0 ? NTH_CORRUPT_FOREIGN_POINTER
                                                                : NTH_CORRUPT_MISALIGNED_POINTER);
    }
}

/* D14 */
static void a_block_of_another_heap_is_of_the_wrong_heap(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE other = rig_heap_new();
    uint8_t *block = HeapAlloc(other, 0, 100);
    uint8_t *large = HeapAlloc(other, 0, 0x100000);
    demand_bad_block(heap, block, NTH_CORRUPT_WRONG_HEAP);
    demand_bad_block(heap, block + 1, NTH_CORRUPT_MISALIGNED_POINTER);
    demand_bad_block(heap, large, NTH_CORRUPT_WRONG_HEAP);
    demand_bad_block(heap, other, NTH_CORRUPT_WRONG_HEAP);
    assert_true(HeapFree(other, 0, block));
    assert_true(HeapFree(other, 0, large));
}

/* D4 */
static void freeing_null_is_true_without_a_look_at_the_handle(void **state)
{
    (void)state;
    HANDLE handles[] = {rig_heap_new(), NULL, (HANDLE)0x10000, rig_foreign(7)};
    for (size_t idx = 0; idx < 4; idx++) {
        struct rig_outcome outcome = rig_free(handles[idx], NULL);
        rig_demand_value(&outcome, TRUE);
        assert_int_equal(outcome.reports, 0);
        struct rig_args rtl = {.call = RIG_RTL_FREE, .heap = handles[idx]};
        outcome = rig_run(&rtl);
        rig_demand_value(&outcome, TRUE);
        assert_int_equal(outcome.reports, 0);
    }
}

/* D15 */
static void null_is_no_block_elsewhere_and_not_reported(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct rig_args args = {.heap = heap};
    for (enum rig_call call = RIG_RTL_SIZE; call <= RIG_HEAP_SIZE; call++) {
        args.call = call;
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_value(&outcome, SIZE_MAX);
        assert_int_equal(outcome.reports, 0);
    }
    for (enum rig_call call = RIG_SET_USER_VALUE; call <= RIG_SET_USER_FLAGS; call++) {
        args.call = call;
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 0);
    }
}

/* D47 */
static void freeing_never_raises(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_GENERATE_EXCEPTIONS, NULL, 0, 0, NULL, NULL);
    struct rig_args args = {
        .call = RIG_RTL_FREE, .heap = heap, .flags = HEAP_GENERATE_EXCEPTIONS, .block = (PVOID)64};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, FALSE);
    args.heap = NULL;
    outcome = rig_run(&args);
    rig_demand_value(&outcome, FALSE);
}

/* ---- detected corruption ---- */

static PVOID damaged_block(HANDLE heap)
{
    PVOID block = HeapAlloc(heap, 0, 1000);
    assert_non_null(HeapAlloc(heap, 0, 1000));
    rig_flip(rig_field(heap, NTH_FIELD_HEADER, block).address);
    return block;
}

static void demand_header_report(HANDLE heap, PVOID block)
{
    assert_string_equal(rig_report_last()->field, "block.header");
    rig_report_demand(NTH_CORRUPT_BLOCK_HEADER, heap, block);
}

/* D10 */
static void a_damaged_header_is_reported_once_and_the_call_fails(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = damaged_block(heap);
    struct rig_outcome outcome = rig_free(heap, block);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    demand_header_report(heap, block);
    outcome = rig_realloc(heap, 0, block, 5);
    rig_demand_value(&outcome, 0);
    demand_header_report(heap, block);
    outcome = rig_realloc(heap, HEAP_GENERATE_EXCEPTIONS, block, 5);
    rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, (uintptr_t)block);
    demand_header_report(heap, block);
    struct rig_args size = {.call = RIG_HEAP_SIZE, .heap = heap, .block = block};
    outcome = rig_run(&size);
    rig_demand_value(&outcome, SIZE_MAX);
    demand_header_report(heap, block);
}

/* D76 */
static void validating_a_damaged_live_block_is_false_and_reported(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = damaged_block(heap);
    PVOID sound = HeapAlloc(heap, 0, 100);
    struct rig_args args = {.call = RIG_HEAP_VALIDATE, .heap = heap, .block = block};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, FALSE);
    demand_header_report(heap, block);
    args.block = NULL;
    outcome = rig_run(&args);
    rig_demand_value(&outcome, FALSE);
    demand_header_report(heap, block);
    args.block = sound;
    outcome = rig_run(&args);
    rig_demand_value(&outcome, TRUE);
    assert_false(RtlValidateProcessHeaps());
}

/* D10 */
static void a_call_that_met_damage_changed_nothing(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, 0, 1000);
    assert_non_null(HeapAlloc(heap, 0, 1000));
    const struct nth_field header = rig_field(heap, NTH_FIELD_HEADER, block);
    rig_flip(header.address);
    assert_false(HeapFree(heap, 0, block));
    assert_null(HeapReAlloc(heap, 0, block, 2000));
    rig_flip(header.address);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_int_equal(HeapSize(heap, 0, block), 1000);
    assert_true(HeapFree(heap, 0, block));
}

static void free_damaged(void *context)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    if (context != NULL) {
        HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    }
    HeapFree(heap, 0, damaged_block(heap));
}

static void free_twice_terminating(void *context)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = HeapAlloc(heap, 0, 1000);
    HeapAlloc(heap, 0, 1000);
    HeapSetInformation(heap, HeapEnableTerminationOnCorruption, NULL, 0);
    (void)context;
    HeapFree(heap, 0, block);
    HeapFree(heap, 0, block);
}

static void validate_damaged_terminating(void *context)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = damaged_block(heap);
    (void)context;
    HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    assert_false(HeapValidate(heap, 0, NULL));
    assert_false(HeapValidate(heap, 0, block));
}

static void terminate_then_reset(void *context)
{
    (void)context;
    HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    nth_process_reset();
    free_damaged(NULL);
}

/* D11 */
static void corruption_ends_the_process_only_once_that_was_asked_for(void **state)
{
    (void)state;
    int asked_for = 1;
    assert_int_equal(rig_child_status(free_damaged, NULL), 0);
    assert_int_equal(rig_child_status(free_damaged, &asked_for), STATUS_HEAP_CORRUPTION);
    assert_int_equal(rig_child_status(free_twice_terminating, NULL), STATUS_HEAP_CORRUPTION);
    assert_int_equal(rig_child_status(terminate_then_reset, NULL), 0);
}

/* D11, D76 */
static void validating_never_ends_the_process(void **state)
{
    (void)state;
    assert_int_equal(rig_child_status(validate_damaged_terminating, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_block_freed_twice_is_a_double_free),
        TEST(a_front_end_block_freed_twice_is_a_double_free),
        TEST(an_address_inside_a_block_is_interior),
        TEST(an_address_in_free_or_uncommitted_memory_is_interior),
        TEST(an_address_inside_a_large_block_is_interior),
        TEST(a_freed_large_block_is_foreign),
        TEST(an_address_off_the_alignment_is_misaligned),
        TEST(an_address_of_no_heap_is_foreign),
        TEST(a_block_of_another_heap_is_of_the_wrong_heap),
        TEST(freeing_null_is_true_without_a_look_at_the_handle),
        TEST(null_is_no_block_elsewhere_and_not_reported),
        TEST(freeing_never_raises),
        TEST(a_damaged_header_is_reported_once_and_the_call_fails),
        TEST(validating_a_damaged_live_block_is_false_and_reported),
        TEST(a_call_that_met_damage_changed_nothing),
        TEST(corruption_ends_the_process_only_once_that_was_asked_for),
        TEST(validating_never_ends_the_process),
    };
    return cmocka_run_group_tests_name("rulings on freeing and misuse", tests, NULL, NULL);
}
