/* SPDX-License-Identifier: MIT
 *
 * Vectored exception handlers: order, answers, handles, faults, exceptions of their own. */
#include "seh.h"

#include "support/wild.h"

#include <pthread.h>

#define CODE_A 0xE0000001u
#define CODE_B 0xE0000002u
#define TABLE_COUNT 64u
#define THREAD_COUNT 3u

static LONG search_1(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('1');
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG search_2(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('2');
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG search_3(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('3');
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG continue_all(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('c');
    return EXCEPTION_CONTINUE_EXECUTION;
}

static LONG answer_one(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('o');
    return EXCEPTION_EXECUTE_HANDLER;
}

static LONG raise_another(EXCEPTION_POINTERS *info)
{
    trace_add('r');
    RaiseException(info->ExceptionRecord->ExceptionCode + 1, 0, 0, NULL);
    trace_add('x');
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG guard_another(EXCEPTION_POINTERS *info)
{
    (void)info;
    NT_TRY
    {
        RaiseException(CODE_B, 0, 0, NULL);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('g');
    }
    NT_END_TRY
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG filter_trace(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add('f');
    return EXCEPTION_EXECUTE_HANDLER;
}

static DWORD raise_under_filter(DWORD flags)
{
    volatile DWORD code = 0;
    NT_TRY
    {
        RaiseException(CODE_A, flags, 0, NULL);
    }
    NT_EXCEPT(filter_trace, NULL)
    {
        code = NT_EXCEPTION_CODE();
    }
    NT_END_TRY
    return code;
}

static void begin(void **state)
{
    (void)state;
    trace_start();
    nth_seh_reset();
    nth_seh_install();
}

static int teardown(void **state)
{
    (void)state;
    assert_null(nth_self.frame);
    assert_null(nth_self.unwind);
    nth_seh_reset();
    return 0;
}

static void handlers_are_asked_first_to_last_before_any_filter(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, search_2));
    assert_non_null(AddVectoredExceptionHandler(1, search_1));
    assert_non_null(AddVectoredExceptionHandler(0, search_3));
    assert_int_equal(raise_under_filter(0), CODE_A);
    assert_string_equal(trace, "123f");
}

static void each_first_comes_before_the_ones_before(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(1, search_3));
    assert_non_null(AddVectoredExceptionHandler(5, search_2));
    assert_non_null(AddVectoredExceptionHandler(1, search_1));
    (void)raise_under_filter(0);
    assert_string_equal(trace, "123f");
}

static void handler_may_continue_execution(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, search_1));
    assert_non_null(AddVectoredExceptionHandler(0, continue_all));
    assert_non_null(AddVectoredExceptionHandler(0, search_3));
    assert_int_equal(raise_under_filter(0), 0);
    RaiseException(CODE_A, 0, 0, NULL); /* outside any block, too */
    assert_string_equal(trace, "1c1c");
}

static void handler_that_continues_a_noncontinuable_exception_is_overruled(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, continue_all));
    assert_int_equal(raise_under_filter(EXCEPTION_NONCONTINUABLE), STATUS_NONCONTINUABLE_EXCEPTION);
    assert_string_equal(trace, "ccf");
}

static void any_other_answer_lets_the_search_go_on(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, answer_one));
    assert_int_equal(raise_under_filter(0), CODE_A);
    assert_string_equal(trace, "of");
}

static void removed_handler_is_not_asked(void **state)
{
    begin(state);
    PVOID first = AddVectoredExceptionHandler(0, search_1);
    PVOID second = AddVectoredExceptionHandler(0, search_2);
    assert_non_null(first);
    assert_non_null(second);
    assert_int_not_equal(RemoveVectoredExceptionHandler(first), 0);
    (void)raise_under_filter(0);
    assert_string_equal(trace, "2f");
    assert_int_not_equal(RemoveVectoredExceptionHandler(second), 0);
    (void)raise_under_filter(0);
    assert_string_equal(trace, "2ff");
}

static void handle_that_names_nothing_is_refused(void **state)
{
    begin(state);
    int local = 0;
    PVOID old = AddVectoredExceptionHandler(0, search_1);
    assert_int_equal(RemoveVectoredExceptionHandler(NULL), 0);
    assert_int_equal(RemoveVectoredExceptionHandler(&local), 0);
    assert_int_equal(RemoveVectoredExceptionHandler((PVOID)(uintptr_t)1), 0);
    assert_int_equal(RemoveVectoredExceptionHandler((PVOID)UINTPTR_MAX), 0);
    assert_int_not_equal(RemoveVectoredExceptionHandler(old), 0);
    assert_int_equal(RemoveVectoredExceptionHandler(old), 0);
    PVOID next = AddVectoredExceptionHandler(0, search_2);
    assert_int_equal(RemoveVectoredExceptionHandler(old), 0);
    (void)raise_under_filter(0);
    assert_string_equal(trace, "2f");
    assert_int_not_equal(RemoveVectoredExceptionHandler(next), 0);
}

static void full_table_and_null_handler_give_null(void **state)
{
    begin(state);
    PVOID last = NULL;
    assert_null(AddVectoredExceptionHandler(0, NULL));
    for (unsigned count = 0; count < TABLE_COUNT; count++) {
        last = AddVectoredExceptionHandler(0, search_1);
        assert_non_null(last);
    }
    assert_null(AddVectoredExceptionHandler(1, search_2));
    assert_int_not_equal(RemoveVectoredExceptionHandler(last), 0);
    assert_non_null(AddVectoredExceptionHandler(1, search_2));
    (void)raise_under_filter(0);
    assert_int_equal(strlen(trace), sizeof(trace) - 1); /* 64 letters and the filter's: cut */
    assert_int_equal(trace[0], '2');
}

