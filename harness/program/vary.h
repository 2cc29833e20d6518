/* SPDX-License-Identifier: MIT
 *
 * The same program in another state of its heaps: front end on, a large block there, the last
 * growth refused, memory nearly gone. So a seed that somebody wrote for one state says what it says
 * in all of them. */
#ifndef RIG_VARY_H
#define RIG_VARY_H

#include "program/program.h"

#define RIG_VARY_FRONT 1u   /* every heap gets its front end, where it may have one */
#define RIG_VARY_LARGE 2u   /* every heap gets a large block, where it may have one */
#define RIG_VARY_REFUSED 4u /* before every operation on a heap memory is refused to that heap */
#define RIG_VARY_SPELLING                                                                          \
    8u /* what was called by its Rtl name is by its Win32 name, and the other way */
#define RIG_VARY_TWICE                                                                             \
    16u /* every operation twice: what is refused is so in a heap that just refused */
#define RIG_VARY_FULL 32u  /* a heap of its own takes all but the last pages that there are */
#define RIG_VARY_COUNT 64u /* sets of these; 0 is the program itself */

/* Write to `out` what `program` becomes with the set `wanted`, below RIG_VARY_COUNT. The records of
 * `program` keep their order and their fields, but for the spelling; others come before them, with
 * block names from 224 on. False, and `out` is not whole, where it would have more than
 * RIG_RECORD_COUNT_MAX records. Units: none. Errors: none; another set is asserted. */
bool rig_program_vary(const struct rig_program *program, unsigned wanted, struct rig_program *out);

#endif
