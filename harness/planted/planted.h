/* SPDX-License-Identifier: MIT
 *
 * For planted bugs alone, and so only in patched copies of core: tells that the planted code was
 * reached, and that it did something else than the right code would have. Nobody listens unless
 * the program is a fuzz target (targets/stats.c). */
#ifndef RIG_PLANTED_H
#define RIG_PLANTED_H

#include <stdbool.h>

void nth_planted_mark(unsigned what) __attribute__((weak));

/* Reached; and where `differs`, triggered. Returns `differs`, so that a bug can be an `if`. */
static inline bool nth_planted(bool differs)
{
    if (nth_planted_mark != 0) {
        nth_planted_mark(1);
        if (differs) {
            nth_planted_mark(2);
        }
    }
    return differs;
}

#endif
