/* SPDX-License-Identifier: MIT
 *
 * What the subcommands of heaprig share. */
#ifndef RIG_CLI_CLI_H
#define RIG_CLI_CLI_H

#include <heaprig/subject.h>

#include "faults/plan.h"

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

/* What most subcommands take: --json, --text, and files. */
struct rig_cli_common {
    const char *command; /* argv[0] */
    bool json;
    bool text; /* programs are text, whatever they look like */
    char **files;
    int file_count;
};

/* How a program is to be run: what those subcommands take that run one. */
struct rig_cli_how {
    const struct rig_subject *subject;
    unsigned long check_every;
    unsigned long timeout_s; /* CPU time of one program; 0: no limit */
    const char *plan_text;   /* --plan, laid over the run; NULL: none */
    struct fault_plan plan;
};

/* The rows of argp tables for it, and what a parser does with keys that are none of its own: `return
 * rig_cli_common(key, state, &options->common)`. Units: none. Errors: as argp's parsers. */
#define RIG_CLI_JSON                                                                               \
    {                                                                                              \
        "json", 'j', 0, 0, "One object a line", 0                                                  \
    }
#define RIG_CLI_TEXT                                                                               \
    {                                                                                              \
        "text", 't', 0, 0, "Programs are text, whatever they look like", 0                         \
    }
error_t rig_cli_common(int key, struct argp_state *state, struct rig_cli_common *common);

/* --subject, --check-every and --timeout, as a child of a subcommand's argp; its input is a struct
 * rig_cli_how. Bad values are refused and end the process. */
extern const struct argp rig_cli_how_argp;

/* The default: the first subject, 10 seconds. Units: none. Errors: none. */
struct rig_cli_how rig_cli_how_default(void);

/* The only file named; more, or none, is refused. Units: none. Errors: as said. */
const char *rig_cli_one_file(const struct rig_cli_common *common);

/* Print "<command>: <what>" as one line and end the process with RIG_EXIT_REFUSED. `command` is
 * argv[0], or "heaprig". */
_Noreturn void rig_cli_refuse(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A whole number from `min` to `max` that is all of `text`; anything else is refused, naming the
 * option. Units: none. Errors: as said. */
unsigned long rig_cli_number(const char *command, const char *option, const char *text,
                             unsigned long min, unsigned long max);

/* Write a file whole or not at all. Units: bytes. Errors: refused, which ends the process. */
void rig_cli_write(const char *command, const char *path, const void *bytes, size_t len_bytes);

/* Print an object on a line of its own and delete it. Units: none. Errors: running out of memory is
 * refused. */
void rig_cli_object(cJSON *object);

#endif
