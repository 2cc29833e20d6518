/* SPDX-License-Identifier: MIT
 *
 * The malloc family of libntheap-malloc.so, linked in: POSIX results and errno, alignment, the
 * marks of aligned blocks, threads, fork. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <ntheap/heap.h>
#include <ntheap/verifier.h>

/* What no compiler sees through. */
static volatile size_t huge_bytes = SIZE_MAX;
static volatile size_t half_bytes = (size_t)PTRDIFF_MAX + 1;
static volatile size_t odd_alignment = 48;
static volatile size_t no_alignment = 0;
static void *(*volatile resize_array)(void *block, size_t count, size_t bytes) = reallocarray;

static void fill(void *block, size_t bytes, unsigned char seed)
{
    unsigned char *at = block;
    for (size_t idx = 0; idx < bytes; idx++) {
        at[idx] = (unsigned char)(seed + idx);
    }
}

static void expect_filled(const void *block, size_t bytes, unsigned char seed)
{
    const unsigned char *at = block;
    for (size_t idx = 0; idx < bytes; idx++) {
        assert_int_equal(at[idx], (unsigned char)(seed + idx));
    }
}

static void blocks_come_from_a_heap_of_core(void **state)
{
    (void)state;
    HANDLE heaps[64];
    char *block = malloc(100);
    const DWORD count = GetProcessHeaps(64, heaps);
    int owners = 0;
    for (DWORD idx = 0; idx < count; idx++) {
        PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
        while (HeapWalk(heaps[idx], &entry)) {
            owners += entry.lpData == block && (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        }
    }
    assert_int_equal(owners, 1);
    free(block);
}

static void malloc_zero_gives_distinct_blocks(void **state)
{
    (void)state;
    void *first = malloc(0);
    void *second = malloc(0);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    free(first);
    free(second);
}

static void blocks_are_aligned_to_16(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 3000; bytes += 7) {
        void *block = malloc(bytes);
        assert_int_equal((uintptr_t)block % 16, 0);
        free(block);
    }
}

static void shortage_sets_enomem(void **state)
{
    (void)state;
    errno = 0;
    assert_null(malloc(huge_bytes));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(malloc(half_bytes));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(calloc(half_bytes, 2));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(resize_array(NULL, half_bytes, 2));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(pvalloc(huge_bytes));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(aligned_alloc(64, huge_bytes - 8));
    assert_int_equal(errno, ENOMEM);
}

static void failed_realloc_keeps_the_block(void **state)
{
    (void)state;
    char *block = malloc(1000);
    fill(block, 1000, 3);
    errno = 0;
    assert_null(resize_array(block, half_bytes, 1));
    assert_int_equal(errno, ENOMEM);
    assert_null(resize_array(block, half_bytes, 4));
    expect_filled(block, 1000, 3);
    free(block);
}

/* An address inside its block moves; where it cannot, it stays. */
static void failed_realloc_keeps_an_aligned_block(void **state)
{
    (void)state;
    char *block = aligned_alloc(256, 1000);
    fill(block, 1000, 3);
    errno = 0;
    assert_null(resize_array(block, half_bytes, 1));
    assert_int_equal(errno, ENOMEM);
    expect_filled(block, 1000, 3);
    assert_true(malloc_usable_size(block) >= 1000);
    free(block);
    errno = 0;
    assert_null(aligned_alloc(16, half_bytes)); /* an alignment that every block has */
    assert_int_equal(errno, ENOMEM);
}

/* Up to the last byte that fits, and no byte more. */
static void resizing_an_aligned_block_copies_what_there_is(void **state)
{
    (void)state;
    for (size_t before = 1; before < 200; before += 37) {
        for (size_t after = 1; after < 200; after += 37) {
            char *block = aligned_alloc(128, before);
            fill(block, before, (unsigned char)before);
            errno = 55;
            block = realloc(block, after);
            assert_non_null(block);
            assert_int_equal(errno, 55);
            assert_true(malloc_usable_size(block) >= after);
            expect_filled(block, before < after ? before : after, (unsigned char)before);
            free(block);
        }
    }
}

