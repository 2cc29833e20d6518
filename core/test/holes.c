/* SPDX-License-Identifier: MIT
 *
 * What a run of mutants showed that nobody looked at: counts of size classes when blocks are
 * resized, a resize whose old block cannot go, tables at their edges, what stays behind a fork or a
 * reset, and limits met exactly. */
#include "support/forge.h"
#include "support/leave.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "lock.h"
#include "map.h"
#include "page.h"
#include "sanitize.h"
#include "seh.h"

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define GRANULE ((SIZE_T)NTH_GRANULE_BYTES)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define START NTH_LFH_START_COUNT

static BOOLEAN is_front(HANDLE heap, PVOID block)
{
    return forge_block(heap, block).state == NTH_BLOCK_SLOT_BUSY;
}

/* The front end serves the class from the n-th allocation from now on: n. */
static unsigned starts_after(HANDLE heap, SIZE_T bytes)
{
    for (unsigned count = 1; count < 10u * START; count++) {
        if (is_front(heap, rig_block_new(heap, bytes))) {
            return count;
        }
    }
    return 0;
}

/* ---- counts of size classes ---- */

#define FIRST_BYTES ((SIZE_T)100)
#define SECOND_BYTES ((SIZE_T)300)

static void a_class_starts_with_its_eighteenth_block(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_int_equal(starts_after(heap, FIRST_BYTES), START);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START);
}

/* D61 */
static void a_block_that_is_resized_counts_for_its_new_class(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, SECOND_BYTES);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, FIRST_BYTES), block);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START - 1u);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START);
    heap = rig_heap_new();
    block = rig_block_new(heap, FIRST_BYTES);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, SECOND_BYTES), block);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START - 1u);
    heap = rig_heap_new();
    block = rig_block_new(heap, FIRST_BYTES); /* past the front end's sizes, and back */
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 20000), block);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, SECOND_BYTES), block);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START - 1u);
}

static void a_block_that_is_resized_within_its_class_counts_once(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 1000); /* classes of 64 bytes there */
    for (SIZE_T bytes = 976; bytes < 1010; bytes += 8) {
        assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, bytes), block);
    }
    assert_int_equal(starts_after(heap, 1000), START - 1u);
}

static void a_block_that_cannot_be_resized_counts_as_before(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, FIRST_BYTES);
    (void)rig_block_new(heap, FIRST_BYTES);
    for (unsigned count = 0; count < 5; count++) {
        assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, SECOND_BYTES));
    }
    assert_int_equal(starts_after(heap, SECOND_BYTES), START);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START - 2u);
}

static void a_block_that_moves_counts_for_its_new_class(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, FIRST_BYTES);
    (void)rig_block_new(heap, FIRST_BYTES);
    assert_ptr_not_equal(HeapReAlloc(heap, 0, block, SECOND_BYTES), block);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START - 1u);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START - 1u);
}

/* A chunk that is alone on the list of its class stays when its last slot comes back, others go. A
 * thread that is ending has no magazine that would keep slots. */
static void an_empty_chunk_goes_where_others_have_slots(void **state)
{
    static PVOID slots[4096];
    (void)state;
    unsigned count = 0;
    HANDLE heap = rig_heap_new();
    const struct nth_heap *inside = forge_inside(heap);
    const unsigned before = nth_self.state;
    (void)starts_after(heap, FIRST_BYTES);
    (void)HeapCompact(heap, 0);
    nth_self.state = NTH_THREAD_LEFT;
    memset(nth_self.hot, 0, sizeof(nth_self.hot));
    const uint64_t had = inside->state.chunk_count;
    while (inside->state.chunk_count < had + 2 && count < 4096) {
        slots[count++] = rig_block_new(heap, FIRST_BYTES);
    }
    const uint64_t most = inside->state.chunk_count;
    for (unsigned idx = count; idx-- > 0;) {
        (void)HeapFree(heap, 0, slots[idx]);
    }
    nth_self.state = before;
    assert_int_equal(most, had + 2);
    assert_int_equal(inside->state.chunk_count, had + 1); /* the newest was alone on the list */
}

/* What the front end does not serve does not count for it. */
static void a_block_with_user_information_counts_for_no_class(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, SECOND_BYTES);
    assert_non_null(block);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, FIRST_BYTES), block);
    assert_int_equal(starts_after(heap, FIRST_BYTES), START);
    assert_int_equal(starts_after(heap, FIRST_BYTES + NTH_USER_INFO_BYTES), START);
    assert_int_equal(starts_after(heap, SECOND_BYTES), START);
}

static void what_a_shrink_leaves_is_free_from_the_least_block_on(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 20000);
    (void)rig_block_new(heap, 20000);
    const struct nth_block before = forge_block(heap, block);
    const SIZE_T kept = 20000 - NTH_BLOCK_MIN_BYTES;
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, kept), block);
    const struct nth_block after = forge_block(heap, block);
    assert_int_equal((before.units - after.units) * NTH_UNIT_BYTES, NTH_BLOCK_MIN_BYTES);
}

static void the_largest_class_ends_where_the_front_end_does(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_int_equal(starts_after(heap, NTH_LFH_MAX_BYTES - NTH_HEADER_BYTES), START);
    assert_int_equal(starts_after(heap, NTH_LFH_MAX_BYTES - NTH_HEADER_BYTES + 1u), 0);
}

/* What a heap allows counts on the way without the lock, too, where a larger block would fit. */
static void no_slot_is_larger_than_the_heap_allows(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .MaximumAllocationSize = 1000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &wanted);
    assert_non_null(heap);
    assert_int_equal(starts_after(heap, 1000), START);
    for (unsigned count = 0; count < START; count++) {
        (void)rig_block_new(heap, 1000);
    }
    assert_null(HeapAlloc(heap, 0, 1001));
    assert_null(HeapAlloc(heap, 0, 1010));
    (void)rig_block_new(heap, 1000);
}

/* A thousand allocations in all start a class, too, though few are outstanding. */
static void a_class_starts_with_its_thousandth_allocation(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    for (unsigned count = 1; count < NTH_LFH_START_TOTAL; count++) {
        PVOID block = rig_block_new(heap, FIRST_BYTES);
        assert_false(is_front(heap, block));
        assert_true(HeapFree(heap, 0, block));
    }
    assert_true(is_front(heap, rig_block_new(heap, FIRST_BYTES)));
}

static void blocks_with_a_user_value_do_not_count(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    for (unsigned count = 0; count < 2u * START; count++) {
        PVOID block = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, FIRST_BYTES);
        assert_int_equal(forge_block(heap, block).state, NTH_BLOCK_BUSY);
        assert_true(count % 2 == 0 || HeapFree(heap, 0, block));
    }
    assert_int_equal(starts_after(heap, FIRST_BYTES), START);
}

/* ---- chunks and magazines ---- */

