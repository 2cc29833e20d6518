/* SPDX-License-Identifier: MIT
 *
 * What is known of modules, stacks and sections: the facts that other tests rest on. */
#include "support/watch.h"
#include "support/wild.h"
#include "verifier.h"

#include <dlfcn.h>
#include <pthread.h>
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

/* A child gives a section that another thread owned a lock of its own (here: that of a second one).
 */
static void a_renewed_section_is_free_and_whole(void **state)
{
    static CRITICAL_SECTION section;
    static CRITICAL_SECTION other;
    static CRITICAL_SECTION never;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    InitializeCriticalSection(&other);
    PVOID const lock = section.LockSemaphore;
    section.LockSemaphore = other.LockSemaphore;
    nth_section_renewed(&section);
    nth_section_renewed(&never); /* not known: nothing to note */
    EnterCriticalSection(&section);
    LeaveCriticalSection(&section);
    watch_demand_none();
    section.LockSemaphore = lock;
    nth_section_renewed(&section);
    DeleteCriticalSection(&section);
    DeleteCriticalSection(&other);
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

/* A list that could not be written is no list, and adds up with nothing. */
static void a_list_that_fails_is_not_compared(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    assert_int_equal(RtlGetProcessHeaps(2, (PVOID *)64), 0);
    assert_int_equal(GetProcessHeaps(2, (PHANDLE)64), 0);
    watch_demand_none();
    watch_finish(heap);
}

static void list_both_ways(void)
{
    HANDLE heaps[8];
    (void)RtlGetProcessHeaps(8, heaps);
    (void)GetProcessHeaps(8, heaps);
}

/* While a heap comes or goes, and when one has since the list was begun, a count that is off is
 * none. */
static void a_list_is_compared_when_nothing_changes(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    assert_null(HeapCreate(0, SIZE_MAX / 4u, 0)); /* nothing came */
    list_both_ways();
    watch_demand_none();
    nth_verifier.heap_count++; /* as if one were half made */
    nth_verified_changing(true);
    list_both_ways();
    watch_demand_none();
    nth_verified_changing(false);
    nth_verified_listing(&(const struct nth_caller){.name = "a list"}, 0,
                         nth_verified_changes() - 1u);
    watch_demand_none();
    list_both_ways();
    assert_int_equal(watch_count(), 2);
    nth_verifier.heap_count--;
    watch_forget();
    watch_finish(heap);
}

/* What another thread resizes is left out; what this one does, and is asked about half way, is not.
 */
static void a_block_that_another_thread_resizes_is_not_looked_at(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = rig_block_new(heap, 100);
    const uintptr_t behind = (uintptr_t)block + 100u;
    const uint8_t kept = wild_read(behind);
    void *outer = nth_verifier_enter();
    struct nth_track *track = nth_track_find(block);
    nth_verifier_leave(outer);
    assert_non_null(track);

    wild_write(behind, (uint8_t)~kept);
    assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
    track->resizing = nth_thread_number() + 1u;
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    track->resizing = nth_thread_number();
    assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
    wild_write(behind, kept);
    block = HeapReAlloc(heap, 0, block, 200); /* over: nobody does */
    outer = nth_verifier_enter();
    assert_int_equal(nth_track_find(block)->resizing, 0);
    nth_verifier_leave(outer);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    rig_report_forget();
    watch_forget();
    watch_finish(heap);
}

static BOOLEAN see_kind(void *context, const struct nth_operation *one)
{
    *(enum nth_operation_kind *)context = one->kind;
    return FALSE; /* the newest is enough */
}

static void a_resize_in_place_is_an_operation(void **state)
{
    enum nth_operation_kind kind = NTH_OPERATION_ALLOCATE;
    (void)state;
    HANDLE heap = watch_begin("leak");
    PVOID block = rig_block_new(heap, 100);
    assert_int_equal(nth_verifier_operations(block, see_kind, &kind), 1);
    assert_int_equal(kind, NTH_OPERATION_ALLOCATE);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 50), block);
    assert_int_equal(nth_verifier_operations(block, see_kind, &kind), 1);
    assert_int_equal(kind, NTH_OPERATION_REALLOCATE);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void *use_once(void *heap)
{
    assert_int_equal(HeapFree(heap, 0, rig_block_new(heap, 100)), TRUE);
    return NULL;
}

/* nosync tells of heaps without a lock; one with a lock may be made by one thread, used by another
 * and destroyed by the first. */
