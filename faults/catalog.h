/* SPDX-License-Identifier: MIT
 *
 * The catalogue of faults: every class of what can go wrong on purpose, what it does, who must
 * notice it, and by which reason. The rows stand in catalog_*.def; code, text form, README's table
 * and seeds come from them. Knows core's reasons by name only. */
#ifndef FAULTS_CATALOG_H
#define FAULTS_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a misuse needs to be there first. */
enum fault_need {
    FAULT_NEED_NOTHING,
    FAULT_NEED_HEAP,            /* any heap */
    FAULT_NEED_PROCESS_HEAP,    /* the process heap */
    FAULT_NEED_BLOCK,           /* a live block, of the heap that the call is made on */
    FAULT_NEED_BLOCK_WIDE,      /* one of more bytes than two alignments */
    FAULT_NEED_BLOCK_PAGES,     /* one of more than two pages */
    FAULT_NEED_FREED,           /* a block freed earlier, nothing live at its address */
    FAULT_NEED_FREED_EARLIER,   /* and others of its heap freed since */
    FAULT_NEED_FREED_MERGED,    /* and no block starts there any more */
    FAULT_NEED_FREED_PAGES,     /* and its pages are not committed any more */
    FAULT_NEED_FREED_LARGE,     /* it had a reservation of its own, which is gone */
    FAULT_NEED_FREED_SECOND,    /* as FREED; the second thread makes the call */
    FAULT_NEED_FREED_LOCKED,    /* as FREED; the call is made under the heap's lock */
    FAULT_NEED_GONE_BLOCK,      /* a block whose heap was destroyed, nothing live at its address */
    FAULT_NEED_GONE_HEAP,       /* a heap destroyed a few heaps ago */
    FAULT_NEED_OTHER_HEAP,      /* a live block, and another heap to make the call on */
    FAULT_NEED_UNLOCKED_HEAP,   /* a heap that serializes and that nobody has locked */
    FAULT_NEED_LOCKED_BY_OTHER, /* one that the first thread has locked; the second makes the call
                                 */
    FAULT_NEED_GROWING_HEAP,    /* one of the program's own that grows and that nobody has locked */
    FAULT_NEED_UNWOUND_HEAP,    /* one whose call was interrupted */
    FAULT_NEED_FREE_SECTION     /* a critical section that nobody is in, and no heap's lock */
};

/* What the misuse passes: a block's address, a heap's handle, or where a structure is. */
enum fault_pointer {
#define FAULT_POINTER(name, what) FAULT_POINTER_##name,
#include "pointer.def"
    FAULT_POINTER_COUNT
};

/* In place of which argument. */
enum fault_into {
    FAULT_INTO_BLOCK,
    FAULT_INTO_BLOCK_AND_SIZE, /* the size is SIZE_MAX besides */
    FAULT_INTO_NULL_BLOCK,     /* in place of the handle, the block being NULL */
    FAULT_INTO_HANDLE,
    FAULT_INTO_HANDLE_AND_BLOCK,
    FAULT_INTO_PLACE,  /* the caller's structure, array or routine */
    FAULT_INTO_LENGTH, /* where a query's length is to be written */
    FAULT_INTO_ENTRY,  /* the address in a walk's entry */
    FAULT_INTO_MASK,   /* none: user flags outside the mask */
    FAULT_INTO_PARAMETERS,
    FAULT_INTO_LOCK,
    FAULT_INTO_BASE,       /* of memory for a heap */
    FAULT_INTO_SMALL_BASE, /* the same, with one page of it */
    FAULT_INTO_SECTION,    /* a critical section */
    FAULT_INTO_MIDDLE      /* none: an exception of nobody's in the middle of the call */
};

