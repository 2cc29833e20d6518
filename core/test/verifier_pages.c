/* SPDX-License-Identifier: MIT
 *
 * Full page heap, the global flags, low resource simulation. */
#include "support/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/wild.h"

#include "verifier.h"

#define PAGE WILD_PAGE_BYTES
#define UNIT (2u * sizeof(void *))

static BOOLEAN take_first(void *context, const struct nth_allocation *block)
{
    *(struct nth_allocation *)context = *block;
    return FALSE;
}

/* What the verifier says of the newest heap's only allocation. */
static struct nth_allocation only(HANDLE heap)
{
    struct nth_allocation block;
    assert_int_equal(nth_verifier_enumerate(heap, take_first, &block), 1);
    return block;
}

struct touch {
    uintptr_t address;
    BOOLEAN write;
};

static void touch(void *context)
{
    const struct touch *wish = context;
    if (wish->write) {
        wild_write(wish->address, 1);
    } else {
        (void)wild_read(wish->address);
    }
}

/* The access is an access violation at once, and a stop with these parameters. */
static void demand_violation(void *address, BOOLEAN write, LPCVOID block)
{
    EXCEPTION_RECORD record;
    struct touch wish = {(uintptr_t)address, write};
    assert_int_equal(nth_guard(touch, &wish, &record), FALSE);
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionInformation[0],
                     write ? EXCEPTION_WRITE_FAULT : EXCEPTION_READ_FAULT);
    assert_int_equal(record.ExceptionInformation[1], (ULONG_PTR)address);
    assert_int_equal(watch_count(), 1);
    const struct nth_stop *stop = watch_stop(0);
    assert_int_equal(stop->code, 0x13);
    assert_int_equal(stop->parameter[0], (ULONG_PTR)address);
    assert_int_equal(stop->parameter[1], (ULONG_PTR)record.ExceptionAddress);
    assert_true(stop->parameter[2] != 0);
    assert_true(stop->parameter[3] != 0);
    assert_true((block != NULL) == (stop->allocated != NULL));
    watch_forget();
}

/* ---- full page heap ---- */

static void one_byte_past_a_full_block_is_a_violation_at_the_instruction(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, 0, 256);
    assert_int_equal((uintptr_t)block % UNIT, 0);
    assert_true(only(heap).full);
    block[255] = 1;
    demand_violation(block + 256, TRUE, block);
    demand_violation(block + 256, FALSE, block);
    demand_violation(block + 256 + PAGE - 1, FALSE, block);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void slack_behind_an_aligned_block_is_looked_at_when_it_is_freed(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, 0, 250);
    const SIZE_T slack = (UNIT - 250 % UNIT) % UNIT;
    for (SIZE_T idx = 0; idx < slack; idx++) {
        assert_int_equal(nth_peek(block + 250 + idx), 0xD0);
    }
    demand_violation(block + 250 + slack, TRUE, block);
    assert_int_equal(HeapValidate(heap, 0, block), TRUE);
    nth_poke(block + 250, 0);
    assert_int_equal(HeapValidate(heap, 0, block), FALSE);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand(0xF, (ULONG_PTR)heap, (ULONG_PTR)block, 250, 0);
    watch_finish(heap);
}

static void unaligned_blocks_end_exactly_at_the_page(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full:unaligned");
    for (SIZE_T size = 1; size < 40; size++) {
        char *block = HeapAlloc(heap, 0, size);
        assert_int_equal(((uintptr_t)block + size) % PAGE, 0);
        demand_violation(block + size, TRUE, block);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
    }
    watch_finish(heap);
}

static void backwards_the_page_before_the_block_is_guarded(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full:backwards");
    char *block = HeapAlloc(heap, 0, 100);
    assert_int_equal((uintptr_t)block % PAGE, 0);
    demand_violation(block - 1, TRUE, block);
    demand_violation(block - PAGE, FALSE, block);
    nth_poke(block + 100, 0);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand(0xF, (ULONG_PTR)heap, (ULONG_PTR)block, 100, 0);
    watch_finish(heap);
}

