/* SPDX-License-Identifier: MIT
 *
 * heaprig show and heaprig asm: between the two forms of a program. Calls program/ and trace/. */
#include "cli/cli.h"
#include "cli/input.h"

#include "program/text.h"
#include "trace/print.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((RIG_RECORD_COUNT_MAX + 1) * (size_t)RIG_TEXT_LINE_BYTES_MAX)

struct options {
    struct rig_cli_common common;
    const char *out; /* asm */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    if (key == 'o') {
        options->out = arg;
        return 0;
    }
    return rig_cli_common(key, state, &options->common);
}

/* ---- show ----------------------------------------------------------------------------------- */

static void show_program(const struct rig_program *program)
{
    static char text[TEXT_BYTES_MAX];
    (void)rig_text_print(program, text, sizeof(text));
    (void)fputs(text, stdout);
}

static void show_json(const struct rig_program *program)
{
    cJSON *head = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(head, "seed", program->seed);
    (void)cJSON_AddNumberToObject(head, "flags", program->flags);
    (void)cJSON_AddNumberToObject(head, "records", program->count);
    rig_cli_object(head);
    for (unsigned idx = 0; idx < program->count; idx++) {
        char line[RIG_TEXT_LINE_BYTES_MAX];
        cJSON *object = cJSON_CreateObject();
        (void)rig_text_print_record(&program->records[idx], line, sizeof(line));
        (void)cJSON_AddNumberToObject(object, "record", idx);
        (void)cJSON_AddStringToObject(object, "op", rig_op_info(program->records[idx].op)->name);
        (void)cJSON_AddStringToObject(object, "text", line);
        rig_cli_object(object);
    }
}

static const struct argp_option show_options[] = {
    RIG_CLI_JSON,
    RIG_CLI_TEXT,
    RIG_CLI_HELP,
    {0},
};

static const struct argp show_argp = {
    .options = show_options,
    .parser = parse,
    .args_doc = "[FILE]",
    .doc = "Print a program (any bytes, or text) in its text form, or a trace event by event. "
           "Without a file, or with -, standard input is read.",
};

int rig_cli_show(int argc, char **argv)
{
    static struct rig_input input;
    struct options options = {.common = {.command = argv[0]}};
    rig_cli_parse(&show_argp, argc, argv, &options);
    if (options.common.file_count > 1) {
        rig_cli_refuse(argv[0], "%s: expected one file", options.common.files[1]);
    }
    rig_input_open(&input, argv[0], options.common.file_count == 1 ? options.common.files[0] : "-",
                   options.common.text);
    if (input.form == RIG_LOAD_TRACE) {
        char error[RIG_LOAD_ERROR_BYTES_MAX];
        if (options.common.json || strcmp(input.path, "-") == 0) {
            rig_cli_refuse(argv[0], "%s: expected a program, found a trace", input.name);
        }
        if (!rig_trace_print(input.path, stdout, error, sizeof(error))) {
            rig_cli_refuse(argv[0], "%s", error);
        }
    } else if (options.common.json) {
        show_json(&input.program);
    } else {
        show_program(&input.program);
    }
    rig_input_close(&input);
    return RIG_EXIT_HELD;
}

/* ---- asm ------------------------------------------------------------------------------------ */

/* "seed.heap" becomes "seed.bin". */
static void out_name(const char *command, const char *path, char out[PATH_MAX])
{
    const size_t len = strlen(path);
    if (len < 5 || strcmp(path + len - 5, ".heap") != 0) {
        rig_cli_refuse(command, "%s: expected a name that ends in .heap, or -o OUT", path);
    }
    if (snprintf(out, PATH_MAX, "%.*s.bin", (int)(len - 5), path) >= PATH_MAX) {
        rig_cli_refuse(command, "%s: expected a shorter name", path);
    }
}

static const struct argp_option asm_options[] = {
    {"output", 'o', "OUT", 0, "Where the bytes go, - for standard output (default: FILE.bin)", 0},
    RIG_CLI_HELP,
    {0},
};

static const struct argp asm_argp = {
    .options = asm_options,
    .parser = parse,
    .args_doc = "FILE.heap",
    .doc = "Turn the text form of a program into bytes. OUT is written whole or not at all.",
};

int rig_cli_asm(int argc, char **argv)
{
    static struct rig_input input;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    struct options options = {.common = {.command = argv[0]}};
    rig_cli_parse(&asm_argp, argc, argv, &options);
    const char *path = rig_cli_one_file(&options.common);
    char out[PATH_MAX];
    if (options.out == NULL) {
        out_name(argv[0], path, out);
    }
    rig_input_open(&input, argv[0], path, true);
    const size_t len = rig_program_encode(&input.program, bytes);
    if (options.out != NULL && strcmp(options.out, "-") == 0) {
        (void)fwrite(bytes, 1, len, stdout);
    } else {
        rig_cli_write(argv[0], options.out != NULL ? options.out : out, bytes, len);
    }
    rig_input_close(&input);
    return RIG_EXIT_HELD;
}
