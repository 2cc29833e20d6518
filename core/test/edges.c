/* SPDX-License-Identifier: MIT
 *
 * Where a program seldom comes: tables that are full, system calls that fail, entries that are no
 * elements, threads that start core at once, reports and assertions that print. */
#include "support/forge.h"
#include "support/leave.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "config.h"
#include "sanitize.h"

#define PAGE ((SIZE_T)NTH_PAGE_BYTES)
#define GRANULE ((SIZE_T)NTH_GRANULE_BYTES)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define WARM_COUNT 40u
#define WARM_BYTES ((SIZE_T)100)

static PVOID warm_up(HANDLE heap)
{
    PVOID block = NULL;
    for (unsigned count = 0; count < WARM_COUNT; count++) {
        block = HeapAlloc(heap, 0, WARM_BYTES);
        assert_non_null(block);
    }
    return block;
}

/* ---- in a child process ---- */

/* What the child wrote to standard error, and how it ended. */
static int in_child(void (*body)(void), char *text, size_t text_bytes)
{
    int ends[2];
    int how = 0;
    size_t len = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        leave_by_abort();
        body();
        leave(0);
    }
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && len + 1 < text_bytes; len += (size_t)(got > 0 ? got : 0)) {
        got = read(ends[0], text + len, text_bytes - 1 - len);
    }
    text[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &how, 0), child);
    return how;
}

static char said[4096];

static void demand_good_child(void (*body)(void))
{
    const int how = in_child(body, said, sizeof(said));
    if (how != 0) {
        print_message("%s\n", said);
    }
    assert_int_equal(how, 0);
}

#define CHILD_DEMAND(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)dprintf(STDERR_FILENO, "line %d: %s\n", __LINE__, #condition);                   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* ---- assertions and reports that print ---- */

static void assert_wrong(void)
{
    nth_assert_failed("pigs fly", "pigs.c", 7);
}

static void an_assertion_names_itself_and_ends_the_process(void **state)
{
    (void)state;
    const int how = in_child(assert_wrong, said, sizeof(said));
    assert_true(WIFSIGNALED(how));
    assert_int_equal(WTERMSIG(how), SIGABRT);
    assert_non_null(strstr(said, "heaprig: core is wrong: pigs.c:7: pigs fly\n"));
}

/* Without a hook. */
static void report_with_field(void)
{
    nth_seam_set(NULL);
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = HeapAlloc(heap, 0, 100);
    rig_flip((uint8_t *)block - 8);
    CHILD_DEMAND(!HeapFree(heap, 0, block));
}

static void report_without_field(void)
{
    nth_seam_set(NULL);
    HANDLE heap = HeapCreate(0, 0, 0);
    CHILD_DEMAND(!HeapFree(heap, 0, (uint8_t *)HeapAlloc(heap, 0, 100) + 1));
}

static void a_report_without_a_hook_is_printed(void **state)
{
    (void)state;
    assert_int_equal(in_child(report_with_field, said, sizeof(said)), 0);
    assert_non_null(strstr(said, "heaprig: HeapFree: heap 0x"));
    assert_non_null(strstr(said, ", field block.header: "));
    assert_non_null(strstr(said, "(BLOCK_HEADER)\n"));
    assert_int_equal(in_child(report_without_field, said, sizeof(said)), 0);
    assert_non_null(strstr(said, ", no field: "));
    assert_non_null(strstr(said, "(MISALIGNED_POINTER)\n"));
}

/* ---- system calls that fail ---- */

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define MACHINE AUDIT_ARCH_I386
#endif

/* From here on this system call of this process fails. FALSE where that cannot be arranged. */
static BOOLEAN deny(unsigned number)
{
#ifdef MACHINE
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
    (void)number;
    return FALSE;
#endif
}

