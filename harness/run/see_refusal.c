/* SPDX-License-Identifier: MIT
 *
 * Plans of a run: setting them, and what a refusal leaves behind. Around the call that a plan
 * strikes all heaps are walked, locks counted and accounts compared; a record that failed by it is
 * looked at in whole and made once more. All of it is asked aside. */
#include "exec_internal.h"

#define WALK_COUNT_MAX 100000u
#define OWN_LOOKS 16u /* calls to look at for one plan of a program */
#define DIGEST_FIRST 0xCBF29CE484222325ull

/* ---- Setting plans -------------------------------------------------------------------------- */

void rig_exec_plan(struct rig_exec *exec, const struct fault_plan *plan, uint32_t look)
{
    static const struct fault_plan none;
    exec->planning.over = plan == NULL ? none : *plan;
    exec->planning.look = look;
}

/* Nothing is refused: the run remembers how its records end. */
static bool counts_only(const struct rig_exec *exec)
{
    return exec->planning.over.kind == FAULT_PLAN_NTH && exec->planning.over.n == 0;
}

void rig_plans_begin(struct rig_exec *exec)
{
    struct rig_planning *planning = &exec->planning;
    planning->own = 0;
    planning->own_plan = (struct fault_plan){0};
    planning->calls = 0;
    planning->sounded_count = 0;
    planning->crowd_heaps = 0;
    planning->again = false;
    planning->again_known = false;
    planning->refused_idx = 0;
    if (planning->over.kind != FAULT_PLAN_NONE && exec->subject->plan_over != NULL) {
        exec->subject->plan_over(&planning->over);
    }
    if (counts_only(exec)) {
        memset(planning->served, 0, sizeof(planning->served));
    }
}

