/* SPDX-License-Identifier: MIT
 *
 * Damage and what comes of it: heaps in several states, a fixed battery of operations with a model
 * of what must stay true, and the verdict on one damage, judged against the same battery without
 * it. Cases run in forked shards, so that one which kills its process is a verdict like any other.
 * Uses core's public headers, rig.h and the fault counts of probe.h. */
#ifndef NTH_TEST_CENSUS_H
#define NTH_TEST_CENSUS_H

#include "rig.h"

#define CENSUS_VARIANT_COUNT 3u /* orders of the battery */
#define CENSUS_DAMAGE_MAX 64u

/* What a damage came to. The last four must not be. */
enum census_verdict {
    CENSUS_OPEN,     /* not run */
    CENSUS_TOUCH,    /* reported by an ordinary call, nothing differed before */
    CENSUS_VALIDATE, /* reported by validating only; all else as without damage */
    CENSUS_HARMLESS, /* all as without damage */
    CENSUS_SILENT,   /* an outcome differed before any report */
    CENSUS_BROKEN,   /* a rule of the model was broken: overlap, contents, hardware fault */
    CENSUS_CRASH,    /* the process ended: assertion, sanitizer, signal */
    CENSUS_HANG,     /* more than CENSUS_CPU_SECONDS of processor time */
    CENSUS_VERDICT_COUNT
};

#define CENSUS_CPU_SECONDS 10

/* One damage: `len` bytes at `address` get `bytes` (xor: their bits flipped by them). */
struct census_case {
    PVOID address;
    uint16_t field; /* whatever the maker wants to count by */
    uint8_t state;
    uint8_t variant;
    uint16_t target; /* block of the model that the battery is about */
    uint8_t len;
    BOOLEAN flips;
    uint8_t bytes[CENSUS_DAMAGE_MAX];
};

struct census_block {
    PVOID user; /* NULL: not live */
    SIZE_T bytes;
    uint32_t pattern;
    BOOLEAN info;
    /* Bytes of the application that the damage itself changed. */
    SIZE_T hit_offset;
    uint8_t hit_len;
    uint8_t hit_from; /* in the damage */
};

unsigned census_state_count(void);
const char *census_state_name(unsigned state);
const char *census_verdict_name(enum census_verdict verdict);

/* Make the state anew, on a reset seam and arena. The same addresses every time. Blocks stay valid
 * until the next call. */
HANDLE census_make(unsigned state);
unsigned census_block_count(void);
const struct census_block *census_block_at(unsigned idx);

/* The live block at `address`, or else the one nearest to it: what a battery about it looks at. */
unsigned census_nearest(LPCVOID address);

/* Run all cases in two forked shards and fill `verdicts` (shared memory from census_verdicts). Each
 * bad verdict is told on standard error; a shard with many leaves the rest CENSUS_OPEN. */
uint8_t *census_verdicts(size_t count);
void census_sweep(const struct census_case *cases, size_t count, uint8_t *verdicts);

/* Run one case in this process; `text` gets the reason of a bad verdict. */
enum census_verdict census_run(const struct census_case *wanted, char *text, size_t text_bytes);

#endif
