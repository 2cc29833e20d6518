/* SPDX-License-Identifier: MIT
 *
 * One guarded call of the subject, and all that is noted around it: last error, refusals, reports,
 * and what the rig's own filters, routines and handlers did meanwhile. */
#include "exec_internal.h"

#include <string.h>

struct rig_exec *rig_exec_now;

/* Bit 29 marks codes of applications: no heap sets it. */
#define ERROR_MARK 0x20005A00u
#define FILTER_BYTES 40u
#define CONTINUED_MAX 8u /* a call continues so many exceptions; its own heap raises one */

static uint64_t refusals(const struct rig_subject *subject)
{
    return subject->refusals == NULL ? 0 : subject->refusals();
}

static uint64_t reports(const struct rig_subject *subject, struct rig_report *last)
{
    return subject->reports == NULL ? 0 : subject->reports(last);
}

static NTSTATUS ended(const struct rig_subject *subject)
{
    return subject->ended == NULL ? 0 : subject->ended();
}

struct using
{
    const struct rig_subject *subject;
    HANDLE heap;
    bool served;
};

static void use(void *context)
{
    struct using *using = context;
    PVOID block = using->subject->HeapAlloc(using->heap, 0, RIG_FILTER_BYTES);
    using->served = block != NULL &&using->subject->HeapFree(using->heap, 0, block);
}

/* In a filter the heap is consistent and unlocked: it serves. Guarded: out of memory it raises. */
static LONG RIG_NTAPI filter(EXCEPTION_POINTERS *info, void *context)
{
    struct rig_exec *exec = context;
    const struct rig_subject *subject = exec->subject;
    const struct rig_step *step = &exec->step;
    if (ended(subject) != 0) {
        return EXCEPTION_EXECUTE_HANDLER; /* the end of the process: nobody is asked */
    }
    exec->filter_runs++;
    exec->step.outcome.exception = *info->ExceptionRecord;
    rig_see_exception_worded(exec, info->ExceptionRecord, false);
    if (step->context == RIG_CONTEXT_FILTER && step->heap != NULL && subject->HeapFree != NULL) {
        EXCEPTION_RECORD record;
        struct using using = {subject, step->heap->handle, false};
        exec->filter_used_heap = subject->guard(use, &using, &record) && using.served;
        step->heap->block_total++; /* and what it freed may have given pages back */
    }
    /* A fault that comes again at the same instruction would come for ever. */
    const bool again = exec->filter_runs > CONTINUED_MAX;
    return step->context == RIG_CONTEXT_CONTINUE && !again ? EXCEPTION_CONTINUE_EXECUTION
                                                           : EXCEPTION_EXECUTE_HANDLER;
}

/* A stop that is an exception: the program goes on. */
static LONG RIG_NTAPI go_on(EXCEPTION_POINTERS *info, void *context)
{
    struct rig_exec *exec = context;
    const EXCEPTION_RECORD *record = info->ExceptionRecord;
    struct rig_stop last;
    if (record->ExceptionCode != STATUS_VERIFIER_STOP || ended(exec->subject) != 0) {
        exec->step.outcome.exception = *record;
        return EXCEPTION_EXECUTE_HANDLER;
    }
    const size_t count = exec->subject->stops(SIZE_MAX, &last);
    (void)exec->subject->stops(count - 1u, &last);
    bool right =
        count > 0 && record->NumberParameters == 5 && record->ExceptionInformation[0] == last.code;
    for (unsigned idx = 0; right && idx < 4; idx++) {
        right = record->ExceptionInformation[idx + 1u] == last.parameter[idx];
    }
    exec->watched.exceptions++;
    exec->watched.exceptions_wrong += !right;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static bool guarded(struct rig_exec *exec, void (*body)(void *exec))
{
    const struct rig_subject *subject = exec->subject;
    if (exec->watch.on && exec->watch.set.exceptions && subject->guard_filter != NULL) {
        return subject->guard_filter(body, exec, go_on, exec, &exec->step.outcome.exception);
    }
    struct rig_outcome *outcome = &exec->step.outcome;
    const bool filtered =
        exec->step.context == RIG_CONTEXT_FILTER || exec->step.context == RIG_CONTEXT_CONTINUE;
    if (filtered && subject->guard_filter != NULL) {
        return subject->guard_filter(body, exec, filter, exec, &outcome->exception);
    }
    return subject->guard(body, exec, &outcome->exception);
}

/* The call itself, in whichever thread. */
static void call_here(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    struct rig_step *step = &exec->step;
    struct rig_outcome *outcome = &step->outcome;
    if (step->op != RIG_OP_GET_LAST_ERROR) {
        outcome->error_before = ERROR_MARK + (step->idx & 0xFFu);
        if (subject->SetLastError != NULL) {
            subject->SetLastError(outcome->error_before);
        }
    }
    outcome->raised = !guarded(exec, exec->body);
    outcome->error_after =
        subject->GetLastError == NULL ? outcome->error_before : subject->GetLastError();
}

/* Everything that this thread holds: a call may want any heap's lock, and sections are locks. */
static bool let_go(struct rig_exec *exec)
{
    bool refused = false;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &exec->shadow.heaps[idx];
        for (unsigned depth = 0; depth < heap->lock_depth; depth++) {
            refused = !exec->subject->HeapUnlock(heap->handle) || refused;
        }
    }
    for (unsigned idx = 0; idx < RIG_SECTION_COUNT; idx++) {
        for (unsigned depth = 0; depth < exec->sections[idx].depth; depth++) {
            exec->subject->LeaveCriticalSection(&exec->sections[idx].section);
        }
    }
    exec->step.outcome.unlock_refused = refused;
    return !refused;
}

