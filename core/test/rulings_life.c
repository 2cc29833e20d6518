/* SPDX-License-Identifier: MIT
 *
 * Rulings on the life of a heap: destroying, the process heap, listings, locks, and that success
 * leaves the last error alone (D9, D12, D35, D51 to D60). */
#include "support/rig.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct rig_outcome run_plain(enum rig_call call, HANDLE heap)
{
    struct rig_args args = {.call = call, .heap = heap};
    return rig_run(&args);
}

/* ---- destroying ---- */

/* D51 */
static void the_process_heap_cannot_be_destroyed(void **state)
{
    (void)state;
    HANDLE heap = GetProcessHeap();
    PVOID block = HeapAlloc(heap, 0, 100);
    struct rig_outcome outcome = run_plain(RIG_RTL_DESTROY, heap);
    rig_demand_value(&outcome, (uintptr_t)heap);
    assert_int_equal(outcome.reports, 0);
    outcome = run_plain(RIG_HEAP_DESTROY, heap);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    assert_int_equal(outcome.reports, 0);
    assert_ptr_equal(GetProcessHeap(), heap);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, block));
}

/* D52 */
static void a_heap_is_destroyed_once(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct rig_outcome outcome = run_plain(RIG_RTL_DESTROY, heap);
    rig_demand_value(&outcome, 0);
    outcome = run_plain(RIG_RTL_DESTROY, heap);
    rig_demand_value(&outcome, (uintptr_t)heap);
    rig_report_demand(NTH_CORRUPT_STALE_HANDLE, heap, NULL);
    outcome = run_plain(RIG_HEAP_DESTROY, heap);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_HANDLE);
    rig_report_demand(NTH_CORRUPT_STALE_HANDLE, heap, NULL);
    outcome = run_plain(RIG_HEAP_DESTROY, rig_heap_new());
    rig_demand_value(&outcome, TRUE);
}

/* D54 */
static void destroying_gives_back_everything(void **state)
{
    (void)state;
    assert_non_null(GetProcessHeap());
    assert_true(HeapDestroy(rig_heap_new()));
    const struct nth_balance before = nth_balance_now();
    HANDLE heap = rig_heap_new();
    for (SIZE_T size = 1; size < 0x200000; size = size * 2 + 1) {
        for (unsigned count = 0; count < 20 && size < 0x10000; count++) {
            assert_non_null(HeapAlloc(heap, 0, size));
        }
        assert_non_null(HeapAlloc(heap, 0, size));
    }
    rig_report_forget();
    assert_true(HeapDestroy(heap));
    rig_report_demand_none();
    const struct nth_balance after = nth_balance_now();
    assert_int_equal(after.reserved_bytes, before.reserved_bytes);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
    assert_int_equal(after.reservation_count, before.reservation_count);
}

/* D12, D53 */
static void a_destroyed_handle_is_stale_for_the_next_64_creations(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_true(HeapDestroy(heap));
    for (unsigned count = 0; count < 64; count++) {
        struct rig_outcome outcome = run_plain(RIG_HEAP_LOCK, heap);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_HANDLE);
        rig_report_demand(NTH_CORRUPT_STALE_HANDLE, heap, NULL);
        HANDLE other = rig_heap_new();
        assert_ptr_not_equal(other, heap);
        assert_true(HeapDestroy(other));
    }
}

/* D52 */
static void destroying_under_ones_own_lock_works(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_true(HeapLock(heap));
    assert_true(HeapLock(heap));
    struct rig_outcome outcome = run_plain(RIG_HEAP_DESTROY, heap);
    rig_demand_value(&outcome, TRUE);
    outcome = run_plain(RIG_HEAP_UNLOCK, heap);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_HANDLE);
    HANDLE next = rig_heap_new();
    assert_non_null(HeapAlloc(next, 0, 10));
}

/* ---- threads: one helper that does a thing and raises a flag when it is through ---- */

struct helper {
    pthread_t thread;
    HANDLE heap;
    PVOID block;
    SIZE_T size;
    void (*work)(struct helper *helper);
    uintptr_t value;
    int done; /* atomic */
};

