/* SPDX-License-Identifier: MIT
 *
 * NT spelling to core: lock, walk, validate, compact, summary, information classes. Calls call,
 * walk, validate, lock, probe. */
#include <string.h>

#include "api.h"
#include "backend.h"
#include "front.h"
#include "lock.h"
#include "ops.h"
#include "probe.h"
#include "report.h"
#include "validate.h"
#include "verifier.h"
#include "walk.h"

#define OVERHEAD_MAX 255u
#define LFH_VALUE 2u

/* BOOL and last error of a Win32 call whose Rtl twin gave this status. */
static BOOL answer(NTSTATUS status)
{
    if (!NT_SUCCESS(status)) {
        nth_api_error(status);
    }
    return NT_SUCCESS(status);
}

/* The heap of a list was destroyed since the list was made: that is no news. */
static bool gone_since(struct nth_call *call)
{
    const bool gone = nth_api_refusal(call) == NTH_ABSENT;
    if (gone) {
        call->noted = 0;
    }
    return gone;
}

/* ---- lock ---- */

static NTSTATUS lock_heap(const char *name, HANDLE handle)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, 0);
    const enum nth_status status = heap == NULL ? nth_api_refusal(&call) : NTH_OK;
    if (status == NTH_OK && call.locked) {
        nth_lock_acquire(call.slot); /* one more, which stays */
        nth_gate_close(call.slot);
    }
    nth_call_end(&call);
    return nth_api_status(status);
}

static NTSTATUS unlock_heap(const char *name, HANDLE handle)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, HEAP_NO_SERIALIZE);
    const struct nth_slot *slot = call.slot;
    enum nth_status status = heap == NULL ? nth_api_refusal(&call) : NTH_OK;
    if (heap == NULL && call.heap != NULL) {
        call.noted = 0; /* locks still held on a damaged heap can be undone: they are not part of it */
        status = NTH_OK;
    }
    const bool locks = slot != NULL && (slot->lock != NULL || slot->caller_lock != NULL);
    if (status == NTH_OK && locks && !nth_lock_owned(slot)) {
        status = NTH_NOT_OWNER;
    }
    nth_call_end(&call);
    if (status == NTH_OK && locks) {
        nth_gate_open(call.slot);
        nth_lock_release(call.slot);
    }
    return nth_api_status(status);
}

BOOLEAN RtlLockHeap(PVOID HeapHandle)
{
    return NT_SUCCESS(lock_heap("RtlLockHeap", HeapHandle));
}

BOOLEAN RtlUnlockHeap(PVOID HeapHandle)
{
    return NT_SUCCESS(unlock_heap("RtlUnlockHeap", HeapHandle));
}

BOOL HeapLock(HANDLE hHeap)
{
    return answer(lock_heap("HeapLock", hHeap));
}

BOOL HeapUnlock(HANDLE hHeap)
{
    return answer(unlock_heap("HeapUnlock", hHeap));
}

/* ---- validate ---- */

static enum nth_status validate_block(struct nth_heap *heap, void *block)
{
    struct nth_target target;
    bool present = false;
    uint64_t value = 0;
    uint32_t flags = 0;
    if (!nth_target_seems_live(heap, block)) {
        return NTH_BAD_ARGUMENT;
    }
    const enum nth_status status = nth_target_find(heap, block, &target);
    return status == NTH_OK ? nth_info_read(heap, &target, &present, &value, &flags) : status;
}

static BOOLEAN validate(const char *name, HANDLE handle, ULONG flags, LPCVOID block)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    enum nth_status status = NTH_BAD_ARGUMENT;
    if (heap != NULL && block != NULL) {
        status = validate_block(heap, (void *)(uintptr_t)block);
    } else if (heap != NULL) {
        nth_call_gate(&call);
        status = nth_validate_heap(heap);
    }
    nth_call_end_mild(&call);
    return status == NTH_OK;
}

BOOLEAN nth_plain_validate(const char *name, HANDLE handle, ULONG flags, LPCVOID block)
{
    return validate(name, handle, flags, block);
}

BOOLEAN RtlValidateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    if (nth_verifying()) {
        return nth_verified_validate(NTH_CALLER("RtlValidateHeap"), HeapHandle, Flags,
                                     BaseAddress);
    }
    return validate("RtlValidateHeap", HeapHandle, Flags, BaseAddress);
}

