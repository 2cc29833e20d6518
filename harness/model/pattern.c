/* SPDX-License-Identifier: MIT
 *
 * Patterns by memcpy and memcmp from one tile, page by page, so that what of a large block is
 * looked at depends on its size alone. */
#include "pattern.h"

#include "../run/check.h"

#include <string.h>

#define PAGE_BYTES 4096u
#define NEAR_PAGES 8u    /* at each end */
#define SAMPLE_PAGES 16u /* one in so many between */
#define TILE_BYTES 0x20000u

static uint8_t tile[TILE_BYTES + PAGE_BYTES];
static const uint8_t zeros[PAGE_BYTES];

/* Made once, before main: the same in every process. No byte is zero, so a zeroed one differs. */
__attribute__((constructor)) static void tile_make(void)
{
    uint64_t state = 0x9E3779B97F4A7C15u;
    for (size_t idx = 0; idx < sizeof(tile); idx++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        tile[idx] = (uint8_t)(((state >> 24) & 0xFFu) | 1u);
    }
}

/* Page `page` is looked at in a range of pages first to last. */
static bool page_counts(size_t page, size_t first, size_t last)
{
    return page - first < NEAR_PAGES || last - page < NEAR_PAGES || page % SAMPLE_PAGES == 0;
}

/* The next page at or after `page` that counts; last + 1 when there is none. */
static size_t page_next(size_t page, size_t first, size_t last)
{
    while (page <= last && !page_counts(page, first, last)) {
        page++;
    }
    return page;
}

static const uint8_t *tile_at(size_t offset, uint32_t stamp)
{
    return tile + ((uint64_t)stamp * 0x9E3779B1u + offset) % TILE_BYTES;
}

static size_t lower(size_t left, size_t right)
{
    return left < right ? left : right;
}

static size_t first_difference(const uint8_t *left, const uint8_t *right, size_t bytes)
{
    size_t idx = 0;
    while (idx < bytes && left[idx] == right[idx]) {
        idx++;
    }
    return idx;
}

void rig_pattern_fill(void *block, size_t size_bytes, uint32_t stamp)
{
    const size_t last = size_bytes == 0 ? 0 : (size_bytes - 1) / PAGE_BYTES;
    for (size_t page = 0; size_bytes > 0 && page <= last; page = page_next(page + 1, 0, last)) {
        const size_t begin = page * PAGE_BYTES;
        memcpy((uint8_t *)block + begin, tile_at(begin, stamp),
               lower(PAGE_BYTES, size_bytes - begin));
    }
}

size_t rig_pattern_differs(const void *block, size_t to, size_t size_bytes, uint32_t stamp)
{
    const uint8_t *bytes = block;
    const size_t last = size_bytes == 0 ? 0 : (size_bytes - 1) / PAGE_BYTES;
    RIG_CHECK(to <= size_bytes);
    for (size_t page = 0; page * PAGE_BYTES < to; page = page_next(page + 1, 0, last)) {
        const size_t begin = page * PAGE_BYTES;
        const size_t len = lower(PAGE_BYTES, to - begin);
        const uint8_t *want = tile_at(begin, stamp);
        if (memcmp(bytes + begin, want, len) != 0) {
            return begin + first_difference(bytes + begin, want, len);
        }
    }
    return RIG_PATTERN_NOWHERE;
}

size_t rig_pattern_dirty(const void *block, size_t from, size_t to)
{
    const uint8_t *bytes = block;
    RIG_CHECK(from <= to);
    const size_t first = from / PAGE_BYTES;
    const size_t last = to == 0 ? 0 : (to - 1) / PAGE_BYTES;
    for (size_t page = first; page * PAGE_BYTES < to; page = page_next(page + 1, first, last)) {
        const size_t begin = page == first ? from : page * PAGE_BYTES;
        const size_t len = lower((page + 1) * PAGE_BYTES, to) - begin;
        if (memcmp(bytes + begin, zeros, len) != 0) {
            return begin + first_difference(bytes + begin, zeros, len);
        }
    }
    return RIG_PATTERN_NOWHERE;
}
