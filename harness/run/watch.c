/* SPDX-License-Identifier: MIT
 *
 * Programs under the verifier: what each call must lead to is worked out from the model, what was
 * told is gathered, and the model of the verifier follows. */
#include "watch.h"

#include "program/size.h"
#include "stand_in.h"

#include <stdio.h>

#define STAMP_START_LIGHT 0xABCDAAAAu
#define STAMP_END_LIGHT 0xDCBAAAAAu
#define STAMP_START_FULL 0xABCDBBBBu
#define STAMP_END_FULL 0xDCBABBBBu
#define PEEKED_BYTES 96u /* at each end of a block */
#define FREE_WORDS_FROM 16u
#define WHOLE_BYTES 0x4000u
#define AVOIDED_MAX (RIG_SHADOW_HEAP_COUNT * 8u)

const struct rig_switch rig_switches[RIG_SWITCH_COUNT] = {
    {"Heaps", "BAD_HEAP_HANDLE", RIG_STOP_BAD_HANDLE},
    {"Heaps", "DOUBLE_FREE", RIG_STOP_DOUBLE_FREE},
    {"Heaps", "SWITCHED_HEAP_HANDLE", RIG_STOP_SWITCHED},
    {"Heaps", "CORRUPTED_HEAP_BLOCK", RIG_STOP_BLOCK},
    {"Heaps", "CORRUPTED_HEAP_BLOCK_SUFFIX", RIG_STOP_SUFFIX},
    {"Heaps", "CORRUPTED_FREED_HEAP_BLOCK", RIG_STOP_FREED},
    {"Heaps", "EXTREME_SIZE_REQUEST", RIG_STOP_EXTREME},
    {"Leak", "ALLOCATION", RIG_STOP_LEAK},
};

/* ---- On ------------------------------------------------------------------------------------- */

void rig_watch_begin(struct rig_exec *exec)
{
    struct rig_watch *watch = &exec->watch;
    const struct rig_program *program = exec->program;
    if ((program->flags & RIG_PROGRAM_VERIFY) == 0 || exec->subject->verify == NULL) {
        return;
    }
    rig_verify_from_bytes(&watch->set, program->plan);
    rig_verify_print(&watch->set, watch->text);
    if (!watch->set.on) {
        return;
    }
    const size_t len = strlen(watch->text);
    (void)snprintf(watch->text + len, sizeof(watch->text) - len, ",seed=%u", program->seed);
    if (!exec->subject->verify(watch->text)) { /* for want of memory: there is nothing to watch */
        struct rig_refusals told = {0};
        exec->subject->refused(&told);
        RIG_CHECK(told.over_count > 0);
        exec->ended = true;
        return;
    }
    watch->on = true;
    watch->marks = (watch->set.layers & RIG_VERIFY_HEAPS) != 0;
    watch->tracks = watch->marks || (watch->set.layers & RIG_VERIFY_LEAK) != 0 ||
                    (watch->set.flags & (RIG_VERIFY_HTC | RIG_VERIFY_HFC)) != 0;
    watch->ppm = watch->set.ppm;
    watch->quiet_until_ms = watch->set.quiet_ms;
}

void rig_watch_reset(struct rig_exec *exec)
{
    struct rig_watch *watch = &exec->watch;
    if (!watch->on) {
        return;
    }
    for (unsigned idx = 0; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        watch->queues[idx].first = 0;
        watch->queues[idx].count = 0;
        watch->queues[idx].bytes = 0;
    }
    rig_modules_drop();
    memset(&watch->set, 0, sizeof(watch->set));
    memset(watch->modules, 0, sizeof(watch->modules));
    memset(watch->stops, 0, sizeof(watch->stops));
    watch->on = false;
    watch->caller = 0;
    watch->order = 0;
    watch->clock_ms = 0;
    watch->told = 0;
    watch->silenced = 0;
    watch->leaks = 0;
    watch->unloads = 0;
    watch->disowned = 0;
    watch->thrice_told = false;
    watch->listed = false;
    watch->rates = 0;
    watch->full_count = 0;
    watch->pages_kept = false;
    memset(watch->avoided, 0, sizeof(watch->avoided));
    watch->avoided_count = 0;
}

const struct rig_subject *rig_as(struct rig_exec *exec)
{
    return exec->watch.caller == 0 ? exec->subject
                                   : rig_stand_in(exec->watch.caller, exec->subject);
}