static void without_randomness(void)
{
    struct nth_seam seam = rig_seam();
    seam.seeded = FALSE;
    nth_seam_set(&seam);
    if (!deny(SYS_getrandom)) {
        return;
    }
    HANDLE heap = HeapCreate(0, 0, 0);
    CHILD_DEMAND(heap != NULL);
    CHILD_DEMAND(HeapAlloc(heap, 0, 100) != NULL);
    CHILD_DEMAND(HeapValidate(heap, 0, NULL));
}

static void keys_are_drawn_without_the_systems_randomness_too(void **state)
{
    (void)state;
    demand_good_child(without_randomness);
}

/* What is there stays usable; nothing more can be had, nor given back. */
static void without_protection(const struct nth_pages *pages)
{
    struct nth_seam seam = rig_seam();
    seam.pages = pages;
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(0, 0, 0);
    PVOID block = HeapAlloc(heap, 0, 0x4000);
    PVOID large = HeapAlloc(heap, 0, LARGE_BYTES);
    CHILD_DEMAND(large != NULL);
    const struct nth_balance before = nth_balance_now();
    if (!deny(SYS_mprotect)) {
        return;
    }
    CHILD_DEMAND(pages->protect(pages->self, NULL, large, PAGE, FALSE) == NTH_SEAM_REFUSED);
    CHILD_DEMAND(HeapAlloc(heap, 0, LARGE_BYTES) == NULL);
    CHILD_DEMAND(HeapAlloc(heap, 0, 0x40000) == NULL);
    CHILD_DEMAND(HeapCreate(0, 0, 0) == NULL);
    CHILD_DEMAND(nth_balance_now().committed_bytes == before.committed_bytes);
    CHILD_DEMAND(HeapReAlloc(heap, 0, large, LARGE_BYTES / 2 + 0x40000) == large);
    CHILD_DEMAND(nth_balance_now().committed_bytes == before.committed_bytes);
    CHILD_DEMAND(HeapFree(heap, 0, block));
    CHILD_DEMAND(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

static void without_protection_in_an_arena(void)
{
    without_protection(nth_arena_pages(nth_arena_create(0x4000000, 0x1000000)));
}

static void without_protection_on_the_system(void)
{
    without_protection(nth_pages_os());
}

static void pages_that_the_system_does_not_open_are_refused(void **state)
{
    (void)state;
    demand_good_child(without_protection_in_an_arena);
    demand_good_child(without_protection_on_the_system);
}

#ifdef SYS_mmap2
#define MAP_CALL SYS_mmap2
#else
#define MAP_CALL SYS_mmap
#endif

/* The first locks are core's own data; further ones come a page at a time. */
static void without_mappings(void)
{
    const struct nth_locks *locks = nth_locks_os();
    void *lock = NULL;
    unsigned count = 0;
    if (!deny(MAP_CALL)) {
        return;
    }
    while (count < 100000u && locks->create(locks->self, &lock) == NTH_SEAM_OK) {
        count++;
    }
    CHILD_DEMAND(count > 0);
    CHILD_DEMAND(count < 100000u);
    locks->destroy(locks->self, lock);
    CHILD_DEMAND(locks->create(locks->self, &lock) == NTH_SEAM_OK);
    CHILD_DEMAND(locks->create(locks->self, &lock) == NTH_SEAM_REFUSED);
    CHILD_DEMAND(nth_arena_create(0x100000, 0x100000) == NULL);
    CHILD_DEMAND(nth_arena_create_resident(0x100000, 0x100000) == NULL);
    CHILD_DEMAND(nth_arena_create_open(0x100000, 0x100000) == NULL);
    void *place = NULL;
    const struct nth_pages *pages = nth_pages_os();
    CHILD_DEMAND(pages->reserve(pages->self, NULL, GRANULE, &place) == NTH_SEAM_REFUSED);
}

static void locks_and_reservations_that_the_system_does_not_give_are_refused(void **state)
{
    (void)state;
    demand_good_child(without_mappings);
}

/* Room for its tables, and none for itself. */
static void an_arena_larger_than_all_addresses_is_refused(void **state)
{
    (void)state;
    if (sizeof(void *) == 8) {
        const size_t most = (size_t)1 << (sizeof(void *) == 8 ? 47 : 30);
        assert_null(nth_arena_create(most, PAGE));
    }
}

/* ---- pages ---- */

static void executable_pages_of_the_system_can_be_run(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    seam.pages = nth_pages_os();
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    uint8_t *code = HeapAlloc(heap, 0, 16);
    assert_non_null(code);
#if defined(__x86_64__) || defined(__i386__)
    static const uint8_t give_42[] = {0xB8, 42, 0, 0, 0, 0xC3}; /* mov eax, 42; ret */
    memcpy(code, give_42, sizeof(give_42));
    int (*run)(void) = NULL;
    memcpy(&run, &code, sizeof(run));
    assert_int_equal(run(), 42);
#endif
    uint8_t *large = HeapAlloc(heap, 0, LARGE_BYTES);
    assert_non_null(large);
#if defined(__x86_64__) || defined(__i386__)
    memcpy(large, give_42, sizeof(give_42));
    memcpy(&run, &large, sizeof(run));
    assert_int_equal(run(), 42);
#endif
    assert_true(HeapDestroy(heap));
    nth_seam_set(NULL);
}

static struct nth_pages odd; /* the rig's pages, but for one call */
static const struct nth_pages *plain;
static uintptr_t odd_place;

static enum nth_seam_status reserve_odd(void *self, const struct nth_site *site, size_t bytes,
                                        void **base)
{
    const enum nth_seam_status status = plain->reserve(self, site, bytes, base);
    if (status == NTH_SEAM_OK && odd_place != 0) {
        (void)plain->release(self, site, *base, bytes);
        *base = (void *)odd_place;
    }
    return status;
}

/* D86: refused, and not believed. */
static void a_reservation_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    plain = seam.pages;
    odd = *plain;
    odd.reserve = reserve_odd;
    seam.pages = &odd;
    const uintptr_t places[] = {
        plain->low - GRANULE,
        plain->low + PAGE,
        (uintptr_t)(plain->low + plain->span_bytes),
        (uintptr_t)(plain->low + plain->span_bytes) + GRANULE,
        (uintptr_t)(plain->low + plain->span_bytes) - GRANULE,
    };
    for (size_t idx = 0; idx < sizeof(places) / sizeof(places[0]); idx++) {
        odd_place = 0;
        nth_seam_set(&seam);
        assert_non_null(GetProcessHeap());
        odd_place = places[idx];
        assert_null(HeapCreate(0, 0x20000, 0x40000));
        assert_int_equal(nth_balance_now().reservation_count > 0, 1);
    }
    odd_place = 0;
    assert_non_null(HeapCreate(0, 0, 0));
    seam.pages = plain;
    nth_seam_set(&seam);
}

/* What ends just where the page source's addresses end is its own. The map takes a granule, too. */
static void a_reservation_at_the_very_end_is_taken(void **state)
{
    (void)state;
    const struct nth_region *usual = nth_region_of(rig_heap_new());
    const size_t each = (usual->hold_bytes + GRANULE - 1) & ~(GRANULE - 1);
    struct nth_arena *arena = nth_arena_create(20 * each + GRANULE, 0x400000);
    struct nth_seam seam = rig_seam();
    seam.pages = nth_arena_pages(arena);
    nth_seam_set(&seam);
    uintptr_t last = 0;
    for (HANDLE heap = HeapCreate(0, 0, 0); heap != NULL; heap = HeapCreate(0, 0, 0)) {
        const struct nth_region *region = nth_region_of(heap);
        const uintptr_t end = (uintptr_t)(region->hold_base + region->hold_bytes);
        last = end > last ? end : last;
        assert_non_null(HeapAlloc(heap, 0, 100));
    }
    assert_true(((last + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1)) ==
                seam.pages->low + seam.pages->span_bytes);
    nth_seam_set(NULL);
    nth_arena_destroy(arena);
}

/* ---- tables ---- */

#define FOREIGN_BYTES ((SIZE_T)0x10000)

static void callers_blocks_outside_of_the_page_source_are_counted(void **state)
{
    (void)state;
    HANDLE heaps[NTH_FOREIGN_MAX_COUNT + 1];
    const size_t bytes = (NTH_FOREIGN_MAX_COUNT + 2u) * FOREIGN_BYTES;
    uint8_t *mapping =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapping != MAP_FAILED);
    uint8_t *first = mapping + (GRANULE - (uintptr_t)mapping % GRANULE) % GRANULE;
    for (unsigned idx = 0; idx <= NTH_FOREIGN_MAX_COUNT; idx++) {
        heaps[idx] =
            RtlCreateHeap(0, first + idx * FOREIGN_BYTES, FOREIGN_BYTES, FOREIGN_BYTES, NULL, NULL);
        assert_int_equal(heaps[idx] != NULL, idx < NTH_FOREIGN_MAX_COUNT);
    }
    for (unsigned idx = 0; idx < NTH_FOREIGN_MAX_COUNT; idx++) {
        PVOID block = HeapAlloc(heaps[idx], 0, 100);
        assert_non_null(block);
        assert_true(HeapFree(heaps[idx], 0, block));
    }
    assert_true(HeapDestroy(heaps[NTH_FOREIGN_MAX_COUNT / 2]));
    heaps[NTH_FOREIGN_MAX_COUNT] = RtlCreateHeap(0, first + NTH_FOREIGN_MAX_COUNT * FOREIGN_BYTES,
                                                 FOREIGN_BYTES, FOREIGN_BYTES, NULL, NULL);
    assert_non_null(heaps[NTH_FOREIGN_MAX_COUNT]);
    const struct rig_outcome outcome = rig_free(heaps[0], first + bytes - 2 * FOREIGN_BYTES);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    nth_process_reset();
    nth_forget(mapping, bytes);
    assert_int_equal(munmap(mapping, bytes), 0);
}

