/* SPDX-License-Identifier: MIT
 *
 * Modules that are none: a few functions each, in a stretch of this program's own code, through which
 * calls of the subject go, so that a verifier finds a stack frame there. What stretches there are is
 * declared to it. Calls nothing but the subject. */
#ifndef RIG_RUN_STAND_IN_H
#define RIG_RUN_STAND_IN_H

#include "program/verify.h"

#include <heaprig/subject.h>

/* Where module 1 to 4 lies; false where there are none (another object format). Units: bytes.
 * Errors: as said. */
bool rig_stand_in_range(unsigned module, PVOID *base, size_t *bytes);

/* The subject as module 1 to 4 calls it: its calls on blocks, heaps and sections go through the module to
 * `subject`, all else is as there. Valid until the next call. Units: none. Errors: none. */
const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject);

#endif
