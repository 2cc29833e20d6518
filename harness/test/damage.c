/* SPDX-License-Identifier: MIT
 *
 * Every class of damage of the catalogue, done to heaps of every kind: who must notice does, for a
 * promised reason; what nobody notices does no harm. The same programs without the damage are the
 * negative controls. */
#include "faults/damage.h"
#include "program/text.h"
#include "run/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES_MAX 16384u
#define CLASS_MAX 128u
#define LINK_COUNT 16u /* links remembered and put back */

/* ---- Programs ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *create;
} presets[] = {
    {"growable", "HeapCreate h1 0\n"},
    {"fixed", "HeapCreate h1 reserve=15 fixed 0\n"},
    {"no-serialize", "RtlCreateHeap h1 no-serialize 0\n"},
    {"exceptions", "RtlCreateHeap h1 exceptions 0\n"},
    {"front end", "HeapCreate h1 0\nHeapSetInformation h1 arg=0 2\n"},
    {"caller's memory", "RtlCreateHeap h1 arg=base 0\n"},
    {"no coalescing", "RtlCreateHeap h1 no-coalesce 0\n"},
    {"small segments", "parameter power:16 arg=0\nRtlCreateHeap h1 reserve=8 parameters 0\n"},
};

#define PRESET_COUNT (sizeof(presets) / sizeof(presets[0]))

/* What comes after the damage: look at all, use the block, use the heap. */
static const char *const probes[] = {
    "validate h1\n",
    "HeapSize s2\nHeapValidate s2\nHeapReAlloc s2 200\nHeapFree s2\nHeapSize s60\n"
    "RtlGetUserInfoHeap s61\nHeapFree s61\nHeapFree s62\nvalidate h1\n",
    "HeapFree s3\nHeapFree s1\nHeapAlloc s80 h1 100\nHeapAlloc s81 h1 60\nHeapAlloc s82 h1 300\n"
    "HeapAlloc s83 h1 5000\nHeapReAlloc s84 10\nHeapCompact h1\nHeapFree s41\nHeapFree s43\n"
    "HeapFree s45\nHeapAlloc s85 h1 30000\nHeapWalk h1\nHeapSize s44\nRtlZeroHeap h1\n"
    "HeapSummary h1\ncheck\n",
};

#define PROBE_COUNT (sizeof(probes) / sizeof(probes[0]))

struct text {
    char bytes[TEXT_BYTES_MAX];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int len =
        vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, arguments);
    va_end(arguments);
    assert_true(len >= 0 && text->len + (size_t)len < sizeof(text->bytes));
    text->len += (size_t)len;
}

/* Blocks of one size, so that the front end starts; of many sizes, every third of them free; with a
 * user value; of no byte; a large one; and another heap. */
static void put_state(struct text *text, size_t preset)
{
    put(text, "program flags=damage\n%sHeapCreate h2 0\n", presets[preset].create);
    for (unsigned name = 1; name <= 22; name++) {
        put(text, "HeapAlloc s%u h1 100\n", name);
    }
    put(text, "HeapFree s5\nHeapFree s9\nHeapFree s10\n");
    for (unsigned name = 40; name < 60; name++) {
        put(text, "HeapAlloc s%u h1 %u\n", name, 40 + (name - 40) * 136);
    }
    for (unsigned name = 40; name < 60; name += 3) {
        put(text, "HeapFree s%u\n", name);
    }
    put(text, "HeapAlloc s60 h1 0\nRtlAllocateHeap s61 h1 user-value 100\nHeapAlloc s62 h1 "
              "linear:60000/9\n");
    put(text, "HeapAlloc s63 h1 60000\nHeapFree s63\n");
    put(text, "HeapAlloc s70 h2 100\nHeapAlloc s71 h2 300\nHeapFree s70\n");
}

static const struct damage_try {
    unsigned slot;
    unsigned value;
    unsigned flags;
} tries[] = {
    {2, 3, 0},  {2, 61, 0}, {43, 17, 0}, {3, 100, 0}, {1, 0, 1},   {44, 70, 1}, {1, 0, 2},
    {44, 5, 3}, {1, 0, 4},  {2, 0, 5},   {44, 64, 5}, {1, 0, 6},   {0, 128, 0}, {0, 40, 7},
    {2, 5, 4},  {44, 0, 6}, {0, 0, 0},   {7, 255, 0}, {0, 320, 3}, {1, 6, 0},   {2, 4, 0},
};

