/* SPDX-License-Identifier: MIT
 *
 * Description of every metadata field of a heap, for injectors: name, place, kind. Reads the heap
 * as it is; a heap that is damaged is described as far as it can be followed. */
#include "cache.h"
#include "call.h"
#include "freelist.h"
#include "front.h"
#include "large.h"
#include "lock.h"
#include "map.h"
#include "walk.h"

struct visitor {
    BOOLEAN (*visit)(void *context, const struct nth_field *field);
    void *context;
    size_t count;
    bool stopped;
    uint64_t window; /* of the segment's block map: the next that was not told */
};

static void tell(struct visitor *visitor, const char *name, enum nth_field_kind kind,
                 const void *address, size_t bytes, void *block)
{
    const struct nth_field field = {.name = name,
                                    .kind = kind,
                                    .address = (PVOID)(uintptr_t)address,
                                    .bytes = bytes,
                                    .block = block};
    if (!visitor->stopped) {
        visitor->count++;
        visitor->stopped = !visitor->visit(visitor->context, &field);
    }
}

static void tell_inband(struct visitor *visitor, const char *name, enum nth_field_kind kind,
                        const struct nth_block *block, uint64_t place)
{
    tell(visitor, name, kind, nth_region_place(block->region, block->offset + place), 8u,
         nth_block_user(block));
}

/* Committed, and nobody's: [from, to) of a region. */
static void tell_spare(struct visitor *visitor, const char *name, const struct nth_region *region,
                       uint64_t from, uint64_t to)
{
    if (from < to) {
        tell(visitor, name, NTH_FIELD_SPARE, nth_region_place(region, from), (size_t)(to - from),
             NULL);
    }
}

/* What stands out of band behind a structure, to the end of its page. */
static void tell_rest(struct visitor *visitor, const char *name, const void *end)
{
    const size_t over = (uintptr_t)end % NTH_PAGE_BYTES;
    if (over != 0) {
        tell(visitor, name, NTH_FIELD_SPARE, end, NTH_PAGE_BYTES - over, NULL);
    }
}

/* The block map up to a window: nothing starts there, but generations stay. */
static void tell_windows(struct visitor *visitor, const struct nth_region *region, uint64_t window)
{
    if (visitor->window < window) {
        tell(visitor, "region.tags", NTH_FIELD_TAG,
             nth_tag_at(region, visitor->window * NTH_WINDOW_BYTES),
             (size_t)(window - visitor->window), NULL);
    }
    visitor->window = window;
}

/* The block map up to a window, of which nothing can be told: what starts there is damaged. */
static void skip_windows(struct visitor *visitor, uint64_t window)
{
    visitor->window = visitor->window < window ? window : visitor->window;
}

static void tell_window(struct visitor *visitor, const char *name, const struct nth_region *region,
                        uint64_t offset, void *block)
{
    tell_windows(visitor, region, offset / NTH_WINDOW_BYTES);
    tell(visitor, name, NTH_FIELD_TAG, nth_tag_at(region, offset), 1u, block);
    visitor->window++;
}

static void tell_tag(struct visitor *visitor, const struct nth_block *block)
{
    tell_window(visitor, "block.tag", block->region, block->offset, nth_block_user(block));
}

