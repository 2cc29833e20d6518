/* SPDX-License-Identifier: MIT
 *
 * Several threads at once on one heap, each playing programs: see players.h. */
#include "players.h"

#include "program/size.h"

#include <ntheap/heap.h>
#include <ntheap/seam.h>
#include <ntheap/verifier.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOT_COUNT 256u
#define SHARED_COUNT 6u /* names of heaps that mean the shared one */
#define SECTION_COUNT 4u
#define MULTI_MAX 8u
#define BLOCK_BYTES_MAX (1u << 22) /* of one block, and of a thread eight times as much */
#define FILLED_BYTES 512u          /* at both ends of a block */
#define LARGE_BYTES 0x80000u
#define HUGE_BYTES (SIZE_MAX / 2) /* refused by any heap, so it may be asked for */
#define FORK_CALLS 257u           /* records of a thread between two forks */
#define CHILD_SECONDS 120u        /* of a child that waits for a lock for ever */
#define CHILD_BLOCKS 64u

struct block {
    uint8_t *at;
    size_t bytes;
    HANDLE heap;
};

struct player {
    pthread_t thread;
    unsigned number;
    unsigned threads;
    pthread_barrier_t *together; /* where all wait for the last to be started */
    const struct rig_program *programs;
    size_t count;
    struct block blocks[SLOT_COUNT];
    HANDLE own[RIG_HEAP_COUNT - SHARED_COUNT];
    unsigned locks; /* of the first shared heap */
    unsigned entered[SECTION_COUNT];
    size_t last_bytes;
    size_t live_bytes;
    uint64_t calls;
    uint64_t forks_left;
    uint64_t forks;
    uint64_t large; /* blocks with a reservation of their own */
};

static HANDLE shared[2];
static CRITICAL_SECTION second_lock; /* of the second */
static CRITICAL_SECTION sections[SECTION_COUNT];

static _Noreturn void end(const char *what, const char *why)
{
    (void)fprintf(stderr, "races: %s: %s\n", what, why);
    abort();
}

static void demand(bool holds, const char *what)
{
    if (!holds) {
        end("demanded", what);
    }
}

static void reported(void *context, const struct nth_report *report)
{
    (void)context;
    end(report->call, nth_reason_name(report->reason));
}

static void stopped(void *context, const struct nth_stop *stop)
{
    (void)context;
    if (stop->code != NTH_STOP_EXTREME_SIZE_REQUEST) { /* which programs ask for, now and then */
        end(stop->layer, stop->name);
    }
}

static void verify(const char *text)
{
    struct nth_verifier_settings settings;
    char error[256] = "";
    if (nth_verifier_parse(text, &settings, error, sizeof(error)) != STATUS_SUCCESS) {
        end(text, error);
    }
    settings.stop = stopped;
    demand(nth_verifier_start(&settings) == STATUS_SUCCESS, "the verifier starts");
}

/* ---- Blocks ---- */

static void fill(const struct player *player, const struct block *block, size_t from)
{
    const uint8_t mark = (uint8_t)(player->number + 1);
    const size_t head = block->bytes < FILLED_BYTES ? block->bytes : FILLED_BYTES;
    if (from < head) {
        memset(block->at + from, mark, head - from);
    }
    memset(block->at + block->bytes - head, mark, head);
}

static void look(const struct player *player, const struct block *block, size_t bytes)
{
    const uint8_t mark = (uint8_t)(player->number + 1);
    const size_t head = bytes < FILLED_BYTES ? bytes : FILLED_BYTES;
    for (size_t idx = 0; idx < head; idx++) {
        demand(block->at[idx] == mark, "a block keeps what its thread wrote");
    }
}

static size_t size_of(struct player *player, const struct rig_record *record)
{
    const struct rig_size_facts facts = {
        .slot_bytes = player->blocks[rig_record_hi(record) % SLOT_COUNT].bytes,
        .last_bytes = player->last_bytes,
        .threshold_bytes = LARGE_BYTES,
    };
    size_t bytes = rig_size_resolve(record, &facts);
    if (bytes < HUGE_BYTES) {
        bytes %= BLOCK_BYTES_MAX;
        bytes = player->live_bytes > 8u * BLOCK_BYTES_MAX ? bytes % 256u : bytes;
    }
    player->last_bytes = bytes;
    return bytes;
}

