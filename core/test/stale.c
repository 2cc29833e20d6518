/* SPDX-License-Identifier: MIT
 *
 * What the census of damage found: values that were right at another time or in another heap, put
 * back where core keeps its own; a damaged descriptor under a good handle; a report in the middle
 * of a refill. */
#include "rig.h"

#include <string.h>

#define SAVED_BYTES 8192u

struct saved {
    struct nth_field field;
    uint8_t bytes[SAVED_BYTES];
};

static void save(HANDLE heap, const char *name, struct saved *saved)
{
    saved->field = rig_field_named(heap, name, NULL);
    assert_true(saved->field.bytes <= SAVED_BYTES);
    for (size_t idx = 0; idx < saved->field.bytes; idx++) {
        saved->bytes[idx] = nth_peek((uint8_t *)saved->field.address + idx);
    }
}

/* FALSE when that changes nothing. */
static BOOLEAN put_back(const struct saved *saved, uint8_t *place)
{
    BOOLEAN changed = FALSE;
    for (size_t idx = 0; idx < saved->field.bytes; idx++) {
        changed = changed || nth_peek(place + idx) != saved->bytes[idx];
        nth_poke(place + idx, saved->bytes[idx]);
    }
    return changed;
}

static struct saved saved;

static void demand_summary_fails(HANDLE heap, enum nth_reason reason, const char *field)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_SUMMARY, .heap = heap, .extra = &summary});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(reason, heap, NULL, field);
}

static void totals_of_another_time_are_noticed_by_the_next_call(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    save(heap, "heap.state", &saved);
    assert_non_null(HeapAlloc(heap, 0, 100));
    assert_true(put_back(&saved, saved.field.address));
    demand_summary_fails(heap, NTH_CORRUPT_HEAP_STATE, "heap.state");
}

static void settings_and_descriptors_of_another_heap_are_noticed(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    HANDLE other = HeapCreate(0, 0, 0);
    save(other, "heap.config", &saved);
    assert_true(put_back(&saved, rig_field_named(heap, "heap.config", NULL).address));
    demand_summary_fails(heap, NTH_CORRUPT_HEAP_CONFIG, "heap.config");
    heap = HeapCreate(0, 0, 0);
    static struct saved own;
    save(heap, "region", &own);
    save(other, "region", &saved);
    assert_true(put_back(&saved, own.field.address));
    demand_summary_fails(heap, NTH_CORRUPT_SEGMENT, "region");
    assert_true(put_back(&own, own.field.address)); /* it alone knows what to give back */
}

/* The handle is good: the slot of the heap is core's own data. */
static void a_damaged_first_descriptor_does_not_make_the_handle_bad(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID descriptor = rig_field_named(heap, "region", NULL).address;
    rig_flip(descriptor);
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_RTL_ZERO, .heap = heap});
    rig_demand_value(&outcome, (uintptr_t)(ULONG)STATUS_HEAP_CORRUPTION);
    rig_report_demand_field(NTH_CORRUPT_SEGMENT, heap, NULL, "region");
    rig_flip(descriptor);
    assert_true(HeapDestroy(heap));
}

static void a_page_map_of_another_time_is_noticed_by_a_walk(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HANDLE heap = HeapCreate(0, 0, 0);
    save(heap, "region.pages", &saved);
    assert_non_null(HeapAlloc(heap, 0, 30000));
    assert_true(put_back(&saved, saved.field.address));
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = &entry});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_PAGE_MAP, heap, NULL, "region.pages");
}

static void a_bitmap_of_another_time_is_noticed_by_the_next_search(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID first = HeapAlloc(heap, 0, 200);
    assert_non_null(HeapAlloc(heap, 0, 200));
    save(heap, "heap.bin_map", &saved);
    assert_true(HeapFree(heap, 0, first));
    assert_true(put_back(&saved, saved.field.address));
    const struct rig_outcome outcome = rig_alloc(heap, 0, 200);
    rig_demand_value(&outcome, 0);
    rig_report_demand_field(NTH_CORRUPT_FREE_LIST, heap, NULL, "heap.bin_map");
}