static void tell_chunk(struct visitor *visitor, struct nth_heap *heap,
                       const struct nth_block *block)
{
    struct nth_chunk chunk;
    if (nth_chunk_read(heap, block, &chunk) != NTH_OK) {
        skip_windows(visitor, (block->offset + nth_block_bytes(block)) / NTH_WINDOW_BYTES);
        return;
    }
    tell_inband(visitor, "chunk.info", NTH_FIELD_CHUNK, block, NTH_CHUNK_INFO);
    tell_inband(visitor, "chunk.next", NTH_FIELD_CHUNK, block, NTH_CHUNK_NEXT);
    tell_inband(visitor, "chunk.previous", NTH_FIELD_CHUNK, block, NTH_CHUNK_PREVIOUS);
    for (uint32_t word = 0; word < nth_bucket_words(chunk.bucket); word++) {
        tell_inband(visitor, "chunk.free", NTH_FIELD_CHUNK, block, NTH_CHUNK_FREE + 8u * word);
    }
    tell_spare(visitor, "chunk.spare", block->region,
               block->offset + NTH_CHUNK_FREE + 8u * nth_bucket_words(chunk.bucket),
               block->offset + nth_chunk_first(chunk.bucket));
    for (uint32_t idx = 0; idx < chunk.slots; idx++) {
        struct nth_block slot;
        if (nth_block_peek(heap, block->region, nth_chunk_slot(&chunk, idx), &slot)) {
            tell_inband(visitor, "slot.header", NTH_FIELD_HEADER, &slot, 0);
            tell_tag(visitor, &slot);
        } else {
            skip_windows(visitor, nth_chunk_slot(&chunk, idx) / NTH_WINDOW_BYTES + 1u);
        }
    }
    tell_spare(visitor, "chunk.spare", block->region, nth_chunk_slot(&chunk, chunk.slots),
               block->offset + nth_block_bytes(block));
}

static void tell_block(struct visitor *visitor, struct nth_heap *heap,
                       const struct nth_block *block)
{
    const uint64_t bytes = nth_block_bytes(block);
    tell_inband(visitor, "block.header", NTH_FIELD_HEADER, block, 0);
    tell_tag(visitor, block);
    if (block->state == NTH_BLOCK_FREE) {
        tell_inband(visitor, "free.next", NTH_FIELD_LINK, block, NTH_FREE_NEXT);
        tell_inband(visitor, "free.previous", NTH_FIELD_LINK, block, NTH_FREE_PREVIOUS);
        if (nth_freelist_ends(block)) { /* elsewhere it would be somebody's data */
            tell_inband(visitor, "free.footer", NTH_FIELD_FOOTER, block,
                        bytes - NTH_FREE_FOOTER_BACK);
        }
    } else if (block->state == NTH_BLOCK_CHUNK) {
        tell_chunk(visitor, heap, block);
    } else if (block->user_info) {
        tell_inband(visitor, "block.user_value", NTH_FIELD_USER, block,
                    bytes - NTH_USER_INFO_BYTES);
        tell_inband(visitor, "block.user_info", NTH_FIELD_USER, block, bytes - 8u);
    }
}

/* Where a run of committed pages ends at `offset` and 8 bytes: the border's bytes, and those before
 * the next block. False when there is none behind; *lost when what stands there is damaged. */
static bool tell_border(struct visitor *visitor, const struct nth_region *region, uint64_t *offset,
                        bool *lost)
{
    const uint64_t end = *offset + NTH_BORDER_BYTES;
    const uint64_t page = end / NTH_PAGE_BYTES;
    *lost = end % NTH_PAGE_BYTES != 0;
    if (*lost) {
        return false;
    }
    tell_spare(visitor, "border.spare", region, *offset, end);
    if (page == region->bytes / NTH_PAGE_BYTES) {
        return false;
    }
    if (nth_tag_reaches(region, *offset)) {
        tell_window(visitor, "border.tag", region, *offset, NULL);
    }
    *offset = nth_page_run(region, page, lost) * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
    if (*lost || *offset > region->bytes) {
        return false;
    }
    tell_spare(visitor, "border.spare", region, *offset - NTH_BORDER_BYTES, *offset);
    return true;
}

static void tell_blocks(struct visitor *visitor, struct nth_heap *heap, struct nth_region *region)
{
    uint64_t offset = NTH_SEGMENT_FIRST;
    uint64_t tag_bytes = 0;
    bool lost = false;
    visitor->window = 0;
    while (offset + NTH_BORDER_BYTES <= region->bytes) {
        struct nth_block block;
        if (nth_tag_reaches(region, offset) &&
            nth_tag_starts(*nth_tag_at(region, offset), offset)) {
            if (!nth_block_peek(heap, region, offset, &block)) {
                return;
            }
            tell_block(visitor, heap, &block);
            offset += nth_block_bytes(&block);
        } else if (!tell_border(visitor, region, &offset, &lost)) {
            break;
        }
    }
    if (!lost && nth_region_reach(region, &tag_bytes)) {
        tell_windows(visitor, region, tag_bytes);
    }
}

