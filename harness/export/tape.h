/* SPDX-License-Identifier: MIT
 *
 * A tape: every call that a run made on its subject, in order, with what went
 * in and what came out, and what the rig itself did to memory between calls.
 * Runs the executor on a subject that records.
 */
#ifndef RIG_EXPORT_TAPE_H
#define RIG_EXPORT_TAPE_H

#include "cli/cli.h"
#include "run/exec.h"

#include <faults/plan.h>

#define TAPE_PARAMETERS_MAX 6u
#define TAPE_NOWHERE SIZE_MAX

/* What a call of the tape is: a call of the contract, or one of the services
 * around them. */
enum tape_what {
#define TAPE_CALL(arity, result, name, gives, takes, ...) TAPE_##name,
#define TAPE_CALL_VOID(arity, name, takes, ...) TAPE_##name,
#include "tape_call.def"
    TAPE_WHAT_COUNT,
    TAPE_POKE = TAPE_WHAT_COUNT, /* arguments: address, bits changed, 0: there is
                                    no such byte */
    TAPE_BUDGET,                 /* pages */
    TAPE_PLAN,                   /* kind, calls, count, n; kind 0 for none */
    TAPE_INTERRUPT,              /* the code with which the next call that asks for pages is
                                    left */
    TAPE_HOLDINGS,               /* gives; arguments: reserved, committed, reservations */
    TAPE_FILL,                   /* address, bytes, stamp: the program writes its block */
    TAPE_SEALED                  /* heap, address, bits of the value changed: low 24, high 24 */
};

/* What the tape knows of a call by its name. */
struct tape_call_info {
    const char *name;
    const char *takes;
    char gives;
};

/* What stood where a parameter pointed to. */
struct tape_data {
    size_t before_at; /* in the tape's bytes, or TAPE_NOWHERE: could not be read */
    size_t after_at;  /* once the call was over; TAPE_NOWHERE as well when it
                         raised */
    size_t bytes;
    bool writable;
};

struct tape_call {
    uint16_t what;
    bool main;     /* of the operation itself; else a look beside it */
    bool nested;   /* made from a filter, a routine or a handler of another call */
    bool second;   /* made by the second thread */
    bool returned; /* else it raised, or ended in an exception of another */
    uintptr_t arguments[TAPE_PARAMETERS_MAX];
    uintptr_t result;
    bool raised; /* an exception left it, this one */
    EXCEPTION_RECORD exception;
    uint64_t reports; /* made during it, the reason of the last */
    const char *reason;
    struct tape_data data[TAPE_PARAMETERS_MAX];
};

/* One step of the run with its calls. */
struct tape_step {
    uint32_t idx;
    enum rig_phase phase;
    enum rig_op op;
    const char *call;
    enum rig_context context;
    bool second;
    bool last; /* the finding */
    bool held; /* the heap was locked by the program */
    uint32_t name;
    uint8_t heap; /* RIG_HEAP_COUNT: none */
    size_t from;  /* its calls */
    size_t to;
    struct rig_outcome outcome;
    struct rig_sight sight;
    uint32_t stamp;  /* of what a block held before, for sight.spoilt_at */
    ULONG list_stop; /* ENUM_HEAPS */
    uint32_t list_status;
};

/* How the recorded run ended. */
enum tape_end { TAPE_HELD, TAPE_FINDING, TAPE_DIED };

/* All of it in memory that the run's process shares with this one: it is whole
 * up to the call in which that process died. */
struct tape {
    struct tape_call *calls;
    size_t call_count;
    struct tape_step *steps;
    size_t step_count;
    uint8_t *bytes;
    size_t byte_count;
    bool full; /* there was more than there is room for */
    enum tape_end end;
    unsigned broken_count;
    enum rig_clause broken[RIG_BROKEN_MAX];
    uint64_t refusals; /* of the whole run */
    uint64_t reports;
    uintptr_t low;        /* where the subject's memory begins, 0: it does not tell */
    struct tape_step now; /* the step in progress */
    size_t step_from;     /* its first call */
};

const struct tape_call_info *rig_tape_call_info(unsigned what);

/* Run the program in a child process and record it. The tape's calls end with
 * those of the finding, or with the one that the process did not survive. NULL:
 * no memory. Units: none. Errors: as said.
 */
struct tape *rig_tape_record(const struct rig_cli_how *how, const struct rig_program *program);
void rig_tape_free(struct tape *tape);

#endif
