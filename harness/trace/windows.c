/* SPDX-License-Identifier: MIT
 *
 * Writes the chosen windows of a trace file as programs in text form. Calls trace.h, window.h,
 * program/text.h and the C library. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program/text.h"
#include "trace/window.h"

#define EVENT_COUNT_MAX ((size_t)8 << 20) /* 128 MiB of them */
#define PICK_COUNT_MAX 64u
#define PATH_BYTES 4096u

struct windows {
    const char *path;
    const char *out_dir;
    char stem[128]; /* the trace's name without folder and ending */
    char *error;
    size_t error_bytes;
};

static bool fail(const struct windows *windows, const char *path, const char *why)
{
    (void)snprintf(windows->error, windows->error_bytes, "%s: %s", path, why);
    return false;
}

static void stem_find(struct windows *windows)
{
    const char *slash = strrchr(windows->path, '/');
    (void)snprintf(windows->stem, sizeof(windows->stem), "%s",
                   slash != NULL ? slash + 1 : windows->path);
    char *ending = strstr(windows->stem, ".trace");
    if (ending != NULL) {
        memmove(ending, ending + 6, strlen(ending + 6) + 1);
    }
}

static bool trace_load(const struct windows *windows, struct rig_trace *trace)
{
    FILE *file = fopen(windows->path, "rb");
    if (file == NULL) {
        return fail(windows, windows->path, strerror(errno));
    }
    struct rig_trace_reader *reader = malloc(sizeof(*reader));
    if (reader == NULL) {
        (void)fclose(file);
        return fail(windows, windows->path, strerror(ENOMEM));
    }
    enum rig_trace_status status = rig_trace_read_begin(reader, rig_trace_from_file, file);
    if (status == RIG_TRACE_OK) {
        status = rig_trace_load(trace, reader, EVENT_COUNT_MAX);
    }
    const bool usable = status != RIG_TRACE_BAD && status != RIG_TRACE_NO_MEMORY;
    if (!usable) {
        (void)rig_trace_tell(reader, windows->path, windows->error, windows->error_bytes);
    }
    rig_trace_read_end(reader);
    free(reader);
    (void)fclose(file);
    return usable;
}

static bool program_write(const struct windows *windows, const struct rig_window_pick *chosen,
                          const struct rig_trace *trace, const struct rig_program *program,
                          const struct rig_window_report *report)
{
    char path[PATH_BYTES];
    const size_t text_bytes = rig_text_print(program, NULL, 0) + 1;
    char *text = malloc(text_bytes);
    if (text == NULL) {
        return fail(windows, windows->path, strerror(ENOMEM));
    }
    (void)rig_text_print(program, text, text_bytes);
    (void)snprintf(path, sizeof(path), "%s/%s-%s.heap", windows->out_dir, windows->stem,
                   chosen->what);
    FILE *file = fopen(path, "w");
    bool done = file != NULL;
    if (done) {
        done = fprintf(file,
                       "# %s, recorded: %s; events %zu to %zu of %zu, %zu left out, %zu sizes "
                       "rounded\n%s",
                       windows->stem, chosen->why, chosen->first_event, report->end_event,
                       trace->count, report->left_out_count, report->rounded_count, text) >= 0;
        done = fclose(file) == 0 && done;
    }
    free(text);
    return done || fail(windows, path, strerror(errno));
}

/* More is asked for than is wanted: a window that leaves out most of what happens, as all do where
 * older blocks are freed one by one, is not worth keeping. */
static bool windows_write(const struct windows *windows, const struct rig_trace *trace,
                          const struct rig_windows_options *options, size_t *written)
{
    struct rig_window_pick picks[PICK_COUNT_MAX];
    const size_t room = options->count < PICK_COUNT_MAX / 2 ? options->count * 2 : PICK_COUNT_MAX;
    const size_t count = rig_window_choose(trace, options->seed, picks, room);
    struct rig_program *program = malloc(sizeof(*program));
    bool done = program != NULL || fail(windows, windows->path, strerror(ENOMEM));
    for (size_t idx = 0; idx < count && *written < options->count && done; idx++) {
        const struct rig_window_options cut = {
            .heap = (uint8_t)(*written % 2),
            .seed = (uint16_t)(options->seed + *written),
            .record_count_max = options->record_count_max,
        };
        struct rig_window_report report;
        if (rig_window_cut(trace, picks[idx].first_event, &cut, program, &report) &&
            report.left_out_count <= (size_t)2 * program->count) {
            done = program_write(windows, &picks[idx], trace, program, &report);
            *written += done;
        }
    }
    free(program);
    return done;
}

bool rig_trace_windows(const char *path, const char *out_dir,
                       const struct rig_windows_options *options, size_t *written, char *error,
                       size_t error_bytes)
{
    struct windows windows = {
        .path = path, .out_dir = out_dir, .error = error, .error_bytes = error_bytes};
    struct rig_trace trace = {.count = 0};
    *written = 0;
    stem_find(&windows);
    const bool done =
        trace_load(&windows, &trace) && windows_write(&windows, &trace, options, written);
    rig_trace_free(&trace);
    return done;
}
