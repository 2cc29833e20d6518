/* SPDX-License-Identifier: MIT
 *
 * Operations on whole heaps: parameters, creating with the caller's memory, CommitRoutine and lock,
 * destroying, locking. */
#include "exec_internal.h"

#include "program/size.h"

#include <string.h>

#define RIG_BASE_ALIGN_BYTES 0x10000u
/* Flags that no option of a program has by name. */
#define RIG_ODD_CREATION                                                                           \
    (~(HEAP_NO_SERIALIZE | 0x2u | HEAP_GENERATE_EXCEPTIONS | 0x80u | 0x10000u |                    \
       HEAP_CREATE_ENABLE_EXECUTE))

/* ---- Parameters ---- */

/* Members of RTL_HEAP_PARAMETERS that PARAMETER may set, by `arg`. */
bool rig_do_PARAMETER(struct rig_exec *exec, struct rig_step *step)
{
    RTL_HEAP_PARAMETERS *parameters = &exec->parameters;
    SIZE_T *const members[] = {
        &parameters->SegmentReserve,
        &parameters->SegmentCommit,
        &parameters->DeCommitFreeBlockThreshold,
        &parameters->DeCommitTotalFreeThreshold,
        &parameters->MaximumAllocationSize,
        &parameters->VirtualMemoryThreshold,
        &parameters->InitialCommit,
        &parameters->InitialReserve,
    };
    const unsigned choice = step->record->arg % 10u;
    exec->has_parameters = true;
    if (choice < sizeof(members) / sizeof(members[0])) {
        *members[choice] = step->size_bytes;
    } else if (choice == 8) {
        parameters->Reserved[step->record->arg & 1u] = step->record->value & 1u;
    } else {
        parameters->Length = (ULONG)(sizeof(*parameters) + (step->record->value & 3u) * 8u);
    }
    return true;
}

static void parameters_forget(struct rig_exec *exec)
{
    memset(&exec->parameters, 0, sizeof(exec->parameters));
    exec->parameters.Length = sizeof(exec->parameters);
    exec->has_parameters = false;
}

/* ---- CommitRoutine ---- */

struct reentry {
    struct rig_exec *exec;
    HANDLE heap;
    PVOID block;
};

static void reenter(void *context)
{
    struct reentry *reentry = context;
    reentry->block = reentry->exec->subject->HeapAlloc(reentry->heap, 0, 16);
}

static size_t page_up(size_t bytes)
{
    return (bytes + RIG_PAGE_BYTES - 1) / RIG_PAGE_BYTES * RIG_PAGE_BYTES;
}

/* Where the heap's part of the block ends, while it is made as well. */
static size_t routine_end(const struct rig_exec *exec, const struct rig_heap *heap)
{
    return heap->live ? heap->reserve_bytes : page_up(exec->step.create.parameters.InitialReserve);
}

/* Whole pages inside the block are asked for, by the block's own base. */
static bool routine_odd(const void *base, const void *address, size_t bytes)
{
    const uintptr_t from = (uintptr_t)address - (uintptr_t)base;
    return (uintptr_t)base % RIG_BASE_ALIGN_BYTES != 0 || from > RIG_BASE_BYTES || bytes == 0 ||
           bytes > RIG_BASE_BYTES - from || from % RIG_PAGE_BYTES != 0 ||
           bytes % RIG_PAGE_BYTES != 0;
}

