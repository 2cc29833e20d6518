/* SPDX-License-Identifier: MIT
 *
 * Making a state: its program is run three times. First to see the fields and blocks that it
 * leaves; then to see what each field held on the way; then with a second heap made by the same
 * records, for that one's values. */
#include "census.h"

#include "run/check.h"
#include "run/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MAX 256u
#define OTHER_HEAP 2u
#define OTHER_SLOT 100u /* the second heap's names begin here */
#define DEFAULT_BYTES 8u

struct run_of_pages {
    uintptr_t base;
    size_t bytes;
};

struct survey {
    struct rig_census_state *state;
    const struct rig_subject *subject;
    struct rig_exec *exec;
    unsigned heap; /* whose fields are wanted at the mark */
    bool marked;
    bool broken;
    struct rig_census_field *fields;
    uint32_t field_count;
    uint32_t room;
    uint8_t *last; /* in the second run: what each byte held when last seen */
    uint8_t *seen;
    struct run_of_pages pages[RUN_MAX];
    unsigned page_runs;
    uint8_t *bytes; /* of the fields, at the mark */
    uint32_t byte_count;
};

static void *grown(void *memory, size_t bytes)
{
    memory = realloc(memory, bytes);
    RIG_CHECK(memory != NULL);
    return memory;
}

/* ---- Fields at the mark ---- */

static BOOLEAN add_field(void *context, const struct rig_field *field)
{
    struct survey *survey = context;
    if (survey->field_count == survey->room) {
        survey->room = survey->room * 2 + 64;
        survey->fields = grown(survey->fields, survey->room * sizeof(survey->fields[0]));
    }
    survey->fields[survey->field_count++] = (struct rig_census_field){
        .field = *field,
        .first = survey->byte_count,
        .other = RIG_CENSUS_WHOLE,
        .header = field->block != NULL && field->bytes == RIG_CENSUS_CELL_BYTES &&
                  (uintptr_t)field->address + field->bytes == (uintptr_t)field->block,
    };
    survey->byte_count += (uint32_t)field->bytes;
    return TRUE;
}

static void read_fields(struct survey *survey)
{
    survey->bytes = grown(NULL, survey->byte_count + 1u);
    for (uint32_t idx = 0; idx < survey->field_count; idx++) {
        const struct rig_census_field *field = &survey->fields[idx];
        for (size_t at = 0; at < field->field.bytes; at++) {
            survey->bytes[field->first + at] =
                survey->subject->peek((const uint8_t *)field->field.address + at);
        }
    }
}

static void add_targets(struct survey *survey)
{
    struct rig_census_state *state = survey->state;
    const struct rig_shadow *shadow = rig_exec_shadow(survey->exec);
    for (struct rig_block *block = rig_shadow_first((struct rig_shadow *)(uintptr_t)shadow);
         block != NULL; block = rig_shadow_next(block)) {
        if (block->heap == RIG_CENSUS_HEAP) {
            state->targets =
                grown(state->targets, (state->target_count + 1u) * sizeof(state->targets[0]));
            state->targets[state->target_count++] =
                (struct rig_census_target){.address = block->address, .name = (uint8_t)block->name};
        }
    }
    for (uint32_t idx = 0; idx < state->target_count; idx++) {
        const uint32_t before = idx > 0 ? idx - 1 : idx;
        const uint32_t behind = idx + 1 < state->target_count ? idx + 1 : idx;
        state->targets[idx].before = state->targets[before].name;
        state->targets[idx].behind = state->targets[behind].name;
    }
}

static void at_mark(void *context, const struct rig_step *step)
{
    struct survey *survey = context;
    if (step->op != RIG_OP_GET_LAST_ERROR || step->phase != RIG_PHASE_PROGRAM || survey->marked) {
        return;
    }
    const struct rig_heap *heap = &rig_exec_shadow(survey->exec)->heaps[survey->heap];
    struct rig_report unused;
    survey->marked = heap->live && survey->subject->reports(&unused) == 0;
    if (survey->marked && survey->fields == NULL) {
        (void)survey->subject->fields(heap->handle, add_field, survey);
        if (survey->heap == RIG_CENSUS_HEAP) {
            survey->state->heap = heap->handle;
            add_targets(survey);
        }
        read_fields(survey);
    }
}

/* ---- Former values ---- */

