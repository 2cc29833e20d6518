/* SPDX-License-Identifier: MIT
 *
 * One operation as it was made: what was called on what, what came back, and what the rig saw
 * around it. Filled by exec, read by rules and transcript, changed by nobody else. */
#ifndef RIG_RUN_STEP_H
#define RIG_RUN_STEP_H

#include "../model/shadow.h"
#include "../program/program.h"
#include "../program/size.h"

#include <heaprig/subject.h>

#define RIG_MANY_MAX 32u       /* blocks of one multiple call */
#define RIG_LIST_MAX 10u       /* room of a listing: more than there can be heaps */
#define RIG_POISON 0x5A5A5A5Au /* what out parameters hold before a call */
#define RIG_NO_OFFSET SIZE_MAX
#define RIG_PROMISED_MAX 24u /* kinds of damage of one heap */
#define RIG_INTERRUPT_CODE 0xE052494Eu /* what leaves a call in its middle */
#define RIG_FILTER_BYTES 40u /* what the rig's filter allocates */

struct rig_watched; /* model/watch.h */
struct fault_misuse_info; /* faults/catalog.h */
struct fault_damage_info;
struct fault_call_info;

/* Where an operation came from, besides the program. */
enum rig_phase {
    RIG_PHASE_PROGRAM, /* a record of the program, or an event of a trace */
    RIG_PHASE_CHECK,   /* a look at everything, now and then and at the end */
    RIG_PHASE_END      /* freeing, spanning, destroying at the end */
};

/* How a call ended. */
struct rig_outcome {
    uintptr_t value; /* what it returned, widened; 0 when it raised */
    bool raised;
    EXCEPTION_RECORD exception; /* when it raised, or when a filter continued */
    DWORD error_before;         /* last error right before and right after */
    DWORD error_after;
    uint64_t refusals;   /* page calls refused during the call */
    bool starved;        /* a CommitRoutine failed or lied during the call, or raised */
    bool refusals_known; /* the subject tells of refusals; else a shortage is believed */
    bool routine_raised; /* a CommitRoutine raised: the exception is its own */
    unsigned reentries;  /* a CommitRoutine asked its own heap for memory so often */
    bool routine_odd;    /* a CommitRoutine was asked for what is not pages of its block */
    NTSTATUS ended; /* the call asked for the end of the process with that status, else 0 */
    uint64_t reports;
    struct rig_report report; /* the last of them */
    unsigned filter_runs;     /* the rig's filter was asked so often */
    bool filter_used_heap;    /* and in it the heap allocated and freed as it should */
    unsigned routine_runs;    /* a CommitRoutine was asked so often */
    unsigned handler_runs;    /* vectored handlers were asked so often */
    bool blocked;             /* made by the second thread, it waited until the first let go */
    bool unlock_refused; /* meanwhile the first one let go of a lock, and the heap said no */
    bool lock_refused;   /* or took it again, and the heap said no */
    bool stuck;          /* and the call did not end: the run ends here */
    bool other_error_kept; /* made by the second thread: the first one's last error is as it was */
};

/* What was said in words in a step, so often, and how often other than in numbers. */
struct rig_words {
    unsigned stops;
    unsigned stops_wrong;
    unsigned reports;
    unsigned reports_wrong;
    unsigned exceptions;
    unsigned exceptions_wrong;
    unsigned ends;
    unsigned ends_wrong;
};

#define RIG_ASKED_MAX 16u

/* Vectored handlers, by name (0 to RIG_HANDLER_COUNT - 1). */
struct rig_vectored {
    uint8_t due[RIG_ASKED_MAX]; /* RAISE: who must be asked, in this order */
    unsigned due_count;
    uint8_t asked[RIG_ASKED_MAX]; /* the first that were: outcome.handler_runs of them */
    bool continues;               /* RAISE: one of them answers so */
    unsigned kind;                /* ADD, REMOVE */
    unsigned handlers;            /* ADD: that were there */
    bool crowded;                 /* ADD: as many as could be had were added, */
    unsigned crowd;               /* so many, */
    unsigned crowd_asked;         /* asked of an exception, */
    unsigned crowd_removed;       /* and removed */
    bool nobody;                  /* ADD: NULL was */
    bool again;                   /* REMOVE: something was removed that was no handler's, */
    bool removed_again;           /* and was said to be one's */
};

