/* SPDX-License-Identifier: MIT
 *
 * Beginning, ending and unwinding of API calls; calling the caller's CommitRoutine. Calls heap,
 * lock, report, seh. */
#include "call.h"

#include <ntheap/seh.h>

#include "flags.h"
#include "lock.h"
#include "page.h"
#include "report.h"
#include "seh.h"
#include "verifier.h"

void nth_note_handle(HANDLE handle)
{
    if (handle != NULL) {
        nth_note(nth_quarantined(handle) ? NTH_CORRUPT_STALE_HANDLE : NTH_CORRUPT_BAD_HANDLE, NULL,
                 NULL);
    }
}

static bool reentered(const struct nth_call *call, const struct nth_heap *heap)
{
    for (const struct nth_call *outer = call->outer; outer != NULL; outer = outer->outer) {
        if (outer->heap == heap) {
            return true;
        }
    }
    return false;
}

static struct nth_heap *call_begin(struct nth_call *call, const char *name, HANDLE handle,
                                   uint64_t flags)
{
    struct nth_slot *slot = nth_visit(handle);
    call->outer = nth_self.call;
    call->heap = NULL;
    call->name = name;
    call->handle = handle;
    call->entered = 0;
    call->locked = 0;
    call->gated = 0;
    call->noted = 0;
    call->thrown = 0;
    call->whole = 0;
    call->region = NULL;
    nth_self.call = call;
    call->slot = slot;
    if (slot == NULL) {
        nth_note_handle(handle);
        return NULL;
    }
    if (reentered(call, slot->heap)) {
        nth_visit_end();
        nth_note(NTH_CORRUPT_REENTERED, NULL, NULL);
        return NULL;
    }
    if ((slot->lock != NULL || slot->caller_lock != NULL) &&
        (flags & HEAP_NO_SERIALIZE & (uint64_t)NTH_OTHER_FLAGS) == 0) {
        nth_lock_acquire(slot);
        call->locked = 1;
        if (nth_load_seq(&slot->handle) != handle) { /* destroyed while we waited */
            nth_lock_release(slot);
            nth_visit_end();
            call->locked = 0;
            call->slot = NULL;
            nth_note_handle(handle);
            return NULL;
        }
    }
    call->inside = nth_gate_enter(slot->heap);
    call->entered = 1;
    nth_visit_end();
    call->heap = slot->heap;
    if (slot->damaged) {
        if (call->destroying) {
            return slot->heap;
        }
        nth_note(NTH_CORRUPT_DAMAGED, NULL, NULL);
        return NULL;
    }
    call->whole = nth_heap_check(slot->heap);
    return call->whole ? slot->heap : NULL;
}

void nth_call_unlock_all(struct nth_call *call)
{
    for (uint32_t depth = call->locked ? call->slot->depth : 0; depth > 0; depth--) {
        nth_lock_release(call->slot);
    }
    call->locked = 0;
}

void nth_call_finish(struct nth_call *call)
{
    nth_gate_leave(call->inside);
    nth_self.call = call->outer;
}

void nth_call_gate(struct nth_call *call)
{
    if (call->locked) {
        nth_gate_close(call->slot);
        call->gated = 1;
    }
}

void nth_call_damage(struct nth_call *call)
{
    call->slot->damaged = true;
    nth_add(&call->slot->closed, 1u); /* for good: no call goes without a look at that */
}

struct nth_heap *nth_call_begin_last(struct nth_call *call, const char *name, HANDLE handle)
{
    call->destroying = 1;
    return call_begin(call, name, handle, 0);
}

struct nth_heap *nth_call_begin(struct nth_call *call, const char *name, HANDLE handle,
                                uint64_t flags)
{
    call->destroying = 0;
    return call_begin(call, name, handle, flags);
}

static void unlock(struct nth_call *call)
{
    if (call->entered) {
        nth_gate_leave(call->inside);
    }
    if (call->gated) {
        nth_gate_open(call->slot);
    }
    if (call->locked) {
        nth_lock_release(call->slot);
    }
    nth_self.call = call->outer;
}

static void end(struct nth_call *call, int fatal)
{
    if (call->whole) {
        nth_heap_seal_state(call->heap);
    }
    unlock(call);
    if (call->noted) {
        nth_report_deliver(&call->report, fatal);
    }
    if (call->thrown) {
        nth_raise(&call->record);
    }
}

void nth_call_end(struct nth_call *call)
{
    end(call, 1);
}

void nth_call_end_mild(struct nth_call *call)
{
    end(call, 0);
}

void nth_call_unwind(struct nth_call *outer)
{
    if (nth_self.call != outer && nth_self.holds_process) {
        nth_process_unlock();
    }
    if (nth_self.holds_verifier) {
        nth_verifier_abandon();
    }
    if (nth_self.call != outer) {
        nth_loose_abandon();
    }
    while (nth_self.call != outer && nth_self.call != NULL) {
        struct nth_call *call = nth_self.call;
        if (call->heap != NULL) {
            nth_call_damage(call);
        }
        unlock(call);
    }
}

static void routine_body(void *context)
{
    struct nth_commit_wish *wish = context;
    wish->status = wish->routine(wish->base, &wish->address, &wish->bytes);
}

enum nth_status nth_call_routine(struct nth_commit_wish *wish)
{
    struct nth_call *call = nth_self.call;
    if (!nth_guard(routine_body, wish, &call->record)) {
        call->thrown = 1;
        return NTH_NO_MEMORY;
    }
    return NT_SUCCESS(wish->status) ? NTH_OK : NTH_NO_MEMORY;
}