static void same_function_twice_is_asked_twice(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, search_1));
    assert_non_null(AddVectoredExceptionHandler(0, search_1));
    (void)raise_under_filter(0);
    assert_string_equal(trace, "11f");
}

static void exception_of_a_handler_is_not_offered_to_handlers(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, raise_another));
    assert_int_equal(raise_under_filter(0), CODE_A + 1);
    assert_string_equal(trace, "rf");
}

static void handler_may_guard_its_own_exceptions(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, guard_another));
    assert_int_equal(raise_under_filter(0), CODE_A);
    assert_string_equal(trace, "gf");
}

static LONG filter_guards(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    NT_TRY
    {
        RaiseException(CODE_B + 1, 0, 0, NULL);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('i');
    }
    NT_END_TRY
    return EXCEPTION_EXECUTE_HANDLER;
}

static LONG guard_with_a_filter_that_raises(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('v');
    NT_TRY
    {
        RaiseException(CODE_B, 0, 0, NULL);
    }
    NT_EXCEPT(filter_guards, NULL)
    {
        trace_add('g');
    }
    NT_END_TRY
    return EXCEPTION_CONTINUE_SEARCH;
}

static void exceptions_three_deep_are_not_offered_to_handlers_either(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, guard_with_a_filter_that_raises));
    assert_int_equal(raise_under_filter(0), CODE_A);
    assert_string_equal(trace, "vigf");
}

static uintptr_t page;

static LONG repair(EXCEPTION_POINTERS *info)
{
    trace_add('p');
    assert_int_equal(info->ExceptionRecord->ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_non_null(info->ContextRecord);
    wild_access(page, 1, PROT_READ | PROT_WRITE);
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void handler_may_repair_a_fault_outside_any_block(void **state)
{
    begin(state);
    page = wild_map(1, PROT_NONE);
    assert_non_null(AddVectoredExceptionHandler(0, repair));
    wild_write(page, 3);
    assert_int_equal(wild_read(page), 3);
    assert_string_equal(trace, "p");
    wild_unmap(page, 1);
}

static void handler_that_is_no_code_faults_into_the_filters(void **state)
{
    begin(state);
    page = wild_map(1, PROT_NONE);
    assert_non_null(AddVectoredExceptionHandler(0, (PVECTORED_EXCEPTION_HANDLER)(page + 16)));
    assert_int_equal(raise_under_filter(0), STATUS_ACCESS_VIOLATION);
    assert_string_equal(trace, "f");
    wild_unmap(page, 1);
}

static LONG remove_self(EXCEPTION_POINTERS *info)
{
    (void)info;
    trace_add('m');
    nth_seh_reset();
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void handler_may_reset(void **state)
{
    begin(state);
    assert_non_null(AddVectoredExceptionHandler(0, remove_self));
    assert_non_null(AddVectoredExceptionHandler(0, search_1));
    RaiseException(CODE_A, 0, 0, NULL);
    assert_string_equal(trace, "m");
    assert_false(nth_vectored_any());
}

static LONG quiet(EXCEPTION_POINTERS *info)
{
    (void)info;
    return EXCEPTION_CONTINUE_SEARCH;
}

static void body_raise(void *context)
{
    (void)context;
    RaiseException(CODE_A, 0, 0, NULL);
}

static void *thread_adds_and_raises(void *context)
{
    uintptr_t wrong = 0;
    (void)context;
    for (unsigned round = 0; round < 300; round++) {
        PVOID handle = AddVectoredExceptionHandler(round % 2, quiet);
        wrong += handle == NULL;
        wrong += nth_guard(body_raise, NULL, NULL);
        wrong += RemoveVectoredExceptionHandler(handle) == 0;
    }
    return (void *)wrong;
}

static void threads_may_add_remove_and_raise_at_once(void **state)
{
    begin(state);
    pthread_t threads[THREAD_COUNT];
    for (size_t idx = 0; idx < THREAD_COUNT; idx++) {
        assert_int_equal(pthread_create(&threads[idx], NULL, thread_adds_and_raises, NULL), 0);
    }
    for (size_t idx = 0; idx < THREAD_COUNT; idx++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[idx], &wrong), 0);
        assert_null(wrong);
    }
    assert_false(nth_vectored_any());
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(handlers_are_asked_first_to_last_before_any_filter),
        TEST(each_first_comes_before_the_ones_before),
        TEST(handler_may_continue_execution),
        TEST(handler_that_continues_a_noncontinuable_exception_is_overruled),
        TEST(any_other_answer_lets_the_search_go_on),
        TEST(removed_handler_is_not_asked),
        TEST(handle_that_names_nothing_is_refused),
        TEST(full_table_and_null_handler_give_null),
        TEST(same_function_twice_is_asked_twice),
        TEST(exception_of_a_handler_is_not_offered_to_handlers),
        TEST(handler_may_guard_its_own_exceptions),
        TEST(exceptions_three_deep_are_not_offered_to_handlers_either),
        TEST(handler_may_repair_a_fault_outside_any_block),
        TEST(handler_that_is_no_code_faults_into_the_filters),
        TEST(handler_may_reset),
        TEST(threads_may_add_remove_and_raise_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
