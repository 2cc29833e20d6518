/* SPDX-License-Identifier: MIT
 *
 * Mutations of single fields, each of a record whose operation reads the field. Calls random
 * records, the tables of operations and boundaries, and the codec. */
#include "program/mutator.h"
#include "program/size.h"

#include "run/check.h"

static unsigned below(struct rig_mutator *mutator, unsigned limit)
{
    return rig_rng_below(&mutator->rng, limit);
}

/* A random record whose operation reads the field; NULL when there is none. */
static struct rig_record *reader_choose(struct rig_mutator *mutator, char operand)
{
    const unsigned count = mutator->program->count;
    const unsigned start = count != 0 ? below(mutator, count) : 0;
    for (unsigned idx = 0; idx < count; idx++) {
        struct rig_record *record = &mutator->program->records[(start + idx) % count];
        if (rig_op_reads(record->op, operand)) {
            return record;
        }
    }
    return NULL;
}

/* A number changed by a power of two, up or down, around the ends. */
static uint16_t nudged(struct rig_mutator *mutator, unsigned value, unsigned bits)
{
    const unsigned step = 1u << below(mutator, bits);
    const unsigned end = 1u << bits;
    return (uint16_t)((below(mutator, 2) == 0 ? value + step : value + end - step) % end);
}

static void size_to_boundary(struct rig_mutator *mutator, struct rig_record *record)
{
    static const uint8_t steps[] = {0, 0, 1, 0xFF};
    const unsigned boundary = below(mutator, rig_size_boundary_count());
    record->size_class = RIG_SIZE_BOUNDARY;
    record->value = (uint16_t)(boundary << 8 | steps[below(mutator, sizeof(steps))]);
}

bool rig_mutate_size(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_SIZE);
    if (record == NULL) {
        return false;
    }
    const unsigned hi = rig_record_hi(record);
    const unsigned lo = record->value & 0xFFu;
    const struct rig_record *other = reader_choose(mutator, RIG_OPERAND_SIZE);
    switch (below(mutator, 7)) {
    case 0:
        size_to_boundary(mutator, record);
        break;
    case 1:
        record->size_class = (uint8_t)((record->size_class & 0xF0u) | below(mutator, 16));
        break;
    case 2:
        record->size_class = (uint8_t)((record->size_class & 0x0Fu) | below(mutator, 16) << 4);
        break;
    case 3:
        record->value = (uint16_t)(hi << 8 | ((lo + (below(mutator, 2) == 0 ? 1 : 0xFFu)) & 0xFFu));
        break;
    case 4:
        record->value = (uint16_t)((unsigned)nudged(mutator, hi, 8) << 8 | lo);
        break;
    case 5:
        record->value = nudged(mutator, record->value, 16);
        break;
    default:
        record->size_class = other->size_class;
        record->value = other->value;
        break;
    }
    return true;
}

bool rig_mutate_slot(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_SLOT);
    if (record == NULL) {
        return false;
    }
    const struct rig_record *other = reader_choose(mutator, RIG_OPERAND_SLOT);
    const struct rig_record *before = record;
    switch (below(mutator, 3)) {
    case 0:
        record->slot = nudged(mutator, record->slot, 8) & 0xFFu;
        break;
    case 1:
        record->slot = other->slot;
        break;
    default:
        do {
            before = before == mutator->program->records ? record : before - 1;
        } while (!rig_op_reads(before->op, RIG_OPERAND_SLOT));
        record->slot = before->slot;
        break;
    }
    return true;
}

bool rig_mutate_heap(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_HEAP);
    if (record == NULL) {
        return false;
    }
    const struct rig_record *other = reader_choose(mutator, RIG_OPERAND_HEAP);
    record->heap = below(mutator, 2) == 0 ? other->heap : below(mutator, RIG_HEAP_COUNT) & 7u;
    return true;
}

static void change_bits(struct rig_mutator *mutator, uint8_t *bits)
{
    switch (below(mutator, 4)) {
    case 0:
        *bits = 0;
        break;
    case 1:
        *bits = below(mutator, 256) & 0xFFu;
        break;
    default:
        *bits = (uint8_t)(*bits ^ 1u << below(mutator, 8));
        break;
    }
}

bool rig_mutate_flags(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_FLAGS);
    if (record == NULL) {
        return false;
    }
    change_bits(mutator, &record->flags);
    return true;
}

bool rig_mutate_preset(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_RESERVE);
    if (record == NULL) {
        return false;
    }
    const unsigned field = below(mutator, 6);
    if (field < 3) {
        change_bits(mutator, &record->flags);
    } else if (field == 3) {
        change_bits(mutator, &record->arg);
    } else if (field == 4) {
        record->slot = below(mutator, 2) == 0 ? 0 : below(mutator, 256) & 0xFFu;
    } else {
        rig_swarm_fill(&mutator->swarm, &mutator->rng, record->op, record);
    }
    return true;
}

bool rig_mutate_context(struct rig_mutator *mutator)
{
    struct rig_record *record = reader_choose(mutator, RIG_OPERAND_CONTEXT);
    if (record == NULL) {
        return false;
    }
    record->context = (record->context + 1u + below(mutator, 3)) & 3u;
    return true;
}

/* Between the first thread, whose usual number is 0, and the second. */
bool rig_mutate_thread(struct rig_mutator *mutator)
{
    if (mutator->program->count == 0) {
        return false;
    }
    struct rig_record *record = &mutator->program->records[below(mutator, mutator->program->count)];
    record->thread = record->thread == RIG_THREAD_SECOND ? 0 : RIG_THREAD_SECOND;
    return true;
}

bool rig_mutate_spelling(struct rig_mutator *mutator)
{
    const unsigned count = mutator->program->count;
    const unsigned start = count != 0 ? below(mutator, count) : 0;
    for (unsigned idx = 0; idx < count; idx++) {
        struct rig_record *record = &mutator->program->records[(start + idx) % count];
        const struct rig_op_info *info = rig_op_info(record->op);
        if (info->rtl != NULL && info->win32 != NULL) {
            record->win32 ^= 1u;
            return true;
        }
    }
    return false;
}

bool rig_mutate_arg(struct rig_mutator *mutator)
{
    const bool arg = below(mutator, 2) == 0;
    struct rig_record *record = reader_choose(mutator, arg ? RIG_OPERAND_ARG : RIG_OPERAND_VALUE);
    if (record == NULL) {
        return false;
    }
    if (!arg) {
        record->value = nudged(mutator, record->value, 16);
    } else if (below(mutator, 2) == 0) {
        record->arg = below(mutator, 8) & 0xFFu;
    } else {
        record->arg = nudged(mutator, record->arg, 8) & 0xFFu;
    }
    return true;
}

bool rig_mutate_op(struct rig_mutator *mutator)
{
    if (mutator->program->count == 0) {
        return false;
    }
    struct rig_record *record = &mutator->program->records[below(mutator, mutator->program->count)];
    record->op = (uint8_t)rig_swarm_op(&mutator->swarm, &mutator->rng);
    return true;
}

/* Past the version: what engines do to bytes stays possible, and stays readable. */
bool rig_mutate_byte(struct rig_mutator *mutator)
{
    uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    if (mutator->program->count == 0) {
        return false;
    }
    const size_t len_bytes = rig_program_encode(mutator->program, bytes);
    const unsigned at = 5 + below(mutator, (unsigned)len_bytes - 5);
    change_bits(mutator, &bytes[at]);
    RIG_CHECK(rig_program_decode(mutator->program, bytes, len_bytes) == RIG_DECODE_OK);
    return true;
}
