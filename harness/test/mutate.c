/* SPDX-License-Identifier: MIT
 *
 * Mutator, crossover, trimming and random programs: the same from the same seed, always readable,
 * never too long, and each mutation does what it is for and nothing else. */
#include "program/mutate.h"
#include "program/random.h"
#include "program/trim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CANARY 0xA7u

static const uint8_t magic[4] = {'H', 'R', 'P', 'G'};
static uint8_t input[RIG_PROGRAM_BYTES_MAX + 64];
static uint8_t other[RIG_PROGRAM_BYTES_MAX + 64];
static uint8_t output[RIG_PROGRAM_BYTES_MAX + 64];
static struct rig_program before;
static struct rig_program after;

/* ---- Comparing ------------------------------------------------------------------------------ */

/* Fields, a bit each. */
#define FIELD_OP 0x01u
#define FIELD_SLOT 0x02u
#define FIELD_HEAP 0x04u
#define FIELD_WIN32 0x08u
#define FIELD_CONTEXT 0x10u
#define FIELD_FLAGS 0x20u
#define FIELD_SIZE 0x40u /* class and value */
#define FIELD_ARG 0x80u
#define FIELD_THREAD 0x100u

static unsigned fields_changed(const struct rig_record *one, const struct rig_record *two)
{
    return (one->op != two->op ? FIELD_OP : 0) | (one->slot != two->slot ? FIELD_SLOT : 0) |
           (one->heap != two->heap ? FIELD_HEAP : 0) |
           (one->win32 != two->win32 ? FIELD_WIN32 : 0) |
           (one->context != two->context ? FIELD_CONTEXT : 0) |
           (one->flags != two->flags ? FIELD_FLAGS : 0) |
           (one->size_class != two->size_class ? FIELD_SIZE : 0) |
           (one->value != two->value ? FIELD_SIZE : 0) | (one->arg != two->arg ? FIELD_ARG : 0) |
           (one->thread != two->thread ? FIELD_THREAD : 0);
}

static bool same(const struct rig_record *one, const struct rig_record *two)
{
    return fields_changed(one, two) == 0;
}

static bool same_program(const struct rig_program *one, const struct rig_program *two)
{
    uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    uint8_t more[RIG_PROGRAM_BYTES_MAX];
    const size_t len = rig_program_encode(one, bytes);
    return rig_program_encode(two, more) == len && memcmp(bytes, more, len) == 0;
}

static unsigned mutation_number(const char *name)
{
    for (unsigned mutation = 0; mutation < rig_mutation_count(); mutation++) {
        if (strcmp(rig_mutation_name(mutation), name) == 0) {
            return mutation;
        }
    }
    fail_msg("no mutation %s", name);
    return 0;
}

/* Whether `part`, in order, is in `whole`, with other records in between. */
static bool is_within(const struct rig_record *part, unsigned part_count,
                      const struct rig_program *whole)
{
    unsigned found = 0;
    for (unsigned idx = 0; idx < whole->count && found < part_count; idx++) {
        found += same(&whole->records[idx], &part[found]);
    }
    return found == part_count;
}

/* How often the record occurs. */
static unsigned occurrences(const struct rig_program *program, const struct rig_record *record)
{
    unsigned count = 0;
    for (unsigned idx = 0; idx < program->count; idx++) {
        count += same(&program->records[idx], record);
    }
    return count;
}

/* ---- Whole mutator -------------------------------------------------------------------------- */

static size_t any_input(uint8_t *bytes, uint32_t seed, size_t len)
{
    struct rig_rng rng = rig_rng_from(seed);
    for (size_t at = 0; at < len; at++) {
        bytes[at] = (uint8_t)(rig_rng_next(&rng) & 0xFFu);
    }
    if (seed % 2 == 0 && len >= 5) {
        memcpy(bytes, magic, sizeof(magic));
        bytes[4] = (uint8_t)(seed % 3);
    }
    return len;
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    unsigned differ = 0;
    size_t last = 0;
    for (uint32_t seed = 0; seed < 1000; seed++) {
        const size_t len = any_input(input, 17, 400);
        memcpy(other, input, len);
        const size_t one = rig_mutate(input, len, sizeof(input), seed);
        assert_int_equal(rig_mutate(other, len, sizeof(other), seed), one);
        assert_memory_equal(input, other, one);
        differ += one != last || memcmp(output, input, one) != 0;
        memcpy(output, input, one);
        last = one;
    }
    assert_true(differ > 950);
}

