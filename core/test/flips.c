/* SPDX-License-Identifier: MIT
 *
 * A census of single bits: in heaps of every state, each bit of every metadata field (large arrays
 * sampled) is flipped once and a battery of operations follows. What comes of it must be a report,
 * or nothing at all: never another answer, a broken rule, a crash, a hang. */
#include "support/census.h"

#include <stdio.h>
#include <string.h>

#include "sanitize.h"

#define NAME_MAX_COUNT 64u
#define CASE_MAX 200000u
#define WHOLE_BYTES 160u  /* fields up to this size are flipped bit by bit */
#define SAMPLE_COUNT 300u /* of larger ones, so many bits */
#define USED_WORDS 12u    /* of an array that begins all zero: words in use, whole */

/* The slow sanitizers look at every so-many-th bit. */
#if defined(NTH_TSAN) || defined(NTH_MSAN)
#define EVERY 8u
#else
#define EVERY 1u
#endif

static const char *names[NAME_MAX_COUNT];
static unsigned name_count;
static struct census_case cases[CASE_MAX];
static size_t case_count;
static unsigned state_now;

static unsigned name_number(const char *name)
{
    for (unsigned idx = 0; idx < name_count; idx++) {
        if (strcmp(names[idx], name) == 0) {
            return idx;
        }
    }
    assert_true(name_count < NAME_MAX_COUNT);
    names[name_count] = name;
    return name_count++;
}

static void add_bit(const struct nth_field *field, size_t bit)
{
    static unsigned turn;
    if (turn++ % EVERY != 0) {
        return;
    }
    assert_true(case_count < CASE_MAX);
    struct census_case *made = &cases[case_count];
    *made = (struct census_case){
        .address = (uint8_t *)field->address + bit / 8,
        .field = (uint16_t)name_number(field->name),
        .state = (uint8_t)state_now,
        .variant = (uint8_t)(case_count % CENSUS_VARIANT_COUNT),
        .len = 1,
        .flips = TRUE,
        .bytes = {(uint8_t)(1u << (bit % 8))},
    };
    /* A field of no block is looked at through one block after the other. */
    const unsigned turn_of = (unsigned)(case_count / 5 % census_block_count());
    made->target = (uint16_t)census_nearest(field->block != NULL ? field->block
                                                                 : census_block_at(turn_of)->user);
    case_count++;
}

static void add_sampled(const struct nth_field *field)
{
    const size_t bits = field->bytes * 8;
    const size_t step = bits / SAMPLE_COUNT | 1u;
    for (size_t bit = 0; bit < bits; bit += step) {
        add_bit(field, bit);
    }
}

static void add_used(const struct nth_field *field)
{
    unsigned used = 0;
    for (size_t byte = 0; byte < field->bytes && used < USED_WORDS; byte += 8) {
        uint64_t word = 0;
        for (size_t idx = 0; idx < 8; idx++) {
            word |= nth_peek((const uint8_t *)field->address + byte + idx);
        }
        used += word != 0;
        for (size_t bit = 0; word != 0 && bit < 64; bit++) {
            add_bit(field, byte * 8 + bit);
        }
    }
}

/* Structures under one seal: a share of their bits in each state, all of them over the states. */
static size_t share_of(const struct nth_field *field)
{
    return field->kind == NTH_FIELD_CONFIG || field->kind == NTH_FIELD_STATE ||
                   field->kind == NTH_FIELD_REGION
               ? 4u
           : strcmp(field->name, "slot.header") == 0 ? 2u
                                                     : 1u;
}

static BOOLEAN add_field(void *context, const struct nth_field *field)
{
    (void)context;
    if (field->kind == NTH_FIELD_SPARE) { /* nobody looks */
        return TRUE;
    }
    if (strcmp(field->name, "cache.slots") == 0) {
        add_used(field);
    }
    if (field->bytes > WHOLE_BYTES) {
        add_sampled(field);
        return TRUE;
    }
    const size_t share = share_of(field);
    for (size_t bit = state_now % share; bit < field->bytes * 8; bit += share) {
        add_bit(field, bit);
    }
    return TRUE;
}

