/* SPDX-License-Identifier: MIT
 *
 * Blocks in a region: the header, drawn, encoded and checked; the words in band; from bytes to
 * units. Every access to memory in band goes through here, bounds-checked and unseen by the
 * sanitizers; any other access of core to it traps under them.
 *
 * Header: one sealed word (word.h), 8 bytes in front of the user's data in both word sizes.
 *
 *   47                                   8 7   6        3 2     0
 *   +-------------------------------------+---+----------+-------+
 *   |                body                 | U | generation| state |
 *   +-------------------------------------+---+----------+-------+
 *
 *   U           the block ends in a user value and flags
 *   body, FREE  size in units (40)
 *   body, BUSY  slack in bytes (14) << 20 | size in units (20)
 *   body, CHUNK size in units (20)
 *   body, SLOT  slack in bytes (14) << 16 | number in chunk (9) << 7 | bucket (7)
 *   body, LARGE low 40 bits of the size asked for
 *
 * Slack is what of the block is neither header nor user info nor asked for.
 *
 * Free block (at least 32 bytes): header | next | previous | (free bytes) | footer. Links are
 * references (places, process.h); the footer is the size in units. All three are sealed words. */
#ifndef NTH_BLOCK_H
#define NTH_BLOCK_H

#include <ntheap/seam.h>

#include "heap.h"
#include "sanitize.h"
#include "sizes.h"
#include "tag.h"

enum nth_block_state {
    NTH_BLOCK_NONE = 0,
    NTH_BLOCK_FREE,
    NTH_BLOCK_BUSY,
    NTH_BLOCK_CHUNK, /* holds the slots of a front-end chunk */
    NTH_BLOCK_SLOT_FREE,
    NTH_BLOCK_SLOT_BUSY,
    NTH_BLOCK_LARGE
};

/* Of a free block: offset of its free bytes, and what else is in it. */
#define NTH_FREE_DATA 24u
#define NTH_FREE_OVERHEAD 32u

#define NTH_SLACK_MAX 0x3FFFu
#define NTH_BUSY_UNITS_MAX 0xFFFFFu

struct nth_block {
    struct nth_region *region;
    uint64_t offset; /* of the header */
    enum nth_block_state state;
    bool user_info;
    uint64_t units;  /* FREE, BUSY, CHUNK; slots: of the bucket */
    uint32_t slack;  /* bytes; BUSY, SLOT_BUSY */
    uint32_t bucket; /* slots */
    uint32_t slot;   /* slots: number in the chunk */
};

/* Where the fields of a header stand. */
#define NTH_HEADER_STATE 0x7u
#define NTH_HEADER_GENERATION_SHIFT 3u
#define NTH_HEADER_USER_INFO (1u << 7)
#define NTH_HEADER_BODY_SHIFT 8u

/* In band: aligned words of a region. */
NTH_UNWATCHED static inline uint64_t nth_inband_load(const struct nth_region *region,
                                                     uint64_t offset)
{
    NTH_ASSERT(offset <= region->bytes - sizeof(uint64_t));
    return *(const volatile uint64_t *)(uintptr_t)(region->base + offset);
}

/* The same where the word may be the end of an application's block. */
NTH_GLANCE static inline uint64_t nth_inband_glance(const struct nth_region *region,
                                                    uint64_t offset)
{
    NTH_ASSERT(offset <= region->bytes - sizeof(uint64_t));
    return *(const volatile uint64_t *)(uintptr_t)(region->base + offset);
}

NTH_UNWATCHED static inline void nth_inband_store(const struct nth_region *region, uint64_t offset,
                                                  uint64_t word)
{
    NTH_ASSERT(offset <= region->bytes - sizeof(uint64_t));
    *(volatile uint64_t *)(uintptr_t)(region->base + offset) = word;
}

/* Whole words of it. */
NTH_UNWATCHED static inline void nth_inband_zero(const struct nth_region *region, uint64_t offset,
                                                 uint64_t bytes)
{
    NTH_ASSERT(offset <= region->bytes && bytes <= region->bytes - offset);
    volatile uint64_t *word = (volatile uint64_t *)(uintptr_t)(region->base + offset);
    uint64_t left = bytes / sizeof(*word);
    for (; left % 4u != 0; left--) {
        *word++ = 0;
    }
    for (; left > 0; left -= 4u, word += 4) {
        word[0] = 0;
        word[1] = 0;
        word[2] = 0;
        word[3] = 0;
    }
}

