/* SPDX-License-Identifier: MIT
 *
 * How bytes are changed, and the writer. Calls nothing. */
#include "damage.h"

#include <string.h>

static const struct fault_place_info places[] = {
#define FAULT_PLACE(name, at, field, number, what)                                                 \
    {#name, FAULT_AT_##at, (field), (number), (what)},
#include "place.def"
};

const struct fault_place_info *fault_place_info(unsigned place)
{
    return place < sizeof(places) / sizeof(places[0]) ? &places[place] : NULL;
}

enum fault_change fault_change_of(const struct fault_damage_info *info, unsigned choice)
{
    static const char *const names[FAULT_CHANGE_COUNT] = {
#define FAULT_CHANGE(name, what) #name,
#include "change.def"
    };
    unsigned change = 0;
    if (strcmp(info->change, "FORGE_FLIP") == 0) {
        return FAULT_CHANGE_FLIP;
    }
    if (strcmp(info->change, "ANY") == 0 || strcmp(info->change, "FORGE") == 0) {
        return (enum fault_change)(choice % FAULT_CHANGE_ANY_COUNT);
    }
    if (strcmp(info->change, "ALL") == 0) {
        return (enum fault_change)(choice % FAULT_CHANGE_ALL_COUNT);
    }
    while (change < FAULT_CHANGE_COUNT && strcmp(info->change, names[change]) != 0) {
        change++;
    }
    return (enum fault_change)change;
}

bool fault_damage_is_forged(const struct fault_damage_info *info)
{
    return strncmp(info->change, "FORGE", strlen("FORGE")) == 0;
}

static uint64_t number_of(const uint8_t *bytes, size_t len)
{
    uint64_t number = 0;
    for (size_t idx = 0; idx < len; idx++) {
        number |= (uint64_t)bytes[idx] << (8u * idx);
    }
    return number;
}

/* All bits of `len` bytes. */
static uint64_t ones_of(size_t len)
{
    return len == FAULT_UNIT_BYTES ? UINT64_MAX : (1ull << (8u * len)) - 1u;
}

/* Bit number `bit`, counted among those set in `mask`, and around again. */
static uint64_t bit_of(uint64_t mask, unsigned bit)
{
    unsigned count = 0;
    for (uint64_t rest = mask; rest != 0; rest &= rest - 1u) {
        count++;
    }
    for (unsigned left = count == 0 ? 0 : bit % count; left > 0; left--) {
        mask &= mask - 1u;
    }
    return mask & (~mask + 1u);
}

static uint64_t changed(enum fault_change change, const struct fault_unit *unit, uint64_t old,
                        uint64_t mask)
{
    switch (change) {
    case FAULT_CHANGE_FLIP:
        return old ^ bit_of(mask, unit->bit);
    case FAULT_CHANGE_ZERO:
    case FAULT_CHANGE_NUL:
        return 0;
    case FAULT_CHANGE_ONES:
        return UINT64_MAX;
    case FAULT_CHANGE_PLUS:
        return old + (mask & (~mask + 1u));
    case FAULT_CHANGE_MINUS:
        return old - (mask & (~mask + 1u));
    case FAULT_CHANGE_NEIGHBOUR:
    case FAULT_CHANGE_OTHER_HEAP:
    case FAULT_CHANGE_STALE:
        return number_of(unit->other, unit->len);
    case FAULT_CHANGE_SELF:
    case FAULT_CHANGE_LIVE:
    case FAULT_CHANGE_OUTSIDE:
        return unit->address;
    case FAULT_CHANGE_TEXT:
        return 0x5041454845594D41u; /* AMYEHEAP */
    case FAULT_CHANGE_KEEP:
    case FAULT_CHANGE_COUNT:
    default:
        return old;
    }
}

bool fault_change_apply(enum fault_change change, struct fault_unit *unit)
{
    const uint64_t all = ones_of(unit->len);
    const uint64_t mask = unit->mask == 0 ? all : unit->mask & all;
    const uint64_t old = number_of(unit->bytes, unit->len);
    const uint64_t wanted = (old & ~mask) | (changed(change, unit, old, mask) & mask);
    for (size_t idx = 0; idx < unit->len; idx++) {
        unit->bytes[idx] = (uint8_t)(wanted >> (8u * idx));
    }
    return wanted != old;
}

bool fault_reason_is_of(const char *reasons, const char *reason)
{
    const size_t len = strlen(reason);
    for (const char *at = reasons; *at != '\0'; at += *at == '|') {
        const size_t word = strcspn(at, "|");
        if (word == len && memcmp(at, reason, len) == 0) {
            return true;
        }
        at += word;
    }
    return false;
}

void fault_write(fault_poke poke, uintptr_t address, const uint8_t *bytes, size_t len)
{
    for (size_t idx = 0; idx < len; idx++) {
        poke((void *)(address + idx), bytes[idx]);
    }
}
