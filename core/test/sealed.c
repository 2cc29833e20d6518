/* SPDX-License-Identifier: MIT
 *
 * Sealed words from outside: what is read is what core would read, what is written opens, with the
 * sums over it; what is no sealed word is left alone. */
#include "support/forge.h"

#include <string.h>

#define BYTES ((SIZE_T)200)
#define COUNT 60u
#define FIELD_MAX 8192u

static struct nth_field fields[FIELD_MAX];
static struct rig_field_list told = {fields, FIELD_MAX, 0};

/* Chunks with free slots, free blocks, a large one; magazines are empty. */
static HANDLE some_heap(void)
{
    PVOID blocks[COUNT];
    HANDLE heap = HeapCreate(0, 0, 0);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, idx % 4 == 0 ? (SIZE_T)1000 + idx * 50 : BYTES);
        assert_non_null(blocks[idx]);
    }
    assert_non_null(HeapAlloc(heap, 0, 0x90000));
    for (unsigned idx = 0; idx < COUNT; idx += 3) {
        assert_true(HeapFree(heap, 0, blocks[idx]));
    }
    (void)HeapCompact(heap, 0);
    told.count = 0;
    (void)nth_fields(heap, rig_field_keep, &told);
    return heap;
}

static BOOLEAN is(const struct nth_field *field, const char *name)
{
    return strcmp(field->name, name) == 0;
}

static BOOLEAN is_sealed(const struct nth_field *field)
{
    return field->kind == NTH_FIELD_HEADER || field->kind == NTH_FIELD_LINK ||
           field->kind == NTH_FIELD_FOOTER || field->kind == NTH_FIELD_CHUNK ||
           is(field, "heap.bins") || is(field, "heap.bin_map");
}

static uint64_t bytes_at(const uint8_t *address)
{
    uint64_t word = 0;
    for (unsigned idx = 0; idx < sizeof(word); idx++) {
        word |= (uint64_t)nth_peek(address + idx) << (8u * idx);
    }
    return word;
}

static void demand_refused(HANDLE heap, PVOID address)
{
    uint64_t value = 0x1234;
    assert_false(nth_sealed_get(heap, address, &value));
    assert_false(nth_sealed_put(heap, address, value));
}

/* There and back, each word of each field. */
static void a_sealed_word_is_read_and_written(void **state)
{
    (void)state;
    HANDLE heap = some_heap();
    unsigned words = 0;
    for (size_t idx = 0; idx < told.count; idx++) {
        for (size_t at = 0; is_sealed(&fields[idx]) && at < fields[idx].bytes; at += 8u, words++) {
            uint8_t *word = (uint8_t *)fields[idx].address + at;
            const uint64_t before = bytes_at(word);
            uint64_t value = 0;
            uint64_t forged = 0;
            assert_true(nth_sealed_get(heap, word, &value));
            assert_true(nth_sealed_put(heap, word, value ^ 5u));
            assert_true(bytes_at(word) != before);
            assert_true(nth_sealed_get(heap, word, &forged));
            assert_int_equal(forged, value ^ 5u);
            assert_true(nth_sealed_put(heap, word, value | 1ull << 48 | 1ull << 63));
            assert_true(bytes_at(word) == before);
        }
    }
    assert_in_range(words, 300, 100000);
    rig_report_demand_none();
    assert_true(HeapValidate(heap, 0, NULL));
}

