/* SPDX-License-Identifier: MIT
 *
 * A hardware fault in the middle of a call, at every call of the page source that the call makes:
 * the exception reaches the caller, nothing stays locked, a heap that was being worked in is
 * damaged and refuses (D18), destroying it gives everything back, and nobody else notices. */
#include "support/crew.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WARM_BYTES ((SIZE_T)40)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define PATIENCE_SECONDS 120u /* a deadlock is a failure, not a wait */

/* The n-th page call of this thread from now on writes where nothing may. */
static _Thread_local unsigned fault_countdown;
static volatile uint8_t *no_access;

/* Leaves of the address map stay until the process is reset. Where the system chooses addresses, a
 * new one may be needed in any call, so they are counted as they are made. */
static unsigned leaf_count; /* atomic */

static void fault(enum nth_page_call call, const struct nth_site *site)
{
    if (fault_countdown > 0 && --fault_countdown == 0) {
        *no_access = 1;
    }
    if (call == NTH_PAGE_COMMIT && strcmp(site->name, "map.leaf") == 0) {
        __atomic_add_fetch(&leaf_count, 1, __ATOMIC_RELAXED);
    }
}

/* What is held beside those leaves, and how large one is where the system chooses addresses. */
#define LEAF_BYTES ((SIZE_T)0x10000 * sizeof(uintptr_t))

static struct nth_balance balance_now(void)
{
    const unsigned leaves = __atomic_load_n(&leaf_count, __ATOMIC_RELAXED);
    struct nth_balance balance = nth_balance_now();
    balance.reservation_count -= leaves;
    balance.reserved_bytes -= leaves * LEAF_BYTES;
    balance.committed_bytes -= leaves * LEAF_BYTES;
    return balance;
}

/* What an operation works on, and how. */
struct scene {
    HANDLE heap;
    PVOID block;
    BOOLEAN done;
};

struct operation {
    const char *name;
    void (*prepare)(struct scene *scene);
    void (*run)(void *scene);
    BOOLEAN spares_heap; /* no heap is worked in: nothing to be damaged */
};

static void heap_make(struct scene *scene)
{
    scene->heap = HeapCreate(0, 0, 0);
    crew_demand(scene->heap != NULL);
    scene->block = HeapAlloc(scene->heap, 0, 100);
    crew_demand(scene->block != NULL);
}

static void grow(void *context)
{
    const struct scene *scene = context;
    (void)HeapAlloc(scene->heap, 0, 0x30000);
}

static void add_segment(void *context)
{
    const struct scene *scene = context;
    (void)HeapAlloc(scene->heap, 0, 0x60000);
}

static void alloc_large(void *context)
{
    const struct scene *scene = context;
    (void)HeapAlloc(scene->heap, 0, LARGE_BYTES);
}

static void large_make(struct scene *scene)
{
    heap_make(scene);
    scene->block = HeapAlloc(scene->heap, 0, LARGE_BYTES);
    crew_demand(scene->block != NULL);
}

static void grow_large_in_place(void *context)
{
    const struct scene *scene = context;
    (void)HeapReAlloc(scene->heap, 0, scene->block, LARGE_BYTES + 0x8000);
}

static void grow_large_elsewhere(void *context)
{
    const struct scene *scene = context;
    (void)HeapReAlloc(scene->heap, 0, scene->block, 4 * LARGE_BYTES);
}

static void shrink_large(void *context)
{
    const struct scene *scene = context;
    (void)HeapReAlloc(scene->heap, 0, scene->block, LARGE_BYTES / 2 + 0x40000);
}

static void free_block(void *context)
{
    const struct scene *scene = context;
    (void)HeapFree(scene->heap, 0, scene->block);
}

static void segment_make(struct scene *scene)
{
    heap_make(scene);
    scene->block = HeapAlloc(scene->heap, 0, 0x60000);
    crew_demand(scene->block != NULL);
}

static void warm_make(struct scene *scene)
{
    heap_make(scene);
    scene->block = HeapAlloc(scene->heap, 0, WARM_BYTES);
}

static void start_front_end(void *context)
{
    const struct scene *scene = context;
    for (unsigned count = 0; count < 1000; count++) {
        (void)HeapAlloc(scene->heap, 0, WARM_BYTES);
    }
}

static void full_make(struct scene *scene)
{
    PVOID blocks[600];
    heap_make(scene);
    for (size_t idx = 0; idx < 600; idx++) {
        blocks[idx] = HeapAlloc(scene->heap, 0, idx % 2 == 0 ? 2000 : WARM_BYTES);
        crew_demand(blocks[idx] != NULL);
    }
    for (size_t idx = 0; idx < 600; idx++) {
        crew_demand(HeapFree(scene->heap, 0, blocks[idx]));
    }
}

static void compact(void *context)
{
    const struct scene *scene = context;
    (void)HeapCompact(scene->heap, 0);
}

static void nothing_make(struct scene *scene)
{
    (void)scene;
}

