/* SPDX-License-Identifier: MIT
 *
 * From files to programs: binary, text, or any bytes. Calls program/ and the C library. */
#ifndef RIG_RUN_LOAD_H
#define RIG_RUN_LOAD_H

#include "program/program.h"

#include <stdio.h>

#define RIG_LOAD_BYTES_MAX ((size_t)1 << 20) /* of a text: room for a lot of comment */
#define RIG_LOAD_ERROR_BYTES_MAX 4400u       /* of an error: a path and what is wrong with it */

/* What a file holds. */
enum rig_load_form {
    RIG_LOAD_BINARY, /* a program, with or without its header: any bytes are one */
    RIG_LOAD_TEXT,   /* the text form: named *.heap, or beginning with the word program */
    RIG_LOAD_TRACE   /* a recorded trace, see trace/trace.h */
};

/* Tell the form by name and first bytes. Units: bytes. Errors: none. */
enum rig_load_form rig_load_form(const char *name, const uint8_t *bytes, size_t len_bytes);

/* A program from bytes in that form. False, with one line without a newline in `error`: a text that
 * does not parse, a binary longer than RIG_PROGRAM_BYTES_MAX or of a newer version, a trace.
 * Units: bytes. Errors: as said. */
bool rig_load_bytes(struct rig_program *program, enum rig_load_form form, const char *name,
                    const uint8_t *bytes, size_t len_bytes, char *error, size_t error_bytes);

/* Read a file to its end into `bytes`, which has room for RIG_LOAD_BYTES_MAX + 1. False, with a
 * line in `error`, when it cannot be read or is longer than RIG_LOAD_BYTES_MAX.
 * Units: bytes. Errors: as said. */
bool rig_load_read(FILE *file, const char *name, uint8_t *bytes, size_t *len_bytes, char *error,
                   size_t error_bytes);

/* A program from a file. Not for several threads at once. Units: bytes. Errors: as the two above.
 */
bool rig_load_file(struct rig_program *program, const char *path, char *error, size_t error_bytes);

/* Paths of all files under a folder, or the path of a file itself, in the order of their names;
 * hidden ones left out. False when something could not be looked at: then errno says why, and there
 * is nothing to free. Not on Windows. Units: none. Errors: as said. */
struct rig_paths {
    char **paths;
    size_t count;
    size_t room;
};
bool rig_load_paths(struct rig_paths *paths, const char *folder);
void rig_load_paths_free(struct rig_paths *paths);

#endif
