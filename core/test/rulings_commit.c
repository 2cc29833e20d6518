/* SPDX-License-Identifier: MIT
 *
 * Rulings on a heap in the caller's block with the caller's CommitRoutine or Lock: D17, D25, D26,
 * D28. The block lies in one mapping without access, so that core touching a page which the
 * routine has not handed over is a fault and not luck. */
#include "support/rig.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define GRANULE ((SIZE_T)NTH_GRANULE_BYTES)
#define BLOCK_BYTES (8 * GRANULE)

/* What the routine does when it is asked. */
enum answer {
    ANSWER_DONE,      /* commits what is asked */
    ANSWER_MORE,      /* commits one page more */
    ANSWER_REST,      /* commits all that is left of the block */
    ANSWER_ERROR,     /* refuses */
    ANSWER_LESS,      /* commits half of it and says so */
    ANSWER_ELSEWHERE, /* says it committed at another address */
    ANSWER_BEYOND,    /* claims to have committed past the block's end */
    ANSWER_PART,      /* commits what is asked and says that it was a byte more */
    ANSWER_RAISE,     /* raises 0xE0001234 */
    ANSWER_CALL_HEAP  /* calls the heap it works for, then commits */
};

static struct {
    uint8_t *mapping;
    uint8_t *block;
    enum answer answer;
    unsigned calls;
    SIZE_T opened_bytes;
    PVOID base_seen;
    struct rig_args inner; /* for ANSWER_CALL_HEAP */
    uintptr_t inner_value;
    DWORD inner_error;
} own;

static void open_pages(uint8_t *at, SIZE_T bytes)
{
    assert_int_equal(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
}

static NTSTATUS call_heap(void)
{
    switch (own.inner.call) {
    case RIG_HEAP_ALLOC:
        own.inner_value = (uintptr_t)HeapAlloc(own.inner.heap, own.inner.flags, own.inner.size);
        break;
    case RIG_HEAP_FREE:
        own.inner_value = (uintptr_t)HeapFree(own.inner.heap, 0, own.inner.block);
        break;
    case RIG_HEAP_VALIDATE:
        own.inner_value = (uintptr_t)HeapValidate(own.inner.heap, 0, NULL);
        break;
    case RIG_HEAP_LOCK:
        own.inner_value = (uintptr_t)HeapLock(own.inner.heap);
        break;
    default:
        own.inner_value = (uintptr_t)HeapDestroy(own.inner.heap);
        break;
    }
    own.inner_error = GetLastError();
    return STATUS_SUCCESS;
}

static NTSTATUS routine(PVOID base, PVOID *address, PSIZE_T bytes)
{
    uint8_t *at = *address;
    own.calls++;
    own.base_seen = base;
    switch (own.answer) {
    case ANSWER_ERROR:
        return STATUS_UNSUCCESSFUL;
    case ANSWER_RAISE:
        RaiseException(0xE0001234u, 0, 0, NULL);
        return STATUS_UNSUCCESSFUL;
    case ANSWER_LESS:
        *bytes = *bytes / 2 & ~(PAGE - 1);
        break;
    case ANSWER_MORE:
        *bytes += PAGE;
        break;
    case ANSWER_REST:
        *bytes = (SIZE_T)(own.block + BLOCK_BYTES - at);
        break;
    case ANSWER_ELSEWHERE:
        *address = at - PAGE;
        return STATUS_SUCCESS;
    case ANSWER_BEYOND:
        *bytes = BLOCK_BYTES;
        return STATUS_SUCCESS;
    case ANSWER_CALL_HEAP:
        call_heap();
        break;
    case ANSWER_PART:
        open_pages(at, *bytes);
        own.opened_bytes += *bytes;
        *bytes += 1;
        return STATUS_SUCCESS;
    case ANSWER_DONE:
        break;
    }
    if (*bytes != 0) {
        open_pages(at, *bytes);
        own.opened_bytes += *bytes;
    }
    return STATUS_SUCCESS;
}

static int setup(void **state)
{
    memset(&own, 0, sizeof(own));
    own.mapping = mmap(NULL, BLOCK_BYTES + GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(own.mapping != MAP_FAILED);
    own.block = (uint8_t *)(((uintptr_t)own.mapping + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1));
    return rig_setup(state);
}

static int teardown(void **state)
{
    const int result = rig_teardown(state);
    munmap(own.mapping, BLOCK_BYTES + GRANULE);
    return result;
}

static RTL_HEAP_PARAMETERS parameters(SIZE_T commit, SIZE_T reserve)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .InitialCommit = commit,
                                  .InitialReserve = reserve,
                                  .CommitRoutine = routine};
    return wanted;
}

