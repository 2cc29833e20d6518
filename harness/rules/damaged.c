/* SPDX-License-Identifier: MIT
 *
 * Rules on damage. Where it is written it must be stopped, or be nobody's business. On a heap whose
 * metadata was damaged on purpose a call either does all that it would do on a sound heap, and then
 * the other rules hold, or it makes a report and refuses in its own form. What is neither is silent
 * damage. Who has to notice at the latest makes a report, for a promised reason. */
#include "facts.h"

#include "damaged.h"

#include "faults/damage.h"

/* D10: how a call that notices damage fails. Looks that are several calls in one have no one form.
 */
static bool refused(const struct rig_step *step)
{
    const bool no = !step->outcome.raised && step->outcome.value == 0;
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
    case RIG_OP_MULTI_ALLOC:
        return rig_failed(step) && rig_failed_with(step, STATUS_ACCESS_VIOLATION);
    case RIG_OP_MULTI_FREE:
        return !step->outcome.raised && step->outcome.value < step->many_count;
    case RIG_OP_FREE:
    case RIG_OP_VALIDATE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_VALIDATE_ALL:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
    case RIG_OP_SUMMARY:
        return no;
    case RIG_OP_SIZE:
        return !step->outcome.raised && step->outcome.value == SIZE_MAX;
    case RIG_OP_ZERO:
        return !step->outcome.raised &&
               (NTSTATUS)step->outcome.value == (NTSTATUS)STATUS_HEAP_CORRUPTION;
    case RIG_OP_QUERY:
    case RIG_OP_SET:
        return step->win32 ? no
                           : !step->outcome.raised &&
                                 (NTSTATUS)step->outcome.value == (NTSTATUS)STATUS_HEAP_CORRUPTION;
    case RIG_OP_COMPACT:
        return step->phase == RIG_PHASE_END || no;
    default:
        return !step->outcome.raised;
    }
}

/* D10: one call, one report. */
static bool once(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
    case RIG_OP_FREE:
    case RIG_OP_SIZE:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
    case RIG_OP_VALIDATE:
    case RIG_OP_SUMMARY:
    case RIG_OP_ZERO:
    case RIG_OP_QUERY:
    case RIG_OP_SET:
        return step->outcome.reports <= 1 + step->outcome.reentries;
    default:
        return true; /* several calls, or several heaps */
    }
}

/* ---- Where damage is written ---- */

static bool stopped(const struct rig_step *step)
{
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    return step->outcome.raised && record->ExceptionCode == STATUS_ACCESS_VIOLATION &&
           record->NumberParameters == 2 &&
           record->ExceptionInformation[0] == EXCEPTION_WRITE_FAULT &&
           record->ExceptionInformation[1] == step->damaged_at;
}

void rig_rules_damage(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->op != RIG_OP_DAMAGE || step->skipped != NULL) {
        return;
    }
    const bool nowhere = step->damage->notice == FAULT_NOTICE_CALL && step->damaged_at != 0;
    CLAUSE(D87, step->damage_looked && step->damaged.name == NULL,
           step->valid && step->outcome.reports == 0);
    CLAUSE(D88, nowhere, stopped(step) && step->outcome.reports == 0);
    CLAUSE(D81, !nowhere && step->outcome.raised, false);
}

/* ---- What comes of it ---- */

/* Of validating an address, FALSE is the notice: one that starts no block is no report (D76). That
 * a CommitRoutine called its own heap is reported too, which is D17's. */
static bool noticed(const struct rig_step *step)
{
    return step->outcome.reports > step->outcome.reentries ||
           (step->op == RIG_OP_VALIDATE_BLOCK && (step->damage_due || step->promised_count == 0) &&
            refused(step));
}

/* Nothing was promised for damage that others did. A misuse has its own reasons, and so has a
 * routine that calls its own heap. */
static bool promised(const struct rig_step *step)
{
    const char *reason = step->outcome.report.reason;
    bool found = step->promised_count == 0 || step->op == RIG_OP_MISUSE ||
                 step->outcome.reports == 0 || step->promised_count == RIG_PROMISED_MAX ||
                 (step->outcome.reentries > 0 && fault_reason_is_of("REENTERED", reason));
    for (unsigned idx = 0; !found && idx < step->promised_count; idx++) {
        found = fault_reason_is_of(step->promised[idx], reason);
    }
    return found;
}

static bool of_heap(const struct rig_step *step)
{
    return step->heap == NULL || step->handle_null || step->outcome.reports == 0 ||
           step->outcome.report.heap == step->heap_before.handle;
}

/* Contents are the application's: no damage of metadata spoils them, and no report excuses it. */
static bool unharmed(const struct rig_step *step)
{
    return !step->sight.overlaps && step->spoilt_count == 0 &&
           (step->sight.kept_bytes == 0 || step->sight.spoilt_at == RIG_NO_OFFSET);
}

/* First of all it was silent, then what it broke. */
static void put_first(struct rig_judge *judge)
{
    const enum rig_clause last = judge->broken[judge->broken_count - 1];
    for (unsigned idx = judge->broken_count - 1; idx > 0; idx--) {
        judge->broken[idx] = judge->broken[idx - 1];
    }
    judge->broken[0] = last;
}

static void judge_damaged(struct rig_judge *judge, const struct rig_step *step)
{
    if (noticed(step)) {
        const bool as_said = promised(step) && of_heap(step);
        judge->broken_count = 0;
        CLAUSE(D10, step->op != RIG_OP_MISUSE, refused(step) && once(step));
        CLAUSE(ALLOC_19, step->op == RIG_OP_ALLOC && !step->win32, refused(step));
        CLAUSE(HALLOC_12, step->op == RIG_OP_ALLOC && step->win32, refused(step));
        CLAUSE(D86, step->damage_due || !as_said, as_said);
        CLAUSE(D111, step->forgery_due, as_said);
        CLAUSE(D81, true, unharmed(step));
        return;
    }
    const bool harmless = judge->broken_count == 0;
    /* Without the process heap, which could not be had, no heap of the process is looked at. */
    const bool looked = step->op != RIG_OP_VALIDATE_ALL || !rig_refused(step);
    CLAUSE(D111, step->forgery_due && looked, false);
    CLAUSE(D86, step->damage_due && looked, false);
    CLAUSE(HVALID_02,
           step->op == RIG_OP_VALIDATE_BLOCK && step->win32 && step->promised_count > 0 &&
               !step->damage_due,
           rig_said_yes(step));
    CLAUSE(D81, true, harmless);
    if (!harmless && judge->broken_count > 1) {
        put_first(judge);
    }
}

void rig_rules_damaged(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->op != RIG_OP_DAMAGE) {
        judge->step_idx--; /* the step was counted when the other rules were done */
        judge_damaged(judge, step);
        judge->step_idx++;
    }
}
