/* SPDX-License-Identifier: MIT
 *
 * The malloc family of libntheap-malloc.so, linked in: POSIX results and errno, alignment, the
 * marks of aligned blocks, threads, fork. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* How many blocks of a heap are busy, and whether one of them is `block`. */
static size_t busy_count(HANDLE heap, const void *block, bool *owns)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    size_t count = 0;
    while (HeapWalk(heap, &entry)) {
        const bool busy = (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        count += busy;
        *owns = *owns || (busy && entry.lpData == block);
    }
    return count;
}

/* The heap that the family's blocks are of. */
static HANDLE family(void)
{
    HANDLE heaps[64];
    HANDLE found = NULL;
    char *block = malloc(100);
    const DWORD count = GetProcessHeaps(64, heaps);
    int owners = 0;
    for (DWORD idx = 0; idx < count; idx++) {
        bool owns = false;
        (void)busy_count(heaps[idx], block, &owns);
        found = owns ? heaps[idx] : found;
        owners += owns;
    }
    free(block);
    assert_int_equal(owners, 1);
    return found;
}

static size_t live_count(void)
{
    bool owns = false;
    return busy_count(family(), NULL, &owns);
}

static void blocks_come_from_a_heap_of_core(void **state)
{
    (void)state;
    const size_t before = live_count();
    void *block = malloc(100);
    assert_int_equal(live_count(), before + 1);
    free(block);
    assert_int_equal(live_count(), before);
}

/* What a call has made is gone when it is given back, in each way that it can be. */
static void nothing_is_left_behind(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 5000, 700000};
    const size_t before = live_count();
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        assert_null(realloc(malloc(sizes[idx]), 0));
        assert_null(realloc(memalign(256, sizes[idx]), 0));
        free(realloc(malloc(sizes[idx]), sizes[idx] * 3));
        free(realloc(memalign(256, sizes[idx]), sizes[idx] * 3));
        free(realloc(realloc(memalign(64, sizes[idx]), sizes[idx] + 1), 1));
        assert_null(resize_array(NULL, half_bytes, 1));
        free(calloc(sizes[idx], 3));
    }
    assert_int_equal(live_count(), before);
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

/* The block's own bytes begin within its first `alignment` bytes, and end where it ends. */
static void aligned_blocks_waste_no_more_than_their_alignment(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        for (size_t bytes = 0; bytes < 300; bytes += 23) {
            char *block = memalign(alignment, bytes);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % alignment, 0);
            const size_t over = malloc_usable_size(block) - bytes;
            assert_true(alignment <= 16 ? over == 0 : over <= alignment - 16);
            memset(block, 0x5A, bytes + over);
            free(block);
        }
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
    assert_int_equal(posix_memalign(&block, 64, half_bytes / 65536),
                     ENOMEM); /* the system's word */
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
    assert_true(malloc_usable_size(block) >= 2 * page_bytes);
    assert_true(malloc_usable_size(block) < 3 * page_bytes);
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

/* What stands before its address is no mark any more, even where another block is there now: blocks
 * of one class come back where they were, with what was in them. */
static void free_aligned_twice_with_another_there(void)
{
    enum { COUNT = 64 };
    void *blocks[COUNT];
    for (size_t idx = 0; idx < COUNT; idx++) {
        blocks[idx] = memalign(1024, 100);
    }
    given = blocks[COUNT / 2];
    for (size_t idx = 0; idx < COUNT; idx++) {
        free(blocks[idx]);
    }
    for (size_t idx = 0; idx < 4000; idx++) { /* each place that there is */
        blocks[idx % COUNT] = malloc(1124);
    }
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
    assert_int_equal(signal_of(free_aligned_twice_with_another_there), SIGABRT);
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
        if (random % 16 == 0) {
            block = realloc(block, random % 32 == 0 ? bytes + 20000 : bytes + 1);
        }
        block[0] = (unsigned char)bytes;
        block[bytes] = (unsigned char)bytes;
        free(atomic_exchange(&ring[random / 500 % RING], block));
    }
    return NULL;
}

