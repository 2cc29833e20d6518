/* SPDX-License-Identifier: MIT
 *
 * Rulings on walking and on what of it validates (D68 to D72, D76). */
#include "support/rig.h"

#include <string.h>

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define HEADER ((SIZE_T)8)         /* in front of a block's data */
#define FREE_OVERHEAD ((SIZE_T)32) /* of a free block: 24 bytes before its data, 8 behind */
#define FREE_BEFORE ((SIZE_T)24)
#define BORDER ((SIZE_T)8)     /* between a block and pages that are not committed, or the end */
#define PLAIN ((SIZE_T)0x4800) /* a size that the front end does not serve */

static struct rig_outcome walk(HANDLE heap, PVOID entry)
{
    struct rig_args args = {.call = RIG_HEAP_WALK, .heap = heap, .extra = entry};
    return rig_run(&args);
}

static struct rig_outcome rtl_walk(HANDLE heap, PVOID entry)
{
    struct rig_args args = {.call = RIG_RTL_WALK, .heap = heap, .extra = entry};
    return rig_run(&args);
}

/* Where an element's bytes begin. */
static uintptr_t start_of(const PROCESS_HEAP_ENTRY *entry)
{
    const uintptr_t data = (uintptr_t)entry->lpData;
    if (entry->wFlags == PROCESS_HEAP_UNCOMMITTED_RANGE) {
        return data - BORDER;
    }
    return entry->wFlags == 0 ? data - FREE_BEFORE : data - HEADER;
}

/* D68 */
static void a_fresh_heap_has_a_region_a_free_block_and_an_uncommitted_range(void **state)
{
    (void)state;
    uint8_t *heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    assert_true(HeapWalk(heap, &entry));
    assert_ptr_equal(entry.lpData, heap);
    assert_int_equal(entry.cbData, 64 * PAGE);
    assert_int_equal(entry.iRegionIndex, 0);
    assert_int_equal(entry.wFlags, PROCESS_HEAP_REGION);
    assert_int_equal(entry.Region.dwCommittedSize, PAGE);
    assert_int_equal(entry.Region.dwUnCommittedSize, 63 * PAGE);
    assert_ptr_equal(entry.Region.lpLastBlock, heap + 64 * PAGE);
    const uint8_t *first = entry.Region.lpFirstBlock;
    assert_true(HeapWalk(heap, &entry));
    assert_int_equal(entry.wFlags, 0);
    assert_int_equal(entry.iRegionIndex, 0);
    assert_int_equal(entry.cbOverhead, FREE_OVERHEAD);
    assert_ptr_equal((uint8_t *)start_of(&entry) + entry.cbData + FREE_OVERHEAD,
                     heap + PAGE - BORDER);
    assert_ptr_equal(first, start_of(&entry) + HEADER);
    assert_true(HeapWalk(heap, &entry));
    assert_int_equal(entry.wFlags, PROCESS_HEAP_UNCOMMITTED_RANGE);
    assert_ptr_equal(entry.lpData, heap + PAGE);
    assert_int_equal(entry.cbData, 63 * PAGE);
    assert_int_equal(entry.cbOverhead, BORDER);
    assert_int_equal(entry.iRegionIndex, 0);
    struct rig_outcome outcome = walk(heap, &entry);
    rig_demand_error(&outcome, FALSE, ERROR_NO_MORE_ITEMS);
}

/* Some live blocks, some freed ones, several regions; none of the front end. */
static void make_mixture(HANDLE heap)
{
    PVOID blocks[60];
    for (size_t idx = 0; idx < 60; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, PLAIN + 0x1230 * (idx % 7));
        assert_non_null(blocks[idx]);
    }
    for (size_t idx = 0; idx < 60; idx += 3) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
}

/* The region being walked. */
struct account {
    uintptr_t next; /* where the next element begins */
    uintptr_t end;  /* of all of them */
    SIZE_T uncommitted;
    unsigned regions;
};

