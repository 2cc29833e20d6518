/* SPDX-License-Identifier: MIT
 *
 * The front end's words, sealed as core seals them and wrong in one thing: chunks, their lists,
 * free words, magazines, and the words of a size class. See forged.c. */
#include "support/forge.h"

#define BYTES ((SIZE_T)200)
#define OTHER_BYTES ((SIZE_T)600)
#define COUNT 120u
#define OTHER_COUNT 30u /* of them from the front end, some */

/* Blocks by what is known of them. */
#define OWN 0    /* a busy slot of the class's first chunk on its list */
#define SECOND 1 /* of the second */
#define THIRD 2  /* of the third */
#define FULL 3   /* of a chunk without free slots */
#define OTHER 4  /* of a chunk of another class, with free slots */
#define PLAIN 5  /* a busy block of the back end */
#define OWN_CHUNK 6
#define SECOND_CHUNK 7
#define THIRD_CHUNK 8
#define FULL_CHUNK 9
#define OTHER_CHUNK 10
#define LISTED 11 /* a free slot that the first chunk lists */
#define DRAWN 12  /* one that a magazine holds, where the scene has one */
#define BLOCKS 13

static PVOID slots[COUNT];

static uint64_t info_of(const struct nth_chunk *chunk)
{
    return (uint64_t)chunk->free << 16 | (uint64_t)chunk->slots << 7 | chunk->bucket;
}

static struct nth_chunk chunk_at(const struct forge_scene *scene, int block)
{
    struct nth_chunk chunk;
    const struct nth_block found = forge_block(scene->heap, scene->blocks[block]);
    assert_int_equal(nth_chunk_read(forge_inside(scene->heap), &found, &chunk), NTH_OK);
    return chunk;
}

static struct nth_bucket *class_of(const struct forge_scene *scene, int block)
{
    const struct nth_chunk chunk = chunk_at(scene, block);
    return &forge_inside(scene->heap)->buckets[chunk.bucket];
}

static struct nth_cache *cache_of(const struct forge_scene *scene)
{
    struct nth_cache *cache = nth_cache_at(forge_inside(scene->heap), 0);
    assert_non_null(cache);
    return cache;
}

static BOOLEAN of_chunk(HANDLE heap, PVOID slot, const struct nth_chunk *chunk)
{
    const struct nth_block block = forge_block(heap, slot);
    if (block.state != NTH_BLOCK_SLOT_BUSY) {
        return FALSE;
    }
    const struct nth_chunk own = forge_chunk_of(heap, slot);
    return own.region == chunk->region && own.offset == chunk->offset;
}

/* The chunk that a class's list or a link of another one names. */
static PVOID named(uint64_t reference)
{
    const uint64_t address = nth_place_address(reference);
    const struct nth_region *region = nth_region_of((void *)(uintptr_t)address);
    assert_non_null(region);
    return nth_region_place(region, address - region->base + NTH_HEADER_BYTES);
}

static PVOID busy_slot_of(const struct forge_scene *scene, int chunk_block)
{
    const struct nth_chunk chunk = chunk_at(scene, chunk_block);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        if (slots[idx] != NULL && of_chunk(scene->heap, slots[idx], &chunk)) {
            return slots[idx];
        }
    }
    return NULL;
}

/* The first of them, and the last. */
static PVOID free_slots_of(const struct forge_scene *scene, int chunk_block, BOOLEAN last)
{
    PVOID found = NULL;
    const struct nth_chunk chunk = chunk_at(scene, chunk_block);
    for (uint32_t slot = 0; slot < chunk.slots && (last || found == NULL); slot++) {
        PVOID user = nth_region_place(chunk.region, nth_chunk_slot(&chunk, slot) + 8u);
        if (forge_block(scene->heap, user).state == NTH_BLOCK_SLOT_FREE) {
            found = user;
        }
    }
    return found;
}

static PVOID free_slot_of(const struct forge_scene *scene, int chunk_block)
{
    return free_slots_of(scene, chunk_block, FALSE);
}

