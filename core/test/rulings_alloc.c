/* SPDX-License-Identifier: MIT
 *
 * Rulings on allocating and reallocating: limits, codes, records, alignment, sizes, contents, flag
 * bits (D1 to D3, D5, D7, D8, D19, D36 to D46, D48). */
#include "support/rig.h"

#include <string.h>

#define THRESHOLD ((SIZE_T)0x7F000)

static HANDLE fixed_heap(ULONG flags)
{
    HANDLE heap = RtlCreateHeap(flags, NULL, 0x200000, 0, NULL, NULL);
    assert_non_null(heap);
    return heap;
}

static HANDLE growable_heap(ULONG flags)
{
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE | flags, NULL, 0, 0, NULL, NULL);
    assert_non_null(heap);
    return heap;
}

static void demand_block(const struct rig_outcome *outcome)
{
    assert_false(outcome->raised);
    assert_int_not_equal(outcome->value, 0);
    assert_int_equal(outcome->last_error, RIG_LAST_ERROR);
    assert_int_equal(outcome->reports, 0);
}

/* The allocation fails without exceptions, and with them raises this. */
static void demand_refusal(HANDLE heap, SIZE_T size, NTSTATUS code)
{
    struct rig_outcome outcome = rig_alloc(heap, 0, size);
    rig_demand_value(&outcome, 0);
    outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, size);
    rig_demand_raised(&outcome, code, size);
    assert_int_equal(outcome.reports, 0);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D3 */
static void a_request_of_exactly_the_threshold_succeeds_in_a_fixed_heap(void **state)
{
    (void)state;
    HANDLE rtl = fixed_heap(0);
    HANDLE win32 = HeapCreate(0, 0, 0x200000);
    for (SIZE_T size = THRESHOLD; size > THRESHOLD - 0x2000; size -= 0x400) {
        assert_non_null(RtlAllocateHeap(rtl, 0, size));
        assert_non_null(HeapAlloc(win32, 0, size));
        assert_null(RtlDestroyHeap(rtl));
        assert_null(RtlDestroyHeap(win32));
        rtl = fixed_heap(0);
        win32 = HeapCreate(0, 0, 0x200000);
    }
}

/* D5 */
static void above_the_threshold_a_fixed_heap_is_too_small_a_buffer(void **state)
{
    (void)state;
    const SIZE_T sizes[] = {THRESHOLD + 1, 0x7FFF7,      0x7FFF8,       0xFFFFF,
                            0x100000,      SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX};
    HANDLE heaps[] = {fixed_heap(0), HeapCreate(0, 0, 0x200000)};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        demand_refusal(heaps[0], sizes[idx], STATUS_BUFFER_TOO_SMALL);
        demand_refusal(heaps[1], sizes[idx], STATUS_BUFFER_TOO_SMALL);
    }
}

/* D3 */
static void the_threshold_is_the_smaller_of_the_limit_and_the_parameter(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .VirtualMemoryThreshold = 0x10000};
    HANDLE heap = RtlCreateHeap(0, NULL, 0x200000, 0, NULL, &wanted);
    assert_non_null(HeapAlloc(heap, 0, 0x10000));
    demand_refusal(heap, 0x10001, STATUS_BUFFER_TOO_SMALL);
    wanted.VirtualMemoryThreshold = 0x80000;
    heap = RtlCreateHeap(0, NULL, 0x200000, 0, NULL, &wanted);
    assert_non_null(HeapAlloc(heap, 0, THRESHOLD));
    demand_refusal(heap, THRESHOLD + 1, STATUS_BUFFER_TOO_SMALL);
}

static BYTE region_of(HANDLE heap, PVOID block)
{
    PROCESS_HEAP_ENTRY entry;
    for (unsigned skip = 0; rig_element(heap, PROCESS_HEAP_ENTRY_BUSY, skip, &entry); skip++) {
        if (entry.lpData == block) {
            return entry.iRegionIndex;
        }
    }
    return 255;
}

