/* SPDX-License-Identifier: MIT
 *
 * The binary form of programs and the table of operations. Calls the rig's assertion only. */
#include "program/program.h"

#include "run/check.h"

#include <assert.h>
#include <string.h>

/* Where each part of the header lies. */
#define AT_MAGIC 0u
#define AT_VERSION 4u
#define AT_FLAGS 5u
#define AT_SEED 6u
#define AT_PLAN 8u

static const uint8_t magic[4] = {'H', 'R', 'P', 'G'};

static_assert(AT_PLAN + sizeof(((struct rig_program *)NULL)->plan) == RIG_HEADER_BYTES,
              "the plan ends the header");
static_assert(RIG_OP_COUNT <= 256, "an operation is a byte");

/* First and last byte of each operation's run. */
enum {
#define RIG_OP(name, text, rtl, win32, state, weight, operands)                                    \
    FIRST_##name, LAST_##name = FIRST_##name + (weight)-1,
#include "program/op.def"
    BYTE_COUNT
};

static_assert(BYTE_COUNT == 256, "the weights of op.def add up to 256");

static const uint8_t first_of_op[RIG_OP_COUNT] = {
#define RIG_OP(name, text, rtl, win32, state, weight, operands) [RIG_OP_##name] = FIRST_##name,
#include "program/op.def"
};

/* Ranges in initialisers are an extension of gcc and clang. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
static const uint8_t op_of_byte[256] = {
#define RIG_OP(name, text, rtl, win32, state, weight, operands)                                    \
    [FIRST_##name... LAST_##name] = RIG_OP_##name,
#include "program/op.def"
};
#pragma GCC diagnostic pop

/* The name of a call as a string, and NULL for the word NONE: only SPELLED_NONE is a macro, and it
 * pushes a NULL into second place. */
#define SPELLED_NONE ~, NULL
#define SECOND(first, second, ...) second
#define SECOND_OF(...) SECOND(__VA_ARGS__)
#define SPELLED(call) SECOND_OF(SPELLED_##call, #call, ~)

static const struct rig_op_info op_infos[RIG_OP_COUNT] = {
#define RIG_OP(op_name, op_text, op_rtl, op_win32, op_state, op_weight, op_operands)               \
    [RIG_OP_##op_name] = {.name = #op_name,                                                        \
                          .text = (op_text),                                                       \
                          .rtl = SPELLED(op_rtl),                                                  \
                          .win32 = SPELLED(op_win32),                                              \
                          .state = RIG_STATE_##op_state,                                           \
                          .weight = (op_weight),                                                   \
                          .operands = (op_operands)},
#include "program/op.def"
};

const struct rig_op_info *rig_op_info(unsigned op)
{
    RIG_CHECK(op < RIG_OP_COUNT);
    return &op_infos[op];
}

bool rig_op_reads(unsigned op, char operand)
{
    return strchr(rig_op_info(op)->operands, operand) != NULL;
}

uint8_t rig_op_fault(unsigned op)
{
    switch (op) {
    case RIG_OP_MISUSE:
        return RIG_PROGRAM_MISUSE;
    case RIG_OP_PLAN:
        return RIG_PROGRAM_PLAN;
    case RIG_OP_DAMAGE:
        return RIG_PROGRAM_DAMAGE;
    case RIG_OP_VERIFY:
        return RIG_PROGRAM_VERIFY;
    default:
        return 0;
    }
}

bool rig_op_verified(unsigned op)
{
    switch (op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
    case RIG_OP_FREE:
    case RIG_OP_FREE_NULL:
    case RIG_OP_SIZE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_VALIDATE:
    case RIG_OP_DISOWN:
    case RIG_OP_WRITE:
    case RIG_OP_READ:
    case RIG_OP_CREATE:
    case RIG_OP_DESTROY:
    case RIG_OP_LOCK:
    case RIG_OP_UNLOCK:
    case RIG_OP_VERIFY:
        return true;
    default:
        return false;
    }
}

const char *rig_record_call(const struct rig_record *record)
{
    const struct rig_op_info *info = rig_op_info(record->op);
    const char *wanted = record->win32 != 0 ? info->win32 : info->rtl;
    const char *other = record->win32 != 0 ? info->rtl : info->win32;
    if (wanted != NULL) {
        return wanted;
    }
    return other != NULL ? other : info->text;
}

