/* SPDX-License-Identifier: MIT
 *
 * Blocks past the virtual-memory threshold of a growable heap: a reservation each, with room to
 * grow where they stand, descriptors in a list in allocation order. */
#ifndef NTH_LARGE_H
#define NTH_LARGE_H

#include "block.h"

/* A block of `bytes`; `*zeroed` tells whether its memory is known to read zero. */
enum nth_status nth_large_take(struct nth_heap *heap, uint64_t bytes, bool user_info, void **user,
                               bool *zeroed) NTH_MUST_USE;

/* A block that was checked goes. */
void nth_large_give(struct nth_heap *heap, struct nth_region *region);

/* Give back without looking at the list: for destroy. */
void nth_large_drop(struct nth_region *region);

/* Resize a block that was checked, to a size that the heap allows; in place when it can be, else by
 * moving pages when `may_move` and the page source can.
 * NTH_ABSENT when neither is possible. `*user` is updated, `region` may be gone. */
enum nth_status nth_large_resize(struct nth_heap *heap, struct nth_region *region, uint64_t bytes,
                                 bool may_move, void **user) NTH_MUST_USE;

/* Descriptor, header and list neighbours agree; reports otherwise. */
enum nth_status nth_large_check(struct nth_heap *heap, struct nth_region *region) NTH_MUST_USE;

/* The large block whose descriptor a list names, when it is one of this heap's; else NULL. */
struct nth_region *nth_large_at(const struct nth_heap *heap, uint64_t word);

/* Does the block end in user info? The header was checked. */
bool nth_large_user_info(const struct nth_heap *heap, const struct nth_region *region);

/* Offset of the user info, when there is one. */
static inline uint64_t nth_large_info_offset(const struct nth_region *region)
{
    return nth_round_up((size_t)(NTH_LARGE_FIRST + NTH_HEADER_BYTES + region->requested), 8u);
}

static inline void *nth_large_data(const struct nth_region *region)
{
    return nth_region_place(region, NTH_LARGE_FIRST + NTH_HEADER_BYTES);
}

#endif
