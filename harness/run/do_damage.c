/* SPDX-License-Identifier: MIT
 *
 * DAMAGE: bytes written where no application may write, by a row of the catalogue. Slot, heap,
 * flags and value of the record say which field or block, how it is changed, and which word and
 * bit. */
#include "damage_places.h"

/* The damage in progress: there is one executor. */
static struct {
    struct rig_fields fields;
    struct rig_fields others; /* of another heap */
    struct rig_spot spot;
    enum fault_change change;
    bool forged;    /* the value of a sealed word is changed, not its bytes */
    uint64_t value; /* then */
    uint8_t before[RIG_SPAN_BYTES_MAX];
    uint8_t after[RIG_SPAN_BYTES_MAX];
    struct rig_exec *exec;
} now;

static void peek_span(const struct rig_subject *subject)
{
    for (size_t idx = 0; idx < now.spot.len; idx++) {
        now.before[idx] = subject->peek((void *)(now.spot.address + idx));
    }
    memcpy(now.after, now.before, now.spot.len);
}

static void peek_into(const struct rig_subject *subject, uintptr_t address, uint8_t *bytes,
                      size_t len)
{
    for (size_t idx = 0; idx < len; idx++) {
        bytes[idx] = subject->peek((void *)(address + idx));
    }
}

/* A word as changes see it: its bytes, or the value that is sealed in it; false when none is. */
static bool see_word(const struct rig_exec *exec, HANDLE heap, uintptr_t address, uint8_t *bytes,
                     size_t len)
{
    uint64_t value = 0;
    if (!now.forged) {
        peek_into(exec->subject, address, bytes, len);
        return true;
    }
    if (len != sizeof(value) || !exec->subject->sealed_get(heap, (LPCVOID)address, &value)) {
        return false;
    }
    memcpy(bytes, &value, sizeof(value));
    return true;
}

/* ---- What was there before, to be put back ---- */

/* What the block map says of the block at `user`, or -1. A header carries a generation, and the map
 * too: when it has come round, an old header is a good one again. */
static int age_of(const struct rig_subject *subject, const struct rig_field *field)
{
    const char *last = strrchr(field->name, '.');
    if (last == NULL || strcmp(last, ".header") != 0) {
        return -1;
    }
    for (size_t idx = 0; idx < now.fields.count; idx++) {
        const struct rig_field *tag = &now.fields.fields[idx];
        if (tag->block == field->block && field->block != NULL &&
            strcmp(tag->name, "block.tag") == 0) {
            return subject->peek(tag->address) & (sizeof(void *) == 8 ? 0x0F : 0x07);
        }
    }
    return -1;
}

static void keep(struct rig_exec *exec)
{
    struct rig_damages *damages = &exec->damages;
    struct rig_kept *kept = &damages->kept[damages->kept_count++ % RIG_KEPT_MAX];
    *kept = (struct rig_kept){.address = now.spot.address,
                              .len = now.spot.len,
                              .age = age_of(exec->subject, now.spot.field)};
    memcpy(kept->bytes, now.before, now.spot.len);
}

static bool stale_of(struct rig_exec *exec, uint8_t *bytes)
{
    const struct rig_damages *damages = &exec->damages;
    const unsigned count = damages->kept_count < RIG_KEPT_MAX ? damages->kept_count : RIG_KEPT_MAX;
    for (unsigned idx = 0; idx < count; idx++) {
        const struct rig_kept *kept = &damages->kept[idx];
        if (kept->address == now.spot.address && kept->len == now.spot.len &&
            (kept->age < 0 || kept->age != age_of(exec->subject, now.spot.field))) {
            memcpy(bytes, kept->bytes, kept->len);
            return true;
        }
    }
    return false;
}

/* ---- What is copied ---- */

/* The next word of the same field, or the next field of the same name. */
static bool neighbour_of(const struct rig_exec *exec, const struct rig_step *step, uint8_t *bytes)
{
    const struct rig_field *field = now.spot.field;
    const size_t count = now.fields.count;
    const size_t own = (size_t)(field - now.fields.fields);
    if (field->bytes > FAULT_UNIT_BYTES) {
        const uintptr_t base = (uintptr_t)field->address;
        const size_t words = field->bytes / FAULT_UNIT_BYTES;
        const size_t word = (now.spot.address - base) / FAULT_UNIT_BYTES;
        return see_word(exec, step->heap->handle, base + (word + 1) % words * FAULT_UNIT_BYTES,
                        bytes, now.spot.len);
    }
    for (size_t hop = 1; hop < count; hop++) {
        const struct rig_field *other = &now.fields.fields[(own + hop) % count];
        if (strcmp(other->name, field->name) == 0 && other->bytes == field->bytes) {
            return see_word(exec, step->heap->handle, (uintptr_t)other->address, bytes,
                            now.spot.len);
        }
    }
    return false;
}

