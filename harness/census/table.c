/* SPDX-License-Identifier: MIT
 *
 * Counting verdicts by field, and printing them. */
#include "census.h"

#include "run/check.h"

#include <stdio.h>
#include <string.h>

static struct rig_census_row *row_named(struct rig_census_table *table, const char *name)
{
    for (uint32_t idx = 0; idx < table->count; idx++) {
        if (strcmp(table->rows[idx].name, name) == 0) {
            return &table->rows[idx];
        }
    }
    RIG_CHECK(table->count < RIG_CENSUS_ROW_MAX);
    table->rows[table->count].name = name;
    return &table->rows[table->count++];
}

static void count_reason(struct rig_census_table *table, const char *name)
{
    uint32_t idx = 1;
    while (idx < RIG_CENSUS_REASON_MAX - 1 && table->names[idx] != NULL &&
           strcmp(table->names[idx], name) != 0) {
        idx++;
    }
    table->names[idx] = name;
    table->reasons[idx]++;
}

void rig_census_count(struct rig_census_table *table, const struct rig_census_state *state,
                      const struct rig_census_sheet *sheet)
{
    for (size_t idx = 0; idx < sheet->count; idx++) {
        const struct rig_census_change *change = &sheet->changes[idx];
        const bool random = change->kind == RIG_CHANGE_RANDOM;
        const char *name = random ? "any of them" : state->fields[change->field].field.name;
        struct rig_census_row *row = row_named(table, name);
        row->counts[rig_census_kind_group(change->kind)][rig_census_worst(sheet, idx)]++;
    }
    for (size_t cell = 0; cell < sheet->count * RIG_BATTERY_COUNT; cell++) {
        if (sheet->reasons[cell] != 0) {
            count_reason(table, sheet->names[sheet->reasons[cell]]);
        }
    }
    table->run_count += sheet->run_count;
}

static uint64_t row_sum(const struct rig_census_row *row, unsigned group, unsigned verdict)
{
    uint64_t sum = 0;
    for (unsigned idx = 0; idx < RIG_CENSUS_GROUP_COUNT; idx++) {
        sum += group == RIG_CENSUS_GROUP_COUNT || idx == group ? row->counts[idx][verdict] : 0;
    }
    return sum;
}

uint64_t rig_census_sum(const struct rig_census_table *table, unsigned group, unsigned verdict)
{
    uint64_t sum = 0;
    for (uint32_t idx = 0; idx < table->count; idx++) {
        sum += row_sum(&table->rows[idx], group, verdict);
    }
    return sum;
}

static void print_line(const char *name, const uint64_t *counts, FILE *file)
{
    uint64_t all = 0;
    for (unsigned verdict = RIG_CENSUS_HARMLESS; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        all += counts[verdict];
    }
    (void)fprintf(file, "%-22s %9llu", name, (unsigned long long)all);
    for (unsigned verdict = RIG_CENSUS_TOUCH; verdict >= RIG_CENSUS_HARMLESS; verdict--) {
        (void)fprintf(file, " %9llu", (unsigned long long)counts[verdict]);
    }
    for (unsigned verdict = RIG_CENSUS_SILENT; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        (void)fprintf(file, " %6llu", (unsigned long long)counts[verdict]);
    }
    (void)fputc('\n', file);
}

void rig_census_table_print(const struct rig_census_table *table, FILE *file)
{
    uint64_t counts[RIG_CENSUS_VERDICT_COUNT];
    (void)fprintf(file, "%-22s %9s", "field", "changes");
    for (unsigned verdict = RIG_CENSUS_TOUCH; verdict >= RIG_CENSUS_HARMLESS; verdict--) {
        (void)fprintf(file, " %9s", rig_census_verdict_name(verdict));
    }
    for (unsigned verdict = RIG_CENSUS_SILENT; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        (void)fprintf(file, " %6s", rig_census_verdict_name(verdict));
    }
    (void)fputc('\n', file);
    for (uint32_t idx = 0; idx < table->count; idx++) {
        for (unsigned verdict = 0; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
            counts[verdict] = row_sum(&table->rows[idx], RIG_CENSUS_GROUP_COUNT, verdict);
        }
        print_line(table->rows[idx].name, counts, file);
    }
    (void)fputc('\n', file);
    for (unsigned group = RIG_CENSUS_BITS; group < RIG_CENSUS_GROUP_COUNT; group++) {
        for (unsigned verdict = 0; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
            counts[verdict] = rig_census_sum(table, group, verdict);
        }
        print_line(rig_census_group_name(group), counts, file);
    }
}
