/* SPDX-License-Identifier: MIT
 *
 * The arena: a page source inside one block of address space, deterministic wherever that block
 * lies. Reservations are runs of granules, taken next-fit so that what was released is not handed
 * out again soon; commitment is a bit a page. Its own tables come from mmap, outside the block.
 *
 * A resident arena keeps pages that were committed once accessible to the machine and lets ASan's
 * poison stand for their being uncommitted: no system call and no page fault a program. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "base.h"
#include "page.h"
#include "sanitize.h"

struct nth_arena {
    struct nth_pages pages;
    char *base;
    char *mapped; /* what mmap gave: base is aligned inside it */
    size_t span_bytes;
    size_t table_bytes; /* of this structure with its maps */
    size_t commit_max_pages;
    size_t committed_pages;
    size_t cursor;    /* granule at which the next search starts */
    size_t high_page; /* pages from here on were never committed since the last drop */
    size_t touched_pages;
    size_t reserved_bytes;
    size_t reservation_count;
    bool resident;
    uint64_t *executable; /* a bit a page: committed executable since the last reset */
    bool has_executable;
    uint64_t *used;      /* a bit a granule: reserved */
    uint64_t *committed; /* a bit a page */
    uint64_t *touched;   /* a bit a page: committed since the last drop, so maybe dirty */
};

/* Where an arena would like to be, so that one process is like the next to its caches, and to a
 * fuzzer: free below every sanitizer's shadow, in 32 bits as well. Wherever that is taken it is
 * somewhere else. */
#define PLACE_WANTED 0x10000000u

/* What was touched is kept over a reset, because the next program commits the low pages again. An
 * arena that has touched half as much again as it may commit at once gives the memory of large
 * pieces back when they are decommitted, and all beyond its limit at the next reset: so it takes
 * its limit and little more, whatever runs on it. */
#define SPARE_PART 2u /* of the limit */

/* So many pages at a time cost less to drop than to zero. */
#define DROP_PAGES 16u

static bool bit_get(const uint64_t *map, size_t idx)
{
    return (map[idx / 64] >> (idx % 64)) & 1u;
}

/* Of the word of a map that has bit `from`, those bits that lie in [from, end). */
static uint64_t mask_of(size_t from, size_t end)
{
    const size_t rest = 64 - from % 64;
    const size_t count = end - from < rest ? end - from : rest;
    return (~0ull >> (64 - count)) << from % 64;
}

/* The first bit of the next word. */
static size_t next_word(size_t from)
{
    return from - from % 64 + 64;
}

static void bits_put(uint64_t *map, size_t from, size_t end, bool value)
{
    for (size_t idx = from; idx < end; idx = next_word(idx)) {
        const uint64_t mask = mask_of(idx, end);
        map[idx / 64] = value ? map[idx / 64] | mask : map[idx / 64] & ~mask;
    }
}

static size_t bits_count(const uint64_t *map, size_t from, size_t end)
{
    size_t count = 0;
    for (size_t idx = from; idx < end; idx = next_word(idx)) {
        count += (size_t)__builtin_popcountll(map[idx / 64] & mask_of(idx, end));
    }
    return count;
}

/* The end of the bits that are like the one at `from`. */
static size_t run_end(const uint64_t *map, size_t from, size_t end)
{
    const bool value = bit_get(map, from);
    for (size_t idx = from; idx < end; idx = next_word(idx)) {
        const uint64_t others = (value ? ~map[idx / 64] : map[idx / 64]) & mask_of(idx, end);
        if (others != 0) {
            return idx - idx % 64 + (size_t)__builtin_ctzll(others);
        }
    }
    return end;
}

/* Every run of pages in [from, end) whose bits are set: its place and size. */
static void runs_each(const struct nth_arena *arena, const uint64_t *map, size_t from, size_t end,
                      void (*each)(char *place, size_t bytes))
{
    for (size_t idx = from, last = 0; idx < end; idx = last) {
        last = run_end(map, idx, end);
        if (bit_get(map, idx)) {
            each(arena->base + idx * NTH_PAGE_BYTES, (last - idx) * NTH_PAGE_BYTES);
        }
    }
}

