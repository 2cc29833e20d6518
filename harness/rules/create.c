/* SPDX-License-Identifier: MIT
 *
 * Rules on making a heap: sizes and their rounding, options, parameters, the caller's memory,
 * CommitRoutine and lock, and what refuses a creation. */
#include "heaps.h"

#define GRANULE_BYTES 0x10000u
#define DEFAULT_RESERVE_BYTES (64u * RIG_PAGE_BYTES)
#define RESERVE_STEP_BYTES (16u * RIG_PAGE_BYTES)
#define SIZE_LIMIT (SIZE_MAX / 2)
#define SPACE_LIMIT (SIZE_MAX / 4) /* no address space has that much */

/* Options that a heap can have, and those of them that the documents name. */
#define OPTIONS_HONOURED                                                                           \
    (HEAP_NO_SERIALIZE | HEAP_GROWABLE | HEAP_GENERATE_EXCEPTIONS |                                \
     HEAP_DISABLE_COALESCE_ON_FREE | HEAP_CREATE_ALIGN_16 | HEAP_CREATE_ENABLE_EXECUTE)
#define OPTIONS_RTL (HEAP_NO_SERIALIZE | HEAP_GROWABLE | HEAP_GENERATE_EXCEPTIONS)
#define OPTIONS_WIN32 (HEAP_NO_SERIALIZE | HEAP_GENERATE_EXCEPTIONS | HEAP_CREATE_ENABLE_EXECUTE)

/* The plain words at a handle (D33). */
#define PLAIN_MARK 0xFFEEFFEEu
#define PLAIN_PRIVATE 0x1000u
#define PLAIN_NOT_FORCED 0x1082u

/* One creation, looked at from all sides. */
struct creation {
    const struct rig_step *step;
    bool made;
    bool lawful;  /* breaks no rule that the documents or a ruling name */
    bool excused; /* made, or refused memory, or the subject does not tell of refusals */
    bool growable;
    bool based;           /* in the caller's memory */
    size_t reserve_bytes; /* as asked for, by the arguments or by the parameters */
    size_t commit_bytes;
    size_t reserve_due; /* as the documents round them */
    size_t commit_due;
    const struct rig_element *region; /* the first that a walk shows, or NULL */
    size_t region_bytes;              /* all of it */
};

static size_t page_up(size_t bytes)
{
    return (bytes + RIG_PAGE_BYTES - 1) / RIG_PAGE_BYTES * RIG_PAGE_BYTES;
}

static bool parameters_sound(const struct rig_step *step)
{
    const RTL_HEAP_PARAMETERS *parameters = &step->create.parameters;
    return !step->create.has_parameters ||
           (parameters->Length == sizeof(*parameters) && parameters->Reserved[0] == 0 &&
            parameters->Reserved[1] == 0);
}

/* What a CommitRoutine asks for besides (D25). */
static bool routine_sound(const struct creation *creation)
{
    const RTL_HEAP_PARAMETERS *parameters = &creation->step->create.parameters;
    return creation->based && !creation->growable && parameters->InitialCommit != 0 &&
           parameters->InitialReserve != 0 &&
           parameters->InitialCommit <= parameters->InitialReserve;
}

static size_t larger_of(const struct creation *creation)
{
    return creation->reserve_bytes > creation->commit_bytes ? creation->reserve_bytes
                                                            : creation->commit_bytes;
}

static bool is_lawful(const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const size_t larger = larger_of(creation);
    if (step->win32) {
        return larger < SIZE_LIMIT && (step->create.reserve_bytes == 0 ||
                                       step->create.commit_bytes < step->create.reserve_bytes);
    }
    if (!parameters_sound(step) || (step->create.lock && (step->flags & HEAP_NO_SERIALIZE) != 0)) {
        return false;
    }
    if (step->create.routine && !routine_sound(creation)) {
        return false;
    }
    if (creation->based) {
        return creation->reserve_bytes >= 2u * RIG_PAGE_BYTES; /* as given (D24) */
    }
    return creation->reserve_bytes == 0 ? larger < SIZE_LIMIT
                                        : creation->reserve_bytes < SIZE_LIMIT;
}

static void round_sizes(struct creation *creation)
{
    const size_t commit = creation->commit_bytes;
    size_t reserve = page_up(creation->reserve_bytes);
    creation->commit_due = commit == 0 ? RIG_PAGE_BYTES : page_up(commit);
    if (reserve == 0) {
        const size_t steps = (creation->commit_due + RESERVE_STEP_BYTES - 1) / RESERVE_STEP_BYTES;
        reserve = commit == 0 ? DEFAULT_RESERVE_BYTES : steps * RESERVE_STEP_BYTES;
    }
    creation->reserve_due = reserve;
    if (creation->commit_due > reserve || page_up(commit) < commit) {
        creation->commit_due = reserve;
    }
}

