/* SPDX-License-Identifier: MIT
 *
 * DAMAGE: bytes written where no application may write, by a row of the catalogue. */
#include "exec_internal.h"

bool rig_do_DAMAGE(struct rig_exec *exec, struct rig_step *step)
{
    (void)exec;
    step->nothing = true;
    return true;
}
