/* SPDX-License-Identifier: MIT
 *
 * The prover. The subject that it runs is a copy whose calls can be exchanged: the executor holds a
 * pointer to it, so a lie is in place from one call to the next. */
#include "prove.h"

#include "lies.h"

#include "../run/check.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A program that was the first to exercise something. */
struct kept {
    struct rig_program program;
    char label[];
};

struct first {
    const struct kept *kept; /* NULL: never exercised */
    uint32_t step_idx;       /* counts judged steps */
};

struct rig_prover {
    const struct rig_subject *honest;
    struct rig_subject subject; /* what the executor runs */
    struct rig_exec *exec;
    uint64_t exercised[RIG_CLAUSE_COUNT];
    struct first firsts[RIG_CLAUSE_COUNT];
    struct kept **kept;
    size_t kept_count;

    /* The proof in progress. */
    const struct rig_lie *lie; /* NULL: none */
    enum rig_clause clause;
    uint32_t target;
    bool in_place;
    struct rig_proof proof;
};

/* ---- Lying ---------------------------------------------------------------------------------- */

/* All members behind the name and the claims are pointers to functions. */
#define MEMBERS_FROM offsetof(struct rig_subject, guard)
#define MEMBER_COUNT ((sizeof(struct rig_subject) - MEMBERS_FROM) / sizeof(void (*)(void)))

static_assert(MEMBERS_FROM % sizeof(void (*)(void)) == 0, "functions begin where one can stand");

static void lie_put(struct rig_subject *subject, const struct rig_subject *calls)
{
    for (size_t idx = 0; idx < MEMBER_COUNT; idx++) {
        const size_t at = MEMBERS_FROM + idx * sizeof(void (*)(void));
        void (*call)(void) = NULL;
        memcpy(&call, (const char *)calls + at, sizeof(call));
        if (call != NULL) {
            memcpy((char *)subject + at, &call, sizeof(call));
        }
    }
}

static void before(void *context, const struct rig_step *step)
{
    struct rig_prover *prover = context;
    if (prover->lie == NULL || rig_exec_judge(prover->exec)->step_idx != prover->target) {
        return;
    }
    rig_lie_step = step;
    lie_put(&prover->subject, &prover->lie->calls);
    prover->in_place = true;
    prover->proof.call = step->call;
    prover->proof.record_idx = step->idx;
}

static bool names(const struct rig_judge *judge, enum rig_clause clause)
{
    for (unsigned idx = 0; idx < judge->broken_count; idx++) {
        if (judge->broken[idx] == clause) {
            return true;
        }
    }
    return false;
}

/* A lie that nobody noticed has deceived the model: what came next would prove nothing. */
static void stop(struct rig_judge *judge, enum rig_clause clause)
{
    judge->broken[0] = clause;
    judge->broken_count = 1;
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct rig_prover *prover = context;
    struct rig_proof *proof = &prover->proof;
    if (prover->lie == NULL || step->nothing || judge->step_idx != prover->target + 1) {
        return;
    }
    proof->call = step->call;
    proof->record_idx = step->idx;
    proof->broken_count = judge->broken_count;
    memcpy(proof->broken, judge->broken, sizeof(proof->broken));
    if (!prover->in_place) {
        proof->status = RIG_PROOF_NOT_TOLD;
    } else if (names(judge, prover->clause)) {
        proof->status = RIG_PROOF_OK;
    } else {
        proof->status = RIG_PROOF_UNNOTICED;
    }
    prover->subject = *prover->honest;
    prover->lie = NULL;
    rig_lie_step = NULL;
    if (judge->broken_count == 0) {
        /* The executor's own judge, which it hands out as const: it looks at it once more. */
        stop((struct rig_judge *)(uintptr_t)judge, prover->clause);
    }
}

/* ---- The prover ----------------------------------------------------------------------------- */

