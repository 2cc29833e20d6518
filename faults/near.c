/* SPDX-License-Identifier: MIT
 *
 * The distance of two words, a row of the table at a time. */
#include "near.h"

#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned fault_near(const char *word, size_t len, const char *name)
{
    const size_t word_len = len < FAULT_NEAR_BYTES_MAX ? len : FAULT_NEAR_BYTES_MAX;
    const size_t name_len = strnlen(name, FAULT_NEAR_BYTES_MAX);
    unsigned row[FAULT_NEAR_BYTES_MAX + 1];
    for (unsigned at = 0; at <= name_len; at++) {
        row[at] = at;
    }
    for (unsigned letter = 0; letter < word_len; letter++) {
        unsigned corner = row[0]; /* of the row above, one to the left */
        row[0] = letter + 1;
        for (unsigned at = 1; at <= name_len; at++) {
            const unsigned change = corner + (word[letter] != name[at - 1]);
            corner = row[at];
            row[at] = least(change, least(row[at], row[at - 1]) + 1);
        }
    }
    return row[name_len];
}
