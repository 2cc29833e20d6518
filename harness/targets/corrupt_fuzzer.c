/* SPDX-License-Identifier: MIT
 *
 * Target: metadata is damaged on purpose, by the catalogue's classes, and the heap goes on being
 * used. Each call does what it should or is refused with a report; who must notice does; nothing
 * else is harmed. The same source is linked with core as it is (corrupt_fuzzer) and with core's
 * constants made tiny (corrupt_stress_fuzzer). */
#include "program_target.h"

#define CHECK_EVERY 64u /* operations between two looks at everything */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_target_begin(CHECK_EVERY);
    rig_target_faults(RIG_PROGRAM_DAMAGE);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    return rig_target_run(bytes, len_bytes);
}
