/* SPDX-License-Identifier: MIT
 *
 * Findings: taking them down, and telling them. */
#include "cli/finding.h"

#include "cli/cli.h"

#include "rules/contract.h"

#include <stdlib.h>
#include <string.h>

#define WALK_COUNT_MAX 100000u /* elements of a heap that is looked at for a map */
#define MAP_BEFORE 4u          /* elements shown before the block's own */

/* ---- The map -------------------------------------------------------------------------------- */

/* One element, as the ring of the last ones seen keeps it. */
struct mapping {
    const struct rig_subject *subject;
    const struct rig_shadow *shadow;
    HANDLE heap;
    uintptr_t around;
    struct rig_finding *finding;
    char ring[MAP_BEFORE][160];
    size_t seen;
};

static void element_print(const struct mapping *mapping, const PROCESS_HEAP_ENTRY *entry,
                          char out[160])
{
    char place[RIG_TRANSCRIPT_PLACE_BYTES];
    char name[32] = "";
    const uintptr_t address = (uintptr_t)entry->lpData;
    const struct rig_block *block =
        rig_shadow_find((struct rig_shadow *)(uintptr_t)mapping->shadow, address);
    const char *kind = (entry->wFlags & PROCESS_HEAP_REGION) != 0              ? "region"
                       : (entry->wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0 ? "uncommitted"
                       : (entry->wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0        ? "busy"
                                                                               : "free";
    rig_transcript_place(mapping->shadow, mapping->subject, address, place);
    if (block != NULL) {
        (void)snprintf(name, sizeof(name), " s%u of %zu", block->name, block->size_bytes);
    }
    (void)snprintf(out, 160, "%-14s %-11s %10u + %-3u%s", place, kind, entry->cbData,
                   entry->cbOverhead, name);
}

static bool holds(const PROCESS_HEAP_ENTRY *entry, uintptr_t address)
{
    const uintptr_t from = (uintptr_t)entry->lpData;
    return (entry->wFlags & PROCESS_HEAP_REGION) == 0 && address >= from &&
           address - from <= (uintptr_t)entry->cbData + entry->cbOverhead;
}

static void map_add(struct rig_finding *finding, const char *line, bool mark)
{
    if (finding->map_count < RIG_FINDING_MAP_COUNT) {
        (void)snprintf(finding->map[finding->map_count++], 160, "%s%.157s", mark ? "> " : "  ",
                       line);
    }
}

static void walk(void *context)
{
    struct mapping *mapping = context;
    PROCESS_HEAP_ENTRY entry = {0};
    for (size_t count = 0; count < WALK_COUNT_MAX; count++) {
        if (!mapping->subject->HeapWalk(mapping->heap, &entry)) {
            return;
        }
        char line[160];
        element_print(mapping, &entry, line);
        if (mapping->finding->map_count > 0) {
            map_add(mapping->finding, line, false);
        } else if (holds(&entry, mapping->around)) {
            const size_t before = mapping->seen < MAP_BEFORE ? mapping->seen : MAP_BEFORE;
            for (size_t back = before; back > 0; back--) {
                map_add(mapping->finding, mapping->ring[(mapping->seen - back) % MAP_BEFORE],
                        false);
            }
            map_add(mapping->finding, line, true);
        }
        memcpy(mapping->ring[mapping->seen++ % MAP_BEFORE], line, sizeof(line));
        if (mapping->finding->map_count == RIG_FINDING_MAP_COUNT) {
            return;
        }
    }
}

/* Where no walk can be had: the model's blocks. */
static void map_of_model(struct mapping *mapping)
{
    struct rig_shadow *shadow = (struct rig_shadow *)(uintptr_t)mapping->shadow;
    const struct rig_block *near[RIG_FINDING_MAP_COUNT] = {NULL};
    size_t count = 0;
    for (struct rig_block *block = rig_shadow_first(shadow);
         block != NULL &&
         (count < RIG_FINDING_MAP_COUNT ||
          near[(count - MAP_BEFORE) % RIG_FINDING_MAP_COUNT]->address < mapping->around);
         block = rig_shadow_next(block)) {
        near[count++ % RIG_FINDING_MAP_COUNT] = block;
    }
    const size_t shown = count < RIG_FINDING_MAP_COUNT ? count : RIG_FINDING_MAP_COUNT;
    for (size_t back = shown; back > 0; back--) {
        const struct rig_block *block = near[(count - back) % RIG_FINDING_MAP_COUNT];
        char line[160];
        (void)snprintf(line, sizeof(line), "s%u of %zu bytes (by the model)", block->name,
                       block->size_bytes);
        map_add(mapping->finding, line, block->address == mapping->around);
    }
}

static uintptr_t around(const struct rig_step *step)
{
    if (step->block != NULL) {
        return step->block_before.address;
    }
    const bool makes = step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC;
    return makes ? step->outcome.value : 0;
}

static void map_take(struct rig_finding *finding, const struct rig_step *step,
                     const struct rig_judge *judge, const struct rig_subject *subject)
{
    struct mapping mapping = {
        .subject = subject,
        .shadow = judge->shadow,
        .heap = step->heap == NULL ? NULL : step->heap->handle,
        .around = around(step),
        .finding = finding,
    };
    EXCEPTION_RECORD record;
    if (mapping.around == 0 || mapping.heap == NULL) {
        return;
    }
    if (subject->HeapWalk != NULL) {
        (void)subject->guard(walk, &mapping, &record);
    } else {
        map_of_model(&mapping);
    }
}

/* ---- Taking down ---------------------------------------------------------------------------- */

void rig_finding_note(struct rig_finding *finding, const char *line)
{
    (void)snprintf(finding->last[finding->last_count++ % RIG_FINDING_LAST_COUNT],
                   RIG_TRANSCRIPT_LINE_BYTES_MAX, "%s", line);
}

static const char *expected(const struct rig_step *step)
{
    static const char *const texts[] = {
        [RIG_EXPECT_BLOCK] = "a block, or STATUS_NO_MEMORY where memory was refused",
        [RIG_EXPECT_TOO_SMALL] = "STATUS_BUFFER_TOO_SMALL: above the threshold of a fixed heap",
        [RIG_EXPECT_NO_MEMORY] = "STATUS_NO_MEMORY, whatever is free",
    };
    const bool makes =
        step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC || step->op == RIG_OP_MULTI_ALLOC;
    return makes ? texts[step->expect] : "what the clauses say";
}

void rig_finding_take(struct rig_finding *finding, const struct rig_step *step,
                      const struct rig_judge *judge, const struct rig_subject *subject)
{
    finding->found = true;
    finding->step_idx = step->idx;
    finding->broken_count = judge->broken_count;
    memcpy(finding->broken, judge->broken, sizeof(finding->broken));
    (void)snprintf(finding->expected, sizeof(finding->expected), "%s", expected(step));
    (void)rig_transcript_line(step, judge->shadow, subject, finding->step, sizeof(finding->step));
    (void)rig_transcript_outcome(step, judge->shadow, subject, finding->came,
                                 sizeof(finding->came));
    map_take(finding, step, judge, subject);
}

/* ---- Telling -------------------------------------------------------------------------------- */

static const struct rig_contract_row *row_of(enum rig_clause clause)
{
    const char *id = rig_clause_info(clause)->id;
    return rig_contract_find(rig_contract(), (struct rig_piece){id, strlen(id)});
}

static bool confirmed(const struct rig_finding *finding, const struct rig_confirm *confirm,
                      char line[RIG_CONFIRM_LINE_BYTES])
{
    char same[RIG_CONFIRM_LINE_BYTES];
    const enum rig_clause clause = finding->broken[0];
    (void)snprintf(same, sizeof(same), "finding %s %s %u",
                   rig_rule_name(rig_clause_info(clause)->rule), rig_clause_info(clause)->id,
                   finding->step_idx);
    rig_confirm_run(confirm, false, line);
    return strcmp(line, same) == 0;
}

/* A path as a shell takes it. */
static void quoted(const char *path, char *out, size_t out_bytes)
{
    size_t len = 0;
    if (strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=+-") ==
        strlen(path)) {
        (void)snprintf(out, out_bytes, "%s", path);
        return;
    }
    out[len++] = '\'';
    for (; *path != '\0' && len + 6 < out_bytes; path++) {
        len += (size_t)snprintf(out + len, out_bytes - len, *path == '\'' ? "'\\''" : "%c", *path);
    }
    (void)snprintf(out + len, out_bytes - len, "'");
}

static void reproduce(const struct rig_confirm *confirm, char *out, size_t out_bytes)
{
    char every[48] = "";
    char path[RIG_LOAD_ERROR_BYTES_MAX];
    quoted(confirm->input->path, path, sizeof(path));
    if (confirm->check_every != 0) {
        (void)snprintf(every, sizeof(every), " --check-every %lu", confirm->check_every);
    }
    (void)snprintf(out, out_bytes, "heaprig run --subject %s%s%s%s %s", confirm->subject, every,
                   confirm->plan == NULL ? "" : " --plan ",
                   confirm->plan == NULL ? "" : confirm->plan, path);
}

static void tell_clause(enum rig_clause clause)
{
    const struct rig_clause_info *info = rig_clause_info(clause);
    const struct rig_contract_row *row = row_of(clause);
    (void)printf("  clause %s, rule %s\n", info->id, rig_rule_name(info->rule));
    if (row == NULL) {
        struct rig_ruling ruling;
        const bool known = rig_ruling_find(info->id, &ruling);
        (void)printf("    a ruling of core/SOURCES.md%s%.*s\n", known ? ": " : "",
                     known ? (int)ruling.sentence.len : 0, known ? ruling.sentence.at : "");
        return;
    }
    (void)printf("    when %.*s: %.*s\n", (int)row->function.len, row->function.at,
                 (int)row->condition.len, row->condition.at);
    (void)printf("    then %.*s\n", (int)row->outcome.len, row->outcome.at);
    (void)printf("    says %.*s\n", (int)row->source.len, row->source.at);
}

static void tell_text(const struct rig_finding *finding, const char *command, const char *line,
                      bool same)
{
    const enum rig_rule rule = rig_clause_info(finding->broken[0])->rule;
    (void)printf("FINDING %s: %s\n", rig_rule_name(rule), rig_rule_sentence(rule));
    for (unsigned idx = 0; idx < finding->broken_count; idx++) {
        tell_clause(finding->broken[idx]);
    }
    (void)printf("  step     %s\n  expected %s\n  came     %s\n", finding->step, finding->expected,
                 finding->came);
    const size_t count =
        finding->last_count < RIG_FINDING_LAST_COUNT ? finding->last_count : RIG_FINDING_LAST_COUNT;
    (void)printf("  the last %zu operations\n", count);
    for (size_t back = count; back > 0; back--) {
        (void)printf("    %s\n",
                     finding->last[(finding->last_count - back) % RIG_FINDING_LAST_COUNT]);
    }
    if (finding->map_count > 0) {
        (void)printf("  the heap there: place, kind, bytes + overhead\n");
    }
    for (size_t idx = 0; idx < finding->map_count; idx++) {
        (void)printf("    %s\n", finding->map[idx]);
    }
    (void)printf("  reproduce with %s\n", command);
    if (same) {
        (void)printf("  a fresh process found the same: reproduced\n");
    } else {
        (void)printf("  a fresh process said '%s': not reproduced\n", line);
    }
}

static cJSON *clauses_json(const struct rig_finding *finding)
{
    cJSON *clauses = cJSON_CreateArray();
    for (unsigned idx = 0; idx < finding->broken_count; idx++) {
        const struct rig_clause_info *info = rig_clause_info(finding->broken[idx]);
        const struct rig_contract_row *row = row_of(finding->broken[idx]);
        struct rig_ruling ruling;
        cJSON *clause = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(clause, "id", info->id);
        (void)cJSON_AddStringToObject(clause, "rule", rig_rule_name(info->rule));
        if (row != NULL) {
            char text[2048];
            (void)snprintf(text, sizeof(text), "%.*s", (int)row->condition.len, row->condition.at);
            (void)cJSON_AddStringToObject(clause, "condition", text);
            (void)snprintf(text, sizeof(text), "%.*s", (int)row->outcome.len, row->outcome.at);
            (void)cJSON_AddStringToObject(clause, "outcome", text);
        } else if (rig_ruling_find(info->id, &ruling)) {
            char text[2048];
            (void)snprintf(text, sizeof(text), "%.*s", (int)ruling.sentence.len,
                           ruling.sentence.at);
            (void)cJSON_AddStringToObject(clause, "outcome", text);
        }
        (void)cJSON_AddItemToArray(clauses, clause);
    }
    return clauses;
}

static void tell_json(const struct rig_finding *finding, const struct rig_confirm *confirm,
                      const char *command, bool same)
{
    const enum rig_rule rule = rig_clause_info(finding->broken[0])->rule;
    cJSON *object = cJSON_CreateObject();
    cJSON *told = cJSON_AddObjectToObject(object, "finding");
    (void)cJSON_AddStringToObject(told, "file", confirm->input->name);
    (void)cJSON_AddStringToObject(told, "rule", rig_rule_name(rule));
    (void)cJSON_AddStringToObject(told, "sentence", rig_rule_sentence(rule));
    (void)cJSON_AddItemToObject(told, "clauses", clauses_json(finding));
    (void)cJSON_AddNumberToObject(told, "step", finding->step_idx);
    (void)cJSON_AddStringToObject(told, "text", finding->step);
    (void)cJSON_AddStringToObject(told, "expected", finding->expected);
    (void)cJSON_AddStringToObject(told, "came", finding->came);
    cJSON *last = cJSON_AddArrayToObject(told, "last");
    const size_t count =
        finding->last_count < RIG_FINDING_LAST_COUNT ? finding->last_count : RIG_FINDING_LAST_COUNT;
    for (size_t back = count; back > 0; back--) {
        const size_t at = (finding->last_count - back) % RIG_FINDING_LAST_COUNT;
        (void)cJSON_AddItemToArray(last, cJSON_CreateString(finding->last[at]));
    }
    cJSON *map = cJSON_AddArrayToObject(told, "map");
    for (size_t idx = 0; idx < finding->map_count; idx++) {
        (void)cJSON_AddItemToArray(map, cJSON_CreateString(finding->map[idx]));
    }
    (void)cJSON_AddStringToObject(told, "reproduce", command);
    (void)cJSON_AddBoolToObject(told, "reproduced", same);
    rig_cli_object(object);
}

void rig_finding_tell(const struct rig_finding *finding, const struct rig_confirm *confirm,
                      bool json)
{
    char line[RIG_CONFIRM_LINE_BYTES];
    char command[RIG_LOAD_ERROR_BYTES_MAX];
    const bool same = confirmed(finding, confirm, line);
    reproduce(confirm, command, sizeof(command));
    if (json) {
        tell_json(finding, confirm, command, same);
    } else {
        tell_text(finding, command, line, same);
    }
}
