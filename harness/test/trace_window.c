/* SPDX-License-Identifier: MIT
 *
 * Windows of traces: whatever the trace, the program is one that a naive table can follow, and what
 * it keeps alive is what the trace keeps alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "program/size.h"
#include "program/text.h"
#include "trace/window.h"

#define EVENT_COUNT 20000u
#define NAME_COUNT 2000u

struct made {
    struct rig_trace trace;
    struct rig_trace_event events[EVENT_COUNT];
    uint32_t live[NAME_COUNT];
    size_t live_count;
    uint32_t dead[NAME_COUNT];
    size_t dead_count;
    uint64_t random;
};

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int set_up(void **state)
{
    struct made *made = calloc(1, sizeof(*made));
    *state = made;
    if (made == NULL) {
        return -1;
    }
    made->trace.events = made->events;
    made->trace.thread_count = 1;
    made->random = 1;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void add(struct made *made, enum rig_trace_kind kind, uint32_t name, uint64_t size)
{
    assert_true(made->trace.count < EVENT_COUNT);
    made->events[made->trace.count++] =
        (struct rig_trace_event){.kind = (uint8_t)kind, .name = name, .size = size};
}

static uint32_t add_alloc(struct made *made, enum rig_trace_kind kind, uint64_t size)
{
    const uint32_t name =
        made->dead_count != 0 ? made->dead[--made->dead_count] : made->trace.name_count++;
    assert_true(name < NAME_COUNT);
    made->live[made->live_count++] = name;
    add(made, kind, name, size);
    return name;
}

static void add_free(struct made *made, size_t at)
{
    add(made, RIG_TRACE_FREE, made->live[at], 0);
    made->dead[made->dead_count++] = made->live[at];
    made->live[at] = made->live[--made->live_count];
}

/* Random calls that hold about `level` blocks alive. */
static void add_noise(struct made *made, size_t count, size_t level)
{
    for (size_t idx = 0; idx < count; idx++) {
        const uint64_t random = random_next(&made->random);
        const uint64_t size = random >> 20 & ((UINT64_C(1) << random % 20) - 1);
        if (random >> 8 & 1) {
            if (made->live_count != 0 && random >> 9 & 1) {
                const size_t at = (size_t)((random >> 10) % made->live_count);
                add(made, RIG_TRACE_REALLOC, made->live[at], size);
            } else {
                const uint32_t thread = random >> 11 & 7;
                add(made, RIG_TRACE_THREAD, thread, 0);
            }
        } else if (made->live_count < level && (made->live_count == 0 || random >> 9 & 3)) {
            (void)add_alloc(made, (enum rig_trace_kind)(1 + (random >> 12) % 3), size);
        } else {
            add_free(made, (size_t)((random >> 10) % made->live_count));
        }
    }
}

/* ---- The naive table ------------------------------------------------------------------------ */

struct slot {
    bool live;
    struct rig_record sized; /* what gave it its size */
};

/* Follow the program; every record must be one that needs no resolving. */
static void follow(const struct rig_program *program, uint8_t heap, struct slot *slots)
{
    memset(slots, 0, RIG_SLOT_COUNT * sizeof(*slots));
    assert_in_range(program->count, 1, RIG_RECORD_COUNT_MAX);
    for (size_t idx = 0; idx < program->count; idx++) {
        const struct rig_record *record = &program->records[idx];
        struct slot *slot = &slots[record->slot];
        assert_in_range(record->thread, 0, 3);
        assert_int_equal(record->context, RIG_CONTEXT_PLAIN);
        if (record->op == RIG_OP_CREATE) {
            assert_int_equal(idx, 0);
            assert_int_equal(record->heap, heap);
            assert_int_equal(record->flags, 0);
            assert_int_equal(heap, 1);
            continue;
        }
        assert_int_equal(slot->live, record->op != RIG_OP_ALLOC);
        if (record->op == RIG_OP_FREE) {
            slot->live = false;
            continue;
        }
        assert_true(record->op == RIG_OP_ALLOC || record->op == RIG_OP_REALLOC);
        assert_int_equal(record->heap, record->op == RIG_OP_ALLOC ? heap : 0);
        assert_true(idx != 0 || heap == 0);
        slot->live = true;
        slot->sized = *record;
    }
}

