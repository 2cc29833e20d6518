/* SPDX-License-Identifier: MIT
 *
 * Lies about walks. A liar walks by an entry of its own, that nobody altered, and hands out what it
 * makes of each element. */
#include "lies_heaps.h"

#include <string.h>

/* An element in one form for both spellings. */
struct shown {
    uintptr_t address;
    size_t bytes;
    unsigned overhead;
    unsigned region_idx;
    unsigned flags;
    bool busy;
    bool region;
    bool uncommitted;
    size_t committed_bytes;
    size_t uncommitted_bytes;
    uintptr_t first_block;
    uintptr_t last_block;
};

/* What a liar does with an element, the `idx`-th of the walk. */
enum verdict { SHOW, DROP, AGAIN };
typedef enum verdict (*twist)(struct shown *shown, unsigned idx, unsigned times);

static struct {
    PROCESS_HEAP_ENTRY entry;
    RTL_HEAP_WALK_ENTRY rtl_entry;
    uintptr_t given; /* address handed out last */
    unsigned idx;
    unsigned times; /* the element was shown so often */
    bool again;
} teller;

static void teller_begin(void)
{
    memset(&teller, 0, sizeof(teller));
}

/* ---- Both forms ----------------------------------------------------------------------------- */

static void shown_from(struct shown *shown, const PROCESS_HEAP_ENTRY *entry)
{
    memset(shown, 0, sizeof(*shown));
    shown->address = (uintptr_t)entry->lpData;
    shown->bytes = entry->cbData;
    shown->overhead = entry->cbOverhead;
    shown->region_idx = entry->iRegionIndex;
    shown->flags = entry->wFlags;
    shown->busy = (entry->wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    shown->region = (entry->wFlags & PROCESS_HEAP_REGION) != 0;
    shown->uncommitted = (entry->wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0;
    shown->committed_bytes = entry->Region.dwCommittedSize;
    shown->uncommitted_bytes = entry->Region.dwUnCommittedSize;
    shown->first_block = (uintptr_t)entry->Region.lpFirstBlock;
    shown->last_block = (uintptr_t)entry->Region.lpLastBlock;
}

static void shown_to(const struct shown *shown, PROCESS_HEAP_ENTRY *entry)
{
    entry->lpData = (PVOID)shown->address;
    entry->cbData = (DWORD)(shown->bytes & UINT32_MAX);
    entry->cbOverhead = (BYTE)shown->overhead;
    entry->iRegionIndex = (BYTE)shown->region_idx;
    entry->wFlags = (WORD)shown->flags;
    entry->Region.dwCommittedSize = (DWORD)(shown->committed_bytes & UINT32_MAX);
    entry->Region.dwUnCommittedSize = (DWORD)(shown->uncommitted_bytes & UINT32_MAX);
    entry->Region.lpFirstBlock = (PVOID)shown->first_block;
    entry->Region.lpLastBlock = (PVOID)shown->last_block;
}

static void shown_from_rtl(struct shown *shown, const RTL_HEAP_WALK_ENTRY *entry)
{
    memset(shown, 0, sizeof(*shown));
    shown->address = (uintptr_t)entry->DataAddress;
    shown->bytes = entry->DataSize;
    shown->overhead = entry->OverheadBytes;
    shown->region_idx = entry->SegmentIndex;
    shown->flags = entry->Flags;
    shown->busy = (entry->Flags & RIG_WALK_BUSY) != 0;
    shown->region = !shown->busy && (entry->Flags & RIG_WALK_REGION) != 0;
    shown->uncommitted = !shown->busy && (entry->Flags & 0x1100u) != 0;
    shown->committed_bytes = entry->Segment.CommittedSize;
    shown->uncommitted_bytes = entry->Segment.UnCommittedSize;
    shown->first_block = (uintptr_t)entry->Segment.FirstEntry;
    shown->last_block = (uintptr_t)entry->Segment.LastEntry;
}

static void shown_to_rtl(const struct shown *shown, RTL_HEAP_WALK_ENTRY *entry)
{
    entry->DataAddress = (PVOID)shown->address;
    entry->DataSize = shown->bytes;
    entry->OverheadBytes = (UCHAR)shown->overhead;
    entry->SegmentIndex = (UCHAR)shown->region_idx;
    entry->Flags = (USHORT)shown->flags;
    entry->Segment.CommittedSize = (ULONG)(shown->committed_bytes & UINT32_MAX);
    entry->Segment.UnCommittedSize = (ULONG)(shown->uncommitted_bytes & UINT32_MAX);
    entry->Segment.FirstEntry = (PVOID)shown->first_block;
    entry->Segment.LastEntry = (PVOID)shown->last_block;
}

/* Tell of an element. True when the caller is to have it. */
static bool tell(struct shown *shown, twist how)
{
    const enum verdict verdict = how(shown, teller.idx, teller.times);
    teller.again = verdict == AGAIN;
    teller.times = teller.again ? teller.times + 1 : 0;
    teller.idx += !teller.again;
    teller.given = shown->address;
    return verdict != DROP;
}

static BOOL walk(HANDLE heap, PROCESS_HEAP_ENTRY *entry, twist how)
{
    struct shown shown;
    if (entry->lpData == NULL) {
        teller_begin();
        teller.entry.lpData = NULL;
    } else if ((uintptr_t)entry->lpData != teller.given) {
        teller_begin();
        teller.entry = *entry;
    }
    do {
        if (!teller.again && !rig_honest->HeapWalk(heap, &teller.entry)) {
            return FALSE;
        }
        shown_from(&shown, &teller.entry);
    } while (!tell(&shown, how));
    shown_to(&shown, entry);
    return TRUE;
}

static NTSTATUS walk_rtl(PVOID heap, RTL_HEAP_WALK_ENTRY *entry, twist how)
{
    struct shown shown;
    if (entry->DataAddress == NULL) {
        teller_begin();
    } else if ((uintptr_t)entry->DataAddress != teller.given) {
        teller_begin();
        teller.rtl_entry = *entry;
    }
    do {
        const NTSTATUS status = teller.again ? (NTSTATUS)STATUS_SUCCESS
                                             : rig_honest->RtlWalkHeap(heap, &teller.rtl_entry);
        if ((uint32_t)status != STATUS_SUCCESS) {
            return status;
        }
        shown_from_rtl(&shown, &teller.rtl_entry);
    } while (!tell(&shown, how));
    shown_to_rtl(&shown, entry);
    return (NTSTATUS)STATUS_SUCCESS;
}

#define WALKS(name)                                                                                \
    static BOOL RIG_NTAPI name##_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)                    \
    {                                                                                              \
        return walk(heap, entry, name);                                                            \
    }                                                                                              \
    static NTSTATUS RIG_NTAPI name##_rtl(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)                   \
    {                                                                                              \
        return walk_rtl(heap, entry, name);                                                        \
    }

#define TWIST(name)                                                                                \
    static enum verdict name(struct shown *shown, unsigned idx, unsigned times);                   \
    WALKS(name)                                                                                    \
    static enum verdict name(struct shown *shown, unsigned idx, unsigned times)

#define PLAIN                                                                                      \
    (void)idx;                                                                                     \
    (void)times

/* ---- Elements ------------------------------------------------------------------------------- */

TWIST(drop)
{
    PLAIN;
    return shown->busy ? DROP : SHOW;
}

TWIST(twice)
{
    (void)shown;
    return idx == 1 && times == 0 ? AGAIN : SHOW;
}

TWIST(flags)
{
    PLAIN;
    shown->flags |= PROCESS_HEAP_ENTRY_BUSY | PROCESS_HEAP_UNCOMMITTED_RANGE | 0x800u;
    return SHOW;
}

TWIST(shift)
{
    PLAIN;
    shown->address += shown->busy ? 8 : 0;
    return SHOW;
}

TWIST(ghost)
{
    PLAIN;
    shown->address += 8;
    shown->flags = PROCESS_HEAP_ENTRY_BUSY | RIG_WALK_BUSY;
    return SHOW;
}

TWIST(half)
{
    PLAIN;
    shown->bytes /= shown->busy ? 2 : 1;
    return SHOW;
}

TWIST(overhead)
{
    PLAIN;
    shown->overhead = shown->busy ? 0 : shown->overhead;
    return SHOW;
}

TWIST(other_idx)
{
    PLAIN;
    shown->region_idx ^= shown->region ? 0 : 1;
    return SHOW;
}

TWIST(unflagged)
{
    PLAIN;
    shown->flags = shown->region ? 0 : shown->flags;
    return SHOW;
}

TWIST(large_region)
{
    PLAIN;
    shown->flags |= shown->busy ? PROCESS_HEAP_REGION : 0u;
    return SHOW;
}

TWIST(idle)
{
    PLAIN;
    shown->flags = shown->busy ? 0 : shown->flags;
    return SHOW;
}

TWIST(away)
{
    PLAIN;
    shown->address += shown->uncommitted ? 0x10000000u : 0;
    return SHOW;
}

TWIST(front_large)
{
    PLAIN;
    shown->bytes += (shown->flags & 0x8000u) != 0 ? 0x100000u : 0;
    return SHOW;
}

/* A free element is shown as two that touch. */
TWIST(split)
{
    (void)idx;
    const bool free = !shown->busy && !shown->region && !shown->uncommitted;
    const size_t half = shown->bytes / 2;
    if (!free) {
        return SHOW;
    }
    if (times == 0) {
        shown->bytes = half;
        return AGAIN;
    }
    shown->address += half + 24;
    shown->bytes = half > 24 ? half - 24 : 0;
    return SHOW;
}

TWIST(pages_stay)
{
    PLAIN;
    if (shown->uncommitted) {
        shown->flags = 0;
        shown->uncommitted = false;
    }
    return SHOW;
}

/* ---- Regions -------------------------------------------------------------------------------- */

TWIST(region_small)
{
    PLAIN;
    if (shown->region) {
        shown->bytes = 16;
        shown->committed_bytes = 16;
        shown->uncommitted_bytes = 0;
    }
    return SHOW;
}

TWIST(region_less)
{
    PLAIN;
    if (shown->region) {
        shown->bytes = 1;
        shown->committed_bytes += 1;
        shown->uncommitted_bytes = 1;
        shown->first_block = shown->address;
        shown->last_block = shown->address;
    }
    return SHOW;
}

TWIST(region_more)
{
    PLAIN;
    shown->bytes *= shown->region ? 2 : 1;
    return SHOW;
}

TWIST(region_far)
{
    PLAIN;
    shown->address += shown->region ? 0x10000u : 0;
    return SHOW;
}

/* Sizes of the parameters where the arguments count, and none where the parameters do. */
TWIST(region_params)
{
    PLAIN;
    if (shown->region) {
        const bool routine = rig_lie_step->create.routine;
        const RTL_HEAP_PARAMETERS *parameters = &rig_lie_step->create.parameters;
        shown->bytes = routine ? 16 : parameters->InitialReserve;
        shown->committed_bytes = routine ? 16 : parameters->InitialCommit;
        shown->uncommitted_bytes = 0;
    }
    return SHOW;
}

/* ---- Ends ----------------------------------------------------------------------------------- */

static BOOL RIG_NTAPI none_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    (void)heap;
    (void)entry;
    rig_honest->SetLastError(ERROR_NO_MORE_ITEMS);
    return FALSE;
}

static BOOL RIG_NTAPI end_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    if (rig_honest->HeapWalk(heap, entry)) {
        return TRUE;
    }
    rig_honest->SetLastError(ERROR_GEN_FAILURE);
    return FALSE;
}