uint32_t rig_exec_plan_call(const struct rig_exec *exec, uint64_t number)
{
    const struct rig_planning *planning = &exec->planning;
    uint32_t low = 0;
    uint32_t high = planning->calls < RIG_STARTS_MAX ? planning->calls : RIG_STARTS_MAX;
    if (planning->calls > RIG_STARTS_MAX) {
        return RIG_LOOK_ALWAYS;
    }
    while (low < high) { /* the first call that begins with that many made */
        const uint32_t middle = low + (high - low) / 2;
        if (planning->starts[middle] < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

/* Kinds whose refusals are looked at: the others strike often, or nobody. */
static bool worth_looking(unsigned kind)
{
    return kind == FAULT_PLAN_NTH || kind == FAULT_PLAN_FROM || kind == FAULT_PLAN_BURST ||
           kind == FAULT_PLAN_LARGEST || kind == FAULT_PLAN_PATH || kind == FAULT_PLAN_ELSEWHERE;
}

void rig_plan_set(struct rig_exec *exec, const struct fault_plan *plan)
{
    exec->subject->plan(plan);
    exec->planning.own_plan = *plan;
    exec->planning.own = worth_looking(plan->kind) ? OWN_LOOKS : 0;
}

void rig_plans_of_program(struct rig_exec *exec)
{
    struct fault_plan plan;
    const uint8_t planned = exec->program->flags & (RIG_PROGRAM_PLAN | RIG_PROGRAM_VERIFY);
    if (planned == RIG_PROGRAM_PLAN && exec->subject->plan != NULL &&
        fault_plan_from_bytes(&plan, exec->program->plan) && rig_plan_skipped(&plan) == NULL &&
        plan.kind != FAULT_PLAN_CROWD) {
        rig_plan_set(exec, &plan);
    }
}

/* ---- Around a call -------------------------------------------------------------------------- */

static bool looks_at(const struct rig_exec *exec)
{
    const struct rig_planning *planning = &exec->planning;
    if (planning->own > 0 && rig_may_look(exec)) {
        return true;
    }
    return planning->over.kind != FAULT_PLAN_NONE && !counts_only(exec) &&
           (planning->look == RIG_LOOK_ALWAYS || planning->look == planning->calls);
}

static uint64_t mixed(uint64_t digest, uint64_t more)
{
    return (digest ^ more) * 0x100000001B3ull;
}

struct sounding {
    struct rig_exec *exec;
    struct rig_shown *shown;
    bool whole;
};

static void sound_summary(struct sounding *sounding, HANDLE heap)
{
    const struct rig_subject *subject = sounding->exec->subject;
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    if (subject->HeapSummary == NULL || !subject->HeapSummary(heap, 0, &summary)) {
        return;
    }
    sounding->shown->digest = mixed(sounding->shown->digest, summary.cbAllocated);
    sounding->shown->committed_bytes += summary.cbCommitted;
    sounding->shown->reserved_bytes += summary.cbReserved;
}

/* Live blocks. A heap that is short of memory looks for it in what it has free first, and that may
 * come together or go back (D82). */
static void sound_element(struct sounding *sounding, const PROCESS_HEAP_ENTRY *entry)
{
    struct rig_shown *shown = sounding->shown;
    if ((entry->wFlags & PROCESS_HEAP_ENTRY_BUSY) == 0) {
        return;
    }
    shown->digest = mixed(shown->digest, (uintptr_t)entry->lpData);
    shown->digest = mixed(shown->digest, entry->cbData);
    shown->digest = mixed(shown->digest, (uint64_t)entry->wFlags << 8 | entry->cbOverhead);
}

static void sound_heap(struct sounding *sounding, HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry;
    memset(&entry, 0, sizeof(entry));
    for (size_t count = 0; count < WALK_COUNT_MAX; count++) {
        if (!sounding->exec->subject->HeapWalk(heap, &entry)) {
            sound_summary(sounding, heap);
            return;
        }
        sounding->exec->planning.sounded_count++;
        sound_element(sounding, &entry);
    }
    sounding->whole = false;
}

/* The last error is the program's. */
static void sound(void *context)
{
    struct sounding *sounding = context;
    struct rig_exec *exec = sounding->exec;
    const struct rig_subject *subject = exec->subject;
    const DWORD error = subject->GetLastError == NULL ? 0 : subject->GetLastError();
    sounding->whole = true;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &exec->shadow.heaps[idx];
        if (heap->live && heap->handle != NULL) {
            sounding->shown->heap_count++;
            sounding->shown->digest = mixed(sounding->shown->digest, idx);
            sound_heap(sounding, heap->handle);
        }
    }
    if (subject->SetLastError != NULL) {
        subject->SetLastError(error);
    }
}

/* Heaps that were damaged on purpose are not asked. */
static bool all_heaps(struct rig_exec *exec, struct rig_shown *shown)
{
    struct sounding sounding = {exec, shown, false};
    bool damaged = false;
    *shown = (struct rig_shown){.digest = DIGEST_FIRST};
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        damaged = damaged || exec->damaged[idx];
    }
    if (damaged || exec->subject->HeapWalk == NULL || !rig_call_aside(exec, sound, &sounding)) {
        return false;
    }
    return sounding.whole;
}

static struct rig_refusals refusals_so_far(const struct rig_exec *exec)
{
    struct rig_refusals refusals = {0};
    if (exec->subject->refused != NULL) {
        exec->subject->refused(&refusals);
    }
    return refusals;
}

bool rig_may_commit(const struct rig_exec *exec)
{
    const uint64_t most = exec->options.commit_max;
    return most == 0 || refusals_so_far(exec).commit_bytes < most;
}

void rig_refusal_before(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_refusal *refusal = &step->refusal;
    struct rig_planning *planning = &exec->planning;
    const bool looks = looks_at(exec);
    if (counts_only(exec) && planning->calls < RIG_STARTS_MAX) {
        planning->starts[planning->calls] = (uint32_t)refusals_so_far(exec).call_count;
    }
    planning->calls++;
    if (exec->subject->calling != NULL) {
        exec->subject->calling(step->call);
    }
    if (!looks) {
        return;
    }
    planning->own -= planning->own > 0;
    refusal->known = true;
    refusal->sounded = all_heaps(exec, &refusal->before);
    refusal->kept_count = refusals_so_far(exec).kept_count;
    refusal->lie_count = refusals_so_far(exec).lie_count;
    refusal->over_count = refusals_so_far(exec).over_count;
    refusal->locks_known = exec->subject->locks_held != NULL;
    refusal->locks_before = refusal->locks_known ? exec->subject->locks_held() : 0;
}

/* In the call's own form: what it would have given is not there. */
static bool failed(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_MULTI_ALLOC:
        return step->outcome.value < step->many_count;
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
    case RIG_OP_CREATE:
    case RIG_OP_FREE:
    case RIG_OP_PROCESS_HEAP:
        return step->outcome.value == 0;
    default:
        return step->outcome.raised || step->outcome.filter_runs > 0;
    }
}

static void see_accounts(const struct rig_exec *exec, struct rig_refusal *refusal, uint64_t lies)
{
    const struct rig_subject *subject = exec->subject;
    refusal->held_known = subject->holdings != NULL && subject->granted != NULL && lies == 0;
    if (refusal->held_known) {
        refusal->held = subject->holdings();
        refusal->granted = subject->granted();
    }
}

void rig_refusal_after(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_refusal *refusal = &step->refusal;
    const bool refused = step->outcome.refusals > 0 || step->outcome.starved;
    refusal->known = refusal->known && refused;
    if (!refusal->known) {
        return;
    }
    const struct rig_refusals now = refusals_so_far(exec);
    refusal->failed = failed(step);
    refusal->sounded = refusal->sounded && all_heaps(exec, &refusal->after);
    refusal->kept_count = now.kept_count - refusal->kept_count;
    refusal->lie_count = now.lie_count - refusal->lie_count;
    refusal->over_count = now.over_count - refusal->over_count;
    refusal->site = now.site;
    refusal->call = now.call;
    refusal->locks_after = refusal->locks_known ? exec->subject->locks_held() : 0;
    see_accounts(exec, refusal, now.lie_count);
}

