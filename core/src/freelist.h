/* SPDX-License-Identifier: MIT
 *
 * Free lists: a head and a bit for each size list, links in the free blocks. A link is believed
 * when both sides agree. */
#ifndef NTH_FREELIST_H
#define NTH_FREELIST_H

#include "block.h"

#define NTH_FREE_NEXT 8u /* offsets from the header */
#define NTH_FREE_PREVIOUS 16u
#define NTH_FREE_FOOTER_BACK 8u /* from the block's end */

/* Both links, the footer, and what they point at agree. */
enum nth_status nth_freelist_check(struct nth_heap *heap,
                                   const struct nth_block *block) NTH_MUST_USE;

/* Where the free block ends the map says so. */
bool nth_freelist_ends(const struct nth_block *block) NTH_MUST_USE;

/* Where the free block ends the map and its footer say so: nothing of it is anybody else's. */
enum nth_status nth_freelist_end_check(const struct nth_heap *heap,
                                       const struct nth_block *block) NTH_MUST_USE;

/* Take a checked block off its list. Only changes; its neighbours were checked. */
void nth_freelist_unlink(struct nth_heap *heap, const struct nth_block *block);

/* The head of the block's list is sound, so that linking cannot fail. */
enum nth_status nth_freelist_ready(struct nth_heap *heap, uint64_t units) NTH_MUST_USE;

enum nth_status nth_freelist_ready_all(struct nth_heap *heap) NTH_MUST_USE;

/* Write header and footer of a free block and put it first on its list. */
void nth_freelist_link(struct nth_heap *heap, const struct nth_block *block);

/* A checked free block of at least `units`: NTH_ABSENT when there is none. */
enum nth_status nth_freelist_find(struct nth_heap *heap, uint64_t units,
                                  struct nth_block *block) NTH_MUST_USE;

/* Before a request of so many units is refused: NTH_NO_MEMORY when the lists that could serve it are as
 * empty as the bitmap says. */
enum nth_status nth_freelist_none(struct nth_heap *heap, uint64_t units) NTH_MUST_USE;

/* First block of a list; *present false when empty. */
enum nth_status nth_freelist_first(struct nth_heap *heap, uint32_t bin, bool *present,
                                   struct nth_block *block) NTH_MUST_USE;
enum nth_status nth_freelist_next(struct nth_heap *heap, const struct nth_block *block,
                                  bool *present, struct nth_block *next) NTH_MUST_USE;

void nth_freelist_init(struct nth_heap *heap);

/* A word of the bitmap was written: the sum over it again. */
void nth_freelist_map_sum(struct nth_heap *heap);

#endif
