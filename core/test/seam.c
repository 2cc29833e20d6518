/* SPDX-License-Identifier: MIT
 *
 * What the seam promises: everything given back at a reset, the same run at any address, a complete
 * list of page calls, keys from the seed or from the system, fields. Locks and hooks are in
 * hooks.c, running out of pages in shortage.c. */
#include "support/leave.h"
#include "support/rig.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAN_BYTES ((size_t)0x4000000)
#define COMMIT_BYTES ((size_t)0x1000000)
#define STEP_COUNT 160u
#define LARGE_BYTES ((SIZE_T)0x90000)

static void demand_balance_zero(void)
{
    const struct nth_balance balance = nth_balance_now();
    assert_int_equal(balance.reserved_bytes, 0);
    assert_int_equal(balance.committed_bytes, 0);
    assert_int_equal(balance.reservation_count, 0);
}

/* Small blocks of several sizes, enough of one for the front end, large ones, further segments; a
 * third of them freed. Tells each address, and at the end the heap. */
static HANDLE fixed_program(void (*tell)(const void *address))
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    PVOID blocks[STEP_COUNT];
    assert_non_null(GetProcessHeap());
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    assert_non_null(heap);
    for (unsigned idx = 0; idx < STEP_COUNT; idx++) {
        const SIZE_T bytes = idx % 40 == 39 ? LARGE_BYTES
                             : idx % 8 == 7 ? 9000 + idx
                             : idx % 2 == 0 ? 40
                                            : 16 + idx;
        blocks[idx] = HeapAlloc(idx % 5 == 0 ? GetProcessHeap() : heap, HEAP_ZERO_MEMORY, bytes);
        assert_non_null(blocks[idx]);
        tell(blocks[idx]);
        if (idx % 3 == 2) {
            assert_true(HeapFree((idx - 1) % 5 == 0 ? GetProcessHeap() : heap, 0, blocks[idx - 1]));
        }
    }
    tell(heap);
    return heap;
}

static void tell_nobody(const void *address)
{
    (void)address;
}

/* ---- reset ---- */

static void after_a_reset_everything_is_given_back_the_process_heap_too(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    const struct nth_pages *sources[] = {seam.pages, nth_pages_os()};
    for (size_t idx = 0; idx < 2; idx++) {
        seam.pages = sources[idx];
        nth_seam_set(&seam);
        demand_balance_zero();
        fixed_program(tell_nobody);
        assert_true(nth_balance_now().committed_bytes > LARGE_BYTES);
        nth_process_reset();
        demand_balance_zero();
        assert_int_equal(RtlGetProcessHeaps(0, NULL), 1); /* made anew */
    }
}

static void setting_the_seam_destroys_all_heaps(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    HANDLE heap = fixed_program(tell_nobody);
    nth_seam_set(&seam);
    demand_balance_zero();
    assert_false(HeapValidate(heap, 0, NULL));
    rig_report_demand(NTH_CORRUPT_BAD_HANDLE, heap, NULL);
}

static void without_a_seam_the_defaults_hold(void **state)
{
    (void)state;
    nth_seam_set(NULL);
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    assert_non_null(HeapAlloc(heap, 0, 100));
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapDestroy(heap));
}

/* ---- the same run at any address ---- */

static uintptr_t told[2 * STEP_COUNT];
static unsigned told_count;
static uintptr_t told_base;

static void tell_offset(const void *address)
{
    assert_true(told_count < sizeof(told) / sizeof(told[0]));
    told[told_count++] = (uintptr_t)address - told_base;
}

static uint64_t sum;

static void sum_byte(uint8_t byte)
{
    sum = (sum ^ byte) * 0x100000001B3u;
}

