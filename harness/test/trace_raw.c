/* SPDX-License-Identifier: MIT
 *
 * From the recorder's words to a trace: addresses become names, and what the recorder cannot have
 * seen is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/raw.h"

struct bytes {
    uint8_t data[1 << 20];
    size_t len;
    size_t room;
};

struct setting {
    struct bytes raw;
    struct bytes out;
    struct rig_raw_report report;
    struct rig_trace trace;
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

static int set_up(void **state)
{
    struct setting *setting = calloc(1, sizeof(*setting));
    *state = setting;
    if (setting == NULL) {
        return -1;
    }
    const struct rig_raw_header header = {.magic = RIG_RAW_MAGIC, .word_bytes = 8};
    memcpy(setting->raw.data, &header, sizeof(header));
    setting->raw.len = RIG_RAW_HEADER_BYTES;
    setting->out.room = sizeof(setting->out.data);
    return 0;
}

static int tear_down(void **state)
{
    struct setting *setting = *state;
    rig_trace_free(&setting->trace);
    free(setting);
    return 0;
}

static void word_put(struct setting *setting, uint64_t word)
{
    memcpy(setting->raw.data + setting->raw.len, &word, sizeof(word));
    setting->raw.len += sizeof(word);
}

static void header_set(struct setting *setting, size_t at, uint64_t value, size_t value_bytes)
{
    memcpy(setting->raw.data + at, &value, value_bytes);
}

static void used_set(struct setting *setting)
{
    header_set(setting, offsetof(struct rig_raw_header, used_bytes),
               setting->raw.len - RIG_RAW_HEADER_BYTES, 8);
}

static void put_made(struct setting *setting, enum rig_trace_kind kind, uint32_t thread,
                     uint64_t address, uint64_t size)
{
    word_put(setting, rig_raw_word(kind, kind == RIG_TRACE_MEMALIGN ? 6 : 0, thread));
    word_put(setting, address);
    word_put(setting, size);
}

static void put_moved(struct setting *setting, uint64_t old, uint64_t address, uint64_t size)
{
    word_put(setting, rig_raw_word(RIG_TRACE_REALLOC, 0, 0));
    word_put(setting, old);
    word_put(setting, address);
    word_put(setting, size);
}

static void put_free(struct setting *setting, uint64_t address)
{
    word_put(setting, rig_raw_word(RIG_TRACE_FREE, 0, 0));
    word_put(setting, address);
}

/* Finish and read what came of it; a trace without fault whatever the input was. */
static enum rig_trace_status finish(struct setting *setting)
{
    bool written = false;
    struct rig_trace_memory memory = {setting->raw.data, setting->raw.len};
    setting->out.len = 0;
    const enum rig_trace_status status = rig_raw_finish(rig_trace_from_memory, &memory, into_bytes,
                                                        &setting->out, &written, &setting->report);
    assert_true(written);
    struct rig_trace_reader reader;
    memory = (struct rig_trace_memory){setting->out.data, setting->out.len};
    assert_int_equal(rig_trace_read_begin(&reader, rig_trace_from_memory, &memory), RIG_TRACE_OK);
    rig_trace_free(&setting->trace);
    assert_int_equal(rig_trace_load(&setting->trace, &reader, SIZE_MAX), RIG_TRACE_DONE);
    assert_int_equal(setting->trace.count, setting->report.event_count);
    assert_int_equal(setting->trace.skipped, setting->report.skipped);
    rig_trace_read_end(&reader);
    return status;
}

static void expect(const struct setting *setting, size_t idx, uint8_t kind, uint32_t name,
                   uint64_t size)
{
    assert_in_range(idx, 0, setting->trace.count - 1);
    assert_int_equal(setting->trace.events[idx].kind, kind);
    assert_int_equal(setting->trace.events[idx].name, name);
    assert_int_equal(setting->trace.events[idx].size, size);
}

