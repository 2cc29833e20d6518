/* SPDX-License-Identifier: MIT
 *
 * The calls of the API while the verifier is on: each looks at what it was given, lets the plain call
 * do the work on the heap's own block, and keeps the books. Stops are made with nothing locked. Calls
 * the plain calls of the API files, and everything of the verifier. */
#define _GNU_SOURCE
#include "verifier.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "flags.h"
#include "lock.h"
#include "probe.h"
#include "seh.h"

#if UINTPTR_MAX > 0xFFFFFFFFu
#define EXTREME_BYTES 0x10000000000u /* 1 TiB */
#else
#define EXTREME_BYTES 0x80000000u
#endif

/* One call: what was found out about it before anything is changed. */
struct visit {
    const struct nth_caller *caller;
    HANDLE handle;
    ULONG flags;
    struct nth_stack stack;
    const struct nth_trace *trace;
    struct nth_module *owner;
    struct nth_watched_heap *watched;
    struct nth_track *track; /* of the block concerned, live and of this heap */
    struct nth_stop_wish wish;
    bool raises;
    bool watching; /* is told of as inside, without a lock */
};

/* ---- The heap ---- */

/* With the lock held. NULL when there is no memory. */
static struct nth_watched_heap *watch(HANDLE handle)
{
    struct nth_watched_heap *heap = nth_verifier.heaps;
    while (heap != NULL && heap->handle != handle) {
        heap = heap->next;
    }
    if (heap != NULL) {
        return heap;
    }
    heap = nth_verifier.heaps_free;
    if (heap != NULL) {
        nth_verifier.heaps_free = heap->next;
    } else {
        heap = nth_verifier_take(sizeof(*heap));
    }
    if (heap != NULL) {
        *heap = (struct nth_watched_heap){.next = nth_verifier.heaps, .handle = handle};
        nth_verifier.heaps = heap;
    }
    return heap;
}

static void stop(struct visit *visit, ULONG code, ULONG_PTR first, ULONG_PTR second,
                 ULONG_PTR third, ULONG_PTR fourth)
{
    const struct nth_stop_wish wish = {
        .code = code, .parameter = {first, second, third, fourth}, .trace = visit->trace};
    nth_stop(&wish);
}

/* Another thread is in a heap without a lock, or was, where that counts. */
static ULONG intruded(struct visit *visit, struct nth_watched_heap *heap)
{
    const ULONG self = nth_thread_number();
    const bool alone = (nth_verifier.set.page_heap_options & NTH_PAGE_HEAP_NO_SYNC) != 0;
    ULONG other = 0;
    if (heap->inside_count > 0 && heap->inside_thread != self) {
        other = heap->inside_thread;
    } else if (alone && heap->first_thread != 0 && heap->first_thread != self) {
        other = heap->first_thread;
    }
    heap->first_thread = heap->first_thread != 0 ? heap->first_thread : self;
    if (heap->inside_count == 0 || heap->inside_thread == self) {
        heap->inside_thread = self;
        heap->inside_count++;
        visit->watching = true;
    }
    return other;
}

/* Begin: stack, owner, heap. False when the handle names none, and the stop was made; without the
 * heaps layer the plain call tells of it. */
static bool begin(struct visit *visit, const struct nth_caller *caller, HANDLE handle, ULONG flags)
{
    memset(&visit->wish, 0, sizeof(visit->wish));
    visit->caller = caller;
    visit->handle = handle;
    visit->flags = flags;
    visit->watching = false;
    visit->track = NULL;
    visit->watched = NULL;
    nth_modules_look();
    nth_stack_take(&visit->stack, caller->address);
    const struct nth_slot *slot = nth_visit(handle);
    const uint64_t own = slot != NULL ? slot->flags : 0;
    nth_visit_end();
    visit->raises = ((own | flags) & HEAP_GENERATE_EXCEPTIONS) != 0;
    ULONG other = 0;
    void *outer = nth_verifier_enter();
    visit->trace = nth_trace_intern(&visit->stack);
    visit->owner = nth_stack_owner(&visit->stack);
    if (slot != NULL) {
        visit->watched = watch(handle);
        if (visit->watched != NULL && nth_verifier.marks && (own & HEAP_NO_SERIALIZE) != 0) {
            other = intruded(visit, visit->watched);
        }
    }
    nth_verifier_leave(outer);
    if (other != 0) {
        stop(visit, NTH_STOP_UNSYNCHRONIZED_ACCESS, (ULONG_PTR)handle, other, nth_thread_number(),
             0);
    }
    if (slot == NULL && nth_verifier.marks) {
        stop(visit, NTH_STOP_BAD_HEAP_HANDLE, (ULONG_PTR)handle, 0, 0, 0);
        return false;
    }
    return true;
}

static void end(struct visit *visit)
{
    if (visit->watching) {
        void *outer = nth_verifier_enter();
        visit->watched->inside_count--;
        nth_verifier_leave(outer);
        visit->watching = false;
    }
}

/* ---- Plain calls, watched for access violations ---- */

enum plain_kind { PLAIN_ALLOCATE, PLAIN_REALLOCATE, PLAIN_FREE };

struct plain {
    enum plain_kind kind;
    struct visit *visit;
    ULONG flags;
    void *block;
    SIZE_T bytes;
    void *made;
    enum nth_status status;
    NTSTATUS freed;
};

