/* SPDX-License-Identifier: MIT
 *
 * Records of raised exceptions, nth_guard, exceptions that nobody handles, threads. Search and
 * unwinding are in seh_search.c and seh_unwind.c, faults in fault.c. */
#include "support/leave.h"
#include "support/raise.h"

#include "probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 4u

/* Records. */

struct raise_args {
    DWORD code;
    DWORD flags;
    DWORD count;
    const ULONG_PTR *args;
};

static void body_raise(void *context)
{
    const struct raise_args *args = context;
    RaiseException(args->code, args->flags, args->count, args->args);
}

static EXCEPTION_RECORD record_of(struct raise_args args)
{
    EXCEPTION_RECORD record;
    memset(&record, 0xA5, sizeof(record));
    assert_false(nth_guard(body_raise, &args, &record));
    assert_int_equal(record.ExceptionFlags & ~EXCEPTION_NONCONTINUABLE, 0);
    assert_non_null(record.ExceptionAddress);
    return record;
}

static void record_carries_code_flags_and_arguments(void **state)
{
    begin(state);
    static const ULONG_PTR args[3] = {1, (ULONG_PTR)-2, 3};
    EXCEPTION_RECORD record = record_of(
        (struct raise_args){.code = CODE_A, .flags = 0xFFFFFFFFu, .count = 3, .args = args});
    assert_int_equal(record.ExceptionCode, CODE_A);
    assert_int_equal(record.ExceptionFlags, EXCEPTION_NONCONTINUABLE);
    assert_null(record.ExceptionRecord);
    assert_int_equal(record.NumberParameters, 3);
    assert_memory_equal(record.ExceptionInformation, args, sizeof(args));
    assert_int_equal(record.ExceptionInformation[3], 0);
}

static void at_most_fifteen_arguments_are_taken(void **state)
{
    begin(state);
    ULONG_PTR args[20];
    for (size_t idx = 0; idx < 20; idx++) {
        args[idx] = idx + 100;
    }
    EXCEPTION_RECORD record =
        record_of((struct raise_args){.code = CODE_A, .count = 20, .args = args});
    assert_int_equal(record.NumberParameters, EXCEPTION_MAXIMUM_PARAMETERS);
    assert_memory_equal(record.ExceptionInformation, args, sizeof(record.ExceptionInformation));
    record = record_of((struct raise_args){.code = CODE_A, .count = 15, .args = args});
    assert_int_equal(record.NumberParameters, 15);
}

static void count_without_arguments_is_ignored(void **state)
{
    begin(state);
    EXCEPTION_RECORD record = record_of((struct raise_args){.code = CODE_A, .count = 9});
    assert_int_equal(record.NumberParameters, 0);
}

static void bit_28_of_the_code_is_cleared(void **state)
{
    begin(state);
    EXCEPTION_RECORD record = record_of((struct raise_args){.code = 0xFFFFFFFFu});
    assert_int_equal(record.ExceptionCode, 0xEFFFFFFFu);
}

static void arguments_that_cannot_be_read_raise_an_access_violation(void **state)
{
    begin(state);
    const uintptr_t base = wild_map(1, PROT_NONE);
    const ULONG_PTR *args = (const ULONG_PTR *)base;
    EXCEPTION_RECORD record =
        record_of((struct raise_args){.code = CODE_A, .count = 1, .args = args});
    wild_unmap(base, 1);
    assert_int_equal(nth_load_relaxed(&nth_faults.in_probe), 1);
    assert_int_equal(nth_load_relaxed(&nth_faults.elsewhere), 0);
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.NumberParameters, 2);
    assert_int_equal(record.ExceptionInformation[0], EXCEPTION_READ_FAULT);
    assert_true(record.ExceptionInformation[1] == base);
}

