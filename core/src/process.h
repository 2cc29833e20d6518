/* SPDX-License-Identifier: MIT
 *
 * What core keeps once a process: the seam in force, keys, the table of heaps and the gate that
 * fork closes. Everything here is core's own data, outside any heap's memory. */
#ifndef NTH_PROCESS_H
#define NTH_PROCESS_H

#include <ntheap/seam.h>

#include "atomics.h"
#include "base.h"
#include "config.h"
#include "thread.h"
#include "word.h"

/* What must not live in heap memory: a heap's lock and gate, and where its control block is. */
struct nth_region;

struct nth_slot {
    NTH_ATOMIC(HANDLE) handle; /* NULL: no heap, or one that is being destroyed */
    bool taken;
    struct nth_heap *heap;
    struct nth_region *first; /* segment 0 */
    uint64_t flags;           /* the heap's */
    uint64_t serial;          /* of the heap, in order of creation */
    void *lock;               /* from the lock table; NULL for a heap that does not serialize */
    RTL_CRITICAL_SECTION *caller_lock;
    NTH_ATOMIC(struct nth_thread *) owner;
    uint32_t depth;              /* of the owner's nested acquisitions */
    NTH_ATOMIC(uint32_t) closed; /* gate: while nonzero no call goes without the lock */
    uint64_t state_seal;         /* of the heap's totals as the last call left them */
    bool damaged;                /* a call was unwound in its middle */
    uint32_t idx;
};

struct nth_process {
    const struct nth_pages *pages;
    const struct nth_locks *locks;
    uint64_t low; /* of the page source: where its addresses begin, and how many there are */
    uint64_t span_bytes;
    struct nth_seam seam;
    struct nth_key key;
    uint64_t heap_serial;            /* heaps made so far: each has keys of its own */
    NTH_ATOMIC(uint64_t) generation; /* of the heap table; a change makes every thread look again */
    void *lock;                      /* guards the heap table and the address map */
    NTH_ATOMIC(uint32_t) ready;
    NTH_ATOMIC(uint32_t) forking;
    NTH_ATOMIC(uint32_t) terminate_on_corruption;
    uint32_t heap_count;
    NTH_ATOMIC(HANDLE) process_heap;
    /* Bases of destroyed heaps, oldest overwritten. */
    NTH_ATOMIC(HANDLE) quarantine[NTH_QUARANTINE_COUNT];
    uint32_t quarantine_next;
    /* Caller's blocks that lie outside the page source's addresses. */
    struct nth_foreign {
        NTH_ATOMIC(uintptr_t) base; /* 0: free */
        NTH_ATOMIC(size_t) bytes;
        NTH_ATOMIC(struct nth_region *) region;
    } foreign[NTH_FOREIGN_MAX_COUNT];
    NTH_ATOMIC(size_t) reserved_bytes;
    NTH_ATOMIC(size_t) committed_bytes;
    NTH_ATOMIC(size_t) reservation_count;
};

extern struct nth_process nth_process;

/* Make the process state ready, once. NTH_NO_MEMORY when the lock table refused. */
enum nth_status nth_process_start(void) NTH_MUST_USE;

void nth_process_lock(void);
void nth_process_unlock(void);

/* Heap slots, in creation order, under the process lock. `nth_slot_take` gives a free slot or NULL
 * when the page source refused one; `nth_slot_list` is the order that GetProcessHeaps shows. */
struct nth_slot *nth_slot_take(void);
void nth_slot_give(struct nth_slot *slot);
void nth_slot_append(struct nth_slot *slot);       /* now visible, newest last */
void nth_slot_append_first(struct nth_slot *slot); /* the process heap: before all others */
void nth_slot_remove(struct nth_slot *slot);

/* Reservation `idx` that holds slots which found no room in core's own data, or NULL. */
const void *nth_slot_table(uint32_t idx, size_t *bytes);

/* A slot whose heap was being destroyed when a fault came in between, or NULL. */
struct nth_slot *nth_slot_unfinished(void);

/* The slot with the lowest serial above `serial`, or NULL. */
struct nth_slot *nth_slot_after(uint64_t serial);

struct nth_slot *nth_slot_at(uint32_t position);
struct nth_slot *nth_slot_numbered(uint32_t number); /* NULL when out of range */

/* True when a destroyed heap had this base less than NTH_QUARANTINE_COUNT destructions ago. */
bool nth_quarantined(HANDLE base);

/* A place is an address in units of 8 bytes from the page source's lowest one, modulo 2^48: how
 * words are bound to where they stand, and how one block names another. */
static inline uint64_t nth_place_of(uint64_t address)
{
    return ((address - nth_process.low) >> 3) & NTH_WORD_MASK;
}

/* The key of the seal of a structure that stands at `ptr`. */
static inline uint64_t nth_seal_key(uint64_t key, const void *ptr)
{
    return key + nth_rotate(nth_place_of((uint64_t)(uintptr_t)ptr), 29u);
}

static inline uint64_t nth_place_address(uint64_t place)
{
    const uint64_t sign = 1ull << 50; /* of a distance below the lowest address, modulo 2^51 */
    return (((place << 3) ^ sign) - sign) + nth_process.low;
}

_Noreturn void nth_terminate(NTSTATUS status);

#endif
