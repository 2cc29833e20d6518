/* SPDX-License-Identifier: MIT
 *
 * What uniform random programs do: a table per operation of how often it was drawn, made under its
 * own name, made under the next name that fitted, or not at all, and which states were reached. */
#include "program/random.h"
#include "run/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct {
    unsigned drawn[RIG_OP_COUNT];
    unsigned own[RIG_OP_COUNT];
    unsigned substituted[RIG_OP_COUNT];
    unsigned nothing[RIG_OP_COUNT];
    unsigned programs_front;
    unsigned programs_regions;
    unsigned programs_large;
    uint64_t live_blocks; /* summed over the steps */
    uint64_t steps;
    unsigned findings;
    bool front;
    bool regions;
    bool large;
} seen;

/* More regions than one, or the front end's mark on an element (ruling D69). */
static void see_walk(const struct rig_walk *walk, bool win32)
{
    unsigned regions = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        regions += walk->elements[idx].region;
        seen.front = seen.front || (!win32 && (walk->elements[idx].flags & 0x8000u) != 0);
    }
    seen.regions = seen.regions || regions > 1;
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    if (step->op == RIG_OP_WALK && !step->nothing) {
        see_walk(step->walk, step->win32);
    }
    if (step->op == RIG_OP_ALLOC && !step->nothing && step->outcome.value != 0) {
        seen.large = seen.large || step->size_bytes > step->heap->threshold_bytes;
    }
    if (step->phase != RIG_PHASE_PROGRAM) {
        return;
    }
    seen.steps++;
    seen.live_blocks += judge->shadow->block_count;
    seen.nothing[step->op] += step->nothing;
    seen.own[step->op] += !step->nothing && step->named;
    seen.substituted[step->op] += !step->nothing && !step->named;
}

static void run_all(unsigned count)
{
    const struct rig_options options = {
        .subject = rig_subject_core(), .judge = true, .watch = watch};
    struct rig_exec *exec = rig_exec_create(&options);
    static struct rig_program program;
    for (uint32_t seed = 0; seed < count; seed++) {
        rig_program_random(&program, seed,
                           1 + seed * 157u % RIG_RECORD_COUNT_MAX); /* all lengths */
        for (unsigned idx = 0; idx < program.count; idx++) {
            seen.drawn[program.records[idx].op]++;
        }
        seen.front = seen.regions = seen.large = false;
        const struct rig_verdict verdict = rig_exec_run(exec, &program);
        if (verdict.found) {
            print_message("random program %u: %s at step %u\n", seed,
                          rig_clause_info(verdict.clause)->id, verdict.step_idx);
        }
        seen.findings += verdict.found;
        seen.programs_front += seen.front;
        seen.programs_regions += seen.regions;
        seen.programs_large += seen.large;
    }
    rig_exec_destroy(exec);
}

static double share(unsigned part, unsigned whole)
{
    return whole == 0 ? 0 : 100.0 * part / whole;
}

static void random_programs_make_their_calls_on_objects_that_fit(void **state)
{
    unsigned drawn = 0;
    unsigned made = 0;
    double lowest = 100.0;
    (void)state;
    run_all(RIG_PROGRAM_COUNT);
    print_message("%-16s %8s %7s %7s %7s\n", "operation", "drawn", "own", "next", "nothing");
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        if (rig_op_fault(op) != 0) {
            continue; /* these programs ask for no faults: their records are left out on purpose */
        }
        /* Operations that are no single call are not watched: they are always made. */
        const unsigned watched = seen.own[op] + seen.substituted[op] + seen.nothing[op];
        const unsigned whole = watched == 0 ? seen.drawn[op] : watched;
        const unsigned done = watched == 0 ? whole : seen.own[op] + seen.substituted[op];
        print_message("%-16s %8u %6.1f%% %6.1f%% %6.1f%%\n", rig_op_info(op)->name, seen.drawn[op],
                      share(done - seen.substituted[op], whole), share(seen.substituted[op], whole),
                      share(seen.nothing[op], whole));
        lowest = share(done, whole) < lowest ? share(done, whole) : lowest;
        drawn += whole;
        made += done;
    }
    print_message("made on an object in the state named: %.1f%% of %u\n", share(made, drawn),
                  drawn);
    print_message("live blocks: %.1f on average\n", (double)seen.live_blocks / (double)seen.steps);
    print_message("programs that reach the front end %.1f%%, a second region %.1f%%, a large block "
                  "%.1f%%\n",
                  share(seen.programs_front, RIG_PROGRAM_COUNT),
                  share(seen.programs_regions, RIG_PROGRAM_COUNT),
                  share(seen.programs_large, RIG_PROGRAM_COUNT));
    assert_int_equal(seen.findings, 0);
    assert_true(lowest >= 40.0);
    assert_true(share(made, drawn) >= 85.0);
    assert_true(share(seen.programs_front, RIG_PROGRAM_COUNT) >= 5.0);
    assert_true(share(seen.programs_regions, RIG_PROGRAM_COUNT) >= 5.0);
    assert_true(share(seen.programs_large, RIG_PROGRAM_COUNT) >= 5.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_make_their_calls_on_objects_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