static void a_freed_full_block_cannot_be_touched(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, 0, 3 * PAGE);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    demand_violation(block, FALSE, block);
    demand_violation(block + 3 * PAGE - 1, TRUE, block);
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    assert_non_null(watch_stop(0)->freed);
    watch_demand(0x7, (ULONG_PTR)heap, (ULONG_PTR)block, 3 * PAGE, 0);
    watch_finish(heap);
}

static void fills_and_stamps_of_full_blocks_are_those_of_the_documents(void **state)
{
    uint32_t stamps[2];
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, 0, 64);
    for (unsigned idx = 0; idx < 64; idx++) {
        assert_int_equal(nth_peek(block + idx), 0xC0);
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        ((uint8_t *)&stamps[0])[idx] = nth_peek(block - NTH_MARK_BYTES + idx);
        ((uint8_t *)&stamps[1])[idx] = nth_peek(block - 12 + idx);
    }
    assert_int_equal(stamps[0], 0xABCDBBBBu);
    assert_int_equal(stamps[1], 0xDCBABBBBu);
    char *zeroed = HeapAlloc(heap, HEAP_ZERO_MEMORY, 64);
    for (unsigned idx = 0; idx < 64; idx++) {
        assert_int_equal(zeroed[idx], 0);
    }
    nth_poke(block - NTH_MARK_BYTES - 1, 1); /* as far down as the page goes */
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand(0x12, (ULONG_PTR)heap, (ULONG_PTR)block, 64, 0);
    block = HeapAlloc(heap, 0, 64);
    rig_flip(block - NTH_MARK_BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand(0x10, (ULONG_PTR)heap, (ULONG_PTR)block, 64, 0xABCDBBBAu);
    watch_finish(heap);
}

static void full_is_for_sizes_modules_shares_and_callers_as_asked(void **state)
{
    struct watch_module subject;
    char text[160];
    (void)state;
    HANDLE heap = watch_begin("pageheap=full:size=100-200");
    const SIZE_T sizes[4] = {99, 100, 200, 201};
    for (unsigned idx = 0; idx < 4; idx++) {
        void *block = HeapAlloc(heap, 0, sizes[idx]);
        assert_int_equal(only(heap).full, idx == 1 || idx == 2);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        assert_int_equal(HeapDestroy(heap), TRUE);
        heap = HeapCreate(0, 0, 0);
    }
    nth_process_reset();
    heap = watch_begin("pageheap=full:dlls=subject.so");
    watch_load(&subject, "subject.so");
    assert_non_null(HeapAlloc(heap, 0, 10));
    assert_false(only(heap).full);
    HANDLE other = HeapCreate(0, 0, 0);
    assert_non_null(subject.calls->allocate(other, 10));
    assert_true(only(other).full);
    watch_unload(&subject);
    nth_process_reset();
    const uintptr_t here = (uintptr_t)full_is_for_sizes_modules_shares_and_callers_as_asked;
    (void)snprintf(text, sizeof(text), "pageheap=full:address=0x%lx-0x%lx", (unsigned long)here,
                   (unsigned long)here + 1);
    heap = watch_begin(text);
    assert_non_null(HeapAlloc(heap, 0, 10));
    assert_false(only(heap).full);
    nth_process_reset();
    (void)snprintf(text, sizeof(text), "pageheap=full:address=0x%lx-0x%lx", (unsigned long)here,
                   (unsigned long)here + 4000);
    heap = watch_begin(text);
    assert_non_null(HeapAlloc(heap, 0, 10));
    assert_true(only(heap).full);
    nth_process_reset();
    heap = watch_begin(text);
    (void)rig_block_new(heap, 10); /* which calls in its turn */
    assert_true(only(heap).full);
    nth_process_reset();
    const unsigned shares[3] = {0, 30, 100};
    for (unsigned idx = 0; idx < 3; idx++) {
        struct nth_verifier_summary sums;
        (void)snprintf(text, sizeof(text), "pageheap=full:random=%u", shares[idx]);
        heap = watch_begin(text);
        for (unsigned one = 0; one < 400; one++) {
            assert_non_null(HeapAlloc(heap, 0, 10));
        }
        nth_verifier_summary(&sums);
        assert_in_range(sums.full_count, shares[idx] * 3u,
                        shares[idx] == 30 ? 160 : shares[idx] * 4u);
        nth_process_reset();
    }
}