static void addresses_become_names_and_a_freed_name_comes_back(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 10);
    put_made(setting, RIG_TRACE_CALLOC, 0, 0x2000, 20);
    put_made(setting, RIG_TRACE_MEMALIGN, 0, 0x3000, 30);
    put_free(setting, 0x2000);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x9000, 40);
    put_free(setting, 0x1000);
    put_free(setting, 0x9000);
    used_set(setting);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    expect(setting, 0, RIG_TRACE_ALLOC, 0, 10);
    expect(setting, 1, RIG_TRACE_CALLOC, 1, 20);
    expect(setting, 2, RIG_TRACE_MEMALIGN, 2, 30);
    assert_int_equal(setting->trace.events[2].align_log2, 6);
    expect(setting, 3, RIG_TRACE_FREE, 1, 0);
    expect(setting, 4, RIG_TRACE_ALLOC, 1, 40);
    expect(setting, 5, RIG_TRACE_FREE, 0, 0);
    expect(setting, 6, RIG_TRACE_FREE, 1, 0);
    assert_int_equal(setting->report.block_count, 4);
    assert_int_equal(setting->report.peak_count, 3);
    assert_int_equal(setting->report.peak_bytes, 80);
    assert_int_equal(setting->report.left_count, 1);
    assert_int_equal(setting->report.skipped, 0);
    assert_int_equal(setting->report.implied, 0);
    assert_int_equal(setting->report.thread_count, 1);
}

static void a_moved_block_keeps_its_name(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 10);
    put_moved(setting, 0x1000, 0x5000, 100);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 11);
    put_moved(setting, 0x5000, 0x5000, 1);
    put_free(setting, 0x5000);
    used_set(setting);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    expect(setting, 1, RIG_TRACE_REALLOC, 0, 100);
    expect(setting, 2, RIG_TRACE_ALLOC, 1, 11);
    expect(setting, 3, RIG_TRACE_REALLOC, 0, 1);
    expect(setting, 4, RIG_TRACE_FREE, 0, 0);
    assert_int_equal(setting->report.peak_bytes, 111);
}

static void calls_on_blocks_from_before_are_left_out_and_counted(void **state)
{
    struct setting *setting = *state;
    put_free(setting, 0x1000);
    put_moved(setting, 0x2000, 0x3000, 50); /* from here on it is known */
    put_free(setting, 0x2000);
    put_free(setting, 0x3000);
    used_set(setting);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    assert_int_equal(setting->trace.count, 2);
    expect(setting, 0, RIG_TRACE_ALLOC, 0, 50);
    expect(setting, 1, RIG_TRACE_FREE, 0, 0);
    assert_int_equal(setting->report.skipped, 3);
}

static void an_address_that_comes_back_was_freed_unseen(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 10);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 20);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x2000, 30);
    put_moved(setting, 0x2000, 0x1000, 40);
    used_set(setting);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    expect(setting, 1, RIG_TRACE_FREE, 0, 0);
    expect(setting, 2, RIG_TRACE_ALLOC, 0, 20);
    expect(setting, 3, RIG_TRACE_ALLOC, 1, 30);
    expect(setting, 4, RIG_TRACE_FREE, 0, 0);
    expect(setting, 5, RIG_TRACE_REALLOC, 1, 40);
    assert_int_equal(setting->report.implied, 2);
}

static void threads_are_numbered_as_they_appear(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 7, 0x1000, 1);
    put_made(setting, RIG_TRACE_ALLOC, 3, 0x2000, 2);
    put_made(setting, RIG_TRACE_ALLOC, UINT32_MAX, 0x3000, 3);
    put_made(setting, RIG_TRACE_ALLOC, 7, 0x4000, 4);
    put_made(setting, RIG_TRACE_ALLOC, 7, 0x5000, 5);
    used_set(setting);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    expect(setting, 0, RIG_TRACE_ALLOC, 0, 1);
    expect(setting, 1, RIG_TRACE_THREAD, 1, 0);
    expect(setting, 3, RIG_TRACE_THREAD, 2, 0);
    expect(setting, 5, RIG_TRACE_THREAD, 0, 0);
    expect(setting, 7, RIG_TRACE_ALLOC, 4, 5);
    assert_int_equal(setting->report.thread_count, 3);
}

static void events_behind_the_used_bytes_do_not_count(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 1);
    used_set(setting);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x2000, 2);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    assert_int_equal(setting->trace.count, 1);
}

static void a_shorter_file_than_it_says_is_cut(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 1);
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x2000, 2);
    used_set(setting);
    const size_t whole = setting->raw.len;
    for (size_t len = RIG_RAW_HEADER_BYTES; len < whole; len++) {
        setting->raw.len = len;
        assert_int_equal(finish(setting), RIG_TRACE_CUT);
        assert_int_equal(setting->trace.count, (len - RIG_RAW_HEADER_BYTES) / 24);
    }
}

