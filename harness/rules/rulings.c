/* SPDX-License-Identifier: MIT
 *
 * The sentences of core's rulings, out of the tables of core/SOURCES.md, which the build embeds: a
 * row is "| D36 | sentence | what it settles | who demands it |". */
#include "contract.h"

#include <string.h>

/* Made from core/SOURCES.md by the build, see embed.cmake. */
extern const unsigned char rig_rulings_bytes[];
extern const size_t rig_rulings_bytes_len;

/* What stands between two bars, without the blanks around it. */
static struct rig_piece cell_take(struct rig_piece *line)
{
    struct rig_piece cell = rig_piece_cut(line, '|');
    while (rig_piece_head(cell) == ' ') {
        cell = rig_piece_skip(cell, 1);
    }
    while (cell.len > 0 && cell.at[cell.len - 1] == ' ') {
        cell.len--;
    }
    return cell;
}

bool rig_ruling_find(const char *id, struct rig_ruling *ruling)
{
    struct rig_piece text = {(const char *)rig_rulings_bytes, rig_rulings_bytes_len};
    while (text.len > 0) {
        struct rig_piece line = rig_piece_cut(&text, '\n');
        if (rig_piece_take(&line, "|") && rig_piece_is(cell_take(&line), id)) {
            ruling->sentence = cell_take(&line);
            ruling->settles = cell_take(&line);
            return ruling->sentence.len > 0;
        }
    }
    return false;
}
