/* SPDX-License-Identifier: MIT
 *
 * Rules on process. */
#include "judge.h"

void rig_rules_process(struct rig_judge *judge, const struct rig_step *step)
{
    (void)judge;
    (void)step;
}
