/* SPDX-License-Identifier: MIT
 *
 * Text to programs. The input is any bytes, so everything is a piece with a length, read once from
 * left to right; a token is compared with short words only. The first error ends it. Calls the
 * words and the table of operations. */
#include "program/text.h"
#include "program/text_near.h"
#include "program/text_piece.h"
#include "program/text_words.h"
#include "program/verify.h"

#include "faults/plan.h"

#include <string.h>

/* The operation being read. */
struct line {
    struct rig_record *record;
    unsigned seen; /* SEEN_* */
};

/* Fields that a line has given already. */
#define SEEN_SLOT 0x01u
#define SEEN_HEAP 0x02u
#define SEEN_FLAGS 0x04u
#define SEEN_CLASS 0x08u
#define SEEN_VALUE 0x10u
#define SEEN_ARG 0x20u
#define SEEN_CONTEXT 0x40u
#define SEEN_SPELLING 0x80u
#define SEEN_THREAD 0x100u

#define FOUND_BYTES_MAX 40u /* of a token in an error */

static bool is_digit(char character)
{
    return character >= '0' && character <= '9';
}

/* ---- Operands. Each answers NULL, or what was expected instead ------------------------------ */

static const char *give(struct line *line, unsigned fields)
{
    if ((line->seen & fields) != 0) {
        return "an operand that is not there yet";
    }
    line->seen |= fields;
    return NULL;
}

static const char *parse_slot(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 255, &number)) {
        return "a block s0 to s255";
    }
    line->record->slot = (uint8_t)number;
    return give(line, SEEN_SLOT);
}

static const char *parse_reserve(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 255, &number)) {
        return "reserve= and a number up to 255";
    }
    line->record->slot = (uint8_t)number;
    return give(line, SEEN_SLOT);
}

static const char *parse_heap(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 7, &number)) {
        return "a heap h0 to h7";
    }
    line->record->heap = (uint8_t)number;
    return give(line, SEEN_HEAP);
}

static const char *parse_thread(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 3, &number)) {
        return "a thread t0 to t3";
    }
    line->record->thread = (uint8_t)number;
    return give(line, SEEN_THREAD);
}

/* Names of bits and numbers, with | between them. */
static bool bits_of(struct rig_piece text, const char *const *words, uint8_t *bits)
{
    *bits = 0;
    for (bool more = true; more;) {
        const size_t len = text.len;
        const struct rig_piece part = rig_piece_cut(&text, '|');
        more = part.len != len;
        unsigned number = 0;
        for (unsigned idx = 0; idx < 8 && number == 0; idx++) {
            number = rig_piece_is(part, words[idx]) ? 1u << idx : 0;
        }
        if (number == 0 && !rig_piece_number_is(part, 255, &number)) {
            return false;
        }
        *bits = (uint8_t)(*bits | number);
    }
    return true;
}

static const char *parse_flags(struct line *line, struct rig_piece text)
{
    if (!bits_of(text, rig_text_flag_words(line->record->op), &line->record->flags)) {
        return "flags= and names of flags or numbers up to 255";
    }
    return give(line, SEEN_FLAGS);
}

static const char *parse_arg(struct line *line, struct rig_piece text)
{
    if (!bits_of(text, rig_text_arg_words(line->record->op), &line->record->arg)) {
        return "arg= and a number up to 255";
    }
    return give(line, SEEN_ARG);
}

static const char *parse_value(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 65535, &number)) {
        return "value= and a number up to 65535";
    }
    line->record->value = (uint16_t)number;
    return give(line, SEEN_VALUE);
}

static const char *parse_class(struct line *line, struct rig_piece text)
{
    unsigned number = 0;
    if (!rig_piece_number_is(text, 255, &number)) {
        return "size-class= and a number up to 255";
    }
    line->record->size_class = (uint8_t)number;
    return give(line, SEEN_CLASS);
}

static const char *parse_context(struct line *line, struct rig_piece text)
{
    for (unsigned context = 0; context < 4; context++) {
        if (rig_piece_is(text, rig_text_context_word(context))) {
            line->record->context = (uint8_t)context;
            return give(line, SEEN_CONTEXT);
        }
    }
    return "context=plain, filter, continue or locked";
}

static bool size_value(struct rig_piece *text, enum rig_text_form form, unsigned *value)
{
    unsigned lo = 0;
    switch (form) {
    case RIG_TEXT_STEP:
        return rig_piece_step_take(text, 0x8000, value);
    case RIG_TEXT_INDEX:
        if (!rig_piece_number_take(text, 255, value)) {
            return false;
        }
        *value <<= 8;
        if (text->len != 0 && text->at[0] != '/' && !rig_piece_step_take(text, 0x80, &lo)) {
            return false;
        }
        *value |= lo;
        return true;
    case RIG_TEXT_NUMBER:
        break;
    }
    return rig_piece_number_take(text, 65535, value);
}

