/* SPDX-License-Identifier: MIT
 *
 * Lies about locking, and about calls of a second thread. */
#include "lies_heaps.h"

#include "../run/exec_internal.h"

/* A heap without the lock that it was given. */
static PVOID RIG_NTAPI lockless_rtl(ULONG flags, PVOID base, SIZE_T reserve, SIZE_T commit,
                                    PVOID lock, PRTL_HEAP_PARAMETERS parameters)
{
    (void)lock;
    return rig_honest->RtlCreateHeap(flags, base, reserve, commit, NULL, parameters);
}

static BOOLEAN RIG_NTAPI lock_no_rtl(PVOID heap)
{
    (void)heap;
    return FALSE;
}

static BOOL RIG_NTAPI lock_no_win32(HANDLE heap)
{
    (void)heap;
    return FALSE;
}

static BOOLEAN RIG_NTAPI lock_raise_rtl(PVOID heap)
{
    (void)heap;
    rig_lie_raise_code();
    return FALSE;
}

static BOOL RIG_NTAPI lock_raise_win32(HANDLE heap)
{
    return lock_raise_rtl(heap);
}

/* ---- The second thread ---------------------------------------------------------------------- */

/* Past the lock; and where a call would pass anyhow, it says that it waits. */
static ULONG past(ULONG flags)
{
    if ((flags & HEAP_NO_SERIALIZE) != 0) {
        rig_hand_pretends();
    }
    return flags | HEAP_NO_SERIALIZE;
}

static BOOL RIG_NTAPI pass_walk(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    (void)heap;
    (void)entry;
    rig_honest->SetLastError(ERROR_NO_MORE_ITEMS);
    return FALSE;
}

static NTSTATUS RIG_NTAPI pass_walk_rtl(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)
{
    (void)heap;
    (void)entry;
    return (NTSTATUS)STATUS_NO_MORE_ENTRIES;
}

static PVOID RIG_NTAPI pass_alloc(PVOID heap, ULONG flags, SIZE_T size)
{
    return rig_honest->HeapAlloc(heap, past(flags), size);
}

static PVOID RIG_NTAPI pass_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T size)
{
    return rig_honest->HeapReAlloc(heap, past(flags), block, size);
}

static BOOL RIG_NTAPI pass_free(HANDLE heap, DWORD flags, LPVOID block)
{
    return rig_honest->HeapFree(heap, past(flags), block);
}

static LOGICAL RIG_NTAPI pass_free_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return rig_honest->RtlFreeHeap(heap, past(flags), block);
}

static ULONG RIG_NTAPI pass_many_free(PVOID heap, ULONG flags, ULONG count, PVOID *array)
{
    return rig_honest->RtlMultipleFreeHeap(heap, past(flags), count, array);
}

static BOOL RIG_NTAPI pass_validate(HANDLE heap, DWORD flags, LPCVOID block)
{
    return rig_honest->HeapValidate(heap, past(flags), block);
}

static BOOLEAN RIG_NTAPI pass_validate_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return rig_honest->RtlValidateHeap(heap, past(flags), block);
}

static SIZE_T RIG_NTAPI pass_compact(HANDLE heap, DWORD flags)
{
    return rig_honest->HeapCompact(heap, past(flags));
}

/* Nothing is there to wait for, but it says that it waits. */
static PVOID RIG_NTAPI wait_alloc(PVOID heap, ULONG flags, SIZE_T size)
{
    rig_hand_pretends();
    return rig_honest->HeapAlloc(heap, flags, size);
}

static BOOL RIG_NTAPI wait_free(HANDLE heap, DWORD flags, LPVOID block)
{
    rig_hand_pretends();
    return rig_honest->HeapFree(heap, flags, block);
}

static LOGICAL RIG_NTAPI wait_free_rtl(PVOID heap, ULONG flags, PVOID block)
{
    rig_hand_pretends();
    return rig_honest->RtlFreeHeap(heap, flags, block);
}

static PVOID RIG_NTAPI no_alloc(PVOID heap, ULONG flags, SIZE_T size)
{
    (void)heap;
    (void)flags;
    (void)size;
    return NULL;
}