void rig_watch_step(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    if (!exec->watch.on) {
        return;
    }
    memset(watched, 0, offsetof(struct rig_watched, expected));
    memset((char *)watched + offsetof(struct rig_watched, before), 0,
           sizeof(*watched) - offsetof(struct rig_watched, before));
    watched->watch = &exec->watch;
    step->watched = watched;
}

bool rig_watch_allows(const struct rig_exec *exec, unsigned op)
{
    return !exec->watch.on || rig_op_verified(op);
}

/* One thread, no filters: stories have their own. Only flags that every ruling knows. */
void rig_watch_tame(const struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.on) {
        return;
    }
    step->second = false;
    if (step->context != RIG_CONTEXT_LOCKED) {
        step->context = RIG_CONTEXT_PLAIN;
    }
    /* Whole heaps are read before every call. */
    if ((exec->watch.set.flags & RIG_VERIFY_HVC) != 0 && step->size_bytes < SIZE_MAX / 4) {
        step->size_bytes %= WHOLE_BYTES;
    }
    const ULONG usual = HEAP_NO_SERIALIZE | HEAP_GENERATE_EXCEPTIONS | HEAP_ZERO_MEMORY;
    if (step->op == RIG_OP_ALLOC) {
        step->flags &= usual | HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAGS;
    } else if (step->op == RIG_OP_REALLOC) {
        step->flags &= usual | HEAP_REALLOC_IN_PLACE_ONLY;
    } else if (rig_op_reads(step->op, RIG_OPERAND_FLAGS)) {
        step->flags &= HEAP_NO_SERIALIZE;
    }
}

/* ---- Around a call -------------------------------------------------------------------------- */

void rig_watch_before(struct rig_exec *exec)
{
    if (exec->watch.on) {
        exec->watch_from = exec->subject->stops(SIZE_MAX, NULL);
        exec->subject->verified(&exec->watched.before);
    }
}

void rig_watch_after(struct rig_exec *exec)
{
    struct rig_watched *watched = &exec->watched;
    if (!exec->watch.on) {
        return;
    }
    const size_t count = exec->subject->stops(SIZE_MAX, NULL);
    watched->told_count = (unsigned)(count - exec->watch_from);
    for (unsigned idx = 0; idx < watched->told_count && idx < RIG_STOPS_MAX; idx++) {
        (void)exec->subject->stops(exec->watch_from + idx, &watched->told[idx]);
    }
    exec->subject->verified(&watched->after);
    rig_see_stops_worded(exec);
}

/* ---- What must be told ---------------------------------------------------------------------- */

static unsigned switch_of(unsigned code)
{
    unsigned idx = 0;
    while (idx < RIG_SWITCH_COUNT && rig_switches[idx].code != code) {
        idx++;
    }
    return idx;
}

struct rig_expected *rig_watch_expect(struct rig_exec *exec, unsigned code, uintptr_t first,
                                      uintptr_t second, uintptr_t third, uintptr_t fourth)
{
    static struct rig_expected silent;
    struct rig_watched *watched = &exec->watched;
    const unsigned idx = switch_of(code);
    if (idx < RIG_SWITCH_COUNT) {
        if (exec->watch.stops[idx].off ||
            (exec->watch.stops[idx].once && exec->watch.stops[idx].told)) {
            watched->silent_count++;
            return &silent;
        }
        exec->watch.stops[idx].told = true;
        watched->fatal = watched->fatal || exec->watch.stops[idx].fatal;
    }
    RIG_CHECK(watched->expected_count < RIG_STOPS_MAX);
    struct rig_expected *expected = &watched->expected[watched->expected_count++];
    *expected = (struct rig_expected){
        .code = code,
        .parameter = {first, second, third, fourth},
    };
    return expected;
}

static bool flag(const struct rig_watch *watch, unsigned flags)
{
    return (watch->set.flags & flags) != 0;
}