/* Every other slot is free again, but of one chunk none; magazines are empty. */
static void three_chunks(struct forge_scene *scene)
{
    PVOID others[OTHER_COUNT];
    struct nth_chunk full = {.region = NULL};
    scene->heap = HeapCreate(0, 0, 0);
    scene->other = HeapCreate(0, 0, 0);
    scene->other_block = HeapAlloc(scene->other, 0, BYTES);
    scene->blocks[PLAIN] = HeapAlloc(scene->heap, 0, 0x5000);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        slots[idx] = HeapAlloc(scene->heap, 0, BYTES);
        assert_non_null(slots[idx]);
    }
    for (unsigned idx = 0; idx < OTHER_COUNT; idx++) {
        others[idx] = HeapAlloc(scene->heap, 0, OTHER_BYTES);
        assert_non_null(others[idx]);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        if (forge_block(scene->heap, slots[idx]).state != NTH_BLOCK_SLOT_BUSY) {
            continue;
        }
        if (full.region == NULL) {
            full = forge_chunk_of(scene->heap, slots[idx]);
            scene->blocks[FULL] = slots[idx];
            scene->blocks[FULL_CHUNK] = forge_chunk_user(&full);
        }
        if (idx % 2 == 0 && !of_chunk(scene->heap, slots[idx], &full)) {
            assert_true(HeapFree(scene->heap, 0, slots[idx]));
            slots[idx] = NULL;
        }
    }
    assert_true(HeapFree(scene->heap, 0, others[OTHER_COUNT - 2u]));
    (void)HeapCompact(scene->heap, 0);
    full = chunk_at(scene, FULL_CHUNK);
    assert_int_equal(full.free, 0);
    const struct nth_chunk other = forge_chunk_of(scene->heap, others[OTHER_COUNT - 1u]);
    scene->blocks[OTHER] = others[OTHER_COUNT - 1u];
    scene->blocks[OTHER_CHUNK] = forge_chunk_user(&other);
    struct nth_heap *inside = forge_inside(scene->heap);
    uint64_t first = 0;
    assert_int_equal(nth_heap_open(inside, &inside->buckets[full.bucket].partial,
                                   NTH_CORRUPT_HEAP_STATE, NULL, &first),
                     NTH_OK);
    scene->blocks[OWN_CHUNK] = named(first);
    scene->blocks[SECOND_CHUNK] =
        named(forge_read(scene->heap, scene->blocks[OWN_CHUNK], NTH_CHUNK_NEXT));
    scene->blocks[THIRD_CHUNK] =
        named(forge_read(scene->heap, scene->blocks[SECOND_CHUNK], NTH_CHUNK_NEXT));
    scene->blocks[OWN] = busy_slot_of(scene, OWN_CHUNK);
    scene->blocks[SECOND] = busy_slot_of(scene, SECOND_CHUNK);
    scene->blocks[THIRD] = busy_slot_of(scene, THIRD_CHUNK);
    scene->blocks[LISTED] = free_slot_of(scene, OWN_CHUNK);
    for (int idx = 0; idx < DRAWN; idx++) {
        assert_non_null(scene->blocks[idx]);
    }
}

/* ---- the word of a chunk ---- */

static void info(struct forge_scene *scene, int chunk, uint64_t value)
{
    forge_word(scene->heap, scene->blocks[chunk], NTH_CHUNK_INFO, value);
}

static void change(struct forge_scene *scene, int block, int64_t bucket, int64_t count,
                   int64_t free_count)
{
    struct nth_chunk chunk = chunk_at(scene, block);
    chunk.bucket += (uint32_t)bucket;
    chunk.slots += (uint32_t)count;
    chunk.free += (uint32_t)free_count;
    info(scene, block, info_of(&chunk));
}

static void info_is_too_long(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    info(scene, OWN_CHUNK, info_of(&chunk) | 1ull << 25);
}

static void info_of_no_class(struct forge_scene *scene)
{
    info(scene, OWN_CHUNK, NTH_BUCKET_COUNT);
}

static void more_free_than_slots(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, 0, (int64_t)chunk.slots - chunk.free + 1);
}

static void more_slots_than_the_class_allows(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, (int64_t)nth_bucket_slots(chunk.bucket) - chunk.slots + 1, 0);
}

static void one_slot_past_the_end(struct forge_scene *scene)
{
    change(scene, OWN_CHUNK, 0, 1, 0);
}

static void one_slot_less(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, -1, chunk.free == chunk.slots ? -1 : 0);
}

static void one_free_more(struct forge_scene *scene)
{
    change(scene, OWN_CHUNK, 0, 0, 1);
}

static void one_free_less(struct forge_scene *scene)
{
    change(scene, OWN_CHUNK, 0, 0, -1);
}

static void of_the_class_below(struct forge_scene *scene)
{
    change(scene, OWN_CHUNK, -1, 0, 0);
}