/* 100, small:100, boundary:7+1, last:-8, pages:3/8 */
static const char *parse_size(struct line *line, struct rig_piece text)
{
    static const char expected[] = "a size such as 100, boundary:7+1, last:-8 or pages:3/8";
    unsigned kind = RIG_SIZE_LITERAL;
    if (!is_digit(rig_piece_head(text))) {
        const struct rig_piece word = rig_piece_cut(&text, ':');
        for (kind = 0; kind < RIG_SIZE_KIND_COUNT; kind++) {
            if (rig_piece_is(word, rig_text_kind(kind)->word)) {
                break;
            }
        }
    }
    unsigned value = 0;
    unsigned detail = 0;
    if (kind == RIG_SIZE_KIND_COUNT || !size_value(&text, rig_text_kind(kind)->form, &value)) {
        return expected;
    }
    if (text.len != 0 && !(rig_piece_take(&text, "/") && rig_piece_number_is(text, 15, &detail))) {
        return expected;
    }
    line->record->size_class = (uint8_t)(kind | detail << 4);
    line->record->value = (uint16_t)value;
    return give(line, SEEN_CLASS | SEEN_VALUE);
}

static const char *parse_keyed(struct line *line, struct rig_piece key, struct rig_piece text)
{
    static const struct {
        const char *key;
        const char *(*parse)(struct line *line, struct rig_piece text);
    } keys[] = {
        {"arg", parse_arg},     {"context", parse_context}, {"flags", parse_flags},
        {"value", parse_value}, {"reserve", parse_reserve}, {"size-class", parse_class},
    };
    for (size_t idx = 0; idx < sizeof(keys) / sizeof(keys[0]); idx++) {
        if (rig_piece_is(key, keys[idx].key)) {
            return keys[idx].parse(line, text);
        }
    }
    return "an operand";
}

/* A word of the list that the operation's argument chooses from. */
static bool choice_of(struct line *line, struct rig_piece token)
{
    for (unsigned arg = 0; rig_text_choice(line->record->op, arg) != NULL; arg++) {
        if (rig_piece_is(token, rig_text_choice(line->record->op, arg))) {
            line->record->arg = (uint8_t)arg;
            return true;
        }
    }
    return false;
}

/* Instead of what was expected: a name of the operation's list, and the nearest ones are told. */
static const char a_name[] = "";

/* Words and names without = or : in them. */
static const char *parse_word(struct line *line, struct rig_piece token)
{
    if (choice_of(line, token)) {
        return give(line, SEEN_ARG);
    }
    const struct rig_piece name = rig_piece_skip(token, 1);
    if (is_digit(rig_piece_head(name))) {
        switch (token.at[0]) {
        case 's':
            return parse_slot(line, name);
        case 'h':
            return parse_heap(line, name);
        case 't':
            return parse_thread(line, name);
        default:
            break;
        }
    }
    if (rig_piece_is(token, "rtl") || rig_piece_is(token, "win32")) {
        line->record->win32 = rig_piece_is(token, "win32");
        return give(line, SEEN_SPELLING);
    }
    if (!bits_of(token, rig_text_flag_words(line->record->op), &line->record->flags)) {
        return rig_text_choice(line->record->op, 0) != NULL ? a_name : "an operand";
    }
    return give(line, SEEN_FLAGS);
}

static const char *parse_operand(struct line *line, struct rig_piece token)
{
    struct rig_piece text = token;
    const struct rig_piece key = rig_piece_cut(&text, '=');
    if (key.len != token.len) {
        return parse_keyed(line, key, text);
    }
    if (is_digit(token.at[0]) || memchr(token.at, ':', token.len) != NULL) {
        return parse_size(line, token);
    }
    return parse_word(line, token);
}

/* ---- Lines ---------------------------------------------------------------------------------- */

/* By its own word, or by the name of its call; `line` gets the spelling that the name implies. */
static bool parse_op(struct line *line, struct rig_piece word)
{
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const struct rig_op_info *info = rig_op_info(op);
        const bool win32 = info->text[0] == '\0' && rig_piece_is(word, info->win32);
        const bool rtl = info->text[0] == '\0' && rig_piece_is(word, info->rtl);
        if (win32 || rtl || (info->text[0] != '\0' && rig_piece_is(word, info->text))) {
            line->record->op = (uint8_t)op;
            if (rig_text_call_tells(op)) {
                line->record->win32 = win32;
                line->seen |= SEEN_SPELLING;
            }
            return true;
        }
    }
    return false;
}

