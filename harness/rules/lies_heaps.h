/* SPDX-License-Identifier: MIT
 *
 * Lies about heaps and the process, by the file that tells them, and what they share. */
#ifndef RIG_RULES_LIES_HEAPS_H
#define RIG_RULES_LIES_HEAPS_H

#include "lies.h"

#define RIG_LIE_CODE 0xE0C0DE01u  /* an exception that no heap raises */
#define RIG_LIE_ERROR 0x20000BADu /* a last error that no system sets */

/* Raise what no heap does. Units: none. Errors: none. */
static inline void rig_lie_raise_code(void)
{
    rig_honest->RaiseException(RIG_LIE_CODE, 0, 0, NULL);
}

/* Put the last error back to what it was before the call. Units: none. Errors: none. */
static inline void rig_lie_hush(void)
{
    rig_honest->SetLastError(rig_lie_step->outcome.error_before);
}

/* lies_create.c, lies_lock.c, lies_walk.c, lies_look.c, lies_process.c: their tables. Units: lies.
 * Errors: none. */
const struct rig_lie *rig_lies_create(size_t *count);
const struct rig_lie *rig_lies_lock(size_t *count);
const struct rig_lie *rig_lies_walk(size_t *count);
const struct rig_lie *rig_lies_look(size_t *count);
const struct rig_lie *rig_lies_process(size_t *count);
const struct rig_lie *rig_lies_plan(size_t *count); /* lies_plan.c */

#endif
