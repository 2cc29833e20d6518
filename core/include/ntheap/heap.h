/* SPDX-License-Identifier: MIT
 *
 * The heap calls, both spellings, and what each of them promises. This is the page to read first:
 * everything behind it exists to keep these comments true. `core/SOURCES.md` explains the IDs
 * behind `Source:` ("D12" is a ruling there) and `core/src/flags.def` says what every flag bit
 * does on every call.
 *
 * Words used below without further explanation:
 *   bad handle   names no heap: NULL, garbage, interior, or of a heap already destroyed. It is
 *                refused by looking, never by dereferencing, and reported, save NULL (D12, D13).
 *   bad block    starts no live block of the heap; it is reported with its reason (D14).
 *   raises       only while HEAP_GENERATE_EXCEPTIONS is in force: set at creation or in the call's
 *                flags; for a bad handle only the call's flags can count (D2).
 *   reported     the seam's report hook runs once, with the heap unlocked, before the result.
 * A call that fails has changed nothing (D10). On success no call touches the last error but
 * HeapCompact, and of the Rtl calls only the five named below ever set it (D8).
 *
 * Exceptions themselves (NT_TRY, RaiseException, vectored handlers) are in <ntheap/seh.h>. */
#ifndef NTHEAP_HEAP_H
#define NTHEAP_HEAP_H

#include <ntheap/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Making and destroying ------------------------------------------------------------------ */

/** Make a private heap. The handle is the address of its first region, a multiple of 64 KiB.
 *
 * `HeapBase` NULL takes memory from the page source. Without HEAP_GROWABLE the heap never gets
 * larger than its reserve (D21). Otherwise `HeapBase` is the caller's block of `ReserveSize` bytes,
 * a multiple of 64 KiB in address, which the heap uses and never gives away (D24). `Lock` NULL or
 * an initialised CRITICAL_SECTION that becomes the heap's lock (D28). `Parameters` NULL or a
 * filled structure, where 0 means unspecified (D25 to D27, D29).
 *
 * Units:  ReserveSize and CommitSize in bytes, rounded up to pages. Both 0: 64 pages and 1 page;
 *         only the reserve 0: the commit rounded up to 16 pages; only the commit 0: 1 page. A
 *         commit above the reserve is cut down to it (D22).
 * Errors: NULL on every failure; never raises, whatever the flags (D20). Last error untouched.
 * Source: [ddi:rtlcreateheap], [ddi:rtl-heap-parameters], [obs] A1, B2; D20 to D35. */
PVOID RtlCreateHeap(ULONG Flags, PVOID HeapBase, SIZE_T ReserveSize, SIZE_T CommitSize, PVOID Lock,
                    PRTL_HEAP_PARAMETERS Parameters);

/** Destroy a private heap with all blocks still in it and give back every page that is its own.
 * A lock held by the caller is no obstacle; one held by another thread is waited for (D52).
 *
 * Units:  none.
 * Errors: NULL means success. On failure the handle comes back: a bad handle (so NULL for NULL),
 *         the process heap, which stays unharmed, and a heap in the middle of a call (D51, D52).
 *         Never raises; last error untouched.
 * Source: [ddi:rtldestroyheap]; D12, D17, D51 to D54. */
PVOID RtlDestroyHeap(PVOID HeapHandle);

/** Make a private heap from page-source memory. `dwMaximumSize` 0 lets it grow without limit;
 * any other value fixes its size.
 *
 * Units:  both sizes in bytes, rounded up to pages; `dwInitialSize` 0 commits one page.
 * Errors: NULL; never raises (D20). Last error ERROR_INVALID_PARAMETER when the maximum is nonzero
 *         and the initial size is not below it, or a size is SIZE_MAX / 2 or more;
 *         ERROR_NOT_ENOUGH_MEMORY for shortage (D22). Unknown flag bits are ignored (D23).
 * Source: [sdk:heapcreate]; D20, D22, D23, D31 to D35, D3. */
HANDLE HeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize);

/** RtlDestroyHeap with a Win32 result: nonzero means success.
 *
 * Units:  none.
 * Errors: FALSE; last error ERROR_INVALID_HANDLE for a bad handle, otherwise
 *         ERROR_INVALID_PARAMETER (the process heap; a heap in the middle of a call).
 * Source: [sdk:heapdestroy]; D9, D12, D51, D52. */
BOOL HeapDestroy(HANDLE hHeap);

