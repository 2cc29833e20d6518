/* SPDX-License-Identifier: MIT
 *
 * Rulings on information classes, the start of the front end, status codes, disowning and critical
 * sections (D16, D61 to D67, D77 to D79). */
#include "support/rig.h"

#include <pthread.h>
#include <string.h>

#ifdef NTH_STRESS
#define FRONT_END_START 2u
#else
#define FRONT_END_START 18u
#endif

static ULONG front_end(HANDLE heap)
{
    ULONG value = 99;
    SIZE_T length = 99;
    assert_true(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, 4, &length));
    assert_int_equal(length, 4);
    return value;
}

static struct rig_outcome query(HANDLE heap, ULONG class_id, PVOID into, SIZE_T length,
                                PSIZE_T needed)
{
    struct rig_args args = {.call = RIG_HEAP_QUERY,
                            .heap = heap,
                            .class_id = class_id,
                            .extra = into,
                            .size = length,
                            .extra2 = needed};
    return rig_run(&args);
}

static struct rig_outcome set(HANDLE heap, ULONG class_id, PVOID from, SIZE_T length)
{
    struct rig_args args = {
        .call = RIG_HEAP_SET, .heap = heap, .class_id = class_id, .extra = from, .size = length};
    return rig_run(&args);
}

/* Set, in both spellings: the Rtl call gives `status`, the Win32 call FALSE and its error code. */
static void demand_set(HANDLE heap, ULONG class_id, PVOID from, SIZE_T length, NTSTATUS status)
{
    struct rig_args args = {
        .call = RIG_RTL_SET, .heap = heap, .class_id = class_id, .extra = from, .size = length};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, status);
    outcome = set(heap, class_id, from, length);
    rig_demand_error(&outcome, FALSE, RtlNtStatusToDosError(status));
}

static void demand_query(HANDLE heap, ULONG class_id, PVOID into, SIZE_T length, PSIZE_T needed,
                         NTSTATUS status)
{
    struct rig_args args = {.call = RIG_RTL_QUERY,
                            .heap = heap,
                            .class_id = class_id,
                            .extra = into,
                            .size = length,
                            .extra2 = needed};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, status);
    outcome = query(heap, class_id, into, length, needed);
    rig_demand_error(&outcome, FALSE, RtlNtStatusToDosError(status));
}

/* D61, D62 */
static void the_front_end_starts_at_the_18th_block(void **state)
{
    (void)state;
    const SIZE_T sizes[] = {0, 40, 1000};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        HANDLE heap = rig_heap_new();
        for (unsigned count = 1; count < FRONT_END_START; count++) {
            assert_non_null(HeapAlloc(heap, 0, sizes[idx]));
            assert_int_equal(front_end(heap), 0);
        }
        for (unsigned count = 0; count < 100; count++) { /* outstanding, not ever made */
            assert_true(HeapFree(heap, 0, HeapAlloc(heap, 0, 5000 + 500 * count)));
        }
        assert_int_equal(front_end(heap), 0);
        PVOID block = HeapAlloc(heap, 0, sizes[idx]);
        assert_int_equal(front_end(heap), 2);
        assert_true(HeapFree(heap, 0, block));
        assert_int_equal(front_end(heap), 2);
    }
}

/* D61, D63 */
static void heaps_that_cannot_have_a_front_end_never_start_it(void **state)
{
    (void)state;
    ULONG value = 2;
    HANDLE heaps[] = {HeapCreate(HEAP_NO_SERIALIZE, 0, 0), HeapCreate(0, 0, 0x100000),
                      HeapCreate(HEAP_DISABLE_COALESCE_ON_FREE, 0, 0)};
    for (size_t idx = 0; idx < 3; idx++) {
        for (unsigned count = 0; count < 100; count++) {
            assert_non_null(HeapAlloc(heaps[idx], 0, 40));
        }
        assert_int_equal(front_end(heaps[idx]), 0);
        demand_set(heaps[idx], 0, &value, 4, STATUS_INVALID_PARAMETER);
        assert_int_equal(front_end(heaps[idx]), 0);
    }
}

/* D61 */
static void shortage_while_starting_the_front_end_is_absorbed(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x40000, 0x40000, NULL, NULL);
    rig_pages_refuse(TRUE);
    for (unsigned count = 0; count < 100; count++) {
        struct rig_outcome outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 40);
        assert_false(outcome.raised);
        assert_int_not_equal(outcome.value, 0);
    }
    rig_pages_refuse(FALSE);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D63 */