/* With as many slots as such a chunk would have. */
static void wholly_of_the_class_below(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    const uint64_t bytes = chunk.units * NTH_UNIT_BYTES - nth_chunk_first(chunk.bucket - 1u);
    const uint64_t room = bytes / nth_bucket_bytes(chunk.bucket - 1u);
    const uint64_t most = nth_bucket_slots(chunk.bucket - 1u);
    change(scene, OWN_CHUNK, -1, (int64_t)(room < most ? room : most) - chunk.slots, 0);
}

static void all_are_free(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, 0, (int64_t)chunk.slots - chunk.free);
}

static void no_slots(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, -(int64_t)chunk.slots, -(int64_t)chunk.free);
}

static void none_is_free(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    change(scene, OWN_CHUNK, 0, 0, -(int64_t)chunk.free);
}

static void one_of_a_full_one_is_free(struct forge_scene *scene)
{
    change(scene, FULL_CHUNK, 0, 0, 1);
}

/* The words of a class, raw: with the sum over them as it was, and as it would be. */
static void damage_class(struct forge_scene *scene, uint64_t *word, BOOLEAN summed)
{
    struct nth_heap *inside = forge_inside(scene->heap);
    const struct nth_bucket *class = class_of(scene, OWN_CHUNK);
    const size_t words = sizeof(*class) / sizeof(uint64_t);
    *word ^= 1u;
    if (summed) {
        inside->bucket_sums[class - inside->buckets] =
            nth_seal(&class->partial, words, nth_seal_key(inside->config.key.second, class));
    }
}

#define CLASS_DAMAGE(member)                                                                       \
    static void class_##member##_is_damaged(struct forge_scene *scene)                             \
    {                                                                                              \
        damage_class(scene, &class_of(scene, OWN_CHUNK)->member, FALSE);                           \
    }                                                                                              \
    static void class_##member##_is_damaged_and_summed(struct forge_scene *scene)                  \
    {                                                                                              \
        damage_class(scene, &class_of(scene, OWN_CHUNK)->member, TRUE);                            \
    }

CLASS_DAMAGE(partial)
CLASS_DAMAGE(outstanding)
CLASS_DAMAGE(chunks)

#define ROW(forge, call, size, block, blamed, reason, field)                                       \
    {                                                                                              \
#forge, forge, call, size, block, blamed, reason, field                                    \
    }
#define CHUNK_ROW(forge, call, block, blamed, field)                                               \
    {                                                                                              \
#forge, forge, call, BYTES, block, blamed, NTH_CORRUPT_CHUNK, field                        \
    }

static void a_chunk_whose_word_cannot_be_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        CHUNK_ROW(info_is_too_long, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(info_of_no_class, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(more_free_than_slots, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(more_slots_than_the_class_allows, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_past_the_end, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_past_the_end, RIG_HEAP_WALK, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_past_the_end, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_past_the_end, RIG_HEAP_FREE, OWN, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_free_more, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_free_less, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_less, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(one_slot_less, RIG_HEAP_WALK, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(of_the_class_below, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(wholly_of_the_class_below, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(wholly_of_the_class_below, RIG_HEAP_FREE, OWN, OWN, "chunk.info"),
        CHUNK_ROW(no_slots, RIG_HEAP_FREE, OWN, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(none_is_free, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(all_are_free, RIG_HEAP_COMPACT, -1, OWN_CHUNK, "chunk.info"),
#define CLASS_ROW(member, call)                                                                    \
    {#member, member, call, BYTES, -1, -1, NTH_CORRUPT_HEAP_STATE, "heap.buckets"}
        CLASS_ROW(class_partial_is_damaged, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_partial_is_damaged_and_summed, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_outstanding_is_damaged, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_outstanding_is_damaged_and_summed, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_chunks_is_damaged, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_chunks_is_damaged_and_summed, RIG_HEAP_VALIDATE),
        CLASS_ROW(class_outstanding_is_damaged_and_summed, RIG_HEAP_ALLOC),
        CLASS_ROW(class_partial_is_damaged, RIG_HEAP_ALLOC),
        CLASS_ROW(class_partial_is_damaged_and_summed, RIG_HEAP_COMPACT),
    };
    forge_run(three_chunks, rows, FORGE_ROW_COUNT(rows));
}

/* ---- lists of chunks ---- */

static void next_is(struct forge_scene *scene, int chunk, uint64_t reference)
{
    forge_word(scene->heap, scene->blocks[chunk], NTH_CHUNK_NEXT, reference);
}

static void previous_is(struct forge_scene *scene, int chunk, uint64_t reference)
{
    forge_word(scene->heap, scene->blocks[chunk], NTH_CHUNK_PREVIOUS, reference);
}

static void next_is_nowhere(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, NTH_WORD_MASK / 2u);
}

static void next_is_another_heaps(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->other_block));
}

static void next_is_inside_a_chunk(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[SECOND_CHUNK]) + 4u);
}

static void next_is_no_chunk(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[PLAIN]));
}

static void next_is_a_slot(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[SECOND]));
}

