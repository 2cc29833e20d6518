/* SPDX-License-Identifier: MIT
 *
 * Regions: seals, the map of committed pages, making and dropping segments. Calls page, map. */
#include "region.h"

#include <string.h>

#include "heap.h"
#include "lock.h"
#include "page.h"
#include "report.h"
#include "sanitize.h"
#include "tag.h"

#define TAG_BYTES_PER_PAGE (NTH_PAGE_BYTES / NTH_WINDOW_BYTES)

static uint64_t region_rest(const struct nth_region *region)
{
    const size_t count = (offsetof(struct nth_region, seal) / sizeof(uint64_t)) - 7u;
    return nth_seal(&region->hold_base, count,
                    nth_seal_key(nth_process.key.second + region->base, region));
}

bool nth_region_holds(const struct nth_region *region)
{
    return nth_region_front_holds(region) && region->seal == region_rest(region);
}

void nth_region_reach_put(struct nth_region *region, uint64_t tag_bytes)
{
    nth_store_release(&region->reach, nth_word_seal(tag_bytes, nth_region_reach_pad(region)));
}

void nth_region_seal_front(struct nth_region *region)
{
    region->front_seal = nth_region_front(region);
    nth_region_seal(region);
}

void nth_region_seal(struct nth_region *region)
{
    region->seal = region_rest(region);
}

/* The page map: words, then as many mirror words, all of the same generation as the descriptor. */
static uint64_t page_words(const struct nth_region *region)
{
    return nth_round_up((size_t)(region->bytes / NTH_PAGE_BYTES), 64) / 64;
}

/* What a word is mixed with for its mirror. Mixed, since the same change of both must not agree. */
static uint64_t page_pad(const struct nth_region *region, uint64_t idx)
{
    return nth_process.key.first ^ ~idx ^ nth_rotate(region->page_generation, 40u);
}

static bool page_word(const struct nth_region *region, uint64_t idx, uint64_t *word)
{
    const uint64_t *map = (const uint64_t *)(uintptr_t)region->page_map;
    *word = map[idx];
    return map[page_words(region) + idx] == nth_mix(map[idx] ^ page_pad(region, idx));
}

static void page_word_put(const struct nth_region *region, uint64_t idx, uint64_t word)
{
    uint64_t *map = (uint64_t *)(uintptr_t)region->page_map;
    map[idx] = word;
    map[page_words(region) + idx] = nth_mix(word ^ page_pad(region, idx));
}

/* The descriptor says where the map is. */
static bool page_map_found(const struct nth_region *region)
{
    if (!nth_region_holds(region)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return false;
    }
    return true;
}

bool nth_page_map_holds(const struct nth_region *region)
{
    uint64_t word = 0;
    for (uint64_t idx = 0; idx < page_words(region); idx++) {
        if (!page_word(region, idx, &word)) {
            return false;
        }
    }
    return true;
}

bool nth_page_committed(const struct nth_region *region, uint64_t page, bool *damaged)
{
    uint64_t word = 0;
    if (!page_map_found(region) || !page_word(region, page / 64, &word)) {
        *damaged = true;
    }
    return (word >> (page % 64)) & 1u;
}

uint64_t nth_page_run(const struct nth_region *region, uint64_t page, bool *damaged)
{
    const uint64_t count = region->bytes / NTH_PAGE_BYTES;
    const bool state = nth_page_committed(region, page, damaged);
    while (page < count && !*damaged) {
        uint64_t word = 0;
        *damaged = !page_word(region, page / 64, &word);
        const uint64_t change = (state ? ~word : word) >> (page % 64);
        if (change != 0) {
            page += (uint64_t)__builtin_ctzll(change);
            break;
        }
        page = (page / 64 + 1) * 64;
    }
    return page < count ? page : count;
}

