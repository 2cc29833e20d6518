/* SPDX-License-Identifier: MIT
 *
 * The heaps and memory layers: every stop with exactly its parameters, the marks around blocks, the
 * queue of freed ones; and what stops do. Damage is written past the sanitizers. */
#include "support/watch.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/wild.h"

#include "process.h"
#include "verifier.h"

#define BYTES 100u
#define MARK NTH_MARK_BYTES

static ULONG self(void)
{
    return (ULONG)syscall(SYS_gettid);
}

/* ---- handles ---- */

static void a_bad_handle_is_a_stop_for_every_call(void **state)
{
    char local[64];
    (void)state;
    HANDLE heap = watch_begin("heaps");
    void *block = HeapAlloc(heap, 0, BYTES);
    assert_null(HeapAlloc(local, 0, BYTES));
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    assert_null(RtlAllocateHeap(NULL, 0, BYTES));
    watch_demand(0x5, 0, 0, 0, 0);
    assert_null(HeapReAlloc(local, 0, block, BYTES));
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    assert_int_equal(HeapFree(local, 0, block), FALSE);
    assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    assert_true(HeapSize(local, 0, block) == (SIZE_T)-1);
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    assert_int_equal(HeapDestroy(local), FALSE);
    assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    const struct rig_outcome raised = rig_alloc(local, HEAP_GENERATE_EXCEPTIONS, BYTES);
    rig_demand_raised(&raised, STATUS_ACCESS_VIOLATION, (uintptr_t)local);
    watch_demand(0x5, (ULONG_PTR)local, 0, 0, 0);
    watch_finish(heap);
}

static void a_block_of_another_heap_is_a_switched_handle(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    HANDLE other = HeapCreate(0, 0, 0);
    void *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(other, 0, block), FALSE);
    watch_demand(0x6, (ULONG_PTR)other, (ULONG_PTR)block, BYTES, (ULONG_PTR)heap);
    assert_null(HeapReAlloc(other, 0, block, BYTES));
    watch_demand(0x6, (ULONG_PTR)other, (ULONG_PTR)block, BYTES, (ULONG_PTR)heap);
    assert_true(HeapSize(other, 0, block) == (SIZE_T)-1);
    watch_demand(0x6, (ULONG_PTR)other, (ULONG_PTR)block, BYTES, (ULONG_PTR)heap);
    assert_int_equal(HeapSize(heap, 0, block), BYTES); /* and is as it was */
    assert_int_equal(HeapDestroy(other), TRUE);
    watch_finish(heap);
}

static void destroying_the_process_heap_is_a_stop(void **state)
{
    (void)state;
    watch_start("heaps");
    HANDLE heap = GetProcessHeap();
    assert_int_equal(HeapDestroy(heap), FALSE);
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    watch_demand(0x9, (ULONG_PTR)heap, 0, 0, 0);
    assert_ptr_equal(RtlDestroyHeap(heap), heap);
    watch_demand(0x9, (ULONG_PTR)heap, 0, 0, 0);
    assert_non_null(HeapAlloc(heap, 0, BYTES));
}

static void a_list_of_heaps_that_does_not_add_up_is_a_stop(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    (void)GetProcessHeap();
    assert_int_equal(GetProcessHeaps(0, NULL), 2);
    watch_demand_none();
    nth_verifier.heap_count++;
    assert_int_equal(GetProcessHeaps(0, NULL), 2);
    watch_demand(0x14, 2, 3, 0, 0);
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 2);
    watch_demand(0x14, 2, 3, 0, 0);
    nth_verifier.heap_count--;
    watch_finish(heap);
}

/* ---- sizes ---- */

