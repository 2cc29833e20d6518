/* SPDX-License-Identifier: MIT
 *
 * Sealed words: the promise of distance 4, checked on the multiplier's sums and on words; the pad
 * binds a word to its place and key. */
#include "word.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CODES 65536u

/* differences[w][d]: flipping w bits of the stored code can change it by d. */
static uint8_t differences[3][CODES];

static void fill_differences(void)
{
    differences[0][0] = 1;
    for (uint32_t first = 0; first < 32; first++) {
        const uint32_t one = first % 2 ? 0u - (1u << first / 2) : 1u << first / 2;
        differences[1][one % CODES] = 1;
        for (uint32_t second = 0; second < 32; second++) {
            const uint32_t two = second % 2 ? 0u - (1u << second / 2) : 1u << second / 2;
            if (first / 2 != second / 2) {
                differences[2][(one + two) % CODES] = 1;
            }
        }
    }
}

/* A product that changes by `sum` changes its top 16 bits by one of two amounts. Neither may be
 * undone by flipping up to `flips` bits of the stored code. */
static int undone(uint64_t sum, unsigned flips)
{
    const uint32_t change = (uint32_t)(sum >> 48);
    for (unsigned weight = 0; weight <= flips; weight++) {
        if (differences[weight][change] || differences[weight][(change + 1) % CODES]) {
            return 1;
        }
    }
    return 0;
}

static uint64_t term(unsigned bit, unsigned sign)
{
    const uint64_t step = NTH_WORD_MULTIPLIER << bit;
    return sign ? 0u - step : step;
}

static void no_change_of_up_to_three_bits_can_pass(void **state)
{
    (void)state;
    fill_differences();
    for (unsigned one = 0; one < 96; one++) {
        const uint64_t first = term(one / 2, one % 2);
        assert_false(undone(first, 2));
        for (unsigned two = 0; two / 2 < one / 2; two++) {
            const uint64_t second = first + term(two / 2, two % 2);
            assert_false(undone(second, 1));
            for (unsigned three = 0; three / 2 < two / 2; three++) {
                assert_false(undone(second + term(three / 2, three % 2), 0));
            }
        }
    }
}

static void every_pair_of_flips_in_a_word_is_noticed(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, NTH_WORD_MASK, 0x123456789ABCull, 0x800000000000ull};
    const uint64_t pad = 0xFEDCBA9876543210ull;
    for (size_t idx = 0; idx < sizeof(values) / sizeof(values[0]); idx++) {
        const uint64_t word = nth_word_seal(values[idx], pad);
        uint64_t value = 0;
        assert_true(nth_word_open(word, pad, &value));
        assert_int_equal(value, values[idx]);
        for (unsigned first = 0; first < 64; first++) {
            for (unsigned second = 0; second <= first; second++) {
                const uint64_t flips = 1ull << first | 1ull << second;
                assert_false(nth_word_open(word ^ flips, pad, &value));
            }
        }
    }
}

static void a_word_is_bound_to_its_place_and_its_key(void **state)
{
    (void)state;
    const struct nth_key key = {.first = 0x1111, .second = 0x2222222222222223ull};
    const struct nth_key other = {.first = 0x1113, .second = 0x2222222222222223ull};
    unsigned passed = 0;
    for (uint64_t place = 0; place < 4096; place++) {
        const uint64_t word = nth_word_seal(place * 3, nth_word_pad(&key, place));
        uint64_t value = 0;
        passed += nth_word_open(word, nth_word_pad(&key, place + 1), &value);
        passed += nth_word_open(word, nth_word_pad(&key, place + 4), &value);
        passed += nth_word_open(word, nth_word_pad(&other, place), &value);
    }
    assert_true(passed <= 2); /* one in 65,536 may; the words are fixed, so this cannot vary */
}

static void a_seal_notices_any_change_inside_one_word(void **state)
{
    (void)state;
    uint64_t words[20];
    for (size_t idx = 0; idx < 20; idx++) {
        words[idx] = nth_mix(idx);
    }
    const uint64_t seal = nth_seal(words, 20, 7);
    for (size_t idx = 0; idx < 20; idx++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            words[idx] ^= 1ull << bit;
            assert_int_not_equal(nth_seal(words, 20, 7), seal);
            words[idx] ^= 1ull << bit;
        }
    }
    assert_int_not_equal(nth_seal(words, 20, 8), seal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_change_of_up_to_three_bits_can_pass),
        cmocka_unit_test(every_pair_of_flips_in_a_word_is_noticed),
        cmocka_unit_test(a_word_is_bound_to_its_place_and_its_key),
        cmocka_unit_test(a_seal_notices_any_change_inside_one_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
