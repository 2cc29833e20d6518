/* SPDX-License-Identifier: MIT
 *
 * Sealed words read and written from outside, as somebody would who has a heap's keys. Calls the
 * way into a heap, and free lists. */
#include <ntheap/seam.h>

#include "cache.h"
#include "call.h"
#include "freelist.h"
#include "sanitize.h"

NTH_UNWATCHED static uint64_t load(const uint64_t *word)
{
    return *(const volatile uint64_t *)word;
}

NTH_UNWATCHED static void store(uint64_t *word, uint64_t sealed)
{
    *(volatile uint64_t *)word = sealed;
}

/* In band and out of band a word's place is where it stands. */
static uint64_t pad_of(const struct nth_heap *heap, const uint64_t *word)
{
    return nth_word_pad(&heap->config.key, nth_place_of((uint64_t)(uintptr_t)word));
}

static bool is_word(LPCVOID address)
{
    return address != NULL && (uintptr_t)address % sizeof(uint64_t) == 0;
}

static bool lies_in(const uint64_t *word, const void *array, size_t bytes)
{
    return (uintptr_t)word - (uintptr_t)array < bytes;
}

static void put(struct nth_heap *heap, uint64_t *word, uint64_t value)
{
    store(word, nth_word_seal(value, pad_of(heap, word)));
    if (lies_in(word, heap->bin_map, sizeof(heap->bin_map))) {
        nth_freelist_map_sum(heap);
    }
}

/* A magazine's slots have a seal and a pad of their own. False: the word is none of them. */
static bool is_slot(struct nth_heap *heap, const uint64_t *word, uint64_t *pad)
{
    for (uint64_t idx = 0; idx < heap->state.cache_count; idx++) {
        const struct nth_cache *cache = nth_cache_at(heap, idx);
        if (cache != NULL && lies_in(word, cache->slots, sizeof(cache->slots))) {
            const size_t bucket = (size_t)(word - cache->slots[0]) / NTH_LFH_MAGAZINE_MAX;
            *pad = nth_cache_pad(heap->config.key.first, (uint32_t)bucket);
            return true;
        }
    }
    return false;
}

/* The word at `address` into *value; then, when `other` is not NULL, that one in its place. */
static BOOLEAN exchange(const char *name, HANDLE handle, LPCVOID address, uint64_t *value,
                        const uint64_t *other)
{
    struct nth_call call;
    BOOLEAN whole = FALSE;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, 0);
    if (heap != NULL && is_word(address)) {
        uint64_t *word = (uint64_t *)(uintptr_t)address;
        uint64_t pad = 0;
        nth_call_gate(&call);
        const bool slot = is_slot(heap, word, &pad);
        call.noted = 0; /* damaged words that it met on its way are other calls' to report */
        whole = slot ? nth_cache_slot_open(*word, pad, value)
                     : nth_word_open(load(word), pad_of(heap, word), value);
        if (whole && other != NULL && slot) {
            *word = nth_cache_slot_seal(*other & NTH_WORD_MASK, pad);
        } else if (whole && other != NULL) {
            put(heap, word, *other & NTH_WORD_MASK);
        }
    }
    nth_call_end_mild(&call);
    return whole;
}

BOOLEAN nth_sealed_get(HANDLE heap, LPCVOID address, uint64_t *value)
{
    return exchange("nth_sealed_get", heap, address, value, NULL);
}

BOOLEAN nth_sealed_put(HANDLE heap, PVOID address, uint64_t value)
{
    uint64_t before = 0;
    return exchange("nth_sealed_put", heap, address, &before, &value);
}