struct tables {
    unsigned seen;
    size_t bytes;
};

static BOOLEAN count_tables(void *context, const struct nth_field *field)
{
    struct tables *tables = context;
    if (strcmp(field->name, "heaps.table") == 0) {
        tables->seen++;
        tables->bytes += field->bytes;
        (void)nth_peek((const uint8_t *)field->address + field->bytes - 1);
    }
    return TRUE;
}

/* 256 find room in core's own data. Each further table is a reservation: all of it is told. */
static void tables_of_many_heaps_are_told_as_fields(void **state)
{
    (void)state;
    struct tables tables = {0, 0};
    assert_non_null(GetProcessHeap());
    for (unsigned count = 1; count < 256; count++) {
        assert_non_null(HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE));
    }
    (void)nth_process_fields(count_tables, &tables);
    assert_int_equal(tables.seen, 0);
    const size_t before = nth_balance_now().committed_bytes;
    HANDLE heap = HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE);
    assert_non_null(heap);
    (void)nth_process_fields(count_tables, &tables);
    assert_int_equal(tables.seen, 1);
    const size_t with_heap = nth_balance_now().committed_bytes - before;
    HANDLE next = HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE);
    assert_non_null(next);
    const size_t heap_bytes = nth_balance_now().committed_bytes - before - with_heap;
    assert_int_equal(tables.bytes, with_heap - heap_bytes);
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 258);
    assert_true(HeapDestroy(heap));
    assert_true(HeapValidate(next, 0, NULL));
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 257);
    assert_non_null(HeapCreate(HEAP_NO_SERIALIZE, 0, PAGE));
    assert_true(RtlValidateProcessHeaps());
    PVOID block = HeapAlloc(next, 0, 100);
    assert_true(HeapFree(next, 0, block));
}

