/* SPDX-License-Identifier: MIT
 *
 * Target: misuse. Programs of heap calls, some of which are made with what the heap must refuse:
 * blocks that are gone, handles of no heap, addresses of anything, structures that cannot be used
 * (faults/catalog_misuse.def). Each outcome is compared with the one that is ruled. */
#include "program_target.h"

#define CHECK_EVERY 64u /* operations between two looks at everything */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_target_begin(CHECK_EVERY);
    rig_target_faults(RIG_PROGRAM_MISUSE);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    return rig_target_run(bytes, len_bytes);
}
