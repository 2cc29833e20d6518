/* SPDX-License-Identifier: MIT
 *
 * The malloc family on a heap of its own, for LD_PRELOAD and for linking: libntheap-malloc.so. It
 * calls core through <ntheap/heap.h> only.
 *
 * The heap is made by the first call, whenever that comes: the dynamic linker calls malloc before
 * any constructor has run. A pointer that free or realloc cannot take ends the process, as glibc
 * does; core's report has told by then what is wrong with it.
 *
 * NTHEAP_VERIFIER in the environment switches the verifier on before that heap is made; settings
 * that cannot be read end the process with status 2. Then dlclose looks for leaks, the end of the
 * process tells the sums, and what free cannot take was told of and ends nothing.
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
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <ntheap/heap.h>
#include <ntheap/verifier.h>

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
static atomic_bool verified; /* the verifier is on */

/* ---- The verifier --------------------------------------------------------------------------- */

#define VARIABLE "NTHEAP_VERIFIER="

struct environment {
    int file;
    char bytes[1024];
    size_t len;
    size_t at;
};

static int environment_byte(struct environment *from)
{
    if (from->at == from->len) {
        const ssize_t got = read(from->file, from->bytes, sizeof(from->bytes));
        from->len = got > 0 ? (size_t)got : 0;
        from->at = 0;
    }
    return from->at < from->len ? (unsigned char)from->bytes[from->at++] : -1;
}

/* The variable as the process was started with it: getenv does not work yet when the dynamic linker
 * allocates. False when it is not set. What does not fit is cut, and the last byte is not 0 then.
 */
static bool variable_read(char *text, size_t text_bytes)
{
    struct environment from = {.file = open("/proc/self/environ", O_RDONLY | O_CLOEXEC)};
    const size_t name_bytes = strlen(VARIABLE);
    size_t at = 0; /* in the entry */
    bool ours = true;
    bool found = false;
    for (int byte = 0; from.file >= 0 && !found && (byte = environment_byte(&from)) != -1;) {
        if (at < name_bytes) {
            ours = ours && byte == VARIABLE[at];
        } else if (ours && at - name_bytes < text_bytes) {
            text[at - name_bytes] = (char)byte;
        }
        found = byte == '\0' && ours && at >= name_bytes;
        at = byte == '\0' ? 0 : at + 1;
        ours = byte == '\0' || ours;
    }
    if (from.file >= 0) {
        (void)close(from.file);
    }
    return found;
}

/* Nothing runs half verified. */
__attribute__((noinline, cold, noreturn)) static void refuse(const char *why)
{
    char line[512];
    (void)snprintf(line, sizeof(line), "heaprig: NTHEAP_VERIFIER: %s\n", why);
    (void)!write(STDERR_FILENO, line, strlen(line));
    _exit(2);
}

static void verifier_begin(void)
{
    static atomic_bool asked;
    struct nth_verifier_settings settings;
    char text[2048] = "";
    char error[256];
    if (atomic_exchange(&asked, true) || !variable_read(text, sizeof(text)) || text[0] == '\0') {
        return;
    }
    if (text[sizeof(text) - 1] != '\0') {
        refuse("expected less than 2048 bytes");
    }
    if (!NT_SUCCESS(nth_verifier_parse(text, &settings, error, sizeof(error)))) {
        refuse(error);
    }
    const NTSTATUS status = nth_verifier_start(&settings);
    if (status == STATUS_INVALID_PARAMETER) {
        refuse("log=: expected a file that can be written");
    }
    if (!NT_SUCCESS(status)) {
        refuse("expected memory for the verifier's tables, and no heap before them");
    }
    atomic_store(&verified, true);
}

__attribute__((destructor)) static void verifier_end(void)
{
    if (atomic_load(&verified)) {
        nth_verifier_exit();
    }
}

/* Leaks are told before it returns. */
EXPORTED int dlclose(void *handle)
{
    int (*next)(void *handle) = NULL;
    void *symbol = dlsym(RTLD_NEXT, "dlclose");
    memcpy(&next, &symbol, sizeof(next));
    nth_verifier_look();
    const int result = next(handle);
    nth_verifier_look();
    return result;
}

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
    verifier_begin();
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
           /* what stands before a block of full page heap may not be looked at */
           !(UNLIKELY(atomic_load_explicit(&verified, memory_order_relaxed)) &&
             nth_verifier_knows(address)) &&
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
    if (whole_bytes == (size_t)-1 && atomic_load_explicit(&verified, memory_order_relaxed)) {
        return 0; /* it was told of */
    }
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
    if (UNLIKELY(!RtlFreeHeap(heap_get(), 0, block)) &&
        !atomic_load_explicit(&verified, memory_order_relaxed)) {
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
        if (!atomic_load_explicit(&verified, memory_order_relaxed)) {
            (void)size_of(address);
        }
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
