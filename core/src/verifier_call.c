/* SPDX-License-Identifier: MIT
 *
 * Allocating, freeing and reallocating while the verifier is on: each call is looked at, lets the
 * plain call do the work on the heap's own block, and keeps the books. Calls the plain calls of the
 * API files, and everything of the verifier. */
#include "verifier_look.h"

#include <string.h>

#include "api.h"
#include "flags.h"
#include "lock.h"
#include "seh.h"

#if UINTPTR_MAX > 0xFFFFFFFFu
#define EXTREME_BYTES 0x10000000000u /* 1 TiB */
#else
#define EXTREME_BYTES 0x80000000u
#endif

/* ---- Plain calls, watched for access violations ---- */

enum plain_kind { PLAIN_ALLOCATE, PLAIN_REALLOCATE, PLAIN_FREE };

struct plain {
    enum plain_kind kind;
    struct nth_look *look;
    ULONG flags;
    void *block;
    SIZE_T bytes;
    void *made;
    enum nth_status status;
    NTSTATUS freed;
};

static void plain_body(struct plain *plain)
{
    const struct nth_look *look = plain->look;
    if (plain->kind == PLAIN_ALLOCATE) {
        plain->made = nth_plain_allocate(look->caller->name, look->handle, plain->flags,
                                         plain->bytes, &plain->status);
    } else if (plain->kind == PLAIN_REALLOCATE) {
        plain->made = nth_plain_reallocate(look->caller->name, look->handle, plain->flags,
                                           plain->block, plain->bytes, &plain->status);
    } else {
        plain->freed = nth_plain_free(look->caller->name, look->handle, plain->flags, plain->block);
    }
}