static void *helper_main(void *context)
{
    struct helper *helper = context;
    helper->work(helper);
    __atomic_store_n(&helper->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void helper_start(struct helper *helper)
{
    helper->done = 0;
    assert_int_equal(pthread_create(&helper->thread, NULL, helper_main, helper), 0);
}

/* True when the helper is not through after a time in which it could long have been. */
static BOOLEAN helper_waits(struct helper *helper)
{
    const struct timespec pause = {.tv_nsec = 40000000};
    nanosleep(&pause, NULL);
    return __atomic_load_n(&helper->done, __ATOMIC_ACQUIRE) == 0;
}

static void helper_join(struct helper *helper)
{
    assert_int_equal(pthread_join(helper->thread, NULL), 0);
}

static void work_alloc(struct helper *helper)
{
    helper->value = (uintptr_t)HeapAlloc(helper->heap, 0, helper->size);
}

static void work_alloc_no_serialize(struct helper *helper)
{
    helper->value = (uintptr_t)HeapAlloc(helper->heap, HEAP_NO_SERIALIZE, helper->size);
}

static void work_free(struct helper *helper)
{
    helper->value = (uintptr_t)HeapFree(helper->heap, 0, helper->block);
}

static void work_validate(struct helper *helper)
{
    helper->value = (uintptr_t)HeapValidate(helper->heap, 0, NULL);
}

static void work_lock(struct helper *helper)
{
    helper->value = (uintptr_t)HeapLock(helper->heap) & (uintptr_t)HeapUnlock(helper->heap);
}

static void work_destroy(struct helper *helper)
{
    helper->value = (uintptr_t)HeapDestroy(helper->heap);
}

static void work_unlock(struct helper *helper)
{
    SetLastError(RIG_LAST_ERROR);
    helper->value = HeapUnlock(helper->heap) ? 0 : GetLastError();
}

/* The helper's work waits for the lock held here, and succeeds once it is given up. */
static void demand_wait(struct helper *helper)
{
    assert_true(HeapLock(helper->heap));
    helper_start(helper);
    assert_true(helper_waits(helper));
    assert_true(HeapUnlock(helper->heap));
    helper_join(helper);
    assert_int_not_equal(helper->value, 0);
}

/* D52 */
static void destroying_waits_for_another_threads_lock(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .work = work_destroy};
    demand_wait(&helper);
    struct rig_outcome outcome = run_plain(RIG_HEAP_LOCK, helper.heap);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_HANDLE);
}

/* D52 */
static void a_call_that_waited_for_a_destroyed_heap_finds_a_bad_handle(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .size = 40, .work = work_alloc, .value = 1};
    assert_true(HeapLock(helper.heap));
    helper_start(&helper);
    assert_true(helper_waits(&helper));
    assert_true(HeapDestroy(helper.heap));
    helper_join(&helper);
    assert_int_equal(helper.value, 0);
    rig_report_demand(NTH_CORRUPT_STALE_HANDLE, helper.heap, NULL);
}

/* D60 */
static void heaplock_holds_off_the_front_end_too(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .size = 40};
    void (*const works[])(struct helper *) = {work_alloc, work_free, work_validate, work_lock};
    helper.work = work_alloc;
    for (unsigned count = 0; count < 100; count++) { /* the front end serves this size */
        helper.block = HeapAlloc(helper.heap, 0, 40);
    }
    helper_start(&helper);
    helper_join(&helper);
    for (size_t idx = 0; idx < sizeof(works) / sizeof(works[0]); idx++) {
        helper.work = works[idx];
        demand_wait(&helper);
    }
}

/* D60 */
static void a_call_that_does_not_serialize_passes_heaplock(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .size = 40, .work = work_alloc_no_serialize};
    assert_true(HeapLock(helper.heap));
    helper_start(&helper);
    helper_join(&helper);
    assert_int_not_equal(helper.value, 0);
    assert_true(HeapUnlock(helper.heap));
}

/* D57 */
static void a_heap_that_does_not_serialize_locks_without_effect(void **state)
{
    (void)state;
    struct helper helper = {.heap = HeapCreate(HEAP_NO_SERIALIZE, 0, 0), .work = work_lock};
    for (enum rig_call call = RIG_RTL_LOCK; call <= RIG_HEAP_UNLOCK; call++) {
        struct rig_outcome outcome = run_plain(call, helper.heap);
        rig_demand_value(&outcome, TRUE);
        assert_int_equal(outcome.reports, 0);
    }
    assert_true(HeapLock(helper.heap));
    helper_start(&helper);
    helper_join(&helper);
    assert_int_equal(helper.value, TRUE);
}