static void plain_body(struct plain *plain)
{
    const struct visit *visit = plain->visit;
    if (plain->kind == PLAIN_ALLOCATE) {
        plain->made = nth_plain_allocate(visit->caller->name, visit->handle, plain->flags,
                                         plain->bytes, &plain->status);
    } else if (plain->kind == PLAIN_REALLOCATE) {
        plain->made = nth_plain_reallocate(visit->caller->name, visit->handle, plain->flags,
                                           plain->block, plain->bytes, &plain->status);
    } else {
        plain->freed =
            nth_plain_free(visit->caller->name, visit->handle, plain->flags, plain->block);
    }
}

static LONG violation(EXCEPTION_POINTERS *info, void *context)
{
    struct visit *visit = context;
    if (info->ExceptionRecord->ExceptionCode == STATUS_ACCESS_VIOLATION) {
        stop(visit, NTH_STOP_UNEXPECTED_EXCEPTION, (ULONG_PTR)visit->handle,
             (ULONG_PTR)info->ExceptionRecord, (ULONG_PTR)info->ContextRecord,
             STATUS_ACCESS_VIOLATION);
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

static void plain_run(struct plain *plain)
{
    if (!nth_verifier.marks) {
        plain_body(plain);
        return;
    }
    NT_TRY {
        NT_TRY {
            plain_body(plain);
        }
        NT_FINALLY {
            if (NT_ABNORMAL_TERMINATION()) {
                end(plain->visit);
            }
        }
        NT_END_TRY
    }
    NT_EXCEPT(violation, plain->visit) {
    }
    NT_END_TRY
}

/* ---- What a block should be like ---- */

static bool asked_for_full(const struct visit *visit, SIZE_T bytes)
{
    const struct nth_verifier_settings *set = &nth_verifier.set;
    const char *name = visit->owner != NULL ? visit->owner->info.name : "";
    bool address = set->full_address_high == 0;
    for (unsigned idx = 0; idx < visit->stack.count && !address; idx++) {
        address = visit->stack.addresses[idx] >= set->full_address_low &&
                  visit->stack.addresses[idx] <= set->full_address_high;
    }
    return set->page_heap == NTH_PAGE_HEAP_FULL && bytes >= set->full_size_min &&
           bytes <= set->full_size_max && address &&
           (set->full_modules[0] == '\0' || nth_names_have(set->full_modules, name)) &&
           (set->full_percent == 100 || nth_verifier_random() % 100u < set->full_percent);
}

/* Blocks with user information stay in the heap, which keeps it. */
static enum nth_track_kind kind_for(const struct visit *visit, SIZE_T bytes)
{
    if (nth_verifier.marks) {
        const bool full = (visit->flags & HEAP_SETTABLE_USER_VALUE) == 0 &&
                          asked_for_full(visit, bytes);
        return full ? NTH_TRACK_FULL : NTH_TRACK_LIGHT;
    }
    const bool tail = (nth_verifier.global_flags & FLG_HEAP_ENABLE_TAIL_CHECK) != 0 &&
                      bytes <= NTH_THRESHOLD_BYTES - NTH_TAIL_BYTES;
    return tail ? NTH_TRACK_TAIL : NTH_TRACK_BARE;
}

/* Should this allocation fail, for the sake of it? */
static bool starved(const struct visit *visit, ULONG kind)
{
    const struct nth_verifier_settings *set = &nth_verifier.set;
    const char *name = visit->owner != NULL ? visit->owner->info.name : "";
    if (!nth_verifier_has(NTH_VERIFY_LOWRES) || (set->lowres_kinds & kind) == 0 ||
        set->lowres_ppm == 0 || !nth_names_have(set->lowres_include, name) ||
        nth_names_have(set->lowres_exclude, name) ||
        nth_verifier_now_ms() < nth_verifier.quiet_until_ms) {
        return false;
    }
    const bool starves = nth_verifier_random() % 1000000u < set->lowres_ppm;
    nth_verifier.sums.refused_count += starves;
    return starves;
}

/* ---- Whole heaps ---- */

struct sweep {
    HANDLE handle;
    uint64_t after;
    const struct nth_track *damaged;
    ULONG code;
    ULONG_PTR bad;
};

/* A block of the heap whose surroundings, or filling, are not as they were left. */
static bool damage_in(struct sweep *sweep)
{
    void *outer = nth_verifier_enter();
    for (size_t idx = 0; idx < nth_verifier.track_room && sweep->code == 0; idx++) {
        for (const struct nth_track *track = nth_verifier.tracks_by_user[idx];
             track != NULL && sweep->code == 0; track = track->chain) {
            if (track->heap == sweep->handle) {
                sweep->code = track->state == NTH_ALLOCATION_HELD
                                  ? nth_mark_check_held(track)
                                  : nth_mark_check_live(track, &sweep->bad);
                sweep->damaged = track;
            }
        }
    }
    nth_verifier_leave(outer);
    return sweep->code != 0;
}

/* With the flag for it every call looks at the whole heap first. */
static bool heap_sound(const struct visit *visit)
{
    struct sweep sweep = {.handle = visit->handle};
    if ((nth_verifier.global_flags & FLG_HEAP_VALIDATE_ALL) == 0 || visit->watched == NULL) {
        return true;
    }
    return !damage_in(&sweep) &&
           nth_plain_validate(visit->caller->name, visit->handle, visit->flags, NULL);
}

/* ---- Looking at the caller's block ---- */

static void wish_for(struct visit *visit, const struct nth_track *track, ULONG code,
                     ULONG_PTR fourth)
{
    visit->wish = (struct nth_stop_wish){
        .code = code,
        .parameter = {(ULONG_PTR)visit->handle, (ULONG_PTR)track->user, track->bytes, fourth},
        .trace = visit->trace,
        .allocated = track->allocated,
        .freed = track->freed,
    };
}

/* The lock is held. Finds the live block, or says what is wrong; `freeing` decides names. */
static void examine(struct visit *visit, const void *block, bool freeing)
{
    struct nth_track *track = nth_track_find(block);
    ULONG_PTR bad = 0;
    if (track == NULL) {
        return;
    }
    if (track->heap != visit->handle) {
        wish_for(visit, track, NTH_STOP_SWITCHED_HEAP_HANDLE, (ULONG_PTR)track->heap);
        return;
    }
    if (track->state == NTH_ALLOCATION_HELD) {
        wish_for(visit, track,
                 freeing ? NTH_STOP_DOUBLE_FREE : NTH_STOP_CORRUPTED_HEAP_BLOCK, 0);
        return;
    }
    visit->track = track;
    const ULONG looks = FLG_HEAP_VALIDATE_PARAMETERS | (freeing ? FLG_HEAP_ENABLE_TAIL_CHECK : 0u);
    const bool looked = nth_verifier.marks || (nth_verifier.global_flags & looks) != 0;
    const ULONG code = looked ? nth_mark_check_live(track, &bad) : 0;
    if (code != 0) {
        wish_for(visit, track, code, bad);
    }
}

/* Bounds of the mapping around an address, from the system's list. */
static bool mapping_around(uintptr_t address, uintptr_t *low, uintptr_t *high);

static bool on_stack(const void *block, uintptr_t *low, uintptr_t *high)
{
    const char here = 0;
    return mapping_around((uintptr_t)&here, low, high) && (uintptr_t)block >= *low &&
           (uintptr_t)block < *high;
}

/* The record and context of an access that was only looked for. */
static EXCEPTION_RECORD probed(const void *block)
{
    EXCEPTION_RECORD record;
    memset(&record, 0, sizeof(record));
    record.ExceptionCode = STATUS_ACCESS_VIOLATION;
    record.ExceptionAddress = __builtin_return_address(0);
    record.NumberParameters = 2;
    record.ExceptionInformation[0] = EXCEPTION_READ_FAULT;
    record.ExceptionInformation[1] = (ULONG_PTR)block;
    return record;
}

/* A block that nobody knows. No lock is held. */
static void examine_unknown(struct visit *visit, const void *block, bool freeing)
{
    const ULONG_PTR handle = (ULONG_PTR)visit->handle;
    const ULONG_PTR address = (ULONG_PTR)block;
    uintptr_t low = 0;
    uintptr_t high = 0;
    if (freeing && nth_verifier_has(NTH_VERIFY_MEMORY) && on_stack(block, &low, &high)) {
        stop(visit, NTH_STOP_FREE_THREAD_STACK_MEMORY_AS_HEAP, low, high - low, low, high);
        return;
    }
    const bool readable = nth_probe_read(block, 1);
    if (freeing && !readable && nth_verifier_has(NTH_VERIFY_MEMORY) && !nth_verifier.marks) {
        const EXCEPTION_RECORD record = probed(block);
        stop(visit, NTH_STOP_SIZE_HEAP_UNEXPECTED_EXCEPTION, address, handle, (ULONG_PTR)&record, 0);
        return;
    }
    if (!nth_verifier.marks) {
        return;
    }
    void *outer = nth_verifier_enter();
    const struct nth_track *around = nth_track_around(block);
    visit->wish = (struct nth_stop_wish){
        .code = readable || around != NULL ? NTH_STOP_CORRUPTED_HEAP_BLOCK
                : freeing ? NTH_STOP_CORRUPTED_HEAP_BLOCK_EXCEPTION_RAISED_FOR_HEADER
                          : NTH_STOP_CORRUPTED_HEAP_BLOCK_EXCEPTION_RAISED_FOR_PROBING,
        .parameter = {handle, address, around != NULL ? around->bytes : 0, 0},
        .trace = visit->trace,
        .allocated = around != NULL ? around->allocated : NULL,
        .freed = around != NULL ? around->freed : NULL,
    };
    nth_verifier_leave(outer);
    nth_stop(&visit->wish);
}

/* Look, and make the stop if there is one. True when the call may go on with visit->track; without
 * one the plain call decides. */
static bool examined(struct visit *visit, const void *block, bool freeing)
{
    if (!heap_sound(visit)) {
        return false;
    }
    void *outer = nth_verifier_enter();
    examine(visit, block, freeing);
    nth_verifier_leave(outer);
    if (visit->wish.code != 0 &&
        (nth_verifier.marks || visit->wish.code == NTH_STOP_CORRUPTED_HEAP_BLOCK_SUFFIX)) {
        nth_stop(&visit->wish);
    }
    if (visit->track == NULL && visit->wish.code == 0) {
        examine_unknown(visit, block, freeing);
        return !nth_verifier.marks && visit->wish.code == 0;
    }
    const bool checked = (nth_verifier.global_flags & FLG_HEAP_VALIDATE_PARAMETERS) != 0;
    if (visit->track == NULL) {
        return !nth_verifier.marks;
    }
    /* A damaged block is freed all the same, unless every parameter is to be valid. */
    return visit->wish.code == 0 || (freeing && !checked);
}

/* ---- Allocating ---- */

/* Make the block that `track` says in the plain heap, or on pages. */
static enum nth_status block_make(struct visit *visit, struct nth_track *track, ULONG flags,
                                  SIZE_T bytes)
{
    struct plain plain = {.kind = PLAIN_ALLOCATE, .visit = visit, .flags = flags};
    if (track->kind == NTH_TRACK_FULL) {
        struct nth_call call;
        struct nth_heap *heap = nth_call_begin(&call, visit->caller->name, visit->handle, flags);
        enum nth_status status = heap == NULL ? nth_api_refusal(&call) : NTH_OK;
        if (heap != NULL && bytes > heap->config.threshold_bytes &&
            !nth_heap_has(heap, HEAP_GROWABLE)) {
            status = NTH_TOO_LARGE;
        } else if (heap != NULL && (bytes > heap->config.allocation_max_bytes || bytes > SIZE_MAX / 2)) {
            status = NTH_NO_MEMORY;
        }
        if (status == NTH_OK) {
            void *outer = nth_verifier_enter();
            status = nth_page_block_make(track, bytes);
            nth_verifier_leave(outer);
        }
        nth_call_end(&call);
        if (status != NTH_ABSENT || heap == NULL) {
            return status;
        }
        track->kind = NTH_TRACK_LIGHT;
    }
    plain.bytes = nth_mark_real_bytes(track->kind, bytes);
    if (plain.bytes < bytes) {
        return NTH_NO_MEMORY;
    }
    plain_run(&plain);
    if (plain.status == NTH_OK) {
        track->real = plain.made;
        track->real_bytes = plain.bytes;
        track->user = track->real + nth_mark_before(track->kind);
        track->bytes = bytes;
    }
    return plain.status;
}

static void block_unmake(struct visit *visit, struct nth_track *track)
{
    if (track->kind == NTH_TRACK_FULL) {
        void *outer = nth_verifier_enter();
        nth_page_block_drop(track);
        nth_verifier_leave(outer);
        return;
    }
    struct plain plain = {.kind = PLAIN_FREE, .visit = visit, .flags = visit->flags,
                          .block = track->real};
    plain_run(&plain);
}

/* A track for a fresh block, or NULL; the lock is not held. */
static struct nth_track *track_make(struct visit *visit, SIZE_T bytes)
{
    void *outer = nth_verifier_enter();
    struct nth_track *track = visit->watched != NULL ? nth_track_new() : NULL;
    if (track != NULL) {
        track->kind = (uint8_t)kind_for(visit, bytes);
        track->heap = visit->handle;
        track->watched = visit->watched;
        track->state = NTH_ALLOCATION_LIVE;
        track->allocated = visit->trace;
        track->serial = ++nth_verifier.serial;
        track->plain_resize = (visit->flags & HEAP_SETTABLE_USER_VALUE) != 0;
    }
    nth_verifier_leave(outer);
    return track;
}

static void track_forget(struct nth_track *track)
{
    void *outer = nth_verifier_enter();
    nth_track_drop(track);
    nth_verifier_leave(outer);
}

/* A tracked block; NULL and `*status` otherwise. */
static void *allocate_tracked(struct visit *visit, ULONG flags, SIZE_T bytes,
                              enum nth_status *status)
{
    struct nth_track *track = track_make(visit, bytes);
    if (track == NULL) {
        *status = NTH_NO_MEMORY;
        return NULL;
    }
    *status = block_make(visit, track, flags, bytes);
    if (*status != NTH_OK) {
        track_forget(track);
        return NULL;
    }
    nth_mark_live(track, track->kind == NTH_TRACK_FULL || (flags & HEAP_ZERO_MEMORY) == 0 ? 0 : bytes,
                  (flags & HEAP_ZERO_MEMORY) != 0);
    void *outer = nth_verifier_enter();
    const bool entered = nth_track_enter(track);
    if (entered) {
        nth_track_own(track, visit->owner);
        nth_verifier.sums.allocation_count++;
        nth_operation_log(NTH_OPERATION_ALLOCATE, visit->handle, track->user, bytes, visit->trace);
    }
    nth_verifier_leave(outer);
    if (!entered) {
        block_unmake(visit, track);
        track_forget(track);
        *status = NTH_NO_MEMORY;
        return NULL;
    }
    return track->user;
}

static bool is_starved(const struct visit *visit, ULONG kind)
{
    void *outer = nth_verifier_enter();
    const bool starves = starved(visit, kind);
    nth_verifier_leave(outer);
    return starves;
}

PVOID nth_verified_allocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                            SIZE_T bytes, enum nth_status *status)
{
    struct visit visit;
    void *user = NULL;
    flags &= (ULONG)NTH_ALLOCATE_FLAGS;
    *status = NTH_ABSENT;
    if (begin(&visit, caller, handle, flags)) {
        if (nth_verifier.marks && bytes >= EXTREME_BYTES) {
            stop(&visit, NTH_STOP_EXTREME_SIZE_REQUEST, (ULONG_PTR)handle, bytes, 0, 0);
        }
        if (!heap_sound(&visit)) {
            *status = NTH_CORRUPT;
        } else if (visit.watched != NULL && is_starved(&visit, NTH_LOWRES_HEAP_ALLOC)) {
            *status = NTH_NO_MEMORY;
        } else if (nth_verifier.tracks && visit.watched != NULL) {
            user = allocate_tracked(&visit, flags, bytes, status);
        } else {
            user = nth_plain_allocate(caller->name, handle, flags, bytes, status);
        }
    }
    end(&visit);
    return *status == NTH_OK ? user : nth_plain_fail(visit.raises, *status, bytes, handle);
}

/* ---- Freeing ---- */

/* What the queue of a heap has too much of is freed for good; damage is told of. */
static void release(struct visit *visit, struct nth_watched_heap *heap, bool always)
{
    for (;;) {
        ULONG code = 0;
        void *outer = nth_verifier_enter();
        struct nth_track *track = nth_track_release(heap, always);
        if (track != NULL) {
            code = nth_mark_check_held(track);
            wish_for(visit, track, code, 0);
            if (track->kind == NTH_TRACK_FULL) {
                nth_page_block_drop(track);
            }
        }
        nth_verifier_leave(outer);
        if (track == NULL) {
            return;
        }
        if (track->kind != NTH_TRACK_FULL) {
            block_unmake(visit, track);
        }
        track_forget(track);
        if (code != 0) {
            nth_stop(&visit->wish);
        }
    }
}

/* The block is gone for the program: held back, or out of the books. True when it is held. */
static bool track_free(struct visit *visit, struct nth_track *track)
{
    const bool checked = (nth_verifier.global_flags & FLG_HEAP_ENABLE_FREE_CHECK) != 0;
    const bool holds = nth_verifier.marks || checked;
    void *outer = nth_verifier_enter();
    nth_track_disown(track);
    track->freed = visit->trace;
    nth_verifier.sums.free_count++;
    nth_operation_log(NTH_OPERATION_FREE, visit->handle, track->user, track->bytes, visit->trace);
    if (holds) {
        nth_track_hold(track);
        nth_mark_freed(track);
        if (track->kind == NTH_TRACK_FULL) {
            nth_page_block_hide(track);
        }
    } else {
        nth_track_remove(track);
    }
    nth_verifier_leave(outer);
    return holds;
}

/* HeapLock holds off frees that touch no heap memory, too. */
static NTSTATUS heap_pass(const struct visit *visit)
{
    struct nth_call call;
    const struct nth_heap *heap =
        nth_call_begin(&call, visit->caller->name, visit->handle, visit->flags);
    const NTSTATUS status = heap == NULL ? nth_api_status(nth_api_refusal(&call)) : STATUS_SUCCESS;
    nth_call_end(&call);
    return status;
}

static NTSTATUS free_tracked(struct visit *visit)
{
    struct nth_track *track = visit->track;
    struct nth_watched_heap *watched = visit->watched;
    NTSTATUS status = heap_pass(visit);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (nth_verifier_has(NTH_VERIFY_LOCKS)) {
        const uintptr_t low = (uintptr_t)track->user;
        nth_sections_lost(low, low + track->bytes, NTH_STOP_LOCK_IN_FREED_HEAP, low, track->bytes,
                          visit->trace);
    }
    if (track_free(visit, track)) {
        release(visit, watched, false);
        return STATUS_SUCCESS;
    }
    struct plain plain = {.kind = PLAIN_FREE, .visit = visit, .flags = visit->flags,
                          .block = track->real};
    plain_run(&plain);
    if (!NT_SUCCESS(plain.freed)) { /* it is still there, and nobody's */
        void *outer = nth_verifier_enter();
        (void)nth_track_enter(track);
        nth_verifier_leave(outer);
        return plain.freed;
    }
    track_forget(track);
    return STATUS_SUCCESS;
}

NTSTATUS nth_verified_free(const struct nth_caller *caller, HANDLE handle, ULONG flags, PVOID block)
{
    struct visit visit;
    NTSTATUS status = STATUS_INVALID_HANDLE;
    if (block == NULL) {
        return STATUS_SUCCESS;
    }
    if (begin(&visit, caller, handle, flags)) {
        if (visit.watched == NULL || !nth_verifier.tracks) {
            status = nth_plain_free(caller->name, handle, flags, block);
        } else if (!examined(&visit, block, true)) {
            status = STATUS_INVALID_PARAMETER;
        } else if (visit.track != NULL) {
            status = free_tracked(&visit);
        } else {
            status = nth_plain_free(caller->name, handle, flags, block);
        }
    }
    end(&visit);
    return status;
}

/* ---- Reallocating ---- */

/* The block is where `made` says now, with so many bytes. */
static void track_resized(struct visit *visit, struct nth_track *track, char *made, SIZE_T bytes,
                          enum nth_track_kind kind)
{
    struct nth_module *owner = track->owner;
    const bool disowned = track->disowned;
    void *outer = nth_verifier_enter();
    const ULONG number = track->owner_number;
    nth_track_disown(track);
    nth_track_remove(track);
    track->real = made;
    track->kind = (uint8_t)kind;
    track->bytes = bytes;
    if (kind != NTH_TRACK_FULL) {
        track->real_bytes = nth_mark_real_bytes(kind, bytes);
        track->user = made + nth_mark_before(kind);
    }
    NTH_ASSERT(nth_track_enter(track)); /* there was room for it */
    nth_track_own(track, owner);
    track->disowned = disowned;
    track->owner_number = owner != NULL ? track->owner_number : number;
    nth_operation_log(NTH_OPERATION_REALLOCATE, visit->handle, track->user, bytes, visit->trace);
    nth_verifier_leave(outer);
}

/* By the heap itself. NTH_ABSENT: it cannot stay, and is to be moved by hand. */
static enum nth_status resize_plain(struct visit *visit, ULONG flags, SIZE_T bytes)
{
    struct nth_track *track = visit->track;
    const bool marked = track->kind == NTH_TRACK_LIGHT;
    const bool by_hand = marked && !track->plain_resize && (flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0;
    const SIZE_T before = track->bytes;
    const enum nth_track_kind kind = marked ? NTH_TRACK_LIGHT : kind_for(visit, bytes);
    struct plain plain = {
        .kind = PLAIN_REALLOCATE,
        .visit = visit,
        .flags = (flags & ~(ULONG)HEAP_ZERO_MEMORY) | (by_hand ? HEAP_REALLOC_IN_PLACE_ONLY : 0u),
        .block = track->real,
        .bytes = nth_mark_real_bytes(kind, bytes),
    };
    if (plain.bytes < bytes) {
        return NTH_NO_MEMORY;
    }
    nth_forget(track->real, (size_t)(track->user - track->real));
    nth_forget(track->user + before,
               track->real_bytes - (size_t)(track->user - track->real) - before);
    plain_run(&plain);
    if (plain.status != NTH_OK) {
        nth_mark_live(track, before, false);
        return plain.status == NTH_NO_MEMORY && by_hand ? NTH_ABSENT : plain.status;
    }
    track_resized(visit, track, plain.made, bytes, kind);
    nth_mark_live(track, before < bytes ? before : bytes, (flags & HEAP_ZERO_MEMORY) != 0);
    return NTH_OK;
}

/* Pages of its own: a smaller size can be had where it is, when it must. */
static enum nth_status resize_full(struct visit *visit, ULONG flags, SIZE_T bytes)
{
    struct nth_track *track = visit->track;
    const bool stays = (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0;
    const SIZE_T room = (SIZE_T)(track->real + track->real_bytes - track->user);
    if (bytes == track->bytes || bytes == 0 || (stays && bytes <= room)) {
        const SIZE_T before = track->bytes;
        nth_forget(track->user + before, room - before);
        track_resized(visit, track, track->real, bytes, NTH_TRACK_FULL);
        nth_mark_live(track, before < bytes ? before : bytes, (flags & HEAP_ZERO_MEMORY) != 0);
        return NTH_OK;
    }
    return stays ? NTH_NO_MEMORY : NTH_ABSENT;
}

/* A fresh block, a copy; the old one is held back. Owner and stack of the first one stay. */
static enum nth_status resize_by_hand(struct visit *visit, ULONG flags, SIZE_T bytes, void **moved)
{
    struct nth_track *old = visit->track;
    enum nth_status status = NTH_OK;
    struct nth_track *fresh = track_make(visit, bytes);
    if (fresh == NULL) {
        return NTH_NO_MEMORY;
    }
    status = block_make(visit, fresh, flags & ~(ULONG)HEAP_ZERO_MEMORY, bytes);
    if (status != NTH_OK) {
        track_forget(fresh);
        return status;
    }
    const SIZE_T kept = old->bytes < bytes ? old->bytes : bytes;
    memcpy(fresh->user, old->user, kept);
    nth_mark_live(fresh, kept, (flags & HEAP_ZERO_MEMORY) != 0);
    void *outer = nth_verifier_enter();
    const bool entered = nth_track_enter(fresh);
    if (entered) {
        struct nth_module *owner = old->owner;
        fresh->disowned = old->disowned;
        fresh->allocated = old->allocated;
        nth_track_disown(old);
        nth_track_own(fresh, owner);
        nth_operation_log(NTH_OPERATION_REALLOCATE, visit->handle, fresh->user, bytes,
                          visit->trace);
    }
    nth_verifier_leave(outer);
    if (!entered) {
        block_unmake(visit, fresh);
        track_forget(fresh);
        return NTH_NO_MEMORY;
    }
    struct nth_watched_heap *watched = visit->watched;
    *moved = fresh->user;
    (void)track_free(visit, old);
    release(visit, watched, false);
    return NTH_OK;
}

static enum nth_status resize_tracked(struct visit *visit, ULONG flags, SIZE_T bytes, void **moved)
{
    const bool full = visit->track->kind == NTH_TRACK_FULL;
    const enum nth_status status =
        full ? resize_full(visit, flags, bytes) : resize_plain(visit, flags, bytes);
    *moved = visit->track->user;
    return status == NTH_ABSENT ? resize_by_hand(visit, flags, bytes, moved) : status;
}

PVOID nth_verified_reallocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              PVOID block, SIZE_T bytes)
{
    struct visit visit;
    void *moved = NULL;
    enum nth_status status = NTH_ABSENT;
    const void *concerned = handle;
    flags &= (ULONG)NTH_REALLOCATE_FLAGS;
    if (begin(&visit, caller, handle, flags)) {
        if (nth_verifier.marks && bytes >= EXTREME_BYTES) {
            stop(&visit, NTH_STOP_EXTREME_SIZE_REQUEST, (ULONG_PTR)handle, bytes, 0, 0);
        }
        concerned = visit.watched != NULL ? block : handle;
        if (visit.watched == NULL || block == NULL || !nth_verifier.tracks) {
            moved = visit.watched != NULL && block != NULL &&
                            is_starved(&visit, NTH_LOWRES_HEAP_ALLOC)
                        ? (status = NTH_NO_MEMORY, NULL)
                        : nth_plain_reallocate(caller->name, handle, flags, block, bytes, &status);
        } else if (!examined(&visit, block, false)) {
            status = NTH_BAD_ARGUMENT;
        } else if (is_starved(&visit, NTH_LOWRES_HEAP_ALLOC)) {
            status = NTH_NO_MEMORY;
        } else if (visit.track != NULL && NT_SUCCESS(heap_pass(&visit))) {
            status = resize_tracked(&visit, flags, bytes, &moved);
        } else {
            moved = nth_plain_reallocate(caller->name, handle, flags, block, bytes, &status);
        }
    }
    end(&visit);
    return status == NTH_OK ? moved : nth_plain_fail(visit.raises, status, bytes, concerned);
}

/* ---- Size, validation, user information, walks ---- */

SIZE_T nth_verified_size(const struct nth_caller *caller, HANDLE handle, ULONG flags, LPCVOID block)
{
    struct visit visit;
    SIZE_T bytes = (SIZE_T)-1;
    if (begin(&visit, caller, handle, flags)) {
        if (visit.watched == NULL || block == NULL || !nth_verifier.tracks) {
            bytes = nth_plain_size(caller->name, handle, flags, block);
        } else if (examined(&visit, block, false)) {
            bytes = visit.track == NULL ? nth_plain_size(caller->name, handle, flags, block)
                    : NT_SUCCESS(heap_pass(&visit)) ? visit.track->bytes
                                                    : (SIZE_T)-1;
        }
    }
    end(&visit);
    return bytes;
}

BOOLEAN nth_verified_validate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              LPCVOID block)
{
    struct sweep sweep = {.handle = handle};
    ULONG_PTR bad = 0;
    const void *real = block;
    nth_modules_look();
    if (block == NULL) {
        return !damage_in(&sweep) && nth_plain_validate(caller->name, handle, flags, NULL);
    }
    void *outer = nth_verifier_enter();
    const struct nth_track *track = nth_track_find(block);
    const bool ours = track != NULL && track->heap == handle;
    const bool whole = ours && track->state == NTH_ALLOCATION_LIVE &&
                       nth_mark_check_live(track, &bad) == 0;
    const bool full = ours && track->kind == NTH_TRACK_FULL;
    real = ours ? track->real : block;
    nth_verifier_leave(outer);
    if (ours && (!whole || full)) {
        return whole;
    }
    return nth_plain_validate(caller->name, handle, flags, real);
}

PVOID nth_verified_real(PVOID block)
{
    void *outer = nth_verifier_enter();
    const struct nth_track *track = nth_track_find(block);
    PVOID real = track != NULL && track->state == NTH_ALLOCATION_LIVE ? track->real : block;
    nth_verifier_leave(outer);
    return real;
}

/* A busy element whose data is the heap's own block is shown as the program knows it. */
bool nth_verified_shown(void **data, uint64_t *bytes, uint64_t *overhead)
{
    void *outer = nth_verifier_enter();
    const size_t places[2] = {NTH_MARK_BYTES, 0};
    bool shown = false;
    for (unsigned idx = 0; idx < 2u && !shown; idx++) {
        const struct nth_track *track = nth_track_find((char *)*data + places[idx]);
        if (track != NULL && track->kind != NTH_TRACK_FULL && track->real == *data) {
            *overhead += *bytes - track->bytes;
            *bytes = track->bytes;
            *data = track->user;
            shown = true;
        }
    }
    nth_verifier_leave(outer);
    return shown;
}

void *nth_verified_hidden(void *data)
{
    void *outer = nth_verifier_enter();
    const struct nth_track *track = nth_track_find(data);
    void *real = track != NULL && track->kind != NTH_TRACK_FULL ? track->real : data;
    nth_verifier_leave(outer);
    return real;
}

/* ---- Heaps ---- */

bool nth_verified_create_refused(const struct nth_caller *caller)
{
    struct visit visit = {.caller = caller};
    nth_modules_look();
    nth_stack_take(&visit.stack, caller->address);
    void *outer = nth_verifier_enter();
    visit.owner = nth_stack_owner(&visit.stack);
    const bool starves = starved(&visit, NTH_LOWRES_VIRTUAL_ALLOC);
    nth_verifier_leave(outer);
    return starves;
}

/* Global flags as heaps carry them ([obs] A44). */
ULONG nth_verified_create_flags(void)
{
    static const struct {
        ULONG global;
        ULONG heap;
    } pairs[] = {{FLG_HEAP_ENABLE_TAIL_CHECK, HEAP_TAIL_CHECKING_ENABLED},
                 {FLG_HEAP_ENABLE_FREE_CHECK, HEAP_FREE_CHECKING_ENABLED},
                 {FLG_HEAP_VALIDATE_PARAMETERS, 0x40000000u | HEAP_TAIL_CHECKING_ENABLED |
                                                    HEAP_FREE_CHECKING_ENABLED},
                 {FLG_HEAP_VALIDATE_ALL,
                  0x20000000u | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED},
                 {FLG_HEAP_DISABLE_COALESCING, HEAP_DISABLE_COALESCE_ON_FREE},
                 {FLG_HEAP_PAGE_ALLOCS, 0x01000000u}};
    ULONG flags = 0;
    for (size_t idx = 0; idx < sizeof(pairs) / sizeof(pairs[0]); idx++) {
        flags |= (nth_verifier.global_flags & pairs[idx].global) != 0 ? pairs[idx].heap : 0u;
    }
    return flags;
}

void nth_verified_created(const struct nth_caller *caller, HANDLE handle, ULONG flags)
{
    struct visit visit = {.caller = caller, .handle = handle};
    nth_stack_take(&visit.stack, caller->address);
    void *outer = nth_verifier_enter();
    visit.trace = nth_trace_intern(&visit.stack);
    (void)watch(handle);
    nth_verifier.heap_count++;
    nth_verifier_leave(outer);
    if (nth_verifier_has(NTH_VERIFY_MEMORY) && (flags & HEAP_CREATE_ENABLE_EXECUTE) != 0) {
        stop(&visit, NTH_STOP_EXECUTABLE_HEAP, 0, 0, 0, 0);
    }
}

/* False when it must not be destroyed, which was told. */
bool nth_verified_destroying(const struct nth_caller *caller, HANDLE handle)
{
    struct visit visit;
    if (!nth_verifier.marks) {
        return true;
    }
    const bool known = begin(&visit, caller, handle, 0);
    struct sweep sweep = {.handle = handle};
    end(&visit);
    if (!known) {
        return false;
    }
    if (handle == nth_load_acquire(&nth_process.process_heap)) {
        stop(&visit, NTH_STOP_DESTROY_PROCESS_HEAP, (ULONG_PTR)handle, 0, 0, 0);
        return false;
    }
    if (damage_in(&sweep)) {
        void *outer = nth_verifier_enter();
        wish_for(&visit, sweep.damaged, sweep.code, sweep.bad);
        nth_verifier_leave(outer);
        nth_stop(&visit.wish);
    }
    return true;
}

/* Its blocks are gone: none of them is a leak any more. */
void nth_verified_destroyed(HANDLE handle)
{
    struct nth_verifier *all = &nth_verifier;
    void *outer = nth_verifier_enter();
    for (size_t idx = 0; idx < all->track_room; idx++) {
        for (struct nth_track *track = all->tracks_by_user[idx]; track != NULL;) {
            struct nth_track *next = track->chain;
            if (track->heap == handle) {
                if (track->state == NTH_ALLOCATION_HELD) {
                    nth_track_unhold(track);
                } else {
                    nth_track_disown(track);
                }
                nth_track_remove(track);
                if (track->kind == NTH_TRACK_FULL) {
                    nth_page_block_drop(track);
                }
                nth_track_drop(track);
            }
            track = next;
        }
    }
    struct nth_watched_heap **at = &all->heaps;
    while (*at != NULL && (*at)->handle != handle) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct nth_watched_heap *heap = *at;
        *at = heap->next;
        heap->next = all->heaps_free;
        all->heaps_free = heap;
    }
    all->heap_count--;
    nth_verifier_leave(outer);
}

