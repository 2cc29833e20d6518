/* SPDX-License-Identifier: MIT
 *
 * How far a word is from a name, for errors that list the near ones. */
#ifndef FAULTS_NEAR_H
#define FAULTS_NEAR_H

#include <stddef.h>

#define FAULT_NEAR_BYTES_MAX 40u /* what is longer is cut: no name is */

/* Letters that have to be put in, taken out or changed to make the first `len` bytes of `word` into
 * `name`. Units: letters. Errors: none. */
unsigned fault_near(const char *word, size_t len, const char *name);

#endif