/* The field of the same name in the next heap that has one. */
static bool other_heap_of(struct rig_exec *exec, const struct rig_step *step, uint8_t *bytes)
{
    const struct rig_field *field = now.spot.field;
    for (unsigned hop = 1; hop < RIG_HEAP_COUNT; hop++) {
        const struct rig_heap *heap = &exec->shadow.heaps[(step->heap->idx + hop) % RIG_HEAP_COUNT];
        if (!heap->live || heap->handle == NULL ||
            !rig_fields_collect(exec, heap->handle, &now.others)) {
            continue;
        }
        for (size_t idx = 0; idx < now.others.count; idx++) {
            const struct rig_field *other = &now.others.fields[idx];
            if (strcmp(other->name, field->name) == 0 && other->bytes == field->bytes) {
                const uintptr_t offset = now.spot.address - (uintptr_t)field->address;
                return see_word(exec, heap->handle, (uintptr_t)other->address + offset, bytes,
                                now.spot.len);
            }
        }
    }
    return false;
}

static bool address_of(const struct rig_exec *exec, const struct rig_step *step, uintptr_t *address)
{
    if (now.change == FAULT_CHANGE_SELF) {
        *address = (uintptr_t)now.spot.field->block;
        return true;
    }
    if (now.change == FAULT_CHANGE_OUTSIDE) {
        *address = (uintptr_t)exec->bases;
        return true;
    }
    for (unsigned idx = 0; idx < RIG_SLOT_COUNT; idx++) {
        const struct rig_named *named = &exec->slots[idx];
        if (named->live && named->block.heap == step->heap->idx) {
            *address = named->block.address;
            return true;
        }
    }
    return false;
}

/* ---- Changing ---- */

/* The subject seals, so it is asked to write. What stands there then is what is wanted, and until
 * it is noted and written as any damage is, the old word stands there again. */
static bool forge(const struct rig_exec *exec, const struct rig_step *step,
                  const struct fault_unit *unit)
{
    const HANDLE heap = step->heap->handle;
    const PVOID word = (PVOID)now.spot.address;
    uint64_t before = 0;
    memcpy(&now.value, unit->bytes, sizeof(now.value));
    const bool done = exec->subject->sealed_get(heap, word, &before) != 0 &&
                      exec->subject->sealed_put(heap, word, now.value) != 0;
    peek_into(exec->subject, now.spot.address, now.after, now.spot.len);
    if (done) {
        (void)exec->subject->sealed_put(heap, word, before);
    }
    return done && memcmp(now.after, now.before, now.spot.len) != 0;
}

/* False when the change has nothing to work with, or leaves everything as it is. */
static bool change_unit(struct rig_exec *exec, const struct rig_step *step,
                        const struct fault_place_info *place)
{
    struct fault_unit unit = {
        .len = now.spot.len, .mask = place->number, .bit = step->record->value % 64u};
    bool able = see_word(exec, step->heap->handle, now.spot.address, unit.bytes, now.spot.len);
    if (!able) {
        return false;
    }
    switch (now.change) {
    case FAULT_CHANGE_KEEP:
        keep(exec);
        return true;
    case FAULT_CHANGE_NEIGHBOUR:
        able = neighbour_of(exec, step, unit.other);
        break;
    case FAULT_CHANGE_OTHER_HEAP:
        able = other_heap_of(exec, step, unit.other);
        break;
    case FAULT_CHANGE_STALE:
        able = stale_of(exec, unit.other);
        break;
    case FAULT_CHANGE_SELF:
    case FAULT_CHANGE_LIVE:
    case FAULT_CHANGE_OUTSIDE:
        able = address_of(exec, step, &unit.address);
        break;
    default:
        break;
    }
    able = able && fault_change_apply(now.change, &unit);
    if (able && now.forged) {
        return forge(exec, step, &unit);
    }
    memcpy(now.after, unit.bytes, now.spot.len);
    return able;
}

