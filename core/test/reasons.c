/* SPDX-License-Identifier: MIT
 *
 * Every reason for a report, provoked: one damage or misuse each, the ordinary call that meets it,
 * exactly one report with reason, heap, block and field, and the ruled outcome of that call. The
 * list of tests is made from reasons.def: a reason without its function does not compile. */
#include "support/rig.h"
#include "support/wild.h"

#include "cache.h"
#include "large.h"

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define GRANULE ((SIZE_T)NTH_GRANULE_BYTES)

/* A class of the front end at work: the last of enough blocks of one size. */
static PVOID slot_new(HANDLE heap)
{
    PVOID block = NULL;
    for (unsigned count = 0; count < 40; count++) {
        block = rig_block_new(heap, 100);
    }
    return block;
}

static void flip_field(HANDLE heap, const char *name, LPCVOID block, size_t offset)
{
    const struct nth_field field = rig_field_named(heap, name, block);
    assert_true(offset < field.bytes);
    rig_flip((uint8_t *)field.address + offset);
}

/* Free fails in its ordinary form (D9, D10), allocating and validating in theirs. */
static void demand_free_fails(HANDLE heap, PVOID block)
{
    const struct rig_outcome outcome = rig_free(heap, block);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
}

static void demand_alloc_fails(HANDLE heap, SIZE_T bytes)
{
    const struct rig_outcome outcome = rig_alloc(heap, 0, bytes);
    rig_demand_value(&outcome, 0);
}

static void demand_validate_fails(HANDLE heap)
{
    const struct rig_args args = {.call = RIG_HEAP_VALIDATE, .heap = heap};
    const struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, FALSE);
}

/* ---- misuse ---- */

static void provoke_BAD_HANDLE(void **state)
{
    (void)state;
    uint8_t no_heap[64];
    const struct rig_args args = {.call = RIG_HEAP_FREE, .heap = no_heap, .block = no_heap};
    const struct rig_outcome outcome = rig_run(&args);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_HANDLE);
    rig_report_demand_field(NTH_CORRUPT_BAD_HANDLE, no_heap, NULL, NULL);
}

static void provoke_STALE_HANDLE(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    assert_true(HeapDestroy(heap));
    demand_alloc_fails(heap, 8);
    rig_report_demand_field(NTH_CORRUPT_STALE_HANDLE, heap, NULL, NULL);
}

static void provoke_DOUBLE_FREE(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 100);
    assert_true(HeapFree(heap, 0, block));
    demand_free_fails(heap, block);
    rig_report_demand_field(NTH_CORRUPT_DOUBLE_FREE, heap, block, NULL);
}

static void provoke_INTERIOR_POINTER(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID inside = (uint8_t *)rig_block_new(heap, 100) + 32;
    demand_free_fails(heap, inside);
    rig_report_demand_field(NTH_CORRUPT_INTERIOR_POINTER, heap, inside, NULL);
}

static void provoke_MISALIGNED_POINTER(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID off = (uint8_t *)rig_block_new(heap, 100) + 4;
    demand_free_fails(heap, off);
    rig_report_demand_field(NTH_CORRUPT_MISALIGNED_POINTER, heap, off, NULL);
}

static void provoke_FOREIGN_POINTER(void **state)
{
    (void)state;
    static uint64_t mine[8] __attribute__((aligned(16)));
    HANDLE heap = rig_heap_new();
    demand_free_fails(heap, mine);
    rig_report_demand_field(NTH_CORRUPT_FOREIGN_POINTER, heap, mine, NULL);
}

static void provoke_WRONG_HEAP(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE other = rig_heap_new();
    PVOID block = rig_block_new(other, 100);
    demand_free_fails(heap, block);
    rig_report_demand_field(NTH_CORRUPT_WRONG_HEAP, heap, block, NULL);
    assert_true(HeapFree(other, 0, block));
}

/* ---- damage in band ---- */

static void provoke_BLOCK_HEADER(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 100);
    flip_field(heap, "block.header", block, 0);
    demand_free_fails(heap, block);
    rig_report_demand_field(NTH_CORRUPT_BLOCK_HEADER, heap, block, "block.header");
}

static void provoke_FREE_LINK(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    const PVOID block = rig_field_named(heap, "free.next", NULL).block;
    flip_field(heap, "free.next", NULL, 0);
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_FREE_LINK, heap, block, "free.next");
}

/* The neighbour in front of the freed block is free; its size at its end says where it starts. */
static void provoke_FREE_FOOTER(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID first = rig_block_new(heap, 100);
    PVOID second = rig_block_new(heap, 300);
    assert_true(HeapFree(heap, 0, first));
    flip_field(heap, "free.footer", first, 0);
    demand_free_fails(heap, second);
    rig_report_demand_field(NTH_CORRUPT_FREE_FOOTER, heap, second, "free.footer");
}

static void provoke_CHUNK(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    slot_new(heap);
    const struct nth_field field = rig_field_named(heap, "chunk.info", NULL);
    rig_flip(field.address);
    demand_validate_fails(heap);
    rig_report_demand_field(NTH_CORRUPT_CHUNK, heap, field.block, "chunk.info");
}

static void provoke_USER_INFO(void **state)
{
    (void)state;
    PVOID value = NULL;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, 100);
    flip_field(heap, "block.user_value", block, 0);
    const struct rig_args args = {
        .call = RIG_GET_USER_INFO, .heap = heap, .block = block, .extra = &value};
    const struct rig_outcome outcome = rig_run(&args);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_USER_INFO, heap, block, "block.user_info");
}

/* ---- damage out of band ---- */

