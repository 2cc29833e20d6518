/* SPDX-License-Identifier: MIT
 *
 * Locks from the seam's table, all of them given back, and what a refusal leads to; the report and
 * terminate hooks with their context and their order. */
#include "support/leave.h"
#include "support/rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void demand_balance_zero(void)
{
    const struct nth_balance balance = nth_balance_now();
    assert_int_equal(balance.reserved_bytes, 0);
    assert_int_equal(balance.committed_bytes, 0);
    assert_int_equal(balance.reservation_count, 0);
}

/* ---- locks ---- */

static struct {
    unsigned made;
    unsigned destroyed;
    unsigned held;
    unsigned refuse_at; /* this creation is refused, counted from 1; 0: none */
    unsigned asked;
} table;

static enum nth_seam_status lock_create(void *self, void **lock)
{
    static uint64_t place;
    assert_ptr_equal(self, &table);
    if (++table.asked == table.refuse_at) {
        return NTH_SEAM_REFUSED;
    }
    table.made++;
    *lock = &place;
    return NTH_SEAM_OK;
}

static void lock_destroy(void *self, void *lock)
{
    assert_ptr_equal(self, &table);
    assert_non_null(lock);
    table.destroyed++;
}

static void lock_acquire(void *self, void *lock)
{
    assert_ptr_equal(self, &table);
    assert_non_null(lock);
    table.held++;
}

static BOOLEAN lock_try(void *self, void *lock)
{
    lock_acquire(self, lock);
    return TRUE;
}

static void lock_release(void *self, void *lock)
{
    assert_ptr_equal(self, &table);
    assert_non_null(lock);
    table.held--;
}

static void lock_pause(void *self)
{
    assert_ptr_equal(self, &table);
}

static void use_lock_table(unsigned refuse_at)
{
    static const struct nth_locks locks = {.self = &table,
                                           .create = lock_create,
                                           .destroy = lock_destroy,
                                           .acquire = lock_acquire,
                                           .try_acquire = lock_try,
                                           .release = lock_release,
                                           .pause = lock_pause};
    struct nth_seam seam = rig_seam();
    nth_process_reset(); /* what an earlier table made goes back to it, and is not counted */
    memset(&table, 0, sizeof(table));
    table.refuse_at = refuse_at;
    seam.locks = &locks;
    nth_seam_set(&seam);
}

static void locks_come_from_the_table_and_go_back(void **state)
{
    (void)state;
    use_lock_table(0);
    HANDLE heap = HeapCreate(0, 0, 0);
    const unsigned made = table.made;
    assert_int_equal(table.held, 0);
    assert_true(HeapLock(heap));
    assert_int_equal(table.held, 1);
    assert_true(HeapLock(heap)); /* core counts */
    assert_int_equal(table.held, 1);
    assert_true(HeapUnlock(heap));
    assert_true(HeapUnlock(heap));
    assert_int_equal(table.held, 0);
    assert_non_null(HeapCreate(HEAP_NO_SERIALIZE, 0, 0)); /* has none */
    assert_int_equal(table.made, made);
    assert_true(HeapDestroy(heap));
    assert_int_equal(table.destroyed, 1);
    struct nth_seam seam = rig_seam();
    nth_seam_set(&seam);
    assert_int_equal(table.destroyed, table.made);
    assert_int_equal(table.held, 0);
}

static void a_lock_still_held_is_let_go_before_it_is_destroyed(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    use_lock_table(0);
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_true(HeapLock(heap));
    assert_true(HeapLock(heap));
    nth_seam_set(&seam);
    assert_int_equal(table.held, 0);
    assert_int_equal(table.destroyed, table.made);
}

/* The first lock is the process's own, the second the heap's. */
static void a_lock_table_that_refuses_makes_creation_fail(void **state)
{
    (void)state;
    for (unsigned refuse_at = 1; refuse_at <= 2; refuse_at++) {
        use_lock_table(refuse_at);
        SetLastError(RIG_LAST_ERROR);
        assert_null(HeapCreate(0, 0, 0));
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        assert_int_equal(table.held, 0);
        HANDLE heap = HeapCreate(0, 0, 0); /* it recovers */
        assert_non_null(heap);
        assert_non_null(HeapAlloc(heap, 0, 100));
        assert_true(HeapDestroy(heap));
        nth_process_reset();
        demand_balance_zero();
        assert_int_equal(table.destroyed, table.made);
        use_lock_table(refuse_at);
        assert_null(GetProcessHeap());
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        assert_non_null(GetProcessHeap());
        assert_int_equal(table.held, 0);
    }
    rig_report_demand_none();
    struct nth_seam seam = rig_seam();
    nth_seam_set(&seam);
}

/* ---- hooks ---- */

static struct {
    void *context;
    HANDLE heap;
    PVOID given;
    unsigned count;
} hook;

/* The heap is unlocked and whole: the hook may use it. */
static void report_hook(void *context, const struct nth_report *report)
{
    hook.context = context;
    hook.heap = report->heap;
    hook.given = HeapAlloc(report->heap, 0, 100);
    hook.count++;
}

