/* SPDX-License-Identifier: MIT
 *
 * Lies: numbers, exception records and reports are told wrongly. */
#include "lies_blocks.h"

/* ---- Numbers ---- */

static SIZE_T other_size(SIZE_T bytes)
{
    return bytes == 0 ? 1 : bytes - 1;
}

static SIZE_T RIG_NTAPI size_win32(HANDLE heap, DWORD flags, LPCVOID block)
{
    return other_size(rig_honest->HeapSize(heap, flags, block));
}

static SIZE_T RIG_NTAPI size_rtl(PVOID heap, ULONG flags, PVOID block)
{
    return other_size(rig_honest->RtlSizeHeap(heap, flags, block));
}

const struct rig_subject rig_lie_size = {.HeapSize = size_win32, .RtlSizeHeap = size_rtl};

static ULONG RIG_NTAPI count_alloc(PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID *array)
{
    return rig_honest->RtlMultipleAllocateHeap(heap, flags, bytes, count, array) + 1;
}

static ULONG RIG_NTAPI count_free(PVOID heap, ULONG flags, ULONG count, PVOID *array)
{
    return rig_honest->RtlMultipleFreeHeap(heap, flags, count, array) + 1;
}

const struct rig_subject rig_lie_count = {
    .RtlMultipleAllocateHeap = count_alloc,
    .RtlMultipleFreeHeap = count_free,
};

static BOOLEAN RIG_NTAPI user_info(PVOID heap, ULONG flags, PVOID block, PVOID *value,
                                   PULONG user_flags)
{
    const BOOLEAN told = rig_honest->RtlGetUserInfoHeap(heap, flags, block, value, user_flags);
    *value = (PVOID)((uintptr_t)*value ^ 1u);
    return told;
}

const struct rig_subject rig_lie_user = {.RtlGetUserInfoHeap = user_info};

static DWORD RIG_NTAPI error_other(void)
{
    return rig_honest->GetLastError() ^ 1u;
}

const struct rig_subject rig_lie_error = {.GetLastError = error_other};

static ULONG RIG_NTAPI mapping_other(NTSTATUS status)
{
    return rig_honest->RtlNtStatusToDosError(status) ^ 1u;
}

const struct rig_subject rig_lie_mapping = {.RtlNtStatusToDosError = mapping_other};

static uint64_t report_one_more(struct rig_report *last)
{
    const uint64_t count = rig_honest->reports(last);
    last->reason = "BLOCK_HEADER";
    return count + 1;
}

const struct rig_subject rig_lie_report = {.reports = report_one_more};

static uint64_t report_one_fewer(struct rig_report *last)
{
    return rig_honest->reports(last) - 1;
}

const struct rig_subject rig_lie_hushed = {.reports = report_one_fewer};

static BOOLEAN swallow_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    (void)rig_honest->guard(body, context, record);
    return TRUE;
}

const struct rig_subject rig_lie_swallow = {.guard = swallow_guard};

static struct rig_holdings held_nothing(void)
{
    return (struct rig_holdings){0, 0, 0};
}

const struct rig_subject rig_lie_held = {.holdings = held_nothing};

/* ---- Exception records, as filters and guards see them ---- */

struct filtering {
    rig_filter filter;
    void *context;
    void (*change)(EXCEPTION_RECORD *record);
    EXCEPTION_RECORD seen;
    LONG answer;
    bool asked;
};

/* The filter looks at a changed copy: the heap goes on with its own record. */
static LONG RIG_NTAPI filter_changed(EXCEPTION_POINTERS *info, void *context)
{
    struct filtering *filtering = context;
    EXCEPTION_RECORD record = *info->ExceptionRecord;
    EXCEPTION_POINTERS changed = *info;
    filtering->change(&record);
    changed.ExceptionRecord = &record;
    filtering->seen = record;
    filtering->asked = true;
    filtering->answer = filtering->filter(&changed, filtering->context);
    return filtering->answer;
}

static BOOLEAN guarded(void (*body)(void *context), void *context, EXCEPTION_RECORD *record,
                       void (*change)(EXCEPTION_RECORD *record))
{
    if (rig_honest->guard(body, context, record)) {
        return TRUE;
    }
    change(record);
    return FALSE;
}

static BOOLEAN filtered(void (*body)(void *context), void *context, struct filtering *filtering,
                        EXCEPTION_RECORD *record)
{
    if (rig_honest->guard_filter(body, context, filter_changed, filtering, record)) {
        return TRUE;
    }
    filtering->change(record);
    return FALSE;
}

#define RECORD_LIE(lie)                                                                            \
    static BOOLEAN lie##_guard(void (*body)(void *context), void *context,                         \
                               EXCEPTION_RECORD *record)                                           \
    {                                                                                              \
        return guarded(body, context, record, lie##_change);                                       \
    }                                                                                              \
    static BOOLEAN lie##_filter(void (*body)(void *context), void *context, rig_filter filter,     \
                                void *filter_context, EXCEPTION_RECORD *record)                    \
    {                                                                                              \
        struct filtering filtering = {                                                             \
            .filter = filter, .context = filter_context, .change = lie##_change};                  \
        return filtered(body, context, &filtering, record);                                        \
    }                                                                                              \
    const struct rig_subject rig_lie_##lie = {.guard = lie##_guard, .guard_filter = lie##_filter}

static void code_change(EXCEPTION_RECORD *record)
{
    record->ExceptionCode = 0x0BADC0DEu;
}

RECORD_LIE(code);

static void parameters_change(EXCEPTION_RECORD *record)
{
    record->NumberParameters = EXCEPTION_MAXIMUM_PARAMETERS + 1u;
}

RECORD_LIE(parameters);

static void flags_change(EXCEPTION_RECORD *record)
{
    record->ExceptionFlags ^= EXCEPTION_NONCONTINUABLE;
}

RECORD_LIE(flags);

static void link_change(EXCEPTION_RECORD *record)
{
    static EXCEPTION_RECORD cause;
    record->ExceptionRecord = &cause;
}

RECORD_LIE(link);

static void nowhere_change(EXCEPTION_RECORD *record)
{
    record->ExceptionAddress = NULL;
}

RECORD_LIE(nowhere);

/* ---- Filters that are not asked, or not heeded ---- */

static BOOLEAN unasked_filter(void (*body)(void *context), void *context, rig_filter filter,
                              void *filter_context, EXCEPTION_RECORD *record)
{
    (void)filter;
    (void)filter_context;
    return rig_honest->guard(body, context, record);
}

const struct rig_subject rig_lie_unasked = {.guard_filter = unasked_filter};

static void no_change(EXCEPTION_RECORD *record)
{
    (void)record;
}

/* It continued, and yet the exception leaves the call. */
static BOOLEAN insist_filter(void (*body)(void *context), void *context, rig_filter filter,
                             void *filter_context, EXCEPTION_RECORD *record)
{
    struct filtering filtering = {.filter = filter, .context = filter_context, .change = no_change};
    const BOOLEAN returned = filtered(body, context, &filtering, record);
    if (!returned || !filtering.asked || filtering.answer != EXCEPTION_CONTINUE_EXECUTION) {
        return returned;
    }
    *record = filtering.seen;
    return FALSE;
}

const struct rig_subject rig_lie_insist = {.guard_filter = insist_filter};
