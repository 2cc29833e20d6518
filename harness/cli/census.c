/* SPDX-License-Identifier: MIT
 *
 * heaprig census: every bit of a heap's metadata changed in turn, and what came of it. */
#include "cli/cli.h"

#include "census/census.h"
#include "run/load.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_EVERY 0x7101
#define KEY_SECONDS 0x7102
#define KEY_ONLY 0x7103
#define KEY_SVG 0x7104
#define KEY_RANDOM 0x7105
#define KEY_SEED 0x7106
#define KEY_STATES 0x7107
#define KEY_FIELD 0x7108
#define KEY_CHANGE 0x7109
#define STATE_MAX 64u
#define BAD_SHOWN 40u
#define LIMIT_S 10u
#define RANDOM_COUNT 10000u

struct options {
    const char *command;
    const char *states; /* folder */
    const char *state;  /* one of them, or NULL */
    const char *field;  /* changes of fields of this name, or NULL */
    const char *change; /* changes of this kind, or NULL */
    const char *only;
    const char *svg;
    unsigned long jobs;
    unsigned long every;
    unsigned long seconds;
    unsigned long random_count;
    unsigned long seed;
    bool json;
};

struct census {
    const struct options *options;
    const struct rig_subject *subject;
    struct rig_census_options sweep;
    struct rig_census_table all;
    struct rig_census_table *tables[STATE_MAX]; /* a state each */
    char *names[STATE_MAX];
    size_t state_count;
    uint64_t bad_count;
    uint64_t open_count;
    uint64_t change_count;
    uint64_t accounted_bytes; /* in all looks, */
    uint64_t look_count;
    uint64_t unaccounted_count; /* and states in which one was nobody's, or twice somebody's */
    double cpu_s;
    bool terminal;
};

static volatile int interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- One change ------------------------------------------------------------------------------ */

static int battery_named(const char *name)
{
    for (unsigned idx = 0; idx < RIG_BATTERY_COUNT; idx++) {
        if (strcmp(rig_census_battery_name(idx), name) == 0) {
            return (int)idx;
        }
    }
    return -1;
}

/* STATE:FIELD:CHANGE:BATTERY, run here with a line a step. */
static int only(const struct options *options, const struct rig_subject *subject)
{
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    char path[4096];
    char *text = strdup(options->only);
    char *change_text = text != NULL ? strchr(text, ':') : NULL;
    char *battery_text = text != NULL ? strrchr(text, ':') : NULL;
    struct rig_census_state state;
    struct rig_census_change change;
    if (change_text == NULL || battery_text == change_text) {
        rig_cli_refuse(options->command, "--only %s: expected STATE:FIELD:CHANGE:BATTERY",
                       options->only);
    }
    *change_text++ = '\0';
    *battery_text++ = '\0';
    const int battery = battery_named(battery_text);
    (void)snprintf(path, sizeof(path), "%s/%s.heap", options->states, text);
    if (!rig_census_state_make(&state, subject, path, error, sizeof(error))) {
        rig_cli_refuse(options->command, "%s", error);
    }
    if (battery < 0 || !rig_census_change_parse(&state, change_text, &change)) {
        rig_cli_refuse(options->command,
                       "--only %s: expected a change and an operation of state %s", options->only,
                       text);
    }
    struct rig_census_runner *runner =
        rig_census_runner_create(subject, &state, (uint32_t)options->seed);
    rig_census_tell(runner, stdout);
    const struct rig_census_result result =
        rig_census_run(runner, &change, (enum rig_census_battery)battery);
    (void)printf("%s: %s", options->only, rig_census_verdict_name(result.verdict));
    if (result.call != NULL) {
        (void)printf(", step %u, %s", result.step, result.call);
    }
    (void)printf("%s%s%s%s\n", result.reason != NULL ? ", reported " : "",
                 result.reason != NULL ? result.reason : "",
                 result.clause != NULL ? ", broken " : "",
                 result.clause != NULL ? result.clause : "");
    rig_census_runner_destroy(runner);
    rig_census_state_free(&state);
    free(text);
    return rig_census_verdict_bad(result.verdict) ? RIG_EXIT_FINDING : RIG_EXIT_HELD;
}