static void record_decode(struct rig_record *record, const uint8_t *bytes)
{
    const unsigned where = bytes[2];
    record->op = op_of_byte[bytes[0]];
    record->slot = bytes[1];
    record->heap = where & 7u;
    record->win32 = where >> 3 & 1u;
    record->context = where >> 4 & 3u;
    record->thread = where >> 6 & 3u;
    record->flags = bytes[3];
    record->size_class = bytes[4];
    record->arg = bytes[5];
    record->value = (uint16_t)(bytes[6] | bytes[7] << 8);
}

static void record_encode(const struct rig_record *record, uint8_t *bytes)
{
    RIG_CHECK(record->op < RIG_OP_COUNT);
    RIG_CHECK(record->heap < 8);
    RIG_CHECK(record->win32 < 2);
    RIG_CHECK(record->context < 4);
    RIG_CHECK(record->thread < 4);
    bytes[0] = first_of_op[record->op];
    bytes[1] = record->slot;
    bytes[2] =
        (uint8_t)(record->heap | record->win32 << 3 | record->context << 4 | record->thread << 6);
    bytes[3] = record->flags;
    bytes[4] = record->size_class;
    bytes[5] = record->arg;
    bytes[6] = (uint8_t)(record->value & 0xFFu);
    bytes[7] = (uint8_t)(record->value >> 8);
}

/* Bytes missing at the end of a cut header are 0, and so is the version then. */
static enum rig_decode_status header_decode(struct rig_program *program, const uint8_t *bytes,
                                            size_t len_bytes)
{
    uint8_t header[RIG_HEADER_BYTES] = {0};
    memcpy(header, bytes, len_bytes < sizeof(header) ? len_bytes : sizeof(header));
    if (header[AT_VERSION] > RIG_VERSION) {
        return RIG_DECODE_NEW_VERSION;
    }
    program->flags = header[AT_FLAGS];
    program->seed = (uint16_t)(header[AT_SEED] | header[AT_SEED + 1] << 8);
    memcpy(program->plan, &header[AT_PLAN], sizeof(program->plan));
    return RIG_DECODE_OK;
}

enum rig_decode_status rig_program_decode(struct rig_program *program, const uint8_t *bytes,
                                          size_t len_bytes)
{
    memset(program, 0, sizeof(*program));
    size_t at = 0;
    if (len_bytes >= sizeof(magic) && memcmp(bytes, magic, sizeof(magic)) == 0) {
        if (header_decode(program, bytes, len_bytes) != RIG_DECODE_OK) {
            return RIG_DECODE_NEW_VERSION;
        }
        at = len_bytes < RIG_HEADER_BYTES ? len_bytes : RIG_HEADER_BYTES;
    }
    while (len_bytes - at >= RIG_RECORD_BYTES) {
        if (program->count == RIG_RECORD_COUNT_MAX) {
            return RIG_DECODE_CUT;
        }
        record_decode(&program->records[program->count], &bytes[at]);
        program->count++;
        at += RIG_RECORD_BYTES;
    }
    return RIG_DECODE_OK;
}

size_t rig_program_encode(const struct rig_program *program, uint8_t *bytes)
{
    RIG_CHECK(program->count <= RIG_RECORD_COUNT_MAX);
    memcpy(&bytes[AT_MAGIC], magic, sizeof(magic));
    bytes[AT_VERSION] = RIG_VERSION;
    bytes[AT_FLAGS] = program->flags;
    bytes[AT_SEED] = (uint8_t)(program->seed & 0xFFu);
    bytes[AT_SEED + 1] = (uint8_t)(program->seed >> 8);
    memcpy(&bytes[AT_PLAN], program->plan, sizeof(program->plan));
    size_t at = RIG_HEADER_BYTES;
    for (unsigned idx = 0; idx < program->count; idx++) {
        record_encode(&program->records[idx], &bytes[at]);
        at += RIG_RECORD_BYTES;
    }
    return at;
}

void rig_program_flags_set(uint8_t *bytes, size_t len_bytes, uint8_t flags)
{
    if (len_bytes > AT_FLAGS && memcmp(bytes, magic, sizeof(magic)) == 0) {
        bytes[AT_FLAGS] = flags;
    }
}
