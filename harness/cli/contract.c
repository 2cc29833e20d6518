/* SPDX-License-Identifier: MIT
 *
 * heaprig contract: what becomes of each clause, how often a corpus exercises it, and the proof
 * that its rule is alive. Calls rules/contract and rules/prove. */
#include "cli/cli.h"

#include "rules/contract.h"
#include "rules/lies.h"
#include "rules/prove.h"
#include "run/load.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_PROVE 0x7002
#define KEY_CORPUS 0x7003

struct options {
    const char *command;
    const char *corpus;
    bool json;
    bool prove;
};

struct report {
    const struct options *options;
    struct rig_prover *prover;
    size_t program_count;
    size_t judged_count;
    size_t pending_count;
    size_t exempt_count;
    size_t untestable_count;
    size_t missing_count;
    size_t proved_count;
    size_t problem_count;
};

/* ---- Progress and problems ------------------------------------------------------------------ */

static void progress(const char *what, size_t idx, size_t count, const char *name)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r%s %zu/%zu %.60s\033[K%s", what, idx, count, name,
                      idx == count ? "\r\033[K" : "");
    }
}

static void problem(struct report *report, struct rig_piece id, const char *what)
{
    report->problem_count++;
    if (!report->options->json) {
        (void)printf("PROBLEM %.*s: %s\n", (int)id.len, id.at, what);
        return;
    }
    char text[64];
    cJSON *object = cJSON_CreateObject();
    (void)snprintf(text, sizeof(text), "%.*s", (int)id.len, id.at);
    (void)cJSON_AddStringToObject(object, "problem", what);
    (void)cJSON_AddStringToObject(object, "id", text);
    rig_cli_object(object);
}

static void lack(void *context, const char *id, size_t id_len, const char *what)
{
    problem(context, (struct rig_piece){id, id_len}, what);
}

static struct rig_piece piece_of(const char *text)
{
    return (struct rig_piece){text, strlen(text)};
}

/* ---- The corpus ----------------------------------------------------------------------------- */

static bool ends(const char *name, const char *ending)
{
    const size_t len = strlen(name);
    return len >= strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0;
}

static void run_file(struct report *report, const char *path)
{
    static struct rig_program program;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    if (!rig_load_file(&program, path, error, sizeof(error))) {
        rig_cli_refuse(report->options->command, "%s", error);
    }
    const struct rig_verdict verdict = rig_prover_add(report->prover, &program, path);
    report->program_count++;
    if (verdict.found) {
        char what[PATH_MAX + 128];
        (void)snprintf(what, sizeof(what), "broken by %s, step %u: heaprig run tells more", path,
                       verdict.step_idx);
        problem(report, piece_of(rig_clause_info(verdict.clause)->id), what);
    }
}

static void run_corpus(struct report *report, const char *folder)
{
    struct rig_paths paths;
    if (!rig_load_paths(&paths, folder)) {
        rig_cli_refuse(report->options->command, "%s: expected a folder of programs: %s", folder,
                       strerror(errno));
    }
    for (size_t idx = 0; idx < paths.count; idx++) {
        if (!ends(paths.paths[idx], ".md")) {
            run_file(report, paths.paths[idx]);
        }
        progress("running", idx + 1, paths.count, paths.paths[idx]);
    }
    rig_load_paths_free(&paths);
    if (report->program_count == 0) {
        rig_cli_refuse(report->options->command, "%s: expected a program in it", folder);
    }
}

/* The project's own corpus: of the sources that this was built from, or, where those are gone,
 * beside the build folder. */
static const char *corpus_default(void)
{
    static const char built_from[] = RIG_SOURCE_DIR "/corpus";
    static char path[PATH_MAX + 64];
    if (access(built_from, R_OK) == 0) {
        return built_from;
    }
    const ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
    char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;
    if (slash == NULL) {
        return built_from;
    }
    (void)strcpy(slash, "/../../../corpus");
    return access(path, R_OK) == 0 ? path : built_from;
}

/* The folders of programs in it, as far as they are there. */
static void run_default(struct report *report)
{
    static const char *const folders[] = {"ops_fuzzer", "misuse_fuzzer", "oom_fuzzer",
                                          "corrupt_fuzzer", "attacks", "verifier_fuzzer"};
    const char *corpus = corpus_default();
    for (size_t idx = 0; idx < sizeof(folders) / sizeof(folders[0]); idx++) {
        char path[PATH_MAX + 128];
        (void)snprintf(path, sizeof(path), "%s/%s", corpus, folders[idx]);
        if (idx == 0 || access(path, R_OK) == 0) {
            run_corpus(report, path);
        }
    }
}

/* ---- Rows ----------------------------------------------------------------------------------- */

