/* SPDX-License-Identifier: MIT
 *
 * Operations on blocks. Each makes its call, looks at what came of it, has it judged and tells the
 * model. Blocks are seen before they are stamped anew, so every look finds what the heap left. */
#include "exec_internal.h"

#include <string.h>

/* ---- Aside: what a block's size is said to be ---- */

struct size_query {
    struct rig_exec *exec;
    HANDLE heap;
    uintptr_t address;
    bool win32;
    size_t bytes;
};

static void query_size(void *context)
{
    struct size_query *query = context;
    const struct rig_subject *subject = query->exec->subject;
    query->bytes = query->win32 ? subject->HeapSize(query->heap, 0, (PVOID)query->address)
                                : subject->RtlSizeHeap(query->heap, 0, (PVOID)query->address);
}

size_t rig_query_size(struct rig_exec *exec, const struct rig_step *step, HANDLE heap,
                      uintptr_t address, bool *known)
{
    /* The other spelling than the step's: the two must agree. */
    const bool win32 = exec->subject->RtlSizeHeap == NULL || !step->win32;
    struct size_query query = {exec, heap, address, win32, 0};
    if (exec->watch.on && step->block != NULL && step->block->flips != 0) {
        *known = false; /* it would be told of */
        return 0;
    }
    *known = (win32 ? exec->subject->HeapSize != NULL : true) &&
             rig_call_aside(exec, query_size, &query);
    return query.bytes;
}

/* ---- Telling the model ---- */

static void forget_name(struct rig_exec *exec, const struct rig_block *block)
{
    if (exec->program != NULL) {
        exec->slots[block->name].live = false;
        exec->hole_bytes[block->name] = block->size_bytes;
    } else {
        struct rig_named *named = (struct rig_named *)(uintptr_t)block;
        HASH_DELETE(by_name, exec->stream, named);
        free(named);
    }
}

static struct rig_named *name_new(struct rig_exec *exec, uint32_t name)
{
    struct rig_named *named;
    if (exec->program != NULL) {
        named = &exec->slots[name];
    } else {
        named = calloc(1, sizeof(*named));
        RIG_CHECK(named != NULL);
        named->block.name = name;
        HASH_ADD(by_name, exec->stream, block.name, sizeof(named->block.name), named);
    }
    named->live = true;
    return named;
}

/* A block is there now: into the model, and filled. */
static void block_made(struct rig_exec *exec, struct rig_heap *heap, uint32_t name,
                       uintptr_t address, size_t size_bytes, ULONG flags)
{
    struct rig_named *named = name_new(exec, name);
    named->block = (struct rig_block){
        .address = address,
        .size_bytes = size_bytes,
        .name = name,
        .stamp = exec->shadow.stamp_next++,
        .heap = heap->idx,
        .has_user_value = (flags & HEAP_SETTABLE_USER_VALUE) != 0,
    };
    if (named->block.has_user_value) {
        named->block.user_flags = flags & HEAP_SETTABLE_USER_FLAGS;
    }
    rig_watch_made(exec, &named->block);
    RIG_CHECK(rig_shadow_add(&exec->shadow, &named->block) == NULL);
    rig_pattern_fill((void *)address, size_bytes, named->block.stamp);
}

/* For misuse of what is gone. */
static void freed_keep(struct rig_exec *exec, const struct rig_block *block)
{
    const struct rig_heap *heap = &exec->shadow.heaps[block->heap];
    if (exec->program != NULL) {
        exec->gone_blocks[block->name] = (struct rig_gone_block){
            .address = block->address,
            .made = heap->created,
            .order = ++exec->freed_count,
            .heap = block->heap,
            .large = block->size_bytes > heap->threshold_bytes,
        };
    }
}

static void block_gone(struct rig_exec *exec, struct rig_block *block)
{
    rig_damages_moved(exec, block->address);
    rig_watch_gone(exec, block, true);
    exec->changes[block->heap]++;
    freed_keep(exec, block);
    rig_shadow_remove(&exec->shadow, block);
    forget_name(exec, block);
}

/* ---- Allocating ---- */

static void call_alloc(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    PVOID block = step->win32
                      ? subject->HeapAlloc(step->heap->handle, step->flags, step->size_bytes)
                      : subject->RtlAllocateHeap(step->heap->handle, step->flags, step->size_bytes);
    step->outcome.value = (uintptr_t)block;
}

struct locking {
    BOOL(RIG_NTAPI *call)(HANDLE heap);
    HANDLE heap;
    bool done;
};

static void lock_or_unlock(void *context)
{
    struct locking *locking = context;
    locking->done = locking->call(locking->heap) != 0;
}

