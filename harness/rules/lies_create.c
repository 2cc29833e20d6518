/* SPDX-License-Identifier: MIT
 *
 * Lies about making, destroying and locking heaps, and about allocations that only a heap's
 * creation decides. */
#include "lies_heaps.h"

#include "../run/exec_internal.h"
#include "program/size.h"

#include <stdalign.h>

#define GRANULE_BYTES 0x10000u

/* ---- Making --------------------------------------------------------------------------------- */

#define RTL_CREATE(name)                                                                           \
    static PVOID RIG_NTAPI name(ULONG flags, PVOID base, SIZE_T reserve, SIZE_T commit,            \
                                PVOID lock, PRTL_HEAP_PARAMETERS parameters)
#define UNUSED_CREATE                                                                              \
    (void)flags;                                                                                   \
    (void)base;                                                                                    \
    (void)reserve;                                                                                 \
    (void)commit;                                                                                  \
    (void)lock;                                                                                    \
    (void)parameters

RTL_CREATE(none_rtl)
{
    UNUSED_CREATE;
    return NULL;
}

static HANDLE RIG_NTAPI none_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)options;
    (void)initial;
    (void)maximum;
    rig_honest->SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return NULL;
}

static HANDLE RIG_NTAPI none_quiet(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)none_win32(options, initial, maximum);
    rig_lie_hush();
    return NULL;
}

RTL_CREATE(raise_rtl)
{
    UNUSED_CREATE;
    rig_lie_raise_code();
    return NULL;
}

static HANDLE RIG_NTAPI raise_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)options;
    (void)initial;
    (void)maximum;
    rig_lie_raise_code();
    return NULL;
}

/* What was asked for, and where that is refused, a plain heap. */
RTL_CREATE(anyway_rtl)
{
    PVOID heap = rig_honest->RtlCreateHeap(flags, base, reserve, commit, lock, parameters);
    return heap != NULL ? heap : rig_honest->RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
}

RTL_CREATE(elsewhere_rtl)
{
    UNUSED_CREATE;
    return rig_honest->RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
}

static alignas(GRANULE_BYTES) char no_heap_at_all[RIG_PAGE_BYTES];

RTL_CREATE(wild_rtl)
{
    UNUSED_CREATE;
    return no_heap_at_all;
}

static HANDLE RIG_NTAPI wild_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)options;
    (void)initial;
    (void)maximum;
    return no_heap_at_all;
}

RTL_CREATE(options_rtl)
{
    return rig_honest->RtlCreateHeap(flags ^ HEAP_DISABLE_COALESCE_ON_FREE, base, reserve, commit,
                                     lock, parameters);
}

static HANDLE RIG_NTAPI options_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    return rig_honest->HeapCreate(options ^ HEAP_DISABLE_COALESCE_ON_FREE, initial, maximum);
}

RTL_CREATE(reused_rtl)
{
    UNUSED_CREATE;
    return rig_lie_step->create.gone_last;
}

static HANDLE RIG_NTAPI reused_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)options;
    (void)initial;
    (void)maximum;
    return rig_lie_step->create.gone_last;
}

/* The routine is asked for one byte in the middle of a page. */
RTL_CREATE(odd_rtl)
{
    PVOID at = (char *)base + 1;
    SIZE_T bytes = 1;
    (void)parameters->CommitRoutine(base, &at, &bytes);
    return rig_honest->RtlCreateHeap(flags, base, reserve, commit, lock, parameters);
}

static struct rig_holdings holdings_none(void)
{
    return (struct rig_holdings){0, 0, 0};
}

/* ---- Allocating ----------------------------------------------------------------------------- */

static PVOID RIG_NTAPI alloc_none(PVOID heap, ULONG flags, SIZE_T size)
{
    (void)heap;
    (void)flags;
    (void)size;
    return NULL;
}

/* Memory of another heap; where there is not so much, an address. */
static PVOID RIG_NTAPI alloc_block(PVOID heap, ULONG flags, SIZE_T size)
{
    (void)heap;
    HANDLE other = rig_honest->GetProcessHeap();
    PVOID block = rig_honest->HeapAlloc(other, flags & HEAP_ZERO_MEMORY, size);
    return block != NULL ? block : rig_honest->HeapAlloc(other, 0, 1);
}

