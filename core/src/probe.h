/* SPDX-License-Identifier: MIT
 *
 * Looking at structures that callers hand in, which may be anywhere: the only place in core where
 * a hardware fault is expected. Also the counts that let a test demand that there is no other. */
#ifndef NTH_PROBE_H
#define NTH_PROBE_H

#include <ntheap/types.h>

#include "atomics.h"

/** May all of [address, address + bytes) be read, or written? One byte a page is touched, and the
 * last one; a write stores what was there. NULL and ranges that wrap around are FALSE untouched;
 * an empty range elsewhere is TRUE untouched. Nobody is asked and nothing is printed. The signal
 * handlers are put back in place if a program has replaced them.
 *
 * Units:  bytes.
 * Errors: none.
 * Source: DESIGN, Core raises its own violations. */
BOOLEAN nth_probe_read(LPCVOID address, size_t bytes);
BOOLEAN nth_probe_write(PVOID address, size_t bytes);

/* Called for a fault outside the probes, inside the signal handler, with the faulting instruction
 * and whether a heap call was in progress. A test looks the instruction up. */
typedef void (*nth_fault_watch)(PVOID instruction, BOOLEAN in_call);

/* Hardware faults that the signal handlers have seen, all threads together, until nth_seh_reset. */
struct nth_fault_counts {
    NTH_ATOMIC(size_t) in_probe;
    NTH_ATOMIC(size_t) in_call; /* outside the probes, a heap call in progress */
    NTH_ATOMIC(size_t) elsewhere;
    NTH_ATOMIC(nth_fault_watch) watch;
};

extern struct nth_fault_counts nth_faults;

/* Forget the counts and the watch. */
void nth_probe_reset(void);

#endif