/* The stop for what is not as it was around a live block, 0: none; and the stamp found. */
static unsigned code_of_flips(uint8_t flips, bool full, uintptr_t *bad)
{
    *bad = 0;
    if ((flips >> RIG_FLIP_START_STAMP & 1u) != 0) {
        *bad = (full ? STAMP_START_FULL : STAMP_START_LIGHT) ^ 1u;
        return RIG_STOP_START_STAMP;
    }
    if ((flips >> RIG_FLIP_END_STAMP & 1u) != 0) {
        *bad = (full ? STAMP_END_FULL : STAMP_END_LIGHT) ^ 1u;
        return RIG_STOP_END_STAMP;
    }
    return (flips & RIG_FLIPS_PREFIX) != 0   ? RIG_STOP_PREFIX
           : (flips & RIG_FLIPS_REST) != 0   ? RIG_STOP_BLOCK
           : (flips & RIG_FLIPS_BEHIND) != 0 ? RIG_STOP_SUFFIX
                                             : 0;
}

static unsigned code_of_held(const struct rig_held *held)
{
    return (held->flips & RIG_FLIPS_MARK) != 0 ? RIG_STOP_HELD_MARK
           : held->touched || held->flips != 0 ? RIG_STOP_FREED
                                               : 0;
}

/* How much of a heap is not as it was left. */
unsigned rig_watch_damage(struct rig_exec *exec, unsigned heap)
{
    unsigned count = 0;
    const struct rig_queue *queue = &exec->watch.queues[heap];
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        count += block->heap == heap && block->flips != 0;
    }
    for (unsigned idx = 0; idx < queue->count; idx++) {
        count += code_of_held(&queue->held[(queue->first + idx) % RIG_HELD_MAX]) != 0;
    }
    return count;
}

/* A call with a live block of its heap: what is told of the block, and whether the call goes on. */
static void expect_block(struct rig_exec *exec, struct rig_step *step, bool freeing)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_watch *watch = &exec->watch;
    const struct rig_block *block = step->block;
    uintptr_t bad = 0;
    if (flag(watch, RIG_VERIFY_HVC) && rig_watch_damage(exec, step->heap->idx) != 0) {
        watched->refuses = true;
        watched->odd = true;
        return;
    }
    if (block->flips == 0) {
        return;
    }
    watched->odd = true;
    const unsigned looks = RIG_VERIFY_HPC | (freeing ? RIG_VERIFY_HTC : 0u);
    if (!watch->marks && !flag(watch, looks)) {
        return;
    }
    const unsigned code = code_of_flips(block->flips, block->full, &bad);
    struct rig_expected *expected = rig_watch_expect(exec, code, (uintptr_t)step->heap->handle,
                                                     block->address, block->size_bytes, bad);
    expected->allocated = true;
    watched->refuses = !freeing || flag(watch, RIG_VERIFY_HPC);
}

static void expect_extreme(struct rig_exec *exec, const struct rig_step *step)
{
    if (exec->watch.marks && step->size_bytes >= RIG_EXTREME_BYTES) {
        (void)rig_watch_expect(exec, RIG_STOP_EXTREME, (uintptr_t)step->heap->handle,
                               step->size_bytes, 0, 0);
    }
}

/* Low resources: certain to refuse, certain not to, or either. */
static void expect_starving(struct rig_exec *exec)
{
    const struct rig_watch *watch = &exec->watch;
    struct rig_watched *watched = &exec->watched;
    const unsigned caller = watch->caller;
    const bool included = watch->set.included == 0 ||
                          (caller != 0 && (watch->set.included >> (caller - 1u) & 1u) != 0);
    const bool excluded = caller != 0 && (watch->set.excluded >> (caller - 1u) & 1u) != 0;
    const bool acts = (watch->set.layers & RIG_VERIFY_LOWRES) != 0 && watch->ppm > 0 && included &&
                      !excluded && watch->clock_ms >= watch->quiet_until_ms;
    watched->spared = !acts;
    watched->starves = acts && watch->ppm == 1000000u && !watched->refuses;
}

/* The queue lets go what it has too much of once this block is in it. */
static void expect_release(struct rig_exec *exec, unsigned heap, size_t bytes)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_watch *watch = &exec->watch;
    const struct rig_queue *queue = &watch->queues[heap];
    size_t count = queue->count + 1u;
    size_t held_bytes = queue->bytes + bytes;
    for (unsigned idx = 0; idx < queue->count; idx++) {
        const struct rig_held *held = &queue->held[(queue->first + idx) % RIG_HELD_MAX];
        if (count <= watch->set.delayed_count && held_bytes <= watch->set.delayed_bytes) {
            return;
        }
        const unsigned code = held->full ? 0 : code_of_held(held);
        if (code != 0) {
            struct rig_expected *expected =
                rig_watch_expect(exec, code, (uintptr_t)exec->shadow.heaps[heap].handle,
                                 held->address, held->size_bytes, 0);
            expected->allocated = true;
            expected->freed = true;
            watched->released_bad++;
        }
        watched->released++;
        count--;
        held_bytes -= held->size_bytes;
    }
}

