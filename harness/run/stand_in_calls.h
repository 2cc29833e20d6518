/* SPDX-License-Identifier: MIT
 *
 * The calls that a module makes, for stand_in.c and module.c.
 *
 *   BODY(module, name, result, arguments, passed) */
#ifndef RIG_RUN_STAND_IN_CALLS_H
#define RIG_RUN_STAND_IN_CALLS_H

#define CALLS(BODY, module)                                                                        \
    BODY(module, RtlAllocateHeap, PVOID, (PVOID heap, ULONG flags, SIZE_T bytes),                  \
         (heap, flags, bytes))                                                                     \
    BODY(module, HeapAlloc, LPVOID, (HANDLE heap, DWORD flags, SIZE_T bytes),                      \
         (heap, flags, bytes))                                                                     \
    BODY(module, RtlReAllocateHeap, PVOID,                                                         \
         (PVOID heap, ULONG flags, PVOID block, SIZE_T bytes), (heap, flags, block, bytes))        \
    BODY(module, HeapReAlloc, LPVOID, (HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes),      \
         (heap, flags, block, bytes))                                                              \
    BODY(module, RtlFreeHeap, LOGICAL, (PVOID heap, ULONG flags, PVOID block),                     \
         (heap, flags, block))                                                                     \
    BODY(module, HeapFree, BOOL, (HANDLE heap, DWORD flags, LPVOID block), (heap, flags, block))   \
    BODY(module, RtlSizeHeap, SIZE_T, (PVOID heap, ULONG flags, PVOID block),                      \
         (heap, flags, block))                                                                     \
    BODY(module, HeapSize, SIZE_T, (HANDLE heap, DWORD flags, LPCVOID block),                      \
         (heap, flags, block))                                                                     \
    BODY(module, RtlMultipleAllocateHeap, ULONG,                                                   \
         (PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID * array),                      \
         (heap, flags, bytes, count, array))                                                       \
    BODY(module, RtlMultipleFreeHeap, ULONG,                                                       \
         (PVOID heap, ULONG flags, ULONG count, PVOID * array), (heap, flags, count, array))       \
    BODY(module, RtlDisownModuleHeapAllocation, NTSTATUS, (HANDLE heap, PVOID block),              \
         (heap, block))                                                                            \
    BODY(module, HeapCreate, HANDLE, (DWORD flags, SIZE_T commit, SIZE_T most),                    \
         (flags, commit, most))                                                                    \
    BODY(module, RtlCreateHeap, PVOID,                                                             \
         (ULONG flags, PVOID base, SIZE_T reserve, SIZE_T commit, PVOID lock,                      \
          PRTL_HEAP_PARAMETERS parameters),                                                        \
         (flags, base, reserve, commit, lock, parameters))

#endif
