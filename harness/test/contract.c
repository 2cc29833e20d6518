/* SPDX-License-Identifier: MIT
 *
 * The contract's bookkeeping: the table parses and what is wrong with one is said exactly; every
 * clause is accounted for; every judged clause is alive over the project's corpus. */
#include "rules/contract.h"
#include "rules/prove.h"
#include "run/load.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER "id\tfunction\tkind\tcondition\toutcome\tsource\ttestable\n"
#define ROW(id, testable) id "\tHeapAlloc\tresult\twhen\tthen\tpage\t" testable "\n"

static struct rig_contract contract;
static char error[RIG_CONTRACT_ERROR_BYTES_MAX];

static bool parse(const char *text)
{
    return rig_contract_parse(&contract, "table", text, strlen(text), error, sizeof(error));
}

static void refused(const char *text, const char *expected)
{
    assert_false(parse(text));
    assert_string_equal(error, expected);
    assert_int_equal(contract.count, 0);
}

static void piece_equal(struct rig_piece piece, const char *text)
{
    assert_int_equal(piece.len, strlen(text));
    assert_memory_equal(piece.at, text, piece.len);
}

/* ---- Parsing -------------------------------------------------------------------------------- */

static void a_row_keeps_its_columns(void **state)
{
    (void)state;
    assert_true(parse(HEADER "HALLOC-02\tHeapAlloc\tflag\twhen\tthen it is\ta; b\tpartly: why so\n"
                             "D-7\tf\tlimit\tc\to\ts\tno"));
    assert_string_equal(error, "");
    assert_int_equal(contract.count, 2);
    const struct rig_contract_row *row = &contract.rows[0];
    piece_equal(row->id, "HALLOC-02");
    piece_equal(row->function, "HeapAlloc");
    piece_equal(row->kind, "flag");
    piece_equal(row->condition, "when");
    piece_equal(row->outcome, "then it is");
    piece_equal(row->source, "a; b");
    piece_equal(row->reason, "why so");
    assert_int_equal(row->testable, RIG_TESTABLE_PARTLY);
    assert_int_equal(contract.rows[1].testable, RIG_TESTABLE_NO);
    assert_ptr_equal(rig_contract_find(&contract, contract.rows[1].id), &contract.rows[1]);
    assert_null(rig_contract_find(&contract, (struct rig_piece){"D-8", 3}));
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    (void)state;
    refused("", "table:1: expected id, function, kind, condition, outcome, source, testable, "
                "parted by tabs, found ''");
    refused("id\tkind\n", "table:1: expected id, function, kind, condition, outcome, source, "
                          "testable, parted by tabs, found 'id\\x09kind'");
    refused(HEADER "A-1\tf\tresult\tc\to\tyes\n",
            "table:2: expected 7 columns parted by tabs, found "
            "'A-1\\x09f\\x09result\\x09c\\x09o\\x09yes'");
    refused(HEADER "A-1\tf\tresult\tc\to\ts\tyes\tmore\n",
            "table:2: expected 7 columns parted by tabs, found 'more'");
    refused(HEADER "A-1\tf\tresult\tc\t\ts\tyes\n",
            "table:2: expected text in each column, found ''");
    refused(HEADER "A-1\tf\tresult\tc\to\ts\t\n",
            "table:2: expected text in each column, found ''");
    refused(HEADER ROW("A-1", "yes") ROW("a-2", "yes"),
            "table:3: expected an ID like ALLOC-16, found 'a-2'");
    refused(HEADER ROW("A-1x", "yes"), "table:2: expected an ID like ALLOC-16, found 'A-1x'");
    refused(HEADER ROW("A-", "yes"), "table:2: expected an ID like ALLOC-16, found 'A-'");
    refused(HEADER ROW("-1", "yes"), "table:2: expected an ID like ALLOC-16, found '-1'");
    refused(HEADER ROW("A", "yes"), "table:2: expected an ID like ALLOC-16, found 'A'");
    refused(HEADER ROW("A-1", "yes") ROW("A-2", "no") ROW("A-1", "yes"),
            "table:4: expected an ID that is not there yet, found 'A-1'");
    refused(HEADER "A-1\tf\trumour\tc\to\ts\tyes\n",
            "table:2: expected a kind of clause, found 'rumour'");
    refused(HEADER ROW("A-1", "maybe: so"), "table:2: expected yes, partly or no, found "
                                            "'maybe: so'");
    refused(HEADER ROW("A-1", "maybe\r\x80'"), "table:2: expected yes, partly or no, found "
                                               "'maybe\\x0D\\x80\\x27'");
    refused(HEADER "\n", "table:2: expected text in each column, found ''");
}

static void a_long_token_is_cut_and_so_is_the_error(void **state)
{
    (void)state;
    char text[512] = HEADER;
    char small[24];
    memset(text + sizeof(HEADER) - 1, 'x', 300);
    refused(text, "table:2: expected 7 columns parted by tabs, found "
                  "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'");
    assert_false(rig_contract_parse(&contract, "table", text, strlen(text), small, sizeof(small)));
    assert_string_equal(small, "table:2: expected 7 col");
    assert_false(rig_contract_parse(&contract, "table", text, strlen(text), NULL, 0));
}