/* ---- walks ---- */

static void demand_no_element(HANDLE heap, WORD flags, PVOID data)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = data, .wFlags = flags};
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = &entry});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    assert_int_equal(outcome.reports, 0);
}

static void a_walk_does_not_go_on_from_what_is_no_element(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    uint8_t *base = heap;
    uint8_t *block = HeapAlloc(heap, 0, 100);
    uint8_t *large = HeapAlloc(heap, 0, LARGE_BYTES);
    uint8_t *others = HeapAlloc(rig_heap_new(), 0, 100);
    demand_no_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, base);
    demand_no_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, base + 2 * PAGE + 8);
    demand_no_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, base + 3 * PAGE);
    demand_no_element(heap, PROCESS_HEAP_REGION, base + PAGE);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, block + 16);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, base + 8);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, base + 14 * PAGE + 16);
    demand_no_element(heap, 0, block);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, others);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, &heap);
    demand_no_element(heap, 0, large);
    demand_no_element(heap, PROCESS_HEAP_UNCOMMITTED_RANGE, large);
    demand_no_element(heap, PROCESS_HEAP_ENTRY_BUSY, large + 64);
    assert_true(HeapValidate(heap, 0, NULL));
}

static void a_walk_meets_a_damaged_chunk_and_a_damaged_first_block(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HANDLE heap = rig_heap_new();
    PVOID first = HeapAlloc(heap, 0, 500);
    PVOID slot = warm_up(heap);
    while (entry.lpData != slot) {
        assert_true(HeapWalk(heap, &entry));
    }
    const struct nth_chunk chunk = forge_chunk_of(heap, slot);
    uint8_t *info = (uint8_t *)forge_chunk_user(&chunk);
    rig_flip(info);
    rig_report_forget();
    assert_false(HeapWalk(heap, &entry));
    rig_report_demand_field(NTH_CORRUPT_CHUNK, heap, info, "chunk.info");
    rig_flip(info);
    entry.lpData = NULL;
    const struct nth_field tag = rig_field_named(heap, "block.tag", first);
    const uint8_t whole = nth_peek(tag.address);
    nth_poke(tag.address, 0);
    assert_false(HeapWalk(heap, &entry));
    rig_report_demand_field(NTH_CORRUPT_BLOCK_MAP, heap, first, "block.tag");
    nth_poke(tag.address, whole);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- the way without the lock ---- */

static void a_slot_of_another_heap_is_not_given_to_this_one(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE other = rig_heap_new();
    PVOID own = warm_up(heap);
    PVOID block = warm_up(other);
    for (unsigned round = 0; round < 2; round++) {
        const struct rig_outcome outcome = rig_free(heap, block);
        rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
        rig_report_demand_field(NTH_CORRUPT_WRONG_HEAP, heap, block, NULL);
        assert_true(HeapFree(heap, 0, own));
        own = HeapAlloc(heap, 0, WARM_BYTES);
        assert_non_null(own);
    }
    assert_true(HeapFree(other, 0, block));
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapValidate(other, 0, NULL));
}

