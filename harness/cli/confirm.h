/* SPDX-License-Identifier: MIT
 *
 * A second opinion: the same input once more, in a fresh process; and a limit to a run's CPU time.
 * Both may be needed in the middle of a call of the subject that never returns, so all but the
 * preparation is safe in a signal handler. */
#ifndef RIG_CLI_CONFIRM_H
#define RIG_CLI_CONFIRM_H

#include "cli/cli.h"
#include "cli/input.h"

#define RIG_CONFIRM_LINE_BYTES 256u

/* How the fresh process is to run; everything it needs, written down before it is needed. */
struct rig_confirm {
    const char *subject;
    unsigned long check_every;
    unsigned long timeout_s; /* of this process; 0: none */
    const struct rig_input *input;
    const char *plan; /* laid over the run, as text; NULL: none */
};

/* Run it: `line` gets what it said in one word and some numbers ("held", "finding RULE CLAUSE
 * STEP", "hang STEP"), or "killed by signal N", or "exit status N" when it said nothing. For a hang its time is ten times as long.
 * Units: none. Errors: "could not be run". Safe in a signal handler. */
void rig_confirm_run(const struct rig_confirm *confirm, bool hang,
                     char line[RIG_CONFIRM_LINE_BYTES]);

/* The same for a program that is in no file; `subject` and limits are those of `how`.
 * Units: none. Errors: as rig_confirm_run; not for signal handlers. */
void rig_confirm_program(const struct rig_cli_how *how, const struct rig_program *program,
                         bool hang, char line[RIG_CONFIRM_LINE_BYTES]);

/* From now on this process may use confirm->timeout_s seconds of CPU time, then it ends with the
 * finding `hang`. `plain`: it is a fresh process itself and only says so. `json`: as an object.
 * Units: seconds. Errors: none. */
void rig_timeout_start(const struct rig_confirm *confirm, bool plain, bool json);
void rig_timeout_stop(void);

/* Where the run is: in a call of the subject, or (NULL) in the rig. */
void rig_timeout_at(const char *call, uint32_t step_idx);

#endif
