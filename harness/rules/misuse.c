/* SPDX-License-Identifier: MIT
 *
 * Rules on misuse: the call refuses in its own form, for the reason that is ruled, and nothing else
 * happens. What is due follows from the row of the catalogue and the form of the call; the clause
 * that the row names is judged by all of it, and those below by their own part. */
#include "misuse.h"
#include "facts.h"

#include "faults/catalog.h"

#include <string.h>

/* The clause of each row. */
static const enum rig_clause sources[] = {
#define FAULT_MISUSE(id, name, need, pointer, into, calls, form, reason, source, control, what)    \
    RIG_CLAUSE_##source,
#include "faults/catalog_misuse.def"
};

/* ---- What is due ---- */

static bool is_good_handle(const struct rig_step *step)
{
    return step->heap != NULL && step->bad.handle == step->heap_before.handle;
}

/* D2: for a bad handle the call's flags alone. */
static bool must_raise(const struct rig_step *step)
{
    const ULONG own = is_good_handle(step) ? step->heap_before.flags : 0;
    return step->misuse->form == FAULT_FORM_RAISED ||
           (step->bad.call->raises && ((own | step->flags) & HEAP_GENERATE_EXCEPTIONS) != 0);
}

static uintptr_t value_due(const struct rig_step *step)
{
    const enum fault_form form = step->misuse->form;
    const bool succeeds = form == FAULT_FORM_SUCCESS;
    switch (step->bad.call->value) {
    case FAULT_VALUE_STATUS:
        return fault_form_info(form)->status;
    case FAULT_VALUE_COUNT:
        return succeeds ? step->many_count : form == FAULT_FORM_PLACE ? 0 : step->bad.nulls;
    case FAULT_VALUE_ALL_ONES:
        return SIZE_MAX;
    case FAULT_VALUE_ITSELF:
        return (uintptr_t)step->bad.handle;
    case FAULT_VALUE_NOTHING:
        return 1;
    default:
        return succeeds ? 1 : 0;
    }
}

/* 0: it is left alone. */
static DWORD error_due(const struct rig_step *step)
{
    const bool handle = step->misuse->form == FAULT_FORM_HANDLE;
    switch (step->bad.call->error) {
    case FAULT_ERROR_CODE:
        return fault_form_info(step->misuse->form)->error;
    case FAULT_ERROR_PARAMETER:
        return handle ? ERROR_INVALID_PARAMETER : fault_form_info(step->misuse->form)->error;
    default:
        return 0;
    }
}

/* The address that an exception is about. */
static uintptr_t concerned(const struct rig_step *step)
{
    switch (step->misuse->form) {
    case FAULT_FORM_HANDLE:
    case FAULT_FORM_DAMAGED:
        return (uintptr_t)step->bad.handle;
    case FAULT_FORM_BLOCK:
        return (uintptr_t)step->bad.block;
    default:
        return (uintptr_t)step->passed;
    }
}

static bool wrote(const struct rig_step *step)
{
    return step->misuse->form == FAULT_FORM_RAISED || step->misuse->form == FAULT_FORM_PLACE;
}

/* ---- What came ---- */

static bool error_is_due(const struct rig_step *step)
{
    const DWORD due = error_due(step);
    const bool set = due != 0 && step->outcome.error_after == due;
    if (rig_raised_any(step)) { /* where a filter continued, the call may go on to set it */
        return rig_error_untouched(step) || set;
    }
    return due == 0 ? rig_error_untouched(step) : set;
}

static bool exception_is_due(const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    return rig_raised(step, STATUS_ACCESS_VIOLATION) && record->ExceptionFlags == 0 &&
           record->ExceptionRecord == NULL && record->NumberParameters == 2 &&
           record->ExceptionInformation[0] == (wrote(step) ? 1u : 0u) &&
           record->ExceptionInformation[1] == concerned(step);
}

static bool answer_is_due(const struct rig_step *step)
{
    if (!must_raise(step)) {
        return !rig_raised_any(step) && step->outcome.value == value_due(step);
    }
    /* Continued, it returns NULL; critical sections return nothing of theirs. */
    return exception_is_due(step) && (step->outcome.raised || step->outcome.value == 0 ||
                                      step->misuse->form == FAULT_FORM_RAISED);
}