/* D37 */
static void above_the_threshold_a_growable_heap_gives_a_reservation_of_its_own(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    struct rig_outcome outcome = rig_alloc(heap, HEAP_ZERO_MEMORY, THRESHOLD + 1);
    demand_block(&outcome);
    const size_t before = nth_balance_now().reservation_count;
    PVOID large = HeapAlloc(heap, 0, THRESHOLD + 1);
    assert_int_equal(nth_balance_now().reservation_count, before + 1);
    assert_int_equal(region_of(heap, large), 64);
    PVOID last_small = HeapAlloc(heap, 0, THRESHOLD);
    assert_int_not_equal(region_of(heap, last_small), 64);
    PVOID resized = HeapReAlloc(heap, 0, HeapAlloc(heap, 0, 100), THRESHOLD);
    assert_int_not_equal(region_of(heap, resized), 64);
    resized = HeapReAlloc(heap, 0, resized, THRESHOLD + 1);
    assert_int_equal(region_of(heap, resized), 64);
    HANDLE fresh = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, NULL);
    PVOID first = HeapAlloc(fresh, 0, 100);
    assert_ptr_equal(HeapReAlloc(fresh, HEAP_REALLOC_IN_PLACE_ONLY, first, THRESHOLD), first);
    assert_null(HeapReAlloc(fresh, HEAP_REALLOC_IN_PLACE_ONLY, first, THRESHOLD + 1));
    assert_true(HeapFree(heap, 0, large));
    assert_true(HeapFree(heap, 0, (PVOID)outcome.value));
    assert_int_equal(HeapSize(heap, 0, last_small), THRESHOLD);
}

/* D37: the size before is served from slots, which have room for a byte more. */
static void past_a_small_threshold_no_slot_serves(void **state)
{
    (void)state;
    const SIZE_T threshold = 489;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .VirtualMemoryThreshold = threshold};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &wanted);
    for (unsigned idx = 0; idx < 40; idx++) {
        assert_non_null(HeapAlloc(heap, 0, threshold));
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        PVOID block = HeapAlloc(heap, 0, threshold + 1);
        assert_int_equal(region_of(heap, block), 64);
        assert_true(HeapFree(heap, 0, block));
        assert_true(HeapFree(heap, 0, HeapAlloc(heap, 0, threshold)));
    }
}

/* D36 */
static void shortage_is_no_memory(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    HANDLE fixed = RtlCreateHeap(0, NULL, 0x10000, 0, NULL, NULL);
    demand_refusal(fixed, 0x10000, STATUS_NO_MEMORY);
    rig_pages_refuse(TRUE);
    demand_refusal(heap, 0x70000, STATUS_NO_MEMORY);
    demand_refusal(heap, 0x100000, STATUS_NO_MEMORY);
    rig_pages_refuse(FALSE);
    assert_non_null(HeapAlloc(heap, 0, 0x70000));
    assert_non_null(HeapAlloc(heap, 0, 0x100000));
}

static BOOLEAN count_chunks(void *count, const struct nth_field *field)
{
    *(unsigned *)count += field->kind == NTH_FIELD_CHUNK;
    return TRUE;
}

/* D36: what the front end keeps for itself is free memory as well. */
static void chunks_without_blocks_serve_where_no_more_can_be_had(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static PVOID blocks[COUNT];
    const SIZE_T bytes = 0x40000;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitFreeBlockThreshold = 0x1000000,
                                  .DeCommitTotalFreeThreshold = 0x1000000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, bytes, bytes, NULL, &wanted);
    unsigned chunks = 0;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40);
        assert_non_null(blocks[idx]);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    (void)nth_fields(heap, count_chunks, &chunks);
    assert_true(chunks > 0);
    rig_pages_refuse(TRUE);
    assert_non_null(HeapAlloc(heap, 0, bytes - 0x1000));
    rig_pages_refuse(FALSE);
}

/* D36, D41 */
static void sizes_near_the_end_of_the_range_are_no_memory_in_a_growable_heap(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    for (SIZE_T below = 0; below < 0x20000; below = below < 80 ? below + 1 : below * 2) {
        demand_refusal(heap, SIZE_MAX - below, STATUS_NO_MEMORY);
    }
    demand_refusal(heap, SIZE_MAX / 2, STATUS_NO_MEMORY);
    demand_refusal(heap, SIZE_MAX / 2 + 1, STATUS_NO_MEMORY);
}