static void create(void *context)
{
    struct scene *scene = context;
    scene->heap = HeapCreate(0, 0, 0);
}

static void create_fixed(void *context)
{
    struct scene *scene = context;
    scene->heap = HeapCreate(HEAP_NO_SERIALIZE, 0, 0x100000);
}

static const struct operation operations[] = {
    {"growing a segment", heap_make, grow, FALSE},
    {"adding a segment", heap_make, add_segment, FALSE},
    {"allocating a large block", heap_make, alloc_large, FALSE},
    {"growing a large block in place", large_make, grow_large_in_place, FALSE},
    {"growing a large block elsewhere", large_make, grow_large_elsewhere, FALSE},
    {"shrinking a large block", large_make, shrink_large, FALSE},
    {"freeing a large block", large_make, free_block, FALSE},
    {"freeing the only block of a segment", segment_make, free_block, FALSE},
    {"starting the front end", warm_make, start_front_end, FALSE},
    {"compacting", full_make, compact, FALSE},
    {"creating a heap", nothing_make, create, TRUE},
    {"creating a fixed heap", nothing_make, create_fixed, TRUE},
};

static void demand_same(const struct nth_balance *before)
{
    const struct nth_balance now = balance_now();
    assert_int_equal(now.reservation_count, before->reservation_count);
    assert_int_equal(now.reserved_bytes, before->reserved_bytes);
    assert_int_equal(now.committed_bytes, before->committed_bytes);
}

/* From another thread: it is not locked out, and told what is the matter. */
static uintptr_t use_damaged(struct crew_hand *hand)
{
    SetLastError(NO_ERROR);
    crew_demand(HeapAlloc(hand->heap, 0, 10) == NULL);
    crew_demand(HeapAlloc(hand->heap, 0, LARGE_BYTES) == NULL);
    crew_demand(!HeapValidate(hand->heap, 0, NULL));
    crew_demand(!HeapValidate(hand->heap, 0, hand->block));
    crew_demand(HeapSize(hand->heap, 0, hand->block) == (SIZE_T)-1);
    crew_demand(HeapReAlloc(hand->heap, 0, hand->block, 10) == NULL);
    crew_demand(GetLastError() == NO_ERROR);
    crew_demand(!HeapFree(hand->heap, 0, hand->block));
    crew_demand(GetLastError() == ERROR_INVALID_PARAMETER);
    crew_demand(!HeapLock(hand->heap));
    crew_demand(crew_report_reason() == NTH_CORRUPT_DAMAGED);
    return crew_reports_take();
}

static uintptr_t use_others(struct crew_hand *hand)
{
    HANDLE heaps[8];
    HANDLE heap = HeapCreate(0, 0, 0);
    crew_exercise(hand->heap);
    crew_exercise(GetProcessHeap());
    crew_exercise(heap);
    crew_demand(HeapDestroy(heap));
    crew_demand(GetProcessHeaps(8, heaps) >= 2);
    return crew_reports_take() == 0;
}

/* One fault, at page call number `number`; FALSE when the operation makes fewer. */
static BOOLEAN fault_once(const struct operation *operation, unsigned number, HANDLE other)
{
    struct scene scene = {.done = FALSE};
    EXCEPTION_RECORD record;
    const struct nth_balance before = balance_now();
    operation->prepare(&scene);
    struct crew_hand hand = {.work = use_damaged, .heap = scene.heap, .block = scene.block};
    struct crew_hand bystander = {.work = use_others, .heap = other};
    fault_countdown = number;
    const BOOLEAN passed = nth_guard(operation->run, &scene, &record);
    fault_countdown = 0;
    if (!passed) {
        assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
        assert_int_equal(record.ExceptionInformation[0], EXCEPTION_WRITE_FAULT);
        assert_int_equal(record.ExceptionInformation[1], (uintptr_t)no_access);
        if (!operation->spares_heap) {
            assert_int_equal(crew_run(&hand), 8);
        }
    }
    if (scene.heap != NULL) {
        assert_true(HeapDestroy(scene.heap));
        assert_int_equal(crew_reports_take(), 0);
    }
    if (!passed && operation->spares_heap) {
        HANDLE heap = HeapCreate(0, 0, 0); /* whose end gives back what was left behind */
        assert_non_null(heap);
        assert_true(HeapDestroy(heap));
    }
    demand_same(&before);
    assert_int_equal(crew_run(&bystander), 1);
    return !passed;
}

static void sweep(const struct operation *operation)
{
    HANDLE other = HeapCreate(0, 0, 0);
    struct crew_hand bystander = {.work = use_others, .heap = other};
    unsigned number = 1;
    assert_int_equal(crew_run(&bystander), 1); /* tables that stay are made */
    assert_int_equal(crew_run(&bystander), 1);
    crew_pages_watch(fault);
    while (fault_once(operation, number, other)) {
        number++;
    }
    crew_pages_watch(NULL);
    assert_true(number > 1);
    assert_true(HeapValidate(other, 0, NULL));
}

