/* SPDX-License-Identifier: MIT
 *
 * What the subcommands share: arguments, refusals, JSON. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void rig_cli_refuse(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: ", command);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    exit(RIG_EXIT_REFUSED);
}

static bool asks_for_help(int argc, char **argv)
{
    for (int idx = 1; idx < argc && strcmp(argv[idx], "--") != 0; idx++) {
        if (strcmp(argv[idx], "--help") == 0) {
            return true;
        }
    }
    return false;
}

/* Around a subcommand's own arguments: says in one line what argp would say in two. */
static error_t parse_around(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key == ARGP_KEY_INIT) {
        state->child_inputs[0] = state->input;
        return 0;
    }
    if (key == ARGP_KEY_ERROR) {
        const char *last = state->next > 1 ? state->argv[state->next - 1] : "";
        const char *next = state->next < state->argc ? state->argv[state->next] : "arguments";
        rig_cli_refuse(state->argv[0], "%s: expected what %s --help lists",
                       last[0] == '-' ? last : next, state->argv[0]);
    }
    return ARGP_ERR_UNKNOWN;
}

void rig_cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    const struct argp_child children[] = {{argp, 0, NULL, 0}, {0}};
    const struct argp around = {.parser = parse_around, .children = children};
    if (asks_for_help(argc, argv)) {
        argp_help(argp, stdout, ARGP_HELP_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, argv[0]);
        exit(RIG_EXIT_HELD);
    }
    if (argp_parse(&around, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, input) != 0) {
        rig_cli_refuse(argv[0], "arguments: expected what %s --help lists", argv[0]);
    }
}

unsigned long rig_cli_number(const char *command, const char *option, const char *text,
                             unsigned long min, unsigned long max)
{
    char *end = NULL;
    errno = 0;
    const unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < min || number > max) {
        rig_cli_refuse(command, "%s %s: expected a number from %lu to %lu", option, text, min, max);
    }
    return number;
}

void rig_cli_object(cJSON *object)
{
    char *text = cJSON_PrintUnformatted(object);
    if (text == NULL) {
        rig_cli_refuse("heaprig", "JSON: expected memory for an object");
    }
    (void)puts(text);
    cJSON_free(text);
    cJSON_Delete(object);
}
