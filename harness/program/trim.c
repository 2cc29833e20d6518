/* SPDX-License-Identifier: MIT
 *
 * Trimming by operation. Runs halve in length; the last pass tries single records. Calls edits of
 * runs and the codec. */
#include "program/trim.h"

#include "program/edit.h"

#include "run/check.h"

/* Runs of a program of so many records, the last one shorter. */
static unsigned runs_of(unsigned count, unsigned run)
{
    return (count + run - 1) / run;
}

void rig_trim_init(struct rig_trim *trim, const uint8_t *bytes, size_t len_bytes)
{
    (void)rig_program_decode(&trim->program, bytes, len_bytes);
    trim->at = 0;
    trim->run = (trim->program.count + 1u) / 2;
}

/* The run to try; it may be cut short by the end. */
static unsigned run_here(const struct rig_trim *trim)
{
    const unsigned rest = trim->program.count - trim->at;
    return trim->run < rest ? trim->run : rest;
}

bool rig_trim_next(const struct rig_trim *trim, uint8_t *bytes, size_t *len_bytes)
{
    struct rig_program smaller = trim->program;
    if (trim->run != 0) {
        rig_edit_remove(&smaller, trim->at, run_here(trim));
    }
    *len_bytes = rig_program_encode(&smaller, bytes);
    return trim->run != 0;
}

void rig_trim_judge(struct rig_trim *trim, bool accepted)
{
    RIG_CHECK(trim->run != 0);
    if (accepted) {
        rig_edit_remove(&trim->program, trim->at, run_here(trim));
    } else {
        trim->at += run_here(trim);
    }
    if (trim->at == trim->program.count) {
        trim->at = 0;
        trim->run = trim->program.count != 0 ? trim->run / 2 : 0;
    }
}

unsigned rig_trim_left(const struct rig_trim *trim)
{
    unsigned left = 0;
    unsigned at = trim->at;
    for (unsigned run = trim->run; run != 0; run /= 2) {
        left += runs_of(trim->program.count - at, run);
        at = 0;
    }
    return left;
}