static void a_size_beyond_reason_is_a_stop(void **state)
{
    const SIZE_T size = NTH_WORDS(0x10000000000, 0x80000000);
    (void)state;
    HANDLE heap = watch_begin("heaps");
    void *block = HeapAlloc(heap, 0, BYTES);
    assert_null(HeapAlloc(heap, 0, size));
    watch_demand(0x4, (ULONG_PTR)heap, size, 0, 0);
    assert_null(HeapReAlloc(heap, 0, block, SIZE_MAX));
    watch_demand(0x4, (ULONG_PTR)heap, SIZE_MAX, 0, 0);
    assert_null(HeapReAlloc(heap, 0, block, size));
    watch_demand(0x4, (ULONG_PTR)heap, size, 0, 0);
    assert_null(HeapReAlloc(heap, 0, block, size - 1));
    assert_null(HeapAlloc(heap, 0, size - 1));
    watch_demand_none();
    const struct rig_outcome raised = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, size - 1);
    rig_demand_raised(&raised, STATUS_NO_MEMORY, size - 1); /* the caller's size, no other */
    watch_finish(heap);
}

/* ---- blocks ---- */

static void a_block_freed_twice_is_a_double_free_while_it_is_held(void **state)
{
    (void)state;
    watch_start("heaps,delayed=2");
    HANDLE heap = HeapCreate(0, 0, 0x40000); /* a fixed one: no front end has it instead */
    void *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    assert_non_null(watch_stop(0)->allocated);
    assert_non_null(watch_stop(0)->freed);
    assert_non_null(watch_stop(0)->trace);
    watch_demand(0x7, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
    for (unsigned idx = 0; idx < 2; idx++) { /* out of the queue, first in first out */
        void *next = HeapAlloc(heap, 0, BYTES);
        assert_ptr_not_equal(next, block);
        assert_int_equal(HeapFree(heap, 0, next), TRUE);
    }
    void *again = NULL; /* the heap has it again, and hands it out when its turn comes */
    for (unsigned idx = 0; idx < 20 && again != block; idx++) {
        again = HeapAlloc(heap, 0, BYTES);
    }
    assert_ptr_equal(again, block);
    assert_int_equal(HeapFree(heap, 0, again), TRUE);
    watch_finish(heap);
}

static void the_queue_has_the_depth_that_was_asked_for(void **state)
{
    struct nth_verifier_summary sums;
    (void)state;
    HANDLE heap = watch_begin("heaps,delayed=10:1000");
    for (unsigned idx = 0; idx < 15; idx++) {
        assert_int_equal(HeapFree(heap, 0, HeapAlloc(heap, 0, 10)), TRUE);
    }
    nth_verifier_summary(&sums);
    assert_int_equal(sums.held_count, 10);
    assert_int_equal(sums.held_bytes, 100);
    assert_int_equal(HeapFree(heap, 0, HeapAlloc(heap, 0, 960)), TRUE);
    nth_verifier_summary(&sums);
    assert_int_equal(sums.held_count, 5);
    assert_int_equal(sums.held_bytes, 1000);
    watch_finish(heap);
}

static void what_starts_no_block_is_a_corrupted_one(void **state)
{
    static char outside[64];
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(heap, 0, block + 4), FALSE);
    watch_demand(0x8, (ULONG_PTR)heap, (ULONG_PTR)block + 4, BYTES, 0);
    assert_int_equal(HeapFree(heap, 0, outside), FALSE);
    watch_demand(0x8, (ULONG_PTR)heap, (ULONG_PTR)outside, 0, 0);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_null(HeapReAlloc(heap, 0, block, BYTES));
    watch_demand(0x8, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
    watch_finish(heap);
}

static void an_address_without_access_is_an_exception_for_header_or_probing(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    void *nowhere = mmap(NULL, WILD_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(nowhere != MAP_FAILED);
    assert_int_equal(HeapFree(heap, 0, nowhere), FALSE);
    watch_demand(0xB, (ULONG_PTR)heap, (ULONG_PTR)nowhere, 0, 0);
    assert_null(HeapReAlloc(heap, 0, nowhere, BYTES));
    watch_demand(0xC, (ULONG_PTR)heap, (ULONG_PTR)nowhere, 0, 0);
    assert_int_equal(munmap(nowhere, WILD_PAGE_BYTES), 0);
    watch_finish(heap);
}

/* One byte at `offset` from the block is changed; then it is freed. */
static void damaged(HANDLE heap, ptrdiff_t offset, ULONG code, ULONG_PTR fourth)
{
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapValidate(heap, 0, block), TRUE);
    rig_flip(block + offset);
    assert_int_equal(HeapValidate(heap, 0, block), FALSE);
    watch_demand_none(); /* validating tells by its result */
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_non_null(watch_stop(0)->allocated);
    watch_demand(code, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, fourth);
}

static void damage_around_a_block_is_told_when_it_is_freed(void **state)
{
    const ptrdiff_t mark = (ptrdiff_t)MARK;
    (void)state;
    HANDLE heap = watch_begin("heaps");
    damaged(heap, -1, 0x12, 0);
    damaged(heap, -8, 0x12, 0);
    damaged(heap, -12, 0x11, 0xDCBAAAABu);
    damaged(heap, -mark, 0x10, 0xABCDAAABu);
    damaged(heap, -mark + 8, 0x8, 0);
    damaged(heap, -mark + 16, 0x8, 0);
    damaged(heap, BYTES, 0xF, 0);
    damaged(heap, BYTES + 7, 0xF, 0);
    watch_finish(heap); /* each was told once */
}

static void damage_put_right_is_none(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, 0, BYTES);
    rig_flip(block + BYTES);
    rig_flip(block + BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void a_write_to_a_held_block_is_told_when_it_leaves_the_queue(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,delayed=1");
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    rig_flip(block + 50);
    assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
    watch_demand_none();
    assert_int_equal(HeapFree(heap, 0, HeapAlloc(heap, 0, BYTES)), TRUE);
    assert_non_null(watch_stop(0)->freed);
    watch_demand(0xE, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
    watch_finish(heap);
}

static void a_stamp_of_a_held_block_is_its_header(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    rig_flip(block - MARK);
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_demand(0xD, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
}

static void fills_and_stamps_are_those_of_the_documents(void **state)
{
    uint32_t stamps[2];
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, 0, BYTES);
    for (unsigned idx = 0; idx < BYTES; idx++) {
        assert_int_equal(nth_peek(block + idx), 0xE0);
    }
    for (unsigned idx = 0; idx < 8; idx++) {
        assert_int_equal(nth_peek(block + BYTES + idx), 0xA0);
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        ((uint8_t *)&stamps[0])[idx] = nth_peek(block - MARK + idx);
        ((uint8_t *)&stamps[1])[idx] = nth_peek(block - 12 + idx);
    }
    assert_int_equal(stamps[0], 0xABCDAAAAu);
    assert_int_equal(stamps[1], 0xDCBAAAAAu);
    char *zeroed = HeapAlloc(heap, HEAP_ZERO_MEMORY, BYTES);
    for (unsigned idx = 0; idx < BYTES; idx++) {
        assert_int_equal(zeroed[idx], 0);
    }
    zeroed = HeapReAlloc(heap, HEAP_ZERO_MEMORY, zeroed, 5 * BYTES);
    for (unsigned idx = 0; idx < 5 * BYTES; idx++) {
        assert_int_equal(zeroed[idx], 0);
    }
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    for (unsigned idx = 0; idx < BYTES; idx++) {
        assert_int_equal(nth_peek(block + idx), 0xF0);
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        ((uint8_t *)&stamps[0])[idx] = nth_peek(block - MARK + idx);
        ((uint8_t *)&stamps[1])[idx] = nth_peek(block - 12 + idx);
    }
    assert_int_equal(stamps[0], 0xABCDAAA9u);
    assert_int_equal(stamps[1], 0xDCBAAAA9u);
    watch_finish(heap);
}

/* ---- a correct program sees the heap that it knows ---- */

static void a_correct_program_notices_nothing(void **state)
{
    static const char *const settings[] = {"basics",
                                           "leak",
                                           "pageheap=full",
                                           "pageheap=full:backwards",
                                           "pageheap=full:unaligned",
                                           "heaps,delayed=0",
                                           "flags=htc+hfc+hpc+hvc"};
    (void)state;
    for (unsigned row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        SIZE_T sizes[64];
        char *blocks[64];
        uint32_t turn = 1;
        memset(blocks, 0, sizeof(blocks));
        for (unsigned step = 0; step < 2000; step++) {
            turn = turn * 1103515245u + 12345u;
            const unsigned idx = turn >> 16 & 63u;
            const SIZE_T size = (turn >> 22) % (step % 50 == 0 ? 600000u : 300u);
            if (blocks[idx] == NULL) {
                blocks[idx] = HeapAlloc(heap, 0, size);
                assert_non_null(blocks[idx]);
            } else if (turn >> 31 != 0) {
                assert_int_equal(HeapSize(heap, 0, blocks[idx]), sizes[idx]);
                for (SIZE_T at = 0; at < sizes[idx]; at += 97) {
                    assert_int_equal((unsigned char)blocks[idx][at], idx);
                }
                assert_int_equal(HeapValidate(heap, 0, blocks[idx]), TRUE);
                assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
                blocks[idx] = NULL;
                continue;
            } else {
                blocks[idx] = HeapReAlloc(heap, HEAP_ZERO_MEMORY, blocks[idx], size);
                assert_non_null(blocks[idx]);
                const SIZE_T kept = sizes[idx] < size ? sizes[idx] : size;
                for (SIZE_T at = 0; at < size; at += 97) {
                    assert_int_equal((unsigned char)blocks[idx][at], at < kept ? idx : 0);
                }
            }
            sizes[idx] = size;
            memset(blocks[idx], (int)idx, size);
        }
        assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
        unsigned live = 0;
        for (unsigned idx = 0; idx < 64; idx++) {
            live += blocks[idx] != NULL;
        }
        struct nth_verifier_summary sums;
        nth_verifier_summary(&sums);
        assert_int_equal(sums.live_count, live);
        watch_finish(heap);
        nth_verifier_summary(&sums);
        assert_int_equal(sums.live_count, 0);
        assert_int_equal(sums.held_count, 0);
        nth_process_reset();
    }
}

static void walks_show_the_programs_blocks(void **state)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    unsigned found = 0;
    (void)state;
    HANDLE heap = watch_begin("heaps");
    void *block = HeapAlloc(heap, 0, BYTES);
    void *large = HeapAlloc(heap, 0, 0x100000);
    while (HeapWalk(heap, &entry)) {
        if ((entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0) {
            assert_true(entry.lpData == block || entry.lpData == large);
            assert_int_equal(entry.cbData, entry.lpData == block ? BYTES : 0x100000);
            found++;
        }
    }
    assert_int_equal(GetLastError(), ERROR_NO_MORE_ITEMS);
    assert_int_equal(found, 2);
    watch_finish(heap);
}

static void user_values_stay_with_their_blocks(void **state)
{
    PVOID value = NULL;
    ULONG flags = 0;
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAG2, BYTES);
    void *wall = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, BYTES); /* so that it has to move */
    assert_int_equal(RtlSetUserValueHeap(heap, 0, block, &value), TRUE);
    block = HeapReAlloc(heap, HEAP_SETTABLE_USER_FLAG3, block, 100 * BYTES);
    assert_int_equal(HeapFree(heap, 0, wall), TRUE);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, block, &value, &flags), TRUE);
    assert_ptr_equal(value, &value);
    assert_int_equal(flags, HEAP_SETTABLE_USER_FLAG3);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

