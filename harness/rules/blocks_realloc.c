/* SPDX-License-Identifier: MIT
 *
 * Rules on reallocating. RtlReAllocateHeap has no page of its own: what HeapReAlloc promises of the
 * block itself is judged in both spellings. */
#include "blocks.h"

#define DOCUMENTED_FLAGS                                                                           \
    (HEAP_NO_SERIALIZE | HEAP_GENERATE_EXCEPTIONS | HEAP_ZERO_MEMORY | HEAP_REALLOC_IN_PLACE_ONLY)
#define HONOURED_FLAGS (DOCUMENTED_FLAGS | HEAP_SETTABLE_USER_FLAGS)

static bool kept(const struct rig_step *step)
{
    return step->sight.spoilt_at == RIG_NO_OFFSET;
}

static bool clean(const struct rig_step *step)
{
    return step->sight.dirty_at == RIG_NO_OFFSET;
}

static bool same_place(const struct rig_step *step)
{
    return step->outcome.value == step->block_before.address;
}

static bool sized(const struct rig_step *step)
{
    return !step->sight.size_known || step->sight.size_now == step->size_bytes;
}

/* No document says when a block can be resized in place: those are judged apart. */
static bool serves(const struct rig_step *step)
{
    return !rig_in_place(step) && rig_must_succeed(step);
}

static void rules_call(struct rig_judge *judge, const struct rig_step *step)
{
    const bool ok = !rig_failed(step);
    CLAUSE(HREALLOC_02, rig_heap_win32(step) && serves(step), ok);
    CLAUSE(HREALLOC_03,
           step->flags != 0 && (step->flags & ~(ULONG)DOCUMENTED_FLAGS) == 0 && serves(step), ok);
    CLAUSE(HREALLOC_05, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) != 0,
           !step->outcome.blocked);
    CLAUSE(HREALLOC_11, serves(step), ok && step->outcome.reports == step->outcome.reentries);
    CLAUSE(HREALLOC_12, serves(step), ok && sized(step));
    CLAUSE(HREALLOC_13,
           step->heap_before.win32 && !step->heap_before.growable &&
               step->size_bytes >= RIG_FIXED_MAX_BYTES,
           !ok);
    CLAUSE(HREALLOC_14, serves(step), ok);
    CLAUSE(HREALLOC_24, rig_kept_out(step) && (step->flags & HEAP_NO_SERIALIZE) == 0,
           step->outcome.blocked);
}

/* The block that came of it. */
static void rules_block(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_sight *sight = &step->sight;
    const size_t bytes = step->size_bytes;
    const bool moved = !same_place(step);
    CLAUSE(HREALLOC_01, bytes > 0 && sight->size_known, sight->size_now >= bytes && sized(step));
    CLAUSE(HREALLOC_06, rig_in_place(step), !moved);
    CLAUSE(HREALLOC_08, !rig_in_place(step) && moved && sight->kept_bytes > 0, kept(step));
    CLAUSE(HREALLOC_09, sight->zero_asked, clean(step) && kept(step));
    CLAUSE(HFUNC_06, step->heap_before.block_count > 1, !sight->overlaps);
    CLAUSE(HREALLOC_17, true, step->outcome.value % RIG_ALIGN_BYTES == 0);
    CLAUSE(HREALLOC_19, bytes > 0 && sight->size_known,
           sight->size_now >= bytes && sight->size_now != SIZE_MAX);
    CLAUSE(HREALLOC_21, sight->kept_bytes > 0, kept(step));
    CLAUSE(HREALLOC_26, bytes == 0 && sight->size_known, sight->size_now == 0);
    CLAUSE(RREALLOC_01, !step->win32 && bytes > 0 && sight->size_known,
           sized(step) && kept(step) && clean(step) && !sight->overlaps);
    CLAUSE(RREALLOC_02, !step->win32 && bytes == 0 && sight->size_known, sight->size_now == 0);
}

static void rules_rulings(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_sight *sight = &step->sight;
    const bool ok = !rig_failed(step);
    const bool shrinks = step->size_bytes <= step->block_before.size_bytes;
    const size_t align = (step->heap_before.flags & 0x10000u) != 0 ? 16u : RIG_ALIGN_BYTES;
    CLAUSE(D19, (step->flags & ~(ULONG)HONOURED_FLAGS) != 0 && serves(step), ok);
    CLAUSE(D38, ok, step->outcome.value % align == 0);
    CLAUSE(D40, ok && sight->size_known, sized(step));
    CLAUSE(D42, ok && sight->zero_asked, clean(step));
    CLAUSE(D43, step->size_bytes == 0, ok && same_place(step));
    CLAUSE(D45, rig_in_place(step) && shrinks, ok && same_place(step));
    CLAUSE(D48, !step->win32 && serves(step), ok);
}

void rig_rules_realloc(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->win32) {
        rules_call(judge, step);
        CLAUSE(HFUNC_07, serves(step), !rig_failed(step));
    }
    if (!rig_failed(step)) {
        rules_block(judge, step);
    }
    CLAUSE(DISOWN_16, step->block_before.disowned && serves(step), !rig_failed(step));
    rules_rulings(judge, step);
}
