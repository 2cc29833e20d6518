/* SPDX-License-Identifier: MIT
 *
 * The same program does the same, to the letter: twice, a hundred times, in any order and company,
 * and in another process. */
#include "run/transcript.h"
#include "program/random.h"
#include "run/exec.h"
#include "run/load.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SWARM_COUNT 64u   /* programs of one swarm each */
#define UNIFORM_COUNT 64u /* and of anything at all */
#define RECORD_COUNT 200u
#define PROGRAM_COUNT_MAX 4096u
#define ROUND_COUNT 100u
#define SAMPLE_COUNT 12u /* programs of a round */

static struct {
    struct rig_exec *exec;
    struct rig_program *programs;
    char *names[PROGRAM_COUNT_MAX];
    uint64_t digests[PROGRAM_COUNT_MAX];
    size_t count;

    /* The run in progress. */
    uint64_t digest;
    FILE *text; /* or NULL */
} test;

/* ---- Running -------------------------------------------------------------------------------- */

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    char line[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    (void)context;
    const size_t len =
        rig_transcript_line(step, judge->shadow, rig_subject_core(), line, sizeof(line));
    assert_in_range(len, 1, sizeof(line) - 1);
    assert_null(memchr(line, '\n', len));
    test.digest = rig_transcript_digest(test.digest, line, len + 1);
    if (test.text != NULL) {
        (void)fprintf(test.text, "%s\n", line);
    }
}

static uint64_t digest_of(const struct rig_program *program)
{
    test.digest = 0;
    (void)rig_exec_run(test.exec, program);
    return test.digest;
}

static char *text_of(const struct rig_program *program)
{
    char *text = NULL;
    size_t len = 0;
    test.text = open_memstream(&text, &len);
    assert_non_null(test.text);
    (void)digest_of(program);
    (void)fclose(test.text);
    test.text = NULL;
    return text;
}

static void same_again(size_t idx)
{
    if (digest_of(&test.programs[idx]) != test.digests[idx]) {
        char *text = text_of(&test.programs[idx]);
        print_error("%s", text);
        free(text);
        fail_msg("%s: another transcript than at first; the one above is the newest",
                 test.names[idx]);
    }
}

/* ---- Programs ------------------------------------------------------------------------------- */

static struct rig_program *add(const char *name)
{
    assert_in_range(test.count, 0, PROGRAM_COUNT_MAX - 1);
    test.names[test.count] = strdup(name);
    assert_non_null(test.names[test.count]);
    return &test.programs[test.count++];
}

static void folder_load(const char *folder)
{
    struct rig_paths paths;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    if (!rig_load_paths(&paths, folder)) {
        fail_msg("%s: %s", folder, strerror(errno));
    }
    assert_int_not_equal(paths.count, 0);
    for (size_t idx = 0; idx < paths.count && test.count < PROGRAM_COUNT_MAX / 2; idx++) {
        const char *path = paths.paths[idx];
        if (strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".md") == 0) {
            continue;
        }
        if (!rig_load_file(add(path), path, error, sizeof(error))) {
            fail_msg("%s", error);
        }
    }
    rig_load_paths_free(&paths);
}

static void add_corpus(void)
{
    folder_load(RIG_SOURCE_DIR "/corpus/ops_fuzzer");
    folder_load(RIG_SOURCE_DIR "/corpus/regress");
    assert_int_not_equal(test.count, 0);
}

static void add_random(void)
{
    char name[32];
    for (uint32_t seed = 0; seed < SWARM_COUNT; seed++) {
        (void)snprintf(name, sizeof(name), "swarm %u", seed);
        rig_program_random_swarm(add(name), seed, RECORD_COUNT);
    }
    for (uint32_t seed = 0; seed < UNIFORM_COUNT; seed++) {
        (void)snprintf(name, sizeof(name), "uniform %u", seed);
        rig_program_random(add(name), seed, RECORD_COUNT);
    }
}