/* ---- Blocks --------------------------------------------------------------------------------- */

/** Allocate a block of `Size` bytes, aligned to 16 (64-bit) or 8 (32-bit; 16 when the heap was made
 * with HEAP_CREATE_ALIGN_16). Size 0 gives a distinct live block of size 0 (D39). The contents are
 * unspecified unless HEAP_ZERO_MEMORY is given. Above the heap's threshold a growable heap gives
 * the block a reservation of its own (D37).
 *
 * Units:  Size in bytes, all values of SIZE_T.
 * Errors: NULL, or raises: STATUS_NO_MEMORY for shortage, for more than MaximumAllocationSize and
 *         for sizes whose rounding would wrap (D36, D41); STATUS_BUFFER_TOO_SMALL above the
 *         threshold of a nongrowable heap (D5); STATUS_ACCESS_VIOLATION for a bad handle, detected
 *         corruption, a damaged or re-entered heap (D6). Last error untouched.
 * Source: [ddi:rtlallocateheap], [sdk:heapalloc]; D1 to D7, D19, D36 to D42. */
PVOID RtlAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size);

/** Change the size of a block, keeping the contents up to the smaller size. The block may move
 * unless HEAP_REALLOC_IN_PLACE_ONLY is given. With HEAP_ZERO_MEMORY every byte past the old
 * requested size reads 0. Size 0 leaves a live block of size 0 where it was (D43).
 *
 * Units:  Size in bytes, all values of SIZE_T.
 * Errors: NULL, or raises, with the block as it was: the codes of RtlAllocateHeap;
 *         STATUS_ACCESS_VIOLATION also for a bad block, reported, and for NULL, not reported (D44);
 *         STATUS_NO_MEMORY also for HEAP_REALLOC_IN_PLACE_ONLY without room (D45). Last error
 *         untouched.
 * Source: [sdk:heaprealloc] (no page of its own); D1 to D7, D14, D43 to D46, D48, D49. */
PVOID RtlReAllocateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, SIZE_T Size);

/** Free a block that an allocating call returned. `BaseAddress` is dead afterwards.
 *
 * Units:  none.
 * Errors: FALSE for a bad handle or block, detected corruption, a damaged or re-entered heap; the
 *         report hook has run by then. NULL is TRUE without a look at the handle (D4). Never
 *         raises; last error untouched.
 * Source: [ddi:rtlfreeheap], [devnotes:rtlfreeheap]; D4, D10, D12, D14, D47. */
LOGICAL RtlFreeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress);

/** The size that was asked for when the block was last allocated or reallocated.
 *
 * Units:  bytes.
 * Errors: (SIZE_T)-1 for a bad handle or block (reported), NULL (not reported), detected
 *         corruption, a damaged or re-entered heap. Never raises; last error untouched.
 * Source: [sdk:heapsize] (no page of its own); D12, D14, D15, D40, D48. */
SIZE_T RtlSizeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress);

/** RtlAllocateHeap by its Win32 name; the same in every respect.
 *
 * Units:  dwBytes in bytes.
 * Errors: as RtlAllocateHeap. The last error is documented as not set, and is untouched (D8).
 * Source: [sdk:heapalloc]; D1 to D8. */
LPVOID HeapAlloc(HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes);

/** RtlReAllocateHeap by its Win32 name; the same in every respect.
 *
 * Units:  dwBytes in bytes.
 * Errors: as RtlReAllocateHeap. The last error is untouched (D8).
 * Source: [sdk:heaprealloc]; D1 to D8, D43 to D46. */
LPVOID HeapReAlloc(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes);

/** RtlFreeHeap with a Win32 last error.
 *
 * Units:  none.
 * Errors: FALSE; last error ERROR_INVALID_HANDLE for a bad handle, otherwise
 *         ERROR_INVALID_PARAMETER (D9). NULL is TRUE and leaves the last error alone (D4).
 * Source: [sdk:heapfree]; D4, D9, D12, D14. */
BOOL HeapFree(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem);

/** RtlSizeHeap by its Win32 name; the same in every respect.
 *
 * Units:  bytes.
 * Errors: (SIZE_T)-1 as RtlSizeHeap; last error untouched (D8).
 * Source: [sdk:heapsize]; D8, D14, D15, D40. */
SIZE_T HeapSize(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem);

