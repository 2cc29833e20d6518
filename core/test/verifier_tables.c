/* SPDX-License-Identifier: MIT
 *
 * The verifier's tables when they are full of entries and grow: whoever looks for a block finds it,
 * and what came and went leaves nothing wrong behind. */
#include "support/watch.h"
#include "support/wild.h"

#include <time.h>

#include "verifier.h"

#define COUNT 700u
#define BYTES 40u
#define SECTIONS 300u

static BOOLEAN see(void *context, const struct nth_allocation *block)
{
    void ***next = context;
    assert_ptr_equal(block->user, **next);
    (*next)++;
    return TRUE;
}

static void find_every_block(SIZE_T bytes)
{
    static void *blocks[COUNT];
    HANDLE heap = watch_begin("heaps");
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, bytes);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(nth_verifier_knows(blocks[idx]));
    }
    void **next = blocks;
    assert_int_equal(nth_verifier_enumerate(heap, see, &next), COUNT);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        /* by an address within it, and by what is written behind it */
        assert_false(HeapFree(heap, 0, (char *)blocks[idx] + 8));
        assert_int_equal(watch_count(), 1);
        assert_int_equal(watch_stop(0)->code, 0x8);
        assert_non_null(watch_stop(0)->allocated);
        watch_forget();
        const uintptr_t behind = (uintptr_t)blocks[idx] + bytes;
        const uint8_t was = wild_read(behind);
        wild_write(behind, (uint8_t)~was);
        assert_false(HeapValidate(heap, 0, NULL));
        wild_write(behind, was);
        watch_forget();
    }
    assert_true(HeapValidate(heap, 0, NULL));
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    watch_finish(heap);
    nth_process_reset();
}

/* Wherever it is in the table: other sizes lie at other addresses. */
static void every_block_is_found(void **state)
{
    (void)state;
    for (SIZE_T bytes = 24; bytes < 24 + 8 * 16; bytes += 16) {
        find_every_block(bytes);
    }
}

/* Records of heaps are used again. */
static void heaps_that_come_after_others_have_books_of_their_own(void **state)
{
    (void)state;
    HANDLE heaps[2];
    struct nth_verifier_summary sums;
    watch_start("heaps,delayed=8");
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned idx = 0; idx < 2; idx++) {
            heaps[idx] = HeapCreate(0, 0, 0);
            assert_non_null(heaps[idx]);
        }
        for (unsigned idx = 0; idx < 4; idx++) {
            assert_true(HeapFree(heaps[idx % 2], 0, rig_block_new(heaps[idx % 2], BYTES)));
        }
        nth_verifier_summary(&sums);
        assert_int_equal(sums.held_count, 4);
        assert_true(HeapDestroy(heaps[round % 2]));
        nth_verifier_summary(&sums);
        assert_int_equal(sums.held_count, 2);
        assert_true(HeapDestroy(heaps[1 - round % 2]));
        nth_verifier_summary(&sums);
        assert_int_equal(sums.held_count, 0);
    }
    watch_demand_none();
}

static void a_list_of_heaps_is_looked_at_after_some_went(void **state)
{
    (void)state;
    watch_start("heaps");
    (void)GetProcessHeap();
    assert_true(HeapDestroy(HeapCreate(0, 0, 0)));
    assert_null(RtlDestroyHeap(HeapCreate(0, 0, 0)));
    assert_int_equal(GetProcessHeaps(0, NULL), 1);
    watch_demand_none();
    nth_verifier.heap_count++;
    assert_int_equal(GetProcessHeaps(0, NULL), 1);
    watch_demand(0x14, 1, 2, 0, 0);
    nth_verifier.heap_count--;
}

/* What is the heaps layer's to look at is the heap's own affair without it. */
static void without_the_layer_nobody_looks_at_a_heap_that_goes(void **state)
{
    (void)state;
    watch_start("leak");
    HANDLE heap = GetProcessHeap();
    assert_false(HeapDestroy(heap));
    assert_ptr_equal(RtlDestroyHeap(heap), heap);
    assert_true(HeapDestroy(HeapCreate(0, 0, 0)));
    watch_demand_none();
}

static void the_stop_of_an_executable_heap_tells_who_made_it(void **state)
{
    (void)state;
    watch_start("memory");
    HANDLE heap = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    assert_int_equal(watch_count(), 1);
    assert_non_null(watch_stop(0)->trace);
    assert_true(watch_stop(0)->trace->count > 0);
    watch_forget();
    watch_finish(heap);
}

/* Whose lock it is that somebody gives up: another's, or one too many by an owner of any other. */
static void an_owner_of_any_section_is_found(void **state)
{
    static CRITICAL_SECTION sections[SECTIONS];
    (void)state;
    watch_start("locks");
    for (unsigned idx = 0; idx < SECTIONS; idx++) {
        InitializeCriticalSection(&sections[idx]);
    }
    for (unsigned idx = 0; idx < SECTIONS; idx++) {
        CRITICAL_SECTION *other = &sections[(idx + 1) % SECTIONS];
        EnterCriticalSection(&sections[idx]);
        LeaveCriticalSection(other);
        assert_int_equal(watch_count(), 1);
        assert_int_equal(watch_stop(0)->code, NTH_STOP_LOCK_OVER_RELEASED);
        watch_forget();
        LeaveCriticalSection(&sections[idx]);
        watch_demand_none();
        LeaveCriticalSection(other);
        assert_int_equal(watch_count(), 1);
        assert_int_equal(watch_stop(0)->code, NTH_STOP_THREAD_NOT_LOCK_OWNER);
        watch_forget();
    }
    for (unsigned idx = 0; idx < SECTIONS; idx++) {
        DeleteCriticalSection(&sections[idx]);
    }
    watch_demand_none();
}

/* The quiet time counts by the machine's clock. */
static void the_verifiers_clock_is_the_machines(void **state)
{
    (void)state;
    struct timespec before;
    struct timespec after;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    const uint64_t now = nth_verifier_now_ms();
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    assert_true(now >= (uint64_t)before.tv_sec * 1000u + (uint64_t)before.tv_nsec / 1000000u);
    assert_true(now <= (uint64_t)after.tv_sec * 1000u + (uint64_t)after.tv_nsec / 1000000u);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_block_is_found),
        TEST(heaps_that_come_after_others_have_books_of_their_own),
        TEST(a_list_of_heaps_is_looked_at_after_some_went),
        TEST(without_the_layer_nobody_looks_at_a_heap_that_goes),
        TEST(the_stop_of_an_executable_heap_tells_who_made_it),
        TEST(an_owner_of_any_section_is_found),
        TEST(the_verifiers_clock_is_the_machines),
    };
    return cmocka_run_group_tests_name("the verifier's tables", tests, NULL, NULL);
}