static void the_report_hook_has_its_context_and_may_use_the_heap(void **state)
{
    (void)state;
    int mine = 0;
    struct nth_seam seam = rig_seam();
    seam.report = report_hook;
    seam.report_context = &mine;
    memset(&hook, 0, sizeof(hook));
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_false(HeapFree(heap, 0, heap));
    assert_int_equal(hook.count, 1);
    assert_ptr_equal(hook.context, &mine);
    assert_ptr_equal(hook.heap, heap);
    assert_non_null(hook.given);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* A report is one line, in any room. */
static void a_report_is_one_line(void **state)
{
    char text[256];
    struct nth_report report = {.reason = NTH_CORRUPT_DOUBLE_FREE,
                                .heap = (HANDLE)0x10,
                                .block = (PVOID)0xabc,
                                .field = "block.header",
                                .call = "HeapFree"};
    (void)state;
    char due[256];
    (void)snprintf(
        due, sizeof(due),
        "heaprig: HeapFree: heap 0x10, block 0xabc, field block.header: %s (DOUBLE_FREE)\n",
        nth_reason_text(NTH_CORRUPT_DOUBLE_FREE));
    assert_int_equal(nth_report_text(&report, NULL, 0), strlen(due));
    for (size_t room = 1; room < strlen(due) + 3; room++) {
        memset(text, '?', sizeof(text));
        assert_int_equal(nth_report_text(&report, text, room), strlen(due));
        const size_t len = room - 1 < strlen(due) ? room - 1 : strlen(due);
        assert_memory_equal(text, due, len);
        assert_int_equal(text[len], '\0');
        assert_int_equal(text[len + 1], '?');
    }
    report.field = NULL;
    (void)nth_report_text(&report, text, sizeof(text));
    assert_non_null(strstr(text, " block 0xabc, no field: "));
}

static HANDLE to_destroy;

static void destroy_another(void *context, const struct nth_report *report)
{
    const HANDLE gone = to_destroy;
    (void)context;
    (void)report;
    hook.count++;
    to_destroy = NULL;
    assert_true(gone == NULL || HeapDestroy(gone));
}

/* The list of heaps was made before: that one of them is gone since is no news. */
static void a_heap_destroyed_meanwhile_is_not_reported_by_calls_about_all(void **state)
{
    (void)state;
    HEAP_OPTIMIZE_RESOURCES_INFORMATION wish = {.Version = HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION};
    struct nth_seam seam = rig_seam();
    seam.report = destroy_another;
    nth_seam_set(&seam);
    assert_non_null(GetProcessHeap());
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = rig_block_new(heap, 5000);
    void *header = rig_field_named(heap, "block.header", block).address;
    for (unsigned round = 0; round < 2; round++) {
        to_destroy = HeapCreate(0, 0, 0);
        hook.count = 0;
        rig_flip(header);
        if (round == 0) {
            assert_false(RtlValidateProcessHeaps());
        } else {
            assert_int_equal(
                RtlSetHeapInformation(NULL, HeapOptimizeResources, &wish, sizeof(wish)),
                STATUS_HEAP_CORRUPTION);
        }
        assert_int_equal(hook.count, 1);
        assert_null(to_destroy);
        rig_flip(header);
        assert_true(RtlValidateProcessHeaps());
        assert_int_equal(RtlGetProcessHeaps(0, NULL), 2);
    }
}

/* Ends the process with 0 when hook, context and order are right: the report comes first. */
static void terminate_hook(void *context, NTSTATUS status)
{
    leave(context == &hook && status == STATUS_HEAP_CORRUPTION && hook.count == 1 ? 0 : 1);
}

static int status_of(pid_t child)
{
    int how = 0;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &how, 0), child);
    return how;
}

static void the_terminate_hook_has_its_context_and_comes_after_the_report(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        struct nth_seam seam = rig_seam();
        memset(&hook, 0, sizeof(hook));
        seam.report = report_hook;
        seam.terminate = terminate_hook;
        seam.terminate_context = &hook;
        nth_seam_set(&seam);
        HANDLE heap = HeapCreate(0, 0, 0);
        HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
        HeapFree(heap, 0, heap);
        leave(2);
    }
    assert_int_equal(status_of(child), 0);
}

static void without_a_hook_a_report_is_one_line_on_standard_error(void **state)
{
    (void)state;
    char line[512] = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        nth_seam_set(NULL);
        HANDLE heap = HeapCreate(0, 0, 0);
        HeapFree(heap, 0, heap);
        leave(0);
    }
    (void)close(ends[1]);
    assert_int_equal(status_of(child), 0);
    const ssize_t length = read(ends[0], line, sizeof(line) - 1);
    (void)close(ends[0]);
    assert_true(length > 0);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    assert_non_null(strstr(line, "HeapFree"));
    assert_non_null(strstr(line, nth_reason_name(NTH_CORRUPT_INTERIOR_POINTER)));
    assert_non_null(strstr(line, nth_reason_text(NTH_CORRUPT_INTERIOR_POINTER)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(locks_come_from_the_table_and_go_back),
        TEST(a_lock_still_held_is_let_go_before_it_is_destroyed),
        TEST(a_lock_table_that_refuses_makes_creation_fail),
        TEST(the_report_hook_has_its_context_and_may_use_the_heap),
        TEST(a_report_is_one_line),
        TEST(a_heap_destroyed_meanwhile_is_not_reported_by_calls_about_all),
        TEST(the_terminate_hook_has_its_context_and_comes_after_the_report),
        TEST(without_a_hook_a_report_is_one_line_on_standard_error),
    };
    return cmocka_run_group_tests_name("hooks", tests, NULL, NULL);
}