/* D41 */
static void more_than_the_maximum_allocation_size_is_no_memory(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .MaximumAllocationSize = 1000};
    HANDLE growable = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &wanted);
    HANDLE fixed = RtlCreateHeap(0, NULL, 0x100000, 0, NULL, &wanted);
    PVOID block = HeapAlloc(growable, 0, 1000);
    assert_non_null(block);
    assert_non_null(HeapAlloc(fixed, 0, 1000));
    demand_refusal(growable, 1001, STATUS_NO_MEMORY);
    demand_refusal(growable, 0x100000, STATUS_NO_MEMORY);
    demand_refusal(fixed, 1001, STATUS_NO_MEMORY);
    demand_refusal(fixed, THRESHOLD + 1, STATUS_BUFFER_TOO_SMALL);
    struct rig_outcome outcome = rig_realloc(growable, HEAP_GENERATE_EXCEPTIONS, block, 1001);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 1001);
    assert_int_equal(HeapSize(growable, 0, block), 1000);
}

/* D2 */
static void exceptions_asked_for_at_creation_hold_for_every_call(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(HEAP_GENERATE_EXCEPTIONS);
    struct rig_outcome outcome = rig_alloc(heap, 0, THRESHOLD + 1);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, THRESHOLD + 1);
    struct rig_args rtl = {.call = RIG_RTL_ALLOCATE, .heap = heap, .size = THRESHOLD + 1};
    outcome = rig_run(&rtl);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, THRESHOLD + 1);
    PVOID block = HeapAlloc(heap, 0, 100);
    outcome = rig_realloc(heap, 0, block, THRESHOLD + 1);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, THRESHOLD + 1);
    assert_int_equal(HeapSize(heap, 0, block), 100);
}