/* The map is about to be written anew: damage in any of its words would be sealed with them. */
static enum nth_status page_map_check(const struct nth_region *region)
{
    if (!page_map_found(region)) {
        return NTH_CORRUPT;
    }
    if (!nth_page_map_holds(region)) {
        nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

/* Every word is written anew, so that a map, or a descriptor, of another time does not pass. */
static void page_mark(struct nth_region *region, uint64_t first, uint64_t last, bool state)
{
    region->page_generation++;
    for (uint64_t idx = 0; idx < page_words(region); idx++) {
        const uint64_t low = idx * 64 > first ? idx * 64 : first;
        const uint64_t high = idx * 64 + 64 < last ? idx * 64 + 64 : last;
        const uint64_t word = ((const uint64_t *)(uintptr_t)region->page_map)[idx];
        const uint64_t count = low < high ? high - low : 0;
        const uint64_t ones = count == 64 ? ~0ull : (1ull << count) - 1;
        const uint64_t mask = count == 0 ? 0 : ones << low % 64;
        page_word_put(region, idx, state ? word | mask : word & ~mask);
    }
}

static enum nth_status commit_tags(struct nth_region *region, uint64_t last_page)
{
    const uint64_t want = nth_round_up((size_t)(last_page * TAG_BYTES_PER_PAGE), NTH_PAGE_BYTES);
    uint64_t have = 0;
    if (!nth_region_reach(region, &have)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return NTH_CORRUPT;
    }
    if (want <= have) {
        return NTH_OK;
    }
    uint8_t *place = (uint8_t *)(uintptr_t)(region->tags + have);
    if (nth_commit(NTH_SITE(COMMIT, "segment.tags"), place, (size_t)(want - have), false) !=
        NTH_OK) {
        return NTH_NO_MEMORY;
    }
    memset(place, 0, nth_pages_zeroed() ? 0 : (size_t)(want - have));
    nth_region_reach_put(region, want);
    region->hold_committed_bytes += want - have;
    nth_region_seal(region);
    return NTH_OK;
}

/* The caller's CommitRoutine stands in for the page source. It may commit more than asked. */
static enum nth_status commit_by_routine(struct nth_heap *heap, const struct nth_region *region,
                                         uint64_t first, uint64_t *last)
{
    const PRTL_HEAP_COMMIT_ROUTINE routine =
        (PRTL_HEAP_COMMIT_ROUTINE)(uintptr_t)heap->config.commit_routine;
    void *const base = nth_region_place(region, 0);
    void *const want = nth_region_place(region, first * NTH_PAGE_BYTES);
    struct nth_commit_wish wish = {.routine = routine,
                                   .base = base,
                                   .address = want,
                                   .bytes = (size_t)(*last - first) * NTH_PAGE_BYTES};
    const size_t asked = wish.bytes;
    if (nth_call_routine(&wish) != NTH_OK || wish.address != want || wish.bytes < asked ||
        wish.bytes % NTH_PAGE_BYTES != 0) {
        return NTH_NO_MEMORY;
    }
    const uint64_t end = first + wish.bytes / NTH_PAGE_BYTES;
    bool damaged = false;
    if (end > nth_page_run(region, first, &damaged) || damaged) {
        return NTH_NO_MEMORY;
    }
    *last = end;
    return NTH_OK;
}

enum nth_status nth_segment_commit(struct nth_heap *heap, struct nth_region *region, uint64_t first,
                                   uint64_t *last)
{
    void *place = nth_region_place(region, first * NTH_PAGE_BYTES);
    enum nth_status status = page_map_check(region);
    if (status == NTH_OK) {
        status =
            commit_tags(region, region->bytes / NTH_PAGE_BYTES < *last + 1 ? *last : *last + 1);
    }
    if (status == NTH_OK && heap->config.commit_routine != 0) {
        status = commit_by_routine(heap, region, first, last);
        status = status == NTH_OK ? commit_tags(region, *last) : status;
    } else if (status == NTH_OK) {
        status = nth_commit(NTH_SITE(COMMIT, "segment.grow"), place,
                            (size_t)(*last - first) * NTH_PAGE_BYTES,
                            nth_heap_has(heap, HEAP_CREATE_ENABLE_EXECUTE));
    }
    if (status != NTH_OK) {
        return status;
    }
    const uint64_t bytes = (*last - first) * NTH_PAGE_BYTES;
    nth_poison(place, (size_t)bytes);
    page_mark(region, first, *last, true);
    region->committed_pages += *last - first;
    nth_region_seal(region);
    heap->state.committed_bytes += bytes;
    return NTH_OK;
}

enum nth_status nth_segment_decommit(struct nth_heap *heap, struct nth_region *region,
                                     uint64_t first, uint64_t last)
{
    const uint64_t bytes = (last - first) * NTH_PAGE_BYTES;
    if (!nth_region_holds(region) || !nth_page_map_holds(region)) {
        return NTH_NO_MEMORY; /* the pages stay; who reads the map will tell */
    }
    if (nth_decommit(NTH_SITE(DECOMMIT, "segment.decommit"),
                     nth_region_place(region, first * NTH_PAGE_BYTES), (size_t)bytes) != NTH_OK) {
        return NTH_NO_MEMORY;
    }
    page_mark(region, first, last, false);
    region->committed_pages -= last - first;
    nth_region_seal(region);
    heap->state.committed_bytes -= bytes;
    return NTH_OK;
}

/* Out of band of a segment: [descriptor, page map][extra][tags][tail], page aligned each. */
struct oob {
    uint64_t head_bytes;
    uint64_t tag_bytes;
    uint64_t tag_first_bytes; /* tags for what is committed at first */
    uint64_t total_bytes;
};

static struct oob oob_plan(const struct nth_segment_plan *plan)
{
    const uint64_t words = nth_round_up((size_t)(plan->bytes / NTH_PAGE_BYTES), 64) / 64;
    struct oob oob;
    oob.head_bytes = nth_round_up(sizeof(struct nth_region) + (size_t)words * 2u * sizeof(uint64_t),
                                  NTH_PAGE_BYTES);
    oob.tag_bytes = nth_round_up((size_t)(plan->bytes / NTH_WINDOW_BYTES), NTH_PAGE_BYTES);
    oob.tag_first_bytes =
        nth_round_up((size_t)(plan->commit_bytes / NTH_WINDOW_BYTES), NTH_PAGE_BYTES);
    oob.total_bytes = oob.head_bytes + plan->extra_bytes + oob.tag_bytes + plan->tail_bytes;
    return oob;
}

/* A base that was a heap's not long ago is set aside and another one asked for. */
static enum nth_status reserve_fresh(size_t bytes, bool shun, void **place)
{
    void *aside[NTH_QUARANTINE_COUNT];
    size_t count = 0;
    enum nth_status status;
    for (;;) {
        status = nth_reserve(NTH_SITE(RESERVE, "segment"), bytes, place);
        if (status != NTH_OK || !shun || count == NTH_QUARANTINE_COUNT ||
            !nth_quarantined(*place)) {
            break;
        }
        aside[count++] = *place;
    }
    if (status != NTH_OK && count > 0) {
        *place = aside[--count]; /* address space is short: an old base after all */
        status = NTH_OK;
    }
    while (count > 0) {
        nth_release(NTH_SITE(RELEASE, "segment.aside"), aside[--count], bytes, 0);
    }
    return status;
}

/* Its memory is zero. */
static void region_fill(struct nth_region *region, const struct nth_segment_plan *plan,
                        const struct oob *oob, char *base)
{
    region->base = (uint64_t)(uintptr_t)base;
    region->bytes = plan->bytes;
    region->tags = (uint64_t)(uintptr_t)region + oob->head_bytes + plan->extra_bytes;
    region->kind = NTH_SEGMENT;
    region->committed_pages = plan->commit_bytes / NTH_PAGE_BYTES;
    nth_region_reach_put(region, oob->tag_first_bytes);
    region->page_map = (uint64_t)(uintptr_t)(region + 1);
    region->foreign = plan->foreign_base != NULL;
    region->hold_committed_bytes = oob->head_bytes + plan->extra_bytes + oob->tag_first_bytes;
    for (uint64_t idx = 0; idx < page_words(region); idx++) {
        page_word_put(region, idx, 0);
    }
    page_mark(region, 0, region->committed_pages, true);
}

enum nth_status nth_segment_make(const struct nth_segment_plan *plan, struct nth_region **made,
                                 void **extra, void **tail)
{
    const struct oob oob = oob_plan(plan);
    const bool own = plan->foreign_base == NULL;
    const size_t front = own ? (size_t)plan->bytes + NTH_PAGE_BYTES : 0;
    const size_t total = front + (size_t)oob.total_bytes;
    const size_t oob_first = (size_t)(oob.head_bytes + plan->extra_bytes + oob.tag_first_bytes);
    void *hold = NULL;
    if (total < front || reserve_fresh(total, plan->shun_quarantined, &hold) != NTH_OK) {
        return NTH_NO_MEMORY;
    }
    char *base = own ? hold : plan->foreign_base;
    struct nth_region *region = (struct nth_region *)(void *)((char *)hold + front);
    if (nth_commit(NTH_SITE(COMMIT, "segment.descriptor"), region, oob_first, false) != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "segment.undo"), hold, total, 0);
        return NTH_NO_MEMORY;
    }
    if (own && nth_commit(NTH_SITE(COMMIT, "segment.first"), base, (size_t)plan->commit_bytes,
                          plan->executable) != NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "segment.undo.first"), hold, total, oob_first);
        return NTH_NO_MEMORY;
    }
    memset(region, 0, nth_pages_zeroed() ? 0 : oob_first);
    region_fill(region, plan, &oob, base);
    region->hold_base = (uint64_t)(uintptr_t)hold;
    region->hold_bytes = total;
    *made = region;
    *extra = (char *)region + oob.head_bytes;
    *tail = (char *)region + oob.head_bytes + plan->extra_bytes + oob.tag_bytes;
    return NTH_OK;
}

