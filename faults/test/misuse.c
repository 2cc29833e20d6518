/* SPDX-License-Identifier: MIT
 *
 * Every class of misuse on every preset, with every call of its set: the outcome is the one
 * expected, and the clause that says so was exercised. And the same scene without the misuse:
 * everything succeeds, and nothing is reported. */
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

/* What the executor's hook saw of one program. */
static struct {
    unsigned misuses; /* made */
    unsigned refused_steps;
    unsigned reports;
    bool ended;
    bool call_seen[FAULT_CALL_COUNT];
} seen;

static struct rig_exec *exec;
static struct rig_program program;
static const struct fault_misuse_info *wanted; /* the class at hand */
static unsigned misses;

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    (void)judge;
    if (step->nothing) {
        return;
    }
    seen.reports += step->outcome.reports > 0;
    seen.ended = seen.ended || step->outcome.ended != 0;
    if (step->op == RIG_OP_MISUSE && step->misuse == wanted) {
        seen.misuses++;
        seen.call_seen[step->bad.call - fault_call_info(0)] = true;
    } else {
        seen.refused_steps += step->outcome.raised;
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

static void miss(const struct preset *preset, const struct fault_misuse_info *misuse,
                 const char *line, const char *what)
{
    static const struct preset *preset_last;
    static const struct fault_misuse_info *misuse_last;
    if (preset != preset_last || misuse != misuse_last) { /* one of them tells enough */
        print_error("%s on %s: %s: %s\n", misuse->name, preset->name, line, what);
    }
    preset_last = preset;
    misuse_last = misuse;
    misses++;
}

static struct rig_verdict run(const char *text)
{
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    if (!rig_text_parse(&program, "scene", text, strlen(text), error, sizeof(error))) {
        fail_msg("%s", error);
    }
    seen.misuses = 0;
    seen.refused_steps = 0;
    seen.reports = 0;
    seen.ended = false;
    return rig_exec_run(exec, &program);
}

static enum rig_clause clause_of(const char *source)
{
    char id[32];
    (void)snprintf(id, sizeof(id), "%s", source);
    for (char *at = id; *at != '\0'; at++) {
        *at = *at == '_' ? '-' : *at;
    }
    for (unsigned clause = 0; clause < RIG_CLAUSE_COUNT; clause++) {
        if (strcmp(rig_clause_info(clause)->id, id) == 0) {
            return clause;
        }
    }
    fail_msg("no clause is called %s", source);
    return RIG_CLAUSE_COUNT;
}

/* ---- The misuse itself ---- */

static void one(const struct preset *preset, const struct fault_misuse_info *misuse,
                const char *scene, const char *line)
{
    char text[PROGRAM_TEXT_MAX + 128];
    char what[96];
    (void)snprintf(text, sizeof(text), "%s%s\n", scene, line);
    rig_exec_forget(exec);
    wanted = misuse;
    const struct rig_verdict verdict = run(text);
    const enum rig_clause clause = clause_of(misuse->source);
    if (verdict.found) {
        (void)snprintf(what, sizeof(what), "%s does not hold in step %u",
                       rig_clause_info(verdict.clause)->id, verdict.step_idx);
        miss(preset, misuse, line, what);
    } else if (seen.misuses != 1) {
        miss(preset, misuse, line, "nothing was there to misuse");
    } else if (rig_exec_judge(exec)->exercised[clause] == 0 && !seen.ended) {
        miss(preset, misuse, line, "its clause was not exercised");
    } else if (seen.ended != (preset->terminates && seen.reports > 0 &&
                              (misuse->calls & FAULT_SET_VALIDATE) == 0) &&
               (misuse->calls & FAULT_SET_HANDLE) == 0) {
        miss(preset, misuse, line, "the process lived or ended where it should not");
    }
}

static void class_on(const struct preset *preset, const struct fault_misuse_info *misuse)
{
    char scene[PROGRAM_TEXT_MAX];
    char line[128];
    preset_scene(preset, misuse, scene, sizeof(scene));
    memset(seen.call_seen, 0, sizeof(seen.call_seen));
    for (unsigned turn = 0; turn < preset_turns(misuse); turn++) {
        preset_line(misuse, turn, line, sizeof(line));
        one(preset, misuse, scene, line);
    }
    for (unsigned call = 0; call < FAULT_CALL_COUNT; call++) {
        if ((fault_call_info(call)->sets & misuse->calls) != 0 && !seen.call_seen[call]) {
            miss(preset, misuse, fault_call_info(call)->name, "the call was never made");
        }
    }
}

static void every_class_has_its_outcome_on_every_preset(void **state)
{
    const struct preset *preset;
    const struct fault_misuse_info *misuse;
    (void)state;
    misses = 0;
    for (unsigned idx = 0; (preset = preset_at(idx)) != NULL; idx++) {
        for (unsigned row = 0; (misuse = fault_misuse_info(row)) != NULL; row++) {
            if (preset_has(preset, misuse)) {
                class_on(preset, misuse);
            }
        }
    }
    assert_int_equal(misses, 0);
}

/* ---- Without it ---- */

static void without_the_misuse_everything_succeeds(void **state)
{
    char scene[PROGRAM_TEXT_MAX];
    const struct preset *preset;
    const struct fault_misuse_info *misuse;
    (void)state;
    misses = 0;
    for (unsigned idx = 0; (preset = preset_at(idx)) != NULL; idx++) {
        for (unsigned row = 0; (misuse = fault_misuse_info(row)) != NULL; row++) {
            preset_scene(preset, misuse, scene, sizeof(scene));
            if (misuse->need == FAULT_NEED_UNWOUND_HEAP) {
                continue; /* its scene is a misuse of its own */
            }
            const struct rig_verdict verdict = run(scene);
            if (verdict.found || seen.reports > 0 || seen.refused_steps > 0 ||
                verdict.nothing_count > 0) {
                miss(preset, misuse, "the scene", "something in it is refused or reported");
            }
        }
    }
    assert_int_equal(misses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_class_has_its_outcome_on_every_preset, exec_make,
                                        exec_end),
        cmocka_unit_test_setup_teardown(without_the_misuse_everything_succeeds, exec_make,
                                        exec_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
