/* SPDX-License-Identifier: MIT
 *
 * Runs of records. Calls the table of operations and the rig's assertion. */
#include "program/edit.h"

#include "program/size.h"

#include "run/check.h"

#include <string.h>

void rig_edit_remove(struct rig_program *program, unsigned at, unsigned count)
{
    RIG_CHECK(at <= program->count);
    RIG_CHECK(count <= program->count - at);
    struct rig_record *run = &program->records[at];
    memmove(run, run + count, (program->count - at - count) * sizeof(*run));
    program->count = (uint16_t)(program->count - count);
}

struct rig_record *rig_edit_insert(struct rig_program *program, unsigned at, unsigned count)
{
    RIG_CHECK(at <= program->count);
    RIG_CHECK(count <= RIG_RECORD_COUNT_MAX - program->count);
    struct rig_record *run = &program->records[at];
    memmove(run + count, run, (program->count - at) * sizeof(*run));
    program->count = (uint16_t)(program->count + count);
    return run;
}

bool rig_edit_refers(const struct rig_record *record)
{
    const enum rig_size_kind kind = rig_record_size_kind(record);
    return rig_op_reads(record->op, RIG_OPERAND_SIZE) &&
           (kind == RIG_SIZE_OF_SLOT || kind == RIG_SIZE_HOLE);
}

void rig_edit_rename(struct rig_record *record, unsigned delta)
{
    if (rig_op_reads(record->op, RIG_OPERAND_SLOT)) {
        record->slot = (uint8_t)((record->slot + delta) & 0xFFu);
    }
    if (rig_edit_refers(record)) {
        record->value = (uint16_t)((record->value + (delta << 8)) & 0xFFFFu);
    }
}

unsigned rig_edit_count_max(size_t max_bytes)
{
    if (max_bytes < RIG_HEADER_BYTES) {
        return 0;
    }
    const size_t count = (max_bytes - RIG_HEADER_BYTES) / RIG_RECORD_BYTES;
    return count < RIG_RECORD_COUNT_MAX ? (unsigned)count : RIG_RECORD_COUNT_MAX;
}
