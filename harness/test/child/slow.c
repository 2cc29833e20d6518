/* SPDX-License-Identifier: MIT
 *
 * An allocator for record.sh to preload below the recorder: the C library's own, which lets other
 * threads in at the worst moment, right after a block was given back. */
#include <sched.h>
#include <stddef.h>

extern void __libc_free(void *block);
extern void *__libc_realloc(void *block, size_t size);

void free(void *block);
void *realloc(void *block, size_t size);

void free(void *block)
{
    __libc_free(block);
    (void)sched_yield();
}

void *realloc(void *block, size_t size)
{
    void *moved = __libc_realloc(block, size);
    (void)sched_yield();
    return moved;
}
