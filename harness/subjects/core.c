/* SPDX-License-Identifier: MIT
 *
 * Subject core: ntheap on its arena, with the page source and the lock table of faults/pages.c
 * between the two, which refuse and lie by plans. */
#ifndef _WIN32
#include <heaprig/subject.h>

#include <ntheap/heap.h>
#include <ntheap/seam.h>
#include <ntheap/seh.h>
#include <ntheap/verifier.h>

#include "../run/check.h"

#include "faults/pages.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPAN_BYTES ((size_t)256 << 20)
#define COMMIT_MAX_BYTES ((size_t)32 << 20)
#define STOPS_MAX 1024u    /* the newest; one step is looked at at a time */
#define REMEMBERED_MAX 64u /* returns that were refused, of which core keeps a list (D84) */

static struct {
    struct nth_arena *arena;
    const struct nth_pages *real;
    struct nth_pages pages;
    uint64_t reports;
    struct rig_report report;
    struct nth_report reported; /* the same as core has it */
    bool open;    /* its pages stay accessible */
    bool planned; /* a plan is laid over the run: the reset at its end is part of it */
    struct nth_locks locks;
    void (*wait)(void);
    DWORD interrupt; /* raised by the next call for pages, 0: nothing */
    NTSTATUS ended;  /* the end of the process was asked for since the last reset */
    uint64_t committed[SPAN_BYTES / NTH_PAGE_BYTES / 64]; /* a bit a page, since the last reset */
    bool poked; /* since the last reset: core may not know some extent any more */
    bool verifying;
    bool walled;       /* what is not committed cannot be accessed: by the machine, too */
    uint64_t clock_ms; /* of the verifier */
    size_t stop_count; /* since it was switched on */
    struct rig_stop stops[STOPS_MAX];
    struct nth_stop stopped[STOPS_MAX]; /* the same as core has them */
    int log;                            /* of the verifier, a file in memory; 0: none */
    struct nth_balance lost; /* by runs before this one, or where memory was damaged or lied about */
    struct nth_balance left; /* by the last reset */
} core;

static _Thread_local unsigned guarded; /* guards that this thread is in */

/* ---- Page source ---- */

/* Whether pages are committed from here on. */
static void core_note_pages(const void *base, size_t bytes, bool committed)
{
    const size_t first = ((uintptr_t)base - core.real->low) / NTH_PAGE_BYTES;
    const size_t end = first + bytes / NTH_PAGE_BYTES;
    for (size_t page = first; page < end;) { /* a word of the map at a time */
        const size_t rest = 64 - page % 64;
        const size_t count = end - page < rest ? end - page : rest;
        const uint64_t bits = (~0ull >> (64 - count)) << page % 64;
        uint64_t *word = &core.committed[page / 64];
        *word = committed ? *word | bits : *word & ~bits;
        page += count;
    }
}

/* Every run of committed pages, lowest first. */
static void core_committed(void (*visit)(void *context, PVOID base, size_t bytes), void *context)
{
    const size_t count = SPAN_BYTES / NTH_PAGE_BYTES;
    size_t first = count; /* of the run, or none */
    for (size_t page = 0; page <= count; page++) {
        if (page % 64 == 0 && page < count && core.committed[page / 64] == 0 && first == count) {
            page += 63;
            continue;
        }
        const bool is = page < count && (core.committed[page / 64] >> (page % 64) & 1u) != 0;
        if (is && first == count) {
            first = page;
        } else if (!is && first != count) {
            visit(context, (PVOID)(core.real->low + first * NTH_PAGE_BYTES),
                  (page - first) * NTH_PAGE_BYTES);
            first = count;
        }
    }
}

/* The arena leaves memory accessible where AddressSanitizer's poison stands for its being
 * uncommitted, and so does an open one everywhere. Full page heap is about accesses that no sanitizer sees, so that its programs have
 * walls. */
#if defined(__SANITIZE_ADDRESS__)
#define RESIDENT true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESIDENT true
#endif
#endif
#ifndef RESIDENT
#define RESIDENT false
#endif

