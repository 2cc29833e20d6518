/* SPDX-License-Identifier: MIT
 *
 * Rows of `verify` that are whole stories: each makes what it needs and leaves nothing. */
#ifndef RIG_RUN_STORIES_H
#define RIG_RUN_STORIES_H

#include "exec_internal.h"

/* The row that exec->watched.row names. False: finding. */
bool rig_story(struct rig_exec *exec, struct rig_step *step);

#endif
