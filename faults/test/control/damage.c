/* SPDX-License-Identifier: MIT
 *
 * The positive control of every class of damage: its seed holds, and with core's detector off it
 * does not: what had to be noticed is not, or comes to harm. */
#include "faults/catalog.h"
#include "run/exec.h"
#include "run/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HANG_S 5u /* a program takes some milliseconds */

extern unsigned nth_control; /* of the copy of core: the detector that is off, 0 for none */

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

/* In a process of its own: without its detector core may well come to its end, or to none. */
static bool holds(const struct rig_program *program, unsigned control)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        nth_control = control;
        (void)alarm(HANG_S);
        _exit(rig_exec_run(exec, program).found ? 1 : 0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_right(const struct fault_damage_info *info)
{
    static struct rig_program program;
    char path[512];
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    (void)snprintf(path, sizeof(path), RIG_SOURCE_DIR "/corpus/corrupt_fuzzer/%s.heap", info->name);
    if (!rig_load_file(&program, path, error, sizeof(error))) {
        fail_msg("%s", error);
    }
    if (!holds(&program, 0)) {
        print_error("%s: does not hold with every detector on\n", info->name);
        return false;
    }
    if (info->notice == FAULT_NOTICE_NOBODY) {
        return info->control == 0; /* nobody looks, so nothing can be turned off */
    }
    if (info->control == 0 || holds(&program, info->control)) {
        print_error("%s: control %u does not fire\n", info->name, info->control);
        return false;
    }
    return true;
}

static void every_class_fails_its_outcome_with_its_detector_off(void **state)
{
    (void)state;
    unsigned misses = 0;
    for (unsigned row = 0; fault_damage_info(row) != NULL; row++) {
        misses += !is_right(fault_damage_info(row));
    }
    assert_int_equal(misses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_fails_its_outcome_with_its_detector_off),
    };
    return cmocka_run_group_tests_name("damage_controls", tests, setup, teardown);
}
