/* SPDX-License-Identifier: MIT
 *
 * The front end with the lock held: chunks, their lists, refilling and emptying magazines. Calls
 * backend, block, cache, report. */
#include "front.h"

#include "backend.h"
#include "report.h"

#define SLOTS_PER_WORD NTH_WORD_BITS
#define BUCKET_ON (1ull << 40)
#define BUCKET_TOTAL_SHIFT 20u /* below: blocks outstanding; from here: allocations in all */
#define BUCKET_COUNT_MASK 0xFFFFFull
#define CHUNK_LIMIT 0xFFFFFFu

static enum nth_status broken(const struct nth_region *region, uint64_t offset, const char *field)
{
    nth_note(NTH_CORRUPT_CHUNK, nth_region_place(region, offset + NTH_HEADER_BYTES), field);
    return NTH_CORRUPT;
}

#define BUCKET_WORDS (sizeof(struct nth_bucket) / sizeof(uint64_t))

/* The class that a word belongs to. */
static size_t bucket_around(const struct nth_heap *heap, const uint64_t *word)
{
    return (size_t)(word - &heap->buckets[0].partial) / BUCKET_WORDS;
}

static uint64_t bucket_sum(const struct nth_heap *heap, size_t idx)
{
    const struct nth_bucket *bucket = &heap->buckets[idx];
    return nth_seal(&bucket->partial, BUCKET_WORDS, nth_seal_key(heap->config.key.second, bucket));
}

static void bucket_put(struct nth_heap *heap, uint64_t *word, uint64_t value)
{
    const size_t idx = bucket_around(heap, word);
    nth_heap_put(heap, word, value);
    heap->bucket_sums[idx] = bucket_sum(heap, idx);
}

static enum nth_status bucket_word(struct nth_heap *heap, const uint64_t *word, uint64_t *value)
{
    const size_t idx = bucket_around(heap, word);
    if (heap->bucket_sums[idx] != bucket_sum(heap, idx)) { /* words of another time were put back */
        nth_note(NTH_CORRUPT_HEAP_STATE, NULL, "heap.buckets");
        return NTH_CORRUPT;
    }
    return nth_heap_open(heap, word, NTH_CORRUPT_HEAP_STATE, "heap.buckets", value);
}

void nth_front_init(struct nth_heap *heap)
{
    for (uint32_t bucket = 0; bucket < NTH_BUCKET_COUNT; bucket++) {
        bucket_put(heap, &heap->buckets[bucket].partial, 0);
        bucket_put(heap, &heap->buckets[bucket].outstanding, 0);
        bucket_put(heap, &heap->buckets[bucket].chunks, 0);
    }
    for (uint32_t idx = 0; idx < NTH_CACHE_MAX_COUNT; idx++) {
        nth_heap_put(heap, &heap->caches[idx], 0);
    }
}

/* A class's word with one allocation more, and whether the front end has or had then started. */
static uint64_t counted(uint64_t count)
{
    return (count & BUCKET_ON) != 0 ? count : count + 1u + (1ull << BUCKET_TOTAL_SHIFT);
}

static bool starts(uint64_t count)
{
    return (count & BUCKET_ON) != 0 || (count & BUCKET_COUNT_MASK) >= NTH_LFH_START_COUNT ||
           count >> BUCKET_TOTAL_SHIFT >= NTH_LFH_START_TOTAL;
}

enum nth_status nth_front_serves(struct nth_heap *heap, uint64_t bytes, bool *serves)
{
    uint64_t count = 0;
    *serves = false;
    if (bytes > NTH_LFH_MAX_BYTES || !nth_front_allowed(heap)) {
        return NTH_OK;
    }
    uint64_t *word = &heap->buckets[nth_bucket_of(bytes)].outstanding;
    const enum nth_status status = bucket_word(heap, word, &count);
    if (status != NTH_OK) {
        return status;
    }
    *serves = starts(counted(count));
    return NTH_OK;
}

enum nth_status nth_front_count(struct nth_heap *heap, uint64_t bytes)
{
    uint64_t count = 0;
    if (bytes > NTH_LFH_MAX_BYTES || !nth_front_allowed(heap)) {
        return NTH_OK;
    }
    uint64_t *word = &heap->buckets[nth_bucket_of(bytes)].outstanding;
    const enum nth_status status = bucket_word(heap, word, &count);
    if (status == NTH_OK && (count & BUCKET_ON) == 0) {
        count = counted(count);
        heap->state.front_end |= starts(count);
        bucket_put(heap, word, starts(count) ? BUCKET_ON : count);
    }
    return status;
}

/* A block of the class went away before the class started. */
static enum nth_status uncount(struct nth_heap *heap, uint64_t bytes)
{
    uint64_t count = 0;
    if (bytes > NTH_LFH_MAX_BYTES) {
        return NTH_OK;
    }
    uint64_t *word = &heap->buckets[nth_bucket_of(bytes)].outstanding;
    const enum nth_status status = bucket_word(heap, word, &count);
    if (status == NTH_OK && (count & BUCKET_ON) == 0 && (count & BUCKET_COUNT_MASK) > 0) {
        bucket_put(heap, word, count - 1);
    }
    return status;
}

enum nth_status nth_front_recount(struct nth_heap *heap, uint64_t before, uint64_t after)
{
    uint64_t count = 0;
    const bool same = before <= NTH_LFH_MAX_BYTES && after <= NTH_LFH_MAX_BYTES &&
                      nth_bucket_of(before) == nth_bucket_of(after);
    if (same || !nth_front_allowed(heap)) {
        return NTH_OK;
    }
    if (after > NTH_LFH_MAX_BYTES) {
        return uncount(heap, before);
    }
    uint64_t *word = &heap->buckets[nth_bucket_of(after)].outstanding;
    enum nth_status status = bucket_word(heap, word, &count);
    status = status == NTH_OK ? uncount(heap, before) : status;
    if (status == NTH_OK && (count & BUCKET_ON) == 0 &&
        (count & BUCKET_COUNT_MASK) < BUCKET_COUNT_MASK) {
        bucket_put(heap, word, count + 1);
    }
    return status;
}