static ULONG flags_of(const struct rig_record *record)
{
    return ((record->flags & RIG_FLAG_ZERO) != 0 ? HEAP_ZERO_MEMORY : 0u) |
           ((record->flags & RIG_FLAG_IN_PLACE) != 0 ? HEAP_REALLOC_IN_PLACE_ONLY : 0u) |
           ((record->flags & RIG_FLAG_USER_VALUE) != 0 ? HEAP_SETTABLE_USER_VALUE : 0u);
}

static HANDLE heap_of(const struct player *player, const struct rig_record *record)
{
    const unsigned name = record->heap;
    HANDLE own = name < SHARED_COUNT ? NULL : player->own[name - SHARED_COUNT];
    return own != NULL ? own : shared[name % 2u];
}

static void own_it(struct player *player, struct block *block, HANDLE heap, uint8_t *at,
                   size_t bytes)
{
    *block = (struct block){.at = at, .bytes = bytes, .heap = heap};
    player->large += bytes >= LARGE_BYTES;
    player->live_bytes += bytes;
    fill(player, block, 0);
}

static void drop(struct player *player, struct block *block)
{
    if (block->at != NULL) {
        look(player, block, block->bytes);
        demand(HeapFree(block->heap, 0, block->at) != FALSE, "HeapFree of a live block");
        player->live_bytes -= block->bytes;
        *block = (struct block){.at = NULL};
    }
}

static void take(struct player *player, struct block *block, const struct rig_record *record)
{
    drop(player, block);
    const size_t bytes = size_of(player, record);
    const ULONG flags = flags_of(record) & ~(ULONG)HEAP_REALLOC_IN_PLACE_ONLY;
    HANDLE heap = heap_of(player, record);
    uint8_t *at =
        record->win32 != 0 ? HeapAlloc(heap, flags, bytes) : RtlAllocateHeap(heap, flags, bytes);
    demand((at == NULL) == (bytes >= HUGE_BYTES), "an allocation that fits succeeds");
    if (at != NULL) {
        for (size_t idx = 0; idx < bytes && (flags & HEAP_ZERO_MEMORY) != 0; idx++) {
            demand(at[idx] == 0, "zeroed when asked for");
        }
        own_it(player, block, heap, at, bytes);
    }
}

static void resize(struct player *player, struct block *block, const struct rig_record *record)
{
    if (block->at == NULL) {
        return;
    }
    const size_t bytes = size_of(player, record);
    const ULONG flags = flags_of(record) & (ULONG)HEAP_REALLOC_IN_PLACE_ONLY;
    look(player, block, block->bytes);
    uint8_t *at = record->win32 != 0 ? HeapReAlloc(block->heap, flags, block->at, bytes)
                                     : RtlReAllocateHeap(block->heap, flags, block->at, bytes);
    demand(at != NULL || flags != 0 || bytes >= HUGE_BYTES, "a resize that fits succeeds");
    if (at != NULL) {
        const size_t kept = bytes < block->bytes ? bytes : block->bytes;
        player->live_bytes += bytes - block->bytes;
        block->at = at;
        block->bytes = bytes;
        look(player, block, kept);
        fill(player, block, 0);
    }
}

static void take_many(struct player *player, const struct rig_record *record)
{
    PVOID many[MULTI_MAX] = {NULL};
    const ULONG wanted = record->arg % MULTI_MAX + 1u;
    const size_t bytes = size_of(player, record) % 4096u;
    HANDLE heap = heap_of(player, record);
    const ULONG got = RtlMultipleAllocateHeap(heap, 0, bytes, wanted, many);
    demand(got == wanted, "RtlMultipleAllocateHeap gives all");
    for (ULONG idx = 0; idx < got; idx++) {
        struct block *block = &player->blocks[(record->slot + idx) % SLOT_COUNT];
        drop(player, block);
        own_it(player, block, heap, many[idx], bytes);
    }
}

static void drop_many(struct player *player, const struct rig_record *record)
{
    PVOID many[MULTI_MAX];
    ULONG count = 0;
    HANDLE heap = heap_of(player, record);
    for (unsigned idx = 0; idx < SLOT_COUNT && count < record->arg % MULTI_MAX + 1u; idx++) {
        struct block *block = &player->blocks[(record->slot + idx) % SLOT_COUNT];
        if (block->at != NULL && block->heap == heap) {
            look(player, block, block->bytes);
            many[count++] = block->at;
            player->live_bytes -= block->bytes;
            *block = (struct block){.at = NULL};
        }
    }
    demand(RtlMultipleFreeHeap(heap, 0, count, many) == count, "RtlMultipleFreeHeap frees all");
}

