/* SPDX-License-Identifier: MIT
 *
 * Sizes of records. Every sum here may wrap around on purpose, so all of them go through two
 * functions that say so. Calls nothing. */
#include "program/size.h"

#include <assert.h>
#include <limits.h>

#define WORD_BITS (sizeof(size_t) * CHAR_BIT)

static const uint64_t boundary_bytes[] = {
#define RIG_BOUNDARY(bytes, why) (bytes),
#include "program/boundary.def"
};

static const char *const boundary_whys[] = {
#define RIG_BOUNDARY(bytes, why) (why),
#include "program/boundary.def"
};

#define BOUNDARY_COUNT (sizeof(boundary_bytes) / sizeof(boundary_bytes[0]))
#define BOUNDARY_WRAP 64u /* part of the format: must not grow with the table */

static_assert(BOUNDARY_COUNT >= BOUNDARY_WRAP, "a number past the table means one inside");
static_assert(BOUNDARY_COUNT <= 256, "a boundary's number is a byte");
static_assert(RIG_SIZE_KIND_COUNT == 16, "a kind is four bits, and all are used");

static size_t wrap_add(size_t left, size_t right)
{
    size_t sum = 0;
    (void)__builtin_add_overflow(left, right, &sum);
    return sum;
}

static size_t wrap_sub(size_t left, size_t right)
{
    size_t difference = 0;
    (void)__builtin_sub_overflow(left, right, &difference);
    return difference;
}

/* `bytes` plus a signed step of one or two bytes, given in two's complement. */
static size_t step_byte(size_t bytes, unsigned step)
{
    return step < 0x80u ? wrap_add(bytes, step) : wrap_sub(bytes, 0x100u - step);
}

static size_t step_word(size_t bytes, unsigned step)
{
    return step < 0x8000u ? wrap_add(bytes, step) : wrap_sub(bytes, 0x10000u - step);
}

static size_t pages(size_t value, size_t detail)
{
    const size_t count = (value & 0x7FFu) >> (value >> 11);
    return count == 0 ? 0 : count * RIG_PAGE_BYTES - detail;
}

unsigned rig_record_hi(const struct rig_record *record)
{
    return (unsigned)record->value >> 8;
}

enum rig_size_kind rig_record_size_kind(const struct rig_record *record)
{
    return (enum rig_size_kind)(record->size_class & 15u);
}

unsigned rig_size_boundary_count(void)
{
    return (unsigned)BOUNDARY_COUNT;
}

static unsigned boundary_row(unsigned idx)
{
    return idx < BOUNDARY_COUNT ? idx : idx % BOUNDARY_WRAP;
}

size_t rig_size_boundary(unsigned idx)
{
    const uint64_t bytes = boundary_bytes[boundary_row(idx)];
    return bytes < SIZE_MAX ? (size_t)bytes : SIZE_MAX;
}

const char *rig_size_boundary_why(unsigned idx)
{
    return boundary_whys[boundary_row(idx)];
}

size_t rig_size_resolve(const struct rig_record *record, const struct rig_size_facts *facts)
{
    const size_t value = record->value;
    const unsigned hi = rig_record_hi(record);
    const unsigned lo = record->value & 0xFFu;
    const unsigned detail = (unsigned)record->size_class >> 4;
    switch (rig_record_size_kind(record)) {
    case RIG_SIZE_SMALL:
    case RIG_SIZE_SMALL2:
    case RIG_SIZE_SMALL3:
        return value % 1024u;
    case RIG_SIZE_BOUNDARY:
    case RIG_SIZE_BOUNDARY2:
        return step_byte(rig_size_boundary(hi), lo);
    case RIG_SIZE_OF_SLOT:
        return step_byte(facts->slot_bytes, lo);
    case RIG_SIZE_LAST:
        return step_word(facts->last_bytes, record->value);
    case RIG_SIZE_HOLE:
        return step_byte(facts->hole_bytes, lo);
    case RIG_SIZE_LINEAR:
        return (detail + 1u) * value;
    case RIG_SIZE_POWER:
        return step_byte((size_t)1 << hi % WORD_BITS, lo);
    case RIG_SIZE_PAGES:
        return pages(value, detail);
    case RIG_SIZE_TOP:
        return SIZE_MAX - value;
    case RIG_SIZE_THRESHOLD:
        return step_word(facts->threshold_bytes, record->value);
    case RIG_SIZE_CLASS:
        return wrap_sub(value % 128u * 16u, detail);
    case RIG_SIZE_MEDIUM:
        return value % 8192u * 8u;
    case RIG_SIZE_LITERAL:
    case RIG_SIZE_KIND_COUNT:
        break;
    }
    return value;
}
