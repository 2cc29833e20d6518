/* SPDX-License-Identifier: MIT
 *
 * See ledger.h. */
#include "ledger.h"

#include <string.h>

struct ledger ledger;

static BOOLEAN refused(const struct nth_site *site, enum nth_page_call call)
{
    BOOLEAN listed = FALSE;
    for (size_t idx = 0; idx < nth_site_count(); idx++) {
        listed = listed || nth_site_at(idx) == site;
    }
    ledger.foreign_site = ledger.foreign_site || !listed || site->call != call;
    ledger.calls++;
    const BOOLEAN refuse =
        ledger.fail_at != 0 &&
        (ledger.for_good ? ledger.calls >= ledger.fail_at : ledger.calls == ledger.fail_at);
    ledger.refusals += refuse;
    ledger.kinds[call] += refuse;
    return refuse;
}

static size_t page_of(const void *place)
{
    return ((uintptr_t)place - ledger.pages.low) / NTH_PAGE_BYTES;
}

static size_t *reservation_of(const void *base)
{
    return &ledger.reserved[((uintptr_t)base - ledger.pages.low) / NTH_GRANULE_BYTES];
}

static enum nth_seam_status reserve(void *self, const struct nth_site *site, size_t bytes,
                                    void **base)
{
    (void)self;
    if (refused(site, NTH_PAGE_RESERVE) ||
        ledger.real->reserve(ledger.real->self, site, bytes, base) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    *reservation_of(*base) = bytes;
    return NTH_SEAM_OK;
}

static enum nth_seam_status commit(void *self, const struct nth_site *site, void *base,
                                   size_t bytes, BOOLEAN executable)
{
    (void)self;
    if (refused(site, NTH_PAGE_COMMIT) ||
        ledger.real->commit(ledger.real->self, site, base, bytes, executable) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    memset(ledger.committed + page_of(base), 1, bytes / NTH_PAGE_BYTES);
    return NTH_SEAM_OK;
}

static enum nth_seam_status decommit(void *self, const struct nth_site *site, void *base,
                                     size_t bytes)
{
    (void)self;
    if (refused(site, NTH_PAGE_DECOMMIT) ||
        ledger.real->decommit(ledger.real->self, site, base, bytes) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    memset(ledger.committed + page_of(base), 0, bytes / NTH_PAGE_BYTES);
    return NTH_SEAM_OK;
}

static enum nth_seam_status release(void *self, const struct nth_site *site, void *base,
                                    size_t bytes)
{
    (void)self;
    if (refused(site, NTH_PAGE_RELEASE) ||
        ledger.real->release(ledger.real->self, site, base, bytes) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    assert_int_equal(*reservation_of(base), bytes);
    *reservation_of(base) = 0;
    memset(ledger.committed + page_of(base), 0, bytes / NTH_PAGE_BYTES);
    return NTH_SEAM_OK;
}

static enum nth_seam_status protect(void *self, const struct nth_site *site, void *base,
                                    size_t bytes, BOOLEAN writable)
{
    (void)self;
    return refused(site, NTH_PAGE_PROTECT)
               ? NTH_SEAM_REFUSED
               : ledger.real->protect(ledger.real->self, site, base, bytes, writable);
}

/* Byte by byte, past sanitizers: the arena itself cannot move pages. */
static enum nth_seam_status remap(void *self, const struct nth_site *site, void *from, size_t bytes,
                                  void *to)
{
    (void)self;
    if (refused(site, NTH_PAGE_REMAP) ||
        ledger.real->commit(ledger.real->self, site, to, bytes, FALSE) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    for (size_t idx = 0; idx < bytes; idx++) {
        nth_poke((uint8_t *)to + idx, nth_peek((const uint8_t *)from + idx));
    }
    memset(ledger.committed + page_of(to), 1, bytes / NTH_PAGE_BYTES);
    memset(ledger.committed + page_of(from), 0, bytes / NTH_PAGE_BYTES);
    return ledger.real->decommit(ledger.real->self, site, from, bytes);
}

void ledger_make(void)
{
    ledger.arena = nth_arena_create(LEDGER_SPAN_BYTES, LEDGER_COMMIT_BYTES);
    assert_non_null(ledger.arena);
    ledger.real = nth_arena_pages(ledger.arena);
    ledger.pages = *ledger.real;
    ledger.pages.self = &ledger;
    ledger.pages.reserve = reserve;
    ledger.pages.commit = commit;
    ledger.pages.decommit = decommit;
    ledger.pages.release = release;
    ledger.pages.protect = protect;
    ledger.pages.remap = remap;
}

void ledger_reset(void)
{
    nth_arena_reset(ledger.arena);
    memset(ledger.committed, 0, sizeof(ledger.committed));
    memset(ledger.reserved, 0, sizeof(ledger.reserved));
    memset(ledger.kinds, 0, sizeof(ledger.kinds));
    ledger.calls = 0;
    ledger.fail_at = 0;
    ledger.for_good = FALSE;
    ledger.refusals = 0;
}

/* Core's accounts against the source's own. */
void ledger_demand_accounts(void)
{
    const struct nth_balance balance = nth_balance_now();
    size_t reserved = 0;
    size_t count = 0;
    size_t committed = 0;
    for (size_t idx = 0; idx < LEDGER_GRANULE_COUNT; idx++) {
        reserved += ledger.reserved[idx];
        count += ledger.reserved[idx] != 0;
    }
    for (size_t idx = 0; idx < LEDGER_PAGE_COUNT; idx++) {
        committed += ledger.committed[idx];
    }
    assert_int_equal(balance.reserved_bytes, reserved);
    assert_int_equal(balance.reservation_count, count);
    assert_int_equal(balance.committed_bytes, committed * NTH_PAGE_BYTES);
}
