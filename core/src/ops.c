/* SPDX-License-Identifier: MIT
 *
 * Allocate, free, resize, size: which part of the heap serves, zeroing, user info, falling back.
 * Calls backend, front, large, report. */
#include "ops.h"

#include <string.h>

#include "backend.h"
#include "call.h"
#include "front.h"
#include "large.h"
#include "report.h"

#define USER_FLAG_SHIFT 9u /* HEAP_SETTABLE_USER_FLAG1 is bit 9 */

static enum nth_status refuse(enum nth_reason reason, const void *user)
{
    nth_note(reason, user, NULL);
    return NTH_BAD_ARGUMENT;
}

static enum nth_status find_in_segment(struct nth_heap *heap, void *user, struct nth_target *target)
{
    struct nth_region *region = target->region;
    const uint64_t offset = (uint64_t)(uintptr_t)user - NTH_HEADER_BYTES - region->base;
    if (offset < NTH_SEGMENT_FIRST || offset >= region->bytes || !nth_tag_reaches(region, offset) ||
        !nth_tag_starts(*nth_tag_at(region, offset), offset)) {
        return refuse(NTH_CORRUPT_INTERIOR_POINTER, user);
    }
    if ((*nth_tag_at(region, offset) & NTH_TAG_BUSY) == 0) {
        return refuse(NTH_CORRUPT_DOUBLE_FREE, user);
    }
    const enum nth_status status = nth_block_read(heap, region, offset, &target->block);
    return status == NTH_OK && target->block.state == NTH_BLOCK_CHUNK
               ? refuse(NTH_CORRUPT_INTERIOR_POINTER, user)
               : status;
}

enum nth_status nth_target_find(struct nth_heap *heap, void *user, struct nth_target *target)
{
    struct nth_region *covering = nth_map_find(user);
    if ((uintptr_t)user % NTH_UNIT_BYTES != 0) {
        return refuse(NTH_CORRUPT_MISALIGNED_POINTER, user);
    }
    if (covering != NULL && !nth_region_front_holds(covering)) {
        nth_note(NTH_CORRUPT_SEGMENT, user, "region");
        return NTH_CORRUPT;
    }
    target->region = nth_region_of(user);
    if (target->region == NULL) {
        return refuse(NTH_CORRUPT_FOREIGN_POINTER, user);
    }
    if (nth_region_heap(target->region) != heap) {
        return refuse(NTH_CORRUPT_WRONG_HEAP, user);
    }
    target->large = nth_region_is(target->region, NTH_LARGE);
    if (!target->large) {
        return find_in_segment(heap, user, target);
    }
    return user == nth_large_data(target->region) ? nth_large_check(heap, target->region)
                                                  : refuse(NTH_CORRUPT_INTERIOR_POINTER, user);
}

bool nth_target_seems_live(struct nth_heap *heap, void *user)
{
    const struct nth_region *covering = nth_map_find(user);
    if (covering != NULL && !nth_region_front_holds(covering)) {
        return true; /* as far as anybody can tell; looking closer reports the damage */
    }
    struct nth_region *region = (uintptr_t)user % NTH_UNIT_BYTES == 0 ? nth_region_of(user) : NULL;
    if (region == NULL || nth_region_heap(region) != heap) {
        return false;
    }
    if (nth_region_is(region, NTH_LARGE)) {
        return user == nth_large_data(region);
    }
    const uint64_t offset = (uint64_t)(uintptr_t)user - NTH_HEADER_BYTES - region->base;
    struct nth_block block;
    return offset >= NTH_SEGMENT_FIRST && offset < region->bytes &&
           nth_tag_reaches(region, offset) && nth_tag_starts(*nth_tag_at(region, offset), offset) &&
           (*nth_tag_at(region, offset) & NTH_TAG_BUSY) != 0 &&
           !(nth_block_peek(heap, region, offset, &block) && block.state == NTH_BLOCK_CHUNK);
}

static void *target_user(const struct nth_target *target)
{
    return target->large ? nth_large_data(target->region) : nth_block_user(&target->block);
}

static uint64_t requested_bytes(const struct nth_target *target)
{
    return target->large ? target->region->requested : nth_block_requested(&target->block);
}

static bool has_info(const struct nth_heap *heap, const struct nth_target *target)
{
    return target->large ? nth_large_user_info(heap, target->region) : target->block.user_info;
}

