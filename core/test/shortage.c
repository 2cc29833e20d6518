/* SPDX-License-Identifier: MIT
 *
 * A small sweep over running out: one fixed program of heap calls, and each page call that it makes
 * refused in turn, once and from there on. After each call the outcome must be the ruled one, with
 * the refusal of this very call as its only cause; heaps whole, contents intact, nothing locked,
 * accounts equal to what the page source itself has outstanding. Locks are refused likewise. */
#include "support/ledger.h"

#include <pthread.h>
#include <string.h>

#define HEAP_COUNT 3u
#define BLOCK_COUNT 24u
#define MANY 20u /* blocks of one size: enough for the front end */

/* ---- locks that count ---- */

static struct {
    pthread_mutex_t pool[64];
    unsigned used;
    unsigned created;
    unsigned fail_at;
    BOOLEAN for_good;
    unsigned refusals;
    _Atomic int held;
} locks;

static enum nth_seam_status lock_create(void *self, void **lock)
{
    (void)self;
    locks.created++;
    if (locks.fail_at != 0 &&
        (locks.for_good ? locks.created >= locks.fail_at : locks.created == locks.fail_at)) {
        locks.refusals++;
        return NTH_SEAM_REFUSED;
    }
    assert_true(locks.used < 64);
    *lock = &locks.pool[locks.used++];
    return pthread_mutex_init(*lock, NULL) == 0 ? NTH_SEAM_OK : NTH_SEAM_REFUSED;
}

static void lock_destroy(void *self, void *lock)
{
    (void)self;
    (void)pthread_mutex_destroy(lock);
}

static void lock_acquire(void *self, void *lock)
{
    (void)self;
    (void)pthread_mutex_lock(lock);
    locks.held++;
}

static BOOLEAN lock_try(void *self, void *lock)
{
    (void)self;
    const BOOLEAN got = pthread_mutex_trylock(lock) == 0;
    locks.held += got;
    return got;
}

static void lock_release(void *self, void *lock)
{
    (void)self;
    locks.held--;
    (void)pthread_mutex_unlock(lock);
}

static void lock_pause(void *self)
{
    (void)self;
}

static const struct nth_locks lock_table = {.create = lock_create,
                                            .destroy = lock_destroy,
                                            .acquire = lock_acquire,
                                            .try_acquire = lock_try,
                                            .release = lock_release,
                                            .pause = lock_pause};

/* ---- the program ---- */

enum kind {
    CREATE,
    DESTROY,
    PROCESS,
    ALLOC,
    RAISE,
    REALLOC,
    FREE,
    MANY_ALLOC,
    MANY_FREE,
    COMPACT,
    WALK
};

struct op {
    enum kind kind;
    unsigned heap;
    unsigned block;
    SIZE_T bytes;
    ULONG flags;
};

