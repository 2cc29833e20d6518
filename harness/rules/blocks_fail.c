/* SPDX-License-Identifier: MIT
 *
 * Rules on allocating and reallocating that fails: why, in what form, and that nothing else
 * happened. */
#include "blocks.h"

static bool a_shortage(const struct rig_step *step)
{
    return step->expect == RIG_EXPECT_BLOCK;
}

static bool one_of_three(const struct rig_step *step)
{
    return rig_raised(step, STATUS_NO_MEMORY) || rig_raised(step, STATUS_ACCESS_VIOLATION) ||
           rig_raised(step, STATUS_BUFFER_TOO_SMALL);
}

/* The old block of a reallocation; for an allocation there is none. */
static bool old_whole(const struct rig_step *step)
{
    return step->op != RIG_OP_REALLOC ||
           (step->sight.spoilt_at == RIG_NO_OFFSET &&
            (!step->sight.old_size_known ||
             step->sight.old_size_now == step->block_before.size_bytes));
}

static bool others_whole(const struct rig_step *step)
{
    return step->sight.others_spoilt == 0;
}

/* ---- RtlAllocateHeap ---- */

static void rules_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const bool on_call = (step->flags & HEAP_GENERATE_EXCEPTIONS) != 0;
    const bool on_heap = (step->heap_before.flags & HEAP_GENERATE_EXCEPTIONS) != 0;
    const bool ours = !step->outcome.routine_raised;
    const bool raised = rig_raised_itself(step);
    CLAUSE(ALLOC_04, ours && !on_call && !on_heap, !raised);
    CLAUSE(ALLOC_07, ours && on_call != on_heap, raised);
    CLAUSE(ALLOC_08, ours && on_call, raised);
    CLAUSE(ALLOC_09, ours && on_heap && !on_call, raised);
    CLAUSE(ALLOC_18, raised && a_shortage(step), rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(ALLOC_22, raised && a_shortage(step) && rig_refused(step),
           !rig_raised(step, STATUS_ACCESS_VIOLATION) && rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(ALLOC_23, ours && !on_call && !on_heap, !raised);
    CLAUSE(ALLOC_43, true, rig_error_untouched(step));
    CLAUSE(ALLOC_44, step->sight.others_seen > 0, others_whole(step));
}

/* ---- HeapAlloc ---- */

static void rules_win32(struct rig_judge *judge, const struct rig_step *step)
{
    const bool on = rig_exceptions_on(step);
    const bool ours = !step->outcome.routine_raised;
    const bool raised = rig_raised_itself(step);
    CLAUSE(HALLOC_04, ours && on, raised);
    CLAUSE(HALLOC_10, ours && !on, !raised);
    CLAUSE(HALLOC_11, ours && on, one_of_three(step));
    CLAUSE(HALLOC_13, raised && a_shortage(step), rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(HALLOC_15, true, rig_error_untouched(step));
}

/* ---- HeapReAlloc ---- */

static void rules_resize(struct rig_judge *judge, const struct rig_step *step)
{
    const bool on = rig_exceptions_on(step);
    const bool ours = !step->outcome.routine_raised;
    const bool raised = rig_raised_itself(step);
    const bool kept = step->block_before.size_bytes > 0;
    if (step->win32) {
        CLAUSE(HREALLOC_04, ours && on, raised);
        CLAUSE(HREALLOC_15, ours && !on, !raised);
        CLAUSE(HREALLOC_16, ours && on, one_of_three(step));
        CLAUSE(HREALLOC_18, true, rig_error_untouched(step));
    }
    CLAUSE(HREALLOC_07, kept && rig_in_place(step), old_whole(step));
    CLAUSE(HREALLOC_20, kept, old_whole(step));
    CLAUSE(HREALLOC_27, kept && rig_refused(step), old_whole(step));
    CLAUSE(D45, rig_in_place(step) && a_shortage(step),
           step->size_bytes > step->block_before.size_bytes &&
               (rig_refused(step) ||
                !rig_fits(step, step->block_before.size_bytes + step->room.behind_bytes)) &&
               rig_failed_with(step, STATUS_NO_MEMORY) && old_whole(step));
}

/* ---- All three ---- */

/* The filter's small block is only sure where it is not memory that is short. */
static bool could_serve_filter(const struct rig_step *step)
{
    return step->context == RIG_CONTEXT_FILTER && !a_shortage(step) && !rig_refused(step) &&
           step->heap_before.growable && step->heap_before.allocation_max_bytes >= RIG_FILTER_BYTES;
}

static void rules_exception(struct rig_judge *judge, const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    const bool raised = rig_raised_itself(step);
    const bool continued = step->context == RIG_CONTEXT_CONTINUE && step->outcome.filter_runs > 0;
    CLAUSE(SEH_05, raised && continued && (record->ExceptionFlags & EXCEPTION_NONCONTINUABLE) == 0,
           !step->outcome.raised);
    CLAUSE(SEH_07, raised, record->NumberParameters <= EXCEPTION_MAXIMUM_PARAMETERS);
    CLAUSE(SEH_13, rig_raised_any(step) && step->lock_known, !step->lock_left);
    CLAUSE(SEH_16, raised, record->ExceptionCode >> 30 == 3);
    CLAUSE(D7, raised,
           record->ExceptionFlags == 0 && record->ExceptionRecord == NULL &&
               record->NumberParameters == 1 &&
               record->ExceptionInformation[0] == step->size_bytes &&
               (!could_serve_filter(step) || step->outcome.filter_used_heap));
}

void rig_rules_fail(struct rig_judge *judge, const struct rig_step *step)
{
    const bool many = step->op == RIG_OP_MULTI_ALLOC;
    const bool empty = many && step->many_count == 0;
    const bool failed = rig_failed(step);
    CLAUSE(D5, step->expect == RIG_EXPECT_TOO_SMALL && !empty,
           failed && rig_failed_with(step, STATUS_BUFFER_TOO_SMALL));
    CLAUSE(D41, step->expect == RIG_EXPECT_NO_MEMORY && !empty,
           failed && rig_failed_with(step, STATUS_NO_MEMORY));
    CLAUSE(LASTERR_02, !many && step->win32, rig_error_untouched(step));
    CLAUSE(D8, !many, rig_error_untouched(step));
    if (!failed) {
        CLAUSE(D2, true, !rig_raised_any(step));
        return;
    }
    if (step->op == RIG_OP_REALLOC) {
        rules_resize(judge, step);
    } else if (!many && step->win32) {
        rules_win32(judge, step);
    } else if (!many) {
        rules_rtl(judge, step);
    }
    CLAUSE(D2, true, rig_failed_in_form(step));
    CLAUSE(D36, a_shortage(step) && !rig_in_place(step),
           !rig_must_succeed(step) && rig_failed_with(step, STATUS_NO_MEMORY));
    rules_exception(judge, step);
}
