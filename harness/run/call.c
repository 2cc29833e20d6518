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

static uint64_t refusals(const struct rig_subject *subject)
{
    return subject->refusals == NULL ? 0 : subject->refusals();
}

static uint64_t reports(const struct rig_subject *subject, struct rig_report *last)
{
    return subject->reports == NULL ? 0 : subject->reports(last);
}

/* In a filter the heap is consistent and unlocked: it serves. */
static LONG RIG_NTAPI filter(EXCEPTION_POINTERS *info, void *context)
{
    struct rig_exec *exec = context;
    const struct rig_subject *subject = exec->subject;
    const struct rig_step *step = &exec->step;
    exec->filter_runs++;
    exec->step.outcome.exception = *info->ExceptionRecord;
    if (step->context == RIG_CONTEXT_FILTER && step->heap != NULL && subject->HeapFree != NULL) {
        PVOID block = subject->HeapAlloc(step->heap->handle, 0, FILTER_BYTES);
        exec->filter_used_heap = block != NULL && subject->HeapFree(step->heap->handle, 0, block);
    }
    return step->context == RIG_CONTEXT_CONTINUE ? EXCEPTION_CONTINUE_EXECUTION
                                                 : EXCEPTION_EXECUTE_HANDLER;
}

static bool guarded(struct rig_exec *exec, void (*body)(void *exec))
{
    const struct rig_subject *subject = exec->subject;
    struct rig_outcome *outcome = &exec->step.outcome;
    const bool filtered = exec->step.context == RIG_CONTEXT_FILTER ||
                          exec->step.context == RIG_CONTEXT_CONTINUE;
    if (filtered && subject->guard_filter != NULL) {
        return subject->guard_filter(body, exec, filter, exec, &outcome->exception);
    }
    return subject->guard(body, exec, &outcome->exception);
}

void rig_call(struct rig_exec *exec, struct rig_step *step, void (*body)(void *exec))
{
    const struct rig_subject *subject = exec->subject;
    struct rig_outcome *outcome = &step->outcome;
    struct rig_report unused;
    const uint64_t refused = refusals(subject);
    const uint64_t reported = reports(subject, &unused);
    exec->filter_runs = 0;
    exec->filter_used_heap = false;
    exec->routine_runs = 0;
    exec->handler_runs = 0;
    exec->starved = false;
    if (exec->options.before != NULL) {
        exec->options.before(exec->options.context, step);
    }
    exec->verdict.call_count++;
    if (step->op != RIG_OP_GET_LAST_ERROR) {
        outcome->error_before = ERROR_MARK + (step->idx & 0xFFu);
        if (subject->SetLastError != NULL) {
            subject->SetLastError(outcome->error_before);
        }
    }
    outcome->raised = !guarded(exec, body);
    outcome->error_after =
        subject->GetLastError == NULL ? outcome->error_before : subject->GetLastError();
    outcome->refusals = refusals(subject) - refused;
    outcome->reports = reports(subject, &outcome->report) - reported;
    outcome->filter_runs = exec->filter_runs;
    outcome->filter_used_heap = exec->filter_used_heap;
    outcome->routine_runs = exec->routine_runs;
    outcome->handler_runs = exec->handler_runs;
    outcome->starved = exec->starved;
    if (outcome->raised) {
        outcome->value = 0;
    }
}

bool rig_call_aside(struct rig_exec *exec, void (*body)(void *context), void *context)
{
    EXCEPTION_RECORD record;
    exec->verdict.call_count++;
    return exec->subject->guard(body, context, &record);
}
