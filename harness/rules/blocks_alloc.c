/* SPDX-License-Identifier: MIT
 *
 * Rules on allocating one block. The clauses of RtlAllocateHeap (ALLOC) are judged in its own
 * spelling, those of HeapAlloc (HALLOC) in the other; rulings in both. */
#include "blocks.h"

#define DOCUMENTED_FLAGS (HEAP_NO_SERIALIZE | HEAP_GENERATE_EXCEPTIONS | HEAP_ZERO_MEMORY)
#define HONOURED_FLAGS (DOCUMENTED_FLAGS | HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAGS)

/* A status where a pointer was to be. */
static bool is_status(uintptr_t value)
{
    return value == STATUS_ACCESS_VIOLATION || value == STATUS_NO_MEMORY ||
           value == STATUS_BUFFER_TOO_SMALL;
}

static bool several(ULONG flags)
{
    return (flags & (flags - 1)) != 0;
}

/* The block is of this heap, which knows it and its size. */
static bool known(const struct rig_step *step)
{
    return !step->sight.size_known || step->sight.size_now != SIZE_MAX;
}

static bool clean(const struct rig_step *step)
{
    return step->sight.dirty_at == RIG_NO_OFFSET;
}

/* Zero was asked for and the bytes were looked at. */
static bool zero_seen(const struct rig_step *step)
{
    return !rig_failed(step) && step->sight.zero_asked && step->size_bytes > 0;
}

/* So much is free, but not in one piece. */
static bool fragmented(const struct rig_step *step)
{
    return rig_failed(step) && !rig_refused(step) && step->room.known &&
           step->room.total_bytes >= step->size_bytes && step->room.run_bytes < step->size_bytes;
}

static bool serves(const struct rig_step *step)
{
    return rig_must_succeed(step);
}

/* ---- RtlAllocateHeap ---- */

static void rules_rtl_flags(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const ULONG documented = step->flags & DOCUMENTED_FLAGS;
    CLAUSE(ALLOC_05, step->flags == 0 && serves(step), !rig_failed(step));
    CLAUSE(ALLOC_06, step->flags == documented && several(documented) && serves(step),
           !rig_failed(step) && clean(step));
    CLAUSE(ALLOC_10, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) != 0,
           !step->outcome.blocked);
    CLAUSE(ALLOC_30, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) != 0,
           !step->outcome.blocked);
    CLAUSE(ALLOC_11, zero_seen(step), clean(step));
    CLAUSE(ALLOC_13, step->flags != documented,
           step->outcome.reports == step->outcome.reentries &&
               !rig_raised(step, STATUS_ACCESS_VIOLATION));
    CLAUSE(ALLOC_27, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) == 0,
           step->outcome.blocked);
    CLAUSE(ALLOC_32, rig_unserialized(step) && !step->second && serves(step),
           !rig_failed(step) && !step->sight.overlaps);
    CLAUSE(ALLOC_33,
           (heap->flags & HEAP_NO_SERIALIZE) != 0 && heap->second_count == 0 && !step->second &&
               judge->shadow->second_count > 0 && serves(step),
           !rig_failed(step) && !step->sight.overlaps);
    CLAUSE(ALLOC_34,
           (heap->flags & HEAP_NO_SERIALIZE) != 0 && (heap->second_count > 0 || step->second) &&
               serves(step),
           !rig_failed(step) && !step->sight.overlaps);
}

static void rules_rtl_limits(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t bytes = step->size_bytes;
    const bool above = !heap->growable && bytes > heap->threshold_bytes;
    const bool close = !heap->growable && !above && heap->threshold_bytes - bytes < RIG_PAGE_BYTES;
    CLAUSE(ALLOC_14, bytes > SIZE_MAX / 2, rig_failed(step));
    CLAUSE(ALLOC_15, above, rig_failed(step));
    CLAUSE(ALLOC_16, above,
           rig_failed(step) && rig_failed_in_form(step) &&
               (!rig_raised_itself(step) || rig_raised(step, STATUS_BUFFER_TOO_SMALL) ||
                rig_raised(step, STATUS_NO_MEMORY)));
    CLAUSE(ALLOC_17, close,
           !rig_failed(step) || !rig_raised_itself(step) || rig_raised(step, STATUS_NO_MEMORY) ||
               rig_raised(step, STATUS_BUFFER_TOO_SMALL));
    CLAUSE(ALLOC_26, fragmented(step), rig_failed_with(step, STATUS_NO_MEMORY));
    CLAUSE(ALLOC_39, bytes == 0 && !rig_failed(step) && step->sight.size_known,
           !step->sight.overlaps && step->sight.size_now == 0);
    CLAUSE(ALLOC_40, bytes > SIZE_MAX - RIG_GRANULE_BYTES, rig_failed(step));
}

