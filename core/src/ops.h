/* SPDX-License-Identifier: MIT
 *
 * What the API does in a heap, in core's own terms: allocate, free, resize, size, user info. All
 * run inside a call (call.h), with the heap to themselves. */
#ifndef NTH_OPS_H
#define NTH_OPS_H

#include "block.h"

/* A live block that the application named. */
struct nth_target {
    struct nth_region *region;
    bool large;
    struct nth_block block; /* when not large */
};

/* The block at `user`; NTH_BAD_ARGUMENT or NTH_CORRUPT when there is none, noted. */
enum nth_status nth_target_find(struct nth_heap *heap, void *user,
                                struct nth_target *target) NTH_MUST_USE;

/* Is `user` a live block, as far as can be seen without believing it? Notes nothing. */
bool nth_target_seems_live(struct nth_heap *heap, void *user);

enum nth_status nth_op_allocate(struct nth_heap *heap, uint64_t flags, uint64_t bytes,
                                void **user) NTH_MUST_USE;
enum nth_status nth_op_free(struct nth_heap *heap, void *user) NTH_MUST_USE;
enum nth_status nth_op_resize(struct nth_heap *heap, uint64_t flags, void *user, uint64_t bytes,
                              void **moved) NTH_MUST_USE;
enum nth_status nth_op_size(struct nth_heap *heap, void *user, uint64_t *bytes) NTH_MUST_USE;

/* User value and flags; *present false for a block without. */
enum nth_status nth_info_read(struct nth_heap *heap, const struct nth_target *target, bool *present,
                              uint64_t *value, uint32_t *flags) NTH_MUST_USE;
void nth_info_write(struct nth_heap *heap, const struct nth_target *target, uint64_t value,
                    uint32_t flags);

/* Give back what the front end holds and need not, and what the back end can do without. */
enum nth_status nth_op_compact(struct nth_heap *heap) NTH_MUST_USE;

#endif