static HANDLE create(ULONG flags)
{
    RTL_HEAP_PARAMETERS wanted = parameters(4 * PAGE, BLOCK_BYTES);
    HANDLE heap = RtlCreateHeap(flags, own.block, 0, 0, NULL, &wanted);
    assert_ptr_equal(heap, own.block);
    return heap;
}

/* D25 */
static void a_commit_routine_wants_a_base_and_a_nongrowable_heap(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = parameters(4 * PAGE, BLOCK_BYTES);
    assert_null(RtlCreateHeap(0, NULL, BLOCK_BYTES, 0, NULL, &wanted));
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &wanted));
    assert_null(RtlCreateHeap(HEAP_GROWABLE, own.block, BLOCK_BYTES, 0, NULL, &wanted));
    assert_int_equal(own.calls, 0);
}

/* D25 */
static void a_commit_routine_wants_initial_sizes_in_order(void **state)
{
    (void)state;
    const SIZE_T refused[][2] = {{0, BLOCK_BYTES},
                                 {4 * PAGE, 0},
                                 {0, 0},
                                 {5 * PAGE, 4 * PAGE},
                                 {PAGE, PAGE},
                                 {PAGE, SIZE_MAX},
                                 {SIZE_MAX, SIZE_MAX},
                                 {BLOCK_BYTES + 1, BLOCK_BYTES}};
    for (size_t idx = 0; idx < sizeof(refused) / sizeof(refused[0]); idx++) {
        RTL_HEAP_PARAMETERS wanted = parameters(refused[idx][0], refused[idx][1]);
        assert_null(RtlCreateHeap(0, own.block, BLOCK_BYTES, PAGE, NULL, &wanted));
    }
    assert_int_equal(own.calls, 0);
}

/* D25 */
static void initial_sizes_replace_the_arguments_and_are_ignored_without_a_routine(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry;
    HANDLE heap = create(0);
    assert_true(rig_element(heap, PROCESS_HEAP_REGION, 0, &entry));
    assert_int_equal(entry.cbData, BLOCK_BYTES);
    assert_int_equal(entry.Region.dwCommittedSize, 4 * PAGE);
    assert_null(RtlDestroyHeap(heap));
    RTL_HEAP_PARAMETERS wanted = parameters(PAGE, 2 * PAGE);
    wanted.CommitRoutine = NULL;
    heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 16 * PAGE, 3 * PAGE, NULL, &wanted);
    assert_true(rig_element(heap, PROCESS_HEAP_REGION, 0, &entry));
    assert_int_equal(entry.cbData, 16 * PAGE);
    assert_int_equal(entry.Region.dwCommittedSize, 3 * PAGE);
}

/* D25 */
static void a_routine_that_refuses_the_first_pages_makes_the_creation_fail(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = parameters(4 * PAGE, BLOCK_BYTES);
    const enum answer answers[] = {ANSWER_ERROR, ANSWER_LESS, ANSWER_ELSEWHERE, ANSWER_BEYOND};
    for (size_t idx = 0; idx < sizeof(answers) / sizeof(answers[0]); idx++) {
        own.answer = answers[idx];
        if (own.answer == ANSWER_BEYOND) {
            wanted.InitialReserve = BLOCK_BYTES / 2;
        }
        assert_null(RtlCreateHeap(HEAP_GENERATE_EXCEPTIONS, own.block, 0, 0, NULL, &wanted));
    }
    assert_int_equal(own.calls, 4);
}

