/* SPDX-License-Identifier: MIT
 *
 * A shared object that gives away what it allocates and never frees it. It takes malloc from
 * whoever loads it. */
#include <stdlib.h>

void *leave_behind(size_t bytes);

static void *volatile kept;

/* No tail call: this module's frame is to be on the stack. */
void *leave_behind(size_t bytes)
{
    kept = malloc(bytes);
    return kept;
}