static void add_pages(void *context, PVOID base, size_t bytes)
{
    struct survey *survey = context;
    RIG_CHECK(survey->page_runs < RUN_MAX);
    survey->pages[survey->page_runs++] = (struct run_of_pages){(uintptr_t)base, bytes};
}

static bool is_committed(const struct survey *survey, uintptr_t address, size_t bytes)
{
    for (unsigned idx = 0; idx < survey->page_runs; idx++) {
        const struct run_of_pages *run = &survey->pages[idx];
        if (address >= run->base && address + bytes <= run->base + run->bytes) {
            return true;
        }
    }
    return false;
}

static void see_cell(struct survey *survey, const struct rig_census_field *field, size_t at)
{
    struct rig_census_state *state = survey->state;
    const size_t left = field->field.bytes - at;
    const size_t bytes = left < RIG_CENSUS_CELL_BYTES ? left : RIG_CENSUS_CELL_BYTES;
    const uint8_t *address = (const uint8_t *)field->field.address + at;
    uint8_t *last = survey->last + field->first + at;
    uint8_t now[RIG_CENSUS_CELL_BYTES];
    if (!is_committed(survey, (uintptr_t)address, bytes)) {
        return;
    }
    for (size_t idx = 0; idx < bytes; idx++) {
        now[idx] = survey->subject->peek(address + idx);
    }
    if (survey->seen[field->first + at] != 0 && memcmp(now, last, bytes) != 0) {
        memcpy(state->stale + field->first + at, last, bytes);
        memset(state->is_stale + field->first + at, 1, bytes);
    }
    survey->seen[field->first + at] = 1;
    memcpy(last, now, bytes);
}

static void see_cells(struct survey *survey)
{
    const struct rig_census_state *state = survey->state;
    survey->page_runs = 0;
    survey->subject->committed(add_pages, survey);
    for (uint32_t idx = 0; idx < state->field_count; idx++) {
        for (size_t at = 0; at < state->fields[idx].field.bytes; at += RIG_CENSUS_CELL_BYTES) {
            see_cell(survey, &state->fields[idx], at);
        }
    }
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct survey *survey = context;
    survey->broken = survey->broken || judge->broken_count > 0;
    if (survey->last != NULL && !survey->marked && step->phase == RIG_PHASE_PROGRAM) {
        see_cells(survey);
    }
}

/* ---- The runs ---- */

static bool survey_run(struct survey *survey, const struct rig_program *program)
{
    struct rig_program marked = *program;
    const struct rig_options options = {.subject = survey->subject,
                                        .judge = true,
                                        .watch = watch,
                                        .before = at_mark,
                                        .context = survey};
    marked.records[marked.count++] = (struct rig_record){.op = RIG_OP_GET_LAST_ERROR, .win32 = 1};
    survey->exec = rig_exec_create(&options);
    RIG_CHECK(survey->exec != NULL);
    const struct rig_verdict verdict = rig_exec_run(survey->exec, &marked);
    survey->state->calls = verdict.call_count;
    rig_exec_destroy(survey->exec);
    return survey->marked && !survey->broken && !verdict.found;
}

/* The same records again for a second heap. */
static struct rig_program doubled(const struct rig_program *program)
{
    struct rig_program both = *program;
    for (uint32_t idx = 0; idx < program->count && both.count + 1u < RIG_RECORD_COUNT_MAX; idx++) {
        struct rig_record record = program->records[idx];
        if (record.heap == RIG_CENSUS_HEAP) {
            record.heap = OTHER_HEAP;
        }
        if (record.op != RIG_OP_CREATE) { /* whose slot is its reserve */
            record.slot = (uint8_t)(record.slot + OTHER_SLOT);
        }
        both.records[both.count++] = record;
    }
    return both;
}

static uint32_t row_of(struct rig_census_state *state, const char *name)
{
    for (uint32_t idx = 0; idx < state->row_count; idx++) {
        if (strcmp(state->rows[idx], name) == 0) {
            return idx;
        }
    }
    RIG_CHECK(state->row_count < RIG_CENSUS_ROW_MAX);
    state->rows[state->row_count] = name;
    return state->row_count++;
}

