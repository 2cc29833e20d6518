/* SPDX-License-Identifier: MIT
 *
 * Lies about the heaps of the process and the last error. */
#include "lies_heaps.h"

static HANDLE RIG_NTAPI process_none(void)
{
    rig_honest->SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return NULL;
}

static HANDLE RIG_NTAPI process_quiet(void)
{
    rig_lie_hush();
    return NULL;
}

static HANDLE RIG_NTAPI process_other(void)
{
    return (char *)rig_honest->GetProcessHeap() + 0x10000;
}

/* The truth, but for the code where there is none. */
static HANDLE RIG_NTAPI process_code(void)
{
    HANDLE heap = rig_honest->GetProcessHeap();
    rig_honest->SetLastError(heap == NULL ? ERROR_GEN_FAILURE : rig_honest->GetLastError());
    return heap;
}

static DWORD RIG_NTAPI list_count(DWORD room, PHANDLE heaps)
{
    return rig_honest->GetProcessHeaps(room, heaps) + 1;
}

static DWORD RIG_NTAPI list_quiet(DWORD room, PHANDLE heaps)
{
    (void)rig_honest->GetProcessHeaps(room, heaps);
    rig_lie_hush();
    return 0;
}

/* The first heap has another handle; without room for it there is one heap more. */
static DWORD wrong(DWORD count, DWORD room, PVOID *heaps)
{
    if (room > 0 && count > 0) {
        heaps[0] = (char *)heaps[0] + 0x10000;
        return count;
    }
    return count + 1;
}

static DWORD RIG_NTAPI list_wrong_win32(DWORD room, PHANDLE heaps)
{
    return wrong(rig_honest->GetProcessHeaps(room, heaps), room, heaps);
}

static ULONG RIG_NTAPI list_wrong_rtl(ULONG room, PVOID *heaps)
{
    return wrong(rig_honest->RtlGetProcessHeaps(room, heaps), room, heaps);
}

static NTSTATUS RIG_NTAPI enum_none(NTSTATUS (*routine)(PVOID heap, PVOID parameter),
                                    PVOID parameter)
{
    (void)routine;
    (void)parameter;
    return (NTSTATUS)STATUS_SUCCESS;
}

static ULONG RIG_NTAPI dos_error(NTSTATUS status)
{
    return rig_honest->RtlNtStatusToDosError(status) + 1;
}

static DWORD RIG_NTAPI error_other(void)
{
    return rig_honest->GetLastError() ^ 1u;
}

/* ---- Failures that say nothing, successes that say too much --------------------------------- */

#define HUSHED(result, name, parameters, arguments)                                                \
    static result RIG_NTAPI hushed_##name parameters                                               \
    {                                                                                              \
        const result told = rig_honest->name arguments;                                            \
        rig_lie_hush();                                                                            \
        return told;                                                                               \
    }
#define LOUD(result, name, parameters, arguments)                                                  \
    static result RIG_NTAPI loud_##name parameters                                                 \
    {                                                                                              \
        const result told = rig_honest->name arguments;                                            \
        rig_honest->SetLastError(RIG_LIE_ERROR);                                                   \
        return told;                                                                               \
    }
#define QUERY_PARAMETERS                                                                           \
    (HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes, PSIZE_T length)
#define SET_PARAMETERS (HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes)
#define CREATE_PARAMETERS (DWORD options, SIZE_T initial, SIZE_T maximum)

HUSHED(HANDLE, HeapCreate, CREATE_PARAMETERS, (options, initial, maximum))
HUSHED(HANDLE, GetProcessHeap, (void), ())
HUSHED(DWORD, GetProcessHeaps, (DWORD room, PHANDLE heaps), (room, heaps))
HUSHED(BOOL, HeapWalk, (HANDLE heap, LPPROCESS_HEAP_ENTRY entry), (heap, entry))
HUSHED(BOOL, HeapQueryInformation, QUERY_PARAMETERS, (heap, class, information, bytes, length))
HUSHED(BOOL, HeapSetInformation, SET_PARAMETERS, (heap, class, information, bytes))
LOUD(HANDLE, HeapCreate, CREATE_PARAMETERS, (options, initial, maximum))
LOUD(BOOL, HeapDestroy, (HANDLE heap), (heap))
LOUD(BOOL, HeapLock, (HANDLE heap), (heap))
LOUD(HANDLE, GetProcessHeap, (void), ())
LOUD(DWORD, GetProcessHeaps, (DWORD room, PHANDLE heaps), (room, heaps))
LOUD(BOOL, HeapSummary, (HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary), (heap, flags, summary))
LOUD(BOOL, HeapSetInformation, SET_PARAMETERS, (heap, class, information, bytes))

static const struct rig_lie lies[] = {
    {"process-heap-none", "there is no process heap", {.GetProcessHeap = process_none}},
    {"process-heap-quiet",
     "there is no process heap, and the last error says nothing",
     {.GetProcessHeap = process_quiet}},
    {"process-heap-other", "the process heap is another one", {.GetProcessHeap = process_other}},
    {"list-count", "a listing counts one heap too many", {.GetProcessHeaps = list_count}},
    {"list-quiet",
     "a listing fails, and the last error says nothing",
     {.GetProcessHeaps = list_quiet}},
    {"list-wrong",
     "a listing names what is no heap, or another error for none",
     {.GetProcessHeap = process_code,
      .GetProcessHeaps = list_wrong_win32,
      .RtlGetProcessHeaps = list_wrong_rtl}},
    {"enum-none", "an enumeration visits no heap", {.RtlEnumProcessHeaps = enum_none}},
    {"dos-error", "another code for a status", {.RtlNtStatusToDosError = dos_error}},
    {"error-other", "another last error", {.GetLastError = error_other}},
    {"quiet",
     "failing calls leave the last error alone",
     {.HeapCreate = hushed_HeapCreate,
      .GetProcessHeap = hushed_GetProcessHeap,
      .GetProcessHeaps = hushed_GetProcessHeaps,
      .HeapWalk = hushed_HeapWalk,
      .HeapQueryInformation = hushed_HeapQueryInformation,
      .HeapSetInformation = hushed_HeapSetInformation}},
    {"loud",
     "calls set the last error to what no system does",
     {.HeapCreate = loud_HeapCreate,
      .HeapDestroy = loud_HeapDestroy,
      .HeapLock = loud_HeapLock,
      .GetProcessHeap = loud_GetProcessHeap,
      .GetProcessHeaps = loud_GetProcessHeaps,
      .HeapSummary = loud_HeapSummary,
      .HeapSetInformation = loud_HeapSetInformation}},
};

const struct rig_lie *rig_lies_process(size_t *count)
{
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
