/* SPDX-License-Identifier: MIT
 *
 * A trace: the blocks that a real program allocated, resized and freed, in order, as a file that
 * can be read and replayed event by event. Blocks have 32-bit names. Calls the C library only.
 *
 *   trace   header event* END
 *   header  'H' 'R' 'T' 'R' | version 1 | word bytes 4 or 8 | 0 | 0
 *   event   kind (1 byte), then its numbers
 *
 *       1 ALLOC     name size              malloc
 *       2 CALLOC    name size              calloc: the block is zero
 *       3 MEMALIGN  name log2 size         memalign, aligned_alloc, posix_memalign, valloc, pvalloc
 *       4 REALLOC   name size              the block keeps its name, wherever it lies now
 *       5 FREE      name
 *       6 THREAD    thread                 who makes the calls from here on; at first 0
 *       7 END       skipped                calls left out, on blocks whose birth was not seen
 *
 *   number  LEB128: seven bits a byte, lowest first, the high bit set on all but the last; in its
 *           shortest form; below 2^64
 *
 * Rules that a reader enforces, so that whoever replays may use plain arrays:
 *   - an allocating event names a block that is dead, or the next number never used (0, 1, 2 ...);
 *   - REALLOC and FREE name a live block;
 *   - THREAD names a thread seen before, or the next number;
 *   - a size fits into the trace's word, and so does an alignment.
 * A trace without END was cut short (the machine went down, the disk was full): what is there is
 * whole events and can be used. */
#ifndef RIG_TRACE_TRACE_H
#define RIG_TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_TRACE_VERSION 1u
#define RIG_TRACE_HEADER_BYTES 8u
#define RIG_TRACE_EVENT_BYTES_MAX 18u /* a kind, a name of 5 bytes, a log2 of 2, a size of 10 */
#define RIG_TRACE_BUFFER_BYTES 4096u

enum rig_trace_kind {
    RIG_TRACE_ALLOC = 1,
    RIG_TRACE_CALLOC,
    RIG_TRACE_MEMALIGN,
    RIG_TRACE_REALLOC,
    RIG_TRACE_FREE,
    RIG_TRACE_THREAD,
    RIG_TRACE_END,
    RIG_TRACE_KIND_COUNT
};

struct rig_trace_event {
    uint8_t kind;       /* enum rig_trace_kind */
    uint8_t align_log2; /* MEMALIGN: alignment is 2 to this */
    uint32_t name;      /* of the block; THREAD: the thread's */
    uint64_t size;      /* bytes; END: the number of calls left out */
};

/* True for the kinds that make a block of the name. Units: none. Errors: none. */
bool rig_trace_allocates(uint8_t kind);

/* ---- Where bytes come from and go to -------------------------------------------------------- */

/* Reads up to `len` bytes; fewer only at the end of the input. */
typedef size_t (*rig_trace_source)(void *self, uint8_t *bytes, size_t len);

/* Writes all `len` bytes; false when that failed. */
typedef bool (*rig_trace_sink)(void *self, const uint8_t *bytes, size_t len);

/* Bytes in memory as a source. */
struct rig_trace_memory {
    const uint8_t *bytes;
    size_t len;
};

/* `self` is a struct rig_trace_memory, which is used up. Units: bytes. Errors: none. */
size_t rig_trace_from_memory(void *self, uint8_t *bytes, size_t len);

/* `self` is a FILE open for reading. Units: bytes. Errors: a read error is an end. */
size_t rig_trace_from_file(void *self, uint8_t *bytes, size_t len);

/* `self` is a FILE open for writing. Units: bytes. Errors: false when a write failed. */
bool rig_trace_to_file(void *self, const uint8_t *bytes, size_t len);

/* ---- Reading -------------------------------------------------------------------------------- */

