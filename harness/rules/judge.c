/* SPDX-License-Identifier: MIT
 *
 * Judging a step, and ending in a function named after a rule. */
#include "judge.h"

#include "damaged.h"
#include "verifier.h"

#include "../model/watch.h"
#include "misuse.h"
#include "shortage.h"

#include "../run/check.h"

#include <stdlib.h>

static const struct rig_clause_info infos[RIG_CLAUSE_COUNT] = {
#define RIG_CLAUSE(id, text, level, rule, lie) {text, RIG_CLAIM_##level, RIG_RULE_##rule, #lie},
#include "clauses.def"
};

static const struct {
    const char *name;
    const char *sentence;
} rules[RIG_RULE_COUNT] = {
#define RIG_RULE(name, sentence) {#name, sentence},
#include "rules.def"
};

const struct rig_clause_info *rig_clause_info(enum rig_clause clause)
{
    RIG_CHECK(clause < RIG_CLAUSE_COUNT);
    return &infos[clause];
}

const char *rig_rule_name(enum rig_rule rule)
{
    RIG_CHECK(rule < RIG_RULE_COUNT);
    return rules[rule].name;
}

const char *rig_rule_sentence(enum rig_rule rule)
{
    RIG_CHECK(rule < RIG_RULE_COUNT);
    return rules[rule].sentence;
}

void rig_clause(struct rig_judge *judge, enum rig_clause clause, bool holds)
{
    if ((infos[clause].level & judge->claims) == 0) {
        return;
    }
    if (judge->exercised[clause]++ == 0) {
        judge->first[clause] = judge->step_idx + 1;
    }
    if (judge->features != NULL) {
        judge->features[clause * RIG_STATE_FEATURES + judge->state] = 1;
    }
    if (!holds && judge->broken_count < RIG_BROKEN_MAX) {
        judge->broken[judge->broken_count++] = clause;
    }
}

static void judge_operation(struct rig_judge *judge, const struct rig_step *step)
{
    if (step->watched != NULL) {
        rig_rules_verifier(judge, step);
        if (!step->watched->odd && step->op != RIG_OP_VERIFY) {
            rig_rules_blocks(judge, step);
        }
        return;
    }
    rig_rules_blocks(judge, step);
    rig_rules_heaps(judge, step);
    rig_rules_look(judge, step);
    rig_rules_process(judge, step);
    rig_rules_shortage(judge, step);
    if (step->op == RIG_OP_MISUSE) {
        rig_rules_misuse(judge, step);
    }
    rig_rules_damage(judge, step);
    rig_rules_unverified(judge, step);
}

void rig_judge_step(struct rig_judge *judge, const struct rig_step *step)
{
    rig_rules_ended(judge, step);
    rig_rules_words(judge, step);
    if (step->outcome.ended == 0) {
        judge_operation(judge, step);
    }
    judge->step_idx++;
}

/* One function a rule, none of them merged with another: triage reads its name off the stack. */
#define RIG_RULE(name, sentence)                                                                   \
    _Noreturn __attribute__((noinline)) static void rig_rule_##name(void)                          \
    {                                                                                              \
        __asm__ volatile("# " #name);                                                              \
        abort();                                                                                   \
    }
#include "rules.def"

_Noreturn void rig_rule_abort(enum rig_rule rule)
{
    static void (*const aborts[RIG_RULE_COUNT])(void) = {
#define RIG_RULE(name, sentence) rig_rule_##name,
#include "rules.def"
    };
    RIG_CHECK(rule < RIG_RULE_COUNT);
    aborts[rule]();
    abort();
}
