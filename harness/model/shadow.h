/* SPDX-License-Identifier: MIT
 *
 * The model: what must be true of every heap and block, kept beside the subject and told of each
 * outcome. It shares no code with any heap. Calls nothing but pattern.h. */
#ifndef RIG_MODEL_SHADOW_H
#define RIG_MODEL_SHADOW_H

#include <heaprig/nt.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bsd/sys/tree.h>

#define RIG_SHADOW_HEAP_COUNT 8u
#define RIG_THRESHOLD_BYTES 0x7F000u /* RTL_HEAP_PARAMETERS: when none is given */
#define RIG_GRANULE_BYTES 0x10000u   /* reservations start and end at multiples of it */

/* A live block. */
struct rig_block {
    RB_ENTRY(rig_block) by_address;
    uintptr_t address;
    size_t size_bytes;
    uint32_t name;  /* of the slot, or of the trace */
    uint32_t stamp; /* which pattern fills it, see pattern.h */
    uint8_t heap;
    bool has_user_value;
    bool front_size; /* of a size that the front end could serve */
    bool resized;    /* it was reallocated: its class may be that of another size */
    PVOID user_value;
    ULONG user_flags; /* bits of HEAP_SETTABLE_USER_FLAGS */
    bool disowned;
    bool reallocated;

    /* Under a verifier (watch.h). */
    uint8_t owner;     /* a module, or RIG_OWNER_NONE */
    uint8_t made_by;   /* the module that allocated it */
    uint8_t flips;     /* what around it is not as it was left */
    bool full;         /* of full page heap */
    bool shielded;     /* disowned for the verifier */
    bool moved;        /* reallocated since */
    bool again;        /* its address was that of a disowned block */
    size_t laid_bytes; /* the size for which it was placed: a full block's pages are for that */
    uint64_t order;    /* of its allocation, or last reallocation */
};

RB_HEAD(rig_block_tree, rig_block);

/* A heap as it must be. */
struct rig_heap {
    bool live;
    bool growable;
    bool has_base;     /* the caller brought the memory */
    bool has_routine;  /* and commits it */
    bool win32;        /* made by HeapCreate */
    bool front_on;     /* a query has said 2, or setting it succeeded: it stays so */
    bool front_able;   /* nothing forbids the low-fragmentation front end */
    bool walking;      /* a walk step by step has begun and not ended */
    bool front_set;    /* it is on because that was set */
    bool refused_last; /* the last call that may allocate met a refusal */
    bool refused_ever; /* some call did */
    bool filtered;     /* a filter of the rig used the heap */
    uint8_t idx;
    uint8_t section; /* its lock is this critical section, or RIG_NO_SECTION */
    HANDLE handle;
    ULONG flags; /* options chosen at creation, of the documented bits */
    size_t reserve_bytes;
    size_t commit_bytes;
    size_t threshold_bytes;
    size_t allocation_max_bytes;
    unsigned lock_depth;
    size_t block_count;
    size_t block_bytes;   /* requested, in all */
    size_t large_count;   /* live blocks above the threshold */
    size_t block_peak;    /* most live blocks at once */
    uint64_t block_total; /* allocations and reallocations ever */
    size_t segment_bytes; /* SegmentReserve asked for; 0: unspecified, and so the next three */
    size_t segment_commit_bytes;
    size_t decommit_block_bytes;
    size_t decommit_total_bytes;
    size_t further_peak;   /* most regions behind the first that growing ever showed */
    uintptr_t first_free;  /* data of the free block that the walk of the new heap showed, or 0 */
    uint64_t created;      /* ordinal of its creation: listings are in this order */
    bool raised_last;      /* the last call that may allocate raised */
    uint64_t second_count; /* calls made by the second thread */
};

#define RIG_NO_SECTION 0xFFu

struct rig_shadow {
    struct rig_heap heaps[RIG_SHADOW_HEAP_COUNT];
    struct rig_block_tree blocks; /* of all heaps, by address */
    size_t block_count;
    uint64_t heap_ordinal;
    uint32_t stamp_next;
    uint64_t second_count; /* calls made by the second thread */
    bool terminates;       /* terminate-on-corruption was set */
};

/* Forget all heaps and blocks (the blocks belong to the caller). Heap 0 is there, its handle not
 * yet known. Units: none. Errors: none. */
void rig_shadow_reset(struct rig_shadow *shadow);

/* Put a block into the model; `block->address`, `size_bytes`, `heap` are set. Returns a live block
 * that it overlaps, and then has changed nothing; NULL when there is none. A block of size 0 takes
 * one byte. Units: bytes. Errors: as said. */
struct rig_block *rig_shadow_add(struct rig_shadow *shadow, struct rig_block *block);

/* Take it out. Units: none. Errors: none. */
void rig_shadow_remove(struct rig_shadow *shadow, struct rig_block *block);

/* The live block that starts at `address`, or NULL. Units: bytes. Errors: none. */
struct rig_block *rig_shadow_find(struct rig_shadow *shadow, uintptr_t address);

/* Any live block that [address, address + bytes) touches, other than `except`. Units: bytes. */
struct rig_block *rig_shadow_overlap(struct rig_shadow *shadow, uintptr_t address, size_t bytes,
                                     const struct rig_block *except);

/* First and next live block in order of address, NULL at the end. */
struct rig_block *rig_shadow_first(struct rig_shadow *shadow);
struct rig_block *rig_shadow_next(struct rig_block *block);

/* Number of live heaps, the process heap counted when its handle is known. */
unsigned rig_shadow_heap_count(const struct rig_shadow *shadow);

/* What a request for a new block of `size_bytes`, or for resizing to it, must lead to. */
enum rig_expect {
    RIG_EXPECT_BLOCK,     /* success, or NO_MEMORY when memory was refused or has run out */
    RIG_EXPECT_TOO_SMALL, /* STATUS_BUFFER_TOO_SMALL: nongrowable and above the threshold */
    RIG_EXPECT_NO_MEMORY  /* STATUS_NO_MEMORY whatever is free */
};
enum rig_expect rig_shadow_expect(const struct rig_heap *heap, size_t size_bytes);

#endif
