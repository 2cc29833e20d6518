/* SPDX-License-Identifier: MIT
 *
 * VERIFY in a program without a verifier: its services are asked, and every one of them has to say
 * that there is none, and to change nothing. */
#include "watch.h"

#include "stand_in.h"

#define PPM 500000u
#define REPORT_DEFAULT 0x1A1u
#define SAID_BYTES 64u

static char stretch[SAID_BYTES]; /* stands for code that somebody loaded */

static void said(struct rig_exec *exec, bool off)
{
    exec->step.off_asked++;
    exec->step.off_wrong += !off;
}

/* ---- What its rows ask ---- */

static void ask_modules(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    PVOID base = NULL;
    if (subject->module_load != NULL) {
        said(exec, subject->module_load("off", stretch, sizeof(stretch)) ==
                       (NTSTATUS)STATUS_UNSUCCESSFUL);
    }
    if (subject->module_unload != NULL) {
        said(exec, subject->module_unload(stretch) == (NTSTATUS)STATUS_UNSUCCESSFUL);
    }
    if (subject->module_close != NULL && rig_modules_are_files()) { /* that does its work */
        (void)rig_module_open(subject, 1, &base);
        said(exec, rig_module_close(subject, 1, &base) == STATUS_SUCCESS);
    }
}

static BOOLEAN visit_allocation(void *context, const struct rig_allocation *one)
{
    (void)one;
    said(context, false);
    return FALSE;
}

static BOOLEAN visit_logged(void *context, const struct rig_logged *one)
{
    (void)one;
    said(context, false);
    return FALSE;
}

static void ask_looks(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    if (subject->allocations != NULL) {
        said(exec, subject->allocations(NULL, visit_allocation, exec) == 0);
    }
    if (subject->logged != NULL) {
        said(exec, subject->logged(NULL, visit_logged, exec) == 0);
    }
    for (struct rig_block *block = rig_shadow_first(&exec->shadow);
         block != NULL && subject->knows != NULL; block = rig_shadow_next(block)) {
        said(exec, !subject->knows((LPCVOID)block->address));
    }
}

static void ask_end(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    char text[SAID_BYTES];
    if (subject->verify_end != NULL) {
        subject->verify_end();
    }
    if (subject->end_text != NULL) {
        said(exec, subject->end_text(text, sizeof(text)) == 0);
    }
    if (subject->stop_text != NULL) {
        said(exec, subject->stop_text(0, true, false, text, sizeof(text)) == 0);
    }
}

static void ask_lowres(struct rig_exec *exec)
{
    if (exec->subject->lowres != NULL) {
        said(exec, exec->subject->lowres(PPM, 0) == (NTSTATUS)STATUS_UNSUCCESSFUL);
    }
}

static void ask_stops(struct rig_exec *exec)
{
    const struct rig_switch *known = &rig_switches[exec->step.record->value % RIG_SWITCH_COUNT];
    if (exec->subject->stop_set != NULL) {
        said(exec, exec->subject->stop_set(known->layer, known->name, REPORT_DEFAULT, 0) ==
                       (NTSTATUS)STATUS_UNSUCCESSFUL);
    }
}

/* Where there is no heap yet it would take hold, and rightly so. */
static void ask_start(struct rig_exec *exec)
{
    static const char *const settings[] = {"leak", "heaps,locks,memory", "flags=htc+hfc", "seed=1",
                                           "?"};
    const unsigned idx = exec->step.record->value % (sizeof(settings) / sizeof(settings[0]));
    bool any = exec->shadow.heaps[0].handle != NULL;
    for (unsigned heap = 1; heap < RIG_HEAP_COUNT; heap++) {
        any = any || exec->shadow.heaps[heap].live;
    }
    if (any) {
        said(exec, !exec->subject->verify(settings[idx]));
    }
}

/* ---- All ---- */

static void ask_sums(struct rig_exec *exec)
{
    const struct rig_subject *subject = exec->subject;
    struct rig_verified sums;
    if (subject->verified != NULL) {
        subject->verified(&sums);
        said(exec, (sums.layers | sums.stops | sums.silenced | sums.leaks | sums.unloads |
                    sums.disowned | sums.refused | sums.full | sums.light | sums.live_count |
                    sums.live_bytes | sums.held_count | sums.held_bytes) == 0);
    }
    if (subject->stops != NULL) {
        said(exec, subject->stops(SIZE_MAX, NULL) == 0);
    }
    if (subject->global_flags != NULL) {
        said(exec, subject->global_flags() == 0);
    }
}

/* What the row asks, NULL: what it does is a verifier's own business. */
static void (*asker(unsigned row))(struct rig_exec *exec)
{
    switch (row) {
    case RIG_ROW_LOAD:
    case RIG_ROW_UNLOAD:
        return ask_modules;
    case RIG_ROW_LOOK:
    case RIG_ROW_LOG:
        return ask_looks;
    case RIG_ROW_EXIT:
        return ask_end;
    case RIG_ROW_LOWRES:
        return ask_lowres;
    case RIG_ROW_STOP_OFF:
    case RIG_ROW_STOP_ONCE:
    case RIG_ROW_STOP_ON:
    case RIG_ROW_STOP_FATAL:
        return ask_stops;
    case RIG_ROW_START:
        return ask_start;
    default:
        return NULL;
    }
}

static struct rig_holdings held(const struct rig_subject *subject)
{
    return subject->holdings == NULL ? (struct rig_holdings){0} : subject->holdings();
}

static void ask(void *context)
{
    struct rig_exec *exec = context;
    const struct rig_holdings before = held(exec->subject);
    asker(exec->step.record->arg)(exec);
    ask_sums(exec);
    const struct rig_holdings after = held(exec->subject);
    said(exec, before.reserved_bytes == after.reserved_bytes &&
                   before.committed_bytes == after.committed_bytes &&
                   before.reservation_count == after.reservation_count);
}

bool rig_verify_off(struct rig_exec *exec, struct rig_step *step)
{
    if (exec->subject->verify == NULL || asker(step->record->arg) == NULL) {
        step->nothing = true;
        return true;
    }
    rig_call(exec, step, ask);
    return rig_judge(exec, step);
}
