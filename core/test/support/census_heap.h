/* SPDX-License-Identifier: MIT
 *
 * Between the parts of the census: the heap under test, the model of its live blocks, and calls
 * whose outcomes are logged. */
#ifndef NTH_TEST_CENSUS_HEAP_H
#define NTH_TEST_CENSUS_HEAP_H

#include "census.h"

#define CENSUS_BLOCK_MAX 256u
#define CENSUS_LOG_MAX 2048u

struct census_log {
    unsigned count;
    unsigned reported_at; /* entry of the first report */
    BOOLEAN reported;
    struct nth_report first;
    uint64_t words[CENSUS_LOG_MAX];
};

struct census_world {
    HANDLE heap;
    ULONG flags; /* of every allocation: HEAP_SETTABLE_USER_VALUE now and then */
    unsigned count;
    struct census_block blocks[CENSUS_BLOCK_MAX];
    const struct census_case *damage; /* NULL: none yet */
    const char *broken;               /* the first rule broken, or NULL */
    struct census_log log;
};

extern struct census_world census_world;

/* Calls with their outcome logged and the model kept. Blocks by number in the model; an allocation
 * that failed has a number too. */
unsigned census_alloc(ULONG flags, SIZE_T bytes);
void census_free(unsigned idx);
void census_realloc(unsigned idx, ULONG flags, SIZE_T bytes);
void census_look(unsigned idx); /* size and user information */
void census_walk(void);
void census_whole(void); /* summary, zero, compact */
BOOLEAN census_validate(LPCVOID block);
void census_destroy(void);

/* All live blocks hold what they should. */
void census_contents(void);

void census_break(const char *rule);

/* Locks whose number held is looked at after each call. */
const struct nth_locks *census_locks(void);

/* Do the damage; bytes of the application in it are the application's from now on. */
void census_damage(const struct census_case *wanted);

#endif