/* D26 */
static void the_routine_is_asked_for_whole_pages_of_its_block(void **state)
{
    (void)state;
    HANDLE heap = create(0);
    assert_int_equal(own.calls, 1);
    uint8_t *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x20000);
    assert_non_null(block);
    assert_true(own.calls > 1);
    assert_ptr_equal(own.base_seen, own.block);
    assert_true(block > own.block && block + 0x20000 <= own.block + BLOCK_BYTES);
    memset(block, 0x5A, 0x20000);
    assert_true(HeapValidate(heap, 0, NULL));
}

static SIZE_T committed(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, 0, &summary));
    return summary.cbCommitted;
}

/* D26 */
static void more_than_asked_inside_the_reserve_is_taken(void **state)
{
    (void)state;
    HANDLE heap = create(0);
    const SIZE_T before = committed(heap) - own.opened_bytes;
    own.answer = ANSWER_MORE;
    assert_non_null(HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x20000));
    assert_int_equal(committed(heap) - own.opened_bytes, before); /* the page more is the heap's */
    assert_non_null(HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x1000));
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D26 */
static void all_that_the_routine_committed_can_be_used(void **state)
{
    (void)state;
    PVOID blocks[BLOCK_BYTES / 1000];
    size_t count = 0;
    HANDLE heap = create(0);
    own.calls = 0;
    own.answer = ANSWER_REST;
    for (PVOID block = HeapAlloc(heap, 0, 1000); block != NULL; block = HeapAlloc(heap, 0, 1000)) {
        memset(block, 0x5A, 1000);
        blocks[count++] = block;
    }
    assert_int_equal(own.calls, 1);
    assert_true(count > (BLOCK_BYTES - 16 * PAGE) / 1024);
    assert_true(HeapValidate(heap, 0, NULL));
    while (count > 0) {
        assert_true(HeapFree(heap, 0, blocks[--count]));
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
}

static void demand_shortage(enum answer answer)
{
    HANDLE heap = create(0);
    own.answer = answer;
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_demand_value(&outcome, 0);
    outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 0x20000);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 0x20000);
    assert_int_equal(outcome.reports, 0);
    assert_true(HeapValidate(heap, 0, NULL));
    own.answer = ANSWER_DONE;
    assert_non_null(HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x20000));
    assert_null(RtlDestroyHeap(heap));
}

/* D26 */
static void a_routine_that_fails_is_shortage(void **state)
{
    (void)state;
    demand_shortage(ANSWER_ERROR);
}

/* D26 */
static void a_routine_that_commits_less_is_shortage(void **state)
{
    (void)state;
    demand_shortage(ANSWER_LESS);
}

/* D26 */
static void a_routine_that_names_another_address_is_shortage(void **state)
{
    (void)state;
    demand_shortage(ANSWER_ELSEWHERE);
}

/* D26 */
static void a_routine_that_commits_parts_of_pages_is_shortage(void **state)
{
    (void)state;
    demand_shortage(ANSWER_PART);
}

/* D26 */
static void a_routine_that_claims_more_than_the_block_is_shortage(void **state)
{
    (void)state;
    demand_shortage(ANSWER_BEYOND);
}

/* D26 */
static void an_exception_from_the_routine_reaches_the_caller_with_the_heap_as_it_was(void **state)
{
    (void)state;
    HANDLE heap = create(0);
    own.answer = ANSWER_RAISE;
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    assert_true(outcome.raised);
    assert_int_equal(outcome.record.ExceptionCode, 0xE0001234u);
    assert_int_equal(outcome.reports, 0);
    SetLastError(RIG_LAST_ERROR);
    assert_false(HeapUnlock(heap));
    assert_int_equal(GetLastError(), ERROR_NOT_OWNER);
    assert_true(HeapValidate(heap, 0, NULL));
    own.answer = ANSWER_DONE;
    assert_non_null(HeapAlloc(heap, 0, 0x20000));
    rig_report_demand_none();
}

