/* SPDX-License-Identifier: MIT
 *
 * Mutations of runs of records. Calls random records and edits of runs. */
#include "program/edit.h"
#include "program/mutator.h"

#include <string.h>

#define RUN_MAX 64u /* records of a run */

static unsigned below(struct rig_mutator *mutator, unsigned limit)
{
    return rig_rng_below(&mutator->rng, limit);
}

static unsigned room(const struct rig_mutator *mutator)
{
    return mutator->count_max - mutator->program->count;
}

/* A run of the program, short ones as likely as long ones. The program is not empty. */
struct run {
    unsigned at;
    unsigned count;
};

static struct run run_choose(struct rig_mutator *mutator, unsigned count_max)
{
    const unsigned all = mutator->program->count;
    const unsigned most = count_max < all ? count_max : all;
    unsigned count = 1 + (below(mutator, RUN_MAX) >> below(mutator, 7));
    count = count < most ? count : most;
    return (struct run){.at = below(mutator, all - count + 1), .count = count};
}

bool rig_mutate_insert(struct rig_mutator *mutator)
{
    const unsigned most = room(mutator) < 8 ? room(mutator) : 8;
    if (most == 0) {
        return false;
    }
    const unsigned count = mutator->program->count == 0 ? most : 1 + below(mutator, most);
    const unsigned at = below(mutator, mutator->program->count + 1u);
    struct rig_record *run = rig_edit_insert(mutator->program, at, count);
    for (unsigned idx = 0; idx < count; idx++) {
        const unsigned op = rig_swarm_op(&mutator->swarm, &mutator->rng);
        rig_swarm_fill(&mutator->swarm, &mutator->rng, op, &run[idx]);
    }
    return true;
}

/* Never all of it: an empty program is of no use to anybody. */
bool rig_mutate_remove(struct rig_mutator *mutator)
{
    if (mutator->program->count < 2) {
        return false;
    }
    const struct run run = run_choose(mutator, mutator->program->count - 1u);
    rig_edit_remove(mutator->program, run.at, run.count);
    return true;
}

bool rig_mutate_duplicate(struct rig_mutator *mutator)
{
    if (mutator->program->count == 0 || room(mutator) == 0) {
        return false;
    }
    struct rig_record copy[RUN_MAX];
    const struct run run = run_choose(mutator, room(mutator) < RUN_MAX ? room(mutator) : RUN_MAX);
    memcpy(copy, &mutator->program->records[run.at], run.count * sizeof(copy[0]));
    const unsigned delta = 1 + below(mutator, 255);
    for (unsigned idx = 0; idx < run.count; idx++) {
        rig_edit_rename(&copy[idx], delta);
    }
    const unsigned at =
        below(mutator, 2) == 0 ? run.at + run.count : below(mutator, mutator->program->count + 1u);
    memcpy(rig_edit_insert(mutator->program, at, run.count), copy, run.count * sizeof(copy[0]));
    return true;
}

bool rig_mutate_move(struct rig_mutator *mutator)
{
    if (mutator->program->count < 2) {
        return false;
    }
    const unsigned rest = mutator->program->count - 1u;
    struct rig_record copy[RUN_MAX];
    const struct run run = run_choose(mutator, rest < RUN_MAX ? rest : RUN_MAX);
    memcpy(copy, &mutator->program->records[run.at], run.count * sizeof(copy[0]));
    rig_edit_remove(mutator->program, run.at, run.count);
    /* Anywhere but where it was. */
    const unsigned to = below(mutator, mutator->program->count);
    const unsigned at = to < run.at ? to : to + 1;
    memcpy(rig_edit_insert(mutator->program, at, run.count), copy, run.count * sizeof(copy[0]));
    return true;
}

bool rig_mutate_swap(struct rig_mutator *mutator)
{
    const unsigned count = mutator->program->count;
    if (count < 2) {
        return false;
    }
    const unsigned one = below(mutator, count);
    const unsigned other = (one + 1 + below(mutator, count - 1)) % count;
    const struct rig_record kept = mutator->program->records[one];
    mutator->program->records[one] = mutator->program->records[other];
    mutator->program->records[other] = kept;
    return true;
}

/* With the same names over and over, the next, or names apart by the window's length. */
bool rig_mutate_repeat(struct rig_mutator *mutator)
{
    if (mutator->program->count == 0 || room(mutator) == 0) {
        return false;
    }
    const unsigned most = room(mutator) < 8 ? room(mutator) : 8;
    const struct run run = run_choose(mutator, most);
    unsigned copies = 1u << (1 + below(mutator, 8));
    while ((copies - 1) * run.count > room(mutator)) {
        copies /= 2;
    }
    const unsigned deltas[] = {0, 1, run.count};
    const unsigned delta = deltas[below(mutator, 3)];
    struct rig_record *added =
        rig_edit_insert(mutator->program, run.at + run.count, (copies - 1) * run.count);
    for (unsigned idx = 0; idx < (copies - 1) * run.count; idx++) {
        added[idx] = mutator->program->records[run.at + idx % run.count];
        rig_edit_rename(&added[idx], delta * (1 + idx / run.count));
    }
    return true;
}

