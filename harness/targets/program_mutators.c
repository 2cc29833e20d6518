/* SPDX-License-Identifier: MIT
 *
 * The mutators by operation, as engines find them by their names. Nothing here runs a program, so
 * they serve in a library of their own as well (afl_mutator.c). */
#include "program_target.h"

#include "faults/plan.h"
#include "program/mutate.h"
#include "program/random.h"

#include <stdlib.h>
#include <string.h>

/* The engine's own mutation by bytes; of the engine, so not in the driver. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes) __attribute__((weak));

#define FRESH_RECORDS 200u
#define SWEPT_ONCE_IN 16u /* new programs of targets that sweep */
#define RIG_FLAGS_AT 5u   /* in a program's header */

/* Of so many mutations one each is something else: by bytes, which keeps an eye on the decoder; a
 * new random program, which finds states that a chain of small changes hardly ever does; and one
 * crossed with such a program. */
#define ODD_ONCE_IN 16u

static uint8_t faults; /* RIG_PROGRAM_* of this target */

void rig_target_faults(uint8_t flags)
{
    faults = flags;
}

uint8_t rig_target_faults_asked(void)
{
    return faults;
}

/* For measuring what they are worth (ci/feedback.sh): HEAPRIG_WITHOUT=mutator. */
static bool without_mutator(void)
{
    static int without = -1;
    if (without < 0) {
        const char *words = getenv("HEAPRIG_WITHOUT");
        without = words != NULL && strstr(words, "mutator") != NULL;
    }
    return without == 1;
}

/* All faults of this target; a sweep, which takes many runs, only where the program asks for it. */
static uint8_t faults_of(uint8_t flags)
{
    return (uint8_t)((faults & ~RIG_PROGRAM_SWEEP) | (faults & flags & RIG_PROGRAM_SWEEP));
}

static uint8_t flags_in(const uint8_t *bytes, size_t len_bytes)
{
    return len_bytes > RIG_FLAGS_AT ? bytes[RIG_FLAGS_AT] : 0;
}

/* A plan from the start, in half of the programs. */
static void plan_random(struct rig_program *program, struct rig_rng *rng)
{
    const uint64_t drawn = rig_rng_next(rng);
    const struct fault_plan plan = {
        .kind = (uint8_t)(drawn % FAULT_PLAN_KIND_COUNT),
        .calls = (uint8_t)((drawn >> 8 & 3u) == 0 ? 0 : drawn >> 16 & 0xFFu),
        .count = (uint8_t)(drawn >> 24 & 7u),
        .n = (uint16_t)(drawn >> 32 & 31u),
    };
    if ((drawn >> 48 & 1u) != 0) {
        fault_plan_to_bytes(&plan, program->plan);
    }
}

/* Settings of the verifier: leaks and heaps often, the rest now and then. */
static void verify_random(struct rig_program *program, struct rig_rng *rng)
{
    for (unsigned idx = 0; idx < sizeof(program->plan); idx++) {
        const uint32_t drawn = rig_rng_next(rng);
        program->plan[idx] = (drawn >> 8 & 3u) == 0 ? (uint8_t)(drawn & 0xFFu) : 0;
    }
    program->plan[0] = (uint8_t)(program->plan[0] | (rig_rng_next(rng) & 0x33u));
}

/* A random program, encoded, of at most `max_bytes`; 0 when that has no room for one. */
static size_t fresh(uint8_t *bytes, size_t max_bytes, unsigned seed)
{
    static struct rig_program program;
    static uint8_t encoded[RIG_PROGRAM_BYTES_MAX];
    struct rig_rng rng = rig_rng_from(seed);
    const size_t room = max_bytes < RIG_HEADER_BYTES ? 0 : max_bytes - RIG_HEADER_BYTES;
    const size_t most = room / RIG_RECORD_BYTES;
    if (most == 0) {
        return 0;
    }
    (rig_rng_once_in(&rng, 2) ? rig_program_random : rig_program_random_swarm)(
        &program, rig_rng_next(&rng), most < FRESH_RECORDS ? (unsigned)most : FRESH_RECORDS);
    program.flags = faults_of(rig_rng_next(&rng) % SWEPT_ONCE_IN == 0 ? RIG_PROGRAM_SWEEP : 0);
    if ((faults & RIG_PROGRAM_PLAN) != 0) {
        plan_random(&program, &rng);
    }
    if ((faults & RIG_PROGRAM_VERIFY) != 0) {
        verify_random(&program, &rng);
    }
    const size_t len = rig_program_encode(&program, encoded);
    memcpy(bytes, encoded, len);
    return len;
}

static size_t crossed_with_fresh(uint8_t *bytes, size_t len_bytes, size_t max_bytes, unsigned seed)
{
    static uint8_t other[RIG_PROGRAM_BYTES_MAX];
    static uint8_t crossed[RIG_PROGRAM_BYTES_MAX];
    const size_t room = max_bytes < sizeof(crossed) ? max_bytes : sizeof(crossed);
    const size_t other_bytes = fresh(other, sizeof(other), seed);
    const size_t len = rig_crossover(bytes, len_bytes, other, other_bytes, crossed, room, seed);
    memcpy(bytes, crossed, len);
    return len;
}

static size_t mutated(uint8_t *bytes, size_t len_bytes, size_t max_bytes, unsigned seed)
{
    const unsigned which = without_mutator() ? 0 : seed % ODD_ONCE_IN;
    size_t len = 0;
    if (which == 0 && LLVMFuzzerMutate != NULL) {
        len = LLVMFuzzerMutate(bytes, len_bytes, max_bytes);
    } else if (which == 1) {
        len = fresh(bytes, max_bytes, seed);
    } else if (which == 2) {
        len = crossed_with_fresh(bytes, len_bytes, max_bytes, seed);
    }
    return len != 0 ? len : rig_mutate(bytes, len_bytes, max_bytes, seed);
}

/* Of another target's faults none is asked for, whatever changed; of this one's all. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len_bytes, size_t max_bytes, unsigned seed)
{
    rig_program_flags_set(bytes, len_bytes, faults_of(flags_in(bytes, len_bytes)));
    const size_t len = mutated(bytes, len_bytes, max_bytes, seed);
    rig_program_flags_set(bytes, len, faults_of(flags_in(bytes, len)));
    return len;
}

/* The front of one and the back of the other, wherever that cuts. */
static size_t splice(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                     uint8_t *out, size_t out_bytes, unsigned seed)
{
    const size_t front = a_bytes == 0 ? 0 : seed % a_bytes;
    const size_t skip = b_bytes == 0 ? 0 : seed / 251u % b_bytes;
    const size_t head = front < out_bytes ? front : out_bytes;
    const size_t room = out_bytes - head;
    const size_t tail = b_bytes - skip < room ? b_bytes - skip : room;
    memcpy(out, a, head);
    memcpy(out + head, b + skip, tail);
    return head + tail;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                                 uint8_t *out, size_t out_bytes, unsigned seed)
{
    if (without_mutator()) {
        return splice(a, a_bytes, b, b_bytes, out, out_bytes, seed);
    }
    return rig_crossover(a, a_bytes, b, b_bytes, out, out_bytes, seed);
}
