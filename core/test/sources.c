/* SPDX-License-Identifier: MIT
 *
 * The page sources and the lock table as tables of their own: what each call promises, and that
 * what cannot be is refused. */
#include "rig.h"

#include <string.h>

#define BYTES (4u * NTH_GRANULE_BYTES)
#define TOO_MANY ((SIZE_MAX / NTH_GRANULE_BYTES - 16u) * NTH_GRANULE_BYTES)
#define LOCK_COUNT 600u /* more than a table of the first ones and a page hold */

static void demand_source_works(const struct nth_pages *pages)
{
    void *self = pages->self;
    void *base = NULL;
    void *other = NULL;
    assert_int_equal(pages->reserve(self, NULL, BYTES, &base), NTH_SEAM_OK);
    assert_int_equal(pages->reserve(self, NULL, BYTES, &other), NTH_SEAM_OK);
    assert_int_equal((uintptr_t)base % NTH_GRANULE_BYTES, 0);
    assert_int_equal((uintptr_t)other % NTH_GRANULE_BYTES, 0);
    char *bytes = base;
    assert_int_equal(pages->commit(self, NULL, bytes, 2u * NTH_PAGE_BYTES, FALSE), NTH_SEAM_OK);
    for (size_t idx = 0; pages->zeroed && idx < 2u * NTH_PAGE_BYTES; idx++) {
        assert_int_equal(bytes[idx], 0);
    }
    memset(bytes, 7, 2u * NTH_PAGE_BYTES);
    assert_int_equal(pages->protect(self, NULL, bytes, NTH_PAGE_BYTES, FALSE), NTH_SEAM_OK);
    assert_false(rig_written(bytes, 1));
    assert_int_equal(bytes[0], 7);
    assert_int_equal(pages->protect(self, NULL, bytes, NTH_PAGE_BYTES, TRUE), NTH_SEAM_OK);
    assert_true(rig_written(bytes, 1));
    if (pages->remap != NULL) {
        assert_int_equal(pages->remap(self, NULL, bytes, NTH_PAGE_BYTES, other), NTH_SEAM_OK);
        assert_int_equal(((char *)other)[1], 7);
        assert_int_equal(pages->decommit(self, NULL, other, NTH_PAGE_BYTES), NTH_SEAM_OK);
    }
    assert_int_equal(bytes[NTH_PAGE_BYTES], 7);
    assert_int_equal(pages->decommit(self, NULL, bytes + NTH_PAGE_BYTES, NTH_PAGE_BYTES),
                     NTH_SEAM_OK);
    assert_int_equal(pages->release(self, NULL, base, BYTES), NTH_SEAM_OK);
    assert_int_equal(pages->release(self, NULL, other, BYTES), NTH_SEAM_OK);
}

static void a_page_source_does_what_its_table_says(void **state)
{
    (void)state;
    demand_source_works(nth_pages_os());
    struct nth_arena *arena = nth_arena_create(16u * BYTES, 4u * BYTES);
    assert_non_null(arena);
    demand_source_works(nth_arena_pages(arena));
    nth_arena_destroy(arena);
}

static void the_systems_pages_are_refused_where_there_are_none(void **state)
{
    (void)state;
    const struct nth_pages *pages = nth_pages_os();
    void *base = &base;
    assert_int_equal(pages->reserve(pages->self, NULL, TOO_MANY, &base), NTH_SEAM_REFUSED);
    assert_ptr_equal(base, &base);
    assert_int_equal(pages->reserve(pages->self, NULL, SIZE_MAX - NTH_PAGE_BYTES + 1u, &base),
                     NTH_SEAM_REFUSED);
    assert_int_equal(pages->reserve(pages->self, NULL, BYTES, &base), NTH_SEAM_OK);
    assert_int_equal(pages->release(pages->self, NULL, (char *)base + 1, BYTES), NTH_SEAM_REFUSED);
    assert_int_equal(pages->release(pages->self, NULL, base, BYTES), NTH_SEAM_OK);
    void *nowhere = base; /* not mapped any more */
    assert_int_equal(pages->commit(pages->self, NULL, nowhere, NTH_PAGE_BYTES, FALSE),
                     NTH_SEAM_REFUSED);
    assert_int_equal(pages->decommit(pages->self, NULL, nowhere, NTH_PAGE_BYTES), NTH_SEAM_REFUSED);
    assert_int_equal(pages->protect(pages->self, NULL, nowhere, NTH_PAGE_BYTES, TRUE),
                     NTH_SEAM_REFUSED);
    assert_int_equal(pages->remap(pages->self, NULL, nowhere, NTH_PAGE_BYTES, nowhere),
                     NTH_SEAM_REFUSED);
}

static void there_is_no_arena_larger_than_the_address_space(void **state)
{
    (void)state;
    assert_null(nth_arena_create(TOO_MANY, NTH_GRANULE_BYTES));
}

static void locks_are_as_many_as_are_wanted_and_come_back(void **state)
{
    (void)state;
    const struct nth_locks *locks = nth_locks_os();
    static void *made[LOCK_COUNT];
    static void *first[LOCK_COUNT];
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned idx = 0; idx < LOCK_COUNT; idx++) {
            BOOLEAN known = FALSE;
            assert_int_equal(locks->create(locks->self, &made[idx]), NTH_SEAM_OK);
            for (unsigned other = 0; other < idx; other++) {
                assert_ptr_not_equal(made[other], made[idx]);
            }
            for (unsigned other = 0; other < LOCK_COUNT; other++) {
                known = known || first[other] == made[idx];
            }
            assert_int_equal(known, round == 1); /* what was given back serves again */
        }
        memcpy(first, made, sizeof(first));
        for (unsigned idx = 0; idx < LOCK_COUNT; idx++) {
            locks->acquire(locks->self, made[idx]);
            assert_false(locks->try_acquire(locks->self, made[idx]));
            locks->release(locks->self, made[idx]);
            assert_true(locks->try_acquire(locks->self, made[idx]));
            locks->release(locks->self, made[idx]);
            locks->destroy(locks->self, made[idx]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_page_source_does_what_its_table_says, rig_setup,
                                        rig_teardown),
        cmocka_unit_test(the_systems_pages_are_refused_where_there_are_none),
        cmocka_unit_test(there_is_no_arena_larger_than_the_address_space),
        cmocka_unit_test(locks_are_as_many_as_are_wanted_and_come_back),
    };
    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