static uint32_t chunk_count_of(HANDLE heap, PVOID slot)
{
    struct nth_heap *inside = forge_inside(heap);
    uint64_t count = 0;
    assert_int_equal(nth_heap_open(inside, &inside->buckets[forge_block(heap, slot).bucket].chunks,
                                   NTH_CORRUPT_HEAP_STATE, NULL, &count),
                     NTH_OK);
    return (uint32_t)count;
}

/* The n-th chunk of a class has half as many slots of the first more than the one before. */
static void chunks_of_a_class_grow_up_to_a_limit(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint32_t seen = 0;
    uint64_t chunk_units = 0;
    for (unsigned count = 0; count < 3000; count++) {
        PVOID block = rig_block_new(heap, FIRST_BYTES);
        if (!is_front(heap, block)) {
            continue;
        }
        const uint32_t now = chunk_count_of(heap, block);
        assert_true(now == seen || now == seen + 1);
        if (now > seen) {
            const struct nth_chunk chunk = forge_chunk_of(heap, block);
            const uint32_t first = nth_bucket_slots_first(chunk.bucket);
            const uint32_t most = nth_bucket_slots(chunk.bucket);
            const uint32_t wish = first + first * seen / 2u;
            assert_int_equal(chunk.slots, wish < most ? wish : most);
            seen = now;
            chunk_units += chunk.units;
            assert_true(forge_inside(heap)->state.chunk_count == seen);
            assert_true(forge_inside(heap)->state.chunk_units == chunk_units);
        }
    }
    assert_true(seen > 3);
}

/* What is freed first comes back last; a chunk without a busy slot goes, but for the last one. */
static void empty_chunks_go_back_but_for_one(void **state)
{
    (void)state;
    enum { COUNT = 1500 };
    static PVOID blocks[COUNT];
    HANDLE heap = rig_heap_new();
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, FIRST_BYTES);
    }
    const uint32_t most = chunk_count_of(heap, blocks[COUNT - 1]);
    assert_true(most > 3);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(forge_inside(heap)->state.chunk_count < most);
    assert_true(forge_inside(heap)->state.chunk_count > 0);
    (void)HeapCompact(heap, 0);
    assert_true(forge_inside(heap)->state.chunk_count == 0);
    assert_true(forge_inside(heap)->state.chunk_units == 0);
    PVOID again = rig_block_new(heap, FIRST_BYTES); /* the class has started for good */
    assert_true(is_front(heap, again));
    assert_int_equal(chunk_count_of(heap, again), 1);
}

static struct nth_locks counting;
static unsigned acquired;

static void acquire_counted(void *self, void *lock)
{
    acquired++;
    nth_locks_os()->acquire(self, lock);
}

static uint32_t magazine_limit(HANDLE heap, PVOID slot)
{
    struct nth_heap *inside = forge_inside(heap);
    uint32_t fill = 0;
    assert_true(nth_cache_fill(nth_cache_at(inside, 0), forge_block(heap, slot).bucket,
                               inside->config.key.first, &fill));
    return nth_fill_limit(fill);
}

/* Once a class has slots at hand, nobody takes a lock: not after a call that closed the gate, not
 * for a block that was freed with the lock, not for one of a next class. */
static void slots_at_hand_need_no_lock(void **state)
{
    (void)state;
    PVOID blocks[8];
    struct nth_seam seam = rig_seam();
    counting = *nth_locks_os();
    counting.acquire = acquire_counted;
    seam.locks = &counting;
    nth_seam_set(&seam);
    HANDLE heap = rig_heap_new();
    for (unsigned count = 0; count < 3u * START; count++) {
        (void)rig_block_new(heap, FIRST_BYTES);
    }
    for (unsigned round = 0; round < 5; round++) {
        if (round == 1) {
            assert_true(HeapValidate(heap, 0, NULL));
        } else if (round == 2) {
            assert_true(HeapLock(heap));
            assert_true(HeapUnlock(heap));
        } else if (round == 3) {
            PVOID block = HeapAlloc(heap, HEAP_NO_SERIALIZE, FIRST_BYTES);
            assert_true(HeapFree(heap, HEAP_NO_SERIALIZE, block));
        }
        blocks[0] = rig_block_new(heap, FIRST_BYTES);
        assert_true(HeapFree(heap, 0, blocks[0]));
        acquired = 0;
        for (unsigned count = 0; count < 100; count++) {
            for (unsigned idx = 0; idx < 4; idx++) {
                blocks[idx] = rig_block_new(heap, FIRST_BYTES - idx);
            }
            for (unsigned idx = 0; idx < 4; idx++) {
                assert_true(HeapFree(heap, 0, blocks[idx]));
            }
        }
        assert_true(acquired <= 4); /* a refill, or a magazine that is too full */
    }
    seam.locks = NULL;
    nth_seam_set(&seam);
}

/* It was too full and then empty: twice as many, up to the class's most. */
static void a_magazine_grows_where_a_thread_takes_as_well_as_gives(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    static PVOID blocks[COUNT];
    HANDLE heap = rig_heap_new();
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, 400);
    }
    const uint32_t bucket = forge_block(heap, blocks[COUNT - 1]).bucket;
    const uint32_t most = nth_bucket_magazine(bucket);
    uint32_t limit = magazine_limit(heap, blocks[COUNT - 1]);
    assert_int_equal(limit, nth_bucket_magazine_first(bucket));
    assert_true(limit < most);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned idx = 30; idx < COUNT; idx++) {
            assert_true(HeapFree(heap, 0, blocks[idx]));
        }
        for (unsigned idx = 30; idx < COUNT; idx++) {
            blocks[idx] = rig_block_new(heap, 400);
        }
        const uint32_t twice_limit = 2u * limit < most ? 2u * limit : most;
        limit = magazine_limit(heap, blocks[COUNT - 1]);
        assert_int_equal(limit, twice_limit);
    }
    assert_int_equal(limit, most);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* The way without the lock leaves to the other whatever is not as it should be. */
static void damage_is_noticed_on_the_way_without_the_lock(void **state)
{
    (void)state;
    static const uint8_t changes[] = {NTH_TAG_BUSY, NTH_TAG_START, 1u, 2u, 8u};
    HANDLE heap = rig_heap_new();
    PVOID slot = NULL;
    for (unsigned count = 0; count < 3u * START; count++) {
        slot = rig_block_new(heap, FIRST_BYTES);
    }
    assert_true(HeapFree(heap, 0, slot));
    slot = rig_block_new(heap, FIRST_BYTES); /* from the magazine */
    const struct nth_block block = forge_block(heap, slot);
    uint8_t *tag = nth_tag_at(block.region, block.offset);
    for (size_t idx = 0; idx < sizeof(changes); idx++) {
        *tag ^= changes[idx];
        rig_report_forget();
        assert_false(HeapFree(heap, 0, slot));
        assert_int_equal(rig_report_count(), 1);
        *tag ^= changes[idx];
    }
    assert_true(HeapFree(heap, 0, slot));
    for (size_t idx = 0; idx < sizeof(changes); idx++) {
        *tag ^= changes[idx];
        rig_report_forget();
        assert_null(HeapAlloc(heap, 0, FIRST_BYTES));
        assert_int_equal(rig_report_count(), 1);
        *tag ^= changes[idx];
    }
    rig_flip((uint8_t *)slot - 8);
    rig_report_forget();
    assert_null(HeapAlloc(heap, 0, FIRST_BYTES));
    assert_int_equal(rig_report_count(), 1);
    rig_flip((uint8_t *)slot - 8);
    assert_ptr_equal(HeapAlloc(heap, 0, FIRST_BYTES), slot);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_forget();
}

