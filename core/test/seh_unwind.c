/* SPDX-License-Identifier: MIT
 *
 * The second phase and the ways out of a guarded block. */
#include "support/raise.h"

/* Unwinding. */

static void filters_run_before_the_inner_finally_blocks(void **state)
{
    begin(state);
    static const DWORD wanted = CODE_A;
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
                assert_true(NT_ABNORMAL_TERMINATION());
                trace_add('1');
            }
            NT_END_TRY
        }
        NT_FINALLY
        {
            assert_true(NT_ABNORMAL_TERMINATION());
            trace_add('2');
        }
        NT_END_TRY
        trace_add('x');
    }
    NT_EXCEPT(filter_code, (void *)&wanted)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "T12h");
}

static void finally_runs_once_after_a_block_that_just_ends(void **state)
{
    begin(state);
    NT_TRY
    {
        trace_add('b');
    }
    NT_FINALLY
    {
        assert_false(NT_ABNORMAL_TERMINATION());
        trace_add('f');
    }
    NT_END_TRY
    trace_add('e');
    assert_string_equal(trace, "bfe");
}

static void finally_outside_the_handler_does_not_see_the_exception(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            trace_add('h');
        }
        NT_END_TRY
    }
    NT_FINALLY
    {
        assert_false(NT_ABNORMAL_TERMINATION());
        trace_add('f');
    }
    NT_END_TRY
    assert_string_equal(trace, "hf");
}

static void call_in_progress_is_unwound_before_each_block_is_entered(void **state)
{
    begin(state);
    struct nth_call outer = {.name = "outer"};
    struct nth_call inner = {.name = "inner", .outer = &outer};
    nth_self.call = NULL;
    NT_TRY
    {
        nth_self.call = &outer;
        NT_TRY
        {
            nth_self.call = &inner;
            raise_code(CODE_A);
        }
        NT_FINALLY
        {
            assert_ptr_equal(nth_self.call, &outer);
            trace_add('f');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_null(nth_self.call);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "fh");
}

static void exception_in_a_finally_block_replaces_the_one_that_passes(void **state)
{
    begin(state);
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
                trace_add('f');
                raise_code(CODE_B);
                trace_add('x');
            }
            NT_END_TRY
        }
        NT_FINALLY
        {
            trace_add('g');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_B);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "fgh");
}

static void exception_handled_inside_a_finally_block_lets_the_other_pass(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_FINALLY
        {
            assert_false(nth_guard(body_raise_a, NULL, NULL));
            NT_TRY
            {
                raise_code(CODE_B);
            }
            NT_EXCEPT(nth_filter_all, NULL)
            {
                trace_add('i');
            }
            NT_END_TRY
        }
        NT_END_TRY
        trace_add('x');
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_A);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "ih");
}

static void exception_in_a_handler_goes_outside(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            raise_code(CODE_A);
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            trace_add('i');
            raise_code(CODE_B);
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_B);
        trace_add('o');
    }
    NT_END_TRY
    assert_string_equal(trace, "io");
}

static void rethrown_exception_is_the_same_to_the_outer_handler(void **state)
{
    begin(state);
    static const ULONG_PTR args[2] = {7, 8};
    PVOID volatile address = NULL;
    NT_TRY
    {
        NT_TRY
        {
            RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 2, args);
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            address = NT_EXCEPTION_RECORD()->ExceptionAddress;
            nth_rethrow(NT_EXCEPTION_RECORD());
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        const EXCEPTION_RECORD *record = NT_EXCEPTION_RECORD();
        trace_add('o');
        assert_int_equal(record->ExceptionCode, CODE_A);
        assert_int_equal(record->ExceptionFlags, EXCEPTION_NONCONTINUABLE);
        assert_ptr_equal(record->ExceptionAddress, address);
        assert_int_equal(record->NumberParameters, 2);
        assert_int_equal(record->ExceptionInformation[1], 8);
    }
    NT_END_TRY
    assert_string_equal(trace, "o");
}

/* Ways out of a guarded block. Each function leaves one whose filter would take anything. */

static int leave_by_return(void)
{
    NT_TRY
    {
        return 1;
    }
    NT_EXCEPT(filter_dead, NULL)
    {
        trace_add('x');
    }
    NT_END_TRY
    return 2;
}

