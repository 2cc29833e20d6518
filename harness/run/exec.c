/* SPDX-License-Identifier: MIT
 *
 * The loop: a record becomes a step, its operation makes the call, rules judge, the model follows.
 */
#include "exec_internal.h"

#include "../rules/damaged.h"

#include <stdlib.h>
#include <string.h>

static const rig_perform perform[RIG_OP_COUNT] = {
#define RIG_OP(name, text, rtl, win32, state, weight, operands) rig_do_##name,
#include "../program/op.def"
};

/* ---- Which operations a subject offers ---- */

struct offers {
    const char *name;
    size_t offset;
};

static const struct offers offers[] = {
#define RIG_CALL(result, name, arguments) {#name, offsetof(struct rig_subject, name)},
#include <heaprig/calls.def>
};

static bool has_call(const struct rig_subject *subject, const char *name)
{
    for (size_t idx = 0; idx < sizeof(offers) / sizeof(offers[0]); idx++) {
        if (strcmp(offers[idx].name, name) == 0) {
            void *call;
            memcpy(&call, (const char *)subject + offers[idx].offset, sizeof(call));
            return call != NULL;
        }
    }
    return false;
}

/* An operation that has the other spelling only is made in that one; one without calls in any. */
static bool offers_call(const struct rig_subject *subject, const char *name, const char *other)
{
    return name != NULL ? has_call(subject, name) : other == NULL;
}

struct rig_exec *rig_exec_create(const struct rig_options *options)
{
    struct rig_exec *exec = calloc(1, sizeof(*exec));
    if (exec == NULL) {
        return NULL;
    }
    exec->options = *options;
    exec->subject = options->subject;
    exec->judge.claims = options->subject->claims;
    exec->judge.shadow = &exec->shadow;
    exec->bases = rig_memory_reserve((size_t)RIG_HEAP_COUNT * RIG_BASE_BYTES);
    for (unsigned op = 0; op < RIG_OP_COUNT; op++) {
        const struct rig_op_info *info = rig_op_info(op);
        exec->offered[op][0] = offers_call(exec->subject, info->rtl, info->win32);
        exec->offered[op][1] = offers_call(exec->subject, info->win32, info->rtl);
    }
    return exec;
}

void rig_exec_destroy(struct rig_exec *exec)
{
    rig_memory_release(exec->bases, (size_t)RIG_HEAP_COUNT * RIG_BASE_BYTES);
    free(exec->walk.elements);
    free(exec->scratch);
    free(exec);
}

const struct rig_judge *rig_exec_judge(const struct rig_exec *exec)
{
    return &exec->judge;
}

void rig_exec_forget(struct rig_exec *exec)
{
    memset(exec->judge.exercised, 0, sizeof(exec->judge.exercised));
    memset(exec->judge.first, 0, sizeof(exec->judge.first));
    exec->judge.step_idx = 0;
}

void rig_exec_features(struct rig_exec *exec, uint8_t *features)
{
    exec->judge.features = features;
}

const struct rig_shadow *rig_exec_shadow(const struct rig_exec *exec)
{
    return &exec->shadow;
}

/* ---- Judging ---- */

/* Front end on; more than one region or a large block; the last growth refused. */
static unsigned state_of(const struct rig_heap *heap)
{
    if (heap == NULL) {
        return 0;
    }
    return (heap->front_on ? 1u : 0u) | (heap->large_count > 0 ? 2u : 0u) |
           (heap->refused_last ? 4u : 0u);
}

/* Some heap that the step can touch is damaged: its own, or any where it names none. */
static bool touches_damage(const struct rig_exec *exec, const struct rig_step *step)
{
    if (step->op == RIG_OP_MISUSE && step->heap != NULL && exec->unwound[step->heap->idx]) {
        return false; /* it is all about that */
    }
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        if (exec->damaged[idx] &&
            (step->heap == NULL || step->handle_null || step->heap->idx == idx)) {
            return true;
        }
    }
    return false;
}

void rig_exec_damaged(struct rig_exec *exec, unsigned idx)
{
    exec->damaged[idx] = true;
}

const struct fault_damage_info *rig_exec_damage_at(const struct rig_exec *exec, unsigned idx,
                                                   unsigned heap, bool *there)
{
    if (idx >= exec->damages.count) {
        return NULL;
    }
    *there = exec->damages.pieces[idx].heap == heap;
    return exec->damages.pieces[idx].info;
}

