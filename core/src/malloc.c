/* SPDX-License-Identifier: MIT
 *
 * The malloc family on a heap of its own, for LD_PRELOAD and for linking: libntheap-malloc.so. It
 * calls core through <ntheap/heap.h> only.
 *
 * The heap is made by the first call, whenever that comes: the dynamic linker calls malloc before
 * any constructor has run. A pointer that free or realloc cannot take ends the process, as glibc
 * does; core's report has told by then what is wrong with it.
 *
 * Blocks are 16-aligned. A larger alignment takes a block that is `alignment` bytes longer, and
 * the address handed out lies inside it:
 *
 *     start                      p - 16     p - 8    p (aligned)
 *     | unused, maybe none       | distance | seal   | the caller's bytes ...
 *
 * A block that core hands out as it is has its header at p - 8, so the two can be told apart by
 * that word: the seal is a keyed 64-bit hash of p, which no header equals by accident. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <ntheap/heap.h>

#define EXPORTED __attribute__((visibility("default")))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define NATURAL_BYTES ((size_t)16)
/* Measured: the defaults decommit at every dip, which makes churn ten times slower. */
#define SEGMENT_RESERVE_BYTES ((size_t)64 << 20)
#define SEGMENT_COMMIT_BYTES ((size_t)256 << 10)
#define DECOMMIT_BLOCK_BYTES ((size_t)512 << 10)
#define DECOMMIT_TOTAL_BYTES ((size_t)32 << 20)

/* What lies in front of an address that is not a block's own. */
struct mark {
    uint64_t distance_bytes; /* from the block's start to the address */
    uint64_t seal;
};

_Static_assert(sizeof(struct mark) == NATURAL_BYTES, "fits where the smallest step leaves room");
_Static_assert(sizeof(void *) == 8, "32-bit blocks are 8-aligned, which is not enough for malloc");

static _Atomic(HANDLE) family_heap;
static _Atomic(uint64_t) family_key;

/* ---- The heap ------------------------------------------------------------------------------- */

/* The kernel's random bytes for this process. */
static uint64_t key_draw(void)
{
    uint64_t words[2] = {0, 0};
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    if (bytes != NULL) {
        memcpy(words, bytes, sizeof(words));
    }
    return (words[0] * 0x9E3779B97F4A7C15u) ^ words[1] ^ (uintptr_t)&family_heap;
}

/* Threads that come here at once each make a heap; the first to publish wins. */
__attribute__((noinline, cold)) static HANDLE heap_make(void)
{
    RTL_HEAP_PARAMETERS parameters = {
        .Length = sizeof(parameters),
        .SegmentReserve = SEGMENT_RESERVE_BYTES,
        .SegmentCommit = SEGMENT_COMMIT_BYTES,
        .DeCommitFreeBlockThreshold = DECOMMIT_BLOCK_BYTES,
        .DeCommitTotalFreeThreshold = DECOMMIT_TOTAL_BYTES,
    };
    HANDLE made = RtlCreateHeap(HEAP_GROWABLE, NULL, SEGMENT_RESERVE_BYTES, SEGMENT_COMMIT_BYTES,
                                NULL, &parameters);
    if (made == NULL) {
        return NULL;
    }
    atomic_store(&family_key, key_draw());
    HANDLE first = NULL;
    if (!atomic_compare_exchange_strong(&family_heap, &first, made)) {
        (void)RtlDestroyHeap(made);
        return first;
    }
    return made;
}

static inline HANDLE heap_get(void)
{
    HANDLE heap = atomic_load_explicit(&family_heap, memory_order_acquire);
    return LIKELY(heap != NULL) ? heap : heap_make();
}

/* ---- Addresses ------------------------------------------------------------------------------ */

static inline uint64_t mark_seal(const void *address)
{
    uint64_t word = (uintptr_t)address ^ atomic_load_explicit(&family_key, memory_order_relaxed);
    word *= 0xBF58476D1CE4E5B9u;
    return word ^ (word >> 32);
}

static inline struct mark *mark_of(const void *address)
{
    return (struct mark *)((uintptr_t)address - sizeof(struct mark));
}

static inline bool mark_stands(const void *address)
{
    return ((uintptr_t)address & (2 * NATURAL_BYTES - 1)) == 0 &&
           UNLIKELY(mark_of(address)->seal == mark_seal(address));
}

/* The block that `address`, which may be NULL, was handed out for. */
static inline void *block_of(void *address)
{
    return mark_stands(address) ? (char *)address - mark_of(address)->distance_bytes : address;
}

/* The caller gave what is no block; core has reported it. */
__attribute__((noinline, cold, noreturn)) static void give_up(void)
{
    abort();
}

static inline void *or_no_memory(void *block)
{
    if (UNLIKELY(block == NULL)) {
        errno = ENOMEM;
    }
    return block;
}

static inline void *block_allocate(ULONG flags, size_t size_bytes)
{
    HANDLE heap = heap_get();
    return or_no_memory(LIKELY(heap != NULL) ? RtlAllocateHeap(heap, flags, size_bytes) : NULL);
}

