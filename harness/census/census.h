/* SPDX-License-Identifier: MIT
 *
 * The census of damage: heaps in several states, every bit of their metadata changed in turn, a
 * battery of operations after each change, and what it came to. The subject describes its metadata
 * (subject->fields) and lets it be written (subject->poke); judging is the executor's
 * (rules/damaged.h).
 *
 *   state    a program of corpus/census that leaves heap 1 in some state; its fields, their former
 * values change   one way to damage a field: (field, kind, place) run      state, change, battery;
 * compared with the same run without the change shard    a process that makes runs and may die of
 * one */
#ifndef RIG_CENSUS_H
#define RIG_CENSUS_H

#include "run/exec.h"

#include <stdio.h>

#define RIG_CENSUS_HEAP 1u        /* name of the heap that states make and changes damage */
#define RIG_CENSUS_CELL_BYTES 8u  /* fields are taken word by word */
#define RIG_CENSUS_BYTES_MAX 64u  /* of one random overwrite */
#define RIG_CENSUS_NAME_BYTES 96u /* of a change as text */
#define RIG_CENSUS_WHOLE UINT32_MAX

enum rig_census_verdict {
#define RIG_CENSUS_VERDICT(name, text, bad, sentence) RIG_CENSUS_##name,
#include "verdict.def"
    RIG_CENSUS_VERDICT_COUNT
};

enum rig_census_kind {
#define RIG_CENSUS_CHANGE(name, text, group, sentence) RIG_CHANGE_##name,
#include "change.def"
    RIG_CHANGE_COUNT
};

enum rig_census_group {
    RIG_CENSUS_CONTROL,
    RIG_CENSUS_BITS,
    RIG_CENSUS_PAIRS,
    RIG_CENSUS_VALUES,
    RIG_CENSUS_RANDOM,
    RIG_CENSUS_GROUP_COUNT
};

enum rig_census_battery {
#define RIG_CENSUS_BATTERY(name, text, ...) RIG_BATTERY_##name,
#include "battery.def"
    RIG_BATTERY_COUNT
};

/* Words of the tables. Units: none. Errors: none, numbers are asserted. */
const char *rig_census_verdict_name(unsigned verdict);
bool rig_census_verdict_bad(unsigned verdict);
const char *rig_census_kind_name(unsigned kind);
enum rig_census_group rig_census_kind_group(unsigned kind);
const char *rig_census_group_name(unsigned group);
const char *rig_census_battery_name(unsigned battery);

/* One field of the heap in a state. */
struct rig_census_field {
    struct rig_field field;
    uint32_t number;  /* among the fields of its name, in order */
    uint32_t count;   /* of those */
    uint32_t first;   /* of its bytes in the images */
    uint32_t sibling; /* number in `fields` of the next of its name, or of itself */
    uint32_t other;   /* of the same field in the other heap's image, or RIG_CENSUS_WHOLE */
    uint32_t row;     /* number of its name */
    bool header;      /* eight bytes that begin a block */
};

#define RIG_CENSUS_ROW_MAX 64u

/* A live block that batteries are about: with its neighbours by address. */
struct rig_census_target {
    uintptr_t address;
    uint8_t name;
    uint8_t before;
    uint8_t behind;
};

struct rig_census_state {
    char name[48];
    struct rig_program program; /* ends before the mark */
    HANDLE heap;
    struct rig_census_field *fields;
    uint32_t field_count;
    uint32_t bytes;    /* of all fields */
    uint8_t *image;    /* their bytes, in order of the fields */
    uint8_t *stale;    /* what each held before its last change */
    uint8_t *is_stale; /* 1 where there was a change: the byte's word had another value */
    uint8_t *other;    /* the bytes of a second heap made in the same way */
    uint32_t other_bytes;
    const char *rows[RIG_CENSUS_ROW_MAX]; /* names of fields, in order of their first */
    uint32_t row_count;
    struct rig_census_target *targets;
    uint32_t target_count;
    uint64_t calls; /* of a run to the mark and the end, without a battery */
};

/* One damage. */
struct rig_census_change {
    uint32_t field; /* number in the state's fields */
    uint32_t at; /* BIT: number; PAIR: low + 64 * high; REPLAY: field of the other header; RANDOM:
                    number; else the offset of the word, or RIG_CENSUS_WHOLE */
    uint16_t target;
    uint8_t kind;
};

/* Bytes that a change writes, in memory order. */
struct rig_census_poke {
    uint8_t *address;
    uint8_t value;
};

/* Make a state from a program: run it, see its fields, what they held before and what a second
 * heap's hold. False, with a line in `error`, when the program does not leave heap 1 alive and
 * undamaged, or the subject has no fields. Units: bytes. Errors: as said. */
bool rig_census_state_make(struct rig_census_state *state, const struct rig_subject *subject,
                           const char *path, char *error, size_t error_bytes);
void rig_census_state_free(struct rig_census_state *state);

/* All changes of a state in a fixed order; NULL when there is no memory. `random_count` overwrites
 * are drawn by `seed`. To be freed. Units: none. */
struct rig_census_change *rig_census_changes(const struct rig_census_state *state,
                                             uint32_t random_count, size_t *count);

/* The bytes that a change writes; returns how many, 0 where it changes nothing. `pokes` has room
 * for all bytes of the state's largest field, RIG_CENSUS_BYTES_MAX at least. Units: none. Errors:
 * none. */
size_t rig_census_pokes(const struct rig_census_state *state,
                        const struct rig_census_change *change, uint32_t seed,
                        struct rig_census_poke *pokes);
