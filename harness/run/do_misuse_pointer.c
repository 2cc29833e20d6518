/* SPDX-License-Identifier: MIT
 *
 * MISUSE: which object the row is about, and what is passed in place of what the call wants. Of the
 * record, slot and heap name the objects, and the value's high byte chooses among bad addresses. */
#include "exec_internal.h"

#include "faults/catalog.h"

#define ALIGN_BYTES (2 * sizeof(void *)) /* of blocks */
#define HEADER_BYTES 8u                  /* what is copied in front of a forged block */
#define GONE_RECENT 32u                  /* heaps made since: a handle is stale for twice as many */
#define LOOKS_MAX 8u                     /* freed blocks that are looked for in a walk */
#define WALK_LFH 0x8000u                 /* RtlWalkHeap: an element of the front end */
#define FREE_DATA_BYTES 16u              /* a free block's data begins so far behind a busy one's */
#define SCRATCH_BYTES 0x21000u           /* a page at a multiple of 64 KiB, wherever it begins */

static unsigned variant_of(const struct rig_step *step)
{
    return step->record->value >> 8;
}

/* ---- What stands at an address ---- */

enum there {
    THERE_NOBODY,
    THERE_MAYBE, /* nobody, or the end of a large block's reservation */
    THERE_OTHER, /* memory of another heap */
    THERE_BLOCK, /* a free block of this one starts there */
    THERE_PAGES, /* memory that this one has not committed */
    THERE_INSIDE
};

static bool covers(const struct rig_element *element, uintptr_t address)
{
    return address - element->address < element->bytes;
}

/* From the start of its reservation to the end of what is committed. */
static bool large_covers(const struct rig_element *large, uintptr_t address)
{
    const uintptr_t start = large->address / RIG_GRANULE_BYTES * RIG_GRANULE_BYTES;
    return address - start < large->bytes + large->overhead;
}

static bool element_starts(const struct rig_element *element, uintptr_t address)
{
    const bool front = (element->flags & WALK_LFH) != 0;
    return !element->busy && !element->region && !element->uncommitted &&
           element->address == address + (front ? 0 : FREE_DATA_BYTES);
}

/* By a walk of one heap: what it has there. `large` is set when it has a large block: those come
 * last, outside the regions. */
static enum there there_in(struct rig_exec *exec, const struct rig_heap *heap, uintptr_t address,
                           bool *large)
{
    const struct rig_walk *walk = rig_walk_aside(exec, heap->handle);
    const struct rig_element *region = NULL;
    enum there there = THERE_NOBODY;
    for (size_t idx = 0; walk != NULL && idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (element->region) {
            region = element;
            there = there == THERE_NOBODY && covers(region, address) ? THERE_INSIDE : there;
        } else if (element->busy && (region == NULL || !covers(region, element->address))) {
            *large = true;
            there = large_covers(element, address) ? THERE_INSIDE : there;
        } else if (element_starts(element, address)) {
            there = THERE_BLOCK;
        } else if (element->uncommitted && covers(element, address)) {
            there = THERE_PAGES;
        }
    }
    return there;
}

static enum there there_of(struct rig_exec *exec, const struct rig_heap *heap, uintptr_t address)
{
    bool large = false;
    enum there there = there_in(exec, heap, address, &large);
    for (unsigned idx = 0; there == THERE_NOBODY && idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *other = &exec->shadow.heaps[idx];
        if (other != heap && other->live && other->handle != NULL &&
            there_in(exec, other, address, &large) != THERE_NOBODY) {
            there = THERE_OTHER;
        }
    }
    return there == THERE_NOBODY && large ? THERE_MAYBE : there;
}