/** Allocate `Count` blocks of `Size` bytes into `Array`, in order, stopping at the first that
 * cannot be had. Entries from there on are untouched. `Array` may be NULL when `Count` is 0.
 *
 * Units:  Size in bytes; Count and the result in blocks.
 * Errors: fewer than `Count`, with last error ERROR_NOT_ENOUGH_MEMORY when an allocation failed,
 *         ERROR_NOACCESS when `Array` is not writable (0 blocks then), ERROR_INVALID_HANDLE for a
 *         bad handle (0 blocks), ERROR_INVALID_PARAMETER for damage met, a damaged or re-entered
 *         heap. Raises instead: what RtlAllocateHeap raises, and
 *         STATUS_ACCESS_VIOLATION for the array; blocks already made stay in the array (D50).
 * Source: [obs] B8; D8, D50. */
ULONG RtlMultipleAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size, ULONG Count,
                              PVOID *Array);

/** Free `Count` blocks, in order, stopping at the first that is refused. NULL entries count as
 * freed. `Array` may be NULL when `Count` is 0; it is only read.
 *
 * Units:  Count and the result in blocks.
 * Errors: fewer than `Count`: last error ERROR_INVALID_PARAMETER at the first bad block (reported),
 *         ERROR_NOACCESS when the array cannot be read (0 blocks), ERROR_INVALID_HANDLE for a bad
 *         handle at the first entry that is not NULL. Never raises (D50).
 * Source: [obs] B9; D8, D14, D50. */
ULONG RtlMultipleFreeHeap(PVOID HeapHandle, ULONG Flags, ULONG Count, PVOID *Array);

/** Take a block out of the verifier's leak tracking (<ntheap/verifier.h>): no leak is told for it when
 * the module that allocated it is unloaded. Without the verifier's leak layer it does nothing.
 *
 * Units:  none.
 * Errors: none: STATUS_SUCCESS whatever is given; what is no live block of the heap is left alone,
 *         and no argument is dereferenced (D78, D93).
 * Source: [devnotes:rtldisownmoduleheapallocation]; D78, D93. */
NTSTATUS RtlDisownModuleHeapAllocation(HANDLE HeapHandle, PVOID Allocation);

/* ---- User value and flags of a block -------------------------------------------------------- */

/** Set the user value of a block made with HEAP_SETTABLE_USER_VALUE.
 *
 * Units:  none.
 * Errors: FALSE and last error ERROR_INVALID_PARAMETER for a bad handle or block, NULL, and for a
 *         block made without room for a value. Never raises.
 * Source: [obs] A47 to A49, B5; D8, D14, D15, D49. */
BOOLEAN RtlSetUserValueHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID UserValue);

/** Ask for the user value and the user flags of a block. Either pointer may be NULL. For a block
 * without user information `*UserValue` is untouched and `*UserFlags` becomes 0.
 *
 * Units:  none. Flags are HEAP_SETTABLE_USER_FLAG1 to 3.
 * Errors: FALSE and last error ERROR_INVALID_PARAMETER for a bad handle or block and NULL;
 *         FALSE and ERROR_NOACCESS when a result cannot be written. Never raises.
 * Source: [obs] A48; D8, D14, D15, D49. */
BOOLEAN RtlGetUserInfoHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID *UserValue,
                           PULONG UserFlags);

/** Change the user flags of a block: new = (old without `UserFlagsReset`) with `UserFlagsSet`.
 *
 * Units:  none. Both masks lie in HEAP_SETTABLE_USER_FLAGS.
 * Errors: FALSE and last error ERROR_INVALID_PARAMETER for a bit outside the mask, a bad handle or
 *         block, NULL, and a block without user information. Never raises.
 * Source: [obs] A49, B5; D8, D14, D15, D49. */
BOOLEAN RtlSetUserFlagsHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, ULONG UserFlagsReset,
                            ULONG UserFlagsSet);

/* ---- Looking at a heap ---------------------------------------------------------------------- */

/** Check one block, or with NULL the whole heap: every block and every control structure. The
 * check of one block looks at nothing beyond it.
 *
 * Units:  none.
 * Errors: FALSE. Reported: a bad handle (not NULL), a damaged live block, the first broken
 *         invariant of the heap, a damaged or re-entered heap. Not reported: an address that is no
 *         live block. Never raises, never ends the process; last error untouched (D76).
 * Source: [sdk:heapvalidate] (no page of its own); D12, D48, D76. */
BOOLEAN RtlValidateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress);

