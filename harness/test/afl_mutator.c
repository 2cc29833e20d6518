/* SPDX-License-Identifier: MIT
 *
 * The mutators as AFL++ loads them: lib/<target>_mutator.so of each target whose inputs are programs.
 * What they give is a program that the target runs, no longer than asked for; the same seed gives the
 * same; trimming only ever makes smaller. */
#include "program/program.h"
#include "program/random.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 3000u
#define CANARY 0xA7u
#define LENGTH_MAX 2064u

static const struct {
    const char *target;
    uint8_t faults; /* that its programs may ask for */
} targets[] = {
    {"ops_fuzzer", 0},
    {"ops_stress_fuzzer", 0},
    {"misuse_fuzzer", RIG_PROGRAM_MISUSE},
    {"oom_fuzzer", RIG_PROGRAM_PLAN | RIG_PROGRAM_SWEEP},
    {"oom_stress_fuzzer", RIG_PROGRAM_PLAN | RIG_PROGRAM_SWEEP},
    {"corrupt_fuzzer", RIG_PROGRAM_DAMAGE},
    {"corrupt_stress_fuzzer", RIG_PROGRAM_DAMAGE},
    {"verifier_fuzzer", RIG_PROGRAM_VERIFY},
};

#define TARGET_COUNT (sizeof(targets) / sizeof(targets[0]))

struct library {
    void *handle;
    void *(*init)(void *afl, unsigned seed);
    size_t (*fuzz)(void *data, uint8_t *bytes, size_t len, uint8_t **out, const uint8_t *other,
                   size_t other_len, size_t max);
    unsigned char (*splice_optout)(void *data);
    int32_t (*init_trim)(void *data, uint8_t *bytes, size_t len);
    size_t (*trim)(void *data, uint8_t **out);
    int32_t (*post_trim)(void *data, unsigned char accepted);
    void (*deinit)(void *data);
    size_t (*by_bytes)(uint8_t *bytes, size_t len, size_t max);
};

static void *symbol(const struct library *library, const char *name)
{
    void *address = dlsym(library->handle, name);
    if (address == NULL) {
        fail_msg("%s: %s", name, dlerror());
    }
    return address;
}

/* POSIX wants a pointer to data to hold one to a function. */
#define TAKE(member, name)                                                                         \
    do {                                                                                           \
        void *address = symbol(&library, name);                                                    \
        memcpy(&library.member, &address, sizeof(address));                                        \
    } while (0)

static struct library library_open(const char *target)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/../lib/%s_mutator.so", RIG_BIN_DIR, target);
    struct library library = {.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (library.handle == NULL) {
        fail_msg("%s", dlerror());
    }
    TAKE(init, "afl_custom_init");
    TAKE(fuzz, "afl_custom_fuzz");
    TAKE(splice_optout, "afl_custom_splice_optout");
    TAKE(init_trim, "afl_custom_init_trim");
    TAKE(trim, "afl_custom_trim");
    TAKE(post_trim, "afl_custom_post_trim");
    TAKE(deinit, "afl_custom_deinit");
    TAKE(by_bytes, "LLVMFuzzerMutate");
    return library;
}

