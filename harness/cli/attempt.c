/* SPDX-License-Identifier: MIT
 *
 * Runs in child processes. The child writes down where it is in memory that both share, so that a
 * child that died or hangs has told all that is needed. */
#include "cli/attempt.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_BYTES 65536u   /* of what a dying child says; the rest is not looked at */
#define ASLEEP_FACTOR 10u   /* a child that waits for ever uses no CPU time */
#define EXITED 256          /* so much is added to an exit status, above all signals */
#define SUMMARY "SUMMARY: " /* the last line of a sanitizer's report begins so */

struct shared {
    struct rig_end end;
    bool done;
    struct rig_meant meant[RIG_RECORD_COUNT_MAX];
};

struct rig_attempts {
    struct rig_exec *exec;
    unsigned long timeout_s;
    struct shared *shared;
    int said; /* a file without a name: the child's standard error */
};

/* ---- The child ------------------------------------------------------------------------------ */

static void note(struct rig_end *end, const struct rig_step *step)
{
    end->op = step->op;
    end->step_idx = step->idx;
    (void)snprintf(end->call, sizeof(end->call), "%s", step->call);
}

static void before(void *context, const struct rig_step *step)
{
    struct rig_attempts *attempts = context;
    if (step->phase == RIG_PHASE_PROGRAM && step->idx < RIG_RECORD_COUNT_MAX) {
        attempts->shared->meant[step->idx] = (struct rig_meant){
            .made = true,
            .slot = (uint8_t)step->name,
            .heap = (uint8_t)(step->heap == NULL ? 0 : step->heap->idx),
            .object = (uint8_t)step->object_idx,
        };
    }
    note(&attempts->shared->end, step);
}

static void finding(struct rig_attempts *attempts, enum rig_clause clause)
{
    attempts->shared->end.kind = RIG_END_FINDING;
    attempts->shared->end.clause = clause;
    attempts->shared->done = true;
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct rig_attempts *attempts = context;
    if (judge->broken_count == 0) {
        return;
    }
    note(&attempts->shared->end, step);
    if (step->outcome.stuck) { /* the executor ends the process now */
        finding(attempts, judge->broken[0]);
        _exit(0);
    }
}

static _Noreturn void child(struct rig_attempts *attempts, const struct rig_program *program)
{
    const struct itimerval budget = {.it_value = {.tv_sec = (time_t)attempts->timeout_s}};
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGPROF, SIG_DFL);
    (void)signal(SIGALRM, SIG_DFL);
    (void)setitimer(ITIMER_PROF, &budget, NULL);
    (void)alarm((unsigned)(attempts->timeout_s * ASLEEP_FACTOR));
    (void)dup2(attempts->said, STDERR_FILENO);
    const struct rig_verdict verdict = rig_exec_run(attempts->exec, program);
    if (verdict.found) {
        finding(attempts, verdict.clause);
    }
    attempts->shared->done = true;
    _exit(0);
}

/* ---- What a dying child said ---------------------------------------------------------------- */

/* Of a sanitizer's report its kind and the function, else the first line; numbers left out, which
 * may be addresses or of this process alone. */
static void where_take(char *said, char where[RIG_END_WHERE_BYTES])
{
    char *from = strstr(said, SUMMARY);
    size_t len = 0;
    from = from == NULL ? said : from + strlen(SUMMARY);
    from[strcspn(from, "\n")] = '\0';
    char *in = strstr(from, " in ");
    char *path = strchr(from, '/');
    if (in != NULL && path != NULL && path < in) { /* "kind path:line:column in function" */
        memmove(path, in + 1, strlen(in + 1) + 1);
    }
    for (; *from != '\0' && len + 1 < RIG_END_WHERE_BYTES; from++) {
        if (!isdigit((unsigned char)*from)) {
            where[len++] = *from;
        }
    }
    where[len] = '\0';
}

static void said_read(const struct rig_attempts *attempts, char where[RIG_END_WHERE_BYTES])
{
    static char said[SAID_BYTES];
    const ssize_t got = pread(attempts->said, said, sizeof(said) - 1, 0);
    said[got < 0 ? 0 : got] = '\0';
    where_take(said, where);
}

static struct rig_end ended(const struct rig_attempts *attempts, int status)
{
    struct rig_end end = attempts->shared->end;
    if (attempts->shared->done && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return end;
    }
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end.status = signal != 0 ? signal : EXITED + WEXITSTATUS(status);
    end.kind = signal == SIGPROF || signal == SIGALRM ? RIG_END_HANG : RIG_END_CRASH;
    if (end.kind == RIG_END_CRASH) {
        said_read(attempts, end.where);
    }
    return end;
}

