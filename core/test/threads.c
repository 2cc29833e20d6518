/* SPDX-License-Identifier: MIT
 *
 * Everything at once, on real threads over the operating system's pages: allocating, freeing what
 * another thread allocated, reallocating, HeapLock with walking and validating inside, compacting,
 * summing up, heaps made and destroyed, threads that come and go, listings, and fork with a child
 * that uses the heaps. Every block carries a cookie in all its bytes that is looked at before the
 * block changes hands. Bounded by a number of steps, not by time. */
#include "support/crew.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 4u
#define HELD_COUNT 32u
#define BOX_COUNT 64u
#define STEPS 1500u
#define PATIENCE_SECONDS 200u

enum { HEAP_DEFAULT = 0, HEAP_PRIVATE, HEAP_WITH_SECTION, HEAP_FIXED, HEAP_COUNT };

/* A block in somebody's hands. `seed` says what its bytes are. */
struct held {
    uint8_t *block;
    SIZE_T size;
    unsigned heap;
    uint8_t seed;
};

/* Blocks on their way to a worker. */
struct box {
    pthread_mutex_t mutex;
    struct held content[BOX_COUNT];
    unsigned count;
};

struct stage {
    HANDLE heaps[HEAP_COUNT];
    struct box boxes[WORKERS];
    int handed_on; /* atomic */
};

struct worker {
    struct crew_hand hand;
    struct stage *stage;
    unsigned number;
    uint32_t random;
    struct held held[HELD_COUNT];
};

/* Same numbers in every run; what they meet is up to the scheduler. */
static uint32_t draw(struct worker *worker, uint32_t below)
{
    worker->random = worker->random * 1664525u + 1013904223u;
    return (worker->random >> 8) % below;
}

/* Front-end sizes mostly, the same few of them in all workers. */
static SIZE_T draw_size(struct worker *worker)
{
    static const SIZE_T most[] = {100, 100, 500, 500, 4000, 16000, 60000, 0x90000};
    return draw(worker, 40) == 0 ? most[7] + draw(worker, 100000)
                                 : draw(worker, (uint32_t)most[draw(worker, 7)]);
}

static void fill(const struct held *held, SIZE_T first)
{
    if (held->size > first) {
        memset(held->block + first, held->seed, held->size - first);
    }
}

/* All bytes of a small block, both ends of others. */
static void check(const struct held *held)
{
    const SIZE_T end = held->size < 256 ? held->size : 128;
    for (SIZE_T idx = 0; idx < end; idx++) {
        crew_demand(held->block[idx] == held->seed);
        crew_demand(held->block[held->size - 1 - idx] == held->seed);
    }
}

static HANDLE heap_of(const struct worker *worker, const struct held *held)
{
    return worker->stage->heaps[held->heap];
}

static void drop(struct worker *worker, struct held *held)
{
    if (held->block != NULL) {
        check(held);
        crew_demand(HeapFree(heap_of(worker, held), 0, held->block));
        held->block = NULL;
    }
}

static void take(struct worker *worker, struct held *held)
{
    drop(worker, held);
    *held = (struct held){.size = draw_size(worker),
                          .heap = draw(worker, HEAP_COUNT),
                          .seed = (uint8_t)(draw(worker, 255) + 1)};
    const DWORD flags = draw(worker, 4) == 0 ? HEAP_ZERO_MEMORY : 0;
    held->block = HeapAlloc(heap_of(worker, held), flags, held->size);
    crew_demand(held->block != NULL || held->heap == HEAP_FIXED);
    if (held->block != NULL && flags != 0 && held->size > 0) {
        crew_demand(held->block[0] == 0);
        crew_demand(held->block[held->size - 1] == 0);
    }
    if (held->block != NULL) {
        fill(held, 0);
    }
}

static void resize(struct worker *worker, struct held *held)
{
    if (held->block == NULL) {
        return;
    }
    const SIZE_T size = draw_size(worker);
    const DWORD flags = draw(worker, 4) == 0 ? HEAP_REALLOC_IN_PLACE_ONLY : 0;
    check(held);
    uint8_t *moved = HeapReAlloc(heap_of(worker, held), flags, held->block, size);
    crew_demand(moved != NULL || flags != 0 || held->heap == HEAP_FIXED);
    if (moved != NULL) {
        const SIZE_T kept = size < held->size ? size : held->size;
        held->block = moved;
        held->size = kept;
        check(held);
        held->size = size;
        fill(held, kept);
    }
    crew_demand(HeapSize(heap_of(worker, held), 0, held->block) == held->size);
}

