/* SPDX-License-Identifier: MIT
 *
 * Large blocks. Calls region, map, page, report. */
#include "large.h"

#include <string.h>

#include "page.h"
#include "report.h"

#define DATA_OFFSET (2u * NTH_PAGE_BYTES) /* descriptor, guard page */
#define ROOM_SHARE 4u                     /* reserve a quarter more than asked for */
#define USER_INFO_BIT (1ull << 7)
#define BODY_SHIFT 8u
#define REQUESTED_MASK 0xFFFFFFFFFFull

static uint64_t pages_for(uint64_t bytes, bool user_info)
{
    const uint64_t need = NTH_LARGE_FIRST + NTH_HEADER_BYTES + nth_round_up((size_t)bytes, 8u) +
                          (user_info ? NTH_USER_INFO_BYTES : 0u);
    return nth_round_up((size_t)need, NTH_PAGE_BYTES) / NTH_PAGE_BYTES;
}

static uint64_t header_value(uint64_t bytes, bool user_info)
{
    return (bytes & REQUESTED_MASK) << BODY_SHIFT | (user_info ? USER_INFO_BIT : 0u) |
           (uint64_t)NTH_BLOCK_LARGE;
}

static void header_write(const struct nth_heap *heap, const struct nth_region *region,
                         bool user_info)
{
    nth_inband_put(heap, region, NTH_LARGE_FIRST, header_value(region->requested, user_info));
}

bool nth_large_user_info(const struct nth_heap *heap, const struct nth_region *region)
{
    uint64_t value = 0;
    return nth_inband_open(heap, region, NTH_LARGE_FIRST, &value) && (value & USER_INFO_BIT) != 0;
}

static enum nth_status broken(const struct nth_region *region, const char *field)
{
    nth_note(NTH_CORRUPT_LARGE_BLOCK, nth_large_data(region), field);
    return NTH_CORRUPT;
}

static struct nth_region *pointer(uint64_t word)
{
    return (struct nth_region *)(uintptr_t)word;
}

/* It must be one by the address map before it is touched. */
struct nth_region *nth_large_at(const struct nth_heap *heap, uint64_t word)
{
    const void *data = (const void *)(uintptr_t)(word + DATA_OFFSET);
    struct nth_region *region = word == 0 ? NULL : nth_region_of(data);
    return region != NULL && region == pointer(word) && nth_region_is(region, NTH_LARGE) &&
                   nth_region_heap(region) == heap && nth_region_holds(region)
               ? region
               : NULL;
}

enum nth_status nth_large_check(struct nth_heap *heap, struct nth_region *region)
{
    const struct nth_region *next = nth_large_at(heap, region->next);
    const struct nth_region *previous = nth_large_at(heap, region->previous);
    uint64_t value = 0;
    if (!nth_region_holds(region) || nth_region_heap(region) != heap) {
        return broken(region, "large.region");
    }
    if (!nth_inband_open(heap, region, NTH_LARGE_FIRST, &value) ||
        (value & ~USER_INFO_BIT) != header_value(region->requested, false)) {
        nth_note(NTH_CORRUPT_BLOCK_HEADER, nth_large_data(region), "block.header");
        return NTH_CORRUPT;
    }
    const uint64_t self = (uint64_t)(uintptr_t)region;
    if (region->next == 0 ? heap->state.large_last != self
                          : next == NULL || next->previous != self) {
        return broken(region, "large.next");
    }
    if (region->previous == 0 ? heap->state.large_first != self
                              : previous == NULL || previous->next != self) {
        return broken(region, "large.previous");
    }
    return NTH_OK;
}

static void list_append(struct nth_heap *heap, struct nth_region *region)
{
    const uint64_t self = (uint64_t)(uintptr_t)region;
    region->previous = heap->state.large_last;
    region->next = 0;
    if (region->previous != 0) {
        pointer(region->previous)->next = self;
        nth_region_seal(pointer(region->previous));
    } else {
        heap->state.large_first = self;
    }
    heap->state.large_last = self;
}

/* Put `with` (or nothing) where `region` stood. */
static void list_replace(struct nth_heap *heap, const struct nth_region *region, uint64_t with)
{
    const uint64_t after = with != 0 ? with : region->next;
    const uint64_t before = with != 0 ? with : region->previous;
    if (region->previous != 0) {
        pointer(region->previous)->next = after;
        nth_region_seal(pointer(region->previous));
    } else {
        heap->state.large_first = after;
    }
    if (region->next != 0) {
        pointer(region->next)->previous = before;
        nth_region_seal(pointer(region->next));
    } else {
        heap->state.large_last = before;
    }
}

