/* SPDX-License-Identifier: MIT
 *
 * What the files of the executor share: exec.c the loop, resolve.c which object a record means,
 * call.c one guarded call, do_*.c the operations. */
#ifndef RIG_RUN_EXEC_INTERNAL_H
#define RIG_RUN_EXEC_INTERNAL_H

#include "check.h"
#include "exec.h"

#include "../model/pattern.h"

#include <stdlib.h>
#include <string.h>

/* Keys are numbers of 32 bits. */
#define HASH_FUNCTION(key, key_bytes, hash)                                                        \
    do {                                                                                           \
        uint32_t rig_key_;                                                                         \
        memcpy(&rig_key_, (key), sizeof(rig_key_));                                                \
        (hash) = (rig_key_ ^ rig_key_ >> 15) * 0x9E3779B1u;                                        \
    } while (0)
#include <uthash.h>

/* For the few places that read what a sanitizer holds to be none of the rig's business. */
#ifdef __clang__
#define RIG_UNSANITIZED __attribute__((no_sanitize("address", "memory", "alignment")))
#else
#define RIG_UNSANITIZED __attribute__((no_sanitize("address", "alignment")))
#endif

#define RIG_BASE_BYTES 0x40000u /* memory for one heap whose caller brings it */

/* A block of the executor: the model's part and where it is found. */
struct rig_named {
    struct rig_block block; /* first: the model hands back pointers to it */
    bool live;
    UT_hash_handle by_name; /* streams only */
};

/* How a heap's CommitRoutine behaves. Modes past RIG_ROUTINE_REFUSE_ONCE only for subjects held to
 * the rulings, which say what each leads to. */
enum rig_routine_mode {
    RIG_ROUTINE_GRANT,
    RIG_ROUTINE_REFUSE,
    RIG_ROUTINE_REFUSE_ONCE,
    RIG_ROUTINE_GRANT_MORE,
    RIG_ROUTINE_GRANT_LESS,
    RIG_ROUTINE_ELSEWHERE,
    RIG_ROUTINE_RAISE,
    RIG_ROUTINE_REENTER,
    RIG_ROUTINE_MODE_COUNT
};

#define RIG_ROUTINE_CODE 0xE0524947u /* what a routine raises */

struct rig_cursor {
    bool live;
    bool win32;
    uint8_t heap;
    uint64_t changes;  /* of the heap when the last step was made */
    size_t busy_count; /* busy elements found */
    bool mixed;        /* another cursor went on in the same heap */
    PROCESS_HEAP_ENTRY entry;
    RTL_HEAP_WALK_ENTRY rtl_entry;
};

#define RIG_GONE_MAX 64u /* destroyed heaps whose addresses are not given out again */

struct rig_section {
    bool live;
    unsigned depth;
    unsigned users; /* heaps whose lock it is */
    CRITICAL_SECTION section;
};

struct rig_exec {
    struct rig_options options;
    const struct rig_subject *subject;
    struct rig_shadow shadow;
    struct rig_judge judge;
    struct rig_verdict verdict;
    const struct rig_program *program;
    bool offered[RIG_OP_COUNT][2]; /* the subject has the Rtl, the Win32 spelling */

    struct rig_named slots[RIG_SLOT_COUNT];
    struct rig_named *stream;          /* by name */
    size_t hole_bytes[RIG_SLOT_COUNT]; /* size of the block last freed under the name */
    size_t last_bytes;

    RTL_HEAP_PARAMETERS parameters; /* gathered by PARAMETER */
    bool has_parameters;
    struct {
        enum rig_routine_mode mode;
        size_t grants; /* before the mode sets in */
        size_t committed_bytes;
    } routines[RIG_HEAP_COUNT];
    uint64_t changes[RIG_HEAP_COUNT]; /* calls that may have changed the heap */
    struct rig_cursor cursors[RIG_CURSOR_COUNT];
    struct rig_section sections[RIG_SECTION_COUNT];
    PVOID handlers[RIG_HANDLER_COUNT];
    char *bases; /* RIG_HEAP_COUNT pieces of RIG_BASE_BYTES */
    struct rig_walk walk;
    uint64_t walk_sum;                /* of the last whole walk, see rig_do_WALK */
    HANDLE gone[RIG_GONE_MAX];        /* handles of destroyed heaps, a ring */
    uint64_t gone_made[RIG_GONE_MAX]; /* and how many heaps had been made by then */
    unsigned gone_count;
    uintptr_t freed[RIG_HEAP_COUNT]; /* END: the block freed last, or 0 */
    uintptr_t idle;                  /* CHECK: an element of the heap that is not busy, or 0 */
    struct rig_step step;