static void print_table(const uint8_t *verdicts, unsigned totals[CENSUS_VERDICT_COUNT])
{
    static unsigned rows[NAME_MAX_COUNT][CENSUS_VERDICT_COUNT];
    for (size_t idx = 0; idx < case_count; idx++) {
        rows[cases[idx].field][verdicts[idx]]++;
        totals[verdicts[idx]]++;
    }
    print_message("%-18s %8s %8s %8s %8s %7s %7s %6s %5s\n", "field", "bits", "touch", "validate",
                  "harmless", "silent", "broken", "crash", "hang");
    for (unsigned name = 0; name < name_count; name++) {
        const unsigned *row = rows[name];
        unsigned sum = 0;
        for (unsigned verdict = 0; verdict < CENSUS_VERDICT_COUNT; verdict++) {
            sum += row[verdict];
        }
        print_message("%-18s %8u %8u %8u %8u %7u %7u %6u %5u\n", names[name], sum,
                      row[CENSUS_TOUCH], row[CENSUS_VALIDATE], row[CENSUS_HARMLESS],
                      row[CENSUS_SILENT], row[CENSUS_BROKEN], row[CENSUS_CRASH], row[CENSUS_HANG]);
    }
}

/* ---- an older header ---- */

/* A header is written when its block is allocated and again when it is freed; its generation comes
 * round after 16 writes, 8 in 32 bits. */
#define GENERATION_COUNT (UINTPTR_MAX > 0xFFFFFFFFu ? 16u : 8u)
#define HEADER_BYTES 8u

static void an_older_header_put_back_is_noticed_until_its_generation_returns(void **state)
{
    (void)state;
    uint8_t header[HEADER_BYTES];
    HANDLE heap = HeapCreate(0, 0, 0);
    uint8_t *block = HeapAlloc(heap, 0, 300);
    for (unsigned idx = 0; idx < HEADER_BYTES; idx++) {
        header[idx] = nth_peek(block - HEADER_BYTES + idx);
    }
    for (unsigned writes = 2; writes < GENERATION_COUNT; writes += 2) {
        uint8_t kept[HEADER_BYTES];
        assert_true(HeapFree(heap, 0, block));
        assert_ptr_equal(HeapAlloc(heap, 0, 100), block);
        for (unsigned idx = 0; idx < HEADER_BYTES; idx++) {
            kept[idx] = nth_peek(block - HEADER_BYTES + idx);
            nth_poke(block - HEADER_BYTES + idx, header[idx]);
        }
        const struct rig_outcome outcome = rig_free(heap, block);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        rig_report_demand_field(NTH_CORRUPT_BLOCK_HEADER, heap, block, "block.header");
        for (unsigned idx = 0; idx < HEADER_BYTES; idx++) {
            nth_poke(block - HEADER_BYTES + idx, kept[idx]);
        }
        assert_true(HeapValidate(heap, 0, NULL));
    }
}

/* ---- bits ---- */

/* The control of every other verdict. */
static void the_battery_finds_nothing_without_damage(void **state)
{
    (void)state;
    static struct census_case undamaged[10000];
    size_t count = 0;
    for (uint8_t number = 0; number < census_state_count(); number++) {
        census_make(number);
        for (uint16_t target = 0; target < census_block_count(); target++) {
            for (uint8_t variant = 0; variant < CENSUS_VARIANT_COUNT; variant++) {
                undamaged[count] = (struct census_case){
                    .state = number, .variant = variant, .target = target, .flips = TRUE};
                count += census_block_at(target)->user != NULL;
            }
        }
    }
    uint8_t *verdicts = census_verdicts(count);
    census_sweep(undamaged, count, verdicts);
    for (size_t idx = 0; idx < count; idx++) {
        assert_string_equal(census_verdict_name(verdicts[idx]),
                            census_verdict_name(CENSUS_HARMLESS));
    }
}

static void no_flipped_bit_does_damage_that_nobody_reports(void **state)
{
    (void)state;
    unsigned totals[CENSUS_VERDICT_COUNT] = {0};
    for (state_now = 0; state_now < census_state_count(); state_now++) {
        HANDLE heap = census_make(state_now);
        assert_non_null(heap);
        assert_true(nth_fields(heap, add_field, NULL) > 0);
    }
    uint8_t *verdicts = census_verdicts(case_count);
    census_sweep(cases, case_count, verdicts);
    print_table(verdicts, totals);
    assert_int_equal(totals[CENSUS_OPEN], 0);
    assert_int_equal(totals[CENSUS_SILENT], 0);
    assert_int_equal(totals[CENSUS_BROKEN], 0);
    assert_int_equal(totals[CENSUS_CRASH], 0);
    assert_int_equal(totals[CENSUS_HANG], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_older_header_put_back_is_noticed_until_its_generation_returns, rig_setup,
            rig_teardown),
        cmocka_unit_test_setup_teardown(the_battery_finds_nothing_without_damage, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(no_flipped_bit_does_damage_that_nobody_reports, rig_setup,
                                        rig_teardown),
    };
    return cmocka_run_group_tests_name("flips", tests, NULL, NULL);
}
