/* SPDX-License-Identifier: MIT
 *
 * heaprig shrink: a smaller program that shows the same finding. First runs of records go, long
 * ones before short ones, then what the records that are left say becomes less, until nothing more
 * can go. Each try runs in a child process. The same program gives the same result, unless time is
 * up. */
#include "cli/attempt.h"
#include "cli/input.h"

#include "program/edit.h"
#include "program/text.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES_MAX ((RIG_RECORD_COUNT_MAX + 4) * (size_t)RIG_TEXT_LINE_BYTES_MAX)
#define ROUND_MAX 16u  /* names may go around in a circle */
#define CANDIDATE_S 2u /* CPU time of a candidate: one that takes longer is a hang */

struct options {
    struct rig_cli_common common;
    struct rig_cli_how how;
    unsigned long seconds; /* 0: until it is done */
    const char *out;
};

struct shrink {
    const struct options *options;
    struct rig_attempts *attempts;
    struct rig_program program; /* the least so far that shows the finding */
    struct rig_end end;         /* and how it ends */
    unsigned from_count;
    unsigned run_count;
    time_t until; /* 0: no limit */
};

/* Ctrl-C: what there is by then is the result. */
static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* ---- Trying --------------------------------------------------------------------------------- */

static time_t seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static bool time_is_up(const struct shrink *shrink)
{
    return interrupted || (shrink->until != 0 && seconds_now() >= shrink->until);
}

static void progress(const struct shrink *shrink)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r%u records of %u, %u runs\033[K", shrink->program.count,
                      shrink->from_count, shrink->run_count);
    }
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

static bool equal(const struct rig_program *one, const struct rig_program *other)
{
    uint8_t left[RIG_PROGRAM_BYTES_MAX];
    uint8_t right[RIG_PROGRAM_BYTES_MAX];
    const size_t len = rig_program_encode(one, left);
    return rig_program_encode(other, right) == len && memcmp(left, right, len) == 0;
}

/* True when the candidate shows the finding too: it is the program then. */
static bool attempt(struct shrink *shrink, const struct rig_program *candidate)
{
    if (time_is_up(shrink) || equal(candidate, &shrink->program)) {
        return false;
    }
    shrink->run_count++;
    progress(shrink);
    const struct rig_end end = rig_attempt(shrink->attempts, candidate);
    if (!rig_end_same(&end, &shrink->end)) {
        return false;
    }
    shrink->program = *candidate;
    shrink->end = end;
    return true;
}

/* ---- Records -------------------------------------------------------------------------------- */

static bool without(struct shrink *shrink, unsigned at, unsigned count)
{
    struct rig_program candidate = shrink->program;
    rig_edit_remove(&candidate, at, count);
    return attempt(shrink, &candidate);
}

/* What comes behind the finding cannot matter to it. */
static bool tail_cut(struct shrink *shrink)
{
    const unsigned kept = shrink->end.step_idx + 1;
    return kept < shrink->program.count && without(shrink, kept, shrink->program.count - kept);
}

/* All runs of that length, from the end on: what is made early is needed more often. */
static bool runs_cut(struct shrink *shrink, unsigned length)
{
    bool changed = false;
    unsigned at = shrink->program.count;
    while (at > 0) {
        const unsigned count = at < length ? at : length;
        at -= count;
        if (at + count <= shrink->program.count) {
            changed = without(shrink, at, count) || changed;
        }
    }
    return changed;
}

static bool records_cut(struct shrink *shrink)
{
    bool changed = tail_cut(shrink);
    for (unsigned length = shrink->program.count / 2; length > 1; length /= 2) {
        changed = runs_cut(shrink, length) || changed;
    }
    while (runs_cut(shrink, 1)) {
        changed = true;
    }
    return changed;
}

/* ---- Names ---------------------------------------------------------------------------------- */

/* A record that does not fit is resolved to the next name that does. So names are first made those
 * that were meant, after which records go without a change to others, and at the end small ones. */

