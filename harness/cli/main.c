/* SPDX-License-Identifier: MIT
 *
 * heaprig: finds the subcommand and runs it. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define RIG_COMMAND(name, summary) {#name, summary, rig_cli_##name},
#include "commands.def"
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
    (void)puts("Usage: heaprig SUBCOMMAND [ARGUMENT...]\n"
               "Tests heaps that keep the Windows NT heap contract.\n");
    for (size_t idx = 0; idx < COMMAND_COUNT; idx++) {
        (void)printf("  %-10s %s\n", commands[idx].name, commands[idx].summary);
    }
    (void)puts("\nheaprig SUBCOMMAND --help tells more. Exit status: 0 the contract held, 1 a\n"
               "finding, 2 bad usage or bad input (one line on standard error).");
    return RIG_EXIT_HELD;
}

/* "run, show, asm": what a user may have meant. */
static const char *names(void)
{
    static char text[256];
    size_t len = 0;
    for (size_t idx = 0; idx < COMMAND_COUNT && len < sizeof(text); idx++) {
        const int more = snprintf(text + len, sizeof(text) - len, "%s%s", idx == 0 ? "" : ", ",
                                  commands[idx].name);
        len += more > 0 ? (size_t)more : 0;
    }
    return text;
}

static int run(const struct command *command, int argc, char **argv)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "heaprig %s", command->name);
    argv[0] = name;
    return command->run(argc, argv);
}

/* What was printed has arrived, or the user is told; a reader who went away does not care. */
static int finish(int status)
{
    errno = 0;
    const bool failed = fflush(stdout) != 0 || ferror(stdout) != 0;
    if (failed && errno != EPIPE) {
        rig_cli_refuse("heaprig", "standard output: expected to write: %s", strerror(errno));
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        rig_cli_refuse("heaprig", "expected a subcommand: %s", names());
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        return finish(help());
    }
    for (size_t idx = 0; idx < COMMAND_COUNT; idx++) {
        if (strcmp(argv[1], commands[idx].name) == 0) {
            return finish(run(&commands[idx], argc - 1, argv + 1));
        }
    }
    rig_cli_refuse("heaprig", "%s: expected a subcommand: %s", argv[1], names());
}
