/* SPDX-License-Identifier: MIT
 *
 * Operations on vectored handlers: what each of the rig's answers, in which order they must be
 * asked, and how many there can be. */
#include "exec_internal.h"

#include <string.h>

#define CROWD_MAX 80u
#define CROWD_CODE 0xE0524948u
#define BABBLE 77

/* What a handler answers to a code below 0x80000000, which no heap raises; to others it never
 * answers anything but EXCEPTION_CONTINUE_SEARCH. */
enum kind {
    KIND_SEARCHES,
    KIND_CONTINUES,
    KIND_TAKES,   /* answers as a filter that handles: no answer of a handler's */
    KIND_BABBLES, /* answers what is no answer at all */
    KIND_COUNT
};

/* ADD_VECTORED, by value mod 8: the kinds, then these; else a handler that searches. */
enum adding { ADD_CROWD = KIND_COUNT, ADD_NOBODY };

/* REMOVE_VECTORED, by value mod 4: once more, or what was never a handle, besides. */
enum removing { REMOVE_TWICE = 1, REMOVE_NULL, REMOVE_ODD };

static LONG answer(enum kind kind, const EXCEPTION_RECORD *record)
{
    static const LONG answers[KIND_COUNT] = {
        EXCEPTION_CONTINUE_SEARCH, EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_EXECUTE_HANDLER, BABBLE};
    return record->ExceptionCode < 0x80000000u ? answers[kind] : EXCEPTION_CONTINUE_SEARCH;
}

static LONG asked(unsigned name, enum kind kind, const EXCEPTION_POINTERS *info)
{
    struct rig_exec *exec = rig_exec_now;
    struct rig_step *step = &exec->step;
    rig_see_exception_worded(exec, info->ExceptionRecord, exec->routine_raises);
    if (exec->handler_count > 0 && name == exec->handler_order[exec->handler_count - 1]) {
        exec->routine_raises = false; /* all have heard of it in the call: it is raised again */
    }
    if (exec->handler_runs < RIG_ASKED_MAX) {
        step->vectored.asked[exec->handler_runs] = (uint8_t)name;
    }
    exec->handler_runs++;
    return answer(kind, info->ExceptionRecord);
}

/* A function for each name and kind: a handler is told nothing else. */
#define HANDLER(name, kind)                                                                        \
    static LONG RIG_NTAPI handler_##name##_##kind(EXCEPTION_POINTERS *info)                        \
    {                                                                                              \
        return asked(name, kind, info);                                                            \
    }
#define HANDLERS(name)                                                                             \
    HANDLER(name, KIND_SEARCHES)                                                                   \
    HANDLER(name, KIND_CONTINUES)                                                                  \
    HANDLER(name, KIND_TAKES)                                                                      \
    HANDLER(name, KIND_BABBLES)
#define ROW(name)                                                                                  \
    {                                                                                              \
        handler_##name##_KIND_SEARCHES, handler_##name##_KIND_CONTINUES,                           \
            handler_##name##_KIND_TAKES, handler_##name##_KIND_BABBLES                             \
    }
HANDLERS(0)
HANDLERS(1)
HANDLERS(2)
HANDLERS(3)

static const RIG_VECTORED_HANDLER handlers[RIG_HANDLER_COUNT][KIND_COUNT] = {ROW(0), ROW(1), ROW(2),
                                                                             ROW(3)};

const char *rig_handler_kind(RIG_VECTORED_HANDLER handler)
{
    static const char *const names[KIND_COUNT] = {"searches", "continues", "takes", "babbles"};
    for (unsigned name = 0; name < RIG_HANDLER_COUNT; name++) {
        for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
            if (handlers[name][kind] == handler) {
                return names[kind];
            }
        }
    }
    return names[KIND_SEARCHES];
}

/* ---- What is due ---- */

/* All in their order, up to one that continues; where nobody may continue and somebody does, all
 * once more for the exception that comes of it, whose code nobody continues. */
void rig_handlers_due(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_vectored *vectored = &step->vectored;
    const EXCEPTION_RECORD record = {.ExceptionCode = step->code & ~0x10000000u};
    for (unsigned at = 0; at < exec->handler_count && !vectored->continues; at++) {
        const unsigned name = exec->handler_order[at];
        vectored->due[vectored->due_count++] = (uint8_t)name;
        vectored->continues =
            answer(exec->handler_kinds[name], &record) == EXCEPTION_CONTINUE_EXECUTION;
    }
    const bool somebody = vectored->continues || step->context == RIG_CONTEXT_CONTINUE;
    if (somebody && (step->raise_flags & EXCEPTION_NONCONTINUABLE) != 0) {
        for (unsigned at = 0; at < exec->handler_count; at++) {
            vectored->due[vectored->due_count++] = exec->handler_order[at];
        }
    }
}

/* ---- A crowd: as many as there can be, all asked, all removed ---- */

static struct {
    PVOID handles[CROWD_MAX];
    unsigned asked;
} crowd;

