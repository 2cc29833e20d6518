/* SPDX-License-Identifier: MIT
 *
 * Exceptions inside core: raising, and what the parts of the mechanism (seh.c searches and
 * unwinds, vectored.c keeps the process-wide handlers, fault.c turns signals into exceptions,
 * probe.c touches what callers hand in) need of each other. */
#ifndef NTH_SEH_H
#define NTH_SEH_H

#include <ntheap/seh.h>

#include "thread.h"

/* nth_frame.kind */
enum nth_frame_kind {
    NTH_FRAME_EXCEPT,
    NTH_FRAME_FINALLY,
    NTH_FRAME_PROBE /* a hardware fault goes straight to it: nobody is asked */
};

/* One search in progress (first phase), on the raiser's stack, innermost first in
 * nth_self.unwind. An exception raised by the handler or filter being asked starts one more. */
struct nth_dispatch {
    struct nth_dispatch *outer;
    struct nth_frame *top;    /* innermost frame when the search began */
    struct nth_frame *asking; /* frame whose filter runs, NULL while vectored handlers are asked */
    BOOLEAN vectored;         /* vectored handlers are being asked */
    BOOLEAN derived;          /* the exception arose from a wrong answer to another one */
};

/* Raise an exception: as nth_rethrow. The heap's way; it must be consistent and unlocked. */
void nth_raise(const EXCEPTION_RECORD *record);

/* First phase for one exception, `context` a ucontext_t or NULL; the second when somebody takes
 * it, and then it does not return. TRUE: go on where it happened. FALSE: nobody takes it. */
BOOLEAN nth_dispatch(EXCEPTION_RECORD *record, void *context);

/* Second phase: run the NT_FINALLY blocks up to `target` and enter that. */
__attribute__((noreturn)) void nth_unwind(struct nth_frame *target);

void nth_frame_enter(struct nth_frame *frame, enum nth_frame_kind kind);

/* Forget the vectored handlers, the fault counts and the calling thread's frames. Live guarded
 * blocks of this thread see no exception any more; leaving them stays allowed. The signal
 * handlers stay in place. */
void nth_seh_reset(void);

/* process.c: the seam's terminate, abort() by default. */
extern __attribute__((noreturn)) void nth_terminate(NTSTATUS status);

/* Vectored handlers (vectored.c). */
BOOLEAN nth_vectored_any(void);
LONG nth_vectored_ask(EXCEPTION_POINTERS *info);
void nth_vectored_reset(void);

/* Signals (fault.c). */
extern NTH_ATOMIC(unsigned) nth_fault_installed;

#endif
