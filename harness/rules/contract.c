/* SPDX-License-Identifier: MIT
 *
 * Reading the contract, and comparing it with clauses.def. Calls the words of the text form. */
#include "contract.h"

#include "../run/check.h"

#include "program/text_words.h"

#include <assert.h>
#include <string.h>

#define FOUND_BYTES_MAX 40u /* of a token in an error */
#define COLUMN_COUNT 7u
#define BUCKET_COUNT 2048u /* twice the rows: a probe ends soon */
#define EXEMPT_PERCENT_MAX 5u

static_assert(BUCKET_COUNT >= 2 * RIG_CONTRACT_ROW_MAX, "the table of IDs is never full");

/* ---- Parsing. What is wrong is told as what was expected, and NULL means all is well --------- */

struct reading {
    struct rig_contract *contract;
    struct rig_piece found;         /* what stands where something else was expected */
    uint16_t buckets[BUCKET_COUNT]; /* 1 + row, by a hash of its ID */
};

static bool is_upper(char character)
{
    return character >= 'A' && character <= 'Z';
}

static bool is_digit(char character)
{
    return character >= '0' && character <= '9';
}

static bool is_id(struct rig_piece id)
{
    struct rig_piece family = rig_piece_cut(&id, '-');
    if (family.len == 0 || id.len == 0) {
        return false;
    }
    for (; family.len != 0; family = rig_piece_skip(family, 1)) {
        if (!is_upper(*family.at)) {
            return false;
        }
    }
    for (; id.len != 0; id = rig_piece_skip(id, 1)) {
        if (!is_digit(*id.at)) {
            return false;
        }
    }
    return true;
}

static bool same(struct rig_piece left, struct rig_piece right)
{
    return left.len == right.len && memcmp(left.at, right.at, left.len) == 0;
}

/* True when no row had this ID before. */
static bool id_is_new(struct reading *reading, struct rig_piece id)
{
    const struct rig_contract *contract = reading->contract;
    uint32_t hash = 2166136261u;
    for (size_t idx = 0; idx < id.len; idx++) {
        hash = (hash ^ (unsigned char)id.at[idx]) * 16777619u;
    }
    uint32_t bucket = hash % BUCKET_COUNT;
    while (reading->buckets[bucket] != 0) {
        if (same(contract->rows[reading->buckets[bucket] - 1].id, id)) {
            return false;
        }
        bucket = (bucket + 1) % BUCKET_COUNT;
    }
    reading->buckets[bucket] = (uint16_t)(contract->count + 1);
    return true;
}

static bool is_kind(struct rig_piece kind)
{
    static const char *const kinds[] = {"concurrency",  "exception", "failure", "flag",    "limit",
                                        "precondition", "result",    "state",   "verifier"};
    for (size_t idx = 0; idx < sizeof(kinds) / sizeof(kinds[0]); idx++) {
        if (rig_piece_is(kind, kinds[idx])) {
            return true;
        }
    }
    return false;
}

/* "yes", or "partly" or "no", which may give a reason behind a colon. */
static const char *parse_testable(struct rig_contract_row *row, struct rig_piece text)
{
    static const char *const words[RIG_TESTABLE_COUNT] = {"no", "partly", "yes"};
    const struct rig_piece word = rig_piece_cut(&text, ':');
    row->reason = text;
    (void)rig_piece_take(&row->reason, " ");
    for (unsigned idx = 0; idx < RIG_TESTABLE_COUNT; idx++) {
        if (rig_piece_is(word, words[idx])) {
            row->testable = (enum rig_testable)idx;
            return NULL;
        }
    }
    return "yes, partly or no";
}

static const char *split(struct reading *reading, struct rig_piece line,
                         struct rig_piece columns[COLUMN_COUNT])
{
    for (unsigned idx = 0; idx < COLUMN_COUNT; idx++) {
        if (idx > 0 && line.at == columns[idx - 1].at + columns[idx - 1].len) {
            return "7 columns parted by tabs";
        }
        columns[idx] = rig_piece_cut(&line, '\t');
        if (columns[idx].len == 0) {
            reading->found = columns[idx];
            return "text in each column";
        }
    }
    reading->found = line;
    return line.len == 0 ? NULL : "7 columns parted by tabs";
}

static const char *parse_header(struct reading *reading, struct rig_piece line)
{
    static const char header[] = "id\tfunction\tkind\tcondition\toutcome\tsource\ttestable";
    reading->found = line;
    return rig_piece_is(line, header)
               ? NULL
               : "id, function, kind, condition, outcome, source, testable, parted by tabs";
}

