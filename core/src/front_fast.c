/* SPDX-License-Identifier: MIT
 *
 * The front end without the lock: take from and give to this thread's own magazines, through the
 * gate. Anything unusual is left to the locked way, which looks again and reports. */
#include "front.h"

/* A free slot's header, but for its number and generation. */
static inline uint64_t header_free(uint32_t bucket)
{
    return (uint64_t)bucket << NTH_HEADER_BODY_SHIFT | (uint64_t)NTH_BLOCK_SLOT_FREE;
}

#define SLOT_SHIFT (NTH_HEADER_BODY_SHIFT + 7u)
#define SLACK_SHIFT (NTH_HEADER_BODY_SHIFT + 16u)
#define VARYING ((0x1FFull << SLOT_SHIFT) | (0xFull << NTH_HEADER_GENERATION_SHIFT))

static inline uint64_t slot_pad(const struct nth_hot *hot, uint64_t reference)
{
    return nth_word_pad(&hot->key, reference);
}

/* A header's generation is the tag's. */
static inline bool generation_agrees(uint64_t value, uint8_t tag)
{
    return ((value >> NTH_HEADER_GENERATION_SHIFT) & 0xFu) == (tag & NTH_TAG_GENERATION);
}

static inline uint64_t with_generation(uint64_t value, uint8_t tag)
{
    return (value & ~(0xFull << NTH_HEADER_GENERATION_SHIFT)) | (uint64_t)(tag & NTH_TAG_GENERATION)
                                                                    << NTH_HEADER_GENERATION_SHIFT;
}

/* The segment around an address: this thread's own note of it, or looked up and noted. Notes stand
 * in pairs, since two segments may share a stretch of addresses. */
NTH_NOINLINE static const struct nth_seen *look_up(struct nth_hot *hot, struct nth_seen *seen,
                                                   uint64_t address)
{
    const struct nth_region *region = nth_region_of((void *)(uintptr_t)address);
    uint64_t tag_bytes = 0;
    if (region == NULL || nth_region_heap(region) != hot->heap ||
        !nth_region_reach(region, &tag_bytes) ||
        (address - region->base) / NTH_WINDOW_BYTES >= tag_bytes) {
        return NULL;
    }
    const uint64_t reach = tag_bytes * NTH_WINDOW_BYTES;
    seen[1] = seen[0];
    *seen = (struct nth_seen){.base = region->base,
                              .bytes = reach < region->bytes ? reach : region->bytes,
                              .tags = (uint8_t *)(uintptr_t)region->tags};
    return seen;
}

static inline const struct nth_seen *segment_of(struct nth_hot *hot, uint64_t address)
{
    const uint64_t pair = ((address >> 20) ^ (address >> 26)) % (NTH_SEEN_COUNT / 2u);
    struct nth_seen *seen = &hot->seen[pair * 2u];
    if (NTH_LIKELY(address - seen->base < seen->bytes)) {
        return seen;
    }
    return address - seen[1].base < seen[1].bytes ? &seen[1] : look_up(hot, seen, address);
}

NTH_UNWATCHED static inline uint64_t header_load(uint64_t address)
{
    return *(const volatile uint64_t *)(uintptr_t)address;
}

NTH_UNWATCHED static inline void header_store(uint64_t address, uint64_t word)
{
    *(volatile uint64_t *)(uintptr_t)address = word;
}

/* A magazine that is not empty: the class's own, or that of one of the next classes that may serve
 * for it. Not one of them: NTH_BUCKET_COUNT. */
static inline uint32_t choose(const struct nth_hot *hot, uint32_t bucket, uint32_t *fill)
{
    const uint64_t key = hot->key.first;
    bool whole = nth_cache_fill(hot->cache, bucket, key, fill);
    if (NTH_LIKELY(whole && nth_fill_count(*fill) != 0)) {
        return bucket;
    }
    for (uint32_t left = nth_bucket_reach(bucket); whole && left > 0; left--) {
        whole = nth_cache_fill(hot->cache, ++bucket, key, fill);
        if (whole && nth_fill_count(*fill) != 0) {
            return bucket;
        }
    }
    return NTH_BUCKET_COUNT;
}