static NTSTATUS RIG_NTAPI commit_routine(PVOID base, PVOID *address, PSIZE_T bytes)
{
    struct rig_exec *exec = rig_exec_now;
    const size_t idx = (size_t)((char *)base - exec->bases) / RIG_BASE_BYTES;
    if (idx >= RIG_HEAP_COUNT || routine_odd(base, *address, *bytes)) {
        exec->routine_odd = true;
        exec->starved = true;
        return (NTSTATUS)STATUS_INVALID_PARAMETER;
    }
    const enum rig_routine_mode mode =
        exec->routines[idx].grants > 0 ? RIG_ROUTINE_GRANT : exec->routines[idx].mode;
    char *from = *address;
    exec->routine_runs++;
    exec->routines[idx].grants -= exec->routines[idx].grants > 0;
    if (exec->subject->routine_refused != NULL && exec->subject->routine_refused()) {
        exec->starved = true;
        return (NTSTATUS)STATUS_NO_MEMORY;
    }
    switch (mode) {
    case RIG_ROUTINE_REFUSE_ONCE:
        exec->routines[idx].mode = RIG_ROUTINE_GRANT;
        exec->starved = true;
        return (NTSTATUS)STATUS_NO_MEMORY;
    case RIG_ROUTINE_REFUSE:
        exec->starved = true;
        return (NTSTATUS)STATUS_NO_MEMORY;
    case RIG_ROUTINE_RAISE:
        exec->starved = true;
        exec->routine_raised = true;
        exec->routine_raises = true;
        exec->subject->RaiseException(RIG_ROUTINE_CODE, 0, 0, NULL);
        return (NTSTATUS)STATUS_NO_MEMORY;
    case RIG_ROUTINE_ELSEWHERE:
        exec->starved = true;
        *address = from + RIG_PAGE_BYTES;
        return (NTSTATUS)STATUS_SUCCESS;
    case RIG_ROUTINE_GRANT_LESS:
        exec->starved = true;
        *bytes -= 1;
        return (NTSTATUS)STATUS_SUCCESS;
    case RIG_ROUTINE_GRANT_MORE: {
        const size_t offset = (size_t)(from - (char *)base);
        const size_t most = RIG_BASE_BYTES - offset;
        *bytes = *bytes + RIG_PAGE_BYTES < most ? *bytes + RIG_PAGE_BYTES : most;
        if (offset + *bytes > routine_end(exec, &exec->shadow.heaps[idx])) {
            exec->starved = true; /* a claim past the block's end (D26) */
        }
        break;
    }
    case RIG_ROUTINE_REENTER: {
        struct reentry reentry = {exec, exec->shadow.heaps[idx].handle, NULL};
        /* It is reported, and a report may end the process once that was asked for. */
        if (reentry.heap != NULL && !exec->shadow.terminates) {
            exec->reentries++;
            exec->routine_raises = true; /* should the call that is refused raise */
            (void)rig_call_aside(exec, reenter, &reentry);
            exec->routine_raises = false;
            RIG_CHECK(reentry.block == NULL || exec->subject->claims < RIG_CLAIM_RULINGS);
        }
        break;
    }
    default:
        break;
    }
    RIG_CHECK(rig_memory_open(from, *bytes));
    return (NTSTATUS)STATUS_SUCCESS;
}

bool rig_do_ROUTINE(struct rig_exec *exec, struct rig_step *step)
{
    const unsigned modes = (exec->subject->claims & RIG_CLAIM_RULINGS) != 0
                               ? RIG_ROUTINE_MODE_COUNT
                               : RIG_ROUTINE_GRANT_MORE;
    const unsigned idx = step->record->heap % RIG_HEAP_COUNT;
    exec->routines[idx].mode = (enum rig_routine_mode)(step->record->arg % modes);
    exec->routines[idx].grants = step->record->value & 0xFu;
    return true;
}

/* ---- Creating ---- */

/* The bits of the heap interface for flags on CREATE. */
static ULONG create_flags(const struct rig_record *record, bool win32)
{
    ULONG flags = 0;
    flags |= (record->flags & RIG_CREATE_NO_SERIALIZE) != 0 ? HEAP_NO_SERIALIZE : 0;
    flags |= (record->flags & RIG_CREATE_EXCEPTIONS) != 0 ? HEAP_GENERATE_EXCEPTIONS : 0;
    flags |= (record->flags & RIG_CREATE_NO_COALESCE) != 0 ? 0x80u : 0;
    flags |= (record->flags & RIG_CREATE_ALIGN_16) != 0 ? 0x10000u : 0;
    flags |= (record->flags & RIG_CREATE_EXECUTE) != 0 ? HEAP_CREATE_ENABLE_EXECUTE : 0;
    flags |= (record->flags & RIG_CREATE_FIXED) == 0 && !win32 ? 0x2u : 0;
    if ((record->flags & RIG_CREATE_ODD) != 0) {
        flags |= 1u << (record->arg >> 3);
    }
    return flags;
}

