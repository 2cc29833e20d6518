/* SPDX-License-Identifier: MIT
 *
 * Structured exceptions for C on a system that has none: raise, guarded blocks with filters and
 * termination blocks, vectored handlers. A SIGSEGV or SIGBUS inside a guarded block becomes
 * STATUS_ACCESS_VIOLATION.
 *
 *     NT_TRY {
 *         block = RtlAllocateHeap(heap, HEAP_GENERATE_EXCEPTIONS, bytes);
 *     } NT_EXCEPT(nth_filter_all, NULL) {
 *         code = NT_EXCEPTION_CODE();
 *     } NT_END_TRY
 *
 *     NT_TRY {
 *         work(lock);
 *     } NT_FINALLY {
 *         release(lock);
 *     } NT_END_TRY
 *
 * Two phases. First the vectored handlers and then the filters, innermost block first, are asked
 * on the stack of the raiser: nothing is unwound yet, so a filter may repair the cause and answer
 * EXCEPTION_CONTINUE_EXECUTION. When a filter answers EXCEPTION_EXECUTE_HANDLER, the NT_FINALLY
 * blocks between the raiser and that filter's block run, innermost first, and then its handler.
 *
 * - A guarded block may be left by return, break, continue and goto: its frame is popped. An
 *   NT_FINALLY block does not run then; it runs when the guarded block ends or an exception
 *   passes. Leaving by longjmp is not allowed.
 * - An exception raised inside a filter is offered to the blocks opened by that filter, then to
 *   those outside the block whose filter was running. An exception raised inside a handler or
 *   NT_FINALLY block is offered to the blocks outside; in the latter case it replaces the
 *   exception that was passing, and so does leaving the NT_FINALLY block early.
 * - Local variables changed inside a guarded block and read after an exception must be volatile,
 *   as with setjmp, on which this is built. gcc's -Wclobbered names them (and at times a safe
 *   one, such as the counter of a loop around NT_TRY, which volatile quietens as well).
 * - For a fault, filters and vectored handlers run inside the signal handler and may call only
 *   what POSIX allows there. Handler and NT_FINALLY blocks run outside it.
 * - Guarded blocks make no system call (the very first one in a process installs the signal
 *   handlers). They need the GNU C extensions __label__ and cleanup, as gcc and clang have them.
 *
 * May be used from any thread. Nothing here allocates memory. */
#ifndef NTHEAP_SEH_H
#define NTHEAP_SEH_H

#include <ntheap/types.h>

#include <setjmp.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Answers of a filter. */
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

/* Asked in the first phase, on the raiser's stack; `context` comes from NT_EXCEPT. It may change
 * the record: later filters and the handler see the change. */
typedef LONG (*nth_filter)(EXCEPTION_POINTERS *info, void *context);

typedef LONG (*PVECTORED_EXCEPTION_HANDLER)(EXCEPTION_POINTERS *info);

/** Filter that takes every exception. Units: none. Errors: none.
 * Source: DESIGN, Exceptions. */
LONG nth_filter_all(EXCEPTION_POINTERS *info, void *context);

/** Filter that takes none: the search goes on. Units: none. Errors: none.
 * Source: DESIGN, Exceptions. */
LONG nth_filter_search(EXCEPTION_POINTERS *info, void *context);

/** Raise an exception in the calling thread. Returns only when somebody answers
 * EXCEPTION_CONTINUE_EXECUTION and the exception may be continued.
 *
 * `dwExceptionFlags` is 0 or EXCEPTION_NONCONTINUABLE; reserved bits are masked. Bit 28 of the
 * code is cleared. `nNumberOfArguments` is ignored when `lpArguments` is NULL; of more than
 * EXCEPTION_MAXIMUM_PARAMETERS arguments that many are taken.
 *
 * Units:  none.
 * Errors: continued although noncontinuable: STATUS_NONCONTINUABLE_EXCEPTION is raised, with
 *         ExceptionRecord the first record; a filter that answers anything else:
 *         STATUS_INVALID_DISPOSITION, likewise. Arguments that cannot be read:
 *         STATUS_ACCESS_VIOLATION instead of the code asked for. Handled by nobody: one line on
 *         standard error, then the seam's terminate.
 * Source: [win32:raiseexception] parameters, remarks; SEH-01 to SEH-12. */
void RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                    const ULONG_PTR *lpArguments);

/** Raise once more the exception of `record`, unchanged, address included: from a handler body,
 * nth_rethrow(NT_EXCEPTION_RECORD()). The blocks outside are asked. Returns as RaiseException.
 *
 * Units:  none.
 * Errors: as RaiseException. `record` must be readable.
 * Source: DESIGN, Exceptions. */
void nth_rethrow(const EXCEPTION_RECORD *record);

/** An exception in words, for a filter or handler that keeps a log:
 *
 *     exception 0xE0000001 at 0x7F5C1A2B3C4D in RtlAllocateHeap
 *
 * with the heap call that the calling thread is in, or "no heap call": a CommitRoutine raises in
 * one, a fault may happen in one; what a call raises itself it raises when it is done. Ends in NUL,
 * cut to `text_bytes` (0: `text` may be NULL). Returns the bytes of all of it, the NUL left out.
 * May be called inside a signal handler.
 *
 * Units:  bytes.
 * Errors: none. `record` must be readable.
 * Source: DESIGN, Exceptions. */
SIZE_T nth_exception_text(const EXCEPTION_RECORD *record, char *text, SIZE_T text_bytes);

