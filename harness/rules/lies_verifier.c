/* SPDX-License-Identifier: MIT
 *
 * Lies about what a verifier told, knows and did. */
#include "lies.h"

#include "../model/watch.h"

#include <string.h>

/* Stops told before the call in progress. */
static size_t told_before(void)
{
    return (size_t)rig_lie_step->watched->before.stops;
}

/* ---- Fewer, more, other stops ---- */

static size_t hush_stops(size_t idx, struct rig_stop *stop)
{
    const size_t count = rig_honest->stops(idx, stop);
    return count < told_before() ? count : told_before();
}

static size_t more_stops(size_t idx, struct rig_stop *stop, unsigned code)
{
    const size_t count = rig_honest->stops(idx, stop);
    if (idx == count) {
        *stop = (struct rig_stop){
            .code = code, .layer = "Heaps", .name = "NONE", .severity = 0x3F, .noticed = true};
    }
    return count + 1u;
}

static size_t cry_stops(size_t idx, struct rig_stop *stop)
{
    return more_stops(idx, stop, 0x5);
}

static size_t leaky_stops(size_t idx, struct rig_stop *stop)
{
    return more_stops(idx, stop, 0x900);
}

static size_t twist_stops(size_t idx, struct rig_stop *stop)
{
    const size_t count = rig_honest->stops(idx, stop);
    if (idx < count) {
        const uintptr_t first = stop->parameter[0];
        stop->parameter[0] = stop->parameter[1] + 1u;
        stop->parameter[1] = first;
    }
    return count;
}

static size_t rename_stops(size_t idx, struct rig_stop *stop)
{
    const size_t count = rig_honest->stops(idx, stop);
    if (idx < count) {
        stop->module[0] = '?';
        stop->owner[0] = '?';
    }
    return count;
}

static size_t mild_stops(size_t idx, struct rig_stop *stop)
{
    const size_t count = rig_honest->stops(idx, stop);
    if (idx < count) {
        stop->severity = 0x3;
    }
    return count;
}

/* ---- What is known ---- */

struct visiting {
    BOOLEAN (*visit)(void *context, const struct rig_allocation *one);
    void *context;
};

static BOOLEAN unknown_visit(void *context, const struct rig_allocation *one)
{
    const struct visiting *visiting = context;
    struct rig_allocation other = *one;
    other.user++;
    return visiting->visit(visiting->context, &other);
}

static size_t unknown_allocations(HANDLE heap,
                                  BOOLEAN (*visit)(void *context, const struct rig_allocation *one),
                                  void *context)
{
    static const struct rig_allocation nobody = {.user = 1};
    struct visiting visiting = {visit, context};
    const size_t count = rig_honest->allocations(heap, unknown_visit, &visiting);
    if (count == 0) {
        (void)visit(context, &nobody);
    }
    return count;
}

static size_t unlogged_logged(PVOID address,
                              BOOLEAN (*visit)(void *context, const struct rig_logged *one),
                              void *context)
{
    (void)address;
    (void)visit;
    (void)context;
    return 0;
}

static void tracked_verified(struct rig_verified *sums)
{
    rig_honest->verified(sums);
    sums->disowned = rig_lie_step->watched->before.disowned;
}

static void untracked_verified(struct rig_verified *sums)
{
    rig_honest->verified(sums);
    sums->disowned++;
}

static void fuller_verified(struct rig_verified *sums)
{
    rig_honest->verified(sums);
    const uint64_t before = rig_lie_step->watched->before.full;
    sums->full = sums->full > before ? before : before + 1u;
}

/* Refused where it was not, and not where it was. */
static void starving_verified(struct rig_verified *sums)
{
    rig_honest->verified(sums);
    const uint64_t before = rig_lie_step->watched->before.refused;
    sums->refused = sums->refused > before ? before : before + 1u;
}

static uint8_t blank_peek(LPCVOID address)
{
    (void)address;
    return 0x77;
}

/* ---- Words ---- */

/* The last digit or letter that there is becomes another. */
static size_t misspell(char *text, size_t bytes, size_t whole)
{
    size_t at = bytes == 0 ? 0 : strlen(text);
    while (at > 0 && (text[at - 1] < '0' || text[at - 1] > 'z')) {
        at--;
    }
    if (at > 0) {
        text[at - 1]++;
    }
    return whole;
}

static size_t misname_stop(size_t idx, bool json, bool stacks, char *text, size_t bytes)
{
    return misspell(text, bytes, rig_honest->stop_text(idx, json, stacks, text, bytes));
}

static size_t misreport_text(char *text, size_t bytes)
{
    return misspell(text, bytes, rig_honest->report_text(text, bytes));
}

static size_t miscode_exception(const EXCEPTION_RECORD *record, char *text, size_t bytes)
{
    return misspell(text, bytes, rig_honest->exception_text(record, text, bytes));
}

/* The number of leaks has another last digit. */
static size_t miscount_end(char *text, size_t bytes)
{
    const size_t whole = rig_honest->end_text(text, bytes);
    char *behind = strstr(text, text[0] == '{' ? ",\"unloads\":" : " leaks), ");
    if (whole > 0 && behind != NULL) {
        behind[-1] ^= 1;
    }
    return whole;
}

