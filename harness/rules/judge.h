/* SPDX-License-Identifier: MIT
 *
 * Rules: what must be true of a step. A rule is a function that looks at one kind of operation and
 * says of each clause whether its condition held and whether its outcome did. clauses.def ties
 * clauses to rules and lies. Rules see the step and the model, never the subject. */
#ifndef RIG_RULES_JUDGE_H
#define RIG_RULES_JUDGE_H

#include "../run/step.h"

/* Every clause that is judged, with the contract's ID: ALLOC-16 is RIG_CLAUSE_ALLOC_16. Rulings of
 * core/SOURCES.md are clauses as well, RIG_CLAUSE_D36. */
enum rig_clause {
#define RIG_CLAUSE(id, text, level, rule, lie) RIG_CLAUSE_##id,
#include "clauses.def"
    RIG_CLAUSE_COUNT
};

/* The functions that clauses.def names in its column `rule`. */
enum rig_rule {
#define RIG_RULE(name, sentence) RIG_RULE_##name,
#include "rules.def"
    RIG_RULE_COUNT
};

struct rig_clause_info {
    const char *id; /* "ALLOC-16" */
    unsigned level; /* the claims (enum rig_claim) under which it is judged */
    enum rig_rule rule;
    const char *lie; /* name of the lie that must break it, see lies.h */
};

const struct rig_clause_info *rig_clause_info(enum rig_clause clause);

/* Name of a rule ("a_failure_has_a_cause") and its sentence. */
const char *rig_rule_name(enum rig_rule rule);
const char *rig_rule_sentence(enum rig_rule rule);

#define RIG_BROKEN_MAX 64u
#define RIG_STATE_FEATURES 8u /* front end on; more than one region or a large block; refused last */

/* What has been judged so far. */
struct rig_judge {
    unsigned claims; /* of the subject */
    const struct rig_shadow *shadow;
    uint32_t exercised[RIG_CLAUSE_COUNT]; /* condition held and outcome compared */
    uint32_t first[RIG_CLAUSE_COUNT];     /* 1 + number of the step where that was first so */
    unsigned broken_count;                /* in this step */
    enum rig_clause broken[RIG_BROKEN_MAX];
    uint32_t step_idx; /* counts judged steps */
    unsigned state;    /* 0 to RIG_STATE_FEATURES - 1, of the heap in this step */
    uint8_t *features; /* RIG_CLAUSE_COUNT * RIG_STATE_FEATURES bytes set to 1, or NULL */
};

/* Judge one step: all rules of its operation. Afterwards broken_count says how many clauses do not
 * hold. Units: none. Errors: none. */
void rig_judge_step(struct rig_judge *judge, const struct rig_step *step);

/* Called by rules: clause `clause` applies to this step, and holds or not. */
void rig_clause(struct rig_judge *judge, enum rig_clause clause, bool holds);

/* In a rule function with `judge` in scope: where `condition` is true the clause applies, and then
 * `outcome` must be. `outcome` is not evaluated otherwise. */
#define CLAUSE(id, condition, outcome)                                                             \
    do {                                                                                           \
        if (condition) {                                                                           \
            rig_clause(judge, RIG_CLAUSE_##id, (outcome) ? true : false);                          \
        }                                                                                          \
    } while (0)

/* End the process in a function named after the rule, so that triage by stack tells findings apart.
 * Called from the function of the operation. */
_Noreturn void rig_rule_abort(enum rig_rule rule);

/* One function a group of operations; each looks at step->op itself. In rules/<group>.c. */
void rig_rules_blocks(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_heaps(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_look(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_process(struct rig_judge *judge, const struct rig_step *step);

#endif
