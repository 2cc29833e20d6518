/* SPDX-License-Identifier: MIT
 *
 * Damage: where it is written, how bytes are changed, and the one writer that everything goes
 * through. Knows neither a heap nor a program. */
#ifndef FAULTS_DAMAGE_H
#define FAULTS_DAMAGE_H

#include "catalog.h"

/* What the place of a damage is found by. */
enum fault_at {
    FAULT_AT_BLOCK,        /* a field of the live block named */
    FAULT_AT_FREE,         /* a field of that name, by number, whose block is not a live one */
    FAULT_AT_HEAP,         /* a field of that name, by number */
    FAULT_AT_SEGMENT,      /* the same, the descriptor of a segment */
    FAULT_AT_LARGE,        /* the same, the descriptor of a large block */
    FAULT_AT_SLACK,        /* plain bytes behind a live block, before the next field */
    FAULT_AT_EMPTY,        /* the same, of a block of size 0 */
    FAULT_AT_LARGE_TAIL,   /* the same, of a large block */
    FAULT_AT_BEHIND,       /* from the end of a live block over what comes behind */
    FAULT_AT_BEFORE,       /* from a live block downwards */
    FAULT_AT_BASE,         /* from the heap's handle upwards */
    FAULT_AT_BEYOND,       /* memory that is no heap's, behind a segment */
    FAULT_AT_UNCOMMITTED,  /* memory that is not committed */
    FAULT_AT_FREED,        /* a free block, through a pointer kept */
    FAULT_AT_FREED_INSIDE, /* the same, past its links */
    FAULT_AT_FREED_SLOT,   /* a free slot of the front end */
    FAULT_AT_REUSED        /* a live block, through a pointer to one that was there before */
};

struct fault_place_info {
    const char *name; /* "BLOCK_HEADER" */
    enum fault_at at;
    const char *field; /* the end of a field's name, or "" */
    uint64_t number;   /* of a field: the bits that may change, 0: all; else how many bytes */
    const char *what;
};

/* Row `place` of place.def. Units: none. Errors: NULL past the last row. */
const struct fault_place_info *fault_place_info(unsigned place);

enum fault_change {
#define FAULT_CHANGE(name, what) FAULT_CHANGE_##name,
#include "change.def"
    FAULT_CHANGE_COUNT
};

#define FAULT_CHANGE_ANY_COUNT ((unsigned)FAULT_CHANGE_KEEP) /* what ANY chooses from */
#define FAULT_CHANGE_ALL_COUNT ((unsigned)FAULT_CHANGE_SELF) /* what ALL chooses from */
#define FAULT_UNIT_BYTES 8u                                  /* what is changed at once, at most */

/* The change that a row of the catalogue asks for; `choice` decides where it says ANY or ALL.
 * Units: none. Errors: FAULT_CHANGE_COUNT for a word that is none. */
enum fault_change fault_change_of(const struct fault_damage_info *info, unsigned choice);

/* The class changes the value in a sealed word, which opens afterwards as it did before.
 * Units: none. Errors: none. */
bool fault_damage_is_forged(const struct fault_damage_info *info);

/* What a change works with. */
struct fault_unit {
    uint8_t bytes[FAULT_UNIT_BYTES]; /* as they are; afterwards as they should be */
    uint8_t
        other[FAULT_UNIT_BYTES]; /* to be copied: a neighbour's, another heap's, an older value */
    size_t len;                  /* 1 to FAULT_UNIT_BYTES */
    uint64_t mask;               /* bits that may change, 0: all */
    unsigned bit;                /* FLIP: number of the bit, modulo those that may change */
    uintptr_t address;           /* SELF, LIVE, OUTSIDE: the address written */
};

/* Change the bytes of a unit; bits outside the mask stay. Returns whether any byte is another one
 * now. Units: bytes. Errors: none. */
bool fault_change_apply(enum fault_change change, struct fault_unit *unit);

/* Reason `reason` is one of "A|B". Units: none. Errors: none. */
bool fault_reason_is_of(const char *reasons, const char *reason);

/* Write bytes one by one through `poke`. Units: bytes. Errors: none. */
typedef void (*fault_poke)(void *address, uint8_t value);
void fault_write(fault_poke poke, uintptr_t address, const uint8_t *bytes, size_t len);

#endif
