/* SPDX-License-Identifier: MIT
 *
 * The way into a heap and out again: handle, lock, gate, seals on the way in; seals, unlocking,
 * reports and exceptions on the way out. Every API call that works in a heap is one of these. */
#ifndef NTH_CALL_H
#define NTH_CALL_H

#include "heap.h"

/* Begin a call. NULL when the heap may not be used: the handle names none, the heap is damaged,
 * re-entered or corrupt; all but a NULL handle noted. nth_call_end must follow in any case.
 * `flags` are the call's: HEAP_NO_SERIALIZE leaves the lock alone. */
struct nth_heap *nth_call_begin(struct nth_call *call, const char *name, HANDLE handle,
                                uint64_t flags);

/* Begin the call that destroys the heap: a damaged heap is allowed, a corrupt one too. NULL only
 * when the handle is refused. When the heap is to go, nth_call_unlock_all gives up all of the
 * caller's locks on it, and nth_call_finish ends the call instead of nth_call_end. */
struct nth_heap *nth_call_begin_last(struct nth_call *call, const char *name, HANDLE handle);
void nth_call_unlock_all(struct nth_call *call);
void nth_call_finish(struct nth_call *call);

/* Keep the other threads' front-end calls out too, until the call ends. */
void nth_call_gate(struct nth_call *call);

/* What the call has left half made cannot be undone: its heap is damaged from here on (D18). */
void nth_call_damage(struct nth_call *call);

/* Unlock, then report, then terminate if it comes to that, then rethrow. */
void nth_call_end(struct nth_call *call);

/* The same for a call that only looks: never terminates the process. */
void nth_call_end_mild(struct nth_call *call);

/* Note that the handle is bad, as precisely as is known. */
void nth_note_handle(HANDLE handle);

#endif
