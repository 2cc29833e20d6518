/* SPDX-License-Identifier: MIT
 *
 * A finding with all that is known of it: taken down while the subject still stands, told later. */
#ifndef RIG_CLI_FINDING_H
#define RIG_CLI_FINDING_H

#include "cli/confirm.h"

#include "run/exec.h"
#include "run/transcript.h"

#define RIG_FINDING_LAST_COUNT 10u
#define RIG_FINDING_MAP_COUNT 9u

struct rig_finding {
    bool found;
    uint32_t step_idx;
    unsigned broken_count;
    enum rig_clause broken[RIG_BROKEN_MAX];
    char expected[128];
    char step[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    char came[RIG_TRANSCRIPT_LINE_BYTES_MAX];
    size_t map_count;
    char map[RIG_FINDING_MAP_COUNT][160];
    size_t last_count; /* of operations up to and with this one */
    char last[RIG_FINDING_LAST_COUNT][RIG_TRANSCRIPT_LINE_BYTES_MAX];
};

/* Note a line among the last ones. Units: none. Errors: none. */
void rig_finding_note(struct rig_finding *finding, const char *line);

/* Take down a step that broke clauses, from the executor's watcher: walks the heap.
 * Units: none. Errors: none. */
void rig_finding_take(struct rig_finding *finding, const struct rig_step *step,
                      const struct rig_judge *judge, const struct rig_subject *subject);

/* Confirm and print. Units: none. Errors: none. */
void rig_finding_tell(const struct rig_finding *finding, const struct rig_confirm *confirm,
                      bool json);

#endif
