/* SPDX-License-Identifier: MIT
 *
 * The contract as data: what documents promise, a clause a row (contract.tsv, embedded), and what
 * becomes of each clause here (clauses.def). Calls the judge's tables and nothing else. */
#ifndef RIG_RULES_CONTRACT_H
#define RIG_RULES_CONTRACT_H

#include "judge.h"

#include "program/text_piece.h"

#define RIG_CONTRACT_ROW_MAX 1024u
#define RIG_CONTRACT_ERROR_BYTES_MAX 256u /* of an error of a file whose name is short */
#define RIG_RULING_COUNT 111u             /* D1 to D111 of core/SOURCES.md */

enum rig_testable { RIG_TESTABLE_NO, RIG_TESTABLE_PARTLY, RIG_TESTABLE_YES, RIG_TESTABLE_COUNT };

/* One clause: pieces of the text it was parsed from. */
struct rig_contract_row {
    struct rig_piece id;        /* "ALLOC-16" */
    struct rig_piece function;  /* "RtlAllocateHeap" */
    struct rig_piece kind;      /* result, failure, flag, ... */
    struct rig_piece condition; /* when it applies */
    struct rig_piece outcome;   /* what must then be */
    struct rig_piece source;    /* the documents, parted by semicolons */
    struct rig_piece reason;    /* why it is not testable, or not wholly; may be empty */
    enum rig_testable testable;
};

struct rig_contract {
    size_t count;
    struct rig_contract_row rows[RIG_CONTRACT_ROW_MAX];
};

/* Parse `len_bytes` of any bytes: a line of column names, then a clause a line, columns parted by
 * tabs. True when all of it was understood; rows then point into `text`. Otherwise `error` holds
 * one line, "<name>:<line>: expected <what>, found <token>", cut at `error_bytes`, and there are no
 * rows. Neither prints nor allocates; linear but for the check that no ID comes twice.
 * Units: bytes. Errors: false, as said. */
bool rig_contract_parse(struct rig_contract *contract, const char *name, const char *text,
                        size_t len_bytes, char *error, size_t error_bytes);

/* The text of contract.tsv as it was when this was built. Units: bytes. Errors: none. */
const char *rig_contract_text(size_t *len_bytes);

/* The contract that this was built with, parsed once; a broken one is asserted. Not for several
 * threads at once. Units: none. Errors: none. */
const struct rig_contract *rig_contract(void);

/* The row with this ID, or NULL. Units: none. Errors: as said. */
const struct rig_contract_row *rig_contract_find(const struct rig_contract *contract,
                                                 struct rig_piece id);

/* A ruling of core/SOURCES.md as it was when this was built. */
struct rig_ruling {
    struct rig_piece sentence; /* the one outcome */
    struct rig_piece settles;  /* clauses and conflicts that it decides */
};

/* The ruling with this ID ("D36"); false when there is none, or it says nothing. Units: none.
 * Errors: as said. */
bool rig_ruling_find(const char *id, struct rig_ruling *ruling);

/* ---- What becomes of a clause --------------------------------------------------------------- */

enum rig_disposition_kind {
    RIG_JUDGED,       /* by a rule, shown alive by a lie */
    RIG_PENDING_PART, /* waits for a part of the rig */
    RIG_EXEMPTED      /* cannot be judged by this rig */
};

/* One row of clauses.def, in its order. */
struct rig_disposition {
    const char *id; /* "ALLOC-16", or "D36" */
    enum rig_disposition_kind kind;
    enum rig_clause clause; /* when judged */
    const char *why;        /* pending: the part waited for; exempt: the reason; judged: NULL */
};

/* All rows of clauses.def; `*count` of them. Units: none. Errors: none. */
const struct rig_disposition *rig_dispositions(size_t *count);

/* The first row for an ID, or NULL. Units: none. Errors: as said. */
const struct rig_disposition *rig_disposition_find(struct rig_piece id);

/* What a clause needs of clauses.def and does not have, or has and must not. */
typedef void (*rig_contract_lack)(void *context, const char *id, size_t id_len, const char *what);

/* Compare a contract with rows of clauses.def: each clause testable in whole or in part, and each
 * ruling D1 to D88, has exactly one row; there is no row for anything else; reasons are given; the
 * exempt among the clauses marked testable in whole are 5 % of those at most. `lack` is called for
 * each breach. Returns their number. Units: none. Errors: as said. */
size_t rig_contract_complete(const struct rig_contract *contract,
                             const struct rig_disposition *dispositions, size_t count,
                             rig_contract_lack lack, void *context);

#endif