/* ---- One state ------------------------------------------------------------------------------- */

static void progress(void *context, const struct rig_census_state *state, size_t done, size_t count)
{
    const struct census *census = context;
    if (census->terminal) {
        (void)fprintf(stderr, "\r%-18s %5.1f %% of %zu changes", state->name,
                      count == 0 ? 100.0 : 100.0 * (double)done / (double)count, count);
    }
}

static void tell_bad(struct census *census, const struct rig_census_state *state,
                     const struct rig_census_sheet *sheet)
{
    char name[RIG_CENSUS_NAME_BYTES];
    for (size_t idx = 0; idx < sheet->count; idx++) {
        const unsigned worst = rig_census_worst(sheet, idx);
        census->open_count += worst == RIG_CENSUS_OPEN;
        if (!rig_census_verdict_bad(worst)) {
            continue;
        }
        unsigned battery = 0;
        while (sheet->verdicts[idx * RIG_BATTERY_COUNT + battery] != worst) {
            battery++;
        }
        rig_census_change_print(state, &sheet->changes[idx], name);
        census->bad_count++;
        if (census->options->json) {
            cJSON *object = cJSON_CreateObject();
            cJSON *inside = cJSON_AddObjectToObject(object, "finding");
            (void)cJSON_AddStringToObject(inside, "state", state->name);
            (void)cJSON_AddStringToObject(inside, "change", name);
            (void)cJSON_AddStringToObject(inside, "battery", rig_census_battery_name(battery));
            (void)cJSON_AddStringToObject(inside, "verdict", rig_census_verdict_name(worst));
            rig_cli_object(object);
        } else if (census->bad_count <= BAD_SHOWN) {
            (void)printf("%s: heaprig census --seed %lu --only %s:%s:%s\n",
                         rig_census_verdict_name(worst), census->options->seed, state->name, name,
                         rig_census_battery_name(battery));
        } else if (census->bad_count == BAD_SHOWN + 1) {
            (void)printf("and more, which --json lists\n");
        }
    }
}

/* Every committed byte before every call, while the state is made and left again. */
static void account(struct census *census, const struct rig_census_state *state)
{
    struct rig_census_account seen;
    uint64_t bytes = 0;
    const bool held = rig_census_account(census->subject, &state->program, &seen);
    for (unsigned class = 0; class < RIG_BYTE_COUNT; class ++) {
        bytes += seen.bytes[class];
    }
    census->accounted_bytes += bytes;
    census->look_count += seen.looks;
    census->unaccounted_count += !held;
    if (census->options->json) {
        cJSON *object = cJSON_CreateObject();
        cJSON *inside = cJSON_AddObjectToObject(object, "account");
        (void)cJSON_AddStringToObject(inside, "state", state->name);
        (void)cJSON_AddNumberToObject(inside, "looks", (double)seen.looks);
        (void)cJSON_AddNumberToObject(inside, "bytes", (double)bytes);
        (void)cJSON_AddNumberToObject(inside, "nobody", (double)seen.bytes[RIG_BYTE_UNSAID]);
        (void)cJSON_AddNumberToObject(inside, "twice", (double)seen.twice);
        (void)cJSON_AddNumberToObject(inside, "outside", (double)seen.outside);
        (void)cJSON_AddNumberToObject(inside, "written", (double)seen.written);
        if (!held) {
            char first[24];
            (void)snprintf(first, sizeof(first), "0x%zx", (size_t)seen.first);
            (void)cJSON_AddStringToObject(inside, "first", first);
            (void)cJSON_AddNumberToObject(inside, "step", seen.step);
            (void)cJSON_AddStringToObject(inside, "after", seen.call != NULL ? seen.call : "");
        }
        rig_cli_object(object);
    } else if (!held) {
        (void)printf(
            "%-18s not accounted for: %llu bytes nobody's, %llu twice somebody's, %llu not "
            "committed, %llu written and nobody's; the first at 0x%zx, after step %u, %s\n",
            state->name, (unsigned long long)seen.bytes[RIG_BYTE_UNSAID],
            (unsigned long long)seen.twice, (unsigned long long)seen.outside,
            (unsigned long long)seen.written, (size_t)seen.first, seen.step,
            seen.call != NULL ? seen.call : "the beginning");
    }
}

