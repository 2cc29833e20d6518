/* SPDX-License-Identifier: MIT
 *
 * Target, of builds with ThreadSanitizer only: any bytes are a program, which three threads play at
 * once on one heap (races/players.h), each beginning at another place of it. A race in core ends
 * the process. What comes depends on the scheduler, so nothing else is asked of it than what holds
 * of any order, and an input that found something may want a few tries to show it again. */
#include "program_target.h"

#include "races/players.h"
#include "stats.h"

#define THREADS 3u

static struct rig_stats *stats;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stats = rig_stats_now();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    static struct rig_program program;
    rig_stats_add(&stats->inputs, 1);
    if (rig_program_decode(&program, bytes, len_bytes) == RIG_DECODE_NEW_VERSION ||
        (program.flags & ~rig_target_faults_asked()) != 0) {
        return -1;
    }
    if (program.count > 0) {
        const struct rig_played played = rig_players_run(THREADS, 0, NULL, &program, 1);
        rig_stats_add(&stats->calls, played.calls);
        rig_stats_add(&stats->steps, played.calls);
    }
    return 0;
}
