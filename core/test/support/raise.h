/* SPDX-License-Identifier: MIT
 *
 * Raising on purpose: codes, filters that leave a trace, and what every test of exceptions begins
 * and ends with. */
#ifndef NTH_TEST_RAISE_H
#define NTH_TEST_RAISE_H

#include "seh.h"

#include "support/wild.h"

#define CODE_A 0xE0000001u
#define CODE_B 0xE0000002u

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

__attribute__((unused)) static void raise_code(DWORD code)
{
    RaiseException(code, 0, 0, NULL);
}

/* Takes exactly the code that `context` points to; leaves a trace either way. */
__attribute__((unused)) static LONG filter_code(EXCEPTION_POINTERS *info, void *context)
{
    DWORD wanted = *(const DWORD *)context;
    BOOLEAN takes = info->ExceptionRecord->ExceptionCode == wanted;
    trace_add(takes ? 'T' : 's');
    return takes ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

/* Answers what `context` points to. */
__attribute__((unused)) static LONG filter_answer(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    trace_add('f');
    return *(const LONG *)context;
}

__attribute__((unused)) static LONG filter_dead(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    trace_add('!');
    return EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((unused)) static void body_raise_a(void *context)
{
    (void)context;
    raise_code(CODE_A);
}

/* In the body of each test: cmocka puts its own signal handlers around it. */
__attribute__((unused)) static void begin(void **state)
{
    (void)state;
    trace_start();
    nth_seh_reset();
    nth_seh_install();
}

/* Every test leaves no frame behind. */
__attribute__((unused)) static int teardown(void **state)
{
    (void)state;
    assert_null(nth_self.frame);
    assert_null(nth_self.unwind);
    return 0;
}

#endif
