/* SPDX-License-Identifier: MIT
 *
 * Every call of core to the page source, with its call site. A site is declared by the macro at
 * the place of the call, so none can be missing from the list. */
#ifndef NTH_PAGE_H
#define NTH_PAGE_H

#include <ntheap/seam.h>

#include "base.h"

/* `nth_reserve(NTH_SITE(RESERVE, "segment.grow"), ...)`: declares the site, yields its address. */
#define NTH_SITE(call_kind, site_name)                                                             \
    (__extension__({                                                                               \
        static const struct nth_site site_here                                                     \
            __attribute__((used, aligned(sizeof(void *)), section("nth_sites"))) = {               \
                site_name, __FILE__, __LINE__, NTH_PAGE_##call_kind};                              \
        &site_here;                                                                                \
    }))

enum nth_status nth_reserve(const struct nth_site *site, size_t bytes, void **base) NTH_MUST_USE;
enum nth_status nth_commit(const struct nth_site *site, void *base, size_t bytes,
                           bool executable) NTH_MUST_USE;
enum nth_status nth_decommit(const struct nth_site *site, void *base, size_t bytes) NTH_MUST_USE;
enum nth_status nth_remap(const struct nth_site *site, void *from, size_t bytes,
                          void *to) NTH_MUST_USE;

/* A new reservation is loose until something that outlives the call refers to it. Should the call
 * be left by a fault before that, it is given back later. */
void nth_settle(const void *base);

/* Give a reservation back, of which `committed_bytes` are committed. What a page source refuses, or
 * a fault keeps from it, is loose: tried again later, and in the balance until then. */
void nth_release(const struct nth_site *site, void *base, size_t bytes, size_t committed_bytes);

/* This thread leaves calls by a fault: what it has loose is nobody's now. */
void nth_loose_abandon(void);

/* Try once more to give back what is nobody's; the last time, forget what is refused again. */
void nth_release_loose(bool last);

bool nth_remap_offered(void);
bool nth_pages_zeroed(void);

#endif
