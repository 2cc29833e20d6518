/* SPDX-License-Identifier: MIT
 *
 * The NT types and values that the rig speaks, on every platform: from <ntheap/types.h> (and the answers of filters
 * from <ntheap/seh.h>), and on
 * Windows from the SDK, with what the SDK leaves to other headers added here. */
#ifndef HEAPRIG_NT_H
#define HEAPRIG_NT_H

#ifndef _WIN32
#include <ntheap/seh.h>
#include <ntheap/types.h>
#else
#include <stddef.h>
#include <stdint.h>

#define WIN32_LEAN_AND_MEAN
#define WIN32_NO_STATUS
#include <windows.h>
#undef WIN32_NO_STATUS

typedef LONG NTSTATUS;
typedef ULONG LOGICAL;

#define HEAP_SETTABLE_USER_VALUE 0x00000100u
#define HEAP_SETTABLE_USER_FLAG1 0x00000200u
#define HEAP_SETTABLE_USER_FLAG2 0x00000400u
#define HEAP_SETTABLE_USER_FLAG3 0x00000800u
#define HEAP_SETTABLE_USER_FLAGS 0x00000E00u

#define STATUS_SUCCESS 0x00000000u
#define STATUS_NO_MORE_ENTRIES 0x8000001Au
#define STATUS_UNSUCCESSFUL 0xC0000001u
#define STATUS_INFO_LENGTH_MISMATCH 0xC0000004u
#define STATUS_ACCESS_VIOLATION 0xC0000005u
#define STATUS_INVALID_HANDLE 0xC0000008u
#define STATUS_INVALID_PARAMETER 0xC000000Du
#define STATUS_NO_MEMORY 0xC0000017u
#define STATUS_BUFFER_TOO_SMALL 0xC0000023u
#define STATUS_NONCONTINUABLE_EXCEPTION 0xC0000025u
#define STATUS_INVALID_DISPOSITION 0xC0000026u
#define STATUS_RESOURCE_NOT_OWNED 0xC0000264u
#define STATUS_HEAP_CORRUPTION 0xC0000374u
#define STATUS_VERIFIER_STOP 0xC0000421u

typedef NTSTATUS(NTAPI *PRTL_HEAP_COMMIT_ROUTINE)(PVOID Base, PVOID *CommitAddress,
                                                  PSIZE_T CommitSize);

typedef struct _RTL_HEAP_PARAMETERS {
    ULONG Length;
    SIZE_T SegmentReserve;
    SIZE_T SegmentCommit;
    SIZE_T DeCommitFreeBlockThreshold;
    SIZE_T DeCommitTotalFreeThreshold;
    SIZE_T MaximumAllocationSize;
    SIZE_T VirtualMemoryThreshold;
    SIZE_T InitialCommit;
    SIZE_T InitialReserve;
    PRTL_HEAP_COMMIT_ROUTINE CommitRoutine;
    SIZE_T Reserved[2];
} RTL_HEAP_PARAMETERS, *PRTL_HEAP_PARAMETERS;

typedef struct _RTL_HEAP_WALK_ENTRY {
    PVOID DataAddress;
    SIZE_T DataSize;
    UCHAR OverheadBytes;
    UCHAR SegmentIndex;
    USHORT Flags;
    union {
        struct {
            SIZE_T Settable;
            USHORT TagIndex;
            USHORT AllocatorBackTraceIndex;
            ULONG Reserved[2];
        } Block;
        struct {
            ULONG CommittedSize;
            ULONG UnCommittedSize;
            PVOID FirstEntry;
            PVOID LastEntry;
        } Segment;
    };
} RTL_HEAP_WALK_ENTRY, *PRTL_HEAP_WALK_ENTRY;
#endif

/* Flags of an RTL_HEAP_WALK_ENTRY that mean the same everywhere. */
#define RIG_WALK_REGION 0x0002u
#define RIG_WALK_BUSY 0x0001u

/* What stands with it where a busy block is told, as seen. */
#define RIG_WALK_BUSY_MORE 0x4010u

/* The same of an uncommitted range: either bit, by version. */
#define RIG_WALK_UNCOMMITTED 0x1100u

#endif