static uint64_t info_offset(const struct nth_target *target)
{
    return target->large
               ? nth_large_info_offset(target->region)
               : target->block.offset + nth_block_bytes(&target->block) - NTH_USER_INFO_BYTES;
}

/* The value stands plain; the word behind it holds the flags and a hash of the value. */
static uint64_t info_word(const struct nth_heap *heap, uint64_t value, uint32_t flags)
{
    const uint64_t hash = nth_mix(value ^ heap->config.key.second) >> 19;
    return (hash << 3 | flags >> USER_FLAG_SHIFT) & NTH_WORD_MASK;
}

enum nth_status nth_info_read(struct nth_heap *heap, const struct nth_target *target, bool *present,
                              uint64_t *value, uint32_t *flags)
{
    uint64_t word = 0;
    *present = has_info(heap, target);
    *value = 0;
    *flags = 0;
    if (!*present) {
        return NTH_OK;
    }
    *value = nth_inband_load(target->region, info_offset(target));
    if (!nth_inband_open(heap, target->region, info_offset(target) + 8u, &word)) {
        nth_note(NTH_CORRUPT_USER_INFO, target_user(target), "block.user_info");
        return NTH_CORRUPT;
    }
    *flags = (uint32_t)(word & 7u) << USER_FLAG_SHIFT;
    if (word != info_word(heap, *value, *flags)) {
        nth_note(NTH_CORRUPT_USER_INFO, target_user(target), "block.user_info");
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

void nth_info_write(struct nth_heap *heap, const struct nth_target *target, uint64_t value,
                    uint32_t flags)
{
    nth_inband_store(target->region, info_offset(target), value);
    nth_inband_put(heap, target->region, info_offset(target) + 8u, info_word(heap, value, flags));
}

/* From the front end or the back end; `*block` tells which. Counted once it is there: a call that
 * fails does not start a front end. */
static enum nth_status take_small(struct nth_heap *heap, uint64_t bytes, bool user_info,
                                  struct nth_block *block)
{
    const uint64_t units = nth_units_for(heap, bytes, user_info);
    const uint64_t block_bytes = units * NTH_UNIT_BYTES;
    bool serves = false;
    enum nth_status status = user_info ? NTH_OK : nth_front_serves(heap, block_bytes, &serves);
    if (status == NTH_OK && serves) {
        status = nth_front_take(heap, nth_bucket_of(block_bytes), bytes, block);
        if (status != NTH_ABSENT) {
            return status == NTH_OK ? nth_front_count(heap, block_bytes) : status;
        }
        status = NTH_OK;
    }
    if (status != NTH_OK) {
        return status;
    }
    *block = (struct nth_block){
        .state = NTH_BLOCK_BUSY,
        .user_info = user_info,
        .slack = (uint32_t)(block_bytes - NTH_HEADER_BYTES - bytes -
                            (user_info ? NTH_USER_INFO_BYTES : 0u)),
    };
    status = nth_backend_take(heap, units, block);
    return status == NTH_OK && !user_info ? nth_front_count(heap, block_bytes) : status;
}

enum nth_status nth_op_compact(struct nth_heap *heap)
{
    enum nth_status status = NTH_OK;
    if (heap->state.chunk_count > 0) {
        nth_call_gate(nth_self.call);
        status = nth_front_compact(heap);
    }
    return status == NTH_OK ? nth_backend_compact(heap) : status;
}

static enum nth_status allocate_small(struct nth_heap *heap, uint64_t bytes, bool user_info,
                                      void **user, struct nth_target *target)
{
    enum nth_status status = take_small(heap, bytes, user_info, &target->block);
    if (status == NTH_NO_MEMORY && heap->state.chunk_count > 0 && !nth_self.call->thrown) {
        status = nth_op_compact(heap); /* what the front end keeps may be what is missing */
        status = status == NTH_OK ? take_small(heap, bytes, user_info, &target->block) : status;
    }
    if (status == NTH_OK) {
        target->large = false;
        target->region = target->block.region;
        *user = nth_block_user(&target->block);
    }
    return status;
}

static enum nth_status allocate_target(struct nth_heap *heap, uint64_t flags, uint64_t bytes,
                                       void **user, struct nth_target *target)
{
    const bool user_info = (flags & HEAP_SETTABLE_USER_VALUE) != 0;
    const bool fixed = !nth_heap_has(heap, HEAP_GROWABLE);
    bool zeroed = false;
    enum nth_status status;
    if (bytes > heap->config.threshold_bytes && fixed) {
        return NTH_TOO_LARGE;
    }
    if (bytes > heap->config.allocation_max_bytes) {
        return NTH_NO_MEMORY;
    }
    if (bytes > heap->config.threshold_bytes) {
        status = nth_large_take(heap, bytes, user_info, user, &zeroed);
        if (status == NTH_OK) {
            target->large = true;
            target->region = nth_region_of(*user);
        }
    } else {
        status = allocate_small(heap, bytes, user_info, user, target);
    }
    if (status != NTH_OK) {
        return status;
    }
    nth_block_hand_out(*user, bytes);
    if ((flags & HEAP_ZERO_MEMORY) != 0) {
        memset(*user, 0, (size_t)bytes);
    }
    (void)zeroed;
    if (user_info) {
        nth_info_write(heap, target, 0, (uint32_t)flags & HEAP_SETTABLE_USER_FLAGS);
    }
    return NTH_OK;
}

enum nth_status nth_op_allocate(struct nth_heap *heap, uint64_t flags, uint64_t bytes, void **user)
{
    struct nth_target target;
    return allocate_target(heap, flags, bytes, user, &target);
}

/* Counted for its class no more, unless it stays. */
static enum nth_status free_in_segment(struct nth_heap *heap, const struct nth_block *block)
{
    if (block->user_info) {
        return nth_backend_give(heap, block);
    }
    const uint64_t bytes = nth_units_for(heap, nth_block_requested(block), false) * NTH_UNIT_BYTES;
    enum nth_status status = nth_front_recount(heap, bytes, UINT64_MAX);
    if (status != NTH_OK) {
        return status;
    }
    status = nth_backend_give(heap, block);
    if (status != NTH_OK) {
        NTH_ASSERT(nth_front_recount(heap, UINT64_MAX, bytes) == NTH_OK);
    }
    return status;
}

static enum nth_status free_target(struct nth_heap *heap, struct nth_target *target)
{
    if (target->large) {
        nth_large_give(heap, target->region);
        return NTH_OK;
    }
    if (target->block.state == NTH_BLOCK_SLOT_BUSY) {
        return nth_front_give(heap, &target->block);
    }
    return free_in_segment(heap, &target->block);
}

enum nth_status nth_op_free(struct nth_heap *heap, void *user)
{
    struct nth_target target;
    const enum nth_status status = nth_target_find(heap, user, &target);
    return status == NTH_OK ? free_target(heap, &target) : status;
}

enum nth_status nth_op_size(struct nth_heap *heap, void *user, uint64_t *bytes)
{
    struct nth_target target;
    const enum nth_status status = nth_target_find(heap, user, &target);
    if (status == NTH_OK) {
        *bytes = requested_bytes(&target);
    }
    return status;
}

/* Sanitizers and zeroing after a block at `user` went from `before` to `after` bytes. */
static void expose(uint64_t flags, char *user, uint64_t before, uint64_t after)
{
    if (after > before) {
        nth_unpoison(user + before, (size_t)(after - before));
        if ((flags & HEAP_ZERO_MEMORY) != 0) {
            memset(user + before, 0, (size_t)(after - before));
        }
    } else {
        nth_poison(user + after, (size_t)(before - after));
    }
}

/* In the same place of a segment, counted for the class of its new size. */
static enum nth_status resize_in_segment(struct nth_heap *heap, struct nth_block *block,
                                         uint64_t bytes)
{
    const uint64_t units = nth_units_for(heap, bytes, block->user_info);
    if (block->user_info) {
        return nth_backend_resize(heap, block, units);
    }
    const uint64_t before = nth_units_for(heap, nth_block_requested(block), false) * NTH_UNIT_BYTES;
    enum nth_status status = nth_front_recount(heap, before, units * NTH_UNIT_BYTES);
    if (status != NTH_OK) {
        return status;
    }
    status = nth_backend_resize(heap, block, units);
    if (status != NTH_OK) {
        NTH_ASSERT(nth_front_recount(heap, units * NTH_UNIT_BYTES, before) == NTH_OK);
    }
    return status;
}

/* In the same slot, or in the same place of a segment. NTH_ABSENT when it does not fit. */
static enum nth_status resize_small(struct nth_heap *heap, struct nth_target *target,
                                    uint64_t bytes)
{
    struct nth_block *block = &target->block;
    if (block->state == NTH_BLOCK_BUSY) {
        const enum nth_status status = resize_in_segment(heap, block, bytes);
        if (status != NTH_OK) {
            return status;
        }
    } else if (bytes + NTH_HEADER_BYTES > nth_block_bytes(block)) {
        return NTH_ABSENT;
    }
    block->slack = (uint32_t)(nth_block_bytes(block) - NTH_HEADER_BYTES - bytes -
                              (block->user_info ? NTH_USER_INFO_BYTES : 0u));
    nth_block_write(heap, block);
    return NTH_OK;
}

/* A fresh block, a copy, and the old one goes; undone when the old one cannot go. */
static enum nth_status resize_by_copy(struct nth_heap *heap, uint64_t flags,
                                      struct nth_target *target, uint64_t bytes, void **moved)
{
    const uint64_t before = requested_bytes(target);
    void *old = target_user(target);
    struct nth_target fresh;
    bool info = false;
    uint64_t value = 0;
    uint32_t user_flags = 0;
    void *user = NULL;
    enum nth_status status = nth_info_read(heap, target, &info, &value, &user_flags);
    const uint64_t wish = info ? HEAP_SETTABLE_USER_VALUE : 0u;
    if (status == NTH_OK && !target->large && target->block.state == NTH_BLOCK_BUSY) {
        status = nth_backend_give_check(heap, &target->block); /* what meets damage is not begun */
    } else if (status == NTH_OK && !target->large) {
        status = nth_front_give_check(heap, &target->block);
    }
    status = status == NTH_OK ? allocate_target(heap, wish, bytes, &user, &fresh) : status;
    if (status != NTH_OK) {
        return status;
    }
    memcpy(user, old, (size_t)(before < bytes ? before : bytes));
    if (bytes > before && (flags & HEAP_ZERO_MEMORY) != 0) {
        memset((char *)user + before, 0, (size_t)(bytes - before));
    }
    if (info) {
        nth_info_write(heap, &fresh, value, (uint32_t)flags & HEAP_SETTABLE_USER_FLAGS);
    }
    status = nth_target_find(heap, old, target); /* what stood next to it may have changed */
    status = status == NTH_OK ? free_target(heap, target) : status;
    if (status != NTH_OK) {
        if (nth_target_find(heap, user, &fresh) != NTH_OK || free_target(heap, &fresh) != NTH_OK) {
            nth_call_damage(nth_self.call); /* a block that nobody has, and nobody can give back */
        }
        return status;
    }
    *moved = user;
    return NTH_OK;
}

enum nth_status nth_op_resize(struct nth_heap *heap, uint64_t flags, void *user, uint64_t bytes,
                              void **moved)
{
    struct nth_target target;
    bool info = false;
    uint64_t value = 0;
    uint32_t user_flags = 0;
    enum nth_status status = nth_target_find(heap, user, &target);
    status = status == NTH_OK ? nth_info_read(heap, &target, &info, &value, &user_flags) : status;
    if (status != NTH_OK) {
        return status;
    }
    const bool stay = (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0;
    const uint64_t before = requested_bytes(&target);
    if (bytes > heap->config.threshold_bytes && !nth_heap_has(heap, HEAP_GROWABLE)) {
        return NTH_TOO_LARGE;
    }
    if (bytes > heap->config.allocation_max_bytes || bytes > UINTPTR_MAX / 2) {
        return NTH_NO_MEMORY;
    }
    if (target.large) {
        status = nth_large_resize(heap, target.region, bytes, !stay, moved);
        target.region = status == NTH_OK ? nth_region_of(*moved) : target.region;
    } else if (bytes > heap->config.threshold_bytes) {
        status = NTH_ABSENT;
    } else {
        status = resize_small(heap, &target, bytes);
        *moved = user;
    }
    if (status == NTH_ABSENT) {
        return stay ? NTH_NO_MEMORY : resize_by_copy(heap, flags, &target, bytes, moved);
    }
    if (status != NTH_OK) {
        return status;
    }
    expose(flags, *moved, before, bytes);
    if (info) {
        const bool grows = bytes > before;
        nth_info_write(heap, &target, value,
                       grows ? (uint32_t)flags & HEAP_SETTABLE_USER_FLAGS : user_flags);
    }
    return NTH_OK;
}
