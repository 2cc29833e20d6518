/* SPDX-License-Identifier: MIT
 *
 * The model under a damaged heap: what is live, what it holds, what each call answered. See
 * census_heap.h. */
#include "census_heap.h"

#include <string.h>

#include "probe.h"

#define PATTERN_BYTES 65536u
#define PATTERN_STEP 61u
#define SAMPLE_BYTES 256u /* of a block that is longer than the pattern, each */
#define SAMPLE_STEP 8192u
#define WALK_MAX 4096u
#define USER_VALUE ((PVOID)(uintptr_t)0x5A5A1234u)

struct census_world census_world;

static uint8_t pattern[PATTERN_BYTES + CENSUS_BLOCK_MAX * 4u * PATTERN_STEP];

static void pattern_make(void)
{
    uint64_t state = 0x9E3779B97F4A7C15u;
    for (size_t idx = 0; pattern[0] == 0 && idx < sizeof(pattern); idx++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pattern[sizeof(pattern) - 1 - idx] = (uint8_t)((state >> 33) | 1u);
    }
}

void census_break(const char *rule)
{
    if (census_world.broken == NULL) {
        census_world.broken = rule;
    }
}

/* ---- contents ---- */

static const uint8_t *expected(const struct census_block *block, size_t offset)
{
    return pattern + (block->pattern * PATTERN_STEP) % (sizeof(pattern) - PATTERN_BYTES) +
           offset % PATTERN_BYTES;
}

/* Stretches of at most the pattern's length, never across its end. */
static size_t stretch(const struct census_block *block, size_t offset)
{
    const size_t left = block->bytes - offset;
    const size_t whole = PATTERN_BYTES - offset % PATTERN_BYTES;
    return left < whole ? left : whole;
}

static void fill(struct census_block *block)
{
    pattern_make();
    for (size_t offset = 0; offset < block->bytes; offset += stretch(block, offset)) {
        memcpy((uint8_t *)block->user + offset, expected(block, offset), stretch(block, offset));
    }
    block->hit_len = 0;
}

static BOOLEAN same(const struct census_block *block, size_t offset, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)block->user + offset;
    if (memcmp(at, expected(block, offset), bytes) == 0) {
        return TRUE;
    }
    for (size_t idx = 0; idx < bytes; idx++) {
        const size_t place = offset + idx - block->hit_offset;
        const uint8_t want = place < block->hit_len
                                 ? census_world.damage->bytes[block->hit_from + place]
                                 : *expected(block, offset + idx);
        if (at[idx] != want) {
            return FALSE;
        }
    }
    return TRUE;
}

static BOOLEAN holds(const struct census_block *block)
{
    if (block->bytes <= PATTERN_BYTES) {
        return same(block, 0, block->bytes);
    }
    for (size_t offset = 0; offset + SAMPLE_BYTES <= block->bytes; offset += SAMPLE_STEP) {
        if (!same(block, offset, SAMPLE_BYTES)) {
            return FALSE;
        }
    }
    return same(block, block->bytes - SAMPLE_BYTES, SAMPLE_BYTES);
}

void census_contents(void)
{
    for (unsigned idx = 0; idx < census_world.count; idx++) {
        if (census_world.blocks[idx].user != NULL && !holds(&census_world.blocks[idx])) {
            census_break("contents of a live block changed");
        }
    }
}

static void hit(struct census_block *block, const struct census_case *damage)
{
    const uintptr_t start = (uintptr_t)block->user;
    const uintptr_t first = (uintptr_t)damage->address;
    const uintptr_t from = first > start ? first : start;
    const uintptr_t end =
        start + block->bytes < first + damage->len ? start + block->bytes : first + damage->len;
    if (start != 0 && from < end) {
        block->hit_offset = from - start;
        block->hit_from = (uint8_t)(from - first);
        block->hit_len = (uint8_t)(end - from);
    }
}

void census_damage(const struct census_case *wanted)
{
    census_world.damage = wanted;
    for (unsigned idx = 0; idx < wanted->len; idx++) {
        uint8_t *at = (uint8_t *)wanted->address + idx;
        nth_poke(at, (uint8_t)(wanted->bytes[idx] ^ (wanted->flips ? nth_peek(at) : 0)));
    }
    for (unsigned idx = 0; idx < census_world.count; idx++) {
        hit(&census_world.blocks[idx], wanted);
    }
}

/* ---- locks ---- */

/* Of the default table, held by this process, which has one thread. */
static int locks_held;

static void lock_acquire(void *self, void *lock)
{
    nth_locks_os()->acquire(self, lock);
    locks_held++;
}

static BOOLEAN lock_try(void *self, void *lock)
{
    const BOOLEAN got = nth_locks_os()->try_acquire(self, lock);
    locks_held += got;
    return got;
}

static void lock_release(void *self, void *lock)
{
    locks_held--;
    nth_locks_os()->release(self, lock);
}

const struct nth_locks *census_locks(void)
{
    static struct nth_locks locks;
    locks = *nth_locks_os();
    locks.acquire = lock_acquire;
    locks.try_acquire = lock_try;
    locks.release = lock_release;
    locks_held = 0;
    return &locks;
}

/* ---- calls ---- */

static void log_add(uint64_t word)
{
    struct census_log *log = &census_world.log;
    if (log->count == CENSUS_LOG_MAX) {
        census_break("the log is full");
        return;
    }
    log->words[log->count++] = word;
}

