/* SPDX-License-Identifier: MIT
 *
 * From a record to the bytes that it damages. A block's name gives way to the next live one that
 * fits, as everywhere; a field's number counts around. */
#include "damage_places.h"

#include "program/size.h"

#define SLACK_BYTES_MAX 64u /* behind a block the next field is not farther than that */

/* ---- Fields ---- */

static bool ends(const char *name, const char *ending)
{
    const size_t len = strlen(name);
    return len >= strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0;
}

static BOOLEAN collect_one(void *context, const struct rig_field *field)
{
    struct rig_fields *fields = context;
    if (fields->count == RIG_FIELDS_MAX) {
        return FALSE;
    }
    if (ends(field->name, ".spare")) { /* committed, and nothing */
        return TRUE;
    }
    fields->fields[fields->count++] = *field;
    return TRUE;
}

struct collecting {
    const struct rig_subject *subject;
    HANDLE heap;
    struct rig_fields *fields;
};

static void collect(void *context)
{
    struct collecting *collecting = context;
    (void)collecting->subject->fields(collecting->heap, collect_one, collecting->fields);
}

bool rig_fields_collect(struct rig_exec *exec, HANDLE heap, struct rig_fields *fields)
{
    struct collecting collecting = {exec->subject, heap, fields};
    EXCEPTION_RECORD record;
    fields->count = 0;
    return exec->subject->guard(collect, &collecting,
                                &record); /* it may report: of damage it met */
}

/* A descriptor is a large block's when that block's header is described next. */
static bool is_large(const struct rig_fields *fields, size_t idx)
{
    return idx + 1 < fields->count && strcmp(fields->fields[idx + 1].name, "large.header") == 0;
}

static bool fits(struct rig_exec *exec, const struct rig_fields *fields, size_t idx,
                 const struct fault_place_info *place, uintptr_t block)
{
    const struct rig_field *field = &fields->fields[idx];
    const uintptr_t user = (uintptr_t)field->block;
    switch (place->at) {
    case FAULT_AT_BLOCK:
        return user == block && ends(field->name, place->field);
    case FAULT_AT_FREE:
        return rig_shadow_find(&exec->shadow, user) == NULL &&
               strcmp(field->name, place->field) == 0;
    case FAULT_AT_SEGMENT:
        return strcmp(field->name, place->field) == 0 && !is_large(fields, idx);
    case FAULT_AT_LARGE:
        return strcmp(field->name, place->field) == 0 && is_large(fields, idx);
    case FAULT_AT_FREED_SLOT:
        return rig_shadow_find(&exec->shadow, user) == NULL &&
               strcmp(field->name, "slot.header") == 0;
    case FAULT_AT_FREED:
        return strcmp(field->name, "free.next") == 0;
    default:
        return strcmp(field->name, place->field) == 0;
    }
}

const struct rig_field *rig_fields_find(struct rig_exec *exec, const struct rig_fields *fields,
                                        const struct fault_place_info *place, unsigned number,
                                        uintptr_t block)
{
    size_t count = 0;
    for (size_t idx = 0; idx < fields->count; idx++) {
        count += fits(exec, fields, idx, place, block);
    }
    size_t left = count == 0 ? 0 : number % count;
    for (size_t idx = 0; count > 0 && idx < fields->count; idx++) {
        if (fits(exec, fields, idx, place, block) && left-- == 0) {
            return &fields->fields[idx];
        }
    }
    return NULL;
}

/* Where the next field begins from `address` on, or UINTPTR_MAX. */
static uintptr_t next_field(const struct rig_fields *fields, uintptr_t address)
{
    uintptr_t found = UINTPTR_MAX;
    for (size_t idx = 0; idx < fields->count; idx++) {
        const uintptr_t at = (uintptr_t)fields->fields[idx].address;
        found = at >= address && at < found ? at : found;
    }
    return found;
}

/* ---- Which block, which heap ---- */

static bool wants_block(enum fault_at at)
{
    return at == FAULT_AT_BLOCK || at == FAULT_AT_SLACK || at == FAULT_AT_EMPTY ||
           at == FAULT_AT_LARGE_TAIL || at == FAULT_AT_BEHIND || at == FAULT_AT_BEFORE ||
           at == FAULT_AT_REUSED;
}

