/* SPDX-License-Identifier: MIT
 *
 * What the subcommands of heaprig share. */
#ifndef RIG_CLI_CLI_H
#define RIG_CLI_CLI_H

#include <argp.h>
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses. */
#define RIG_EXIT_HELD 0    /* the contract held */
#define RIG_EXIT_FINDING 1 /* it did not */
#define RIG_EXIT_REFUSED 2 /* bad usage or bad input: one line on standard error */

/* The subcommands. `argv[0]` is "heaprig <name>". They return the exit status. */
#define RIG_COMMAND(name, summary) int rig_cli_##name(int argc, char **argv);
#include "commands.def"

/* Parse a subcommand's arguments as argp does, but with one line for what is wrong; --help prints
 * the help and ends the process. Units: none. Errors: bad arguments end the process. */
void rig_cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* The row of an argp table for --help. */
#define RIG_CLI_HELP_KEY 0x7001
#define RIG_CLI_HELP                                                                               \
    {                                                                                              \
        "help", RIG_CLI_HELP_KEY, 0, 0, "Print this and exit", -1                                  \
    }

/* Print "<command>: <what>" as one line and end the process with RIG_EXIT_REFUSED. `command` is
 * argv[0], or "heaprig". */
_Noreturn void rig_cli_refuse(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A whole number from `min` to `max` that is all of `text`; anything else is refused, naming the
 * option. Units: none. Errors: as said. */
unsigned long rig_cli_number(const char *command, const char *option, const char *text,
                             unsigned long min, unsigned long max);

/* Print an object on a line of its own and delete it. Units: none. Errors: running out of memory is
 * refused. */
void rig_cli_object(cJSON *object);

#endif
