/* SPDX-License-Identifier: MIT
 *
 * Lies about validating, summing up, compacting, zeroing and information classes. */
#include "lies_heaps.h"

/* ---- Validating ----------------------------------------------------------------------------- */

static BOOLEAN RIG_NTAPI invalid_rtl(PVOID heap, ULONG flags, PVOID block)
{
    (void)heap;
    (void)flags;
    (void)block;
    return FALSE;
}

static BOOL RIG_NTAPI invalid_win32(HANDLE heap, DWORD flags, LPCVOID block)
{
    (void)heap;
    (void)flags;
    (void)block;
    return FALSE;
}

static BOOLEAN RIG_NTAPI invalid_all(void)
{
    return FALSE;
}

static BOOL RIG_NTAPI valid_win32(HANDLE heap, DWORD flags, LPCVOID block)
{
    (void)heap;
    (void)flags;
    (void)block;
    return TRUE;
}

static BOOL RIG_NTAPI valid_loud(HANDLE heap, DWORD flags, LPCVOID block)
{
    const BOOL valid = rig_honest->HeapValidate(heap, flags, block);
    rig_honest->SetLastError(RIG_LIE_ERROR);
    return valid;
}

/* ---- Summing up, compacting, zeroing -------------------------------------------------------- */

static BOOL RIG_NTAPI summary_no(HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary)
{
    (void)heap;
    (void)flags;
    (void)summary;
    rig_honest->SetLastError(ERROR_INVALID_PARAMETER);
    return FALSE;
}

static BOOL RIG_NTAPI summary_yes(HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary)
{
    (void)rig_honest->HeapSummary(heap, flags, summary);
    return TRUE;
}

static BOOL RIG_NTAPI summary_raise(HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary)
{
    (void)summary_no(heap, flags, summary);
    rig_lie_raise_code();
    return FALSE;
}

static BOOL RIG_NTAPI summary_odd(HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary)
{
    (void)rig_honest->HeapSummary(heap, flags, summary);
    summary->cbAllocated = SIZE_MAX;
    summary->cbMaxReserve = 1;
    return TRUE;
}

static SIZE_T RIG_NTAPI compact_more(HANDLE heap, DWORD flags)
{
    return rig_honest->HeapCompact(heap, flags) * 2 + 100;
}

static SIZE_T RIG_NTAPI compact_loud(HANDLE heap, DWORD flags)
{
    const SIZE_T bytes = rig_honest->HeapCompact(heap, flags);
    rig_honest->SetLastError(RIG_LIE_ERROR);
    return bytes;
}

static NTSTATUS RIG_NTAPI zero_no(PVOID heap, ULONG flags)
{
    (void)heap;
    (void)flags;
    return (NTSTATUS)STATUS_SUCCESS;
}

static NTSTATUS RIG_NTAPI zero_refuse(PVOID heap, ULONG flags)
{
    (void)heap;
    (void)flags;
    return (NTSTATUS)STATUS_UNSUCCESSFUL;
}

/* ---- Asking --------------------------------------------------------------------------------- */

#define QUERY_RTL(name)                                                                            \
    static NTSTATUS RIG_NTAPI name(PVOID heap, HEAP_INFORMATION_CLASS class, PVOID information,    \
                                   SIZE_T bytes, PSIZE_T length)
#define QUERY_WIN32(name)                                                                          \
    static BOOL RIG_NTAPI name(HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information,       \
                               SIZE_T bytes, PSIZE_T length)
#define UNUSED_QUERY                                                                               \
    (void)heap;                                                                                    \
    (void)class;                                                                                   \
    (void)information;                                                                             \
    (void)bytes;                                                                                   \
    (void)length