/* What succeeds leaves errno alone. */
static void success_keeps_errno(void **state)
{
    (void)state;
    void *place = NULL;
    errno = 66;
    void *block = malloc(100);
    block = realloc(block, 3000);
    void *other = calloc(3, 100);
    void *third = aligned_alloc(64, 100);
    assert_int_equal(posix_memalign(&place, 64, 100), 0);
    assert_non_null(block);
    assert_non_null(other);
    assert_non_null(third);
    assert_non_null(place);
    assert_int_equal(errno, 66);
    free(block);
    free(other);
    free(third);
    free(place);
    assert_int_equal(errno, 66);
}

static void calloc_gives_zeros_after_reuse(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 24, 100, 1000, 5000, 20000, 600000};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        for (int round = 0; round < 3; round++) {
            char *dirty = malloc(sizes[idx]);
            memset(dirty, 0xA5, sizes[idx]);
            free(dirty);
            const char *clean = calloc(1, sizes[idx]);
            for (size_t at = 0; at < sizes[idx]; at++) {
                assert_int_equal(clean[at], 0);
            }
            free((void *)(uintptr_t)clean);
        }
    }
}

static void free_keeps_errno(void **state)
{
    (void)state;
    errno = 1234;
    free(NULL);
    assert_int_equal(errno, 1234);
    static const size_t sizes[] = {16, 4000, 100000, 8000000};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        void *block = malloc(sizes[idx]);
        memset(block, 1, sizes[idx]);
        errno = 4321;
        free(block);
        assert_int_equal(errno, 4321);
    }
}

static void realloc_keeps_contents(void **state)
{
    (void)state;
    size_t old_bytes = 1;
    char *block = realloc(NULL, old_bytes);
    fill(block, old_bytes, 9);
    for (size_t bytes = 2; bytes < 3000000; bytes = bytes * 3 / 2 + 1) {
        block = realloc(block, bytes);
        assert_non_null(block);
        expect_filled(block, old_bytes, 9);
        fill(block, bytes, 9);
        old_bytes = bytes;
    }
    for (size_t bytes = old_bytes; bytes > 0; bytes /= 3) {
        block = realloc(block, bytes);
        expect_filled(block, bytes, 9);
    }
    free(block);
}

static void realloc_to_zero_frees(void **state)
{
    (void)state;
    void *block = malloc(100);
    assert_null(realloc(block, 0));
    block = memalign(256, 100);
    assert_null(realloc(block, 0));
}

static void usable_size_is_what_was_asked_for(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 20000; bytes += 13) {
        void *block = malloc(bytes);
        assert_int_equal(malloc_usable_size(block), bytes);
        free(block);
    }
    assert_int_equal(malloc_usable_size(NULL), 0);
}

static void alignments_up_to_64_mib_hold(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 40, 4096, 70000, 700000};
    for (size_t alignment = 8; alignment <= (size_t)64 << 20; alignment *= 2) {
        for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
            void *block = NULL;
            assert_int_equal(posix_memalign(&block, alignment, sizes[idx]), 0);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % alignment, 0);
            assert_true(malloc_usable_size(block) >= sizes[idx]);
            fill(block, malloc_usable_size(block) < 5000 ? malloc_usable_size(block) : 5000, 7);
            free(block);
        }
    }
}

static void aligned_blocks_can_be_resized(void **state)
{
    (void)state;
    for (size_t alignment = 32; alignment <= 65536; alignment *= 2) {
        char *block = aligned_alloc(alignment, 500);
        fill(block, 500, 1);
        block = realloc(block, 5000);
        expect_filled(block, 500, 1);
        block = realloc(block, 100);
        expect_filled(block, 100, 1);
        free(block);
    }
}

static void neighbours_of_aligned_blocks_stay_whole(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    char *blocks[COUNT];
    for (size_t idx = 0; idx < COUNT; idx++) {
        const size_t bytes = idx * 11 % 400;
        blocks[idx] = idx % 3 == 0 ? memalign((size_t)32 << idx % 6, bytes) : malloc(bytes);
        fill(blocks[idx], bytes, (unsigned char)idx);
    }
    for (size_t idx = 0; idx < COUNT; idx += 2) {
        free(blocks[idx]);
        blocks[idx] = NULL;
    }
    for (size_t idx = 1; idx < COUNT; idx += 2) {
        expect_filled(blocks[idx], idx * 11 % 400, (unsigned char)idx);
        free(blocks[idx]);
    }
}

