/* SPDX-License-Identifier: MIT
 *
 * Rules on raising exceptions by hand, on error codes of statuses, on critical sections. */
#include "blocks.h"

#include <string.h>

#define RESERVED_CODE_BIT 0x10000000u
#define HANDLERS_MAX 64u

/* ---- RaiseException ---- */

/* A vectored handler continued. */
static bool handler_continued(const struct rig_step *step)
{
    return step->vectored.continues && step->outcome.handler_runs > 0;
}

/* A filter or handler continued what may not be continued: another exception takes its place. */
static bool replaced(const struct rig_step *step)
{
    return (rig_continued(step) || handler_continued(step)) &&
           (step->raise_flags & EXCEPTION_NONCONTINUABLE) != 0;
}

static bool asked_as_due(const struct rig_step *step)
{
    const struct rig_vectored *vectored = &step->vectored;
    return step->outcome.handler_runs == vectored->due_count &&
           memcmp(vectored->asked, vectored->due, vectored->due_count) == 0;
}

/* The call returns, and no filter was asked. */
static bool went_on(const struct rig_step *step)
{
    return !step->outcome.raised && step->outcome.value == 1 && step->outcome.filter_runs == 0;
}

static DWORD count_given(const struct rig_step *step)
{
    if (step->raise_null) {
        return 0;
    }
    return step->raise_count < EXCEPTION_MAXIMUM_PARAMETERS ? step->raise_count
                                                            : EXCEPTION_MAXIMUM_PARAMETERS;
}

static bool arguments_are_there(const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    if (record->NumberParameters != count_given(step)) {
        return false;
    }
    for (DWORD idx = 0; idx < record->NumberParameters; idx++) {
        if (record->ExceptionInformation[idx] != step->raise_arguments[idx]) {
            return false;
        }
    }
    return true;
}

void rig_rules_raise(struct rig_judge *judge, const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    const bool raised = rig_raised_any(step);
    const bool plain = raised && !replaced(step);
    const DWORD marks = EXCEPTION_NONCONTINUABLE;
    const bool goes_on = handler_continued(step) && !replaced(step);
    CLAUSE(SEH_01, !goes_on, raised);
    CLAUSE(D109, step->vectored.due_count > 0, asked_as_due(step) && (!goes_on || went_on(step)));
    CLAUSE(SEH_02, raised && step->context == RIG_CONTEXT_FILTER,
           step->outcome.raised && step->outcome.filter_runs == 1);
    CLAUSE(SEH_03, plain, record->ExceptionCode == (step->code & ~RESERVED_CODE_BIT));
    CLAUSE(SEH_04, raised,
           replaced(step) ? record->ExceptionCode == STATUS_NONCONTINUABLE_EXCEPTION &&
                                (record->ExceptionFlags & marks) != 0
                          : (record->ExceptionFlags & marks) == step->raise_flags);
    CLAUSE(SEH_08, plain, arguments_are_there(step));
    CLAUSE(SEH_09, plain, record->ExceptionRecord == NULL);
    CLAUSE(SEH_10, raised, record->ExceptionAddress != NULL);
}

/* 64 at a time, all of them asked; what is no handler cannot be added, nor what is none be removed. */
void rig_rules_vectored(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_vectored *vectored = &step->vectored;
    if (vectored->crowded) {
        CLAUSE(D110, true,
               vectored->crowd + vectored->handlers == HANDLERS_MAX &&
                   vectored->crowd_asked == vectored->crowd &&
                   step->outcome.handler_runs == vectored->handlers &&
                   vectored->crowd_removed == vectored->crowd);
        return;
    }
    CLAUSE(D110, true,
           (step->outcome.value != 0) == !vectored->nobody && !vectored->removed_again &&
               !step->outcome.raised);
}

/* ---- RtlNtStatusToDosError ---- */

static DWORD error_of(uint32_t status)
{
    switch (status) {
    case STATUS_SUCCESS:
        return 0;
    case STATUS_NO_MORE_ENTRIES:
        return 259;
    case STATUS_UNSUCCESSFUL:
        return 31;
    case STATUS_INFO_LENGTH_MISMATCH:
        return 24;
    case STATUS_ACCESS_VIOLATION:
        return 998;
    case STATUS_INVALID_HANDLE:
        return 6;
    case STATUS_INVALID_PARAMETER:
        return 87;
    case STATUS_NO_MEMORY:
        return 8;
    case STATUS_BUFFER_TOO_SMALL:
        return 122;
    case STATUS_RESOURCE_NOT_OWNED:
        return 288;
    default:
        return 317;
    }
}

void rig_rules_dos_error(struct rig_judge *judge, const struct rig_step *step)
{
    CLAUSE(D77, true, !step->outcome.raised && step->outcome.value == error_of(step->code));
}

/* ---- Critical sections ---- */

/* Every entry counts, and every leaving. */
static bool section_counted(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_SECTION_ENTER:
    case RIG_OP_SECTION_TRY:
        return step->section_after == step->section_before + 1;
    case RIG_OP_SECTION_LEAVE:
        return step->section_after == step->section_before - 1;
    default:
        return true;
    }
}

/* They are this thread's or nobody's: nothing stands in the way of entering, and leaving or
 * deleting does no harm. */
void rig_rules_section(struct rig_judge *judge, const struct rig_step *step)
{
    /* A lock table that refuses is told of by the section that wanted a lock. */
    const bool refused = step->op == RIG_OP_SECTION_INIT && rig_refused(step);
    CLAUSE(D79, refused, rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(D79, !refused,
           !rig_raised_any(step) && step->outcome.value != 0 && section_counted(step));
}
