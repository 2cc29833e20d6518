/* SPDX-License-Identifier: MIT
 *
 * Parts of a text. Calls nothing. */
#include "program/text_piece.h"

#include <string.h>

char rig_piece_head(struct rig_piece piece)
{
    if (piece.len == 0) {
        return '\0';
    }
    return piece.at[0];
}

bool rig_piece_is(struct rig_piece piece, const char *word)
{
    return word != NULL && piece.len == strlen(word) && memcmp(piece.at, word, piece.len) == 0;
}

struct rig_piece rig_piece_skip(struct rig_piece piece, size_t len)
{
    return (struct rig_piece){.at = piece.at + len, .len = piece.len - len};
}

struct rig_piece rig_piece_cut(struct rig_piece *piece, char separator)
{
    const char *end = piece->len != 0 ? memchr(piece->at, separator, piece->len) : NULL;
    const size_t len = end != NULL ? (size_t)(end - piece->at) : piece->len;
    const struct rig_piece cut = {.at = piece->at, .len = len};
    *piece = rig_piece_skip(*piece, end != NULL ? len + 1 : len);
    return cut;
}

bool rig_piece_take(struct rig_piece *piece, const char *prefix)
{
    const size_t len = strlen(prefix);
    if (piece->len < len || memcmp(piece->at, prefix, len) != 0) {
        return false;
    }
    *piece = rig_piece_skip(*piece, len);
    return true;
}

unsigned rig_piece_digit(char character)
{
    static const char lower[] = "0123456789abcdef";
    static const char upper[] = "0123456789ABCDEF";
    unsigned value = 0;
    while (value < 16 && lower[value] != character && upper[value] != character) {
        value++;
    }
    return value;
}

bool rig_piece_number_take(struct rig_piece *piece, unsigned max, unsigned *number)
{
    const unsigned base = rig_piece_take(piece, "0x") ? 16 : 10;
    bool any = false;
    *number = 0;
    while (piece->len != 0 && rig_piece_digit(piece->at[0]) < base) {
        *number = *number * base + rig_piece_digit(piece->at[0]);
        if (*number > max) {
            return false;
        }
        *piece = rig_piece_skip(*piece, 1);
        any = true;
    }
    return any;
}

bool rig_piece_number_is(struct rig_piece piece, unsigned max, unsigned *number)
{
    return rig_piece_number_take(&piece, max, number) && piece.len == 0;
}

bool rig_piece_step_take(struct rig_piece *piece, unsigned half, unsigned *step)
{
    const bool minus = rig_piece_head(*piece) == '-';
    if (minus || rig_piece_head(*piece) == '+') {
        *piece = rig_piece_skip(*piece, 1);
    }
    unsigned number = 0;
    if (!rig_piece_number_take(piece, minus ? half : half - 1, &number)) {
        return false;
    }
    *step = minus ? (2 * half - number) % (2 * half) : number;
    return true;
}

static bool is_space(char character)
{
    return character == ' ' || character == '\t' || character == '\r';
}

struct rig_piece rig_piece_token_take(struct rig_piece *piece)
{
    while (piece->len != 0 && is_space(piece->at[0])) {
        *piece = rig_piece_skip(*piece, 1);
    }
    size_t len = 0;
    while (len < piece->len && !is_space(piece->at[len])) {
        len++;
    }
    const struct rig_piece token = {.at = piece->at, .len = len};
    *piece = rig_piece_skip(*piece, len);
    return token;
}