/* An honest answer whose value, where there is one, is another. */
#define QUERY_VALUE(name, value)                                                                   \
    QUERY_RTL(name##_rtl)                                                                          \
    {                                                                                              \
        const NTSTATUS status =                                                                    \
            rig_honest->RtlQueryHeapInformation(heap, class, information, bytes, length);          \
        if ((uint32_t)status == STATUS_SUCCESS) {                                                  \
            ULONG *told = information;                                                             \
            *told = (value);                                                                       \
        }                                                                                          \
        return status;                                                                             \
    }                                                                                              \
    QUERY_WIN32(name##_win32)                                                                      \
    {                                                                                              \
        const BOOL ok = rig_honest->HeapQueryInformation(heap, class, information, bytes, length); \
        if (ok) {                                                                                  \
            ULONG *told = information;                                                             \
            *told = (value);                                                                       \
        }                                                                                          \
        return ok;                                                                                 \
    }

QUERY_VALUE(query_seven, 7u)
QUERY_VALUE(query_off, 0u)
QUERY_VALUE(query_on, 2u)
QUERY_VALUE(query_other, *told ^ 2u)

QUERY_RTL(query_no_rtl)
{
    UNUSED_QUERY;
    return (NTSTATUS)STATUS_UNSUCCESSFUL;
}

QUERY_WIN32(query_no_win32)
{
    UNUSED_QUERY;
    rig_honest->SetLastError(ERROR_GEN_FAILURE);
    return FALSE;
}

QUERY_RTL(query_yes_rtl)
{
    UNUSED_QUERY;
    return (NTSTATUS)STATUS_SUCCESS;
}

QUERY_WIN32(query_yes_win32)
{
    UNUSED_QUERY;
    return TRUE;
}

QUERY_RTL(query_flip_rtl)
{
    const NTSTATUS status =
        rig_honest->RtlQueryHeapInformation(heap, class, information, bytes, length);
    return (NTSTATUS)((uint32_t)status == STATUS_SUCCESS ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS);
}

QUERY_WIN32(query_flip_win32)
{
    return !rig_honest->HeapQueryInformation(heap, class, information, bytes, length);
}

QUERY_WIN32(query_raise_win32)
{
    UNUSED_QUERY;
    rig_lie_raise_code();
    return FALSE;
}

/* ---- Setting -------------------------------------------------------------------------------- */

#define SET_RTL(name)                                                                              \
    static NTSTATUS RIG_NTAPI name(PVOID heap, HEAP_INFORMATION_CLASS class, PVOID information,    \
                                   SIZE_T bytes)
#define SET_WIN32(name)                                                                            \
    static BOOL RIG_NTAPI name(HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information,       \
                               SIZE_T bytes)
#define UNUSED_SET                                                                                 \
    (void)heap;                                                                                    \
    (void)class;                                                                                   \
    (void)information;                                                                             \
    (void)bytes

SET_RTL(set_no_rtl)
{
    UNUSED_SET;
    return (NTSTATUS)STATUS_UNSUCCESSFUL;
}

SET_WIN32(set_no_win32)
{
    UNUSED_SET;
    rig_honest->SetLastError(ERROR_GEN_FAILURE);
    return FALSE;
}

SET_RTL(set_yes_rtl)
{
    UNUSED_SET;
    return (NTSTATUS)STATUS_SUCCESS;
}

SET_WIN32(set_yes_win32)
{
    UNUSED_SET;
    return TRUE;
}

SET_RTL(set_flip_rtl)
{
    const NTSTATUS status = rig_honest->RtlSetHeapInformation(heap, class, information, bytes);
    return (NTSTATUS)((uint32_t)status == STATUS_SUCCESS ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS);
}

SET_WIN32(set_flip_win32)
{
    return !rig_honest->HeapSetInformation(heap, class, information, bytes);
}

#define QUERIES(name) .RtlQueryHeapInformation = name##_rtl, .HeapQueryInformation = name##_win32
#define SETS(name) .RtlSetHeapInformation = name##_rtl, .HeapSetInformation = name##_win32

static const struct rig_lie lies[] = {
    {"invalid",
     "what is sound does not validate",
     {.RtlValidateHeap = invalid_rtl,
      .HeapValidate = invalid_win32,
      .RtlValidateProcessHeaps = invalid_all}},
    {"all-valid", "everything validates", {.HeapValidate = valid_win32}},
    {"validate-error", "validating sets the last error", {.HeapValidate = valid_loud}},
    {"summary-no", "there is no summary", {.HeapSummary = summary_no}},
    {"summary-yes", "there is always a summary", {.HeapSummary = summary_yes}},
    {"summary-raise", "summing up raises", {.HeapSummary = summary_raise}},
    {"summary-odd", "sums are out of order", {.HeapSummary = summary_odd}},
    {"compact-more",
     "the largest free block is told larger than it is",
     {.RtlCompactHeap = compact_more, .HeapCompact = compact_more}},
    {"compact-error", "compacting sets the last error", {.HeapCompact = compact_loud}},
    {"zero-no", "free memory is said to be zeroed, and is not", {.RtlZeroHeap = zero_no}},
    {"zero-refuse", "free memory cannot be zeroed", {.RtlZeroHeap = zero_refuse}},
    {"query-seven", "the front end is in a state that there is not", {QUERIES(query_seven)}},
    {"query-other", "the front end is on when off, and off when on", {QUERIES(query_other)}},
    {"query-no", "a query fails", {QUERIES(query_no)}},
    {"query-yes", "a query succeeds", {QUERIES(query_yes)}},
    {"query-flip", "a query fails when it should not, and the reverse", {QUERIES(query_flip)}},
    {"query-raise", "a query raises", {.HeapQueryInformation = query_raise_win32}},
    {"set-no", "setting fails", {SETS(set_no)}},
    {"set-yes", "setting succeeds", {SETS(set_yes)}},
    {"set-flip", "setting fails when it should not, and the reverse", {SETS(set_flip)}},
    {"information-flip",
     "asking and setting fail when they should not, and the reverse",
     {QUERIES(query_flip), SETS(set_flip)}},
    {"front-off", "the front end is off, and can be set so", {QUERIES(query_off), SETS(set_yes)}},
    {"front-on", "the front end is on, and can be set so", {QUERIES(query_on), SETS(set_yes)}},
};

const struct rig_lie *rig_lies_look(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