/* ---- a resize whose old block cannot go ---- */

static SIZE_T allocated(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, 0, &summary));
    return summary.cbAllocated;
}

static void a_resize_that_cannot_give_the_old_block_back_is_undone(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *slot = NULL;
    for (unsigned count = 0; count < 2u * START; count++) {
        slot = rig_block_new(heap, FIRST_BYTES);
    }
    memset(slot, 0x5A, FIRST_BYTES);
    struct nth_cache *cache = nth_cache_at(forge_inside(heap), 0);
    const uint32_t bucket = forge_block(heap, slot).bucket;
    const SIZE_T before = allocated(heap);
    cache->counts[bucket] ^= 1u;
    const struct rig_outcome outcome = rig_realloc(heap, 0, slot, 5000);
    cache->counts[bucket] ^= 1u;
    rig_demand_value(&outcome, 0);
    rig_report_demand_field(NTH_CORRUPT_CACHE, heap, NULL, "cache.counts");
    assert_int_equal(allocated(heap), before);
    assert_int_equal(HeapSize(heap, 0, slot), FIRST_BYTES);
    assert_int_equal(slot[0], 0x5A);
    assert_int_equal(slot[FIRST_BYTES - 1], 0x5A);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_non_null(HeapReAlloc(heap, 0, slot, 5000));
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- contents ---- */

/* What a copying resize leaves unstated is left alone: nothing is cleared that need not be. */
static void a_resize_clears_what_is_new_and_no_more(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    for (SIZE_T first = 50; first < 2000; first += 650) {
        for (unsigned moved = 0; moved < 2; moved++) {
            uint8_t *block = rig_block_new(heap, first);
            if (moved != 0) {
                (void)rig_block_new(heap, 40);
            }
            memset(block, 0x5A, first);
            block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, 3 * first);
            assert_non_null(block);
            for (SIZE_T idx = 0; idx < 3 * first; idx++) {
                assert_int_equal(block[idx], idx < first ? 0x5A : 0);
            }
            memset(block, 0xA5, 3 * first);
            block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, first / 2);
            assert_non_null(block);
            for (SIZE_T idx = 0; idx < first / 2; idx++) {
                assert_int_equal(block[idx], 0xA5);
            }
        }
    }
}

/* ---- tables at their edges ---- */

#define FIRST_TABLE 256u

/* Heaps beyond core's own table, their slots reused, the last ones destroyed first and first ones
 * too. */
static void heaps_at_the_edge_of_the_first_table_are_heaps_as_any(void **state)
{
    (void)state;
    static HANDLE heaps[FIRST_TABLE + 4];
    HANDLE listed[FIRST_TABLE + 8];
    heaps[0] = GetProcessHeap();
    for (unsigned idx = 1; idx < FIRST_TABLE + 4; idx++) {
        heaps[idx] = HeapCreate(0, 0, PAGE);
        assert_non_null(heaps[idx]);
    }
    assert_int_equal(GetProcessHeaps(FIRST_TABLE + 8, listed), FIRST_TABLE + 4);
    assert_memory_equal(listed, heaps, sizeof(heaps));
    for (unsigned idx = FIRST_TABLE - 2; idx < FIRST_TABLE + 2; idx++) {
        PVOID block = rig_block_new(heaps[idx], 40);
        assert_true(HeapLock(heaps[idx]));
        assert_true(HeapUnlock(heaps[idx]));
        assert_true(HeapFree(heaps[idx], 0, block));
        assert_true(HeapValidate(heaps[idx], 0, NULL));
    }
    for (unsigned idx = FIRST_TABLE - 2; idx < FIRST_TABLE + 2; idx++) {
        assert_true(HeapDestroy(heaps[idx]));
    }
    for (unsigned idx = FIRST_TABLE - 2; idx < FIRST_TABLE + 2; idx++) {
        heaps[idx] = HeapCreate(0, 0, PAGE);
        assert_non_null(heaps[idx]);
        (void)rig_block_new(heaps[idx], 40);
    }
    assert_int_equal(GetProcessHeaps(FIRST_TABLE + 8, listed), FIRST_TABLE + 4);
    assert_ptr_equal(listed[FIRST_TABLE - 1], heaps[FIRST_TABLE + 3]);
    assert_ptr_equal(listed[FIRST_TABLE + 3], heaps[FIRST_TABLE + 1]);
    assert_true(RtlValidateProcessHeaps());
    nth_process_reset();
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 1); /* and no table is in use any more */
    size_t bytes = 0;
    assert_null(nth_slot_table(0, &bytes));
    for (unsigned idx = 1; idx < FIRST_TABLE + 2; idx++) {
        assert_non_null(HeapCreate(0, 0, PAGE));
    }
    assert_true(RtlValidateProcessHeaps());
}

static BOOLEAN count_tables(void *context, const struct nth_field *field)
{
    *(unsigned *)context += strcmp(field->name, "heaps.table") == 0;
    return TRUE;
}

/* So many that two further tables are needed: each heap is found, and each slot is another. */
static void a_thousand_heaps_have_a_slot_each(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static HANDLE heaps[COUNT];
    unsigned tables = 0;
    if (sizeof(void *) < 8) {
        return; /* the rig's arena has no room for them */
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        heaps[idx] = HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE);
        assert_non_null(heaps[idx]);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        const struct nth_slot *slot = nth_heap_find(heaps[idx]);
        assert_non_null(slot);
        assert_int_equal(slot->idx, idx);
        assert_ptr_equal(slot, nth_slot_numbered(idx));
        assert_ptr_equal(nth_slot_at(idx), slot);
    }
    (void)nth_process_fields(count_tables, &tables);
    assert_int_equal(tables, 2);
    assert_null(nth_slot_at(COUNT));
    for (unsigned idx = 0; idx < COUNT; idx += 7) {
        assert_true(HeapDestroy(heaps[idx]));
        assert_null(nth_heap_find(heaps[idx]));
    }
    for (unsigned idx = 1; idx < COUNT; idx += 7) {
        assert_non_null(HeapAlloc(heaps[idx], 0, 100));
        assert_true(HeapValidate(heaps[idx], 0, NULL));
    }
    nth_process_reset();
    assert_null(nth_slot_numbered(FIRST_TABLE));
    const struct nth_balance balance = nth_balance_now();
    assert_int_equal(balance.reservation_count, 0);
    assert_int_equal(balance.committed_bytes, 0);
}