/* A slot's reference has a sum of its own in place of the code. */
static void a_slot_in_a_magazine_is_read_and_written(void **state)
{
    (void)state;
    PVOID blocks[COUNT];
    HANDLE heap = HeapCreate(0, 0, 0);
    unsigned slots = 0;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, BYTES);
    }
    assert_true(HeapFree(heap, 0, blocks[COUNT - 1u]));
    told.count = 0;
    (void)nth_fields(heap, rig_field_keep, &told);
    for (size_t idx = 0; idx < told.count; idx++) {
        for (size_t at = 0; is(&fields[idx], "cache.slots") && at < fields[idx].bytes; at += 8u) {
            uint8_t *word = (uint8_t *)fields[idx].address + at;
            const uint64_t before = bytes_at(word);
            uint64_t value = 0;
            uint64_t forged = 0;
            if (before == 0) { /* never used */
                demand_refused(heap, word);
                continue;
            }
            assert_true(nth_sealed_get(heap, word, &value));
            assert_true(nth_sealed_put(heap, word, value ^ 5u));
            assert_true(nth_sealed_get(heap, word, &forged));
            assert_int_equal(forged, value ^ 5u);
            assert_true(nth_sealed_put(heap, word, value));
            assert_true(bytes_at(word) == before);
            slots++;
        }
    }
    assert_in_range(slots, 1, COUNT);
    rig_report_demand_none();
    assert_true(HeapValidate(heap, 0, NULL));
}

/* Else nobody would come as far as the bit. */
static void sums_over_a_word_are_renewed_with_it(void **state)
{
    (void)state;
    HANDLE heap = some_heap();
    for (size_t idx = 0; idx < told.count; idx++) {
        if (is(&fields[idx], "heap.bin_map")) {
            uint64_t bits = 0;
            assert_true(nth_sealed_get(heap, fields[idx].address, &bits));
            assert_true(nth_sealed_put(heap, fields[idx].address, bits ^ 1u));
            assert_false(HeapValidate(heap, 0, NULL));
            rig_report_demand_field(NTH_CORRUPT_FREE_LIST, heap, NULL, "heap.bin_map");
            assert_non_null(HeapAlloc(heap, 0, 0x5000)); /* from lists that are as they were */
            assert_true(nth_sealed_put(heap, fields[idx].address, bits));
            return;
        }
    }
    fail();
}

static void what_is_no_sealed_word_is_left_alone(void **state)
{
    (void)state;
    HANDLE heap = some_heap();
    HANDLE other = HeapCreate(0, 0, 0);
    for (size_t idx = 0; idx < told.count; idx++) {
        const struct nth_field *field = &fields[idx];
        uint8_t *word = field->address;
        if (is(field, "heap.config")) {
            demand_refused(heap, word);
        }
        if (is(field, "block.header")) {
            const uint64_t before = bytes_at(word);
            demand_refused(heap, word + 4);
            demand_refused(other, word); /* its keys are others */
            nth_poke(word, (uint8_t)~before);
            demand_refused(heap, word);
            nth_poke(word, (uint8_t)before);
            assert_true(bytes_at(word) == before);
        }
    }
    demand_refused(heap, NULL);
    rig_report_demand_none();
    demand_refused(NULL, fields[0].address);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_forget();
    demand_refused((HANDLE)(uintptr_t)0x10000, fields[0].address);
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_BAD_HANDLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

static void other_damage_is_not_theirs_to_report(void **state)
{
    (void)state;
    HANDLE heap = some_heap();
    uint8_t *caches = rig_field_named(heap, "heap.caches", NULL).address;
    uint8_t *header = rig_field_named(heap, "slot.header", NULL).address;
    uint64_t value = 0;
    rig_flip(caches);
    assert_true(nth_sealed_get(heap, header, &value));
    assert_true(nth_sealed_put(heap, header, value));
    rig_report_demand_none();
    assert_false(HeapValidate(heap, 0, NULL));
    rig_flip(caches);
    rig_report_forget();
    assert_true(HeapValidate(heap, 0, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sealed_word_is_read_and_written),
        TEST(a_slot_in_a_magazine_is_read_and_written),
        TEST(sums_over_a_word_are_renewed_with_it),
        TEST(what_is_no_sealed_word_is_left_alone),
        TEST(other_damage_is_not_theirs_to_report),
    };
    return cmocka_run_group_tests_name("sealed", tests, NULL, NULL);
}
