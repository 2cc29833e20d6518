/* SPDX-License-Identifier: MIT
 *
 * A program: a sequence of heap operations with names for the things they work on, and its binary
 * form. FORMAT.md draws the bytes. Nothing here knows a heap: what a record means for a given state
 * is decided in run/. */
#ifndef RIG_PROGRAM_H
#define RIG_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_SLOT_COUNT 256u  /* names of blocks */
#define RIG_HEAP_COUNT 8u    /* names of heaps; 0 is the process heap */
#define RIG_SECTION_COUNT 4u /* names of critical sections */
#define RIG_HANDLER_COUNT 4u /* names of vectored handlers */
#define RIG_CURSOR_COUNT 4u  /* names of walks in progress */
#define RIG_RECORD_COUNT_MAX 512u
#define RIG_HEADER_BYTES 16u
#define RIG_RECORD_BYTES 8u
#define RIG_PROGRAM_BYTES_MAX (RIG_HEADER_BYTES + RIG_RECORD_COUNT_MAX * RIG_RECORD_BYTES)
#define RIG_VERSION 1u
#define RIG_THREAD_SECOND 3u /* the value of `thread` that means the second thread */

enum rig_op {
#define RIG_OP(name, text, rtl, win32, state, weight, operands) RIG_OP_##name,
#include "op.def"
    RIG_OP_COUNT
};

/* What the object that an operation names has to be. A record whose object is something else is
 * resolved to the next fitting name; where none fits, the operation does nothing. */
enum rig_state {
    RIG_STATE_NONE,          /* nothing is named */
    RIG_STATE_HEAP,          /* a heap that exists */
    RIG_STATE_PRIVATE_HEAP,  /* one that is not the process heap */
    RIG_STATE_NO_HEAP,       /* a name (1 to 7) without a heap */
    RIG_STATE_LOCKED_HEAP,   /* a heap that this thread has locked */
    RIG_STATE_FREE_SLOT,     /* a name without a block, and a heap that exists */
    RIG_STATE_BLOCK,         /* a name with a live block; the heap is the block's own */
    RIG_STATE_HANDLER,       /* a registered vectored handler */
    RIG_STATE_NO_SECTION,    /* a name without a critical section */
    RIG_STATE_SECTION,       /* a critical section */
    RIG_STATE_OWNED_SECTION, /* one that this thread owns */
    RIG_STATE_FREE_SECTION   /* one that nobody owns */
};

/* Operand letters of op.def. */
#define RIG_OPERAND_SLOT 's'    /* slot */
#define RIG_OPERAND_HEAP 'h'    /* heap */
#define RIG_OPERAND_FLAGS 'f'   /* flags */
#define RIG_OPERAND_SIZE 'z'    /* size_class and value */
#define RIG_OPERAND_ARG 'a'     /* arg: a count, an index, a choice */
#define RIG_OPERAND_VALUE 'v'   /* value as a plain number (never together with z) */
#define RIG_OPERAND_CONTEXT 'c' /* context: from where the call is made */
#define RIG_OPERAND_RESERVE 'r' /* CREATE: slot holds the reserve, in pages by a table */

/* Bits of a program's own flags: which faults act. Records of others do nothing, so a program of legal
 * use stays one whatever its bytes. */
#define RIG_PROGRAM_MISUSE 0x01u
#define RIG_PROGRAM_PLAN 0x02u
#define RIG_PROGRAM_DAMAGE 0x04u
#define RIG_PROGRAM_VERIFY 0x08u /* under the verifier: `plan` holds its settings (verify.h) */
#define RIG_PROGRAM_SWEEP 0x80u /* and afterwards a short sweep over its page calls */

/* Bits of `flags` on a call, and the bits of the heap interface that they stand for. */
#define RIG_FLAG_NO_SERIALIZE 0x01u
#define RIG_FLAG_EXCEPTIONS 0x02u
#define RIG_FLAG_ZERO 0x04u
#define RIG_FLAG_IN_PLACE 0x08u
#define RIG_FLAG_USER_VALUE 0x10u
#define RIG_FLAG_USER_FLAG1 0x20u
#define RIG_FLAG_USER_FLAG3 0x40u
#define RIG_FLAG_ODD 0x80u /* one more bit, by the slot's low five bits: any of the 32 */

/* Bits of `flags` on CREATE. */
#define RIG_CREATE_NO_SERIALIZE 0x01u
#define RIG_CREATE_EXCEPTIONS 0x02u
#define RIG_CREATE_FIXED 0x04u /* clear: HEAP_GROWABLE with Rtl, maximum 0 with Win32 */
#define RIG_CREATE_NO_COALESCE 0x08u
#define RIG_CREATE_ALIGN_16 0x10u
#define RIG_CREATE_EXECUTE 0x20u
#define RIG_CREATE_PARAMETERS 0x40u /* Rtl: pass the parameters gathered by PARAMETER */
#define RIG_CREATE_ODD 0x80u        /* one more bit, by arg's high five bits */

