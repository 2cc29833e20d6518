/* SPDX-License-Identifier: MIT
 *
 * From what the recorder left behind to a trace. Calls the map of names and the trace's writer. */
#include <stdlib.h>
#include <string.h>

#include "trace/names.h"
#include "trace/raw.h"

struct finish {
    rig_trace_source source;
    void *from;
    uint64_t at; /* in the raw file */
    struct rig_raw_header header;
    struct rig_trace_writer writer;
    struct rig_raw_report *report;
    struct rig_names blocks;  /* address -> name */
    struct rig_names threads; /* the recorder's number and 1 -> the trace's number */
    uint64_t *sizes;          /* of the blocks, by name */
    uint32_t *dead;           /* names to use again, the last one first */
    size_t dead_count;
    size_t name_count;
    size_t name_room;
    uint64_t live_bytes;
    uint32_t thread; /* who made the last event */
    enum rig_trace_status status;
};

/* ---- Reading -------------------------------------------------------------------------------- */

static void stop(struct finish *finish, enum rig_trace_status status, const char *expected)
{
    finish->status = status;
    finish->report->expected = expected;
    finish->report->offset = finish->at;
}

static bool take(struct finish *finish, void *into, size_t len)
{
    uint8_t *bytes = into;
    size_t done = 0;
    while (done < len) {
        const size_t got = finish->source(finish->from, bytes + done, len - done);
        if (got == 0) {
            return false;
        }
        done += got;
    }
    finish->at += len;
    return true;
}

static bool header_take(struct finish *finish)
{
    uint8_t rest[RIG_RAW_HEADER_BYTES - sizeof(finish->header)];
    const bool whole =
        take(finish, &finish->header, sizeof(finish->header)) && take(finish, rest, sizeof(rest));
    finish->at = 0;
    if (!whole || finish->header.magic != RIG_RAW_MAGIC) {
        stop(finish, RIG_TRACE_BAD, "a header of the recorder");
        finish->header = (struct rig_raw_header){.word_bytes = 8};
        return false;
    }
    if (finish->header.word_bytes != 4 && finish->header.word_bytes != 8) {
        stop(finish, RIG_TRACE_BAD, "a word of 4 or 8 bytes");
        finish->header.word_bytes = 8;
        return false;
    }
    finish->at = RIG_RAW_HEADER_BYTES;
    finish->report->stop_reason = finish->header.stop_reason;
    return true;
}