static void raise_of_core_keeps_the_record_it_is_given(void **state)
{
    begin(state);
    static const LONG answer = EXCEPTION_CONTINUE_EXECUTION;
    EXCEPTION_RECORD record = {.ExceptionCode = STATUS_NO_MEMORY,
                               .ExceptionAddress = &record,
                               .NumberParameters = 1,
                               .ExceptionInformation = {24}};
    NT_TRY
    {
        nth_raise(&record);
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        assert_memory_equal(NT_EXCEPTION_RECORD(), &record, sizeof(record));
        trace_add('h');
    }
    NT_END_TRY
    NT_TRY
    {
        nth_raise(&record);
        trace_add('r');
    }
    NT_EXCEPT(filter_answer, (void *)&answer)
    {
    }
    NT_END_TRY
    assert_string_equal(trace, "hfr");
}

/* nth_guard. */

static void body_counts(void *context)
{
    ++*(unsigned *)context;
}

static void guard_is_true_when_the_body_returns(void **state)
{
    begin(state);
    EXCEPTION_RECORD record;
    unsigned count = 0;
    memset(&record, 0xA5, sizeof(record));
    assert_true(nth_guard(body_counts, &count, &record));
    assert_true(nth_guard(body_counts, &count, NULL));
    assert_int_equal(count, 2);
    assert_int_equal(record.ExceptionCode, 0xA5A5A5A5u);
}

static void body_continues_noncontinuable(void *context)
{
    static const LONG answer = EXCEPTION_CONTINUE_EXECUTION;
    (void)context;
    NT_TRY
    {
        RaiseException(CODE_A, EXCEPTION_NONCONTINUABLE, 0, NULL);
    }
    NT_EXCEPT(filter_answer, (void *)&answer)
    {
    }
    NT_END_TRY
}

static void guard_is_false_with_the_record_when_an_exception_leaves_it(void **state)
{
    begin(state);
    EXCEPTION_RECORD record;
    assert_false(nth_guard(body_raise_a, NULL, NULL));
    assert_false(nth_guard(body_raise_a, NULL, &record));
    assert_int_equal(record.ExceptionCode, CODE_A);
    assert_false(nth_guard(body_continues_noncontinuable, NULL, &record));
    assert_int_equal(record.ExceptionCode, STATUS_NONCONTINUABLE_EXCEPTION);
    assert_null(record.ExceptionRecord);
}

/* Unhandled. */

static DWORD raised_code = 0xC0000017u;

static void child_raises(const struct nth_call *call, int output)
{
    struct nth_call copy = {.name = NULL};
    (void)dup2(output, STDERR_FILENO);
    leave_by_abort();
    nth_seh_reset();
    if (call != NULL) {
        copy = *call;
        nth_self.call = &copy;
    }
    RaiseException(raised_code, 0, 0, NULL);
    leave(0);
}

