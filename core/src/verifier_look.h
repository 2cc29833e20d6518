/* SPDX-License-Identifier: MIT
 *
 * One look of the verifier at a call: who calls, on which heap, with which block; and the stop that
 * comes of it. For the calls while the verifier is on (verifier_call.c, verifier_heap.c). */
#ifndef NTH_VERIFIER_LOOK_H
#define NTH_VERIFIER_LOOK_H

#include "verifier.h"

/* One call: what was found out about it before anything is changed. */
struct nth_look {
    const struct nth_caller *caller;
    HANDLE handle;
    ULONG flags;
    struct nth_stack stack; /* empty where no stack is wanted */
    const struct nth_trace *trace;
    struct nth_module *owner; /* NULL where no stack is wanted, too */
    struct nth_watched_heap *watched;
    struct nth_track *track; /* of the block concerned, live and of this heap */
    struct nth_stop_wish wish;
    bool raises;
    bool watching; /* is told of as inside, without a lock */
    bool held;     /* the block concerned was freed, and is held back */
};

/* Begin: stack and owner where they are wanted, heap. False when the handle names none, and the
 * stop was made; without the heaps layer the plain call tells of it. nth_look_end must follow in
 * any case. */
bool nth_look_begin(struct nth_look *look, const struct nth_caller *caller, HANDLE handle,
                    ULONG flags);
void nth_look_end(struct nth_look *look);

/* Stack and owner of the caller, where they are wanted; else none. */
void nth_look_stack(struct nth_look *look);

/* Make a stop about this call; no lock is held. */
void nth_look_stop(struct nth_look *look, ULONG code, ULONG_PTR first, ULONG_PTR second,
                   ULONG_PTR third, ULONG_PTR fourth);

/* Look at the block, and make the stop if there is one. True when the call may go on with
 * look->track; without one the plain call decides. `freeing` decides names. */
bool nth_look_at(struct nth_look *look, const void *block, bool freeing);

/* With the lock held: the stop for a block is noted in look->wish. */
void nth_look_wish(struct nth_look *look, const struct nth_track *track, ULONG code,
                   ULONG_PTR fourth);

/* With the global flag for it: is the whole heap as it should be? */
bool nth_look_sound(const struct nth_look *look);

/* Should this allocation fail, for the sake of it? */
bool nth_look_starved(const struct nth_look *look, ULONG kind);

/* Take the heap's lock and give it up: HeapLock holds off calls that touch no heap memory, too. */
NTSTATUS nth_look_pass(const struct nth_look *look);

/* The heap as the verifier knows it; with the lock held. NULL when there is no memory. */
struct nth_watched_heap *nth_watched_of(HANDLE handle);

struct nth_sweep {
    HANDLE handle;
    uint64_t after;
    const struct nth_track *damaged;
    ULONG code;
    ULONG_PTR bad;
};

/* A block of the heap whose surroundings, or filling, are not as they were left. */
bool nth_sweep_damaged(struct nth_sweep *sweep);

#endif