static void past_the_budget_of_mappings_blocks_are_light(void **state)
{
    struct nth_verifier_summary sums;
    void *blocks[20];
    (void)state;
    HANDLE heap = watch_begin("pageheap=full:budget=20");
    for (unsigned idx = 0; idx < 20; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 10);
    }
    nth_verifier_summary(&sums);
    assert_int_equal(sums.full_count, 10);
    assert_int_equal(sums.light_count, 10);
    assert_int_equal(HeapFree(heap, 0, blocks[0]), TRUE);
    assert_non_null(HeapAlloc(heap, 0, 10));
    nth_verifier_summary(&sums);
    assert_int_equal(sums.full_count, 11);
    rig_flip((char *)blocks[19] + 10);
    assert_int_equal(HeapFree(heap, 0, blocks[19]), TRUE);
    watch_demand(0xF, (ULONG_PTR)heap, (ULONG_PTR)blocks[19], 10, 0);
    watch_finish(heap);
}

static void without_pages_full_blocks_are_no_memory(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("pageheap=full");
    char *block = HeapAlloc(heap, 0, 10);
    rig_pages_refuse(TRUE);
    const struct rig_outcome outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 10);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 10);
    assert_null(HeapReAlloc(heap, 0, block, 2 * PAGE));
    rig_pages_refuse(FALSE);
    assert_int_equal(HeapSize(heap, 0, block), 10);
    block = HeapReAlloc(heap, 0, block, 2 * PAGE);
    assert_non_null(block);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void limits_of_heaps_hold_for_full_blocks(void **state)
{
    (void)state;
    watch_start("pageheap=full");
    HANDLE heap = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 0x100000);
    const struct rig_outcome outcome = rig_alloc(heap, 0, 0x7F001);
    rig_demand_raised(&outcome, STATUS_BUFFER_TOO_SMALL, 0x7F001);
    assert_non_null(HeapAlloc(heap, 0, 0x7F000));
    watch_finish(heap);
}

/* Nobody catches it: the stop is another one, and then the process dies of it. */
static void tell_code(void *context, const struct nth_stop *stop)
{
    const uint8_t told = stop->parameter[0] == *(ULONG_PTR *)context ? (uint8_t)stop->code : 0xFF;
    (void)!write(STDOUT_FILENO, &told, 1);
}

static void an_unguarded_overrun_is_an_access_violation(void **state)
{
    struct nth_verifier_settings settings;
    static ULONG_PTR expected;
    uint8_t told = 0;
    int ends[2];
    int status = 0;
    (void)state;
    assert_int_equal(nth_verifier_parse("pageheap=full", &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        settings.stop = tell_code;
        settings.stop_context = &expected;
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)signal(SIGSEGV, SIG_DFL);
        if (nth_verifier_start(&settings) != STATUS_SUCCESS) {
            _exit(3);
        }
        char *block = HeapAlloc(GetProcessHeap(), 0, 64);
        expected = (ULONG_PTR)block + 64;
        wild_write(expected, 1);
        _exit(4);
    }
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(read(ends[0], &told, 1), 1);
    assert_int_equal(told, 0x2);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void call(void *context)
{
    wild_call((uintptr_t)context);
}

static void code_run_from_the_heap_is_a_stop(void **state)
{
    EXCEPTION_RECORD record;
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, 64);
    nth_poke(block, 0xC3);
    assert_int_equal(nth_guard(call, block, &record), FALSE);
    assert_int_equal(record.ExceptionInformation[0], EXCEPTION_EXECUTE_FAULT);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x650);
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)block);
    watch_forget();
    watch_finish(heap);
}