/* The trace's own sizes after `end` events, by name; UINT64_MAX for a dead block. */
static void sizes_after(const struct rig_trace *trace, size_t end, uint64_t *sizes)
{
    memset(sizes, 0xFF, NAME_COUNT * sizeof(*sizes));
    for (size_t at = 0; at < end; at++) {
        const struct rig_trace_event *event = &trace->events[at];
        if (event->kind != RIG_TRACE_THREAD) {
            sizes[event->name] = event->kind == RIG_TRACE_FREE ? UINT64_MAX : event->size;
        }
    }
}

static void expect_same_sizes(const struct rig_trace *trace, const struct rig_window_report *report,
                              const struct slot *slots)
{
    static uint64_t sizes[NAME_COUNT];
    bool seen[NAME_COUNT] = {false};
    sizes_after(trace, report->end_event, sizes);
    for (size_t idx = 0; idx < RIG_SLOT_COUNT; idx++) {
        const uint32_t name = report->slot_names[idx];
        assert_int_equal(slots[idx].live, name != RIG_WINDOW_NO_NAME);
        if (name == RIG_WINDOW_NO_NAME) {
            continue;
        }
        struct rig_record expected;
        assert_false(seen[name]);
        seen[name] = true;
        assert_int_not_equal(sizes[name], UINT64_MAX);
        (void)rig_window_size(&expected, sizes[name]);
        assert_int_equal(slots[idx].sized.size_class, expected.size_class);
        assert_int_equal(slots[idx].sized.value, expected.value);
    }
}

static void expect_same(const struct rig_program *left, const struct rig_program *right)
{
    uint8_t left_bytes[RIG_PROGRAM_BYTES_MAX];
    uint8_t right_bytes[RIG_PROGRAM_BYTES_MAX];
    const size_t len = rig_program_encode(left, left_bytes);
    assert_int_equal(rig_program_encode(right, right_bytes), len);
    assert_memory_equal(left_bytes, right_bytes, len);
}

static size_t count_ops(const struct rig_program *program, uint8_t op)
{
    size_t count = 0;
    for (size_t idx = 0; idx < program->count; idx++) {
        count += program->records[idx].op == op;
    }
    return count;
}

/* All that must hold of any window; returns it in `program` and `report`. */
static void cut(const struct made *made, size_t first, const struct rig_window_options *options,
                struct rig_program *program, struct rig_window_report *report)
{
    struct slot slots[RIG_SLOT_COUNT];
    const size_t record_max =
        options->record_count_max != 0 ? options->record_count_max : RIG_RECORD_COUNT_MAX;
    assert_true(rig_window_cut(&made->trace, first, options, program, report));
    assert_in_range(program->count, 1, record_max);
    assert_int_equal(program->seed, options->seed);
    follow(program, options->heap, slots);
    expect_same_sizes(&made->trace, report, slots);
    size_t calls = 0;
    for (size_t at = first; at < report->end_event; at++) {
        calls += made->events[at].kind != RIG_TRACE_THREAD;
    }
    assert_int_equal(calls - report->left_out_count + report->prologue_count + options->heap,
                     program->count);
    /* It ended because it was full, because the trace did, or because nothing of it was wanted. */
    assert_true(program->count + (size_t)2 > record_max || report->end_event == made->trace.count ||
                report->left_out_count != 0);
}

/* ---- Windows -------------------------------------------------------------------------------- */

static void any_window_of_any_trace_is_a_sound_program(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    struct rig_window_report report;
    static const size_t levels[] = {5, 100, 250, 400, 1500};
    size_t prologues = 0;
    size_t left_out = 0;
    for (size_t level = 0; level < sizeof(levels) / sizeof(levels[0]); level++) {
        add_noise(made, EVENT_COUNT / 5, levels[level]);
    }
    for (size_t first = 0; first < EVENT_COUNT; first += 37) {
        const struct rig_window_options options = {
            .heap = first % 2,
            .seed = (uint16_t)first,
            .record_count_max = (uint16_t)(first % 3 == 0 ? 0 : 16 + first % 497),
        };
        cut(made, first, &options, &program, &report);
        prologues += report.prologue_count != 0;
        left_out += report.left_out_count != 0;
    }
    assert_true(prologues > 100);
    assert_true(left_out > 10);
}

