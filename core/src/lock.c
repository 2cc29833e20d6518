/* SPDX-License-Identifier: MIT
 *
 * Heap locks, the gate for lock-free front-end calls, thread registration and fork. Calls the seam
 * and, for the gate's barrier, membarrier(2). */
#define _GNU_SOURCE
#include "lock.h"

#include <ntheap/heap.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache.h"
#include "sanitize.h"
#include "verifier.h"

#define MEMBARRIER_EXPEDITED 8           /* MEMBARRIER_CMD_PRIVATE_EXPEDITED */
#define MEMBARRIER_REGISTER_EXPEDITED 16 /* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */

_Thread_local struct nth_thread nth_self;
bool nth_gate_fenced = true;

static pthread_mutex_t threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER; /* one fork at a time */
static bool threads_locked;
static struct nth_thread *threads_first;
static pthread_key_t threads_key;
static bool threads_key_made;

/* The list of threads. Who gives it up must have it, and who gets it nobody else: a lock that was
 * forgotten shows without a second thread. */
static void threads_lock(void)
{
    (void)pthread_mutex_lock(&threads_mutex);
    NTH_ASSERT(!threads_locked);
    threads_locked = true;
}

static void threads_unlock(void)
{
    NTH_ASSERT(threads_locked);
    threads_locked = false;
    (void)pthread_mutex_unlock(&threads_mutex);
}

static void thread_leave(void *self)
{
    struct nth_thread *thread = self;
    if (nth_verifying() && nth_verifier_has(NTH_VERIFY_LOCKS)) {
        nth_sections_exit();
    }
    nth_cache_orphan(thread);
    threads_lock();
    if (thread->prev != NULL) {
        thread->prev->next = thread->next;
    } else {
        threads_first = thread->next;
    }
    if (thread->next != NULL) {
        thread->next->prev = thread->prev;
    }
    thread->state = NTH_THREAD_LEFT;
    threads_unlock();
}

void nth_thread_join(void)
{
    struct nth_thread *self = &nth_self;
    threads_lock();
    self->state = NTH_THREAD_JOINED;
    self->prev = NULL;
    self->next = threads_first;
    if (threads_first != NULL) {
        threads_first->prev = self;
    }
    threads_first = self;
    threads_unlock();
    if (threads_key_made) {
        (void)pthread_setspecific(threads_key, self);
    }
}

void *nth_gate_enter(void *heap)
{
    struct nth_thread *self = &nth_self;
    void *outer = nth_load_relaxed(&self->inside);
    if (NTH_UNLIKELY(self->state == NTH_THREAD_NEW)) {
        nth_thread_join();
    }
    for (;;) {
        nth_store_release(&self->inside, heap);
        nth_gate_order();
        if (NTH_LIKELY(nth_load_acquire(&nth_process.forking) == 0) || outer != NULL) {
            return outer;
        }
        nth_store_release(&self->inside, NULL);
        while (nth_load_acquire(&nth_process.forking) != 0) {
            nth_process.locks->pause(nth_process.locks->self);
        }
    }
}

static void barrier_everywhere(void)
{
    nth_fence_seq();
    if (!nth_gate_fenced) {
        (void)syscall(SYS_membarrier, MEMBARRIER_EXPEDITED, 0, 0);
    }
}

/* Wait until no other thread is inside `heap`. */
static void wait_outside(const void *heap)
{
    for (struct nth_thread *other = threads_first; other != NULL; other = other->next) {
        while (other != &nth_self && nth_load_acquire(&other->inside) == heap) {
            nth_process.locks->pause(nth_process.locks->self);
        }
    }
}

/* Another thread works in a heap just now. */
static bool somebody_inside(void)
{
    bool found = false;
    threads_lock();
    for (struct nth_thread *other = threads_first; other != NULL; other = other->next) {
        found |= other != &nth_self && nth_load_acquire(&other->inside) != NULL;
    }
    threads_unlock();
    return found;
}

/* The handle is gone from the table already, so nobody new can come. */
void nth_visitors_wait(const struct nth_slot *slot)
{
    threads_lock();
    barrier_everywhere();
    for (struct nth_thread *other = threads_first; other != NULL; other = other->next) {
        const struct nth_slot *visited = nth_load_acquire(&other->visiting);
        while (other != &nth_self && (visited == slot || visited == NTH_VISIT_LOOKING)) {
            nth_process.locks->pause(nth_process.locks->self);
            visited = nth_load_acquire(&other->visiting);
        }
    }
    threads_unlock();
}

