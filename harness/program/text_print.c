/* SPDX-License-Identifier: MIT
 *
 * Programs as text. What an operation does not read is written only where it is not 0, so that
 * nothing is lost and little is in the way. Calls the words and the table of operations. */
#include "program/size.h"
#include "program/text.h"
#include "program/text_words.h"

#include "faults/plan.h"
#include "program/verify.h"
#include "run/check.h"

#include <string.h>

static void put_bits(struct rig_text_sink *sink, unsigned bits, const char *const *words)
{
    const char *separator = "";
    for (unsigned idx = 0; idx < 8; idx++) {
        const unsigned bit = 1u << idx;
        if ((bits & bit) != 0 && words[idx] != NULL) {
            rig_text_put(sink, "%s%s", separator, words[idx]);
            separator = "|";
            bits &= ~bit;
        }
    }
    if (bits != 0) {
        rig_text_put(sink, "%s0x%02x", separator, bits);
    }
}

static void put_flags(struct rig_text_sink *sink, const struct rig_record *record)
{
    const char *const *words = rig_text_flag_words(record->op);
    if (record->flags != 0) {
        rig_text_put(sink, words[0] == NULL ? " flags=" : " ");
        put_bits(sink, record->flags, words);
    }
}

static void put_arg(struct rig_text_sink *sink, const struct rig_record *record)
{
    const char *const *words = rig_text_arg_words(record->op);
    if (rig_text_choice(record->op, record->arg) != NULL) {
        return;
    }
    if (record->arg != 0 && words[0] == NULL) {
        rig_text_put(sink, " arg=%u", record->arg);
    } else if (record->arg != 0) {
        rig_text_put(sink, " arg=");
        put_bits(sink, record->arg, words);
    }
}

/* A two's complement number of `bits` bits. */
static int signed_of(unsigned value, unsigned bits)
{
    const int half = 1 << (bits - 1);
    return (int)value < half ? (int)value : (int)value - 2 * half;
}

static void put_size(struct rig_text_sink *sink, const struct rig_record *record)
{
    const enum rig_size_kind kind = rig_record_size_kind(record);
    const unsigned detail = (unsigned)record->size_class >> 4;
    const unsigned lo = record->value & 0xFFu;
    rig_text_put(sink, " ");
    if (kind != RIG_SIZE_LITERAL) {
        rig_text_put(sink, "%s:", rig_text_kind(kind)->word);
    }
    switch (rig_text_kind(kind)->form) {
    case RIG_TEXT_INDEX:
        rig_text_put(sink, "%u", rig_record_hi(record));
        if (lo != 0) {
            rig_text_put(sink, "%+d", signed_of(lo, 8));
        }
        break;
    case RIG_TEXT_STEP:
        rig_text_put(sink, "%+d", signed_of(record->value, 16));
        break;
    case RIG_TEXT_NUMBER:
        rig_text_put(sink, "%u", record->value);
        break;
    }
    if (detail != 0) {
        rig_text_put(sink, "/%u", detail);
    }
}

/* Where the operation reads no size, the two fields of one stand for themselves. */
static void put_size_or_value(struct rig_text_sink *sink, const struct rig_record *record)
{
    if (rig_op_reads(record->op, RIG_OPERAND_SIZE)) {
        put_size(sink, record);
        return;
    }
    if (record->size_class != 0) {
        rig_text_put(sink, " size-class=%u", record->size_class);
    }
    if (record->value != 0) {
        rig_text_put(sink, " value=%u", record->value);
    }
}

static void put_names(struct rig_text_sink *sink, const struct rig_record *record)
{
    const bool reserve = rig_op_reads(record->op, RIG_OPERAND_RESERVE);
    if (rig_op_reads(record->op, RIG_OPERAND_SLOT) || (record->slot != 0 && !reserve)) {
        rig_text_put(sink, " s%u", record->slot);
    }
    if (rig_op_reads(record->op, RIG_OPERAND_HEAP) || record->heap != 0) {
        rig_text_put(sink, " h%u", record->heap);
    }
    if (reserve && record->slot != 0) {
        rig_text_put(sink, " reserve=%u", record->slot);
    }
}