static void next_is_of_another_class(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[OTHER_CHUNK]));
}

static void next_is_full(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[FULL_CHUNK]));
}

static void next_leaves_one_out(struct forge_scene *scene)
{
    next_is(scene, OWN_CHUNK, forge_reference(scene->blocks[THIRD_CHUNK]));
}

static void first_has_a_previous(struct forge_scene *scene)
{
    previous_is(scene, OWN_CHUNK, forge_reference(scene->blocks[SECOND_CHUNK]));
}

static void previous_is_none(struct forge_scene *scene)
{
    previous_is(scene, SECOND_CHUNK, 0);
}

static void previous_is_nowhere(struct forge_scene *scene)
{
    previous_is(scene, SECOND_CHUNK, NTH_WORD_MASK / 2u);
}

static void previous_leaves_one_out(struct forge_scene *scene)
{
    previous_is(scene, THIRD_CHUNK, forge_reference(scene->blocks[OWN_CHUNK]));
}

static void second_is_the_last(struct forge_scene *scene)
{
    next_is(scene, SECOND_CHUNK, 0);
}

static void next_comes_round(struct forge_scene *scene)
{
    next_is(scene, SECOND_CHUNK, forge_reference(scene->blocks[OWN_CHUNK]));
}

static void head(struct forge_scene *scene, uint64_t reference)
{
    forge_class(scene->heap, &class_of(scene, OWN_CHUNK)->partial, reference);
}

static void class_begins_with_the_second(struct forge_scene *scene)
{
    head(scene, forge_reference(scene->blocks[SECOND_CHUNK]));
}

static void class_begins_with_a_full_one(struct forge_scene *scene)
{
    head(scene, forge_reference(scene->blocks[FULL_CHUNK]));
}

static void class_begins_nowhere(struct forge_scene *scene)
{
    head(scene, NTH_WORD_MASK / 2u);
}

static void class_has_no_list(struct forge_scene *scene)
{
    head(scene, 0);
}