/* What was aligned moves into a block past the front end's sizes, which takes the lock. */
static void *move_aligned(void *context)
{
    (void)context;
    for (size_t round = 0; round < 12000; round++) {
        const size_t bytes = 20000 + round * 64 % 9000;
        unsigned char *block = realloc(memalign(64, 100), bytes);
        block[0] = (unsigned char)round;
        block[bytes - 1] = (unsigned char)round;
        free(block);
    }
    return NULL;
}

static void threads_move_aligned_blocks_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    const size_t before = live_count();
    for (size_t idx = 0; idx < 4; idx++) {
        assert_int_equal(pthread_create(&threads[idx], NULL, move_aligned, NULL), 0);
    }
    for (size_t idx = 0; idx < 4; idx++) {
        assert_int_equal(pthread_join(threads[idx], NULL), 0);
    }
    assert_true(HeapValidate(family(), 0, NULL));
    assert_in_range(live_count(), before, before + 4); /* the C library keeps something a stack */
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

/* ---- A heap that is locked ---- */

static void *volatile subject;

static void size_asked(void)
{
    (void)malloc_usable_size(subject);
}

static void block_made(void)
{
    subject = malloc(100);
}

static void made_by_realloc(void)
{
    subject = realloc(NULL, 100);
}

static void zeros_made(void)
{
    subject = calloc(1, 100);
}

static void aligned_made(void)
{
    subject = memalign(64, 100);
}

static void block_resized(void)
{
    subject = realloc(subject, 3000);
}

static void block_freed(void)
{
    free(subject);
    subject = NULL;
}

struct holding {
    void (*call)(void);
    _Atomic int at; /* 1: about to call, 2: done */
};

static void *call_once(void *context)
{
    struct holding *holding = context;
    atomic_store(&holding->at, 1);
    holding->call();
    atomic_store(&holding->at, 2);
    return NULL;
}

/* Nobody passes HEAP_NO_SERIALIZE: what changes the heap waits for who has locked it (D60). */
static void expect_waits(HANDLE heap, void (*call)(void))
{
    struct holding holding = {.call = call};
    pthread_t thread;
    assert_true(HeapLock(heap));
    assert_int_equal(pthread_create(&thread, NULL, call_once, &holding), 0);
    while (atomic_load(&holding.at) == 0) {
        (void)usleep(100);
    }
    (void)usleep(20000);
    const int at = atomic_load(&holding.at);
    assert_true(HeapUnlock(heap));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(at, 1);
}

static void calls_wait_for_who_has_locked_the_heap(void **state)
{
    static void (*const makers[])(void) = {block_made, made_by_realloc, zeros_made, aligned_made};
    const HANDLE heap = family();
    (void)state;
    for (size_t idx = 0; idx < sizeof(makers) / sizeof(makers[0]); idx++) {
        expect_waits(heap, makers[idx]);
        assert_non_null(subject);
        expect_waits(heap, size_asked);
        expect_waits(heap, block_resized);
        assert_non_null(subject);
        expect_waits(heap, block_freed);
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

struct start {
    const char *mode;
    const char *const *variables; /* up to 4 and NULL */
    bool no_input;                /* its first file is then number 0 */
    char told[2048];              /* on standard error */
    int status;
};

static void start_child(const struct start *start, char **environment, const int *ends)
{
    char *words[] = {(char *)"malloc", (char *)start->mode, NULL};
    (void)dup2(ends[1], STDERR_FILENO);
    (void)close(ends[0]);
    (void)close(ends[1]);
    if (start->no_input) {
        (void)close(STDIN_FILENO);
    }
    (void)execve("/proc/self/exe", words, environment);
    _exit(127);
}

/* The program again, with an environment of its own, behind it what the test itself was told. */
static void told_with(struct start *start)
{
    static const char *const passed[] = {"LLVM_PROFILE_FILE", "LD_LIBRARY_PATH"};
    char kept[2][1024];
    char *environment[8] = {NULL};
    size_t count = 0;
    size_t len = 0;
    int ends[2];
    for (; start->variables[count] != NULL; count++) {
        environment[count] = (char *)start->variables[count];
    }
    for (size_t idx = 0; idx < 2; idx++) {
        if (getenv(passed[idx]) != NULL) {
            (void)snprintf(kept[idx], sizeof(kept[idx]), "%s=%s", passed[idx], getenv(passed[idx]));
            environment[count++] = kept[idx];
        }
    }
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
        start_child(start, environment, ends);
    }
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && len < sizeof(start->told) - 1; len += (size_t)got) {
        got = read(ends[0], start->told + len, sizeof(start->told) - 1 - len);
        assert_true(got >= 0);
    }
    start->told[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &start->status, 0), child);
}