static bool block_fits(const struct rig_exec *exec, const struct fault_place_info *place,
                       const struct rig_block *block)
{
    const size_t threshold = exec->shadow.heaps[block->heap].threshold_bytes;
    switch (place->at) {
    case FAULT_AT_EMPTY:
        return block->size_bytes == 0;
    case FAULT_AT_REUSED: /* of larger ones the model knows parts */
        return block->size_bytes > 0 && block->size_bytes <= 0x10000u;
    case FAULT_AT_LARGE_TAIL:
        return block->size_bytes > threshold && !block->has_user_value;
    case FAULT_AT_BLOCK:
        return (strncmp(place->field, "block.user", 10) != 0 || block->has_user_value) &&
               (strcmp(place->field, "large.header") != 0 || block->size_bytes > threshold);
    default:
        return true;
    }
}

static bool resolve_block(struct rig_exec *exec, const struct fault_place_info *place,
                          struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_SLOT_COUNT; hop++) {
        const unsigned name = (step->record->slot + hop) % RIG_SLOT_COUNT;
        struct rig_named *named = &exec->slots[name];
        if (named->live && block_fits(exec, place, &named->block)) {
            step->name = name;
            step->block = &named->block;
            step->heap = &exec->shadow.heaps[named->block.heap];
            step->block_before = named->block;
            return true;
        }
    }
    return false;
}

static bool resolve_heap(struct rig_exec *exec, struct rig_step *step)
{
    for (unsigned hop = 0; hop < RIG_HEAP_COUNT; hop++) {
        struct rig_heap *heap = &exec->shadow.heaps[(step->record->heap + hop) % RIG_HEAP_COUNT];
        if (heap->live && (heap->idx > 0 || rig_process_heap(exec))) {
            step->heap = heap;
            return true;
        }
    }
    return false;
}

bool rig_damage_resolve(struct rig_exec *exec, const struct fault_place_info *place,
                        struct rig_step *step)
{
    step->name = step->record->slot;
    if (!(wants_block(place->at) ? resolve_block(exec, place, step) : resolve_heap(exec, step))) {
        return false;
    }
    step->heap_before = *step->heap;
    return true;
}

/* ---- Plain bytes ---- */

/* From the end of a block up to the next field and `more` bytes of it. */
static bool spot_behind(const struct rig_fields *fields, const struct rig_step *step, size_t more,
                        size_t most, struct rig_spot *spot)
{
    spot->address = step->block->address + step->block->size_bytes;
    const uintptr_t end = next_field(fields, spot->address);
    if (end == UINTPTR_MAX || end - spot->address > SLACK_BYTES_MAX) {
        return false;
    }
    spot->len = end - spot->address + more;
    spot->len = spot->len > most ? most : spot->len;
    return spot->len > 0;
}

/* Behind a large block without a user value nothing comes in its last page. */
static bool spot_large_tail(const struct rig_fields *fields, const struct rig_step *step,
                            size_t most, struct rig_spot *spot)
{
    spot->address = step->block->address + step->block->size_bytes;
    const uintptr_t page = (spot->address + RIG_PAGE_BYTES - 1) & ~(uintptr_t)(RIG_PAGE_BYTES - 1);
    const uintptr_t field = next_field(fields, spot->address);
    const size_t room = (field < page ? field : page) - spot->address;
    spot->len = room < most ? room : most;
    return spot->len > 0;
}

/* Element number `number` of the heap's walk that is of that kind, or NULL. */
static const struct rig_element *element(struct rig_exec *exec, const struct rig_step *step,
                                         enum fault_at at, unsigned number)
{
    const struct rig_walk *walk = rig_walk_aside(exec, step->heap->handle);
    size_t count = 0;
    for (unsigned round = 0; walk != NULL && round < 2; round++) {
        size_t left = count == 0 ? 0 : number % count;
        for (size_t idx = 0; idx < walk->count; idx++) {
            const struct rig_element *found = &walk->elements[idx];
            const bool wanted =
                at == FAULT_AT_UNCOMMITTED ? found->uncommitted
                : at == FAULT_AT_BEYOND
                    ? found->region &&
                          !(step->heap->has_base && found->address == (uintptr_t)step->heap->handle)
                    : !found->busy && !found->region && !found->uncommitted &&
                          found->bytes >= FAULT_UNIT_BYTES;
            if (wanted && round == 1 && left-- == 0) {
                return found;
            }
            count += wanted && round == 0;
        }
    }
    return NULL;
}

