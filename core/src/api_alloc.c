/* SPDX-License-Identifier: MIT
 *
 * NT spelling to core: allocate, reallocate, free, size, several at once, user values. Calls call,
 * ops, front, probe. */
#include <string.h>

#include "api.h"
#include "flags.h"
#include "front.h"
#include "ops.h"
#include "probe.h"
#include "report.h"
#include "seh.h"
#include "verifier.h"

/* Bits that a front-end call without the lock cannot serve. */
#define SLOW_FLAGS ((HEAP_NO_SERIALIZE | HEAP_SETTABLE_USER_VALUE) & (ULONG)NTH_ALLOCATE_FLAGS)
#define FAST_BYTES_MAX (NTH_LFH_MAX_BYTES - NTH_HEADER_BYTES)

NTSTATUS nth_api_status(enum nth_status status)
{
    switch (status) {
    case NTH_OK:
        return STATUS_SUCCESS;
    case NTH_NO_MEMORY:
        return STATUS_NO_MEMORY;
    case NTH_TOO_LARGE:
        return STATUS_BUFFER_TOO_SMALL;
    case NTH_CORRUPT:
        return STATUS_HEAP_CORRUPTION;
    case NTH_NOT_OWNER:
        return STATUS_RESOURCE_NOT_OWNED;
    case NTH_ABSENT:
        return STATUS_INVALID_HANDLE;
    case NTH_BAD_ARGUMENT:
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

void nth_api_error(NTSTATUS status)
{
    nth_self.last_error =
        status == STATUS_HEAP_CORRUPTION ? ERROR_INVALID_PARAMETER : RtlNtStatusToDosError(status);
}

void nth_api_raise(NTSTATUS status, ULONG_PTR information)
{
    const bool violation = status == STATUS_ACCESS_VIOLATION;
    EXCEPTION_RECORD record;
    memset(&record, 0, sizeof(record));
    record.ExceptionCode = status;
    record.ExceptionAddress = __builtin_return_address(0);
    record.NumberParameters = violation ? 2 : 1;
    record.ExceptionInformation[0] = violation ? EXCEPTION_READ_FAULT : information;
    record.ExceptionInformation[1] = violation ? information : 0;
    nth_raise(&record);
}

enum nth_status nth_api_refusal(const struct nth_call *call)
{
    return call->slot == NULL ? NTH_ABSENT : NTH_CORRUPT;
}

/* Exceptions are in force by the heap's flags or the call's; for a bad handle by the call's. */
static bool raises(const struct nth_call *call, ULONG flags)
{
    const uint64_t own = call->slot != NULL ? call->slot->flags : 0;
    return ((own | flags) & HEAP_GENERATE_EXCEPTIONS) != 0;
}

/* An allocation's failure: NULL, or an exception; NULL again when a filter continues it. */
static PVOID fail(bool raise, enum nth_status status, SIZE_T bytes, const void *concerned)
{
    if (raise) {
        const bool shortage = status == NTH_NO_MEMORY || status == NTH_TOO_LARGE;
        nth_api_raise(shortage ? nth_api_status(status) : STATUS_ACCESS_VIOLATION,
                      shortage ? (ULONG_PTR)bytes : (ULONG_PTR)concerned);
    }
    return NULL;
}

static PVOID allocate_locked(const char *name, HANDLE handle, ULONG flags, SIZE_T bytes,
                             enum nth_status *status)
{
    struct nth_call call;
    void *user = NULL;
    flags &= (ULONG)NTH_ALLOCATE_FLAGS;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    const bool raise = raises(&call, flags);
    *status = heap == NULL ? nth_api_refusal(&call) : nth_op_allocate(heap, flags, bytes, &user);
    const bool thrown = call.thrown;
    nth_call_end(&call);
    return *status == NTH_OK ? user : fail(raise && !thrown, *status, bytes, handle);
}

static inline PVOID allocate(const char *name, HANDLE handle, ULONG flags, SIZE_T bytes)
{
    struct nth_hot *hot = nth_hot_find(handle);
    if (NTH_LIKELY(hot != NULL && bytes <= FAST_BYTES_MAX && (flags & SLOW_FLAGS) == 0)) {
        void *user = nth_front_fast_take(hot, bytes);
        if (NTH_LIKELY(user != NULL)) {
            if ((flags & HEAP_ZERO_MEMORY & (ULONG)NTH_ALLOCATE_FLAGS) != 0) {
                memset(user, 0, bytes);
            }
            return user;
        }
    }
    enum nth_status status;
    return allocate_locked(name, handle, flags, bytes, &status);
}

/* Out of line, so that the calls without a verifier keep their short way. */

NTH_COLD static PVOID watched_allocate(const char *name, const void *address, HANDLE handle,
                                       ULONG flags, SIZE_T bytes)
{
    const struct nth_caller caller = {name, address};
    enum nth_status status;
    return nth_verified_allocate(&caller, handle, flags, bytes, &status);
}

NTH_COLD static NTSTATUS watched_free(const char *name, const void *address, HANDLE handle,
                                      ULONG flags, PVOID block)
{
    const struct nth_caller caller = {name, address};
    return nth_verified_free(&caller, handle, flags, block);
}

PVOID RtlAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size)
{
    if (nth_verifying()) {
        return watched_allocate("RtlAllocateHeap", NTH_RETURNS_TO, HeapHandle, Flags, Size);
    }
    return allocate("RtlAllocateHeap", HeapHandle, Flags, Size);
}

LPVOID HeapAlloc(HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes)
{
    if (nth_verifying()) {
        return watched_allocate("HeapAlloc", NTH_RETURNS_TO, hHeap, dwFlags, dwBytes);
    }
    return allocate("HeapAlloc", hHeap, dwFlags, dwBytes);
}

static PVOID reallocate(const char *name, HANDLE handle, ULONG flags, PVOID block, SIZE_T bytes)
{
    struct nth_call call;
    void *user = NULL;
    flags &= (ULONG)NTH_REALLOCATE_FLAGS;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    const bool raise = raises(&call, flags);
    enum nth_status status = NTH_BAD_ARGUMENT;
    const void *concerned = heap == NULL ? handle : block;
    if (heap != NULL && block != NULL) {
        status = nth_op_resize(heap, flags, block, bytes, &user);
    }
    const bool thrown = call.thrown;
    nth_call_end(&call);
    return status == NTH_OK ? user : fail(raise && !thrown, status, bytes, concerned);
}

PVOID RtlReAllocateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, SIZE_T Size)
{
    if (nth_verifying()) {
        return nth_verified_reallocate(NTH_CALLER("RtlReAllocateHeap"), HeapHandle, Flags,
                                       BaseAddress, Size);
    }
    return reallocate("RtlReAllocateHeap", HeapHandle, Flags, BaseAddress, Size);
}

