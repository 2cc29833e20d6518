/* SPDX-License-Identifier: MIT
 *
 * The page source and the lock table between core and the real ones, called as core would: what
 * goes through, what a plan refuses, and what is told of it. Runs of whole programs are elsewhere.
 */
#include "faults/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE ((size_t)4096)
#define GRANULE ((size_t)0x10000)

static struct nth_arena *arena;
static const struct nth_pages *pages;

static int setup(void **state)
{
    (void)state;
    arena = nth_arena_create(0x400000, 0x20000);
    pages = fault_pages_over(nth_arena_pages(arena));
    fault_pages_reset();
    fault_tally_forget();
    fault_calling("HeapAlloc");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fault_pages_reset();
    nth_arena_destroy(arena);
    return 0;
}

static const struct nth_site *site_of(enum nth_page_call call)
{
    for (size_t idx = 0; idx < nth_site_count(); idx++) {
        if (nth_site_at(idx)->call == call) {
            return nth_site_at(idx);
        }
    }
    return nth_site_at(0);
}

static const struct nth_site *site_named(const char *name, enum nth_page_call call)
{
    for (size_t idx = 0; idx < nth_site_count(); idx++) {
        if (strcmp(nth_site_at(idx)->name, name) == 0 && nth_site_at(idx)->call == call) {
            return nth_site_at(idx);
        }
    }
    fail_msg("no site %s", name);
    return NULL;
}

static char *reserve(size_t bytes)
{
    void *base = NULL;
    assert_int_equal(pages->reserve(pages->self, site_of(NTH_PAGE_RESERVE), bytes, &base),
                     NTH_SEAM_OK);
    return base;
}

static enum nth_seam_status commit(void *base, size_t bytes)
{
    return pages->commit(pages->self, site_of(NTH_PAGE_COMMIT), base, bytes, FALSE);
}

static enum nth_seam_status protect(void *base, size_t bytes, BOOLEAN writable)
{
    return pages->protect(pages->self, site_of(NTH_PAGE_RESERVE), base, bytes, writable);
}

static void plan(const char *text)
{
    struct fault_plan made;
    assert_true(fault_plan_parse(&made, text, strlen(text)));
    fault_plan_set(FAULT_LAYER_PROGRAM, &made);
}

static void protection_goes_through_and_is_refused_by_its_plan(void **state)
{
    (void)state;
    char *base = reserve(GRANULE);
    assert_int_equal(commit(base, PAGE), NTH_SEAM_OK);
    assert_int_equal(protect(base, PAGE, FALSE), NTH_SEAM_OK);
    assert_int_equal(protect(base, PAGE, TRUE), NTH_SEAM_OK);
    base[0] = 1;
    const uint64_t calls = fault_run_now()->calls;
    plan("from:0:protect");
    assert_int_equal(protect(base, PAGE, FALSE), NTH_SEAM_REFUSED);
    base[0] = 2; /* it was not done */
    assert_int_equal(fault_run_now()->refusals, 1);
    assert_int_equal(fault_run_now()->calls, calls + 1);
    fault_plans_end();
    assert_int_equal(protect(base, PAGE, TRUE), NTH_SEAM_OK);
    assert_int_equal(pages->release(pages->self, site_of(NTH_PAGE_RELEASE), base, GRANULE),
                     NTH_SEAM_OK);
}

/* Two pages of them go, and what is in them. */
static void two_pages_move(char *from, char *to)
{
    assert_int_equal(commit(from, 2 * PAGE), NTH_SEAM_OK);
    memset(from, 0x5A, 2 * PAGE);
    assert_int_equal(pages->remap(pages->self, site_of(NTH_PAGE_REMAP), from, 2 * PAGE, to),
                     NTH_SEAM_OK);
    assert_int_equal(to[0], 0x5A);
    assert_int_equal(to[2 * PAGE - 1], 0x5A);
}

