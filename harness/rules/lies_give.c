/* SPDX-License-Identifier: MIT
 *
 * Lies: calls succeed that did not, or give what is not right. What they give may be read wherever
 * the rig reads it. */
#include "lies_blocks.h"

#include <string.h>

/* Memory that no heap handed out, for blocks that should not be there. */
static _Alignas(16) char spare[64];

/* An allocating lie answers for one block in both spellings, and for several. */
#define GIVE(lie, alloc, realloc, multi)                                                           \
    const struct rig_subject rig_lie_##lie = {                                                     \
        .RtlAllocateHeap = alloc,                                                                  \
        .HeapAlloc = alloc,                                                                        \
        .RtlReAllocateHeap = realloc,                                                              \
        .HeapReAlloc = realloc,                                                                    \
        .RtlMultipleAllocateHeap = multi,                                                          \
    }

/* ---- block: there is one although there is none ---- */

static PVOID RIG_NTAPI block_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    (void)heap;
    (void)flags;
    (void)bytes;
    return spare;
}

static PVOID RIG_NTAPI block_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    (void)block;
    return block_alloc(heap, flags, bytes);
}

static ULONG RIG_NTAPI block_multi(PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID *array)
{
    for (ULONG idx = 0; idx < count; idx++) {
        array[idx] = block_alloc(heap, flags, bytes);
    }
    return count;
}

GIVE(block, block_alloc, block_realloc, block_multi);

/* ---- status: in the place of a pointer ---- */

static PVOID RIG_NTAPI status_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    (void)heap;
    (void)flags;
    (void)bytes;
    return (PVOID)(uintptr_t)STATUS_NO_MEMORY;
}

const struct rig_subject rig_lie_status = {
    .RtlAllocateHeap = status_alloc,
    .HeapAlloc = status_alloc,
};

/* ---- overlap: a block that somebody has already ---- */

static PVOID somebodys(PVOID heap, PVOID except)
{
    RTL_HEAP_WALK_ENTRY entry;
    memset(&entry, 0, sizeof(entry));
    while (rig_honest->RtlWalkHeap(heap, &entry) == (NTSTATUS)STATUS_SUCCESS) {
        if ((entry.Flags & RIG_WALK_BUSY) != 0 && entry.DataAddress != except) {
            return entry.DataAddress;
        }
    }
    return NULL;
}

static PVOID RIG_NTAPI overlap_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    (void)flags;
    (void)bytes;
    return somebodys(heap, NULL);
}

static PVOID RIG_NTAPI overlap_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    (void)flags;
    (void)bytes;
    return somebodys(heap, block);
}

GIVE(overlap, overlap_alloc, overlap_realloc, NULL);

/* ---- skew: out of line, and in another place ---- */

static PVOID skewed(PVOID block)
{
    return block == NULL ? NULL : (char *)block + sizeof(void *) / 2;
}

static PVOID RIG_NTAPI skew_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    return skewed(rig_honest->RtlAllocateHeap(heap, flags, bytes));
}

static PVOID RIG_NTAPI skew_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    return skewed(rig_honest->RtlReAllocateHeap(heap, flags, block, bytes));
}

static ULONG RIG_NTAPI skew_multi(PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID *array)
{
    const ULONG made = rig_honest->RtlMultipleAllocateHeap(heap, flags, bytes, count, array);
    for (ULONG idx = 0; idx < made; idx++) {
        array[idx] = skewed(array[idx]);
    }
    return made;
}

GIVE(skew, skew_alloc, skew_realloc, skew_multi);

/* ---- dirt: what was to be zero is not ---- */

static PVOID RIG_NTAPI dirt_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    PVOID block = rig_honest->RtlAllocateHeap(heap, flags, bytes);
    if (block != NULL) {
        memset(block, 0xA5, bytes);
    }
    return block;
}

static PVOID RIG_NTAPI dirt_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    const SIZE_T before = rig_honest->RtlSizeHeap(heap, 0, block);
    PVOID moved = rig_honest->RtlReAllocateHeap(heap, flags, block, bytes);
    if (moved != NULL && bytes > before) {
        memset((char *)moved + before, 0xA5, bytes - before);
    }
    return moved;
}

static ULONG RIG_NTAPI dirt_multi(PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID *array)
{
    const ULONG made = rig_honest->RtlMultipleAllocateHeap(heap, flags, bytes, count, array);
    for (ULONG idx = 0; idx < made; idx++) {
        memset(array[idx], 0xA5, bytes);
    }
    return made;
}

GIVE(dirt, dirt_alloc, dirt_realloc, dirt_multi);

/* ---- spoil: the call writes where it should not ---- */

static void spoil_one(PVOID heap, PVOID block)
{
    const SIZE_T bytes = rig_honest->RtlSizeHeap(heap, 0, block);
    if (bytes != SIZE_MAX && bytes > 0) {
        unsigned char *byte = block; /* twice spoilt is not mended */
        *byte = (unsigned char)((*byte + 0x55u) & 0xFFu);
    }
}

