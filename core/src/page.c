/* SPDX-License-Identifier: MIT
 *
 * The one door to the page source: counts the balance and checks what comes back. Calls the seam
 * only. */
#include "page.h"

#include "process.h"
#include "sanitize.h"

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

/* A page source that hands out an address it could not have is refused, not believed. */
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
    if (!reservation_fits(pages, (uintptr_t)place, bytes)) {
        return NTH_NO_MEMORY;
    }
    nth_add(&nth_process.reserved_bytes, bytes);
    nth_add(&nth_process.reservation_count, (size_t)1);
    *base = place;
    return NTH_OK;
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

enum nth_status nth_protect(const struct nth_site *site, void *base, size_t bytes, bool writable)
{
    const struct nth_pages *pages = nth_process.pages;
    return pages->protect(pages->self, site, base, bytes, writable) == NTH_SEAM_OK ? NTH_OK
                                                                                   : NTH_NO_MEMORY;
}

enum nth_status nth_remap(const struct nth_site *site, void *from, size_t bytes, void *to)
{
    const struct nth_pages *pages = nth_process.pages;
    NTH_ASSERT(pages->remap != NULL);
    return pages->remap(pages->self, site, from, bytes, to) == NTH_SEAM_OK ? NTH_OK
                                                                           : NTH_NO_MEMORY;
}

void nth_release(const struct nth_site *site, void *base, size_t bytes, size_t committed_bytes)
{
    const struct nth_pages *pages = nth_process.pages;
    if (pages->release(pages->self, site, base, bytes) == NTH_SEAM_OK) {
        nth_sub(&nth_process.reserved_bytes, bytes);
        nth_sub(&nth_process.committed_bytes, committed_bytes);
        nth_sub(&nth_process.reservation_count, (size_t)1);
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
