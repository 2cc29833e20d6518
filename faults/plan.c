/* SPDX-License-Identifier: MIT
 *
 * Plans and their words. */
#include "plan.h"

#include "near.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[FAULT_PLAN_KIND_COUNT] = {
#define FAULT_PLAN_KIND(name, text, what) (text),
#include "plan_kind.def"
};

static const char *const calls[8] = {"reserve", "commit", "decommit", "release",
                                     "protect", "remap",  "lock",     "routine"};

const char *const *fault_plan_calls(void)
{
    return calls;
}

const char *fault_plan_word(unsigned kind)
{
    return kind < FAULT_PLAN_KIND_COUNT ? kinds[kind] : NULL;
}

/* ---- From text ------------------------------------------------------------------------------ */

struct text {
    const char *at;
    size_t len;
};

/* What stands before `separator`; the rest stays. */
static struct text cut(struct text *from, char separator)
{
    const char *end = from->len == 0 ? NULL : memchr(from->at, separator, from->len);
    const size_t len = end == NULL ? from->len : (size_t)(end - from->at);
    const struct text part = {from->at, len};
    const size_t used = end == NULL ? len : len + 1;
    from->at += used;
    from->len -= used;
    return part;
}

static bool is(struct text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

static bool number_of(struct text text, unsigned max, unsigned *number)
{
    *number = 0;
    for (size_t idx = 0; idx < text.len; idx++) {
        if (text.at[idx] < '0' || text.at[idx] > '9') {
            return false;
        }
        *number = *number * 10 + (unsigned)(text.at[idx] - '0');
        if (*number > max) {
            return false;
        }
    }
    return text.len > 0;
}

static bool calls_of(struct text text, uint8_t *bits)
{
    *bits = 0;
    if (is(text, "all")) {
        return true;
    }
    if (text.len == 0 || text.at[text.len - 1] == '+') {
        return false;
    }
    while (text.len > 0) {
        const struct text word = cut(&text, '+');
        unsigned idx = 0;
        while (idx < 8 && !is(word, calls[idx])) {
            idx++;
        }
        if (idx == 8) {
            return false;
        }
        *bits = (uint8_t)(*bits | 1u << idx);
    }
    return true;
}

bool fault_plan_parse(struct fault_plan *plan, const char *text, size_t len_bytes)
{
    struct text rest = {text, len_bytes};
    struct fault_plan made = {0};
    unsigned kind = 0;
    unsigned number = 0;
    const struct text word = cut(&rest, ':');
    if (len_bytes > 0 && text[len_bytes - 1] == ':') {
        return false;
    }
    while (kind < FAULT_PLAN_KIND_COUNT && !is(word, kinds[kind])) {
        kind++;
    }
    if (kind == FAULT_PLAN_KIND_COUNT) {
        return false;
    }
    made.kind = (uint8_t)kind;
    if (rest.len > 0) {
        if (!number_of(cut(&rest, ':'), UINT16_MAX, &number)) {
            return false;
        }
        made.n = (uint16_t)number;
    }
    if (rest.len > 0 && !calls_of(cut(&rest, ':'), &made.calls)) {
        return false;
    }
    if (rest.len > 0) {
        if (!number_of(rest, UINT8_MAX, &number)) {
            return false;
        }
        made.count = (uint8_t)number;
    }
    *plan = made;
    return true;
}

/* ---- To text -------------------------------------------------------------------------------- */

size_t fault_plan_print(const struct fault_plan *plan, char *out)
{
    const char *word = fault_plan_word(plan->kind);
    size_t len = (size_t)snprintf(out, FAULT_PLAN_TEXT_BYTES, "%s:%u", word, plan->n);
    const char *separator = ":";
    for (unsigned idx = 0; idx < 8; idx++) {
        if ((plan->calls >> idx & 1u) != 0) {
            len += (size_t)snprintf(out + len, FAULT_PLAN_TEXT_BYTES - len, "%s%s", separator,
                                    calls[idx]);
            separator = "+";
        }
    }
    if (plan->count != 0) {
        len += (size_t)snprintf(out + len, FAULT_PLAN_TEXT_BYTES - len, "%s:%u",
                                plan->calls == 0 ? ":all" : "", plan->count);
    }
    return len;
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

bool fault_plan_from_bytes(struct fault_plan *plan, const uint8_t bytes[FAULT_PLAN_BYTES])
{
    *plan = (struct fault_plan){0};
    if (bytes[0] >= FAULT_PLAN_KIND_COUNT || (bytes[3] | bytes[6] | bytes[7]) != 0) {
        return false;
    }
    plan->kind = bytes[0];
    plan->calls = bytes[1];
    plan->count = bytes[2];
    plan->n = (uint16_t)(bytes[4] | (unsigned)bytes[5] << 8);
    return true;
}

void fault_plan_to_bytes(const struct fault_plan *plan, uint8_t bytes[FAULT_PLAN_BYTES])
{
    memset(bytes, 0, FAULT_PLAN_BYTES);
    bytes[0] = plan->kind;
    bytes[1] = plan->calls;
    bytes[2] = plan->count;
    bytes[4] = (uint8_t)(plan->n & 0xFFu);
    bytes[5] = (uint8_t)(plan->n >> 8);
}

/* ---- Near names ----------------------------------------------------------------------------- */

void fault_plan_near(const char *text, char *out, size_t out_bytes)
{
    const size_t len = strcspn(text, ":");
    bool any = false;
    for (unsigned kind = 0; kind < FAULT_PLAN_KIND_COUNT; kind++) {
        any = any || fault_near(text, len, kinds[kind]) <= 2;
    }
    size_t used = 0;
    out[0] = '\0';
    for (unsigned kind = 0; kind < FAULT_PLAN_KIND_COUNT && used < out_bytes; kind++) {
        const char *word = kinds[kind];
        if (!any || fault_near(text, len, word) <= 2) {
            used +=
                (size_t)snprintf(out + used, out_bytes - used, "%s%s", used == 0 ? "" : ", ", word);
        }
    }
}