/** Have `Handler` asked before any filter, in every thread; before all other handlers when
 * `First` is nonzero, after them otherwise. It answers EXCEPTION_CONTINUE_EXECUTION or
 * EXCEPTION_CONTINUE_SEARCH, and any other answer counts as the latter. An exception raised by a
 * vectored handler is not offered to vectored handlers.
 *
 * Returns a handle for RemoveVectoredExceptionHandler.
 *
 * Units:  none.
 * Errors: NULL when `Handler` is NULL or 64 handlers are registered already.
 * Source: [win32:addvectoredexceptionhandler] parameters, return value. */
PVOID AddVectoredExceptionHandler(ULONG First, PVECTORED_EXCEPTION_HANDLER Handler);

/** Forget a vectored handler. Nonzero when it was registered. A dispatch in progress in another
 * thread may still call it.
 *
 * Units:  none.
 * Errors: 0 when `Handle` names no registered handler.
 * Source: [win32:removevectoredexceptionhandler] parameters, return value. */
ULONG RemoveVectoredExceptionHandler(PVOID Handle);

/** Run body(context) guarded. TRUE when it returned; FALSE when an exception left it, with
 * `*record` the exception unless `record` is NULL. Its ExceptionRecord link is NULL.
 *
 * Units:  none.
 * Errors: none of its own.
 * Source: DESIGN, Interfaces. */
BOOLEAN nth_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record);

/** Put the SIGSEGV and SIGBUS handlers of this library in place, remembering the ones found, to
 * which a fault that nobody here handles is passed on. Does nothing where they are in place.
 * The first guarded block of a process does it; call it again after a program (a test framework,
 * say) has replaced them.
 *
 * Units:  none.
 * Errors: none.
 * Source: DESIGN, Exceptions. */
void nth_seh_install(void);

/* One guarded block, on the stack of its thread. Only for the macros below: the members may
 * change in any release. */
struct nth_frame {
    struct nth_frame *outer;
    struct nth_frame *target; /* NT_FINALLY: where the exception passing is headed, or NULL */
    void *call;               /* heap call in progress when the block was entered */
    void *dispatch;           /* search in progress then: non-NULL for blocks inside filters */
    nth_filter filter;
    void *context;
    unsigned kind;
    unsigned entered;        /* on the thread's list of frames */
    EXCEPTION_RECORD record; /* the exception caught */
    EXCEPTION_RECORD cause;  /* the one its ExceptionRecord points to */
    jmp_buf jump;
};

/** What the macros below are made of; not to be called by hand. nth_frame_except and
 * nth_frame_finally enter a frame; the second answers FALSE, and leaves it, when called again
 * after the guarded block. nth_frame_leave pops it. nth_frame_resume goes on with the exception
 * that passes after an NT_FINALLY block.
 * Units: none. Errors: none. Source: DESIGN, Exceptions. */
void nth_frame_except(struct nth_frame *frame, nth_filter filter, void *context);
BOOLEAN nth_frame_finally(struct nth_frame *frame);
void nth_frame_leave(struct nth_frame *frame);
__attribute__((noreturn)) void nth_frame_resume(struct nth_frame *frame);

/* The clause stands after the guarded block but its filter has to be known first, so control goes
 * NT_TRY, clause, back to the guarded block, end. Labels and goto, not a loop: `break` inside
 * must reach the user's loop. The warnings silenced are about the declarations of these lines
 * only; the user's code keeps his. */
#define NT_TRY                                                                                     \
    {                                                                                              \
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")            \
            _Pragma("GCC diagnostic ignored \"-Wshadow\"")                                         \
        {                                                                                          \
            __label__ nth_body, nth_clause, nth_end;                                               \
            struct nth_frame nth_frame_here __attribute__((cleanup(nth_frame_leave)));             \
            _Pragma("GCC diagnostic pop") nth_frame_here.entered = 0;                              \
            goto nth_clause;                                                                       \
        nth_body:

#define NT_EXCEPT(filter_function, filter_context)                                                 \
    goto nth_end;                                                                                  \
    nth_clause:                                                                                    \
    nth_frame_except(&nth_frame_here, (filter_function), (filter_context));                        \
    if (setjmp(nth_frame_here.jump) == 0) {                                                        \
        goto nth_body;                                                                             \
    }

#define NT_FINALLY                                                                                 \
    nth_clause:                                                                                    \
    if (nth_frame_finally(&nth_frame_here)) {                                                      \
        if (setjmp(nth_frame_here.jump) == 0) {                                                    \
            goto nth_body;                                                                         \
        }                                                                                          \
    }

#define NT_END_TRY                                                                                 \
    nth_end:                                                                                       \
    __attribute__((unused));                                                                       \
    if (nth_frame_here.target != NULL) {                                                           \
        nth_frame_resume(&nth_frame_here);                                                         \
    }                                                                                              \
    }                                                                                              \
    }

/* In a handler: the exception caught, an EXCEPTION_RECORD * that is valid until NT_END_TRY, and
 * its code. The ExceptionRecord chain is kept one link deep; filters see it whole. */
#define NT_EXCEPTION_RECORD() (&nth_frame_here.record)
#define NT_EXCEPTION_CODE() (nth_frame_here.record.ExceptionCode)

/* In an NT_FINALLY block: nonzero when an exception is passing. */
#define NT_ABNORMAL_TERMINATION() (nth_frame_here.target != NULL)

#ifdef __cplusplus
}
#endif
#endif
