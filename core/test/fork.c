/* SPDX-License-Identifier: MIT
 *
 * fork: it waits for calls in progress and for nothing else; in the child every lock whose owner is
 * gone is free, what the forking thread holds stays held, every heap is whole and usable, and the
 * front-end memory of threads that are gone is used again. */
#include "support/crew.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "sanitize.h"
#include "thread.h"

#define WARM_BYTES ((SIZE_T)40)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define SLOT_COUNT 16u

static HANDLE heap_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    return heap;
}

static void exercise(void *heap)
{
    crew_exercise(heap);
}

static void need_waiting_fork(void)
{
    if (!CREW_FORK_IN_TRAFFIC) {
        skip();
    }
}

/* ---- calls in progress ---- */

/* One call stands still in its commit until the fork is seen to wait, or is seen not to. */
static struct {
    int armed;
    int reached; /* the call is in the middle */
    int served;  /* and past it */
    int forked;  /* fork has returned */
    unsigned pauses;
} stand;

static void stand_still(enum nth_page_call call, const struct nth_site *site)
{
    (void)site;
    if (call != NTH_PAGE_COMMIT || !crew_raised(&stand.armed)) {
        return;
    }
    __atomic_store_n(&stand.armed, 0, __ATOMIC_RELAXED);
    stand.pauses = crew_pauses();
    crew_raise(&stand.reached);
    while (crew_pauses() < stand.pauses + 10 && !crew_raised(&stand.forked)) {
        (void)sched_yield();
    }
    crew_raise(&stand.served);
}

static uintptr_t alloc_large(struct crew_hand *hand)
{
    hand->block = HeapAlloc(hand->heap, 0, LARGE_BYTES);
    return hand->block != NULL;
}

static void demand_whole_call(void *context)
{
    struct crew_hand *hand = context;
    crew_raise(&stand.forked);
    crew_demand(crew_raised(&stand.served));
    crew_demand(crew_walk_busy(hand->heap) == 1);
    crew_exercise(hand->heap);
}

static void fork_waits_for_a_call_in_progress(void **state)
{
    (void)state;
    need_waiting_fork();
    struct crew_hand hand = {.work = alloc_large, .heap = heap_new()};
    memset(&stand, 0, sizeof(stand));
    crew_pages_watch(stand_still);
    crew_raise(&stand.armed);
    crew_start(&hand);
    crew_await(&stand.reached);
    crew_child(demand_whole_call, &hand);
    assert_true(crew_raised(&stand.served));
    assert_int_equal(crew_join(&hand), 1);
    crew_pages_watch(NULL);
}

static uintptr_t create_heap(struct crew_hand *hand)
{
    hand->heap = HeapCreate(0, 0, 0);
    return hand->heap != NULL;
}

static void demand_two_heaps(void *context)
{
    HANDLE heaps[4];
    (void)context;
    crew_raise(&stand.forked);
    crew_demand(crew_raised(&stand.served));
    crew_demand(GetProcessHeaps(4, heaps) == 2);
    crew_exercise(heaps[0]);
    crew_exercise(heaps[1]);
}

static void fork_waits_for_a_heap_being_made(void **state)
{
    (void)state;
    need_waiting_fork();
    struct crew_hand hand = {.work = create_heap};
    assert_non_null(GetProcessHeap());
    memset(&stand, 0, sizeof(stand));
    crew_pages_watch(stand_still);
    crew_raise(&stand.armed);
    crew_start(&hand);
    crew_await(&stand.reached);
    crew_child(demand_two_heaps, NULL);
    assert_int_equal(crew_join(&hand), 1);
    crew_pages_watch(NULL);
}

static void release_stands_still(enum nth_page_call call, const struct nth_site *site)
{
    if (call == NTH_PAGE_RELEASE) {
        stand_still(NTH_PAGE_COMMIT, site);
    }
}

static uintptr_t destroy_heap(struct crew_hand *hand)
{
    return (uintptr_t)HeapDestroy(hand->heap);
}

static void demand_one_heap(void *context)
{
    HANDLE heaps[4];
    (void)context;
    crew_raise(&stand.forked);
    crew_demand(crew_raised(&stand.served));
    crew_demand(GetProcessHeaps(4, heaps) == 1);
    crew_exercise(heaps[0]);
    crew_exercise(HeapCreate(0, 0, 0));
}