void rig_misuse_reason(struct rig_exec *exec, struct rig_step *step)
{
    static const char *const reasons[] = {
        [THERE_NOBODY] = "FOREIGN_POINTER", [THERE_MAYBE] = "FOREIGN_POINTER",
        [THERE_OTHER] = "WRONG_HEAP",       [THERE_BLOCK] = "DOUBLE_FREE",
        [THERE_PAGES] = "INTERIOR_POINTER", [THERE_INSIDE] = "INTERIOR_POINTER",
    };
    const char *reason = step->misuse->reason;
    if (strcmp(reason, "LOOK") != 0) {
        step->bad.reason = strcmp(reason, "NONE") == 0 ? NULL : reason;
    } else if (step->misuse->pointer == FAULT_POINTER_GONE_HEAP) {
        step->bad.reason = "STALE_HANDLE";
    } else {
        const enum there there = there_of(exec, step->heap, (uintptr_t)step->passed);
        step->bad.reason = reasons[there];
        step->bad.open = there == THERE_MAYBE;
    }
}

/* ---- Finding ---- */

static bool heap_there(struct rig_exec *exec, unsigned idx)
{
    return exec->shadow.heaps[idx].live && (idx > 0 || rig_process_heap(exec)) &&
           !exec->damaged[idx];
}

static bool heap_fits(struct rig_exec *exec, const struct rig_step *step, unsigned idx)
{
    const struct rig_heap *heap = &exec->shadow.heaps[idx];
    if (step->misuse->need == FAULT_NEED_UNWOUND_HEAP) {
        return heap->live && exec->unwound[idx];
    }
    if (!heap_there(exec, idx)) {
        return false;
    }
    const bool serializes =
        (heap->flags & HEAP_NO_SERIALIZE) == 0 && heap->section == RIG_NO_SECTION;
    switch (step->misuse->need) {
    case FAULT_NEED_PROCESS_HEAP:
        return idx == 0;
    case FAULT_NEED_UNLOCKED_HEAP:
        return serializes && heap->lock_depth == 0;
    case FAULT_NEED_LOCKED_BY_OTHER:
        return serializes && heap->lock_depth > 0;
    case FAULT_NEED_OTHER_HEAP:
        return step->block->heap != idx;
    case FAULT_NEED_GROWING_HEAP:
        return idx > 0 && heap->growable && heap->lock_depth == 0 &&
               heap->allocation_max_bytes > heap->threshold_bytes;
    default:
        return true;
    }
}

static bool heap_find(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_HEAP_COUNT; hop++) {
        const unsigned idx = (step->record->heap + hop) % RIG_HEAP_COUNT;
        if (heap_fits(exec, step, idx)) {
            step->heap = &exec->shadow.heaps[idx];
            step->named = step->named && hop == 0;
            return true;
        }
    }
    return false;
}

static bool block_fits(const struct rig_step *step, const struct rig_block *block)
{
    switch (step->misuse->need) {
    case FAULT_NEED_BLOCK_WIDE:
        return block->size_bytes > 2 * ALIGN_BYTES;
    case FAULT_NEED_BLOCK_PAGES:
        return block->size_bytes > 2 * RIG_PAGE_BYTES;
    default:
        return true;
    }
}

static bool block_find(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT; hop++) {
        const unsigned idx = (step->record->slot + hop) % RIG_SLOT_COUNT;
        struct rig_named *named = &exec->slots[idx];
        if (named->live && heap_there(exec, named->block.heap) && block_fits(step, &named->block)) {
            step->block = &named->block;
            step->heap = &exec->shadow.heaps[named->block.heap];
            step->name = idx;
            step->named = step->named && hop == 0;
            return true;
        }
    }
    return false;
}

static bool nothing_live(struct rig_exec *exec, uintptr_t address)
{
    return address != 0 && rig_shadow_overlap(&exec->shadow, address, 1, NULL) == NULL;
}

