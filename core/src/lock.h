/* SPDX-License-Identifier: MIT
 *
 * A heap's lock: recursive, by counting on top of the seam's plain lock; the caller's critical
 * section instead where RtlCreateHeap was given one. And the gate: while a thread holds HeapLock
 * (or walks, validates, forks), front-end calls of other threads may not go without the lock. */
#ifndef NTH_LOCK_H
#define NTH_LOCK_H

#include "heap.h"

/* Take the heap's lock and count; waits. Nothing happens for a heap that does not serialize. */
void nth_lock_acquire(struct nth_slot *slot);
void nth_lock_release(struct nth_slot *slot);
bool nth_lock_owned(const struct nth_slot *slot);

/* Close the gate and wait until no other thread is inside without the lock. The lock is held. */
void nth_gate_close(struct nth_slot *slot);
void nth_gate_open(struct nth_slot *slot);

/* Say that this thread works in `heap` from here on; waits while a fork is under way. Returns what
 * it worked in before, for nth_gate_leave. */
void *nth_gate_enter(void *heap);
static inline void nth_gate_leave(void *outer)
{
    nth_store_release(&nth_self.inside, outer);
}

/* Make this thread known to gates and fork; once a thread. */
void nth_thread_join(void);

/* Order a store of `inside` before a load of `closed`: the closing side issues the expensive
 * barrier for both, where the system offers that. */
extern bool nth_gate_fenced;
static inline void nth_gate_order(void)
{
    if (NTH_UNLIKELY(nth_gate_fenced)) {
        nth_fence_seq();
    } else {
        nth_fence_compiler();
    }
}

/* Enter `heap`, as the thread knows it, without the lock, for a front-end call: false when the gate
 * is closed, a fork is under way, or this thread is inside a heap already. Left with
 * nth_gate_leave(NULL). */
static inline bool nth_gate_try(const struct nth_slot *slot, void *heap)
{
    struct nth_thread *self = &nth_self;
    if (NTH_UNLIKELY(nth_load_relaxed(&self->inside) != NULL)) {
        return false;
    }
    nth_store_release(&self->inside, heap);
    nth_gate_order();
    if (NTH_LIKELY(nth_load_acquire(&slot->closed) == 0 &&
                   nth_load_acquire(&nth_process.forking) == 0)) {
        return true;
    }
    nth_store_release(&self->inside, NULL);
    return false;
}

/* A thread looks for the heap of a handle. */
#define NTH_VISIT_LOOKING ((struct nth_slot *)(uintptr_t)1)

/* The slot of a handle, which cannot go away until nth_visit_end: destroying waits until nobody
 * looks or is about to take the lock. NULL, and no visit, when there is none. */
static inline struct nth_slot *nth_visit(HANDLE handle)
{
    if (NTH_UNLIKELY(nth_self.state == NTH_THREAD_NEW)) {
        nth_thread_join();
    }
    nth_store_release(&nth_self.visiting, NTH_VISIT_LOOKING);
    nth_gate_order();
    struct nth_slot *slot = nth_heap_find(handle);
    nth_store_release(&nth_self.visiting, slot);
    return slot;
}

static inline void nth_visit_end(void)
{
    nth_store_release(&nth_self.visiting, NULL);
}

void nth_visitors_wait(const struct nth_slot *slot);

/* After fork, in the child: a lock whose owner is gone is free. */
void nth_lock_renew(struct nth_slot *slot);

/* The same for a lock of the lock table, and for a critical section (critsec.c). */
void *nth_lock_renewed(void *lock);
void nth_section_renew(RTL_CRITICAL_SECTION *section);

/* Forget every thread's shortcuts to heaps, for nth_process_reset. */
void nth_threads_forget(void);

/* Wire up fork handlers and thread exit, once a process. */
void nth_threads_start(void);

#endif
