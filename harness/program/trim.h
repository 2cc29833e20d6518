/* SPDX-License-Identifier: MIT
 *
 * Making a program smaller by taking out runs of operations, first long, then short ones, as long
 * as somebody says that what is left will do:
 *
 *     rig_trim_init(&trim, bytes, len_bytes);
 *     while (rig_trim_next(&trim, smaller, &smaller_bytes)) {
 *         rig_trim_judge(&trim, still_interesting(smaller, smaller_bytes));
 *     }
 *
 * What is left at the end is what the last accepted try was. */
#ifndef RIG_TRIM_H
#define RIG_TRIM_H

#include "program/program.h"

struct rig_trim {
    struct rig_program program; /* what is left */
    unsigned at;                /* of the run to try next */
    unsigned run;               /* its length; 0: done */
};

/* Start with the program in `bytes`. Units: bytes. Errors: none; one of a newer version is empty.
 */
void rig_trim_init(struct rig_trim *trim, const uint8_t *bytes, size_t len_bytes);

/* The next try, into room for RIG_PROGRAM_BYTES_MAX. False when there is none left: `bytes` then
 * holds what is left of the program. Units: bytes. Errors: none. */
bool rig_trim_next(const struct rig_trim *trim, uint8_t *bytes, size_t *len_bytes);

/* True: the last try will do, go on from there. Units: none. Errors: none; after the last try it
 * is asserted. */
void rig_trim_judge(struct rig_trim *trim, bool accepted);

/* How many tries are left at most. Units: tries. Errors: none. */
unsigned rig_trim_left(const struct rig_trim *trim);

#endif