static void expect_passes(const char *mode, const char *const *variables)
{
    struct start start = {.mode = mode, .variables = variables};
    told_with(&start);
    assert_true(WIFEXITED(start.status));
    assert_int_equal(WEXITSTATUS(start.status), 0);
    start.no_input = true;
    told_with(&start);
    assert_true(WIFEXITED(start.status));
    assert_int_equal(WEXITSTATUS(start.status), 0);
}

/* The file that the environment was read from is closed again. */
static bool environment_is_open(void)
{
    char name[32];
    char target[64];
    bool open = false;
    for (int file = 0; file < 16; file++) {
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", file);
        const ssize_t len = readlink(name, target, sizeof(target) - 1);
        target[len > 0 ? len : 0] = '\0';
        open = open || strstr(target, "environ") != NULL;
    }
    return open;
}

static int main_plain(void)
{
    use_family();
    if (environment_is_open()) {
        return 2;
    }
    return nth_verifier_lowres(0, 0) == STATUS_UNSUCCESSFUL ? 0 : 1; /* it is not on */
}

/* What is no block is told of, and the program goes on. */
static int main_verified(void)
{
    char *block = malloc(100);
    char *byte = malloc(1);
    char *aligned = memalign(256, 100);
    if (nth_verifier_lowres(0, 0) != STATUS_SUCCESS || environment_is_open()) {
        return 1;
    }
    if (malloc_usable_size(byte) != 1 || malloc_usable_size(block) != 100 ||
        malloc_usable_size(aligned) < 100) {
        return 2;
    }
    aligned = realloc(aligned, 300);
    free(byte);
    free(aligned);
    free(memalign(4096, 1));
    if (nth_verifier_stop_count() != 0) {
        return 3;
    }
    given = block + 16;
    if (malloc_usable_size(given) != 0) {
        return 4;
    }
    errno = 0;
    if (realloc(given, 200) != NULL || errno != ENOMEM) {
        return 5;
    }
    (void)close(STDERR_FILENO); /* that a stop cannot be told of is not the program's concern */
    errno = 77;
    free(given);
    if (errno != 77) {
        return 6;
    }
    if (nth_verifier_stop_count() < 3) {
        return 7;
    }
    free(block);
    use_family();
    return 0;
}