static void count(struct report *report, const struct rig_disposition *row, bool testable)
{
    if (row == NULL) {
        report->missing_count += testable;
        report->untestable_count += !testable;
        return;
    }
    report->judged_count += row->kind == RIG_JUDGED;
    report->pending_count += row->kind == RIG_PENDING_PART;
    report->exempt_count += row->kind == RIG_EXEMPTED;
}

static const char *disposition(const struct rig_disposition *row, bool testable)
{
    static const char *const words[] = {
        [RIG_JUDGED] = "judged",
        [RIG_PENDING_PART] = "pending",
        [RIG_EXEMPTED] = "exempt",
    };
    return row != NULL ? words[row->kind] : testable ? "missing" : "not testable";
}

static uint64_t exercised(const struct report *report, const struct rig_disposition *row)
{
    return rig_prover_exercised(report->prover, row->clause);
}

static void row_text(const struct report *report, struct rig_piece id, struct rig_piece function,
                     const struct rig_disposition *row, bool testable)
{
    (void)printf("%-11.*s %-30.*s %-12s", (int)id.len, id.at, (int)function.len, function.at,
                 disposition(row, testable));
    if (row == NULL) {
        (void)puts("");
    } else if (row->kind == RIG_JUDGED) {
        const struct rig_clause_info *info = rig_clause_info(row->clause);
        (void)printf(" %10llu  by %s, lie %s\n", (unsigned long long)exercised(report, row),
                     rig_rule_name(info->rule), info->lie);
    } else {
        (void)printf(" %10s  %s %s\n", "", row->kind == RIG_EXEMPTED ? "because" : "for", row->why);
    }
}

static void add_piece(cJSON *object, const char *name, struct rig_piece piece)
{
    char text[2048];
    (void)snprintf(text, sizeof(text), "%.*s", (int)piece.len, piece.at);
    (void)cJSON_AddStringToObject(object, name, text);
}

static void row_json(const struct report *report, const struct rig_contract_row *clause,
                     struct rig_piece id, const struct rig_disposition *row, bool testable)
{
    static const char *const testables[RIG_TESTABLE_COUNT] = {"no", "partly", "yes"};
    cJSON *object = cJSON_CreateObject();
    add_piece(object, "id", id);
    if (clause != NULL) {
        add_piece(object, "function", clause->function);
        add_piece(object, "kind", clause->kind);
        add_piece(object, "condition", clause->condition);
        add_piece(object, "outcome", clause->outcome);
        add_piece(object, "source", clause->source);
        (void)cJSON_AddStringToObject(object, "testable", testables[clause->testable]);
        add_piece(object, "reason", clause->reason);
    }
    (void)cJSON_AddStringToObject(object, "disposition", disposition(row, testable));
    if (row != NULL && row->kind == RIG_JUDGED) {
        const struct rig_clause_info *info = rig_clause_info(row->clause);
        (void)cJSON_AddStringToObject(object, "rule", rig_rule_name(info->rule));
        (void)cJSON_AddStringToObject(object, "lie", info->lie);
        (void)cJSON_AddNumberToObject(object, "exercised", (double)exercised(report, row));
    } else if (row != NULL) {
        (void)cJSON_AddStringToObject(object, row->kind == RIG_EXEMPTED ? "because" : "for",
                                      row->why);
    }
    rig_cli_object(object);
}

static void row_print(struct report *report, const struct rig_contract_row *clause,
                      struct rig_piece id)
{
    const struct rig_disposition *row = rig_disposition_find(id);
    const bool testable = clause == NULL || clause->testable != RIG_TESTABLE_NO;
    count(report, row, testable);
    if (report->options->json) {
        row_json(report, clause, id, row, testable);
    } else {
        row_text(report, id, clause != NULL ? clause->function : piece_of("core/SOURCES.md"), row,
                 testable);
    }
}

static void rows_print(struct report *report)
{
    const struct rig_contract *contract = rig_contract();
    for (size_t idx = 0; idx < contract->count; idx++) {
        row_print(report, &contract->rows[idx], contract->rows[idx].id);
    }
    for (unsigned number = 1; number <= RIG_RULING_COUNT; number++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "D%u", number);
        row_print(report, NULL, piece_of(id));
    }
}

/* ---- Is every judged clause alive? ---------------------------------------------------------- */

static void judged_are_alive(struct report *report)
{
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        const struct rig_clause_info *info = rig_clause_info(clause);
        if (rig_lie_find(info->lie) == NULL) {
            problem(report, piece_of(info->id), "judged without a lie");
        }
        if (rig_prover_exercised(report->prover, clause) == 0) {
            problem(report, piece_of(info->id), "judged and never exercised by the corpus");
        }
    }
}

