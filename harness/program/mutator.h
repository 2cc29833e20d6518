/* SPDX-License-Identifier: MIT
 *
 * What the mutations share. For mutate*.c only. */
#ifndef RIG_MUTATOR_H
#define RIG_MUTATOR_H

#include "program/program.h"
#include "program/random.h"

struct rig_mutator {
    struct rig_program *program;
    unsigned count_max; /* records that the program may have */
    struct rig_rng rng;
    struct rig_swarm swarm; /* where new operations come from */
};

/* The mutations: each changes the program, or answers false where it finds nothing to change.
 * Units: none. Errors: none. */
#define RIG_MUTATION(name, weight, what) bool rig_mutate_##name(struct rig_mutator *mutator);
#include "program/mutation.def"

#endif
