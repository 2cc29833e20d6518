/* SPDX-License-Identifier: MIT
 *
 * A plan: when the page source, lock creation or a CommitRoutine refuses or lies. Ten lines of a
 * program say the same as the command line's text. */
#ifndef FAULTS_PLAN_H
#define FAULTS_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum fault_plan_kind {
#define FAULT_PLAN_KIND(name, text, what) FAULT_PLAN_##name,
#include "plan_kind.def"
    FAULT_PLAN_KIND_COUNT
};

/* The calls that a plan covers: bit enum nth_page_call, and lock creation. 0: all of them. */
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

/* Word of a kind ("nth"), NULL past the last one. Units: none. Errors: as said. */
const char *fault_plan_word(unsigned kind);

#endif