static bool freed_fits(struct rig_exec *exec, const struct rig_step *step,
                       const struct rig_gone_block *freed, unsigned *looks)
{
    const struct rig_heap *heap = &exec->shadow.heaps[freed->heap];
    if (!nothing_live(exec, freed->address) || !heap_there(exec, freed->heap) ||
        heap->created != freed->made) {
        return false;
    }
    switch (step->misuse->need) {
    case FAULT_NEED_FREED_EARLIER:
        return freed->order < exec->freed_count;
    case FAULT_NEED_FREED_MERGED:
        return (*looks)++ < LOOKS_MAX && there_of(exec, heap, freed->address) == THERE_INSIDE;
    case FAULT_NEED_FREED_PAGES:
        return (*looks)++ < LOOKS_MAX && there_of(exec, heap, freed->address) == THERE_PAGES;
    case FAULT_NEED_FREED_LARGE:
        return freed->large && (*looks)++ < LOOKS_MAX &&
               there_of(exec, heap, freed->address) == THERE_NOBODY;
    default:
        return true;
    }
}

static bool freed_find(struct rig_exec *exec, struct rig_step *step)
{
    unsigned looks = 0;
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT; hop++) {
        const unsigned idx = (step->record->slot + hop) % RIG_SLOT_COUNT;
        const struct rig_gone_block *freed = &exec->gone_blocks[idx];
        if (freed_fits(exec, step, freed, &looks)) {
            step->passed = (PVOID)freed->address;
            step->heap = &exec->shadow.heaps[freed->heap];
            step->name = idx;
            step->named = step->named && hop == 0;
            return true;
        }
    }
    return false;
}

static bool is_live_handle(const struct rig_exec *exec, HANDLE handle)
{
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        if (exec->shadow.heaps[idx].live && exec->shadow.heaps[idx].handle == handle) {
            return true;
        }
    }
    return false;
}

static bool gone_heap_find(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned back = 1; back <= exec->gone_count && back <= GONE_RECENT; back++) {
        const unsigned idx = (exec->gone_count - back) % RIG_GONE_MAX;
        if (exec->shadow.heap_ordinal - exec->gone_made[idx] < GONE_RECENT &&
            !is_live_handle(exec, exec->gone[idx])) {
            step->passed = exec->gone[idx];
            return heap_find(exec, step);
        }
    }
    return false;
}

static bool section_find(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned idx = 0; idx < RIG_SECTION_COUNT; idx++) {
        struct rig_section *section = &exec->sections[idx];
        if (section->live && section->depth == 0 && section->users == 0) {
            step->passed = &section->section;
            return true;
        }
    }
    return false;
}

bool rig_misuse_find(struct rig_exec *exec, struct rig_step *step)
{
    switch (step->misuse->need) {
    case FAULT_NEED_NOTHING:
        return true;
    case FAULT_NEED_BLOCK:
    case FAULT_NEED_BLOCK_WIDE:
    case FAULT_NEED_BLOCK_PAGES:
        return block_find(exec, step);
    case FAULT_NEED_OTHER_HEAP:
        return block_find(exec, step) && heap_find(exec, step);
    case FAULT_NEED_FREED:
    case FAULT_NEED_FREED_EARLIER:
    case FAULT_NEED_FREED_MERGED:
    case FAULT_NEED_FREED_PAGES:
    case FAULT_NEED_FREED_LARGE:
    case FAULT_NEED_FREED_SECOND:
    case FAULT_NEED_FREED_LOCKED:
        return freed_find(exec, step);
    case FAULT_NEED_GONE_BLOCK:
        step->passed = (PVOID)exec->gone_block;
        return nothing_live(exec, exec->gone_block) && heap_find(exec, step);
    case FAULT_NEED_GONE_HEAP:
        return gone_heap_find(exec, step);
    case FAULT_NEED_FREE_SECTION:
        return section_find(exec, step);
    default:
        return heap_find(exec, step);
    }
}

/* ---- Memory of the rig that is passed ---- */

/* All zero, and never anything else. Aligned as a block is: which report a global makes must not be
 * the linker's choice. */