LPVOID HeapReAlloc(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes)
{
    if (nth_verifying()) {
        return nth_verified_reallocate(NTH_CALLER("HeapReAlloc"), hHeap, dwFlags, lpMem, dwBytes);
    }
    return reallocate("HeapReAlloc", hHeap, dwFlags, lpMem, dwBytes);
}

static NTSTATUS free_locked(const char *name, HANDLE handle, ULONG flags, PVOID block)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    const enum nth_status status = heap == NULL ? nth_api_refusal(&call) : nth_op_free(heap, block);
    nth_call_end(&call);
    return nth_api_status(status);
}

static inline NTSTATUS free_block(const char *name, HANDLE handle, ULONG flags, PVOID block)
{
    struct nth_hot *hot = nth_hot_find(handle);
    if (block == NULL) {
        return STATUS_SUCCESS;
    }
    if (NTH_LIKELY(hot != NULL && (flags & HEAP_NO_SERIALIZE) == 0 &&
                   nth_front_fast_give(hot, block))) {
        return STATUS_SUCCESS;
    }
    return free_locked(name, handle, flags, block);
}

LOGICAL RtlFreeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    if (nth_verifying()) {
        return NT_SUCCESS(
            watched_free("RtlFreeHeap", NTH_RETURNS_TO, HeapHandle, Flags, BaseAddress));
    }
    return NT_SUCCESS(free_block("RtlFreeHeap", HeapHandle, Flags, BaseAddress));
}

BOOL HeapFree(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem)
{
    const NTSTATUS status = nth_verifying()
                                ? watched_free("HeapFree", NTH_RETURNS_TO, hHeap, dwFlags, lpMem)
                                : free_block("HeapFree", hHeap, dwFlags, lpMem);
    if (!NT_SUCCESS(status)) {
        nth_api_error(status);
    }
    return NT_SUCCESS(status);
}