static void core_wall(void *base, size_t bytes, bool open)
{
    if (core.walled) {
        RIG_CHECK(mprotect(base, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0);
    }
}

static enum nth_seam_status core_page_reserve(void *self, const struct nth_site *site, size_t bytes,
                                              void **base)
{
    const enum nth_seam_status status = core.real->reserve(self, site, bytes, base);
    if (status == NTH_SEAM_OK) {
        core_wall(*base, (bytes + NTH_GRANULE_BYTES - 1u) / NTH_GRANULE_BYTES * NTH_GRANULE_BYTES,
                  false);
    }
    return status;
}

static enum nth_seam_status core_page_commit(void *self, const struct nth_site *site, void *base,
                                             size_t bytes, BOOLEAN executable)
{
    const DWORD code = core.interrupt;
    core.interrupt = 0;
    if (code != 0) {
        RaiseException(code, 0, 0, NULL);
    }
    core_wall(base, bytes, true);
    const enum nth_seam_status status = core.real->commit(self, site, base, bytes, executable);
    if (status == NTH_SEAM_OK) {
        core_note_pages(base, bytes, true);
    }
    return status;
}

static enum nth_seam_status core_page_decommit(void *self, const struct nth_site *site, void *base,
                                               size_t bytes)
{
    const enum nth_seam_status status = core.real->decommit(self, site, base, bytes);
    if (status == NTH_SEAM_OK) {
        core_wall(base, bytes, false);
        core_note_pages(base, bytes, false);
    }
    return status;
}

static enum nth_seam_status core_page_release(void *self, const struct nth_site *site, void *base,
                                              size_t bytes)
{
    const enum nth_seam_status status = core.real->release(self, site, base, bytes);
    if (status == NTH_SEAM_OK) {
        core_note_pages(base, bytes, false);
    }
    return status;
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
        .field = report->field,
        .call = report->call,
    };
    core.reported = *report;
}

/* Asked for by a heap that found corruption, inside a guarded call: the call is left by the status
 * as an exception, and the rig ends its program. Anything else ends the process. */
static void core_terminate(void *context, NTSTATUS status)
{
    (void)context;
    const bool known =
        status == (NTSTATUS)STATUS_HEAP_CORRUPTION || status == (NTSTATUS)STATUS_VERIFIER_STOP;
    if (guarded > 0 && known) {
        core.ended = status;
        RaiseException((DWORD)status, EXCEPTION_NONCONTINUABLE, 0, NULL);
    }
    (void)fprintf(stderr, "the subject ended the process: 0x%08X after %s in %s\n",
                  (unsigned)status, core.reports == 0 ? "no report" : core.report.reason,
                  core.reports == 0 ? "no call" : core.report.call);
    abort();
}

/* ---- Services ---- */

/* A plan laid over the run goes on until everything has been given back once. */
static void reset_under_plan(void)
{
    if (core.planned) {
        fault_calling("reset");
        nth_process_reset();
    }
    core.planned = false;
}

/* What is still there of it. */
static struct nth_balance less(struct nth_balance left, struct nth_balance now)
{
#define LESS(field) (left.field < now.field ? left.field : now.field)
    return (struct nth_balance){.reserved_bytes = LESS(reserved_bytes),
                                .committed_bytes = LESS(committed_bytes),
                                .reservation_count = LESS(reservation_count)};
#undef LESS
}

static void core_reset(uint32_t seed)
{
    static const struct nth_pages *source;
    static const struct nth_locks *locks;
    if (core.arena == NULL) {
        core.arena = (core.open ? nth_arena_create_open
                                : nth_arena_create_resident)(SPAN_BYTES, COMMIT_MAX_BYTES);
        RIG_CHECK(core.arena != NULL);
        core.real = nth_arena_pages(core.arena);
        core.pages = *core.real;
        core.pages.reserve = core_page_reserve;
        core.pages.commit = core_page_commit;
        core.pages.decommit = core_page_decommit;
        core.pages.release = core_page_release;
        core.locks = *nth_locks_os();
        core.locks.acquire = core_lock_acquire;
        source = fault_pages_over(&core.pages);
        locks = fault_locks_over(&core.locks);
    }
    reset_under_plan();
    static struct nth_seam seam; /* static: core keeps a copy, padding included */
    seam.pages = source;
    seam.locks = locks;
    seam.report = core_report;
    seam.terminate = core_terminate;
    seam.seeded = TRUE;
    seam.seed = seed;
    fault_plans_end();
    nth_seam_set(&seam);
    const struct nth_balance balance = nth_balance_now();
    const struct fault_run *run = fault_run_now();
    const bool excused = core.poked || run->given > REMEMBERED_MAX || run->lies > 0;
    core.lost = excused ? balance : less(core.left, balance);
    core.left = balance;
    core.poked = false;
    if (run->calls != 0) {
        nth_arena_reset(core.arena);
        memset(core.committed, 0, sizeof(core.committed));
    }
    core_wall((void *)core.real->low, SPAN_BYTES, true);
    core.walled = false;
    fault_pages_reset();
    core.reports = 0;
    core.ended = 0;
    core.interrupt = 0;
    core.stop_count = 0;
    core.verifying = false;
    core.clock_ms = 0;
    SetLastError(0);
}

