/* SPDX-License-Identifier: MIT
 *
 * Process state: start, seam, keys, the table of heaps, reset. Calls lock, map, heap and seh. */
#define _GNU_SOURCE
#include "process.h"

#include <ntheap/heap.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "heap.h"
#include "lock.h"
#include "map.h"
#include "page.h"
#include "seh.h"
#include "verifier.h"

#define SLOTS_FIRST_COUNT 256u
#define SLOTS_CHUNK_BYTES NTH_GRANULE_BYTES
#define SLOTS_CHUNK_COUNT (SLOTS_CHUNK_BYTES / sizeof(struct nth_slot))
#define SLOTS_CHUNK_MAX (NTH_HEAP_MAX_COUNT / SLOTS_CHUNK_COUNT + 1u)

enum { PROCESS_NEW = 0, PROCESS_STARTING, PROCESS_READY };

struct nth_process nth_process;

static struct nth_slot slots_first[SLOTS_FIRST_COUNT];
static struct nth_slot *slots_more[SLOTS_CHUNK_MAX];
static uint32_t slots_more_count;
static uint32_t order_first[SLOTS_FIRST_COUNT]; /* slot numbers in creation order */
static uint32_t *order = order_first;
static uint32_t order_capacity = SLOTS_FIRST_COUNT;

_Noreturn void nth_assert_failed(const char *condition, const char *file, int line)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "heaprig: core is wrong: %s:%d: %s\n", file, line,
                   condition);
    (void)!write(STDERR_FILENO, text, strlen(text));
    abort();
}

_Noreturn void nth_terminate(NTSTATUS status)
{
    if (nth_process.seam.terminate != NULL) {
        nth_process.seam.terminate(nth_process.seam.terminate_context, status);
    }
    abort();
}

/* The system's randomness, or the rig's seed; both go through the mixer. */
static void draw_keys(void)
{
    uint64_t raw[2] = {nth_process.seam.seed, ~nth_process.seam.seed};
    if (!nth_process.seam.seeded && getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw)) {
        raw[0] ^= (uint64_t)(uintptr_t)&raw; /* no randomness yet: the stack's place must do */
    }
    nth_process.key.first = nth_mix(raw[0] + 0x9E3779B97F4A7C15ull);
    nth_process.key.second = nth_mix(raw[1] ^ nth_process.key.first) | 1u;
}

static enum nth_status start_tables(void)
{
    nth_process.pages = nth_process.seam.pages != NULL ? nth_process.seam.pages : nth_pages_os();
    nth_process.locks = nth_process.seam.locks != NULL ? nth_process.seam.locks : nth_locks_os();
    if (nth_process.locks->create(nth_process.locks->self, &nth_process.lock) != NTH_SEAM_OK) {
        return NTH_NO_MEMORY;
    }
    nth_process.low = nth_process.pages->low;
    nth_process.span_bytes = nth_process.pages->span_bytes;
    draw_keys();
    nth_add(&nth_process.generation, 1u);
    return NTH_OK;
}

enum nth_status nth_process_start(void)
{
    static NTH_ATOMIC(uint32_t) wired;
    uint32_t state = PROCESS_NEW;
    if (NTH_LIKELY(nth_load_acquire(&nth_process.ready) == PROCESS_READY)) {
        return NTH_OK;
    }
    while (!nth_cas(&nth_process.ready, &state, (uint32_t)PROCESS_STARTING)) {
        if (state == PROCESS_READY) {
            return NTH_OK;
        }
        (void)sched_yield();
        state = PROCESS_NEW;
    }
    if (nth_exchange(&wired, 1u) == 0) {
        nth_threads_start();
    }
    const enum nth_status status = start_tables();
    nth_store_release(&nth_process.ready, status == NTH_OK ? PROCESS_READY : PROCESS_NEW);
    return status;
}

void nth_process_lock(void)
{
    if (nth_process.lock != NULL) {
        nth_process.locks->acquire(nth_process.locks->self, nth_process.lock);
        nth_self.holds_process = true;
    }
}

void nth_process_unlock(void)
{
    if (nth_process.lock != NULL) {
        nth_self.holds_process = false;
        nth_process.locks->release(nth_process.locks->self, nth_process.lock);
    }
}

