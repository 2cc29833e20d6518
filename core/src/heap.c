/* SPDX-License-Identifier: MIT
 *
 * The heap object: made, found, checked, dropped. Calls region, backend, front, large, cache. */
#include "heap.h"

#include <string.h>

#include "backend.h"
#include "freelist.h"
#include "front.h"
#include "large.h"
#include "lock.h"
#include "page.h"
#include "report.h"
#include "sanitize.h"

/* Seals are bound to where they stand: another heap's are none of this one's. */
static uint64_t config_seal(const struct nth_heap *heap)
{
    return nth_seal(&heap->config.handle, offsetof(struct nth_config, seal) / sizeof(uint64_t),
                    nth_seal_key(nth_process.key.first, heap));
}

static uint64_t state_seal(const struct nth_heap *heap)
{
    return nth_seal(&heap->state.free_units, offsetof(struct nth_state, seal) / sizeof(uint64_t),
                    nth_seal_key(nth_process.key.second, heap));
}

void nth_heap_seal_config(struct nth_heap *heap)
{
    heap->config.seal = config_seal(heap);
}

void nth_heap_seal_state(struct nth_heap *heap)
{
    heap->state.seal = state_seal(heap);
    nth_heap_slot(heap)->state_seal = heap->state.seal;
}

/* Totals that were whole once and were put back are not those that the last call left. */
static bool state_holds(const struct nth_heap *heap)
{
    return heap->state.seal == state_seal(heap) &&
           heap->state.seal == nth_heap_slot(heap)->state_seal;
}

bool nth_heap_check(struct nth_heap *heap)
{
    if (heap->config.seal != config_seal(heap)) {
        nth_note(NTH_CORRUPT_HEAP_CONFIG, NULL, "heap.config");
        return false;
    }
    if (!state_holds(heap)) {
        nth_note(NTH_CORRUPT_HEAP_STATE, NULL, "heap.state");
        return false;
    }
    return true;
}

/* Place of a word, for its pad: where it stands, as for words in band. */
static uint64_t word_pad(const struct nth_heap *heap, const uint64_t *word)
{
    return nth_word_pad(&heap->config.key, nth_place_of((uint64_t)(uintptr_t)word));
}

