/* SPDX-License-Identifier: MIT
 *
 * Exceptions: the list of frames of a thread, the search for a handler, unwinding, raising. No
 * allocation, no lock, no system call on the way in and out of a guarded block; most of it may
 * run inside a signal handler. */
#include "seh.h"

#include "base.h"
#include "probe.h"

#include <string.h>
#include <unistd.h>

#define CODE_RESERVED_BIT 0x10000000u

LONG nth_filter_all(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    return EXCEPTION_EXECUTE_HANDLER;
}

LONG nth_filter_search(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    return EXCEPTION_CONTINUE_SEARCH;
}

/* Frames. */

void nth_frame_enter(struct nth_frame *frame, enum nth_frame_kind kind)
{
    if (nth_load_acquire(&nth_fault_installed) == 0) {
        nth_seh_install();
    }
    frame->outer = nth_self.frame;
    frame->target = NULL;
    frame->call = nth_self.call;
    frame->dispatch = nth_self.unwind;
    frame->filter = NULL;
    frame->context = NULL;
    frame->kind = kind;
    frame->entered = 1;
    /* A signal handler of this thread must find the frame whole. */
    nth_fence_compiler();
    nth_self.frame = frame;
}

void nth_frame_leave(struct nth_frame *frame)
{
    if (frame->entered != 0) {
        frame->entered = 0;
        nth_self.frame = frame->outer;
    }
}

void nth_frame_except(struct nth_frame *frame, nth_filter filter, void *context)
{
    nth_frame_enter(frame, NTH_FRAME_EXCEPT);
    frame->context = context;
    frame->filter = filter;
}

BOOLEAN nth_frame_finally(struct nth_frame *frame)
{
    if (frame->entered != 0) {
        nth_frame_leave(frame);
        return FALSE;
    }
    nth_frame_enter(frame, NTH_FRAME_FINALLY);
    return TRUE;
}

/* The raiser's stack is gone when a handler runs, so the record and the one it points to are
 * copied. `record` may be that of another frame (rethrown). */
static void frame_accept(struct nth_frame *frame, const EXCEPTION_RECORD *record)
{
    frame->record = *record;
    if (record->ExceptionRecord != NULL) {
        frame->cause = *record->ExceptionRecord;
        frame->cause.ExceptionRecord = NULL;
        frame->record.ExceptionRecord = &frame->cause;
    }
}

/* Second phase. */

/* MSan keeps the shadow of the last return value of the thread, and setjmp returning again does
 * not set it: the last instrumented return before the jump has to be a clean one. */
static __attribute__((noinline)) int jump_value(const struct nth_frame *frame)
{
    return frame->entered == 0 ? 1 : 2;
}

void nth_unwind(struct nth_frame *target)
{
    struct nth_frame *frame = nth_self.frame;
    while (frame != NULL && frame != target && frame->kind != NTH_FRAME_FINALLY) {
        frame = frame->outer;
    }
    if (frame == NULL) {
        frame = target; /* a filter called nth_process_reset, which forgot the list */
    }
    nth_self.frame = frame->outer;
    nth_self.unwind = frame->dispatch;
    frame->entered = 0;
    frame->target = frame == target ? NULL : target;
    nth_call_unwind(frame->call);
    longjmp(frame->jump, jump_value(frame));
}

void nth_frame_resume(struct nth_frame *frame)
{
    nth_unwind(frame->target);
}

/* First phase. */

/* The frame to ask after `frame`'s inner neighbours are done: `frame` itself, unless it was on
 * the list when a search began that is still in progress; then the frames up to the one being
 * asked there are passed over. `*search` is the innermost search not passed yet.
 * Decision: an exception raised in a filter is searched from that filter's own frames and then
 * from outside the frame whose filter ran; each nested search starts further out, so there is
 * no endless recursion. */
static struct nth_frame *frame_skip(struct nth_frame *frame, const struct nth_dispatch **search)
{
    while (*search != NULL && frame == (*search)->top) {
        if ((*search)->asking != NULL) {
            frame = (*search)->asking->outer;
        }
        *search = (*search)->outer;
    }
    return frame;
}

static BOOLEAN vectored_asked_already(const struct nth_dispatch *search)
{
    while (search != NULL && !search->vectored) {
        search = search->outer;
    }
    return search != NULL;
}