/* Round the ring: to the next worker, and out of one's own box. */
static void pass_on(struct worker *worker, struct held *held)
{
    struct box *box = &worker->stage->boxes[(worker->number + 1) % WORKERS];
    crew_demand(pthread_mutex_lock(&box->mutex) == 0);
    if (held->block != NULL && box->count < BOX_COUNT) {
        box->content[box->count++] = *held;
        held->block = NULL;
        __atomic_add_fetch(&worker->stage->handed_on, 1, __ATOMIC_RELAXED);
    }
    crew_demand(pthread_mutex_unlock(&box->mutex) == 0);
}

static void receive(struct worker *worker)
{
    struct box *box = &worker->stage->boxes[worker->number];
    struct held held = {.block = NULL};
    crew_demand(pthread_mutex_lock(&box->mutex) == 0);
    if (box->count > 0) {
        held = box->content[--box->count];
    }
    crew_demand(pthread_mutex_unlock(&box->mutex) == 0);
    drop(worker, &held);
}

/* The heap stands still while it is locked, but for the owner. */
static void lock_and_look(struct worker *worker, HANDLE heap)
{
    crew_demand(HeapLock(heap));
    const unsigned before = crew_walk_busy(heap);
    PVOID block = HeapAlloc(heap, 0, draw(worker, 1000));
    crew_demand(crew_walk_busy(heap) == before + (block != NULL));
    crew_demand(HeapValidate(heap, 0, NULL));
    crew_demand(HeapFree(heap, 0, block));
    crew_demand(crew_walk_busy(heap) == before);
    crew_demand(HeapUnlock(heap));
}

static void sum_up(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    crew_demand(HeapSummary(heap, 0, &summary));
    crew_demand(summary.cbAllocated <= summary.cbCommitted);
    crew_demand(summary.cbCommitted <= summary.cbReserved);
}

static void private_heap(struct worker *worker)
{
    PVOID blocks[40];
    HANDLE heap = HeapCreate(0, 0, 0);
    crew_demand(heap != NULL);
    for (unsigned idx = 0; idx < 40; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, idx % 8 == 7 ? draw_size(worker) : 64);
        crew_demand(blocks[idx] != NULL);
    }
    for (unsigned idx = 0; idx < 40; idx += 2) {
        crew_demand(HeapFree(heap, 0, blocks[idx]));
    }
    crew_demand(HeapValidate(heap, 0, NULL));
    crew_demand(HeapDestroy(heap));
}

/* A thread that leaves its magazines behind. */
static uintptr_t visit(struct crew_hand *hand)
{
    struct stage *stage = hand->extra;
    struct worker visitor = {.stage = stage, .random = (uint32_t)hand->size};
    for (unsigned step = 0; step < 60; step++) {
        take(&visitor, &visitor.held[draw(&visitor, HELD_COUNT)]);
    }
    for (unsigned idx = 0; idx < HELD_COUNT; idx++) {
        drop(&visitor, &visitor.held[idx]);
    }
    return 1;
}

static void list_all(void)
{
    HANDLE heaps[64];
    HEAP_OPTIMIZE_RESOURCES_INFORMATION wish = {.Version = 1};
    crew_demand(GetProcessHeaps(64, heaps) >= HEAP_COUNT);
    crew_demand(RtlValidateProcessHeaps());
    crew_demand(HeapSetInformation(NULL, HeapOptimizeResources, &wish, sizeof(wish)));
}

/* What was in the forking worker's hands is whole in the child, and every heap can be used. */
static void child(void *context)
{
    struct worker *worker = context;
    for (unsigned idx = 0; idx < HELD_COUNT; idx++) {
        drop(worker, &worker->held[idx]);
    }
    for (unsigned idx = 0; idx < HEAP_FIXED; idx++) {
        crew_exercise(worker->stage->heaps[idx]);
    }
    crew_demand(RtlValidateProcessHeaps());
    crew_demand(crew_reports_take() == 0);
}

static void step_rare(struct worker *worker, uint32_t which)
{
    HANDLE heap = worker->stage->heaps[draw(worker, HEAP_COUNT)];
    struct crew_hand visitor = {.work = visit, .extra = worker->stage, .size = worker->random};
    if (which < 6) {
        lock_and_look(worker, heap);
    } else if (which < 9) {
        (void)HeapCompact(heap, 0);
    } else if (which < 12) {
        sum_up(heap);
    } else if (which < 16) {
        private_heap(worker);
    } else if (which < 18) {
        list_all();
    } else if (which < 20) {
        crew_demand(crew_run(&visitor) == 1);
    } else if (which < 21 && CREW_FORK_IN_TRAFFIC) {
        crew_child(child, worker);
    } else {
        crew_demand(HeapValidate(heap, 0, NULL));
    }
}

