/* SPDX-License-Identifier: MIT
 *
 * Rules on look. */
#include "judge.h"

void rig_rules_look(struct rig_judge *judge, const struct rig_step *step)
{
    (void)judge;
    (void)step;
}