/* The arena does not move pages: their bytes are copied, unless there is no room for both. */
static void pages_move_by_copying_where_the_real_source_does_not(void **state)
{
    (void)state;
    plan("moves");
    assert_non_null(pages->remap);
    char *from = reserve(2 * GRANULE);
    char *to = reserve(2 * GRANULE);
    two_pages_move(from, to);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 2 * PAGE);
    assert_int_equal(commit(to + 2 * PAGE, 0x1E000), NTH_SEAM_OK); /* all there is */
    assert_int_equal(pages->remap(pages->self, site_of(NTH_PAGE_REMAP), to, 2 * PAGE, from),
                     NTH_SEAM_REFUSED);
    assert_int_equal(to[0], 0x5A);
}

/* The system does: its call is made, and refused when the plan says so. */
static void pages_move_as_the_real_source_moves_them(void **state)
{
    (void)state;
    const struct nth_pages *real = nth_pages_os();
    if (real->remap == NULL) {
        skip();
    }
    pages = fault_pages_over(real);
    fault_pages_reset();
    plan("moves");
    char *from = reserve(GRANULE);
    char *to = reserve(GRANULE);
    two_pages_move(from, to);
    assert_int_equal(commit(from, PAGE), NTH_SEAM_OK);
    assert_int_equal(from[0], 0); /* where they were there are none */
    plan("from:0:remap");
    assert_int_equal(pages->remap(pages->self, site_of(NTH_PAGE_REMAP), to, PAGE, from),
                     NTH_SEAM_REFUSED);
    assert_int_equal(to[0], 0x5A);
    fault_plans_end();
    assert_int_equal(pages->release(pages->self, site_of(NTH_PAGE_RELEASE), from, GRANULE),
                     NTH_SEAM_OK);
    assert_int_equal(pages->release(pages->self, site_of(NTH_PAGE_RELEASE), to, GRANULE),
                     NTH_SEAM_OK);
}

static unsigned pauses;

static void pause_counted(void *self)
{
    (void)self;
    pauses++;
}

static void a_pause_goes_to_the_real_locks(void **state)
{
    (void)state;
    struct nth_locks real = *nth_locks_os();
    real.pause = pause_counted;
    const struct nth_locks *locks = fault_locks_over(&real);
    locks->pause(locks->self);
    locks->pause(locks->self);
    assert_int_equal(pauses, 2);
    (void)fault_locks_over(nth_locks_os());
}

static void a_call_of_the_last_run_has_its_path_and_others_have_none(void **state)
{
    (void)state;
    char *base = reserve(GRANULE);
    assert_int_equal(commit(base, PAGE), NTH_SEAM_OK);
    assert_int_equal(fault_path_of_call(1), FAULT_PATH_NONE); /* of this run nothing is told yet */
    fault_pages_reset();
    assert_int_equal(fault_run_last()->calls, 2);
    const uint16_t first = fault_path_of_call(1);
    const uint16_t second = fault_path_of_call(2);
    assert_string_equal(fault_path_at(first)->call, "HeapAlloc");
    assert_string_equal(fault_site_call(fault_path_at(first)->site), "reserve");
    assert_string_equal(fault_site_call(fault_path_at(second)->site), "commit");
    assert_int_equal(fault_path_of_call(0), FAULT_PATH_NONE);
    assert_int_equal(fault_path_of_call(3), FAULT_PATH_NONE);
    assert_int_equal(fault_path_of_call(UINT16_MAX + 1u), FAULT_PATH_NONE);
    assert_null(fault_path_at(UINT16_MAX));
    assert_null(fault_site_name(fault_site_count()));
    assert_null(fault_site_call(fault_site_count()));
}

/* The same name at another place is the same call; past what there is room for calls go on, counted
 * for the last one that had a name. */
static void calls_are_known_by_their_names(void **state)
{
    static char names[200][8];
    char again[] = "HeapAlloc";
    (void)state;
    fault_calling(again);
    (void)reserve(GRANULE);
    fault_pages_reset();
    assert_string_equal(fault_path_at(fault_path_of_call(1))->call, "HeapAlloc");
    const char *last = "HeapAlloc";
    for (unsigned idx = 0; idx < 200; idx++) {
        names[idx][0] = (char)('a' + idx / 20);
        names[idx][1] = (char)('a' + idx % 20);
        fault_calling(names[idx]);
        (void)reserve(GRANULE);
        fault_pages_reset();
        const char *told = fault_path_at(fault_path_of_call(1))->call;
        assert_true(strcmp(told, names[idx]) == 0 || strcmp(told, last) == 0);
        last = told;
        nth_arena_destroy(arena);
        arena = nth_arena_create(0x400000, 0x20000);
        pages = fault_pages_over(nth_arena_pages(arena));
    }
    assert_string_not_equal(last, names[199]);
    fault_calling("HeapAlloc");
}

