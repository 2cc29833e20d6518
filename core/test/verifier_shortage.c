/* SPDX-License-Identifier: MIT
 *
 * Every page call that is made while the verifier is on, refused once and from there on: calls fail
 * as shortage or do without, the books stay right, and everything is given back in the end. */
#include "support/watch.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_COUNT 40u
#define SITE_COUNT_MAX 256u

static struct {
    struct nth_pages pages;
    const struct nth_pages *real;
    unsigned calls;
    unsigned refuse_at; /* 0: none */
    BOOLEAN for_good;
    unsigned refused;
    BOOLEAN met[SITE_COUNT_MAX]; /* sites that were refused */
} source;

static enum nth_seam_status asked(const struct nth_site *site)
{
    source.calls++;
    if (source.refuse_at == 0 || source.calls < source.refuse_at ||
        (source.calls > source.refuse_at && !source.for_good)) {
        return NTH_SEAM_OK;
    }
    for (size_t idx = 0; idx < nth_site_count() && idx < SITE_COUNT_MAX; idx++) {
        source.met[idx] = source.met[idx] || nth_site_at(idx) == site;
    }
    source.refused++;
    return NTH_SEAM_REFUSED;
}

static enum nth_seam_status reserve(void *self, const struct nth_site *site, size_t bytes,
                                    void **base)
{
    return asked(site) != NTH_SEAM_OK ? NTH_SEAM_REFUSED
                                      : source.real->reserve(self, site, bytes, base);
}

static enum nth_seam_status commit(void *self, const struct nth_site *site, void *base,
                                   size_t bytes, BOOLEAN executable)
{
    return asked(site) != NTH_SEAM_OK ? NTH_SEAM_REFUSED
                                      : source.real->commit(self, site, base, bytes, executable);
}

static enum nth_seam_status decommit(void *self, const struct nth_site *site, void *base,
                                     size_t bytes)
{
    return asked(site) != NTH_SEAM_OK ? NTH_SEAM_REFUSED
                                      : source.real->decommit(self, site, base, bytes);
}

static enum nth_seam_status release(void *self, const struct nth_site *site, void *base,
                                    size_t bytes)
{
    return asked(site) != NTH_SEAM_OK ? NTH_SEAM_REFUSED
                                      : source.real->release(self, site, base, bytes);
}

static unsigned live;

static void one_block(HANDLE heap, char **blocks, unsigned idx, unsigned turn)
{
    const SIZE_T bytes = 50u + 37u * idx + (idx % 7u == 0 ? 9000u : 0u);
    if (blocks[idx] == NULL) {
        blocks[idx] = HeapAlloc(heap, 0, bytes);
        live += blocks[idx] != NULL;
    } else if (turn % 2u == 0) {
        char *moved = HeapReAlloc(heap, 0, blocks[idx], bytes * 2u);
        blocks[idx] = moved != NULL ? moved : blocks[idx];
        assert_int_equal(HeapSize(heap, 0, blocks[idx]), moved != NULL ? bytes * 2u : bytes);
    } else {
        assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
        blocks[idx] = NULL;
        live--;
    }
}

/* What is done under shortage. */
static void scene(const char *text)
{
    struct nth_verifier_settings settings;
    char *blocks[BLOCK_COUNT];
    assert_int_equal(nth_verifier_parse(text, &settings, NULL, 0), STATUS_SUCCESS);
    memset(blocks, 0, sizeof(blocks));
    live = 0;
    const NTSTATUS status = nth_verifier_start(&settings);
    if (status != STATUS_SUCCESS) {
        assert_int_equal(status, STATUS_NO_MEMORY);
        assert_int_equal(nth_verifier_layers(), 0);
        return;
    }
    HANDLE heap = HeapCreate(0, 0, 0);
    for (unsigned turn = 0; heap != NULL && turn < 3u; turn++) {
        for (unsigned idx = 0; idx < BLOCK_COUNT; idx++) {
            one_block(heap, blocks, idx, turn);
        }
    }
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.live_count, live);
    assert_int_equal(sums.stop_count, 0);
    if (heap != NULL) {
        assert_int_equal(HeapDestroy(heap), TRUE);
    }
}

static void run(const char *text, unsigned refuse_at, BOOLEAN for_good)
{
    struct nth_seam seam = rig_seam();
    source.real = seam.pages;
    source.pages = *seam.pages;
    source.pages.reserve = reserve;
    source.pages.commit = commit;
    source.pages.decommit = decommit;
    source.pages.release = release;
    seam.pages = &source.pages;
    source.refuse_at = 0;
    nth_seam_set(&seam);
    source.calls = 0;
    source.refused = 0;
    source.for_good = for_good;
    source.refuse_at = refuse_at;
    scene(text);
    source.refuse_at = 0;
    nth_process_reset();
    const struct nth_balance balance = nth_balance_now();
    if (balance.reserved_bytes != 0 || balance.committed_bytes != 0) {
        fail_msg("%s, call %u%s: %zu bytes reserved, %zu committed", text, refuse_at,
                 for_good ? " and on" : "", balance.reserved_bytes, balance.committed_bytes);
    }
}

static void every_page_call_can_be_refused(void **state)
{
    static const char *const settings[] = {"leak", "heaps,delayed=3", "pageheap=full,delayed=3",
                                           "pageheap=full:backwards:budget=20,delayed=0"};
    (void)state;
    memset(source.met, 0, sizeof(source.met));
    for (unsigned row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        run(settings[row], 0, FALSE);
        const unsigned count = source.calls;
        assert_true(count > 10);
        for (unsigned at = 1; at <= count + 5u; at++) {
            run(settings[row], at, FALSE);
            run(settings[row], at, TRUE);
        }
    }
    for (size_t idx = 0; idx < nth_site_count(); idx++) {
        const char *name = nth_site_at(idx)->name;
        const BOOLEAN ours =
            strncmp(name, "verifier.", 9) == 0 || strncmp(name, "pageheap.", 9) == 0;
        /* What gives the tables back runs at the reset, which is not under shortage here. */
        if (ours && nth_site_at(idx)->call != NTH_PAGE_RELEASE && !source.met[idx]) {
            fail_msg("%s was never refused", name);
        }
    }
}

static struct nth_locks few;
static unsigned until_refused; /* the one that is not to be had: 1 is the next */

static enum nth_seam_status create_few(void *self, void **lock)
{
    return until_refused > 0 && --until_refused == 0 ? NTH_SEAM_REFUSED
                                                     : nth_locks_os()->create(self, lock);
}

/* The process's lock is the first, the verifier's the second. */
static void without_a_lock_it_does_not_start(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    assert_int_equal(nth_verifier_parse("heaps", &settings, NULL, 0), STATUS_SUCCESS);
    for (unsigned refused = 0; refused < 3; refused++) {
        struct nth_seam seam = rig_seam();
        few = *nth_locks_os();
        few.create = create_few;
        until_refused = refused;
        seam.locks = &few;
        nth_seam_set(&seam);
        assert_int_equal(nth_verifier_start(&settings),
                         refused > 0 ? STATUS_NO_MEMORY : STATUS_SUCCESS);
        assert_int_equal(nth_verifier_layers(), refused > 0 ? 0 : NTH_VERIFY_HEAPS);
        HANDLE heap = rig_heap_new();
        assert_true(HeapFree(heap, 0, rig_block_new(heap, 100)));
        assert_true(HeapDestroy(heap));
        nth_process_reset();
        assert_int_equal(nth_balance_now().committed_bytes, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(every_page_call_can_be_refused),
                                       TEST(without_a_lock_it_does_not_start)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