static size_t granule_count(const struct nth_arena *arena)
{
    return arena->span_bytes / NTH_GRANULE_BYTES;
}

/* First run of `count` free granules at or after `from`, or the span's end. */
static size_t find_run(const struct nth_arena *arena, size_t from, size_t count)
{
    for (size_t idx = from, last = 0; idx < granule_count(arena); idx = last) {
        last = run_end(arena->used, idx, granule_count(arena));
        if (!bit_get(arena->used, idx) && last - idx >= count) {
            return idx;
        }
    }
    return granule_count(arena);
}

static enum nth_seam_status arena_reserve(void *self, const struct nth_site *site, size_t bytes,
                                          void **base)
{
    struct nth_arena *arena = self;
    (void)site;
    const size_t count = bytes / NTH_GRANULE_BYTES + (bytes % NTH_GRANULE_BYTES != 0);
    size_t first = find_run(arena, arena->cursor, count);
    if (first == granule_count(arena)) {
        first = find_run(arena, 0, count);
    }
    if (bytes == 0 || first == granule_count(arena)) {
        return NTH_SEAM_REFUSED;
    }
    bits_put(arena->used, first, first + count, true);
    arena->cursor = first + count;
    arena->reserved_bytes += bytes;
    arena->reservation_count++;
    *base = arena->base + first * NTH_GRANULE_BYTES;
    return NTH_SEAM_OK;
}

static size_t page_of(const struct nth_arena *arena, const void *place)
{
    return (size_t)((const char *)place - arena->base) / NTH_PAGE_BYTES;
}

static void run_forget(char *place, size_t bytes)
{
    nth_forget(place, bytes);
}

static void run_zero(char *place, size_t bytes)
{
    memset(place, 0, bytes);
}

/* Pages that are not committed become so: accessible and zero. */
static void pages_open(struct nth_arena *arena, size_t first, size_t end)
{
    char *place = arena->base + first * NTH_PAGE_BYTES;
    const size_t count = end - first;
    const bool dropped = !arena->resident && count >= DROP_PAGES &&
                         madvise(place, count * NTH_PAGE_BYTES, MADV_DONTNEED) == 0;
    runs_each(arena, arena->touched, first, end, run_forget);
    if (!dropped) {
        runs_each(arena, arena->touched, first, end, run_zero);
    }
    arena->touched_pages += count - bits_count(arena->touched, first, end);
    bits_put(arena->committed, first, end, true);
    bits_put(arena->touched, first, end, true);
}

/* The machine's own protection; a resident arena needs it for pages that were never touched. */
static bool pages_access(struct nth_arena *arena, void *base, size_t first, size_t count,
                         bool executable)
{
    if (arena->resident && bits_count(arena->touched, first, first + count) == count &&
        !executable) {
        return true;
    }
    if (executable) {
        bits_put(arena->executable, first, first + count, true);
        arena->has_executable = true;
    }
    const int access = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    return mprotect(base, count * NTH_PAGE_BYTES, access) == 0;
}

static enum nth_seam_status arena_commit(void *self, const struct nth_site *site, void *base,
                                         size_t bytes, BOOLEAN executable)
{
    struct nth_arena *arena = self;
    (void)site;
    const size_t first = page_of(arena, base);
    const size_t count = bytes / NTH_PAGE_BYTES;
    const size_t end = first + count;
    const size_t fresh = count - bits_count(arena->committed, first, end);
    if (fresh > arena->commit_max_pages - arena->committed_pages) {
        return NTH_SEAM_REFUSED;
    }
    if (!pages_access(arena, base, first, count, executable != FALSE)) {
        return NTH_SEAM_REFUSED;
    }
    for (size_t idx = first, last = 0; idx < end; idx = last) {
        last = run_end(arena->committed, idx, end);
        if (!bit_get(arena->committed, idx)) {
            pages_open(arena, idx, last);
        }
    }
    arena->high_page = end > arena->high_page ? end : arena->high_page;
    arena->committed_pages += fresh;
    return NTH_SEAM_OK;
}

