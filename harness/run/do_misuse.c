/* SPDX-License-Identifier: MIT
 *
 * MISUSE: a call made with something that it must refuse, by a row of the catalogue. */
#include "exec_internal.h"

bool rig_do_MISUSE(struct rig_exec *exec, struct rig_step *step)
{
    (void)exec;
    step->nothing = true;
    return true;
}
