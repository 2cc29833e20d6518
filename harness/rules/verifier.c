/* SPDX-License-Identifier: MIT
 *
 * Rules for programs that run under a verifier. What must be told is worked out in run/watch.c and
 * run/do_verify.c; here it is compared with what was told, clause by clause. */
#include "verifier.h"

#include "facts.h"

#include "../model/watch.h"

#include <string.h>

#define STOP_SEVERITY 0x3Fu
#define STOP_LEAK 0x900u

/* ---- What was told -------------------------------------------------------------------------- */

static bool is_as_expected(const struct rig_expected *expected, const struct rig_stop *told)
{
    bool same = told->code == expected->code;
    for (unsigned idx = 0; idx < 4; idx++) {
        same = same && ((expected->loose >> idx & 1u) != 0 ||
                        told->parameter[idx] == expected->parameter[idx]);
    }
    if (expected->module != 0) {
        const char *name = rig_module_name(expected->module);
        same = same && strcmp(told->module, name) == 0;
    }
    return same && (!expected->allocated || told->allocated) && (!expected->freed || told->freed);
}

/* Told in this order, some of them left out where that may be. */
static bool are_told(const struct rig_watched *watched, bool all)
{
    unsigned next = 0;
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        while (!all && next < watched->expected_count &&
               !is_as_expected(&watched->expected[next], &watched->told[idx])) {
            next++;
        }
        if (next == watched->expected_count ||
            !is_as_expected(&watched->expected[next], &watched->told[idx])) {
            return false;
        }
        next++;
    }
    return !all || next == watched->expected_count;
}

static bool one_is_told(const struct rig_watched *watched)
{
    if (watched->told_count == 0) {
        return watched->silent_count > 0 || watched->watch->set.once ||
               watched->expected_count == 0;
    }
    for (unsigned idx = 0; idx < watched->expected_count; idx++) {
        if (is_as_expected(&watched->expected[idx], &watched->told[0])) {
            return watched->told_count == 1;
        }
    }
    return false;
}

/* Exactly what had to be. */
static bool told(const struct rig_watched *watched)
{
    switch (watched->match) {
    case RIG_MATCH_ONE:
        return one_is_told(watched);
    case RIG_MATCH_SOME:
        return are_told(watched, false);
    default:
        return are_told(watched, true);
    }
}

static bool expects(const struct rig_watched *watched, unsigned code)
{
    for (unsigned idx = 0; idx < watched->expected_count; idx++) {
        if (watched->expected[idx].code == code) {
            return true;
        }
    }
    return false;
}

/* It was told for certain, with all that is known of it. */
static bool sure(const struct rig_watched *watched)
{
    return watched->match == RIG_MATCH_ALL && watched->expected_count > 0 && !watched->fatal;
}

static bool severe(const struct rig_watched *watched)
{
    bool error = true;
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        error = error && watched->told[idx].severity == STOP_SEVERITY;
    }
    return error;
}

/* Each stop says where it was noticed; at an unload nobody called the heap, and without memory for a note
 * of it no stack is kept. */
static bool traced(const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    bool all = true;
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        all = all && (watched->told[idx].noticed || watched->told[idx].allocated);
    }
    return all || step->outcome.refusals > 0;
}

static bool leaks_told(const struct rig_watched *watched)
{
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        if (watched->told[idx].code == STOP_LEAK) {
            return true;
        }
    }
    return false;
}

/* Address, stack, name and base are those of the block and of its module. */
static bool leaks_right(const struct rig_watched *watched)
{
    bool right = told(watched);
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        const struct rig_stop *stop = &watched->told[idx];
        right = right && stop->stack_second &&
                strcmp(stop->owner, rig_module_name(watched->module)) == 0;
    }
    return right;
}

static bool has(const struct rig_watched *watched, unsigned layer)
{
    return (watched->watch->set.layers & layer) != 0;
}

static bool flagged(const struct rig_watched *watched, unsigned flag)
{
    return (watched->watch->set.flags & flag) != 0;
}

static bool is_row(const struct rig_step *step, enum rig_verify_row row)
{
    return step->op == RIG_OP_VERIFY && step->watched->row == row;
}

static bool between(const struct rig_step *step, enum rig_verify_row first,
                    enum rig_verify_row last)
{
    return step->op == RIG_OP_VERIFY && step->watched->row >= first && step->watched->row <= last;
}

