/* SPDX-License-Identifier: MIT
 *
 * Settings of the verifier: each word and value of the grammar with its bounds, what is out of
 * range, what settings imply, lists of names. */
#include "support/watch.h"

#include <stdio.h>
#include <string.h>

#include "verifier.h"

static struct nth_verifier_settings good(const char *text)
{
    struct nth_verifier_settings set;
    char error[256] = "";
    if (nth_verifier_parse(text, &set, error, sizeof(error)) != STATUS_SUCCESS) {
        fail_msg("%s: %s", text, error);
    }
    return set;
}

static void bad(const char *text, const char *told)
{
    struct nth_verifier_settings set;
    char error[1024] = "";
    assert_int_equal(nth_verifier_parse(text, &set, error, sizeof(error)),
                     STATUS_INVALID_PARAMETER);
    if (strcmp(error, told) != 0) {
        fail_msg("%s: %s", text, error);
    }
}

static void each_word_sets_what_it_names(void **state)
{
    static const struct {
        const char *text;
        ULONG layers;
        ULONG flags;
        ULONG options;
    } rows[] = {
        {"leak", NTH_VERIFY_LEAK, 0, 0},
        {"heaps", NTH_VERIFY_HEAPS, 0, 0},
        {"locks", NTH_VERIFY_LOCKS, 0, 0},
        {"memory", NTH_VERIFY_MEMORY, 0, 0},
        {"basics", 0xF, 0, 0},
        {"lowres", NTH_VERIFY_LOWRES, 0, 0},
        {"fault", NTH_VERIFY_LOWRES, 0, 0},
        {"leak,locks", NTH_VERIFY_LEAK | NTH_VERIFY_LOCKS, 0, 0},
        {"flags=htc", 0, 0x10, 0},
        {"flags=hfc", 0, 0x20, 0},
        {"flags=hpc", 0, 0x40, 0},
        {"flags=hvc", 0, 0x80, 0},
        {"flags=vrf", 0, 0x100, 0},
        {"flags=ust", 0, 0x1000, 0},
        {"flags=dhc", 0, 0x200000, 0},
        {"flags=hpa", 0, 0x2000000, 0},
        {"flags=0x022011f0", 0, 0x22011f0, 0},
        {"flags=016", 0, 0x10, 0}, /* decimal all the same */
        {"flags=htc,flags=hfc+hpc", 0, 0x70, 0},
        {"pageheap=light", NTH_VERIFY_HEAPS, 0, 0},
        {"pageheap=light:leaks", NTH_VERIFY_HEAPS, 0, NTH_PAGE_HEAP_LEAKS},
        {"pageheap=light:nosync", NTH_VERIFY_HEAPS, 0, NTH_PAGE_HEAP_NO_SYNC},
        {"pageheap=full:backwards", NTH_VERIFY_HEAPS, 0, NTH_PAGE_HEAP_BACKWARDS},
        {"pageheap=full:unaligned:leaks", NTH_VERIFY_HEAPS, 0,
         NTH_PAGE_HEAP_UNALIGNED | NTH_PAGE_HEAP_LEAKS},
    };
    struct nth_verifier_settings plain;
    (void)state;
    nth_verifier_defaults(&plain);
    assert_int_equal(plain.layers, 0);
    assert_int_equal(plain.stop_report, NTH_STOP_DEFAULT);
    assert_int_equal(plain.lowres_kinds, NTH_LOWRES_HEAP_ALLOC);
    assert_string_equal(plain.lowres_include, "*");
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct nth_verifier_settings set = good(rows[row].text);
        assert_int_equal(set.layers, rows[row].layers);
        assert_int_equal(set.global_flags, rows[row].flags);
        assert_int_equal(set.page_heap_options, rows[row].options);
        assert_int_equal(set.page_heap, strstr(rows[row].text, "full") != NULL);
        assert_false(set.exception_on_stop || set.auto_disable_stop || set.plain_log);
        assert_int_equal(set.mapping_budget, NTH_MAPPING_BUDGET_DEFAULT);
        assert_int_equal(set.trace_depth, NTH_TRACE_DEPTH_DEFAULT);
        set.layers = 0; /* and nothing else but that */
        set.global_flags = 0;
        set.page_heap_options = 0;
        set.page_heap = 0;
        if (strcmp(rows[row].text, "fault") == 0) {
            set.lowres_ppm = plain.lowres_ppm;
            set.lowres_quiet_ms = plain.lowres_quiet_ms;
        }
        assert_memory_equal(&set, &plain, sizeof(set));
    }
    assert_true(good("leak,exceptions").exception_on_stop);
    assert_true(good("leak,once").auto_disable_stop);
    assert_true(good("leak,text").plain_log);
}

