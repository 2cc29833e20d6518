/* SPDX-License-Identifier: MIT
 *
 * What happened, a line a step: the call, what it was made on, and all that came back, with
 * addresses as offsets. The same program gives the same lines in every process. */
#ifndef RIG_RUN_TRANSCRIPT_H
#define RIG_RUN_TRANSCRIPT_H

#include "step.h"

#define RIG_TRANSCRIPT_LINE_BYTES_MAX 1024u /* of any line, with its NUL */
#define RIG_TRANSCRIPT_PLACE_BYTES 48u      /* of an address */

/* Print a step, as the executor's watcher sees it, without a newline. As snprintf: returns the
 * length of the whole line and writes what fits. `shadow` is the model before the step.
 * Units: bytes. Errors: none. */
size_t rig_transcript_line(const struct rig_step *step, const struct rig_shadow *shadow,
                           const struct rig_subject *subject, char *out, size_t out_bytes);

/* Print how the call ended alone: value, exception, last error, refusals, reports.
 * Units: bytes. Errors: none. */
size_t rig_transcript_outcome(const struct rig_step *step, const struct rig_shadow *shadow,
                              const struct rig_subject *subject, char *out, size_t out_bytes);

/* An address as an offset from the memory that the subject works in ("0x1230"), or from the heap in
 * whose caller's memory it lies ("h3+0x40"); "there" where the subject cannot tell offsets.
 * Units: bytes. Errors: none. */
void rig_transcript_place(const struct rig_shadow *shadow, const struct rig_subject *subject,
                          uintptr_t address, char out[RIG_TRANSCRIPT_PLACE_BYTES]);

/* Digest of a walk: every element with its place, sizes and flags. Units: none. Errors: none. */
uint64_t rig_transcript_walk(const struct rig_walk *walk, const struct rig_shadow *shadow,
                             const struct rig_subject *subject);

/* Goes on with a digest over `len_bytes` more. Start with 0. Units: bytes. Errors: none. */
uint64_t rig_transcript_digest(uint64_t digest, const void *bytes, size_t len_bytes);

#endif