static void tell_region(struct visitor *visitor, const struct nth_region *region)
{
    tell(visitor, "region", NTH_FIELD_REGION, region, sizeof(*region), NULL);
    if (region->page_map == 0) {
        tell_rest(visitor, "region.spare", region + 1);
        return;
    }
    const size_t words = nth_round_up((size_t)(region->bytes / NTH_PAGE_BYTES), 64u) / 64u;
    const size_t map_bytes = 2u * words * sizeof(uint64_t);
    tell(visitor, "region.pages", NTH_FIELD_PAGES, (void *)(uintptr_t)region->page_map, map_bytes,
         NULL);
    tell_rest(visitor, "region.spare", (char *)(uintptr_t)region->page_map + map_bytes);
}

/* The caller's own block has its header in band as well. */
static void tell_segment(struct visitor *visitor, struct nth_heap *heap, struct nth_region *region)
{
    const bool first = nth_region_number(region) == 0;
    tell_region(visitor, region);
    tell_spare(visitor, "segment.spare", region, 0,
               first ? NTH_MIRROR_SIGNATURE : NTH_SEGMENT_FIRST);
    if (first) {
        tell_spare(visitor, "segment.spare", region, NTH_MIRROR_SIGNATURE + 4u, NTH_MIRROR_FLAGS);
        tell_spare(visitor, "segment.spare", region, NTH_MIRROR_FORCE + 4u, NTH_SEGMENT_FIRST);
    }
    tell_blocks(visitor, heap, region);
}

static void tell_large(struct visitor *visitor, struct nth_heap *heap, struct nth_region *region)
{
    void *data = nth_large_data(region);
    char *end = nth_region_place(region, nth_large_info_offset(region));
    tell_region(visitor, region);
    tell_spare(visitor, "large.spare", region, 0, NTH_LARGE_FIRST);
    tell(visitor, "large.header", NTH_FIELD_HEADER, nth_region_place(region, NTH_LARGE_FIRST), 8u,
         data);
    if (nth_large_user_info(heap, region)) {
        tell(visitor, "large.user_value", NTH_FIELD_USER, end, 8u, data);
        tell(visitor, "large.user_info", NTH_FIELD_USER, end + 8u, 8u, data);
        tell_spare(visitor, "large.spare", region,
                   nth_large_info_offset(region) + NTH_USER_INFO_BYTES,
                   region->committed_pages * NTH_PAGE_BYTES);
    }
}

static void tell_caches(struct visitor *visitor, struct nth_heap *heap)
{
    for (uint64_t idx = 0; idx < heap->state.cache_count; idx++) {
        const struct nth_cache *cache = nth_cache_at(heap, idx);
        if (cache == NULL) {
            return;
        }
        tell(visitor, "cache.owner", NTH_FIELD_CACHE, &cache->owner, sizeof(cache->owner), NULL);
        tell(visitor, "cache.counts", NTH_FIELD_CACHE, cache->counts, sizeof(cache->counts), NULL);
        tell(visitor, "cache.mirror", NTH_FIELD_CACHE, cache->mirror, sizeof(cache->mirror), NULL);
        tell(visitor, "cache.slots", NTH_FIELD_CACHE, cache->slots, sizeof(cache->slots), NULL);
        tell_rest(visitor, "cache.spare", cache + 1);
    }
}

