/* SPDX-License-Identifier: MIT
 *
 * The mutator: picks mutations by the weights of mutation.def until as many as it wants were made.
 * Calls the mutations, random records and the codec. */
#include "program/mutate.h"

#include "program/edit.h"
#include "program/mutator.h"

#include "run/check.h"

#include <assert.h>
#include <string.h>

#define ROUNDS_MAX 4u    /* mutations made at once */
#define ATTEMPTS_MAX 64u /* to find one that has something to change */

static const struct {
    const char *name;
    bool (*mutate)(struct rig_mutator *mutator);
    unsigned weight;
} mutations[] = {
#define RIG_MUTATION(name, weight, what) {#name, rig_mutate_##name, (weight)},
#include "program/mutation.def"
};

enum {
#define RIG_MUTATION(name, weight, what) MUTATION_##name,
#include "program/mutation.def"
    MUTATION_COUNT
};

static_assert(MUTATION_COUNT <= 32, "a bit each");

unsigned rig_mutation_count(void)
{
    return MUTATION_COUNT;
}

const char *rig_mutation_name(unsigned mutation)
{
    RIG_CHECK(mutation < MUTATION_COUNT);
    return mutations[mutation].name;
}

static unsigned mutation_choose(struct rig_mutator *mutator)
{
    unsigned total = 0;
    for (unsigned idx = 0; idx < MUTATION_COUNT; idx++) {
        total += mutations[idx].weight;
    }
    unsigned at = rig_rng_below(&mutator->rng, total);
    unsigned mutation = 0;
    while (at >= mutations[mutation].weight) {
        at -= mutations[mutation].weight;
        mutation++;
    }
    return mutation;
}

static struct rig_mutator mutator_over(struct rig_program *program, unsigned count_max,
                                       uint32_t seed)
{
    RIG_CHECK(count_max <= RIG_RECORD_COUNT_MAX);
    RIG_CHECK(program->count <= count_max);
    struct rig_mutator mutator = {
        .program = program, .count_max = count_max, .rng = rig_rng_from(seed)};
    rig_swarm_choose(&mutator.swarm, &mutator.rng);
    rig_swarm_faults(&mutator.swarm, program->flags);
    return mutator;
}

bool rig_mutate_once(struct rig_program *program, unsigned mutation, unsigned count_max,
                     uint32_t seed)
{
    RIG_CHECK(mutation < MUTATION_COUNT);
    struct rig_mutator mutator = mutator_over(program, count_max, seed);
    return mutations[mutation].mutate(&mutator);
}

uint32_t rig_mutate_program(struct rig_program *program, unsigned count_max, uint32_t seed)
{
    struct rig_mutator mutator = mutator_over(program, count_max, seed);
    uint32_t made = 0;
    unsigned wanted = 1;
    while (wanted < ROUNDS_MAX && rig_rng_once_in(&mutator.rng, 2)) {
        wanted++;
    }
    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX && wanted != 0; attempt++) {
        /* To nothing only something can be added. */
        const unsigned mutation =
            program->count == 0 ? (unsigned)MUTATION_insert : mutation_choose(&mutator);
        if (mutations[mutation].mutate(&mutator)) {
            made |= 1u << mutation;
            wanted--;
        }
    }
    return made;
}

/* Too short for a header: still something else, and still readable. */
static size_t mutate_short(uint8_t *bytes, size_t len_bytes, size_t max_bytes, uint32_t seed)
{
    struct rig_program program;
    struct rig_rng rng = rig_rng_from(seed);
    if (max_bytes == 0) {
        return 0;
    }
    size_t len = len_bytes < max_bytes ? len_bytes : max_bytes;
    if (len == 0) {
        bytes[0] = 0;
        len = 1;
    }
    uint8_t *byte = &bytes[rig_rng_below(&rng, (uint32_t)len)];
    *byte = (uint8_t)(*byte ^ (1 + rig_rng_below(&rng, 255)));
    if (rig_program_decode(&program, bytes, len) == RIG_DECODE_NEW_VERSION) {
        bytes[0] ^= 1u;
    }
    return len;
}

size_t rig_mutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes, uint32_t seed)
{
    const unsigned count_max = rig_edit_count_max(max_bytes);
    if (count_max == 0) {
        return mutate_short(bytes, len_bytes, max_bytes, seed);
    }
    struct rig_program program;
    uint8_t encoded[RIG_PROGRAM_BYTES_MAX];
    (void)rig_program_decode(&program, bytes, len_bytes);
    if (program.count > count_max) {
        program.count = (uint16_t)count_max;
    }
    (void)rig_mutate_program(&program, count_max, seed);
    const size_t len = rig_program_encode(&program, encoded);
    memcpy(bytes, encoded, len);
    return len;
}