void nth_verified_listing(const struct nth_caller *caller, ULONG count)
{
    struct visit visit = {.caller = caller};
    const ULONG process = nth_load_acquire(&nth_process.process_heap) != NULL;
    if (!nth_verifier.marks) {
        return;
    }
    nth_stack_take(&visit.stack, caller->address);
    void *outer = nth_verifier_enter();
    visit.trace = nth_trace_intern(&visit.stack);
    const ULONG known = nth_verifier.heap_count + process;
    nth_verifier_leave(outer);
    if (known != count) {
        stop(&visit, NTH_STOP_CORRUPTED_HEAP_LIST, count, known, 0, 0);
    }
}

/* ---- Faults ---- */

void nth_verified_fault(EXCEPTION_RECORD *record, void *context, bool handled)
{
    const ULONG_PTR address = record->ExceptionInformation[1];
    struct visit visit = {.caller = NULL};
    if (nth_self.holds_verifier || nth_self.call != NULL) {
        return;
    }
    const bool code = record->ExceptionInformation[0] == EXCEPTION_EXECUTE_FAULT;
    nth_stack_take(&visit.stack, record->ExceptionAddress);
    void *outer = nth_verifier_enter();
    const bool covered = nth_page_heap_covers(address);
    const struct nth_track *track = nth_track_around((const void *)address);
    visit.wish = (struct nth_stop_wish){
        .code = code      ? NTH_STOP_FIRST_CHANCE_ACCESS_VIOLATION_CODE
                : handled ? NTH_STOP_FIRST_CHANCE_ACCESS_VIOLATION
                          : NTH_STOP_ACCESS_VIOLATION,
        .parameter = {address, (ULONG_PTR)record->ExceptionAddress, (ULONG_PTR)record,
                      (ULONG_PTR)context},
        .trace = nth_trace_intern(&visit.stack),
        .allocated = track != NULL ? track->allocated : NULL,
        .freed = track != NULL ? track->freed : NULL,
    };
    nth_verifier_leave(outer);
    if (nth_verifier.marks && (covered || (code && track != NULL))) {
        nth_stop(&visit.wish);
    }
}