/* All committed bytes of the heap's regions: blocks, headers, links, what was freed. */
static void sum_inband(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    while (HeapWalk(heap, &entry)) {
        const uint8_t *data = entry.lpData;
        if ((entry.wFlags & (PROCESS_HEAP_REGION | PROCESS_HEAP_UNCOMMITTED_RANGE)) != 0) {
            continue;
        }
        const BOOLEAN busy = (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        for (const uint8_t *at = data - (busy ? 8 : 24); at < data + entry.cbData; at++) {
            sum_byte(nth_peek(at));
        }
    }
}

struct run {
    uintptr_t offsets[2 * STEP_COUNT];
    unsigned count;
    uint64_t inband;
};

/* The program on an arena of its own. */
static void run_on(struct nth_arena *arena, uint64_t seed, struct run *run)
{
    struct nth_seam seam = rig_seam();
    seam.pages = nth_arena_pages(arena);
    seam.seed = seed;
    nth_seam_set(&seam);
    nth_arena_reset(arena);
    told_base = seam.pages->low;
    told_count = 0;
    sum = 0xCBF29CE484222325u;
    HANDLE heap = fixed_program(tell_offset);
    sum_inband(heap);
    sum_inband(GetProcessHeap());
    memcpy(run->offsets, told, sizeof(told));
    run->count = told_count;
    run->inband = sum;
}

static struct run runs[3];

static void one_program_gives_the_same_offsets_and_bytes_in_any_arena(void **state)
{
    (void)state;
    struct nth_arena *first = nth_arena_create(SPAN_BYTES, COMMIT_BYTES);
    struct nth_arena *second = nth_arena_create(SPAN_BYTES, COMMIT_BYTES);
    assert_non_null(first);
    assert_non_null(second);
    assert_true(nth_arena_pages(first)->low != nth_arena_pages(second)->low);
    run_on(first, 7, &runs[0]);
    run_on(second, 7, &runs[1]);
    run_on(second, 8, &runs[2]);
    for (unsigned idx = 0; idx < 2; idx++) {
        assert_int_equal(runs[idx + 1].count, runs[0].count);
        assert_memory_equal(runs[idx + 1].offsets, runs[0].offsets,
                            runs[0].count * sizeof(uintptr_t));
    }
    assert_true(runs[1].inband == runs[0].inband);
    assert_true(runs[2].inband != runs[0].inband); /* the seed decides the bytes */
    nth_process_reset();
    nth_seam_set(NULL);
    nth_arena_destroy(first);
    nth_arena_destroy(second);
}

static BOOLEAN sum_field(void *context, const struct nth_field *field)
{
    *(unsigned *)context += 1;
    for (size_t idx = 0; idx < field->bytes; idx++) {
        sum_byte(nth_peek((const uint8_t *)field->address + idx));
    }
    return TRUE;
}

/* Every metadata byte, out of band with it. */
static void two_runs_after_a_reset_leave_the_same_metadata(void **state)
{
    uint64_t sums[2];
    unsigned counts[2] = {0, 0};
    for (unsigned idx = 0; idx < 2; idx++) {
        (void)rig_setup(state);
        sum = 0;
        HANDLE heap = fixed_program(tell_nobody);
        assert_true(nth_fields(heap, sum_field, &counts[idx]) > 0);
        assert_true(nth_fields(GetProcessHeap(), sum_field, &counts[idx]) > 0);
        sums[idx] = sum;
    }
    assert_int_equal(counts[0], counts[1]);
    assert_true(sums[0] == sums[1]);
}

static void an_arena_refuses_beyond_its_limits(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    struct nth_arena *arena = nth_arena_create(0x400000, 0x100000);
    seam.pages = nth_arena_pages(arena);
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    assert_null(HeapAlloc(heap, 0, 0x180000)); /* more than may be committed */
    assert_null(HeapAlloc(heap, 0, 0x800000)); /* more than there is */
    assert_non_null(HeapAlloc(heap, 0, 0x80000));
    assert_true(HeapValidate(heap, 0, NULL));
    nth_seam_set(NULL);
    nth_arena_destroy(arena);
    assert_null(nth_arena_create((SIZE_MAX & ~(size_t)0xFFFF) - 0x10000, COMMIT_BYTES));
}

/* ---- keys ---- */

/* A header as the first block of a heap has it, from a child process. */
static uint64_t header_of_child(BOOLEAN seeded, uint64_t seed)
{
    int ends[2];
    int how = 0;
    uint64_t word = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct nth_seam seam = rig_seam();
        seam.seeded = seeded;
        seam.seed = seed;
        nth_seam_set(&seam);
        HANDLE heap = HeapCreate(0, 0, 0);
        const uint8_t *block = HeapAlloc(heap, 0, 100);
        for (unsigned idx = 0; idx < 8; idx++) {
            word = word << 8 | nth_peek(block - 8 + idx);
        }
        leave(write(ends[1], &word, sizeof(word)) == (ssize_t)sizeof(word) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    assert_int_equal(read(ends[0], &word, sizeof(word)), sizeof(word));
    (void)close(ends[0]);
    (void)close(ends[1]);
    return word;
}

static void processes_without_a_seed_have_keys_of_their_own(void **state)
{
    (void)state;
    const uint64_t first = header_of_child(FALSE, 1);
    const uint64_t second = header_of_child(FALSE, 1);
    assert_true(first != second);
    assert_true(header_of_child(TRUE, 1) == header_of_child(TRUE, 1));
    assert_true(header_of_child(TRUE, 1) != header_of_child(TRUE, 2));
}

static void heaps_of_one_process_have_keys_of_their_own(void **state)
{
    (void)state;
    const uint8_t *first = HeapAlloc(HeapCreate(0, 0, 0), 0, 100);
    const uint8_t *second = HeapAlloc(HeapCreate(0, 0, 0), 0, 100);
    unsigned same = 0;
    for (unsigned idx = 1; idx <= 8; idx++) {
        same += nth_peek(first - idx) == nth_peek(second - idx);
    }
    assert_true(same < 4);
}

static uint64_t header_of_heap_in(void *memory, size_t bytes)
{
    uint64_t word = 0;
    memset(memory, 0, bytes);
    HANDLE heap = RtlCreateHeap(0, memory, bytes, bytes, NULL, NULL);
    assert_non_null(heap);
    const uint8_t *block = HeapAlloc(heap, 0, 100);
    assert_non_null(block);
    for (unsigned idx = 1; idx <= 8; idx++) {
        word = word << 8 | nth_peek(block - idx);
    }
    assert_true(HeapDestroy(heap));
    return word;
}

/* What was learned of one is worth nothing for the next, in the same place. */
static void a_heap_in_anothers_place_has_other_keys(void **state)
{
    static _Alignas(0x10000) char memory[0x20000];
    (void)state;
    const uint64_t first = header_of_heap_in(memory, sizeof(memory));
    const uint64_t second = header_of_heap_in(memory, sizeof(memory));
    assert_true(first != second);
}

/* ---- page-source call sites ---- */

static void every_page_call_site_is_listed_once(void **state)
{
    (void)state;
    unsigned kinds[NTH_PAGE_REMAP + 1] = {0};
    const size_t count = nth_site_count();
    assert_true(count > 10);
    assert_null(nth_site_at(count));
    assert_null(nth_site_at(SIZE_MAX));
    for (size_t idx = 0; idx < count; idx++) {
        const struct nth_site *site = nth_site_at(idx);
        assert_non_null(site);
        assert_true(site->name[0] != '\0');
        assert_true(site->line > 0);
        assert_true(site->call <= NTH_PAGE_REMAP);
        kinds[site->call]++;
        for (size_t other = 0; other < idx; other++) {
            const struct nth_site *before = nth_site_at(other);
            assert_true(site->call != before->call || strcmp(site->name, before->name) != 0);
            assert_true(site->line != before->line || strcmp(site->file, before->file) != 0);
        }
    }
    assert_true(kinds[NTH_PAGE_RESERVE] > 0);
    assert_true(kinds[NTH_PAGE_COMMIT] > 0);
    assert_true(kinds[NTH_PAGE_DECOMMIT] > 0);
    assert_true(kinds[NTH_PAGE_RELEASE] > 0);
    assert_true(kinds[NTH_PAGE_REMAP] > 0);
}

/* ---- fields ---- */

struct span {
    uintptr_t first;
    uintptr_t end;
};

static struct span spans[4096];
static size_t span_count;

static BOOLEAN add_span(void *context, const struct nth_field *field)
{
    const uintptr_t first = (uintptr_t)field->address;
    (void)context;
    assert_true(field->name[0] != '\0');
    assert_true(field->kind <= NTH_FIELD_SPARE);
    assert_true(field->bytes > 0);
    assert_true(span_count < sizeof(spans) / sizeof(spans[0]));
    for (size_t idx = 0; idx < span_count; idx++) {
        assert_true(first >= spans[idx].end || first + field->bytes <= spans[idx].first);
    }
    spans[span_count++] = (struct span){.first = first, .end = first + field->bytes};
    return TRUE;
}

static BOOLEAN stop_at_third(void *context, const struct nth_field *field)
{
    (void)field;
    return ++*(unsigned *)context < 3;
}

static void fields_do_not_overlap_and_visiting_can_stop(void **state)
{
    (void)state;
    unsigned visited = 0;
    HANDLE heap = fixed_program(tell_nobody);
    span_count = 0;
    const size_t told_of = nth_fields(heap, add_span, NULL);
    assert_int_equal(told_of, span_count);
    assert_true(span_count > 100);
    assert_int_equal(nth_fields(heap, stop_at_third, &visited), 3);
    assert_int_equal(visited, 3);
    assert_int_equal(nth_fields(NULL, add_span, NULL), 0);
    assert_int_equal(nth_fields(&visited, add_span, NULL), 0);
}

/* ---- reasons ---- */

static void reasons_out_of_range_are_unknown(void **state)
{
    (void)state;
    assert_string_equal(nth_reason_name(NTH_REASON_COUNT), "UNKNOWN");
    assert_string_equal(nth_reason_text(NTH_REASON_COUNT), "UNKNOWN");
    for (unsigned idx = 0; idx < NTH_REASON_COUNT; idx++) {
        assert_true(strlen(nth_reason_text((enum nth_reason)idx)) > 10);
    }
}

/* ---- a base used again ---- */

/* A new heap shuns the base of one that was destroyed, but not at the price of failing. */
static void the_base_of_a_gone_heap_is_used_again_where_there_is_no_other(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    struct nth_arena *arena = nth_arena_create(SPAN_BYTES, COMMIT_BYTES);
    assert_non_null(arena);
    seam.pages = nth_arena_pages(arena);
    nth_seam_set(&seam);
    HANDLE first = HeapCreate(0, 0, 0);
    assert_non_null(first);
    assert_true(HeapDestroy(first));
    HANDLE last = HeapCreate(0, 0, 0);
    assert_ptr_not_equal(last, first);
    for (HANDLE heap = last; heap != NULL; heap = HeapCreate(0, 0, 0)) {
        last = heap;
    }
    assert_true(HeapDestroy(last));
    HANDLE again = HeapCreate(0, 0, 0);
    assert_ptr_equal(again, last);
    assert_non_null(HeapAlloc(again, 0, 100));
    seam = rig_seam();
    nth_seam_set(&seam);
    demand_balance_zero();
    nth_arena_destroy(arena);
}

/* ---- segments ---- */

/* Further segments go with their last block, but for as much as a heap may keep; that when it is
 * compacted. */
static void the_segments_of_a_heap_go_with_their_last_block(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    PVOID blocks[8];
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    assert_non_null(heap);
    const size_t before = nth_balance_now().reservation_count;
    for (unsigned idx = 0; idx < 8; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40000);
        assert_non_null(blocks[idx]);
    }
    assert_true(nth_balance_now().reservation_count >= before + 4);
    for (unsigned idx = 0; idx < 8; idx++) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    assert_true(nth_balance_now().reservation_count < before + 4);
    (void)HeapCompact(heap, 0);
    assert_int_equal(nth_balance_now().reservation_count, before);
}

/* ---- the system's page source ---- */

static bool is_mapped(void *page)
{
    unsigned char resident;
    return mincore(page, NTH_PAGE_BYTES, &resident) == 0;
}

/* Where the next lower address is taken it maps more than it needs, to have it aligned. */
static void what_is_mapped_for_alignment_is_given_back(void **state)
{
    (void)state;
    const struct nth_pages *pages = nth_pages_os();
    const struct nth_site *site = nth_site_at(0);
    void *first = NULL;
    void *second = NULL;
    assert_int_equal(pages->reserve(pages->self, site, COMMIT_BYTES, &first), NTH_SEAM_OK);
    char *below = (char *)first - NTH_GRANULE_BYTES;
    void *fence = mmap(below, NTH_GRANULE_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_int_equal(pages->reserve(pages->self, site, COMMIT_BYTES, &second), NTH_SEAM_OK);
    assert_int_equal((uintptr_t)second % NTH_GRANULE_BYTES, 0);
    assert_true(is_mapped(second));
    assert_false(is_mapped((char *)second + COMMIT_BYTES));
    assert_false(is_mapped((char *)second - NTH_PAGE_BYTES));
    assert_int_equal(pages->release(pages->self, site, second, COMMIT_BYTES), NTH_SEAM_OK);
    assert_int_equal(pages->release(pages->self, site, first, COMMIT_BYTES), NTH_SEAM_OK);
    if (fence != MAP_FAILED) {
        assert_int_equal(munmap(fence, NTH_GRANULE_BYTES), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_a_reset_everything_is_given_back_the_process_heap_too),
        TEST(setting_the_seam_destroys_all_heaps),
        TEST(without_a_seam_the_defaults_hold),
        TEST(one_program_gives_the_same_offsets_and_bytes_in_any_arena),
        TEST(two_runs_after_a_reset_leave_the_same_metadata),
        TEST(an_arena_refuses_beyond_its_limits),
        TEST(processes_without_a_seed_have_keys_of_their_own),
        TEST(heaps_of_one_process_have_keys_of_their_own),
        TEST(a_heap_in_anothers_place_has_other_keys),
        TEST(every_page_call_site_is_listed_once),
        TEST(fields_do_not_overlap_and_visiting_can_stop),
        TEST(reasons_out_of_range_are_unknown),
        TEST(the_base_of_a_gone_heap_is_used_again_where_there_is_no_other),
        TEST(the_segments_of_a_heap_go_with_their_last_block),
        TEST(what_is_mapped_for_alignment_is_given_back),
    };
    return cmocka_run_group_tests_name("seam", tests, NULL, NULL);
}