/* So many calls of the page source that their numbers do not fit are counted all the same. */
static void calls_without_number_are_counted(void **state)
{
    enum { COUNT = UINT16_MAX + 5 };
    (void)state;
    char *base = reserve(GRANULE);
    fault_pages_reset();
    for (unsigned idx = 0; idx < COUNT; idx++) {
        (void)protect(base, PAGE, TRUE);
    }
    assert_int_equal(fault_run_now()->calls, COUNT);
    fault_pages_reset();
    assert_int_equal(fault_run_last()->calls, COUNT);
    assert_int_not_equal(fault_path_of_call(UINT16_MAX), FAULT_PATH_NONE);
    assert_int_equal(fault_path_of_call(UINT16_MAX), fault_path_of_call(1));
    assert_int_equal(fault_path_of_call(UINT16_MAX + 1u), FAULT_PATH_NONE);
    assert_int_equal(fault_path_of_call(COUNT), FAULT_PATH_NONE);
}

static void a_plan_that_is_none_refuses_nothing(void **state)
{
    const struct fault_plan odd = {.kind = FAULT_PLAN_KIND_COUNT, .n = 0, .calls = 0xFF};
    (void)state;
    plan("from:0:all");
    fault_plan_set(FAULT_LAYER_PROGRAM, &odd);
    char *base = reserve(GRANULE);
    assert_int_equal(commit(base, PAGE), NTH_SEAM_OK);
    assert_int_equal(fault_run_now()->refusals, 0);
    plan("from:0:all");
    fault_plan_set(FAULT_LAYER_PROGRAM, NULL);
    assert_int_equal(commit(base + PAGE, PAGE), NTH_SEAM_OK);
}

/* Where a lie about the place wants a region of a heap and there is none, it is another wrong one.
 */
static void a_wrong_place_is_wrong_without_a_region_too(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct fault_plan lie = {.kind = FAULT_PLAN_ELSEWHERE, .n = 1, .count = (uint8_t)how};
        lie.calls = 0xFF;
        fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
        void *place = NULL;
        assert_int_equal(pages->reserve(pages->self, site_of(NTH_PAGE_RESERVE), GRANULE, &place),
                         NTH_SEAM_OK);
        const uintptr_t low = pages->low;
        const bool inside = (uintptr_t)place - low < pages->span_bytes;
        assert_true(!inside || (uintptr_t)place % GRANULE != 0);
        assert_int_equal(nth_arena_balance(arena).reserved_bytes, 0);
        fault_pages_reset();
    }
}

/* Upon a region of a heap's: one that core has made something of, and never where it asks for a
 * leaf of the map, which it does before the map knows of the region. */
static void a_wrong_place_is_upon_what_a_heap_has(void **state)
{
    const struct fault_plan lie = {.kind = FAULT_PLAN_ELSEWHERE, .n = 1, .count = 2};
    const struct nth_site *segment = site_named("segment", NTH_PAGE_RESERVE);
    void *region = NULL;
    void *place = NULL;
    (void)state;
    assert_int_equal(pages->reserve(pages->self, segment, GRANULE, &region), NTH_SEAM_OK);
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    assert_int_equal(pages->reserve(pages->self, segment, GRANULE, &place), NTH_SEAM_OK);
    assert_ptr_not_equal(place, region);
    assert_int_equal(pages->commit(pages->self, site_named("segment.descriptor", NTH_PAGE_COMMIT),
                                   region, PAGE, FALSE),
                     NTH_SEAM_OK);
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    assert_int_equal(
        pages->reserve(pages->self, site_named("map.leaf", NTH_PAGE_RESERVE), GRANULE, &place),
        NTH_SEAM_OK);
    assert_ptr_not_equal(place, region);
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    assert_int_equal(pages->reserve(pages->self, segment, GRANULE, &place), NTH_SEAM_OK);
    assert_ptr_equal(place, region);
}