static void a_small_trace_is_kept_whole_and_exactly(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    struct rig_window_report report;
    add(made, RIG_TRACE_THREAD, 9, 0);
    (void)add_alloc(made, RIG_TRACE_ALLOC, 100);
    (void)add_alloc(made, RIG_TRACE_CALLOC, 200);
    add(made, RIG_TRACE_THREAD, 4, 0);
    (void)add_alloc(made, RIG_TRACE_MEMALIGN, 300);
    add(made, RIG_TRACE_REALLOC, 1, 0);
    add(made, RIG_TRACE_THREAD, 9, 0);
    add_free(made, 0);
    (void)add_alloc(made, RIG_TRACE_ALLOC, 65535);
    cut(made, 0, &(struct rig_window_options){.heap = 0}, &program, &report);
    static const struct rig_record expected[] = {
        {.op = RIG_OP_ALLOC, .slot = 0, .thread = 1, .value = 100},
        {.op = RIG_OP_ALLOC, .slot = 1, .thread = 1, .flags = RIG_FLAG_ZERO, .value = 200},
        {.op = RIG_OP_ALLOC, .slot = 2, .thread = 2, .value = 300},
        {.op = RIG_OP_REALLOC, .slot = 1, .thread = 2, .value = 0},
        {.op = RIG_OP_FREE, .slot = 0, .thread = 1},
        {.op = RIG_OP_ALLOC, .slot = 0, .thread = 1, .value = 65535},
    };
    assert_int_equal(program.count, 6);
    struct rig_program whole = {.count = 6};
    for (size_t idx = 0; idx < 6; idx++) {
        program.records[idx].win32 = 0;
        whole.records[idx] = expected[idx];
    }
    expect_same(&program, &whole);
    assert_int_equal(report.left_out_count, 0);
    assert_int_equal(report.rounded_count, 0);
    assert_int_equal(report.end_event, made->trace.count);
}

static void a_window_past_the_end_is_no_program(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    assert_false(
        rig_window_cut(&made->trace, 0, &(struct rig_window_options){.heap = 1}, &program, NULL));
    assert_int_equal(program.count, 0);
    (void)add_alloc(made, RIG_TRACE_ALLOC, 1);
    add(made, RIG_TRACE_THREAD, 1, 0);
    assert_false(
        rig_window_cut(&made->trace, 1, &(struct rig_window_options){.heap = 0}, &program, NULL));
    assert_false(
        rig_window_cut(&made->trace, 99, &(struct rig_window_options){.heap = 0}, &program, NULL));
    assert_int_equal(program.count, 0);
}

static void older_blocks_that_are_touched_are_made_first_with_the_size_they_had(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    struct rig_window_report report;
    for (uint64_t size = 0; size < 300; size++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 1000 + size);
    }
    add(made, RIG_TRACE_REALLOC, 5, 7777);
    const size_t first = made->trace.count;
    add_free(made, 5);
    add_free(made, 9);
    cut(made, first, &(struct rig_window_options){.heap = 1}, &program, &report);
    assert_int_equal(report.prologue_count, 2);
    assert_int_equal(program.count, 5);
    assert_int_equal(program.records[1].value, 7777);
    assert_int_equal(program.records[2].value, 1009);
    assert_int_equal(program.records[3].op, RIG_OP_FREE);
    assert_int_equal(program.records[3].slot, program.records[1].slot);
}

static void a_full_prologue_leaves_out_frees_and_lets_resizes_begin_a_block(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    struct rig_window_report report;
    for (uint64_t size = 0; size < 300; size++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, size);
    }
    const size_t first = made->trace.count;
    for (size_t idx = 0; idx < 200; idx++) {
        add_free(made, 0);
    }
    add(made, RIG_TRACE_REALLOC, made->live[0], 4321);
    cut(made, first, &(struct rig_window_options){.heap = 0}, &program, &report);
    assert_int_equal(report.prologue_count, RIG_WINDOW_PROLOGUE_MAX);
    assert_int_equal(report.left_out_count, 200 - RIG_WINDOW_PROLOGUE_MAX);
    assert_int_equal(program.count, 2 * RIG_WINDOW_PROLOGUE_MAX + 1);
    assert_int_equal(program.records[program.count - 1].op, RIG_OP_ALLOC);
    assert_int_equal(program.records[program.count - 1].value, 4321);
}