static int prepare(void **state)
{
    const struct rig_options options = {
        .subject = rig_subject_core(),
        .judge = true,
        .watch = watch,
    };
    (void)state;
    test.exec = rig_exec_create(&options);
    test.programs = calloc(PROGRAM_COUNT_MAX, sizeof(*test.programs));
    assert_non_null(test.exec);
    assert_non_null(test.programs);
    add_corpus();
    add_random();
    for (size_t idx = 0; idx < test.count; idx++) {
        test.digests[idx] = digest_of(&test.programs[idx]);
    }
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    for (size_t idx = 0; idx < test.count; idx++) {
        free(test.names[idx]);
    }
    free(test.programs);
    rig_exec_destroy(test.exec);
    return 0;
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void a_program_does_the_same_twice(void **state)
{
    (void)state;
    for (size_t idx = 0; idx < test.count; idx++) {
        same_again(idx);
        same_again(idx);
    }
}

static void a_program_does_the_same_a_hundred_times_in_any_order(void **state)
{
    struct rig_rng rng = rig_rng_from(1);
    (void)state;
    for (unsigned round = 0; round < ROUND_COUNT; round++) {
        for (unsigned nth = 0; nth < SAMPLE_COUNT; nth++) {
            same_again(rig_rng_below(&rng, (uint32_t)test.count));
        }
    }
    for (size_t idx = test.count; idx > 0; idx--) {
        same_again(idx - 1);
    }
}

static void a_program_does_the_same_in_another_process(void **state)
{
    char command[4096];
    char program[2048];
    (void)state;
    const ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    assert_in_range(len, 1, sizeof(program) - 1);
    program[len] = '\0';
    (void)snprintf(command, sizeof(command), "'%s' child", program);
    FILE *child = popen(command, "r");
    assert_non_null(child);
    for (size_t idx = 0; idx < test.count; idx++) {
        unsigned long long digest = 0;
        if (fscanf(child, "%llx", &digest) != 1) {
            fail_msg("%s: the other process ended early", test.names[idx]);
        }
        if (digest != test.digests[idx]) {
            fail_msg("%s: another transcript in another process", test.names[idx]);
        }
    }
    assert_int_equal(pclose(child), 0);
}

/* The digest must tell programs apart, or all of the above says nothing. */
static void other_programs_do_other_things(void **state)
{
    size_t same = 0;
    (void)state;
    for (size_t idx = 1; idx < test.count; idx++) {
        same += test.digests[idx] == test.digests[idx - 1];
    }
    assert_in_range(same, 0, test.count / 20);
}

static struct rig_program one(struct rig_record record)
{
    struct rig_program program = {.count = 1};
    program.records[0] = record;
    return program;
}

static void a_line_says_what_was_done_and_what_came_of_it(void **state)
{
    (void)state;
    const struct rig_program alloc = one((struct rig_record){
        .op = RIG_OP_ALLOC,
        .win32 = 1,
        .slot = 7,
        .flags = RIG_FLAG_ZERO,
        .size_class = RIG_SIZE_SMALL,
        .value = 40,
    });
    char *text = text_of(&alloc);
    const char *expected = "0 HeapAlloc h0 s7 flags=0x8 size=40 -> 0x";
    assert_memory_equal(text, expected, strlen(expected));
    assert_non_null(strstr(text, " said-size=40\n"));
    free(text);
}

static void a_line_says_what_was_raised(void **state)
{
    (void)state;
    const struct rig_program raising = one((struct rig_record){
        .op = RIG_OP_ALLOC,
        .flags = RIG_FLAG_EXCEPTIONS,
        .size_class = RIG_SIZE_TOP,
        .value = 64,
    });
    char expected[160];
    const size_t bytes = SIZE_MAX - 64;
    (void)snprintf(expected, sizeof(expected),
                   "0 RtlAllocateHeap h0 s0 flags=0x4 size=%zu -> 0 raised 0xc0000017 flags=0x0 "
                   "(0x%zx)\n",
                   bytes, bytes);
    char *text = text_of(&raising);
    assert_memory_equal(text, expected, strlen(expected));
    free(text);
}

static void a_line_says_that_nothing_was_done(void **state)
{
    (void)state;
    const struct rig_program nothing = one((struct rig_record){.op = RIG_OP_FREE, .win32 = 1});
    const char *expected = "0 HeapFree: nothing to do it with\n";
    char *text = text_of(&nothing);
    assert_memory_equal(text, expected, strlen(expected));
    free(text);
}

static int child(void)
{
    (void)prepare(NULL);
    for (size_t idx = 0; idx < test.count; idx++) {
        (void)printf("%llx\n", (unsigned long long)test.digests[idx]);
    }
    return clean_up(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_what_was_done_and_what_came_of_it),
        cmocka_unit_test(a_line_says_what_was_raised),
        cmocka_unit_test(a_line_says_that_nothing_was_done),
        cmocka_unit_test(other_programs_do_other_things),
        cmocka_unit_test(a_program_does_the_same_twice),
        cmocka_unit_test(a_program_does_the_same_a_hundred_times_in_any_order),
        cmocka_unit_test(a_program_does_the_same_in_another_process),
    };
    if (argc == 2 && strcmp(argv[1], "child") == 0) {
        return child();
    }
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
