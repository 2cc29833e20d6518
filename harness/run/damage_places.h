/* SPDX-License-Identifier: MIT
 *
 * Where a record's damage goes: a unit of a field, or plain bytes. */
#ifndef RIG_RUN_DAMAGE_PLACES_H
#define RIG_RUN_DAMAGE_PLACES_H

#include "exec_internal.h"

#define RIG_FIELDS_MAX 8192u /* of one heap: those behind are not damaged */

/* The metadata of one heap as it describes itself. */
struct rig_fields {
    struct rig_field fields[RIG_FIELDS_MAX];
    size_t count;
};

/* What a record's damage is written to. */
struct rig_spot {
    const struct rig_field *field; /* NULL: plain bytes */
    uintptr_t address;
    size_t len;
};

/* The fields of a heap; false when an exception left the subject. Units: none. */
bool rig_fields_collect(struct rig_exec *exec, HANDLE heap, struct rig_fields *fields);

/* Field number `number`, and around again, of those that the place names; NULL when there is none.
 * For fields of a block: that of `block`. */
const struct rig_field *rig_fields_find(struct rig_exec *exec, const struct rig_fields *fields,
                                        const struct fault_place_info *place, unsigned number,
                                        uintptr_t block);

/* The block and the heap that a record means go into the step; false when none fits. */
bool rig_damage_resolve(struct rig_exec *exec, const struct fault_place_info *place,
                        struct rig_step *step);

/* Where to write; false when there is no such place. */
bool rig_damage_spot(struct rig_exec *exec, const struct fault_place_info *place,
                     const struct rig_fields *fields, struct rig_step *step, struct rig_spot *spot);

/* The page around the address is there: it holds a field or a live block. */
bool rig_damage_mapped(struct rig_exec *exec, const struct rig_fields *fields, uintptr_t address);

/* The byte is no other live block's. */
bool rig_damage_may(struct rig_exec *exec, const struct rig_step *step, uintptr_t address);

#endif