static NTSTATUS RIG_NTAPI end_rtl(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)
{
    const uint32_t status = (uint32_t)rig_honest->RtlWalkHeap(heap, entry);
    return (NTSTATUS)(status == STATUS_SUCCESS ? status : STATUS_UNSUCCESSFUL);
}

static BOOL RIG_NTAPI touch_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    const BOOL found = rig_honest->HeapWalk(heap, entry);
    entry->cbData ^= found ? 0u : 1u;
    return found;
}

static NTSTATUS RIG_NTAPI touch_rtl(PVOID heap, PRTL_HEAP_WALK_ENTRY entry)
{
    const uint32_t status = (uint32_t)rig_honest->RtlWalkHeap(heap, entry);
    entry->DataSize ^= status == STATUS_SUCCESS ? 0u : 1u;
    return (NTSTATUS)status;
}

static BOOL RIG_NTAPI quiet_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    const BOOL found = rig_honest->HeapWalk(heap, entry);
    if (!found) {
        rig_lie_hush();
    }
    return found;
}

static BOOL RIG_NTAPI raise_win32(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    (void)heap;
    (void)entry;
    rig_lie_raise_code();
    return FALSE;
}

#define BOTH(name)                                                                                 \
    {                                                                                              \
        .HeapWalk = name##_win32, .RtlWalkHeap = name##_rtl                                        \
    }