static void each_value_goes_to_its_bounds(void **state)
{
    (void)state;
    assert_int_equal(good("lowres=1000000").lowres_ppm, 1000000);
    assert_int_equal(good("lowres=5").lowres_quiet_ms, NTH_LOWRES_QUIET_MS_DEFAULT);
    assert_int_equal(good("lowres=0").lowres_ppm, 0);
    assert_int_equal(good("lowres=7:4294967295").lowres_quiet_ms, 4294967295u);
    assert_string_equal(good("lowres=7:8:a.so").lowres_include, "a.so");
    assert_int_equal(good("fault=10000").lowres_ppm, 1000000);
    assert_int_equal(good("fault=1").lowres_ppm, 100);
    assert_int_equal(good("fault=1").lowres_quiet_ms, 5000);
    assert_int_equal(good("fault=1:4000000").lowres_quiet_ms, 4000000000u);
    assert_int_equal(good("leak,depth=1").trace_depth, 1);
    assert_int_equal(good("leak,depth=32").trace_depth, NTH_TRACE_DEPTH_MAX);
    assert_true(good("leak,seed=18446744073709551615").seed == UINT64_MAX);
    assert_true(good("leak,seed=0xFFFFFFFFffffffff").seed == UINT64_MAX);
    assert_int_equal(good("leak,seed=0X1aF").seed, 0x1AF);
    assert_int_equal(good("leak,seed=09").seed, 9);
    assert_int_equal(good("leak,delayed=0").delayed_count_max, 0);
    assert_int_equal(good("leak,delayed=3").delayed_bytes_max, NTH_DELAYED_BYTES_DEFAULT);
    assert_int_equal(good("leak,delayed=3:0").delayed_bytes_max, 0);
    assert_int_equal(good("pageheap=full:random=0").full_percent, 0);
    assert_int_equal(good("pageheap=full:random=100").full_percent, 100);
    assert_int_equal(good("pageheap=full:budget=1000000").mapping_budget, 1000000);
    assert_int_equal(good("pageheap=full:size=5-5").full_size_min, 5);
    assert_int_equal(good("pageheap=full:size=5-5").full_size_max, 5);
    const struct nth_verifier_settings set = good("pageheap=full:address=0x10-0x20,leak");
    assert_int_equal(set.full_address_low, 0x10);
    assert_int_equal(set.full_address_high, 0x20);
    assert_string_equal(good("pageheap=full:dlls=a.so+b.so").full_modules, "a.so+b.so");
    assert_string_equal(good("leak,exclude=abc.so,exclude=d").lowres_exclude, "d"); /* the last */
    assert_string_equal(good("leak,pass=abc.so,pass=d").pass_through, "d");
    assert_string_equal(good("leak,log=x").log, "x");
}