static void proof_print(struct report *report, enum rig_clause clause,
                        const struct rig_proof *proof)
{
    const struct rig_clause_info *info = rig_clause_info(clause);
    const char *text = rig_proof_status_text(proof->status);
    report->proved_count += proof->status == RIG_PROOF_OK;
    if (report->options->json) {
        cJSON *object = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(object, "id", info->id);
        (void)cJSON_AddStringToObject(object, "proof", text);
        (void)cJSON_AddBoolToObject(object, "proved", proof->status == RIG_PROOF_OK);
        (void)cJSON_AddStringToObject(object, "lie", info->lie);
        if (proof->label != NULL) {
            (void)cJSON_AddStringToObject(object, "program", proof->label);
            (void)cJSON_AddNumberToObject(object, "step", proof->record_idx);
            (void)cJSON_AddStringToObject(object, "call", proof->call != NULL ? proof->call : "");
        }
        rig_cli_object(object);
    } else if (proof->label == NULL) {
        (void)printf("proof %-11s lie %-16s %s\n", info->id, info->lie, text);
    } else {
        (void)printf("proof %-11s lie %-16s %s, in %s step %u, %s\n", info->id, info->lie, text,
                     proof->label, proof->record_idx,
                     proof->call != NULL ? proof->call : "no call");
    }
    if (proof->status != RIG_PROOF_OK) {
        problem(report, piece_of(info->id), text);
    }
}

static void prove(struct report *report)
{
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        progress("proving", clause + 1, RIG_CLAUSE_COUNT, rig_clause_info(clause)->id);
        const struct rig_proof proof = rig_prover_prove(report->prover, clause);
        proof_print(report, clause, &proof);
    }
}

static void summary_print(const struct report *report)
{
    if (report->options->json) {
        cJSON *object = cJSON_CreateObject();
        cJSON *summary = cJSON_AddObjectToObject(object, "summary");
        (void)cJSON_AddNumberToObject(summary, "clauses", (double)rig_contract()->count);
        (void)cJSON_AddNumberToObject(summary, "rulings", RIG_RULING_COUNT);
        (void)cJSON_AddNumberToObject(summary, "judged", (double)report->judged_count);
        (void)cJSON_AddNumberToObject(summary, "pending", (double)report->pending_count);
        (void)cJSON_AddNumberToObject(summary, "exempt", (double)report->exempt_count);
        (void)cJSON_AddNumberToObject(summary, "not_testable", (double)report->untestable_count);
        (void)cJSON_AddNumberToObject(summary, "missing", (double)report->missing_count);
        (void)cJSON_AddNumberToObject(summary, "programs", (double)report->program_count);
        if (report->options->prove) {
            (void)cJSON_AddNumberToObject(summary, "proved", (double)report->proved_count);
        }
        (void)cJSON_AddNumberToObject(summary, "problems", (double)report->problem_count);
        rig_cli_object(object);
        return;
    }
    (void)printf("%zu clauses and %u rulings: %zu judged, %zu pending, %zu exempt, %zu not "
                 "testable, %zu missing\n",
                 rig_contract()->count, RIG_RULING_COUNT, report->judged_count,
                 report->pending_count, report->exempt_count, report->untestable_count,
                 report->missing_count);
    if (report->options->prove) {
        (void)printf("%zu of %u judged proved by a lie\n", report->proved_count,
                     (unsigned)RIG_CLAUSE_COUNT);
    }
    (void)printf("%zu programs, %zu problems\n", report->program_count, report->problem_count);
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    {"json", 'j', 0, 0, "One object a line", 0},
    {"prove", KEY_PROVE, 0, 0,
     "Tell each clause's lie where it is first exercised: its rule must "
     "name it",
     0},
    {"corpus", KEY_CORPUS, "DIR", 0,
     "Count exercise over these programs (default: the project's own)", 0},
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case KEY_PROVE:
        options->prove = true;
        return 0;
    case KEY_CORPUS:
        options->corpus = arg;
        return 0;
    case ARGP_KEY_ARG:
        rig_cli_refuse(options->command, "%s: expected options only", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "List the clauses of the contract and core's rulings: what becomes of each, and how "
        "often a corpus exercises it.\v"
        "Exit status 1 when a testable clause has no row, or a judged one no lie or no exercise, "
        "or, with --prove, when a lie goes unnoticed.",
};

int rig_cli_contract(int argc, char **argv)
{
    struct options options = {.command = argv[0]};
    rig_cli_parse(&argp, argc, argv, &options);
    struct report report = {
        .options = &options,
        .prover = rig_prover_create(rig_subject_core()),
    };
    if (report.prover == NULL) {
        rig_cli_refuse(argv[0], "expected memory for an executor");
    }
    if (options.corpus != NULL) {
        run_corpus(&report, options.corpus);
    } else {
        run_default(&report);
    }
    rows_print(&report);
    size_t count_rows = 0;
    const struct rig_disposition *rows = rig_dispositions(&count_rows);
    (void)rig_contract_complete(rig_contract(), rows, count_rows, lack, &report);
    judged_are_alive(&report);
    if (options.prove) {
        prove(&report);
    }
    summary_print(&report);
    rig_prover_destroy(report.prover);
    return report.problem_count == 0 ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}
