/* SPDX-License-Identifier: MIT
 *
 * Faults that are not ours: they go to the handler that was there before. */
#include <ntheap/verifier.h>

#include "support/leave.h"
#include "support/locked.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void body_reads(void *context)
{
    (void)context;
    (void)wild_read(locked);
}

static sigjmp_buf escape;
static volatile uintptr_t seen_address;
static volatile int seen_blocked;
static volatile int seen_context;
static struct sigaction seen_before;

static void theirs(int number, siginfo_t *info, void *context)
{
    sigset_t mask;
    trace_add('t');
    seen_address = (uintptr_t)info->si_addr;
    seen_context = context != NULL;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    seen_blocked = sigismember(&mask, number);
    siglongjmp(escape, 1);
}

static void theirs_plain(int number)
{
    (void)number;
    trace_add('p');
    siglongjmp(escape, 1);
}

/* Calls what was installed before it, as a good neighbour does. */
static void theirs_chained(int number, siginfo_t *info, void *context)
{
    trace_add('c');
    if ((seen_before.sa_flags & SA_SIGINFO) != 0) {
        seen_before.sa_sigaction(number, info, context);
    }
}

static void install(void (*action)(int, siginfo_t *, void *), struct sigaction *before)
{
    struct sigaction theirs_action;
    memset(&theirs_action, 0, sizeof(theirs_action));
    theirs_action.sa_sigaction = action;
    theirs_action.sa_flags = SA_SIGINFO;
    assert_int_equal(sigaction(SIGSEGV, &theirs_action, before), 0);
}

