/* SPDX-License-Identifier: MIT
 *
 * The words of the text form. Calls the table of operations. */
#include "program/text_words.h"

#include "faults/catalog.h"
#include "faults/plan.h"
#include "program/verify.h"
#include "run/check.h"

#include <stdarg.h>
#include <stdio.h>

static const struct rig_text_kind kinds[RIG_SIZE_KIND_COUNT] = {
#define RIG_SIZE_KIND(name, text, form) [RIG_SIZE_##name] = {(text), RIG_TEXT_##form},
#include "program/size_kind.def"
};

/* In the order of the bits: RIG_FLAG_*, RIG_CREATE_*, RIG_CREATE_ARG_*. */
static const char *const call_flags[8] = {"no-serialize", "exceptions", "zero",       "in-place",
                                          "user-value",   "user-flag1", "user-flag3", "odd"};
static const char *const create_flags[8] = {"no-serialize", "exceptions", "fixed",
                                            "no-coalesce",  "align-16",   "execute",
                                            "parameters",   "odd"};
static const char *const create_args[8] = {"base", "routine", "lock"};
static const char *const program_flags[8] = {
    "misuse", "plan", "damage", "verify", NULL, NULL, NULL, "sweep"};
static const char *const no_words[8] = {NULL};

static const char *const contexts[4] = {
    [RIG_CONTEXT_PLAIN] = "plain",
    [RIG_CONTEXT_FILTER] = "filter",
    [RIG_CONTEXT_CONTINUE] = "continue",
    [RIG_CONTEXT_LOCKED] = "locked",
};

const struct rig_text_kind *rig_text_kind(unsigned kind)
{
    RIG_CHECK(kind < RIG_SIZE_KIND_COUNT);
    return &kinds[kind];
}

const char *const *rig_text_flag_words(unsigned op)
{
    /* The flags of an exception are no heap flags. */
    if (op == RIG_OP_RAISE || op == RIG_OP_DAMAGE) {
        return no_words;
    }
    if (op == RIG_OP_PLAN) {
        return fault_plan_calls();
    }
    return op == RIG_OP_CREATE ? create_flags : call_flags;
}

const char *const *rig_text_arg_words(unsigned op)
{
    return op == RIG_OP_CREATE ? create_args : no_words;
}

const char *const *rig_text_program_words(void)
{
    return program_flags;
}

const char *rig_text_choice(unsigned op, unsigned arg)
{
    const struct fault_misuse_info *misuse = op == RIG_OP_MISUSE ? fault_misuse_info(arg) : NULL;
    const struct fault_damage_info *damage = op == RIG_OP_DAMAGE ? fault_damage_info(arg) : NULL;
    if (misuse != NULL) {
        return misuse->name;
    }
    if (damage != NULL) {
        return damage->name;
    }
    if (op == RIG_OP_VERIFY) {
        return rig_verify_word(arg);
    }
    return op == RIG_OP_PLAN ? fault_plan_word(arg) : NULL;
}

const char *rig_text_context_word(unsigned context)
{
    RIG_CHECK(context < 4);
    return contexts[context];
}

static bool two_spellings(unsigned op)
{
    const struct rig_op_info *info = rig_op_info(op);
    return info->rtl != NULL && info->win32 != NULL;
}

bool rig_text_call_tells(unsigned op)
{
    return two_spellings(op) && rig_op_info(op)->text[0] == '\0';
}

bool rig_text_word_hides(unsigned op)
{
    return two_spellings(op) && rig_op_info(op)->text[0] != '\0';
}

void rig_text_put(struct rig_text_sink *sink, const char *format, ...)
{
    const bool fits = sink->len_bytes < sink->out_bytes;
    char *at = fits ? &sink->out[sink->len_bytes] : NULL;
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE: the analyzer does not see va_start */
    const int len = vsnprintf(at, fits ? sink->out_bytes - sink->len_bytes : 0, format, arguments);
    va_end(arguments);
    RIG_CHECK(len >= 0);
    sink->len_bytes += (size_t)len;
}