static void any_bytes_become_a_readable_program_within_the_limit(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 30000; seed++) {
        struct rig_rng rng = rig_rng_from(seed ^ 0x12345u);
        const size_t max = rig_rng_below(&rng, seed % 3 == 0 ? 64 : RIG_PROGRAM_BYTES_MAX + 30);
        memset(input, CANARY, sizeof(input));
        (void)any_input(input, seed, rig_rng_below(&rng, (uint32_t)max + 1));
        const size_t len = seed % 5 == 0 ? 0 : rig_rng_below(&rng, (uint32_t)max + 1);
        memset(&input[max], CANARY, sizeof(input) - max);
        const size_t result = rig_mutate(input, len, max, seed);
        assert_true(result <= max);
        assert_int_equal(result == 0, max == 0);
        assert_int_equal(rig_program_decode(&after, input, result), RIG_DECODE_OK);
        for (size_t at = max; at < sizeof(input); at++) {
            assert_int_equal(input[at], CANARY);
        }
        if (max >= RIG_HEADER_BYTES + RIG_RECORD_BYTES) {
            assert_int_equal(rig_program_encode(&after, other), result);
            assert_memory_equal(input, other, result);
            assert_int_not_equal(after.count, 0);
        }
    }
}

static void an_empty_program_always_gets_something(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 60000; seed++) {
        before = (struct rig_program){.count = 0};
        assert_int_equal(rig_mutate_program(&before, 1, seed) & 1u, 1);
        assert_int_equal(before.count, 1);
    }
}

static void input_longer_than_the_limit_is_cut(void **state)
{
    (void)state;
    for (size_t max = 0; max < 64; max++) {
        const size_t len = any_input(input, 1, 64);
        memset(&input[len], CANARY, 8);
        assert_true(rig_mutate(input, len, max, (uint32_t)max) <= max);
    }
}

static void what_is_of_a_newer_version_is_replaced(void **state)
{
    (void)state;
    rig_program_random(&before, 1, 3);
    const size_t len = rig_program_encode(&before, input);
    input[4] = RIG_VERSION + 1;
    const size_t result = rig_mutate(input, len, sizeof(input), 1);
    assert_int_equal(rig_program_decode(&after, input, result), RIG_DECODE_OK);
    assert_int_not_equal(after.count, 0);
}

static void every_mutation_is_made(void **state)
{
    (void)state;
    unsigned made[32] = {0};
    for (uint32_t seed = 0; seed < 5000; seed++) {
        rig_program_random(&before, seed, 40);
        before.flags = RIG_PROGRAM_MISUSE;
        const uint32_t mask = rig_mutate_program(&before, RIG_RECORD_COUNT_MAX, seed);
        assert_int_not_equal(mask, 0);
        assert_int_equal(mask >> rig_mutation_count(), 0);
        for (unsigned mutation = 0; mutation < rig_mutation_count(); mutation++) {
            made[mutation] += mask >> mutation & 1u;
        }
    }
    for (unsigned mutation = 0; mutation < rig_mutation_count(); mutation++) {
        if (made[mutation] < 50) {
            fail_msg("%s: made %u times", rig_mutation_name(mutation), made[mutation]);
        }
    }
    assert_true(made[mutation_number("insert")] > 3 * made[mutation_number("spelling")]);
}

static void without_records_and_room_nothing_can_be_done(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 200; seed++) {
        for (unsigned mutation = 0; mutation < rig_mutation_count(); mutation++) {
            before = (struct rig_program){.count = 0};
            assert_false(rig_mutate_once(&before, mutation, 0, seed));
            assert_int_equal(rig_mutate_program(&before, 0, seed), 0);
            assert_int_equal(before.count, 0);
            rig_program_random(&before, seed, 1);
            (void)rig_mutate_once(&before, mutation, 1, seed);
            assert_int_equal(before.count, 1);
            rig_program_random(&before, seed, RIG_RECORD_COUNT_MAX);
            (void)rig_mutate_once(&before, mutation, RIG_RECORD_COUNT_MAX, seed);
            assert_true(before.count <= RIG_RECORD_COUNT_MAX);
        }
    }
}

/* ---- Each mutation -------------------------------------------------------------------------- */

