/* SPDX-License-Identifier: MIT
 *
 * heaprig export: a program as C, for people who have core and nothing else of
 * this. */
#include "cli/cli.h"
#include "cli/confirm.h"
#include "cli/input.h"

#include "export/emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_CALLS 0x7003

struct options {
    struct rig_cli_common common;
    struct rig_cli_how how;
    const char *out;
    bool calls; /* what the exported program prints with --verbose */
};

static const struct argp_option argp_options[] = {
    {"output", 'o', "OUT.c", 0, "Where it goes (default: standard output)", 0},
    RIG_CLI_TEXT,
    {"calls", KEY_CALLS, 0, OPTION_HIDDEN, "Print what the calls gave, as OUT --verbose does", 0},
    RIG_CLI_HELP,
    {0},
};

static const struct argp_child argp_children[] = {{&rig_cli_how_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->how;
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    case KEY_CALLS:
        options->calls = true;
        return 0;
    default:
        return rig_cli_common(key, state, &options->common);
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = argp_children,
    .args_doc = "FILE",
    .doc = "Write a program as one C file that needs core's public headers and "
           "library alone: the "
           "calls in order with their arguments, up to the finding. The C "
           "program ends with 1 when "
           "the finding shows and with 0 when it does not; --verbose has it "
           "print each call. A "
           "program without a finding can be exported as well.\v"
           "Exit status: 0 written, 2 bad usage or bad input.",
};

/* A finding is exported once a fresh process has seen it too. */
static void confirm(const struct options *options, const struct rig_program *program,
                    const struct tape *tape, const char *name)
{
    char line[RIG_CONFIRM_LINE_BYTES];
    if (tape->end == TAPE_HELD) {
        return;
    }
    rig_confirm_program(&options->how, program, false, line);
    if (strcmp(line, "held") == 0) {
        rig_cli_refuse(options->common.command,
                       "%s: expected a fresh process to find what broke %s at step "
                       "%u, and it said "
                       "'%s'",
                       name,
                       tape->broken_count == 0 ? "nothing" : rig_clause_info(tape->broken[0])->id,
                       tape->steps[tape->step_count - 1].idx, line);
    }
}

static void export_write(const struct options *options, const struct tape *tape,
                         const struct rig_input *input)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) {
        rig_cli_refuse(options->common.command, "expected memory for a program's text");
    }
    const char *lack = NULL;
    if (options->calls) {
        rig_emit_transcript(tape, &input->program, file);
    } else {
        lack = rig_emit_program(tape, &input->program, input->name, file);
    }
    (void)fclose(file);
    if (options->out == NULL || strcmp(options->out, "-") == 0) {
        (void)fwrite(text, 1, bytes, stdout);
    } else {
        rig_cli_write(options->common.command, options->out, text, bytes);
    }
    if (lack != NULL) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "%s: left out: %s\n", input->name, lack);
    }
    free(text);
}

int rig_cli_export(int argc, char **argv)
{
    static struct rig_input input;
    struct options options = {.common = {.command = argv[0]}, .how = rig_cli_how_default()};
    rig_cli_parse(&argp, argc, argv, &options);
    rig_input_open(&input, argv[0], rig_cli_one_file(&options.common), options.common.text);
    if (input.form == RIG_LOAD_TRACE) {
        rig_cli_refuse(argv[0], "%s: expected a program, found a trace", input.name);
    }
    if ((input.program.flags & RIG_PROGRAM_VERIFY) != 0) {
        rig_cli_refuse(argv[0], "%s: expected a program without verify=, whose calls go through modules",
                       input.name);
    }
    struct tape *tape = rig_tape_record(&options.how, &input.program);
    if (tape == NULL) {
        rig_cli_refuse(argv[0], "expected memory and a process for a run");
    }
    if (tape->full) {
        rig_cli_refuse(argv[0], "%s: expected a run of fewer calls; heaprig shrink may make one",
                       input.name);
    }
    confirm(&options, &input.program, tape, input.name);
    export_write(&options, tape, &input);
    rig_tape_free(tape);
    rig_input_close(&input);
    return RIG_EXIT_HELD;
}
