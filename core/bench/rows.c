/* SPDX-License-Identifier: MIT
 *
 * The rows of ci/bench.sh: one allocation pattern each. A run does the same calls in the same
 * order every time. Random numbers are drawn into tables before the clock starts; the tables and
 * slots come from mmap, so that they are no business of the allocator under test. Every block is
 * written at its first and its last byte.
 *
 *   bench_malloc --list          rows and what they do
 *   bench_malloc ROW DIVISOR     run it at 1/DIVISOR of its length; prints seconds, peak KiB, calls
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include BENCH_API

#define PAIR_MAX_BYTES 2000u
#define TABLE_MIN_COUNT 16384u

/* ---- Helpers -------------------------------------------------------------------------------- */

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "bench: %s\n", what);
    _exit(1);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545F4914F6CDD1Du >> 32;
}

static void *map(size_t bytes)
{
    void *place = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (place == MAP_FAILED) {
        die("no memory for tables");
    }
    return place;
}

static double now(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* A block of `bytes`, at least 1, with its ends written. */
static inline void *block_make(size_t bytes)
{
    volatile char *block = bench_allocate(bytes);
    if (block == NULL) {
        die("the allocator has no memory");
    }
    block[0] = 1;
    block[bytes - 1] = 2;
    return (void *)(uintptr_t)block;
}

/* Sizes as object-oriented programs ask for them: most under 100 bytes, a long thin tail. */
static uint32_t size_usual(uint64_t *random)
{
    const uint64_t draw = random_next(random);
    const uint32_t kind = (uint32_t)(draw & 127u);
    const uint32_t spread = (uint32_t)(draw >> 8);
    if (kind < 70) {
        return 8u + spread % 57u;
    }
    if (kind < 110) {
        return 32u + spread % 225u;
    }
    if (kind < 125) {
        return 256u + spread % 1793u;
    }
    return 2048u + spread % 30721u;
}

static void start_both(void *(*body)(void *), void *first, void *second)
{
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, body, first) != 0 ||
        pthread_create(&threads[1], NULL, body, second) != 0) {
        die("cannot start a thread");
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

/* ---- Pairs: free what is in a random slot, put a new block there ---------------------------- */

struct pairs {
    void **slots;
    uint32_t slot_count;
    uint32_t *table; /* slot in the low 20 bits, size above */
    uint32_t table_count;
    uint64_t pair_count;
};

static struct pairs pairs_make(uint32_t slot_count, uint64_t pair_count, uint64_t seed)
{
    struct pairs pairs = {.slot_count = slot_count, .pair_count = pair_count};
    pairs.table_count = slot_count > TABLE_MIN_COUNT ? slot_count : TABLE_MIN_COUNT;
    pairs.slots = map(slot_count * sizeof(void *));
    pairs.table = map(pairs.table_count * sizeof(uint32_t));
    for (uint32_t idx = 0; idx < pairs.table_count; idx++) {
        const uint32_t slot = (uint32_t)(random_next(&seed) % slot_count);
        const uint32_t bytes = (uint32_t)(random_next(&seed) % PAIR_MAX_BYTES);
        pairs.table[idx] = slot | bytes << 20;
    }
    return pairs;
}

static void *pairs_run(void *context)
{
    struct pairs *pairs = context;
    void **slots = pairs->slots;
    uint32_t idx = 0;
    uint32_t shift = 0; /* so that a slot does not see the same size each time around */
    for (uint64_t done = 0; done < pairs->pair_count; done++) {
        const uint32_t entry = pairs->table[idx];
        const uint32_t slot = entry & 0xFFFFFu;
        bench_release(slots[slot]);
        slots[slot] = block_make(1 + ((entry >> 20) + shift) % (PAIR_MAX_BYTES - 1));
        if (++idx == pairs->table_count) {
            idx = 0;
            shift += 97;
        }
    }
    return NULL;
}

static void pairs_clear(struct pairs *pairs)
{
    for (uint32_t slot = 0; slot < pairs->slot_count; slot++) {
        bench_release(pairs->slots[slot]);
        pairs->slots[slot] = NULL;
    }
}

static uint64_t pairs_row(uint32_t slot_count, uint64_t pair_count, double *seconds)
{
    struct pairs pairs = pairs_make(slot_count, pair_count, 0x1234567);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        pairs.slots[slot] = block_make(1 + slot * 7919u % (PAIR_MAX_BYTES - 1));
    }
    const double began = now();
    (void)pairs_run(&pairs);
    *seconds = now() - began;
    pairs_clear(&pairs);
    return 2 * pair_count;
}

static uint64_t row_pairs_1(uint64_t divisor, double *seconds)
{
    return pairs_row(1, 10000000 / divisor, seconds);
}

