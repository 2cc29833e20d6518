/* SPDX-License-Identifier: MIT
 *
 * What blocks are filled with: a window of one fixed pseudo-random tile, chosen by the block's
 * stamp, so that writing and comparing run at the speed of memcpy and no two blocks agree. Blocks
 * up to 64 KiB are filled and compared whole; of larger ones 32 KiB at each end and a page in every
 * sixteen between. Calls nothing. */
#ifndef RIG_MODEL_PATTERN_H
#define RIG_MODEL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_PATTERN_NOWHERE SIZE_MAX

/* Fill a block of `size_bytes` with the pattern `stamp`. Units: bytes. */
void rig_pattern_fill(void *block, size_t size_bytes, uint32_t stamp);

/* Offset of the first byte before `to` that differs from the pattern that a block of `size_bytes`
 * was filled with, or RIG_PATTERN_NOWHERE. Looks at every byte that was written. Units: bytes. */
size_t rig_pattern_differs(const void *block, size_t to, size_t size_bytes, uint32_t stamp);

/* Offset of the first byte in [from, to) that is not zero, or RIG_PATTERN_NOWHERE. Looks at all of
 * up to 64 KiB, and of more than that at 32 KiB from each end and a page in sixteen between.
 * Units: bytes. */
size_t rig_pattern_dirty(const void *block, size_t from, size_t to);

#endif
