/* SPDX-License-Identifier: MIT
 *
 * What a heap tells of its metadata: every committed byte of it is the application's, or a free
 * block's inside, or told once; and what belongs to a block is told with that block. */
#include "support/forge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define FIELD_MAX 60000u
#define SLOT_BYTES ((SIZE_T)100)
#define LARGE_BYTES ((SIZE_T)0x90000)

static struct nth_field fields[FIELD_MAX];
static struct rig_field_list told = {fields, FIELD_MAX, 0};

static int by_address(const void *left, const void *right)
{
    const uintptr_t one = (uintptr_t)((const struct nth_field *)left)->address;
    const uintptr_t two = (uintptr_t)((const struct nth_field *)right)->address;
    return (one > two) - (one < two);
}

static void gather(HANDLE heap)
{
    told.count = 0;
    const size_t of_heap = nth_fields(heap, rig_field_keep, &told);
    assert_int_equal(of_heap, told.count);
    const size_t of_process = nth_process_fields(rig_field_keep, &told);
    assert_int_equal(of_heap + of_process, told.count);
}

static BOOLEAN is(const struct nth_field *field, const char *name)
{
    return strcmp(field->name, name) == 0;
}

/* How many fields of this name there are for the block. */
static unsigned told_count(const char *name, LPCVOID block)
{
    unsigned count = 0;
    for (size_t idx = 0; idx < told.count; idx++) {
        count += fields[idx].block == block && is(&fields[idx], name);
    }
    return count;
}

/* ---- What a heap has ---- */

enum { BLOCK_COUNT = 400 };

static HANDLE plain_heap(void)
{
    return HeapCreate(0, 0, 0);
}

static HANDLE fixed_heap(void)
{
    return HeapCreate(0, 3 * PAGE, 0x400000);
}

static HANDLE small_segments_heap(void)
{
    return RtlCreateHeap(HEAP_GROWABLE, NULL, 0x40000, 2 * PAGE, NULL, NULL);
}

static HANDLE aligned_heap(void)
{
    return HeapCreate(HEAP_CREATE_ALIGN_16, 0, 0);
}

static const struct {
    const char *name;
    HANDLE (*make)(void);
} kinds[] = {{"plain", plain_heap},
             {"fixed", fixed_heap},
             {"small segments", small_segments_heap},
             {"aligned", aligned_heap}};

static BOOLEAN with_info[BLOCK_COUNT];

/* Blocks of all sorts, with holes between them. Those that stay, how many, and which of them have
 * user information. */
static size_t fill(HANDLE heap, PVOID *live)
{
    PVOID blocks[BLOCK_COUNT];
    size_t count = 0;
    for (size_t idx = 0; idx < BLOCK_COUNT; idx++) {
        static const SIZE_T sizes[] = {1, 40, 5000, 700, SLOT_BYTES, 17000, 300, SLOT_BYTES};
        const ULONG flags = idx % 5 == 0 ? HEAP_SETTABLE_USER_VALUE : 0;
        const SIZE_T large = idx % 100 == 7 ? LARGE_BYTES + idx : 0;
        blocks[idx] = HeapAlloc(heap, flags, large != 0 ? large : sizes[idx % 8]);
    }
    for (size_t idx = 0; idx < BLOCK_COUNT; idx++) {
        if (blocks[idx] != NULL && (idx % 3 == 0 || (idx > 100 && idx < 300 && idx % 8 == 5))) {
            assert_true(HeapFree(heap, 0, blocks[idx]));
        } else if (blocks[idx] != NULL) {
            with_info[count] = idx % 5 == 0;
            live[count++] = blocks[idx];
        }
    }
    return count;
}

/* ---- All of it, and nothing twice ---- */

/* The bytes between the header of a block and what is told next of it. */
static size_t inside(HANDLE heap, const struct nth_field *header)
{
    const struct nth_block block = forge_block(heap, header->block);
    return (size_t)nth_block_bytes(&block) - NTH_HEADER_BYTES -
           (block.user_info ? NTH_USER_INFO_BYTES : 0u);
}

/* [from, to) stands in no field, and `before` is the field that ends there. The committed bytes in
 * it, all of which must be a block's. */
static size_t untold(HANDLE heap, const struct nth_field *before, uintptr_t from, uintptr_t to)
{
    if (is(before, "block.header") || is(before, "slot.header")) {
        assert_int_equal(to - from, inside(heap, before));
    } else if (is(before, "free.previous")) {
        assert_int_equal(told_count("free.footer", before->block), 1);
    } else if (is(before, "large.header")) {
        const size_t bytes = (size_t)HeapSize(heap, 0, before->block);
        assert_in_range(to - from, bytes, bytes + 2 * PAGE);
    } else {
        assert_int_equal(from % PAGE, 0); /* another mapping, or pages that are not there */
        assert_false(nth_probe_read((LPCVOID)from, 1));
        return 0;
    }
    return to - from;
}

