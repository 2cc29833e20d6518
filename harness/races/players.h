/* SPDX-License-Identifier: MIT
 *
 * Programs by several threads at once on one heap, for races and crashes. No model judges them:
 * what comes depends on the scheduler. What a thread wrote into its blocks stays there, the heap
 * reports nothing, and is whole at the end; else the process aborts with a line that says which of
 * these.
 *
 * Heaps 0 to 5 of a program are the two shared ones in turn, the second of which has a lock of its
 * caller's; the last two belong to the thread once the program
 * has created them. Nobody asks for what would race by contract: HEAP_NO_SERIALIZE is left out, and
 * walks are made under HeapLock. Nor for what would wait for ever: with a lock held, others are
 * tried and not waited for, and calls that lock all heaps are left out. */
#ifndef RIG_RACES_PLAYERS_H
#define RIG_RACES_PLAYERS_H

#include "program/program.h"

#define RIG_PLAYERS_MAX 64u

/* What all threads did together. */
struct rig_played {
    uint64_t calls;       /* records played */
    uint64_t forks;       /* children that found their heaps whole and used them */
    uint64_t large_count; /* blocks with a reservation of their own */
};

/* Have `threads` (1 to RIG_PLAYERS_MAX) threads go through all `count` (1 or more) programs, each
 * beginning at another one, or with a single program at another place of it. Each thread forks up
 * to `forks` times on the way, while the others go on; the child,
 * which has this thread alone, must find all heaps whole and serving, its locks as they were and
 * those of others free. With `verified` (NULL: without) the verifier is on, with these settings
 * (core/VERIFIER.md): nothing may be told but of sizes beyond reason. Ends with the process as it
 * was before any heap (nth_process_reset). Not for several threads at once.
 *
 * Units: none. Errors: as said above. */
struct rig_played rig_players_run(unsigned threads, unsigned forks, const char *verified,
                                  const struct rig_program *programs, size_t count);

#endif
