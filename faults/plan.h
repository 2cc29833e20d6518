/* SPDX-License-Identifier: MIT
 *
 * A plan: when the page source, lock creation or a CommitRoutine refuses or lies. A program's
 * operation `plan`, its header and the command line say the same thing in words. */
#ifndef FAULTS_PLAN_H
#define FAULTS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_plan_kind {
#define FAULT_PLAN_KIND(name, text, what) FAULT_PLAN_##name,
#include "plan_kind.def"
    FAULT_PLAN_KIND_COUNT
};

/* The calls that a plan covers: bit enum nth_page_call, lock creation, the routine. 0: all of them.
 */
#define FAULT_PAGE_RESERVE 0x01u
#define FAULT_PAGE_COMMIT 0x02u
#define FAULT_PAGE_DECOMMIT 0x04u
#define FAULT_PAGE_RELEASE 0x08u
#define FAULT_PAGE_PROTECT 0x10u
#define FAULT_PAGE_REMAP 0x20u
#define FAULT_PAGE_LOCK 0x40u
#define FAULT_PAGE_ROUTINE 0x80u /* a CommitRoutine of the program */

struct fault_plan {
    uint8_t kind;  /* enum fault_plan_kind; past the last one: NONE */
    uint8_t calls; /* FAULT_PAGE_* */
    uint8_t count;
    uint16_t n;
};

#define FAULT_PLAN_TEXT_BYTES 96u /* room for any plan's text */
#define FAULT_PLAN_BYTES 8u       /* of a plan in a program's header */

/* Words of the calls, by the bits of FAULT_PAGE_*. Units: none. Errors: none. */
const char *const *fault_plan_calls(void);

/* Word of a kind ("nth"), NULL past the last one. Units: none. Errors: as said. */
const char *fault_plan_word(unsigned kind);

/* KIND[:N[:CALLS[:COUNT]]], where CALLS are words with + between, or `all`: "nth:3:commit+reserve".
 * True when all of the text is a plan. Units: bytes. Errors: false, `plan` is not written. */
bool fault_plan_parse(struct fault_plan *plan, const char *text, size_t len_bytes);

/* The same text; `out` has room for FAULT_PLAN_TEXT_BYTES. Returns its length.
 * Units: bytes. Errors: none, a kind past the last one is asserted by the caller. */
size_t fault_plan_print(const struct fault_plan *plan, char *out);

/* A header's eight bytes: kind, calls, count, 0, n with its low byte first, 0, 0. From bytes: false
 * when they are no plan of this form, and then `plan` is NONE.
 * Units: none. Errors: as said. */
bool fault_plan_from_bytes(struct fault_plan *plan, const uint8_t bytes[FAULT_PLAN_BYTES]);
void fault_plan_to_bytes(const struct fault_plan *plan, uint8_t bytes[FAULT_PLAN_BYTES]);

/* Words of kinds that look like the start of `text`, with ", " between; all of them when none does.
 * `out` has room for `out_bytes`. Units: bytes. Errors: none. */
void fault_plan_near(const char *text, char *out, size_t out_bytes);

#endif