static bool mutate(const char *name, uint32_t seed)
{
    rig_program_random(&before, seed, 60);
    after = before;
    return rig_mutate_once(&after, mutation_number(name), RIG_RECORD_COUNT_MAX, seed);
}

static void a_mutation_of_a_field_changes_that_field_of_one_record(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned fields;
        const char *operands; /* of the record, one of them; "" for any */
    } rows[] = {
        {"size", FIELD_SIZE, "z"},
        {"slot", FIELD_SLOT, "s"},
        {"heap", FIELD_HEAP, "h"},
        {"flags", FIELD_FLAGS, "f"},
        {"context", FIELD_CONTEXT, "c"},
        {"thread", FIELD_THREAD, ""},
        {"spelling", FIELD_WIN32, ""},
        {"arg", FIELD_ARG | FIELD_SIZE, "av"},
        {"op", FIELD_OP, ""},
        {"preset", ~FIELD_OP, "r"},
    };
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        unsigned changed = 0;
        for (uint32_t seed = 0; seed < 400; seed++) {
            (void)mutate(rows[row].name, seed);
            unsigned records = 0;
            assert_int_equal(after.count, before.count);
            for (unsigned idx = 0; idx < before.count; idx++) {
                const unsigned fields = fields_changed(&before.records[idx], &after.records[idx]);
                assert_int_equal(fields & ~rows[row].fields, 0);
                const char *reads = rig_op_info(before.records[idx].op)->operands;
                assert_true(fields == 0 || rows[row].operands[0] == '\0' ||
                            strpbrk(reads, rows[row].operands) != NULL);
                records += fields != 0;
            }
            assert_true(records <= 1);
            changed += records;
        }
        const bool flips =
            (rows[row].fields & (FIELD_CONTEXT | FIELD_THREAD | FIELD_WIN32)) == rows[row].fields;
        if (changed < (flips ? 400 : 100)) {
            fail_msg("%s changed something %u times", rows[row].name, changed);
        }
    }
}

static bool is_power_of_two(unsigned number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static void numbers_move_by_powers_of_two_around_their_ends(void **state)
{
    (void)state;
    bool steps[17] = {false};
    for (uint32_t seed = 0; seed < 2000; seed++) {
        before = (struct rig_program){.count = 1,
                                      .records = {{.op = RIG_OP_SET_USER_VALUE, .value = 0xFFFF}}};
        after = before;
        if (seed % 2 == 0) {
            before.records[0].value = after.records[0].value = 0;
        }
        if (rig_mutate_once(&after, mutation_number("arg"), 1, seed)) {
            const unsigned up =
                ((unsigned)after.records[0].value - before.records[0].value) & 0xFFFFu;
            const unsigned down =
                ((unsigned)before.records[0].value - after.records[0].value) & 0xFFFFu;
            assert_true(is_power_of_two(up) || is_power_of_two(down));
            steps[up == 1 ? 0 : down == 1 ? 1 : 2] = true;
        }
    }
    assert_true(steps[0]);
    assert_true(steps[1]);
    assert_true(steps[2]);
}

static void a_byte_changes_one_record_or_the_header(void **state)
{
    (void)state;
    unsigned headers = 0;
    for (uint32_t seed = 0; seed < 400; seed++) {
        assert_true(mutate("byte", seed));
        unsigned records = 0;
        for (unsigned idx = 0; idx < before.count; idx++) {
            records += !same(&before.records[idx], &after.records[idx]);
        }
        assert_true(records <= 1);
        const bool header = before.seed != after.seed || before.flags != after.flags ||
                            memcmp(before.plan, after.plan, sizeof(before.plan)) != 0;
        assert_true(records == 0 || !header);
        headers += header;
    }
    assert_true(headers > 2);
}

static void inserting_keeps_all_that_was_there(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 400; seed++) {
        assert_true(mutate("insert", seed));
        assert_in_range(after.count, 61, 68);
        assert_true(is_within(before.records, before.count, &after));
    }
}

static void removing_takes_a_run_and_never_all(void **state)
{
    (void)state;
    bool lengths[60] = {false};
    for (uint32_t seed = 0; seed < 2000; seed++) {
        assert_true(mutate("remove", seed));
        assert_in_range(after.count, 1, 59);
        assert_true(is_within(after.records, after.count, &before));
        lengths[60 - after.count] = true;
    }
    assert_true(lengths[1]);
    assert_true(lengths[2]);
    assert_true(lengths[59]);
}