static void see_region(struct creation *creation)
{
    const struct rig_walk *walk = creation->step->walk;
    if (!creation->made || !rig_walk_whole(walk) || walk->count == 0 || !walk->elements[0].region) {
        return;
    }
    const struct rig_element *region = &walk->elements[0];
    const size_t parts = region->committed_bytes + region->uncommitted_bytes;
    creation->region = region;
    creation->region_bytes = parts > region->bytes ? parts : region->bytes;
}

static struct creation creation_of(const struct rig_step *step)
{
    struct creation creation = {
        .step = step,
        .made = step->outcome.value != 0,
        .growable =
            step->win32 ? step->create.reserve_bytes == 0 : (step->flags & HEAP_GROWABLE) != 0,
        .based = step->create.base != NULL,
        .reserve_bytes = step->create.reserve_bytes,
        .commit_bytes = step->create.commit_bytes,
    };
    if (step->create.routine && creation.based) {
        creation.reserve_bytes = step->create.parameters.InitialReserve;
        creation.commit_bytes = step->create.parameters.InitialCommit;
    }
    creation.excused =
        creation.made || rig_shortage_believed(step) || larger_of(&creation) >= SPACE_LIMIT;
    creation.lawful = is_lawful(&creation);
    round_sizes(&creation);
    see_region(&creation);
    return creation;
}

/* 0 means that the walk does not know. */
static bool committed_at_least(const struct creation *creation, size_t bytes)
{
    const size_t committed = creation->region->committed_bytes;
    return committed == 0 || committed >= bytes;
}

static size_t grown(size_t before, size_t after)
{
    return after > before ? after - before : 0;
}

static size_t reserved_grown(const struct rig_step *step)
{
    return grown(step->create.held_before.reserved_bytes, step->create.held_after.reserved_bytes);
}

