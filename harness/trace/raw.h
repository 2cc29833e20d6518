/* SPDX-License-Identifier: MIT
 *
 * What the preloaded recorder leaves behind, one file a process image, in a directory:
 *
 *   DIR/count   8 bytes, shared by all processes: how many files have been begun
 *   DIR/N       the N-th file, from 0, in the order of the processes' first calls
 *
 *   file    header (one page) | events | whatever lies behind `used_bytes`
 *   header  struct rig_raw_header
 *   event   words of 8 bytes in the machine's own order; the first one is
 *           kind (8 bits, enum rig_trace_kind) | log2 of the alignment (8) | 0 (16) | thread (32)
 *
 *       ALLOC, CALLOC, MEMALIGN   address  size
 *       REALLOC                   old address  new address  size
 *       FREE                      address
 *
 * Order is the order of effects: a FREE stands before anything that got its address again. Shared
 * by the recorder, which can call nothing of the rig, and rig_raw_finish. */
#ifndef RIG_TRACE_RAW_H
#define RIG_TRACE_RAW_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/trace.h"

#define RIG_RAW_MAGIC UINT64_C(0x3157415254525248) /* "HRTRRAW1" in little-endian order */
#define RIG_RAW_HEADER_BYTES 4096u
#define RIG_RAW_EVENT_WORDS_MAX 4u

struct rig_raw_header {
    uint64_t magic;
    uint64_t used_bytes;  /* of whole events; written after each, and last */
    uint32_t word_bytes;  /* of the recorded program */
    uint32_t stop_reason; /* errno that ended the recording before the process ended; else 0 */
};

static_assert(sizeof(struct rig_raw_header) == 24, "no padding");
static_assert(offsetof(struct rig_raw_header, used_bytes) == 8, "aligned for atomic writing");

/* First word of an event. */
static inline uint64_t rig_raw_word(enum rig_trace_kind kind, unsigned align_log2, uint32_t thread)
{
    return (uint64_t)kind | (uint64_t)align_log2 << 8 | (uint64_t)thread << 32;
}

/* Words of an event, the first included; 0 for a kind that no raw file holds. */
static inline unsigned rig_raw_words(unsigned kind)
{
    static const uint8_t words[] = {
        [RIG_TRACE_ALLOC] = 3,   [RIG_TRACE_CALLOC] = 3, [RIG_TRACE_MEMALIGN] = 3,
        [RIG_TRACE_REALLOC] = 4, [RIG_TRACE_FREE] = 2,
    };
    return kind < sizeof(words) ? words[kind] : 0;
}

/* What rig_raw_finish met. */
struct rig_raw_report {
    uint64_t event_count;  /* written, END aside */
    uint64_t block_count;  /* blocks made */
    uint64_t peak_count;   /* most blocks alive at once */
    uint64_t peak_bytes;   /* most bytes alive at once */
    uint64_t left_count;   /* blocks alive at the end */
    uint64_t skipped;      /* frees and resizes of blocks whose birth was not seen */
    uint64_t implied;      /* frees that nobody recorded, seen when the address came back */
    uint32_t thread_count; /* threads that made a call */
    uint32_t stop_reason;  /* as in the header */
    const char *expected;  /* BAD: what should have stood at `offset` */
    uint64_t offset;
};

/* Turn a raw file into a trace: addresses become names, threads get numbers in the order of
 * appearance, END is written. Any bytes will do as input; what stood before a bad place is kept, so
 * that the trace is whole in any case but NO_MEMORY.
 * Units: none. Errors: DONE when all was well, CUT when the file is shorter than its header says,
 * BAD, NO_MEMORY. A sink that refuses shows as `*written` false. */
enum rig_trace_status rig_raw_finish(rig_trace_source source, void *from, rig_trace_sink sink,
                                     void *to, bool *written, struct rig_raw_report *report);

#endif
