/* SPDX-License-Identifier: MIT
 *
 * The NT types, flag bits, statuses and structures that the heap calls speak. Values and layouts
 * are facts of the documented interface; every layout is tied down by a static_assert, in both
 * word sizes. Depends on <stddef.h> and <stdint.h> only. */
#ifndef NTHEAP_TYPES_H
#define NTHEAP_TYPES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define NTH_STATIC_ASSERT static_assert
#else
#define NTH_STATIC_ASSERT _Static_assert
#endif

typedef void VOID;
typedef void *PVOID;
typedef const void *LPCVOID;
typedef void *LPVOID;
typedef void *HANDLE;
typedef HANDLE *PHANDLE;
typedef uint8_t BYTE;
typedef uint8_t UCHAR;
typedef uint8_t BOOLEAN; /* 1 byte: compare with zero */
typedef uint16_t WORD;
typedef uint16_t USHORT;
typedef uint32_t DWORD;
typedef uint32_t ULONG;
typedef uint32_t *PULONG;
typedef int32_t LONG;
typedef int32_t BOOL;     /* 4 bytes */
typedef uint32_t LOGICAL; /* 4 bytes */
typedef uint32_t NTSTATUS; /* unsigned here, so that codes compare without casts; see NT_SUCCESS */
typedef size_t SIZE_T;
typedef size_t *PSIZE_T;
typedef uintptr_t ULONG_PTR;

#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif

/* An NTSTATUS below 0x80000000 (success or information) counts as success. */
#define NT_SUCCESS(status) (((status)&0x80000000u) == 0)

/* Flag bits at creation and on calls. What each bit does on which call: core/src/flags.def. */
#define HEAP_NO_SERIALIZE 0x00000001u
#define HEAP_GROWABLE 0x00000002u
#define HEAP_GENERATE_EXCEPTIONS 0x00000004u
#define HEAP_ZERO_MEMORY 0x00000008u
#define HEAP_REALLOC_IN_PLACE_ONLY 0x00000010u
#define HEAP_TAIL_CHECKING_ENABLED 0x00000020u
#define HEAP_FREE_CHECKING_ENABLED 0x00000040u
#define HEAP_DISABLE_COALESCE_ON_FREE 0x00000080u
#define HEAP_CREATE_SEGMENT_HEAP 0x00000100u /* at creation */
#define HEAP_CREATE_HARDENED 0x00000200u     /* at creation */
#define HEAP_SETTABLE_USER_VALUE 0x00000100u /* on an allocating call */
#define HEAP_SETTABLE_USER_FLAG1 0x00000200u /* on an allocating call */
#define HEAP_SETTABLE_USER_FLAG2 0x00000400u
#define HEAP_SETTABLE_USER_FLAG3 0x00000800u
#define HEAP_SETTABLE_USER_FLAGS 0x00000E00u
#define HEAP_CREATE_ALIGN_16 0x00010000u
#define HEAP_CREATE_ENABLE_TRACING 0x00020000u
#define HEAP_CREATE_ENABLE_EXECUTE 0x00040000u
#define HEAP_MAXIMUM_TAG 0x0FFFu
#define HEAP_PSEUDO_TAG_FLAG 0x8000u
#define HEAP_TAG_SHIFT 18

/* Statuses and exception codes. */
#define STATUS_SUCCESS 0x00000000u
#define STATUS_BREAKPOINT 0x80000003u
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
#define STATUS_STACK_OVERFLOW 0xC00000FDu
#define STATUS_HEAP_CORRUPTION 0xC0000374u
#define STATUS_VERIFIER_STOP 0xC0000421u

#define EXCEPTION_ACCESS_VIOLATION STATUS_ACCESS_VIOLATION
#define EXCEPTION_NONCONTINUABLE 0x1u        /* ExceptionFlags */
#define EXCEPTION_SOFTWARE_ORIGINATE 0x80u   /* reserved: mask before comparing */
#define EXCEPTION_MAXIMUM_PARAMETERS 15
#define EXCEPTION_READ_FAULT 0u              /* ExceptionInformation[0] of an access violation */
#define EXCEPTION_WRITE_FAULT 1u
#define EXCEPTION_EXECUTE_FAULT 8u

/* Win32 error codes. */
#define NO_ERROR 0u
#define ERROR_SUCCESS 0u
#define ERROR_INVALID_HANDLE 6u
#define ERROR_NOT_ENOUGH_MEMORY 8u
#define ERROR_OUTOFMEMORY 14u
#define ERROR_BAD_LENGTH 24u
#define ERROR_GEN_FAILURE 31u
#define ERROR_INVALID_PARAMETER 87u
#define ERROR_INSUFFICIENT_BUFFER 122u
#define ERROR_NO_MORE_ITEMS 259u
#define ERROR_NOT_OWNER 288u
#define ERROR_MR_MID_NOT_FOUND 317u
#define ERROR_NOACCESS 998u

/* PROCESS_HEAP_ENTRY.wFlags. */
#define PROCESS_HEAP_REGION 0x0001u
#define PROCESS_HEAP_UNCOMMITTED_RANGE 0x0002u
#define PROCESS_HEAP_ENTRY_BUSY 0x0004u
#define PROCESS_HEAP_ENTRY_MOVEABLE 0x0010u
#define PROCESS_HEAP_ENTRY_DDESHARE 0x0020u

