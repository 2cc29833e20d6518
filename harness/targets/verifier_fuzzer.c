/* SPDX-License-Identifier: MIT
 *
 * Target: the verifier. Modules are loaded, call the heap, are unloaded; blocks are handed over, disowned,
 * misused, overrun; memory fails on purpose. The model knows each block's owner and what must be told of it.
 * Modules are shared objects in modules/ beside the target; where there are none, stretches of its own code
 * that are declared to the verifier. A line says which, with the first input. */
#include "program_target.h"

#define CHECK_EVERY 0u /* such programs look when they say so, and at their end */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_target_begin(CHECK_EVERY);
    rig_target_faults(RIG_PROGRAM_VERIFY);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    return rig_target_run(bytes, len_bytes);
}
