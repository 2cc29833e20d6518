/* SPDX-License-Identifier: MIT
 *
 * VERIFY: modules that come and go, misuse that a verifier tells of, damage around blocks, looks at what it
 * knows. Each row finds what it needs, says what must be told, makes one guarded call and is judged. */
#include "watch.h"

#include "stand_in.h"
#include "stories.h"

#include <stdio.h>

/* A call as the row makes it. */
enum call_kind {
    CALL_ALLOC,
    CALL_REALLOC,
    CALL_FREE,
    CALL_SIZE,
    CALL_DESTROY,
    CALL_DISOWN,
    CALL_ACCESS,
    CALL_LOAD,
    CALL_UNLOAD,
    CALL_END
};

struct call {
    enum call_kind kind;
    HANDLE handle;
    PVOID block;
    size_t bytes;
    unsigned times;
};

static struct call call; /* of the row in progress */

#define RESIZED_BYTES 200u
#define FOREIGN_BYTES 256u
#ifdef __ELF__
#define MODULES true
#else
#define MODULES false
#endif
#define LISTED_MAX 4u
#define LOG_COUNT 1024u
#define STRETCH_COUNT 40u
#define STRETCH_BYTES 16u
#define LOGGED_SURELY 200u /* operations in a program: the log has the last LOG_COUNT */

static char stretches[STRETCH_COUNT * STRETCH_BYTES]; /* STRETCHES: what is said to be code */

/* ---- Calls ---------------------------------------------------------------------------------- */

RIG_UNSANITIZED static void access(uintptr_t at, bool write)
{
    volatile uint8_t *byte = (volatile uint8_t *)at;
    if (write) {
        *byte = 1;
    } else {
        (void)*byte;
    }
}

/* 1 when it did what it was asked for. */
static uintptr_t made(struct rig_exec *exec)
{
    const struct rig_subject *subject = rig_as(exec);
    const bool win32 = exec->step.record->win32 != 0;
    switch (call.kind) {
    case CALL_ALLOC:
        return (win32 ? subject->HeapAlloc(call.handle, 0, call.bytes)
                      : subject->RtlAllocateHeap(call.handle, 0, call.bytes)) != NULL;
    case CALL_REALLOC:
        return (win32 ? subject->HeapReAlloc(call.handle, 0, call.block, call.bytes)
                      : subject->RtlReAllocateHeap(call.handle, 0, call.block, call.bytes)) != NULL;
    case CALL_FREE:
        return (win32 ? subject->HeapFree(call.handle, 0, call.block)
                      : (BOOL)subject->RtlFreeHeap(call.handle, 0, call.block)) != 0;
    case CALL_SIZE:
        return (win32 ? subject->HeapSize(call.handle, 0, call.block)
                      : subject->RtlSizeHeap(call.handle, 0, call.block)) != (SIZE_T)-1;
    case CALL_DESTROY:
        return win32 ? subject->HeapDestroy(call.handle) != 0
                     : subject->RtlDestroyHeap(call.handle) != call.handle;
    case CALL_DISOWN:
        return subject->RtlDisownModuleHeapAllocation(call.handle, call.block) == STATUS_SUCCESS;
    case CALL_ACCESS:
        access((uintptr_t)call.block, win32);
        return 1;
    default:
        return 0;
    }
}

static void body(void *context)
{
    struct rig_exec *exec = context;
    uintptr_t done = 0;
    for (unsigned turn = 0; turn < call.times; turn++) {
        done = made(exec);
    }
    exec->step.outcome.value = done;
}

/* A row that is one call; `refuses`: it must not do what it is asked for. */
static bool do_call(struct rig_exec *exec, struct rig_step *step, bool refuses)
{
    exec->watched.made = true;
    exec->watched.refuses = refuses;
    call.times = call.times == 0 ? 1u : call.times;
    rig_call(exec, step, body);
    return rig_judge(exec, step);
}

static bool nothing(struct rig_step *step)
{
    step->nothing = true;
    return true;
}

/* ---- Finding -------------------------------------------------------------------------------- */

static struct rig_block *block_from(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT; hop++) {
        struct rig_named *named = &exec->slots[(step->record->slot + hop) % RIG_SLOT_COUNT];
        if (named->live) {
            step->block = &named->block;
            step->name = named->block.name;
            step->heap = &exec->shadow.heaps[named->block.heap];
            step->block_before = *step->block;
            step->heap_before = *step->heap;
            return step->block;
        }
    }
    return NULL;
}

/* A live heap by the record's name, another than `other`. */
static struct rig_heap *heap_from(struct rig_exec *exec, const struct rig_step *step,
                                  const struct rig_heap *other)
{
    for (unsigned hop = 0; hop < RIG_HEAP_COUNT; hop++) {
        struct rig_heap *heap = &exec->shadow.heaps[(step->record->heap + hop) % RIG_HEAP_COUNT];
        if (heap->live && (heap->idx > 0 || rig_process_heap(exec)) && heap != other) {
            return heap;
        }
    }
    return NULL;
}

/* A held block of some heap from the record's name on. */
static struct rig_held *held_from(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_HEAP_COUNT; hop++) {
        const unsigned idx = (step->record->heap + hop) % RIG_HEAP_COUNT;
        struct rig_queue *queue = &exec->watch.queues[idx];
        if (exec->shadow.heaps[idx].live && queue->count > 0) {
            const unsigned at = step->record->value % queue->count;
            step->heap = &exec->shadow.heaps[idx];
            step->heap_before = *step->heap;
            return &queue->held[(queue->first + at) % RIG_HELD_MAX];
        }
    }
    return NULL;
}

