/* SPDX-License-Identifier: MIT
 *
 * See verifier_look.h. Stops are made with nothing locked. Calls the plain calls for validation,
 * and everything of the verifier below. */
#define _GNU_SOURCE
#include "verifier_look.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "lock.h"
#include "probe.h"
#include "report.h"

/* ---- The heap ---- */

/* With the lock held. NULL when there is no memory. */
struct nth_watched_heap *nth_watched_of(HANDLE handle)
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

/* Who calls, by the stack. */
static void stack_look(struct nth_look *look)
{
    nth_stack_take(&look->stack, look->caller->address);
    void *outer = nth_verifier_enter();
    look->trace = nth_trace_intern(&look->stack);
    look->owner = nth_stack_owner(&look->stack);
    nth_verifier_leave(outer);
}

/* Stacks of blocks are kept, and names of modules decide whether memory is refused. In other layers
 * a stack is taken for a stop only. */
static bool stack_wanted(void)
{
    const struct nth_verifier_settings *set = &nth_verifier.set;
    return nth_verifier.tracks ||
           (nth_verifier_has(NTH_VERIFY_LOWRES) &&
            (strcmp(set->lowres_include, "*") != 0 || set->lowres_exclude[0] != '\0'));
}

void nth_look_stack(struct nth_look *look)
{
    look->stack.count = 0;
    look->trace = NULL;
    look->owner = NULL;
    if (stack_wanted()) {
        stack_look(look);
    }
}

void nth_look_stop(struct nth_look *look, ULONG code, ULONG_PTR first, ULONG_PTR second,
                   ULONG_PTR third, ULONG_PTR fourth)
{
    if (look->stack.count == 0) {
        stack_look(look);
    }
    const struct nth_stop_wish wish = {
        .code = code, .parameter = {first, second, third, fourth}, .trace = look->trace};
    nth_stop(&wish);
}

/* Another thread is in a heap without a lock, or was, where that counts. */
static ULONG intruded(struct nth_look *look, struct nth_watched_heap *heap)
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
        look->watching = true;
    }
    return other;
}

/* Begin: stack and owner where they are wanted, heap. False when the handle names none, and the
 * stop was made; without the heaps layer the plain call tells of it. */
bool nth_look_begin(struct nth_look *look, const struct nth_caller *caller, HANDLE handle,
                    ULONG flags)
{
    memset(&look->wish, 0, sizeof(look->wish));
    look->caller = caller;
    look->handle = handle;
    look->flags = flags;
    look->watching = false;
    look->held = false;
    look->track = NULL;
    look->watched = NULL;
    nth_modules_look();
    nth_look_stack(look);
    const struct nth_slot *slot = nth_visit(handle);
    const uint64_t own = slot != NULL ? slot->flags : 0;
    nth_visit_end();
    look->raises = ((own | flags) & HEAP_GENERATE_EXCEPTIONS) != 0;
    ULONG other = 0;
    void *outer = nth_verifier_enter();
    if (slot != NULL) {
        look->watched = nth_watched_of(handle);
        if (look->watched != NULL && nth_verifier.marks && (own & HEAP_NO_SERIALIZE) != 0) {
            other = intruded(look, look->watched);
        }
    }
    nth_verifier_leave(outer);
    if (other != 0) {
        nth_look_stop(look, NTH_STOP_UNSYNCHRONIZED_ACCESS, (ULONG_PTR)handle, other,
                      nth_thread_number(), 0);
    }
    if (slot == NULL && nth_verifier.marks) {
        nth_look_stop(look, NTH_STOP_BAD_HEAP_HANDLE, (ULONG_PTR)handle, 0, 0, 0);
        return false;
    }
    return true;
}

void nth_look_end(struct nth_look *look)
{
    if (look->watching) {
        void *outer = nth_verifier_enter();
        look->watched->inside_count--;
        nth_verifier_leave(outer);
        look->watching = false;
    }
}