/* ---- The verifier ---- */

static void put_name(char name[16], const char *from)
{
    (void)snprintf(name, 16, "%.15s", from);
}

/* Module of a stack's innermost frame. */
static void put_innermost(char name[16], const struct nth_trace *trace)
{
    struct nth_module_info module;
    name[0] = '\0';
    if (trace != NULL && trace->count > 0 &&
        nth_verifier_module(trace->frames[0].module, &module)) {
        put_name(name, module.name);
    }
}

static void core_stop(void *context, const struct nth_stop *stop)
{
    (void)context;
    core.stopped[core.stop_count % STOPS_MAX] = *stop;
    struct rig_stop *kept = &core.stops[core.stop_count++ % STOPS_MAX];
    *kept = (struct rig_stop){
        .code = stop->code,
        .layer = stop->layer,
        .name = stop->name,
        .severity = stop->severity,
        .thread = stop->thread,
        .noticed = stop->trace != NULL,
        .allocated = stop->allocated != NULL,
        .freed = stop->freed != NULL,
        .stack_second = stop->allocated != NULL && stop->allocated->count > 0 &&
                        stop->parameter[1] == (ULONG_PTR)stop->allocated,
    };
    memcpy(kept->parameter, stop->parameter, sizeof(kept->parameter));
    put_innermost(kept->owner, stop->allocated);
    if (stop->code == NTH_STOP_ALLOCATION || stop->code == NTH_STOP_LOCK_IN_UNLOADED_DLL) {
        const USHORT *wide = (const USHORT *)stop->parameter[2]; /* NOLINT: a parameter */
        for (size_t at = 0; at < sizeof(kept->module) - 1 && wide[at] != 0; at++) {
            kept->module[at] = (char)wide[at];
        }
    }
}

static uint64_t core_now_ms(void *context)
{
    (void)context;
    return core.clock_ms;
}

static bool full(const struct nth_verifier_settings *settings)
{
    return settings->page_heap == NTH_PAGE_HEAP_FULL ||
           (settings->global_flags & FLG_HEAP_PAGE_ALLOCS) != 0;
}

/* Sums and lists that the end of the process would write go to memory: fuzzing services have no
 * /dev. Odd seeds have them as text. */
static void put_log(struct nth_verifier_settings *settings)
{
    if (core.log == 0) {
        core.log = memfd_create("verifier", MFD_CLOEXEC);
    }
    if (core.log > 0) {
        (void)snprintf(settings->log, sizeof(settings->log), "/proc/self/fd/%d", core.log);
    }
    settings->plain_log = settings->seed % 2u != 0;
}

static void core_verify_end(void)
{
    if (core.log > 0) {
        (void)!ftruncate(core.log, 0);
    }
    nth_verifier_exit();
}

static size_t core_end_text(char *text, size_t bytes)
{
    struct stat status;
    const ssize_t len = core.log > 0 && bytes > 0 ? pread(core.log, text, bytes - 1, 0) : 0;
    if (len <= 0 || fstat(core.log, &status) != 0) {
        return 0;
    }
    text[len] = '\0';
    return (size_t)status.st_size;
}

static BOOLEAN core_verify(const char *text)
{
    struct nth_verifier_settings settings;
    if (nth_verifier_parse(text, &settings, NULL, 0) != STATUS_SUCCESS) {
        return FALSE;
    }
    core.walled = core.walled || ((RESIDENT || core.open) && full(&settings));
    settings.stop = core_stop;
    settings.now_ms = core_now_ms;
    put_log(&settings);
    NTSTATUS status = nth_verifier_start(&settings);
    if (status == STATUS_INVALID_PARAMETER && settings.log[0] != '\0') {
        settings.log[0] = '\0'; /* such a file cannot be opened here: the sums are seen */
        status = nth_verifier_start(&settings);
    }
    const bool on = status == STATUS_SUCCESS;
    core.verifying = core.verifying || on;
    return on;
}

static NTSTATUS core_module_load(const char *name, PVOID base, size_t bytes)
{
    return nth_verifier_module_load(name, base, bytes);
}

static size_t core_stops(size_t idx, struct rig_stop *stop)
{
    if (idx < core.stop_count && core.stop_count - idx <= STOPS_MAX) {
        *stop = core.stops[idx % STOPS_MAX];
    }
    return nth_verifier_stop_count();
}

static size_t core_stop_text(size_t idx, bool json, bool stacks, char *text, size_t bytes)
{
    const struct nth_stop *stop = nth_verifier_stop_at(idx); /* the first ones; a copy else */
    if (stop == NULL && (idx >= core.stop_count || core.stop_count - idx > STOPS_MAX)) {
        return 0;
    }
    return nth_verifier_stop_text(stop != NULL ? stop : &core.stopped[idx % STOPS_MAX], json, stacks,
                                  text, bytes);
}