static char *foreign(struct rig_exec *exec)
{
    if (exec->scratch == NULL) {
        exec->scratch = malloc(FOREIGN_BYTES);
        RIG_CHECK(exec->scratch != NULL);
    }
    return exec->scratch;
}

/* A page that nobody may touch. */
static char *lost(void)
{
    static char *page;
    if (page == NULL) {
        page = rig_memory_reserve(RIG_PAGE_BYTES);
    }
    return page;
}

static uintptr_t handle_of(const struct rig_heap *heap)
{
    return (uintptr_t)heap->handle;
}

/* Where whole heaps are looked at before every call, a damaged one refuses without a word. */
static bool refuses_all(struct rig_exec *exec, const struct rig_heap *heap)
{
    return (exec->watch.set.flags & RIG_VERIFY_HVC) != 0 &&
           rig_watch_damage(exec, heap->idx) != 0;
}

/* ---- Modules -------------------------------------------------------------------------------- */

static void service(void *context)
{
    struct rig_exec *exec = context;
    struct rig_watched *watched = &exec->watched;
    if (call.kind == CALL_LOAD) {
        watched->status = rig_module_open(exec->subject, watched->module, &call.block);
    } else if (call.kind == CALL_UNLOAD) {
        watched->status = rig_module_close(exec->subject, watched->module, &call.block);
    } else {
        exec->subject->verify_end();
    }
}

static bool do_load(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_module *module = NULL;
    exec->watched.module = 1u + step->record->value % RIG_MODULE_COUNT;
    module = &exec->watch.modules[exec->watched.module];
    call.kind = CALL_LOAD;
    if (!MODULES || (module->loaded && rig_modules_are_files())) {
        return nothing(step); /* opening what is open is nothing new */
    }
    exec->watched.made = true;
    exec->watched.refuses = module->loaded;
    rig_call(exec, step, service);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (!module->loaded) {
        *module = (struct rig_module){.loaded = true, .loads = module->loads + 1u};
    }
    return true;
}

/* Live blocks of the module in the order in which its leaks are told. */
static struct rig_block *next_leak(struct rig_exec *exec, unsigned module, uint64_t after)
{
    struct rig_block *next = NULL;
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        if (block->owner == module && block->order > after &&
            (next == NULL || block->order < next->order)) {
            next = block;
        }
    }
    return next;
}

static void expect_leaks(struct rig_exec *exec, unsigned module)
{
    struct rig_watched *watched = &exec->watched;
    const bool told = (exec->watch.set.layers & RIG_VERIFY_LEAK) != 0;
    for (struct rig_block *block = next_leak(exec, module, 0); block != NULL && told;
         block = next_leak(exec, module, block->order)) {
        struct rig_expected *expected = rig_watch_expect(exec, RIG_STOP_LEAK, block->address, 0, 0,
                                                         (uintptr_t)call.block);
        expected->loose = 1u << 1 | 1u << 2;
        expected->module = (uint8_t)module;
        expected->allocated = true;
    }
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;
         block = rig_shadow_next(block)) {
        watched->owned += block->owner == module;
        watched->moved += block->owner == module && block->moved;
        watched->again += block->owner == module && block->again;
        watched->shielded += block->made_by == module && block->shielded;
        watched->of_others += block->owner != module;
    }
}

static bool do_unload(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watched *watched = &exec->watched;
    watched->module = 1u + step->record->value % RIG_MODULE_COUNT;
    struct rig_module *module = &exec->watch.modules[watched->module];
    call.kind = CALL_UNLOAD;
    if (!MODULES || (!module->loaded && rig_modules_are_files())) {
        return nothing(step); /* what is not open has no handle */
    }
    call.block = rig_module_base(watched->module);
    watched->made = true;
    watched->was = *module;
    watched->refuses = !module->loaded;
    if (module->loaded) {
        expect_leaks(exec, watched->module);
    }
    rig_call(exec, step, service);
    if (!rig_judge(exec, step)) {
        return false;
    }
    for (struct rig_block *block = rig_shadow_first(&exec->shadow);
         block != NULL && module->loaded; block = rig_shadow_next(block)) {
        if (block->owner == watched->module) {
            block->owner = RIG_OWNER_NONE;
        }
    }
    exec->watch.unloads += module->loaded;
    exec->watch.leaks += watched->told_count;
    module->loaded = false;
    exec->watch.caller = exec->watch.caller == watched->module ? 0 : exec->watch.caller;
    return true;
}

static bool do_caller(struct rig_exec *exec, const struct rig_step *step)
{
    const unsigned module = step->record->value % (RIG_MODULE_COUNT + 1u);
    exec->watch.caller = module != 0 && exec->watch.modules[module].loaded ? module : 0;
    return true;
}

static NTSTATUS stretch_load(const struct rig_exec *exec, unsigned number, size_t bytes, bool again)
{
    char name[24];
    (void)snprintf(name, sizeof(name), "%s-%u", again ? "other" : "stretch", number);
    return exec->subject->module_load(name, stretches + (size_t)number * STRETCH_BYTES, bytes);
}