static LONG go_on(EXCEPTION_POINTERS *info, void *context)
{
    *(unsigned *)context += 1;
    assert_int_equal(info->ExceptionRecord->ExceptionCode, STATUS_BUFFER_TOO_SMALL);
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* D7 */
static void a_filter_that_continues_makes_the_call_return_null(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(HEAP_GENERATE_EXCEPTIONS);
    unsigned volatile asked = 0;
    PVOID volatile block = heap;
    nth_seh_install();
    NT_TRY
    {
        block = HeapAlloc(heap, 0, THRESHOLD + 1);
    }
    NT_EXCEPT(go_on, (void *)&asked)
    {
        fail();
    }
    NT_END_TRY
    assert_null(block);
    assert_int_equal(asked, 1);
    assert_non_null(HeapAlloc(heap, 0, 100));
}

static LONG allocate_in_filter(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    assert_non_null(HeapAlloc(*(HANDLE *)context, 0, 100));
    return EXCEPTION_EXECUTE_HANDLER;
}

/* D7 */
static void a_heap_is_usable_in_the_filter_of_its_own_exception(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(HEAP_GENERATE_EXCEPTIONS);
    nth_seh_install();
    NT_TRY
    {
        (void)HeapAlloc(heap, 0, THRESHOLD + 1);
        fail();
    }
    NT_EXCEPT(allocate_in_filter, &heap)
    {
        assert_int_equal(NT_EXCEPTION_CODE(), STATUS_BUFFER_TOO_SMALL);
    }
    NT_END_TRY
    rig_report_demand_none();
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D38 */
static void blocks_are_aligned_for_the_word_size(void **state)
{
    (void)state;
    const uintptr_t plain = NTH_WORDS(16, 8);
    HANDLE heap = growable_heap(0);
    HANDLE wide = growable_heap(HEAP_CREATE_ALIGN_16);
    HANDLE fixed = HeapCreate(HEAP_CREATE_ALIGN_16, 0, 0x100000);
    for (SIZE_T size = 0; size < 200; size++) {
        assert_int_equal((uintptr_t)HeapAlloc(heap, 0, size) % plain, 0);
        assert_int_equal((uintptr_t)HeapAlloc(wide, 0, size) % 16, 0);
        assert_int_equal((uintptr_t)HeapAlloc(fixed, 0, size) % 16, 0);
        assert_int_equal((uintptr_t)HeapAlloc(heap, HEAP_CREATE_ALIGN_16, size) % plain, 0);
    }
    for (SIZE_T size = THRESHOLD - 2; size < 0x200000; size *= 2) {
        assert_int_equal((uintptr_t)HeapAlloc(heap, 0, size) % plain, 0);
        assert_int_equal((uintptr_t)HeapAlloc(wide, 0, size) % 16, 0);
    }
}

/* D39 */
static void size_zero_gives_distinct_live_blocks_of_size_zero(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    PVOID blocks[40];
    for (size_t idx = 0; idx < 40; idx++) {
        struct rig_outcome outcome = rig_alloc(heap, HEAP_ZERO_MEMORY, 0);
        demand_block(&outcome);
        blocks[idx] = (PVOID)outcome.value;
        assert_int_equal(HeapSize(heap, 0, blocks[idx]), 0);
        for (size_t other = 0; other < idx; other++) {
            assert_ptr_not_equal(blocks[idx], blocks[other]);
        }
    }
    for (size_t idx = 0; idx < 40; idx++) {
        assert_true(HeapValidate(heap, 0, blocks[idx]));
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    rig_report_demand_none();
}

/* D40 */
static void the_size_is_what_was_asked_for(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    const SIZE_T large[] = {0x3FF0, 0x4000, 0x40000, THRESHOLD, THRESHOLD + 1, 0x100000, 0x140001};
    for (SIZE_T size = 0; size <= 300; size++) {
        PVOID block = HeapAlloc(heap, 0, size);
        assert_int_equal(HeapSize(heap, 0, block), size);
        assert_int_equal(RtlSizeHeap(heap, 0, block), size);
    }
    for (size_t idx = 0; idx < sizeof(large) / sizeof(large[0]); idx++) {
        PVOID block = HeapAlloc(heap, 0, large[idx]);
        assert_int_equal(HeapSize(heap, 0, block), large[idx]);
        block = HeapReAlloc(heap, 0, block, large[idx] - 1);
        assert_int_equal(HeapSize(heap, 0, block), large[idx] - 1);
    }
}

static void demand_bytes(const uint8_t *bytes, SIZE_T from, SIZE_T to, uint8_t value)
{
    for (SIZE_T idx = from; idx < to; idx++) {
        assert_int_equal(bytes[idx], value);
    }
}

/* D42 */
static void zeroed_memory_is_zero_whoever_had_it_before(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    for (SIZE_T size = 1; size < 0x200000; size = size * 3 + 1) {
        uint8_t *block = HeapAlloc(heap, 0, size);
        memset(block, 0xEE, size);
        assert_true(HeapFree(heap, 0, block));
        block = HeapAlloc(heap, HEAP_ZERO_MEMORY, size);
        demand_bytes(block, 0, size, 0);
        assert_true(HeapFree(heap, 0, block));
    }
}

/* D42 */
static void growing_with_zeros_fills_everything_past_the_old_requested_size(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    const SIZE_T sizes[] = {3, 5, 17, 40, 41, 300, 5000, 20000, THRESHOLD, 0x90000, 0x190000};
    for (size_t idx = 0; idx + 1 < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        uint8_t *block = HeapAlloc(heap, 0, sizes[idx + 1]);
        memset(block, 0xEE, sizes[idx + 1]);
        block = HeapReAlloc(heap, 0, block, sizes[idx]);
        block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, sizes[idx + 1]);
        demand_bytes(block, 0, sizes[idx], 0xEE);
        demand_bytes(block, sizes[idx], sizes[idx + 1], 0);
        assert_true(HeapFree(heap, 0, block));
    }
}

/* D42 */
static void moving_with_zeros_clears_what_used_memory_held(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    uint8_t *dirty = HeapAlloc(heap, 0, 0x9000);
    uint8_t *block = HeapAlloc(heap, 0, 101);
    assert_non_null(HeapAlloc(heap, 0, 100));
    memset(dirty, 0xEE, 0x9000);
    memset(block, 0x5A, 101);
    assert_true(HeapFree(heap, 0, dirty));
    uint8_t *moved = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, 0x8FF0);
    assert_ptr_equal(moved, dirty);
    demand_bytes(moved, 0, 101, 0x5A);
    demand_bytes(moved, 101, 0x8FF0, 0);
}

/* D43: there is nothing to clear in what becomes smaller, wherever it goes. */
static void becoming_smaller_with_zeros_keeps_what_there_is(void **state)
{
    static const SIZE_T sizes[][2] = {
        {600, 40}, {200, 100}, {0x5000, 0x4800}, {0x100000, 100}, {0x100000, 0x9000}};
    (void)state;
    HANDLE heap = growable_heap(0);
    for (unsigned idx = 0; idx < 40; idx++) {
        assert_non_null(HeapAlloc(heap, 0, 200)); /* the front end's, by then */
        assert_non_null(HeapAlloc(heap, 0, 600));
    }
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        uint8_t *block = HeapAlloc(heap, 0, sizes[idx][0]);
        assert_non_null(block);
        memset(block, 0x5A, sizes[idx][0]);
        block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, sizes[idx][1]);
        assert_non_null(block);
        assert_int_equal(HeapSize(heap, 0, block), sizes[idx][1]);
        demand_bytes(block, 0, sizes[idx][1], 0x5A);
    }
    assert_true(HeapValidate(heap, 0, NULL));
}

