/* SPDX-License-Identifier: MIT
 *
 * Bounds that a run may have, so that an input of an engine has an end: after so many calls nothing
 * looks at everything any more, after so many committed bytes no memory is asked for. And what
 * every run has: heaps of crowds, free memory that is zeroed. */
#include "program/text.h"
#include "run/exec.h"
#include "run/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Two blocks of the system's own pages, and a heap. */
static const char asks[] = "RtlAllocateHeap s1 h0 power:20\n"
                           "HeapFree s1\n"
                           "HeapAlloc s2 h0 power:20\n"
                           "HeapCreate h1 0\n"
                           "HeapFree s2\n";

static const char looks[] = "HeapAlloc s1 h0 100\n"
                            "check\n"
                            "HeapAlloc s2 h0 100\n"
                            "check\n";

/* Refusals: around each all heaps are walked, and after it everything is looked at. */
static const char refuses[] = "program flags=plan\n"
                              "HeapCreate h1 0\n"
                              "plan from commit|reserve|remap value=1\n"
                              "HeapAlloc s1 h1 power:20\n"
                              "HeapAlloc s2 h1 power:20\n"
                              "HeapAlloc s3 h1 power:20\n"
                              "HeapAlloc s4 h1 power:20\n";

/* The verdict of a program, and what a run of it is worth to a sweep. */
static struct rig_verdict run_once(const char *text, uint64_t look_calls, uint64_t commit_max,
                                   uint64_t *work)
{
    struct rig_program program;
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    assert_true(rig_text_parse(&program, "text", text, strlen(text), error, sizeof(error)));
    struct rig_exec *exec = rig_exec_create(&(struct rig_options){.subject = rig_subject_core(),
                                                                  .judge = true,
                                                                  .look_calls = look_calls,
                                                                  .commit_max = commit_max});
    assert_non_null(exec);
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    *work = rig_sweep_work(exec, &verdict);
    rig_exec_destroy(exec);
    assert_false(verdict.found);
    return verdict;
}

static struct rig_verdict run(const char *text, uint64_t look_calls, uint64_t commit_max)
{
    uint64_t work = 0;
    return run_once(text, look_calls, commit_max, &work);
}

static uint64_t sweep_work(const char *text)
{
    uint64_t work = 0;
    (void)run_once(text, 0, 0, &work);
    return work;
}

static void memory_is_asked_for_until_so_much_was_committed(void **state)
{
    (void)state;
    assert_int_equal(run(asks, 0, 0).nothing_count, 0);
    assert_int_equal(run(asks, 0, UINT64_C(64) << 20).nothing_count, 0);
    /* The second block, the heap, and the free of what is not there. */
    assert_int_equal(run(asks, 0, UINT64_C(1) << 20).nothing_count, 3);
}

static void all_is_looked_at_until_so_many_calls_were_made(void **state)
{
    (void)state;
    assert_int_equal(run(looks, 0, 0).nothing_count, 0);
    assert_int_equal(run(looks, 1000, 0).nothing_count, 0);
    assert_int_equal(run(looks, 8, 0).nothing_count, 1);
    assert_int_equal(run(looks, 1, 0).nothing_count, 2);
}

/* What a heap has to spare is looked at after each failure for want of memory. */
static void failures_are_looked_at_until_so_many_calls_were_made(void **state)
{
    static const char fails[] = "HeapCreate h1 0\n"
                                "budget value=0\n"
                                "HeapAlloc s1 h1 power:20\n"
                                "HeapAlloc s2 h1 power:20\n"
                                "HeapAlloc s3 h1 power:20\n"
                                "HeapAlloc s4 h1 power:20\n";
    (void)state;
    const uint64_t all = run(fails, 0, 0).call_count;
    assert_in_range(run(fails, 1, 0).call_count, 1, all - 1);
}

/* Heaps that come and go are calls as others are: each is made and destroyed. */
static void a_crowd_counts(void **state)
{
    (void)state;
    const uint64_t few = run("program flags=plan\nplan crowd value=1\n", 0, 0).call_count;
    const uint64_t many = run("program flags=plan\nplan crowd value=21\n", 0, 0).call_count;
    assert_int_equal(many - few, 40);
}

static void count_others(void *count, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)judge;
    *(unsigned *)count += (unsigned)step->sight.others_seen;
}