static void *use_and_spoil(void *context)
{
    HANDLE heap = context;
    (void)warm_up(heap);
    struct nth_heap *inside = forge_inside(heap);
    struct nth_cache *cache = nth_cache_at(inside, inside->state.cache_count - 1u);
    rig_flip((PVOID)&cache->owner);
    return cache;
}

/* It cannot be told whose the magazine was: nobody takes it over, and validating says so. */
static void a_thread_leaves_a_magazine_whose_owner_is_damaged(void **state)
{
    (void)state;
    pthread_t thread;
    void *cache = NULL;
    HANDLE heap = rig_heap_new();
    assert_int_equal(pthread_create(&thread, NULL, use_and_spoil, heap), 0);
    assert_int_equal(pthread_join(thread, &cache), 0);
    rig_report_forget();
    assert_false(HeapValidate(heap, 0, NULL));
    rig_report_demand_field(NTH_CORRUPT_CACHE, heap, NULL, "cache.owner");
    rig_flip(cache);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- compacting where pages are not core's to give back ---- */

static void a_callers_block_keeps_its_pages_when_it_is_compacted(void **state)
{
    (void)state;
    uint8_t *mapping =
        mmap(NULL, 3 * GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapping != MAP_FAILED);
    uint8_t *block = mapping + (GRANULE - (uintptr_t)mapping % GRANULE) % GRANULE;
    HANDLE heap = RtlCreateHeap(0, block, 2 * GRANULE, 2 * GRANULE, NULL, NULL);
    assert_non_null(heap);
    /* Up to 8 bytes behind a page's begin, as a block behind an uncommitted page stands. */
    PVOID first = HeapAlloc(heap, 0, PAGE + 8u - NTH_SEGMENT_FIRST - 8u);
    assert_non_null(first);
    const struct nth_block rest = forge_block(heap, (uint8_t *)heap + PAGE + 16u);
    assert_int_equal(rest.state, NTH_BLOCK_FREE);
    const size_t before = nth_balance_now().committed_bytes;
    assert_true(HeapCompact(heap, 0) > GRANULE);
    assert_int_equal(nth_balance_now().committed_bytes, before);
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapFree(heap, 0, first));
    assert_true(HeapDestroy(heap));
    nth_forget(mapping, 3 * GRANULE);
    assert_int_equal(munmap(mapping, 3 * GRANULE), 0);
}

