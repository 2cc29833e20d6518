/* SPDX-License-Identifier: MIT
 *
 * Rules for programs that run under a verifier. */
#ifndef RIG_RULES_VERIFIER_H
#define RIG_RULES_VERIFIER_H

#include "judge.h"

void rig_rules_verifier(struct rig_judge *judge, const struct rig_step *step);

/* The same without one: it is off, and says so. */
void rig_rules_unverified(struct rig_judge *judge, const struct rig_step *step);

/* words.c: after every step, with a verifier or without. */
void rig_rules_words(struct rig_judge *judge, const struct rig_step *step);

#endif