/* D43 */
static void reallocating_to_nothing_leaves_a_live_block_where_it_was(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    const SIZE_T sizes[] = {0, 1, 100, 5000, 0x20000, 0x100000};
    for (size_t idx = 0; idx < sizeof(sizes) / sizeof(sizes[0]); idx++) {
        PVOID block = HeapAlloc(heap, 0, sizes[idx]);
        struct rig_outcome outcome = rig_realloc(heap, 0, block, 0);
        rig_demand_value(&outcome, (uintptr_t)block);
        assert_int_equal(HeapSize(heap, 0, block), 0);
        assert_true(HeapValidate(heap, 0, block));
        assert_true(HeapFree(heap, 0, block));
    }
    rig_report_demand_none();
}

/* D44 */
static void reallocating_null_fails_as_a_bad_parameter_without_a_report(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    const ULONG flags[] = {0, HEAP_ZERO_MEMORY, HEAP_REALLOC_IN_PLACE_ONLY};
    for (size_t idx = 0; idx < 3; idx++) {
        struct rig_outcome outcome = rig_realloc(heap, flags[idx], NULL, 10);
        rig_demand_value(&outcome, 0);
        outcome = rig_realloc(heap, flags[idx] | HEAP_GENERATE_EXCEPTIONS, NULL, 10);
        rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, 0);
        assert_int_equal(outcome.reports, 0);
    }
}

/* D45 */
static void in_place_without_room_is_no_memory_and_changes_nothing(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    uint8_t *block = HeapAlloc(heap, 0, 5000);
    assert_non_null(HeapAlloc(heap, 0, 5000));
    memset(block, 0x5A, 5000);
    struct rig_outcome outcome = rig_realloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 20000);
    rig_demand_value(&outcome, 0);
    outcome =
        rig_realloc(heap, HEAP_REALLOC_IN_PLACE_ONLY | HEAP_GENERATE_EXCEPTIONS, block, 20000);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 20000);
    assert_int_equal(HeapSize(heap, 0, block), 5000);
    demand_bytes(block, 0, 5000, 0x5A);
    outcome = rig_realloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 4000);
    rig_demand_value(&outcome, (uintptr_t)block);
    outcome = rig_realloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 5000);
    rig_demand_value(&outcome, (uintptr_t)block);
}

/* D45 */
static void in_place_above_the_threshold_of_a_fixed_heap_is_too_small_a_buffer(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(0);
    PVOID block = HeapAlloc(heap, 0, 100);
    struct rig_outcome outcome = rig_realloc(
        heap, HEAP_REALLOC_IN_PLACE_ONLY | HEAP_GENERATE_EXCEPTIONS, block, THRESHOLD + 1);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, THRESHOLD + 1);
}

/* D16 */
static void a_bad_block_counts_before_a_bad_size(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(0);
    struct rig_outcome outcome = rig_realloc(heap, HEAP_GENERATE_EXCEPTIONS, (PVOID)64, SIZE_MAX);
    rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, 64);
}

/* D46 */
static void live_blocks_stay_where_they_are(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    uint8_t *blocks[64];
    for (unsigned idx = 0; idx < 64; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 100 + 200 * (SIZE_T)idx);
        memset(blocks[idx], (int)idx, 100);
    }
    for (unsigned idx = 0; idx < 64; idx += 2) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    assert_int_not_equal(HeapCompact(heap, 0), 0);
    for (unsigned idx = 1; idx < 64; idx += 2) {
        demand_bytes(blocks[idx], 0, 100, (uint8_t)idx);
        assert_int_equal(HeapSize(heap, 0, blocks[idx]), 100 + 200 * (SIZE_T)idx);
    }
}