/* Plain bytes: those that may be written, letter by letter. */
static bool change_bytes(struct rig_exec *exec, const struct rig_step *step)
{
    uintptr_t page = 1; /* of the last byte asked about */
    bool there = false;
    bool any = now.change == FAULT_CHANGE_KEEP;
    for (size_t idx = 0; idx < now.spot.len; idx++) {
        const uintptr_t address = now.spot.address + idx;
        const uintptr_t page_now = address & ~(uintptr_t)(RIG_PAGE_BYTES - 1);
        there = page_now == page ? there : rig_damage_mapped(exec, &now.fields, address);
        page = page_now;
        if (!there || !rig_damage_may(exec, step, address)) {
            continue;
        }
        now.before[idx] = exec->subject->peek((void *)address);
        now.after[idx] = now.before[idx];
        struct fault_unit unit = {
            .bytes = {now.before[idx]}, .len = 1, .bit = idx == 0 ? step->record->value : 0u};
        if (now.change == FAULT_CHANGE_TEXT) {
            now.after[idx] = (uint8_t)('A' + idx % 26u);
        } else if (idx == 0 || now.change != FAULT_CHANGE_FLIP) {
            (void)fault_change_apply(now.change, &unit);
            now.after[idx] = unit.bytes[0];
        }
        any = any || now.after[idx] != now.before[idx];
    }
    return any;
}

static bool change(struct rig_exec *exec, const struct rig_step *step,
                   const struct fault_place_info *place)
{
    memset(now.before, 0, now.spot.len);
    memset(now.after, 0, now.spot.len);
    if (now.spot.field != NULL) {
        peek_span(exec->subject);
        return change_unit(exec, step, place);
    }
    return change_bytes(exec, step);
}

/* ---- Writing, and remembering what was hit ---- */

static enum fault_notice notice_of(const struct rig_exec *exec, const struct rig_step *step,
                                   const struct rig_field *field)
{
    const enum fault_notice wanted = step->damage->notice;
    const char *last = strrchr(field->name, '.');
    if (wanted != FAULT_NOTICE_BLOCK || now.spot.field != NULL) {
        return wanted;
    }
    /* Plain bytes hit what they hit: a live block's header is looked at when the block is named. */
    return last != NULL && strcmp(last, ".header") == 0 &&
                   rig_shadow_find((struct rig_shadow *)(uintptr_t)&exec->shadow,
                                   (uintptr_t)field->block) != NULL
               ? FAULT_NOTICE_BLOCK
               : FAULT_NOTICE_VALIDATE;
}

/* A byte that is another one now lies in the field. */
static bool hits(const struct rig_field *field)
{
    for (size_t idx = 0; idx < now.spot.len; idx++) {
        const uintptr_t offset = now.spot.address + idx - (uintptr_t)field->address;
        if (offset < field->bytes && now.before[idx] != now.after[idx]) {
            return true;
        }
    }
    return false;
}

/* One unit, as it was and as it will be: plain bytes may change a part of it only. */
static void note_unit(struct rig_exec *exec, struct rig_step *step, const struct rig_field *field,
                      uintptr_t address, size_t len)
{
    struct rig_damage damage = {
        .info = step->damage,
        .heap = step->heap->idx,
        .notice = notice_of(exec, step, field),
        .block = (uintptr_t)field->block,
        .field = field->name,
        .live = rig_shadow_find(&exec->shadow, (uintptr_t)field->block) != NULL,
        .changes = exec->changes[step->heap->idx],
        .address = address,
        .len = len,
    };
    peek_into(exec->subject, address, damage.before, len);
    for (size_t idx = 0; idx < len; idx++) {
        const uintptr_t at = address + idx - now.spot.address;
        damage.written[idx] = at < now.spot.len ? now.after[at] : damage.before[idx];
    }
    rig_damages_add(exec, &damage);
    step->damaged = step->damaged.name == NULL ? *field : step->damaged;
}

/* Of the map a byte is noted, not the word around it: the next time that gap may begin elsewhere. */
static size_t first_changed(void)
{
    size_t idx = 0;
    while (now.before[idx] == now.after[idx]) {
        idx++;
    }
    return idx;
}

static void note(struct rig_exec *exec, struct rig_step *step)
{
    step->damaged_at = now.spot.address;
    for (size_t idx = 0; idx < now.spot.len; idx++) {
        step->damaged_bytes += now.before[idx] != now.after[idx];
    }
    if (now.spot.field != NULL && step->damaged_bytes > 0) {
        const bool bytes = step->damage->place == FAULT_PLACE_GAPS;
        note_unit(exec, step, now.spot.field, now.spot.address + (bytes ? first_changed() : 0),
                  bytes ? 1u : now.spot.len);
    }
    /* A damaged heap describes itself as far as it can be followed: what was hit may not be told.
     */
    if (now.spot.field == NULL && exec->damaged[step->heap->idx] && step->damaged_bytes > 0) {
        rig_damages_promise(exec, step->heap->idx, step->damage->reasons);
    }
    for (size_t idx = 0; now.spot.field == NULL && idx < now.fields.count; idx++) {
        const struct rig_field *field = &now.fields.fields[idx];
        if (field->bytes <= FAULT_UNIT_BYTES && hits(field)) {
            note_unit(exec, step, field, (uintptr_t)field->address, field->bytes);
        }
    }
}

