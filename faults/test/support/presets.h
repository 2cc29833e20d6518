/* SPDX-License-Identifier: MIT
 *
 * Heaps of every kind, and on each the scene that a class of misuse needs: as text of a program, so
 * that a failing one can be looked at. Calls the catalogue. */
#ifndef FAULTS_TEST_PRESETS_H
#define FAULTS_TEST_PRESETS_H

#include "faults/catalog.h"

#define PROGRAM_TEXT_MAX 4096u

struct preset {
    const char *name;
    const char *text; /* lines that make heap 1 */
    bool growable;    /* it takes blocks above the threshold */
    bool serializes;
    bool decommits;
    bool terminates; /* on corruption */
};

/* Preset `idx`, NULL past the last. Units: none. Errors: as said. */
const struct preset *preset_at(unsigned idx);

/* Whether a class makes sense on the preset. Units: none. Errors: none. */
bool preset_has(const struct preset *preset, const struct fault_misuse_info *misuse);

/* The program up to the misuse: preset, and what the class needs. Units: bytes. Errors: too little
 * room is asserted. */
void preset_scene(const struct preset *preset, const struct fault_misuse_info *misuse, char *text,
                  size_t text_bytes);

/* So many lines make the misuse with each of its calls, in both spellings, from all contexts, with
 * and without exceptions, and with some addresses each. Line `turn` of them. Units: lines; bytes.
 * Errors: none. */
unsigned preset_turns(const struct fault_misuse_info *misuse);
void preset_line(const struct fault_misuse_info *misuse, unsigned turn, char *line,
                 size_t line_bytes);

#endif