static void improper_alignments_are_refused(void **state)
{
    (void)state;
    void *block = (void *)0x1234;
    errno = 77;
    assert_int_equal(posix_memalign(&block, no_alignment, 10), EINVAL);
    assert_int_equal(posix_memalign(&block, 4, 10), EINVAL);
    assert_int_equal(posix_memalign(&block, odd_alignment / 2, 10), EINVAL);
    assert_int_equal(posix_memalign(&block, 64, huge_bytes - 8), ENOMEM);
    assert_ptr_equal(block, (void *)0x1234);
    assert_int_equal(errno, 77);
    assert_null(aligned_alloc(odd_alignment, 96));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(memalign(no_alignment, 96));
    assert_int_equal(errno, EINVAL);
}

static void page_calls_give_whole_pages(void **state)
{
    (void)state;
    const size_t page_bytes = (size_t)getpagesize();
    char *block = valloc(10);
    assert_int_equal((uintptr_t)block % page_bytes, 0);
    free(block);
    block = pvalloc(0);
    assert_int_equal((uintptr_t)block % page_bytes, 0);
    assert_true(malloc_usable_size(block) >= page_bytes);
    fill(block, page_bytes, 9);
    free(block);
    block = pvalloc(page_bytes);
    assert_true(malloc_usable_size(block) >= page_bytes);
    assert_true(malloc_usable_size(block) < 2 * page_bytes);
    free(block);
    block = pvalloc(page_bytes + 1);
    assert_int_equal((uintptr_t)block % page_bytes, 0);
    fill(block, 2 * page_bytes, 5);
    expect_filled(block, 2 * page_bytes, 5);
    free(block);
}

/* Runs `body` in a child and tells the signal that ended it, 0 for a proper end. */
static int signal_of(void (*body)(void))
{
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void *volatile given; /* hides from the compiler that a block is dead */

static void free_twice(void)
{
    given = malloc(100);
    free(given);
    free(given);
}

static void free_aligned_twice(void)
{
    given = memalign(4096, 100);
    free(given);
    free(given);
}

static void free_inside(void)
{
    given = (char *)malloc(100) + 16;
    free(given);
}

static void resize_inside(void)
{
    given = (char *)malloc(100) + 16;
    given = realloc(given, 200);
}

static void bad_pointers_end_the_process(void **state)
{
    (void)state;
    assert_int_equal(signal_of(free_twice), SIGABRT);
    assert_int_equal(signal_of(free_aligned_twice), SIGABRT);
    assert_int_equal(signal_of(free_inside), SIGABRT);
    assert_int_equal(signal_of(resize_inside), SIGABRT);
}

enum { RING = 64, ROUNDS = 20000 };

static _Atomic(void *) ring[RING];

/* Allocates into slots and frees what another thread left there. */
static void *exchange(void *context)
{
    uint64_t random = (uintptr_t)context * 0x9E3779B97F4A7C15u + 1;
    for (int round = 0; round < ROUNDS; round++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const size_t bytes = random % 500;
        unsigned char *block = random % 16 == 0 ? memalign(64, bytes + 1) : malloc(bytes + 1);
        block[0] = (unsigned char)bytes;
        block[bytes] = (unsigned char)bytes;
        free(atomic_exchange(&ring[random / 500 % RING], block));
    }
    return NULL;
}

static void threads_free_each_others_blocks(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t idx = 0; idx < 4; idx++) {
        assert_int_equal(pthread_create(&threads[idx], NULL, exchange, (void *)(idx + 1)), 0);
    }
    for (size_t idx = 0; idx < 4; idx++) {
        assert_int_equal(pthread_join(threads[idx], NULL), 0);
    }
    for (size_t idx = 0; idx < RING; idx++) {
        free(ring[idx]);
        ring[idx] = NULL;
    }
}

static void use_family(void)
{
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 2 + 1) {
        free(realloc(malloc(bytes), bytes * 2));
    }
}