static void write_span(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    if (now.forged) {
        (void)exec->subject->sealed_put(step->heap->handle, (PVOID)now.spot.address, now.value);
    }
    for (size_t idx = 0; idx < now.spot.len; idx++) {
        if (!now.forged && now.before[idx] != now.after[idx]) {
            fault_write(exec->subject->poke, now.spot.address + idx, &now.after[idx], 1);
        }
    }
    step->outcome.value = step->damaged_bytes;
    if (step->damage_looked) {
        step->valid = exec->subject->HeapValidate(step->heap->handle, 0, NULL) != 0;
    }
}

/* A write that must not come to pass: the processor stops it, or the sanitizer would. */
static void write_nowhere(void *context)
{
    struct rig_exec *exec = context;
    const ULONG_PTR where[2] = {EXCEPTION_WRITE_FAULT, now.spot.address};
    if (rig_poisoned((const char *)now.spot.address, now.spot.len)) {
        exec->subject->RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
        return;
    }
    exec->subject->poke((void *)now.spot.address, 'A');
}

/* ---- The operation ---- */

/* The contents of a block changed through a pointer to what was there before: nobody but whoever
 * compares them can know. The rig does, and puts the byte back. */
static void blame(struct rig_exec *exec, const struct rig_step *step)
{
    const struct rig_block *block = step->block;
    RIG_CHECK(rig_pattern_differs((void *)block->address, block->size_bytes, block->size_bytes,
                                  block->stamp) == now.spot.address - block->address);
    fault_write(exec->subject->poke, now.spot.address, now.before, now.spot.len);
}

static bool skip(struct rig_exec *exec, struct rig_step *step, const char *why)
{
    step->skipped = why;
    return rig_judge(exec, step);
}

static const char *lacks(const struct rig_subject *subject, bool forged)
{
    if (forged && (subject->sealed_get == NULL || subject->sealed_put == NULL)) {
        return "subject's words have no seals that can be forged";
    }
    if (subject->poke == NULL || subject->peek == NULL) {
        return "subject has no way to write past it";
    }
    return subject->fields == NULL ? "subject has no metadata fields" : NULL;
}

/* A handler of the program may continue, and then the write is tried for ever. */
static bool is_handled(const struct rig_exec *exec)
{
    for (unsigned idx = 0; idx < RIG_HANDLER_COUNT; idx++) {
        if (exec->handlers[idx] != NULL) {
            return true;
        }
    }
    return false;
}

static bool nothing(struct rig_step *step)
{
    step->nothing = true;
    return true;
}

bool rig_do_DAMAGE(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_subject *subject = exec->subject;
    step->second = false;
    step->context = RIG_CONTEXT_PLAIN;
    step->damage = fault_damage_info(step->record->arg);
    if (step->damage == NULL) {
        return nothing(step);
    }
    const struct fault_place_info *place = fault_place_info(step->damage->place);
    now.forged = fault_damage_is_forged(step->damage);
    if (lacks(subject, now.forged) != NULL) {
        return skip(exec, step, lacks(subject, now.forged));
    }
    now.change = fault_change_of(step->damage, step->record->flags);
    if (exec->damages.count + RIG_DAMAGE_ROOM > RIG_DAMAGE_MAX ||
        !rig_damage_resolve(exec, place, step)) {
        return nothing(step);
    }
    if (!rig_fields_collect(exec, step->heap->handle, &now.fields)) {
        step->outcome.raised = true; /* describing itself, the subject went astray */
        return rig_judge(exec, step);
    }
    if (!rig_damage_spot(exec, place, &now.fields, step, &now.spot) ||
        now.spot.len > RIG_SPAN_BYTES_MAX) {
        return nothing(step);
    }
    if (step->damage->notice == FAULT_NOTICE_CALL && is_handled(exec)) {
        return nothing(step);
    }
    if (step->damage->notice == FAULT_NOTICE_CALL) {
        step->damaged_at = now.spot.address;
        rig_call(exec, step, write_nowhere);
        return rig_judge(exec, step);
    }
    if (!change(exec, step, place)) {
        return nothing(step);
    }
    note(exec, step);
    step->damage_looked = step->damage->notice == FAULT_NOTICE_NOBODY &&
                          !exec->damaged[step->heap->idx] && subject->HeapValidate != NULL;
    rig_call(exec, step, write_span);
    if (place->at == FAULT_AT_REUSED) {
        blame(exec, step);
    }
    return rig_judge(exec, step);
}
