/* SPDX-License-Identifier: MIT
 *
 * One run: the state's records, the mark, where the change is made, the battery, the end. Each
 * step's answer goes into a digest that is compared with the same run's without a change; the
 * executor judges by the rules. */
#include "census.h"

#include "run/check.h"
#include "run/transcript.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MAX 1024u

struct control {
    uint32_t count; /* 0: not made yet */
    uint64_t *digests;
};

struct rig_census_runner {
    const struct rig_subject *subject;
    const struct rig_census_state *state;
    struct rig_exec *exec;
    struct rig_program program;
    uint32_t seed;
    struct rig_census_poke *pokes;
    size_t poke_count;
    struct control *controls; /* a target, a battery */
    const struct control *control;
    FILE *file;
    /* The run in progress. */
    bool marked;
    bool changed; /* there is a change */
    uint64_t reports;
    bool half_made; /* a reallocation has reported: it may have left the heap damaged */
    uint32_t step;
    uint64_t digests[STEP_MAX];
    struct rig_census_result result;
};

/* ---- Digests ---- */

static uint64_t mix(uint64_t digest, uint64_t value)
{
    digest = (digest ^ value) * 0x9E3779B97F4A7C15u;
    return digest ^ digest >> 29;
}

static uint64_t mix_walk(uint64_t digest, const struct rig_walk *walk)
{
    digest = mix(digest, walk->count | (uint64_t)walk->ended << 32 | (uint64_t)walk->cut << 33);
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        digest = mix(digest, element->address);
        digest = mix(digest, element->bytes | (uint64_t)element->flags << 40);
        digest = mix(digest, element->overhead | (uint64_t)element->region_idx << 32);
        digest = mix(digest, element->committed_bytes ^ (uint64_t)element->uncommitted_bytes << 32);
        digest = mix(digest, element->first_block ^ (uint64_t)element->last_block << 1);
    }
    return digest;
}

/* All that a step shows, but for what the executor counts for itself. Same process, same addresses.
 */
static uint64_t digest_of(const struct rig_step *step)
{
    const struct rig_outcome *outcome = &step->outcome;
    const struct rig_sight *sight = &step->sight;
    uint64_t digest =
        mix(step->op, step->idx | (uint64_t)step->nothing << 32 | (uint64_t)step->phase << 33);
    digest = mix(digest, step->name | (uint64_t)(step->heap != NULL) << 32);
    digest = mix(digest, outcome->value);
    digest = mix(digest, outcome->raised ? outcome->exception.ExceptionCode : 0);
    digest = mix(digest, outcome->error_after);
    digest = mix(digest, outcome->refusals);
    digest = mix(digest, sight->spoilt_at ^ (uint64_t)sight->dirty_at << 20 ^
                             (uint64_t)sight->overlaps << 60);
    digest = mix(digest, sight->size_now ^ (uint64_t)sight->old_size_now << 20 ^
                             (uint64_t)sight->user_flags_now << 40);
    digest = mix(digest, (uintptr_t)step->user_value ^ (uint64_t)step->user_flags << 32);
    if (step->op !=
        RIG_OP_DESTROY) { /* which gives back all whose extent can still be told (D81) */
        digest = mix(digest, step->held_after.committed_bytes ^
                                 (uint64_t)step->held_after.reserved_bytes << 16);
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        digest = mix(digest, step->op == RIG_OP_SUMMARY ? step->summary[idx] : 0);
    }
    digest = mix(digest, step->valid | step->blocks_valid << 1 | (uint64_t)step->blocks_seen << 20 |
                             (uint64_t)step->spoilt_count << 40);
    digest = mix(digest, (step->dirty_before ? 1u : 0u) | (step->dirty_after ? 2u : 0u) |
                             (step->idle_valid ? 4u : 0u) | (step->freed_valid ? 8u : 0u));
    digest = mix(digest, step->span_asked ^ step->span_had);
    return step->walk != NULL && (step->op == RIG_OP_WALK || step->op == RIG_OP_COMPACT)
               ? mix_walk(digest, step->walk)
               : digest;
}

