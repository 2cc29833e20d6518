/* SPDX-License-Identifier: MIT
 *
 * A region: one stretch of address space that blocks lie in, either a segment of many blocks or
 * one large block. Its descriptor lies out of band. Uncommitted pages are a bit each.
 *
 * Segment:   base                                                    base + bytes
 *            | header 0x88 | block | block | ... | uncommitted ... |
 *            then, out of band: guard page | descriptor, page map | (heap object) | tags
 * Large:     descriptor | guard page | base: 56 spare | header | user data ... | room
 *
 * Blocks start 8 bytes past a multiple of 16. Where committed pages end, the last block ends 8
 * bytes before the border; behind an uncommitted range, the first starts 8 bytes after it. */
#ifndef NTH_REGION_H
#define NTH_REGION_H

#include "base.h"
#include "config.h"
#include "map.h"
#include "word.h"

struct nth_heap;

enum nth_region_kind { NTH_SEGMENT = 1, NTH_LARGE = 2 };

#define NTH_SEGMENT_FIRST 0x88u /* offset of a segment's first block header */
#define NTH_BORDER_BYTES 8u     /* between a block and an uncommitted page, on either side */
#define NTH_LARGE_FIRST 56u     /* offset of a large block's header: data is 64-byte aligned */

struct nth_region {
    /* What every call reads, the lock held or not: written once, with a seal of its own. */
    uint64_t base;
    uint64_t bytes; /* reserved for blocks, whole pages */
    uint64_t heap;  /* struct nth_heap * */
    uint64_t tags;  /* uint8_t *, 0 for a large block */
    uint64_t kind;  /* enum nth_region_kind; segment number from bit 8, heap slot from bit 32 on */
    uint64_t front_seal;
    NTH_ATOMIC(uint64_t) reach; /* a sealed word: bytes of tags committed, from the start */
    /* The rest. */
    uint64_t hold_base; /* reservation to release */
    uint64_t hold_bytes;
    uint64_t hold_committed_bytes; /* out of band */
    uint64_t committed_pages;
    uint64_t page_map;        /* uint64_t *: words, then their mirror */
    uint64_t page_generation; /* of the map: grows with every change of it */
    uint64_t foreign;         /* the caller's memory: never released or decommitted */
    uint64_t requested;       /* large: size in bytes as asked for */
    uint64_t previous;        /* large: struct nth_region *, allocation order */
    uint64_t next;
    uint64_t seal;
};

static inline uint64_t nth_region_front(const struct nth_region *region)
{
    return nth_seal(&region->base, 5, nth_seal_key(nth_process.key.second, region));
}

static inline uint64_t nth_region_reach_pad(const struct nth_region *region)
{
    return nth_rotate(nth_process.key.second, 23u) + region->base;
}

/* How far the tags are committed, in bytes of tags; false when the word is not whole. */
static inline bool nth_region_reach(const struct nth_region *region, uint64_t *tag_bytes)
{
    return nth_word_open(nth_load_acquire(&region->reach), nth_region_reach_pad(region), tag_bytes);
}

/* The front words are whole: base, bytes, heap, tags, kind and reach may be believed. */
static inline bool nth_region_front_holds(const struct nth_region *region)
{
    uint64_t tag_bytes = 0;
    return NTH_LIKELY(nth_region_front(region) == region->front_seal &&
                      nth_region_reach(region, &tag_bytes));
}

bool nth_region_holds(const struct nth_region *region);

/* Once, when the front words are settled; and after every change of the rest. The reach is sealed
 * by itself, so that it can change while others look. */
void nth_region_seal_front(struct nth_region *region);
void nth_region_reach_put(struct nth_region *region, uint64_t tag_bytes);
void nth_region_seal(struct nth_region *region);

static inline struct nth_heap *nth_region_heap(const struct nth_region *region)
{
    return (struct nth_heap *)(uintptr_t)region->heap;
}