/* RTL_HEAP_WALK_ENTRY.Flags as core reports them (core/SOURCES.md names the ruling). */
#define RTL_HEAP_WALK_BUSY 0x4011u
#define RTL_HEAP_WALK_REGION 0x0002u
#define RTL_HEAP_WALK_UNCOMMITTED 0x1000u
#define RTL_HEAP_WALK_LFH 0x8000u

typedef enum _HEAP_INFORMATION_CLASS {
    HeapCompatibilityInformation = 0,
    HeapEnableTerminationOnCorruption = 1,
    HeapOptimizeResources = 3
} HEAP_INFORMATION_CLASS;

#define HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION 1u

typedef struct _HEAP_OPTIMIZE_RESOURCES_INFORMATION {
    DWORD Version;
    DWORD Flags;
} HEAP_OPTIMIZE_RESOURCES_INFORMATION;
NTH_STATIC_ASSERT(sizeof(HEAP_OPTIMIZE_RESOURCES_INFORMATION) == 8, "documented size");

/* Commits pages of a caller's heap block: `Base` is the block, `*CommitAddress` and `*CommitSize`
 * (bytes) come in as wanted and go out as done. */
typedef NTSTATUS (*PRTL_HEAP_COMMIT_ROUTINE)(PVOID Base, PVOID *CommitAddress, PSIZE_T CommitSize);

/* All sizes in bytes; 0 means unspecified. Length must be sizeof(RTL_HEAP_PARAMETERS). */
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

typedef struct _PROCESS_HEAP_ENTRY {
    PVOID lpData;
    DWORD cbData;
    BYTE cbOverhead;
    BYTE iRegionIndex;
    WORD wFlags;
    union {
        struct {
            HANDLE hMem;
            DWORD dwReserved[3];
        } Block;
        struct {
            DWORD dwCommittedSize;
            DWORD dwUnCommittedSize;
            LPVOID lpFirstBlock;
            LPVOID lpLastBlock; /* one past the region's end, despite its name */
        } Region;
    };
} PROCESS_HEAP_ENTRY, *LPPROCESS_HEAP_ENTRY;

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

typedef struct _HEAP_SUMMARY {
    DWORD cb; /* sizeof(HEAP_SUMMARY), set by the caller */
    SIZE_T cbAllocated;
    SIZE_T cbCommitted;
    SIZE_T cbReserved;
    SIZE_T cbMaxReserve;
} HEAP_SUMMARY, *LPHEAP_SUMMARY;

typedef struct _EXCEPTION_RECORD {
    DWORD ExceptionCode;
    DWORD ExceptionFlags;
    struct _EXCEPTION_RECORD *ExceptionRecord; /* the exception during which this one arose */
    PVOID ExceptionAddress;
    DWORD NumberParameters;
    ULONG_PTR ExceptionInformation[EXCEPTION_MAXIMUM_PARAMETERS];
} EXCEPTION_RECORD, *PEXCEPTION_RECORD;

typedef struct _EXCEPTION_POINTERS {
    PEXCEPTION_RECORD ExceptionRecord;
    PVOID ContextRecord; /* the ucontext_t of a hardware fault, NULL for a raised exception */
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS;

typedef struct _RTL_CRITICAL_SECTION {
    PVOID DebugInfo;
    LONG LockCount; /* -1 when free, as documented */
    LONG RecursionCount;
    HANDLE OwningThread;
    HANDLE LockSemaphore; /* here: the lock object made by the seam's lock table */
    ULONG_PTR SpinCount;
} RTL_CRITICAL_SECTION, CRITICAL_SECTION, *LPCRITICAL_SECTION, *PRTL_CRITICAL_SECTION;

#define NTH_WORDS(x64, x86) (sizeof(void *) == 8 ? (size_t)(x64) : (size_t)(x86))
NTH_STATIC_ASSERT(sizeof(RTL_HEAP_PARAMETERS) == NTH_WORDS(0x60, 0x30), "documented size");
NTH_STATIC_ASSERT(offsetof(RTL_HEAP_PARAMETERS, CommitRoutine) == NTH_WORDS(72, 36), "documented");
NTH_STATIC_ASSERT(sizeof(PROCESS_HEAP_ENTRY) == NTH_WORDS(40, 28), "documented size");
NTH_STATIC_ASSERT(offsetof(PROCESS_HEAP_ENTRY, wFlags) == NTH_WORDS(14, 10), "documented");
NTH_STATIC_ASSERT(offsetof(PROCESS_HEAP_ENTRY, Block) == NTH_WORDS(16, 12), "documented");
NTH_STATIC_ASSERT(sizeof(RTL_HEAP_WALK_ENTRY) == NTH_WORDS(48, 28), "documented size");
NTH_STATIC_ASSERT(sizeof(HEAP_SUMMARY) == NTH_WORDS(40, 20), "documented size");
NTH_STATIC_ASSERT(sizeof(EXCEPTION_RECORD) == NTH_WORDS(152, 80), "documented size");
NTH_STATIC_ASSERT(offsetof(EXCEPTION_RECORD, ExceptionInformation) == NTH_WORDS(32, 20), "documented");

#ifdef __cplusplus
}
#endif
#endif
