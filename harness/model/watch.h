/* SPDX-License-Identifier: MIT
 *
 * The model of a verifier: whose each block is, what is held back, which modules are loaded, what has
 * been told. It shares no code with any verifier. */
#ifndef RIG_MODEL_WATCH_H
#define RIG_MODEL_WATCH_H

#include "program/verify.h"
#include "shadow.h"

#define RIG_OWNER_NONE 0xFFu
#define RIG_HELD_MAX 1024u   /* freed blocks of one heap: more than a program has operations */
#define RIG_STOPS_MAX 320u   /* of one step */
#define RIG_FLIP_COUNT 8u    /* places around a block where a bit may be another */
#define RIG_SWITCH_COUNT 8u  /* stops that programs switch */
#define RIG_RATE_CALLS 1600u /* of which so many fail as was asked for */
#define RIG_EXTREME_BYTES (sizeof(void *) > 4 ? (size_t)((uint64_t)1 << 40) : (size_t)0x80000000u)

/* Places, in the order of `value`: a bit of block->flips each. */
enum rig_flip {
    RIG_FLIP_PREFIX_LAST,  /* the byte before the block */
    RIG_FLIP_PREFIX_FIRST, /* the first of the eight before it */
    RIG_FLIP_END_STAMP,
    RIG_FLIP_START_STAMP,
    RIG_FLIP_SIZE,   /* the size that the mark has */
    RIG_FLIP_HEAP,   /* and the heap */
    RIG_FLIP_BEHIND, /* the byte behind the block */
    RIG_FLIP_LAST    /* the last one of the pattern there */
};
#define RIG_FLIPS_PREFIX (1u << RIG_FLIP_PREFIX_LAST | 1u << RIG_FLIP_PREFIX_FIRST)
#define RIG_FLIPS_REST (1u << RIG_FLIP_SIZE | 1u << RIG_FLIP_HEAP)
#define RIG_FLIPS_BEHIND (1u << RIG_FLIP_BEHIND | 1u << RIG_FLIP_LAST)
#define RIG_FLIPS_MARK (RIG_FLIPS_PREFIX | RIG_FLIPS_REST | 1u << RIG_FLIP_END_STAMP | 1u << RIG_FLIP_START_STAMP)

/* A freed block that the verifier holds back. */
struct rig_held {
    uintptr_t address;
    size_t size_bytes;
    bool full;
    bool open;          /* a full one whose pages the page source did not take back */
    bool marked;        /* a light one; else of the free check alone */
    uint8_t flips;      /* as of a live block, and inside: */
    bool touched;       /* a byte of what was the program's is another */
};

struct rig_queue {
    struct rig_held held[RIG_HELD_MAX];
    unsigned first;
    unsigned count;
    size_t bytes;
};

struct rig_module {
    bool loaded;
    unsigned loads;         /* how often it was */
    unsigned freed_by_other;   /* of its blocks, since it was loaded */
    unsigned gone_with_heap;
    unsigned moved_by_other;
    unsigned moved;
};

struct rig_watch {
    bool on;
    bool marks;  /* the heaps layer: blocks carry marks or are full */
    bool tracks; /* allocations are known one by one */
    struct rig_verify set;
    char text[RIG_VERIFY_TEXT_BYTES];
    struct rig_module modules[RIG_MODULE_COUNT + 1];
    unsigned caller; /* the module that makes calls now; 0: the program */
    struct rig_queue queues[RIG_SHADOW_HEAP_COUNT];
    uint64_t order;      /* of allocations and reallocations */
    uint64_t clock_ms;
    uint64_t quiet_until_ms;
    unsigned ppm;
    struct {
        bool off;
        bool once;
        bool fatal;
        bool told;
    } stops[RIG_SWITCH_COUNT];
    uint64_t told;     /* stops, in all */
    uint64_t silenced;
    uint64_t leaks;
    uint64_t unloads;
    uint64_t disowned;
    uintptr_t avoided[RIG_SHADOW_HEAP_COUNT * 8u]; /* addresses of disowned blocks that were freed, a ring */
    unsigned avoided_count;
    unsigned full_count; /* full blocks whose pages are there */
    bool pages_kept;     /* some that are gone have theirs still: the page source took none */
    unsigned rates;    /* stories of rates: they take long */
    bool listed;       /* what is left was listed once */
    bool thrice_told;  /* of one place: with `once` never again */
};