static void there_is_room_for_so_many_clauses_and_no_more(void **state)
{
    (void)state;
    const size_t room = 64u * (RIG_CONTRACT_ROW_MAX + 2);
    char *text = malloc(room);
    assert_non_null(text);
    size_t len = (size_t)sprintf(text, "%s", HEADER);
    for (unsigned number = 0; number < RIG_CONTRACT_ROW_MAX; number++) {
        len += (size_t)sprintf(text + len, "A-%u\tf\tresult\tc\to\ts\tyes\n", number);
    }
    assert_true(parse(text));
    assert_int_equal(contract.count, RIG_CONTRACT_ROW_MAX);
    (void)sprintf(text + len, "B-1\tf\tresult\tc\to\ts\tyes\n");
    assert_false(parse(text));
    assert_string_equal(error, "table:1026: expected 1024 clauses at most, found "
                               "'B-1\\x09f\\x09result\\x09c\\x09o\\x09s\\x09yes'");
    free(text);
}

static void the_embedded_table_is_the_file(void **state)
{
    (void)state;
    size_t len = 0;
    const char *text = rig_contract_text(&len);
    uint8_t *bytes = malloc(RIG_LOAD_BYTES_MAX + 1);
    size_t file_len = 0;
    FILE *file = fopen(RIG_SOURCE_DIR "/harness/rules/contract.tsv", "rb");
    assert_non_null(file);
    assert_non_null(bytes);
    assert_true(rig_load_read(file, "contract.tsv", bytes, &file_len, error, sizeof(error)));
    (void)fclose(file);
    assert_int_equal(len, file_len);
    assert_memory_equal(text, bytes, len);
    free(bytes);
    assert_int_equal(rig_contract()->count, 567);
}

/* ---- Completeness --------------------------------------------------------------------------- */

struct lacks {
    size_t count;
    char text[8192];
};

static void lack(void *context, const char *id, size_t id_len, const char *what)
{
    struct lacks *lacks = context;
    const size_t len = strlen(lacks->text);
    lacks->count++;
    (void)snprintf(lacks->text + len, sizeof(lacks->text) - len, "%.*s: %s\n", (int)id_len, id,
                   what);
}

/* Rows for all rulings, and behind them room for a few more. */
static struct rig_disposition rows[RIG_RULING_COUNT + 8];
static char ids[RIG_RULING_COUNT][8];

static size_t rulings_fill(void)
{
    for (unsigned idx = 0; idx < RIG_RULING_COUNT; idx++) {
        (void)snprintf(ids[idx], sizeof(ids[idx]), "D%u", idx + 1);
        rows[idx] = (struct rig_disposition){ids[idx], RIG_JUDGED, (enum rig_clause)0, NULL};
    }
    return RIG_RULING_COUNT;
}

static void lacks_are(size_t count, const char *expected)
{
    struct lacks lacks = {0};
    const size_t told = rig_contract_complete(&contract, rows, count, lack, &lacks);
    assert_string_equal(lacks.text, expected);
    assert_int_equal(told, lacks.count);
}

static void a_testable_clause_wants_exactly_one_row(void **state)
{
    (void)state;
    size_t count = rulings_fill();
    assert_true(parse(HEADER ROW("A-1", "yes") ROW("A-2", "partly: so") ROW("A-3", "no: so")));
    rows[count++] = (struct rig_disposition){"A-1", RIG_JUDGED, (enum rig_clause)0, NULL};
    lacks_are(count, "A-2: no row in clauses.def\n");
    rows[count++] = (struct rig_disposition){"A-2", RIG_PENDING_PART, RIG_CLAUSE_COUNT, "faults"};
    lacks_are(count, "");
    rows[count++] = (struct rig_disposition){"A-2", RIG_JUDGED, (enum rig_clause)0, NULL};
    lacks_are(count, "A-2: several rows in clauses.def\n");
}

static void a_ruling_wants_exactly_one_row(void **state)
{
    (void)state;
    const size_t count = rulings_fill();
    assert_true(parse(HEADER));
    lacks_are(count, "");
    lacks_are(count - 1, "D111: no row in clauses.def\n");
    rows[0] = rows[1];
    lacks_are(count, "D1: no row in clauses.def\nD2: several rows in clauses.def\n");
}

static void a_row_wants_something_that_it_is_for(void **state)
{
    (void)state;
    size_t count = rulings_fill();
    assert_true(parse(HEADER ROW("A-1", "no: so")));
    rows[count++] = (struct rig_disposition){"A-1", RIG_JUDGED, (enum rig_clause)0, NULL};
    rows[count++] = (struct rig_disposition){"A-2", RIG_JUDGED, (enum rig_clause)0, NULL};
    rows[count++] = (struct rig_disposition){"D120", RIG_JUDGED, (enum rig_clause)0, NULL};
    rows[count++] = (struct rig_disposition){"D01", RIG_JUDGED, (enum rig_clause)0, NULL};
    lacks_are(count, "A-1: a row in clauses.def, and the contract says it cannot be tested\n"
                     "A-2: a row in clauses.def, and no clause or ruling of that name\n"
                     "D120: a row in clauses.def, and no clause or ruling of that name\n"
                     "D01: a row in clauses.def, and no clause or ruling of that name\n");
}

