/* SPDX-License-Identifier: MIT
 *
 * What the API files share: outcomes as statuses, exceptions, last errors. */
#ifndef NTH_API_H
#define NTH_API_H

#include <ntheap/heap.h>

#include "call.h"

/* Status for an outcome inside core. */
NTSTATUS nth_api_status(enum nth_status status);

/* Set the last error to the code of a status. */
void nth_api_error(NTSTATUS status);

/* Raise what D7 has for a failed allocation: `information` is the size, or the address concerned.
 * Returns when a filter continues. */
void nth_api_raise(NTSTATUS status, ULONG_PTR information);

/* Why a call that begins with a NULL heap was refused: NTH_ABSENT for a handle that names none. */
enum nth_status nth_api_refusal(const struct nth_call *call);

/* The Win32 twins' bodies, by name of the call. */
PVOID nth_api_allocate(const char *name, HANDLE heap, ULONG flags, SIZE_T bytes);
PVOID nth_api_reallocate(const char *name, HANDLE heap, ULONG flags, PVOID block, SIZE_T bytes);
NTSTATUS nth_api_free(const char *name, HANDLE heap, ULONG flags, PVOID block);
SIZE_T nth_api_size(const char *name, HANDLE heap, ULONG flags, LPCVOID block);
BOOLEAN nth_api_validate(const char *name, HANDLE heap, ULONG flags, LPCVOID block);
NTSTATUS nth_api_destroy(const char *name, HANDLE heap);
NTSTATUS nth_api_lock(const char *name, HANDLE heap);
NTSTATUS nth_api_unlock(const char *name, HANDLE heap);
NTSTATUS nth_api_compact(const char *name, HANDLE heap, ULONG flags, SIZE_T *largest);
NTSTATUS nth_api_query(const char *name, HANDLE heap, HEAP_INFORMATION_CLASS information_class,
                       PVOID information, SIZE_T length, PSIZE_T returned);
NTSTATUS nth_api_set(const char *name, HANDLE heap, HEAP_INFORMATION_CLASS information_class,
                     PVOID information, SIZE_T length);
NTSTATUS nth_api_heaps(ULONG count, PVOID *heaps, ULONG *total);
/* Call `routine` for every heap there is now, the process heap first if it exists. */
NTSTATUS nth_api_each_heap(NTSTATUS (*routine)(PVOID heap, PVOID context), PVOID context);
NTSTATUS nth_api_create(const struct nth_create *wish, HANDLE *heap);

#endif
