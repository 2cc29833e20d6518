/* SPDX-License-Identifier: MIT
 *
 * Leaks of modules: real shared objects are loaded, allocate, and are unloaded. */
#include "support/watch.h"

#include <dlfcn.h>
#include <string.h>

#define BYTES 100u

/* The verifier on, a heap, one module or two. */
static HANDLE scene(const char *settings, struct watch_module *subject, struct watch_module *other)
{
    HANDLE heap = watch_begin(settings);
    watch_load(subject, "subject.so");
    if (other != NULL) {
        watch_load(other, "other.so");
    }
    return heap;
}

/* ---- one module ---- */

static void a_live_allocation_is_a_leak_when_its_module_is_unloaded(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    void *block = subject.calls->allocate(heap, BYTES);
    assert_non_null(block);
    watch_demand_none();
    watch_unload(&subject);
    const struct nth_trace *trace = watch_demand_leak(&subject, block);
    watch_demand_frame(trace, 0, "subject.so!inner_allocate+0x");
    assert_true(trace->count > 1);
    assert_int_equal(trace->broken, FALSE);
    assert_int_equal(HeapFree(heap, 0, block), TRUE); /* it is a block like any other */
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_demand_none();
}

static void each_live_allocation_is_told_in_the_order_of_allocation(void **state)
{
    struct watch_module subject;
    PVOID blocks[5];
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    blocks[0] = subject.calls->rtl_allocate(heap, BYTES);
    assert_int_equal(subject.calls->allocate_many(heap, BYTES, 3, &blocks[1]), 3);
    blocks[4] = subject.calls->allocate(heap, 0x100000);
    assert_int_equal(subject.calls->free(heap, blocks[2]), TRUE);
    watch_unload(&subject);
    assert_int_equal(watch_count(), 4);
    const unsigned told[4] = {0, 1, 3, 4};
    for (unsigned idx = 0; idx < 4; idx++) {
        assert_int_equal(watch_stop(idx)->code, 0x900);
        assert_int_equal(watch_stop(idx)->parameter[0], (ULONG_PTR)blocks[told[idx]]);
    }
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.leak_count, 4);
    assert_int_equal(sums.unload_count, 1);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void what_was_freed_is_no_leak_whoever_freed_it(void **state)
{
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    HANDLE heap = scene("leak", &subject, &other);
    void *own = subject.calls->allocate(heap, BYTES);
    void *passed = subject.calls->allocate(heap, BYTES);
    void *ours = subject.calls->allocate(heap, BYTES);
    assert_int_equal(subject.calls->free(heap, own), TRUE);
    assert_int_equal(other.calls->free(heap, passed), TRUE);
    assert_int_equal(HeapFree(heap, 0, ours), TRUE);
    watch_unload(&subject);
    watch_unload(&other);
    watch_demand_none();
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void nothing_is_told_while_a_module_is_loaded(void **state)
{
    struct watch_module subject;
    struct watch_module again;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    watch_load(&again, "subject.so");
    void *block = subject.calls->allocate(heap, BYTES);
    watch_unload(&again);
    watch_demand_none();
    watch_unload(&subject);
    (void)watch_demand_leak(&subject, block);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void nothing_is_told_when_the_process_ends(void **state)
{
    struct watch_module subject;
    (void)state;
    watch_start("leak");
    watch_load(&subject, "subject.so");
    void *block = subject.calls->allocate(GetProcessHeap(), BYTES);
    nth_verifier_exit(); /* tells the sums, and no stop */
    watch_demand_none();
    assert_int_equal(subject.calls->free(GetProcessHeap(), block), TRUE);
    watch_unload(&subject);
    watch_demand_none();
}

static void constructors_and_destructors_belong_to_their_module(void **state)
{
    struct watch_module builder;
    struct watch_module forgetter;
    (void)state;
    watch_start("leak");
    watch_load(&builder, "builder.so");
    watch_load(&forgetter, "forgetter.so");
    void *forgotten = forgetter.calls->built();
    assert_non_null(builder.calls->built());
    assert_non_null(forgotten);
    watch_unload(&builder);
    watch_demand_none();
    watch_unload(&forgetter);
    const struct nth_trace *trace = watch_demand_leak(&forgetter, forgotten);
    watch_demand_frame(trace, 0, "forgetter.so!build+0x");
}

/* ---- several modules ---- */

static void a_callback_allocates_for_the_module_it_is_in(void **state)
{
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    HANDLE heap = scene("leak", &subject, &other);
    void *block = subject.calls->call_back(other.calls->allocate, heap, BYTES);
    watch_unload(&subject);
    watch_demand_none();
    watch_unload(&other);
    const struct nth_trace *trace = watch_demand_leak(&other, block);
    watch_demand_frame(trace, 0, "other.so!inner_allocate+0x");
    watch_demand_frame(trace, 1, "subject.so!call_back+0x");
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* Moved by the heap, moved by hand out of marks, moved from pages to pages. */
static const char *const moving[] = {"leak", "leak,heaps", "leak,pageheap=full", "leak,flags=htc"};

static void a_reallocated_block_stays_whose_it_was(void **state)
{
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    for (unsigned row = 0; row < sizeof(moving) / sizeof(moving[0]); row++) {
        HANDLE heap = scene(moving[row], &subject, &other);
        void *block = subject.calls->allocate(heap, BYTES);
        void *wall = HeapAlloc(heap, 0, BYTES);
        void *moved = other.calls->reallocate(heap, block, 50u * BYTES);
        assert_non_null(moved);
        assert_ptr_not_equal(moved, block);
        watch_unload(&other);
        watch_demand_none();
        watch_unload(&subject);
        const struct nth_trace *trace = watch_demand_leak(&subject, moved);
        watch_demand_frame(trace, 0, "subject.so!inner_allocate+0x");
        assert_int_equal(HeapFree(heap, 0, wall), TRUE);
        assert_int_equal(HeapDestroy(heap), TRUE);
        nth_process_reset();
    }
}

static void a_reallocation_that_fails_changes_no_owner(void **state)
{
    struct watch_module subject;
    (void)state;
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0, 0x40000);
    watch_load(&subject, "subject.so");
    void *block = subject.calls->allocate(heap, BYTES);
    assert_null(HeapReAlloc(heap, 0, block, 0x60000));
    watch_unload(&subject);
    (void)watch_demand_leak(&subject, block);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void blocks_of_a_destroyed_heap_are_no_leaks(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    assert_non_null(subject.calls->allocate(heap, BYTES));
    assert_non_null(subject.calls->allocate(heap, 0x100000));
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_unload(&subject);
    watch_demand_none();
}

/* ---- unloading in other ways ---- */

static void unloading_behind_its_back_is_noticed_by_the_next_call(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    void *block = subject.calls->allocate(heap, BYTES);
    watch_unload_unseen(&subject);
    watch_demand_none();
    assert_int_equal(HeapSize(heap, 0, block), BYTES);
    (void)watch_demand_leak(&subject, block);
    nth_verifier_look();
    watch_demand_none();
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void a_module_that_comes_back_starts_anew(void **state)
{
    struct watch_module subject;
    (void)state;
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0, 0);
    for (unsigned turn = 0; turn < 5; turn++) {
        watch_load(&subject, "subject.so");
        void *block = subject.calls->allocate(heap, BYTES);
        void *freed = subject.calls->allocate(heap, BYTES);
        assert_int_equal(subject.calls->free(heap, freed), TRUE);
        watch_unload(&subject);
        const struct nth_trace *trace = watch_demand_leak(&subject, block);
        watch_demand_frame(trace, 0, "subject.so!inner_allocate+0x");
    }
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* This function is the whole of a module that the program declares. */
static void *volatile made;
__attribute__((noinline, section("nth_stand_in"))) static void stand_in(HANDLE heap)
{
    made = HeapAlloc(heap, 0, BYTES);
}
extern char __start_nth_stand_in[]; /* NOLINT: the linker's name */
extern char __stop_nth_stand_in[];  /* NOLINT: the linker's name */

static void a_declared_range_is_a_module(void **state)
{
    const SIZE_T bytes = (SIZE_T)(__stop_nth_stand_in - __start_nth_stand_in);
    struct watch_module module = {.base = (ULONG_PTR)__start_nth_stand_in, .name = "stand-in"};
    (void)state;
    assert_int_equal(nth_verifier_module_load("stand-in", __start_nth_stand_in, bytes),
                     STATUS_UNSUCCESSFUL);
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_int_equal(nth_verifier_module_load("stand-in", __start_nth_stand_in, bytes),
                     STATUS_SUCCESS);
    assert_int_equal(nth_verifier_module_load("twice", __start_nth_stand_in + 1, 1),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("empty", __start_nth_stand_in, 0),
                     STATUS_INVALID_PARAMETER);
    stand_in(heap);
    assert_int_equal(nth_verifier_module_unload(__start_nth_stand_in + 1),
                     STATUS_INVALID_PARAMETER);
    watch_demand_none();
    assert_int_equal(nth_verifier_module_unload(__start_nth_stand_in), STATUS_SUCCESS);
    const struct nth_trace *trace = watch_demand_leak(&module, made);
    watch_demand_frame(trace, 0, "stand-in+0x");
    assert_int_equal(nth_verifier_module_unload(__start_nth_stand_in), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("stand-in", __start_nth_stand_in, bytes),
                     STATUS_SUCCESS);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void a_stripped_module_is_named_by_offset(void **state)
{
    struct watch_module bare;
    (void)state;
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0, 0);
    watch_load(&bare, "bare.so");
    void *block = bare.calls->allocate(heap, BYTES);
    watch_unload(&bare);
    const struct nth_trace *trace = watch_demand_leak(&bare, block);
    watch_demand_frame(trace, 0, "bare.so+0x");
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* ---- disowning ---- */

static void a_disowned_allocation_is_no_leak_and_others_still_are(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    char *first = subject.calls->allocate(heap, BYTES);
    void *second = subject.calls->allocate(heap, BYTES);
    char *third = subject.calls->allocate(heap, BYTES);
    memset(first, 0x5A, BYTES);
    assert_int_equal(subject.calls->disown(heap, first), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, third), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, third), STATUS_SUCCESS);
    watch_unload(&subject);
    (void)watch_demand_leak(&subject, second);
    for (unsigned idx = 0; idx < BYTES; idx++) {
        assert_int_equal(first[idx], 0x5A);
    }
    assert_int_equal(HeapSize(heap, 0, first), BYTES);
    assert_int_equal(HeapFree(heap, 0, first), TRUE);
    assert_int_equal(HeapFree(heap, 0, second), TRUE);
    assert_int_equal(HeapFree(heap, 0, third), TRUE);
    watch_demand_none();
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.disown_count, 2);
    assert_int_equal(sums.live_count, 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void disowning_anything_else_changes_nothing(void **state)
{
    struct watch_module subject;
    char local = 0;
    (void)state;
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0, 0);
    HANDLE wrong = HeapCreate(0, 0, 0);
    watch_load(&subject, "subject.so");
    char *block = subject.calls->allocate(heap, BYTES);
    void *freed = subject.calls->allocate(heap, BYTES);
    assert_int_equal(subject.calls->free(heap, freed), TRUE);
    assert_int_equal(RtlDisownModuleHeapAllocation(wrong, block), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(NULL, block), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(&local, block), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, block + 16), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, NULL), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, freed), STATUS_SUCCESS);
    for (unsigned idx = 0; idx < RIG_FOREIGN_COUNT; idx++) {
        assert_int_equal(RtlDisownModuleHeapAllocation(heap, rig_foreign(idx)), STATUS_SUCCESS);
        assert_int_equal(RtlDisownModuleHeapAllocation(rig_foreign(idx), block), STATUS_SUCCESS);
    }
    rig_report_demand_none();
    watch_unload(&subject);
    (void)watch_demand_leak(&subject, block);
    assert_int_equal(HeapDestroy(heap), TRUE);
    assert_int_equal(HeapDestroy(wrong), TRUE);
}

