/* SPDX-License-Identifier: MIT
 *
 * Access to memory in band, headers, references. Calls region and report. */
#include "block.h"

#include "report.h"

/* Body of a header into its fields; false when they cannot be. */
static bool body_decode(uint64_t body, struct nth_block *block)
{
    block->units = 0;
    block->slack = 0;
    block->bucket = 0;
    block->slot = 0;
    switch (block->state) {
    case NTH_BLOCK_FREE:
        block->units = body;
        return true;
    case NTH_BLOCK_BUSY:
    case NTH_BLOCK_CHUNK:
        block->units = body & NTH_BUSY_UNITS_MAX;
        block->slack = (uint32_t)(body >> 20) & NTH_SLACK_MAX;
        return body >> 34 == 0;
    case NTH_BLOCK_SLOT_FREE:
    case NTH_BLOCK_SLOT_BUSY:
        block->bucket = (uint32_t)body & 0x7Fu;
        block->slot = (uint32_t)(body >> 7) & 0x1FFu;
        block->slack = (uint32_t)(body >> 16) & NTH_SLACK_MAX;
        if (block->bucket >= NTH_BUCKET_COUNT) {
            return false;
        }
        block->units = nth_bucket_units(block->bucket);
        return true;
    case NTH_BLOCK_NONE:
    case NTH_BLOCK_LARGE:
    default:
        return false;
    }
}

static uint64_t body_encode(const struct nth_block *block)
{
    if (block->state == NTH_BLOCK_FREE) {
        return block->units;
    }
    if (block->state == NTH_BLOCK_SLOT_FREE || block->state == NTH_BLOCK_SLOT_BUSY) {
        return (uint64_t)block->slack << 16 | (uint64_t)block->slot << 7 | block->bucket;
    }
    return (uint64_t)block->slack << 20 | block->units;
}

static bool header_decode(uint64_t value, uint8_t tag, struct nth_block *block)
{
    block->state = (enum nth_block_state)(value & NTH_HEADER_STATE);
    block->user_info = (value & NTH_HEADER_USER_INFO) != 0;
    const uint64_t generation = (value >> NTH_HEADER_GENERATION_SHIFT) & 0xFu;
    const bool busy = (tag & NTH_TAG_BUSY) != 0;
    if (!body_decode(value >> NTH_HEADER_BODY_SHIFT, block) ||
        generation != (tag & NTH_TAG_GENERATION) || busy != nth_block_is_busy(block->state)) {
        return false;
    }
    const uint64_t overhead =
        NTH_HEADER_BYTES + block->slack + (block->user_info ? NTH_USER_INFO_BYTES : 0u);
    const uint64_t bytes = nth_block_bytes(block);
    return bytes >= NTH_BLOCK_MIN_BYTES && overhead <= bytes &&
           bytes <= block->region->bytes - block->offset;
}

bool nth_block_peek(const struct nth_heap *heap, struct nth_region *region, uint64_t offset,
                    struct nth_block *block)
{
    const uint8_t tag = *nth_tag_at(region, offset);
    uint64_t value = 0;
    block->region = region;
    block->offset = offset;
    return nth_tag_starts(tag, offset) && nth_inband_open(heap, region, offset, &value) &&
           header_decode(value, tag, block);
}

enum nth_status nth_block_read(struct nth_heap *heap, struct nth_region *region, uint64_t offset,
                               struct nth_block *block)
{
    if (!nth_tag_starts(*nth_tag_at(region, offset), offset)) {
        nth_note(NTH_CORRUPT_BLOCK_MAP, nth_region_place(region, offset + NTH_HEADER_BYTES),
                 "block.tag");
        return NTH_CORRUPT;
    }
    if (!nth_block_peek(heap, region, offset, block)) {
        nth_note(NTH_CORRUPT_BLOCK_HEADER, nth_region_place(region, offset + NTH_HEADER_BYTES),
                 "block.header");
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

void nth_block_write(const struct nth_heap *heap, const struct nth_block *block)
{
    uint8_t *tag = nth_tag_at(block->region, block->offset);
    *tag = nth_tag_next(*tag, block->offset, nth_block_is_busy(block->state));
    const uint64_t value = body_encode(block) << NTH_HEADER_BODY_SHIFT |
                           (block->user_info ? NTH_HEADER_USER_INFO : 0u) |
                           (uint64_t)(*tag & NTH_TAG_GENERATION) << NTH_HEADER_GENERATION_SHIFT |
                           (uint64_t)block->state;
    nth_inband_put(heap, block->region, block->offset, value);
}

enum nth_status nth_block_next(struct nth_heap *heap, struct nth_region *region, uint64_t end,
                               bool *present)
{
    const uint64_t border = end + NTH_BORDER_BYTES;
    const bool inside = border < region->bytes;
    bool damaged = false;
    (void)heap;
    /* Only in front of a page can there be a border instead of a block. */
    const bool starts =
        inside && nth_tag_reaches(region, end) && nth_tag_starts(*nth_tag_at(region, end), end);
    const bool wanted = inside && (border % NTH_PAGE_BYTES != 0 ||
                                   nth_page_committed(region, border / NTH_PAGE_BYTES, &damaged));
    *present = starts && wanted && !damaged;
    if (damaged) {
        nth_note(NTH_CORRUPT_PAGE_MAP, NULL, "region.pages");
        return NTH_CORRUPT;
    }
    if (starts != wanted) {
        nth_note(NTH_CORRUPT_BLOCK_MAP, nth_region_place(region, end + NTH_HEADER_BYTES),
                 "block.tag");
        return NTH_CORRUPT;
    }
    return NTH_OK;
}

/* A call stays mostly in one segment: what was looked up last is tried first. */
static struct nth_region *segment_of(const struct nth_heap *heap, uint64_t address)
{
    struct nth_call *call = nth_self.call;
    struct nth_region *known = call->region;
    if (NTH_LIKELY(known != NULL && address - known->base < known->bytes)) {
        return known;
    }
    struct nth_region *found =
        address > UINTPTR_MAX ? NULL : nth_region_of((void *)(uintptr_t)address);
    if (found == NULL || nth_region_heap(found) != heap || !nth_region_is(found, NTH_SEGMENT)) {
        return NULL;
    }
    call->region = found;
    return found;
}

enum nth_status nth_reference_resolve(struct nth_heap *heap, uint64_t reference,
                                      struct nth_region **region, uint64_t *offset)
{
    const uint64_t address = nth_place_address(reference);
    struct nth_region *found = segment_of(heap, address);
    if (found == NULL || !nth_tag_reaches(found, address - found->base)) {
        return NTH_CORRUPT;
    }
    *region = found;
    *offset = address - found->base;
    return *offset % NTH_UNIT_BYTES == NTH_SEGMENT_FIRST % NTH_UNIT_BYTES ? NTH_OK : NTH_CORRUPT;
}

NTH_UNWATCHED void nth_poke(PVOID address, uint8_t value)
{
    *(volatile uint8_t *)address = value;
}

NTH_UNWATCHED uint8_t nth_peek(LPCVOID address)
{
    return *(const volatile uint8_t *)address;
}
