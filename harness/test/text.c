/* SPDX-License-Identifier: MIT
 *
 * The text form: nothing is lost in it, what it looks like, what its errors say, and that any bytes
 * may be given to it. */
#include "program/text.h"
#include "program/random.h"

#include "run/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES_MAX ((RIG_RECORD_COUNT_MAX + 1) * (size_t)RIG_TEXT_LINE_BYTES_MAX)

static char text[TEXT_BYTES_MAX];
static char again[TEXT_BYTES_MAX];
static char error[RIG_TEXT_ERROR_BYTES_MAX];

/* ---- Programs ------------------------------------------------------------------------------- */

static void programs_equal(const struct rig_program *left, const struct rig_program *right)
{
    assert_int_equal(left->flags, right->flags);
    assert_int_equal(left->seed, right->seed);
    assert_memory_equal(left->plan, right->plan, sizeof(left->plan));
    assert_int_equal(left->count, right->count);
    for (unsigned idx = 0; idx < left->count; idx++) {
        const struct rig_record *one = &left->records[idx];
        const struct rig_record *other = &right->records[idx];
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
}

static void parse(struct rig_program *program, const char *source)
{
    if (!rig_text_parse(program, "seed.heap", source, strlen(source), error, sizeof(error))) {
        fail_msg("%s in\n%s", error, source);
    }
    assert_string_equal(error, "");
}

static void survives(const struct rig_program *program)
{
    static struct rig_program parsed;
    const size_t len = rig_text_print(program, text, sizeof(text));
    assert_true(len < sizeof(text));
    assert_int_equal(strlen(text), len);
    parse(&parsed, text);
    programs_equal(program, &parsed);
}

static void every_program_comes_back_from_its_text(void **state)
{
    (void)state;
    static struct rig_program program;
    for (uint32_t seed = 0; seed < 10000; seed++) {
        struct rig_rng rng = rig_rng_from(seed ^ 0xA5A5A5A5u);
        const unsigned count = rig_rng_below(&rng, seed % 100 == 0 ? 513 : 24);
        (seed % 4 == 0 ? rig_program_random_swarm : rig_program_random)(&program, seed, count);
        program.flags = (uint8_t)(rig_rng_next(&rng) & (seed % 2 == 0 ? 0xFFu : 0));
        program.seed = seed % 3 == 0 ? 0 : program.seed;
        program.plan[seed % 8] = (uint8_t)(rig_rng_next(&rng) & (seed % 5 == 0 ? 0xFFu : 0));
        survives(&program);
    }
}

static void every_field_of_every_operation_comes_back_alone(void **state)
{
    (void)state;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        struct rig_program program = {.count = 13};
        for (unsigned idx = 0; idx < program.count; idx++) {
            program.records[idx].op = (uint8_t)op;
        }
        program.records[1].slot = 255;
        program.records[2].heap = 7;
        program.records[3].win32 = 1;
        program.records[4].context = 3;
        program.records[5].thread = 3;
        program.records[6].flags = 255;
        program.records[7].size_class = 255;
        program.records[8].arg = 255;
        program.records[9].value = 65535;
        program.records[10].flags = 0x40;
        program.records[11].arg = 0x04;
        program.records[12].value = 0x8080;
        survives(&program);
    }
}

static void every_size_comes_back(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF};
    for (unsigned size_class = 0; size_class < 256; size_class++) {
        struct rig_program program = {.count = 0};
        for (unsigned idx = 0; idx < 81; idx++) {
            program.records[program.count++] =
                (struct rig_record){.op = RIG_OP_ALLOC,
                                    .size_class = (uint8_t)size_class,
                                    .value = (uint16_t)(values[idx % 9] | values[idx / 9] << 8)};
        }
        survives(&program);
    }
}

/* ---- Looks ---------------------------------------------------------------------------------- */

static void prints_as(struct rig_record record, const char *line)
{
    char out[RIG_TEXT_LINE_BYTES_MAX];
    const size_t len = rig_text_print_record(&record, out, sizeof(out));
    assert_string_equal(out, line);
    assert_int_equal(len, strlen(line));
}

