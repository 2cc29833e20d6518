/* SPDX-License-Identifier: MIT
 *
 * The battery: the operations that follow a change, as records of a program. */
#include "census.h"

#include "program/size.h"
#include "run/check.h"

void rig_census_battery(const struct rig_census_state *state,
                        const struct rig_census_target *target, enum rig_census_battery first,
                        struct rig_program *program)
{
    const uint8_t TARGET = target->name;
    const uint8_t BEFORE = target->before;
    const uint8_t BEHIND = target->behind;
    const struct rig_record rows[RIG_BATTERY_COUNT] = {
#define RIG_CENSUS_BATTERY(name, text, ...) __VA_ARGS__,
#include "battery.def"
    };
    uint16_t count = state->program.count;
    program->records[count++] = (struct rig_record){.op = RIG_OP_GET_LAST_ERROR, .win32 = 1};
    for (unsigned turn = 0; turn < (first == RIG_BATTERY_DESTROY ? 1u : RIG_BATTERY_COUNT);
         turn++) {
        const unsigned row = (first + turn) % RIG_BATTERY_COUNT;
        if (row == RIG_BATTERY_DESTROY && turn > 0) { /* the end of every run destroys */
            continue;
        }
        program->records[count++] = rows[row];
        if (row == RIG_BATTERY_LOCK) {
            program->records[count++] =
                (struct rig_record){.op = RIG_OP_UNLOCK, .heap = RIG_CENSUS_HEAP};
        }
    }
    program->count = count;
    RIG_CHECK(count <= RIG_RECORD_COUNT_MAX);
}
