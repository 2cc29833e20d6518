/* SPDX-License-Identifier: MIT
 *
 * Features as edges of AFL++: entries of our own in the section of its guards. Its runtime numbers
 * them together with those of core before the first input, and a call that names one marks it. */
#include "engine_features.h"

__attribute__((section("__sancov_guards"), used)) //
static uint32_t guards[RIG_CLAUSE_COUNT * RIG_STATE_FEATURES];

/* Of AFL++'s runtime. */
void __sanitizer_cov_trace_pc_guard(uint32_t *guard); // NOLINT

void rig_features_tell(size_t clause, uint64_t states)
{
    for (size_t state = 0; state < RIG_STATE_FEATURES; state++) {
        if ((states >> (8 * state) & 1u) != 0) {
            __sanitizer_cov_trace_pc_guard(&guards[clause * RIG_STATE_FEATURES + state]);
        }
    }
}
