/* SPDX-License-Identifier: MIT
 *
 * Size classes of the front end: 16-byte steps up to 512 bytes, then 16 classes for each doubling
 * up to 16 KiB. Sizes are of whole blocks, header included. */
#ifndef NTH_SIZES_H
#define NTH_SIZES_H

#include "base.h"
#include "config.h"

#define NTH_BUCKET_STEP_BYTES 16u
#define NTH_BUCKET_EXACT_COUNT 32u /* classes up to 512 bytes */
#define NTH_BUCKET_EXACT_LOG 9u
#define NTH_BUCKET_PER_DOUBLING 16u

/* Class of a block of `bytes` (32 to NTH_LFH_MAX_BYTES). */
static inline uint32_t nth_bucket_of(uint64_t bytes)
{
    if (bytes <= NTH_BUCKET_EXACT_COUNT * NTH_BUCKET_STEP_BYTES) {
        return (uint32_t)((bytes + NTH_BUCKET_STEP_BYTES - 1) / NTH_BUCKET_STEP_BYTES) - 1u;
    }
    const unsigned log = nth_log2(bytes - 1);
    const uint64_t above = bytes - 1 - (1ull << log);
    return NTH_BUCKET_EXACT_COUNT + (log - NTH_BUCKET_EXACT_LOG) * NTH_BUCKET_PER_DOUBLING +
           (uint32_t)(above >> (log - 4u));
}

/* Bytes of a slot of the class. */
static inline uint64_t nth_bucket_bytes(uint32_t bucket)
{
    if (bucket < NTH_BUCKET_EXACT_COUNT) {
        return (bucket + 1ull) * NTH_BUCKET_STEP_BYTES;
    }
    const uint32_t beyond = bucket - NTH_BUCKET_EXACT_COUNT;
    const unsigned log = NTH_BUCKET_EXACT_LOG + beyond / NTH_BUCKET_PER_DOUBLING;
    const uint64_t step = beyond % NTH_BUCKET_PER_DOUBLING + 1ull;
    return (1ull << log) + (step << (log - 4u));
}

static inline uint64_t nth_bucket_units(uint32_t bucket)
{
    return nth_bucket_bytes(bucket) / NTH_UNIT_BYTES;
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

/* Slots that a thread's magazine of the class holds. */
static inline uint32_t nth_bucket_magazine(uint32_t bucket)
{
    const uint64_t slots = NTH_LFH_MAGAZINE_BYTES / nth_bucket_bytes(bucket);
    return slots > NTH_LFH_MAGAZINE_MAX ? NTH_LFH_MAGAZINE_MAX : slots < 2u ? 2u : (uint32_t)slots;
}

#endif