static void of_block(struct player *player, struct block *block, const struct rig_record *record)
{
    PVOID value = NULL;
    ULONG flags = 0;
    if (block->at == NULL) {
        return;
    }
    switch (record->op) {
    case RIG_OP_SIZE:
        demand(HeapSize(block->heap, 0, block->at) == block->bytes, "HeapSize");
        break;
    case RIG_OP_VALIDATE_BLOCK:
        demand(HeapValidate(block->heap, 0, block->at) != FALSE, "HeapValidate of a block");
        break;
    case RIG_OP_SET_USER_VALUE:
        (void)RtlSetUserValueHeap(block->heap, 0, block->at, player);
        break;
    case RIG_OP_GET_USER_INFO:
        demand(RtlGetUserInfoHeap(block->heap, 0, block->at, &value, &flags) != FALSE,
               "RtlGetUserInfoHeap");
        break;
    case RIG_OP_SET_USER_FLAGS:
        (void)RtlSetUserFlagsHeap(block->heap, 0, block->at, 0, record->value & 0xE00u);
        break;
    case RIG_OP_WRITE:
        fill(player, block, 0);
        break;
    default:
        look(player, block, block->bytes);
        break;
    }
}

/* ---- Heaps ---- */

/* Holds something that another thread may wait for. */
static bool holds(const struct player *player)
{
    unsigned held = player->locks;
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        held += player->entered[idx];
    }
    return held > 0;
}

static void create(struct player *player, const struct rig_record *record)
{
    const unsigned name = record->heap;
    if (name < SHARED_COUNT || player->own[name - SHARED_COUNT] != NULL || holds(player)) {
        return;
    }
    HANDLE heap = HeapCreate(0, size_of(player, record) % 65536u, 0);
    demand(heap != NULL, "HeapCreate");
    player->own[name - SHARED_COUNT] = heap;
}

static void destroy(struct player *player, unsigned own)
{
    if (player->own[own] == NULL || holds(player)) {
        return;
    }
    for (unsigned idx = 0; idx < SLOT_COUNT; idx++) {
        struct block *block = &player->blocks[idx];
        if (block->at != NULL && block->heap == player->own[own]) {
            player->live_bytes -= block->bytes;
            *block = (struct block){.at = NULL};
        }
    }
    demand(HeapDestroy(player->own[own]) != FALSE, "HeapDestroy");
    player->own[own] = NULL;
}

static void walk(const struct player *player, const struct rig_record *record)
{
    HANDLE heap = heap_of(player, record);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    unsigned steps = record->op == RIG_OP_WALK_STEP ? record->arg : 100000u;
    bool entered = false;
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        entered = entered || player->entered[idx] > 0;
    }
    if (entered && player->locks == 0) {
        return;
    }
    demand(HeapLock(heap) != FALSE, "HeapLock for a walk");
    while (steps-- > 0 && HeapWalk(heap, &entry) != FALSE) {
    }
    demand(HeapUnlock(heap) != FALSE, "HeapUnlock after a walk");
}

static void lock(struct player *player)
{
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        if (player->entered[idx] > 0 && player->locks == 0) {
            return;
        }
    }
    demand(HeapLock(shared[0]) != FALSE, "HeapLock");
    player->locks++;
}

static void unlock(struct player *player)
{
    if (player->locks > 0) {
        demand(HeapUnlock(shared[0]) != FALSE, "HeapUnlock");
        player->locks--;
    }
}

static void of_heap(struct player *player, const struct rig_record *record)
{
    HANDLE heap = heap_of(player, record);
    HEAP_SUMMARY summary = {.cb = sizeof(summary)};
    ULONG kind = 0;
    switch (record->op) {
    case RIG_OP_VALIDATE:
        demand(HeapValidate(heap, 0, NULL) != FALSE, "HeapValidate");
        break;
    case RIG_OP_COMPACT:
        (void)HeapCompact(heap, 0);
        break;
    case RIG_OP_SUMMARY:
        demand(HeapSummary(heap, 0, &summary) != FALSE, "HeapSummary");
        break;
    case RIG_OP_ZERO:
        demand(RtlZeroHeap(heap, 0) == 0, "RtlZeroHeap");
        break;
    case RIG_OP_QUERY:
        (void)HeapQueryInformation(heap, HeapCompatibilityInformation, &kind, sizeof(kind), NULL);
        break;
    case RIG_OP_SET:
        kind = 2;
        (void)HeapSetInformation(heap, HeapCompatibilityInformation, &kind, sizeof(kind));
        break;
    default:
        break;
    }
}