static LONG RIG_NTAPI handler_of_crowd(EXCEPTION_POINTERS *info)
{
    crowd.asked += info->ExceptionRecord->ExceptionCode == CROWD_CODE;
    return EXCEPTION_CONTINUE_SEARCH;
}

static void raise_for_crowd(void *context)
{
    const struct rig_subject *subject = context;
    subject->RaiseException(CROWD_CODE, 0, 0, NULL);
}

static void call_crowd(void *context)
{
    struct rig_exec *exec = context;
    const struct rig_subject *subject = exec->subject;
    struct rig_vectored *vectored = &exec->step.vectored;
    EXCEPTION_RECORD record;
    unsigned count = 0;
    crowd.asked = 0;
    while (count < CROWD_MAX) {
        crowd.handles[count] =
            subject->AddVectoredExceptionHandler(exec->step.record->arg & 1u, handler_of_crowd);
        if (crowd.handles[count] == NULL) {
            break;
        }
        count++;
    }
    exec->handler_runs = 0;
    (void)subject->guard(raise_for_crowd, (void *)(uintptr_t)subject, &record);
    vectored->crowd = count;
    vectored->crowd_asked = crowd.asked;
    for (unsigned idx = 0; idx < count; idx++) {
        vectored->crowd_removed += subject->RemoveVectoredExceptionHandler(crowd.handles[idx]) != 0;
    }
    exec->step.outcome.value = 1;
}

static void call_add_nobody(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value =
        (uintptr_t)exec->subject->AddVectoredExceptionHandler(exec->step.record->arg & 1u, NULL);
}

/* ---- Adding, removing ---- */

static void call_add(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const RIG_VECTORED_HANDLER handler = handlers[step->object_idx][step->vectored.kind];
    step->outcome.value =
        (uintptr_t)exec->subject->AddVectoredExceptionHandler(step->record->arg & 1u, handler);
}

static void order_add(struct rig_exec *exec, unsigned name, bool first)
{
    if (first) {
        memmove(exec->handler_order + 1, exec->handler_order, exec->handler_count);
    }
    exec->handler_order[first ? 0 : exec->handler_count] = (uint8_t)name;
    exec->handler_count++;
}

static void order_remove(struct rig_exec *exec, unsigned name)
{
    unsigned kept = 0;
    for (unsigned at = 0; at < exec->handler_count; at++) {
        if (exec->handler_order[at] != name) {
            exec->handler_order[kept++] = exec->handler_order[at];
        }
    }
    exec->handler_count = kept;
}

bool rig_do_ADD_VECTORED(struct rig_exec *exec, struct rig_step *step)
{
    const bool ruled = (exec->subject->claims & RIG_CLAIM_RULINGS) != 0;
    const unsigned way = ruled ? step->record->value % 8u : KIND_SEARCHES;
    unsigned idx = 0;
    step->vectored.handlers = exec->handler_count;
    if (way == ADD_CROWD || way == ADD_NOBODY) {
        step->vectored.crowded = way == ADD_CROWD;
        step->vectored.nobody = way == ADD_NOBODY;
        rig_call(exec, step, way == ADD_CROWD ? call_crowd : call_add_nobody);
        return rig_judge(exec, step);
    }
    while (idx < RIG_HANDLER_COUNT && exec->handlers[idx] != NULL) {
        idx++;
    }
    if (idx == RIG_HANDLER_COUNT) {
        step->nothing = true;
        return true;
    }
    step->object_idx = idx;
    step->vectored.kind = way < KIND_COUNT ? way : KIND_SEARCHES;
    rig_call(exec, step, call_add);
    if (!rig_judge(exec, step)) {
        return false;
    }
    exec->handlers[idx] = (PVOID)step->outcome.value;
    exec->handler_kinds[idx] = (uint8_t)step->vectored.kind;
    order_add(exec, idx, (step->record->arg & 1u) != 0);
    return true;
}

static void call_remove(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    const PVOID handle = exec->handlers[step->object_idx];
    const PVOID odd = (PVOID)((uintptr_t)handle + 1u); /* NOLINT: no handle */
    step->outcome.value = subject->RemoveVectoredExceptionHandler(handle);
    if (step->vectored.again) {
        const PVOID other = step->vectored.kind == REMOVE_TWICE  ? handle
                            : step->vectored.kind == REMOVE_NULL ? NULL
                                                                 : odd;
        step->vectored.removed_again = subject->RemoveVectoredExceptionHandler(other) != 0;
    }
}

bool rig_do_REMOVE_VECTORED(struct rig_exec *exec, struct rig_step *step)
{
    const bool ruled = (exec->subject->claims & RIG_CLAIM_RULINGS) != 0;
    step->vectored.kind = step->record->value % 4u;
    step->vectored.again = ruled && step->vectored.kind != 0;
    rig_call(exec, step, call_remove);
    if (!rig_judge(exec, step)) {
        return false;
    }
    exec->handlers[step->object_idx] = NULL;
    order_remove(exec, step->object_idx);
    return true;
}