static bool holds(const struct rig_watch *watch)
{
    return watch->marks || flag(watch, RIG_VERIFY_HFC);
}

/* A reallocation that moved a marked block was done by hand: its old place is held back. */
static bool moved_by_hand(const struct rig_exec *exec, const struct rig_step *step)
{
    return step->op == RIG_OP_REALLOC && exec->watch.marks && !step->block->has_user_value &&
           step->outcome.value != 0 && step->outcome.value != step->block_before.address;
}

static void expect_destroy(struct rig_exec *exec, const struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_queue *queue = &exec->watch.queues[step->heap->idx];
    const uintptr_t handle = (uintptr_t)step->heap->handle;
    if (!exec->watch.marks || rig_watch_damage(exec, step->heap->idx) == 0) {
        return;
    }
    watched->match = RIG_MATCH_ONE;
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        uintptr_t bad = 0;
        if (block->heap == step->heap->idx && block->flips != 0) {
            const unsigned code = code_of_flips(block->flips, block->full, &bad);
            rig_watch_expect(exec, code, handle, block->address, block->size_bytes, bad)
                ->allocated = true;
        }
    }
    for (unsigned idx = 0; idx < queue->count; idx++) {
        const struct rig_held *held = &queue->held[(queue->first + idx) % RIG_HELD_MAX];
        if (code_of_held(held) != 0 && !held->full) {
            rig_watch_expect(exec, code_of_held(held), handle, held->address, held->size_bytes, 0)
                ->freed = true;
        }
    }
    /* One is told, which one is not known: what each of them would change cannot be said. */
    watched->odd = watched->odd || watched->silent_count + watched->expected_count > 1;
}

/* A size at which what is put around a block decides, or a heap that may be full of such. */
static void expect_room(struct rig_exec *exec, const struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_heap *heap = step->heap;
    const bool around = exec->watch.marks || flag(&exec->watch, RIG_VERIFY_HTC);
    if (around && !heap->growable &&
        (step->outcome.value == 0 || step->size_bytes + RIG_PAGE_BYTES > heap->threshold_bytes)) {
        watched->odd = true;
    }
    /* Rounding up what stands around it may be too much where the size alone is not. */
    if (around && step->size_bytes > SIZE_MAX / 4) {
        watched->odd = true;
    }
    if (exec->watch.set.unaligned) {
        watched->odd = true; /* blocks end at a page, wherever they begin then */
    }
}

/* ---- Seeing --------------------------------------------------------------------------------- */

static bool filled(const struct rig_exec *exec, uintptr_t from, size_t bytes, uint8_t value)
{
    for (size_t at = 0; at < bytes; at++) {
        if (at == PEEKED_BYTES && bytes > 2u * PEEKED_BYTES) {
            at = bytes - PEEKED_BYTES;
        }
        if (exec->subject->peek((const void *)(from + at)) != value) {
            return false;
        }
    }
    return true;
}

static uint32_t word_at(const struct rig_exec *exec, uintptr_t at)
{
    uint32_t word = 0;
    for (unsigned idx = 0; idx < 4; idx++) {
        word |= (uint32_t)exec->subject->peek((const void *)(at + idx)) << 8 * idx;
    }
    return word;
}

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1u) / unit * unit;
}

void rig_watch_pages(const struct rig_exec *exec, uintptr_t user, size_t laid_bytes, uintptr_t *low,
                     uintptr_t *high)
{
    const size_t data = round_up(laid_bytes + RIG_MARK_BYTES + 2u * sizeof(void *), RIG_PAGE_BYTES);
    if (exec->watch.set.backwards) {
        *low = user;
        *high = user + data;
    } else {
        *high = round_up(user + laid_bytes, RIG_PAGE_BYTES);
        *low = *high - data;
    }
}

