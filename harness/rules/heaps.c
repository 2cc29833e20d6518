/* SPDX-License-Identifier: MIT
 *
 * Rules on heaps as a whole: which operation is judged by which file, destroying, locking. */
#include "heaps.h"

/* ---- Destroying ----------------------------------------------------------------------------- */

static size_t fallen(size_t before, size_t after)
{
    return before > after ? before - after : 0;
}

/* Everything that the heap said it had is gone from what the subject holds. */
static bool given_back(const struct rig_step *step)
{
    const struct rig_holdings *before = &step->held_before;
    const struct rig_holdings *after = &step->held_after;
    return fallen(before->reserved_bytes, after->reserved_bytes) >= step->summary[2] &&
           fallen(before->committed_bytes, after->committed_bytes) >= step->summary[1];
}

static void rules_destroy(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool gone = rig_succeeded(step);
    /* A refused release keeps what it could not give back. */
    const bool counted =
        gone && step->held_known && step->summed && !heap->has_base && step->outcome.refusals == 0;
    CLAUSE(DESTROY_01, !step->win32, gone);
    CLAUSE(DESTROY_02, !step->win32 && counted, given_back(step));
    CLAUSE(DESTROY_04, !step->win32 && !heap->win32, gone);
    CLAUSE(DESTROY_05, !step->win32, step->outcome.value == 0);
    CLAUSE(DESTROY_07, !step->win32 && heap->block_count > 0, gone);
    CLAUSE(DESTROY_09, true, gone && (step->outcome.value != 0) == step->win32);
    CLAUSE(DESTROY_15, !step->win32, !step->outcome.raised);
    CLAUSE(HDESTROY_01, step->win32 && counted, given_back(step));
    CLAUSE(HDESTROY_02, step->win32 && heap->win32, gone);
    CLAUSE(HDESTROY_04, step->win32, step->outcome.value != 0);
    CLAUSE(HDESTROY_06, step->win32 && heap->block_count > 0, gone);
    CLAUSE(LASTERR_04, step->win32 && gone,
           rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
    CLAUSE(CREATE_38, gone && heap->has_base, step->base_kept);
    CLAUSE(D24, gone && heap->has_base, step->base_kept);
    CLAUSE(D52, true, gone && rig_error_untouched(step) && step->outcome.reports == 0);
    CLAUSE(D54, counted && heap->block_count > 0, given_back(step) && step->outcome.reports == 0);
}

/* ---- Locking -------------------------------------------------------------------------------- */

static void rules_lock(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool real = rig_serialized(heap);
    const bool yes = rig_said_yes(step);
    CLAUSE(HLOCK_01, step->win32 && real, yes);
    CLAUSE(HLOCK_07, step->win32 && real && heap->lock_depth > 0, yes);
    CLAUSE(HLOCK_09, step->win32 && real && rig_heap_win32(step), yes);
    CLAUSE(RLOCK_01, !step->win32 && real, yes);
    CLAUSE(HCREATE_08, heap->win32 && !real, !step->outcome.raised);
    CLAUSE(D57, !real, yes && rig_error_untouched(step));
    CLAUSE(D58, real && heap->lock_depth > 0, yes && rig_error_untouched(step));
    /* A heap takes its section once and counts the rest by itself. */
    CLAUSE(D28, real && step->section_seen && heap->lock_depth == 0,
           step->section_after == step->section_before + 1);
    CLAUSE(LASTERR_04, step->win32 && yes,
           rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
}

static void rules_unlock(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool real = rig_serialized(heap);
    const bool yes = rig_said_yes(step);
    CLAUSE(HUNLOCK_01, step->win32 && real, yes);
    CLAUSE(HUNLOCK_03, step->win32 && real && heap->lock_depth > 1, yes);
    CLAUSE(HUNLOCK_06, step->win32 && real && rig_heap_win32(step), yes);
    CLAUSE(RLOCK_01, !step->win32 && real, yes);
    CLAUSE(HCREATE_27, heap->win32 && real, yes);
    CLAUSE(D57, !real, yes && rig_error_untouched(step));
    CLAUSE(D58, real, yes && rig_error_untouched(step));
    CLAUSE(D28, real && step->section_seen && heap->lock_depth == 1,
           step->section_after == step->section_before - 1);
}

/* ---- Two threads ---------------------------------------------------------------------------- */

/* Calls that no document and no ruling lets go on while another thread holds the lock. */
static bool allocates(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_FREE:
        return true;
    case RIG_OP_MULTI_FREE:
        return step->many_count > step->many_nulls;
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
        return step->expect == RIG_EXPECT_BLOCK; /* others may be refused without a look */
    default:
        return false;
    }
}

static bool looks(const struct rig_step *step)
{
    return step->op == RIG_OP_WALK || step->op == RIG_OP_WALK_STEP || step->op == RIG_OP_VALIDATE ||
           step->op == RIG_OP_VALIDATE_BLOCK;
}

/* Done as if the first thread had asked. */
static bool served(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
        return !rig_failed(step) || !rig_must_succeed(step);
    case RIG_OP_FREE:
    case RIG_OP_VALIDATE:
    case RIG_OP_VALIDATE_BLOCK:
        return rig_said_yes(step);
    default:
        return !step->outcome.raised;
    }
}