#define TRY_COUNT (sizeof(tries) / sizeof(tries[0]))

/* What was remembered is put back after the header was written twice. */
static void put_damage(struct text *text, const struct fault_damage_info *info,
                       const struct damage_try *try)
{
    if (strcmp(info->name, "header-stale") == 0) {
        put(text, "damage keep-header s44 h1 0\nHeapReAlloc s44 20\nHeapReAlloc s44 150\n");
        put(text, "damage header-stale s44 h1 0\n");
    } else if (strcmp(info->name, "link-cycle") == 0) {
        put(text, "HeapAlloc s90 h1 777\nHeapAlloc s91 h1 50\nHeapAlloc s92 h1 777\n"
                  "HeapAlloc s93 h1 50\nHeapFree s90\nHeapFree s92\n");
        for (unsigned slot = 0; slot < LINK_COUNT; slot++) {
            put(text, "damage keep-link s%u h1 0\n", slot);
        }
        put(text, "HeapAlloc s94 h1 777\nHeapAlloc s95 h1 777\nHeapFree s94\nHeapFree s95\n");
        for (unsigned slot = 0; slot < LINK_COUNT; slot++) {
            put(text, "damage link-cycle s%u h1 0\n", slot);
        }
    } else {
        put(text, "damage %s s%u h1 flags=%u %u\n", info->name, try->slot, try->flags, try->value);
    }
}

static void parse(struct rig_program *program, const struct text *text)
{
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    if (!rig_text_parse(program, "test", text->bytes, text->len, error, sizeof(error))) {
        fail_msg("%s", error);
    }
}

/* ---- Running -------------------------------------------------------------------------------- */

static struct seen {
    unsigned tried;        /* programs */
    unsigned hit;          /* something was written */
    unsigned fields;       /* metadata was */
    unsigned stopped;      /* the write was */
    unsigned noticed;      /* programs with a report after it */
    unsigned due;          /* calls that had to notice */
    unsigned long reasons; /* a bit each */
} seen[CLASS_MAX];

static struct seen *seen_now;
static unsigned report_count;
static const char *last_reason;

static const char *const reason_names[] = {
#define NTH_REASON(name, text) #name,
#include <ntheap/reasons.def>
#undef NTH_REASON
};

static void note_reason(const char *reason)
{
    for (unsigned idx = 0; idx < sizeof(reason_names) / sizeof(reason_names[0]); idx++) {
        if (strcmp(reason_names[idx], reason) == 0) {
            seen_now->reasons |= 1ul << idx;
        }
    }
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    (void)context;
    (void)judge;
    if (step->op == RIG_OP_DAMAGE && !step->nothing) {
        seen_now->hit += step->damaged_bytes > 0;
        seen_now->fields += step->damaged.name != NULL;
        seen_now->stopped += step->outcome.raised;
    }
    report_count += step->outcome.reports > 0;
    if (step->outcome.reports > 0) {
        note_reason(step->outcome.report.reason);
        last_reason = step->outcome.report.reason;
    }
    seen_now->due += step->damage_due;
}

static struct rig_exec *exec;

static bool run(const struct rig_program *program, struct rig_verdict *verdict)
{
    report_count = 0;
    *verdict = rig_exec_run(exec, program);
    return !verdict->found;
}

/* The damage and what followed: print_error cuts long texts. */
static void tell(const struct text *text, const char *preset, const struct rig_verdict *verdict)
{
    const char *from = strstr(text->bytes, "\ndamage ");
    print_error("%s: %s at operation %u (%s), last reason %s:%.600s\n", preset,
                rig_clause_info(verdict->clause)->id, verdict->step_idx,
                rig_op_info(verdict->op)->name, last_reason == NULL ? "none" : last_reason,
                from == NULL ? text->bytes : from);
}

static unsigned bad_count;