static struct rig_outcome call(const struct rig_args *args)
{
    struct census_log *log = &census_world.log;
    const struct rig_outcome outcome = rig_run(args);
    if (outcome.reports > 0 && !log->reported) {
        log->reported = TRUE;
        log->reported_at = log->count;
        log->first = *rig_report_last();
    }
    log_add(((uint64_t)outcome.value * 31u + outcome.last_error) * 31u + outcome.raised);
    if (outcome.raised) {
        census_break("raised without being asked to");
    }
    if (locks_held != 0) {
        census_break("a lock is still held");
    }
    if (outcome.reports > 1) {
        census_break("reported more than once in a call");
    }
    if (nth_faults.in_call != 0 || nth_faults.elsewhere != 0) {
        census_break("hardware fault in core");
    }
    return outcome;
}

static BOOLEAN overlaps(const struct census_block *block)
{
    const uintptr_t user = (uintptr_t)block->user;
    for (unsigned idx = 0; idx < census_world.count; idx++) {
        const struct census_block *other = &census_world.blocks[idx];
        const uintptr_t start = (uintptr_t)other->user;
        if (other != block && start != 0 && user < start + other->bytes + 1 &&
            start < user + block->bytes + 1) {
            census_break("a block overlaps a live one");
            return TRUE;
        }
    }
    return FALSE;
}

unsigned census_alloc(ULONG flags, SIZE_T bytes)
{
    const unsigned idx = census_world.count;
    struct rig_args args = {.call = RIG_HEAP_ALLOC,
                            .heap = census_world.heap,
                            .flags = flags | census_world.flags,
                            .size = bytes};
    if (idx == CENSUS_BLOCK_MAX) {
        census_break("the model is full");
        return 0;
    }
    struct census_block *block = &census_world.blocks[idx];
    const struct rig_outcome outcome = call(&args);
    census_world.count++;
    *block = (struct census_block){.user = outcome.raised ? NULL : (PVOID)outcome.value,
                                   .bytes = bytes,
                                   .pattern = idx,
                                   .info = (args.flags & HEAP_SETTABLE_USER_VALUE) != 0};
    if (block->user != NULL && overlaps(block)) {
        block->user = NULL;
    } else if (block->user != NULL) {
        fill(block);
    }
    return idx;
}

void census_free(unsigned idx)
{
    struct census_block *block = &census_world.blocks[idx];
    struct rig_args args = {.call = RIG_HEAP_FREE, .heap = census_world.heap, .block = block->user};
    if (block->user != NULL && call(&args).value != FALSE) {
        block->user = NULL;
    }
}

void census_realloc(unsigned idx, ULONG flags, SIZE_T bytes)
{
    struct census_block *block = &census_world.blocks[idx];
    struct rig_args args = {.call = RIG_HEAP_REALLOC,
                            .heap = census_world.heap,
                            .flags = flags,
                            .block = block->user,
                            .size = bytes};
    if (block->user == NULL) {
        return;
    }
    const struct rig_outcome outcome = call(&args);
    if (outcome.raised || outcome.value == 0) {
        return;
    }
    block->user = (PVOID)outcome.value;
    struct census_block kept = *block;
    kept.bytes = bytes < block->bytes ? bytes : block->bytes;
    block->bytes = bytes;
    if (overlaps(block)) {
        block->user = NULL;
        return;
    }
    if (!holds(&kept)) {
        census_break("reallocating lost contents");
    }
    fill(block);
}

void census_look(unsigned idx)
{
    const struct census_block *block = &census_world.blocks[idx];
    PVOID value = NULL;
    ULONG flags = 0;
    struct rig_args args = {.call = RIG_HEAP_SIZE, .heap = census_world.heap, .block = block->user};
    if (block->user == NULL) {
        return;
    }
    call(&args);
    args.call = RIG_GET_USER_INFO;
    args.extra = &value;
    args.extra2 = &flags;
    if (call(&args).value != FALSE) {
        log_add((uint64_t)(uintptr_t)value * 31u + flags);
        args.call = RIG_SET_USER_VALUE;
        args.extra = USER_VALUE;
        call(&args);
    }
}

void census_walk(void)
{
    PROCESS_HEAP_ENTRY entry;
    struct rig_args args = {.call = RIG_HEAP_WALK, .heap = census_world.heap, .extra = &entry};
    memset(&entry, 0, sizeof(entry));
    for (unsigned count = 0; call(&args).value != FALSE; count++) {
        log_add(((uint64_t)(uintptr_t)entry.lpData * 31u + entry.cbData) * 31u + entry.wFlags +
                entry.cbOverhead);
        if (count == WALK_MAX) {
            census_break("a walk does not end");
            return;
        }
    }
}

void census_whole(void)
{
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    struct rig_args args = {.call = RIG_HEAP_SUMMARY, .heap = census_world.heap, .extra = &summary};
    call(&args);
    log_add((uint64_t)summary.cbAllocated * 31u + summary.cbCommitted);
    args.call = RIG_RTL_ZERO;
    call(&args);
    args.call = RIG_HEAP_COMPACT;
    call(&args);
}

BOOLEAN census_validate(LPCVOID block)
{
    struct rig_args args = {
        .call = RIG_HEAP_VALIDATE, .heap = census_world.heap, .block = (PVOID)(uintptr_t)block};
    const struct rig_outcome outcome = call(&args);
    /* An address that starts no live block, by the map, is FALSE without a report (D76). */
    if ((outcome.value == FALSE) != (outcome.reports > 0) && block == NULL) {
        census_break("validating does not report what it finds");
    }
    return outcome.value != FALSE;
}

void census_destroy(void)
{
    struct rig_args args = {.call = RIG_HEAP_DESTROY, .heap = census_world.heap};
    if (call(&args).value != FALSE) {
        census_world.count = 0;
    }
}