/* ---- Modules, leaks, disowning --------------------------------------------------------------- */

static void rules_unload(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool leak = has(watched, RIG_VERIFY_LEAK);
    const bool leaks = leak && watched->owned > 0 && sure(watched);
    CLAUSE(D90, true, (watched->status == STATUS_SUCCESS) == !watched->refuses);
    if (watched->refuses) {
        return;
    }
    CLAUSE(AVLEAK_01, leaks, leaks_right(watched));
    CLAUSE(AVLEAK_03, leak && watched->owned == 0, watched->told_count == 0);
    CLAUSE(AVLEAK_04, leak && watched->was.freed_by_other > 0, told(watched));
    CLAUSE(AVLEAK_05, leaks && watched->expected_count > 1,
           watched->told_count == watched->expected_count && told(watched));
    CLAUSE(AVLEAK_07, leaks && watched->shielded > 0, told(watched));
    CLAUSE(AVLEAK_08, leak && watched->was.gone_with_heap > 0, told(watched));
    CLAUSE(AVLEAK_09, leaks && watched->moved > 0, leaks_right(watched));
    CLAUSE(DISOWN_02, leak && watched->shielded > 0, told(watched));
    CLAUSE(DISOWN_03, leaks, leaks_told(watched));
    CLAUSE(DISOWN_08, leak && watched->shielded > 0 && watched->owned == 0,
           watched->told_count == 0);
    CLAUSE(DISOWN_15, leaks && watched->again > 0, told(watched));
    CLAUSE(DISOWN_12, !leak, watched->told_count == 0);
    CLAUSE(D91, leaks && watched->of_others > 0, leaks_right(watched));
    CLAUSE(D92, leaks, leaks_right(watched));
    CLAUSE(D93, leak && watched->shielded > 0, told(watched));
    CLAUSE(D95, leaks, leaks_right(watched));
    CLAUSE(D104, leaks && watched->was.moved_by_other > 0 && watched->moved > 0,
           leaks_right(watched));
}

static void rules_stretches(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    CLAUSE(D90, is_row(step, RIG_ROW_STRETCHES),
           watched->wrong == 0 && (!watched->cut || step->outcome.refusals > 0) &&
               watched->after.unloads - watched->before.unloads == watched->turns);
}

static void rules_disown(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool leak = has(watched, RIG_VERIFY_LEAK);
    const uint64_t more = watched->after.disowned - watched->before.disowned;
    const bool fresh = step->op == RIG_OP_DISOWN && !step->block_before.shielded;
    CLAUSE(DISOWN_01, leak && fresh, more == 1);
    CLAUSE(DISOWN_09, leak && fresh, more == 1);
    CLAUSE(DISOWN_12, !leak, more == 0 && watched->told_count == 0);
    CLAUSE(D93, !fresh, more == 0 && step->outcome.value == STATUS_SUCCESS + (step->op == RIG_OP_VERIFY));
}

/* Whatever is called while modules are there. */
static void rules_any_leak(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    unsigned loaded = 0;
    for (unsigned module = 1; module <= RIG_MODULE_COUNT; module++) {
        loaded += watched->watch->modules[module].loaded;
    }
    CLAUSE(AVLEAK_02, has(watched, RIG_VERIFY_LEAK) && loaded > 0 && !is_row(step, RIG_ROW_UNLOAD),
           !leaks_told(watched));
    CLAUSE(AVLEAK_06, is_row(step, RIG_ROW_EXIT), watched->told_count == 0);
}

static void rules_look(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool all = watched->wrong == 0 && watched->found == watched->blocks;
    CLAUSE(AVRF_19, has(watched, RIG_VERIFY_LEAK), all);
    CLAUSE(AVRF_20, watched->watch->tracks, all);
    CLAUSE(PHEAP_19, watched->watch->marks, all);
    CLAUSE(D91, watched->watch->tracks, all);
    CLAUSE(D104, watched->watch->tracks, all && watched->kept_count_right);
}

/* ---- Stops ----------------------------------------------------------------------------------- */