static void raise_in_commit(void)
{
    RaiseException(0xE0005678u, 0, 0, NULL);
}

/* D18 */
static void compacting_all_heaps_tells_of_a_damaged_one(void **state)
{
    (void)state;
    HEAP_OPTIMIZE_RESOURCES_INFORMATION wish = {.Version = HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION};
    HANDLE heap = rig_heap_new();
    assert_int_equal(RtlSetHeapInformation(NULL, HeapOptimizeResources, &wish, sizeof(wish)),
                     STATUS_SUCCESS);
    rig_report_demand_none();
    rig_pages_on_commit(raise_in_commit);
    const struct rig_outcome outcome = rig_alloc(heap, 0, 0x20000);
    rig_pages_on_commit(NULL);
    assert_true(outcome.raised);
    rig_report_forget();
    assert_int_equal(RtlSetHeapInformation(NULL, HeapOptimizeResources, &wish, sizeof(wish)),
                     STATUS_HEAP_CORRUPTION);
    rig_report_demand_field(NTH_CORRUPT_DAMAGED, heap, NULL, NULL);
}

/* ---- threads that start core at once ---- */

static struct nth_locks slow;
static int second_is_there; /* atomic */
static int starting;        /* atomic */

static enum nth_seam_status create_slowly(void *self, void **lock)
{
    __atomic_store_n(&starting, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&second_is_there, __ATOMIC_ACQUIRE)) {
        (void)usleep(100);
    }
    (void)usleep(20000); /* the other one is waiting by now, or else it has nothing to wait for */
    return nth_locks_os()->create(self, lock);
}

static void *start_second(void *context)
{
    (void)context;
    while (!__atomic_load_n(&starting, __ATOMIC_ACQUIRE)) {
        (void)usleep(100);
    }
    __atomic_store_n(&second_is_there, 1, __ATOMIC_RELEASE);
    return GetProcessHeap();
}

static void two_threads_that_start_core_at_once_get_one_process_heap(void **state)
{
    (void)state;
    pthread_t thread;
    void *theirs = NULL;
    struct nth_seam seam = rig_seam();
    slow = *nth_locks_os();
    slow.create = create_slowly;
    seam.locks = &slow;
    nth_seam_set(&seam);
    second_is_there = 0;
    starting = 0;
    assert_int_equal(pthread_create(&thread, NULL, start_second, NULL), 0);
    HANDLE mine = GetProcessHeap();
    assert_int_equal(pthread_join(thread, &theirs), 0);
    assert_non_null(mine);
    assert_ptr_equal(theirs, mine);
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 1);
    seam.locks = NULL;
    nth_seam_set(&seam);
}

