/* SPDX-License-Identifier: MIT
 *
 * The binary form: nothing is lost in it, every byte string is a program, one byte changed changes
 * one thing. And the table of operations: it names every call of the heap's headers. */
#include "program/program.h"
#include "program/random.h"
#include "program/vary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define INPUT_BYTES_MAX 4200u
#define CALL_COUNT_MAX 128u
#define NAME_BYTES_MAX 64u

static const uint8_t magic[5] = {'H', 'R', 'P', 'G', RIG_VERSION};
static uint8_t bytes[INPUT_BYTES_MAX];
static uint8_t encoded[RIG_PROGRAM_BYTES_MAX];
static uint8_t encoded_again[RIG_PROGRAM_BYTES_MAX];
static struct rig_program program;
static struct rig_program decoded;

/* A program of any fields; programs are compared as bytes, so padding counts: all come from memset
 * and single fields. */
static void program_any(uint32_t seed, unsigned count)
{
    struct rig_rng rng = rig_rng_from(seed);
    rig_program_random(&program, seed, count);
    program.flags = (uint8_t)(rig_rng_next(&rng) & 0xFFu);
    for (size_t idx = 0; idx < sizeof(program.plan); idx++) {
        program.plan[idx] = (uint8_t)(rig_rng_next(&rng) & 0xFFu);
    }
}

static void bytes_any(uint32_t seed, size_t len)
{
    struct rig_rng rng = rig_rng_from(seed);
    for (size_t at = 0; at < len; at++) {
        bytes[at] = (uint8_t)(rig_rng_next(&rng) & 0xFFu);
    }
}

static void records_equal(const struct rig_record *one, const struct rig_record *other)
{
    assert_int_equal(one->op, other->op);
    assert_int_equal(one->slot, other->slot);
    assert_int_equal(one->heap, other->heap);
    assert_int_equal(one->win32, other->win32);
    assert_int_equal(one->context, other->context);
    assert_int_equal(one->thread, other->thread);
    assert_int_equal(one->flags, other->flags);
    assert_int_equal(one->size_class, other->size_class);
    assert_int_equal(one->arg, other->arg);
    assert_int_equal(one->value, other->value);
}

static void headers_equal(const struct rig_program *one, const struct rig_program *other)
{
    assert_int_equal(one->flags, other->flags);
    assert_int_equal(one->seed, other->seed);
    assert_memory_equal(one->plan, other->plan, sizeof(one->plan));
    assert_int_equal(one->count, other->count);
}

static void programs_equal(const struct rig_program *one, const struct rig_program *other)
{
    headers_equal(one, other);
    for (unsigned idx = 0; idx < one->count; idx++) {
        records_equal(&one->records[idx], &other->records[idx]);
    }
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

static void every_program_comes_back_from_its_bytes(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 3000; seed++) {
        program_any(seed, seed % 513);
        const size_t len = rig_program_encode(&program, encoded);
        assert_int_equal(len, RIG_HEADER_BYTES + RIG_RECORD_BYTES * (seed % 513));
        assert_int_equal(rig_program_decode(&decoded, encoded, len), RIG_DECODE_OK);
        programs_equal(&program, &decoded);
    }
}

static void bytes_of_any_length_are_a_program_whose_encoding_stays(void **state)
{
    (void)state;
    for (size_t len = 0; len <= INPUT_BYTES_MAX; len++) {
        bytes_any((uint32_t)len, len);
        if (len % 2 == 0 && len >= 5) {
            memcpy(bytes, magic, sizeof(magic));
        }
        const size_t header = len % 2 == 0 && len >= 5 ? RIG_HEADER_BYTES : 0;
        const size_t records = len < header ? 0 : (len - header) / RIG_RECORD_BYTES;
        const enum rig_decode_status status = rig_program_decode(&program, bytes, len);
        assert_int_equal(status, records > 512 ? RIG_DECODE_CUT : RIG_DECODE_OK);
        assert_int_equal(program.count, records > 512 ? 512 : records);
        const size_t first = rig_program_encode(&program, encoded);
        assert_int_equal(rig_program_decode(&decoded, encoded, first), RIG_DECODE_OK);
        programs_equal(&program, &decoded);
        assert_int_equal(rig_program_encode(&decoded, encoded_again), first);
        assert_memory_equal(encoded, encoded_again, first);
    }
}

