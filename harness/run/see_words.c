/* SPDX-License-Identifier: MIT
 *
 * What the subject says in words, compared with what it says in numbers: stops, reports,
 * exceptions, and what the end of the process tells. A few of each kind in a run: more say nothing
 * new. */
#include "exec_internal.h"

#include <stdio.h>

#define KIND_MAX 2u     /* stops of one code, and reports, in a run */
#define STACKED_PART 8u /* of the programs: one stop has its stacks, which are named out of files  \
                         */
#define PLAIN_BYTES 1024u
#define ROOM_BYTES 4096u /* in which JSON is whole */
#define END_BYTES 0x10000u
#define CANARY 0x5A
#define NUMBER_BYTES 24u

/* ---- Reading -------------------------------------------------------------------------------- */

static bool take(const char **at, const char *text)
{
    const size_t len = strlen(text);
    const bool there = strncmp(*at, text, len) == 0;
    *at += there ? len : 0;
    return there;
}

/* A sentence, and `end` in the same line. */
static bool take_sentence(const char **at, const char *end)
{
    const char *stop = strstr(*at, end);
    const bool there = stop != NULL && stop > *at && strchr(*at, '\n') >= stop;
    *at = there ? stop + strlen(end) : *at;
    return there;
}

/* As %#x has a number: 0 has no mark. */
static const char *hex(char text[NUMBER_BYTES], uintptr_t value)
{
    (void)snprintf(text, NUMBER_BYTES, value == 0 ? "0" : "0x%llx", (unsigned long long)value);
    return text;
}

/* A string, a number, or an array of strings, behind which `*at` is left. */
static bool take_string(const char **at)
{
    const char *one = *at;
    if (*one++ != '"') {
        return false;
    }
    for (; *one != '"'; one++) {
        if ((unsigned char)*one < 0x20u || (unsigned char)*one >= 0x7Fu ||
            (*one == '\\' && *++one == '\0')) {
            return false;
        }
    }
    *at = one + 1;
    return true;
}

static bool take_value(const char **at)
{
    if (**at != '[') {
        const size_t digits = strspn(*at, "0123456789");
        *at += digits;
        return digits > 0 || take(at, "true") || take_string(at);
    }
    ++*at;
    for (bool more = !take(at, "]"); more; more = take(at, ",")) {
        if (!take_string(at)) {
            return false;
        }
        if (take(at, "]")) {
            return true;
        }
    }
    return (*at)[-1] == ']';
}

/* The value of a member of the object in `line`, which has to be one in every letter; NULL when it
 * has no such member, or is none. */
static const char *member(const char *line, const char *name, size_t *len)
{
    const char *at = line;
    const char *found = NULL;
    const size_t name_len = strlen(name);
    bool whole = take(&at, "{");
    do {
        const char *key = at + 1;
        whole = whole && take_string(&at) && take(&at, ":");
        const char *value = at;
        whole = whole && take_value(&at);
        if (whole && strncmp(key, name, name_len) == 0 && key[name_len] == '"') {
            found = value;
            *len = (size_t)(at - value);
        }
    } while (whole && take(&at, ","));
    return whole && take(&at, "}\n") ? found : NULL;
}

static bool member_is(const char *line, const char *name, const char *value)
{
    size_t len = 0;
    const char *found = member(line, name, &len);
    return found != NULL && len == strlen(value) && memcmp(found, value, len) == 0;
}

static bool member_is_number(const char *line, const char *name, uint64_t value)
{
    char text[NUMBER_BYTES];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return member_is(line, name, text);
}

static bool member_is_string(const char *line, const char *name, const char *value)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "\"%s\"", value);
    return member_is(line, name, text);
}

static bool has_member(const char *line, const char *name)
{
    size_t len = 0;
    return member(line, name, &len) != NULL;
}

/* ---- Stops ---------------------------------------------------------------------------------- */

static char text[ROOM_BYTES + 1]; /* of what is looked at now */
static char cut[PLAIN_BYTES + 1];

static size_t words_of(const struct rig_exec *exec, size_t idx, bool json, bool stacks)
{
    text[0] = '\0';
    return exec->subject->stop_text(idx, json, stacks, text, ROOM_BYTES);
}

