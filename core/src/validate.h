/* SPDX-License-Identifier: MIT
 *
 * Whole-heap validation: the first broken invariant, by name, as a report. */
#ifndef NTH_VALIDATE_H
#define NTH_VALIDATE_H

#include "block.h"

/* Everything, with the heap to itself and the gate closed. NTH_CORRUPT is noted. */
enum nth_status nth_validate_heap(struct nth_heap *heap) NTH_MUST_USE;

#endif
