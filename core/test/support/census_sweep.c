/* SPDX-License-Identifier: MIT
 *
 * Cases of a census in forked shards, verdicts in shared memory. See census.h. */
#include "census.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARD_COUNT 2u
#define BAD_MAX 60u /* bad verdicts after which a shard gives up */

struct shared {
    size_t at[SHARD_COUNT]; /* the case that each shard is about */
    unsigned bad[SHARD_COUNT];
    uint8_t verdicts[];
};

static size_t shared_bytes(size_t count)
{
    return sizeof(struct shared) + count;
}

uint8_t *census_verdicts(size_t count)
{
    struct shared *shared =
        mmap(NULL, shared_bytes(count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return shared->verdicts;
}

static void tell(const struct census_case *bad, enum census_verdict verdict, const char *text)
{
    (void)fprintf(stderr,
                  "census: %s: state %s, field %u, block %u, order %u, %s %p, %u bytes, first "
                  "0x%02x: %s\n",
                  census_verdict_name(verdict), census_state_name(bad->state), bad->field,
                  bad->target, bad->variant, bad->flips ? "bits at" : "bytes at", bad->address,
                  bad->len, bad->bytes[0], text);
}

static void processor_limit(void)
{
    const struct itimerval limit = {.it_value = {.tv_sec = CENSUS_CPU_SECONDS}};
    (void)setitimer(ITIMER_VIRTUAL, &limit, NULL);
}

/* The child of a shard: never returns. */
static void shard_run(const struct census_case *cases, size_t count, struct shared *shared,
                      unsigned shard)
{
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGABRT, SIG_DFL);
    (void)signal(SIGVTALRM, SIG_DFL);
    for (size_t idx = shared->at[shard]; idx < count && shared->bad[shard] < BAD_MAX;
         idx += SHARD_COUNT) {
        char text[128];
        shared->at[shard] = idx;
        processor_limit();
        const enum census_verdict verdict = census_run(&cases[idx], text, sizeof(text));
        if (verdict > CENSUS_HARMLESS) {
            shared->bad[shard]++;
            tell(&cases[idx], verdict, text);
        }
        shared->verdicts[idx] = (uint8_t)verdict;
    }
    shared->at[shard] = count;
    _exit(0);
}

static pid_t shard_start(const struct census_case *cases, size_t count, struct shared *shared,
                         unsigned shard)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        shard_run(cases, count, shared, shard);
    }
    return child;
}

/* A shard that died goes on behind the case that killed it. */
static BOOLEAN shard_ended(const struct census_case *cases, size_t count, struct shared *shared,
                           unsigned shard, int how)
{
    const size_t at = shared->at[shard];
    if (at >= count || shared->bad[shard] >= BAD_MAX) {
        return TRUE;
    }
    shared->bad[shard]++;
    const BOOLEAN hang = WIFSIGNALED(how) && WTERMSIG(how) == SIGVTALRM;
    shared->verdicts[at] = hang ? CENSUS_HANG : CENSUS_CRASH;
    tell(&cases[at], shared->verdicts[at], "the process ended");
    shared->at[shard] = at + SHARD_COUNT;
    return FALSE;
}

void census_sweep(const struct census_case *cases, size_t count, uint8_t *verdicts)
{
    struct shared *shared = (struct shared *)(void *)(verdicts - offsetof(struct shared, verdicts));
    pid_t children[SHARD_COUNT];
    unsigned running = SHARD_COUNT;
    for (unsigned shard = 0; shard < SHARD_COUNT; shard++) {
        shared->at[shard] = shard;
        children[shard] = shard_start(cases, count, shared, shard);
    }
    while (running > 0) {
        int how = 0;
        const pid_t child = waitpid(-1, &how, 0);
        assert_true(child > 0);
        for (unsigned shard = 0; shard < SHARD_COUNT; shard++) {
            if (children[shard] != child) {
                continue;
            }
            if (shard_ended(cases, count, shared, shard, how)) {
                running--;
            } else {
                children[shard] = shard_start(cases, count, shared, shard);
            }
        }
    }
}
