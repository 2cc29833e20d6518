/* SPDX-License-Identifier: MIT
 *
 * Lies about misuse: what must be refused is done, or said to be; and the process lives on where it
 * must end. The true heap is not asked, so nothing happens to it. */
#include "lies.h"

#include <stdint.h>

/* ---- obey: every call says yes ---- */

#define SOME_BYTES 16u

static char there[SOME_BYTES]; /* what is given as a block */

/* OBEY(result, name, arguments, unused, answer) */
#define OBEDIENCE(OBEY)                                                                            \
    OBEY(PVOID, RtlDestroyHeap, (PVOID heap), ((void)heap), there)                                 \
    OBEY(BOOL, HeapDestroy, (HANDLE heap), ((void)heap), TRUE)                                     \
    OBEY(PVOID, RtlAllocateHeap, (PVOID heap, ULONG flags, SIZE_T bytes),                          \
         ((void)heap, (void)flags, (void)bytes), there)                                            \
    OBEY(LPVOID, HeapAlloc, (HANDLE heap, DWORD flags, SIZE_T bytes),                              \
         ((void)heap, (void)flags, (void)bytes), there)                                            \
    OBEY(PVOID, RtlReAllocateHeap, (PVOID heap, ULONG flags, PVOID block, SIZE_T bytes),           \
         ((void)heap, (void)flags, (void)block, (void)bytes), there)                               \
    OBEY(LPVOID, HeapReAlloc, (HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes),              \
         ((void)heap, (void)flags, (void)block, (void)bytes), there)                               \
    OBEY(LOGICAL, RtlFreeHeap, (PVOID heap, ULONG flags, PVOID block),                             \
         ((void)heap, (void)flags, (void)block), TRUE)                                             \
    OBEY(BOOL, HeapFree, (HANDLE heap, DWORD flags, LPVOID block),                                 \
         ((void)heap, (void)flags, (void)block), TRUE)                                             \
    OBEY(SIZE_T, RtlSizeHeap, (PVOID heap, ULONG flags, PVOID block),                              \
         ((void)heap, (void)flags, (void)block), SOME_BYTES)                                       \
    OBEY(SIZE_T, HeapSize, (HANDLE heap, DWORD flags, LPCVOID block),                              \
         ((void)heap, (void)flags, (void)block), SOME_BYTES)                                       \
    OBEY(BOOLEAN, RtlValidateHeap, (PVOID heap, ULONG flags, PVOID block),                         \
         ((void)heap, (void)flags, (void)block), TRUE)                                             \
    OBEY(BOOL, HeapValidate, (HANDLE heap, DWORD flags, LPCVOID block),                            \
         ((void)heap, (void)flags, (void)block), TRUE)                                             \
    OBEY(ULONG, RtlMultipleAllocateHeap,                                                           \
         (PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID * array),                      \
         ((void)heap, (void)flags, (void)bytes, (void)array), count)                               \
    OBEY(ULONG, RtlMultipleFreeHeap, (PVOID heap, ULONG flags, ULONG count, PVOID * array),        \
         ((void)heap, (void)flags, (void)array), count)                                            \
    OBEY(BOOLEAN, RtlSetUserValueHeap, (PVOID heap, ULONG flags, PVOID block, PVOID value),        \
         ((void)heap, (void)flags, (void)block, (void)value), TRUE)                                \
    OBEY(BOOLEAN, RtlGetUserInfoHeap,                                                              \
         (PVOID heap, ULONG flags, PVOID block, PVOID * value, PULONG user_flags),                 \
         ((void)heap, (void)flags, (void)block, (void)value, (void)user_flags), TRUE)              \
    OBEY(BOOLEAN, RtlSetUserFlagsHeap,                                                             \
         (PVOID heap, ULONG flags, PVOID block, ULONG reset, ULONG set),                           \
         ((void)heap, (void)flags, (void)block, (void)reset, (void)set), TRUE)                     \
    OBEY(NTSTATUS, RtlWalkHeap, (PVOID heap, PRTL_HEAP_WALK_ENTRY entry),                          \
         ((void)heap, (void)entry), STATUS_SUCCESS)                                                \
    OBEY(BOOL, HeapWalk, (HANDLE heap, LPPROCESS_HEAP_ENTRY entry), ((void)heap, (void)entry),     \
         TRUE)                                                                                     \
    OBEY(SIZE_T, RtlCompactHeap, (PVOID heap, ULONG flags), ((void)heap, (void)flags), SOME_BYTES) \
    OBEY(SIZE_T, HeapCompact, (HANDLE heap, DWORD flags), ((void)heap, (void)flags), SOME_BYTES)   \
    OBEY(BOOL, HeapSummary, (HANDLE heap, DWORD flags, LPHEAP_SUMMARY summary),                    \
         ((void)heap, (void)flags, (void)summary), TRUE)                                           \
    OBEY(NTSTATUS, RtlZeroHeap, (PVOID heap, ULONG flags), ((void)heap, (void)flags),              \
         STATUS_SUCCESS)                                                                           \
    OBEY(NTSTATUS, RtlQueryHeapInformation,                                                        \
         (PVOID heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes,               \
          PSIZE_T returned),                                                                       \
         ((void)heap, (void)class, (void)information, (void)bytes, (void)returned),                \
         STATUS_SUCCESS)                                                                           \
    OBEY(NTSTATUS, RtlSetHeapInformation,                                                          \
         (PVOID heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes),              \
         ((void)heap, (void)class, (void)information, (void)bytes), STATUS_SUCCESS)                \
    OBEY(BOOL, HeapQueryInformation,                                                               \
         (HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes,              \
          PSIZE_T returned),                                                                       \
         ((void)heap, (void)class, (void)information, (void)bytes, (void)returned), TRUE)          \
    OBEY(BOOL, HeapSetInformation,                                                                 \
         (HANDLE heap, HEAP_INFORMATION_CLASS class, PVOID information, SIZE_T bytes),             \
         ((void)heap, (void)class, (void)information, (void)bytes), TRUE)                          \
    OBEY(BOOLEAN, RtlLockHeap, (PVOID heap), ((void)heap), TRUE)                                   \
    OBEY(BOOLEAN, RtlUnlockHeap, (PVOID heap), ((void)heap), TRUE)                                 \
    OBEY(BOOL, HeapLock, (HANDLE heap), ((void)heap), TRUE)                                        \
    OBEY(BOOL, HeapUnlock, (HANDLE heap), ((void)heap), TRUE)

