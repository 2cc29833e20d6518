/* SPDX-License-Identifier: MIT
 *
 * What a target has done so far, for scripts. When HEAPRIG_STATS names a file, the numbers live in
 * that file from the first input on, so that they survive however the process ends; processes that
 * are given the same file add up in it. Without, they go nowhere.
 *
 *   word 0  inputs run               word 4  planted code reached
 *   word 1  calls of the subject     word 5  planted code made a difference
 *   word 2  operations made          word 6  clauses that can be exercised
 *   word 3  records that did nothing word 7  operations that broke a clause
 *   then one byte a clause: 1 when it was exercised
 *   then one byte a clause: a bit for each state of the heap in which it was
 *   then, at the next multiple of 8, of faults made on purpose: how many were made, how many of
 *        those had an outcome that was compared, how many were reported by the heap
 *   then one byte a class of misuse, and one a class of damage, in the order of the catalogue: 1
 *        when it was made, 3 when the heap reported it as well
 *   then, of targets whose inputs are programs, five words of time in nanoseconds: between inputs
 *        (the engine), decoding, inside calls of the subject, all of decoding, running and judging,
 *        and processor time of the slowest input; then the memory of the largest process in KiB,
 * and processor time of all since the first input, the engine's too
 *
 * Beside the file, under its name and `.slowest`, lies the input that took the most.
 *
 * Words are of 8 bytes, in the machine's own order. */
#ifndef RIG_TARGETS_STATS_H
#define RIG_TARGETS_STATS_H

#include "rules/judge.h"

#include <stdatomic.h>
#include <stdint.h>

#define RIG_STATS_ROWS_MAX 256u /* of each table: a record's argument chooses one */

struct rig_stats {
    _Atomic uint64_t inputs;
    _Atomic uint64_t calls;
    _Atomic uint64_t steps;
    _Atomic uint64_t nothings;
    _Atomic uint64_t planted[2];
    _Atomic uint64_t clause_count;
    _Atomic uint64_t findings;
    _Atomic uint8_t exercised[RIG_CLAUSE_COUNT];
    _Atomic uint8_t states[RIG_CLAUSE_COUNT];
    _Alignas(8) _Atomic uint64_t faults_made;
    _Atomic uint64_t faults_judged;
    _Atomic uint64_t faults_reported;
    _Atomic uint8_t misuse_rows[RIG_STATS_ROWS_MAX];
    _Atomic uint8_t damage_rows[RIG_STATS_ROWS_MAX];
    _Alignas(8) _Atomic uint64_t engine_ns;
    _Atomic uint64_t decode_ns;
    _Atomic uint64_t call_ns;
    _Atomic uint64_t run_ns;
    _Atomic uint64_t slowest_ns;
    _Atomic uint64_t memory_kib;
    _Atomic uint64_t processor_ns;
};

static_assert(offsetof(struct rig_stats, exercised) == 64, "eight words come first");

/* The numbers of this process, wherever they live. Units: none. Errors: a file that cannot be used
 * ends the process with 2 and one line. */
struct rig_stats *rig_stats_now(void);

/* An input of `len_bytes` took `processor_ns` nanoseconds: when none took more it is the slowest,
 * and is kept beside the numbers. `bytes` stay the caller's. Errors: one that cannot be written is
 * left out. */
void rig_stats_slow(struct rig_stats *stats, uint64_t processor_ns, const uint8_t *bytes,
                    size_t len_bytes);

static inline void rig_stats_max(_Atomic uint64_t *number, uint64_t least)
{
    uint64_t now = atomic_load_explicit(number, memory_order_relaxed);
    while (now < least && !atomic_compare_exchange_weak(number, &now, least)) {
    }
}

static inline void rig_stats_add(_Atomic uint64_t *number, uint64_t more)
{
    atomic_fetch_add_explicit(number, more, memory_order_relaxed);
}

#endif
