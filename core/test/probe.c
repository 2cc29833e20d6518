/* SPDX-License-Identifier: MIT
 *
 * Probes of caller's memory: what they answer, and that nobody notices them. */
#include "probe.h"
#include "seh.h"

#include "support/wild.h"

#include <pthread.h>
#include <signal.h>

static uintptr_t page; /* four pages: writable, read-only, without access, writable */

static LONG notice(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('v');
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG filter_notice(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add('f');
    return EXCEPTION_EXECUTE_HANDLER;
}

static void begin(void **state)
{
    (void)state;
    trace_start();
    nth_seh_reset();
    page = wild_map(4, PROT_READ | PROT_WRITE);
    wild_access(page + WILD_PAGE_BYTES, 1, PROT_READ);
    wild_access(page + 2 * WILD_PAGE_BYTES, 1, PROT_NONE);
}

static int teardown(void **state)
{
    (void)state;
    wild_unmap(page, 4);
    assert_null(nth_self.frame);
    nth_seh_reset();
    return 0;
}

static size_t fault_count(void)
{
    assert_int_equal(nth_load_relaxed(&nth_faults.in_call), 0);
    assert_int_equal(nth_load_relaxed(&nth_faults.elsewhere), 0);
    return nth_load_relaxed(&nth_faults.in_probe);
}

/* NOLINTBEGIN: addresses are made of numbers here */
static BOOLEAN can_read(uintptr_t address, size_t bytes)
{
    return nth_probe_read((LPCVOID)address, bytes);
}

static BOOLEAN can_write(uintptr_t address, size_t bytes)
{
    return nth_probe_write((PVOID)address, bytes);
}
/* NOLINTEND */

static void null_and_ranges_that_wrap_are_refused_untouched(void **state)
{
    begin(state);
    assert_false(can_read(0, 1));
    assert_false(can_read(0, 0));
    assert_false(can_write(0, 8));
    assert_false(can_read(UINTPTR_MAX, 2));
    assert_false(can_read(page, SIZE_MAX));
    assert_false(can_write(page, SIZE_MAX - 8));
    assert_int_equal(fault_count(), 0);
}

static void empty_range_is_fine_anywhere_else(void **state)
{
    begin(state);
    assert_true(can_read(page + 2 * WILD_PAGE_BYTES, 0));
    assert_true(can_write(1, 0));
    assert_int_equal(fault_count(), 0);
}

static void memory_that_is_there_passes(void **state)
{
    begin(state);
    uint64_t local = 42;
    assert_true(nth_probe_read(&local, sizeof(local)));
    assert_true(nth_probe_write(&local, sizeof(local)));
    assert_int_equal(local, 42);
    assert_true(can_write(page, 1));
    assert_true(can_write(page + WILD_PAGE_BYTES - 1, 1));
    assert_true(can_read(page, 2 * WILD_PAGE_BYTES));
    assert_int_equal(fault_count(), 0);
}

static void page_without_access_is_refused(void **state)
{
    begin(state);
    const uintptr_t hole = page + 2 * WILD_PAGE_BYTES;
    assert_false(can_read(hole, 1));
    assert_false(can_write(hole + 100, 8));
    assert_false(can_read(hole + WILD_PAGE_BYTES - 1, 1));
    assert_int_equal(fault_count(), 3);
}

static void unmapped_page_is_refused(void **state)
{
    begin(state);
    const uintptr_t gone = wild_map(1, PROT_READ | PROT_WRITE);
    wild_unmap(gone, 1);
    assert_false(can_read(gone, 8));
    assert_false(can_write(gone, 8));
    assert_false(can_read(16, 8));
}

static void read_only_page_may_be_read_but_not_written(void **state)
{
    begin(state);
    const uintptr_t constant = page + WILD_PAGE_BYTES;
    assert_true(can_read(constant, WILD_PAGE_BYTES));
    assert_false(can_write(constant, 1));
    assert_false(can_write(constant - 1, 2));
    assert_true(can_write(constant - 1, 1));
    assert_int_equal(fault_count(), 2);
}

static void range_with_a_hole_is_refused_wherever_the_hole_is(void **state)
{
    begin(state);
    const uintptr_t hole = page + 2 * WILD_PAGE_BYTES;
    assert_true(can_read(hole - 8, 8));
    assert_false(can_read(hole - 8, 9));
    assert_false(can_read(hole + WILD_PAGE_BYTES - 1, 2));
    assert_true(can_read(hole + WILD_PAGE_BYTES, 2));
    assert_false(can_read(hole - 1, WILD_PAGE_BYTES + 2));
    assert_false(can_read(page, 4 * WILD_PAGE_BYTES));
    assert_false(can_read(page + 5, 3 * WILD_PAGE_BYTES));
    assert_int_equal(fault_count(), 5);
}

/* Every range of a few starts and lengths over four pages, of which the third cannot be read and
 * the second not be written: the answer is whether the range meets the one or the other. */
static void each_range_is_refused_for_what_it_meets_and_nothing_else(void **state)
{
    static const uintptr_t starts[] = {0, 1, 5, 2047, 2048, 2049, 3000, 4088, 4095};
    begin(state);
    const size_t all = 4 * WILD_PAGE_BYTES;
    for (size_t idx = 0; idx < sizeof(starts) / sizeof(starts[0]); idx++) {
        for (uintptr_t first = starts[idx]; first < all; first += WILD_PAGE_BYTES) {
            for (size_t bytes = 1; first + bytes <= all; bytes += bytes < 3 ? 1 : 1021) {
                const uintptr_t end = first + bytes;
                const BOOLEAN hole = first < 3 * WILD_PAGE_BYTES && end > 2 * WILD_PAGE_BYTES;
                const BOOLEAN constant = first < 2 * WILD_PAGE_BYTES && end > WILD_PAGE_BYTES;
                assert_int_equal(can_read(page + first, bytes), !hole);
                assert_int_equal(can_write(page + first, bytes), !hole && !constant);
            }
        }
    }
}

#define STACK_BYTES ((size_t)0x40000)

static void *probe_past_own_stack(void *context)
{
    const BOOLEAN *answer = nth_probe_read((LPCVOID)(uintptr_t)context, 1) ? NULL : context;
    return (void *)(uintptr_t)answer;
}

/* What lies above the stack of this thread is in no frame of it. */
static void memory_past_the_stacks_end_is_probed_as_any(void **state)
{
    begin(state);
    pthread_attr_t attributes;
    pthread_t thread;
    void *refused = NULL;
    const uintptr_t stack = wild_map(STACK_BYTES / WILD_PAGE_BYTES + 16, PROT_READ | PROT_WRITE);
    const uintptr_t hole = stack + STACK_BYTES + 8 * WILD_PAGE_BYTES;
    wild_access(hole, 1, PROT_NONE);
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    assert_true(signal(SIGBUS, SIG_DFL) != SIG_ERR);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, (void *)stack, STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attributes, probe_past_own_stack, (void *)hole), 0);
    assert_int_equal(pthread_join(thread, &refused), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
    wild_unmap(stack, STACK_BYTES / WILD_PAGE_BYTES + 16);
    assert_int_equal((uintptr_t)refused, hole);
}

