/* SPDX-License-Identifier: MIT
 *
 * FORMAT.md says what the code does: its tables and its worked example are made here from the code
 * and must stand in the page to the letter. `harness_format --write` puts them there. */
#include "program/size.h"
#include "program/text.h"
#include "program/text_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PAGE RIG_SOURCE_DIR "/harness/FORMAT.md"
#define PAGE_BYTES_MAX 65536u
#define BLOCK_BYTES_MAX 8192u

static bool writing; /* --write: mend the page instead of complaining */
static char page[PAGE_BYTES_MAX];
static char block[BLOCK_BYTES_MAX];
static struct rig_text_sink made;

static int page_read(void **state)
{
    (void)state;
    FILE *file = fopen(PAGE, "r");
    assert_non_null(file);
    const size_t len = fread(page, 1, sizeof(page) - 1, file);
    assert_int_equal(fclose(file), 0);
    assert_true(len < sizeof(page) - 1);
    page[len] = '\0';
    return 0;
}

static int page_write(void **state)
{
    (void)state;
    if (!writing) {
        return 0;
    }
    FILE *file = fopen(PAGE, "w");
    assert_non_null(file);
    assert_int_equal(fputs(page, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
    return 0;
}

static int block_begin(void **state)
{
    (void)state;
    made = (struct rig_text_sink){.out = block, .out_bytes = sizeof(block), .len_bytes = 0};
    return 0;
}

/* Put the block in the place of the one that begins the same and ends with an empty line too. */
static void block_paste(void)
{
    const char *first = strchr(block, '\n');
    char line[RIG_TEXT_LINE_BYTES_MAX] = {0};
    memcpy(line, block, (size_t)(first - block));
    char *start = strstr(page, line);
    assert_non_null(start);
    char *end = strstr(start, "\n\n");
    assert_non_null(end);
    const char *rest = end + 2;
    const size_t rest_bytes = strlen(rest) + 1;
    assert_true((size_t)(start - page) + made.len_bytes + rest_bytes < sizeof(page));
    memmove(start + made.len_bytes, rest, rest_bytes);
    memcpy(start, block, made.len_bytes);
}

/* The page has this block; when not, it is printed as it should be. */
static void block_demand(void)
{
    assert_true(made.len_bytes < sizeof(block));
    if (writing && made.len_bytes > 2 && strcmp(&block[made.len_bytes - 2], "\n\n") == 0) {
        block_paste();
    }
    if (strstr(page, block) == NULL) {
        (void)fprintf(stderr, "FORMAT.md should say:\n%s", block);
        fail();
    }
}

static void the_table_of_operations_is_that_of_the_code(void **state)
{
    (void)state;
    rig_text_put(&made, "| byte | bytes | word | reads |\n|---|---|---|---|\n");
    unsigned byte = 0;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const struct rig_op_info *info = rig_op_info(op);
        rig_text_put(&made, "| `%02x` | %u | ", byte, info->weight);
        if (info->text[0] != '\0') {
            rig_text_put(&made, "`%s`", info->text);
        } else {
            rig_text_put(&made, "%s%s%s", info->rtl != NULL ? info->rtl : "",
                         info->rtl != NULL && info->win32 != NULL ? ", " : "",
                         info->win32 != NULL ? info->win32 : "");
        }
        rig_text_put(&made, " | %s |\n", info->operands[0] != '\0' ? info->operands : "-");
        byte += info->weight;
    }
    rig_text_put(&made, "\n");
    block_demand();
}

static void the_table_of_boundaries_is_that_of_the_code(void **state)
{
    (void)state;
    rig_text_put(&made, "| hi | bytes | why |\n|---|---|---|\n");
    static const struct {
        uint64_t bytes;
        const char *name;
        const char *why;
    } rows[] = {
#define RIG_BOUNDARY(bytes, why) {(bytes), #bytes, (why)},
#include "program/boundary.def"
    };
    assert_int_equal(sizeof(rows) / sizeof(rows[0]), rig_size_boundary_count());
    for (unsigned idx = 0; idx < rig_size_boundary_count(); idx++) {
        const uint64_t bytes = rows[idx].bytes;
        assert_int_equal(rig_size_boundary(idx), bytes < SIZE_MAX ? bytes : SIZE_MAX);
        assert_string_equal(rig_size_boundary_why(idx), rows[idx].why);
        rig_text_put(&made, "| %u | %s | %s |\n", idx, rows[idx].name, rows[idx].why);
    }
    rig_text_put(&made, "\n");
    block_demand();
}

static void every_size_kind_has_its_row(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SIZE_KIND_COUNT; kind++) {
        (void)block_begin(NULL);
        rig_text_put(&made, "\n| %u | `%s` | ", kind, rig_text_kind(kind)->word);
        block_demand();
    }
}