static struct nth_slot *slot_by_number(uint32_t number)
{
    if (number < SLOTS_FIRST_COUNT) {
        return &slots_first[number];
    }
    number -= SLOTS_FIRST_COUNT;
    return &slots_more[number / SLOTS_CHUNK_COUNT][number % SLOTS_CHUNK_COUNT];
}

static uint32_t slot_capacity(void)
{
    return SLOTS_FIRST_COUNT + slots_more_count * (uint32_t)SLOTS_CHUNK_COUNT;
}

const void *nth_slot_table(uint32_t idx, size_t *bytes)
{
    const size_t capacity = SLOTS_FIRST_COUNT + (idx + 1u) * SLOTS_CHUNK_COUNT;
    *bytes = nth_round_up(SLOTS_CHUNK_BYTES, NTH_PAGE_BYTES) +
             nth_round_up(capacity * sizeof(uint32_t), NTH_PAGE_BYTES);
    return idx < slots_more_count ? slots_more[idx] : NULL;
}

struct nth_slot *nth_slot_numbered(uint32_t number)
{
    return number < slot_capacity() ? slot_by_number(number) : NULL;
}

/* The order list grows in step with the slots, in one reservation: slots first, order behind. */
static enum nth_status slots_extend(void)
{
    const uint32_t capacity = slot_capacity() + (uint32_t)SLOTS_CHUNK_COUNT;
    const size_t slot_bytes = nth_round_up(SLOTS_CHUNK_BYTES, NTH_PAGE_BYTES);
    const size_t order_bytes = nth_round_up(capacity * sizeof(uint32_t), NTH_PAGE_BYTES);
    void *place = NULL;
    if (slots_more_count == SLOTS_CHUNK_MAX ||
        nth_reserve(NTH_SITE(RESERVE, "heaps.table"), slot_bytes + order_bytes, &place) != NTH_OK) {
        return NTH_NO_MEMORY;
    }
    if (nth_commit(NTH_SITE(COMMIT, "heaps.table"), place, slot_bytes + order_bytes, false) !=
        NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "heaps.table.undo"), place, slot_bytes + order_bytes, 0);
        return NTH_NO_MEMORY;
    }
    memset(place, 0, slot_bytes + order_bytes);
    slots_more[slots_more_count++] = place;
    nth_settle(place);
    uint32_t *longer = (uint32_t *)((char *)place + slot_bytes);
    memcpy(longer, order, order_capacity * sizeof(uint32_t));
    order = longer;
    order_capacity = capacity;
    return NTH_OK;
}

static struct nth_slot *slot_free(void)
{
    for (uint32_t number = 0; number < slot_capacity(); number++) {
        struct nth_slot *slot = slot_by_number(number);
        if (!slot->taken) {
            slot->taken = true;
            slot->idx = number;
            return slot;
        }
    }
    return NULL;
}

struct nth_slot *nth_slot_take(void)
{
    struct nth_slot *slot = slot_free();
    return slot == NULL && slots_extend() == NTH_OK ? slot_free() : slot;
}

/* A thread that still has the heap in mind may look at the gate: word by word, then. */
void nth_slot_give(struct nth_slot *slot)
{
    slot->heap = NULL;
    slot->first = NULL;
    slot->flags = 0;
    slot->serial = 0;
    slot->state_seal = 0;
    slot->lock = NULL;
    slot->caller_lock = NULL;
    slot->depth = 0;
    slot->damaged = false;
    nth_store_release(&slot->owner, NULL);
    nth_store_release(&slot->closed, 0u);
    slot->taken = false;
}

void nth_slot_append(struct nth_slot *slot)
{
    NTH_ASSERT(nth_process.heap_count < order_capacity);
    order[nth_process.heap_count++] = slot->idx;
}

void nth_slot_append_first(struct nth_slot *slot)
{
    nth_slot_append(slot);
    memmove(order + 1, order, (nth_process.heap_count - 1) * sizeof(*order));
    order[0] = slot->idx;
}

struct nth_slot *nth_slot_after(uint64_t serial)
{
    struct nth_slot *found = NULL;
    for (uint32_t idx = 0; idx < nth_process.heap_count; idx++) {
        struct nth_slot *slot = slot_by_number(order[idx]);
        if (slot->serial > serial && (found == NULL || slot->serial < found->serial)) {
            found = slot;
        }
    }
    return found;
}