/* ---- global flags ---- */

static void tail_check_has_its_pattern_and_is_looked_at_when_freed(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("flags=htc");
    assert_int_equal(RtlGetNtGlobalFlags(), 0x10);
    char *block = HeapAlloc(heap, 0, 37);
    for (unsigned idx = 0; idx < UNIT; idx++) {
        assert_int_equal(nth_peek(block + 37 + idx), 0xAB);
    }
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 20), block);
    for (unsigned idx = 0; idx < UNIT; idx++) {
        assert_int_equal(nth_peek(block + 20 + idx), 0xAB);
    }
    assert_int_equal(HeapValidate(heap, 0, block), TRUE);
    rig_flip(block + 20);
    assert_int_equal(HeapValidate(heap, 0, block), FALSE);
    assert_int_equal(HeapSize(heap, 0, block), 20); /* only validating and freeing look */
    rig_flip(block + 20);
    assert_int_equal(HeapValidate(heap, 0, block), TRUE);
    rig_flip(block + 20);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand(0xF, (ULONG_PTR)heap, (ULONG_PTR)block, 20, 0);
    char *large = HeapAlloc(heap, 0, (SIZE_T)3000 * 1024 + 37);
    assert_int_equal(nth_peek(large + (SIZE_T)3000 * 1024 + 37), 0); /* large ones have none */
    assert_int_equal(HeapFree(heap, 0, large), TRUE);
    watch_finish(heap);
}

