/* SPDX-License-Identifier: MIT
 *
 * Rulings on making a heap (D20 to D35): every test demands the one outcome that core/SOURCES.md
 * names. Destroying, the process heap and listings are in rulings_life.c. */
#include "support/forge.h"

#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define GRANULE ((SIZE_T)NTH_GRANULE_BYTES)

/* What the first element of a walk says about the heap's first region. */
struct region {
    PVOID base;
    DWORD reserved;
    DWORD committed;
    DWORD uncommitted;
};

static struct region region_at(HANDLE heap, unsigned idx)
{
    PROCESS_HEAP_ENTRY entry;
    struct region region = {0};
    if (rig_element(heap, PROCESS_HEAP_REGION, idx, &entry)) {
        region.base = entry.lpData;
        region.reserved = entry.cbData;
        region.committed = entry.Region.dwCommittedSize;
        region.uncommitted = entry.Region.dwUnCommittedSize;
    }
    return region;
}

/* Fill the heap with blocks of this size; how many it gave. */
static unsigned fill(HANDLE heap, SIZE_T size)
{
    unsigned count = 0;
    while (HeapAlloc(heap, 0, size) != NULL) {
        count++;
    }
    return count;
}

static HANDLE create(ULONG flags, SIZE_T reserve, SIZE_T commit)
{
    return RtlCreateHeap(flags, NULL, reserve, commit, NULL, NULL);
}

/* D20 */
static void creation_that_fails_gives_null_and_never_raises(void **state)
{
    (void)state;
    const ULONG flags = HEAP_GENERATE_EXCEPTIONS | HEAP_GROWABLE;
    rig_pages_refuse(TRUE);
    SetLastError(RIG_LAST_ERROR);
    assert_null(create(flags, 0, 0));
    assert_null(create(flags, SIZE_MAX, 0));
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
    assert_null(HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 0));
    assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    rig_report_demand_none();
    rig_pages_refuse(FALSE);
    assert_non_null(create(flags, 0, 0));
}

/* D21 */
static void no_flags_and_no_base_make_a_nongrowable_heap_of_its_reserve(void **state)
{
    (void)state;
    HANDLE heap = create(0, 0x20000, 0);
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_non_null(heap);
    const unsigned count = fill(heap, 0x1000);
    assert_in_range(count, 24, 32);
    assert_true(HeapSummary(heap, 0, &summary));
    assert_int_equal(summary.cbReserved, 0x20000);
    assert_int_equal(summary.cbMaxReserve, 0x20000);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D22 */
static void sizes_left_out_take_the_documented_defaults(void **state)
{
    (void)state;
    const struct {
        SIZE_T reserve, commit, reserved, committed;
    } cases[] = {
        {0, 0, 64 * PAGE, PAGE},
        {0, 1, 16 * PAGE, PAGE},
        {0, 17 * PAGE, 32 * PAGE, 17 * PAGE},
        {40 * PAGE, 0, 40 * PAGE, PAGE},
        {40 * PAGE - 1, 3 * PAGE - 1, 40 * PAGE, 3 * PAGE},
        {16 * PAGE, 64 * PAGE, 16 * PAGE, 16 * PAGE},
    };
    for (size_t idx = 0; idx < sizeof(cases) / sizeof(cases[0]); idx++) {
        HANDLE heap = create(HEAP_GROWABLE, cases[idx].reserve, cases[idx].commit);
        assert_non_null(heap);
        const struct region region = region_at(heap, 0);
        assert_int_equal(region.reserved, cases[idx].reserved);
        assert_int_equal(region.committed, cases[idx].committed);
        assert_int_equal(region.uncommitted, cases[idx].reserved - cases[idx].committed);
        assert_null(RtlDestroyHeap(heap));
    }
}

/* D22 */
static void heapcreate_refuses_an_initial_size_not_below_the_maximum(void **state)
{
    (void)state;
    const SIZE_T refused[][2] = {
        {PAGE, PAGE}, {2 * PAGE, PAGE}, {1, 1}, {SIZE_MAX, PAGE}, {SIZE_MAX, SIZE_MAX}};
    for (size_t idx = 0; idx < sizeof(refused) / sizeof(refused[0]); idx++) {
        SetLastError(RIG_LAST_ERROR);
        assert_null(HeapCreate(0, refused[idx][0], refused[idx][1]));
        assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    }
    SetLastError(RIG_LAST_ERROR);
    assert_non_null(HeapCreate(0, 16 * PAGE - 1, 16 * PAGE));
    assert_non_null(HeapCreate(0, 0x20000, 0));
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
}

/* D22 */
static void heapcreate_tells_a_size_that_cannot_be_from_shortage(void **state)
{
    (void)state;
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapCreate(0, 0, SIZE_MAX));
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapCreate(0, SIZE_MAX - 1, 0));
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapCreate(0, 0, SIZE_MAX / 2));
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapCreate(0, 0, SIZE_MAX / 4));
    assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapCreate(0, SIZE_MAX / 2 - 1, 0));
    assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    assert_null(create(HEAP_GROWABLE, SIZE_MAX, 0));
    assert_null(create(HEAP_GROWABLE, 0, SIZE_MAX));
    assert_null(create(HEAP_GROWABLE, SIZE_MAX / 2, 0));
}