static void swapping_and_moving_keep_every_record(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 400; seed++) {
        assert_true(mutate(seed % 2 == 0 ? "swap" : "move", seed));
        assert_int_equal(after.count, before.count);
        assert_false(same_program(&before, &after));
        for (unsigned idx = 0; idx < before.count; idx++) {
            assert_int_equal(occurrences(&before, &before.records[idx]),
                             occurrences(&after, &before.records[idx]));
        }
    }
}

/* A small program whose copies are easy to tell: a block, another of its size, both freed. */
static void pair_make(struct rig_program *program)
{
    *program = (struct rig_program){.count = 4,
                                    .records = {{.op = RIG_OP_ALLOC, .slot = 10, .value = 100},
                                                {.op = RIG_OP_ALLOC,
                                                 .slot = 11,
                                                 .size_class = RIG_SIZE_OF_SLOT,
                                                 .value = 10u << 8 | 0xFF},
                                                {.op = RIG_OP_FREE, .slot = 10},
                                                {.op = RIG_OP_FREE, .slot = 11}}};
}

static void a_copy_names_other_blocks_in_its_sizes_too(void **state)
{
    (void)state;
    unsigned whole = 0;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        pair_make(&before);
        after = before;
        assert_true(rig_mutate_once(&after, mutation_number("duplicate"), 512, seed));
        assert_in_range(after.count, 5, 8);
        assert_true(is_within(before.records, 4, &after));
        /* The copy as a whole before or behind the original. */
        const struct rig_record *copy = &after.records[after.records[0].slot == 10 ? 4 : 0];
        if (after.count == 8 && copy[0].op == RIG_OP_ALLOC && copy[1].op == RIG_OP_ALLOC) {
            const uint8_t first = copy[0].slot;
            assert_int_not_equal(first, 10);
            assert_int_equal(copy[1].slot, (first + 1) & 0xFF);
            assert_int_equal(copy[1].value, first << 8 | 0xFF);
            assert_int_equal(copy[2].slot, first);
            whole++;
        }
    }
    assert_true(whole > 50);
}

/* What repeating a run makes of the pair. */
static void repeat_expect(struct rig_program *expected, unsigned at, unsigned count,
                          unsigned copies, unsigned delta)
{
    struct rig_program pair;
    pair_make(&pair);
    *expected = pair;
    expected->count = (uint16_t)(at + count);
    for (unsigned idx = 0; idx < (copies - 1) * count; idx++) {
        struct rig_record record = pair.records[at + idx % count];
        record.slot = (uint8_t)(record.slot + delta * (1 + idx / count));
        if (record.size_class == RIG_SIZE_OF_SLOT) {
            record.value = (uint16_t)(record.value + ((delta * (1 + idx / count)) << 8));
        }
        expected->records[expected->count++] = record;
    }
    for (unsigned idx = at + count; idx < pair.count; idx++) {
        expected->records[expected->count++] = pair.records[idx];
    }
}

/* Which of the three ways to name the copies this is; 3 for none. */
static unsigned repeat_way(unsigned at, unsigned count)
{
    static struct rig_program expected;
    const unsigned copies = (after.count - 4u) / count + 1;
    const unsigned deltas[3] = {0, 1, count};
    unsigned way = 0;
    while (way < 3) {
        if (is_power_of_two(copies) && (copies - 1) * count == after.count - 4u) {
            repeat_expect(&expected, at, count, copies, deltas[way]);
            if (same_program(&expected, &after)) {
                break;
            }
        }
        way++;
    }
    return way;
}

static void repeating_doubles_a_window_up_to_the_limit(void **state)
{
    (void)state;
    bool counts[RIG_RECORD_COUNT_MAX + 1] = {false};
    bool ways[4] = {false};
    for (uint32_t seed = 0; seed < 4000; seed++) {
        pair_make(&before);
        after = before;
        assert_true(rig_mutate_once(&after, mutation_number("repeat"), 512, seed));
        counts[after.count] = true;
        unsigned found = 3;
        for (unsigned at = 0; at < 4 && found == 3; at++) {
            for (unsigned count = 1; count <= 4 - at && found == 3; count++) {
                found = repeat_way(at, count);
            }
        }
        assert_in_range(found, 0, 2);
        ways[found] = true;
    }
    assert_true(counts[3 + 2]);
    assert_true(counts[3 + 256]);
    assert_true(counts[RIG_RECORD_COUNT_MAX]);
    assert_true(ways[0]);
    assert_true(ways[1]);
    assert_true(ways[2]);
}