static uint64_t row_pairs_1k(uint64_t divisor, double *seconds)
{
    return pairs_row(1024, 12000000 / divisor, seconds);
}

static uint64_t row_pairs_1m(uint64_t divisor, double *seconds)
{
    return pairs_row(1u << 20, 4000000 / divisor, seconds);
}

static uint64_t row_two_threads(uint64_t divisor, double *seconds)
{
    struct pairs first = pairs_make(1024, 8000000 / divisor, 0x1234567);
    struct pairs second = pairs_make(1024, 8000000 / divisor, 0x7654321);
    const double began = now();
    start_both(pairs_run, &first, &second);
    *seconds = now() - began;
    pairs_clear(&first);
    pairs_clear(&second);
    return 4 * first.pair_count;
}

/* ---- Churn: usual sizes; most blocks die young, some live long ------------------------------ */

static uint64_t row_churn(uint64_t divisor, double *seconds)
{
    enum { HOT = 64, COLD = 20000, TRACE = 400000 };
    const uint64_t round_count = 20 / divisor + 1;
    void **slots = map((HOT + COLD) * sizeof(void *));
    struct {
        uint32_t slot;
        uint32_t bytes;
    } *trace = map(TRACE * sizeof(*trace));
    uint64_t random = 42;
    for (size_t idx = 0; idx < TRACE; idx++) {
        const uint64_t draw = random_next(&random);
        const uint32_t spread = (uint32_t)(draw >> 4);
        trace[idx].slot = draw % 5 != 0 ? spread % HOT : HOT + spread % COLD;
        trace[idx].bytes = size_usual(&random);
    }
    const double began = now();
    for (uint64_t round = 0; round < round_count; round++) {
        for (size_t idx = 0; idx < TRACE; idx++) {
            void **slot = &slots[trace[idx].slot];
            bench_release(*slot);
            *slot = block_make(trace[idx].bytes);
        }
    }
    for (size_t idx = 0; idx < HOT + COLD; idx++) {
        bench_release(slots[idx]);
    }
    *seconds = now() - began;
    return 2 * round_count * TRACE;
}

/* ---- Vectors: grow by realloc, every new byte written --------------------------------------- */

static void *vector_grow(void *vector, size_t old_bytes, size_t new_bytes)
{
    char *grown = bench_resize(vector, new_bytes);
    if (grown == NULL) {
        die("the allocator has no memory");
    }
    memset(grown + old_bytes, 3, new_bytes - old_bytes);
    return grown;
}

/* One vector by halves to 256 MB, with small blocks taken meanwhile. */
static uint64_t row_vector_big(uint64_t divisor, double *seconds)
{
    const size_t last_bytes = ((size_t)256 << 20) / divisor;
    void *between[64];
    uint64_t calls = 0;
    const double began = now();
    for (int round = 0; round < 2; round++) {
        void *vector = NULL;
        size_t bytes = 0;
        size_t count = 0;
        for (size_t next = 16; bytes < last_bytes; next += next / 2) {
            next = next < last_bytes ? next : last_bytes;
            vector = vector_grow(vector, bytes, next);
            bytes = next;
            between[count++] = block_make(64);
        }
        calls += 4 * count;
        bench_release(vector);
        while (count > 0) {
            bench_release(between[--count]);
        }
    }
    *seconds = now() - began;
    return calls;
}

/* Two thousand vectors that double, each pushed to in random order. */
static uint64_t row_vectors_small(uint64_t divisor, double *seconds)
{
    enum { COUNT = 2000, ITEM_BYTES = 16 };
    struct {
        char *items;
        uint32_t used;
        uint32_t room;
    } *vectors = map(COUNT * sizeof(*vectors));
    const size_t push_count = 6000000 / divisor;
    uint16_t *order = map(push_count * sizeof(*order));
    uint64_t random = 7;
    for (size_t idx = 0; idx < push_count; idx++) {
        order[idx] = (uint16_t)(random_next(&random) % COUNT);
    }
    uint64_t calls = 0;
    const double began = now();
    for (size_t idx = 0; idx < push_count; idx++) {
        const uint16_t at = order[idx];
        if (vectors[at].used == vectors[at].room) {
            const uint32_t room = vectors[at].room == 0 ? 4 : 2 * vectors[at].room;
            vectors[at].items = bench_resize(vectors[at].items, (size_t)room * ITEM_BYTES);
            vectors[at].room = room;
            calls++;
        }
        memset(vectors[at].items + (size_t)vectors[at].used++ * ITEM_BYTES, 4, ITEM_BYTES);
    }
    for (size_t at = 0; at < COUNT; at++) {
        bench_release(vectors[at].items);
    }
    *seconds = now() - began;
    return calls + COUNT;
}