enum rig_trace_status {
    RIG_TRACE_OK = 0,
    RIG_TRACE_DONE,     /* END was read, and nothing follows it */
    RIG_TRACE_CUT,      /* the input ended without END; what was read so far holds */
    RIG_TRACE_BAD,      /* not a trace, from `offset` on */
    RIG_TRACE_NO_MEMORY /* for one bit a name */
};

/* Written whole by begin; holds memory until end. */
struct rig_trace_reader {
    rig_trace_source source;
    void *self;
    enum rig_trace_status status; /* the last one; any but OK stays */
    const char *expected;         /* BAD: what should have stood at `offset` */
    uint64_t offset;              /* of the byte or number that is read or was refused */
    uint64_t skipped;             /* DONE: what END says */
    uint64_t event_count;         /* events read, END aside */
    uint32_t name_count;          /* names used so far: 0 to name_count - 1 */
    uint32_t thread_count;
    uint8_t word_bytes;
    uint8_t *live; /* one bit a name */
    size_t live_bytes;
    uint64_t at; /* offset of the next byte */
    size_t next; /* its place in the buffer */
    size_t filled;
    uint8_t buffer[RIG_TRACE_BUFFER_BYTES];
};

/* Start reading: the header. Takes any bytes, reads each once. Whatever comes back, end the
 * reader.
 * Units: none. Errors: OK, BAD. */
enum rig_trace_status rig_trace_read_begin(struct rig_trace_reader *reader, rig_trace_source source,
                                           void *self);

/* Read one event. `event` is written only when OK comes back.
 * Units: none. Errors: OK for an event, else why there is none. */
enum rig_trace_status rig_trace_read(struct rig_trace_reader *reader,
                                     struct rig_trace_event *event);

/* Give back what the reader holds. Units: none. Errors: none. */
void rig_trace_read_end(struct rig_trace_reader *reader);

/* One line without a newline on how reading ended: "FILE: offset 8: expected ..." when the trace
 * is bad, "FILE: cut short ..." when it has no END, "" when all is well. Returns what snprintf
 * returns.
 * Units: bytes, the final NUL included. Errors: none. */
int rig_trace_tell(const struct rig_trace_reader *reader, const char *file, char *out,
                   size_t out_bytes);

/* ---- Writing -------------------------------------------------------------------------------- */

struct rig_trace_writer {
    rig_trace_sink sink;
    void *self;
    bool failed; /* the sink refused once */
    size_t used;
    uint8_t buffer[RIG_TRACE_BUFFER_BYTES];
};

/* Start writing: the header. `word_bytes` is 4 or 8. Units: none. Errors: shown by end. */
void rig_trace_write_begin(struct rig_trace_writer *writer, rig_trace_sink sink, void *self,
                           uint8_t word_bytes);

/* Write one event, which the caller has made to keep the rules. Units: none. Errors: shown by
 * end. */
void rig_trace_write(struct rig_trace_writer *writer, const struct rig_trace_event *event);

/* Write END and whatever is still in the buffer.
 * Units: none. Errors: false when the sink refused anything. */
bool rig_trace_write_end(struct rig_trace_writer *writer, uint64_t skipped);

/* ---- A whole trace in memory ---------------------------------------------------------------- */

struct rig_trace {
    struct rig_trace_event *events; /* THREAD events among them, END not */
    size_t count;
    uint32_t name_count;
    uint32_t thread_count;
    uint64_t skipped;
};

/* Read a whole trace, at most `count_max` events of it (the rest is not looked at). What came
 * before the end of a cut one is kept, and so is what came before a bad byte; the caller decides by
 * the reader's status. Free it with rig_trace_free, whatever comes back.
 * Units: events. Errors: OK when `count_max` ended it, else as rig_trace_read. */
enum rig_trace_status rig_trace_load(struct rig_trace *trace, struct rig_trace_reader *reader,
                                     size_t count_max);

/* Units: none. Errors: none. */
void rig_trace_free(struct rig_trace *trace);

#endif