static void wrapping_makes_and_destroys_the_heap_of_a_window(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 400; seed++) {
        assert_true(mutate("wrap", seed));
        assert_int_equal(after.count, before.count + 2);
        unsigned at = 0;
        while (same(&after.records[at], &before.records[at])) {
            at++;
        }
        const uint8_t heap = after.records[at].heap;
        assert_int_equal(after.records[at].op, RIG_OP_CREATE);
        assert_in_range(heap, 1, RIG_HEAP_COUNT - 1);
        unsigned inside = at;
        while ((fields_changed(&after.records[inside + 1], &before.records[inside]) &
                ~FIELD_HEAP) == 0) {
            inside++;
            if (inside == before.count) {
                break;
            }
        }
        for (unsigned idx = at + 1; idx <= inside; idx++) {
            assert_true(!rig_op_reads(after.records[idx].op, RIG_OPERAND_HEAP) ||
                        after.records[idx].heap == heap);
        }
        assert_int_equal(after.records[inside + 1].op, RIG_OP_DESTROY);
        assert_int_equal(after.records[inside + 1].heap, heap);
    }
}

/* ---- Crossover ------------------------------------------------------------------------------ */

/* Parents whose records tell whose they are and where they stood. */
static size_t parent_make(uint8_t *bytes, unsigned count, uint8_t slot, uint16_t mark)
{
    struct rig_program parent = {.seed = mark, .count = (uint16_t)count};
    for (unsigned idx = 0; idx < count; idx++) {
        parent.records[idx] = (struct rig_record){.op = RIG_OP_SET_USER_VALUE,
                                                  .slot = (uint8_t)(slot + idx % 16),
                                                  .value = (uint16_t)(mark + idx)};
    }
    return rig_program_encode(&parent, bytes);
}

#define MARK_A 1000u
#define MARK_B 2000u

static void a_child_has_records_of_both_parents_in_their_order(void **state)
{
    (void)state;
    unsigned whole = 0;
    unsigned apart = 0;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        const size_t a = parent_make(input, 40, 0, MARK_A);
        const size_t b = parent_make(other, 30, 0, MARK_B);
        const size_t len = rig_crossover(input, a, other, b, output, sizeof(output), seed);
        assert_int_equal(rig_program_decode(&after, output, len), RIG_DECODE_OK);
        assert_true(after.seed == MARK_A || after.seed == MARK_B);
        unsigned last_a = 0;
        unsigned last_b = 0;
        unsigned from_a = 0;
        unsigned from_b = 0;
        uint8_t moved = 0;
        for (unsigned idx = 0; idx < after.count; idx++) {
            const struct rig_record *record = &after.records[idx];
            const bool of_a = record->value < MARK_B;
            unsigned *last = of_a ? &last_a : &last_b;
            assert_true(record->value > *last);
            *last = record->value;
            assert_in_range(record->value, of_a ? MARK_A : MARK_B,
                            of_a ? MARK_A + 39 : MARK_B + 29);
            const uint8_t name = (uint8_t)((record->value - (of_a ? MARK_A : MARK_B)) % 16);
            if (of_a) {
                assert_int_equal(record->slot, name);
            } else {
                moved = (uint8_t)(record->slot - name);
            }
            from_a += of_a;
            from_b += !of_a;
        }
        assert_int_not_equal(from_a, 0);
        assert_int_not_equal(from_b, 0);
        if (moved != 0) {
            assert_in_range(moved, 16, 240);
            assert_int_equal(from_a, 40);
            assert_int_equal(from_b, 30);
            apart++;
        }
        whole += from_a == 40;
    }
    assert_in_range(apart, 400, 1200);
    assert_true(whole > apart + 200);
    assert_true(whole < 2000);
}