static void section(struct player *player, const struct rig_record *record)
{
    const unsigned idx = record->arg % SECTION_COUNT;
    if (record->op == RIG_OP_SECTION_LEAVE) {
        if (player->entered[idx] > 0) {
            LeaveCriticalSection(&sections[idx]);
            player->entered[idx]--;
        }
    } else if (record->op == RIG_OP_SECTION_ENTER && !holds(player)) {
        EnterCriticalSection(&sections[idx]);
        player->entered[idx]++;
    } else if (TryEnterCriticalSection(&sections[idx]) != FALSE) {
        player->entered[idx]++;
    }
}

static void of_process(const struct player *player, const struct rig_record *record)
{
    HANDLE heaps[64];
    if (holds(player)) {
        return;
    }
    if (record->op == RIG_OP_VALIDATE_ALL) {
        demand(RtlValidateProcessHeaps() != FALSE, "RtlValidateProcessHeaps");
    } else {
        demand(GetProcessHeaps(64, heaps) >= 1, "GetProcessHeaps");
    }
}

/* ---- Forks ---- */

static void use(HANDLE heap)
{
    PVOID blocks[CHILD_BLOCKS];
    for (unsigned idx = 0; idx < CHILD_BLOCKS; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, (SIZE_T)idx * idx * idx);
        demand(blocks[idx] != NULL, "an allocation in a child");
    }
    for (unsigned idx = 0; idx < CHILD_BLOCKS; idx++) {
        demand(HeapFree(heap, 0, blocks[idx]) != FALSE, "HeapFree in a child");
    }
    demand(HeapValidate(heap, 0, NULL) != FALSE, "HeapValidate in a child");
}

static _Noreturn void child(struct player *player)
{
    HANDLE heaps[64];
    (void)alarm(CHILD_SECONDS);
    for (unsigned idx = 0; idx < 2; idx++) {
        demand(HeapValidate(shared[idx], 0, NULL) != FALSE, "a child finds its heaps whole");
        demand(HeapLock(shared[idx]) != FALSE, "HeapLock in a child");
        use(shared[idx]);
        demand(HeapUnlock(shared[idx]) != FALSE, "HeapUnlock in a child");
    }
    for (unsigned idx = 0; idx < SLOT_COUNT; idx++) {
        drop(player, &player->blocks[idx]);
    }
    HANDLE heap = HeapCreate(0, 0, 0);
    demand(heap != NULL, "HeapCreate in a child");
    use(heap);
    demand(HeapDestroy(heap) != FALSE, "HeapDestroy in a child");
    demand(GetProcessHeaps(64, heaps) >= 2, "GetProcessHeaps in a child");
    _exit(0);
}

static void fork_once(struct player *player)
{
    int status = 0;
    const pid_t process = fork();
    if (process == 0) {
        child(player);
    }
    demand(process > 0, "the system gives a child");
    demand(waitpid(process, &status, 0) == process && status == 0, "a child ends well");
    player->forks_left--;
    player->forks++;
}

/* ---- Programs ---- */

static void play(struct player *player, const struct rig_record *record)
{
    struct block *block = &player->blocks[record->slot];
    player->calls++;
    if (player->forks_left > 0 && player->calls % FORK_CALLS == 0) {
        fork_once(player);
    }
    switch (record->op) {
    case RIG_OP_ALLOC:
        take(player, block, record);
        break;
    case RIG_OP_REALLOC:
        resize(player, block, record);
        break;
    case RIG_OP_FREE:
        drop(player, block);
        break;
    case RIG_OP_MULTI_ALLOC:
        take_many(player, record);
        break;
    case RIG_OP_MULTI_FREE:
        drop_many(player, record);
        break;
    case RIG_OP_SIZE:
    case RIG_OP_VALIDATE_BLOCK:
    case RIG_OP_SET_USER_VALUE:
    case RIG_OP_GET_USER_INFO:
    case RIG_OP_SET_USER_FLAGS:
    case RIG_OP_WRITE:
    case RIG_OP_READ:
        of_block(player, block, record);
        break;
    case RIG_OP_CREATE:
        create(player, record);
        break;
    case RIG_OP_DESTROY:
        if (record->heap >= SHARED_COUNT) {
            destroy(player, record->heap - SHARED_COUNT);
        }
        break;
    case RIG_OP_LOCK:
        lock(player);
        break;
    case RIG_OP_UNLOCK:
        unlock(player);
        break;
    case RIG_OP_WALK:
    case RIG_OP_WALK_STEP:
        walk(player, record);
        break;
    case RIG_OP_SECTION_ENTER:
    case RIG_OP_SECTION_TRY:
    case RIG_OP_SECTION_LEAVE:
        section(player, record);
        break;
    case RIG_OP_PROCESS_HEAPS:
    case RIG_OP_VALIDATE_ALL:
        of_process(player, record);
        break;
    default:
        of_heap(player, record);
        break;
    }
}

