/* SPDX-License-Identifier: MIT
 *
 * Settings of the verifier in a program's header: any eight bytes are a text that core's own parser reads
 * to the settings that the rig took the bytes for, and texts come back from bytes. */
#include "program/program.h"
#include "program/random.h"
#include "program/text.h"
#include "program/verify.h"

#include <ntheap/verifier.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DRAWS 20000u

static unsigned names(const char *list)
{
    unsigned mask = 0;
    for (unsigned module = 1; module <= RIG_MODULE_COUNT; module++) {
        mask |= strstr(list, rig_module_name(module)) != NULL ? 1u << (module - 1u) : 0;
    }
    return mask;
}

static ULONG global_flags(unsigned flags)
{
    static const ULONG bits[8] = {FLG_HEAP_ENABLE_TAIL_CHECK,
                                  FLG_HEAP_ENABLE_FREE_CHECK,
                                  FLG_HEAP_VALIDATE_PARAMETERS,
                                  FLG_HEAP_VALIDATE_ALL,
                                  FLG_HEAP_DISABLE_COALESCING,
                                  FLG_USER_STACK_TRACE_DB,
                                  FLG_APPLICATION_VERIFIER,
                                  FLG_HEAP_PAGE_ALLOCS};
    ULONG all = 0;
    for (unsigned idx = 0; idx < 8; idx++) {
        all |= (flags >> idx & 1u) != 0 ? bits[idx] : 0;
    }
    return all;
}

static void compare(const struct rig_verify *mine, const struct nth_verifier_settings *theirs)
{
    const bool asked_heaps = mine->asked_full || mine->nosync || mine->leaks;
    assert_int_equal(theirs->layers, mine->asked | (asked_heaps ? RIG_VERIFY_HEAPS : 0u));
    assert_int_equal(theirs->page_heap == NTH_PAGE_HEAP_FULL, mine->asked_full);
    assert_int_equal((theirs->page_heap_options & NTH_PAGE_HEAP_BACKWARDS) != 0, mine->backwards);
    assert_int_equal((theirs->page_heap_options & NTH_PAGE_HEAP_UNALIGNED) != 0, mine->unaligned);
    assert_int_equal((theirs->page_heap_options & NTH_PAGE_HEAP_NO_SYNC) != 0, mine->nosync);
    assert_int_equal((theirs->page_heap_options & NTH_PAGE_HEAP_LEAKS) != 0, mine->leaks);
    assert_int_equal(theirs->global_flags, global_flags(mine->flags));
    assert_int_equal(theirs->delayed_count_max, mine->delayed_count);
    assert_int_equal(theirs->delayed_bytes_max, mine->delayed_bytes);
    assert_int_equal(theirs->exception_on_stop != FALSE, mine->exceptions);
    assert_int_equal(theirs->auto_disable_stop != FALSE, mine->once);
    assert_int_equal(theirs->trace_depth, mine->depth != 0 ? mine->depth : NTH_TRACE_DEPTH_DEFAULT);
    assert_int_equal(theirs->full_percent,
                     mine->selector == RIG_VERIFY_RANDOM ? mine->number : 100u);
    assert_true(theirs->full_size_min == mine->size_min);
    assert_true(theirs->full_size_max == mine->size_max);
    assert_int_equal(names(theirs->full_modules),
                     mine->selector == RIG_VERIFY_DLLS ? mine->number : 0u);
    assert_int_equal(theirs->mapping_budget, mine->selector == RIG_VERIFY_BUDGET
                                                 ? mine->number
                                                 : NTH_MAPPING_BUDGET_DEFAULT);
    const bool by_address = mine->selector == RIG_VERIFY_ADDRESS;
    const bool beyond = by_address && mine->number == RIG_VERIFY_BEYOND_CODE;
    assert_true(theirs->full_address_low == (beyond ? UINTPTR_MAX - 0xFFFF : by_address ? 1 : 0));
    assert_true(theirs->full_address_high == (!by_address ? 0
                                              : mine->number == RIG_VERIFY_BELOW_CODE ? 1
                                                                                      : UINTPTR_MAX));
    if ((mine->asked & RIG_VERIFY_LOWRES) != 0) {
        assert_int_equal(theirs->lowres_ppm, mine->ppm);
        assert_int_equal(theirs->lowres_quiet_ms, mine->quiet_ms);
        assert_int_equal(strcmp(theirs->lowres_include, "*") == 0 ? 0 : names(theirs->lowres_include),
                         mine->included);
        assert_int_equal(names(theirs->lowres_exclude), mine->excluded);
    }
}

