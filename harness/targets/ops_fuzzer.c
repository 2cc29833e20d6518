/* SPDX-License-Identifier: MIT
 *
 * Target: legal use of the heap and its limits. Any bytes are a program of heap calls; it runs on
 * core beside the model, and a rule that does not hold ends the process in a function named after
 * it. The same source is linked with core as it is (ops_fuzzer) and with core's constants made tiny
 * (ops_stress_fuzzer). */
#include "program_target.h"

#define CHECK_EVERY 64u /* operations between two looks at everything */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_target_begin(CHECK_EVERY);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    return rig_target_run(bytes, len_bytes);
}
