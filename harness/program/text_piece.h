/* SPDX-License-Identifier: MIT
 *
 * Parts of a text: any bytes with a length, looked at from left to right and never past the end.
 * For text_parse.c. */
#ifndef RIG_TEXT_PIECE_H
#define RIG_TEXT_PIECE_H

#include <stdbool.h>
#include <stddef.h>

struct rig_piece {
    const char *at;
    size_t len;
};

/* The whole piece is `word`; never when that is NULL. Units: none. Errors: none. */
bool rig_piece_is(struct rig_piece piece, const char *word);

/* What is left without its first `len` characters. Units: bytes. Errors: none. */
struct rig_piece rig_piece_skip(struct rig_piece piece, size_t len);

/* The first character, and NUL at the end. Units: none. Errors: none. */
char rig_piece_head(struct rig_piece piece);

/* Value of a hexadecimal digit, 16 for what is none. Units: none. Errors: none. */
unsigned rig_piece_digit(char character);

/* Take what stands before the first `separator`, and the separator; without one, all. Units: none.
 * Errors: none. */
struct rig_piece rig_piece_cut(struct rig_piece *piece, char separator);

/* Take `prefix` from the front; false when something else is there. Units: none. Errors: none. */
bool rig_piece_take(struct rig_piece *piece, const char *prefix);

/* Take the next token, what stands between white space; its length is 0 at the end. Units: none.
 * Errors: none. */
struct rig_piece rig_piece_token_take(struct rig_piece *piece);

/* Take a number, decimal or hexadecimal behind 0x. Units: none. Errors: false when there is none or
 * it is above `max`, which is at most 65535. */
bool rig_piece_number_take(struct rig_piece *piece, unsigned max, unsigned *number);

/* The whole piece is such a number. Units: none. Errors: false. */
bool rig_piece_number_is(struct rig_piece piece, unsigned max, unsigned *number);

/* Take a step of -half to half - 1, whose sign may be left out, as two's complement of 2 * half
 * values. Units: none. Errors: false when there is none. */
bool rig_piece_step_take(struct rig_piece *piece, unsigned half, unsigned *step);

#endif