static bool is_new(const struct rig_step *step)
{
    for (unsigned idx = 0; idx < RIG_LIST_MAX; idx++) {
        if (step->create.former[idx] == (HANDLE)step->outcome.value) {
            return false;
        }
    }
    return true;
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

static void rules_sizes_rtl(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const bool own = creation->region != NULL && !creation->based;
    const bool reserve = creation->reserve_bytes != 0;
    const bool commit = creation->commit_bytes != 0;
    CLAUSE(CREATE_01, creation->region != NULL,
           creation->region_bytes >= creation->reserve_due &&
               committed_at_least(creation, creation->commit_due));
    CLAUSE(CREATE_10, creation->made && !creation->based && step->held_known,
           reserved_grown(step) >= creation->reserve_due);
    CLAUSE(CREATE_11, own && reserve, creation->region_bytes >= page_up(creation->reserve_bytes));
    CLAUSE(CREATE_12, own && !reserve && !commit,
           creation->region_bytes >= DEFAULT_RESERVE_BYTES &&
               committed_at_least(creation, RIG_PAGE_BYTES));
    CLAUSE(CREATE_13, own && !reserve && commit, creation->region_bytes >= creation->reserve_due);
    CLAUSE(CREATE_14, own && reserve && !commit, committed_at_least(creation, RIG_PAGE_BYTES));
    CLAUSE(CREATE_16, own && commit, committed_at_least(creation, creation->commit_due));
    CLAUSE(CREATE_23, own,
           creation->region->committed_bytes == 0 ||
               (creation->region->committed_bytes >= creation->commit_due &&
                creation->region->committed_bytes + creation->region->uncommitted_bytes >=
                    creation->reserve_due));
    CLAUSE(HPARAM_09,
           own && step->create.has_parameters &&
               step->create.parameters.InitialCommit > creation->commit_due,
           creation->region->committed_bytes < step->create.parameters.InitialCommit);
    CLAUSE(HPARAM_10,
           own && step->create.has_parameters &&
               step->create.parameters.InitialReserve > creation->reserve_due,
           creation->region_bytes < step->create.parameters.InitialReserve);
}

static void rules_sizes_win32(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const bool seen = creation->region != NULL;
    const bool maximum = step->create.reserve_bytes != 0;
    const bool initial = step->create.commit_bytes != 0;
    CLAUSE(HCREATE_01, seen,
           creation->region_bytes >= (maximum ? creation->reserve_due : RIG_PAGE_BYTES) &&
               committed_at_least(creation, creation->commit_due));
    CLAUSE(HCREATE_09, seen && initial, committed_at_least(creation, creation->commit_due));
    CLAUSE(HCREATE_11, seen && !initial, committed_at_least(creation, RIG_PAGE_BYTES));
    CLAUSE(HCREATE_12, seen && maximum, creation->region_bytes >= creation->reserve_due);
}

static bool region_is_exact(const struct creation *creation)
{
    const struct rig_element *region = creation->region;
    const size_t committed = creation->based && !creation->step->create.routine
                                 ? creation->reserve_due
                                 : creation->commit_due;
    return region->bytes == creation->reserve_due &&
           region->committed_bytes == (committed & UINT32_MAX) &&
           region->uncommitted_bytes == ((creation->reserve_due - committed) & UINT32_MAX);
}

/* HeapCreate tells a size that cannot be from shortage. */
static DWORD win32_error_due(const struct creation *creation)
{
    return creation->lawful ? ERROR_NOT_ENOUGH_MEMORY : ERROR_INVALID_PARAMETER;
}

static void rules_sizes_ruled(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    CLAUSE(D21, step->summed && !creation->based,
           step->summary[3] == (creation->growable ? SIZE_MAX : creation->reserve_due));
    CLAUSE(D22, creation->region != NULL && !creation->based, region_is_exact(creation));
    CLAUSE(D22, step->win32 && !creation->made,
           step->outcome.error_after == win32_error_due(creation));
    CLAUSE(D22, step->win32 && !creation->lawful, !creation->made);
}

/* ---- Success, failure, options -------------------------------------------------------------- */

static void rules_success_rtl(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const bool sizes = creation->reserve_bytes != 0 && creation->commit_bytes != 0;
    const bool lawful = creation->lawful;
    CLAUSE(CREATE_04, lawful && (step->flags & ~OPTIONS_RTL) == 0 && step->flags != 0,
           creation->excused);
    CLAUSE(CREATE_15, lawful && sizes && creation->commit_bytes > creation->reserve_bytes,
           creation->excused);
    CLAUSE(CREATE_17, lawful && !sizes, creation->excused);
    CLAUSE(CREATE_18, lawful, creation->excused);
    CLAUSE(CREATE_19, step->create.lock && (step->flags & HEAP_NO_SERIALIZE) != 0,
           !step->outcome.raised);
    CLAUSE(CREATE_20, lawful && !step->create.has_parameters, creation->excused);
    CLAUSE(CREATE_21, creation->made, step->create.valid && is_new(step));
    CLAUSE(CREATE_22, !creation->made && !step->outcome.routine_raised,
           !step->outcome.raised || ((step->flags & HEAP_GENERATE_EXCEPTIONS) != 0 &&
                                     rig_raised(step, STATUS_NO_MEMORY)));
}

static void rules_success_win32(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const bool bounded = step->create.reserve_bytes != 0;
    CLAUSE(HCREATE_02, creation->lawful && (step->flags & ~OPTIONS_WIN32) == 0, creation->excused);
    CLAUSE(HCREATE_10, bounded && step->create.commit_bytes >= step->create.reserve_bytes,
           !step->outcome.raised && (creation->made || rig_error_set(step)));
    CLAUSE(HCREATE_20, creation->made, step->create.valid && is_new(step));
    CLAUSE(HCREATE_21, !creation->made, !step->outcome.raised && rig_error_set(step));
    CLAUSE(HCREATE_32, !creation->made && (step->flags & HEAP_GENERATE_EXCEPTIONS) != 0,
           !step->outcome.raised);
    CLAUSE(LASTERR_03, !creation->made && !step->outcome.raised, rig_error_set(step));
    CLAUSE(LASTERR_04, creation->made,
           rig_error_untouched(step) || step->outcome.error_after == NO_ERROR);
    CLAUSE(LASTERR_07, !creation->made && rig_error_set(step),
           (step->outcome.error_after & 0x20000000u) == 0);
}

static ULONG plain_flags_due(const struct creation *creation)
{
    const ULONG options = creation->step->flags & (OPTIONS_HONOURED & ~HEAP_GROWABLE);
    return options | PLAIN_PRIVATE | (creation->growable ? HEAP_GROWABLE : 0);
}

static void rules_success_ruled(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const uintptr_t handle = step->outcome.value;
    const ULONG plain = plain_flags_due(creation);
    CLAUSE(HFUNC_02, creation->made && !creation->based && step->held_known,
           grown(step->create.held_before.committed_bytes,
                 step->create.held_after.committed_bytes) >= RIG_PAGE_BYTES);
    CLAUSE(D20, !creation->made && !step->outcome.routine_raised,
           !step->outcome.raised && step->outcome.reports == 0 &&
               (step->win32 || rig_error_untouched(step)));
    CLAUSE(D23, creation->lawful && (step->flags & ~OPTIONS_HONOURED) != 0, creation->excused);
    CLAUSE(D32, creation->region != NULL,
           handle % GRANULE_BYTES == 0 && creation->region->address == handle);
    CLAUSE(D33, step->create.plain_seen,
           step->create.plain_mark == PLAIN_MARK && step->create.plain_flags == plain &&
               step->create.plain_forced == (plain & ~PLAIN_NOT_FORCED));
    CLAUSE(D53,
           creation->made && !creation->based && step->gone_count > 0 && !rig_refused(step),
           !step->create.reused);
}

/* ---- The caller's memory, routine, lock, parameters ----------------------------------------- */

static bool parameters_blank(const RTL_HEAP_PARAMETERS *parameters)
{
    const RTL_HEAP_PARAMETERS *p = parameters;
    return (p->SegmentReserve | p->SegmentCommit | p->DeCommitFreeBlockThreshold |
            p->DeCommitTotalFreeThreshold | p->MaximumAllocationSize | p->VirtualMemoryThreshold |
            p->InitialCommit | p->InitialReserve) == 0;
}

/* Refused or ignored: what a document leaves open, as long as nothing is raised. */
static bool refused_or_sound(const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    return !rig_raised_itself(step) && (!creation->made || step->create.valid);
}

static void rules_base(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const uintptr_t base = (uintptr_t)step->create.base;
    CLAUSE(CREATE_09, creation->made,
           step->outcome.value >= base && step->outcome.value - base < step->create.base_bytes);
    CLAUSE(D24, creation->made && !step->create.routine,
           step->outcome.value == base && creation->region != NULL && region_is_exact(creation));
    CLAUSE(D24, !step->create.routine && creation->reserve_bytes < 2u * RIG_PAGE_BYTES,
           !creation->made);
}

static void rules_routine(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const RTL_HEAP_PARAMETERS *parameters = &step->create.parameters;
    const bool sizes = parameters->InitialCommit != 0 && parameters->InitialReserve != 0;
    const bool seen = creation->region != NULL && creation->based;
    CLAUSE(HPARAM_08, sizes && parameters->InitialCommit > parameters->InitialReserve,
           refused_or_sound(creation));
    CLAUSE(HPARAM_09, seen, committed_at_least(creation, parameters->InitialCommit));
    CLAUSE(HPARAM_10, seen,
           creation->region_bytes >= page_up(parameters->InitialReserve) &&
               creation->region_bytes - page_up(parameters->InitialReserve) < GRANULE_BYTES);
    CLAUSE(HPARAM_11, creation->growable, refused_or_sound(creation));
    CLAUSE(HPARAM_12, !creation->based, refused_or_sound(creation));
    CLAUSE(D25, !creation->lawful, !creation->made && step->outcome.routine_runs == 0);
    CLAUSE(D25, seen, region_is_exact(creation));
    CLAUSE(D25, creation->lawful, creation->excused);
    CLAUSE(HPARAM_15, step->outcome.routine_runs > 0, !step->outcome.routine_odd);
    CLAUSE(D26, step->outcome.starved,
           !creation->made && step->outcome.raised == step->outcome.routine_raised);
}

static void rules_extras(struct rig_judge *judge, const struct creation *creation)
{
    const struct rig_step *step = creation->step;
    const RTL_HEAP_PARAMETERS *parameters = &step->create.parameters;
    if (step->create.has_parameters) {
        const bool length = parameters->Length == sizeof(*parameters);
        const bool reserved = parameters->Reserved[0] != 0 || parameters->Reserved[1] != 0;
        CLAUSE(HPARAM_01, !length, refused_or_sound(creation));
        CLAUSE(HPARAM_13, reserved, refused_or_sound(creation));
        CLAUSE(HPARAM_14, creation->lawful && parameters_blank(parameters), creation->excused);
        CLAUSE(D27, !length || reserved, !creation->made);
    }
    CLAUSE(D28, step->create.lock && (step->flags & HEAP_NO_SERIALIZE) != 0, !creation->made);
    if (creation->based) {
        rules_base(judge, creation);
    }
    if (step->create.routine) {
        rules_routine(judge, creation);
    }
}

void rig_rules_create(struct rig_judge *judge, const struct rig_step *step)
{
    const struct creation creation = creation_of(step);
    if (step->win32) {
        rules_sizes_win32(judge, &creation);
        rules_success_win32(judge, &creation);
    } else {
        rules_sizes_rtl(judge, &creation);
        rules_success_rtl(judge, &creation);
        rules_extras(judge, &creation);
    }
    rules_sizes_ruled(judge, &creation);
    rules_success_ruled(judge, &creation);
}
