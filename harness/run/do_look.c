/* SPDX-License-Identifier: MIT
 *
 * Operations that look at a heap and leave its blocks alone: walks, compacting, summaries, zeroing,
 * information classes. */
#include "exec_internal.h"

#include <string.h>

/* ---- Walking ---- */

#define WALK_MAX 8192u /* elements of one walk that are judged */

struct walking {
    struct rig_exec *exec;
    struct rig_walk *walk;
    HANDLE heap;
    bool win32;
};

static void element_of(struct rig_element *element, const PROCESS_HEAP_ENTRY *entry)
{
    *element = (struct rig_element){
        .address = (uintptr_t)entry->lpData,
        .bytes = entry->cbData,
        .overhead = entry->cbOverhead,
        .region_idx = entry->iRegionIndex,
        .flags = entry->wFlags,
        .busy = (entry->wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0,
        .region = (entry->wFlags & PROCESS_HEAP_REGION) != 0,
        .uncommitted = (entry->wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0,
    };
    if (element->region) {
        element->committed_bytes = entry->Region.dwCommittedSize;
        element->uncommitted_bytes = entry->Region.dwUnCommittedSize;
        element->first_block = (uintptr_t)entry->Region.lpFirstBlock;
        element->last_block = (uintptr_t)entry->Region.lpLastBlock;
    }
}

static void rtl_element_of(struct rig_element *element, const RTL_HEAP_WALK_ENTRY *entry)
{
    *element = (struct rig_element){
        .address = (uintptr_t)entry->DataAddress,
        .bytes = entry->DataSize,
        .overhead = entry->OverheadBytes,
        .region_idx = entry->SegmentIndex,
        .flags = entry->Flags,
        .busy = (entry->Flags & RIG_WALK_BUSY) != 0,
        .region = (entry->Flags & (RIG_WALK_BUSY | RIG_WALK_REGION)) == RIG_WALK_REGION,
        .uncommitted =
            (entry->Flags & RIG_WALK_BUSY) == 0 && (entry->Flags & RIG_WALK_UNCOMMITTED) != 0,
    };
    if (element->region) {
        element->committed_bytes = entry->Segment.CommittedSize;
        element->uncommitted_bytes = entry->Segment.UnCommittedSize;
        element->first_block = (uintptr_t)entry->Segment.FirstEntry;
        element->last_block = (uintptr_t)entry->Segment.LastEntry;
    }
}

static void walk_win32(struct walking *walking)
{
    const struct rig_subject *subject = walking->exec->subject;
    struct rig_walk *walk = walking->walk;
    PROCESS_HEAP_ENTRY entry;
    PROCESS_HEAP_ENTRY before;
    memset(&entry, 0x5A, sizeof(entry));
    entry.lpData = NULL;
    for (;;) {
        before = entry;
        if (!subject->HeapWalk(walking->heap, &entry)) {
            break;
        }
        if (walk->count == walk->count_max) {
            walk->cut = true;
            return;
        }
        element_of(&walk->elements[walk->count++], &entry);
    }
    walk->end_error = subject->GetLastError();
    walk->ended = walk->end_error == ERROR_NO_MORE_ITEMS;
    walk->end_untouched = memcmp(&before, &entry, sizeof(entry)) == 0;
}

static void walk_rtl(struct walking *walking)
{
    const struct rig_subject *subject = walking->exec->subject;
    struct rig_walk *walk = walking->walk;
    RTL_HEAP_WALK_ENTRY entry;
    RTL_HEAP_WALK_ENTRY before;
    memset(&entry, 0, sizeof(entry));
    for (;;) {
        before = entry;
        walk->end_status = (uint32_t)subject->RtlWalkHeap(walking->heap, &entry);
        if (walk->end_status != STATUS_SUCCESS) {
            break;
        }
        if (walk->count == walk->count_max) {
            walk->cut = true;
            return;
        }
        rtl_element_of(&walk->elements[walk->count++], &entry);
    }
    walk->ended = walk->end_status == STATUS_NO_MORE_ENTRIES;
    walk->end_untouched = memcmp(&before, &entry, sizeof(entry)) == 0;
}

/* The rig's own looks walk under the heap's lock, as the documents advise: it keeps the second
 * thread out once instead of at every element. A program's own walks go without. */
static void walk_whole(void *context)
{
    struct walking *walking = context;
    const struct rig_subject *subject = walking->exec->subject;
    const bool locked = walking->exec->step.phase != RIG_PHASE_PROGRAM &&
                        subject->HeapLock != NULL && subject->HeapUnlock != NULL &&
                        subject->HeapLock(walking->heap);
    if (walking->win32) {
        walk_win32(walking);
    } else {
        walk_rtl(walking);
    }
    walking->exec->verdict.call_count += walking->walk->count;
    if (locked) {
        (void)subject->HeapUnlock(walking->heap);
    }
}

static void call_walk(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    struct walking walking = {exec, step->walk, step->heap->handle, step->win32};
    walk_whole(&walking);
    step->outcome.value = step->walk->ended;
}

/* Storage for a walk, made when first needed. */
static struct rig_walk *walk_begin(struct rig_exec *exec)
{
    struct rig_walk *walk = &exec->walk;
    if (walk->elements == NULL) {
        walk->elements = calloc(WALK_MAX, sizeof(*walk->elements));
        RIG_CHECK(walk->elements != NULL);
    }
    struct rig_element *elements = walk->elements;
    *walk = (struct rig_walk){.elements = elements, .count_max = WALK_MAX};
    return walk;
}

struct rig_walk *rig_walk_aside(struct rig_exec *exec, HANDLE heap)
{
    const bool win32 = exec->subject->RtlWalkHeap == NULL;
    if (win32 && exec->subject->HeapWalk == NULL) {
        return NULL;
    }
    struct rig_walk *walk = walk_begin(exec);
    struct walking walking = {exec, walk, heap, win32};
    walk->raised = !rig_call_aside(exec, walk_whole, &walking);
    return walk;
}

/* One number for all that both spellings show. */
static uint64_t walk_sum(const struct rig_walk *walk)
{
    uint64_t sum = walk->count + 1;
    for (size_t idx = 0; idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        const uint64_t parts[] = {
            element->address,
            element->bytes,
            element->overhead | element->region_idx << 8 | (element->busy ? 1u << 16 : 0) |
                (element->region ? 1u << 17 : 0) | (element->uncommitted ? 1u << 18 : 0),
            element->committed_bytes + element->first_block,
            element->uncommitted_bytes + element->last_block,
        };
        for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
            sum = (sum ^ parts[part]) * 0x9E3779B97F4A7C15u;
            sum ^= sum >> 29;
        }
    }
    return sum;
}

/* In a look at everything the Rtl walk comes right before the Win32 one: they show the same. */
bool rig_do_WALK(struct rig_exec *exec, struct rig_step *step)
{
    step->walk = walk_begin(exec);
    rig_call(exec, step, call_walk);
    step->walk->raised = step->outcome.raised;
    if (step->phase != RIG_PHASE_PROGRAM && !step->walk->cut) {
        const uint64_t sum = walk_sum(step->walk);
        step->twin_known = step->win32 && exec->walk_sum != 0;
        step->twin_same = sum == exec->walk_sum;
        exec->walk_sum = step->win32 ? 0 : sum;
    }
    return rig_judge(exec, step);
}

static void call_walk_step(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    struct rig_cursor *cursor = &exec->cursors[step->object_idx];
    const struct rig_subject *subject = exec->subject;
    if (cursor->win32) {
        step->outcome.value = subject->HeapWalk(step->heap->handle, &cursor->entry) != 0;
        element_of(&step->element, &cursor->entry);
    } else {
        step->outcome.value =
            (uint32_t)subject->RtlWalkHeap(step->heap->handle, &cursor->rtl_entry);
        rtl_element_of(&step->element, &cursor->rtl_entry);
    }
}

static bool is_walked(const struct rig_exec *exec, const struct rig_heap *heap)
{
    for (unsigned idx = 0; idx < RIG_CURSOR_COUNT; idx++) {
        if (exec->cursors[idx].live && exec->cursors[idx].heap == heap->idx) {
            return true;
        }
    }
    return false;
}

/* The other walks in the same heap know that this one went on. */
static void mix(struct rig_exec *exec, unsigned cursor_idx)
{
    for (unsigned idx = 0; idx < RIG_CURSOR_COUNT; idx++) {
        exec->cursors[idx].mixed =
            exec->cursors[idx].mixed ||
            (idx != cursor_idx && exec->cursors[idx].heap == exec->cursors[cursor_idx].heap);
    }
}

/* One step of a walk that goes on between other operations, several at a time. A heap that changed
 * meanwhile may make it fail, never anything worse. */
bool rig_do_WALK_STEP(struct rig_exec *exec, struct rig_step *step)
{
    step->object_idx = step->record->arg % RIG_CURSOR_COUNT;
    struct rig_cursor *cursor = &exec->cursors[step->object_idx];
    if (!cursor->live || cursor->heap != step->heap->idx || cursor->win32 != step->win32) {
        memset(cursor, 0, sizeof(*cursor));
        cursor->live = true;
        cursor->win32 = step->win32;
        cursor->heap = step->heap->idx;
        cursor->changes = exec->changes[cursor->heap];
        step->walk_first = true;
    }
    step->walk_stale = cursor->changes != exec->changes[cursor->heap];
    const struct rig_cursor before = *cursor;
    rig_call(exec, step, call_walk_step);
    const bool ok = (step->outcome.value != 0) == step->win32 && !step->outcome.raised;
    step->walk_untouched = memcmp(&before, cursor, sizeof(before)) == 0;
    cursor->live = ok && !step->walk_stale;
    cursor->busy_count += ok && step->element.busy;
    step->walk_busy = cursor->busy_count;
    step->walk_mixed = cursor->mixed;
    mix(exec, step->object_idx);
    step->heap->walking = is_walked(exec, step->heap);
    return rig_judge(exec, step);
}

/* ---- Compacting, zeroing, summing up ---- */

static void call_compact(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    step->outcome.value = step->win32 ? subject->HeapCompact(step->heap->handle, step->flags)
                                      : subject->RtlCompactHeap(step->heap->handle, step->flags);
}

bool rig_do_COMPACT(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_compact);
    exec->changes[step->heap->idx]++;
    /* What was promised is compared with what a walk shows. */
    step->walk = rig_walk_aside(exec, step->heap->handle);
    return rig_judge(exec, step);
}