static void core_verified(struct rig_verified *told)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    *told = (struct rig_verified){
        .layers = nth_verifier_layers(),
        .stops = sums.stop_count,
        .silenced = sums.silenced_count,
        .leaks = sums.leak_count,
        .unloads = sums.unload_count,
        .disowned = sums.disown_count,
        .refused = sums.refused_count,
        .full = sums.full_count,
        .light = sums.light_count,
        .live_count = sums.live_count,
        .live_bytes = sums.live_bytes,
        .held_count = sums.held_count,
        .held_bytes = sums.held_bytes,
    };
}

struct visiting_allocations {
    BOOLEAN (*visit)(void *context, const struct rig_allocation *one);
    void *context;
};

static BOOLEAN core_visit_allocation(void *context, const struct nth_allocation *block)
{
    const struct visiting_allocations *visiting = context;
    struct nth_module_info module;
    struct rig_allocation one = {
        .heap = block->heap,
        .user = (uintptr_t)block->user,
        .user_bytes = block->user_bytes,
        .real = (uintptr_t)block->real,
        .real_bytes = block->real_bytes,
        .held = block->state == NTH_ALLOCATION_HELD,
        .full = block->full,
        .disowned = block->disowned,
    };
    if (block->owner != 0 && nth_verifier_module(block->owner, &module)) {
        put_name(one.owner, module.name);
        one.is_program = (uintptr_t)core_visit_allocation >= module.low &&
                         (uintptr_t)core_visit_allocation < module.high;
    }
    put_innermost(one.made_in, one.held ? block->freed : block->allocated);
    return visiting->visit(visiting->context, &one);
}

static size_t core_allocations(HANDLE heap,
                               BOOLEAN (*visit)(void *context, const struct rig_allocation *one),
                               void *context)
{
    struct visiting_allocations visiting = {visit, context};
    nth_verifier_look(); /* what was unloaded owns nothing */
    return nth_verifier_enumerate(heap, core_visit_allocation, &visiting);
}

struct visiting_log {
    BOOLEAN (*visit)(void *context, const struct rig_logged *one);
    void *context;
};

static BOOLEAN core_visit_logged(void *context, const struct nth_operation *one)
{
    const struct visiting_log *visiting = context;
    const struct rig_logged told = {
        .kind = (unsigned)one->kind,
        .heap = one->heap,
        .address = (uintptr_t)one->address,
        .bytes = one->bytes,
        .stack = one->trace != NULL && one->trace->count > 0,
    };
    return visiting->visit(visiting->context, &told);
}

static size_t core_logged(PVOID address,
                          BOOLEAN (*visit)(void *context, const struct rig_logged *one),
                          void *context)
{
    struct visiting_log visiting = {visit, context};
    return nth_verifier_operations(address, core_visit_logged, &visiting);
}

static void core_clock(uint64_t ms)
{
    core.clock_ms += ms;
}

static BOOLEAN core_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    guarded++;
    const BOOLEAN returned = nth_guard(body, context, record);
    guarded--;
    return returned;
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
    return core_guard(filtered_run, &filtered, record) && filtered.returned;
}

/* Low resource simulation is a shortage like any other. */
static uint64_t core_refusals(void)
{
    struct nth_verifier_summary sums = {.refused_count = 0};
    if (core.verifying) {
        nth_verifier_summary(&sums);
    }
    return fault_run_now()->refusals + sums.refused_count;
}

static void core_budget(size_t pages)
{
    const struct fault_plan plan = {
        .kind = FAULT_PLAN_BUDGET,
        .calls = FAULT_PAGE_COMMIT,
        .n = (uint16_t)pages,
    };
    fault_plan_set(FAULT_LAYER_BUDGET, pages > UINT16_MAX ? NULL : &plan);
}

static void core_plan(const struct fault_plan *plan)
{
    fault_plan_set(FAULT_LAYER_PROGRAM, plan);
}

static void core_plan_over(const struct fault_plan *plan)
{
    fault_plan_set(FAULT_LAYER_OVER, plan);
    core.planned = core.planned || plan != NULL;
}

static BOOLEAN core_routine_refused(void)
{
    return fault_routine_refuses();
}

