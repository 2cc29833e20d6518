/* SPDX-License-Identifier: MIT
 *
 * Input of subcommands: a file, or standard input; a program or a trace. */
#ifndef RIG_CLI_INPUT_H
#define RIG_CLI_INPUT_H

#include "run/load.h"

#include <stdio.h>

struct rig_input {
    const char *path; /* as given; "-" is standard input */
    const char *name; /* for people: the path, or "standard input" */
    enum rig_load_form form;
    struct rig_program program; /* unless it is a trace */
    FILE *file;                 /* open and at its beginning; can be read again */
};

/* Open and read; what cannot be used is refused in the name of `command`, and ends the process.
 * Standard input is copied into a file that can be read twice. `text`: it is text whatever it looks
 * like. Units: none. Errors: as said. */
void rig_input_open(struct rig_input *input, const char *command, const char *path, bool text);
void rig_input_close(struct rig_input *input);

#endif