static void fork_waits_for_a_heap_being_destroyed(void **state)
{
    (void)state;
    need_waiting_fork();
    struct crew_hand hand = {.work = destroy_heap, .heap = heap_new()};
    assert_non_null(GetProcessHeap());
    assert_non_null(HeapAlloc(hand.heap, 0, LARGE_BYTES));
    memset(&stand, 0, sizeof(stand));
    crew_pages_watch(release_stands_still);
    crew_raise(&stand.armed);
    crew_start(&hand);
    crew_await(&stand.reached);
    crew_child(demand_one_heap, NULL);
    assert_int_equal(crew_join(&hand), 1);
    crew_pages_watch(NULL);
}

/* ---- a front-end call without the lock in progress ---- */

static int parked;
static int park_wanted;

static void park(int number)
{
    (void)number;
    if (crew_raised(&park_wanted) && nth_load_relaxed(&nth_self.inside) != NULL &&
        nth_self.call == NULL) {
        __atomic_store_n(&park_wanted, 0, __ATOMIC_RELAXED);
        const unsigned pauses = crew_pauses();
        crew_raise(&parked);
        while (crew_pauses() < pauses + 10 && !crew_raised(&stand.forked)) {
            (void)sched_yield();
        }
        crew_raise(&stand.served);
    }
}

static uintptr_t pairs_until_told(struct crew_hand *hand)
{
    const int *stop = hand->extra;
    PVOID kept[64];
    for (size_t idx = 0; idx < 64; idx++) {
        kept[idx] = HeapAlloc(hand->heap, 0, WARM_BYTES);
        crew_demand(kept[idx] != NULL);
    }
    while (!crew_raised(stop)) {
        PVOID block = HeapAlloc(hand->heap, 0, WARM_BYTES);
        crew_demand(block != NULL);
        crew_demand(HeapFree(hand->heap, 0, block));
    }
    return 1;
}

static void demand_served(void *heap)
{
    crew_raise(&stand.forked);
    crew_demand(crew_raised(&stand.served));
    crew_exercise(heap);
}

static void fork_waits_for_a_call_without_the_lock(void **state)
{
    (void)state;
    int stop = 0;
    need_waiting_fork();
    if (NTH_FENCES_ONLY) {
        skip(); /* the sanitizer delays signals until calls are over */
    }
    struct sigaction action = {.sa_handler = park};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    struct crew_hand pairs = {.work = pairs_until_told, .heap = heap_new(), .extra = &stop};
    memset(&stand, 0, sizeof(stand));
    parked = 0;
    crew_raise(&park_wanted);
    crew_start(&pairs);
    while (!crew_raised(&parked)) {
        assert_int_equal(pthread_kill(pairs.thread, SIGUSR1), 0);
        (void)sched_yield();
    }
    crew_child(demand_served, pairs.heap);
    crew_raise(&stop);
    assert_int_equal(crew_join(&pairs), 1);
}

/* ---- locks ---- */

struct held {
    CRITICAL_SECTION *section; /* instead of HeapLock */
    int taken;
    int go;
};

static uintptr_t hold(struct crew_hand *hand)
{
    struct held *held = hand->extra;
    if (held->section != NULL) {
        EnterCriticalSection(held->section);
    } else {
        crew_demand(HeapLock(hand->heap));
        crew_demand(HeapLock(hand->heap));
    }
    crew_raise(&held->taken);
    crew_await(&held->go);
    if (held->section != NULL) {
        LeaveCriticalSection(held->section);
        return 1;
    }
    return (uintptr_t)HeapUnlock(hand->heap) & (uintptr_t)HeapUnlock(hand->heap);
}

static void use_and_lock(void *heap)
{
    crew_exercise(heap);
    crew_demand(!HeapUnlock(heap));
    crew_demand(HeapLock(heap));
    crew_exercise(heap);
    crew_demand(HeapUnlock(heap));
    crew_demand(HeapDestroy(heap));
}

static void fork_does_not_wait_for_heaplock_and_the_child_finds_it_free(void **state)
{
    (void)state;
    struct held held = {.section = NULL};
    struct crew_hand hand = {.work = hold, .heap = heap_new(), .extra = &held};
    crew_start(&hand);
    crew_await(&held.taken);
    crew_child(use_and_lock, hand.heap);
    crew_raise(&held.go);
    assert_int_equal(crew_join(&hand), 1);
    crew_exercise(hand.heap);
}

static CRITICAL_SECTION callers; /* a heap's lock */