/* Should this allocation fail, for the sake of it? */
static bool starved(const struct nth_look *look, ULONG kind)
{
    const struct nth_verifier_settings *set = &nth_verifier.set;
    const char *name = look->owner != NULL ? look->owner->info.name : "";
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

bool nth_look_starved(const struct nth_look *look, ULONG kind)
{
    void *outer = nth_verifier_enter();
    const bool starves = starved(look, kind);
    nth_verifier_leave(outer);
    return starves;
}

/* ---- Whole heaps ---- */

/* A block of the heap whose surroundings, or filling, are not as they were left. */
bool nth_sweep_damaged(struct nth_sweep *sweep)
{
    const ULONG self = nth_thread_number();
    void *outer = nth_verifier_enter();
    for (size_t idx = 0; idx < nth_verifier.track_room && sweep->code == 0; idx++) {
        for (const struct nth_track *track = nth_verifier.tracks_by_user[idx];
             track != NULL && sweep->code == 0; track = track->chain) {
            if (track->heap == sweep->handle && (track->resizing == 0 || track->resizing == self)) {
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
bool nth_look_sound(const struct nth_look *look)
{
    struct nth_sweep sweep = {.handle = look->handle};
    if ((nth_verifier.global_flags & FLG_HEAP_VALIDATE_ALL) == 0 || look->watched == NULL) {
        return true;
    }
    return !nth_sweep_damaged(&sweep) &&
           nth_plain_validate(look->caller->name, look->handle, look->flags, NULL);
}

/* HeapLock holds off frees that touch no heap memory, too. */
NTSTATUS nth_look_pass(const struct nth_look *look)
{
    struct nth_call call;
    const struct nth_heap *heap =
        nth_call_begin(&call, look->caller->name, look->handle, look->flags);
    const NTSTATUS status = heap == NULL ? nth_api_status(nth_api_refusal(&call)) : STATUS_SUCCESS;
    nth_call_end(&call);
    return status;
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

/* Bounds of the mapping around an address. */
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

/* ---- Looking at the caller's block ---- */

void nth_look_wish(struct nth_look *look, const struct nth_track *track, ULONG code,
                   ULONG_PTR fourth)
{
    look->wish = (struct nth_stop_wish){
        .code = code,
        .parameter = {(ULONG_PTR)look->handle, (ULONG_PTR)track->user, track->bytes, fourth},
        .trace = look->trace,
        .allocated = track->allocated,
        .freed = track->freed,
    };
}

/* The lock is held. Finds the live block, or says what is wrong; `freeing` decides names. */
static void examine(struct nth_look *look, const void *block, bool freeing)
{
    struct nth_track *track = nth_track_find(block);
    ULONG_PTR bad = 0;
    if (track == NULL) {
        return;
    }
    if (track->heap != look->handle) {
        nth_look_wish(look, track, NTH_STOP_SWITCHED_HEAP_HANDLE, (ULONG_PTR)track->heap);
        return;
    }
    if (track->state == NTH_ALLOCATION_HELD) {
        look->held = true;
        nth_look_wish(look, track, freeing ? NTH_STOP_DOUBLE_FREE : NTH_STOP_CORRUPTED_HEAP_BLOCK,
                      0);
        return;
    }
    look->track = track;
    const ULONG looks = FLG_HEAP_VALIDATE_PARAMETERS | (freeing ? FLG_HEAP_ENABLE_TAIL_CHECK : 0u);
    const bool looked = nth_verifier.marks || (nth_verifier.global_flags & looks) != 0;
    const ULONG code = looked ? nth_mark_check_live(track, &bad) : 0;
    if (code != 0) {
        nth_look_wish(look, track, code, bad);
    }
}

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
static void examine_unknown(struct nth_look *look, const void *block, bool freeing)
{
    const ULONG_PTR handle = (ULONG_PTR)look->handle;
    const ULONG_PTR address = (ULONG_PTR)block;
    uintptr_t low = 0;
    uintptr_t high = 0;
    if (freeing && nth_verifier_has(NTH_VERIFY_MEMORY) && on_stack(block, &low, &high)) {
        nth_look_stop(look, NTH_STOP_FREE_THREAD_STACK_MEMORY_AS_HEAP, low, high - low, low, high);
        return;
    }
    const bool readable = nth_probe_read(block, 1);
    if (freeing && !readable && nth_verifier_has(NTH_VERIFY_MEMORY) && !nth_verifier.marks) {
        const EXCEPTION_RECORD record = probed(block);
        nth_look_stop(look, NTH_STOP_SIZE_HEAP_UNEXPECTED_EXCEPTION, address, handle,
                      (ULONG_PTR)&record, 0);
        return;
    }
    if (!nth_verifier.marks) {
        return;
    }
    void *outer = nth_verifier_enter();
    const struct nth_track *around = nth_track_around(block);
    look->wish = (struct nth_stop_wish){
        .code = readable || around != NULL ? NTH_STOP_CORRUPTED_HEAP_BLOCK
                : freeing ? NTH_STOP_CORRUPTED_HEAP_BLOCK_EXCEPTION_RAISED_FOR_HEADER
                          : NTH_STOP_CORRUPTED_HEAP_BLOCK_EXCEPTION_RAISED_FOR_PROBING,
        .parameter = {handle, address, around != NULL ? around->bytes : 0, 0},
        .trace = look->trace,
        .allocated = around != NULL ? around->allocated : NULL,
        .freed = around != NULL ? around->freed : NULL,
    };
    nth_verifier_leave(outer);
    nth_stop(&look->wish);
}

/* Held back by the free check alone: for the heap it is a block in use, and would be freed or
 * moved. */
static void note_held(const struct nth_look *look, const void *block)
{
    struct nth_call call;
    if (nth_call_begin(&call, look->caller->name, look->handle, look->flags) != NULL) {
        nth_note(NTH_CORRUPT_DOUBLE_FREE, block, NULL);
    }
    nth_call_end(&call);
}

/* Look, and make the stop if there is one. True when the call may go on with look->track; without
 * one the plain call decides. */
bool nth_look_at(struct nth_look *look, const void *block, bool freeing)
{
    if (!nth_look_sound(look)) {
        return false;
    }
    void *outer = nth_verifier_enter();
    examine(look, block, freeing);
    nth_verifier_leave(outer);
    if (look->wish.code != 0 &&
        (nth_verifier.marks || look->wish.code == NTH_STOP_CORRUPTED_HEAP_BLOCK_SUFFIX)) {
        nth_stop(&look->wish);
    }
    if (look->track == NULL && look->wish.code == 0) {
        examine_unknown(look, block, freeing);
        return !nth_verifier.marks && look->wish.code == 0;
    }
    const bool checked = (nth_verifier.global_flags & FLG_HEAP_VALIDATE_PARAMETERS) != 0;
    if (look->track == NULL && !nth_verifier.marks && look->held) {
        note_held(look, block);
        return false;
    }
    if (look->track == NULL) {
        return !nth_verifier.marks;
    }
    /* A damaged block is freed all the same, unless every parameter is to be valid. */
    return look->wish.code == 0 || (freeing && !checked);
}