static void a_heap_with_a_lock_is_any_threads(void **state)
{
    pthread_t thread;
    (void)state;
    watch_start("pageheap=light:nosync");
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, use_once, heap), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_demand_none();
}

/* Words from the sixteenth byte on, and what is left of a block behind the last two of them. */
static void the_free_check_looks_at_every_byte_behind_the_first_words(void **state)
{
    (void)state;
    for (unsigned row = 0; row < 12u + 45u; row++) {
        const unsigned bytes = row < 12u ? 12u : 45u;
        const unsigned at = row < 12u ? row : row - 12u;
        HANDLE heap = watch_begin("flags=hfc,delayed=1");
        char *block = rig_block_new(heap, bytes);
        PVOID next = rig_block_new(heap, bytes);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        const uint8_t kept = wild_read((uintptr_t)block + at);
        wild_write((uintptr_t)block + at, (uint8_t)~kept);
        assert_int_equal(HeapFree(heap, 0, next), TRUE); /* the first is given back */
        assert_int_equal(watch_count(), at >= 16);
        assert_true(at < 16 || watch_stop(0)->code == NTH_STOP_CORRUPTED_FREED_HEAP_BLOCK);
        watch_forget();
        watch_finish(heap);
        nth_process_reset();
    }
}

/* Stops raise exceptions by the setting for it where they would break, and only there. */
static void a_stop_that_does_not_break_raises_nothing(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,exceptions");
    PVOID block = rig_block_new(heap, 100);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(
        nth_verifier_stop_set("Heaps", "DOUBLE_FREE", NTH_STOP_ACTIVE | NTH_STOP_LOG, 0),
        STATUS_SUCCESS);
    const struct rig_outcome one = rig_free(heap, block);
    assert_false(one.raised);
    assert_int_equal(watch_count(), 1);
    rig_report_forget();
    watch_forget();
    watch_finish(heap);
}

static void what_a_module_owns_is_counted(void **state)
{
    struct watch_module subject;
    struct nth_module_info info;
    (void)state;
    HANDLE heap = watch_begin("leak");
    watch_load(&subject, "subject.so");
    PVOID one = subject.calls->allocate(heap, 100);
    PVOID two = subject.calls->allocate(heap, 50);
    (void)number_of("subject.so", &info);
    assert_int_equal(info.live_count, 2);
    assert_int_equal(info.live_bytes, 150);
    assert_int_equal(HeapFree(heap, 0, one), TRUE);
    (void)number_of("subject.so", &info);
    assert_int_equal(info.live_count, 1);
    assert_int_equal(info.live_bytes, 50);
    assert_int_equal(HeapFree(heap, 0, two), TRUE);
    watch_unload(&subject);
    watch_finish(heap);
}

/* A return address lies behind its call: one just behind a keeping function is that function's. */
static void a_keeping_library_function_is_found_by_its_call(void **state)
{
    struct watch_module subject;
    struct nth_module_info info;
    (void)state;
    watch_start("leak,pass=subject.so");
    watch_load(&subject, "subject.so");
    nth_verifier_look();
    const uintptr_t inside = (uintptr_t)dlsym(subject.handle, "subject_calls");
    void *outer = nth_verifier_enter();
    struct nth_module *module = nth_module_of(inside);
    assert_non_null(module);
    module->keeps[0] = inside;
    module->keeps[1] = inside + 1u;
    module->keeps_count = 1;
    struct nth_stack stack = {.count = 2, .addresses = {inside + 1u, (uintptr_t)number_of + 1u}};
    assert_ptr_equal(nth_stack_owner(&stack), module);
    stack.addresses[0] = inside + 2u;
    assert_ptr_not_equal(nth_stack_owner(&stack), module);
    module->keeps_count = 0;
    nth_verifier_leave(outer);
    (void)number_of("subject.so", &info);
    watch_unload(&subject);
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
        TEST(a_renewed_section_is_free_and_whole),
        TEST(full_page_heap_without_its_layer_is_no_flag),
        TEST(a_list_that_fails_is_not_compared),
        TEST(a_list_is_compared_when_nothing_changes),
        TEST(a_block_that_another_thread_resizes_is_not_looked_at),
        TEST(a_resize_in_place_is_an_operation),
        TEST(a_heap_with_a_lock_is_any_threads),
        TEST(the_free_check_looks_at_every_byte_behind_the_first_words),
        TEST(a_stop_that_does_not_break_raises_nothing),
        TEST(what_a_module_owns_is_counted),
        TEST(a_keeping_library_function_is_found_by_its_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