static bool names_block(const struct rig_record *record)
{
    return rig_op_reads(record->op, RIG_OPERAND_SLOT);
}

static bool names_heap(const struct rig_record *record)
{
    return rig_op_reads(record->op, RIG_OPERAND_HEAP);
}

static bool names_object(const struct rig_record *record)
{
    const enum rig_state state = rig_op_info(record->op)->state;
    return state == RIG_STATE_HANDLER || state == RIG_STATE_NO_SECTION ||
           state == RIG_STATE_SECTION || state == RIG_STATE_OWNED_SECTION ||
           state == RIG_STATE_FREE_SECTION;
}

static void mean(struct rig_record *record, struct rig_meant meant)
{
    const enum rig_state state = rig_op_info(record->op)->state;
    if (!meant.made || state == RIG_STATE_NONE) {
        return;
    }
    if (state == RIG_STATE_BLOCK || state == RIG_STATE_FREE_SLOT) {
        record->slot = meant.slot;
    }
    if (names_heap(record)) {
        record->heap = meant.heap;
    }
    if (names_object(record)) {
        record->arg = meant.object;
    }
}

/* As one run has it: the program is run once more to hear what its names mean. */
static bool names_mean(struct shrink *shrink)
{
    struct rig_program candidate = shrink->program;
    (void)rig_attempt(shrink->attempts, &shrink->program);
    shrink->run_count++;
    for (unsigned idx = 0; idx < candidate.count; idx++) {
        mean(&candidate.records[idx], rig_attempt_meant(shrink->attempts, idx));
    }
    return attempt(shrink, &candidate);
}

/* New names in the order in which they come, from `next` on. */
struct naming {
    uint8_t names[RIG_SLOT_COUNT];
    bool known[RIG_SLOT_COUNT];
    unsigned next;
};

static uint8_t renamed(struct naming *naming, unsigned name)
{
    if (!naming->known[name]) {
        naming->known[name] = true;
        naming->names[name] = (uint8_t)naming->next++;
    }
    return naming->names[name];
}

/* The size of a block that has a name holds it in its value's high half. */
static void size_rename(struct naming *slots, struct rig_record *record)
{
    if (rig_op_reads(record->op, RIG_OPERAND_SIZE) && rig_edit_refers(record)) {
        const unsigned hi = renamed(slots, record->value >> 8);
        record->value = (uint16_t)(hi << 8 | (record->value & 0xFFu));
    }
}

static bool names_lower(struct shrink *shrink)
{
    struct rig_program candidate = shrink->program;
    struct naming slots = {.next = 1};
    struct naming heaps = {.names = {0}, .known = {true}, .next = 1};
    for (unsigned idx = 0; idx < candidate.count; idx++) {
        struct rig_record *record = &candidate.records[idx];
        if (names_block(record)) {
            record->slot = renamed(&slots, record->slot);
        }
        if (names_heap(record)) {
            record->heap = renamed(&heaps, record->heap);
        }
        size_rename(&slots, record);
    }
    return attempt(shrink, &candidate);
}

/* ---- Fields --------------------------------------------------------------------------------- */

