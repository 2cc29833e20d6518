/* SPDX-License-Identifier: MIT
 *
 * Rules on the process: its heaps, statuses, the last error. */
#include "heaps.h"

/* ---- The process heap ----------------------------------------------------------------------- */

static void rules_process_heap(struct rig_judge *judge, const struct rig_step *step)
{
    const HANDLE known = judge->shadow->heaps[0].handle;
    const HANDLE heap = (HANDLE)step->outcome.value;
    const bool failed = heap == NULL;
    CLAUSE(GPH_01, true, !step->outcome.raised && (!failed || rig_shortage_believed(step)));
    CLAUSE(GPH_02, failed, !step->outcome.raised && rig_error_set(step));
    CLAUSE(GPH_03, known != NULL, heap == known);
    CLAUSE(LASTERR_03, failed && !step->outcome.raised, rig_error_set(step));
    CLAUSE(LASTERR_04, !failed, rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
    CLAUSE(LASTERR_07, failed && rig_error_set(step),
           (step->outcome.error_after & 0x20000000u) == 0);
    CLAUSE(D55, failed, step->outcome.error_after == ERROR_NOT_ENOUGH_MEMORY);
}

/* ---- Listings ------------------------------------------------------------------------------- */

/* The heap that has to stand at that place of a listing: process heap first, the others as they
 * were made. */
static const struct rig_heap *heap_at(const struct rig_shadow *shadow, unsigned place)
{
    const struct rig_heap *last = &shadow->heaps[0];
    for (unsigned count = 0; last != NULL && count < place; count++) {
        const struct rig_heap *next = NULL;
        for (unsigned idx = 1; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
            const struct rig_heap *heap = &shadow->heaps[idx];
            const bool later = heap->live && (last->idx == 0 || heap->created > last->created);
            if (later && (next == NULL || heap->created < next->created)) {
                next = heap;
            }
        }
        last = next;
    }
    return last;
}

static bool is_live(const struct rig_shadow *shadow, HANDLE handle)
{
    for (unsigned idx = 0; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        if (shadow->heaps[idx].live && shadow->heaps[idx].handle == handle) {
            return true;
        }
    }
    return false;
}

struct listing {
    unsigned heap_count; /* in the model; 0: the process heap could not be made */
    unsigned stored;     /* entries that have to be filled */
    bool all_live;       /* they name heaps, each another */
    bool in_order;
    bool process_first;
    bool newest_last;
    bool rest_untouched;
};

static struct listing listing_of(const struct rig_judge *judge, const struct rig_step *step,
                                 unsigned room)
{
    const struct rig_shadow *shadow = judge->shadow;
    const bool made = shadow->heaps[0].handle != NULL;
    const unsigned heap_count = made ? rig_shadow_heap_count(shadow) : 0;
    struct listing listing = {
        .heap_count = heap_count,
        .stored = heap_count < room ? heap_count : room,
        .all_live = true,
        .in_order = true,
        .rest_untouched = true,
    };
    for (unsigned idx = 0; idx < RIG_LIST_MAX; idx++) {
        const HANDLE handle = step->list[idx];
        if (idx >= listing.stored) {
            listing.rest_untouched =
                listing.rest_untouched && handle == (HANDLE)(uintptr_t)RIG_POISON;
            continue;
        }
        listing.all_live = listing.all_live && is_live(shadow, handle);
        for (unsigned other = 0; other < idx; other++) {
            listing.all_live = listing.all_live && step->list[other] != handle;
        }
        const struct rig_heap *heap = heap_at(shadow, idx);
        listing.in_order = listing.in_order && heap != NULL && heap->handle == handle;
    }
    listing.process_first = listing.stored == 0 || step->list[0] == shadow->heaps[0].handle;
    const struct rig_heap *newest = heap_count == 0 ? NULL : heap_at(shadow, listing.stored - 1);
    listing.newest_last =
        listing.stored == 0 || (newest != NULL && step->list[listing.stored - 1] == newest->handle);
    return listing;
}

/* The process heap, with which a listing begins, was refused to it. */
static bool refused(const struct rig_step *step)
{
    return rig_refused(step) && !step->outcome.raised && step->outcome.value == 0;
}

static void rules_list_win32(struct rig_judge *judge, const struct rig_step *step,
                             const struct listing *listing)
{
    const size_t count = step->outcome.value;
    CLAUSE(GPHS_04, count == 0, !step->outcome.raised && rig_error_set(step));
    CLAUSE(LASTERR_03, count == 0 && !step->outcome.raised, rig_error_set(step));
    CLAUSE(D55, count == 0, step->outcome.error_after == ERROR_NOT_ENOUGH_MEMORY);
    if (refused(step)) {
        return;
    }
    const bool told = !step->outcome.raised && count == listing->heap_count;
    const bool fits = listing->heap_count <= step->list_room;
    CLAUSE(GPHS_01, true, told);
    CLAUSE(GPHS_02, count > 0 && fits, listing->all_live);
    CLAUSE(GPHS_03, count > 0 && !fits, listing->all_live && listing->rest_untouched && told);
    CLAUSE(GPHS_05, listing->heap_count > 1 && fits, told && listing->all_live);
    CLAUSE(GPHS_06, step->list_room == 0 && listing->heap_count > 0, told);
    CLAUSE(HDESTROY_07, step->gone_count > 0 && step->list_room > 0, told && listing->all_live);
    CLAUSE(HCREATE_30, listing->heap_count > 1 && fits, told && listing->all_live);
    CLAUSE(HFUNC_01, listing->stored > 0, listing->all_live && count > 0);
    CLAUSE(LASTERR_04, count > 0,
           rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
}

static void rules_list(struct rig_judge *judge, const struct rig_step *step)
{
    const struct listing listing = listing_of(judge, step, step->list_room);
    if (step->win32) {
        rules_list_win32(judge, step, &listing);
    }
    const bool none = refused(step);
    CLAUSE(RGPHS_01, !step->win32 && listing.heap_count > step->list_room && !none,
           step->outcome.value == listing.heap_count && listing.process_first && listing.all_live &&
               listing.rest_untouched);
    CLAUSE(D55, listing.heap_count > 0 && !none,
           step->outcome.value == listing.heap_count && listing.in_order &&
               listing.rest_untouched && rig_error_untouched(step));
}

static void rules_enum(struct rig_judge *judge, const struct rig_step *step)
{
    const struct listing whole = listing_of(judge, step, RIG_LIST_MAX);
    const bool stops = step->list_stop != 0 && step->list_stop <= whole.heap_count;
    const unsigned due = stops ? step->list_stop : whole.heap_count;
    const struct listing listing = listing_of(judge, step, due);
    const uint32_t status = stops ? step->list_status : STATUS_SUCCESS;
    /* Listing begins with the process heap, which is made when it is first asked for. */
    const bool none = rig_refused(step) && step->list_calls == 0;
    CLAUSE(D36, none, (NTSTATUS)step->outcome.value == (NTSTATUS)STATUS_NO_MEMORY);
    CLAUSE(RENUM_01, due > 0 && !none,
           step->list_calls == due && step->list_parameter_kept && listing.all_live &&
               step->outcome.value == status);
    CLAUSE(D56, due > 0 && !none,
           step->list_calls == due && listing.in_order && step->outcome.value == status &&
               rig_error_untouched(step));
}

/* ---- Statuses and the last error ------------------------------------------------------------ */

static DWORD documented_error(uint32_t status)
{
    switch (status) {
    case STATUS_SUCCESS:
        return NO_ERROR;
    case STATUS_NO_MEMORY:
        return ERROR_NOT_ENOUGH_MEMORY;
    case STATUS_ACCESS_VIOLATION:
        return ERROR_NOACCESS;
    case STATUS_BUFFER_TOO_SMALL:
        return ERROR_INSUFFICIENT_BUFFER;
    case STATUS_INVALID_PARAMETER:
        return ERROR_INVALID_PARAMETER;
    case STATUS_INVALID_HANDLE:
        return ERROR_INVALID_HANDLE;
    case STATUS_INFO_LENGTH_MISMATCH:
        return ERROR_BAD_LENGTH;
    default:
        return ERROR_MR_MID_NOT_FOUND; /* or a code that no heap page names */
    }
}

static void rules_error(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_DOS_ERROR: {
        const DWORD due = documented_error(step->code);
        CLAUSE(LASTERR_08, due != ERROR_MR_MID_NOT_FOUND, step->outcome.value == due);
        break;
    }
    case RIG_OP_SET_LAST_ERROR:
        CLAUSE(LASTERR_05, true, step->outcome.value == step->code);
        break;
    case RIG_OP_GET_LAST_ERROR:
        CLAUSE(LASTERR_05, true, step->outcome.value == step->outcome.error_before);
        break;
    default:
        break;
    }
}

void rig_rules_process(struct rig_judge *judge, const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_PROCESS_HEAP:
        rules_process_heap(judge, step);
        break;
    case RIG_OP_PROCESS_HEAPS:
        rules_list(judge, step);
        break;
    case RIG_OP_ENUM_HEAPS:
        rules_enum(judge, step);
        break;
    case RIG_OP_DOS_ERROR:
    case RIG_OP_SET_LAST_ERROR:
    case RIG_OP_GET_LAST_ERROR:
        rules_error(judge, step);
        break;
    default:
        break;
    }
}
