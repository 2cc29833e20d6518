/* SPDX-License-Identifier: MIT
 *
 * A sweep: a program is run until two runs make the same page calls, and then once for each call
 * and each of two ways of refusing it, alone or with all behind it, until a run meets no refusal.
 * What must hold then is judged in each run (see_refusal.c, rules/shortage.c). */
#ifndef RIG_RUN_SWEEP_H
#define RIG_RUN_SWEEP_H

#include "exec.h"

#include "faults/plan.h"

/* What a caller may choose. */
struct rig_sweep {
    uint32_t runs_max; /* no more runs than that; 0: as many as it takes */
    uint64_t work_max; /* none with a plan after so much work (see rig_swept); 0: likewise */
    /* Called before the runs that strike call `number`: false leaves them out. May be NULL. */
    bool (*wanted)(void *context, uint64_t number);
    /* Called before each run with a plan; false: no more of them. May be NULL. */
    bool (*next)(void *context, const struct fault_plan *plan);
    /* A run broke a rule, or (plan of kind `none`) two runs never came to agree. May be NULL. */
    void (*found)(void *context, const struct fault_plan *plan, const struct rig_verdict *verdict);
    void *context;
};

struct rig_swept {
    uint64_t call_count;     /* page calls of the program without faults */
    uint64_t run_count;      /* all of them */
    uint64_t work_count;     /* in all runs: calls of the subject, for pages, pages committed */
    uint64_t left_out_count; /* calls that were not wanted */
    uint64_t refusal_count;  /* of plans */
    uint32_t finding_count;
    bool agreed; /* two runs without faults made the same calls, and broke no rule */
};

/* Sweep one program. The executor's subject must offer plan_over and refused; else nothing is run.
 * Afterwards no plan is laid over its runs. Units: none. Errors: as struct rig_swept tells. */
struct rig_swept rig_sweep(struct rig_exec *exec, const struct rig_program *program,
                           const struct rig_sweep *sweep);

/* The work of the run that the executor has just made, with its verdict: each run of a sweep of this
 * program comes to about as much. The executor's subject must offer `refused`. */
uint64_t rig_sweep_work(const struct rig_exec *exec, const struct rig_verdict *once);

#endif
