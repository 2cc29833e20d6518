/* SPDX-License-Identifier: MIT
 *
 * Lies: for each clause a falsified answer on which its rule must fire. A lie is a table of the calls
 * it answers in the subject's place, once, in the step where the clause first applied; all else stays
 * honest. So a lie proves that a check is alive, and that its clause alone depends on that answer. */
#ifndef RIG_RULES_LIES_H
#define RIG_RULES_LIES_H

#include "judge.h"

struct rig_lie {
    const char *name; /* as in clauses.def */
    const char *what; /* one line: which answer is falsified */
    struct rig_subject calls; /* the calls (and services) replaced; NULL: honest */
};

/* The subject that lies ask for the true answer. Set by the prover before a run. */
extern const struct rig_subject *rig_honest;

/* The step in which the lie is told: lies read it (flags, sizes, the model's blocks), and never
 * change it. NULL outside. */
extern const struct rig_step *rig_lie_step;

/* Tables of lies, by the file that holds them; `*count` of them. */
const struct rig_lie *rig_lies_blocks(size_t *count);
const struct rig_lie *rig_lies_heaps(size_t *count);
const struct rig_lie *rig_lies_misuse(size_t *count);
const struct rig_lie *rig_lies_verifier(size_t *count);

/* A lie by name, or NULL. */
const struct rig_lie *rig_lie_find(const char *name);

#endif
