/* SPDX-License-Identifier: MIT
 *
 * Size classes of the front end: 16-byte steps up to 512 bytes, then 16 classes for each doubling
 * up to 16 KiB. Sizes are of whole blocks, header included. */
#ifndef NTH_SIZES_H
#define NTH_SIZES_H

#include "base.h"
#include "config.h"

#define NTH_BUCKET_STEP_BYTES 16u
#define NTH_BUCKET_EXACT_LOG 9u
#define NTH_BUCKET_PER_DOUBLING 16u
#define NTH_BUCKET_REACH_MAX 3u
#define NTH_BUCKET_COUNT 112u

/* Class of a block of `bytes` (32 to NTH_LFH_MAX_BYTES). The exact classes are those of a doubling
 * that ends at 512, so that no branch is needed. */
static inline uint32_t nth_bucket_of(uint64_t bytes)
{
    const unsigned log = nth_log2((bytes - 1) | 1u << (NTH_BUCKET_EXACT_LOG - 1u));
    return (log - (NTH_BUCKET_EXACT_LOG - 1u)) * NTH_BUCKET_PER_DOUBLING +
           (uint32_t)((bytes - 1) >> (log - 4u));
}

/* Bytes of a slot of the class. */
static inline uint64_t nth_bucket_bytes(uint32_t bucket)
{
    const uint32_t group = bucket / NTH_BUCKET_PER_DOUBLING;
    const uint32_t past = group != 0; /* the first doubling ends at 512 bytes */
    const uint64_t steps = bucket % NTH_BUCKET_PER_DOUBLING + past * NTH_BUCKET_PER_DOUBLING + 1ull;
    return steps * NTH_BUCKET_STEP_BYTES << (group - past);
}

static inline uint64_t nth_bucket_units(uint32_t bucket)
{
    return nth_bucket_bytes(bucket) / NTH_UNIT_BYTES;
}

/* How many of the next classes may serve a request of this one: up to three, which wastes a sixth
 * at most. */
static inline uint32_t nth_bucket_reach(uint32_t bucket)
{
    return bucket + NTH_BUCKET_REACH_MAX >= NTH_BUCKET_COUNT ? 0u
           : bucket >= 15u                                   ? 3u
           : bucket >= 7u                                    ? 1u
                                                             : 0u;
}

/* Slots of a full-grown chunk of the class. */
static inline uint32_t nth_bucket_slots(uint32_t bucket)
{
    const uint64_t slots = NTH_LFH_CHUNK_BYTES / nth_bucket_bytes(bucket);
    return slots > NTH_LFH_SLOTS_MAX   ? NTH_LFH_SLOTS_MAX
           : slots < NTH_LFH_SLOTS_MIN ? NTH_LFH_SLOTS_MIN
                                       : (uint32_t)slots;
}

/* Free words of every chunk of the class, 48 slots each. */
static inline uint32_t nth_bucket_words(uint32_t bucket)
{
    return (nth_bucket_slots(bucket) + 47u) / 48u;
}

/* Slots of the class's first chunk; each further one has half as many more. */
static inline uint32_t nth_bucket_slots_first(uint32_t bucket)
{
    const uint64_t slots = NTH_LFH_CHUNK_FIRST_BYTES / nth_bucket_bytes(bucket);
    const uint32_t most = nth_bucket_slots(bucket);
    return slots > most                  ? most
           : slots < NTH_LFH_SLOTS_FIRST ? NTH_LFH_SLOTS_FIRST
                                         : (uint32_t)slots;
}

static inline uint32_t nth_bucket_magazine_of(uint32_t bucket, uint64_t bytes)
{
    const uint64_t slots = bytes / nth_bucket_bytes(bucket);
    return slots > NTH_LFH_MAGAZINE_MAX ? NTH_LFH_MAGAZINE_MAX : slots < 2u ? 2u : (uint32_t)slots;
}

/* Slots that a thread's magazine of the class may hold: in the end, and at first. */
static inline uint32_t nth_bucket_magazine(uint32_t bucket)
{
    return nth_bucket_magazine_of(bucket, NTH_LFH_MAGAZINE_BYTES);
}

static inline uint32_t nth_bucket_magazine_first(uint32_t bucket)
{
    return nth_bucket_magazine_of(bucket, NTH_LFH_MAGAZINE_FIRST_BYTES);
}

#endif
