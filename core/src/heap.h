/* SPDX-License-Identifier: MIT
 *
 * The heap object: settings fixed at creation, totals that every call keeps, list heads. It lives
 * out of band, behind a guard page after the first segment, and is sealed part by part. */
#ifndef NTH_HEAP_H
#define NTH_HEAP_H

#include <ntheap/heap.h>

#include "process.h"
#include "region.h"
#include "sizes.h"

#define NTH_BIN_EXACT_COUNT 64u /* sizes below this many units have a list of their own */
#define NTH_BIN_STEP_COUNT 8u   /* lists for each power of two above */
#define NTH_BIN_COUNT 240u
#define NTH_BIN_MAP_WORDS (NTH_BIN_COUNT / NTH_WORD_BITS)
#define NTH_SEGMENT_NEAR_COUNT 32u /* segments whose pointers need no directory page */

static_assert(NTH_BIN_COUNT % NTH_WORD_BITS == 0, "bin map words are full");

/* Settings: written once, sealed. All 64-bit so that the seal can cover them as words. */
struct nth_config {
    uint64_t handle;
    uint64_t slot; /* struct nth_slot * */
    uint64_t flags;
    struct nth_key key;
    uint64_t align_bytes; /* of blocks: NTH_UNIT_BYTES, or 16 in 32 bits on request */
    uint64_t segment_reserve_bytes;
    uint64_t segment_commit_bytes;
    uint64_t decommit_block_bytes;
    uint64_t decommit_total_bytes;
    uint64_t allocation_max_bytes;
    uint64_t threshold_bytes;
    uint64_t commit_routine;
    uint64_t segment_first; /* struct nth_region * */
    uint64_t directory;     /* further segments: sealed pointers */
    uint64_t seal;
};

/* Totals: sealed, checked when a call enters and sealed again when it leaves. */
struct nth_state {
    uint64_t free_units;
    uint64_t free_count;
    uint64_t busy_units; /* back end, chunks included */
    uint64_t busy_count;
    uint64_t chunk_units;
    uint64_t chunk_count;
    uint64_t segment_count; /* directory entries in use or once used */
    uint64_t directory_pages;
    uint64_t committed_bytes;
    uint64_t reserved_bytes;
    uint64_t large_count;
    uint64_t large_bytes;
    uint64_t large_first; /* struct nth_region *, allocation order */
    uint64_t large_last;
    uint64_t cache_count;
    uint64_t front_end;   /* has started, or was asked for */
    uint64_t bin_map_sum; /* over the sealed words of bin_map: all of them are the newest */
    uint64_t segment_map; /* a bit a segment that is there, of the first 64 numbers */
    uint64_t seal;
};

/* A size class of the front end. */
struct nth_bucket {
    uint64_t partial;     /* sealed reference: first chunk with free slots */
    uint64_t outstanding; /* sealed: back-end blocks of the class (20 bits) and its allocations
                             so far (20), until it starts; bit 40: it has */
    uint64_t chunks;      /* sealed: how many chunks the class has */
};

struct nth_heap {
    struct nth_config config;
    struct nth_state state;
    uint64_t bins[NTH_BIN_COUNT];        /* sealed references to the first free block */
    uint64_t bin_map[NTH_BIN_MAP_WORDS]; /* sealed: a bit a list that is not empty */
    struct nth_bucket buckets[NTH_BUCKET_COUNT];
    uint64_t bucket_sums[NTH_BUCKET_COUNT]; /* over each class's words, away from them: all of them
                                               are of this time */
    uint64_t segments[NTH_SEGMENT_NEAR_COUNT]; /* sealed words: region addresses */
    uint64_t caches[NTH_CACHE_MAX_COUNT];      /* sealed words: magazine addresses */
};

static_assert(offsetof(struct nth_config, seal) % 8 == 0, "sealed word by word");
static_assert(sizeof(struct nth_state) % 8 == 0, "sealed word by word");

/* Directory of further segments: address space behind the tags of the first. */
#define NTH_DIRECTORY_BYTES                                                                        \
    ((NTH_SEGMENT_MAX_COUNT - NTH_SEGMENT_NEAR_COUNT) * sizeof(uint64_t) / NTH_PAGE_BYTES *        \
         NTH_PAGE_BYTES +                                                                          \
     NTH_PAGE_BYTES)

/* Offsets of the plain copy at a heap's base. */
#define NTH_MIRROR_SIGNATURE (2u * sizeof(void *))
#define NTH_MIRROR_FLAGS (sizeof(void *) == 8 ? 0x70u : 0x40u)
#define NTH_MIRROR_FORCE (sizeof(void *) == 8 ? 0x74u : 0x44u)
#define NTH_MIRROR_SIGNATURE_VALUE 0xFFEEFFEEu
#define NTH_FLAG_PRIVATE 0x1000u /* every heap but the process heap */

/* What HeapCreate and RtlCreateHeap settle before anything is reserved. */
struct nth_create {
    uint64_t flags;
    void *base; /* caller's memory, or NULL */
    size_t reserve_bytes;
    size_t commit_bytes;
    size_t segment_reserve_bytes;
    size_t segment_commit_bytes;
    size_t decommit_block_bytes;
    size_t decommit_total_bytes;
    size_t allocation_max_bytes;
    size_t threshold_bytes;
    PRTL_HEAP_COMMIT_ROUTINE commit_routine;
    RTL_CRITICAL_SECTION *lock;
};

enum nth_status nth_heap_create(const struct nth_create *wish, HANDLE *handle) NTH_MUST_USE;

/* The same with the process lock held and the process started; no CommitRoutine. */
enum nth_status nth_heap_create_locked(const struct nth_create *wish, HANDLE *handle) NTH_MUST_USE;

/* Give everything of a heap back and forget it; nth_slot_remove was called. A heap whose lists are
 * damaged is taken apart by the address map; what damage hides even there stays reserved, and the
 * balance shows it. No other thread may be inside. */
void nth_heap_discard(struct nth_slot *slot);

/* Slot of a handle, or NULL. Looks only at core's own tables. */
struct nth_slot *nth_heap_find(HANDLE handle);

static inline struct nth_slot *nth_heap_slot(const struct nth_heap *heap)
{
    return (struct nth_slot *)(uintptr_t)heap->config.slot;
}

static inline bool nth_heap_has(const struct nth_heap *heap, uint64_t flag)
{
    return (heap->config.flags & flag) != 0;
}

/* True when settings and totals are whole; reports otherwise. */
bool nth_heap_check(struct nth_heap *heap);
void nth_heap_seal_config(struct nth_heap *heap);
void nth_heap_seal_state(struct nth_heap *heap);

/* Sealed words out of band: `word` is a member of `heap`. Opening reports `reason` on damage. */
enum nth_status nth_heap_open(struct nth_heap *heap, const uint64_t *word, enum nth_reason reason,
                              const char *field, uint64_t *value) NTH_MUST_USE;
void nth_heap_put(struct nth_heap *heap, uint64_t *word, uint64_t value);

/* The plain copy of flags at the heap's base: compare and report, never believe. */
bool nth_heap_mirror_holds(struct nth_heap *heap);

#endif
