/* SPDX-License-Identifier: MIT
 *
 * Programs as inputs of an engine: decode, run, judge; what was exercised goes back to the engine
 * as features, and to whoever reads the numbers. */
#include "program_target.h"

#include "faults/catalog.h"
#include "faults/plan.h"
#include "program/mutate.h"
#include "program/random.h"
#include "run/check.h"
#include "run/sweep.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engine's own mutation by bytes; of the engine, so not in the driver. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes) __attribute__((weak));

#define COUNTER_MAX 4096u
#define FRESH_RECORDS 200u
#define SWEEP_RUNS 64u     /* of one program */
#define SWEEP_RUNS_LEAST 4u
#define SWEEP_CALLS 16384u /* of the subject, in all of them together, about */
#define SWEPT_ONCE_IN 16u  /* new programs of targets that sweep */
#define RIG_FLAGS_AT 5u    /* in a program's header */

/* Of so many mutations one each is something else: by bytes, which keeps an eye on the decoder; a
 * new random program, which finds states that a chain of small changes hardly ever does; and one
 * crossed with such a program. */
#define ODD_ONCE_IN 16u

static_assert(RIG_STATE_FEATURES == sizeof(uint64_t), "the features of a clause are one word");

enum {
    FEATURE_COUNT = RIG_CLAUSE_COUNT * RIG_STATE_FEATURES,
    COUNTER_COUNT = FEATURE_COUNT < COUNTER_MAX ? FEATURE_COUNT : COUNTER_MAX
};

/* Features of this input, each 0 or 1. */
static uint64_t features[RIG_CLAUSE_COUNT];

/* The engine reads these after each input and clears them before the next. With more clauses than
 * there is room, some share a word. */
__attribute__((section("__libfuzzer_extra_counters"), used, aligned(8))) //
static volatile uint64_t counters[COUNTER_COUNT / sizeof(uint64_t)];

static struct rig_exec *exec;
static struct rig_stats *stats;
static uint8_t faults; /* RIG_PROGRAM_* of this target */

/* For measuring what each is worth (ci/feedback.sh): HEAPRIG_WITHOUT=mutator,features. */
static bool without_mutator;
static bool without_features;

/* For the numbers: a step that met what damage or a plan did before. */
static void effect_count(const struct rig_step *step)
{
    const struct fault_damage_info *damage;
    const bool reported = step->outcome.reports > 0;
    bool there = false;
    rig_stats_add(&stats->faults_judged, step->outcome.refusals > 0);
    if (step->heap == NULL || (!reported && !step->damage_due)) {
        return;
    }
    for (unsigned idx = 0; (damage = rig_exec_damage_at(exec, idx, step->heap->idx, &there)) != NULL;
         idx++) {
        if (there) {
            rig_stats_add(&stats->faults_judged, 1);
            rig_stats_add(&stats->faults_reported, reported);
            atomic_fetch_or_explicit(&stats->damage_rows[damage - fault_damage_info(0)],
                                     reported ? 3u : 1u, memory_order_relaxed);
        }
    }
}

/* For the numbers: a step that was a fault. */
static void fault_count(const struct rig_step *step)
{
    const bool fault = step->phase == RIG_PHASE_PROGRAM && rig_op_fault(step->op) != 0;
    if (!fault || step->nothing || step->skipped != NULL || step->record == NULL) {
        return;
    }
    const bool reported = step->outcome.reports > 0;
    rig_stats_add(&stats->faults_made, 1);
    rig_stats_add(&stats->faults_judged, step->op == RIG_OP_MISUSE);
    rig_stats_add(&stats->faults_reported, reported);
    if (step->op != RIG_OP_PLAN) {
        _Atomic uint8_t *rows =
            step->op == RIG_OP_MISUSE ? stats->misuse_rows : stats->damage_rows;
        atomic_fetch_or_explicit(&rows[step->record->arg], reported ? 3u : 1u,
                                 memory_order_relaxed);
    }
}

