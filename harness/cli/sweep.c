/* SPDX-License-Identifier: MIT
 *
 * heaprig sweep: programs with each page call that they come to refused in turn, and a table of the
 * places in core where that was so. Calls run/sweep and faults/pages. */
#include "cli/cli.h"
#include "cli/confirm.h"
#include "cli/input.h"

#include "faults/pages.h"
#include "run/sweep.h"

#include <errno.h>
#include <fts.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_ALL_SITES 0x7003
#define KEY_PER_PATH 0x7004
#define KEY_PER_PATH_IN_ALL 0x7005
#define FINDINGS_MAX 5u /* told of one program; the others are counted */
#define PATHS_MAX 65536u
#define TIMEOUT_S 60u /* of processor time for one program's sweep */

struct sweep_command {
    struct rig_cli_common common;
    bool all_sites;
    bool paths;
    unsigned long per_path; /* so many calls of a path and program are struck; 0: all */
    unsigned long per_path_in_all;
    unsigned struck[PATHS_MAX]; /* in this program */
    unsigned struck_in_all[PATHS_MAX];
    struct rig_exec *exec;
    struct rig_input input;
    struct rig_confirm confirm;
    char plan[FAULT_PLAN_TEXT_BYTES]; /* that of the run in progress */
    uint32_t told;                    /* findings of this program */

