/* SPDX-License-Identifier: MIT
 *
 * Damage that was done in this run: whether it is still there, which call has to notice it. */
#include "exec_internal.h"

/* Fields that say how far memory reaches: without them nobody can give it back. */
static const char *const extents[] = {"region", "heap.caches", "heap.config"};

struct peeking {
    const struct rig_subject *subject;
    const struct rig_damage *damage;
    bool there;
};

static void peek(void *context)
{
    struct peeking *peeking = context;
    const struct rig_damage *damage = peeking->damage;
    bool same = true;
    for (size_t idx = 0; idx < damage->len; idx++) {
        /* Of a single byte the other bits may be somebody else's. */
        const unsigned mask = damage->len > 1 ? 0xFFu : damage->before[idx] ^ damage->written[idx];
        const unsigned byte = peeking->subject->peek((void *)(damage->address + idx));
        same = same && ((byte ^ damage->written[idx]) & mask) == 0;
    }
    peeking->there = same;
}

/* The bytes are as they were written. Guarded: the memory may be gone. */
static bool still_there(const struct rig_exec *exec, const struct rig_damage *damage)
{
    EXCEPTION_RECORD record;
    struct peeking peeking = {exec->subject, damage, false};
    return exec->subject->guard(peek, &peeking, &record) && peeking.there;
}

/* The call looks at all of a heap. */
static bool validates(const struct rig_step *step)
{
    return step->op == RIG_OP_VALIDATE || step->op == RIG_OP_CHECK ||
           step->op == RIG_OP_VALIDATE_ALL;
}

/* The call names the block as its operand. Disowning looks at nothing (D78). */
static bool names(const struct rig_step *step, uintptr_t block)
{
    switch (step->op) {
    case RIG_OP_FREE:
    case RIG_OP_REALLOC:
    case RIG_OP_SIZE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
        return step->block != NULL && step->block->address == block;
    default:
        return false;
    }
}

/* The call works in the heap, and not by the front end's path without the lock. */
static bool works(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_FREE:
        return !step->heap->front_able;
    case RIG_OP_REALLOC:
    case RIG_OP_SIZE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
    case RIG_OP_WALK:
    case RIG_OP_COMPACT:
    case RIG_OP_ZERO:
        return true;
    default:
        return validates(step);
    }
}

/* The heap works on with what it finds there: a forged word opens, and the map has no seal. */
static bool goes_on(const struct rig_damage *damage)
{
    return fault_damage_is_forged(damage->info) || damage->info->place == FAULT_PLACE_GAPS;
}

/* It sets single bits there, and takes them away. */
static bool has_bits(const struct rig_damage *damage)
{
    const enum fault_place place = damage->info->place;
    return damage->len == 1 ||
           (goes_on(damage) && (place == FAULT_PLACE_BIN_MAP || place == FAULT_PLACE_CHUNK_FREE));
}

/* A bit that the heap itself may have set since is not the damaged one any more. */
static bool stands(const struct rig_exec *exec, const struct rig_damage *damage)
{
    return !damage->unknown && (damage->notice != FAULT_NOTICE_VALIDATE || !has_bits(damage) ||
                                damage->changes == exec->changes[damage->heap]);
}

static bool is_due(const struct rig_step *step, const struct rig_damage *damage)
{
    switch (damage->notice) {
    case FAULT_NOTICE_BLOCK:
        return names(step, damage->block) || validates(step);
    case FAULT_NOTICE_HEAP:
        return works(step);
    case FAULT_NOTICE_VALIDATE:
        return validates(step);
    case FAULT_NOTICE_CALL:
    case FAULT_NOTICE_NOBODY:
    default:
        return false;
    }
}

static void promise(struct rig_step *step, const char *const *reasons)
{
    for (unsigned idx = 0; idx < RIG_PROMISED_MAX && reasons[idx] != NULL; idx++) {
        if (step->promised_count < RIG_PROMISED_MAX) {
            step->promised[step->promised_count++] = reasons[idx];
        }
    }
}

void rig_damages_due(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_damages *damages = &exec->damages;
    const bool all = step->heap == NULL || step->handle_null; /* NULL may mean all heaps */
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        if (all || step->heap->idx == idx) {
            promise(step, damages->reasons[idx]);
        }
    }
    for (unsigned idx = 0; idx < damages->count; idx++) {
        const struct rig_damage *damage = &damages->pieces[idx];
        if (!all && step->heap->idx != damage->heap) {
            continue;
        }
        if (is_due(step, damage) && stands(exec, damage) && still_there(exec, damage)) {
            step->damage_due = true;
            step->forgery_due = step->forgery_due || fault_damage_is_forged(damage->info);
            step->damage_due_block = names(step, damage->block) ? damage->block : 0;
        }
    }
}

static bool tells_extent(const struct rig_damage *damage)
{
    for (size_t idx = 0; idx < sizeof(extents) / sizeof(extents[0]); idx++) {
        if (strcmp(damage->field, extents[idx]) == 0) {
            return true;
        }
    }
    return false;
}

