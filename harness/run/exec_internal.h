/* SPDX-License-Identifier: MIT
 *
 * What the files of the executor share: exec.c the loop, resolve.c which object a record means,
 * call.c one guarded call, do_*.c the operations. */
#ifndef RIG_RUN_EXEC_INTERNAL_H
#define RIG_RUN_EXEC_INTERNAL_H

#include "check.h"
#include "damages.h"
#include "exec.h"

#include "../model/pattern.h"
#include "../model/watch.h"

#include "faults/plan.h"

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

/* A block that is gone, by the name that it had. */
struct rig_gone_block {
    uintptr_t address; /* 0: none */
    uint64_t made;     /* ordinal of its heap */
    uint64_t order;    /* of its freeing, counted from 1 */
    uint8_t heap;
    bool large; /* it had a reservation of its own */
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

#define RIG_STARTS_MAX 4096u

#define RIG_WORDED_CODES 64u

/* What was looked at in words in this run. */
struct rig_worded {
    uint8_t stops[RIG_WORDED_CODES]; /* by code, counted around */
    bool stacks;
    unsigned reports;
};

/* Plans of this run, and what they led to. */
struct rig_planning {
    struct fault_plan over;         /* laid over each run; kind NONE: none */
    uint32_t look;                  /* the call around which to look, or RIG_LOOK_ALWAYS */
    struct fault_plan own_plan;     /* set by the program last */
    unsigned own;                   /* so many calls more to look at, for a plan of the program's */
    unsigned crowd_heaps;           /* of crowds, in this run */
    uint32_t calls;                 /* made by rig_call in this run */
    uint64_t sounded_count;         /* elements that were walked around calls */
    bool again;                     /* the record is made once more */
    bool again_known;               /* and without faults it was served */
    uint32_t refused_idx;           /* 1 + the first such record of a plan for good; 0: none */
    RTL_HEAP_PARAMETERS parameters; /* as they were before the record */
    bool has_parameters;
    size_t last_bytes;
    uint32_t starts[RIG_STARTS_MAX];   /* page calls before each call, in that run */
    bool served[RIG_RECORD_COUNT_MAX]; /* how records ended in the last run without faults */
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
    struct rig_gone_block gone_blocks[RIG_SLOT_COUNT]; /* freed last under the name */
    uint64_t freed_count;                              /* blocks freed in all */
    uintptr_t gone_block;         /* a block of the heap destroyed last, or 0 */
    bool unwound[RIG_HEAP_COUNT]; /* a call on it was interrupted: it is out of use */
    bool ended;    /* the subject asked for the end of the process: the program ends there */
    char *scratch; /* MISUSE: memory of another allocator, made when first needed */

    RTL_HEAP_PARAMETERS parameters; /* gathered by PARAMETER */
    bool has_parameters;
    struct {
        enum rig_routine_mode mode;
        size_t grants; /* before the mode sets in */
        size_t committed_bytes;
    } routines[RIG_HEAP_COUNT];
    uint64_t changes[RIG_HEAP_COUNT]; /* calls that may have changed the heap */
    uint64_t zeroed_bytes;            /* of free memory, by RtlZeroHeap, all calls together */
    uint64_t others_bytes;            /* of blocks that were compared after failures */
    bool damaged[RIG_HEAP_COUNT];     /* on purpose, since the heap was made */
    struct rig_damages damages;
    struct rig_planning planning;
    struct rig_cursor cursors[RIG_CURSOR_COUNT];
    struct rig_section sections[RIG_SECTION_COUNT];
    PVOID handlers[RIG_HANDLER_COUNT];
    uint8_t handler_kinds[RIG_HANDLER_COUNT];
    uint8_t handler_order[RIG_HANDLER_COUNT]; /* in which they are asked: names */
    unsigned handler_count;
    char *bases; /* RIG_HEAP_COUNT pieces of RIG_BASE_BYTES */
    struct rig_walk walk;
    uint64_t walk_sum;                /* of the last whole walk, see rig_do_WALK */
    HANDLE gone[RIG_GONE_MAX];        /* handles of destroyed heaps, a ring */
    uint64_t gone_made[RIG_GONE_MAX]; /* and how many heaps had been made by then */
    unsigned gone_count;
    uintptr_t freed[RIG_HEAP_COUNT]; /* END: the block freed last, or 0 */
    uintptr_t idle;                  /* CHECK: an element of the heap that is not busy, or 0 */
    struct rig_step step;
    struct rig_watch watch;     /* the verifier, where the program wants one */
    struct rig_watched watched; /* and this step */
    size_t watch_from;          /* stops told before the call in progress */
    struct rig_worded worded;

