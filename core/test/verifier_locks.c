/* SPDX-License-Identifier: MIT
 *
 * The locks layer, and the grammar of settings. */
#include "support/leave.h"
#include "support/watch.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES 200u

static ULONG self(void)
{
    return (ULONG)syscall(SYS_gettid);
}

/* Exactly one stop, of this code and about this section; its other parameters are left to look at.
 */
static const struct nth_stop *told(ULONG code, const void *section)
{
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, code);
    assert_string_equal(watch_stop(0)->layer, "Locks");
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)section);
    return watch_stop(0);
}

static void demand_trace(ULONG_PTR address)
{
    const struct nth_trace *trace = (const struct nth_trace *)address; /* NOLINT: a parameter */
    assert_non_null(trace);
    assert_true(trace->count > 0);
}

static void a_section_used_as_it_should_be_is_no_stop(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    EnterCriticalSection(&section);
    assert_int_equal(TryEnterCriticalSection(&section), TRUE);
    LeaveCriticalSection(&section);
    LeaveCriticalSection(&section);
    DeleteCriticalSection(&section);
    InitializeCriticalSection(&section);
    DeleteCriticalSection(&section);
    watch_demand_none();
}

static void a_section_in_a_freed_block_is_a_stop(void **state)
{
    (void)state;
    watch_start("locks,leak");
    HANDLE heap = HeapCreate(0, 0, 0);
    char *block = HeapAlloc(heap, 0, BYTES);
    CRITICAL_SECTION *section = (CRITICAL_SECTION *)(void *)(block + 64);
    InitializeCriticalSection(section);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    const struct nth_stop *stop = told(0x202, section);
    demand_trace(stop->parameter[1]);
    assert_int_equal(stop->parameter[2], (ULONG_PTR)block);
    assert_int_equal(stop->parameter[3], BYTES);
    watch_forget();
    block = HeapAlloc(heap, 0, BYTES);
    section = (CRITICAL_SECTION *)(void *)(block + 64);
    InitializeCriticalSection(section);
    DeleteCriticalSection(section);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand_none();
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void a_section_in_an_unloaded_module_is_a_stop(void **state)
{
    struct watch_module subject;
    (void)state;
    watch_start("locks");
    watch_load(&subject, "subject.so");
    CRITICAL_SECTION *section = subject.calls->make_section();
    watch_unload(&subject);
    const struct nth_stop *stop = told(0x201, section);
    demand_trace(stop->parameter[1]);
    assert_int_equal(((const USHORT *)stop->parameter[2])[0], 's'); /* NOLINT: a parameter */
    assert_int_equal(stop->parameter[3], subject.base);
    watch_forget();
    watch_load(&subject, "subject.so");
    assert_non_null(subject.calls->make_section());
    subject.calls->drop_section();
    watch_unload(&subject);
    watch_demand_none();
}

static void initializing_twice_is_a_stop(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    void *lock = section.LockSemaphore;
    InitializeCriticalSection(&section);
    demand_trace(told(0x211, &section)->parameter[1]);
    assert_int_equal(watch_stop(0)->parameter[2], 0);
    assert_int_equal(watch_stop(0)->parameter[3], 0);
    watch_forget();
    EnterCriticalSection(&section);
    void *second = section.LockSemaphore;
    const CRITICAL_SECTION owned = section;
    InitializeCriticalSection(&section);
    demand_trace(told(0x203, &section)->parameter[1]);
    watch_forget();
    DeleteCriticalSection(&section);
    section = owned; /* the ones that were forgotten, given back */
    section.LockSemaphore = second;
    LeaveCriticalSection(&section);
    (void)told(0x210, &section);
    watch_forget();
    DeleteCriticalSection(&section);
    section.LockSemaphore = lock;
    DeleteCriticalSection(&section);
}

static void a_section_never_made_is_a_stop(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    memset(&section, 0, sizeof(section));
    watch_start("locks");
    EXCEPTION_RECORD record;
    assert_int_equal(nth_guard((void (*)(void *))EnterCriticalSection, &section, &record), FALSE);
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION); /* as ever */
    (void)told(0x210, &section);
    watch_forget();
    DeleteCriticalSection(&section);
    (void)told(0x210, &section);
}