static void use_and_lock_as_new(void *heap)
{
    crew_demand(callers.OwningThread == NULL && callers.RecursionCount == 0 &&
                callers.LockCount == -1);
    use_and_lock(heap);
}

static void the_callers_lock_is_free_in_the_child_too(void **state)
{
    (void)state;
    struct held held = {.section = &callers};
    InitializeCriticalSection(&callers);
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &callers, NULL);
    struct crew_hand hand = {.work = hold, .heap = heap, .extra = &held};
    crew_start(&hand);
    crew_await(&held.taken);
    crew_child(use_and_lock_as_new, heap);
    crew_raise(&held.go);
    assert_int_equal(crew_join(&hand), 1);
    crew_exercise(heap);
    assert_true(HeapDestroy(heap));
    DeleteCriticalSection(&callers);
}

static uintptr_t wait_for_heap(struct crew_hand *hand)
{
    return HeapAlloc(hand->heap, 0, WARM_BYTES) != NULL;
}

static void unlock_twice(void *heap)
{
    struct crew_hand hand = {.work = wait_for_heap, .heap = heap};
    crew_exercise(heap);
    if (!NTH_FENCES_ONLY) { /* the sanitizer allows no threads here */
        crew_start(&hand);
        crew_demand(crew_waits(&hand));
    }
    crew_demand(HeapUnlock(heap));
    crew_demand(HeapUnlock(heap));
    crew_demand(!HeapUnlock(heap));
    crew_demand(GetLastError() == ERROR_NOT_OWNER);
    if (!NTH_FENCES_ONLY) {
        crew_demand(crew_join(&hand) == 1);
    }
    crew_exercise(heap);
}

static void what_the_forking_thread_holds_stays_held_in_the_child(void **state)
{
    (void)state;
    HANDLE heap = heap_new();
    struct crew_hand hand = {.work = wait_for_heap, .heap = heap};
    assert_true(HeapLock(heap));
    assert_true(HeapLock(heap));
    crew_start(&hand);
    assert_true(crew_waits(&hand)); /* and nobody waits for one who waits */
    crew_child(unlock_twice, heap);
    assert_true(HeapUnlock(heap));
    assert_true(HeapUnlock(heap));
    assert_int_equal(crew_join(&hand), 1);
}

/* ---- magazines ---- */

struct slots {
    PVOID given[SLOT_COUNT];
    int given_back;
    int go;
};

static uintptr_t fill_magazine(struct crew_hand *hand)
{
    struct slots *slots = hand->extra;
    PVOID first[64];
    for (size_t idx = 0; idx < 64; idx++) {
        first[idx] = HeapAlloc(hand->heap, 0, WARM_BYTES);
        crew_demand(first[idx] != NULL);
    }
    for (size_t idx = 0; idx < SLOT_COUNT; idx++) {
        slots->given[idx] = first[63 - idx];
        crew_demand(HeapFree(hand->heap, 0, first[63 - idx]));
    }
    crew_raise(&slots->given_back);
    crew_await(&slots->go);
    return 1;
}

static void take_over(void *context)
{
    const struct crew_hand *hand = context;
    const struct slots *slots = hand->extra;
    const size_t before = nth_balance_now().reservation_count;
    PVOID block = HeapAlloc(hand->heap, 0, WARM_BYTES);
    BOOLEAN found = FALSE;
    for (size_t idx = 0; idx < SLOT_COUNT; idx++) {
        found |= slots->given[idx] == block;
    }
    crew_demand(found);
    crew_demand(nth_balance_now().reservation_count == before);
    crew_exercise(hand->heap);
}

static void the_child_takes_over_the_magazines_of_threads_that_are_gone(void **state)
{
    (void)state;
    struct slots slots = {.go = 0};
    struct crew_hand hand = {.work = fill_magazine, .heap = heap_new(), .extra = &slots};
    crew_start(&hand);
    crew_await(&slots.given_back);
    crew_child(take_over, &hand);
    crew_raise(&slots.go);
    assert_int_equal(crew_join(&hand), 1);
}

/* ---- heavy traffic ---- */

#define TRAFFIC_HANDS 3u
#define TRAFFIC_FORKS 40u

struct traffic {
    HANDLE heaps[4];
    int stop;
};