/* One clause a stop: parameters, order, and nothing besides. */
static void rules_by_code(struct rig_judge *judge, const struct rig_watched *watched)
{
    const bool known = sure(watched);
    CLAUSE(AVHEAP_03, known && expects(watched, 0x3), told(watched));
    CLAUSE(AVHEAP_04, known && expects(watched, 0x4), told(watched));
    CLAUSE(AVHEAP_05, known && expects(watched, 0x5), told(watched));
    CLAUSE(AVHEAP_06, known && expects(watched, 0x6), told(watched));
    CLAUSE(AVHEAP_07, known && expects(watched, 0x7), told(watched));
    CLAUSE(AVHEAP_08, known && expects(watched, 0x8), told(watched));
    CLAUSE(AVHEAP_09, known && expects(watched, 0x9), told(watched));
    CLAUSE(AVHEAP_10, known && expects(watched, 0xA), told(watched));
    CLAUSE(AVHEAP_11, known && expects(watched, 0xB), told(watched));
    CLAUSE(AVHEAP_12, known && expects(watched, 0xC), told(watched));
    CLAUSE(AVHEAP_13, known && expects(watched, 0xD), told(watched));
    CLAUSE(AVHEAP_14, known && expects(watched, 0xE), told(watched));
    CLAUSE(AVHEAP_15, known && expects(watched, 0xF), told(watched));
    CLAUSE(AVHEAP_16, known && expects(watched, 0x10), told(watched));
    CLAUSE(AVHEAP_17, known && expects(watched, 0x11), told(watched));
    CLAUSE(AVHEAP_18, known && expects(watched, 0x12), told(watched));
    CLAUSE(AVHEAP_19, known && expects(watched, 0x13), told(watched));
    CLAUSE(AVHEAP_22, known && (expects(watched, 0xF) || expects(watched, 0xB)), told(watched));
    CLAUSE(AVLOCK_01, known && expects(watched, 0x202), told(watched));
    CLAUSE(AVLOCK_02, known && expects(watched, 0x201), told(watched));
    CLAUSE(AVLOCK_04, known && expects(watched, 0x200), told(watched));
    CLAUSE(AVLOCK_05, known && (expects(watched, 0x209) || expects(watched, 0x214)), told(watched));
    CLAUSE(AVLOCK_06,
           known && (expects(watched, 0x203) || expects(watched, 0x205) ||
                     expects(watched, 0x206) || expects(watched, 0x207) ||
                     expects(watched, 0x210) || expects(watched, 0x211)),
           told(watched));
    CLAUSE(D98, known && watched->expected[0].code >= 0x200 && watched->expected[0].code < 0x300, told(watched));
    CLAUSE(PHEAP_12, known && expects(watched, 0x3), told(watched));
    CLAUSE(AVMEM_01, known && expects(watched, 0x612), told(watched));
    CLAUSE(AVMEM_02, known && expects(watched, 0x618), told(watched));
    CLAUSE(AVMEM_03, known && expects(watched, 0x1D), told(watched));
    CLAUSE(AVMEM_04, known && expects(watched, 0x650), told(watched));
}

static bool is_heaps(const struct rig_watched *watched)
{
    return watched->told_count > 0 && strcmp(watched->told[0].layer, "Heaps") == 0;
}

/* Scarce resources refused it, before anybody looked at what it was asked for. */
static bool starved(const struct rig_watched *watched)
{
    return watched->after.refused > watched->before.refused;
}

/* Only a reallocation raises, and only in a heap that was made so. */
static bool raises_in_form(const struct rig_step *step)
{
    const bool may = is_row(step, RIG_ROW_HELD_REALLOC) || is_row(step, RIG_ROW_SWITCHED_REALLOC) ||
                     is_row(step, RIG_ROW_INNER_REALLOC) ||
                     is_row(step, RIG_ROW_FOREIGN_REALLOC) || is_row(step, RIG_ROW_LOST_REALLOC);
    const NTSTATUS code = starved(step->watched) ? STATUS_NO_MEMORY : STATUS_ACCESS_VIOLATION;
    return !step->outcome.raised || (may && rig_raised(step, code));
}

