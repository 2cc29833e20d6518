/* SPDX-License-Identifier: MIT
 *
 * Rules on what a heap's creation means for its allocations: options that steer them, how far it
 * grows, what a fixed heap refuses, whom it keeps out. Asked at every allocation, so what is common
 * comes first. */
#include "heaps.h"

/* What a fixed heap may keep for itself (D34). */
#define OVERHEAD_BYTES (0x400u + 0x100u * sizeof(void *))
#define GREY_BYTES 0x1000u /* below the threshold: may fail for padding */

/* The largest block of a fixed heap in the most generous of the documents. */
#define FIXED_BLOCK_MAX_BYTES (sizeof(void *) == 8 ? (size_t)0xFFFFF : (size_t)RIG_THRESHOLD_BYTES)

#ifdef NTH_STRESS
#define START_COUNT 2u
#else
#define START_COUNT 18u
#endif

/* Served, or refused memory. */
static bool served(const struct rig_step *step)
{
    return !rig_failed(step) || rig_shortage_believed(step);
}

/* ---- Options -------------------------------------------------------------------------------- */

static void rules_options(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool by_heap = (heap->flags & HEAP_GENERATE_EXCEPTIONS) != 0;
    const bool by_call = (step->flags & HEAP_GENERATE_EXCEPTIONS) != 0;
    const bool coded = rig_raised(step, STATUS_NO_MEMORY) ||
                       rig_raised(step, STATUS_BUFFER_TOO_SMALL) ||
                       rig_raised(step, STATUS_ACCESS_VIOLATION);
    const bool judged = rig_failed(step) && by_heap && !by_call && !step->outcome.routine_raised;
    CLAUSE(CREATE_02, judged && !heap->win32, rig_raised_any(step));
    CLAUSE(CREATE_05, judged && !heap->win32, coded);
    CLAUSE(HCREATE_05, judged && heap->win32, coded);
}

/* ---- Growing -------------------------------------------------------------------------------- */

static void rules_growable(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool possible = step->expect == RIG_EXPECT_BLOCK;
    const bool past_commit = possible && step->size_bytes > heap->commit_bytes;
    const bool past_reserve = possible && step->size_bytes > heap->reserve_bytes;
    const bool large = possible && step->size_bytes > heap->threshold_bytes;
    if (!past_commit && !large) {
        return;
    }
    CLAUSE(CREATE_06, past_reserve && !heap->win32, served(step));
    CLAUSE(CREATE_24, past_commit && !heap->win32, served(step));
    CLAUSE(CREATE_26, past_reserve && !heap->win32, served(step));
    CLAUSE(CREATE_30, large && !heap->win32, served(step));
    CLAUSE(HCREATE_13, past_commit && heap->win32, served(step));
    CLAUSE(HCREATE_17, past_reserve && heap->win32, served(step));
    CLAUSE(HCREATE_18, large && heap->win32, served(step));
}

/* ---- Not growing ---------------------------------------------------------------------------- */

static void rules_fixed_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t size = step->size_bytes;
    const bool past = size > heap->reserve_bytes - heap->block_bytes;
    CLAUSE(CREATE_03, heap->flags == 0 && size > heap->reserve_bytes, rig_failed(step));
    CLAUSE(CREATE_25, past, rig_failed(step));
    CLAUSE(CREATE_27, size > FIXED_BLOCK_MAX_BYTES, rig_failed(step));
    CLAUSE(CREATE_28, heap->threshold_bytes < RIG_THRESHOLD_BYTES && size > heap->threshold_bytes,
           rig_failed(step));
    CLAUSE(CREATE_29, size <= heap->threshold_bytes && size + GREY_BYTES > heap->threshold_bytes,
           !rig_failed(step) || rig_failed_with(step, STATUS_NO_MEMORY) ||
               rig_failed_with(step, STATUS_BUFFER_TOO_SMALL));
    CLAUSE(CREATE_32, size >= heap->reserve_bytes, rig_failed(step));
    CLAUSE(HPARAM_07, heap->threshold_bytes == RIG_THRESHOLD_BYTES && size > FIXED_BLOCK_MAX_BYTES,
           rig_failed(step));
}

static void rules_fixed_win32(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t size = step->size_bytes;
    CLAUSE(HCREATE_13,
           heap->block_total == 0 && size > heap->commit_bytes && size < RIG_PAGE_BYTES * 64u &&
               size + 2u * RIG_PAGE_BYTES < heap->reserve_bytes,
           served(step));
    CLAUSE(HCREATE_14, size > heap->reserve_bytes - heap->block_bytes, rig_failed(step));
    CLAUSE(HCREATE_15, size > FIXED_BLOCK_MAX_BYTES, rig_failed(step));
    CLAUSE(HCREATE_16, size > FIXED_BLOCK_MAX_BYTES && size < heap->reserve_bytes,
           rig_failed(step));
    CLAUSE(HCREATE_25, size >= heap->reserve_bytes, rig_failed(step));
}

static void rules_fixed(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    if (heap->win32) {
        rules_fixed_win32(judge, step);
    } else {
        rules_fixed_rtl(judge, step);
    }
    CLAUSE(D34, step->size_bytes == heap->reserve_bytes, rig_failed(step));
    CLAUSE(D34,
           heap->block_total == 0 && heap->reserve_bytes >= 0x10000u &&
               step->size_bytes <= heap->threshold_bytes &&
               step->size_bytes <= heap->allocation_max_bytes &&
               step->size_bytes + OVERHEAD_BYTES <= heap->reserve_bytes,
           served(step));
}

/* ---- Parameters ----------------------------------------------------------------------------- */

static void rules_parameters(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    CLAUSE(HPARAM_06, step->size_bytes > heap->allocation_max_bytes, rig_failed(step));
    if (heap->has_routine) {
        const bool own = step->outcome.starved && rig_failed(step) && !step->outcome.routine_raised;
        CLAUSE(HPARAM_15, step->outcome.routine_runs > 0, !step->outcome.routine_odd);
        CLAUSE(HPARAM_16, own,
               rig_failed_with(step, STATUS_NO_MEMORY) ||
                   (step->expect == RIG_EXPECT_TOO_SMALL && rig_failed_in_form(step)));
        CLAUSE(D26, own && step->expect == RIG_EXPECT_BLOCK && step->outcome.reports == 0,
               rig_failed_with(step, STATUS_NO_MEMORY));
        CLAUSE(D26, step->outcome.routine_raised, rig_failed(step));
    }
}

/* What is committed at creation is there for good: the first block of half of it is no matter of
 * luck. */
static void rules_assured(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    CLAUSE(HCREATE_31,
           heap->block_total == 0 && heap->commit_bytes >= 4u * RIG_PAGE_BYTES &&
               step->size_bytes <= heap->commit_bytes / 2 &&
               step->size_bytes <= heap->threshold_bytes - GREY_BYTES,
           !rig_failed(step));
}

void rig_rules_limits(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    if (rig_failed(step)) {
        rules_options(judge, step);
    }
    if (heap->idx == 0) {
        return;
    }
    if (heap->growable) {
        rules_growable(judge, step);
    } else {
        rules_fixed(judge, step);
    }
    if (heap->win32) {
        rules_assured(judge, step);
    } else {
        rules_parameters(judge, step);
    }
}