/* D23 */
static void every_creation_flag_bit_has_its_outcome(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        const ULONG flag = (ULONG)1 << bit;
        HANDLE rtl = create(HEAP_GROWABLE | flag, 0, 0);
        HANDLE win32 = HeapCreate(flag, 0, 0);
        assert_non_null(rtl);
        assert_non_null(win32);
        assert_non_null(HeapAlloc(rtl, 0, 100));
        assert_non_null(HeapAlloc(win32, 0, 0x100000)); /* growable whatever the bit */
        assert_true(HeapValidate(rtl, 0, NULL));
        assert_true(HeapValidate(win32, 0, NULL));
        assert_null(RtlDestroyHeap(rtl));
        assert_null(RtlDestroyHeap(win32));
    }
    rig_report_demand_none();
}

/* D23 */
static void heapcreate_ignores_the_growable_bit_and_unknown_bits(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0xFFFFFFFFu & ~HEAP_GENERATE_EXCEPTIONS, 0, 0x10000);
    assert_non_null(heap);
    assert_null(HeapAlloc(heap, 0, 0x20000));
    assert_null(HeapAlloc(heap, 0, 0x10000));
    assert_non_null(HeapAlloc(heap, 0, 0x8000));
}

/* D24 */
static void a_base_that_cannot_hold_a_heap_is_refused(void **state)
{
    (void)state;
    uint8_t *block = aligned_alloc(GRANULE, 4 * GRANULE);
    PVOID no_access = mmap(NULL, 4 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *hole = (uint8_t *)(((uintptr_t)no_access + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1));
    const struct {
        PVOID base;
        SIZE_T reserve;
    } cases[] = {
        {block + 16, 2 * GRANULE},
        {block + PAGE, 2 * GRANULE},
        {block, 0},
        {block, PAGE},
        {block, 2 * PAGE - PAGE - 1},
        {block, SIZE_MAX},
        {hole, 2 * GRANULE},
        {(PVOID)(UINTPTR_MAX - GRANULE + 1), GRANULE},
        {(PVOID)((uintptr_t)1 << (sizeof(uintptr_t) * 8 - 1)), GRANULE},
    };
    nth_seh_install();
    for (size_t idx = 0; idx < sizeof(cases) / sizeof(cases[0]); idx++) {
        assert_null(
            RtlCreateHeap(HEAP_GROWABLE, cases[idx].base, cases[idx].reserve, 0, NULL, NULL));
        assert_null(RtlCreateHeap(0, cases[idx].base, cases[idx].reserve, 0, NULL, NULL));
    }
    rig_report_demand_none();
    munmap(no_access, 4 * GRANULE);
    free(block);
}

/* D24 */
static void a_callers_block_is_used_as_it_is_and_never_given_away(void **state)
{
    (void)state;
    const SIZE_T bytes = 4 * GRANULE;
    uint8_t *block = aligned_alloc(GRANULE, bytes);
    const unsigned calls = rig_pages_calls();
    HANDLE heap = RtlCreateHeap(0, block, bytes, 0, NULL, NULL);
    assert_ptr_equal(heap, block);
    for (uint8_t *ptr; (ptr = HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x1000)) != NULL;) {
        assert_true(ptr > block && ptr + 0x1000 <= block + bytes);
    }
    assert_true(rig_pages_calls() >= calls);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
    memset(block, 0x5A, bytes);
    assert_int_equal(block[bytes - 1], 0x5A);
    free(block);
}

