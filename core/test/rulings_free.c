/* SPDX-License-Identifier: MIT
 *
 * Rulings on freeing and on misuse: bad blocks and handles and their reasons, NULL, detected
 * corruption, terminate-on-corruption, a damaged heap (D4, D6, D9 to D18, D47). */
#include "support/rig.h"

#include <string.h>

static HANDLE heap_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    return heap;
}

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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
    assert_true(rig_element(heap, 0, 0, &entry));
    demand_bad_block(heap, (uint8_t *)entry.lpData + 256, NTH_CORRUPT_INTERIOR_POINTER);
    assert_true(rig_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, 0, &entry));
    demand_bad_block(heap, (uint8_t *)entry.lpData + 256, NTH_CORRUPT_INTERIOR_POINTER);
}

/* D14 */
static void an_address_inside_a_large_block_is_interior(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    uint8_t *block = HeapAlloc(heap, 0, 0x100000);
    demand_bad_block(heap, block + 16, NTH_CORRUPT_INTERIOR_POINTER);
    demand_bad_block(heap, block + 0x80000, NTH_CORRUPT_INTERIOR_POINTER);
    assert_true(HeapFree(heap, 0, block));
}

/* D14 */
static void a_freed_large_block_is_foreign(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    PVOID block = HeapAlloc(heap, 0, 0x100000);
    assert_true(HeapFree(heap, 0, block));
    demand_bad_block(heap, block, NTH_CORRUPT_FOREIGN_POINTER);
}

/* D14 */
static void an_address_off_the_alignment_is_misaligned(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
    HANDLE other = heap_new();
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
    HANDLE handles[] = {heap_new(), NULL, (HANDLE)0x10000, rig_foreign(7)};
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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
    HANDLE heap = heap_new();
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

/* ---- a heap left in the middle of a call ---- */

static void raise_in_commit(void)
{
    RaiseException(0xE0005678u, 0, 0, NULL);
}

/* A page source that raises stands for any fault inside core. */
static HANDLE damaged_heap(PVOID *block)
{
    HANDLE heap = heap_new();
    *block = HeapAlloc(heap, 0, 100);
    rig_pages_on_commit(raise_in_commit);
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_pages_on_commit(NULL);
    assert_true(outcome.raised);
    assert_int_equal(outcome.record.ExceptionCode, 0xE0005678u);
    return heap;
}

/* D18 */
static void a_damaged_heap_refuses_and_reports_every_call_but_unlock_and_destroy(void **state)
{
    (void)state;
    PVOID block = NULL;
    PROCESS_HEAP_ENTRY entry = {0};
    RTL_HEAP_WALK_ENTRY walk = {0};
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    ULONG value = 2;
    HANDLE heap = damaged_heap(&block);
    const struct {
        struct rig_args args;
        uintptr_t value;
        DWORD error;
    } cases[] = {
        {{.call = RIG_HEAP_ALLOC, .size = 1}, 0, RIG_LAST_ERROR},
        {{.call = RIG_RTL_ALLOCATE, .size = 1}, 0, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_REALLOC, .block = block, .size = 1}, 0, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_FREE, .block = block}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_RTL_FREE, .block = block}, FALSE, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_SIZE, .block = block}, SIZE_MAX, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_VALIDATE}, FALSE, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_VALIDATE, .block = block}, FALSE, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_LOCK}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_RTL_LOCK}, FALSE, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_WALK, .extra = &entry}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_RTL_WALK, .extra = &walk}, STATUS_HEAP_CORRUPTION, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_COMPACT}, 0, ERROR_INVALID_PARAMETER},
        {{.call = RIG_HEAP_SUMMARY, .extra = &summary}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_RTL_ZERO}, STATUS_HEAP_CORRUPTION, RIG_LAST_ERROR},
        {{.call = RIG_RTL_SET, .extra = &value, .size = 4}, STATUS_HEAP_CORRUPTION, RIG_LAST_ERROR},
        {{.call = RIG_HEAP_SET, .extra = &value, .size = 4}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_RTL_QUERY, .extra = &value, .size = 4},
         STATUS_HEAP_CORRUPTION,
         RIG_LAST_ERROR},
        {{.call = RIG_GET_USER_INFO, .block = block}, FALSE, ERROR_INVALID_PARAMETER},
        {{.call = RIG_MULTIPLE_FREE, .set = 1, .extra = &block}, 0, ERROR_INVALID_PARAMETER},
    };
    for (size_t idx = 0; idx < sizeof(cases) / sizeof(cases[0]); idx++) {
        struct rig_args args = cases[idx].args;
        args.heap = heap;
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_error(&outcome, cases[idx].value, cases[idx].error);
        assert_int_equal(outcome.reports, 1);
        assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_DAMAGED);
        assert_ptr_equal(rig_report_last()->heap, heap);
    }
    struct rig_outcome outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 1);
    rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, (uintptr_t)heap);
    assert_false(RtlValidateProcessHeaps());
}

/* D18 */
static void a_damaged_heap_is_unlocked_and_destroy_gives_all_of_it_back(void **state)
{
    (void)state;
    PVOID block = NULL;
    assert_non_null(GetProcessHeap());
    const struct nth_balance before = nth_balance_now();
    HANDLE heap = damaged_heap(&block);
    SetLastError(RIG_LAST_ERROR);
    assert_false(HeapUnlock(heap));
    assert_int_equal(GetLastError(), ERROR_NOT_OWNER);
    rig_report_forget();
    assert_true(HeapDestroy(heap));
    rig_report_demand_none();
    const struct nth_balance after = nth_balance_now();
    assert_int_equal(after.reservation_count, before.reservation_count);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
}

/* D18 */
static void a_lock_held_around_the_damage_can_still_be_given_up(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    assert_true(HeapLock(heap));
    rig_pages_on_commit(raise_in_commit);
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_pages_on_commit(NULL);
    assert_true(outcome.raised);
    assert_true(HeapUnlock(heap));
    assert_false(HeapUnlock(heap));
}

/* D18 */
static void other_heaps_do_not_notice_a_damaged_one(void **state)
{
    (void)state;
    PVOID block = NULL;
    HANDLE other = heap_new();
    PVOID kept = HeapAlloc(other, 0, 100);
    (void)damaged_heap(&block);
    rig_report_forget();
    assert_true(HeapValidate(other, 0, NULL));
    assert_true(HeapFree(other, 0, kept));
    assert_non_null(HeapAlloc(other, 0, 0x20000));
    rig_report_demand_none();
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
        TEST(a_damaged_heap_refuses_and_reports_every_call_but_unlock_and_destroy),
        TEST(a_damaged_heap_is_unlocked_and_destroy_gives_all_of_it_back),
        TEST(a_lock_held_around_the_damage_can_still_be_given_up),
        TEST(other_heaps_do_not_notice_a_damaged_one),
    };
    return cmocka_run_group_tests_name("rulings on freeing and misuse", tests, NULL, NULL);
}