static inline void *take(struct nth_hot *hot, uint64_t bytes, uint32_t wanted)
{
    struct nth_cache *cache = hot->cache;
    const uint64_t key = hot->key.first;
    uint32_t fill = 0;
    uint64_t reference = 0;
    uint64_t value = 0;
    const uint32_t bucket = choose(hot, wanted, &fill);
    if (NTH_UNLIKELY(bucket == NTH_BUCKET_COUNT ||
                     !nth_cache_slot_open(cache->slots[bucket][nth_fill_count(fill) - 1],
                                          nth_cache_pad(key, bucket), &reference))) {
        return NULL;
    }
    const uint64_t address = nth_place_address(reference);
    const struct nth_seen *seen = segment_of(hot, address);
    if (NTH_UNLIKELY(seen == NULL)) {
        return NULL;
    }
    const uint64_t offset = address - seen->base;
    const uint64_t pad = slot_pad(hot, reference);
    uint8_t *tag = seen->tags + offset / NTH_WINDOW_BYTES;
    const uint8_t old = *tag;
    if (NTH_UNLIKELY(!nth_word_open(header_load(address), pad, &value) ||
                     (value & ~VARYING) != header_free(bucket) ||
                     (old & (NTH_TAG_START | NTH_TAG_POSITION | NTH_TAG_BUSY)) !=
                         (NTH_TAG_START | nth_tag_position(offset)) ||
                     !generation_agrees(value, old))) {
        return NULL;
    }
    nth_cache_fill_put(cache, bucket, fill - 1, key);
    const uint8_t fresh = nth_tag_next(old, offset, true);
    *tag = fresh;
    const uint64_t slack = nth_bucket_bytes(bucket) - NTH_HEADER_BYTES - bytes;
    const uint64_t busy = (value & (0x1FFull << SLOT_SHIFT)) | slack << SLACK_SHIFT |
                          (uint64_t)bucket << NTH_HEADER_BODY_SHIFT | (uint64_t)NTH_BLOCK_SLOT_BUSY;
    header_store(address, nth_word_seal(with_generation(busy, fresh), pad));
    return (void *)(uintptr_t)(address + NTH_HEADER_BYTES);
}

void *nth_front_fast_take(struct nth_hot *hot, uint64_t bytes)
{
    const uint64_t rounded = nth_round_up((size_t)(bytes + NTH_HEADER_BYTES), NTH_UNIT_BYTES);
    const uint32_t bucket =
        nth_bucket_of(rounded < NTH_BLOCK_MIN_BYTES ? NTH_BLOCK_MIN_BYTES : rounded);
    if (NTH_UNLIKELY(!nth_gate_try(hot->slot, hot->heap))) {
        return NULL;
    }
    void *user = nth_hot_holds(hot) ? take(hot, bytes, bucket) : NULL;
    if (user != NULL) {
        nth_block_hand_out(user, bytes);
    }
    nth_gate_leave(NULL);
    return user;
}

static inline bool give(struct nth_hot *hot, uint64_t address)
{
    struct nth_cache *cache = hot->cache;
    const uint64_t key = hot->key.first;
    const struct nth_seen *seen = segment_of(hot, address);
    uint64_t value = 0;
    uint32_t fill = 0;
    if (NTH_UNLIKELY(seen == NULL)) {
        return false;
    }
    const uint64_t offset = address - seen->base;
    const uint64_t reference = nth_place_of(address);
    const uint64_t pad = slot_pad(hot, reference);
    uint8_t *tag = seen->tags + offset / NTH_WINDOW_BYTES;
    const uint8_t old = nth_load_byte(tag);
    const uint8_t live = NTH_TAG_START | NTH_TAG_BUSY;
    if (NTH_UNLIKELY((old & (live | NTH_TAG_POSITION)) != (live | nth_tag_position(offset)) ||
                     !nth_word_open(header_load(address), pad, &value) ||
                     (value & NTH_HEADER_STATE) != NTH_BLOCK_SLOT_BUSY ||
                     !generation_agrees(value, old))) {
        return false;
    }
    const uint32_t bucket = (uint32_t)(value >> NTH_HEADER_BODY_SHIFT) & 0x7Fu;
    if (NTH_UNLIKELY(bucket >= NTH_BUCKET_COUNT || !nth_cache_fill(cache, bucket, key, &fill) ||
                     nth_fill_count(fill) >= nth_fill_limit(fill))) {
        return false;
    }
    nth_poison((void *)(uintptr_t)address, (size_t)nth_bucket_bytes(bucket));
    const uint8_t fresh = nth_tag_next(old, offset, false);
    *tag = fresh;
    const uint64_t free_value = (value & (0x1FFull << SLOT_SHIFT)) | header_free(bucket);
    header_store(address, nth_word_seal(with_generation(free_value, fresh), pad));
    cache->slots[bucket][nth_fill_count(fill)] =
        nth_cache_slot_seal(reference, nth_cache_pad(key, bucket));
    nth_cache_fill_put(cache, bucket, fill + 1, key);
    return true;
}

bool nth_front_fast_give(struct nth_hot *hot, void *user)
{
    const uintptr_t address = (uintptr_t)user - NTH_HEADER_BYTES;
    if (NTH_UNLIKELY((uintptr_t)user % NTH_UNIT_BYTES != 0 ||
                     !nth_gate_try(hot->slot, hot->heap))) {
        return false;
    }
    const bool given = nth_hot_holds(hot) && give(hot, address);
    nth_gate_leave(NULL);
    return given;
}
