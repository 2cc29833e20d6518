/* SPDX-License-Identifier: MIT
 *
 * MISUSE: the call that is made and its other arguments, which are good ones. The record's value
 * chooses among the calls of the row, its spelling too where there are both; the value's high byte
 * among arguments. Structures of the caller stand in one place, so that all of it can be compared.
 */
#include "exec_internal.h"

#include "faults/catalog.h"

#define MANY 3u
#define BYTES 24u            /* of what is asked for, where that does not matter */
#define MASK_OUTSIDE 0x1000u /* the first bit past HEAP_SETTABLE_USER_FLAGS */
#define CLASS_OPTIMIZE 3u    /* HeapOptimizeResources, which not every Windows header has */
#define OPTIMIZE_BYTES 8u    /* of what is passed for it */
#define HEAP_BYTES 0x20000u  /* of a heap that must not be made */

/* What calls read and write besides their result. */
struct room {
    PROCESS_HEAP_ENTRY entry;
    RTL_HEAP_WALK_ENTRY rtl_entry;
    HEAP_SUMMARY summary;
    PVOID array[RIG_MANY_MAX];
    ULONG value[2];
    SIZE_T length;
    PVOID user_value;
    ULONG user_flags;
};

static struct room room;
static struct room room_before;
static PVOID given_length; /* where a query's length is to go */

/* ---- One function a call ---- */

#define CALL(call, body)                                                                           \
    static uintptr_t make_##call(const struct rig_subject *subject, const struct rig_step *step)   \
    {                                                                                              \
        const HANDLE heap = step->bad.handle;                                                      \
        const ULONG flags = step->flags;                                                           \
        const PVOID block = step->bad.block;                                                       \
        const size_t bytes = step->bad.size_bytes;                                                 \
        const PVOID place = step->bad.place;                                                       \
        (void)heap, (void)flags, (void)block, (void)bytes, (void)place;                            \
        body;                                                                                      \
    }

CALL(RtlFreeHeap, return subject->RtlFreeHeap(heap, flags, block) != 0)
CALL(HeapFree, return subject->HeapFree(heap, flags, block) != 0)
CALL(RtlMultipleFreeHeap, return subject->RtlMultipleFreeHeap(heap, flags, step->many_count, place))
CALL(RtlReAllocateHeap, return (uintptr_t)subject->RtlReAllocateHeap(heap, flags, block, bytes))
CALL(HeapReAlloc, return (uintptr_t)subject->HeapReAlloc(heap, flags, block, bytes))
CALL(RtlSizeHeap, return subject->RtlSizeHeap(heap, flags, block))
CALL(HeapSize, return subject->HeapSize(heap, flags, block))
CALL(RtlSetUserValueHeap, return subject->RtlSetUserValueHeap(heap, flags, block, &room) != 0)
CALL(RtlGetUserInfoHeap,
     return subject->RtlGetUserInfoHeap(heap, flags, block, &room.user_value, place) != 0)
CALL(RtlSetUserFlagsHeap,
     return subject->RtlSetUserFlagsHeap(heap, flags, block, 0, step->user_set) != 0)
CALL(RtlValidateHeap, return subject->RtlValidateHeap(heap, flags, block) != 0)
CALL(HeapValidate, return subject->HeapValidate(heap, flags, block) != 0)
CALL(RtlDisownModuleHeapAllocation,
     return (uint32_t)subject->RtlDisownModuleHeapAllocation(heap, block))
CALL(RtlAllocateHeap, return (uintptr_t)subject->RtlAllocateHeap(heap, flags, bytes))
CALL(HeapAlloc, return (uintptr_t)subject->HeapAlloc(heap, flags, bytes))
CALL(RtlMultipleAllocateHeap,
     return subject->RtlMultipleAllocateHeap(heap, flags, bytes, step->many_count, place))
CALL(RtlLockHeap, return subject->RtlLockHeap(heap) != 0)
CALL(HeapLock, return subject->HeapLock(heap) != 0)
CALL(RtlUnlockHeap, return subject->RtlUnlockHeap(heap) != 0)
CALL(HeapUnlock, return subject->HeapUnlock(heap) != 0)
CALL(RtlWalkHeap, return (uint32_t)subject->RtlWalkHeap(heap, place))
CALL(HeapWalk, return subject->HeapWalk(heap, place) != 0)
CALL(RtlCompactHeap, return subject->RtlCompactHeap(heap, flags))
CALL(HeapCompact, return subject->HeapCompact(heap, flags))
CALL(RtlZeroHeap, return (uint32_t)subject->RtlZeroHeap(heap, flags))
CALL(HeapSummary, return subject->HeapSummary(heap, flags, place) != 0)
CALL(RtlQueryHeapInformation,
     return (uint32_t)subject->RtlQueryHeapInformation(heap, HeapCompatibilityInformation, place,
                                                       bytes, given_length))
CALL(HeapQueryInformation, return subject->HeapQueryInformation(heap, HeapCompatibilityInformation,
                                                                place, bytes, given_length) != 0)