static void a_line_shows_what_the_operation_reads(void **state)
{
    (void)state;
    prints_as((struct rig_record){.op = RIG_OP_ALLOC,
                                  .win32 = 1,
                                  .slot = 12,
                                  .heap = 1,
                                  .flags = RIG_FLAG_ZERO | RIG_FLAG_EXCEPTIONS,
                                  .size_class = RIG_SIZE_BOUNDARY,
                                  .value = 7u << 8 | 1,
                                  .context = RIG_CONTEXT_FILTER},
              "HeapAlloc s12 h1 exceptions|zero boundary:7+1 context=filter");
    prints_as((struct rig_record){.op = RIG_OP_ALLOC, .value = 100}, "RtlAllocateHeap s0 h0 100");
    prints_as((struct rig_record){.op = RIG_OP_FREE, .slot = 12}, "RtlFreeHeap s12");
    prints_as((struct rig_record){.op = RIG_OP_FREE_NULL, .win32 = 1}, "free-null h0 win32");
    prints_as((struct rig_record){.op = RIG_OP_VALIDATE, .heap = 2}, "validate h2 rtl");
    prints_as((struct rig_record){.op = RIG_OP_VALIDATE_BLOCK, .win32 = 1}, "HeapValidate s0");
    prints_as((struct rig_record){.op = RIG_OP_WALK_STEP, .arg = 2}, "walk-step h0 arg=2 rtl");
    prints_as((struct rig_record){.op = RIG_OP_CHECK}, "check");
    prints_as((struct rig_record){.op = RIG_OP_SUMMARY}, "HeapSummary h0");
    prints_as((struct rig_record){.op = RIG_OP_SUMMARY, .win32 = 1}, "HeapSummary h0 win32");
    prints_as((struct rig_record){.op = RIG_OP_RAISE, .flags = 1, .value = 9},
              "RaiseException flags=0x01 value=9");
    prints_as((struct rig_record){.op = RIG_OP_CREATE,
                                  .heap = 3,
                                  .slot = 4,
                                  .flags = RIG_CREATE_FIXED | RIG_CREATE_ODD,
                                  .size_class = RIG_SIZE_PAGES | 8u << 4,
                                  .value = 2,
                                  .arg = RIG_CREATE_ARG_BASE | RIG_CREATE_ARG_LOCK | 0x18},
              "RtlCreateHeap h3 reserve=4 fixed|odd pages:2/8 arg=base|lock|0x18");
}

static void a_field_that_is_not_read_shows_where_it_is_not_0(void **state)
{
    (void)state;
    prints_as((struct rig_record){.op = RIG_OP_CHECK,
                                  .slot = 1,
                                  .heap = 2,
                                  .win32 = 1,
                                  .context = RIG_CONTEXT_LOCKED,
                                  .thread = 3,
                                  .flags = 4,
                                  .size_class = 5,
                                  .arg = 6,
                                  .value = 7},
              "check s1 h2 zero size-class=5 value=7 arg=6 context=locked win32 t3");
}

static void settings_stand_in_front_and_only_where_there_are_any(void **state)
{
    (void)state;
    struct rig_program program = {.count = 1, .records = {{.op = RIG_OP_CHECK}}};
    (void)rig_text_print(&program, text, sizeof(text));
    assert_string_equal(text, "check\n");
    program.seed = 7;
    program.flags = 1;
    program.plan[0] = 0xAB;
    (void)rig_text_print(&program, text, sizeof(text));
    assert_string_equal(text, "program seed=7 flags=misuse plan=ab00000000000000\ncheck\n");
}

static void printing_fills_what_room_there_is_and_tells_how_much_it_wants(void **state)
{
    (void)state;
    static struct rig_program program;
    rig_program_random(&program, 1, 5);
    const size_t len = rig_text_print(&program, text, sizeof(text));
    assert_int_equal(rig_text_print(&program, NULL, 0), len);
    for (size_t room = 1; room <= len + 1; room++) {
        memset(again, '!', sizeof(again));
        assert_int_equal(rig_text_print(&program, again, room), len);
        assert_memory_equal(again, text, room - 1);
        assert_int_equal(again[room - 1], '\0');
        assert_int_equal(again[room], '!');
    }
}

static void no_line_is_longer_than_promised(void **state)
{
    (void)state;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        for (unsigned kind = 0; kind < 16; kind++) {
            const struct rig_record record = {.op = (uint8_t)op,
                                              .slot = 255,
                                              .heap = 7,
                                              .win32 = 1,
                                              .context = RIG_CONTEXT_CONTINUE,
                                              .thread = 3,
                                              .flags = 255,
                                              .size_class = (uint8_t)(0xF0u | kind),
                                              .arg = 255,
                                              .value = 0xFF81};
            char out[RIG_TEXT_LINE_BYTES_MAX];
            assert_true(rig_text_print_record(&record, out, sizeof(out)) < sizeof(out));
        }
    }
}

/* ---- What may be written -------------------------------------------------------------------- */

