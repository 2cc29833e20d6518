/* SPDX-License-Identifier: MIT
 *
 * HeapLock wins: while a thread holds it, no other thread allocates, frees, looks or locks in that
 * heap, the front end without the lock included, and calls under way are waited for (D57 to D60).
 */
#include "support/crew.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

#include "sanitize.h"
#include "thread.h"

#define WARM_BYTES ((SIZE_T)40)
#define WARM_COUNT 64u
#define BACK_BYTES ((SIZE_T)30000) /* past the front end */
#define LARGE_BYTES ((SIZE_T)0x90000)

/* A hand comes warmed up: its magazine holds slots, and there is room in it too. */
struct visit {
    struct crew_hand hand;
    uintptr_t (*call)(struct crew_hand *hand);
    uintptr_t expected;
    int ready;
    int go;
};

/* Only this many: the stress build's magazines hold two. */
static void warm_up(HANDLE heap)
{
    PVOID blocks[WARM_COUNT];
    for (unsigned idx = 0; idx < WARM_COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, WARM_BYTES);
        crew_demand(blocks[idx] != NULL);
    }
    for (unsigned idx = 0; idx < WARM_COUNT; idx++) {
        crew_demand(HeapFree(heap, 0, blocks[idx]));
    }
    crew_demand(HeapFree(heap, 0, HeapAlloc(heap, 0, WARM_BYTES)));
    PVOID block = HeapAlloc(heap, 0, WARM_BYTES); /* neither full nor empty */
    crew_demand(block != NULL);
    PVOID other = HeapAlloc(heap, 0, WARM_BYTES);
    crew_demand(HeapFree(heap, 0, other));
    crew_demand(HeapFree(heap, 0, block));
    crew_demand(HeapAlloc(heap, 0, WARM_BYTES) != NULL);
}

static uintptr_t visit_work(struct crew_hand *hand)
{
    struct visit *visit = hand->extra;
    warm_up(hand->heap);
    crew_raise(&visit->ready);
    crew_await(&visit->go);
    return visit->call(hand);
}

static void visit_start(struct visit *visit, HANDLE heap)
{
    visit->hand.heap = heap;
    visit->hand.work = visit_work;
    visit->hand.extra = visit;
    visit->ready = 0;
    visit->go = 0;
    crew_start(&visit->hand);
    crew_await(&visit->ready);
}

/* ---- the calls ---- */

static uintptr_t call_alloc(struct crew_hand *hand)
{
    hand->block = HeapAlloc(hand->heap, hand->flags, hand->size);
    return hand->block != NULL;
}

static uintptr_t call_rtl_alloc(struct crew_hand *hand)
{
    hand->block = RtlAllocateHeap(hand->heap, hand->flags, hand->size);
    return hand->block != NULL;
}

static uintptr_t call_free(struct crew_hand *hand)
{
    return (uintptr_t)HeapFree(hand->heap, hand->flags, hand->block);
}

static uintptr_t call_rtl_free(struct crew_hand *hand)
{
    return RtlFreeHeap(hand->heap, hand->flags, hand->block);
}

static uintptr_t call_realloc(struct crew_hand *hand)
{
    hand->block = HeapReAlloc(hand->heap, hand->flags, hand->block, hand->size + 1000);
    return hand->block != NULL;
}

static uintptr_t call_size(struct crew_hand *hand)
{
    return HeapSize(hand->heap, hand->flags, hand->block) == hand->size;
}

static uintptr_t call_validate(struct crew_hand *hand)
{
    return (uintptr_t)HeapValidate(hand->heap, hand->flags, NULL);
}

static uintptr_t call_validate_block(struct crew_hand *hand)
{
    return (uintptr_t)HeapValidate(hand->heap, hand->flags, hand->block);
}

static uintptr_t call_walk(struct crew_hand *hand)
{
    PROCESS_HEAP_ENTRY entry = {0};
    return (uintptr_t)HeapWalk(hand->heap, &entry);
}

static uintptr_t call_rtl_walk(struct crew_hand *hand)
{
    RTL_HEAP_WALK_ENTRY entry = {0};
    return RtlWalkHeap(hand->heap, &entry) == STATUS_SUCCESS;
}

static uintptr_t call_lock(struct crew_hand *hand)
{
    return (uintptr_t)HeapLock(hand->heap) & (uintptr_t)HeapUnlock(hand->heap);
}