/* The routine's exception is the only one, where the call would raise as well. */
static void an_exception_of_the_routine_is_not_followed_by_another(void **state)
{
    (void)state;
    HANDLE heap = create(HEAP_GENERATE_EXCEPTIONS);
    uint8_t *block = HeapAlloc(heap, 0, 100);
    assert_non_null(block);
    block[99] = 7;
    own.answer = ANSWER_RAISE;
    const struct rig_outcome outcome = rig_realloc(heap, HEAP_GENERATE_EXCEPTIONS, block, 0x20000);
    assert_true(outcome.raised);
    assert_int_equal(outcome.record.ExceptionCode, 0xE0001234u);
    assert_int_equal(outcome.reports, 0);
    own.answer = ANSWER_DONE;
    assert_int_equal(HeapSize(heap, 0, block), 100);
    assert_int_equal(block[99], 7);
    block = HeapReAlloc(heap, 0, block, 0x20000);
    assert_non_null(block);
    assert_int_equal(block[99], 7);
    rig_report_demand_none();
}

static LONG filter_goes_on(EXCEPTION_POINTERS *info, void *context)
{
    assert_int_equal(info->ExceptionRecord->ExceptionCode, 0xE0001234u);
    ++*(unsigned *)context;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* Nor where a filter lets the call go on, which then gives nothing. */
static void an_exception_of_the_routine_that_is_continued_is_shortage(void **state)
{
    (void)state;
    HANDLE heap = create(HEAP_GENERATE_EXCEPTIONS);
    uint8_t *block = HeapAlloc(heap, 0, 100);
    volatile uintptr_t given = 1;
    volatile uintptr_t moved = 1;
    unsigned asked = 0;
    assert_non_null(block);
    own.answer = ANSWER_RAISE;
    NT_TRY
    {
        given = (uintptr_t)HeapAlloc(heap, 0, 0x20000);
        moved = (uintptr_t)HeapReAlloc(heap, 0, block, 0x20000);
    }
    NT_EXCEPT(filter_goes_on, &asked)
    {
        asked = 100;
    }
    NT_END_TRY
    assert_int_equal(asked, 2);
    assert_int_equal(given, 0);
    assert_int_equal(moved, 0);
    own.answer = ANSWER_DONE;
    assert_int_equal(HeapSize(heap, 0, block), 100);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

static HANDLE create_calling(enum rig_call call)
{
    HANDLE heap = create(0);
    own.inner.call = call;
    own.inner.heap = heap;
    own.inner.size = 16;
    own.inner.block = HeapAlloc(heap, 0, 16);
    own.answer = ANSWER_CALL_HEAP;
    rig_report_forget();
    SetLastError(RIG_LAST_ERROR);
    return heap;
}

/* The outer call works; the inner one was refused, reported and gave `value` and `error`. */
static void demand_inner(HANDLE heap, uintptr_t value, DWORD error)
{
    assert_non_null(HeapAlloc(heap, 0, 0x8000));
    assert_int_equal(rig_report_count(), 1);
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_REENTERED);
    assert_ptr_equal(rig_report_last()->heap, heap);
    assert_int_equal(own.inner_value, value);
    assert_int_equal(own.inner_error, error);
    own.answer = ANSWER_DONE;
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, own.inner.block));
}

/* D17 */
static void allocating_from_the_heaps_own_routine_is_refused(void **state)
{
    (void)state;
    demand_inner(create_calling(RIG_HEAP_ALLOC), 0, RIG_LAST_ERROR);
}

/* D17 */
static void freeing_from_the_heaps_own_routine_is_refused(void **state)
{
    (void)state;
    demand_inner(create_calling(RIG_HEAP_FREE), FALSE, ERROR_INVALID_PARAMETER);
}

/* D17 */
static void validating_from_the_heaps_own_routine_is_refused(void **state)
{
    (void)state;
    demand_inner(create_calling(RIG_HEAP_VALIDATE), FALSE, RIG_LAST_ERROR);
}

/* D17 */
static void locking_from_the_heaps_own_routine_is_refused(void **state)
{
    (void)state;
    demand_inner(create_calling(RIG_HEAP_LOCK), FALSE, ERROR_INVALID_PARAMETER);
}

/* D17 */
static void destroying_from_the_heaps_own_routine_is_refused(void **state)
{
    (void)state;
    demand_inner(create_calling(RIG_HEAP_DESTROY), FALSE, ERROR_INVALID_PARAMETER);
}