static NTSTATUS stretch_unload(const struct rig_exec *exec, unsigned number)
{
    return exec->subject->module_unload(stretches + (size_t)number * STRETCH_BYTES);
}

/* All are there at once, then none. The second time half of them have other names, and half other
 * ends. Where memory for notes is refused, fewer come. */
static void stretch_all(struct rig_exec *exec, bool again)
{
    struct rig_watched *watched = &exec->watched;
    unsigned count = 0;
    NTSTATUS status = STATUS_SUCCESS;
    for (; count < STRETCH_COUNT && status == STATUS_SUCCESS; count++) {
        status = stretch_load(exec, count, STRETCH_BYTES - (again ? count % 2u : 0),
                              again && count % 2u == 0);
    }
    if (status != STATUS_SUCCESS) {
        count--;
        watched->wrong += status != (NTSTATUS)STATUS_NO_MEMORY;
        watched->cut = status == (NTSTATUS)STATUS_NO_MEMORY;
    }
    for (unsigned number = 0; number < count; number++) {
        watched->wrong +=
            stretch_load(exec, number, 1, false) != (NTSTATUS)STATUS_INVALID_PARAMETER;
    }
    for (unsigned number = 0; number < STRETCH_COUNT; number++) {
        const bool there = number < count;
        watched->wrong += (stretch_unload(exec, number) == STATUS_SUCCESS) != there;
        watched->turns += there;
    }
}

static void stretch_run(void *context)
{
    struct rig_exec *exec = context;
    exec->watched.wrong += stretch_load(exec, 0, 0, false) != (NTSTATUS)STATUS_INVALID_PARAMETER;
    exec->watched.wrong +=
        stretch_load(exec, 0, SIZE_MAX, false) != (NTSTATUS)STATUS_INVALID_PARAMETER;
    stretch_all(exec, false);
    stretch_all(exec, true);
}

static bool do_stretches(struct rig_exec *exec, struct rig_step *step)
{
    exec->watched.made = true;
    rig_call(exec, step, stretch_run);
    exec->watch.unloads += exec->watched.turns;
    return rig_judge(exec, step);
}

/* ---- Looking -------------------------------------------------------------------------------- */

struct looking {
    struct rig_exec *exec;
    unsigned right;
    unsigned wrong;
};

static bool held_at(const struct rig_exec *exec, const struct rig_allocation *one)
{
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_queue *queue = &exec->watch.queues[idx];
        if (exec->shadow.heaps[idx].handle != one->heap) {
            continue;
        }
        for (unsigned at = 0; at < queue->count; at++) {
            const struct rig_held *held = &queue->held[(queue->first + at) % RIG_HELD_MAX];
            if (held->address == one->user) {
                return held->size_bytes == one->user_bytes && held->full == one->full;
            }
        }
    }
    return false;
}

static bool as_modelled(const struct rig_exec *exec, const struct rig_allocation *one,
                        const struct rig_block *block)
{
    const bool named = block->owner >= 1 && block->owner <= RIG_MODULE_COUNT;
    const bool owner = named ? strcmp(one->owner, rig_module_name(block->owner)) == 0
                       : block->owner == 0 ? one->is_program
                                           : one->owner[0] == '\0';
    return owner && one->heap == exec->shadow.heaps[block->heap].handle &&
           one->user_bytes == block->size_bytes && one->full == block->full &&
           one->disowned == block->shielded && one->real <= one->user &&
           one->user + one->user_bytes <= one->real + one->real_bytes;
}

static BOOLEAN compare(void *context, const struct rig_allocation *one)
{
    struct looking *looking = context;
    const struct rig_block *block = rig_shadow_find(&looking->exec->shadow, one->user);
    const struct rig_subject *subject = looking->exec->subject;
    const bool known = subject->knows == NULL || subject->knows((LPCVOID)one->user);
    const bool right = known && (one->held ? held_at(looking->exec, one)
                                           : block != NULL && as_modelled(looking->exec, one, block));
    looking->right += right;
    looking->wrong += !right;
    return TRUE;
}

static BOOLEAN go_on(void *context, const struct rig_allocation *one)
{
    (void)context;
    (void)one;
    return TRUE;
}

static BOOLEAN first_only(void *context, const struct rig_allocation *one)
{
    (void)context;
    (void)one;
    return FALSE;
}

static BOOLEAN log_on(void *context, const struct rig_logged *one)
{
    (void)context;
    (void)one;
    return TRUE;
}

/* Those of each heap are all, and who asks for one gets one. The log has the last operations. */
static bool visits_right(const struct rig_exec *exec, size_t count)
{
    const struct rig_subject *subject = exec->subject;
    const uint64_t made = exec->watch.order < LOG_COUNT ? exec->watch.order : LOG_COUNT;
    const size_t logged = subject->logged(NULL, log_on, NULL);
    size_t sum = 0;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &exec->shadow.heaps[idx];
        sum += heap->live && heap->handle != NULL ? subject->allocations(heap->handle, go_on, NULL)
                                                  : 0;
    }
    return sum == count && subject->allocations(NULL, first_only, NULL) == (count > 0) &&
           logged <= LOG_COUNT && (!exec->watch.tracks || logged >= made);
}

