/* SPDX-License-Identifier: MIT
 *
 * The block map: one byte out of band for each 32 bytes of a segment. It is the authority on where
 * blocks start; nothing in band can add a start.
 *
 *   64-bit:  | start 7 | busy 6 | previous free 5 | position 4   | generation 3..0 |
 *   32-bit:  | start 7 | busy 6 | previous free 5 | position 4..3 | generation 2..0 |
 *
 * The generation grows by one each time a header is written in the window, and stays when the
 * start goes away: an old header put back is noticed until the generation comes round again. At
 * the border of an uncommitted range only "previous free" means something. */
#ifndef NTH_TAG_H
#define NTH_TAG_H

#include "region.h"

#define NTH_TAG_START 0x80u
#define NTH_TAG_BUSY 0x40u
#define NTH_TAG_PREVIOUS_FREE 0x20u
#if UINTPTR_MAX > 0xFFFFFFFFu
#define NTH_TAG_POSITION 0x10u
#define NTH_TAG_POSITION_SHIFT 4u
#define NTH_TAG_GENERATION 0x0Fu
#else
#define NTH_TAG_POSITION 0x18u
#define NTH_TAG_POSITION_SHIFT 3u
#define NTH_TAG_GENERATION 0x07u
#endif

static inline uint8_t *nth_tag_at(const struct nth_region *region, uint64_t offset)
{
    return (uint8_t *)(uintptr_t)region->tags + offset / NTH_WINDOW_BYTES;
}

/* The map reaches as far as blocks were ever committed; nothing starts beyond, nor in a large
 * block. */
static inline bool nth_tag_reaches(const struct nth_region *region, uint64_t offset)
{
    uint64_t tag_bytes = 0;
    return nth_region_reach(region, &tag_bytes) && offset / NTH_WINDOW_BYTES < tag_bytes;
}

/* Where in its window a block at `offset` starts, as the tag's position bits. */
static inline uint8_t nth_tag_position(uint64_t offset)
{
    return (uint8_t)((offset % NTH_WINDOW_BYTES / NTH_UNIT_BYTES) << NTH_TAG_POSITION_SHIFT);
}

/* A block starts exactly at `offset`. */
static inline bool nth_tag_starts(uint8_t tag, uint64_t offset)
{
    return (tag & (NTH_TAG_START | NTH_TAG_POSITION)) == (NTH_TAG_START | nth_tag_position(offset));
}

/* The tag for a header written at `offset`: next generation, "previous free" kept. */
static inline uint8_t nth_tag_next(uint8_t old, uint64_t offset, bool busy)
{
    const unsigned generation = (old + 1u) & NTH_TAG_GENERATION;
    return (uint8_t)(NTH_TAG_START | (busy ? NTH_TAG_BUSY : 0u) | (old & NTH_TAG_PREVIOUS_FREE) |
                     nth_tag_position(offset) | generation);
}

/* The tag of a window whose start went away. */
static inline uint8_t nth_tag_gone(uint8_t old)
{
    return old & NTH_TAG_GENERATION;
}

static inline void nth_tag_previous_free(const struct nth_region *region, uint64_t offset,
                                         bool is_free)
{
    uint8_t *tag = nth_tag_at(region, offset);
    const unsigned kept = *tag & ~NTH_TAG_PREVIOUS_FREE;
    nth_store_byte(tag, (uint8_t)(kept | (is_free ? NTH_TAG_PREVIOUS_FREE : 0u)));
}

#endif
