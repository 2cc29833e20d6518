/* SPDX-License-Identifier: MIT
 *
 * Subject malloc: the C library's, or the sanitizer's, allocator behind the calls that it has an
 * answer to. It has one heap, no exceptions and no faults are ever caught for it. */
#include <heaprig/subject.h>

#include <stdlib.h>
#include <string.h>

static char the_heap;

/* As much as core's arena may commit: no program can want to fill more, and a sanitizer's allocator
 * would complain aloud about most larger sizes. */
#define BLOCK_BYTES_MAX ((SIZE_T)32 << 20)

static HANDLE malloc_process_heap(void)
{
    return &the_heap;
}

static LPVOID malloc_alloc(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    (void)heap;
    const SIZE_T wanted = bytes == 0 ? 1 : bytes; /* malloc(0) may be NULL; a block is promised */
    if (wanted > BLOCK_BYTES_MAX) {
        return NULL;
    }
    return (flags & HEAP_ZERO_MEMORY) != 0 ? calloc(1, wanted) : malloc(wanted);
}

/* What realloc cannot: zero the growth, since the old size is not known. The rig never asks. */
static LPVOID malloc_realloc(HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes)
{
    (void)heap;
    if ((flags & (HEAP_REALLOC_IN_PLACE_ONLY | HEAP_ZERO_MEMORY)) != 0 || bytes > BLOCK_BYTES_MAX) {
        return NULL;
    }
    return realloc(block, bytes == 0 ? 1 : bytes);
}

static BOOL malloc_free(HANDLE heap, DWORD flags, LPVOID block)
{
    (void)heap;
    (void)flags;
    free(block);
    return TRUE;
}

static BOOLEAN malloc_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    (void)record;
    body(context);
    return TRUE;
}

static void malloc_reset(uint32_t seed)
{
    (void)seed;
}

const struct rig_subject *rig_subject_malloc(void)
{
    static const struct rig_subject subject = {
        .name = "malloc",
        .claims = RIG_CLAIM_BASIC,
        .guard = malloc_guard,
        .reset = malloc_reset,
        .HeapAlloc = malloc_alloc,
        .HeapReAlloc = malloc_realloc,
        .HeapFree = malloc_free,
        .GetProcessHeap = malloc_process_heap,
    };
    return &subject;
}

/* A size that no allocator can serve is NULL here, not the end of the process. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__msan_default_options(void);
const char *__msan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}
