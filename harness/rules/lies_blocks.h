/* SPDX-License-Identifier: MIT
 *
 * The files of the lies about blocks; each table holds the calls that its lie answers. */
#ifndef RIG_RULES_LIES_BLOCKS_H
#define RIG_RULES_LIES_BLOCKS_H

#include "lies.h"

/* lies_refuse.c: calls fail that did not, or in another form. */
extern const struct rig_subject rig_lie_no;
extern const struct rig_subject rig_lie_raise;
extern const struct rig_subject rig_lie_violate;
extern const struct rig_subject rig_lie_contrary;
extern const struct rig_subject rig_lie_deny;
extern const struct rig_subject rig_lie_section;
extern const struct rig_subject rig_lie_silence;
extern const struct rig_subject rig_lie_handles;

/* lies_give.c: calls succeed that did not, or give what is not right. */
extern const struct rig_subject rig_lie_block;
extern const struct rig_subject rig_lie_status;
extern const struct rig_subject rig_lie_overlap;
extern const struct rig_subject rig_lie_skew;
extern const struct rig_subject rig_lie_dirt;
extern const struct rig_subject rig_lie_spoil;
extern const struct rig_subject rig_lie_locked;
extern const struct rig_subject rig_lie_taken;
extern const struct rig_subject rig_lie_serialize;
extern const struct rig_subject rig_lie_unserialize;

/* lies_tell.c: numbers, records and reports are told wrongly. */
extern const struct rig_subject rig_lie_size;
extern const struct rig_subject rig_lie_count;
extern const struct rig_subject rig_lie_user;
extern const struct rig_subject rig_lie_error;
extern const struct rig_subject rig_lie_mapping;
extern const struct rig_subject rig_lie_report;
extern const struct rig_subject rig_lie_hushed;
extern const struct rig_subject rig_lie_swallow;
extern const struct rig_subject rig_lie_held;
extern const struct rig_subject rig_lie_code;
extern const struct rig_subject rig_lie_parameters;
extern const struct rig_subject rig_lie_flags;
extern const struct rig_subject rig_lie_link;
extern const struct rig_subject rig_lie_nowhere;
extern const struct rig_subject rig_lie_unasked;
extern const struct rig_subject rig_lie_insist;

#endif