/* ---- The system's list of mappings ---- */

struct lines {
    int file;
    char bytes[4096];
    size_t len;
    size_t at;
};

static int next_byte(struct lines *lines)
{
    if (lines->at == lines->len) {
        const ssize_t got = read(lines->file, lines->bytes, sizeof(lines->bytes));
        lines->len = got > 0 ? (size_t)got : 0;
        lines->at = 0;
    }
    return lines->at < lines->len ? (unsigned char)lines->bytes[lines->at++] : -1;
}

static bool mapping_around(uintptr_t address, uintptr_t *low, uintptr_t *high)
{
    struct lines lines = {.file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    char line[64];
    size_t len = 0;
    bool found = false;
    for (int byte = 0; lines.file >= 0 && !found && (byte = next_byte(&lines)) != -1;) {
        if (byte != '\n') {
            line[len] = (char)byte;
            len += len < sizeof(line) - 1;
            continue;
        }
        char *end = NULL;
        line[len] = '\0';
        len = 0;
        *low = (uintptr_t)strtoull(line, &end, 16);
        *high = *end == '-' ? (uintptr_t)strtoull(end + 1, NULL, 16) : 0;
        found = address >= *low && address < *high;
    }
    if (lines.file >= 0) {
        (void)close(lines.file);
    }
    return found;
}