static void account_region(struct account *account, const PROCESS_HEAP_ENTRY *entry)
{
    const uintptr_t base = (uintptr_t)entry->lpData;
    assert_int_equal(account->next, account->end);
    assert_int_equal(account->uncommitted, 0);
    account->next = (uintptr_t)entry->Region.lpFirstBlock - HEADER;
    account->end = base + entry->cbData - (base + entry->cbOverhead - account->next);
    account->uncommitted = entry->Region.dwUnCommittedSize;
    assert_int_equal(entry->Region.dwCommittedSize + account->uncommitted, entry->cbData);
    assert_int_equal(base + entry->cbData, (uintptr_t)entry->Region.lpLastBlock);
    assert_int_equal(entry->iRegionIndex, account->regions++);
}

static void account_element(struct account *account, const PROCESS_HEAP_ENTRY *entry)
{
    assert_int_equal(entry->iRegionIndex, account->regions - 1);
    assert_int_equal(start_of(entry), account->next);
    account->next += entry->cbData + entry->cbOverhead;
    account->uncommitted -= entry->wFlags == PROCESS_HEAP_UNCOMMITTED_RANGE ? entry->cbData : 0;
}

/* D68 */
static void elements_account_for_their_region(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    struct account account = {0};
    make_mixture(heap);
    while (HeapWalk(heap, &entry)) {
        if (entry.wFlags == PROCESS_HEAP_REGION) {
            account_region(&account, &entry);
        } else {
            account_element(&account, &entry);
        }
    }
    assert_int_equal(account.next, account.end);
    assert_int_equal(account.uncommitted, 0);
    assert_true(account.regions > 1);
}

/* D68 */
static void large_blocks_come_last_in_order_of_allocation(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    PVOID large[4];
    unsigned seen = 0;
    for (SIZE_T idx = 0; idx < 4; idx++) {
        large[idx] = HeapAlloc(heap, 0, 0x100001 + idx);
        assert_non_null(HeapAlloc(heap, 0, 0x40000));
    }
    assert_true(HeapFree(heap, 0, large[1]));
    large[1] = large[2];
    large[2] = large[3];
    large[3] = HeapAlloc(heap, 0, 0x90000);
    while (HeapWalk(heap, &entry)) {
        assert_false(seen > 0 && entry.iRegionIndex != 64);
        if (entry.iRegionIndex == 64) {
            assert_ptr_equal(entry.lpData, large[seen]);
            assert_int_equal(entry.cbData, HeapSize(heap, 0, large[seen]));
            assert_int_equal(entry.wFlags, PROCESS_HEAP_ENTRY_BUSY);
            seen++;
        }
    }
    assert_int_equal(seen, 4);
}

/* D68 */
static void live_blocks_show_once_with_their_sizes(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    HANDLE heap = rig_heap_new();
    PVOID blocks[COUNT];
    unsigned seen[COUNT] = {0};
    PROCESS_HEAP_ENTRY entry = {0};
    for (SIZE_T idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, idx < 200 ? idx % 50 : idx * idx * 10);
        assert_non_null(blocks[idx]);
    }
    while (HeapWalk(heap, &entry)) {
        size_t idx = 0;
        if (entry.wFlags != PROCESS_HEAP_ENTRY_BUSY) {
            continue;
        }
        while (idx < COUNT && blocks[idx] != entry.lpData) {
            idx++;
        }
        assert_true(idx < COUNT);
        seen[idx]++;
        assert_int_equal(entry.cbData, HeapSize(heap, 0, entry.lpData));
        assert_true(entry.cbOverhead >= HEADER);
    }
    for (size_t idx = 0; idx < COUNT; idx++) {
        assert_int_equal(seen[idx], 1);
    }
}

/* D68 */
static void two_walks_do_not_disturb_each_other(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY first = {0};
    PROCESS_HEAP_ENTRY second = {0};
    make_mixture(heap);
    while (HeapWalk(heap, &first)) {
        assert_true(HeapWalk(heap, &second));
        assert_memory_equal(&first, &second, sizeof(first));
    }
    assert_false(HeapWalk(heap, &second));
}

