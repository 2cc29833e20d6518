/* SPDX-License-Identifier: MIT
 *
 * The catalogue of faults: every class of what can go wrong on purpose, what it does, who must
 * notice it, and by which reason. The rows stand in catalog_*.def; code, text form, README's table and
 * seeds come from them. Knows core's reasons by name only. */
#ifndef FAULTS_CATALOG_H
#define FAULTS_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a misuse needs to be there first. */
enum fault_need {
    FAULT_NEED_NOTHING,
    FAULT_NEED_HEAP,       /* any heap */
    FAULT_NEED_BLOCK,      /* a live block, of the heap that the call is made on */
    FAULT_NEED_FREED,      /* a block freed earlier, nothing live at its address */
    FAULT_NEED_OTHER_HEAP, /* a live block, and another heap to make the call on */
    FAULT_NEED_GONE_HEAP   /* a heap destroyed fewer than 64 heaps ago */
};

/* What the misuse passes: a block's address, or in its place a heap's handle. */
enum fault_pointer {
#define FAULT_POINTER(name, what) FAULT_POINTER_##name,
#include "pointer.def"
    FAULT_POINTER_COUNT
};

/* The calls that a misuse can be made with. */
enum fault_call {
#define FAULT_CALL(name, set) FAULT_CALL_##name,
#include "call.def"
    FAULT_CALL_COUNT
};

/* Where damage is written. */
enum fault_place {
#define FAULT_PLACE(name, what) FAULT_PLACE_##name,
#include "place.def"
    FAULT_PLACE_COUNT
};

/* Who must notice, at the latest. */
enum fault_notice {
    FAULT_NOTICE_CALL,     /* the call itself */
    FAULT_NOTICE_BLOCK,    /* the next call that names the block */
    FAULT_NOTICE_HEAP,     /* the next call on the heap */
    FAULT_NOTICE_VALIDATE, /* validation of the whole heap */
    FAULT_NOTICE_NOBODY    /* nobody need: a ruling says so */
};

struct fault_misuse_info {
    const char *id;   /* "E2" */
    const char *name; /* "interior" */
    enum fault_need need;
    enum fault_pointer pointer;
    const char *calls;  /* a set of call.def */
    const char *reason; /* the report's, or "NONE" */
    const char *source; /* ruling or clause: "D14" */
    unsigned control;   /* number of the planted variant whose detector is off */
    const char *what;   /* in words */
};

struct fault_damage_info {
    const char *id;
    const char *name;
    enum fault_place place;
    const char *change; /* how the bytes are changed */
    enum fault_notice notice;
    const char *reasons; /* those a report may give, '|' between */
    const char *source;
    unsigned control;
    const char *what;
};

/* Row `idx` of catalog_misuse.def or catalog_damage.def, in their order: what a record's `arg`
 * means. Units: none. Errors: NULL past the last row. */
const struct fault_misuse_info *fault_misuse_info(unsigned idx);
const struct fault_damage_info *fault_damage_info(unsigned idx);

#endif
