/* SPDX-License-Identifier: MIT
 *
 * What the sanitizers see of a program that uses core: its own errors on core's blocks at the line
 * where it makes them, core's at memory that core keeps to itself, and nothing where nothing is
 * wrong. Each deed is a child's; its report is read. Skipped in builds without the sanitizer
 * concerned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitize.h"

#if defined(NTH_ASAN)
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif
#if defined(NTH_MSAN)
#define WITH_MSAN 1
#else
#define WITH_MSAN 0
#endif
#if defined(NTH_TSAN)
#define WITH_TSAN 1
#else
#define WITH_TSAN 0
#endif

#define TEXT_BYTES 65536u
#define WORD_COUNT 6u

/* A child's run: program, arguments, NULL. */
struct run {
    const char *words[WORD_COUNT];
    char text[TEXT_BYTES]; /* what it wrote */
    int status;            /* as waitpid has it */
};

static void child_exec(const struct run *run, int output)
{
    char path[512];
    char *words[WORD_COUNT] = {NULL};
    (void)snprintf(path, sizeof(path), "%s/%s", NTH_CHILD_DIR, run->words[0]);
    for (size_t idx = 0; idx + 1 < WORD_COUNT && run->words[idx] != NULL; idx++) {
        words[idx] = strdup(run->words[idx]);
    }
    (void)dup2(output, STDOUT_FILENO);
    (void)dup2(output, STDERR_FILENO);
    (void)execv(path, words);
    _exit(127);
}

static void run_child(struct run *run)
{
    int ends[2];
    size_t length = 0;
    ssize_t got = 1;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_exec(run, ends[1]);
    }
    (void)close(ends[1]);
    while (got > 0 && length < TEXT_BYTES - 1) {
        got = read(ends[0], run->text + length, TEXT_BYTES - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    (void)close(ends[0]);
    run->text[length] = '\0';
    assert_int_equal(waitpid(child, &run->status, 0), child);
}

/* The report names the line that the child announced, in its first stack's first frame that lies in
 * the child's source, and nothing of core stands before it. */
static void demand_named(struct run *run, const char *kind)
{
    char place[128];
    const char *here = strstr(run->text, "here ");
    const char *report = strstr(run->text, kind);
    if (here == NULL || report == NULL) {
        fail_msg("%s %s %s %s: no \"%s\" in:\n%s", run->words[0], run->words[1],
                 run->words[2] != NULL ? run->words[2] : "",
                 run->words[3] != NULL ? run->words[3] : "", kind, run->text);
    }
    (void)snprintf(place, sizeof(place), "/%s.c:%ld", run->words[0],
                   strtol(here + strlen("here "), NULL, 10));
    const char *frame = strstr(report, "#0 ");
    assert_non_null(frame);
    const char *end = strchr(frame, '\n');
    const char *found = strstr(frame, place);
    if (found == NULL || end == NULL || found > end) {
        fail_msg("%s: not named in the first frame:\n%s", place, run->text);
    }
    assert_false(WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0);
}

static void demand_silence(const struct run *run)
{
    if (!WIFEXITED(run->status) || WEXITSTATUS(run->status) != 0) {
        fail_msg("%s %s: status %d:\n%s", run->words[0], run->words[1], run->status, run->text);
    }
    assert_null(strstr(run->text, "anitizer"));
}

static void need(int sanitizer)
{
    if (!sanitizer) {
        skip();
    }
}

/* ---- AddressSanitizer ---- */

static const char poison[] = "AddressSanitizer: use-after-poison";
static const char any_address[] = "ERROR: AddressSanitizer: "; /* its pages may be gone as well */

static void misuse(const char *kind, const char *size, const char *deed, const char *report)
{
    struct run run = {.words = {"misuse", kind, size, deed}};
    run_child(&run);
    if (report != NULL) {
        demand_named(&run, report);
    } else {
        demand_silence(&run);
    }
}

/* Kinds of block, each in a size whose end is the block's and one that leaves slack. */
static const struct {
    const char *kind;
    const char *whole;
    const char *odd;
} blocks[] = {
    {"back", "24", "21"},     {"front", "40", "37"},          {"back", "4096", "4095"},
    {"back", "8192", "8189"}, {"back", "0x90000", "0x90001"},
};

#define KIND_COUNT (sizeof(blocks) / sizeof(blocks[0]))

static void proper_use_is_silent(void **state)
{
    (void)state;
    for (size_t idx = 0; idx < KIND_COUNT; idx++) {
        misuse(blocks[idx].kind, blocks[idx].whole, "nothing", NULL);
        misuse(blocks[idx].kind, blocks[idx].odd, "nothing", NULL);
    }
}

static void one_byte_too_far_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_ASAN);
    for (size_t idx = 0; idx < KIND_COUNT; idx++) {
        misuse(blocks[idx].kind, blocks[idx].whole, "overflow", poison);
    }
}