static void comments_blanks_order_and_line_ends_do_not_matter(void **state)
{
    (void)state;
    static struct rig_program plain;
    static struct rig_program odd;
    parse(&plain, "program seed=9 flags=0x10\nHeapAlloc s1 h2 zero boundary:7-1\ncheck\n");
    parse(&odd, "# a comment\r\n\r\n  program flags=16#no space\n\tprogram seed=0x9\r\n"
                "HeapAlloc   boundary:7-0x1\tflags=zero h2 s0x01 # more\r\n\n\n check");
    programs_equal(&plain, &odd);
}

static void numbers_and_names_of_bits_mix(void **state)
{
    (void)state;
    static struct rig_program program;
    parse(&program, "HeapAlloc zero|0x40\nHeapAlloc flags=0x44\nHeapCreate arg=lock|1 last:5\n"
                    "HeapCreate arg=base|lock last:+5\nHeapAlloc literal:300/2\nvalidate\n");
    assert_int_equal(program.count, 6);
    assert_int_equal(program.records[0].flags, 0x44);
    assert_int_equal(program.records[1].flags, 0x44);
    assert_int_equal(program.records[2].arg, 5);
    assert_int_equal(program.records[3].arg, 5);
    assert_int_equal(program.records[2].value, 5);
    assert_int_equal(program.records[3].value, 5);
    assert_int_equal(program.records[4].value, 300);
    assert_int_equal(program.records[4].size_class, 0x20);
    assert_int_equal(program.records[5].win32, 0);
}

static void an_empty_text_is_an_empty_program(void **state)
{
    (void)state;
    static struct rig_program program;
    program.count = 3;
    assert_true(rig_text_parse(&program, "empty", "", 0, error, sizeof(error)));
    assert_int_equal(program.count, 0);
    assert_true(rig_text_parse(&program, "empty", NULL, 0, NULL, 0));
}

/* ---- Errors --------------------------------------------------------------------------------- */