void nth_segment_drop(struct nth_region *region)
{
    const uint64_t own = region->foreign ? 0 : region->committed_pages * NTH_PAGE_BYTES;
    const uint64_t committed = own + region->hold_committed_bytes;
    nth_forget((void *)(uintptr_t)region->base, (size_t)region->bytes);
    nth_release(NTH_SITE(RELEASE, "segment"), (void *)(uintptr_t)region->hold_base,
                (size_t)region->hold_bytes, (size_t)committed);
}

/* Directory of segments: the first few in the heap object, the rest in pages of their own. */
static uint64_t *directory_word(struct nth_heap *heap, uint64_t number)
{
    if (number < NTH_SEGMENT_NEAR_COUNT) {
        return &heap->segments[number];
    }
    return (uint64_t *)(uintptr_t)heap->config.directory + (number - NTH_SEGMENT_NEAR_COUNT);
}

bool nth_segment_word(struct nth_heap *heap, uint64_t number, uint64_t *value)
{
    if (nth_heap_open(heap, directory_word(heap, number), NTH_CORRUPT_SEGMENT, "heap.segments",
                      value) != NTH_OK) {
        return false;
    }
    if (number < 64 && ((heap->state.segment_map >> number) & 1u) != (*value != 0 ? 1u : 0u)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "heap.segments"); /* a word of another time */
        return false;
    }
    return true;
}

