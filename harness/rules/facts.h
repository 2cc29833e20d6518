/* SPDX-License-Identifier: MIT
 *
 * What rules ask about a step, in one form for both spellings. */
#ifndef RIG_RULES_FACTS_H
#define RIG_RULES_FACTS_H

#include "judge.h"

#define RIG_ALIGN_BYTES (sizeof(void *) == 8 ? 16u : 8u)

/* HEAP_GENERATE_EXCEPTIONS is in force: on the heap or on the call. */
static inline bool rig_exceptions_on(const struct rig_step *step)
{
    return ((step->flags | step->heap_before.flags) & HEAP_GENERATE_EXCEPTIONS) != 0;
}

/* Calls that return a pointer or a count: nothing came back, or less than asked for, whether by
 * NULL, by an exception, or by one that the rig's filter continued. */
static inline bool rig_failed(const struct rig_step *step)
{
    return step->op == RIG_OP_MULTI_ALLOC ? step->outcome.value < step->many_count
                                          : step->outcome.value == 0;
}

/* The rig's filter saw an exception and continued: the call returned after it. */
static inline bool rig_continued(const struct rig_step *step)
{
    return step->context == RIG_CONTEXT_CONTINUE && step->outcome.filter_runs > 0;
}

/* An exception was raised, whether or not it unwound the call; with that code. */
static inline bool rig_raised_any(const struct rig_step *step)
{
    return step->outcome.raised || rig_continued(step);
}

static inline bool rig_raised(const struct rig_step *step, DWORD code)
{
    return rig_raised_any(step) && step->outcome.exception.ExceptionCode == code;
}

/* The page source refused, or a CommitRoutine failed, in this very call. */
static inline bool rig_refused(const struct rig_step *step)
{
    return step->outcome.refusals > 0 || step->outcome.starved;
}

static inline bool rig_error_untouched(const struct rig_step *step)
{
    return step->outcome.error_after == step->outcome.error_before;
}

/* Calls that say yes or no: TRUE from Win32, TRUE or STATUS_SUCCESS from Rtl by `status`. */
static inline bool rig_said_yes(const struct rig_step *step)
{
    return !step->outcome.raised && step->outcome.value != 0;
}

/* Calls with a status in the Rtl spelling and a BOOL in the Win32 one (walk, query, set). */
static inline bool rig_succeeded(const struct rig_step *step)
{
    return !step->outcome.raised && (step->outcome.value != 0) == step->win32;
}

/* ---- Allocating and reallocating ---- */

#define RIG_ROOM_SPARE_BYTES 128u     /* of what a heap may keep for itself beside one block */
#define RIG_FIXED_MAX_BYTES 0x100000u /* no document lets a fixed heap serve that much at once */

/* The heap's own exception, not one that passed through from a CommitRoutine. */
static inline bool rig_raised_itself(const struct rig_step *step)
{
    return rig_raised_any(step) && !step->outcome.routine_raised;
}

/* The call was refused memory, or the subject does not tell. */
static inline bool rig_shortage_believed(const struct rig_step *step)
{
    return rig_refused(step) || !step->outcome.refusals_known;
}

/* A block of so many bytes fits into what the walk of a heap that cannot grow shows to be free. */
static inline bool rig_fits(const struct rig_step *step, size_t room_bytes)
{
    return step->room.known && step->size_bytes + RIG_ROOM_SPARE_BYTES <= room_bytes;
}

/* Reallocation in place has documented leave to fail, and no document says when it can. */
static inline bool rig_in_place(const struct rig_step *step)
{
    return step->op == RIG_OP_REALLOC && (step->flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0;
}

/* A failure would have no cause that a document names. Asked after the call: where it succeeded, it
 * could. */
static inline bool rig_must_succeed(const struct rig_step *step)
{
    if (!rig_failed(step)) {
        return true;
    }
    return step->expect == RIG_EXPECT_BLOCK && !rig_shortage_believed(step) &&
           !rig_in_place(step) &&
           (step->heap_before.growable || rig_fits(step, step->room.run_bytes));
}

/* Told to raise and did, told not to and did not. What a CommitRoutine raises tells nothing. */
static inline bool rig_failed_in_form(const struct rig_step *step)
{
    return step->outcome.routine_raised || rig_raised_any(step) == rig_exceptions_on(step);
}

/* The same, and where it raised, with that code. */
static inline bool rig_failed_with(const struct rig_step *step, DWORD code)
{
    return rig_failed_in_form(step) && (!rig_raised_itself(step) || rig_raised(step, code));
}

/* Nobody serializes: by the heap's option or the call's. */
static inline bool rig_unserialized(const struct rig_step *step)
{
    return ((step->flags | step->heap_before.flags) & HEAP_NO_SERIALIZE) != 0;
}

/* The heap's handle came from HeapCreate or GetProcessHeap. */
static inline bool rig_heap_win32(const struct rig_step *step)
{
    return step->heap_before.win32 || step->heap_before.idx == 0;
}

/* The model's live block at `address`, of whichever heap, or NULL. */
static inline const struct rig_block *rig_model_find(const struct rig_judge *judge,
                                                     uintptr_t address)
{
    return rig_shadow_find((struct rig_shadow *)(uintptr_t)judge->shadow, address);
}

/* A live block that shares a byte with [address, address + bytes), or NULL. */
static inline const struct rig_block *rig_model_touch(const struct rig_judge *judge,
                                                      uintptr_t address, size_t bytes)
{
    return rig_shadow_overlap((struct rig_shadow *)(uintptr_t)judge->shadow, address, bytes, NULL);
}

/* Calls that set the last error when they fail: it is another than before, and not an
 * application's (bit 29). */
static inline bool rig_error_set(const struct rig_step *step)
{
    return !rig_error_untouched(step);
}

static inline bool rig_serialized(const struct rig_heap *heap)
{
    return (heap->flags & HEAP_NO_SERIALIZE) == 0;
}

/* The second thread calls while the first holds the lock of a heap that serializes. Filters of the
 * rig use the heap on their own account. */
static inline bool rig_kept_out(const struct rig_step *step)
{
    return step->second && step->heap_before.lock_depth > 0 &&
           (step->heap_before.flags & HEAP_NO_SERIALIZE) == 0 &&
           step->context != RIG_CONTEXT_FILTER;
}

#endif