static const struct op program[] = {
    {.kind = CREATE, .heap = 0},
    {.kind = ALLOC, .block = 0, .bytes = 100},
    {.kind = ALLOC, .block = 1, .bytes = 6000},
    {.kind = ALLOC, .block = 2, .bytes = 30000, .flags = HEAP_SETTABLE_USER_VALUE},
    {.kind = CREATE, .heap = 1, .flags = HEAP_GENERATE_EXCEPTIONS},
    {.kind = RAISE, .heap = 1, .block = 3, .bytes = 50000},
    {.kind = REALLOC, .block = 1, .bytes = 20000},
    {.kind = ALLOC, .block = 4, .bytes = 0x90000},
    {.kind = REALLOC, .block = 4, .bytes = 0x98000},
    {.kind = REALLOC, .block = 4, .bytes = 0x180000},
    {.kind = REALLOC, .block = 4, .bytes = 0x81000},
    {.kind = ALLOC, .block = 5, .bytes = 0xA0000, .flags = HEAP_ZERO_MEMORY},
    {.kind = MANY_ALLOC, .block = 6, .bytes = 40},
    {.kind = MANY_ALLOC, .block = 7, .bytes = 600},
    {.kind = PROCESS, .heap = 2},
    {.kind = MANY_ALLOC, .heap = 2, .block = 8, .bytes = 3000},
    {.kind = FREE, .block = 1},
    {.kind = FREE, .block = 2},
    {.kind = ALLOC, .block = 1, .bytes = 0x70000},
    {.kind = ALLOC, .block = 2, .bytes = 0x7F000},
    {.kind = ALLOC, .block = 9, .bytes = 0x7F000},
    {.kind = WALK},
    {.kind = REALLOC, .block = 0, .bytes = 300},
    {.kind = REALLOC, .block = 0, .bytes = 0x80000},
    {.kind = MANY_FREE, .block = 6},
    {.kind = COMPACT},
    {.kind = FREE, .block = 2},
    {.kind = FREE, .block = 9},
    {.kind = FREE, .block = 1},
    {.kind = COMPACT},
    {.kind = MANY_FREE, .block = 7},
    {.kind = MANY_FREE, .heap = 2, .block = 8},
    {.kind = COMPACT, .heap = 2},
    {.kind = ALLOC, .heap = 2, .block = 10, .bytes = 0x30000},
    {.kind = FREE, .heap = 2, .block = 10},
    {.kind = REALLOC, .block = 5, .bytes = 0x20000},
    {.kind = FREE, .block = 4},
    {.kind = RAISE, .heap = 1, .block = 11, .bytes = 0x100000},
    {.kind = DESTROY, .heap = 1},
    {.kind = CREATE, .heap = 1},
    {.kind = MANY_ALLOC, .heap = 1, .block = 12, .bytes = 100},
    {.kind = MANY_ALLOC, .heap = 1, .block = 13, .bytes = 0x4000},
    {.kind = MANY_FREE, .heap = 1, .block = 13},
    {.kind = ALLOC, .heap = 1, .block = 14, .bytes = 0x60000},
    {.kind = DESTROY, .heap = 0},
    {.kind = DESTROY, .heap = 1},
};

#define OP_COUNT (sizeof(program) / sizeof(program[0]))

/* A name of the program: one block, or MANY of a size. */
struct name {
    PVOID blocks[MANY];
    SIZE_T bytes;
    unsigned count;
    unsigned heap;
};

static HANDLE heaps[HEAP_COUNT];
static struct name names[BLOCK_COUNT];

static uint8_t letter(const struct name *name)
{
    return (uint8_t)(0x41 + (name - names));
}

static void demand_contents(void)
{
    for (unsigned idx = 0; idx < BLOCK_COUNT; idx++) {
        for (unsigned block = 0; block < names[idx].count; block++) {
            const uint8_t *bytes = names[idx].blocks[block];
            const SIZE_T last = names[idx].bytes - 1;
            assert_int_equal(bytes[0], letter(&names[idx]));
            assert_int_equal(bytes[last / 2], letter(&names[idx]));
            assert_int_equal(bytes[last], letter(&names[idx]));
            assert_memory_equal(bytes, bytes + 1, last < 64 ? last : 64);
        }
    }
}

static void add_block(const struct op *op, PVOID block)
{
    struct name *name = &names[op->block];
    name->bytes = op->bytes;
    name->heap = op->heap;
    name->blocks[name->count++] = block;
    memset(block, letter(name), op->bytes);
}

/* A failure has its cause in this very call. */
static void demand_cause(unsigned before)
{
    assert_true(ledger.refusals + locks.refusals > before);
}

static void do_alloc(const struct op *op, unsigned before)
{
    const struct rig_outcome outcome = rig_alloc(heaps[op->heap], op->flags, op->bytes);
    if (outcome.raised) {
        assert_int_equal(op->kind, RAISE);
        rig_demand_raised(&outcome, STATUS_NO_MEMORY, op->bytes);
        demand_cause(before);
        return;
    }
    assert_int_equal(outcome.last_error, RIG_LAST_ERROR);
    if (outcome.value == 0) {
        assert_int_not_equal(op->kind, RAISE);
        demand_cause(before);
        return;
    }
    add_block(op, (PVOID)outcome.value);
}

static void do_realloc(const struct op *op, unsigned before)
{
    struct name *name = &names[op->block];
    if (name->count == 0) {
        return;
    }
    const struct rig_outcome outcome =
        rig_realloc(heaps[op->heap], op->flags, name->blocks[0], op->bytes);
    assert_false(outcome.raised);
    assert_int_equal(outcome.last_error, RIG_LAST_ERROR);
    if (outcome.value == 0) {
        demand_cause(before);
        return;
    }
    const SIZE_T kept = name->bytes < op->bytes ? name->bytes : op->bytes;
    name->blocks[0] = (PVOID)outcome.value;
    name->bytes = kept;
    demand_contents();
    name->count = 0;
    add_block(op, (PVOID)outcome.value);
}