static void one_byte_changes_one_record_or_the_header(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 40; seed++) {
        program_any(seed, 20);
        const size_t len = rig_program_encode(&program, encoded);
        for (size_t at = 5; at < len; at++) {
            struct rig_rng rng = rig_rng_from((uint32_t)at);
            const uint8_t change = (uint8_t)(1 + rig_rng_below(&rng, 255));
            encoded[at] ^= change;
            assert_int_equal(rig_program_decode(&decoded, encoded, len), RIG_DECODE_OK);
            encoded[at] ^= change;
            if (at >= RIG_HEADER_BYTES) {
                const size_t touched = (at - RIG_HEADER_BYTES) / RIG_RECORD_BYTES;
                decoded.records[touched] = program.records[touched];
            } else {
                decoded.flags = program.flags;
                decoded.seed = program.seed;
                memcpy(decoded.plan, program.plan, sizeof(program.plan));
            }
            programs_equal(&program, &decoded);
        }
    }
}

static void without_its_magic_a_header_is_two_more_records(void **state)
{
    (void)state;
    program_any(1, 20);
    const size_t len = rig_program_encode(&program, encoded);
    encoded[3] ^= 1u;
    assert_int_equal(rig_program_decode(&decoded, encoded, len), RIG_DECODE_OK);
    assert_int_equal(decoded.count, 22);
    assert_int_equal(decoded.seed, 0);
    assert_int_equal(decoded.flags, 0);
    for (unsigned idx = 0; idx < 20; idx++) {
        records_equal(&program.records[idx], &decoded.records[idx + 2]);
    }
}

static void a_newer_version_is_refused_and_an_older_is_not(void **state)
{
    (void)state;
    program_any(1, 3);
    const size_t len = rig_program_encode(&program, encoded);
    for (unsigned version = 0; version < 256; version++) {
        encoded[4] = (uint8_t)version;
        const enum rig_decode_status status = rig_program_decode(&decoded, encoded, len);
        assert_int_equal(status, version > RIG_VERSION ? RIG_DECODE_NEW_VERSION : RIG_DECODE_OK);
        assert_int_equal(decoded.count, version > RIG_VERSION ? 0 : 3);
    }
}

static void a_cut_header_has_zeros_where_it_ends(void **state)
{
    (void)state;
    program_any(7, 0);
    (void)rig_program_encode(&program, encoded);
    for (size_t len = 4; len < RIG_HEADER_BYTES; len++) {
        assert_int_equal(rig_program_decode(&decoded, encoded, len), RIG_DECODE_OK);
        assert_int_equal(decoded.count, 0);
        assert_int_equal(decoded.plan[7], 0);
        assert_int_equal(decoded.flags, len > 5 ? program.flags : 0);
    }
}

static void what_is_past_512_records_is_left_out(void **state)
{
    (void)state;
    bytes_any(3, sizeof(bytes));
    bytes[0] = 0;
    const size_t exact = RIG_RECORD_COUNT_MAX * (size_t)RIG_RECORD_BYTES;
    assert_int_equal(rig_program_decode(&program, bytes, exact), RIG_DECODE_OK);
    assert_int_equal(rig_program_decode(&decoded, bytes, exact + 7), RIG_DECODE_OK);
    programs_equal(&program, &decoded);
    assert_int_equal(rig_program_decode(&decoded, bytes, exact + 8), RIG_DECODE_CUT);
    programs_equal(&program, &decoded);
}