/* ---- Watching ---- */

static bool validates(const struct rig_step *step)
{
    return step->op == RIG_OP_VALIDATE || step->op == RIG_OP_VALIDATE_BLOCK ||
           step->op == RIG_OP_VALIDATE_ALL || step->op == RIG_OP_CHECK;
}

static void fall(struct rig_census_runner *runner, enum rig_census_verdict verdict,
                 const struct rig_step *step, const struct rig_judge *judge)
{
    struct rig_census_result *result = &runner->result;
    if (verdict > result->verdict) {
        result->verdict = verdict;
        result->call = step->call;
        result->step = runner->step;
        result->clause = judge->broken_count > 0 ? rig_clause_info(judge->broken[0])->id : NULL;
    }
}

static void before(void *context, const struct rig_step *step)
{
    struct rig_census_runner *runner = context;
    if (runner->marked || step->phase != RIG_PHASE_PROGRAM ||
        step->idx != runner->state->program.count) {
        return;
    }
    runner->marked = true;
    for (size_t idx = 0; idx < runner->poke_count; idx++) {
        runner->subject->poke(runner->pokes[idx].address, runner->pokes[idx].value);
    }
    if (runner->poke_count > 0) {
        rig_exec_damaged(runner->exec, RIG_CENSUS_HEAP);
    }
}

/* A hardware fault in the subject: raised where nothing may raise, and what comes of the heap it
 * left. A heap that a reported reallocation leaves damaged (D18) has met none. */
static bool faulted(struct rig_census_runner *runner, const struct rig_step *step,
                    const struct rig_report *report, bool reported)
{
    const bool damaged = reported && strcmp(report->reason, "DAMAGED") == 0;
    runner->half_made |=
        step->op == RIG_OP_REALLOC && reported && !damaged && !step->outcome.raised;
    return (step->outcome.raised && !reported) || (damaged && !runner->half_made);
}

static void judge_step(struct rig_census_runner *runner, const struct rig_step *step,
                       const struct rig_judge *judge)
{
    struct rig_report report;
    const uint64_t reports = runner->subject->reports(&report);
    const bool told = reports != runner->reports;
    /* Of validating an address, FALSE is the notice (D76). */
    const bool reported =
        told || (step->op == RIG_OP_VALIDATE_BLOCK && !step->nothing && step->outcome.value == 0);
    const bool broken = judge->broken_count > 0;
    const bool differs = runner->control != NULL &&
                         (runner->step >= runner->control->count ||
                          runner->control->digests[runner->step] != runner->digests[runner->step]);
    runner->reports = reports;
    if (faulted(runner, step, &report, told)) {
        fall(runner, RIG_CENSUS_CRASH, step, judge);
    } else if (broken && step->outcome.reports > 0) {
        fall(runner, RIG_CENSUS_WRONG, step, judge);
    } else if ((broken && !reported) || (differs && !reported && runner->result.reason == NULL)) {
        fall(runner, RIG_CENSUS_SILENT, step, judge);
    } else if (reported && runner->result.reason == NULL) {
        fall(runner, validates(step) ? RIG_CENSUS_VALIDATE : RIG_CENSUS_TOUCH, step, judge);
    }
    if (reported && runner->result.reason == NULL) {
        runner->result.reason = told ? report.reason : "FALSE, of an address";
    }
}