/* Stops whose doing programs change, in the order of `value`. */
struct rig_switch {
    const char *layer;
    const char *name;
    unsigned code;
};
extern const struct rig_switch rig_switches[RIG_SWITCH_COUNT];

/* One stop that must be told. */
struct rig_expected {
    unsigned code;
    uintptr_t parameter[4];
    uint8_t loose;     /* a bit a parameter that is not compared */
    uint8_t module;    /* the third one is the name of this module, and that of its stack */
    bool allocated;    /* with the stack of the allocation, */
    bool freed;        /* with that of freeing */
};

/* How told stops and expected ones go together. */
enum rig_match {
    RIG_MATCH_ALL,    /* all of them, in this order */
    RIG_MATCH_ONE,    /* one of them */
    RIG_MATCH_SOME    /* any of them, in this order: some may have been told before */
};

/* What the verifier made of one step, and what it had to. */
struct rig_watched {
    const struct rig_watch *watch;
    enum rig_verify_row row; /* of VERIFY */
    bool made;               /* VERIFY: something was done */
    bool odd;     /* the ordinary rules have nothing to say of it */
    bool refuses; /* the call fails in its own form, for what the verifier saw */
    bool fatal;   /* a stop of the step ends the process */
    bool starves; /* low resources refuse it for certain, */
    bool spared;  /* or cannot */
    enum rig_match match;
    unsigned expected_count;
    unsigned silent_count; /* of those that would have been told: switched off, or told once */
    unsigned told_count;
    unsigned exceptions; /* raised with a stop, by which the program went on */
    unsigned exceptions_wrong; /* not with its code and parameters */
    struct rig_expected expected[RIG_STOPS_MAX];
    struct rig_stop told[RIG_STOPS_MAX];
    struct rig_verified before;
    struct rig_verified after;

    /* What was there. */
    unsigned module;        /* LOAD, UNLOAD */
    unsigned owned;         /* UNLOAD: live blocks that it owns, */
    unsigned shielded;      /* disowned ones that it made, */
    unsigned moved;         /* of those owned, reallocated, */
    unsigned again;         /* of those owned, at the address of a disowned one that was freed, */
    unsigned of_others;     /* and live blocks of other modules */
    struct rig_module was;  /* UNLOAD: before */
    bool held_before;       /* the block, or its address, was held back */
    bool moves;             /* REALLOC: by hand, the old block is held */
    unsigned released;      /* blocks that the queue let go */
    unsigned released_bad;

    /* What was seen. */
    uintptr_t real;         /* of a new block */
    size_t real_bytes;
    bool seen;              /* the verifier knows the new block: */
    bool full;              /* it is a full one */
    bool full_due;          /* and has to be one; */
    bool full_known;        /* that is known */
    bool fill_seen;
    bool fill_right;
    bool stamps_right;
    bool behind_right;
    bool gap_right;         /* full: the block ends where it must */
    bool freed_seen;
    bool freed_right;       /* fill and stamps of a held block */
    unsigned blocks;        /* LOOK: of the model */
    unsigned found;         /* LOOK: that the verifier told, and were right */
    unsigned wrong;
    bool kept_count_right;  /* sums agree with the model */
    NTSTATUS status;        /* of a service */
    bool violated;          /* GUARD, TOUCH, RUN: the access was a violation, there */
    uintptr_t place;        /* of the access */
    unsigned choice;        /* of a row with several ways */
    unsigned turns;         /* LISTING, stories: calls made; STRETCHES: unloaded */
    bool cut;               /* STRETCHES: there was no memory for all */
    ULONG flags_told;       /* START: global flags in force, */
    ULONG flags_due;        /* and those that must be */
};

#endif
