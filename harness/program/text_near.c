/* SPDX-License-Identifier: MIT
 *
 * Names near to a word: by the letters that have to be put in, taken out or changed, where a name
 * that begins with the word is nearer than any other. */
#include "program/text_near.h"

#include "faults/near.h"

#include <string.h>

#define NEAR_COUNT 3u

static unsigned distance(struct rig_piece token, const char *name)
{
    const bool begins = strlen(name) > token.len && memcmp(token.at, name, token.len) == 0;
    return begins && token.len > 0 ? 0 : fault_near(token.at, token.len, name);
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
