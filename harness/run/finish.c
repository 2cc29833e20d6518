/* SPDX-License-Identifier: MIT
 *
 * A look at everything (contents, walks, validation of every heap and block), and the end of a run:
 * the same look, then all freed, the whole span asked for again, all destroyed. Each part is a step
 * that rules judge like any other. */
#include "exec_internal.h"

/* A step that no record asked for. */
static struct rig_step *step_of_rig(struct rig_exec *exec, enum rig_phase phase, enum rig_op op,
                                    struct rig_heap *heap, bool win32)
{
    struct rig_step *step = &exec->step;
    const uint32_t idx = step->idx;
    static const struct rig_record blank;
    *step = (struct rig_step){
        .idx = idx,
        .phase = phase,
        .op = op,
        .call = rig_step_call(op, win32),
        .win32 = win32,
        .named = true,
        .record = &blank,
        .heap = heap,
        .heap_before = *heap,
    };
    step->sight.spoilt_at = RIG_NO_OFFSET;
    step->sight.dirty_at = RIG_NO_OFFSET;
    rig_watch_step(exec, step);
    return step;
}

/* ---- Looking ---- */

static void validate_each(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    HANDLE handle = step->heap->handle;
    step->valid = subject->HeapValidate(handle, 0, NULL) != 0;
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        if (block->heap == step->heap->idx) {
            step->blocks_seen++;
            step->blocks_valid += subject->RtlValidateHeap(handle, 0, (PVOID)block->address) != 0;
            exec->verdict.call_count++;
        }
    }
    if (exec->freed[step->heap->idx] != 0) {
        PVOID freed = (PVOID)exec->freed[step->heap->idx];
        step->freed_seen = true;
        step->freed_valid = subject->HeapValidate(handle, 0, freed) != 0;
    }
    if (exec->idle != 0) {
        step->idle_seen = true;
        step->idle_valid = subject->HeapValidate(handle, 0, (PVOID)exec->idle) != 0;
    }
}

/* Some element of the walk made last that is not busy, or 0. */
static uintptr_t idle_of(const struct rig_walk *walk)
{
    for (size_t idx = 0; walk->ended && idx < walk->count; idx++) {
        if (!walk->elements[idx].busy && !walk->elements[idx].region) {
            return walk->elements[idx].address;
        }
    }
    return 0;
}

static void contents_each(struct rig_exec *exec, struct rig_step *step)
{
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        if (block->heap != step->heap->idx || block->size_bytes == 0) {
            continue;
        }
        step->contents_seen++;
        step->spoilt_count +=
            rig_pattern_differs((void *)block->address, block->size_bytes, block->size_bytes,
                                block->stamp) != RIG_PATTERN_NOWHERE;
    }
}

static bool check_validity(struct rig_exec *exec, enum rig_phase phase, struct rig_heap *heap)
{
    const struct rig_subject *subject = exec->subject;
    struct rig_step *step = step_of_rig(exec, phase, RIG_OP_CHECK, heap, true);
    if (subject->HeapValidate != NULL && subject->RtlValidateHeap != NULL) {
        rig_call(exec, step, validate_each);
    } else {
        step->nothing = true; /* contents alone are judged */
    }
    contents_each(exec, step);
    return rig_judge(exec, step);
}

static bool check_heap(struct rig_exec *exec, enum rig_phase phase, struct rig_heap *heap)
{
    const struct rig_subject *subject = exec->subject;
    exec->idle = 0;
    if (subject->RtlWalkHeap != NULL &&
        !rig_do_WALK(exec, step_of_rig(exec, phase, RIG_OP_WALK, heap, false))) {
        return false;
    }
    if (subject->HeapWalk != NULL) {
        if (!rig_do_WALK(exec, step_of_rig(exec, phase, RIG_OP_WALK, heap, true))) {
            return false;
        }
        exec->idle = idle_of(&exec->walk);
    }
    if (!check_validity(exec, phase, heap)) {
        return false;
    }
    return subject->HeapSummary == NULL ||
           rig_do_SUMMARY(exec, step_of_rig(exec, phase, RIG_OP_SUMMARY, heap, true));
}