static void rules_rtl(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const uintptr_t address = step->outcome.value;
    CLAUSE(ALLOC_01, !heap->win32 && heap->idx != 0 && serves(step),
           !rig_failed(step) && step->outcome.reports == step->outcome.reentries);
    CLAUSE(ALLOC_02, address != 0 && heap->block_count > 0, !step->sight.overlaps && known(step));
    CLAUSE(ALLOC_03, serves(step), address != 0);
    CLAUSE(ALLOC_21, address == 0 || is_status(address), !is_status(address));
    CLAUSE(ALLOC_41, address != 0, address % RIG_ALIGN_BYTES == 0);
    rules_rtl_flags(judge, step);
    rules_rtl_limits(judge, step);
}

/* ---- HeapAlloc ---- */

static void rules_win32(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const uintptr_t address = step->outcome.value;
    const size_t bytes = step->size_bytes;
    CLAUSE(HALLOC_01, address != 0 && heap->block_count > 0, !step->sight.overlaps && known(step));
    CLAUSE(HALLOC_02, rig_heap_win32(step) && serves(step), address != 0);
    CLAUSE(HALLOC_03,
           step->flags != 0 && (step->flags & ~(ULONG)DOCUMENTED_FLAGS) == 0 && serves(step),
           address != 0 && clean(step));
    CLAUSE(HALLOC_05, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) != 0,
           !step->outcome.blocked);
    CLAUSE(HALLOC_07, zero_seen(step), clean(step));
    CLAUSE(HALLOC_08, heap->win32 && !heap->growable && bytes >= RIG_FIXED_MAX_BYTES,
           rig_failed(step));
    CLAUSE(HALLOC_09, serves(step), address != 0);
    CLAUSE(HALLOC_16, address != 0 && bytes > 0 && step->sight.size_known,
           step->sight.size_now >= bytes && step->sight.size_now != SIZE_MAX);
    CLAUSE(HALLOC_17, heap->idx == 0 && serves(step), address != 0);
    CLAUSE(HALLOC_20, fragmented(step), rig_failed_with(step, STATUS_NO_MEMORY));
    CLAUSE(HALLOC_21, address != 0, address % RIG_ALIGN_BYTES == 0);
    CLAUSE(HALLOC_23, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) == 0,
           step->outcome.blocked);
}

/* ---- Both, and what core is held to ---- */

static void rules_rulings(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const uintptr_t address = step->outcome.value;
    const size_t bytes = step->size_bytes;
    const size_t align = (heap->flags & 0x10000u) != 0 ? 16u : RIG_ALIGN_BYTES;
    const bool own = heap->growable && bytes > heap->threshold_bytes;
    CLAUSE(D1, address == 0 || is_status(address), !is_status(address));
    CLAUSE(D3,
           !heap->growable && bytes <= heap->threshold_bytes &&
               heap->threshold_bytes - bytes < RIG_PAGE_BYTES && serves(step),
           address != 0);
    CLAUSE(D19, (step->flags & ~(ULONG)HONOURED_FLAGS) != 0 && serves(step), address != 0);
    /* Knowing of a new place may take memory as well. */
    CLAUSE(D37, own && address != 0 && step->held_known,
           step->held_after.reservation_count > step->held_before.reservation_count);
    CLAUSE(D38, address != 0, address % align == 0);
    CLAUSE(D39, bytes == 0 && serves(step),
           address != 0 && !step->sight.overlaps &&
               (!step->sight.size_known || step->sight.size_now == 0));
    CLAUSE(D40, address != 0 && step->sight.size_known, step->sight.size_now == bytes);
    CLAUSE(D42, zero_seen(step), clean(step));
    /* What was absorbed of a large block's room; never the reservation or the pages it needs. */
    CLAUSE(D80, own && step->outcome.refusals > 0 && step->held_known,
           address == 0 ||
               (step->held_after.committed_bytes >= step->held_before.committed_bytes + bytes &&
                step->held_after.reservation_count > step->held_before.reservation_count));
}

void rig_rules_alloc(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->win32) {
        rules_win32(judge, step);
    } else {
        rules_rtl(judge, step);
    }
    CLAUSE(HFUNC_06, !rig_failed(step) && step->heap_before.block_count > 0, !step->sight.overlaps);
    CLAUSE(SEH_14, step->heap_before.raised_last && serves(step), !rig_failed(step));
    rules_rulings(judge, step);
}