static void tell_json(const char *name, const struct rig_census_table *table)
{
    for (uint32_t idx = 0; idx < table->count; idx++) {
        for (unsigned group = 0; group < RIG_CENSUS_GROUP_COUNT; group++) {
            uint64_t sum = 0;
            for (unsigned verdict = 0; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
                sum += table->rows[idx].counts[group][verdict];
            }
            if (sum == 0) {
                continue;
            }
            cJSON *object = cJSON_CreateObject();
            (void)cJSON_AddStringToObject(object, "state", name);
            (void)cJSON_AddStringToObject(object, "field", table->rows[idx].name);
            (void)cJSON_AddStringToObject(object, "changes", rig_census_group_name(group));
            for (unsigned verdict = 0; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
                (void)cJSON_AddNumberToObject(object, rig_census_verdict_name(verdict),
                                              (double)table->rows[idx].counts[group][verdict]);
            }
            rig_cli_object(object);
        }
    }
}

/* Changes of the field that was asked for, moved to the front. Random ones are of none. */
static size_t kept(const struct options *options, const struct rig_census_state *state,
                   struct rig_census_change *changes, size_t count)
{
    size_t left = 0;
    for (size_t idx = 0; idx < count; idx++) {
        const char *name = changes[idx].kind == RIG_CHANGE_RANDOM
                               ? "random"
                               : state->fields[changes[idx].field].field.name;
        const char *kind = rig_census_kind_name(changes[idx].kind);
        if ((options->field == NULL || strcmp(options->field, name) == 0) &&
            (options->change == NULL || strcmp(options->change, kind) == 0)) {
            changes[left++] = changes[idx];
        }
    }
    return left;
}

static void run_state(struct census *census, const char *path)
{
    const struct options *options = census->options;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    struct rig_census_state state;
    struct rig_census_sheet sheet = {0};
    if (!rig_census_state_make(&state, census->subject, path, error, sizeof(error))) {
        rig_cli_refuse(options->command, "%s", error);
    }
    account(census, &state);
    struct rig_census_change *changes =
        rig_census_changes(&state, (uint32_t)options->random_count, &sheet.count);
    sheet.count = kept(options, &state, changes, sheet.count);
    sheet.changes = changes;
    if (!rig_census_sweep(&census->sweep, &state, &sheet)) {
        rig_cli_refuse(options->command, "%s: expected processes to run it in: %s", state.name,
                       strerror(errno));
    }
    struct rig_census_table *table = calloc(1, sizeof(*table));
    if (table == NULL) {
        rig_cli_refuse(options->command, "expected memory for a table");
    }
    if (census->terminal) {
        (void)fprintf(stderr, "\r%60s\r", "");
    }
    rig_census_count(table, &state, &sheet);
    rig_census_count(&census->all, &state, &sheet);
    tell_bad(census, &state, &sheet);
    if (options->json) {
        tell_json(state.name, table);
    } else {
        (void)printf("%-18s %8u bytes in %4u fields, %7zu changes, %8llu runs, %7.1f s\n",
                     state.name, state.bytes, state.field_count, sheet.count,
                     (unsigned long long)sheet.run_count, sheet.cpu_s);
        (void)fflush(stdout);
    }
    census->change_count += sheet.count;
    census->cpu_s += sheet.cpu_s;
    census->tables[census->state_count] = table;
    census->names[census->state_count++] = strdup(state.name);
    rig_census_sheet_free(&sheet);
    free(changes);
    rig_census_state_free(&state);
}

/* ---- All of them ----------------------------------------------------------------------------- */

static bool wanted(const struct options *options, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, ".heap") == 0 &&
           (options->state == NULL ||
            (strlen(options->state) == len - 5 && strncmp(options->state, name, len - 5) == 0));
}

static uint64_t bad_sum(const struct rig_census_table *table, unsigned group)
{
    uint64_t sum = 0;
    for (unsigned verdict = 0; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        sum += rig_census_verdict_bad(verdict) ? rig_census_sum(table, group, verdict) : 0;
    }
    return sum;
}