/* One on its own pages has none, and says so as any block without does (D49). */
static void a_full_block_has_no_user_value(void **state)
{
    PVOID value = &value;
    ULONG flags = 7;
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    HANDLE other = HeapCreate(0, 0, 0);
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, block, &value, &flags), TRUE);
    assert_ptr_equal(value, &value);
    assert_int_equal(flags, 0);
    SetLastError(0);
    assert_int_equal(RtlSetUserValueHeap(heap, 0, block, NULL), FALSE);
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    assert_int_equal(RtlSetUserFlagsHeap(heap, 0, block, 0, HEAP_SETTABLE_USER_FLAG1), FALSE);
    assert_int_equal(rig_report_count(), 0);
    assert_int_equal(RtlGetUserInfoHeap(other, 0, block, &value, &flags), FALSE); /* not its own */
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, block, &value, &flags), FALSE); /* nor any more */
    rig_report_forget();
    assert_int_equal(HeapDestroy(other), TRUE);
    watch_finish(heap);
}

static void a_shrink_stays_in_place_and_growth_holds_the_old_block(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, 0, BYTES);
    void *wall = HeapAlloc(heap, 0, BYTES);
    assert_ptr_equal(HeapReAlloc(heap, 0, block, 0), block);
    assert_int_equal(HeapSize(heap, 0, block), 0);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, BYTES), block);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 1000 * BYTES));
    memset(block, 0x11, BYTES);
    char *moved = HeapReAlloc(heap, 0, block, 1000 * BYTES);
    assert_ptr_not_equal(moved, block);
    assert_int_equal(moved[BYTES - 1], 0x11);
    assert_int_equal((unsigned char)moved[BYTES], 0xE0);
    assert_int_equal(nth_peek(block), 0xF0);
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    watch_demand(0x7, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
    assert_int_equal(HeapFree(heap, 0, wall), TRUE);
    watch_finish(heap);
}