/* Guarded: a damaged heap may end the process here as well. */
bool rig_lock_aside(struct rig_exec *exec, struct rig_heap *heap, bool lock)
{
    const struct rig_subject *subject = exec->subject;
    struct locking locking = {lock ? subject->HeapLock : subject->HeapUnlock, heap->handle, false};
    if (subject->HeapLock == NULL || subject->HeapUnlock == NULL) {
        return false;
    }
    (void)rig_call_aside(exec, lock_or_unlock, &locking);
    return locking.done;
}

/* The call raised, whether or not a filter continued. */
static bool rig_step_raised(const struct rig_step *step)
{
    return step->outcome.raised ||
           (step->context == RIG_CONTEXT_CONTINUE && step->outcome.filter_runs > 0);
}

/* What the subject holds; before and after an allocation. */
static struct rig_holdings holdings(const struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_holdings none = {0, 0, 0};
    step->held_known = exec->subject->holdings != NULL && !exec->watch.on;
    return step->held_known ? exec->subject->holdings() : none;
}

/* Where the contents of a new block may be read: not of one that should not be there, and none that
 * is out of line: that is judged first. */
static bool readable(const struct rig_step *step, uintptr_t address)
{
    return step->expect == RIG_EXPECT_BLOCK && address % sizeof(void *) == 0;
}

/* The call, between lock and unlock where the context says so. */
static void call_in_context(struct rig_exec *exec, struct rig_step *step, void (*body)(void *))
{
    const bool locked =
        step->context == RIG_CONTEXT_LOCKED && rig_lock_aside(exec, step->heap, true);
    step->expect = rig_shadow_expect(step->heap, step->size_bytes);
    rig_call(exec, step, body);
    if (locked) {
        (void)rig_lock_aside(exec, step->heap, false);
    }
    step->heap->refused_last = step->outcome.refusals > 0;
    step->heap->refused_ever = step->heap->refused_ever || step->heap->refused_last;
    step->heap->filtered = step->heap->filtered || step->outcome.filter_runs > 0;
    exec->changes[step->heap->idx]++;
    if (rig_step_raised(step)) {
        rig_see_lock(exec, step);
    }
}

/* The model, once the step was judged. */
static void remember(struct rig_step *step)
{
    step->heap->raised_last = rig_step_raised(step);
}

/* What a new block looks like. Nothing of it is touched when it overlaps another. */
static void see_new(struct rig_exec *exec, struct rig_step *step, uintptr_t address)
{
    struct rig_sight *sight = &step->sight;
    sight->spoilt_at = RIG_NO_OFFSET;
    sight->dirty_at = RIG_NO_OFFSET;
    sight->overlaps = rig_shadow_overlap(&exec->shadow, address, step->size_bytes, NULL) != NULL;
    if (sight->overlaps || !readable(step, address)) {
        return;
    }
    if ((step->flags & HEAP_SETTABLE_USER_VALUE) != 0) {
        rig_see_user(exec, step);
    }
    sight->zero_asked = (step->flags & HEAP_ZERO_MEMORY) != 0;
    if (sight->zero_asked) {
        sight->dirty_at = rig_pattern_dirty((void *)address, 0, step->size_bytes);
    }
    if (exec->subject->HeapSize != NULL) {
        sight->size_now =
            rig_query_size(exec, step, step->heap->handle, address, &sight->size_known);
    }
}