/* `alignment` is a power of two. Leaves errno alone. */
static void *aligned_allocate(size_t alignment, size_t size_bytes)
{
    HANDLE heap = heap_get();
    const bool natural = alignment <= NATURAL_BYTES;
    size_t whole_bytes = size_bytes;
    if (heap == NULL || (!natural && __builtin_add_overflow(size_bytes, alignment, &whole_bytes))) {
        return NULL;
    }
    char *start = RtlAllocateHeap(heap, 0, whole_bytes);
    if (start == NULL || natural) {
        return start;
    }
    const uintptr_t place = (uintptr_t)start + sizeof(struct mark) + alignment - 1;
    char *address = start + ((place & ~(alignment - 1)) - (uintptr_t)start);
    *mark_of(address) = (struct mark){(uint64_t)(address - start), mark_seal(address)};
    return address;
}

static bool is_power(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static void *aligned_or_errno(size_t alignment, size_t size_bytes)
{
    if (!is_power(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return or_no_memory(aligned_allocate(alignment, size_bytes));
}

static size_t size_of(void *address)
{
    void *block = block_of(address);
    const size_t whole_bytes = RtlSizeHeap(heap_get(), 0, block);
    if (whole_bytes == (size_t)-1) {
        give_up();
    }
    return whole_bytes - (size_t)((char *)address - (char *)block);
}

/* An address inside its block: move to a block of its own, which realloc may do at any time. */
__attribute__((noinline)) static void *marked_resize(void *address, size_t size_bytes)
{
    const size_t old_bytes = size_of(address);
    void *moved = block_allocate(0, size_bytes);
    if (moved != NULL) {
        memcpy(moved, address, old_bytes < size_bytes ? old_bytes : size_bytes);
        free(address);
    }
    return moved;
}

/* ---- The family ----------------------------------------------------------------------------- */

EXPORTED void *malloc(size_t size_bytes)
{
    return block_allocate(0, size_bytes);
}

EXPORTED void *calloc(size_t count, size_t each_bytes)
{
    size_t size_bytes = 0;
    if (UNLIKELY(__builtin_mul_overflow(count, each_bytes, &size_bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    return block_allocate(HEAP_ZERO_MEMORY, size_bytes);
}

/* Keeps errno, as POSIX.1-2024 wants. */
EXPORTED void free(void *address)
{
    if (address == NULL) {
        return;
    }
    const int saved = errno;
    void *block = block_of(address);
    if (UNLIKELY(block != address)) {
        mark_of(address)->seal = 0;
    }
    if (UNLIKELY(!RtlFreeHeap(heap_get(), 0, block))) {
        give_up();
    }
    errno = saved;
}

/* Size 0 frees and gives NULL, as glibc does. */
EXPORTED void *realloc(void *address, size_t size_bytes)
{
    if (address == NULL) {
        return block_allocate(0, size_bytes);
    }
    if (UNLIKELY(size_bytes == 0)) {
        free(address);
        return NULL;
    }
    if (mark_stands(address)) {
        return marked_resize(address, size_bytes);
    }
    void *block = RtlReAllocateHeap(heap_get(), 0, address, size_bytes);
    if (UNLIKELY(block == NULL)) {
        (void)size_of(address);
        errno = ENOMEM;
    }
    return block;
}

EXPORTED void *reallocarray(void *address, size_t count, size_t each_bytes)
{
    size_t size_bytes = 0;
    if (UNLIKELY(__builtin_mul_overflow(count, each_bytes, &size_bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(address, size_bytes);
}

EXPORTED int posix_memalign(void **place, size_t alignment, size_t size_bytes)
{
    if (!is_power(alignment) || alignment % sizeof(void *) != 0) {
        return EINVAL;
    }
    const int saved = errno;
    void *address = aligned_allocate(alignment, size_bytes);
    errno = saved;
    if (address == NULL) {
        return ENOMEM;
    }
    *place = address;
    return 0;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size_bytes)
{
    return aligned_or_errno(alignment, size_bytes);
}

EXPORTED void *memalign(size_t alignment, size_t size_bytes)
{
    return aligned_or_errno(alignment, size_bytes);
}

EXPORTED void *valloc(size_t size_bytes)
{
    return aligned_or_errno((size_t)getpagesize(), size_bytes);
}

/* Whole pages, at least one. */
EXPORTED void *pvalloc(size_t size_bytes)
{
    const size_t page_bytes = (size_t)getpagesize();
    const size_t wanted_bytes = size_bytes == 0 ? 1 : size_bytes;
    if (wanted_bytes > SIZE_MAX - page_bytes) {
        errno = ENOMEM;
        return NULL;
    }
    const size_t whole_bytes = (wanted_bytes + page_bytes - 1) & ~(page_bytes - 1);
    return aligned_or_errno(page_bytes, whole_bytes);
}

/* What was asked for: a program may use no more than this says. */
EXPORTED size_t malloc_usable_size(void *address)
{
    return address == NULL ? 0 : size_of(address);
}
