/* SPDX-License-Identifier: MIT
 *
 * Running programs: each record is resolved against the model, made on the subject, seen, judged,
 * and then the model is told. One executor a process at a time; it keeps its memory from program to
 * program. */
#ifndef RIG_RUN_EXEC_H
#define RIG_RUN_EXEC_H

#include "../rules/judge.h"

struct rig_exec;

/* What a caller may choose. */
struct rig_options {
    const struct rig_subject *subject;
    bool abort_on_finding; /* end the process in a function named after the rule */
    unsigned check_every;  /* look at everything after so many operations; 0: only at the end */
    uint64_t
        look_calls; /* which, CHECK, and looks around refusals end after so many calls; 0: never */
    uint64_t commit_max; /* no block or heap is asked for after so many bytes; 0: no bound */
    uint64_t
        others_max; /* after failures other blocks of so many bytes are compared; 0: no bound */
    bool judge;     /* false: run, but judge nothing (to see what judging costs) */
    /* Called after each step was judged, before the model moves on; may be NULL. */
    void (*watch)(void *context, const struct rig_step *step, const struct rig_judge *judge);
    /* Called before each call is made; may be NULL. For a subject that is to lie in one step. */
    void (*before)(void *context, const struct rig_step *step);
    void *context;
    uint64_t (*clock_ns)(void); /* for call_ns of the verdict; NULL: nothing is measured */
};

/* How a run ended. */
struct rig_verdict {
    bool found;             /* a clause did not hold: the run stopped there */
    enum rig_clause clause; /* the first one */
    enum rig_rule rule;
    uint32_t step_idx; /* record, or number of records for the end */
    enum rig_op op;
    uint64_t call_count;    /* calls of the subject */
    uint64_t call_ns;       /* time in them, by clock_ns */
    uint32_t step_count;    /* operations made */
    uint32_t nothing_count; /* records that did nothing */
};

/* One executor. NULL when the system has no memory. Units: none. */
struct rig_exec *rig_exec_create(const struct rig_options *options);
void rig_exec_destroy(struct rig_exec *exec);

/* Reset the subject, run a program to its end or to the first finding, check and free everything,
 * reset again. Units: none. Errors: the verdict. */
struct rig_verdict rig_exec_run(struct rig_exec *exec, const struct rig_program *program);

/* The same piece by piece, for traces with names of 32 bits: begin, any number of events, end.
 * An event whose name does not fit (alive for an allocation, not alive otherwise) does nothing. */
struct rig_event {
    enum rig_op op; /* ALLOC, REALLOC, FREE */
    uint32_t name;
    size_t size_bytes;
    ULONG flags;
    bool win32;
};
void rig_exec_begin(struct rig_exec *exec, uint16_t seed);
bool rig_exec_event(struct rig_exec *exec, const struct rig_event *event); /* false: finding */
struct rig_verdict rig_exec_end(struct rig_exec *exec);

/* Lay a plan over every run from now on, beside the program's own (subject->plan_over); NULL: none,
 * and a plan of kind `nth` with n 0 refuses nothing but remembers how each record ended, for the
 * runs after. Around call number `look` of a run (counted by rig_options.before, from 0), or around
 * every one (RIG_LOOK_ALWAYS), heaps and locks are looked at; what the plan had refused is checked
 * at once and made again. Units: none. Errors: none. */
#define RIG_LOOK_ALWAYS UINT32_MAX
void rig_exec_plan(struct rig_exec *exec, const struct fault_plan *plan, uint32_t look);

/* In which call of the last run without faults page call number `number` (from 1) was made, for
 * `look`. Units: calls. Errors: RIG_LOOK_ALWAYS where the run was too long to tell. */
uint32_t rig_exec_plan_call(const struct rig_exec *exec, uint64_t number);

/* For those who damage metadata themselves, from a hook: heap number `idx` is damaged from here on,
 * so its calls may refuse with a report (rules/damaged.h). Until the heap is destroyed, or the run
 * ends. */
void rig_exec_damaged(struct rig_exec *exec, unsigned idx);

/* Damage number `idx` that operations of the program have done and that is still there: its row of
 * the catalogue, and whether it is in heap number `heap`. NULL past the last one. */
const struct fault_damage_info *rig_exec_damage_at(const struct rig_exec *exec, unsigned idx,
                                                   unsigned heap, bool *there);

/* What was judged since creation or rig_exec_forget: exercise counts add up over runs. */
const struct rig_judge *rig_exec_judge(const struct rig_exec *exec);
void rig_exec_forget(struct rig_exec *exec);

/* Where features are set to 1: RIG_CLAUSE_COUNT * RIG_STATE_FEATURES bytes, or NULL. */
void rig_exec_features(struct rig_exec *exec, uint8_t *features);

/* The model as it is, for printing. */
const struct rig_shadow *rig_exec_shadow(const struct rig_exec *exec);

/* What one of the rig's vectored handlers answers: "searches", "continues", "takes", "babbles". */
const char *rig_handler_kind(RIG_VECTORED_HANDLER handler);

#endif