static void address_that_is_not_canonical_is_refused(void **state)
{
    begin(state);
    const uintptr_t top = (uintptr_t)1 << (sizeof(void *) * 8 - 1);
    assert_false(can_read(sizeof(void *) < 8 ? 4096 : top + 4096, 8));
    assert_false(can_write(UINTPTR_MAX - 16, 8));
    assert_int_equal(fault_count(), 2);
}

static void written_range_keeps_its_bytes(void **state)
{
    begin(state);
    wild_access(page, 4, PROT_READ | PROT_WRITE);
    for (size_t idx = 0; idx < 4 * WILD_PAGE_BYTES; idx++) {
        wild_write(page + idx, (uint8_t)(idx * 7));
    }
    assert_true(can_write(page + 3, 4 * WILD_PAGE_BYTES - 3));
    for (size_t idx = 0; idx < 4 * WILD_PAGE_BYTES; idx++) {
        assert_int_equal(wild_read(page + idx), (uint8_t)(idx * 7));
    }
}

static void nobody_is_asked_about_a_probe(void **state)
{
    begin(state);
    const uintptr_t hole = page + 2 * WILD_PAGE_BYTES;
    assert_non_null(AddVectoredExceptionHandler(1, notice));
    NT_TRY
    {
        assert_false(can_read(hole, 1));
        assert_false(can_write(hole, 1));
    }
    NT_EXCEPT(filter_notice, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "");
    assert_int_equal(fault_count(), 2);
}

