/* SPDX-License-Identifier: MIT
 *
 * The back end: free lists by size, split and coalesce, growth and decommit. Everything here runs
 * with the heap to itself, checks before it changes, and reports what it meets. */
#ifndef NTH_BACKEND_H
#define NTH_BACKEND_H

#include "block.h"

/* Sizes of lists: every size below 64 units has its own; above, eight for each power of two. */
static inline uint32_t nth_bin_of(uint64_t units)
{
    if (units < NTH_BIN_EXACT_COUNT) {
        return (uint32_t)units;
    }
    const unsigned log = nth_log2(units);
    const uint64_t step = (units >> (log - 3u)) & 7u;
    const uint64_t bin = NTH_BIN_EXACT_COUNT + (log - 6u) * (uint64_t)NTH_BIN_STEP_COUNT + step;
    return bin < NTH_BIN_COUNT ? (uint32_t)bin : NTH_BIN_COUNT - 1u;
}

/* Take a block of `units`; state, slack and user_info of `*block` are the caller's wish, region
 * and offset the result. Where none is free there are new pages and segments. */
enum nth_status nth_backend_take(struct nth_heap *heap, uint64_t units,
                                 struct nth_block *block) NTH_MUST_USE;

/* Give a BUSY or CHUNK block back, merging; decommits by the heap's thresholds. */
enum nth_status nth_backend_give(struct nth_heap *heap, const struct nth_block *block) NTH_MUST_USE;

/* The first half of that alone: whether all that it would touch is whole. */
enum nth_status nth_backend_give_check(struct nth_heap *heap,
                                       const struct nth_block *block) NTH_MUST_USE;

/* The same, with `between` run when everything was checked and nothing changed yet. */
enum nth_status nth_backend_give_after(struct nth_heap *heap, const struct nth_block *block,
                                       void (*between)(struct nth_heap *heap, const void *context),
                                       const void *context) NTH_MUST_USE;

/* Resize where it stands to `units`, growing into a free neighbour or giving the rest back.
 * `block` is updated but for its slack and header: the caller writes those. NTH_ABSENT when there
 * is no room. */
enum nth_status nth_backend_resize(struct nth_heap *heap, struct nth_block *block,
                                   uint64_t units) NTH_MUST_USE;

/* Merge free neighbours (a heap that does not merge on free), give back free pages and segments. */
enum nth_status nth_backend_compact(struct nth_heap *heap) NTH_MUST_USE;

/* Largest free block in units, 0 when none. */
enum nth_status nth_backend_largest(struct nth_heap *heap, uint64_t *units) NTH_MUST_USE;

/* Make the committed part of a fresh segment one free block. */
void nth_backend_found(struct nth_heap *heap, struct nth_region *region, uint64_t committed_bytes);

/* Links, footer and list of a free block agree (validate). */
enum nth_status nth_backend_check_free(struct nth_heap *heap,
                                       const struct nth_block *block) NTH_MUST_USE;

#endif
