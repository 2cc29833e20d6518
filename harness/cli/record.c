/* SPDX-License-Identifier: MIT
 *
 * heaprig record: run a program with the recorder preloaded, turn what the recorder left into
 * traces, and cut windows out of them. Calls trace/ and the system. */
#include "cli/cli.h"
#include "cli/preloaded.h"

#include "trace/raw.h"
#include "trace/window.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW_COUNT 8u
#define PATH_BYTES RIG_PATH_BYTES

struct options {
    const char *out;     /* -o */
    const char *windows; /* --windows */
    const char *from;    /* --from */
    const char *finish;  /* --finish */
    size_t count;        /* --count */
    size_t record_count; /* --records */
    char **command;
};

/* One line on standard error; the exit status of bad usage and bad input. */
static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "heaprig record: %s: %s\n", what, why);
    return RIG_EXIT_REFUSED;
}

/* ---- Paths ---------------------------------------------------------------------------------- */

/* False when the text does not fit into PATH_BYTES. */
static bool path_join(char *path, const char *first, const char *second)
{
    const int len = snprintf(path, PATH_BYTES, "%s%s", first, second);
    return len >= 0 && (size_t)len < PATH_BYTES;
}

static bool path_number(char *path, const char *stem, const char *mark, uint64_t number)
{
    const int len = snprintf(path, PATH_BYTES, "%s%s%llu", stem, mark, (unsigned long long)number);
    return len >= 0 && (size_t)len < PATH_BYTES;
}

static bool folder_make(const char *path)
{
    struct stat status;
    return mkdir(path, 0777) == 0 ||
           (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode));
}

/* ---- Running the command -------------------------------------------------------------------- */

static void status_tell(const char *name, int status)
{
    if (WIFSIGNALED(status)) {
        (void)fprintf(stderr, "heaprig record: %s: killed by signal %d\n", name, WTERMSIG(status));
    } else {
        (void)fprintf(stderr, "heaprig record: %s: exit status %d\n", name, WEXITSTATUS(status));
    }
}

/* Zero when the command ran, whatever came of it. */
static int command_run(char **command, const char *recorder, const char *raw)
{
    const struct rig_preloaded what = {
        .teller = "record",
        .command = command,
        .shared = recorder,
        .variable = "HEAPRIG_RECORD",
        .value = raw,
    };
    int status = 0;
    const int result = rig_preloaded_run(&what, &status);
    if (result == 0) {
        status_tell(command[0], status);
    }
    return result;
}

/* ---- Finishing ------------------------------------------------------------------------------ */

static void report_tell(const char *path, enum rig_trace_status status,
                        const struct rig_raw_report *report)
{
    (void)fprintf(stderr,
                  "%s: %llu events, %llu blocks, at most %llu alive, %llu bytes; %u threads", path,
                  (unsigned long long)report->event_count, (unsigned long long)report->block_count,
                  (unsigned long long)report->peak_count, (unsigned long long)report->peak_bytes,
                  report->thread_count);
    if (report->skipped != 0) {
        (void)fprintf(stderr, "; %llu calls on blocks from before",
                      (unsigned long long)report->skipped);
    }
    if (report->implied != 0) {
        (void)fprintf(stderr, "; %llu frees unseen", (unsigned long long)report->implied);
    }
    if (report->stop_reason != 0) {
        (void)fprintf(stderr, "; recording stopped: %s", strerror((int)report->stop_reason));
    }
    if (status == RIG_TRACE_BAD) {
        (void)fprintf(stderr, "; offset %llu of the recording: expected %s",
                      (unsigned long long)report->offset, report->expected);
    }
    if (status == RIG_TRACE_CUT) {
        (void)fprintf(stderr, "; the recording is cut short");
    }
    (void)fprintf(stderr, "\n");
}

/* Turn one raw file into the trace `path`, by way of `scratch`, so that no half of it is ever
 * seen. */
static int file_finish(const char *raw_path, const char *scratch, const char *path,
                       struct rig_raw_report *report)
{
    FILE *from = fopen(raw_path, "rb");
    if (from == NULL) {
        return fail(raw_path, strerror(errno));
    }
    FILE *to = fopen(scratch, "wb");
    if (to == NULL) {
        (void)fclose(from);
        return fail(scratch, strerror(errno));
    }
    bool written = false;
    const enum rig_trace_status status =
        rig_raw_finish(rig_trace_from_file, from, rig_trace_to_file, to, &written, report);
    (void)fclose(from);
    written = fclose(to) == 0 && written;
    if (status == RIG_TRACE_NO_MEMORY) {
        return fail(raw_path, "out of memory");
    }
    if (!written || rename(scratch, path) != 0) {
        return fail(path, strerror(errno));
    }
    report_tell(path, status, report);
    return 0;
}