/* Bits of `arg` on CREATE, Rtl only. */
#define RIG_CREATE_ARG_BASE 0x01u    /* the caller brings the memory */
#define RIG_CREATE_ARG_ROUTINE 0x02u /* and a CommitRoutine */
#define RIG_CREATE_ARG_LOCK 0x04u    /* and a critical section */

/* From where an allocating call is made. */
enum rig_context {
    RIG_CONTEXT_PLAIN,    /* guarded, no filter of its own */
    RIG_CONTEXT_FILTER,   /* its filter allocates and frees on the same heap, then handles */
    RIG_CONTEXT_CONTINUE, /* its filter continues: the call returns */
    RIG_CONTEXT_LOCKED    /* between lock and unlock of its heap */
};

/* How `size_class` and `value` make a number of bytes: size_kind.def explains each. */
enum rig_size_kind {
#define RIG_SIZE_KIND(name, text, form) RIG_SIZE_##name,
#include "size_kind.def"
    RIG_SIZE_KIND_COUNT
};

/* One operation. All fields are kept as they are, whether or not the operation reads them. */
struct rig_record {
    uint8_t op;         /* enum rig_op */
    uint8_t slot;       /* a block's name */
    uint8_t heap;       /* a heap's name, 0 to 7 */
    uint8_t win32;      /* 1: the Win32 spelling where there are two */
    uint8_t context;    /* enum rig_context, 0 to 3 */
    uint8_t thread;     /* 0 to 3: RIG_THREAD_SECOND, or the first thread makes the call */
    uint8_t flags;      /* RIG_FLAG_* or RIG_CREATE_* */
    uint8_t size_class; /* enum rig_size_kind and detail */
    uint8_t arg;
    uint16_t value;
};

struct rig_program {
    uint8_t flags;   /* RIG_PROGRAM_* */
    uint16_t seed;   /* of the heap's keys and of what the page source hands out dirty */
    uint8_t plan[8]; /* of the page source, from the start: fault_plan_from_bytes; or as above */
    uint16_t count;
    struct rig_record records[RIG_RECORD_COUNT_MAX];
};

enum rig_decode_status {
    RIG_DECODE_OK = 0,
    RIG_DECODE_CUT,        /* more than RIG_RECORD_COUNT_MAX records: the rest is left out */
    RIG_DECODE_NEW_VERSION /* a header of a version that this build does not know; nothing decoded
                            */
};

/* Decode any bytes. Reads each byte once, none past `len_bytes`. Input without the magic is all
 * records; an incomplete record at the end is left out. `program` is written whole.
 * Units: bytes. Errors: as the status says. */
enum rig_decode_status rig_program_decode(struct rig_program *program, const uint8_t *bytes,
                                          size_t len_bytes);

/* Encode; `bytes` has room for RIG_PROGRAM_BYTES_MAX. Returns the number written: a header and
 * count records. decode(encode(p)) is p, and encode(decode(b)) does not change when done twice.
 * Units: bytes. Errors: none; fields out of range and too many records are asserted. */
size_t rig_program_encode(const struct rig_program *program, uint8_t *bytes);

/* Write `flags` into the header of encoded bytes; bytes without one stay as they are. Units: bytes.
 * Errors: none. */
void rig_program_flags_set(uint8_t *bytes, size_t len_bytes, uint8_t flags);

/* The kind of faults that an operation makes, RIG_PROGRAM_*; 0: it is an ordinary one. Units: none.
 * Errors: none. */
uint8_t rig_op_fault(unsigned op);

/* Programs under the verifier make it: of the others no ruling says what becomes of them there. Units: none.
 * Errors: none. */
bool rig_op_verified(unsigned op);

/* What op.def says of an operation. */
struct rig_op_info {
    const char *name;  /* "ALLOC" */
    const char *text;  /* "" or the word of the text form */
    const char *rtl;   /* "RtlAllocateHeap", or NULL */
    const char *win32; /* "HeapAlloc", or NULL */
    enum rig_state state;
    unsigned weight;
    const char *operands;
};

/* Row `op` of the table, 0 to RIG_OP_COUNT - 1. Units: none. Errors: none, `op` is asserted. */
const struct rig_op_info *rig_op_info(unsigned op);

/* True when the operation reads the field of that letter. */
bool rig_op_reads(unsigned op, char operand);

/* The call that the record makes ("HeapAlloc"), or the operation's text word where it makes none.
 * Where only one spelling exists, that one whatever the record says. */
const char *rig_record_call(const struct rig_record *record);

#endif