/* What a child that raises without any handler says before it aborts. */
static void unhandled_line(const struct nth_call *call, char *text, size_t bytes)
{
    int ends[2];
    int status = 0;
    size_t len = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_raises(call, ends[1]);
    }
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && len<bytes - 1; len += got> 0 ? (size_t)got : 0) {
        got = read(ends[0], text + len, bytes - 1 - len);
    }
    text[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void demand_line(const char *text, const char *call)
{
    char head[64];
    char tail[64];
    char *rest = NULL;
    (void)snprintf(head, sizeof(head), "heaprig: unhandled exception 0xC0000017 at 0x");
    (void)snprintf(tail, sizeof(tail), " in %s\n", call);
    assert_memory_equal(text, head, strlen(head));
    assert_true(strtoull(text + strlen(head), &rest, 16) != 0);
    assert_string_equal(rest, tail);
}

static void unhandled_exception_names_code_address_and_call_and_ends_the_process(void **state)
{
    begin(state);
    static const struct nth_call call = {.name = "RtlAllocateHeap"};
    char text[512];
    unhandled_line(NULL, text, sizeof(text));
    demand_line(text, "no heap call");
    unhandled_line(&call, text, sizeof(text));
    demand_line(text, "RtlAllocateHeap");
    raised_code = 0x123; /* with all its digits */
    unhandled_line(NULL, text, sizeof(text));
    raised_code = 0xC0000017u;
    assert_memory_equal(text, "heaprig: unhandled exception 0x00000123 at 0x", 45);
}

/* There is no memory to print with: what is too long is cut, and the line is one all the same. */
static void unhandled_exception_in_a_call_of_a_long_name_is_one_line(void **state)
{
    begin(state);
    char name[400];
    char text[512];
    memset(name, 'N', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    const struct nth_call call = {.name = name};
    unhandled_line(&call, text, sizeof(text));
    assert_memory_equal(text, "heaprig: unhandled exception 0xC0000017 at 0x", 45);
    const char *tail = strstr(text, " in N");
    assert_non_null(tail);
    const size_t kept = strspn(tail + 4, "N");
    assert_true(kept >= 32 && kept < sizeof(name) - 1);
    assert_string_equal(tail + 4 + kept, "\n");
}

/* In words, for a log of one's own: in any room, with the heap call that the thread is in. */
static void an_exception_in_words_names_code_address_and_call(void **state)
{
    begin(state);
    struct nth_call call = {.name = "RtlAllocateHeap"};
    const EXCEPTION_RECORD record = {.ExceptionCode = 0x123, .ExceptionAddress = (PVOID)0xAB};
    const char *const due = "exception 0x00000123 at 0xAB in RtlAllocateHeap";
    char text[80];
    nth_self.call = &call;
    assert_int_equal(nth_exception_text(&record, NULL, 0), strlen(due));
    for (size_t room = 1; room < strlen(due) + 3; room++) {
        memset(text, '?', sizeof(text));
        assert_int_equal(nth_exception_text(&record, text, room), strlen(due));
        const size_t len = room - 1 < strlen(due) ? room - 1 : strlen(due);
        assert_memory_equal(text, due, len);
        assert_int_equal(text[len], '\0');
        assert_int_equal(text[len + 1], '?');
    }
    nth_self.call = NULL;
    (void)nth_exception_text(&record, text, sizeof(text));
    assert_string_equal(text, "exception 0x00000123 at 0xAB in no heap call");
    const EXCEPTION_RECORD far = {.ExceptionAddress = (PVOID)UINTPTR_MAX};
    (void)nth_exception_text(&far, text, sizeof(text));
    assert_string_equal(text, sizeof(void *) > 4
                                  ? "exception 0x00000000 at 0xFFFFFFFFFFFFFFFF in no heap call"
                                  : "exception 0x00000000 at 0xFFFFFFFF in no heap call");
}

/* Threads. */

static void *thread_raises(void *context)
{
    const DWORD code = *(const DWORD *)context;
    uintptr_t wrong = 0;
    for (DWORD round = 0; round < 500; round++) {
        EXCEPTION_RECORD record;
        const ULONG_PTR args[1] = {round};
        struct raise_args raised = {.code = code, .count = 1, .args = args};
        memset(&record, 0, sizeof(record));
        const BOOLEAN returned = nth_guard(body_raise, &raised, &record);
        wrong += returned || record.ExceptionCode != code;
        wrong += record.ExceptionInformation[0] != round;
        wrong += nth_self.frame != NULL;
    }
    return (void *)wrong;
}

static void each_thread_handles_its_own_exceptions(void **state)
{
    begin(state);
    pthread_t threads[THREAD_COUNT];
    DWORD codes[THREAD_COUNT];
    for (DWORD idx = 0; idx < THREAD_COUNT; idx++) {
        codes[idx] = CODE_A + idx;
        assert_int_equal(pthread_create(&threads[idx], NULL, thread_raises, &codes[idx]), 0);
    }
    for (DWORD idx = 0; idx < THREAD_COUNT; idx++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[idx], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(record_carries_code_flags_and_arguments),
        TEST(at_most_fifteen_arguments_are_taken),
        TEST(count_without_arguments_is_ignored),
        TEST(bit_28_of_the_code_is_cleared),
        TEST(arguments_that_cannot_be_read_raise_an_access_violation),
        TEST(raise_of_core_keeps_the_record_it_is_given),
        TEST(guard_is_true_when_the_body_returns),
        TEST(guard_is_false_with_the_record_when_an_exception_leaves_it),
        TEST(unhandled_exception_names_code_address_and_call_and_ends_the_process),
        TEST(unhandled_exception_in_a_call_of_a_long_name_is_one_line),
        TEST(an_exception_in_words_names_code_address_and_call),
        TEST(each_thread_handles_its_own_exceptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