static bool is_one_of(const char *reason, const char *const *reasons, size_t count)
{
    for (size_t idx = 0; idx < count; idx++) {
        if (strcmp(reason, reasons[idx]) == 0) {
            return true;
        }
    }
    return false;
}

static bool reason_is_due(const struct rig_step *step)
{
    static const char *const open[] = {"FOREIGN_POINTER", "WRONG_HEAP", "INTERIOR_POINTER"};
    const char *reason = step->outcome.report.reason;
    return reason != NULL &&
           (step->bad.open ? is_one_of(reason, open, 3) : strcmp(reason, step->bad.reason) == 0);
}

/* One report that names the call, the handle as given, and the block where it is the block's fault.
 */
static bool report_is_due(const struct rig_step *step)
{
    const struct rig_report *report = &step->outcome.report;
    const bool block = step->misuse->form == FAULT_FORM_BLOCK;
    if (step->bad.reason == NULL) {
        return step->outcome.reports == 0;
    }
    return step->outcome.reports == 1 && reason_is_due(step) && report->heap == step->bad.handle &&
           strcmp(report->call, step->call) == 0 &&
           report->block == (block ? step->bad.block : NULL);
}

static bool pages_kept(const struct rig_step *step)
{
    return !step->held_known || step->outcome.filter_runs > 0 ||
           memcmp(&step->held_before, &step->held_after, sizeof(step->held_before)) == 0;
}

/* Blocks, heap, pages, lock and the caller's structures are as they were. */
static bool unharmed(const struct rig_step *step)
{
    return step->bad.unharmed && step->sight.spoilt_at == RIG_NO_OFFSET &&
           step->sight.others_spoilt == 0 && pages_kept(step);
}

/* Left by the exception that came in its middle, unlocked, without a report. */
static bool interrupted(const struct rig_step *step)
{
    return rig_raised(step, RIG_INTERRUPT_CODE) && step->outcome.reports == 0 &&
           !(step->lock_known && step->lock_left) && step->sight.others_spoilt == 0;
}

static bool refused(const struct rig_step *step)
{
    if (step->misuse->form == FAULT_FORM_INTERRUPTED) {
        return interrupted(step);
    }
    return answer_is_due(step) && error_is_due(step) && report_is_due(step) && unharmed(step);
}

/* ---- By call ---- */

static bool is_call(const struct rig_step *step, enum fault_call call)
{
    return step->bad.call == fault_call_info(call);
}

static bool failed_loudly(const struct rig_step *step)
{
    return !step->outcome.raised && step->outcome.value == 0 && rig_error_set(step);
}

static bool is_unreadable(const struct rig_step *step)
{
    return step->misuse->pointer >= FAULT_POINTER_UNMAPPED &&
           step->misuse->pointer <= FAULT_POINTER_UNREADABLE &&
           step->misuse->pointer != FAULT_POINTER_READABLE;
}

static void rules_free(struct rig_judge *judge, const struct rig_step *step)
{
    const bool fails = step->misuse->form == FAULT_FORM_BLOCK;
    const bool win32 = is_call(step, FAULT_CALL_HeapFree);
    CLAUSE(RFREE_10, fails && is_call(step, FAULT_CALL_RtlFreeHeap), refused(step));
    CLAUSE(HFREE_09, win32 && step->misuse->form != FAULT_FORM_SUCCESS, failed_loudly(step));
    CLAUSE(HFREE_10, step->bad.of_freed, refused(step));
    CLAUSE(HFREE_14, win32 && step->bad.of_freed, refused(step));
    CLAUSE(HFREE_25, win32 && step->misuse->need == FAULT_NEED_OTHER_HEAP, refused(step));
}

static void rules_size(struct rig_judge *judge, const struct rig_step *step)
{
    const bool none = !step->outcome.raised && step->outcome.value == SIZE_MAX;
    CLAUSE(HFREE_13, step->bad.of_freed, refused(step));
    CLAUSE(HSIZE_02, true, none);
    CLAUSE(HSIZE_05, step->misuse->need == FAULT_NEED_OTHER_HEAP, refused(step));
    CLAUSE(HSIZE_08, step->bad.of_freed, refused(step));
    CLAUSE(HSIZE_10, is_unreadable(step) && step->misuse->into == FAULT_INTO_BLOCK, none);
}