static const char *parse_row(struct reading *reading, struct rig_piece line)
{
    struct rig_contract *contract = reading->contract;
    struct rig_piece columns[COLUMN_COUNT] = {{0}};
    reading->found = line;
    if (contract->count == RIG_CONTRACT_ROW_MAX) {
        return "1024 clauses at most";
    }
    const char *expected = split(reading, line, columns);
    if (expected != NULL) {
        return expected;
    }
    reading->found = columns[0];
    if (!is_id(columns[0])) {
        return "an ID like ALLOC-16";
    }
    if (!id_is_new(reading, columns[0])) {
        return "an ID that is not there yet";
    }
    reading->found = columns[2];
    if (!is_kind(columns[2])) {
        return "a kind of clause";
    }
    reading->found = columns[6];
    struct rig_contract_row *row = &contract->rows[contract->count];
    *row = (struct rig_contract_row){
        .id = columns[0],
        .function = columns[1],
        .kind = columns[2],
        .condition = columns[3],
        .outcome = columns[4],
        .source = columns[5],
    };
    expected = parse_testable(row, columns[6]);
    contract->count += expected == NULL;
    return expected;
}

/* One line whatever the token holds: bytes that are not plain ASCII are written as numbers. */
static void put_found(struct rig_text_sink *sink, struct rig_piece token)
{
    for (size_t idx = 0; idx < token.len && idx < FOUND_BYTES_MAX; idx++) {
        const unsigned char byte = (unsigned char)token.at[idx];
        const bool plain = byte >= 0x20 && byte < 0x7F && byte != '\'' && byte != '\\';
        rig_text_put(sink, plain ? "%c" : "\\x%02X", byte);
    }
    if (token.len > FOUND_BYTES_MAX) {
        rig_text_put(sink, "...");
    }
}

bool rig_contract_parse(struct rig_contract *contract, const char *name, const char *text,
                        size_t len_bytes, char *error, size_t error_bytes)
{
    struct rig_text_sink sink = {.out = error, .out_bytes = error_bytes, .len_bytes = 0};
    struct reading reading = {.contract = contract};
    struct rig_piece rest = {.at = text, .len = len_bytes};
    if (error_bytes != 0) {
        error[0] = '\0';
    }
    contract->count = 0;
    for (size_t number = 1; number == 1 || rest.len != 0; number++) {
        const struct rig_piece line = rig_piece_cut(&rest, '\n');
        const char *expected =
            number == 1 ? parse_header(&reading, line) : parse_row(&reading, line);
        if (expected != NULL) {
            rig_text_put(&sink, "%s:%zu: expected %s, found '", name, number, expected);
            put_found(&sink, reading.found);
            rig_text_put(&sink, "'");
            contract->count = 0;
            return false;
        }
    }
    return true;
}

/* ---- The contract of this build ------------------------------------------------------------- */

/* Made from contract.tsv by the build, see embed.cmake. */
extern const unsigned char rig_contract_bytes[];
extern const size_t rig_contract_bytes_len;

const char *rig_contract_text(size_t *len_bytes)
{
    *len_bytes = rig_contract_bytes_len;
    return (const char *)rig_contract_bytes;
}

const struct rig_contract *rig_contract(void)
{
    static struct rig_contract contract;
    if (contract.count == 0) {
        char error[RIG_CONTRACT_ERROR_BYTES_MAX];
        size_t len = 0;
        const char *text = rig_contract_text(&len);
        RIG_CHECK(rig_contract_parse(&contract, "contract.tsv", text, len, error, sizeof(error)));
    }
    return &contract;
}

const struct rig_contract_row *rig_contract_find(const struct rig_contract *contract,
                                                 struct rig_piece id)
{
    for (size_t idx = 0; idx < contract->count; idx++) {
        if (same(contract->rows[idx].id, id)) {
            return &contract->rows[idx];
        }
    }
    return NULL;
}

/* ---- What becomes of a clause --------------------------------------------------------------- */

static const struct rig_disposition dispositions[] = {
#define RIG_CLAUSE(id, text, level, rule, lie) {text, RIG_JUDGED, RIG_CLAUSE_##id, NULL},
#define RIG_PENDING(id, text, part) {text, RIG_PENDING_PART, RIG_CLAUSE_COUNT, #part},
#define RIG_EXEMPT(id, text, reason) {text, RIG_EXEMPTED, RIG_CLAUSE_COUNT, reason},
#include "clauses.def"
};

#define DISPOSITION_COUNT (sizeof(dispositions) / sizeof(dispositions[0]))

const struct rig_disposition *rig_dispositions(size_t *count)
{
    *count = DISPOSITION_COUNT;
    return dispositions;
}

const struct rig_disposition *rig_disposition_find(struct rig_piece id)
{
    for (size_t idx = 0; idx < DISPOSITION_COUNT; idx++) {
        if (rig_piece_is(id, dispositions[idx].id)) {
            return &dispositions[idx];
        }
    }
    return NULL;
}