enum nth_status nth_heap_open(struct nth_heap *heap, const uint64_t *word, enum nth_reason reason,
                              const char *field, uint64_t *value)
{
    if (!nth_word_open(*word, word_pad(heap, word), value)) {
        nth_note(reason, NULL, field);
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

void nth_heap_put(struct nth_heap *heap, uint64_t *word, uint64_t value)
{
    *word = nth_word_seal(value, word_pad(heap, word));
}

/* A heap whose first descriptor, or whose entry in the address map, was overwritten is still one:
 * slots are core's own data. */
static struct nth_slot *find_by_slots(HANDLE handle)
{
    struct nth_slot *slot = NULL;
    for (uint32_t number = 0; (slot = nth_slot_numbered(number)) != NULL; number++) {
        if (nth_load_seq(&slot->handle) == handle) {
            return slot;
        }
    }
    return NULL;
}

struct nth_slot *nth_heap_find(HANDLE handle)
{
    if (nth_load_acquire(&nth_process.ready) == 0 || handle == NULL) {
        return NULL;
    }
    const struct nth_region *region = nth_region_of(handle);
    if (region == NULL) {
        return (uintptr_t)handle % NTH_GRANULE_BYTES == 0 ? find_by_slots(handle) : NULL;
    }
    struct nth_slot *slot = nth_slot_numbered(nth_region_slot(region));
    return slot != NULL && nth_load_seq(&slot->handle) == handle ? slot : NULL;
}

/* 32-bit words of the mirror, in band. */
NTH_UNWATCHED static uint32_t mirror_load(const struct nth_heap *heap, size_t offset)
{
    return *(const volatile uint32_t *)(uintptr_t)(heap->config.handle + offset);
}

NTH_UNWATCHED static void mirror_store(const struct nth_heap *heap, size_t offset, uint32_t word)
{
    *(volatile uint32_t *)(uintptr_t)(heap->config.handle + offset) = word;
}

static uint32_t force_flags(const struct nth_heap *heap)
{
    return (uint32_t)heap->config.flags &
           ~(HEAP_GROWABLE | NTH_FLAG_PRIVATE | HEAP_DISABLE_COALESCE_ON_FREE);
}

static void mirror_write(const struct nth_heap *heap)
{
    nth_unpoison(
        nth_region_place((const struct nth_region *)(uintptr_t)heap->config.segment_first, 0),
        NTH_MIRROR_FORCE + sizeof(uint32_t));
    mirror_store(heap, NTH_MIRROR_SIGNATURE, NTH_MIRROR_SIGNATURE_VALUE);
    mirror_store(heap, NTH_MIRROR_FLAGS, (uint32_t)heap->config.flags);
    mirror_store(heap, NTH_MIRROR_FORCE, force_flags(heap));
}

bool nth_heap_mirror_holds(struct nth_heap *heap)
{
    if (mirror_load(heap, NTH_MIRROR_SIGNATURE) != NTH_MIRROR_SIGNATURE_VALUE ||
        mirror_load(heap, NTH_MIRROR_FLAGS) != (uint32_t)heap->config.flags ||
        mirror_load(heap, NTH_MIRROR_FORCE) != force_flags(heap)) {
        nth_note(NTH_CORRUPT_HEAP_MIRROR, NULL, "heap.mirror");
        return false;
    }
    return true;
}

static void draw_heap_key(struct nth_key *key)
{
    const uint64_t serial = ++nth_process.heap_serial;
    key->first = nth_mix(nth_process.key.first + serial * 0x9E3779B97F4A7C15ull);
    key->second = nth_mix(nth_process.key.second ^ key->first) | 1u;
}

static void config_fill(struct nth_heap *heap, const struct nth_create *wish,
                        struct nth_region *region, void *directory, struct nth_slot *slot)
{
    struct nth_config *config = &heap->config;
    config->handle = region->base;
    config->slot = (uint64_t)(uintptr_t)slot;
    config->flags = wish->flags;
    draw_heap_key(&config->key);
    config->align_bytes =
        (wish->flags & HEAP_CREATE_ALIGN_16) != 0 ? 16u : (uint64_t)NTH_UNIT_BYTES;
    config->segment_reserve_bytes = wish->segment_reserve_bytes;
    config->segment_commit_bytes = wish->segment_commit_bytes;
    config->decommit_block_bytes = wish->decommit_block_bytes;
    config->decommit_total_bytes = wish->decommit_total_bytes;
    config->allocation_max_bytes = wish->allocation_max_bytes;
    config->threshold_bytes = wish->threshold_bytes;
    config->commit_routine = (uint64_t)(uintptr_t)wish->commit_routine;
    config->segment_first = (uint64_t)(uintptr_t)region;
    config->directory = (uint64_t)(uintptr_t)directory;
    nth_heap_seal_config(heap);
}

static enum nth_status lock_make(const struct nth_create *wish, struct nth_slot *slot)
{
    slot->caller_lock = wish->lock;
    if (wish->lock != NULL || (wish->flags & HEAP_NO_SERIALIZE) != 0) {
        return NTH_OK;
    }
    return nth_process.locks->create(nth_process.locks->self, &slot->lock) == NTH_SEAM_OK
               ? NTH_OK
               : NTH_NO_MEMORY;
}

/* A lock that this thread still holds is let go first: a mutex must not be destroyed locked. */
static void lock_drop(struct nth_slot *slot)
{
    if (slot->lock != NULL) {
        if (nth_lock_owned(slot)) {
            nth_store_release(&slot->owner, NULL);
            nth_process.locks->release(nth_process.locks->self, slot->lock);
        }
        nth_process.locks->destroy(nth_process.locks->self, slot->lock);
    }
}

static void heap_fill(struct nth_heap *heap, struct nth_region *region)
{
    nth_freelist_init(heap);
    nth_front_init(heap);
    for (uint32_t idx = 0; idx < NTH_SEGMENT_NEAR_COUNT; idx++) {
        nth_heap_put(heap, &heap->segments[idx], 0);
    }
    nth_heap_put(heap, &heap->segments[0], (uint64_t)(uintptr_t)region);
    heap->state.segment_count = 1;
    heap->state.segment_map = 1;
    heap->state.committed_bytes = region->committed_pages * NTH_PAGE_BYTES;
    heap->state.reserved_bytes = region->bytes;
    region->heap = (uint64_t)(uintptr_t)heap;
    region->kind |= (uint64_t)((const struct nth_slot *)(uintptr_t)heap->config.slot)->idx << 32;
    nth_region_seal_front(region);
    nth_poison(nth_region_place(region, 0), (size_t)heap->state.committed_bytes);
    nth_backend_found(heap, region, heap->state.committed_bytes);
    mirror_write(heap);
    nth_heap_seal_state(heap);
}

/* Under the process lock. Undoes itself in reverse order. */
enum nth_status nth_heap_create_locked(const struct nth_create *wish, HANDLE *handle)
{
    const struct nth_segment_plan plan = {
        .foreign_base = wish->base,
        .bytes = wish->reserve_bytes,
        .commit_bytes = wish->commit_bytes,
        .extra_bytes = nth_round_up(sizeof(struct nth_heap), NTH_PAGE_BYTES),
        .tail_bytes = NTH_DIRECTORY_BYTES,
        .executable = (wish->flags & HEAP_CREATE_ENABLE_EXECUTE) != 0,
        .shun_quarantined = true,
    };
    struct nth_slot *slot = nth_slot_take();
    struct nth_region *region = NULL;
    void *extra = NULL;
    void *directory = NULL;
    if (slot == NULL) {
        return NTH_NO_MEMORY;
    }
    nth_slot_give(slot); /* there is one; it is taken when nothing can go wrong any more */
    enum nth_status status = nth_segment_make(&plan, &region, &extra, &directory);
    if (status == NTH_OK) {
        status = nth_map_enter(nth_region_place(region, 0), (size_t)region->bytes, region);
        if (status == NTH_OK) {
            status = lock_make(wish, slot);
            if (status != NTH_OK) {
                nth_map_remove(nth_region_place(region, 0), (size_t)region->bytes);
            }
        }
        if (status != NTH_OK) {
            nth_segment_drop(region);
        }
    }
    if (status != NTH_OK) {
        return status;
    }
    NTH_ASSERT(nth_slot_take() == slot);
    nth_settle((void *)(uintptr_t)region->hold_base);
    struct nth_heap *heap = extra;
    config_fill(heap, wish, region, directory, slot);
    heap_fill(heap, region);
    slot->heap = heap;
    slot->first = region;
    slot->flags = wish->flags;
    slot->serial = nth_process.heap_serial;
    nth_store_seq(&slot->handle, nth_region_place(region, 0));
    if ((wish->flags & NTH_FLAG_PRIVATE) != 0) {
        nth_slot_append(slot);
    } else {
        nth_slot_append_first(slot);
    }
    *handle = nth_region_place(region, 0);
    return NTH_OK;
}

/* The first pages of a caller's block come from its routine like all others. */
static enum nth_status first_pages(const struct nth_create *wish)
{
    struct nth_commit_wish first = {.routine = wish->commit_routine,
                                    .base = wish->base,
                                    .address = wish->base,
                                    .bytes = wish->commit_bytes};
    if (wish->commit_routine == NULL) {
        return NTH_OK;
    }
    const enum nth_status status = nth_call_routine(&first);
    return status == NTH_OK && (first.address != wish->base || first.bytes < wish->commit_bytes ||
                                first.bytes > wish->reserve_bytes)
               ? NTH_NO_MEMORY
               : status;
}

enum nth_status nth_heap_create(const struct nth_create *wish, HANDLE *handle)
{
    enum nth_status status = nth_process_start();
    status = status == NTH_OK ? first_pages(wish) : status;
    if (status == NTH_OK) {
        struct nth_call *call = nth_self.call; /* which is left properly should a fault come */
        call->inside = nth_gate_enter(&nth_process);
        call->entered = 1;
        nth_process_lock();
        status = nth_heap_create_locked(wish, handle);
        nth_process_unlock();
        call->entered = 0;
        nth_gate_leave(call->inside);
    }
    return status;
}

static void drop_region(struct nth_region *region)
{
    if (nth_region_is(region, NTH_LARGE)) {
        nth_large_drop(region);
        return;
    }
    nth_process_lock();
    nth_map_remove(nth_region_place(region, 0), (size_t)region->bytes);
    nth_process_unlock();
    nth_segment_drop(region);
}

static void drop_listed(struct nth_heap *heap)
{
    for (uint64_t word = heap->state.large_first; word != 0;) {
        struct nth_region *region = (struct nth_region *)(uintptr_t)word;
        word = region->next;
        nth_large_drop(region);
    }
    for (uint64_t number = heap->state.segment_count; number-- > 1;) {
        struct nth_region *region = nth_segment_at(heap, number);
        if (region != NULL) {
            drop_region(region);
        }
    }
}

/* The heap's lists are not whole, or a call was left in its middle: core's own map tells. */
static void drop_mapped(const struct nth_slot *slot)
{
    nth_process_lock();
    struct nth_region *region = nth_map_any_of(slot->heap);
    nth_process_unlock();
    while (region != NULL) {
        if (region == slot->first) {
            nth_process_lock();
            nth_map_remove(nth_region_place(region, 0), (size_t)region->bytes);
        } else {
            drop_region(region);
            nth_process_lock();
        }
        region = nth_map_any_of(slot->heap);
        nth_process_unlock();
    }
}

static bool lists_whole(struct nth_heap *heap)
{
    if (heap->config.seal != config_seal(heap) || !state_holds(heap)) {
        return false;
    }
    for (uint64_t number = 0; number < heap->state.segment_count; number++) {
        uint64_t value = 0;
        if (!nth_segment_word(heap, number, &value)) {
            return false;
        }
    }
    uint64_t count = 0;
    for (uint64_t word = heap->state.large_first; word != 0; count++) {
        const struct nth_region *region = (const struct nth_region *)(uintptr_t)word;
        if (count > heap->state.large_count || nth_large_at(heap, word) == NULL) {
            return false;
        }
        word = region->next;
    }
    return true;
}

/* Should a fault come in between, the slot stays as it is and reset comes here again, by the map.
 * The memory that holds the heap itself goes last, when nothing refers to it any more. */
void nth_heap_discard(struct nth_slot *slot)
{
    struct nth_heap *heap = slot->heap;
    struct nth_region *first = slot->first;
    const bool whole = !slot->damaged && lists_whole(heap); /* a half-made change is not whole */
    slot->damaged = true;
    nth_cache_drop_all(heap);
    if (whole) {
        drop_listed(heap);
    } else {
        drop_mapped(slot);
    }
    lock_drop(slot);
    nth_process_lock();
    if (nth_region_front_holds(first)) {
        nth_map_remove(nth_region_place(first, 0), (size_t)first->bytes);
    }
    nth_slot_give(slot);
    nth_process_unlock();
    if (nth_region_holds(first)) {
        nth_segment_drop(first);
    }
}
