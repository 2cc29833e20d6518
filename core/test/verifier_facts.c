/* SPDX-License-Identifier: MIT
 *
 * What is known of modules, stacks and sections: the facts that other tests rest on. */
#include "support/watch.h"
#include "verifier.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static ULONG number_of(const char *name, struct nth_module_info *info)
{
    for (ULONG number = 1; nth_verifier_module(number, info); number++) {
        if (strcmp(info->name, name) == 0) {
            return number;
        }
    }
    fail_msg("no module %s", name);
    return 0;
}

static void a_module_reaches_from_its_first_segment_to_its_last(void **state)
{
    struct watch_module subject;
    struct nth_module_info info;
    (void)state;
    watch_start("leak");
    watch_load(&subject, "subject.so");
    nth_verifier_look();
    (void)number_of("subject.so", &info);
    assert_true(info.loaded);
    assert_int_equal(info.base, subject.base);
    assert_int_equal(info.low, subject.base); /* its headers come first */
    assert_true(info.high > (ULONG_PTR)dlsym(subject.handle, "subject_calls"));
    watch_unload(&subject);
    (void)number_of("subject.so", &info);
    assert_false(info.loaded);
}

/* A frame is a return address: that of a call that is the last of its function, too. */
static void a_frame_is_named_by_the_call_before_it(void **state)
{
    struct watch_module subject;
    struct nth_module_info info;
    char text[128];
    (void)state;
    watch_start("leak");
    watch_load(&subject, "subject.so");
    nth_verifier_look();
    const ULONG number = number_of("subject.so", &info);
    const ULONG_PTR start = (ULONG_PTR)dlsym(subject.handle, "subject_calls") - info.base;
    struct nth_trace_frame frame = {.module = number, .offset = start + 1u};
    nth_verifier_frame_name(&frame, text, sizeof(text));
    assert_string_equal(text, "subject.so!subject_calls+0x1");
    frame.offset = start + 2u;
    nth_verifier_frame_name(&frame, text, sizeof(text));
    assert_string_equal(text, "subject.so!subject_calls+0x2");
    watch_unload(&subject);
}

/* What lies behind the stack's frames is none of it. */
static void the_outermost_pass_through_library_owns_what_has_no_other_caller(void **state)
{
    struct watch_module subject;
    struct nth_module_info info;
    (void)state;
    watch_start("leak,pass=subject.so");
    watch_load(&subject, "subject.so");
    nth_verifier_look();
    const ULONG number = number_of("subject.so", &info);
    assert_true(info.pass_through);
    struct nth_stack stack = {.count = 1};
    stack.addresses[0] = (uintptr_t)dlsym(subject.handle, "subject_calls") + 1u;
    stack.addresses[1] = (uintptr_t)number_of;
    void *outer = nth_verifier_enter();
    const struct nth_module *owner = nth_stack_owner(&stack);
    nth_verifier_leave(outer);
    assert_non_null(owner);
    assert_int_equal(owner->info.number, number);
    watch_unload(&subject);
}

static void a_function_keeps_what_is_allocated_in_its_ranges(void **state)
{
    const struct nth_module module = {.keeps = {100, 110, 200, 210}, .keeps_count = 2};
    (void)state;
    static const struct {
        uintptr_t address;
        bool kept;
    } rows[] = {{99, false},  {100, true}, {109, true}, {110, false},
                {199, false}, {200, true}, {209, true}, {210, false}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        assert_int_equal(nth_module_keeps(&module, rows[row].address), rows[row].kept);
    }
}

/* Traces of the same addresses are one, and of others another: each part of them counts. */
static void traces_are_told_apart_by_every_part(void **state)
{
    static const struct nth_stack stacks[] = {
        {.count = 2, .addresses = {0x1001, 0x2002}},
        {.count = 2, .addresses = {0x1001, 0x2003}},
        {.count = 2, .addresses = {0x1002, 0x2002}},
        {.count = 1, .addresses = {0x1001, 0x2002}},
        {.count = 1, .addresses = {0x1001}, .broken = true},
        {.count = 3, .addresses = {0x1001, 0x2002, 0}},
    };
    enum { COUNT = sizeof(stacks) / sizeof(stacks[0]) };
    const struct nth_trace *traces[COUNT];
    (void)state;
    watch_start("leak");
    void *outer = nth_verifier_enter();
    for (unsigned idx = 0; idx < COUNT; idx++) {
        traces[idx] = nth_trace_intern(&stacks[idx]);
        assert_non_null(traces[idx]);
        assert_int_equal(traces[idx]->count, stacks[idx].count);
        assert_int_equal(traces[idx]->broken, stacks[idx].broken);
        for (unsigned frame = 0; frame < stacks[idx].count; frame++) {
            assert_int_equal(traces[idx]->frames[frame].offset, stacks[idx].addresses[frame]);
        }
        for (unsigned before = 0; before < idx; before++) {
            assert_ptr_not_equal(traces[idx], traces[before]);
        }
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_ptr_equal(nth_trace_intern(&stacks[idx]), traces[idx]);
    }
    nth_verifier_leave(outer);
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.broken_count, 2);
}

/* Sections share lists: the one in the middle of a list goes, and the note of it serves again. */
static void a_note_of_a_section_serves_again(void **state)
{
    enum { COUNT = NTH_VERIFIER_SECTION_HASH * 3 };
    static CRITICAL_SECTION sections[COUNT];
    size_t used = 0;
    (void)state;
    watch_start("locks");
    for (unsigned turn = 0; turn < 4; turn++) {
        for (unsigned idx = 0; idx < COUNT; idx++) {
            InitializeCriticalSection(&sections[idx]);
        }
        for (unsigned idx = 0; idx < COUNT; idx++) { /* the older half first */
            DeleteCriticalSection(&sections[(idx + COUNT / 2u) % COUNT]);
        }
        assert_true(turn == 0 || used == nth_verifier.memory->used_bytes);
        used = nth_verifier.memory->used_bytes;
    }
    watch_demand_none();
}

/* The flag of full page heap stands for blocks on their own pages, which the heaps layer makes. */
static void full_page_heap_without_its_layer_is_no_flag(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) {
        nth_verifier_defaults(&settings);
        settings.layers = turn == 0 ? NTH_VERIFY_LEAK : NTH_VERIFY_LEAK | NTH_VERIFY_HEAPS;
        settings.page_heap = NTH_PAGE_HEAP_FULL;
        assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
        assert_int_equal((RtlGetNtGlobalFlags() & FLG_HEAP_PAGE_ALLOCS) != 0, turn == 1);
        nth_process_reset();
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_module_reaches_from_its_first_segment_to_its_last),
        TEST(a_frame_is_named_by_the_call_before_it),
        TEST(the_outermost_pass_through_library_owns_what_has_no_other_caller),
        TEST(a_function_keeps_what_is_allocated_in_its_ranges),
        TEST(traces_are_told_apart_by_every_part),
        TEST(a_note_of_a_section_serves_again),
        TEST(full_page_heap_without_its_layer_is_no_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