/* ---- threads ---- */

static HANDLE shared;
static ULONG intruder;

static void *intrude(void *context)
{
    (void)context;
    intruder = self();
    (void)HeapSize(shared, 0, NULL);
    return NULL;
}

static void commit_hook(void)
{
    pthread_t thread;
    rig_pages_on_commit(NULL);
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void two_threads_at_once_in_a_heap_without_a_lock_are_a_stop(void **state)
{
    (void)state;
    watch_start("heaps");
    shared = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    void *block = HeapAlloc(shared, 0, BYTES);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand_none(); /* one after the other */
    rig_pages_on_commit(commit_hook);
    void *wide = HeapAlloc(shared, 0, 0x20000);
    assert_non_null(wide);
    watch_demand(0x3, (ULONG_PTR)shared, self(), intruder, 0);
    assert_int_equal(HeapFree(shared, 0, block), TRUE);
    watch_finish(shared);
}

static void a_heap_without_a_lock_may_be_told_to_be_one_threads(void **state)
{
    (void)state;
    watch_start("pageheap=light:nosync");
    shared = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    assert_non_null(HeapAlloc(shared, 0, BYTES));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand(0x3, (ULONG_PTR)shared, self(), intruder, 0);
    watch_finish(shared);
}

static void *allocate_and_tell(void *context)
{
    *(void **)context = HeapAlloc(shared, 0, BYTES);
    return NULL;
}

static void heaplock_holds_off_other_threads(void **state)
{
    void *volatile made = NULL;
    pthread_t thread;
    (void)state;
    shared = watch_begin("pageheap=full");
    assert_int_equal(HeapLock(shared), TRUE);
    assert_int_equal(pthread_create(&thread, NULL, allocate_and_tell, (void *)(uintptr_t)&made), 0);
    for (unsigned idx = 0; idx < 20; idx++) {
        (void)usleep(1000);
        assert_null(made);
        assert_int_equal(HeapFree(shared, 0, HeapAlloc(shared, 0, 1)), TRUE);
    }
    assert_int_equal(HeapUnlock(shared), TRUE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(made);
    watch_finish(shared);
}

/* ---- exceptions inside ---- */

static NTSTATUS violate(PVOID base, PVOID *address, PSIZE_T bytes)
{
    static unsigned calls;
    (void)base;
    (void)address;
    (void)bytes;
    if (calls++ % 2u != 0) {
        const ULONG_PTR where[2] = {EXCEPTION_READ_FAULT, 0x123};
        RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
    }
    return STATUS_SUCCESS;
}

static void a_violation_inside_a_heap_call_is_unexpected(void **state)
{
    (void)state;
    watch_start("heaps");
    void *base = mmap(NULL, 0x40000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    void *aligned = (void *)(((uintptr_t)base + 0xFFFFu) & ~(uintptr_t)0xFFFFu);
    RTL_HEAP_PARAMETERS parameters = {.Length = sizeof(parameters),
                                      .InitialCommit = 0x2000,
                                      .InitialReserve = 0x20000,
                                      .CommitRoutine = violate};
    HANDLE heap = RtlCreateHeap(0, aligned, 0x20000, 0x2000, NULL, &parameters);
    assert_non_null(heap);
    const struct rig_outcome outcome = rig_alloc(heap, 0, 0x8000);
    assert_true(outcome.raised);
    assert_int_equal(outcome.record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0xA);
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)heap);
    assert_true(watch_stop(0)->parameter[1] != 0);
    assert_int_equal(watch_stop(0)->parameter[2], 0); /* no processor's fault: no context */
    assert_int_equal(watch_stop(0)->parameter[3], STATUS_ACCESS_VIOLATION);
    watch_forget();
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    watch_finish(heap);
    assert_int_equal(munmap(base, 0x40000), 0);
}

/* ---- the memory layer ---- */

static void stack_memory_freed_as_heap_is_a_stop(void **state)
{
    char local[64];
    (void)state;
    HANDLE heap = watch_begin("memory,leak");
    assert_int_equal(HeapFree(heap, 0, local), FALSE);
    assert_int_equal(watch_count(), 1);
    const struct nth_stop *stop = watch_stop(0);
    assert_int_equal(stop->code, 0x612);
    assert_string_equal(stop->layer, "Memory");
    assert_int_equal(stop->parameter[1], stop->parameter[3] - stop->parameter[2]);
    assert_int_equal(stop->parameter[0], stop->parameter[2]);
    assert_true((ULONG_PTR)local >= stop->parameter[2]);
    assert_true((ULONG_PTR)local < stop->parameter[3]);
    watch_forget();
    rig_report_forget(); /* without the heaps layer the heap itself tells of it as well */
    watch_finish(heap);
}

static void an_executable_heap_is_a_stop(void **state)
{
    (void)state;
    watch_start("memory");
    HANDLE heap = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    assert_non_null(heap);
    watch_demand(0x1D, 0, 0, 0, 0);
    watch_finish(heap);
}

static void freeing_what_cannot_be_accessed_is_an_exception_while_sizing(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("memory,leak");
    void *nowhere = mmap(NULL, WILD_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(nowhere != MAP_FAILED);
    assert_int_equal(HeapFree(heap, 0, nowhere), FALSE);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x618);
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)nowhere);
    assert_int_equal(watch_stop(0)->parameter[1], (ULONG_PTR)heap);
    assert_true(watch_stop(0)->parameter[2] != 0);
    assert_int_equal(watch_stop(0)->parameter[3], 0);
    watch_forget();
    rig_report_forget();
    assert_int_equal(munmap(nowhere, WILD_PAGE_BYTES), 0);
    watch_finish(heap);
}