static void call_zero(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = (uint32_t)exec->subject->RtlZeroHeap(step->heap->handle, step->flags);
}

#define ZERO_LOOK_BYTES 0x4000u              /* of each free block */
#define ZERO_BYTES_MAX ((uint64_t)256 << 20) /* of a run: more of them show nothing new */

/* Free memory is the heap's own: its sanitizer's poison does not count. */
RIG_UNSANITIZED static bool dirty(const struct rig_element *free)
{
    const volatile unsigned char *bytes = (const volatile unsigned char *)free->address;
    const size_t look = free->bytes < ZERO_LOOK_BYTES ? free->bytes : ZERO_LOOK_BYTES;
    size_t at = 0;
    if (free->address % sizeof(uintptr_t) == 0) { /* by words: the most of it */
        const volatile uintptr_t *words = (const volatile uintptr_t *)free->address;
        while (at + sizeof(uintptr_t) <= look && words[at / sizeof(uintptr_t)] == 0) {
            at += sizeof(uintptr_t);
        }
    }
    while (at < look && bytes[at] == 0) {
        at++;
    }
    if (at < look) {
        return true;
    }
    return free->bytes > 0 && bytes[free->bytes - 1] != 0;
}

/* Some free block of the heap has bytes that are not zero; `*bytes` is what all of them have. */
static bool free_dirty(struct rig_exec *exec, HANDLE heap, uint64_t *bytes)
{
    const struct rig_walk *walk = rig_walk_aside(exec, heap);
    bool found = false;
    for (size_t idx = 0; walk != NULL && walk->ended && idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (!element->busy && !element->region && !element->uncommitted) {
            found = found || dirty(element);
            *bytes += element->bytes;
        }
    }
    return found;
}