static void children_forked_amid_threads_can_allocate(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, exchange, (void *)9), 0);
    for (int round = 0; round < 50; round++) {
        assert_int_equal(signal_of(use_family), 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t idx = 0; idx < RING; idx++) {
        free(ring[idx]);
        ring[idx] = NULL;
    }
}

/* ---- The verifier by the environment ---- */

/* The program again, with an environment of its own; what `main` told. */
static int told_with(const char *mode, const char *const *variables)
{
    char profile[512];
    char *environment[8] = {NULL};
    char *words[] = {(char *)"malloc", (char *)mode, NULL};
    const char *counters = getenv("LLVM_PROFILE_FILE"); /* where coverage is measured */
    size_t count = 0;
    int status = 0;
    for (; variables[count] != NULL; count++) {
        environment[count] = (char *)variables[count];
    }
    (void)snprintf(profile, sizeof(profile), "LLVM_PROFILE_FILE=%s",
                   counters != NULL ? counters : "");
    environment[count] = counters != NULL ? profile : NULL;
    const pid_t child = fork();
    if (child == 0) {
        (void)execve("/proc/self/exe", words, environment);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int main_plain(void)
{
    use_family();
    return nth_verifier_lowres(0, 0) == STATUS_UNSUCCESSFUL ? 0 : 1; /* it is not on */
}

/* What is no block is told of, and the program goes on. */
static int main_verified(void)
{
    char *block = malloc(100);
    if (nth_verifier_lowres(0, 0) != STATUS_SUCCESS) {
        return 1;
    }
    given = block + 16;
    if (malloc_usable_size(given) != 0) {
        return 2;
    }
    errno = 0;
    if (realloc(given, 200) != NULL || errno != ENOMEM) {
        return 3;
    }
    free(given);
    if (nth_verifier_stop_count() < 3) {
        return 4;
    }
    free(block);
    use_family();
    return 0;
}

static void the_environment_turns_the_verifier_on(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const empty[] = {"NTHEAP_VERIFIER=", NULL};
    static const char *const others[] = {"NTHEAP_VERIFIE", "", "NTHEAP_VERIFIERS=lowres=0",
                                         "XNTHEAP_VERIFIER=lowres=0", NULL};
    static const char *const heaps[] = {"NTHEAP", "NTHEAP_VERIFIER=heaps,lowres=0,log=/dev/null",
                                        NULL};
    (void)state;
    assert_int_equal(told_with("plain", none), 0);
    assert_int_equal(told_with("plain", empty), 0);
    assert_int_equal(told_with("plain", others), 0);
    assert_int_equal(told_with("verified", heaps), 0);
}

int main(int count, char **words)
{
    if (count > 1) {
        return strcmp(words[1], "plain") == 0 ? main_plain() : main_verified();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_from_a_heap_of_core),
        cmocka_unit_test(malloc_zero_gives_distinct_blocks),
        cmocka_unit_test(blocks_are_aligned_to_16),
        cmocka_unit_test(shortage_sets_enomem),
        cmocka_unit_test(failed_realloc_keeps_the_block),
        cmocka_unit_test(calloc_gives_zeros_after_reuse),
        cmocka_unit_test(failed_realloc_keeps_an_aligned_block),
        cmocka_unit_test(resizing_an_aligned_block_copies_what_there_is),
        cmocka_unit_test(success_keeps_errno),
        cmocka_unit_test(free_keeps_errno),
        cmocka_unit_test(realloc_keeps_contents),
        cmocka_unit_test(realloc_to_zero_frees),
        cmocka_unit_test(usable_size_is_what_was_asked_for),
        cmocka_unit_test(alignments_up_to_64_mib_hold),
        cmocka_unit_test(aligned_blocks_can_be_resized),
        cmocka_unit_test(neighbours_of_aligned_blocks_stay_whole),
        cmocka_unit_test(improper_alignments_are_refused),
        cmocka_unit_test(page_calls_give_whole_pages),
        cmocka_unit_test(bad_pointers_end_the_process),
        cmocka_unit_test(threads_free_each_others_blocks),
        cmocka_unit_test(children_forked_amid_threads_can_allocate),
        cmocka_unit_test(the_environment_turns_the_verifier_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