static uint64_t run_sum(const struct rig_census_table *table, unsigned group)
{
    uint64_t sum = 0;
    for (unsigned verdict = RIG_CENSUS_HARMLESS; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        sum += rig_census_sum(table, group, verdict);
    }
    return sum;
}

static void tell_all(const struct census *census)
{
    const struct rig_census_table *all = &census->all;
    const uint64_t random = run_sum(all, RIG_CENSUS_RANDOM);
    const uint64_t random_bad = bad_sum(all, RIG_CENSUS_RANDOM);
    const uint64_t open = census->open_count;
    (void)putchar('\n');
    rig_census_table_print(all, stdout);
    (void)puts("\nreports, by runs");
    for (unsigned idx = 1; idx < RIG_CENSUS_REASON_MAX && all->names[idx] != NULL; idx++) {
        (void)printf("%-22s %9llu\n", all->names[idx], (unsigned long long)all->reasons[idx]);
    }
    (void)printf("\n%llu of %llu changes, %llu runs, %.1f s of processor time, %.0f us a run\n",
                 (unsigned long long)(census->change_count - open),
                 (unsigned long long)census->change_count, (unsigned long long)all->run_count,
                 census->cpu_s,
                 all->run_count == 0 ? 0.0 : census->cpu_s * 1e6 / (double)all->run_count);
    (void)printf("accounted for: %llu committed bytes, looked at %llu times: %s\n",
                 (unsigned long long)census->accounted_bytes,
                 (unsigned long long)census->look_count,
                 census->unaccounted_count == 0 ? "each is one thing" : "NOT each is one thing");
    if (open > 0) {
        (void)printf("left out: %llu changes, by --every, --seconds or an interrupt\n",
                     (unsigned long long)open);
    }
    if (random > 0) {
        (void)printf("random overwrites with silent damage, a wrong code, a crash or a hang: %llu "
                     "of %llu (%.4f %%)\n",
                     (unsigned long long)random_bad, (unsigned long long)random,
                     100.0 * (double)random_bad / (double)random);
    }
}

static bool draw(const struct census *census)
{
    const struct rig_census_table *tables[STATE_MAX];
    const char *names[STATE_MAX];
    for (size_t idx = 0; idx < census->state_count; idx++) {
        tables[idx] = census->tables[idx];
        names[idx] = census->names[idx];
    }
    return rig_census_svg(census->options->svg, tables, names, census->state_count);
}

static int census_run(struct census *census)
{
    const struct options *options = census->options;
    struct rig_paths paths;
    if (!rig_load_paths(&paths, options->states)) {
        rig_cli_refuse(options->command, "%s: expected a folder of states: %s", options->states,
                       strerror(errno));
    }
    for (size_t idx = 0; idx < paths.count && census->state_count < STATE_MAX && interrupted == 0;
         idx++) {
        if (wanted(options, paths.paths[idx])) {
            run_state(census, paths.paths[idx]);
        }
    }
    rig_load_paths_free(&paths);
    if (census->state_count == 0) {
        rig_cli_refuse(options->command, "%s: expected a state%s%s", options->states,
                       options->state != NULL ? " named " : "",
                       options->state != NULL ? options->state : "");
    }
    if (!options->json) {
        tell_all(census);
    }
    if (options->svg != NULL && !draw(census)) {
        rig_cli_refuse(options->command, "--svg %s: %s", options->svg, strerror(errno));
    }
    for (size_t idx = 0; idx < census->state_count; idx++) {
        free(census->tables[idx]);
        free(census->names[idx]);
    }
    const uint64_t bad =
        bad_sum(&census->all, RIG_CENSUS_GROUP_COUNT) - bad_sum(&census->all, RIG_CENSUS_RANDOM);
    return bad == 0 && census->unaccounted_count == 0 ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}

/* ---- The command ------------------------------------------------------------------------------
 */

