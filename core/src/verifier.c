/* SPDX-License-Identifier: MIT
 *
 * The verifier's state: switching on and off, its memory, its lock, its clock and its random
 * numbers. Calls the page source, the lock table and the system. */
#define _GNU_SOURCE
#include "verifier.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"
#include "page.h"
#include "seh.h"

#define CHUNK_FIRST_BYTES ((size_t)NTH_GRANULE_BYTES)
#define CHUNK_LARGEST_BYTES ((size_t)0x400000)
#define COMMIT_STEP_BYTES ((size_t)0x10000)
#define AROUND_FIRST_BYTES ((size_t)0x40000)

static_assert(NTH_GRANULE_BYTES % COMMIT_STEP_BYTES == 0, "a chunk is committed in whole steps");
static_assert(AROUND_FIRST_BYTES % NTH_GRANULE_BYTES == 0, "a chunk is whole granules");

struct nth_verifier nth_verifier;

ULONG nth_verifier_layers(void)
{
    return nth_verifying() ? nth_verifier.layers : 0;
}

ULONG RtlGetNtGlobalFlags(void)
{
    return nth_verifying() ? nth_verifier.global_flags : 0;
}

ULONG nth_thread_number(void)
{
    return (ULONG)syscall(SYS_gettid);
}

uint64_t nth_verifier_now_ms(void)
{
    struct timespec now = {0, 0};
    if (nth_verifier.set.now_ms != NULL) {
        return nth_verifier.set.now_ms(nth_verifier.set.now_context);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The lock is held. */
uint64_t nth_verifier_random(void)
{
    nth_verifier.random += 0x9E3779B97F4A7C15ull;
    return nth_mix(nth_verifier.random);
}

/* ---- The lock ---- */

void *nth_verifier_enter(void)
{
    void *outer = nth_gate_enter(&nth_verifier);
    nth_process.locks->acquire(nth_process.locks->self, nth_verifier.lock);
    nth_self.holds_verifier = true;
    return outer;
}

void nth_verifier_leave(void *outer)
{
    nth_self.holds_verifier = false;
    nth_process.locks->release(nth_process.locks->self, nth_verifier.lock);
    nth_gate_leave(outer);
}

void nth_verifier_abandon(void)
{
    nth_self.holds_verifier = false;
    nth_process.locks->release(nth_process.locks->self, nth_verifier.lock);
    if (nth_load_relaxed(&nth_self.inside) == &nth_verifier) {
        nth_store_release(&nth_self.inside, NULL);
    }
}

/* ---- Memory ---- */

/* The newest chunk of `memory` is the one that is taken from. */
static struct nth_verifier_chunk *chunk_make(struct nth_verifier_chunk **memory, size_t bytes,
                                             size_t commit_bytes)
{
    void *place = NULL;
    if (nth_reserve(NTH_SITE(RESERVE, "verifier.memory"), bytes, &place) != NTH_OK) {
        return NULL;
    }
    if (nth_commit(NTH_SITE(COMMIT, "verifier.memory.first"), place, commit_bytes, false) !=
        NTH_OK) {
        nth_release(NTH_SITE(RELEASE, "verifier.memory.undo"), place, bytes, 0);
        return NULL;
    }
    struct nth_verifier_chunk *chunk = place;
    *chunk = (struct nth_verifier_chunk){
        .next = *memory,
        .bytes = bytes,
        .committed_bytes = commit_bytes,
        .used_bytes = nth_round_up(sizeof(*chunk), 16u),
    };
    *memory = chunk;
    nth_verifier.sums.own_bytes += commit_bytes;
    nth_settle(place);
    return chunk;
}

static struct nth_verifier_chunk *chunk_for(struct nth_verifier_chunk **memory, size_t wanted)
{
    size_t bytes = *memory != NULL ? (*memory)->bytes * 2u : CHUNK_FIRST_BYTES;
    bytes = bytes > CHUNK_LARGEST_BYTES ? CHUNK_LARGEST_BYTES : bytes;
    if (wanted > SIZE_MAX / 2) {
        return NULL;
    }
    wanted = nth_round_up(wanted + sizeof(struct nth_verifier_chunk), NTH_GRANULE_BYTES);
    return chunk_make(memory, bytes < wanted ? wanted : bytes, NTH_PAGE_BYTES);
}

static bool chunk_commit(struct nth_verifier_chunk *chunk, size_t until)
{
    const size_t wanted = nth_round_up(until, COMMIT_STEP_BYTES);
    if (until <= chunk->committed_bytes) {
        return true;
    }
    if (nth_commit(NTH_SITE(COMMIT, "verifier.memory"), (char *)chunk + chunk->committed_bytes,
                   wanted - chunk->committed_bytes, false) != NTH_OK) {
        return false;
    }
    nth_verifier.sums.own_bytes += wanted - chunk->committed_bytes;
    chunk->committed_bytes = wanted;
    return true;
}

static void *take_from(struct nth_verifier_chunk **memory, size_t bytes)
{
    struct nth_verifier_chunk *chunk = *memory;
    bytes = nth_round_up(bytes, 16u);
    if (chunk == NULL || bytes > chunk->bytes - chunk->used_bytes) {
        chunk = chunk_for(memory, bytes);
    }
    if (chunk == NULL || !chunk_commit(chunk, chunk->used_bytes + bytes)) {
        return NULL;
    }
    void *taken = (char *)chunk + chunk->used_bytes;
    chunk->used_bytes += bytes;
    memset(taken, 0, bytes);
    return taken;
}

void *nth_verifier_take(size_t bytes)
{
    return take_from(&nth_verifier.memory, bytes);
}

void *nth_verifier_take_around(size_t bytes)
{
    return take_from(&nth_verifier.memory_around, bytes);
}

static void chunks_drop(struct nth_verifier_chunk **memory)
{
    while (*memory != NULL) {
        struct nth_verifier_chunk *chunk = *memory;
        const size_t bytes = chunk->bytes;
        const size_t committed = chunk->committed_bytes;
        *memory = chunk->next;
        nth_release(NTH_SITE(RELEASE, "verifier.memory"), chunk, bytes, committed);
    }
}

/* ---- On and off ---- */

/* What the global flags ask for besides. */
static void settle(struct nth_verifier_settings *set)
{
    if ((set->global_flags & FLG_APPLICATION_VERIFIER) != 0) {
        set->layers |= NTH_VERIFY_BASICS;
    }
    if ((set->global_flags & FLG_HEAP_PAGE_ALLOCS) != 0) {
        set->layers |= NTH_VERIFY_HEAPS;
        set->page_heap = NTH_PAGE_HEAP_FULL;
    }
    if ((set->page_heap_options & NTH_PAGE_HEAP_LEAKS) != 0) {
        set->page_heap = NTH_PAGE_HEAP_LIGHT;
    }
    if ((set->layers & NTH_VERIFY_HEAPS) != 0 && set->page_heap == NTH_PAGE_HEAP_FULL) {
        set->global_flags |= FLG_HEAP_PAGE_ALLOCS;
    }
}

static void forget(void)
{
    chunks_drop(&nth_verifier.memory);
    chunks_drop(&nth_verifier.memory_around);
    if (nth_verifier.lock != NULL) {
        nth_process.locks->destroy(nth_process.locks->self, nth_verifier.lock);
    }
    memset(&nth_verifier, 0, sizeof(nth_verifier));
}

/* The log is opened for each piece of it: a program may close what it did not open. */
static bool log_opens(const char *path)
{
    const int file = path[0] == '\0' ? STDERR_FILENO
                                     : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file >= 0 && path[0] != '\0') {
        (void)close(file);
    }
    return file >= 0;
}

static bool prepare(void)
{
    struct nth_verifier *all = &nth_verifier;
    if (nth_process.locks->create(nth_process.locks->self, &all->lock) != NTH_SEAM_OK) {
        all->lock = NULL;
        return false;
    }
    all->operations = nth_verifier_take(NTH_VERIFIER_LOG_COUNT * sizeof(*all->operations));
    if (chunk_make(&all->memory_around, AROUND_FIRST_BYTES, AROUND_FIRST_BYTES) == NULL) {
        return false;
    }
    return all->operations != NULL && nth_stops_start();
}

NTSTATUS nth_verifier_start(const struct nth_verifier_settings *settings)
{
    struct nth_verifier *all = &nth_verifier;
    if (!nth_settings_hold(settings) || !log_opens(settings->log)) {
        return STATUS_INVALID_PARAMETER;
    }
    if (nth_verifying() || nth_process.heap_count != 0) {
        return STATUS_UNSUCCESSFUL;
    }
    if (nth_process_start() != NTH_OK) {
        return STATUS_NO_MEMORY;
    }
    all->set = *settings;
    settle(&all->set);
    all->layers = all->set.layers;
    all->global_flags = all->set.global_flags;
    all->marks = nth_verifier_has(NTH_VERIFY_HEAPS);
    all->tracks =
        all->marks || nth_verifier_has(NTH_VERIFY_LEAK) ||
        (all->global_flags & (FLG_HEAP_ENABLE_TAIL_CHECK | FLG_HEAP_ENABLE_FREE_CHECK)) != 0;
    all->random = nth_mix(all->set.seed);
    all->started_ms = nth_verifier_now_ms();
    all->quiet_until_ms = all->started_ms + all->set.lowres_quiet_ms;
    if (!prepare()) {
        forget();
        return STATUS_NO_MEMORY;
    }
    nth_seh_install();
    nth_modules_start();
    nth_store_release(&all->on, 1u);
    nth_modules_look();
    return STATUS_SUCCESS;
}

void nth_verifier_reset(void)
{
    if (nth_load_relaxed(&nth_verifier.on) != 0) {
        nth_store_release(&nth_verifier.on, 0u);
        nth_page_areas_drop();
        forget();
    }
}

NTSTATUS nth_verifier_lowres(ULONG ppm, ULONG quiet_ms)
{
    if (ppm > 1000000u) {
        return STATUS_INVALID_PARAMETER;
    }
    if (!nth_verifying() || !nth_verifier_has(NTH_VERIFY_LOWRES)) {
        return STATUS_UNSUCCESSFUL;
    }
    const uint64_t now = nth_verifier_now_ms();
    void *outer = nth_verifier_enter();
    nth_verifier.set.lowres_ppm = ppm;
    nth_verifier.quiet_until_ms = now + quiet_ms;
    nth_verifier_leave(outer);
    return STATUS_SUCCESS;
}