static void with_parameter_checks_a_damaged_tail_refuses_every_call(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("flags=htc+hpc");
    char *block = HeapAlloc(heap, 0, 37);
    rig_flip(block + 37);
    assert_true(HeapSize(heap, 0, block) == (SIZE_T)-1);
    assert_null(HeapReAlloc(heap, 0, block, 50));
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    assert_int_equal(watch_count(), 3);
    watch_forget();
    rig_flip(block + 37);
    assert_int_equal(HeapSize(heap, 0, block), 37);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void free_check_fills_what_is_freed_and_validation_looks(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("flags=hfc");
    char *block = HeapAlloc(heap, 0, 100);
    memset(block, 1, 100);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    for (unsigned idx = 16; idx < 100; idx++) {
        assert_int_equal(nth_peek(block + idx), idx % 2 == 0 ? 0xEE : 0xFE);
    }
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    rig_flip(block + 50);
    assert_int_equal(HeapValidate(heap, 0, NULL), FALSE);
    rig_flip(block + 50);
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    watch_finish(heap);
}

static void with_whole_heap_checks_every_call_looks_at_all_of_it(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("flags=htc+hvc");
    char *damaged = HeapAlloc(heap, 0, 37);
    char *block = HeapAlloc(heap, 0, 37);
    rig_flip(damaged + 37);
    assert_null(HeapAlloc(heap, 0, 1));
    assert_null(HeapReAlloc(heap, 0, block, 50));
    assert_true(HeapSize(heap, 0, block) == (SIZE_T)-1);
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    rig_flip(damaged + 37);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

static void heaps_carry_the_global_flags(void **state)
{
    static const struct {
        const char *text;
        ULONG flags;
    } rows[] = {{"flags=htc", 0x20},           {"flags=hfc", 0x40}, {"flags=hpc", 0x40000060},
                {"flags=hvc", 0x20000060},     {"flags=dhc", 0x80}, {"flags=hpa", 0x01000000},
                {"pageheap=full", 0x01000000}, {"leak", 0}};
    (void)state;
    for (unsigned row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        ULONG flags = 0;
        HANDLE heap = watch_begin(rows[row].text);
        for (unsigned idx = 0; idx < 4; idx++) {
            ((uint8_t *)&flags)[idx] = nth_peek((char *)heap + NTH_WORDS(0x70, 0x40) + idx);
        }
        assert_int_equal(flags, rows[row].flags | HEAP_GROWABLE | 0x1000u);
        for (unsigned idx = 0; idx < 4; idx++) {
            ((uint8_t *)&flags)[idx] =
                nth_peek((char *)GetProcessHeap() + NTH_WORDS(0x70, 0x40) + idx);
        }
        assert_int_equal(flags & ~0x1000u, rows[row].flags | HEAP_GROWABLE);
        watch_finish(heap);
        nth_process_reset();
        assert_int_equal(RtlGetNtGlobalFlags(), 0);
    }
}

static void the_application_verifier_flag_is_the_basic_layers(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("flags=vrf");
    assert_int_equal(nth_verifier_layers(), NTH_VERIFY_BASICS);
    watch_finish(heap);
}

static void without_merging_freed_neighbours_stay_apart(void **state)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    unsigned frees = 0;
    (void)state;
    HANDLE heap = watch_begin("flags=dhc");
    void *first = HeapAlloc(heap, 0, 100);
    void *second = HeapAlloc(heap, 0, 100);
    assert_non_null(HeapAlloc(heap, 0, 100));
    assert_int_equal(HeapFree(heap, 0, first), TRUE);
    assert_int_equal(HeapFree(heap, 0, second), TRUE);
    while (HeapWalk(heap, &entry)) {
        frees += entry.wFlags == 0;
    }
    assert_int_equal(frees, 3);
    watch_finish(heap);
}

/* ---- low resources ---- */

static uint64_t clock_ms;

static uint64_t tell_clock(void *context)
{
    (void)context;
    return clock_ms;
}

/* A bit for each of 64 allocations: refused? */
static uint64_t pattern(const char *text, HANDLE *heap)
{
    struct nth_verifier_settings settings;
    uint64_t refused = 0;
    nth_process_reset();
    assert_int_equal(nth_verifier_parse(text, &settings, NULL, 0), STATUS_SUCCESS);
    settings.now_ms = tell_clock;
    clock_ms = 1000;
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    *heap = HeapCreate(0, 0, 0);
    clock_ms += settings.lowres_quiet_ms - 1u;
    assert_non_null(HeapAlloc(*heap, 0, 1));
    clock_ms++;
    for (unsigned idx = 0; idx < 64; idx++) {
        refused |= (uint64_t)(HeapAlloc(*heap, 0, 1) == NULL) << idx;
    }
    return refused;
}

static void allocations_fail_at_the_rate_that_was_asked_for_and_repeatably(void **state)
{
    HANDLE heap = NULL;
    (void)state;
    assert_true(pattern("lowres=0:0", &heap) == 0);
    assert_true(pattern("lowres=1000000:1", &heap) == UINT64_MAX);
    const uint64_t first = pattern("lowres=500000:500", &heap);
    assert_in_range(__builtin_popcountll(first), 20, 44);
    assert_true(pattern("lowres=500000:500", &heap) == first);
    assert_true(pattern("lowres=500000:500,seed=2", &heap) != first);
    unsigned few = 0;
    for (unsigned seed = 1; seed <= 10; seed++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "lowres,seed=%u", seed);
        few += (unsigned)__builtin_popcountll(pattern(text, &heap));
    }
    assert_in_range(few, 10, 60); /* 5 % of 640 */
    assert_true(pattern("fault=10000:1", &heap) == UINT64_MAX);
    watch_demand_none(); /* the layer has no stops */
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.refused_count, 64);
}