static void every_word_of_a_bit_is_explained(void **state)
{
    (void)state;
    static const unsigned ops[] = {RIG_OP_ALLOC, RIG_OP_CREATE};
    for (unsigned idx = 0; idx < 2; idx++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            (void)block_begin(NULL);
            rig_text_put(&made, "`%s`", rig_text_flag_words(ops[idx])[bit]);
            block_demand();
            if (rig_text_arg_words(ops[idx])[bit] != NULL) {
                (void)block_begin(NULL);
                rig_text_put(&made, "`%s`", rig_text_arg_words(ops[idx])[bit]);
                block_demand();
            }
        }
    }
}

static const char example[] = "program seed=7\n"
                              "HeapCreate h1 reserve=12 fixed pages:16\n"
                              "HeapAlloc s12 h1 zero boundary:7+1\n"
                              "RtlReAllocateHeap s12 exceptions slot:12+16 context=filter\n"
                              "HeapAlloc s13 h1 threshold:-8\n"
                              "validate h1 rtl\n"
                              "RtlFreeHeap s12\n"
                              "check\n";

static void put_bytes(const uint8_t *bytes, unsigned at, unsigned count)
{
    rig_text_put(&made, "    %04x ", at);
    for (unsigned idx = 0; idx < count; idx++) {
        rig_text_put(&made, " %02x", bytes[at + idx]);
    }
}

static void the_worked_example_is_what_the_encoder_makes(void **state)
{
    (void)state;
    static struct rig_program program;
    static struct rig_program decoded;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    char line[RIG_TEXT_LINE_BYTES_MAX];
    if (!rig_text_parse(&program, "example", example, strlen(example), error, sizeof(error))) {
        fail_msg("%s", error);
    }
    const size_t len = rig_program_encode(&program, bytes);
    assert_int_equal(rig_program_decode(&decoded, bytes, len), RIG_DECODE_OK);
    char again[sizeof(example)];
    assert_int_equal(rig_text_print(&decoded, again, sizeof(again)), sizeof(example) - 1);
    assert_string_equal(again, example);

    put_bytes(bytes, 0, RIG_HEADER_BYTES);
    rig_text_put(&made, "  program seed=%u\n", program.seed);
    for (unsigned idx = 0; idx < program.count; idx++) {
        put_bytes(bytes, RIG_HEADER_BYTES + idx * RIG_RECORD_BYTES, RIG_RECORD_BYTES);
        (void)rig_text_print_record(&decoded.records[idx], line, sizeof(line));
        rig_text_put(&made, "  %s\n", line);
    }
    rig_text_put(&made, "\n");
    block_demand();
}

/* Its bytes are made from the same table; a weight that changed shifts them all. */
static void the_dictionary_has_each_operations_first_byte(void **state)
{
    (void)state;
    static char text[PAGE_BYTES_MAX];
    FILE *file = fopen(RIG_SOURCE_DIR "/harness/targets/ops_fuzzer.dict", "r");
    assert_non_null(file);
    const size_t len = fread(text, 1, sizeof(text) - 1, file);
    assert_int_equal(fclose(file), 0);
    text[len] = '\0';
    unsigned first = 0;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        char row[96];
        const int name =
            snprintf(row, sizeof(row), "\n%s=\"\\x%02x\\x00", rig_op_info(op)->name, first);
        assert_in_range(name, 1, sizeof(row) - 1);
        for (char *at = row; *at != '='; at++) {
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
        }
        if (strstr(text, row) == NULL) {
            fail_msg("ops_fuzzer.dict: expected a line that begins with '%s'", row + 1);
        }
        first += rig_op_info(op)->weight;
    }
}

int main(int argc, char **argv)
{
    writing = argc == 2 && strcmp(argv[1], "--write") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_table_of_operations_is_that_of_the_code, block_begin),
        cmocka_unit_test_setup(the_table_of_boundaries_is_that_of_the_code, block_begin),
        cmocka_unit_test(every_size_kind_has_its_row),
        cmocka_unit_test(every_word_of_a_bit_is_explained),
        cmocka_unit_test_setup(the_worked_example_is_what_the_encoder_makes, block_begin),
        cmocka_unit_test(the_dictionary_has_each_operations_first_byte),
    };
    return cmocka_run_group_tests(tests, page_read, page_write);
}