/* Stamps, fills and place of a block that was just made, or resized from `before` bytes. */
static void see_block(struct rig_exec *exec, struct rig_step *step, size_t before, bool resized)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_watch *watch = &exec->watch;
    const uintptr_t user = step->outcome.value;
    const size_t bytes = step->size_bytes;
    const bool zeroed = (step->flags & HEAP_ZERO_MEMORY) != 0;
    const size_t align = watch->set.unaligned ? 1u : 2u * sizeof(void *);
    uintptr_t low = 0;
    uintptr_t high = 0;
    if (!watch->marks || exec->subject->peek == NULL) {
        return;
    }
    watched->seen = true;
    if (watched->full_known && watched->full != watched->full_due) {
        return; /* nothing is where it should be */
    }
    const uint8_t fresh = watched->full ? 0xC0u : 0xE0u;
    watched->fill_seen = bytes > before;
    if (watched->full && watch->set.backwards && user % RIG_PAGE_BYTES != 0) {
        return;
    }
    if (bytes > before) {
        watched->fill_right = filled(exec, user + before, bytes - before, zeroed ? 0u : fresh);
    }
    if (watched->full) {
        rig_watch_pages(exec, user, resized ? step->block_before.laid_bytes : bytes, &low, &high);
        const size_t gap = high - user - bytes;
        const bool shrunk = resized && bytes < before;
        watched->gap_right = watch->set.backwards ? user % RIG_PAGE_BYTES == 0
                                                  : shrunk || gap == round_up(bytes, align) - bytes;
        watched->behind_right = shrunk || filled(exec, user + bytes, gap, 0xD0u);
    } else {
        watched->gap_right = true;
        watched->behind_right = filled(exec, user + bytes, 8u, 0xA0u);
    }
    watched->stamps_right = true;
    if (!watched->full || !watch->set.backwards) {
        const uintptr_t mark = user - RIG_MARK_BYTES;
        watched->stamps_right =
            word_at(exec, mark) == (watched->full ? STAMP_START_FULL : STAMP_START_LIGHT) &&
            word_at(exec, user - 12u) == (watched->full ? STAMP_END_FULL : STAMP_END_LIGHT) &&
            filled(exec, user - 8u, 8u, 0xB0u);
    }
}

/* What the tail check puts behind blocks. */
static void see_tail(struct rig_exec *exec, const struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    const size_t tail = 2u * sizeof(void *);
    if (exec->watch.marks || !flag(&exec->watch, RIG_VERIFY_HTC) ||
        step->size_bytes > RIG_THRESHOLD_BYTES - tail || exec->subject->peek == NULL) {
        return;
    }
    watched->seen = true;
    watched->gap_right = true;
    watched->stamps_right = true;
    watched->behind_right = filled(exec, step->outcome.value + step->size_bytes, tail, 0xABu);
}

static void see_freed(struct rig_exec *exec, const struct rig_step *step)
{
    static const uint8_t word[4] = {0xEE, 0xFE, 0xEE, 0xFE};
    struct rig_watched *watched = &exec->watched;
    const struct rig_block *block = &step->block_before;
    const struct rig_watch *watch = &exec->watch;
    const bool stays =
        watch->set.delayed_count > 0 && block->size_bytes <= watch->set.delayed_bytes;
    if (!holds(watch) || block->full || !stays || exec->subject->peek == NULL) {
        return;
    }
    watched->freed_seen = true;
    if (watch->marks) {
        watched->freed_right =
            filled(exec, block->address, block->size_bytes, 0xF0u) &&
            word_at(exec, block->address - RIG_MARK_BYTES) == STAMP_START_LIGHT - 1u &&
            word_at(exec, block->address - 12u) == STAMP_END_LIGHT - 1u;
        return;
    }
    watched->freed_right = true;
    for (size_t at = FREE_WORDS_FROM; at < block->size_bytes && at < 256u; at++) {
        watched->freed_right =
            watched->freed_right &&
            exec->subject->peek((const void *)(block->address + at)) == word[at % 4u];
    }
}