static void do_free(const struct op *op)
{
    struct name *name = &names[op->block];
    while (name->count > 0) {
        const struct rig_outcome outcome = rig_free(heaps[op->heap], name->blocks[--name->count]);
        rig_demand_value(&outcome, TRUE);
    }
}

static void forget_heap(unsigned heap)
{
    heaps[heap] = NULL;
    for (unsigned idx = 0; idx < BLOCK_COUNT; idx++) {
        names[idx].count = names[idx].heap == heap ? 0 : names[idx].count;
    }
}

static void do_create(const struct op *op, unsigned before)
{
    SetLastError(RIG_LAST_ERROR);
    heaps[op->heap] = op->kind == PROCESS ? GetProcessHeap() : HeapCreate(op->flags, 0, 0);
    if (heaps[op->heap] == NULL) {
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        demand_cause(before);
    }
}

static void do_whole(const struct op *op)
{
    PROCESS_HEAP_ENTRY entry = {0};
    struct rig_args args = {.call = RIG_HEAP_DESTROY, .heap = heaps[op->heap]};
    switch (op->kind) {
    case DESTROY: {
        const struct rig_outcome outcome = rig_run(&args);
        rig_demand_value(&outcome, TRUE);
        forget_heap(op->heap);
        break;
    }
    case COMPACT:
        assert_true(HeapCompact(heaps[op->heap], 0) > 0);
        break;
    default:
        while (HeapWalk(heaps[op->heap], &entry)) {
        }
        assert_int_equal(GetLastError(), ERROR_NO_MORE_ITEMS);
        break;
    }
}

static void do_op(const struct op *op)
{
    const unsigned before = ledger.refusals + locks.refusals;
    if (op->kind == CREATE || op->kind == PROCESS) {
        do_create(op, before);
    } else if (heaps[op->heap] == NULL) {
        return; /* its creation was refused */
    } else if (op->kind == ALLOC || op->kind == RAISE) {
        do_alloc(op, before);
    } else if (op->kind == MANY_ALLOC) {
        for (unsigned count = 0; count < MANY; count++) {
            do_alloc(op, before);
        }
    } else if (op->kind == REALLOC) {
        do_realloc(op, before);
    } else if (op->kind == FREE || op->kind == MANY_FREE) {
        do_free(op);
    } else {
        do_whole(op);
    }
    assert_int_equal(rig_report_count(), 0);
    assert_int_equal(locks.held, 0);
    demand_contents();
    if (ledger.refusals + locks.refusals == before) {
        return;
    }
    ledger_demand_accounts();
    for (unsigned heap = 0; heap < HEAP_COUNT; heap++) {
        assert_true(heaps[heap] == NULL || HeapValidate(heaps[heap], 0, NULL));
    }
}

/* ---- a run ---- */

static void *other_thread(void *context)
{
    static int worked;
    (void)context;
    for (unsigned heap = 0; heap < HEAP_COUNT; heap++) {
        if (heaps[heap] == NULL) {
            continue;
        }
        PVOID block = HeapAlloc(heaps[heap], 0, 40);
        if (block == NULL || !HeapFree(heaps[heap], 0, block) || !HeapLock(heaps[heap]) ||
            !HeapUnlock(heaps[heap])) {
            return NULL;
        }
    }
    return &worked;
}

static void demand_another_thread_gets_in(void)
{
    pthread_t thread;
    void *worked = NULL;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, &worked), 0);
    assert_non_null(worked);
}

static void run_start(void)
{
    struct nth_seam seam = rig_seam();
    ledger.fail_at = 0;
    locks.fail_at = 0;
    seam.pages = &ledger.pages;
    seam.locks = &lock_table;
    nth_seam_set(&seam);
    ledger_reset();
    memset(heaps, 0, sizeof(heaps));
    memset(names, 0, sizeof(names));
    locks.used = 0;
    locks.created = 0;
    locks.refusals = 0;
    rig_report_forget();
}