/* With a single known thread there is nobody to wait for, and no barrier to pay. */
void nth_gate_close(struct nth_slot *slot)
{
    if (nth_add(&slot->closed, 1u) != 0) {
        return;
    }
    threads_lock();
    if (threads_first != NULL && (threads_first->next != NULL || threads_first != &nth_self)) {
        barrier_everywhere();
        wait_outside(slot->heap);
    }
    threads_unlock();
}

void nth_gate_open(struct nth_slot *slot)
{
    nth_sub(&slot->closed, 1u);
}

bool nth_lock_owned(const struct nth_slot *slot)
{
    return nth_load_acquire(&slot->owner) == &nth_self;
}

void nth_lock_acquire(struct nth_slot *slot)
{
    if (nth_lock_owned(slot)) {
        slot->depth++;
        return;
    }
    if (slot->caller_lock != NULL) {
        EnterCriticalSection(slot->caller_lock);
    } else {
        nth_process.locks->acquire(nth_process.locks->self, slot->lock);
    }
    slot->depth = 1;
    nth_store_release(&slot->owner, &nth_self);
}

void nth_lock_release(struct nth_slot *slot)
{
    NTH_ASSERT(nth_lock_owned(slot));
    if (--slot->depth > 0) {
        return;
    }
    nth_store_release(&slot->owner, NULL);
    if (slot->caller_lock != NULL) {
        LeaveCriticalSection(slot->caller_lock);
    } else {
        nth_process.locks->release(nth_process.locks->self, slot->lock);
    }
}

/* A lock that cannot be had at once belongs to a thread that is gone, whether or not it had come to
 * say so; the old object cannot be destroyed then: nobody will ever release it. */
void *nth_lock_renewed(void *lock)
{
    void *fresh = lock;
    if (nth_process.locks->try_acquire(nth_process.locks->self, lock)) {
        nth_process.locks->release(nth_process.locks->self, lock);
        return lock;
    }
    return nth_process.locks->create(nth_process.locks->self, &fresh) == NTH_SEAM_OK ? fresh : lock;
}

void nth_lock_renew(struct nth_slot *slot)
{
    if (nth_lock_owned(slot)) {
        return;
    }
    if (slot->caller_lock != NULL) {
        nth_section_renew(slot->caller_lock);
    } else if (slot->lock != NULL) {
        slot->lock = nth_lock_renewed(slot->lock);
    }
    slot->depth = 0;
    nth_store_relaxed(&slot->owner, NULL);
    nth_store_relaxed(&slot->closed, slot->damaged ? 1u : 0u);
}

void nth_threads_forget(void)
{
    threads_lock();
    for (struct nth_thread *thread = threads_first; thread != NULL; thread = thread->next) {
        __builtin_memset(thread->hot, 0, sizeof(thread->hot));
    }
    threads_unlock();
}

/* Calls in progress finish first; nobody waits for a HeapLock. The list of threads is let go
 * between looks: a call in progress may want it to close its gate. */
static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&fork_mutex);
    nth_store_seq(&nth_process.forking, 1u);
    barrier_everywhere();
    while (somebody_inside()) {
        nth_process.locks->pause(nth_process.locks->self);
    }
    nth_process_lock();
    threads_lock();
}

static void fork_over(void)
{
    threads_unlock();
    nth_process_unlock();
    nth_store_release(&nth_process.forking, 0u);
    (void)pthread_mutex_unlock(&fork_mutex);
}

static void fork_child(void)
{
    threads_first = nth_self.state == NTH_THREAD_JOINED ? &nth_self : NULL;
    nth_self.next = NULL;
    nth_self.prev = NULL;
    for (uint32_t idx = 0; idx < nth_process.heap_count; idx++) {
        nth_lock_renew(nth_slot_at(idx));
    }
    nth_cache_adopt_all();
    fork_over();
}

void nth_threads_start(void)
{
    nth_gate_fenced =
        NTH_FENCES_ONLY || syscall(SYS_membarrier, MEMBARRIER_REGISTER_EXPEDITED, 0, 0) != 0;
    threads_key_made = pthread_key_create(&threads_key, thread_leave) == 0;
    (void)pthread_atfork(fork_prepare, fork_over, fork_child);
}