/* Is a new block of this size and caller to be a full one? */
static void see_full(struct rig_exec *exec, const struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    const struct rig_watch *watch = &exec->watch;
    const unsigned caller = watch->caller;
    const bool moved =
        step->op == RIG_OP_REALLOC && step->outcome.value != step->block_before.address;
    watched->full = watched->after.full > watched->before.full;
    if (step->op == RIG_OP_REALLOC && !moved) {
        watched->full = step->block->full;
        return;
    }
    if (step->op == RIG_OP_REALLOC && step->block->has_user_value) {
        return;
    }
    watched->full_known = watch->marks;
    switch (watch->set.selector) {
    case RIG_VERIFY_RANDOM:
        watched->full_known = watch->set.number == 0 || watch->set.number == 100;
        watched->full_due = watch->set.number == 100;
        break;
    case RIG_VERIFY_SIZE:
        watched->full_due =
            step->size_bytes >= watch->set.size_min && step->size_bytes <= watch->set.size_max;
        break;
    case RIG_VERIFY_DLLS:
        watched->full_due = caller != 0 && (watch->set.number >> (caller - 1u) & 1u) != 0;
        break;
    case RIG_VERIFY_ADDRESS:
        watched->full_due = watch->set.number == RIG_VERIFY_ALL_CODE;
        break;
    case RIG_VERIFY_BUDGET: /* two mappings a block */
        watched->full_known = watched->full_known && !watch->pages_kept;
        watched->full_due = 2u * watch->full_count + 2u <= watch->set.number;
        break;
    default:
        watched->full_due = true;
        break;
    }
    watched->full_due =
        watched->full_due && watch->set.full && (step->flags & HEAP_SETTABLE_USER_VALUE) == 0;
}

/* ---- Before it is judged -------------------------------------------------------------------- */

static void settle_made(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    expect_starving(exec);
    expect_room(exec, step);
    see_full(exec, step);
    if (step->outcome.value == 0) {
        /* Even what can always be had is refused then. */
        watched->odd =
            watched->odd || (watched->after.refused > watched->before.refused &&
                             (step->op == RIG_OP_REALLOC || step->expect != RIG_EXPECT_BLOCK));
        return;
    }
    if (step->op == RIG_OP_ALLOC) {
        see_block(exec, step, 0, false);
    } else {
        watched->moves = moved_by_hand(exec, step);
        see_block(exec, step, step->block_before.size_bytes, !watched->moves);
        if (watched->moves) {
            expect_release(exec, step->heap->idx, step->block_before.size_bytes);
        }
    }
    see_tail(exec, step);
}

/* HeapValidate and RtlValidateHeap tell by their answer. */
static void settle_validate(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    const bool bad = step->block != NULL ? step->block->flips != 0
                                         : rig_watch_damage(exec, step->heap->idx) != 0;
    watched->odd = bad;
    watched->refuses = bad;
}

bool rig_watch_cut_short(const struct rig_step *step)
{
    return step->outcome.refusals > 0 && step->outcome.raised &&
           step->outcome.exception.ExceptionCode == STATUS_NO_MEMORY;
}

void rig_watch_settle(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    if (!exec->watch.on || step->nothing) {
        return;
    }
    switch (step->op) {
    case RIG_OP_ALLOC:
        expect_extreme(exec, step);
        if (flag(&exec->watch, RIG_VERIFY_HVC) && rig_watch_damage(exec, step->heap->idx) != 0) {
            watched->refuses = true;
            watched->odd = true;
        }
        settle_made(exec, step);
        break;
    case RIG_OP_REALLOC:
        expect_extreme(exec, step);
        expect_block(exec, step, false);
        settle_made(exec, step);
        break;
    case RIG_OP_FREE:
        expect_block(exec, step, true);
        if (step->outcome.value != 0 && holds(&exec->watch)) {
            expect_release(exec, step->heap->idx, step->block->size_bytes);
            see_freed(exec, step);
        }
        break;
    case RIG_OP_SIZE:
        expect_block(exec, step, false);
        break;
    case RIG_OP_READ:
    case RIG_OP_WRITE:
    case RIG_OP_DISOWN:
        watched->odd = step->block->flips != 0 || flag(&exec->watch, RIG_VERIFY_HVC);
        break;
    case RIG_OP_VALIDATE:
    case RIG_OP_VALIDATE_BLOCK:
        settle_validate(exec, step);
        break;
    case RIG_OP_CREATE:
        if (step->outcome.value != 0 && (exec->watch.set.layers & RIG_VERIFY_MEMORY) != 0 &&
            (step->flags & HEAP_CREATE_ENABLE_EXECUTE) != 0) {
            (void)rig_watch_expect(exec, RIG_STOP_EXECUTABLE, 0, 0, 0, 0);
        }
        break;
    case RIG_OP_DESTROY:
        expect_destroy(exec, step);
        break;
    case RIG_OP_VERIFY:
        if (rig_watch_cut_short(step)) {
            watched->match = RIG_MATCH_SOME;
        }
        break;
    default:
        break;
    }
    if (exec->watch.set.once && watched->expected_count > 0) {
        watched->match = watched->match == RIG_MATCH_ONE ? watched->match : RIG_MATCH_SOME;
    }
}

