/* SPDX-License-Identifier: MIT
 *
 * The files of the rules on blocks: each judges some operations. */
#ifndef RIG_RULES_BLOCKS_H
#define RIG_RULES_BLOCKS_H

#include "facts.h"

/* blocks_alloc.c: ALLOC. */
void rig_rules_alloc(struct rig_judge *judge, const struct rig_step *step);

/* blocks_realloc.c: REALLOC. */
void rig_rules_realloc(struct rig_judge *judge, const struct rig_step *step);

/* blocks_fail.c: ALLOC, REALLOC, MULTI_ALLOC, when they fail. */
void rig_rules_fail(struct rig_judge *judge, const struct rig_step *step);

/* blocks_free.c: FREE, FREE_NULL, DESTROY. */
void rig_rules_free(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_free_null(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_freed_by_destroy(struct rig_judge *judge, const struct rig_step *step);

/* blocks_many.c: MULTI_ALLOC, MULTI_FREE. */
void rig_rules_multi_alloc(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_multi_free(struct rig_judge *judge, const struct rig_step *step);

/* blocks_look.c: SIZE, VALIDATE_BLOCK, VALIDATE, DISOWN, CHECK; contents wherever they were seen.
 */
void rig_rules_size(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_validate(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_disown(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_check(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_contents(struct rig_judge *judge, const struct rig_step *step);

/* blocks_user.c: SET_USER_VALUE, GET_USER_INFO, SET_USER_FLAGS; after ALLOC and REALLOC. */
void rig_rules_set_user_value(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_get_user_info(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_set_user_flags(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_user_made(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_user_resized(struct rig_judge *judge, const struct rig_step *step);

/* blocks_raise.c: RAISE, vectored handlers, DOS_ERROR, the critical sections. */
void rig_rules_raise(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_vectored(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_dos_error(struct rig_judge *judge, const struct rig_step *step);
void rig_rules_section(struct rig_judge *judge, const struct rig_step *step);

#endif
