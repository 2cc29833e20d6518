/* SPDX-License-Identifier: MIT
 *
 * Stacks: taken down by the compiler's unwinder, kept once each as (module, offset), named on
 * demand. */
#define _GNU_SOURCE
#include "verifier.h"

#include <stdio.h>
#include <string.h>
#include <unwind.h>

#define TRACE_ROOM_FIRST 1024u

struct nth_interned {
    struct nth_interned *chain;
    uint64_t hash;
    struct nth_trace trace;
};

/* ---- Taking down ---- */

struct walk {
    struct nth_stack *stack;
    uintptr_t caller;
    unsigned depth;
    bool met;
    unsigned passed; /* frames before the caller's: core's own */
};

/* The unwinder is compiled without the sanitizers. */
#if defined(__clang__)
__attribute__((no_sanitize("memory")))
#endif
static _Unwind_Reason_Code
step(struct _Unwind_Context *context, void *argument)
{
    struct walk *walk = argument;
    const uintptr_t address = (uintptr_t)_Unwind_GetIP(context);
    walk->met = walk->met || address == walk->caller;
    if (!walk->met) {
        return ++walk->passed < 64u ? _URC_NO_REASON : _URC_END_OF_STACK;
    }
    if (address == 0 || walk->stack->count == walk->depth) {
        return _URC_END_OF_STACK;
    }
    walk->stack->addresses[walk->stack->count++] = address;
    return _URC_NO_REASON;
}

#if defined(__clang__)
__attribute__((no_sanitize("memory")))
#endif
void nth_stack_take(struct nth_stack *stack, const void *caller)
{
    struct walk walk = {
        .stack = stack, .caller = (uintptr_t)caller, .depth = nth_verifier.set.trace_depth};
    stack->count = 0;
    (void)_Unwind_Backtrace(step, &walk);
    stack->broken = stack->count == 0;
    if (stack->broken) { /* at least who called is known */
        stack->addresses[0] = walk.caller;
        stack->count = 1;
    }
}

/* ---- Owning ---- */

/* A return address may lie behind the last instruction of its function. */
static struct nth_module *module_below(uintptr_t address)
{
    return nth_module_of(address - 1u);
}

struct nth_module *nth_stack_owner(const struct nth_stack *stack)
{
    struct nth_module *outermost = NULL;
    for (unsigned idx = 0; idx < stack->count; idx++) {
        struct nth_module *module = module_below(stack->addresses[idx]);
        if (module == NULL || !module->info.pass_through) {
            return module;
        }
        if (nth_module_keeps(module, stack->addresses[idx] - 1u)) {
            return module;
        }
        outermost = module;
    }
    return outermost;
}

/* ---- Keeping ---- */

static uint64_t hash_of(const struct nth_trace *trace)
{
    uint64_t hash = trace->count * 2u + (trace->broken != 0);
    for (unsigned idx = 0; idx < trace->count; idx++) {
        hash =
            nth_mix(hash + trace->frames[idx].offset + ((uint64_t)trace->frames[idx].module << 48));
    }
    return hash;
}

static bool grow(void)
{
    struct nth_verifier *all = &nth_verifier;
    const size_t room = all->trace_room == 0 ? TRACE_ROOM_FIRST : all->trace_room * 4u;
    struct nth_interned **wider = nth_verifier_take_around(room * sizeof(struct nth_interned *));
    if (wider == NULL) {
        return all->trace_room != 0;
    }
    for (size_t idx = 0; idx < all->trace_room; idx++) {
        while (all->traces[idx] != NULL) {
            struct nth_interned *one = all->traces[idx];
            all->traces[idx] = one->chain;
            one->chain = wider[one->hash % room];
            wider[one->hash % room] = one;
        }
    }
    all->traces = wider;
    all->trace_room = room;
    return true;
}

static bool same(const struct nth_trace *one, const struct nth_trace *other)
{
    if (one->count != other->count || one->broken != other->broken) {
        return false;
    }
    for (unsigned idx = 0; idx < one->count; idx++) {
        if (one->frames[idx].module != other->frames[idx].module ||
            one->frames[idx].offset != other->frames[idx].offset) {
            return false;
        }
    }
    return true;
}

const struct nth_trace *nth_trace_intern(const struct nth_stack *stack)
{
    struct nth_verifier *all = &nth_verifier;
    struct nth_trace_frame frames[NTH_TRACE_DEPTH_MAX];
    const struct nth_trace made = {
        .count = stack->count, .broken = stack->broken, .frames = frames};
    for (unsigned idx = 0; idx < stack->count; idx++) {
        const struct nth_module *module = module_below(stack->addresses[idx]);
        frames[idx].module = module != NULL ? module->info.number : 0;
        frames[idx].offset = stack->addresses[idx] - (module != NULL ? module->info.base : 0);
    }
    all->sums.broken_count += stack->broken;
    if (all->trace_count >= all->trace_room && !grow()) {
        return NULL;
    }
    const uint64_t hash = hash_of(&made);
    for (struct nth_interned *one = all->traces[hash % all->trace_room]; one != NULL;
         one = one->chain) {
        if (one->hash == hash && same(&one->trace, &made)) {
            return &one->trace;
        }
    }
    const size_t bytes = made.count * sizeof(frames[0]);
    struct nth_interned *fresh = nth_verifier_take_around(sizeof(*fresh) + bytes);
    if (fresh == NULL) {
        return NULL;
    }
    struct nth_trace_frame *kept = (struct nth_trace_frame *)(fresh + 1);
    memcpy(kept, frames, bytes);
    fresh->trace = (struct nth_trace){.count = made.count, .broken = made.broken, .frames = kept};
    fresh->hash = hash;
    fresh->chain = all->traces[hash % all->trace_room];
    all->traces[hash % all->trace_room] = fresh;
    all->trace_count++;
    return &fresh->trace;
}

/* ---- Naming ---- */

void nth_verifier_frame_name(const struct nth_trace_frame *frame, char *text, SIZE_T text_bytes)
{
    char symbol[256];
    size_t distance = 0;
    struct nth_module *module = NULL;
    if (nth_verifying() && frame->module != 0) {
        void *outer = nth_verifier_enter();
        module = nth_module_numbered(frame->module);
        nth_verifier_leave(outer);
    }
    if (module == NULL) {
        (void)snprintf(text, text_bytes, "%#lx", (unsigned long)frame->offset);
        return;
    }
    /* The call stands before the address to which it returns. */
    nth_symbol_find(module, frame->offset - 1u, symbol, sizeof(symbol), &distance);
    if (symbol[0] != '\0') {
        (void)snprintf(text, text_bytes, "%s!%s+%#zx", module->info.name, symbol, distance + 1u);
    } else {
        (void)snprintf(text, text_bytes, "%s+%#lx", module->info.name,
                       (unsigned long)frame->offset);
    }
}