static void a_list_of_chunks_that_contradicts_itself_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        CHUNK_ROW(next_is_nowhere, RIG_HEAP_ALLOC, -1, -1, "chunk.link"),
        CHUNK_ROW(next_is_another_heaps, RIG_HEAP_ALLOC, -1, -1, "chunk.link"),
        CHUNK_ROW(next_is_inside_a_chunk, RIG_HEAP_ALLOC, -1, -1, "chunk.link"),
        CHUNK_ROW(next_is_no_chunk, RIG_HEAP_ALLOC, -1, PLAIN, "chunk.info"),
        CHUNK_ROW(next_is_a_slot, RIG_HEAP_ALLOC, -1, SECOND, "chunk.info"),
        CHUNK_ROW(next_is_of_another_class, RIG_HEAP_ALLOC, -1, OTHER_CHUNK, "chunk.link"),
        CHUNK_ROW(next_is_full, RIG_HEAP_ALLOC, -1, FULL_CHUNK, "chunk.link"),
        CHUNK_ROW(next_leaves_one_out, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(next_leaves_one_out, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(first_has_a_previous, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.previous"),
        CHUNK_ROW(first_has_a_previous, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(first_has_a_previous, RIG_HEAP_COMPACT, -1, OWN_CHUNK, "chunk.previous"),
        CHUNK_ROW(previous_is_none, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(previous_is_none, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(previous_is_nowhere, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(previous_leaves_one_out, RIG_HEAP_VALIDATE, -1, THIRD_CHUNK, "chunk.link"),
        CHUNK_ROW(second_is_the_last, RIG_HEAP_VALIDATE, -1, THIRD_CHUNK, "chunk.link"),
        CHUNK_ROW(next_comes_round, RIG_HEAP_COMPACT, -1, -2, "chunk.next"),
        CHUNK_ROW(class_begins_with_the_second, RIG_HEAP_ALLOC, -1, SECOND_CHUNK, "chunk.previous"),
        CHUNK_ROW(class_begins_with_the_second, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(class_begins_with_a_full_one, RIG_HEAP_ALLOC, -1, FULL_CHUNK, "chunk.link"),
        CHUNK_ROW(class_begins_nowhere, RIG_HEAP_ALLOC, -1, -1, "chunk.link"),
        CHUNK_ROW(class_has_no_list, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.link"),
    };
    forge_run(three_chunks, rows, FORGE_ROW_COUNT(rows));
}

/* ---- free words and headers of slots ---- */

static uint64_t word_place(uint32_t slot)
{
    return NTH_CHUNK_FREE + 8u * (slot / NTH_WORD_BITS);
}

/* Slot `slot` of a chunk: is it free, as the chunk's free word has it. */
static void mark(struct forge_scene *scene, int chunk, uint32_t slot, BOOLEAN listed)
{
    const uint64_t bit = 1ull << (slot % NTH_WORD_BITS);
    const uint64_t bits = forge_read(scene->heap, scene->blocks[chunk], word_place(slot));
    forge_word(scene->heap, scene->blocks[chunk], word_place(slot),
               listed ? bits | bit : bits & ~bit);
}

static uint32_t number_of(struct forge_scene *scene, int block)
{
    return forge_block(scene->heap, scene->blocks[block]).slot;
}

static void busy_slot_is_listed(struct forge_scene *scene)
{
    mark(scene, OWN_CHUNK, number_of(scene, OWN), TRUE);
}

/* As many as the chunk's own word says, and one of them busy: the lowest, which is drawn first. */
static void busy_slot_is_listed_for_a_free_one(struct forge_scene *scene)
{
    mark(scene, OWN_CHUNK, number_of(scene, OWN), TRUE);
    mark(scene, OWN_CHUNK, number_of(scene, LISTED), FALSE);
}

static void free_slot_is_not_listed(struct forge_scene *scene)
{
    mark(scene, OWN_CHUNK, number_of(scene, LISTED), FALSE);
}

static void no_slot_is_listed(struct forge_scene *scene)
{
    forge_word(scene->heap, scene->blocks[OWN_CHUNK], NTH_CHUNK_FREE, 0);
}

static void slot_past_the_last_is_listed(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    forge_word(scene->heap, scene->blocks[OWN_CHUNK], NTH_CHUNK_FREE, 1ull << chunk.slots);
}

/* The same, and those that are listed stay. */
static void slot_past_the_last_is_listed_too(struct forge_scene *scene)
{
    mark(scene, OWN_CHUNK, chunk_at(scene, OWN_CHUNK).slots, TRUE);
}

/* No list has the chunk, so its links name nobody. */
static void full_chunk_has_a_next(struct forge_scene *scene)
{
    next_is(scene, FULL_CHUNK, forge_reference(scene->blocks[OWN_CHUNK]));
}

static void full_chunk_has_a_previous(struct forge_scene *scene)
{
    previous_is(scene, FULL_CHUNK, forge_reference(scene->blocks[OWN_CHUNK]));
}

static void slot_header(struct forge_scene *scene, int block, unsigned state, int64_t number,
                        int64_t bucket)
{
    const struct nth_block slot = forge_block(scene->heap, scene->blocks[block]);
    forge_word(scene->heap, scene->blocks[block], 0,
               forge_header(&slot, state,
                            (uint64_t)slot.slack << 16 | (uint64_t)(slot.slot + number) << 7 |
                                (uint64_t)(slot.bucket + bucket)));
}

static void slot_of_another_number(struct forge_scene *scene)
{
    slot_header(scene, OWN, NTH_BLOCK_SLOT_BUSY, 1, 0);
}

static void slot_past_the_first_block(struct forge_scene *scene)
{
    slot_header(scene, OWN, NTH_BLOCK_SLOT_BUSY, 0x1FF - (int64_t)number_of(scene, OWN), 0);
}

static void slot_of_another_class(struct forge_scene *scene)
{
    slot_header(scene, OWN, NTH_BLOCK_SLOT_BUSY, 0, 1);
}

static void slot_is_a_block(struct forge_scene *scene)
{
    const struct nth_block slot = forge_block(scene->heap, scene->blocks[OWN]);
    forge_word(scene->heap, scene->blocks[OWN], 0,
               forge_header(&slot, NTH_BLOCK_BUSY, nth_bucket_units(slot.bucket)));
}

static void free_slot_of_another_number(struct forge_scene *scene)
{
    slot_header(scene, LISTED, NTH_BLOCK_SLOT_FREE, 1, 0);
}

static void free_slot_of_another_class(struct forge_scene *scene)
{
    slot_header(scene, LISTED, NTH_BLOCK_SLOT_FREE, 0, 1);
}

static void busy_slot_is_free_and_nobodys(struct forge_scene *scene)
{
    const struct nth_block slot = forge_block(scene->heap, scene->blocks[OWN]);
    slot_header(scene, OWN, NTH_BLOCK_SLOT_FREE, 0, 0);
    *nth_tag_at(slot.region, slot.offset) &= (uint8_t)~NTH_TAG_BUSY;
}

static void slot_has_a_free_block_before(struct forge_scene *scene)
{
    const struct nth_block slot = forge_block(scene->heap, scene->blocks[OWN]);
    nth_tag_previous_free(slot.region, slot.offset, true);
}

/* Where the chunk begins the map has no start. */
static void map_denies_the_chunk(struct forge_scene *scene)
{
    const struct nth_chunk chunk = chunk_at(scene, OWN_CHUNK);
    nth_block_erase(chunk.region, chunk.offset);
}

static void map_has_a_start_in_a_slot(struct forge_scene *scene)
{
    const struct nth_block slot = forge_block(scene->heap, scene->blocks[OWN]);
    *nth_tag_at(slot.region, slot.offset + 2u * NTH_WINDOW_BYTES) = NTH_TAG_START;
}

static void a_free_word_or_a_slot_that_cannot_be_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        CHUNK_ROW(busy_slot_is_listed, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(free_slot_is_not_listed, RIG_HEAP_COMPACT, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(busy_slot_is_listed_for_a_free_one, RIG_HEAP_VALIDATE, -1, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(free_slot_is_not_listed, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.info"),
        CHUNK_ROW(no_slot_is_listed, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(slot_past_the_last_is_listed, RIG_HEAP_ALLOC, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(slot_past_the_last_is_listed_too, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(full_chunk_has_a_next, RIG_HEAP_VALIDATE, -1, FULL_CHUNK, "chunk.link"),
        CHUNK_ROW(full_chunk_has_a_previous, RIG_HEAP_VALIDATE, -1, FULL_CHUNK, "chunk.link"),
        CHUNK_ROW(slot_of_another_number, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(slot_past_the_first_block, RIG_HEAP_FREE, OWN, OWN, "block.header"),
        CHUNK_ROW(slot_of_another_class, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(slot_is_a_block, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(free_slot_of_another_number, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(free_slot_of_another_class, RIG_HEAP_VALIDATE, -1, OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(free_slot_of_another_class, RIG_RTL_ZERO, -1, LISTED, "chunk.info"),
        CHUNK_ROW(busy_slot_is_free_and_nobodys, RIG_HEAP_VALIDATE, -1, -1, "chunk.free"),
        ROW(slot_has_a_free_block_before, RIG_HEAP_VALIDATE, 0, -1, OWN, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
        ROW(map_has_a_start_in_a_slot, RIG_HEAP_VALIDATE, 0, -1, OWN, NTH_CORRUPT_BLOCK_MAP,
            "block.tag"),
    };
    forge_run(three_chunks, rows, FORGE_ROW_COUNT(rows));
}

/* ---- magazines ---- */

/* The same with slots in this thread's magazine, one of them on top: it was a busy slot of the
 * first chunk. */
static void one_magazine(struct forge_scene *scene)
{
    three_chunks(scene);
    scene->blocks[DRAWN] = scene->blocks[OWN];
    assert_true(HeapFree(scene->heap, 0, scene->blocks[THIRD]));
    assert_true(HeapFree(scene->heap, 0, scene->blocks[DRAWN]));
}

static void top(struct forge_scene *scene, uint64_t reference)
{
    struct nth_cache *cache = cache_of(scene);
    const uint32_t bucket = forge_block(scene->heap, scene->blocks[FULL]).bucket;
    const uint64_t key = forge_inside(scene->heap)->config.key.first;
    uint32_t fill = 0;
    assert_true(nth_cache_fill(cache, bucket, key, &fill));
    assert_int_equal(nth_fill_count(fill), 2);
    cache->slots[bucket][1] = nth_cache_slot_seal(reference, nth_cache_pad(key, bucket));
}

static void top_is_nowhere(struct forge_scene *scene)
{
    top(scene, NTH_WORD_MASK / 2u);
}

static void top_is_another_heaps(struct forge_scene *scene)
{
    top(scene, forge_reference(scene->other_block));
}

static void top_is_busy(struct forge_scene *scene)
{
    top(scene, forge_reference(scene->blocks[SECOND]));
}

static void top_is_a_block(struct forge_scene *scene)
{
    top(scene, forge_reference(scene->blocks[PLAIN]));
}

static void top_is_of_another_class(struct forge_scene *scene)
{
    top(scene, forge_reference(free_slot_of(scene, OTHER_CHUNK)));
}

static void top_is_listed_too(struct forge_scene *scene)
{
    top(scene, forge_reference(scene->blocks[LISTED]));
}

static void top_is_the_last_listed_too(struct forge_scene *scene)
{
    PVOID last = free_slots_of(scene, OWN_CHUNK, TRUE);
    assert_true(forge_block(scene->heap, last).slot > 0);
    top(scene, forge_reference(last));
}

static void top_is_there_twice(struct forge_scene *scene)
{
    top(scene, forge_reference(scene->blocks[THIRD]));
}

static void drawn_slot_is_listed(struct forge_scene *scene)
{
    mark(scene, OWN_CHUNK, number_of(scene, DRAWN), TRUE);
}

#define CACHE_ROW(forge, call, blamed, field)                                                      \
    {                                                                                              \
#forge, forge, call, BYTES, -1, blamed, NTH_CORRUPT_CACHE, field                           \
    }

static void a_magazine_that_holds_what_it_cannot_is_reported(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        CACHE_ROW(top_is_nowhere, RIG_HEAP_ALLOC, -1, "cache.slots"),
        CACHE_ROW(top_is_nowhere, RIG_HEAP_COMPACT, -1, "cache.slots"),
        CACHE_ROW(top_is_another_heaps, RIG_HEAP_ALLOC, -1, "cache.slots"),
        CACHE_ROW(top_is_busy, RIG_HEAP_ALLOC, SECOND, "cache.slots"),
        CACHE_ROW(top_is_busy, RIG_HEAP_VALIDATE, SECOND, "cache.slots"),
        CACHE_ROW(top_is_busy, RIG_HEAP_COMPACT, SECOND, "cache.slots"),
        CACHE_ROW(top_is_a_block, RIG_HEAP_ALLOC, PLAIN, "cache.slots"),
        CACHE_ROW(top_is_of_another_class, RIG_HEAP_ALLOC, -2, "cache.slots"),
        CACHE_ROW(top_is_listed_too, RIG_HEAP_VALIDATE, LISTED, "cache.slots"),
        CACHE_ROW(top_is_the_last_listed_too, RIG_HEAP_VALIDATE, -2, "cache.slots"),
        CHUNK_ROW(top_is_there_twice, RIG_HEAP_COMPACT, -1, THIRD_CHUNK, "chunk.free"),
        CHUNK_ROW(drawn_slot_is_listed, RIG_HEAP_COMPACT, -1, OWN_CHUNK, "chunk.free"),
    };
    forge_run(one_magazine, rows, FORGE_ROW_COUNT(rows));
}

/* The word is put back in the end: it alone knows what to give back. */
static void magazine_word_is_missed(enum rig_call call, unsigned way)
{
    struct forge_scene scene;
    one_magazine(&scene);
    struct nth_heap *inside = forge_inside(scene.heap);
    const uint64_t before = inside->caches[0];
    const uint64_t words[] = {0, (uint64_t)nth_process.low + NTH_PAGE_BYTES,
                              (uint64_t)nth_process.low + nth_process.span_bytes};
    nth_heap_put(inside, &inside->caches[0], words[way]);
    const struct rig_outcome outcome = rig_run(&(struct rig_args){
        .call = call, .heap = scene.heap, .flags = HEAP_NO_SERIALIZE, .size = BYTES});
    assert_true(outcome.value == 0);
    rig_report_demand_field(NTH_CORRUPT_CACHE, scene.heap, NULL, "heap.caches");
    inside->caches[0] = before;
    assert_true(HeapValidate(scene.heap, 0, NULL));
    nth_process_reset();
}

/* None, off the granules, outside the page source's span. */
static void a_magazine_that_is_gone_from_the_heap_is_missed(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 3; way++) {
        magazine_word_is_missed(RIG_HEAP_VALIDATE, way);
        magazine_word_is_missed(RIG_HEAP_ALLOC, way);
        magazine_word_is_missed(RIG_HEAP_COMPACT, way);
    }
}

/* A thread that is ending has no magazine: its slots come from chunks and go back to them. */
static void leave(void (*forge)(struct forge_scene *scene), struct forge_scene *scene)
{
    forge(scene);
    nth_self.state = NTH_THREAD_LEFT;
}

/* The first chunk has one free slot left: who takes it takes the chunk off the list. */
static void last_slot_of_a_chunk_that_the_second_does_not_know(struct forge_scene *scene)
{
    nth_self.state = NTH_THREAD_LEFT;
    while (chunk_at(scene, OWN_CHUNK).free > 1) {
        assert_non_null(HeapAlloc(scene->heap, 0, BYTES));
    }
    previous_is(scene, SECOND_CHUNK, 0);
}

#define LEAVING(forge)                                                                             \
    static void forge##_to_one_that_leaves(struct forge_scene *scene)                              \
    {                                                                                              \
        leave(forge, scene);                                                                       \
    }

LEAVING(busy_slot_is_listed_for_a_free_one)
LEAVING(no_slot_is_listed)
LEAVING(slot_past_the_last_is_listed)
LEAVING(free_slot_of_another_number)
LEAVING(free_slot_of_another_class)
LEAVING(busy_slot_is_listed)
LEAVING(class_begins_nowhere)
LEAVING(first_has_a_previous)
LEAVING(all_are_free)
LEAVING(none_is_free)
LEAVING(map_denies_the_chunk)
LEAVING(one_of_a_full_one_is_free)
LEAVING(full_chunk_has_a_next)
LEAVING(full_chunk_has_a_previous)

static void a_thread_without_magazine_meets_the_same(void **state)
{
    (void)state;
    static const struct forge_row rows[] = {
        CHUNK_ROW(busy_slot_is_listed_for_a_free_one_to_one_that_leaves, RIG_HEAP_ALLOC, -1,
                  OWN_CHUNK, "chunk.free"),
        CHUNK_ROW(no_slot_is_listed_to_one_that_leaves, RIG_HEAP_ALLOC, -1, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(slot_past_the_last_is_listed_to_one_that_leaves, RIG_HEAP_ALLOC, -1, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(free_slot_of_another_number_to_one_that_leaves, RIG_HEAP_ALLOC, -1, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(free_slot_of_another_class_to_one_that_leaves, RIG_HEAP_ALLOC, -1, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(busy_slot_is_listed_to_one_that_leaves, RIG_HEAP_FREE, OWN, OWN_CHUNK,
                  "chunk.free"),
        CHUNK_ROW(all_are_free_to_one_that_leaves, RIG_HEAP_FREE, OWN, OWN_CHUNK, "chunk.free"),
        ROW(map_denies_the_chunk_to_one_that_leaves, RIG_HEAP_FREE, 0, OWN, OWN_CHUNK,
            NTH_CORRUPT_BLOCK_MAP, "block.tag"),
        CHUNK_ROW(none_is_free_to_one_that_leaves, RIG_HEAP_FREE, OWN, OWN_CHUNK, "chunk.link"),
        CHUNK_ROW(one_of_a_full_one_is_free_to_one_that_leaves, RIG_HEAP_FREE, FULL, FULL_CHUNK,
                  "chunk.info"),
        CHUNK_ROW(full_chunk_has_a_next_to_one_that_leaves, RIG_HEAP_FREE, FULL, FULL_CHUNK,
                  "chunk.link"),
        CHUNK_ROW(full_chunk_has_a_previous_to_one_that_leaves, RIG_HEAP_FREE, FULL, FULL_CHUNK,
                  "chunk.link"),
        CHUNK_ROW(class_begins_nowhere_to_one_that_leaves, RIG_HEAP_ALLOC, -1, -1, "chunk.link"),
        CHUNK_ROW(last_slot_of_a_chunk_that_the_second_does_not_know, RIG_HEAP_ALLOC, -1, OWN_CHUNK,
                  "chunk.link"),
        CHUNK_ROW(class_begins_nowhere_to_one_that_leaves, RIG_HEAP_FREE, FULL, -1, "chunk.link"),
        CHUNK_ROW(first_has_a_previous_to_one_that_leaves, RIG_HEAP_FREE, FULL, OWN_CHUNK,
                  "chunk.previous"),
    };
    const unsigned before = nth_self.state;
    forge_run(three_chunks, rows, FORGE_ROW_COUNT(rows));
    nth_self.state = before;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chunk_whose_word_cannot_be_is_reported),
        TEST(a_list_of_chunks_that_contradicts_itself_is_reported),
        TEST(a_free_word_or_a_slot_that_cannot_be_is_reported),
        TEST(a_magazine_that_holds_what_it_cannot_is_reported),
        TEST(a_magazine_that_is_gone_from_the_heap_is_missed),
        TEST(a_thread_without_magazine_meets_the_same),
    };
    return cmocka_run_group_tests_name("forged words of the front end", tests, NULL, NULL);
}
