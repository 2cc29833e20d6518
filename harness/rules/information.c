/* SPDX-License-Identifier: MIT
 *
 * Rules on information classes: the front end asked for and told, termination, optimizing, and what
 * refuses a query or a setting. */
#include "heaps.h"

#define COMPATIBILITY 0u
#define TERMINATION 1u
#define OPTIMIZE 3u
#define VALUE_BYTES 4u
#define OPTIMIZE_BYTES 8u

#ifdef NTH_STRESS
#define START_COUNT 2u
#define START_TOTAL 64u
#else
#define START_COUNT 18u
#define START_TOTAL 1024u
#endif
#define FRONT_SIZE_MAX 0x3FF0u

/* The status of a refusal, and what the Win32 spelling leaves as last error for it. */
struct refusal {
    uint32_t status;
    DWORD error;
};

static const struct refusal none = {STATUS_SUCCESS, 0};
static const struct refusal parameter = {STATUS_INVALID_PARAMETER, ERROR_INVALID_PARAMETER};
static const struct refusal handle = {STATUS_INVALID_HANDLE, ERROR_INVALID_HANDLE};
static const struct refusal no_access = {STATUS_ACCESS_VIOLATION, ERROR_NOACCESS};
static const struct refusal too_small = {STATUS_BUFFER_TOO_SMALL, ERROR_INSUFFICIENT_BUFFER};
static const struct refusal wrong_bytes = {STATUS_INFO_LENGTH_MISMATCH, ERROR_BAD_LENGTH};
static const struct refusal unsuccessful = {STATUS_UNSUCCESSFUL, ERROR_GEN_FAILURE};

/* Ended just so: success without a trace in the last error, or that refusal. */
static bool ended_as(const struct rig_step *step, struct refusal due)
{
    if (step->outcome.raised || step->outcome.reports != 0) {
        return false;
    }
    if (!step->win32) {
        return step->outcome.value == due.status && rig_error_untouched(step);
    }
    return due.status == STATUS_SUCCESS
               ? step->outcome.value != 0 && rig_error_untouched(step)
               : step->outcome.value == 0 && step->outcome.error_after == due.error;
}

/* Both spellings: refused with an error status, or with FALSE. */
static bool refused(const struct rig_step *step)
{
    return !step->outcome.raised &&
           (step->win32 ? step->outcome.value == 0 : step->outcome.value >= 0x80000000u);
}

/* ---- Asking --------------------------------------------------------------------------------- */

/* The first fault decides (D64). */
static struct refusal query_due(const struct rig_step *step)
{
    if (step->info_class != COMPATIBILITY) {
        return parameter;
    }
    if (step->handle_null) {
        return no_access;
    }
    if (step->info_bytes < VALUE_BYTES) {
        return too_small;
    }
    return step->info_null ? no_access : none;
}

/* Blocks of one size, as they were allocated, that are live now: the most of any size. Blocks past the
 * threshold are of no class. */
static unsigned most_alike(const struct rig_judge *judge, const struct rig_heap *heap)
{
    uint16_t counts[FRONT_SIZE_MAX + 1] = {0};
    unsigned most = 0;
    struct rig_shadow *shadow = (struct rig_shadow *)(uintptr_t)judge->shadow;
    for (struct rig_block *block = rig_shadow_first(shadow); block != NULL;
         block = rig_shadow_next(block)) {
        const bool counts_here = block->heap == heap->idx && !block->resized &&
                                 !block->has_user_value && block->size_bytes <= FRONT_SIZE_MAX &&
                                 block->size_bytes <= heap->threshold_bytes;
        if (counts_here && ++counts[block->size_bytes] > most) {
            most = counts[block->size_bytes];
        }
    }
    return most;
}

