/* SPDX-License-Identifier: MIT
 *
 * The loop of a sweep. Calls the executor. */
#include "exec_internal.h"

#include "sweep.h"

#define COUNTING_RUNS_MAX 4u
#define COMMIT_UNIT 4096u /* bytes; to commit and touch them takes about as long as a call */

struct sweeping {
    struct rig_exec *exec;
    const struct rig_program *program;
    const struct rig_sweep *sweep;
    struct rig_swept swept;
    bool over; /* no more runs */
};

static struct rig_refusals refusals(const struct rig_exec *exec)
{
    struct rig_refusals told = {0};
    exec->subject->refused(&told);
    return told;
}

static void found(struct sweeping *sweeping, const struct fault_plan *plan,
                  const struct rig_verdict *verdict)
{
    sweeping->swept.finding_count++;
    if (sweeping->sweep->found != NULL) {
        sweeping->sweep->found(sweeping->sweep->context, plan, verdict);
    }
}

static bool runs_left(const struct sweeping *sweeping)
{
    const uint32_t most = sweeping->sweep->runs_max;
    return !sweeping->over && (most == 0 || sweeping->swept.run_count < most);
}

static bool strikes_left(const struct sweeping *sweeping)
{
    const uint64_t most = sweeping->sweep->work_max;
    return runs_left(sweeping) && (most == 0 || sweeping->swept.work_count < most);
}

static uint64_t work_of(const struct rig_verdict *verdict, const struct rig_refusals *told)
{
    return verdict->call_count + told->last_call_count + told->last_commit_bytes / COMMIT_UNIT;
}

static void run_note(struct sweeping *sweeping, const struct rig_verdict *verdict,
                     const struct rig_refusals *told)
{
    sweeping->swept.run_count++;
    sweeping->swept.work_count += work_of(verdict, told);
}

/* One run without faults; false when a rule does not hold in it. */
static bool count(struct sweeping *sweeping, uint64_t *digest)
{
    static const struct fault_plan nothing = {.kind = FAULT_PLAN_NTH};
    rig_exec_plan(sweeping->exec, &nothing, 0);
    const struct rig_verdict verdict = rig_exec_run(sweeping->exec, sweeping->program);
    const struct rig_refusals told = refusals(sweeping->exec);
    run_note(sweeping, &verdict, &told);
    sweeping->swept.call_count = told.last_call_count;
    *digest = told.last_digest;
    if (verdict.found) {
        found(sweeping, &(struct fault_plan){0}, &verdict);
    }
    return !verdict.found;
}

static bool agree(struct sweeping *sweeping)
{
    uint64_t before = 0;
    uint64_t digest = 0;
    if (!count(sweeping, &before)) {
        return false;
    }
    for (unsigned idx = 1; idx < COUNTING_RUNS_MAX && runs_left(sweeping); idx++) {
        if (!count(sweeping, &digest)) {
            return false;
        }
        if (digest == before) {
            return true;
        }
        before = digest;
    }
    const struct rig_verdict none = {0};
    found(sweeping, &(struct fault_plan){0}, &none);
    return false;
}

/* True when the plan refused anything. */
static bool strike(struct sweeping *sweeping, enum fault_plan_kind kind, uint16_t number,
                   uint32_t look)
{
    const struct fault_plan plan = {.kind = (uint8_t)kind, .n = number};
    const struct rig_sweep *sweep = sweeping->sweep;
    if (sweep->next != NULL && !sweep->next(sweep->context, &plan)) {
        sweeping->over = true;
        return false;
    }
    rig_exec_plan(sweeping->exec, &plan, look);
    const struct rig_verdict verdict = rig_exec_run(sweeping->exec, sweeping->program);
    const struct rig_refusals told = refusals(sweeping->exec);
    const uint64_t refused = told.last_over_count;
    run_note(sweeping, &verdict, &told);
    sweeping->swept.refusal_count += refused;
    if (verdict.found) {
        found(sweeping, &plan, &verdict);
    }
    return refused > 0;
}

uint64_t rig_sweep_work(const struct rig_exec *exec, const struct rig_verdict *once)
{
    const struct rig_refusals told = refusals(exec);
    return work_of(once, &told);
}

struct rig_swept rig_sweep(struct rig_exec *exec, const struct rig_program *program,
                           const struct rig_sweep *sweep)
{
    struct sweeping sweeping = {.exec = exec, .program = program, .sweep = sweep};
    static uint32_t looks[UINT16_MAX];
    static bool wanted[UINT16_MAX];
    if (exec->subject->plan_over == NULL || exec->subject->refused == NULL) {
        return sweeping.swept;
    }
    sweeping.swept.agreed = agree(&sweeping);
    uint64_t last = sweeping.swept.call_count;
    last = last < UINT16_MAX ? last : UINT16_MAX - 1u;
    for (uint64_t number = 1; number <= last; number++) {
        looks[number - 1] = rig_exec_plan_call(exec, number);
    }
    bool met = sweeping.swept.agreed;
    for (uint64_t number = 1; number <= last; number++) {
        wanted[number - 1] = sweep->wanted == NULL || sweep->wanted(sweep->context, number);
        sweeping.swept.left_out_count += !wanted[number - 1];
    }
    for (uint16_t number = 1; met && number <= last && strikes_left(&sweeping); number++) {
        if (!wanted[number - 1]) {
            continue;
        }
        met = strike(&sweeping, FAULT_PLAN_NTH, number, looks[number - 1]);
        met = strikes_left(&sweeping) &&
              strike(&sweeping, FAULT_PLAN_FROM, number, looks[number - 1]) && met;
    }
    rig_exec_plan(exec, NULL, 0);
    return sweeping.swept;
}