void nth_slot_remove(struct nth_slot *slot)
{
    uint32_t kept = 0;
    for (uint32_t idx = 0; idx < nth_process.heap_count; idx++) {
        if (order[idx] != slot->idx) {
            order[kept++] = order[idx];
        }
    }
    NTH_ASSERT(kept + 1 == nth_process.heap_count);
    nth_process.heap_count = kept;
    nth_store_relaxed(&nth_process.quarantine[nth_process.quarantine_next],
                      nth_load_relaxed(&slot->handle));
    nth_process.quarantine_next = (nth_process.quarantine_next + 1) % NTH_QUARANTINE_COUNT;
    nth_add(&nth_process.generation, 1u);
    nth_store_seq(&slot->handle, NULL);
}

struct nth_slot *nth_slot_unfinished(void)
{
    for (uint32_t number = 0; number < slot_capacity(); number++) {
        struct nth_slot *slot = slot_by_number(number);
        if (slot->taken && nth_load_relaxed(&slot->handle) == NULL) {
            return slot;
        }
    }
    return NULL;
}

struct nth_slot *nth_slot_at(uint32_t position)
{
    return position < nth_process.heap_count ? slot_by_number(order[position]) : NULL;
}

bool nth_quarantined(HANDLE base)
{
    for (uint32_t idx = 0; idx < NTH_QUARANTINE_COUNT; idx++) {
        if (base != NULL && nth_load_relaxed(&nth_process.quarantine[idx]) == base) {
            return true;
        }
    }
    return false;
}

static void slots_reset(void)
{
    const size_t slot_bytes = nth_round_up(SLOTS_CHUNK_BYTES, NTH_PAGE_BYTES);
    while (slots_more_count > 0) {
        slots_more_count--;
        const uint32_t capacity = slot_capacity() + (uint32_t)SLOTS_CHUNK_COUNT;
        const size_t bytes = slot_bytes + nth_round_up(capacity * sizeof(uint32_t), NTH_PAGE_BYTES);
        nth_release(NTH_SITE(RELEASE, "heaps.table"), slots_more[slots_more_count], bytes, bytes);
        slots_more[slots_more_count] = NULL;
    }
    order = order_first;
    order_capacity = SLOTS_FIRST_COUNT;
    memset(slots_first, 0, sizeof(slots_first));
    memset(order_first, 0, sizeof(order_first));
}

/* `last`: what a page source refuses to take back once more is forgotten, not kept for the next. */
static void reset_to(const struct nth_seam *seam, bool last)
{
    const struct nth_seam kept = *seam;
    if (nth_load_acquire(&nth_process.ready) == PROCESS_READY) {
        while (nth_process.heap_count > 0) {
            struct nth_slot *slot = nth_slot_at(nth_process.heap_count - 1);
            nth_slot_remove(slot);
            nth_heap_discard(slot);
        }
        for (struct nth_slot *slot = nth_slot_unfinished(); slot != NULL;
             slot = nth_slot_unfinished()) {
            nth_heap_discard(slot);
        }
        nth_verifier_reset();
        slots_reset();
        nth_map_reset();
        nth_process.locks->destroy(nth_process.locks->self, nth_process.lock);
    }
    nth_release_loose(last);
    nth_threads_forget();
    nth_seh_reset();
    memset(nth_self.hot, 0, sizeof(nth_self.hot));
    nth_self.last_error = NO_ERROR;
    nth_self.holds_process = false;
    nth_self.call = NULL;
    nth_store_release(&nth_self.inside, NULL);
    const struct nth_balance held = nth_balance_now(); /* what a page source would not take back */
    memset(&nth_process, 0, sizeof(nth_process));
    nth_process.seam = kept;
    nth_store_relaxed(&nth_process.reserved_bytes, held.reserved_bytes);
    nth_store_relaxed(&nth_process.committed_bytes, held.committed_bytes);
    nth_store_relaxed(&nth_process.reservation_count, held.reservation_count);
}

void nth_seam_set(const struct nth_seam *seam)
{
    static const struct nth_seam defaults;
    reset_to(seam != NULL ? seam : &defaults, true);
}

void nth_process_reset(void)
{
    reset_to(&nth_process.seam, false);
}