/* The lines that every stop has; `*at` is left behind them. */
static bool lines_are_right(const char **at, const struct rig_stop *stop)
{
    char line[128];
    char number[4][NUMBER_BYTES];
    (void)snprintf(line, sizeof(line), "heaprig: stop %s %s %s: ", hex(number[0], stop->code),
                   stop->layer, stop->name);
    bool right = take(at, line) && take_sentence(at, "\n");
    (void)snprintf(line, sizeof(line), "    parameters    %s %s %s %s\n",
                   hex(number[0], stop->parameter[0]), hex(number[1], stop->parameter[1]),
                   hex(number[2], stop->parameter[2]), hex(number[3], stop->parameter[3]));
    right = right && take(at, line);
    (void)snprintf(line, sizeof(line), "    module        %s\n", stop->module);
    return right && (stop->module[0] == '\0' || take(at, line));
}

static bool object_is_right(const char *line, const struct rig_stop *stop)
{
    char parameters[128];
    char number[4][NUMBER_BYTES];
    (void)snprintf(parameters, sizeof(parameters), "[\"%s\",\"%s\",\"%s\",\"%s\"]",
                   hex(number[0], stop->parameter[0]), hex(number[1], stop->parameter[1]),
                   hex(number[2], stop->parameter[2]), hex(number[3], stop->parameter[3]));
    return member_is_string(line, "kind", "stop") && member_is_number(line, "code", stop->code) &&
           member_is_string(line, "layer", stop->layer) &&
           member_is_string(line, "name", stop->name) && has_member(line, "text") &&
           member_is(line, "parameters", parameters) && has_member(line, "process") &&
           member_is_number(line, "thread", stop->thread) &&
           (stop->module[0] == '\0' ? !has_member(line, "module")
                                    : member_is_string(line, "module", stop->module));
}

/* In less room the words are the beginning of themselves, with a NUL, and nothing past it. */
static bool cut_is_right(const struct rig_exec *exec, size_t idx, size_t bytes)
{
    const size_t room = 1u + (idx * 37u + exec->step.idx) % bytes;
    memset(cut, CANARY, room + 1u);
    return exec->subject->stop_text(idx, exec->step.idx % 2u == 0, false, cut, room) == bytes &&
           cut[room] == CANARY && cut[room - 1u] == '\0' && memcmp(cut, text, room - 1u) == 0;
}

/* A stack that there is has its first frame, and one that there is not has none. */
static bool lines_have_stack(const char *title, bool there, const char *module)
{
    char first[64];
    (void)snprintf(first, sizeof(first), "\n    %-13s #0 %s", title, module);
    if (!there) {
        first[19] = '\0'; /* the title alone */
    }
    return (strstr(text, first) != NULL) == there;
}

static bool object_has_stack(const char *title, bool there, const char *module)
{
    char first[32];
    size_t len = 0;
    const char *frames = member(text, title, &len);
    (void)snprintf(first, sizeof(first), "[\"%s", module);
    return there ? frames != NULL && strncmp(frames, first, strlen(first)) == 0 : frames == NULL;
}

/* In less room frames are left out from the last one on, and all else stays; in none it is counted. */
static bool shorter_is_right(const struct rig_exec *exec, size_t idx, const struct rig_stop *stop,
                             size_t bytes)
{
    const bool json = exec->step.idx % 2u == 0;
    const char *at = cut;
    memset(cut, CANARY, sizeof(cut));
    const bool same = exec->subject->stop_text(idx, json, true, cut, PLAIN_BYTES) == bytes &&
                      cut[PLAIN_BYTES] == CANARY && strlen(cut) < PLAIN_BYTES &&
                      exec->subject->stop_text(idx, json, true, NULL, 0) == bytes;
    return same && (json ? object_is_right(cut, stop)
                         : lines_are_right(&at, stop) && strncmp(cut, text, strlen(cut)) == 0 &&
                               cut[strlen(cut) - 1] == '\n');
}

/* With its stacks, as text or as JSON. The module that allocated is known. */
static bool stacks_are_right(const struct rig_exec *exec, size_t idx, const struct rig_stop *stop)
{
    const char *at = text;
    const bool json = exec->step.idx % 2u == 0;
    const size_t bytes = words_of(exec, idx, json, true);
    bool (*const have)(const char *, bool, const char *) =
        json ? object_has_stack : lines_have_stack;
    const bool right = json ? object_is_right(text, stop) : lines_are_right(&at, stop);
    return right && have(json ? "noticed" : "noticed at", stop->noticed, "") &&
           have(json ? "allocated" : "allocated at", stop->allocated, stop->owner) &&
           have(json ? "freed" : "freed at", stop->freed, "") &&
           (bytes < ROOM_BYTES ? strlen(text) == bytes : strlen(text) < ROOM_BYTES) &&
           shorter_is_right(exec, idx, stop, bytes);
}