static void setting_the_front_end_cannot_be_undone(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    ULONG value;
    for (value = 0; value < 2; value++) {
        demand_set(heap, 0, &value, 4, STATUS_UNSUCCESSFUL);
        assert_int_equal(front_end(heap), 0);
    }
    const ULONG others[] = {3, 4, 0x102, 0x80000002u, UINT32_MAX};
    for (size_t idx = 0; idx < sizeof(others) / sizeof(others[0]); idx++) {
        value = others[idx];
        demand_set(heap, 0, &value, 4, STATUS_INVALID_PARAMETER);
    }
    value = 2;
    struct rig_outcome outcome = set(heap, 0, &value, 4);
    rig_demand_value(&outcome, TRUE);
    outcome = set(heap, 0, &value, 4);
    rig_demand_value(&outcome, TRUE);
    assert_int_equal(front_end(heap), 2);
    for (value = 0; value < 2; value++) {
        demand_set(heap, 0, &value, 4, STATUS_UNSUCCESSFUL);
        assert_int_equal(front_end(heap), 2);
    }
}

/* D64 */
static void a_short_buffer_is_told_the_length(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    ULONG value = 99;
    for (SIZE_T length = 0; length < 4; length++) {
        SIZE_T needed = 99;
        demand_query(heap, 0, &value, length, &needed, STATUS_BUFFER_TOO_SMALL);
        assert_int_equal(needed, 4);
        demand_query(heap, 0, &value, length, NULL, STATUS_BUFFER_TOO_SMALL);
        demand_query(heap, 0, NULL, length, NULL, STATUS_BUFFER_TOO_SMALL);
    }
    assert_int_equal(value, 99);
    ULONG wide[2] = {99, 99};
    SIZE_T needed = 99;
    struct rig_outcome outcome = query(heap, 0, wide, sizeof(wide), &needed);
    rig_demand_value(&outcome, TRUE);
    assert_int_equal(needed, 4);
    assert_int_equal(wide[0], 0);
    assert_int_equal(wide[1], 99);
}

/* D16, D64 */
static void the_first_fault_of_a_query_decides(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID no_access = rig_foreign(8);
    const ULONG classes[] = {1, 2, 3, 4, 0x80000000u, UINT32_MAX};
    ULONG value = 99;
    SIZE_T needed = 99;
    for (size_t idx = 0; idx < sizeof(classes) / sizeof(classes[0]); idx++) {
        demand_query(heap, classes[idx], &value, 4, &needed, STATUS_INVALID_PARAMETER);
        demand_query(NULL, classes[idx], NULL, 0, no_access, STATUS_INVALID_PARAMETER);
        demand_query((HANDLE)64, classes[idx], NULL, 0, no_access, STATUS_INVALID_PARAMETER);
        rig_report_demand_none();
    }
    demand_query(NULL, 0, &value, 4, &needed, STATUS_ACCESS_VIOLATION);
    demand_query(NULL, 0, &value, 0, &needed, STATUS_ACCESS_VIOLATION);
    demand_query((HANDLE)64, 0, &value, 0, &needed, STATUS_INVALID_HANDLE);
    demand_query(heap, 0, no_access, 4, &needed, STATUS_ACCESS_VIOLATION);
    demand_query(heap, 0, NULL, 4, &needed, STATUS_ACCESS_VIOLATION);
    demand_query(heap, 0, &value, 4, no_access, STATUS_ACCESS_VIOLATION);
    demand_query(heap, 0, &value, 0, no_access, STATUS_ACCESS_VIOLATION);
    assert_int_equal(value, 99);
    assert_int_equal(needed, 99);
}