static void rules_exception(struct rig_judge *judge, const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    const bool raised = rig_raised_any(step);
    const bool violation = rig_raised(step, STATUS_ACCESS_VIOLATION);
    CLAUSE(ALLOC_35, raised && must_raise(step) && step->heap != NULL, violation);
    CLAUSE(HALLOC_14, raised && is_call(step, FAULT_CALL_HeapAlloc), violation);
    CLAUSE(SEH_06, violation,
           record->NumberParameters >= 2 &&
               record->NumberParameters <= EXCEPTION_MAXIMUM_PARAMETERS &&
               record->ExceptionInformation[0] <= 1 &&
               record->ExceptionInformation[1] == concerned(step));
    CLAUSE(D6, must_raise(step) && step->bad.call->raises, exception_is_due(step));
}

static void rules_destroy(struct rig_judge *judge, const struct rig_step *step)
{
    const bool rtl = is_call(step, FAULT_CALL_RtlDestroyHeap);
    const bool win32 = is_call(step, FAULT_CALL_HeapDestroy);
    const bool process = step->misuse->need == FAULT_NEED_PROCESS_HEAP;
    const bool gone = step->misuse->pointer == FAULT_POINTER_GONE_HEAP;
    const bool failed =
        rtl ? step->outcome.value == (uintptr_t)step->bad.handle : step->outcome.value == 0;
    CLAUSE(DESTROY_03, gone || step->misuse->pointer == FAULT_POINTER_GONE_BLOCK, refused(step));
    CLAUSE(DESTROY_06, rtl, !step->outcome.raised && failed);
    CLAUSE(DESTROY_08, rtl, failed || rig_raised(step, STATUS_ACCESS_VIOLATION));
    CLAUSE(DESTROY_10, rtl && gone, refused(step));
    CLAUSE(HDESTROY_03, win32 && process, failed && step->bad.unharmed);
    CLAUSE(HDESTROY_05, win32, failed_loudly(step));
}

static void rules_look(struct rig_judge *judge, const struct rig_step *step)
{
    const bool walk = is_call(step, FAULT_CALL_HeapWalk);
    const bool no = !step->outcome.raised && step->outcome.value == 0;
    CLAUSE(WALK_12, walk && step->misuse->into == FAULT_INTO_ENTRY, no);
    CLAUSE(HVALID_14, is_call(step, FAULT_CALL_HeapValidate) && is_unreadable(step), no);
    CLAUSE(HCOMPACT_04, is_call(step, FAULT_CALL_HeapCompact), failed_loudly(step));
    CLAUSE(HLOCK_02, is_call(step, FAULT_CALL_HeapLock), failed_loudly(step));
    CLAUSE(HUNLOCK_02, is_call(step, FAULT_CALL_HeapUnlock), failed_loudly(step));
    CLAUSE(HUNLOCK_04,
           is_call(step, FAULT_CALL_HeapUnlock) && step->misuse->form == FAULT_FORM_OWNER, no);
}

void rig_rules_misuse(struct rig_judge *judge, const struct rig_step *step)
{
    const ptrdiff_t row = step->misuse - fault_misuse_info(0);
    rig_clause(judge, sources[row], refused(step));
    CLAUSE(ALLOC_20,
           is_call(step, FAULT_CALL_RtlAllocateHeap) && step->misuse->form == FAULT_FORM_HANDLE,
           step->outcome.value == 0 &&
               (!rig_raised_any(step) || rig_raised(step, STATUS_ACCESS_VIOLATION)));
    CLAUSE(HREALLOC_25, is_call(step, FAULT_CALL_HeapReAlloc) && step->bad.block == NULL,
           refused(step));
    CLAUSE(DISOWN_07, is_call(step, FAULT_CALL_RtlDisownModuleHeapAllocation),
           step->outcome.value == STATUS_SUCCESS && unharmed(step));
    CLAUSE(SEH_13, rig_raised_any(step) && step->lock_known, !step->lock_left);
    if (step->misuse->form == FAULT_FORM_INTERRUPTED) {
        return;
    }
    if ((step->bad.call->sets & (FAULT_SET_FREE | FAULT_SET_RESIZE | FAULT_SET_MANY_FREE)) != 0) {
        rules_free(judge, step);
    }
    if (is_call(step, FAULT_CALL_HeapSize)) {
        rules_size(judge, step);
    }
    rules_exception(judge, step);
    rules_destroy(judge, step);
    rules_look(judge, step);
}
