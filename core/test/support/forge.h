/* SPDX-License-Identifier: MIT
 *
 * For tests of words that only core can write: sealed, so that they open, with contents that core
 * would not give them. Looks inside core; a heap is opened with its own key. */
#ifndef NTH_TEST_FORGE_H
#define NTH_TEST_FORGE_H

#include "rig.h"

#include "backend.h"
#include "cache.h"
#include "freelist.h"
#include "front.h"
#include "large.h"

#define FORGE_BLOCK_MAX 256u

/* A heap with the blocks that a row is about. */
struct forge_scene {
    HANDLE heap;
    PVOID blocks[FORGE_BLOCK_MAX];
    HANDLE other;      /* another heap, or NULL */
    PVOID other_block; /* of that heap */
};

/* One forged word, the call that meets it, and the report that must come of it. */
struct forge_row {
    const char *name;
    void (*forge)(struct forge_scene *scene);
    enum rig_call call;
    SIZE_T size;
    int block;  /* whose block the call gets: a number in the scene, -1 none */
    int blamed; /* whose block the report names: a number in the scene, -1 none, -2 any */
    enum nth_reason reason;
    const char *field;
};

#define FORGE_ROW_COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* Each row on a scene of its own. The call fails in its ordinary form with one report, and when the
 * forgery is undone the heap validates: the call has changed nothing by halves. */
void forge_run(void (*make)(struct forge_scene *scene), const struct forge_row *rows, size_t count);

struct nth_heap *forge_inside(HANDLE heap);

/* The block, slot or chunk whose data is at `user`. */
struct nth_block forge_block(HANDLE heap, PVOID user);
struct nth_chunk forge_chunk_of(HANDLE heap, PVOID slot);
PVOID forge_chunk_user(const struct nth_chunk *chunk);

/* A header with this state and body, of the generation that the block map has. */
uint64_t forge_header(const struct nth_block *block, unsigned state, uint64_t body);

/* A sealed word in band, `place` bytes behind the header of the block at `user`. */
void forge_word(HANDLE heap, PVOID user, uint64_t place, uint64_t value);
uint64_t forge_read(HANDLE heap, PVOID user, uint64_t place);

/* How a link names the block at `user`. */
uint64_t forge_reference(PVOID user);

/* Heads and bitmap of the free lists, words of size classes: with the sums over them. */
void forge_bin(HANDLE heap, uint64_t units, uint64_t reference);
void forge_bin_bit(HANDLE heap, uint64_t units, BOOLEAN set);
void forge_class(HANDLE heap, uint64_t *word, uint64_t value);

/* Totals and descriptors are changed in place; these seal them again. */
void forge_seal_state(HANDLE heap);

#endif