static void rules_front(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool on = step->info_value == 2;
    CLAUSE(HQUERY_01, step->win32, step->info_value <= 2);
    CLAUSE(HQUERY_05, true, on || (step->info_value == 0));
    CLAUSE(HQUERY_05, !heap->front_able, step->info_value == 0);
    CLAUSE(HQUERY_07, heap->front_set, on);
    CLAUSE(HSET_03, heap->front_on, on);
    CLAUSE(LFH_04, heap->front_on, on);
    CLAUSE(HCREATE_07, heap->win32 && !rig_serialized(heap), !on);
    CLAUSE(D62, true, on || (step->info_value == 0 && !heap->front_on));
    CLAUSE(D61, !heap->front_able, !on);
    CLAUSE(D61,
           !heap->front_set && !heap->filtered && heap->block_peak < START_COUNT &&
               heap->block_total < START_TOTAL,
           !on);
    if (heap->front_able && heap->block_count >= START_COUNT) {
        const bool due = most_alike(judge, heap) >= START_COUNT && !heap->refused_ever;
        CLAUSE(LFH_05, due, on);
        CLAUSE(D61, due, on);
    }
}

static void rules_query(struct rig_judge *judge, const struct rig_step *step)
{
    const struct refusal due = query_due(step);
    const bool fine = due.status == STATUS_SUCCESS;
    const bool ok = rig_succeeded(step);
    const bool told = step->length_null || step->info_length == VALUE_BYTES;
    const bool odd = step->info_null; /* of a buffer that is none no document speaks */
    CLAUSE(HQUERY_02, step->win32 && due.status == STATUS_BUFFER_TOO_SMALL, !ok && told);
    CLAUSE(HQUERY_03, step->win32 && fine, ok && told);
    CLAUSE(HQUERY_04, step->win32 && fine, ok);
    CLAUSE(HQUERY_04, step->win32 && due.status == STATUS_BUFFER_TOO_SMALL,
           refused(step) && rig_error_set(step));
    CLAUSE(HQUERY_06, step->win32 && step->info_class != COMPATIBILITY, !step->outcome.raised);
    CLAUSE(HQUERY_09, step->win32 && step->handle_null && step->info_class == COMPATIBILITY && !odd,
           step->outcome.value == 0);
    CLAUSE(LASTERR_03, step->win32 && !ok && !step->outcome.raised && !odd, rig_error_set(step));
    CLAUSE(RINFO_01, !step->win32 && !odd && step->info_class == COMPATIBILITY,
           fine ? ok : refused(step));
    CLAUSE(D64, true, ended_as(step, due));
    CLAUSE(D64, !fine && due.status != STATUS_BUFFER_TOO_SMALL,
           step->info_untouched && step->info_length == RIG_POISON);
    if (ok && fine) {
        rules_front(judge, step);
    }
}

/* ---- Setting -------------------------------------------------------------------------------- */

static struct refusal set_front_due(const struct rig_step *step)
{
    if (step->info_value < 2) {
        return unsuccessful;
    }
    return step->info_value == 2 && step->heap_before.front_able ? none : parameter;
}

/* The first fault decides (D63, D65 to D67). */
static struct refusal set_due(const struct rig_step *step)
{
    const size_t due_bytes = step->info_class == OPTIMIZE ? OPTIMIZE_BYTES : VALUE_BYTES;
    if (step->info_class == TERMINATION) {
        return step->info_null && step->info_bytes == 0 ? none : parameter;
    }
    if (step->info_class != COMPATIBILITY && step->info_class != OPTIMIZE) {
        return parameter;
    }
    if (step->handle_null && step->info_class == COMPATIBILITY) {
        return handle;
    }
    if (step->info_bytes != due_bytes) {
        return wrong_bytes;
    }
    if (step->info_null) {
        return no_access;
    }
    if (step->info_class == OPTIMIZE) {
        return step->info_value == 1 ? none : parameter;
    }
    return set_front_due(step);
}

static bool no_more_committed(const struct rig_step *step)
{
    return !step->held_known ||
           step->held_after.committed_bytes <= step->held_before.committed_bytes;
}

