/* SPDX-License-Identifier: MIT
 *
 * Calls under the verifier whose answer is the heap's own, layer by layer: bad handles, blocks of
 * others, damaged heaps, tables without room, faults inside and outside of core, hooks that use the
 * heaps, the limits of full blocks. */
#include "support/forge.h"
#include "support/leave.h"
#include "support/watch.h"
#include "support/wild.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "verifier.h"

#define BYTES 100u

static SIZE_T live_count(void)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    return sums.live_count;
}

static SIZE_T held_count(void)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    return sums.held_count;
}

/* ---- handles and blocks that the heap itself refuses ---- */

/* Without the heaps layer a bad handle gets the heap's own answer, in each layer the same as in
 * none. */
static void without_stamps_a_bad_handle_is_the_heaps_to_refuse(void **state)
{
    static const char *const settings[] = {NULL, "leak", "lowres=1000000:0", "flags=htc+hvc",
                                           "flags=hfc+hpc"};
    static char nowhere[64];
    unsigned reports[2][4]; /* that calls make without the verifier */
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = NULL;
        if (settings[row] == NULL) {
            heap = rig_heap_new();
        } else {
            heap = watch_begin(settings[row]);
        }
        char block[16] = "";
        HANDLE bad[2] = {NULL, nowhere};
        for (unsigned idx = 0; idx < 2; idx++) {
            struct rig_outcome raised = rig_alloc(bad[idx], HEAP_GENERATE_EXCEPTIONS, BYTES);
            rig_demand_raised(&raised, STATUS_ACCESS_VIOLATION, (uintptr_t)bad[idx]);
            const struct rig_outcome ones[4] = {
                rig_alloc(bad[idx], 0, BYTES), rig_realloc(bad[idx], 0, block, BYTES),
                rig_free(bad[idx], block),
                rig_run(
                    &(struct rig_args){.call = RIG_HEAP_SIZE, .heap = bad[idx], .block = block})};
            rig_demand_value(&ones[0], 0);
            rig_demand_value(&ones[1], 0);
            rig_demand_error(&ones[2], FALSE, ERROR_INVALID_HANDLE);
            assert_true(ones[3].value == (uintptr_t)-1);
            for (unsigned call = 0; call < 4; call++) {
                reports[idx][call] = row == 0 ? ones[call].reports : reports[idx][call];
                assert_int_equal(ones[call].reports, reports[idx][call]);
            }
        }
        rig_report_forget();
        if (settings[row] != NULL) {
            struct nth_verifier_summary sums;
            nth_verifier_summary(&sums);
            assert_int_equal(sums.refused_count, 0); /* that was no shortage */
            assert_int_equal(sums.stop_count, 0);
            watch_finish(heap);
        } else {
            assert_int_equal(HeapDestroy(heap), TRUE);
        }
        nth_process_reset();
    }
}

static void without_stamps_no_block_is_the_heaps_to_refuse(void **state)
{
    static char outside[64];
    (void)state;
    HANDLE heap = watch_begin("leak");
    HANDLE other = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    struct rig_outcome one =
        rig_run(&(struct rig_args){.call = RIG_HEAP_SIZE, .heap = heap, .block = outside});
    assert_true(one.value == (uintptr_t)-1);
    assert_int_equal(one.reports, 1);
    one = rig_free(other, block); /* of another heap: the heap says so, not a stop */
    rig_demand_error(&one, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand(NTH_CORRUPT_WRONG_HEAP, other, block);
    one = rig_realloc(heap, 0, NULL, BYTES);
    rig_demand_value(&one, 0);
    assert_true(nth_verifier_knows(block));
    assert_int_equal(HeapSize(heap, 0, block), BYTES);
    rig_report_forget();
    assert_int_equal(HeapDestroy(other), TRUE);
    watch_finish(heap);
}

static void validating_what_is_no_live_block_of_the_heap_is_false(void **state)
{
    static const char *const settings[] = {"heaps", "leak", "flags=hfc", "pageheap=full"};
    static char outside[64];
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        HANDLE other = rig_heap_new();
        char *block = rig_block_new(heap, BYTES);
        char *freed = rig_block_new(heap, BYTES);
        char *elsewhere = rig_block_new(other, BYTES);
        assert_int_equal(HeapFree(heap, 0, freed), TRUE);
        assert_int_equal(HeapValidate(heap, 0, block), TRUE);
        assert_int_equal(HeapValidate(other, 0, elsewhere), TRUE);
        assert_int_equal(HeapValidate(heap, 0, elsewhere), FALSE);
        assert_int_equal(HeapValidate(other, 0, block), FALSE);
        assert_int_equal(HeapValidate(heap, 0, outside), FALSE);
        assert_int_equal(HeapValidate(heap, 0, block + 16), FALSE);
        assert_int_equal(HeapValidate(heap, 0, freed), FALSE);
        assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
        watch_demand_none();
        rig_report_forget();
        assert_int_equal(HeapDestroy(other), TRUE);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* A heap whose own words are damaged: nothing is served, and the books stay as they were. */
static void a_damaged_heap_serves_nothing(void **state)
{
    static const char *const settings[] = {"leak", "heaps", "pageheap=full", "flags=hvc",
                                           "flags=hfc"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        PVOID block = rig_block_new(heap, BYTES);
        PVOID freed = rig_block_new(heap, BYTES);
        assert_int_equal(HeapFree(heap, 0, freed), TRUE);
        const SIZE_T live = live_count();
        const SIZE_T held = held_count();
        struct nth_heap *inside = forge_inside(heap);
        inside->config.seal ^= 1u;
        struct rig_outcome one = rig_alloc(heap, 0, BYTES);
        rig_demand_value(&one, 0);
        assert_true(one.reports > 0);
        one = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, BYTES);
        rig_demand_raised(&one, STATUS_ACCESS_VIOLATION, (uintptr_t)heap);
        one = rig_run(&(struct rig_args){.call = RIG_HEAP_VALIDATE, .heap = heap});
        rig_demand_value(&one, FALSE);
        one = rig_run(&(struct rig_args){.call = RIG_HEAP_SIZE, .heap = heap, .block = block});
        assert_true(one.value == (uintptr_t)-1 && one.reports > 0);
        one = rig_free(heap, freed);
        assert_int_equal(one.value, FALSE);
        watch_forget();
        rig_report_forget();
        inside->config.seal ^= 1u;
        assert_int_equal(live_count(), live);
        assert_int_equal(held_count(), held);
        assert_int_equal(HeapSize(heap, 0, block), BYTES);
        nth_process_reset();
    }
}

/* The header before a block is not what it was: nothing moves, and no byte changes. */
static void a_block_with_a_damaged_header_is_not_resized(void **state)
{
    static const char *const settings[] = {"leak", "heaps"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        char *block = rig_block_new(heap, BYTES);
        memset(block, 0x37, BYTES);
        const uintptr_t header = (uintptr_t)block - (row == 1 ? NTH_MARK_BYTES : 0u) - 3u;
        const uint8_t before = wild_read(header);
        wild_write(header, before ^ 0x10u);
        const struct rig_outcome one = rig_realloc(heap, 0, block, 50 * BYTES);
        rig_demand_value(&one, 0);
        assert_true(one.reports > 0);
        rig_report_forget();
        wild_write(header, before);
        assert_int_equal(live_count(), 1);
        assert_int_equal(HeapSize(heap, 0, block), BYTES);
        for (unsigned idx = 0; idx < BYTES; idx++) {
            assert_int_equal(block[idx], 0x37);
        }
        block = HeapReAlloc(heap, 0, block, 50 * BYTES);
        assert_non_null(block);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        watch_demand_none();
        nth_process_reset();
    }
}

/* ---- user information and walks ---- */

static void user_information_of_what_is_no_live_block_is_refused(void **state)
{
    static char outside[64];
    PVOID value = NULL;
    ULONG flags = 0;
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *freed = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, BYTES);
    assert_int_equal(RtlSetUserValueHeap(heap, 0, freed, &value), TRUE);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, freed, &value, &flags), TRUE);
    assert_ptr_equal(value, &value);
    assert_int_equal(HeapFree(heap, 0, freed), TRUE);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, freed, &value, &flags), FALSE); /* it is held */
    assert_int_equal(RtlSetUserValueHeap(heap, 0, freed, &flags), FALSE);
    assert_int_equal(RtlGetUserInfoHeap(heap, 0, outside, &value, &flags), FALSE);
    rig_report_forget();
    watch_forget();
    watch_finish(heap);
}