static bool stop_is_right(const struct rig_exec *exec, size_t idx, const struct rig_stop *stop)
{
    const char *at = text;
    size_t bytes = words_of(exec, idx, false, false);
    bool right =
        bytes < PLAIN_BYTES && lines_are_right(&at, stop) && *at == '\0' && text + bytes == at;
    right = right && (exec->step.idx % 2u == 0 || cut_is_right(exec, idx, bytes));
    bytes = words_of(exec, idx, true, false);
    right = right && bytes < PLAIN_BYTES && strlen(text) == bytes && object_is_right(text, stop);
    return right && (exec->step.idx % 2u != 0 || cut_is_right(exec, idx, bytes));
}

void rig_see_stops_worded(struct rig_exec *exec)
{
    struct rig_words *words = &exec->step.words;
    const struct rig_watched *watched = &exec->watched;
    if (exec->subject->stop_text == NULL) {
        return;
    }
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        const struct rig_stop *stop = &watched->told[idx];
        const size_t number = exec->watch_from + idx;
        uint8_t *count = &exec->worded.stops[stop->code % RIG_WORDED_CODES];
        if (*count >= KIND_MAX) {
            continue;
        }
        ++*count;
        words->stops++;
        words->stops_wrong += !stop_is_right(exec, number, stop);
        if (!exec->worded.stacks && exec->program->count % STACKED_PART == 0) {
            exec->worded.stacks = true;
            words->stops_wrong += !stacks_are_right(exec, number, stop);
        }
    }
}

/* ---- Reports, exceptions -------------------------------------------------------------------- */

void rig_see_report_worded(struct rig_exec *exec)
{
    struct rig_words *words = &exec->step.words;
    const struct rig_report *report = &exec->step.outcome.report;
    char line[256];
    const char *at = text;
    if (exec->subject->report_text == NULL || exec->step.outcome.reports == 0 ||
        exec->worded.reports >= KIND_MAX) {
        return;
    }
    exec->worded.reports++;
    words->reports++;
    const size_t bytes = exec->subject->report_text(text, ROOM_BYTES);
    (void)snprintf(line, sizeof(line), "heaprig: %s: heap %p, block %p, %s%s: ", report->call,
                   report->heap, report->block, report->field == NULL ? "no field" : "field ",
                   report->field == NULL ? "" : report->field);
    bool right = take(&at, line);
    (void)snprintf(line, sizeof(line), " (%s)\n", report->reason);
    right = right && take_sentence(&at, line) && *at == '\0' && bytes == (size_t)(at - text);
    const size_t room = 1u + exec->step.idx % (right ? bytes : 1u);
    memset(cut, CANARY, room + 1u);
    right = right && exec->subject->report_text(cut, room) == bytes && cut[room] == CANARY &&
            cut[room - 1u] == '\0' && memcmp(cut, text, room - 1u) == 0;
    words->reports_wrong += !right;
}

/* In a filter or handler. A call raises when it is done; in one is what its CommitRoutine raises,
 * which it takes, and raises again. */
void rig_see_exception_worded(struct rig_exec *exec, const EXCEPTION_RECORD *record, bool inside)
{
    struct rig_words *words = &exec->step.words;
    char due[128];
    if (exec->subject->exception_text == NULL ||
        (exec->step.op != RIG_OP_RAISE && exec->step.op != RIG_OP_ALLOC &&
         exec->step.op != RIG_OP_REALLOC)) {
        return;
    }
    words->exceptions++;
    (void)snprintf(due, sizeof(due), "exception 0x%08X at 0x%llX in %s",
                   (unsigned)record->ExceptionCode,
                   (unsigned long long)(uintptr_t)record->ExceptionAddress,
                   inside ? exec->step.call : "no heap call");
    const size_t room = 1u + exec->step.idx % strlen(due);
    memset(cut, CANARY, room + 1u);
    const bool right =
        exec->subject->exception_text(record, text, ROOM_BYTES) == strlen(due) &&
        strcmp(text, due) == 0 && exec->subject->exception_text(record, cut, room) == strlen(due) &&
        cut[room] == CANARY && cut[room - 1u] == '\0' && memcmp(cut, due, room - 1u) == 0;
    words->exceptions_wrong += !right;
}