/* A call of the second thread while the first holds the heap's lock, and while it does not. */
static void rules_second(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool real = rig_serialized(heap);
    const bool passes =
        rig_op_reads(step->op, RIG_OPERAND_FLAGS) && (step->flags & HEAP_NO_SERIALIZE) != 0;
    const bool held = heap->lock_depth > 0;
    const bool waits = real && held && !passes;
    const bool block_call = allocates(step);
    const bool blocked = step->outcome.blocked;
    /* The first thread's own calls, so that this one can go on. */
    CLAUSE(HUNLOCK_01, step->outcome.unlock_refused, false);
    CLAUSE(HLOCK_01, step->outcome.lock_refused, false);
    CLAUSE(LASTERR_01, !blocked, step->outcome.other_error_kept);
    CLAUSE(D35, block_call || looks(step), served(step));
    CLAUSE(CREATE_08, real && block_call && !heap->win32, served(step));
    CLAUSE(CREATE_33, waits && block_call && !heap->win32, blocked);
    CLAUSE(HCREATE_26, waits && block_call && heap->win32, blocked);
    CLAUSE(HCREATE_06, !real && held && heap->win32, !blocked);
    CLAUSE(CREATE_07, !real && held && !heap->win32, !blocked);
    CLAUSE(HLOCK_03, waits && block_call, blocked);
    CLAUSE(HLOCK_04, waits && block_call, blocked && served(step));
    CLAUSE(HLOCK_08, waits && looks(step), blocked);
    CLAUSE(WALK_08, waits && block_call && heap->walking, blocked);
    CLAUSE(HVALID_13, waits && step->op == RIG_OP_VALIDATE && step->win32, blocked);
    CLAUSE(HCOMPACT_09, waits && step->op == RIG_OP_COMPACT && step->win32, blocked);
    CLAUSE(D60, waits && (block_call || looks(step)), blocked);
    CLAUSE(D60,
           real && held && passes && block_call && heap->section == RIG_NO_SECTION &&
               step->outcome.filter_runs == 0, /* which asks the heap in earnest */
           !blocked);
}

void rig_rules_heaps(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
        rig_rules_limits(judge, step);
        rig_rules_growth(judge, step);
        break;
    case RIG_OP_REALLOC:
        rig_rules_growth(judge, step);
        break;
    case RIG_OP_FREE:
        rig_rules_given_back(judge, step);
        break;
    case RIG_OP_CREATE:
        rig_rules_create(judge, step);
        break;
    case RIG_OP_DESTROY:
        rules_destroy(judge, step);
        break;
    case RIG_OP_LOCK:
        rules_lock(judge, step);
        break;
    case RIG_OP_UNLOCK:
        rules_unlock(judge, step);
        break;
    default:
        break;
    }
    if (step->second && step->op != RIG_OP_READ && step->op != RIG_OP_WRITE) {
        rules_second(judge, step);
    }
}