static inline bool nth_region_is(const struct nth_region *region, enum nth_region_kind kind)
{
    return (region->kind & 0xFFu) == (uint64_t)kind;
}

static inline uint64_t nth_region_number(const struct nth_region *region)
{
    return (region->kind >> 8) & 0xFFFFFFu;
}

/* Number of the heap's slot in the process table. */
static inline uint32_t nth_region_slot(const struct nth_region *region)
{
    return (uint32_t)(region->kind >> 32);
}

/* The region that `address` lies in, its front checked; NULL when none, or when damaged. */
static inline struct nth_region *nth_region_of(const void *address)
{
    struct nth_region *region = nth_map_find(address);
    if (region == NULL || !nth_region_front_holds(region) ||
        (uint64_t)(uintptr_t)address - region->base >= region->bytes) {
        return NULL;
    }
    return region;
}

static inline void *nth_region_place(const struct nth_region *region, uint64_t offset)
{
    return (void *)(uintptr_t)(region->base + offset);
}

/* The directory's word for a number, 0 when it is free; false on damage (noted). The first
 * NTH_SEGMENT_NEAR_COUNT words are always there. */
bool nth_segment_word(struct nth_heap *heap, uint64_t number, uint64_t *value);

/* All of a segment's map of committed pages agrees with its mirror. */
bool nth_page_map_holds(const struct nth_region *region);

/* Segments of a heap by number; NULL when the number is free, or on damage (reported). */
struct nth_region *nth_segment_at(struct nth_heap *heap, uint64_t number);

/* Is `page` (number from the base) committed? *damaged is set when the map is not whole. */
bool nth_page_committed(const struct nth_region *region, uint64_t page, bool *damaged);

/* End of the run of pages that starts at `page` and has the same state; reports damage as the
 * region's end with *damaged set. */
uint64_t nth_page_run(const struct nth_region *region, uint64_t page, bool *damaged);

/* Commit or decommit [first, last) of a segment, with tags and accounts. Blocks are the caller's
 * business. */
/* *last may come back larger: a CommitRoutine may give more than it was asked for. */
enum nth_status nth_segment_commit(struct nth_heap *heap, struct nth_region *region, uint64_t first,
                                   uint64_t *last) NTH_MUST_USE;
enum nth_status nth_segment_decommit(struct nth_heap *heap, struct nth_region *region,
                                     uint64_t first, uint64_t last) NTH_MUST_USE;

/* A new segment with room for one block of `bytes`; no block stands in it yet. */
enum nth_status nth_segment_add(struct nth_heap *heap, uint64_t bytes,
                                struct nth_region **added) NTH_MUST_USE;

/* Remove a further segment that holds nothing but one free block (already unlinked). */
void nth_segment_remove(struct nth_heap *heap, struct nth_region *region);

/* A call of the caller's CommitRoutine: guarded; what it threw is kept for rethrowing when the call
 * leaves. */
struct nth_commit_wish {
    PRTL_HEAP_COMMIT_ROUTINE routine;
    void *base;
    void *address; /* in: wanted; out: done */
    size_t bytes;
    NTSTATUS status;
};
enum nth_status nth_call_routine(struct nth_commit_wish *wish) NTH_MUST_USE;

/* First segment with its heap object behind it; used by heap.c. `wish_*` in bytes, whole pages. */
struct nth_segment_plan {
    void *foreign_base; /* caller's memory, or NULL */
    uint64_t bytes;
    uint64_t commit_bytes;
    uint64_t extra_bytes; /* out of band, between descriptor and tags, committed with them */
    uint64_t tail_bytes;  /* out of band, behind the tags, reserved only */
    bool executable;
    bool shun_quarantined;
};
enum nth_status nth_segment_make(const struct nth_segment_plan *plan, struct nth_region **made,
                                 void **extra, void **tail) NTH_MUST_USE;
void nth_segment_drop(struct nth_region *region);

#endif