/* A segment is there, or is gone. */
static void directory_put(struct nth_heap *heap, uint64_t number, const struct nth_region *region)
{
    const uint64_t bit = number < 64 ? 1ull << number : 0;
    nth_heap_put(heap, directory_word(heap, number), (uint64_t)(uintptr_t)region);
    heap->state.segment_map =
        region != NULL ? heap->state.segment_map | bit : heap->state.segment_map & ~bit;
}

struct nth_region *nth_segment_at(struct nth_heap *heap, uint64_t number)
{
    uint64_t value = 0;
    if (!nth_segment_word(heap, number, &value) || value == 0) {
        return NULL;
    }
    struct nth_region *region = (struct nth_region *)(uintptr_t)value;
    if (!nth_region_holds(region)) {
        nth_note(NTH_CORRUPT_SEGMENT, NULL, "region");
        return NULL;
    }
    return region;
}

/* A free number, with its directory page committed. */
static enum nth_status directory_take(struct nth_heap *heap, uint64_t *number)
{
    for (uint64_t idx = 1; idx < heap->state.segment_count; idx++) {
        if (nth_segment_at(heap, idx) == NULL) {
            if (nth_noted()) {
                return NTH_CORRUPT;
            }
            *number = idx;
            return NTH_OK;
        }
    }
    const uint64_t idx = heap->state.segment_count;
    if (idx == NTH_SEGMENT_MAX_COUNT) {
        return NTH_NO_MEMORY;
    }
    const uint64_t held = heap->state.directory_pages * NTH_PAGE_BYTES / sizeof(uint64_t);
    if (idx >= NTH_SEGMENT_NEAR_COUNT + held) {
        struct nth_region *first = nth_segment_at(heap, 0);
        if (first == NULL) {
            return NTH_CORRUPT;
        }
        char *page = (char *)(uintptr_t)heap->config.directory +
                     heap->state.directory_pages * NTH_PAGE_BYTES;
        if (nth_commit(NTH_SITE(COMMIT, "heap.directory"), page, NTH_PAGE_BYTES, false) != NTH_OK) {
            return NTH_NO_MEMORY;
        }
        heap->state.directory_pages++;
        first->hold_committed_bytes += NTH_PAGE_BYTES;
        nth_region_seal(first);
    }
    *number = idx;
    return NTH_OK;
}