static void any_bytes_are_settings_that_core_reads_alike(void **state)
{
    struct rig_rng rng = rig_rng_from(1);
    unsigned on = 0;
    (void)state;
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        struct rig_verify mine;
        struct nth_verifier_settings theirs;
        uint8_t bytes[RIG_VERIFY_BYTES];
        char text[RIG_VERIFY_TEXT_BYTES];
        char error[256] = "";
        for (unsigned idx = 0; idx < sizeof(bytes); idx++) {
            const uint32_t drawn = rig_rng_next(&rng);
            bytes[idx] = (drawn >> 8 & 1u) != 0 ? (uint8_t)(drawn & 0xFFu) : 0;
        }
        rig_verify_from_bytes(&mine, bytes);
        rig_verify_print(&mine, text);
        assert_int_equal(mine.on, text[0] != '\0');
        if (mine.on) {
            on++;
            if (nth_verifier_parse(text, &theirs, error, sizeof(error)) != STATUS_SUCCESS) {
                fail_msg("%s: %s", text, error);
            }
            compare(&mine, &theirs);
        }
    }
    assert_in_range(on, DRAWS / 2, DRAWS);
}

static void a_text_that_is_printed_is_read_to_what_it_says(void **state)
{
    struct rig_rng rng = rig_rng_from(2);
    (void)state;
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        struct rig_verify first;
        struct rig_verify again;
        uint8_t bytes[RIG_VERIFY_BYTES];
        char text[RIG_VERIFY_TEXT_BYTES];
        char once_more[RIG_VERIFY_TEXT_BYTES];
        for (unsigned idx = 0; idx < sizeof(bytes); idx++) {
            bytes[idx] = (uint8_t)(rig_rng_next(&rng) & 0xFFu);
        }
        rig_verify_from_bytes(&first, bytes);
        rig_verify_print(&first, text);
        if (!rig_verify_parse(bytes, text, strlen(text))) {
            fail_msg("%s is printed and not read", text);
        }
        rig_verify_from_bytes(&again, bytes);
        rig_verify_print(&again, once_more);
        assert_string_equal(once_more, text);
    }
}

static void what_no_bytes_say_is_refused(void **state)
{
    static const char *const rows[] = {
        "",          "leek",           "leak,",           "leak,,heaps",     "pageheap=half",
        "lowres=7:0", "lowres=0:7",    "delayed=255",     "delayed=1:7",     "flags=",
        "flags=xyz", "pageheap=full:size=16-32",          "exclude=five",    "depth=32",
        "seed=1",    "pageheap=full:random=101", "pageheap=full:address=1-2",          "fault=7:1",       "lowres=0:0:five"};
    (void)state;
    for (unsigned row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        uint8_t bytes[RIG_VERIFY_BYTES];
        memset(bytes, 0x5A, sizeof(bytes));
        if (rig_verify_parse(bytes, rows[row], strlen(rows[row]))) {
            fail_msg("'%s' was read", rows[row]);
        }
        for (unsigned idx = 0; idx < sizeof(bytes); idx++) {
            assert_int_equal(bytes[idx], 0x5A);
        }
    }
}

/* Programs keep all eight bytes, whether or not words say them. */
static void programs_keep_their_settings(void **state)
{
    static struct rig_program program;
    static struct rig_program read;
    static char text[4096];
    char error[256];
    struct rig_rng rng = rig_rng_from(3);
    unsigned in_words = 0;
    (void)state;
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        memset(&program, 0, sizeof(program));
        program.flags = RIG_PROGRAM_VERIFY;
        for (unsigned idx = 0; idx < sizeof(program.plan); idx++) {
            const uint32_t drawn = rig_rng_next(&rng);
            program.plan[idx] = (drawn >> 8 & 3u) == 0 ? (uint8_t)(drawn & 0xFFu) : 0;
        }
        (void)rig_text_print(&program, text, sizeof(text));
        in_words += strstr(text, " verify=") != NULL;
        if (!rig_text_parse(&read, "x", text, strlen(text), error, sizeof(error))) {
            fail_msg("%s: %s", text, error);
        }
        assert_memory_equal(&read, &program, sizeof(read));
    }
    assert_in_range(in_words, DRAWS / 10, DRAWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_are_settings_that_core_reads_alike),
        cmocka_unit_test(a_text_that_is_printed_is_read_to_what_it_says),
        cmocka_unit_test(what_no_bytes_say_is_refused),
        cmocka_unit_test(programs_keep_their_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