/* A lie is of one kind of call only, and of whichever layer has it. */
static void a_lie_is_told_where_it_is_asked_for(void **state)
{
    struct fault_plan lie = {.kind = FAULT_PLAN_ELSEWHERE, .n = 1, .calls = 1u << NTH_PAGE_COMMIT};
    void *place = NULL;
    (void)state;
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    place = reserve(GRANULE);
    assert_int_equal((uintptr_t)place % GRANULE, 0);
    assert_int_equal(fault_run_now()->lies, 0);
    fault_plan_set(FAULT_LAYER_PROGRAM, NULL);
    lie.calls = 0;
    lie.count = 1;
    fault_plan_set(FAULT_LAYER_OVER, &lie);
    assert_int_equal(pages->reserve(pages->self, site_of(NTH_PAGE_RESERVE), GRANULE, &place),
                     NTH_SEAM_OK);
    assert_int_equal((uintptr_t)place % GRANULE, PAGE);
    assert_int_equal(fault_run_now()->lies, 1);
}

/* Less than was asked for: a page of each; of reservations once there is a region. */
static void less_is_one_page(void **state)
{
    struct fault_plan lie = {.kind = FAULT_PLAN_LESS, .n = 1};
    void *region = NULL;
    (void)state;
    lie.calls = 1u << NTH_PAGE_RESERVE;
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    assert_int_equal(
        pages->reserve(pages->self, site_named("segment", NTH_PAGE_RESERVE), 2 * GRANULE, &region),
        NTH_SEAM_OK);
    assert_int_equal(nth_arena_balance(arena).reserved_bytes, 2 * GRANULE);
    assert_int_equal(pages->commit(pages->self, site_named("segment.descriptor", NTH_PAGE_COMMIT),
                                   region, PAGE, FALSE),
                     NTH_SEAM_OK);
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    const char *cut = reserve(2 * GRANULE);
    assert_int_equal(nth_arena_balance(arena).reserved_bytes, 2 * GRANULE + PAGE);
    assert_int_equal(fault_run_now()->refusals, 0);
    fault_plan_set(FAULT_LAYER_PROGRAM, NULL);
    assert_ptr_equal(reserve(GRANULE), cut + GRANULE); /* upon what a heap has: a shortage */
    assert_int_equal(fault_run_now()->refusals, 1);
    (void)reserve(GRANULE);
    assert_int_equal(fault_run_now()->refusals, 1);
    lie.calls = 1u << NTH_PAGE_COMMIT;
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    char *base = reserve(2 * GRANULE);
    assert_int_equal(commit(base, 4 * PAGE), NTH_SEAM_OK);
    assert_int_equal(nth_arena_balance(arena).committed_bytes, 2 * PAGE);
    assert_int_equal(fault_run_now()->lies, 2);
}

/* Of what was cut off nobody gets what holds core's own tables (D83). */
static void the_tables_of_a_short_region_are_not_given(void **state)
{
    struct fault_plan lie = {.kind = FAULT_PLAN_LESS, .n = 1, .calls = 1u << NTH_PAGE_RESERVE};
    const struct nth_site *descriptor = site_named("segment.descriptor", NTH_PAGE_COMMIT);
    const struct nth_site *segment = site_named("segment", NTH_PAGE_RESERVE);
    void *place = NULL;
    (void)state;
    assert_int_equal(pages->reserve(pages->self, segment, GRANULE, &place), NTH_SEAM_OK);
    assert_int_equal(pages->commit(pages->self, descriptor, place, PAGE, FALSE), NTH_SEAM_OK);
    fault_plan_set(FAULT_LAYER_PROGRAM, &lie);
    char *cut = reserve(4 * GRANULE);
    fault_plan_set(FAULT_LAYER_PROGRAM, NULL);
    assert_int_equal(pages->commit(pages->self, descriptor, cut + 2 * GRANULE + PAGE, PAGE, FALSE),
                     NTH_SEAM_OK);
    assert_ptr_equal(reserve(GRANULE), cut + GRANULE);
    assert_int_equal(fault_run_now()->refusals, 1);
    for (unsigned idx = 2; idx < 4; idx++) {
        assert_int_equal(pages->reserve(pages->self, segment, GRANULE, &place), NTH_SEAM_REFUSED);
        assert_int_equal(fault_run_now()->refusals, idx);
    }
    assert_ptr_equal(reserve(GRANULE), cut + 4 * GRANULE);
    assert_int_equal(fault_run_now()->refusals, 3);
}

