/* SPDX-License-Identifier: MIT
 *
 * Assertion, status, rounding. Includes nothing of core. */
#ifndef NTH_BASE_H
#define NTH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NTH_MUST_USE __attribute__((warn_unused_result))
#define NTH_NOINLINE __attribute__((noinline))
#define NTH_COLD __attribute__((noinline, cold))
#define NTH_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define NTH_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Outcome of an operation inside core. */
enum nth_status {
    NTH_OK = 0,
    NTH_NO_MEMORY,    /* the page source or a lock table refused, or a limit was met */
    NTH_TOO_LARGE,    /* above the threshold of a heap that cannot grow */
    NTH_BAD_ARGUMENT, /* a handle, pointer or parameter is improper; reported where it should be */
    NTH_CORRUPT,      /* damage was met and reported; nothing was changed */
    NTH_NOT_OWNER,    /* the lock is not held by this thread */
    NTH_ABSENT        /* there is no such thing (end of a walk, nothing free) */
};

_Noreturn void nth_assert_failed(const char *condition, const char *file, int line);

static inline void nth_assert(bool holds, const char *condition, const char *file, int line)
{
    if (NTH_UNLIKELY(!holds)) {
        nth_assert_failed(condition, file, line);
    }
}

/* Our own bug when it fails. Stays on in every build. One condition each. */
#define NTH_ASSERT(condition) nth_assert((condition), #condition, __FILE__, __LINE__)

static inline size_t nth_round_up(size_t bytes, size_t power)
{
    return (bytes + power - 1) & ~(power - 1);
}

static inline size_t nth_round_down(size_t bytes, size_t power)
{
    return bytes & ~(power - 1);
}

static inline uint64_t nth_rotate(uint64_t word, unsigned bits)
{
    return (word << (bits & 63u)) | (word >> ((64u - bits) & 63u));
}

static inline unsigned nth_log2(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

#endif
