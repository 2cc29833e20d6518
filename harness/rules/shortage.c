/* SPDX-License-Identifier: MIT
 *
 * Rules on what a refused page call leaves behind, in runs with plans: nothing that a walk shows,
 * no lock, no page that accounts do not know; and that it was the only thing in the way. */
#include "facts.h"

#include "shortage.h"

static bool same(const struct rig_holdings *a, const struct rig_holdings *b)
{
    return a->reserved_bytes == b->reserved_bytes && a->committed_bytes == b->committed_bytes &&
           a->reservation_count == b->reservation_count;
}

/* A filter allocates and frees on its own account, a routine's pages are its owner's, and a
 * multiple call keeps what it could do. */
static bool must_be_as_before(const struct rig_step *step)
{
    const bool part =
        step->op == RIG_OP_MULTI_ALLOC && (step->outcome.value > 0 || step->many_after[0] != NULL);
    return step->refusal.failed && step->refusal.sounded && step->refusal.before.heap_count > 0 &&
           step->refusal.kept_count == 0 && step->outcome.filter_runs == 0 &&
           step->outcome.reentries == 0 && !part;
}

/* Live blocks are as they were, and no heap is larger. */
static bool nothing_more(const struct rig_refusal *refusal)
{
    const struct rig_shown *before = &refusal->before;
    const struct rig_shown *after = &refusal->after;
    return after->digest == before->digest && after->committed_bytes <= before->committed_bytes &&
           after->reserved_bytes <= before->reserved_bytes;
}

/* Calls that change no lock of the program's. */
static bool leaves_locks(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_LOCK:
    case RIG_OP_UNLOCK:
    case RIG_OP_DESTROY:
    case RIG_OP_SECTION_ENTER:
    case RIG_OP_SECTION_TRY:
    case RIG_OP_SECTION_LEAVE:
    case RIG_OP_SECTION_DELETE:
        return false;
    default:
        return step->refusal.locks_known;
    }
}

/* Creating a heap, a section, the process heap: nobody can do without what was refused. */
static void rules_making(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_refusal *refusal = &step->refusal;
    const bool struck = step->outcome.refusals > 0 && refusal->kept_count == 0;
    CLAUSE(D80, struck && step->op == RIG_OP_CREATE,
           step->outcome.value == 0 || step->create.reused);
    CLAUSE(D80, struck && step->op == RIG_OP_PROCESS_HEAP, step->outcome.value == 0);
    CLAUSE(D80, struck && step->op == RIG_OP_SECTION_INIT, rig_raised(step, STATUS_NO_MEMORY));
    CLAUSE(D83, refusal->lie_count > 0 && step->op == RIG_OP_CREATE,
           step->outcome.value == 0 || step->create.reused);
}

void rig_rules_shortage(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_refusal *refusal = &step->refusal;
    if (step->op == RIG_OP_PLAN && step->phase == RIG_PHASE_END) {
        CLAUSE(D84, step->held_known, rig_holds_nothing(&step->held_after));
    }
    CLAUSE(D85, step->again && step->again_known && !rig_refused(step),
           step->op == RIG_OP_SECTION_INIT ? !rig_raised_any(step) : !rig_failed(step));
    if (!refusal->known) {
        return;
    }
    rules_making(judge, step);
    CLAUSE(D82, must_be_as_before(step), nothing_more(refusal));
    CLAUSE(D84, refusal->held_known, same(&refusal->held, &refusal->granted));
    CLAUSE(D85, leaves_locks(step), refusal->locks_after == refusal->locks_before);
}