static void crossover_stays_within_its_limit_and_repeats_itself(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 5000; seed++) {
        struct rig_rng rng = rig_rng_from(seed);
        const size_t max = rig_rng_below(&rng, RIG_PROGRAM_BYTES_MAX + 20);
        const size_t a = any_input(input, seed, rig_rng_below(&rng, 1000));
        const size_t b = any_input(other, seed + 1, rig_rng_below(&rng, 3000));
        memset(output, CANARY, sizeof(output));
        const size_t len = rig_crossover(input, a, other, b, output, max, seed);
        assert_true(len <= max);
        assert_int_equal(len == 0, max < RIG_HEADER_BYTES + RIG_RECORD_BYTES);
        assert_int_equal(output[len], CANARY);
        assert_int_equal(rig_program_decode(&after, output, len), RIG_DECODE_OK);
        static uint8_t once_more[sizeof(output)];
        assert_int_equal(rig_crossover(input, a, other, b, once_more, max, seed), len);
        assert_memory_equal(once_more, output, len);
    }
}

static void a_short_child_still_has_both_parents(void **state)
{
    (void)state;
    unsigned one_sided = 0;
    for (uint32_t seed = 0; seed < 1000; seed++) {
        const size_t a = parent_make(input, 40, 0, MARK_A);
        const size_t b = parent_make(other, 30, 0, MARK_B);
        const size_t max = RIG_HEADER_BYTES + 8 * (size_t)RIG_RECORD_BYTES;
        const size_t len = rig_crossover(input, a, other, b, output, max, seed);
        assert_int_equal(rig_program_decode(&after, output, len), RIG_DECODE_OK);
        unsigned from_a = 0;
        for (unsigned idx = 0; idx < after.count; idx++) {
            from_a += after.records[idx].value < MARK_B;
        }
        one_sided += from_a == after.count;
        one_sided += from_a == 0;
    }
    assert_true(one_sided < 100);
}

static void an_empty_parent_gives_way_to_the_other(void **state)
{
    (void)state;
    const size_t a = parent_make(input, 0, 0, 0);
    const size_t b = parent_make(other, 5, 0, MARK_B);
    for (uint32_t seed = 0; seed < 20; seed++) {
        size_t len = rig_crossover(input, a, other, b, output, sizeof(output), seed);
        assert_int_equal(len, b);
        len = rig_crossover(other, b, input, a, output, sizeof(output), seed);
        assert_int_equal(len, b);
    }
}

/* ---- Trimming ------------------------------------------------------------------------------- */

/* Interesting: still has all records of every seventh place. */
static unsigned trim_all(unsigned count, unsigned *tries)
{
    static struct rig_trim trim;
    size_t len = parent_make(input, count, 0, MARK_A);
    rig_trim_init(&trim, input, len);
    const unsigned most = rig_trim_left(&trim);
    *tries = 0;
    while (rig_trim_next(&trim, output, &len)) {
        const unsigned left = rig_trim_left(&trim);
        assert_int_equal(rig_program_decode(&after, output, len), RIG_DECODE_OK);
        unsigned wanted = 0;
        for (unsigned idx = 0; idx < after.count; idx++) {
            wanted += (after.records[idx].value - MARK_A) % 7 == 6;
        }
        rig_trim_judge(&trim, wanted == count / 7);
        assert_true(rig_trim_left(&trim) < left);
        (*tries)++;
        assert_true(*tries <= most);
    }
    assert_int_equal(rig_trim_left(&trim), 0);
    assert_int_equal(rig_program_decode(&after, output, len), RIG_DECODE_OK);
    assert_int_equal(after.seed, MARK_A);
    return after.count;
}

static void trimming_leaves_only_what_is_needed(void **state)
{
    (void)state;
    for (unsigned count = 0; count <= 300; count++) {
        unsigned tries = 0;
        assert_int_equal(trim_all(count, &tries), count / 7);
        assert_true(tries <= 2 * count + 10);
    }
}

/* ---- Random programs ------------------------------------------------------------------------ */

static void uniform_programs_have_operations_by_weight(void **state)
{
    (void)state;
    unsigned seen[RIG_OP_COUNT] = {0};
    for (uint32_t seed = 0; seed < 512; seed++) {
        rig_program_random(&before, seed, 512);
        assert_int_equal(before.count, 512);
        for (unsigned idx = 0; idx < before.count; idx++) {
            seen[before.records[idx].op]++;
        }
    }
    /* 1,024 of each first byte are expected; four standard deviations are 128. */
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const unsigned expected = 1024 * rig_op_info(op)->weight;
        assert_in_range(seen[op], expected - expected / 8, expected + expected / 8);
    }
}

