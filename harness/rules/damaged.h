/* SPDX-License-Identifier: MIT
 *
 * Judging steps while some heap is damaged on purpose. */
#ifndef RIG_RULES_DAMAGED_H
#define RIG_RULES_DAMAGED_H

#include "judge.h"

/* Of the step that writes damage: it is stopped, or nobody's business. */
void rig_rules_damage(struct rig_judge *judge, const struct rig_step *step);

/* After rig_judge_step, while a heap that the step can touch is damaged: takes back what a report
 * excuses, and names what came without one. Units: none. Errors: none. */
void rig_rules_damaged(struct rig_judge *judge, const struct rig_step *step);

#endif
