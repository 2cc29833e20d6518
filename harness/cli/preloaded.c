/* SPDX-License-Identifier: MIT
 *
 * Running a command with a library preloaded: what heaprig record and heaprig verify share. Calls
 * the system. */
#include "cli/preloaded.h"

#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool rig_preloaded_find(const char *file, char *path)
{
    char program[RIG_PATH_BYTES];
    char relative[2 * RIG_PATH_BYTES];
    const ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    const int wanted = snprintf(relative, sizeof(relative), "%s/../lib/%s", program, file);
    return wanted >= 0 && (size_t)wanted < sizeof(relative) && realpath(relative, path) != NULL;
}

static int fail(const struct rig_preloaded *what, const char *which, int error)
{
    (void)fprintf(stderr, "heaprig %s: %s: %s\n", what->teller, which, strerror(error));
    return RIG_EXIT_REFUSED;
}

/* In the child: become the command, or say through `problem` why not. */
static _Noreturn void become(const struct rig_preloaded *what, int problem)
{
    char preload[2 * RIG_PATH_BYTES];
    const char *before = getenv("LD_PRELOAD");
    const bool alone = before == NULL || *before == '\0';
    const int len = snprintf(preload, sizeof(preload), "%s%s%s", what->shared, alone ? "" : ":",
                             alone ? "" : before);
    errno = ENAMETOOLONG;
    if (len >= 0 && (size_t)len < sizeof(preload) && setenv("LD_PRELOAD", preload, 1) == 0 &&
        setenv(what->variable, what->value, 1) == 0) {
        (void)execvp(what->command[0], what->command);
    }
    const int error = errno;
    _exit(write(problem, &error, sizeof(error)) == (ssize_t)sizeof(error) ? 127 : 126);
}

/* Until every process that came of the command has ended: none writes any more. */
static int wait_all(const struct rig_preloaded *what, pid_t child)
{
    int status = 0;
    for (;;) {
        int one = 0;
        const pid_t ended = waitpid(-1, &one, 0);
        if (ended < 0 && errno != EINTR) {
            return status;
        }
        if (ended == child) {
            siginfo_t other = {.si_pid = 0};
            status = one;
            if (waitid(P_ALL, 0, &other, WEXITED | WNOHANG | WNOWAIT) == 0 && other.si_pid == 0) {
                (void)fprintf(stderr, "heaprig %s: %s: waiting for what it left running\n",
                              what->teller, what->command[0]);
            }
        }
    }
}

int rig_preloaded_run(const struct rig_preloaded *what, int *status)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction interrupt;
    struct sigaction quit;
    int problem[2];
    if (pipe2(problem, O_CLOEXEC) != 0) {
        return fail(what, "pipe", errno);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)sigaction(SIGINT, &ignore, &interrupt);
    (void)sigaction(SIGQUIT, &ignore, &quit);
    const pid_t child = fork();
    if (child == 0) {
        (void)sigaction(SIGINT, &interrupt, NULL);
        (void)sigaction(SIGQUIT, &quit, NULL);
        become(what, problem[1]);
    }
    const int fork_error = errno;
    int error = 0;
    (void)close(problem[1]);
    const bool refused = child < 0 || read(problem[0], &error, sizeof(error)) == sizeof(error);
    (void)close(problem[0]);
    *status = child < 0 ? 0 : wait_all(what, child);
    (void)sigaction(SIGINT, &interrupt, NULL);
    (void)sigaction(SIGQUIT, &quit, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    return refused ? fail(what, what->command[0], child < 0 ? fork_error : error) : 0;
}
