/* SPDX-License-Identifier: MIT
 *
 * Reads and writes traces. Calls the C library only. */
#include "trace/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/check.h"

static const uint8_t magic[4] = {'H', 'R', 'T', 'R'};

bool rig_trace_allocates(uint8_t kind)
{
    return kind == RIG_TRACE_ALLOC || kind == RIG_TRACE_CALLOC || kind == RIG_TRACE_MEMALIGN;
}

/* ---- Sources and sinks ---------------------------------------------------------------------- */

size_t rig_trace_from_memory(void *self, uint8_t *bytes, size_t len)
{
    struct rig_trace_memory *memory = self;
    const size_t taken = memory->len < len ? memory->len : len;
    if (taken != 0) {
        memcpy(bytes, memory->bytes, taken);
        memory->bytes += taken;
        memory->len -= taken;
    }
    return taken;
}

size_t rig_trace_from_file(void *self, uint8_t *bytes, size_t len)
{
    return fread(bytes, 1, len, self);
}

bool rig_trace_to_file(void *self, const uint8_t *bytes, size_t len)
{
    return fwrite(bytes, 1, len, self) == len;
}

/* ---- Bytes and numbers ---------------------------------------------------------------------- */

static enum rig_trace_status stop(struct rig_trace_reader *reader, enum rig_trace_status status)
{
    reader->status = status;
    return status;
}

static enum rig_trace_status refuse(struct rig_trace_reader *reader, const char *expected)
{
    reader->expected = expected;
    return stop(reader, RIG_TRACE_BAD);
}

/* The next byte, or -1 at the end of the input. */
static int byte_next(struct rig_trace_reader *reader)
{
    if (reader->next == reader->filled) {
        reader->next = 0;
        reader->filled = reader->source(reader->self, reader->buffer, sizeof(reader->buffer));
        RIG_CHECK(reader->filled <= sizeof(reader->buffer));
        if (reader->filled == 0) {
            return -1;
        }
    }
    reader->at++;
    return reader->buffer[reader->next++];
}

/* A number of the event at hand, at most `max`. */
static enum rig_trace_status number_next(struct rig_trace_reader *reader, uint64_t max,
                                         const char *expected, uint64_t *number)
{
    reader->offset = reader->at;
    *number = 0;
    for (unsigned shift = 0;; shift += 7) {
        const int byte = byte_next(reader);
        if (byte < 0) {
            return stop(reader, RIG_TRACE_CUT);
        }
        const uint64_t bits = (unsigned)byte & 0x7Fu;
        if (shift == 63 && (byte & ~1) != 0) {
            return refuse(reader, "a number below 2^64");
        }
        *number |= bits << shift;
        if ((byte & 0x80) == 0) {
            if (byte == 0 && shift != 0) {
                return refuse(reader, "a number in its shortest form");
            }
            break;
        }
    }
    return *number <= max ? RIG_TRACE_OK : refuse(reader, expected);
}