static size_t random_program(uint8_t *bytes, uint32_t seed)
{
    static struct rig_program program;
    rig_program_random(&program, seed, 1 + seed % 150);
    return rig_program_encode(&program, bytes);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

/* One library fed with what it gives, and with what it never gave. */
static void feed(const struct library *library, uint8_t faults)
{
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    static uint8_t other[RIG_PROGRAM_BYTES_MAX];
    static struct rig_program program;
    unsigned decoded_count = 0;
    void *data = library->init(NULL, 7);
    assert_non_null(data);
    assert_int_equal(library->splice_optout(data), 1);
    size_t len = random_program(bytes, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const size_t max = round % 5 == 0 ? 1 + round % 300 : LENGTH_MAX;
        const size_t other_len = random_program(other, round);
        uint8_t *out = NULL;
        if (round % 50 == 0) {
            len = random_program(bytes, round);
        }
        const size_t got = library->fuzz(data, bytes, len, &out, round % 3 == 0 ? NULL : other,
                                         round % 3 == 0 ? 0 : other_len, max);
        assert_non_null(out);
        assert_true(got > 0);
        assert_true(got <= max);
        if (rig_program_decode(&program, out, got) != RIG_DECODE_NEW_VERSION) {
            decoded_count++;
            assert_int_equal(program.flags & ~faults, 0);
        }
        len = got;
        memcpy(bytes, out, got);
    }
    /* One in 16 is changed by bytes, which can make a version that is not known. */
    assert_in_range(decoded_count, ROUNDS * 95 / 100, ROUNDS);
    library->deinit(data);
}

static void what_it_gives_decodes_and_is_not_too_long(void **state)
{
    (void)state;
    for (size_t idx = 0; idx < TARGET_COUNT; idx++) {
        struct library library = library_open(targets[idx].target);
        feed(&library, targets[idx].faults);
        (void)dlclose(library.handle);
    }
}

static void faults_of_the_target_are_asked_for(void **state)
{
    (void)state;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    static struct rig_program program;
    for (size_t idx = 0; idx < TARGET_COUNT; idx++) {
        struct library library = library_open(targets[idx].target);
        void *data = library.init(NULL, 3);
        uint8_t asked = 0;
        for (uint32_t round = 0; round < 200; round++) {
            uint8_t *out = NULL;
            const size_t len = random_program(bytes, round);
            const size_t got = library.fuzz(data, bytes, len, &out, NULL, 0, LENGTH_MAX);
            (void)rig_program_decode(&program, out, got);
            asked |= program.flags;
        }
        assert_int_equal(asked, targets[idx].faults);
        library.deinit(data);
        (void)dlclose(library.handle);
    }
}

static void one_seed_gives_one_sequence(void **state)
{
    (void)state;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    static uint8_t first[64][LENGTH_MAX];
    size_t lens[64];
    const size_t len = random_program(bytes, 5);
    for (unsigned again = 0; again < 3; again++) {
        struct library library = library_open("ops_fuzzer");
        void *data = library.init(NULL, again == 2 ? 12 : 11);
        unsigned same = 0;
        for (unsigned round = 0; round < 64; round++) {
            uint8_t *out = NULL;
            const size_t got = library.fuzz(data, bytes, len, &out, NULL, 0, LENGTH_MAX);
            if (again == 0) {
                lens[round] = got;
                memcpy(first[round], out, got);
            }
            same += got == lens[round] && memcmp(first[round], out, got) == 0;
        }
        if (again == 1) {
            assert_int_equal(same, 64);
        } else if (again == 2) {
            assert_true(same < 32);
        }
        library.deinit(data);
        (void)dlclose(library.handle);
    }
}

static void bytes_are_changed_within_their_room(void **state)
{
    (void)state;
    struct library library = library_open("ops_fuzzer");
    void *data = library.init(NULL, 1);
    uint8_t room[64];
    unsigned shorter = 0;
    unsigned longer = 0;
    unsigned changed = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const size_t max = 1 + round % 32;
        const size_t len = round % 7 == 0 ? 0 : round % (max + 1);
        memset(room, 0, 32);
        memset(room + 32, CANARY, 32);
        const size_t got = library.by_bytes(room, len, max);
        assert_true(got <= max);
        shorter += got < len;
        longer += got > len;
        for (size_t idx = 0; idx < got; idx++) {
            changed += room[idx] != 0;
        }
        for (size_t idx = max; idx < 32; idx++) {
            assert_int_equal(room[idx], 0);
        }
        for (size_t idx = 32; idx < sizeof(room); idx++) {
            assert_int_equal(room[idx], CANARY);
        }
    }
    assert_true(shorter > ROUNDS / 50);
    assert_true(longer > ROUNDS / 50);
    assert_true(changed > ROUNDS / 2);
    library.deinit(data);
    (void)dlclose(library.handle);
}

static bool same(const struct rig_record *one, const struct rig_record *two)
{
    return one->op == two->op && one->slot == two->slot && one->heap == two->heap &&
           one->flags == two->flags && one->value == two->value && one->arg == two->arg;
}

/* As afl-fuzz does it: a program that is to keep its record number 7, say. */
static void trimming_ends_at_what_is_needed(void **state)
{
    (void)state;
    static struct rig_program program;
    static struct rig_program smaller;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    struct library library = library_open("ops_fuzzer");
    void *data = library.init(NULL, 1);
    rig_program_random(&program, 4, 100);
    const struct rig_record kept = program.records[7];
    size_t len = rig_program_encode(&program, bytes);
    const int32_t most = library.init_trim(data, bytes, len);
    assert_true(most > 0);
    int32_t at = 0;
    while (at < most) {
        uint8_t *out = NULL;
        const size_t got = library.trim(data, &out);
        assert_true(got < len);
        bool there = false;
        assert_int_equal(rig_program_decode(&smaller, out, got), RIG_DECODE_OK);
        for (unsigned idx = 0; idx < smaller.count; idx++) {
            there = there || same(&smaller.records[idx], &kept);
        }
        if (there) {
            memcpy(bytes, out, got);
            len = got;
        }
        at = library.post_trim(data, there);
    }
    assert_int_equal(rig_program_decode(&smaller, bytes, len), RIG_DECODE_OK);
    assert_int_equal(smaller.count, 1);
    static uint8_t raw[] = "not a program in its one form";
    assert_int_equal(library.init_trim(data, raw, sizeof(raw)), 0);
    library.deinit(data);
    (void)dlclose(library.handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_gives_decodes_and_is_not_too_long),
        cmocka_unit_test(faults_of_the_target_are_asked_for),
        cmocka_unit_test(one_seed_gives_one_sequence),
        cmocka_unit_test(bytes_are_changed_within_their_room),
        cmocka_unit_test(trimming_ends_at_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