static LONG vectored_ask(struct nth_dispatch *search, EXCEPTION_POINTERS *info)
{
    if (!nth_vectored_any() || vectored_asked_already(search->outer)) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    search->vectored = TRUE;
    LONG answer = nth_vectored_ask(info);
    search->vectored = FALSE;
    return answer;
}

/* Decision: a wrong answer (continuing what must not be continued, or no answer that exists)
 * raises an exception of its own, for which everybody is asked once more, the giver of the wrong
 * answer included; a wrong answer to that one counts as EXCEPTION_CONTINUE_SEARCH. */
static BOOLEAN answer_is_wrong(LONG answer, const EXCEPTION_RECORD *record)
{
    if (answer == EXCEPTION_CONTINUE_EXECUTION) {
        return (record->ExceptionFlags & EXCEPTION_NONCONTINUABLE) != 0;
    }
    return answer != EXCEPTION_CONTINUE_SEARCH && answer != EXCEPTION_EXECUTE_HANDLER;
}

static LONG frame_ask(struct nth_dispatch *search, struct nth_frame *frame,
                      EXCEPTION_POINTERS *info)
{
    if (frame->kind != NTH_FRAME_EXCEPT) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    search->asking = frame;
    LONG answer = frame->filter(info, frame->context);
    if (search->derived && answer_is_wrong(answer, info->ExceptionRecord)) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    return answer;
}

/* Ask all in turn: the first answer that is not EXCEPTION_CONTINUE_SEARCH. */
static LONG all_ask(struct nth_dispatch *search, EXCEPTION_POINTERS *info)
{
    LONG answer = vectored_ask(search, info);
    if (search->derived && answer_is_wrong(answer, info->ExceptionRecord)) {
        answer = EXCEPTION_CONTINUE_SEARCH;
    }
    const struct nth_dispatch *inner = search->outer;
    struct nth_frame *frame = frame_skip(search->top, &inner);
    while (answer == EXCEPTION_CONTINUE_SEARCH && frame != NULL) {
        answer = frame_ask(search, frame, info);
        frame = frame_skip(frame->outer, &inner);
    }
    return answer;
}

static void record_derive(EXCEPTION_RECORD *derived, EXCEPTION_RECORD *cause, LONG answer)
{
    derived->ExceptionCode = answer == EXCEPTION_CONTINUE_EXECUTION
                                 ? STATUS_NONCONTINUABLE_EXCEPTION
                                 : STATUS_INVALID_DISPOSITION;
    derived->ExceptionFlags = EXCEPTION_NONCONTINUABLE;
    derived->ExceptionRecord = cause;
    derived->ExceptionAddress = cause->ExceptionAddress;
}

/* In words, put together by hand: this may run inside a signal handler. */

struct line {
    char *text;
    size_t room; /* with what ends it */
    size_t len;
    size_t whole; /* of all that there is to say */
};

static void line_add(struct line *line, const char *text)
{
    for (; *text != '\0'; text++) {
        if (line->len + 1 < line->room) {
            line->text[line->len++] = *text;
        }
        line->whole++;
    }
}

static void line_add_hex(struct line *line, uintptr_t value, int digit_min)
{
    char digits[2 * sizeof(value) + 1];
    size_t idx = sizeof(digits) - 1;
    digits[idx] = '\0';
    for (int count = 0; value != 0 || count < digit_min; count++) {
        digits[--idx] = "0123456789ABCDEF"[value & 0xF];
        value >>= 4;
    }
    line_add(line, "0x");
    line_add(line, &digits[idx]);
}

static void line_add_exception(struct line *line, const EXCEPTION_RECORD *record)
{
    line_add(line, "exception ");
    line_add_hex(line, record->ExceptionCode, 8);
    line_add(line, " at ");
    line_add_hex(line, (uintptr_t)record->ExceptionAddress, 1);
    line_add(line, " in ");
    line_add(line, nth_self.call != NULL ? nth_self.call->name : "no heap call");
}

SIZE_T nth_exception_text(const EXCEPTION_RECORD *record, char *text, SIZE_T text_bytes)
{
    struct line line = {.text = text, .room = text_bytes};
    line_add_exception(&line, record);
    if (text_bytes > 0) {
        text[line.len] = '\0';
    }
    return line.whole;
}