/* D58 */
static void locks_nest_and_are_counted(void **state)
{
    (void)state;
    const unsigned depth = 100000;
    struct helper helper = {.heap = rig_heap_new(), .size = 40, .work = work_alloc};
    for (unsigned count = 0; count < depth; count++) {
        assert_true(HeapLock(helper.heap));
    }
    for (unsigned count = 1; count < depth; count++) {
        assert_true(HeapUnlock(helper.heap));
    }
    helper_start(&helper);
    assert_true(helper_waits(&helper));
    assert_true(HeapUnlock(helper.heap));
    helper_join(&helper);
    assert_int_not_equal(helper.value, 0);
}

/* D59 */
static void only_the_owner_can_unlock(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .work = work_unlock};
    struct rig_outcome outcome = run_plain(RIG_HEAP_UNLOCK, helper.heap);
    rig_demand_error(&outcome, FALSE, ERROR_NOT_OWNER);
    outcome = run_plain(RIG_RTL_UNLOCK, helper.heap);
    rig_demand_value(&outcome, FALSE);
    assert_true(HeapLock(helper.heap));
    helper_start(&helper);
    helper_join(&helper);
    assert_int_equal(helper.value, ERROR_NOT_OWNER);
    outcome = run_plain(RIG_HEAP_UNLOCK, helper.heap);
    rig_demand_value(&outcome, TRUE);
    rig_report_demand_none();
}

/* D35 */
static void any_thread_may_use_a_heap(void **state)
{
    (void)state;
    struct helper helper = {.heap = rig_heap_new(), .size = 100, .work = work_alloc};
    helper_start(&helper);
    helper_join(&helper);
    PVOID block = (PVOID)helper.value;
    assert_int_equal(HeapSize(helper.heap, 0, block), 100);
    assert_true(HeapFree(helper.heap, 0, block));
    helper.block = HeapAlloc(helper.heap, 0, 50);
    helper.work = work_free;
    helper_start(&helper);
    helper_join(&helper);
    assert_int_equal(helper.value, TRUE);
    helper.work = work_destroy;
    helper_start(&helper);
    helper_join(&helper);
    assert_int_equal(helper.value, TRUE);
}

/* ---- listings ---- */

/* D55 */
static void listings_have_the_process_heap_first_and_the_newest_last(void **state)
{
    (void)state;
    HANDLE made[3];
    HANDLE list[8];
    assert_int_equal(GetProcessHeaps(0, NULL), 1); /* made for the listing */
    for (size_t idx = 0; idx < 3; idx++) {
        made[idx] = rig_heap_new();
    }
    assert_int_equal(GetProcessHeaps(8, list), 4);
    assert_ptr_equal(list[0], GetProcessHeap());
    assert_memory_equal(&list[1], made, sizeof(made));
    assert_true(HeapDestroy(made[1]));
    made[1] = rig_heap_new();
    memset(list, 0, sizeof(list));
    assert_int_equal(RtlGetProcessHeaps(3, list), 4);
    assert_ptr_equal(list[1], made[0]);
    assert_ptr_equal(list[2], made[2]);
    assert_null(list[3]);
    assert_int_equal(RtlGetProcessHeaps(8, list), 4);
    assert_ptr_equal(list[3], made[1]);
}

/* D55 */
static void an_array_that_cannot_be_written_lists_nothing(void **state)
{
    (void)state;
    PHANDLE arrays[] = {NULL, (PHANDLE)0x1000, (PHANDLE)rig_foreign(8), (PHANDLE)rig_foreign(10)};
    nth_seh_install();
    for (size_t idx = 0; idx < 4; idx++) {
        SetLastError(RIG_LAST_ERROR);
        assert_int_equal(RtlGetProcessHeaps(1, arrays[idx]), 0);
        assert_int_equal(GetLastError(), RIG_LAST_ERROR);
        assert_int_equal(GetProcessHeaps(UINT32_MAX, arrays[idx]), 0);
        assert_int_equal(GetLastError(), ERROR_NOACCESS);
        assert_int_equal(GetProcessHeaps(0, arrays[idx]), 1);
    }
    rig_report_demand_none();
}

/* D55 */
static void a_process_heap_that_cannot_be_made_is_tried_again(void **state)
{
    (void)state;
    rig_pages_refuse(TRUE);
    SetLastError(RIG_LAST_ERROR);
    assert_null(GetProcessHeap());
    assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 0);
    assert_int_equal(GetProcessHeaps(0, NULL), 0);
    rig_pages_refuse(FALSE);
    assert_non_null(GetProcessHeap());
    assert_int_equal(GetProcessHeaps(0, NULL), 1);
}

