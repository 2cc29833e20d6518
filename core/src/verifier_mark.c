/* SPDX-License-Identifier: MIT
 *
 * What is put around blocks and into freed ones, and whether it is still there. Light: a mark
 * before the user's bytes, eight bytes of pattern behind them. Full: the same mark where there is
 * room, the pattern from the last byte to the end of the page. The only code of the verifier that
 * reads and writes memory of the program's. */
#include "verifier.h"

#include <string.h>

#define STAMP_START_LIGHT 0xABCDAAAAu
#define STAMP_END_LIGHT 0xDCBAAAAAu
#define STAMP_START_FULL 0xABCDBBBBu
#define STAMP_END_FULL 0xDCBABBBBu
#define STAMP_FREED 1u /* subtracted */

/* By words where they are aligned: large blocks are filled whole. Volatile: a compiler would make
 * calls of it, which sanitizers watch. */
typedef uint64_t any_word __attribute__((may_alias));

static uint64_t word_of(uint8_t value)
{
    return value * 0x0101010101010101u;
}

static size_t bytes_to_word(const char *at, size_t bytes)
{
    const size_t odd = (0 - (uintptr_t)at) % sizeof(uint64_t);
    return odd < bytes ? odd : bytes;
}

NTH_GLANCE static bool bytes_filled(const char *at, uint8_t value, size_t bytes)
{
    const volatile uint8_t *byte = (const volatile uint8_t *)at;
    for (size_t idx = 0; idx < bytes; idx++) {
        if (byte[idx] != value) {
            return false;
        }
    }
    return true;
}

NTH_GLANCE static bool is_filled(const char *at, uint8_t value, size_t bytes)
{
    const size_t head = bytes_to_word(at, bytes);
    const size_t words = (bytes - head) / sizeof(uint64_t);
    const uint64_t wanted = word_of(value);
    const volatile any_word *word = (const volatile any_word *)(uintptr_t)(at + head);
    for (size_t idx = 0; idx < words; idx++) {
        if (word[idx] != wanted) {
            return false;
        }
    }
    const size_t done = head + words * sizeof(uint64_t);
    return bytes_filled(at, value, head) && bytes_filled(at + done, value, bytes - done);
}

NTH_GLANCE static void bytes_fill(char *at, uint8_t value, size_t bytes)
{
    volatile uint8_t *byte = (volatile uint8_t *)at;
    for (size_t idx = 0; idx < bytes; idx++) {
        byte[idx] = value;
    }
}

NTH_GLANCE void nth_mark_fill(char *at, uint8_t value, size_t bytes)
{
    const size_t head = bytes_to_word(at, bytes);
    const size_t words = (bytes - head) / sizeof(uint64_t);
    const uint64_t filling = word_of(value);
    volatile any_word *word = (volatile any_word *)(uintptr_t)(at + head);
    for (size_t idx = 0; idx < words; idx++) {
        word[idx] = filling;
    }
    const size_t done = head + words * sizeof(uint64_t);
    bytes_fill(at, value, head);
    bytes_fill(at + done, value, bytes - done);
}

NTH_GLANCE static void put(char *at, const void *from, size_t bytes)
{
    const volatile uint8_t *source = from;
    volatile uint8_t *byte = (volatile uint8_t *)at;
    for (size_t idx = 0; idx < bytes; idx++) {
        byte[idx] = source[idx];
    }
}

NTH_GLANCE static void get(void *to, const char *at, size_t bytes)
{
    volatile uint8_t *byte = to;
    const volatile uint8_t *source = (const volatile uint8_t *)at;
    for (size_t idx = 0; idx < bytes; idx++) {
        byte[idx] = source[idx];
    }
}

/* A freed block of the free check: words from a fixed offset on. Blocks are aligned for two at
 * once. */
