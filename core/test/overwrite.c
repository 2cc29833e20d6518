/* SPDX-License-Identifier: MIT
 *
 * Seeded random overwrites of 1 to 64 bytes anywhere in the committed memory of a heap's regions:
 * headers, links, slots, slack and the application's own bytes. What core does afterwards must be
 * right or reported; what an application overwrote of its own is the application's. */
#include "support/census.h"

#include <pthread.h>
#include <string.h>

#include "sanitize.h"

#define RANGE_MAX 256u

#if defined(NTH_TSAN) || defined(NTH_MSAN)
#define CASE_COUNT 1500u
#else
#define CASE_COUNT 6000u
#endif

/* Out of so many cases that are not caught otherwise, one may be silent: a word of 16 check bits
 * passes once in 65,536 times. None is, with this seed. */
#define SILENT_MAX 0u

static struct census_case cases[CASE_COUNT];

static uint64_t next(void)
{
    static uint64_t state = 0xD1B54A32D192ED03u;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

struct range {
    uint8_t *first;
    SIZE_T bytes;
};

static struct range ranges[RANGE_MAX];
static unsigned range_count;

static void add_range(PVOID first, SIZE_T bytes)
{
    assert_true(range_count < RANGE_MAX);
    ranges[range_count++] = (struct range){.first = first, .bytes = bytes};
}

/* What of each region is committed, its header with it: from element to element. */
static void find_ranges(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {0};
    uint8_t *start = NULL;
    uint8_t *end = NULL;
    range_count = 0;
    while (HeapWalk(heap, &entry)) {
        if ((entry.wFlags & PROCESS_HEAP_REGION) != 0) {
            if (start != NULL && start < end) {
                add_range(start, (SIZE_T)(end - start));
            }
            start = entry.lpData;
            end = start + entry.cbData;
        } else if ((entry.wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0) {
            uint8_t *hole = entry.lpData;
            add_range(start, (SIZE_T)(hole - start));
            start = hole + entry.cbData;
        } else if (entry.iRegionIndex == 64 && entry.cbData > 0x7F000) {
            /* A large block: from its page's start on, header before the data. */
            uint8_t *data = entry.lpData;
            add_range(data - 64, 64u + (SIZE_T)entry.cbData);
        }
    }
    if (start != NULL && start < end) {
        add_range(start, (SIZE_T)(end - start));
    }
}

/* Half of them near a live block's start or end, where an application's errors go. */
static uint8_t *somewhere(SIZE_T bytes)
{
    const struct census_block *block = census_block_at((unsigned)(next() % census_block_count()));
    if (next() % 2 == 0 && block->user != NULL) {
        uint8_t *user = block->user;
        return next() % 2 == 0 ? user - 8 - next() % 40 : user + block->bytes + next() % 16;
    }
    const struct range *range = &ranges[next() % range_count];
    assert_true(range->bytes > bytes);
    return range->first + next() % (range->bytes - bytes);
}

static BOOLEAN committed(const uint8_t *first, SIZE_T bytes)
{
    for (unsigned idx = 0; idx < range_count; idx++) {
        const struct range *range = &ranges[idx];
        if (first >= range->first && first + bytes <= range->first + range->bytes) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Random bytes, zeros, ones, or text: what programs write. */
static void content(struct census_case *made)
{
    const unsigned kind = (unsigned)next() % 4u;
    for (unsigned idx = 0; idx < made->len; idx++) {
        made->bytes[idx] = (uint8_t)(kind == 0   ? 0u
                                     : kind == 1 ? 0xFFu
                                     : kind == 2 ? 'A' + idx % 26u
                                                 : next());
    }
}

static void make_case(struct census_case *made, unsigned number)
{
    made->state = (uint8_t)(number % census_state_count());
    made->variant = (uint8_t)(number / census_state_count() % CENSUS_VARIANT_COUNT);
    made->flips = FALSE;
    HANDLE heap = census_make(made->state);
    find_ranges(heap);
    do {
        made->len = (uint8_t)(1u + next() % CENSUS_DAMAGE_MAX);
        made->address = somewhere(made->len);
    } while (!committed(made->address, made->len));
    content(made);
    made->target = (uint16_t)census_nearest(made->address);
}

static void overwritten_heap_memory_is_reported_or_does_no_harm(void **state)
{
    (void)state;
    unsigned totals[CENSUS_VERDICT_COUNT] = {0};
    for (unsigned number = 0; number < CASE_COUNT; number++) {
        make_case(&cases[number], number);
    }
    uint8_t *verdicts = census_verdicts(CASE_COUNT);
    census_sweep(cases, CASE_COUNT, verdicts);
    for (unsigned number = 0; number < CASE_COUNT; number++) {
        totals[verdicts[number]]++;
    }
    print_message("%u overwrites of 1 to %u bytes:", CASE_COUNT, CENSUS_DAMAGE_MAX);
    for (unsigned verdict = CENSUS_TOUCH; verdict < CENSUS_VERDICT_COUNT; verdict++) {
        print_message(" %s %u%s", census_verdict_name(verdict), totals[verdict],
                      verdict + 1 < CENSUS_VERDICT_COUNT ? "," : "\n");
    }
    assert_int_equal(totals[CENSUS_OPEN], 0);
    assert_true(totals[CENSUS_SILENT] <= SILENT_MAX);
    assert_int_equal(totals[CENSUS_BROKEN], 0);
    assert_int_equal(totals[CENSUS_CRASH], 0);
    assert_int_equal(totals[CENSUS_HANG], 0);
}

/* ---- the application's last bytes ---- */

static struct {
    uint8_t *block;
    SIZE_T bytes;
    _Atomic int stop;
} writer;

static void *write_on(void *context)
{
    (void)context;
    while (!writer.stop) {
        memset(writer.block, 1, writer.bytes);
    }
    return NULL;
}

/* Freeing looks at the bytes in front of a block; a thread that writes its own block, which ends
 * there, does nothing wrong and notices nothing. ThreadSanitizer watches. */
static void a_block_may_be_written_while_its_neighbour_is_freed(void **state)
{
    (void)state;
    pthread_t thread;
    HANDLE heap = HeapCreate(0, 0, 0);
    writer.bytes = 3000; /* ends with its last unit */
    writer.block = HeapAlloc(heap, 0, writer.bytes);
    writer.stop = 0;
    assert_int_equal(pthread_create(&thread, NULL, write_on, NULL), 0);
    for (unsigned count = 0; count < 2000; count++) {
        PVOID neighbour = HeapAlloc(heap, 0, 5000 + count % 50 * 64);
        assert_true(HeapFree(heap, 0, neighbour));
    }
    writer.stop = 1;
    assert_int_equal(pthread_join(thread, NULL), 0);
    rig_report_demand_none();
    assert_true(HeapValidate(heap, 0, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(overwritten_heap_memory_is_reported_or_does_no_harm,
                                        rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_block_may_be_written_while_its_neighbour_is_freed,
                                        rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests_name("overwrite", tests, NULL, NULL);
}
