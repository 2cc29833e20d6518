/* SPDX-License-Identifier: MIT
 *
 * A page source over an arena that keeps its own books, offers to move pages, and refuses the n-th
 * call, once or from there on: the judge of what core says it has outstanding. */
#ifndef NTH_TEST_LEDGER_H
#define NTH_TEST_LEDGER_H

#include "rig.h"

#define LEDGER_SPAN_BYTES ((size_t)0x4000000)
#define LEDGER_COMMIT_BYTES ((size_t)0x2000000)
#define LEDGER_PAGE_COUNT (LEDGER_SPAN_BYTES / NTH_PAGE_BYTES)
#define LEDGER_GRANULE_COUNT (LEDGER_SPAN_BYTES / NTH_GRANULE_BYTES)

struct ledger {
    struct nth_arena *arena;
    const struct nth_pages *real;
    struct nth_pages pages;
    unsigned calls;   /* of all kinds, from the start of the program */
    unsigned fail_at; /* this call is refused, counted from 1; 0: none */
    BOOLEAN for_good; /* and all behind it */
    unsigned refusals;
    unsigned kinds[NTH_PAGE_REMAP + 1];
    uint8_t committed[LEDGER_PAGE_COUNT];
    size_t reserved[LEDGER_GRANULE_COUNT]; /* bytes of the reservation that begins here */
    BOOLEAN foreign_site;                  /* a call named no listed site, or one of another kind */
};

extern struct ledger ledger;

/* Make it, once a process; empty it, when core has given everything back. */
void ledger_make(void);
void ledger_reset(void);

/* Core's accounts are equal to the books. */
void ledger_demand_accounts(void);

#endif