static void rules_stops(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const struct rig_verify *set = &watched->watch->set;
    const bool known = sure(watched);
    const bool fails = known && watched->refuses && step->op != RIG_OP_VERIFY;
    rules_by_code(judge, watched);
    CLAUSE(AVRF_03, known && has(watched, RIG_VERIFY_LEAK) && has(watched, RIG_VERIFY_HEAPS),
           told(watched));
    CLAUSE(AVRF_04, known, told(watched) && severe(watched) && traced(step));
    CLAUSE(AVRF_05, watched->silent_count > 0 && watched->expected_count == 0,
           watched->told_count == 0);
    CLAUSE(AVRF_06, known, severe(watched));
    CLAUSE(AVRF_07, watched->silent_count > 0, told(watched));
    CLAUSE(AVRF_10, known && !set->exceptions && between(step, RIG_ROW_HELD_FREE, RIG_ROW_STACK_FREE),
           raises_in_form(step));
    CLAUSE(AVRF_11, known && set->exceptions && !watched->violated,
           watched->exceptions == watched->told_count && watched->exceptions_wrong == 0);
    CLAUSE(AVRF_15, watched->expected_count == 0 && watched->silent_count == 0,
           watched->told_count == 0);
    CLAUSE(AVHEAP_21, known && is_heaps(watched), severe(watched) && traced(step));
    CLAUSE(GFLAG_08, known && watched->expected[0].allocated, told(watched));
    CLAUSE(D94, true, told(watched));
    CLAUSE(D96, fails && expects(watched, 0x4), told(watched));
    /* Damage is told whenever its block is looked at. */
    CLAUSE(AVHEAP_24, known && step->op == RIG_OP_FREE && watched->watch->marks, told(watched));
    CLAUSE(D97, known && step->op == RIG_OP_FREE && watched->watch->marks, told(watched));
    CLAUSE(DISOWN_13,
           known && watched->watch->marks && has(watched, RIG_VERIFY_LEAK) && step->block != NULL &&
               step->block_before.shielded,
           told(watched));
}

/* What the verifier refuses fails as it would otherwise, and changes nothing. */
static void rules_refused(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool misuse = between(step, RIG_ROW_HELD_FREE, RIG_ROW_STACK_FREE);
    const bool failed = step->outcome.value == 0 && raises_in_form(step);
    CLAUSE(D96, misuse && watched->refuses && watched->watch->marks, failed);
    CLAUSE(D101, between(step, RIG_ROW_HELD_FREE, RIG_ROW_HELD_SIZE) && !watched->watch->marks,
           failed && watched->told_count == 0);
    /* Without marks it is the heap itself that refuses what starts no block, and reports it; scarce
     * resources come before it. */
    CLAUSE(D94,
           between(step, RIG_ROW_INNER_FREE, RIG_ROW_FOREIGN_REALLOC) && !watched->watch->marks,
           failed && watched->told_count == 0 &&
               (flagged(watched, RIG_VERIFY_HVC) || step->outcome.reports == (starved(watched) ? 0u : 1u)));
    CLAUSE(AVHEAP_23, is_row(step, RIG_ROW_INNER_FREE) && sure(watched), failed && told(watched));
    CLAUSE(D99, misuse && watched->refuses && has(watched, RIG_VERIFY_MEMORY), failed);
    if (step->op != RIG_OP_VERIFY && watched->refuses) {
        const bool sized = step->op == RIG_OP_SIZE;
        CLAUSE(D96, watched->watch->marks,
               sized ? step->outcome.value == SIZE_MAX : step->outcome.value == 0);
        CLAUSE(GFLAG_03, flagged(watched, RIG_VERIFY_HPC) && !flagged(watched, RIG_VERIFY_HVC),
               sized ? step->outcome.value == SIZE_MAX : step->outcome.value == 0);
        CLAUSE(GFLAG_04, flagged(watched, RIG_VERIFY_HVC),
               sized ? step->outcome.value == SIZE_MAX : step->outcome.value == 0);
        CLAUSE(D101, watched->watch->set.flags != 0,
               sized ? step->outcome.value == SIZE_MAX : step->outcome.value == 0);
    }
    if (step->op == RIG_OP_FREE && !watched->refuses) {
        CLAUSE(D97, watched->odd, step->outcome.value != 0);
    }
}

