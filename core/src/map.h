/* SPDX-License-Identifier: MIT
 *
 * The address map: from any address to the region (segment or large block) that covers it, or to
 * nothing, without touching the address. Two levels over granules of 64 KiB, counted from the
 * lowest address of the page source. Reading takes no lock; writing takes the process lock.
 *
 *   address - low:   | leaf index | entry in leaf (16) | inside the granule (16) |
 */
#ifndef NTH_MAP_H
#define NTH_MAP_H

#include "atomics.h"
#include "process.h"

struct nth_heap;
struct nth_region;

#define NTH_MAP_LEAF_ENTRIES 65536u
#define NTH_MAP_ROOT_COUNT (UINTPTR_MAX > 0xFFFFFFFFu ? 32768u : 1u)

struct nth_map {
    NTH_ATOMIC(NTH_ATOMIC(uintptr_t) *) root[NTH_MAP_ROOT_COUNT];
    uint32_t used_max; /* leaves from here on were never made */
};

extern struct nth_map nth_map;

/* An entry is a region's address (page aligned) with a code, under a key. */
static inline uintptr_t nth_pointer_seal(const void *ptr, uint64_t key)
{
    const uintptr_t value = (uintptr_t)ptr;
#if UINTPTR_MAX > 0xFFFFFFFFu
    return (value | (nth_word_code(value) << NTH_WORD_BITS)) ^ (uintptr_t)key;
#else
    return (value | ((uintptr_t)nth_word_code(value) & 0xFFFu)) ^ (uintptr_t)key;
#endif
}

/* NULL when `word` was not sealed with `key`. */
static inline void *nth_pointer_open(uintptr_t word, uint64_t key)
{
    const uintptr_t plain = word ^ (uintptr_t)key;
#if UINTPTR_MAX > 0xFFFFFFFFu
    const uintptr_t value = plain & NTH_WORD_MASK;
#else
    const uintptr_t value = plain & ~(uintptr_t)0xFFFu;
#endif
    return nth_pointer_seal((void *)value, key) == word ? (void *)value : NULL;
}

/* The same for addresses that the page source does not hand out. */
struct nth_region *nth_map_find_foreign(uintptr_t address);

/* The region whose granules cover `address`, or NULL. The caller checks its seal and whether the
 * address is inside; a damaged entry reads as NULL. */
static inline struct nth_region *nth_map_find(const void *address)
{
    const uint64_t offset = (uint64_t)(uintptr_t)address - nth_process.low;
    const uint64_t granule = offset / NTH_GRANULE_BYTES;
    const uint64_t leaf_idx = granule / NTH_MAP_LEAF_ENTRIES;
    if (NTH_UNLIKELY(offset >= nth_process.span_bytes)) {
        return nth_map_find_foreign((uintptr_t)address);
    }
    NTH_ATOMIC(uintptr_t) *leaf = nth_load_acquire(&nth_map.root[leaf_idx]);
    if (NTH_UNLIKELY(leaf == NULL)) {
        return NULL;
    }
    const uintptr_t word = nth_load_relaxed(&leaf[granule % NTH_MAP_LEAF_ENTRIES]);
    return word == 0 ? NULL : nth_pointer_open(word, nth_process.key.first);
}

/* No region has any of these granules, all of them inside the page source's span. */
bool nth_map_free(const void *base, size_t bytes);

/* Enter or remove a region for [base, base + bytes). Entering can be refused and has then changed
 * nothing. Under the process lock. */
enum nth_status nth_map_enter(void *base, size_t bytes, struct nth_region *region) NTH_MUST_USE;
void nth_map_remove(void *base, size_t bytes);

/* Some region that belongs to `heap`, or NULL: for heaps whose own lists are not to be trusted.
 * Looks at every entry. */
struct nth_region *nth_map_any_of(const struct nth_heap *heap);

/* Of each leaf; all of it is committed. */
size_t nth_map_leaf_bytes(void);

/* Give every leaf back, for nth_process_reset. */
void nth_map_reset(void);

#endif
