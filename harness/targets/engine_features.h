/* SPDX-License-Identifier: MIT
 *
 * How an engine learns in which states of the heap a clause was exercised. Two ways, of which the
 * build links one: features_counters.c for engines with libFuzzer's extra counters,
 * features_edges.c for AFL++, which counts edges only. */
#ifndef RIG_TARGETS_ENGINE_FEATURES_H
#define RIG_TARGETS_ENGINE_FEATURES_H

#include "rules/judge.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static_assert(RIG_STATE_FEATURES == sizeof(uint64_t), "the features of a clause are one word");

/* Clause number `clause` was exercised in this input; each byte of `states` is 1 for a state in which
 * it was, else 0. Units: none. Errors: none. */
void rig_features_tell(size_t clause, uint64_t states);

#endif