static void take_again(struct rig_exec *exec)
{
    struct rig_outcome *outcome = &exec->step.outcome;
    for (unsigned idx = 0; idx < RIG_SECTION_COUNT; idx++) {
        for (unsigned depth = 0; depth < exec->sections[idx].depth; depth++) {
            exec->subject->EnterCriticalSection(&exec->sections[idx].section);
        }
    }
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &exec->shadow.heaps[idx];
        for (unsigned depth = 0; depth < heap->lock_depth; depth++) {
            outcome->lock_refused = !exec->subject->HeapLock(heap->handle) || outcome->lock_refused;
        }
    }
}

/* The first thread holds the lock of a damaged heap: what it lets go it may not get back. */
static bool holds_damaged(const struct rig_exec *exec)
{
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        if (exec->damaged[idx] && exec->shadow.heaps[idx].lock_depth > 0) {
            return true;
        }
    }
    return false;
}

/* Ownership of locks belongs to the first thread, and so does everything that ends with it. A NULL
 * handle means all heaps, and of one heap only can the first thread let go. */
static bool second_may(const struct rig_exec *exec, const struct rig_step *step)
{
    return step->heap != NULL && step->context != RIG_CONTEXT_LOCKED &&
           exec->subject->tell_waits != NULL && exec->subject->HeapLock != NULL &&
           step->op != RIG_OP_LOCK && step->op != RIG_OP_UNLOCK && step->op != RIG_OP_CREATE &&
           step->op != RIG_OP_DESTROY && !step->handle_null && !holds_damaged(exec);
}

/* Decides nothing: what it measures is printed. */
static uint64_t clock_ns(const struct rig_exec *exec)
{
    return exec->options.clock_ns == NULL ? 0 : exec->options.clock_ns();
}

void rig_call(struct rig_exec *exec, struct rig_step *step, void (*body)(void *exec))
{
    const struct rig_subject *subject = exec->subject;
    struct rig_outcome *outcome = &step->outcome;
    struct rig_report unused;
    rig_refusal_before(exec, step);
    rig_watch_before(exec);
    const uint64_t refused = refusals(subject);
    const uint64_t reported = reports(subject, &unused);
    const bool over = ended(subject) != 0; /* the end was asked for before */
    exec->filter_runs = 0;
    exec->filter_used_heap = false;
    exec->routine_runs = 0;
    exec->handler_runs = 0;
    exec->starved = false;
    exec->routine_odd = false;
    exec->routine_raised = false;
    exec->routine_raises = false;
    exec->reentries = 0;
    exec->body = body;
    step->second = step->second && second_may(exec, step);
    if (step->context == RIG_CONTEXT_FILTER && step->heap != NULL &&
        exec->damaged[step->heap->idx]) {
        step->context = RIG_CONTEXT_PLAIN; /* the filter might not get rid of its own block */
    }
    rig_damages_due(exec, step);
    if (exec->options.before != NULL) {
        exec->options.before(exec->options.context, step);
    }
    exec->verdict.call_count++;
    const uint64_t began = clock_ns(exec);
    if (step->second) {
        const DWORD mine = ERROR_MARK | 0x80u;
        subject->SetLastError(mine);
        subject->tell_waits(rig_hand_waits);
        const enum rig_hand_end end = rig_hand_run(exec, call_here, let_go, take_again);
        outcome->blocked = end != RIG_HAND_RAN;
        outcome->stuck = end == RIG_HAND_STUCK;
        outcome->other_error_kept = outcome->blocked || subject->GetLastError() == mine;
    } else {
        call_here(exec);
    }
    exec->verdict.call_ns += clock_ns(exec) - began;
    outcome->refusals = refusals(subject) - refused;
    outcome->reports = reports(subject, &outcome->report) - reported;
    outcome->ended = over ? 0 : ended(subject);
    outcome->filter_runs = exec->filter_runs;
    outcome->filter_used_heap = exec->filter_used_heap;
    outcome->routine_runs = exec->routine_runs;
    outcome->handler_runs = exec->handler_runs;
    outcome->starved = exec->starved;
    outcome->routine_odd = exec->routine_odd;
    outcome->routine_raised = exec->routine_raised;
    outcome->reentries = exec->reentries;
    outcome->refusals_known = subject->refusals != NULL;
    if (outcome->raised) {
        outcome->value = 0;
    }
    rig_watch_after(exec);
    rig_see_report_worded(exec);
    rig_refusal_after(exec, step);
    if (step->second) {
        step->heap->second_count++;
        exec->shadow.second_count++;
    }
}

bool rig_call_aside(struct rig_exec *exec, void (*body)(void *context), void *context)
{
    EXCEPTION_RECORD record;
    struct rig_report unused;
    const uint64_t reported = reports(exec->subject, &unused);
    exec->verdict.call_count++;
    const uint64_t began = clock_ns(exec);
    const bool continued = exec->watch.on && exec->watch.set.exceptions;
    const bool returned = continued && exec->subject->guard_filter != NULL
                              ? exec->subject->guard_filter(body, context, go_on, exec, &record)
                              : exec->subject->guard(body, context, &record);
    exec->verdict.call_ns += clock_ns(exec) - began;
    exec->ended = exec->ended || ended(exec->subject) != 0; /* of what it met: the run is over */
    return returned && reports(exec->subject, &unused) == reported;
}
