/* SPDX-License-Identifier: MIT
 *
 * What rules ask about a step, in one form for both spellings. */
#ifndef RIG_RULES_FACTS_H
#define RIG_RULES_FACTS_H

#include "judge.h"

#define RIG_ALIGN_BYTES (sizeof(void *) == 8 ? 16u : 8u)

/* HEAP_GENERATE_EXCEPTIONS is in force: on the heap or on the call. */
static inline bool rig_exceptions_on(const struct rig_step *step)
{
    return ((step->flags | step->heap_before.flags) & HEAP_GENERATE_EXCEPTIONS) != 0;
}

/* Calls that return a pointer or a count: nothing came back, whether by NULL, by an exception, or by
 * one that the rig's filter continued. */
static inline bool rig_failed(const struct rig_step *step)
{
    return step->outcome.value == 0;
}

/* The rig's filter saw an exception and continued: the call returned after it. */
static inline bool rig_continued(const struct rig_step *step)
{
    return step->context == RIG_CONTEXT_CONTINUE && step->outcome.filter_runs > 0;
}

/* An exception was raised, whether or not it unwound the call; with that code. */
static inline bool rig_raised_any(const struct rig_step *step)
{
    return step->outcome.raised || rig_continued(step);
}

static inline bool rig_raised(const struct rig_step *step, DWORD code)
{
    return rig_raised_any(step) && step->outcome.exception.ExceptionCode == code;
}

/* The page source refused, or a CommitRoutine failed, in this very call. */
static inline bool rig_refused(const struct rig_step *step)
{
    return step->outcome.refusals > 0 || step->outcome.starved;
}

static inline bool rig_error_untouched(const struct rig_step *step)
{
    return step->outcome.error_after == step->outcome.error_before;
}

/* Calls that say yes or no: TRUE from Win32, TRUE or STATUS_SUCCESS from Rtl by `status`. */
static inline bool rig_said_yes(const struct rig_step *step)
{
    return !step->outcome.raised && step->outcome.value != 0;
}

/* Calls with a status in the Rtl spelling and a BOOL in the Win32 one (walk, query, set). */
static inline bool rig_succeeded(const struct rig_step *step)
{
    return !step->outcome.raised && (step->outcome.value != 0) == step->win32;
}

#endif