/* ---- Threads that hand blocks over ---------------------------------------------------------- */

enum { PIPE_ROOM = 1024 };

struct pipe_state {
    _Alignas(64) _Atomic(uint64_t) made;
    _Alignas(64) _Atomic(uint64_t) taken;
    _Alignas(64) void *ring[PIPE_ROOM];
    const uint16_t *sizes; /* TABLE_MIN_COUNT of them */
    uint64_t count;
};

static struct pipe_state *pipe_now;

static void *pipe_produce(void *context)
{
    struct pipe_state *pipe = context;
    for (uint64_t idx = 0; idx < pipe->count; idx++) {
        void *block = block_make(pipe->sizes[idx % TABLE_MIN_COUNT]);
        while (idx - atomic_load_explicit(&pipe->taken, memory_order_acquire) == PIPE_ROOM) {
            sched_yield();
        }
        pipe->ring[idx % PIPE_ROOM] = block;
        atomic_store_explicit(&pipe->made, idx + 1, memory_order_release);
    }
    return NULL;
}

static void *pipe_consume(void *context)
{
    struct pipe_state *pipe = context;
    for (uint64_t idx = 0; idx < pipe->count; idx++) {
        while (idx == atomic_load_explicit(&pipe->made, memory_order_acquire)) {
            sched_yield();
        }
        bench_release(pipe->ring[idx % PIPE_ROOM]);
        atomic_store_explicit(&pipe->taken, idx + 1, memory_order_release);
    }
    return NULL;
}

static void *pipe_end(void *context)
{
    return context == NULL ? pipe_produce(pipe_now) : pipe_consume(pipe_now);
}

static uint64_t row_producer_consumer(uint64_t divisor, double *seconds)
{
    uint16_t *sizes = map(TABLE_MIN_COUNT * sizeof(*sizes));
    uint64_t random = 99;
    for (size_t idx = 0; idx < TABLE_MIN_COUNT; idx++) {
        sizes[idx] = (uint16_t)(size_usual(&random) % 4096u + 1u);
    }
    pipe_now = map(sizeof(*pipe_now));
    pipe_now->sizes = sizes;
    pipe_now->count = 6000000 / divisor;
    const double began = now();
    start_both(pipe_end, NULL, pipe_now);
    *seconds = now() - began;
    return 2 * pipe_now->count;
}

/* A server after Larson: two lanes of a thousand blocks; a thread replaces at random and ends, and
 * its lane goes to a new thread, so that blocks are freed by threads that did not make them. */
static uint64_t row_larson(uint64_t divisor, double *seconds)
{
    enum { LANE = 1000, PER_THREAD = 50000 };
    const uint64_t generation_count = 100 / divisor + 1;
    struct pairs lanes[2] = {pairs_make(LANE, PER_THREAD, 11), pairs_make(LANE, PER_THREAD, 22)};
    const double began = now();
    for (uint64_t generation = 0; generation < generation_count; generation++) {
        start_both(pairs_run, &lanes[0], &lanes[1]);
        void **slots = lanes[0].slots;
        lanes[0].slots = lanes[1].slots;
        lanes[1].slots = slots;
    }
    *seconds = now() - began;
    pairs_clear(&lanes[0]);
    pairs_clear(&lanes[1]);
    return 4 * generation_count * PER_THREAD;
}

/* ---- Many live blocks ----------------------------------------------------------------------- */

static uint64_t row_live_10m(uint64_t divisor, double *seconds)
{
    const size_t count = 10000000 / divisor;
    const size_t replace_count = count / 2;
    void **slots = map(count * sizeof(void *));
    uint8_t *sizes = map(TABLE_MIN_COUNT);
    uint32_t *order = map(replace_count * sizeof(*order));
    uint64_t random = 5;
    for (size_t idx = 0; idx < TABLE_MIN_COUNT; idx++) {
        sizes[idx] = (uint8_t)(8 + random_next(&random) % 113u);
    }
    for (size_t idx = 0; idx < replace_count; idx++) {
        order[idx] = (uint32_t)(random_next(&random) % count);
    }
    const double began = now();
    for (size_t idx = 0; idx < count; idx++) {
        slots[idx] = block_make(sizes[idx % TABLE_MIN_COUNT]);
    }
    for (size_t idx = 0; idx < replace_count; idx++) {
        bench_release(slots[order[idx]]);
        slots[order[idx]] = block_make(sizes[(idx * 7) % TABLE_MIN_COUNT]);
    }
    for (size_t idx = 0; idx < count; idx++) {
        bench_release(slots[idx]);
    }
    *seconds = now() - began;
    return 2 * (count + replace_count);
}