/* ---- After it was judged -------------------------------------------------------------------- */

static void hold(struct rig_exec *exec, const struct rig_block *block)
{
    struct rig_watch *watch = &exec->watch;
    struct rig_queue *queue = &watch->queues[block->heap];
    RIG_CHECK(queue->count < RIG_HELD_MAX);
    queue->held[(queue->first + queue->count++) % RIG_HELD_MAX] = (struct rig_held){
        .address = block->address,
        .size_bytes = block->size_bytes,
        .full = block->full,
        .open = block->full && exec->step.outcome.refusals > 0,
        .marked = watch->marks,
    };
    watch->pages_kept = watch->pages_kept || (block->full && exec->step.outcome.refusals > 0);
    queue->bytes += block->size_bytes;
    watch->full_count -= block->full; /* its pages are gone */
    while (queue->count > 0 &&
           (queue->count > watch->set.delayed_count || queue->bytes > watch->set.delayed_bytes)) {
        queue->bytes -= queue->held[queue->first].size_bytes;
        queue->first = (queue->first + 1u) % RIG_HELD_MAX;
        queue->count--;
    }
}

void rig_watch_gone(struct rig_exec *exec, const struct rig_block *block, bool freed)
{
    struct rig_watch *watch = &exec->watch;
    if (!watch->on) {
        return;
    }
    if (block->owner <= RIG_MODULE_COUNT && watch->modules[block->owner].loaded) {
        struct rig_module *module = &watch->modules[block->owner];
        module->freed_by_other += freed && watch->caller != block->owner;
        module->gone_with_heap += !freed;
    }
    if (block->shielded) {
        watch->avoided[watch->avoided_count++ % AVOIDED_MAX] = block->address;
    }
    if (freed && holds(watch)) {
        hold(exec, block);
    } else if (!freed) {
        watch->full_count -= block->full;
    }
}

void rig_watch_heap_gone(struct rig_exec *exec, unsigned heap)
{
    struct rig_queue *queue = &exec->watch.queues[heap];
    queue->first = 0;
    queue->count = 0;
    queue->bytes = 0;
}

void rig_watch_made(struct rig_exec *exec, struct rig_block *block)
{
    struct rig_watch *watch = &exec->watch;
    if (watch->on) {
        block->owner = (uint8_t)watch->caller;
        block->made_by = (uint8_t)watch->caller;
        block->order = ++watch->order;
        block->laid_bytes = block->size_bytes;
        block->full = exec->watched.full;
        watch->full_count += block->full;
        for (unsigned idx = 0; idx < AVOIDED_MAX; idx++) {
            block->again = block->again || watch->avoided[idx] == block->address;
        }
    }
}

/* The block as it was, and as it is now. */
void rig_watch_moved(struct rig_exec *exec, struct rig_block *block, const struct rig_block *before)
{
    struct rig_watch *watch = &exec->watch;
    if (!watch->on) {
        return;
    }
    block->order = ++watch->order;
    block->moved = true;
    block->flips = 0; /* what nobody looked at is written anew */
    if (exec->watched.moves) {
        block->laid_bytes = block->size_bytes;
        block->full = exec->watched.full;
        watch->full_count += block->full;
        hold(exec, before);
    }
    if (block->owner <= RIG_MODULE_COUNT && watch->modules[block->owner].loaded) {
        watch->modules[block->owner].moved++;
        watch->modules[block->owner].moved_by_other += watch->caller != block->owner;
    }
}

void rig_watch_disowned(struct rig_exec *exec, struct rig_block *block)
{
    struct rig_watch *watch = &exec->watch;
    if (watch->on && (watch->set.layers & RIG_VERIFY_LEAK) != 0 && !block->shielded) {
        block->shielded = true;
        block->owner = RIG_OWNER_NONE;
        watch->disowned++;
    }
}

/* What a step has led to, whichever operation it was. */
void rig_watch_learn(struct rig_exec *exec, const struct rig_step *step)
{
    struct rig_watch *watch = &exec->watch;
    if (watch->on && !step->nothing) {
        watch->told += exec->watched.told_count;
        watch->silenced += exec->watched.silent_count;
    }
}
