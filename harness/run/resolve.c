/* SPDX-License-Identifier: MIT
 *
 * Which object a record means. A name whose object is not in the state that the operation needs
 * gives way to the next one that is; where none is, the operation does nothing. So every byte
 * string is a program of legal calls, and taking a record out renames nothing. */
#include "exec_internal.h"

#include "program/size.h"

/* The bits of the heap interface for the low seven bits of a call's flags. */
static ULONG call_flags(const struct rig_record *record)
{
    static const ULONG bits[7] = {HEAP_NO_SERIALIZE,        HEAP_GENERATE_EXCEPTIONS,
                                  HEAP_ZERO_MEMORY,         HEAP_REALLOC_IN_PLACE_ONLY,
                                  HEAP_SETTABLE_USER_VALUE, HEAP_SETTABLE_USER_FLAG1,
                                  HEAP_SETTABLE_USER_FLAG3};
    ULONG flags = 0;
    for (unsigned bit = 0; bit < 7; bit++) {
        flags |= (record->flags >> bit & 1u) != 0 ? bits[bit] : 0;
    }
    return (record->flags & RIG_FLAG_ODD) != 0 ? flags | 1u << (record->slot & 31u) : flags;
}

static bool heap_fits(struct rig_exec *exec, unsigned idx, enum rig_state state)
{
    const struct rig_heap *heap = &exec->shadow.heaps[idx];
    switch (state) {
    case RIG_STATE_NO_HEAP:
        return idx > 0 && !heap->live;
    case RIG_STATE_PRIVATE_HEAP:
        return idx > 0 && heap->live;
    case RIG_STATE_LOCKED_HEAP:
        return heap->live && heap->lock_depth > 0;
    default:
        return heap->live && (idx > 0 || rig_process_heap(exec));
    }
}

static void resolve_heap(struct rig_exec *exec, unsigned name, enum rig_state state,
                         struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_HEAP_COUNT; hop++) {
        const unsigned idx = (name + hop) % RIG_HEAP_COUNT;
        if (heap_fits(exec, idx, state)) {
            step->heap = &exec->shadow.heaps[idx];
            step->named = step->named && hop == 0;
            return;
        }
    }
    step->nothing = true;
}

static void resolve_slot(struct rig_exec *exec, unsigned name, bool live, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT; hop++) {
        const unsigned idx = (name + hop) % RIG_SLOT_COUNT;
        if (exec->slots[idx].live == live) {
            step->name = idx;
            step->named = step->named && hop == 0;
            if (live) {
                step->block = &exec->slots[idx].block;
                step->heap = &exec->shadow.heaps[step->block->heap];
            }
            return;
        }
    }
    step->nothing = true;
}

static bool section_fits(const struct rig_section *section, enum rig_state state)
{
    switch (state) {
    case RIG_STATE_NO_SECTION:
        return !section->live;
    case RIG_STATE_SECTION:
        return section->live;
    case RIG_STATE_OWNED_SECTION:
        return section->live && section->depth > 0;
    default:
        return section->live && section->depth == 0 && section->users == 0;
    }
}

static void resolve_section(struct rig_exec *exec, unsigned name, enum rig_state state,
                            struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_SECTION_COUNT; hop++) {
        const unsigned idx = (name + hop) % RIG_SECTION_COUNT;
        if (section_fits(&exec->sections[idx], state)) {
            step->object_idx = idx;
            step->named = step->named && hop == 0;
            return;
        }
    }
    step->nothing = true;
}

static void resolve_handler(struct rig_exec *exec, unsigned name, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_HANDLER_COUNT; hop++) {
        const unsigned idx = (name + hop) % RIG_HANDLER_COUNT;
        if (exec->handlers[idx] != NULL) {
            step->object_idx = idx;
            step->named = step->named && hop == 0;
            return;
        }
    }
    step->nothing = true;
}

static void resolve_object(struct rig_exec *exec, const struct rig_record *record,
                           struct rig_step *step)
{
    const enum rig_state state = rig_op_info(record->op)->state;
    switch (state) {
    case RIG_STATE_NONE:
        break;
    case RIG_STATE_FREE_SLOT:
        resolve_slot(exec, record->slot, false, step);
        resolve_heap(exec, record->heap, RIG_STATE_HEAP, step);
        break;
    case RIG_STATE_BLOCK:
        resolve_slot(exec, record->slot, true, step);
        break;
    case RIG_STATE_HANDLER:
        resolve_handler(exec, record->arg, step);
        break;
    case RIG_STATE_NO_SECTION:
    case RIG_STATE_SECTION:
    case RIG_STATE_OWNED_SECTION:
    case RIG_STATE_FREE_SECTION:
        resolve_section(exec, record->arg, state, step);
        break;
    default:
        resolve_heap(exec, record->heap, state, step);
        break;
    }
}

void rig_resolve(struct rig_exec *exec, const struct rig_record *record, struct rig_step *step)
{
    step->named = true;
    step->flags = call_flags(record);
    resolve_object(exec, record, step);
    if (step->nothing || !rig_op_reads(record->op, RIG_OPERAND_SIZE)) {
        return;
    }
    const unsigned other = rig_record_hi(record);
    const struct rig_size_facts facts = {
        .slot_bytes = exec->slots[other].live ? exec->slots[other].block.size_bytes : 0,
        .hole_bytes = exec->hole_bytes[other],
        .last_bytes = exec->last_bytes,
        .threshold_bytes = step->heap == NULL ? RIG_THRESHOLD_BYTES : step->heap->threshold_bytes,
    };
    step->size_bytes = rig_size_resolve(record, &facts);
    exec->last_bytes = step->size_bytes;
}

const char *rig_step_call(enum rig_op op, bool win32)
{
    const struct rig_record record = {.op = (uint8_t)op, .win32 = win32};
    return rig_record_call(&record);
}
