/* SPDX-License-Identifier: MIT
 *
 * Both controls of every class of running out. Its program holds without the plan and with it, and
 * the plan strikes; on a copy of core that does one thing wrong where memory is short it does not
 * hold. */
#include "faults/catalog.h"
#include "faults/plan.h"
#include "run/exec.h"
#include "run/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STRUCK 2 /* exit status of a run that held, and in which something was refused */

extern unsigned nth_control; /* of the copy of core: what it does wrong, 0 for nothing */

static struct rig_exec *exec;

static int setup(void **state)
{
    const struct rig_options options = {.subject = rig_subject_core(), .judge = true};
    (void)state;
    exec = rig_exec_create(&options);
    return exec == NULL;
}

static int teardown(void **state)
{
    (void)state;
    rig_exec_destroy(exec);
    return 0;
}

/* Refusals, lies and rubbish: what the plan or the program's own did. */
static bool struck(const struct rig_program *program)
{
    struct rig_refusals refusals;
    rig_subject_core()->refused(&refusals);
    return refusals.last_over_count > 0 || program->plan[0] != FAULT_PLAN_NONE;
}

/* With the plan as a sweep has it: once without, to know how the operations end, and then with it.
 */
static int run(const struct rig_program *program, const struct fault_plan *plan)
{
    static const struct fault_plan nothing = {.kind = FAULT_PLAN_NTH};
    rig_exec_plan(exec, &nothing, 0);
    if (rig_exec_run(exec, program).found) {
        return 1;
    }
    rig_exec_plan(exec, plan, RIG_LOOK_ALWAYS);
    if (rig_exec_run(exec, program).found) {
        return 1;
    }
    return struck(program) ? STRUCK : 0;
}

/* In a process of its own: with its mistake core may well come to its end. */
static int run_apart(const struct rig_program *program, const struct fault_plan *plan,
                     unsigned control)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        nth_control = control;
        _exit(run(program, plan));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool is_right(const struct fault_plan_info *info)
{
    static struct rig_program program;
    static const struct fault_plan none;
    struct fault_plan plan = none;
    char path[512];
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    (void)snprintf(path, sizeof(path), RIG_SOURCE_DIR "/corpus/oom_fuzzer/%s.heap", info->seed);
    if (!rig_load_file(&program, path, error, sizeof(error))) {
        fail_msg("%s", error);
    }
    if (info->plan[0] != '\0' && !fault_plan_parse(&plan, info->plan, strlen(info->plan))) {
        fail_msg("%s: %s is no plan", info->name, info->plan);
    }
    if (info->control == 0) {
        return strncmp(info->noticed, "nobody", 6) == 0; /* so nothing can be turned off */
    }
    if (run_apart(&program, &none, 0) == 1) {
        print_error("%s: does not hold without the plan\n", info->name);
        return false;
    }
    if (run_apart(&program, &plan, 0) != STRUCK) {
        print_error("%s: does not hold, or nothing is refused\n", info->name);
        return false;
    }
    if (run_apart(&program, &plan, info->control) == STRUCK) {
        print_error("%s: control %u does not fire\n", info->name, info->control);
        return false;
    }
    return true;
}

static void every_class_holds_and_fails_where_core_is_wrong(void **state)
{
    (void)state;
    unsigned misses = 0;
    for (unsigned row = 0; fault_plan_info(row) != NULL; row++) {
        misses += !is_right(fault_plan_info(row));
    }
    assert_int_equal(misses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_holds_and_fails_where_core_is_wrong),
    };
    return cmocka_run_group_tests_name("shortage_controls", tests, setup, teardown);
}