static _Alignas(16) CRITICAL_SECTION never_made;
static const ULONG_PTR constants[64] = {sizeof(HEAP_SUMMARY)};

static char *scratch(struct rig_exec *exec)
{
    if (exec->scratch == NULL) {
        exec->scratch = calloc(1, SCRATCH_BYTES);
        RIG_CHECK(exec->scratch != NULL);
    }
    return exec->scratch;
}

static char *aligned_up(char *place, uintptr_t bytes)
{
    return place + (bytes - (uintptr_t)place % bytes) % bytes;
}

/* A copy of what the heap has in front of a block, behind which a block could begin. */
static PVOID forge(struct rig_exec *exec, const struct rig_step *step, char *place)
{
    const struct rig_subject *subject = exec->subject;
    for (size_t idx = 1; idx <= HEADER_BYTES; idx++) {
        place[-(ptrdiff_t)idx] = (char)subject->peek((const char *)step->block->address - idx);
    }
    return place;
}

/* A heap's first page, at an address where a heap could begin. */
static PVOID forge_heap(struct rig_exec *exec, const struct rig_step *step)
{
    char *place = aligned_up(scratch(exec), RIG_GRANULE_BYTES);
    for (size_t idx = 0; idx < RIG_PAGE_BYTES; idx++) {
        place[idx] = (char)exec->subject->peek((const char *)step->heap->handle + idx);
    }
    return place;
}

/* ---- Bad addresses ---- */

static PVOID top(unsigned variant)
{
    return (PVOID)(UINTPTR_MAX - (ALIGN_BYTES - 1) - ALIGN_BYTES * variant);
}

/* Without an address that no pointer can have, one that no process gets. */
static PVOID odd_address(unsigned variant)
{
    const uintptr_t half = (uintptr_t)1 << (sizeof(void *) * 8 - 1);
    return sizeof(void *) == 8 ? (PVOID)(half / 2 + ALIGN_BYTES * variant) : top(variant);
}

static PVOID unmapped(unsigned variant)
{
    return (PVOID)(uintptr_t)(0x100000u + ALIGN_BYTES * variant);
}

static PVOID low(unsigned variant)
{
    return (PVOID)(uintptr_t)(ALIGN_BYTES * (1 + variant));
}

/* The memory for the process heap's caller: it has none, so nobody opens it. */
static PVOID guarded(struct rig_exec *exec, const struct rig_step *step)
{
    const bool base =
        step->misuse->into == FAULT_INTO_BASE || step->misuse->into == FAULT_INTO_SMALL_BASE;
    return exec->bases + (base ? 0 : ALIGN_BYTES * variant_of(step));
}

static PVOID on_stack(void)
{
    return aligned_up(__builtin_frame_address(0), ALIGN_BYTES);
}

static PVOID code(void)
{
    PVOID place;
    PVOID (*const function)(unsigned variant) = top;
    memcpy(&place, (const void *)&function, sizeof(place));
    return (PVOID)((uintptr_t)place & ~(uintptr_t)(ALIGN_BYTES - 1));
}

static PVOID readable(struct rig_exec *exec, const struct rig_step *step)
{
    switch (variant_of(step) % 4) {
    case 0:
        return on_stack();
    case 1:
        return &never_made;
    case 2:
        return code();
    default:
        return aligned_up(scratch(exec), ALIGN_BYTES);
    }
}

static PVOID unreadable(struct rig_exec *exec, const struct rig_step *step)
{
    const unsigned variant = variant_of(step) / 5;
    switch (variant_of(step) % 5) {
    case 0:
        return unmapped(variant);
    case 1:
        return guarded(exec, step);
    case 2:
        return odd_address(variant);
    case 3:
        return low(variant);
    default:
        return top(variant);
    }
}

/* ---- Addresses of a heap ---- */

