/* SPDX-License-Identifier: MIT
 *
 * Random records and programs. The generator is splitmix64: one word of state, and any seed will
 * do. Calls the table of operations, the table of boundaries and the rig's assertion. */
#include "program/random.h"

#include "program/size.h"
#include "program/text_words.h"

#include "run/check.h"

#include <string.h>

struct rig_rng rig_rng_from(uint32_t seed)
{
    return (struct rig_rng){.state = seed};
}

uint32_t rig_rng_next(struct rig_rng *rng)
{
    rng->state += 0x9E3779B97F4A7C15u;
    uint64_t mixed = rng->state;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((mixed ^ mixed >> 31) >> 32);
}

uint32_t rig_rng_below(struct rig_rng *rng, uint32_t limit)
{
    RIG_CHECK(limit != 0);
    return (uint32_t)((uint64_t)rig_rng_next(rng) * limit >> 32);
}

bool rig_rng_once_in(struct rig_rng *rng, uint32_t times)
{
    return rig_rng_below(rng, times) == 0;
}

static uint8_t random_byte(struct rig_rng *rng)
{
    return (uint8_t)(rig_rng_next(rng) & 0xFFu);
}

/* ---- Swarms --------------------------------------------------------------------------------- */

/* Half of the operations are in, some liked as much as op.def likes them, some alike. */
static void choose_weights(struct rig_swarm *swarm, struct rig_rng *rng)
{
    swarm->weight_total = 0;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const unsigned usual = rig_rng_once_in(rng, 2) ? 8u : rig_op_info(op)->weight;
        const unsigned weight = rig_rng_once_in(rng, 2) ? 0 : usual << rig_rng_below(rng, 5);
        swarm->weights[op] = (uint16_t)weight;
        swarm->weight_total += weight;
    }
    /* Little happens in a program that allocates nothing, and nothing in one without operations. */
    const unsigned wanted = rig_op_info(RIG_OP_ALLOC)->weight;
    const bool without = rig_rng_once_in(rng, 8) && swarm->weight_total != 0;
    if (swarm->weights[RIG_OP_ALLOC] == 0 && !without) {
        swarm->weights[RIG_OP_ALLOC] = (uint16_t)wanted;
        swarm->weight_total += wanted;
    }
}

void rig_swarm_faults(struct rig_swarm *swarm, uint8_t flags)
{
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        if (rig_op_fault(op) != 0) {
            swarm->weight_total -= swarm->weights[op];
            swarm->weights[op] = 0;
        }
    }
    for (unsigned op = 0; (flags & RIG_PROGRAM_VERIFY) != 0 && op < RIG_OP_COUNT; op++) {
        if (!rig_op_verified(op)) {
            swarm->weight_total -= swarm->weights[op];
            swarm->weights[op] = 0;
        }
    }
    if (swarm->weight_total == 0) { /* faults were all that it knew */
        swarm->weights[RIG_OP_ALLOC] = (uint16_t)rig_op_info(RIG_OP_ALLOC)->weight;
        swarm->weight_total = swarm->weights[RIG_OP_ALLOC];
    }
    const uint16_t weight = (uint16_t)(swarm->weight_total / 4 + 1);
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        if ((rig_op_fault(op) & flags) != 0) {
            swarm->weights[op] = weight;
            swarm->weight_total += weight;
        }
    }
}

void rig_swarm_choose(struct rig_swarm *swarm, struct rig_rng *rng)
{
    static const uint8_t slots[] = {0x00, 0x03, 0x0F, 0x3F, 0xFF, 0xFF};
    static const uint8_t heaps[] = {0, 0, 1, 3, 7, 7};
    choose_weights(swarm, rng);
    rig_swarm_faults(swarm, 0);
    swarm->slot_mask = slots[rig_rng_below(rng, sizeof(slots))];
    swarm->heap_mask = heaps[rig_rng_below(rng, sizeof(heaps))];
    swarm->thread_mask = rig_rng_once_in(rng, 4) ? 3 : 0;
    swarm->flags_mask = rig_rng_once_in(rng, 2) ? 0 : random_byte(rng);
    swarm->contexts = rig_rng_once_in(rng, 4);
    const uint32_t half = rig_rng_next(rng);
    swarm->kinds = (uint16_t)(half & rig_rng_next(rng) & 0xFFFFu);
    if (swarm->kinds == 0) {
        swarm->kinds = 1u << RIG_SIZE_SMALL;
    }
}

unsigned rig_swarm_op(const struct rig_swarm *swarm, struct rig_rng *rng)
{
    uint32_t at = rig_rng_below(rng, swarm->weight_total);
    unsigned op = 0;
    while (at >= swarm->weights[op]) {
        at -= swarm->weights[op];
        op++;
    }
    return op;
}

static unsigned random_kind(const struct rig_swarm *swarm, struct rig_rng *rng)
{
    unsigned kind = rig_rng_below(rng, RIG_SIZE_KIND_COUNT);
    while ((swarm->kinds >> kind & 1u) == 0) {
        kind = (kind + 1) % RIG_SIZE_KIND_COUNT;
    }
    return kind;
}

/* Mostly 0, next to it often, anything at times: a two's complement step. */
static unsigned random_step(struct rig_rng *rng)
{
    static const uint16_t steps[] = {0, 0, 0, 0, 1, 1, 0xFFFF, 0xFFFF, 8, 0xFFF8, 16, 0xFFF0};
    const unsigned idx = rig_rng_below(rng, 16);
    return idx < sizeof(steps) / sizeof(steps[0]) ? steps[idx] : rig_rng_next(rng) & 0xFFFFu;
}

