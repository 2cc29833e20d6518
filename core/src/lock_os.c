/* SPDX-License-Identifier: MIT
 *
 * The default lock table: POSIX mutexes from a pool in core's own data, extended by pages. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "base.h"
#include "process.h"

#define POOL_FIRST_COUNT 256u

/* A free lock's `next` links the pool. */
struct os_lock {
    pthread_mutex_t mutex;
    struct os_lock *next;
};

static struct os_lock pool_first[POOL_FIRST_COUNT];
static size_t pool_first_used;
static struct os_lock *pool_free;
static pthread_mutex_t pool_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct os_lock *pool_take(void)
{
    struct os_lock *lock = pool_free;
    if (lock != NULL) {
        pool_free = lock->next;
        return lock;
    }
    return pool_first_used < POOL_FIRST_COUNT ? &pool_first[pool_first_used++] : NULL;
}

/* Further locks come a page at a time and stay for the life of the process: they are few, and a
 * lock must not move. */
static void pool_extend(void)
{
    const int how = MAP_PRIVATE | MAP_ANONYMOUS;
    struct os_lock *page = mmap(NULL, NTH_PAGE_BYTES, PROT_READ | PROT_WRITE, how, -1, 0);
    if (page == MAP_FAILED) {
        return;
    }
    for (size_t idx = 0; idx < NTH_PAGE_BYTES / sizeof(struct os_lock); idx++) {
        page[idx].next = pool_free;
        pool_free = &page[idx];
    }
}

static enum nth_seam_status os_create(void *self, void **lock)
{
    (void)self;
    (void)pthread_mutex_lock(&pool_mutex);
    struct os_lock *made = pool_take();
    if (made == NULL) {
        pool_extend();
        made = pool_take();
    }
    (void)pthread_mutex_unlock(&pool_mutex);
    if (made == NULL) {
        return NTH_SEAM_REFUSED;
    }
    pthread_mutexattr_t attributes; /* heap calls are short: spin a little before sleeping */
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(&made->mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    *lock = made;
    return NTH_SEAM_OK;
}

static void os_destroy(void *self, void *lock)
{
    struct os_lock *gone = lock;
    (void)self;
    (void)pthread_mutex_destroy(&gone->mutex);
    (void)pthread_mutex_lock(&pool_mutex);
    gone->next = pool_free;
    pool_free = gone;
    (void)pthread_mutex_unlock(&pool_mutex);
}

static void os_acquire(void *self, void *lock)
{
    (void)self;
    (void)pthread_mutex_lock(&((struct os_lock *)lock)->mutex);
}

static BOOLEAN os_try_acquire(void *self, void *lock)
{
    (void)self;
    return pthread_mutex_trylock(&((struct os_lock *)lock)->mutex) == 0;
}

static void os_release(void *self, void *lock)
{
    (void)self;
    (void)pthread_mutex_unlock(&((struct os_lock *)lock)->mutex);
}

static void os_pause(void *self)
{
    (void)self;
    (void)sched_yield();
}

const struct nth_locks *nth_locks_os(void)
{
    static const struct nth_locks os = {
        .create = os_create,
        .destroy = os_destroy,
        .acquire = os_acquire,
        .try_acquire = os_try_acquire,
        .release = os_release,
        .pause = os_pause,
    };
    return &os;
}