BOOL HeapValidate(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    if (nth_verifying()) {
        return nth_verified_validate(NTH_CALLER("HeapValidate"), hHeap, dwFlags, lpMem);
    }
    return validate("HeapValidate", hHeap, dwFlags, lpMem);
}

static NTSTATUS validate_one(PVOID handle, PVOID sound)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, "RtlValidateProcessHeaps", handle, 0);
    bool whole = heap == NULL && gone_since(&call);
    if (heap != NULL) {
        nth_call_gate(&call);
        whole = nth_validate_heap(heap) == NTH_OK;
    }
    nth_call_end_mild(&call);
    if (!whole) {
        *(BOOLEAN *)sound = FALSE;
    }
    return STATUS_SUCCESS;
}

BOOLEAN RtlValidateProcessHeaps(void)
{
    BOOLEAN sound = TRUE;
    return NT_SUCCESS(RtlEnumProcessHeaps(validate_one, &sound)) && sound;
}

/* ---- walk ---- */

/* It may be damage that hides the element of an entry. */
static enum nth_status step(struct nth_heap *heap, struct nth_element *element)
{
    const enum nth_status status = nth_walk_next(heap, element);
    return status == NTH_BAD_ARGUMENT && nth_validate_heap(heap) != NTH_OK ? NTH_CORRUPT : status;
}

static enum nth_status walk(struct nth_call *call, struct nth_heap *heap,
                            struct nth_element *element)
{
    nth_call_gate(call);
    if (!nth_verifying()) {
        return step(heap, element);
    }
    if (element->kind == NTH_ELEMENT_BUSY) {
        element->data = nth_verified_hidden(element->data);
    }
    const enum nth_status status = step(heap, element);
    if (status == NTH_OK && element->kind == NTH_ELEMENT_BUSY) {
        nth_verified_shown(&element->data, &element->data_bytes, &element->overhead_bytes);
    }
    return status;
}

static NTSTATUS walk_status(enum nth_status status)
{
    return status == NTH_ABSENT ? STATUS_NO_MORE_ENTRIES : nth_api_status(status);
}

static uint32_t saturated(uint64_t value, uint32_t most)
{
    return value > most ? most : (uint32_t)value;
}