static void put_manner(struct rig_text_sink *sink, const struct rig_record *record)
{
    if (record->context != RIG_CONTEXT_PLAIN) {
        rig_text_put(sink, " context=%s", rig_text_context_word(record->context));
    }
    if (rig_text_word_hides(record->op)) {
        rig_text_put(sink, record->win32 != 0 ? " win32" : " rtl");
    } else if (record->win32 != 0 && !rig_text_call_tells(record->op)) {
        rig_text_put(sink, " win32");
    }
    if (record->thread != 0) {
        rig_text_put(sink, " t%u", record->thread);
    }
}

static void put_record(struct rig_text_sink *sink, const struct rig_record *record)
{
    const char *word = rig_op_info(record->op)->text;
    const char *choice = rig_text_choice(record->op, record->arg);
    rig_text_put(sink, "%s", word[0] != '\0' ? word : rig_record_call(record));
    if (choice != NULL) {
        rig_text_put(sink, " %s", choice);
    }
    put_names(sink, record);
    put_flags(sink, record);
    put_size_or_value(sink, record);
    put_arg(sink, record);
    put_manner(sink, record);
}

/* Settings of the verifier in words, where words say all of it. */
static bool put_verify(struct rig_text_sink *sink, const struct rig_program *program)
{
    struct rig_verify verify;
    char text[RIG_VERIFY_TEXT_BYTES];
    uint8_t again[RIG_VERIFY_BYTES];
    rig_verify_from_bytes(&verify, program->plan);
    rig_verify_print(&verify, text);
    const bool words = (program->flags & RIG_PROGRAM_VERIFY) != 0 && verify.on &&
                       rig_verify_parse(again, text, strlen(text)) &&
                       memcmp(again, program->plan, sizeof(again)) == 0;
    if (words) {
        rig_text_put(sink, " verify=%s", text);
    }
    return words;
}

/* In words where it is a plan, else as the bytes that it is. */
static void put_plan(struct rig_text_sink *sink, const struct rig_program *program)
{
    struct fault_plan plan;
    char text[FAULT_PLAN_TEXT_BYTES];
    if (put_verify(sink, program)) {
        return;
    }
    rig_text_put(sink, " plan=");
    if (fault_plan_from_bytes(&plan, program->plan)) {
        (void)fault_plan_print(&plan, text);
        rig_text_put(sink, "%s", text);
        return;
    }
    for (size_t idx = 0; idx < sizeof(program->plan); idx++) {
        rig_text_put(sink, "%02x", program->plan[idx]);
    }
}

static void put_settings(struct rig_text_sink *sink, const struct rig_program *program)
{
    unsigned plan = 0;
    for (size_t idx = 0; idx < sizeof(program->plan); idx++) {
        plan |= program->plan[idx];
    }
    if (plan == 0 && program->seed == 0 && program->flags == 0) {
        return;
    }
    rig_text_put(sink, "program");
    if (program->seed != 0) {
        rig_text_put(sink, " seed=%u", program->seed);
    }
    if (program->flags != 0) {
        rig_text_put(sink, " flags=");
        put_bits(sink, program->flags, rig_text_program_words());
    }
    if (plan != 0) {
        put_plan(sink, program);
    }
    rig_text_put(sink, "\n");
}

static struct rig_text_sink sink_over(char *out, size_t out_bytes)
{
    if (out_bytes != 0) {
        out[0] = '\0';
    }
    return (struct rig_text_sink){.out = out, .out_bytes = out_bytes, .len_bytes = 0};
}

size_t rig_text_print_record(const struct rig_record *record, char *out, size_t out_bytes)
{
    struct rig_text_sink sink = sink_over(out, out_bytes);
    put_record(&sink, record);
    return sink.len_bytes;
}

size_t rig_text_print(const struct rig_program *program, char *out, size_t out_bytes)
{
    RIG_CHECK(program->count <= RIG_RECORD_COUNT_MAX);
    struct rig_text_sink sink = sink_over(out, out_bytes);
    put_settings(&sink, program);
    for (unsigned idx = 0; idx < program->count; idx++) {
        put_record(&sink, &program->records[idx]);
        rig_text_put(&sink, "\n");
    }
    return sink.len_bytes;
}
