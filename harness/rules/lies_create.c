/* SPDX-License-Identifier: MIT
 *
 * Lies about making and destroying heaps, and about allocations that only a heap's
 * creation decides. */
#include "lies_heaps.h"

#include "../run/exec_internal.h"
#include "program/size.h"

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

/* An address that looks like a handle. */
static PVOID no_heap_at_all(void)
{
    static char memory[2 * GRANULE_BYTES];
    const uintptr_t up = (uintptr_t)memory + GRANULE_BYTES - 1;
    return (PVOID)(up - up % GRANULE_BYTES);
}

RTL_CREATE(wild_rtl)
{
    UNUSED_CREATE;
    return no_heap_at_all();
}

static HANDLE RIG_NTAPI wild_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    (void)options;
    (void)initial;
    (void)maximum;
    return no_heap_at_all();
}

/* The truth, but for the error. */
static HANDLE RIG_NTAPI error_win32(DWORD options, SIZE_T initial, SIZE_T maximum)
{
    HANDLE heap = rig_honest->HeapCreate(options, initial, maximum);
    if (heap == NULL) {
        rig_honest->SetLastError(ERROR_GEN_FAILURE);
    }
    return heap;
}

/* In walks of what was made: the first region is a byte. */
static NTSTATUS RIG_NTAPI byte_walk(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)
{
    const bool begins = entry->DataAddress == NULL;
    const NTSTATUS status = rig_honest->RtlWalkHeap(heap, entry);
    if (begins && (uint32_t)status == STATUS_SUCCESS) {
        entry->DataSize = 1;
        entry->Segment.CommittedSize = 1;
        entry->Segment.UnCommittedSize = 0;
    }
    return status;
}

static BOOL RIG_NTAPI more_walk(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    const bool begins = entry->lpData == NULL;
    const BOOL found = rig_honest->HeapWalk(heap, entry);
    entry->cbData *= begins && found ? 2u : 1u;
    return found;
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

struct asking {
    PVOID heap;
    ULONG flags;
    SIZE_T size;
};

static void ask(void *context)
{
    const struct asking *asking = context;
    (void)rig_honest->HeapAlloc(asking->heap, asking->flags, asking->size);
}

/* What a routine raised is kept back; where it raised nothing, something else is raised. */
static PVOID RIG_NTAPI alloc_swap(PVOID heap, ULONG flags, SIZE_T size)
{
    EXCEPTION_RECORD record;
    struct asking asking = {heap, flags & ~HEAP_GENERATE_EXCEPTIONS, size};
    if (!rig_honest->guard(ask, &asking, &record)) {
        return alloc_block(heap, 0, 1);
    }
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

static const struct rig_lie lies[] = {
    {"no-heap", "no heap is made", {.RtlCreateHeap = none_rtl, .HeapCreate = none_win32}},
    {"quiet-no-heap",
     "no heap is made, and the last error says nothing",
     {.HeapCreate = none_quiet}},
    {"raise-create", "creation raises", {.RtlCreateHeap = raise_rtl, .HeapCreate = raise_win32}},
    {"heap-anyway", "a heap is made where none should be", {.RtlCreateHeap = anyway_rtl}},
    {"elsewhere",
     "a heap is made, but not in the caller's memory, which is taken away in the end",
     {.RtlCreateHeap = elsewhere_rtl,
      .RtlDestroyHeap = base_gone_rtl,
      .HeapDestroy = base_gone_win32}},
    {"size-odd",
     "a heap has another size, and where there is none another error is told",
     {.HeapCreate = error_win32, .RtlWalkHeap = byte_walk}},
    {"routine-odd-size",
     "with a CommitRoutine a heap is made that should not be, or with another size",
     {.RtlCreateHeap = anyway_rtl, .RtlWalkHeap = byte_walk}},
    {"routine-ignored",
     "what a CommitRoutine refused or raised makes no call fail as it should",
     {.RtlCreateHeap = anyway_rtl, .RtlAllocateHeap = alloc_swap, .HeapAlloc = alloc_swap}},
    {"outgrow",
     "a fixed heap serves what it cannot hold, or shows more than its maximum",
     {.RtlAllocateHeap = alloc_block, .HeapAlloc = alloc_block, .HeapWalk = more_walk}},
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
};

const struct rig_lie *rig_lies_create(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