static void rules_settings(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    CLAUSE(AVRF_01, is_row(step, RIG_ROW_START), step->outcome.value == 0);
    CLAUSE(PHEAP_05, is_row(step, RIG_ROW_START) && watched->watch->marks,
           step->outcome.value == 0);
    CLAUSE(D89, is_row(step, RIG_ROW_START),
           step->outcome.value == 0 && watched->flags_told == watched->flags_due);
    CLAUSE(GFLAG_05, is_row(step, RIG_ROW_COALESCE) && flagged(watched, RIG_VERIFY_DHC), watched->turns == 2);
    CLAUSE(D101, is_row(step, RIG_ROW_COALESCE), watched->turns == (flagged(watched, RIG_VERIFY_DHC) ? 2u : 1u));
    CLAUSE(AVRF_08, between(step, RIG_ROW_STOP_OFF, RIG_ROW_STOP_FATAL),
           (watched->status == STATUS_SUCCESS) == !watched->refuses);
    CLAUSE(AVRF_12, is_row(step, RIG_ROW_THRICE) && watched->watch->set.once,
           watched->told_count <= 1 && told(watched));
    CLAUSE(AVRF_14, is_row(step, RIG_ROW_LOG) && watched->watch->tracks,
           watched->wrong == 0 && watched->found == 1);
}

/* ---- Marks ----------------------------------------------------------------------------------- */

static void rules_marks(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const struct rig_verify *set = &watched->watch->set;
    const bool marked = watched->seen && watched->watch->marks;
    const bool light = marked && !watched->full;
    const bool full = marked && watched->full;
    const bool made = step->op == RIG_OP_ALLOC;
    const bool zeroed = (step->flags & HEAP_ZERO_MEMORY) != 0;
    CLAUSE(PHEAP_02, light, watched->behind_right);
    CLAUSE(PHEAP_13, watched->fill_seen && !zeroed, watched->fill_right);
    CLAUSE(PHEAP_17, watched->fill_seen && zeroed, watched->fill_right);
    CLAUSE(PHEAP_15, marked, watched->behind_right);
    CLAUSE(PHEAP_16, marked, watched->stamps_right);
    CLAUSE(PHEAP_14, watched->freed_seen && watched->watch->marks, watched->freed_right);
    CLAUSE(GFLAG_02, watched->freed_seen && !watched->watch->marks, watched->freed_right);
    CLAUSE(GFLAG_01, watched->seen && !marked, watched->behind_right);
    CLAUSE(PHEAP_01, full && made && !set->backwards && !set->unaligned, watched->gap_right);
    CLAUSE(PHEAP_07, full && made && set->backwards, watched->gap_right);
    CLAUSE(PHEAP_08, full && made && set->unaligned && !set->backwards, watched->gap_right);
    CLAUSE(PHEAP_06, marked && watched->full_known && flagged(watched, RIG_VERIFY_HPA),
           watched->full == watched->full_due);
    CLAUSE(GFLAG_06, marked && watched->full_known && flagged(watched, RIG_VERIFY_HPA),
           watched->full == watched->full_due);
    CLAUSE(PHEAP_09, marked && watched->full_known && set->selector == RIG_VERIFY_RANDOM,
           watched->full == watched->full_due);
    CLAUSE(PHEAP_10,
           marked && watched->full_known &&
               (set->selector == RIG_VERIFY_SIZE || set->selector == RIG_VERIFY_DLLS ||
                set->selector == RIG_VERIFY_ADDRESS),
           watched->full == watched->full_due);
    CLAUSE(PHEAP_21, marked && set->leaks && set->asked_full, !watched->full);
    CLAUSE(D97, light, watched->behind_right && watched->stamps_right);
    CLAUSE(D100, marked && watched->full_known, watched->full == watched->full_due);
    CLAUSE(D100, full && made, watched->gap_right);
    CLAUSE(D101, watched->seen && !marked, watched->behind_right);
    CLAUSE(D102, marked && set->leaks, !watched->full);
    CLAUSE(PHEAP_04,
           made && watched->full_known && watched->full_due && step->outcome.refusals > 0 &&
               !has(watched, RIG_VERIFY_LOWRES),
           rig_failed(step) && rig_failed_in_form(step));
}

static void rules_pages(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool guard = is_row(step, RIG_ROW_GUARD);
    const bool touch = is_row(step, RIG_ROW_TOUCH);
    const bool right = watched->violated && told(watched);
    CLAUSE(AVRF_13, guard || touch, watched->violated);
    CLAUSE(PHEAP_01, guard && !watched->watch->set.backwards, right);
    CLAUSE(PHEAP_07, guard && watched->watch->set.backwards, right);
    CLAUSE(PHEAP_18, touch, right);
    CLAUSE(PHEAP_23, guard && !watched->watch->set.backwards && step->block_before.size_bytes == 256,
           right);
    CLAUSE(D100, guard || touch, right);
}

