/* SPDX-License-Identifier: MIT
 *
 * The recorder: libheaprig-record.so, preloaded into a program, writes down every call of the
 * malloc family that succeeds. Calls the C library only, and nothing in it that allocates.
 *
 * Where it writes: HEAPRIG_RECORD names a directory (trace/raw.h says what lies there). The file is
 * mapped shared and its header tells how much of it holds, so that nothing is lost when the program
 * crashes, calls _exit or is killed. No descriptor stays open: programs close what they do not
 * know. It is opened anew for each further window.
 *
 * Order: one lock. A free is written down before it happens, an allocation after; a realloc happens
 * under the lock. So when an address comes back, its free stands before.
 *
 * fork: all state lies in a page that the kernel wipes in a child, which therefore begins a file of
 * its own at its first call. exec: the environment makes the next image begin one.
 *
 * A call from within the recorder itself (from dlsym, or from a signal handler that came in
 * between) is passed on and not written down. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/raw.h"

#define EXPORTED __attribute__((visibility("default")))

/* Each window of a file is twice the one before: a build starts thousands of processes. */
#define WINDOW_MIN_BYTES ((size_t)1 << 14)
#define WINDOW_MAX_BYTES ((size_t)1 << 22)
#define BOOT_BYTES ((size_t)1 << 16)
#define BOOT_ALIGNMENT ((size_t)16)

/* ---- The allocator below -------------------------------------------------------------------- */

static struct {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void *(*memalign)(size_t alignment, size_t size);
    int (*posix_memalign)(void **block, size_t alignment, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    void *(*valloc)(size_t size);
    void *(*pvalloc)(size_t size);
    void (*free)(void *block);
} real;

enum { UNRESOLVED, RESOLVING, RESOLVED };
static atomic_int real_state;

/* This thread is in the recorder. */
static _Thread_local bool inside;

static void symbol_find(const char *name, void *function)
{
    void *const symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof(symbol));
}

/* The first call comes before there is a second thread; a thread that comes here meanwhile all the
 * same is served from the boot buffer. */
static bool real_ready(void)
{
    int state = UNRESOLVED;
    if (atomic_load_explicit(&real_state, memory_order_acquire) == RESOLVED) {
        return true;
    }
    if (!atomic_compare_exchange_strong(&real_state, &state, RESOLVING)) {
        return state == RESOLVED;
    }
    symbol_find("malloc", &real.malloc);
    symbol_find("calloc", &real.calloc);
    symbol_find("realloc", &real.realloc);
    symbol_find("memalign", &real.memalign);
    symbol_find("posix_memalign", &real.posix_memalign);
    symbol_find("aligned_alloc", &real.aligned_alloc);
    symbol_find("valloc", &real.valloc);
    symbol_find("pvalloc", &real.pvalloc);
    symbol_find("free", &real.free);
    atomic_store_explicit(&real_state, RESOLVED, memory_order_release);
    return true;
}

/* ---- Boot buffer: what dlsym allocates ------------------------------------------------------ */

static alignas(BOOT_ALIGNMENT) char boot[BOOT_BYTES];
static atomic_size_t boot_used;

/* Zeroed, never given back; its size stands in front of it. */
static void *boot_allocate(size_t size)
{
    if (size > BOOT_BYTES - 2 * BOOT_ALIGNMENT) {
        return NULL;
    }
    const size_t whole = (size + 2 * BOOT_ALIGNMENT - 1) & ~(BOOT_ALIGNMENT - 1);
    const size_t start = atomic_fetch_add(&boot_used, whole);
    if (start > BOOT_BYTES - whole) {
        return NULL;
    }
    memcpy(boot + start, &size, sizeof(size));
    return boot + start + BOOT_ALIGNMENT;
}

static bool boot_owns(const void *block)
{
    return (uintptr_t)block - (uintptr_t)boot < BOOT_BYTES;
}

static size_t boot_size(const char *block)
{
    size_t size = 0;
    memcpy(&size, block - BOOT_ALIGNMENT, sizeof(size));
    return size;
}

/* ---- The file ------------------------------------------------------------------------------- */

