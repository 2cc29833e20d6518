/* SPDX-License-Identifier: MIT
 *
 * What core keeps for each thread: calls in progress, exception frames, last error, and the gate
 * that lets front-end calls run without the heap lock. Lives in thread-local storage, so a thread
 * needs no allocation to call the heap. */
#ifndef NTH_THREAD_H
#define NTH_THREAD_H

#include <ntheap/seam.h>

#include <stdbool.h>

#include "atomics.h"
#include "word.h"

struct nth_heap;
struct nth_frame;
struct nth_cache;
struct nth_slot;

/* One API call in progress, on the stack of the thread that makes it. Innermost first. A handler
 * frame remembers the innermost call at its NT_TRY; unwinding to it aborts every call above. */
struct nth_call {
    struct nth_call *outer;
    struct nth_heap *heap; /* NULL when the handle named none */
    const char *name;      /* "RtlFreeHeap", for reports and for the unhandled-exception line */
    HANDLE handle;         /* as the caller gave it */
    struct nth_slot *slot;
    void *inside;              /* what this thread worked in before */
    struct nth_region *region; /* segment last looked up and found whole in this call */
    unsigned whole;      /* the heap's totals were whole, and are sealed again on the way out */
    unsigned entered;    /* `inside` is to be restored on the way out */
    unsigned locked;     /* the heap's lock is to be released on the way out */
    unsigned gated;      /* the heap's gate is to be opened on the way out */
    unsigned destroying; /* the heap's last call: damage is no obstacle */
    unsigned noted;      /* `report` is to be delivered on the way out */
    struct nth_report report;
    unsigned thrown; /* `record` is to be raised on the way out: a CommitRoutine threw it */
    EXCEPTION_RECORD record;
};

enum nth_thread_state { NTH_THREAD_NEW = 0, NTH_THREAD_JOINED, NTH_THREAD_LEFT };

#define NTH_HOT_COUNT 8u

/* A segment this thread used lately, as far as its map reaches. */
struct nth_seen {
    uint64_t base;
    uint64_t bytes;
    uint8_t *tags;
};

#define NTH_SEEN_COUNT 32u

/* A heap this thread used lately: lets a call find its cache without touching heap memory. */
struct nth_hot {
    HANDLE handle;
    struct nth_heap *heap;
    struct nth_slot *slot;
    struct nth_cache *cache;
    struct nth_key key;  /* of the heap */
    uint64_t flags;      /* of the heap */
    uint64_t generation; /* of the process; a destroyed heap or segment makes a new one */
    struct nth_seen seen[NTH_SEEN_COUNT];
};

struct nth_thread {
    struct nth_call *call;
    struct nth_frame *frame; /* innermost NT_TRY, owned by seh.c */
    DWORD last_error;
    unsigned state;            /* enum nth_thread_state */
    NTH_ATOMIC(void *) inside; /* heap this thread is working in, NULL outside: the gate */
    NTH_ATOMIC(struct nth_slot *) visiting; /* heap whose lock it is about to take */
    struct nth_thread *next;                /* process list, under the process lock */
    struct nth_thread *prev;
    struct nth_hot hot[NTH_HOT_COUNT];
    bool holds_process;   /* the process lock */
    bool holds_verifier;  /* the verifier's lock */
    unsigned loose_count; /* reservations of this thread that nothing refers to yet (page.h) */
    void *unwind;         /* state of an unwinding in progress, owned by seh.c */
};

extern _Thread_local struct nth_thread nth_self;

/* Abort every call made inside `outer` (NULL: all): locks are released and the heaps concerned
 * are marked damaged. For the unwinder: seh.c calls it when it reaches the frame it goes to. */
void nth_call_unwind(struct nth_call *outer);

#endif
