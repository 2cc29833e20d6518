/* SPDX-License-Identifier: MIT
 *
 * A map from addresses to the names of the blocks that live there. Open addressing, at most half
 * full; 16 bytes a place. Calls the C library only. */
#ifndef RIG_TRACE_NAMES_H
#define RIG_TRACE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rig_names_entry {
    uint64_t address; /* 0: nothing here */
    uint32_t name;
};

/* All zero: empty. */
struct rig_names {
    struct rig_names_entry *entries;
    size_t room; /* 0 or a power of two */
    size_t count;
};

/* The entry of `address`, which is not 0, or NULL. It is good until the map is changed.
 * Units: none. Errors: none. */
struct rig_names_entry *rig_names_find(const struct rig_names *names, uint64_t address);

/* Add `address`, which is neither 0 nor there. Units: none. Errors: false: out of memory. */
bool rig_names_add(struct rig_names *names, uint64_t address, uint32_t name);

/* Remove an entry that find gave. Units: none. Errors: none. */
void rig_names_remove(struct rig_names *names, struct rig_names_entry *entry);

/* Units: none. Errors: none. */
void rig_names_free(struct rig_names *names);

#endif