/* Blocks of 40 bytes stand 48 apart: as far as a mark is long. */
static void a_walk_tells_neighbours_apart_from_blocks_with_marks(void **state)
{
    enum { COUNT = 12 };
    static const char *const settings[] = {"leak", "heaps", "flags=htc"};
    char *blocks[COUNT];
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        watch_start(settings[row]);
        HANDLE heap = HeapCreate(0, 0, 0x40000); /* a fixed one: blocks lie side by side */
        assert_non_null(heap);
        for (unsigned idx = 0; idx < COUNT; idx++) {
            blocks[idx] = rig_block_new(heap, 40);
        }
        assert_true(row != 0 || blocks[1] == blocks[0] + NTH_MARK_BYTES);
        PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
        unsigned found = 0;
        while (HeapWalk(heap, &entry)) {
            if ((entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0) {
                assert_ptr_equal(entry.lpData, blocks[found]);
                assert_int_equal(entry.cbData, 40);
                /* What is not the program's counts as overhead: up to the next one. */
                assert_int_equal(entry.cbData + entry.cbOverhead, blocks[1] - blocks[0]);
                found++;
            }
        }
        assert_int_equal(found, COUNT);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* A full block is no element of its heap (D100), so no walk goes on behind one. */
static void a_walk_does_not_go_on_from_a_full_block(void **state)
{
    PROCESS_HEAP_ENTRY entry;
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    memset(&entry, 0, sizeof(entry));
    entry.lpData = rig_block_new(heap, BYTES);
    entry.cbData = BYTES;
    entry.wFlags = PROCESS_HEAP_ENTRY_BUSY;
    assert_int_equal(HeapWalk(heap, &entry), FALSE);
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
    rig_report_forget();
    watch_finish(heap);
}

/* ---- full blocks ---- */

static void a_full_block_keeps_its_place_where_it_fits(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    const SIZE_T room = 2u * sizeof(void *);
    char *block = rig_block_new(heap, room - 3u);
    memset(block, 0x11, room - 3u);
    assert_ptr_equal(HeapReAlloc(heap, 0, block, room - 3u), block); /* the same size */
    assert_int_equal(held_count(), 0);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, room - 1u), block);
    assert_int_equal(HeapSize(heap, 0, block), room - 1u);
    assert_int_equal((unsigned char)block[room - 3u], 0xC0); /* fresh bytes */
    assert_int_equal(nth_peek(block + room - 1u), 0xD0);     /* and what is left of the slack */
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY | HEAP_ZERO_MEMORY, block, room),
                     block);
    assert_int_equal(block[room - 1u], 0);
    assert_int_equal(block[room - 4u], 0x11);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, room + 1u));
    assert_int_equal(HeapSize(heap, 0, block), room);
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 1), block);
    assert_ptr_equal(HeapReAlloc(heap, 0, block, 0), block); /* nothing left to move */
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 2), block);
    assert_int_equal(nth_peek(block), 0xC0);
    nth_poke(block, 0x11);
    assert_int_equal(held_count(), 0);
    char *moved = HeapReAlloc(heap, 0, block, room); /* may move, and so it does */
    assert_ptr_not_equal(moved, block);
    assert_int_equal(moved[0], 0x11);
    assert_int_equal(held_count(), 1);
    assert_int_equal(HeapFree(heap, 0, moved), TRUE);
    watch_finish(heap);
}