static USHORT rtl_flags(WORD flags)
{
    switch (flags) {
    case PROCESS_HEAP_ENTRY_BUSY:
        return RTL_HEAP_WALK_BUSY;
    case PROCESS_HEAP_REGION:
        return RTL_HEAP_WALK_REGION;
    case PROCESS_HEAP_UNCOMMITTED_RANGE:
        return RTL_HEAP_WALK_UNCOMMITTED;
    default:
        return 0;
    }
}

/* D69 */
static void both_walks_show_the_same(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    RTL_HEAP_WALK_ENTRY rtl = {0};
    unsigned front_end = 0;
    make_mixture(heap);
    for (unsigned count = 0; count < 60; count++) {
        assert_non_null(HeapAlloc(heap, 0, 40));
    }
    assert_non_null(HeapAlloc(heap, 0, 0x100000));
    while (HeapWalk(heap, &entry)) {
        assert_int_equal(RtlWalkHeap(heap, &rtl), STATUS_SUCCESS);
        assert_ptr_equal(rtl.DataAddress, entry.lpData);
        assert_int_equal(rtl.DataSize, entry.cbData);
        assert_int_equal(rtl.OverheadBytes, entry.cbOverhead);
        assert_int_equal(rtl.SegmentIndex, entry.iRegionIndex);
        assert_int_equal(rtl.Flags & ~RTL_HEAP_WALK_LFH, rtl_flags(entry.wFlags));
        front_end += (rtl.Flags & RTL_HEAP_WALK_LFH) != 0;
        if (entry.wFlags == PROCESS_HEAP_REGION) {
            assert_int_equal(rtl.Segment.CommittedSize, entry.Region.dwCommittedSize);
            assert_int_equal(rtl.Segment.UnCommittedSize, entry.Region.dwUnCommittedSize);
            assert_ptr_equal(rtl.Segment.FirstEntry, entry.Region.lpFirstBlock);
            assert_ptr_equal(rtl.Segment.LastEntry, entry.Region.lpLastBlock);
        } else { /* of what an entry does not tell nothing is left of the one before */
            static const RTL_HEAP_WALK_ENTRY nothing;
            static const PROCESS_HEAP_ENTRY none;
            assert_memory_equal(&rtl.Segment, &nothing.Segment, sizeof(nothing.Segment));
            assert_memory_equal(&entry.Region, &none.Region, sizeof(none.Region));
        }
    }
    assert_true(front_end > 0);
    struct rig_outcome outcome = rtl_walk(heap, &rtl);
    rig_demand_value(&outcome, STATUS_NO_MORE_ENTRIES);
}

/* D69: what a large block has besides its data, where it is less than an entry can say. */
static void a_large_block_and_its_overhead_are_whole_pages(void **state)
{
    (void)state;
    unsigned seen = 0;
    HANDLE heap = rig_heap_new();
    for (SIZE_T bytes = 0x100000; bytes > 0x100000 - NTH_PAGE_BYTES; bytes -= 64) {
        PROCESS_HEAP_ENTRY entry = {0};
        PVOID block = HeapAlloc(heap, 0, bytes);
        while (HeapWalk(heap, &entry) && entry.lpData != block) {
        }
        assert_ptr_equal(entry.lpData, block);
        assert_int_equal(entry.cbData, bytes);
        if (entry.cbOverhead < UINT8_MAX) {
            assert_int_equal((bytes + entry.cbOverhead) % NTH_PAGE_BYTES, 0);
            seen++;
        }
        assert_true(HeapFree(heap, 0, block));
    }
    assert_true(seen > 0);
}