/* D24: what is added up must not run over, and nothing else is compared. */
static void a_callers_block_may_be_larger_than_its_address(void **state)
{
    (void)state;
    uint8_t *const low = (uint8_t *)(uintptr_t)(2 * GRANULE);
    const SIZE_T bytes = 4 * GRANULE;
    if (mmap(low, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
             -1, 0) != low) {
        skip(); /* the system keeps so low an address for itself */
    }
    HANDLE heap = RtlCreateHeap(0, low, bytes, 0, NULL, NULL);
    assert_ptr_equal(heap, low);
    assert_non_null(HeapAlloc(heap, 0, 2 * GRANULE));
    assert_null(RtlDestroyHeap(heap));
    assert_int_equal(munmap(low, bytes), 0);
}

/* D22 */
static void a_commit_above_the_reserve_is_cut_whatever_it_is(void **state)
{
    (void)state;
    const SIZE_T commits[] = {2, PAGE + 1, SIZE_MAX / 2, SIZE_MAX - 1, SIZE_MAX};
    for (size_t idx = 0; idx < sizeof(commits) / sizeof(commits[0]); idx++) {
        HANDLE heap = create(HEAP_GROWABLE, 1, commits[idx]);
        assert_non_null(heap);
        assert_null(RtlDestroyHeap(heap));
    }
}

/* D24 */
static void a_callers_block_may_grow_without_a_commit_routine(void **state)
{
    (void)state;
    uint8_t *block = aligned_alloc(GRANULE, GRANULE);
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, block, GRANULE, 0, NULL, NULL);
    assert_ptr_equal(heap, block);
    for (unsigned count = 0; count < 16; count++) {
        assert_non_null(HeapAlloc(heap, 0, 0x3000));
    }
    assert_non_null(region_at(heap, 1).base);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
    block[0] = 1;
    free(block);
}

/* D27 */
static void parameters_of_a_wrong_length_or_with_reserved_words_are_refused(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS good = {.Length = sizeof(good)};
    RTL_HEAP_PARAMETERS bad = good;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &good);
    assert_non_null(heap);
    assert_int_equal(region_at(heap, 0).reserved, 64 * PAGE);
    for (ULONG length = 0; length < 2 * sizeof(good); length++) {
        bad.Length = length;
        heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &bad);
        assert_int_equal(heap != NULL, length == sizeof(good));
    }
    bad = good;
    bad.Reserved[0] = 1;
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &bad));
    bad = good;
    bad.Reserved[1] = 1;
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &bad));
}

/* D27 */
static void parameters_that_cannot_be_read_are_refused(void **state)
{
    (void)state;
    nth_seh_install();
    SetLastError(RIG_LAST_ERROR);
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, (PRTL_HEAP_PARAMETERS)0x1000));
    assert_null(
        RtlCreateHeap(HEAP_GROWABLE | HEAP_GENERATE_EXCEPTIONS, NULL, 0, 0, NULL, rig_foreign(8)));
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
    rig_report_demand_none();
}

/* D29 */
static void segments_take_the_default_reserve_and_double_every_sixteen(void **state)
{
    (void)state;
    HANDLE heap = create(HEAP_GROWABLE, 0, 0);
    if (NTH_SEGMENT_RESERVE_BYTES != 0x100000u) {
        skip(); /* the stress build has segments of its own size */
    }
    while (region_at(heap, 18).base == NULL) {
        assert_non_null(HeapAlloc(heap, 0, 0x7E000));
    }
    for (unsigned idx = 1; idx <= 16; idx++) {
        assert_int_equal(region_at(heap, idx).reserved, 0x100000);
    }
    assert_int_equal(region_at(heap, 17).reserved, 0x200000);
    assert_int_equal(region_at(heap, 18).reserved, 0x200000);
}