/* Rubbish in new pages, told of or in secret. */
static void new_pages_have_rubbish_in_them(void **state)
{
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        const struct fault_plan dirty = {.kind = row == 0 ? FAULT_PLAN_DIRTY : FAULT_PLAN_SECRET};
        fault_plan_set(FAULT_LAYER_PROGRAM, &dirty);
        assert_int_equal(pages->zeroed, row == 1);
        assert_int_equal(fault_run_now()->lies, row);
        const char *base = reserve(GRANULE);
        assert_int_equal(commit((void *)(uintptr_t)base, PAGE), NTH_SEAM_OK);
        assert_true(base[0] != 0 && base[PAGE - 1] != 0);
        fault_pages_reset();
    }
}

/* ---- What an arena takes of the machine ---- */

#define SPAN ((size_t)0x1000000)
#define LIMIT ((size_t)0x100000)

static size_t machine_bytes(const struct nth_pages *of)
{
    static unsigned char there[SPAN / PAGE];
    size_t bytes = 0;
    memset(there, 0, sizeof(there));
    assert_int_equal(mincore((void *)of->low, SPAN, there), 0);
    for (size_t idx = 0; idx < sizeof(there); idx++) {
        bytes += (there[idx] & 1u) * PAGE;
    }
    return bytes;
}

/* Half of the limit at a time, in ever other places, and written to. */
static void touch(const struct nth_pages *of, bool keep)
{
    void *base = NULL;
    assert_int_equal(of->reserve(of->self, NULL, LIMIT / 2, &base), NTH_SEAM_OK);
    assert_int_equal(of->commit(of->self, NULL, base, LIMIT / 2, FALSE), NTH_SEAM_OK);
    for (size_t at = 0; at < LIMIT / 2; at += PAGE) {
        assert_int_equal(*((char *)base + at), 0);
    }
    memset(base, 0xA5, LIMIT / 2);
    if (!keep) {
        assert_int_equal(of->release(of->self, NULL, base, LIMIT / 2), NTH_SEAM_OK);
    }
}

static void an_arena_takes_its_limit_and_little_more(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct nth_arena *own = kind == 0   ? nth_arena_create(SPAN, LIMIT)
                                : kind == 1 ? nth_arena_create_resident(SPAN, LIMIT)
                                            : nth_arena_create_open(SPAN, LIMIT);
        const struct nth_pages *of = nth_arena_pages(own);
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned piece = 0; piece < 20; piece++) {
                touch(of, false);
                assert_in_range(machine_bytes(of), 0, LIMIT * 2);
            }
            touch(of, true);
            nth_arena_reset(own);
            assert_in_range(machine_bytes(of), PAGE, LIMIT); /* the low part is kept */
        }
        touch(of, true);
        touch(of, true);
        nth_arena_reset(own);
        assert_int_equal(machine_bytes(of), LIMIT); /* all that a usual run touches is kept */
        nth_arena_destroy(own);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(protection_goes_through_and_is_refused_by_its_plan),
        TEST(pages_move_by_copying_where_the_real_source_does_not),
        TEST(pages_move_as_the_real_source_moves_them),
        TEST(a_pause_goes_to_the_real_locks),
        TEST(a_call_of_the_last_run_has_its_path_and_others_have_none),
        TEST(calls_are_known_by_their_names),
        TEST(calls_without_number_are_counted),
        TEST(a_plan_that_is_none_refuses_nothing),
        TEST(a_wrong_place_is_wrong_without_a_region_too),
        TEST(a_wrong_place_is_upon_what_a_heap_has),
        TEST(a_lie_is_told_where_it_is_asked_for),
        TEST(less_is_one_page),
        TEST(the_tables_of_a_short_region_are_not_given),
        TEST(new_pages_have_rubbish_in_them),
        cmocka_unit_test(an_arena_takes_its_limit_and_little_more),
    };
    return cmocka_run_group_tests_name("faulty pages", tests, NULL, NULL);
}