static void core_refused(struct rig_refusals *refusals)
{
    const struct fault_run *run = fault_run_now();
    *refusals = (struct rig_refusals){
        .site = run->refusals == 0 ? NULL : fault_site_name(run->site),
        .call = run->refusals == 0 ? NULL : fault_site_call(run->site),
        .kept_count = run->given,
        .lie_count = run->lies,
        .over_count = run->over,
        .call_count = run->calls,
        .commit_bytes = run->bytes,
        .last_call_count = fault_run_last()->calls,
        .last_over_count = fault_run_last()->over,
        .last_digest = fault_run_last()->digest,
        .last_commit_bytes = fault_run_last()->bytes,
    };
}

static struct rig_holdings core_granted(void)
{
    const struct nth_balance balance = nth_arena_balance(core.arena);
    return (struct rig_holdings){
        .reserved_bytes = balance.reserved_bytes,
        .committed_bytes = balance.committed_bytes,
        .reservation_count = balance.reservation_count,
    };
}

static size_t core_locks_held(void)
{
    return (size_t)fault_locks_held();
}

static struct rig_holdings core_holdings(void)
{
    const struct nth_balance balance = nth_balance_now();
    return (struct rig_holdings){
        .reserved_bytes = balance.reserved_bytes - core.lost.reserved_bytes,
        .committed_bytes = balance.committed_bytes - core.lost.committed_bytes,
        .reservation_count = balance.reservation_count - core.lost.reservation_count,
    };
}

static void core_interrupt(DWORD code)
{
    core.interrupt = code;
}

static NTSTATUS core_ended(void)
{
    return core.ended;
}

static uint64_t core_reports(struct rig_report *last)
{
    *last = core.report;
    return core.reports;
}

static size_t core_report_text(char *text, size_t bytes)
{
    return nth_report_text(&core.reported, text, bytes);
}

struct visiting {
    BOOLEAN (*visit)(void *context, const struct rig_field *field);
    void *context;
};

static BOOLEAN core_visit(void *context, const struct nth_field *field)
{
    const struct visiting *visiting = context;
    const struct rig_field told_field = {
        .name = field->name,
        .kind = (unsigned)field->kind,
        .address = field->address,
        .bytes = field->bytes,
        .block = field->block,
    };
    return visiting->visit(visiting->context, &told_field);
}

static size_t core_fields(HANDLE heap,
                          BOOLEAN (*visit)(void *context, const struct rig_field *field),
                          void *context)
{
    struct visiting visiting = {visit, context};
    return heap == NULL ? nth_process_fields(core_visit, &visiting)
                        : nth_fields(heap, core_visit, &visiting);
}

static void core_poke(PVOID address, uint8_t value)
{
    core.poked = true;
    nth_poke(address, value);
}

static uintptr_t core_offset(const void *address)
{
    return (uintptr_t)address - core.real->low;
}

const struct rig_subject *rig_subject_core_open(void)
{
    RIG_CHECK(core.arena == NULL || core.open);
    core.open = true;
    return rig_subject_core();
}

const struct rig_subject *rig_subject_core(void)
{
    static const struct rig_subject subject = {
        .name = "core",
        .claims = RIG_CLAIM_BASIC | RIG_CLAIM_DOCUMENTED | RIG_CLAIM_RULINGS,
        .guard = core_guard,
        .guard_filter = core_guard_filter,
        .reset = core_reset,
        .refusals = core_refusals,
        .budget = core_budget,
        .plan = core_plan,
        .plan_over = core_plan_over,
        .calling = fault_calling,
        .routine_refused = core_routine_refused,
        .refused = core_refused,
        .granted = core_granted,
        .locks_held = core_locks_held,
        .committed = core_committed,
        .fields = core_fields,
        .poke = core_poke,
        .peek = nth_peek,
        .sealed_get = nth_sealed_get,
        .sealed_put = nth_sealed_put,
        .holdings = core_holdings,
        .reports = core_reports,
        .report_text = core_report_text,
        .exception_text = nth_exception_text,
        .ended = core_ended,
        .interrupt = core_interrupt,
        .tell_waits = core_tell_waits,
        .offset = core_offset,
        .verify = core_verify,
        .module_load = core_module_load,
        .module_unload = nth_verifier_module_unload,
        .module_close = nth_verifier_dlclose,
        .stops = core_stops,
        .stop_text = core_stop_text,
        .verified = core_verified,
        .allocations = core_allocations,
        .knows = nth_verifier_knows,
        .logged = core_logged,
        .lowres = nth_verifier_lowres,
        .clock = core_clock,
        .stop_set = nth_verifier_stop_set,
        .verify_end = core_verify_end,
        .end_text = core_end_text,
        .global_flags = RtlGetNtGlobalFlags,
#define RIG_CALL(result, name, arguments) .name = name,
#include <heaprig/calls.def>
    };
    return &subject;
}
#endif