bool rig_do_ALLOC(struct rig_exec *exec, struct rig_step *step)
{
    step->held_before = holdings(exec, step);
    call_in_context(exec, step, call_alloc);
    step->held_after = holdings(exec, step);
    const uintptr_t address = step->outcome.value;
    if (address != 0) {
        see_new(exec, step, address);
        rig_see_growth(exec, step);
    } else {
        rig_see_failure(exec, step);
        rig_see_spare(exec, step);
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    remember(step);
    if (address != 0) {
        block_made(exec, step->heap, step->name, address, step->size_bytes, step->flags);
    }
    return true;
}

static void call_multi_alloc(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = exec->subject->RtlMultipleAllocateHeap(
        step->heap->handle, step->flags, step->size_bytes, step->many_count, step->many_after);
}

/* Names are taken in order from the first one: only free ones, up to the count. */
bool rig_do_MULTI_ALLOC(struct rig_exec *exec, struct rig_step *step)
{
    uint32_t names[RIG_MANY_MAX];
    const unsigned wanted = step->record->arg % (RIG_MANY_MAX + 1);
    for (unsigned hop = 0; step->many_count < wanted && hop < RIG_SLOT_COUNT; hop++) {
        const uint32_t name = (step->name + hop) % RIG_SLOT_COUNT;
        if (!exec->slots[name].live) {
            names[step->many_count++] = name;
        }
    }
    for (unsigned idx = 0; idx < RIG_MANY_MAX; idx++) {
        step->many_before[idx] = (PVOID)(uintptr_t)RIG_POISON;
        step->many_after[idx] = (PVOID)(uintptr_t)RIG_POISON;
    }
    step->held_before = holdings(exec, step);
    call_in_context(exec, step, call_multi_alloc);
    step->held_after = holdings(exec, step);
    rig_see_growth(exec, step);
    /* With an exception no count comes back: the blocks made stand in the array. */
    unsigned made = 0;
    step->sight.spoilt_at = RIG_NO_OFFSET;
    step->sight.dirty_at = RIG_NO_OFFSET;
    step->sight.zero_asked = (step->flags & HEAP_ZERO_MEMORY) != 0;
    while (made < step->many_count && step->many_after[made] != step->many_before[made] &&
           step->many_after[made] != NULL) {
        const uintptr_t address = (uintptr_t)step->many_after[made];
        struct rig_block *other =
            rig_shadow_overlap(&exec->shadow, address, step->size_bytes, NULL);
        step->sight.overlaps = step->sight.overlaps || other != NULL;
        for (unsigned idx = 0; idx < made; idx++) {
            const uintptr_t before = (uintptr_t)step->many_after[idx];
            const uintptr_t apart = before < address ? address - before : before - address;
            step->sight.overlaps = step->sight.overlaps || apart < step->size_bytes || apart == 0;
        }
        if (step->sight.zero_asked && !step->sight.overlaps && readable(step, address) &&
            step->sight.dirty_at == RIG_NO_OFFSET) {
            step->sight.dirty_at = rig_pattern_dirty((void *)address, 0, step->size_bytes);
        }
        made++;
    }
    if (made < step->many_count) {
        rig_see_failure(exec, step);
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    remember(step);
    for (unsigned idx = 0; idx < made; idx++) {
        block_made(exec, step->heap, names[idx], (uintptr_t)step->many_after[idx], step->size_bytes,
                   step->flags);
    }
    return true;
}

/* ---- Reallocating ---- */

static void call_realloc(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    PVOID old = (PVOID)step->block->address;
    PVOID block =
        step->win32
            ? subject->HeapReAlloc(step->heap->handle, step->flags, old, step->size_bytes)
            : subject->RtlReAllocateHeap(step->heap->handle, step->flags, old, step->size_bytes);
    step->outcome.value = (uintptr_t)block;
}

static void see_again(struct rig_exec *exec, struct rig_step *step, uintptr_t address)
{
    struct rig_sight *sight = &step->sight;
    const struct rig_block *old = &step->block_before;
    sight->spoilt_at = RIG_NO_OFFSET;
    sight->dirty_at = RIG_NO_OFFSET;
    sight->overlaps =
        rig_shadow_overlap(&exec->shadow, address, step->size_bytes, step->block) != NULL;
    if (sight->overlaps || !readable(step, address)) {
        return;
    }
    if (step->block->has_user_value) {
        rig_see_user(exec, step);
    }
    sight->kept_bytes = old->size_bytes < step->size_bytes ? old->size_bytes : step->size_bytes;
    sight->spoilt_at =
        rig_pattern_differs((void *)address, sight->kept_bytes, old->size_bytes, old->stamp);
    sight->zero_asked = (step->flags & HEAP_ZERO_MEMORY) != 0 && step->size_bytes > old->size_bytes;
    if (sight->zero_asked) {
        sight->zero_from = old->size_bytes;
        sight->dirty_at = rig_pattern_dirty((void *)address, old->size_bytes, step->size_bytes);
    }
    if (exec->subject->HeapSize != NULL) {
        sight->size_now =
            rig_query_size(exec, step, step->heap->handle, address, &sight->size_known);
    }
}

/* After a failure the old block is whole. */
static void see_untouched(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_sight *sight = &step->sight;
    const struct rig_block *old = &step->block_before;
    sight->kept_bytes = old->size_bytes;
    sight->dirty_at = RIG_NO_OFFSET;
    sight->spoilt_at =
        rig_pattern_differs((void *)old->address, old->size_bytes, old->size_bytes, old->stamp);
    if (exec->subject->HeapSize != NULL) {
        sight->old_size_now =
            rig_query_size(exec, step, step->heap->handle, old->address, &sight->old_size_known);
    }
}

/* User flags follow the call, but for a shrink that moves nothing. */
static void user_flags_follow(struct rig_block *block, const struct rig_step *step, bool moved)
{
    const bool shrunk = step->size_bytes <= step->block_before.size_bytes;
    if (block->has_user_value && (moved || !shrunk)) {
        block->user_flags = step->flags & HEAP_SETTABLE_USER_FLAGS;
    }
}

bool rig_do_REALLOC(struct rig_exec *exec, struct rig_step *step)
{
    step->held_before = holdings(exec, step);
    call_in_context(exec, step, call_realloc);
    step->held_after = holdings(exec, step);
    const uintptr_t address = step->outcome.value;
    if (address != 0) {
        see_again(exec, step, address);
        rig_see_growth(exec, step);
    } else {
        see_untouched(exec, step);
        rig_see_failure(exec, step);
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    remember(step);
    if (address != 0) {
        struct rig_block *block = step->block;
        rig_damages_moved(exec, block->address);
        rig_shadow_remove(&exec->shadow, block);
        user_flags_follow(block, step, address != block->address);
        block->address = address;
        block->size_bytes = step->size_bytes;
        block->resized = true;
        block->stamp = exec->shadow.stamp_next++;
        rig_watch_moved(exec, block, &step->block_before);
        RIG_CHECK(rig_shadow_add(&exec->shadow, block) == NULL);
        rig_pattern_fill((void *)address, block->size_bytes, block->stamp);
    } else if (step->outcome.reports > 0) {
        rig_damages_half_made(exec, step->heap->idx);
    }
    return true;
}

/* ---- Freeing ---- */

static void call_free(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    PVOID block = step->block == NULL ? NULL : (PVOID)step->block->address;
    step->outcome.value =
        step->win32 ? (uintptr_t)(subject->HeapFree(step->heap->handle, step->flags, block) != 0)
                    : (uintptr_t)(subject->RtlFreeHeap(step->heap->handle, step->flags, block));
}

bool rig_do_FREE(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_block *old = &step->block_before;
    step->sight.kept_bytes = old->size_bytes;
    step->sight.spoilt_at =
        rig_pattern_differs((void *)old->address, old->size_bytes, old->size_bytes, old->stamp);
    const bool watched = rig_free_watched(exec, step);
    if (watched) {
        step->held_before = holdings(exec, step);
    }
    rig_call(exec, step, call_free);
    if (watched && step->outcome.value != 0) {
        step->held_after = holdings(exec, step);
        rig_see_freed(exec, step);
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (step->outcome.value != 0) {
        block_gone(exec, step->block);
    }
    return true;
}

bool rig_do_FREE_NULL(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_free);
    return rig_judge(exec, step);
}

static void call_multi_free(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = exec->subject->RtlMultipleFreeHeap(step->heap->handle, step->flags,
                                                             step->many_count, step->many_after);
}

/* The next live block of the step's heap under a name from `*hop` on, or NULL. */
static struct rig_block *next_of_heap(struct rig_exec *exec, const struct rig_step *step,
                                      unsigned *hop)
{
    while (*hop < RIG_SLOT_COUNT) {
        struct rig_named *named = &exec->slots[(step->name + (*hop)++) % RIG_SLOT_COUNT];
        if (named->live && named->block.heap == step->heap->idx) {
            return &named->block;
        }
    }
    return NULL;
}

/* Live blocks of one heap from the first name on. A NULL in front by the argument's high bit, and
 * wherever the value has a bit among the first 16 entries. */
bool rig_do_MULTI_FREE(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_block *blocks[RIG_MANY_MAX] = {NULL};
    const unsigned wanted = step->record->arg % (RIG_MANY_MAX + 1);
    const unsigned nulls = step->record->value | ((step->record->arg & 0x80u) != 0 ? 1u : 0u);
    unsigned count = 0;
    for (unsigned hop = 0; count < wanted; count++) {
        const bool null = count < 16u && (nulls >> count & 1u) != 0;
        blocks[count] = null ? NULL : next_of_heap(exec, step, &hop);
        if (!null && blocks[count] == NULL) {
            break;
        }
        step->many_nulls += null;
    }
    step->many_count = count;
    for (unsigned idx = 0; idx < count; idx++) {
        step->many_before[idx] = blocks[idx] == NULL ? NULL : (PVOID)blocks[idx]->address;
        step->many_after[idx] = step->many_before[idx];
    }
    rig_call(exec, step, call_multi_free);
    if (!rig_judge(exec, step)) {
        return false;
    }
    for (unsigned idx = 0; idx < count && idx < step->outcome.value; idx++) {
        if (blocks[idx] != NULL) {
            block_gone(exec, blocks[idx]);
        }
    }
    return true;
}

/* ---- Looking at one block ---- */

static void call_size(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    PVOID block = (PVOID)step->block->address;
    step->outcome.value = step->win32
                              ? subject->HeapSize(step->heap->handle, step->flags, block)
                              : subject->RtlSizeHeap(step->heap->handle, step->flags, block);
}

bool rig_do_SIZE(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_size);
    return rig_judge(exec, step);
}

static void call_validate(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    PVOID block = step->block == NULL ? NULL : (PVOID)step->block->address;
    step->outcome.value =
        step->win32
            ? (uintptr_t)(subject->HeapValidate(step->heap->handle, step->flags, block) != 0)
            : (uintptr_t)subject->RtlValidateHeap(step->heap->handle, step->flags, block);
}

bool rig_do_VALIDATE_BLOCK(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_validate);
    return rig_judge(exec, step);
}

bool rig_do_VALIDATE(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_validate);
    return rig_judge(exec, step);
}

