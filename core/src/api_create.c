/* SPDX-License-Identifier: MIT
 *
 * NT spelling to core: creating and destroying heaps, the process heap, listing. Calls heap, call,
 * probe. */
#include <string.h>

#include "api.h"
#include "flags.h"
#include "lock.h"
#include "map.h"
#include "page.h"
#include "probe.h"
#include "report.h"
#include "seh.h"
#include "verifier.h"

#define DEFAULT_RESERVE_PAGES 64u
#define RESERVE_STEP_PAGES 16u
#define FOREIGN_MIN_PAGES 2u
#define SIZE_LIMIT (SIZE_MAX / 2 - 1) /* ruling D22; rounding up cannot wrap there */

static size_t pages_up(size_t bytes)
{
    return nth_round_up(bytes, NTH_PAGE_BYTES);
}

/* The documented table of reserve and commit. */
static void settle_sizes(struct nth_create *wish)
{
    if (wish->reserve_bytes == 0 && wish->commit_bytes == 0) {
        wish->reserve_bytes = DEFAULT_RESERVE_PAGES * NTH_PAGE_BYTES;
    } else if (wish->reserve_bytes == 0) {
        wish->reserve_bytes = nth_round_up(wish->commit_bytes, RESERVE_STEP_PAGES * NTH_PAGE_BYTES);
    }
    wish->reserve_bytes = pages_up(wish->reserve_bytes);
    wish->commit_bytes = pages_up(wish->commit_bytes == 0 ? 1 : wish->commit_bytes);
    if (wish->commit_bytes > wish->reserve_bytes) {
        wish->commit_bytes = wish->reserve_bytes;
    }
}

