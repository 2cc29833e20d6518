/* SPDX-License-Identifier: MIT
 *
 * The one door to the page source: counts the balance and checks what comes back. Calls the seam
 * only. */
#include "page.h"

#include "map.h"
#include "process.h"
#include "sanitize.h"

/* Reservations that no heap or table refers to: being made, or refused when they were given back.
 * When the table is full they are not remembered; the balance tells of them all the same. */
#define LOOSE_COUNT 64u

static struct loose {
    NTH_ATOMIC(struct nth_thread *)
    owner;                      /* in whose call; NULL: nobody's. Whoever signs owns it. */
    NTH_ATOMIC(uintptr_t) base; /* 0: the entry is free */
    size_t bytes;
    size_t committed_bytes;
} loose[LOOSE_COUNT];

static bool loose_is_mine(const struct loose *entry)
{
    return nth_load_relaxed(&entry->owner) == &nth_self && nth_load_relaxed(&entry->base) != 0;
}

static bool loose_sign(struct loose *entry)
{
    struct nth_thread *nobody = NULL;
    return nth_cas(&entry->owner, &nobody, &nth_self);
}

static struct loose *loose_put(const void *base, size_t bytes, size_t committed_bytes)
{
    for (unsigned idx = 0; idx < LOOSE_COUNT; idx++) {
        struct loose *entry = &loose[idx];
        if (!loose_sign(entry)) {
            continue;
        }
        if (nth_load_relaxed(&entry->base) == 0) {
            entry->bytes = bytes;
            entry->committed_bytes = committed_bytes;
            nth_store_relaxed(&entry->base, (uintptr_t)base);
            nth_self.loose_count++;
            return entry;
        }
        nth_store_release(&entry->owner, NULL);
    }
    return NULL;
}

/* Nobody's from now on, or free. */
static void loose_leave(struct loose *entry, bool done)
{
    if (done) {
        nth_store_relaxed(&entry->base, 0u);
    }
    nth_store_release(&entry->owner, NULL);
    nth_self.loose_count--;
}

/* This thread's entry that covers `base`, or NULL. */
static struct loose *loose_around(const void *base)
{
    for (unsigned idx = 0; nth_self.loose_count > 0 && idx < LOOSE_COUNT; idx++) {
        const uintptr_t first = nth_load_relaxed(&loose[idx].base);
        if (loose_is_mine(&loose[idx]) && (uintptr_t)base - first < loose[idx].bytes) {
            return &loose[idx];
        }
    }
    return NULL;
}

extern const struct nth_site __start_nth_sites[];
extern const struct nth_site __stop_nth_sites[];

size_t nth_site_count(void)
{
    return (size_t)(__stop_nth_sites - __start_nth_sites);
}

const struct nth_site *nth_site_at(size_t idx)
{
    return idx < nth_site_count() ? &__start_nth_sites[idx] : NULL;
}

struct nth_balance nth_balance_now(void)
{
    return (struct nth_balance){
        .reserved_bytes = nth_load_relaxed(&nth_process.reserved_bytes),
        .committed_bytes = nth_load_relaxed(&nth_process.committed_bytes),
        .reservation_count = nth_load_relaxed(&nth_process.reservation_count),
    };
}

/* A page source that hands out an address it could not have is refused, not believed; so is one that
 * hands out what a heap has already. */
static bool reservation_fits(const struct nth_pages *pages, uintptr_t base, size_t bytes)
{
    const uint64_t offset = (uint64_t)base - pages->low;
    return base >= pages->low && base % NTH_GRANULE_BYTES == 0 && offset <= pages->span_bytes &&
           bytes <= pages->span_bytes - offset;
}

enum nth_status nth_reserve(const struct nth_site *site, size_t bytes, void **base)
{
    const struct nth_pages *pages = nth_process.pages;
    void *place = NULL;
    NTH_ASSERT(bytes % NTH_PAGE_BYTES == 0);
    if (pages->reserve(pages->self, site, bytes, &place) != NTH_SEAM_OK) {
        return NTH_NO_MEMORY;
    }
    if (!reservation_fits(pages, (uintptr_t)place, bytes) || !nth_map_free(place, bytes)) {
        return NTH_NO_MEMORY;
    }
    nth_add(&nth_process.reserved_bytes, bytes);
    nth_add(&nth_process.reservation_count, (size_t)1);
    (void)loose_put(place, bytes, 0);
    *base = place;
    return NTH_OK;
}

