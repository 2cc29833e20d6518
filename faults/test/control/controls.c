/* SPDX-License-Identifier: MIT
 *
 * The positive control of every class of misuse: with its detector off, core does not do what is
 * ruled, and the clause of the class says so. With all of them on, the same programs hold. */
#include "support/presets.h"

#include "program/text.h"
#include "run/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern unsigned nth_control; /* of the copy of core: the detector that is off, 0 for none */

static struct rig_exec *exec;
static struct rig_program program;
static const char *source; /* clause of the class at hand */
static bool named;         /* it was broken by the misuse */

static bool is_source(enum rig_clause clause)
{
    const char *id = rig_clause_info(clause)->id;
    size_t at = 0;
    while (id[at] != '\0' && (id[at] == source[at] || (id[at] == '-' && source[at] == '_'))) {
        at++;
    }
    return id[at] == '\0' && source[at] == '\0';
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    for (unsigned idx = 0; step->op == RIG_OP_MISUSE && idx < judge->broken_count; idx++) {
        named = named || is_source(judge->broken[idx]);
    }
}

static int exec_make(void **state)
{
    const struct rig_options options = {
        .subject = rig_subject_core(), .judge = true, .watch = watch};
    (void)state;
    exec = rig_exec_create(&options);
    return exec == NULL;
}

static int exec_end(void **state)
{
    (void)state;
    rig_exec_destroy(exec);
    return 0;
}

static bool holds(const char *text)
{
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    if (!rig_text_parse(&program, "scene", text, strlen(text), error, sizeof(error))) {
        fail_msg("%s", error);
    }
    const bool found = rig_exec_run(exec, &program).found;
    nth_control = 0;
    return !found;
}

/* Whether some way to make the misuse breaks its clause with the detector off. Each holds with it
 * on. */
static bool fires(const struct fault_misuse_info *misuse, unsigned control)
{
    char scene[PROGRAM_TEXT_MAX];
    char text[PROGRAM_TEXT_MAX + 128];
    char line[128];
    preset_scene(preset_at(0), misuse, scene, sizeof(scene));
    named = false;
    source = misuse->source;
    for (unsigned turn = 0; !named && turn < preset_turns(misuse); turn++) {
        preset_line(misuse, turn, line, sizeof(line));
        (void)snprintf(text, sizeof(text), "%s%s\n", scene, line);
        if (!holds(text)) {
            fail_msg("%s does not hold with every detector on: %s", misuse->name, line);
        }
        nth_control = control;
        (void)holds(text);
    }
    return named;
}

static void every_class_fails_its_outcome_with_its_detector_off(void **state)
{
    const struct fault_misuse_info *misuse;
    unsigned misses = 0;
    (void)state;
    for (unsigned row = 0; (misuse = fault_misuse_info(row)) != NULL; row++) {
        if (misuse->control == 0 || !fires(misuse, misuse->control)) {
            print_error("%s: control %u does not fire\n", misuse->name, misuse->control);
            misses++;
        }
    }
    assert_int_equal(misses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_class_fails_its_outcome_with_its_detector_off,
                                        exec_make, exec_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