/* dlclose tells what the module leaves behind before it returns. */
static int main_leaving(void)
{
    void *module = dlopen(NTH_LEAVER, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module != NULL ? dlsym(module, "leave_behind") : NULL;
    void *(*leave_behind)(size_t bytes) = NULL;
    memcpy(&leave_behind, &symbol, sizeof(symbol));
    if (leave_behind == NULL) {
        return 1;
    }
    given = leave_behind(100);
    if (nth_verifier_stop_count() != 0) {
        return 2;
    }
    if (dlclose(module) != 0) {
        return 3;
    }
    if (nth_verifier_stop_count() != 1) {
        return 4;
    }
    return 0;
}

/* The seal that an address inside its block has before it, and the address: the key, in short. */
static int main_seal(void)
{
    given = memalign(64, 8);
    const uint64_t *address = given;
    (void)fprintf(stderr, "%llx %llx", (unsigned long long)(uintptr_t)address,
                  (unsigned long long)address[-1]);
    return 0;
}

/* Runs before all constructors, and so before the first malloc: in mode "early" it makes a heap. */
static void come_first(int count, char **words, char **environment)
{
    (void)environment;
    if (count > 1 && strcmp(words[1], "early") == 0) {
        (void)HeapCreate(0, 0, 0);
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first_of_all)(int count, char **words,
                                                        char **environment) = come_first;

static void the_environment_turns_the_verifier_on(void **state)
{
    static char filler[3000];
    static const char *const none[] = {NULL};
    static const char *const empty[] = {"NTHEAP_VERIFIER=", NULL};
    static const char *const others[] = {"NTHEAP_VERIFIE", "", "NTHEAP_VERIFIERS=lowres=0",
                                         "XNTHEAP_VERIFIER=lowres=0", NULL};
    static const char *const heaps[] = {"NTHEAP", "NTHEAP_VERIFIER=heaps,lowres=0", NULL};
    static const char *const first[] = {"NTHEAP_VERIFIER=heaps,lowres=0", "NTHEAP_VERIFIER=x",
                                        NULL};
    static const char *const full[] = {"NTHEAP_VERIFIER=pageheap=full,heaps,lowres=0", NULL};
    const char *const behind[] = {filler, "NTHEAP_VERIFIER=heaps,lowres=0", NULL};
    (void)state;
    expect_passes("plain", none);
    expect_passes("plain", empty);
    expect_passes("plain", others);
    expect_passes("verified", heaps);
    expect_passes("verified", first);
    expect_passes("verified", full);
    /* wherever it begins in what is read at a time */
    for (size_t len = 1000; len < 2100; len += len % 1024 < 1000 && len % 1024 > 40 ? 100 : 5) {
        memset(filler, 'N', len);
        filler[len] = '\0';
        struct start start = {.mode = "verified", .variables = behind};
        told_with(&start);
        assert_int_equal(start.status, 0);
    }
}

static void expect_refused(const char *mode, const char *setting, const char *why)
{
    char line[512];
    const char *const variables[] = {setting, NULL};
    struct start start = {.mode = mode, .variables = variables};
    told_with(&start);
    assert_true(WIFEXITED(start.status));
    assert_int_equal(WEXITSTATUS(start.status), 2);
    (void)snprintf(line, sizeof(line), "heaprig: NTHEAP_VERIFIER: %s\n", why);
    assert_string_equal(start.told, line);
}

/* One line that says what is wrong, and status 2: nothing runs half verified. */
static void settings_that_cannot_be_had_end_the_process(void **state)
{
    char error[256];
    char text[2200] = "NTHEAP_VERIFIER=";
    char *const value = text + strlen(text);
    struct nth_verifier_settings settings;
    (void)state;
    assert_int_equal(nth_verifier_parse("nonsense", &settings, error, sizeof(error)),
                     STATUS_INVALID_PARAMETER);
    expect_refused("plain", "NTHEAP_VERIFIER=nonsense", error);
    assert_int_equal(nth_verifier_parse("x", &settings, error, sizeof(error)),
                     STATUS_INVALID_PARAMETER);
    expect_refused("plain", "NTHEAP_VERIFIER=x", error);
    expect_refused("plain", "NTHEAP_VERIFIER=heaps,log=/nonexistent/log",
                   "log=: expected a file that can be written");
    expect_refused("early", "NTHEAP_VERIFIER=heaps",
                   "expected memory for the verifier's tables, and no heap before them");
    /* the longest that is read, and one more: what does not fit is not left out in silence */
    for (size_t len = 0; len < 2034; len += 6) {
        memcpy(value + len, "heaps,", 6);
    }
    (void)strcpy(value + 2034, "lowres=0:1111");
    assert_int_equal(strlen(value), 2047);
    const char *const longest[] = {text, NULL};
    struct start start = {.mode = "verified", .variables = longest};
    told_with(&start);
    assert_int_equal(start.status, 0);
    (void)strcat(value, "1");
    expect_refused("plain", text, "expected less than 2048 bytes");
    (void)strcpy(value + 2047, ",log=/nonexistent/log");
    expect_refused("plain", text, "expected less than 2048 bytes");
}

static void the_end_of_a_verified_process_tells_the_sums(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const leak[] = {"NTHEAP_VERIFIER=leak,lowres=0", NULL};
    struct start start = {.mode = "seal", .variables = leak};
    (void)state;
    told_with(&start);
    assert_int_equal(start.status, 0);
    assert_non_null(strstr(start.told, "heaprig: process "));
    assert_non_null(strstr(start.told, " 0 stops (0 leaks)"));
    start.variables = none;
    told_with(&start);
    assert_int_equal(start.status, 0);
    assert_null(strstr(start.told, "heaprig"));
}

static void a_module_that_is_closed_is_told_of(void **state)
{
    static const char *const leak[] = {"NTHEAP_VERIFIER=leak", NULL};
    struct start start = {.mode = "leaving", .variables = leak};
    (void)state;
    told_with(&start);
    assert_int_equal(start.status, 0);
    assert_non_null(strstr(start.told, "leave_behind"));
}

/* The key behind a seal: the hash is undone. */
static uint64_t key_of_start(void)
{
    static const char *const none[] = {NULL};
    struct start start = {.mode = "seal", .variables = none};
    unsigned long long address = 0;
    unsigned long long seal = 0;
    told_with(&start);
    assert_int_equal(sscanf(start.told, "%llx %llx", &address, &seal), 2);
    uint64_t word = seal ^ (seal >> 32);
    word *= 0x96DE1B173F119089u; /* 0xBF58476D1CE4E5B9 times this is 1 */
    return word ^ address;
}

/* Addresses are alike in their upper bits in any two processes; keys are not. */
static void each_process_has_a_key_of_its_own(void **state)
{
    uint64_t differ = 0;
    (void)state;
    const uint64_t first = key_of_start();
    for (int round = 0; round < 4; round++) {
        differ |= key_of_start() ^ first;
    }
    assert_true(differ >> 48 != 0);
}

int main(int count, char **words)
{
    if (count > 1) {
        static const struct {
            const char *name;
            int (*main)(void);
        } modes[] = {{"plain", main_plain},
                     {"verified", main_verified},
                     {"early", main_plain},
                     {"leaving", main_leaving},
                     {"seal", main_seal}};
        for (size_t idx = 0; idx < sizeof(modes) / sizeof(modes[0]); idx++) {
            if (strcmp(words[1], modes[idx].name) == 0) {
                return modes[idx].main();
            }
        }
        return 126;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_from_a_heap_of_core),
        cmocka_unit_test(nothing_is_left_behind),
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
        cmocka_unit_test(aligned_blocks_waste_no_more_than_their_alignment),
        cmocka_unit_test(neighbours_of_aligned_blocks_stay_whole),
        cmocka_unit_test(improper_alignments_are_refused),
        cmocka_unit_test(page_calls_give_whole_pages),
        cmocka_unit_test(bad_pointers_end_the_process),
        cmocka_unit_test(threads_free_each_others_blocks),
        cmocka_unit_test(threads_move_aligned_blocks_at_once),
        cmocka_unit_test(calls_wait_for_who_has_locked_the_heap),
        cmocka_unit_test(children_forked_amid_threads_can_allocate),
        cmocka_unit_test(the_environment_turns_the_verifier_on),
        cmocka_unit_test(settings_that_cannot_be_had_end_the_process),
        cmocka_unit_test(the_end_of_a_verified_process_tells_the_sums),
        cmocka_unit_test(a_module_that_is_closed_is_told_of),
        cmocka_unit_test(each_process_has_a_key_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
