/* SPDX-License-Identifier: MIT
 *
 * States, battery, verdicts. See census.h. */
#include "census_heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sanitize.h"

#define FOREIGN_BYTES ((SIZE_T)0x40000)
#define LARGE_BYTES ((SIZE_T)0x90000) /* past the threshold */

/* ---- states ---- */

static void fill_mixed(unsigned count, SIZE_T first, SIZE_T step)
{
    for (unsigned idx = 0; idx < count; idx++) {
        census_alloc(0, first + idx * step);
    }
}

static void free_every(unsigned start, unsigned step)
{
    const unsigned count = census_world.count;
    for (unsigned idx = start; idx < count; idx += step) {
        census_free(idx);
    }
}

static HANDLE make_fresh(void)
{
    census_world.heap = HeapCreate(0, 0, 0);
    fill_mixed(2, 100, 200);
    return census_world.heap;
}

/* Sizes all different, so that nothing goes to the front end; every other one free again. */
static HANDLE make_fragmented(void)
{
    census_world.heap = HeapCreate(0, 0, 0);
    fill_mixed(24, 40, 136);
    free_every(1, 2);
    return census_world.heap;
}

/* Several chunks a class, slots in magazines and in chunks. */
static HANDLE make_front(void)
{
    census_world.heap = HeapCreate(0, 0, 0);
    for (unsigned idx = 0; idx < 45; idx++) {
        census_alloc(0, 40);
        census_alloc(0, 200);
    }
    free_every(0, 5);
    free_every(1, 3);
    return census_world.heap;
}

/* Nothing in magazines, chunks with free slots on their lists. */
static HANDLE make_front_compacted(void)
{
    (void)make_front();
    (void)HeapCompact(census_world.heap, 0);
    return census_world.heap;
}

static HANDLE make_large(void)
{
    census_world.heap = HeapCreate(0, 0, 0);
    fill_mixed(1, 100, 0);
    fill_mixed(3, LARGE_BYTES, 0x3000);
    census_world.flags = HEAP_SETTABLE_USER_VALUE;
    fill_mixed(1, LARGE_BYTES, 0);
    census_world.flags = 0;
    free_every(2, 9);
    return census_world.heap;
}

static HANDLE make_segments(void)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    census_world.heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0, NULL, &wanted);
    fill_mixed(10, 18000, 500);
    free_every(1, 3);
    return census_world.heap;
}

static HANDLE make_fixed(void)
{
    census_world.heap = HeapCreate(0, 0x4000, 0x20000);
    fill_mixed(12, 64, 700);
    free_every(2, 3);
    return census_world.heap;
}

/* Holes without pages between live blocks. */
static HANDLE make_decommitted(void)
{
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .DeCommitFreeBlockThreshold = 0x1000,
                                  .DeCommitTotalFreeThreshold = 0x1000};
    census_world.heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x80000, 0, NULL, &wanted);
    fill_mixed(12, 9000, 300);
    free_every(1, 3);
    return census_world.heap;
}

static HANDLE make_user_info(void)
{
    census_world.heap = HeapCreate(0, 0, 0);
    census_world.flags = HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAG1;
    fill_mixed(8, 24, 100);
    free_every(3, 4);
    return census_world.heap;
}

static HANDLE make_uncoalesced(void)
{
    census_world.heap =
        RtlCreateHeap(HEAP_GROWABLE | HEAP_DISABLE_COALESCE_ON_FREE, NULL, 0, 0, NULL, NULL);
    fill_mixed(16, 40, 200);
    free_every(2, 4);
    free_every(3, 4);
    return census_world.heap;
}