static void run_poison(char *place, size_t bytes)
{
    nth_poison(place, bytes);
}

static bool touched_much(const struct nth_arena *arena)
{
    return arena->touched_pages > arena->commit_max_pages + arena->commit_max_pages / SPARE_PART;
}

static enum nth_seam_status arena_decommit(void *self, const struct nth_site *site, void *base,
                                           size_t bytes)
{
    struct nth_arena *arena = self;
    (void)site;
    const size_t first = page_of(arena, base);
    if (!arena->resident && mprotect(base, bytes, PROT_NONE) != 0) {
        return NTH_SEAM_REFUSED;
    }
    if (touched_much(arena) && bytes / NTH_PAGE_BYTES >= DROP_PAGES) {
        (void)madvise(base, bytes, MADV_DONTNEED);
    }
    if (!arena->resident) {
        nth_forget(base, bytes);
    }
    const size_t end = first + bytes / NTH_PAGE_BYTES;
    if (arena->resident) {
        runs_each(arena, arena->committed, first, end, run_poison);
    }
    arena->committed_pages -= bits_count(arena->committed, first, end);
    bits_put(arena->committed, first, end, false);
    return NTH_SEAM_OK;
}

static enum nth_seam_status arena_release(void *self, const struct nth_site *site, void *base,
                                          size_t bytes)
{
    struct nth_arena *arena = self;
    const size_t first = page_of(arena, base) * NTH_PAGE_BYTES / NTH_GRANULE_BYTES;
    const size_t count = nth_round_up(bytes, NTH_GRANULE_BYTES) / NTH_GRANULE_BYTES;
    if (arena_decommit(self, site, base, bytes) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    if (arena->resident) { /* core forgets all of a region, committed or not */
        const size_t from = page_of(arena, base);
        runs_each(arena, arena->touched, from, from + bytes / NTH_PAGE_BYTES, run_poison);
    }
    bits_put(arena->used, first, first + count, false);
    arena->reserved_bytes -= bytes;
    arena->reservation_count--;
    return NTH_SEAM_OK;
}

static enum nth_seam_status arena_protect(void *self, const struct nth_site *site, void *base,
                                          size_t bytes, BOOLEAN writable)
{
    (void)self;
    (void)site;
    const int access = PROT_READ | (writable ? PROT_WRITE : 0);
    return mprotect(base, bytes, access) == 0 ? NTH_SEAM_OK : NTH_SEAM_REFUSED;
}

static size_t map_words(size_t bits)
{
    return nth_round_up(bits, 64) / 64;
}

struct nth_arena *nth_arena_create(size_t span_bytes, size_t commit_max_bytes)
{
    const size_t granules = span_bytes / NTH_GRANULE_BYTES;
    const size_t pages = span_bytes / NTH_PAGE_BYTES;
    const size_t words = map_words(granules) + 3 * map_words(pages);
    const size_t table_bytes = sizeof(struct nth_arena) + words * sizeof(uint64_t);
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    struct nth_arena *arena = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, how, -1, 0);
    if (arena == MAP_FAILED) {
        return NULL;
    }
    char *place = mmap((void *)(uintptr_t)PLACE_WANTED, span_bytes + NTH_GRANULE_BYTES, PROT_NONE,
                       how, -1, 0);
    if (place == MAP_FAILED) {
        (void)munmap(arena, table_bytes);
        return NULL;
    }
    char *base = (char *)nth_round_up((uintptr_t)place, NTH_GRANULE_BYTES);
    arena->base = base;
    arena->mapped = place;
    arena->span_bytes = span_bytes;
    arena->table_bytes = table_bytes;
    arena->commit_max_pages = commit_max_bytes / NTH_PAGE_BYTES;
    arena->used = (uint64_t *)(arena + 1);
    arena->committed = arena->used + map_words(granules);
    arena->touched = arena->committed + map_words(pages);
    arena->executable = arena->touched + map_words(pages);
    arena->pages = (struct nth_pages){
        .self = arena,
        .low = (uintptr_t)base,
        .span_bytes = span_bytes,
        .zeroed = TRUE,
        .reserve = arena_reserve,
        .commit = arena_commit,
        .decommit = arena_decommit,
        .release = arena_release,
        .protect = arena_protect,
    };
    return arena;
}

