/* SPDX-License-Identifier: MIT
 *
 * Making, filling and dropping the leaves of the address map. Calls page.h. */
#include "map.h"

#include "page.h"
#include "region.h"

struct nth_map nth_map;

/* A page source with a small span needs only the front of a leaf. */
size_t nth_map_leaf_bytes(void)
{
    const uint64_t granules = nth_process.span_bytes / NTH_GRANULE_BYTES;
    const uint64_t entries = granules < NTH_MAP_LEAF_ENTRIES ? granules : NTH_MAP_LEAF_ENTRIES;
    return nth_round_up((size_t)entries * sizeof(uintptr_t), NTH_PAGE_BYTES);
}

static enum nth_status leaf_make(uint32_t leaf_idx)
{
    void *place = NULL;
    if (nth_reserve(NTH_SITE(RESERVE, "map.leaf"), nth_map_leaf_bytes(), &place) != NTH_OK) {
        return NTH_NO_MEMORY;
    }
    if (nth_commit(NTH_SITE(COMMIT, "map.leaf"), place, nth_map_leaf_bytes(), false) != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "map.leaf.undo"), place, nth_map_leaf_bytes(), 0);
        return NTH_NO_MEMORY;
    }
    if (!nth_pages_zeroed()) {
        __builtin_memset(place, 0, nth_map_leaf_bytes());
    }
    nth_store_release(&nth_map.root[leaf_idx], place);
    nth_settle(place);
    if (leaf_idx >= nth_map.used_max) {
        nth_map.used_max = leaf_idx + 1;
    }
    return NTH_OK;
}

static uint64_t granule_of(const void *address)
{
    return ((uint64_t)(uintptr_t)address - nth_process.low) / NTH_GRANULE_BYTES;
}

static void fill(void *base, size_t bytes, uintptr_t word)
{
    const uint64_t first = granule_of(base);
    const uint64_t last = granule_of((char *)base + bytes - 1);
    for (uint64_t granule = first; granule <= last; granule++) {
        NTH_ATOMIC(uintptr_t) *leaf =
            nth_load_relaxed(&nth_map.root[granule / NTH_MAP_LEAF_ENTRIES]);
        nth_store_release(&leaf[granule % NTH_MAP_LEAF_ENTRIES], word);
    }
}

struct nth_region *nth_map_find_foreign(uintptr_t address)
{
    for (uint32_t idx = 0; idx < NTH_FOREIGN_MAX_COUNT; idx++) {
        struct nth_foreign *entry = &nth_process.foreign[idx];
        const uintptr_t base = nth_load_acquire(&entry->base);
        if (base != 0 && address - base < nth_load_relaxed(&entry->bytes)) {
            return nth_load_relaxed(&entry->region);
        }
    }
    return NULL;
}

static bool is_foreign(const void *base, size_t bytes)
{
    const uint64_t offset = (uint64_t)(uintptr_t)base - nth_process.low;
    return offset >= nth_process.span_bytes || bytes > nth_process.span_bytes - offset;
}

static enum nth_status foreign_enter(uintptr_t base, size_t bytes, struct nth_region *region)
{
    for (uint32_t idx = 0; idx < NTH_FOREIGN_MAX_COUNT; idx++) {
        struct nth_foreign *entry = &nth_process.foreign[idx];
        if (nth_load_relaxed(&entry->base) == 0) {
            nth_store_relaxed(&entry->bytes, bytes);
            nth_store_relaxed(&entry->region, region);
            nth_store_release(&entry->base, base);
            return NTH_OK;
        }
    }
    return NTH_NO_MEMORY;
}

static void foreign_remove(uintptr_t base)
{
    for (uint32_t idx = 0; idx < NTH_FOREIGN_MAX_COUNT; idx++) {
        if (nth_load_relaxed(&nth_process.foreign[idx].base) == base) {
            nth_store_release(&nth_process.foreign[idx].base, 0u);
        }
    }
}

/* Of a heap in its caller's memory the descriptor alone lies where the page source serves. */
static bool is_descriptor(const void *base, size_t bytes)
{
    for (uint32_t idx = 0; idx < NTH_FOREIGN_MAX_COUNT; idx++) {
        const struct nth_foreign *entry = &nth_process.foreign[idx];
        if (nth_load_acquire(&entry->base) != 0 &&
            (uintptr_t)nth_load_relaxed(&entry->region) - (uintptr_t)base < bytes) {
            return true;
        }
    }
    return false;
}

bool nth_map_free(const void *base, size_t bytes)
{
    const uint64_t first = granule_of(base);
    const uint64_t last = granule_of((const char *)base + bytes - 1);
    for (uint64_t granule = first; granule <= last; granule++) {
        NTH_ATOMIC(uintptr_t) *leaf =
            nth_load_acquire(&nth_map.root[granule / NTH_MAP_LEAF_ENTRIES]);
        if (leaf != NULL && nth_load_relaxed(&leaf[granule % NTH_MAP_LEAF_ENTRIES]) != 0) {
            return false;
        }
    }
    return !is_descriptor(base, bytes);
}

enum nth_status nth_map_enter(void *base, size_t bytes, struct nth_region *region)
{
    if (is_foreign(base, bytes)) {
        return foreign_enter((uintptr_t)base, bytes, region);
    }
    const uint64_t first = granule_of(base) / NTH_MAP_LEAF_ENTRIES;
    const uint64_t last = granule_of((char *)base + bytes - 1) / NTH_MAP_LEAF_ENTRIES;
    NTH_ASSERT(last < NTH_MAP_ROOT_COUNT);
    for (uint64_t idx = first; idx <= last; idx++) {
        if (nth_load_relaxed(&nth_map.root[idx]) == NULL && leaf_make((uint32_t)idx) != NTH_OK) {
            return NTH_NO_MEMORY;
        }
    }
    fill(base, bytes, nth_pointer_seal(region, nth_process.key.first));
    return NTH_OK;
}

void nth_map_remove(void *base, size_t bytes)
{
    if (is_foreign(base, bytes)) {
        foreign_remove((uintptr_t)base);
    } else {
        fill(base, bytes, 0);
    }
}

struct nth_region *nth_map_any_of(const struct nth_heap *heap)
{
    const uint64_t entries = nth_map_leaf_bytes() / sizeof(uintptr_t);
    for (uint32_t idx = 0; idx < nth_map.used_max; idx++) {
        NTH_ATOMIC(uintptr_t) *leaf = nth_load_relaxed(&nth_map.root[idx]);
        for (uint64_t entry = 0; leaf != NULL && entry < entries; entry++) {
            const uintptr_t word = nth_load_relaxed(&leaf[entry]);
            struct nth_region *region =
                word == 0 ? NULL : nth_pointer_open(word, nth_process.key.first);
            if (region != NULL && nth_region_holds(region) && nth_region_heap(region) == heap) {
                return region;
            }
        }
    }
    return NULL;
}

void nth_map_reset(void)
{
    for (uint32_t idx = 0; idx < nth_map.used_max; idx++) {
        void *leaf = nth_load_relaxed(&nth_map.root[idx]);
        if (leaf != NULL) {
            nth_store_relaxed(&nth_map.root[idx], NULL);
            nth_release(NTH_SITE(RELEASE, "map.leaf.reset"), leaf, nth_map_leaf_bytes(), nth_map_leaf_bytes());
        }
    }
    nth_map.used_max = 0;
}
