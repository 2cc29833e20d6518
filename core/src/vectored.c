/* SPDX-License-Identifier: MIT
 *
 * Vectored exception handlers: a fixed table without locks, so that a search inside a signal
 * handler can read it at any moment. Calls nothing but the handlers. */
#include "seh.h"

#define SLOT_COUNT 64u
#define SLOT_CLAIMED ((uintptr_t)1)

/* `handle` is 0 for a free slot, SLOT_CLAIMED while one is being filled, otherwise what the
 * caller got: the slot's index plus a generation, so that an old handle finds nothing. Handlers
 * are asked in the order of their ranks. */
struct slot {
    NTH_ATOMIC(uintptr_t) handle;
    NTH_ATOMIC(PVECTORED_EXCEPTION_HANDLER) handler;
    NTH_ATOMIC(intptr_t) rank;
};

static struct slot slots[SLOT_COUNT];
static NTH_ATOMIC(uintptr_t) generation;
static NTH_ATOMIC(unsigned) live_count;

/* A generation starts at 1 and is shifted past the index: never 0, never SLOT_CLAIMED. */
static uintptr_t handle_make(uintptr_t number, size_t idx)
{
    return number * 2 * SLOT_COUNT + 2 * idx;
}

PVOID AddVectoredExceptionHandler(ULONG First, PVECTORED_EXCEPTION_HANDLER Handler)
{
    if (Handler == NULL) {
        return NULL;
    }
    for (size_t idx = 0; idx < SLOT_COUNT; idx++) {
        uintptr_t expected = 0;
        if (!nth_cas(&slots[idx].handle, &expected, SLOT_CLAIMED)) {
            continue;
        }
        uintptr_t number = nth_add(&generation, 1) + 1;
        intptr_t rank = (intptr_t)number;
        nth_store_relaxed(&slots[idx].handler, Handler);
        nth_store_relaxed(&slots[idx].rank, First != 0 ? -rank : rank);
        nth_add(&live_count, 1);
        nth_store_release(&slots[idx].handle, handle_make(number, idx));
        return (PVOID)handle_make(number, idx); /* NOLINT: a number in a pointer's clothes */
    }
    return NULL;
}

ULONG RemoveVectoredExceptionHandler(PVOID Handle)
{
    uintptr_t expected = (uintptr_t)Handle;
    if (expected == 0 || expected % 2 != 0) {
        return 0;
    }
    struct slot *slot = &slots[expected / 2 % SLOT_COUNT];
    if (!nth_cas(&slot->handle, &expected, 0)) {
        return 0;
    }
    nth_sub(&live_count, 1);
    return 1;
}

BOOLEAN nth_vectored_any(void)
{
    return nth_load_relaxed(&live_count) != 0;
}

/* The live slot with the smallest rank above `*rank`, which becomes that rank. */
static const struct slot *slot_next(intptr_t *rank)
{
    const struct slot *next = NULL;
    intptr_t lowest = INTPTR_MAX;
    for (size_t idx = 0; idx < SLOT_COUNT; idx++) {
        if (nth_load_acquire(&slots[idx].handle) <= SLOT_CLAIMED) {
            continue;
        }
        intptr_t candidate = nth_load_relaxed(&slots[idx].rank);
        if (candidate > *rank && candidate < lowest) {
            lowest = candidate;
            next = &slots[idx];
        }
    }
    *rank = lowest;
    return next;
}

/* Bounded: ranks only rise, and the table has no room for more than it holds. A handler that is
 * removed while it is being looked up may be called once more, as the header says. */
LONG nth_vectored_ask(EXCEPTION_POINTERS *info)
{
    intptr_t rank = INTPTR_MIN;
    for (size_t count = 0; count < SLOT_COUNT; count++) {
        const struct slot *slot = slot_next(&rank);
        if (slot == NULL) {
            break;
        }
        if (nth_load_relaxed(&slot->handler)(info) == EXCEPTION_CONTINUE_EXECUTION) {
            return EXCEPTION_CONTINUE_EXECUTION;
        }
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

void nth_vectored_reset(void)
{
    for (size_t idx = 0; idx < SLOT_COUNT; idx++) {
        nth_store_relaxed(&slots[idx].handle, 0);
        nth_store_relaxed(&slots[idx].handler, NULL);
        nth_store_relaxed(&slots[idx].rank, 0);
    }
    nth_store_relaxed(&live_count, 0);
    nth_store_relaxed(&generation, 0);
}