static __attribute__((noreturn)) void unhandled(const EXCEPTION_RECORD *record)
{
    char text[160];
    struct line line = {.text = text, .room = sizeof(text)};
    line_add(&line, "heaprig: unhandled ");
    line_add_exception(&line, record);
    text[line.len] = '\n';
    ssize_t ignored = write(STDERR_FILENO, text, line.len + 1);
    (void)ignored;
    nth_terminate(record->ExceptionCode);
}

/* The frame that took the exception is the last one asked. */
static void dispatch_settle(struct nth_dispatch *search, LONG answer, EXCEPTION_RECORD *record)
{
    if (answer == EXCEPTION_EXECUTE_HANDLER) {
        NTH_ASSERT(search->asking != NULL); /* vectored handlers cannot answer that */
        frame_accept(search->asking, record);
        nth_unwind(search->asking);
    }
    nth_self.unwind = search->outer;
    nth_self.frame = search->top;
}

BOOLEAN nth_dispatch(EXCEPTION_RECORD *record, void *context)
{
    struct nth_dispatch search = {.outer = nth_self.unwind, .top = nth_self.frame};
    EXCEPTION_POINTERS info = {.ExceptionRecord = record, .ContextRecord = context};
    EXCEPTION_RECORD derived = {.ExceptionCode = 0};
    nth_self.unwind = &search;
    LONG answer = all_ask(&search, &info);
    if (answer_is_wrong(answer, record)) {
        record_derive(&derived, record, answer);
        info.ExceptionRecord = &derived;
        info.ContextRecord = NULL;
        search.asking = NULL;
        search.derived = TRUE;
        answer = all_ask(&search, &info);
    }
    dispatch_settle(&search, answer, info.ExceptionRecord);
    if (search.derived) {
        unhandled(&derived);
    }
    return answer == EXCEPTION_CONTINUE_EXECUTION;
}

/* Raising. */

void nth_raise(const EXCEPTION_RECORD *record)
{
    EXCEPTION_RECORD copy = *record;
    if (!nth_dispatch(&copy, NULL)) {
        unhandled(&copy);
    }
}

void nth_rethrow(const EXCEPTION_RECORD *record)
{
    nth_raise(record);
}

static DWORD argument_count(DWORD wanted, const ULONG_PTR *args)
{
    if (args == NULL) {
        return 0;
    }
    return wanted < EXCEPTION_MAXIMUM_PARAMETERS ? wanted : EXCEPTION_MAXIMUM_PARAMETERS;
}

void RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                    const ULONG_PTR *lpArguments)
{
    DWORD count = argument_count(nNumberOfArguments, lpArguments);
    EXCEPTION_RECORD record = {.ExceptionCode = dwExceptionCode & ~CODE_RESERVED_BIT,
                               .ExceptionFlags = dwExceptionFlags & EXCEPTION_NONCONTINUABLE,
                               .ExceptionAddress = __builtin_return_address(0),
                               .NumberParameters = count};
    if (count != 0 && !nth_probe_read(lpArguments, count * sizeof(*lpArguments))) {
        record.ExceptionCode = STATUS_ACCESS_VIOLATION;
        record.NumberParameters = 2;
        record.ExceptionInformation[0] = EXCEPTION_READ_FAULT;
        record.ExceptionInformation[1] = (ULONG_PTR)lpArguments;
    } else if (count != 0) {
        memcpy(record.ExceptionInformation, lpArguments, count * sizeof(*lpArguments));
    }
    nth_raise(&record);
}

/* Guarding a function. */

BOOLEAN nth_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    struct nth_frame frame;
    nth_frame_except(&frame, nth_filter_all, NULL);
    if (setjmp(frame.jump) != 0) {
        if (record != NULL) {
            *record = frame.record;
            record->ExceptionRecord = NULL;
        }
        return FALSE; /* NOLINT(clang-analyzer-core.StackAddressEscape): popped by nth_unwind */
    }
    body(context);
    nth_frame_leave(&frame);
    return TRUE;
}

void nth_seh_reset(void)
{
    nth_vectored_reset();
    nth_probe_reset();
    nth_self.frame = NULL;
    nth_self.unwind = NULL;
}
