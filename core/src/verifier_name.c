/* SPDX-License-Identifier: MIT
 *
 * Names of modules: lists of them, and their UTF-16. Calls nothing of core. */
#include "verifier.h"

#include <string.h>

bool nth_names_have(const char *list, const char *name)
{
    const size_t len = strlen(name);
    for (const char *at = list; *at != '\0';) {
        const size_t part = strcspn(at, "+");
        if ((part == 1 && *at == '*') || (part == len && memcmp(at, name, len) == 0)) {
            return true;
        }
        at += part;
        at += *at == '+';
    }
    return false;
}

/* The code of several bytes that begins here, and how many more they are; 0 where there is none: a
 * code has no more bytes than it takes, and a half of a surrogate is none. */
static unsigned sequence(const uint8_t *at, uint32_t *code)
{
    static const uint32_t least[4] = {0, 0x80u, 0x800u, 0x10000u};
    const unsigned more = at[0] >= 0xF0u ? 3u : at[0] >= 0xE0u ? 2u : at[0] >= 0xC0u ? 1u : 0u;
    uint32_t made = at[0] & (0x3Fu >> more);
    for (unsigned idx = 1; idx <= more; idx++) {
        if ((at[idx] & 0xC0u) != 0x80u) {
            return 0;
        }
        made = made << 6 | (at[idx] & 0x3Fu);
    }
    if (more == 0 || at[0] >= 0xF8u || made < least[more] || made > 0x10FFFFu ||
        (made >= 0xD800u && made <= 0xDFFFu)) {
        return 0;
    }
    *code = made;
    return more;
}

void nth_name_widen(const char *name, USHORT *wide)
{
    for (const uint8_t *at = (const uint8_t *)name; *at != 0; at++) {
        uint32_t code = *at;
        at += sequence(at, &code);
        if (code >= 0x10000u) {
            code -= 0x10000u;
            *wide++ = (USHORT)(0xD800u | code >> 10);
            code = 0xDC00u | (code & 0x3FFu);
        }
        *wide++ = (USHORT)code;
    }
    *wide = 0;
}