NTH_GLANCE static bool free_words(char *user, size_t bytes, bool write)
{
    static const uint8_t word[4] = {NTH_FREE_WORD & 0xFFu, NTH_FREE_WORD >> 8 & 0xFFu,
                                    NTH_FREE_WORD >> 16 & 0xFFu, NTH_FREE_WORD >> 24};
    const uint64_t both = (uint64_t)NTH_FREE_WORD << 32 | NTH_FREE_WORD;
    volatile any_word *words = (volatile any_word *)(uintptr_t)user;
    volatile uint8_t *byte = (volatile uint8_t *)user;
    const size_t whole = bytes / sizeof(uint64_t);
    for (size_t idx = NTH_FREE_WORD_OFFSET / sizeof(uint64_t); idx < whole; idx++) {
        if (write) {
            words[idx] = both;
        } else if (words[idx] != both) {
            return false;
        }
    }
    size_t rest = whole * sizeof(uint64_t);
    rest = rest > NTH_FREE_WORD_OFFSET ? rest : NTH_FREE_WORD_OFFSET;
    for (; rest < bytes; rest++) {
        if (write) {
            byte[rest] = word[rest % 4u];
        } else if (byte[rest] != word[rest % 4u]) {
            return false;
        }
    }
    return true;
}

size_t nth_mark_before(enum nth_track_kind kind)
{
    return kind == NTH_TRACK_LIGHT ? NTH_MARK_BYTES : 0u;
}

size_t nth_mark_real_bytes(enum nth_track_kind kind, size_t bytes)
{
    return bytes + nth_mark_before(kind) +
           (kind == NTH_TRACK_LIGHT  ? NTH_SUFFIX_BYTES
            : kind == NTH_TRACK_TAIL ? NTH_TAIL_BYTES
                                     : 0u);
}

static bool has_mark(const struct nth_track *track)
{
    return track->kind == NTH_TRACK_LIGHT ||
           (track->kind == NTH_TRACK_FULL && track->user >= track->real + NTH_MARK_BYTES);
}

static uint32_t check_of(const struct nth_mark *mark, const char *user)
{
    const uint64_t place = nth_place_of((uint64_t)(uintptr_t)user);
    return (uint32_t)nth_mix(mark->heap ^ nth_rotate(mark->size_bytes, 21) ^
                             nth_rotate(mark->serial, 42) ^ place);
}

static struct nth_mark mark_for(const struct nth_track *track)
{
    const bool full = track->kind == NTH_TRACK_FULL;
    const uint32_t freed = track->state == NTH_ALLOCATION_HELD ? STAMP_FREED : 0;
    struct nth_mark mark = {
        .start_stamp = (full ? STAMP_START_FULL : STAMP_START_LIGHT) - freed,
        .heap = (uint64_t)(uintptr_t)track->heap,
        .size_bytes = track->bytes,
        .serial = track->serial,
        .end_stamp = (full ? STAMP_END_FULL : STAMP_END_LIGHT) - freed,
    };
    mark.check = check_of(&mark, track->user);
    memset(mark.prefix, NTH_FILL_PREFIX, sizeof(mark.prefix));
    return mark;
}

static size_t suffix_bytes(const struct nth_track *track)
{
    const size_t behind = (size_t)(track->real + track->real_bytes - track->user) - track->bytes;
    return track->kind == NTH_TRACK_LIGHT  ? NTH_SUFFIX_BYTES
           : track->kind == NTH_TRACK_TAIL ? NTH_TAIL_BYTES
           : track->kind == NTH_TRACK_FULL ? behind
                                           : 0u;
}

static uint8_t suffix_fill(const struct nth_track *track)
{
    return track->kind == NTH_TRACK_LIGHT  ? NTH_FILL_SUFFIX_LIGHT
           : track->kind == NTH_TRACK_TAIL ? NTH_FILL_TAIL
                                           : NTH_FILL_SUFFIX_FULL;
}

static void mark_write(const struct nth_track *track)
{
    const struct nth_mark mark = mark_for(track);
    put(track->user - sizeof(mark), &mark, sizeof(mark));
}