    uint64_t program_count;
    uint64_t skipped_count;
    uint64_t run_count;
    uint64_t refusal_count;
    uint64_t finding_count;
    double seconds;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- Findings ------------------------------------------------------------------------------- */

/* Of the sanitizers, where there are any. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static struct sweep_command *in_progress;

/* The process ends in the middle of a run: what run it was. Safe in a signal handler. */
static void tell_run_in_progress(void)
{
    static const char *const parts[] = {"sweep: in heaprig run --plan ", NULL, " ", NULL, "\n"};
    const struct sweep_command *command = in_progress;
    in_progress = NULL; /* once */
    for (size_t idx = 0; command != NULL && idx < sizeof(parts) / sizeof(parts[0]); idx++) {
        const char *part = idx == 1 ? command->plan : idx == 3 ? command->input.name : parts[idx];
        if (write(STDERR_FILENO, part, strlen(part)) < 0) {
            return;
        }
    }
}

static void die(int number)
{
    tell_run_in_progress();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static bool wanted(void *context, uint64_t number)
{
    struct sweep_command *command = context;
    const uint16_t path = fault_path_of_call(number);
    if (path == FAULT_PATH_NONE) {
        return true;
    }
    if ((command->per_path != 0 && command->struck[path] >= command->per_path) ||
        (command->per_path_in_all != 0 &&
         command->struck_in_all[path] >= command->per_path_in_all)) {
        return false;
    }
    command->struck[path]++;
    command->struck_in_all[path]++;
    return true;
}

static bool next(void *context, const struct fault_plan *plan)
{
    struct sweep_command *command = context;
    (void)fault_plan_print(plan, command->plan);
    return interrupted == 0;
}

static void tell_finding(const struct sweep_command *command, const char *text,
                         const struct rig_verdict *verdict, const char *line)
{
    const struct rig_clause_info *info = rig_clause_info(verdict->clause);
    const char *rule = verdict->found ? rig_rule_name(info->rule) : "runs_agree";
    if (!command->common.json) {
        (void)printf("FINDING %s, clause %s, at operation %u of %s\n", rule,
                     verdict->found ? info->id : "-", verdict->step_idx, command->input.name);
        (void)printf("  reproduce with heaprig run --plan %s %s\n", text, command->input.path);
        (void)printf("  a fresh process said '%s'\n", line);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "finding", rule);
    (void)cJSON_AddStringToObject(object, "clause", verdict->found ? info->id : "-");
    (void)cJSON_AddStringToObject(object, "file", command->input.name);
    (void)cJSON_AddStringToObject(object, "plan", text);
    (void)cJSON_AddNumberToObject(object, "step", verdict->step_idx);
    (void)cJSON_AddStringToObject(object, "confirmed", line);
    rig_cli_object(object);
}

static void found(void *context, const struct fault_plan *plan, const struct rig_verdict *verdict)
{
    struct sweep_command *command = context;
    char text[FAULT_PLAN_TEXT_BYTES];
    char line[RIG_CONFIRM_LINE_BYTES];
    command->finding_count++;
    if (command->told++ >= FINDINGS_MAX) {
        return;
    }
    (void)fault_plan_print(plan, text);
    command->confirm.plan = text;
    rig_confirm_run(&command->confirm, false, line);
    command->confirm.plan = command->plan;
    tell_finding(command, text, verdict, line);
}

/* ---- Programs ------------------------------------------------------------------------------- */

/* Of the processor: other work of the machine does not count. */
static double now_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_skipped(struct sweep_command *command, const char *why)
{
    command->skipped_count++;
    if (!command->common.json) {
        (void)printf("%s: skipped: %s\n", command->input.name, why);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "file", command->input.name);
    (void)cJSON_AddStringToObject(object, "skipped", why);
    rig_cli_object(object);
}

static void tell_program(const struct sweep_command *command, const struct rig_swept *swept,
                         double seconds)
{
    const unsigned count = command->input.program.count;
    if (!command->common.json) {
        (void)printf("%s: %u operations, %llu page calls, %llu runs, %llu refusals, %u findings, "
                     "%.2f ms\n",
                     command->input.name, count, (unsigned long long)swept->call_count,
                     (unsigned long long)swept->run_count, (unsigned long long)swept->refusal_count,
                     swept->finding_count, seconds * 1e3);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "file", command->input.name);
    (void)cJSON_AddNumberToObject(object, "operations", count);
    (void)cJSON_AddNumberToObject(object, "calls", (double)swept->call_count);
    (void)cJSON_AddNumberToObject(object, "runs", (double)swept->run_count);
    (void)cJSON_AddNumberToObject(object, "refusals", (double)swept->refusal_count);
    (void)cJSON_AddNumberToObject(object, "findings", swept->finding_count);
    (void)cJSON_AddNumberToObject(object, "ms", seconds * 1e3);
    rig_cli_object(object);
}

static void sweep_program(struct sweep_command *command)
{
    const struct rig_sweep sweep = {
        .wanted = wanted, .next = next, .found = found, .context = command};
    const double began = now_seconds();
    command->told = 0;
    memset(command->struck, 0, sizeof(command->struck));
    rig_timeout_start(&command->confirm, false, command->common.json);
    (void)snprintf(command->plan, sizeof(command->plan), "none");
    in_progress = command;
    const struct rig_swept swept = rig_sweep(command->exec, &command->input.program, &sweep);
    in_progress = NULL;
    rig_timeout_stop();
    const double seconds = now_seconds() - began;
    command->program_count++;
    command->run_count += swept.run_count;
    command->refusal_count += swept.refusal_count;
    command->seconds += seconds;
    tell_program(command, &swept, seconds);
    (void)fflush(stdout);
}

static void sweep_file(struct sweep_command *command, const char *path)
{
    rig_input_open(&command->input, command->common.command, path, command->common.text);
    if (command->input.form == RIG_LOAD_TRACE) {
        tell_skipped(command, "a trace is no program");
    } else if ((command->input.program.flags & (RIG_PROGRAM_DAMAGE | RIG_PROGRAM_MISUSE)) != 0) {
        tell_skipped(command, "what a misused or damaged heap refuses has other causes");
    } else {
        sweep_program(command);
    }
    rig_input_close(&command->input);
}

static int by_name(const FTSENT **one, const FTSENT **other)
{
    return strcmp((*one)->fts_name, (*other)->fts_name);
}

static bool is_program(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcmp(dot, ".heap") == 0 || strcmp(dot, ".bin") == 0);
}

/* A file as it is; of a folder all that looks like a program. */
static void sweep_path(struct sweep_command *command, char *path)
{
    char *paths[] = {path, NULL};
    if (access(path, R_OK) != 0) {
        rig_cli_refuse(command->common.command, "%s: expected a file or a folder to read: %s", path,
                       strerror(errno));
    }
    FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    if (tree == NULL) {
        rig_cli_refuse(command->common.command, "%s: expected a file or a folder to read", path);
    }
    for (FTSENT *entry = fts_read(tree); entry != NULL && interrupted == 0;
         entry = fts_read(tree)) {
        const bool named = entry->fts_level == FTS_ROOTLEVEL;
        if (entry->fts_info == FTS_F && (named || is_program(entry->fts_name))) {
            sweep_file(command, entry->fts_path);
        }
    }
    (void)fts_close(tree);
}

/* ---- The table ------------------------------------------------------------------------------ */

struct totals {
    uint64_t met;
    uint64_t once;
    uint64_t good;
    unsigned path_count;
};

static struct totals totals_of(unsigned site)
{
    struct totals totals = {0};
    const struct fault_path *path = NULL;
    for (unsigned idx = 0; (path = fault_path_at(idx)) != NULL; idx++) {
        if (path->site == site) {
            totals.met += path->met;
            totals.once += path->once;
            totals.good += path->good;
            totals.path_count++;
        }
    }
    return totals;
}

static void tell_site_json(unsigned site, const struct totals *totals)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *paths = cJSON_CreateArray();
    const struct fault_path *path = NULL;
    (void)cJSON_AddStringToObject(object, "site", fault_site_name(site));
    (void)cJSON_AddStringToObject(object, "call", fault_site_call(site));
    (void)cJSON_AddNumberToObject(object, "once", (double)totals->once);
    (void)cJSON_AddNumberToObject(object, "for_good", (double)totals->good);
    for (unsigned idx = 0; (path = fault_path_at(idx)) != NULL; idx++) {
        if (path->site == site) {
            cJSON *one = cJSON_CreateObject();
            (void)cJSON_AddStringToObject(one, "from", path->call);
            (void)cJSON_AddNumberToObject(one, "once", path->once);
            (void)cJSON_AddNumberToObject(one, "for_good", path->good);
            (void)cJSON_AddItemToArray(paths, one);
        }
    }
    (void)cJSON_AddItemToObject(object, "paths", paths);
    rig_cli_object(object);
}