static PVOID RIG_NTAPI no_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T size)
{
    (void)heap;
    (void)flags;
    (void)block;
    (void)size;
    return NULL;
}

static BOOL RIG_NTAPI no_free(HANDLE heap, DWORD flags, LPVOID block)
{
    (void)heap;
    (void)flags;
    (void)block;
    return FALSE;
}

static LOGICAL RIG_NTAPI no_free_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return (LOGICAL)no_free(heap, flags, block);
}

static BOOL RIG_NTAPI no_validate(HANDLE heap, DWORD flags, LPCVOID block)
{
    (void)heap;
    (void)flags;
    (void)block;
    return FALSE;
}

static BOOLEAN RIG_NTAPI no_validate_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return no_validate(heap, flags, block) != FALSE;
}

static BOOL RIG_NTAPI no_walk(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    (void)heap;
    (void)entry;
    rig_lie_raise_code();
    return FALSE;
}

static NTSTATUS RIG_NTAPI no_walk_rtl(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)
{
    (void)heap;
    (void)entry;
    rig_lie_raise_code();
    return (NTSTATUS)STATUS_UNSUCCESSFUL;
}

static ULONG RIG_NTAPI no_many_free(PVOID heap, ULONG flags, ULONG count, PVOID *array)
{
    (void)heap;
    (void)flags;
    (void)count;
    (void)array;
    rig_lie_raise_code();
    return 0;
}

static DWORD RIG_NTAPI error_other(void)
{
    return rig_honest->GetLastError() ^ 1u;
}

static const struct rig_lie lies[] = {
    {"section-ignored",
     "the critical section given is nothing to the heap",
     {.RtlCreateHeap = lockless_rtl,
      .RtlLockHeap = lock_no_rtl,
      .HeapLock = lock_no_win32,
      .RtlUnlockHeap = lock_no_rtl,
      .HeapUnlock = lock_no_win32}},
    {"lock-no",
     "a heap is neither locked nor unlocked",
     {.RtlLockHeap = lock_no_rtl,
      .HeapLock = lock_no_win32,
      .RtlUnlockHeap = lock_no_rtl,
      .HeapUnlock = lock_no_win32}},
    {"unlock-no",
     "a heap is not unlocked",
     {.RtlUnlockHeap = lock_no_rtl, .HeapUnlock = lock_no_win32}},
    {"raise-lock", "locking raises", {.RtlLockHeap = lock_raise_rtl, .HeapLock = lock_raise_win32}},
    {"pass-the-lock",
     "another thread's lock does not hold a call off",
     {.RtlAllocateHeap = pass_alloc,
      .HeapAlloc = pass_alloc,
      .RtlReAllocateHeap = pass_realloc,
      .HeapReAlloc = pass_realloc,
      .RtlFreeHeap = pass_free_rtl,
      .HeapFree = pass_free,
      .RtlMultipleFreeHeap = pass_many_free,
      .RtlValidateHeap = pass_validate_rtl,
      .HeapValidate = pass_validate,
      .RtlWalkHeap = pass_walk_rtl,
      .HeapWalk = pass_walk,
      .RtlCompactHeap = pass_compact,
      .HeapCompact = pass_compact}},
    {"wait-anyway",
     "a call waits for a lock that there is not",
     {.RtlAllocateHeap = wait_alloc,
      .HeapAlloc = wait_alloc,
      .RtlFreeHeap = wait_free_rtl,
      .HeapFree = wait_free}},
    {"second-no",
     "calls of another thread fail",
     {.RtlAllocateHeap = no_alloc,
      .HeapAlloc = no_alloc,
      .RtlReAllocateHeap = no_realloc,
      .HeapReAlloc = no_realloc,
      .RtlFreeHeap = no_free_rtl,
      .HeapFree = no_free,
      .RtlMultipleFreeHeap = no_many_free,
      .RtlWalkHeap = no_walk_rtl,
      .HeapWalk = no_walk,
      .RtlValidateHeap = no_validate_rtl,
      .HeapValidate = no_validate}},
    {"other-error", "the last error of another thread is told", {.GetLastError = error_other}},
};

const struct rig_lie *rig_lies_lock(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
