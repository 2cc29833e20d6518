/* SPDX-License-Identifier: MIT
 *
 * Target: the rig's own parsers, and what core reads from outside. The first bytes say which one
 * reads the input: programs in bytes (HRPG), traces (HRTR), raw recordings (HRTRRAW1), the contract
 * (its column names), plans (plan=), three of core_parsers.h, and the text form else. What parses
 * must come back the same when it is written and parsed again. */
#include "core_parsers.h"
#include "faults/plan.h"
#include "program/text.h"
#include "rules/contract.h"
#include "run/check.h"
#include "stats.h"
#include "trace/raw.h"
#include "trace/trace.h"

#include <stdio.h>
#include <string.h>

#define OUT_BYTES (1u << 20) /* more than any input of the engine's length can become */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

/* What was written, to be read again. */
struct out {
    size_t len;
    char bytes[OUT_BYTES];
};

static struct out outs[2];
static char error[RIG_TEXT_ERROR_BYTES_MAX];

static bool put(void *self, const uint8_t *bytes, size_t len)
{
    struct out *out = self;
    RIG_CHECK(len <= OUT_BYTES - out->len);
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
    return true;
}

static void outs_equal(void)
{
    RIG_CHECK(outs[0].len == outs[1].len);
    RIG_CHECK(memcmp(outs[0].bytes, outs[1].bytes, outs[0].len) == 0);
}

/* ---- Programs: text and bytes ---- */

static void program_both_ways(const struct rig_program *program)
{
    static struct rig_program again;
    static uint8_t encoded[2][RIG_PROGRAM_BYTES_MAX];
    outs[0].len = rig_text_print(program, outs[0].bytes, OUT_BYTES);
    RIG_CHECK(outs[0].len < OUT_BYTES);
    RIG_CHECK(rig_text_parse(&again, "printed", outs[0].bytes, outs[0].len, error, sizeof(error)));
    outs[1].len = rig_text_print(&again, outs[1].bytes, OUT_BYTES);
    outs_equal();
    const size_t len = rig_program_encode(program, encoded[0]);
    RIG_CHECK(len == rig_program_encode(&again, encoded[1]));
    RIG_CHECK(memcmp(encoded[0], encoded[1], len) == 0);
    RIG_CHECK(rig_program_decode(&again, encoded[0], len) == RIG_DECODE_OK);
    RIG_CHECK(len == rig_program_encode(&again, encoded[1]));
    RIG_CHECK(memcmp(encoded[0], encoded[1], len) == 0);
}

static void text(const uint8_t *bytes, size_t len)
{
    static struct rig_program program;
    if (rig_text_parse(&program, "text", (const char *)bytes, len, error, sizeof(error))) {
        program_both_ways(&program);
    } else {
        RIG_CHECK(program.count == 0);
        RIG_CHECK(error[0] != '\0');
    }
}

static void program_bytes(const uint8_t *bytes, size_t len)
{
    static struct rig_program program;
    if (rig_program_decode(&program, bytes, len) != RIG_DECODE_NEW_VERSION) {
        program_both_ways(&program);
    }
}

/* ---- Traces ---- */

/* Read a trace and write what was read; the status that ended reading. */
static enum rig_trace_status trace_copy(const void *bytes, size_t len, struct out *out)
{
    static struct rig_trace_reader reader;
    static struct rig_trace_writer writer;
    struct rig_trace_memory memory = {.bytes = bytes, .len = len};
    struct rig_trace_event event;
    out->len = 0;
    const bool begun =
        rig_trace_read_begin(&reader, rig_trace_from_memory, &memory) == RIG_TRACE_OK;
    if (begun) {
        rig_trace_write_begin(&writer, put, out, reader.word_bytes);
        while (rig_trace_read(&reader, &event) == RIG_TRACE_OK) {
            rig_trace_write(&writer, &event);
        }
        RIG_CHECK(rig_trace_write_end(&writer, reader.skipped));
    }
    (void)rig_trace_tell(&reader, "trace", error, sizeof(error));
    const enum rig_trace_status status = reader.status;
    RIG_CHECK((error[0] == '\0') == (status == RIG_TRACE_DONE));
    rig_trace_read_end(&reader);
    return begun ? status : RIG_TRACE_BAD;
}

/* Numbers have one form only, so a whole trace is written as it was read, byte for byte. */
static void trace(const uint8_t *bytes, size_t len)
{
    const enum rig_trace_status status = trace_copy(bytes, len, &outs[0]);
    if (status == RIG_TRACE_DONE) {
        RIG_CHECK(outs[0].len == len);
        RIG_CHECK(memcmp(outs[0].bytes, bytes, len) == 0);
    }
    if (outs[0].len != 0) {
        RIG_CHECK(trace_copy(outs[0].bytes, outs[0].len, &outs[1]) == RIG_TRACE_DONE);
        outs_equal();
    }
}

/* Whatever a recorder left behind becomes a whole trace. */
static void raw(const uint8_t *bytes, size_t len)
{
    struct rig_trace_memory memory = {.bytes = bytes, .len = len};
    struct rig_raw_report report;
    bool written = false;
    outs[0].len = 0;
    if (rig_raw_finish(rig_trace_from_memory, &memory, put, &outs[0], &written, &report) !=
        RIG_TRACE_NO_MEMORY) {
        RIG_CHECK(written);
        RIG_CHECK(trace_copy(outs[0].bytes, outs[0].len, &outs[1]) == RIG_TRACE_DONE);
        outs_equal();
    }
}

