/* SPDX-License-Identifier: MIT
 *
 * wild DEED: what core must never do and would be caught at, done by code compiled against core's
 * own headers: looking at memory in band without the accessors. */
#include <ntheap/heap.h>

#include "block.h"
#include "marks.h"

AS_WRITTEN int main(int count, char **words)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    uint8_t *block = HeapAlloc(heap, 0, 100);
    uint8_t *freed = HeapAlloc(heap, 0, 1000);
    PVOID kept = HeapAlloc(heap, 0, 100);
    if (count != 2 || block == NULL || freed == NULL || kept == NULL || !HeapFree(heap, 0, freed)) {
        return 2;
    }
    const struct nth_region *region = nth_region_of(block);
    const uint64_t offset = (uint64_t)(uintptr_t)block - NTH_HEADER_BYTES - region->base;
    const volatile uint64_t *header = nth_region_place(region, offset);
    const volatile uint8_t *spare = nth_region_place(region, region->bytes - 1);
    volatile uint64_t sink = nth_inband_load(region, offset);
    if (marks_is(words[1], "header")) {
        HERE, sink = *header;
    } else if (marks_is(words[1], "free memory")) {
        HERE, sink = freed[500];
    } else if (marks_is(words[1], "uncommitted memory")) {
        HERE, sink = *spare;
    }
    return sink == 0;
}
