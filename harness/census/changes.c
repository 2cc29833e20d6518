/* SPDX-License-Identifier: MIT
 *
 * Every change of a state: which there are, which bytes each writes, and its name as text. */
#include "census.h"

#include "program/random.h"
#include "run/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BITS (RIG_CENSUS_CELL_BYTES * 8u)

/* ---- Which there are ---- */

struct list {
    struct rig_census_change *changes;
    size_t count;
    size_t room;
};

static void add(const struct rig_census_state *state, struct list *list, unsigned kind,
                uint32_t field, uint32_t at)
{
    if (list->count == list->room) {
        list->room = list->room * 2 + 4096;
        list->changes = realloc(list->changes, list->room * sizeof(list->changes[0]));
        RIG_CHECK(list->changes != NULL);
    }
    struct rig_census_change *change = &list->changes[list->count];
    *change = (struct rig_census_change){.field = field, .at = at, .kind = (uint8_t)kind};
    if (kind == RIG_CHANGE_RANDOM) {
        change->target = (uint16_t)(at % state->target_count);
        list->count++;
        return;
    }
    /* What belongs to a block is looked at through that block or the live one next to it; all else
     * through one block after the other. */
    const uintptr_t block = (uintptr_t)state->fields[field].field.block;
    uintptr_t least = UINTPTR_MAX;
    change->target =
        (uint16_t)((state->fields[field].first + at) / RIG_CENSUS_CELL_BYTES % state->target_count);
    for (uint32_t idx = 0; block != 0 && idx < state->target_count; idx++) {
        const uintptr_t there = state->targets[idx].address;
        const uintptr_t distance = there > block ? there - block : block - there;
        if (distance < least) {
            least = distance;
            change->target = (uint16_t)idx;
        }
    }
    list->count++;
}

/* A change that writes what is there already is none. */
static void add_if(const struct rig_census_state *state, struct list *list, unsigned kind,
                   uint32_t field, uint32_t at, struct rig_census_poke *pokes)
{
    add(state, list, kind, field, at);
    if (rig_census_pokes(state, &list->changes[list->count - 1], 0, pokes) == 0) {
        list->count--;
    }
}

static void add_values(const struct rig_census_state *state, struct list *list, uint32_t idx,
                       uint32_t at, struct rig_census_poke *pokes)
{
    for (unsigned kind = RIG_CHANGE_ZERO; kind <= RIG_CHANGE_OTHER; kind++) {
        if (at != RIG_CENSUS_WHOLE || (kind != RIG_CHANGE_PLUS && kind != RIG_CHANGE_MINUS)) {
            add_if(state, list, kind, idx, at, pokes);
        }
    }
}

static void add_field(const struct rig_census_state *state, struct list *list, uint32_t idx,
                      struct rig_census_poke *pokes)
{
    const struct rig_census_field *field = &state->fields[idx];
    const uint32_t bytes = (uint32_t)field->field.bytes;
    for (uint32_t bit = 0; bit < bytes * 8u; bit++) {
        add(state, list, RIG_CHANGE_BIT, idx, bit);
    }
    for (uint32_t high = 1; field->header && high < HEADER_BITS; high++) {
        for (uint32_t low = 0; low < high; low++) {
            add(state, list, RIG_CHANGE_PAIR, idx, low + HEADER_BITS * high);
        }
    }
    for (uint32_t at = 0; at < bytes; at += RIG_CENSUS_CELL_BYTES) {
        add_values(state, list, idx, at, pokes);
    }
    if (bytes > RIG_CENSUS_CELL_BYTES) {
        add_values(state, list, idx, RIG_CENSUS_WHOLE, pokes);
    }
    for (uint32_t other = 0; field->header && other < state->field_count; other++) {
        if (other != idx && state->fields[other].header) {
            add_if(state, list, RIG_CHANGE_REPLAY, idx, other, pokes);
        }
    }
}

struct rig_census_change *rig_census_changes(const struct rig_census_state *state,
                                             uint32_t random_count, size_t *count)
{
    struct list list = {NULL, 0, 0};
    struct rig_census_poke *pokes = calloc(rig_census_pokes_max(state), sizeof(*pokes));
    RIG_CHECK(pokes != NULL);
    for (uint32_t idx = 0; idx < state->field_count; idx++) {
        add_field(state, &list, idx, pokes);
    }
    for (uint32_t number = 0; number < random_count; number++) {
        add(state, &list, RIG_CHANGE_RANDOM, 0, number);
    }
    free(pokes);
    *count = list.count;
    return list.changes;
}

/* ---- Which bytes ---- */