static void one_byte_into_the_slack_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_ASAN);
    for (size_t idx = 0; idx < KIND_COUNT; idx++) {
        misuse(blocks[idx].kind, blocks[idx].odd, idx % 2 == 0 ? "overread" : "overflow", poison);
    }
    misuse("back", "1000", "overread after shrinking", poison);
    misuse("front", "100", "overread after shrinking", poison);
}

static void one_byte_before_the_block_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_ASAN);
    for (size_t idx = 0; idx < KIND_COUNT; idx++) {
        misuse(blocks[idx].kind, blocks[idx].whole, idx % 2 == 0 ? "underflow" : "underread",
               poison);
    }
}

static void use_after_free_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_ASAN);
    for (size_t idx = 0; idx < KIND_COUNT; idx++) {
        misuse(blocks[idx].kind, blocks[idx].whole,
               idx % 2 == 0 ? "use after free" : "read after free", idx < 2 ? poison : any_address);
    }
    misuse("back", "1000", "write after moving", poison);
}

static void memory_that_core_keeps_to_itself_traps_outside_the_accessors(void **state)
{
    (void)state;
    need(WITH_ASAN);
    static const char *const deeds[] = {"header", "free memory", "uncommitted memory"};
    struct run control = {.words = {"wild", "nothing"}};
    run_child(&control);
    demand_silence(&control);
    for (size_t idx = 0; idx < 3; idx++) {
        struct run run = {.words = {"wild", deeds[idx]}};
        run_child(&run);
        demand_named(&run, idx < 2 ? poison : any_address);
    }
}

/* ---- MemorySanitizer ---- */

static void deciding_by_what_nobody_wrote_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_MSAN);
    static const char *const deeds[] = {"fresh",      "back end recycled", "front end recycled",
                                        "large",      "grown in place",    "grown elsewhere",
                                        "grown large"};
    for (size_t idx = 0; idx < sizeof(deeds) / sizeof(deeds[0]); idx++) {
        struct run run = {.words = {"fresh", deeds[idx]}};
        run_child(&run);
        demand_named(&run, "MemorySanitizer: use-of-uninitialized-value");
    }
}

static void zeroed_and_kept_bytes_are_defined(void **state)
{
    (void)state;
    static const char *const deeds[] = {"zeroed: silent", "kept: silent"};
    for (size_t idx = 0; idx < 2; idx++) {
        struct run run = {.words = {"fresh", deeds[idx]}};
        run_child(&run);
        demand_silence(&run);
    }
}

/* ---- ThreadSanitizer ---- */

static void a_race_on_a_block_is_named_at_its_line(void **state)
{
    (void)state;
    need(WITH_TSAN);
    struct run run = {.words = {"race", "planted"}};
    run_child(&run);
    demand_named(&run, "ThreadSanitizer: data race");
}

static void handing_over_through_the_heap_is_silent(void **state)
{
    (void)state;
    static const char *const deeds[] = {
        "under the lock: silent", "freed and allocated again: silent", "freed by another: silent"};
    for (size_t idx = 0; idx < 3; idx++) {
        struct run run = {.words = {"race", deeds[idx]}};
        run_child(&run);
        demand_silence(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proper_use_is_silent),
        cmocka_unit_test(one_byte_too_far_is_named_at_its_line),
        cmocka_unit_test(one_byte_into_the_slack_is_named_at_its_line),
        cmocka_unit_test(one_byte_before_the_block_is_named_at_its_line),
        cmocka_unit_test(use_after_free_is_named_at_its_line),
        cmocka_unit_test(memory_that_core_keeps_to_itself_traps_outside_the_accessors),
        cmocka_unit_test(deciding_by_what_nobody_wrote_is_named_at_its_line),
        cmocka_unit_test(zeroed_and_kept_bytes_are_defined),
        cmocka_unit_test(a_race_on_a_block_is_named_at_its_line),
        cmocka_unit_test(handing_over_through_the_heap_is_silent),
    };
    return cmocka_run_group_tests_name("sanitizers", tests, NULL, NULL);
}
