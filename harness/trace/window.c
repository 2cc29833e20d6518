/* SPDX-License-Identifier: MIT
 *
 * Cuts one window out of a trace: a linear scan that gives blocks slots for as long as they live.
 * Three passes over the window's events: what happens to which block, which blocks get no slot,
 * writing. Calls trace.h, program/ and the C library. */
#include "trace/window.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "program/size.h"
#include "run/check.h"

#define BLOCK_COUNT_MAX RIG_RECORD_COUNT_MAX /* each takes a record to be made */

/* ---- Sizes ---------------------------------------------------------------------------------- */

struct size_search {
    uint64_t bytes;
    uint64_t distance;
    struct rig_record best;
};

static void size_try(struct size_search *search, enum rig_size_kind kind, unsigned detail,
                     uint64_t value)
{
    if (value > UINT16_MAX || search->distance == 0) {
        return;
    }
    const struct rig_record record = {
        .size_class = (uint8_t)((unsigned)kind | detail << 4),
        .value = (uint16_t)value,
    };
    const uint64_t bytes = rig_size_resolve(&record, &(struct rig_size_facts){.slot_bytes = 0});
    const uint64_t distance = bytes > search->bytes ? bytes - search->bytes : search->bytes - bytes;
    if (distance < search->distance) {
        search->distance = distance;
        search->best = record;
    }
}

/* The size as a step of one signed byte from `from`, which the high byte `hi` stands for. */
static void size_try_step(struct size_search *search, enum rig_size_kind kind, unsigned hi,
                          uint64_t from)
{
    const uint64_t up = search->bytes > from ? search->bytes - from : 0;
    const uint64_t down = search->bytes < from ? from - search->bytes : 0;
    const unsigned step = up != 0 ? (unsigned)(up < 0x7F ? up : 0x7F)
                                  : (0x100u - (unsigned)(down < 0x80 ? down : 0x80)) & 0xFFu;
    size_try(search, kind, 0, hi << 8 | step);
}

bool rig_window_size(struct rig_record *record, uint64_t bytes)
{
    struct size_search search = {
        .bytes = bytes < SIZE_MAX ? bytes : SIZE_MAX,
        .distance = UINT64_MAX,
    };
    size_try(&search, RIG_SIZE_LITERAL, 0, bytes);
    for (unsigned factor = 2; factor <= 16; factor++) {
        size_try(&search, RIG_SIZE_LINEAR, factor - 1, bytes / factor);
        size_try(&search, RIG_SIZE_LINEAR, factor - 1, bytes / factor + 1);
    }
    for (unsigned idx = 0; idx < rig_size_boundary_count(); idx++) {
        size_try_step(&search, RIG_SIZE_BOUNDARY, idx, rig_size_boundary(idx));
    }
    for (unsigned exponent = 16; exponent < sizeof(size_t) * 8; exponent++) {
        size_try_step(&search, RIG_SIZE_POWER, exponent, (uint64_t)1 << exponent);
    }
    const uint64_t pages = bytes / RIG_PAGE_BYTES;
    const unsigned less = (unsigned)(RIG_PAGE_BYTES - bytes % RIG_PAGE_BYTES);
    if (pages < 2047) {
        size_try(&search, RIG_SIZE_PAGES, 0, pages);
        size_try(&search, RIG_SIZE_PAGES, less < 15 ? less : 15, pages + 1);
    }
    size_try(&search, RIG_SIZE_LINEAR, 15, UINT16_MAX);
    size_try(&search, RIG_SIZE_PAGES, 0, 2047);
    record->size_class = search.best.size_class;
    record->value = search.best.value;
    return search.distance == 0 && search.bytes == bytes;
}

/* ---- What happens to which block ------------------------------------------------------------ */

/* A block of the window, from its allocation (or the prologue) to its free (or the end). */
struct block {
    uint32_t name;
    size_t birth;  /* event; of a prologue block the window's first */
    size_t death;  /* event, or SIZE_MAX */
    uint64_t size; /* of a prologue block */
    bool in_prologue;
    bool has_slot;
    uint8_t slot;
};

struct window {
    const struct rig_trace *trace;
    size_t first;
    size_t end;
    uint32_t thread_at_first;
    uint64_t *sizes;                                  /* of the blocks alive at `first`, by name */
    uint16_t *current;                                /* by name: place in `blocks` and 1, or 0 */
    struct block *event_blocks[RIG_WINDOW_EVENT_MAX]; /* whom the event is about, or NULL */
    struct block blocks[BLOCK_COUNT_MAX];
    size_t block_count;
    size_t prologue_count;
};

static_assert(BLOCK_COUNT_MAX < UINT16_MAX, "a place in `blocks` fits into `current`");

/* State of the trace before the window. */
static void state_at_first(struct window *window)
{
    for (size_t at = 0; at < window->first; at++) {
        const struct rig_trace_event *event = &window->trace->events[at];
        if (event->kind == RIG_TRACE_THREAD) {
            window->thread_at_first = event->name;
        } else if (event->kind != RIG_TRACE_FREE) {
            window->sizes[event->name] = event->size;
        }
    }
}

