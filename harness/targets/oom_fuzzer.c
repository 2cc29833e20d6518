/* SPDX-License-Identifier: MIT
 *
 * Target: running out. Programs whose page source refuses by plans, in their operations and in their
 * header; a bit of the header asks for a short sweep over the program's page calls as well. Each
 * outcome is the ruled one, and nothing else has changed. The same source is linked with core as it is
 * (oom_fuzzer) and with core's constants made tiny (oom_stress_fuzzer). */
#include "program_target.h"

#define CHECK_EVERY 64u /* operations between two looks at everything */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_target_begin(CHECK_EVERY);
    rig_target_faults(RIG_PROGRAM_PLAN | RIG_PROGRAM_SWEEP);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    return rig_target_run(bytes, len_bytes);
}