static void each_error_says_where_what_was_expected_and_what_was_found(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *message;
    } rows[] = {
        {"HeapFre s1", "1: expected an operation, found 'HeapFre'"},
        {"heapfree s1", "1: expected an operation, found 'heapfree'"},
        {"NONE", "1: expected an operation, found 'NONE'"},
        {"check\n\n# two\nHeapFree s256", "4: expected a block s0 to s255, found 's256'"},
        {"HeapFree s1x", "1: expected a block s0 to s255, found 's1x'"},
        {"HeapFree s99999999999999999999", "1: expected a block s0 to s255, found "
                                           "'s99999999999999999999'"},
        {"HeapFree h8", "1: expected a heap h0 to h7, found 'h8'"},
        {"HeapFree t4", "1: expected a thread t0 to t3, found 't4'"},
        {"HeapFree 12 s", "1: expected an operand, found 's'"},
        {"HeapFree s-1", "1: expected an operand, found 's-1'"},
        {"HeapFree zeroo", "1: expected an operand, found 'zeroo'"},
        {"HeapFree zero|", "1: expected an operand, found 'zero|'"},
        {"HeapFree |zero", "1: expected an operand, found '|zero'"},
        {"HeapCreate zero", "1: expected an operand, found 'zero'"},
        {"HeapAlloc fixed", "1: expected an operand, found 'fixed'"},
        {"RaiseException zero", "1: expected an operand, found 'zero'"},
        {"HeapAlloc colour=red", "1: expected an operand, found 'colour=red'"},
        {"HeapAlloc =", "1: expected an operand, found '='"},
        {"HeapFree flags=256",
         "1: expected flags= and names of flags or numbers up to 255, found 'flags=256'"},
        {"HeapFree flags=",
         "1: expected flags= and names of flags or numbers up to 255, found 'flags='"},
        {"HeapFree arg=0x", "1: expected arg= and a number up to 255, found 'arg=0x'"},
        {"HeapFree arg=lock", "1: expected arg= and a number up to 255, found 'arg=lock'"},
        {"HeapFree value=65536",
         "1: expected value= and a number up to 65535, found 'value=65536'"},
        {"HeapFree size-class=-1",
         "1: expected size-class= and a number up to 255, found 'size-class=-1'"},
        {"HeapCreate reserve=1000",
         "1: expected reserve= and a number up to 255, found 'reserve=1000'"},
        {"HeapAlloc context=Filter",
         "1: expected context=plain, filter, continue or locked, found 'context=Filter'"},
        {"HeapAlloc 65536", "1: expected a size such as 100, boundary:7+1, last:-8 or pages:3/8, "
                            "found '65536'"},
        {"HeapAlloc tiny:1", "1: expected a size such as 100, boundary:7+1, last:-8 or pages:3/8, "
                             "found 'tiny:1'"},
        {"HeapAlloc slot:256", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                               "pages:3/8, found 'slot:256'"},
        {"HeapAlloc slot:1+128", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                                 "pages:3/8, found 'slot:1+128'"},
        {"HeapAlloc slot:1-129", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                                 "pages:3/8, found 'slot:1-129'"},
        {"HeapAlloc slot:1+", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                              "pages:3/8, found 'slot:1+'"},
        {"HeapAlloc last:32768", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                                 "pages:3/8, found 'last:32768'"},
        {"HeapAlloc last:--1", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                               "pages:3/8, found 'last:--1'"},
        {"HeapAlloc pages:1/16", "1: expected a size such as 100, boundary:7+1, last:-8 or "
                                 "pages:3/8, found 'pages:1/16'"},
        {"HeapAlloc 1//", "1: expected a size such as 100, boundary:7+1, last:-8 or pages:3/8, "
                          "found '1//'"},
        {"HeapAlloc :", "1: expected a size such as 100, boundary:7+1, last:-8 or pages:3/8, "
                        "found ':'"},
        {"HeapAlloc s1 s2", "1: expected an operand that is not there yet, found 's2'"},
        {"HeapCreate s1 reserve=2",
         "1: expected an operand that is not there yet, found 'reserve=2'"},
        {"HeapAlloc 1 value=2", "1: expected an operand that is not there yet, found 'value=2'"},
        {"HeapAlloc size-class=1 2", "1: expected an operand that is not there yet, found '2'"},
        {"HeapAlloc win32", "1: expected an operand that is not there yet, found 'win32'"},
        {"validate rtl win32", "1: expected an operand that is not there yet, found 'win32'"},
        {"check h1 h1", "1: expected an operand that is not there yet, found 'h1'"},
        {"check t1 t1", "1: expected an operand that is not there yet, found 't1'"},
        {"check zero zero", "1: expected an operand that is not there yet, found 'zero'"},
        {"check arg=1 arg=1", "1: expected an operand that is not there yet, found 'arg=1'"},
        {"check context=plain context=plain",
         "1: expected an operand that is not there yet, found 'context=plain'"},
        {"program speed=1", "1: expected seed=, flags=, verify= or plan=, found 'speed=1'"},
        {"program seed=65536", "1: expected seed= and a number up to 65535, found 'seed=65536'"},
        {"program flags=256", "1: expected flags= and misuse, plan, damage, verify, sweep or numbers up to "
                              "255, found 'flags=256'"},
        {"program plan=12", "1: expected plan= and words such as nth:3:commit, or 16 "
                            "hexadecimal digits, found 'plan=12'"},
        {"program plan=000000000000000g",
         "1: expected plan= and words such as nth:3:commit, or 16 hexadecimal digits, "
         "found 'plan=000000000000000g'"},
        {"misuse interor", "1: expected interior, top or interior-page, found 'interor'"},
        {"check\ndamage s1 nosuch h1", "2: expected slack, border or config, found 'nosuch'"},
        {"plan nht", "1: expected nth, none or path, found 'nht'"},
        {"check\nprogram seed=1",
         "2: expected program before the first operation, found 'program'"},
        {"check \x80\xFF\x7F'\\", "1: expected an operand, found '\\x80\\xFF\\x7F\\x27\\x5C'"},
        {"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd",
         "1: expected an operation, found 'aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd'"},
        {"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeee",
         "1: expected an operation, found 'aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd...'"},
    };
    static struct rig_program program;
    for (size_t idx = 0; idx < sizeof(rows) / sizeof(rows[0]); idx++) {
        char wanted[RIG_TEXT_ERROR_BYTES_MAX];
        (void)snprintf(wanted, sizeof(wanted), "a.heap:%s", rows[idx].message);
        const size_t len = strlen(rows[idx].source);
        assert_false(
            rig_text_parse(&program, "a.heap", rows[idx].source, len, error, sizeof(error)));
        assert_string_equal(error, wanted);
        assert_int_equal(program.count, 0);
    }
}

static void a_byte_0_is_a_character_like_any_other(void **state)
{
    (void)state;
    static struct rig_program program;
    static const char source[] = "check\0s1";
    assert_false(rig_text_parse(&program, "a", source, sizeof(source) - 1, error, sizeof(error)));
    assert_string_equal(error, "a:1: expected an operation, found 'check\\x00s1'");
}

