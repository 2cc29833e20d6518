/* SPDX-License-Identifier: MIT
 *
 * race DEED: two threads and a block. "planted" touches it in both with nothing in between that
 * orders them; the others hand it over by what the heap itself promises, and nothing else. */
#include <ntheap/heap.h>

#include <pthread.h>
#include <sched.h>

#include "marks.h"

static HANDLE heap;
static uint8_t *block;
static int turn; /* tells the time, and orders nothing */
static const char *deed;

static void turn_await(int wanted)
{
    while (__atomic_load_n(&turn, __ATOMIC_RELAXED) != wanted) {
        (void)sched_yield();
    }
}

static void turn_end(void)
{
    __atomic_add_fetch(&turn, 1, __ATOMIC_RELAXED);
}

AS_WRITTEN static void *first(void *context)
{
    if (marks_is(deed, "planted")) {
        block[3] = 1;
    } else if (marks_is(deed, "under the lock: silent")) {
        (void)HeapLock(heap);
        block[3] = 1;
        (void)HeapUnlock(heap);
    } else if (marks_is(deed, "freed and allocated again: silent")) {
        block[3] = 1;
        (void)HeapFree(heap, 0, block);
    } else if (marks_is(deed, "freed by another: silent")) {
        block[3] = 1;
        (void)HeapLock(heap);
        (void)HeapUnlock(heap);
    }
    turn_end();
    turn_await(2);
    return context;
}

AS_WRITTEN static void *second(void *context)
{
    turn_await(1);
    if (marks_is(deed, "planted")) {
        HERE, block[3] = 2;
    } else if (marks_is(deed, "under the lock: silent")) {
        (void)HeapLock(heap);
        block[3] = 2;
        (void)HeapUnlock(heap);
    } else if (marks_is(deed, "freed and allocated again: silent")) {
        uint8_t *again = HeapAlloc(heap, 0, 20000);
        again[3] = 2;
        (void)HeapFree(heap, 0, again);
    } else if (marks_is(deed, "freed by another: silent")) {
        (void)HeapFree(heap, 0, block);
        uint8_t *again = HeapAlloc(heap, 0, 20000);
        again[3] = 2;
    }
    turn_end();
    return context;
}

int main(int count, char **words)
{
    pthread_t threads[2];
    heap = HeapCreate(0, 0, 0);
    block = HeapAlloc(heap, 0, 20000);
    if (count != 2 || block == NULL) {
        return 2;
    }
    deed = words[1];
    if (pthread_create(&threads[0], NULL, first, NULL) != 0 ||
        pthread_create(&threads[1], NULL, second, NULL) != 0) {
        return 2;
    }
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    return HeapDestroy(heap) ? 0 : 2;
}