static uintptr_t work(struct crew_hand *hand)
{
    struct worker *worker = hand->extra;
    for (unsigned step = 0; step < STEPS; step++) {
        struct held *held = &worker->held[draw(worker, HELD_COUNT)];
        const uint32_t which = draw(worker, 100);
        if (which < 50) {
            take(worker, held);
        } else if (which < 65) {
            pass_on(worker, held);
        } else if (which < 82) {
            receive(worker);
        } else if (which < 95) {
            resize(worker, held);
        } else {
            step_rare(worker, draw(worker, 24));
        }
    }
    return 1;
}

static void threads_share_heaps_and_nothing_gets_lost(void **state)
{
    (void)state;
    static struct stage stage;
    static struct worker workers[WORKERS];
    CRITICAL_SECTION section;
    InitializeCriticalSection(&section);
    memset(&stage, 0, sizeof(stage));
    stage.heaps[HEAP_DEFAULT] = GetProcessHeap();
    stage.heaps[HEAP_PRIVATE] = HeapCreate(0, 0, 0);
    stage.heaps[HEAP_WITH_SECTION] = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL);
    stage.heaps[HEAP_FIXED] = HeapCreate(0, 0, 0x80000);
    unsigned busy[HEAP_COUNT];
    for (unsigned idx = 0; idx < HEAP_COUNT; idx++) {
        assert_non_null(stage.heaps[idx]);
        busy[idx] = crew_walk_busy(stage.heaps[idx]);
    }
    for (unsigned idx = 0; idx < WORKERS; idx++) {
        assert_int_equal(pthread_mutex_init(&stage.boxes[idx].mutex, NULL), 0);
    }
    for (unsigned idx = 0; idx < WORKERS; idx++) {
        workers[idx] = (struct worker){.stage = &stage, .number = idx, .random = idx * 77u + 5u};
        workers[idx].hand = (struct crew_hand){.work = work, .extra = &workers[idx]};
        crew_start(&workers[idx].hand);
    }
    for (unsigned idx = 0; idx < WORKERS; idx++) {
        assert_int_equal(crew_join(&workers[idx].hand), 1);
    }
    assert_true(stage.handed_on > 100);
    assert_int_equal(crew_reports_take(), 0);
    for (unsigned idx = 0; idx < WORKERS; idx++) {
        while (stage.boxes[idx].count > 0) {
            receive(&workers[idx]);
        }
        for (unsigned place = 0; place < HELD_COUNT; place++) {
            drop(&workers[idx], &workers[idx].held[place]);
        }
        assert_int_equal(pthread_mutex_destroy(&stage.boxes[idx].mutex), 0);
    }
    for (unsigned idx = 0; idx < HEAP_COUNT; idx++) {
        assert_true(HeapValidate(stage.heaps[idx], 0, NULL));
        assert_int_equal(crew_walk_busy(stage.heaps[idx]), busy[idx]);
    }
    for (unsigned idx = HEAP_PRIVATE; idx < HEAP_COUNT; idx++) {
        assert_true(HeapDestroy(stage.heaps[idx]));
    }
    DeleteCriticalSection(&section);
}

/* D52: others notice that the heap is gone, and nothing else happens to them. */
static uintptr_t use_until_gone(struct crew_hand *hand)
{
    PVOID block = NULL;
    unsigned count = 0;
    while (count == 0 || block != NULL) {
        block = HeapAlloc(hand->heap, 0, count % 50 == 49 ? 20000 : 40);
        if (block != NULL && count % 2 == 0) {
            (void)HeapFree(hand->heap, 0, block);
        }
        if (count % 20 == 0) {
            (void)HeapValidate(hand->heap, 0, NULL);
        }
        __atomic_store_n((unsigned *)hand->extra, ++count, __ATOMIC_RELEASE);
    }
    crew_demand(!HeapLock(hand->heap));
    return GetLastError() == ERROR_INVALID_HANDLE;
}

static void a_heap_may_be_destroyed_under_the_hands_of_others(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        unsigned counts[2] = {0, 0};
        struct crew_hand hands[2];
        HANDLE heap = HeapCreate(0, 0, 0);
        for (size_t idx = 0; idx < 2; idx++) {
            hands[idx] =
                (struct crew_hand){.work = use_until_gone, .heap = heap, .extra = &counts[idx]};
            crew_start(&hands[idx]);
        }
        while (__atomic_load_n(&counts[0], __ATOMIC_ACQUIRE) < 100 + round * 5 ||
               __atomic_load_n(&counts[1], __ATOMIC_ACQUIRE) < 100) {
            (void)sched_yield();
        }
        assert_true(HeapDestroy(heap));
        assert_int_equal(crew_join(&hands[0]), 1);
        assert_int_equal(crew_join(&hands[1]), 1);
        assert_true(crew_reports_take() >= 4);
        assert_int_equal(crew_report_reason(), NTH_CORRUPT_STALE_HANDLE);
    }
}