static void when_slots_run_out_those_that_live_longest_yield(void **state)
{
    struct made *made = *state;
    struct rig_program program;
    struct rig_window_report report;
    for (size_t idx = 0; idx < 300; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 10);
    }
    for (size_t idx = 0; idx < 100; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 20);
        add_free(made, made->live_count - 1);
    }
    cut(made, 0, &(struct rig_window_options){.heap = 0}, &program, &report);
    assert_int_equal(count_ops(&program, RIG_OP_FREE), report.end_event < 400 ? 0 : 100);
    assert_int_equal(report.end_event, 500);
    assert_int_equal(report.left_out_count, 300 - 255);
    size_t short_lived = 0;
    for (size_t idx = 0; idx < program.count; idx++) {
        short_lived += program.records[idx].value == 20;
    }
    assert_int_equal(short_lived, 100);
}

static void both_spellings_are_mixed_and_the_seed_decides_which(void **state)
{
    struct made *made = *state;
    struct rig_program one;
    struct rig_program two;
    size_t win32 = 0;
    size_t differ = 0;
    add_noise(made, 2000, 50);
    const struct rig_window_options options = {.seed = 1};
    assert_true(rig_window_cut(&made->trace, 0, &options, &one, NULL));
    assert_true(rig_window_cut(&made->trace, 0, &options, &two, NULL));
    expect_same(&one, &two);
    assert_true(
        rig_window_cut(&made->trace, 0, &(struct rig_window_options){.seed = 2}, &two, NULL));
    for (size_t idx = 0; idx < one.count; idx++) {
        win32 += one.records[idx].win32;
        differ += one.records[idx].win32 != two.records[idx].win32;
    }
    assert_in_range(win32, one.count * 2 / 5, one.count * 3 / 5);
    assert_in_range(differ, one.count * 2 / 5, one.count * 3 / 5);
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

static uint64_t size_of(uint64_t bytes, bool *exact)
{
    struct rig_record record = {.op = RIG_OP_ALLOC};
    *exact = rig_window_size(&record, bytes);
    return rig_size_resolve(&record, &(struct rig_size_facts){.slot_bytes = 0});
}

static void sizes_below_64_kib_are_themselves(void **state)
{
    (void)state;
    for (uint64_t bytes = 0; bytes < 65536; bytes++) {
        struct rig_record record = {.op = RIG_OP_ALLOC};
        assert_true(rig_window_size(&record, bytes));
        assert_int_equal(record.size_class, RIG_SIZE_LITERAL);
        assert_int_equal(record.value, bytes);
    }
}

static void larger_sizes_are_met_or_nearly(void **state)
{
    (void)state;
    static const uint64_t exact_ones[] = {65536,       65537,        65536 + 127, 0x7F000,
                                          0x7EFFF,     1 << 20,      100000,      1048560,
                                          0x7F000 - 8, 0x800000 - 1, 2 << 20,     12345677,
                                          132096,      1 << 24,      0x7FE000,    (1 << 24) - 128};
    bool exact = false;
    for (size_t idx = 0; idx < sizeof(exact_ones) / sizeof(exact_ones[0]); idx++) {
        const uint64_t bytes = exact_ones[idx];
        const uint64_t met = size_of(bytes, &exact);
        assert_int_equal(exact, bytes == met);
        assert_true(exact || bytes == 12345677);
    }
    for (uint64_t bytes = 65536; bytes < 0x7FF000; bytes += 3331) {
        const uint64_t met = size_of(bytes, &exact);
        const uint64_t distance = met > bytes ? met - bytes : bytes - met;
        assert_int_equal(exact, distance == 0);
        assert_in_range(distance, 0, bytes < 1048560 ? 8 : RIG_PAGE_BYTES / 2);
    }
    assert_true(size_of(UINT64_MAX, &exact) == SIZE_MAX);
    assert_int_equal(exact, SIZE_MAX == UINT64_MAX);
}

/* ---- Choosing ------------------------------------------------------------------------------- */

static const struct rig_window_pick *picked(const struct rig_window_pick *picks, size_t count,
                                            const char *what)
{
    for (size_t idx = 0; idx < count; idx++) {
        if (strcmp(picks[idx].what, what) == 0) {
            return &picks[idx];
        }
    }
    return NULL;
}

static void the_chooser_finds_what_is_interesting(void **state)
{
    struct made *made = *state;
    struct rig_window_pick picks[32];
    for (size_t idx = 0; idx < 2000; idx++) { /* nothing: one block at a time, a few stay */
        (void)add_alloc(made, RIG_TRACE_ALLOC, 10);
        add_free(made, made->live_count - 1);
        if (idx % 100 == 0) {
            (void)add_alloc(made, RIG_TRACE_ALLOC, 200);
        }
    }
    const size_t front = made->trace.count;
    for (size_t idx = 0; idx < 18; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 100);
        add(made, RIG_TRACE_REALLOC, made->live[0], 100);
    }
    for (size_t idx = 0; idx < 1000; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 5000);
        add_free(made, made->live_count - 1);
    }
    const size_t resizes = made->trace.count;
    for (size_t idx = 0; idx < 512; idx++) {
        add(made, RIG_TRACE_REALLOC, made->live[0], idx);
    }
    add_noise(made, 1000, 5);
    const size_t switches = made->trace.count;
    for (uint32_t idx = 0; idx < 300; idx++) {
        add(made, RIG_TRACE_THREAD, idx % 2, 0);
        (void)add_alloc(made, RIG_TRACE_ALLOC, 17000);
    }
    const size_t peak = made->trace.count - 1;
    while (made->live_count != 0) {
        add_free(made, 0);
    }
    for (size_t idx = 0; idx < 500; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 10);
        add_free(made, 0);
    }
    const size_t large = made->trace.count;
    (void)add_alloc(made, RIG_TRACE_ALLOC, 0x7F000);
    add_noise(made, 2000, 3);
    const size_t count = rig_window_choose(&made->trace, 1, picks, 12);
    assert_int_equal(count, 12);
    assert_int_equal(picked(picks, count, "front")->first_event, front);
    assert_int_equal(picked(picks, count, "realloc")->first_event, resizes);
    assert_in_range(picked(picks, count, "threads")->first_event, switches - 8, switches);
    assert_in_range(large - picked(picks, count, "large")->first_event, 1, 400);
    assert_in_range(peak - picked(picks, count, "peak")->first_event, 1, 400);
    assert_int_equal(picked(picks, count, "start")->first_event, 0);
    assert_non_null(picked(picks, count, "end"));
    assert_non_null(picked(picks, count, "random1"));
    for (size_t one = 0; one < count; one++) {
        for (size_t other = 0; other < one; other++) {
            const size_t left = picks[one].first_event;
            const size_t right = picks[other].first_event;
            assert_true((left > right ? left - right : right - left) >= 256);
        }
    }
}