static void fault_that_nobody_takes_reaches_the_handler_that_was_there(void **state)
{
    locked_begin(state);
    install(theirs, NULL);
    nth_seh_install();
    if (sigsetjmp(escape, 1) == 0) {
        (void)wild_read(locked + 77);
        trace_add('x');
    }
    assert_true(seen_address == locked + 77);
    assert_int_equal(seen_blocked, 1);
    assert_true(seen_context);
    assert_false(nth_guard(body_reads, NULL, NULL));
    seen_address = 0;
    if (sigsetjmp(escape, 1) == 0) {
        NT_TRY
        {
            (void)wild_read(locked + 78);
        }
        NT_EXCEPT(nth_filter_search, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    assert_true(seen_address == locked + 78);
    assert_string_equal(trace, "tt");
    nth_seh_reset(); /* the frame was left by a jump */
}

/* One that asked for it may fault inside: its signal is not blocked then. */
static void handler_that_asks_for_it_is_not_blocked(void **state)
{
    locked_begin(state);
    struct sigaction nested;
    memset(&nested, 0, sizeof(nested));
    nested.sa_sigaction = theirs;
    nested.sa_flags = SA_SIGINFO | SA_NODEFER;
    assert_int_equal(sigaction(SIGSEGV, &nested, NULL), 0);
    nth_seh_install();
    seen_blocked = 1;
    if (sigsetjmp(escape, 1) == 0) {
        (void)wild_read(locked + 79);
        trace_add('x');
    }
    assert_true(seen_address == locked + 79);
    assert_int_equal(seen_blocked, 0);
    assert_string_equal(trace, "t");
}

static void handler_without_siginfo_is_called_too(void **state)
{
    locked_begin(state);
    assert_true(signal(SIGSEGV, theirs_plain) != SIG_ERR);
    nth_seh_install();
    if (sigsetjmp(escape, 1) == 0) {
        (void)wild_read(locked);
    }
    assert_string_equal(trace, "p");
}

static void handler_that_jumps_out_is_called_at_every_fault(void **state)
{
    locked_begin(state);
    assert_true(signal(SIGSEGV, theirs_plain) != SIG_ERR);
    nth_seh_install();
    for (volatile int round = 0; round < 3; round++) {
        if (sigsetjmp(escape, 1) == 0) {
            (void)wild_read(locked);
        }
    }
    assert_string_equal(trace, "ppp");
}

static void installing_again_keeps_the_handler_found(void **state)
{
    locked_begin(state);
    assert_true(signal(SIGSEGV, theirs_plain) != SIG_ERR);
    for (unsigned count = 0; count < 10; count++) {
        nth_seh_install();
    }
    if (sigsetjmp(escape, 1) == 0) {
        (void)wild_read(locked);
    }
    assert_string_equal(trace, "p");
}

static void signal_that_a_program_sends_is_not_an_exception(void **state)
{
    locked_begin(state);
    install(theirs, NULL);
    nth_seh_install();
    if (sigsetjmp(escape, 1) == 0) {
        NT_TRY
        {
            (void)raise(SIGSEGV);
            trace_add('x');
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    assert_string_equal(trace, "t");
    nth_seh_reset();
}

/* Each of the two signals has its own. */
static void the_other_signal_reaches_its_own_handler(void **state)
{
    locked_begin(state);
    install(theirs, NULL);
    assert_true(signal(SIGBUS, theirs_plain) != SIG_ERR);
    nth_seh_install();
    if (sigsetjmp(escape, 1) == 0) {
        (void)raise(SIGBUS);
        trace_add('x');
    }
    if (sigsetjmp(escape, 1) == 0) {
        (void)raise(SIGSEGV);
        trace_add('x');
    }
    assert_string_equal(trace, "pt");
}

/* In a child: the actions there are the system's, then ours and `theirs_action` over it. */
static int child_status(void (*body)(void))
{
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void child_default(void)
{
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    nth_seh_install();
    (void)wild_read(locked);
}

static void child_ignored(void)
{
    assert_true(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
    nth_seh_install();
    (void)raise(SIGSEGV); /* ignored, as before us */
    (void)wild_read(locked);
}

static void child_sent(void)
{
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    nth_seh_install();
    (void)raise(SIGSEGV);
}

static void child_searched(void)
{
    assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    nth_seh_install();
    NT_TRY
    {
        (void)wild_read(locked);
    }
    NT_EXCEPT(nth_filter_search, NULL)
    {
    }
    NT_END_TRY
}

static void demand_killed(void (*body)(void))
{
    const int status = child_status(body);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void demand_exit(void (*body)(void), int wanted)
{
    const int status = child_status(body);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), wanted);
}

static void fault_that_nobody_takes_ends_the_process_where_nothing_was_installed(void **state)
{
    locked_begin(state);
    demand_killed(child_default);
    demand_killed(child_ignored);
    demand_killed(child_sent);
    demand_killed(child_searched);
}

static LONG filter_searches(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add('f');
    return EXCEPTION_CONTINUE_SEARCH;
}

/* Ours over theirs_chained over ours over `theirs`, the very first. */
static void child_chain(void)
{
    const uintptr_t page = wild_map(1, PROT_NONE);
    install(theirs_chained, &seen_before);
    nth_seh_install();
    if (sigsetjmp(escape, 1) == 0) {
        NT_TRY
        {
            (void)wild_read(page);
        }
        NT_EXCEPT(filter_searches, NULL)
        {
            trace_add('x');
        }
        NT_END_TRY
    }
    leave(strcmp(trace, "fct") == 0 ? 17 : 18);
}

static void handler_that_calls_ours_in_turn_ends_at_the_very_first_one(void **state)
{
    locked_begin(state);
    demand_exit(child_chain, 17);
}

/* The fault after one that a handler jumped out of has its context at the same address, and comes
 * by a handler that has been installed over ours since: it is a fault of its own all the same. */
static void child_leaves_then_chains(void)
{
    for (volatile int round = 0; round < 2; round++) {
        if (sigsetjmp(escape, 1) == 0) {
            NT_TRY
            {
                (void)wild_read(locked);
            }
            NT_EXCEPT(round == 0 ? nth_filter_search : nth_filter_all, NULL)
            {
                trace_add('x');
            }
            NT_END_TRY
        }
        nth_seh_reset();
        install(theirs_chained, &seen_before);
    }
    leave(strcmp(trace, "tcx") == 0 ? 17 : 18);
}

static void handler_that_jumps_out_leaves_nothing_for_the_next_fault(void **state)
{
    locked_begin(state);
    install(theirs, NULL);
    nth_seh_install();
    demand_exit(child_leaves_then_chains, 17);
}

/* Calls what was there before it, its signal blocked, and looks at what became of the action. */
static void theirs_over_default(int number, siginfo_t *info, void *context)
{
    struct sigaction now;
    sigset_t pending;
    seen_before.sa_sigaction(number, info, context);
    (void)sigaction(number, NULL, &now);
    (void)sigpending(&pending);
    const bool by_default = (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
    leave((by_default ? 20 : 10) + sigismember(&pending, number));
}

/* Ours over the action `before`, and `theirs_over_default` over ours. */
static void install_over(void (*before)(int))
{
    assert_true(signal(SIGSEGV, before) != SIG_ERR);
    nth_seh_install();
    install(theirs_over_default, &seen_before);
}

static void child_faults_over_default(void)
{
    install_over(SIG_DFL);
    (void)wild_read(locked);
}

/* What the verifier looks at is passed on all the same. */
static void child_faults_verified(void)
{
    struct nth_verifier_settings settings;
    assert_int_equal(nth_verifier_parse("leak", &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    install_over(SIG_DFL);
    (void)wild_read(locked);
}

static void child_faults_over_ignored(void)
{
    install_over(SIG_IGN);
    (void)wild_read(locked);
}

static void child_searches_over_default(void)
{
    install_over(SIG_DFL);
    NT_TRY
    {
        (void)wild_read(locked);
    }
    NT_EXCEPT(nth_filter_search, NULL)
    {
    }
    NT_END_TRY
}

static void child_sends_over_default(void)
{
    install_over(SIG_DFL);
    (void)raise(SIGSEGV);
}

static void child_sends_over_ignored(void)
{
    install_over(SIG_IGN);
    (void)raise(SIGSEGV);
}

/* The instruction that runs again, or the signal sent again as soon as it is not blocked, is to end
 * the process; what is ignored stays so. */
static void fault_passed_on_to_no_handler_finds_the_default_in_place(void **state)
{
    locked_begin(state);
    demand_exit(child_faults_over_default, 20);
    demand_exit(child_faults_verified, 20);
    demand_exit(child_faults_over_ignored, 20);
    demand_exit(child_searches_over_default, 20);
    demand_exit(child_sends_over_default, 21);
    demand_exit(child_sends_over_ignored, 10);
}

#define TEST(name) cmocka_unit_test_teardown(name, locked_teardown)

/* Before any test, so that it is the very first handler found. */
static int first(void **state)
{
    (void)state;
    install(theirs, NULL);
    nth_seh_install();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fault_passed_on_to_no_handler_finds_the_default_in_place), /* before any jump out */
        TEST(fault_that_nobody_takes_reaches_the_handler_that_was_there),
        TEST(handler_that_asks_for_it_is_not_blocked),
        TEST(handler_without_siginfo_is_called_too),
        TEST(handler_that_jumps_out_is_called_at_every_fault),
        TEST(installing_again_keeps_the_handler_found),
        TEST(signal_that_a_program_sends_is_not_an_exception),
        TEST(the_other_signal_reaches_its_own_handler),
        TEST(fault_that_nobody_takes_ends_the_process_where_nothing_was_installed),
        TEST(handler_that_calls_ours_in_turn_ends_at_the_very_first_one),
        TEST(handler_that_jumps_out_leaves_nothing_for_the_next_fault),
    };
    return cmocka_run_group_tests(tests, first, NULL);
}