/* ---- fork ---- */

static RTL_CRITICAL_SECTION section;
static HANDLE section_heap;
static HANDLE plain_heap;
static HANDLE free_heap;

static void use_heaps_in_child(void)
{
    CHILD_DEMAND(HeapAlloc(plain_heap, 0, 100) != NULL);
    CHILD_DEMAND(HeapAlloc(free_heap, 0, 100) != NULL);
    CHILD_DEMAND(HeapAlloc(section_heap, 0, 100) != NULL);
    CHILD_DEMAND(section.RecursionCount == 1); /* the forking thread has it still */
    LeaveCriticalSection(&section);
    CHILD_DEMAND(section.OwningThread == NULL);
    CHILD_DEMAND(HeapValidate(section_heap, 0, NULL));
}

static void a_section_that_the_forking_thread_holds_stays_its_own(void **state)
{
    (void)state;
    InitializeCriticalSection(&section);
    section_heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &section, NULL);
    plain_heap = rig_heap_new();
    free_heap = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    assert_non_null(section_heap);
    EnterCriticalSection(&section);
    demand_good_child(use_heaps_in_child);
    LeaveCriticalSection(&section);
    assert_true(HeapDestroy(section_heap));
    DeleteCriticalSection(&section);
}

static void child_is_there(void)
{
}

/* What is no section any more is left alone. */
static void a_section_that_is_gone_is_no_obstacle_to_fork(void **state)
{
    (void)state;
    RTL_CRITICAL_SECTION *own =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(own != MAP_FAILED);
    InitializeCriticalSection(own);
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, own, NULL);
    assert_non_null(heap);
    RTL_CRITICAL_SECTION kept = *own;
    DeleteCriticalSection(own);
    demand_good_child(child_is_there);
    assert_int_equal(mprotect(own, PAGE, PROT_NONE), 0);
    demand_good_child(child_is_there);
    assert_int_equal(mprotect(own, PAGE, PROT_READ | PROT_WRITE), 0);
    *own = kept;
    InitializeCriticalSection(own);
    assert_true(HeapDestroy(heap));
    DeleteCriticalSection(own);
    assert_int_equal(munmap(own, PAGE), 0);
}

/* ---- what is no section ---- */

static BOOL entered;

static void try_no_section(void *context)
{
    entered = TryEnterCriticalSection(context);
}

static LONG go_on(EXCEPTION_POINTERS *info)
{
    (void)info;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* D28 */
static void no_section_can_be_tried_for(void **state)
{
    (void)state;
    EXCEPTION_RECORD record;
    RTL_CRITICAL_SECTION gone = {.LockSemaphore = NULL};
    RTL_CRITICAL_SECTION *const places[] = {&gone, rig_foreign(0)};
    for (size_t idx = 0; idx < 2; idx++) {
        assert_false(nth_guard(try_no_section, places[idx], &record));
        assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
        assert_int_equal(record.ExceptionInformation[1], (uintptr_t)places[idx]);
        PVOID handler = AddVectoredExceptionHandler(1, go_on);
        entered = TRUE;
        assert_true(nth_guard(try_no_section, places[idx], &record));
        assert_false(entered);
        EnterCriticalSection(places[idx]);
        LeaveCriticalSection(places[idx]);
        DeleteCriticalSection(idx == 0 ? &gone : places[idx]);
        assert_int_equal(RemoveVectoredExceptionHandler(handler), 1);
    }
}

/* Where the system chooses addresses, most of them are in no table at all. */
static void an_address_far_from_every_heap_is_foreign(void **state)
{
    (void)state;
    struct nth_seam seam = rig_seam();
    seam.pages = nth_pages_os();
    nth_seam_set(&seam);
    HANDLE heap = rig_heap_new();
    const struct rig_outcome outcome = rig_free(heap, (PVOID)(uintptr_t)0x10000);
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_FOREIGN_POINTER, heap, (PVOID)(uintptr_t)0x10000, NULL);
    assert_true(HeapDestroy(heap));
    nth_seam_set(NULL);
}