static void what_is_overwritten_is_a_stop_and_put_right(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    void *lock = section.LockSemaphore;
    section.LockSemaphore = &section;
    EnterCriticalSection(&section);
    const struct nth_stop *stop = told(0x205, &section);
    assert_int_equal(stop->parameter[1], (ULONG_PTR)&section);
    assert_int_equal(stop->parameter[2], (ULONG_PTR)lock);
    demand_trace(stop->parameter[3]);
    assert_ptr_equal(section.LockSemaphore, lock);
    watch_forget();
    HANDLE owner = section.OwningThread;
    section.OwningThread = &section;
    EnterCriticalSection(&section);
    stop = told(0x206, &section);
    assert_int_equal(stop->parameter[1], (ULONG_PTR)&section);
    assert_int_equal(stop->parameter[2], (ULONG_PTR)owner);
    assert_int_equal(section.RecursionCount, 2);
    watch_forget();
    section.RecursionCount = 7;
    LeaveCriticalSection(&section);
    stop = told(0x207, &section);
    assert_int_equal(stop->parameter[1], 7);
    assert_int_equal(stop->parameter[2], 2);
    assert_int_equal(section.RecursionCount, 1);
    watch_forget();
    section.RecursionCount = 5; /* it is this thread's to the last */
    LeaveCriticalSection(&section);
    stop = told(0x207, &section);
    assert_int_equal(stop->parameter[1], 5);
    assert_int_equal(stop->parameter[2], 1);
    watch_forget();
    DeleteCriticalSection(&section);
    watch_demand_none();
}

static void deleting_an_owned_section_is_a_stop(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    const CRITICAL_SECTION made = section;
    EnterCriticalSection(&section);
    EnterCriticalSection(&section);
    /* The lock behind it may not go while it is held: the structure alone is taken apart. */
    section.LockSemaphore = NULL;
    DeleteCriticalSection(&section);
    const struct nth_stop *stop = told(0x208, &section);
    assert_int_equal(stop->parameter[1], 2);
    assert_int_equal(stop->parameter[2], self());
    demand_trace(stop->parameter[3]);
    watch_forget();
    section = made;
    nth_process_reset();
}

static void leaving_too_often_is_a_stop(void **state)
{
    CRITICAL_SECTION section;
    CRITICAL_SECTION other;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    InitializeCriticalSection(&other);
    LeaveCriticalSection(&section); /* this thread owns none at all */
    const struct nth_stop *stop = told(0x214, &section);
    assert_int_equal(stop->parameter[1], 0);
    assert_int_equal(stop->parameter[2], self());
    demand_trace(stop->parameter[3]);
    watch_forget();
    EnterCriticalSection(&other);
    LeaveCriticalSection(&section);
    stop = told(0x209, &section);
    assert_int_equal(stop->parameter[2], self());
    watch_forget();
    LeaveCriticalSection(&other);
    DeleteCriticalSection(&section);
    DeleteCriticalSection(&other);
    watch_demand_none();
}

static CRITICAL_SECTION left;
static HANDLE left_heap;
static ULONG leaver;

static void *leave_with_section(void *context)
{
    (void)context;
    leaver = self();
    EnterCriticalSection(&left);
    return NULL;
}

static void *leave_with_heap(void *context)
{
    (void)context;
    leaver = self();
    assert_int_equal(HeapLock(left_heap), TRUE);
    return NULL;
}