/* ---- What is done ---- */

static BOOLEAN restart_verify(const char *settings)
{
    (void)settings;
    return TRUE;
}

static ULONG restart_flags(void)
{
    return ~rig_honest->global_flags();
}

static NTSTATUS assent_stop_set(const char *layer, const char *name, ULONG report, ULONG flavor)
{
    const NTSTATUS status = rig_honest->stop_set(layer, name, report, flavor);
    return status == STATUS_SUCCESS ? (NTSTATUS)STATUS_INVALID_PARAMETER : (NTSTATUS)STATUS_SUCCESS;
}

static NTSTATUS assent_lowres(ULONG ppm, ULONG quiet_ms)
{
    const NTSTATUS status = rig_honest->lowres(ppm, quiet_ms);
    return status == STATUS_SUCCESS ? (NTSTATUS)STATUS_INVALID_PARAMETER : (NTSTATUS)STATUS_SUCCESS;
}

static NTSTATUS unbound_unload(PVOID base)
{
    const NTSTATUS status = rig_honest->module_unload(base);
    return status == STATUS_SUCCESS ? (NTSTATUS)STATUS_INVALID_PARAMETER : (NTSTATUS)STATUS_SUCCESS;
}

static int unbound_close(void *handle)
{
    return rig_honest->module_close(handle) == 0 ? -1 : 0;
}

static BOOLEAN smooth_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    (void)rig_honest->guard(body, context, record);
    memset(record, 0, sizeof(*record));
    return TRUE;
}

static BOOLEAN leave_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    (void)rig_honest->guard(body, context, record);
    memset(record, 0, sizeof(*record));
    record->ExceptionCode = STATUS_VERIFIER_STOP;
    return FALSE;
}

static LONG RIG_NTAPI calm_filter(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static BOOLEAN calm_guard_filter(void (*body)(void *context), void *context, rig_filter filter,
                                 void *filter_context, EXCEPTION_RECORD *record)
{
    (void)filter;
    return rig_honest->guard_filter(body, context, calm_filter, filter_context, record);
}

/* A byte off the place where the block lies. */
static LPVOID RIG_NTAPI crooked_win32(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    char *block = rig_honest->HeapAlloc(heap, flags, bytes);
    return block == NULL ? NULL : block - 1;
}

static PVOID RIG_NTAPI crooked_rtl(PVOID heap, ULONG flags, SIZE_T bytes)
{
    char *block = rig_honest->RtlAllocateHeap(heap, flags, bytes);
    return block == NULL ? NULL : block - 1;
}

/* A walk that shows nothing. */
static BOOL RIG_NTAPI apart_walk(HANDLE heap, LPPROCESS_HEAP_ENTRY entry)
{
    (void)heap;
    (void)entry;
    return FALSE;
}

const struct rig_lie *rig_lies_verifier(size_t *count)
{
    static const struct rig_lie lies[] = {
        {"hush", "no stop is told", {.stops = hush_stops}},
        {"cry", "a stop more is told", {.stops = cry_stops}},
        {"leaky", "a leak more is told", {.stops = leaky_stops}},
        {"twist", "a stop's parameters are in another order", {.stops = twist_stops}},
        {"rename", "a stop names another module", {.stops = rename_stops}},
        {"mild", "a stop is a piece of information", {.stops = mild_stops}},
        {"unknown", "allocations are not where they are", {.allocations = unknown_allocations}},
        {"unlogged", "the log has nothing", {.logged = unlogged_logged}},
        {"misname", "a stop's words end otherwise", {.stop_text = misname_stop}},
        {"misreport", "a report's words end otherwise", {.report_text = misreport_text}},
        {"miscode", "an exception's words end otherwise", {.exception_text = miscode_exception}},
        {"miscount", "the end tells of another number of leaks", {.end_text = miscount_end}},
        {"tracked", "nothing was disowned", {.verified = tracked_verified}},
        {"untracked", "something was disowned", {.verified = untracked_verified}},
        {"fuller", "a light block is full, and a full one light", {.verified = fuller_verified}},
        {"starving", "refused or not, the other way", {.verified = starving_verified}},
        {"blank", "around blocks is something else", {.peek = blank_peek}},
        {"restart",
         "the verifier takes hold of a process that runs, with other flags",
         {.verify = restart_verify, .global_flags = restart_flags}},
        {"assent",
         "a setting is taken that must not be, or the other way",
         {.stop_set = assent_stop_set, .lowres = assent_lowres}},
        {"unbound",
         "a module was not there, or the other way",
         {.module_unload = unbound_unload, .module_close = unbound_close}},
        {"smooth", "no exception comes", {.guard = smooth_guard}},
        {"leave", "an exception comes", {.guard = leave_guard}},
        {"calm", "stops are no exceptions", {.guard_filter = calm_guard_filter}},
        {"apart", "a walk shows nothing", {.HeapWalk = apart_walk}},
        {"crooked",
         "a block begins a byte early",
         {.HeapAlloc = crooked_win32, .RtlAllocateHeap = crooked_rtl}},
    };
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