static void a_segment_that_is_hidden_is_noticed_by_a_walk(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    save(heap, "heap.segments", &saved);
    for (unsigned idx = 0; idx < 8; idx++) {
        assert_non_null(HeapAlloc(heap, 0, 20000));
    }
    assert_true(put_back(&saved, saved.field.address));
    struct rig_outcome outcome = {.value = TRUE};
    rig_report_forget();
    while (!outcome.raised && outcome.value != FALSE) {
        outcome = rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = &entry});
    }
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_SEGMENT, heap, NULL, "heap.segments");
}

#define FRONT_COUNT 24u

/* A heap whose class of 40 bytes the front end serves, its magazine emptied. */
static HANDLE front_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID blocks[FRONT_COUNT];
    for (unsigned idx = 0; idx < FRONT_COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40);
        assert_non_null(blocks[idx]);
    }
    assert_true(HeapFree(heap, 0, blocks[FRONT_COUNT - 1]));
    (void)HeapCompact(heap, 0);
    return heap;
}

static void a_class_word_of_another_time_is_noticed_when_the_class_is_used(void **state)
{
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(HeapAlloc(heap, 0, 40));
    save(heap, "heap.buckets", &saved);
    assert_non_null(HeapAlloc(heap, 0, 40));
    uint8_t *place = saved.field.address;
    size_t first = 0;
    while (nth_peek(place + first) == saved.bytes[first]) {
        first++;
    }
    first -= first % sizeof(uint64_t);
    for (size_t idx = first; idx < first + sizeof(uint64_t); idx++) { /* one word alone */
        nth_poke(place + idx, saved.bytes[idx]);
    }
    const struct rig_outcome outcome = rig_alloc(heap, 0, 40);
    rig_demand_value(&outcome, 0);
    rig_report_demand_field(NTH_CORRUPT_HEAP_STATE, heap, NULL, "heap.buckets");
}

/* Every word of a field put back, not one: what is compared must stand elsewhere. A class's words are
 * looked at when its magazine is empty. */
static void a_whole_field_of_another_time_is_noticed_when_it_is_used(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum nth_reason reason;
        const char *told;
    } rows[] = {
        {"heap.buckets", NTH_CORRUPT_HEAP_STATE, "heap.buckets"},
        {"heap.bucket_sums", NTH_CORRUPT_HEAP_STATE, "heap.buckets"},
        {"cache.counts", NTH_CORRUPT_CACHE, "cache.counts"},
        {"cache.mirror", NTH_CORRUPT_CACHE, "cache.counts"},
    };
    for (size_t idx = 0; idx < sizeof(rows) / sizeof(rows[0]); idx++) {
        HANDLE heap = front_new();
        save(heap, rows[idx].name, &saved);
        for (unsigned count = 0; count < FRONT_COUNT; count++) { /* chunks and magazines change */
            assert_non_null(HeapAlloc(heap, 0, 40));
        }
        assert_true(put_back(&saved, saved.field.address));
        struct rig_outcome outcome = rig_alloc(heap, 0, 40);
        for (unsigned left = 4u * FRONT_COUNT; outcome.value != 0 && left > 0; left--) {
            outcome = rig_alloc(heap, 0, 40);
        }
        rig_demand_value(&outcome, 0);
        rig_report_demand_field(rows[idx].reason, heap, NULL, rows[idx].told);
    }
}

static BOOLEAN damage_free_words(void *context, const struct nth_field *field)
{
    (void)context;
    static unsigned seen;
    if (strcmp(field->name, "chunk.free") == 0 &&
        seen++ % 8 > 0) { /* all of a chunk's but the first */
        rig_flip(field->address);
    }
    return TRUE;
}

static SIZE_T allocated(HANDLE heap)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    assert_true(HeapSummary(heap, 0, &summary));
    return summary.cbAllocated;
}

/* The slot that the call was about to return stayed busy, for ever. */
static void an_allocation_that_meets_damage_in_a_refill_takes_nothing(void **state)
{
    (void)state;
    HANDLE heap = front_new();
    const SIZE_T before = allocated(heap);
    assert_true(nth_fields(heap, damage_free_words, NULL) > 0);
    struct rig_outcome outcome = rig_alloc(heap, 0, 40);
    assert_int_equal(outcome.reports, 1);
    assert_int_equal(outcome.value, 0);
    assert_int_equal(allocated(heap), before);
}