static void swarms_differ_and_fill_only_what_is_read(void **state)
{
    (void)state;
    unsigned with[RIG_OP_COUNT] = {0};
    for (uint32_t seed = 0; seed < 400; seed++) {
        bool seen[RIG_OP_COUNT] = {false};
        rig_program_random_swarm(&before, seed, 512);
        assert_int_equal(before.count, 512);
        for (unsigned idx = 0; idx < before.count; idx++) {
            const struct rig_record *record = &before.records[idx];
            seen[record->op] = true;
            const bool slot = rig_op_reads(record->op, RIG_OPERAND_SLOT) ||
                              rig_op_reads(record->op, RIG_OPERAND_RESERVE) ||
                              (record->flags & RIG_FLAG_ODD) != 0;
            const bool size = rig_op_reads(record->op, RIG_OPERAND_SIZE);
            assert_true(record->slot == 0 || slot);
            assert_true(record->size_class == 0 || size);
            assert_true(record->flags == 0 || rig_op_reads(record->op, RIG_OPERAND_FLAGS));
            assert_true(record->heap == 0 || rig_op_reads(record->op, RIG_OPERAND_HEAP));
            assert_true(record->arg == 0 || rig_op_reads(record->op, RIG_OPERAND_ARG));
        }
        for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
            with[op] += seen[op];
        }
    }
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        if (rig_op_fault(op) != 0) {
            assert_int_equal(with[op], 0); /* nobody asked for any */
        } else {
            assert_in_range(with[op], 100, op == RIG_OP_ALLOC ? 400 : 250);
        }
    }
    assert_true(with[RIG_OP_ALLOC] > 340);
}

static void a_swarm_chooses_only_what_it_likes(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 400; seed++) {
        struct rig_rng rng = rig_rng_from(seed);
        struct rig_swarm swarm;
        rig_swarm_choose(&swarm, &rng);
        uint32_t total = 0;
        for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
            total += swarm.weights[op];
        }
        assert_int_equal(total, swarm.weight_total);
        assert_int_not_equal(swarm.kinds, 0);
        for (unsigned count = 0; count < 2000; count++) {
            struct rig_record record;
            const unsigned op = rig_swarm_op(&swarm, &rng);
            rig_swarm_fill(&swarm, &rng, op, &record);
            assert_int_not_equal(swarm.weights[op], 0);
            assert_int_equal(record.op, op);
            assert_int_equal(record.thread & ~swarm.thread_mask, 0);
            assert_int_equal(record.heap & ~swarm.heap_mask, 0);
            assert_int_equal(record.flags & ~swarm.flags_mask, 0);
            assert_true(swarm.contexts || record.context == 0);
        }
    }
}

static void the_generator_is_even_and_below_its_limit(void **state)
{
    (void)state;
    struct rig_rng rng = rig_rng_from(5);
    unsigned counts[10] = {0};
    for (unsigned idx = 0; idx < 100000; idx++) {
        counts[rig_rng_below(&rng, 10)]++;
    }
    for (unsigned idx = 0; idx < 10; idx++) {
        assert_in_range(counts[idx], 9500, 10500);
    }
    assert_int_equal(rig_rng_below(&rng, 1), 0);
    assert_true(rig_rng_once_in(&rng, 1));
    /* The reference sequence of splitmix64 from 0, upper halves. */
    struct rig_rng zero = rig_rng_from(0);
    assert_int_equal(rig_rng_next(&zero), 0xE220A839u);
    assert_int_equal(rig_rng_next(&zero), 0x6E789E6Au);
}

/* ---- Faults --------------------------------------------------------------------------------- */

static bool mutate_faulty(const char *name, uint8_t flags, uint32_t seed)
{
    rig_program_random(&before, seed, 60);
    before.flags = flags;
    after = before;
    return rig_mutate_once(&after, mutation_number(name), RIG_RECORD_COUNT_MAX, seed);
}

static bool asks_for(uint8_t flags, const struct rig_record *record)
{
    return (rig_op_fault(record->op) & flags) != 0;
}