static const struct rig_lie lies[] = {
    {"walk-drop", "busy elements are left out", BOTH(drop)},
    {"walk-twice", "an element is shown twice", BOTH(twice)},
    {"walk-flags", "elements carry flags that do not go together", BOTH(flags)},
    {"walk-shift", "busy elements are shown elsewhere", BOTH(shift)},
    {"walk-ghost", "every element is shown as a busy one, elsewhere", BOTH(ghost)},
    {"walk-half", "busy elements have half their size", BOTH(half)},
    {"walk-overhead", "busy elements have no overhead", BOTH(overhead)},
    {"walk-index", "elements are of another region", BOTH(other_idx)},
    {"walk-unflagged", "regions are not flagged", BOTH(unflagged)},
    {"walk-large-region", "busy elements are flagged as regions", BOTH(large_region)},
    {"walk-idle", "busy elements are not flagged", BOTH(idle)},
    {"walk-far", "uncommitted ranges are shown elsewhere", BOTH(away)},
    {"walk-front-large", "elements of the front end are larger than they can be",
     BOTH(front_large)},
    {"walk-split", "free elements are shown as two", BOTH(split)},
    {"pages-stay", "uncommitted ranges are shown as free blocks", BOTH(pages_stay)},
    {"walk-region-less", "regions are empty", BOTH(region_less)},
    {"walk-region-more", "regions have twice their size", BOTH(region_more)},
    {"region-small", "regions are smaller than a page", BOTH(region_small)},
    {"region-far", "regions are shown elsewhere", BOTH(region_far)},
    {"region-params", "the wrong one of arguments and parameters sizes the region",
     BOTH(region_params)},
    {"walk-none", "nothing is shown", {.HeapWalk = none_win32}},
    {"walk-end", "a walk ends as if it had failed", BOTH(end)},
    {"walk-touch", "the call that ends a walk alters the entry", BOTH(touch)},
    {"walk-quiet", "a failing walk leaves the last error alone", {.HeapWalk = quiet_win32}},
    {"walk-raise", "walking raises", {.HeapWalk = raise_win32}},
};

const struct rig_lie *rig_lies_walk(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
