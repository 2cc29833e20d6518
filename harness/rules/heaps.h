/* SPDX-License-Identifier: MIT
 *
 * What the files of rules on heaps share: which of them judges what, and facts of a creation and of
 * a walk. For create.c, limits.c, walk.c, information.c, heaps.c, look.c and process.c only. */
#ifndef RIG_RULES_HEAPS_H
#define RIG_RULES_HEAPS_H

#include "facts.h"

#include "program/size.h"

/* One function a group of operations. Units: none. Errors: none. */
void rig_rules_create(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_limits(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_growth(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_given_back(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_walk(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_walk_step(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_information(struct rig_judge *judge, const struct rig_step *step);

/* After freeing all and compacting, or after compacting: the walk against the promise.
 * Units: none. Errors: none. */
void rig_rules_compact(struct rig_judge *judge, const struct rig_step *step);

/* True when the walk was made to its documented end. Units: none. Errors: none. */
static inline bool rig_walk_whole(const struct rig_walk *walk)
{
    return walk != NULL && !walk->cut && !walk->raised && walk->ended;
}

/* An element of free committed memory; of the back end, in an Rtl walk. */
static inline bool rig_element_free(const struct rig_element *element)
{
    return !element->busy && !element->region && !element->uncommitted;
}

#endif
