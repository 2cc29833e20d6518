/* SPDX-License-Identifier: MIT
 *
 * Making, finding and dropping threads' magazines. Calls page, heap. */
#include "cache.h"

#include <string.h>

#include "page.h"
#include "report.h"
#include "sizes.h"

/* Where a reservation may begin: with another key one word in 65,536 opens to something. */
static bool is_place(uint64_t value)
{
    return value % NTH_GRANULE_BYTES == 0 && value - nth_process.low < nth_process.span_bytes;
}

struct nth_cache *nth_cache_at(struct nth_heap *heap, uint64_t idx)
{
    uint64_t value = 0;
    if (nth_heap_open(heap, &heap->caches[idx], NTH_CORRUPT_CACHE, "heap.caches", &value) !=
        NTH_OK) {
        return NULL;
    }
    /* A word of another time, or of another key. */
    if (value == 0 ? idx < heap->state.cache_count : !is_place(value)) {
        nth_note(NTH_CORRUPT_CACHE, NULL, "heap.caches");
        return NULL;
    }
    return (struct nth_cache *)(uintptr_t)value;
}

static uint64_t owner_pad(const struct nth_heap *heap, const struct nth_cache *cache)
{
    return nth_word_pad(&heap->config.key, nth_place_of((uint64_t)(uintptr_t)&cache->owner));
}

static void owner_put(const struct nth_heap *heap, struct nth_cache *cache,
                      const struct nth_thread *thread)
{
    const uint64_t value = (uint64_t)(uintptr_t)thread & NTH_WORD_MASK;
    nth_store_release(&cache->owner, nth_word_seal(value, owner_pad(heap, cache)));
}

/* Only compared, never followed. */
static bool owner_get(const struct nth_heap *heap, const struct nth_cache *cache,
                      const void **thread)
{
    uint64_t value = 0;
    const bool whole =
        nth_word_open(nth_load_acquire(&cache->owner), owner_pad(heap, cache), &value);
    *thread = (const void *)(uintptr_t)value;
    return whole;
}

bool nth_cache_owner_holds(const struct nth_heap *heap, const struct nth_cache *cache)
{
    const void *thread = NULL;
    return owner_get(heap, cache, &thread);
}

static struct nth_cache *cache_make(struct nth_heap *heap)
{
    const uint64_t idx = heap->state.cache_count;
    void *place = NULL;
    if (idx == NTH_CACHE_MAX_COUNT ||
        nth_reserve(NTH_SITE(RESERVE, "front.cache"), NTH_CACHE_BYTES, &place) != NTH_OK) {
        return NULL;
    }
    if (nth_commit(NTH_SITE(COMMIT, "front.cache"), place, NTH_CACHE_BYTES, false) != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "front.cache.undo"), place, NTH_CACHE_BYTES, 0);
        return NULL;
    }
    struct nth_cache *cache = place;
    memset(cache, 0, nth_pages_zeroed() ? 0 : NTH_CACHE_BYTES);
    for (uint32_t bucket = 0; bucket < NTH_BUCKET_COUNT; bucket++) {
        const uint32_t limit = nth_bucket_magazine_first(bucket);
        nth_cache_fill_put(cache, bucket, limit << NTH_FILL_LIMIT_SHIFT, heap->config.key.first);
    }
    owner_put(heap, cache, NULL);
    nth_process_lock(); /* a thread that exits reads this list */
    nth_heap_put(heap, &heap->caches[idx], (uint64_t)(uintptr_t)cache);
    nth_process_unlock();
    nth_settle(place);
    heap->state.cache_count = idx + 1;
    return cache;
}

struct nth_cache *nth_cache_own(struct nth_heap *heap)
{
    struct nth_cache *orphan = NULL;
    if (nth_self.state == NTH_THREAD_LEFT) {
        return NULL;
    }
    for (uint64_t idx = 0; idx < heap->state.cache_count; idx++) {
        struct nth_cache *cache = nth_cache_at(heap, idx);
        if (cache == NULL) {
            return NULL;
        }
        const void *owner = NULL;
        if (!owner_get(heap, cache, &owner)) {
            nth_note(NTH_CORRUPT_CACHE, NULL, "cache.owner");
            return NULL;
        }
        if (owner == &nth_self) {
            return cache;
        }
        orphan = owner == NULL && orphan == NULL ? cache : orphan;
    }
    orphan = orphan != NULL ? orphan : cache_make(heap);
    if (orphan != NULL) {
        owner_put(heap, orphan, &nth_self);
    }
    return orphan;
}

/* Under the process lock no heap goes away; the heap's own lock is not needed to let go. */
static void let_go(struct nth_heap *heap, const struct nth_thread *thread, bool all_but)
{
    for (uint64_t idx = 0; idx < NTH_CACHE_MAX_COUNT; idx++) {
        struct nth_cache *cache = nth_cache_at(heap, idx);
        const void *owner = NULL;
        if (cache != NULL && owner_get(heap, cache, &owner) && (owner == thread) != all_but) {
            owner_put(heap, cache, NULL);
        }
    }
}

void nth_cache_orphan(struct nth_thread *thread)
{
    nth_process_lock();
    for (uint32_t idx = 0; idx < nth_process.heap_count; idx++) {
        let_go(nth_slot_at(idx)->heap, thread, false);
    }
    nth_process_unlock();
    memset(thread->hot, 0, sizeof(thread->hot));
}

void nth_cache_adopt_all(void)
{
    for (uint32_t idx = 0; idx < nth_process.heap_count; idx++) {
        let_go(nth_slot_at(idx)->heap, &nth_self, true);
    }
}

void nth_cache_drop_all(struct nth_heap *heap)
{
    for (uint64_t idx = 0; idx < NTH_CACHE_MAX_COUNT; idx++) {
        struct nth_cache *cache = nth_cache_at(heap, idx);
        if (cache != NULL) {
            nth_heap_put(heap, &heap->caches[idx], 0); /* should a fault make us come again */
            nth_release(NTH_SITE(RELEASE, "front.cache"), cache, NTH_CACHE_BYTES, NTH_CACHE_BYTES);
        }
    }
}