static enum nth_element_kind win32_kind(const PROCESS_HEAP_ENTRY *entry)
{
    return entry->lpData == NULL                                   ? NTH_ELEMENT_NONE
           : (entry->wFlags & PROCESS_HEAP_REGION) != 0            ? NTH_ELEMENT_REGION
           : (entry->wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0 ? NTH_ELEMENT_UNCOMMITTED
           : (entry->wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0        ? NTH_ELEMENT_BUSY
                                                                   : NTH_ELEMENT_FREE;
}

static void win32_entry(const struct nth_element *element, PROCESS_HEAP_ENTRY *entry)
{
    static const WORD flags[] = {[NTH_ELEMENT_REGION] = PROCESS_HEAP_REGION,
                                 [NTH_ELEMENT_UNCOMMITTED] = PROCESS_HEAP_UNCOMMITTED_RANGE,
                                 [NTH_ELEMENT_FREE] = 0,
                                 [NTH_ELEMENT_BUSY] = PROCESS_HEAP_ENTRY_BUSY};
    memset(entry, 0, sizeof(*entry));
    entry->lpData = element->data;
    entry->cbData = saturated(element->data_bytes, UINT32_MAX);
    entry->cbOverhead = (BYTE)saturated(element->overhead_bytes, OVERHEAD_MAX);
    entry->iRegionIndex = (BYTE)saturated(element->region_idx, OVERHEAD_MAX);
    entry->wFlags = flags[element->kind];
    if (element->kind == NTH_ELEMENT_REGION) {
        entry->Region.dwCommittedSize = saturated(element->committed_bytes, UINT32_MAX);
        entry->Region.dwUnCommittedSize = saturated(element->uncommitted_bytes, UINT32_MAX);
        entry->Region.lpFirstBlock = element->first;
        entry->Region.lpLastBlock = element->last;
    }
}

BOOL HeapWalk(HANDLE hHeap, LPPROCESS_HEAP_ENTRY lpEntry)
{
    struct nth_call call;
    struct nth_element element;
    struct nth_heap *heap = nth_call_begin(&call, "HeapWalk", hHeap, 0);
    NTSTATUS status = STATUS_SUCCESS;
    if (heap == NULL) {
        status = nth_api_status(nth_api_refusal(&call));
    } else if (!nth_probe_write(lpEntry, sizeof(*lpEntry))) {
        status = STATUS_ACCESS_VIOLATION;
    } else {
        element = (struct nth_element){.kind = win32_kind(lpEntry), .data = lpEntry->lpData};
        status = walk_status(walk(&call, heap, &element));
    }
    nth_call_end(&call);
    if (status == STATUS_SUCCESS) {
        win32_entry(&element, lpEntry);
        return TRUE;
    }
    nth_api_error(status);
    return FALSE;
}

static enum nth_element_kind rtl_kind(const RTL_HEAP_WALK_ENTRY *entry)
{
    return entry->DataAddress == NULL                                  ? NTH_ELEMENT_NONE
           : (entry->Flags & RTL_HEAP_WALK_UNCOMMITTED) != 0           ? NTH_ELEMENT_UNCOMMITTED
           : (entry->Flags & RTL_HEAP_WALK_BUSY) == RTL_HEAP_WALK_BUSY ? NTH_ELEMENT_BUSY
           : (entry->Flags & RTL_HEAP_WALK_REGION) != 0                ? NTH_ELEMENT_REGION
                                                                       : NTH_ELEMENT_FREE;
}

static void rtl_entry(const struct nth_element *element, RTL_HEAP_WALK_ENTRY *entry)
{
    static const USHORT flags[] = {[NTH_ELEMENT_REGION] = RTL_HEAP_WALK_REGION,
                                   [NTH_ELEMENT_UNCOMMITTED] = RTL_HEAP_WALK_UNCOMMITTED,
                                   [NTH_ELEMENT_FREE] = 0,
                                   [NTH_ELEMENT_BUSY] = RTL_HEAP_WALK_BUSY};
    memset(entry, 0, sizeof(*entry));
    entry->DataAddress = element->data;
    entry->DataSize = (SIZE_T)element->data_bytes;
    entry->OverheadBytes = (UCHAR)saturated(element->overhead_bytes, OVERHEAD_MAX);
    entry->SegmentIndex = (UCHAR)saturated(element->region_idx, OVERHEAD_MAX);
    entry->Flags = (USHORT)(flags[element->kind] | (element->front_end ? RTL_HEAP_WALK_LFH : 0u));
    if (element->kind == NTH_ELEMENT_REGION) {
        entry->Segment.CommittedSize = saturated(element->committed_bytes, UINT32_MAX);
        entry->Segment.UnCommittedSize = saturated(element->uncommitted_bytes, UINT32_MAX);
        entry->Segment.FirstEntry = element->first;
        entry->Segment.LastEntry = element->last;
    }
}

NTSTATUS RtlWalkHeap(PVOID HeapHandle, PRTL_HEAP_WALK_ENTRY Entry)
{
    struct nth_call call;
    struct nth_element element;
    struct nth_heap *heap = nth_call_begin(&call, "RtlWalkHeap", HeapHandle, 0);
    NTSTATUS status = STATUS_SUCCESS;
    if (heap == NULL) {
        status = nth_api_status(nth_api_refusal(&call));
    } else if (!nth_probe_write(Entry, sizeof(*Entry))) {
        status = STATUS_ACCESS_VIOLATION;
    } else {
        element = (struct nth_element){.kind = rtl_kind(Entry), .data = Entry->DataAddress};
        status = walk_status(walk(&call, heap, &element));
    }
    nth_call_end(&call);
    if (status == STATUS_SUCCESS) {
        rtl_entry(&element, Entry);
    }
    return status;
}

/* ---- compact, zero, summary ---- */

static NTSTATUS compact(const char *name, HANDLE handle, ULONG flags, SIZE_T *largest)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    uint64_t units = 0;
    enum nth_status status = heap == NULL ? nth_api_refusal(&call) : nth_op_compact(heap);
    status = status == NTH_OK ? nth_backend_largest(heap, &units) : status;
    nth_call_end(&call);
    *largest =
        status == NTH_OK && units > 0 ? (SIZE_T)(units * NTH_UNIT_BYTES - NTH_HEADER_BYTES) : 0;
    return nth_api_status(status);
}

SIZE_T RtlCompactHeap(PVOID HeapHandle, ULONG Flags)
{
    SIZE_T largest = 0;
    (void)compact("RtlCompactHeap", HeapHandle, Flags, &largest);
    return largest;
}

SIZE_T HeapCompact(HANDLE hHeap, DWORD dwFlags)
{
    SIZE_T largest = 0;
    const NTSTATUS status = compact("HeapCompact", hHeap, dwFlags, &largest);
    if (answer(status) && largest == 0) {
        nth_self.last_error = NO_ERROR;
    }
    return largest;
}

NTSTATUS RtlZeroHeap(PVOID HeapHandle, ULONG Flags)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, "RtlZeroHeap", HeapHandle, Flags);
    enum nth_status status = heap == NULL ? nth_api_refusal(&call) : NTH_OK;
    if (status == NTH_OK) {
        nth_call_gate(&call);
        status = nth_walk_zero(heap);
    }
    nth_call_end(&call);
    return nth_api_status(status);
}

