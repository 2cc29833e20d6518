/* SPDX-License-Identifier: MIT
 *
 * The low-fragmentation front end: blocks of one size class live as slots in chunks (busy blocks of
 * the back end); threads keep free slots in magazines and take them without the lock.
 *
 * Chunk:  header | info | next | previous | free words (48 slots each) | pad to 16 | slot | slot
 * ... info  free slots (9) << 16 | slots (9) << 7 | bucket (7) Every slot has a header of its own.
 * All words are sealed (word.h). A slot is free when its header and the block map say so; free
 * words and magazines only say where to look. */
#ifndef NTH_FRONT_H
#define NTH_FRONT_H

#include "block.h"
#include "cache.h"
#include "lock.h"

#define NTH_CHUNK_INFO 8u
#define NTH_CHUNK_NEXT 16u
#define NTH_CHUNK_PREVIOUS 24u
#define NTH_CHUNK_FREE 32u

struct nth_chunk {
    struct nth_region *region;
    uint64_t offset;
    uint32_t bucket;
    uint32_t slots;
    uint32_t free;
    uint64_t units; /* of the back-end block */
};

/* Offset of a chunk's first slot header from the chunk's own. */
static inline uint64_t nth_chunk_first(uint32_t bucket)
{
    return nth_round_up(NTH_CHUNK_FREE + 8u * nth_bucket_words(bucket), 16u);
}

/* Read and check a chunk whose back-end header was read as `block`. */
enum nth_status nth_chunk_read(struct nth_heap *heap, const struct nth_block *block,
                               struct nth_chunk *chunk) NTH_MUST_USE;

/* The chunk of a slot, by the slot's own number. */
enum nth_status nth_chunk_of(struct nth_heap *heap, const struct nth_block *slot,
                             struct nth_chunk *chunk) NTH_MUST_USE;

/* Offset of slot `idx`. */
static inline uint64_t nth_chunk_slot(const struct nth_chunk *chunk, uint32_t idx)
{
    return chunk->offset + nth_chunk_first(chunk->bucket) + idx * nth_bucket_bytes(chunk->bucket);
}

void nth_front_init(struct nth_heap *heap);

/* May this heap have a front end at all? */
static inline bool nth_front_allowed(const struct nth_heap *heap)
{
    return (heap->config.flags &
            (HEAP_NO_SERIALIZE | HEAP_GROWABLE | HEAP_DISABLE_COALESCE_ON_FREE)) == HEAP_GROWABLE;
}

/* Whether the front end serves a block of `bytes`, header included: its class has started, or
 * starts with this allocation. Changes nothing. */
enum nth_status nth_front_serves(struct nth_heap *heap, uint64_t bytes, bool *serves) NTH_MUST_USE;

/* The allocation that nth_front_serves was asked about was made: count it for its class. */
enum nth_status nth_front_count(struct nth_heap *heap, uint64_t bytes) NTH_MUST_USE;

/* A block of the back end goes from one size to another where it stands, or back: UINT64_MAX. It
 * counts for the class of the new size. Undone by the same call with the sizes exchanged, which
 * cannot fail then. */
enum nth_status nth_front_recount(struct nth_heap *heap, uint64_t before,
                                  uint64_t after) NTH_MUST_USE;

/* With the lock: take a free slot of the class, refilling this thread's magazine on the way.
 * NTH_ABSENT when a chunk cannot be had: the back end serves. */
enum nth_status nth_front_take(struct nth_heap *heap, uint32_t bucket, uint64_t bytes,
                               struct nth_block *block) NTH_MUST_USE;

/* With the lock: give a busy slot back. */
enum nth_status nth_front_give(struct nth_heap *heap, struct nth_block *block) NTH_MUST_USE;

/* Whether it could be given back: what that would meet is met now, and a full magazine makes room.
 */
enum nth_status nth_front_give_check(struct nth_heap *heap,
                                     const struct nth_block *block) NTH_MUST_USE;

/* With the lock and the gate closed: empty all magazines, and give empty chunks back. */
enum nth_status nth_front_compact(struct nth_heap *heap) NTH_MUST_USE;

/* All magazines are whole and hold free slots; `*cached` is how many (validate). */
enum nth_status nth_front_check(struct nth_heap *heap, uint64_t *cached) NTH_MUST_USE;

/* Remember for this thread how to reach the heap and its cache without the lock. */
void nth_hot_fill(struct nth_heap *heap, struct nth_cache *cache);

/* This thread's shortcut to a heap by handle, or NULL. */
static inline struct nth_hot *nth_hot_find(HANDLE handle)
{
    struct nth_hot *hot = &nth_self.hot[((uintptr_t)handle / NTH_GRANULE_BYTES) % NTH_HOT_COUNT];
    return NTH_LIKELY(hot->handle == handle && hot->cache != NULL) ? hot : NULL;
}

/* The shortcut still leads to the heap: asked inside the gate, where no heap goes away. */
static inline bool nth_hot_holds(const struct nth_hot *hot)
{
    return NTH_LIKELY(hot->generation == nth_load_acquire(&nth_process.generation));
}

/* Without the lock; NULL or false when the locked way has to be gone. `cache` is this thread's. */
void *nth_front_fast_take(struct nth_hot *hot, uint64_t bytes);
bool nth_front_fast_give(struct nth_hot *hot, void *user);

/* Links, counts and words of a chunk agree with its slots (validate). `*free_slots` is what headers
 * say. */
enum nth_status nth_chunk_check(struct nth_heap *heap, const struct nth_chunk *chunk,
                                uint32_t *free_slots) NTH_MUST_USE;

#endif
