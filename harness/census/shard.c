/* SPDX-License-Identifier: MIT
 *
 * All changes of a state, in forked processes that take one after the other. A run that kills its
 * process is a verdict like any other: a new process goes on behind it. */
#include "census.h"

#include "run/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 20000000L
#define STATUS_DONE 0

/* Between the processes. */
struct worker {
    pid_t pid;
    _Atomic uint32_t battery; /* the run in progress */
    _Atomic uint64_t change;  /* 1 + its number; 0: none */
};

struct shared {
    _Atomic uint64_t next;
    _Atomic uint64_t done; /* changes with all their runs */
    _Atomic uint64_t runs;
    _Atomic int stop;
    _Atomic uint32_t name_count;
    struct worker workers[RIG_CENSUS_JOBS_MAX];
};

static void *shared_make(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    RIG_CHECK(memory != MAP_FAILED);
    return memory;
}

static size_t cells(const struct rig_census_sheet *sheet)
{
    return sheet->count * RIG_BATTERY_COUNT;
}

/* ---- In a shard ---- */

static bool chosen(const struct rig_census_options *options, uint64_t change)
{
    uint64_t digest = (change + 1u) * 0x9E3779B97F4A7C15u ^ options->seed;
    digest = (digest ^ digest >> 31) * 0xD6E8FEB86659FD93u;
    return options->every <= 1 || (digest >> 32) % options->every == 0;
}

/* A reason's number. Strings are the subject's own and stand at the same place in every shard. */
static uint8_t number_of(struct shared *shared, const char **names, const char *reason)
{
    const uint32_t count = atomic_load(&shared->name_count);
    for (uint32_t idx = 1; reason != NULL && idx <= count; idx++) {
        if (names[idx] == reason) {
            return (uint8_t)idx;
        }
    }
    if (reason == NULL || count + 1 >= RIG_CENSUS_REASON_MAX) {
        return 0;
    }
    const uint32_t mine =
        atomic_fetch_add(&shared->name_count, 1) + 1; /* a race makes two of a name: summed later */
    names[mine] = reason;
    return (uint8_t)mine;
}

static void allow(unsigned seconds)
{
    const struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};
    (void)setitimer(ITIMER_PROF, &timer, NULL);
}

struct shard {
    const struct rig_census_options *options;
    const struct rig_census_state *state;
    struct rig_census_sheet *sheet;
    struct shared *shared;
    const char **names;
    struct worker *me;
};

static void run_change(const struct shard *shard, struct rig_census_runner *runner, uint64_t number,
                       unsigned from)
{
    const struct rig_census_sheet *sheet = shard->sheet;
    atomic_store(&shard->me->battery, from);
    atomic_store(&shard->me->change, number + 1);
    allow(shard->options->limit_s);
    for (unsigned first = from; first < RIG_BATTERY_COUNT; first++) {
        atomic_store(&shard->me->battery, first);
        const struct rig_census_result result =
            rig_census_run(runner, &sheet->changes[number], first);
        const size_t cell = (size_t)number * RIG_BATTERY_COUNT + first;
        sheet->reasons[cell] = number_of(shard->shared, shard->names, result.reason);
        sheet->verdicts[cell] = (uint8_t)result.verdict;
        atomic_fetch_add(&shard->shared->runs, 1);
    }
    atomic_store(&shard->me->change, 0);
    atomic_fetch_add(&shard->shared->done, 1);
}

static _Noreturn void shard_run(const struct shard *shard, uint64_t resume, unsigned from)
{
    const int nowhere = open("/dev/null", O_WRONLY);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGPROF, SIG_DFL);
    (void)dup2(nowhere, STDERR_FILENO); /* what a dying run says is said again by --only */
    struct rig_census_runner *runner =
        rig_census_runner_create(shard->options->subject, shard->state, shard->options->seed);
    if (resume > 0) {
        run_change(shard, runner, resume - 1, from);
    }
    while (atomic_load(&shard->shared->stop) == 0) {
        const uint64_t number = atomic_fetch_add(&shard->shared->next, 1);
        if (number >= shard->sheet->count) {
            break;
        }
        if (chosen(shard->options, number)) {
            run_change(shard, runner, number, 0);
        }
    }
    _exit(STATUS_DONE);
}

/* ---- Outside ---- */

static bool start(struct shard *shard, struct worker *worker, uint64_t resume, unsigned from)
{
    shard->me = worker;
    const pid_t pid = fork();
    if (pid == 0) {
        shard_run(shard, resume, from);
    }
    worker->pid = pid > 0 ? pid : 0;
    return pid > 0;
}