/* D17 */
static void a_reentering_allocation_with_exceptions_raises_through_the_outer_call(void **state)
{
    (void)state;
    HANDLE heap = create_calling(RIG_HEAP_ALLOC);
    own.inner.flags = HEAP_GENERATE_EXCEPTIONS;
    struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, (uintptr_t)heap);
    assert_int_equal(outcome.reports, 1);
    own.answer = ANSWER_DONE;
    assert_true(HeapValidate(heap, 0, NULL));
    assert_non_null(HeapAlloc(heap, 0, 0x20000));
}

static void *try_enter(void *context)
{
    LPCRITICAL_SECTION section = context;
    const BOOL entered = TryEnterCriticalSection(section);
    if (entered) {
        LeaveCriticalSection(section);
    }
    return entered ? section : NULL;
}

static BOOLEAN free_for_others(LPCRITICAL_SECTION section)
{
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(pthread_create(&thread, NULL, try_enter, section), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    return result != NULL;
}

/* D28 */
static void the_callers_lock_is_the_heaps_lock(void **state)
{
    (void)state;
    CRITICAL_SECTION section;
    InitializeCriticalSection(&section);
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL);
    assert_non_null(heap);
    assert_true(RtlLockHeap(heap));
    assert_false(free_for_others(&section));
    assert_non_null(HeapAlloc(heap, 0, 16));
    assert_false(free_for_others(&section));
    assert_true(RtlUnlockHeap(heap));
    assert_true(free_for_others(&section));
    EnterCriticalSection(&section);
    assert_non_null(HeapAlloc(heap, 0, 16));
    LeaveCriticalSection(&section);
    assert_null(RtlDestroyHeap(heap));
    assert_true(free_for_others(&section)); /* the caller's own: it outlives the heap */
    DeleteCriticalSection(&section);
}

/* D28 */
static void a_lock_that_cannot_be_one_is_refused(void **state)
{
    (void)state;
    CRITICAL_SECTION section;
    CRITICAL_SECTION never_made;
    memset(&never_made, 0, sizeof(never_made));
    InitializeCriticalSection(&section);
    nth_seh_install();
    assert_null(RtlCreateHeap(HEAP_GROWABLE | HEAP_NO_SERIALIZE, NULL, 0, 0, &section, NULL));
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, (PVOID)0x1000, NULL));
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, rig_foreign(8), NULL));
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &never_made, NULL));
    rig_report_demand_none();
    DeleteCriticalSection(&section);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_commit_routine_wants_a_base_and_a_nongrowable_heap),
        TEST(a_commit_routine_wants_initial_sizes_in_order),
        TEST(initial_sizes_replace_the_arguments_and_are_ignored_without_a_routine),
        TEST(a_routine_that_refuses_the_first_pages_makes_the_creation_fail),
        TEST(the_routine_is_asked_for_whole_pages_of_its_block),
        TEST(all_that_the_routine_committed_can_be_used),
        TEST(more_than_asked_inside_the_reserve_is_taken),
        TEST(a_routine_that_fails_is_shortage),
        TEST(a_routine_that_commits_less_is_shortage),
        TEST(a_routine_that_names_another_address_is_shortage),
        TEST(a_routine_that_commits_parts_of_pages_is_shortage),
        TEST(a_routine_that_claims_more_than_the_block_is_shortage),
        TEST(an_exception_from_the_routine_reaches_the_caller_with_the_heap_as_it_was),
        TEST(an_exception_of_the_routine_is_not_followed_by_another),
        TEST(an_exception_of_the_routine_that_is_continued_is_shortage),
        TEST(allocating_from_the_heaps_own_routine_is_refused),
        TEST(freeing_from_the_heaps_own_routine_is_refused),
        TEST(validating_from_the_heaps_own_routine_is_refused),
        TEST(locking_from_the_heaps_own_routine_is_refused),
        TEST(destroying_from_the_heaps_own_routine_is_refused),
        TEST(a_reentering_allocation_with_exceptions_raises_through_the_outer_call),
        TEST(the_callers_lock_is_the_heaps_lock),
        TEST(a_lock_that_cannot_be_one_is_refused),
    };
    return cmocka_run_group_tests_name("rulings on the caller's block and lock", tests, NULL, NULL);
}
