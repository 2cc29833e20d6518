/* SPDX-License-Identifier: MIT
 *
 * heaprig bench: the same programs on core and on the C library's malloc (or the sanitizer's), in
 * one process and in turns, with the model judging both. What counts is the ratio; the rates are of
 * this machine at this moment. */
#include "cli/cli.h"
#include "cli/confirm.h"
#include "cli/input.h"

#include "program/random.h"
#include "program/text.h"
#include "run/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 6u
#define SWARM_COUNT 96u   /* generated programs of one swarm each */
#define UNIFORM_COUNT 32u /* and of anything at all */
#define RECORD_COUNT 200u
#define TURN_COUNT_MAX 4096u
#define RAISE_COUNT 200u
#define CONFIRM_S 60u /* of processor time for a finding in a fresh process */

enum { SUBJECT_CORE, SUBJECT_MALLOC, SUBJECT_COUNT };

struct options {
    struct rig_cli_common common;
    unsigned long seconds;
};

/* Some programs, and what turns with them took. */
struct set {
    const char *name;
    const struct rig_program **programs;
    size_t count;
    size_t turn_count;
    double rates[SUBJECT_COUNT][TURN_COUNT_MAX]; /* calls a second */
    double ratios[TURN_COUNT_MAX];               /* core to malloc */
    uint64_t calls[SUBJECT_COUNT];               /* of one turn */
};

struct bench {
    const struct options *options;
    const struct rig_subject *subjects[SUBJECT_COUNT];
    struct rig_exec *execs[SUBJECT_COUNT];
    struct rig_program *programs;
    size_t count;
    struct rig_program raising;
};

/* ---- Programs ------------------------------------------------------------------------------- */

static struct rig_program *program_add(struct bench *bench)
{
    struct rig_program *more =
        realloc(bench->programs, (bench->count + 1) * sizeof(*bench->programs));
    if (more == NULL) {
        rig_cli_refuse(bench->options->common.command, "expected memory for %zu programs",
                       bench->count + 1);
    }
    bench->programs = more;
    return &bench->programs[bench->count++];
}

static void programs_generate(struct bench *bench)
{
    for (uint32_t seed = 0; seed < SWARM_COUNT; seed++) {
        rig_program_random_swarm(program_add(bench), seed, RECORD_COUNT);
    }
    for (uint32_t seed = 0; seed < UNIFORM_COUNT; seed++) {
        rig_program_random(program_add(bench), seed, RECORD_COUNT);
    }
}

static void programs_load(struct bench *bench, const char *path)
{
    struct rig_paths paths;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    if (!rig_load_paths(&paths, path)) {
        rig_cli_refuse(bench->options->common.command, "%s: expected programs: %s", path,
                       strerror(errno));
    }
    const size_t before = bench->count;
    for (size_t idx = 0; idx < paths.count; idx++) {
        const char *name = paths.paths[idx];
        const size_t len = strlen(name);
        if (len > 3 && strcmp(name + len - 3, ".md") == 0) {
            continue;
        }
        if (!rig_load_file(program_add(bench), name, error, sizeof(error))) {
            rig_cli_refuse(bench->options->common.command, "%s", error);
        }
    }
    rig_load_paths_free(&paths);
    if (bench->count == before) {
        rig_cli_refuse(bench->options->common.command, "%s: expected a program in it", path);
    }
}

/* Every allocation asks for more than there can be: core raises, malloc, which cannot, gives NULL.
 */
static void raising_make(struct rig_program *program)
{
    static const char head[] = "program\n";
    static const char line[] = "HeapAlloc h0 s1 exceptions top:64\n";
    static char text[sizeof(head) + RAISE_COUNT * sizeof(line)];
    char error[RIG_TEXT_ERROR_BYTES_MAX];
    (void)strcpy(text, head);
    for (unsigned idx = 0; idx < RAISE_COUNT; idx++) {
        (void)strcat(text, line);
    }
    if (!rig_text_parse(program, "raising", text, strlen(text), error, sizeof(error))) {
        rig_cli_refuse("heaprig bench", "%s", error);
    }
}

static bool makes_heaps(const struct rig_program *program)
{
    for (unsigned idx = 0; idx < program->count; idx++) {
        if (program->records[idx].op == RIG_OP_CREATE) {
            return true;
        }
    }
    return false;
}