/** RtlValidateHeap by its Win32 name; the same in every respect.
 *
 * Units:  none.
 * Errors: as RtlValidateHeap; last error untouched (D8).
 * Source: [sdk:heapvalidate]; D8, D76. */
BOOL HeapValidate(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem);

/** Validate every heap of the process, in the order of RtlGetProcessHeaps.
 *
 * Units:  none.
 * Errors: FALSE when any heap is not sound; each such heap is reported once (D76).
 * Source: clause RVALPH-01; D76. */
BOOLEAN RtlValidateProcessHeaps(void);

/** Give the next element of the heap; `Entry->DataAddress` NULL starts a walk. No state lives
 * outside the entry. Order: each region with its elements by address, then the large blocks in
 * the order of their allocation (D68).
 *
 * Units:  sizes in bytes. OverheadBytes and SegmentIndex saturate at 255; large blocks have index
 *         64.
 * Errors: STATUS_NO_MORE_ENTRIES at the end; STATUS_INVALID_HANDLE; STATUS_ACCESS_VIOLATION for an
 *         entry that cannot be read and written; STATUS_INVALID_PARAMETER for one that was altered;
 *         STATUS_HEAP_CORRUPTION, reported, for damage met, a damaged or re-entered heap. The entry
 *         is untouched then. Never raises; last error untouched.
 * Source: [sdk:heapwalk], [obs] A22; D68 to D72. */
NTSTATUS RtlWalkHeap(PVOID HeapHandle, PRTL_HEAP_WALK_ENTRY Entry);

/** The same walk in Win32 form. cbData saturates at 0xFFFFFFFF (D72).
 *
 * Units:  sizes in bytes. cbOverhead and iRegionIndex saturate at 255; large blocks have index 64.
 * Errors: FALSE with last error ERROR_NO_MORE_ITEMS at the end, ERROR_INVALID_HANDLE,
 *         ERROR_NOACCESS for the entry, ERROR_INVALID_PARAMETER for an altered entry, damage met, a
 *         damaged or re-entered heap (D70).
 * Source: [sdk:heapwalk], [sdk:process-heap-entry], [win32:enumerating-a-heap]; D9, D68 to D72. */
BOOL HeapWalk(HANDLE hHeap, LPPROCESS_HEAP_ENTRY lpEntry);

/** Merge what can be merged, give front-end memory back, and tell the largest committed free block:
 * what one allocation from it could get. Live blocks never move.
 *
 * Units:  bytes.
 * Errors: 0 for no free block, a bad handle, damage met, a damaged or re-entered heap. Never
 *         raises; last error untouched.
 * Source: [sdk:heapcompact]; D46, D73. */
SIZE_T RtlCompactHeap(PVOID HeapHandle, ULONG Flags);

/** RtlCompactHeap with a Win32 last error.
 *
 * Units:  bytes.
 * Errors: 0: last error NO_ERROR when there is no committed free block, ERROR_INVALID_HANDLE for a
 *         bad handle, otherwise ERROR_INVALID_PARAMETER (D73).
 * Source: [sdk:heapcompact]; D9, D73. */
SIZE_T HeapCompact(HANDLE hHeap, DWORD dwFlags);

/** Sums over the heap. `lpSummary->cb` must be sizeof(HEAP_SUMMARY); dwFlags is not looked at.
 *
 * Units:  bytes; allocated <= committed <= reserved <= max reserve.
 * Errors: FALSE with last error ERROR_INVALID_HANDLE, ERROR_NOACCESS for the structure,
 *         ERROR_INVALID_PARAMETER for a wrong cb, a damaged or re-entered heap (D74).
 * Source: [sdk:heapsummary], [sdk:heap-summary]; D9, D74. */
BOOL HeapSummary(HANDLE hHeap, DWORD dwFlags, LPHEAP_SUMMARY lpSummary);

/** Fill the data bytes of every free block with zeros: the range a walk shows for it. Live blocks
 * and later behaviour are unchanged.
 *
 * Units:  none.
 * Errors: STATUS_INVALID_HANDLE; STATUS_HEAP_CORRUPTION, reported, for damage met, a damaged or
 *         re-entered heap. Never raises; last error untouched.
 * Source: clause RZERO-01; D10, D75. */
NTSTATUS RtlZeroHeap(PVOID HeapHandle, ULONG Flags);

/* ---- Information ---------------------------------------------------------------------------- */