static PVOID inside(const struct rig_step *step)
{
    const size_t steps = (step->block->size_bytes - 1) / ALIGN_BYTES;
    return (char *)step->block->address + ALIGN_BYTES * (1 + variant_of(step) % steps);
}

static PVOID pages_inside(const struct rig_step *step)
{
    const size_t pages = (step->block->size_bytes - 1) / RIG_PAGE_BYTES;
    return (char *)step->block->address + RIG_PAGE_BYTES * (1 + variant_of(step) % pages);
}

static PVOID off_by(const void *place, const struct rig_step *step)
{
    return (PVOID)((uintptr_t)place + 1 + variant_of(step) % (ALIGN_BYTES - 1));
}

/* Some element of a walk that is of the kind, by the variant; its address and more, or NULL. */
static PVOID of_walk(struct rig_exec *exec, const struct rig_step *step, bool region, bool pages)
{
    const struct rig_walk *walk = rig_walk_aside(exec, step->heap->handle);
    PVOID found = NULL;
    unsigned left = variant_of(step) % 4;
    for (size_t idx = 0; walk != NULL && idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        if (element->busy || element->region != region || element->uncommitted != pages ||
            element->bytes <= 2 * ALIGN_BYTES) {
            continue;
        }
        found = (PVOID)(element->address + (pages ? 0 : ALIGN_BYTES));
        if (left-- == 0) {
            break;
        }
    }
    return found;
}

/* The last element of that kind of a walk, of busy ones a large block; or NULL. */
static PVOID last_of_walk(struct rig_exec *exec, const struct rig_step *step, bool busy, bool large)
{
    const struct rig_walk *walk = rig_walk_aside(exec, step->heap->handle);
    const struct rig_element *region = NULL;
    PVOID found = NULL;
    for (size_t idx = 0; walk != NULL && idx < walk->count; idx++) {
        const struct rig_element *element = &walk->elements[idx];
        region = element->region ? element : region;
        const bool outside = region == NULL || !covers(region, element->address);
        if (!element->region && !element->uncommitted && element->busy == busy &&
            outside == large) {
            found = (PVOID)element->address;
        }
    }
    return found;
}

/* An address that starts no element of the kind that the entry says, by the variant; where the heap
 * has not what that needs, one in its control structures. */
static PVOID altered(struct rig_exec *exec, struct rig_step *step)
{
    static const enum rig_entry kinds[] = {
        RIG_ENTRY_BUSY,   RIG_ENTRY_BUSY, RIG_ENTRY_UNCOMMITTED, RIG_ENTRY_UNCOMMITTED,
        RIG_ENTRY_REGION, RIG_ENTRY_FREE, RIG_ENTRY_REGION,      RIG_ENTRY_BUSY,
        RIG_ENTRY_FREE,   RIG_ENTRY_BUSY,
    };
    const unsigned variant = variant_of(step) % (sizeof(kinds) / sizeof(kinds[0]));
    char *found = NULL;
    step->bad.kind = kinds[variant];
    switch (variant) {
    case 1:
        return unreadable(exec, step);
    case 2: /* off the pages */
        found = of_walk(exec, step, false, true);
        found = found == NULL ? NULL : found + ALIGN_BYTES;
        break;
    case 3: /* page 0 is committed */
        return step->heap->handle;
    case 4: /* behind its base */
        found = of_walk(exec, step, true, false);
        break;
    case 5:
    case 6:
        found = last_of_walk(exec, step, true, false);
        break;
    case 7: /* inside */
        found = last_of_walk(exec, step, true, true);
        found = found == NULL ? NULL : found + ALIGN_BYTES;
        break;
    case 8:
        found = last_of_walk(exec, step, true, true);
        break;
    case 9:
        found = last_of_walk(exec, step, false, false);
        break;
    default:
        break;
    }
    if (found == NULL) {
        step->bad.kind = RIG_ENTRY_BUSY;
        found = (char *)step->heap->handle + ALIGN_BYTES;
    }
    return found;
}

