/* SPDX-License-Identifier: MIT
 *
 * heaprig run: programs and traces on a subject, operation by operation. */
#include "cli/cli.h"
#include "cli/finding.h"

#include "program/text.h"
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_CONFIRM 0x7002

struct options {
    struct rig_cli_common common;
    struct rig_cli_how how;
    bool quiet;
    bool confirm; /* this is a fresh process that only says what it finds */
};

struct run {
    const struct options *options;
    struct rig_exec *exec;
    struct rig_confirm confirm;
    struct rig_input input;
    struct rig_finding finding;
    uint32_t record_next; /* the first record not printed yet */
    bool rehearsal;       /* nothing is printed or found */
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
    if (!run->options->common.json) {
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

/* What `run --confirm` says. */
static void tell_confirm(bool found, enum rig_clause clause, uint32_t step_idx)
{
    if (found) {
        const struct rig_clause_info *info = rig_clause_info(clause);
        (void)printf("finding %s %s %u\n", rig_rule_name(info->rule), info->id, step_idx);
    } else {
        (void)puts("held");
    }
}

/* The executor cannot go on: a call of its second thread will never end. */
static _Noreturn void stop(struct run *run)
{
    const struct rig_finding *finding = &run->finding;
    rig_timeout_stop();
    if (run->options->confirm) {
        tell_confirm(true, finding->broken[0], finding->step_idx);
    } else {
        (void)fflush(stdout);
        rig_finding_tell(finding, &run->confirm, run->options->common.json);
    }
    (void)fflush(stdout);
    _exit(RIG_EXIT_FINDING);
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct run *run = context;
    char line[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    rig_timeout_at(NULL, step->idx);
    if (run->rehearsal) {
        return;
    }
    if (run->input.form != RIG_LOAD_TRACE) {
        print_records_until(run, step->idx);
        run->record_next = step->idx + 1;
    }
    (void)rig_transcript_line(step, judge->shadow, run->options->how.subject, line, sizeof(line));
    print(run, step->idx, step->call, line);
    if (judge->broken_count > 0) {
        rig_finding_take(&run->finding, step, judge, run->options->how.subject);
        if (step->outcome.stuck) {
            stop(run);
        }
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
        rig_cli_refuse(run->options->common.command, "%s", error);
    }
    rig_trace_read_end(&reader);
    return verdict;
}

/* ---- Programs ------------------------------------------------------------------------------- */

/* The call that the plan strikes first, where it tells: as a sweep does. */
static uint32_t look_of(const struct rig_exec *exec, const struct fault_plan *plan)
{
    const bool tells =
        plan->calls == 0 && (plan->kind == FAULT_PLAN_NTH || plan->kind == FAULT_PLAN_FROM);
    return tells ? rig_exec_plan_call(exec, plan->n) : RIG_LOOK_ALWAYS;
}

/* With a plan laid over it, it is run once before without, to know how its operations end then. */
static struct rig_verdict run_program(struct run *run)
{
    static const struct fault_plan nothing = {.kind = FAULT_PLAN_NTH};
    const struct rig_cli_how *how = &run->options->how;
    if (how->plan_text != NULL) {
        run->rehearsal = true;
        rig_exec_plan(run->exec, &nothing, 0);
        (void)rig_exec_run(run->exec, &run->input.program);
        run->rehearsal = false;
        rig_exec_plan(run->exec, &how->plan, look_of(run->exec, &how->plan));
    }
    return rig_exec_run(run->exec, &run->input.program);
}

/* ---- One file ------------------------------------------------------------------------------- */

static void tell_verdict(const struct run *run, const struct rig_verdict *verdict)
{
    const char *said = verdict->found ? "finding" : "held";
    if (!run->options->common.json) {
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
    rig_input_open(&run->input, options->common.command, path, options->common.text);
    run->finding.found = false;
    run->finding.last_count = 0;
    run->finding.map_count = 0;
    run->record_next = 0;
    rig_timeout_start(&run->confirm, options->confirm, options->common.json);
    const bool trace = run->input.form == RIG_LOAD_TRACE;
    const struct rig_verdict verdict = trace ? run_trace(run) : run_program(run);
    rig_timeout_stop();
    if (options->confirm) {
        tell_confirm(verdict.found, verdict.clause, verdict.step_idx);
    } else {
        if (run->finding.found) {
            (void)fflush(stdout);
            rig_finding_tell(&run->finding, &run->confirm, options->common.json);
        }
        tell_verdict(run, &verdict);
    }
    rig_input_close(&run->input);
    return !verdict.found;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    RIG_CLI_JSON, {"quiet", 'q', 0, 0, "Print findings and verdicts only", 0},
    RIG_CLI_TEXT, {"confirm", KEY_CONFIRM, 0, OPTION_HIDDEN, "Say in one line what is found", 0},
    RIG_CLI_HELP, {0},
};

static const struct argp_child argp_children[] = {{&rig_cli_how_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->how;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case KEY_CONFIRM:
        options->confirm = true;
        return 0;
    default:
        return rig_cli_common(key, state, &options->common);
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = argp_children,
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
        .common = {.command = argv[0], .files = standard, .file_count = 1},
        .how = rig_cli_how_default(),
    };
    standard[0] = dash;
    rig_cli_parse(&argp, argc, argv, &options);
    const struct rig_options chosen = {
        .subject = options.how.subject,
        .check_every = (unsigned)options.how.check_every,
        .judge = true,
        .watch = watch,
        .before = before,
        .context = &run,
    };
    if (__lsan_disable != NULL && options.how.subject->holdings == NULL) {
        __lsan_disable(); /* a program that stops at a finding frees nothing */
    }
    run.options = &options;
    run.confirm = (struct rig_confirm){
        .subject = options.how.subject->name,
        .check_every = options.how.check_every,
        .timeout_s = options.how.timeout_s,
        .input = &run.input,
        .plan = options.how.plan_text,
    };
    run.exec = rig_exec_create(&chosen);
    if (run.exec == NULL) {
        rig_cli_refuse(argv[0], "expected memory for an executor");
    }
    bool held = true;
    for (int idx = 0; idx < options.common.file_count; idx++) {
        held = run_file(&run, options.common.files[idx]) && held;
    }
    rig_exec_destroy(run.exec);
    return held ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}