bool rig_judge(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_judge *judge = &exec->judge;
    judge->broken_count = 0;
    rig_watch_settle(exec, step);
    if (exec->options.judge && (!exec->ended || step->outcome.ended != 0)) {
        judge->state = state_of(step->heap);
        rig_judge_step(judge, step);
        if (step->outcome.ended == 0 && touches_damage(exec, step)) {
            rig_rules_damaged(judge, step);
        }
    }
    exec->ended = exec->ended || step->outcome.ended != 0;
    if (exec->options.watch != NULL) {
        exec->options.watch(exec->options.context, step, judge);
    }
    if (judge->broken_count == 0) {
        rig_watch_learn(exec, step);
        return true;
    }
    exec->verdict.found = true;
    exec->verdict.clause = judge->broken[0];
    exec->verdict.rule = rig_clause_info(judge->broken[0])->rule;
    exec->verdict.step_idx = step->idx;
    exec->verdict.op = step->op;
    if (exec->options.abort_on_finding || step->outcome.stuck) {
        rig_rule_abort(exec->verdict.rule);
    }
    return false;
}

/* ---- Beginning and ending ---- */

static void process_heap(void *context)
{
    struct rig_exec *exec = context;
    exec->shadow.heaps[0].handle = exec->subject->GetProcessHeap();
}

bool rig_process_heap(struct rig_exec *exec)
{
    if (exec->shadow.heaps[0].handle == NULL && exec->subject->GetProcessHeap != NULL) {
        (void)rig_call_aside(exec, process_heap, exec);
    }
    return exec->shadow.heaps[0].handle != NULL;
}

static void stream_forget(struct rig_exec *exec)
{
    struct rig_named *named;
    struct rig_named *next;
    HASH_ITER(by_name, exec->stream, named, next)
    {
        HASH_DELETE(by_name, exec->stream, named);
        free(named);
    }
}

void rig_exec_begin(struct rig_exec *exec, uint16_t seed)
{
    for (unsigned idx = 1; idx < RIG_HEAP_COUNT; idx++) {
        if (exec->shadow.heaps[idx].has_base) {
            rig_memory_close(exec->bases + (size_t)idx * RIG_BASE_BYTES, RIG_BASE_BYTES);
        }
    }
    rig_exec_now = exec;
    stream_forget(exec);
    rig_shadow_reset(&exec->shadow);
    exec->program = NULL;
    rig_watch_reset(exec);
    memset(exec->slots, 0, sizeof(exec->slots));
    memset(exec->hole_bytes, 0, sizeof(exec->hole_bytes));
    memset(exec->routines, 0, sizeof(exec->routines));
    memset(exec->cursors, 0, sizeof(exec->cursors));
    memset(exec->sections, 0, sizeof(exec->sections));
    memset(exec->handlers, 0, sizeof(exec->handlers));
    exec->handler_count = 0;
    memset(exec->changes, 0, sizeof(exec->changes));
    exec->zeroed_bytes = 0;
    exec->others_bytes = 0;
    memset(exec->damaged, 0, sizeof(exec->damaged));
    memset(&exec->damages, 0, sizeof(exec->damages));
    memset(exec->freed, 0, sizeof(exec->freed));
    memset(exec->gone_blocks, 0, sizeof(exec->gone_blocks));
    exec->freed_count = 0;
    exec->gone_block = 0;
    exec->ended = false;
    memset(exec->unwound, 0, sizeof(exec->unwound));
    exec->gone_count = 0;
    memset(&exec->verdict, 0, sizeof(exec->verdict));
    memset(&exec->step, 0, sizeof(exec->step));
    memset(&exec->worded, 0, sizeof(exec->worded));
    memset(&exec->parameters, 0, sizeof(exec->parameters));
    exec->parameters.Length = sizeof(exec->parameters);
    exec->has_parameters = false;
    exec->last_bytes = 0;
    exec->subject->reset(seed);
    rig_plans_begin(exec);
}

/* Locks that are still held, and critical sections: those lie in the rig's memory, so the subject's
 * reset knows nothing of them, and only deleting gives back what they take. */
static void locks_end(void *context)
{
    struct rig_exec *exec = context;
    const struct rig_subject *subject = exec->subject;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &exec->shadow.heaps[idx];
        for (unsigned depth = 0; heap->live && depth < heap->lock_depth; depth++) {
            (void)subject->HeapUnlock(heap->handle);
        }
    }
    for (unsigned idx = 0; idx < RIG_SECTION_COUNT; idx++) {
        struct rig_section *section = &exec->sections[idx];
        for (unsigned depth = 0; section->live && depth < section->depth; depth++) {
            subject->LeaveCriticalSection(&section->section);
        }
        if (section->live) {
            subject->DeleteCriticalSection(&section->section);
        }
        section->live = false;
    }
}

struct rig_verdict rig_exec_end(struct rig_exec *exec)
{
    exec->step.idx++;
    if (!exec->verdict.found && !exec->ended) {
        if (exec->subject->budget != NULL) {
            exec->subject->budget(SIZE_MAX);
        }
        (void)(rig_plans_end(exec) && (exec->watch.on ? rig_watch_finish(exec) : rig_finish(exec)));
    }
    (void)rig_call_aside(exec, locks_end, exec);
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        rig_damages_mend(exec, idx);
    }
    rig_watch_reset(exec);
    exec->subject->reset(0);
    (void)(exec->verdict.found || rig_plans_given_back(exec));
    return exec->verdict;
}