static SIZE_T size_of(const char *name, HANDLE handle, ULONG flags, LPCVOID block)
{
    struct nth_call call;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    uint64_t bytes = 0;
    const enum nth_status status = heap == NULL || block == NULL
                                       ? NTH_BAD_ARGUMENT
                                       : nth_op_size(heap, (void *)(uintptr_t)block, &bytes);
    nth_call_end(&call);
    return status == NTH_OK ? (SIZE_T)bytes : (SIZE_T)-1;
}

SIZE_T RtlSizeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    if (nth_verifying()) {
        return nth_verified_size(NTH_CALLER("RtlSizeHeap"), HeapHandle, Flags, BaseAddress);
    }
    return size_of("RtlSizeHeap", HeapHandle, Flags, BaseAddress);
}

SIZE_T HeapSize(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    if (nth_verifying()) {
        return nth_verified_size(NTH_CALLER("HeapSize"), hHeap, dwFlags, lpMem);
    }
    return size_of("HeapSize", hHeap, dwFlags, lpMem);
}

/* One of several. */
static PVOID allocate_one(const struct nth_caller *caller, HANDLE handle, ULONG flags, SIZE_T bytes,
                          enum nth_status *status)
{
    return nth_verifying() ? nth_verified_allocate(caller, handle, flags, bytes, status)
                           : allocate_locked(caller->name, handle, flags, bytes, status);
}

static NTSTATUS free_one(const struct nth_caller *caller, HANDLE handle, ULONG flags, PVOID block)
{
    return nth_verifying() ? nth_verified_free(caller, handle, flags, block)
                           : free_locked(caller->name, handle, flags, block);
}

ULONG RtlMultipleAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size, ULONG Count, PVOID *Array)
{
    const struct nth_slot *slot = nth_heap_find(HeapHandle);
    const uint64_t own = slot != NULL ? slot->flags : 0;
    const struct nth_caller *caller = NTH_CALLER("RtlMultipleAllocateHeap");
    ULONG made = 0;
    if (Count == 0) {
        return 0;
    }
    if (slot != NULL && ((uint64_t)Count * sizeof(PVOID) > SIZE_MAX ||
                         !nth_probe_write(Array, Count * sizeof(PVOID)))) {
        if (((own | Flags) & HEAP_GENERATE_EXCEPTIONS) != 0) {
            const ULONG_PTR where[2] = {EXCEPTION_WRITE_FAULT, (ULONG_PTR)Array};
            RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
        } else {
            nth_self.last_error = ERROR_NOACCESS;
        }
        return 0;
    }
    while (made < Count) {
        enum nth_status status;
        PVOID block = allocate_one(caller, HeapHandle, Flags, Size, &status);
        if (block == NULL) {
            nth_api_error(status == NTH_TOO_LARGE ? STATUS_NO_MEMORY : nth_api_status(status));
            break;
        }
        Array[made++] = block;
    }
    return made;
}

ULONG RtlMultipleFreeHeap(PVOID HeapHandle, ULONG Flags, ULONG Count, PVOID *Array)
{
    const struct nth_caller *caller = NTH_CALLER("RtlMultipleFreeHeap");
    if (Count == 0) {
        return 0;
    }
    if ((uint64_t)Count * sizeof(PVOID) > SIZE_MAX ||
        !nth_probe_read(Array, Count * sizeof(PVOID))) {
        nth_self.last_error = ERROR_NOACCESS;
        return 0;
    }
    for (ULONG idx = 0; idx < Count; idx++) {
        if (Array[idx] == NULL) {
            continue;
        }
        const NTSTATUS status = free_one(caller, HeapHandle, Flags, Array[idx]);
        if (!NT_SUCCESS(status)) {
            nth_api_error(status);
            return idx;
        }
    }
    return Count;
}

/* The same, for the verifier: it raises on its own. */

PVOID nth_plain_allocate(const char *name, HANDLE handle, ULONG flags, SIZE_T bytes,
                         enum nth_status *status)
{
    struct nth_call call;
    void *user = NULL;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    *status = heap == NULL ? nth_api_refusal(&call) : nth_op_allocate(heap, flags, bytes, &user);
    nth_call_end(&call);
    return *status == NTH_OK ? user : NULL;
}

PVOID nth_plain_reallocate(const char *name, HANDLE handle, ULONG flags, PVOID block, SIZE_T bytes,
                           enum nth_status *status)
{
    struct nth_call call;
    void *user = NULL;
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    *status = heap == NULL    ? nth_api_refusal(&call)
              : block == NULL ? NTH_BAD_ARGUMENT
                              : nth_op_resize(heap, flags, block, bytes, &user);
    nth_call_end(&call);
    return *status == NTH_OK ? user : NULL;
}