/* A region that ends where a granule ends is in the map up to its last byte, and no further. */
static void the_map_has_a_region_to_its_last_byte(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *large = rig_block_new(heap, LARGE_BYTES);
    const struct nth_region *region = nth_region_of(large);
    uint8_t *end = (uint8_t *)(uintptr_t)(region->hold_base + region->hold_bytes);
    assert_int_equal(region->hold_bytes % GRANULE, 0);
    assert_ptr_equal(nth_map_find(end - 1), region);
    assert_ptr_equal(nth_map_find((void *)(uintptr_t)region->hold_base), region);
    assert_ptr_not_equal(nth_map_find(end), region);
    assert_false(nth_map_free(end - PAGE, PAGE));
    assert_false(nth_map_free(end - GRANULE, GRANULE));
    assert_true(nth_map_free(end + 0x1000000, GRANULE));
    assert_true(HeapFree(heap, 0, large));
    assert_null(nth_map_find(end - 1));
    assert_null(nth_map_find(end - GRANULE));
    assert_true(nth_map_free(end - GRANULE, GRANULE));
}

static struct nth_pages twice; /* hands out again what a heap has */
static const struct nth_pages *real;
static void *again_base;

static enum nth_seam_status reserve_again(void *self, const struct nth_site *site, size_t bytes,
                                          void **base)
{
    if (again_base != NULL) {
        *base = again_base;
        return NTH_SEAM_OK;
    }
    return real->reserve(self, site, bytes, base);
}

/* D86 */
static void a_reservation_that_a_heap_has_already_is_refused(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    real = seam.pages;
    twice = *real;
    twice.reserve = reserve_again;
    seam.pages = &twice;
    again_base = NULL;
    nth_seam_set(&seam);
    HANDLE heap = rig_heap_new();
    const struct nth_region *region = nth_region_of(heap);
    for (size_t at = 0; at < region->bytes; at += GRANULE) {
        again_base = (uint8_t *)heap + at;
        assert_null(HeapCreate(0, 0x1000, 0x1000));
        assert_null(HeapAlloc(heap, 0, LARGE_BYTES));
    }
    again_base = (uint8_t *)heap - GRANULE; /* which ends inside */
    assert_null(HeapAlloc(heap, 0, LARGE_BYTES));
    again_base = NULL;
    assert_true(HeapValidate(heap, 0, NULL));
    seam.pages = real;
    nth_seam_set(&seam);
}

/* ---- what stays behind ---- */

static int in_child(void (*body)(void))
{
    int how = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        leave(0);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    return how;
}

static HANDLE shared_heap;

/* The way without the lock is open again in the child. */
static void use_front_in_child(void)
{
    const struct nth_slot *slot = nth_heap_find(shared_heap);
    if (nth_load_acquire(&slot->closed) != 0 || nth_load_acquire(&slot->owner) != NULL ||
        slot->depth != 0) {
        _exit(1);
    }
    PVOID block = HeapAlloc(shared_heap, 0, FIRST_BYTES);
    if (block == NULL || !HeapFree(shared_heap, 0, block) || !HeapValidate(shared_heap, 0, NULL)) {
        _exit(2);
    }
}

static void a_child_finds_gates_open_and_locks_free(void **state)
{
    (void)state;
    shared_heap = rig_heap_new();
    for (unsigned count = 0; count < 2u * START; count++) {
        (void)rig_block_new(shared_heap, FIRST_BYTES);
    }
    assert_int_equal(in_child(use_front_in_child), 0);
}

/* A thread's notes of a heap are of no use after a reset, even where a new one has its address. */
static LONG not_to_be_asked(EXCEPTION_POINTERS *info)
{
    (void)info;
    return EXCEPTION_CONTINUE_SEARCH;
}

static void after_a_reset_nothing_is_remembered_of_the_heaps_before(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        struct nth_seam seam = rig_seam();
        nth_seam_set(&seam);
        HANDLE heap = rig_heap_new();
        for (unsigned count = 0; count < 2u * START; count++) {
            (void)rig_block_new(heap, FIRST_BYTES);
        }
        assert_non_null(AddVectoredExceptionHandler(1, not_to_be_asked));
        nth_self.holds_process = true; /* as in a page source's exception */
        SetLastError(5);
        (void)rig_setup(state);
        assert_false(nth_vectored_any());
        for (size_t idx = 0; idx < NTH_HOT_COUNT; idx++) {
            assert_null(nth_self.hot[idx].handle);
            assert_null(nth_self.hot[idx].cache);
        }
        assert_null(nth_self.call);
        assert_false(nth_self.holds_process);
        assert_int_equal(GetLastError(), NO_ERROR);
        nth_self.holds_process = true; /* and no heap goes, which would take the lock */
        nth_process_reset();
        assert_false(nth_self.holds_process);
    }
}

/* A slot that was a heap's is given back clean. */
static void a_slot_that_is_free_holds_nothing(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_slot *slot = nth_heap_find(heap);
    const uint32_t idx = slot->idx;
    assert_true(HeapLock(heap));
    assert_true(HeapDestroy(heap));
    assert_false(slot->taken);
    assert_null(slot->heap);
    assert_null(slot->first);
    assert_null(slot->lock);
    assert_null(slot->caller_lock);
    assert_true(slot->flags == 0);
    assert_true(slot->serial == 0);
    assert_true(slot->state_seal == 0);
    assert_int_equal(slot->depth, 0);
    assert_false(slot->damaged);
    assert_null(nth_load_relaxed(&slot->owner));
    assert_int_equal(nth_load_relaxed(&slot->closed), 0);
    assert_int_equal(slot->idx, idx);
    assert_ptr_equal(nth_slot_take(), slot);
    slot->flags = 1;
    slot->serial = 1;
    slot->state_seal = 1;
    slot->depth = 3;
    slot->damaged = true;
    nth_store_release(&slot->closed, 1u);
    nth_slot_give(slot);
    assert_true(slot->flags == 0);
    assert_true(slot->serial == 0);
    assert_true(slot->state_seal == 0);
    assert_int_equal(slot->depth, 0);
    assert_false(slot->damaged);
    assert_int_equal(nth_load_relaxed(&slot->closed), 0);
}

static void raise_in_commit(void)
{
    RaiseException(0xE0005678u, 0, 0, NULL);
}

/* An exception in the page source, in the middle of a new heap: what is left of that goes with the
 * next reset, and the thread is in no heap any more. */
