/* SPDX-License-Identifier: MIT
 *
 * Probes of caller's memory, each under a frame of its own kind that takes hardware faults before
 * anybody is asked. Calls the frame list and the signal installation only. */
#include "probe.h"

#include "seh.h"

#if defined(__clang__)
#define UNINSTRUMENTED                                                                             \
    __attribute__((noinline, no_sanitize("address", "memory", "thread", "undefined")))
#else
#define UNINSTRUMENTED __attribute__((noinline, no_sanitize("address,thread,undefined")))
#endif

#define NEAR_BYTES 4096u

struct nth_fault_counts nth_faults;

struct range {
    volatile uint8_t *first;
    volatile uint8_t *last;
    BOOLEAN written;
};

/* The one access to memory that may not be there; sanitizers must not look at it first. A byte
 * is written by exchanging it for itself: no other thread's write is lost, and no compiler may
 * turn it into a read, as it may with adding 0. */
UNINSTRUMENTED static void byte_touch(volatile uint8_t *byte, BOOLEAN written)
{
    uint8_t value = *byte;
    while (written && !__atomic_compare_exchange_n(byte, &value, value, FALSE, __ATOMIC_RELAXED,
                                                   __ATOMIC_RELAXED)) {
    }
}

static volatile uint8_t *page_next(volatile uint8_t *byte)
{
    uintptr_t address = (uintptr_t)byte;
    return byte + (NTH_PAGE_BYTES - address % NTH_PAGE_BYTES);
}

static void range_touch(const struct range *range)
{
    volatile uint8_t *byte = range->first;
    while ((uintptr_t)range->last - (uintptr_t)byte >= NTH_PAGE_BYTES) {
        byte_touch(byte, range->written);
        byte = page_next(byte);
    }
    byte_touch(byte, range->written);
    byte_touch(range->last, range->written);
}

/* In a frame of a caller of this thread, which is there: a fault is not to be expected. Further up
 * the stack may end. */
static BOOLEAN range_is_near(const struct range *range)
{
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return (uintptr_t)range->first > here && (uintptr_t)range->last - here < NEAR_BYTES;
}

static BOOLEAN range_probe(const struct range *range)
{
    struct nth_frame frame;
    if (!range_is_near(range)) {
        nth_seh_install(); /* which asks the kernel each time: somebody else may have taken over */
    }
    nth_frame_enter(&frame, NTH_FRAME_PROBE);
    if (setjmp(frame.jump) != 0) {
        return FALSE;
    }
    range_touch(range);
    nth_frame_leave(&frame);
    return TRUE;
}

static BOOLEAN probe(uintptr_t first, size_t bytes, BOOLEAN written)
{
    if (first == 0 || first + bytes < first) {
        return FALSE;
    }
    if (bytes == 0) {
        return TRUE;
    }
    /* NOLINTNEXTLINE: the callers' pointers, which no pointer arithmetic may touch before */
    struct range range = {.first = (uint8_t *)first, .written = written};
    range.last = range.first + (bytes - 1);
    return range_probe(&range);
}

BOOLEAN nth_probe_read(LPCVOID address, size_t bytes)
{
    return probe((uintptr_t)address, bytes, FALSE);
}

BOOLEAN nth_probe_write(PVOID address, size_t bytes)
{
    return probe((uintptr_t)address, bytes, TRUE);
}

void nth_probe_reset(void)
{
    nth_store_relaxed(&nth_faults.in_probe, 0);
    nth_store_relaxed(&nth_faults.in_call, 0);
    nth_store_relaxed(&nth_faults.elsewhere, 0);
    nth_store_relaxed(&nth_faults.watch, NULL);
}
