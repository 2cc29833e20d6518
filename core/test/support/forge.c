/* SPDX-License-Identifier: MIT
 *
 * See forge.h. */
#include "forge.h"

struct nth_heap *forge_inside(HANDLE heap)
{
    struct nth_slot *slot = nth_heap_find(heap);
    assert_non_null(slot);
    return slot->heap;
}

struct nth_block forge_block(HANDLE heap, PVOID user)
{
    struct nth_block block;
    struct nth_region *region = nth_region_of(user);
    assert_non_null(region);
    const uint64_t offset = (uint64_t)(uintptr_t)user - NTH_HEADER_BYTES - region->base;
    assert_true(nth_block_peek(forge_inside(heap), region, offset, &block));
    return block;
}

struct nth_chunk forge_chunk_of(HANDLE heap, PVOID slot)
{
    struct nth_chunk chunk;
    const struct nth_block block = forge_block(heap, slot);
    assert_true(block.state == NTH_BLOCK_SLOT_BUSY || block.state == NTH_BLOCK_SLOT_FREE);
    assert_int_equal(nth_chunk_of(forge_inside(heap), &block, &chunk), NTH_OK);
    return chunk;
}

PVOID forge_chunk_user(const struct nth_chunk *chunk)
{
    return nth_region_place(chunk->region, chunk->offset + NTH_HEADER_BYTES);
}

uint64_t forge_header(const struct nth_block *block, unsigned state, uint64_t body)
{
    const uint8_t tag = *nth_tag_at(block->region, block->offset);
    return body << NTH_HEADER_BODY_SHIFT |
           (uint64_t)(tag & NTH_TAG_GENERATION) << NTH_HEADER_GENERATION_SHIFT | state;
}

static uint64_t offset_of(PVOID user, const struct nth_region **region)
{
    *region = nth_region_of(user);
    assert_non_null(*region);
    return (uint64_t)(uintptr_t)user - NTH_HEADER_BYTES - (*region)->base;
}

void forge_word(HANDLE heap, PVOID user, uint64_t place, uint64_t value)
{
    const struct nth_region *region = NULL;
    const uint64_t offset = offset_of(user, &region);
    nth_inband_put(forge_inside(heap), region, offset + place, value);
}

uint64_t forge_read(HANDLE heap, PVOID user, uint64_t place)
{
    const struct nth_region *region = NULL;
    const uint64_t offset = offset_of(user, &region);
    uint64_t value = 0;
    assert_true(nth_inband_open(forge_inside(heap), region, offset + place, &value));
    return value;
}

uint64_t forge_reference(PVOID user)
{
    const struct nth_region *region = NULL;
    const uint64_t offset = offset_of(user, &region);
    return nth_block_reference(region, offset);
}

void forge_bin(HANDLE heap, uint64_t units, uint64_t reference)
{
    struct nth_heap *inside = forge_inside(heap);
    nth_heap_put(inside, &inside->bins[nth_bin_of(units)], reference);
}

void forge_bin_bit(HANDLE heap, uint64_t units, BOOLEAN set)
{
    struct nth_heap *inside = forge_inside(heap);
    uint64_t *word = &inside->bin_map[nth_bin_of(units) / NTH_WORD_BITS];
    const uint64_t bit = 1ull << (nth_bin_of(units) % NTH_WORD_BITS);
    uint64_t bits = 0;
    assert_int_equal(nth_heap_open(inside, word, NTH_CORRUPT_FREE_LIST, NULL, &bits), NTH_OK);
    nth_heap_put(inside, word, set ? bits | bit : bits & ~bit);
    inside->state.bin_map_sum = nth_seal(inside->bin_map, NTH_BIN_MAP_WORDS, 0);
    forge_seal_state(heap);
}

void forge_class(HANDLE heap, uint64_t *word, uint64_t value)
{
    struct nth_heap *inside = forge_inside(heap);
    const size_t words = sizeof(struct nth_bucket) / sizeof(uint64_t);
    const size_t idx = (size_t)(word - &inside->buckets[0].partial) / words;
    const struct nth_bucket *bucket = &inside->buckets[idx];
    nth_heap_put(inside, word, value);
    inside->bucket_sums[idx] =
        nth_seal(&bucket->partial, words, nth_seal_key(inside->config.key.second, bucket));
}

void forge_seal_state(HANDLE heap)
{
    nth_heap_seal_state(forge_inside(heap));
}

/* What a call gives that met damage. */
static uintptr_t failed(enum rig_call call)
{
    switch (call) {
    case RIG_HEAP_SIZE:
        return (uintptr_t)SIZE_MAX;
    case RIG_RTL_ZERO:
        return (uintptr_t)(ULONG)STATUS_HEAP_CORRUPTION;
    default:
        return 0;
    }
}

