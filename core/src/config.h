/* SPDX-License-Identifier: MIT
 *
 * Every tunable of core: its unit, its range, and the static_asserts that keep an impossible build
 * from compiling. NTH_STRESS shrinks them so that rare paths are common; formats stay the same. */
#ifndef NTH_CONFIG_H
#define NTH_CONFIG_H

#include <assert.h>
#include <stdint.h>

/* Alignment of blocks and the unit of their sizes, in bytes: MEMORY_ALLOCATION_ALIGNMENT. */
#if UINTPTR_MAX > 0xFFFFFFFFu
#define NTH_UNIT_BYTES 16u
#else
#define NTH_UNIT_BYTES 8u
#endif

#define NTH_HEADER_BYTES 8u     /* in front of each block, both word sizes */
#define NTH_BLOCK_MIN_BYTES 32u /* a free block holds header, two links and footer */
#define NTH_WINDOW_BYTES 32u    /* at most one block starts in a window: one tag byte each */
#define NTH_USER_INFO_BYTES 16u /* at the end of a block with a user value */

/* Largest block that the back end serves; more is a large block or refused. Ruling D3. */
#define NTH_THRESHOLD_BYTES 0x7F000u

/* Defaults of RTL_HEAP_PARAMETERS, bytes. */
#ifdef NTH_STRESS
#define NTH_SEGMENT_RESERVE_BYTES 0x10000u
#define NTH_DECOMMIT_TOTAL_BYTES 0x2000u
#else
#define NTH_SEGMENT_RESERVE_BYTES 0x100000u
#define NTH_DECOMMIT_TOTAL_BYTES 0x10000u
#endif
#define NTH_SEGMENT_COMMIT_PAGES 2u
#define NTH_DECOMMIT_BLOCK_BYTES 0x1000u

/* Further segments double every this many, up to the largest. */
#define NTH_SEGMENT_STEP_COUNT 16u
#define NTH_SEGMENT_MAX_BYTES 0x4000000u
#define NTH_SEGMENT_MAX_COUNT 4096u

/* Growth commits at least this share of what is already committed, up to a limit. */
#define NTH_GROW_SHARE 16u
#define NTH_GROW_MAX_PAGES 256u

/* The low-fragmentation front end. */
#define NTH_LFH_MAX_BYTES 0x4000u /* largest block, header included */
#ifdef NTH_STRESS
#define NTH_LFH_START_COUNT 2u  /* outstanding blocks of a class that start it */
#define NTH_LFH_START_TOTAL 64u /* or allocations in all */
#define NTH_LFH_MAGAZINE_MAX 2u
#define NTH_LFH_CHUNK_BYTES 0x400u
#define NTH_LFH_CHUNK_FIRST_BYTES 0x80u
#else
#define NTH_LFH_START_COUNT 18u
#define NTH_LFH_START_TOTAL 1024u
#define NTH_LFH_MAGAZINE_MAX 64u
#define NTH_LFH_CHUNK_BYTES 0x8000u      /* aim for a full-grown chunk */
#define NTH_LFH_CHUNK_FIRST_BYTES 0x800u /* and for a class's first; grows with each */
#endif
/* What a magazine holds at most, at first and in the end; two slots always. */
#define NTH_LFH_MAGAZINE_FIRST_BYTES 0x1000u
#define NTH_LFH_MAGAZINE_BYTES 0x10000u
#define NTH_LFH_SLOTS_FIRST 2u /* least slots of a class's first chunk */
#define NTH_LFH_SLOTS_MAX 384u
#define NTH_LFH_SLOTS_MIN 8u /* least of a full-grown chunk */

#define NTH_QUARANTINE_COUNT 64u /* destroyed heap bases that are not reused */
#define NTH_HEAP_MAX_COUNT 65536u
#define NTH_FOREIGN_MAX_COUNT 64u /* heaps in caller's memory outside the page source's range */
#define NTH_CACHE_MAX_COUNT 256u  /* threads with a magazine of their own, a heap */

static_assert(NTH_BLOCK_MIN_BYTES % NTH_UNIT_BYTES == 0, "blocks are whole units");
static_assert(NTH_SEGMENT_RESERVE_BYTES % 0x10000u == 0, "segments are whole granules");
static_assert(NTH_LFH_START_COUNT >= 2, "the first block of a class is the back end's");
static_assert(NTH_LFH_SLOTS_MAX <= 512, "a slot's number has 9 bits in its header");
static_assert(NTH_LFH_SLOTS_MAX % 48 == 0, "a chunk's free words hold 48 slots each");
static_assert(NTH_LFH_SLOTS_FIRST <= NTH_LFH_SLOTS_MIN, "a class's first chunk is its smallest");
static_assert(NTH_LFH_MAGAZINE_MAX <= 0xFFu, "a fill word's count and limit have 8 bits each");
static_assert(NTH_LFH_MAX_BYTES <= 0x4000u, "a slot's slack has 14 bits in its header");

#endif