/* Four failures beside two blocks of a megabyte. */
static void other_blocks_are_compared_until_it_was_so_much(void **state)
{
    static const char text[] = "HeapCreate h1 0\n"
                               "HeapAlloc s1 h1 power:20\n"
                               "HeapAlloc s2 h1 power:20\n"
                               "budget value=0\n"
                               "HeapAlloc s3 h1 power:20\n"
                               "HeapAlloc s4 h1 power:20\n"
                               "HeapAlloc s5 h1 power:20\n"
                               "HeapAlloc s6 h1 power:20\n";
    static const struct {
        uint64_t most;
        unsigned seen;
    } rows[] = {{0, 8}, {1, 2}, {(4 << 20) - 1, 4}, {(4 << 20) + 1, 6}, {UINT64_MAX, 8}};
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct rig_program program;
        char error[RIG_TEXT_ERROR_BYTES_MAX];
        unsigned seen = 0;
        assert_true(rig_text_parse(&program, "text", text, strlen(text), error, sizeof(error)));
        struct rig_exec *exec =
            rig_exec_create(&(struct rig_options){.subject = rig_subject_core(),
                                                  .judge = true,
                                                  .watch = count_others,
                                                  .context = &seen,
                                                  .others_max = rows[row].most});
        assert_non_null(exec);
        for (unsigned turn = 0; turn < 2; turn++) { /* each run begins anew */
            seen = 0;
            assert_false(rig_exec_run(exec, &program).found);
            assert_int_equal(seen, rows[row].seen);
        }
        rig_exec_destroy(exec);
    }
}

static void crowds_come_until_there_were_so_many_heaps(void **state)
{
    static const char crowds[] = "program flags=plan\n"
                                 "plan crowd value=300\n"
                                 "plan crowd value=200\n"
                                 "plan crowd value=300\n"
                                 "plan crowd value=1\n";
    (void)state;
    const struct rig_verdict verdict = run(crowds, 0, 0);
    assert_int_equal(verdict.nothing_count, 1);
    assert_in_range(verdict.call_count, 1200, 1300);
}

/* 8 MiB of free memory at a time: 256 MiB are reached by the 33rd. */
static void free_memory_is_zeroed_until_it_was_so_much(void **state)
{
    char text[2048] = "RtlCreateHeap h1 power:23\n";
    (void)state;
    for (unsigned turn = 0; turn < 36; turn++) {
        strcat(text, "RtlZeroHeap h1\n");
    }
    assert_in_range(run(text, 0, 0).nothing_count, 3, 4);
}

/* A program of few calls may commit much, and each run of a sweep does so again. */
static void pages_are_work_of_a_sweep(void **state)
{
    (void)state;
    const uint64_t pages = sweep_work("RtlAllocateHeap s1 h0 power:22\n") -
                           sweep_work("RtlAllocateHeap s1 h0 power:21\n");
    assert_in_range(pages, 512, 512 + 16);
}

static void refusals_are_looked_at_until_so_many_calls_were_made(void **state)
{
    (void)state;
    const uint64_t all = run(refuses, 0, 0).call_count;
    const uint64_t some = run(refuses, all / 2, 0).call_count;
    const uint64_t none = run(refuses, 1, 0).call_count;
    assert_int_equal(run(refuses, UINT64_C(1) << 20, 0).call_count, all);
    assert_in_range(some, none + 1, all - 1);
}

static bool running; /* between the first reset and the last */

static void reset_noted(uint32_t seed)
{
    running = !running;
    rig_subject_core()->reset(seed);
}

static struct rig_holdings holdings_owing(void)
{
    struct rig_holdings held = rig_subject_core()->holdings();
    held.committed_bytes += running ? 0 : 4096u;
    return held;
}

/* D84, of a run without a plan as well. */
static void a_page_that_is_held_after_the_last_reset_is_a_finding(void **state)
{
    (void)state;
    struct rig_program program;
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    struct rig_subject subject = *rig_subject_core();
    subject.reset = reset_noted;
    subject.holdings = holdings_owing;
    running = false;
    assert_true(rig_text_parse(&program, "text", asks, strlen(asks), error, sizeof(error)));
    struct rig_exec *exec =
        rig_exec_create(&(struct rig_options){.subject = &subject, .judge = true});
    assert_non_null(exec);
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    rig_exec_destroy(exec);
    assert_true(verdict.found);
    assert_string_equal(rig_clause_info(verdict.clause)->id, "D84");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_asked_for_until_so_much_was_committed),
        cmocka_unit_test(all_is_looked_at_until_so_many_calls_were_made),
        cmocka_unit_test(failures_are_looked_at_until_so_many_calls_were_made),
        cmocka_unit_test(a_crowd_counts),
        cmocka_unit_test(other_blocks_are_compared_until_it_was_so_much),
        cmocka_unit_test(crowds_come_until_there_were_so_many_heaps),
        cmocka_unit_test(free_memory_is_zeroed_until_it_was_so_much),
        cmocka_unit_test(a_page_that_is_held_after_the_last_reset_is_a_finding),
        cmocka_unit_test(pages_are_work_of_a_sweep),
        cmocka_unit_test(refusals_are_looked_at_until_so_many_calls_were_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
