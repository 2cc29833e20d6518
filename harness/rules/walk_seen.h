/* SPDX-License-Identifier: MIT
 *
 * What a whole walk showed, looked at once, element by element against the model. For walk.c and
 * compact.c, which ask by clause. */
#ifndef RIG_RULES_WALK_SEEN_H
#define RIG_RULES_WALK_SEEN_H

#include "heaps.h"

#define RIG_WALK_FRONT 0x8000u    /* flag of the front end's elements, in Rtl walks */
#define RIG_FREE_DATA_OFFSET 24u  /* of a free block's data from its start (D68) */
#define RIG_BLOCK_HEADER_BYTES 8u /* in front of each block (D68) */

/* What a walk showed: counts of elements, and whether each kind was as it must be. */
struct rig_seen {
    const struct rig_walk *walk;
    size_t region_count;
    size_t region_bytes; /* of all regions */
    size_t busy_count;
    size_t free_count;
    size_t uncommitted_count;
    size_t large_count; /* busy, above the threshold */
    size_t sized_count; /* busy, and more than no bytes asked for */
    size_t front_count; /* busy, of the front end; Rtl walks only */
    uint64_t busy_sum;  /* one number for all busy addresses */
    /* No element was found that breaks: */
    bool flags_known; /* its flags are those of one kind */
    bool rtl_flags_known;
    bool rtl_flags_ruled;
    bool busy_live;   /* busy: a live block of this heap starts there */
    bool busy_sizes;  /* busy: no smaller than asked for */
    bool busy_exact;  /* busy: as asked for */
    bool overheads;   /* a busy block has some */
    bool ascending;   /* it comes behind the one before, in a region */
    bool indexed;     /* it has its region's index */
    bool large_plain; /* a large block is flagged as no region and lies in none */
    bool large_indexed;
    bool inside; /* it lies in its region */
    bool uncommitted_inside;
    bool free_empty; /* a free one holds no live block */
    bool apart;      /* two free ones of the back end are not neighbours */
    bool front_small;
    bool region_first; /* a region starts where no other is */
    bool region_sums;  /* committed and uncommitted bytes are those of its elements */
    bool uncommitted_sums;
    bool first_blocks;
    bool first_exact; /* but for the front end, whose chunk begins before its first block */
    bool last_blocks;
    bool members;
    bool adds_up;        /* D68: data and overhead are the whole region */
    bool region_base;    /* the first one is at the handle */
    bool region_indexes; /* numbered from 0 on; what was released leaves a gap */
    bool later_regions;  /* D29 */
};

/* Look at the step's walk, which is whole. Units: none. Errors: none. */
struct rig_seen rig_seen_of(const struct rig_judge *judge, const struct rig_step *step);

/* Every live block once and nothing else. Units: none. Errors: none. */
bool rig_seen_all(const struct rig_seen *seen, const struct rig_judge *judge,
                  const struct rig_step *step);

#endif
