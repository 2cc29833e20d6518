/* SPDX-License-Identifier: MIT
 *
 * The other calls while the verifier is on: size, validation, user information, walks; heaps made,
 * listed and destroyed; hardware faults. Calls the plain calls of the API files, and everything of
 * the verifier. */
#include "verifier_look.h"

#include <string.h>

#include "api.h"
#include "flags.h"

/* ---- Size, validation, user information, walks ---- */

SIZE_T nth_verified_size(const struct nth_caller *caller, HANDLE handle, ULONG flags, LPCVOID block)
{
    struct nth_look look;
    SIZE_T bytes = (SIZE_T)-1;
    if (nth_look_begin(&look, caller, handle, flags)) {
        if (look.watched == NULL || block == NULL || !nth_verifier.tracks) {
            bytes = nth_plain_size(caller->name, handle, flags, block);
        } else if (nth_look_at(&look, block, false)) {
            bytes = look.track == NULL ? nth_plain_size(caller->name, handle, flags, block)
                    : NT_SUCCESS(nth_look_pass(&look)) ? look.track->bytes
                                                       : (SIZE_T)-1;
        }
    }
    nth_look_end(&look);
    return bytes;
}

BOOLEAN nth_verified_validate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              LPCVOID block)
{
    struct nth_sweep sweep = {.handle = handle};
    ULONG_PTR bad = 0;
    const void *real = block;
    nth_modules_look();
    if (block == NULL) {
        return !nth_sweep_damaged(&sweep) && nth_plain_validate(caller->name, handle, flags, NULL);
    }
    void *outer = nth_verifier_enter();
    const struct nth_track *track = nth_track_find(block);
    const bool ours = track != NULL && track->heap == handle;
    const bool whole =
        ours && track->state == NTH_ALLOCATION_LIVE && nth_mark_check_live(track, &bad) == 0;
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

bool nth_verified_full(HANDLE handle, const void *block)
{
    void *outer = nth_verifier_enter();
    const struct nth_track *track = nth_track_find(block);
    const bool full = track != NULL && track->state == NTH_ALLOCATION_LIVE &&
                      track->kind == NTH_TRACK_FULL && track->heap == handle;
    nth_verifier_leave(outer);
    return full;
}

/* A busy element whose data is the heap's own block is shown as the program knows it. */
void nth_verified_shown(void **data, uint64_t *bytes, uint64_t *overhead)
{
    void *outer = nth_verifier_enter();
    const size_t places[2] = {NTH_MARK_BYTES, 0};
    for (unsigned idx = 0; idx < 2u; idx++) {
        const struct nth_track *track = nth_track_find((char *)*data + places[idx]);
        if (track != NULL && track->real == *data) { /* a full block is no element */
            *overhead += *bytes - track->bytes;
            *bytes = track->bytes;
            *data = track->user;
            break;
        }
    }
    nth_verifier_leave(outer);
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
    struct nth_look look = {.caller = caller};
    nth_modules_look();
    nth_look_stack(&look);
    return nth_look_starved(&look, NTH_LOWRES_VIRTUAL_ALLOC);
}

/* Global flags as heaps carry them ([obs] A44). */
ULONG nth_verified_create_flags(void)
{
    static const struct {
        ULONG global;
        ULONG heap;
    } pairs[] = {{FLG_HEAP_ENABLE_TAIL_CHECK, HEAP_TAIL_CHECKING_ENABLED},
                 {FLG_HEAP_ENABLE_FREE_CHECK, HEAP_FREE_CHECKING_ENABLED},
                 {FLG_HEAP_VALIDATE_PARAMETERS,
                  0x40000000u | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED},
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

/* With the lock held. */
static void changing(bool begins)
{
    nth_verifier.heaps_changing += begins ? 1u : -1u;
    nth_verifier.heap_changes++;
}

void nth_verified_changing(bool begins)
{
    void *outer = nth_verifier_enter();
    changing(begins);
    nth_verifier_leave(outer);
}

void nth_verified_created(const struct nth_caller *caller, HANDLE handle, ULONG flags)
{
    struct nth_look look = {.caller = caller, .handle = handle};
    void *outer = nth_verifier_enter();
    (void)nth_watched_of(handle);
    nth_verifier.heap_count++;
    changing(false);
    nth_verifier_leave(outer);
    if (nth_verifier_has(NTH_VERIFY_MEMORY) && (flags & HEAP_CREATE_ENABLE_EXECUTE) != 0) {
        nth_look_stop(&look, NTH_STOP_EXECUTABLE_HEAP, 0, 0, 0, 0);
    }
}

/* False when it must not be destroyed, which was told. */
bool nth_verified_destroying(const struct nth_caller *caller, HANDLE handle)
{
    struct nth_look look;
    if (!nth_verifier.marks) {
        return true;
    }
    const bool known = nth_look_begin(&look, caller, handle, 0);
    struct nth_sweep sweep = {.handle = handle};
    nth_look_end(&look);
    if (!known) {
        return false;
    }
    if (handle == nth_load_acquire(&nth_process.process_heap)) {
        nth_look_stop(&look, NTH_STOP_DESTROY_PROCESS_HEAP, (ULONG_PTR)handle, 0, 0, 0);
        return false;
    }
    if (nth_sweep_damaged(&sweep)) {
        void *outer = nth_verifier_enter();
        nth_look_wish(&look, sweep.damaged, sweep.code, sweep.bad);
        nth_verifier_leave(outer);
        nth_stop(&look.wish);
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
    changing(false);
    nth_verifier_leave(outer);
}

uint64_t nth_verified_changes(void)
{
    void *outer = nth_verifier_enter();
    const uint64_t changes = nth_verifier.heap_changes;
    nth_verifier_leave(outer);
    return changes;
}

void nth_verified_listing(const struct nth_caller *caller, ULONG count, uint64_t changes)
{
    struct nth_look look = {.caller = caller};
    const ULONG process = nth_load_acquire(&nth_process.process_heap) != NULL;
    if (!nth_verifier.marks) {
        return;
    }
    void *outer = nth_verifier_enter();
    const ULONG known = nth_verifier.heap_count + process;
    const bool still = nth_verifier.heaps_changing == 0 && nth_verifier.heap_changes == changes;
    nth_verifier_leave(outer);
    if (still && known != count) {
        nth_look_stop(&look, NTH_STOP_CORRUPTED_HEAP_LIST, count, known, 0, 0);
    }
}

/* ---- Faults ---- */

void nth_verified_fault(EXCEPTION_RECORD *record, void *context, bool handled)
{
    const ULONG_PTR address = record->ExceptionInformation[1];
    struct nth_look look = {.caller = NULL};
    if (nth_self.holds_verifier || nth_self.call != NULL) {
        return;
    }
    const bool code = record->ExceptionInformation[0] == EXCEPTION_EXECUTE_FAULT;
    nth_stack_take(&look.stack, record->ExceptionAddress);
    void *outer = nth_verifier_enter();
    const bool covered = nth_page_heap_covers(address);
    const struct nth_track *track = nth_track_around((const void *)address);
    look.wish = (struct nth_stop_wish){
        .code = code      ? NTH_STOP_FIRST_CHANCE_ACCESS_VIOLATION_CODE
                : handled ? NTH_STOP_FIRST_CHANCE_ACCESS_VIOLATION
                          : NTH_STOP_ACCESS_VIOLATION,
        .parameter = {address, (ULONG_PTR)record->ExceptionAddress, (ULONG_PTR)record,
                      (ULONG_PTR)context},
        .trace = nth_trace_intern(&look.stack),
        .allocated = track != NULL ? track->allocated : NULL,
        .freed = track != NULL ? track->freed : NULL,
    };
    nth_verifier_leave(outer);
    if (nth_verifier.marks && (covered || (code && track != NULL))) {
        nth_stop(&look.wish);
    }
}