/* A field of a record, and the operands for which it is read; "" always counts. */
static const struct field {
    size_t offset;
    size_t bytes;
    const char *operands;
    bool bits; /* each bit means something by itself */
} fields[] = {
    {offsetof(struct rig_record, context), 1, "c", false},
    {offsetof(struct rig_record, thread), 1, "", false},
    {offsetof(struct rig_record, flags), 1, "f", true},
    {offsetof(struct rig_record, size_class), 1, "z", false},
    {offsetof(struct rig_record, value), 2, "zv", false},
    {offsetof(struct rig_record, arg), 1, "a", false},
    {offsetof(struct rig_record, slot), 1, "r", false}, /* of names see below */
    {offsetof(struct rig_record, win32), 1, "", false},
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static unsigned field_get(const struct rig_record *record, const struct field *field)
{
    const unsigned char *at = (const unsigned char *)record + field->offset;
    uint16_t two = 0;
    if (field->bytes == 1) {
        return *at;
    }
    memcpy(&two, at, sizeof(two));
    return two;
}

static void field_set(struct rig_record *record, const struct field *field, unsigned number)
{
    unsigned char *at = (unsigned char *)record + field->offset;
    const uint16_t two = (uint16_t)number;
    if (field->bytes == 1) {
        *at = (unsigned char)number;
    } else {
        memcpy(at, &two, sizeof(two));
    }
}

static bool field_read(const struct rig_record *record, const struct field *field)
{
    bool read = field->operands[0] == '\0';
    for (const char *operand = field->operands; *operand != '\0'; operand++) {
        read = read || rig_op_reads(record->op, *operand);
    }
    return read;
}

/* Everything that no operation reads, at once. */
static bool unread_clear(struct shrink *shrink)
{
    struct rig_program candidate = shrink->program;
    for (unsigned idx = 0; idx < candidate.count; idx++) {
        struct rig_record *record = &candidate.records[idx];
        const uint8_t slot = record->slot;
        for (size_t field = 0; field < FIELD_COUNT; field++) {
            if (!field_read(record, &fields[field])) {
                field_set(record, &fields[field], 0);
            }
        }
        record->slot = names_block(record) ? slot : record->slot;
        record->heap = names_heap(record) ? record->heap : 0;
    }
    return attempt(shrink, &candidate);
}

static bool field_try(struct shrink *shrink, unsigned idx, const struct field *field,
                      unsigned number)
{
    struct rig_program candidate = shrink->program;
    field_set(&candidate.records[idx], field, number);
    return attempt(shrink, &candidate);
}

/* To 0 if it will, else by steps that get shorter. */
static bool field_lower(struct shrink *shrink, unsigned idx, const struct field *field)
{
    bool changed = false;
    unsigned number = field_get(&shrink->program.records[idx], field);
    for (unsigned step = number; step > 0; step = step > number ? number : step) {
        if (field_try(shrink, idx, field, number - step)) {
            number -= step;
            changed = true;
        } else {
            step /= 2;
        }
    }
    return changed;
}

static bool field_bits_clear(struct shrink *shrink, unsigned idx, const struct field *field)
{
    bool changed = field_try(shrink, idx, field, 0);
    for (unsigned bit = 1u << (8 * field->bytes - 1); bit > 0; bit /= 2) {
        const unsigned number = field_get(&shrink->program.records[idx], field);
        changed = field_try(shrink, idx, field, number & ~bit) || changed;
    }
    return changed;
}

/* A size that is made from something becomes a plain number, small ones first. */
static bool size_plain(struct shrink *shrink, unsigned idx)
{
    static const uint16_t sizes[] = {0, 1, 16, 64, 256, 1024, 4096, 16384, 65535};
    if (shrink->program.records[idx].size_class == RIG_SIZE_LITERAL ||
        !rig_op_reads(shrink->program.records[idx].op, RIG_OPERAND_SIZE)) {
        return false;
    }
    for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
        struct rig_program candidate = shrink->program;
        candidate.records[idx].size_class = RIG_SIZE_LITERAL;
        candidate.records[idx].value = sizes[size];
        if (attempt(shrink, &candidate)) {
            return true;
        }
    }
    for (unsigned power = 17; power < 32; power++) {
        struct rig_program candidate = shrink->program;
        struct rig_record *record = &candidate.records[idx];
        if (record->size_class == RIG_SIZE_POWER) {
            break; /* a smaller one is found by lowering it */
        }
        record->size_class = RIG_SIZE_POWER;
        record->value = (uint16_t)(power << 8);
        if (attempt(shrink, &candidate)) {
            return true;
        }
    }
    struct rig_program candidate = shrink->program;
    candidate.records[idx].size_class &= 0x0F; /* the kind without its detail */
    return attempt(shrink, &candidate);
}