static uintptr_t call_compact(struct crew_hand *hand)
{
    return HeapCompact(hand->heap, hand->flags) != 0;
}

static uintptr_t call_summary(struct crew_hand *hand)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    return (uintptr_t)HeapSummary(hand->heap, 0, &summary);
}

static uintptr_t call_zero(struct crew_hand *hand)
{
    return RtlZeroHeap(hand->heap, hand->flags) == STATUS_SUCCESS;
}

static uintptr_t call_query(struct crew_hand *hand)
{
    ULONG value = 0;
    return (uintptr_t)HeapQueryInformation(hand->heap, HeapCompatibilityInformation, &value,
                                           sizeof(value), NULL);
}

static uintptr_t call_set(struct crew_hand *hand)
{
    ULONG value = 2;
    return (uintptr_t)HeapSetInformation(hand->heap, HeapCompatibilityInformation, &value,
                                         sizeof(value));
}

static uintptr_t call_user_info(struct crew_hand *hand)
{
    PVOID value = NULL;
    ULONG flags = 0;
    return RtlGetUserInfoHeap(hand->heap, hand->flags, hand->block, &value, &flags);
}

static uintptr_t call_multiple(struct crew_hand *hand)
{
    PVOID array[2];
    return RtlMultipleAllocateHeap(hand->heap, hand->flags, hand->size, 2, array) == 2 &&
           RtlMultipleFreeHeap(hand->heap, hand->flags, 2, array) == 2;
}

struct row {
    uintptr_t (*call)(struct crew_hand *hand);
    SIZE_T size;
    BOOLEAN wants_block;
};

static const struct row rows[] = {
    {call_alloc, WARM_BYTES, FALSE},
    {call_rtl_alloc, WARM_BYTES, FALSE},
    {call_free, WARM_BYTES, TRUE},
    {call_rtl_free, WARM_BYTES, TRUE},
    {call_realloc, WARM_BYTES, TRUE},
    {call_size, WARM_BYTES, TRUE},
    {call_alloc, BACK_BYTES, FALSE},
    {call_free, BACK_BYTES, TRUE},
    {call_realloc, BACK_BYTES, TRUE},
    {call_size, BACK_BYTES, TRUE},
    {call_alloc, LARGE_BYTES, FALSE},
    {call_free, LARGE_BYTES, TRUE},
    {call_realloc, LARGE_BYTES, TRUE},
    {call_size, LARGE_BYTES, TRUE},
    {call_validate, 1, FALSE},
    {call_validate_block, WARM_BYTES, TRUE},
    {call_walk, 1, FALSE},
    {call_rtl_walk, 1, FALSE},
    {call_lock, 1, FALSE},
    {call_compact, 1, FALSE},
    {call_summary, 1, FALSE},
    {call_zero, 1, FALSE},
    {call_query, 1, FALSE},
    {call_set, 1, FALSE},
    {call_user_info, WARM_BYTES, TRUE},
    {call_multiple, WARM_BYTES, FALSE},
    {call_multiple, BACK_BYTES, FALSE},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static void visit_prepare(struct visit *visit, HANDLE heap, const struct row *row)
{
    memset(visit, 0, sizeof(*visit));
    visit->call = row->call;
    visit->hand.size = row->size;
    visit->hand.block = row->wants_block ? HeapAlloc(heap, 0, row->size) : NULL;
    visit_start(visit, heap);
}

static HANDLE heap_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    return heap;
}

/* ---- tests ---- */

static uintptr_t pairs_without_lock(struct crew_hand *hand)
{
    const unsigned before = crew_locks_taken();
    for (unsigned count = 0; count < 100; count++) {
        PVOID block = HeapAlloc(hand->heap, 0, WARM_BYTES);
        crew_demand(block != NULL);
        crew_demand(HeapFree(hand->heap, 0, block));
    }
    return crew_locks_taken() - before;
}

/* What the other tests rely on: there is a way without the lock to keep shut. */
static void front_end_pairs_take_no_lock(void **state)
{
    (void)state;
    struct visit visit = {.call = pairs_without_lock};
    visit_start(&visit, heap_new());
    crew_raise(&visit.go);
    assert_int_equal(crew_join(&visit.hand), 0);
}

