/* SPDX-License-Identifier: MIT
 *
 * The benchmark on the process heap, called directly: default parameters, serialized. */
#ifndef BENCH_API_H
#define BENCH_API_H

#include <ntheap/heap.h>

static inline void *bench_allocate(size_t bytes)
{
    return HeapAlloc(GetProcessHeap(), 0, bytes);
}

static inline void *bench_resize(void *block, size_t bytes)
{
    return block == NULL ? bench_allocate(bytes) : HeapReAlloc(GetProcessHeap(), 0, block, bytes);
}

static inline void bench_release(void *block)
{
    (void)HeapFree(GetProcessHeap(), 0, block);
}

#endif
