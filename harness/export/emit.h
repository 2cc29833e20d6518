/* SPDX-License-Identifier: MIT
 *
 * A tape as a C program with core's public headers alone. */
#ifndef RIG_EXPORT_EMIT_H
#define RIG_EXPORT_EMIT_H

#include "export/tape.h"

#include <stdio.h>

/* What a call gave, in the words of the exported program. As snprintf. `step`:
 * the call is that operation's own, and what it did to the last error counts;
 * NULL: it is a look. Units: bytes. Errors: none. */
size_t rig_emit_given(const struct tape *tape, const struct tape_call *call,
                      const struct tape_step *step, bool places, char *out, size_t out_bytes);

/* Write the program. `name` is of the file that it comes from. Returns what of
 * the run it cannot show, NULL when there is nothing such. Units: none. Errors:
 * running out of memory is asserted. */
const char *rig_emit_program(const struct tape *tape, const struct rig_program *program,
                             const char *name, FILE *out);

/* Write what the exported program prints with --verbose, from the tape. */
void rig_emit_transcript(const struct tape *tape, const struct rig_program *program, FILE *out);

#endif