/* Blocks past the front end, side by side; the way without the lock looks at each of them first. */
static uintptr_t shuffle(struct crew_hand *hand)
{
    PVOID held[20] = {NULL};
    uint32_t random = (uint32_t)hand->size;
    for (unsigned count = 0; count < 40; count++) { /* so that this way is taken at all */
        crew_demand(HeapAlloc(hand->heap, 0, 40) != NULL);
    }
    for (unsigned step = 0; step < 2000; step++) {
        random = random * 1664525u + 1013904223u;
        PVOID *place = &held[(random >> 8) % 20];
        crew_demand(HeapFree(hand->heap, 0, *place) != 0);
        *place = HeapAlloc(hand->heap, 0, 17000 + (random >> 16) % 4000);
        crew_demand(*place != NULL);
    }
    for (unsigned idx = 0; idx < 20; idx++) {
        crew_demand(HeapFree(hand->heap, 0, held[idx]) != 0);
    }
    return 1;
}

static void neighbours_come_and_go_while_a_block_is_freed(void **state)
{
    (void)state;
    struct crew_hand hands[3];
    HANDLE heap = HeapCreate(0, 0, 0);
    for (size_t idx = 0; idx < 3; idx++) {
        hands[idx] = (struct crew_hand){.work = shuffle, .heap = heap, .size = idx + 1};
        crew_start(&hands[idx]);
    }
    for (size_t idx = 0; idx < 3; idx++) {
        assert_int_equal(crew_join(&hands[idx]), 1);
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_int_equal(crew_walk_busy(heap), 3 * 40);
}

static uintptr_t use_a_magazine(struct crew_hand *hand)
{
    for (unsigned count = 0; count < 100; count++) {
        PVOID block = HeapAlloc(hand->heap, 0, 40);
        crew_demand(block != NULL);
        if (count % 2u == 0) {
            crew_demand(HeapFree(hand->heap, 0, block) != 0);
        }
    }
    return 1;
}

struct magazines {
    const uint64_t *owners[8]; /* sealed words: 0 for nobody */
    unsigned count;
};

static BOOLEAN note_magazine(void *context, const struct nth_field *field)
{
    struct magazines *magazines = context;
    if (strcmp(field->name, "cache.owner") == 0) {
        crew_demand(magazines->count < 8);
        magazines->owners[magazines->count++] = field->address;
    }
    return TRUE;
}

/* All magazines of a heap are looked at: for one's own, for one that nobody has, and at the end. */
static void magazines_go_from_hand_to_hand_and_away_with_their_heap(void **state)
{
    (void)state;
    struct nth_balance before = {0};
    for (unsigned turn = 0; turn < 2; turn++) { /* what core keeps is there from the second on */
        before = nth_balance_now();
        HANDLE heap = HeapCreate(0, 0, 0);
        struct crew_hand own = {.heap = heap};
        (void)use_a_magazine(&own);
        for (unsigned count = 0; count < 20; count++) {
            struct crew_hand hand = {.work = use_a_magazine, .heap = heap};
            assert_int_equal(crew_run(&hand), 1);
            (void)use_a_magazine(&own);
        }
        struct magazines magazines = {{NULL}, 0};
        (void)nth_fields(heap, note_magazine, &magazines);
        assert_int_equal(magazines.count, 2);
        for (unsigned idx = 0; idx < 2; idx++) { /* this thread's, and nobody's */
            uint64_t owner = 0;
            assert_true(nth_sealed_get(heap, magazines.owners[idx], &owner));
            assert_int_equal(owner == 0, idx == 1);
        }
        assert_true(HeapDestroy(heap));
    }
    const struct nth_balance after = nth_balance_now();
    assert_int_equal(after.reservation_count, before.reservation_count);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, crew_setup, crew_teardown)

int main(void)
{
    (void)alarm(PATIENCE_SECONDS);
    const struct CMUnitTest tests[] = {
        TEST(threads_share_heaps_and_nothing_gets_lost),
        TEST(a_heap_may_be_destroyed_under_the_hands_of_others),
        TEST(neighbours_come_and_go_while_a_block_is_freed),
        TEST(magazines_go_from_hand_to_hand_and_away_with_their_heap),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
