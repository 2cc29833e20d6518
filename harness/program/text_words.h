/* SPDX-License-Identifier: MIT
 *
 * The words of the text form, shared by its printer and its parser, and the buffer both write to.
 * For those two only. */
#ifndef RIG_TEXT_WORDS_H
#define RIG_TEXT_WORDS_H

#include "program/program.h"

/* How a size kind's number is written: see size_kind.def. */
enum rig_text_form { RIG_TEXT_NUMBER, RIG_TEXT_INDEX, RIG_TEXT_STEP };

struct rig_text_kind {
    const char *word;
    enum rig_text_form form;
};

/* Row `kind` of size_kind.def. Units: none. Errors: none, `kind` is below RIG_SIZE_KIND_COUNT. */
const struct rig_text_kind *rig_text_kind(unsigned kind);

/* Names of the eight bits of `flags` for the operation, lowest first; NULL where they have none.
 * Units: none. Errors: none. */
const char *const *rig_text_flag_words(unsigned op);

/* The same for the bits of `arg`; bits without a name are NULL. Units: none. Errors: none. */
const char *const *rig_text_arg_words(unsigned op);

/* Names of the bits of a program's own flags, lowest first. Units: none. Errors: none. */
const char *const *rig_text_program_words(void);

/* For operations whose argument chooses one of a list (a class of fault, a kind of plan): the word of
 * number `arg`, NULL past the last one and for other operations. Units: none. Errors: as said. */
const char *rig_text_choice(unsigned op, unsigned arg);

/* Word of a context, 0 to 3. Units: none. Errors: none. */
const char *rig_text_context_word(unsigned context);

/* True when the name of the call says which operation is meant and how it is spelled: it has both
 * spellings and no word of its own. Units: none. Errors: none. */
bool rig_text_call_tells(unsigned op);

/* True when the operation is written by its own word but makes a call with two spellings.
 * Units: none. Errors: none. */
bool rig_text_word_hides(unsigned op);

/* A buffer as snprintf sees it: `len_bytes` goes on growing where `out` is full. */
struct rig_text_sink {
    char *out;
    size_t out_bytes;
    size_t len_bytes;
};

/* Append; `out` ends with a NUL whenever it has room for one. Units: none. Errors: none. */
__attribute__((format(printf, 2, 3))) void rig_text_put(struct rig_text_sink *sink,
                                                        const char *format, ...);

#endif
