/* SPDX-License-Identifier: MIT
 *
 * What the subcommands share: arguments, refusals, JSON. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_S 10u

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

/* ---- What several subcommands take ---------------------------------------------------------- */

error_t rig_cli_common(int key, struct argp_state *state, struct rig_cli_common *common)
{
    switch (key) {
    case 'j':
        common->json = true;
        return 0;
    case 't':
        common->text = true;
        return 0;
    case ARGP_KEY_ARGS:
        common->files = state->argv + state->next;
        common->file_count = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const char *rig_cli_one_file(const struct rig_cli_common *common)
{
    if (common->file_count != 1) {
        rig_cli_refuse(common->command, "expected one file, as in: %s seed.heap", common->command);
    }
    return common->files[0];
}

/* "core, malloc": the subjects that ship. */
static const char *subject_names(void)
{
    static char text[256];
    size_t len = 0;
    const struct rig_subject *subject = NULL;
    for (size_t idx = 0; (subject = rig_subject_at(idx)) != NULL && len < sizeof(text); idx++) {
        const int more =
            snprintf(text + len, sizeof(text) - len, "%s%s", idx == 0 ? "" : ", ", subject->name);
        len += more > 0 ? (size_t)more : 0;
    }
    return text;
}

static const struct argp_option how_options[] = {
    {"subject", 's', "NAME", 0, "The heap under test, the first by default: ", 0},
    {"check-every", 'c', "N", 0,
     "Look at everything after every N operations (default: at the end)", 0},
    {"plan", 'p', "PLAN", 0,
     "Have memory run out: KIND[:N[:CALLS[:COUNT]]], as in nth:3:commit or from:1:reserve+lock", 0},
    {"timeout", 'T', "SECONDS", 0, "CPU time of one program, 0 for no limit (default: 10)", 0},
    {0},
};

static void plan_parse(const char *command, const char *text, struct rig_cli_how *how)
{
    char near[256];
    if (!fault_plan_parse(&how->plan, text, strlen(text))) {
        fault_plan_near(text, near, sizeof(near));
        rig_cli_refuse(command, "--plan %s: expected KIND[:N[:CALLS[:COUNT]]] with a kind such as %s",
                       text, near);
    }
    how->plan_text = how->plan.kind == FAULT_PLAN_NONE ? NULL : text;
}

static error_t how_parse(int key, char *arg, struct argp_state *state)
{
    struct rig_cli_how *how = state->input;
    switch (key) {
    case 's':
        how->subject = rig_subject_find(arg);
        if (how->subject == NULL) {
            rig_cli_refuse(state->argv[0], "--subject %s: expected one of %s", arg,
                           subject_names());
        }
        return 0;
    case 'c':
        how->check_every = rig_cli_number(state->argv[0], "--check-every", arg, 0, 1000000);
        return 0;
    case 'p':
        plan_parse(state->argv[0], arg, how);
        return 0;
    case 'T':
        how->timeout_s = rig_cli_number(state->argv[0], "--timeout", arg, 0, 1000000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* argp frees what it is given in place of the text. */
static char *how_help(int key, const char *text, void *input)
{
    char *whole = NULL;
    (void)input;
    if (key == 's' && asprintf(&whole, "%s%s", text, subject_names()) >= 0) {
        return whole;
    }
    return (char *)(uintptr_t)text;
}

const struct argp rig_cli_how_argp = {
    .options = how_options,
    .parser = how_parse,
    .help_filter = how_help,
};

struct rig_cli_how rig_cli_how_default(void)
{
    return (struct rig_cli_how){.subject = rig_subject_at(0), .timeout_s = TIMEOUT_S};
}

/* ---- Files ---------------------------------------------------------------------------------- */

/* Written beside its place and then put there. */
void rig_cli_write(const char *command, const char *path, const void *bytes, size_t len_bytes)
{
    char scratch[PATH_MAX];
    const mode_t mask = umask(0);
    (void)umask(mask);
    if (snprintf(scratch, sizeof(scratch), "%s.XXXXXX", path) >= (int)sizeof(scratch)) {
        rig_cli_refuse(command, "%s: expected a shorter name", path);
    }
    const int descriptor = mkstemp(scratch);
    FILE *file = descriptor >= 0 ? fdopen(descriptor, "wb") : NULL;
    if (file == NULL) {
        rig_cli_refuse(command, "%s: expected a place to write: %s", path, strerror(errno));
    }
    bool written = fwrite(bytes, 1, len_bytes, file) == len_bytes;
    written = fchmod(descriptor, 0666 & ~mask) == 0 && written;
    written = fclose(file) == 0 && written;
    if (!written || rename(scratch, path) != 0) {
        const int error = errno;
        (void)unlink(scratch);
        rig_cli_refuse(command, "%s: expected a place to write: %s", path, strerror(error));
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

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