/* Disarmed, everything works again, for everybody; and at the reset all is given back, what was
 * refused in the program with it. */
static void run_finish(void)
{
    ledger.fail_at = 0;
    locks.fail_at = 0;
    for (size_t idx = 0; idx < OP_COUNT; idx++) {
        if (program[idx].kind == ALLOC && names[program[idx].block].count == 0 &&
            heaps[program[idx].heap] != NULL) {
            do_op(&program[idx]);
            assert_int_equal(names[program[idx].block].count, 1);
        }
    }
    for (unsigned heap = 0; heap < HEAP_COUNT; heap++) {
        heaps[heap] = heaps[heap] == NULL ? HeapCreate(0, 0, 0) : heaps[heap];
        assert_non_null(heaps[heap]);
        assert_true(HeapValidate(heaps[heap], 0, NULL));
    }
    demand_contents();
    demand_another_thread_gets_in();
    ledger_demand_accounts();
    nth_process_reset();
    ledger_demand_accounts();
    assert_int_equal(nth_balance_now().reservation_count, 0);
    assert_int_equal(nth_balance_now().reserved_bytes, 0);
    assert_int_equal(nth_balance_now().committed_bytes, 0);
    assert_false(ledger.foreign_site);
}

static void run_program(unsigned stop_before_end)
{
    for (size_t idx = 0; idx < OP_COUNT - stop_before_end; idx++) {
        do_op(&program[idx]);
    }
}

static void every_page_call_can_be_refused(void **state)
{
    (void)state;
    unsigned kinds[NTH_PAGE_REMAP + 1] = {0};
    run_start();
    run_program(0);
    const unsigned calls = ledger.calls;
    run_finish();
    assert_true(calls > 60);
    for (unsigned run = 0; run < 2 * calls; run++) {
        run_start();
        ledger.fail_at = run / 2 + 1;
        ledger.for_good = run % 2 != 0;
        run_program(ledger.for_good ? 2 : run / 2 % 3);
        for (unsigned kind = 0; kind <= NTH_PAGE_REMAP; kind++) {
            kinds[kind] += ledger.kinds[kind];
        }
        run_finish();
    }
    print_message("%u page calls, each refused once and for good: %u reserve, %u commit, %u "
                  "decommit, %u release, %u remap\n",
                  calls, kinds[NTH_PAGE_RESERVE], kinds[NTH_PAGE_COMMIT], kinds[NTH_PAGE_DECOMMIT],
                  kinds[NTH_PAGE_RELEASE], kinds[NTH_PAGE_REMAP]);
    assert_true(kinds[NTH_PAGE_RESERVE] > 0);
    assert_true(kinds[NTH_PAGE_COMMIT] > 0);
    assert_true(kinds[NTH_PAGE_DECOMMIT] > 0);
    assert_true(kinds[NTH_PAGE_RELEASE] > 0);
}

static void every_lock_can_be_refused(void **state)
{
    (void)state;
    run_start();
    run_program(0);
    const unsigned created = locks.created;
    run_finish();
    assert_true(created > 3);
    for (unsigned run = 0; run < 2 * created; run++) {
        run_start();
        locks.fail_at = run / 2 + 1;
        locks.for_good = run % 2 != 0;
        run_program(2);
        assert_true(locks.refusals > 0);
        run_finish();
    }
}

/* What the page source refuses to take back is in the accounts, and given back at the next reset.
 */
static void a_refused_release_shows_until_the_next_reset(void **state)
{
    (void)state;
    run_start();
    heaps[0] = HeapCreate(0, 0, 0);
    const struct nth_balance before = nth_balance_now();
    PVOID block = HeapAlloc(heaps[0], 0, 0x100000);
    assert_non_null(block);
    ledger.fail_at = ledger.calls + 1;
    assert_true(HeapFree(heaps[0], 0, block));
    assert_int_equal(ledger.kinds[NTH_PAGE_RELEASE], 1);
    assert_int_equal(nth_balance_now().reservation_count, before.reservation_count + 1);
    ledger_demand_accounts();
    assert_true(HeapValidate(heaps[0], 0, NULL));
    nth_process_reset();
    ledger_demand_accounts();
    assert_int_equal(nth_balance_now().reservation_count, 0);
}

