/* SPDX-License-Identifier: MIT
 *
 * A trace as lines for people: "alloc 0 100", "memalign 1 64 align=64", "realloc 0 200", "free 0",
 * "thread 1", "end skipped=0". */
#ifndef RIG_TRACE_PRINT_H
#define RIG_TRACE_PRINT_H

#include <stdio.h>

#include "trace/trace.h"

/* Print the trace file `path`, as far as it can be read.
 * Units: none. Errors: false with one line in `error`; a trace that was cut short is one. */
bool rig_trace_print(const char *path, FILE *out, char *error, size_t error_bytes);

#endif