static bool record_simplify(struct shrink *shrink, unsigned idx)
{
    bool changed = size_plain(shrink, idx);
    for (size_t at = 0; at < FIELD_COUNT; at++) {
        const struct field *field = &fields[at];
        if (field_read(&shrink->program.records[idx], field)) {
            changed = (field->bits ? field_bits_clear(shrink, idx, field)
                                   : field_lower(shrink, idx, field)) ||
                      changed;
        }
    }
    return changed;
}

static bool records_simplify(struct shrink *shrink)
{
    bool changed = unread_clear(shrink);
    for (unsigned idx = 0; idx < shrink->program.count; idx++) {
        changed = record_simplify(shrink, idx) || changed;
    }
    return changed;
}

/* ---- The head ------------------------------------------------------------------------------- */

static bool head_simplify(struct shrink *shrink)
{
    struct rig_program candidate = shrink->program;
    candidate.seed = 0;
    bool changed = attempt(shrink, &candidate);
    candidate = shrink->program;
    memset(candidate.plan, 0, sizeof(candidate.plan));
    changed = attempt(shrink, &candidate) || changed;
    for (unsigned bit = 0x80; bit > 0; bit /= 2) {
        candidate = shrink->program;
        candidate.flags = (uint8_t)(candidate.flags & ~bit);
        changed = attempt(shrink, &candidate) || changed;
    }
    return changed;
}

static void shrink_all(struct shrink *shrink)
{
    bool changed = true;
    for (unsigned round = 0; changed && round < ROUND_MAX && !time_is_up(shrink); round++) {
        changed = names_mean(shrink);
        changed = records_cut(shrink) || changed;
        changed = head_simplify(shrink) || changed;
        changed = records_simplify(shrink) || changed;
        changed = names_lower(shrink) || changed;
    }
    progress_end();
}

/* ---- Telling -------------------------------------------------------------------------------- */

static size_t text_of(const struct shrink *shrink, const char *name, char *text)
{
    char end[RIG_END_TEXT_BYTES];
    rig_end_print(&shrink->end, end);
    size_t len = (size_t)snprintf(text, TEXT_BYTES_MAX, "# Shrunk from %.200s: %s\n", name, end);
    len += rig_text_print(&shrink->program, text + len, TEXT_BYTES_MAX - len);
    return len;
}

static bool is_text(const char *path)
{
    const size_t len = strlen(path);
    return len >= 5 && strcmp(path + len - 5, ".heap") == 0;
}

static void result_write(const struct shrink *shrink, const char *name)
{
    static char text[TEXT_BYTES_MAX];
    uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    const struct options *options = shrink->options;
    const char *out = options->out;
    const bool standard = out == NULL || strcmp(out, "-") == 0;
    if (standard && options->common.json) {
        return; /* it is part of the object */
    }
    if (standard) {
        (void)fwrite(text, 1, text_of(shrink, name, text), stdout);
    } else if (is_text(out)) {
        rig_cli_write(options->common.command, out, text, text_of(shrink, name, text));
    } else {
        rig_cli_write(options->common.command, out, bytes,
                      rig_program_encode(&shrink->program, bytes));
    }
}

static void tell_json(const struct shrink *shrink, const char *name, bool same)
{
    static char text[TEXT_BYTES_MAX];
    char end[RIG_END_TEXT_BYTES];
    rig_end_print(&shrink->end, end);
    (void)text_of(shrink, name, text);
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "file", name);
    (void)cJSON_AddStringToObject(object, "finding", end);
    (void)cJSON_AddNumberToObject(object, "records_before", shrink->from_count);
    (void)cJSON_AddNumberToObject(object, "records", shrink->program.count);
    (void)cJSON_AddNumberToObject(object, "runs", shrink->run_count);
    (void)cJSON_AddBoolToObject(object, "reproduced", same);
    (void)cJSON_AddStringToObject(object, "program", text);
    rig_cli_object(object);
}