static void provoke_FREE_LIST(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    flip_field(heap, "heap.bin_map", NULL, 0);
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_FREE_LIST, heap, NULL, "heap.bin_map");
}

/* The start of the block behind the freed one is gone from the map. */
static void provoke_BLOCK_MAP(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID first = rig_block_new(heap, 100);
    PVOID second = rig_block_new(heap, 300);
    const struct nth_field field = rig_field_named(heap, "block.tag", second);
    nth_poke(field.address, nth_peek(field.address) ^ NTH_TAG_START);
    demand_free_fails(heap, first);
    rig_report_demand_field(NTH_CORRUPT_BLOCK_MAP, heap, second, "block.tag");
}

static void provoke_CACHE(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    slot_new(heap);
    const struct nth_field counts = rig_field_named(heap, "cache.counts", NULL);
    for (size_t offset = 0; offset < counts.bytes; offset += sizeof(uint64_t)) {
        rig_flip((uint8_t *)counts.address + offset);
    }
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_CACHE, heap, NULL, "cache.counts");
}

static void provoke_LARGE_BLOCK(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 0x100000);
    struct nth_region *region = nth_region_of(block);
    rig_flip(&region->requested);
    demand_free_fails(heap, block);
    rig_report_demand_field(NTH_CORRUPT_LARGE_BLOCK, heap, block, "large.region");
    rig_flip(&region->requested); /* else nobody knows any more what is to be given back */
}

static void provoke_SEGMENT(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = GRANULE};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, GRANULE, 0, NULL, &wanted);
    PVOID block = rig_block_new(heap, 0xC000);
    block = rig_block_new(heap, 0xC000); /* in a further segment */
    struct nth_region *region = nth_region_of(block);
    assert_true(nth_region_number(region) > 0);
    rig_flip(&region->bytes);
    demand_free_fails(heap, block);
    rig_report_demand_field(NTH_CORRUPT_SEGMENT, heap, block, "region");
    rig_flip(&region->bytes);
}

static void provoke_PAGE_MAP(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    flip_field(heap, "region.pages", NULL, 0);
    demand_validate_fails(heap);
    rig_report_demand_field(NTH_CORRUPT_PAGE_MAP, heap, NULL, "region.pages");
}

static void provoke_HEAP_CONFIG(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    flip_field(heap, "heap.config", NULL, offsetof(struct nth_config, threshold_bytes));
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_HEAP_CONFIG, heap, NULL, "heap.config");
}

static void provoke_HEAP_STATE(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    flip_field(heap, "heap.state", NULL, offsetof(struct nth_state, free_units));
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_HEAP_STATE, heap, NULL, "heap.state");
}

static void provoke_HEAP_MIRROR(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    flip_field(heap, "heap.flags", NULL, 0);
    demand_validate_fails(heap);
    rig_report_demand_field(NTH_CORRUPT_HEAP_MIRROR, heap, NULL, "heap.mirror");
    assert_non_null(HeapAlloc(heap, 0, 100)); /* never believed */
}

/* ---- out of use ---- */

static uintptr_t no_access;

static void fault_in_commit(void)
{
    (void)wild_read(no_access);
}

/* A page source that faults leaves the heap in the middle of the call. */
static void provoke_DAMAGED(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    no_access = wild_map(1, PROT_NONE);
    rig_pages_on_commit(fault_in_commit);
    const struct rig_outcome fault = rig_alloc(heap, 0, 0x20000);
    rig_pages_on_commit(NULL);
    assert_true(fault.raised);
    assert_int_equal(fault.record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(fault.record.ExceptionInformation[1], no_access);
    demand_alloc_fails(heap, 100);
    rig_report_demand_field(NTH_CORRUPT_DAMAGED, heap, NULL, NULL);
    wild_unmap(no_access, 1);
}

static struct {
    uint8_t *block;
    BOOLEAN call_heap;
    PVOID given;
} own;

/* Calls the heap it works for, then commits. */
static NTSTATUS calling_routine(PVOID base, PVOID *address, PSIZE_T bytes)
{
    if (own.call_heap) {
        own.given = HeapAlloc(base, 0, 8);
    }
    assert_int_equal(mprotect(*address, *bytes, PROT_READ | PROT_WRITE), 0);
    return STATUS_SUCCESS;
}

static void provoke_REENTERED(void **state)
{
    (void)state;
    uint8_t *mapping = mmap(NULL, 3 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapping != MAP_FAILED);
    own.block = (uint8_t *)(((uintptr_t)mapping + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1));
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .InitialCommit = PAGE,
                                  .InitialReserve = 2 * GRANULE,
                                  .CommitRoutine = calling_routine};
    own.call_heap = FALSE;
    HANDLE heap = RtlCreateHeap(0, own.block, 0, 0, NULL, &wanted);
    assert_ptr_equal(heap, own.block);
    own.call_heap = TRUE;
    own.given = own.block;
    const struct rig_outcome outcome = rig_alloc(heap, 0, 4 * PAGE);
    assert_null(own.given);
    assert_non_null((PVOID)outcome.value); /* the outer call is not disturbed */
    rig_report_demand_field(NTH_CORRUPT_REENTERED, heap, NULL, NULL);
    assert_null(RtlDestroyHeap(heap));
    assert_int_equal(munmap(mapping, 3 * GRANULE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define NTH_REASON(name, text) {#name ": " text, provoke_##name, rig_setup, rig_teardown, NULL},
#include <ntheap/reasons.def>
#undef NTH_REASON
    };
    static_assert(sizeof(tests) / sizeof(tests[0]) == NTH_REASON_COUNT, "one test a reason");
    return cmocka_run_group_tests_name("reasons", tests, NULL, NULL);
}
