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
#include "walk.h"

struct visitor {
    BOOLEAN (*visit)(void *context, const struct nth_field *field);
    void *context;
    size_t count;
    bool stopped;
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

static void tell_tag(struct visitor *visitor, const struct nth_block *block)
{
    tell(visitor, "block.tag", NTH_FIELD_TAG, nth_tag_at(block->region, block->offset), 1u,
         nth_block_user(block));
}

static void tell_chunk(struct visitor *visitor, struct nth_heap *heap,
                       const struct nth_block *block)
{
    struct nth_chunk chunk;
    if (nth_chunk_read(heap, block, &chunk) != NTH_OK) {
        return;
    }
    tell_inband(visitor, "chunk.info", NTH_FIELD_CHUNK, block, NTH_CHUNK_INFO);
    tell_inband(visitor, "chunk.next", NTH_FIELD_CHUNK, block, NTH_CHUNK_NEXT);
    tell_inband(visitor, "chunk.previous", NTH_FIELD_CHUNK, block, NTH_CHUNK_PREVIOUS);
    for (uint32_t word = 0; word < nth_bucket_words(chunk.bucket); word++) {
        tell_inband(visitor, "chunk.free", NTH_FIELD_CHUNK, block, NTH_CHUNK_FREE + 8u * word);
    }
    for (uint32_t idx = 0; idx < chunk.slots; idx++) {
        struct nth_block slot;
        if (nth_block_peek(heap, block->region, nth_chunk_slot(&chunk, idx), &slot)) {
            tell_inband(visitor, "slot.header", NTH_FIELD_HEADER, &slot, 0);
            tell_tag(visitor, &slot);
        }
    }
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
        tell_inband(visitor, "free.footer", NTH_FIELD_FOOTER, block, bytes - NTH_FREE_FOOTER_BACK);
    } else if (block->state == NTH_BLOCK_CHUNK) {
        tell_chunk(visitor, heap, block);
    } else if (block->user_info) {
        tell_inband(visitor, "block.user_value", NTH_FIELD_USER, block,
                    bytes - NTH_USER_INFO_BYTES);
        tell_inband(visitor, "block.user_info", NTH_FIELD_USER, block, bytes - 8u);
    }
}

static void tell_blocks(struct visitor *visitor, struct nth_heap *heap, struct nth_region *region)
{
    uint64_t offset = NTH_SEGMENT_FIRST;
    while (offset + NTH_BORDER_BYTES < region->bytes) {
        struct nth_block block;
        bool damaged = false;
        if (nth_tag_reaches(region, offset) &&
            nth_tag_starts(*nth_tag_at(region, offset), offset)) {
            if (!nth_block_peek(heap, region, offset, &block)) {
                return;
            }
            tell_block(visitor, heap, &block);
            offset += nth_block_bytes(&block);
            continue;
        }
        const uint64_t page = (offset + NTH_BORDER_BYTES) / NTH_PAGE_BYTES;
        if ((offset + NTH_BORDER_BYTES) % NTH_PAGE_BYTES != 0 ||
            page == region->bytes / NTH_PAGE_BYTES) {
            return;
        }
        tell(visitor, "border.tag", NTH_FIELD_TAG, nth_tag_at(region, offset), 1u, NULL);
        offset = nth_page_run(region, page, &damaged) * NTH_PAGE_BYTES + NTH_BORDER_BYTES;
        if (damaged) {
            return;
        }
    }
}

static void tell_region(struct visitor *visitor, const struct nth_region *region)
{
    tell(visitor, "region", NTH_FIELD_REGION, region, sizeof(*region), NULL);
    if (region->page_map != 0) {
        const size_t words = nth_round_up((size_t)(region->bytes / NTH_PAGE_BYTES), 64u) / 64u;
        tell(visitor, "region.pages", NTH_FIELD_PAGES, (void *)(uintptr_t)region->page_map,
             2u * words * sizeof(uint64_t), NULL);
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
        tell(visitor, "cache.slots", NTH_FIELD_CACHE, cache->slots, sizeof(cache->slots), NULL);
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
    tell(visitor, "heap.segments", NTH_FIELD_STATE, heap->segments, sizeof(heap->segments), NULL);
    tell(visitor, "heap.caches", NTH_FIELD_STATE, heap->caches, sizeof(heap->caches), NULL);
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
                tell_region(&visitor, region);
                tell_blocks(&visitor, found, region);
            }
        }
        for (uint64_t word = found->state.large_first; word != 0;) {
            struct nth_region *region = nth_large_at(found, word);
            if (region == NULL) {
                break;
            }
            tell_region(&visitor, region);
            tell(&visitor, "large.header", NTH_FIELD_HEADER,
                 nth_region_place(region, NTH_LARGE_FIRST), 8u, nth_large_data(region));
            word = region->next;
        }
        tell_caches(&visitor, found);
    }
    nth_call_end_mild(&call);
    return visitor.count;
}
