/* SPDX-License-Identifier: MIT
 *
 * One program of two. Calls random numbers, edits of runs and the codec. */
#include "program/edit.h"
#include "program/mutate.h"

#include "run/check.h"

#include <string.h>

/* What is being made of which. */
struct cross {
    const struct rig_program *a;
    const struct rig_program *b;
    struct rig_program *out;
    unsigned count_max;
    struct rig_rng rng;
};

static unsigned room(const struct cross *cross)
{
    return cross->count_max - cross->out->count;
}

/* Append records from `at` on, as far as there is room; their blocks are renamed. */
static void append(struct cross *cross, const struct rig_program *from, unsigned at, unsigned count,
                   unsigned delta)
{
    const unsigned fits = count < room(cross) ? count : room(cross);
    struct rig_record *run = rig_edit_insert(cross->out, cross->out->count, fits);
    for (unsigned idx = 0; idx < fits; idx++) {
        run[idx] = from->records[at + idx];
        rig_edit_rename(&run[idx], delta);
    }
}

/* Names that the program uses, one byte each. */
static void names_of(const struct rig_program *program, uint8_t used[RIG_SLOT_COUNT])
{
    memset(used, 0, RIG_SLOT_COUNT);
    for (unsigned idx = 0; idx < program->count; idx++) {
        const struct rig_record *record = &program->records[idx];
        if (rig_op_reads(record->op, RIG_OPERAND_SLOT)) {
            used[record->slot] = 1;
        }
        if (rig_edit_refers(record)) {
            used[record->value >> 8] = 1;
        }
    }
}

/* How far to move the names of b so that a has none of them; where both have many, as few of them
 * as possible. */
static unsigned delta_apart(const struct rig_program *a, const struct rig_program *b)
{
    uint8_t names_a[RIG_SLOT_COUNT];
    uint8_t names_b[RIG_SLOT_COUNT];
    names_of(a, names_a);
    names_of(b, names_b);
    unsigned best = 0;
    unsigned best_shared = RIG_SLOT_COUNT + 1;
    for (unsigned delta = 0; delta < RIG_SLOT_COUNT && best_shared != 0; delta++) {
        unsigned shared = 0;
        for (unsigned name = 0; name < RIG_SLOT_COUNT; name++) {
            shared += names_b[name] & names_a[(name + delta) % RIG_SLOT_COUNT];
        }
        if (shared < best_shared) {
            best_shared = shared;
            best = delta;
        }
    }
    return best;
}

/* Each parent gives as much as there is room for, in proportion. */
static void cross_interleave(struct cross *cross)
{
    const unsigned delta = delta_apart(cross->a, cross->b);
    unsigned at_a = 0;
    unsigned at_b = 0;
    while (room(cross) != 0 && (at_a < cross->a->count || at_b < cross->b->count)) {
        const unsigned left_a = cross->a->count - at_a;
        const unsigned left_b = cross->b->count - at_b;
        const unsigned run = 1 + rig_rng_below(&cross->rng, 4);
        if (rig_rng_below(&cross->rng, left_a + left_b) < left_a) {
            const unsigned count = run < left_a ? run : left_a;
            append(cross, cross->a, at_a, count, 0);
            at_a += count;
        } else {
            const unsigned count = run < left_b ? run : left_b;
            append(cross, cross->b, at_b, count, delta);
            at_b += count;
        }
    }
}

/* Up to `count` records, leaving room for one more. */
static unsigned short_of_all(const struct cross *cross, unsigned count)
{
    return count < cross->count_max ? count : cross->count_max - 1;
}

/* The head of a, at least one record, and the tail of b. */
static void cross_splice(struct cross *cross)
{
    const unsigned head = 1 + rig_rng_below(&cross->rng, cross->a->count);
    const unsigned tail = rig_rng_below(&cross->rng, cross->b->count);
    append(cross, cross->a, 0, short_of_all(cross, head), 0);
    append(cross, cross->b, tail, cross->b->count - tail, 0);
}

/* All of a, with a run of b somewhere within. */
static void cross_graft(struct cross *cross)
{
    const unsigned at = short_of_all(cross, rig_rng_below(&cross->rng, cross->a->count));
    const unsigned from = rig_rng_below(&cross->rng, cross->b->count);
    const unsigned count = 1 + rig_rng_below(&cross->rng, cross->b->count - from);
    append(cross, cross->a, 0, at, 0);
    append(cross, cross->b, from, count, 0);
    append(cross, cross->a, at, cross->a->count - at, 0);
}

static void cross_any(struct cross *cross)
{
    static void (*const ways[])(struct cross * cross) = {cross_interleave, cross_interleave,
                                                         cross_splice, cross_splice, cross_graft};
    const struct rig_program *header = rig_rng_once_in(&cross->rng, 2) ? cross->a : cross->b;
    cross->out->flags = header->flags;
    cross->out->seed = header->seed;
    memcpy(cross->out->plan, header->plan, sizeof(header->plan));
    if (cross->a->count == 0 || cross->b->count == 0) {
        append(cross, cross->a, 0, cross->a->count, 0);
        append(cross, cross->b, 0, cross->b->count, 0);
        return;
    }
    ways[rig_rng_below(&cross->rng, sizeof(ways) / sizeof(ways[0]))](cross);
}

size_t rig_crossover(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                     uint8_t *out, size_t max_bytes, uint32_t seed)
{
    struct rig_program parent_a;
    struct rig_program parent_b;
    struct rig_program child = {.count = 0};
    uint8_t encoded[RIG_PROGRAM_BYTES_MAX];
    struct cross cross = {.a = &parent_a,
                          .b = &parent_b,
                          .out = &child,
                          .count_max = rig_edit_count_max(max_bytes),
                          .rng = rig_rng_from(seed)};
    if (cross.count_max == 0) {
        return 0;
    }
    (void)rig_program_decode(&parent_a, a, a_bytes);
    (void)rig_program_decode(&parent_b, b, b_bytes);
    cross_any(&cross);
    const size_t len = rig_program_encode(&child, encoded);
    memcpy(out, encoded, len);
    return len;
}