static NTSTATUS summary(struct nth_call *call, struct nth_heap *heap, LPHEAP_SUMMARY wanted)
{
    uint64_t allocated = 0;
    if (!nth_probe_write(wanted, sizeof(*wanted))) {
        return STATUS_ACCESS_VIOLATION;
    }
    if (wanted->cb != sizeof(*wanted)) {
        return STATUS_INVALID_PARAMETER;
    }
    nth_call_gate(call);
    const enum nth_status status = nth_walk_allocated(heap, &allocated);
    if (status == NTH_OK) {
        wanted->cbAllocated = (SIZE_T)allocated;
        wanted->cbCommitted = (SIZE_T)heap->state.committed_bytes;
        wanted->cbReserved = (SIZE_T)heap->state.reserved_bytes;
        wanted->cbMaxReserve =
            nth_heap_has(heap, HEAP_GROWABLE) ? SIZE_MAX : (SIZE_T)heap->state.reserved_bytes;
    }
    return nth_api_status(status);
}

BOOL HeapSummary(HANDLE hHeap, DWORD dwFlags, LPHEAP_SUMMARY lpSummary)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, "HeapSummary", hHeap, 0);
    (void)dwFlags;
    const NTSTATUS status =
        heap == NULL ? nth_api_status(nth_api_refusal(&call)) : summary(&call, heap, lpSummary);
    nth_call_end(&call);
    return answer(status);
}

/* ---- information classes ---- */

static NTSTATUS query_compatibility(const struct nth_heap *heap, void *information, size_t length,
                                    SIZE_T *returned)
{
    if (returned != NULL && !nth_probe_write(returned, sizeof(*returned))) {
        return STATUS_ACCESS_VIOLATION;
    }
    if (length < sizeof(ULONG)) {
        if (returned != NULL) {
            *returned = sizeof(ULONG);
        }
        return STATUS_BUFFER_TOO_SMALL;
    }
    if (!nth_probe_write(information, sizeof(ULONG))) {
        return STATUS_ACCESS_VIOLATION;
    }
    const ULONG value = heap->state.front_end != 0 ? LFH_VALUE : 0u;
    memcpy(information, &value, sizeof(value));
    if (returned != NULL) {
        *returned = sizeof(value);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS query(const char *name, HANDLE handle, HEAP_INFORMATION_CLASS information_class,
                      PVOID information, SIZE_T length, PSIZE_T returned)
{
    struct nth_call call;
    if (information_class != HeapCompatibilityInformation) {
        return STATUS_INVALID_PARAMETER;
    }
    if (handle == NULL) {
        return STATUS_ACCESS_VIOLATION;
    }
    const struct nth_heap *heap = nth_call_begin(&call, name, handle, 0);
    const NTSTATUS status = heap == NULL ? nth_api_status(nth_api_refusal(&call))
                                         : query_compatibility(heap, information, length, returned);
    nth_call_end(&call);
    return status;
}

static NTSTATUS set_compatibility(struct nth_heap *heap, const void *information, size_t length)
{
    ULONG value = 0;
    if (length != sizeof(value)) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if (!nth_probe_read(information, sizeof(value))) {
        return STATUS_ACCESS_VIOLATION;
    }
    memcpy(&value, information, sizeof(value));
    if (value < LFH_VALUE) {
        return STATUS_UNSUCCESSFUL;
    }
    if (value != LFH_VALUE || !nth_front_allowed(heap)) {
        return STATUS_INVALID_PARAMETER;
    }
    heap->state.front_end = 1;
    return STATUS_SUCCESS;
}

static NTSTATUS optimize_one(PVOID handle, PVOID name)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, 0);
    enum nth_status status = NTH_OK;
    if (heap != NULL) {
        status = nth_op_compact(heap);
    } else if (!gone_since(&call)) {
        status = nth_api_refusal(&call);
    }
    nth_call_end(&call);
    return nth_api_status(status);
}