/* The slots of a chunk in a block of so many bytes: as many as there is room for, up to the class's
 * most. */
static uint32_t chunk_room(uint32_t bucket, uint64_t bytes)
{
    const uint64_t first = nth_chunk_first(bucket);
    const uint64_t room = bytes < first ? 0 : (bytes - first) / nth_bucket_bytes(bucket);
    const uint32_t most = nth_bucket_slots(bucket);
    return room < most ? (uint32_t)room : most;
}

enum nth_status nth_chunk_read(struct nth_heap *heap, const struct nth_block *block,
                               struct nth_chunk *chunk)
{
    uint64_t info = 0;
    chunk->region = block->region;
    chunk->offset = block->offset;
    chunk->units = block->units;
    if (block->state != NTH_BLOCK_CHUNK ||
        !nth_inband_open(heap, block->region, block->offset + NTH_CHUNK_INFO, &info)) {
        return broken(block->region, block->offset, "chunk.info");
    }
    chunk->bucket = (uint32_t)info & 0x7Fu;
    chunk->slots = (uint32_t)(info >> 7) & 0x1FFu;
    chunk->free = (uint32_t)(info >> 16) & 0x1FFu;
    if (info >> 25 != 0 || chunk->bucket >= NTH_BUCKET_COUNT || chunk->free > chunk->slots ||
        chunk->slots == 0 || chunk->slots != chunk_room(chunk->bucket, nth_block_bytes(block))) {
        return broken(block->region, block->offset, "chunk.info");
    }
    return NTH_OK;
}

static void chunk_info_put(const struct nth_heap *heap, const struct nth_chunk *chunk)
{
    nth_inband_put(heap, chunk->region, chunk->offset + NTH_CHUNK_INFO,
                   (uint64_t)chunk->free << 16 | (uint64_t)chunk->slots << 7 | chunk->bucket);
}

static uint64_t free_word_offset(const struct nth_chunk *chunk, uint32_t slot)
{
    return chunk->offset + NTH_CHUNK_FREE + 8u * (slot / SLOTS_PER_WORD);
}

static enum nth_status free_word(const struct nth_heap *heap, const struct nth_chunk *chunk,
                                 uint32_t slot, uint64_t *bits)
{
    if (!nth_inband_open(heap, chunk->region, free_word_offset(chunk, slot), bits)) {
        return broken(chunk->region, chunk->offset, "chunk.free");
    }
    return NTH_OK;
}

/* The chunk that a list link or head names. */
static enum nth_status chunk_follow(struct nth_heap *heap, uint64_t reference, uint32_t bucket,
                                    struct nth_chunk *chunk)
{
    struct nth_region *region = NULL;
    uint64_t offset = 0;
    struct nth_block block;
    if (nth_reference_resolve(heap, reference, &region, &offset) != NTH_OK ||
        !nth_tag_starts(*nth_tag_at(region, offset), offset)) {
        nth_note(NTH_CORRUPT_CHUNK, NULL, "chunk.link");
        return NTH_CORRUPT;
    }
    enum nth_status status = nth_block_read(heap, region, offset, &block);
    status = status == NTH_OK ? nth_chunk_read(heap, &block, chunk) : status;
    if (status == NTH_OK && (chunk->bucket != bucket || chunk->free == 0)) {
        return broken(region, offset, "chunk.link");
    }
    return status;
}

static enum nth_status chunk_link(const struct nth_heap *heap, const struct nth_chunk *chunk,
                                  uint64_t place, uint64_t *reference)
{
    if (!nth_inband_open(heap, chunk->region, chunk->offset + place, reference)) {
        return broken(chunk->region, chunk->offset,
                      place == NTH_CHUNK_NEXT ? "chunk.next" : "chunk.previous");
    }
    return NTH_OK;
}

static uint64_t chunk_reference(const struct nth_chunk *chunk)
{
    return nth_block_reference(chunk->region, chunk->offset);
}

/* A chunk with free slots is on its class's list, and both neighbours say so. */
static enum nth_status chunk_list_check(struct nth_heap *heap, const struct nth_chunk *chunk)
{
    struct nth_chunk other;
    uint64_t next = 0;
    uint64_t previous = 0;
    uint64_t back = chunk_reference(chunk);
    enum nth_status status = chunk_link(heap, chunk, NTH_CHUNK_NEXT, &next);
    status = status == NTH_OK ? chunk_link(heap, chunk, NTH_CHUNK_PREVIOUS, &previous) : status;
    if (status == NTH_OK && next != 0) {
        status = chunk_follow(heap, next, chunk->bucket, &other);
        status = status == NTH_OK ? chunk_link(heap, &other, NTH_CHUNK_PREVIOUS, &back) : status;
    }
    if (status == NTH_OK && back == chunk_reference(chunk)) {
        if (previous != 0) {
            status = chunk_follow(heap, previous, chunk->bucket, &other);
            status = status == NTH_OK ? chunk_link(heap, &other, NTH_CHUNK_NEXT, &back) : status;
        } else {
            status = bucket_word(heap, &heap->buckets[chunk->bucket].partial, &back);
        }
    }
    return status == NTH_OK && back != chunk_reference(chunk)
               ? broken(chunk->region, chunk->offset, "chunk.link")
               : status;
}

static void chunk_link_put(struct nth_heap *heap, uint64_t reference, uint64_t place,
                           uint64_t value)
{
    struct nth_region *region = NULL;
    uint64_t offset = 0;
    NTH_ASSERT(nth_reference_resolve(heap, reference, &region, &offset) == NTH_OK);
    nth_inband_put(heap, region, offset + place, value);
}

