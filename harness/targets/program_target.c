/* SPDX-License-Identifier: MIT
 *
 * Programs as inputs of an engine: decode, run, judge; what was exercised goes back to the engine
 * as features, and to whoever reads the numbers. */
#include "program_target.h"

#include "engine_features.h"
#include "faults/catalog.h"
#include "run/check.h"
#include "run/stand_in.h"
#include "run/sweep.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SWEEP_RUNS 64u   /* of one program */
#define SWEEP_WORK 8192u /* calls and pages, in all of them together, about */
#define SWEEP_PART 4u    /* a program with more work than that part of it is not swept here */

/* An input has a tenth of a second. What looks at everything again and again stops at so many
 * calls; the end of a run looks once more in any case. */
#define LOOK_CALLS 16384u

/* Pages that are touched anew take their time as well: 256 MiB of them two tenths of a second. */
#define COMMIT_MAX ((uint64_t)96 << 20)

/* Blocks compared after failures, at their sizes; past that CHECK and the end see what a failure
 * spoilt, and `heaprig run`, which has no bounds, names the call. */
#define OTHERS_MAX ((uint64_t)256 << 20)

/* Features of this input, each 0 or 1. */
static uint64_t features[RIG_CLAUSE_COUNT];

static struct rig_exec *exec;
static struct rig_stats *stats;

/* For measuring what they are worth (ci/feedback.sh): HEAPRIG_WITHOUT=features. */
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
    for (unsigned idx = 0;
         (damage = rig_exec_damage_at(exec, idx, step->heap->idx, &there)) != NULL; idx++) {
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
    const bool off = step->op == RIG_OP_VERIFY && step->watched == NULL;
    const bool fault = step->phase == RIG_PHASE_PROGRAM && rig_op_fault(step->op) != 0 && !off;
    if (!fault || step->nothing || step->skipped != NULL || step->record == NULL) {
        return;
    }
    const bool reported = step->outcome.reports > 0;
    rig_stats_add(&stats->faults_made, 1);
    rig_stats_add(&stats->faults_judged, step->op == RIG_OP_MISUSE);
    rig_stats_add(&stats->faults_reported, reported);
    if (step->op == RIG_OP_MISUSE || step->op == RIG_OP_DAMAGE) {
        _Atomic uint8_t *rows = step->op == RIG_OP_MISUSE ? stats->misuse_rows : stats->damage_rows;
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

/* ---- Time, which decides nothing and is only told ---- */

static uint64_t ns_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t monotonic_ns(void)
{
    return ns_of(CLOCK_MONOTONIC);
}

static void memory_count(void)
{
    struct rusage usage;
    static unsigned inputs;
    if (inputs++ % 256u == 0 && getrusage(RUSAGE_SELF, &usage) == 0) {
        rig_stats_max(&stats->memory_kib, (uint64_t)usage.ru_maxrss);
    }
}

/* ---- Memory ---- */

/* What the targets take from ASan's own allocator is small and short-lived: subjects have memory of
 * their own, which they poison themselves. Without a bound on what it holds back after a free, the
 * engine's vectors come to 256 MiB there. ASAN_OPTIONS goes before. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:quarantine_size_mb=8";
}

/* ---- Inputs ---- */

void rig_target_begin(unsigned check_every)
{
    const char *without = getenv("HEAPRIG_WITHOUT");
    without_features = without != NULL && strstr(without, "features") != NULL;
    stats = rig_stats_now();
    atomic_store_explicit(&stats->clause_count, RIG_CLAUSE_COUNT, memory_order_relaxed);
    const struct rig_options options = {
        .subject = rig_subject_core(),
        .abort_on_finding = true,
        .check_every = check_every,
        .look_calls = LOOK_CALLS,
        .commit_max = COMMIT_MAX,
        .others_max = OTHERS_MAX,
        .judge = true,
        .watch = tell,
        .clock_ns = monotonic_ns,
    };
    exec = rig_exec_create(&options);
    RIG_CHECK(exec != NULL);
    rig_exec_features(exec, (uint8_t *)features);
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
                rig_features_tell(clause, features[clause]);
            }
            atomic_fetch_or_explicit(&stats->states[clause], states_of(features[clause]),
                                     memory_order_relaxed);
            atomic_store_explicit(&stats->exercised[clause], 1, memory_order_relaxed);
            features[clause] = 0;
        }
    }
}

/* Its features are those of its faults, not of the program: they are not counted. A long program is
 * run fewer times, or not at all: an input has a tenth of a second, and `heaprig sweep` has no such
 * bound. */
static void sweep(const struct rig_program *program, const struct rig_verdict *once)
{
    const struct rig_sweep shortly = {.runs_max = SWEEP_RUNS, .work_max = SWEEP_WORK};
    if (rig_sweep_work(exec, once) > SWEEP_WORK / SWEEP_PART) {
        return;
    }
    rig_exec_features(exec, NULL);
    const struct rig_swept swept = rig_sweep(exec, program, &shortly);
    rig_exec_features(exec, (uint8_t *)features);
    RIG_CHECK(swept.agreed || swept.run_count == 0);
}

static int decode_and_run(const uint8_t *bytes, size_t len_bytes, uint64_t began)
{
    static struct rig_program program;
    const enum rig_decode_status status = rig_program_decode(&program, bytes, len_bytes);
    rig_stats_add(&stats->decode_ns, monotonic_ns() - began);
    if (status == RIG_DECODE_NEW_VERSION || (program.flags & ~rig_target_faults_asked()) != 0) {
        return -1;
    }
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    if ((program.flags & RIG_PROGRAM_SWEEP) != 0) {
        sweep(&program, &verdict);
    }
    rig_stats_add(&stats->calls, verdict.call_count);
    rig_stats_add(&stats->steps, verdict.step_count);
    rig_stats_add(&stats->nothings, verdict.nothing_count);
    rig_stats_add(&stats->call_ns, verdict.call_ns);
    features_hand_over();
    return 0;
}

/* What programs under the verifier load, told once. */
static void modules_tell(void)
{
    static bool told;
    if (!told && (rig_target_faults_asked() & RIG_PROGRAM_VERIFY) != 0) {
        (void)fprintf(stderr, "modules are %s\n",
                      rig_modules_are_files()
                          ? "shared objects, opened and closed"
                          : "stretches of the target's own code, declared: there are no files");
    }
    told = true;
}

int rig_target_run(const uint8_t *bytes, size_t len_bytes)
{
    static uint64_t ended;
    static uint64_t processor_ended;
    modules_tell();
    const uint64_t processor = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    const uint64_t began = monotonic_ns();
    rig_stats_add(&stats->inputs, 1);
    rig_stats_add(&stats->engine_ns, ended == 0 ? 0 : began - ended);
    const int result = decode_and_run(bytes, len_bytes, began);
    const uint64_t processor_now = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    rig_stats_slow(stats, processor_now - processor, bytes, len_bytes);
    rig_stats_add(&stats->processor_ns,
                  processor_now - (processor_ended == 0 ? processor : processor_ended));
    processor_ended = processor_now;
    memory_count();
    ended = monotonic_ns();
    rig_stats_add(&stats->run_ns, ended - began);
    return result;
}
