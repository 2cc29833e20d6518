/* SPDX-License-Identifier: MIT
 *
 * heaprig run: programs and traces on a subject, operation by operation. */
#include "cli/cli.h"
#include "cli/finding.h"

#include "program/text.h"
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>

#define KEY_CONFIRM 0x7002
#define TIMEOUT_S 10u

struct options {
    const struct rig_subject *subject;
    unsigned long check_every;
    unsigned long timeout_s;
    bool json;
    bool quiet;
    bool text;
    bool confirm; /* this is a fresh process that only says what it finds */
    char **files;
    int file_count;
    const char *command;
};

struct run {
    const struct options *options;
    struct rig_exec *exec;
    struct rig_confirm confirm;
    struct rig_input input;
    struct rig_finding finding;
    uint32_t record_next; /* the first record not printed yet */
};

/* Of the leak checker, where there is one. */
void __lsan_disable(void) __attribute__((weak));

/* ---- Watching ------------------------------------------------------------------------------- */

static void print(struct run *run, uint32_t idx, const char *call, const char *line)
{
    rig_finding_note(&run->finding, line);
    if (run->options->quiet || run->options->confirm) {
        return;
    }
    if (!run->options->json) {
        (void)printf("%s\n", line);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(object, "step", idx);
    (void)cJSON_AddStringToObject(object, "call", call);
    (void)cJSON_AddStringToObject(object, "text", line);
    rig_cli_object(object);
}

/* Records that make no call and are not judged pass the watcher by. */
static void print_records_until(struct run *run, uint32_t idx)
{
    const struct rig_program *program = &run->input.program;
    for (; run->record_next < idx && run->record_next < program->count; run->record_next++) {
        const struct rig_record *record = &program->records[run->record_next];
        char text[RIG_TEXT_LINE_BYTES_MAX];
        char line[RIG_TRANSCRIPT_LINE_BYTES_MAX];
        (void)rig_text_print_record(record, text, sizeof(text));
        (void)snprintf(line, sizeof(line), "%u %s", run->record_next, text);
        print(run, run->record_next, rig_record_call(record), line);
    }
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct run *run = context;
    char line[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    rig_timeout_at(NULL, step->idx);
    if (run->input.form != RIG_LOAD_TRACE) {
        print_records_until(run, step->idx);
        run->record_next = step->idx + 1;
    }
    (void)rig_transcript_line(step, judge->shadow, run->options->subject, line, sizeof(line));
    print(run, step->idx, step->call, line);
    if (judge->broken_count > 0) {
        rig_finding_take(&run->finding, step, judge, run->options->subject);
    }
}

static void before(void *context, const struct rig_step *step)
{
    (void)context;
    rig_timeout_at(step->call, step->idx);
}

/* ---- Traces --------------------------------------------------------------------------------- */

/* False for events that are none of the heap's. */
static bool event_of(const struct rig_trace_event *from, struct rig_event *event)
{
    *event = (struct rig_event){.name = from->name, .win32 = true};
    event->size_bytes = (size_t)from->size;
    switch (from->kind) {
    case RIG_TRACE_CALLOC:
        event->flags = HEAP_ZERO_MEMORY;
        event->op = RIG_OP_ALLOC;
        return true;
    case RIG_TRACE_ALLOC:
    case RIG_TRACE_MEMALIGN: /* its alignment is more than a heap promises */
        event->op = RIG_OP_ALLOC;
        return true;
    case RIG_TRACE_REALLOC:
        event->op = RIG_OP_REALLOC;
        return true;
    case RIG_TRACE_FREE:
        event->op = RIG_OP_FREE;
        return true;
    default:
        return false;
    }
}

static struct rig_verdict run_trace(struct run *run)
{
    static struct rig_trace_reader reader;
    struct rig_trace_event from;
    struct rig_event event;
    enum rig_trace_status status =
        rig_trace_read_begin(&reader, rig_trace_from_file, run->input.file);
    rig_exec_begin(run->exec, 0);
    while (status == RIG_TRACE_OK) {
        status = rig_trace_read(&reader, &from);
        if (status == RIG_TRACE_OK && event_of(&from, &event) &&
            !rig_exec_event(run->exec, &event)) {
            break;
        }
    }
    const struct rig_verdict verdict = rig_exec_end(run->exec);
    if (status == RIG_TRACE_BAD || status == RIG_TRACE_NO_MEMORY) {
        char error[RIG_LOAD_ERROR_BYTES_MAX];
        (void)rig_trace_tell(&reader, run->input.name, error, sizeof(error));
        rig_cli_refuse(run->options->command, "%s", error);
    }
    rig_trace_read_end(&reader);
    return verdict;
}

/* ---- One file ------------------------------------------------------------------------------- */

static void tell_confirm(const struct rig_verdict *verdict)
{
    if (verdict->found) {
        (void)printf("finding %s %s %u\n", rig_rule_name(verdict->rule),
                     rig_clause_info(verdict->clause)->id, verdict->step_idx);
    } else {
        (void)puts("held");
    }
}

static void tell_verdict(const struct run *run, const struct rig_verdict *verdict)
{
    const char *said = verdict->found ? "finding" : "held";
    if (!run->options->json) {
        (void)printf("%s: %s, %u operations, %u that did nothing, %llu calls\n", run->input.name,
                     said, verdict->step_count, verdict->nothing_count,
                     (unsigned long long)verdict->call_count);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "file", run->input.name);
    (void)cJSON_AddStringToObject(object, "verdict", said);
    (void)cJSON_AddNumberToObject(object, "operations", verdict->step_count);
    (void)cJSON_AddNumberToObject(object, "nothing", verdict->nothing_count);
    (void)cJSON_AddNumberToObject(object, "calls", (double)verdict->call_count);
    rig_cli_object(object);
}

/* True when the contract held. */
static bool run_file(struct run *run, const char *path)
{
    const struct options *options = run->options;
    rig_input_open(&run->input, options->command, path, options->text);
    run->finding.found = false;
    run->finding.last_count = 0;
    run->finding.map_count = 0;
    run->record_next = 0;
    rig_timeout_start(&run->confirm, options->confirm, options->json);
    const bool trace = run->input.form == RIG_LOAD_TRACE;
    const struct rig_verdict verdict =
        trace ? run_trace(run) : rig_exec_run(run->exec, &run->input.program);
    rig_timeout_stop();
    if (options->confirm) {
        tell_confirm(&verdict);
    } else {
        if (run->finding.found) {
            (void)fflush(stdout);
            rig_finding_tell(&run->finding, &run->confirm, options->json);
        }
        tell_verdict(run, &verdict);
    }
    rig_input_close(&run->input);
    return !verdict.found;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    {"subject", 's', "NAME", 0, "The heap under test: core (default) or malloc", 0},
    {"check-every", 'c', "N", 0,
     "Look at everything after every N operations (default: at the end)", 0},
    {"timeout", 'T', "SECONDS", 0, "CPU time of one program, 0 for no limit (default: 10)", 0},
    {"json", 'j', 0, 0, "One object a line", 0},
    {"quiet", 'q', 0, 0, "Print findings and verdicts only", 0},
    {"text", 't', 0, 0, "Programs are text, whatever they look like", 0},
    {"confirm", KEY_CONFIRM, 0, OPTION_HIDDEN, "Say in one line what is found", 0},
    RIG_CLI_HELP,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 's':
        options->subject = rig_subject_find(arg);
        if (options->subject == NULL) {
            rig_cli_refuse(options->command, "--subject %s: expected core or malloc", arg);
        }
        return 0;
    case 'c':
        options->check_every = rig_cli_number(options->command, "--check-every", arg, 0, 1000000);
        return 0;
    case 'T':
        options->timeout_s = rig_cli_number(options->command, "--timeout", arg, 0, 1000000);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case 't':
        options->text = true;
        return 0;
    case KEY_CONFIRM:
        options->confirm = true;
        return 0;
    case ARGP_KEY_ARGS:
        options->files = state->argv + state->next;
        options->file_count = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "[FILE...]",
    .doc = "Run programs (any bytes, or text) and recorded traces on a heap, and print each "
           "operation with its outcome; addresses are offsets. Without a file, or with -, standard "
           "input is read.\v"
           "At a finding: the rule with its clauses, what was expected and what came, the last "
           "operations, a map of the heap around the block, and how to reproduce it, which a fresh "
           "process has tried by then.",
};

int rig_cli_run(int argc, char **argv)
{
    static struct run run;
    static char *standard[] = {NULL};
    static char dash[] = "-";
    struct options options = {
        .subject = rig_subject_core(),
        .timeout_s = TIMEOUT_S,
        .command = argv[0],
        .files = standard,
        .file_count = 1,
    };
    standard[0] = dash;
    rig_cli_parse(&argp, argc, argv, &options);
    const struct rig_options chosen = {
        .subject = options.subject,
        .check_every = (unsigned)options.check_every,
        .judge = true,
        .watch = watch,
        .before = before,
        .context = &run,
    };
    if (__lsan_disable != NULL && options.subject->holdings == NULL) {
        __lsan_disable(); /* a program that stops at a finding frees nothing */
    }
    run.options = &options;
    run.confirm = (struct rig_confirm){
        .subject = options.subject->name,
        .check_every = options.check_every,
        .timeout_s = options.timeout_s,
        .input = &run.input,
    };
    run.exec = rig_exec_create(&chosen);
    if (run.exec == NULL) {
        rig_cli_refuse(argv[0], "expected memory for an executor");
    }
    bool held = true;
    for (int idx = 0; idx < options.file_count; idx++) {
        held = run_file(&run, options.files[idx]) && held;
    }
    rig_exec_destroy(run.exec);
    return held ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}