/* Checked before: takes the chunk off its list. */
static void chunk_unlink(struct nth_heap *heap, const struct nth_chunk *chunk)
{
    uint64_t next = 0;
    uint64_t previous = 0;
    NTH_ASSERT(chunk_link(heap, chunk, NTH_CHUNK_NEXT, &next) == NTH_OK);
    NTH_ASSERT(chunk_link(heap, chunk, NTH_CHUNK_PREVIOUS, &previous) == NTH_OK);
    if (next != 0) {
        chunk_link_put(heap, next, NTH_CHUNK_PREVIOUS, previous);
    }
    if (previous != 0) {
        chunk_link_put(heap, previous, NTH_CHUNK_NEXT, next);
    } else {
        bucket_put(heap, &heap->buckets[chunk->bucket].partial, next);
    }
    nth_inband_put(heap, chunk->region, chunk->offset + NTH_CHUNK_NEXT, 0);
    nth_inband_put(heap, chunk->region, chunk->offset + NTH_CHUNK_PREVIOUS, 0);
}

/* The head of the class's list is sound, so that a chunk can be put before it. */
static enum nth_status chunk_head(struct nth_heap *heap, uint32_t bucket, uint64_t *first,
                                  struct nth_chunk *chunk)
{
    uint64_t previous = 0;
    enum nth_status status = bucket_word(heap, &heap->buckets[bucket].partial, first);
    if (status == NTH_OK && *first != 0) {
        status = chunk_follow(heap, *first, bucket, chunk);
        status = status == NTH_OK ? chunk_link(heap, chunk, NTH_CHUNK_PREVIOUS, &previous) : status;
        if (status == NTH_OK && previous != 0) {
            status = broken(chunk->region, chunk->offset, "chunk.previous");
        }
    }
    return status;
}

static void chunk_push(struct nth_heap *heap, const struct nth_chunk *chunk, uint64_t first)
{
    nth_inband_put(heap, chunk->region, chunk->offset + NTH_CHUNK_NEXT, first);
    nth_inband_put(heap, chunk->region, chunk->offset + NTH_CHUNK_PREVIOUS, 0);
    if (first != 0) {
        chunk_link_put(heap, first, NTH_CHUNK_PREVIOUS, chunk_reference(chunk));
    }
    bucket_put(heap, &heap->buckets[chunk->bucket].partial, chunk_reference(chunk));
}

/* A bit for each slot of the chunk that a free word is about. */
static uint64_t word_slots(const struct nth_chunk *chunk, uint32_t word)
{
    const uint32_t first = word * SLOTS_PER_WORD;
    const uint32_t count = chunk->slots <= first ? 0 : chunk->slots - first;
    return count >= SLOTS_PER_WORD ? NTH_WORD_MASK : (1ull << count) - 1u;
}

static void slots_init(const struct nth_heap *heap, const struct nth_chunk *chunk)
{
    for (uint32_t word = 0; word < nth_bucket_words(chunk->bucket); word++) {
        nth_inband_put(heap, chunk->region, free_word_offset(chunk, word * SLOTS_PER_WORD),
                       word_slots(chunk, word));
    }
    for (uint32_t slot = 0; slot < chunk->slots; slot++) {
        const struct nth_block block = {.region = chunk->region,
                                        .offset = nth_chunk_slot(chunk, slot),
                                        .state = NTH_BLOCK_SLOT_FREE,
                                        .bucket = chunk->bucket,
                                        .slot = slot};
        nth_block_write(heap, &block);
    }
}

/* A new chunk for the class: the more it has, the larger, up to full size. */
static enum nth_status chunk_make(struct nth_heap *heap, uint32_t bucket, struct nth_chunk *chunk)
{
    struct nth_bucket *class = &heap->buckets[bucket];
    struct nth_block block = {.state = NTH_BLOCK_CHUNK};
    uint64_t chunks = 0;
    enum nth_status status = bucket_word(heap, &class->chunks, &chunks);
    if (status != NTH_OK) {
        return status;
    }
    const uint32_t most = nth_bucket_slots(bucket);
    const uint64_t first = nth_bucket_slots_first(bucket);
    const uint64_t wish = first + first * chunks / 2u;
    chunk->bucket = bucket;
    chunk->slots = wish < most ? (uint32_t)wish : most;
    chunk->offset = 0;
    const uint64_t units = nth_chunk_slot(chunk, chunk->slots) / NTH_UNIT_BYTES;
    status = nth_backend_take(heap, units, &block);
    if (status != NTH_OK) {
        return status;
    }
    chunk->region = block.region;
    chunk->offset = block.offset;
    chunk->units = block.units;
    chunk->slots = chunk_room(bucket, nth_block_bytes(&block)); /* what is over may be one more */
    chunk->free = chunk->slots;
    bucket_put(heap, &class->chunks, chunks < CHUNK_LIMIT ? chunks + 1 : chunks);
    heap->state.chunk_count++;
    heap->state.chunk_units += block.units;
    chunk_info_put(heap, chunk);
    slots_init(heap, chunk);
    chunk_push(heap, chunk, 0);
    return NTH_OK;
}

/* Everything was checked: the slots' starts go away and the chunk leaves its list. */
static void chunk_dissolve(struct nth_heap *heap, const void *context)
{
    const struct nth_chunk *chunk = context;
    uint64_t chunks = 0;
    uint64_t *word = &heap->buckets[chunk->bucket].chunks;
    NTH_ASSERT(bucket_word(heap, word, &chunks) == NTH_OK);
    bucket_put(heap, word, chunks > 0 ? chunks - 1 : 0);
    chunk_unlink(heap, chunk);
    for (uint32_t idx = 0; idx < chunk->slots; idx++) {
        nth_block_erase(chunk->region, nth_chunk_slot(chunk, idx));
    }
    heap->state.chunk_count--;
    heap->state.chunk_units -= chunk->units;
}

