/* SPDX-License-Identifier: MIT
 *
 * The arena against a model of it: random calls, and after each of them the same balance, the same
 * places, the same bytes, and no page of the machine's that need not be there. */
#include "support/rig.h"

#include <string.h>
#include <sys/mman.h>

#include "sanitize.h"

#define PAGE ((size_t)NTH_PAGE_BYTES)
#define GRANULE_PAGES (NTH_GRANULE_BYTES / NTH_PAGE_BYTES)
#define GRANULES 20u
#define PAGES (GRANULES * GRANULE_PAGES)
#define LIMIT 100u /* pages: no multiple of the bits of a word */
#define KEPT 128u  /* the next one */
#define RESERVATIONS 12u
#define STEPS 4000u
#define DROP_PAGES 16u /* pieces from here on are given back to the machine rather than zeroed */

struct model {
    struct nth_arena *arena;
    const struct nth_pages *pages;
    uint8_t *low;
    size_t cursor;
    size_t committed;
    BOOLEAN used[GRANULES];
    uint8_t value[PAGES]; /* 0: not committed, else what each byte is */
    BOOLEAN read_only[PAGES];
    BOOLEAN touched[PAGES];  /* committed since the arena gave it back for good */
    BOOLEAN resident[PAGES]; /* the machine has memory there */
    struct {
        size_t first; /* page */
        size_t count; /* pages, 0: none */
    } held[RESERVATIONS];
    uint64_t random;
};

static size_t draw(struct model *model, size_t below)
{
    model->random = model->random * 6364136223846793005ull + 1442695040888963407ull;
    return (size_t)((model->random >> 33) % below);
}

static size_t run_from(const struct model *model, size_t from, size_t count)
{
    for (size_t first = from; first + count <= GRANULES; first++) {
        size_t idx = 0;
        while (idx < count && !model->used[first + idx]) {
            idx++;
        }
        if (idx == count) {
            return first;
        }
    }
    return GRANULES;
}

static void reserve(struct model *model)
{
    const size_t slot = draw(model, RESERVATIONS);
    const size_t pages = 1 + draw(model, 5 * GRANULE_PAGES);
    const size_t granules = (pages + GRANULE_PAGES - 1) / GRANULE_PAGES;
    size_t first = run_from(model, model->cursor, granules);
    void *base = model;
    if (model->held[slot].count != 0) {
        return;
    }
    first = first == GRANULES ? run_from(model, 0, granules) : first;
    const enum nth_seam_status status =
        model->pages->reserve(model->pages->self, NULL, pages * PAGE, &base);
    if (first == GRANULES) {
        assert_int_equal(status, NTH_SEAM_REFUSED);
        assert_ptr_equal(base, model);
        return;
    }
    assert_int_equal(status, NTH_SEAM_OK);
    assert_ptr_equal(base, model->low + first * NTH_GRANULE_BYTES);
    for (size_t idx = first; idx < first + granules; idx++) {
        model->used[idx] = TRUE;
    }
    model->cursor = first + granules;
    model->held[slot].first = first * GRANULE_PAGES;
    model->held[slot].count = pages;
}

/* A part of a reservation: its first page, and how many; 0 when there is no reservation. */
static size_t part(struct model *model, size_t *first)
{
    const size_t slot = draw(model, RESERVATIONS);
    const size_t all = model->held[slot].count;
    const size_t from = all == 0 ? 0 : draw(model, all);
    *first = model->held[slot].first + from;
    return all == 0 ? 0 : 1 + draw(model, all - from);
}

static void demand_bytes(const struct model *model, size_t page, uint8_t value)
{
    const uint8_t *bytes = model->low + page * PAGE;
    if (!NTH_POISONS) { /* MSan takes what a page source gives for undefined */
        nth_forget(bytes, PAGE);
    }
    assert_int_equal(bytes[0], value);
    assert_int_equal(memcmp(bytes, bytes + 1, PAGE - 1), 0);
}

