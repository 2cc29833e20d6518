/* SPDX-License-Identifier: MIT
 *
 * How a child says on which line it is about to do what its parent wants to see caught. */
#ifndef NTH_TEST_MARKS_H
#define NTH_TEST_MARKS_H

#include <stdio.h>
#include <string.h>

/* In front of the deed, on the same line: HERE, block[size] = 1; */
#define HERE (void)printf("here %d\n", __LINE__), (void)fflush(stdout)

/* Functions that do it are compiled as they stand, so that each line keeps its own instructions. */
#if defined(__clang__)
#define AS_WRITTEN __attribute__((optnone, noinline))
#else
#define AS_WRITTEN __attribute__((noinline))
#endif

/* Is `argument` this word? */
static inline int marks_is(const char *argument, const char *word)
{
    return strcmp(argument, word) == 0;
}

#endif