/* Reserve and describe; data pages are not committed yet. */
static enum nth_status large_make(struct nth_heap *heap, uint64_t pages, struct nth_region **made)
{
    const uint64_t most = (UINTPTR_MAX >> 1) / NTH_PAGE_BYTES;
    void *hold = NULL;
    if (pages > most) {
        return NTH_NO_MEMORY;
    }
    uint64_t room = pages + pages / ROOM_SHARE;
    size_t bytes =
        (size_t)(nth_round_up(DATA_OFFSET + (size_t)room * NTH_PAGE_BYTES, NTH_GRANULE_BYTES));
    if (nth_reserve(NTH_SITE(RESERVE, "large"), bytes, &hold) != NTH_OK) {
        bytes = DATA_OFFSET + (size_t)pages * NTH_PAGE_BYTES;
        if (nth_reserve(NTH_SITE(RESERVE, "large.without_room"), bytes, &hold) != NTH_OK) {
            return NTH_NO_MEMORY;
        }
    }
    if (nth_commit(NTH_SITE(COMMIT, "large.descriptor"), hold, NTH_PAGE_BYTES, false) != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "large.undo"), hold, bytes, 0);
        return NTH_NO_MEMORY;
    }
    struct nth_region *region = hold;
    memset(region, 0, nth_pages_zeroed() ? sizeof(*region) : NTH_PAGE_BYTES);
    region->base = (uint64_t)(uintptr_t)hold + DATA_OFFSET;
    region->bytes = bytes - DATA_OFFSET;
    region->heap = (uint64_t)(uintptr_t)heap;
    region->kind = NTH_LARGE;
    region->hold_base = (uint64_t)(uintptr_t)hold;
    region->hold_bytes = bytes;
    region->hold_committed_bytes = NTH_PAGE_BYTES;
    nth_region_reach_put(region, 0);
    nth_region_seal_front(region);
    nth_process_lock();
    const enum nth_status status = nth_map_enter(hold, bytes, region);
    nth_process_unlock();
    if (status != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "large.undo.map"), hold, bytes, NTH_PAGE_BYTES);
        return status;
    }
    nth_settle(hold);
    *made = region;
    return NTH_OK;
}

static enum nth_status large_commit(struct nth_heap *heap, struct nth_region *region,
                                    uint64_t pages)
{
    const uint64_t more = pages - region->committed_pages;
    void *place = nth_region_place(region, region->committed_pages * NTH_PAGE_BYTES);
    if (more > 0 && nth_commit(NTH_SITE(COMMIT, "large.data"), place, (size_t)more * NTH_PAGE_BYTES,
                               nth_heap_has(heap, HEAP_CREATE_ENABLE_EXECUTE)) != NTH_OK) {
        return NTH_NO_MEMORY;
    }
    nth_poison(place, (size_t)more * NTH_PAGE_BYTES);
    region->committed_pages = pages;
    nth_region_seal(region);
    return NTH_OK;
}

void nth_large_drop(struct nth_region *region)
{
    const uint64_t committed = region->committed_pages * NTH_PAGE_BYTES + NTH_PAGE_BYTES;
    void *hold = (void *)(uintptr_t)region->hold_base;
    const size_t bytes = (size_t)region->hold_bytes;
    nth_forget(nth_region_place(region, 0), (size_t)region->committed_pages * NTH_PAGE_BYTES);
    nth_process_lock();
    nth_map_remove(hold, bytes);
    nth_process_unlock();
    nth_release(NTH_SITE(RELEASE, "large"), hold, bytes, (size_t)committed);
}

static void account(struct nth_heap *heap, const struct nth_region *region, bool add)
{
    const uint64_t sign = add ? 1u : ~0ull; /* modulo 2^64: minus one */
    heap->state.committed_bytes += sign * (region->committed_pages * NTH_PAGE_BYTES);
    heap->state.reserved_bytes += sign * region->bytes;
    heap->state.large_bytes += sign * (region->committed_pages * NTH_PAGE_BYTES);
    heap->state.large_count += sign;
}

enum nth_status nth_large_take(struct nth_heap *heap, uint64_t bytes, bool user_info, void **user,
                               bool *zeroed)
{
    struct nth_region *region = NULL;
    if (bytes > UINTPTR_MAX / 2) {
        return NTH_NO_MEMORY;
    }
    if (heap->state.large_last != 0 && nth_large_at(heap, heap->state.large_last) == NULL) {
        nth_note(NTH_CORRUPT_LARGE_BLOCK, NULL, "heap.large_last");
        return NTH_CORRUPT;
    }
    const uint64_t pages = pages_for(bytes, user_info);
    enum nth_status status = large_make(heap, pages, &region);
    if (status != NTH_OK) {
        return status;
    }
    if (large_commit(heap, region, pages) != NTH_OK) {
        nth_large_drop(region);
        return NTH_NO_MEMORY;
    }
    region->requested = bytes;
    list_append(heap, region);
    nth_region_seal(region);
    account(heap, region, true);
    header_write(heap, region, user_info);
    *user = nth_large_data(region);
    *zeroed = nth_pages_zeroed();
    return NTH_OK;
}