static void run_drop(char *place, size_t bytes)
{
    nth_forget(place, bytes);
    (void)mprotect(place, bytes, PROT_NONE);
    (void)madvise(place, bytes, MADV_DONTNEED);
}

static void run_close(char *place, size_t bytes)
{
    nth_forget(place, bytes);
    (void)mprotect(place, bytes, PROT_NONE);
}

static void run_plain(char *place, size_t bytes)
{
    (void)mprotect(place, bytes, PROT_READ | PROT_WRITE);
}

/* Pages beyond the limit are as if they had never been committed. */
static void high_drop(struct nth_arena *arena)
{
    const size_t kept_words = map_words(arena->commit_max_pages);
    const size_t words = map_words(arena->high_page);
    runs_each(arena, arena->touched, kept_words * 64, words * 64, run_drop);
    for (size_t word = kept_words; word < words; word++) {
        arena->touched_pages -= (size_t)__builtin_popcountll(arena->touched[word]);
        arena->touched[word] = 0;
    }
    arena->high_page = kept_words * 64;
}

void nth_arena_reset(struct nth_arena *arena)
{
    const size_t words = map_words(arena->high_page);
    if (!arena->resident) {
        runs_each(arena, arena->committed, 0, words * 64, run_close);
    } else {
        runs_each(arena, arena->committed, 0, words * 64, run_poison);
        if (arena->has_executable) {
            runs_each(arena, arena->executable, 0, words * 64, run_plain);
        }
    }
    if (touched_much(arena)) {
        high_drop(arena);
    }
    memset(arena->executable, 0, words * sizeof(uint64_t));
    arena->has_executable = false;
    memset(arena->committed, 0, words * sizeof(uint64_t));
    memset(arena->used, 0, map_words(granule_count(arena)) * sizeof(uint64_t));
    arena->committed_pages = 0;
    arena->reserved_bytes = 0;
    arena->reservation_count = 0;
    arena->cursor = 0;
}

struct nth_balance nth_arena_balance(const struct nth_arena *arena)
{
    return (struct nth_balance){
        .reserved_bytes = arena->reserved_bytes,
        .committed_bytes = arena->committed_pages * NTH_PAGE_BYTES,
        .reservation_count = arena->reservation_count,
    };
}

struct nth_arena *nth_arena_create_resident(size_t span_bytes, size_t commit_max_bytes)
{
    struct nth_arena *arena = nth_arena_create(span_bytes, commit_max_bytes);
    if (arena != NULL) {
        arena->resident = NTH_POISONS != 0;
    }
    return arena;
}

struct nth_arena *nth_arena_create_open(size_t span_bytes, size_t commit_max_bytes)
{
    struct nth_arena *arena = nth_arena_create(span_bytes, commit_max_bytes);
    if (arena != NULL) {
        arena->resident = true;
    }
    return arena;
}

void nth_arena_destroy(struct nth_arena *arena)
{
    nth_forget(arena->base, arena->span_bytes);
    (void)munmap(arena->mapped, arena->span_bytes + NTH_GRANULE_BYTES);
    (void)munmap(arena, arena->table_bytes);
}

const struct nth_pages *nth_arena_pages(struct nth_arena *arena)
{
    return &arena->pages;
}
