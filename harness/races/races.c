/* SPDX-License-Identifier: MIT
 *
 * Programs of a corpus by several threads at once on one heap (players.h): under TSan, and in every
 * other build.
 *
 * usage: races THREADS [--forks N] [--verify SETTINGS] FILE|FOLDER...
 *
 * With --forks each thread forks up to N times on the way; --verify has the verifier on, as
 * NTHEAP_VERIFIER would. */
#include "players.h"
#include "run/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void refuse(const char *what, const char *expected)
{
    (void)fprintf(stderr, "races: %s: expected %s\n", what, expected);
    exit(2);
}

/* MemorySanitizer's own fork holds locks of its own while core's handler waits for calls in progress,
 * which may want them. */
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define FORKS_NEVER
#endif
#endif

static unsigned forks_of(const char *text)
{
    char *end = NULL;
    const unsigned long forks = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || forks > 10000) {
        refuse(text, "a number of forks, up to 10000");
    }
#ifdef FORKS_NEVER
    refuse("--forks", "another build: MemorySanitizer's fork waits for ever here");
#else
    return (unsigned)forks;
#endif
}

static size_t load(struct rig_program **programs, size_t count, const char *path)
{
    struct rig_paths paths;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    if (!rig_load_paths(&paths, path)) {
        refuse(path, strerror(errno));
    }
    struct rig_program *more = realloc(*programs, (count + paths.count) * sizeof(*more));
    if (more == NULL) {
        refuse(path, "memory for its programs");
    }
    *programs = more;
    for (size_t idx = 0; idx < paths.count; idx++) {
        const char *suffix = strrchr(paths.paths[idx], '.');
        if (suffix != NULL && strcmp(suffix, ".md") == 0) {
            continue;
        }
        if (!rig_load_file(&more[count], paths.paths[idx], error, sizeof(error))) {
            refuse(paths.paths[idx], error);
        }
        count++;
    }
    rig_load_paths_free(&paths);
    return count;
}

int main(int argc, char **argv)
{
    const unsigned long threads = argc < 3 ? 0 : strtoul(argv[1], NULL, 10);
    struct rig_program *programs = NULL;
    size_t count = 0;
    if (threads < 1 || threads > RIG_PLAYERS_MAX) {
        refuse("usage", "a number of threads, up to 64, and programs");
    }
    int first = 2;
    unsigned forks = 0;
    const char *verified = NULL;
    for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0; first += 2) {
        if (strcmp(argv[first], "--forks") == 0) {
            forks = forks_of(argv[first + 1]);
        } else if (strcmp(argv[first], "--verify") == 0) {
            verified = argv[first + 1];
        } else {
            refuse(argv[first], "--forks N or --verify SETTINGS");
        }
    }
    for (int idx = first; idx < argc; idx++) {
        count = load(&programs, count, argv[idx]);
    }
    if (count == 0) {
        refuse(first < argc ? argv[first] : "usage", "a program to play");
    }
    const struct rig_played played =
        rig_players_run((unsigned)threads, forks, verified, programs, count);
    (void)printf("%zu programs, %lu threads, %llu forks, %llu operations, %llu large blocks\n",
                 count, threads, (unsigned long long)played.forks, (unsigned long long)played.calls,
                 (unsigned long long)played.large_count);
    free(programs);
    if (played.forks < threads * forks) {
        (void)fprintf(stderr, "races: the programs are too short for %u forks a thread\n", forks);
        return 1;
    }
    return 0;
}