/** Ask for class HeapCompatibilityInformation, a ULONG: 0 until the front end has started or was
 * asked for, 2 from then on, never 1. A larger buffer is accepted.
 *
 * Units:  lengths in bytes. `*ReturnLength`, if given, becomes 4 on success and when the buffer is
 *         too small, and is untouched otherwise.
 * Errors: STATUS_INVALID_PARAMETER for every other class; STATUS_ACCESS_VIOLATION for a NULL handle
 *         and for results that cannot be written; STATUS_INVALID_HANDLE; STATUS_BUFFER_TOO_SMALL;
 *         STATUS_HEAP_CORRUPTION, reported, for a damaged or re-entered heap. Never raises.
 * Source: [sdk:heapqueryinformation], [obs] A28 to A30; D16, D62, D64. */
NTSTATUS RtlQueryHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                 PVOID HeapInformation, SIZE_T HeapInformationLength,
                                 PSIZE_T ReturnLength);

/** Set class 0 (ULONG 2: start the front end for good), class 1 (end the process on corruption;
 * information NULL and length 0; for every heap and for good) or class 3 (give memory back; handle
 * NULL means all heaps).
 *
 * Units:  length in bytes.
 * Errors: STATUS_INVALID_PARAMETER for other classes and wrong contents; STATUS_INVALID_HANDLE;
 *         STATUS_INFO_LENGTH_MISMATCH; STATUS_ACCESS_VIOLATION for unreadable information;
 *         STATUS_UNSUCCESSFUL for class 0 with value 0 or 1; STATUS_HEAP_CORRUPTION, reported, for
 *         a damaged or re-entered heap. Never raises.
 * Source: [sdk:heapsetinformation]; D11, D16, D63, D65 to D67. */
NTSTATUS RtlSetHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                               PVOID HeapInformation, SIZE_T HeapInformationLength);

/** RtlQueryHeapInformation in Win32 form.
 *
 * Units:  lengths in bytes.
 * Errors: FALSE; last error is the Win32 code of the status (RtlNtStatusToDosError), and
 *         ERROR_INVALID_PARAMETER for STATUS_HEAP_CORRUPTION (D9).
 * Source: [sdk:heapqueryinformation]; D9, D62, D64. */
BOOL HeapQueryInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                          PVOID HeapInformation, SIZE_T HeapInformationLength,
                          PSIZE_T ReturnLength);

/** RtlSetHeapInformation in Win32 form.
 *
 * Units:  length in bytes.
 * Errors: as HeapQueryInformation (D9).
 * Source: [sdk:heapsetinformation]; D9, D63, D65 to D67. */
BOOL HeapSetInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                        PVOID HeapInformation, SIZE_T HeapInformationLength);

/* ---- Locking -------------------------------------------------------------------------------- */

/** Take the heap's lock: no other thread allocates or frees there until it is given up, front end
 * included. The owner may take it again; every lock wants one unlock. A heap made with
 * HEAP_NO_SERIALIZE has no lock: TRUE without effect (D57).
 *
 * Units:  none.
 * Errors: FALSE for a bad handle, a damaged or re-entered heap. Never raises; last error untouched.
 * Source: [sdk:heaplock]; D12, D57, D58, D60. */
BOOLEAN RtlLockHeap(PVOID HeapHandle);

/** Undo one RtlLockHeap or HeapLock of this thread.
 *
 * Units:  none.
 * Errors: FALSE for a bad handle, and when this thread does not own the lock; nothing changes.
 *         Works on a damaged heap. Never raises; last error untouched.
 * Source: [sdk:heapunlock]; D12, D57, D59. */
BOOLEAN RtlUnlockHeap(PVOID HeapHandle);

/** RtlLockHeap with a Win32 last error.
 *
 * Units:  none.
 * Errors: FALSE; last error ERROR_INVALID_HANDLE, or ERROR_INVALID_PARAMETER for a damaged or
 *         re-entered heap (D9).
 * Source: [sdk:heaplock]; D9, D57, D58, D60. */
BOOL HeapLock(HANDLE hHeap);

/** RtlUnlockHeap with a Win32 last error.
 *
 * Units:  none.
 * Errors: FALSE; last error ERROR_INVALID_HANDLE, or ERROR_NOT_OWNER when this thread does not own
 *         the lock (D59).
 * Source: [sdk:heapunlock]; D9, D57, D59. */
BOOL HeapUnlock(HANDLE hHeap);

/* ---- Heaps of the process ------------------------------------------------------------------- */