/* What is to be written over [at, at + bytes) of a field; NULL when there is no such value. */
static const uint8_t *source(const struct rig_census_state *state,
                             const struct rig_census_change *change,
                             const struct rig_census_field *field, size_t at, size_t bytes)
{
    const struct rig_census_field *sibling = &state->fields[field->sibling];
    switch (change->kind) {
    case RIG_CHANGE_STALE:
        return state->stale + field->first + at;
    case RIG_CHANGE_OTHER:
        return field->other == RIG_CENSUS_WHOLE ? NULL : state->other + field->other + at;
    case RIG_CHANGE_REPLAY:
        return state->image + state->fields[change->at].first;
    default:
        break;
    }
    /* SIBLING: the next of its name, or in a field that has none the next word. */
    if (sibling != field && at + bytes <= sibling->field.bytes) {
        return state->image + sibling->first + at;
    }
    return at + 2 * bytes <= field->field.bytes ? state->image + field->first + at + bytes : NULL;
}

static void step_by_one(uint8_t *bytes, size_t count, bool up)
{
    for (size_t idx = 0; idx < count; idx++) {
        bytes[idx] = (uint8_t)(up ? bytes[idx] + 1u : bytes[idx] - 1u);
        if (bytes[idx] != (up ? 0x00u : 0xFFu)) {
            break;
        }
    }
}

/* The new bytes of a span of a field, in `out`. False when the change has none for it. */
static bool new_bytes(const struct rig_census_state *state, const struct rig_census_change *change,
                      const struct rig_census_field *field, size_t at, size_t bytes, uint8_t *out)
{
    const uint8_t *from;
    memcpy(out, state->image + field->first + at, bytes);
    switch (change->kind) {
    case RIG_CHANGE_ZERO:
        memset(out, 0, bytes);
        return true;
    case RIG_CHANGE_ONES:
        memset(out, 0xFF, bytes);
        return true;
    case RIG_CHANGE_PLUS:
    case RIG_CHANGE_MINUS:
        step_by_one(out, bytes, change->kind == RIG_CHANGE_PLUS);
        return true;
    default:
        from = source(state, change, field, at, bytes);
        if (from != NULL &&
            (change->kind != RIG_CHANGE_STALE || state->is_stale[field->first + at] != 0)) {
            memcpy(out, from, bytes);
        }
        return from != NULL;
    }
}

static size_t value_pokes(const struct rig_census_state *state,
                          const struct rig_census_change *change, struct rig_census_poke *pokes)
{
    const struct rig_census_field *field = &state->fields[change->field];
    const bool whole = change->at == RIG_CENSUS_WHOLE;
    const bool replay = change->kind == RIG_CHANGE_REPLAY;
    const size_t first = whole || replay ? 0 : change->at;
    const size_t end = whole ? field->field.bytes : first + RIG_CENSUS_CELL_BYTES;
    size_t count = 0;
    for (size_t at = first; at < end && at < field->field.bytes; at += RIG_CENSUS_CELL_BYTES) {
        const size_t left = field->field.bytes - at;
        const size_t bytes = left < RIG_CENSUS_CELL_BYTES ? left : RIG_CENSUS_CELL_BYTES;
        uint8_t out[RIG_CENSUS_CELL_BYTES];
        if (!new_bytes(state, change, field, at, bytes, out)) {
            continue;
        }
        for (size_t idx = 0; idx < bytes; idx++) {
            if (out[idx] != state->image[field->first + at + idx]) {
                pokes[count++] =
                    (struct rig_census_poke){(uint8_t *)field->field.address + at + idx, out[idx]};
            }
        }
    }
    return count;
}