static int leave_by_break(void)
{
    volatile int rounds = 0;
    for (;;) {
        rounds++;
        NT_TRY
        {
            NT_TRY
            {
                break;
            }
            NT_FINALLY
            {
                trace_add('x');
            }
            NT_END_TRY
        }
        NT_EXCEPT(filter_dead, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
        rounds += 10;
    }
    return rounds;
}

static int leave_by_continue(void)
{
    volatile int rounds = 0;
    while (rounds < 3) {
        rounds++;
        NT_TRY
        {
            continue;
        }
        NT_EXCEPT(filter_dead, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
        rounds += 10;
    }
    return rounds;
}

static int leave_by_goto(void)
{
    NT_TRY
    {
        NT_TRY
        {
            goto out;
        }
        NT_EXCEPT(filter_dead, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    NT_EXCEPT(filter_dead, NULL)
    {
        trace_add('x');
    }
    NT_END_TRY
    return 2;
out:
    return 1;
}

static int leave_handler_by_return(void)
{
    NT_TRY
    {
        raise_code(CODE_A);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        return 1;
    }
    NT_END_TRY
    return 2;
}

static int leave_finally_by_return(void)
{
    NT_TRY
    {
        raise_code(CODE_A);
    }
    NT_FINALLY
    {
        return 1;
    }
    NT_END_TRY
    return 2;
}

static void demand_left(int (*leave)(void), int result)
{
    NT_TRY
    {
        const struct nth_frame *before = nth_self.frame;
        assert_int_equal(leave(), result);
        assert_ptr_equal(nth_self.frame, before);
        raise_code(CODE_B);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), CODE_B);
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "h");
}

static void block_left_by_return_sees_no_later_exception(void **state)
{
    begin(state);
    demand_left(leave_by_return, 1);
}

static void block_left_by_break_sees_no_later_exception(void **state)
{
    begin(state);
    demand_left(leave_by_break, 1);
}

static void block_left_by_continue_sees_no_later_exception(void **state)
{
    begin(state);
    demand_left(leave_by_continue, 3);
}

static void block_left_by_goto_sees_no_later_exception(void **state)
{
    begin(state);
    demand_left(leave_by_goto, 1);
}

static void handler_may_be_left_by_return(void **state)
{
    begin(state);
    demand_left(leave_handler_by_return, 1);
}

static void finally_block_left_by_return_ends_the_exception(void **state)
{
    begin(state);
    demand_left(leave_finally_by_return, 1);
}

static void reset_forgets_the_frames_of_the_thread(void **state)
{
    begin(state);
    NT_TRY
    {
        NT_TRY
        {
            nth_seh_reset();
            assert_null(nth_self.frame);
        }
        NT_EXCEPT(filter_dead, NULL)
        {
        }
        NT_END_TRY
        assert_non_null(nth_self.frame);
    }
    NT_EXCEPT(filter_dead, NULL)
    {
    }
    NT_END_TRY
}

static LONG filter_resets(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    nth_seh_reset();
    return EXCEPTION_EXECUTE_HANDLER;
}

static void filter_may_reset_and_still_take_the_exception(void **state)
{
    begin(state);
    NT_TRY
    {
        raise_code(CODE_A);
    }
    NT_EXCEPT(filter_resets, NULL)
    {
        trace_add('h');
    }
    NT_END_TRY
    assert_string_equal(trace, "h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(filters_run_before_the_inner_finally_blocks),
        TEST(finally_runs_once_after_a_block_that_just_ends),
        TEST(finally_outside_the_handler_does_not_see_the_exception),
        TEST(call_in_progress_is_unwound_before_each_block_is_entered),
        TEST(exception_in_a_finally_block_replaces_the_one_that_passes),
        TEST(exception_handled_inside_a_finally_block_lets_the_other_pass),
        TEST(exception_in_a_handler_goes_outside),
        TEST(rethrown_exception_is_the_same_to_the_outer_handler),
        TEST(block_left_by_return_sees_no_later_exception),
        TEST(block_left_by_break_sees_no_later_exception),
        TEST(block_left_by_continue_sees_no_later_exception),
        TEST(block_left_by_goto_sees_no_later_exception),
        TEST(handler_may_be_left_by_return),
        TEST(finally_block_left_by_return_ends_the_exception),
        TEST(reset_forgets_the_frames_of_the_thread),
        TEST(filter_may_reset_and_still_take_the_exception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