/* What belongs to this process alone: wiped by the kernel in a child, zeros are a new session with
 * a free lock. */
struct session {
    pthread_mutex_t lock;
    bool begun;
    bool stopped; /* nothing more can be written */
    struct rig_raw_header *header;
    unsigned char *window;
    size_t window_bytes;
    size_t window_used;
    uint64_t window_offset; /* in the file */
    uint64_t used_bytes;
    char path[PATH_MAX];
};

static _Atomic(struct session *) session_page;
static char directory[PATH_MAX]; /* the program may change its environment later */

static _Atomic(uint32_t) thread_count;
static _Thread_local uint32_t thread_number; /* from 1; 0: not yet given */

static char *text_append(char *end, const char *limit, const char *text)
{
    while (end < limit && *text != '\0') {
        *end++ = *text++;
    }
    *end = '\0';
    return end;
}

static void number_print(char text[24], uint64_t number)
{
    char digits[24];
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (unsigned idx = 0; idx < count; idx++) {
        text[idx] = digits[count - 1 - idx];
    }
    text[count] = '\0';
}

static void path_make(char path[PATH_MAX], const char *name)
{
    const char *limit = path + PATH_MAX - 1;
    char *end = text_append(path, limit, directory);
    end = text_append(end, limit, "/");
    (void)text_append(end, limit, name);
}

/* The file never grows past the program's limit, which would be a signal to the program. */
static void *map_shared(int fd, uint64_t offset, size_t bytes)
{
    struct rlimit limit;
    int error = EINTR;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && offset + bytes > limit.rlim_cur) {
        errno = EFBIG;
        return NULL;
    }
    while (error == EINTR) {
        error = posix_fallocate(fd, (off_t)offset, (off_t)bytes);
    }
    if (error != 0) {
        errno = error;
        return NULL;
    }
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(mapped, bytes, MADV_DONTFORK);
    return mapped;
}

/* The number of this file among all files of the directory. */
static bool number_draw(uint64_t *number)
{
    char path[PATH_MAX];
    path_make(path, "count");
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    _Atomic(uint64_t) *count = map_shared(fd, 0, sizeof(uint64_t));
    if (count != NULL) {
        *number = atomic_fetch_add(count, 1);
        (void)munmap(count, sizeof(uint64_t));
    }
    (void)close(fd);
    return count != NULL;
}