size_t rig_census_pokes_max(const struct rig_census_state *state);

/* "block.header#3:bit17" and back; false when it names nothing of this state. */
void rig_census_change_print(const struct rig_census_state *state,
                             const struct rig_census_change *change,
                             char out[RIG_CENSUS_NAME_BYTES]);
bool rig_census_change_parse(const struct rig_census_state *state, const char *text,
                             struct rig_census_change *change);

/* The records of a battery behind those of the state, mark included. Units: none. Errors: none. */
void rig_census_battery(const struct rig_census_state *state,
                        const struct rig_census_target *target, enum rig_census_battery first,
                        struct rig_program *program);

/* Where changed bytes are applied and outcomes are seen: one a process. */
struct rig_census_runner;
struct rig_census_runner *rig_census_runner_create(const struct rig_subject *subject,
                                                   const struct rig_census_state *state,
                                                   uint32_t seed);
void rig_census_runner_destroy(struct rig_census_runner *runner);

/* What one run came to. */
struct rig_census_result {
    enum rig_census_verdict verdict;
    const char *reason; /* of the first report, or NULL */
    const char *call;   /* that made the report, or where the verdict fell; static */
    uint32_t step;      /* of it, counted from the mark */
    const char *clause; /* broken, or NULL */
};
struct rig_census_result rig_census_run(struct rig_census_runner *runner,
                                        const struct rig_census_change *change,
                                        enum rig_census_battery first);

/* For --only: a line for each step from the mark on goes to `file`. NULL: no more. */
void rig_census_tell(struct rig_census_runner *runner, FILE *file);

/* ---- Shards ---- */

#define RIG_CENSUS_REASON_MAX 48u
#define RIG_CENSUS_JOBS_MAX 256u

/* What all runs of a state came to; shared by processes. */
struct rig_census_sheet {
    const struct rig_census_change *changes;
    size_t count;
    uint8_t *verdicts; /* count * RIG_BATTERY_COUNT, enum rig_census_verdict */
    uint8_t *reasons;  /* the same: index into names, 0 none */
    const char *names[RIG_CENSUS_REASON_MAX];
    uint64_t run_count;
    double cpu_s;
};

struct rig_census_options {
    const struct rig_subject *subject;
    unsigned jobs;
    unsigned every; /* one change in so many, by the seed */
    uint32_t seed;
    double until;       /* monotonic clock, seconds; 0: no limit */
    unsigned limit_s;   /* processor time of one change with all its runs */
    volatile int *stop; /* set when no more is to begin */
    void (*progress)(void *context, const struct rig_census_state *state, size_t done,
                     size_t count);
    void *context;
};

/* Run all changes in forked shards. False when no process could be made. Units: none. */
bool rig_census_sweep(const struct rig_census_options *options,
                      const struct rig_census_state *state, struct rig_census_sheet *sheet);
void rig_census_sheet_free(struct rig_census_sheet *sheet);

/* What all the runs of one change came to: the worst of them; OPEN when not all of it was run. */
enum rig_census_verdict rig_census_worst(const struct rig_census_sheet *sheet, size_t change);

/* ---- Tables ---- */

struct rig_census_row {
    const char *name; /* of fields, "random" for overwrites */
    uint64_t counts[RIG_CENSUS_GROUP_COUNT][RIG_CENSUS_VERDICT_COUNT];
};

struct rig_census_table {
    struct rig_census_row rows[RIG_CENSUS_ROW_MAX];
    uint32_t count;
    uint64_t reasons[RIG_CENSUS_REASON_MAX];
    const char *names[RIG_CENSUS_REASON_MAX];
    uint64_t run_count;
};

/* Add a sheet to a table. */
void rig_census_count(struct rig_census_table *table, const struct rig_census_state *state,
                      const struct rig_census_sheet *sheet);
/* Changes of one group, or of all, that came to that verdict. */
uint64_t rig_census_sum(const struct rig_census_table *table, unsigned group, unsigned verdict);
void rig_census_table_print(const struct rig_census_table *table, FILE *file);

/* A heat map: a row a field, a column a state. False when the file could not be written. */
bool rig_census_svg(const char *path, const struct rig_census_table *const *tables,
                    const char *const *states, size_t state_count);

/* ---- Accounting ---- */

enum rig_census_byte {
    RIG_BYTE_NOTHING, /* not committed */
    RIG_BYTE_UNSAID,  /* committed, and nobody describes it */
    RIG_BYTE_META,
    RIG_BYTE_USER,
    RIG_BYTE_SLACK,
    RIG_BYTE_FREE,
    RIG_BYTE_SPARE, /* committed, and nothing by the subject's own word: it never writes there */
    RIG_BYTE_COUNT
};

struct rig_census_account {
    uint64_t bytes[RIG_BYTE_COUNT]; /* of all looks */
    uint64_t looks;
    uint64_t twice;   /* described as two things */
    uint64_t outside; /* described and not committed */
    uint64_t written; /* written by the subject and described by nobody, in some call */
    uintptr_t first;  /* the first byte with which anything is wrong, as an offset */
    const char *call; /* the last one made before that was seen; static */
    uint32_t step;
};

/* Run a program and account for every committed byte after each operation. False when one of them
 * is nobody's, or twice somebody's, or a rule is broken. Units: bytes. Errors: as said. */
bool rig_census_account(const struct rig_subject *subject, const struct rig_program *program,
                        struct rig_census_account *account);

#endif
