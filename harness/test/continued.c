/* SPDX-License-Identifier: MIT
 *
 * A program whose filter continues meets a heap that faults: going on at the same instruction would
 * fault for ever, so after a while the call is left, and judged. */
#include "program/text.h"
#include "run/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "HeapAlloc h0 s1 100 context=continue\n";

static unsigned calls;

/* An address that nothing is mapped at. */
static LPVOID RIG_NTAPI alloc_faults(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    volatile uintptr_t address = 64; /* not for the compiler to know */
    volatile char *nowhere = (volatile char *)address;
    (void)heap;
    (void)flags;
    (void)bytes;
    calls++;
    return *nowhere == 0 ? NULL : (LPVOID)(uintptr_t)nowhere;
}

static void a_fault_that_is_continued_over_and_over_is_a_finding(void **state)
{
    (void)state;
    struct rig_program program;
    struct rig_subject subject = *rig_subject_core();
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    assert_true(rig_text_parse(&program, "text", text, strlen(text), error, sizeof(error)));
    subject.HeapAlloc = alloc_faults;
    struct rig_exec *exec =
        rig_exec_create(&(struct rig_options){.subject = &subject, .judge = true});
    assert_non_null(exec);
    const struct rig_verdict verdict = rig_exec_run(exec, &program);
    rig_exec_destroy(exec);
    assert_int_equal(calls, 1);
    assert_true(verdict.found);
    assert_int_equal(verdict.op, RIG_OP_ALLOC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_that_is_continued_over_and_over_is_a_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
