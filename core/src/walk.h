/* SPDX-License-Identifier: MIT
 *
 * A heap's elements in order: each segment (region, then its blocks and uncommitted ranges by
 * address), then the large blocks in allocation order. No state but the element itself. */
#ifndef NTH_WALK_H
#define NTH_WALK_H

#include "block.h"

enum nth_element_kind {
    NTH_ELEMENT_NONE = 0,
    NTH_ELEMENT_REGION,
    NTH_ELEMENT_UNCOMMITTED,
    NTH_ELEMENT_FREE,
    NTH_ELEMENT_BUSY
};

struct nth_element {
    enum nth_element_kind kind;
    bool front_end; /* a slot */
    void *data;
    uint64_t data_bytes;
    uint64_t overhead_bytes;
    uint32_t region_idx;      /* NTH_LARGE_INDEX for a large block */
    uint64_t committed_bytes; /* of a region */
    uint64_t uncommitted_bytes;
    void *first;          /* of a region: where its first block's data would be */
    void *last;           /* one past its end */
    uint64_t block_bytes; /* header and all; 0 for regions and uncommitted ranges */
};

#define NTH_LARGE_INDEX 64u

/* The element after `*element` (data and kind suffice; NONE starts). NTH_ABSENT at the end,
 * NTH_BAD_ARGUMENT when there is no such element. */
enum nth_status nth_walk_next(struct nth_heap *heap, struct nth_element *element) NTH_MUST_USE;

/* Fill the data range of every free element with zeros (RtlZeroHeap). */
enum nth_status nth_walk_zero(struct nth_heap *heap) NTH_MUST_USE;

/* Sum of the sizes asked for of all busy elements. */
enum nth_status nth_walk_allocated(struct nth_heap *heap, uint64_t *bytes) NTH_MUST_USE;

#endif