bool rig_do_ZERO(struct rig_exec *exec, struct rig_step *step)
{
    const bool core = (exec->subject->claims & RIG_CLAIM_RULINGS) != 0;
    uint64_t after_bytes = 0;
    if (exec->zeroed_bytes > ZERO_BYTES_MAX) {
        step->nothing = true;
        return true;
    }
    step->dirty_before = core && free_dirty(exec, step->heap->handle, &exec->zeroed_bytes);
    rig_call(exec, step, call_zero);
    step->dirty_after = core && free_dirty(exec, step->heap->handle, &after_bytes);
    exec->changes[step->heap->idx]++;
    return rig_judge(exec, step);
}

static void call_summary(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    HEAP_SUMMARY summary;
    memset(&summary, 0x5A, sizeof(summary));
    summary.cb = step->summary_cb;
    const HEAP_SUMMARY before = summary;
    step->outcome.value =
        exec->subject->HeapSummary(step->heap->handle, step->flags, &summary) != 0;
    step->info_untouched = memcmp(&before, &summary, sizeof(summary)) == 0;
    step->summary[0] = summary.cbAllocated;
    step->summary[1] = summary.cbCommitted;
    step->summary[2] = summary.cbReserved;
    step->summary[3] = summary.cbMaxReserve;
}

bool rig_do_SUMMARY(struct rig_exec *exec, struct rig_step *step)
{
    const uint8_t arg = step->record->arg;
    step->summary_cb = (DWORD)sizeof(HEAP_SUMMARY) + (arg >= 0xC0u ? (arg & 0x3Fu) - 0x20u : 0u);
    rig_call(exec, step, call_summary);
    return rig_judge(exec, step);
}