static void a_heaps_greatest_allocation_holds_for_full_blocks(void **state)
{
    (void)state;
    watch_start("pageheap=full");
    RTL_HEAP_PARAMETERS parameters = {.Length = sizeof(parameters),
                                      .MaximumAllocationSize = 0x8000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &parameters);
    assert_non_null(heap);
    assert_null(HeapAlloc(heap, 0, 0x8001));
    const struct rig_outcome one = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 0x8001);
    rig_demand_raised(&one, STATUS_NO_MEMORY, 0x8001);
    assert_int_equal(live_count(), 0);
    assert_non_null(HeapAlloc(heap, 0, 0x8000));
    assert_int_equal(live_count(), 1);
    watch_finish(heap);
}

/* An address inside of a full block that is gone: there is no access, but it is known whose it was.
 */
static void an_address_in_a_freed_full_block_is_told_with_its_stacks(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(HeapFree(heap, 0, block + 16), FALSE);
    assert_non_null(watch_stop(0)->allocated);
    assert_non_null(watch_stop(0)->freed);
    watch_demand(0x8, (ULONG_PTR)heap, (ULONG_PTR)block + 16, BYTES, 0);
    watch_finish(heap);
}

/* ---- stamps and fills ---- */

/* Filling what is freed ends where the block does. */
static void what_is_freed_is_filled_to_its_last_byte(void **state)
{
    (void)state;
    for (SIZE_T bytes = 33; bytes < 45; bytes++) {
        HANDLE heap = watch_begin("flags=htc+hfc");
        char *block = rig_block_new(heap, bytes);
        memset(block, 1, bytes);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        for (SIZE_T idx = 0; idx < bytes; idx++) {
            assert_int_equal(nth_peek(block + idx), idx < 16 ? 1 : idx % 2 == 0 ? 0xEE : 0xFE);
        }
        for (SIZE_T idx = 0; idx < NTH_TAIL_BYTES; idx++) {
            assert_int_equal(nth_peek(block + bytes + idx), 0xAB);
        }
        watch_finish(heap);
        nth_process_reset();
    }
}

/* Without the heaps layer a block is the heap's own, and what is fresh in it nobody touched. */
static void without_stamps_nothing_is_filled(void **state)
{
    static const char *const settings[] = {"leak", "flags=htc"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        watch_start(settings[row]);
        HANDLE heap = HeapCreate(0, 0, 0x40000);
        char *block = rig_block_new(heap, BYTES);
        for (unsigned idx = 32; idx < BYTES; idx++) {
            assert_int_equal(nth_peek(block + idx), 0); /* of a fresh page */
        }
        watch_finish(heap);
        nth_process_reset();
    }
}

/* A run of pages that could not be had is asked for again, and none of it is ever code. */
static void refused_pages_are_used_later(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full,delayed=0");
    assert_int_equal(HeapFree(heap, 0, rig_block_new(heap, BYTES)), TRUE);
    const size_t reserved = nth_balance_now().reserved_bytes;
    const size_t committed = nth_balance_now().committed_bytes;
    rig_pages_refuse_only("pageheap.block");
    rig_pages_refuse(TRUE);
    for (unsigned turn = 0; turn < 3000; turn++) {
        assert_null(HeapAlloc(heap, 0, 0x2000));
    }
    rig_pages_refuse(FALSE);
    assert_int_equal(nth_balance_now().reserved_bytes, reserved);
    PVOID block = rig_block_new(heap, 0x2000);
    assert_int_equal(nth_balance_now().reserved_bytes, reserved);
    assert_int_equal(nth_balance_now().committed_bytes, committed + 0x3000);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(nth_balance_now().committed_bytes, committed);
    assert_int_equal(rig_pages_executable(), 0);
    watch_finish(heap);
}

static void damage_behind_a_held_block_is_told_when_it_leaves(void **state)
{
    (void)state;
    for (unsigned idx = 0; idx < 8; idx += 7) {
        HANDLE heap = watch_begin("heaps");
        char *block = rig_block_new(heap, BYTES);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
        rig_flip(block + BYTES + idx);
        assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
        assert_int_equal(HeapDestroy(heap), TRUE);
        watch_demand(0xE, (ULONG_PTR)heap, (ULONG_PTR)block, BYTES, 0);
        nth_process_reset();
    }
}

/* Of two damaged blocks one is told, wherever they stand in the table. */
static void validation_ends_at_the_first_damaged_block(void **state)
{
    enum { COUNT = 900 };
    static char *blocks[COUNT];
    (void)state;
    HANDLE heap = watch_begin("heaps");
    unsigned pairs = 0;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, 1u + idx);
    }
    for (unsigned idx = 0; idx < COUNT && pairs < 3; idx++) {
        void *outer = nth_verifier_enter();
        const struct nth_track *track = nth_track_find(blocks[idx]);
        const bool followed = track->chain != NULL; /* by another one in its chain */
        nth_verifier_leave(outer);
        if (followed) {
            rig_flip(blocks[idx] + 1u + idx);
            assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
            assert_int_equal(HeapValidate(heap, 0, blocks[idx]), FALSE);
            rig_flip(blocks[idx] + 1u + idx);
            assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
            pairs++;
        }
    }
    assert_int_equal(pairs, 3);
    watch_finish(heap);
}

static void a_block_without_bytes_covers_its_address_only(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *empty = rig_block_new(heap, 0);
    assert_int_equal(HeapSize(heap, 0, empty), 0);
    assert_int_equal(HeapFree(heap, 0, empty + 1), FALSE);
    watch_demand(0x8, (ULONG_PTR)heap, (ULONG_PTR)empty + 1, 0, 0);
    void *outer = nth_verifier_enter();
    const struct nth_track *around = nth_track_around(empty);
    const struct nth_track *behind = nth_track_around(empty + 1);
    nth_verifier_leave(outer);
    assert_non_null(around);
    assert_ptr_equal(around->user, empty);
    assert_null(behind);
    assert_int_equal(HeapFree(heap, 0, empty), TRUE);
    watch_finish(heap);
}

