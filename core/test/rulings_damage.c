/* SPDX-License-Identifier: MIT
 *
 * Rulings on a heap whose call was unwound in its middle, and on a filter that is asked while it
 * still stands there (D17, D18). A page source that raises stands for any fault inside core. */
#include "support/forge.h"

/* Enough blocks of this size that the front end serves it, without the heap's lock. */
#define WARM_BYTES ((SIZE_T)40)

static PVOID warm_up(HANDLE heap)
{
    PVOID block = NULL;
    for (unsigned count = 0; count < 100; count++) {
        block = HeapAlloc(heap, 0, WARM_BYTES);
        assert_non_null(block);
    }
    return block;
}

static void raise_in_commit(void)
{
    RaiseException(0xE0005678u, 0, 0, NULL);
}

/* A page source that raises stands for any fault inside core. */
static HANDLE damaged_heap(PVOID *block)
{
    HANDLE heap = rig_heap_new();
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
        {{.call = RIG_MULTIPLE_ALLOCATE, .set = 1, .extra = &block}, 0, ERROR_INVALID_PARAMETER},
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

/* D18: that it is damaged is told when nobody had noticed it before. */
static void destroying_a_heap_tells_of_damage_that_is_news(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    (void)rig_block_new(heap, 100);
    forge_inside(heap)->state.busy_units++;
    rig_report_forget();
    assert_true(HeapDestroy(heap));
    rig_report_demand_field(NTH_CORRUPT_HEAP_STATE, heap, NULL, "heap.state");
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
    HANDLE heap = rig_heap_new();
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
    HANDLE other = rig_heap_new();
    PVOID kept = HeapAlloc(other, 0, 100);
    (void)damaged_heap(&block);
    rig_report_forget();
    assert_true(HeapValidate(other, 0, NULL));
    assert_true(HeapFree(other, 0, kept));
    assert_non_null(HeapAlloc(other, 0, 0x20000));
    rig_report_demand_none();
}

/* D18 */
static void a_damaged_heap_refuses_what_the_front_end_could_serve(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = warm_up(heap);
    rig_pages_on_commit(raise_in_commit);
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_pages_on_commit(NULL);
    assert_true(outcome.raised);
    outcome = rig_alloc(heap, 0, WARM_BYTES);
    rig_demand_value(&outcome, 0);
    rig_report_demand(NTH_CORRUPT_DAMAGED, heap, NULL);
    outcome = rig_free(heap, block);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_DAMAGED);
}

struct asked {
    HANDLE heap;
    PVOID block;
    unsigned count;
    PVOID allocated;
    BOOL freed;
    BOOL locked;
    unsigned reports;
    enum nth_reason reason;
    PVOID elsewhere;
};

static LONG use_heap(EXCEPTION_POINTERS *info, void *context)
{
    struct asked *asked = context;
    (void)info;
    rig_pages_on_commit(NULL);
    asked->count++;
    asked->allocated = HeapAlloc(asked->heap, 0, WARM_BYTES);
    asked->freed = HeapFree(asked->heap, 0, asked->block);
    asked->locked = HeapLock(asked->heap);
    asked->reports = rig_report_count();
    asked->reason = rig_report_last()->reason;
    asked->elsewhere = HeapAlloc(GetProcessHeap(), 0, 10);
    return EXCEPTION_EXECUTE_HANDLER;
}

/* D17 */
static void a_filter_asked_in_the_middle_of_a_call_cannot_use_the_heap(void **state)
{
    (void)state;
    struct asked asked = {.heap = rig_heap_new()};
    asked.block = warm_up(asked.heap);
    assert_non_null(GetProcessHeap());
    nth_seh_install();
    rig_report_forget();
    rig_pages_on_commit(raise_in_commit);
    NT_TRY
    {
        (void)HeapAlloc(asked.heap, 0, 0x20000);
        fail();
    }
    NT_EXCEPT(use_heap, &asked)
    {
    }
    NT_END_TRY
    assert_int_equal(asked.count, 1);
    assert_null(asked.allocated);
    assert_false(asked.freed);
    assert_false(asked.locked);
    assert_int_equal(asked.reports, 3);
    assert_int_equal(asked.reason, NTH_CORRUPT_REENTERED);
    assert_non_null(asked.elsewhere);
    assert_true(HeapDestroy(asked.heap));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_heap_refuses_and_reports_every_call_but_unlock_and_destroy),
        TEST(destroying_a_heap_tells_of_damage_that_is_news),
        TEST(a_damaged_heap_is_unlocked_and_destroy_gives_all_of_it_back),
        TEST(a_lock_held_around_the_damage_can_still_be_given_up),
        TEST(other_heaps_do_not_notice_a_damaged_one),
        TEST(a_damaged_heap_refuses_what_the_front_end_could_serve),
        TEST(a_filter_asked_in_the_middle_of_a_call_cannot_use_the_heap),
    };
    return cmocka_run_group_tests_name("rulings on a damaged heap", tests, NULL, NULL);
}