bool rig_misuse_pointer(struct rig_exec *exec, struct rig_step *step)
{
    const unsigned variant = variant_of(step);
    const enum fault_pointer pointer = step->misuse->pointer;
    const bool forges = pointer == FAULT_POINTER_FORGED || pointer == FAULT_POINTER_FORGED_INSIDE ||
                        pointer == FAULT_POINTER_FORGED_HEAP;
    if (forges && exec->subject->peek == NULL) {
        step->skipped = "subject lets nobody read its metadata";
        return false;
    }
    switch (pointer) {
    case FAULT_POINTER_NONE:
        step->passed = NULL;
        return true;
    case FAULT_POINTER_LIVE:
        step->passed = step->block == NULL ? step->passed : (PVOID)step->block->address;
        break;
    case FAULT_POINTER_ALIEN:
        step->passed = (PVOID)step->block->address;
        break;
    case FAULT_POINTER_INTERIOR:
        step->passed = inside(step);
        break;
    case FAULT_POINTER_INTERIOR_PAGE:
        step->passed = pages_inside(step);
        break;
    case FAULT_POINTER_MISALIGNED:
        step->passed = off_by((PVOID)step->block->address, step);
        break;
    case FAULT_POINTER_MISALIGNED_ANYWHERE:
        step->passed = off_by(readable(exec, step), step);
        break;
    case FAULT_POINTER_STACK:
        step->passed = on_stack();
        break;
    case FAULT_POINTER_GLOBAL:
        step->passed = &never_made;
        break;
    case FAULT_POINTER_CODE:
        step->passed = code();
        break;
    case FAULT_POINTER_CONSTANT:
        step->passed = (PVOID)(uintptr_t)constants;
        break;
    case FAULT_POINTER_MALLOCED:
        step->passed = aligned_up(scratch(exec), ALIGN_BYTES);
        break;
    case FAULT_POINTER_FORGED:
        step->passed = forge(exec, step, aligned_up(scratch(exec) + ALIGN_BYTES, ALIGN_BYTES));
        break;
    case FAULT_POINTER_FORGED_INSIDE:
        step->passed = forge(exec, step, (char *)step->block->address + ALIGN_BYTES);
        break;
    case FAULT_POINTER_FORGED_HEAP:
        step->passed = forge_heap(exec, step);
        break;
    case FAULT_POINTER_UNMAPPED:
        step->passed = unmapped(variant);
        break;
    case FAULT_POINTER_GUARDED:
        step->passed = guarded(exec, step);
        break;
    case FAULT_POINTER_ODD_ADDRESS:
        step->passed = odd_address(variant);
        break;
    case FAULT_POINTER_LOW:
        step->passed = low(variant);
        break;
    case FAULT_POINTER_TOP:
        step->passed = top(variant);
        break;
    case FAULT_POINTER_READABLE:
        step->passed = readable(exec, step);
        break;
    case FAULT_POINTER_UNREADABLE:
        step->passed = unreadable(exec, step);
        break;
    case FAULT_POINTER_HEAP_START:
        step->passed = step->heap->handle;
        break;
    case FAULT_POINTER_HEAP_INSIDE:
        step->passed = (char *)step->heap->handle + ALIGN_BYTES * (1 + variant);
        break;
    case FAULT_POINTER_HEAP_OFF:
        step->passed = off_by(step->heap->handle, step);
        break;
    case FAULT_POINTER_REGION_INSIDE:
        step->passed = of_walk(exec, step, true, false);
        break;
    case FAULT_POINTER_FREE_MEMORY:
        step->passed = of_walk(exec, step, false, false);
        break;
    case FAULT_POINTER_UNCOMMITTED:
        step->passed = of_walk(exec, step, false, true);
        break;
    case FAULT_POINTER_ALTERED:
        step->passed = altered(exec, step);
        break;
    default:
        break; /* found already */
    }
    return step->passed != NULL;
}
