/* SPDX-License-Identifier: MIT
 *
 * Accounting: after every operation each committed byte is metadata, a byte of a user's block,
 * slack behind one, or free, and one of these only; and what the subject wrote during the call is
 * something that it describes. */
#include "census.h"

#include "run/check.h"
#include "run/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#define RUN_MAX 512u
#define SLACK_MAX_BYTES 0x8000u
#define WALK_UNCOMMITTED                                                                           \
    0x1100u /* flags of a range without pages, on elements that are not busy                       \
             */

/* Committed memory with a class for each byte and its contents before the call. */
struct extent {
    uintptr_t base;
    size_t bytes;
    size_t first; /* in the maps */
};

struct map {
    struct extent extents[RUN_MAX];
    unsigned count;
    size_t bytes;
    size_t room;
    uint8_t *contents;
    uint8_t *classes;
};

struct accounting {
    const struct rig_subject *subject;
    struct rig_exec *exec;
    struct rig_census_account *account;
    struct map before;
    struct map after;
    struct map *filling;
    const struct rig_heap *heap; /* whose fields are told */
    const char *call;            /* the last one made, or NULL */
    bool moves; /* it may have made or moved blocks: what was metadata may be slack now */
    uint32_t step;
};

/* ---- Images ---- */

static void add_extent(void *context, PVOID base, size_t bytes)
{
    struct map *map = ((struct accounting *)context)->filling;
    RIG_CHECK(map->count < RUN_MAX);
    map->extents[map->count++] = (struct extent){(uintptr_t)base, bytes, map->bytes};
    map->bytes += bytes;
}

/* The subject's sanitizer holds much of it to be nobody's business. */
RIG_UNSANITIZED static void copy(uint8_t *to, uintptr_t from, size_t bytes)
{
    const volatile uint64_t *words = (const volatile uint64_t *)from;
    for (size_t idx = 0; idx < bytes / sizeof(uint64_t); idx++) {
        const uint64_t word = words[idx];
        for (size_t byte = 0; byte < sizeof(word); byte++) {
            to[idx * sizeof(word) + byte] = (uint8_t)(word >> (8 * byte));
        }
    }
}

static void map_take(struct accounting *accounting, struct map *map)
{
    map->count = 0;
    map->bytes = 0;
    accounting->filling = map;
    accounting->subject->committed(add_extent, accounting);
    if (map->bytes > map->room) {
        map->room = map->bytes * 2;
        free(map->contents);
        free(map->classes);
        map->contents = malloc(map->room);
        map->classes = malloc(map->room);
        RIG_CHECK(map->contents != NULL && map->classes != NULL);
    }
    for (unsigned idx = 0; idx < map->count; idx++) {
        copy(map->contents + map->extents[idx].first, map->extents[idx].base,
             map->extents[idx].bytes);
    }
    if (map->bytes > 0) {
        memset(map->classes, RIG_BYTE_UNSAID, map->bytes);
    }
}

/* Number of a byte in the map, or RIG_NO_OFFSET; `*left` is how many follow in its extent. */
static size_t place_of(const struct map *map, uintptr_t address, size_t *left)
{
    for (unsigned idx = 0; idx < map->count; idx++) {
        const struct extent *extent = &map->extents[idx];
        if (address >= extent->base && address - extent->base < extent->bytes) {
            *left = extent->bytes - (address - extent->base);
            return extent->first + (address - extent->base);
        }
    }
    *left = 0;
    return RIG_NO_OFFSET;
}

/* ---- Classes ---- */

/* The first byte with which something is wrong is told. */
static void note(struct accounting *accounting, uintptr_t address, uint64_t *counter,
                 uint64_t count)
{
    struct rig_census_account *account = accounting->account;
    if (account->first == 0) {
        account->first = accounting->subject->offset((const void *)address);
        account->call = accounting->call;
        account->step = accounting->step;
    }
    *counter += count;
}

/* Memory that the program brought is not the page source's. */
static bool brought(const struct accounting *accounting, uintptr_t address)
{
    const struct rig_shadow *shadow = rig_exec_shadow(accounting->exec);
    for (unsigned idx = 1; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &shadow->heaps[idx];
        if (heap->live && heap->has_base &&
            address - (uintptr_t)heap->handle < heap->reserve_bytes) {
            return true;
        }
    }
    return false;
}

static void mark(struct accounting *accounting, uintptr_t address, size_t bytes,
                 enum rig_census_byte as)
{
    struct map *map = &accounting->after;
    while (bytes > 0 && !brought(accounting, address)) {
        size_t left = 0;
        const size_t at = place_of(map, address, &left);
        if (at == RIG_NO_OFFSET) {
            note(accounting, address, &accounting->account->outside, bytes);
            return;
        }
        const size_t here = bytes < left ? bytes : left;
        for (size_t idx = 0; idx < here; idx++) {
            if (map->classes[at + idx] != RIG_BYTE_UNSAID) {
                note(accounting, address + idx, &accounting->account->twice, 1);
            }
            map->classes[at + idx] = (uint8_t)as;
        }
        address += here;
        bytes -= here;
    }
}

static bool is_spare(const char *name)
{
    const size_t len = strlen(name);
    return len > 6 && strcmp(name + len - 6, ".spare") == 0;
}

static BOOLEAN mark_field(void *context, const struct rig_field *field)
{
    mark(context, (uintptr_t)field->address, field->bytes,
         is_spare(field->name) ? RIG_BYTE_SPARE : RIG_BYTE_META);
    return TRUE;
}

static void mark_blocks(struct accounting *accounting)
{
    const struct rig_shadow *shadow = rig_exec_shadow(accounting->exec);
    for (struct rig_block *block = rig_shadow_first((struct rig_shadow *)(uintptr_t)shadow);
         block != NULL; block = rig_shadow_next(block)) {
        mark(accounting, block->address, block->size_bytes, RIG_BYTE_USER);
    }
}