static void a_short_trace_has_one_window_whatever_its_sizes(void **state)
{
    struct made *made = *state;
    struct rig_window_pick picks[8];
    assert_int_equal(rig_window_choose(&made->trace, 1, picks, 8), 0);
    for (unsigned log = 0; log < 64; log++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, (UINT64_C(1) << log) - 1);
        (void)add_alloc(made, RIG_TRACE_ALLOC, UINT64_MAX << log);
    }
    assert_int_equal(rig_window_choose(&made->trace, 1, picks, 8), 1);
    assert_int_equal(picks[0].first_event, 0);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static void trace_save(const struct made *made, const char *path)
{
    struct rig_trace_writer writer;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    rig_trace_write_begin(&writer, rig_trace_to_file, file, 8);
    for (size_t at = 0; at < made->trace.count; at++) {
        rig_trace_write(&writer, &made->events[at]);
    }
    assert_true(rig_trace_write_end(&writer, 0));
    assert_int_equal(fclose(file), 0);
}

static void windows_are_written_as_programs_that_can_be_read(void **state)
{
    struct made *made = *state;
    char folder[] = "/tmp/heaprig-test-XXXXXX";
    char path[200];
    char text[1 << 16];
    char error[300];
    size_t written = 0;
    struct rig_program program;
    struct rig_program expected;
    assert_non_null(mkdtemp(folder));
    for (size_t idx = 0; idx < 600; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 100 + idx);
        add_free(made, 0);
    }
    (void)snprintf(path, sizeof(path), "%s/made.trace.1", folder);
    trace_save(made, path);
    const struct rig_windows_options options = {.count = 2, .seed = 1};
    assert_true(rig_trace_windows(path, folder, &options, &written, error, sizeof(error)));
    assert_int_equal(written, 2);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/made.1-end.heap", folder);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/made.1-peak.heap", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const size_t len = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    (void)unlink(path);
    static const char first_line[] = "# made.1, recorded: the most live blocks; events 0 to 511 of "
                                     "1200, 0 left out, 0 sizes rounded\n";
    assert_memory_equal(text, first_line, sizeof(first_line) - 1);
    assert_true(rig_text_parse(&program, path, text, len, error, sizeof(error)));
    assert_true(
        rig_window_cut(&made->trace, 0, &(struct rig_window_options){.seed = 1}, &expected, NULL));
    expect_same(&program, &expected);
    assert_int_equal(rmdir(folder), 0);
}

