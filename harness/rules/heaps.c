/* SPDX-License-Identifier: MIT
 *
 * Rules on heaps. */
#include "judge.h"

void rig_rules_heaps(struct rig_judge *judge, const struct rig_step *step)
{
    (void)judge;
    (void)step;
}
