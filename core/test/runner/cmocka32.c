/* SPDX-License-Identifier: MIT
 *
 * The part of cmocka that our tests use, behind cmocka's own header, for 32-bit builds: there the
 * library exists only as a package of a foreign architecture, which a test run should not add to
 * anyone's system. A function that is missing here shows as a link error with its name. Unlike
 * cmocka it installs no signal handlers: a crash ends the program, and ctest says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RUN_FAILED = 1, RUN_SKIPPED = 2 };

static jmp_buf run_env;

void vprint_error(const char *const format, va_list args)
{
    vfprintf(stderr, format, args);
}

void print_error(const char *const format, ...)
{
    va_list args;
    va_start(args, format);
    vprint_error(format, args);
    va_end(args);
}

void print_message(const char *const format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

void _fail(const char *const file, const int line)
{
    print_error("%s:%d: error: Failure!\n", file, line);
    longjmp(run_env, RUN_FAILED);
}

void _skip(const char *const file, const int line)
{
    print_message("%s:%d: skipped\n", file, line);
    longjmp(run_env, RUN_SKIPPED);
}

void _assert_true(const LargestIntegralType result, const char *const expression,
                  const char *const file, const int line)
{
    if (result == 0) {
        print_error("%s\n", expression);
        _fail(file, line);
    }
}

void _assert_int_equal(const LargestIntegralType a, const LargestIntegralType b,
                       const char *const file, const int line)
{
    if (a != b) {
        print_error("%#llx != %#llx\n", (unsigned long long)a, (unsigned long long)b);
        _fail(file, line);
    }
}

void _assert_int_not_equal(const LargestIntegralType a, const LargestIntegralType b,
                           const char *const file, const int line)
{
    if (a == b) {
        print_error("%#llx == %#llx\n", (unsigned long long)a, (unsigned long long)b);
        _fail(file, line);
    }
}

void _assert_return_code(const LargestIntegralType result, size_t rlen,
                         const LargestIntegralType error, const char *const expression,
                         const char *const file, const int line)
{
    (void)rlen;
    if ((long long)result < 0) {
        print_error("%s < 0, errno %llu\n", expression, (unsigned long long)error);
        _fail(file, line);
    }
}

void _assert_string_equal(const char *const a, const char *const b, const char *const file,
                          const int line)
{
    if (strcmp(a, b) != 0) {
        print_error("\"%s\" != \"%s\"\n", a, b);
        _fail(file, line);
    }
}

void _assert_string_not_equal(const char *const a, const char *const b, const char *file,
                              const int line)
{
    if (strcmp(a, b) == 0) {
        print_error("\"%s\" == \"%s\"\n", a, b);
        _fail(file, line);
    }
}

static size_t first_difference(const void *a, const void *b, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && ((const uint8_t *)a)[at] == ((const uint8_t *)b)[at]) {
        at++;
    }
    return at;
}

void _assert_memory_equal(const void *const a, const void *const b, const size_t size,
                          const char *const file, const int line)
{
    const size_t at = first_difference(a, b, size);
    if (at < size) {
        print_error("memory differs at offset %zu of %zu: %#x != %#x\n", at, size,
                    ((const uint8_t *)a)[at], ((const uint8_t *)b)[at]);
        _fail(file, line);
    }
}

void _assert_memory_not_equal(const void *const a, const void *const b, const size_t size,
                              const char *const file, const int line)
{
    if (first_difference(a, b, size) == size) {
        print_error("%zu bytes are equal\n", size);
        _fail(file, line);
    }
}

void _assert_in_range(const LargestIntegralType value, const LargestIntegralType minimum,
                      const LargestIntegralType maximum, const char *const file, const int line)
{
    if (value < minimum || value > maximum) {
        print_error("%llu is not in [%llu, %llu]\n", (unsigned long long)value,
                    (unsigned long long)minimum, (unsigned long long)maximum);
        _fail(file, line);
    }
}

void _assert_not_in_range(const LargestIntegralType value, const LargestIntegralType minimum,
                          const LargestIntegralType maximum, const char *const file, const int line)
{
    if (value >= minimum && value <= maximum) {
        print_error("%llu is in [%llu, %llu]\n", (unsigned long long)value,
                    (unsigned long long)minimum, (unsigned long long)maximum);
        _fail(file, line);
    }
}

void _assert_in_set(const LargestIntegralType value, const LargestIntegralType values[],
                    const size_t number_of_values, const char *const file, const int line)
{
    for (size_t idx = 0; idx < number_of_values; idx++) {
        if (values[idx] == value) {
            return;
        }
    }
    print_error("%llu is not in the set\n", (unsigned long long)value);
    _fail(file, line);
}

/* 0, or why the test ended early: what a failed assertion jumped with, or a fixture's refusal. */
static int run_one(const struct CMUnitTest *test, void **state)
{
    int outcome = setjmp(run_env);
    if (outcome == 0) {
        if (test->setup_func != NULL && test->setup_func(state) != 0) {
            return RUN_FAILED;
        }
        test->test_func(state);
    }
    const int body = outcome;
    outcome = setjmp(run_env);
    if (outcome == 0 && test->teardown_func != NULL && test->teardown_func(state) != 0) {
        outcome = RUN_FAILED;
    }
    return body != 0 ? body : outcome;
}

static int run_fixture(CMFixtureFunction fixture, void **state)
{
    if (fixture == NULL) {
        return 0;
    }
    const int outcome = setjmp(run_env);
    return outcome != 0 ? outcome : fixture(state);
}

int _cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *const tests,
                            const size_t num_tests, CMFixtureFunction group_setup,
                            CMFixtureFunction group_teardown)
{
    static const char *const words[] = {"       OK", "  FAILED ", "  SKIPPED"};
    void *group_state = NULL;
    int failed = 0;
    print_message("[==========] %s: Running %zu test(s).\n", group_name, num_tests);
    if (run_fixture(group_setup, &group_state) != 0) {
        print_error("[  FAILED  ] GROUP SETUP\n");
        return 1;
    }
    for (size_t idx = 0; idx < num_tests; idx++) {
        void *state = tests[idx].initial_state != NULL ? tests[idx].initial_state : group_state;
        print_message("[ RUN      ] %s\n", tests[idx].name);
        fflush(stdout);
        const int outcome = run_one(&tests[idx], &state);
        print_message("[%s ] %s\n", words[outcome], tests[idx].name);
        failed += outcome == RUN_FAILED;
    }
    if (run_fixture(group_teardown, &group_state) != 0) {
        print_error("[  FAILED  ] GROUP TEARDOWN\n");
        failed++;
    }
    print_message("[==========] %s: %zu test(s) run, %d failed.\n", group_name, num_tests, failed);
    return failed;
}