static void tell_heap(struct visitor *visitor, struct nth_heap *heap)
{
    char *base = (char *)(uintptr_t)heap->config.handle;
    tell(visitor, "heap.signature", NTH_FIELD_MIRROR, base + NTH_MIRROR_SIGNATURE, 4u, NULL);
    tell(visitor, "heap.flags", NTH_FIELD_MIRROR, base + NTH_MIRROR_FLAGS, 4u, NULL);
    tell(visitor, "heap.force_flags", NTH_FIELD_MIRROR, base + NTH_MIRROR_FORCE, 4u, NULL);
    tell(visitor, "heap.config", NTH_FIELD_CONFIG, &heap->config, sizeof(heap->config), NULL);
    tell(visitor, "heap.state", NTH_FIELD_STATE, &heap->state, sizeof(heap->state), NULL);
    tell(visitor, "heap.bins", NTH_FIELD_STATE, heap->bins, sizeof(heap->bins), NULL);
    tell(visitor, "heap.bin_map", NTH_FIELD_STATE, heap->bin_map, sizeof(heap->bin_map), NULL);
    tell(visitor, "heap.buckets", NTH_FIELD_STATE, heap->buckets, sizeof(heap->buckets), NULL);
    tell(visitor, "heap.bucket_sums", NTH_FIELD_STATE, heap->bucket_sums, sizeof(heap->bucket_sums),
         NULL);
    tell(visitor, "heap.segments", NTH_FIELD_STATE, heap->segments, sizeof(heap->segments), NULL);
    tell(visitor, "heap.caches", NTH_FIELD_STATE, heap->caches, sizeof(heap->caches), NULL);
    tell_rest(visitor, "heap.spare", heap + 1);
    if (heap->state.directory_pages > 0) {
        tell(visitor, "heap.directory", NTH_FIELD_STATE, (void *)(uintptr_t)heap->config.directory,
             (size_t)heap->state.directory_pages * NTH_PAGE_BYTES, NULL);
    }
}

size_t nth_fields(HANDLE heap, BOOLEAN (*visit)(void *context, const struct nth_field *field),
                  void *context)
{
    struct visitor visitor = {.visit = visit, .context = context};
    struct nth_call call;
    struct nth_heap *found = nth_call_begin(&call, "nth_fields", heap, 0);
    if (found != NULL) {
        nth_call_gate(&call);
        tell_heap(&visitor, found);
        for (uint64_t number = 0; number < found->state.segment_count; number++) {
            struct nth_region *region = nth_segment_at(found, number);
            if (region != NULL) {
                tell_segment(&visitor, found, region);
            }
        }
        for (uint64_t word = found->state.large_first; word != 0;) {
            struct nth_region *region = nth_large_at(found, word);
            if (region == NULL) {
                break;
            }
            tell_large(&visitor, found, region);
            word = region->next;
        }
        tell_caches(&visitor, found);
    }
    nth_call_end_mild(&call);
    return visitor.count;
}

static void tell_leaf(struct visitor *visitor, const NTH_ATOMIC(uintptr_t) * leaf, size_t count)
{
    size_t idx = 0;
    while (idx < count) {
        const bool used = nth_load_relaxed(&leaf[idx]) != 0;
        size_t end = idx + 1;
        while (!used && end < count && nth_load_relaxed(&leaf[end]) == 0) {
            end++;
        }
        tell(visitor, used ? "map.entry" : "map.free", NTH_FIELD_MAP, &leaf[idx],
             (end - idx) * sizeof(uintptr_t), NULL);
        idx = end;
    }
}

size_t nth_process_fields(BOOLEAN (*visit)(void *context, const struct nth_field *field),
                          void *context)
{
    struct visitor visitor = {.visit = visit, .context = context};
    size_t bytes = 0;
    for (uint32_t idx = 0; idx < nth_map.used_max; idx++) {
        const NTH_ATOMIC(uintptr_t) *leaf = nth_load_acquire(&nth_map.root[idx]);
        if (leaf != NULL) {
            tell_leaf(&visitor, leaf, nth_map_leaf_bytes() / sizeof(uintptr_t));
        }
    }
    for (uint32_t idx = 0; nth_slot_table(idx, &bytes) != NULL; idx++) {
        tell(&visitor, "heaps.table", NTH_FIELD_MAP, nth_slot_table(idx, &bytes), bytes, NULL);
    }
    return visitor.count;
}