/* Every NTH_SEGMENT_STEP_COUNT segments the next ones are twice as large. */
static uint64_t segment_bytes(const struct nth_heap *heap, uint64_t need)
{
    uint64_t bytes = heap->config.segment_reserve_bytes;
    const uint64_t steps = (heap->state.segment_count - 1) / NTH_SEGMENT_STEP_COUNT;
    for (uint64_t idx = 0; idx < steps && bytes < NTH_SEGMENT_MAX_BYTES; idx++) {
        bytes *= 2;
    }
    return nth_round_up((size_t)(bytes > need ? bytes : need), NTH_GRANULE_BYTES);
}

enum nth_status nth_segment_add(struct nth_heap *heap, uint64_t bytes, struct nth_region **added)
{
    const uint64_t need = bytes + NTH_SEGMENT_FIRST + NTH_BORDER_BYTES;
    struct nth_segment_plan plan = {.bytes = segment_bytes(heap, need),
                                    .executable = nth_heap_has(heap, HEAP_CREATE_ENABLE_EXECUTE)};
    uint64_t number = 0;
    struct nth_region *region = NULL;
    void *extra = NULL;
    void *tail = NULL;
    plan.commit_bytes = nth_round_up((size_t)need, NTH_PAGE_BYTES);
    if (plan.commit_bytes < heap->config.segment_commit_bytes) {
        plan.commit_bytes = heap->config.segment_commit_bytes < plan.bytes
                                ? heap->config.segment_commit_bytes
                                : plan.bytes;
    }
    enum nth_status status = directory_take(heap, &number);
    status = status == NTH_OK ? nth_segment_make(&plan, &region, &extra, &tail) : status;
    if (status != NTH_OK) {
        return status;
    }
    region->heap = (uint64_t)(uintptr_t)heap;
    region->kind |= number << 8;
    nth_region_seal_front(region);
    nth_poison(nth_region_place(region, 0), (size_t)plan.commit_bytes);
    nth_process_lock();
    status = nth_map_enter(nth_region_place(region, 0), (size_t)region->bytes, region);
    nth_process_unlock();
    if (status != NTH_OK) {
        nth_segment_drop(region);
        return status;
    }
    nth_settle((void *)(uintptr_t)region->hold_base);
    directory_put(heap, number, region);
    heap->state.segment_count += number == heap->state.segment_count;
    heap->state.committed_bytes += plan.commit_bytes;
    heap->state.reserved_bytes += plan.bytes;
    *added = region;
    return NTH_OK;
}

void nth_segment_remove(struct nth_heap *heap, struct nth_region *region)
{
    directory_put(heap, nth_region_number(region), NULL);
    nth_self.call->region = NULL;
    heap->state.committed_bytes -= region->committed_pages * NTH_PAGE_BYTES;
    heap->state.reserved_bytes -= region->bytes;
    nth_process_lock();
    nth_map_remove(nth_region_place(region, 0), (size_t)region->bytes);
    nth_process_unlock();
    nth_add(&nth_process.generation, 1u); /* threads forget their notes of it */
    nth_segment_drop(region);
}