    /* The call in progress, for filters, routines and handlers. */
    void (*body)(void *exec);
    unsigned filter_runs;
    bool filter_used_heap;
    unsigned routine_runs;
    unsigned handler_runs;
    bool starved;
    bool routine_odd;
    bool routine_raised;
    bool routine_raises; /* and not all handlers have heard of it in the call */
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
/* A call that is no operation of its own: a query beside one. FALSE when it raised, or made a
 * report: then it has no answer. */
bool rig_call_aside(struct rig_exec *exec, void (*body)(void *context), void *context);

/* see_refusal.c: plans of a run. Begin: after the reset; settle: what a record left of its plan,
 * false when a finding comes of it; end: nothing is refused from now on, and what was is made
 * again. Around a call: how things are before, and what a refusal made of them. */
void rig_plans_begin(struct rig_exec *exec);
void rig_plans_of_program(struct rig_exec *exec); /* that of its header */
void rig_plans_record(struct rig_exec *exec);
bool rig_plans_settle(struct rig_exec *exec, uint32_t idx);
bool rig_plans_end(struct rig_exec *exec);
void rig_refusal_before(struct rig_exec *exec, struct rig_step *step);
void rig_refusal_after(struct rig_exec *exec, struct rig_step *step);
/* do_plan.c: why a program may not follow the plan, or NULL; see_refusal.c: it follows. */
const char *rig_plan_skipped(const struct fault_plan *plan);
void rig_plan_set(struct rig_exec *exec, const struct fault_plan *plan);
/* do_plan.c: body of a guarded call, what the subject holds. */
void rig_see_held(void *exec);
/* After the last reset: everything was given back. False: finding. */
bool rig_plans_given_back(struct rig_exec *exec);
/* exec.c: make one record. False: finding. */
bool rig_run_record(struct rig_exec *exec, const struct rig_record *record, uint32_t idx);

/* hand.c: the second thread. Runs body(exec) there and waits until it is done. When it waits for a
 * lock meanwhile, let_go(exec) is called once in this thread and take_again(exec) when the body is
 * done. After a let_go that says it could not, the body may never be done: then it is waited for a
 * few seconds only, and there is no second thread any more. */
enum rig_hand_end { RIG_HAND_RAN, RIG_HAND_WAITED, RIG_HAND_STUCK };
enum rig_hand_end rig_hand_run(struct rig_exec *exec, void (*body)(struct rig_exec *exec),
                               bool (*let_go)(struct rig_exec *exec),
                               void (*take_again)(struct rig_exec *exec));

/* Called in a thread that is about to wait for a lock. */
void rig_hand_waits(void);
/* A lie's: the same, and return when the first thread has let go of all that it held. */
void rig_hand_pretends(void);

/* do_look.c: walk a heap aside, in the Rtl spelling where there is one; NULL when there is neither.
 */
struct rig_walk *rig_walk_aside(struct rig_exec *exec, HANDLE heap);

/* see_heaps.c: all that can be seen of a new heap; its sums, as body of a guarded call; that the
 * caller's memory is still his; remembering the handle of a heap that is gone. */
void rig_see_made(struct rig_exec *exec, struct rig_step *step);
void rig_see_sums(void *exec);
bool rig_see_base(struct rig_exec *exec, const struct rig_heap *heap);
void rig_see_gone(struct rig_exec *exec, HANDLE handle);

/* A sanitizer that guards memory would stop an application at one of these bytes. */
bool rig_poisoned(const char *base, size_t bytes);

/* Judge the step, tell the watcher. False when a clause does not hold; does not return then when
 * findings abort. */
bool rig_judge(struct rig_exec *exec, struct rig_step *step);

/* The process heap's handle is known, or could not be had. */
bool rig_process_heap(struct rig_exec *exec);

/* do_blocks.c: take or give up a heap's lock around a call; false where the subject says no. */
bool rig_lock_aside(struct rig_exec *exec, struct rig_heap *heap, bool lock);

/* do_misuse_pointer.c: MISUSE: find what the row needs; make what is passed. False: it is not
 * there, or the subject lacks a service. */
bool rig_misuse_find(struct rig_exec *exec, struct rig_step *step);
bool rig_misuse_pointer(struct rig_exec *exec, struct rig_step *step);

/* The reason that D12 or D14 has for what stands at the address. After the call: a walk tidies up.
 */
void rig_misuse_reason(struct rig_exec *exec, struct rig_step *step);

/* do_misuse_call.c: choose the call and its other arguments; false where the subject has none. Its
 * body. Afterwards, whether the caller's structures are as they were. */
bool rig_misuse_prepare(struct rig_exec *exec, struct rig_step *step);
void rig_misuse_body(void *exec);
bool rig_misuse_untouched(const struct rig_step *step);

/* blocks.c */
size_t rig_query_size(struct rig_exec *exec, const struct rig_step *step, HANDLE heap,
                      uintptr_t address, bool *known);

/* see_blocks.c: after an exception, whether it left the heap locked; after a failure, other blocks
 * and what room there was; a block's user information. */
void rig_see_lock(struct rig_exec *exec, struct rig_step *step);
void rig_see_failure(struct rig_exec *exec, struct rig_step *step);
void rig_see_user(struct rig_exec *exec, struct rig_step *step);

/* see_memory.c: the region that an allocation had made; whether a block's memory is watched when it
 * is freed, and then what became of it; after a refusal, the largest free block. */
void rig_see_growth(struct rig_exec *exec, struct rig_step *step);
bool rig_free_watched(const struct rig_exec *exec, const struct rig_step *step);
void rig_see_freed(struct rig_exec *exec, struct rig_step *step);
void rig_see_spare(struct rig_exec *exec, struct rig_step *step);

/* do_vectored.c: who has to be asked when RAISE is made. */
void rig_handlers_due(struct rig_exec *exec, struct rig_step *step);

/* see_words.c: what the subject says in words of the stops and the report of the call just made; of
 * an exception, in its filter or handler, inside a heap call or not; of the end of the process. */
void rig_see_stops_worded(struct rig_exec *exec);
void rig_see_report_worded(struct rig_exec *exec);
void rig_see_exception_worded(struct rig_exec *exec, const EXCEPTION_RECORD *record, bool inside);
void rig_see_end_worded(struct rig_exec *exec);

/* memory_*.c: RIG_HEAP_COUNT * RIG_BASE_BYTES of address space, aligned to 64 KiB; access to part
 * of it; forgetting its contents. */
char *rig_memory_reserve(size_t bytes);
void rig_memory_release(char *base, size_t bytes);
bool rig_memory_open(char *base, size_t bytes);
void rig_memory_close(char *base, size_t bytes);

/* watch.c: the verifier of a program. Begin: right after the reset; reset: before the next. The
 * subject as the module calls it that makes the calls now. A step begins; whether its operation is
 * made there, and as it is; around a call; before a step is judged, and after; what the model of
 * blocks and heaps learns. */
void rig_watch_begin(struct rig_exec *exec);
void rig_watch_reset(struct rig_exec *exec);
const struct rig_subject *rig_as(struct rig_exec *exec);
void rig_watch_step(struct rig_exec *exec, struct rig_step *step);
bool rig_watch_allows(const struct rig_exec *exec, unsigned op);
void rig_watch_tame(const struct rig_exec *exec, struct rig_step *step);
void rig_watch_before(struct rig_exec *exec);
void rig_watch_after(struct rig_exec *exec);
void rig_watch_settle(struct rig_exec *exec, struct rig_step *step);
void rig_watch_learn(struct rig_exec *exec, const struct rig_step *step);
void rig_watch_made(struct rig_exec *exec, struct rig_block *block);
void rig_watch_moved(struct rig_exec *exec, struct rig_block *block,
                     const struct rig_block *before);
void rig_watch_gone(struct rig_exec *exec, const struct rig_block *block, bool freed);
void rig_watch_heap_gone(struct rig_exec *exec, unsigned heap);
void rig_watch_disowned(struct rig_exec *exec, struct rig_block *block);
/* do_verify.c: the end of a run under the verifier. False: finding. */
bool rig_watch_finish(struct rig_exec *exec);

/* The operations: make the call, see, judge, tell the model. False: finding. */
typedef bool (*rig_perform)(struct rig_exec *exec, struct rig_step *step);
#define RIG_OP(name, text, rtl, win32, state, weight, operands)                                    \
    bool rig_do_##name(struct rig_exec *exec, struct rig_step *step);
#include "../program/op.def"

/* The run may still look at everything: it has not made too many calls. */
bool rig_may_look(const struct rig_exec *exec);

/* And it may ask for memory: what it had committed is not too much. */
bool rig_may_commit(const struct rig_exec *exec);
/* A look at everything, and the end of a run. False: finding. */
bool rig_check_all(struct rig_exec *exec, enum rig_phase phase);
bool rig_finish(struct rig_exec *exec);

#endif