static void windows_that_leave_out_most_are_passed_over(void **state)
{
    struct made *made = *state;
    char folder[] = "/tmp/heaprig-test-XXXXXX";
    char path[200];
    char error[300];
    size_t written = 0;
    assert_non_null(mkdtemp(folder));
    for (size_t idx = 0; idx < NAME_COUNT; idx++) {
        (void)add_alloc(made, RIG_TRACE_ALLOC, 100);
    }
    while (made->live_count != 0) {
        add_free(made, 0);
    }
    (void)snprintf(path, sizeof(path), "%s/made.trace", folder);
    trace_save(made, path);
    const struct rig_windows_options options = {.count = 20, .seed = 1};
    assert_true(rig_trace_windows(path, folder, &options, &written, error, sizeof(error)));
    (void)unlink(path);
    for (unsigned number = 1; number < 40; number++) {
        struct rig_program program;
        char text[1 << 14];
        (void)snprintf(path, sizeof(path), "%s/made-random%u.heap", folder, number);
        FILE *file = fopen(path, "r");
        if (file != NULL) {
            const size_t len = fread(text, 1, sizeof(text), file);
            (void)fclose(file);
            assert_true(rig_text_parse(&program, path, text, len, error, sizeof(error)));
            assert_true(count_ops(&program, RIG_OP_ALLOC) > 2 * count_ops(&program, RIG_OP_FREE));
            (void)unlink(path);
            written--;
        }
    }
    assert_in_range(written, 1, 3); /* the peak, the start, the end: some are too close */
    static const char *const others[] = {"peak", "front", "end", "start"};
    for (size_t idx = 0; idx < sizeof(others) / sizeof(others[0]); idx++) {
        (void)snprintf(path, sizeof(path), "%s/made-%s.heap", folder, others[idx]);
        written -= unlink(path) == 0;
    }
    assert_int_equal(written, 0);
    assert_int_equal(rmdir(folder), 0);
}

static void a_bad_trace_gives_no_windows_but_one_line(void **state)
{
    (void)state;
    char path[] = "/tmp/heaprig-test-XXXXXX";
    char error[300];
    char expected[300];
    size_t written = 7;
    const struct rig_windows_options options = {.count = 2};
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, "HRTR\1\10\0\0\1\5", 10), 10);
    (void)close(fd);
    assert_false(rig_trace_windows(path, "/tmp", &options, &written, error, sizeof(error)));
    (void)snprintf(expected, sizeof(expected),
                   "%s: offset 9: expected a dead block's name, or the next new one", path);
    assert_string_equal(error, expected);
    (void)unlink(path);
    assert_false(rig_trace_windows(path, "/tmp", &options, &written, error, sizeof(error)));
    (void)snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
    assert_string_equal(error, expected);
    assert_int_equal(written, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(any_window_of_any_trace_is_a_sound_program),
        TEST(a_small_trace_is_kept_whole_and_exactly),
        TEST(a_window_past_the_end_is_no_program),
        TEST(older_blocks_that_are_touched_are_made_first_with_the_size_they_had),
        TEST(a_full_prologue_leaves_out_frees_and_lets_resizes_begin_a_block),
        TEST(when_slots_run_out_those_that_live_longest_yield),
        TEST(both_spellings_are_mixed_and_the_seed_decides_which),
        cmocka_unit_test(sizes_below_64_kib_are_themselves),
        cmocka_unit_test(larger_sizes_are_met_or_nearly),
        TEST(the_chooser_finds_what_is_interesting),
        TEST(a_short_trace_has_one_window_whatever_its_sizes),
        TEST(windows_are_written_as_programs_that_can_be_read),
        TEST(windows_that_leave_out_most_are_passed_over),
        TEST(a_bad_trace_gives_no_windows_but_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
