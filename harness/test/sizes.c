/* SPDX-License-Identifier: MIT
 *
 * Sizes of records: every kind, its wrapping at both ends, and the table of boundaries. */
#include "program/size.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WORD_BITS (unsigned)(sizeof(size_t) * CHAR_BIT)

static const struct rig_size_facts facts = {
    .slot_bytes = 1000, .hole_bytes = 2000, .last_bytes = 3000, .threshold_bytes = 0x7F000};

static size_t resolve(enum rig_size_kind kind, unsigned detail, unsigned value)
{
    const struct rig_record record = {.size_class = (uint8_t)((unsigned)kind | detail << 4),
                                      .value = (uint16_t)value};
    return rig_size_resolve(&record, &facts);
}

static void numbers_stand_for_themselves_or_a_multiple(void **state)
{
    (void)state;
    assert_int_equal(resolve(RIG_SIZE_LITERAL, 0, 65535), 65535);
    assert_int_equal(resolve(RIG_SIZE_LITERAL, 15, 7), 7);
    assert_int_equal(resolve(RIG_SIZE_SMALL, 0, 1023), 1023);
    assert_int_equal(resolve(RIG_SIZE_SMALL2, 0, 1024), 0);
    assert_int_equal(resolve(RIG_SIZE_SMALL3, 3, 1025), 1);
    assert_int_equal(resolve(RIG_SIZE_LINEAR, 0, 65535), 65535);
    assert_int_equal(resolve(RIG_SIZE_LINEAR, 15, 65535), 16 * 65535);
    assert_int_equal(resolve(RIG_SIZE_MEDIUM, 0, 8191), 8 * 8191);
    assert_int_equal(resolve(RIG_SIZE_MEDIUM, 0, 8193), 8);
    assert_int_equal(resolve(RIG_SIZE_CLASS, 0, 127), 127 * 16);
    assert_int_equal(resolve(RIG_SIZE_CLASS, 8, 129), 16 - 8);
    assert_int_equal(resolve(RIG_SIZE_PAGES, 0, 2047), 2047 * 4096);
    assert_int_equal(resolve(RIG_SIZE_PAGES, 8, 1u << 11 | 3u), 4096 - 8);
    assert_int_equal(resolve(RIG_SIZE_PAGES, 15, 31u << 11 | 2047u), 0);
}

static void sizes_wrap_around_at_both_ends(void **state)
{
    (void)state;
    assert_int_equal(resolve(RIG_SIZE_CLASS, 1, 0), SIZE_MAX);
    assert_int_equal(resolve(RIG_SIZE_BOUNDARY, 0, 0x00FF), SIZE_MAX);
    assert_int_equal(resolve(RIG_SIZE_BOUNDARY, 0, 63u << 8 | 2), 1);
    assert_int_equal(resolve(RIG_SIZE_TOP, 0, 0), SIZE_MAX);
    assert_int_equal(resolve(RIG_SIZE_TOP, 0, 65535), SIZE_MAX - 65535);
}

static void a_reference_takes_what_it_is_told_and_a_signed_step(void **state)
{
    (void)state;
    assert_int_equal(resolve(RIG_SIZE_OF_SLOT, 0, 0x1200), 1000);
    assert_int_equal(resolve(RIG_SIZE_OF_SLOT, 0, 0x127F), 1127);
    assert_int_equal(resolve(RIG_SIZE_OF_SLOT, 0, 0x1280), 872);
    assert_int_equal(resolve(RIG_SIZE_HOLE, 0, 0x34FF), 1999);
    assert_int_equal(resolve(RIG_SIZE_LAST, 0, 0x7FFF), 3000 + 0x7FFF);
    assert_int_equal(resolve(RIG_SIZE_LAST, 0, 0xFFFF), 2999);
    assert_int_equal(resolve(RIG_SIZE_THRESHOLD, 0, 0), 0x7F000);
    assert_int_equal(resolve(RIG_SIZE_THRESHOLD, 0, 0x8000), 0x7F000 - 0x8000);
}