static void free_two_at_the_top(HANDLE heap, PVOID blocks[2], struct nth_field *second)
{
    static uint8_t before[0x100000];
    assert_true(HeapFree(heap, 0, blocks[0]));
    *second = rig_field_named(heap, "cache.slots", NULL);
    assert_true(second->bytes <= sizeof(before));
    for (size_t idx = 0; idx < second->bytes; idx++) {
        before[idx] = nth_peek((uint8_t *)second->address + idx);
    }
    assert_true(HeapFree(heap, 0, blocks[1]));
    size_t changed = 0;
    while (changed < second->bytes &&
           nth_peek((uint8_t *)second->address + changed) == before[changed]) {
        changed++;
    }
    assert_true(changed < second->bytes);
    second->address = (uint8_t *)second->address + changed;
}

/* Not only the first slot of a magazine. */
static void validation_looks_at_the_last_slot_of_a_magazine(void **state)
{
    (void)state;
    PVOID blocks[FRONT_COUNT];
    struct nth_field place;
    HANDLE heap = HeapCreate(0, 0, 0);
    for (unsigned idx = 0; idx < FRONT_COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, 40);
        assert_non_null(blocks[idx]);
    }
    free_two_at_the_top(heap, blocks + FRONT_COUNT - 2, &place);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_flip(place.address);
    assert_false(HeapValidate(heap, 0, NULL));
    rig_flip(place.address);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* A block that is freed amid busy ones: its pages go back, and what is left at both ends is listed.
 * One list's head is damaged at a time: the lists that are needed are looked at before anything
 * changes. */
static void a_free_that_gives_pages_back_looks_first_at_the_lists_of_what_is_left(void **state)
{
    (void)state;
    unsigned refused = 0;
    size_t words = 1;
    for (size_t word = 0; word < words; word++) {
        HANDLE heap = HeapCreate(0, 0, 0);
        PVOID before = HeapAlloc(heap, 0, 500);
        PVOID block = HeapAlloc(heap, 0, 120000);
        assert_non_null(HeapAlloc(heap, 0, 500));
        assert_non_null(before);
        const struct nth_field heads = rig_field_named(heap, "heap.bins", NULL);
        words = heads.bytes / sizeof(uint64_t);
        uint8_t *damaged = (uint8_t *)heads.address + word * sizeof(uint64_t);
        rig_flip(damaged);
        const struct rig_outcome outcome = rig_free(heap, block);
        rig_flip(damaged);
        assert_false(outcome.raised);
        assert_int_equal(outcome.reports, outcome.value == FALSE);
        if (outcome.value == FALSE) {
            rig_report_demand_field(NTH_CORRUPT_FREE_LIST, heap, NULL, "heap.bins");
            assert_int_equal(HeapSize(heap, 0, block), 120000);
            assert_true(HeapFree(heap, 0, block));
            refused++;
        }
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(HeapDestroy(heap));
    }
    assert_true(refused >= 2); /* of the block itself, and of what is left on each side */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(totals_of_another_time_are_noticed_by_the_next_call),
        TEST(settings_and_descriptors_of_another_heap_are_noticed),
        TEST(a_damaged_first_descriptor_does_not_make_the_handle_bad),
        TEST(a_page_map_of_another_time_is_noticed_by_a_walk),
        TEST(a_bitmap_of_another_time_is_noticed_by_the_next_search),
        TEST(a_segment_that_is_hidden_is_noticed_by_a_walk),
        TEST(a_class_word_of_another_time_is_noticed_when_the_class_is_used),
        TEST(a_whole_field_of_another_time_is_noticed_when_it_is_used),
        TEST(an_allocation_that_meets_damage_in_a_refill_takes_nothing),
        TEST(validation_looks_at_the_last_slot_of_a_magazine),
        TEST(a_free_that_gives_pages_back_looks_first_at_the_lists_of_what_is_left),
    };
    return cmocka_run_group_tests_name("stale", tests, NULL, NULL);
}
