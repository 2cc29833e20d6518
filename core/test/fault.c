/* SPDX-License-Identifier: MIT
 *
 * Hardware faults as exceptions, and what happens to those that are not ours. */
#include "probe.h"

#include "support/locked.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREAD_COUNT 4u

enum kind { READ, WRITE, CALL };

struct wild {
    enum kind kind;
    uintptr_t address;
};

static void body_wild(void *context)
{
    const struct wild *wild = context;
    switch (wild->kind) {
    case READ:
        (void)wild_read(wild->address);
        break;
    case WRITE:
        wild_write(wild->address, 1);
        break;
    case CALL:
        wild_call(wild->address);
        break;
    }
}

static EXCEPTION_RECORD fault_of(enum kind kind, uintptr_t address)
{
    struct wild wild = {.kind = kind, .address = address};
    EXCEPTION_RECORD record;
    memset(&record, 0xA5, sizeof(record));
    assert_false(nth_guard(body_wild, &wild, &record));
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionFlags, 0);
    assert_null(record.ExceptionRecord);
    assert_int_equal(record.NumberParameters, 2);
    return record;
}

static void demand_fault(enum kind kind, uintptr_t address, ULONG_PTR access)
{
    const EXCEPTION_RECORD record = fault_of(kind, address);
    assert_int_equal(record.ExceptionInformation[0], access);
    assert_true(record.ExceptionInformation[1] == address);
}

static void access_is_told_apart_into_read_write_and_execute(void **state)
{
    locked_begin(state);
    demand_fault(READ, locked + 8, EXCEPTION_READ_FAULT);
    demand_fault(WRITE, locked + 24, EXCEPTION_WRITE_FAULT);
    demand_fault(CALL, locked + 32, EXCEPTION_EXECUTE_FAULT);
    wild_access(locked, 1, PROT_READ);
    demand_fault(WRITE, locked + 7, EXCEPTION_WRITE_FAULT);
    demand_fault(CALL, locked + 48, EXCEPTION_EXECUTE_FAULT);
}

static void null_is_an_address_like_any_other(void **state)
{
    locked_begin(state);
    demand_fault(READ, 0, EXCEPTION_READ_FAULT);
    demand_fault(WRITE, 16, EXCEPTION_WRITE_FAULT);
}

static void exception_address_is_the_instruction(void **state)
{
    locked_begin(state);
    EXCEPTION_RECORD record = fault_of(CALL, locked + 64);
    assert_true((uintptr_t)record.ExceptionAddress == locked + 64);
    record = fault_of(READ, locked);
    const uintptr_t distance = (uintptr_t)record.ExceptionAddress - (uintptr_t)wild_read;
    assert_true(distance < 256);
}

static void address_that_the_kernel_does_not_give_is_all_ones(void **state)
{
    locked_begin(state);
    if (sizeof(void *) < 8) {
        skip();
    }
    const uintptr_t hole = (uintptr_t)1 << (sizeof(void *) * 8 - 1);
    const EXCEPTION_RECORD record = fault_of(READ, hole + 4096);
    assert_true(record.ExceptionInformation[1] == (ULONG_PTR)-1);
}

static void second_and_third_fault_of_a_thread_are_caught_too(void **state)
{
    locked_begin(state);
    for (uintptr_t round = 0; round < 50; round++) {
        demand_fault(READ, locked + round, EXCEPTION_READ_FAULT);
        demand_fault(WRITE, locked + round, EXCEPTION_WRITE_FAULT);
    }
}

static void sigbus_is_an_access_violation(void **state)
{
    locked_begin(state);
    FILE *file = tmpfile();
    assert_non_null(file);
    void *base = mmap(NULL, WILD_PAGE_BYTES, PROT_READ, MAP_SHARED, fileno(file), 0);
    assert_true(base != MAP_FAILED);
    demand_fault(READ, (uintptr_t)base + 9, EXCEPTION_READ_FAULT);
    demand_fault(READ, (uintptr_t)base + 9, EXCEPTION_READ_FAULT);
    assert_int_equal(munmap(base, WILD_PAGE_BYTES), 0);
    (void)fclose(file);
}

