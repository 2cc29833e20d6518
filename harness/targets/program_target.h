/* SPDX-License-Identifier: MIT
 *
 * What targets whose input is a program share: one executor on subject core, features for the
 * engine, and the mutators by operation, which the engine finds by their names. */
#ifndef RIG_TARGETS_PROGRAM_TARGET_H
#define RIG_TARGETS_PROGRAM_TARGET_H

#include "run/exec.h"

#include <stddef.h>
#include <stdint.h>

/* Make the executor, with findings that abort and a look at everything after every `check_every`
 * operations (0: only at the end). Units: operations. Errors: asserted. */
void rig_target_begin(unsigned check_every);

/* From here on faults of these kinds act (RIG_PROGRAM_*): the mutators write `flags` into each program's
 * header and put such faults in. Programs that ask for others are not run. Without it nothing goes
 * wrong on purpose. Units: none. Errors: none. */
void rig_target_faults(uint8_t flags);

/* What was told so, 0 before. Units: none. Errors: none. */
uint8_t rig_target_faults_asked(void);

/* Run any bytes as a program; the process ends at a finding, in a function named after the rule.
 * Bytes of a newer version, and those that ask for faults of other kinds, are not run: -1, which tells
 * the engine to forget them; else 0. Units: bytes. Errors: as said. */
int rig_target_run(const uint8_t *bytes, size_t len_bytes);

/* What an engine calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len_bytes, size_t max_bytes, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                                 uint8_t *out, size_t out_bytes, unsigned seed);

#endif
