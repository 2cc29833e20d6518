/* SPDX-License-Identifier: MIT
 *
 * Chooses the windows of a trace that are worth keeping. One scan with a small state for each
 * question. Calls trace.h and the C library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/window.h"

#define APART_EVENTS 256u    /* between the beginnings of two windows */
#define SPAN_EVENTS 512u     /* what a window holds, roughly */
#define LARGE_BYTES 0x7F000u /* from here on, blocks lie outside the segments */
#define CLASS_BYTES_MAX 16384u
#define CLASS_COUNT 160u /* 16-byte steps to 512, then 16 a doubling */
#define CLASS_BLOCKS 18u /* so many live blocks start a front end */
#define NOWHERE SIZE_MAX

/* Size class of a front end, or CLASS_COUNT for a block that it does not serve. */
static unsigned class_of(uint64_t bytes)
{
    if (bytes > CLASS_BYTES_MAX) {
        return CLASS_COUNT;
    }
    if (bytes <= 512) {
        return bytes == 0 ? 0 : (unsigned)((bytes - 1) / 16);
    }
    unsigned log = 9;
    while (bytes > (uint64_t)2 << log) {
        log++;
    }
    return 32 + (log - 9) * 16 + (unsigned)((bytes - 1 - ((uint64_t)1 << log)) >> (log - 4));
}

/* ---- The scan ------------------------------------------------------------------------------- */

/* A kind of event, and where most of them lie within SPAN_EVENTS. */
struct density {
    uint8_t kind;
    size_t count; /* in the span that ends here */
    size_t best_count;
    size_t best_first;
};

struct scan {
    const struct rig_trace *trace;
    size_t *births; /* by name: event and 1; 0 when dead */
    size_t live_count;
    size_t peak_count;
    size_t peak;
    size_t large; /* first one */
    size_t front; /* first of the blocks that start a front end */
    struct density resizes;
    struct density switches;
    size_t recent[CLASS_COUNT][CLASS_BLOCKS]; /* events that made blocks of the class */
    size_t recent_count[CLASS_COUNT];
};

/* The last CLASS_BLOCKS blocks of a class lie close together, and all live. */
static bool class_starts(const struct scan *scan, unsigned class, size_t at)
{
    const size_t first = scan->recent[class][scan->recent_count[class] % CLASS_BLOCKS];
    if (scan->recent_count[class] < CLASS_BLOCKS || at - first > SPAN_EVENTS / 2) {
        return false;
    }
    for (unsigned idx = 0; idx < CLASS_BLOCKS; idx++) {
        const size_t born = scan->recent[class][idx];
        if (scan->births[scan->trace->events[born].name] != born + 1) {
            return false;
        }
    }
    return true;
}

static void scan_birth(struct scan *scan, size_t at)
{
    const struct rig_trace_event *event = &scan->trace->events[at];
    const unsigned class = class_of(event->size);
    scan->births[event->name] = at + 1;
    scan->live_count++;
    if (scan->live_count > scan->peak_count) {
        scan->peak_count = scan->live_count;
        scan->peak = at;
    }
    if (class < CLASS_COUNT && scan->front == NOWHERE) {
        scan->recent[class][scan->recent_count[class]++ % CLASS_BLOCKS] = at;
        if (class_starts(scan, class, at)) {
            scan->front = scan->recent[class][scan->recent_count[class] % CLASS_BLOCKS];
        }
    }
}

static void density_step(struct density *density, const struct rig_trace *trace, size_t at)
{
    if (at >= SPAN_EVENTS && trace->events[at - SPAN_EVENTS].kind == density->kind) {
        density->count--;
    }
    if (trace->events[at].kind == density->kind) {
        density->count++;
        if (density->count > density->best_count) {
            density->best_count = density->count;
            density->best_first = at >= SPAN_EVENTS ? at - SPAN_EVENTS + 1 : 0;
        }
    }
}