static void a_heap_that_an_exception_ended_leaves_no_trace(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        bool raised = false;
        assert_true(round == 0 || GetProcessHeap() != NULL);
        rig_pages_on_commit(raise_in_commit);
        NT_TRY
        {
            (void)HeapCreate(0, 0, PAGE);
        }
        NT_EXCEPT(nth_filter_all, NULL)
        {
            raised = true;
        }
        NT_END_TRY
        rig_pages_on_commit(NULL);
        assert_true(raised);
        assert_null(nth_load_relaxed(&nth_self.inside));
        assert_null(nth_self.call);
        assert_false(nth_self.holds_process);
        HANDLE heap = rig_heap_new(); /* the process lock is free */
        PVOID block = rig_block_new(heap, 100);
        assert_true(HeapFree(heap, 0, block));
        nth_process_reset();
        const struct nth_balance balance = nth_balance_now();
        assert_int_equal(balance.reservation_count, 0);
        assert_int_equal(balance.reserved_bytes, 0);
        assert_int_equal(balance.committed_bytes, 0);
    }
}

static void refuse_from_now_on(void)
{
    rig_pages_refuse(TRUE);
}

/* The heap past the first table: where its table is refused, at either step, it is not made, all
 * others are as they were, and the next attempt finds a table. */
static void a_table_of_heaps_that_is_refused_leaves_nothing(void **state)
{
    (void)state;
    for (ULONG count = RtlGetProcessHeaps(0, NULL); count < FIRST_TABLE; count++) {
        assert_non_null(HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE));
    }
    const struct nth_balance before = nth_balance_now();
    for (unsigned step = 0; step < 2; step++) {
        rig_pages_refuse_only("heaps.table");
        rig_pages_refuse(step == 0);
        rig_pages_on_commit(refuse_from_now_on);
        SetLastError(RIG_LAST_ERROR);
        assert_null(HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE));
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        rig_pages_on_commit(NULL);
        rig_pages_refuse(FALSE);
        rig_pages_refuse_only(NULL);
        const struct nth_balance after = nth_balance_now();
        assert_int_equal(after.reservation_count, before.reservation_count);
        assert_int_equal(after.reserved_bytes, before.reserved_bytes);
        assert_int_equal(after.committed_bytes, before.committed_bytes);
        assert_int_equal(RtlGetProcessHeaps(0, NULL), FIRST_TABLE);
    }
    assert_non_null(HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE));
    assert_int_equal(RtlGetProcessHeaps(0, NULL), FIRST_TABLE + 1);
}

/* Once the front end has started for a class, its word stays: what comes and goes counts no more.
 */
static void a_class_that_has_started_counts_no_more(void **state)
{
    (void)state;
    PVOID blocks[START];
    uint64_t words[NTH_BUCKET_COUNT];
    HANDLE heap = rig_heap_new();
    PVOID large = rig_block_new(heap, 0x4000 + 8); /* of no class */
    for (unsigned idx = 0; idx < START; idx++) {
        blocks[idx] = rig_block_new(heap, FIRST_BYTES);
    }
    assert_true(is_front(heap, blocks[START - 1]));
    assert_false(is_front(heap, blocks[0]));
    for (size_t idx = 0; idx < NTH_BUCKET_COUNT; idx++) {
        words[idx] = forge_inside(heap)->buckets[idx].outstanding;
    }
    for (unsigned idx = 0; idx < START; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, large, FIRST_BYTES), large);
    assert_true(HeapFree(heap, 0, large));
    for (size_t idx = 0; idx < NTH_BUCKET_COUNT; idx++) {
        assert_true(words[idx] == forge_inside(heap)->buckets[idx].outstanding);
    }
}

/* The count of a class that is damaged: each call that would change it tells so and leaves it. */
static void a_damaged_count_of_a_class_stays_damaged(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID other = rig_block_new(heap, FIRST_BYTES);
    uint64_t *word = NULL;
    uint64_t counts[NTH_BUCKET_COUNT];
    for (size_t idx = 0; idx < NTH_BUCKET_COUNT; idx++) {
        counts[idx] = forge_inside(heap)->buckets[idx].outstanding;
    }
    PVOID block = rig_block_new(heap, SECOND_BYTES);
    for (size_t idx = 0; idx < NTH_BUCKET_COUNT; idx++) {
        const bool changed = counts[idx] != forge_inside(heap)->buckets[idx].outstanding;
        word = changed ? &forge_inside(heap)->buckets[idx].outstanding : word;
    }
    assert_non_null(word);
    for (unsigned call = 0; call < 4; call++) {
        rig_flip(word);
        const uint64_t before = *word;
        const struct rig_outcome outcome = call == 0   ? rig_free(heap, block)
                                           : call == 1 ? rig_alloc(heap, 0, SECOND_BYTES)
                                           : call == 2 ? rig_realloc(heap, 0, other, SECOND_BYTES)
                                                       : rig_realloc(heap, 0, block, FIRST_BYTES);
        assert_int_equal(outcome.value, 0);
        assert_int_equal(outcome.reports, 1);
        assert_true(*word == before);
        assert_false(HeapValidate(heap, 0, NULL));
        rig_flip(word);
        assert_true(HeapValidate(heap, 0, NULL));
    }
    assert_true(HeapFree(heap, 0, block));
    assert_true(HeapFree(heap, 0, other));
}

/* ---- the arena ---- */

static void an_arena_is_clean_after_a_reset(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct nth_arena *arena = kind == 0   ? nth_arena_create(0x400000, 0x100000)
                                  : kind == 1 ? nth_arena_create_resident(0x400000, 0x100000)
                                              : nth_arena_create_open(0x400000, 0x100000);
        const struct nth_pages *pages = nth_arena_pages(arena);
        void *first = NULL;
        for (unsigned round = 0; round < 7;
             round++) { /* a resident one drops its pages in between */
            void *base = NULL;
            const size_t bytes = round == 5 ? 16 * PAGE : 0x100000;
            assert_int_equal(pages->reserve(pages->self, NULL, 0x200000, &base), NTH_SEAM_OK);
            first = round == 0 ? base : first;
            assert_ptr_equal(base, first); /* from the start again */
            assert_int_equal(pages->commit(pages->self, NULL, base, bytes, round % 2), NTH_SEAM_OK);
            nth_unpoison(base, bytes);
            for (size_t at = 0; at < bytes; at += 512) {
                assert_int_equal(((uint8_t *)base)[at], 0);
            }
            memset(base, 0xA5, bytes);
            assert_int_equal(nth_arena_balance(arena).committed_bytes, bytes);
            assert_int_equal(nth_arena_balance(arena).reserved_bytes, 0x200000);
            assert_int_equal(nth_arena_balance(arena).reservation_count, 1);
            if (round % 2 == 1) {
                assert_int_equal(pages->decommit(pages->self, NULL, base, PAGE), NTH_SEAM_OK);
                assert_int_equal(pages->commit(pages->self, NULL, base, PAGE, FALSE), NTH_SEAM_OK);
                nth_unpoison(base, PAGE);
                assert_int_equal(((uint8_t *)base)[0], 0);
                assert_int_equal(((uint8_t *)base)[PAGE - 1], 0);
            }
            nth_arena_reset(arena);
            const struct nth_balance balance = nth_arena_balance(arena);
            assert_int_equal(balance.committed_bytes, 0);
            assert_int_equal(balance.reserved_bytes, 0);
            assert_int_equal(balance.reservation_count, 0);
        }
        nth_arena_destroy(arena);
    }
}