/* In the caller's own block. */
static HANDLE make_foreign(void)
{
    static uint8_t *block;
    if (block == NULL) {
        const uintptr_t place =
            (uintptr_t)mmap(NULL, FOREIGN_BYTES + NTH_GRANULE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        block = (uint8_t *)((place + NTH_GRANULE_BYTES - 1) & ~(uintptr_t)(NTH_GRANULE_BYTES - 1));
    }
    nth_forget(block, FOREIGN_BYTES); /* a heap that could not be destroyed held it */
    memset(block, 0, FOREIGN_BYTES);
    census_world.heap = RtlCreateHeap(HEAP_GROWABLE, block, FOREIGN_BYTES, 0, NULL, NULL);
    fill_mixed(12, 64, 700);
    free_every(2, 3);
    return census_world.heap;
}

static const struct {
    const char *name;
    HANDLE (*make)(void);
} states[] = {
    {"fresh", make_fresh},
    {"fragmented", make_fragmented},
    {"front end", make_front},
    {"front end, compacted", make_front_compacted},
    {"large blocks", make_large},
    {"segments", make_segments},
    {"fixed", make_fixed},
    {"decommitted", make_decommitted},
    {"user info", make_user_info},
    {"uncoalesced", make_uncoalesced},
    {"caller's block", make_foreign},
};

#define STATE_COUNT (sizeof(states) / sizeof(states[0]))

unsigned census_state_count(void)
{
    return STATE_COUNT;
}

const char *census_state_name(unsigned state)
{
    return states[state].name;
}

HANDLE census_make(unsigned state)
{
    (void)rig_setup(NULL);
    struct nth_seam seam = rig_seam();
    seam.locks = census_locks();
    nth_seam_set(&seam);
    census_world.flags = 0;
    census_world.count = 0;
    census_world.damage = NULL;
    census_world.broken = NULL;
    census_world.log.count = 0;
    census_world.log.reported = FALSE;
    return states[state].make();
}

unsigned census_block_count(void)
{
    return census_world.count;
}

const struct census_block *census_block_at(unsigned idx)
{
    return &census_world.blocks[idx];
}

unsigned census_nearest(LPCVOID address)
{
    unsigned found = 0;
    uintptr_t least = UINTPTR_MAX;
    for (unsigned idx = 0; idx < census_world.count; idx++) {
        const uintptr_t user = (uintptr_t)census_world.blocks[idx].user;
        const uintptr_t place = (uintptr_t)address;
        const uintptr_t distance = user > place ? user - place : place - user;
        if (user != 0 && distance < least) {
            least = distance;
            found = idx;
        }
    }
    return found;
}

/* ---- battery ---- */

/* The live block next to `idx` by address, behind it or before; itself when there is none. */
static unsigned neighbour(unsigned idx, BOOLEAN behind)
{
    const uintptr_t place = (uintptr_t)census_world.blocks[idx].user;
    unsigned found = idx;
    uintptr_t least = UINTPTR_MAX;
    for (unsigned other = 0; other < census_world.count; other++) {
        const uintptr_t user = (uintptr_t)census_world.blocks[other].user;
        const uintptr_t distance = behind ? user - place : place - user;
        if (user != 0 && (behind ? user > place : user < place) && distance < least) {
            least = distance;
            found = other;
        }
    }
    return found;
}

static const SIZE_T alloc_sizes[] = {1, 40, 200, 200, 1000, 5000, 30000};

static unsigned allocations(void)
{
    const unsigned first = census_world.count;
    for (size_t idx = 0; idx < sizeof(alloc_sizes) / sizeof(alloc_sizes[0]); idx++) {
        census_alloc(idx % 2 == 0 ? HEAP_ZERO_MEMORY : 0, alloc_sizes[idx]);
    }
    return first;
}

static void give_back(unsigned first, unsigned end)
{
    for (unsigned idx = first; idx < end; idx++) {
        census_free(idx);
    }
}

struct around {
    unsigned target;
    unsigned before;
    unsigned behind;
};

static void resizes(unsigned idx)
{
    const SIZE_T bytes = census_world.blocks[idx].bytes;
    census_realloc(idx, HEAP_REALLOC_IN_PLACE_ONLY, bytes + 16);
    census_realloc(idx, HEAP_REALLOC_IN_PLACE_ONLY, bytes / 2);
    census_realloc(idx, HEAP_ZERO_MEMORY, bytes * 2 + 100);
}

static void allocate_first(const struct around *around)
{
    const unsigned first = allocations();
    const unsigned end = census_world.count;
    census_look(around->target);
    resizes(around->target);
    census_free(around->behind);
    census_free(around->before);
    census_free(around->target);
    give_back(first, end);
    census_walk();
    census_whole();
    allocations();
}

static void free_first(const struct around *around)
{
    census_free(around->target);
    census_free(around->before);
    const unsigned first = allocations();
    resizes(around->behind);
    give_back(first, first + 4);
    census_whole();
    census_free(around->behind);
    census_walk();
    allocations();
}

static void look_first(const struct around *around)
{
    census_walk();
    census_look(around->target);
    census_look(around->before);
    resizes(around->before);
    census_whole();
    census_free(around->behind);
    const unsigned first = allocations();
    census_alloc(0, LARGE_BYTES);
    census_free(around->target);
    give_back(first, census_world.count);
    census_free(around->before);
    allocations();
}

static void (*const orders[CENSUS_VARIANT_COUNT])(const struct around *around) = {
    allocate_first, free_first, look_first};

/* ---- one case ---- */

struct control {
    unsigned count;
    unsigned validated;
    uint64_t *words;
};

#define CONTROL_TARGETS 128u
static struct control controls[STATE_COUNT][CONTROL_TARGETS][CENSUS_VARIANT_COUNT];

struct passage {
    BOOLEAN seen;      /* validating before the battery reported */
    BOOLEAN seen_late; /* validating after it did, and it did not itself */
    BOOLEAN touched;   /* an ordinary call reported */
    unsigned touched_at;
};

static void validate_some(const struct around *around)
{
    census_validate(NULL);
    census_validate(census_world.blocks[around->target].user);
    census_validate(census_world.blocks[around->before].user);
    census_validate(census_world.blocks[around->behind].user);
}

/* State, damage, validating (which changes nothing), battery, validating, destroying. The log in
 * the world is the battery's alone. */
static struct passage pass(const struct census_case *wanted, BOOLEAN damaged)
{
    struct census_log *log = &census_world.log;
    struct passage passage = {0};
    census_make(wanted->state);
    struct around around = {.target = wanted->target};
    around.before = neighbour(around.target, FALSE);
    around.behind = neighbour(around.target, TRUE);
    if (census_world.log.reported) {
        census_break("reported without damage");
    }
    if (damaged) {
        census_damage(wanted);
    }
    validate_some(&around);
    passage.seen = log->reported;
    log->reported = FALSE;
    log->count = 0;
    orders[wanted->variant](&around);
    census_contents();
    passage.touched = log->reported;
    passage.touched_at = log->reported_at;
    const unsigned count = log->count;
    log->reported = FALSE;
    census_validate(NULL);
    census_contents();
    passage.seen_late = log->reported && !passage.touched;
    census_destroy();
    log->count = count;
    nth_process_reset();
    return passage;
}

static struct control *control_of(const struct census_case *wanted)
{
    struct control *control = &controls[wanted->state][wanted->target][wanted->variant];
    struct census_log *log = &census_world.log;
    if (control->words == NULL) {
        const struct passage passage = pass(wanted, FALSE);
        control->count = log->count;
        control->words = malloc(sizeof(log->words[0]) * (log->count + 1u));
        if (control->words != NULL) {
            memcpy(control->words, log->words, sizeof(log->words[0]) * log->count);
        }
        if (passage.seen || passage.seen_late || passage.touched) {
            (void)fprintf(stderr, "census: %s: %s, answer %u\n", log->first.call,
                          nth_reason_name(log->first.reason), passage.touched_at);
            census_break("the battery reports without damage");
        }
        if (census_world.broken != NULL || control->words == NULL) {
            (void)fprintf(stderr, "census: state %s, block %u, order %u without damage: %s\n",
                          census_state_name(wanted->state), wanted->target, wanted->variant,
                          census_world.broken);
            _exit(3);
        }
    }
    return control;
}

/* Entry at which the log leaves the control's; its count when it does not. */
static unsigned divergence(const struct control *control)
{
    const struct census_log *log = &census_world.log;
    unsigned idx = 0;
    while (idx < log->count && idx < control->count && log->words[idx] == control->words[idx]) {
        idx++;
    }
    return idx;
}

enum census_verdict census_run(const struct census_case *wanted, char *text, size_t text_bytes)
{
    const struct control *control = control_of(wanted);
    const struct passage passage = pass(wanted, TRUE);
    const unsigned at = divergence(control);
    const BOOLEAN differs = at < control->count || census_world.log.count != control->count;
    (void)snprintf(text, text_bytes, "%s", census_world.broken != NULL ? census_world.broken : "");
    if (census_world.broken != NULL) {
        return CENSUS_BROKEN;
    }
    if (differs && (!passage.touched || at < passage.touched_at)) {
        (void)snprintf(text, text_bytes, "answer %u of %u differs, %s", at, control->count,
                       passage.touched     ? "reported later"
                       : passage.seen      ? "validating reports"
                       : passage.seen_late ? "validating reports at the end"
                                           : "never reported");
        return CENSUS_SILENT;
    }
    return passage.touched                     ? CENSUS_TOUCH
           : passage.seen || passage.seen_late ? CENSUS_VALIDATE
                                               : CENSUS_HARMLESS;
}

const char *census_verdict_name(enum census_verdict verdict)
{
    static const char *const names[CENSUS_VERDICT_COUNT] = {
        "not run", "touch", "validate", "harmless", "silent", "broken", "crash", "hang"};
    return names[verdict];
}