static void call_create(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = rig_as(exec);
    HANDLE handle = step->win32
                        ? subject->HeapCreate(step->flags, step->create.commit_bytes,
                                              step->create.reserve_bytes)
                        : subject->RtlCreateHeap(
                              step->flags, step->create.base, step->create.reserve_bytes,
                              step->create.commit_bytes,
                              step->create.lock ? &exec->sections[step->object_idx].section : NULL,
                              step->create.has_parameters ? &step->create.parameters : NULL);
    step->outcome.value = (uintptr_t)handle;
}

/* How large: from nothing by way of pages to whole megabytes, dense at the edges. */
static size_t reserve_of(uint8_t byte)
{
    static const uint16_t pages[16] = {0, 0, 1, 2, 3, 4, 8, 15, 16, 17, 32, 64, 65, 128, 256, 512};
    const size_t bytes = (size_t)pages[byte & 15u] * RIG_PAGE_BYTES;
    return (byte & 0xF0u) == 0xF0u ? SIZE_MAX - bytes : bytes + (byte >> 4) * 0x111u;
}

/* This one value asks for a CommitRoutine without the memory that it could commit. */
#define RIG_CREATE_ARG_HOMELESS 0xFAu

/* The caller's memory, lock and parameters, for the Rtl spelling only. */
static void create_extras(struct rig_exec *exec, struct rig_step *step)
{
    const uint8_t arg = exec->watch.on ? 0 : step->record->arg;
    const unsigned idx = step->heap->idx;
    char *base = exec->bases + (size_t)idx * RIG_BASE_BYTES;
    step->create.has_parameters =
        exec->has_parameters && (step->record->flags & RIG_CREATE_PARAMETERS) != 0;
    step->create.parameters = exec->parameters;
    if ((arg & RIG_CREATE_ARG_ROUTINE) != 0 && (arg & RIG_CREATE_ARG_BASE) != 0) {
        step->create.routine = true;
        step->create.has_parameters = true;
        step->create.parameters.CommitRoutine = commit_routine;
    }
    if (arg == RIG_CREATE_ARG_HOMELESS) {
        step->create.routine = true;
        step->create.has_parameters = true;
        step->create.parameters.CommitRoutine = commit_routine;
    }
    if ((arg & RIG_CREATE_ARG_BASE) != 0) {
        step->create.base = base;
        step->create.base_bytes = RIG_BASE_BYTES;
        /* Never more than there is. */
        step->create.reserve_bytes %= RIG_BASE_BYTES + 1;
        step->create.commit_bytes %= RIG_BASE_BYTES + 1;
        step->create.parameters.InitialReserve %= RIG_BASE_BYTES + 1;
        if (!step->create.routine) {
            RIG_CHECK(rig_memory_open(base, RIG_BASE_BYTES));
        }
    }
    if ((arg & RIG_CREATE_ARG_LOCK) != 0 && exec->subject->InitializeCriticalSection != NULL) {
        step->object_idx = idx % RIG_SECTION_COUNT;
        step->create.lock = exec->sections[step->object_idx].live;
        step->create.lock_live = step->create.lock;
    }
}

