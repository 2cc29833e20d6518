/* SPDX-License-Identifier: MIT
 *
 * Rules: honest programs break none, and each rule notices its lie where the corpus, written by
 * hand, exercises a clause first. Rules on blocks do so wherever random programs exercise them,
 * too. */
#include "program/random.h"
#include "rules/lies.h"
#include "rules/lies_blocks.h"
#include "rules/lies_heaps.h"
#include "rules/prove.h"
#include "run/load.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRAM_COUNT 1500u /* of each of two kinds */
#define RECORD_COUNT 200u

static const enum rig_clause of_blocks[] = {
#define RIG_CLAUSE(id, text, level, rule, lie) RIG_CLAUSE_##id,
#define RIG_PENDING(id, text, part)
#define RIG_EXEMPT(id, text, reason)
#include "rules/clauses_blocks.def"
};

#define OF_BLOCKS_COUNT (sizeof(of_blocks) / sizeof(of_blocks[0]))

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

/* ---- Honest programs ------------------------------------------------------------------------ */

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

static void folder_run(const char *pattern)
{
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    glob_t seeds;
    assert_int_equal(glob(pattern, 0, NULL, &seeds), 0);
    for (size_t idx = 0; idx < seeds.gl_pathc; idx++) {
        if (!rig_load_file(&program, seeds.gl_pathv[idx], error, sizeof(error))) {
            fail_msg("%s", error);
        }
        run(strrchr(seeds.gl_pathv[idx], '/') + 1);
    }
    globfree(&seeds);
}

/* Legal use first: on a damaged heap a lie may pass for what the damage did. */
static void seeds_run(void)
{
    folder_run(RIG_SOURCE_DIR "/corpus/ops_fuzzer/*.heap");
    folder_run(RIG_SOURCE_DIR "/corpus/misuse_fuzzer/*.heap");
    folder_run(RIG_SOURCE_DIR "/corpus/oom_fuzzer/*.heap");
    folder_run(RIG_SOURCE_DIR "/corpus/corrupt_fuzzer/*.heap");
    folder_run(RIG_SOURCE_DIR "/corpus/verifier_fuzzer/*.heap");
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

/* ---- Lies ----------------------------------------------------------------------------------- */

static void prove(enum rig_clause clause)
{
    const struct rig_clause_info *info = rig_clause_info(clause);
    const struct rig_proof proof = rig_prover_prove(prover, clause);
    if (proof.status != RIG_PROOF_OK) {
        misses++;
        print_error("%s, lie %s: %s (%s, record %u, %s)\n", info->id, info->lie,
                    rig_proof_status_text(proof.status),
                    proof.label == NULL ? "no program" : proof.label, proof.record_idx,
                    proof.call == NULL ? "no call" : proof.call);
    }
}

static void the_corpus_breaks_no_rule_and_every_rule_notices_its_lie_in_it(void **state)
{
    (void)state;
    misses = 0;
    seeds_run();
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        prove(clause);
    }
    assert_int_equal(misses, 0);
}

static void random_programs_break_no_rule_and_rules_on_blocks_notice_lies_in_them(void **state)
{
    size_t proofs = 0;
    (void)state;
    misses = 0;
    random_run();
    for (size_t idx = 0; idx < OF_BLOCKS_COUNT; idx++) {
        if (rig_prover_exercised(prover, of_blocks[idx]) != 0) {
            proofs++;
            prove(of_blocks[idx]);
        }
    }
    assert_int_equal(misses, 0);
    assert_in_range(proofs, OF_BLOCKS_COUNT / 2, OF_BLOCKS_COUNT);
}

static void told_by_some_clause(const struct rig_lie *lies, size_t count)
{
    for (size_t lie = 0; lie < count; lie++) {
        bool told = false;
        for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
            told = told || strcmp(rig_clause_info(clause)->lie, lies[lie].name) == 0;
        }
        if (!told) {
            fail_msg("no clause has the lie `%s`", lies[lie].name);
        }
    }
}

static void every_lie_is_told_by_some_clause(void **state)
{
    size_t count;
    (void)state;
    const struct rig_lie *blocks = rig_lies_blocks(&count);
    told_by_some_clause(blocks, count);
    const struct rig_lie *heaps = rig_lies_heaps(&count);
    told_by_some_clause(heaps, count);
    const struct rig_lie *misuse = rig_lies_misuse(&count);
    told_by_some_clause(misuse, count);
    const struct rig_lie *verifier = rig_lies_verifier(&count);
    told_by_some_clause(verifier, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_corpus_breaks_no_rule_and_every_rule_notices_its_lie_in_it, prover_make,
            prover_end),
        cmocka_unit_test_setup_teardown(
            random_programs_break_no_rule_and_rules_on_blocks_notice_lies_in_them, prover_make,
            prover_end),
        cmocka_unit_test(every_lie_is_told_by_some_clause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