static void scan_event(struct scan *scan, size_t at)
{
    const struct rig_trace_event *event = &scan->trace->events[at];
    density_step(&scan->resizes, scan->trace, at);
    density_step(&scan->switches, scan->trace, at);
    if (rig_trace_allocates(event->kind)) {
        scan_birth(scan, at);
    } else if (event->kind == RIG_TRACE_FREE) {
        scan->births[event->name] = 0;
        scan->live_count--;
    }
    if (event->kind != RIG_TRACE_FREE && event->size >= LARGE_BYTES && scan->large == NOWHERE) {
        scan->large = at;
    }
}

/* ---- Picks ---------------------------------------------------------------------------------- */

struct picks {
    struct rig_window_pick *list;
    size_t count;
    size_t room;
};

static bool pick(struct picks *picks, size_t first_event, const char *what, const char *why)
{
    for (size_t idx = 0; idx < picks->count; idx++) {
        const size_t other = picks->list[idx].first_event;
        if ((other > first_event ? other - first_event : first_event - other) < APART_EVENTS) {
            return false;
        }
    }
    if (picks->count == picks->room) {
        return false;
    }
    struct rig_window_pick *added = &picks->list[picks->count++];
    added->first_event = first_event;
    added->why = why;
    (void)snprintf(added->what, sizeof(added->what), "%s", what);
    return true;
}

static size_t before(size_t at, size_t events)
{
    return at < events ? 0 : at - events;
}

static void pick_found(struct picks *picks, const struct scan *scan)
{
    if (scan->large != NOWHERE) {
        (void)pick(picks, before(scan->large, 128), "large",
                   "the first block past the threshold of large blocks");
    }
    if (scan->switches.best_count >= 4) {
        (void)pick(picks, scan->switches.best_first, "threads", "where threads alternate most");
    }
    if (scan->resizes.best_count >= 8) {
        (void)pick(picks, scan->resizes.best_first, "realloc", "where most reallocs are");
    }
    if (scan->peak_count > 0) {
        (void)pick(picks, before(scan->peak, SPAN_EVENTS / 2), "peak", "the most live blocks");
    }
    if (scan->front != NOWHERE) {
        (void)pick(picks, scan->front, "front",
                   "18 live blocks of one size class, which is when "
                   "a front end starts");
    }
    (void)pick(picks, 0, "start", "how the program begins");
    (void)pick(picks, before(scan->trace->count, SPAN_EVENTS), "end", "how the program ends");
}

static void pick_random(struct picks *picks, size_t event_count, uint64_t seed)
{
    uint64_t random = seed * 0x9E3779B97F4A7C15u | 1u;
    const size_t span = event_count > SPAN_EVENTS ? event_count - SPAN_EVENTS : event_count;
    unsigned number = 1;
    for (unsigned tries = 0; tries < 64 && picks->count < picks->room; tries++) {
        char what[16];
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (void)snprintf(what, sizeof(what), "random%u", number);
        if (pick(picks, (size_t)(random % span), what, "anywhere")) {
            number++;
        }
    }
}

size_t rig_window_choose(const struct rig_trace *trace, uint64_t seed,
                         struct rig_window_pick *picks, size_t count_max)
{
    struct picks chosen = {.list = picks, .room = count_max};
    struct scan *scan = calloc(1, sizeof(*scan));
    if (scan == NULL || trace->count == 0) {
        free(scan);
        return 0;
    }
    scan->trace = trace;
    scan->large = NOWHERE;
    scan->front = NOWHERE;
    scan->resizes.kind = RIG_TRACE_REALLOC;
    scan->switches.kind = RIG_TRACE_THREAD;
    scan->births = calloc(trace->name_count + (size_t)1, sizeof(*scan->births));
    if (scan->births != NULL) {
        for (size_t at = 0; at < trace->count; at++) {
            scan_event(scan, at);
        }
        pick_found(&chosen, scan);
        pick_random(&chosen, trace->count, seed);
    }
    free(scan->births);
    free(scan);
    return chosen.count;
}