/* ---- A record ------------------------------------------------------------------------------- */

/* What a creation gathers is used up by it, even when it fails. */
void rig_plans_record(struct rig_exec *exec)
{
    struct rig_planning *planning = &exec->planning;
    if (planning->over.kind != FAULT_PLAN_NONE || planning->own_plan.kind == FAULT_PLAN_NTH) {
        planning->parameters = exec->parameters;
        planning->has_parameters = exec->has_parameters;
        planning->last_bytes = exec->last_bytes;
    }
}

/* Operations that may be made again after a failure: they come to what they would have come to. */
static bool repeatable(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_MULTI_ALLOC:
        return step->outcome.value == 0;
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
    case RIG_OP_CREATE:
    case RIG_OP_PROCESS_HEAP:
    case RIG_OP_SECTION_INIT:
        return true;
    default:
        return false;
    }
}

static bool make_again(struct rig_exec *exec, uint32_t idx, bool known)
{
    struct rig_planning *planning = &exec->planning;
    exec->parameters = planning->parameters;
    exec->has_parameters = planning->has_parameters;
    exec->last_bytes = planning->last_bytes;
    planning->again = true;
    planning->again_known = known;
    const bool held = rig_run_record(exec, &exec->program->records[idx], idx);
    planning->again = false;
    planning->again_known = false;
    return held;
}

/* Without the refusal it would have been served, whatever else there is: known of a heap that
 * grows. */
static bool served_but_for_it(const struct rig_step *step)
{
    const bool block = step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC;
    return block && step->heap->growable && step->expect == RIG_EXPECT_BLOCK &&
           (step->flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0;
}

/* The plan that struck strikes once, and what it struck is to be made again. */
static bool again_after(const struct rig_exec *exec, const struct rig_step *step, bool *known,
                        uint32_t idx)
{
    const struct rig_planning *planning = &exec->planning;
    if (step->refusal.over_count > 0) {
        *known = planning->served[idx];
        return planning->over.kind == FAULT_PLAN_NTH;
    }
    *known = served_but_for_it(step);
    return planning->own_plan.kind == FAULT_PLAN_NTH && planning->own_plan.count != 0;
}

bool rig_plans_settle(struct rig_exec *exec, uint32_t idx)
{
    struct rig_planning *planning = &exec->planning;
    if (counts_only(exec)) {
        planning->served[idx] =
            !exec->step.nothing && repeatable(&exec->step) && !failed(&exec->step);
    }
    if (exec->step.nothing || !exec->step.refusal.known) {
        return true;
    }
    bool known = false;
    const bool again = again_after(exec, &exec->step, &known, idx);
    const bool struck = exec->step.refusal.over_count > 0;
    const bool repeat = exec->step.refusal.failed && repeatable(&exec->step);
    exec->step.idx = idx;
    if (!rig_check_all(exec, RIG_PHASE_CHECK)) {
        return false;
    }
    if (repeat && !again && struck && planning->refused_idx == 0) {
        planning->refused_idx = idx + 1;
    }
    return !repeat || !again || make_again(exec, idx, known);
}

bool rig_plans_end(struct rig_exec *exec)
{
    struct rig_planning *planning = &exec->planning;
    const struct rig_subject *subject = exec->subject;
    const uint32_t idx = exec->step.idx;
    if (subject->plan != NULL && exec->program != NULL) {
        subject->plan(NULL);
    }
    planning->own = 0;
    if (planning->over.kind == FAULT_PLAN_NONE || counts_only(exec) || subject->plan_over == NULL ||
        refusals_so_far(exec).over_count == 0) {
        return true; /* it may strike at the end */
    }
    subject->plan_over(NULL);
    planning->look = 0;
    if (planning->refused_idx == 0) {
        return true;
    }
    const bool held = make_again(exec, planning->refused_idx - 1, false);
    exec->step.idx = idx;
    return held;
}

/* ---- After the reset ------------------------------------------------------------------------ */

bool rig_plans_given_back(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    struct rig_step *step = &exec->step;
    static const struct rig_record blank;
    if (subject->holdings == NULL) {
        return true;
    }
    const struct rig_holdings left = subject->holdings();
    /* Of a run that nobody judges it is a bug of the rig, as of one whose process has ended. */
    RIG_CHECK((exec->options.judge && !exec->ended) || left.reservation_count == 0);
    if (exec->ended || (rig_holds_nothing(&left) && exec->planning.over.kind == FAULT_PLAN_NONE)) {
        return true; /* a run without a plan tells of it where there is something to tell */
    }
    const uint32_t idx = step->idx;
    memset(step, 0, sizeof(*step));
    step->idx = idx;
    step->phase = RIG_PHASE_END;
    step->op = RIG_OP_PLAN;
    step->call = "reset";
    step->named = true;
    step->record = &blank;
    rig_call(exec, step, rig_see_held);
    return rig_judge(exec, step);
}