static void what_is_wrong_is_told_with_its_place_and_all_that_follows(void **state)
{
    (void)state;
    bad("seed",
        "character 1: expected leak, heaps, locks, memory, basics, pageheap=, flags=, lowres, "
        "fault, exclude=, pass=, seed=, delayed=, depth=, exceptions, once, text or log=, found "
        "\"seed\"");
    bad("seed=", "character 6: expected a number, found the end");
    bad("seed=0x", "character 6: expected a number, found \"0x\"");
    bad("seed=0x@", "character 6: expected a number, found \"0x@\"");
    bad("seed=0xg", "character 6: expected a number, found \"0xg\"");
    bad("seed=18446744073709551616",
        "character 6: expected a number, found \"18446744073709551616\"");
    bad("seed=0x10000000000000000",
        "character 6: expected a number, found \"0x10000000000000000\"");
    bad("depth=5+3", "character 8: expected a depth of 1 to 32, found \"+3\"");
    bad("depth=5-3", "character 8: expected a depth of 1 to 32, found \"-3\"");
    bad("depth=33", "character 7: expected a depth of 1 to 32, found \"33\"");
    bad("lowres=1000001,leak",
        "character 8: expected parts per million, 0 to 1000000, found \"1000001,leak\"");
    bad("lowres=1:4294967296", "character 10: expected milliseconds, found \"4294967296\"");
    bad("lowres=1:2:", "character 12: expected names of modules without path, joined by '+', "
                       "found the end");
    bad("fault=10001", "character 7: expected a rate of 1 to 10000, found \"10001\"");
    bad("fault=1:4000001", "character 9: expected seconds, found \"4000001\"");
    bad("delayed=x", "character 9: expected a number of blocks, found \"x\"");
    bad("delayed=1:x", "character 11: expected a number of bytes, found \"x\"");
    bad("pageheap=full:random=101",
        "character 22: expected a percentage of 0 to 100, found \"101\"");
    bad("pageheap=full:size=0x-3", "character 20: expected a number, found \"0x-3\"");
    bad("pageheap=full:size=3-0x", "character 22: expected a number, found \"0x\"");
    bad("pageheap=full:address=3", "character 24: expected '-' and the upper bound, found the end");
    bad("pageheap=full:address=3-2", "character 26: expected bounds in order, found the end");
    bad("pageheap=full:dlls=a:address=1-2",
        "character 33: expected one of random=, size=, dlls= and address=, found the end");
    bad("pageheap=full:address=1-2:random=3",
        "character 35: expected one of random=, size=, dlls= and address=, found the end");
    bad("pageheap=full:size=1-2:dlls=a",
        "character 30: expected one of random=, size=, dlls= and address=, found the end");
    bad("pageheap=light:unaligned",
        "character 25: expected full with backwards or unaligned, found the end");
    bad("flags=0x100000000", "character 7: expected a number, found \"0x100000000\"");
    bad("flags=0x1", "character 10: expected global flags of heaps only, found the end");
    bad("flags=0x8,leak", "character 10: expected global flags of heaps only, found \",leak\"");
    bad("flags=htc+abc",
        "character 11: expected htc, hfc, hpc, hvc, vrf, ust, dhc or hpa joined by '+', or 0x and "
        "bits, found \"abc\"");
    bad("leak,log=", "character 10: expected a path, found the end");
    bad("seed=1:2", "character 7: expected ',' or the end, found \":2\"");
    bad("seed=1", "character 7: expected a layer to switch on, such as leak, found the end");
    /* What was found is cut. */
    bad("abcdefghijklmnopqrstuvwxyz",
        "character 1: expected leak, heaps, locks, memory, basics, pageheap=, flags=, lowres, "
        "fault, exclude=, pass=, seed=, delayed=, depth=, exceptions, once, text or log=, found "
        "\"abcdefghijklmnopqrstuvwx\"");
}

/* With any letter or sign of it changed a word is none. */
static void each_letter_counts(void **state)
{
    static const char *const words[] = {
        "leak,heaps,locks,memory,basics,exceptions,once,text",
        "pageheap=light:leaks:nosync",
        "pageheap=full:backwards:unaligned:random=1",
        "pageheap=full:size=1-2",
        "pageheap=full:dlls=1",
        "pageheap=full:address=1-2:budget=1",
        "flags=htc+hfc+hpc+hvc+vrf+ust+dhc+hpa",
        "lowres=1:2:3",
        "fault=1:2",
        "leak,exclude=1",
        "leak,pass=1",
        "leak,seed=1",
        "leak,delayed=1:2",
        "leak,depth=1",
        "leak,log=1",
    };
    (void)state;
    for (size_t row = 0; row < sizeof(words) / sizeof(words[0]); row++) {
        (void)good(words[row]);
        for (size_t at = 0; words[row][at] != '\0'; at++) {
            char text[64];
            struct nth_verifier_settings set;
            (void)snprintf(text, sizeof(text), "%s", words[row]);
            if (text[at] >= '0' && text[at] <= '9') {
                continue;
            }
            text[at] = '~';
            if (nth_verifier_parse(text, &set, NULL, 0) != STATUS_INVALID_PARAMETER) {
                fail_msg("%s is taken", text);
            }
        }
    }
}