void nth_settle(const void *base)
{
    struct loose *entry = loose_around(base);
    if (entry != NULL) {
        loose_leave(entry, true);
    }
}

enum nth_status nth_commit(const struct nth_site *site, void *base, size_t bytes, bool executable)
{
    const struct nth_pages *pages = nth_process.pages;
    NTH_ASSERT(bytes % NTH_PAGE_BYTES == 0);
    NTH_ASSERT((uintptr_t)base % NTH_PAGE_BYTES == 0);
    if (pages->commit(pages->self, site, base, bytes, executable) != NTH_SEAM_OK) {
        return NTH_NO_MEMORY;
    }
    nth_add(&nth_process.committed_bytes, bytes);
    struct loose *entry = loose_around(base);
    if (entry != NULL) {
        entry->committed_bytes += bytes;
    }
    return NTH_OK;
}

enum nth_status nth_decommit(const struct nth_site *site, void *base, size_t bytes)
{
    const struct nth_pages *pages = nth_process.pages;
    if (pages->decommit(pages->self, site, base, bytes) != NTH_SEAM_OK) {
        return NTH_NO_MEMORY;
    }
    nth_sub(&nth_process.committed_bytes, bytes);
    return NTH_OK;
}

enum nth_status nth_remap(const struct nth_site *site, void *from, size_t bytes, void *to)
{
    const struct nth_pages *pages = nth_process.pages;
    NTH_ASSERT(pages->remap != NULL);
    return pages->remap(pages->self, site, from, bytes, to) == NTH_SEAM_OK ? NTH_OK : NTH_NO_MEMORY;
}

/* After a reset the tables are not there yet, and something may still have to be given back. */
static const struct nth_pages *pages_now(void)
{
    const struct nth_pages *chosen = nth_process.seam.pages;
    if (nth_process.pages != NULL) {
        return nth_process.pages;
    }
    return chosen != NULL ? chosen : nth_pages_os();
}

static bool released(const struct nth_site *site, void *base, size_t bytes, size_t committed_bytes)
{
    const struct nth_pages *pages = pages_now();
    if (pages->release(pages->self, site, base, bytes) != NTH_SEAM_OK) {
        return false;
    }
    nth_sub(&nth_process.reserved_bytes, bytes);
    nth_sub(&nth_process.committed_bytes, committed_bytes);
    nth_sub(&nth_process.reservation_count, (size_t)1);
    return true;
}

void nth_release(const struct nth_site *site, void *base, size_t bytes, size_t committed_bytes)
{
    struct loose *entry = loose_around(base);
    entry = entry != NULL ? entry : loose_put(base, bytes, committed_bytes);
    const bool done = released(site, base, bytes, committed_bytes);
    if (entry != NULL) {
        loose_leave(entry, done);
    }
}

void nth_loose_abandon(void)
{
    for (unsigned idx = 0; nth_self.loose_count > 0 && idx < LOOSE_COUNT; idx++) {
        if (loose_is_mine(&loose[idx])) {
            loose_leave(&loose[idx], false);
        }
    }
}

void nth_release_loose(bool last)
{
    for (unsigned idx = 0; idx < LOOSE_COUNT; idx++) {
        struct loose *entry = &loose[idx];
        if (!loose_sign(entry)) {
            continue;
        }
        void *base = (void *)nth_load_relaxed(&entry->base);
        nth_self.loose_count++;
        loose_leave(entry, base == NULL ||
                               released(NTH_SITE(RELEASE, "loose"), base, entry->bytes,
                                        entry->committed_bytes) ||
                               last);
    }
}

bool nth_remap_offered(void)
{
    return nth_process.pages->remap != NULL && !NTH_SHADOW_ONLY_IN_PLACE;
}

bool nth_pages_zeroed(void)
{
    return nth_process.pages->zeroed != 0;
}