static inline uint64_t nth_block_pad(const struct nth_heap *heap, const struct nth_region *region,
                                     uint64_t offset)
{
    return nth_word_pad(&heap->config.key, nth_place_of(region->base + offset));
}

/* A sealed word in band; false on damage (nothing is reported). */
NTH_MUST_USE static inline bool nth_inband_open(const struct nth_heap *heap,
                                                const struct nth_region *region, uint64_t offset,
                                                uint64_t *value)
{
    return nth_word_open(nth_inband_load(region, offset), nth_block_pad(heap, region, offset),
                         value);
}

static inline void nth_inband_put(const struct nth_heap *heap, const struct nth_region *region,
                                  uint64_t offset, uint64_t value)
{
    nth_inband_store(region, offset, nth_word_seal(value, nth_block_pad(heap, region, offset)));
}

/* Read and check the header at `offset` of a segment: the map must have a start there, agree on
 * busy and generation, and the size must stay inside. NTH_CORRUPT is noted already. */
enum nth_status nth_block_read(struct nth_heap *heap, struct nth_region *region, uint64_t offset,
                               struct nth_block *block) NTH_MUST_USE;

/* The same without a report, for deciding what an address is. */
bool nth_block_peek(const struct nth_heap *heap, struct nth_region *region, uint64_t offset,
                    struct nth_block *block) NTH_MUST_USE;

/* Write header and tag, one generation on. */
void nth_block_write(const struct nth_heap *heap, const struct nth_block *block);

/* The start at `offset` goes away (its block became part of another). */
static inline void nth_block_erase(const struct nth_region *region, uint64_t offset)
{
    uint8_t *tag = nth_tag_at(region, offset);
    *tag = nth_tag_gone(*tag);
}

static inline bool nth_block_is_busy(enum nth_block_state state)
{
    return state == NTH_BLOCK_BUSY || state == NTH_BLOCK_CHUNK || state == NTH_BLOCK_SLOT_BUSY ||
           state == NTH_BLOCK_LARGE;
}

static inline uint64_t nth_block_bytes(const struct nth_block *block)
{
    return block->units * NTH_UNIT_BYTES;
}

static inline void *nth_block_user(const struct nth_block *block)
{
    return nth_region_place(block->region, block->offset + NTH_HEADER_BYTES);
}

/* Size asked for, of a BUSY or SLOT_BUSY block. */
static inline uint64_t nth_block_requested(const struct nth_block *block)
{
    return nth_block_bytes(block) - NTH_HEADER_BYTES - block->slack -
           (block->user_info ? NTH_USER_INFO_BYTES : 0u);
}

/* Units for a request; the caller has bounded `bytes`. */
static inline uint64_t nth_units_for(const struct nth_heap *heap, uint64_t bytes, bool user_info)
{
    const uint64_t need = bytes + NTH_HEADER_BYTES + (user_info ? NTH_USER_INFO_BYTES : 0u);
    const uint64_t rounded = nth_round_up((size_t)need, (size_t)heap->config.align_bytes);
    return (rounded < NTH_BLOCK_MIN_BYTES ? NTH_BLOCK_MIN_BYTES : rounded) / NTH_UNIT_BYTES;
}

/* Offset of the block behind one that ends at `end`; *present is false at a border. Checks that
 * the map agrees. */
enum nth_status nth_block_next(struct nth_heap *heap, struct nth_region *region, uint64_t end,
                               bool *present) NTH_MUST_USE;

/* References: how one block names another. 0 is none. */
static inline uint64_t nth_block_reference(const struct nth_region *region, uint64_t offset)
{
    return nth_place_of(region->base + offset);
}

/* The segment and offset that a reference names; NTH_CORRUPT when they are not this heap's. */
enum nth_status nth_reference_resolve(struct nth_heap *heap, uint64_t reference,
                                      struct nth_region **region, uint64_t *offset) NTH_MUST_USE;

/* Sanitizers: [user, user + bytes) belongs to the application; the rest of its block does not. */
static inline void nth_block_hand_out(void *user, uint64_t bytes)
{
    nth_unpoison(user, (size_t)bytes);
}

static inline void nth_block_take_back(const struct nth_region *region, uint64_t offset,
                                       uint64_t bytes)
{
    nth_poison(nth_region_place(region, offset), (size_t)bytes);
}

#endif
