/* SPDX-License-Identifier: MIT
 *
 * MISUSE: a call made with something that it must refuse, by a row of the catalogue. Whatever it
 * answers, the model stays as it is: a refused call changes nothing. */
#include "exec_internal.h"

#include "faults/catalog.h"

#define LOCKED_NEVER                                                                               \
    (FAULT_SET_UNLOCK | FAULT_SET_SECTION | FAULT_SET_SECTION_USE | FAULT_SET_SECTION_LEAVE |      \
     FAULT_SET_SECTION_DELETE | FAULT_SET_DESTROY)

/* In which thread and context; false where the subject has no second thread. */
static bool surroundings(const struct rig_exec *exec, struct rig_step *step)
{
    const enum fault_need need = step->misuse->need;
    const bool second = need == FAULT_NEED_FREED_SECOND || need == FAULT_NEED_LOCKED_BY_OTHER;
    const bool middle = need == FAULT_NEED_UNWOUND_HEAP || need == FAULT_NEED_GROWING_HEAP;
    if (need == FAULT_NEED_FREED_LOCKED) {
        step->context = RIG_CONTEXT_LOCKED;
    } else if (second || middle ||
               (step->context == RIG_CONTEXT_LOCKED &&
                (step->bad.call->sets & LOCKED_NEVER) != 0)) {
        step->context = RIG_CONTEXT_PLAIN;
    }
    step->second = (step->second || second) && (step->bad.call->sets & FAULT_SET_SECTION) == 0 &&
                   need != FAULT_NEED_UNLOCKED_HEAP && !middle;
    if (second && exec->subject->tell_waits == NULL) {
        step->skipped = "subject has no second thread";
        return false;
    }
    return true;
}

static struct rig_holdings holdings(const struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_holdings none = {0, 0, 0};
    step->held_known = exec->subject->holdings != NULL;
    return step->held_known ? exec->subject->holdings() : none;
}

static void validate(void *context)
{
    struct rig_exec *exec = context;
    exec->step.bad.unharmed = exec->subject->HeapValidate(exec->step.heap->handle, 0, NULL) != 0;
}

/* Blocks, heap and the caller's structures are as they were. */
static void see_unharmed(struct rig_exec *exec, struct rig_step *step)
{
    if (step->block != NULL) {
        const struct rig_block *block = step->block;
        step->sight.spoilt_at = rig_pattern_differs((void *)block->address, block->size_bytes,
                                                    block->size_bytes, block->stamp);
    }
    step->bad.unharmed = true;
    if (step->heap != NULL) {
        step->expect = RIG_EXPECT_TOO_SMALL; /* how much room there is does not matter */
        rig_see_failure(exec, step);
        if (exec->subject->HeapValidate != NULL && !exec->unwound[step->heap->idx] &&
            step->misuse->into != FAULT_INTO_MIDDLE) {
            (void)rig_call_aside(exec, validate, exec);
        }
    }
    step->bad.unharmed = step->bad.unharmed && rig_misuse_untouched(step);
}

static bool is_freed(enum fault_need need)
{
    return need >= FAULT_NEED_FREED && need <= FAULT_NEED_FREED_LOCKED;
}

static void make(struct rig_exec *exec, struct rig_step *step)
{
    const bool locked = step->context == RIG_CONTEXT_LOCKED && step->heap != NULL &&
                        rig_lock_aside(exec, step->heap, true);
    step->held_before = holdings(exec, step);
    rig_call(exec, step, rig_misuse_body);
    step->held_after = holdings(exec, step);
    if (locked) {
        (void)rig_lock_aside(exec, step->heap, false);
    }
    if (step->outcome.raised && step->heap != NULL) {
        rig_see_lock(exec, step);
    }
    if (step->outcome.filter_runs > 0 && step->heap != NULL) {
        step->heap->filtered = true;
        exec->changes[step->heap->idx]++;
    }
}

static void give_back(void *context)
{
    struct rig_exec *exec = context;
    (void)exec->subject->HeapFree(exec->step.heap->handle, 0, (PVOID)exec->step.outcome.value);
}

/* A call is left in its middle; where it asks for no pages, or is refused them before, there is none,
 * and nothing has happened. */
static bool interrupt(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_subject *subject = exec->subject;
    if (subject->interrupt == NULL) {
        step->skipped = "subject cannot be interrupted";
        step->nothing = true;
        return true;
    }
    subject->interrupt(RIG_INTERRUPT_CODE);
    make(exec, step);
    subject->interrupt(0);
    exec->changes[step->heap->idx]++;
    const bool left = step->outcome.raised &&
                      step->outcome.exception.ExceptionCode == RIG_INTERRUPT_CODE;
    if (!left && (!step->outcome.raised || step->outcome.refusals > 0)) {
        if (step->outcome.value != 0) {
            (void)rig_call_aside(exec, give_back, exec);
        }
        step->heap->refused_last = step->outcome.refusals > 0;
        step->nothing = true;
        return true;
    }
    see_unharmed(exec, step);
    const bool held = rig_judge(exec, step);
    exec->unwound[step->heap->idx] = true;
    rig_exec_damaged(exec, step->heap->idx);
    return held;
}

bool rig_do_MISUSE(struct rig_exec *exec, struct rig_step *step)
{
    if ((exec->subject->claims & RIG_CLAIM_RULINGS) == 0) {
        step->skipped = "subject promises nothing about misuse";
        step->nothing = true;
        return true;
    }
    step->misuse = fault_misuse_info(step->record->arg);
    /* Or a listing makes the process heap, and changes something. */
    if (step->misuse == NULL || !rig_process_heap(exec) || !rig_misuse_find(exec, step) || !rig_misuse_pointer(exec, step) ||
        !rig_misuse_prepare(exec, step) || !surroundings(exec, step)) {
        step->nothing = true;
        return true;
    }
    step->heap_before = step->heap == NULL ? step->heap_before : *step->heap;
    step->block_before = step->block == NULL ? step->block_before : *step->block;
    step->bad.of_freed = is_freed(step->misuse->need);
    if (step->misuse->into == FAULT_INTO_MIDDLE) {
        return interrupt(exec, step);
    }
    make(exec, step);
    if (step->misuse->pointer == FAULT_POINTER_FORGED_INSIDE) {
        rig_pattern_fill((void *)step->block->address, step->block->size_bytes, step->block->stamp);
    }
    rig_misuse_reason(exec, step);
    see_unharmed(exec, step);
    return rig_judge(exec, step);
}