static void tell(const struct rig_census_runner *runner, const struct rig_step *step,
                 const struct rig_judge *judge)
{
    char line[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    (void)rig_transcript_line(step, judge->shadow, runner->subject, line, sizeof(line));
    (void)fprintf(runner->file, "%s", line);
    for (unsigned idx = 0; idx < judge->broken_count; idx++) {
        (void)fprintf(runner->file, "%s%s", idx == 0 ? "  BROKEN " : ",",
                      rig_clause_info(judge->broken[idx])->id);
    }
    const bool differs = runner->control != NULL &&
                         (runner->step >= runner->control->count ||
                          runner->control->digests[runner->step] != runner->digests[runner->step]);
    (void)fprintf(runner->file, "%s\n", differs ? "  DIFFERS" : "");
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct rig_census_runner *runner = context;
    if (!runner->marked || step->op == RIG_OP_GET_LAST_ERROR) {
        return;
    }
    RIG_CHECK(runner->step < STEP_MAX);
    runner->digests[runner->step] = digest_of(step);
    judge_step(runner, step, judge);
    if (runner->file != NULL && runner->changed) {
        tell(runner, step, judge);
    }
    runner->step++;
}

/* ---- Running ---- */

static void run(struct rig_census_runner *runner, bool changed)
{
    struct rig_report unused;
    runner->marked = false;
    runner->changed = changed;
    runner->reports = 0;
    runner->half_made = false;
    runner->step = 0;
    runner->result = (struct rig_census_result){.verdict = RIG_CENSUS_HARMLESS};
    (void)rig_exec_run(runner->exec, &runner->program);
    (void)runner->subject->reports(&unused);
}

/* The same run without a change; made once. It must be without a report and hold. */
static const struct control *control_of(struct rig_census_runner *runner,
                                        const struct rig_census_change *change,
                                        enum rig_census_battery first)
{
    struct control *control = &runner->controls[change->target * RIG_BATTERY_COUNT + first];
    if (control->count == 0) {
        runner->control = NULL;
        runner->poke_count = 0;
        run(runner, false);
        RIG_CHECK(runner->result.verdict == RIG_CENSUS_HARMLESS);
        control->digests = malloc((runner->step + 1u) * sizeof(control->digests[0]));
        RIG_CHECK(control->digests != NULL);
        memcpy(control->digests, runner->digests, runner->step * sizeof(control->digests[0]));
        control->count = runner->step;
    }
    return control;
}

struct rig_census_result rig_census_run(struct rig_census_runner *runner,
                                        const struct rig_census_change *change,
                                        enum rig_census_battery first)
{
    rig_census_battery(runner->state, &runner->state->targets[change->target], first,
                       &runner->program);
    runner->control = control_of(runner, change, first);
    runner->poke_count = rig_census_pokes(runner->state, change, runner->seed, runner->pokes);
    run(runner, true);
    if (runner->result.verdict < RIG_CENSUS_SILENT && runner->result.reason == NULL &&
        runner->step != runner->control->count) {
        runner->result.verdict = RIG_CENSUS_SILENT;
        runner->result.call = "the end";
    }
    return runner->result;
}

struct rig_census_runner *rig_census_runner_create(const struct rig_subject *subject,
                                                   const struct rig_census_state *state,
                                                   uint32_t seed)
{
    struct rig_census_runner *runner = calloc(1, sizeof(*runner));
    RIG_CHECK(runner != NULL);
    const struct rig_options options = {
        .subject = subject, .judge = true, .watch = watch, .before = before, .context = runner};
    runner->subject = subject;
    runner->state = state;
    runner->seed = seed;
    runner->program = state->program;
    runner->exec = rig_exec_create(&options);
    runner->pokes = calloc(rig_census_pokes_max(state), sizeof(runner->pokes[0]));
    runner->controls =
        calloc((size_t)state->target_count * RIG_BATTERY_COUNT, sizeof(runner->controls[0]));
    RIG_CHECK(runner->exec != NULL && runner->pokes != NULL && runner->controls != NULL);
    return runner;
}

void rig_census_runner_destroy(struct rig_census_runner *runner)
{
    for (size_t idx = 0; idx < (size_t)runner->state->target_count * RIG_BATTERY_COUNT; idx++) {
        free(runner->controls[idx].digests);
    }
    rig_exec_destroy(runner->exec);
    free(runner->controls);
    free(runner->pokes);
    free(runner);
}

void rig_census_tell(struct rig_census_runner *runner, FILE *file)
{
    runner->file = file;
}