/* Of any magnitude: as many small ones as large. */
static uint16_t random_value(struct rig_rng *rng)
{
    const unsigned value =
        rig_rng_next(rng) & 0xFFFFu; /* one draw a statement: operands have no order */
    return (uint16_t)(value >> rig_rng_below(rng, 16));
}

static void fill_size(const struct rig_swarm *swarm, struct rig_rng *rng, struct rig_record *record)
{
    const unsigned kind = random_kind(swarm, rng);
    const unsigned detail = rig_rng_once_in(rng, 2) ? 0 : rig_rng_below(rng, 16);
    unsigned hi = 0;
    record->size_class = (uint8_t)kind;
    switch ((enum rig_size_kind)kind) {
    case RIG_SIZE_BOUNDARY:
    case RIG_SIZE_BOUNDARY2:
        hi = rig_rng_below(rng, rig_size_boundary_count());
        break;
    case RIG_SIZE_OF_SLOT:
    case RIG_SIZE_HOLE:
        hi = random_byte(rng) & swarm->slot_mask;
        break;
    case RIG_SIZE_POWER:
        hi = rig_rng_below(rng, rig_rng_once_in(rng, 4) ? 64 : 24);
        break;
    case RIG_SIZE_LAST:
    case RIG_SIZE_THRESHOLD:
        record->value = (uint16_t)random_step(rng);
        return;
    default:
        record->size_class = (uint8_t)(kind | detail << 4);
        record->value = random_value(rng);
        return;
    }
    record->value = (uint16_t)(hi << 8 | (random_step(rng) & 0xFFu));
}

/* A row of the fault's table, and a value that chooses among all that it can be made with. */
static void fill_fault(struct rig_rng *rng, struct rig_record *record)
{
    unsigned rows = 0;
    while (rig_text_choice(record->op, rows) != NULL) {
        rows++;
    }
    record->arg = (uint8_t)(rows == 0 ? 0 : rig_rng_below(rng, rows));
    record->value = (uint16_t)(rig_rng_next(rng) & 0xFFFFu);
    record->win32 = rig_rng_next(rng) & 1u;
}

void rig_swarm_fill(const struct rig_swarm *swarm, struct rig_rng *rng, unsigned op,
                    struct rig_record *record)
{
    const struct rig_op_info *info = rig_op_info(op);
    memset(record, 0, sizeof(*record));
    record->op = (uint8_t)op;
    record->thread = rig_rng_next(rng) & swarm->thread_mask & 3u;
    if (info->rtl != NULL && info->win32 != NULL) {
        record->win32 = rig_rng_next(rng) & 1u;
    }
    bool odd = false;
    for (const char *operand = info->operands; *operand != '\0'; operand++) {
        switch (*operand) {
        case RIG_OPERAND_SLOT:
            record->slot = random_byte(rng) & swarm->slot_mask;
            break;
        case RIG_OPERAND_HEAP:
            record->heap = rig_rng_next(rng) & swarm->heap_mask & 7u;
            break;
        case RIG_OPERAND_FLAGS:
            record->flags = random_byte(rng) & swarm->flags_mask;
            odd = (record->flags & RIG_FLAG_ODD) != 0;
            break;
        case RIG_OPERAND_SIZE:
            fill_size(swarm, rng, record);
            break;
        case RIG_OPERAND_ARG:
            record->arg = rig_rng_once_in(rng, 4) ? random_byte(rng) : rig_rng_next(rng) & 7u;
            break;
        case RIG_OPERAND_VALUE:
            record->value = random_value(rng);
            break;
        case RIG_OPERAND_CONTEXT:
            record->context = swarm->contexts ? rig_rng_next(rng) & 3u : 0;
            break;
        case RIG_OPERAND_RESERVE:
            record->slot = rig_rng_once_in(rng, 2) ? 0 : random_byte(rng);
            break;
        default:
            RIG_CHECK(*operand == '\0');
        }
    }
    if (op == RIG_OP_MISUSE || op == RIG_OP_DAMAGE || op == RIG_OP_VERIFY) {
        fill_fault(rng, record);
    }
    /* The odd bit is chosen by the name, even where no block has it. */
    if (odd && !rig_op_reads(op, RIG_OPERAND_SLOT) && !rig_op_reads(op, RIG_OPERAND_RESERVE)) {
        record->slot = random_byte(rng) & 31u;
    }
}

/* ---- Programs ------------------------------------------------------------------------------- */

void rig_program_random(struct rig_program *program, uint32_t seed, unsigned count)
{
    RIG_CHECK(count <= RIG_RECORD_COUNT_MAX);
    struct rig_rng rng = rig_rng_from(seed);
    uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    memset(program, 0, sizeof(*program));
    size_t len_bytes = rig_program_encode(program, bytes);
    for (size_t idx = 0; idx < count * (size_t)RIG_RECORD_BYTES; idx++) {
        bytes[len_bytes] = random_byte(&rng);
        len_bytes++;
    }
    RIG_CHECK(rig_program_decode(program, bytes, len_bytes) == RIG_DECODE_OK);
    program->seed = (uint16_t)(rig_rng_next(&rng) & 0xFFFFu);
}

void rig_program_random_swarm(struct rig_program *program, uint32_t seed, unsigned count)
{
    RIG_CHECK(count <= RIG_RECORD_COUNT_MAX);
    struct rig_rng rng = rig_rng_from(seed);
    struct rig_swarm swarm;
    rig_swarm_choose(&swarm, &rng);
    memset(program, 0, sizeof(*program));
    program->seed = (uint16_t)(rig_rng_next(&rng) & 0xFFFFu);
    program->count = (uint16_t)count;
    for (unsigned idx = 0; idx < count; idx++) {
        const unsigned op = rig_swarm_op(&swarm, &rng);
        rig_swarm_fill(&swarm, &rng, op, &program->records[idx]);
    }
}
