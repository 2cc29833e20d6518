/* SPDX-License-Identifier: MIT
 *
 * The text form of programs, `*.heap`: one operation a line, made to be read, written by hand and
 * compared. FORMAT.md describes it. Lossless: parse(print(p)) is p, field by field. */
#ifndef RIG_TEXT_H
#define RIG_TEXT_H

#include "program/program.h"

#define RIG_TEXT_LINE_BYTES_MAX 256u /* of a printed record, with its NUL */
#define RIG_TEXT_ERROR_BYTES_MAX                                                                   \
    256u /* of an error of a file whose name is short, with its NUL                                \
          */

/* Parse `len_bytes` of any bytes; the text needs no NUL and no newline at its end. True when all of
 * it was understood. Otherwise `error` holds one line, "<name>:<line>: expected <what>, found
 * '<token>'", cut at `error_bytes`, and `program` is empty. Neither prints nor allocates; linear.
 * Units: bytes. Errors: false, as said. */
bool rig_text_parse(struct rig_program *program, const char *name, const char *text,
                    size_t len_bytes, char *error, size_t error_bytes);

/* Print the program. As snprintf: returns the length of the whole text without its NUL and writes
 * what fits into `out_bytes`, NUL included; `out` may be NULL when that is 0.
 * Units: bytes. Errors: none; fields out of range are asserted. */
size_t rig_text_print(const struct rig_program *program, char *out, size_t out_bytes);

/* Print one record, without a newline; RIG_TEXT_LINE_BYTES_MAX is always enough.
 * Units: bytes. Errors: as rig_text_print. */
size_t rig_text_print_record(const struct rig_record *record, char *out, size_t out_bytes);

#endif
