/* SPDX-License-Identifier: MIT
 *
 * Size classes of the front end: every size has the smallest class that holds it, classes grow
 * evenly, and what borrows from the next classes wastes a sixth at most. */
#include "sizes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BLOCK_MIN_BYTES 32u
#define BLOCK_MAX_BYTES 0x4000u

static void every_size_has_the_smallest_class_that_holds_it(void **state)
{
    (void)state;
    for (uint64_t bytes = BLOCK_MIN_BYTES; bytes <= BLOCK_MAX_BYTES; bytes++) {
        const uint32_t bucket = nth_bucket_of(bytes);
        assert_true(bucket < NTH_BUCKET_COUNT);
        assert_true(nth_bucket_bytes(bucket) >= bytes);
        assert_true(bucket == 0 || nth_bucket_bytes(bucket - 1) < bytes);
    }
    assert_int_equal(nth_bucket_bytes(NTH_BUCKET_COUNT - 1), BLOCK_MAX_BYTES);
}

static void classes_are_16_bytes_apart_to_512_and_a_sixteenth_of_a_doubling_above(void **state)
{
    (void)state;
    for (uint32_t bucket = 1; bucket < NTH_BUCKET_COUNT; bucket++) {
        const uint64_t step = nth_bucket_bytes(bucket) - nth_bucket_bytes(bucket - 1);
        uint64_t doubling = 512;
        while (2 * doubling < nth_bucket_bytes(bucket)) {
            doubling *= 2;
        }
        assert_int_equal(step, nth_bucket_bytes(bucket) <= 512 ? 16 : doubling / 16);
        assert_int_equal(nth_bucket_units(bucket) * NTH_UNIT_BYTES, nth_bucket_bytes(bucket));
    }
}

static void borrowing_wastes_a_sixth_at_most(void **state)
{
    (void)state;
    for (uint32_t bucket = 0; bucket < NTH_BUCKET_COUNT; bucket++) {
        const uint32_t reach = nth_bucket_reach(bucket);
        assert_true(reach <= NTH_BUCKET_REACH_MAX);
        assert_true(bucket + reach < NTH_BUCKET_COUNT);
        const uint64_t own = nth_bucket_bytes(bucket);
        const uint64_t lent = nth_bucket_bytes(bucket + reach);
        assert_true((lent - own) * 6 <= lent);
    }
}

static void a_chunk_has_free_words_for_all_of_its_slots(void **state)
{
    (void)state;
    for (uint32_t bucket = 0; bucket < NTH_BUCKET_COUNT; bucket++) {
        const uint32_t slots = nth_bucket_slots(bucket);
        assert_true(slots >= NTH_LFH_SLOTS_MIN && slots <= NTH_LFH_SLOTS_MAX);
        assert_true(nth_bucket_words(bucket) * 48u >= slots);
        assert_true((nth_bucket_words(bucket) - 1u) * 48u < slots);
        assert_true(nth_bucket_slots_first(bucket) >= 1);
        assert_true(nth_bucket_slots_first(bucket) <= slots);
        assert_true(nth_bucket_magazine_first(bucket) >= 2);
        assert_true(nth_bucket_magazine_first(bucket) <= nth_bucket_magazine(bucket));
        assert_true(nth_bucket_magazine(bucket) <= NTH_LFH_MAGAZINE_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_has_the_smallest_class_that_holds_it),
        cmocka_unit_test(classes_are_16_bytes_apart_to_512_and_a_sixteenth_of_a_doubling_above),
        cmocka_unit_test(borrowing_wastes_a_sixth_at_most),
        cmocka_unit_test(a_chunk_has_free_words_for_all_of_its_slots),
    };
    return cmocka_run_group_tests_name("sizes", tests, NULL, NULL);
}