/* ---- tables without room ---- */

static HANDLE shared;

static void *destroy_shared(void *context)
{
    assert_int_equal(HeapDestroy(shared), TRUE);
    return context;
}

/* A heap that the verifier has no record for serves nothing while the blocks of others are known:
 * a block that nobody knows would be called a corrupted one later. */
static void a_heap_without_a_record_serves_nothing(void **state)
{
    static const char *const settings[] = {"heaps", "leak", "pageheap=full", "flags=hfc"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE first = watch_begin(settings[row]);
        PVOID block = rig_block_new(first, BYTES);
        watch_tables_leave(0);
        HANDLE heap = HeapCreate(0, 0, 0);
        assert_non_null(heap);
        struct rig_outcome one = rig_alloc(heap, 0, BYTES);
        rig_demand_value(&one, 0);
        one = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, BYTES);
        rig_demand_raised(&one, STATUS_NO_MEMORY, BYTES);
        assert_int_equal(one.reports, 0);
        shared = HeapCreate(0, 0, 0);
        one = rig_alloc(shared, 0, BYTES);
        rig_demand_value(&one, 0);
        pthread_t thread; /* nobody is left looking at it */
        assert_int_equal(pthread_create(&thread, NULL, destroy_shared, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        HANDLE another = HeapCreate(0, 0, 0);
        assert_int_equal(HeapDestroy(another), TRUE); /* and goes as it came */
        rig_pages_refuse(FALSE);
        PVOID fresh = rig_block_new(heap, BYTES);
        assert_int_equal(HeapFree(heap, 0, fresh), TRUE);
        assert_int_equal(HeapFree(first, 0, block), TRUE);
        assert_int_equal(HeapDestroy(heap), TRUE);
        watch_finish(first);
        nth_process_reset();
    }
}

/* Without the layers that keep blocks there is no record to miss. */
static void without_records_of_blocks_a_heap_serves(void **state)
{
    (void)state;
    HANDLE first = watch_begin("locks,lowres=0");
    watch_tables_leave(0);
    HANDLE heap = HeapCreate(0, 0, 0);
    char *block = rig_block_new(heap, BYTES);
    block[0] = 5;
    block = HeapReAlloc(heap, 0, block, 50 * BYTES);
    assert_non_null(block);
    assert_int_equal(block[0], 5);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    rig_pages_refuse(FALSE);
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_finish(first);
}

/* ---- threads without a lock ---- */

static ULONG intruder;

static void *intrude(void *context)
{
    (void)context;
    intruder = (ULONG)syscall(SYS_gettid);
    (void)HeapSize(shared, 0, NULL);
    return NULL;
}

/* In the middle of a call: the same thread comes again, and then another one. */
static void come_again(void)
{
    pthread_t thread;
    rig_pages_on_commit(NULL);
    (void)HeapSize(shared, 0, NULL);
    watch_demand_none();
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand(0x3, (ULONG_PTR)shared, (ULONG_PTR)syscall(SYS_gettid), intruder, 0);
}

static void a_thread_does_not_intrude_on_itself(void **state)
{
    (void)state;
    watch_start("heaps");
    shared = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    rig_pages_on_commit(come_again);
    assert_non_null(HeapAlloc(shared, 0, 0x20000));
    watch_demand_none();
    pthread_t thread; /* it has left, all of it */
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand_none();
    rig_report_forget(); /* of a call inside a call, which the heap tells of */
    watch_finish(shared);
}

/* ---- faults and exceptions ---- */

struct touch {
    uintptr_t address;
    bool calls;
};

static void touch(void *context)
{
    const struct touch *wish = context;
    if (wish->calls) {
        wild_call(wish->address);
    } else {
        (void)wild_read(wish->address);
    }
}

static void demand_fault(uintptr_t address, bool calls)
{
    struct touch wish = {address, calls};
    EXCEPTION_RECORD record;
    assert_int_equal(nth_guard(touch, &wish, &record), FALSE);
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionInformation[1], address);
}

/* Only the memory of the heaps is the verifier's business. */
static void faults_elsewhere_are_no_stops(void **state)
{
    static const char *const settings[] = {"leak", "heaps", "pageheap=full"};
    (void)state;
    const uintptr_t nowhere = wild_map(1, PROT_NONE);
    const uintptr_t data = wild_map(1, PROT_READ | PROT_WRITE);
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        char *block = rig_block_new(heap, BYTES);
        demand_fault(nowhere, false);
        demand_fault(16, false);
        demand_fault(data, true);
        watch_demand_none();
        if (row == 0) { /* without stamps not even a block that is run as code */
            demand_fault((uintptr_t)block, true);
            watch_demand_none();
        }
        watch_finish(heap);
        nth_process_reset();
    }
    wild_unmap(nowhere, 1);
    wild_unmap(data, 1);
}

/* In the pages of full page heap, but of no block any more. */
static void a_fault_in_pages_of_no_block_has_no_stacks(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full,delayed=0");
    char *block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    assert_int_equal(held_count(), 0);
    demand_fault((uintptr_t)block, false);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x13);
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)block);
    assert_null(watch_stop(0)->allocated);
    assert_null(watch_stop(0)->freed);
    assert_non_null(watch_stop(0)->trace);
    watch_forget();
    watch_finish(heap);
}

