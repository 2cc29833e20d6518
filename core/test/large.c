/* SPDX-License-Identifier: MIT
 *
 * Large blocks where the page source will not do everything: pages that may not be moved are
 * copied, room that cannot be had is done without. */
#include "support/rig.h"

#include <string.h>

#include "map.h"
#include "page.h"
#include "region.h"

#define FIRST_BYTES ((SIZE_T)0x90001)
#define SECOND_BYTES ((SIZE_T)0x300001)

static struct nth_pages stubborn; /* the system's page source, but it refuses to move pages */
static unsigned moves_refused;
static unsigned wide_refused;
static size_t wide_bytes; /* refuse reservations of more than this, 0: none */

static enum nth_seam_status refuse_remap(void *self, const struct nth_site *site, void *from,
                                         size_t bytes, void *to)
{
    (void)self;
    (void)site;
    (void)from;
    (void)bytes;
    (void)to;
    moves_refused++;
    return NTH_SEAM_REFUSED;
}

static enum nth_seam_status reserve_narrow(void *self, const struct nth_site *site, size_t bytes,
                                           void **base)
{
    if (wide_bytes != 0 && bytes > wide_bytes) {
        wide_refused++;
        return NTH_SEAM_REFUSED;
    }
    return nth_pages_os()->reserve(self, site, bytes, base);
}

static void use_stubborn_pages(void)
{
    struct nth_seam seam = rig_seam();
    stubborn = *nth_pages_os();
    if (stubborn.remap != NULL) {
        stubborn.remap = refuse_remap;
    }
    stubborn.reserve = reserve_narrow;
    moves_refused = 0;
    wide_refused = 0;
    wide_bytes = 0;
    seam.pages = &stubborn;
    nth_seam_set(&seam);
}

static void restore_pages(void)
{
    struct nth_seam seam = rig_seam();
    nth_seam_set(&seam);
}

/* D80 */
static void pages_that_may_not_move_are_copied(void **state)
{
    (void)state;
    use_stubborn_pages();
    HANDLE heap = HeapCreate(0, 0, 0);
    uint8_t *block = HeapAlloc(heap, 0, FIRST_BYTES);
    assert_non_null(block);
    memset(block, 0x5A, FIRST_BYTES);
    block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, SECOND_BYTES);
    assert_non_null(block);
    assert_int_equal(HeapSize(heap, 0, block), SECOND_BYTES);
    assert_int_equal(moves_refused, nth_remap_offered());
    for (SIZE_T idx = 0; idx < SECOND_BYTES; idx += 97) {
        assert_int_equal(block[idx], idx < FIRST_BYTES ? 0x5A : 0);
    }
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapDestroy(heap));
    restore_pages();
}

/* D80 */
static void a_large_block_does_without_room_that_cannot_be_had(void **state)
{
    (void)state;
    use_stubborn_pages();
    HANDLE heap = HeapCreate(0, 0, 0);
    wide_bytes = (FIRST_BYTES + 0x4000) & ~(SIZE_T)0xFFF;
    uint8_t *block = HeapAlloc(heap, 0, FIRST_BYTES);
    assert_non_null(block);
    assert_int_equal(wide_refused, 1);
    block[FIRST_BYTES - 1] = 1;
    wide_bytes = 0;
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, block));
    assert_true(HeapDestroy(heap));
    restore_pages();
}

/* Up to the last page of what is reserved for it, and not beyond. */
static void a_large_block_grows_to_the_end_of_its_room(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *block = rig_block_new(heap, FIRST_BYTES);
    const struct nth_region *region = nth_map_find(block);
    assert_non_null(region);
    const SIZE_T room = (SIZE_T)((const uint8_t *)nth_region_place(region, region->bytes) - block);
    assert_true(room > FIRST_BYTES);
    assert_null(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, room + 1));
    assert_ptr_equal(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, room), block);
    assert_int_equal(region->committed_pages * NTH_PAGE_BYTES, region->bytes);
    block[room - 1] = 1;
    assert_true(HeapFree(heap, 0, block));
    assert_true(HeapDestroy(heap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_that_may_not_move_are_copied, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_large_block_grows_to_the_end_of_its_room, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_large_block_does_without_room_that_cannot_be_had,
                                        rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
