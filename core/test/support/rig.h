/* SPDX-License-Identifier: MIT
 *
 * What the unit tests share: a seam over one arena (so that no test sees memory of another), a page
 * source that refuses on demand, recorded reports, calls under a guard whose whole outcome can be
 * compared, and the lists of bad addresses. Uses core's public headers and cmocka only. */
#ifndef NTH_TEST_RIG_H
#define NTH_TEST_RIG_H

#include <ntheap/heap.h>
#include <ntheap/seam.h>
#include <ntheap/seh.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What the last error is before each rig_* call: no code that core ever sets. */
#define RIG_LAST_ERROR 0x20001234u

/* cmocka setup and teardown of every test. Teardown demands that core has given everything back,
 * after it was told to. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* The seam of rig_setup, for a test that wants to change one thing of it. */
struct nth_seam rig_seam(void);

/* ---- page source ---- */

/* Refuse every page call of this kind that takes something (reserve, commit, protect), until told
 * otherwise. What gives back always works. */
void rig_pages_refuse(BOOLEAN refuse);

/* The same of sites only whose name begins so: "verifier."; NULL: all sites again. */
void rig_pages_refuse_only(const char *prefix);

/* Run `hook` inside every commit, before it is served; NULL stops. */
void rig_pages_on_commit(void (*hook)(void));

/* Calls of the page source so far, of all kinds; and commits that asked for executable pages. */
unsigned rig_pages_calls(void);
unsigned rig_pages_executable(void);

/* Write a byte there; FALSE when that faults. */
BOOLEAN rig_written(void *place, uint8_t value);

/* ---- reports ---- */

unsigned rig_report_count(void);
const struct nth_report *rig_report_last(void);
void rig_report_forget(void);

/* Exactly one report was made since rig_report_forget, with these contents; forgets it. */
void rig_report_demand(enum nth_reason reason, HANDLE heap, LPCVOID block);
#define rig_report_demand_none() assert_int_equal(rig_report_count(), 0)

/* The same, with the metadata field that the report names (NULL: none). */
void rig_report_demand_field(enum nth_reason reason, HANDLE heap, LPCVOID block,
                             const char *field);

/* ---- heaps ---- */

/* A growable heap, and a block of one; never NULL. */
HANDLE rig_heap_new(void);
PVOID rig_block_new(HANDLE heap, SIZE_T bytes);

/* ---- calls ---- */

/* All that a call can show. */
struct rig_outcome {
    uintptr_t value; /* what it returned; unset when it raised */
    BOOLEAN raised;
    EXCEPTION_RECORD record;
    DWORD last_error;
    unsigned reports;
};

/* One heap call by value, so that a test can run any of them under a guard. `call` names it. */
enum rig_call {
    RIG_RTL_ALLOCATE,
    RIG_HEAP_ALLOC,
    RIG_RTL_REALLOCATE,
    RIG_HEAP_REALLOC,
    RIG_RTL_FREE,
    RIG_HEAP_FREE,
    RIG_RTL_SIZE,
    RIG_HEAP_SIZE,
    RIG_RTL_VALIDATE,
    RIG_HEAP_VALIDATE,
    RIG_RTL_LOCK,
    RIG_HEAP_LOCK,
    RIG_RTL_UNLOCK,
    RIG_HEAP_UNLOCK,
    RIG_RTL_WALK,
    RIG_HEAP_WALK,
    RIG_RTL_COMPACT,
    RIG_HEAP_COMPACT,
    RIG_HEAP_SUMMARY,
    RIG_RTL_ZERO,
    RIG_RTL_QUERY,
    RIG_HEAP_QUERY,
    RIG_RTL_SET,
    RIG_HEAP_SET,
    RIG_SET_USER_VALUE,
    RIG_GET_USER_INFO,
    RIG_SET_USER_FLAGS,
    RIG_MULTIPLE_ALLOCATE,
    RIG_MULTIPLE_FREE,
    RIG_RTL_DESTROY,
    RIG_HEAP_DESTROY,
    RIG_DISOWN,
    RIG_CALL_COUNT
};

struct rig_args {
    enum rig_call call;
    PVOID heap;
    ULONG flags;
    PVOID block;
    SIZE_T size;  /* size, length or count */
    PVOID extra;  /* array, entry, summary, information, user value */
    PVOID extra2; /* return length, user flags */
    ULONG class_id;
    ULONG reset; /* user flags */
    ULONG set;
};

/* Make the call under a guard, with the last error at RIG_LAST_ERROR and no report remembered. */
struct rig_outcome rig_run(const struct rig_args *args);

/* The commonest calls. */
struct rig_outcome rig_alloc(HANDLE heap, ULONG flags, SIZE_T size);
struct rig_outcome rig_realloc(HANDLE heap, ULONG flags, PVOID block, SIZE_T size);
struct rig_outcome rig_free(HANDLE heap, PVOID block);

/* The call returned `value`, left the last error alone and raised nothing. */
void rig_demand_value(const struct rig_outcome *outcome, uintptr_t value);

/* The call returned `value` with this last error, and raised nothing. */
void rig_demand_error(const struct rig_outcome *outcome, uintptr_t value, DWORD last_error);

/* The call raised `code`, continuable, as D7 has it; the last error is untouched. NO_MEMORY and
 * BUFFER_TOO_SMALL: `information` is the size; ACCESS_VIOLATION: the address concerned. */
void rig_demand_raised(const struct rig_outcome *outcome, NTSTATUS code, uintptr_t information);

/* Run `body` in a child process whose terminate hook ends it; the answer is the status handed to
 * the hook, 0 when body returned, 1 when the child died in another way. */
NTSTATUS rig_child_status(void (*body)(void *context), void *context);

/* ---- elements of a heap ---- */

/* Walk from the start until an element of this kind (exact wFlags) is found, `skip` of them passed
 * over; FALSE when there is none. */
BOOLEAN rig_element(HANDLE heap, WORD flags, unsigned skip, PROCESS_HEAP_ENTRY *entry);

/* Fields as nth_fields and nth_process_fields tell them, one after the other; more than there is
 * room for is a failure. */
struct rig_field_list {
    struct nth_field *fields;
    size_t room;
    size_t count;
};

BOOLEAN rig_field_keep(void *list, const struct nth_field *field);

/* The metadata field of this kind that belongs to `block` (NULL: the first of the kind). */
struct nth_field rig_field(HANDLE heap, enum nth_field_kind kind, LPCVOID block);

/* The same by the field's name. */
struct nth_field rig_field_named(HANDLE heap, const char *name, LPCVOID block);

/* Flip the lowest bit of the byte at `address`, past sanitizers. */
void rig_flip(PVOID address);

/* ---- bad arguments ---- */

/* Addresses that belong to no heap, none of them NULL: small, on the stack, static, mapped without
 * access, unmapped, non-canonical, all ones. */
#define RIG_FOREIGN_COUNT 14u
PVOID rig_foreign(unsigned idx);

#endif