static void an_error_fits_where_it_is_to_go(void **state)
{
    struct nth_verifier_settings set;
    char error[8];
    (void)state;
    memset(error, 'x', sizeof(error));
    assert_int_equal(nth_verifier_parse("?", &set, error, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(error[0], 'x');
    assert_int_equal(nth_verifier_parse("?", &set, error, 1), STATUS_INVALID_PARAMETER);
    assert_int_equal(error[0], '\0');
    assert_int_equal(error[1], 'x');
    assert_int_equal(nth_verifier_parse("?", &set, error, sizeof(error)), STATUS_INVALID_PARAMETER);
    assert_string_equal(error, "charact");
}

/* One letter more than fits, and then one that fits, which is kept whole. */
static void lists_and_paths_have_a_greatest_length(void **state)
{
    char text[2 * NTH_VERIFIER_PATH_BYTES];
    char told[2 * NTH_VERIFIER_PATH_BYTES];
    struct nth_verifier_settings set;
    (void)state;
    int start = snprintf(text, sizeof(text), "leak,pass=");
    memset(text + start, 'a', NTH_VERIFIER_NAMES_BYTES);
    text[start + (int)NTH_VERIFIER_NAMES_BYTES] = '\0';
    (void)snprintf(told, sizeof(told),
                   "character %d: expected names of modules without path, joined by '+', found "
                   "\"%.24s\"",
                   start + 1, text + start);
    bad(text, told);
    text[start + (int)NTH_VERIFIER_NAMES_BYTES - 1] = '\0';
    set = good(text);
    assert_string_equal(set.pass_through, text + start);
    start = snprintf(text, sizeof(text), "leak,log=");
    memset(text + start, 'a', NTH_VERIFIER_PATH_BYTES);
    text[start + (int)NTH_VERIFIER_PATH_BYTES] = '\0';
    (void)snprintf(told, sizeof(told), "character %d: expected a path, found \"%.24s\"", start + 1,
                   text + start);
    bad(text, told);
    text[start + (int)NTH_VERIFIER_PATH_BYTES - 1] = '\0';
    set = good(text);
    assert_string_equal(set.log, text + start);
}

/* ---- switching on ---- */

static void refused(struct nth_verifier_settings set)
{
    assert_int_equal(nth_verifier_start(&set), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_layers(), 0);
    assert_int_equal(nth_balance_now().reserved_bytes, 0);
}

/* The greatest value of each is taken, and one more is not. */
static void a_setting_out_of_its_range_switches_nothing_on(void **state)
{
    const struct nth_verifier_settings plain = good("heaps");
    struct nth_verifier_settings edge = plain;
    struct nth_verifier_settings set = plain;
    (void)state;
    set.layers = 0x20;
    refused(set);
    set = plain;
    set.page_heap = NTH_PAGE_HEAP_FULL + 1u;
    refused(set);
    set = plain;
    set.page_heap_options = 0x10;
    refused(set);
    set = plain;
    set.full_percent = 101;
    refused(set);
    set = plain;
    set.full_size_min = 8;
    set.full_size_max = 7;
    refused(set);
    set = plain;
    set.full_address_low = 8;
    set.full_address_high = 7;
    refused(set);
    set = plain;
    set.trace_depth = NTH_TRACE_DEPTH_MAX + 1u;
    refused(set);
    set = plain;
    set.trace_depth = 0;
    refused(set);
    set = plain;
    set.lowres_ppm = 1000001;
    refused(set);
    set = plain;
    set.layers = 0;
    refused(set);
    edge.layers = 0x1F;
    edge.page_heap = NTH_PAGE_HEAP_FULL;
    edge.page_heap_options = 0xF;
    edge.full_percent = 100;
    edge.full_size_min = edge.full_size_max = 7;
    edge.full_address_low = edge.full_address_high = 7;
    edge.trace_depth = NTH_TRACE_DEPTH_MAX;
    edge.lowres_ppm = 1000000;
    assert_int_equal(nth_verifier_start(&edge), STATUS_SUCCESS);
    nth_process_reset();
    edge = plain;
    edge.layers = 0;
    edge.global_flags = FLG_HEAP_ENABLE_TAIL_CHECK; /* a flag alone will do */
    edge.trace_depth = 1;
    assert_int_equal(nth_verifier_start(&edge), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_layers(), 0);
    assert_int_equal(RtlGetNtGlobalFlags(), 0x10);
}

static void settings_imply_others(void **state)
{
    static const struct {
        const char *text;
        ULONG layers;
        ULONG flags;
    } rows[] = {
        {"leak", NTH_VERIFY_LEAK, 0},
        {"heaps", NTH_VERIFY_HEAPS, 0},
        {"pageheap=full", NTH_VERIFY_HEAPS, FLG_HEAP_PAGE_ALLOCS},
        {"flags=hpa", NTH_VERIFY_HEAPS, FLG_HEAP_PAGE_ALLOCS},
        {"flags=vrf", NTH_VERIFY_BASICS, FLG_APPLICATION_VERIFIER},
        {"flags=htc", 0, FLG_HEAP_ENABLE_TAIL_CHECK},
        {"pageheap=full:leaks", NTH_VERIFY_HEAPS, 0}, /* no full page heap with that (D102) */
    };
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        HANDLE heap = watch_begin(rows[row].text);
        struct nth_verifier_summary sums;
        assert_int_equal(nth_verifier_layers(), rows[row].layers);
        assert_int_equal(RtlGetNtGlobalFlags(), rows[row].flags);
        (void)rig_block_new(heap, 10);
        nth_verifier_summary(&sums);
        assert_int_equal(sums.full_count, (rows[row].flags & FLG_HEAP_PAGE_ALLOCS) != 0);
        watch_finish(heap);
        nth_process_reset();
        assert_int_equal(RtlGetNtGlobalFlags(), 0);
    }
}

/* ---- lists of names ---- */

static void a_list_has_its_names_whole(void **state)
{
    (void)state;
    assert_true(nth_names_have("a.so", "a.so"));
    assert_true(nth_names_have("a.so+b.so", "a.so"));
    assert_true(nth_names_have("a.so+b.so", "b.so"));
    assert_true(nth_names_have("*", "any"));
    assert_true(nth_names_have("a.so+*", "any"));
    assert_true(nth_names_have("x", "x"));
    assert_false(nth_names_have("x", "y"));
    assert_false(nth_names_have("x", "*"));
    assert_false(nth_names_have("", "x"));
    assert_false(nth_names_have("", ""));
    assert_false(nth_names_have("a.so", "a.s"));
    assert_false(nth_names_have("a.so", "a.so.1"));
    assert_false(nth_names_have("a.so+b.so", "a.so+b.so"));
    assert_false(nth_names_have("*.so", "a.so"));
    assert_false(nth_names_have("**", "a.so"));
}

/* ---- tables ---- */

static void piece_of(size_t bytes)
{
    watch_start("leak");
    struct nth_verifier_summary before;
    struct nth_verifier_summary after;
    nth_verifier_summary(&before);
    assert_int_equal(before.own_bytes,
                     nth_balance_now().committed_bytes); /* nothing else is there */
    const size_t reserved = nth_balance_now().reserved_bytes;
    void *outer = nth_verifier_enter();
    char *small = nth_verifier_take(1);
    char *large = nth_verifier_take(bytes);
    char *next = nth_verifier_take(1);
    nth_verifier_leave(outer);
    assert_true(small != NULL && large != NULL && next != NULL);
    for (size_t at = 0; at < bytes; at += 4096) {
        assert_int_equal(large[at], 0);
        large[at] = 1;
    }
    large[bytes - 1u] = 1;
    *next = 2;
    assert_true(next >= large + bytes || next < large);
    assert_int_equal(((uintptr_t)small | (uintptr_t)large | (uintptr_t)next) % 16, 0);
    assert_true(nth_balance_now().reserved_bytes - reserved >= bytes);
    nth_verifier_summary(&after);
    assert_in_range(after.own_bytes - before.own_bytes, bytes, bytes + 0x20000);
    assert_int_equal(after.own_bytes, nth_balance_now().committed_bytes);
    nth_process_reset();
    assert_int_equal(nth_balance_now().reserved_bytes, 0);
}

static void more_than_a_chunk_is_had_in_one_piece(void **state)
{
    static const size_t sizes[] = {0x500001, 0x500000, 0x4FFFF0, 0x4FFFE0, 0x4FFFD0, 0x4FFFC0};
    (void)state;
    for (unsigned idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        piece_of(sizes[idx]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_word_sets_what_it_names),
        TEST(each_value_goes_to_its_bounds),
        TEST(what_is_wrong_is_told_with_its_place_and_all_that_follows),
        TEST(each_letter_counts),
        TEST(an_error_fits_where_it_is_to_go),
        TEST(lists_and_paths_have_a_greatest_length),
        TEST(a_setting_out_of_its_range_switches_nothing_on),
        TEST(settings_imply_others),
        TEST(a_list_has_its_names_whole),
        TEST(more_than_a_chunk_is_had_in_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
