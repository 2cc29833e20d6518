/* SPDX-License-Identifier: MIT
 *
 * The rig's assertion. Calls nothing of the rig. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

void rig_check_at(int holds, const char *condition, const char *file, int line)
{
    if (holds == 0) {
        (void)fprintf(stderr, "%s:%d: the rig itself is broken: %s\n", file, line, condition);
        abort();
    }
}
