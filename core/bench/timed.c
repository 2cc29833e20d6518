/* SPDX-License-Identifier: MIT
 *
 * Runs a program and prints what a bench row prints: seconds, peak KiB, calls (0: unknown). Its
 * output goes to /dev/null.
 *
 *   bench_timed LIBRARY PROGRAM [ARGUMENT...]     LIBRARY "" preloads none */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static _Noreturn void become(const char *library, char **command)
{
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (dup2(nowhere, STDOUT_FILENO) == STDOUT_FILENO &&
        (library[0] == '\0' || setenv("LD_PRELOAD", library, 1) == 0)) {
        (void)execvp(command[0], command);
    }
    perror(command[0]);
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "bench_timed: expected LIBRARY PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    const double began = now();
    const pid_t child = fork();
    if (child == 0) {
        become(argv[1], argv + 2);
    }
    int status = 0;
    struct rusage usage = {.ru_maxrss = 0};
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0) {
        (void)fprintf(stderr, "bench_timed: %s failed\n", argv[2]);
        return 1;
    }
    printf("%.6f %ld 0\n", now() - began, usage.ru_maxrss);
    return 0;
}