static void look(void *context)
{
    struct rig_exec *exec = context;
    struct looking looking = {exec, 0, 0};
    struct rig_verified sums;
    size_t held_count = 0;
    size_t held_bytes = 0;
    size_t live_bytes = 0;
    const bool visited = visits_right(exec, exec->subject->allocations(NULL, compare, &looking));
    exec->subject->verified(&sums);
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        held_count += exec->watch.queues[idx].count;
        held_bytes += exec->watch.queues[idx].bytes;
        live_bytes += exec->shadow.heaps[idx].block_bytes;
    }
    const struct rig_watch *watch = &exec->watch;
    exec->watched.kept_count_right =
        visited && sums.held_count == held_count && sums.held_bytes == held_bytes &&
        (!watch->tracks ||
         (sums.live_count == exec->shadow.block_count && sums.live_bytes == live_bytes)) &&
        sums.layers == watch->set.layers && sums.stops == exec->subject->stops(SIZE_MAX, NULL) && sums.unloads == watch->unloads &&
        sums.leaks == watch->leaks && sums.disowned == watch->disowned &&
        (watch->set.once || sums.silenced >= watch->silenced);
    exec->watched.found = looking.right;
    exec->watched.wrong = looking.wrong;
}

static unsigned known(const struct rig_exec *exec)
{
    unsigned count = exec->watch.tracks ? (unsigned)exec->shadow.block_count : 0;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        count += exec->watch.queues[idx].count;
    }
    return count;
}

static bool do_look(struct rig_exec *exec, struct rig_step *step)
{
    exec->watched.made = true;
    exec->watched.blocks = known(exec);
    rig_call(exec, step, look);
    return rig_judge(exec, step);
}

static BOOLEAN newest(void *context, const struct rig_logged *one)
{
    struct rig_exec *exec = context;
    const struct rig_block *block = exec->step.block;
    const bool right = one->kind == (block->moved ? 1u : 0u) && one->heap == exec->step.heap->handle &&
                       one->address == block->address && one->bytes == block->size_bytes &&
                       one->stack;
    exec->watched.found += right;
    exec->watched.wrong += !right;
    return FALSE;
}

static void log_look(void *context)
{
    struct rig_exec *exec = context;
    const struct rig_block *block = exec->step.block;
    const size_t inside = block->size_bytes == 0 ? 0 : exec->step.record->value % block->size_bytes;
    (void)exec->subject->logged((PVOID)(block->address + inside), newest, exec);
}

static bool do_log(struct rig_exec *exec, struct rig_step *step)
{
    if (block_from(exec, step) == NULL || exec->watch.order > LOGGED_SURELY) {
        return nothing(step);
    }
    exec->watched.made = true;
    rig_call(exec, step, log_look);
    return rig_judge(exec, step);
}

static bool do_exit(struct rig_exec *exec, struct rig_step *step)
{
    /* A list of leaks is long, and names every frame. */
    if (exec->watch.set.leaks && (exec->shadow.block_count > LISTED_MAX || exec->watch.listed)) {
        return nothing(step);
    }
    exec->watch.listed = true;
    exec->watched.made = true;
    call.kind = CALL_END;
    rig_call(exec, step, service);
    rig_see_end_worded(exec);
    return rig_judge(exec, step);
}

/* ---- Low resources, stops -------------------------------------------------------------------- */

static struct {
    ULONG ppm;
    ULONG quiet_ms;
    const char *layer;
    const char *name;
    ULONG report;
    ULONG flavor;
} setting; /* of the row in progress */

static void set_lowres(void *context)
{
    struct rig_exec *exec = context;
    exec->watched.status = exec->subject->lowres(setting.ppm, setting.quiet_ms);
}

static void set_stop(void *context)
{
    struct rig_exec *exec = context;
    exec->watched.status =
        exec->subject->stop_set(setting.layer, setting.name, setting.report, setting.flavor);
}

static bool do_lowres(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_watch *watch = &exec->watch;
    const unsigned value = step->record->value;
    const unsigned ppm = rig_verify_ppm(value) + (value >> 15 != 0 ? 1000000u : 0);
    const unsigned quiet = rig_verify_quiet_ms(value >> 3);
    exec->watched.made = true;
    exec->watched.choice = ppm > 1000000u ? 1u : 0;
    exec->watched.refuses = ppm > 1000000u || (watch->set.layers & RIG_VERIFY_LOWRES) == 0;
    setting.ppm = ppm;
    setting.quiet_ms = quiet;
    rig_call(exec, step, set_lowres);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (!exec->watched.refuses) {
        watch->ppm = ppm;
        watch->quiet_until_ms = watch->clock_ms + quiet;
    }
    return true;
}

static bool do_clock(struct rig_exec *exec, const struct rig_step *step)
{
    exec->subject->clock(step->record->value);
    exec->watch.clock_ms += step->record->value;
    return true;
}

#define REPORT_DEFAULT 0x1A1u
#define REPORT_UNKNOWN 0x200u
#define FLAVOR_FATAL 0x02u
#define FLAVOR_ONCE 0x10u
#define FLAVOR_UNKNOWN 0x20u