/* D60 */
static void heaplock_keeps_every_call_of_another_thread_out(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    for (size_t idx = 0; idx < ROW_COUNT; idx++) {
        struct visit visit;
        visit_prepare(&visit, heap, &rows[idx]);
        assert_true(HeapLock(heap));
        crew_raise(&visit.go);
        assert_true(crew_waits(&visit.hand));
        const unsigned before = crew_walk_busy(heap);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_int_equal(crew_walk_busy(heap), before);
        assert_false(crew_done(&visit.hand));
        assert_true(HeapUnlock(heap));
        assert_int_equal(crew_join(&visit.hand), 1);
    }
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D57, D60: what a caller takes upon himself is let through; the owner keeps still meanwhile. */
static void calls_that_do_not_serialize_pass_a_held_lock(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    for (size_t idx = 0; idx < ROW_COUNT; idx++) {
        struct visit visit;
        if (rows[idx].call == call_walk || rows[idx].call == call_rtl_walk ||
            rows[idx].call == call_lock || rows[idx].call == call_summary ||
            rows[idx].call == call_query || rows[idx].call == call_set) {
            continue; /* they have no flags, or do not look at them */
        }
        visit_prepare(&visit, heap, &rows[idx]);
        visit.hand.flags = HEAP_NO_SERIALIZE;
        assert_true(HeapLock(heap));
        crew_raise(&visit.go);
        assert_false(crew_waits(&visit.hand));
        assert_int_equal(crew_join(&visit.hand), 1);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(HeapUnlock(heap));
    }
}

/* D58 */
static void a_nested_lock_holds_until_its_last_unlock(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct visit visit;
    const struct row row = {call_alloc, WARM_BYTES, FALSE};
    visit_prepare(&visit, heap, &row);
    for (unsigned depth = 0; depth < 3; depth++) {
        assert_true(HeapLock(heap));
    }
    crew_raise(&visit.go);
    assert_true(crew_waits(&visit.hand));
    for (unsigned depth = 0; depth < 2; depth++) {
        assert_true(HeapUnlock(heap));
        assert_true(HeapFree(heap, 0, HeapAlloc(heap, 0, WARM_BYTES)));
        assert_false(crew_done(&visit.hand));
        assert_true(crew_waits(&visit.hand));
    }
    assert_true(HeapUnlock(heap));
    assert_int_equal(crew_join(&visit.hand), 1);
    assert_false(HeapUnlock(heap));
}

static void the_owner_goes_on_using_the_heap(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct visit visit;
    const struct row row = {call_free, WARM_BYTES, TRUE};
    warm_up(heap);
    visit_prepare(&visit, heap, &row);
    assert_true(HeapLock(heap));
    crew_raise(&visit.go);
    crew_exercise(heap);
    warm_up(heap);
    assert_true(HeapCompact(heap, 0) != 0);
    assert_true(crew_waits(&visit.hand));
    assert_true(HeapUnlock(heap));
    assert_int_equal(crew_join(&visit.hand), 1);
}

static void unlocking_lets_everybody_in(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct visit visits[4];
    const struct row row = {call_alloc, WARM_BYTES, FALSE};
    for (size_t idx = 0; idx < 4; idx++) {
        visit_prepare(&visits[idx], heap, &row);
    }
    assert_true(HeapLock(heap));
    for (size_t idx = 0; idx < 4; idx++) {
        crew_raise(&visits[idx].go);
        assert_true(crew_waits(&visits[idx].hand));
    }
    assert_true(HeapUnlock(heap));
    for (size_t idx = 0; idx < 4; idx++) {
        assert_int_equal(crew_join(&visits[idx].hand), 1);
    }
}

/* One heap's lock is nobody else's. */
static void other_heaps_stay_open(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct visit visit;
    const struct row row = {call_alloc, WARM_BYTES, FALSE};
    visit_prepare(&visit, heap_new(), &row);
    assert_true(HeapLock(heap));
    crew_raise(&visit.go);
    assert_int_equal(crew_join(&visit.hand), 1);
    assert_true(HeapUnlock(heap));
}

/* D28 */
static void the_callers_critical_section_keeps_every_call_out(void **state)
{
    (void)state;
    CRITICAL_SECTION section;
    InitializeCriticalSection(&section);
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL);
    assert_non_null(heap);
    for (size_t idx = 0; idx < ROW_COUNT; idx++) {
        struct visit visit;
        visit_prepare(&visit, heap, &rows[idx]);
        EnterCriticalSection(&section);
        crew_raise(&visit.go);
        assert_true(crew_waits(&visit.hand));
        assert_true(HeapFree(heap, 0, HeapAlloc(heap, 0, WARM_BYTES)));
        assert_false(crew_done(&visit.hand));
        LeaveCriticalSection(&section);
        assert_int_equal(crew_join(&visit.hand), 1);
    }
    assert_null(RtlDestroyHeap(heap));
    DeleteCriticalSection(&section);
}