/* The last committed byte of a large block without user information is its own. */
static uintptr_t end_of(HANDLE heap, const struct nth_field *field, uintptr_t next)
{
    uintptr_t end = (uintptr_t)field->address + field->bytes;
    if (!is(field, "large.header") || told_count("large.user_info", field->block) != 0) {
        return next;
    }
    end += (size_t)HeapSize(heap, 0, field->block);
    return (end + PAGE - 1) / PAGE * PAGE;
}

static void every_committed_byte_is_a_blocks_or_told_once(void **state)
{
    static PVOID live[BLOCK_COUNT];
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        (void)rig_setup(state);
        HANDLE heap = kinds[kind].make();
        assert_non_null(heap);
        (void)fill(heap, live);
        gather(heap);
        qsort(fields, told.count, sizeof(fields[0]), by_address);
        size_t bytes = 0;
        for (size_t idx = 0; idx < told.count; idx++) {
            const struct nth_field *field = &fields[idx];
            const uintptr_t end = (uintptr_t)field->address + field->bytes;
            const uintptr_t next = idx + 1 < told.count ? (uintptr_t)fields[idx + 1].address : end;
            assert_true(field->bytes > 0);
            assert_true(nth_probe_read(field->address, field->bytes));
            assert_true(end <= next);
            bytes += field->bytes;
            if (end < next || is(field, "large.header")) {
                bytes += untold(heap, field, end, end_of(heap, field, next));
            }
        }
        assert_int_equal(bytes, nth_balance_now().committed_bytes);
    }
}

/* ---- What belongs to a block ---- */

static void what_is_a_blocks_is_told_with_it(void **state)
{
    static PVOID live[BLOCK_COUNT];
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        (void)rig_setup(state);
        HANDLE heap = kinds[kind].make();
        const size_t count = fill(heap, live);
        unsigned slots = 0;
        gather(heap);
        for (size_t idx = 0; idx < count; idx++) {
            const BOOLEAN info = with_info[idx];
            const unsigned large = told_count("large.header", live[idx]);
            const unsigned slot = told_count("slot.header", live[idx]);
            assert_int_equal(large + slot + told_count("block.header", live[idx]), 1);
            assert_int_equal(told_count("block.tag", live[idx]), 1 - large);
            assert_int_equal(told_count("large.user_value", live[idx]), info ? large : 0);
            assert_int_equal(told_count("large.user_info", live[idx]), info ? large : 0);
            assert_int_equal(told_count("block.user_value", live[idx]), info ? 1 - large : 0);
            assert_int_equal(told_count("block.user_info", live[idx]), info ? 1 - large : 0);
            slots += slot;
        }
        assert_true(kind == 1 ? slots == 0 : slots > 0); /* a fixed heap has no front end */
    }
}

/* ---- Looked at ---- */

/* What validating need not notice: bytes of nobody, the application's own value, numbers of
 * generations where nothing starts, and magazines past what is in them. */
static BOOLEAN is_free_to_change(const struct nth_field *field)
{
    return field->kind == NTH_FIELD_SPARE || is(field, "block.user_value") ||
           is(field, "large.user_value") || is(field, "region.tags") || is(field, "border.tag") ||
           is(field, "cache.slots");
}

static BOOLEAN keep_that_count(void *context, const struct nth_field *field)
{
    return is_free_to_change(field) || rig_field_keep(context, field);
}

/* A bit of the first and the last byte of each word of metadata: validating reports it, once, and
 * finds nothing when it is as it was. */