static bool do_switch(struct rig_exec *exec, struct rig_step *step, enum rig_verify_row row)
{
    const unsigned idx = step->record->value % RIG_SWITCH_COUNT;
    const bool odd = step->record->value >> 15 != 0;
    const unsigned way = step->record->value >> 13 & 3u;
    const bool unknown = odd && way != 0; /* bits; else a name that no stop of the layer has */
    const ULONG flavor = row == RIG_ROW_STOP_ONCE    ? FLAVOR_ONCE
                         : row == RIG_ROW_STOP_FATAL ? FLAVOR_FATAL
                                                        : 0;
    exec->watched.made = true;
    exec->watched.refuses = odd;
    setting.layer = odd && !unknown ? "Handles" : rig_switches[idx].layer;
    setting.name = rig_switches[idx].name;
    setting.report = (row == RIG_ROW_STOP_OFF ? 0 : REPORT_DEFAULT) |
                     (unknown && way != 2 ? REPORT_UNKNOWN : 0);
    setting.flavor = flavor | (unknown && way != 1 ? FLAVOR_UNKNOWN : 0);
    rig_call(exec, step, set_stop);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (!odd) {
        exec->watch.stops[idx].off = row == RIG_ROW_STOP_OFF;
        exec->watch.stops[idx].once = row == RIG_ROW_STOP_ONCE;
        exec->watch.stops[idx].fatal = row == RIG_ROW_STOP_FATAL;
    }
    return true;
}

static void start_again(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value = exec->subject->verify("leak") != 0;
    exec->watched.flags_told = exec->subject->global_flags();
}

/* Global flags of the settings, as the documents number them; full page heap is one. */
static ULONG flags_due(const struct rig_verify *set)
{
    static const ULONG flags[8] = {0x10, 0x20, 0x40, 0x80, 0x200000, 0x1000, 0x100, 0x2000000};
    ULONG due = set->full ? flags[7] : 0;
    for (unsigned idx = 0; idx < 8; idx++) {
        due |= (set->flags >> idx & 1u) != 0 ? flags[idx] : 0;
    }
    return due;
}

static bool do_start(struct rig_exec *exec, struct rig_step *step)
{
    exec->watched.made = true;
    exec->watched.refuses = true;
    rig_call(exec, step, start_again);
    exec->watched.flags_due = flags_due(&exec->watch.set);
    return rig_judge(exec, step);
}

static bool do_thrice(struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.marks) {
        return nothing(step);
    }
    call = (struct call){.kind = CALL_ALLOC, .bytes = 1, .times = 3};
    const bool all = !exec->watch.set.once;
    for (unsigned turn = 0; turn < 3; turn++) {
        if (all || turn == 0) {
            (void)rig_watch_expect(exec, RIG_STOP_BAD_HANDLE, 0, 0, 0, 0);
        }
    }
    exec->watched.turns = 3;
    return do_call(exec, step, true);
}

/* ---- Misuse ---------------------------------------------------------------------------------- */

static bool do_disown_odd(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_block *block = block_from(exec, step);
    const unsigned way = step->record->value % 6u;
    struct rig_heap *other = block == NULL ? NULL : heap_from(exec, step, step->heap);
    if (block == NULL || (way == 0 && other == NULL)) {
        return nothing(step);
    }
    call = (struct call){.kind = CALL_DISOWN, .handle = step->heap->handle, .block = (PVOID)block->address};
    struct rig_heap *heap = step->heap;
    switch (way) {
    case 0:
        call.handle = other->handle;
        break;
    case 1:
        call.handle = step->record->win32 != 0 ? NULL : foreign(exec);
        break;
    case 2:
        call.block = (char *)call.block + 1 + step->record->flags % 24u;
        break;
    case 3: {
        const struct rig_held *held = held_from(exec, step);
        if (held == NULL) {
            return nothing(step);
        }
        call.handle = step->heap->handle;
        call.block = (PVOID)held->address;
        step->heap = heap;
        break;
    }
    case 4:
        call.block = foreign(exec);
        break;
    default:
        call.block = NULL;
        break;
    }
    exec->watched.choice = way;
    return do_call(exec, step, false);
}

static bool do_held(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    const struct rig_held *held = held_from(exec, step);
    if (held == NULL) {
        return nothing(step);
    }
    call = (struct call){kind, step->heap->handle, (PVOID)held->address, RESIZED_BYTES, 1};
    /* Without the heaps layer it is the heap itself that refuses it, and reports. */
    if (exec->watch.marks && !refuses_all(exec, step->heap)) {
        struct rig_expected *expected = rig_watch_expect(
            exec, kind == CALL_FREE ? RIG_STOP_DOUBLE_FREE : RIG_STOP_BLOCK, handle_of(step->heap),
            held->address, held->size_bytes, 0);
        expected->allocated = true;
        expected->freed = true;
    }
    return do_call(exec, step, true);
}

static bool do_switched(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    struct rig_block *block = block_from(exec, step);
    struct rig_heap *other = block == NULL ? NULL : heap_from(exec, step, step->heap);
    if (block == NULL || other == NULL || !exec->watch.marks) {
        return nothing(step);
    }
    call = (struct call){kind, other->handle, (PVOID)block->address, RESIZED_BYTES, 1};
    if (!refuses_all(exec, other)) {
        rig_watch_expect(exec, RIG_STOP_SWITCHED, handle_of(other), block->address,
                         block->size_bytes, handle_of(step->heap))
            ->allocated = true;
    }
    return do_call(exec, step, true);
}