static void let_go(struct player *player)
{
    while (player->locks > 0) {
        unlock(player);
    }
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        for (; player->entered[idx] > 0; player->entered[idx]--) {
            LeaveCriticalSection(&sections[idx]);
        }
    }
    for (unsigned own = 0; own < RIG_HEAP_COUNT - SHARED_COUNT; own++) {
        destroy(player, own);
    }
    for (unsigned idx = 0; idx < SLOT_COUNT; idx++) {
        drop(player, &player->blocks[idx]);
    }
}

/* With one program for all, every thread begins at another place of it. */
static void play_program(struct player *player, const struct rig_program *program)
{
    const unsigned start =
        player->count > 1 ? 0 : program->count * player->number / player->threads;
    for (unsigned idx = 0; idx < program->count; idx++) {
        play(player, &program->records[(start + idx) % program->count]);
    }
    let_go(player);
}

static void *player_main(void *context)
{
    struct player *player = context;
    (void)pthread_barrier_wait(player->together);
    for (size_t turn = 0; turn < player->count; turn++) {
        const size_t at = (turn + player->number * (player->count / 8 + 1)) % player->count;
        play_program(player, &player->programs[at]);
    }
    return NULL;
}

static struct rig_played all_play(unsigned threads, unsigned forks,
                                  const struct rig_program *programs, size_t count)
{
    static struct player players[RIG_PLAYERS_MAX];
    struct rig_played played = {.calls = 0};
    pthread_barrier_t together;
    demand(pthread_barrier_init(&together, NULL, threads) == 0, "a barrier");
    for (unsigned idx = 0; idx < threads; idx++) {
        players[idx] = (struct player){
            .number = idx,
            .threads = threads,
            .together = &together,
            .programs = programs,
            .count = count,
            .forks_left = forks,
        };
        demand(pthread_create(&players[idx].thread, NULL, player_main, &players[idx]) == 0,
               "the system gives as many threads");
    }
    for (unsigned idx = 0; idx < threads; idx++) {
        (void)pthread_join(players[idx].thread, NULL);
        played.calls += players[idx].calls;
        played.forks += players[idx].forks;
        played.large_count += players[idx].large;
    }
    (void)pthread_barrier_destroy(&together);
    return played;
}

/* The verifier holds freed blocks back, and counts those that are left by itself. */
static void whole_and_empty(HANDLE heap, bool verified)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    demand(sums.live_count == 0, "nothing left by the verifier's count");
    while (HeapWalk(heap, &entry) != FALSE) {
        demand(verified || (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) == 0,
               "nothing left in the heap");
    }
    demand(HeapValidate(heap, 0, NULL) != FALSE, "the heap is whole");
    demand(HeapDestroy(heap) != FALSE, "the heap can be destroyed");
}

struct rig_played rig_players_run(unsigned threads, unsigned forks, const char *verified,
                                  const struct rig_program *programs, size_t count)
{
    const struct nth_seam seam = {.report = reported};
    nth_seam_set(&seam);
    if (verified != NULL) {
        verify(verified);
    }
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        InitializeCriticalSection(&sections[idx]);
    }
    InitializeCriticalSection(&second_lock);
    shared[0] = HeapCreate(0, 0, 0);
    shared[1] = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &second_lock, NULL);
    demand(shared[0] != NULL && shared[1] != NULL, "heaps to share");
    const struct rig_played played = all_play(threads, forks, programs, count);
    whole_and_empty(shared[0], verified != NULL);
    whole_and_empty(shared[1], verified != NULL);
    for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
        DeleteCriticalSection(&sections[idx]);
    }
    DeleteCriticalSection(&second_lock);
    nth_process_reset();
    demand(nth_balance_now().reserved_bytes == 0, "all pages are given back");
    return played;
}
