/* SPDX-License-Identifier: MIT
 *
 * What the files share that write C: given.c what a call gave, argument.c what
 * it was passed, call.c calls, emit.c the program around them. */
#ifndef RIG_EXPORT_EMIT_INTERNAL_H
#define RIG_EXPORT_EMIT_INTERNAL_H

#include "emit.h"

#include "run/check.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_BYTES ((uintptr_t)256 << 20) /* of the arena, in the rig and in pieces.txt */
#define BASE_BYTES ((uintptr_t)0x40000)
#define OBJECT_MAX 8192u
#define SECTION_MAX 16u
#define ENTRY_MAX 16u
#define NEAR_BYTES ((uintptr_t)64 << 20)
#define AROUND_BYTES 64u
#define TEXT_MAX 8192u
#define WALK_MAX 8192u

struct text {
    char *out;
    size_t bytes;
    size_t len;
};

/* An entry that a walk filled. */
struct entry {
    uintptr_t address;
    size_t bytes;
    unsigned overhead;
    unsigned idx;
    unsigned flags;
};

struct object {
    uintptr_t address;
    size_t bytes;
    uint32_t stamp;
    bool filled; /* holds what the program wrote */
    char name[24];
};

struct emit {
    const struct tape *tape;
    const struct rig_program *program;
    bool seam;
    FILE *globals;
    FILE *functions;
    FILE *body;
    FILE *code; /* body, or a function of the second thread */
    char *text[3];
    size_t text_bytes[3];
    struct object objects[OBJECT_MAX];
    size_t object_count;
    unsigned instances[RIG_SLOT_COUNT];
    unsigned heap_instances[RIG_HEAP_COUNT];
    char heap_names[RIG_HEAP_COUNT][24];
    bool misused; /* the step in progress is a misuse */
    unsigned more_count;
    unsigned outside_count;
    uintptr_t bases[RIG_HEAP_COUNT];
    unsigned base_count;
    uintptr_t sections[SECTION_MAX];
    unsigned section_count;
    uintptr_t entries[ENTRY_MAX]; /* walks in progress, by the address of their entry */
    char entry_kinds[ENTRY_MAX];
    size_t entry_after[ENTRY_MAX]; /* what is in them, in the tape's bytes */
    unsigned entry_count;
    bool uses_out, uses_user_flags;
    bool uses_summary, uses_information, uses_array, uses_parameters;
    bool uses_walk_rtl, uses_walk_win32, uses_fill, uses_differs, uses_routine, uses_listing;
    bool uses_handler_handle, uses_balance, uses_thread, uses_wait, uses_filter;
    bool uses_refuse, uses_call, uses_length, uses_raise;
    const char *lack;
};

/* Text, as snprintf appends it. */
__attribute__((format(printf, 2, 3))) void rig_emit_put(struct text *text, const char *format, ...);

/* Bytes of the tape, and words in them. */
const uint8_t *rig_emit_at(const struct tape *tape, size_t offset);
uintptr_t rig_emit_word_at(const struct tape *tape, size_t offset, size_t idx);
uint32_t rig_emit_half_at(const struct tape *tape, size_t offset, size_t idx);

/* How far an address is into the memory that callers brought; false: it is not
 * in it. */
bool rig_emit_base_of(const struct tape *tape, uintptr_t address, uintptr_t *distance);
bool rig_emit_in_arena(const struct tape *tape, uintptr_t address);
void rig_emit_put_place(struct text *text, const struct tape *tape, bool places, uintptr_t address);
struct entry rig_emit_entry_of(const struct tape *tape, const struct tape_call *call,
                               size_t offset);

/* The variable that holds this address, or NULL; a new one. */
struct object *rig_emit_object_exact(struct emit *emit, uintptr_t address);
struct object *rig_emit_object_add(struct emit *emit, uintptr_t address, const char *name);

/* An address in C; `before_at`: what stood around it, when that is known. */
void rig_emit_put_address(struct emit *emit, struct text *text, uintptr_t address,
                          size_t before_at);

/* What one parameter is in C. Statements that it needs in front go to the code.
 */
void rig_emit_put_argument(struct emit *emit, struct text *text, const struct tape_call *call,
                           size_t idx);

/* The variables of a walk's entry and of a critical section. */
unsigned rig_emit_entry_of_walk(struct emit *emit, uintptr_t address, char kind);
unsigned rig_emit_section_of(struct emit *emit, uintptr_t address);
void rig_emit_call_write(struct emit *emit, const struct tape_step *step,
                         const struct tape_call *call, bool marked);

/* A call with its arguments in C; the whole statement around it. */
void rig_emit_arguments_put(struct emit *emit, struct text *text, const struct tape_call *call);

/* How many calls from `idx` on are one walk from its beginning; what they gave;
 * the same in C. */
size_t rig_emit_walk_length(const struct tape *tape, const struct tape_step *step, size_t idx);
void rig_emit_walk_given(const struct emit *emit, size_t from, size_t count, struct text *text);
void rig_emit_walk_write(struct emit *emit, const struct tape_step *step, size_t from,
                         size_t count);

/* What is no call: writes into blocks and metadata, what memory is refused. */
void rig_emit_service_write(struct emit *emit, const struct tape_step *step,
                            const struct tape_call *call);

/* The piece of the callers' memory that a heap of that number has,
 * RIG_HEAP_COUNT: none. */
unsigned rig_emit_memory_of(const struct emit *emit, unsigned heap_idx);

#endif
