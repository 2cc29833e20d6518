/* SPDX-License-Identifier: MIT
 *
 * From the size that a record describes to a number of bytes. Knows no heap: what a size refers to
 * (another block, the threshold) is told. */
#ifndef RIG_SIZE_H
#define RIG_SIZE_H

#include "program/program.h"

#define RIG_PAGE_BYTES 0x1000u

/* What sizes may refer to, all in bytes. The block is the one named rig_record_hi(record). */
struct rig_size_facts {
    size_t slot_bytes;      /* size of that block; 0 where there is none */
    size_t hole_bytes;      /* size of the last block freed under that name; 0 for none */
    size_t last_bytes;      /* the last size used by the program */
    size_t threshold_bytes; /* the heap's virtual memory threshold */
};

/* The high byte of `value`: name of a block, number of a boundary, exponent. Units: none.
 * Errors: none. */
unsigned rig_record_hi(const struct rig_record *record);

/* The size kind of the record, of the 16 all are defined. Units: none. Errors: none. */
enum rig_size_kind rig_record_size_kind(const struct rig_record *record);

/* Number of rows of boundary.def. Units: none. Errors: none. */
unsigned rig_size_boundary_count(void);

/* Boundary number `idx`; a number past the table means idx mod 64. Units: bytes. Errors: none. */
size_t rig_size_boundary(unsigned idx);

/* Why boundary `idx` is one, for tables and explanations. Units: none. Errors: none. */
const char *rig_size_boundary_why(unsigned idx);

/* The size that the record asks for; wraps around at both ends. Only `size_class`, `value` and
 * `facts` count. Units: bytes. Errors: none. */
size_t rig_size_resolve(const struct rig_record *record, const struct rig_size_facts *facts);

#endif
