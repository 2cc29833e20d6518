/* SPDX-License-Identifier: MIT
 *
 * Proving that rules are alive: programs are run once as they are, and noted where each clause was
 * first exercised; then such a program is run again with the clause's lie told in that very step,
 * and the rule must name the clause. Calls the executor. */
#ifndef RIG_RULES_PROVE_H
#define RIG_RULES_PROVE_H

#include "../run/exec.h"

struct rig_prover;

/* One prover; it works in the one executor that a process may have. NULL when there is no memory.
 * Units: none. Errors: as said. */
struct rig_prover *rig_prover_create(const struct rig_subject *subject);
void rig_prover_destroy(struct rig_prover *prover);

/* Run a program as it is. Where it is the first to exercise some clause it is kept for proving,
 * under `label`. The verdict's finding, if any, is the subject's. Units: none. Errors: the verdict;
 * running out of memory is asserted. */
struct rig_verdict rig_prover_add(struct rig_prover *prover, const struct rig_program *program,
                                  const char *label);

/* How often the clause was exercised by all that was added. Units: none. Errors: none. */
uint64_t rig_prover_exercised(const struct rig_prover *prover, enum rig_clause clause);

enum rig_proof_status {
    RIG_PROOF_OK = 0,        /* the lie was told, and the rule named the clause */
    RIG_PROOF_NOT_EXERCISED, /* no program exercises it */
    RIG_PROOF_NO_LIE,        /* lies_*.c has no lie of the name in clauses.def */
    RIG_PROOF_NOT_TOLD,      /* in that step the subject was asked nothing, or nothing of the lie */
    RIG_PROOF_UNNOTICED      /* the lie was in place and the clause was not named */
};

struct rig_proof {
    enum rig_proof_status status;
    const char *label;   /* of the program, or NULL */
    uint32_t record_idx; /* of the step in it */
    const char *call;    /* of that step, or NULL */
    unsigned broken_count;
    enum rig_clause broken[RIG_BROKEN_MAX]; /* all clauses that the lie broke */
};

/* Tell the clause's lie. Units: none. Errors: the status. */
struct rig_proof rig_prover_prove(struct rig_prover *prover, enum rig_clause clause);

/* What a status means, in a few words. Units: none. Errors: none. */
const char *rig_proof_status_text(enum rig_proof_status status);

#endif
