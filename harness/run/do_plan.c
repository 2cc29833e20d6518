/* SPDX-License-Identifier: MIT
 *
 * PLAN: from here on memory runs out, or the page source lies, by a plan. One kind of plan is no
 * refusal: it has many heaps come and go, for the tables that grow with them. */
#include "exec_internal.h"

#define CROWD_MAX 300u
#define CROWDS_HEAPS_MAX 600u /* of one program: they take long */
#define N_PLAIN_MAX                                                                                \
    1024u /* above that a program's number was drawn at random, and means a small one */
#define N_MANY 64u

/* A commit that is none, and rubbish said to be zero: nobody can notice (D83). */
const char *rig_plan_skipped(const struct fault_plan *plan)
{
    const bool known = plan->kind == FAULT_PLAN_LESS && plan->calls == FAULT_PAGE_RESERVE;
    const bool hidden =
        plan->kind == FAULT_PLAN_SECRET || (plan->kind == FAULT_PLAN_LESS && !known);
    return hidden ? "no heap can notice that lie" : NULL;
}

/* Heaps of the rig's own, unknown to the model: all of them are gone when the call ends. */
static void crowd(void *context)
{
    struct rig_exec *exec = context;
    const struct rig_subject *subject = exec->subject;
    struct rig_step *step = &exec->step;
    HANDLE heaps[CROWD_MAX];
    unsigned count = 0;
    unsigned *made = &exec->planning.crowd_heaps;
    while (count < step->code && count < CROWD_MAX && *made < CROWDS_HEAPS_MAX) {
        heaps[count] = subject->HeapCreate(HEAP_NO_SERIALIZE, 1, 2u * RIG_PAGE_BYTES);
        if (heaps[count] == NULL) {
            break;
        }
        count++;
        ++*made;
    }
    step->outcome.value = count;
    exec->verdict.call_count += 2u * count;
    exec->shadow.heap_ordinal += count;
    while (count > 0) { /* their places are not given out again for a while */
        (void)subject->HeapDestroy(heaps[--count]);
        rig_see_gone(exec, heaps[count]);
    }
}

static bool do_crowd(struct rig_exec *exec, struct rig_step *step)
{
    if (exec->planning.crowd_heaps >= CROWDS_HEAPS_MAX) {
        step->nothing = true;
        return true;
    }
    step->code = step->record->value;
    rig_call(exec, step, crowd);
    return rig_judge(exec, step);
}

void rig_see_held(void *context)
{
    struct rig_exec *exec = context;
    exec->step.held_after = exec->subject->holdings();
    exec->step.held_known = true;
}

bool rig_do_PLAN(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_record *record = step->record;
    const struct fault_plan plan = {
        .kind = (record->arg & 15u) < FAULT_PLAN_KIND_COUNT ? record->arg & 15u : FAULT_PLAN_NONE,
        .calls = record->flags,
        .count = record->slot,
        .n = record->value < N_PLAIN_MAX ? record->value : record->value % N_MANY,
    };
    step->skipped =
        exec->subject->plan == NULL ? "subject has no page source" : rig_plan_skipped(&plan);
    if (step->skipped != NULL) {
        return true;
    }
    if (plan.kind == FAULT_PLAN_CROWD) {
        return exec->subject->HeapCreate == NULL || exec->subject->HeapDestroy == NULL ||
               do_crowd(exec, step);
    }
    rig_plan_set(exec, &plan);
    return true;
}
