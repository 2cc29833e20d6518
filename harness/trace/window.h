/* SPDX-License-Identifier: MIT
 *
 * Windows: pieces of a recorded trace as programs of at most 256 slots and 512 records. Calls
 * trace.h, program/ and the C library.
 *
 * What a window keeps: order, sizes, zeroing, threads (mod 4). A block that was alive before the
 * window and is touched in it is allocated first, by a prologue. What it leaves out, and counts:
 * frees of older blocks where the prologue is full, alignments beyond the heap's own (they become
 * plain allocations), and, where more than 256 blocks would be alive at once, those that would
 * hold a slot the longest. A resize of an older block that the prologue has no room for begins that
 * block. */
#ifndef RIG_TRACE_WINDOW_H
#define RIG_TRACE_WINDOW_H

#include "program/program.h"
#include "trace/trace.h"

#define RIG_WINDOW_PROLOGUE_MAX 128u
#define RIG_WINDOW_EVENT_MAX 4096u /* of the trace, most of them left out by then */
#define RIG_WINDOW_RECORD_COUNT_MIN 16u
#define RIG_WINDOW_NO_NAME UINT32_MAX

struct rig_window_options {
    uint8_t heap;              /* 0: the process heap; 1: a growable private one, created first */
    uint16_t seed;             /* of the program, and of the mix of Rtl and Win32 spelling */
    uint16_t record_count_max; /* 16 to 512; 0: 512 */
};

struct rig_window_report {
    size_t end_event;      /* the window is [first_event, end_event) of the trace */
    size_t left_out_count; /* events without a record */
    size_t prologue_count; /* blocks made by the prologue */
    size_t rounded_count;  /* sizes that no size kind gives exactly */
    uint32_t
        slot_names[RIG_SLOT_COUNT]; /* the trace's block behind each slot at the window's end */
};

/* Cut the window that begins at `first_event` of the trace. `report` may be NULL.
 * Units: events. Errors: false when it has no record (or there is no memory); `program` is empty
 * then. */
bool rig_window_cut(const struct rig_trace *trace, size_t first_event,
                    const struct rig_window_options *options, struct rig_program *program,
                    struct rig_window_report *report);

/* Write `bytes` into the size fields of a record: exactly where a size kind without a state can,
 * else the nearest there is; whole numbers below 65536 as such. True when exact.
 * Units: bytes. Errors: none. */
bool rig_window_size(struct rig_record *record, uint64_t bytes);

/* A place worth a window. */
struct rig_window_pick {
    size_t first_event;
    char what[16];   /* for a file name: "large" */
    const char *why; /* for a reader: "the first block past the threshold" */
};

/* Choose at most `count_max` windows, the most telling first: first large block, most thread
 * switches, most reallocs, peak of live blocks, first 18 live blocks of a size class, start, end;
 * then random ones by `seed`. No two begin within 256 events.
 * Units: windows. Errors: 0 for an empty trace (or without memory). */
size_t rig_window_choose(const struct rig_trace *trace, uint64_t seed,
                         struct rig_window_pick *picks, size_t count_max);

struct rig_windows_options {
    size_t count; /* of windows, at most */
    uint64_t seed;
    uint16_t record_count_max; /* of each, as above */
};

/* Cut windows out of the trace file `path` and write each as text, DIR/<trace>-<what>.heap with a
 * first line that says what it is; they are on heap 0 and 1 by turns. Windows that would leave out
 * more than twice what they hold are passed over. A trace that was cut short will do, of a very
 * long one the first 8 Mi events count. `*written` is how many there are.
 * Units: windows. Errors: false with one line in `error`. */
bool rig_trace_windows(const char *path, const char *out_dir,
                       const struct rig_windows_options *options, size_t *written, char *error,
                       size_t error_bytes);

#endif