static size_t given(size_t value, size_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void settle_parameters(struct nth_create *wish, const RTL_HEAP_PARAMETERS *asked)
{
    static const RTL_HEAP_PARAMETERS none;
    const RTL_HEAP_PARAMETERS *use = asked != NULL ? asked : &none;
    wish->segment_reserve_bytes = given(use->SegmentReserve, NTH_SEGMENT_RESERVE_BYTES);
    wish->segment_commit_bytes =
        given(use->SegmentCommit, NTH_SEGMENT_COMMIT_PAGES * (size_t)NTH_PAGE_BYTES);
    wish->segment_reserve_bytes =
        wish->segment_reserve_bytes > SIZE_LIMIT
            ? SIZE_LIMIT / NTH_GRANULE_BYTES * NTH_GRANULE_BYTES
            : nth_round_up(wish->segment_reserve_bytes, NTH_GRANULE_BYTES);
    wish->segment_commit_bytes = wish->segment_commit_bytes > wish->segment_reserve_bytes
                                     ? wish->segment_reserve_bytes
                                     : pages_up(wish->segment_commit_bytes);
    wish->decommit_block_bytes = given(use->DeCommitFreeBlockThreshold, NTH_DECOMMIT_BLOCK_BYTES);
    wish->decommit_total_bytes = given(use->DeCommitTotalFreeThreshold, NTH_DECOMMIT_TOTAL_BYTES);
    wish->allocation_max_bytes = given(use->MaximumAllocationSize, SIZE_MAX);
    wish->threshold_bytes = given(use->VirtualMemoryThreshold, NTH_THRESHOLD_BYTES);
    if (wish->threshold_bytes > NTH_THRESHOLD_BYTES) {
        wish->threshold_bytes = NTH_THRESHOLD_BYTES;
    }
    wish->commit_routine = use->CommitRoutine;
}

/* What RTL_HEAP_PARAMETERS may ask for; FALSE refuses. `asked` is a copy. */
static bool parameters_allowed(const RTL_HEAP_PARAMETERS *asked, const void *base, ULONG flags)
{
    if (asked->Length != sizeof(*asked) || asked->Reserved[0] != 0 || asked->Reserved[1] != 0) {
        return false;
    }
    if (asked->CommitRoutine == NULL) {
        return true;
    }
    return base != NULL && (flags & HEAP_GROWABLE) == 0 && asked->InitialCommit != 0 &&
           asked->InitialReserve >= asked->InitialCommit;
}

static bool base_allowed(const struct nth_create *wish)
{
    const uintptr_t base = (uintptr_t)wish->base;
    return base % NTH_GRANULE_BYTES == 0 &&
           wish->reserve_bytes >= FOREIGN_MIN_PAGES * (size_t)NTH_PAGE_BYTES &&
           wish->reserve_bytes <= UINTPTR_MAX - base;
}

/* In a call of its own, so that a CommitRoutine's exception has somewhere to go. */
static HANDLE create(const struct nth_caller *caller, struct nth_create *wish,
                     enum nth_status *status)
{
    const char *name = caller->name;
    struct nth_call call = {.outer = nth_self.call, .name = name};
    HANDLE heap = NULL;
    if (nth_verifying()) {
        wish->flags |= nth_verified_create_flags();
        *status = NTH_NO_MEMORY;
        if (nth_verified_create_refused(caller)) {
            return NULL;
        }
        nth_verified_changing(true);
    }
    nth_self.call = &call;
    *status = nth_heap_create(wish, &heap);
    nth_self.call = call.outer;
    if (*status != NTH_OK && nth_verifying()) {
        nth_verified_changing(false);
    }
    if (call.thrown) {
        nth_raise(&call.record);
    }
    if (*status == NTH_OK && nth_verifying()) {
        nth_verified_created(caller, heap, (ULONG)wish->flags);
    }
    return *status == NTH_OK ? heap : NULL;
}

PVOID RtlCreateHeap(ULONG Flags, PVOID HeapBase, SIZE_T ReserveSize, SIZE_T CommitSize, PVOID Lock,
                    PRTL_HEAP_PARAMETERS Parameters)
{
    RTL_HEAP_PARAMETERS asked;
    enum nth_status status;
    struct nth_create wish = {.flags = (Flags & (ULONG)NTH_CREATE_RTL_FLAGS) | NTH_FLAG_PRIVATE,
                              .base = HeapBase,
                              .reserve_bytes = ReserveSize,
                              .commit_bytes = CommitSize,
                              .lock = Lock};
    if (Parameters != NULL) {
        if (!nth_probe_read(Parameters, sizeof(*Parameters))) {
            return NULL;
        }
        asked = *Parameters;
        if (!parameters_allowed(&asked, HeapBase, Flags)) {
            return NULL;
        }
    }
    settle_parameters(&wish, Parameters != NULL ? &asked : NULL);
    if (wish.commit_routine != NULL) {
        wish.reserve_bytes = asked.InitialReserve;
        wish.commit_bytes = asked.InitialCommit;
    }
    if (wish.reserve_bytes > SIZE_LIMIT ||
        (wish.commit_bytes > SIZE_LIMIT && wish.reserve_bytes == 0)) {
        return NULL;
    }
    wish.commit_bytes = wish.commit_bytes > SIZE_LIMIT ? SIZE_LIMIT : wish.commit_bytes;
    if (HeapBase != NULL && !base_allowed(&wish)) {
        return NULL;
    }
    settle_sizes(&wish);
    if (HeapBase != NULL && wish.commit_routine == NULL) {
        wish.commit_bytes = wish.reserve_bytes;
        if (!nth_probe_write(HeapBase, wish.reserve_bytes)) {
            return NULL;
        }
    }
    if (Lock != NULL &&
        ((Flags & HEAP_NO_SERIALIZE) != 0 || !nth_probe_write(Lock, sizeof(*wish.lock)) ||
         wish.lock->LockSemaphore == NULL)) {
        return NULL;
    }
    return create(NTH_CALLER("RtlCreateHeap"), &wish, &status);
}

HANDLE HeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize)
{
    enum nth_status status = NTH_BAD_ARGUMENT;
    HANDLE heap = NULL;
    struct nth_create wish = {.flags = (flOptions & (DWORD)NTH_CREATE_WIN32_FLAGS) |
                                       (dwMaximumSize == 0 ? HEAP_GROWABLE : 0u) | NTH_FLAG_PRIVATE,
                              .reserve_bytes = dwMaximumSize,
                              .commit_bytes = dwInitialSize};
    settle_parameters(&wish, NULL);
    if (dwInitialSize <= SIZE_LIMIT && dwMaximumSize <= SIZE_LIMIT &&
        (dwMaximumSize == 0 || dwInitialSize < dwMaximumSize)) {
        settle_sizes(&wish);
        heap = create(NTH_CALLER("HeapCreate"), &wish, &status);
    }
    if (heap == NULL) {
        nth_api_error(nth_api_status(status));
    }
    return heap;
}

