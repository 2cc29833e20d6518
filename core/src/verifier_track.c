/* SPDX-License-Identifier: MIT
 *
 * Tracked allocations: found by address, listed by owner, held back after they were freed; and the
 * log of operations. Everything here runs with the verifier's lock held, but for the visits. */
#include "verifier.h"

#include <string.h>

#define TRACK_ROOM_FIRST 1024u
#define VISIT_COUNT 64u

/* ---- By address ---- */

static size_t place_of(const void *user, size_t room)
{
    return (size_t)nth_mix((uint64_t)(uintptr_t)user) & (room - 1u);
}

struct nth_track *nth_track_find(const void *user)
{
    const struct nth_verifier *all = &nth_verifier;
    if (all->track_room == 0) {
        return NULL;
    }
    struct nth_track *track = all->tracks_by_user[place_of(user, all->track_room)];
    while (track != NULL && track->user != user) {
        track = track->chain;
    }
    return track;
}

struct nth_track *nth_track_around(const void *address)
{
    const struct nth_verifier *all = &nth_verifier;
    for (size_t idx = 0; idx < all->track_room; idx++) {
        for (struct nth_track *track = all->tracks_by_user[idx]; track != NULL;
             track = track->chain) {
            const uintptr_t at = (uintptr_t)address;
            if (at - (uintptr_t)track->user < (track->bytes != 0 ? track->bytes : 1u) ||
                (track->hold != NULL && at - (uintptr_t)track->hold < track->hold_bytes)) {
                return track;
            }
        }
    }
    return NULL;
}

struct nth_track *nth_track_new(void)
{
    struct nth_track *track = nth_verifier.track_free;
    if (track == NULL) {
        return nth_verifier_take(sizeof(*track));
    }
    nth_verifier.track_free = track->chain;
    memset(track, 0, sizeof(*track));
    return track;
}

void nth_track_drop(struct nth_track *track)
{
    track->chain = nth_verifier.track_free;
    nth_verifier.track_free = track;
}

static bool grow(void)
{
    struct nth_verifier *all = &nth_verifier;
    const size_t room = all->track_room == 0 ? TRACK_ROOM_FIRST : all->track_room * 4u;
    struct nth_track **wider = nth_verifier_take(room * sizeof(struct nth_track *));
    if (wider == NULL) {
        return all->track_room != 0; /* longer chains, then */
    }
    for (size_t idx = 0; idx < all->track_room; idx++) {
        while (all->tracks_by_user[idx] != NULL) {
            struct nth_track *track = all->tracks_by_user[idx];
            all->tracks_by_user[idx] = track->chain;
            track->chain = wider[place_of(track->user, room)];
            wider[place_of(track->user, room)] = track;
        }
    }
    all->tracks_by_user = wider;
    all->track_room = room;
    return true;
}

bool nth_track_enter(struct nth_track *track)
{
    struct nth_verifier *all = &nth_verifier;
    if (all->track_count >= all->track_room && !grow()) {
        return false;
    }
    struct nth_track **place = &all->tracks_by_user[place_of(track->user, all->track_room)];
    track->chain = *place;
    *place = track;
    all->track_count++;
    all->sums.live_count++;
    all->sums.live_bytes += track->bytes;
    return true;
}

void nth_track_remove(struct nth_track *track)
{
    struct nth_verifier *all = &nth_verifier;
    struct nth_track **place = &all->tracks_by_user[place_of(track->user, all->track_room)];
    while (*place != track) {
        NTH_ASSERT(*place != NULL);
        place = &(*place)->chain;
    }
    *place = track->chain;
    all->track_count--;
    if (track->state == NTH_ALLOCATION_LIVE) {
        all->sums.live_count--;
        all->sums.live_bytes -= track->bytes;
    }
}

/* ---- By owner ---- */

void nth_track_own(struct nth_track *track, struct nth_module *owner)
{
    track->owner = owner;
    track->owner_number = owner != NULL ? owner->info.number : 0;
    if (owner == NULL) {
        return;
    }
    track->newer = NULL;
    track->older = owner->last;
    if (owner->last != NULL) {
        owner->last->newer = track;
    } else {
        owner->first = track;
    }
    owner->last = track;
    owner->info.live_count++;
    owner->info.live_bytes += track->bytes;
}

void nth_track_disown(struct nth_track *track)
{
    struct nth_module *owner = track->owner;
    if (owner == NULL) {
        return;
    }
    *(track->older != NULL ? &track->older->newer : &owner->first) = track->newer;
    *(track->newer != NULL ? &track->newer->older : &owner->last) = track->older;
    track->older = NULL;
    track->newer = NULL;
    track->owner = NULL;
    owner->info.live_count--;
    owner->info.live_bytes -= track->bytes;
}

/* ---- Held back ---- */

void nth_track_hold(struct nth_track *track)
{
    struct nth_verifier *all = &nth_verifier;
    struct nth_watched_heap *heap = track->watched;
    all->sums.live_count--;
    all->sums.live_bytes -= track->bytes;
    all->sums.held_count++;
    all->sums.held_bytes += track->bytes;
    heap->held_count++;
    heap->held_bytes += track->bytes;
    track->state = NTH_ALLOCATION_HELD;
    track->newer = NULL;
    track->older = heap->held_last;
    *(heap->held_last != NULL ? &heap->held_last->newer : &heap->held_first) = track;
    heap->held_last = track;
}