static NTSTATUS set_optimize(const char *name, HANDLE handle, const void *information,
                             size_t length)
{
    HEAP_OPTIMIZE_RESOURCES_INFORMATION wish;
    if (length != sizeof(wish)) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if (!nth_probe_read(information, sizeof(wish))) {
        return STATUS_ACCESS_VIOLATION;
    }
    memcpy(&wish, information, sizeof(wish));
    if (wish.Version != HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION) {
        return STATUS_INVALID_PARAMETER;
    }
    if (handle == NULL) {
        return nth_api_each_heap(optimize_one, (PVOID)(uintptr_t)name);
    }
    SIZE_T largest = 0;
    return compact(name, handle, 0, &largest);
}

static NTSTATUS set(const char *name, HANDLE handle, HEAP_INFORMATION_CLASS information_class,
                    PVOID information, SIZE_T length)
{
    struct nth_call call;
    struct nth_heap *heap = NULL;
    NTSTATUS status = STATUS_SUCCESS;
    if (information_class == HeapEnableTerminationOnCorruption) {
        if (information != NULL || length != 0) {
            return STATUS_INVALID_PARAMETER;
        }
        nth_store_relaxed(&nth_process.terminate_on_corruption, 1u);
        return STATUS_SUCCESS;
    }
    if (information_class != HeapCompatibilityInformation &&
        information_class != HeapOptimizeResources) {
        return STATUS_INVALID_PARAMETER;
    }
    const bool all = handle == NULL && information_class == HeapOptimizeResources;
    if (!all) {
        heap = nth_call_begin(&call, name, handle, 0);
        status = heap == NULL ? nth_api_status(nth_api_refusal(&call)) : STATUS_SUCCESS;
        if (heap != NULL && information_class == HeapCompatibilityInformation) {
            status = set_compatibility(heap, information, length);
        }
        nth_call_end(&call);
    }
    if (!NT_SUCCESS(status) || information_class == HeapCompatibilityInformation) {
        return status;
    }
    return set_optimize(name, handle, information, length);
}

NTSTATUS RtlQueryHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                 PVOID HeapInformation, SIZE_T HeapInformationLength,
                                 PSIZE_T ReturnLength)
{
    return query("RtlQueryHeapInformation", HeapHandle, HeapInformationClass, HeapInformation,
                 HeapInformationLength, ReturnLength);
}

NTSTATUS RtlSetHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                               PVOID HeapInformation, SIZE_T HeapInformationLength)
{
    return set("RtlSetHeapInformation", HeapHandle, HeapInformationClass, HeapInformation,
               HeapInformationLength);
}

BOOL HeapQueryInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                          PVOID HeapInformation, SIZE_T HeapInformationLength, PSIZE_T ReturnLength)
{
    return answer(query("HeapQueryInformation", HeapHandle, HeapInformationClass, HeapInformation,
                        HeapInformationLength, ReturnLength));
}

BOOL HeapSetInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                        PVOID HeapInformation, SIZE_T HeapInformationLength)
{
    return answer(set("HeapSetInformation", HeapHandle, HeapInformationClass, HeapInformation,
                      HeapInformationLength));
}

DWORD GetLastError(void)
{
    return nth_self.last_error;
}

void SetLastError(DWORD dwErrCode)
{
    nth_self.last_error = dwErrCode;
}