static NTSTATUS destroy(const struct nth_caller *caller, HANDLE handle)
{
    const char *name = caller->name;
    struct nth_call call;
    if (nth_verifying() && !nth_verified_destroying(caller, handle)) {
        return nth_heap_find(handle) != NULL ? STATUS_INVALID_PARAMETER : STATUS_INVALID_HANDLE;
    }
    if (handle != NULL && handle == nth_load_acquire(&nth_process.process_heap)) {
        return STATUS_INVALID_PARAMETER;
    }
    struct nth_heap *heap = nth_call_begin_last(&call, name, handle);
    if (heap == NULL && (call.heap == NULL || call.noted == 0)) {
        const enum nth_status status = nth_api_refusal(&call);
        nth_call_end(&call);
        return nth_api_status(status);
    }
    struct nth_slot *slot = call.slot;
    if (nth_verifying()) {
        nth_verified_changing(true);
    }
    nth_gate_close(slot);
    nth_process_lock();
    nth_slot_remove(slot); /* from here on the handle is bad, and cannot be found */
    if (nth_region_front_holds(slot->first)) {
        nth_map_remove(nth_region_place(slot->first, 0), (size_t)slot->first->bytes);
    }
    nth_process_unlock();
    nth_call_unlock_all(&call);
    nth_visitors_wait(slot);
    if (nth_verifying()) {
        nth_verified_destroyed(handle);
    }
    const unsigned noted = call.noted;
    call.heap = NULL; /* nothing that a fault could damage */
    nth_heap_discard(slot);
    nth_release_loose(false);
    call.noted = noted; /* what the taking apart met is no news */
    nth_call_finish(&call);
    if (call.noted) {
        nth_report_deliver(&call.report, 1);
    }
    return STATUS_SUCCESS;
}

PVOID RtlDestroyHeap(PVOID HeapHandle)
{
    return NT_SUCCESS(destroy(NTH_CALLER("RtlDestroyHeap"), HeapHandle)) ? NULL : HeapHandle;
}

BOOL HeapDestroy(HANDLE hHeap)
{
    const NTSTATUS status = destroy(NTH_CALLER("HeapDestroy"), hHeap);
    if (!NT_SUCCESS(status)) {
        nth_api_error(status);
    }
    return NT_SUCCESS(status);
}

/* Made once; two threads that come first at the same time agree under the process lock. */
NTH_NOINLINE static HANDLE process_heap_make(void)
{
    struct nth_create wish = {.flags = HEAP_GROWABLE};
    struct nth_call call = {.outer = nth_self.call, .name = "GetProcessHeap"};
    HANDLE heap = NULL;
    if (nth_process_start() != NTH_OK) {
        return NULL;
    }
    settle_parameters(&wish, NULL);
    settle_sizes(&wish);
    wish.flags |= nth_verifying() ? nth_verified_create_flags() : 0u;
    nth_self.call = &call;
    nth_process_lock();
    heap = nth_load_relaxed(&nth_process.process_heap);
    if (heap == NULL && nth_heap_create_locked(&wish, &heap) == NTH_OK) {
        nth_store_release(&nth_process.process_heap, heap);
    }
    nth_process_unlock();
    nth_self.call = call.outer;
    return heap;
}

static HANDLE process_heap(void)
{
    HANDLE heap = nth_load_acquire(&nth_process.process_heap);
    return NTH_LIKELY(heap != NULL) ? heap : process_heap_make();
}