/* Begin the file of this process. Its header is whole before its magic is there. */
static bool file_begin(struct session *session)
{
    uint64_t number = 0;
    char name[24];
    if (!number_draw(&number)) {
        return false;
    }
    number_print(name, number);
    path_make(session->path, name);
    const int fd = open(session->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    session->header = map_shared(fd, 0, RIG_RAW_HEADER_BYTES);
    session->window_offset = RIG_RAW_HEADER_BYTES;
    session->window_bytes = WINDOW_MIN_BYTES;
    session->window = map_shared(fd, session->window_offset, session->window_bytes);
    (void)close(fd);
    if (session->header == NULL || session->window == NULL) {
        return false;
    }
    session->header->word_bytes = sizeof(void *);
    session->header->magic = RIG_RAW_MAGIC;
    return true;
}

/* Map the next window of the file. */
static bool window_next(struct session *session)
{
    const uint64_t offset = session->window_offset + session->window_bytes;
    const size_t bytes = session->window_bytes < WINDOW_MAX_BYTES ? session->window_bytes * 2
                                                                  : session->window_bytes;
    const int fd = open(session->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    unsigned char *window = map_shared(fd, offset, bytes);
    const int error = errno;
    (void)close(fd);
    if (window == NULL) {
        errno = error;
        return false;
    }
    (void)munmap(session->window, session->window_bytes);
    session->window = window;
    session->window_bytes = bytes;
    session->window_offset = offset;
    session->window_used = 0;
    return true;
}

/* With the lock held: add an event. Leaves errno alone. */
static void event_write(struct session *session, const uint64_t *words, unsigned count)
{
    const int error = errno;
    if (!session->begun) {
        session->begun = true;
        session->stopped = !file_begin(session);
    }
    for (unsigned idx = 0; idx < count && !session->stopped; idx++) {
        if (session->window_used == session->window_bytes && !window_next(session)) {
            session->stopped = true;
            session->header->stop_reason = (uint32_t)errno;
            break;
        }
        memcpy(session->window + session->window_used, &words[idx], sizeof(words[idx]));
        session->window_used += sizeof(words[idx]);
    }
    if (!session->stopped) {
        session->used_bytes += count * sizeof(words[0]);
        __atomic_store_n(&session->header->used_bytes, session->used_bytes, __ATOMIC_RELEASE);
    }
    errno = error;
}

/* ---- Entering and leaving ------------------------------------------------------------------- */

static bool directory_find(void)
{
    const char *given = getenv("HEAPRIG_RECORD");
    if (given == NULL || *given != '/' || strlen(given) > PATH_MAX - 32) {
        return false;
    }
    memcpy(directory, given, strlen(given) + 1);
    return true;
}

/* The session's page, made at the first call; NULL where nothing is recorded. */
static struct session *session_get(void)
{
    static atomic_bool refused;
    struct session *page = atomic_load_explicit(&session_page, memory_order_acquire);
    if (page != NULL || atomic_load_explicit(&refused, memory_order_relaxed)) {
        return page;
    }
    if (environ == NULL) {
        return NULL; /* so early that nobody can know */
    }
    const size_t bytes = sizeof(struct session);
    void *made = directory_find()
                     ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : MAP_FAILED;
    if (made == MAP_FAILED || madvise(made, bytes, MADV_WIPEONFORK) != 0) {
        atomic_store(&refused, true);
        return NULL;
    }
    if (!atomic_compare_exchange_strong(&session_page, &page, made)) {
        (void)munmap(made, bytes);
        return page;
    }
    return made;
}

/* True when the allocator below can be called; `*session` is where to write, NULL for nowhere. A
 * call that entered leaves again. */
static bool enter(struct session **session, bool *nested)
{
    *session = NULL;
    *nested = inside;
    inside = true;
    const int error = errno;
    const bool ready = real_ready();
    if (ready && !*nested) {
        *session = session_get();
    }
    errno = error;
    return ready;
}

static void leave(bool nested)
{
    inside = nested;
}

static uint32_t thread_get(void)
{
    if (thread_number == 0) {
        thread_number = atomic_fetch_add(&thread_count, 1) + 1;
    }
    return thread_number - 1;
}

/* A block has been made. */
static void *record_made(struct session *session, enum rig_trace_kind kind, size_t alignment,
                         void *block, size_t size)
{
    if (session != NULL && block != NULL) {
        const unsigned align_log2 =
            alignment == 0 ? 0 : (unsigned)__builtin_ctzll((unsigned long long)alignment);
        const uint64_t words[] = {rig_raw_word(kind, align_log2, thread_get()), (uintptr_t)block,
                                  size};
        (void)pthread_mutex_lock(&session->lock);
        event_write(session, words, 3);
        (void)pthread_mutex_unlock(&session->lock);
    }
    return block;
}

/* With the lock held: the block is about to be freed, or was by realloc. */
static void write_free(struct session *session, const void *block)
{
    const uint64_t words[] = {rig_raw_word(RIG_TRACE_FREE, 0, thread_get()), (uintptr_t)block};
    event_write(session, words, 2);
}

/* ---- The family ----------------------------------------------------------------------------- */

EXPORTED void *malloc(size_t size)
{
    struct session *session;
    bool nested;
    void *block = enter(&session, &nested)
                      ? record_made(session, RIG_TRACE_ALLOC, 0, real.malloc(size), size)
                      : boot_allocate(size);
    leave(nested);
    return block;
}

EXPORTED void *calloc(size_t count, size_t each)
{
    struct session *session;
    bool nested;
    size_t size = 0;
    void *block = NULL;
    const bool fits = !__builtin_mul_overflow(count, each, &size);
    if (enter(&session, &nested)) {
        block = record_made(session, RIG_TRACE_CALLOC, 0, real.calloc(count, each), size);
    } else if (fits) {
        block = boot_allocate(size);
    }
    leave(nested);
    return block;
}

EXPORTED void free(void *block)
{
    struct session *session;
    bool nested;
    if (block == NULL || boot_owns(block)) {
        return;
    }
    if (enter(&session, &nested)) {
        if (session != NULL) {
            (void)pthread_mutex_lock(&session->lock);
            write_free(session, block);
            (void)pthread_mutex_unlock(&session->lock);
        }
        real.free(block);
    }
    leave(nested);
}

/* A block of the allocator below, resized under the lock: nobody can write down that he got the
 * old address before it is written down here that the block has left it. */
static void *resize_recorded(struct session *session, void *block, size_t size)
{
    const int error = errno;
    const uintptr_t old = (uintptr_t)block; /* the pointer is dead afterwards, its value is not */
    (void)pthread_mutex_lock(&session->lock);
    errno = 0;
    void *moved = real.realloc(block, size);
    if (moved != NULL) {
        const uint64_t words[] = {rig_raw_word(RIG_TRACE_REALLOC, 0, thread_get()), old,
                                  (uintptr_t)moved, size};
        event_write(session, words, 4);
    } else if (size == 0 && errno == 0) {
        write_free(session, (const void *)old);
    }
    (void)pthread_mutex_unlock(&session->lock);
    if (errno == 0) {
        errno = error;
    }
    return moved;
}

static void *resize_boot(const char *block, size_t size)
{
    void *moved = malloc(size);
    if (moved != NULL) {
        const size_t old_size = boot_size(block);
        memcpy(moved, block, old_size < size ? old_size : size);
    }
    return moved;
}

EXPORTED void *realloc(void *block, size_t size)
{
    struct session *session;
    bool nested;
    void *moved = NULL;
    if (block != NULL && boot_owns(block)) {
        return resize_boot(block, size);
    }
    if (!enter(&session, &nested)) {
        moved = boot_allocate(size);
    } else if (block == NULL) {
        moved = record_made(session, RIG_TRACE_ALLOC, 0, real.realloc(NULL, size), size);
    } else {
        moved = session != NULL ? resize_recorded(session, block, size) : real.realloc(block, size);
    }
    leave(nested);
    return moved;
}

EXPORTED void *reallocarray(void *block, size_t count, size_t each)
{
    size_t size = 0;
    if (__builtin_mul_overflow(count, each, &size)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, size);
}

/* The aligned calls are none that dlsym makes: until it is done there is no block for them. */

EXPORTED void *memalign(size_t alignment, size_t size)
{
    struct session *session;
    bool nested;
    void *block = enter(&session, &nested) ? record_made(session, RIG_TRACE_MEMALIGN, alignment,
                                                         real.memalign(alignment, size), size)
                                           : NULL;
    leave(nested);
    return block;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    struct session *session;
    bool nested;
    void *block = enter(&session, &nested) ? record_made(session, RIG_TRACE_MEMALIGN, alignment,
                                                         real.aligned_alloc(alignment, size), size)
                                           : NULL;
    leave(nested);
    return block;
}

EXPORTED int posix_memalign(void **block, size_t alignment, size_t size)
{
    struct session *session;
    bool nested;
    int status = ENOMEM;
    if (enter(&session, &nested)) {
        status = real.posix_memalign(block, alignment, size);
        if (status == 0) {
            (void)record_made(session, RIG_TRACE_MEMALIGN, alignment, *block, size);
        }
    }
    leave(nested);
    return status;
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

EXPORTED void *valloc(size_t size)
{
    struct session *session;
    bool nested;
    void *block = enter(&session, &nested) ? record_made(session, RIG_TRACE_MEMALIGN, page_bytes(),
                                                         real.valloc(size), size)
                                           : NULL;
    leave(nested);
    return block;
}

EXPORTED void *pvalloc(size_t size)
{
    struct session *session;
    bool nested;
    void *block = NULL;
    if (enter(&session, &nested)) {
        const size_t page = page_bytes();
        block = record_made(session, RIG_TRACE_MEMALIGN, page, real.pvalloc(size),
                            (size + page - 1) & ~(page - 1));
    }
    leave(nested);
    return block;
}