bool rig_check_all(struct rig_exec *exec, enum rig_phase phase)
{
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        struct rig_heap *heap = &exec->shadow.heaps[idx];
        if (heap->live && heap->handle != NULL && !check_heap(exec, phase, heap)) {
            return false;
        }
    }
    return true;
}

bool rig_may_look(const struct rig_exec *exec)
{
    const uint64_t most = exec->options.look_calls;
    return most == 0 || exec->verdict.call_count + exec->planning.sounded_count < most;
}

bool rig_do_CHECK(struct rig_exec *exec, struct rig_step *step)
{
    step->nothing = !rig_may_look(exec);
    return step->nothing || rig_check_all(exec, RIG_PHASE_CHECK);
}

/* ---- The end ---- */

static bool unlock_all(struct rig_exec *exec, struct rig_heap *heap)
{
    while (heap->lock_depth > 0) {
        const unsigned depth = heap->lock_depth;
        if (!rig_do_UNLOCK(exec, step_of_rig(exec, RIG_PHASE_END, RIG_OP_UNLOCK, heap, true))) {
            return false;
        }
        if (heap->lock_depth == depth) {
            return true; /* judged already */
        }
    }
    return true;
}

static bool free_all(struct rig_exec *exec)
{
    struct rig_block *block = rig_shadow_first(&exec->shadow);
    bool win32 = false;
    while (block != NULL) {
        struct rig_block *next = rig_shadow_next(block);
        struct rig_heap *heap = &exec->shadow.heaps[block->heap];
        const struct rig_subject *subject = exec->subject;
        const bool spelled = subject->RtlFreeHeap == NULL || (win32 && subject->HeapFree != NULL);
        struct rig_step *step = step_of_rig(exec, RIG_PHASE_END, RIG_OP_FREE, heap, spelled);
        step->block = block;
        step->block_before = *block;
        step->name = block->name;
        const uintptr_t freed = block->address;
        if (!rig_do_FREE(exec, step)) {
            return false;
        }
        exec->freed[heap->idx] = freed;
        block = next;
        win32 = !win32;
    }
    return true;
}

/* What HeapCompact says is free can be had in one piece, now that everything is free. */
static void span_call(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    HANDLE handle = step->heap->handle;
    step->span_asked = subject->HeapCompact(handle, 0);
    step->span_told = step->span_asked;
    step->walk = rig_walk_aside(exec, handle);
    if (step->span_asked > step->heap->threshold_bytes) {
        step->span_asked = step->heap->threshold_bytes;
    }
    if (step->span_asked > step->heap->allocation_max_bytes) {
        step->span_asked = step->heap->allocation_max_bytes;
    }
    PVOID block = step->span_asked == 0 ? NULL : subject->HeapAlloc(handle, 0, step->span_asked);
    step->span_had = block != NULL && subject->HeapFree(handle, 0, block) != 0;
}

static bool span(struct rig_exec *exec, struct rig_heap *heap)
{
    if (exec->subject->HeapCompact == NULL) {
        return true;
    }
    struct rig_step *step = step_of_rig(exec, RIG_PHASE_END, RIG_OP_COMPACT, heap, true);
    rig_call(exec, step, span_call);
    return rig_judge(exec, step);
}

bool rig_finish(struct rig_exec *exec)
{
    if (!rig_check_all(exec, RIG_PHASE_CHECK)) {
        return false;
    }
    if (!free_all(exec) || !rig_check_all(exec, RIG_PHASE_END)) {
        return false;
    }
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        struct rig_heap *heap = &exec->shadow.heaps[idx];
        if (!heap->live || heap->handle == NULL) {
            continue;
        }
        if (!span(exec, heap) || !unlock_all(exec, heap)) {
            return false;
        }
        if (idx > 0 && exec->subject->HeapDestroy != NULL &&
            !rig_do_DESTROY(exec, step_of_rig(exec, RIG_PHASE_END, RIG_OP_DESTROY, heap, true))) {
            return false;
        }
    }
    return true;
}