/* What walks and summaries of all heaps show together. */
struct rig_shown {
    unsigned heap_count;
    uint64_t digest; /* of live blocks */
    size_t committed_bytes;
    size_t reserved_bytes;
};

/* What a refused page call left behind, in a run with plans. */
struct rig_refusal {
    bool known;   /* the rest is filled: the call was refused something, and looked at before */
    bool failed;  /* and it failed */
    bool sounded; /* heaps could be walked before and after */
    struct rig_shown before;
    struct rig_shown after;
    bool held_known;
    struct rig_holdings held; /* afterwards, by the subject */
    struct rig_holdings granted; /* and by the system */
    bool locks_known;
    size_t locks_before;
    size_t locks_after;
    uint64_t kept_count; /* refusals in this call of what was to be given back */
    uint64_t over_count; /* refusals by the plan laid over the run */
    uint64_t lie_count;  /* and calls in it that did not do what they said */
    const char *site;    /* of the last refusal, or NULL */
    const char *call;    /* "commit" */
};

/* What the rig saw of a block around the call. */
struct rig_sight {
    size_t kept_bytes; /* so much of the old contents had to survive */
    size_t spoilt_at;  /* first byte of it that did not, or RIG_NO_OFFSET */
    size_t zero_from;  /* bytes [zero_from, size) had to be zero */
    size_t dirty_at;   /* first byte that is not, or RIG_NO_OFFSET */
    bool zero_asked;
    bool overlaps;   /* the block shares bytes with another live block */
    bool size_known; /* size_now holds what the size query said right after */
    size_t size_now;
    bool old_size_known; /* after a failed reallocation: size of the untouched block */
    size_t old_size_now;
    bool user_known;    /* the block's user information was asked for right after */
    bool user_said_yes; /* and that call said TRUE */
    PVOID user_value_now;
    ULONG user_flags_now;
    size_t others_seen; /* after a failure: other blocks of the heap looked at, not empty ones */
    size_t others_spoilt;
};

/* After a failure in a heap that cannot grow: what a walk shows to be free or uncommitted. */
struct rig_room {
    bool known;
    size_t run_bytes;    /* the most in one piece: an uncommitted range and its free neighbours */
    size_t behind_bytes; /* right behind the block that was to be resized */
    size_t total_bytes;
};

/* The further region that an allocation had made, by a walk right after. */
struct rig_growth {
    bool known;
    size_t further; /* its number among the further regions, from 1 on */
    size_t bytes;
    size_t committed_bytes;
};

/* What became of a freed block's memory, by a walk right after. */
struct rig_freed {
    bool known;
    size_t bytes;       /* the largest free block that shares a byte with it, whole; 0: none */
    size_t total_bytes; /* all free blocks of the back end */
};

/* One element of a walk, in one form for both spellings. */
struct rig_element {
    uintptr_t address;
    size_t bytes;
    unsigned overhead;
    unsigned region_idx;
    unsigned flags; /* as the call gave them */
    bool busy;
    bool region;
    bool uncommitted;
    size_t committed_bytes; /* of a region */
    size_t uncommitted_bytes;
    uintptr_t first_block;
    uintptr_t last_block;
};

/* What the flags of an entry say of its element. */
enum rig_entry { RIG_ENTRY_BUSY, RIG_ENTRY_FREE, RIG_ENTRY_REGION, RIG_ENTRY_UNCOMMITTED };

/* A whole walk. */
struct rig_walk {
    struct rig_element *elements;
    size_t count;
    size_t count_max;
    bool cut;            /* more elements than count_max: not judged further */
    bool ended;          /* by the documented end */
    bool end_untouched;  /* the entry was the same before and after the ending call */
    uint32_t end_status; /* RtlWalkHeap's last status */
    DWORD end_error;     /* last error after HeapWalk's last call */
    bool raised;
};

struct rig_step {
    /* What. */
    uint32_t idx; /* number of the record or event */
    enum rig_phase phase;
    enum rig_op op;
    const char *call; /* "HeapAlloc", or the operation's word */
    bool win32;
    bool nothing; /* no object was in the state needed: nothing was called, nothing is judged */
    bool named;   /* the record's own name fitted; else the next that did */
    enum rig_context context;
    bool second;                     /* made by the second thread */
    const struct rig_record *record; /* NULL in a trace */