static bool do_bad(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    const bool without = kind == CALL_ALLOC || kind == CALL_DESTROY;
    struct rig_block *block = without ? NULL : block_from(exec, step);
    if (!exec->watch.marks || (!without && block == NULL)) {
        return nothing(step);
    }
    PVOID handle = (step->record->value & 1u) != 0 ? NULL : foreign(exec);
    call = (struct call){kind, handle, block == NULL ? NULL : (PVOID)block->address, RESIZED_BYTES,
                         1};
    (void)rig_watch_expect(exec, RIG_STOP_BAD_HANDLE, (uintptr_t)handle, 0, 0, 0);
    return do_call(exec, step, true);
}

static bool do_destroy_process(struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.marks || !rig_process_heap(exec)) {
        return nothing(step);
    }
    step->heap = &exec->shadow.heaps[0];
    call = (struct call){.kind = CALL_DESTROY, .handle = step->heap->handle};
    (void)rig_watch_expect(exec, RIG_STOP_PROCESS_HEAP, handle_of(step->heap), 0, 0, 0);
    return do_call(exec, step, true);
}

static bool do_inner(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    struct rig_block *block = block_from(exec, step);
    if (block == NULL || block->size_bytes < 2) {
        return nothing(step);
    }
    const size_t in = 1u + step->record->value % (block->size_bytes - 1u);
    call = (struct call){kind, step->heap->handle, (PVOID)(block->address + in), RESIZED_BYTES, 1};
    if (exec->watch.marks && !refuses_all(exec, step->heap)) {
        rig_watch_expect(exec, RIG_STOP_BLOCK, handle_of(step->heap), block->address + in,
                         block->size_bytes, 0)
            ->allocated = true;
    }
    return do_call(exec, step, true);
}

static bool do_foreign(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    struct rig_heap *heap = heap_from(exec, step, NULL);
    if (heap == NULL) {
        return nothing(step);
    }
    step->heap = heap;
    step->heap_before = *heap;
    call = (struct call){kind, heap->handle, foreign(exec) + step->record->value % FOREIGN_BYTES,
                         RESIZED_BYTES, 1};
    if (exec->watch.marks && !refuses_all(exec, heap)) {
        (void)rig_watch_expect(exec, RIG_STOP_BLOCK, handle_of(heap), (uintptr_t)call.block, 0, 0);
    }
    return do_call(exec, step, true);
}

/* Without the heaps layer it is the memory layer that tells of it, and the heap itself as well. */
static bool do_lost(struct rig_exec *exec, struct rig_step *step, enum call_kind kind)
{
    struct rig_heap *heap = heap_from(exec, step, NULL);
    const bool memory = (exec->watch.set.layers & RIG_VERIFY_MEMORY) != 0 && kind == CALL_FREE &&
                        exec->watch.tracks;
    if (heap == NULL || (!exec->watch.marks && !memory)) {
        return nothing(step);
    }
    step->heap = heap;
    step->heap_before = *heap;
    call = (struct call){kind, heap->handle, lost() + step->record->value % RIG_PAGE_BYTES,
                         RESIZED_BYTES, 1};
    exec->watched.odd = true;
    if (refuses_all(exec, heap)) {
        return do_call(exec, step, true);
    }
    if (exec->watch.marks) {
        (void)rig_watch_expect(exec, kind == CALL_FREE ? RIG_STOP_HEADER : RIG_STOP_PROBING,
                               handle_of(heap), (uintptr_t)call.block, 0, 0);
    } else {
        rig_watch_expect(exec, RIG_STOP_SIZING, (uintptr_t)call.block, handle_of(heap), 0, 0)->loose =
            1u << 2;
    }
    return do_call(exec, step, true);
}

static void free_local(void *context)
{
    struct rig_exec *exec = context;
    char local[64];
    exec->watched.place = (uintptr_t)local;
    call.block = local;
    exec->step.outcome.value = made(exec);
}

static bool do_stack(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_heap *heap = heap_from(exec, step, NULL);
    if (heap == NULL || (exec->watch.set.layers & RIG_VERIFY_MEMORY) == 0 || !exec->watch.tracks) {
        return nothing(step);
    }
    step->heap = heap;
    step->heap_before = *heap;
    call = (struct call){.kind = CALL_FREE, .handle = heap->handle};
    if (!refuses_all(exec, heap)) {
        rig_watch_expect(exec, RIG_STOP_STACK, 0, 0, 0, 0)->loose = 15u;
    }
    exec->watched.made = true;
    exec->watched.refuses = true;
    rig_call(exec, step, free_local);
    return rig_judge(exec, step);
}

/* ---- Damage ---------------------------------------------------------------------------------- */

static const int8_t flip_before[RIG_FLIP_COUNT] = {-1, -8, -12, -48, -32, -40, 0, 7};

static uintptr_t beside(uintptr_t at, unsigned flip)
{
    const int off = flip_before[flip];
    return off < 0 ? at - (unsigned)-off : at + (unsigned)off;
}

/* The place, when the block has it. */
static bool flip_place(const struct rig_exec *exec, const struct rig_block *block, unsigned flip,
                       uintptr_t *at)
{
    uintptr_t low = 0;
    uintptr_t high = 0;
    const bool behind = (RIG_FLIPS_BEHIND >> flip & 1u) != 0;
    *at = beside(behind ? block->address + block->size_bytes : block->address, flip);
    if (!exec->watch.marks) {
        const size_t tail = 2u * sizeof(void *);
        return behind && (exec->watch.set.flags & RIG_VERIFY_HTC) != 0 && !block->moved &&
               block->size_bytes <= RIG_THRESHOLD_BYTES - tail;
    }
    if (!block->full) {
        return true;
    }
    rig_watch_pages(exec, block->address, block->laid_bytes, &low, &high);
    return !block->moved && *at >= low && *at < high &&
           (behind || !exec->watch.set.backwards);
}