static void nothing_past_the_input_is_read(void **state)
{
    (void)state;
    const size_t page = 0x1000;
    uint8_t *pages =
        mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(&pages[2 * page], page, PROT_NONE), 0);
    for (size_t len = 0; len <= INPUT_BYTES_MAX; len++) {
        uint8_t *input = &pages[2 * page - len];
        bytes_any((uint32_t)len, len);
        if (len != 0) {
            memcpy(input, bytes, len);
            memcpy(input, magic, len < sizeof(magic) ? len : sizeof(magic));
        }
        (void)rig_program_decode(&program, input, len);
    }
    assert_int_equal(rig_program_decode(&program, NULL, 0), RIG_DECODE_OK);
    assert_int_equal(munmap(pages, 3 * page), 0);
}

/* ---- Operations ----------------------------------------------------------------------------- */

static void a_first_byte_means_what_the_weights_side_by_side_say(void **state)
{
    (void)state;
    unsigned byte = 0;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        for (unsigned idx = 0; idx < rig_op_info(op)->weight; idx++) {
            const uint8_t record[RIG_RECORD_BYTES] = {(uint8_t)(byte + idx)};
            assert_int_equal(rig_program_decode(&decoded, record, sizeof(record)), RIG_DECODE_OK);
            assert_int_equal(decoded.records[0].op, op);
            (void)rig_program_encode(&decoded, encoded);
            assert_int_equal(encoded[RIG_HEADER_BYTES], byte);
        }
        byte += rig_op_info(op)->weight;
    }
    assert_int_equal(byte, 256);
}

static void the_table_of_operations_is_consistent(void **state)
{
    (void)state;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const struct rig_op_info *info = rig_op_info(op);
        const bool calls = info->rtl != NULL || info->win32 != NULL;
        assert_true(calls || info->text[0] != '\0');
        assert_true(info->rtl == NULL || strncmp(info->rtl, "Rtl", 3) == 0);
        assert_true(info->win32 == NULL || strncmp(info->win32, "Rtl", 3) != 0);
        assert_int_equal(strspn(info->operands, "shfzavcr"), strlen(info->operands));
        assert_false(rig_op_reads(op, RIG_OPERAND_SIZE) && rig_op_reads(op, RIG_OPERAND_VALUE));
        assert_false(rig_op_reads(op, RIG_OPERAND_SLOT) && rig_op_reads(op, RIG_OPERAND_RESERVE));
    }
    assert_string_equal(rig_op_info(RIG_OP_ALLOC)->name, "ALLOC");
    assert_int_equal(rig_op_info(RIG_OP_ALLOC)->state, RIG_STATE_FREE_SLOT);
    assert_true(rig_op_reads(RIG_OP_ALLOC, RIG_OPERAND_CONTEXT));
    assert_false(rig_op_reads(RIG_OP_ALLOC, RIG_OPERAND_ARG));
}

static void a_record_names_its_call_or_itself(void **state)
{
    (void)state;
    static const struct {
        uint8_t op;
        const char *rtl;
        const char *win32;
    } rows[] = {
        {RIG_OP_ALLOC, "RtlAllocateHeap", "HeapAlloc"},
        {RIG_OP_FREE_NULL, "RtlFreeHeap", "HeapFree"},
        {RIG_OP_ZERO, "RtlZeroHeap", "RtlZeroHeap"},
        {RIG_OP_SUMMARY, "HeapSummary", "HeapSummary"},
        {RIG_OP_CHECK, "check", "check"},
    };
    for (size_t idx = 0; idx < sizeof(rows) / sizeof(rows[0]); idx++) {
        struct rig_record record = {.op = rows[idx].op, .win32 = 0};
        assert_string_equal(rig_record_call(&record), rows[idx].rtl);
        record.win32 = 1;
        assert_string_equal(rig_record_call(&record), rows[idx].win32);
    }
}

/* ---- Headers -------------------------------------------------------------------------------- */

static char calls[CALL_COUNT_MAX][NAME_BYTES_MAX];
static unsigned call_count;

