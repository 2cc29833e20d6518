/* SPDX-License-Identifier: MIT
 *
 * The second thread waits for a lock of the first, and the heap will not let the first one go, or
 * not take the lock again: that is a finding on the heap, not a failure of the rig. */
#include "program/text.h"
#include "run/exec.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char text[] = "HeapLock h0\n"
                           "RtlAllocateHeap h0 s1 small:40 t3\n";

static unsigned lock_calls;

static BOOL RIG_NTAPI unlock_denies(HANDLE heap)
{
    (void)rig_subject_core()->HeapUnlock(heap);
    return FALSE;
}

static BOOL RIG_NTAPI unlock_does_nothing(HANDLE heap)
{
    (void)heap;
    return FALSE;
}

static BOOL RIG_NTAPI lock_denies_the_second_time(HANDLE heap)
{
    return rig_subject_core()->HeapLock(heap) && lock_calls++ == 0;
}

static struct rig_verdict run(BOOL(RIG_NTAPI *lock)(HANDLE heap), BOOL(RIG_NTAPI *unlock)(HANDLE))
{
    struct rig_program program;
    struct rig_subject subject = *rig_subject_core();
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    assert_true(rig_text_parse(&program, "text", text, strlen(text), error, sizeof(error)));
    subject.HeapLock = lock != NULL ? lock : subject.HeapLock;
    subject.HeapUnlock = unlock != NULL ? unlock : subject.HeapUnlock;
    lock_calls = 0;
    struct rig_exec *exec =
        rig_exec_create(&(struct rig_options){.subject = &subject, .judge = true});
    assert_non_null(exec);
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    rig_exec_destroy(exec);
    return verdict;
}

/* First, while this process has no second thread that a fork would lose. */
static void a_call_that_stays_stuck_ends_the_run_in_the_rules_name(void **state)
{
    (void)state;
    int status = 0;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)alarm(60);
        (void)run(NULL, unlock_does_nothing);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void the_honest_heap_lets_go_and_takes_again(void **state)
{
    (void)state;
    const struct rig_verdict verdict = run(NULL, NULL);
    assert_false(verdict.found);
    assert_int_equal(verdict.step_count, 2);
}

static void a_heap_that_says_no_to_unlocking_is_a_finding(void **state)
{
    (void)state;
    const struct rig_verdict verdict = run(NULL, unlock_denies);
    assert_true(verdict.found);
    assert_int_equal(verdict.clause, RIG_CLAUSE_HUNLOCK_01);
    assert_int_equal(verdict.step_idx, 1);
}

static void a_heap_that_says_no_to_locking_again_is_a_finding(void **state)
{
    (void)state;
    const struct rig_verdict verdict = run(lock_denies_the_second_time, NULL);
    assert_true(verdict.found);
    assert_int_equal(verdict.clause, RIG_CLAUSE_HLOCK_01);
    assert_int_equal(verdict.step_idx, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_stays_stuck_ends_the_run_in_the_rules_name),
        cmocka_unit_test(the_honest_heap_lets_go_and_takes_again),
        cmocka_unit_test(a_heap_that_says_no_to_unlocking_is_a_finding),
        cmocka_unit_test(a_heap_that_says_no_to_locking_again_is_a_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