    /* On what; the model's state before the call. */
    struct rig_heap *heap;   /* or NULL */
    struct rig_block *block; /* or NULL */
    struct rig_heap heap_before;
    struct rig_block block_before; /* when block is not NULL */
    uint32_t name;                 /* of the slot */
    ULONG flags;                   /* flag bits as passed */
    size_t size_bytes;             /* as passed */
    enum rig_expect expect;        /* allocating operations */

    struct rig_outcome outcome;
    struct rig_words words;
    struct rig_vectored vectored;
    struct rig_sight sight;

    /* CREATE: as passed. PARAMETER fields that were set have their bit, by order in the structure.
     */
    struct {
        size_t reserve_bytes; /* HeapCreate: the maximum */
        size_t commit_bytes;  /* HeapCreate: the initial size */
        void *base;
        size_t base_bytes;
        bool routine;
        bool lock;
        bool lock_live; /* the section passed is initialised */
        bool has_parameters;
        RTL_HEAP_PARAMETERS parameters;
        HANDLE former[RIG_LIST_MAX]; /* handles of live heaps before */
        struct rig_holdings held_before;
        struct rig_holdings held_after;
        HANDLE gone_last; /* the heap destroyed last, or NULL */
        bool reused;      /* the address is that of a heap destroyed fewer than 64 heaps ago */
        bool valid;       /* the new heap validates */
        bool plain_seen;  /* the three words below were read */
        ULONG plain_mark; /* what stands at the handle in plain */
        ULONG plain_flags;
        ULONG plain_forced;
    } create;

    /* CREATE, DESTROY, SET: from here on steps begin with zeros. */
    /* CREATE, DESTROY, SET: from here on steps begin with zeros. */
    struct rig_holdings held_before;
    struct rig_holdings held_after;
    bool held_known; /* the subject tells what it holds */
    struct rig_refusal refusal;
    bool again;       /* made once more, after a plan had it refused */
    bool again_known; /* and without any plan it was served */
    struct rig_growth growth; /* ALLOC, REALLOC */
    struct rig_freed freed;   /* FREE */
    bool spare_known;         /* ALLOC, refused: a walk right after showed */
    size_t spare_bytes;       /* the largest free block of the back end, whole */
    size_t range_bytes;       /* the smallest uncommitted range; 0: none */
    bool summed;    /* summary holds what HeapSummary said: of the new heap, or before destroying */
    bool base_kept; /* DESTROY: the caller's memory is still there */

    /* LOCK, UNLOCK: how often the critical section that is the heap's lock is owned; SECTION_*: how
     * often the section is. */
    bool section_seen;
    LONG section_before;
    LONG section_after;

    /* ZERO: a byte of the free blocks' data is not zero, before and after. */
    bool dirty_before;
    bool dirty_after;

    /* MULTI_*: the array before and after, and how many of it. */
    ULONG many_count;
    PVOID many_before[RIG_MANY_MAX];
    PVOID many_after[RIG_MANY_MAX];
    ULONG many_nulls; /* MULTI_FREE: entries that were NULL */

    /* User value and flags: out parameters, poisoned before the call. */
    PVOID user_value;
    ULONG user_flags;
    ULONG user_reset;
    ULONG user_set;

    /* WALK, WALK_STEP and the walks of checks. */
    struct rig_walk *walk;
    struct rig_element element; /* WALK_STEP: the one found */
    bool walk_first;            /* WALK_STEP: it began the walk */
    bool walk_stale;            /* WALK_STEP: the heap changed since the last step */
    bool walk_mixed;            /* WALK_STEP: another walk of the heap went on meanwhile */
    size_t walk_busy;           /* WALK_STEP: busy elements found so far */
    bool walk_untouched;        /* WALK_STEP: the entry is as it was */
    bool twin_known;            /* WALK: the other spelling walked right before */
    bool twin_same;             /* and showed the same */

    /* SUMMARY, QUERY, SET: what was passed and what came back, poisoned before the call. */
    unsigned info_class;
    size_t info_bytes;   /* length passed */
    bool info_null;      /* no buffer passed */
    bool length_null;    /* no ReturnLength passed */
    bool handle_null;    /* the NULL handle was passed */
    ULONG info_value;    /* class 0: the value, in or out; class 3: Version */
    SIZE_T info_length;  /* *ReturnLength afterwards, RIG_POISON when untouched */
    bool info_untouched; /* the buffer holds what it held */
    DWORD summary_cb;    /* cb as passed */
    size_t summary[4];   /* allocated, committed, reserved, most that can be reserved */