/* Sets of calls, an OR of them. */
#define FAULT_SET_BLOCK 0x000001u /* that take a block, and report a bad one */
#define FAULT_SET_FREE 0x000002u
#define FAULT_SET_MANY_FREE 0x000004u
#define FAULT_SET_RESIZE 0x000008u
#define FAULT_SET_ASK 0x000010u /* size, user value and flags */
#define FAULT_SET_USER_INFO 0x000020u
#define FAULT_SET_USER_FLAGS 0x000040u
#define FAULT_SET_VALIDATE 0x000080u
#define FAULT_SET_DISOWN 0x000100u
#define FAULT_SET_HANDLE 0x000200u /* that take a handle and have one answer for all bad ones */
#define FAULT_SET_QUERY 0x000400u  /* that have another for NULL */
#define FAULT_SET_SET 0x000800u
#define FAULT_SET_SUMMARY 0x001000u
#define FAULT_SET_WALK 0x002000u
#define FAULT_SET_UNLOCK 0x004000u
#define FAULT_SET_DESTROY 0x008000u
#define FAULT_SET_MANY_ALLOC 0x010000u
#define FAULT_SET_CREATE 0x020000u
#define FAULT_SET_LIST 0x040000u
#define FAULT_SET_ENUM 0x080000u
#define FAULT_SET_SECTION 0x100000u
#define FAULT_SET_SECTION_USE 0x200000u
#define FAULT_SET_SECTION_LEAVE 0x400000u
#define FAULT_SET_SECTION_DELETE 0x800000u
#define FAULT_SET_ALLOCATE 0x1000000u
#define FAULT_SET_UNWOUND 0x2000000u /* that a heap out of use refuses */

/* The calls that a misuse can be made with. */
enum fault_call {
#define FAULT_CALL(name, sets, value, error, raises) FAULT_CALL_##name,
#include "call.def"
    FAULT_CALL_COUNT
};

/* What a refusing call returns, and what becomes of the last error: see call.def. */
enum fault_value {
    FAULT_VALUE_ZERO,
    FAULT_VALUE_ALL_ONES,
    FAULT_VALUE_STATUS,
    FAULT_VALUE_ITSELF,
    FAULT_VALUE_COUNT,
    FAULT_VALUE_NOTHING
};

enum fault_error { FAULT_ERROR_NEVER, FAULT_ERROR_CODE, FAULT_ERROR_PARAMETER };

struct fault_call_info {
    const char *name; /* "HeapFree" */
    unsigned sets;    /* FAULT_SET_* */
    enum fault_value value;
    enum fault_error error;
    bool raises;
};

/* Why a call refuses. */
enum fault_form {
#define FAULT_FORM(name, status, error, what) FAULT_FORM_##name,
#include "form.def"
    FAULT_FORM_COUNT
};

struct fault_form_info {
    const char *name; /* "HANDLE" */
    uint32_t status;
    uint32_t error;
    const char *what;
};

/* Where damage is written. */
enum fault_place {
#define FAULT_PLACE(name, at, field, number, what) FAULT_PLACE_##name,
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
    enum fault_into into;
    unsigned calls; /* FAULT_SET_*, of call.def */
    enum fault_form form;
    const char *reason; /* the report's, or "NONE", or "LOOK" */
    const char *source; /* ruling or clause: "D14" */
    unsigned control;   /* number of the planted variant whose detector is off */
    const char *what;   /* in words */
};

/* A class that is not misuse, damage or a plan: part of ordinary operations, or of the tests of the
 * tools. */
struct fault_other_info {
    const char *id;
    const char *name;
    const char *noticed; /* by whom, in words */
    const char *source;  /* clauses or rulings, and tests, parted by commas */
    const char *control; /* what is planted or told so that it is seen to be noticed */
    const char *what;
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

/* A class of running out: a plan laid over a program. */
struct fault_plan_info {
    const char *id;      /* "H2" */
    const char *name;    /* "no-growth" */
    const char *plan;    /* text of the plan, "" where the program sets it */
    const char *seed;    /* name of the program in corpus/oom_fuzzer, without its ending */
    const char *noticed; /* by whom, in words */
    const char *clause;
    unsigned control; /* number of the planted variant of core, 0: none */
    const char *what;
};

/* The same of catalog_plan.def. Units: none. Errors: as said. */
const struct fault_plan_info *fault_plan_info(unsigned idx);

/* The same of catalog_other.def, of call.def and of form.def. Units: none. Errors: as said. */
const struct fault_other_info *fault_other_info(unsigned idx);
const struct fault_call_info *fault_call_info(unsigned idx);
const struct fault_form_info *fault_form_info(enum fault_form form);

#endif
