/* SPDX-License-Identifier: MIT
 *
 * The map from addresses to names. Calls the C library only. */
#include "trace/names.h"

#include <stdlib.h>
#include <string.h>

#include "run/check.h"

#define ROOM_FIRST 256u

/* Where a search for `address` begins. The product's high half depends on all of its bits. */
static size_t home_of(const struct rig_names *names, uint64_t address)
{
    const uint32_t folded = (uint32_t)(address >> 4) ^ (uint32_t)(address >> 32);
    return (size_t)(folded * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (names->room - 1);
}

struct rig_names_entry *rig_names_find(const struct rig_names *names, uint64_t address)
{
    if (names->room == 0) {
        return NULL;
    }
    size_t at = home_of(names, address);
    while (names->entries[at].address != address) {
        if (names->entries[at].address == 0) {
            return NULL;
        }
        at = (at + 1) & (names->room - 1);
    }
    return &names->entries[at];
}

static void entry_place(struct rig_names *names, const struct rig_names_entry *entry)
{
    size_t at = home_of(names, entry->address);
    while (names->entries[at].address != 0) {
        at = (at + 1) & (names->room - 1);
    }
    names->entries[at] = *entry;
}

static bool room_double(struct rig_names *names)
{
    struct rig_names grown = {.room = names->room == 0 ? ROOM_FIRST : names->room * 2};
    grown.entries = calloc(grown.room, sizeof(*grown.entries));
    if (grown.entries == NULL) {
        return false;
    }
    for (size_t idx = 0; idx < names->room; idx++) {
        if (names->entries[idx].address != 0) {
            entry_place(&grown, &names->entries[idx]);
        }
    }
    free(names->entries);
    names->entries = grown.entries;
    names->room = grown.room;
    return true;
}

bool rig_names_add(struct rig_names *names, uint64_t address, uint32_t name)
{
    RIG_CHECK(address != 0);
    if (names->count >= names->room / 2 && !room_double(names)) {
        return false;
    }
    entry_place(names, &(struct rig_names_entry){.address = address, .name = name});
    names->count++;
    return true;
}

/* The entries behind the hole that would not be found any more move up. */
void rig_names_remove(struct rig_names *names, struct rig_names_entry *entry)
{
    const size_t mask = names->room - 1;
    size_t hole = (size_t)(entry - names->entries);
    for (size_t at = (hole + 1) & mask; names->entries[at].address != 0; at = (at + 1) & mask) {
        const size_t home = home_of(names, names->entries[at].address);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            names->entries[hole] = names->entries[at];
            hole = at;
        }
    }
    names->entries[hole].address = 0;
    names->count--;
}

void rig_names_free(struct rig_names *names)
{
    free(names->entries);
    memset(names, 0, sizeof(*names));
}