static uint32_t field_at(const struct rig_census_state *state, uint32_t byte)
{
    uint32_t low = 0;
    uint32_t high = state->field_count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (state->fields[middle].first <= byte) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A run of random bytes from a random byte of metadata on; what in it is no metadata stays. */
static size_t random_pokes(const struct rig_census_state *state,
                           const struct rig_census_change *change, uint32_t seed,
                           struct rig_census_poke *pokes)
{
    struct rig_rng random = rig_rng_from(seed * 2654435761u + change->at);
    const uint32_t start = rig_rng_below(&random, state->bytes);
    const size_t bytes = 1u + rig_rng_below(&random, RIG_CENSUS_BYTES_MAX);
    const struct rig_census_field *field = &state->fields[field_at(state, start)];
    const uintptr_t from = (uintptr_t)field->field.address + (start - field->first);
    uint8_t values[RIG_CENSUS_BYTES_MAX];
    size_t count = 0;
    for (size_t idx = 0; idx < bytes; idx++) {
        values[idx] = (uint8_t)rig_rng_below(&random, 256);
    }
    for (uint32_t other = 0; other < state->field_count; other++) {
        const struct rig_census_field *hit = &state->fields[other];
        const uintptr_t base = (uintptr_t)hit->field.address;
        for (size_t idx = 0; base < from + bytes && from < base + hit->field.bytes && idx < bytes;
             idx++) {
            if (from + idx >= base && from + idx < base + hit->field.bytes &&
                state->image[hit->first + (from + idx - base)] != values[idx]) {
                pokes[count++] = (struct rig_census_poke){
                    (uint8_t *)hit->field.address + (from + idx - base), values[idx]};
            }
        }
    }
    return count;
}

static struct rig_census_poke flip(const struct rig_census_state *state,
                                   const struct rig_census_field *field, uint32_t bit)
{
    const uint32_t byte = bit / 8u;
    return (struct rig_census_poke){
        (uint8_t *)field->field.address + byte,
        (uint8_t)(state->image[field->first + byte] ^ (1u << bit % 8u))};
}

size_t rig_census_pokes(const struct rig_census_state *state,
                        const struct rig_census_change *change, uint32_t seed,
                        struct rig_census_poke *pokes)
{
    const struct rig_census_field *field = &state->fields[change->field];
    const uint32_t low = change->at % HEADER_BITS;
    const uint32_t high = change->at / HEADER_BITS;
    switch (change->kind) {
    case RIG_CHANGE_NONE:
        return 0;
    case RIG_CHANGE_BIT:
        pokes[0] = flip(state, field, change->at);
        return 1;
    case RIG_CHANGE_PAIR:
        pokes[0] = flip(state, field, low);
        pokes[1] = flip(state, field, high);
        if (pokes[0].address == pokes[1].address) {
            pokes[0].value ^= (uint8_t)(1u << high % 8u);
            return 1;
        }
        return 2;
    case RIG_CHANGE_RANDOM:
        return random_pokes(state, change, seed, pokes);
    default:
        return value_pokes(state, change, pokes);
    }
}

size_t rig_census_pokes_max(const struct rig_census_state *state)
{
    size_t most = RIG_CENSUS_BYTES_MAX;
    for (uint32_t idx = 0; idx < state->field_count; idx++) {
        most = state->fields[idx].field.bytes > most ? state->fields[idx].field.bytes : most;
    }
    return most;
}

/* ---- As text ---- */

void rig_census_change_print(const struct rig_census_state *state,
                             const struct rig_census_change *change,
                             char out[RIG_CENSUS_NAME_BYTES])
{
    const struct rig_census_field *field = &state->fields[change->field];
    const char *kind = rig_census_kind_name(change->kind);
    int len = 0;
    if (change->kind == RIG_CHANGE_RANDOM || change->kind == RIG_CHANGE_NONE) {
        len = snprintf(out, RIG_CENSUS_NAME_BYTES, "any:%s", kind);
    } else {
        len = snprintf(out, RIG_CENSUS_NAME_BYTES, "%s#%u:%s", field->field.name, field->number,
                       kind);
    }
    char *end = out + len;
    const size_t left = RIG_CENSUS_NAME_BYTES - (size_t)len;
    if (change->kind == RIG_CHANGE_PAIR) {
        (void)snprintf(end, left, "%u.%u", change->at % HEADER_BITS, change->at / HEADER_BITS);
    } else if (change->at == RIG_CENSUS_WHOLE) {
        (void)snprintf(end, left, "*");
    } else if (change->kind == RIG_CHANGE_REPLAY) {
        const struct rig_census_field *other = &state->fields[change->at];
        (void)snprintf(end, left, "=%s#%u", other->field.name, other->number);
    } else if (change->kind != RIG_CHANGE_NONE) {
        (void)snprintf(end, left, "%u", change->at);
    }
}

bool rig_census_change_parse(const struct rig_census_state *state, const char *text,
                             struct rig_census_change *change)
{
    size_t count = 0;
    char name[RIG_CENSUS_NAME_BYTES];
    uint32_t random_max = 0;
    if (strncmp(text, "any:none", 8) == 0) {
        *change = (struct rig_census_change){.kind = RIG_CHANGE_NONE};
        return text[8] == '\0';
    }
    if (strncmp(text, "any:random", 10) == 0) {
        random_max = (uint32_t)strtoul(text + 10, NULL, 10) + 1u;
    }
    struct rig_census_change *all = rig_census_changes(state, random_max, &count);
    bool found = false;
    for (size_t idx = 0; !found && idx < count; idx++) {
        rig_census_change_print(state, &all[idx], name);
        found = strcmp(name, text) == 0;
        *change = all[idx];
    }
    free(all);
    return found;
}
