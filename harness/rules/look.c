/* SPDX-License-Identifier: MIT
 *
 * Rules on looking at a heap: validating, summing up, compacting, zeroing; walks and information
 * classes have files of their own. */
#include "heaps.h"

/* ---- Validating ----------------------------------------------------------------------------- */

static void rules_validate(struct rig_judge *judge, const struct rig_step *step)
{
    const bool yes = rig_said_yes(step);
    const bool whole = step->op == RIG_OP_VALIDATE;
    const bool documented = rig_heap_win32(step);
    CLAUSE(HVALID_01, step->win32 && whole, yes);
    CLAUSE(HVALID_03, step->win32, yes);
    CLAUSE(HVALID_06, step->win32, rig_error_untouched(step));
    CLAUSE(HVALID_11, step->win32 && documented, yes);
    CLAUSE(HVALID_12, step->win32 && (step->flags & HEAP_NO_SERIALIZE) != 0, yes);
    CLAUSE(HVALID_15, step->win32 && !whole, yes);
    CLAUSE(HVALID_16, step->win32 && whole, yes);
    CLAUSE(RVALID_01, !step->win32, yes);
    CLAUSE(D76, true, yes && step->outcome.reports == 0 && rig_error_untouched(step));
}

/* A look at a whole heap: all of it, each of its blocks, something that is none, a freed block. */
static void rules_check(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool blocks = step->blocks_valid == step->blocks_seen;
    const bool sound = step->valid && blocks && !step->outcome.raised;
    CLAUSE(HVALID_16, true, step->valid);
    CLAUSE(HVALID_10, step->blocks_seen > 0, blocks);
    CLAUSE(HVALID_15, step->blocks_seen > 0, blocks);
    CLAUSE(HVALID_09, step->idle_seen, !step->idle_valid);
    CLAUSE(HVALID_04, step->idle_seen, !step->idle_valid);
    CLAUSE(HVALID_08, step->freed_seen, !step->freed_valid);
    CLAUSE(RVALID_01, true, blocks);
    CLAUSE(CREATE_35, !heap->win32 && !rig_serialized(heap), sound);
    CLAUSE(D76, true,
           sound && !step->idle_valid && !step->freed_valid && step->outcome.reports == 0 &&
               rig_error_untouched(step));
}

static void rules_validate_all(struct rig_judge *judge, const struct rig_step *step)
{
    /* It lists the heaps, so it makes the process heap. */
    const bool yes = rig_said_yes(step) || rig_shortage_believed(step);
    CLAUSE(RVALPH_01, true, yes);
    CLAUSE(D76, true, yes && step->outcome.reports == 0);
}

/* ---- Summing up ----------------------------------------------------------------------------- */

static bool sums_ordered(const struct rig_step *step)
{
    return step->summary[0] <= step->summary[1] && step->summary[1] <= step->summary[2] &&
           step->summary[2] <= step->summary[3];
}

static bool sums_right(const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t most = heap->growable ? SIZE_MAX : step->summary[2];
    return step->summary[0] == heap->block_bytes && sums_ordered(step) &&
           step->summary[3] == most &&
           (heap->growable || heap->idx == 0 || step->summary[2] == heap->reserve_bytes);
}

static void rules_summary(struct rig_judge *judge, const struct rig_step *step)
{
    const bool sized = step->summary_cb == sizeof(HEAP_SUMMARY);
    const bool yes = rig_said_yes(step);
    CLAUSE(HSUM_01, sized, yes && !step->info_untouched);
    CLAUSE(HSUM_02, !yes, !step->outcome.raised && step->outcome.value == 0);
    CLAUSE(HSUM_03, sized && step->flags == 0, yes);
    CLAUSE(HSUM_04, !sized, !yes);
    CLAUSE(HSUM_05, sized && rig_heap_win32(step), yes);
    CLAUSE(HSUM_06, sized && yes, sums_ordered(step));
    CLAUSE(D74, sized, yes && sums_right(step) && rig_error_untouched(step));
    CLAUSE(D74, !sized,
           !yes && step->info_untouched && step->outcome.error_after == ERROR_INVALID_PARAMETER);
    CLAUSE(LASTERR_04, yes, rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
    CLAUSE(LASTERR_07, !yes && rig_error_set(step), (step->outcome.error_after & 0x20000000u) == 0);
}

/* ---- Zeroing -------------------------------------------------------------------------------- */

static void rules_zero(struct rig_judge *judge, const struct rig_step *step)
{
    const bool yes = !step->outcome.raised && step->outcome.value == STATUS_SUCCESS;
    CLAUSE(RZERO_01, true, yes && !step->dirty_after);
    CLAUSE(D75, step->dirty_before, yes && !step->dirty_after && rig_error_untouched(step));
}

void rig_rules_look(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_VALIDATE:
    case RIG_OP_VALIDATE_BLOCK:
        rules_validate(judge, step);
        break;
    case RIG_OP_CHECK:
        if (!step->nothing) {
            rules_check(judge, step);
        }
        break;
    case RIG_OP_VALIDATE_ALL:
        rules_validate_all(judge, step);
        break;
    case RIG_OP_SUMMARY:
        rules_summary(judge, step);
        break;
    case RIG_OP_ZERO:
        rules_zero(judge, step);
        break;
    case RIG_OP_COMPACT:
        rig_rules_compact(judge, step);
        break;
    case RIG_OP_WALK:
        rig_rules_walk(judge, step);
        break;
    case RIG_OP_WALK_STEP:
        rig_rules_walk_step(judge, step);
        break;
    case RIG_OP_QUERY:
    case RIG_OP_SET:
        rig_rules_information(judge, step);
        break;
    default:
        break;
    }
}