/* ---- The contract ---- */

#define CONTRACT_HEADER "id\tfunction\tkind\tcondition\toutcome\tsource\ttestable\n"

static void put_text(struct out *out, const char *word)
{
    (void)put(out, (const uint8_t *)word, strlen(word));
}

static void put_piece(struct out *out, struct rig_piece piece, const char *behind)
{
    (void)put(out, (const uint8_t *)piece.at, piece.len);
    put_text(out, behind);
}

static void contract_write(const struct rig_contract *contract, struct out *out)
{
    static const char *const words[RIG_TESTABLE_COUNT] = {"no", "partly", "yes"};
    out->len = 0;
    put_text(out, CONTRACT_HEADER);
    for (size_t idx = 0; idx < contract->count; idx++) {
        const struct rig_contract_row *row = &contract->rows[idx];
        put_piece(out, row->id, "\t");
        put_piece(out, row->function, "\t");
        put_piece(out, row->kind, "\t");
        put_piece(out, row->condition, "\t");
        put_piece(out, row->outcome, "\t");
        put_piece(out, row->source, "\t");
        put_text(out, words[row->testable]);
        put_text(out, ": ");
        put_piece(out, row->reason, "\n");
    }
}

static void contract_bytes(const uint8_t *bytes, size_t len)
{
    static struct rig_contract contract;
    if (!rig_contract_parse(&contract, "tsv", (const char *)bytes, len, error, sizeof(error))) {
        RIG_CHECK(contract.count == 0);
        return;
    }
    contract_write(&contract, &outs[0]);
    RIG_CHECK(
        rig_contract_parse(&contract, "written", outs[0].bytes, outs[0].len, error, sizeof(error)));
    contract_write(&contract, &outs[1]);
    outs_equal();
}

/* ---- Plans, as the command line has them ---- */

#define PLAN_BEGIN "plan="

static void plan_both_ways(const struct fault_plan *plan)
{
    struct fault_plan again;
    char text[FAULT_PLAN_TEXT_BYTES];
    char written[FAULT_PLAN_TEXT_BYTES];
    uint8_t encoded[2][FAULT_PLAN_BYTES];
    const size_t len = fault_plan_print(plan, text);
    RIG_CHECK(len < FAULT_PLAN_TEXT_BYTES);
    RIG_CHECK(fault_plan_parse(&again, text, len));
    fault_plan_to_bytes(plan, encoded[0]);
    fault_plan_to_bytes(&again, encoded[1]);
    RIG_CHECK(memcmp(encoded[0], encoded[1], FAULT_PLAN_BYTES) == 0);
    RIG_CHECK(fault_plan_from_bytes(&again, encoded[0]));
    RIG_CHECK(fault_plan_print(&again, written) == len);
    RIG_CHECK(memcmp(written, text, len) == 0);
}

/* Words that are near are words of kinds, and there is always one. */
static void plan_near(const char *text)
{
    char words[256];
    char little[4];
    unsigned kind = 0;
    memset(words, '?', sizeof(words));
    fault_plan_near(text, words, sizeof(words));
    RIG_CHECK(memchr(words, '\0', sizeof(words)) != NULL);
    while (fault_plan_word(kind) != NULL && strstr(words, fault_plan_word(kind)) != words) {
        kind++;
    }
    RIG_CHECK(fault_plan_word(kind) != NULL);
    fault_plan_near(text, little, sizeof(little)); /* and are cut to their room */
    RIG_CHECK(strlen(little) == sizeof(little) - 1);
    RIG_CHECK(memcmp(little, words, sizeof(little) - 1) == 0);
}

static void plan(const uint8_t *bytes, size_t len)
{
    const size_t before = strlen(PLAN_BEGIN);
    struct fault_plan made;
    char text[FAULT_PLAN_TEXT_BYTES];
    bytes += before;
    len -= before;
    if (fault_plan_parse(&made, (const char *)bytes, len)) {
        plan_both_ways(&made);
    } else {
        (void)snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)bytes);
        plan_near(text);
    }
}

static const struct {
    const char *begins;
    void (*parser)(const uint8_t *bytes, size_t len);
} parsers[] = {
    {"HRTRRAW1", raw},
    {"HRTR", trace},
    {"HRPG", program_bytes},
    {"id\t", contract_bytes},
    {PLAN_BEGIN, plan},
    {RIG_SETTINGS_BEGIN, rig_read_settings},
    {RIG_IMAGE_BEGIN, rig_read_image},
    {RIG_NAME_BEGIN, rig_read_name},
    {"", text},
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    rig_stats_add(&rig_stats_now()->inputs, 1);
    for (size_t idx = 0; idx < sizeof(parsers) / sizeof(parsers[0]); idx++) {
        const size_t begin = strlen(parsers[idx].begins);
        if (len_bytes >= begin && memcmp(bytes, parsers[idx].begins, begin) == 0) {
            parsers[idx].parser(bytes, len_bytes);
            break;
        }
    }
    return 0;
}