/* Links of a chunk on no list name nobody; free words list as many slots as are free, and none past
 * the last. */
static enum nth_status words_check(const struct nth_heap *heap, const struct nth_chunk *chunk)
{
    uint32_t listed = 0;
    uint64_t next = 0;
    uint64_t previous = 0;
    enum nth_status status = chunk_link(heap, chunk, NTH_CHUNK_NEXT, &next);
    status = status == NTH_OK ? chunk_link(heap, chunk, NTH_CHUNK_PREVIOUS, &previous) : status;
    if (status == NTH_OK && chunk->free == 0 && (next != 0 || previous != 0)) {
        return broken(chunk->region, chunk->offset, "chunk.link");
    }
    for (uint32_t word = 0; status == NTH_OK && word < nth_bucket_words(chunk->bucket); word++) {
        uint64_t bits = 0;
        status = free_word(heap, chunk, word * SLOTS_PER_WORD, &bits);
        if (status == NTH_OK && (bits & ~word_slots(chunk, word)) != 0) {
            return broken(chunk->region, chunk->offset, "chunk.free");
        }
        listed += (uint32_t)__builtin_popcountll(bits);
    }
    return status == NTH_OK && listed != chunk->free
               ? broken(chunk->region, chunk->offset, "chunk.info")
               : status;
}

enum nth_status nth_chunk_check(struct nth_heap *heap, const struct nth_chunk *chunk,
                                uint32_t *free_slots)
{
    enum nth_status status = words_check(heap, chunk);
    status = status == NTH_OK && chunk->free > 0 ? chunk_list_check(heap, chunk) : status;
    *free_slots = 0;
    for (uint32_t idx = 0; status == NTH_OK && idx < chunk->slots; idx++) {
        struct nth_block slot;
        uint64_t bits = 0;
        status = free_word(heap, chunk, idx, &bits);
        status = status == NTH_OK
                     ? nth_block_read(heap, chunk->region, nth_chunk_slot(chunk, idx), &slot)
                     : status;
        if (status != NTH_OK) {
            return status;
        }
        const bool marked = (bits >> (idx % SLOTS_PER_WORD)) & 1u;
        const bool is_free = slot.state == NTH_BLOCK_SLOT_FREE;
        if ((*nth_tag_at(chunk->region, slot.offset) & NTH_TAG_PREVIOUS_FREE) != 0) {
            nth_note(NTH_CORRUPT_BLOCK_MAP, nth_block_user(&slot), "block.tag");
            return NTH_CORRUPT;
        }
        if (slot.bucket != chunk->bucket || slot.slot != idx || (marked && !is_free) ||
            (!is_free && slot.state != NTH_BLOCK_SLOT_BUSY)) {
            return broken(chunk->region, chunk->offset, "chunk.free");
        }
        *free_slots += is_free;
    }
    return status;
}

/* The chunk of a slot, by the slot's own number. */
enum nth_status nth_chunk_of(struct nth_heap *heap, const struct nth_block *slot,
                             struct nth_chunk *chunk)
{
    const uint64_t back =
        nth_chunk_first(slot->bucket) + slot->slot * nth_bucket_bytes(slot->bucket);
    struct nth_block block;
    if (back > slot->offset - NTH_SEGMENT_FIRST) {
        return broken(slot->region, slot->offset, "block.header");
    }
    enum nth_status status = nth_block_read(heap, slot->region, slot->offset - back, &block);
    status = status == NTH_OK ? nth_chunk_read(heap, &block, chunk) : status;
    if (status == NTH_OK && (chunk->bucket != slot->bucket || slot->slot >= chunk->slots)) {
        status = broken(slot->region, slot->offset, "chunk.info");
    }
    return status;
}

/* The slot is of a chunk that was read before in this call and is as it was left. */
static bool slot_is_of(const struct nth_block *slot, const struct nth_chunk *chunk)
{
    return slot->slot < chunk->slots && slot->bucket == chunk->bucket &&
           slot->region == chunk->region && slot->offset == nth_chunk_slot(chunk, slot->slot);
}

static struct nth_block chunk_block(const struct nth_chunk *chunk)
{
    return (struct nth_block){.region = chunk->region,
                              .offset = chunk->offset,
                              .state = NTH_BLOCK_CHUNK,
                              .units = chunk->units};
}

/* All that giving the chunk back will touch is whole. As many slots are listed as it says are free,
 * and none of them is busy. */
static enum nth_status retire_look(struct nth_heap *heap, const struct nth_chunk *chunk)
{
    const struct nth_block block = chunk_block(chunk);
    uint64_t chunks = 0;
    uint32_t free_slots = 0;
    enum nth_status status = bucket_word(heap, &heap->buckets[chunk->bucket].chunks, &chunks);
    status = status == NTH_OK ? nth_chunk_check(heap, chunk, &free_slots) : status;
    return status == NTH_OK ? nth_backend_give_check(heap, &block) : status;
}

static enum nth_status retire_make(struct nth_heap *heap, const struct nth_chunk *chunk)
{
    const struct nth_block block = chunk_block(chunk);
    return nth_backend_give_after(heap, &block, chunk_dissolve, chunk);
}

/* An empty chunk on its class's list goes back to the back end. */
static enum nth_status chunk_retire(struct nth_heap *heap, const struct nth_chunk *chunk)
{
    const enum nth_status status = retire_look(heap, chunk);
    return status == NTH_OK ? retire_make(heap, chunk) : status;
}