/* What a call costs while `live_count` other blocks live in a heap full of holes. The calls work
 * on a thousand blocks of their own, so that the processor's caches stay out of it. */
static uint64_t cost_row(size_t live_count, uint64_t divisor, double *seconds)
{
    void **slots = map(2 * live_count * sizeof(void *));
    uint64_t random = 17;
    for (size_t idx = 0; idx < 2 * live_count; idx++) {
        slots[idx] = block_make(8 + random_next(&random) % 113u);
    }
    for (size_t idx = 0; idx < 2 * live_count; idx++) {
        const size_t other = random_next(&random) % (2 * live_count);
        void *block = slots[idx];
        slots[idx] = slots[other];
        slots[other] = block;
    }
    for (size_t idx = live_count; idx < 2 * live_count; idx++) {
        bench_release(slots[idx]);
    }
    struct pairs warm = pairs_make(1024, 200000, 0x1234567);
    (void)pairs_run(&warm);
    warm.pair_count = 5000000 / divisor;
    const double began = now();
    (void)pairs_run(&warm);
    *seconds = now() - began;
    return 2 * warm.pair_count;
}

static uint64_t row_cost_1k(uint64_t divisor, double *seconds)
{
    return cost_row(1000, divisor, seconds);
}

static uint64_t row_cost_10k(uint64_t divisor, double *seconds)
{
    return cost_row(10000, divisor, seconds);
}

static uint64_t row_cost_100k(uint64_t divisor, double *seconds)
{
    return cost_row(100000, divisor, seconds);
}

static uint64_t row_cost_1m(uint64_t divisor, double *seconds)
{
    return cost_row(1000000, divisor, seconds);
}

static uint64_t row_cost_10m(uint64_t divisor, double *seconds)
{
    return cost_row(10000000, divisor, seconds);
}

/* ---- Main ----------------------------------------------------------------------------------- */

static const struct row {
    const char *name;
    const char *what;
    uint64_t (*run)(uint64_t divisor, double *seconds); /* returns the number of calls */
} rows[] = {
    {"churn", "small objects, most die young", row_churn},
    {"vector-big", "one vector grows by realloc to 256 MB", row_vector_big},
    {"vectors-small", "2,000 vectors grow by realloc", row_vectors_small},
    {"producer-consumer", "one thread allocates, another frees", row_producer_consumer},
    {"larson", "server threads hand their blocks on", row_larson},
    {"live-10m", "10 M live blocks, replaced, freed", row_live_10m},
    {"pairs-1", "free and allocate under 2,000 bytes, 1 slot", row_pairs_1},
    {"pairs-1k", "the same, 1,024 slots", row_pairs_1k},
    {"pairs-1m", "the same, 1 M slots", row_pairs_1m},
    {"two-threads", "pairs-1k by two threads in one heap", row_two_threads},
    {"cost-1k", "a call among 1 K live blocks and as many holes", row_cost_1k},
    {"cost-10k", "a call among 10 K", row_cost_10k},
    {"cost-100k", "a call among 100 K", row_cost_100k},
    {"cost-1m", "a call among 1 M", row_cost_1m},
    {"cost-10m", "a call among 10 M", row_cost_10m},
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

/* Peak resident memory as the kernel counts it for this program image, KiB. */
static unsigned long peak_kib(void)
{
    char text[4096];
    const int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const ssize_t got = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    if (got <= 0) {
        die("cannot read /proc/self/status");
    }
    text[got] = '\0';
    unsigned long kib = 0;
    const char *line = strstr(text, "VmHWM:");
    if (line == NULL || sscanf(line, "VmHWM: %lu", &kib) != 1) {
        die("no VmHWM in /proc/self/status");
    }
    close(file);
    return kib;
}

int main(int argc, char **argv)
{
    unsigned long long divisor = 0;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t idx = 0; idx < ROW_COUNT; idx++) {
            printf("%s\t%s\n", rows[idx].name, rows[idx].what);
        }
        return 0;
    }
    if (argc == 3 && sscanf(argv[2], "%llu", &divisor) == 1 && divisor > 0) {
        for (size_t idx = 0; idx < ROW_COUNT; idx++) {
            if (strcmp(rows[idx].name, argv[1]) == 0) {
                double seconds = 0;
                const uint64_t calls = rows[idx].run(divisor, &seconds);
                printf("%.6f %lu %llu\n", seconds, peak_kib(), (unsigned long long)calls);
                return 0;
            }
        }
    }
    (void)fprintf(stderr, "bench: expected --list or ROW DIVISOR, see --list for the rows\n");
    return 2;
}