/* Into every other block of the heap. */
static PVOID RIG_NTAPI spoil_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    RTL_HEAP_WALK_ENTRY entry;
    memset(&entry, 0, sizeof(entry));
    while (rig_honest->RtlWalkHeap(heap, &entry) == (NTSTATUS)STATUS_SUCCESS) {
        if ((entry.Flags & RIG_WALK_BUSY) != 0) {
            spoil_one(heap, entry.DataAddress);
        }
    }
    return rig_honest->RtlAllocateHeap(heap, flags, bytes);
}

/* Into the block, before it is resized, moved or left alone. */
static PVOID RIG_NTAPI spoil_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    spoil_one(heap, block);
    return rig_honest->RtlReAllocateHeap(heap, flags, block, bytes);
}

static BOOLEAN RIG_NTAPI spoil_validate(PVOID heap, ULONG flags, PVOID block)
{
    spoil_one(heap, block);
    return rig_honest->RtlValidateHeap(heap, flags, block);
}

static NTSTATUS RIG_NTAPI spoil_disown(HANDLE heap, PVOID block)
{
    spoil_one(heap, block);
    return rig_honest->RtlDisownModuleHeapAllocation(heap, block);
}

const struct rig_subject rig_lie_spoil = {
    .RtlAllocateHeap = spoil_alloc,
    .HeapAlloc = spoil_alloc,
    .RtlReAllocateHeap = spoil_realloc,
    .HeapReAlloc = spoil_realloc,
    .RtlValidateHeap = spoil_validate,
    .RtlDisownModuleHeapAllocation = spoil_disown,
};

/* ---- locked: the call takes a lock that it does not give back ---- */

static PVOID RIG_NTAPI locked_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    (void)rig_honest->RtlLockHeap(heap);
    return rig_honest->RtlAllocateHeap(heap, flags, bytes);
}

static PVOID RIG_NTAPI locked_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)
{
    (void)rig_honest->RtlLockHeap(heap);
    return rig_honest->RtlReAllocateHeap(heap, flags, block, bytes);
}

static ULONG RIG_NTAPI locked_multi(PVOID heap, ULONG flags, SIZE_T bytes, ULONG count,
                                    PVOID *array)
{
    (void)rig_honest->RtlLockHeap(heap);
    return rig_honest->RtlMultipleAllocateHeap(heap, flags, bytes, count, array);
}

GIVE(locked, locked_alloc, locked_realloc, locked_multi);

/* ---- taken: a block although its memory was refused, and nothing is held for it ---- */

struct taking {
    PVOID heap;
    ULONG flags;
    SIZE_T bytes;
};

static void take(void *context)
{
    const struct taking *taking = context;
    (void)rig_honest->RtlAllocateHeap(taking->heap, taking->flags, taking->bytes);
}

static PVOID RIG_NTAPI taken_alloc(PVOID heap, ULONG flags, SIZE_T bytes)
{
    struct taking taking = {heap, flags, bytes};
    EXCEPTION_RECORD record;
    (void)rig_honest->guard(take, &taking, &record);
    return skewed(spare);
}

static struct rig_holdings taken_holdings(void)
{
    return (struct rig_holdings){0, 0, 0};
}

const struct rig_subject rig_lie_taken = {
    .RtlAllocateHeap = taken_alloc,
    .HeapAlloc = taken_alloc,
    .holdings = taken_holdings,
};

/* ---- serialize, unserialize: the call's own option is not heeded ---- */

#define OPTION_LIE(lie, change)                                                                    \
    static PVOID RIG_NTAPI lie##_alloc(PVOID heap, ULONG flags, SIZE_T bytes)                      \
    {                                                                                              \
        return rig_honest->RtlAllocateHeap(heap, change, bytes);                                   \
    }                                                                                              \
    static PVOID RIG_NTAPI lie##_realloc(PVOID heap, ULONG flags, PVOID block, SIZE_T bytes)       \
    {                                                                                              \
        return rig_honest->RtlReAllocateHeap(heap, change, block, bytes);                          \
    }                                                                                              \
    static LOGICAL RIG_NTAPI lie##_rtl_free(PVOID heap, ULONG flags, PVOID block)                  \
    {                                                                                              \
        return rig_honest->RtlFreeHeap(heap, change, block);                                       \
    }                                                                                              \
    static BOOL RIG_NTAPI lie##_free(HANDLE heap, DWORD flags, LPVOID block)                       \
    {                                                                                              \
        return rig_honest->HeapFree(heap, change, block);                                          \
    }                                                                                              \
    static SIZE_T RIG_NTAPI lie##_size(HANDLE heap, DWORD flags, LPCVOID block)                    \
    {                                                                                              \
        return rig_honest->HeapSize(heap, change, block);                                          \
    }                                                                                              \
    const struct rig_subject rig_lie_##lie = {                                                     \
        .RtlAllocateHeap = lie##_alloc,                                                            \
        .HeapAlloc = lie##_alloc,                                                                  \
        .RtlReAllocateHeap = lie##_realloc,                                                        \
        .HeapReAlloc = lie##_realloc,                                                              \
        .RtlFreeHeap = lie##_rtl_free,                                                             \
        .HeapFree = lie##_free,                                                                    \
        .HeapSize = lie##_size,                                                                    \
    }

OPTION_LIE(serialize, flags & ~(ULONG)HEAP_NO_SERIALIZE);
OPTION_LIE(unserialize, flags | HEAP_NO_SERIALIZE);