/* What marking a slot free in its chunk will do. */
struct returning {
    struct nth_chunk chunk;
    uint64_t bits;  /* the free word as it is */
    uint64_t first; /* head of the class's list, where the chunk is on none yet */
    bool retire;    /* the chunk is empty then, and goes back */
};

/* The chunk is on its class's list when it has free slots, and else on none, and then `*first` is
 * the head that it will go before. `*alone`: the class has no other one on its list. */
static enum nth_status place_look(struct nth_heap *heap, const struct nth_chunk *chunk,
                                  uint64_t *first, bool *alone)
{
    struct nth_chunk head;
    uint64_t next = 0;
    uint64_t previous = 0;
    enum nth_status status = chunk_link(heap, chunk, NTH_CHUNK_NEXT, &next);
    status = status == NTH_OK ? chunk_link(heap, chunk, NTH_CHUNK_PREVIOUS, &previous) : status;
    if (status != NTH_OK) {
        return status;
    }
    if (chunk->free == 0) {
        status = chunk_head(heap, chunk->bucket, first, &head);
        *alone = *first == 0;
        return status == NTH_OK && (next != 0 || previous != 0)
                   ? broken(chunk->region, chunk->offset, "chunk.link")
                   : status;
    }
    *alone = next == 0 && previous == 0;
    if (previous == 0) {
        uint64_t listed = 0;
        status = bucket_word(heap, &heap->buckets[chunk->bucket].partial, &listed);
        if (status == NTH_OK && listed != chunk_reference(chunk)) {
            return broken(chunk->region, chunk->offset, "chunk.info");
        }
    }
    return status;
}

/* First half: look at all of it. An empty chunk goes back when the class has another one, or `all`
 * are to go. `*last` is the chunk of the slot before, and is not to be used again unless all goes
 * well. */
static enum nth_status slot_return_look(struct nth_heap *heap, const struct nth_block *slot,
                                        bool all, struct nth_chunk *last,
                                        struct returning *returning)
{
    const uint64_t bit = 1ull << (slot->slot % SLOTS_PER_WORD);
    struct nth_chunk *chunk = &returning->chunk;
    *returning = (struct returning){.chunk = *last};
    enum nth_status status = slot_is_of(slot, last) ? NTH_OK : nth_chunk_of(heap, slot, chunk);
    last->slots = 0;
    status = status == NTH_OK ? free_word(heap, chunk, slot->slot, &returning->bits) : status;
    if (status == NTH_OK && ((returning->bits & bit) != 0 || chunk->free >= chunk->slots)) {
        status = broken(chunk->region, chunk->offset, "chunk.free");
    }
    bool alone = false;
    status = status == NTH_OK ? place_look(heap, chunk, &returning->first, &alone) : status;
    if (status != NTH_OK || chunk->free + 1u < chunk->slots) {
        return status;
    }
    returning->retire = all || !alone;
    return returning->retire ? retire_look(heap, chunk) : status;
}

/* Second half: everything was looked at. `*last` becomes this slot's chunk. */
static enum nth_status slot_return_make(struct nth_heap *heap, const struct nth_block *slot,
                                        struct returning *returning, struct nth_chunk *last)
{
    const uint64_t bit = 1ull << (slot->slot % SLOTS_PER_WORD);
    struct nth_chunk *chunk = &returning->chunk;
    nth_inband_put(heap, chunk->region, free_word_offset(chunk, slot->slot), returning->bits | bit);
    const bool was_full = chunk->free == 0;
    chunk->free++;
    chunk_info_put(heap, chunk);
    if (was_full) {
        chunk_push(heap, chunk, returning->first);
    }
    if (returning->retire) {
        return retire_make(heap, chunk);
    }
    *last = *chunk;
    return NTH_OK;
}

/* One free slot out of the class's first chunk, which leaves the list when it has no more. */
static enum nth_status slot_draw(struct nth_heap *heap, struct nth_chunk *chunk, uint64_t *offset)
{
    uint64_t bits = 0;
    uint32_t word = 0;
    enum nth_status status = NTH_OK;
    for (word = 0; word < nth_bucket_words(chunk->bucket); word++) {
        status = free_word(heap, chunk, word * SLOTS_PER_WORD, &bits);
        if (status != NTH_OK || bits != 0) {
            break;
        }
    }
    const uint32_t slot = status == NTH_OK && bits != 0
                              ? word * SLOTS_PER_WORD + (uint32_t)__builtin_ctzll(bits)
                              : chunk->slots;
    struct nth_block block;
    if (status == NTH_OK && slot >= chunk->slots) {
        status = broken(chunk->region, chunk->offset, "chunk.free");
    }
    if (status == NTH_OK && chunk->free == 1) {
        status = chunk_list_check(heap, chunk);
    }
    status = status == NTH_OK
                 ? nth_block_read(heap, chunk->region, nth_chunk_slot(chunk, slot), &block)
                 : status;
    if (status == NTH_OK && (block.state != NTH_BLOCK_SLOT_FREE || block.slot != slot ||
                             block.bucket != chunk->bucket)) {
        status = broken(chunk->region, chunk->offset, "chunk.free");
    }
    if (status != NTH_OK) {
        return status;
    }
    if (chunk->free == 1) {
        chunk_unlink(heap, chunk);
    }
    nth_inband_put(heap, chunk->region, free_word_offset(chunk, slot), bits & (bits - 1));
    chunk->free--;
    chunk_info_put(heap, chunk);
    *offset = block.offset;
    return NTH_OK;
}