static void a_disowned_address_that_is_handed_out_again_is_owned(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("leak", &subject, NULL);
    void *block = subject.calls->allocate(heap, BYTES);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, block), STATUS_SUCCESS);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, block), STATUS_SUCCESS);
    void *again = subject.calls->allocate(heap, BYTES);
    assert_ptr_equal(again, block);
    watch_unload(&subject);
    (void)watch_demand_leak(&subject, again);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void a_disowned_block_stays_disowned_when_it_is_reallocated(void **state)
{
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    for (unsigned row = 0; row < sizeof(moving) / sizeof(moving[0]); row++) {
        struct nth_verifier_summary sums;
        HANDLE heap = scene(moving[row], &subject, &other);
        void *block = subject.calls->allocate(heap, BYTES);
        void *wall = HeapAlloc(heap, 0, BYTES);
        assert_int_equal(RtlDisownModuleHeapAllocation(heap, block), STATUS_SUCCESS);
        block = subject.calls->reallocate(heap, block, BYTES / 2);
        block = other.calls->reallocate(heap, block, 100u * BYTES);
        assert_non_null(block);
        assert_int_equal(RtlDisownModuleHeapAllocation(heap, block), STATUS_SUCCESS);
        nth_verifier_summary(&sums);
        assert_int_equal(sums.disown_count, 1); /* it still was */
        watch_unload(&subject);
        watch_unload(&other);
        watch_demand_none();
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        assert_int_equal(HeapFree(heap, 0, wall), TRUE);
        assert_int_equal(HeapDestroy(heap), TRUE);
        nth_process_reset();
    }
}