/* The number of files that were begun. */
static uint64_t raw_count(const char *raw)
{
    char path[PATH_BYTES];
    uint64_t count = 0;
    FILE *file = path_join(path, raw, "/count") ? fopen(path, "rb") : NULL;
    if (file != NULL) {
        if (fread(&count, sizeof(count), 1, file) != 1) {
            count = 0;
        }
        (void)fclose(file);
    }
    return count;
}

static void raw_remove(const char *raw)
{
    char path[PATH_BYTES];
    const uint64_t count = raw_count(raw);
    for (uint64_t number = 0; number < count; number++) {
        if (path_number(path, raw, "/", number)) {
            (void)unlink(path);
        }
    }
    if (path_join(path, raw, "/scratch")) {
        (void)unlink(path);
    }
    if (path_join(path, raw, "/count")) {
        (void)unlink(path);
    }
    (void)rmdir(raw);
}

/* All files of the directory `raw` become `out`, `out`.1 and so on; `longest` gets the path of the
 * one with the most events. The directory is removed when all went well. */
static int raw_finish(const char *raw, const char *out, char *longest)
{
    const uint64_t count = raw_count(raw);
    uint64_t event_count = 0;
    uint64_t found = 0;
    for (uint64_t number = 0; number < count; number++) {
        char raw_path[PATH_BYTES];
        char scratch[PATH_BYTES];
        char path[PATH_BYTES];
        struct rig_raw_report report;
        const bool fits =
            path_number(raw_path, raw, "/", number) && path_join(scratch, raw, "/scratch") &&
            (found == 0 ? path_join(path, out, "") : path_number(path, out, ".", found));
        if (!fits) {
            return fail(out, strerror(ENAMETOOLONG));
        }
        if (access(raw_path, F_OK) != 0) {
            continue; /* the process could not begin it */
        }
        const int status = file_finish(raw_path, scratch, path, &report);
        if (status != 0) {
            return status;
        }
        if (found++ == 0 || report.event_count > event_count) {
            event_count = report.event_count;
            memcpy(longest, path, PATH_BYTES);
        }
    }
    raw_remove(raw);
    return found != 0 ? 0
                      : fail(out, "nothing was recorded: expected a program that loads shared "
                                  "libraries and uses their malloc");
}

/* ---- The command ---------------------------------------------------------------------------- */

static int windows_cut(const struct options *options, const char *path)
{
    char error[PATH_BYTES + 256];
    size_t written = 0;
    const struct rig_windows_options cut = {
        .count = options->count,
        .seed = 1,
        .record_count_max = (uint16_t)options->record_count,
    };
    if (access(path, R_OK) != 0) {
        return fail(path, strerror(errno));
    }
    const bool made = access(options->windows, F_OK) != 0;
    if (!folder_make(options->windows)) {
        return fail(options->windows, strerror(errno));
    }
    if (!rig_trace_windows(path, options->windows, &cut, &written, error, sizeof(error))) {
        (void)fprintf(stderr, "heaprig record: %s\n", error);
        if (made) {
            (void)rmdir(options->windows); /* stays where windows are in it */
        }
        return RIG_EXIT_REFUSED;
    }
    (void)fprintf(stderr, "%s: %zu windows in %s\n", path, written, options->windows);
    return 0;
}

static int windows_cut_if_asked(const struct options *options, const char *path)
{
    return options->windows != NULL ? windows_cut(options, path) : 0;
}

static int finish_only(const struct options *options)
{
    char raw[PATH_BYTES];
    char out[PATH_BYTES];
    char longest[PATH_BYTES];
    if (realpath(options->finish, raw) == NULL) {
        return fail(options->finish, strerror(errno));
    }
    char path[PATH_BYTES];
    if (!path_join(path, raw, "/count") || access(path, R_OK) != 0) {
        return fail(options->finish, "expected a directory FILE.raw that a recording left");
    }
    char *ending = strstr(raw, ".raw");
    const bool named = ending != NULL && strlen(ending) == 4;
    if (options->out == NULL && !named) {
        return fail(options->finish, "expected a name that ends in .raw, or -o FILE");
    }
    (void)path_join(out, options->out != NULL ? options->out : raw, "");
    if (options->out == NULL) {
        out[strlen(out) - 4] = '\0';
    }
    const int status = raw_finish(raw, out, longest);
    return status != 0 ? status : windows_cut_if_asked(options, longest);
}

/* DIR and all that is needed is there before the command runs; nothing of it stays when the command
 * cannot be run. */