static void a_thread_that_ends_owning_a_lock_is_a_stop(void **state)
{
    pthread_t thread;
    (void)state;
    watch_start("locks");
    left_heap = HeapCreate(0, 0, 0);
    InitializeCriticalSection(&left);
    assert_int_equal(pthread_create(&thread, NULL, leave_with_section, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x200);
    assert_int_equal(watch_stop(0)->parameter[0], leaver);
    assert_int_equal(watch_stop(0)->parameter[1], (ULONG_PTR)&left);
    assert_int_equal(watch_stop(0)->parameter[2], 0);
    demand_trace(watch_stop(0)->parameter[3]);
    watch_forget();
    int status = 0;
    const pid_t child = fork(); /* a heap that nobody can unlock any more is left to it */
    if (child == 0) {
        assert_int_equal(pthread_create(&thread, NULL, leave_with_heap, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        watch_demand(0x200, leaver, (ULONG_PTR)left_heap, 0, 0);
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* What is no memory of the program's is refused as ever: no stop says more of it. */
static void a_section_at_a_bad_address_is_no_stop(void **state)
{
    static const char *const items[] = {"locks", "leak"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        EXCEPTION_RECORD record;
        CRITICAL_SECTION section;
        watch_start(items[row]);
        void (*const calls[4])(LPCRITICAL_SECTION) = {EnterCriticalSection, LeaveCriticalSection,
                                                      DeleteCriticalSection,
                                                      InitializeCriticalSection};
        for (unsigned idx = 0; idx < 4; idx++) {
            assert_int_equal(nth_guard((void (*)(void *))calls[idx], NULL, &record), FALSE);
            assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
            assert_int_equal(record.ExceptionInformation[1], 0);
        }
        watch_demand_none();
        if (row == 1) { /* and without the layer nothing is looked at */
            InitializeCriticalSection(&section);
            EnterCriticalSection(&section);
            section.RecursionCount = 2;
            LeaveCriticalSection(&section);
            LeaveCriticalSection(&section);
            DeleteCriticalSection(&section);
            watch_demand_none();
        }
        nth_process_reset();
    }
}

/* ---- the grammar ---- */

static void settings_are_read_from_text(void **state)
{
    struct nth_verifier_settings set;
    (void)state;
    const char *text =
        "leak,pageheap=full:unaligned:size=16-0x20:budget=7,lowres=50000:1000:a.so+b.so,"
        "exclude=c.so,pass=d.so,seed=9,delayed=3:4,depth=5,flags=htc+ust,once,text,"
        "exceptions,log=/a,b:c";
    assert_int_equal(nth_verifier_parse(text, &set, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(set.layers, NTH_VERIFY_LEAK | NTH_VERIFY_HEAPS | NTH_VERIFY_LOWRES);
    assert_int_equal(set.page_heap, NTH_PAGE_HEAP_FULL);
    assert_int_equal(set.page_heap_options, NTH_PAGE_HEAP_UNALIGNED);
    assert_int_equal(set.full_size_min, 16);
    assert_int_equal(set.full_size_max, 32);
    assert_int_equal(set.mapping_budget, 7);
    assert_int_equal(set.lowres_ppm, 50000);
    assert_int_equal(set.lowres_quiet_ms, 1000);
    assert_string_equal(set.lowres_include, "a.so+b.so");
    assert_string_equal(set.lowres_exclude, "c.so");
    assert_string_equal(set.pass_through, "d.so");
    assert_int_equal(set.seed, 9);
    assert_int_equal(set.delayed_count_max, 3);
    assert_int_equal(set.delayed_bytes_max, 4);
    assert_int_equal(set.trace_depth, 5);
    assert_int_equal(set.global_flags, 0x1010);
    assert_true(set.auto_disable_stop && set.plain_log && set.exception_on_stop);
    assert_string_equal(set.log, "/a,b:c");
    assert_int_equal(nth_verifier_parse("lowres", &set, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(set.lowres_ppm, 50000);
    assert_int_equal(set.lowres_quiet_ms, 500);
    assert_int_equal(nth_verifier_parse("fault", &set, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(set.lowres_ppm, 10000);
    assert_int_equal(set.lowres_quiet_ms, 5000);
    assert_int_equal(nth_verifier_parse("basics,flags=0x02000000", &set, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(set.layers, NTH_VERIFY_BASICS);
    assert_int_equal(set.global_flags, 0x02000000);
}

static void bad_settings_are_told_with_their_place(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {"", "character 1: expected leak, heaps, locks"},
        {"leek", "character 1: expected leak, heaps, locks"},
        {"leak,", "character 6: expected leak, heaps, locks"},
        {"leak;heaps", "character 1: expected leak"},
        {"pageheap=half", "character 10: expected light or full, found \"half\""},
        {"pageheap=light:backwards", "character 25: expected full with backwards"},
        {"pageheap=full:size=1-2:random=3", "character 32: expected one of random="},
        {"pageheap=full:size=2-1", "character 23: expected bounds in order"},
        {"pageheap=full:random=101", "character 22: expected a percentage"},
        {"pageheap=full:size=7", "character 21: expected '-' and the upper bound, found the end"},
        {"pageheap=full:size=7k-9", "character 20: expected a number, found \"7k-9\""},
        {"pageheap=full:size=7-k", "character 22: expected a number"},
        {"pageheap=full:guards", "character 15: expected backwards, unaligned, nosync"},
        {"pageheap=full:backwards;", "character 15: expected backwards, unaligned, nosync"},
        {"pageheap=full:dlls=", "character 20: expected names of modules"},
        {"pageheap=full:budget=1000001", "character 22: expected a number of mappings"},
        {"lowres=1000001",
         "character 8: expected parts per million, 0 to 1000000, found \"1000001\""},
        {"lowres=1:x", "character 10: expected milliseconds"},
        {"lowres=1:2:a/b", "character 12: expected names of modules"},
        {"lowres=x", "character 8: expected parts per million"},
        {"fault=10001", "character 7: expected a rate of 1 to 10000, found \"10001\""},
        {"fault=5:x", "character 9: expected seconds"},
        {"fault=x", "character 7: expected a rate of 1 to 10000, found \"x\""},
        {"delayed=x", "character 9: expected a number of blocks"},
        {"delayed=5:x", "character 11: expected a number of bytes"},
        {"leak:heaps", "character 1: expected leak"},
        {"seed=1:2,leak", "character 7: expected ',' or the end"},
        {"flags=htc+", "character 11: expected htc"},
        {"flags=0x1z", "character 7: expected a number"},
        {"depth=1,,leak", "character 9: expected leak, heaps"},
        {"fault=0", "character 8: expected a rate of 1 to 10000, found the end"},
        {"flags=abc", "character 7: expected htc"},
        {"flags=0x4", "character 10: expected global flags of heaps only"},
        {"depth=0", "character 8: expected a depth"},
        {"depth=33", "character 7: expected a depth"},
        {"seed=18446744073709551616", "character 6: expected a number"},
        {"seed=1", "character 7: expected a layer to switch on"},
        {"leak,log=", "character 10: expected a path"},
    };
    struct nth_verifier_settings set;
    (void)state;
    memset(&set, 0x5A, sizeof(set));
    const struct nth_verifier_settings before = set;
    for (unsigned row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        char error[256] = "";
        assert_int_equal(nth_verifier_parse(rows[row].text, &set, error, sizeof(error)),
                         STATUS_INVALID_PARAMETER);
        if (strncmp(error, rows[row].error, strlen(rows[row].error)) != 0) {
            fail_msg("%s: %s", rows[row].text, error);
        }
        assert_memory_equal(&set, &before, sizeof(set));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_section_used_as_it_should_be_is_no_stop),
        TEST(a_section_in_a_freed_block_is_a_stop),
        TEST(a_section_in_an_unloaded_module_is_a_stop),
        TEST(initializing_twice_is_a_stop),
        TEST(a_section_never_made_is_a_stop),
        TEST(what_is_overwritten_is_a_stop_and_put_right),
        TEST(deleting_an_owned_section_is_a_stop),
        TEST(leaving_too_often_is_a_stop),
        TEST(a_thread_that_ends_owning_a_lock_is_a_stop),
        TEST(a_section_at_a_bad_address_is_no_stop),
        TEST(settings_are_read_from_text),
        TEST(bad_settings_are_told_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
