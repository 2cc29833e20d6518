/* SPDX-License-Identifier: MIT
 *
 * What was damaged on purpose in this run, and who has still to notice. do_damage.c writes damage
 * and notes it here; damages.c asks before each call whether it is due. */
#ifndef RIG_RUN_DAMAGES_H
#define RIG_RUN_DAMAGES_H

#include "step.h"

#include "faults/damage.h"

#define RIG_SPAN_BYTES_MAX (4096u + 128u)         /* what one operation writes at most */
#define RIG_DAMAGE_ROOM (RIG_SPAN_BYTES_MAX / 8u) /* so many pieces of 8 bytes it may hit */
#define RIG_DAMAGE_MAX (RIG_DAMAGE_ROOM + 112u)   /* of a run: then damage does nothing more */
#define RIG_KEPT_MAX 16u                          /* values remembered, a ring */

struct rig_exec;

/* One piece of metadata that was changed. */
struct rig_damage {
    const struct fault_damage_info *info;
    uint8_t heap;
    enum fault_notice notice; /* of this piece: a field of no live block is noticed by validation */
    uintptr_t block;          /* whose naming must be noticed, or 0 */
    const char *field;
    bool live;    /* the block is a live one: its fields go with it */
    bool went_on; /* a word was forged there before, and the heap went on from that: which of its
                     values is right nobody can tell, but for one without a seal that opens */
    bool unknown; /* what stands there now may be right: such a word, forged once more or without
                     later damage, or a bit flipped twice, which the heap may have written as it
                     was in between */
    uint64_t changes; /* of the heap until then */
    uintptr_t address;
    size_t len;
    uint8_t before[FAULT_UNIT_BYTES];
    uint8_t written[FAULT_UNIT_BYTES];
};

/* A value remembered, to be put back later. */
struct rig_kept {
    uintptr_t address;
    size_t len;
    uint8_t bytes[FAULT_UNIT_BYTES];
    int age; /* what the block map said of the block then, or -1 */
};

struct rig_damages {
    struct rig_damage pieces[RIG_DAMAGE_MAX];
    unsigned count;
    const char
        *reasons[RIG_HEAP_COUNT][RIG_PROMISED_MAX]; /* of all that was ever done to the heap */
    struct rig_kept kept[RIG_KEPT_MAX];
    unsigned kept_count;
};

/* Before a call: what the step has to notice, and the reasons that its reports may give, go into
 * step->damage_due and so on. */
void rig_damages_due(struct rig_exec *exec, struct rig_step *step);

/* Before a heap is destroyed or reset: what says how far its memory reaches is as it was again,
 * since nobody could give it back otherwise. */
void rig_damages_mend(struct rig_exec *exec, unsigned heap);

/* The heap is gone, and its damage with it. */
void rig_damages_forget(struct rig_exec *exec, unsigned heap);

/* The live block at `block` is gone, or was resized: fields of its own are no more, or somewhere
 * else. */
void rig_damages_moved(struct rig_exec *exec, uintptr_t block);

/* From here on reports of the heap may give these reasons ("A|B"). */
void rig_damages_promise(struct rig_exec *exec, unsigned heap, const char *reasons);

/* A call has met damage there, and may have left the heap in its middle (D18). */
void rig_damages_half_made(struct rig_exec *exec, unsigned heap);

/* A piece more, before it is written. */
void rig_damages_add(struct rig_exec *exec, const struct rig_damage *damage);

#endif