/* ---- Turns ---------------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Nothing is measured on a heap that breaks its contract. The program may be a generated one: its
 * text is all that heaprig run needs to tell more. A fresh process has tried it by then. */
static _Noreturn void tell_finding(const struct rig_program *program,
                                   const struct rig_verdict *verdict,
                                   const struct rig_subject *subject, bool json)
{
    const struct rig_cli_how how = {.subject = subject, .timeout_s = CONFIRM_S};
    char confirmed[RIG_CONFIRM_LINE_BYTES];
    static char text[(RIG_RECORD_COUNT_MAX + 1) * (size_t)RIG_TEXT_LINE_BYTES_MAX];
    (void)rig_text_print(program, text, sizeof(text));
    rig_confirm_program(&how, program, false, confirmed);
    if (json) {
        cJSON *object = cJSON_CreateObject();
        cJSON *finding = cJSON_AddObjectToObject(object, "finding");
        (void)cJSON_AddStringToObject(finding, "rule", rig_rule_name(verdict->rule));
        (void)cJSON_AddStringToObject(finding, "clause", rig_clause_info(verdict->clause)->id);
        (void)cJSON_AddNumberToObject(finding, "step", verdict->step_idx);
        (void)cJSON_AddStringToObject(finding, "confirmed", confirmed);
        (void)cJSON_AddStringToObject(finding, "program", text);
        rig_cli_object(object);
    } else {
        (void)printf(
            "FINDING %s: clause %s, step %u of this program (a fresh process said '%s'):\n%s",
            rig_rule_name(verdict->rule), rig_clause_info(verdict->clause)->id, verdict->step_idx,
            confirmed, text);
    }
    exit(RIG_EXIT_FINDING);
}

/* Ctrl-C: what there is by then is printed. */
static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static double rate_of(struct bench *bench, struct set *set, unsigned subject)
{
    uint64_t calls = 0;
    const double from = cpu_seconds();
    for (size_t idx = 0; idx < set->count && !interrupted; idx++) {
        const struct rig_verdict verdict = rig_exec_run(bench->execs[subject], set->programs[idx]);
        if (verdict.found) {
            tell_finding(set->programs[idx], &verdict, bench->subjects[subject],
                         bench->options->common.json);
        }
        calls += verdict.call_count;
    }
    const double took = cpu_seconds() - from;
    set->calls[subject] = calls;
    return took > 0 ? (double)calls / took : 0;
}

/* One turn of each subject; who goes first changes, so that neither always finds warm caches. A
 * turn that was interrupted does not count. */
static void turn(struct bench *bench, struct set *set)
{
    double rates[SUBJECT_COUNT];
    const unsigned first = set->turn_count % SUBJECT_COUNT;
    rates[first] = rate_of(bench, set, first);
    rates[1 - first] = rate_of(bench, set, 1 - first);
    if (interrupted) {
        return;
    }
    for (unsigned subject = 0; subject < SUBJECT_COUNT; subject++) {
        set->rates[subject][set->turn_count] = rates[subject];
    }
    set->ratios[set->turn_count] =
        rates[SUBJECT_MALLOC] > 0 ? rates[SUBJECT_CORE] / rates[SUBJECT_MALLOC] : 0;
    set->turn_count++;
}

static void progress(const struct set *set)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r%s: turn %zu\033[K", set->name, set->turn_count);
    }
}