static size_t resident_pages(const struct nth_pages *pages)
{
    static unsigned char there[0x400000 / NTH_PAGE_BYTES];
    size_t count = 0;
    assert_int_equal(mincore((void *)(uintptr_t)pages->low, 0x400000, there), 0);
    for (size_t idx = 0; idx < sizeof(there); idx++) {
        count += there[idx] & 1u;
    }
    return count;
}

/* A large piece or a small one is used and given back, all over the span. */
static void go_over(const struct nth_pages *pages, uint8_t *base, size_t bytes)
{
    for (uint8_t *place = base; place < base + 0x300000; place += 0x20000) {
        assert_int_equal(pages->commit(pages->self, NULL, place, bytes, FALSE), NTH_SEAM_OK);
        nth_unpoison(place, bytes);
        for (size_t at = 0; at < bytes; at += 256) {
            assert_int_equal(place[at], 0);
        }
        memset(place, 0xA5, bytes);
        assert_int_equal(pages->decommit(pages->self, NULL, place, bytes), NTH_SEAM_OK);
    }
}

/* Whatever runs on it: memory beyond its limit is the system's again at the next reset. */
static void an_arena_takes_its_limit_and_little_more(void **state)
{
    const size_t limit = 64; /* pages */
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct nth_arena *arena = kind == 0   ? nth_arena_create(0x400000, limit * PAGE)
                                  : kind == 1 ? nth_arena_create_resident(0x400000, limit * PAGE)
                                              : nth_arena_create_open(0x400000, limit * PAGE);
        const struct nth_pages *pages = nth_arena_pages(arena);
        for (unsigned round = 0; round < 3; round++) {
            void *base = NULL;
            assert_int_equal(pages->reserve(pages->self, NULL, 0x300000, &base), NTH_SEAM_OK);
            go_over(pages, base, 0x20000);
            go_over(pages, base, PAGE);
            assert_true(resident_pages(pages) <= limit * 2);
            uint8_t *last = (uint8_t *)base + 0x300000 - 0x20000;
            assert_int_equal(pages->commit(pages->self, NULL, last, 0x20000, FALSE), NTH_SEAM_OK);
            nth_unpoison(last, 0x20000);
            memset(last, 0x5A, 0x20000);
            nth_arena_reset(arena);
            assert_true(resident_pages(pages) <= limit);
            assert_int_equal(nth_arena_balance(arena).committed_bytes, 0);
        }
        nth_arena_destroy(arena);
    }
}

/* What is committed twice counts once; what was released is not handed out again at once. */
static void an_arena_counts_pages_once_and_goes_round(void **state)
{
    (void)state;
    struct nth_arena *arena = nth_arena_create(8 * GRANULE, 4 * PAGE);
    const struct nth_pages *pages = nth_arena_pages(arena);
    void *base = NULL;
    void *next = NULL;
    assert_int_equal(pages->reserve(pages->self, NULL, 0, &base), NTH_SEAM_REFUSED);
    assert_int_equal(pages->reserve(pages->self, NULL, GRANULE + PAGE, &base), NTH_SEAM_OK);
    assert_int_equal(pages->commit(pages->self, NULL, base, 3 * PAGE, FALSE), NTH_SEAM_OK);
    assert_int_equal(pages->commit(pages->self, NULL, base, 4 * PAGE, FALSE), NTH_SEAM_OK);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 4 * PAGE);
    assert_int_equal(pages->commit(pages->self, NULL, base, 5 * PAGE, FALSE), NTH_SEAM_REFUSED);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 4 * PAGE);
    assert_int_equal(pages->decommit(pages->self, NULL, base, 2 * PAGE), NTH_SEAM_OK);
    assert_int_equal(pages->decommit(pages->self, NULL, base, 2 * PAGE), NTH_SEAM_OK);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 2 * PAGE);
    assert_int_equal(pages->release(pages->self, NULL, base, GRANULE + PAGE), NTH_SEAM_OK);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 0);
    assert_int_equal(pages->reserve(pages->self, NULL, 2 * GRANULE, &next), NTH_SEAM_OK);
    assert_ptr_equal(next, (uint8_t *)base + 2 * GRANULE);
    assert_int_equal(pages->reserve(pages->self, NULL, 5 * GRANULE, &next), NTH_SEAM_REFUSED);
    assert_int_equal(pages->reserve(pages->self, NULL, 4 * GRANULE, &next), NTH_SEAM_OK);
    assert_ptr_equal(next, (uint8_t *)base + 4 * GRANULE);
    assert_int_equal(pages->reserve(pages->self, NULL, 2 * GRANULE, &next), NTH_SEAM_OK);
    assert_ptr_equal(next, base);
    assert_int_equal(pages->reserve(pages->self, NULL, GRANULE, &next), NTH_SEAM_REFUSED);
    nth_arena_destroy(arena);
}

static BOOLEAN mapped(void *place)
{
    unsigned char resident = 0;
    return mincore(place, PAGE, &resident) == 0;
}

static void an_arena_that_is_destroyed_leaves_nothing_mapped(void **state)
{
    (void)state;
    struct nth_arena *arena = nth_arena_create(0x400000, 0x100000);
    uint8_t *low = (uint8_t *)(uintptr_t)nth_arena_pages(arena)->low;
    assert_true(mapped(low));
    nth_arena_destroy(arena);
    assert_false(mapped(low));
    assert_false(mapped(low + 0x400000 - PAGE));
    assert_false(mapped(arena));
}

static BOOLEAN executable(void *place)
{
    char line[512];
    BOOLEAN found = FALSE;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        char *end = NULL;
        const unsigned long first = strtoul(line, &end, 16);
        const unsigned long last = strtoul(end + 1, &end, 16);
        if (first <= (uintptr_t)place && (uintptr_t)place < last) {
            found = end[3] == 'x';
        }
    }
    (void)fclose(maps);
    return found;
}

static void no_page_of_an_arena_stays_executable(void **state)
{
    (void)state;
    struct nth_arena *arena = nth_arena_create_open(0x400000, 0x100000);
    const struct nth_pages *pages = nth_arena_pages(arena);
    void *base = NULL;
    assert_int_equal(pages->reserve(pages->self, NULL, GRANULE, &base), NTH_SEAM_OK);
    assert_int_equal(pages->commit(pages->self, NULL, base, 2 * PAGE, TRUE), NTH_SEAM_OK);
    assert_true(executable(base));
    assert_true(executable((uint8_t *)base + PAGE));
    nth_arena_reset(arena);
    assert_false(executable(base));
    assert_false(executable((uint8_t *)base + PAGE));
    nth_arena_destroy(arena);
}