    /* The call in progress, for filters, routines and handlers. */
    void (*body)(void *exec);
    unsigned filter_runs;
    bool filter_used_heap;
    unsigned routine_runs;
    unsigned handler_runs;
    bool starved;
    bool routine_odd;
    bool routine_raised;
    unsigned reentries;
};

/* The executor whose call is in progress: routines and handlers have no context argument. */
extern struct rig_exec *rig_exec_now;

/* resolve.c: fill step->heap, block, name, flags, size from the record; step->nothing where no
 * object fits. */
void rig_resolve(struct rig_exec *exec, const struct rig_record *record, struct rig_step *step);
const char *rig_step_call(enum rig_op op, bool win32);

/* call.c: one guarded call of `body`, which writes step->outcome.value. */
void rig_call(struct rig_exec *exec, struct rig_step *step, void (*body)(void *exec));
/* A call that is no operation of its own: a query beside one. FALSE when it raised. */
bool rig_call_aside(struct rig_exec *exec, void (*body)(void *context), void *context);

/* hand.c: the second thread. Runs body(exec) there and waits until it is done. When it waits for a
 * lock meanwhile, let_go(exec) is called once in this thread and take_again(exec) when the body is
 * done. Returns whether it waited. */
bool rig_hand_run(struct rig_exec *exec, void (*body)(struct rig_exec *exec),
                  void (*let_go)(struct rig_exec *exec), void (*take_again)(struct rig_exec *exec));

/* Called in a thread that is about to wait for a lock. */
void rig_hand_waits(void);

/* do_look.c: walk a heap aside, in the Rtl spelling where there is one; NULL when there is neither.
 */
struct rig_walk *rig_walk_aside(struct rig_exec *exec, HANDLE heap);

/* see_heaps.c: all that can be seen of a new heap; its sums, as body of a guarded call; that the
 * caller's memory is still his; remembering the handle of a heap that is gone. */
void rig_see_made(struct rig_exec *exec, struct rig_step *step);
void rig_see_sums(void *exec);
bool rig_see_base(struct rig_exec *exec, const struct rig_heap *heap);
void rig_see_gone(struct rig_exec *exec, HANDLE handle);

/* Judge the step, tell the watcher. False when a clause does not hold; does not return then when
 * findings abort. */
bool rig_judge(struct rig_exec *exec, struct rig_step *step);

/* The process heap's handle is known, or could not be had. */
bool rig_process_heap(struct rig_exec *exec);

/* blocks.c */
size_t rig_query_size(struct rig_exec *exec, const struct rig_step *step, HANDLE heap,
                      uintptr_t address, bool *known);

/* see_blocks.c: after an exception, whether it left the heap locked; after a failure, other blocks
 * and what room there was; a block's user information. */
void rig_see_lock(struct rig_exec *exec, struct rig_step *step);
void rig_see_failure(struct rig_exec *exec, struct rig_step *step);
void rig_see_user(struct rig_exec *exec, struct rig_step *step);

/* memory_*.c: RIG_HEAP_COUNT * RIG_BASE_BYTES of address space, aligned to 64 KiB; access to part
 * of it; forgetting its contents. */
char *rig_memory_reserve(size_t bytes);
void rig_memory_release(char *base, size_t bytes);
bool rig_memory_open(char *base, size_t bytes);
void rig_memory_close(char *base, size_t bytes);

/* The operations: make the call, see, judge, tell the model. False: finding. */
typedef bool (*rig_perform)(struct rig_exec *exec, struct rig_step *step);
#define RIG_OP(name, text, rtl, win32, state, weight, operands)                                    \
    bool rig_do_##name(struct rig_exec *exec, struct rig_step *step);
#include "../program/op.def"

/* A look at everything, and the end of a run. False: finding. */
bool rig_check_all(struct rig_exec *exec, enum rig_phase phase);
bool rig_finish(struct rig_exec *exec);

#endif