/* D29 */
static void a_new_segment_has_the_reserve_and_commit_asked_for(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {
        .Length = sizeof(wanted), .SegmentReserve = 0x80000, .SegmentCommit = 0x10000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    while (region_at(heap, 1).base == NULL) {
        assert_non_null(HeapAlloc(heap, 0, 0x4800));
    }
    assert_int_equal(region_at(heap, 1).reserved, 0x80000);
    assert_int_equal(region_at(heap, 1).committed, 0x10000);
}

static SIZE_T committed_after_free(SIZE_T block_threshold, SIZE_T total_threshold)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitFreeBlockThreshold = block_threshold,
                                  .DeCommitTotalFreeThreshold = total_threshold};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x80000, NULL, &wanted);
    PVOID block = HeapAlloc(heap, 0, 0x40000);
    assert_non_null(block);
    assert_non_null(HeapAlloc(heap, 0, 16));
    const SIZE_T before = region_at(heap, 0).committed;
    assert_true(HeapFree(heap, 0, block));
    const SIZE_T after = region_at(heap, 0).committed;
    assert_true(after <= before);
    assert_null(RtlDestroyHeap(heap));
    return before - after;
}

/* D30 */
static void whole_pages_are_decommitted_only_past_both_thresholds(void **state)
{
    (void)state;
    assert_in_range(committed_after_free(0, 0x10000), 0x3E000, 0x80000);
    assert_int_equal(committed_after_free(0, 0x800000), 0);
    assert_int_equal(committed_after_free(0x200000, 0x10000), 0);
}

/* D30: as much as the threshold is not past it. */
static void free_bytes_up_to_the_threshold_stay(void **state)
{
    (void)state;
    for (SIZE_T less = 0; less < 2; less++) {
        RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .DeCommitFreeBlockThreshold = 1};
        HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, &wanted);
        PVOID block = HeapAlloc(heap, 0, 0x20000);
        assert_non_null(HeapAlloc(heap, 0, 16));
        const SIZE_T after =
            (SIZE_T)(forge_inside(heap)->state.free_units + forge_block(heap, block).units) *
            NTH_UNIT_BYTES;
        assert_null(RtlDestroyHeap(heap));
        wanted.DeCommitTotalFreeThreshold = after - less;
        heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, &wanted);
        block = HeapAlloc(heap, 0, 0x20000);
        assert_non_null(HeapAlloc(heap, 0, 16));
        const SIZE_T before = region_at(heap, 0).committed;
        assert_true(HeapFree(heap, 0, block));
        if (less == 0) {
            assert_int_equal(region_at(heap, 0).committed, before);
        } else {
            assert_true(region_at(heap, 0).committed < before);
        }
        assert_null(RtlDestroyHeap(heap));
    }
}

/* D30: free bytes in all, those that merge counted once. */
static void what_merges_is_no_more_free_memory_than_before(void **state)
{
    (void)state;
    const SIZE_T size = 0x10000;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitFreeBlockThreshold = 1,
                                  .DeCommitTotalFreeThreshold = 3 * size};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, &wanted);
    PVOID blocks[3];
    for (size_t idx = 0; idx < 3; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, size);
        assert_non_null(blocks[idx]);
    }
    assert_non_null(HeapAlloc(heap, 0, 16));
    const SIZE_T before = region_at(heap, 0).committed;
    assert_true(HeapFree(heap, 0, blocks[0]));
    assert_true(HeapFree(heap, 0, blocks[1]));
    assert_int_equal(region_at(heap, 0).committed, before);
    assert_true(
        HeapFree(heap, 0, blocks[2])); /* and past the threshold, with what is free behind */
    assert_true(region_at(heap, 0).committed < before);
}

struct holes {
    unsigned count;       /* uncommitted ranges of the first region */
    SIZE_T bytes;         /* of all of them */
    BOOLEAN last_is_hole; /* nothing committed stands behind the last */
};

