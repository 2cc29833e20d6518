/* SPDX-License-Identifier: MIT
 *
 * What somebody may have meant who wrote a name that no catalogue has. */
#ifndef RIG_TEXT_NEAR_H
#define RIG_TEXT_NEAR_H

#include "program/text_piece.h"
#include "program/text_words.h"

/* Put the names nearest to `token` that the operation's argument chooses from, three at most, as
 * "interior, interior-page or stack". Units: none. Errors: none; an operation without names puts
 * nothing. */
void rig_text_near(struct rig_text_sink *sink, unsigned op, struct rig_piece token);

#endif