static void few_may_be_left_out_and_none_without_a_reason(void **state)
{
    (void)state;
    size_t count = rulings_fill();
    assert_true(parse(HEADER ROW("A-1", "yes") ROW("B-1", "partly: so")));
    rows[count++] = (struct rig_disposition){"A-1", RIG_PENDING_PART, RIG_CLAUSE_COUNT, "faults"};
    rows[count++] = (struct rig_disposition){"B-1", RIG_EXEMPTED, RIG_CLAUSE_COUNT, "why"};
    lacks_are(count, "");
    rows[count - 1].why = "";
    lacks_are(count, "B-1: left out without a reason\n");
    rows[count - 1].why = "why";
    rows[count - 2].kind = RIG_EXEMPTED;
    lacks_are(count, "all: more than 5 % of the clauses marked testable are exempt\n");
    rows[count - 2].kind = RIG_JUDGED;
    const unsigned few = RIG_RULING_COUNT * 5u / 100u;
    for (unsigned idx = 0; idx < few; idx++) {
        rows[idx].kind = RIG_EXEMPTED;
        rows[idx].why = "why";
    }
    lacks_are(count, "");
    rows[few].kind = RIG_EXEMPTED;
    rows[few].why = "why";
    lacks_are(count, "all: more than 5 % of the rulings are exempt\n");
}

static void every_clause_of_the_contract_is_accounted_for(void **state)
{
    (void)state;
    static struct lacks lacks;
    size_t count = 0;
    const struct rig_disposition *all = rig_dispositions(&count);
    if (rig_contract_complete(rig_contract(), all, count, lack, &lacks) != 0) {
        fail_msg("%zu lacks:\n%s", lacks.count, lacks.text);
    }
    assert_ptr_equal(rig_disposition_find((struct rig_piece){all[0].id, strlen(all[0].id)}), all);
    assert_null(rig_disposition_find((struct rig_piece){"NONE-01", 7}));
}

/* ---- Proof ---------------------------------------------------------------------------------- */

static void add_folder(struct rig_prover *prover, const char *folder)
{
    static struct rig_program program;
    char what[RIG_LOAD_ERROR_BYTES_MAX];
    struct rig_paths paths;
    if (!rig_load_paths(&paths, folder)) {
        fail_msg("%s: %s", folder, strerror(errno));
    }
    for (size_t idx = 0; idx < paths.count; idx++) {
        const char *path = paths.paths[idx];
        if (strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".md") == 0) {
            continue;
        }
        if (!rig_load_file(&program, path, what, sizeof(what))) {
            fail_msg("%s", what);
        }
        const struct rig_verdict verdict = rig_prover_add(prover, &program, path);
        if (verdict.found) {
            fail_msg("%s: step %u breaks %s", path, verdict.step_idx,
                     rig_clause_info(verdict.clause)->id);
        }
    }
    rig_load_paths_free(&paths);
}

/* The prover with all of the project's programs. */
static struct rig_prover *prover_of_corpus(void)
{
    static const char *const folders[] = {"ops_fuzzer", "misuse_fuzzer", "oom_fuzzer",
                                          "corrupt_fuzzer", "attacks", "verifier_fuzzer"};
    struct rig_prover *prover = rig_prover_create(rig_subject_core());
    assert_non_null(prover);
    for (size_t idx = 0; idx < sizeof(folders) / sizeof(folders[0]); idx++) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof(path), RIG_SOURCE_DIR "/corpus/%s", folders[idx]);
        if (idx == 0 || access(path, R_OK) == 0) {
            add_folder(prover, path);
        }
    }
    return prover;
}

static void every_judged_clause_is_exercised_and_its_lie_is_noticed(void **state)
{
    (void)state;
    struct rig_prover *prover = prover_of_corpus();
    unsigned bad = 0;
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        const struct rig_proof proof = rig_prover_prove(prover, clause);
        if (proof.status != RIG_PROOF_OK) {
            print_error("%s: %s\n", rig_clause_info(clause)->id,
                        rig_proof_status_text(proof.status));
            bad++;
        }
    }
    rig_prover_destroy(prover);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_keeps_its_columns),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(a_long_token_is_cut_and_so_is_the_error),
        cmocka_unit_test(there_is_room_for_so_many_clauses_and_no_more),
        cmocka_unit_test(the_embedded_table_is_the_file),
        cmocka_unit_test(a_testable_clause_wants_exactly_one_row),
        cmocka_unit_test(a_ruling_wants_exactly_one_row),
        cmocka_unit_test(a_row_wants_something_that_it_is_for),
        cmocka_unit_test(few_may_be_left_out_and_none_without_a_reason),
        cmocka_unit_test(every_clause_of_the_contract_is_accounted_for),
        cmocka_unit_test(every_judged_clause_is_exercised_and_its_lie_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