static struct block *block_add(struct window *window, uint32_t name, size_t birth)
{
    RIG_CHECK(window->block_count < BLOCK_COUNT_MAX);
    struct block *block = &window->blocks[window->block_count];
    *block = (struct block){.name = name, .birth = birth, .death = SIZE_MAX, .has_slot = true};
    window->current[name] = (uint16_t)++window->block_count;
    return block;
}

/* The block that an event is about, NULL where it is left out; `*records` is what it takes. */
static struct block *event_block(struct window *window, size_t at, size_t *records)
{
    const struct rig_trace_event *event = &window->trace->events[at];
    *records = 1;
    if (rig_trace_allocates(event->kind)) {
        return block_add(window, event->name, at);
    }
    if (window->current[event->name] != 0) {
        return &window->blocks[window->current[event->name] - 1u];
    }
    if (window->prologue_count < RIG_WINDOW_PROLOGUE_MAX) {
        struct block *block = block_add(window, event->name, window->first);
        block->in_prologue = true;
        block->size = window->sizes[event->name];
        window->prologue_count++;
        *records = 2;
        return block;
    }
    if (event->kind == RIG_TRACE_REALLOC) {
        return block_add(window, event->name, at);
    }
    *records = 0;
    return NULL;
}

/* Take events while their records fit. */
static void events_gather(struct window *window, size_t record_room)
{
    const size_t left = window->trace->count - window->first;
    const size_t count = left < RIG_WINDOW_EVENT_MAX ? left : RIG_WINDOW_EVENT_MAX;
    size_t idx = 0;
    for (; idx < count && record_room >= 2; idx++) {
        const struct rig_trace_event *event = &window->trace->events[window->first + idx];
        if (event->kind == RIG_TRACE_THREAD) {
            continue;
        }
        size_t records = 0;
        struct block *block = event_block(window, window->first + idx, &records);
        record_room -= records;
        window->event_blocks[idx] = block;
        if (event->kind == RIG_TRACE_FREE && block != NULL) {
            block->death = window->first + idx;
        }
    }
    window->end = window->first + idx;
}

/* ---- Who gets no slot ----------------------------------------------------------------------- */

struct alive {
    struct block *blocks[RIG_SLOT_COUNT + 1];
    size_t count;
};

/* Does `one` hold a slot longer than `other`? */
static bool outlives(const struct block *one, const struct block *other)
{
    return one->death > other->death || (one->death == other->death && one->birth > other->birth);
}

/* A block is born. Where that makes too many, the one that would live longest yields its slot. */
static void slot_claim(struct alive *alive, struct block *block)
{
    size_t kept = 0;
    size_t longest = 0;
    for (size_t idx = 0; idx < alive->count; idx++) {
        if (alive->blocks[idx]->death > block->birth) {
            alive->blocks[kept++] = alive->blocks[idx];
        }
    }
    alive->blocks[kept++] = block;
    alive->count = kept;
    if (kept <= RIG_SLOT_COUNT) {
        return;
    }
    for (size_t idx = 1; idx < kept; idx++) {
        longest = outlives(alive->blocks[idx], alive->blocks[longest]) ? idx : longest;
    }
    alive->blocks[longest]->has_slot = false;
    alive->blocks[longest] = alive->blocks[--alive->count];
}

/* The blocks of the prologue, wherever they stand, are born first. */
static void slots_ration(struct window *window)
{
    struct alive alive = {.count = 0};
    for (size_t idx = 0; idx < window->block_count; idx++) {
        if (window->blocks[idx].in_prologue) {
            slot_claim(&alive, &window->blocks[idx]);
        }
    }
    for (size_t idx = 0; idx < window->block_count; idx++) {
        if (!window->blocks[idx].in_prologue) {
            slot_claim(&alive, &window->blocks[idx]);
        }
    }
}

/* ---- Writing -------------------------------------------------------------------------------- */

struct writing {
    const struct rig_window_options *options;
    struct rig_program *program;
    struct rig_window_report *report;
    uint32_t threads[4]; /* the first four seen, to be told apart */
    size_t thread_count;
    uint32_t thread;
    bool taken[RIG_SLOT_COUNT];
};

/* Half of the records speak Win32, which half depends on the seed. */
static uint8_t spelling(const struct writing *writing)
{
    uint32_t word = writing->options->seed * 0x9E3779B1u + writing->program->count * 0x85EBCA6Bu;
    word ^= word >> 15;
    word *= 0x2C1B3C6Du;
    return (uint8_t)(word >> 31);
}

static struct rig_record *record_add(struct writing *writing, enum rig_op op)
{
    RIG_CHECK(writing->program->count < RIG_RECORD_COUNT_MAX);
    struct rig_record *record = &writing->program->records[writing->program->count];
    *record = (struct rig_record){.op = (uint8_t)op, .win32 = spelling(writing)};
    record->thread = (uint8_t)(writing->thread % 4);
    writing->program->count++;
    return record;
}