static void rules_set_front(struct rig_judge *judge, const struct rig_step *step, bool proper)
{
    const struct rig_heap *heap = &step->heap_before;
    const bool ok = rig_succeeded(step);
    const bool asked = proper && step->info_value == 2;
    CLAUSE(HSET_02, step->win32 && asked && heap->front_able, ok);
    CLAUSE(HSET_03, step->win32 && proper && step->info_value < 2 && heap->front_on, refused(step));
    CLAUSE(HSET_04, step->win32 && asked && !heap->front_able, refused(step));
    CLAUSE(LFH_03, asked && !heap->front_able, refused(step));
    CLAUSE(HCREATE_07, asked && heap->win32 && !rig_serialized(heap), refused(step));
    CLAUSE(HSET_13, step->win32 && step->info_bytes != VALUE_BYTES, refused(step));
    CLAUSE(D63, proper, ended_as(step, set_front_due(step)));
}

static void rules_set_rest(struct rig_judge *judge, const struct rig_step *step, bool fine)
{
    const bool ok = rig_succeeded(step);
    const bool optimize = step->info_class == OPTIMIZE;
    const bool termination = step->info_class == TERMINATION;
    CLAUSE(HSET_08, step->win32 && termination && fine, ok);
    CLAUSE(HSET_10, step->win32 && optimize && fine && step->handle_null,
           ok && no_more_committed(step));
    CLAUSE(HSET_11, step->win32 && optimize && fine && !step->handle_null,
           ok && no_more_committed(step));
    CLAUSE(HSET_12,
           step->win32 && optimize && step->info_bytes == OPTIMIZE_BYTES && !step->info_null &&
               step->info_value != 1,
           refused(step));
    CLAUSE(HSET_17, step->win32 && fine && step->handle_null, ok);
    CLAUSE(HIC_01, fine, ok);
    CLAUSE(D66, termination, ended_as(step, fine ? none : parameter));
    CLAUSE(D67, optimize && fine, ended_as(step, none) && no_more_committed(step));
    CLAUSE(D67,
           optimize && step->info_bytes == OPTIMIZE_BYTES && !step->info_null &&
               step->info_value != 1,
           ended_as(step, parameter));
}

static void rules_set(struct rig_judge *judge, const struct rig_step *step)
{
    const struct refusal due = set_due(step);
    const bool fine = due.status == STATUS_SUCCESS;
    const bool known = step->info_class == COMPATIBILITY || step->info_class == TERMINATION ||
                       step->info_class == OPTIMIZE;
    const bool ok = rig_succeeded(step);
    const bool odd = step->info_null != (step->info_class == TERMINATION);
    const bool wrong_length = due.status == STATUS_INFO_LENGTH_MISMATCH;
    CLAUSE(HSET_01, step->win32 && (fine || !odd),
           fine ? ok : refused(step) && rig_error_set(step));
    CLAUSE(HSET_15, step->win32 && (!known || wrong_length), refused(step) && rig_error_set(step));
    CLAUSE(LASTERR_03, step->win32 && !ok && !step->outcome.raised && !odd, rig_error_set(step));
    CLAUSE(LASTERR_04, step->win32 && ok,
           rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
    CLAUSE(LASTERR_07, step->win32 && !ok && rig_error_set(step),
           (step->outcome.error_after & 0x20000000u) == 0);
    CLAUSE(RINFO_01, !step->win32 && known && !odd, fine ? ok : refused(step));
    CLAUSE(D65, !known || wrong_length || odd || (step->handle_null && !fine), ended_as(step, due));
    if (step->info_class == COMPATIBILITY) {
        const bool proper =
            !step->handle_null && !step->info_null && step->info_bytes == VALUE_BYTES;
        rules_set_front(judge, step, proper);
    } else if (known) {
        rules_set_rest(judge, step, fine);
    }
}

void rig_rules_information(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->op == RIG_OP_QUERY) {
        rules_query(judge, step);
    } else {
        rules_set(judge, step);
    }
}