void nth_mark_live(const struct nth_track *track, size_t kept, bool zeroed)
{
    const size_t before = (size_t)(track->user - track->real);
    if (has_mark(track)) {
        nth_mark_fill(track->real, NTH_FILL_PREFIX, before - NTH_MARK_BYTES);
        mark_write(track);
    }
    nth_mark_fill(track->user + track->bytes, suffix_fill(track), suffix_bytes(track));
    if (kept < track->bytes && zeroed) {
        nth_mark_fill(track->user + kept, 0, track->bytes - kept);
    } else if (kept < track->bytes && track->kind >= NTH_TRACK_LIGHT) {
        nth_mark_fill(track->user + kept,
                      track->kind == NTH_TRACK_FULL ? NTH_FILL_FULL : NTH_FILL_LIGHT,
                      track->bytes - kept);
        nth_unpoison(track->user + kept, track->bytes - kept);
    }
    nth_mark_guard(track);
}

void nth_mark_guard(const struct nth_track *track)
{
    if (track->kind != NTH_TRACK_BARE) {
        nth_poison(track->real, (size_t)(track->user - track->real));
        nth_poison(track->user + track->bytes, suffix_bytes(track));
    }
}

void nth_mark_freed(const struct nth_track *track)
{
    if (track->kind == NTH_TRACK_FULL) {
        return;
    }
    if (track->kind == NTH_TRACK_LIGHT) {
        mark_write(track);
        nth_mark_fill(track->user, NTH_FILL_FREED, track->bytes);
        nth_mark_fill(track->user + track->bytes, suffix_fill(track), suffix_bytes(track));
    } else {
        (void)free_words(track->user, track->bytes, true);
    }
    nth_poison(track->user, track->bytes);
}

static ULONG mark_check(const struct nth_track *track, ULONG_PTR *bad)
{
    const struct nth_mark wanted = mark_for(track);
    struct nth_mark found;
    get(&found, track->user - sizeof(found), sizeof(found));
    if (found.start_stamp != wanted.start_stamp) {
        *bad = found.start_stamp;
        return NTH_STOP_CORRUPTED_HEAP_BLOCK_START_STAMP;
    }
    if (found.end_stamp != wanted.end_stamp) {
        *bad = found.end_stamp;
        return NTH_STOP_CORRUPTED_HEAP_BLOCK_END_STAMP;
    }
    if (memcmp(found.prefix, wanted.prefix, sizeof(found.prefix)) != 0 ||
        !is_filled(track->real, NTH_FILL_PREFIX,
                   (size_t)(track->user - track->real) - NTH_MARK_BYTES)) {
        return NTH_STOP_CORRUPTED_HEAP_BLOCK_PREFIX;
    }
    return memcmp(&found, &wanted, sizeof(found)) == 0 ? 0 : NTH_STOP_CORRUPTED_HEAP_BLOCK;
}

ULONG nth_mark_check_live(const struct nth_track *track, ULONG_PTR *bad)
{
    const ULONG code = has_mark(track) ? mark_check(track, bad) : 0;
    if (code != 0) {
        return code;
    }
    return is_filled(track->user + track->bytes, suffix_fill(track), suffix_bytes(track))
               ? 0
               : NTH_STOP_CORRUPTED_HEAP_BLOCK_SUFFIX;
}

ULONG nth_mark_check_held(const struct nth_track *track)
{
    ULONG_PTR bad = 0;
    if (track->kind == NTH_TRACK_FULL) {
        return 0; /* nobody can have touched it */
    }
    if (track->kind != NTH_TRACK_LIGHT) {
        return free_words(track->user, track->bytes, false) ? 0
                                                            : NTH_STOP_CORRUPTED_FREED_HEAP_BLOCK;
    }
    if (mark_check(track, &bad) != 0) {
        return NTH_STOP_CORRUPTED_HEAP_BLOCK_HEADER;
    }
    return is_filled(track->user, NTH_FILL_FREED, track->bytes) &&
                   is_filled(track->user + track->bytes, suffix_fill(track), suffix_bytes(track))
               ? 0
               : NTH_STOP_CORRUPTED_FREED_HEAP_BLOCK;
}
