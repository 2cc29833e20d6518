/* SPDX-License-Identifier: MIT
 *
 * Hardware faults on purpose: accesses that no sanitizer looks at first, pages without access, and
 * a short trace to compare orders with. */
#ifndef NTH_TEST_WILD_H
#define NTH_TEST_WILD_H

#include <ntheap/types.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#if defined(__clang__)
#define WILD                                                                                       \
    __attribute__((noinline, unused, no_sanitize("address", "memory", "thread", "undefined")))
#else
#define WILD __attribute__((noinline, unused, no_sanitize("address,thread,undefined")))
#endif

#define WILD_PAGE_BYTES ((size_t)4096)

WILD static uint8_t wild_read(uintptr_t address)
{
    return *(volatile uint8_t *)address;
}

WILD static void wild_write(uintptr_t address, uint8_t value)
{
    *(volatile uint8_t *)address = value; /* NOLINT: NULL is one of the addresses */
}

WILD static void wild_call(uintptr_t address)
{
    void (*function)(void) = (void (*)(void))address;
    function();
}

/* `count` pages with the given access, to be unmapped by wild_unmap. */
__attribute__((unused)) static uintptr_t wild_map(size_t count, int access)
{
    void *base = mmap(NULL, count * WILD_PAGE_BYTES, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    return (uintptr_t)base;
}

__attribute__((unused)) static void wild_access(uintptr_t base, size_t count, int access)
{
    assert_int_equal(mprotect((void *)base, count * WILD_PAGE_BYTES, access), 0);
}

__attribute__((unused)) static void wild_unmap(uintptr_t base, size_t count)
{
    assert_int_equal(munmap((void *)base, count * WILD_PAGE_BYTES), 0);
}

/* What happened, a letter an event, in order. */
__attribute__((unused)) static char trace[64];

__attribute__((unused)) static void trace_start(void)
{
    memset(trace, 0, sizeof(trace));
}

__attribute__((unused)) static void trace_add(char event)
{
    size_t len = strlen(trace);
    if (len < sizeof(trace) - 1) {
        trace[len] = event;
    }
}

#endif