/* The system's own: one below the other, so that what was released is not handed out soon. */
static void reservations_of_the_system_go_down(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    const struct nth_pages *pages = nth_pages_os();
    void *places[COUNT];
    unsigned below = 0;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_int_equal(pages->reserve(pages->self, NULL, 3 * GRANULE, &places[idx]), NTH_SEAM_OK);
        assert_int_equal((uintptr_t)places[idx] % GRANULE, 0);
        below += idx > 0 && (uint8_t *)places[idx] == (uint8_t *)places[idx - 1] - 3 * GRANULE;
        if (idx % 2 == 1) {
            assert_int_equal(pages->release(pages->self, NULL, places[idx], 3 * GRANULE),
                             NTH_SEAM_OK);
            assert_false(mapped(places[idx]));
        }
    }
    assert_true(below > COUNT / 2);
    for (unsigned idx = 0; idx < COUNT; idx += 2) {
        assert_int_equal(pages->release(pages->self, NULL, places[idx], 3 * GRANULE), NTH_SEAM_OK);
    }
}

/* ---- what a page source does not take back ---- */

static struct nth_pages keeping;
static BOOLEAN keeps;

static enum nth_seam_status release_or_keep(void *self, const struct nth_site *site, void *base,
                                            size_t bytes)
{
    return keeps ? NTH_SEAM_REFUSED : real->release(self, site, base, bytes);
}

/* As many as are remembered, and all are tried again at the reset. */
static void what_is_not_taken_back_is_tried_again(void **state)
{
    (void)state;
    enum { COUNT = 64 };
    HANDLE heaps[COUNT];
    struct nth_seam seam = rig_seam();
    real = seam.pages;
    keeping = *real;
    keeping.release = release_or_keep;
    seam.pages = &keeping;
    keeps = FALSE;
    nth_seam_set(&seam);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        heaps[idx] = rig_heap_new();
    }
    keeps = TRUE;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(HeapDestroy(heaps[idx]));
    }
    assert_true(nth_balance_now().reservation_count >= COUNT);
    keeps = FALSE;
    nth_process_reset();
    assert_int_equal(nth_balance_now().reservation_count, 0);
    assert_int_equal(nth_balance_now().reserved_bytes, 0);
    assert_int_equal(nth_balance_now().committed_bytes, 0);
    seam.pages = real;
    nth_seam_set(&seam);
}

static struct nth_pages dirty;

static enum nth_seam_status commit_rubbish(void *self, const struct nth_site *site, void *base,
                                           size_t bytes, BOOLEAN as_code)
{
    const enum nth_seam_status status = real->commit(self, site, base, bytes, as_code);
    if (status == NTH_SEAM_OK) {
        nth_unpoison(base, bytes);
        memset(base, 0xA5, bytes);
    }
    return status;
}

/* Pages full of rubbish, of a source that says so: all kinds of blocks, and more heaps than one
 * table has. */
static void rubbish_in_new_pages_does_no_harm(void **state)
{
    (void)state;
    enum { COUNT = FIRST_TABLE + 10 };
    struct nth_seam seam = rig_seam();
    real = seam.pages;
    dirty = *real;
    dirty.zeroed = FALSE;
    dirty.commit = commit_rubbish;
    seam.pages = &dirty;
    nth_seam_set(&seam);
    for (unsigned idx = 1; idx < COUNT; idx++) {
        HANDLE heap = HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE);
        assert_non_null(heap);
        assert_non_null(HeapAlloc(heap, 0, 100));
        assert_true(HeapValidate(heap, 0, NULL));
    }
    HANDLE heap = rig_heap_new();
    for (unsigned count = 0; count < 20u * START; count++) {
        (void)rig_block_new(heap, FIRST_BYTES);
    }
    (void)rig_block_new(heap, 0x60000);
    (void)rig_block_new(heap, LARGE_BYTES);
    const uint8_t *zeroes = HeapAlloc(heap, HEAP_ZERO_MEMORY, LARGE_BYTES);
    assert_non_null(zeroes);
    for (size_t idx = 0; idx < LARGE_BYTES; idx += 61) {
        assert_int_equal(zeroes[idx], 0);
    }
    assert_true(RtlValidateProcessHeaps());
    nth_process_reset();
    assert_int_equal(nth_balance_now().reservation_count, 0);
    seam.pages = real;
    nth_seam_set(&seam);
}

/* Room for three heaps. A base that was a heap's is set aside as long as there is another. */
static void a_base_of_another_heap_is_taken_when_there_is_no_other(void **state)
{
    (void)state;
    const struct nth_region *usual = nth_region_of(rig_heap_new());
    const size_t each = (usual->hold_bytes + GRANULE - 1) & ~(GRANULE - 1);
    struct nth_arena *arena = nth_arena_create(3 * each + GRANULE, 0x100000); /* and the map */
    struct nth_seam seam = rig_seam();
    seam.pages = nth_arena_pages(arena);
    nth_seam_set(&seam);
    HANDLE first = rig_heap_new();
    HANDLE second = rig_heap_new();
    assert_true(HeapDestroy(first));
    HANDLE third = rig_heap_new();
    assert_ptr_not_equal(third, first);
    assert_true(HeapDestroy(third));
    HANDLE fourth = rig_heap_new();
    assert_true(fourth == first || fourth == third);
    assert_int_equal(nth_balance_now().reservation_count, 2 + nth_map.used_max);
    HANDLE fifth = rig_heap_new();
    assert_true(fifth == first || fifth == third);
    assert_null(HeapCreate(0, 0, 0));
    assert_true(HeapDestroy(fourth));
    assert_true(HeapDestroy(fifth));
    assert_true(HeapDestroy(second));
    nth_seam_set(NULL);
    assert_int_equal(nth_balance_now().committed_bytes, 0);
    assert_int_equal(nth_balance_now().reserved_bytes, 0);
    nth_arena_destroy(arena);
}

/* ---- keys ---- */

/* Sealed words are mixed by multiplying: an even key would lose bits. */
static void second_keys_are_odd(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct nth_seam seam = rig_seam();
        seam.seed = seed;
        nth_seam_set(&seam);
        for (unsigned count = 0; count < 10; count++) {
            assert_true((forge_inside(rig_heap_new())->config.key.second & 1u) != 0);
        }
        assert_true((nth_process.key.second & 1u) != 0);
    }
}

/* ---- segments and the whole heap ---- */