static uintptr_t run_traffic(struct crew_hand *hand)
{
    static const SIZE_T sizes[] = {8, 40, 40, 40, 200, 1000, 5000, 20000, 100000, 0x88000};
    struct traffic *traffic = hand->extra;
    PVOID held[4][10] = {{NULL}};
    for (unsigned step = 0; !crew_raised(&traffic->stop); step++) {
        const unsigned which = step % 4;
        HANDLE heap = traffic->heaps[which];
        PVOID *place = &held[which][step / 4 % 10];
        crew_demand(HeapFree(heap, 0, *place));
        *place = HeapAlloc(heap, 0, sizes[step / 4 % 10]);
        crew_demand(*place != NULL || which == 3);
        if (step % 64 == 0) {
            crew_demand(HeapValidate(heap, 0, NULL));
        }
        if (step % 97 == 0) {
            crew_demand(HeapLock(heap));
            crew_demand(HeapUnlock(heap));
        }
        if (step % 101 == 0) {
            HANDLE other = HeapCreate(0, 0, 0);
            crew_demand(HeapAlloc(other, 0, 100) != NULL);
            crew_demand(HeapDestroy(other));
        }
        if (step % 211 == 0) {
            (void)HeapCompact(heap, 0);
        }
    }
    return 1;
}

static void demand_all_whole(void *context)
{
    const struct traffic *traffic = context;
    HANDLE heaps[64];
    const DWORD count = GetProcessHeaps(64, heaps);
    crew_demand(count >= 4);
    crew_demand(count <= 64);
    crew_demand(RtlValidateProcessHeaps());
    crew_demand(crew_reports_take() == 0);
    for (size_t idx = 0; idx < 3; idx++) {
        crew_exercise(traffic->heaps[idx]);
    }
    (void)crew_walk_busy(traffic->heaps[3]);
    HANDLE heap = HeapCreate(0, 0, 0);
    crew_exercise(heap);
    crew_demand(HeapDestroy(heap));
    crew_demand(HeapDestroy(traffic->heaps[1]));
    crew_demand(HeapDestroy(traffic->heaps[2]));
    crew_demand(HeapDestroy(traffic->heaps[3]));
}

static void fork_in_the_middle_of_traffic_leaves_every_heap_whole(void **state)
{
    (void)state;
    need_waiting_fork();
    CRITICAL_SECTION section;
    InitializeCriticalSection(&section);
    struct traffic traffic = {.heaps = {GetProcessHeap(), heap_new(),
                                        RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL),
                                        HeapCreate(0, 0, 0x100000)}};
    struct crew_hand hands[TRAFFIC_HANDS];
    for (size_t idx = 0; idx < TRAFFIC_HANDS; idx++) {
        hands[idx] = (struct crew_hand){.work = run_traffic, .extra = &traffic};
        crew_start(&hands[idx]);
    }
    for (unsigned count = 0; count < TRAFFIC_FORKS; count++) {
        crew_child(demand_all_whole, &traffic);
    }
    crew_raise(&traffic.stop);
    for (size_t idx = 0; idx < TRAFFIC_HANDS; idx++) {
        assert_int_equal(crew_join(&hands[idx]), 1);
    }
    for (size_t idx = 0; idx < 4; idx++) {
        assert_true(HeapValidate(traffic.heaps[idx], 0, NULL));
    }
    assert_true(HeapDestroy(traffic.heaps[2]));
    DeleteCriticalSection(&section);
}

static void fork_again(void *context)
{
    crew_exercise(context);
    crew_child(exercise, context);
}

static void a_child_may_fork_again(void **state)
{
    (void)state;
    struct held held = {.section = NULL};
    struct crew_hand hand = {.work = hold, .heap = heap_new(), .extra = &held};
    crew_start(&hand);
    crew_await(&held.taken);
    crew_child(fork_again, hand.heap);
    crew_raise(&held.go);
    assert_int_equal(crew_join(&hand), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, crew_setup, crew_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fork_waits_for_a_call_in_progress),
        TEST(fork_waits_for_a_heap_being_made),
        TEST(fork_waits_for_a_heap_being_destroyed),
        TEST(fork_waits_for_a_call_without_the_lock),
        TEST(fork_does_not_wait_for_heaplock_and_the_child_finds_it_free),
        TEST(the_callers_lock_is_free_in_the_child_too),
        TEST(what_the_forking_thread_holds_stays_held_in_the_child),
        TEST(the_child_takes_over_the_magazines_of_threads_that_are_gone),
        TEST(fork_in_the_middle_of_traffic_leaves_every_heap_whole),
        TEST(a_child_may_fork_again),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
