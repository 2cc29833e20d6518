/* SPDX-License-Identifier: MIT
 *
 * Names near to a word: by the letters that have to be put in, taken out or changed, where a name
 * that begins with the word is nearer than any other. */
#include "program/text_near.h"

#include <string.h>

#define NAME_BYTES_MAX 40u /* what is longer is cut: no name is */
#define NEAR_COUNT 3u

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned distance(struct rig_piece token, const char *name)
{
    const size_t token_len = token.len < NAME_BYTES_MAX ? token.len : NAME_BYTES_MAX;
    const size_t name_len = strnlen(name, NAME_BYTES_MAX);
    unsigned row[NAME_BYTES_MAX + 1];
    if (token_len > 0 && name_len > token_len && memcmp(token.at, name, token_len) == 0) {
        return 0;
    }
    for (unsigned at = 0; at <= name_len; at++) {
        row[at] = at;
    }
    for (unsigned letter = 0; letter < token_len; letter++) {
        unsigned corner = row[0]; /* of the row above, one to the left */
        row[0] = letter + 1;
        for (unsigned at = 1; at <= name_len; at++) {
            const unsigned change = corner + (token.at[letter] != name[at - 1]);
            corner = row[at];
            row[at] = least(change, least(row[at], row[at - 1]) + 1);
        }
    }
    return row[name_len];
}

/* The nearest name that is not among the first `count` of `taken`, or NULL. */
static const char *nearest(unsigned op, struct rig_piece token, const char *const *taken,
                           unsigned count)
{
    const char *found = NULL;
    unsigned best = UINT32_MAX;
    for (unsigned arg = 0; rig_text_choice(op, arg) != NULL; arg++) {
        const char *name = rig_text_choice(op, arg);
        bool is_taken = false;
        for (unsigned idx = 0; idx < count; idx++) {
            is_taken = is_taken || taken[idx] == name;
        }
        const unsigned away = distance(token, name);
        if (!is_taken && away < best) {
            best = away;
            found = name;
        }
    }
    return found;
}

void rig_text_near(struct rig_text_sink *sink, unsigned op, struct rig_piece token)
{
    const char *names[NEAR_COUNT];
    unsigned count = 0;
    while (count < NEAR_COUNT && (names[count] = nearest(op, token, names, count)) != NULL) {
        count++;
    }
    for (unsigned idx = 0; idx < count; idx++) {
        rig_text_put(sink, "%s%s", idx == 0 ? "" : idx + 1 == count ? " or " : ", ", names[idx]);
    }
}
