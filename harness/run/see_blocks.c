/* SPDX-License-Identifier: MIT
 *
 * What is seen around operations on blocks besides the block itself: whether an exception left a
 * lock behind, what a failure did to other blocks and whether there was room, a block's user
 * information. All of it is asked aside. */
#include "exec_internal.h"

/* Whether the exception left the heap locked: then unlocking works once more than it should. Asked
 * only of heaps whose ruling is to say FALSE. */
void rig_see_lock(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_heap *heap = step->heap;
    if ((exec->subject->claims & RIG_CLAIM_RULINGS) == 0 || heap->lock_depth > 0 ||
        (heap->flags & HEAP_NO_SERIALIZE) != 0 || heap->section != RIG_NO_SECTION || step->second) {
        return;
    }
    step->lock_known = true;
    step->lock_left = exec->subject->HeapUnlock(heap->handle) != 0;
}

/* ---- After a failure ---- */

#define OTHERS_MAX 8u

/* Some other blocks of the heap are as they were: at most eight, by the step's number others each
 * time. */
static void see_others(struct rig_exec *exec, struct rig_step *step)
{
    const uint64_t most = exec->options.others_max;
    if (exec->program == NULL || (most > 0 && exec->others_bytes >= most)) {
        return;
    }
    struct rig_sight *sight = &step->sight;
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT && sight->others_seen < OTHERS_MAX; hop++) {
        const struct rig_named *named =
            &exec->slots[(step->idx * OTHERS_MAX + hop) % RIG_SLOT_COUNT];
        const struct rig_block *block = &named->block;
        if (named->live && block != step->block && block->heap == step->heap->idx &&
            block->size_bytes > 0) {
            sight->others_seen++;
            exec->others_bytes += block->size_bytes;
            sight->others_spoilt +=
                rig_pattern_differs((void *)block->address, block->size_bytes, block->size_bytes,
                                    block->stamp) != RIG_PATTERN_NOWHERE;
        }
    }
}

/* A stretch of a walk without a busy element. */
struct stretch {
    size_t free_bytes; /* at its end, behind the last uncommitted range */
    size_t run_bytes;  /* with that range and the free block before it */
    bool merges;       /* else each element counts by itself */
};

/* A block is cut from free memory and one uncommitted range that it borders on. Free pages between
 * two such ranges part them: joining the three is the work of compacting. */
static void stretch_add(struct stretch *stretch, const struct rig_element *element)
{
    const size_t bytes = element->bytes + element->overhead;
    if (!stretch->merges) {
        stretch->run_bytes = bytes;
    } else if (element->uncommitted) {
        stretch->run_bytes = stretch->free_bytes + bytes;
        stretch->free_bytes = 0;
    } else {
        stretch->run_bytes += bytes;
        stretch->free_bytes += bytes;
    }
}

static void measure(struct rig_step *step, const struct rig_walk *walk)
{
    struct rig_room *room = &step->room;
    const bool merges = (step->heap->flags & 0x80u) == 0;
    struct stretch stretch = {.merges = merges};
    bool behind = false;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (element->busy || element->region) {
            stretch = (struct stretch){.merges = merges};
            behind = merges && step->block != NULL && element->busy &&
                     element->address == step->block_before.address;
            continue;
        }
        /* Right behind the block only what comes up to the end of the first uncommitted range and
         * the free block behind it. */
        behind = behind && (!element->uncommitted || stretch.free_bytes == stretch.run_bytes);
        stretch_add(&stretch, element);
        room->run_bytes = stretch.run_bytes > room->run_bytes ? stretch.run_bytes : room->run_bytes;
        room->total_bytes += element->bytes + element->overhead;
        room->behind_bytes = behind ? stretch.run_bytes : room->behind_bytes;
    }
    room->known = true;
}

/* In a heap that cannot grow a walk shows whether it is full. */
static void see_room(struct rig_exec *exec, struct rig_step *step)
{
    if (step->heap->growable || step->expect != RIG_EXPECT_BLOCK ||
        exec->subject->HeapWalk == NULL) {
        return;
    }
    const struct rig_walk *walk = rig_walk_aside(exec, step->heap->handle);
    if (walk != NULL && walk->ended && !walk->raised) {
        measure(step, walk);
    }
}

void rig_see_failure(struct rig_exec *exec, struct rig_step *step)
{
    see_others(exec, step);
    see_room(exec, step);
}

/* ---- Aside: a block's user information ---- */

static void query_user(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    struct rig_sight *sight = &step->sight;
    const uintptr_t address = step->op == RIG_OP_SET_USER_VALUE || step->op == RIG_OP_SET_USER_FLAGS
                                  ? step->block->address
                                  : step->outcome.value;
    sight->user_value_now = (PVOID)(uintptr_t)RIG_POISON;
    sight->user_flags_now = RIG_POISON;
    sight->user_said_yes =
        exec->subject->RtlGetUserInfoHeap(step->heap->handle, 0, (PVOID)address,
                                          &sight->user_value_now, &sight->user_flags_now) != 0;
}

void rig_see_user(struct rig_exec *exec, struct rig_step *step)
{
    if (exec->subject->RtlGetUserInfoHeap != NULL) {
        step->sight.user_known = rig_call_aside(exec, query_user, exec);
    }
}