/* Backwards: where something was damaged twice, the first of its old values comes last. */
void rig_damages_mend(struct rig_exec *exec, unsigned heap)
{
    const struct rig_damages *damages = &exec->damages;
    for (unsigned idx = damages->count; idx-- > 0;) {
        const struct rig_damage *damage = &damages->pieces[idx];
        if (damage->heap == heap && tells_extent(damage) && still_there(exec, damage)) {
            fault_write(exec->subject->poke, damage->address, damage->before, damage->len);
        }
    }
}

void rig_damages_forget(struct rig_exec *exec, unsigned heap)
{
    struct rig_damages *damages = &exec->damages;
    unsigned kept = 0;
    for (unsigned idx = 0; idx < damages->count; idx++) {
        if (damages->pieces[idx].heap != heap) {
            damages->pieces[kept++] = damages->pieces[idx];
        }
    }
    damages->count = kept;
    memset(damages->reasons[heap], 0, sizeof(damages->reasons[heap]));
    exec->damaged[heap] = false;
}

static void remove_at(struct rig_damages *damages, unsigned idx)
{
    damages->count--;
    memmove(&damages->pieces[idx], &damages->pieces[idx + 1],
            (damages->count - idx) * sizeof(damages->pieces[0]));
}

void rig_damages_promise(struct rig_exec *exec, unsigned heap, const char *reasons)
{
    const char **told = exec->damages.reasons[heap];
    for (unsigned idx = 0; idx < RIG_PROMISED_MAX; idx++) {
        if (told[idx] == NULL || told[idx] == reasons) {
            told[idx] = reasons;
            return;
        }
    }
}

void rig_damages_half_made(struct rig_exec *exec, unsigned heap)
{
    if (exec->damages.reasons[heap][0] != NULL) { /* else of damage that promises nothing */
        rig_damages_promise(exec, heap, "DAMAGED");
    }
}

void rig_damages_moved(struct rig_exec *exec, uintptr_t block)
{
    struct rig_damages *damages = &exec->damages;
    for (unsigned idx = damages->count; idx-- > 0;) {
        struct rig_damage *piece = &damages->pieces[idx];
        if (!piece->live || piece->block != block) {
            continue;
        }
        if (piece->len > 1) {
            remove_at(damages, idx);
        } else { /* a bit that others may leave as it is: a second flip undoes it */
            piece->live = false;
            piece->block = 0;
            piece->notice = FAULT_NOTICE_NOBODY;
        }
    }
}

/* What becomes of an earlier piece at the same byte. Bits of one byte are damaged apart from each
 * other. */
enum again { AGAIN_OTHER, AGAIN_ANEW, AGAIN_UNDONE };

static enum again again(const struct rig_damage *piece, const struct rig_damage *damage)
{
    const unsigned mask = piece->before[0] ^ piece->written[0];
    const unsigned more = damage->before[0] ^ damage->written[0];
    if (piece->info->place != damage->info->place) {
        return AGAIN_OTHER;
    }
    if (((piece->written[0] ^ damage->before[0]) & mask) != 0) {
        return mask == more ? AGAIN_ANEW : AGAIN_OTHER; /* the heap has written there since */
    }
    const bool back = ((piece->before[0] ^ damage->written[0]) & mask) == 0 && (more & ~mask) == 0;
    return back ? AGAIN_UNDONE : AGAIN_OTHER;
}

/* What is damaged twice is one piece; damaged back to what it was, none. */
void rig_damages_add(struct rig_exec *exec, const struct rig_damage *damage)
{
    struct rig_damages *damages = &exec->damages;
    rig_damages_promise(exec, damage->heap, damage->info->reasons);
    rig_exec_damaged(exec, damage->heap);
    for (unsigned idx = 0; idx < damages->count; idx++) {
        struct rig_damage *piece = &damages->pieces[idx];
        if (piece->address != damage->address || piece->len != damage->len) {
            continue;
        }
        const enum again of_bits = damage->len == 1 ? again(piece, damage) : AGAIN_OTHER;
        if (damage->len == 1 && of_bits == AGAIN_OTHER) {
            continue;
        }
        if (of_bits == AGAIN_UNDONE && !stands(exec, piece)) {
            piece->unknown = true;
            memcpy(piece->before, damage->before, damage->len);
            memcpy(piece->written, damage->written, damage->len);
            return;
        }
        if (of_bits == AGAIN_UNDONE) {
            remove_at(damages, idx);
            return;
        }
        const bool since = memcmp(piece->written, damage->before, damage->len) != 0;
        const bool went_on = piece->went_on || (goes_on(piece) && (since || !stands(exec, piece)));
        if (of_bits == AGAIN_ANEW || since || (went_on && (goes_on(piece) || goes_on(damage)))) {
            *piece = *damage;
        } else {
            memcpy(piece->written, damage->written, damage->len);
        }
        const bool back = memcmp(piece->before, piece->written, damage->len) == 0;
        piece->went_on = went_on;
        piece->unknown = went_on && (goes_on(damage) || back);
        if (back && !went_on) {
            remove_at(damages, idx);
        }
        return;
    }
    RIG_CHECK(damages->count < RIG_DAMAGE_MAX);
    damages->pieces[damages->count++] = *damage;
}