/* A heap whose memory went away below core: the fault is core's, and no touch of the program. */
static void a_fault_inside_core_is_no_access_of_the_program(void **state)
{
    static const char *const settings[] = {"leak", "heaps"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        watch_start(settings[row]);
        HANDLE heap = HeapCreate(0, 0, 0x40000);
        char *low = rig_block_new(heap, 3 * WILD_PAGE_BYTES);
        char *wall = rig_block_new(heap, BYTES);
        (void)low;
        const uintptr_t page = (uintptr_t)wall & ~(WILD_PAGE_BYTES - 1u);
        wild_access(page, 1, PROT_NONE);
        const struct rig_outcome one = rig_alloc(heap, 0, 2 * WILD_PAGE_BYTES);
        wild_access(page, 1, PROT_READ | PROT_WRITE);
        assert_true(one.raised);
        assert_int_equal(one.record.ExceptionCode, STATUS_ACCESS_VIOLATION);
        if (row == 0) {
            watch_demand_none();
        } else {
            assert_int_equal(watch_count(), 1);
            assert_int_equal(watch_stop(0)->code, 0xA);
            assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)heap);
            assert_true(watch_stop(0)->parameter[2] != 0); /* a processor's fault has a context */
        }
        watch_forget();
        rig_report_forget();
        nth_process_reset();
    }
}

static NTSTATUS raise_other(PVOID base, PVOID *address, PSIZE_T bytes)
{
    static unsigned calls;
    (void)base;
    (void)address;
    (void)bytes;
    if (calls++ % 2u != 0) {
        RaiseException(0xE0000001u, 0, 0, NULL);
    }
    return STATUS_SUCCESS;
}

