/* SPDX-License-Identifier: MIT
 *
 * Memory that a program brings for its heaps, on Windows. */
#ifdef _WIN32
#include "exec_internal.h"

char *rig_memory_reserve(size_t bytes)
{
    char *base = VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_NOACCESS);
    RIG_CHECK(base != NULL);
    return base;
}

void rig_memory_release(char *base, size_t bytes)
{
    (void)bytes;
    (void)VirtualFree(base, 0, MEM_RELEASE);
}

bool rig_memory_open(char *base, size_t bytes)
{
    return VirtualAlloc(base, bytes, MEM_COMMIT, PAGE_READWRITE) != NULL;
}

void rig_memory_close(char *base, size_t bytes)
{
    (void)VirtualFree(base, bytes, MEM_DECOMMIT);
}
#else
typedef int rig_memory_windows_is_empty;
#endif
