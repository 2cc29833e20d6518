/* SPDX-License-Identifier: MIT
 *
 * What can be seen of a heap that was just made, and of one that goes. */
#include "exec_internal.h"

#include "program/size.h"

#if defined(__SANITIZE_ADDRESS__)
#define RIG_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RIG_ASAN 1
#endif
#endif
#ifdef RIG_ASAN
#include <sanitizer/asan_interface.h>
bool rig_poisoned(const char *base, size_t bytes)
{
    return __asan_region_is_poisoned((void *)(uintptr_t)base, bytes) != NULL;
}
#else
bool rig_poisoned(const char *base, size_t bytes)
{
    (void)base;
    (void)bytes;
    return false;
}
#endif

/* Words that stand at the handle in plain (D33). The heap does not hand them out, so its
 * sanitizer's poison does not count. */
RIG_UNSANITIZED static ULONG plain_word(HANDLE heap, size_t offset)
{
    return *(const volatile ULONG *)(const volatile void *)((const char *)heap + offset);
}

static void see_plain(struct rig_step *step, HANDLE heap)
{
    const bool wide = sizeof(void *) == 8;
    step->create.plain_mark = plain_word(heap, 2 * sizeof(void *));
    step->create.plain_flags = plain_word(heap, wide ? 0x70 : 0x40);
    step->create.plain_forced = plain_word(heap, wide ? 0x74 : 0x44);
    step->create.plain_seen = true;
}

void rig_see_sums(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    HANDLE heap = step->op == RIG_OP_CREATE ? (HANDLE)step->outcome.value : step->heap->handle;
    step->summed = exec->subject->HeapSummary(heap, 0, &summary) != 0;
    step->summary[0] = summary.cbAllocated;
    step->summary[1] = summary.cbCommitted;
    step->summary[2] = summary.cbReserved;
    step->summary[3] = summary.cbMaxReserve;
}

static void see_valid(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    HANDLE heap = (HANDLE)step->outcome.value;
    step->create.valid = exec->subject->HeapValidate(heap, 0, NULL) != 0;
    if (step->create.valid && (exec->subject->claims & RIG_CLAIM_RULINGS) != 0) {
        see_plain(step, heap);
    }
}

/* The address was that of one of the 64 heaps before. */
static bool is_reused(const struct rig_exec *exec, HANDLE heap)
{
    for (unsigned idx = 0; idx < RIG_GONE_MAX && idx < exec->gone_count; idx++) {
        if (exec->gone[idx] == heap &&
            exec->shadow.heap_ordinal - exec->gone_made[idx] < RIG_GONE_MAX) {
            return true;
        }
    }
    return false;
}

/* All that can be seen of a heap that has just been made. */
void rig_see_made(struct rig_exec *exec, struct rig_step *step)
{
    step->create.reused = is_reused(exec, (HANDLE)step->outcome.value);
    if (exec->subject->HeapValidate != NULL) {
        (void)rig_call_aside(exec, see_valid, exec);
    }
    if (!step->create.valid) {
        return;
    }
    if (exec->subject->HeapSummary != NULL) {
        (void)rig_call_aside(exec, rig_see_sums, exec);
    }
    step->walk = rig_walk_aside(exec, (HANDLE)step->outcome.value);
}

void rig_see_gone(struct rig_exec *exec, HANDLE handle)
{
    const unsigned idx = exec->gone_count++ % RIG_GONE_MAX;
    exec->gone[idx] = handle;
    exec->gone_made[idx] = exec->shadow.heap_ordinal;
}

struct touching {
    char *base;
    size_t bytes;
};

/* A sanitizer's poison is asked for beside this, and is no fault of the rig. */
RIG_UNSANITIZED static void touch(void *context)
{
    const struct touching *touching = context;
    for (size_t at = 0; at < touching->bytes; at += RIG_PAGE_BYTES) {
        const volatile char *byte = touching->base + at;
        (void)*byte;
    }
}

/* Whether the caller's memory is still his. Of what a routine commits, the first page is sure. */
bool rig_see_base(struct rig_exec *exec, const struct rig_heap *heap)
{
    struct touching touching = {exec->bases + (size_t)heap->idx * RIG_BASE_BYTES,
                                heap->has_routine ? RIG_PAGE_BYTES : RIG_BASE_BYTES};
    return rig_call_aside(exec, touch, &touching) && !rig_poisoned(touching.base, touching.bytes);
}