static void call_disown(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = (uint32_t)rig_as(exec)->RtlDisownModuleHeapAllocation(
        step->heap->handle, (PVOID)step->block->address);
}

static void see_block(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_block *block = step->block;
    step->sight.kept_bytes = block->size_bytes;
    step->sight.spoilt_at = rig_pattern_differs((void *)block->address, block->size_bytes,
                                                block->size_bytes, block->stamp);
    if (exec->subject->HeapSize != NULL) {
        step->sight.size_now =
            rig_query_size(exec, step, step->heap->handle, block->address, &step->sight.size_known);
    }
}

bool rig_do_DISOWN(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_disown);
    see_block(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    step->block->disowned = true;
    rig_watch_disowned(exec, step->block);
    return true;
}

/* ---- The program's own use of its memory ---- */

bool rig_do_READ(struct rig_exec *exec, struct rig_step *step)
{
    see_block(exec, step);
    return rig_judge(exec, step);
}

bool rig_do_WRITE(struct rig_exec *exec, struct rig_step *step)
{
    see_block(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    step->block->stamp = exec->shadow.stamp_next++;
    rig_pattern_fill((void *)step->block->address, step->block->size_bytes, step->block->stamp);
    return true;
}

/* ---- User value and flags ---- */

static void call_set_value(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = exec->subject->RtlSetUserValueHeap(
        step->heap->handle, step->flags, (PVOID)step->block->address, step->user_value);
}

bool rig_do_SET_USER_VALUE(struct rig_exec *exec, struct rig_step *step)
{
    step->user_value = (PVOID)(uintptr_t)(step->record->value * 0x10001u);
    rig_call(exec, step, call_set_value);
    rig_see_user(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (step->outcome.value != 0) {
        step->block->user_value = step->user_value;
    }
    return true;
}

static void call_get_info(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const bool flags_wanted = (step->record->arg & 1u) == 0;
    step->outcome.value = exec->subject->RtlGetUserInfoHeap(
        step->heap->handle, step->flags, (PVOID)step->block->address, &step->user_value,
        flags_wanted ? &step->user_flags : NULL);
}

bool rig_do_GET_USER_INFO(struct rig_exec *exec, struct rig_step *step)
{
    step->user_value = (PVOID)(uintptr_t)RIG_POISON;
    step->user_flags = RIG_POISON;
    rig_call(exec, step, call_get_info);
    return rig_judge(exec, step);
}

static void call_set_flags(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = exec->subject->RtlSetUserFlagsHeap(step->heap->handle, step->flags,
                                                             (PVOID)step->block->address,
                                                             step->user_reset, step->user_set);
}

/* Two groups of bits: the flags' own three, and now and then one outside them. */
bool rig_do_SET_USER_FLAGS(struct rig_exec *exec, struct rig_step *step)
{
    const uint32_t value = step->record->value;
    step->user_reset = (value & 7u) << 9;
    step->user_set = (value >> 3 & 7u) << 9;
    if ((value >> 6 & 7u) == 7u) {
        step->user_reset |= 1u << (value >> 11);
    }
    if ((value >> 9 & 3u) == 3u) {
        step->user_set |= 1u << (value >> 11);
    }
    rig_call(exec, step, call_set_flags);
    rig_see_user(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (step->outcome.value != 0) {
        struct rig_block *block = step->block;
        block->user_flags = (block->user_flags & ~step->user_reset) | step->user_set;
        block->user_flags &= HEAP_SETTABLE_USER_FLAGS;
    }
    return true;
}