static void call_in_progress_goes_on_after_a_probe(void **state)
{
    begin(state);
    struct nth_call call = {.name = "HeapWalk"};
    nth_self.call = &call;
    const BOOLEAN answer = can_read(page + 2 * WILD_PAGE_BYTES, 1);
    const struct nth_call *after = nth_self.call;
    nth_self.call = NULL;
    assert_false(answer);
    assert_ptr_equal(after, &call);
    assert_int_equal(fault_count(), 1);
}

static LONG filter_probes(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add(can_read(page + 2 * WILD_PAGE_BYTES, 1) ? 'y' : 'n');
    return EXCEPTION_EXECUTE_HANDLER;
}

static void filter_may_probe(void **state)
{
    begin(state);
    nth_seh_install();
    NT_TRY
    {
        (void)wild_read(page + 2 * WILD_PAGE_BYTES);
    }
    NT_EXCEPT(filter_probes, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "nh");
}

static void program_that_replaced_the_signal_handlers_does_not_matter(void **state)
{
    begin(state);
    const uintptr_t hole = page + 2 * WILD_PAGE_BYTES;
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    assert_true(signal(SIGBUS, SIG_DFL) != SIG_ERR);
    assert_false(can_read(hole, 1));
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    assert_false(can_write(hole, 1));
    assert_int_equal(fault_count(), 2);
}

static volatile uint8_t shared;

static void *thread_writes(void *context)
{
    (void)context;
    for (unsigned round = 0; round < 100000; round++) {
        (void)__atomic_fetch_add(&shared, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void probe_for_writing_loses_no_other_threads_write(void **state)
{
    begin(state);
    pthread_t thread;
    shared = 0;
    assert_int_equal(pthread_create(&thread, NULL, thread_writes, NULL), 0);
    for (unsigned round = 0; round < 5000; round++) {
        assert_true(nth_probe_write((PVOID)(uintptr_t)&shared, 1));
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(shared, (uint8_t)100000);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(null_and_ranges_that_wrap_are_refused_untouched),
        TEST(empty_range_is_fine_anywhere_else),
        TEST(memory_that_is_there_passes),
        TEST(page_without_access_is_refused),
        TEST(unmapped_page_is_refused),
        TEST(read_only_page_may_be_read_but_not_written),
        TEST(range_with_a_hole_is_refused_wherever_the_hole_is),
        TEST(each_range_is_refused_for_what_it_meets_and_nothing_else),
        TEST(memory_past_the_stacks_end_is_probed_as_any),
        TEST(address_that_is_not_canonical_is_refused),
        TEST(written_range_keeps_its_bytes),
        TEST(nobody_is_asked_about_a_probe),
        TEST(call_in_progress_goes_on_after_a_probe),
        TEST(filter_may_probe),
        TEST(program_that_replaced_the_signal_handlers_does_not_matter),
        TEST(probe_for_writing_loses_no_other_threads_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