/* Lists that lead nowhere: the address map has all that is to be given back. */
static void a_heap_with_damaged_lists_is_destroyed_whole(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 5; kind++) {
        (void)rig_setup(state);
        HANDLE heap = rig_heap_new();
        (void)rig_block_new(heap, LARGE_BYTES);
        PVOID large = rig_block_new(heap, LARGE_BYTES);
        (void)rig_block_new(heap, 0x7E000);
        (void)rig_block_new(heap, 0x7E000);
        struct nth_heap *inside = forge_inside(heap);
        if (kind == 0) {
            inside->state.large_first = 0x10000;
            forge_seal_state(heap);
        } else if (kind == 1) {
            inside->state.large_count = 0;
            forge_seal_state(heap);
        } else if (kind == 2) {
            nth_region_of(large)->next = 0x10000;
            nth_region_seal(nth_region_of(large));
        } else if (kind == 3) {
            inside->segments[1] ^= 1u;
        } else {
            inside->state.large_count ^= 1u; /* not sealed */
        }
        assert_true(HeapDestroy(heap));
        assert_int_equal(nth_balance_now().reservation_count, nth_map.used_max);
    }
    rig_report_forget();
}

/* A free block of more units than a busy one can have. */
static void a_free_block_of_twenty_four_megabytes_is_one(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0x1800000, 0);
    assert_non_null(heap);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapCompact(heap, 0) > 0x17F0000);
    PVOID block = rig_block_new(heap, 0x40000);
    assert_true(HeapFree(heap, 0, block));
    assert_true(HeapValidate(heap, 0, NULL));
}

static size_t segment_total(HANDLE heap)
{
    size_t count = 0;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    while (HeapWalk(heap, &entry)) {
        count += (entry.wFlags & PROCESS_HEAP_REGION) != 0;
    }
    return count;
}

/* More segments than have their number in the heap object; a number that is free again is taken. */
static void segments_past_the_first_thirty_two_are_as_the_others(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    PVOID blocks[COUNT];
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = GRANULE};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, GRANULE, 0, NULL, &wanted);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, 0x7E000);
    }
    const size_t most = segment_total(heap);
    assert_true(most > NTH_SEGMENT_NEAR_COUNT);
    assert_true(HeapValidate(heap, 0, NULL));
    const uint64_t numbers = forge_inside(heap)->state.segment_count;
    const size_t reserved = nth_balance_now().reservation_count;
    for (unsigned idx = 0; idx < COUNT; idx += 3) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    (void)HeapCompact(heap, 0);
    assert_true(segment_total(heap) < most);
    assert_true(HeapValidate(heap, 0, NULL));
    for (unsigned idx = 0; idx < COUNT; idx += 3) {
        blocks[idx] = rig_block_new(heap, 0x7E000);
    }
    assert_true(forge_inside(heap)->state.segment_count <= numbers + 1);
    assert_true(nth_balance_now().reservation_count <= reserved + 1);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapDestroy(heap));
}

/* The largest free block is told by compacting, to the byte. */
static void compacting_tells_the_largest_free_block(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0x20000);
    PVOID blocks[8];
    for (unsigned idx = 0; idx < 8; idx++) {
        blocks[idx] = rig_block_new(heap, 1000 + 512 * idx);
    }
    PVOID rest = HeapAlloc(heap, 0, HeapCompact(heap, 0));
    assert_non_null(rest);
    assert_true(HeapFree(heap, 0, blocks[2]));
    assert_true(HeapFree(heap, 0, blocks[5]));
    assert_true(HeapFree(heap, 0, blocks[0]));
    const SIZE_T most = HeapCompact(heap, 0);
    assert_true(most >= 1000 + 512 * 5);
    assert_true(most < 1000 + 512 * 5 + 32);
    PVOID taken = HeapAlloc(heap, 0, most);
    assert_ptr_equal(taken, blocks[5]);
    const SIZE_T next = HeapCompact(heap, 0);
    assert_true(next >= 1000 + 512 * 2);
    assert_true(next < 1000 + 512 * 2 + 32);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_class_starts_with_its_eighteenth_block),
        TEST(a_block_that_is_resized_counts_for_its_new_class),
        TEST(a_block_that_is_resized_within_its_class_counts_once),
        TEST(a_block_that_cannot_be_resized_counts_as_before),
        TEST(a_block_that_moves_counts_for_its_new_class),
        TEST(an_empty_chunk_goes_where_others_have_slots),
        TEST(a_block_with_user_information_counts_for_no_class),
        TEST(what_a_shrink_leaves_is_free_from_the_least_block_on),
        TEST(the_largest_class_ends_where_the_front_end_does),
        TEST(no_slot_is_larger_than_the_heap_allows),
        TEST(a_class_starts_with_its_thousandth_allocation),
        TEST(blocks_with_a_user_value_do_not_count),
        TEST(chunks_of_a_class_grow_up_to_a_limit),
        TEST(empty_chunks_go_back_but_for_one),
        TEST(slots_at_hand_need_no_lock),
        TEST(a_magazine_grows_where_a_thread_takes_as_well_as_gives),
        TEST(damage_is_noticed_on_the_way_without_the_lock),
        TEST(a_resize_that_cannot_give_the_old_block_back_is_undone),
        TEST(a_resize_clears_what_is_new_and_no_more),
        TEST(heaps_at_the_edge_of_the_first_table_are_heaps_as_any),
        TEST(a_thousand_heaps_have_a_slot_each),
        TEST(the_map_has_a_region_to_its_last_byte),
        TEST(a_reservation_that_a_heap_has_already_is_refused),
        TEST(a_child_finds_gates_open_and_locks_free),
        TEST(after_a_reset_nothing_is_remembered_of_the_heaps_before),
        TEST(a_slot_that_is_free_holds_nothing),
        TEST(a_heap_that_an_exception_ended_leaves_no_trace),
        TEST(a_table_of_heaps_that_is_refused_leaves_nothing),
        TEST(a_class_that_has_started_counts_no_more),
        TEST(a_damaged_count_of_a_class_stays_damaged),
        TEST(an_arena_is_clean_after_a_reset),
        TEST(an_arena_takes_its_limit_and_little_more),
        TEST(an_arena_counts_pages_once_and_goes_round),
        TEST(an_arena_that_is_destroyed_leaves_nothing_mapped),
        TEST(no_page_of_an_arena_stays_executable),
        TEST(reservations_of_the_system_go_down),
        TEST(what_is_not_taken_back_is_tried_again),
        TEST(rubbish_in_new_pages_does_no_harm),
        TEST(a_base_of_another_heap_is_taken_when_there_is_no_other),
        TEST(second_keys_are_odd),
        TEST(a_heap_with_damaged_lists_is_destroyed_whole),
        TEST(a_free_block_of_twenty_four_megabytes_is_one),
        TEST(segments_past_the_first_thirty_two_are_as_the_others),
        TEST(compacting_tells_the_largest_free_block),
    };
    return cmocka_run_group_tests_name("holes", tests, NULL, NULL);
}