static uint64_t word_max(const struct rig_trace_reader *reader)
{
    return reader->word_bytes == 8 ? UINT64_MAX : UINT32_MAX;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static bool name_lives(const struct rig_trace_reader *reader, uint32_t name)
{
    return name < reader->name_count && (reader->live[name / 8] >> name % 8 & 1) != 0;
}

static void name_flip(struct rig_trace_reader *reader, uint32_t name)
{
    reader->live[name / 8] = (uint8_t)(reader->live[name / 8] ^ 1u << name % 8);
}

/* Room for one more name. */
static bool names_grow(struct rig_trace_reader *reader)
{
    if (reader->name_count / 8 < reader->live_bytes) {
        return true;
    }
    const size_t grown_bytes = reader->live_bytes == 0 ? 64 : reader->live_bytes * 2;
    uint8_t *grown = realloc(reader->live, grown_bytes);
    if (grown == NULL) {
        return false;
    }
    memset(grown + reader->live_bytes, 0, grown_bytes - reader->live_bytes);
    reader->live = grown;
    reader->live_bytes = grown_bytes;
    return true;
}

static enum rig_trace_status name_of_new(struct rig_trace_reader *reader, uint32_t *name)
{
    uint64_t number = 0;
    const uint64_t max = reader->name_count == UINT32_MAX ? UINT32_MAX - 1u : reader->name_count;
    if (number_next(reader, max, "a dead block's name, or the next new one", &number) !=
        RIG_TRACE_OK) {
        return reader->status;
    }
    *name = (uint32_t)number;
    if (name_lives(reader, *name)) {
        return refuse(reader, "a dead block's name, or the next new one");
    }
    return RIG_TRACE_OK;
}

static enum rig_trace_status name_of_live(struct rig_trace_reader *reader, uint32_t *name)
{
    uint64_t number = 0;
    if (number_next(reader, UINT32_MAX, "a live block's name", &number) != RIG_TRACE_OK) {
        return reader->status;
    }
    *name = (uint32_t)number;
    return name_lives(reader, *name) ? RIG_TRACE_OK : refuse(reader, "a live block's name");
}

static enum rig_trace_status name_born(struct rig_trace_reader *reader, uint32_t name)
{
    if (name == reader->name_count) {
        if (!names_grow(reader)) {
            return stop(reader, RIG_TRACE_NO_MEMORY);
        }
        reader->name_count++;
    }
    name_flip(reader, name);
    return RIG_TRACE_OK;
}

/* ---- Reading -------------------------------------------------------------------------------- */

static enum rig_trace_status read_size(struct rig_trace_reader *reader,
                                       struct rig_trace_event *event)
{
    return number_next(reader, word_max(reader), "a size of one word", &event->size);
}

static enum rig_trace_status read_allocation(struct rig_trace_reader *reader,
                                             struct rig_trace_event *event)
{
    uint64_t align_log2 = 0;
    if (name_of_new(reader, &event->name) != RIG_TRACE_OK) {
        return reader->status;
    }
    if (event->kind == RIG_TRACE_MEMALIGN &&
        number_next(reader, reader->word_bytes * 8u - 1u, "an alignment of one word",
                    &align_log2) != RIG_TRACE_OK) {
        return reader->status;
    }
    event->align_log2 = (uint8_t)align_log2;
    if (read_size(reader, event) != RIG_TRACE_OK) {
        return reader->status;
    }
    return name_born(reader, event->name);
}

static enum rig_trace_status read_realloc(struct rig_trace_reader *reader,
                                          struct rig_trace_event *event)
{
    if (name_of_live(reader, &event->name) != RIG_TRACE_OK) {
        return reader->status;
    }
    return read_size(reader, event);
}

static enum rig_trace_status read_free(struct rig_trace_reader *reader,
                                       struct rig_trace_event *event)
{
    if (name_of_live(reader, &event->name) == RIG_TRACE_OK) {
        name_flip(reader, event->name);
    }
    return reader->status;
}

static enum rig_trace_status read_thread(struct rig_trace_reader *reader,
                                         struct rig_trace_event *event)
{
    uint64_t thread = 0;
    const uint32_t max =
        reader->thread_count == UINT32_MAX ? UINT32_MAX - 1u : reader->thread_count;
    if (number_next(reader, max, "a thread seen before, or the next new one", &thread) ==
        RIG_TRACE_OK) {
        event->name = (uint32_t)thread;
        reader->thread_count += thread == reader->thread_count;
    }
    return reader->status;
}

static enum rig_trace_status read_end(struct rig_trace_reader *reader)
{
    uint64_t skipped = 0;
    if (number_next(reader, UINT64_MAX, "a count", &skipped) != RIG_TRACE_OK) {
        return reader->status;
    }
    reader->offset = reader->at;
    if (byte_next(reader) >= 0) {
        return refuse(reader, "the end of the file");
    }
    reader->skipped = skipped;
    return stop(reader, RIG_TRACE_DONE);
}

static enum rig_trace_status read_kind(struct rig_trace_reader *reader,
                                       struct rig_trace_event *event)
{
    switch (event->kind) {
    case RIG_TRACE_ALLOC:
    case RIG_TRACE_CALLOC:
    case RIG_TRACE_MEMALIGN:
        return read_allocation(reader, event);
    case RIG_TRACE_REALLOC:
        return read_realloc(reader, event);
    case RIG_TRACE_FREE:
        return read_free(reader, event);
    case RIG_TRACE_THREAD:
        return read_thread(reader, event);
    case RIG_TRACE_END:
        return read_end(reader);
    default:
        return refuse(reader, "an event's kind, 1 to 7");
    }
}

enum rig_trace_status rig_trace_read_begin(struct rig_trace_reader *reader, rig_trace_source source,
                                           void *self)
{
    memset(reader, 0, sizeof(*reader));
    reader->source = source;
    reader->self = self;
    reader->thread_count = 1;
    uint8_t header[RIG_TRACE_HEADER_BYTES];
    for (size_t idx = 0; idx < sizeof(header); idx++) {
        const int byte = byte_next(reader);
        if (byte < 0) {
            return refuse(reader, "a header of 8 bytes");
        }
        header[idx] = (uint8_t)byte;
    }
    if (memcmp(header, magic, sizeof(magic)) != 0) {
        return refuse(reader, "the letters HRTR");
    }
    reader->offset = 4;
    if (header[4] != RIG_TRACE_VERSION) {
        return refuse(reader, "version 1");
    }
    reader->offset = 5;
    reader->word_bytes = header[5];
    if (reader->word_bytes != 4 && reader->word_bytes != 8) {
        return refuse(reader, "a word of 4 or 8 bytes");
    }
    reader->offset = 6;
    return header[6] == 0 && header[7] == 0 ? RIG_TRACE_OK : refuse(reader, "two bytes of zero");
}

enum rig_trace_status rig_trace_read(struct rig_trace_reader *reader, struct rig_trace_event *event)
{
    if (reader->status != RIG_TRACE_OK) {
        return reader->status;
    }
    reader->offset = reader->at;
    const int kind = byte_next(reader);
    if (kind < 0) {
        return stop(reader, RIG_TRACE_CUT);
    }
    struct rig_trace_event read = {.kind = (uint8_t)kind};
    if (read_kind(reader, &read) == RIG_TRACE_OK) {
        reader->event_count++;
        *event = read;
    }
    return reader->status;
}

void rig_trace_read_end(struct rig_trace_reader *reader)
{
    free(reader->live);
    reader->live = NULL;
    reader->live_bytes = 0;
    reader->name_count = 0;
}

int rig_trace_tell(const struct rig_trace_reader *reader, const char *file, char *out,
                   size_t out_bytes)
{
    const unsigned long long offset = reader->offset;
    switch (reader->status) {
    case RIG_TRACE_BAD:
        return snprintf(out, out_bytes, "%s: offset %llu: expected %s", file, offset,
                        reader->expected);
    case RIG_TRACE_CUT:
        return snprintf(out, out_bytes, "%s: cut short at offset %llu, after %llu whole events",
                        file, (unsigned long long)reader->at,
                        (unsigned long long)reader->event_count);
    case RIG_TRACE_NO_MEMORY:
        return snprintf(out, out_bytes, "%s: offset %llu: expected fewer names: out of memory",
                        file, offset);
    default:
        return snprintf(out, out_bytes, "%s", "");
    }
}

/* ---- Writing -------------------------------------------------------------------------------- */

static void flush(struct rig_trace_writer *writer)
{
    if (writer->used != 0 && !writer->failed) {
        writer->failed = !writer->sink(writer->self, writer->buffer, writer->used);
    }
    writer->used = 0;
}

static void put_number(struct rig_trace_writer *writer, uint64_t number)
{
    while (number > 0x7F) {
        writer->buffer[writer->used++] = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    writer->buffer[writer->used++] = (uint8_t)number;
}

void rig_trace_write_begin(struct rig_trace_writer *writer, rig_trace_sink sink, void *self,
                           uint8_t word_bytes)
{
    RIG_CHECK(word_bytes == 4 || word_bytes == 8);
    writer->sink = sink;
    writer->self = self;
    writer->failed = false;
    writer->used = RIG_TRACE_HEADER_BYTES;
    memset(writer->buffer, 0, RIG_TRACE_HEADER_BYTES);
    memcpy(writer->buffer, magic, sizeof(magic));
    writer->buffer[4] = RIG_TRACE_VERSION;
    writer->buffer[5] = word_bytes;
}

void rig_trace_write(struct rig_trace_writer *writer, const struct rig_trace_event *event)
{
    RIG_CHECK(event->kind >= RIG_TRACE_ALLOC);
    RIG_CHECK(event->kind <= RIG_TRACE_END);
    if (sizeof(writer->buffer) - writer->used < RIG_TRACE_EVENT_BYTES_MAX) {
        flush(writer);
    }
    writer->buffer[writer->used++] = event->kind;
    if (event->kind != RIG_TRACE_END) {
        put_number(writer, event->name);
    }
    if (event->kind == RIG_TRACE_MEMALIGN) {
        put_number(writer, event->align_log2);
    }
    if (event->kind != RIG_TRACE_FREE && event->kind != RIG_TRACE_THREAD) {
        put_number(writer, event->size);
    }
}

bool rig_trace_write_end(struct rig_trace_writer *writer, uint64_t skipped)
{
    rig_trace_write(writer, &(struct rig_trace_event){.kind = RIG_TRACE_END, .size = skipped});
    flush(writer);
    return !writer->failed;
}

/* ---- A whole trace -------------------------------------------------------------------------- */

static bool trace_append(struct rig_trace *trace, size_t *room, const struct rig_trace_event *event)
{
    if (trace->count == *room) {
        const size_t grown_room = *room == 0 ? 1024 : *room * 2;
        struct rig_trace_event *grown = realloc(trace->events, grown_room * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        trace->events = grown;
        *room = grown_room;
    }
    trace->events[trace->count++] = *event;
    return true;
}

enum rig_trace_status rig_trace_load(struct rig_trace *trace, struct rig_trace_reader *reader,
                                     size_t count_max)
{
    memset(trace, 0, sizeof(*trace));
    size_t room = 0;
    struct rig_trace_event event;
    while (trace->count < count_max && rig_trace_read(reader, &event) == RIG_TRACE_OK) {
        if (!trace_append(trace, &room, &event)) {
            (void)stop(reader, RIG_TRACE_NO_MEMORY);
        }
    }
    trace->name_count = reader->name_count;
    trace->thread_count = reader->thread_count;
    trace->skipped = reader->skipped;
    return reader->status;
}

void rig_trace_free(struct rig_trace *trace)
{
    free(trace->events);
    memset(trace, 0, sizeof(*trace));
}
