/* SPDX-License-Identifier: MIT
 *
 * Random numbers, records and programs, the same from the same seed on every machine.
 *
 * A swarm is one random idea of what a program is about: which operations it knows and how much it
 * likes each, how many names, which flags and sizes. Programs from many swarms reach states that
 * an even mixture of everything hardly ever does. */
#ifndef RIG_RANDOM_H
#define RIG_RANDOM_H

#include "program/program.h"

struct rig_rng {
    uint64_t state;
};

/* Generators of different seeds have nothing to do with each other. Units: none. Errors: none. */
struct rig_rng rig_rng_from(uint32_t seed);

/* Any 32 bits. Units: none. Errors: none. */
uint32_t rig_rng_next(struct rig_rng *rng);

/* 0 to limit - 1; `limit` 0 is asserted. Units: none. Errors: none. */
uint32_t rig_rng_below(struct rig_rng *rng, uint32_t limit);

/* True once in `times`. Units: none. Errors: none. */
bool rig_rng_once_in(struct rig_rng *rng, uint32_t times);

struct rig_swarm {
    uint16_t weights[RIG_OP_COUNT]; /* 0: not in this swarm */
    uint32_t weight_total;
    uint16_t kinds;    /* size kinds in use, a bit each; never 0 */
    uint8_t slot_mask; /* names are cut down to these bits */
    uint8_t heap_mask;
    uint8_t thread_mask;
    uint8_t flags_mask;
    bool contexts; /* calls are also made from elsewhere */
};

/* Choose a swarm, one without faults. Units: none. Errors: none. */
void rig_swarm_choose(struct rig_swarm *swarm, struct rig_rng *rng);

/* Leave faults out of the swarm, but those of the kinds in `flags` (RIG_PROGRAM_*): each of them is as
 * likely as a quarter of all else. Units: none. Errors: none. */
void rig_swarm_faults(struct rig_swarm *swarm, uint8_t flags);

/* A random operation of the swarm. Units: none. Errors: none. */
unsigned rig_swarm_op(const struct rig_swarm *swarm, struct rig_rng *rng);

/* Fill the record for `op`: every field that it reads, and 0 in all others. Units: none.
 * Errors: none. */
void rig_swarm_fill(const struct rig_swarm *swarm, struct rig_rng *rng, unsigned op,
                    struct rig_record *record);

/* `count` records of 8 random bytes each and a random seed: what any byte string may be. Units:
 * records. Errors: none; more than RIG_RECORD_COUNT_MAX are asserted. */
void rig_program_random(struct rig_program *program, uint32_t seed, unsigned count);

/* `count` records of one swarm. Units: records. Errors: as rig_program_random. */
void rig_program_random_swarm(struct rig_program *program, uint32_t seed, unsigned count);

#endif
