/* SPDX-License-Identifier: MIT
 *
 * The first phase: who is asked, in which order, and what comes of wrong answers and of exceptions
 * in filters. */
#include "support/raise.h"

/* Search. */

static void innermost_handler_takes_the_exception(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
            trace_add('x');
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            trace_add('i');
            assert_int_equal(NT_EXCEPTION_CODE(), CODE_A);
        }
        NT_END_TRY
        trace_add('a');
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('o');
    }
    NT_END_TRY
    assert_string_equal(trace, "ia");
}

static void filter_that_searches_on_leaves_it_to_the_outer_handler(void **state)
{
    begin(state);
    static const DWORD inner = CODE_B;
    static const DWORD outer = CODE_A;
    NT_TRY
    {
        NT_TRY
        {
            NT_TRY
            {
                raise_code(CODE_A);
            }
            NT_EXCEPT(nth_filter_search, NULL)
            {
                trace_add('x');
            }
            NT_END_TRY
        }
        NT_EXCEPT(filter_code, (void *)&inner)
        {
            trace_add('i');
        }
        NT_END_TRY
        trace_add('x');
    }
    NT_EXCEPT(filter_code, (void *)&outer)
    {
        trace_add('o');
    }
    NT_END_TRY
    assert_string_equal(trace, "sTo");
}

static void guarded_block_that_raises_nothing_skips_its_handler(void **state)
{
    begin(state);
    NT_TRY
    {
        trace_add('b');
    }
    NT_EXCEPT(filter_dead, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "b");
}

static void raise_returns_when_a_filter_continues_execution(void **state)
{
    begin(state);
    static const LONG answer = EXCEPTION_CONTINUE_EXECUTION;
    NT_TRY
    {
        raise_code(CODE_A);
        trace_add('r');
        raise_code(CODE_B);
        trace_add('r');
    }
    NT_EXCEPT(filter_answer, (void *)&answer)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "frfr");
}

static LONG filter_rewrites(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    assert_null(info->ContextRecord);
    info->ExceptionRecord->ExceptionCode = CODE_B;
    return EXCEPTION_CONTINUE_SEARCH;
}

static void change_that_a_filter_makes_in_the_record_is_seen_outside(void **state)
{
    begin(state);
    static const DWORD wanted = CODE_B;
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(filter_rewrites, NULL)
        {
        }
        NT_END_TRY
    }
    NT_EXCEPT(filter_code, (void *)&wanted)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_B);
    }
    NT_END_TRY
    assert_string_equal(trace, "T");
}

/* Wrong answers. */

static void demand_linked(const EXCEPTION_RECORD *record, DWORD code, DWORD cause)
{
    assert_int_equal(record->ExceptionCode, code);
    assert_int_equal(record->ExceptionFlags, EXCEPTION_NONCONTINUABLE);
    /* In the frame, not on the stack of the raiser, which is gone. */
    assert_ptr_equal(record->ExceptionRecord, record + 1);
    assert_int_equal(record->ExceptionRecord->ExceptionCode, cause);
    assert_null(record->ExceptionRecord->ExceptionRecord);
    assert_ptr_equal(record->ExceptionAddress, record->ExceptionRecord->ExceptionAddress);
}

static void continuing_a_noncontinuable_exception_raises_another(void **state)
{
    begin(state);
    static const LONG answer = EXCEPTION_CONTINUE_EXECUTION;
    NT_TRY
    {
        NT_TRY
        {
            RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 0, NULL);
            trace_add('x');
        }
        NT_EXCEPT(filter_answer, (void *)&answer)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        demand_linked(NT_EXCEPTION_RECORD(), STATUS_NONCONTINUABLE_EXCEPTION, CODE_A);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "ffh");
}

static void answer_that_does_not_exist_raises_invalid_disposition(void **state)
{
    begin(state);
    static const LONG answer = 7;
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
            trace_add('x');
        }
        NT_EXCEPT(filter_answer, (void *)&answer)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        demand_linked(NT_EXCEPTION_RECORD(), STATUS_INVALID_DISPOSITION, CODE_A);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "ffh");
}

static LONG filter_continues_first(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    return info->ExceptionRecord->ExceptionCode == CODE_A ? EXCEPTION_CONTINUE_EXECUTION
                                                          : EXCEPTION_EXECUTE_HANDLER;
}

static void giver_of_a_wrong_answer_may_take_what_comes_of_it(void **state)
{
    begin(state);
    NT_TRY
    {
        RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 0, NULL);
    }
    NT_EXCEPT(filter_continues_first, NULL)
    {
        demand_linked(NT_EXCEPTION_RECORD(), STATUS_NONCONTINUABLE_EXCEPTION, CODE_A);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "h");
}

