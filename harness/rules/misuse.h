/* SPDX-License-Identifier: MIT
 *
 * Judging misuse, and the end of the process that a report may lead to. */
#ifndef RIG_RULES_MISUSE_H
#define RIG_RULES_MISUSE_H

#include "judge.h"

/* misuse.c: MISUSE. Units: none. Errors: none. */
void rig_rules_misuse(struct rig_judge *judge, const struct rig_step *step);

/* ended.c: after every step, whether a report was followed by the end of the process, which it has
 * to be once that was asked for. A step that ended it is judged by this alone. */
void rig_rules_ended(struct rig_judge *judge, const struct rig_step *step);

#endif
