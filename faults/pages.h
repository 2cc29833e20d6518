/* SPDX-License-Identifier: MIT
 *
 * A page source and a lock table that stand between core and the real ones, refuse and lie by
 * plans, and count every call by its site and by the API call that came to it. One of each a
 * process.
 *
 * Plans act in layers, all at once: the program's own, its budget, and one laid over it by whoever
 * runs the program (a sweep). Each counts calls from where it sets in. */
#ifndef FAULTS_PAGES_H
#define FAULTS_PAGES_H

#include "plan.h"

#include <ntheap/seam.h>

enum fault_layer {
    FAULT_LAYER_PROGRAM,
    FAULT_LAYER_BUDGET, /* the program's operation `budget` */
    FAULT_LAYER_OVER,
    FAULT_LAYER_COUNT
};

/* Sites that are no page call of core's stand behind those: creating a lock, a CommitRoutine. */
#define FAULT_SITE_LOCK 0u
#define FAULT_SITE_ROUTINE 1u
#define FAULT_SITE_MORE 2u

/* Number of sites, core's own and the two behind; name and kind ("commit") of one.
 * Units: none. Errors: NULL when `idx` is out of range. Source: nth_site_at. */
unsigned fault_site_count(void);
const char *fault_site_name(unsigned idx);
const char *fault_site_call(unsigned idx);

/* The tables to hand to nth_seam_set: all goes on to `pages` and `locks`.
 * Units: none. Errors: none. Source: DESIGN, Running out. */
const struct nth_pages *fault_pages_over(const struct nth_pages *pages);
const struct nth_locks *fault_locks_over(const struct nth_locks *locks);

/* No plan acts any more. Units: none. Errors: none. */
void fault_plans_end(void);

/* No plan acts any more, and all counters of the run are 0; totals by path stay.
 * Units: none. Errors: none. */
void fault_pages_reset(void);

/* From now on this plan acts in that layer; NULL: none. What a plan made of the page source
 * (rubbish, moving) stays until the reset. Units: none. Errors: none. */
void fault_plan_set(enum fault_layer layer, const struct fault_plan *plan);

/* The API call ("HeapAlloc", static) in which page calls are made from now on. Units: none. */
void fault_calling(const char *call);

/* A CommitRoutine of the program is asked: true when a plan has it refuse. Units: none. */
bool fault_routine_refuses(void);

/* What happened since the reset. */
struct fault_run {
    uint64_t calls;    /* that plans can cover */
    uint64_t refusals; /* by a plan or by the real page source */
    uint64_t given;    /* of them: pages or reservations that were not taken back */
    uint64_t over;     /* of them: by the plan laid over */
    uint64_t lies;     /* calls that were lied to */
    uint64_t bytes;    /* committed, those given back since among them */
    uint64_t digest;   /* of the sequence of calls: site and API call of each */
    unsigned site;     /* of the last refusal */
};
const struct fault_run *fault_run_now(void);

/* The same of the run before the last reset. */
const struct fault_run *fault_run_last(void);

/* Locks acquired and not released, of all threads. Units: none. Errors: none. */
int fault_locks_held(void);

/* A path: an API call that came to a site, over all runs since fault_tally_forget. */
struct fault_path {
    const char *call;
    unsigned site;
    uint32_t met;  /* runs of calls: how often it was made */
    uint32_t once; /* refused by a plan of the upper layer for one call */
    uint32_t good; /* refused by one from a call on */
};

/* Path `idx`, in the order in which they were first met. Units: none. Errors: NULL past the last.
 */
const struct fault_path *fault_path_at(unsigned idx);
void fault_tally_forget(void);

/* Index of the path by which call `number` (from 1) of the run before the last reset was made.
 * Units: none. Errors: PATH_NONE past the last call, and past the 65,535th. */
#define FAULT_PATH_NONE UINT16_MAX
uint16_t fault_path_of_call(uint64_t number);

#endif