struct rig_prover *rig_prover_create(const struct rig_subject *subject)
{
    struct rig_prover *prover = calloc(1, sizeof(*prover));
    if (prover == NULL) {
        return NULL;
    }
    prover->honest = subject;
    prover->subject = *subject;
    const struct rig_options options = {
        .subject = &prover->subject,
        .judge = true,
        .watch = watch,
        .before = before,
        .context = prover,
    };
    prover->exec = rig_exec_create(&options);
    if (prover->exec == NULL) {
        free(prover);
        return NULL;
    }
    rig_honest = subject;
    return prover;
}

void rig_prover_destroy(struct rig_prover *prover)
{
    for (size_t idx = 0; idx < prover->kept_count; idx++) {
        free(prover->kept[idx]);
    }
    free(prover->kept);
    rig_exec_destroy(prover->exec);
    rig_honest = NULL;
    free(prover);
}

static const struct kept *keep(struct rig_prover *prover, const struct rig_program *program,
                               const char *label)
{
    struct kept *kept = malloc(sizeof(*kept) + strlen(label) + 1);
    RIG_CHECK(kept != NULL);
    struct kept **all = realloc(prover->kept, (prover->kept_count + 1) * sizeof(struct kept *));
    RIG_CHECK(all != NULL);
    kept->program = *program;
    memcpy(kept->label, label, strlen(label) + 1);
    prover->kept = all;
    prover->kept[prover->kept_count++] = kept;
    return kept;
}

struct rig_verdict rig_prover_add(struct rig_prover *prover, const struct rig_program *program,
                                  const char *label)
{
    rig_exec_forget(prover->exec);
    const struct rig_verdict verdict = rig_exec_run(prover->exec, program);
    const struct rig_judge *judge = rig_exec_judge(prover->exec);
    const struct kept *kept = NULL;
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        if (judge->exercised[clause] == 0) {
            continue;
        }
        prover->exercised[clause] += judge->exercised[clause];
        struct first *first = &prover->firsts[clause];
        if (first->kept == NULL && !verdict.found) {
            kept = kept != NULL ? kept : keep(prover, program, label);
            first->kept = kept;
            first->step_idx = judge->first[clause] - 1;
        }
    }
    return verdict;
}

uint64_t rig_prover_exercised(const struct rig_prover *prover, enum rig_clause clause)
{
    RIG_CHECK(clause < RIG_CLAUSE_COUNT);
    return prover->exercised[clause];
}

struct rig_proof rig_prover_prove(struct rig_prover *prover, enum rig_clause clause)
{
    RIG_CHECK(clause < RIG_CLAUSE_COUNT);
    const struct first *first = &prover->firsts[clause];
    const struct rig_lie *lie = rig_lie_find(rig_clause_info(clause)->lie);
    if (lie == NULL || first->kept == NULL) {
        return (struct rig_proof){
            .status = lie == NULL ? RIG_PROOF_NO_LIE : RIG_PROOF_NOT_EXERCISED,
        };
    }
    prover->proof = (struct rig_proof){.status = RIG_PROOF_NOT_TOLD, .label = first->kept->label};
    prover->lie = lie;
    prover->clause = clause;
    prover->target = first->step_idx;
    prover->in_place = false;
    rig_exec_forget(prover->exec);
    (void)rig_exec_run(prover->exec, &first->kept->program);
    RIG_CHECK(prover->lie == NULL); /* the step came: the same program does the same again */
    return prover->proof;
}

const char *rig_proof_status_text(enum rig_proof_status status)
{
    static const char *const texts[] = {
        [RIG_PROOF_OK] = "ok",
        [RIG_PROOF_NOT_EXERCISED] = "never exercised",
        [RIG_PROOF_NO_LIE] = "its lie does not exist",
        [RIG_PROOF_NOT_TOLD] = "its lie could not be told",
        [RIG_PROOF_UNNOTICED] = "its lie went unnoticed",
    };
    RIG_CHECK((size_t)status < sizeof(texts) / sizeof(texts[0]));
    return texts[status];
}
