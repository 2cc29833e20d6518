/* SPDX-License-Identifier: MIT
 *
 * Lies about what a refusal leaves behind. */
#include "lies_heaps.h"

#include "program/size.h"

/* A page more is committed than was. */
static BOOL RIG_NTAPI shifted_summary(HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary)
{
    const BOOL said = rig_honest->HeapSummary(heap, flags, summary);
    summary->cbCommitted += RIG_PAGE_BYTES;
    return said;
}

static struct rig_holdings owing_granted(void)
{
    struct rig_holdings granted = rig_honest->granted();
    granted.committed_bytes += RIG_PAGE_BYTES;
    return granted;
}

/* One lock more is held. */
static size_t gripping_locks(void)
{
    return rig_honest->locks_held() + 1;
}

/* A heap all the same: by then nothing is in the way. */
static HANDLE RIG_NTAPI stubborn_win32(DWORD flags, SIZE_T commit, SIZE_T most)
{
    HANDLE heap = rig_honest->HeapCreate(flags, commit, most);
    return heap != NULL ? heap : rig_honest->HeapCreate(flags, commit, most);
}

static PVOID RIG_NTAPI stubborn_rtl(ULONG flags, PVOID base, SIZE_T reserve, SIZE_T commit,
                                    PVOID lock, PRTL_HEAP_PARAMETERS parameters)
{
    PVOID heap = rig_honest->RtlCreateHeap(flags, base, reserve, commit, lock, parameters);
    return heap != NULL ? heap
                        : rig_honest->RtlCreateHeap(flags, base, reserve, commit, lock, parameters);
}

static const struct rig_lie lies[] = {
    {"shifted", "after a refusal a page more is committed", {.HeapSummary = shifted_summary}},
    {"owing", "the system says that a page more is held", {.granted = owing_granted}},
    {"gripping", "a lock more is held", {.locks_held = gripping_locks}},
    {"stubborn",
     "a heap is made although its memory was refused",
     {.HeapCreate = stubborn_win32, .RtlCreateHeap = stubborn_rtl}},
};

const struct rig_lie *rig_lies_plan(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