static size_t touched_count(const struct model *model)
{
    size_t count = 0;
    for (size_t idx = 0; idx < PAGES; idx++) {
        count += model->touched[idx];
    }
    return count;
}

static void writable(struct model *model, size_t first, size_t count)
{
    for (size_t idx = first; idx < first + count; idx++) {
        if (model->read_only[idx]) {
            assert_int_equal(model->pages->protect(model->pages->self, NULL,
                                                   model->low + idx * PAGE, PAGE, TRUE),
                             NTH_SEAM_OK);
            model->read_only[idx] = FALSE;
        }
    }
}

static void commit(struct model *model)
{
    size_t first = 0;
    size_t fresh = 0;
    const size_t count = part(model, &first);
    for (size_t idx = first; idx < first + count; idx++) {
        fresh += model->value[idx] == 0;
    }
    if (count == 0) {
        return;
    }
    const enum nth_seam_status status = model->pages->commit(
        model->pages->self, NULL, model->low + first * PAGE, count * PAGE, draw(model, 8) == 0);
    assert_int_equal(status, model->committed + fresh > LIMIT ? NTH_SEAM_REFUSED : NTH_SEAM_OK);
    if (status != NTH_SEAM_OK) {
        return;
    }
    model->committed += fresh;
    for (size_t idx = first; idx < first + count; idx++) {
        demand_bytes(model, idx, model->value[idx]);
        writable(model, idx, 1); /* a resident arena's need not be so again by that */
        model->value[idx] = (uint8_t)(1 + draw(model, 255));
        memset(model->low + idx * PAGE, model->value[idx], PAGE);
        model->touched[idx] = TRUE;
        model->resident[idx] = TRUE;
    }
}

static void gone(struct model *model, size_t first, size_t count)
{
    if (touched_count(model) > LIMIT + LIMIT / 2 && count >= DROP_PAGES) {
        memset(model->resident + first, 0, count);
    }
    for (size_t idx = first; idx < first + count; idx++) {
        model->committed -= model->value[idx] != 0;
        model->value[idx] = 0;
    }
}

static void decommit(struct model *model)
{
    size_t first = 0;
    const size_t count = part(model, &first);
    if (count > 0) {
        writable(model, first, count);
        assert_int_equal(model->pages->decommit(model->pages->self, NULL, model->low + first * PAGE,
                                                count * PAGE),
                         NTH_SEAM_OK);
        gone(model, first, count);
    }
}

static void release(struct model *model)
{
    const size_t slot = draw(model, RESERVATIONS);
    const size_t first = model->held[slot].first;
    const size_t count = model->held[slot].count;
    if (count > 0) {
        writable(model, first, count);
        nth_forget(model->low + first * PAGE, count * PAGE); /* as core does before */
        assert_int_equal(model->pages->release(model->pages->self, NULL, model->low + first * PAGE,
                                               count * PAGE),
                         NTH_SEAM_OK);
        gone(model, first, count);
        for (size_t idx = first / GRANULE_PAGES; idx * GRANULE_PAGES < first + count; idx++) {
            model->used[idx] = FALSE;
        }
        model->held[slot].count = 0;
    }
}

static void protect(struct model *model)
{
    size_t first = 0;
    const size_t count = part(model, &first);
    for (size_t idx = first; idx < first + count; idx++) {
        if (model->value[idx] == 0) {
            return;
        }
    }
    if (count > 0) {
        assert_int_equal(model->pages->protect(model->pages->self, NULL, model->low + first * PAGE,
                                               count * PAGE, FALSE),
                         NTH_SEAM_OK);
        memset(model->read_only + first, TRUE, count);
        assert_false(rig_written(model->low + first * PAGE, 1));
        assert_false(rig_written(model->low + (first + count) * PAGE - 1, 1));
    }
}