/* What the documents say of the sizes of a heap that was made. */
static void heap_sizes(struct rig_heap *heap, const struct rig_step *step)
{
    size_t reserve = step->create.reserve_bytes;
    size_t commit = step->create.commit_bytes;
    if (step->create.routine) {
        reserve = step->create.parameters.InitialReserve;
        commit = step->create.parameters.InitialCommit;
    }
    reserve = page_up(reserve);
    commit = commit == 0 ? RIG_PAGE_BYTES : page_up(commit);
    if (reserve == 0) {
        const size_t step_bytes = 16u * RIG_PAGE_BYTES;
        reserve = step->create.commit_bytes == 0
                      ? 64u * RIG_PAGE_BYTES
                      : (commit + step_bytes - 1) / step_bytes * step_bytes;
    }
    heap->reserve_bytes = reserve;
    heap->commit_bytes = commit < reserve ? commit : reserve;
    heap->threshold_bytes = RIG_THRESHOLD_BYTES;
    heap->allocation_max_bytes = SIZE_MAX;
    if (step->create.has_parameters) {
        const size_t threshold = step->create.parameters.VirtualMemoryThreshold;
        const size_t most = step->create.parameters.MaximumAllocationSize;
        if (threshold != 0 && threshold < RIG_THRESHOLD_BYTES) {
            heap->threshold_bytes = threshold;
        }
        if (most != 0) {
            heap->allocation_max_bytes = most;
        }
        heap->segment_bytes = step->create.parameters.SegmentReserve;
        heap->segment_commit_bytes = step->create.parameters.SegmentCommit;
        heap->decommit_block_bytes = step->create.parameters.DeCommitFreeBlockThreshold;
        heap->decommit_total_bytes = step->create.parameters.DeCommitTotalFreeThreshold;
    }
}

/* Where the data of a new heap's free block starts. */
static uintptr_t first_free(const struct rig_walk *walk)
{
    for (size_t idx = 0; walk != NULL && idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (!element->busy && !element->region && !element->uncommitted) {
            return element->address;
        }
    }
    return 0;
}

static void heap_made(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_heap *heap = step->heap;
    const uint8_t idx = heap->idx;
    const bool apart = exec->watch.on && (exec->watch.set.flags & RIG_VERIFY_DHC) != 0;
    *heap = (struct rig_heap){
        .live = true,
        .growable = step->win32 ? step->create.reserve_bytes == 0 : (step->flags & 0x2u) != 0,
        .has_base = step->create.base != NULL,
        .has_routine = step->create.routine,
        .win32 = step->win32,
        .idx = idx,
        .section = step->create.lock ? (uint8_t)step->object_idx : RIG_NO_SECTION,
        .handle = (HANDLE)step->outcome.value,
        .flags = step->flags | (apart ? 0x80u : 0u),
        .created = exec->shadow.heap_ordinal++,
    };
    heap->front_able = heap->growable && (heap->flags & (HEAP_NO_SERIALIZE | 0x80u)) == 0;
    heap_sizes(heap, step);
    heap->first_free = first_free(step->walk);
    if (step->create.lock) {
        exec->sections[step->object_idx].users++;
    }
}

static struct rig_holdings holdings(const struct rig_exec *exec)
{
    const struct rig_holdings none = {0, 0, 0};
    return exec->subject->holdings == NULL ? none : exec->subject->holdings();
}

bool rig_do_CREATE(struct rig_exec *exec, struct rig_step *step)
{
    memset(&step->create, 0, sizeof(step->create));
    step->flags = create_flags(step->record, step->win32);
    if (exec->watch.on) {
        step->flags &= ~(ULONG)RIG_ODD_CREATION;
    }
    step->create.reserve_bytes = reserve_of(step->record->slot);
    step->create.commit_bytes = step->size_bytes;
    if (step->win32) {
        step->create.reserve_bytes =
            (step->record->flags & RIG_CREATE_FIXED) != 0 ? step->create.reserve_bytes : 0;
    } else {
        create_extras(exec, step);
    }
    unsigned count = 0;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        if (exec->shadow.heaps[idx].live && exec->shadow.heaps[idx].handle != NULL) {
            step->create.former[count++] = exec->shadow.heaps[idx].handle;
        }
    }
    step->gone_count = exec->gone_count;
    if (exec->gone_count > 0) {
        step->create.gone_last = exec->gone[(exec->gone_count - 1) % RIG_GONE_MAX];
    }
    step->held_known = exec->subject->holdings != NULL;
    step->create.held_before = holdings(exec);
    rig_call(exec, step, call_create);
    step->create.held_after = holdings(exec);
    parameters_forget(exec);
    if (step->outcome.value != 0) {
        rig_see_made(exec, step);
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (step->outcome.value != 0) {
        heap_made(exec, step);
        return true;
    }
    if (step->create.base != NULL) {
        rig_memory_close(step->create.base, RIG_BASE_BYTES);
    }
    return true;
}

