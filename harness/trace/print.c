/* SPDX-License-Identifier: MIT
 *
 * A trace as lines for people. Calls trace.h and the C library. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/print.h"

static int event_print(FILE *out, const struct rig_trace_event *event)
{
    const unsigned long long size = event->size;
    switch (event->kind) {
    case RIG_TRACE_ALLOC:
        return fprintf(out, "alloc %u %llu\n", event->name, size);
    case RIG_TRACE_CALLOC:
        return fprintf(out, "calloc %u %llu\n", event->name, size);
    case RIG_TRACE_MEMALIGN:
        return fprintf(out, "memalign %u %llu align=%llu\n", event->name, size,
                       1ull << event->align_log2);
    case RIG_TRACE_REALLOC:
        return fprintf(out, "realloc %u %llu\n", event->name, size);
    case RIG_TRACE_FREE:
        return fprintf(out, "free %u\n", event->name);
    default:
        return fprintf(out, "thread %u\n", event->name);
    }
}

bool rig_trace_print(const char *path, FILE *out, char *error, size_t error_bytes)
{
    FILE *file = fopen(path, "rb");
    struct rig_trace_reader *reader = malloc(sizeof(*reader));
    if (file == NULL || reader == NULL) {
        (void)snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        free(reader);
        if (file != NULL) {
            (void)fclose(file);
        }
        return false;
    }
    struct rig_trace_event event;
    bool wrote = true;
    if (rig_trace_read_begin(reader, rig_trace_from_file, file) == RIG_TRACE_OK) {
        while (wrote && rig_trace_read(reader, &event) == RIG_TRACE_OK) {
            wrote = event_print(out, &event) >= 0;
        }
    }
    const bool whole = reader->status == RIG_TRACE_DONE;
    if (whole) {
        wrote = fprintf(out, "end skipped=%llu\n", (unsigned long long)reader->skipped) >= 0;
    } else if (wrote) {
        (void)rig_trace_tell(reader, path, error, error_bytes);
    }
    if (!wrote) {
        (void)snprintf(error, error_bytes, "standard output: %s", strerror(errno));
    }
    rig_trace_read_end(reader);
    free(reader);
    (void)fclose(file);
    return whole && wrote;
}