static void reset(struct model *model)
{
    writable(model, 0, PAGES);
    const BOOLEAN much = touched_count(model) > LIMIT + LIMIT / 2;
    nth_arena_reset(model->arena);
    for (size_t idx = 0; idx < PAGES; idx++) {
        model->value[idx] = 0;
        if (much && idx >= KEPT) {
            model->touched[idx] = FALSE;
            model->resident[idx] = FALSE;
        }
    }
    memset(model->used, 0, sizeof(model->used));
    memset(model->held, 0, sizeof(model->held));
    model->committed = 0;
    model->cursor = 0;
}

/* Under ASan a resident arena's pages are poisoned for as long as they are not committed. */
static void demand_poison(const struct model *model)
{
#if NTH_POISONS
    for (size_t idx = 0; idx < PAGES; idx++) {
        const uint8_t *page = model->low + idx * PAGE;
        if (model->touched[idx]) {
            assert_int_equal(__asan_address_is_poisoned(page), model->value[idx] == 0);
            assert_int_equal(__asan_address_is_poisoned(page + PAGE - 1), model->value[idx] == 0);
        }
    }
#else
    (void)model;
#endif
}

static void demand_alike(const struct model *model)
{
    static unsigned char there[PAGES];
    const struct nth_balance balance = nth_arena_balance(model->arena);
    size_t reserved = 0;
    size_t count = 0;
    for (size_t idx = 0; idx < RESERVATIONS; idx++) {
        reserved += model->held[idx].count * PAGE;
        count += model->held[idx].count != 0;
    }
    assert_int_equal(balance.reserved_bytes, reserved);
    assert_int_equal(balance.reservation_count, count);
    assert_int_equal(balance.committed_bytes, model->committed * PAGE);
    assert_int_equal(mincore(model->low, PAGES * PAGE, there), 0);
    for (size_t idx = 0; idx < PAGES; idx++) {
        if ((there[idx] & 1u) != model->resident[idx]) {
            fail_msg("page %zu is %sresident", idx, model->resident[idx] ? "not " : "");
        }
        if (model->value[idx] != 0) {
            demand_bytes(model, idx, model->value[idx]);
        }
    }
}

static void demand_closed(const struct model *model)
{
    for (size_t idx = 0; idx < PAGES; idx++) {
        if (model->value[idx] == 0) {
            assert_false(rig_written(model->low + idx * PAGE, 1));
        }
    }
}

enum kind { PLAIN, RESIDENT, OPEN, KIND_COUNT };

static void play(enum kind kind, uint64_t seed)
{
    static struct model model;
    model = (struct model){.random = seed};
    model.arena = kind == PLAIN      ? nth_arena_create(PAGES * PAGE, LIMIT * PAGE)
                  : kind == RESIDENT ? nth_arena_create_resident(PAGES * PAGE, LIMIT * PAGE)
                                     : nth_arena_create_open(PAGES * PAGE, LIMIT * PAGE);
    assert_non_null(model.arena);
    model.pages = nth_arena_pages(model.arena);
    model.low = (uint8_t *)(uintptr_t)model.pages->low;
    assert_int_equal(madvise(model.low, PAGES * PAGE, MADV_NOHUGEPAGE), 0);
    for (unsigned step = 0; step < STEPS; step++) {
        const size_t what = draw(&model, 1000);
        if (what < 250) {
            reserve(&model);
        } else if (what < 600) {
            commit(&model);
        } else if (what < 800) {
            decommit(&model);
        } else if (what < 900) {
            protect(&model);
        } else if (what < 997) {
            release(&model);
        } else {
            reset(&model);
        }
        if (kind != PLAIN) {
            demand_poison(&model);
        }
        demand_alike(&model);
        if (step % 100 == 0 && kind == PLAIN) {
            demand_closed(&model);
        }
    }
    nth_arena_destroy(model.arena);
}

static void any_calls_leave_it_as_the_model_is(void **state)
{
    (void)state;
    for (enum kind kind = PLAIN; kind < KIND_COUNT; kind++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            play(kind, seed);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_calls_leave_it_as_the_model_is),
    };
    return cmocka_run_group_tests_name("the arena", tests, NULL, NULL);
}
