/* SPDX-License-Identifier: MIT
 *
 * PLAN: from here on the page source refuses or lies by a plan. */
#include "exec_internal.h"

#include "faults/plan.h"

bool rig_do_PLAN(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_record *record = step->record;
    const struct fault_plan plan = {
        .kind = record->arg,
        .calls = record->flags,
        .count = record->slot,
        .n = record->value,
    };
    if (exec->subject->plan == NULL) {
        step->skipped = "subject has no page source";
        return true;
    }
    exec->subject->plan(&plan);
    return true;
}
