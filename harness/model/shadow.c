/* SPDX-License-Identifier: MIT
 *
 * Live blocks in a tree by address, heaps in a table. */
#include "shadow.h"

#include "../run/check.h"

#include <string.h>

static int compare(const struct rig_block *left, const struct rig_block *right)
{
    return (left->address > right->address) - (left->address < right->address);
}

/* tree.h takes this for granted, as the systems that it comes from have it. */
#ifndef __unused
#define __unused __attribute__((unused))
#endif
RB_PROTOTYPE_STATIC(rig_block_tree, rig_block, by_address, compare)
RB_GENERATE_STATIC(rig_block_tree, rig_block, by_address, compare)

void rig_shadow_reset(struct rig_shadow *shadow)
{
    memset(shadow, 0, sizeof(*shadow));
    RB_INIT(&shadow->blocks);
    for (uint8_t idx = 0; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        shadow->heaps[idx].idx = idx;
        shadow->heaps[idx].section = RIG_NO_SECTION;
    }
    struct rig_heap *process = &shadow->heaps[0];
    process->live = true;
    process->growable = true;
    process->front_able = true;
    process->threshold_bytes = RIG_THRESHOLD_BYTES;
    process->allocation_max_bytes = SIZE_MAX;
    shadow->heap_ordinal = 1;
}

static size_t extent(size_t size_bytes)
{
    return size_bytes == 0 ? 1 : size_bytes;
}

struct rig_block *rig_shadow_overlap(struct rig_shadow *shadow, uintptr_t address, size_t bytes,
                                     const struct rig_block *except)
{
    struct rig_block key = {.address = address};
    struct rig_block *above = RB_NFIND(rig_block_tree, &shadow->blocks, &key);
    if (above == except && above != NULL) {
        above = RB_NEXT(rig_block_tree, &shadow->blocks, above);
    }
    if (above != NULL && above->address - address < extent(bytes)) {
        return above;
    }
    struct rig_block *below = above == NULL ? RB_MAX(rig_block_tree, &shadow->blocks)
                                            : RB_PREV(rig_block_tree, &shadow->blocks, above);
    if (below == except && below != NULL) {
        below = RB_PREV(rig_block_tree, &shadow->blocks, below);
    }
    if (below != NULL && address - below->address < extent(below->size_bytes)) {
        return below;
    }
    return NULL;
}

static void count(struct rig_shadow *shadow, const struct rig_block *block, bool more)
{
    struct rig_heap *heap = &shadow->heaps[block->heap];
    const size_t one = more ? 1 : (size_t)-1;
    shadow->block_count += one;
    heap->block_count += one;
    heap->block_bytes += more ? block->size_bytes : 0 - block->size_bytes;
    heap->block_total += more ? 1 : 0;
    if (heap->block_count > heap->block_peak) {
        heap->block_peak = heap->block_count;
    }
    if (block->size_bytes > heap->threshold_bytes) {
        heap->large_count += one;
    }
}

struct rig_block *rig_shadow_add(struct rig_shadow *shadow, struct rig_block *block)
{
    struct rig_block *other = rig_shadow_overlap(shadow, block->address, block->size_bytes, NULL);
    if (other != NULL) {
        return other;
    }
    RIG_CHECK(RB_INSERT(rig_block_tree, &shadow->blocks, block) == NULL);
    count(shadow, block, true);
    return NULL;
}

void rig_shadow_remove(struct rig_shadow *shadow, struct rig_block *block)
{
    RIG_CHECK(RB_REMOVE(rig_block_tree, &shadow->blocks, block) == block);
    count(shadow, block, false);
}

struct rig_block *rig_shadow_find(struct rig_shadow *shadow, uintptr_t address)
{
    struct rig_block key = {.address = address};
    return RB_FIND(rig_block_tree, &shadow->blocks, &key);
}

struct rig_block *rig_shadow_first(struct rig_shadow *shadow)
{
    return RB_MIN(rig_block_tree, &shadow->blocks);
}

struct rig_block *rig_shadow_next(struct rig_block *block)
{
    return RB_NEXT(rig_block_tree, NULL, block);
}

unsigned rig_shadow_heap_count(const struct rig_shadow *shadow)
{
    unsigned heap_count = 0;
    for (size_t idx = 0; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        heap_count += shadow->heaps[idx].live && shadow->heaps[idx].handle != NULL;
    }
    return heap_count;
}

enum rig_expect rig_shadow_expect(const struct rig_heap *heap, size_t size_bytes)
{
    if (!heap->growable && size_bytes > heap->threshold_bytes) {
        return RIG_EXPECT_TOO_SMALL;
    }
    /* No program has half of all addresses in one piece. A block that large is a reservation of its
     * own, rounded up to the granularity of reservations with room for what the heap notes of it. */
    if (size_bytes > heap->allocation_max_bytes || size_bytes > SIZE_MAX / 2 - RIG_GRANULE_BYTES) {
        return RIG_EXPECT_NO_MEMORY;
    }
    return RIG_EXPECT_BLOCK;
}
