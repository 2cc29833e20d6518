/* SPDX-License-Identifier: MIT
 *
 * Names of modules as UTF-16: every code, and what looks like one and is none. */
#include "support/rig.h"

#include <string.h>

#include "verifier.h"

static size_t encode(uint32_t code, char *bytes)
{
    size_t len = 0;
    if (code < 0x80) {
        bytes[len++] = (char)code;
    } else if (code < 0x800) {
        bytes[len++] = (char)(0xC0 | code >> 6);
        bytes[len++] = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        bytes[len++] = (char)(0xE0 | code >> 12);
        bytes[len++] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[len++] = (char)(0x80 | (code & 0x3F));
    } else {
        bytes[len++] = (char)(0xF0 | code >> 18);
        bytes[len++] = (char)(0x80 | (code >> 12 & 0x3F));
        bytes[len++] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[len++] = (char)(0x80 | (code & 0x3F));
    }
    bytes[len] = '\0';
    return len;
}

/* Byte for byte: what it becomes where it is no code. */
static void demand_bytes(const char *bytes)
{
    USHORT wide[16];
    const size_t len = strlen(bytes);
    nth_name_widen(bytes, wide);
    for (size_t idx = 0; idx < len; idx++) {
        assert_int_equal(wide[idx], (unsigned char)bytes[idx]);
    }
    assert_int_equal(wide[len], 0);
}

static void each_code_is_what_it_is(void **state)
{
    (void)state;
    for (uint32_t code = 1; code <= 0x10FFFF; code++) {
        char bytes[8];
        USHORT wide[8];
        const size_t len = encode(code, bytes);
        if (code >= 0xD800 && code <= 0xDFFF) {
            demand_bytes(bytes);
            continue;
        }
        bytes[len] = 'x'; /* what follows is the next */
        bytes[len + 1] = '\0';
        nth_name_widen(bytes, wide);
        if (code < 0x10000) {
            assert_int_equal(wide[0], code);
            assert_int_equal(wide[1], 'x');
            assert_int_equal(wide[2], 0);
        } else {
            assert_int_equal(wide[0], 0xD800 + ((code - 0x10000) >> 10));
            assert_int_equal(wide[1], 0xDC00 + ((code - 0x10000) & 0x3FF));
            assert_int_equal(wide[2], 'x');
            assert_int_equal(wide[3], 0);
        }
    }
}

/* Any two bytes, and with bytes behind them that may go on or may not: what no code begins with
 * stays. */
static void what_is_no_code_stays_as_it_is(void **state)
{
    static const char behind[] = {'\x7F', '\x80', '\xBF', '\xC0'};
    (void)state;
    for (unsigned first = 0x80; first < 0x100; first++) {
        for (unsigned second = 1; second < 0x100; second++) {
            for (unsigned rest = 0; rest < 16; rest++) {
                char code[8];
                char bytes[5] = {(char)first, (char)second, behind[rest / 4], behind[rest % 4], 0};
                const unsigned more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
                uint32_t made = first & (0x3Fu >> more);
                for (unsigned idx = 1; idx <= more; idx++) {
                    made = made << 6 | ((unsigned char)bytes[idx] & 0x3Fu);
                }
                bytes[more + 1u] = '\0';
                const BOOLEAN same = made != 0 && made <= 0x10FFFF &&
                                     encode(made, code) == more + 1u && strcmp(code, bytes) == 0;
                if (!same && (second & 0xC0) != 0xC0) {
                    demand_bytes(bytes);
                }
            }
        }
    }
}

static void a_code_that_is_cut_stays_as_it_is(void **state)
{
    static const char *const cut[] = {"\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xF0\x9F", "\xE2"};
    (void)state;
    for (size_t idx = 0; idx < sizeof(cut) / sizeof(cut[0]); idx++) {
        demand_bytes(cut[idx]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_code_is_what_it_is),
        TEST(what_is_no_code_stays_as_it_is),
        TEST(a_code_that_is_cut_stays_as_it_is),
    };
    return cmocka_run_group_tests_name("names of modules", tests, NULL, NULL);
}
