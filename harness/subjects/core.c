/* SPDX-License-Identifier: MIT
 *
 * Subject core: ntheap on its arena, with a page source of the rig's between the two that counts
 * refusals and keeps a budget. */
#ifndef _WIN32
#include <heaprig/subject.h>

#include <ntheap/heap.h>
#include <ntheap/seam.h>
#include <ntheap/seh.h>

#include "../run/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define SPAN_BYTES ((size_t)256 << 20)
#define COMMIT_MAX_BYTES ((size_t)32 << 20)

static struct {
    struct nth_arena *arena;
    const struct nth_pages *real;
    struct nth_pages pages;
    size_t budget_pages; /* SIZE_MAX: none */
    uint64_t refusals;
    uint64_t reports;
    struct rig_report report;
    bool used; /* since the last reset */
    struct nth_locks locks;
    void (*wait)(void);
} core;

/* ---- Page source ---- */

static enum nth_seam_status refuse(void)
{
    core.refusals++;
    return NTH_SEAM_REFUSED;
}

static enum nth_seam_status told(enum nth_seam_status status)
{
    return status == NTH_SEAM_OK ? NTH_SEAM_OK : refuse();
}

static enum nth_seam_status core_page_reserve(void *self, const struct nth_site *site, size_t bytes,
                                              void **base)
{
    (void)self;
    core.used = true;
    return told(core.real->reserve(core.real->self, site, bytes, base));
}

static enum nth_seam_status core_page_commit(void *self, const struct nth_site *site, void *base,
                                             size_t bytes, BOOLEAN executable)
{
    (void)self;
    const size_t pages = bytes / NTH_PAGE_BYTES;
    if (core.budget_pages != SIZE_MAX) {
        if (pages > core.budget_pages) {
            return refuse();
        }
        core.budget_pages -= pages;
    }
    return told(core.real->commit(core.real->self, site, base, bytes, executable));
}

static enum nth_seam_status core_page_decommit(void *self, const struct nth_site *site, void *base,
                                               size_t bytes)
{
    (void)self;
    return told(core.real->decommit(core.real->self, site, base, bytes));
}

static enum nth_seam_status core_page_release(void *self, const struct nth_site *site, void *base,
                                              size_t bytes)
{
    (void)self;
    return told(core.real->release(core.real->self, site, base, bytes));
}

static enum nth_seam_status core_page_protect(void *self, const struct nth_site *site, void *base,
                                              size_t bytes, BOOLEAN writable)
{
    (void)self;
    return told(core.real->protect(core.real->self, site, base, bytes, writable));
}

/* ---- Locks ---- */

/* A thread that is about to wait says so. */
static void core_lock_acquire(void *self, void *lock)
{
    if (core.wait != NULL && !nth_locks_os()->try_acquire(self, lock)) {
        core.wait();
        nth_locks_os()->acquire(self, lock);
    } else if (core.wait == NULL) {
        nth_locks_os()->acquire(self, lock);
    }
}

static void core_tell_waits(void (*wait)(void))
{
    core.wait = wait;
}

/* ---- Hooks ---- */

static void core_report(void *context, const struct nth_report *report)
{
    (void)context;
    core.reports++;
    core.report = (struct rig_report){
        .reason = nth_reason_name(report->reason),
        .heap = report->heap,
        .block = report->block,
        .call = report->call,
    };
}

static void core_terminate(void *context, NTSTATUS status)
{
    (void)context;
    (void)fprintf(stderr, "the subject ended the process: 0x%08X after %s in %s\n",
                  (unsigned)status, core.reports == 0 ? "no report" : core.report.reason,
                  core.reports == 0 ? "no call" : core.report.call);
    abort();
}

/* ---- Services ---- */

static void core_reset(uint32_t seed)
{
    if (core.arena == NULL) {
        core.arena = nth_arena_create_resident(SPAN_BYTES, COMMIT_MAX_BYTES);
        RIG_CHECK(core.arena != NULL);
        core.real = nth_arena_pages(core.arena);
        core.pages = *core.real;
        core.pages.reserve = core_page_reserve;
        core.pages.commit = core_page_commit;
        core.pages.decommit = core_page_decommit;
        core.pages.release = core_page_release;
        core.pages.protect = core_page_protect;
        core.locks = *nth_locks_os();
        core.locks.acquire = core_lock_acquire;
    }
    static struct nth_seam seam; /* static: core keeps a copy, padding included */
    seam.pages = &core.pages;
    seam.locks = &core.locks;
    seam.report = core_report;
    seam.terminate = core_terminate;
    seam.seeded = TRUE;
    seam.seed = seed;
    core.budget_pages = SIZE_MAX;
    nth_seam_set(&seam);
    const struct nth_balance balance = nth_balance_now();
    RIG_CHECK(balance.reservation_count == 0);
    if (core.used) {
        nth_arena_reset(core.arena);
    }
    core.used = false;
    core.refusals = 0;
    core.reports = 0;
    SetLastError(0);
}

struct filtered {
    void (*body)(void *context);
    void *context;
    rig_filter filter;
    void *filter_context;
    EXCEPTION_RECORD *record;
    volatile BOOLEAN returned;
};

static void filtered_run(void *context)
{
    struct filtered *filtered = context;
    NT_TRY
    {
        filtered->body(filtered->context);
        filtered->returned = TRUE;
    }
    NT_EXCEPT(filtered->filter, filtered->filter_context)
    {
        *filtered->record = *NT_EXCEPTION_RECORD();
    }
    NT_END_TRY
}

/* Guarded outside as well: what a filter's wrong answer raises goes to the block outside its own.
 */
static BOOLEAN core_guard_filter(void (*body)(void *context), void *context, rig_filter filter,
                                 void *filter_context, EXCEPTION_RECORD *record)
{
    struct filtered filtered = {body, context, filter, filter_context, record, FALSE};
    return nth_guard(filtered_run, &filtered, record) && filtered.returned;
}

static uint64_t core_refusals(void)
{
    return core.refusals;
}

static void core_budget(size_t pages)
{
    core.budget_pages = pages;
}

static struct rig_holdings core_holdings(void)
{
    const struct nth_balance balance = nth_balance_now();
    return (struct rig_holdings){
        .reserved_bytes = balance.reserved_bytes,
        .committed_bytes = balance.committed_bytes,
        .reservation_count = balance.reservation_count,
    };
}

static uint64_t core_reports(struct rig_report *last)
{
    *last = core.report;
    return core.reports;
}

static uintptr_t core_offset(const void *address)
{
    return (uintptr_t)address - core.real->low;
}

const struct rig_subject *rig_subject_core(void)
{
    static const struct rig_subject subject = {
        .name = "core",
        .claims = RIG_CLAIM_BASIC | RIG_CLAIM_DOCUMENTED | RIG_CLAIM_RULINGS,
        .guard = nth_guard,
        .guard_filter = core_guard_filter,
        .reset = core_reset,
        .refusals = core_refusals,
        .budget = core_budget,
        .holdings = core_holdings,
        .reports = core_reports,
        .tell_waits = core_tell_waits,
        .offset = core_offset,
#define RIG_CALL(result, name, arguments) .name = name,
#include <heaprig/calls.def>
    };
    return &subject;
}
#endif