/* ---- Programs ---- */

static void step_begin(struct rig_exec *exec, const struct rig_record *record, uint32_t idx)
{
    struct rig_step *step = &exec->step;
    memset(step, 0, offsetof(struct rig_step, create));
    memset((char *)step + offsetof(struct rig_step, held_before), 0,
           sizeof(*step) - offsetof(struct rig_step, held_before));
    const bool *offered = exec->offered[record->op];
    step->idx = idx;
    step->op = (enum rig_op)record->op;
    step->win32 = record->win32 != 0 ? offered[1] : !offered[0];
    step->nothing = !offered[step->win32];
    step->call = rig_step_call(step->op, step->win32);
    step->context = (enum rig_context)record->context;
    if (step->context != RIG_CONTEXT_LOCKED && exec->subject->guard_filter == NULL) {
        step->context = RIG_CONTEXT_PLAIN;
    }
    step->second = record->thread == RIG_THREAD_SECOND;
    step->record = record;
    step->sight.spoilt_at = RIG_NO_OFFSET;
    step->sight.dirty_at = RIG_NO_OFFSET;
    rig_watch_step(exec, step);
    step->again = exec->planning.again;
    step->again_known = exec->planning.again_known;
}

/* Records of faults act in programs that ask for faults of their kind. Those of the verifier are none
 * where it is off: they ask it so. */
static bool allowed(const struct rig_program *program, unsigned op)
{
    const uint8_t fault = rig_op_fault(op);
    return fault == 0 || op == RIG_OP_VERIFY || (program->flags & fault) != 0;
}

/* Operations that make a heap commit memory. */
static bool asks_memory(unsigned op)
{
    return op == RIG_OP_ALLOC || op == RIG_OP_REALLOC || op == RIG_OP_MULTI_ALLOC ||
           op == RIG_OP_CREATE;
}

bool rig_run_record(struct rig_exec *exec, const struct rig_record *record, uint32_t idx)
{
    struct rig_step *step = &exec->step;
    step_begin(exec, record, idx);
    step->nothing = step->nothing || !allowed(exec->program, record->op) ||
                    !rig_watch_allows(exec, record->op) ||
                    (asks_memory(record->op) && !rig_may_commit(exec));
    if (!step->nothing) {
        rig_resolve(exec, record, step);
        rig_watch_tame(exec, step);
    }
    if (step->heap != NULL) {
        step->heap_before = *step->heap;
    }
    if (step->block != NULL) {
        step->block_before = *step->block;
    }
    const bool held = step->nothing || perform[step->op](exec, step);
    exec->verdict.step_count += !step->nothing;
    exec->verdict.nothing_count += step->nothing;
    if (step->nothing && exec->options.watch != NULL) {
        exec->judge.broken_count = 0;
        exec->options.watch(exec->options.context, step, &exec->judge);
    }
    return held;
}

struct rig_verdict rig_exec_run(struct rig_exec *exec, const struct rig_program *program)
{
    const unsigned every = exec->options.check_every;
    rig_exec_begin(exec, program->seed);
    exec->program = program;
    rig_watch_begin(exec);
    rig_plans_of_program(exec);
    for (uint32_t idx = 0; idx < program->count && !exec->ended; idx++) {
        const struct rig_record *record = &program->records[idx];
        rig_plans_record(exec);
        if (!rig_run_record(exec, record, idx) || exec->ended || !rig_plans_settle(exec, idx)) {
            break;
        }
        if (every != 0 && !exec->watch.on && idx % every == every - 1 && rig_may_look(exec) &&
            (!rig_check_all(exec, RIG_PHASE_CHECK) || exec->ended)) {
            break;
        }
    }
    return rig_exec_end(exec);
}

/* ---- Traces ---- */

bool rig_exec_event(struct rig_exec *exec, const struct rig_event *event)
{
    struct rig_named *named;
    HASH_FIND(by_name, exec->stream, &event->name, sizeof(event->name), named);
    struct rig_step *step = &exec->step;
    const uint32_t idx = step->idx + 1;
    const struct rig_record record = {.op = (uint8_t)event->op, .win32 = event->win32};
    step_begin(exec, &record, idx);
    step->record = NULL;
    step->name = event->name;
    step->flags = event->flags;
    step->size_bytes = event->size_bytes;
    step->named = true;
    if ((named == NULL) != (event->op == RIG_OP_ALLOC) || !rig_process_heap(exec)) {
        exec->verdict.nothing_count++;
        return true;
    }
    step->block = named == NULL ? NULL : &named->block;
    step->heap = &exec->shadow.heaps[0];
    step->heap_before = *step->heap;
    if (step->block != NULL) {
        step->block_before = *step->block;
    }
    exec->verdict.step_count++;
    return perform[event->op](exec, step);
}