/* Behind the bytes that were asked for, up to the next thing described. */
static void mark_slack(struct accounting *accounting, uintptr_t address)
{
    struct map *map = &accounting->after;
    size_t left = 0;
    const size_t at = place_of(map, address, &left);
    for (size_t idx = 0; at != RIG_NO_OFFSET && idx < left && idx < SLACK_MAX_BYTES; idx++) {
        if (map->classes[at + idx] != RIG_BYTE_UNSAID) {
            return;
        }
        map->classes[at + idx] = RIG_BYTE_SLACK;
    }
}

/* As a body of a guarded call: a walk of its own, which leaves the executor's alone. */
static void mark_walk(void *context)
{
    struct accounting *accounting = context;
    RTL_HEAP_WALK_ENTRY entry;
    memset(&entry, 0, sizeof(entry));
    while (accounting->subject->RtlWalkHeap(accounting->heap->handle, &entry) == STATUS_SUCCESS) {
        const uintptr_t address = (uintptr_t)entry.DataAddress;
        if ((entry.Flags & RIG_WALK_BUSY) != 0 && !brought(accounting, address)) {
            mark_slack(accounting, address + entry.DataSize);
        } else if ((entry.Flags & (RIG_WALK_BUSY | RIG_WALK_REGION | WALK_UNCOMMITTED)) == 0) {
            mark(accounting, address, entry.DataSize, RIG_BYTE_FREE);
        }
    }
}

static void classify(struct accounting *accounting)
{
    const struct rig_shadow *shadow = rig_exec_shadow(accounting->exec);
    (void)accounting->subject->fields(NULL, mark_field, accounting);
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &shadow->heaps[idx];
        if (heap->live && heap->handle != NULL) {
            (void)accounting->subject->fields(heap->handle, mark_field, accounting);
        }
    }
    mark_blocks(accounting);
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &shadow->heaps[idx];
        if (heap->live && heap->handle != NULL) {
            accounting->heap = heap;
            (void)rig_call_aside(accounting->exec, mark_walk, accounting);
        }
    }
}

/* ---- What a call wrote ---- */

/* A page's bytes before the call: of one that was not there, zeros. */
static const uint8_t *page_before(const struct accounting *accounting, uintptr_t page)
{
    static const uint8_t zeros[RIG_PAGE_BYTES];
    size_t left = 0;
    const size_t at = place_of(&accounting->before, page, &left);
    return at == RIG_NO_OFFSET ? zeros : accounting->before.contents + at;
}

static void compare(struct accounting *accounting)
{
    const struct map *after = &accounting->after;
    for (unsigned run = 0; run < after->count; run++) {
        const struct extent *extent = &after->extents[run];
        for (size_t page = 0; page < extent->bytes; page += RIG_PAGE_BYTES) {
            const uint8_t *old = page_before(accounting, extent->base + page);
            const size_t first = extent->first + page;
            for (size_t idx = 0; idx < RIG_PAGE_BYTES; idx++) {
                const uint8_t class = after->classes[first + idx];
                if (old[idx] != after->contents[first + idx] &&
                    (class == RIG_BYTE_UNSAID || class == RIG_BYTE_SPARE ||
                     (class == RIG_BYTE_SLACK && !accounting->moves))) {
                    note(accounting, extent->base + page + idx, &accounting->account->written, 1);
                }
            }
        }
    }
}

static void count(struct accounting *accounting)
{
    const struct map *after = &accounting->after;
    uint64_t *bytes = accounting->account->bytes;
    for (unsigned run = 0; run < after->count; run++) {
        const struct extent *extent = &after->extents[run];
        for (size_t idx = 0; idx < extent->bytes; idx++) {
            const uint8_t class = after->classes[extent->first + idx];
            if (class == RIG_BYTE_UNSAID) {
                note(accounting, extent->base + idx, &bytes[class], 1);
            } else {
                bytes[class]++;
            }
        }
    }
}

/* ---- Between calls ---- */

static bool moves_blocks(const struct rig_step *step)
{
    switch (step->op) {
    case RIG_OP_SIZE:
    case RIG_OP_VALIDATE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
    case RIG_OP_WALK:
    case RIG_OP_SUMMARY:
    case RIG_OP_QUERY:
        return false;
    default:
        return true;
    }
}

/* Before a call the model knows all that the last one did. */
static void before(void *context, const struct rig_step *step)
{
    struct accounting *accounting = context;
    const struct map last = accounting->after;
    accounting->after = accounting->before;
    accounting->before = last;
    map_take(accounting, &accounting->after);
    classify(accounting);
    if (accounting->call != NULL) {
        compare(accounting);
    }
    count(accounting);
    accounting->account->looks++;
    accounting->call = step->call;
    accounting->moves = moves_blocks(step);
    accounting->step = step->idx;
}

bool rig_census_account(const struct rig_subject *subject, const struct rig_program *program,
                        struct rig_census_account *account)
{
    struct accounting accounting = {.subject = subject, .account = account};
    const struct rig_options options = {
        .subject = subject, .judge = true, .before = before, .context = &accounting};
    memset(account, 0, sizeof(*account));
    accounting.exec = rig_exec_create(&options);
    RIG_CHECK(accounting.exec != NULL);
    const struct rig_verdict verdict = rig_exec_run(accounting.exec, program);
    rig_exec_destroy(accounting.exec);
    free(accounting.before.contents);
    free(accounting.before.classes);
    free(accounting.after.contents);
    free(accounting.after.classes);
    return !verdict.found && account->bytes[RIG_BYTE_UNSAID] == 0 && account->twice == 0 &&
           account->outside == 0 && account->written == 0;
}
