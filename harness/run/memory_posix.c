/* SPDX-License-Identifier: MIT
 *
 * Memory that a program brings for its heaps: address space, opened and closed by the page. */
#ifndef _WIN32
#include "exec_internal.h"

#include <sys/mman.h>

#define ALIGN_BYTES 0x10000u

char *rig_memory_reserve(size_t bytes)
{
    char *place = mmap(NULL, bytes + ALIGN_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    RIG_CHECK(place != MAP_FAILED);
    char *base = (char *)(((uintptr_t)place + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES);
    if (base > place) {
        (void)munmap(place, (size_t)(base - place));
    }
    (void)munmap(base + bytes, ALIGN_BYTES - (size_t)(base - place));
    return base;
}

void rig_memory_release(char *base, size_t bytes)
{
    (void)munmap(base, bytes);
}

bool rig_memory_open(char *base, size_t bytes)
{
    return mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0;
}

void rig_memory_close(char *base, size_t bytes)
{
    RIG_CHECK(mprotect(base, bytes, PROT_NONE) == 0);
    (void)madvise(base, bytes, MADV_DONTNEED);
}
#else
typedef int rig_memory_posix_is_empty;
#endif
