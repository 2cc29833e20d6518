/* SPDX-License-Identifier: MIT
 *
 * A thread's magazines for one heap: for each size class a stack of free slots that only this
 * thread takes from, without the lock. Out of band, a reservation each. */
#ifndef NTH_CACHE_H
#define NTH_CACHE_H

#include "heap.h"

struct nth_cache {
    NTH_ATOMIC(uint64_t) owner; /* sealed word: struct nth_thread *, or 0: another may take over */
    uint64_t counts[NTH_BUCKET_COUNT]; /* fill words, their complement above, under the key */
    uint64_t mirror[NTH_BUCKET_COUNT]; /* all of that once more, complemented: an older fill put
                                          back in one place is noticed by the other */
    uint64_t slots[NTH_BUCKET_COUNT][NTH_LFH_MAGAZINE_MAX]; /* sealed references to headers */
};

#define NTH_CACHE_BYTES                                                                            \
    ((sizeof(struct nth_cache) + NTH_PAGE_BYTES - 1u) / NTH_PAGE_BYTES * NTH_PAGE_BYTES)

/* How full a magazine is:   | was too full 16 | slots it may hold 15..8 | slots it holds 7..0 |
 * A magazine starts small. It is allowed twice as many slots when it runs empty after it was too
 * full: only a thread that takes as well as gives profits from more. */
#define NTH_FILL_COUNT 0xFFu
#define NTH_FILL_LIMIT_SHIFT 8u
#define NTH_FILL_WAS_FULL (1u << 16)

static inline uint32_t nth_fill_count(uint32_t fill)
{
    return fill & NTH_FILL_COUNT;
}

static inline uint32_t nth_fill_limit(uint32_t fill)
{
    return (fill >> NTH_FILL_LIMIT_SHIFT) & NTH_FILL_COUNT;
}

static inline void nth_cache_fill_put(struct nth_cache *cache, uint32_t bucket, uint32_t fill,
                                      uint64_t key)
{
    cache->counts[bucket] = (fill | (uint64_t)~fill << 32) ^ key;
    cache->mirror[bucket] = ~cache->counts[bucket];
}

/* False when the word is not whole. */
static inline bool nth_cache_fill(const struct nth_cache *cache, uint32_t bucket, uint64_t key,
                                  uint32_t *fill)
{
    const uint64_t word = cache->counts[bucket] ^ key;
    *fill = (uint32_t)word;
    return (uint32_t)(word >> 32) == (uint32_t)~word &&
           cache->mirror[bucket] == ~cache->counts[bucket] &&
           nth_fill_count(*fill) <= nth_fill_limit(*fill) &&
           nth_fill_limit(*fill) <= NTH_LFH_MAGAZINE_MAX;
}

/* Pad for the slot words of one class: a word moved to another class does not open. */
static inline uint64_t nth_cache_pad(uint64_t key, uint32_t bucket)
{
    return nth_rotate(key, 17u) + bucket;
}

/* A slot's reference with a sum of its three 16-bit parts: a change inside one part is noticed. The
 * slot's own header has to agree as well, so that this is enough. */
static inline uint64_t nth_cache_slot_seal(uint64_t reference, uint64_t pad)
{
    const uint64_t sum = reference ^ (reference >> 16) ^ (reference >> 32);
    return (reference | sum << NTH_WORD_BITS) ^ pad;
}

static inline bool nth_cache_slot_open(uint64_t word, uint64_t pad, uint64_t *reference)
{
    *reference = (word ^ pad) & NTH_WORD_MASK;
    return nth_cache_slot_seal(*reference, pad) == word;
}

/* This thread's cache of the heap, made or adopted when there is none; NULL when that cannot be.
 * The heap's lock is held. */
struct nth_cache *nth_cache_own(struct nth_heap *heap);

/* Cache number `idx`; NULL when there is none or on damage (noted). */
struct nth_cache *nth_cache_at(struct nth_heap *heap, uint64_t idx);

/* Whose the cache is can be told (validate). */
bool nth_cache_owner_holds(const struct nth_heap *heap, const struct nth_cache *cache);

/* Thread exit: its caches wait for another thread. */
void nth_cache_orphan(struct nth_thread *thread);

/* In a forked child: caches of threads that are gone. */
void nth_cache_adopt_all(void);

/* Give all caches of a heap back, for destroy. */
void nth_cache_drop_all(struct nth_heap *heap);

#endif