static void tell_site(const struct sweep_command *command, unsigned site)
{
    const struct totals totals = totals_of(site);
    const struct fault_path *path = NULL;
    if (command->common.json) {
        tell_site_json(site, &totals);
        return;
    }
    (void)printf("%-20s %-9s %9llu %9llu %6u\n", fault_site_name(site), fault_site_call(site),
                 (unsigned long long)totals.once, (unsigned long long)totals.good,
                 totals.path_count);
    for (unsigned idx = 0; command->paths && (path = fault_path_at(idx)) != NULL; idx++) {
        if (path->site == site) {
            (void)printf("  from %-25s %9u %9u\n", path->call, path->once, path->good);
        }
    }
}

/* The verifier's own, where no program switched it on: core/test/verifier_shortage.c refuses those. */
static bool is_left_out(unsigned site)
{
    const char *name = fault_site_name(site);
    return (strncmp(name, "verifier.", 9) == 0 || strncmp(name, "pageheap.", 9) == 0) &&
           totals_of(site).met == 0;
}

static unsigned left_out_count(void)
{
    unsigned count = 0;
    for (unsigned site = 0; site < fault_site_count(); site++) {
        count += is_left_out(site);
    }
    return count;
}

/* "a commit, b release": sites that were never refused in both ways; how many. */
static unsigned missing(char *out, size_t out_bytes)
{
    unsigned count = 0;
    size_t len = 0;
    out[0] = '\0';
    for (unsigned site = 0; site < fault_site_count(); site++) {
        const struct totals totals = totals_of(site);
        if ((totals.once > 0 && totals.good > 0) || is_left_out(site)) {
            continue;
        }
        count++;
        if (len < out_bytes) {
            len += (size_t)snprintf(out + len, out_bytes - len, "%s%s %s%s", len == 0 ? "" : ", ",
                                    fault_site_name(site), fault_site_call(site),
                                    totals.met == 0 ? " (never reached)" : "");
        }
    }
    return count;
}

static unsigned path_count(void)
{
    unsigned count = 0;
    while (fault_path_at(count) != NULL) {
        count++;
    }
    return count;
}

static void tell_end_json(const struct sweep_command *command, unsigned left, const char *names)
{
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(object, "programs", (double)command->program_count);
    (void)cJSON_AddNumberToObject(object, "skipped", (double)command->skipped_count);
    (void)cJSON_AddNumberToObject(object, "runs", (double)command->run_count);
    (void)cJSON_AddNumberToObject(object, "refusals", (double)command->refusal_count);
    (void)cJSON_AddNumberToObject(object, "findings", (double)command->finding_count);
    (void)cJSON_AddNumberToObject(object, "seconds", command->seconds);
    (void)cJSON_AddNumberToObject(object, "sites", fault_site_count() - left_out_count());
    (void)cJSON_AddNumberToObject(object, "sites_of_the_verifier", left_out_count());
    (void)cJSON_AddNumberToObject(object, "sites_left", left);
    (void)cJSON_AddStringToObject(object, "left", names);
    (void)cJSON_AddNumberToObject(object, "paths", path_count());
    rig_cli_object(object);
}

