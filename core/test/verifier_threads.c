/* SPDX-License-Identifier: MIT
 *
 * The verifier under several threads: the books come out right, modules come and go meanwhile, and
 * a fork finds no lock held. */
#include "support/leave.h"
#include "support/watch.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 4u
#define STEP_COUNT 600u
#define SLOT_COUNT 16u

static HANDLE heap;
static unsigned fork_failures;

static void *work(void *context)
{
    char *blocks[SLOT_COUNT];
    uint32_t turn = (uint32_t)(uintptr_t)context;
    memset(blocks, 0, sizeof(blocks));
    for (unsigned step = 0; step < STEP_COUNT; step++) {
        turn = turn * 1103515245u + 12345u;
        char **block = &blocks[turn >> 16 & (SLOT_COUNT - 1u)];
        const SIZE_T bytes = turn >> 20 & 0xFFu;
        if (*block == NULL) {
            *block = HeapAlloc(heap, 0, bytes);
        } else if (turn >> 31 != 0) {
            (void)RtlDisownModuleHeapAllocation(heap, *block);
            *block = HeapReAlloc(heap, 0, *block, bytes * 2u);
        } else {
            (void)HeapFree(heap, 0, *block);
            *block = NULL;
        }
    }
    for (unsigned idx = 0; idx < SLOT_COUNT; idx++) {
        (void)HeapFree(heap, 0, blocks[idx]);
    }
    return NULL;
}

static void *come_and_go(void *context)
{
    (void)context;
    for (unsigned idx = 0; idx < 5u; idx++) {
        struct watch_module subject;
        watch_load(&subject, "subject.so");
        (void)subject.calls->free(heap, subject.calls->allocate(heap, 10));
        watch_unload(&subject);
    }
    return NULL;
}

static void *fork_often(void *context)
{
    (void)context;
    for (unsigned idx = 0; idx < 5u; idx++) {
        int status = 0;
        const pid_t child = fork();
        if (child == 0) {
            void *block = HeapAlloc(heap, 0, 10);
            leave(block != NULL && HeapFree(heap, 0, block) ? 0 : 1);
        }
        fork_failures += waitpid(child, &status, 0) != child || status != 0;
    }
    return NULL;
}

static void run(const char *settings, void *(*beside)(void *context))
{
    pthread_t threads[THREAD_COUNT + 1u];
    struct nth_verifier_summary sums;
    watch_start(settings);
    heap = HeapCreate(0, 0, 0);
    for (uintptr_t idx = 0; idx < THREAD_COUNT; idx++) {
        assert_int_equal(pthread_create(&threads[idx], NULL, work, (void *)(idx + 1u)), 0);
    }
    assert_int_equal(pthread_create(&threads[THREAD_COUNT], NULL, beside, NULL), 0);
    for (unsigned idx = 0; idx <= THREAD_COUNT; idx++) {
        assert_int_equal(pthread_join(threads[idx], NULL), 0);
    }
    nth_verifier_summary(&sums);
    assert_int_equal(sums.live_count, 0);
    assert_int_equal(sums.live_bytes, 0);
    assert_true(sums.disown_count > 0 || nth_verifier_layers() == NTH_VERIFY_HEAPS);
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    assert_int_equal(HeapDestroy(heap), TRUE);
    nth_verifier_summary(&sums);
    assert_int_equal(sums.held_count, 0);
    watch_demand_none();
    nth_process_reset();
}

static void threads_allocate_while_modules_come_and_go(void **state)
{
    (void)state;
    run("leak", come_and_go);
    run("basics,delayed=20", come_and_go);
    run("leak,pageheap=full,delayed=20", come_and_go);
}

static void a_fork_finds_the_verifier_free(void **state)
{
    (void)state;
    fork_failures = 0;
    run("basics,delayed=20", fork_often);
    run("pageheap=full,delayed=20", fork_often);
    assert_int_equal(fork_failures, 0);
}

static RTL_CRITICAL_SECTION section;
static int taken;
static int given_up;

static void *take_section(void *context)
{
    (void)context;
    EnterCriticalSection(&section);
    EnterCriticalSection(&section);
    __atomic_store_n(&taken, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&given_up, __ATOMIC_ACQUIRE)) {
        (void)usleep(100);
    }
    LeaveCriticalSection(&section);
    LeaveCriticalSection(&section);
    return NULL;
}

/* What another thread owned is nobody's in the child, and the verifier knows. */
static void the_heaps_lock_is_free_in_the_child(void **state)
{
    (void)state;
    pthread_t thread;
    int status = 0;
    taken = 0;
    given_up = 0;
    watch_start("locks");
    InitializeCriticalSection(&section);
    heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL);
    assert_non_null(heap);
    assert_int_equal(pthread_create(&thread, NULL, take_section, NULL), 0);
    while (!__atomic_load_n(&taken, __ATOMIC_ACQUIRE)) {
        (void)usleep(100);
    }
    const pid_t child = fork();
    if (child == 0) {
        void *block = HeapAlloc(heap, 0, 10);
        EnterCriticalSection(&section);
        LeaveCriticalSection(&section);
        const BOOL good = block != NULL && HeapFree(heap, 0, block) && HeapDestroy(heap);
        DeleteCriticalSection(&section);
        leave(good && watch_count() == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    __atomic_store_n(&given_up, 1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand_none();
    assert_true(HeapDestroy(heap));
    DeleteCriticalSection(&section);
    watch_demand_none();
    nth_process_reset();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(threads_allocate_while_modules_come_and_go),
        TEST(a_fork_finds_the_verifier_free),
        TEST(the_heaps_lock_is_free_in_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