/* At least three turns, for a median that one of them cannot decide. */
static void turns(struct bench *bench, struct set *set, double seconds)
{
    const double from = cpu_seconds();
    while (!interrupted && set->count > 0 && set->turn_count < TURN_COUNT_MAX &&
           (set->turn_count < 3 || cpu_seconds() - from < seconds)) {
        turn(bench, set);
        progress(set);
    }
    if (isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* ---- Telling -------------------------------------------------------------------------------- */

static int by_size(const void *left, const void *right)
{
    const double one = *(const double *)left;
    const double other = *(const double *)right;
    return (one > other) - (one < other);
}

static double median(double *numbers, size_t count)
{
    qsort(numbers, count, sizeof(*numbers), by_size);
    return count == 0 ? 0 : (numbers[(count - 1) / 2] + numbers[count / 2]) / 2;
}

static void tell(struct set *set, bool json)
{
    const double core = median(set->rates[SUBJECT_CORE], set->turn_count);
    const double other = median(set->rates[SUBJECT_MALLOC], set->turn_count);
    const double ratio = median(set->ratios, set->turn_count);
    if (!json) {
        (void)printf("%-14s %8zu %6zu %12.0f %12.0f %8.2f\n", set->name, set->count,
                     set->turn_count, core, other, ratio);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "set", set->name);
    (void)cJSON_AddNumberToObject(object, "programs", (double)set->count);
    (void)cJSON_AddNumberToObject(object, "turns", (double)set->turn_count);
    (void)cJSON_AddNumberToObject(object, "core_calls", (double)set->calls[SUBJECT_CORE]);
    (void)cJSON_AddNumberToObject(object, "malloc_calls", (double)set->calls[SUBJECT_MALLOC]);
    (void)cJSON_AddNumberToObject(object, "core_calls_per_second", core);
    (void)cJSON_AddNumberToObject(object, "malloc_calls_per_second", other);
    (void)cJSON_AddNumberToObject(object, "ratio", ratio);
    rig_cli_object(object);
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    RIG_CLI_JSON,
    {"seconds", 'n', "S", 0, "CPU time in all, about (default: 6)", 0},
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    if (key == 'n') {
        options->seconds = rig_cli_number(options->common.command, "--seconds", arg, 0, 86400);
        return 0;
    }
    return rig_cli_common(key, state, &options->common);
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "[FILE|DIR...]",
    .doc = "Run the same programs on core and on the C library's malloc in one process, in turns, "
           "with the model judging both, and print medians over the turns: calls a second and "
           "their ratio, above 1 where core is faster. Without files, generated programs.\v"
           "Three sets: all programs; those that make no heaps; and one whose every call "
           "fails: core raises an exception, malloc, which cannot, says NULL.",
};

static void execs_make(struct bench *bench)
{
    bench->subjects[SUBJECT_CORE] = rig_subject_core();
    bench->subjects[SUBJECT_MALLOC] = rig_subject_malloc();
    for (unsigned subject = 0; subject < SUBJECT_COUNT; subject++) {
        const struct rig_options options = {.subject = bench->subjects[subject], .judge = true};
        bench->execs[subject] = rig_exec_create(&options);
        if (bench->execs[subject] == NULL) {
            rig_cli_refuse(bench->options->common.command, "expected memory for an executor");
        }
    }
}

static void set_make(struct bench *bench, struct set *set, const char *name, bool heaps)
{
    set->name = name;
    set->programs = calloc(bench->count + 1, sizeof(struct rig_program *));
    if (set->programs == NULL) {
        rig_cli_refuse(bench->options->common.command, "expected memory for a set of programs");
    }
    for (size_t idx = 0; idx < bench->count; idx++) {
        if (heaps || !makes_heaps(&bench->programs[idx])) {
            set->programs[set->count++] = &bench->programs[idx];
        }
    }
}

int rig_cli_bench(int argc, char **argv)
{
    static struct set sets[3];
    static struct bench bench;
    struct options options = {.common = {.command = argv[0]}, .seconds = SECONDS};
    rig_cli_parse(&argp, argc, argv, &options);
    bench.options = &options;
    execs_make(&bench);
    for (int idx = 0; idx < options.common.file_count; idx++) {
        programs_load(&bench, options.common.files[idx]);
    }
    if (options.common.file_count == 0) {
        programs_generate(&bench);
    }
    raising_make(&bench.raising);
    set_make(&bench, &sets[0], "all", true);
    set_make(&bench, &sets[1], "no-creation", false);
    const struct rig_program *raising[1] = {&bench.raising};
    sets[2] = (struct set){.name = "raising", .programs = raising, .count = 1};
    (void)sigaction(SIGINT, &(const struct sigaction){.sa_handler = interrupt}, NULL);
    if (!options.common.json) {
        (void)printf("%-14s %8s %6s %12s %12s %8s\n", "set", "programs", "turns", "core/s",
                     "malloc/s", "ratio");
    }
    for (size_t idx = 0; idx < sizeof(sets) / sizeof(sets[0]); idx++) {
        turns(&bench, &sets[idx], (double)options.seconds / 3);
        if (interrupted && sets[idx].turn_count == 0) {
            break;
        }
        tell(&sets[idx], options.common.json);
    }
    free(sets[0].programs);
    free(sets[1].programs);
    free(bench.programs);
    rig_exec_destroy(bench.execs[SUBJECT_CORE]);
    rig_exec_destroy(bench.execs[SUBJECT_MALLOC]);
    return RIG_EXIT_HELD;
}