static void tell(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    fault_count(step);
    if (step->op != RIG_OP_MISUSE && !step->nothing) {
        effect_count(step);
    }
    if (judge->broken_count == 0) {
        return;
    }
    rig_stats_add(&stats->findings, 1);
    for (unsigned idx = 0; idx < judge->broken_count; idx++) {
        const struct rig_clause_info *info = rig_clause_info(judge->broken[idx]);
        (void)fprintf(stderr, "finding: %s %s: %s; %s, operation %u\n", info->id,
                      rig_rule_name(info->rule), rig_rule_sentence(info->rule), step->call,
                      step->idx);
    }
}

void rig_target_begin(unsigned check_every)
{
    const char *without = getenv("HEAPRIG_WITHOUT");
    without_mutator = without != NULL && strstr(without, "mutator") != NULL;
    without_features = without != NULL && strstr(without, "features") != NULL;
    stats = rig_stats_now();
    atomic_store_explicit(&stats->clause_count, RIG_CLAUSE_COUNT, memory_order_relaxed);
    const struct rig_options options = {
        .subject = rig_subject_core(),
        .abort_on_finding = true,
        .check_every = check_every,
        .judge = true,
        .watch = tell,
    };
    exec = rig_exec_create(&options);
    RIG_CHECK(exec != NULL);
    rig_exec_features(exec, (uint8_t *)features);
}

void rig_target_faults(uint8_t flags)
{
    faults = flags;
}

/* Eight bytes of 0 or 1 as the bits of one: each product moves one of them to the top byte. */
static uint8_t states_of(uint64_t bytes)
{
    return (uint8_t)((bytes * 0x0102040810204080u) >> 56);
}

static void features_hand_over(void)
{
    for (size_t clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        if (features[clause] != 0) {
            if (!without_features) {
                counters[clause % (COUNTER_COUNT / sizeof(uint64_t))] |= features[clause];
            }
            atomic_fetch_or_explicit(&stats->states[clause], states_of(features[clause]),
                                     memory_order_relaxed);
            atomic_store_explicit(&stats->exercised[clause], 1, memory_order_relaxed);
            features[clause] = 0;
        }
    }
}

/* Its features are those of its faults, not of the program: they are not counted. A long program is
 * run fewer times. */
static void sweep(const struct rig_program *program, const struct rig_verdict *once)
{
    const uint64_t runs = SWEEP_CALLS / (once->call_count + 1);
    const struct rig_sweep shortly = {
        .runs_max = runs < SWEEP_RUNS ? (uint32_t)runs + SWEEP_RUNS_LEAST : SWEEP_RUNS,
    };
    rig_exec_features(exec, NULL);
    const struct rig_swept swept = rig_sweep(exec, program, &shortly);
    rig_exec_features(exec, (uint8_t *)features);
    RIG_CHECK(swept.agreed || swept.run_count == 0);
}

int rig_target_run(const uint8_t *bytes, size_t len_bytes)
{
    static struct rig_program program;
    rig_stats_add(&stats->inputs, 1);
    if (rig_program_decode(&program, bytes, len_bytes) == RIG_DECODE_NEW_VERSION ||
        (program.flags & ~faults) != 0) {
        return -1;
    }
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    if ((program.flags & RIG_PROGRAM_SWEEP) != 0) {
        sweep(&program, &verdict);
    }
    rig_stats_add(&stats->calls, verdict.call_count);
    rig_stats_add(&stats->steps, verdict.step_count);
    rig_stats_add(&stats->nothings, verdict.nothing_count);
    features_hand_over();
    return 0;
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
    const unsigned which = without_mutator ? 0 : seed % ODD_ONCE_IN;
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
    if (without_mutator) {
        return splice(a, a_bytes, b, b_bytes, out, out_bytes, seed);
    }
    return rig_crossover(a, a_bytes, b, b_bytes, out, out_bytes, seed);
}