/* D70 */
static void an_altered_entry_is_refused(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = HeapAlloc(heap, 0, PLAIN);
    uint8_t *large = HeapAlloc(heap, 0, 0x100000);
    const PVOID bad[] = {block + 1,       block + 16,     large + 16,     (uint8_t *)heap + 8,
                         rig_heap_new(),  (PVOID)1,       rig_foreign(5), rig_foreign(8),
                         rig_foreign(10), rig_foreign(12)};
    for (size_t idx = 0; idx < sizeof(bad) / sizeof(bad[0]); idx++) {
        PROCESS_HEAP_ENTRY entry = {.lpData = bad[idx], .cbData = 77};
        RTL_HEAP_WALK_ENTRY rtl = {.DataAddress = bad[idx], .DataSize = 77};
        const PROCESS_HEAP_ENTRY before = entry;
        struct rig_outcome outcome = walk(heap, &entry);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 0);
        assert_memory_equal(&entry, &before, sizeof(entry));
        outcome = rtl_walk(heap, &rtl);
        rig_demand_value(&outcome, STATUS_INVALID_PARAMETER);
        assert_int_equal(rtl.DataSize, 77);
    }
}

/* D70 */
static void an_entry_that_cannot_be_used_is_refused(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    const PVOID bad[] = {NULL,           rig_foreign(0),  rig_foreign(3),
                         rig_foreign(8), rig_foreign(10), rig_foreign(12),
                         rig_foreign(13)};
    for (size_t idx = 0; idx < sizeof(bad) / sizeof(bad[0]); idx++) {
        struct rig_outcome outcome = walk(heap, bad[idx]);
        rig_demand_error(&outcome, FALSE, ERROR_NOACCESS);
        outcome = rtl_walk(heap, bad[idx]);
        rig_demand_value(&outcome, STATUS_ACCESS_VIOLATION);
        assert_int_equal(outcome.reports, 0);
    }
}

#define PLACE_COUNT (64 * PAGE / HEADER)

/* D70: of all places in a region only those go on, as their own kind, that a walk shows. */
static void no_place_but_an_elements_goes_on(void **state)
{
    static const WORD kinds[] = {0, PROCESS_HEAP_ENTRY_BUSY, PROCESS_HEAP_UNCOMMITTED_RANGE};
    static uint8_t shown[3][PLACE_COUNT];
    unsigned shown_count = 0;
    PVOID blocks[40];
    PROCESS_HEAP_ENTRY entry = {0};
    (void)state;
    uint8_t *heap = rig_heap_new();
    memset(shown, 0, sizeof(shown));
    for (size_t idx = 0; idx < 40; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40); /* some of them the front end's */
    }
    PVOID plain = HeapAlloc(heap, 0, PLAIN);
    assert_non_null(HeapAlloc(heap, 0, PLAIN));
    assert_true(HeapFree(heap, 0, plain));
    assert_true(HeapFree(heap, 0, blocks[39]));
    while (HeapWalk(heap, &entry)) {
        const size_t place = (size_t)((uint8_t *)entry.lpData - heap) / HEADER;
        for (unsigned kind = 0; kind < 3; kind++) {
            if (entry.wFlags == kinds[kind] && place < PLACE_COUNT) {
                shown[kind][place] = 1;
                shown_count++;
            }
        }
    }
    assert_true(shown_count > 40);
    for (size_t place = 0; place < PLACE_COUNT; place++) {
        for (unsigned kind = 0; kind < 3; kind++) {
            PROCESS_HEAP_ENTRY from = {.lpData = heap + place * HEADER, .wFlags = kinds[kind]};
            SetLastError(0);
            const BOOL more = HeapWalk(heap, &from);
            const BOOL goes_on = more || GetLastError() == ERROR_NO_MORE_ITEMS;
            if (goes_on != shown[kind][place]) {
                print_message("place 0x%zx, kind %u\n", place * HEADER, kind);
            }
            assert_int_equal(goes_on, shown[kind][place]);
            assert_true(goes_on || GetLastError() == ERROR_INVALID_PARAMETER);
        }
    }
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D70 */
/* Of a kind that its place is not: pages that are there called a range that is not, and blocks
 * where there are no pages. */