/* Refused at the reset as well, and at the very reset: the reset after that gives it back. */
static void what_a_reset_could_not_give_back_the_next_one_does(void **state)
{
    (void)state;
    run_start();
    heaps[0] = HeapCreate(0, 0, 0);
    assert_non_null(HeapAlloc(heaps[0], 0, 0x100000));
    ledger.fail_at = ledger.calls + 1;
    ledger.for_good = TRUE;
    nth_process_reset();
    assert_true(nth_balance_now().reservation_count > 1);
    ledger_demand_accounts();
    nth_process_reset();
    assert_true(nth_balance_now().reservation_count > 1);
    ledger.fail_at = 0;
    nth_process_reset();
    assert_int_equal(nth_balance_now().reservation_count, 0);
    ledger_demand_accounts();
}

/* What is refused while the seam is set is asked for no more: no later run hears of it. It stays in
 * the accounts for good, so this comes last. */
static void what_is_refused_when_the_seam_is_set_is_forgotten(void **state)
{
    (void)state;
    run_start();
    heaps[0] = HeapCreate(0, 0, 0);
    assert_non_null(HeapAlloc(heaps[0], 0, 0x100000));
    ledger.fail_at = ledger.calls + 1;
    ledger.for_good = TRUE;
    nth_process_reset();
    const size_t lost = nth_balance_now().reservation_count;
    assert_true(lost > 1);
    struct nth_seam again = rig_seam();
    again.pages = &ledger.pages;
    again.locks = &lock_table;
    nth_seam_set(&again);
    ledger.fail_at = 0;
    const unsigned before = ledger.kinds[NTH_PAGE_RELEASE];
    nth_process_reset();
    assert_int_equal(ledger.kinds[NTH_PAGE_RELEASE], before);
    assert_int_equal(nth_balance_now().reservation_count, lost);
}

/* ---- a reservation that lies elsewhere ---- */

static void *elsewhere;

static enum nth_seam_status reserve_elsewhere(void *self, const struct nth_site *site, size_t bytes,
                                              void **base)
{
    (void)self;
    (void)site;
    (void)bytes;
    *base = elsewhere;
    return NTH_SEAM_OK;
}

static void a_reservation_elsewhere_is_shortage(void **state)
{
    (void)state;
    run_start();
    heaps[0] = HeapCreate(0, 0, 0);
    PVOID large = HeapAlloc(heaps[0], 0, 0x100000);
    assert_non_null(large);
    void *const places[] = {
        heaps[0],
        (char *)heaps[0] + NTH_GRANULE_BYTES, /* in the middle of what the heap has */
        (void *)((uintptr_t)large / NTH_GRANULE_BYTES * NTH_GRANULE_BYTES),
        (char *)heaps[0] + NTH_PAGE_BYTES,
        (void *)(uintptr_t)(ledger.pages.low + ledger.pages.span_bytes),
        (void *)(uintptr_t)(ledger.pages.low - NTH_GRANULE_BYTES),
        NULL,
    };
    const struct nth_balance before = nth_balance_now();
    const unsigned calls = ledger.calls;
    const struct nth_pages honest = ledger.pages;
    ledger.pages.reserve = reserve_elsewhere;
    for (size_t idx = 0; idx < sizeof(places) / sizeof(places[0]); idx++) {
        elsewhere = places[idx];
        assert_null(HeapCreate(0, 0, 0));
        assert_null(HeapAlloc(heaps[0], 0, 0x100000));
    }
    ledger.pages = honest;
    assert_int_equal(ledger.calls, calls); /* nothing was committed or given back there */
    assert_int_equal(nth_balance_now().reservation_count, before.reservation_count);
    assert_true(HeapValidate(heaps[0], 0, large));
    assert_non_null(HeapCreate(0, 0, 0));
}

static int group_setup(void **state)
{
    (void)state;
    ledger_make();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_page_call_can_be_refused),
        TEST(every_lock_can_be_refused),
        TEST(a_refused_release_shows_until_the_next_reset),
        TEST(what_a_reset_could_not_give_back_the_next_one_does),
        TEST(a_reservation_elsewhere_is_shortage),
        cmocka_unit_test(what_is_refused_when_the_seam_is_set_is_forgotten),
    };
    return cmocka_run_group_tests_name("shortage", tests, group_setup, NULL);
}