static struct holes holes_of(HANDLE heap)
{
    struct holes holes = {0, 0, FALSE};
    PROCESS_HEAP_ENTRY entry = {0};
    while (HeapWalk(heap, &entry)) {
        if (entry.iRegionIndex != 0) {
            break;
        }
        holes.last_is_hole = (entry.wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0;
        holes.count += holes.last_is_hole;
        holes.bytes += holes.last_is_hole ? entry.cbData : 0;
    }
    return holes;
}

/* D30: wherever in a page they begin, whole pages go, with those where only a border would stay. */
static void freed_pages_leave_one_hole_where_they_were(void **state)
{
    (void)state;
    const SIZE_T big = 0x20000;
    for (SIZE_T fill = 16; fill < 2 * PAGE; fill += 48) {
        RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                      .DeCommitFreeBlockThreshold = 1,
                                      .DeCommitTotalFreeThreshold = 1};
        HANDLE heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_NO_SERIALIZE, NULL, 0x100000, 0, NULL,
                                    &wanted); /* without a front end */
        assert_non_null(HeapAlloc(heap, 0, fill));
        const struct holes at_first = holes_of(heap);
        PVOID block = HeapAlloc(heap, 0, big);
        assert_true(HeapFree(heap, 0, block));
        struct holes now = holes_of(heap);
        assert_int_equal(now.count, 1);
        assert_true(now.last_is_hole);
        assert_true(now.bytes + PAGE >= at_first.bytes);

        PVOID before = HeapAlloc(heap, 0, big);
        PVOID between = HeapAlloc(heap, 0, 16);
        PVOID behind = HeapAlloc(heap, 0, big);
        assert_non_null(HeapAlloc(heap, 0, 16));
        const struct holes none = holes_of(heap);
        assert_true(HeapFree(heap, 0, before));
        assert_true(HeapFree(heap, 0, behind));
        now = holes_of(heap);
        assert_int_equal(now.count, none.count + 2);
        assert_true(now.bytes >= none.bytes + 2 * big - 6 * PAGE);
        assert_true(HeapFree(heap, 0, between)); /* an island */
        now = holes_of(heap);
        assert_int_equal(now.count, none.count + 1);
        assert_true(now.bytes >= none.bytes + 2 * big - 2 * PAGE);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_null(RtlDestroyHeap(heap));
    }
}

/* D31 */
static void both_creates_honour_the_execute_flag(void **state)
{
    (void)state;
    const unsigned before = rig_pages_executable();
    HANDLE plain = HeapCreate(0, 0, 0);
    assert_non_null(HeapAlloc(plain, 0, 0x100000));
    for (unsigned count = 0; count < 200; count++) { /* the front end, with its magazines */
        assert_non_null(HeapAlloc(plain, 0, 100));
    }
    assert_int_equal(rig_pages_executable(), before);
    assert_non_null(HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0));
    assert_true(rig_pages_executable() > before);
    const unsigned middle = rig_pages_executable();
    HANDLE heap = create(HEAP_GROWABLE | HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    assert_true(rig_pages_executable() > middle);
    const unsigned last = rig_pages_executable();
    assert_non_null(HeapAlloc(heap, 0, 0x100000));
    assert_true(rig_pages_executable() > last);
}

/* D32 */
static void the_handle_is_the_base_of_the_first_region(void **state)
{
    (void)state;
    HANDLE heaps[] = {HeapCreate(0, 0, 0), HeapCreate(0, 0, 0x10000), create(HEAP_GROWABLE, 0, 0),
                      GetProcessHeap()};
    for (size_t idx = 0; idx < sizeof(heaps) / sizeof(heaps[0]); idx++) {
        assert_non_null(heaps[idx]);
        assert_int_equal((uintptr_t)heaps[idx] % GRANULE, 0);
        assert_ptr_equal(region_at(heaps[idx], 0).base, heaps[idx]);
    }
}

static ULONG mirror_word(HANDLE heap, size_t offset)
{
    ULONG value = 0;
    for (size_t idx = 0; idx < 4; idx++) {
        value |= (ULONG)nth_peek((uint8_t *)heap + offset + idx) << (8 * idx);
    }
    return value;
}

static void demand_mirror(HANDLE heap, ULONG flags)
{
    const size_t at = NTH_WORDS(0x70, 0x40);
    assert_non_null(heap);
    assert_int_equal(mirror_word(heap, 2 * sizeof(PVOID)), 0xFFEEFFEEu);
    assert_int_equal(mirror_word(heap, at), flags);
    assert_int_equal(mirror_word(heap, at + 4), flags & ~(ULONG)0x1082);
}