bool rig_mutate_wrap(struct rig_mutator *mutator)
{
    if (mutator->program->count == 0 || room(mutator) < 2) {
        return false;
    }
    const struct run run = run_choose(mutator, RUN_MAX);
    const uint8_t heap = (uint8_t)(1 + below(mutator, RIG_HEAP_COUNT - 1));
    for (unsigned idx = 0; idx < run.count; idx++) {
        struct rig_record *record = &mutator->program->records[run.at + idx];
        if (rig_op_reads(record->op, RIG_OPERAND_HEAP)) {
            record->heap = heap;
        }
    }
    struct rig_record *destroy = rig_edit_insert(mutator->program, run.at + run.count, 1);
    rig_swarm_fill(&mutator->swarm, &mutator->rng, RIG_OP_DESTROY, destroy);
    destroy->heap = heap;
    struct rig_record *create = rig_edit_insert(mutator->program, run.at, 1);
    rig_swarm_fill(&mutator->swarm, &mutator->rng, RIG_OP_CREATE, create);
    create->heap = heap;
    return true;
}

/* ---- Faults ---- */

/* A kind of faults that the program asks for, or RIG_OP_COUNT. */
static unsigned fault_choose(struct rig_mutator *mutator)
{
    unsigned ops[RIG_OP_COUNT];
    unsigned count = 0;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        if ((rig_op_fault(op) & mutator->program->flags) != 0) {
            ops[count++] = op;
        }
    }
    return count == 0 ? (unsigned)RIG_OP_COUNT : ops[below(mutator, count)];
}

/* The objects of some record in front of `at`: what is there is more likely to be hit. */
static void names_take(struct rig_mutator *mutator, unsigned at, struct rig_record *record)
{
    if (at > 0) {
        const struct rig_record *other = &mutator->program->records[below(mutator, at)];
        record->slot = other->slot;
        record->heap = other->heap;
    }
}

bool rig_mutate_fault(struct rig_mutator *mutator)
{
    static const uint8_t probes[] = {
        RIG_OP_FREE,       RIG_OP_REALLOC, RIG_OP_SIZE,     RIG_OP_VALIDATE_BLOCK,
        RIG_OP_READ,       RIG_OP_ALLOC,   RIG_OP_VALIDATE, RIG_OP_WALK,
        RIG_OP_MULTI_FREE, RIG_OP_COMPACT, RIG_OP_SUMMARY,  RIG_OP_DESTROY,
    };
    const unsigned op = fault_choose(mutator);
    if (op == RIG_OP_COUNT || room(mutator) < 2) {
        return false;
    }
    struct rig_record pair[2];
    const unsigned at = below(mutator, mutator->program->count + 1u);
    rig_swarm_fill(&mutator->swarm, &mutator->rng, op, &pair[0]);
    names_take(mutator, at, &pair[0]);
    const uint8_t probe = probes[below(mutator, sizeof(probes))];
    rig_swarm_fill(&mutator->swarm, &mutator->rng, probe, &pair[1]);
    pair[1].slot = rig_op_reads(probe, RIG_OPERAND_SLOT) ? pair[0].slot : pair[1].slot;
    pair[1].heap = rig_op_reads(probe, RIG_OPERAND_HEAP) ? pair[0].heap : pair[1].heap;
    memcpy(rig_edit_insert(mutator->program, at, 2), pair, sizeof(pair));
    return true;
}

bool rig_mutate_move_fault(struct rig_mutator *mutator)
{
    struct rig_program *program = mutator->program;
    unsigned places[RIG_RECORD_COUNT_MAX];
    unsigned count = 0;
    for (unsigned idx = 0; idx < program->count; idx++) {
        if ((rig_op_fault(program->records[idx].op) & program->flags) != 0) {
            places[count++] = idx;
        }
    }
    if (count == 0 || program->count < 2) {
        return false;
    }
    const unsigned from = places[below(mutator, count)];
    const struct rig_record fault = program->records[from];
    rig_edit_remove(program, from, 1);
    const unsigned to = below(mutator, program->count); /* anywhere but where it was */
    *rig_edit_insert(program, to < from ? to : to + 1, 1) = fault;
    return true;
}