/** The process heap, made when it is first asked for; the same handle every time.
 *
 * Units:  none.
 * Errors: NULL with last error ERROR_NOT_ENOUGH_MEMORY when it cannot be made; asking again tries
 *         again (D55).
 * Source: [sdk:getprocessheap]; D55. */
HANDLE GetProcessHeap(void);

/** List the heaps: the process heap first (made if need be), the others in order of creation. As
 * many handles as fit are stored; the result is the number there are.
 *
 * Units:  handles.
 * Errors: 0 when `NumberOfHeaps` is not 0 and the array cannot be written, or the process heap
 *         cannot be made. Last error untouched.
 * Source: [obs] A3, B7; D55. */
ULONG RtlGetProcessHeaps(ULONG NumberOfHeaps, PVOID *ProcessHeaps);

/** RtlGetProcessHeaps with a Win32 last error.
 *
 * Units:  handles.
 * Errors: 0; last error ERROR_NOACCESS for the array, ERROR_NOT_ENOUGH_MEMORY when the process heap
 *         cannot be made (D55).
 * Source: [sdk:getprocessheaps]; D9, D55. */
DWORD GetProcessHeaps(DWORD NumberOfHeaps, PHANDLE ProcessHeaps);

/** Call `Routine` once a heap, in the order of RtlGetProcessHeaps, with `Parameter`. The routine
 * runs without any lock held and may use the heaps; heaps made meanwhile are not visited, heaps
 * destroyed before their turn are left out (D56).
 *
 * Units:  none.
 * Errors: the first status of `Routine` that is no success, at which the calls stop (otherwise
 *         STATUS_SUCCESS, whatever successes it returned);
 *         STATUS_INVALID_PARAMETER for a NULL routine; STATUS_NO_MEMORY when the process heap
 *         cannot be made. Last error untouched.
 * Source: clause RENUM-01; D55, D56. */
NTSTATUS RtlEnumProcessHeaps(NTSTATUS (*Routine)(PVOID HeapHandle, PVOID Parameter),
                             PVOID Parameter);

/* ---- Statuses and the last error ------------------------------------------------------------ */

/** The Win32 error code of a status.
 *
 * Units:  none.
 * Errors: ERROR_MR_MID_NOT_FOUND when the status has none here.
 * Source: [win32:last-error], clause LASTERR-08; D77. */
ULONG RtlNtStatusToDosError(NTSTATUS Status);

/** The calling thread's last error; 0 in a new thread.
 *
 * Units:  none.
 * Errors: none.
 * Source: [sdk:getlasterror]. */
DWORD GetLastError(void);

/** Set the calling thread's last error; any 32-bit value.
 *
 * Units:  none.
 * Errors: none.
 * Source: [sdk:getlasterror]. */
void SetLastError(DWORD dwErrCode);

/* ---- Critical sections ---------------------------------------------------------------------- */

/** Make a recursive lock in the caller's structure.
 *
 * Units:  none.
 * Errors: raises STATUS_NO_MEMORY when the lock table refuses, STATUS_ACCESS_VIOLATION when the
 *         structure cannot be written (D79).
 * Source: [win32:critical-sections]; D79. */
void InitializeCriticalSection(LPCRITICAL_SECTION lpCriticalSection);

/** Own the section; waits while another thread does. The owner may enter again.
 *
 * Units:  none.
 * Errors: raises STATUS_ACCESS_VIOLATION for memory that cannot be used or is no section (D79).
 * Source: [win32:critical-sections]; D79. */
void EnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection);

/** Own the section if that needs no wait: TRUE when owned.
 *
 * Units:  none.
 * Errors: FALSE while another thread owns it; raises as EnterCriticalSection.
 * Source: [win32:critical-sections]; D79. */
BOOL TryEnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection);

/** Undo one entry of this thread.
 *
 * Units:  none.
 * Errors: nothing happens when this thread does not own it; raises as EnterCriticalSection.
 * Source: [win32:critical-sections]; D79. */
void LeaveCriticalSection(LPCRITICAL_SECTION lpCriticalSection);

/** Give back what InitializeCriticalSection took. No thread may own it or be waiting.
 *
 * Units:  none.
 * Errors: nothing happens for a section already deleted; raises as EnterCriticalSection for memory
 *         that cannot be used.
 * Source: [win32:critical-sections]; D79. */
void DeleteCriticalSection(LPCRITICAL_SECTION lpCriticalSection);

#ifdef __cplusplus
}
#endif
#endif
