/* SPDX-License-Identifier: MIT
 *
 * When stacks are taken: with every call where they are kept or decide something, elsewhere for a
 * stop only; and a stop has one whatever the layer. */
#include "support/watch.h"
#include "verifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BYTES 100

__attribute__((noinline)) static HANDLE make_executable(void)
{
    HANDLE heap = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    assert_non_null(heap); /* so that the call above is not the last thing done here */
    return heap;
}

static void a_stop_has_its_callers_stack_in_every_layer(void **state)
{
    static const char *const items[] = {"memory", "memory,leak", "memory,heaps", "memory,lowres=0"};
    (void)state;
    for (size_t row = 0; row < sizeof(items) / sizeof(items[0]); row++) {
        struct nth_module_info module;
        watch_start(items[row]);
        HANDLE heap = make_executable();
        assert_int_equal(watch_count(), 1);
        const struct nth_trace *trace = watch_stop(0)->trace;
        assert_non_null(trace);
        assert_true(trace->count > 2 && !trace->broken);
        assert_int_equal(nth_verifier_module(trace->frames[0].module, &module), TRUE);
        const ULONG_PTR back = module.base + trace->frames[0].offset;
        assert_in_range(back - (ULONG_PTR)make_executable, 1, 0x1000);
        watch_forget();
        assert_int_equal(HeapDestroy(heap), TRUE);
        nth_process_reset();
    }
}

static void stacks_are_taken_where_they_are_kept_or_decide(void **state)
{
    static const struct {
        const char *settings;
        bool taken;
    } rows[] = {{"leak", true},
                {"heaps", true},
                {"pageheap=full", true},
                {"flags=htc", true},
                {"locks", false},
                {"memory", false},
                {"lowres=0", false},
                {"lowres=0:0:one.so", true},
                {"lowres=0,exclude=one.so", true}};
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        HANDLE heap = watch_begin(rows[row].settings);
        PVOID block = HeapAlloc(heap, 0, BYTES);
        block = HeapReAlloc(heap, 0, block, 2 * BYTES);
        assert_int_equal(HeapSize(heap, 0, block), 2 * BYTES);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        assert_int_equal(nth_verifier.trace_count > 0, rows[row].taken);
        watch_finish(heap);
        nth_process_reset();
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stop_has_its_callers_stack_in_every_layer),
        TEST(stacks_are_taken_where_they_are_kept_or_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
