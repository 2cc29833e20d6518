/* SPDX-License-Identifier: MIT
 *
 * A command run with one of this build's shared libraries loaded before all others. */
#ifndef RIG_CLI_PRELOADED_H
#define RIG_CLI_PRELOADED_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define RIG_PATH_BYTES ((size_t)PATH_MAX)

struct rig_preloaded {
    const char *teller;   /* the subcommand whose name stands before what there is to say */
    char **command;       /* with its arguments, NULL at the end */
    const char *shared;   /* the object that is loaded before all others */
    const char *variable; /* set for the command, */
    const char *value;    /* to this */
};

/** Where this build keeps a shared library: ../lib, seen from this program.
 *
 * Units:  `path` has RIG_PATH_BYTES.
 * Errors: false when there is none. */
bool rig_preloaded_find(const char *file, char *path);

/** Run the command and wait until every process that came of it has ended; `*status` is then the
 * command's own, as of waitpid. An interrupt from the keyboard is for the command. What was to be
 * preloaded before stays so, behind the library.
 *
 * Units:  none.
 * Errors: RIG_EXIT_REFUSED, and one line on standard error, when it could not be run; else 0. */
int rig_preloaded_run(const struct rig_preloaded *what, int *status);

#endif
