/* SPDX-License-Identifier: MIT
 *
 * The end of a child made by fork: at once, and what it reached is kept where coverage is measured,
 * which _exit and abort alone would lose. */
#ifndef NTH_TEST_LEAVE_H
#define NTH_TEST_LEAVE_H

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* Are there in builds with clang's counters only. */
extern int __llvm_profile_write_file(void) __attribute__((weak));                 /* NOLINT */
extern int __llvm_profile_is_continuous_mode_enabled(void) __attribute__((weak)); /* NOLINT */

/* Counters that live in their file are there already, and writing them would be a note. */
static inline void leave_counts(int number)
{
    (void)number;
    if (__llvm_profile_write_file != NULL && (__llvm_profile_is_continuous_mode_enabled == NULL ||
                                              __llvm_profile_is_continuous_mode_enabled() == 0)) {
        (void)__llvm_profile_write_file();
    }
}

static inline _Noreturn void leave(int status)
{
    leave_counts(0);
    _exit(status);
}

/* For a child that is to abort: it does so all the same when the handler is back. */
static inline void leave_by_abort(void)
{
    (void)signal(SIGABRT, __llvm_profile_write_file != NULL ? leave_counts : SIG_DFL);
}

#endif