CALL(RtlSetHeapInformation,
     return (uint32_t)subject->RtlSetHeapInformation(heap, (HEAP_INFORMATION_CLASS)step->info_class,
                                                     place, bytes))
CALL(HeapSetInformation,
     return subject->HeapSetInformation(heap, (HEAP_INFORMATION_CLASS)step->info_class, place,
                                        bytes) != 0)
CALL(RtlDestroyHeap, return (uintptr_t)subject->RtlDestroyHeap(heap))
CALL(HeapDestroy, return subject->HeapDestroy(heap) != 0)
CALL(RtlGetProcessHeaps, return subject->RtlGetProcessHeaps(RIG_LIST_MAX, place))
CALL(GetProcessHeaps, return subject->GetProcessHeaps(RIG_LIST_MAX, place))
CALL(RtlEnumProcessHeaps, return (uint32_t)subject->RtlEnumProcessHeaps(NULL, NULL))
CALL(InitializeCriticalSection, subject->InitializeCriticalSection(place); return 1)
CALL(EnterCriticalSection, subject->EnterCriticalSection(place); return 1)
CALL(TryEnterCriticalSection, return subject->TryEnterCriticalSection(place) != 0)
CALL(LeaveCriticalSection, subject->LeaveCriticalSection(place); return 1)
CALL(DeleteCriticalSection, subject->DeleteCriticalSection(place); return 1)

static uintptr_t make_RtlCreateHeap(const struct rig_subject *subject, const struct rig_step *step)
{
    const enum fault_into into = step->misuse->into;
    const bool base = into == FAULT_INTO_BASE || into == FAULT_INTO_SMALL_BASE;
    return (uintptr_t)subject->RtlCreateHeap(
        into == FAULT_INTO_LOCK ? 0 : step->flags, base ? step->passed : NULL,
        into == FAULT_INTO_SMALL_BASE ? RIG_PAGE_BYTES : HEAP_BYTES, RIG_PAGE_BYTES,
        into == FAULT_INTO_LOCK ? step->passed : NULL,
        into == FAULT_INTO_PARAMETERS ? step->passed : NULL);
}

