/* SPDX-License-Identifier: MIT
 *
 * The heat map: a row a field, a column a state. A cell is as wide for each verdict as its share of
 * the changes. */
#include "census.h"

#include <stdio.h>
#include <string.h>

#define LEFT 190
#define TOP 120
#define CELL_WIDTH 70
#define CELL_HEIGHT 18

static const char *const colours[RIG_CENSUS_VERDICT_COUNT] = {
    "#ffffff", "#d9d9d9", "#a6cee3", "#33a02c", "#e31a1c", "#ff7f00", "#6a3d9a", "#000000"};

struct rows {
    const char *names[RIG_CENSUS_ROW_MAX];
    unsigned count;
};

static const struct rig_census_row *row_of(const struct rig_census_table *table, const char *name)
{
    for (uint32_t idx = 0; idx < table->count; idx++) {
        if (strcmp(table->rows[idx].name, name) == 0) {
            return &table->rows[idx];
        }
    }
    return NULL;
}

static void add_rows(struct rows *rows, const struct rig_census_table *table)
{
    for (uint32_t idx = 0; idx < table->count; idx++) {
        unsigned at = 0;
        while (at < rows->count && strcmp(rows->names[at], table->rows[idx].name) != 0) {
            at++;
        }
        if (at == rows->count && rows->count < RIG_CENSUS_ROW_MAX) {
            rows->names[rows->count++] = table->rows[idx].name;
        }
    }
}

static void put_cell(FILE *file, const struct rig_census_row *row, double x, double y)
{
    uint64_t counts[RIG_CENSUS_VERDICT_COUNT] = {0};
    uint64_t sum = 0;
    for (unsigned verdict = RIG_CENSUS_HARMLESS; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        for (unsigned group = 0; group < RIG_CENSUS_GROUP_COUNT; group++) {
            counts[verdict] += row->counts[group][verdict];
        }
        sum += counts[verdict];
    }
    (void)fprintf(file, "<g><title>%s:", row->name);
    for (unsigned verdict = RIG_CENSUS_HARMLESS; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        (void)fprintf(file, " %s %llu", rig_census_verdict_name(verdict),
                      (unsigned long long)counts[verdict]);
    }
    (void)fputs("</title>\n", file);
    for (unsigned verdict = RIG_CENSUS_HARMLESS; sum > 0 && verdict < RIG_CENSUS_VERDICT_COUNT;
         verdict++) {
        double width = (CELL_WIDTH - 2.0) * (double)counts[verdict] / (double)sum;
        if (rig_census_verdict_bad(verdict) && counts[verdict] > 0 && width < 3.0) {
            width = 3.0; /* a single one is seen */
        }
        if (counts[verdict] > 0) {
            (void)fprintf(
                file, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"/>\n", x,
                y, width, CELL_HEIGHT - 2, colours[verdict]);
        }
        x += width;
    }
    (void)fputs("</g>\n", file);
}

static void put_legend(FILE *file)
{
    for (unsigned verdict = RIG_CENSUS_HARMLESS; verdict < RIG_CENSUS_VERDICT_COUNT; verdict++) {
        const unsigned x = 10 + (verdict - 1) * 90;
        (void)fprintf(file, "<rect x=\"%u\" y=\"10\" width=\"14\" height=\"14\" fill=\"%s\"/>\n", x,
                      colours[verdict]);
        (void)fprintf(file, "<text x=\"%u\" y=\"22\">%s</text>\n", x + 18,
                      rig_census_verdict_name(verdict));
    }
}

bool rig_census_svg(const char *path, const struct rig_census_table *const *tables,
                    const char *const *states, size_t state_count)
{
    struct rows rows = {{NULL}, 0};
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return false;
    }
    for (size_t idx = 0; idx < state_count; idx++) {
        add_rows(&rows, tables[idx]);
    }
    const size_t width = LEFT + state_count * CELL_WIDTH + 80;
    (void)fprintf(file,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%u\" "
                  "font-family=\"monospace\" "
                  "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                  width < 660 ? (size_t)660 : width, TOP + rows.count * CELL_HEIGHT + 10);
    put_legend(file);
    for (size_t idx = 0; idx < state_count; idx++) {
        const size_t x = LEFT + idx * CELL_WIDTH;
        (void)fprintf(file, "<text transform=\"translate(%zu,%d) rotate(-40)\">%s</text>\n", x + 8,
                      TOP - 6, states[idx]);
    }
    for (unsigned row = 0; row < rows.count; row++) {
        const unsigned y = TOP + row * CELL_HEIGHT;
        (void)fprintf(file, "<text x=\"10\" y=\"%u\">%s</text>\n", y + 13, rows.names[row]);
        for (size_t idx = 0; idx < state_count; idx++) {
            const struct rig_census_row *found = row_of(tables[idx], rows.names[row]);
            if (found != NULL) {
                put_cell(file, found, (double)(LEFT + idx * CELL_WIDTH), (double)y);
            }
        }
    }
    (void)fputs("</svg>\n", file);
    return fclose(file) == 0;
}