/* Heaps there are now, and the serial of the newest. */
static ULONG heaps_now(uint64_t *newest)
{
    nth_process_lock();
    const ULONG count = nth_process.heap_count;
    *newest = nth_process.heap_serial;
    nth_process_unlock();
    return count;
}

HANDLE GetProcessHeap(void)
{
    HANDLE heap = process_heap();
    if (heap == NULL) {
        nth_self.last_error = ERROR_NOT_ENOUGH_MEMORY;
    }
    return heap;
}

static NTSTATUS list_heaps(ULONG count, PVOID *heaps, ULONG *total)
{
    *total = 0;
    if (process_heap() == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (;;) {
        uint64_t newest = 0;
        const ULONG have = heaps_now(&newest);
        const ULONG fill = count < have ? count : have;
        if (fill > 0 && !nth_probe_write(heaps, fill * sizeof(*heaps))) {
            return STATUS_ACCESS_VIOLATION;
        }
        nth_process_lock();
        const bool same = nth_process.heap_count == have;
        for (ULONG idx = 0; same && idx < fill; idx++) {
            heaps[idx] = nth_load_relaxed(&nth_slot_at(idx)->handle);
        }
        nth_process_unlock();
        if (same) {
            *total = have;
            return STATUS_SUCCESS;
        }
    }
}

ULONG RtlGetProcessHeaps(ULONG NumberOfHeaps, PVOID *ProcessHeaps)
{
    ULONG total = 0;
    const uint64_t changes = nth_verifying() ? nth_verified_changes() : 0;
    if (NT_SUCCESS(list_heaps(NumberOfHeaps, ProcessHeaps, &total)) && nth_verifying()) {
        nth_verified_listing(NTH_CALLER("RtlGetProcessHeaps"), total, changes);
    }
    return total;
}

DWORD GetProcessHeaps(DWORD NumberOfHeaps, PHANDLE ProcessHeaps)
{
    ULONG total = 0;
    const uint64_t changes = nth_verifying() ? nth_verified_changes() : 0;
    const NTSTATUS status = list_heaps(NumberOfHeaps, ProcessHeaps, &total);
    if (!NT_SUCCESS(status)) {
        nth_api_error(status);
    } else if (nth_verifying()) {
        nth_verified_listing(NTH_CALLER("GetProcessHeaps"), total, changes);
    }
    return total;
}

/* The next heap in order of creation after `*seen`, up to `last`; NULL at the end. */
static HANDLE heap_after(uint64_t *seen, uint64_t last)
{
    nth_process_lock();
    const struct nth_slot *slot = nth_slot_after(*seen);
    HANDLE handle = slot != NULL && slot->serial <= last ? nth_load_relaxed(&slot->handle) : NULL;
    *seen = slot != NULL ? slot->serial : *seen;
    nth_process_unlock();
    return handle;
}

/* Those there when it began, as far as they still are. */
NTSTATUS nth_api_each_heap(NTSTATUS (*routine)(PVOID heap, PVOID context), PVOID context)
{
    HANDLE first = nth_load_acquire(&nth_process.process_heap);
    uint64_t last = 0;
    uint64_t seen = 0;
    (void)heaps_now(&last);
    NTSTATUS status = first != NULL ? routine(first, context) : STATUS_SUCCESS;
    for (HANDLE heap = heap_after(&seen, last); heap != NULL && NT_SUCCESS(status);
         heap = heap_after(&seen, last)) {
        if (heap != first) {
            status = routine(heap, context);
        }
    }
    return NT_SUCCESS(status) ? STATUS_SUCCESS : status;
}

NTSTATUS RtlEnumProcessHeaps(NTSTATUS (*Routine)(PVOID HeapHandle, PVOID Parameter),
                             PVOID Parameter)
{
    if (Routine == NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    return process_heap() == NULL ? STATUS_NO_MEMORY : nth_api_each_heap(Routine, Parameter);
}