static const struct {
    uintptr_t (*make)(const struct rig_subject *subject, const struct rig_step *step);
    size_t offset; /* of the call in the subject's table */
} makes[FAULT_CALL_COUNT] = {
#define FAULT_CALL(name, sets, value, error, raises)                                               \
    {make_##name, offsetof(struct rig_subject, name)},
#include "faults/call.def"
};

/* ---- Choosing ---- */

static bool has(const struct rig_subject *subject, unsigned call)
{
    void *function;
    memcpy(&function, (const char *)subject + makes[call].offset, sizeof(function));
    return function != NULL;
}

static bool is_rtl(unsigned call)
{
    return strncmp(fault_call_info(call)->name, "Rtl", 3) == 0;
}

/* Calls of the row that the subject has, in the spelling asked for where the row has any such. */
static unsigned choose(const struct rig_exec *exec, const struct rig_step *step)
{
    unsigned fitting[2][FAULT_CALL_COUNT];
    unsigned counts[2] = {0, 0};
    for (unsigned call = 0; call < FAULT_CALL_COUNT; call++) {
        if ((fault_call_info(call)->sets & step->misuse->calls) != 0 && has(exec->subject, call)) {
            const unsigned win32 = is_rtl(call) ? 0 : 1;
            fitting[win32][counts[win32]++] = call;
        }
    }
    unsigned spelling = step->record->win32 != 0 ? 1 : 0;
    spelling = counts[spelling] > 0 ? spelling : 1 - spelling;
    return counts[spelling] == 0
               ? FAULT_CALL_COUNT
               : fitting[spelling][(step->record->value & 0xFFu) % counts[spelling]];
}

/* ---- Arguments ---- */

/* The bad block among many: NULLs in front of it, a block that must not be freed behind it. */
static void array_fill(struct rig_exec *exec, struct rig_step *step)
{
    const bool nulls_only = step->misuse->into == FAULT_INTO_NULL_BLOCK;
    step->bad.nulls = nulls_only ? MANY : step->record->context % MANY;
    step->many_count = MANY;
    memset(room.array, 0, sizeof(room.array));
    room.array[step->bad.nulls] = nulls_only ? NULL : step->bad.block;
    for (unsigned idx = 0; !nulls_only && idx < RIG_SLOT_COUNT; idx++) {
        const struct rig_named *named = &exec->slots[idx];
        if (named->live && named->block.heap == step->heap->idx &&
            (PVOID)named->block.address != step->bad.block) {
            room.array[step->bad.nulls + 1] = (PVOID)named->block.address;
            step->many_count = step->bad.nulls + 2;
            return;
        }
    }
    step->many_count = nulls_only ? MANY : step->bad.nulls + 1;
}

static bool is_call(const struct rig_step *step, enum fault_call call)
{
    return step->bad.call == fault_call_info(call);
}

static void entries_fill(struct rig_step *step)
{
    static const WORD flags[] = {[RIG_ENTRY_BUSY] = PROCESS_HEAP_ENTRY_BUSY,
                                 [RIG_ENTRY_REGION] = PROCESS_HEAP_REGION,
                                 [RIG_ENTRY_UNCOMMITTED] = PROCESS_HEAP_UNCOMMITTED_RANGE};
    static const USHORT rtl_flags[] = {[RIG_ENTRY_BUSY] = RIG_WALK_BUSY_MORE | RIG_WALK_BUSY,
                                       [RIG_ENTRY_REGION] = RIG_WALK_REGION,
                                       [RIG_ENTRY_UNCOMMITTED] = RIG_WALK_UNCOMMITTED};
    memset(&room.entry, 0, sizeof(room.entry));
    memset(&room.rtl_entry, 0, sizeof(room.rtl_entry));
    if (step->misuse->into == FAULT_INTO_ENTRY) {
        room.entry.lpData = step->passed;
        room.entry.wFlags = flags[step->bad.kind];
        room.rtl_entry.DataAddress = step->passed;
        room.rtl_entry.Flags = rtl_flags[step->bad.kind];
    }
}

/* The structure that the call wants, and how long it is said to be. */
static void place_fill(struct rig_exec *exec, struct rig_step *step)
{
    memset(&room, 0, sizeof(room));
    entries_fill(step);
    room.summary.cb = sizeof(room.summary);
    room.value[0] = 2; /* a front end; as the version of a wish, that there is */
    step->bad.size_bytes = BYTES;
    step->many_count = MANY;
    given_length = &room.length;
    if (is_call(step, FAULT_CALL_RtlWalkHeap)) {
        step->bad.place = &room.rtl_entry;
    } else if (is_call(step, FAULT_CALL_HeapWalk)) {
        step->bad.place = &room.entry;
    } else if (is_call(step, FAULT_CALL_HeapSummary)) {
        step->bad.place = &room.summary;
    } else if (is_call(step, FAULT_CALL_RtlGetUserInfoHeap)) {
        step->bad.place = &room.user_flags;
    } else if ((step->bad.call->sets & (FAULT_SET_QUERY | FAULT_SET_SET)) != 0) {
        step->bad.place = room.value;
        step->bad.size_bytes = sizeof(room.value[0]);
    } else {
        step->bad.place = room.array;
    }
    if (is_call(step, FAULT_CALL_RtlMultipleFreeHeap)) {
        array_fill(exec, step);
    }
}

/* The bad argument goes where the row says. */
static void put_passed(struct rig_step *step)
{
    switch (step->misuse->into) {
    case FAULT_INTO_BLOCK:
        step->bad.block = step->passed;
        break;
    case FAULT_INTO_BLOCK_AND_SIZE:
        step->bad.block = step->passed;
        break;
    case FAULT_INTO_NULL_BLOCK:
        step->bad.handle = step->passed;
        step->bad.block = NULL;
        break;
    case FAULT_INTO_HANDLE:
        step->bad.handle = step->passed;
        break;
    case FAULT_INTO_HANDLE_AND_BLOCK:
        step->bad.handle = step->passed;
        step->bad.block = (PVOID)((uintptr_t)step->bad.block + 1);
        break;
    default:
        break;
    }
}

static void put_place(struct rig_step *step)
{
    switch (step->misuse->into) {
    case FAULT_INTO_BLOCK_AND_SIZE:
        step->bad.size_bytes = SIZE_MAX;
        break;
    case FAULT_INTO_PLACE:
    case FAULT_INTO_SECTION:
        step->bad.place = step->passed;
        break;
    case FAULT_INTO_LENGTH:
        given_length = step->passed;
        break;
    case FAULT_INTO_MIDDLE: /* above the threshold pages are asked for in any case */
        step->bad.size_bytes = step->heap->threshold_bytes + 1;
        break;
    case FAULT_INTO_MASK:
        step->user_set = MASK_OUTSIDE << step->record->value % 16u;
        break;
    default:
        break;
    }
}

bool rig_misuse_prepare(struct rig_exec *exec, struct rig_step *step)
{
    const unsigned call = choose(exec, step);
    if (call == FAULT_CALL_COUNT) {
        step->skipped = "subject has no such call";
        return false;
    }
    step->bad.call = fault_call_info(call);
    step->call = step->bad.call->name;
    step->win32 = !is_rtl(call);
    step->bad.handle = step->heap == NULL ? NULL : step->heap->handle;
    step->bad.block = step->block == NULL ? step->bad.handle : (PVOID)step->block->address;
    put_passed(step);
    place_fill(exec, step);
    put_place(step);
    if (step->misuse->into == FAULT_INTO_PLACE && (step->bad.call->sets & FAULT_SET_SET) != 0 &&
        (step->record->value & 0x100u) != 0) {
        step->info_class = CLASS_OPTIMIZE;
        step->bad.size_bytes = OPTIMIZE_BYTES;
    }
    room_before = room;
    return true;
}

void rig_misuse_body(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const ptrdiff_t call = step->bad.call - fault_call_info(0);
    step->outcome.value = makes[call].make(exec->subject, step);
}

bool rig_misuse_untouched(const struct rig_step *step)
{
    (void)step;
    return memcmp(&room, &room_before, sizeof(room)) == 0;
}