/* ---- what stops do ---- */

static void a_stop_can_be_switched_off_and_told_once(void **state)
{
    struct nth_verifier_summary sums;
    (void)state;
    HANDLE heap = watch_begin("heaps");
    assert_int_equal(nth_verifier_stop_set("Heaps", "NO_SUCH_STOP", 0, 0),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_stop_set("Leak", "BAD_HEAP_HANDLE", 0, 0),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_stop_set("Heaps", "BAD_HEAP_HANDLE", 0x8000, 0),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_stop_set("Heaps", "BAD_HEAP_HANDLE", 0, 0), STATUS_SUCCESS);
    assert_null(HeapAlloc(NULL, 0, 1));
    watch_demand_none();
    assert_int_equal(
        nth_verifier_stop_set("Heaps", "BAD_HEAP_HANDLE", NTH_STOP_DEFAULT, NTH_FLAVOR_ONCE),
        STATUS_SUCCESS);
    assert_null(HeapAlloc(NULL, 0, 1));
    assert_null(HeapAlloc(NULL, 0, 1));
    watch_demand(0x5, 0, 0, 0, 0);
    nth_verifier_summary(&sums);
    assert_int_equal(sums.stop_count, 1);
    assert_int_equal(sums.silenced_count, 2);
    assert_int_equal(nth_verifier_stop_count(), 1);
    assert_int_equal(nth_verifier_stop_at(0)->code, 0x5);
    assert_null(nth_verifier_stop_at(1));
    watch_finish(heap);
}

