/* SPDX-License-Identifier: MIT
 *
 * Features as libFuzzer's extra counters. */
#include "engine_features.h"

#define COUNTER_MAX 4096u

enum {
    FEATURE_COUNT = RIG_CLAUSE_COUNT * RIG_STATE_FEATURES,
    COUNTER_COUNT = FEATURE_COUNT < COUNTER_MAX ? FEATURE_COUNT : COUNTER_MAX
};

/* The engine reads these after each input and clears them before the next. With more clauses than
 * there is room, some share a word. */
__attribute__((section("__libfuzzer_extra_counters"), used, aligned(8))) //
static volatile uint64_t counters[COUNTER_COUNT / sizeof(uint64_t)];

void rig_features_tell(size_t clause, uint64_t states)
{
    counters[clause % (COUNTER_COUNT / sizeof(uint64_t))] |= states;
}