static int record(const struct options *options)
{
    char recorder[PATH_BYTES];
    char out[PATH_BYTES];
    char raw_given[PATH_BYTES];
    char raw[PATH_BYTES];
    char longest[PATH_BYTES];
    const char *slash = strrchr(options->command[0], '/');
    const char *name = slash != NULL ? slash + 1 : options->command[0];
    if (!rig_preloaded_find("libheaprig-record.so", recorder)) {
        return fail("../lib/libheaprig-record.so", "expected the recorder there; it comes with a "
                                                   "64-bit build without sanitizers and coverage");
    }
    if (strpbrk(recorder, " :") != NULL) {
        return fail(recorder, "expected a path without blanks and colons");
    }
    if (!(options->out != NULL ? path_join(out, options->out, "")
                               : path_join(out, name, ".trace")) ||
        !path_join(raw_given, out, ".raw")) {
        return fail(options->out, strerror(ENAMETOOLONG));
    }
    if (options->windows != NULL && !folder_make(options->windows)) {
        return fail(options->windows, strerror(errno));
    }
    if (mkdir(raw_given, 0700) != 0) {
        return fail(raw_given, errno == EEXIST ? "an older recording is there; --finish makes it "
                                                 "readable"
                                               : strerror(errno));
    }
    int status = realpath(raw_given, raw) != NULL ? 0 : fail(raw_given, strerror(errno));
    status = status != 0 ? status : command_run(options->command, recorder, raw);
    if (status != 0) {
        raw_remove(raw_given);
        return status;
    }
    status = raw_finish(raw, out, longest);
    return status != 0 ? status : windows_cut_if_asked(options, longest);
}

/* ---- Arguments ------------------------------------------------------------------------------ */

enum { KEY_FROM = 256, KEY_FINISH };

static const struct argp_option argp_options[] = {
    {"output", 'o', "FILE", 0,
     "The trace; further processes write FILE.1, FILE.2 ... (default: COMMAND.trace)", 0},
    {"windows", 'w', "DIR", 0, "Cut windows out of the longest trace, as programs in DIR", 0},
    {"count", 'n', "N", 0, "How many windows, 1 to 64 (default: 8)", 0},
    {"records", 'r', "N", 0, "How many records a window has at most, 16 to 512 (default: 512)", 0},
    {"from", KEY_FROM, "FILE", 0, "Record nothing: cut windows out of this trace", 0},
    {"finish", KEY_FINISH, "FILE.raw", 0,
     "Record nothing: make traces of what a recording left that was itself killed", 0},
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'o':
        options->out = arg;
        return 0;
    case 'w':
        options->windows = arg;
        return 0;
    case 'n':
        options->count = rig_cli_number(state->argv[0], "--count", arg, 1, 64);
        return 0;
    case 'r':
        options->record_count = rig_cli_number(state->argv[0], "--records", arg,
                                               RIG_WINDOW_RECORD_COUNT_MIN, RIG_RECORD_COUNT_MAX);
        return 0;
    case KEY_FROM:
        options->from = arg;
        return 0;
    case KEY_FINISH:
        options->finish = arg;
        return 0;
    case ARGP_KEY_ARG:
        rig_cli_refuse(state->argv[0], "%s: expected -- before the command", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "-- COMMAND [ARGUMENT...]\n--from FILE --windows DIR\n--finish FILE.raw",
    .doc =
        "Run a program and write down what it allocates. The program's own output is left alone; "
        "what there is to say goes to standard error.",
};

/* What stands behind "--" is the command's. */
static void arguments_parse(struct options *options, int argc, char **argv)
{
    int own = 1;
    while (own < argc && strcmp(argv[own], "--") != 0) {
        own++;
    }
    rig_cli_parse(&argp, own, argv, options);
    options->command = own + 1 < argc ? &argv[own + 1] : NULL;
    const int modes =
        (options->from != NULL) + (options->finish != NULL) + (options->command != NULL);
    if (modes == 0) {
        rig_cli_refuse(argv[0], "expected a command, as in: heaprig record -- ls");
    }
    if (modes != 1) {
        rig_cli_refuse(argv[0], "expected one of a command, --from and --finish");
    }
    if (options->from != NULL && options->windows == NULL) {
        rig_cli_refuse(argv[0], "--from: expected --windows DIR beside it");
    }
}

int rig_cli_record(int argc, char **argv)
{
    struct options options = {.count = WINDOW_COUNT};
    arguments_parse(&options, argc, argv);
    if (options.from != NULL) {
        return windows_cut(&options, options.from);
    }
    return options.finish != NULL ? finish_only(&options) : record(&options);
}
