/* SPDX-License-Identifier: MIT
 *
 * A page source that takes nothing back for a while: as much as is remembered is given back later,
 * and what there was no place to remember stays in the balance. In a child process, which leaves
 * it behind. */
#include "support/leave.h"
#include "support/rig.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REMEMBERED 64u /* page.c has places for so many */
#define MORE 10u
#define BYTES 0x100000u /* a large block, with a reservation of its own */

static struct nth_pages pages;
static const struct nth_pages *real;
static BOOLEAN keeps;
static unsigned releases;

static enum nth_seam_status release(void *self, const struct nth_site *site, void *base,
                                    size_t bytes)
{
    releases++;
    return keeps ? NTH_SEAM_REFUSED : real->release(self, site, base, bytes);
}

static void keep_back(void)
{
    static PVOID blocks[REMEMBERED + MORE];
    struct nth_seam seam = rig_seam();
    pages = *nth_pages_os();
    real = nth_pages_os();
    pages.release = release;
    seam.pages = &pages;
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    size_t before = 0;
    for (unsigned idx = 0; idx < REMEMBERED + MORE; idx++) {
        before = nth_balance_now().reserved_bytes;
        blocks[idx] = rig_block_new(heap, BYTES);
    }
    const size_t all = nth_balance_now().reserved_bytes;
    const size_t each = all - before;
    keeps = TRUE;
    for (unsigned idx = 0; idx < REMEMBERED + MORE; idx++) {
        assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE); /* the program is not concerned */
    }
    assert_true(releases >= REMEMBERED + MORE);
    assert_int_equal(nth_balance_now().reserved_bytes, all);
    /* With no place to remember it a new reservation is one like any other. */
    PVOID fresh = rig_block_new(heap, BYTES);
    memset(fresh, 1, BYTES);
    assert_int_equal(HeapSize(heap, 0, fresh), BYTES);
    assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
    keeps = FALSE;
    assert_int_equal(HeapFree(heap, 0, fresh), TRUE);
    HANDLE other = HeapCreate(0, 0, 0);
    assert_int_equal(HeapDestroy(other), TRUE); /* tries again what is remembered */
    assert_int_equal(nth_balance_now().reserved_bytes, all - REMEMBERED * each);
    assert_int_equal(HeapDestroy(heap), TRUE);
    nth_process_reset();
    assert_int_equal(nth_balance_now().reserved_bytes, MORE * each);
    const unsigned tried = releases;
    nth_process_reset();
    assert_int_equal(releases, tried); /* nobody knows of them any more */
    assert_int_equal(nth_balance_now().reserved_bytes, MORE * each);
}

static void what_is_not_taken_back_is_tried_again(void **state)
{
    int status = 0;
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        keep_back();
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_taken_back_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
