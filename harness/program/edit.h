/* SPDX-License-Identifier: MIT
 *
 * Runs of records: taken out, put in, renamed. What the mutator, crossover and trimming share. */
#ifndef RIG_EDIT_H
#define RIG_EDIT_H

#include "program/program.h"

/* Delete `count` records from `at` on. Units: records. Errors: none; a run outside is asserted. */
void rig_edit_remove(struct rig_program *program, unsigned at, unsigned count);

/* Make room for `count` records at `at`; the caller fills them. Units: records. Errors: none; a
 * place outside and too many records are asserted. */
struct rig_record *rig_edit_insert(struct rig_program *program, unsigned at, unsigned count);

/* Give each block that the record names, in its size too, the name `delta` further on. Units:
 * none. Errors: none. */
void rig_edit_rename(struct rig_record *record, unsigned delta);

/* True when the size of the record is that of another block. Units: none. Errors: none. */
bool rig_edit_refers(const struct rig_record *record);

/* Cut the program to what fits `max_bytes` encoded: at most how many records. Units: records.
 * Errors: none. */
unsigned rig_edit_count_max(size_t max_bytes);

#endif