/* Numbers among the fields of a name, and each one's sibling. */
static void number(struct rig_census_state *state)
{
    uint32_t counts[RIG_CENSUS_ROW_MAX] = {0};
    uint32_t last[RIG_CENSUS_ROW_MAX];
    for (uint32_t idx = 0; idx < state->field_count; idx++) {
        struct rig_census_field *field = &state->fields[idx];
        field->row = row_of(state, field->field.name);
        field->number = counts[field->row]++;
        field->sibling = idx;
        if (field->number > 0) {
            state->fields[last[field->row]].sibling = idx;
            field->sibling = last[field->row]; /* the last one's is the one before it */
        }
        last[field->row] = idx;
    }
    for (uint32_t idx = 0; idx < state->field_count; idx++) {
        state->fields[idx].count = counts[state->fields[idx].row];
    }
}

/* Fields of the second heap stand for those of the same name and number. */
static void match(struct rig_census_state *state, const struct survey *second)
{
    uint32_t counts[RIG_CENSUS_ROW_MAX] = {0};
    for (uint32_t idx = 0; idx < second->field_count; idx++) {
        const struct rig_census_field *other = &second->fields[idx];
        const uint32_t row = row_of(state, other->field.name);
        const uint32_t number = counts[row]++;
        for (uint32_t mine = 0; mine < state->field_count; mine++) {
            struct rig_census_field *field = &state->fields[mine];
            if (field->row == row && field->number == number &&
                field->field.bytes == other->field.bytes) {
                field->other = other->first;
                break;
            }
        }
    }
}

static bool see_first(struct rig_census_state *state, const struct rig_subject *subject)
{
    struct survey survey = {.state = state, .subject = subject, .heap = RIG_CENSUS_HEAP};
    const bool held = survey_run(&survey, &state->program);
    state->fields = survey.fields;
    state->field_count = survey.field_count;
    state->image = survey.bytes;
    state->bytes = survey.byte_count;
    number(state);
    return held && survey.field_count > 0 && state->target_count > 0;
}

static bool see_stale(struct rig_census_state *state, const struct rig_subject *subject)
{
    struct survey survey = {.state = state, .subject = subject, .heap = RIG_CENSUS_HEAP};
    survey.last = calloc(1, state->bytes + DEFAULT_BYTES);
    survey.seen = calloc(1, state->bytes + DEFAULT_BYTES);
    state->stale = calloc(1, state->bytes + DEFAULT_BYTES);
    state->is_stale = calloc(1, state->bytes + DEFAULT_BYTES);
    RIG_CHECK(survey.last != NULL && survey.seen != NULL && state->stale != NULL &&
              state->is_stale != NULL);
    survey.fields = state->fields; /* known: the mark asks no more */
    const bool held = survey_run(&survey, &state->program);
    free(survey.last);
    free(survey.seen);
    return held;
}

static bool see_other(struct rig_census_state *state, const struct rig_subject *subject)
{
    struct survey survey = {.state = state, .subject = subject, .heap = OTHER_HEAP};
    const uint64_t calls = state->calls;
    const struct rig_program both = doubled(&state->program);
    const bool held = survey_run(&survey, &both);
    match(state, &survey);
    state->other = survey.bytes;
    state->other_bytes = survey.byte_count;
    state->calls = calls;
    free(survey.fields);
    return held;
}

static void name_of(struct rig_census_state *state, const char *path)
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(state->name, sizeof(state->name), "%s", slash != NULL ? slash + 1 : path);
    char *dot = strrchr(state->name, '.');
    if (dot != NULL) {
        *dot = '\0';
    }
}

bool rig_census_state_make(struct rig_census_state *state, const struct rig_subject *subject,
                           const char *path, char *error, size_t error_bytes)
{
    memset(state, 0, sizeof(*state));
    name_of(state, path);
    if (subject->fields == NULL || subject->poke == NULL || subject->peek == NULL ||
        subject->reports == NULL || subject->committed == NULL) {
        (void)snprintf(error, error_bytes, "subject %s: expected one that describes its metadata",
                       subject->name);
        return false;
    }
    if (!rig_load_file(&state->program, path, error, error_bytes)) {
        return false;
    }
    if (state->program.count + 2u * RIG_BATTERY_COUNT > RIG_RECORD_COUNT_MAX ||
        !see_first(state, subject) || !see_stale(state, subject) || !see_other(state, subject)) {
        (void)snprintf(error, error_bytes,
                       "%s: expected a program that leaves heap 1 with a live block, undamaged",
                       path);
        rig_census_state_free(state);
        return false;
    }
    return true;
}

void rig_census_state_free(struct rig_census_state *state)
{
    free(state->fields);
    free(state->image);
    free(state->stale);
    free(state->is_stale);
    free(state->other);
    free(state->targets);
    memset(state, 0, sizeof(*state));
}
