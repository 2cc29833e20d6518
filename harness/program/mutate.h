/* SPDX-License-Identifier: MIT
 *
 * Changes to programs by operation, for the custom mutators of libFuzzer and AFL++ alike. The same
 * input and seed give the same output on every machine. Nothing here allocates. */
#ifndef RIG_MUTATE_H
#define RIG_MUTATE_H

#include "program/program.h"
#include "program/random.h"

/* Change the program in `bytes`, any bytes, in place; the result is an encoded program of at most
 * `max_bytes`. Where that has no room for a header and a record, one byte is changed instead. What
 * is of a newer version is replaced by a new program. Returns the new length, 0 only when
 * `max_bytes` is 0.
 * Units: bytes. Errors: none. */
size_t rig_mutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes, uint32_t seed);

/* The same on a program, of at most `count_max` records. Returns which mutations were made, bit n
 * for number n; 0 only when there was nothing to change and no room.
 * Units: records. Errors: none; too many records are asserted. */
uint32_t rig_mutate_program(struct rig_program *program, unsigned count_max, uint32_t seed);

/* Make mutation number `mutation` only, with choices by `seed`. False when the program has nothing
 * for it to change. Units: records. Errors: none; the number is asserted. */
bool rig_mutate_once(struct rig_program *program, unsigned mutation, unsigned count_max,
                     uint32_t seed);

/* Mutations there are, and the name of each. Units: none. Errors: none; the number is asserted. */
unsigned rig_mutation_count(void);
const char *rig_mutation_name(unsigned mutation);

/* Make one program of two: the head of one and the tail of the other, a run of one within the
 * other, or both in turn with the blocks of `b` renamed so that they share none. `out` overlaps
 * neither. Returns the length of the result, an encoded program of at most `max_bytes`; 0 when
 * that has no room for a header and a record.
 * Units: bytes. Errors: none. */
size_t rig_crossover(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                     uint8_t *out, size_t max_bytes, uint32_t seed);

#endif
