/* SPDX-License-Identifier: MIT
 *
 * What core reads from outside, as inputs of text_fuzzer: settings of the verifier, files of
 * modules and their names. Each function reads one input and checks what must hold of the answer.
 */
#ifndef RIG_TARGETS_CORE_PARSERS_H
#define RIG_TARGETS_CORE_PARSERS_H

#include <stddef.h>
#include <stdint.h>

#define RIG_SETTINGS_BEGIN "NTHEAP_VERIFIER="
#define RIG_IMAGE_BEGIN                                                                            \
    "\x7f"                                                                                         \
    "ELF"
#define RIG_NAME_BEGIN "module="

/* Settings behind RIG_SETTINGS_BEGIN: what is read is in range and the same when it is written and
 * read again; an error tells the place, up to which all was well. Units: bytes. Errors: none. */
void rig_read_settings(const uint8_t *bytes, size_t len);

/* An ELF file, searched by offsets that stand in it and by the names that come of it: names lie in
 * the file, distances and ranges fit, and nothing is found in a file with another build ID.
 * Units: bytes. Errors: none. */
void rig_read_image(const uint8_t *bytes, size_t len);

/* A module's name, or a list of them, behind RIG_NAME_BEGIN: UTF-8 becomes UTF-16, other bytes
 * stay. Units: bytes. Errors: none. */
void rig_read_name(const uint8_t *bytes, size_t len);

#endif