static void rules_light(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const bool freed = step->op == RIG_OP_FREE && sure(watched) && expects(watched, 0xF);
    CLAUSE(PHEAP_03, freed && watched->watch->marks, told(watched));
    CLAUSE(PHEAP_23, freed && step->block_before.size_bytes == 256, told(watched));
    CLAUSE(GFLAG_01, freed && !watched->watch->marks, told(watched));
    CLAUSE(D101, freed && !watched->watch->marks, told(watched));
}

/* ---- Low resources ---------------------------------------------------------------------------- */

static bool allocates(const struct rig_step *step)
{
    return step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC;
}

/* As many as that, give or take six standard errors. */
static bool rate_right(const struct rig_watched *watched)
{
    const uint64_t ppm = watched->spared ? 0 : watched->watch->ppm;
    const uint64_t mean = RIG_RATE_CALLS * ppm / 1000000u;
    const uint64_t off = watched->turns > mean ? watched->turns - mean : mean - watched->turns;
    return off * off <= 36u * mean * (1000000u - ppm) / 1000000u;
}

static void rules_lowres(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    const struct rig_watch *watch = watched->watch;
    const struct rig_verify *set = &watch->set;
    const uint64_t refused = watched->after.refused - watched->before.refused;
    const bool quiet = watch->clock_ms < watch->quiet_until_ms;
    const bool never = allocates(step) && watched->spared;
    const bool always = allocates(step) && watched->starves && !step->heap_before.lock_depth;
    const bool failed = rig_failed(step);
    const bool other = step->op == RIG_OP_FREE || step->op == RIG_OP_SIZE ||
                       step->op == RIG_OP_VALIDATE || step->op == RIG_OP_VALIDATE_BLOCK;
    CLAUSE(LOWRES_01, refused > 0, told(watched));
    CLAUSE(LOWRES_02, always, failed);
    CLAUSE(LOWRES_03, step->op == RIG_OP_CREATE, refused == 0);
    CLAUSE(LOWRES_05, always || (never && watch->ppm == 0), (refused > 0) == !never);
    CLAUSE(LOWRES_06, never && quiet, refused == 0);
    CLAUSE(LOWRES_08, set->by_rate && step->op == RIG_OP_CREATE, refused == 0);
    CLAUSE(LOWRES_09, never && (set->included != 0 || set->excluded != 0) && !quiet && watch->ppm > 0,
           refused == 0);
    CLAUSE(LOWRES_10, refused > 0, !leaks_told(watched) && told(watched));
    CLAUSE(LOWRES_12, allocates(step) && refused > 0, failed && rig_failed_in_form(step));
    CLAUSE(LOWRES_13, other, refused == 0);
    CLAUSE(LOWRES_14, always && set->by_rate, failed);
    CLAUSE(D103, always || never, (refused > 0) == !never);
    const bool rate = is_row(step, RIG_ROW_RATE) && step->outcome.refusals <= refused;
    CLAUSE(LOWRES_07, rate && set->by_default && !watched->spared, rate_right(watched));
    CLAUSE(D103, rate, rate_right(watched));
    if (is_row(step, RIG_ROW_LOWRES)) {
        CLAUSE(LOWRES_11, true, (watched->status == STATUS_SUCCESS) == !watched->refuses);
        CLAUSE(LOWRES_04, watched->choice == 1, watched->status != STATUS_SUCCESS);
    }
}

/* ---- All ------------------------------------------------------------------------------------- */

void rig_rules_verifier(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_watched *watched = step->watched;
    if (is_row(step, RIG_ROW_UNLOAD)) {
        rules_unload(judge, step);
    }
    if (step->op == RIG_OP_DISOWN || is_row(step, RIG_ROW_DISOWN_ODD)) {
        rules_disown(judge, step);
    }
    if (is_row(step, RIG_ROW_LOOK)) {
        rules_look(judge, step);
    }
    rules_stretches(judge, step);
    rules_any_leak(judge, step);
    rules_stops(judge, step);
    rules_refused(judge, step);
    rules_settings(judge, step);
    rules_marks(judge, step);
    rules_pages(judge, step);
    rules_light(judge, step);
    if (has(watched, RIG_VERIFY_LOWRES)) {
        rules_lowres(judge, step);
    }
}

void rig_rules_unverified(struct rig_judge *judge, const struct rig_step *step)
{
    CLAUSE(D89, step->off_asked > 0, step->off_wrong == 0 && !step->outcome.raised);
}
