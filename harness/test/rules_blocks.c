/* SPDX-License-Identifier: MIT
 *
 * Rules on blocks: honest programs break none, and each rule fires on its lie. For the latter a
 * program runs twice: the first run tells in which step a clause first applies, the second tells
 * the clause's lie in just that step. */
#include "program/random.h"
#include "program/text.h"
#include "rules/lies.h"
#include "run/exec.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRAM_COUNT 1500u /* of each kind */
#define RECORD_COUNT 200u
#define PROOF_COUNT 3u /* programs in which each lie must be noticed, where so many have it */
#define TEXT_BYTES_MAX 65536u

static const enum rig_clause clauses[] = {
#define RIG_CLAUSE(id, text, level, rule, lie) RIG_CLAUSE_##id,
#define RIG_PENDING(id, text, part)
#define RIG_EXEMPT(id, text, reason)
#include "rules/clauses_blocks.def"
};

#define CLAUSE_COUNT (sizeof(clauses) / sizeof(clauses[0]))

/* ---- A subject that lies in one step ---- */

static struct {
    struct rig_subject subject; /* what the executor calls */
    struct rig_exec *exec;
    const struct rig_lie *lie; /* told in this run, or NULL */
    uint32_t at;               /* number of the judged step */
    enum rig_clause clause;    /* which must then be broken */
    bool noticed;
} stage;

/* Every slot behind the claims is a function: those that the lie has take the honest ones' place.
 */
static void subject_set(const struct rig_subject *lie)
{
    stage.subject = *rig_honest;
    if (lie == NULL) {
        return;
    }
    void *call;
    for (size_t at = offsetof(struct rig_subject, guard); at < sizeof(*lie); at += sizeof(call)) {
        memcpy(&call, (const char *)lie + at, sizeof(call));
        if (call != NULL) {
            memcpy((char *)&stage.subject + at, &call, sizeof(call));
        }
    }
}

static bool is_the_step(void)
{
    return stage.lie != NULL && rig_exec_judge(stage.exec)->step_idx == stage.at;
}

static void before(void *context, const struct rig_step *step)
{
    (void)context;
    if (is_the_step()) {
        rig_lie_step = step;
        subject_set(&stage.lie->calls);
    }
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    (void)step;
    if (rig_lie_step == NULL) {
        return;
    }
    for (unsigned idx = 0; idx < judge->broken_count; idx++) {
        stage.noticed = stage.noticed || judge->broken[idx] == stage.clause;
    }
    rig_lie_step = NULL;
    subject_set(NULL);
}

static int stage_make(void **state)
{
    (void)state;
    rig_honest = rig_subject_core();
    subject_set(NULL);
    const struct rig_options options = {
        .subject = &stage.subject, .judge = true, .watch = watch, .before = before};
    stage.exec = rig_exec_create(&options);
    return stage.exec == NULL;
}

static int stage_end(void **state)
{
    (void)state;
    rig_exec_destroy(stage.exec);
    return 0;
}

/* ---- Programs: seeds by hand first, then random ones of two kinds ---- */

static struct rig_program program;
static glob_t seeds;

static void seeds_find(void)
{
    assert_int_equal(glob(RIG_SOURCE_DIR "/corpus/ops_fuzzer/*.heap", 0, NULL, &seeds), 0);
}

static void program_load(const char *path)
{
    static char text[TEXT_BYTES_MAX];
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t len_bytes = fread(text, 1, sizeof(text), file);
    assert_int_equal(fclose(file), 0);
    if (!rig_text_parse(&program, path, text, len_bytes, error, sizeof(error))) {
        fail_msg("%s", error);
    }
}

static unsigned program_count(void)
{
    return (unsigned)seeds.gl_pathc + 2 * PROGRAM_COUNT;
}

static void program_make(unsigned number)
{
    if (number < seeds.gl_pathc) {
        program_load(seeds.gl_pathv[number]);
        return;
    }
    number -= (unsigned)seeds.gl_pathc;
    if (number % 2 == 0) {
        rig_program_random(&program, number / 2, RECORD_COUNT);
    } else {
        rig_program_random_swarm(&program, number / 2, RECORD_COUNT);
    }
}

static bool is_own(enum rig_clause clause)
{
    for (size_t idx = 0; idx < CLAUSE_COUNT; idx++) {
        if (clauses[idx] == clause) {
            return true;
        }
    }
    return false;
}

/* What rules of other files find is told by their tests. */
static void run_honestly(unsigned number)
{
    stage.lie = NULL;
    program_make(number);
    rig_exec_forget(stage.exec);
    const struct rig_verdict verdict = rig_exec_run(stage.exec, &program);
    if (verdict.found && is_own(verdict.clause)) {
        fail_msg("program %u: %s does not hold in step %u (%s)", number,
                 rig_clause_info(verdict.clause)->id, verdict.step_idx,
                 rig_op_info(verdict.op)->name);
    }
}

/* Tell the lie where the clause first applied. */
static bool run_lying(enum rig_clause clause, uint32_t at)
{
    stage.lie = rig_lie_find(rig_clause_info(clause)->lie);
    if (stage.lie == NULL) {
        fail_msg("%s: there is no lie `%s`", rig_clause_info(clause)->id,
                 rig_clause_info(clause)->lie);
    }
    stage.at = at;
    stage.clause = clause;
    stage.noticed = false;
    rig_exec_forget(stage.exec);
    (void)rig_exec_run(stage.exec, &program);
    stage.lie = NULL;
    return stage.noticed;
}

/* ---- Tests ---- */

static unsigned proofs[RIG_CLAUSE_COUNT];
static unsigned misses;

static void prove(unsigned number)
{
    static uint32_t first[RIG_CLAUSE_COUNT];
    memcpy(first, rig_exec_judge(stage.exec)->first, sizeof(first));
    for (size_t idx = 0; idx < CLAUSE_COUNT; idx++) {
        const enum rig_clause clause = clauses[idx];
        if (first[clause] == 0 || proofs[clause] >= PROOF_COUNT) {
            continue;
        }
        proofs[clause]++;
        if (!run_lying(clause, first[clause] - 1)) {
            misses++;
            print_error("program %u, step %u: %s does not notice the lie `%s`\n", number,
                        first[clause] - 1, rig_clause_info(clause)->id,
                        rig_clause_info(clause)->lie);
        }
    }
}

static void honest_programs_break_no_rule_and_every_rule_notices_its_lie(void **state)
{
    (void)state;
    seeds_find();
    for (unsigned number = 0; number < program_count(); number++) {
        run_honestly(number);
        prove(number);
    }
    for (size_t idx = 0; idx < CLAUSE_COUNT; idx++) {
        if (proofs[clauses[idx]] == 0) {
            misses++;
            print_error("%s is never exercised\n", rig_clause_info(clauses[idx])->id);
        }
    }
    globfree(&seeds);
    assert_int_equal(misses, 0);
}

static void every_lie_is_told_by_some_clause(void **state)
{
    (void)state;
    size_t count;
    const struct rig_lie *lies = rig_lies_blocks(&count);
    for (size_t lie = 0; lie < count; lie++) {
        bool told = false;
        for (size_t idx = 0; idx < CLAUSE_COUNT; idx++) {
            told = told || strcmp(rig_clause_info(clauses[idx])->lie, lies[lie].name) == 0;
        }
        if (!told) {
            fail_msg("no clause has the lie `%s`", lies[lie].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_programs_break_no_rule_and_every_rule_notices_its_lie),
        cmocka_unit_test(every_lie_is_told_by_some_clause),
    };
    return cmocka_run_group_tests(tests, stage_make, stage_end);
}