static void an_entry_of_another_kind_is_refused(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0x3000, 0);
    uint8_t *block = HeapAlloc(heap, 0, PLAIN);
    PROCESS_HEAP_ENTRY range;
    assert_non_null(block);
    assert_true(rig_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, 0, &range));
    const struct {
        PVOID data;
        WORD flags;
    } bad[] = {
        {(uint8_t *)heap + 0x1000, PROCESS_HEAP_UNCOMMITTED_RANGE}, /* committed */
        {heap, PROCESS_HEAP_UNCOMMITTED_RANGE},
        {(uint8_t *)range.lpData + 0x1000, PROCESS_HEAP_UNCOMMITTED_RANGE}, /* in its middle */
        {(uint8_t *)range.lpData + 8, PROCESS_HEAP_UNCOMMITTED_RANGE},
        {(uint8_t *)range.lpData + 0x8008, PROCESS_HEAP_ENTRY_BUSY}, /* no page, no block */
        {(uint8_t *)range.lpData + 0x8010, 0},
        {block + 0x800, PROCESS_HEAP_ENTRY_BUSY},
        {block, 0},
    };
    for (size_t idx = 0; idx < sizeof(bad) / sizeof(bad[0]); idx++) {
        PROCESS_HEAP_ENTRY entry = {
            .lpData = bad[idx].data, .cbData = 77, .wFlags = bad[idx].flags};
        const struct rig_outcome outcome = walk(heap, &entry);
        assert_false(outcome.raised);
        if (outcome.value != FALSE || outcome.last_error != ERROR_INVALID_PARAMETER) {
            print_message("row %zu: %d\n", idx, (int)outcome.value);
        }
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 0);
    }
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void damage_met_by_a_walk_is_reported(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    RTL_HEAP_WALK_ENTRY rtl = {0};
    PVOID block = HeapAlloc(heap, 0, PLAIN);
    struct rig_outcome outcome = walk(heap, &entry);
    rig_demand_value(&outcome, TRUE);
    outcome = rtl_walk(heap, &rtl);
    rig_demand_value(&outcome, STATUS_SUCCESS);
    const PROCESS_HEAP_ENTRY before = entry;
    rig_flip(rig_field(heap, NTH_FIELD_HEADER, block).address);
    outcome = walk(heap, &entry);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    assert_memory_equal(&entry, &before, sizeof(entry));
    rig_report_demand(NTH_CORRUPT_BLOCK_HEADER, heap, block);
    outcome = rtl_walk(heap, &rtl);
    rig_demand_value(&outcome, STATUS_HEAP_CORRUPTION);
    rig_report_demand(NTH_CORRUPT_BLOCK_HEADER, heap, block);
}

/* D70: without its start in the block map an element is none. */
static void damage_that_hides_the_element_of_an_entry_is_reported(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    RTL_HEAP_WALK_ENTRY rtl = {0};
    PVOID block = HeapAlloc(heap, 0, PLAIN);
    while (entry.lpData != block) {
        assert_true(HeapWalk(heap, &entry));
    }
    while (rtl.DataAddress != block) {
        assert_true(NT_SUCCESS(RtlWalkHeap(heap, &rtl)));
    }
    const struct nth_field start = rig_field_named(heap, "block.tag", block);
    nth_poke(start.address, nth_peek(start.address) ^ 0x80u);
    struct rig_outcome outcome = walk(heap, &entry);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand(NTH_CORRUPT_BLOCK_MAP, heap, block);
    outcome = rtl_walk(heap, &rtl);
    rig_demand_value(&outcome, STATUS_HEAP_CORRUPTION);
    rig_report_demand(NTH_CORRUPT_BLOCK_MAP, heap, block);
    nth_poke(start.address, nth_peek(start.address) ^ 0x80u);
    outcome = walk(heap, &entry);
    rig_demand_value(&outcome, TRUE);
}