static void flip_byte(const struct rig_exec *exec, uintptr_t at)
{
    const uint8_t byte = exec->subject->peek((const void *)at);
    exec->subject->poke((PVOID)at, byte ^ 1u);
}

static bool do_flip(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_block *block = block_from(exec, step);
    const unsigned flip = step->record->value % RIG_FLIP_COUNT;
    uintptr_t at = 0;
    if (block == NULL || exec->subject->poke == NULL || exec->subject->peek == NULL ||
        !flip_place(exec, block, flip, &at)) {
        return nothing(step);
    }
    flip_byte(exec, at);
    block->flips = (uint8_t)(block->flips ^ 1u << flip);
    exec->watched.made = true;
    return rig_judge(exec, step);
}

/* Inside what was the program's, or before it. Free checks alone begin at byte 16. */
static bool do_flip_held(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_held *held = held_from(exec, step);
    const unsigned from = held != NULL && held->marked ? 0 : 16u;
    if (held == NULL || held->full || exec->subject->poke == NULL) {
        return nothing(step);
    }
    exec->watched.made = true;
    if (held->marked && (step->record->flags & 1u) != 0) {
        const unsigned flip = step->record->flags >> 1 & 7u;
        const bool behind = (RIG_FLIPS_BEHIND >> flip & 1u) != 0;
        flip_byte(exec,
                  beside(behind ? held->address + held->size_bytes : held->address, flip));
        held->flips = (uint8_t)(held->flips ^ 1u << flip);
    } else if (held->size_bytes > from && !held->touched) {
        flip_byte(exec, held->address + from + step->record->slot % (held->size_bytes - from));
        held->touched = true;
    } else {
        return nothing(step);
    }
    return rig_judge(exec, step);
}

/* ---- Full page heap -------------------------------------------------------------------------- */

static bool do_access(struct rig_exec *exec, struct rig_step *step, uintptr_t at, bool freed)
{
    struct rig_expected *expected = rig_watch_expect(exec, RIG_STOP_FIRST_CHANCE, at, 0, 0, 0);
    expected->loose = 14u;
    expected->allocated = true;
    expected->freed = freed;
    call = (struct call){.kind = CALL_ACCESS, .block = (PVOID)at, .times = 1};
    exec->watched.made = true;
    exec->watched.odd = true;
    exec->watched.place = at;
    rig_call(exec, step, body);
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    exec->watched.violated = step->outcome.raised &&
                             record->ExceptionCode == STATUS_ACCESS_VIOLATION &&
                             record->ExceptionInformation[1] == at;
    return rig_judge(exec, step);
}

static bool do_guard(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_block *block = block_from(exec, step);
    uintptr_t low = 0;
    uintptr_t high = 0;
    for (unsigned hop = 0; block != NULL && !block->full && hop < RIG_SLOT_COUNT; hop++) {
        struct rig_named *named = &exec->slots[(step->record->slot + hop) % RIG_SLOT_COUNT];
        if (named->live && named->block.full) {
            block = &named->block;
        }
    }
    if (block == NULL || !block->full || block->moved) {
        return nothing(step);
    }
    step->block = block;
    step->heap = &exec->shadow.heaps[block->heap];
    step->block_before = *block;
    step->heap_before = *step->heap;
    rig_watch_pages(exec, block->address, block->laid_bytes, &low, &high);
    return do_access(exec, step,
                     exec->watch.set.backwards ? low - 1u - step->record->value % 64u
                                               : high + step->record->value % 64u,
                     false);
}

