/* SPDX-License-Identifier: MIT
 *
 * A program to be recorded: recorded SCENARIO. Sizes from 70001 on are marks that record.sh looks
 * for. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile kept; /* no compiler sees a block come and go */

static volatile size_t too_much = SIZE_MAX / 2 - 4096;

static void *keep(void *block)
{
    kept = block;
    return kept;
}

static void family(void)
{
    void *blocks[8];
    blocks[0] = keep(malloc(70001));
    blocks[1] = keep(calloc(7, 10286));
    blocks[2] = keep(memalign(256, 70003));
    blocks[3] = keep(aligned_alloc(64, 70016));
    if (posix_memalign(&blocks[4], 32, 70005) != 0) {
        abort();
    }
    blocks[5] = keep(valloc(70006));
    blocks[6] = keep(pvalloc(70007));
    blocks[7] = keep(realloc(NULL, 70008));
    blocks[0] = keep(realloc(blocks[0], 70009));
    blocks[7] = keep(reallocarray(blocks[7], 5, 14002));
    free(keep(realloc(blocks[7], 0)));
    for (size_t idx = 0; idx < 7; idx++) {
        free(blocks[idx]);
    }
    free(NULL);
    kept = malloc(too_much); /* fails: not in the trace */
}

enum { RING = 8, ROUNDS = 30000, THREADS = 4 };

static _Atomic(void *) ring[RING];
static pthread_barrier_t together; /* else each may be through before the next one has begun */

/* Allocates into places and frees or resizes what another thread left there. */
static void *exchange(void *context)
{
    uint64_t random = (uintptr_t)context * 0x9E3779B97F4A7C15u + 1;
    for (int round = 0; round < ROUNDS; round++) {
        if (round % 16 == 0) {
            (void)pthread_barrier_wait(&together);
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const size_t bytes = random % 300 + 1;
        void *mine = random % 16 == 0 ? calloc(1, bytes) : malloc(bytes);
        void *other = atomic_exchange(&ring[random / 500 % RING], mine);
        if (random % 3 == 0 && other != NULL) {
            other = realloc(other, random / 7 % 600 + 1);
        }
        free(other);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t all[THREADS];
    (void)pthread_barrier_init(&together, NULL, THREADS);
    for (size_t idx = 0; idx < THREADS; idx++) {
        if (pthread_create(&all[idx], NULL, exchange, (void *)(idx + 1)) != 0) {
            abort();
        }
    }
    for (size_t idx = 0; idx < THREADS; idx++) {
        (void)pthread_join(all[idx], NULL);
    }
    for (size_t idx = 0; idx < RING; idx++) {
        free(atomic_exchange(&ring[idx], NULL));
    }
}

static void wait_for(pid_t child)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) {
        abort();
    }
}

/* The child frees a block of the parent's and makes one of its own; so does the parent. */
static void forks(void)
{
    void *shared = keep(malloc(70101));
    (void)clearenv();
    const pid_t child = fork();
    if (child == 0) {
        free(shared);
        free(keep(malloc(70102)));
        _exit(0);
    }
    wait_for(child);
    free(shared);
    free(keep(malloc(70103)));
}

/* Children forked amid the calls of other threads can go on. */
static void forks_amid_threads(void)
{
    pthread_t thread;
    (void)pthread_barrier_init(&together, NULL, 1);
    if (pthread_create(&thread, NULL, exchange, (void *)9) != 0) {
        abort();
    }
    for (int round = 0; round < 20; round++) {
        const pid_t child = fork();
        if (child == 0) {
            free(keep(malloc(70104)));
            _exit(0);
        }
        wait_for(child);
    }
    (void)pthread_join(thread, NULL);
}

static void executes(const char *self)
{
    kept = malloc(70201);
    (void)execl(self, self, "family", (char *)NULL);
    abort();
}

/* More events than a window holds, in a program that closes what it did not open and went away from
 * where it was. */
static void many(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        (void)close(fd);
    }
    if (chdir("/") != 0) {
        abort();
    }
    errno = 77;
    for (size_t idx = 0; idx < 200000; idx++) {
        free(keep(malloc(idx % 1000)));
    }
    kept = realloc(malloc(1), 70301);
    if (errno != 77) {
        abort();
    }
}

static void no_core_file(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
}

static void aborts(void)
{
    no_core_file();
    kept = malloc(70401);
    abort();
}

static void crashes(void)
{
    no_core_file();
    kept = malloc(70402);
    (void)raise(SIGSEGV);
}

static void is_killed(void)
{
    kept = malloc(70403);
    (void)raise(SIGKILL);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        {"family", family}, {"threads", threads}, {"fork", forks},    {"forks", forks_amid_threads},
        {"many", many},     {"abort", aborts},    {"crash", crashes}, {"kill", is_killed},
    };
    if (argc == 2 && strcmp(argv[1], "exec") == 0) {
        executes(argv[0]);
    }
    for (size_t idx = 0; idx < sizeof(scenarios) / sizeof(scenarios[0]); idx++) {
        if (argc == 2 && strcmp(argv[1], scenarios[idx].name) == 0) {
            scenarios[idx].run();
            return 0;
        }
    }
    (void)fprintf(stderr, "recorded: expected the name of a scenario\n");
    return 2;
}
