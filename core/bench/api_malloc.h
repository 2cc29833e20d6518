/* SPDX-License-Identifier: MIT
 *
 * The benchmark on malloc: on whichever allocator is preloaded. */
#ifndef BENCH_API_H
#define BENCH_API_H

#include <stdlib.h>

static inline void *bench_allocate(size_t bytes)
{
    return malloc(bytes);
}

static inline void *bench_resize(void *block, size_t bytes)
{
    return realloc(block, bytes);
}

static inline void bench_release(void *block)
{
    free(block);
}

#endif