/* Raises CODE_B when it is asked about the exception that a wrong answer made. */
static LONG raise_about_wrong_answer(EXCEPTION_POINTERS *info)
{
    if (info->ExceptionRecord->ExceptionCode == STATUS_INVALID_DISPOSITION) {
        trace_add('v');
        raise_code(CODE_B);
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG filter_wrong_or_b(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    const BOOLEAN mine = info->ExceptionRecord->ExceptionCode == CODE_B;
    trace_add(mine ? 'T' : 'w');
    return mine ? EXCEPTION_EXECUTE_HANDLER : 77;
}

/* While vectored handlers are asked about a wrong answer no filter runs, so none is passed over. */
static void vectored_handlers_question_about_a_wrong_answer_reaches_its_giver(void **state)
{
    begin(state);
    PVOID handler = AddVectoredExceptionHandler(1, raise_about_wrong_answer);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(filter_wrong_or_b, NULL)
        {
            assert_int_equal(NT_EXCEPTION_CODE(), CODE_B);
            trace_add('i');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        trace_add('o');
    }
    NT_END_TRY
    assert_int_not_equal(RemoveVectoredExceptionHandler(handler), 0);
    assert_string_equal(trace, "wvTi");
}

static void link_to_the_first_exception_survives_a_rethrow(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 0, NULL);
        }
        NT_EXCEPT(filter_continues_first, NULL)
        {
            nth_rethrow(NT_EXCEPTION_RECORD());
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        demand_linked(NT_EXCEPTION_RECORD(), STATUS_NONCONTINUABLE_EXCEPTION, CODE_A);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "h");
}

static void chain_is_one_link_long_in_a_handler(void **state)
{
    begin(state);
    static const LONG answer = EXCEPTION_CONTINUE_EXECUTION;
    NT_TRY
    {
        NT_TRY
        {
            NT_TRY
            {
                RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 0, NULL);
            }
            NT_EXCEPT(filter_continues_first, NULL)
            {
                nth_rethrow(NT_EXCEPTION_RECORD());
            }
            NT_END_TRY
        }
        NT_EXCEPT(filter_answer, (void *)&answer)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        demand_linked(NT_EXCEPTION_RECORD(), STATUS_NONCONTINUABLE_EXCEPTION,
                      STATUS_NONCONTINUABLE_EXCEPTION);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "ffh");
}

/* Exceptions in filters. */

static LONG filter_raises(EXCEPTION_POINTERS *info, void *context)
{
    (void)context;
    trace_add('f');
    raise_code(info->ExceptionRecord->ExceptionCode + 1);
    return EXCEPTION_EXECUTE_HANDLER;
}

static void exception_in_a_filter_is_searched_from_outside_its_block(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            NT_TRY
            {
                NT_TRY
                {
                    raise_code(CODE_A);
                }
                NT_FINALLY
                {
                    trace_add('1');
                }
                NT_END_TRY
            }
            NT_EXCEPT(filter_raises, NULL)
            {
                trace_add('x');
            }
            NT_END_TRY
        }
        NT_EXCEPT(filter_raises, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_A + 2);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "ff1h");
}

static LONG filter_handles_its_own(EXCEPTION_POINTERS *info, void *context)
{
    LONG answer = EXCEPTION_CONTINUE_SEARCH;
    (void)context;
    NT_TRY
    {
        trace_add('f');
        raise_code(info->ExceptionRecord->ExceptionCode + 1);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_A + 1);
        trace_add('i');
        answer = EXCEPTION_EXECUTE_HANDLER;
    }
    NT_END_TRY
    return answer;
}

static void exception_in_a_filter_is_offered_to_the_filters_own_blocks_first(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(filter_handles_its_own, NULL)
        {
            assert_int_equal(NT_EXCEPTION_CODE(), CODE_A);
            trace_add('h');
        }
        NT_END_TRY
    }
    NT_EXCEPT(filter_dead, NULL)
    {
        trace_add('x');
    }
    NT_END_TRY
    assert_string_equal(trace, "fih");
}

static LONG filter_raises_through_finally(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_B);
        }
        NT_EXCEPT(filter_raises, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_FINALLY
    {
        trace_add('u');
    }
    NT_END_TRY
    return EXCEPTION_EXECUTE_HANDLER;
}

static void nested_searches_pass_over_every_filter_that_is_running(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(filter_raises_through_finally, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_B + 1);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "fuh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(innermost_handler_takes_the_exception),
        TEST(filter_that_searches_on_leaves_it_to_the_outer_handler),
        TEST(guarded_block_that_raises_nothing_skips_its_handler),
        TEST(raise_returns_when_a_filter_continues_execution),
        TEST(change_that_a_filter_makes_in_the_record_is_seen_outside),
        TEST(continuing_a_noncontinuable_exception_raises_another),
        TEST(answer_that_does_not_exist_raises_invalid_disposition),
        TEST(giver_of_a_wrong_answer_may_take_what_comes_of_it),
        TEST(vectored_handlers_question_about_a_wrong_answer_reaches_its_giver),
        TEST(link_to_the_first_exception_survives_a_rethrow),
        TEST(chain_is_one_link_long_in_a_handler),
        TEST(exception_in_a_filter_is_searched_from_outside_its_block),
        TEST(exception_in_a_filter_is_offered_to_the_filters_own_blocks_first),
        TEST(nested_searches_pass_over_every_filter_that_is_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