static LONG filter_repairs(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    trace_add('f');
    assert_non_null(info->ContextRecord);
    wild_access(locked, 1, PROT_READ | PROT_WRITE);
    errno = 999;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void filter_may_repair_a_fault_and_go_on(void **state)
{
    locked_begin(state);
    NT_TRY
    {
        errno = 5;
        wild_write(locked + 5, 42);
        assert_int_equal(errno, 5);
        assert_int_equal(wild_read(locked + 5), 42);
        trace_add('g');
        wild_access(locked, 1, PROT_NONE);
        assert_int_equal(wild_read(locked + 5), 42);
    }
    NT_EXCEPT(filter_repairs, NULL)
    {
        trace_add('x');
    }
    NT_END_TRY
    assert_string_equal(trace, "fgf");
}

static void finally_blocks_run_on_the_way_out_of_a_fault(void **state)
{
    locked_begin(state);
    NT_TRY
    {
        NT_TRY
        {
            (void)wild_read(locked);
        }
        NT_FINALLY
        {
            trace_add('f');
            demand_fault(WRITE, locked, EXCEPTION_WRITE_FAULT);
        }
        NT_END_TRY
        trace_add('x');
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('h');
        demand_fault(READ, locked + 1, EXCEPTION_READ_FAULT);
    }
    NT_END_TRY
    assert_string_equal(trace, "fh");
}

static LONG filter_faults(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add('f');
    (void)wild_read(locked + 3);
    trace_add('x');
    return EXCEPTION_EXECUTE_HANDLER;
}

static void fault_in_a_filter_goes_outside(void **state)
{
    locked_begin(state);
    NT_TRY
    {
        NT_TRY
        {
            (void)wild_read(locked + 2);
        }
        NT_EXCEPT(filter_faults, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('h');
        assert_true(NT_EXCEPTION_RECORD()->ExceptionInformation[1] == locked + 3);
    }
    NT_END_TRY
    assert_string_equal(trace, "fh");
}

static void filter_that_is_no_code_is_a_fault_too(void **state)
{
    locked_begin(state);
    NT_TRY
    {
        NT_TRY
        {
            (void)wild_read(locked);
        }
        NT_EXCEPT((nth_filter)(locked + 16), NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('h');
        assert_true(NT_EXCEPTION_RECORD()->ExceptionInformation[1] == locked + 16);
    }
    NT_END_TRY
    assert_string_equal(trace, "h");
}

static LONG filter_answers_seven(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    trace_add(info->ContextRecord != NULL ? 'c' : 'n');
    return 7;
}

static void wrong_answer_to_a_fault_raises_invalid_disposition(void **state)
{
    locked_begin(state);
    NT_TRY
    {
        NT_TRY
        {
            (void)wild_read(locked + 6);
        }
        NT_EXCEPT(filter_answers_seven, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        const EXCEPTION_RECORD *cause = NT_EXCEPTION_RECORD()->ExceptionRecord;
        assert_int_equal(NT_EXCEPTION_CODE(), STATUS_INVALID_DISPOSITION);
        assert_int_equal(cause->ExceptionCode, STATUS_ACCESS_VIOLATION);
        assert_true(cause->ExceptionInformation[1] == locked + 6);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "cnh");
}

/* Returns what MSan holds for uninitialised, which must not taint setjmp's own result. Called
 * through a pointer, or the compiler would leave the unused value away. */
static int *volatile unset;

static int uninitialised(void)
{
    return *unset;
}

static int (*volatile tainted)(void) = uninitialised;

static LONG filter_returns_late(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    (void)tainted();
    return EXCEPTION_EXECUTE_HANDLER;
}

static void return_values_leave_no_trace_in_setjmp(void **state)
{
    locked_begin(state);
    unset = malloc(sizeof(*unset));
    assert_non_null(unset);
    NT_TRY
    {
        NT_TRY
        {
            (void)tainted();
            (void)wild_read(locked);
        }
        NT_FINALLY
        {
            trace_add('f');
            (void)tainted();
        }
        NT_END_TRY
    }
    NT_EXCEPT(filter_returns_late, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    free(unset);
    assert_string_equal(trace, "fh");
}

static void *thread_faults(void *context)
{
    const uintptr_t address = locked + *(const uintptr_t *)context;
    uintptr_t wrong = 0;
    for (unsigned round = 0; round < 200; round++) {
        struct wild wild = {.kind = round % 2 == 0 ? READ : WRITE, .address = address};
        EXCEPTION_RECORD record;
        memset(&record, 0, sizeof(record));
        const BOOLEAN returned = nth_guard(body_wild, &wild, &record);
        wrong += returned || record.ExceptionInformation[0] != round % 2;
        wrong += record.ExceptionInformation[1] != address;
        wrong += nth_probe_read((LPCVOID)address, 1);
    }
    return (void *)wrong;
}

static void each_thread_handles_its_own_faults(void **state)
{
    locked_begin(state);
    pthread_t threads[THREAD_COUNT];
    uintptr_t offsets[THREAD_COUNT];
    for (size_t idx = 0; idx < THREAD_COUNT; idx++) {
        offsets[idx] = 100 * idx;
        assert_int_equal(pthread_create(&threads[idx], NULL, thread_faults, &offsets[idx]), 0);
    }
    for (size_t idx = 0; idx < THREAD_COUNT; idx++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[idx], &wrong), 0);
        assert_null(wrong);
    }
}

/* Counting. */

static volatile uintptr_t watched_instruction;
static volatile BOOLEAN watched_in_call;

static void watch(PVOID instruction, BOOLEAN in_call)
{
    watched_instruction = (uintptr_t)instruction;
    watched_in_call = in_call;
}

static void faults_are_counted_by_where_they_happen(void **state)
{
    locked_begin(state);
    struct nth_call call = {.name = "RtlFreeHeap"};
    nth_store_relaxed(&nth_faults.watch, watch);
    demand_fault(CALL, locked + 80, EXCEPTION_EXECUTE_FAULT);
    assert_true(watched_instruction == locked + 80);
    assert_false(watched_in_call);
    NT_TRY
    {
        nth_self.call = &call;
        wild_call(locked + 96);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_true(watched_instruction == locked + 96);
    assert_true(watched_in_call);
    assert_false(nth_probe_read((LPCVOID)(locked + 1), 1));
    assert_true(watched_instruction == locked + 96);
    assert_int_equal(nth_load_relaxed(&nth_faults.in_call), 1);
    assert_int_equal(nth_load_relaxed(&nth_faults.elsewhere), 1);
    assert_int_equal(nth_load_relaxed(&nth_faults.in_probe), 1);
    nth_seh_reset();
    assert_int_equal(nth_load_relaxed(&nth_faults.in_call), 0);
    assert_null(nth_load_relaxed(&nth_faults.watch));
}

#define TEST(name) cmocka_unit_test_teardown(name, locked_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(access_is_told_apart_into_read_write_and_execute),
        TEST(null_is_an_address_like_any_other),
        TEST(exception_address_is_the_instruction),
        TEST(address_that_the_kernel_does_not_give_is_all_ones),
        TEST(second_and_third_fault_of_a_thread_are_caught_too),
        TEST(sigbus_is_an_access_violation),
        TEST(filter_may_repair_a_fault_and_go_on),
        TEST(finally_blocks_run_on_the_way_out_of_a_fault),
        TEST(fault_in_a_filter_goes_outside),
        TEST(filter_that_is_no_code_is_a_fault_too),
        TEST(wrong_answer_to_a_fault_raises_invalid_disposition),
        TEST(return_values_leave_no_trace_in_setjmp),
        TEST(each_thread_handles_its_own_faults),
        TEST(faults_are_counted_by_where_they_happen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