static void run_one(unsigned class, size_t preset, const struct damage_try *try, size_t probe)
{
    static struct rig_program program;
    static struct text text;
    struct rig_verdict verdict;
    text.len = 0;
    put_state(&text, preset);
    put_damage(&text, fault_damage_info(class), try);
    put(&text, "%s", probes[probe]);
    parse(&program, &text);
    seen_now = &seen[class];
    seen_now->tried++;
    last_reason = NULL;
    if (!run(&program, &verdict)) {
        if (bad_count++ < 8) {
            tell(&text, presets[preset].name, &verdict);
        }
    }
    seen_now->noticed += report_count > 0;
}

static int setup(void **state)
{
    (void)state;
    const struct rig_options options = {
        .subject = rig_subject_core(),
        .judge = true,
        .watch = watch,
    };
    exec = rig_exec_create(&options);
    return exec == NULL;
}

static int teardown(void **state)
{
    (void)state;
    rig_exec_destroy(exec);
    return 0;
}

/* ---- The tests ------------------------------------------------------------------------------ */

static void without_damage_nothing_is_reported(void **state)
{
    (void)state;
    static struct rig_program program;
    static struct text text;
    static struct seen none;
    seen_now = &none;
    for (size_t preset = 0; preset < PRESET_COUNT; preset++) {
        for (size_t probe = 0; probe < PROBE_COUNT; probe++) {
            struct rig_verdict verdict;
            text.len = 0;
            put_state(&text, preset);
            put(&text, "%s", probes[probe]);
            parse(&program, &text);
            if (!run(&program, &verdict)) {
                tell(&text, presets[preset].name, &verdict);
            }
            assert_false(verdict.found);
            assert_int_equal(report_count, 0);
        }
    }
}

static void print_class(const struct fault_damage_info *info, const struct seen *row)
{
    static const char *const notices[] = {"call", "block", "heap", "validate", "nobody"};
    print_message("%-4s %-20s %-8s %6u %6u %6u %6u %6u %6u ", info->id, info->name,
                  notices[info->notice], row->tried, row->hit, row->fields, row->stopped, row->due,
                  row->noticed);
    for (unsigned idx = 0; idx < sizeof(reason_names) / sizeof(reason_names[0]); idx++) {
        print_message("%s", (row->reasons & 1ul << idx) != 0 ? reason_names[idx] : "");
        print_message("%s", (row->reasons & 1ul << idx) != 0 ? " " : "");
    }
    print_message("\n");
}

/* What has to come about somewhere, for the class to have been tried at all. The directory of
 * segments wants more of them than these heaps have: its seed in corpus/corrupt_fuzzer has. */
static bool was_tried(const struct fault_damage_info *info, const struct seen *row)
{
    const bool keeps = strcmp(info->change, "KEEP") == 0;
    switch (info->notice) {
    case FAULT_NOTICE_CALL:
        return row->stopped > 0;
    case FAULT_NOTICE_NOBODY:
        return (row->hit > 0 || keeps || strcmp(info->name, "segment-directory") == 0) &&
               (row->fields > 0 || row->noticed == 0);
    case FAULT_NOTICE_BLOCK:
    case FAULT_NOTICE_HEAP:
    case FAULT_NOTICE_VALIDATE:
    default:
        return row->fields > 0 && row->due > 0 && row->noticed > 0;
    }
}

static void each_class_comes_out_as_the_catalogue_says(void **state)
{
    (void)state;
    unsigned count = 0;
    while (fault_damage_info(count) != NULL) {
        for (size_t preset = 0; preset < PRESET_COUNT; preset++) {
            for (size_t idx = 0; idx < TRY_COUNT; idx++) {
                run_one(count, preset, &tries[idx], (preset + idx + count) % PROBE_COUNT);
            }
        }
        count++;
    }
    print_message("%-4s %-20s %-8s %6s %6s %6s %6s %6s %6s\n", "id", "class", "notice", "tried",
                  "hit", "fields", "stop", "due", "seen");
    for (unsigned class = 0; class < count; class ++) {
        print_class(fault_damage_info(class), &seen[class]);
        if (!was_tried(fault_damage_info(class), &seen[class])) {
            print_error("%s: never came about\n", fault_damage_info(class)->name);
            bad_count++;
        }
    }
    assert_int_equal(bad_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_damage_nothing_is_reported),
        cmocka_unit_test(each_class_comes_out_as_the_catalogue_says),
    };
    return cmocka_run_group_tests_name("damage", tests, setup, teardown);
}