/* D16, D65 */
static void the_first_fault_of_a_set_decides(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID no_access = rig_foreign(8);
    const ULONG classes[] = {2, 4, 5, 0x80000000u, UINT32_MAX};
    const SIZE_T lengths[] = {0, 1, 3, 5, 12, SIZE_MAX};
    ULONG two[2] = {2, 0};
    for (size_t idx = 0; idx < sizeof(classes) / sizeof(classes[0]); idx++) {
        demand_set((HANDLE)64, classes[idx], two, 4, STATUS_INVALID_PARAMETER);
        rig_report_demand_none();
        demand_set(heap, classes[idx], two, 4, STATUS_INVALID_PARAMETER);
    }
    demand_set(NULL, 0, two, 0, STATUS_INVALID_HANDLE);
    demand_set((HANDLE)64, 0, two, 0, STATUS_INVALID_HANDLE);
    demand_set((HANDLE)64, 3, two, 0, STATUS_INVALID_HANDLE);
    for (size_t idx = 0; idx < sizeof(lengths) / sizeof(lengths[0]); idx++) {
        demand_set(heap, 0, two, lengths[idx], STATUS_INFO_LENGTH_MISMATCH);
        demand_set(heap, 3, two, lengths[idx], STATUS_INFO_LENGTH_MISMATCH);
        demand_set(heap, 0, no_access, lengths[idx], STATUS_INFO_LENGTH_MISMATCH);
    }
    demand_set(heap, 0, two, 8, STATUS_INFO_LENGTH_MISMATCH);
    demand_set(heap, 3, two, 4, STATUS_INFO_LENGTH_MISMATCH);
    demand_set(heap, 0, NULL, 4, STATUS_ACCESS_VIOLATION);
    demand_set(heap, 0, no_access, 4, STATUS_ACCESS_VIOLATION);
    demand_set(heap, 3, no_access, 8, STATUS_ACCESS_VIOLATION);
    demand_set(NULL, 3, NULL, 8, STATUS_ACCESS_VIOLATION);
    assert_int_equal(front_end(heap), 0);
}

/* D66 */
static void terminating_wants_no_information(void **state)
{
    (void)state;
    ULONG value = 0;
    const HANDLE handles[] = {NULL, rig_heap_new(), (HANDLE)64};
    for (size_t idx = 0; idx < 3; idx++) {
        demand_set(handles[idx], 1, &value, 0, STATUS_INVALID_PARAMETER);
        demand_set(handles[idx], 1, NULL, 4, STATUS_INVALID_PARAMETER);
        demand_set(handles[idx], 1, &value, 4, STATUS_INVALID_PARAMETER);
        for (unsigned count = 0; count < 2; count++) {
            struct rig_outcome outcome = set(handles[idx], 1, NULL, 0);
            rig_demand_value(&outcome, TRUE);
            assert_int_equal(outcome.reports, 0);
        }
    }
}

/* D67 */
static void optimizing_gives_memory_back(void **state)
{
    (void)state;
    HEAP_OPTIMIZE_RESOURCES_INFORMATION information = {.Version = 1, .Flags = 0xFFFFFFFFu};
    HANDLE heap = rig_heap_new();
    PVOID blocks[500];
    for (size_t idx = 0; idx < 500; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 1000);
    }
    for (size_t idx = 0; idx < 500; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    const size_t before = nth_balance_now().committed_bytes;
    struct rig_outcome outcome = set(heap, 3, &information, sizeof(information));
    rig_demand_value(&outcome, TRUE);
    assert_true(nth_balance_now().committed_bytes < before);
    outcome = set(NULL, 3, &information, sizeof(information));
    rig_demand_value(&outcome, TRUE);
    assert_true(HeapValidate(heap, 0, NULL));
    for (ULONG version = 0; version < 5; version++) {
        information.Version = version;
        if (version != 1) {
            demand_set(heap, 3, &information, sizeof(information), STATUS_INVALID_PARAMETER);
        }
    }
}

/* D77 */
static void statuses_have_the_error_codes_that_the_table_says(void **state)
{
    (void)state;
    const struct {
        NTSTATUS status;
        ULONG error;
    } pairs[] = {
        {0, 0},
        {0x8000001Au, 259},
        {0xC0000001u, 31},
        {0xC0000004u, 24},
        {0xC0000005u, 998},
        {0xC0000008u, 6},
        {0xC000000Du, 87},
        {0xC0000017u, 8},
        {0xC0000023u, 122},
        {0xC0000264u, 288},
        {0xC0000374u, 317},
        {1, 317},
        {0x102, 317},
        {0x40000000u, 317},
        {0x80000003u, 317},
        {0xC0000000u, 317},
        {0xFFFFFFFFu, 317},
    };
    SetLastError(RIG_LAST_ERROR);
    for (size_t idx = 0; idx < sizeof(pairs) / sizeof(pairs[0]); idx++) {
        assert_int_equal(RtlNtStatusToDosError(pairs[idx].status), pairs[idx].error);
    }
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
}