static void a_power_stays_within_the_word(void **state)
{
    (void)state;
    assert_int_equal(resolve(RIG_SIZE_POWER, 0, 12u << 8), 4096);
    assert_int_equal(resolve(RIG_SIZE_POWER, 0, 12u << 8 | 0xFF), 4095);
    assert_int_equal(resolve(RIG_SIZE_POWER, 0, (WORD_BITS - 1) << 8 | 0xFF), SIZE_MAX / 2);
    assert_int_equal(resolve(RIG_SIZE_POWER, 0, WORD_BITS << 8 | 1), 2);
}

static void every_record_has_a_size(void **state)
{
    (void)state;
    for (unsigned size_class = 0; size_class < 256; size_class++) {
        for (unsigned value = 0; value < 65536; value++) {
            const struct rig_record record = {.size_class = (uint8_t)size_class,
                                              .value = (uint16_t)value};
            (void)rig_size_resolve(&record, &facts);
        }
    }
    assert_int_equal(rig_record_size_kind(&(struct rig_record){.size_class = 0xF3}), 3);
    assert_int_equal(rig_record_hi(&(struct rig_record){.value = 0xAB12}), 0xAB);
}

static bool is_boundary(size_t bytes)
{
    for (unsigned idx = 0; idx < rig_size_boundary_count(); idx++) {
        if (rig_size_boundary(idx) == bytes) {
            return true;
        }
    }
    return false;
}

static void the_boundaries_are_those_that_a_heap_has(void **state)
{
    (void)state;
    static const size_t wanted[] = {0,
                                    1,
                                    7,
                                    8,
                                    15,
                                    16,
                                    17,
                                    24,
                                    32,
                                    64,
                                    127,
                                    128,
                                    255,
                                    256,
                                    0x400,
                                    0x1000,
                                    0x2000,
                                    0x3000,
                                    0x4000,
                                    0x3FF8,
                                    0x10000,
                                    0x7E000,
                                    0x7F000,
                                    0x7FFF8,
                                    0x80000,
                                    0xFFFFF,
                                    0x100000,
                                    0xFF000,
                                    0x200000,
                                    0x7FFFFFFF,
                                    0x80000000u,
                                    SIZE_MAX / 2,
                                    SIZE_MAX - 15,
                                    SIZE_MAX};
    for (size_t idx = 0; idx < sizeof(wanted) / sizeof(wanted[0]); idx++) {
        assert_true(is_boundary(wanted[idx]));
    }
    for (unsigned kib = 1; kib <= 16; kib++) {
        assert_true(is_boundary(kib * (size_t)1024));
    }
    assert_true(is_boundary(WORD_BITS == 64 ? (size_t)0xFFFFFFFFu + 1 : SIZE_MAX));
}

static void a_number_past_the_boundaries_means_one_of_the_first_64(void **state)
{
    (void)state;
    assert_int_equal(rig_size_boundary(rig_size_boundary_count()),
                     rig_size_boundary(rig_size_boundary_count() % 64));
    assert_int_equal(rig_size_boundary(255), SIZE_MAX);
    assert_int_equal(rig_size_boundary(192), 0);
    assert_string_equal(rig_size_boundary_why(192), rig_size_boundary_why(0));
    assert_int_equal(resolve(RIG_SIZE_BOUNDARY2, 0, 255u << 8), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stand_for_themselves_or_a_multiple),
        cmocka_unit_test(sizes_wrap_around_at_both_ends),
        cmocka_unit_test(a_reference_takes_what_it_is_told_and_a_signed_step),
        cmocka_unit_test(a_power_stays_within_the_word),
        cmocka_unit_test(every_record_has_a_size),
        cmocka_unit_test(the_boundaries_are_those_that_a_heap_has),
        cmocka_unit_test(a_number_past_the_boundaries_means_one_of_the_first_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