/* A prototype starts in the first column and its name ends at the first parenthesis. Types, macros
 * and what has a lower-case name are no calls of the heap. */
static void call_scan(const char *line)
{
    const char *end = strchr(line, '(');
    if (strchr("#/ *}\n", line[0]) != NULL || strncmp(line, "typedef", 7) == 0 || end == NULL) {
        return;
    }
    const char *start = end;
    while (start > line && start[-1] != ' ' && start[-1] != '*') {
        start--;
    }
    const size_t len = (size_t)(end - start);
    if (start[0] < 'A' || start[0] > 'Z') {
        return;
    }
    assert_true(call_count < CALL_COUNT_MAX);
    assert_true(len < NAME_BYTES_MAX);
    memcpy(calls[call_count], start, len);
    calls[call_count][len] = '\0';
    call_count++;
}

static void calls_read(const char *header)
{
    char line[512];
    FILE *file = fopen(header, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        call_scan(line);
    }
    assert_int_equal(fclose(file), 0);
}

static bool call_listed(const char *name)
{
    for (unsigned idx = 0; idx < call_count; idx++) {
        if (strcmp(calls[idx], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool op_makes(const struct rig_op_info *info, const char *name)
{
    return (info->rtl != NULL && strcmp(info->rtl, name) == 0) ||
           (info->win32 != NULL && strcmp(info->win32, name) == 0);
}

/* In one row without a word of its own: by its name alone a line of text is understood. */
static void every_call_of_the_headers_is_one_operation(void **state)
{
    (void)state;
    call_count = 0;
    calls_read(RIG_SOURCE_DIR "/core/include/ntheap/heap.h");
    calls_read(RIG_SOURCE_DIR "/core/include/ntheap/seh.h");
    assert_int_not_equal(call_count, 0);
    for (unsigned idx = 0; idx < call_count; idx++) {
        unsigned rows = 0;
        for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
            const struct rig_op_info *info = rig_op_info(op);
            rows += info->text[0] == '\0' && op_makes(info, calls[idx]);
        }
        if (rows != 1) {
            fail_msg("%s is in %u rows of op.def", calls[idx], rows);
        }
    }
}

static void every_call_of_the_operations_is_in_the_headers(void **state)
{
    (void)state;
    call_count = 0;
    calls_read(RIG_SOURCE_DIR "/core/include/ntheap/heap.h");
    calls_read(RIG_SOURCE_DIR "/core/include/ntheap/seh.h");
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const struct rig_op_info *info = rig_op_info(op);
        if (info->rtl != NULL && !call_listed(info->rtl)) {
            fail_msg("%s is no call of the headers", info->rtl);
        }
        if (info->win32 != NULL && !call_listed(info->win32)) {
            fail_msg("%s is no call of the headers", info->win32);
        }
    }
}

/* ---- Variants ------------------------------------------------------------------------------- */

static struct rig_program varied;

/* The records of `program` are those of `varied` that are left when what a variant adds is skipped:
 * no program here sets a budget, or information, or names blocks past 223. */
static void all_is_there_in_its_order(bool spelled, unsigned times)
{
    unsigned at = 0; /* counts every record as often as it is there */
    for (unsigned idx = 0; idx < varied.count; idx++) {
        const struct rig_record *record = &varied.records[idx];
        const bool added = record->op == RIG_OP_BUDGET || record->op == RIG_OP_SET ||
                           (record->op == RIG_OP_CREATE && record->heap == 7) ||
                           (record->op == RIG_OP_ALLOC && record->slot >= 224);
        if (!added) {
            struct rig_record same = *record;
            same.win32 ^= spelled ? 1u : 0u;
            assert_true(at < program.count * times);
            assert_memory_equal(&same, &program.records[at / times], sizeof(same));
            at++;
        }
    }
    assert_int_equal(at, program.count * times);
}

static unsigned count_of(unsigned op, unsigned heap)
{
    unsigned count = 0;
    for (unsigned idx = 0; idx < varied.count; idx++) {
        const struct rig_record *record = &varied.records[idx];
        count += record->op == op && record->heap == heap && record->slot >= 224;
    }
    return count;
}

static void a_variant_keeps_every_record_and_adds_its_state(void **state)
{
    (void)state;
    memset(&program, 0, sizeof(program));
    program.seed = 9;
    program.count = 4;
    program.records[0].op = RIG_OP_CREATE;
    program.records[0].heap = 3;
    program.records[1].op = RIG_OP_ALLOC;
    program.records[1].heap = 3;
    program.records[1].slot = 5;
    program.records[2].op = RIG_OP_FREE; /* of a block of heap 3, which it does not name */
    program.records[2].slot = 5;
    program.records[3].op = RIG_OP_WALK;
    program.records[3].heap = 0;
    for (unsigned wanted = 0; wanted < RIG_VARY_COUNT; wanted++) {
        assert_true(rig_program_vary(&program, wanted, &varied));
        assert_int_equal(varied.seed, 9);
        const unsigned times = (wanted & RIG_VARY_TWICE) != 0 ? 2 : 1;
        all_is_there_in_its_order((wanted & RIG_VARY_SPELLING) != 0, times);
        const unsigned front = (wanted & RIG_VARY_FRONT) != 0 ? 2 : 0; /* heaps 0 and 3 */
        const unsigned large = (wanted & RIG_VARY_LARGE) != 0;
        const bool refused = (wanted & RIG_VARY_REFUSED) != 0;
        const bool full = (wanted & RIG_VARY_FULL) != 0;
        assert_int_equal(varied.count,
                         4 * times + front + 2 * large + (refused ? 9 : 0) + (full ? 10 : 0));
        assert_int_equal(count_of(RIG_OP_ALLOC, 3), large + (refused ? 2 : 0));
        assert_int_equal(count_of(RIG_OP_ALLOC, 0), large + (refused ? 1 : 0));
        assert_int_equal(count_of(RIG_OP_ALLOC, 7), full ? 9 : 0);
    }
    assert_true(rig_program_vary(&program, 0, &varied));
    assert_memory_equal(&varied, &program, offsetof(struct rig_program, records));
}

static void a_variant_that_is_too_long_is_none(void **state)
{
    (void)state;
    memset(&program, 0, sizeof(program));
    for (program.count = 0; program.count < RIG_RECORD_COUNT_MAX / 4; program.count++) {
        program.records[program.count].op = RIG_OP_WALK;
    }
    assert_true(rig_program_vary(&program, RIG_VARY_REFUSED, &varied));
    assert_int_equal(varied.count, RIG_RECORD_COUNT_MAX);
    assert_false(rig_program_vary(&program, RIG_VARY_REFUSED | RIG_VARY_LARGE, &varied));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_program_comes_back_from_its_bytes),
        cmocka_unit_test(bytes_of_any_length_are_a_program_whose_encoding_stays),
        cmocka_unit_test(one_byte_changes_one_record_or_the_header),
        cmocka_unit_test(without_its_magic_a_header_is_two_more_records),
        cmocka_unit_test(a_newer_version_is_refused_and_an_older_is_not),
        cmocka_unit_test(a_cut_header_has_zeros_where_it_ends),
        cmocka_unit_test(what_is_past_512_records_is_left_out),
        cmocka_unit_test(nothing_past_the_input_is_read),
        cmocka_unit_test(a_first_byte_means_what_the_weights_side_by_side_say),
        cmocka_unit_test(the_table_of_operations_is_consistent),
        cmocka_unit_test(a_record_names_its_call_or_itself),
        cmocka_unit_test(every_call_of_the_headers_is_one_operation),
        cmocka_unit_test(every_call_of_the_operations_is_in_the_headers),
        cmocka_unit_test(a_variant_keeps_every_record_and_adds_its_state),
        cmocka_unit_test(a_variant_that_is_too_long_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