static void disowning_without_the_leak_layer_has_no_effect(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = scene("heaps,locks,memory", &subject, NULL);
    void *block = subject.calls->allocate(heap, BYTES);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, block), STATUS_SUCCESS);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, NULL), STATUS_SUCCESS);
    assert_int_equal(HeapSize(heap, 0, block), BYTES);
    watch_unload(&subject);
    watch_demand_none();
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.disown_count, 0);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(HeapFree(heap, 0, block), FALSE); /* still looked at */
    watch_demand(0x7, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void the_call_is_found_by_its_name(void **state)
{
    (void)state;
    NTSTATUS (*found)(HANDLE heap, PVOID block) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "RtlDisownModuleHeapAllocation");
    assert_non_null(symbol);
    memcpy(&found, &symbol, sizeof(found));
    struct watch_module subject;
    HANDLE heap = scene("leak", &subject, NULL);
    void *block = subject.calls->allocate(heap, BYTES);
    assert_int_equal(found(heap, block), STATUS_SUCCESS);
    watch_unload(&subject);
    watch_demand_none();
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* ---- on and off ---- */

static void the_verifier_takes_hold_before_the_first_heap_only(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    nth_verifier_defaults(&settings);
    settings.layers = NTH_VERIFY_LEAK;
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_int_equal(nth_verifier_start(&settings), STATUS_UNSUCCESSFUL);
    assert_int_equal(nth_verifier_layers(), 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_UNSUCCESSFUL);
    assert_int_equal(nth_verifier_layers(), NTH_VERIFY_LEAK);
    assert_true(nth_balance_now().committed_bytes > 0);
    nth_process_reset();
    assert_int_equal(nth_verifier_layers(), 0);
    assert_int_equal(nth_balance_now().committed_bytes, 0);
}

static void what_is_out_of_range_switches_nothing_on(void **state)
{
    struct nth_verifier_settings good;
    struct nth_verifier_settings bad;
    (void)state;
    nth_verifier_defaults(&good);
    assert_int_equal(nth_verifier_start(&good), STATUS_INVALID_PARAMETER); /* no layer */
    good.layers = NTH_VERIFY_HEAPS;
    bad = good;
    bad.layers = 0x100;
    assert_int_equal(nth_verifier_start(&bad), STATUS_INVALID_PARAMETER);
    bad = good;
    bad.lowres_ppm = 1000001;
    assert_int_equal(nth_verifier_start(&bad), STATUS_INVALID_PARAMETER);
    bad = good;
    bad.trace_depth = 0;
    assert_int_equal(nth_verifier_start(&bad), STATUS_INVALID_PARAMETER);
    bad = good;
    strcpy(bad.log, "/nowhere/at/all");
    assert_int_equal(nth_verifier_start(&bad), STATUS_INVALID_PARAMETER);
    strcpy(bad.log, "/");
    assert_int_equal(nth_verifier_start(&bad), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_layers(), 0);
}

static void without_memory_nothing_is_switched_on_and_allocations_fail_whole(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    nth_verifier_defaults(&settings);
    settings.layers = NTH_VERIFY_LEAK;
    rig_pages_refuse(TRUE);
    assert_int_equal(nth_verifier_start(&settings), STATUS_NO_MEMORY);
    rig_pages_refuse(FALSE);
    assert_int_equal(nth_verifier_layers(), 0);
    watch_start("leak");
    HANDLE heap = HeapCreate(0, 0x100000, 0);
    unsigned count = 0;
    rig_pages_refuse(TRUE);
    while (HeapAlloc(heap, 0, 16) != NULL) { /* the table of allocations cannot grow any more */
        count++;
    }
    rig_pages_refuse(FALSE);
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.live_count, count);
    assert_non_null(HeapAlloc(heap, 0, 16));
    assert_int_equal(HeapDestroy(heap), TRUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_live_allocation_is_a_leak_when_its_module_is_unloaded),
        TEST(each_live_allocation_is_told_in_the_order_of_allocation),
        TEST(what_was_freed_is_no_leak_whoever_freed_it),
        TEST(nothing_is_told_while_a_module_is_loaded),
        TEST(nothing_is_told_when_the_process_ends),
        TEST(constructors_and_destructors_belong_to_their_module),
        TEST(a_callback_allocates_for_the_module_it_is_in),
        TEST(a_reallocated_block_stays_whose_it_was),
        TEST(a_reallocation_that_fails_changes_no_owner),
        TEST(blocks_of_a_destroyed_heap_are_no_leaks),
        TEST(unloading_behind_its_back_is_noticed_by_the_next_call),
        TEST(a_module_that_comes_back_starts_anew),
        TEST(a_declared_range_is_a_module),
        TEST(a_stripped_module_is_named_by_offset),
        TEST(a_disowned_allocation_is_no_leak_and_others_still_are),
        TEST(disowning_anything_else_changes_nothing),
        TEST(a_disowned_address_that_is_handed_out_again_is_owned),
        TEST(a_disowned_block_stays_disowned_when_it_is_reallocated),
        TEST(disowning_without_the_leak_layer_has_no_effect),
        TEST(the_call_is_found_by_its_name),
        TEST(the_verifier_takes_hold_before_the_first_heap_only),
        TEST(what_is_out_of_range_switches_nothing_on),
        TEST(without_memory_nothing_is_switched_on_and_allocations_fail_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
