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

/* What the calls do when no verifier looks (verifier_call.c): they raise nothing but what a
 * CommitRoutine threw. `*status` tells why a pointer is NULL. */
PVOID nth_plain_allocate(const char *name, HANDLE handle, ULONG flags, SIZE_T bytes,
                         enum nth_status *status);
PVOID nth_plain_reallocate(const char *name, HANDLE handle, ULONG flags, PVOID block, SIZE_T bytes,
                           enum nth_status *status);
NTSTATUS nth_plain_free(const char *name, HANDLE handle, ULONG flags, PVOID block);
SIZE_T nth_plain_size(const char *name, HANDLE handle, ULONG flags, LPCVOID block);
BOOLEAN nth_plain_validate(const char *name, HANDLE handle, ULONG flags, LPCVOID block);

/* An allocation's failure: NULL, or an exception; NULL again when a filter continues it. */
PVOID nth_plain_fail(bool raise, enum nth_status status, SIZE_T bytes, const void *concerned);

/* Call `routine` for every heap there is now, the process heap first if it exists. */
NTSTATUS nth_api_each_heap(NTSTATUS (*routine)(PVOID heap, PVOID context), PVOID context);

#endif