static PVOID RIG_NTAPI alloc_flip(PVOID heap, ULONG flags, SIZE_T size)
{
    PVOID block = rig_honest->HeapAlloc(heap, flags & ~HEAP_GENERATE_EXCEPTIONS, size);
    return block == NULL ? alloc_block(heap, flags, size) : NULL;
}

static PVOID RIG_NTAPI alloc_raise(PVOID heap, ULONG flags, SIZE_T size)
{
    (void)rig_honest->HeapAlloc(heap, flags, size);
    rig_lie_raise_code();
    return NULL;
}

/* ---- Destroying ----------------------------------------------------------------------------- */

static PVOID RIG_NTAPI destroy_no_rtl(PVOID heap)
{
    return heap;
}

static BOOL RIG_NTAPI destroy_no_win32(HANDLE heap)
{
    (void)heap;
    return FALSE;
}

static PVOID RIG_NTAPI destroy_nothing_rtl(PVOID heap)
{
    (void)heap;
    return NULL;
}

static BOOL RIG_NTAPI destroy_nothing_win32(HANDLE heap)
{
    (void)heap;
    return TRUE;
}

static PVOID RIG_NTAPI destroy_raise_rtl(PVOID heap)
{
    rig_lie_raise_code();
    return heap;
}

static PVOID RIG_NTAPI base_gone_rtl(PVOID heap)
{
    PVOID result = rig_honest->RtlDestroyHeap(heap);
    rig_memory_close(heap, RIG_PAGE_BYTES);
    return result;
}

static BOOL RIG_NTAPI base_gone_win32(HANDLE heap)
{
    return base_gone_rtl(heap) == NULL;
}

/* ---- Locking -------------------------------------------------------------------------------- */

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

static PVOID RIG_NTAPI pass_alloc(PVOID heap, ULONG flags, SIZE_T size)
{
    return rig_honest->HeapAlloc(heap, flags | HEAP_NO_SERIALIZE, size);
}

static PVOID RIG_NTAPI pass_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T size)
{
    return rig_honest->HeapReAlloc(heap, flags | HEAP_NO_SERIALIZE, block, size);
}

static BOOL RIG_NTAPI pass_free(HANDLE heap, DWORD flags, LPVOID block)
{
    return rig_honest->HeapFree(heap, flags | HEAP_NO_SERIALIZE, block);
}

static LOGICAL RIG_NTAPI pass_free_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return rig_honest->RtlFreeHeap(heap, flags | HEAP_NO_SERIALIZE, block);
}

static ULONG RIG_NTAPI pass_many_free(PVOID heap, ULONG flags, ULONG count, PVOID *array)
{
    return rig_honest->RtlMultipleFreeHeap(heap, flags | HEAP_NO_SERIALIZE, count, array);
}

static BOOL RIG_NTAPI pass_validate(HANDLE heap, DWORD flags, LPCVOID block)
{
    return rig_honest->HeapValidate(heap, flags | HEAP_NO_SERIALIZE, block);
}

static BOOLEAN RIG_NTAPI pass_validate_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return rig_honest->RtlValidateHeap(heap, flags | HEAP_NO_SERIALIZE, block);
}

static SIZE_T RIG_NTAPI pass_compact(HANDLE heap, DWORD flags)
{
    return rig_honest->HeapCompact(heap, flags | HEAP_NO_SERIALIZE);
}

/* Nothing is there to wait for, but it says that it waits. */
static PVOID RIG_NTAPI wait_alloc(PVOID heap, ULONG flags, SIZE_T size)
{
    rig_hand_waits();
    return rig_honest->HeapAlloc(heap, flags, size);
}

static BOOL RIG_NTAPI wait_free(HANDLE heap, DWORD flags, LPVOID block)
{
    rig_hand_waits();
    return rig_honest->HeapFree(heap, flags, block);
}