/* D78 */
static void disowning_looks_at_nothing(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, 0, 100);
    HANDLE handles[] = {heap, NULL, (HANDLE)64, rig_foreign(8), rig_foreign(10)};
    for (size_t idx = 0; idx < 5; idx++) {
        for (unsigned bad = 0; bad < RIG_FOREIGN_COUNT; bad++) {
            assert_int_equal(RtlDisownModuleHeapAllocation(handles[idx], rig_foreign(bad)), 0);
        }
        assert_int_equal(RtlDisownModuleHeapAllocation(handles[idx], NULL), STATUS_SUCCESS);
        assert_int_equal(RtlDisownModuleHeapAllocation(handles[idx], block), STATUS_SUCCESS);
    }
    rig_report_demand_none();
    block = HeapReAlloc(heap, 0, block, 5000);
    assert_int_equal(HeapSize(heap, 0, block), 5000);
    assert_true(HeapFree(heap, 0, block));
}

static void *try_enter(void *context)
{
    return TryEnterCriticalSection(context) ? context : NULL;
}

static void *leave(void *context)
{
    LeaveCriticalSection(context);
    return NULL;
}

static void others_leave(LPCRITICAL_SECTION section)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, leave, section), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static BOOLEAN free_for_others(LPCRITICAL_SECTION section)
{
    pthread_t thread;
    void *entered = NULL;
    assert_int_equal(pthread_create(&thread, NULL, try_enter, section), 0);
    assert_int_equal(pthread_join(thread, &entered), 0);
    return entered != NULL;
}

/* D79 */
static void critical_sections_are_recursive(void **state)
{
    (void)state;
    CRITICAL_SECTION section;
    InitializeCriticalSection(&section);
    LeaveCriticalSection(&section); /* not the owner: nothing */
    EnterCriticalSection(&section);
    assert_true(TryEnterCriticalSection(&section));
    assert_false(free_for_others(&section));
    LeaveCriticalSection(&section);
    others_leave(&section); /* not theirs: nothing */
    assert_false(free_for_others(&section));
    LeaveCriticalSection(&section);
    LeaveCriticalSection(&section);
    assert_true(TryEnterCriticalSection(&section));
    LeaveCriticalSection(&section);
    DeleteCriticalSection(&section);
    DeleteCriticalSection(&section);
}

static void call_initialize(void *section)
{
    InitializeCriticalSection(section);
}

static void call_enter(void *section)
{
    EnterCriticalSection(section);
}

static void call_try(void *section)
{
    (void)TryEnterCriticalSection(section);
}

static void call_leave(void *section)
{
    LeaveCriticalSection(section);
}

static void call_delete(void *section)
{
    DeleteCriticalSection(section);
}

static void demand_violation(void (*body)(void *), PVOID section)
{
    EXCEPTION_RECORD record;
    assert_false(nth_guard(body, section, &record));
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionInformation[0], EXCEPTION_WRITE_FAULT);
    assert_int_equal(record.ExceptionInformation[1], (uintptr_t)section);
}

/* D79 */
static void a_critical_section_that_is_none_raises(void **state)
{
    (void)state;
    void (*const calls[])(void *) = {call_initialize, call_delete, call_enter, call_try,
                                     call_leave};
    PVOID bad[] = {NULL, rig_foreign(3), rig_foreign(8)};
    CRITICAL_SECTION never_made;
    memset(&never_made, 0, sizeof(never_made));
    nth_seh_install();
    for (size_t call = 0; call < 5; call++) {
        for (size_t idx = 0; idx < 3; idx++) {
            demand_violation(calls[call], bad[idx]);
        }
        if (call >= 2) {
            demand_violation(calls[call], &never_made);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_front_end_starts_at_the_18th_block),
        TEST(heaps_that_cannot_have_a_front_end_never_start_it),
        TEST(shortage_while_starting_the_front_end_is_absorbed),
        TEST(setting_the_front_end_cannot_be_undone),
        TEST(a_short_buffer_is_told_the_length),
        TEST(the_first_fault_of_a_query_decides),
        TEST(the_first_fault_of_a_set_decides),
        TEST(terminating_wants_no_information),
        TEST(optimizing_gives_memory_back),
        TEST(statuses_have_the_error_codes_that_the_table_says),
        TEST(disowning_looks_at_nothing),
        TEST(critical_sections_are_recursive),
        TEST(a_critical_section_that_is_none_raises),
    };
    return cmocka_run_group_tests_name("rulings on information", tests, NULL, NULL);
}
