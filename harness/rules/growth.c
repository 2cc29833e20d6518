/* SPDX-License-Identifier: MIT
 *
 * Rules on how a heap takes memory and gives it back: the sizes of further regions, and the pages
 * of free blocks. */
#include "heaps.h"

#include <string.h>

#define SEGMENT_COMMIT_BYTES (2u * RIG_PAGE_BYTES)
#define SEGMENT_STEP_COUNT 16u
#define SEGMENT_MAX_BYTES 0x4000000u
#define DECOMMIT_BLOCK_BYTES RIG_PAGE_BYTES

#ifdef NTH_STRESS
#define SEGMENT_BYTES 0x10000u
#define DECOMMIT_TOTAL_BYTES 0x2000u
#else
#define SEGMENT_BYTES 0x100000u
#define DECOMMIT_TOTAL_BYTES 0x10000u
#endif

#define BLOCK_HEADER_BYTES 8u                   /* in front of each block (D68) */
#define FRONT_MAX_BYTES 0x4000u                 /* the front end's largest block, */
#define CHUNK_MAX_BYTES 0x21000u                /* which it takes in pieces of eight and more */
#define WHOLE_PAGES_BYTES (4u * RIG_PAGE_BYTES) /* a free block of that much has a page to give */
#define REMNANT_BYTES (3u * RIG_PAGE_BYTES)     /* more is never left beside pages that went */

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static size_t given(size_t bytes, size_t otherwise)
{
    return bytes != 0 ? bytes : otherwise;
}

/* The most that a region had to hold for this call. */
static size_t need_max(const struct rig_step *step)
{
    const bool front = step->heap_before.front_able && step->size_bytes < FRONT_MAX_BYTES;
    return front ? CHUNK_MAX_BYTES : step->size_bytes + RIG_PAGE_BYTES;
}

/* What the first of the further regions reserve. */
static size_t reserve_first(const struct rig_step *step)
{
    return round_up(given(step->heap_before.segment_bytes, SEGMENT_BYTES), RIG_GRANULE_BYTES);
}

/* What the `further`-th further region reserves, whatever is to go into it. */
static size_t reserve_due(const struct rig_step *step)
{
    size_t bytes = reserve_first(step);
    for (size_t steps = (step->growth.further - 1) / SEGMENT_STEP_COUNT;
         steps > 0 && bytes < SEGMENT_MAX_BYTES; steps--) {
        bytes *= 2;
    }
    return bytes;
}

static bool reserve_is_due(const struct rig_step *step)
{
    const size_t due = reserve_due(step);
    const size_t need = need_max(step);
    const size_t most = need <= due ? due : round_up(need, RIG_GRANULE_BYTES);
    return step->growth.bytes >= due && step->growth.bytes <= most;
}

/* First commit of the region; what its block needs may be more. */
static size_t commit_due(const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t reserve = reserve_first(step);
    const size_t asked = given(heap->segment_commit_bytes, SEGMENT_COMMIT_BYTES);
    return round_up(asked < reserve ? asked : reserve, RIG_PAGE_BYTES);
}

static bool commit_is_due(const struct rig_step *step)
{
    const size_t due = commit_due(step);
    const size_t need = round_up(need_max(step), RIG_PAGE_BYTES);
    return step->growth.committed_bytes >= due &&
           step->growth.committed_bytes <= (need > due ? need : due);
}

/* A free block would have done: then nothing was short. */
static bool had_no_room(const struct rig_step *step)
{
    return step->size_bytes + RIG_ROOM_SPARE_BYTES > step->spare_bytes;
}

/* A region was to grow by more pages than the block needs: by SegmentCommit, which is two pages at
 * least. That may be refused, and then the need is asked for (D80). */
static bool grew_generously(const struct rig_step *step)
{
    const size_t commit = given(step->heap_before.segment_commit_bytes, SEGMENT_COMMIT_BYTES);
    return step->refusal.known && step->refusal.site != NULL &&
           strcmp(step->refusal.site, "segment.grow") == 0 && commit >= SEGMENT_COMMIT_BYTES &&
           step->range_bytes >= SEGMENT_COMMIT_BYTES &&
           step->size_bytes + RIG_ROOM_SPARE_BYTES <= RIG_PAGE_BYTES;
}

void rig_rules_growth(struct rig_judge *judge, const struct rig_step *step)
{
    CLAUSE(D36, step->spare_known && step->expect == RIG_EXPECT_BLOCK && grew_generously(step),
           step->outcome.refusals >= 2);
    CLAUSE(D36,
           step->spare_known && step->expect == RIG_EXPECT_BLOCK &&
               step->size_bytes <= step->heap_before.threshold_bytes,
           had_no_room(step));
    const struct rig_heap *heap = &step->heap_before;
    /* A filter of the rig may have had regions made and dropped, which count all the same. */
    const bool seen = step->growth.known && step->outcome.refusals == 0 && !heap->filtered &&
                      heap->segment_bytes < SIZE_MAX / 2;
    CLAUSE(HPARAM_03, seen && heap->segment_commit_bytes == 0 && !heap->has_base,
           step->growth.committed_bytes == 0 ||
               step->growth.committed_bytes >= SEGMENT_COMMIT_BYTES);
    CLAUSE(D29, seen, reserve_is_due(step) && commit_is_due(step));
}

/* ---- Giving back ---------------------------------------------------------------------------- */

/* A free block of at least this much arose where the freed one was. */
static size_t arisen_least(const struct rig_step *step)
{
    return step->block_before.size_bytes + BLOCK_HEADER_BYTES;
}

/* The front end keeps its own books of what is free. */
static bool is_back_end(const struct rig_step *step)
{
    return !step->heap_before.front_able || step->block_before.size_bytes >= FRONT_MAX_BYTES;
}

static size_t fallen(const struct rig_step *step)
{
    const size_t before = step->held_before.committed_bytes;
    const size_t after = step->held_after.committed_bytes;
    return before > after ? before - after : 0;
}

void rig_rules_given_back(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_heap *heap = &step->heap_before;
    const size_t block = given(heap->decommit_block_bytes, DECOMMIT_BLOCK_BYTES);
    const size_t total = given(heap->decommit_total_bytes, DECOMMIT_TOTAL_BYTES);
    const size_t least = arisen_least(step);
    const bool seen = step->freed.known && step->outcome.refusals == 0 && is_back_end(step);
    const size_t free_least = step->freed.total_bytes > least ? step->freed.total_bytes : least;
    CLAUSE(D30, seen && least >= block && least >= WHOLE_PAGES_BYTES && free_least > total,
           step->freed.bytes < block || step->freed.bytes <= REMNANT_BYTES);
    /* A block that was large once has pages of its own, whatever its size now. */
    CLAUSE(D30, seen && fallen(step) > 0 && !heap->front_able && !step->block_before.resized,
           step->freed.total_bytes + fallen(step) + RIG_PAGE_BYTES > total);
}
