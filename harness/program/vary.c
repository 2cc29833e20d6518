/* SPDX-License-Identifier: MIT
 *
 * Variants of a program by the state of its heaps. Calls the table of operations. */
#include "program/vary.h"

#include "program/text_words.h"

#include "run/check.h"

#define SLOT_LARGE 224u   /* to 231, by heap */
#define SLOT_REFUSED 255u /* never allocated */
#define SLOT_FULL 232u    /* and the next */
#define LARGE_PAGES 200u
#define FULL_HEAP 7u
#define FULL_POWER_MAX 24u /* half of what core's arena commits at once, and so on down */
#define FULL_POWER_MIN 16u
#define BUDGET_NONE 0x8000u

static void put(struct rig_program *out, const struct rig_record *record)
{
    if (out->count < RIG_RECORD_COUNT_MAX) {
        out->records[out->count] = *record;
    }
    out->count++;
}

static void put_allocate(struct rig_program *out, unsigned heap, unsigned slot)
{
    put(out, &(struct rig_record){.op = RIG_OP_ALLOC,
                                  .slot = (uint8_t)slot,
                                  .heap = (uint8_t)heap,
                                  .size_class = RIG_SIZE_PAGES,
                                  .value = LARGE_PAGES});
}

static void put_budget(struct rig_program *out, uint16_t pages)
{
    put(out, &(struct rig_record){.op = RIG_OP_BUDGET, .value = pages});
}

static void put_new_heap(struct rig_program *out, unsigned heap, unsigned wanted)
{
    if ((wanted & RIG_VARY_FRONT) != 0) {
        put(out, &(struct rig_record){.op = RIG_OP_SET, .heap = (uint8_t)heap, .win32 = 1});
    }
    if ((wanted & RIG_VARY_LARGE) != 0) {
        put_allocate(out, heap, SLOT_LARGE + heap);
    }
}

static void put_full(struct rig_program *out)
{
    put(out, &(struct rig_record){.op = RIG_OP_CREATE, .heap = FULL_HEAP});
    for (unsigned power = FULL_POWER_MAX; power >= FULL_POWER_MIN; power--) {
        put(out, &(struct rig_record){.op = RIG_OP_ALLOC,
                                      .slot = (uint8_t)(SLOT_FULL + FULL_POWER_MAX - power),
                                      .heap = FULL_HEAP,
                                      .size_class = RIG_SIZE_POWER,
                                      .value = (uint16_t)(power << 8)});
    }
}

/* What the record works on: the heap that it names, or the one that its block came from. */
static unsigned heap_of(const struct rig_record *record, const uint8_t *homes)
{
    return rig_op_reads(record->op, RIG_OPERAND_SLOT) && !rig_op_reads(record->op, RIG_OPERAND_HEAP)
               ? homes[record->slot]
               : record->heap % RIG_HEAP_COUNT;
}

bool rig_program_vary(const struct rig_program *program, unsigned wanted, struct rig_program *out)
{
    uint8_t homes[RIG_SLOT_COUNT] = {0};
    RIG_CHECK(wanted < RIG_VARY_COUNT);
    *out = *program;
    out->count = 0;
    put_new_heap(out, 0, wanted);
    if ((wanted & RIG_VARY_FULL) != 0) {
        put_full(out);
    }
    for (unsigned idx = 0; idx < program->count; idx++) {
        const struct rig_record *record = &program->records[idx];
        const unsigned heap = heap_of(record, homes);
        const bool makes = record->op == RIG_OP_CREATE;
        if ((wanted & RIG_VARY_REFUSED) != 0 && !makes && record->op != RIG_OP_PARAMETER) {
            put_budget(out, 0);
            put_allocate(out, heap, SLOT_REFUSED);
            put_budget(out, BUDGET_NONE);
        }
        struct rig_record same = *record;
        same.win32 ^= (wanted & RIG_VARY_SPELLING) != 0 ? 1u : 0u;
        put(out, &same);
        if ((wanted & RIG_VARY_TWICE) != 0) {
            put(out, &same);
        }
        if (makes) {
            put_new_heap(out, heap, wanted);
        }
        if (rig_op_info(record->op)->state == RIG_STATE_FREE_SLOT) {
            homes[record->slot] = (uint8_t)heap;
        }
    }
    return out->count <= RIG_RECORD_COUNT_MAX;
}