void nth_track_unhold(struct nth_track *track)
{
    struct nth_verifier *all = &nth_verifier;
    struct nth_watched_heap *heap = track->watched;
    *(track->older != NULL ? &track->older->newer : &heap->held_first) = track->newer;
    *(track->newer != NULL ? &track->newer->older : &heap->held_last) = track->older;
    track->older = NULL;
    track->newer = NULL;
    all->sums.held_count--;
    all->sums.held_bytes -= track->bytes;
    heap->held_count--;
    heap->held_bytes -= track->bytes;
}

struct nth_track *nth_track_release(struct nth_watched_heap *heap)
{
    const struct nth_verifier *all = &nth_verifier;
    struct nth_track *track = heap->held_first;
    if (track == NULL || (heap->held_count <= all->set.delayed_count_max &&
                          heap->held_bytes <= all->set.delayed_bytes_max)) {
        return NULL;
    }
    nth_track_unhold(track);
    nth_track_remove(track);
    return track;
}

/* ---- Operations ---- */

void nth_operation_log(enum nth_operation_kind kind, HANDLE heap, void *address, size_t bytes,
                       const struct nth_trace *trace)
{
    struct nth_verifier *all = &nth_verifier;
    all->operations[all->operation_count++ % NTH_VERIFIER_LOG_COUNT] = (struct nth_operation){
        .kind = kind,
        .thread = nth_thread_number(),
        .heap = heap,
        .address = address,
        .bytes = bytes,
        .trace = trace,
    };
}

/* Operation `back` steps before the newest, of `count` in all; false when there is none any more.
 */
static bool operation_at(uint64_t count, uint64_t back, struct nth_operation *one)
{
    void *outer = nth_verifier_enter();
    const struct nth_verifier *all = &nth_verifier;
    const bool there =
        back < count && all->operation_count - (count - 1u - back) <= NTH_VERIFIER_LOG_COUNT;
    if (there) {
        *one = all->operations[(count - 1u - back) % NTH_VERIFIER_LOG_COUNT];
    }
    nth_verifier_leave(outer);
    return there;
}

static bool concerns(const struct nth_operation *one, const void *address)
{
    if (address == NULL || one->address == address) {
        return true;
    }
    return one->kind != NTH_OPERATION_FREE &&
           (uintptr_t)address - (uintptr_t)one->address < one->bytes;
}

SIZE_T nth_verifier_operations(PVOID address,
                               BOOLEAN (*visit)(void *context, const struct nth_operation *one),
                               void *context)
{
    struct nth_operation one;
    SIZE_T visited = 0;
    uint64_t count = 0;
    bool goes_on = nth_verifying();
    if (goes_on) {
        void *outer = nth_verifier_enter();
        count = nth_verifier.operation_count;
        nth_verifier_leave(outer);
    }
    for (uint64_t back = 0; goes_on && operation_at(count, back, &one); back++) {
        if (concerns(&one, address)) {
            visited++;
            goes_on = visit(context, &one);
        }
    }
    return visited;
}

/* ---- Enumerating ---- */

static void describe(const struct nth_track *track, struct nth_allocation *block)
{
    *block = (struct nth_allocation){
        .heap = track->heap,
        .user = track->user,
        .user_bytes = track->bytes,
        .real = track->real,
        .real_bytes = track->real_bytes,
        .state = track->state,
        .full = track->kind == NTH_TRACK_FULL,
        .disowned = track->disowned,
        .owner = track->owner != NULL ? track->owner_number : 0,
        .serial = track->serial,
        .allocated = track->allocated,
        .freed = track->freed,
    };
}

/* The next allocations after `*at` in order of their numbers. */
static size_t gather(HANDLE heap, uint64_t after, uint64_t last, struct nth_allocation *blocks)
{
    const struct nth_verifier *all = &nth_verifier;
    size_t count = 0;
    void *outer = nth_verifier_enter();
    for (size_t idx = 0; idx < all->track_room; idx++) {
        for (const struct nth_track *track = all->tracks_by_user[idx]; track != NULL;
             track = track->chain) {
            if (track->serial <= after || track->serial > last ||
                (heap != NULL && track->heap != heap)) {
                continue;
            }
            size_t place = count < VISIT_COUNT ? count++ : VISIT_COUNT;
            if (place == VISIT_COUNT && blocks[VISIT_COUNT - 1u].serial > track->serial) {
                place = VISIT_COUNT - 1u;
            }
            for (; place < VISIT_COUNT && place > 0 && blocks[place - 1u].serial > track->serial;
                 place--) {
                blocks[place] = blocks[place - 1u];
            }
            if (place < VISIT_COUNT) {
                describe(track, &blocks[place]);
            }
        }
    }
    nth_verifier_leave(outer);
    return count;
}

SIZE_T nth_verifier_enumerate(HANDLE heap,
                              BOOLEAN (*visit)(void *context, const struct nth_allocation *block),
                              void *context)
{
    struct nth_allocation blocks[VISIT_COUNT];
    SIZE_T visited = 0;
    uint64_t after = 0;
    uint64_t last = 0;
    if (nth_verifying()) {
        void *outer = nth_verifier_enter();
        last = nth_verifier.serial;
        nth_verifier_leave(outer);
    }
    for (size_t count = VISIT_COUNT; after < last && count == VISIT_COUNT;) {
        count = gather(heap, after, last, blocks);
        for (size_t idx = 0; idx < count; idx++) {
            visited++;
            after = blocks[idx].serial;
            if (!visit(context, &blocks[idx])) {
                return visited;
            }
        }
    }
    return visited;
}

BOOLEAN nth_verifier_knows(LPCVOID block)
{
    if (!nth_verifying()) {
        return FALSE;
    }
    void *outer = nth_verifier_enter();
    const bool known = nth_track_find(block) != NULL;
    nth_verifier_leave(outer);
    return known;
}
