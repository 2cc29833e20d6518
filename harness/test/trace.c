/* SPDX-License-Identifier: MIT
 *
 * The trace format: what is written is read back, and no bytes do harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/names.h"
#include "trace/trace.h"

/* ---- Bytes ---------------------------------------------------------------------------------- */

struct bytes {
    uint8_t data[1 << 16];
    size_t len;
    size_t room; /* the sink refuses beyond */
};

static bool into_bytes(void *self, const uint8_t *bytes, size_t len)
{
    struct bytes *out = self;
    if (len > out->room - out->len) {
        return false;
    }
    memcpy(out->data + out->len, bytes, len);
    out->len += len;
    return true;
}

static struct bytes *bytes_new(void)
{
    struct bytes *bytes = calloc(1, sizeof(*bytes));
    assert_non_null(bytes);
    bytes->room = sizeof(bytes->data);
    return bytes;
}

/* One byte at a time. */
static size_t in_drops(void *self, uint8_t *bytes, size_t len)
{
    return rig_trace_from_memory(self, bytes, len < 1 ? len : 1);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- A good trace --------------------------------------------------------------------------- */

static const struct rig_trace_event all_kinds[] = {
    {RIG_TRACE_ALLOC, 0, 0, 0},
    {RIG_TRACE_CALLOC, 0, 1, 127},
    {RIG_TRACE_MEMALIGN, 12, 2, 128},
    {RIG_TRACE_THREAD, 0, 1, 0},
    {RIG_TRACE_REALLOC, 0, 1, UINT64_MAX},
    {RIG_TRACE_FREE, 0, 0, 0},
    {RIG_TRACE_ALLOC, 0, 0, UINT64_C(1) << 63},
    {RIG_TRACE_MEMALIGN, 63, 3, 16383},
    {RIG_TRACE_THREAD, 0, 0, 0},
    {RIG_TRACE_REALLOC, 0, 3, 16384},
    {RIG_TRACE_FREE, 0, 3, 0},
    {RIG_TRACE_CALLOC, 0, 3, 1},
};

#define ALL_KINDS_COUNT (sizeof(all_kinds) / sizeof(all_kinds[0]))

static void write_events(struct bytes *bytes, const struct rig_trace_event *events, size_t count)
{
    struct rig_trace_writer writer;
    rig_trace_write_begin(&writer, into_bytes, bytes, 8);
    for (size_t idx = 0; idx < count; idx++) {
        rig_trace_write(&writer, &events[idx]);
    }
    assert_true(rig_trace_write_end(&writer, 5));
}

static void expect_events(const struct rig_trace_event *left, const struct rig_trace_event *right,
                          size_t count)
{
    for (size_t idx = 0; idx < count; idx++) {
        assert_int_equal(left[idx].kind, right[idx].kind);
        assert_int_equal(left[idx].align_log2, right[idx].align_log2);
        assert_int_equal(left[idx].name, right[idx].name);
        assert_int_equal(left[idx].size, right[idx].size);
    }
}

/* A long one: `count` random events that keep the rules. */
static size_t make_events(struct rig_trace_event *events, size_t count, uint64_t seed)
{
    uint32_t live[200];
    uint32_t dead[200];
    size_t live_count = 0;
    size_t dead_count = 0;
    uint32_t name_count = 0;
    for (size_t idx = 0; idx < count; idx++) {
        const uint64_t random = random_next(&seed);
        const uint64_t size = random >> 8 & ((UINT64_C(1) << (random >> 40) % 40) - 1);
        const size_t at = live_count == 0 ? 0 : (size_t)(random % live_count);
        if (live_count == 0 || (live_count < 200 && random % 3 == 0)) {
            const uint32_t name = dead_count != 0 ? dead[--dead_count] : name_count++;
            const uint8_t kind = (uint8_t)(RIG_TRACE_ALLOC + random / 3 % 3);
            const uint8_t align_log2 = kind == RIG_TRACE_MEMALIGN ? (uint8_t)(random / 9 % 30) : 0;
            events[idx] = (struct rig_trace_event){kind, align_log2, name, size};
            live[live_count++] = name;
        } else if (random % 3 == 1) {
            events[idx] = (struct rig_trace_event){RIG_TRACE_FREE, 0, live[at], 0};
            dead[dead_count++] = live[at];
            live[at] = live[--live_count];
        } else {
            events[idx] = (struct rig_trace_event){RIG_TRACE_REALLOC, 0, live[at], size};
        }
    }
    return count;
}

/* Reads `len` bytes that lie at the very end of a block, so that reading past them shows. */
static enum rig_trace_status read_all(const uint8_t *data, size_t len, rig_trace_source source,
                                      struct rig_trace *trace, char *told, size_t told_bytes)
{
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    assert_non_null(exact);
    memcpy(exact, data, len);
    struct rig_trace_memory memory = {exact, len};
    struct rig_trace_reader reader;
    enum rig_trace_status status = rig_trace_read_begin(&reader, source, &memory);
    memset(trace, 0, sizeof(*trace));
    if (status == RIG_TRACE_OK) {
        status = rig_trace_load(trace, &reader, SIZE_MAX);
    }
    struct rig_trace_event event = {.size = 77};
    assert_int_equal(rig_trace_read(&reader, &event), status); /* the end stays the end */
    assert_int_equal(event.size, 77);
    (void)rig_trace_tell(&reader, "t.trace", told, told_bytes);
    rig_trace_read_end(&reader);
    free(exact);
    return status;
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void events_come_back_as_they_were_written(void **state)
{
    (void)state;
    struct bytes *bytes = bytes_new();
    struct rig_trace trace;
    char told[200];
    write_events(bytes, all_kinds, ALL_KINDS_COUNT);
    assert_int_equal(
        read_all(bytes->data, bytes->len, rig_trace_from_memory, &trace, told, sizeof(told)),
        RIG_TRACE_DONE);
    assert_string_equal(told, "");
    assert_int_equal(trace.count, ALL_KINDS_COUNT);
    assert_int_equal(trace.name_count, 4);
    assert_int_equal(trace.thread_count, 2);
    assert_int_equal(trace.skipped, 5);
    expect_events(trace.events, all_kinds, ALL_KINDS_COUNT);
    rig_trace_free(&trace);
    free(bytes);
}

static void a_long_trace_comes_back_whatever_pieces_it_arrives_in(void **state)
{
    (void)state;
    enum { COUNT = 6000 };
    struct rig_trace_event *events = calloc(COUNT, sizeof(*events));
    struct bytes *bytes = bytes_new();
    struct rig_trace trace;
    char told[200];
    write_events(bytes, events, make_events(events, COUNT, 7));
    assert_true(bytes->len > (size_t)3 * RIG_TRACE_BUFFER_BYTES);
    for (int drops = 0; drops < 2; drops++) {
        assert_int_equal(read_all(bytes->data, bytes->len,
                                  drops != 0 ? in_drops : rig_trace_from_memory, &trace, told,
                                  sizeof(told)),
                         RIG_TRACE_DONE);
        assert_int_equal(trace.count, COUNT);
        expect_events(trace.events, events, COUNT);
        rig_trace_free(&trace);
    }
    free(bytes);
    free(events);
}

static void every_prefix_gives_its_whole_events_and_is_told_to_be_cut(void **state)
{
    (void)state;
    struct bytes *bytes = bytes_new();
    write_events(bytes, all_kinds, ALL_KINDS_COUNT);
    size_t before = 0;
    for (size_t len = 0; len < bytes->len; len++) {
        struct rig_trace trace;
        char told[200];
        char expected[200];
        const enum rig_trace_status status =
            read_all(bytes->data, len, rig_trace_from_memory, &trace, told, sizeof(told));
        if (len < RIG_TRACE_HEADER_BYTES) {
            assert_int_equal(status, RIG_TRACE_BAD);
            assert_string_equal(told, "t.trace: offset 0: expected a header of 8 bytes");
        } else {
            assert_int_equal(status, RIG_TRACE_CUT);
            (void)snprintf(expected, sizeof(expected),
                           "t.trace: cut short at offset %zu, after %zu whole events", len,
                           trace.count);
            assert_string_equal(told, expected);
        }
        assert_in_range(trace.count, before, before + 1);
        before = trace.count;
        if (trace.count != 0) {
            expect_events(trace.events, all_kinds, trace.count);
        }
        rig_trace_free(&trace);
    }
    assert_int_equal(before, ALL_KINDS_COUNT);
    free(bytes);
}

static void what_is_wrong_is_told_with_its_offset(void **state)
{
    (void)state;
#define HEADER "HRTR\1\10\0\0"
#define HEADER_32 "HRTR\1\4\0\0"
    static const struct {
        const char *bytes;
        size_t len;
        const char *told;
    } cases[] = {
#define CASE(bytes, told) {bytes, sizeof(bytes) - 1, "t.trace: offset " told}
        CASE("HRTS\1\10\0\0", "0: expected the letters HRTR"),
        CASE("HRTR\2\10\0\0", "4: expected version 1"),
        CASE("HRTR\1\7\0\0", "5: expected a word of 4 or 8 bytes"),
        CASE("HRTR\1\10\0\1", "6: expected two bytes of zero"),
        CASE(HEADER "\0", "8: expected an event's kind, 1 to 7"),
        CASE(HEADER "\1\0\5\10", "11: expected an event's kind, 1 to 7"),
        CASE(HEADER "\1\1\5", "9: expected a dead block's name, or the next new one"),
        CASE(HEADER "\1\0\5\1\0\5", "12: expected a dead block's name, or the next new one"),
        CASE(HEADER "\5\0", "9: expected a live block's name"),
        CASE(HEADER "\1\0\5\5\0\5\0", "14: expected a live block's name"),
        CASE(HEADER "\1\0\5\5\1", "12: expected a live block's name"),
        CASE(HEADER "\4\0\5", "9: expected a live block's name"),
        CASE(HEADER "\4\200\200\200\200\20\5", "9: expected a live block's name"),
        CASE(HEADER "\6\2", "9: expected a thread seen before, or the next new one"),
        CASE(HEADER "\3\0\100\5", "10: expected an alignment of one word"),
        CASE(HEADER_32 "\3\0\40\5", "10: expected an alignment of one word"),
        CASE(HEADER_32 "\1\0\200\200\200\200\20", "10: expected a size of one word"),
        CASE(HEADER "\1\200\0\5", "9: expected a number in its shortest form"),
        CASE(HEADER "\1\0\377\377\377\377\377\377\377\377\377\2",
             "10: expected a number below 2^64"),
        CASE(HEADER "\1\0\377\377\377\377\377\377\377\377\377\201\0",
             "10: expected a number below 2^64"),
        CASE(HEADER "\7\0x", "10: expected the end of the file"),
#undef CASE
    };
    for (size_t idx = 0; idx < sizeof(cases) / sizeof(cases[0]); idx++) {
        struct rig_trace trace;
        char told[200];
        assert_int_equal(read_all((const uint8_t *)cases[idx].bytes, cases[idx].len,
                                  rig_trace_from_memory, &trace, told, sizeof(told)),
                         RIG_TRACE_BAD);
        assert_string_equal(told, cases[idx].told);
        rig_trace_free(&trace);
    }
}

/* What a reader accepted, written again, is the same bytes. */
static void expect_rewritten(const uint8_t *data, size_t len, const struct rig_trace *trace,
                             uint8_t word_bytes, bool whole)
{
    struct bytes *again = bytes_new();
    struct rig_trace_writer writer;
    rig_trace_write_begin(&writer, into_bytes, again, word_bytes);
    for (size_t idx = 0; idx < trace->count; idx++) {
        rig_trace_write(&writer, &trace->events[idx]);
    }
    assert_true(rig_trace_write_end(&writer, trace->skipped));
    if (whole) {
        assert_int_equal(again->len, len);
        assert_memory_equal(again->data, data, len);
    } else {
        assert_true(again->len - 2 <= len);
        assert_memory_equal(again->data, data, again->len - 2); /* all but END and its count */
    }
    free(again);
}

static void any_bytes_are_read_without_harm(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct rig_trace_event events[COUNT];
    struct bytes *bytes = bytes_new();
    uint8_t *data = malloc(sizeof(bytes->data));
    uint64_t random = 11;
    size_t statuses[RIG_TRACE_NO_MEMORY + 1] = {0};
    write_events(bytes, events, make_events(events, COUNT, 3));
    for (unsigned round = 0; round < 20000; round++) {
        const unsigned changes = (unsigned)(random_next(&random) % 4);
        const uint64_t cut = random_next(&random);
        size_t len = cut % 4 == 0 ? (size_t)(cut / 4 % bytes->len) : bytes->len;
        memcpy(data, bytes->data, bytes->len);
        for (unsigned change = 0; change < changes; change++) {
            data[random_next(&random) % bytes->len] = (uint8_t)random_next(&random);
        }
        if (round % 16 == 0) { /* noise behind a good header */
            len = 8 + random_next(&random) % 64;
            for (size_t idx = 8; idx < len; idx++) {
                data[idx] = (uint8_t)(random_next(&random) >> 32) & (round % 32 == 0 ? 7 : 255);
            }
        }
        struct rig_trace trace;
        char told[200];
        const enum rig_trace_status status =
            read_all(data, len, round % 3 == 0 ? in_drops : rig_trace_from_memory, &trace, told,
                     sizeof(told));
        statuses[status]++;
        assert_int_equal(told[0] == '\0', status == RIG_TRACE_DONE);
        if (trace.count != 0) {
            expect_rewritten(data, len, &trace, data[5], status == RIG_TRACE_DONE);
        }
        rig_trace_free(&trace);
    }
    assert_true(statuses[RIG_TRACE_DONE] > 1000);
    assert_true(statuses[RIG_TRACE_CUT] > 1000);
    assert_true(statuses[RIG_TRACE_BAD] > 1000);
    free(data);
    free(bytes);
}

static void a_sink_that_refuses_is_told_at_the_end(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct rig_trace_event *events = calloc(COUNT, sizeof(*events));
    struct bytes *bytes = bytes_new();
    (void)make_events(events, COUNT, 9);
    for (size_t room = 0; room < 2; room++) {
        struct rig_trace_writer writer;
        bytes->len = 0;
        bytes->room = room * 5000;
        rig_trace_write_begin(&writer, into_bytes, bytes, 8);
        for (size_t idx = 0; idx < COUNT; idx++) {
            rig_trace_write(&writer, &events[idx]);
        }
        assert_false(rig_trace_write_end(&writer, 0));
    }
    free(bytes);
    free(events);
}

static void loading_stops_at_the_count_asked_for(void **state)
{
    (void)state;
    struct bytes *bytes = bytes_new();
    struct rig_trace_reader reader;
    struct rig_trace trace;
    write_events(bytes, all_kinds, ALL_KINDS_COUNT);
    struct rig_trace_memory memory = {bytes->data, bytes->len};
    assert_int_equal(rig_trace_read_begin(&reader, rig_trace_from_memory, &memory), RIG_TRACE_OK);
    assert_int_equal(rig_trace_load(&trace, &reader, 3), RIG_TRACE_OK);
    assert_int_equal(trace.count, 3);
    assert_int_equal(trace.name_count, 3);
    rig_trace_free(&trace);
    rig_trace_read_end(&reader);
    free(bytes);
}

static void a_reader_holds_as_many_names_as_there_are(void **state)
{
    (void)state;
    enum { COUNT = 9000 };
    struct rig_trace_event *events = calloc(COUNT, sizeof(*events));
    struct bytes *bytes = bytes_new();
    struct rig_trace trace;
    char told[200];
    for (uint32_t idx = 0; idx < COUNT; idx++) {
        events[idx] = (struct rig_trace_event){RIG_TRACE_ALLOC, 0, idx, idx};
    }
    write_events(bytes, events, COUNT);
    assert_int_equal(
        read_all(bytes->data, bytes->len, rig_trace_from_memory, &trace, told, sizeof(told)),
        RIG_TRACE_DONE);
    assert_int_equal(trace.name_count, COUNT);
    expect_events(trace.events, events, COUNT);
    rig_trace_free(&trace);
    free(bytes);
    free(events);
}

static void files_are_read_and_written(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    struct rig_trace_writer writer;
    struct rig_trace_reader reader;
    struct rig_trace_event event;
    assert_non_null(file);
    rig_trace_write_begin(&writer, rig_trace_to_file, file, 4);
    rig_trace_write(&writer, &all_kinds[1]);
    writer.buffer[9] = 0; /* its name: the first is 0 */
    assert_true(rig_trace_write_end(&writer, 0));
    rewind(file);
    assert_int_equal(rig_trace_read_begin(&reader, rig_trace_from_file, file), RIG_TRACE_OK);
    assert_int_equal(reader.word_bytes, 4);
    assert_int_equal(rig_trace_read(&reader, &event), RIG_TRACE_OK);
    assert_int_equal(event.kind, RIG_TRACE_CALLOC);
    assert_int_equal(rig_trace_read(&reader, &event), RIG_TRACE_DONE);
    rig_trace_read_end(&reader);
    (void)fclose(file);
}

static void the_map_of_names_agrees_with_a_plain_list(void **state)
{
    (void)state;
    enum { PLACES = 700 };
    static uint32_t plain[PLACES]; /* name and 1 */
    struct rig_names names = {.count = 0};
    uint64_t random = 5;
    size_t count = 0;
    for (unsigned round = 0; round < 200000; round++) {
        const uint64_t place = random_next(&random) % PLACES;
        const uint64_t address = (place % 7 << 44) + 16 + place * 16;
        struct rig_names_entry *entry = rig_names_find(&names, address);
        assert_int_equal(entry != NULL, plain[place] != 0);
        if (entry != NULL) {
            assert_int_equal(entry->address, address);
            assert_int_equal(entry->name + 1, plain[place]);
            rig_names_remove(&names, entry);
            plain[place] = 0;
            count--;
        } else {
            assert_true(rig_names_add(&names, address, round));
            plain[place] = round + 1;
            count++;
        }
        assert_int_equal(names.count, count);
    }
    rig_names_free(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_back_as_they_were_written),
        cmocka_unit_test(a_long_trace_comes_back_whatever_pieces_it_arrives_in),
        cmocka_unit_test(every_prefix_gives_its_whole_events_and_is_told_to_be_cut),
        cmocka_unit_test(what_is_wrong_is_told_with_its_offset),
        cmocka_unit_test(any_bytes_are_read_without_harm),
        cmocka_unit_test(a_sink_that_refuses_is_told_at_the_end),
        cmocka_unit_test(loading_stops_at_the_count_asked_for),
        cmocka_unit_test(a_reader_holds_as_many_names_as_there_are),
        cmocka_unit_test(files_are_read_and_written),
        cmocka_unit_test(the_map_of_names_agrees_with_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
