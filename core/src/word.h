/* SPDX-License-Identifier: MIT
 *
 * Sealed words: how core writes anything that it must be able to trust later.
 *
 *   63            48 47                                             0
 *   +---------------+------------------------------------------------+
 *   |  code (16)    |                   value (48)                   |   xor pad(key, address)
 *   +---------------+------------------------------------------------+
 *
 * The code has distance 4 over the 64 bits: every change of one, two or three bits is noticed, with
 * certainty. The pad is a keyed mix of the word's own address, so a word copied from
 * elsewhere, or made up without the key, passes once in 65,536 times. An older word of the same
 * address passes here; the generation in the block map (tag.h) stops it.
 *
 * Structures out of band carry a 64-bit seal over all their words: any change inside one word is
 * noticed with certainty, others but for one in 2^64. */
#ifndef NTH_WORD_H
#define NTH_WORD_H

#include "base.h"

#define NTH_WORD_BITS 48u
#define NTH_WORD_MASK 0xFFFFFFFFFFFFull

struct nth_key {
    uint64_t first;
    uint64_t second; /* odd */
};

/* The code is the top of a product. Changing up to three bits of the value changes the product by a
 * signed sum of as many multiplier << bit; the multiplier was searched so that no such sum leaves
 * the top 16 bits as they were, nor changes them by what the remaining flips (of three) of the
 * stored code could undo. core/test/word.c checks every such sum. */
#define NTH_WORD_MULTIPLIER 0x9D23E79504A01B17ull

static inline uint64_t nth_word_code(uint64_t value)
{
    return (value * NTH_WORD_MULTIPLIER) >> NTH_WORD_BITS;
}

static inline uint64_t nth_word_pad(const struct nth_key *key, uint64_t place)
{
    const uint64_t mix = (place ^ key->first) * key->second;
    return mix ^ (mix >> 32);
}

static inline uint64_t nth_word_seal(uint64_t value, uint64_t pad)
{
    return (value | (nth_word_code(value) << NTH_WORD_BITS)) ^ pad;
}

/* True when `word` was sealed with `pad`; its value then goes to `*value`. */
static inline bool nth_word_open(uint64_t word, uint64_t pad, uint64_t *value)
{
    const uint64_t plain = word ^ pad;
    *value = plain & NTH_WORD_MASK;
    return nth_word_code(*value) == plain >> NTH_WORD_BITS;
}

/* Seal over `count` words. */
__attribute__((always_inline)) static inline uint64_t nth_seal(const uint64_t *words, size_t count,
                                                               uint64_t key)
{
    uint64_t sum = key;
#pragma GCC unroll 20
    for (size_t idx = 0; idx < count; idx++) {
        sum ^= nth_rotate(words[idx], (unsigned)(idx * 11u + 5u));
    }
    return sum;
}

/* One round of a mixer for keys. */
static inline uint64_t nth_mix(uint64_t value)
{
    value ^= value >> 30;
    value *= 0xBF58476D1CE4E5B9ull;
    value ^= value >> 27;
    value *= 0x94D049BB133111EBull;
    return value ^ (value >> 31);
}

#endif