static enum nth_status magazine_fill(struct nth_heap *heap, const struct nth_cache *cache,
                                     uint32_t bucket, uint32_t *fill)
{
    if (!nth_cache_fill(cache, bucket, heap->config.key.first, fill)) {
        nth_note(NTH_CORRUPT_CACHE, NULL, "cache.counts");
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

static void magazine_push(const struct nth_heap *heap, struct nth_cache *cache, uint32_t bucket,
                          uint32_t fill, uint64_t reference)
{
    const uint64_t key = heap->config.key.first;
    cache->slots[bucket][nth_fill_count(fill)] =
        nth_cache_slot_seal(reference, nth_cache_pad(key, bucket));
    nth_cache_fill_put(cache, bucket, fill + 1, key);
}

/* The slot on top of a magazine, checked to be a free slot of the class. */
static enum nth_status magazine_top(struct nth_heap *heap, const struct nth_cache *cache,
                                    uint32_t bucket, uint32_t fill, struct nth_block *slot)
{
    const uint64_t pad = nth_cache_pad(heap->config.key.first, bucket);
    struct nth_region *region = NULL;
    uint64_t reference = 0;
    uint64_t offset = 0;
    if (!nth_cache_slot_open(cache->slots[bucket][nth_fill_count(fill) - 1], pad, &reference) ||
        nth_reference_resolve(heap, reference, &region, &offset) != NTH_OK) {
        nth_note(NTH_CORRUPT_CACHE, NULL, "cache.slots");
        return NTH_CORRUPT;
    }
    const enum nth_status status = nth_block_read(heap, region, offset, slot);
    if (status == NTH_OK && (slot->state != NTH_BLOCK_SLOT_FREE || slot->bucket != bucket)) {
        nth_note(NTH_CORRUPT_CACHE, nth_block_user(slot), "cache.slots");
        return NTH_CORRUPT;
    }
    return status;
}

/* Take slots off a magazine until `keep` are left. */
static enum nth_status magazine_empty(struct nth_heap *heap, struct nth_cache *cache,
                                      uint32_t bucket, uint32_t keep, bool all)
{
    uint32_t fill = 0;
    struct nth_chunk last = {.slots = 0};
    enum nth_status status = magazine_fill(heap, cache, bucket, &fill);
    while (status == NTH_OK && nth_fill_count(fill) > keep) {
        struct nth_block slot;
        struct returning returning;
        status = magazine_top(heap, cache, bucket, fill, &slot);
        status = status == NTH_OK ? slot_return_look(heap, &slot, all, &last, &returning) : status;
        if (status == NTH_OK) {
            fill--;
            nth_cache_fill_put(cache, bucket, fill, heap->config.key.first);
            status = slot_return_make(heap, &slot, &returning, &last);
        }
    }
    return status;
}

/* Move up to `most` slots of one free word into a magazine. Slots are looked at when they are taken
 * from the magazine: here only the words that name them are. */
static enum nth_status word_draw(struct nth_heap *heap, struct nth_cache *cache,
                                 struct nth_chunk *chunk, uint32_t word, uint32_t *fill,
                                 uint32_t most)
{
    const uint32_t first = word * SLOTS_PER_WORD;
    uint64_t bits = 0;
    enum nth_status status = free_word(heap, chunk, first, &bits);
    const uint64_t before = bits;
    while (status == NTH_OK && bits != 0 && nth_fill_count(*fill) < most && chunk->free > 0) {
        const uint32_t slot = first + (uint32_t)__builtin_ctzll(bits);
        if (slot >= chunk->slots) {
            status = broken(chunk->region, chunk->offset, "chunk.free");
            break;
        }
        magazine_push(heap, cache, chunk->bucket, (*fill)++,
                      nth_block_reference(chunk->region, nth_chunk_slot(chunk, slot)));
        bits &= bits - 1;
        chunk->free--;
    }
    if (bits != before) {
        nth_inband_put(heap, chunk->region, free_word_offset(chunk, first), bits);
    }
    return status;
}

/* The slots of a magazine from `first` on the other way round: drawn in the order of their
 * addresses, they are to be taken in it too. */
static void magazine_reverse(struct nth_cache *cache, uint32_t bucket, uint32_t first,
                             uint32_t count)
{
    uint64_t *slots = cache->slots[bucket];
    for (uint32_t last = count; first + 1 < last; first++) {
        const uint64_t word = slots[first];
        slots[first] = slots[--last];
        slots[last] = word;
    }
}

/* The magazine was too full and is empty now: it may hold twice as many slots from here on. */
static uint32_t magazine_grown(uint32_t fill, uint32_t most)
{
    const uint32_t twice = 2u * nth_fill_limit(fill);
    return (twice < most ? twice : most) << NTH_FILL_LIMIT_SHIFT | nth_fill_count(fill);
}

/* Most of what it may hold and the slot that is wanted now, as far as the class's chunks go without
 * making a new one. Not all: the next block to be freed wants a place. */
static enum nth_status magazine_refill(struct nth_heap *heap, struct nth_cache *cache,
                                       uint32_t bucket)
{
    const uint32_t words = nth_bucket_words(bucket);
    uint32_t fill = 0;
    uint64_t first = 0;
    enum nth_status status = magazine_fill(heap, cache, bucket, &fill);
    if (status == NTH_OK && (fill & NTH_FILL_WAS_FULL) != 0) {
        fill = magazine_grown(fill, nth_bucket_magazine(bucket));
        nth_cache_fill_put(cache, bucket, fill, heap->config.key.first);
    }
    const uint32_t share = nth_fill_limit(fill) - nth_fill_limit(fill) / 4u;
    const uint32_t want = share < nth_fill_limit(fill) ? share + 1u : share;
    const uint32_t had = nth_fill_count(fill);
    while (status == NTH_OK && nth_fill_count(fill) < want) {
        struct nth_chunk chunk;
        status = chunk_head(heap, bucket, &first, &chunk);
        status = status == NTH_OK && first != 0 ? chunk_list_check(heap, &chunk) : status;
        if (status != NTH_OK || first == 0) {
            break;
        }
        const uint32_t before = chunk.free;
        for (uint32_t word = 0; status == NTH_OK && word < words && nth_fill_count(fill) < want;
             word++) {
            status = word_draw(heap, cache, &chunk, word, &fill, want);
        }
        if (chunk.free == 0) {
            chunk_unlink(heap, &chunk);
        }
        chunk_info_put(heap, &chunk);
        if (status == NTH_OK && chunk.free == before) {
            status = broken(chunk.region, chunk.offset, "chunk.free");
        }
    }
    magazine_reverse(cache, bucket, had, nth_fill_count(fill));
    return status;
}

static void slot_hand_out(const struct nth_heap *heap, struct nth_block *slot, uint64_t bytes)
{
    slot->state = NTH_BLOCK_SLOT_BUSY;
    slot->slack = (uint32_t)(nth_bucket_bytes(slot->bucket) - NTH_HEADER_BYTES - bytes);
    nth_block_write(heap, slot);
}

void nth_hot_fill(struct nth_heap *heap, struct nth_cache *cache)
{
    const uint64_t handle = heap->config.handle;
    struct nth_slot *slot = nth_heap_slot(heap);
    struct nth_hot *hot = &nth_self.hot[(handle / NTH_GRANULE_BYTES) % NTH_HOT_COUNT];
    const uint64_t generation = nth_load_acquire(&nth_process.generation);
    const bool limited = /* looked at inside */
        heap->config.threshold_bytes < NTH_LFH_MAX_BYTES ||
        heap->config.allocation_max_bytes < NTH_LFH_MAX_BYTES;
    if (cache != NULL && !limited &&
        slot->caller_lock == NULL && /* which closes no gate when it is taken */
        (hot->cache != cache || hot->generation != generation)) {
        *hot = (struct nth_hot){
            .handle = (HANDLE)(uintptr_t)handle,
            .heap = heap,
            .slot = slot,
            .cache = cache,
            .key = heap->config.key,
            .flags = heap->config.flags,
            .generation = generation,
        };
    }
}

/* A free slot from a thread's magazine; NTH_ABSENT when it has none. */
static enum nth_status magazine_take(struct nth_heap *heap, struct nth_cache *cache,
                                     uint32_t bucket, struct nth_block *slot)
{
    uint32_t fill = 0;
    enum nth_status status = magazine_fill(heap, cache, bucket, &fill);
    if (status != NTH_OK || nth_fill_count(fill) == 0) {
        return status == NTH_OK ? NTH_ABSENT : status;
    }
    status = magazine_top(heap, cache, bucket, fill, slot);
    if (status == NTH_OK) {
        nth_cache_fill_put(cache, bucket, fill - 1, heap->config.key.first);
    }
    return status;
}

/* A free slot from the class's chunks as they are; NTH_ABSENT when they are full. */
static enum nth_status chunk_take(struct nth_heap *heap, uint32_t bucket, struct nth_block *slot)
{
    struct nth_chunk chunk;
    uint64_t first = 0;
    uint64_t offset = 0;
    enum nth_status status = chunk_head(heap, bucket, &first, &chunk);
    if (status == NTH_OK && first == 0) {
        return NTH_ABSENT;
    }
    status = status == NTH_OK ? slot_draw(heap, &chunk, &offset) : status;
    return status == NTH_OK ? nth_block_read(heap, chunk.region, offset, slot) : status;
}

/* A free slot of the class's chunks by way of the magazine, which is refilled first: what that
 * meets makes the call fail before a slot has left. Without a magazine, from a chunk. */
static enum nth_status chunk_or_refill_take(struct nth_heap *heap, struct nth_cache *cache,
                                            uint32_t bucket, struct nth_block *slot)
{
    if (cache == NULL) {
        return chunk_take(heap, bucket, slot);
    }
    const enum nth_status status = magazine_refill(heap, cache, bucket);
    return status == NTH_OK ? magazine_take(heap, cache, bucket, slot) : status;
}

enum nth_status nth_front_take(struct nth_heap *heap, uint32_t bucket, uint64_t bytes,
                               struct nth_block *block)
{
    struct nth_cache *cache = nth_cache_own(heap);
    const uint32_t last = bucket + nth_bucket_reach(bucket);
    enum nth_status status = nth_noted() ? NTH_CORRUPT : NTH_ABSENT;
    nth_hot_fill(heap, cache);
    for (uint32_t from = bucket; status == NTH_ABSENT && cache != NULL && from <= last; from++) {
        status = magazine_take(heap, cache, from, block);
    }
    for (uint32_t from = bucket; status == NTH_ABSENT && from <= last; from++) {
        status = chunk_or_refill_take(heap, cache, from, block);
    }
    if (status == NTH_ABSENT) {
        struct nth_chunk chunk;
        status = chunk_make(heap, bucket, &chunk);
        status = status == NTH_OK ? chunk_or_refill_take(heap, cache, bucket, block) : status;
    }
    if (status != NTH_OK) {
        return status == NTH_NO_MEMORY ? NTH_ABSENT : status;
    }
    slot_hand_out(heap, block, bytes);
    return NTH_OK;
}

/* What a slot meets on its way back: its chunk, and a full magazine, which makes room. */
struct giving {
    struct nth_cache *cache;
    uint32_t fill;
    struct nth_chunk chunk;
    struct returning returning; /* without a magazine */
};

static enum nth_status give_ready(struct nth_heap *heap, const struct nth_block *block,
                                  struct giving *giving)
{
    const uint32_t bucket = block->bucket;
    struct nth_cache *cache = nth_cache_own(heap);
    enum nth_status status = nth_noted() ? NTH_CORRUPT : NTH_OK;
    giving->cache = cache;
    giving->fill = 0;
    status = status == NTH_OK ? nth_chunk_of(heap, block, &giving->chunk) : status;
    if (status == NTH_OK && cache != NULL) {
        status = magazine_fill(heap, cache, bucket, &giving->fill);
        if (status == NTH_OK && nth_fill_count(giving->fill) >= nth_fill_limit(giving->fill)) {
            nth_cache_fill_put(cache, bucket, giving->fill | NTH_FILL_WAS_FULL,
                               heap->config.key.first);
            status = magazine_empty(heap, cache, bucket, nth_fill_limit(giving->fill) / 2u, false);
            status = status == NTH_OK ? magazine_fill(heap, cache, bucket, &giving->fill) : status;
        }
    }
    if (status == NTH_OK && cache == NULL) {
        status = slot_return_look(heap, block, false, &giving->chunk, &giving->returning);
    }
    return status;
}

enum nth_status nth_front_give_check(struct nth_heap *heap, const struct nth_block *block)
{
    struct giving giving;
    return give_ready(heap, block, &giving);
}

enum nth_status nth_front_give(struct nth_heap *heap, struct nth_block *block)
{
    struct giving giving;
    const enum nth_status status = give_ready(heap, block, &giving);
    if (status != NTH_OK) {
        return status;
    }
    nth_block_take_back(block->region, block->offset, nth_block_bytes(block));
    block->state = NTH_BLOCK_SLOT_FREE;
    block->slack = 0;
    nth_block_write(heap, block);
    if (giving.cache == NULL) {
        return slot_return_make(heap, block, &giving.returning, &giving.chunk);
    }
    magazine_push(heap, giving.cache, block->bucket, giving.fill,
                  nth_block_reference(block->region, block->offset));
    return NTH_OK;
}

/* Chunks that are empty but were kept as the last of their class. */
static enum nth_status bucket_trim(struct nth_heap *heap, uint32_t bucket)
{
    struct nth_chunk chunk;
    uint64_t first = 0;
    enum nth_status status = chunk_head(heap, bucket, &first, &chunk);
    for (uint64_t count = heap->state.chunk_count; status == NTH_OK && first != 0; count--) {
        uint64_t next = 0;
        if (count == 0) {
            return broken(chunk.region, chunk.offset, "chunk.next");
        }
        status = words_check(heap, &chunk); /* one that is empty must say so */
        status = status == NTH_OK ? chunk_link(heap, &chunk, NTH_CHUNK_NEXT, &next) : status;
        if (status == NTH_OK && chunk.free == chunk.slots) {
            status = chunk_retire(heap, &chunk);
        }
        first = next;
        if (status == NTH_OK && first != 0) {
            status = chunk_follow(heap, first, bucket, &chunk);
        }
    }
    return status;
}

enum nth_status nth_front_compact(struct nth_heap *heap)
{
    enum nth_status status = NTH_OK;
    for (uint64_t idx = 0; status == NTH_OK && idx < heap->state.cache_count; idx++) {
        struct nth_cache *cache = nth_cache_at(heap, idx);
        status = cache == NULL ? NTH_CORRUPT : NTH_OK;
        for (uint32_t bucket = 0; status == NTH_OK && bucket < NTH_BUCKET_COUNT; bucket++) {
            status = magazine_empty(heap, cache, bucket, 0, true);
        }
    }
    for (uint32_t bucket = 0; status == NTH_OK && bucket < NTH_BUCKET_COUNT; bucket++) {
        status = bucket_trim(heap, bucket);
    }
    return status;
}

static enum nth_status magazine_check(struct nth_heap *heap, struct nth_cache *cache,
                                      uint32_t bucket, uint64_t *cached)
{
    uint32_t fill = 0;
    enum nth_status status = magazine_fill(heap, cache, bucket, &fill);
    for (uint32_t idx = 0; status == NTH_OK && idx < nth_fill_count(fill); idx++) {
        struct nth_block slot;
        struct nth_chunk chunk;
        uint64_t bits = 0;
        status = magazine_top(heap, cache, bucket, idx + 1, &slot);
        status = status == NTH_OK ? nth_chunk_of(heap, &slot, &chunk) : status;
        status = status == NTH_OK ? free_word(heap, &chunk, slot.slot, &bits) : status;
        if (status == NTH_OK && ((bits >> (slot.slot % SLOTS_PER_WORD)) & 1u) != 0) {
            nth_note(NTH_CORRUPT_CACHE, nth_block_user(&slot), "cache.slots");
            return NTH_CORRUPT;
        }
    }
    *cached += nth_fill_count(fill);
    return status;
}

enum nth_status nth_front_check(struct nth_heap *heap, uint64_t *cached)
{
    enum nth_status status = NTH_OK;
    for (uint32_t bucket = 0; status == NTH_OK && bucket < NTH_BUCKET_COUNT; bucket++) {
        struct nth_chunk chunk;
        uint64_t value = 0;
        status = bucket_word(heap, &heap->buckets[bucket].outstanding, &value);
        status =
            status == NTH_OK ? bucket_word(heap, &heap->buckets[bucket].chunks, &value) : status;
        status = status == NTH_OK ? chunk_head(heap, bucket, &value, &chunk) : status;
    }
    for (uint64_t idx = 0; status == NTH_OK && idx < heap->state.cache_count; idx++) {
        struct nth_cache *cache = nth_cache_at(heap, idx);
        status = cache == NULL ? NTH_CORRUPT : NTH_OK;
        if (cache != NULL && !nth_cache_owner_holds(heap, cache)) {
            nth_note(NTH_CORRUPT_CACHE, NULL, "cache.owner");
            return NTH_CORRUPT;
        }
        for (uint32_t bucket = 0; status == NTH_OK && bucket < NTH_BUCKET_COUNT; bucket++) {
            status = magazine_check(heap, cache, bucket, cached);
        }
    }
    return status;
}