static BOOLEAN count_entries(void *context, const struct nth_field *field)
{
    *(unsigned *)context += strcmp(field->name, "map.entry") == 0;
    return TRUE;
}

/* The map of addresses is told wherever in it the heaps lie. */
static void heaps_far_up_are_in_the_map_that_is_told(void **state)
{
    (void)state;
    unsigned entries = 0;
    struct nth_seam seam = rig_seam();
    seam.pages = nth_pages_os();
    nth_seam_set(&seam);
    HANDLE heap = rig_heap_new();
    PVOID large = rig_block_new(heap, 0x100000);
    (void)nth_process_fields(count_entries, &entries);
    assert_true(entries > 0x100000 / NTH_GRANULE_BYTES);
    assert_true(HeapFree(heap, 0, large));
    assert_true(HeapDestroy(heap));
    nth_seam_set(NULL);
}

/* ---- an answer that is none ---- */

static LONG answer_7(EXCEPTION_POINTERS *info, void *context)
{
    (void)info;
    (void)context;
    return 7;
}

static void raise_under_a_wrong_filter(void *context)
{
    (void)context;
    NT_TRY
    {
        RaiseException(0xE0001111u, EXCEPTION_NONCONTINUABLE, 0, NULL);
    }
    NT_EXCEPT(answer_7, NULL)
    {
    }
    NT_END_TRY
}

static void a_filter_whose_answer_is_none_ends_the_process(void **state)
{
    (void)state;
    const NTSTATUS status = rig_child_status(raise_under_a_wrong_filter, NULL);
    assert_int_equal(status, STATUS_INVALID_DISPOSITION);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_assertion_names_itself_and_ends_the_process),
        TEST(a_report_without_a_hook_is_printed),
        TEST(keys_are_drawn_without_the_systems_randomness_too),
        TEST(pages_that_the_system_does_not_open_are_refused),
        TEST(locks_and_reservations_that_the_system_does_not_give_are_refused),
        TEST(an_arena_larger_than_all_addresses_is_refused),
        TEST(executable_pages_of_the_system_can_be_run),
        TEST(a_reservation_that_cannot_be_is_refused),
        TEST(a_reservation_at_the_very_end_is_taken),
        TEST(callers_blocks_outside_of_the_page_source_are_counted),
        TEST(tables_of_many_heaps_are_told_as_fields),
        TEST(a_walk_does_not_go_on_from_what_is_no_element),
        TEST(a_walk_meets_a_damaged_chunk_and_a_damaged_first_block),
        TEST(a_slot_of_another_heap_is_not_given_to_this_one),
        TEST(a_thread_leaves_a_magazine_whose_owner_is_damaged),
        TEST(a_callers_block_keeps_its_pages_when_it_is_compacted),
        TEST(compacting_all_heaps_tells_of_a_damaged_one),
        TEST(two_threads_that_start_core_at_once_get_one_process_heap),
        TEST(a_section_that_the_forking_thread_holds_stays_its_own),
        TEST(a_section_that_is_gone_is_no_obstacle_to_fork),
        TEST(no_section_can_be_tried_for),
        TEST(an_address_far_from_every_heap_is_foreign),
        TEST(heaps_far_up_are_in_the_map_that_is_told),
        TEST(a_filter_whose_answer_is_none_ends_the_process),
    };
    return cmocka_run_group_tests_name("edges", tests, NULL, NULL);
}