static const struct argp_option argp_options[] = {
    {"state", 's', "NAME", 0, "This state only", 0},
    {"field", KEY_FIELD, "NAME", 0, "Fields of this name only, or random for the random overwrites",
     0},
    {"change", KEY_CHANGE, "KIND", 0,
     "Changes of this kind only: bit, pair, zero, ones, plus, minus, sibling, stale, other, "
     "replay, random",
     0},
    {"states", KEY_STATES, "FOLDER", 0, "Programs that make the states (default: corpus/census)",
     0},
    {"jobs", 'J', "N", 0, "Processes at a time (default: one a processor)", 0},
    {"every", KEY_EVERY, "N", 0, "One change in N, chosen by the seed (default: all)", 0},
    {"seconds", KEY_SECONDS, "N", 0, "Begin nothing after so many seconds (default: no limit)", 0},
    {"random", KEY_RANDOM, "N", 0, "Random overwrites a state (default: 10000)", 0},
    {"seed", KEY_SEED, "N", 0, "Of random overwrites and of the choice by --every (default: 1)", 0},
    {"only", KEY_ONLY, "STATE:FIELD:CHANGE:BATTERY", 0, "One run, told step by step", 0},
    {"svg", KEY_SVG, "FILE", 0, "Draw a heat map", 0},
    {"json", 'j', 0, 0, "One object a line", 0},
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 's':
        options->state = arg;
        return 0;
    case KEY_FIELD:
        options->field = arg;
        return 0;
    case KEY_CHANGE:
        options->change = arg;
        return 0;
    case KEY_STATES:
        options->states = arg;
        return 0;
    case 'J':
        options->jobs = rig_cli_number(options->command, "--jobs", arg, 1, RIG_CENSUS_JOBS_MAX);
        return 0;
    case KEY_EVERY:
        options->every = rig_cli_number(options->command, "--every", arg, 1, 1000000000);
        return 0;
    case KEY_SECONDS:
        options->seconds = rig_cli_number(options->command, "--seconds", arg, 1, 10000000);
        return 0;
    case KEY_RANDOM:
        options->random_count = rig_cli_number(options->command, "--random", arg, 0, 10000000);
        return 0;
    case KEY_SEED:
        options->seed = rig_cli_number(options->command, "--seed", arg, 0, 4000000000u);
        return 0;
    case KEY_ONLY:
        options->only = arg;
        return 0;
    case KEY_SVG:
        options->svg = arg;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Damage the metadata of heaps in several states, one change at a time: every bit, every "
        "pair of bits of a "
        "header, other values, other headers, random overwrites. After each, every operation of a "
        "battery begins a "
        "run of its own and the others follow. Printed is what the changes of each field came to. "
        "Before that "
        "every committed byte of each state is accounted for, before each of its calls.\v"
        "touch: reported by the call that met it. validate: reported by a call that validates. "
        "harmless: every "
        "answer as without the change. The rest is a finding, with the command that shows it: "
        "silent: another "
        "answer or a broken rule without a report; wrong: a report, but not the ruled failure; "
        "crash; hang. Exit "
        "status 1 when bits or values came to one of these, or a byte was nobody's or twice "
        "somebody's; for random overwrites their rate is told.",
};

int rig_cli_census(int argc, char **argv)
{
    static struct census census;
    struct options options = {
        .command = argv[0],
        .states = RIG_SOURCE_DIR "/corpus/census",
        .jobs = (unsigned long)sysconf(_SC_NPROCESSORS_ONLN),
        .every = 1,
        .random_count = RANDOM_COUNT,
        .seed = 1,
    };
    rig_cli_parse(&argp, argc, argv, &options);
    census.options = &options;
    census.subject = rig_subject_core();
    census.terminal = isatty(STDERR_FILENO) == 1 && !options.json;
    if (options.only != NULL) {
        return only(&options, census.subject);
    }
    const struct sigaction action = {.sa_handler = interrupt};
    (void)sigaction(SIGINT, &action, NULL);
    census.sweep = (struct rig_census_options){
        .subject = census.subject,
        .jobs = (unsigned)(options.jobs < RIG_CENSUS_JOBS_MAX ? options.jobs : RIG_CENSUS_JOBS_MAX),
        .every = (unsigned)options.every,
        .seed = (uint32_t)options.seed,
        .until = options.seconds == 0 ? 0 : now_s() + (double)options.seconds,
        .limit_s = LIMIT_S,
        .stop = &interrupted,
        .progress = progress,
        .context = &census,
    };
    return census_run(&census);
}