struct visits {
    HANDLE seen[8];
    unsigned count;
    unsigned stop_at;
    NTSTATUS status;
    HANDLE destroy;
};

static NTSTATUS visit(PVOID heap, PVOID parameter)
{
    struct visits *visits = parameter;
    assert_true(visits->count < 8);
    visits->seen[visits->count++] = heap;
    if (visits->destroy != NULL) {
        assert_true(HeapDestroy(visits->destroy));
        visits->destroy = NULL;
        assert_non_null(rig_heap_new());
    }
    return visits->count == visits->stop_at ? visits->status : 0x00000102u;
}

/* D56 */
static void enumerating_stops_at_the_first_failing_status(void **state)
{
    (void)state;
    HANDLE first = GetProcessHeap();
    HANDLE second = rig_heap_new();
    struct visits visits = {.stop_at = 2, .status = 0xC0001234u};
    (void)rig_heap_new();
    assert_int_equal(RtlEnumProcessHeaps(visit, &visits), 0xC0001234u);
    assert_int_equal(visits.count, 2);
    assert_ptr_equal(visits.seen[0], first);
    assert_ptr_equal(visits.seen[1], second);
    visits = (struct visits){.stop_at = 2, .status = 0x40000000u};
    assert_int_equal(RtlEnumProcessHeaps(visit, &visits), STATUS_SUCCESS);
    assert_int_equal(visits.count, 3);
    assert_int_equal(RtlEnumProcessHeaps(NULL, &visits), STATUS_INVALID_PARAMETER);
}

/* D56 */
static void an_enumerating_routine_may_make_and_destroy_heaps(void **state)
{
    (void)state;
    assert_non_null(GetProcessHeap());
    HANDLE kept = rig_heap_new();
    struct visits visits = {.destroy = rig_heap_new()};
    assert_int_equal(RtlEnumProcessHeaps(visit, &visits), STATUS_SUCCESS);
    assert_int_equal(visits.count, 2);
    assert_ptr_equal(visits.seen[1], kept);
    rig_report_demand_none();
}

/* D9 */
static void success_leaves_the_last_error_alone(void **state)
{
    (void)state;
    HANDLE list[4];
    PROCESS_HEAP_ENTRY entry = {0};
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    ULONG value = 2;
    SetLastError(RIG_LAST_ERROR);
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = HeapAlloc(heap, 0, 10);
    block = HeapReAlloc(heap, 0, block, 20);
    assert_int_equal(HeapSize(heap, 0, block), 20);
    assert_true(HeapLock(heap));
    assert_true(HeapWalk(heap, &entry));
    assert_true(HeapUnlock(heap));
    assert_true(HeapSummary(heap, 0, &summary));
    assert_true(HeapCompact(heap, 0) != 0);
    assert_true(HeapSetInformation(heap, HeapCompatibilityInformation, &value, 4));
    assert_true(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, 4, NULL));
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, block));
    assert_true(GetProcessHeaps(4, list) == 2);
    assert_true(HeapDestroy(heap));
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_process_heap_cannot_be_destroyed),
        TEST(a_heap_is_destroyed_once),
        TEST(destroying_gives_back_everything),
        TEST(a_destroyed_handle_is_stale_for_the_next_64_creations),
        TEST(destroying_under_ones_own_lock_works),
        TEST(destroying_waits_for_another_threads_lock),
        TEST(heaplock_holds_off_the_front_end_too),
        TEST(a_call_that_does_not_serialize_passes_heaplock),
        TEST(a_heap_that_does_not_serialize_locks_without_effect),
        TEST(locks_nest_and_are_counted),
        TEST(only_the_owner_can_unlock),
        TEST(any_thread_may_use_a_heap),
        TEST(listings_have_the_process_heap_first_and_the_newest_last),
        TEST(an_array_that_cannot_be_written_lists_nothing),
        TEST(a_process_heap_that_cannot_be_made_is_tried_again),
        TEST(enumerating_stops_at_the_first_failing_status),
        TEST(an_enumerating_routine_may_make_and_destroy_heaps),
        TEST(success_leaves_the_last_error_alone),
        TEST(a_call_that_waited_for_a_destroyed_heap_finds_a_bad_handle),
    };
    return cmocka_run_group_tests_name("rulings on the life of a heap", tests, NULL, NULL);
}