/* D18, at every page call of every operation. */
static void a_fault_in_the_middle_of_a_call_damages_that_heap_only(void **state)
{
    (void)state;
    nth_seh_install(); /* cmocka puts its own handlers around every test */
    for (size_t idx = 0; idx < sizeof(operations) / sizeof(operations[0]); idx++) {
        print_message("%s\n", operations[idx].name);
        sweep(&operations[idx]);
    }
}

/* The same where pages can be moved. */
static void a_fault_while_pages_move_damages_that_heap_only(void **state)
{
    (void)state;
    crew_use_pages(nth_pages_os());
    sweep(&operations[4]);
}

static void process_heap(void *context)
{
    struct scene *scene = context;
    scene->heap = GetProcessHeap();
}

static uintptr_t ask_process_heap(struct crew_hand *hand)
{
    hand->heap = GetProcessHeap();
    return hand->heap != NULL;
}

/* At its first use: every page call. */
static void a_fault_while_the_process_heap_is_made_leaves_it_to_the_next_call(void **state)
{
    unsigned number = 0;
    BOOLEAN passed = FALSE;
    nth_seh_install();
    while (!passed) {
        struct scene scene = {.heap = NULL};
        struct crew_hand hand = {.work = ask_process_heap};
        EXCEPTION_RECORD record;
        crew_pages_watch(fault);
        fault_countdown = ++number;
        passed = nth_guard(process_heap, &scene, &record);
        fault_countdown = 0;
        assert_int_equal(crew_run(&hand), 1);
        crew_exercise(hand.heap);
        assert_int_equal(crew_teardown(state), 0);
        assert_int_equal(crew_setup_arena(state), 0);
    }
    assert_true(number > 2);
}

static void destroy(void *context)
{
    struct scene *scene = context;
    scene->done = HeapDestroy(scene->heap) != FALSE;
}

static uintptr_t ask_gone(struct crew_hand *hand)
{
    crew_demand(HeapAlloc(hand->heap, 0, 10) == NULL);
    crew_demand(crew_reports_take() == 1);
    return crew_report_reason() == NTH_CORRUPT_STALE_HANDLE;
}

/* The heap is gone for its users; what could not be given back is, by the next one that is. */
static void a_fault_while_a_heap_is_destroyed_locks_nobody_out(void **state)
{
    unsigned number = 0;
    BOOLEAN passed = FALSE;
    nth_seh_install();
    while (!passed) {
        struct scene scene = {.done = FALSE};
        EXCEPTION_RECORD record;
        assert_non_null(GetProcessHeap());
        HANDLE other = HeapCreate(0, 0, 0);
        large_make(&scene);
        struct crew_hand hand = {.work = ask_gone, .heap = scene.heap};
        struct crew_hand bystander = {.work = use_others, .heap = other};
        crew_demand(HeapAlloc(scene.heap, 0, 0x60000) != NULL);
        start_front_end(&scene);
        crew_pages_watch(fault);
        fault_countdown = ++number;
        passed = nth_guard(destroy, &scene, &record);
        fault_countdown = 0;
        assert_int_equal(scene.done, passed);
        assert_int_equal(crew_run(&hand), 1);
        assert_int_equal(crew_run(&bystander), 1);
        assert_int_equal(crew_teardown(state), 0); /* with everything given back */
        assert_int_equal(crew_setup_arena(state), 0);
    }
    assert_true(number > 3);
}

static uintptr_t fork_and_use(struct crew_hand *hand)
{
    crew_exercise(hand->heap);
    return 1;
}

static void use_in_child(void *heap)
{
    struct crew_hand hand = {.heap = heap};
    (void)fork_and_use(&hand);
}

/* No thread is thought to be inside for ever. */
static void after_a_fault_there_is_no_obstacle_to_fork(void **state)
{
    (void)state;
    struct scene scene;
    EXCEPTION_RECORD record;
    HANDLE other = HeapCreate(0, 0, 0);
    nth_seh_install();
    heap_make(&scene);
    crew_pages_watch(fault);
    fault_countdown = 1;
    assert_false(nth_guard(alloc_large, &scene, &record));
    fault_countdown = 1;
    assert_false(nth_guard(create, &scene, &record));
    crew_child(use_in_child, other);
    assert_true(HeapDestroy(scene.heap));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, crew_setup_arena, crew_teardown)

int main(void)
{
    (void)alarm(PATIENCE_SECONDS);
    no_access = mmap(NULL, NTH_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct CMUnitTest tests[] = {
        TEST(a_fault_in_the_middle_of_a_call_damages_that_heap_only),
        TEST(a_fault_while_pages_move_damages_that_heap_only),
        TEST(a_fault_while_the_process_heap_is_made_leaves_it_to_the_next_call),
        TEST(a_fault_while_a_heap_is_destroyed_locks_nobody_out),
        TEST(after_a_fault_there_is_no_obstacle_to_fork),
    };
    return no_access == MAP_FAILED
               ? 1
               : cmocka_run_group_tests_name("faults in calls", tests, NULL, NULL);
}
