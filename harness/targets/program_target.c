/* SPDX-License-Identifier: MIT
 *
 * Programs as inputs of an engine: decode, run, judge; what was exercised goes back to the engine
 * as features, and to whoever reads the numbers. */
#include "program_target.h"

#include "program/mutate.h"
#include "run/check.h"
#include "stats.h"

#include <stdio.h>
#include <string.h>

/* The engine's own mutation by bytes; of the engine, so not in the driver. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes) __attribute__((weak));

#define COUNTER_MAX 4096u
#define BYTES_ONCE_IN 16u /* mutations by bytes keep an eye on the decoder */

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

static void tell(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
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

static void features_hand_over(void)
{
    for (size_t clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        if (features[clause] != 0) {
            counters[clause % (COUNTER_COUNT / sizeof(uint64_t))] |= features[clause];
            atomic_store_explicit(&stats->exercised[clause], 1, memory_order_relaxed);
            features[clause] = 0;
        }
    }
}

void rig_target_run(const uint8_t *bytes, size_t len_bytes)
{
    static struct rig_program program;
    rig_stats_add(&stats->inputs, 1);
    if (rig_program_decode(&program, bytes, len_bytes) == RIG_DECODE_NEW_VERSION) {
        return;
    }
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    rig_stats_add(&stats->calls, verdict.call_count);
    rig_stats_add(&stats->steps, verdict.step_count);
    rig_stats_add(&stats->nothings, verdict.nothing_count);
    features_hand_over();
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len_bytes, size_t max_bytes, unsigned seed)
{
    if (seed % BYTES_ONCE_IN == 0 && LLVMFuzzerMutate != NULL) {
        return LLVMFuzzerMutate(bytes, len_bytes, max_bytes);
    }
    return rig_mutate(bytes, len_bytes, max_bytes, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                                 uint8_t *out, size_t out_bytes, unsigned seed)
{
    return rig_crossover(a, a_bytes, b, b_bytes, out, out_bytes, seed);
}