static void size_add(struct writing *writing, struct rig_record *record, uint64_t bytes)
{
    if (!rig_window_size(record, bytes)) {
        writing->report->rounded_count++;
    }
}

static void write_alloc(struct writing *writing, struct block *block, uint64_t bytes, bool zero)
{
    unsigned slot = 0;
    while (writing->taken[slot]) {
        slot++;
        RIG_CHECK(slot < RIG_SLOT_COUNT);
    }
    writing->taken[slot] = true;
    block->slot = (uint8_t)slot;
    writing->report->slot_names[slot] = block->name;
    struct rig_record *record = record_add(writing, RIG_OP_ALLOC);
    record->slot = block->slot;
    record->heap = writing->options->heap;
    record->flags = zero ? RIG_FLAG_ZERO : 0;
    size_add(writing, record, bytes);
}

static void write_realloc(struct writing *writing, const struct block *block, uint64_t bytes)
{
    struct rig_record *record = record_add(writing, RIG_OP_REALLOC);
    record->slot = block->slot;
    size_add(writing, record, bytes);
}

static void write_free(struct writing *writing, const struct block *block)
{
    record_add(writing, RIG_OP_FREE)->slot = block->slot;
    writing->taken[block->slot] = false;
    writing->report->slot_names[block->slot] = RIG_WINDOW_NO_NAME;
}

/* The window's own number of a thread: by first appearance. */
static void thread_switch(struct writing *writing, uint32_t thread)
{
    for (uint32_t idx = 0; idx < writing->thread_count; idx++) {
        if (writing->threads[idx] == thread) {
            writing->thread = idx;
            return;
        }
    }
    writing->thread = thread;
    if (writing->thread_count < 4) {
        writing->thread = (uint32_t)writing->thread_count;
        writing->threads[writing->thread_count++] = thread;
    }
}

static void write_event(struct writing *writing, const struct window *window, size_t at,
                        struct block *block)
{
    const struct rig_trace_event *event = &window->trace->events[at];
    if (event->kind == RIG_TRACE_FREE) {
        write_free(writing, block);
    } else if (at == block->birth && !block->in_prologue) {
        write_alloc(writing, block, event->size, event->kind == RIG_TRACE_CALLOC);
    } else {
        write_realloc(writing, block, event->size);
    }
}

static void window_write(struct window *window, struct writing *writing)
{
    thread_switch(writing, window->thread_at_first);
    if (writing->options->heap != 0) {
        record_add(writing, RIG_OP_CREATE)->heap = writing->options->heap;
    }
    for (size_t idx = 0; idx < window->block_count; idx++) {
        struct block *block = &window->blocks[idx];
        if (block->in_prologue && block->has_slot) {
            write_alloc(writing, block, block->size, false);
            writing->report->prologue_count++;
        }
    }
    for (size_t at = window->first; at < window->end; at++) {
        struct block *block = window->event_blocks[at - window->first];
        if (window->trace->events[at].kind == RIG_TRACE_THREAD) {
            thread_switch(writing, window->trace->events[at].name);
        } else if (block == NULL || !block->has_slot) {
            writing->report->left_out_count++;
        } else {
            write_event(writing, window, at, block);
        }
    }
}

bool rig_window_cut(const struct rig_trace *trace, size_t first_event,
                    const struct rig_window_options *options, struct rig_program *program,
                    struct rig_window_report *report)
{
    struct rig_window_report unread;
    struct rig_window_report *told = report != NULL ? report : &unread;
    const size_t record_max =
        options->record_count_max != 0 ? options->record_count_max : RIG_RECORD_COUNT_MAX;
    RIG_CHECK(options->heap <= 1);
    RIG_CHECK(record_max >= RIG_WINDOW_RECORD_COUNT_MIN);
    RIG_CHECK(record_max <= RIG_RECORD_COUNT_MAX);
    memset(told, 0, sizeof(*told));
    memset(told->slot_names, 0xFF, sizeof(told->slot_names));
    memset(program, 0, sizeof(*program));
    program->seed = options->seed;
    struct window *window = calloc(1, sizeof(*window));
    if (window == NULL) {
        return false;
    }
    window->trace = trace;
    window->first = first_event < trace->count ? first_event : trace->count;
    window->sizes = calloc(trace->name_count + (size_t)1, sizeof(*window->sizes));
    window->current = calloc(trace->name_count + (size_t)1, sizeof(*window->current));
    if (window->sizes != NULL && window->current != NULL) {
        state_at_first(window);
        events_gather(window, record_max - options->heap);
        slots_ration(window);
        told->end_event = window->end;
        window_write(window, &(struct writing){
                                 .options = options,
                                 .program = program,
                                 .report = told,
                             });
    }
    free(window->current);
    free(window->sizes);
    free(window);
    if (program->count <= options->heap) {
        program->count = 0;
    }
    return program->count != 0;
}