/* The words of the next event; false when there is none. */
static bool words_take(struct finish *finish, uint64_t words[RIG_RAW_EVENT_WORDS_MAX])
{
    const uint64_t end = RIG_RAW_HEADER_BYTES + finish->header.used_bytes;
    if (finish->at >= end || end < RIG_RAW_HEADER_BYTES) {
        return false;
    }
    if (!take(finish, words, sizeof(words[0]))) {
        stop(finish, RIG_TRACE_CUT, NULL);
        return false;
    }
    const unsigned count = rig_raw_words(words[0] & 0xFF);
    if (count == 0) {
        finish->at -= sizeof(words[0]);
        stop(finish, RIG_TRACE_BAD, "an event of the recorder");
        return false;
    }
    if (!take(finish, words + 1, (count - 1) * sizeof(words[0]))) {
        stop(finish, RIG_TRACE_CUT, NULL);
        return false;
    }
    return true;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static bool names_grow(struct finish *finish)
{
    const size_t room = finish->name_room == 0 ? 1024 : finish->name_room * 2;
    uint64_t *sizes = realloc(finish->sizes, room * sizeof(*sizes));
    if (sizes == NULL) {
        return false;
    }
    finish->sizes = sizes;
    uint32_t *dead = realloc(finish->dead, room * sizeof(*dead));
    if (dead == NULL) {
        return false;
    }
    finish->dead = dead;
    finish->name_room = room;
    return true;
}

static bool name_draw(struct finish *finish, uint32_t *name)
{
    if (finish->dead_count != 0) {
        *name = finish->dead[--finish->dead_count];
        return true;
    }
    if (finish->name_count == UINT32_MAX ||
        (finish->name_count == finish->name_room && !names_grow(finish))) {
        return false;
    }
    *name = (uint32_t)finish->name_count++;
    return true;
}

/* ---- Events --------------------------------------------------------------------------------- */

static void event_put(struct finish *finish, enum rig_trace_kind kind, unsigned align_log2,
                      uint32_t name, uint64_t size)
{
    const struct rig_trace_event event = {
        .kind = (uint8_t)kind,
        .align_log2 = (uint8_t)align_log2,
        .name = name,
        .size = size,
    };
    rig_trace_write(&finish->writer, &event);
    finish->report->event_count++;
}

static void thread_set(struct finish *finish, uint32_t recorded)
{
    const struct rig_names_entry *entry = rig_names_find(&finish->threads, recorded + 1ull);
    uint32_t thread = finish->report->thread_count;
    if (entry != NULL) {
        thread = entry->name;
    } else if (rig_names_add(&finish->threads, recorded + 1ull, thread)) {
        finish->report->thread_count++;
    } else {
        stop(finish, RIG_TRACE_NO_MEMORY, NULL);
        return;
    }
    if (finish->thread != thread) {
        finish->thread = thread;
        event_put(finish, RIG_TRACE_THREAD, 0, thread, 0);
    }
}

static void size_set(struct finish *finish, uint32_t name, uint64_t size)
{
    finish->live_bytes += size - finish->sizes[name];
    finish->sizes[name] = size;
    if (finish->live_bytes > finish->report->peak_bytes) {
        finish->report->peak_bytes = finish->live_bytes;
    }
}

static void block_free(struct finish *finish, struct rig_names_entry *entry)
{
    event_put(finish, RIG_TRACE_FREE, 0, entry->name, 0);
    size_set(finish, entry->name, 0);
    finish->dead[finish->dead_count++] = entry->name;
    rig_names_remove(&finish->blocks, entry);
}

/* The address is in use from here on; whoever had it must have given it up unseen. */
static void address_claim(struct finish *finish, uint64_t address)
{
    struct rig_names_entry *entry = rig_names_find(&finish->blocks, address);
    if (entry != NULL) {
        finish->report->implied++;
        block_free(finish, entry);
    }
}

static void block_make(struct finish *finish, enum rig_trace_kind kind, unsigned align_log2,
                       uint64_t address, uint64_t size)
{
    uint32_t name = 0;
    address_claim(finish, address);
    if (!name_draw(finish, &name) || !rig_names_add(&finish->blocks, address, name)) {
        stop(finish, RIG_TRACE_NO_MEMORY, NULL);
        return;
    }
    finish->sizes[name] = 0;
    size_set(finish, name, size);
    event_put(finish, kind, align_log2, name, size);
    finish->report->block_count++;
    if (finish->blocks.count > finish->report->peak_count) {
        finish->report->peak_count = finish->blocks.count;
    }
}

static void block_move(struct finish *finish, uint64_t old, uint64_t address, uint64_t size)
{
    if (old != address) {
        address_claim(finish, address);
    }
    struct rig_names_entry *entry = rig_names_find(&finish->blocks, old);
    if (entry == NULL) {
        finish->report->skipped++;
        block_make(finish, RIG_TRACE_ALLOC, 0, address, size);
        return;
    }
    const uint32_t name = entry->name;
    size_set(finish, name, size);
    event_put(finish, RIG_TRACE_REALLOC, 0, name, size);
    rig_names_remove(&finish->blocks, entry);
    if (!rig_names_add(&finish->blocks, address, name)) {
        stop(finish, RIG_TRACE_NO_MEMORY, NULL);
    }
}

/* What no program can have done: an address of 0, more than a word holds. */
static bool words_make_sense(const struct finish *finish,
                             const uint64_t words[RIG_RAW_EVENT_WORDS_MAX])
{
    const unsigned count = rig_raw_words(words[0] & 0xFF);
    const unsigned align_log2 = words[0] >> 8 & 0xFF;
    const uint64_t word_max = finish->header.word_bytes == 8 ? UINT64_MAX : UINT32_MAX;
    return words[1] != 0 && (count != 4 || words[2] != 0) &&
           (count == 2 || words[count - 1] <= word_max) &&
           align_log2 < finish->header.word_bytes * 8u;
}

static void event_take(struct finish *finish, const uint64_t words[RIG_RAW_EVENT_WORDS_MAX])
{
    const enum rig_trace_kind kind = (enum rig_trace_kind)(words[0] & 0xFF);
    if (!words_make_sense(finish, words)) {
        stop(finish, RIG_TRACE_BAD,
             "addresses and sizes that a program can have, before this place");
        return;
    }
    thread_set(finish, (uint32_t)(words[0] >> 32));
    if (finish->status != RIG_TRACE_OK) {
        return;
    }
    if (rig_trace_allocates((uint8_t)kind)) {
        const unsigned align_log2 = kind == RIG_TRACE_MEMALIGN ? words[0] >> 8 & 0xFF : 0;
        block_make(finish, kind, align_log2, words[1], words[2]);
    } else if (kind == RIG_TRACE_REALLOC) {
        block_move(finish, words[1], words[2], words[3]);
    } else {
        struct rig_names_entry *entry = rig_names_find(&finish->blocks, words[1]);
        if (entry == NULL) {
            finish->report->skipped++;
        } else {
            block_free(finish, entry);
        }
    }
}

enum rig_trace_status rig_raw_finish(rig_trace_source source, void *from, rig_trace_sink sink,
                                     void *to, bool *written, struct rig_raw_report *report)
{
    memset(report, 0, sizeof(*report));
    struct finish finish = {.source = source, .from = from, .report = report};
    uint64_t words[RIG_RAW_EVENT_WORDS_MAX];
    bool more = header_take(&finish);
    rig_trace_write_begin(&finish.writer, sink, to, (uint8_t)finish.header.word_bytes);
    while (more && finish.status == RIG_TRACE_OK && words_take(&finish, words)) {
        event_take(&finish, words);
    }
    report->left_count = finish.blocks.count;
    *written = rig_trace_write_end(&finish.writer, report->skipped);
    rig_names_free(&finish.blocks);
    rig_names_free(&finish.threads);
    free(finish.sizes);
    free(finish.dead);
    return finish.status == RIG_TRACE_OK ? RIG_TRACE_DONE : finish.status;
}