static void expect_bad(struct setting *setting, uint64_t offset, const char *expected,
                       size_t event_count)
{
    assert_int_equal(finish(setting), RIG_TRACE_BAD);
    assert_string_equal(setting->report.expected, expected);
    assert_int_equal(setting->report.offset, offset);
    assert_int_equal(setting->trace.count, event_count);
}

static void a_bad_header_is_told(void **state)
{
    struct setting *setting = *state;
    header_set(setting, offsetof(struct rig_raw_header, word_bytes), 5, 4);
    expect_bad(setting, 0, "a word of 4 or 8 bytes", 0);
    header_set(setting, 0, RIG_RAW_MAGIC + 1, 8);
    expect_bad(setting, 0, "a header of the recorder", 0);
    header_set(setting, 0, RIG_RAW_MAGIC, 8);
    setting->raw.len = RIG_RAW_HEADER_BYTES - 1;
    expect_bad(setting, 0, "a header of the recorder", 0);
}

static void what_stands_before_a_bad_event_is_kept(void **state)
{
    struct setting *setting = *state;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 1);
    put_made(setting, RIG_TRACE_THREAD, 0, 0x2000, 2);
    used_set(setting);
    expect_bad(setting, RIG_RAW_HEADER_BYTES + 24, "an event of the recorder", 1);
}

static void an_address_of_0_is_no_programs(void **state)
{
    struct setting *setting = *state;
    put_free(setting, 0);
    used_set(setting);
    expect_bad(setting, RIG_RAW_HEADER_BYTES + 16,
               "addresses and sizes that a program can have, before this place", 0);
}

static void why_the_recorder_stopped_is_passed_on(void **state)
{
    struct setting *setting = *state;
    header_set(setting, offsetof(struct rig_raw_header, stop_reason), 28, 4);
    assert_int_equal(finish(setting), RIG_TRACE_DONE);
    assert_int_equal(setting->report.stop_reason, 28);
}

static void a_full_sink_is_told(void **state)
{
    struct setting *setting = *state;
    bool written = true;
    put_made(setting, RIG_TRACE_ALLOC, 0, 0x1000, 1);
    used_set(setting);
    setting->out.room = 4;
    struct rig_trace_memory memory = {setting->raw.data, setting->raw.len};
    assert_int_equal(rig_raw_finish(rig_trace_from_memory, &memory, into_bytes, &setting->out,
                                    &written, &setting->report),
                     RIG_TRACE_DONE);
    assert_false(written);
}

static void any_raw_bytes_give_a_trace_without_fault(void **state)
{
    struct setting *setting = *state;
    uint64_t random = 77;
    for (unsigned round = 0; round < 2000; round++) {
        setting->raw.len = RIG_RAW_HEADER_BYTES;
        for (unsigned event = 0; event < 100; event++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            const uint64_t word =
                random % 64 == 0
                    ? random
                    : rig_raw_word((enum rig_trace_kind)(1 + random % 5), 0, random >> 20 & 3);
            word_put(setting, word);
            word_put(setting, 16 + (random >> 32 & 15) * 16);
            if (random % 5 != 4) {
                word_put(setting, 16 + (random >> 40 & 15) * 16);
            }
            if (random % 5 == 3) {
                word_put(setting, random >> 50);
            }
        }
        used_set(setting);
        setting->raw.len -= random % 16;
        (void)finish(setting);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(addresses_become_names_and_a_freed_name_comes_back),
        TEST(a_moved_block_keeps_its_name),
        TEST(calls_on_blocks_from_before_are_left_out_and_counted),
        TEST(an_address_that_comes_back_was_freed_unseen),
        TEST(threads_are_numbered_as_they_appear),
        TEST(events_behind_the_used_bytes_do_not_count),
        TEST(a_shorter_file_than_it_says_is_cut),
        TEST(a_bad_header_is_told),
        TEST(what_stands_before_a_bad_event_is_kept),
        TEST(an_address_of_0_is_no_programs),
        TEST(why_the_recorder_stopped_is_passed_on),
        TEST(a_full_sink_is_told),
        TEST(any_raw_bytes_give_a_trace_without_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
