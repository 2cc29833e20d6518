/* SPDX-License-Identifier: MIT
 *
 * A driver without any guidance, to compare with: programs drawn at random, half of them from
 * swarms, one after the other. usage: PROGRAM SECONDS SEED. A finding ends the process. */
#include "program/random.h"
#include "program_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RECORD_COUNT 200u
#define PROGRAMS_MAX (1u << 30)

static double seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    static struct rig_program program;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    if (argc != 3) {
        (void)fprintf(stderr, "%s: expected SECONDS and SEED\n", argv[0]);
        return 2;
    }
    const double end = seconds_now() + strtod(argv[1], NULL);
    const uint32_t seed = (uint32_t)strtoul(argv[2], NULL, 10) * PROGRAMS_MAX;
    (void)LLVMFuzzerInitialize(&argc, &argv);
    uint32_t count = 0;
    for (; count < PROGRAMS_MAX && seconds_now() < end; count++) {
        (count % 2 == 0 ? rig_program_random : rig_program_random_swarm)(&program, seed + count,
                                                                         RECORD_COUNT);
        (void)LLVMFuzzerTestOneInput(bytes, rig_program_encode(&program, bytes));
    }
    (void)fprintf(stderr, "%u programs\n", count);
    return 0;
}
