/* SPDX-License-Identifier: MIT
 *
 * The second thread: made once, it runs one body at a time while the first waits. When the body
 * waits for a lock, the first thread goes on for as long as it takes to let go, so every run is the
 * same run. */
#include "exec_internal.h"

#include <pthread.h>
#include <time.h>

#define STUCK_S 2 /* a call that waits for a lock that the heap would not let go of */

enum state { IDLE, WORKS, WAITS, DONE };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool made;
    bool gone; /* the first thread has let go of all that it held */
    enum state state;
    struct rig_exec *exec;
    void (*body)(struct rig_exec *exec);
} hand = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Thread_local bool is_hand;

static void state_set(enum state state)
{
    hand.state = state;
    (void)pthread_cond_broadcast(&hand.changed);
}

static void *hand_main(void *unused)
{
    (void)unused;
    is_hand = true;
    (void)pthread_mutex_lock(&hand.mutex);
    for (;;) {
        while (hand.state != WORKS) {
            (void)pthread_cond_wait(&hand.changed, &hand.mutex);
        }
        (void)pthread_mutex_unlock(&hand.mutex);
        hand.body(hand.exec);
        (void)pthread_mutex_lock(&hand.mutex);
        state_set(DONE);
    }
    return NULL;
}

void rig_hand_waits(void)
{
    if (is_hand) {
        (void)pthread_mutex_lock(&hand.mutex);
        state_set(WAITS);
        (void)pthread_mutex_unlock(&hand.mutex);
    }
}

void rig_hand_pretends(void)
{
    if (is_hand) {
        (void)pthread_mutex_lock(&hand.mutex);
        state_set(WAITS);
        while (!hand.gone) {
            (void)pthread_cond_wait(&hand.changed, &hand.mutex);
        }
        (void)pthread_mutex_unlock(&hand.mutex);
    }
}

/* The hand's state once it is not at work any more; with a limit, when so many seconds are over. */
static enum state settle(bool waited, int limit_s)
{
    struct timespec until;
    int status = 0;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += limit_s;
    (void)pthread_mutex_lock(&hand.mutex);
    while (status == 0 && (hand.state == WORKS || (waited && hand.state == WAITS))) {
        status = limit_s == 0 ? pthread_cond_wait(&hand.changed, &hand.mutex)
                              : pthread_cond_timedwait(&hand.changed, &hand.mutex, &until);
    }
    const enum state state = hand.state;
    (void)pthread_mutex_unlock(&hand.mutex);
    return state;
}

static void make(void)
{
    pthread_t thread;
    RIG_CHECK(pthread_create(&thread, NULL, hand_main, NULL) == 0);
    (void)pthread_detach(thread);
    hand.made = true;
}

enum rig_hand_end rig_hand_run(struct rig_exec *exec, void (*body)(struct rig_exec *exec),
                               bool (*let_go)(struct rig_exec *exec),
                               void (*take_again)(struct rig_exec *exec))
{
    if (!hand.made) {
        make();
    }
    (void)pthread_mutex_lock(&hand.mutex);
    hand.exec = exec;
    hand.body = body;
    hand.gone = false;
    state_set(WORKS);
    (void)pthread_mutex_unlock(&hand.mutex);
    if (settle(false, 0) != WAITS) {
        return RIG_HAND_RAN;
    }
    const int limit_s = let_go(exec) ? 0 : STUCK_S;
    (void)pthread_mutex_lock(&hand.mutex);
    hand.gone = true;
    (void)pthread_cond_broadcast(&hand.changed);
    (void)pthread_mutex_unlock(&hand.mutex);
    if (settle(true, limit_s) != DONE) {
        return RIG_HAND_STUCK;
    }
    take_again(exec);
    return RIG_HAND_WAITED;
}