NTSTATUS nth_plain_free(const char *name, HANDLE handle, ULONG flags, PVOID block)
{
    return free_block(name, handle, flags, block);
}

SIZE_T nth_plain_size(const char *name, HANDLE handle, ULONG flags, LPCVOID block)
{
    return size_of(name, handle, flags, block);
}

PVOID nth_plain_fail(bool raise, enum nth_status status, SIZE_T bytes, const void *concerned)
{
    return fail(raise, status, bytes, concerned);
}

NTSTATUS RtlDisownModuleHeapAllocation(HANDLE HeapHandle, PVOID Allocation)
{
    if (nth_verifying()) {
        return nth_verified_disown(HeapHandle, Allocation);
    }
    return STATUS_SUCCESS;
}

/* One look at or change of a block's user info, by `act`. FALSE sets the last error. */
struct user_info {
    uint64_t value;
    uint32_t flags;
    bool present;
};

static BOOLEAN user_info_call(const char *name, HANDLE handle, ULONG flags, PVOID block,
                              struct user_info *info,
                              bool (*change)(struct user_info *info, const void *context),
                              const void *context)
{
    struct nth_call call;
    struct nth_target target;
    const bool full = nth_verifying() && nth_verified_full(handle, block);
    if (nth_verifying()) {
        block = nth_verified_real(block);
    }
    *info = (struct user_info){.present = false};
    struct nth_heap *heap = nth_call_begin(&call, name, handle, flags);
    enum nth_status status = heap == NULL || block == NULL ? NTH_BAD_ARGUMENT : NTH_OK;
    if (status == NTH_OK && !full) { /* a full one has none */
        status = nth_target_find(heap, block, &target);
        status = status == NTH_OK
                     ? nth_info_read(heap, &target, &info->present, &info->value, &info->flags)
                     : status;
    }
    if (status == NTH_OK && change != NULL) {
        if (info->present && change(info, context)) {
            nth_info_write(heap, &target, info->value, info->flags);
        } else {
            status = NTH_BAD_ARGUMENT;
        }
    }
    nth_call_end(&call);
    if (status != NTH_OK) {
        nth_self.last_error = ERROR_INVALID_PARAMETER;
    }
    return status == NTH_OK;
}

static bool change_value(struct user_info *info, const void *context)
{
    info->value = (uint64_t)(uintptr_t)context;
    return true;
}

static bool change_flags(struct user_info *info, const void *context)
{
    const ULONG *masks = context; /* reset, set */
    if (((masks[0] | masks[1]) & ~HEAP_SETTABLE_USER_FLAGS) != 0) {
        return false;
    }
    info->flags = (info->flags & ~masks[0]) | masks[1];
    return true;
}

BOOLEAN RtlSetUserValueHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID UserValue)
{
    struct user_info info;
    return user_info_call("RtlSetUserValueHeap", HeapHandle, Flags, BaseAddress, &info,
                          change_value, UserValue);
}

BOOLEAN RtlSetUserFlagsHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, ULONG UserFlagsReset,
                            ULONG UserFlagsSet)
{
    const ULONG masks[2] = {UserFlagsReset, UserFlagsSet};
    struct user_info info;
    return user_info_call("RtlSetUserFlagsHeap", HeapHandle, Flags, BaseAddress, &info,
                          change_flags, masks);
}

BOOLEAN RtlGetUserInfoHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID *UserValue,
                           PULONG UserFlags)
{
    struct user_info info;
    if (!user_info_call("RtlGetUserInfoHeap", HeapHandle, Flags, BaseAddress, &info, NULL, NULL)) {
        return FALSE;
    }
    const bool tell_value = UserValue != NULL && info.present;
    if ((tell_value && !nth_probe_write(UserValue, sizeof(*UserValue))) ||
        (UserFlags != NULL && !nth_probe_write(UserFlags, sizeof(*UserFlags)))) {
        nth_self.last_error = ERROR_NOACCESS;
        return FALSE;
    }
    if (tell_value) {
        *UserValue = (PVOID)(uintptr_t)info.value;
    }
    if (UserFlags != NULL) {
        *UserFlags = info.flags;
    }
    return TRUE;
}