    /* PROCESS_HEAPS, ENUM_HEAPS. */
    unsigned gone_count; /* heaps destroyed so far */
    ULONG list_room;
    HANDLE list[RIG_LIST_MAX];
    ULONG list_stop;      /* ENUM_HEAPS: the routine fails at this call, 0: never */
    uint32_t list_status; /* with this status */
    ULONG list_calls;
    bool list_parameter_kept; /* the routine was given the parameter each time */

    /* DOS_ERROR, SET_LAST_ERROR, RAISE. */
    uint32_t code;
    DWORD raise_flags;
    DWORD raise_count;
    bool raise_null; /* no argument array */
    ULONG_PTR raise_arguments[EXCEPTION_MAXIMUM_PARAMETERS + 2];

    /* MISUSE and DAMAGE: the row of the catalogue; what was passed in place of what the call wants; what
     * was damaged. Why a fault was left out: the subject lacks a service. */
    const struct fault_misuse_info *misuse;
    const struct fault_damage_info *damage;
    PVOID passed;            /* block, handle, or where a structure should be */
    struct {
        const struct fault_call_info *call;
        HANDLE handle;      /* as passed */
        PVOID block;        /* as passed, or the bad one of many */
        PVOID place;        /* the caller's structure or array, as passed */
        size_t size_bytes;  /* as passed */
        unsigned nulls;     /* entries before the bad one of many */
        const char *reason; /* that the report must have, NULL: none may be made */
        unsigned kind;      /* RIG_ENTRY_* of the walk's entry, as passed */
        bool open;          /* a large block may reach to there: any of three reasons will do */
        bool of_freed;      /* a block freed before is passed */
        bool unharmed;      /* afterwards the heap validates, and the caller's structures are as before */
    } bad;
    struct rig_field damaged; /* name NULL where no metadata was */
    const char *skipped;     /* "subject has no page source", or NULL */
    uintptr_t damaged_at;    /* DAMAGE: the first byte written */
    size_t damaged_bytes;    /* DAMAGE: bytes that are others now */
    bool damage_looked;      /* DAMAGE: the heap was validated right after; valid says the answer */

    /* A call on a heap that is damaged on purpose: it must notice at the latest, by naming that block
     * where it is not 0; the reasons that its reports may give. */
    bool damage_due;
    bool forgery_due; /* of what is due, some opens */
    uintptr_t damage_due_block;
    unsigned promised_count;
    const char *promised[RIG_PROMISED_MAX];

    /* Under a verifier: what it made of the step; NULL without one. */
    const struct rig_watched *watched;

    /* VERIFY without one: answers of its services, and those that did not say so. */
    unsigned off_asked;
    unsigned off_wrong;

    /* Critical sections and handlers. */
    unsigned object_idx;
    unsigned section_depth; /* of this thread before the call */

    /* Allocating operations. */
    struct rig_room room;
    bool lock_known; /* after an exception the heap's lock was tried */
    bool lock_left;  /* and this thread still held it */

    /* CHECK of one heap and END. */
    bool valid;          /* whole-heap validation said so */
    size_t blocks_valid; /* of blocks_seen blocks validated one by one */
    size_t blocks_seen;
    size_t spoilt_count;  /* blocks whose contents are not what they must be */
    bool idle_seen;       /* CHECK: an element that is not busy was validated; */
    bool idle_valid;      /* it was said to be valid */
    bool freed_seen;      /* END: the block freed last was validated; */
    bool freed_valid;     /* it was said to be valid */
    size_t span_asked;    /* END: what HeapCompact promised, asked for at once */
    size_t contents_seen; /* blocks, not empty ones, whose contents were compared */
    bool span_had;
    size_t span_told; /* END: what HeapCompact returned */
};

/* A subject that has given everything back. */
static inline bool rig_holds_nothing(const struct rig_holdings *holdings)
{
    return (holdings->reserved_bytes | holdings->committed_bytes | holdings->reservation_count) ==
           0;
}

#endif