/* A shard ended: it is done, or it died of a run, which is told, and another one goes on behind. */
static bool ended(struct shard *shard, struct worker *worker, int status)
{
    const uint64_t change = atomic_load(&worker->change);
    const unsigned battery = atomic_load(&worker->battery);
    worker->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_DONE) {
        return true;
    }
    RIG_CHECK(change > 0); /* else the rig itself died */
    const bool hang = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;
    shard->sheet->verdicts[(change - 1) * RIG_BATTERY_COUNT + battery] =
        hang ? RIG_CENSUS_HANG : RIG_CENSUS_CRASH;
    atomic_store(&worker->change, 0);
    return start(shard, worker, change, battery + 1);
}

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double children_s(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct worker *worker_of(struct shared *shared, unsigned jobs, pid_t pid)
{
    for (unsigned idx = 0; idx < jobs; idx++) {
        if (shared->workers[idx].pid == pid) {
            return &shared->workers[idx];
        }
    }
    return NULL;
}

static bool wait_all(struct shard *shard, unsigned jobs)
{
    const struct rig_census_options *options = shard->options;
    unsigned running = jobs;
    bool held = true;
    while (running > 0) {
        int status = 0;
        const pid_t pid = waitpid(-1, &status, WNOHANG);
        struct worker *worker = pid > 0 ? worker_of(shard->shared, jobs, pid) : NULL;
        if (worker != NULL) {
            held = ended(shard, worker, status) && held;
            running -= worker->pid == 0;
            continue;
        }
        if ((options->stop != NULL && *options->stop != 0) ||
            (options->until > 0 && now_s() > options->until)) {
            atomic_store(&shard->shared->stop, 1);
        }
        if (options->progress != NULL) {
            const uint64_t next = atomic_load(&shard->shared->next);
            options->progress(options->context, shard->state,
                              next < shard->sheet->count ? (size_t)next : shard->sheet->count,
                              shard->sheet->count);
        }
        const struct timespec nap = {.tv_nsec = NAP_NS};
        (void)nanosleep(&nap, NULL);
    }
    return held;
}

/* Names that two shards found at once become one. */
static void names_settle(struct rig_census_sheet *sheet, const char *const *names, uint32_t count)
{
    uint8_t as[RIG_CENSUS_REASON_MAX] = {0};
    for (uint32_t idx = 1; idx <= count && idx < RIG_CENSUS_REASON_MAX; idx++) {
        as[idx] = (uint8_t)idx;
        sheet->names[idx] = names[idx];
        for (uint32_t other = 1; other < idx; other++) {
            if (names[other] == names[idx]) {
                as[idx] = (uint8_t)other;
                break;
            }
        }
    }
    for (size_t cell = 0; cell < cells(sheet); cell++) {
        sheet->reasons[cell] = as[sheet->reasons[cell]];
    }
}

bool rig_census_sweep(const struct rig_census_options *options,
                      const struct rig_census_state *state, struct rig_census_sheet *sheet)
{
    struct shared *shared = shared_make(sizeof(*shared));
    const char **names = shared_make(RIG_CENSUS_REASON_MAX * sizeof(*names));
    struct shard shard = {options, state, sheet, shared, names, NULL};
    const double before = children_s();
    bool held = true;
    unsigned started = 0;
    sheet->verdicts = shared_make(cells(sheet) + 1);
    sheet->reasons = shared_make(cells(sheet) + 1);
    for (; started < options->jobs && held; started++) {
        held = start(&shard, &shared->workers[started], 0, 0);
    }
    held = wait_all(&shard, started) && held;
    sheet->run_count = atomic_load(&shared->runs);
    sheet->cpu_s = children_s() - before;
    names_settle(sheet, names, atomic_load(&shared->name_count));
    (void)munmap(shared, sizeof(*shared));
    (void)munmap(names, RIG_CENSUS_REASON_MAX * sizeof(*names));
    return held;
}

void rig_census_sheet_free(struct rig_census_sheet *sheet)
{
    (void)munmap(sheet->verdicts, cells(sheet) + 1);
    (void)munmap(sheet->reasons, cells(sheet) + 1);
}

enum rig_census_verdict rig_census_worst(const struct rig_census_sheet *sheet, size_t change)
{
    const uint8_t *verdicts = &sheet->verdicts[change * RIG_BATTERY_COUNT];
    unsigned worst = RIG_CENSUS_OPEN;
    bool whole = true;
    for (unsigned first = 0; first < RIG_BATTERY_COUNT; first++) {
        worst = verdicts[first] > worst ? verdicts[first] : worst;
        whole = whole && verdicts[first] != RIG_CENSUS_OPEN;
    }
    return whole || rig_census_verdict_bad(worst) ? (enum rig_census_verdict)worst
                                                  : RIG_CENSUS_OPEN;
}