static void a_fault_is_put_in_with_a_call_behind_it_that_names_the_same(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {RIG_PROGRAM_MISUSE, RIG_PROGRAM_PLAN, RIG_PROGRAM_DAMAGE,
                                    RIG_PROGRAM_MISUSE | RIG_PROGRAM_DAMAGE};
    unsigned same_slot = 0;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        const uint8_t flags = kinds[seed % sizeof(kinds)];
        assert_true(mutate_faulty("fault", flags, seed));
        assert_int_equal(after.count, before.count + 2);
        unsigned at = 0;
        while (at < before.count && same(&after.records[at], &before.records[at])) {
            at++;
        }
        assert_true(is_within(before.records, before.count, &after));
        const struct rig_record *fault = &after.records[at];
        assert_true(asks_for(flags, fault));
        assert_int_equal(rig_op_fault(fault[1].op), 0);
        if (rig_op_reads(fault[1].op, RIG_OPERAND_SLOT)) {
            assert_int_equal(fault[1].slot, fault[0].slot);
            same_slot++;
        }
        if (rig_op_reads(fault[1].op, RIG_OPERAND_HEAP)) {
            assert_int_equal(fault[1].heap, fault[0].heap);
        }
    }
    assert_true(same_slot > 500);
}

static void a_program_that_asks_for_none_gets_no_fault(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        assert_false(mutate_faulty("fault", 0, seed));
        assert_false(mutate_faulty("move_fault", 0, seed));
        assert_true(mutate_faulty("insert", 0, seed));
        unsigned faults_before = 0;
        unsigned faults_after = 0;
        for (unsigned idx = 0; idx < after.count; idx++) {
            faults_after += rig_op_fault(after.records[idx].op) != 0;
            faults_before += idx < before.count && rig_op_fault(before.records[idx].op) != 0;
        }
        assert_int_equal(faults_after, faults_before);
    }
}

static void a_moved_fault_is_elsewhere_and_all_else_in_its_order(void **state)
{
    (void)state;
    unsigned moved = 0;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        if (!mutate_faulty("move_fault", RIG_PROGRAM_MISUSE, seed)) {
            continue;
        }
        moved++;
        assert_int_equal(after.count, before.count);
        assert_false(same_program(&after, &before));
        for (unsigned idx = 0; idx < before.count; idx++) {
            const struct rig_record *record = &before.records[idx];
            assert_int_equal(occurrences(&after, record), occurrences(&before, record));
        }
        static struct rig_program rest;
        rest = before;
        rest.count = 0;
        for (unsigned idx = 0; idx < before.count; idx++) {
            if (!asks_for(RIG_PROGRAM_MISUSE, &before.records[idx])) {
                rest.records[rest.count++] = before.records[idx];
            }
        }
        assert_true(is_within(rest.records, rest.count, &after));
    }
    assert_true(moved > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(any_bytes_become_a_readable_program_within_the_limit),
        cmocka_unit_test(an_empty_program_always_gets_something),
        cmocka_unit_test(input_longer_than_the_limit_is_cut),
        cmocka_unit_test(what_is_of_a_newer_version_is_replaced),
        cmocka_unit_test(every_mutation_is_made),
        cmocka_unit_test(without_records_and_room_nothing_can_be_done),
        cmocka_unit_test(a_mutation_of_a_field_changes_that_field_of_one_record),
        cmocka_unit_test(numbers_move_by_powers_of_two_around_their_ends),
        cmocka_unit_test(a_byte_changes_one_record_or_the_header),
        cmocka_unit_test(inserting_keeps_all_that_was_there),
        cmocka_unit_test(removing_takes_a_run_and_never_all),
        cmocka_unit_test(swapping_and_moving_keep_every_record),
        cmocka_unit_test(a_copy_names_other_blocks_in_its_sizes_too),
        cmocka_unit_test(repeating_doubles_a_window_up_to_the_limit),
        cmocka_unit_test(wrapping_makes_and_destroys_the_heap_of_a_window),
        cmocka_unit_test(a_child_has_records_of_both_parents_in_their_order),
        cmocka_unit_test(crossover_stays_within_its_limit_and_repeats_itself),
        cmocka_unit_test(a_short_child_still_has_both_parents),
        cmocka_unit_test(an_empty_parent_gives_way_to_the_other),
        cmocka_unit_test(trimming_leaves_only_what_is_needed),
        cmocka_unit_test(uniform_programs_have_operations_by_weight),
        cmocka_unit_test(a_fault_is_put_in_with_a_call_behind_it_that_names_the_same),
        cmocka_unit_test(a_program_that_asks_for_none_gets_no_fault),
        cmocka_unit_test(a_moved_fault_is_elsewhere_and_all_else_in_its_order),
        cmocka_unit_test(swarms_differ_and_fill_only_what_is_read),
        cmocka_unit_test(a_swarm_chooses_only_what_it_likes),
        cmocka_unit_test(the_generator_is_even_and_below_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