/* Exceptions that are no access violations go through without a stop (D96). */
static void another_exception_inside_a_heap_call_is_no_stop(void **state)
{
    (void)state;
    watch_start("heaps");
    void *base = mmap(NULL, 0x40000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    void *aligned = (void *)(((uintptr_t)base + 0xFFFFu) & ~(uintptr_t)0xFFFFu);
    RTL_HEAP_PARAMETERS parameters = {.Length = sizeof(parameters),
                                      .InitialCommit = 0x2000,
                                      .InitialReserve = 0x20000,
                                      .CommitRoutine = raise_other};
    HANDLE heap = RtlCreateHeap(HEAP_NO_SERIALIZE, aligned, 0x20000, 0x2000, NULL, &parameters);
    assert_non_null(heap);
    const struct rig_outcome one = rig_alloc(heap, 0, 0x8000);
    assert_true(one.raised);
    assert_int_equal(one.record.ExceptionCode, 0xE0000001u);
    watch_demand_none();
    pthread_t thread; /* the call that was left is not in the heap any more */
    shared = heap;
    assert_int_equal(pthread_create(&thread, NULL, intrude, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand_none();
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    watch_finish(heap);
    assert_int_equal(munmap(base, 0x40000), 0);
}

/* ---- hooks that use the heaps ---- */

static HANDLE doomed;

static void destroy_it(void *context, const struct nth_stop *stop)
{
    (void)context;
    if (stop->code == NTH_STOP_EXTREME_SIZE_REQUEST) {
        assert_int_equal(HeapDestroy(doomed), TRUE);
    }
}

static void a_hook_may_destroy_the_heap_that_a_stop_is_about(void **state)
{
    static const char *const settings[] = {"pageheap=full", "heaps"};
    struct nth_verifier_settings set;
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        assert_int_equal(nth_verifier_parse(settings[row], &set, NULL, 0), STATUS_SUCCESS);
        set.stop = destroy_it;
        assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
        doomed = rig_heap_new();
        const struct rig_outcome one = rig_alloc(doomed, 0, NTH_WORDS(0x10000000000, 0x80000000));
        rig_demand_value(&one, 0);
        assert_int_equal(nth_verifier_stop_count(), 1);
        assert_int_equal(live_count(), 0);
        rig_report_forget();
        HANDLE heap = rig_heap_new();
        assert_non_null(HeapAlloc(heap, 0, BYTES));
        assert_int_equal(HeapDestroy(heap), TRUE);
        nth_process_reset();
    }
}

/* ---- what stops and failures carry ---- */

/* An exception names the block where there is a heap, and else the handle. */
static void a_failed_reallocation_raises_with_the_block(void **state)
{
    static const char *const settings[] = {"heaps", "leak"};
    static char outside[64];
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        HANDLE heap = watch_begin(settings[row]);
        struct rig_outcome one = rig_realloc(heap, HEAP_GENERATE_EXCEPTIONS, outside, BYTES);
        rig_demand_raised(&one, STATUS_ACCESS_VIOLATION, (uintptr_t)outside);
        one = rig_realloc(outside, HEAP_GENERATE_EXCEPTIONS, outside + 16, BYTES);
        rig_demand_raised(&one, STATUS_ACCESS_VIOLATION, (uintptr_t)outside);
        watch_forget();
        rig_report_forget();
        watch_finish(heap);
        nth_process_reset();
    }
}

static void without_room_for_a_note_it_is_no_memory(void **state)
{
    static const char *const settings[] = {"heaps", "leak", "pageheap=full"};
    (void)state;
    for (unsigned row = 0; row < 3; row++) {
        HANDLE heap = watch_begin(settings[row]);
        PVOID block = rig_block_new(heap, BYTES);
        (void)rig_block_new(heap, BYTES); /* a wall behind it */
        watch_tables_leave(0);
        struct rig_outcome one = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, BYTES);
        rig_demand_raised(&one, STATUS_NO_MEMORY, BYTES);
        assert_int_equal(one.reports, 0);
        if (row != 1) {
            one = rig_realloc(heap, HEAP_GENERATE_EXCEPTIONS, block, 100 * BYTES);
            rig_demand_raised(&one, STATUS_NO_MEMORY, 100 * BYTES);
        }
        rig_pages_refuse(FALSE);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* What failed or is gone leaves nothing behind, however often. */
static void notes_and_pages_are_used_again(void **state)
{
    static const char *const settings[] = {"heaps,delayed=1", "leak", "pageheap=full,delayed=0"};
    (void)state;
    for (unsigned row = 0; row < 3; row++) {
        watch_start(settings[row]);
        HANDLE heap = HeapCreate(0, 0, 0x40000);
        size_t reserved = 0;
        SIZE_T own = 0;
        for (unsigned turn = 0; turn < 6000; turn++) {
            char *block = rig_block_new(heap, BYTES);
            assert_null(HeapAlloc(heap, 0, 0x7F001));
            assert_null(HeapReAlloc(heap, 0, block, 0x7F001));
            assert_int_equal(HeapFree(heap, 0, block), TRUE);
            HANDLE other = turn % 4 == 0 ? HeapCreate(0, 0, 0x10000) : NULL;
            if (other != NULL) {
                (void)rig_block_new(other, 0x4000);
                assert_int_equal(HeapFree(other, 0, rig_block_new(other, 0x4000)), TRUE);
                assert_int_equal(HeapDestroy(other), TRUE);
            }
            if (turn == 100) {
                struct nth_verifier_summary sums;
                nth_verifier_summary(&sums);
                own = sums.own_bytes;
                reserved = nth_balance_now().reserved_bytes;
            }
        }
        struct nth_verifier_summary sums;
        nth_verifier_summary(&sums);
        assert_int_equal(sums.own_bytes, own);
        assert_int_equal(nth_balance_now().reserved_bytes, reserved);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* All of a heap's blocks are forgotten with it, and none of another's. */
static void a_destroyed_heap_takes_all_its_blocks_along(void **state)
{
    enum { COUNT = 5000 };
    static PVOID blocks[COUNT];
    static const char *const settings[] = {"heaps", "leak"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        HANDLE first = watch_begin(settings[row]);
        HANDLE heap = rig_heap_new();
        HANDLE last = rig_heap_new();
        PVOID kept[2] = {rig_block_new(first, BYTES), rig_block_new(last, BYTES)};
        for (unsigned idx = 0; idx < COUNT; idx++) {
            blocks[idx] = rig_block_new(heap, 16);
            assert_true(idx % 3 != 0 || HeapFree(heap, 0, blocks[idx]));
        }
        assert_int_equal(HeapDestroy(heap), TRUE);
        assert_int_equal(live_count(), 2);
        assert_int_equal(held_count(), 0);
        for (unsigned idx = 0; idx < COUNT; idx++) {
            assert_false(nth_verifier_knows(blocks[idx]));
        }
        assert_int_equal(HeapSize(first, 0, kept[0]), BYTES);
        assert_int_equal(HeapSize(last, 0, kept[1]), BYTES);
        assert_int_equal(HeapDestroy(last), TRUE);
        watch_finish(first);
        nth_process_reset();
    }
}

/* It stays, and so nobody looks at its blocks. */
static void a_process_heap_that_stays_is_not_looked_at(void **state)
{
    (void)state;
    watch_start("heaps");
    HANDLE heap = GetProcessHeap();
    char *block = rig_block_new(heap, BYTES);
    rig_flip(block + BYTES);
    assert_int_equal(HeapDestroy(heap), FALSE);
    watch_demand(0x9, (ULONG_PTR)heap, 0, 0, 0);
    rig_flip(block + BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand_none();
}

/* Without the heaps layer nobody counts heaps. */
static void a_list_of_heaps_is_the_heaps_layers(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    nth_verifier.heap_count += 5;
    (void)GetProcessHeaps(0, NULL);
    watch_demand_none();
    nth_verifier.heap_count -= 5;
    watch_finish(heap);
}

/* Several at once go the way of each. */
static void many_at_once_are_looked_at_one_by_one(void **state)
{
    static const char *const settings[] = {"heaps", "leak", "locks"};
    (void)state;
    for (unsigned row = 0; row < 3; row++) {
        PVOID blocks[5];
        HANDLE heap = watch_begin(settings[row]);
        assert_int_equal(RtlMultipleAllocateHeap(heap, 0, BYTES, 5, blocks), 5);
        for (unsigned idx = 0; idx < 5; idx++) {
            assert_int_equal(nth_verifier_knows(blocks[idx]), row < 2);
            assert_int_equal(HeapSize(heap, 0, blocks[idx]), BYTES);
        }
        if (row == 0) {
            rig_flip((char *)blocks[2] + BYTES);
        }
        assert_int_equal(RtlMultipleFreeHeap(heap, 0, 5, blocks), 5);
        if (row == 0) {
            watch_demand(0xF, (ULONG_PTR)heap, (ULONG_PTR)blocks[2], BYTES, 0);
        }
        assert_int_equal(live_count(), 0);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* Every stop is noticed at a frame of its caller. */
static void stops_have_the_stack_of_their_call(void **state)
{
    static char outside[64];
    (void)state;
    HANDLE heap = watch_begin("heaps,locks,memory");
    char *block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    CRITICAL_SECTION section;
    memset(&section, 0, sizeof(section));
    for (unsigned idx = 0; idx < 10; idx++) {
        HANDLE made = NULL;
        switch (idx) {
        case 0:
            (void)HeapFree(heap, 0, block);
            break;
        case 1:
            (void)HeapSize(heap, 0, outside);
            break;
        case 2:
            (void)HeapAlloc(NULL, 0, BYTES);
            break;
        case 3:
            nth_verifier.heap_count++;
            (void)GetProcessHeaps(0, NULL);
            nth_verifier.heap_count--;
            break;
        case 4:
            DeleteCriticalSection(&section);
            break;
        case 5:
            (void)HeapReAlloc(heap, 0, outside, BYTES);
            break;
        case 6:
            InitializeCriticalSection(&section);
            InitializeCriticalSection(&section);
            break;
        case 7:
            made = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
            break;
        case 8:
            (void)HeapDestroy(outside);
            break;
        default:
            LeaveCriticalSection(&section);
            break;
        }
        assert_int_equal(watch_count(), 1);
        watch_demand_frame(watch_stop(0)->trace, 0,
                           "core_verifier_calls!stops_have_the_stack_of_their_call+");
        watch_forget();
        rig_report_demand_none();
        assert_true(made == NULL || HeapDestroy(made));
    }
    DeleteCriticalSection(&section);
    watch_finish(heap);
}

/* ---- low resources ---- */

static uint64_t now;

static uint64_t read_clock(void *context)
{
    assert_ptr_equal(context, &now);
    return now;
}

/* The first number drawn from a seed, of a million. */
static uint64_t first_draw(uint64_t seed)
{
    return nth_mix(nth_mix(seed) + 0x9E3779B97F4A7C15ull) % 1000000u;
}

static bool starves(uint64_t seed, ULONG ppm)
{
    struct nth_verifier_settings set;
    assert_int_equal(nth_verifier_parse("leak,lowres=0:0", &set, NULL, 0), STATUS_SUCCESS);
    set.seed = seed;
    set.lowres_ppm = ppm;
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    HANDLE heap = rig_heap_new();
    const bool refused = HeapAlloc(heap, 0, BYTES) == NULL;
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.refused_count, refused);
    nth_process_reset();
    return refused;
}

/* One in a million is one in a million: of the draws 0 to 999,999 as many refuse as were asked for.
 */
static void a_share_is_exact(void **state)
{
    uint64_t seed = 1;
    (void)state;
    while (first_draw(seed) != 0) {
        seed++;
    }
    assert_false(starves(seed, 0));
    assert_true(starves(seed, 1));
    assert_true(starves(seed, 1000000));
    while (first_draw(seed) != 7) {
        seed++;
    }
    assert_false(starves(seed, 7));
    assert_true(starves(seed, 8));
    while (first_draw(seed) != 999999) {
        seed++;
    }
    assert_false(starves(seed, 999999));
    assert_true(starves(seed, 1000000));
}

/* The quiet time ends on the millisecond. */
static void it_is_quiet_until_the_time_is_over(void **state)
{
    struct nth_verifier_settings set;
    (void)state;
    assert_int_equal(nth_verifier_parse("leak,lowres=1000000:10", &set, NULL, 0), STATUS_SUCCESS);
    set.now_ms = read_clock;
    set.now_context = &now;
    now = 5000;
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    HANDLE heap = rig_heap_new();
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    now = 5009;
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    now = 5010;
    assert_null(HeapAlloc(heap, 0, BYTES));
    assert_int_equal(nth_verifier_lowres(1000000, 3), STATUS_SUCCESS); /* from now on */
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    now = 5013;
    assert_null(HeapAlloc(heap, 0, BYTES));
    assert_int_equal(nth_verifier_lowres(1000001, 0), STATUS_INVALID_PARAMETER);
    assert_null(HeapAlloc(heap, 0, BYTES));
    assert_int_equal(nth_verifier_lowres(0, 0), STATUS_SUCCESS);
    assert_non_null(HeapAlloc(heap, 0, BYTES));
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* A layer by itself, without a record of any block: what is refused leaves the block as it was. */
static void low_resources_alone_refuse_what_is_to_grow(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("lowres=0:0");
    char *block = HeapAlloc(heap, 0, BYTES);
    assert_non_null(block);
    (void)memset(block, 7, BYTES);
    block = HeapReAlloc(heap, 0, block, 3 * BYTES);
    assert_non_null(block);
    assert_int_equal(HeapSize(heap, 0, block), 3 * BYTES);
    assert_int_equal(nth_verifier_lowres(1000000, 0), STATUS_SUCCESS);
    assert_null(HeapReAlloc(heap, 0, block, 9 * BYTES));
    assert_int_equal(HeapSize(heap, 0, block), 3 * BYTES);
    assert_int_equal(block[BYTES - 1], 7);
    assert_int_equal(nth_verifier_lowres(0, 0), STATUS_SUCCESS);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

/* The system's clock, where the program gives none. */
static void the_quiet_time_passes_by_itself(void **state)
{
    unsigned turns = 0;
    (void)state;
    HANDLE heap = watch_begin("leak,lowres=1000000:400");
    PVOID first = HeapAlloc(heap, 0, BYTES);
    while (HeapAlloc(heap, 0, BYTES) != NULL) {
        (void)usleep(10000);
        assert_true(++turns < 6000);
    }
    assert_true(first != NULL || turns == 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* Making a heap asks whose call it is, too. */
static void making_a_heap_is_refused_to_the_modules_named(void **state)
{
    struct nth_verifier_settings set;
    (void)state;
    for (unsigned row = 0; row < 3; row++) {
        static const char *const names[3] = {"core_verifier_calls", "other.so", "*"};
        assert_int_equal(nth_verifier_parse("leak,lowres=1000000:0", &set, NULL, 0),
                         STATUS_SUCCESS);
        set.lowres_kinds = NTH_LOWRES_VIRTUAL_ALLOC;
        (void)strcpy(set.lowres_include, names[row]);
        assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
        HANDLE heap = HeapCreate(0, 0, 0);
        assert_true((heap == NULL) == (row != 1));
        assert_true(heap == NULL || HeapAlloc(heap, 0, BYTES) != NULL);
        nth_process_reset();
    }
}

/* By themselves, too: who is left out is never refused. */
static void an_allocation_is_granted_to_the_modules_left_out(void **state)
{
    static const char *const names[3] = {"core_verifier_calls", "other.so", ""};
    struct nth_verifier_settings set;
    (void)state;
    for (unsigned row = 0; row < 3; row++) {
        assert_int_equal(nth_verifier_parse("lowres=1000000:0", &set, NULL, 0), STATUS_SUCCESS);
        set.lowres_kinds = NTH_LOWRES_HEAP_ALLOC;
        (void)strcpy(set.lowres_exclude, names[row]);
        assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
        HANDLE heap = rig_heap_new();
        assert_true((HeapAlloc(heap, 0, BYTES) != NULL) == (row == 0));
        nth_process_reset();
    }
}

/* ---- the memory layer ---- */

static EXCEPTION_RECORD probed;

static void keep_record(void *context, const struct nth_stop *stop)
{
    (void)context;
    assert_int_equal(stop->code, 0x618);
    probed = *(const EXCEPTION_RECORD *)stop->parameter[2]; /* NOLINT: a parameter */
}

/* The record of an access that was only looked for is one like any other. */
static void the_record_of_an_access_without_one_is_whole(void **state)
{
    struct nth_verifier_settings set;
    (void)state;
    assert_int_equal(nth_verifier_parse("memory,leak", &set, NULL, 0), STATUS_SUCCESS);
    set.stop = keep_record;
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    HANDLE heap = rig_heap_new();
    const uintptr_t nowhere = wild_map(1, PROT_NONE);
    memset(&probed, 0x5A, sizeof(probed));
    assert_int_equal(HeapFree(heap, 0, (void *)nowhere), FALSE);
    assert_int_equal(probed.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(probed.ExceptionFlags, 0);
    assert_null(probed.ExceptionRecord);
    assert_non_null(probed.ExceptionAddress);
    assert_int_equal(probed.NumberParameters, 2);
    assert_int_equal(probed.ExceptionInformation[0], EXCEPTION_READ_FAULT);
    assert_int_equal(probed.ExceptionInformation[1], nowhere);
    assert_int_equal(probed.ExceptionInformation[2], 0);
    wild_unmap(nowhere, 1);
    rig_report_forget();
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void with_both_layers_an_address_without_access_is_the_heaps_layers(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("memory,heaps");
    const uintptr_t nowhere = wild_map(1, PROT_NONE);
    assert_int_equal(HeapFree(heap, 0, (void *)nowhere), FALSE);
    watch_demand(0xB, (ULONG_PTR)heap, nowhere, 0, 0);
    wild_unmap(nowhere, 1);
    watch_finish(heap);
}

/* Above the stack and below it is not on it, and without its list of mappings nobody can tell. */
static void only_the_calling_threads_stack_is_its_stack(void **state)
{
    int status = 0;
    (void)state;
    HANDLE heap = watch_begin("memory,leak");
    const struct rig_outcome one = rig_free(heap, (void *)(UINTPTR_MAX - 15u));
    assert_int_equal(one.value, FALSE);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x618);
    assert_int_equal(watch_stop(0)->parameter[0], UINTPTR_MAX - 15u);
    const EXCEPTION_RECORD *record =
        (const EXCEPTION_RECORD *)watch_stop(0)->parameter[2]; /* NOLINT */
    assert_non_null(record);
    watch_forget();
    const pid_t child = fork();
    if (child == 0) {
        char local[16];
        struct rlimit files;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
        const struct rlimit none = {0, files.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        (void)HeapFree(heap, 0, local);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
        leave(watch_count() == 0 ? 0 : 1); /* the heap tells of it all the same */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rig_report_forget();
    watch_finish(heap);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_stamps_a_bad_handle_is_the_heaps_to_refuse),
        TEST(without_stamps_no_block_is_the_heaps_to_refuse),
        TEST(validating_what_is_no_live_block_of_the_heap_is_false),
        TEST(a_damaged_heap_serves_nothing),
        TEST(a_block_with_a_damaged_header_is_not_resized),
        TEST(user_information_of_what_is_no_live_block_is_refused),
        TEST(a_walk_tells_neighbours_apart_from_blocks_with_marks),
        TEST(a_walk_does_not_go_on_from_a_full_block),
        TEST(a_full_block_keeps_its_place_where_it_fits),
        TEST(a_heaps_greatest_allocation_holds_for_full_blocks),
        TEST(an_address_in_a_freed_full_block_is_told_with_its_stacks),
        TEST(what_is_freed_is_filled_to_its_last_byte),
        TEST(without_stamps_nothing_is_filled),
        TEST(refused_pages_are_used_later),
        TEST(damage_behind_a_held_block_is_told_when_it_leaves),
        TEST(validation_ends_at_the_first_damaged_block),
        TEST(a_block_without_bytes_covers_its_address_only),
        TEST(a_heap_without_a_record_serves_nothing),
        TEST(without_records_of_blocks_a_heap_serves),
        TEST(a_thread_does_not_intrude_on_itself),
        TEST(faults_elsewhere_are_no_stops),
        TEST(a_fault_in_pages_of_no_block_has_no_stacks),
        TEST(a_fault_inside_core_is_no_access_of_the_program),
        TEST(another_exception_inside_a_heap_call_is_no_stop),
        TEST(a_hook_may_destroy_the_heap_that_a_stop_is_about),
        TEST(a_failed_reallocation_raises_with_the_block),
        TEST(without_room_for_a_note_it_is_no_memory),
        TEST(notes_and_pages_are_used_again),
        TEST(a_destroyed_heap_takes_all_its_blocks_along),
        TEST(a_process_heap_that_stays_is_not_looked_at),
        TEST(a_list_of_heaps_is_the_heaps_layers),
        TEST(many_at_once_are_looked_at_one_by_one),
        TEST(stops_have_the_stack_of_their_call),
        TEST(a_share_is_exact),
        TEST(it_is_quiet_until_the_time_is_over),
        TEST(low_resources_alone_refuse_what_is_to_grow),
        TEST(the_quiet_time_passes_by_itself),
        TEST(making_a_heap_is_refused_to_the_modules_named),
        TEST(an_allocation_is_granted_to_the_modules_left_out),
        TEST(the_record_of_an_access_without_one_is_whole),
        TEST(with_both_layers_an_address_without_access_is_the_heaps_layers),
        TEST(only_the_calling_threads_stack_is_its_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