static bool spot_element(struct rig_exec *exec, const struct rig_step *step, enum fault_at at,
                         size_t len, struct rig_spot *spot)
{
    const struct rig_element *found = element(exec, step, at, step->record->slot);
    const size_t offset = (size_t)step->record->value * FAULT_UNIT_BYTES;
    if (found == NULL || (at == FAULT_AT_UNCOMMITTED && step->heap->has_base)) {
        return false;
    }
    spot->len = len;
    spot->address = at == FAULT_AT_BEYOND ? found->last_block
                                          : found->address + offset % (found->bytes - len + 1);
    return true;
}

static bool spot_bytes(struct rig_exec *exec, const struct fault_place_info *place,
                       const struct rig_fields *fields, struct rig_step *step,
                       struct rig_spot *spot)
{
    const size_t len = (size_t)place->number;
    switch (place->at) {
    case FAULT_AT_SLACK:
    case FAULT_AT_EMPTY: /* where slack ends, a damaged heap may not tell */
        return !exec->damaged[step->heap->idx] && spot_behind(fields, step, 0, len, spot);
    case FAULT_AT_BEHIND:
        return spot_behind(fields, step, len, SIZE_MAX, spot);
    case FAULT_AT_LARGE_TAIL:
        return spot_large_tail(fields, step, len, spot);
    case FAULT_AT_BEFORE:
        *spot = (struct rig_spot){.address = step->block->address - len, .len = len};
        return true;
    case FAULT_AT_BASE:
        *spot = (struct rig_spot){.address = (uintptr_t)step->heap->handle, .len = len};
        return true;
    case FAULT_AT_REUSED:
        spot->address = step->block->address + step->record->value % step->block->size_bytes;
        spot->len = len;
        return true;
    default:
        return spot_element(exec, step, place->at, len, spot);
    }
}

/* The next word from number `word` on, and around again, that was ever written. */
static size_t written_from(const struct rig_exec *exec, const struct rig_field *field, size_t word,
                           size_t words)
{
    for (size_t hop = 0; hop < words; hop++) {
        const size_t at = (word + hop) % words;
        for (size_t byte = 0; words > 1 && byte < FAULT_UNIT_BYTES; byte++) {
            if (exec->subject->peek((char *)field->address + at * FAULT_UNIT_BYTES + byte) != 0) {
                return at;
            }
        }
    }
    return word;
}

bool rig_damage_spot(struct rig_exec *exec, const struct fault_place_info *place,
                     const struct rig_fields *fields, struct rig_step *step, struct rig_spot *spot)
{
    const uintptr_t block = step->block == NULL ? 0 : step->block->address;
    *spot = (struct rig_spot){NULL, 0, 0};
    if (place->field[0] == '\0' && place->at != FAULT_AT_FREED &&
        place->at != FAULT_AT_FREED_SLOT) {
        return spot_bytes(exec, place, fields, step, spot);
    }
    const struct rig_field *field = rig_fields_find(exec, fields, place, step->record->slot, block);
    if (field == NULL) {
        return false;
    }
    if (place->field[0] == '\0') {
        *spot = (struct rig_spot){.address = (uintptr_t)field->block, .len = (size_t)place->number};
        return true;
    }
    const size_t words = field->bytes > FAULT_UNIT_BYTES ? field->bytes / FAULT_UNIT_BYTES : 1;
    size_t word = words > 1 ? step->record->value / 64u % words : 0;
    word = fault_damage_is_forged(step->damage) ? written_from(exec, field, word, words) : word;
    spot->field = field;
    spot->address = (uintptr_t)field->address + word * FAULT_UNIT_BYTES;
    spot->len = field->bytes > FAULT_UNIT_BYTES ? FAULT_UNIT_BYTES : field->bytes;
    return true;
}

/* ---- May it be written? ---- */

bool rig_damage_mapped(struct rig_exec *exec, const struct rig_fields *fields, uintptr_t address)
{
    const uintptr_t page = address & ~(uintptr_t)(RIG_PAGE_BYTES - 1);
    for (size_t idx = 0; idx < fields->count; idx++) {
        const struct rig_field *field = &fields->fields[idx];
        if ((uintptr_t)field->address < page + RIG_PAGE_BYTES &&
            (uintptr_t)field->address + field->bytes > page) {
            return true;
        }
    }
    return rig_shadow_overlap(&exec->shadow, page, RIG_PAGE_BYTES, NULL) != NULL;
}

bool rig_damage_may(struct rig_exec *exec, const struct rig_step *step, uintptr_t address)
{
    const struct rig_block *live = rig_shadow_overlap(&exec->shadow, address, 1, NULL);
    return live == NULL || live == step->block;
}