static void a_problem_is_told_once_at_its_place(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,once");
    for (unsigned idx = 0; idx < 3; idx++) {
        assert_null(HeapAlloc(NULL, 0, 1));
    }
    watch_demand(0x5, 0, 0, 0, 0);
    assert_null(HeapAlloc(NULL, 0, 1)); /* another place */
    watch_demand(0x5, 0, 0, 0, 0);
    watch_finish(heap);
}

static void a_stop_can_raise_an_exception(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,exceptions");
    void *block = HeapAlloc(heap, 0, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    const struct rig_outcome outcome = rig_free(heap, block);
    assert_true(outcome.raised);
    assert_int_equal(outcome.record.ExceptionCode, STATUS_VERIFIER_STOP);
    assert_int_equal(outcome.record.NumberParameters, 5);
    assert_int_equal(outcome.record.ExceptionInformation[0], 0x7);
    assert_int_equal(outcome.record.ExceptionInformation[1], (ULONG_PTR)heap);
    assert_int_equal(outcome.record.ExceptionInformation[2], (ULONG_PTR)block);
    assert_int_equal(outcome.record.ExceptionInformation[3], BYTES);
    assert_int_equal(outcome.record.ExceptionInformation[4], 0);
    watch_forget();
    watch_finish(heap);
}

static void fatal(void *context)
{
    watch_start("heaps");
    assert_int_equal(nth_verifier_stop_set("Heaps", "BAD_HEAP_HANDLE", NTH_STOP_DEFAULT,
                                           context != NULL ? NTH_FLAVOR_FATAL : 0),
                     STATUS_SUCCESS);
    assert_null(HeapAlloc(NULL, 0, 1));
}

static void a_stop_can_end_the_process(void **state)
{
    (void)state;
    assert_int_equal(rig_child_status(fatal, NULL), 0);
    assert_int_equal(rig_child_status(fatal, state), STATUS_VERIFIER_STOP);
}

/* ---- looking ---- */

struct seen {
    unsigned count;
    unsigned held;
    PVOID last;
};

static BOOLEAN see_allocation(void *context, const struct nth_allocation *block)
{
    struct seen *seen = context;
    seen->count++;
    seen->held += block->state == NTH_ALLOCATION_HELD;
    seen->last = block->user;
    assert_true((char *)block->user >= (char *)block->real);
    assert_true((char *)block->user + block->user_bytes <= (char *)block->real + block->real_bytes);
    assert_non_null(block->allocated);
    return seen->count < 100;
}

static BOOLEAN see_operation(void *context, const struct nth_operation *one)
{
    struct seen *seen = context;
    seen->count++;
    seen->last = one->address;
    assert_int_equal(one->thread, self());
    assert_non_null(one->trace);
    return seen->count < 2;
}

static void allocations_and_operations_can_be_looked_at(void **state)
{
    struct seen seen = {0, 0, NULL};
    (void)state;
    HANDLE heap = watch_begin("heaps");
    HANDLE other = HeapCreate(0, 0, 0);
    char *block = NULL;
    for (unsigned idx = 0; idx < 200; idx++) {
        block = HeapAlloc(heap, 0, BYTES);
    }
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    void *elsewhere = HeapAlloc(other, 0, BYTES);
    assert_int_equal(nth_verifier_enumerate(heap, see_allocation, &seen), 100); /* as told */
    seen.count = 0;
    assert_int_equal(nth_verifier_enumerate(other, see_allocation, &seen), 1);
    assert_ptr_equal(seen.last, elsewhere);
    seen = (struct seen){.count = 0};
    assert_int_equal(nth_verifier_operations(block + 50, see_operation, &seen), 1);
    assert_ptr_equal(seen.last, block); /* its allocation; the free is found by the exact address */
    assert_int_equal(nth_verifier_operations(block + BYTES - 1, see_operation, &seen), 1);
    assert_int_equal(nth_verifier_operations(block + BYTES, see_operation, &seen), 0);
    seen.count = 0;
    assert_int_equal(nth_verifier_operations(block, see_operation, &seen), 2);
    seen.count = 0;
    assert_int_equal(nth_verifier_operations(NULL, see_operation, &seen), 2);
    assert_true(nth_verifier_knows(elsewhere));
    assert_true(nth_verifier_knows(block)); /* held */
    assert_false(nth_verifier_knows(block + 1));
    assert_int_equal(HeapDestroy(other), TRUE);
    assert_false(nth_verifier_knows(elsewhere));
    watch_finish(heap);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bad_handle_is_a_stop_for_every_call),
        TEST(a_block_of_another_heap_is_a_switched_handle),
        TEST(destroying_the_process_heap_is_a_stop),
        TEST(a_list_of_heaps_that_does_not_add_up_is_a_stop),
        TEST(a_size_beyond_reason_is_a_stop),
        TEST(a_block_freed_twice_is_a_double_free_while_it_is_held),
        TEST(the_queue_has_the_depth_that_was_asked_for),
        TEST(what_starts_no_block_is_a_corrupted_one),
        TEST(an_address_without_access_is_an_exception_for_header_or_probing),
        TEST(damage_around_a_block_is_told_when_it_is_freed),
        TEST(damage_put_right_is_none),
        TEST(a_write_to_a_held_block_is_told_when_it_leaves_the_queue),
        TEST(a_stamp_of_a_held_block_is_its_header),
        TEST(fills_and_stamps_are_those_of_the_documents),
        TEST(a_correct_program_notices_nothing),
        TEST(walks_show_the_programs_blocks),
        TEST(user_values_stay_with_their_blocks),
        TEST(a_full_block_has_no_user_value),
        TEST(a_shrink_stays_in_place_and_growth_holds_the_old_block),
        TEST(two_threads_at_once_in_a_heap_without_a_lock_are_a_stop),
        TEST(a_heap_without_a_lock_may_be_told_to_be_one_threads),
        TEST(heaplock_holds_off_other_threads),
        TEST(a_violation_inside_a_heap_call_is_unexpected),
        TEST(stack_memory_freed_as_heap_is_a_stop),
        TEST(an_executable_heap_is_a_stop),
        TEST(freeing_what_cannot_be_accessed_is_an_exception_while_sizing),
        TEST(a_stop_can_be_switched_off_and_told_once),
        TEST(a_problem_is_told_once_at_its_place),
        TEST(a_stop_can_raise_an_exception),
        TEST(a_stop_can_end_the_process),
        TEST(allocations_and_operations_can_be_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