/* ---- Information classes ---- */

static void call_query(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    HANDLE handle = step->handle_null ? NULL : step->heap->handle;
    ULONG value[2] = {RIG_POISON, RIG_POISON};
    SIZE_T length = RIG_POISON;
    SIZE_T *length_at = step->length_null ? NULL : &length;
    PVOID place = step->info_null ? NULL : value;
    const HEAP_INFORMATION_CLASS class = (HEAP_INFORMATION_CLASS)step->info_class;
    if (step->win32) {
        step->outcome.value =
            subject->HeapQueryInformation(handle, class, place, step->info_bytes, length_at) != 0;
    } else {
        step->outcome.value = (uint32_t)subject->RtlQueryHeapInformation(
            handle, class, place, step->info_bytes, length_at);
    }
    step->info_value = value[0];
    step->info_length = length;
    step->info_untouched = value[0] == RIG_POISON && value[1] == RIG_POISON;
}

/* Mostly as it should be; by the argument another class, a short buffer, no length wanted. */
bool rig_do_QUERY(struct rig_exec *exec, struct rig_step *step)
{
    const uint8_t arg = step->record->arg;
    static const uint8_t lengths[8] = {4, 4, 4, 4, 8, 3, 0, 5};
    step->info_bytes = lengths[arg & 7u];
    step->length_null = (arg & 8u) != 0;
    step->info_class = (arg & 0xF0u) == 0xF0u ? 1u + (arg & 7u) : 0u;
    step->handle_null = (arg & 0xF0u) == 0xE0u;
    step->info_null = (arg & 0xF0u) == 0xD0u && (exec->subject->claims & RIG_CLAIM_RULINGS) != 0;
    rig_call(exec, step, call_query);
    if (!rig_judge(exec, step)) {
        return false;
    }
    const bool ok = (step->outcome.value != 0) == step->win32 && !step->outcome.raised;
    if (ok && step->info_class == 0 && step->info_value == 2) {
        step->heap->front_on = true;
    }
    return true;
}

static void call_set(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    HANDLE handle = step->handle_null ? NULL : step->heap->handle;
    ULONG value[2] = {step->info_value, 0};
    PVOID place = step->info_null ? NULL : value;
    const HEAP_INFORMATION_CLASS class = (HEAP_INFORMATION_CLASS)step->info_class;
    if (step->win32) {
        step->outcome.value =
            subject->HeapSetInformation(handle, class, place, step->info_bytes) != 0;
    } else {
        step->outcome.value =
            (uint32_t)subject->RtlSetHeapInformation(handle, class, place, step->info_bytes);
    }
}

/* The front end, termination, optimizing; as documented mostly, odd lengths and values by `value`.
 */
bool rig_do_SET(struct rig_exec *exec, struct rig_step *step)
{
    static const uint8_t classes[16] = {0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 1, 1, 2, 4};
    static const uint8_t values[8] = {2, 2, 2, 2, 2, 0, 1, 3};
    const uint16_t value = step->record->value;
    step->info_class = classes[step->record->arg & 15u];
    step->handle_null = (step->record->arg & 0xE0u) == 0xE0u;
    step->info_value = step->info_class == 3 ? 1u : values[value & 7u];
    step->info_bytes = step->info_class == 3 ? 8u : 4u;
    if (step->info_class == 1) {
        step->info_null = true;
        step->info_bytes = 0;
    }
    if ((value & 0x700u) == 0x700u) {
        step->info_bytes += 1;
    }
    if ((value & 0x3800u) == 0x3800u && step->info_class == 3) {
        step->info_value = 2;
    }
    if ((value & 0xC700u) == 0xC000u && (exec->subject->claims & RIG_CLAIM_RULINGS) != 0) {
        step->info_null = !step->info_null; /* of class 1 as well: there it must be NULL */
    }
    /* Without a handle it means every heap, and the first thread lets go of one only. */
    step->second = step->second && !step->handle_null;
    step->held_known = exec->subject->holdings != NULL;
    step->held_before = step->held_known ? exec->subject->holdings() : step->held_before;
    rig_call(exec, step, call_set);
    step->held_after = step->held_known ? exec->subject->holdings() : step->held_after;
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        exec->changes[idx]++;
    }
    if (!rig_judge(exec, step)) {
        return false;
    }
    const bool ok = (step->outcome.value != 0) == step->win32 && !step->outcome.raised;
    if (ok && step->info_class == 0) {
        step->heap->front_on = true;
        step->heap->front_set = true;
    }
    if (ok && step->info_class == 1) {
        exec->shadow.terminates = true;
    }
    return true;
}
