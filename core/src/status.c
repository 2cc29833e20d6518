/* SPDX-License-Identifier: MIT
 *
 * From statuses to Win32 error codes: the pairs a heap needs, and one answer for all the rest.
 * Calls nothing. */
#include <ntheap/heap.h>

struct status_pair {
    NTSTATUS status;
    ULONG error;
};

/* In the order of the statuses, as in types.h. */
static const struct status_pair status_pairs[] = {
    {STATUS_SUCCESS, ERROR_SUCCESS},
    {STATUS_NO_MORE_ENTRIES, ERROR_NO_MORE_ITEMS},
    {STATUS_UNSUCCESSFUL, ERROR_GEN_FAILURE},
    {STATUS_INFO_LENGTH_MISMATCH, ERROR_BAD_LENGTH},
    {STATUS_ACCESS_VIOLATION, ERROR_NOACCESS},
    {STATUS_INVALID_HANDLE, ERROR_INVALID_HANDLE},
    {STATUS_INVALID_PARAMETER, ERROR_INVALID_PARAMETER},
    {STATUS_NO_MEMORY, ERROR_NOT_ENOUGH_MEMORY},
    {STATUS_BUFFER_TOO_SMALL, ERROR_INSUFFICIENT_BUFFER},
    {STATUS_RESOURCE_NOT_OWNED, ERROR_NOT_OWNER},
};

#define STATUS_PAIR_COUNT (sizeof(status_pairs) / sizeof(status_pairs[0]))

ULONG RtlNtStatusToDosError(NTSTATUS Status)
{
    for (size_t idx = 0; idx < STATUS_PAIR_COUNT; idx++) {
        if (status_pairs[idx].status == Status) {
            return status_pairs[idx].error;
        }
    }
    return ERROR_MR_MID_NOT_FOUND;
}