static void a_bit_of_any_word_is_noticed_by_validating(void **state)
{
    static PVOID live[BLOCK_COUNT];
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    (void)fill(heap, live);
    told.count = 0;
    (void)nth_fields(heap, keep_that_count, &told);
    assert_true(HeapValidate(heap, 0, NULL));
    for (size_t idx = 0; idx < told.count; idx++) {
        uint8_t *first = fields[idx].address;
        for (size_t at = 0; at < fields[idx].bytes; at += at % 8 == 0 ? 7 : 1) {
            uint8_t *byte = first + at;
            rig_report_forget();
            rig_flip(byte);
            const BOOL sound = HeapValidate(heap, 0, NULL);
            const unsigned reports = rig_report_count();
            rig_flip(byte);
            if (sound || reports != 1) {
                fail_msg("%s, byte %zu: %d, %u reports", fields[idx].name, at, sound, reports);
            }
        }
    }
    rig_report_forget();
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

/* What is damaged is described as far as it can be followed, and nothing else is. */
static void of_a_damaged_heap_no_more_is_told(void **state)
{
    static const char *const damaged[] = {"chunk.info",   "block.header", "slot.header",
                                          "region.pages", "large.header", "region",
                                          "cache.owner"};
    static PVOID live[BLOCK_COUNT];
    static struct nth_field whole[FIELD_MAX];
    (void)state;
    HANDLE heap = HeapCreate(0, 0, 0);
    (void)fill(heap, live);
    gather(heap);
    const size_t whole_count = told.count;
    memcpy(whole, fields, told.count * sizeof(fields[0]));
    for (size_t row = 0; row < sizeof(damaged) / sizeof(damaged[0]); row++) {
        size_t done = 0;
        for (size_t idx = 0; idx < whole_count && done < 3; idx++) {
            if (!is(&whole[idx], damaged[row])) {
                continue;
            }
            done++;
            rig_flip(whole[idx].address);
            gather(heap);
            rig_flip(whole[idx].address);
            assert_in_range(told.count, 1, whole_count);
            for (size_t other = 0; other < told.count; other++) {
                assert_true(nth_probe_read(fields[other].address, fields[other].bytes));
            }
            if (row == 0) {
                assert_int_equal(told_count("chunk.info", whole[idx].block), 0);
                assert_int_equal(told_count("chunk.next", whole[idx].block), 0);
            }
        }
        assert_true(done > 0);
    }
    gather(heap);
    assert_int_equal(told.count, whole_count);
    for (size_t idx = 0; idx < whole_count; idx++) {
        assert_string_equal(fields[idx].name, whole[idx].name);
        assert_ptr_equal(fields[idx].address, whole[idx].address);
        assert_int_equal(fields[idx].bytes, whole[idx].bytes);
        assert_ptr_equal(fields[idx].block, whole[idx].block);
    }
}

/* Compacting goes through all blocks and all free ones' links: it ends at the first that is
 * damaged, says so, and has no size to tell. */
static void compacting_ends_at_what_is_damaged(void **state)
{
    static const char *const damaged[] = {"free.next", "free.previous", "block.header"};
    static PVOID live[BLOCK_COUNT];
    static struct nth_field whole[FIELD_MAX];
    unsigned done = 0;
    (void)state;
    HANDLE heap = HeapCreate(HEAP_DISABLE_COALESCE_ON_FREE, 0, 0);
    (void)fill(heap, live);
    assert_true(HeapCompact(heap, 0) > 0);
    gather(heap);
    const size_t count = told.count;
    memcpy(whole, fields, told.count * sizeof(fields[0]));
    for (size_t idx = 0; idx < count; idx++) {
        BOOLEAN wanted = FALSE;
        for (size_t row = 0; row < sizeof(damaged) / sizeof(damaged[0]); row++) {
            wanted = wanted || is(&whole[idx], damaged[row]);
        }
        if (!wanted) {
            continue;
        }
        done++;
        rig_flip(whole[idx].address);
        const struct rig_outcome outcome =
            rig_run(&(struct rig_args){.call = RIG_HEAP_COMPACT, .heap = heap});
        rig_flip(whole[idx].address);
        rig_demand_error(&outcome, 0, ERROR_INVALID_PARAMETER);
        assert_int_equal(outcome.reports, 1);
    }
    assert_true(done > 50);
    assert_true(HeapCompact(heap, 0) > 0);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- Stopping ---- */

static BOOLEAN until(void *context, const struct nth_field *field)
{
    (void)field;
    return --*(size_t *)context > 0;
}

static void a_visitor_stops_where_it_says_so(void **state)
{
    static PVOID live[BLOCK_COUNT];
    (void)state;
    HANDLE heap = plain_heap();
    (void)fill(heap, live);
    gather(heap);
    for (size_t wanted = 1; wanted < 2000; wanted += 97) {
        size_t left = wanted;
        assert_int_equal(nth_fields(heap, until, &left), wanted);
        assert_int_equal(left, 0);
    }
    size_t left = 1;
    assert_int_equal(nth_process_fields(until, &left), 1);
    assert_int_equal(nth_fields(NULL, until, &left), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_committed_byte_is_a_blocks_or_told_once),
        TEST(what_is_a_blocks_is_told_with_it),
        TEST(a_bit_of_any_word_is_noticed_by_validating),
        TEST(of_a_damaged_heap_no_more_is_told),
        TEST(compacting_ends_at_what_is_damaged),
        TEST(a_visitor_stops_where_it_says_so),
    };
    return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
