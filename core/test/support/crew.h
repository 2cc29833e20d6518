/* SPDX-License-Identifier: MIT
 *
 * What the tests with several threads or processes share: a seam over the operating system's pages
 * whose page calls can be watched and whose lock waits can be seen, threads that do one thing, and
 * child processes with a verdict. Uses core's public headers and cmocka only. */
#ifndef NTH_TEST_CREW_H
#define NTH_TEST_CREW_H

#include <ntheap/heap.h>
#include <ntheap/seam.h>
#include <ntheap/seh.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sanitize.h"

/* cmocka setup and teardown of every test. Teardown demands that no report is left that the test
 * did not ask for (crew_reports_take), and that core has given everything back. */
int crew_setup(void **state);
int crew_teardown(void **state);

/* The same over an arena: nothing else's addresses matter, and pages cannot be moved. */
int crew_setup_arena(void **state);

/* Another page source, from here on. */
void crew_use_pages(const struct nth_pages *pages);

/* A check that works in any thread and in children: says what failed and ends the process. */
#define crew_demand(condition) crew_demand_at((condition), #condition, __FILE__, __LINE__)
void crew_demand_at(int holds, const char *condition, const char *file, int line);

/* ---- reports ---- */

/* Reports since the last crew_reports_take; the last one's reason. */
unsigned crew_reports_take(void);
enum nth_reason crew_report_reason(void);

/* ---- page source ---- */

/* `watch` is called in every page call, by the calling thread, before it is served; NULL stops. */
typedef void (*crew_watch)(enum nth_page_call call, const struct nth_site *site);
void crew_pages_watch(crew_watch watch);

/* Page calls of a kind so far. */
unsigned crew_pages_count(enum nth_page_call call);

/* ---- threads ---- */

/* A thread that does one thing. */
struct crew_hand {
    uintptr_t (*work)(struct crew_hand *hand);
    HANDLE heap;
    PVOID block;
    SIZE_T size;
    ULONG flags;
    void *extra;
    uintptr_t value; /* what `work` returned */
    pthread_t thread;
    int state; /* atomic */
};

void crew_start(struct crew_hand *hand);

/* Returns when the hand's work is done (FALSE) or waits for a lock of the lock table (TRUE). */
BOOLEAN crew_waits(struct crew_hand *hand);
BOOLEAN crew_done(const struct crew_hand *hand);
uintptr_t crew_join(struct crew_hand *hand);

/* Start, wait for the end, and say what the work returned. */
uintptr_t crew_run(struct crew_hand *hand);

/* Locks that this thread took or tried to take so far. */
unsigned crew_locks_taken(void);

/* Pauses in short waits that any thread made so far. */
unsigned crew_pauses(void);

/* A flag between threads: waiting for it gives the processor away. */
void crew_raise(int *flag);
BOOLEAN crew_raised(const int *flag);
void crew_await(const int *flag);

/* ---- children ---- */

/* MemorySanitizer's own fork holds locks of its own while core's handler waits for calls in
 * progress, which may want them: there, nothing may be in progress. */
#define CREW_FORK_IN_TRAFFIC (!NTH_SHADOW_ONLY_IN_PLACE)

/* Fork, run `body` in the child, and demand that it ends well: returns, within half a minute. The
 * child may not create threads. */
void crew_child(void (*body)(void *context), void *context);

/* ---- whole heaps ---- */

/* Busy elements that a walk shows. */
unsigned crew_walk_busy(HANDLE heap);

/* The heap can be used: allocate small and large, write, size, reallocate, free, walk, validate. */
void crew_exercise(HANDLE heap);

#endif