/* ---- a call without the lock is under way ---- */

static int parked;    /* the signal found its thread inside a call without the lock */
static int park_over; /* it may go on */
static int park_wanted;

static void park(int number)
{
    (void)number;
    if (crew_raised(&park_wanted) && nth_load_relaxed(&nth_self.inside) != NULL &&
        nth_self.call == NULL) {
        __atomic_store_n(&park_wanted, 0, __ATOMIC_RELAXED);
        crew_raise(&parked);
        crew_await(&park_over);
    }
}

static uintptr_t pairs_until_told(struct crew_hand *hand)
{
    const int *stop = hand->extra;
    warm_up(hand->heap);
    while (!crew_raised(stop)) {
        PVOID block = HeapAlloc(hand->heap, 0, WARM_BYTES);
        crew_demand(block != NULL);
        crew_demand(HeapFree(hand->heap, 0, block));
    }
    return 1;
}

static uintptr_t lock_and_look(struct crew_hand *hand)
{
    crew_demand(HeapLock(hand->heap));
    crew_demand(HeapValidate(hand->heap, 0, NULL));
    return (uintptr_t)HeapUnlock(hand->heap);
}

static void a_call_under_way_is_waited_for(void **state)
{
    (void)state;
    int stop = 0;
    if (NTH_FENCES_ONLY) {
        skip(); /* the sanitizer delays signals until calls are over */
    }
    struct sigaction action = {.sa_handler = park};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    for (unsigned round = 0; round < 20; round++) {
        struct crew_hand pairs = {.work = pairs_until_told, .heap = heap_new(), .extra = &stop};
        struct crew_hand owner = {.work = lock_and_look, .heap = pairs.heap};
        parked = 0;
        park_over = 0;
        stop = 0;
        crew_raise(&park_wanted);
        crew_start(&pairs);
        while (!crew_raised(&parked)) {
            assert_int_equal(pthread_kill(pairs.thread, SIGUSR1), 0);
            sched_yield();
        }
        const unsigned pauses = crew_pauses();
        crew_start(&owner);
        while (crew_pauses() < pauses + 10 && !crew_done(&owner)) {
            sched_yield();
        }
        assert_false(crew_done(&owner));
        crew_raise(&park_over);
        assert_int_equal(crew_join(&owner), 1);
        crew_raise(&stop);
        assert_int_equal(crew_join(&pairs), 1);
    }
}

/* While the lock is held the heap stands still, whatever the front ends of others were at. */
static void a_locked_heap_stands_still(void **state)
{
    (void)state;
    int stop = 0;
    HANDLE heap = heap_new();
    struct crew_hand pairs[3];
    for (size_t idx = 0; idx < 3; idx++) {
        pairs[idx] = (struct crew_hand){.work = pairs_until_told, .heap = heap, .extra = &stop};
        crew_start(&pairs[idx]);
    }
    for (unsigned round = 0; round < 300; round++) {
        assert_true(HeapLock(heap));
        const unsigned before = crew_walk_busy(heap);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_int_equal(crew_walk_busy(heap), before);
        assert_true(HeapUnlock(heap));
    }
    crew_raise(&stop);
    for (size_t idx = 0; idx < 3; idx++) {
        assert_int_equal(crew_join(&pairs[idx]), 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, crew_setup, crew_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(front_end_pairs_take_no_lock),
        TEST(heaplock_keeps_every_call_of_another_thread_out),
        TEST(calls_that_do_not_serialize_pass_a_held_lock),
        TEST(a_nested_lock_holds_until_its_last_unlock),
        TEST(the_owner_goes_on_using_the_heap),
        TEST(unlocking_lets_everybody_in),
        TEST(other_heaps_stay_open),
        TEST(the_callers_critical_section_keeps_every_call_out),
        TEST(a_call_under_way_is_waited_for),
        TEST(a_locked_heap_stands_still),
    };
    return cmocka_run_group_tests_name("the lock and the gate", tests, NULL, NULL);
}