/* How many sites are left over. */
static unsigned tell_table(const struct sweep_command *command)
{
    char names[2048];
    const unsigned left = missing(names, sizeof(names));
    if (!command->common.json) {
        (void)printf("\n%-20s %-9s %9s %9s %6s\n", "site", "call", "once", "for good", "paths");
    }
    for (unsigned site = 0; site < fault_site_count(); site++) {
        if (!is_left_out(site)) {
            tell_site(command, site);
        }
    }
    if (command->common.json) {
        tell_end_json(command, left, names);
        return left;
    }
    const double runs = command->run_count == 0 ? 1 : (double)command->run_count;
    const unsigned sites = fault_site_count() - left_out_count();
    (void)printf("\n%u of %u sites refused once and for good, %u paths to them\n", sites - left,
                 sites, path_count());
    if (left_out_count() > 0) {
        (void)printf("left out: %u sites of the verifier, which no program switched on\n",
                     left_out_count());
    }
    if (left > 0) {
        (void)printf("left: %s\n", names);
    }
    (void)printf("%llu programs, %llu skipped, %llu runs, %llu refusals, %llu findings in %.2f s "
                 "of the processor, %.1f us a run\n",
                 (unsigned long long)command->program_count,
                 (unsigned long long)command->skipped_count, (unsigned long long)command->run_count,
                 (unsigned long long)command->refusal_count,
                 (unsigned long long)command->finding_count, command->seconds,
                 command->seconds / runs * 1e6);
    return left;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    {"all-sites", KEY_ALL_SITES, 0, 0, "Exit 1 when a site was not refused once and for good", 0},
    {"per-path", KEY_PER_PATH, "N", 0,
     "Of the calls that a program makes from one API call at one site, refuse the first N", 0},
    {"per-path-in-all", KEY_PER_PATH_IN_ALL, "N", 0, "The same, of all programs together", 0},
    {"paths", 'p', 0, 0, "Show each API call from which a site was reached", 0},
    RIG_CLI_JSON,
    RIG_CLI_TEXT,
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct sweep_command *command = state->input;
    switch (key) {
    case KEY_ALL_SITES:
        command->all_sites = true;
        return 0;
    case KEY_PER_PATH:
        command->per_path = rig_cli_number(command->common.command, "--per-path", arg, 1, 1000000);
        return 0;
    case KEY_PER_PATH_IN_ALL:
        command->per_path_in_all =
            rig_cli_number(command->common.command, "--per-path-in-all", arg, 1, 1000000);
        return 0;
    case 'p':
        command->paths = true;
        return 0;
    default:
        return rig_cli_common(key, state, &command->common);
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "FILE|FOLDER...",
    .doc =
        "Run each program on core again and again, with one call to the page source, one creation "
        "of a lock or one question to a CommitRoutine refused: each in turn, alone and with all "
        "that come after it, until a run meets no refusal. After each refusal the outcome must be "
        "the ruled one, nothing else changed, nothing locked; the same operation again succeeds, "
        "and in the end everything is given back.\v"
        "Prints a line a program, then how often each place in core that makes such a call was "
        "refused. A folder means the *.heap and *.bin files in it. Ctrl-C prints the table so far.",
};

static void watch_the_process(void)
{
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(tell_run_in_progress);
    }
    (void)signal(SIGABRT, die);
    (void)signal(SIGINT, interrupt);
    (void)signal(SIGTERM, interrupt);
}

int rig_cli_sweep(int argc, char **argv)
{
    static struct sweep_command command;
    command.common.command = argv[0];
    rig_cli_parse(&argp, argc, argv, &command);
    if (command.common.file_count == 0) {
        rig_cli_refuse(argv[0], "expected a file or a folder, as in: heaprig sweep corpus");
    }
    const struct rig_options options = {.subject = rig_subject_core_open(), .judge = true};
    command.exec = rig_exec_create(&options);
    if (command.exec == NULL) {
        rig_cli_refuse(argv[0], "expected memory for an executor");
    }
    command.confirm = (struct rig_confirm){
        .subject = options.subject->name,
        .timeout_s = TIMEOUT_S,
        .input = &command.input,
        .plan = command.plan,
    };
    watch_the_process();
    fault_tally_forget();
    for (int idx = 0; idx < command.common.file_count && interrupted == 0; idx++) {
        sweep_path(&command, command.common.files[idx]);
    }
    rig_exec_destroy(command.exec);
    const unsigned left = tell_table(&command);
    const bool held = command.finding_count == 0 && (left == 0 || !command.all_sites);
    return held ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}
