/* SPDX-License-Identifier: MIT
 *
 * The mutators of a target as a library for AFL_CUSTOM_MUTATOR_LIBRARY: lib/<target>_mutator.so.
 * It is the target's own source, so that the faults it asks for are the target's, and the mutators;
 * programs are run by AFL++'s fork server, never here. */
#include "program_target.h"

#include "program/program.h"
#include "program/random.h"
#include "program/trim.h"
#include "run/check.h"

#include <stdlib.h>
#include <string.h>

#define CROSSED_ONCE_IN 8u
#define CHUNK_BYTES_MAX 16u
#define BYTES_MAX (1u << 20) /* AFL++'s own largest input */

/* What AFL++ calls; the header with these prototypes is not in every package of it. */
void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t len_bytes, uint8_t **out,
                       const uint8_t *other, size_t other_bytes, size_t max_bytes);
unsigned char afl_custom_splice_optout(void *data);
int32_t afl_custom_init_trim(void *data, uint8_t *bytes, size_t len_bytes);
size_t afl_custom_trim(void *data, uint8_t **out);
int32_t afl_custom_post_trim(void *data, unsigned char accepted);
void afl_custom_deinit(void *data);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes);

struct mutator {
    struct rig_rng rng;
    uint8_t out[BYTES_MAX];
    struct rig_trim trim;
    uint8_t trimmed[RIG_PROGRAM_BYTES_MAX];
    size_t trimmed_bytes;
    int32_t trims; /* tries so far */
};

static struct rig_rng bytes_rng; /* of LLVMFuzzerMutate, which is given no context */

/* ---- The target's side ---- */

void rig_target_begin(unsigned check_every)
{
    (void)check_every; /* nothing runs here */
}

int rig_target_run(const uint8_t *bytes, size_t len_bytes)
{
    (void)bytes;
    (void)len_bytes;
    RIG_CHECK(false);
    return -1;
}

/* ---- By bytes, which is the engine's business under libFuzzer ---- */

static size_t chunk_out(uint8_t *bytes, size_t len)
{
    const size_t count = 1 + rig_rng_below(&bytes_rng, CHUNK_BYTES_MAX);
    if (count >= len) {
        return len;
    }
    const size_t at = rig_rng_below(&bytes_rng, (uint32_t)(len - count + 1));
    memmove(bytes + at, bytes + at + count, len - at - count);
    return len - count;
}

static size_t chunk_in(uint8_t *bytes, size_t len, size_t max)
{
    const size_t count = 1 + rig_rng_below(&bytes_rng, CHUNK_BYTES_MAX);
    if (count > max - len) {
        return len;
    }
    const size_t at = rig_rng_below(&bytes_rng, (uint32_t)(len + 1));
    memmove(bytes + at + count, bytes + at, len - at);
    for (size_t idx = 0; idx < count; idx++) {
        bytes[at + idx] = (uint8_t)rig_rng_next(&bytes_rng);
    }
    return len + count;
}

static void byte_change(uint8_t *bytes, size_t len)
{
    uint8_t *byte = &bytes[rig_rng_below(&bytes_rng, (uint32_t)len)];
    if (rig_rng_once_in(&bytes_rng, 2)) {
        *byte ^= (uint8_t)(1u << rig_rng_below(&bytes_rng, 8));
    } else {
        *byte = (uint8_t)rig_rng_next(&bytes_rng);
    }
}

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len_bytes, size_t max_bytes)
{
    size_t len = len_bytes < max_bytes ? len_bytes : max_bytes;
    switch (rig_rng_below(&bytes_rng, 4)) {
    case 0:
        len = chunk_out(bytes, len);
        break;
    case 1:
        len = chunk_in(bytes, len, max_bytes);
        break;
    default:
        break;
    }
    if (len > 0) {
        byte_change(bytes, len);
    }
    return len;
}

/* ---- What AFL++ calls ---- */

void *afl_custom_init(void *afl, unsigned seed)
{
    (void)afl;
    struct mutator *mutator = calloc(1, sizeof(*mutator));
    if (mutator != NULL) {
        mutator->rng = rig_rng_from(seed);
        bytes_rng = rig_rng_from(rig_rng_next(&mutator->rng));
        (void)LLVMFuzzerInitialize(NULL, NULL); /* here: the faults it asks for */
    }
    return mutator;
}

size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t len_bytes, uint8_t **out,
                       const uint8_t *other, size_t other_bytes, size_t max_bytes)
{
    struct mutator *mutator = data;
    const size_t room = max_bytes < BYTES_MAX ? max_bytes : BYTES_MAX;
    const unsigned seed = (unsigned)rig_rng_next(&mutator->rng);
    size_t len = 0;
    *out = mutator->out;
    if (other != NULL && other_bytes > 0 && rig_rng_once_in(&mutator->rng, CROSSED_ONCE_IN)) {
        len = LLVMFuzzerCustomCrossOver(bytes, len_bytes, other, other_bytes, mutator->out, room,
                                        seed);
    }
    if (len == 0) {
        len = len_bytes < room ? len_bytes : room;
        memcpy(mutator->out, bytes, len);
    }
    return LLVMFuzzerCustomMutator(mutator->out, len, room, seed);
}

/* AFL++'s own splicing by bytes is not wanted: programs are crossed above. */
unsigned char afl_custom_splice_optout(void *data)
{
    (void)data;
    return 1;
}

int32_t afl_custom_init_trim(void *data, uint8_t *bytes, size_t len_bytes)
{
    struct mutator *mutator = data;
    rig_trim_init(&mutator->trim, bytes, len_bytes);
    mutator->trims = 0;
    const size_t len = rig_program_encode(&mutator->trim.program, mutator->trimmed);
    const bool program = len == len_bytes && memcmp(mutator->trimmed, bytes, len) == 0;
    /* What is written in another way might get longer, which AFL++ does not forgive. */
    return program ? (int32_t)rig_trim_left(&mutator->trim) : 0;
}

size_t afl_custom_trim(void *data, uint8_t **out)
{
    struct mutator *mutator = data;
    (void)rig_trim_next(&mutator->trim, mutator->trimmed, &mutator->trimmed_bytes);
    *out = mutator->trimmed;
    return mutator->trimmed_bytes;
}

int32_t afl_custom_post_trim(void *data, unsigned char accepted)
{
    struct mutator *mutator = data;
    rig_trim_judge(&mutator->trim, accepted != 0);
    mutator->trims++;
    return mutator->trim.run == 0 ? INT32_MAX : mutator->trims;
}

void afl_custom_deinit(void *data)
{
    free(data);
}