/* ---- The end -------------------------------------------------------------------------------- */

static unsigned count_of(const char *in, const char *what)
{
    unsigned count = 0;
    for (const char *at = strstr(in, what); at != NULL; at = strstr(at + 1, what)) {
        count++;
    }
    return count;
}

/* Each live block that was not disowned is listed once, and nothing besides. */
static bool left_is_right(const struct rig_exec *exec, const char *said, bool json)
{
    unsigned due = 0;
    bool right = true;
    for (struct rig_block *block = rig_shadow_first((struct rig_shadow *)&exec->shadow);
         exec->watch.set.leaks && exec->watch.tracks && block != NULL;
         block = rig_shadow_next(block)) {
        char line[96];
        if (block->shielded) {
            continue;
        }
        (void)snprintf(line, sizeof(line),
                       json ? "{\"kind\":\"left\",\"address\":\"%p\",\"bytes\":%zu,"
                            : "heaprig: still allocated: %p, %zu bytes\n",
                       (void *)block->address, block->size_bytes); /* NOLINT: an address */
        right = right && count_of(said, line) == 1;
        due++;
    }
    return right && count_of(said, json ? "\"kind\":\"left\"" : "still allocated") == due;
}

static bool sums_are_right(const struct rig_exec *exec, const char *line)
{
    struct rig_verified sums;
    char due[256];
    exec->subject->verified(&sums);
    (void)snprintf(due, sizeof(due),
                   " frees, %llu stops (%llu leaks), %llu unloads, %llu disowned, %llu refused, "
                   "%llu full blocks, %llu light for lack of mappings, ",
                   (unsigned long long)sums.stops, (unsigned long long)sums.leaks,
                   (unsigned long long)sums.unloads, (unsigned long long)sums.disowned,
                   (unsigned long long)sums.refused, (unsigned long long)sums.full,
                   (unsigned long long)sums.light);
    const bool counted = strstr(line, due) != NULL;
    (void)snprintf(due, sizeof(due), " stacks not walked, %zu blocks left, %zu bytes, %zu held, ",
                   sums.live_count, sums.live_bytes, sums.held_count);
    return counted && strstr(line, due) != NULL;
}

static bool sums_object_is_right(const struct rig_exec *exec, const char *line)
{
    struct rig_verified sums;
    exec->subject->verified(&sums);
    return member_is_string(line, "kind", "summary") && has_member(line, "process") &&
           has_member(line, "allocations") && has_member(line, "frees") &&
           member_is_number(line, "stops", sums.stops) &&
           member_is_number(line, "leaks", sums.leaks) &&
           member_is_number(line, "unloads", sums.unloads) &&
           member_is_number(line, "disowned", sums.disowned) &&
           member_is_number(line, "refused", sums.refused) &&
           member_is_number(line, "full", sums.full) &&
           member_is_number(line, "light_for_lack", sums.light) && has_member(line, "unwalked") &&
           member_is_number(line, "live", sums.live_count) &&
           member_is_number(line, "live_bytes", sums.live_bytes) &&
           member_is_number(line, "held", sums.held_count) && has_member(line, "own_bytes");
}

void rig_see_end_worded(struct rig_exec *exec)
{
    static char said[END_BYTES];
    struct rig_words *words = &exec->step.words;
    const size_t bytes =
        exec->subject->end_text == NULL ? 0 : exec->subject->end_text(said, sizeof(said));
    if (bytes == 0 || bytes >= sizeof(said) || exec->step.outcome.ended != 0) {
        return;
    }
    words->ends++;
    const bool json = said[0] == '{';
    bool right = said[bytes - 1] == '\n' && left_is_right(exec, said, json);
    const char *last = said;
    for (const char *line = said; *line != '\0' && right; line = strchr(line, '\n') + 1) {
        right = !json || has_member(line, "kind");
        last = line;
    }
    right = right && (json ? sums_object_is_right : sums_are_right)(exec, last);
    words->ends_wrong += !right;
}