/* ---- Attempts ------------------------------------------------------------------------------- */

struct rig_attempts *rig_attempts_create(const struct rig_cli_how *how)
{
    struct rig_attempts *attempts = calloc(1, sizeof(*attempts));
    if (attempts == NULL) {
        return NULL;
    }
    const struct rig_options options = {
        .subject = how->subject,
        .check_every = (unsigned)how->check_every,
        .judge = true,
        .watch = watch,
        .before = before,
        .context = attempts,
    };
    attempts->timeout_s = how->timeout_s;
    attempts->exec = rig_exec_create(&options);
    attempts->said = memfd_create("said", MFD_CLOEXEC);
    attempts->shared = mmap(NULL, sizeof(*attempts->shared), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (attempts->exec == NULL || attempts->said < 0 || attempts->shared == MAP_FAILED) {
        free(attempts);
        return NULL;
    }
    return attempts;
}

void rig_attempts_destroy(struct rig_attempts *attempts)
{
    (void)munmap(attempts->shared, sizeof(*attempts->shared));
    (void)close(attempts->said);
    rig_exec_destroy(attempts->exec);
    free(attempts);
}

struct rig_end rig_attempt(struct rig_attempts *attempts, const struct rig_program *program)
{
    int status = 0;
    memset(attempts->shared, 0, sizeof(*attempts->shared));
    const bool emptied =
        ftruncate(attempts->said, 0) == 0 && lseek(attempts->said, 0, SEEK_SET) == 0;
    (void)fflush(NULL);
    const pid_t pid = emptied ? fork() : -1;
    if (pid == 0) {
        child(attempts, program);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return (struct rig_end){.kind = RIG_END_NOT_RUN};
    }
    return ended(attempts, status);
}

struct rig_meant rig_attempt_meant(const struct rig_attempts *attempts, unsigned record_idx)
{
    return record_idx < RIG_RECORD_COUNT_MAX ? attempts->shared->meant[record_idx]
                                             : (struct rig_meant){.made = false};
}

/* ---- Ends ----------------------------------------------------------------------------------- */

bool rig_end_same(const struct rig_end *one, const struct rig_end *other)
{
    if (one->kind != other->kind || one->op != other->op || strcmp(one->call, other->call) != 0) {
        return false;
    }
    switch (one->kind) {
    case RIG_END_FINDING:
        return rig_clause_info(one->clause)->rule == rig_clause_info(other->clause)->rule;
    case RIG_END_CRASH:
        return one->status == other->status && strcmp(one->where, other->where) == 0;
    default:
        return true;
    }
}

bool rig_end_confirmed(const struct rig_end *end, const struct rig_cli_how *how,
                       const struct rig_program *program, char line[RIG_CONFIRM_LINE_BYTES])
{
    char same[RIG_CONFIRM_LINE_BYTES] = "held";
    const struct rig_clause_info *info = rig_clause_info(end->clause);
    rig_confirm_program(how, program, end->kind == RIG_END_HANG, line);
    if (end->kind == RIG_END_FINDING) {
        (void)snprintf(same, sizeof(same), "finding %s %s %u", rig_rule_name(info->rule), info->id,
                       end->step_idx);
    } else if (end->kind == RIG_END_HANG) {
        return strncmp(line, "hang ", 5) == 0;
    } else if (end->kind == RIG_END_CRASH) {
        (void)snprintf(same, sizeof(same), "%s %d",
                       end->status >= EXITED ? "exit status" : "killed by signal",
                       end->status % EXITED);
    }
    return strcmp(line, same) == 0;
}

void rig_end_print(const struct rig_end *end, char text[RIG_END_TEXT_BYTES])
{
    const struct rig_clause_info *info = rig_clause_info(end->clause);
    switch (end->kind) {
    case RIG_END_HELD:
        (void)snprintf(text, RIG_END_TEXT_BYTES, "the contract holds");
        break;
    case RIG_END_FINDING:
        (void)snprintf(text, RIG_END_TEXT_BYTES, "rule %s, clause %s, at %s",
                       rig_rule_name(info->rule), info->id, end->call);
        break;
    case RIG_END_HANG:
        (void)snprintf(text, RIG_END_TEXT_BYTES, "a hang in %s", end->call);
        break;
    case RIG_END_CRASH:
        (void)snprintf(text, RIG_END_TEXT_BYTES, "%s %d in %s: %s",
                       end->status >= EXITED ? "exit status" : "signal", end->status % EXITED,
                       end->call, end->where[0] == '\0' ? "nothing was said" : end->where);
        break;
    case RIG_END_NOT_RUN:
        (void)snprintf(text, RIG_END_TEXT_BYTES, "no process could be had");
        break;
    }
}