/* D33 */
static void the_plain_flags_stand_where_programs_look_for_them(void **state)
{
    (void)state;
    demand_mirror(GetProcessHeap(), HEAP_GROWABLE);
    demand_mirror(HeapCreate(0, 0, 0), 0x1002);
    demand_mirror(HeapCreate(HEAP_NO_SERIALIZE, 0, 0x10000), 0x1001);
    demand_mirror(HeapCreate(HEAP_TAIL_CHECKING_ENABLED | HEAP_GENERATE_EXCEPTIONS, 0, 0), 0x1006);
    demand_mirror(create(HEAP_GROWABLE | HEAP_DISABLE_COALESCE_ON_FREE, 0, 0), 0x1082);
}

/* D33 */
static void plain_flags_that_were_changed_are_reported_and_not_believed(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    rig_flip((uint8_t *)heap + NTH_WORDS(0x70, 0x40));
    assert_true(HeapLock(heap)); /* had NO_SERIALIZE been believed, nobody would own it */
    assert_true(HeapUnlock(heap));
    SetLastError(RIG_LAST_ERROR);
    assert_false(HeapUnlock(heap));
    assert_int_equal(GetLastError(), ERROR_NOT_OWNER);
    rig_report_forget();
    assert_false(HeapValidate(heap, 0, NULL));
    assert_int_equal(rig_report_count(), 1);
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_HEAP_MIRROR);
}

/* D34 */
static void a_fixed_heap_keeps_little_for_itself(void **state)
{
    (void)state;
    const SIZE_T overhead = 0x400 + 0x100 * sizeof(PVOID);
    for (SIZE_T maximum = 0x10000; maximum <= 0x40000; maximum += 0x10000) {
        HANDLE heap = HeapCreate(0, 0, maximum);
        assert_non_null(HeapAlloc(heap, 0, maximum - overhead));
        assert_true(HeapDestroy(heap));
        heap = HeapCreate(0, 0, maximum);
        assert_null(HeapAlloc(heap, 0, maximum));
        assert_true(HeapDestroy(heap));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(creation_that_fails_gives_null_and_never_raises),
        TEST(no_flags_and_no_base_make_a_nongrowable_heap_of_its_reserve),
        TEST(sizes_left_out_take_the_documented_defaults),
        TEST(heapcreate_refuses_an_initial_size_not_below_the_maximum),
        TEST(heapcreate_tells_a_size_that_cannot_be_from_shortage),
        TEST(every_creation_flag_bit_has_its_outcome),
        TEST(heapcreate_ignores_the_growable_bit_and_unknown_bits),
        TEST(a_base_that_cannot_hold_a_heap_is_refused),
        TEST(a_callers_block_is_used_as_it_is_and_never_given_away),
        TEST(a_callers_block_may_grow_without_a_commit_routine),
        TEST(parameters_of_a_wrong_length_or_with_reserved_words_are_refused),
        TEST(parameters_that_cannot_be_read_are_refused),
        TEST(segments_take_the_default_reserve_and_double_every_sixteen),
        TEST(a_new_segment_has_the_reserve_and_commit_asked_for),
        TEST(whole_pages_are_decommitted_only_past_both_thresholds),
        TEST(free_bytes_up_to_the_threshold_stay),
        TEST(what_merges_is_no_more_free_memory_than_before),
        TEST(freed_pages_leave_one_hole_where_they_were),
        TEST(a_callers_block_may_be_larger_than_its_address),
        TEST(a_commit_above_the_reserve_is_cut_whatever_it_is),
        TEST(both_creates_honour_the_execute_flag),
        TEST(the_handle_is_the_base_of_the_first_region),
        TEST(the_plain_flags_stand_where_programs_look_for_them),
        TEST(plain_flags_that_were_changed_are_reported_and_not_believed),
        TEST(a_fixed_heap_keeps_little_for_itself),
    };
    return cmocka_run_group_tests_name("rulings on making a heap", tests, NULL, NULL);
}