/* ---- Destroying ---- */

static void call_destroy(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    step->outcome.value = step->win32 ? (uintptr_t)(subject->HeapDestroy(step->heap->handle) != 0)
                                      : (uintptr_t)subject->RtlDestroyHeap(step->heap->handle);
}

static void heap_gone(struct rig_exec *exec, struct rig_heap *heap)
{
    struct rig_block *block = rig_shadow_first(&exec->shadow);
    while (block != NULL) {
        struct rig_block *next = rig_shadow_next(block);
        if (block->heap == heap->idx) {
            exec->gone_block = block->address;
            rig_watch_gone(exec, block, false);
            rig_shadow_remove(&exec->shadow, block);
            exec->slots[block->name].live = false;
            exec->hole_bytes[block->name] = block->size_bytes;
        }
        block = next;
    }
    if (heap->section != RIG_NO_SECTION) {
        exec->sections[heap->section].users--;
    }
    for (unsigned idx = 0; idx < RIG_CURSOR_COUNT; idx++) {
        if (exec->cursors[idx].heap == heap->idx) {
            exec->cursors[idx].live = false;
        }
    }
    if (heap->has_base) {
        rig_memory_close(exec->bases + (size_t)heap->idx * RIG_BASE_BYTES, RIG_BASE_BYTES);
    }
    const uint8_t idx = heap->idx;
    rig_watch_heap_gone(exec, idx);
    exec->unwound[idx] = false;
    *heap = (struct rig_heap){.idx = idx, .section = RIG_NO_SECTION};
    rig_damages_forget(exec, idx);
}

bool rig_do_DESTROY(struct rig_exec *exec, struct rig_step *step)
{
    step->held_known = exec->subject->holdings != NULL;
    rig_damages_mend(exec, step->heap->idx);
    if (exec->subject->HeapSummary != NULL) {
        (void)rig_call_aside(exec, rig_see_sums, exec);
    }
    step->held_before = holdings(exec);
    rig_call(exec, step, call_destroy);
    step->held_after = holdings(exec);
    step->base_kept = step->heap->has_base && rig_see_base(exec, step->heap);
    if (!rig_judge(exec, step)) {
        return false;
    }
    /* One spelling says TRUE, the other NULL. */
    if (!step->outcome.raised && (step->outcome.value != 0) == step->win32) {
        rig_see_gone(exec, step->heap->handle);
        heap_gone(exec, step->heap);
    }
    return true;
}

/* ---- Locking ---- */

static void call_lock(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    step->outcome.value = step->win32 ? (uintptr_t)(subject->HeapLock(step->heap->handle) != 0)
                                      : (uintptr_t)subject->RtlLockHeap(step->heap->handle);
}

/* How often the critical section that is the heap's lock is owned. */
static LONG section_count(const struct rig_exec *exec, struct rig_step *step)
{
    step->section_seen = step->heap->section != RIG_NO_SECTION;
    return step->section_seen ? exec->sections[step->heap->section].section.RecursionCount : 0;
}

bool rig_do_LOCK(struct rig_exec *exec, struct rig_step *step)
{
    step->section_before = section_count(exec, step);
    rig_call(exec, step, call_lock);
    step->section_after = section_count(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    step->heap->lock_depth += step->outcome.value != 0;
    return true;
}

static void call_unlock(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    step->outcome.value = step->win32 ? (uintptr_t)(subject->HeapUnlock(step->heap->handle) != 0)
                                      : (uintptr_t)subject->RtlUnlockHeap(step->heap->handle);
}

bool rig_do_UNLOCK(struct rig_exec *exec, struct rig_step *step)
{
    step->section_before = section_count(exec, step);
    rig_call(exec, step, call_unlock);
    step->section_after = section_count(exec, step);
    if (!rig_judge(exec, step)) {
        return false;
    }
    step->heap->lock_depth -= step->outcome.value != 0;
    return true;
}
