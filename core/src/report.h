/* SPDX-License-Identifier: MIT
 *
 * Reports of corruption and misuse. A call notes the first thing it notices; the hook hears of it
 * when the call leaves, with the heap unlocked. */
#ifndef NTH_REPORT_H
#define NTH_REPORT_H

#include <ntheap/seam.h>

struct nth_heap;

/* Note a report for the call in progress. `block` is a user address or NULL. */
void nth_note(enum nth_reason reason, const void *block, const char *field);

/* True when the call in progress has noted something. */
int nth_noted(void);

/* Hand a report to the hook at once, and to terminate when `fatal` and the process asked for it. */
void nth_report_deliver(const struct nth_report *report, int fatal);

#endif
