/* SPDX-License-Identifier: MIT
 *
 * Judging what a refused page call leaves behind. */
#ifndef RIG_RULES_SHORTAGE_H
#define RIG_RULES_SHORTAGE_H

#include "judge.h"

/* All rules of runs with plans on one step. Units: none. Errors: none. */
void rig_rules_shortage(struct rig_judge *judge, const struct rig_step *step);

#endif