static struct rig_outcome act(const struct forge_row *row, const struct forge_scene *scene)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    PVOID value = NULL;
    struct rig_args args = {.call = row->call,
                            .heap = scene->heap,
                            .size = row->size,
                            .block = row->block < 0 ? NULL : scene->blocks[row->block]};
    if (row->call == RIG_HEAP_ALLOC || row->call == RIG_HEAP_FREE ||
        row->call == RIG_HEAP_REALLOC) {
        args.flags =
            HEAP_NO_SERIALIZE; /* never past the lock, where damage is left to the locked way */
    }
    args.extra = row->call == RIG_HEAP_WALK       ? (PVOID)&entry
                 : row->call == RIG_HEAP_SUMMARY  ? (PVOID)&summary
                 : row->call == RIG_GET_USER_INFO ? (PVOID)&value
                                                  : NULL;
    struct rig_outcome outcome = rig_run(&args);
    while (row->call == RIG_HEAP_WALK && outcome.value != FALSE) {
        outcome = rig_run(&args);
    }
    return outcome;
}

/* ---- undoing a forgery ---- */

#define SAVED_BYTES_MAX ((size_t)1 << 20)
#define SAVED_FIELD_MAX 8192u

/* All metadata of a heap: where, and what stood there before a forgery and after it. */
static struct {
    struct nth_field fields[SAVED_FIELD_MAX];
    uint8_t before[SAVED_BYTES_MAX];
    uint8_t after[SAVED_BYTES_MAX];
    size_t field_count;
    size_t bytes;
} saved;

static BOOLEAN add_field(void *context, const struct nth_field *field)
{
    (void)context;
    assert_true(saved.field_count < SAVED_FIELD_MAX);
    assert_true(saved.bytes + field->bytes <= SAVED_BYTES_MAX);
    saved.fields[saved.field_count++] = *field;
    saved.bytes += field->bytes;
    return TRUE;
}

static void copy_fields(uint8_t *to)
{
    for (size_t idx = 0; idx < saved.field_count; idx++) {
        const uint8_t *from = saved.fields[idx].address;
        for (size_t byte = 0; byte < saved.fields[idx].bytes; byte++) {
            *to++ = nth_peek(from + byte);
        }
    }
}

/* Byte by byte, but whole words where all of one is: what the call wrote since stays as it is. */
static void undo(HANDLE heap)
{
    size_t at = 0;
    for (size_t idx = 0; idx < saved.field_count; idx++) {
        uint8_t *place = saved.fields[idx].address;
        const size_t bytes = saved.fields[idx].bytes;
        const size_t step = bytes % 8 == 0 ? 8 : 1;
        for (size_t byte = 0; byte < bytes; byte += step, at += step) {
            BOOLEAN forged = FALSE;
            BOOLEAN written = FALSE;
            for (size_t part = 0; part < step; part++) {
                forged = forged || saved.before[at + part] != saved.after[at + part];
                written = written || nth_peek(place + byte + part) != saved.after[at + part];
            }
            for (size_t part = 0; forged && !written && part < step; part++) {
                nth_poke(place + byte + part, saved.before[at + part]);
            }
        }
    }
    nth_heap_seal_config(forge_inside(heap));
    forge_seal_state(heap);
}

static void run_one(void (*make)(struct forge_scene *scene), const struct forge_row *row)
{
    struct forge_scene scene = {.heap = NULL};
    make(&scene);
    assert_true(HeapValidate(scene.heap, 0, NULL));
    saved.field_count = 0;
    saved.bytes = 0;
    (void)nth_fields(scene.heap, add_field, NULL);
    copy_fields(saved.before);
    row->forge(&scene);
    copy_fields(saved.after);
    const struct rig_outcome outcome = act(row, &scene);
    const struct nth_report report = *rig_report_last();
    print_message("  %s: %u reports, %s, %s\n", row->name, outcome.reports,
                  outcome.reports > 0 ? nth_reason_name(report.reason) : "-",
                  outcome.reports > 0 && report.field != NULL ? report.field : "-");
    assert_false(outcome.raised);
    assert_int_equal(outcome.reports, 1);
    assert_true(outcome.value == failed(row->call));
    rig_report_demand_field(row->reason, scene.heap,
                            row->blamed == -2   ? report.block
                            : row->blamed == -1 ? NULL
                                                : scene.blocks[row->blamed],
                            row->field);
    undo(scene.heap);
    if (row->call != RIG_HEAP_COMPACT) { /* which has done a part of its work by then */
        assert_true(HeapValidate(scene.heap, 0, NULL));
    }
    nth_process_reset();
}

void forge_run(void (*make)(struct forge_scene *scene), const struct forge_row *rows, size_t count)
{
    for (size_t idx = 0; idx < count; idx++) {
        run_one(make, &rows[idx]);
    }
}
