/* SPDX-License-Identifier: MIT
 *
 * Rules on heaps and the process: honest programs break none, and each rule notices its lie. Seeds
 * written by hand come first, so that what is rare is proved by them. */
#include "program/random.h"
#include "program/text.h"
#include "rules/lies.h"
#include "rules/prove.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRAM_COUNT 1000u /* of each kind */
#define RECORD_COUNT 200u
#define TEXT_BYTES_MAX 65536u

static const enum rig_clause clauses[] = {
#define RIG_CLAUSE(id, text, level, rule, lie) RIG_CLAUSE_##id,
#define RIG_PENDING(id, text, part)
#define RIG_EXEMPT(id, text, reason)
#include "rules/clauses_heaps.def"
#undef RIG_CLAUSE
#undef RIG_PENDING
#undef RIG_EXEMPT
};

#define CLAUSE_COUNT (sizeof(clauses) / sizeof(clauses[0]))

static struct rig_prover *prover;
static struct rig_program program;
static unsigned misses;

static int prover_make(void **state)
{
    (void)state;
    prover = rig_prover_create(rig_subject_core());
    return prover == NULL;
}

static int prover_end(void **state)
{
    (void)state;
    rig_prover_destroy(prover);
    return 0;
}

/* ---- Honest programs ---- */

static void run(const char *label)
{
    const struct rig_verdict verdict = rig_prover_add(prover, &program, label);
    if (verdict.found) {
        misses++;
        print_error("%s: %s does not hold in step %u (%s)\n", label,
                    rig_clause_info(verdict.clause)->id, verdict.step_idx,
                    rig_op_info(verdict.op)->name);
    }
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

static void seeds_run(void)
{
    glob_t seeds;
    assert_int_equal(glob(RIG_SOURCE_DIR "/corpus/ops_fuzzer/*.heap", 0, NULL, &seeds), 0);
    for (size_t idx = 0; idx < seeds.gl_pathc; idx++) {
        program_load(seeds.gl_pathv[idx]);
        run(strrchr(seeds.gl_pathv[idx], '/') + 1);
    }
    globfree(&seeds);
}

static void random_run(void)
{
    char label[32];
    for (uint32_t seed = 0; seed < PROGRAM_COUNT; seed++) {
        rig_program_random(&program, seed, RECORD_COUNT);
        (void)snprintf(label, sizeof(label), "random %u", seed);
        run(label);
        rig_program_random_swarm(&program, seed, RECORD_COUNT);
        (void)snprintf(label, sizeof(label), "swarm %u", seed);
        run(label);
    }
}

static void honest_programs_break_no_rule(void **state)
{
    (void)state;
    misses = 0;
    seeds_run();
    random_run();
    assert_int_equal(misses, 0);
}

/* ---- Lies ---- */

static void every_rule_notices_its_lie(void **state)
{
    (void)state;
    misses = 0;
    for (size_t idx = 0; idx < CLAUSE_COUNT; idx++) {
        const struct rig_clause_info *info = rig_clause_info(clauses[idx]);
        const struct rig_proof proof = rig_prover_prove(prover, clauses[idx]);
        if (proof.status != RIG_PROOF_OK) {
            misses++;
            print_error("%s, lie %s: %s (%s, record %u, %s)\n", info->id, info->lie,
                        rig_proof_status_text(proof.status),
                        proof.label == NULL ? "no program" : proof.label, proof.record_idx,
                        proof.call == NULL ? "no call" : proof.call);
        }
    }
    assert_int_equal(misses, 0);
}

static void every_lie_is_told_by_some_clause(void **state)
{
    (void)state;
    size_t count;
    const struct rig_lie *lies = rig_lies_heaps(&count);
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
        cmocka_unit_test(honest_programs_break_no_rule),
        cmocka_unit_test(every_rule_notices_its_lie),
        cmocka_unit_test(every_lie_is_told_by_some_clause),
    };
    return cmocka_run_group_tests(tests, prover_make, prover_end);
}