static LOGICAL RIG_NTAPI wait_free_rtl(PVOID heap, ULONG flags, PVOID block)
{
    rig_hand_waits();
    return rig_honest->RtlFreeHeap(heap, flags, block);
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

static DWORD RIG_NTAPI error_other(void)
{
    return rig_honest->GetLastError() ^ 1u;
}

static const struct rig_lie lies[] = {
    {"no-heap",
     "no heap is made",
     {.RtlCreateHeap = none_rtl, .HeapCreate = none_win32}},
    {"quiet-no-heap", "no heap is made, and the last error says nothing", {.HeapCreate = none_quiet}},
    {"raise-create",
     "creation raises",
     {.RtlCreateHeap = raise_rtl, .HeapCreate = raise_win32}},
    {"heap-anyway", "a heap is made where none should be", {.RtlCreateHeap = anyway_rtl}},
    {"elsewhere", "a heap is made, but not in the caller's memory", {.RtlCreateHeap = elsewhere_rtl}},
    {"wild-heap",
     "the handle of a new heap names none",
     {.RtlCreateHeap = wild_rtl, .HeapCreate = wild_win32}},
    {"other-options",
     "a heap has other options than were asked for",
     {.RtlCreateHeap = options_rtl, .HeapCreate = options_win32}},
    {"reused",
     "a new heap stands where the last destroyed one did",
     {.RtlCreateHeap = reused_rtl, .HeapCreate = reused_win32}},
    {"routine-odd", "a CommitRoutine is asked for less than a page", {.RtlCreateHeap = odd_rtl}},
    {"holdings", "nothing is held from the system", {.holdings = holdings_none}},
    {"alloc-null",
     "an allocation gives NULL",
     {.RtlAllocateHeap = alloc_none, .HeapAlloc = alloc_none}},
    {"alloc-block",
     "an allocation gives a block",
     {.RtlAllocateHeap = alloc_block, .HeapAlloc = alloc_block}},
    {"alloc-flip",
     "an allocation gives NULL for a block and a block for NULL",
     {.RtlAllocateHeap = alloc_flip, .HeapAlloc = alloc_flip}},
    {"alloc-raise",
     "an allocation raises what no heap does",
     {.RtlAllocateHeap = alloc_raise, .HeapAlloc = alloc_raise}},
    {"destroy-no",
     "a heap cannot be destroyed",
     {.RtlDestroyHeap = destroy_no_rtl, .HeapDestroy = destroy_no_win32}},
    {"destroy-nothing",
     "a heap is said to be destroyed, and stays",
     {.RtlDestroyHeap = destroy_nothing_rtl, .HeapDestroy = destroy_nothing_win32}},
    {"raise-destroy", "destroying raises", {.RtlDestroyHeap = destroy_raise_rtl}},
    {"base-gone",
     "destroying takes the caller's memory away",
     {.RtlDestroyHeap = base_gone_rtl, .HeapDestroy = base_gone_win32}},
    {"lock-no",
     "a heap is neither locked nor unlocked",
     {.RtlLockHeap = lock_no_rtl,
      .HeapLock = lock_no_win32,
      .RtlUnlockHeap = lock_no_rtl,
      .HeapUnlock = lock_no_win32}},
    {"unlock-no",
     "a heap is not unlocked",
     {.RtlUnlockHeap = lock_no_rtl, .HeapUnlock = lock_no_win32}},
    {"raise-lock",
     "locking raises",
     {.RtlLockHeap = lock_raise_rtl, .HeapLock = lock_raise_win32}},
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
     {.RtlAllocateHeap = alloc_none,
      .HeapAlloc = alloc_none,
      .RtlReAllocateHeap = no_realloc,
      .HeapReAlloc = no_realloc,
      .RtlFreeHeap = no_free_rtl,
      .HeapFree = no_free,
      .RtlValidateHeap = no_validate_rtl,
      .HeapValidate = no_validate}},
    {"other-error", "the last error of another thread is told", {.GetLastError = error_other}},
};

const struct rig_lie *rig_lies_create(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