/* ---- Is everything accounted for? ----------------------------------------------------------- */

struct comparing {
    const struct rig_contract *contract;
    const struct rig_disposition *dispositions;
    size_t count;
    rig_contract_lack lack;
    void *context;
    size_t lack_count;
};

static void tell(struct comparing *comparing, struct rig_piece id, const char *what)
{
    comparing->lack_count++;
    comparing->lack(comparing->context, id.at, id.len, what);
}

static struct rig_piece piece_of(const char *text)
{
    return (struct rig_piece){.at = text, .len = strlen(text)};
}

static bool is_ruling(struct rig_piece id)
{
    unsigned number = 0;
    return id.len > 1 && id.at[1] != '0' && rig_piece_take(&id, "D") &&
           rig_piece_number_is(id, RIG_RULING_COUNT, &number) && number > 0;
}

/* How many rows there are for an ID. */
static size_t rows_of(const struct comparing *comparing, struct rig_piece id)
{
    size_t count = 0;
    for (size_t idx = 0; idx < comparing->count; idx++) {
        count += rig_piece_is(id, comparing->dispositions[idx].id);
    }
    return count;
}

static void needs_one(struct comparing *comparing, struct rig_piece id)
{
    const size_t count = rows_of(comparing, id);
    if (count != 1) {
        tell(comparing, id, count == 0 ? "no row in clauses.def" : "several rows in clauses.def");
    }
}

static void clauses_have_rows(struct comparing *comparing)
{
    const struct rig_contract *contract = comparing->contract;
    for (size_t idx = 0; idx < contract->count; idx++) {
        if (contract->rows[idx].testable != RIG_TESTABLE_NO) {
            needs_one(comparing, contract->rows[idx].id);
        }
    }
}

static void rulings_have_rows(struct comparing *comparing)
{
    for (unsigned number = 1; number <= RIG_RULING_COUNT; number++) {
        char id[8];
        struct rig_text_sink sink = {.out = id, .out_bytes = sizeof(id), .len_bytes = 0};
        rig_text_put(&sink, "D%u", number);
        needs_one(comparing, piece_of(id));
    }
}

static void rows_have_clauses(struct comparing *comparing)
{
    for (size_t idx = 0; idx < comparing->count; idx++) {
        const struct rig_disposition *row = &comparing->dispositions[idx];
        const struct rig_piece id = piece_of(row->id);
        const struct rig_contract_row *clause = rig_contract_find(comparing->contract, id);
        if (clause == NULL && !is_ruling(id)) {
            tell(comparing, id, "a row in clauses.def, and no clause or ruling of that name");
        }
        if (clause != NULL && clause->testable == RIG_TESTABLE_NO) {
            tell(comparing, id, "a row in clauses.def, and the contract says it cannot be tested");
        }
        if (row->kind != RIG_JUDGED && row->why[0] == '\0') {
            tell(comparing, id, "left out without a reason");
        }
    }
}

/* Of the clauses marked testable in whole, and of the rulings, few may be left out for good. */
static void few_are_exempt(struct comparing *comparing)
{
    size_t wholly = 0;
    size_t exempt = 0;
    size_t rulings_exempt = 0;
    for (size_t idx = 0; idx < comparing->contract->count; idx++) {
        wholly += comparing->contract->rows[idx].testable == RIG_TESTABLE_YES;
    }
    for (size_t idx = 0; idx < comparing->count; idx++) {
        const struct rig_disposition *row = &comparing->dispositions[idx];
        const struct rig_piece id = piece_of(row->id);
        const struct rig_contract_row *clause = rig_contract_find(comparing->contract, id);
        if (row->kind == RIG_EXEMPTED) {
            exempt += clause != NULL && clause->testable == RIG_TESTABLE_YES;
            rulings_exempt += clause == NULL;
        }
    }
    if (exempt * 100 > wholly * EXEMPT_PERCENT_MAX) {
        tell(comparing, piece_of("all"), "more than 5 % of the clauses marked testable are exempt");
    }
    if (rulings_exempt * 100 > RIG_RULING_COUNT * EXEMPT_PERCENT_MAX) {
        tell(comparing, piece_of("all"), "more than 5 % of the rulings are exempt");
    }
}

size_t rig_contract_complete(const struct rig_contract *contract,
                             const struct rig_disposition *rows, size_t count,
                             rig_contract_lack lack, void *context)
{
    struct comparing comparing = {
        .contract = contract,
        .dispositions = rows,
        .count = count,
        .lack = lack,
        .context = context,
    };
    clauses_have_rows(&comparing);
    rulings_have_rows(&comparing);
    rows_have_clauses(&comparing);
    few_are_exempt(&comparing);
    return comparing.lack_count;
}
