/* SPDX-License-Identifier: MIT
 *
 * One run of a program in a child process of its own: whatever becomes of it, this process goes on
 * and knows how it ended. Calls the executor, in the child alone. */
#ifndef RIG_CLI_ATTEMPT_H
#define RIG_CLI_ATTEMPT_H

#include "cli/confirm.h"

#include "run/exec.h"

enum rig_end_kind {
    RIG_END_HELD,    /* the contract held */
    RIG_END_FINDING, /* a rule was broken */
    RIG_END_HANG,    /* a call did not end in its time */
    RIG_END_CRASH,   /* the process ended in the middle */
    RIG_END_NOT_RUN  /* there was no process to be had */
};

#define RIG_END_CALL_BYTES 40u
#define RIG_END_WHERE_BYTES 128u
#define RIG_END_TEXT_BYTES 512u

/* What the names of a record meant in a run. */
struct rig_meant {
    bool made; /* the operation was made: the rest counts */
    uint8_t slot;
    uint8_t heap;
    uint8_t object; /* section or handler */
};

/* How a run ended. */
struct rig_end {
    enum rig_end_kind kind;
    enum rig_clause clause; /* of a finding: the first one broken */
    enum rig_op op;         /* the operation, and the call it made, in progress or judged */
    uint32_t step_idx;
    char call[RIG_END_CALL_BYTES];
    int status;                      /* of a crash: the signal, or 256 and the exit status */
    char where[RIG_END_WHERE_BYTES]; /* of a crash: what the dying process said, in short */
};

/* Runs programs under one set of options. NULL: no memory. Units: none. Errors: as said. */
struct rig_attempts;
struct rig_attempts *rig_attempts_create(const struct rig_cli_how *how);
void rig_attempts_destroy(struct rig_attempts *attempts);

/* Run a program. Units: none. Errors: RIG_END_NOT_RUN. */
struct rig_end rig_attempt(struct rig_attempts *attempts, const struct rig_program *program);

/* Of the run before: what the record's names meant. Units: none. Errors: none. */
struct rig_meant rig_attempt_meant(const struct rig_attempts *attempts, unsigned record_idx);

/* The same went wrong: the same rule at the same kind of operation; the same signal, said in the
 * same words. Where in the program does not matter. Units: none. Errors: none. */
bool rig_end_same(const struct rig_end *one, const struct rig_end *other);

/* The same end in a fresh process, which is given ten times as long for a hang; `line` gets what it
 * said. Units: none. Errors: false. */
bool rig_end_confirmed(const struct rig_end *end, const struct rig_cli_how *how,
                       const struct rig_program *program, char line[RIG_CONFIRM_LINE_BYTES]);

/* In words: "rule R, clause C, at HeapAlloc". Units: none. Errors: none. */
void rig_end_print(const struct rig_end *end, char text[RIG_END_TEXT_BYTES]);

#endif