/* D8 */
static void the_four_calls_leave_the_last_error_alone(void **state)
{
    (void)state;
    HANDLE heap = fixed_heap(0);
    PVOID block = HeapAlloc(heap, 0, 10);
    SetLastError(RIG_LAST_ERROR);
    assert_null(HeapAlloc(heap, 0, SIZE_MAX));
    assert_null(HeapReAlloc(heap, 0, block, SIZE_MAX));
    assert_null(HeapReAlloc(heap, 0, (PVOID)64, 1));
    assert_int_equal(HeapSize(heap, 0, (PVOID)64), SIZE_MAX);
    assert_int_equal(HeapSize(NULL, 0, block), SIZE_MAX);
    assert_false(HeapValidate(heap, 0, (PVOID)64));
    assert_false(HeapValidate(NULL, 0, NULL));
    assert_null(HeapAlloc(NULL, 0, 1));
    assert_int_equal(GetLastError(), RIG_LAST_ERROR);
}

/* D19 */
static void every_call_flag_bit_has_its_outcome(void **state)
{
    (void)state;
    HANDLE heap = growable_heap(0);
    for (unsigned bit = 0; bit < 32; bit++) {
        const ULONG flag = (ULONG)1 << bit;
        uint8_t *block = HeapAlloc(heap, flag, 100);
        assert_non_null(block);
        memset(block, 0x5A, 100);
        assert_int_equal(HeapSize(heap, flag, block), 100);
        assert_true(HeapValidate(heap, flag, block));
        assert_true(HeapValidate(heap, flag, NULL));
        block = HeapReAlloc(heap, flag, block, 60);
        assert_non_null(block);
        assert_int_equal(HeapSize(heap, 0, block), 60);
        uint8_t *grown = HeapReAlloc(heap, flag, block, 62);
        demand_bytes(grown, 0, 60, 0x5A);
        assert_true(HeapCompact(heap, flag) > 0);
        assert_int_equal(RtlZeroHeap(heap, flag), STATUS_SUCCESS);
        assert_true(HeapFree(heap, flag, grown));
    }
    rig_report_demand_none();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_of_exactly_the_threshold_succeeds_in_a_fixed_heap),
        TEST(above_the_threshold_a_fixed_heap_is_too_small_a_buffer),
        TEST(the_threshold_is_the_smaller_of_the_limit_and_the_parameter),
        TEST(above_the_threshold_a_growable_heap_gives_a_reservation_of_its_own),
        TEST(past_a_small_threshold_no_slot_serves),
        TEST(shortage_is_no_memory),
        TEST(chunks_without_blocks_serve_where_no_more_can_be_had),
        TEST(sizes_near_the_end_of_the_range_are_no_memory_in_a_growable_heap),
        TEST(more_than_the_maximum_allocation_size_is_no_memory),
        TEST(exceptions_asked_for_at_creation_hold_for_every_call),
        TEST(a_filter_that_continues_makes_the_call_return_null),
        TEST(a_heap_is_usable_in_the_filter_of_its_own_exception),
        TEST(blocks_are_aligned_for_the_word_size),
        TEST(size_zero_gives_distinct_live_blocks_of_size_zero),
        TEST(the_size_is_what_was_asked_for),
        TEST(zeroed_memory_is_zero_whoever_had_it_before),
        TEST(growing_with_zeros_fills_everything_past_the_old_requested_size),
        TEST(moving_with_zeros_clears_what_used_memory_held),
        TEST(becoming_smaller_with_zeros_keeps_what_there_is),
        TEST(reallocating_to_nothing_leaves_a_live_block_where_it_was),
        TEST(reallocating_null_fails_as_a_bad_parameter_without_a_report),
        TEST(in_place_without_room_is_no_memory_and_changes_nothing),
        TEST(in_place_above_the_threshold_of_a_fixed_heap_is_too_small_a_buffer),
        TEST(a_bad_block_counts_before_a_bad_size),
        TEST(live_blocks_stay_where_they_are),
        TEST(the_four_calls_leave_the_last_error_alone),
        TEST(every_call_flag_bit_has_its_outcome),
    };
    return cmocka_run_group_tests_name("rulings on allocating", tests, NULL, NULL);
}