static LONG violation(EXCEPTION_POINTERS *info, void *context)
{
    struct nth_look *look = context;
    if (info->ExceptionRecord->ExceptionCode == STATUS_ACCESS_VIOLATION) {
        nth_look_stop(look, NTH_STOP_UNEXPECTED_EXCEPTION, (ULONG_PTR)look->handle,
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
    NT_TRY
    {
        NT_TRY
        {
            plain_body(plain);
        }
        NT_FINALLY
        {
            if (NT_ABNORMAL_TERMINATION()) {
                nth_look_end(plain->look);
            }
        }
        NT_END_TRY
    }
    NT_EXCEPT(violation, plain->look) /* which takes nothing */
    {
    }
    NT_END_TRY
}

/* ---- What a block should be like ---- */

static bool asked_for_full(const struct nth_look *look, SIZE_T bytes)
{
    const struct nth_verifier_settings *set = &nth_verifier.set;
    const char *name = look->owner != NULL ? look->owner->info.name : "";
    bool address = set->full_address_high == 0;
    for (unsigned idx = 0; idx < look->stack.count && !address; idx++) {
        address = look->stack.addresses[idx] >= set->full_address_low &&
                  look->stack.addresses[idx] <= set->full_address_high;
    }
    return set->page_heap == NTH_PAGE_HEAP_FULL && bytes >= set->full_size_min &&
           bytes <= set->full_size_max && address &&
           (set->full_modules[0] == '\0' || nth_names_have(set->full_modules, name)) &&
           (set->full_percent == 100 || nth_verifier_random() % 100u < set->full_percent);
}

/* Blocks with user information stay in the heap, which keeps it. */
static enum nth_track_kind kind_for(const struct nth_look *look, SIZE_T bytes)
{
    if (nth_verifier.marks) {
        const bool full =
            (look->flags & HEAP_SETTABLE_USER_VALUE) == 0 && asked_for_full(look, bytes);
        return full ? NTH_TRACK_FULL : NTH_TRACK_LIGHT;
    }
    const bool tail = (nth_verifier.global_flags & FLG_HEAP_ENABLE_TAIL_CHECK) != 0 &&
                      bytes <= NTH_THRESHOLD_BYTES - NTH_TAIL_BYTES;
    return tail ? NTH_TRACK_TAIL : NTH_TRACK_BARE;
}

/* ---- Allocating ---- */

/* Make the block that `track` says in the plain heap, or on pages. */
static enum nth_status block_make(struct nth_look *look, struct nth_track *track, ULONG flags,
                                  SIZE_T bytes)
{
    struct plain plain = {.kind = PLAIN_ALLOCATE, .look = look, .flags = flags};
    if (track->kind == NTH_TRACK_FULL) {
        struct nth_call call;
        struct nth_heap *heap = nth_call_begin(&call, look->caller->name, look->handle, flags);
        enum nth_status status = heap == NULL ? nth_api_refusal(&call) : NTH_OK;
        if (heap != NULL && bytes > heap->config.threshold_bytes &&
            !nth_heap_has(heap, HEAP_GROWABLE)) {
            status = NTH_TOO_LARGE;
        } else if (heap != NULL &&
                   (bytes > heap->config.allocation_max_bytes || bytes > SIZE_MAX / 2)) {
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

static void block_unmake(struct nth_look *look, struct nth_track *track)
{
    if (track->kind == NTH_TRACK_FULL) {
        void *outer = nth_verifier_enter();
        nth_page_block_drop(track);
        nth_verifier_leave(outer);
        return;
    }
    struct plain plain = {
        .kind = PLAIN_FREE, .look = look, .flags = look->flags, .block = track->real};
    plain_run(&plain);
}

/* A track for a fresh block, or NULL; the lock is not held. */
static struct nth_track *track_make(struct nth_look *look, SIZE_T bytes)
{
    void *outer = nth_verifier_enter();
    struct nth_track *track = nth_track_new();
    if (track != NULL) {
        track->kind = (uint8_t)kind_for(look, bytes);
        track->heap = look->handle;
        track->watched = look->watched;
        track->state = NTH_ALLOCATION_LIVE;
        track->allocated = look->trace;
        track->serial = ++nth_verifier.serial;
        track->plain_resize = (look->flags & HEAP_SETTABLE_USER_VALUE) != 0;
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
static void *allocate_tracked(struct nth_look *look, ULONG flags, SIZE_T bytes,
                              enum nth_status *status)
{
    struct nth_track *track = track_make(look, bytes);
    if (track == NULL) {
        *status = NTH_NO_MEMORY;
        return NULL;
    }
    *status = block_make(look, track, flags, bytes);
    if (*status != NTH_OK) {
        track_forget(track);
        return NULL;
    }
    nth_mark_live(track,
                  track->kind == NTH_TRACK_FULL || (flags & HEAP_ZERO_MEMORY) == 0 ? 0 : bytes,
                  (flags & HEAP_ZERO_MEMORY) != 0);
    void *outer = nth_verifier_enter();
    const bool entered = nth_track_enter(track);
    if (entered) {
        nth_track_own(track, look->owner);
        nth_verifier.sums.allocation_count++;
        nth_operation_log(NTH_OPERATION_ALLOCATE, look->handle, track->user, bytes, look->trace);
    }
    nth_verifier_leave(outer);
    if (!entered) {
        block_unmake(look, track);
        track_forget(track);
        *status = NTH_NO_MEMORY;
        return NULL;
    }
    return track->user;
}

static bool names_heap(HANDLE handle)
{
    const bool found = nth_visit(handle) != NULL;
    nth_visit_end();
    return found;
}

PVOID nth_verified_allocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                            SIZE_T bytes, enum nth_status *status)
{
    struct nth_look look;
    void *user = NULL;
    flags &= (ULONG)NTH_ALLOCATE_FLAGS;
    *status = NTH_ABSENT;
    if (nth_look_begin(&look, caller, handle, flags)) {
        if (nth_verifier.marks && bytes >= EXTREME_BYTES) {
            nth_look_stop(&look, NTH_STOP_EXTREME_SIZE_REQUEST, (ULONG_PTR)handle, bytes, 0, 0);
        }
        if (!nth_look_sound(&look)) {
            *status = NTH_CORRUPT;
        } else if (look.watched != NULL && nth_look_starved(&look, NTH_LOWRES_HEAP_ALLOC)) {
            *status = NTH_NO_MEMORY;
        } else if (nth_verifier.tracks && look.watched != NULL) {
            user = allocate_tracked(&look, flags, bytes, status);
        } else if (nth_verifier.tracks && names_heap(handle)) {
            *status = NTH_NO_MEMORY; /* for a note of the heap: no block that nobody knows */
        } else {
            user = nth_plain_allocate(caller->name, handle, flags, bytes, status);
        }
    }
    nth_look_end(&look);
    return *status == NTH_OK ? user : nth_plain_fail(look.raises, *status, bytes, handle);
}

/* ---- Freeing ---- */

/* What the queue of a heap has too much of is freed for good; damage is told of. */
static void release(struct nth_look *look, struct nth_watched_heap *heap)
{
    for (;;) {
        ULONG code = 0;
        void *outer = nth_verifier_enter();
        struct nth_track *track = nth_track_release(heap);
        if (track != NULL) {
            code = nth_mark_check_held(track);
            nth_look_wish(look, track, code, 0);
            if (track->kind == NTH_TRACK_FULL) {
                nth_page_block_drop(track);
            }
        }
        nth_verifier_leave(outer);
        if (track == NULL) {
            return;
        }
        if (track->kind != NTH_TRACK_FULL) {
            block_unmake(look, track);
        }
        track_forget(track);
        if (code != 0) {
            nth_stop(&look->wish);
        }
    }
}

/* The block is gone for the program: held back, or out of the books. True when it is held. */
static bool track_free(struct nth_look *look, struct nth_track *track)
{
    const bool checked = (nth_verifier.global_flags & FLG_HEAP_ENABLE_FREE_CHECK) != 0;
    const bool holds = nth_verifier.marks || checked;
    void *outer = nth_verifier_enter();
    nth_track_disown(track);
    track->freed = look->trace;
    nth_verifier.sums.free_count++;
    nth_operation_log(NTH_OPERATION_FREE, look->handle, track->user, track->bytes, look->trace);
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

static NTSTATUS free_tracked(struct nth_look *look)
{
    struct nth_track *track = look->track;
    struct nth_watched_heap *watched = look->watched;
    NTSTATUS status = nth_look_pass(look);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (nth_verifier_has(NTH_VERIFY_LOCKS)) {
        const uintptr_t low = (uintptr_t)track->user;
        nth_sections_lost(low, low + track->bytes, NTH_STOP_LOCK_IN_FREED_HEAP, low, track->bytes,
                          look->trace);
    }
    if (track_free(look, track)) {
        release(look, watched);
        return STATUS_SUCCESS;
    }
    struct plain plain = {
        .kind = PLAIN_FREE, .look = look, .flags = look->flags, .block = track->real};
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
    struct nth_look look;
    NTSTATUS status = STATUS_INVALID_HANDLE;
    if (block == NULL) {
        return STATUS_SUCCESS;
    }
    if (nth_look_begin(&look, caller, handle, flags)) {
        if (look.watched == NULL || !nth_verifier.tracks) {
            status = nth_plain_free(caller->name, handle, flags, block);
        } else if (!nth_look_at(&look, block, true)) {
            status = STATUS_INVALID_PARAMETER;
        } else if (look.track != NULL) {
            status = free_tracked(&look);
        } else {
            status = nth_plain_free(caller->name, handle, flags, block);
        }
    }
    nth_look_end(&look);
    return status;
}

/* ---- Reallocating ---- */

/* The block is where `made` says now, with so many bytes. */
static void track_resized(struct nth_look *look, struct nth_track *track, char *made, SIZE_T bytes,
                          enum nth_track_kind kind)
{
    void *outer = nth_verifier_enter();
    struct nth_module *owner = track->owner;
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
    track->owner_number = owner != NULL ? track->owner_number : number;
    nth_operation_log(NTH_OPERATION_REALLOCATE, look->handle, track->user, bytes, look->trace);
    nth_verifier_leave(outer);
}

/* By the heap itself. NTH_ABSENT: it cannot stay, and is to be moved by hand. */
static enum nth_status resize_plain(struct nth_look *look, ULONG flags, SIZE_T bytes)
{
    struct nth_track *track = look->track;
    const bool marked = track->kind == NTH_TRACK_LIGHT;
    const bool by_hand =
        marked && !track->plain_resize && (flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0;
    const SIZE_T before = track->bytes;
    const enum nth_track_kind kind = marked ? NTH_TRACK_LIGHT : kind_for(look, bytes);
    struct plain plain = {
        .kind = PLAIN_REALLOCATE,
        .look = look,
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
    if (plain.status != NTH_OK) { /* what was overrun stays so until somebody looks */
        nth_mark_guard(track);
        return plain.status == NTH_NO_MEMORY && by_hand ? NTH_ABSENT : plain.status;
    }
    track_resized(look, track, plain.made, bytes, kind);
    nth_mark_live(track, before < bytes ? before : bytes, (flags & HEAP_ZERO_MEMORY) != 0);
    return NTH_OK;
}

/* Pages of its own: a smaller size can be had where it is, when it must. */
static enum nth_status resize_full(struct nth_look *look, ULONG flags, SIZE_T bytes)
{
    struct nth_track *track = look->track;
    const bool stays = (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0;
    const SIZE_T room = (SIZE_T)(track->real + track->real_bytes - track->user);
    if (bytes == track->bytes || bytes == 0 || (stays && bytes <= room)) {
        const SIZE_T before = track->bytes;
        nth_forget(track->user + before, room - before);
        track_resized(look, track, track->real, bytes, NTH_TRACK_FULL);
        nth_mark_live(track, before < bytes ? before : bytes, (flags & HEAP_ZERO_MEMORY) != 0);
        return NTH_OK;
    }
    return stays ? NTH_NO_MEMORY : NTH_ABSENT;
}

/* A fresh block, a copy; the old one is held back. Owner and stack of the first one stay. */
static enum nth_status resize_by_hand(struct nth_look *look, ULONG flags, SIZE_T bytes,
                                      void **moved)
{
    struct nth_track *old = look->track;
    enum nth_status status = NTH_OK;
    struct nth_track *fresh = track_make(look, bytes);
    if (fresh == NULL) {
        return NTH_NO_MEMORY;
    }
    status = block_make(look, fresh, flags & ~(ULONG)HEAP_ZERO_MEMORY, bytes);
    if (status != NTH_OK) {
        track_forget(fresh);
        return status;
    }
    const SIZE_T kept = old->bytes < bytes ? old->bytes : bytes;
    memcpy(fresh->user, old->user, kept);
    nth_mark_live(fresh, kept, (flags & HEAP_ZERO_MEMORY) != 0);
    void *outer = nth_verifier_enter();
    struct nth_module *owner = old->owner;
    NTH_ASSERT(nth_track_enter(fresh)); /* there is a table, of which the old one is an entry */
    fresh->disowned = old->disowned;
    fresh->allocated = old->allocated;
    nth_track_disown(old);
    nth_track_own(fresh, owner);
    nth_operation_log(NTH_OPERATION_REALLOCATE, look->handle, fresh->user, bytes, look->trace);
    nth_verifier_leave(outer);
    struct nth_watched_heap *watched = look->watched;
    *moved = fresh->user;
    (void)track_free(look, old);
    release(look, watched);
    return NTH_OK;
}

/* Between the block's going and the note of where it went, others may look at whole heaps. One that
 * an exception leaves half way stays so until it is resized again. */
static void resizing(struct nth_track *track, ULONG thread)
{
    void *outer = nth_verifier_enter();
    track->resizing = thread;
    nth_verifier_leave(outer);
}

static enum nth_status resize_tracked(struct nth_look *look, ULONG flags, SIZE_T bytes,
                                      void **moved)
{
    const bool full = look->track->kind == NTH_TRACK_FULL;
    resizing(look->track, nth_thread_number());
    const enum nth_status status =
        full ? resize_full(look, flags, bytes) : resize_plain(look, flags, bytes);
    resizing(look->track, 0);
    *moved = look->track->user;
    return status == NTH_ABSENT ? resize_by_hand(look, flags, bytes, moved) : status;
}

PVOID nth_verified_reallocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              PVOID block, SIZE_T bytes)
{
    struct nth_look look;
    void *moved = NULL;
    enum nth_status status = NTH_ABSENT;
    const void *concerned = handle;
    flags &= (ULONG)NTH_REALLOCATE_FLAGS;
    if (nth_look_begin(&look, caller, handle, flags)) {
        if (nth_verifier.marks && bytes >= EXTREME_BYTES) {
            nth_look_stop(&look, NTH_STOP_EXTREME_SIZE_REQUEST, (ULONG_PTR)handle, bytes, 0, 0);
        }
        concerned = look.watched != NULL ? block : handle;
        if (look.watched == NULL || block == NULL || !nth_verifier.tracks) {
            moved = look.watched != NULL && block != NULL &&
                            nth_look_starved(&look, NTH_LOWRES_HEAP_ALLOC)
                        ? (status = NTH_NO_MEMORY, NULL)
                        : nth_plain_reallocate(caller->name, handle, flags, block, bytes, &status);
        } else if (!nth_look_at(&look, block, false)) {
            status = NTH_BAD_ARGUMENT;
        } else if (nth_look_starved(&look, NTH_LOWRES_HEAP_ALLOC)) {
            status = NTH_NO_MEMORY;
        } else if (look.track != NULL && NT_SUCCESS(nth_look_pass(&look))) {
            status = resize_tracked(&look, flags, bytes, &moved);
        } else {
            moved = nth_plain_reallocate(caller->name, handle, flags, block, bytes, &status);
        }
    }
    nth_look_end(&look);
    return status == NTH_OK ? moved : nth_plain_fail(look.raises, status, bytes, concerned);
}
