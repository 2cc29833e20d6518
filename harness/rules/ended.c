/* SPDX-License-Identifier: MIT
 *
 * Rules on the end of the process: once terminating on corruption was asked for, whatever is
 * reported ends it, save by a call that only validates; before that nothing does. */
#include "facts.h"
#include "misuse.h"

#include "../model/watch.h"

#include <string.h>

static bool validates(const struct rig_step *step)
{
    const char *call = step->outcome.reports > 0 ? step->outcome.report.call : "";
    return strcmp(call, "RtlValidateHeap") == 0 || strcmp(call, "HeapValidate") == 0 ||
           strcmp(call, "RtlValidateProcessHeaps") == 0;
}

void rig_rules_ended(struct rig_judge *judge, const struct rig_step *step)
{
    const NTSTATUS ended = step->outcome.ended;
    const bool reported = step->outcome.reports > 0;
    const bool must = judge->shadow->terminates && reported && !validates(step);
    CLAUSE(HSET_06, must, ended == (NTSTATUS)STATUS_HEAP_CORRUPTION);
    CLAUSE(HSET_07, must, ended == (NTSTATUS)STATUS_HEAP_CORRUPTION);
    const bool fatal = step->watched != NULL && step->watched->fatal;
    CLAUSE(AVRF_09,
           fatal && step->watched->match == RIG_MATCH_ALL && step->watched->expected_count > 0,
           ended == (NTSTATUS)STATUS_VERIFIER_STOP);
    CLAUSE(D11, !fatal && (must || ended != 0), must && ended == (NTSTATUS)STATUS_HEAP_CORRUPTION);
}