static bool do_touch(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_held *held = held_from(exec, step);
    if (held == NULL || !held->full || held->open || held->size_bytes == 0) {
        return nothing(step);
    }
    return do_access(exec, step, held->address + step->record->slot % held->size_bytes, true);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

bool rig_do_VERIFY(struct rig_exec *exec, struct rig_step *step)
{
    const unsigned row = step->record->arg;
    exec->watched.row = (enum rig_verify_row)row;
    memset(&call, 0, sizeof(call));
    if (!exec->watch.on) {
        return rig_verify_off(exec, step);
    }
    if (row >= RIG_ROW_COUNT) {
        return nothing(step);
    }
    switch ((enum rig_verify_row)row) {
    case RIG_ROW_LOAD:
        return do_load(exec, step);
    case RIG_ROW_UNLOAD:
        return do_unload(exec, step);
    case RIG_ROW_CALLER:
        return do_caller(exec, step);
    case RIG_ROW_LOOK:
        return do_look(exec, step);
    case RIG_ROW_LOG:
        return do_log(exec, step);
    case RIG_ROW_EXIT:
        return do_exit(exec, step);
    case RIG_ROW_LOWRES:
        return do_lowres(exec, step);
    case RIG_ROW_CLOCK:
        return do_clock(exec, step);
    case RIG_ROW_STOP_OFF:
    case RIG_ROW_STOP_ONCE:
    case RIG_ROW_STOP_ON:
    case RIG_ROW_STOP_FATAL:
        return do_switch(exec, step, (enum rig_verify_row)row);
    case RIG_ROW_START:
        return do_start(exec, step);
    case RIG_ROW_STRETCHES:
        return do_stretches(exec, step);
    case RIG_ROW_THRICE:
        return do_thrice(exec, step);
    case RIG_ROW_DISOWN_ODD:
        return do_disown_odd(exec, step);
    case RIG_ROW_HELD_FREE:
        return do_held(exec, step, CALL_FREE);
    case RIG_ROW_HELD_REALLOC:
        return do_held(exec, step, CALL_REALLOC);
    case RIG_ROW_HELD_SIZE:
        return do_held(exec, step, CALL_SIZE);
    case RIG_ROW_SWITCHED_FREE:
        return do_switched(exec, step, CALL_FREE);
    case RIG_ROW_SWITCHED_REALLOC:
        return do_switched(exec, step, CALL_REALLOC);
    case RIG_ROW_SWITCHED_SIZE:
        return do_switched(exec, step, CALL_SIZE);
    case RIG_ROW_BAD_ALLOC:
        return do_bad(exec, step, CALL_ALLOC);
    case RIG_ROW_BAD_REALLOC:
        return do_bad(exec, step, CALL_REALLOC);
    case RIG_ROW_BAD_FREE:
        return do_bad(exec, step, CALL_FREE);
    case RIG_ROW_BAD_SIZE:
        return do_bad(exec, step, CALL_SIZE);
    case RIG_ROW_BAD_DESTROY:
        return do_bad(exec, step, CALL_DESTROY);
    case RIG_ROW_DESTROY_PROCESS:
        return do_destroy_process(exec, step);
    case RIG_ROW_INNER_FREE:
        return do_inner(exec, step, CALL_FREE);
    case RIG_ROW_INNER_REALLOC:
        return do_inner(exec, step, CALL_REALLOC);
    case RIG_ROW_FOREIGN_FREE:
        return do_foreign(exec, step, CALL_FREE);
    case RIG_ROW_FOREIGN_REALLOC:
        return do_foreign(exec, step, CALL_REALLOC);
    case RIG_ROW_LOST_FREE:
        return do_lost(exec, step, CALL_FREE);
    case RIG_ROW_LOST_REALLOC:
        return do_lost(exec, step, CALL_REALLOC);
    case RIG_ROW_STACK_FREE:
        return do_stack(exec, step);
    case RIG_ROW_FLIP:
        return do_flip(exec, step);
    case RIG_ROW_FLIP_HELD:
        return do_flip_held(exec, step);
    case RIG_ROW_GUARD:
        return do_guard(exec, step);
    case RIG_ROW_TOUCH:
        return do_touch(exec, step);
    default:
        return rig_story(exec, step);
    }
}

/* ---- The end ---------------------------------------------------------------------------------- */

static struct rig_step *step_at_end(struct rig_exec *exec, enum rig_op op, struct rig_heap *heap,
                                    const struct rig_record *record)
{
    struct rig_step *step = &exec->step;
    const uint32_t idx = step->idx;
    *step = (struct rig_step){
        .idx = idx,
        .phase = RIG_PHASE_END,
        .op = op,
        .call = rig_step_call(op, true),
        .win32 = true,
        .named = true,
        .record = record,
        .heap = heap,
    };
    if (heap != NULL) {
        step->heap_before = *heap;
    }
    step->sight.spoilt_at = RIG_NO_OFFSET;
    step->sight.dirty_at = RIG_NO_OFFSET;
    rig_watch_step(exec, step);
    return step;
}

static bool verify_at_end(struct rig_exec *exec, enum rig_verify_row row)
{
    static struct rig_record record;
    record = (struct rig_record){.op = RIG_OP_VERIFY, .arg = (uint8_t)row};
    return rig_do_VERIFY(exec, step_at_end(exec, RIG_OP_VERIFY, NULL, &record));
}

/* A look, what the end of the process tells, then everything freed and destroyed. */
bool rig_watch_finish(struct rig_exec *exec)
{
    static const struct rig_record blank;
    exec->watch.caller = 0;
    if (!verify_at_end(exec, RIG_ROW_LOOK) || !verify_at_end(exec, RIG_ROW_EXIT)) {
        return false;
    }
    for (struct rig_block *block = rig_shadow_first(&exec->shadow); block != NULL;) {
        struct rig_block *next = rig_shadow_next(block);
        struct rig_heap *heap = &exec->shadow.heaps[block->heap];
        struct rig_step *step = step_at_end(exec, RIG_OP_FREE, heap, &blank);
        step->block = block;
        step->block_before = *block;
        step->name = block->name;
        if (!rig_do_FREE(exec, step) || exec->ended) {
            return false;
        }
        block = next;
    }
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        struct rig_heap *heap = &exec->shadow.heaps[idx];
        while (heap->live && heap->lock_depth > 0) {
            const unsigned depth = heap->lock_depth;
            if (!rig_do_UNLOCK(exec, step_at_end(exec, RIG_OP_UNLOCK, heap, &blank)) ||
                heap->lock_depth == depth) {
                return false;
            }
        }
        if (idx > 0 && heap->live &&
            (!rig_do_DESTROY(exec, step_at_end(exec, RIG_OP_DESTROY, heap, &blank)) ||
             exec->ended)) {
            return false;
        }
    }
    return verify_at_end(exec, RIG_ROW_LOOK);
}
