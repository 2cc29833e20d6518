/* SPDX-License-Identifier: MIT
 *
 * See crew.h. Everything that several threads touch is atomic. */
#include "crew.h"

#include "leave.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 30u
#define ARENA_BYTES NTH_WORDS(0x40000000, 0x20000000)
#define PAGE_CALLS (NTH_PAGE_REMAP + 1)

enum { HAND_WORKS = 0, HAND_WAITS, HAND_DONE };

static struct {
    struct nth_pages pages;
    const struct nth_pages *real;
    struct nth_locks locks;
    crew_watch watch;                 /* atomic */
    unsigned page_counts[PAGE_CALLS]; /* atomic */
    unsigned pause_count;             /* atomic */
    unsigned report_count;            /* atomic */
    int report_reason;                /* atomic */
    pid_t pid;
} crew;

static _Thread_local struct crew_hand *hand_here;
static _Thread_local unsigned locks_taken;

void crew_demand_at(int holds, const char *condition, const char *file, int line)
{
    if (holds == 0) {
        (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
        abort();
    }
}

/* ---- reports ---- */

static void count_report(void *context, const struct nth_report *report)
{
    (void)context;
    __atomic_store_n(&crew.report_reason, (int)report->reason, __ATOMIC_RELAXED);
    __atomic_add_fetch(&crew.report_count, 1, __ATOMIC_RELAXED);
}

unsigned crew_reports_take(void)
{
    return __atomic_exchange_n(&crew.report_count, 0, __ATOMIC_RELAXED);
}

enum nth_reason crew_report_reason(void)
{
    return (enum nth_reason)__atomic_load_n(&crew.report_reason, __ATOMIC_RELAXED);
}

/* ---- page source ---- */

static void watch_call(enum nth_page_call call, const struct nth_site *site)
{
    crew_watch watch = __atomic_load_n(&crew.watch, __ATOMIC_ACQUIRE);
    __atomic_add_fetch(&crew.page_counts[call], 1, __ATOMIC_RELAXED);
    if (watch != NULL) {
        watch(call, site);
    }
}

static enum nth_seam_status reserve(void *self, const struct nth_site *site, size_t bytes,
                                    void **base)
{
    watch_call(NTH_PAGE_RESERVE, site);
    return crew.real->reserve(self, site, bytes, base);
}

static enum nth_seam_status commit(void *self, const struct nth_site *site, void *base,
                                   size_t bytes, BOOLEAN executable)
{
    watch_call(NTH_PAGE_COMMIT, site);
    return crew.real->commit(self, site, base, bytes, executable);
}

static enum nth_seam_status decommit(void *self, const struct nth_site *site, void *base,
                                     size_t bytes)
{
    watch_call(NTH_PAGE_DECOMMIT, site);
    return crew.real->decommit(self, site, base, bytes);
}

static enum nth_seam_status release(void *self, const struct nth_site *site, void *base,
                                    size_t bytes)
{
    watch_call(NTH_PAGE_RELEASE, site);
    return crew.real->release(self, site, base, bytes);
}

static enum nth_seam_status remap(void *self, const struct nth_site *site, void *from, size_t bytes,
                                  void *to)
{
    watch_call(NTH_PAGE_REMAP, site);
    return crew.real->remap(self, site, from, bytes, to);
}

void crew_pages_watch(crew_watch watch)
{
    __atomic_store_n(&crew.watch, watch, __ATOMIC_RELEASE);
}

unsigned crew_pages_count(enum nth_page_call call)
{
    return __atomic_load_n(&crew.page_counts[call], __ATOMIC_RELAXED);
}

/* ---- locks ---- */

/* A hand that is about to wait says so. */
static void acquire(void *self, void *lock)
{
    struct crew_hand *hand = hand_here;
    locks_taken++;
    if (hand == NULL) {
        nth_locks_os()->acquire(self, lock);
        return;
    }
    if (nth_locks_os()->try_acquire(self, lock)) {
        return;
    }
    __atomic_store_n(&hand->state, HAND_WAITS, __ATOMIC_RELEASE);
    nth_locks_os()->acquire(self, lock);
    __atomic_store_n(&hand->state, HAND_WORKS, __ATOMIC_RELEASE);
}

static BOOLEAN try_acquire(void *self, void *lock)
{
    locks_taken++;
    return nth_locks_os()->try_acquire(self, lock);
}

static void pause_briefly(void *self)
{
    __atomic_add_fetch(&crew.pause_count, 1, __ATOMIC_RELEASE);
    nth_locks_os()->pause(self);
}

unsigned crew_locks_taken(void)
{
    return locks_taken;
}

unsigned crew_pauses(void)
{
    return __atomic_load_n(&crew.pause_count, __ATOMIC_ACQUIRE);
}

/* ---- setup ---- */

void crew_use_pages(const struct nth_pages *pages)
{
    crew.real = pages;
    crew.pages = *pages;
    crew.pages.reserve = reserve;
    crew.pages.commit = commit;
    crew.pages.decommit = decommit;
    crew.pages.release = release;
    crew.pages.remap = pages->remap != NULL ? remap : NULL;
    crew.locks = *nth_locks_os();
    crew.locks.acquire = acquire;
    crew.locks.try_acquire = try_acquire;
    crew.locks.pause = pause_briefly;
    struct nth_seam seam = {.pages = &crew.pages, .locks = &crew.locks, .report = count_report};
    nth_seam_set(&seam);
    nth_seh_install(); /* cmocka puts its own handlers around every test */
}

int crew_setup(void **state)
{
    (void)state;
    crew.pid = getpid();
    crew_pages_watch(NULL);
    crew_use_pages(nth_pages_os());
    memset(crew.page_counts, 0, sizeof(crew.page_counts));
    (void)crew_reports_take();
    return 0;
}

int crew_setup_arena(void **state)
{
    static struct nth_arena *arena;
    (void)crew_setup(state);
    arena = arena == NULL ? nth_arena_create(ARENA_BYTES, ARENA_BYTES) : arena;
    if (arena == NULL) {
        return -1;
    }
    nth_arena_reset(arena);
    crew_use_pages(nth_arena_pages(arena));
    return 0;
}

int crew_teardown(void **state)
{
    (void)state;
    if (getpid() != crew.pid) {
        _exit(1); /* an assertion failed in a child of the test */
    }
    crew_pages_watch(NULL);
    nth_process_reset();
    const struct nth_balance balance = nth_balance_now();
    if (balance.reserved_bytes != 0 || balance.committed_bytes != 0 ||
        balance.reservation_count != 0) {
        print_error("%zu bytes reserved, %zu committed, %zu reservations left\n",
                    balance.reserved_bytes, balance.committed_bytes, balance.reservation_count);
        return -1;
    }
    return crew_reports_take() == 0 ? 0 : -1;
}

/* ---- threads ---- */

static void *hand_main(void *context)
{
    struct crew_hand *hand = context;
    hand_here = hand;
    hand->value = hand->work(hand);
    __atomic_store_n(&hand->state, HAND_DONE, __ATOMIC_RELEASE);
    return NULL;
}

void crew_start(struct crew_hand *hand)
{
    hand->state = HAND_WORKS;
    crew_demand(pthread_create(&hand->thread, NULL, hand_main, hand) == 0);
}

static int hand_state(const struct crew_hand *hand)
{
    return __atomic_load_n(&hand->state, __ATOMIC_ACQUIRE);
}

BOOLEAN crew_waits(struct crew_hand *hand)
{
    while (hand_state(hand) == HAND_WORKS) {
        (void)sched_yield();
    }
    return hand_state(hand) == HAND_WAITS;
}

BOOLEAN crew_done(const struct crew_hand *hand)
{
    return hand_state(hand) == HAND_DONE;
}

uintptr_t crew_join(struct crew_hand *hand)
{
    crew_demand(pthread_join(hand->thread, NULL) == 0);
    return hand->value;
}

uintptr_t crew_run(struct crew_hand *hand)
{
    crew_start(hand);
    return crew_join(hand);
}

void crew_raise(int *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

BOOLEAN crew_raised(const int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE) != 0;
}

void crew_await(const int *flag)
{
    while (!crew_raised(flag)) {
        (void)sched_yield();
    }
}

/* ---- children ---- */

void crew_child(void (*body)(void *context), void *context)
{
    int how = 0;
    const pid_t child = fork();
    crew_demand(child >= 0);
    if (child == 0) {
        (void)alarm(CHILD_SECONDS);
        body(context);
        leave_counts(0);
        (void)syscall(SYS_exit_group, 0); /* past what sanitizers look for at exit: threads gone */
    }
    crew_demand(waitpid(child, &how, 0) == child);
    crew_demand(WIFEXITED(how));
    crew_demand(WEXITSTATUS(how) == 0);
}

/* ---- whole heaps ---- */

unsigned crew_walk_busy(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    unsigned count = 0;
    SetLastError(NO_ERROR);
    while (HeapWalk(heap, &entry)) {
        count += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    }
    crew_demand(GetLastError() == ERROR_NO_MORE_ITEMS);
    return count;
}

void crew_exercise(HANDLE heap)
{
    static const SIZE_T sizes[] = {0, 1, 24, 40, 200, 4096, 20000, 100000, 0x80000};
    uint8_t *blocks[sizeof(sizes) / sizeof(sizes[0])];
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        blocks[idx] = HeapAlloc(heap, 0, sizes[idx]);
        crew_demand(blocks[idx] != NULL);
        memset(blocks[idx], (int)idx, sizes[idx]);
    }
    crew_demand(HeapValidate(heap, 0, NULL));
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        crew_demand(HeapSize(heap, 0, blocks[idx]) == sizes[idx]);
        uint8_t *moved = HeapReAlloc(heap, 0, blocks[idx], sizes[idx] + 100);
        crew_demand(moved != NULL);
        crew_demand(sizes[idx] == 0 || moved[sizes[idx] - 1] == idx);
        crew_demand(HeapFree(heap, 0, moved));
    }
    (void)crew_walk_busy(heap);
    crew_demand(HeapValidate(heap, 0, NULL));
}