static void line_513_of_operations_is_one_too_many(void **state)
{
    (void)state;
    static struct rig_program program;
    text[0] = '\0';
    size_t len = 0;
    for (unsigned count = 0; count < 512; count++) {
        memcpy(&text[len], "check\n", 6);
        len += 6;
    }
    memcpy(&text[len], "# end\nHeapFree s1\n", 19);
    assert_true(rig_text_parse(&program, "a", text, len + 6, error, sizeof(error)));
    assert_int_equal(program.count, 512);
    assert_false(rig_text_parse(&program, "a", text, len + 18, error, sizeof(error)));
    assert_string_equal(error, "a:514: expected at most 512 operations, found 'HeapFree'");
}

static void an_error_is_cut_to_its_buffer(void **state)
{
    (void)state;
    static struct rig_program program;
    char small[8] = "1234567";
    assert_false(rig_text_parse(&program, "a.heap", "what", 4, small, sizeof(small) - 1));
    assert_string_equal(small, "a.heap");
    assert_false(rig_text_parse(&program, "a.heap", "what", 4, NULL, 0));
}

/* The input lies in a block of its own size, so that AddressSanitizer sees a byte too many. */
static void any_bytes_are_parsed_or_refused(void **state)
{
    (void)state;
    static const char alphabet[] =
        "HeapAlloc s1 h0 zero|exceptions\nlast:-8/3 arg=#program seed=0x";
    static struct rig_program program;
    unsigned parsed = 0;
    for (uint32_t seed = 0; seed < 20000; seed++) {
        struct rig_rng rng = rig_rng_from(seed);
        const size_t len = rig_rng_below(&rng, 60);
        char *bytes = malloc(len + (len == 0));
        assert_non_null(bytes);
        for (size_t at = 0; at < len; at++) {
            const char likely = alphabet[rig_rng_below(&rng, sizeof(alphabet) - 1)];
            const char any = (char)(rig_rng_next(&rng) & 0x7Fu);
            bytes[at] = any;
            if (seed % 2 == 0) {
                bytes[at] = likely;
            }
        }
        if (rig_text_parse(&program, "a", bytes, len, error, sizeof(error))) {
            parsed++;
            survives(&program);
        } else {
            assert_null(strchr(error, '\n'));
            assert_non_null(strstr(error, ": expected "));
        }
        free(bytes);
    }
    assert_true(parsed > 100);
}

/* Printed programs cut short, with a byte changed: close to valid, so that every branch is taken,
 * at the very end of the input too. */
static void damaged_text_is_parsed_or_refused(void **state)
{
    (void)state;
    static struct rig_program program;
    for (uint32_t seed = 0; seed < 20000; seed++) {
        struct rig_rng rng = rig_rng_from(seed);
        rig_program_random(&program, seed, 3);
        const size_t all = rig_text_print(&program, text, sizeof(text));
        const size_t len = 1 + rig_rng_below(&rng, (uint32_t)all);
        text[rig_rng_below(&rng, (uint32_t)len)] = text[rig_rng_below(&rng, (uint32_t)len)];
        char *bytes = malloc(len);
        assert_non_null(bytes);
        memcpy(bytes, text, len);
        if (rig_text_parse(&program, "a", bytes, len, error, sizeof(error))) {
            survives(&program);
        }
        free(bytes);
    }
}

static void every_operation_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        for (unsigned win32 = 0; win32 < 2; win32++) {
            const struct rig_record record = {.op = (uint8_t)op, .win32 = (uint8_t)win32};
            static struct rig_program program;
            (void)rig_text_print_record(&record, text, sizeof(text));
            parse(&program, text);
            assert_int_equal(program.records[0].op, op);
            assert_int_equal(program.records[0].win32, win32);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_program_comes_back_from_its_text),
        cmocka_unit_test(every_field_of_every_operation_comes_back_alone),
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(a_line_shows_what_the_operation_reads),
        cmocka_unit_test(a_field_that_is_not_read_shows_where_it_is_not_0),
        cmocka_unit_test(settings_stand_in_front_and_only_where_there_are_any),
        cmocka_unit_test(printing_fills_what_room_there_is_and_tells_how_much_it_wants),
        cmocka_unit_test(no_line_is_longer_than_promised),
        cmocka_unit_test(comments_blanks_order_and_line_ends_do_not_matter),
        cmocka_unit_test(numbers_and_names_of_bits_mix),
        cmocka_unit_test(an_empty_text_is_an_empty_program),
        cmocka_unit_test(each_error_says_where_what_was_expected_and_what_was_found),
        cmocka_unit_test(a_byte_0_is_a_character_like_any_other),
        cmocka_unit_test(line_513_of_operations_is_one_too_many),
        cmocka_unit_test(an_error_is_cut_to_its_buffer),
        cmocka_unit_test(any_bytes_are_parsed_or_refused),
        cmocka_unit_test(damaged_text_is_parsed_or_refused),
        cmocka_unit_test(every_operation_has_a_word_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