/* Each of the three answers NULL, or what was expected instead of `*token`. */
static const char *parse_record(struct rig_program *program, struct rig_piece *token,
                                struct rig_piece rest)
{
    if (program->count == RIG_RECORD_COUNT_MAX) {
        return "at most 512 operations";
    }
    struct line line = {.record = &program->records[program->count], .seen = 0};
    if (!parse_op(&line, *token)) {
        return "an operation";
    }
    const char *expected = NULL;
    for (*token = rig_piece_token_take(&rest); token->len != 0;
         *token = rig_piece_token_take(&rest)) {
        expected = parse_operand(&line, *token);
        if (expected != NULL) {
            return expected;
        }
    }
    program->count++;
    return NULL;
}

/* Words such as nth:3:commit, or the eight bytes. */
static const char *parse_plan(struct rig_program *program, struct rig_piece text)
{
    static const char expected[] = "plan= and words such as nth:3:commit, or 16 hexadecimal digits";
    struct fault_plan plan;
    if (fault_plan_parse(&plan, text.at, text.len)) {
        fault_plan_to_bytes(&plan, program->plan);
        return NULL;
    }
    if (text.len != 2 * sizeof(program->plan)) {
        return expected;
    }
    for (size_t idx = 0; idx < sizeof(program->plan); idx++) {
        const unsigned high = rig_piece_digit(text.at[2 * idx]);
        const unsigned low = rig_piece_digit(text.at[2 * idx + 1]);
        if (high > 15 || low > 15) {
            return expected;
        }
        program->plan[idx] = (uint8_t)(high << 4 | low);
    }
    return NULL;
}

static const char *parse_setting(struct rig_program *program, struct rig_piece text)
{
    unsigned number = 0;
    if (rig_piece_take(&text, "seed=")) {
        if (!rig_piece_number_is(text, 65535, &number)) {
            return "seed= and a number up to 65535";
        }
        program->seed = (uint16_t)number;
        return NULL;
    }
    if (rig_piece_take(&text, "flags=")) {
        const uint8_t verified = program->flags & RIG_PROGRAM_VERIFY;
        const bool known = bits_of(text, rig_text_program_words(), &program->flags);
        program->flags |= verified; /* verify= says so by itself */
        if (!known) {
            return "flags= and misuse, plan, damage, verify, sweep or numbers up to 255";
        }
        return NULL;
    }
    if (rig_piece_take(&text, "verify=")) {
        program->flags |= RIG_PROGRAM_VERIFY;
        return rig_verify_parse(program->plan, text.at, text.len)
                   ? NULL
                   : "verify= and settings such as leak,heaps,pageheap=full,delayed=4";
    }
    if (!rig_piece_take(&text, "plan=")) {
        return "seed=, flags=, verify= or plan=";
    }
    return parse_plan(program, text);
}

static const char *parse_line(struct rig_program *program, struct rig_piece *token,
                              struct rig_piece rest)
{
    *token = rig_piece_token_take(&rest);
    if (token->len == 0) {
        return NULL;
    }
    if (!rig_piece_is(*token, "program")) {
        return parse_record(program, token, rest);
    }
    if (program->count != 0) {
        return "program before the first operation";
    }
    const char *expected = NULL;
    for (*token = rig_piece_token_take(&rest); token->len != 0;
         *token = rig_piece_token_take(&rest)) {
        expected = parse_setting(program, *token);
        if (expected != NULL) {
            return expected;
        }
    }
    return NULL;
}

/* One line whatever the token holds: bytes that are not plain ASCII are written as numbers. */
static void put_found(struct rig_text_sink *sink, struct rig_piece token)
{
    for (size_t idx = 0; idx < token.len && idx < FOUND_BYTES_MAX; idx++) {
        const unsigned char byte = (unsigned char)token.at[idx];
        const bool plain = byte > 0x20 && byte < 0x7F && byte != '\'' && byte != '\\';
        rig_text_put(sink, plain ? "%c" : "\\x%02X", byte);
    }
    if (token.len > FOUND_BYTES_MAX) {
        rig_text_put(sink, "...");
    }
}

bool rig_text_parse(struct rig_program *program, const char *name, const char *text,
                    size_t len_bytes, char *error, size_t error_bytes)
{
    memset(program, 0, sizeof(*program));
    struct rig_text_sink sink = {.out = error, .out_bytes = error_bytes, .len_bytes = 0};
    if (error_bytes != 0) {
        error[0] = '\0';
    }
    struct rig_piece rest = {.at = text, .len = len_bytes};
    for (size_t number = 1; rest.len != 0; number++) {
        struct rig_piece token = {.at = text, .len = 0};
        struct rig_piece line = rig_piece_cut(&rest, '\n');
        const char *expected = parse_line(program, &token, rig_piece_cut(&line, '#'));
        if (expected != NULL) {
            rig_text_put(&sink, "%s:%zu: expected %s", name, number, expected);
            if (expected == a_name) {
                rig_text_near(&sink, program->records[program->count].op, token);
            }
            rig_text_put(&sink, ", found '");
            put_found(&sink, token);
            rig_text_put(&sink, "'");
            memset(program, 0, sizeof(*program));
            return false;
        }
    }
    return true;
}