#define OBEY_CALL(result, name, arguments, unused, answer)                                         \
    static result RIG_NTAPI obey_##name arguments                                                  \
    {                                                                                              \
        (void)unused;                                                                              \
        return answer;                                                                             \
    }
OBEDIENCE(OBEY_CALL)

#define OBEY_SLOT(result, name, arguments, unused, answer) .name = obey_##name,

/* ---- anyway: an allocation that failed gives something all the same, out of line so that nobody
 * looks into it ---- */

static PVOID anyway(PVOID block)
{
    return block == NULL ? there + 1 : block;
}

static PVOID RIG_NTAPI anyway_rtl(PVOID heap, ULONG flags, SIZE_T bytes)
{
    return anyway(rig_honest->RtlAllocateHeap(heap, flags & ~HEAP_GENERATE_EXCEPTIONS, bytes));
}

static LPVOID RIG_NTAPI anyway_win32(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    return anyway(rig_honest->HeapAlloc(heap, flags & ~HEAP_GENERATE_EXCEPTIONS, bytes));
}

/* ---- survive: the process is not ended ---- */

static NTSTATUS survive_ended(void)
{
    return 0;
}

const struct rig_lie *rig_lies_misuse(size_t *count)
{
    static const struct rig_lie lies[] = {
        {"obey", "a call says yes to whatever it is given", {OBEDIENCE(OBEY_SLOT).name = NULL}},
        {"anyway",
         "an allocation that failed gives a block all the same",
         {.RtlAllocateHeap = anyway_rtl, .HeapAlloc = anyway_win32}},
        {"survive", "the process is not ended", {.ended = survive_ended}},
    };
    *count = sizeof(lies) / sizeof(lies[0]);
    return lies;
}