static void an_injected_failure_is_ordinary_shortage(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("lowres=0:0");
    void *block = HeapAlloc(heap, 0, 10);
    assert_int_equal(nth_verifier_lowres(1000001, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_lowres(1000000, 0), STATUS_SUCCESS);
    struct rig_outcome outcome = rig_alloc(heap, 0, 77);
    rig_demand_value(&outcome, 0);
    outcome = rig_alloc(heap, HEAP_GENERATE_EXCEPTIONS, 77);
    rig_demand_raised(&outcome, STATUS_NO_MEMORY, 77);
    outcome = rig_realloc(heap, 0, block, 77);
    rig_demand_value(&outcome, 0);
    assert_int_equal(HeapSize(heap, 0, block), 10); /* these never fail of it */
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    HANDLE other = HeapCreate(0, 0, 0); /* not one of the kinds that were asked for */
    assert_non_null(other);
    assert_int_equal(HeapDestroy(other), TRUE);
    assert_int_equal(nth_verifier_lowres(1000000, 100000), STATUS_SUCCESS);
    assert_non_null(HeapAlloc(heap, 0, 10)); /* quiet again */
    watch_finish(heap);
    nth_process_reset();
    assert_int_equal(nth_verifier_lowres(0, 0), STATUS_UNSUCCESSFUL);
}

static void modules_are_included_and_excluded(void **state)
{
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    HANDLE heap = watch_begin("lowres=1000000:0:subject.so");
    watch_load(&subject, "subject.so");
    watch_load(&other, "other.so");
    assert_null(subject.calls->allocate(heap, 1));
    assert_non_null(other.calls->allocate(heap, 1));
    assert_non_null(HeapAlloc(heap, 0, 1));
    watch_unload(&subject);
    watch_unload(&other);
    nth_process_reset();
    heap = watch_begin("lowres=1000000:0:subject.so+other.so,exclude=other.so");
    watch_load(&subject, "subject.so");
    watch_load(&other, "other.so");
    assert_null(subject.calls->allocate(heap, 1));
    assert_non_null(other.calls->allocate(heap, 1));
    watch_unload(&subject);
    watch_unload(&other);
    watch_finish(heap);
}

static void making_a_heap_can_be_refused_too(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    assert_int_equal(nth_verifier_parse("lowres=1000000:0", &settings, NULL, 0), STATUS_SUCCESS);
    settings.lowres_kinds = NTH_LOWRES_VIRTUAL_ALLOC;
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    SetLastError(0);
    assert_null(HeapCreate(0, 0, 0));
    assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL));
    assert_non_null(HeapAlloc(GetProcessHeap(), 0, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_byte_past_a_full_block_is_a_violation_at_the_instruction),
        TEST(slack_behind_an_aligned_block_is_looked_at_when_it_is_freed),
        TEST(unaligned_blocks_end_exactly_at_the_page),
        TEST(backwards_the_page_before_the_block_is_guarded),
        TEST(a_freed_full_block_cannot_be_touched),
        TEST(fills_and_stamps_of_full_blocks_are_those_of_the_documents),
        TEST(full_is_for_sizes_modules_shares_and_callers_as_asked),
        TEST(past_the_budget_of_mappings_blocks_are_light),
        TEST(without_pages_full_blocks_are_no_memory),
        TEST(limits_of_heaps_hold_for_full_blocks),
        TEST(an_unguarded_overrun_is_an_access_violation),
        TEST(code_run_from_the_heap_is_a_stop),
        TEST(tail_check_has_its_pattern_and_is_looked_at_when_freed),
        TEST(with_parameter_checks_a_damaged_tail_refuses_every_call),
        TEST(free_check_fills_what_is_freed_and_validation_looks),
        TEST(with_whole_heap_checks_every_call_looks_at_all_of_it),
        TEST(heaps_carry_the_global_flags),
        TEST(the_application_verifier_flag_is_the_basic_layers),
        TEST(without_merging_freed_neighbours_stay_apart),
        TEST(allocations_fail_at_the_rate_that_was_asked_for_and_repeatably),
        TEST(an_injected_failure_is_ordinary_shortage),
        TEST(modules_are_included_and_excluded),
        TEST(making_a_heap_can_be_refused_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