/* True when a fresh process found the same. */
static bool tell(const struct shrink *shrink, const char *name)
{
    char end[RIG_END_TEXT_BYTES];
    char line[RIG_CONFIRM_LINE_BYTES];
    const struct options *options = shrink->options;
    const bool same = rig_end_confirmed(&shrink->end, &options->how, &shrink->program, line);
    rig_end_print(&shrink->end, end);
    result_write(shrink, name);
    if (options->common.json) {
        tell_json(shrink, name, same);
        return same;
    }
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: %u records to %u in %u runs%s: %s\n", name, shrink->from_count,
                  shrink->program.count, shrink->run_count,
                  time_is_up(shrink) ? ", ended early" : "", end);
    if (same) {
        (void)fprintf(stderr, "a fresh process found the same: reproduced\n");
    } else {
        (void)fprintf(stderr, "a fresh process said '%s': not reproduced\n", line);
    }
    return same;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    {"output", 'o', "OUT", 0,
     "Where it goes: text when OUT ends in .heap, else bytes (default: text on standard output)",
     0},
    {"seconds", 'n', "N", 0, "End after so many seconds with what there is (default: no limit)", 0},
    RIG_CLI_JSON,
    RIG_CLI_TEXT,
    RIG_CLI_HELP,
    {0},
};

static const struct argp_child argp_children[] = {{&rig_cli_how_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->how;
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    case 'n':
        options->seconds = rig_cli_number(options->common.command, "--seconds", arg, 1, 86400);
        return 0;
    default:
        return rig_cli_common(key, state, &options->common);
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = argp_children,
    .args_doc = "FILE",
    .doc =
        "Make a program smaller for as long as the same rule breaks at the same call, or the "
        "process dies of the same cause there: records go, then sizes, flags and names become "
        "less. Each try is a process of its own, so crashes and hangs shrink too. Ctrl-C ends it "
        "with what there is.\v"
        "Exit status: 0 what came of it shows the finding in a fresh process too, 1 it does not, "
        "2 the program has no finding, or bad usage.",
};

int rig_cli_shrink(int argc, char **argv)
{
    static struct rig_input input;
    static struct shrink shrink;
    struct options options = {.common = {.command = argv[0]}, .how = rig_cli_how_default()};
    rig_cli_parse(&argp, argc, argv, &options);
    rig_input_open(&input, argv[0], rig_cli_one_file(&options.common), options.common.text);
    if (input.form == RIG_LOAD_TRACE) {
        rig_cli_refuse(argv[0], "%s: expected a program, found a trace", input.name);
    }
    struct rig_cli_how how = options.how;
    how.timeout_s = how.timeout_s == 0 || how.timeout_s > CANDIDATE_S ? CANDIDATE_S : how.timeout_s;
    shrink.options = &options;
    shrink.program = input.program;
    shrink.from_count = input.program.count;
    shrink.until = options.seconds == 0 ? 0 : seconds_now() + (time_t)options.seconds;
    shrink.attempts = rig_attempts_create(&how);
    if (shrink.attempts == NULL) {
        rig_cli_refuse(argv[0], "expected memory for an executor");
    }
    (void)sigaction(SIGINT, &(const struct sigaction){.sa_handler = interrupt}, NULL);
    shrink.end = rig_attempt(shrink.attempts, &shrink.program);
    shrink.run_count = 1;
    if (shrink.end.kind == RIG_END_HELD || shrink.end.kind == RIG_END_NOT_RUN) {
        char end[RIG_END_TEXT_BYTES];
        rig_end_print(&shrink.end, end);
        rig_cli_refuse(argv[0], "%s: expected a program with a finding: %s", input.name, end);
    }
    shrink_all(&shrink);
    const bool same = tell(&shrink, input.name);
    rig_attempts_destroy(shrink.attempts);
    rig_input_close(&input);
    return same ? RIG_EXIT_HELD : RIG_EXIT_FINDING;
}