void nth_large_give(struct nth_heap *heap, struct nth_region *region)
{
    list_replace(heap, region, 0);
    account(heap, region, false);
    nth_large_drop(region);
}

/* Pages that a shrunken block no longer needs go back; a refusal leaves them committed. */
static void large_trim(struct nth_region *region, uint64_t pages)
{
    if (pages < region->committed_pages &&
        nth_decommit(NTH_SITE(DECOMMIT, "large.trim"),
                     nth_region_place(region, pages * NTH_PAGE_BYTES),
                     (size_t)(region->committed_pages - pages) * NTH_PAGE_BYTES) == NTH_OK) {
        region->committed_pages = pages;
    }
}

static void large_settle(struct nth_heap *heap, struct nth_region *region, uint64_t bytes,
                         bool user_info)
{
    region->requested = bytes;
    nth_region_seal(region);
    header_write(heap, region, user_info);
}

/* Into a larger reservation, by moving page tables instead of bytes. */
static enum nth_status large_move(struct nth_heap *heap, struct nth_region *region, uint64_t bytes,
                                  bool user_info, struct nth_region **moved)
{
    const uint64_t pages = pages_for(bytes, user_info);
    struct nth_region *fresh = NULL;
    const uint64_t kept = region->committed_pages;
    enum nth_status status = large_make(heap, pages, &fresh);
    if (status != NTH_OK) {
        return status;
    }
    void *more = nth_region_place(fresh, kept * NTH_PAGE_BYTES);
    const size_t more_bytes = (size_t)(pages - kept) * NTH_PAGE_BYTES;
    if (nth_commit(NTH_SITE(COMMIT, "large.move"), more, more_bytes,
                   nth_heap_has(heap, HEAP_CREATE_ENABLE_EXECUTE)) != NTH_OK) {
        nth_large_drop(fresh);
        return NTH_NO_MEMORY;
    }
    fresh->committed_pages = pages - kept; /* until the others have moved */
    nth_region_seal(fresh);
    if (nth_remap(NTH_SITE(REMAP, "large.move"), nth_region_place(region, 0),
                  (size_t)kept * NTH_PAGE_BYTES, nth_region_place(fresh, 0)) != NTH_OK) {
        if (nth_decommit(NTH_SITE(DECOMMIT, "large.move.undo"), more, more_bytes) == NTH_OK) {
            fresh->committed_pages = 0; /* else they go with the reservation */
        }
        nth_large_drop(fresh);
        return NTH_NO_MEMORY;
    }
    nth_poison(nth_region_place(fresh, 0), (size_t)pages * NTH_PAGE_BYTES);
    nth_unpoison(nth_large_data(fresh), (size_t)region->requested);
    account(heap, region, false);
    region->committed_pages = 0;
    fresh->committed_pages = pages;
    fresh->previous = region->previous;
    fresh->next = region->next;
    list_replace(heap, region, (uint64_t)(uintptr_t)fresh);
    account(heap, fresh, true);
    large_settle(heap, fresh, bytes, user_info);
    nth_large_drop(region);
    *moved = fresh;
    return NTH_OK;
}

enum nth_status nth_large_resize(struct nth_heap *heap, struct nth_region *region, uint64_t bytes,
                                 bool may_move, void **user)
{
    const bool user_info = nth_large_user_info(heap, region);
    enum nth_status status = NTH_OK;
    const uint64_t pages = pages_for(bytes, user_info);
    if (pages * NTH_PAGE_BYTES > region->bytes) {
        if (!may_move || !nth_remap_offered()) {
            return NTH_ABSENT;
        }
        status = large_move(heap, region, bytes, user_info, &region);
        *user = status == NTH_OK ? nth_large_data(region) : *user;
        return status == NTH_NO_MEMORY ? NTH_ABSENT : status; /* the bytes may still be copied */
    }
    const uint64_t before = region->committed_pages;
    if (pages > before) {
        status = large_commit(heap, region, pages);
        if (status != NTH_OK) {
            return status;
        }
    } else {
        large_trim(region, pages);
    }
    const uint64_t change = (region->committed_pages - before) * NTH_PAGE_BYTES;
    heap->state.committed_bytes += change;
    heap->state.large_bytes += change;
    large_settle(heap, region, bytes, user_info);
    *user = nth_large_data(region);
    return NTH_OK;
}
