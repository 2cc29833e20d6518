/* SPDX-License-Identifier: MIT
 *
 * Rules on words: they say what the numbers do (run/see_words.c compares). */
#include "verifier.h"

void rig_rules_words(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_words *words = &step->words;
    CLAUSE(D105, words->stops > 0, words->stops_wrong == 0);
    CLAUSE(D106, words->reports > 0, words->reports_wrong == 0);
    CLAUSE(D107, words->exceptions > 0, words->exceptions_wrong == 0);
    CLAUSE(D108, words->ends > 0, words->ends_wrong == 0);
}