/* D71 */
static void after_freeing_all_and_compacting_the_walk_is_as_at_first(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x1000000, 0, NULL, NULL);
    PVOID blocks[COUNT];
    PROCESS_HEAP_ENTRY first[4] = {{0}};
    PROCESS_HEAP_ENTRY entry = {0};
    unsigned count = 0;
    for (unsigned idx = 0; HeapWalk(heap, &entry); idx++) {
        first[idx] = entry;
    }
    for (SIZE_T idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, idx < 100 ? 40 : idx * idx * 5);
    }
    for (size_t idx = 0; idx < COUNT; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx * 7 % COUNT]));
    }
    assert_true(HeapCompact(heap, 0) > 0);
    memset(&entry, 0, sizeof(entry));
    while (HeapWalk(heap, &entry)) {
        assert_true(count < 3);
        assert_int_equal(entry.wFlags, first[count].wFlags);
        assert_int_equal(entry.iRegionIndex, first[count].iRegionIndex);
        assert_int_equal(entry.cbOverhead, first[count].cbOverhead);
        if (entry.wFlags != PROCESS_HEAP_UNCOMMITTED_RANGE) {
            assert_ptr_equal(entry.lpData, first[count].lpData);
        }
        count++;
    }
    assert_int_equal(count, 3);
}

/* D72 */
static void sizes_past_32_bits_saturate(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    if (sizeof(SIZE_T) == 4) {
        skip();
    }
    const SIZE_T reserve = (SIZE_T)(UINT64_C(0x120000000) & SIZE_MAX);
    seam.pages = nth_pages_os();
    nth_seam_set(&seam);
    HANDLE heap = RtlCreateHeap(0, NULL, reserve, 0, NULL, NULL);
    PROCESS_HEAP_ENTRY entry = {0};
    RTL_HEAP_WALK_ENTRY rtl = {0};
    assert_true(HeapWalk(heap, &entry));
    assert_int_equal(entry.cbData, UINT32_MAX);
    assert_int_equal(entry.Region.dwUnCommittedSize, UINT32_MAX);
    assert_int_equal(RtlWalkHeap(heap, &rtl), STATUS_SUCCESS);
    assert_int_equal(rtl.DataSize, reserve);
    assert_true(rig_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, 0, &entry));
    assert_int_equal(entry.cbData, UINT32_MAX);
}

/* D76 */
static void only_busy_elements_validate(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PROCESS_HEAP_ENTRY entry = {0};
    make_mixture(heap);
    for (unsigned count = 0; count < 60; count++) {
        assert_non_null(HeapAlloc(heap, 0, 40));
    }
    assert_non_null(HeapAlloc(heap, 0, 0x100000));
    while (HeapWalk(heap, &entry)) {
        assert_int_equal(HeapValidate(heap, 0, entry.lpData),
                         entry.wFlags == PROCESS_HEAP_ENTRY_BUSY);
    }
    rig_report_demand_none();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fresh_heap_has_a_region_a_free_block_and_an_uncommitted_range),
        TEST(elements_account_for_their_region),
        TEST(large_blocks_come_last_in_order_of_allocation),
        TEST(live_blocks_show_once_with_their_sizes),
        TEST(two_walks_do_not_disturb_each_other),
        TEST(both_walks_show_the_same),
        TEST(a_large_block_and_its_overhead_are_whole_pages),
        TEST(an_altered_entry_is_refused),
        TEST(an_entry_that_cannot_be_used_is_refused),
        TEST(an_entry_of_another_kind_is_refused),
        TEST(no_place_but_an_elements_goes_on),
        TEST(damage_met_by_a_walk_is_reported),
        TEST(damage_that_hides_the_element_of_an_entry_is_reported),
        TEST(after_freeing_all_and_compacting_the_walk_is_as_at_first),
        TEST(sizes_past_32_bits_saturate),
        TEST(only_busy_elements_validate),
    };
    return cmocka_run_group_tests_name("rulings on walking", tests, NULL, NULL);
}
