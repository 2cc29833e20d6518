/* SPDX-License-Identifier: MIT
 *
 * The verifier at its edges: names beyond ASCII, tables that grow or cannot, several areas of
 * pages, logs in files, ELF files that are not what they were, faults under its lock. */
#include "support/forge.h"
#include "support/image.h"
#include "support/leave.h"
#include "support/watch.h"
#include "support/wild.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "verifier.h"

#define BYTES 100u
#define LOG_BYTES 65536u

static char span[8192]; /* addresses of modules that run no code */

/* ---- a module of its own inside this program ---- */

static PVOID made;

__attribute__((section("nth_corner"), noinline)) static void corner_allocate(HANDLE heap,
                                                                             unsigned deeper)
{
    if (deeper > 0) {
        corner_allocate(heap, deeper - 1);
    } else {
        made = HeapAlloc(heap, 0, BYTES);
    }
    made = *(PVOID volatile *)&made; /* no call in tail position */
}

__attribute__((section("nth_corner"), noinline)) static void corner_free(HANDLE heap, PVOID block,
                                                                         unsigned deeper)
{
    if (deeper > 0) {
        corner_free(heap, block, deeper - 1);
    } else {
        (void)HeapFree(heap, 0, block);
    }
    made = *(PVOID volatile *)&made;
}
extern char __start_nth_corner[]; /* NOLINT: the linker's name */
extern char __stop_nth_corner[];  /* NOLINT: the linker's name */

static void corner_load(const char *name)
{
    assert_int_equal(nth_verifier_module_load(name, __start_nth_corner,
                                              (SIZE_T)(__stop_nth_corner - __start_nth_corner)),
                     STATUS_SUCCESS);
}

/* ---- modules ---- */

static ULONG module_numbered_as(const char *name, struct nth_module_info *info)
{
    for (ULONG number = 1; nth_verifier_module(number, info); number++) {
        assert_int_equal(info->number, number);
        if (strcmp(info->name, name) == 0) {
            return number;
        }
    }
    return 0;
}

static void names_are_told_as_utf_16(void **state)
{
    /* Two, three and four bytes; what is no UTF-8 stays as it is. */
    static const char name[] = "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z\xFFy\xC3";
    static const USHORT wide[] = {0xE4, 0x20AC, 0xD83D, 0xDE00, 'z', 0xFF, 'y', 0xC3, 0};
    struct nth_module_info info;
    (void)state;
    assert_false(nth_verifier_module(1, &info));
    watch_start("leak");
    assert_int_equal(nth_verifier_module_load(name, span, 16), STATUS_SUCCESS);
    assert_int_not_equal(module_numbered_as(name, &info), 0);
    assert_memory_equal(info.wide_name, wide, sizeof(wide));
    assert_int_equal(info.base, (ULONG_PTR)span);
    assert_int_equal(info.high, (ULONG_PTR)span + 16);
    assert_false(nth_verifier_module(0, &info));
}

/* More bytes than a code takes, halves of surrogates, codes past the last one, bytes that begin
 * none; and the codes next to them. */
static void what_is_no_code_stays_byte_by_byte(void **state)
{
    static const struct {
        const char *name;
        USHORT wide[9];
    } rows[] = {
        {"\xC0\x80z", {0xC0, 0x80, 'z'}},
        {"\xC1\xBF", {0xC1, 0xBF}},
        {"\xC2\x80", {0x80}},
        {"\xE0\x9F\xBF", {0xE0, 0x9F, 0xBF}},
        {"\xE0\xA0\x80", {0x800}},
        {"\xF0\x8F\xBF\xBF", {0xF0, 0x8F, 0xBF, 0xBF}},
        {"\xF0\x90\x80\x80", {0xD800, 0xDC00}},
        {"\xED\x9F\xBF", {0xD7FF}},
        {"\xED\xA0\x80", {0xED, 0xA0, 0x80}},
        {"\xED\xBF\xBF", {0xED, 0xBF, 0xBF}},
        {"\xEE\x80\x80", {0xE000}},
        {"\xF4\x8F\xBF\xBF", {0xDBFF, 0xDFFF}},
        {"\xF4\x90\x80\x80", {0xF4, 0x90, 0x80, 0x80}},
        {"\xF8\x90\x80\x80\xBF", {0xF8, 0x90, 0x80, 0x80, 0xBF}},
        {"\xE2\x82z", {0xE2, 0x82, 'z'}},
    };
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        USHORT wide[9] = {0};
        nth_name_widen(rows[row].name, wide);
        assert_memory_equal(wide, rows[row].wide, sizeof(wide));
    }
}

static void many_modules_come_go_and_come_back(void **state)
{
    enum { COUNT = 200 };
    struct nth_module_info info;
    char name[32];
    ULONG number = 0;
    (void)state;
    watch_start("leak");
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned idx = 0; idx < COUNT; idx++) {
            (void)snprintf(name, sizeof(name), "module%u", idx);
            assert_int_equal(nth_verifier_module_load(name, span + 32u * idx, 32), STATUS_SUCCESS);
            assert_int_equal(nth_verifier_module_load(name, span + 32u * idx, 32),
                             STATUS_INVALID_PARAMETER);
        }
        for (unsigned idx = 0; idx < COUNT; idx++) {
            (void)snprintf(name, sizeof(name), "module%u", idx);
            const ULONG found = module_numbered_as(name, &info);
            assert_true(found != 0 && info.loaded);
            assert_true(turn == 0 || idx > 0 || found == number); /* the same one again */
            number = idx == 0 ? found : number;
            assert_int_equal(nth_verifier_module_unload(span + 32u * idx), STATUS_SUCCESS);
            assert_int_equal(nth_verifier_module_unload(span + 32u * idx),
                             STATUS_INVALID_PARAMETER);
            assert_true(nth_verifier_module(found, &info) && !info.loaded);
        }
    }
    watch_demand_none();
}

/* Its record, its two names, its place in the table of numbers, which is full then: each in turn.
 */
static void a_module_for_which_there_is_no_memory_is_not_there(void **state)
{
    static const char name[] = "a module with a name of some length, to be kept twice";
    struct nth_module_info info;
    unsigned refused = 0;
    (void)state;
    for (size_t left = 0; left < 4096; left += 16) {
        watch_start("leak");
        ULONG count = 0;
        while (nth_verifier_module(count + 1, &info)) {
            count++;
        }
        for (; count % 64u != 0; count++) {
            assert_int_equal(nth_verifier_module_load("m", span + 32u * count, 32), STATUS_SUCCESS);
        }
        watch_tables_leave(left);
        const NTSTATUS status = nth_verifier_module_load(name, span, 16);
        assert_true(status == STATUS_SUCCESS ||
                    (status == STATUS_NO_MEMORY && refused * 16u == left));
        assert_int_equal(nth_verifier_module(count + 1, &info), status == STATUS_SUCCESS);
        assert_int_equal(nth_verifier_module_unload(span),
                         status == STATUS_SUCCESS ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER);
        refused += status != STATUS_SUCCESS;
        rig_pages_refuse(FALSE);
        assert_int_equal(nth_verifier_module_load(name, span, 16), STATUS_SUCCESS);
        assert_true(nth_verifier_module(count + 1, &info));
        assert_string_equal(info.name, name);
        nth_process_reset();
    }
    assert_in_range(refused, NTH_WORDS(64, 32), 255);
}

/* Its path is made absolute: the program may change its folder later. */
static void a_relative_path_becomes_whole(void **state)
{
    char before[512];
    struct nth_module_info info;
    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(NTH_MODULE_DIR), 0);
    watch_start("leak");
    void *handle = dlopen("./subject.so", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    nth_verifier_look();
    assert_int_equal(chdir(before), 0);
    assert_int_not_equal(module_numbered_as("subject.so", &info), 0);
    assert_string_equal(info.path, NTH_MODULE_DIR "/./subject.so");
    assert_int_equal(nth_verifier_dlclose(handle), 0);
}

static void nothing_is_done_while_it_is_off(void **state)
{
    const struct nth_trace_frame frame = {.module = 1, .offset = 0x1234};
    struct nth_verifier_summary sums;
    struct watch_module subject;
    char text[64];
    (void)state;
    watch_load(&subject, "subject.so");
    watch_unload(&subject);
    assert_int_equal(nth_verifier_module_unload(span), STATUS_UNSUCCESSFUL);
    assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE", 0, 0), STATUS_UNSUCCESSFUL);
    assert_int_equal(nth_verifier_lowres(0, 0), STATUS_UNSUCCESSFUL);
    assert_null(nth_verifier_stop_at(0));
    assert_false(nth_verifier_knows(span));
    nth_verifier_look();
    nth_verifier_exit();
    nth_verifier_summary(&sums);
    assert_int_equal(sums.own_bytes, 0);
    nth_verifier_frame_name(&frame, text, sizeof(text));
    assert_string_equal(text, "0x1234");
}

/* Of whom all frames are, when none is outside of the pass-through libraries: of the outermost. */
static void with_nobody_outside_the_outermost_library_owns(void **state)
{
    struct nth_module_info info;
    (void)state;
    HANDLE heap = watch_begin("leak,pass=*");
    struct watch_module subject;
    watch_load(&subject, "subject.so");
    PVOID block = subject.calls->allocate(heap, BYTES);
    assert_non_null(block);
    assert_true(module_numbered_as("subject.so", &info) != 0);
    assert_true(info.pass_through);
    assert_int_equal(info.live_count, 0);
    watch_unload(&subject);
    watch_demand_none();
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

/* What libc keeps below these is libc's; below others its callers'. */
static void functions_that_keep_are_libcs_own(void **state)
{
    static const struct {
        const char *name;
        bool keeps;
    } rows[] = {{"setenv", true},       {"putenv", true}, {"setlocale", true}, {"tzset", true},
                {"__cxa_atexit", true}, {"dlopen", true}, {"strdup", false},   {"qsort", false}};
    (void)state;
    watch_start("leak");
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        void *function = dlsym(RTLD_NEXT, rows[row].name);
        if (function == NULL) {
            function = dlsym(RTLD_DEFAULT, rows[row].name);
        }
        Dl_info info;
        assert_non_null(function);
        assert_int_not_equal(dladdr(function, &info), 0);
        void *outer = nth_verifier_enter();
        const struct nth_module *module = nth_module_of((uintptr_t)function);
        const bool keeps = module != NULL && nth_module_keeps(module, (uintptr_t)function + 1);
        nth_verifier_leave(outer);
        /* A sanitizer has functions of its own in their place. */
        if (strstr(info.dli_fname, "libc.so") != NULL && keeps != rows[row].keeps) {
            fail_msg("%s of %s: %d", rows[row].name, info.dli_fname, keeps);
        }
    }
}

/* ---- looking ---- */

struct order {
    SIZE_T count;
    uint64_t serial;
};

static BOOLEAN in_order(void *context, const struct nth_allocation *block)
{
    struct order *order = context;
    assert_true(block->serial > order->serial);
    order->serial = block->serial;
    order->count++;
    return TRUE;
}

static BOOLEAN count_one(void *context, const struct nth_operation *one)
{
    struct order *order = context;
    assert_true(one->kind == NTH_OPERATION_ALLOCATE || one->kind == NTH_OPERATION_FREE);
    order->count++;
    return TRUE;
}

static void all_of_many_blocks_are_visited_in_order(void **state)
{
    enum { COUNT = 500 };
    static PVOID blocks[COUNT];
    struct order order = {0, 0};
    (void)state;
    HANDLE heap = watch_begin("leak");
    assert_int_equal(nth_verifier_operations(NULL, count_one, &order), 0);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, 16u + idx);
    }
    for (unsigned idx = 0; idx < COUNT;
         idx += 5) { /* handed out again: older places, newer blocks */
        assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
        blocks[idx] = rig_block_new(heap, 16u + idx);
    }
    assert_int_equal(nth_verifier_enumerate(heap, in_order, &order), COUNT);
    assert_int_equal(order.count, COUNT);
    order.count = 0;
    assert_int_equal(nth_verifier_operations(NULL, count_one, &order), COUNT + 2 * COUNT / 5);
    assert_int_equal(order.count, COUNT + 2 * COUNT / 5);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* One line on standard error, once. */
static void the_end_of_the_budget_is_told_once(void **state)
{
    static const char line[] =
        "heaprig: page heap: 4 mappings are in use: further blocks are light\n";
    char text[512] = "";
    int ends[2];
    int status = 0;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct nth_verifier_settings settings; /* without a hook, which would have it to itself */
        (void)dup2(ends[1], STDERR_FILENO);
        (void)nth_verifier_parse("pageheap=full:budget=4", &settings, NULL, 0);
        assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
        HANDLE heap = rig_heap_new();
        for (unsigned idx = 0; idx < 5; idx++) {
            (void)rig_block_new(heap, BYTES);
        }
        leave(0);
    }
    (void)close(ends[1]);
    size_t len = 0;
    for (ssize_t got = 0; (got = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0;) {
        len += (size_t)got;
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(text, line);
}

/* ---- tables ---- */

static void many_sections_are_told_apart(void **state)
{
    enum { COUNT = 700 };
    static CRITICAL_SECTION sections[COUNT];
    (void)state;
    watch_start("locks");
    for (unsigned idx = 0; idx < COUNT; idx++) {
        InitializeCriticalSection(&sections[idx]);
    }
    for (unsigned idx = 0; idx < COUNT; idx++) {
        EnterCriticalSection(&sections[idx]);
        LeaveCriticalSection(&sections[idx]);
    }
    for (unsigned idx = 0; idx < COUNT; idx += 2) {
        DeleteCriticalSection(&sections[idx]);
    }
    for (unsigned idx = 1; idx < COUNT; idx += 2) {
        EnterCriticalSection(&sections[idx]);
        LeaveCriticalSection(&sections[idx]);
        DeleteCriticalSection(&sections[idx]);
    }
    watch_demand_none();
}

static void full_blocks_lie_in_several_areas(void **state)
{
    enum { COUNT = 5 };
    const SIZE_T bytes = NTH_WORDS(0x500000, 0x90000);
    char *blocks[COUNT];
    (void)state;
    HANDLE heap = watch_begin("pageheap=full,delayed=0");
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned idx = 0; idx < COUNT; idx++) {
            blocks[idx] = rig_block_new(heap, bytes - 16u * idx);
            blocks[idx][0] = 1;
            blocks[idx][bytes - 16u * idx - 1u] = 2;
        }
        for (unsigned idx = 0; idx < COUNT; idx++) { /* the oldest area first */
            char *last = &blocks[idx][bytes - 16u * idx - 1u];
            assert_int_equal(*last, 2);
            assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
        }
    }
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.full_count, 2 * COUNT);
    watch_finish(heap);
}

/* Without room for a larger table the chains get longer, and nothing is lost. */
static void a_table_that_cannot_grow_serves_on(void **state)
{
    enum { FIRST = 1024, MORE = 64 };
    static PVOID blocks[FIRST + MORE];
    struct nth_track *tracks[MORE];
    (void)state;
    HANDLE heap = watch_begin("leak");
    void *outer = nth_verifier_enter();
    for (unsigned idx = 0; idx < MORE; idx++) {
        tracks[idx] = nth_track_new();
        assert_non_null(tracks[idx]);
    }
    for (unsigned idx = 0; idx < MORE; idx++) {
        nth_track_drop(tracks[idx]);
    }
    assert_ptr_equal(nth_track_new(), tracks[MORE - 1u]); /* used again */
    nth_track_drop(tracks[MORE - 1u]);
    nth_verifier_leave(outer);
    for (unsigned idx = 0; idx < FIRST + MORE; idx++) {
        if (idx == FIRST) {
            watch_tables_leave(0);
        }
        blocks[idx] = HeapAlloc(heap, 0, 16);
        /* The spare entries of the table were taken by the first blocks: what is left is none. */
        if (blocks[idx] == NULL) {
            assert_true(idx >= FIRST);
            break;
        }
    }
    for (unsigned idx = 0; idx < FIRST + MORE && blocks[idx] != NULL; idx++) {
        assert_true(nth_verifier_knows(blocks[idx]));
        assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
        assert_false(nth_verifier_knows(blocks[idx]));
        blocks[idx] = NULL;
    }
    rig_pages_refuse(FALSE);
    watch_finish(heap);
}

static const struct nth_trace *trace_numbered(unsigned number)
{
    struct nth_stack stack = {.count = 2, .addresses = {0x10000u + 5u * number, 0x99u}};
    void *outer = nth_verifier_enter();
    const struct nth_trace *kept = nth_trace_intern(&stack);
    nth_verifier_leave(outer);
    return kept;
}

/* A heap near the end of memory has as much of it below a shallow caller as below a deep one. */
static void stacks_and_modules_are_kept_in_what_was_had_at_the_start(void **state)
{
    enum { STACKS = 100, MODULES = 100 };
    char name[64];
    struct nth_verifier_summary sums;
    (void)state;
    watch_start("leak");
    nth_verifier_summary(&sums);
    const SIZE_T own = sums.own_bytes;
    for (unsigned idx = 0; idx < STACKS; idx++) {
        struct nth_stack stack = {.count = NTH_TRACE_DEPTH_MAX};
        for (unsigned depth = 0; depth < NTH_TRACE_DEPTH_MAX; depth++) {
            stack.addresses[depth] = 0x10000u + 1000u * idx + depth;
        }
        void *outer = nth_verifier_enter();
        assert_non_null(nth_trace_intern(&stack));
        nth_verifier_leave(outer);
    }
    for (unsigned idx = 0; idx < MODULES; idx++) {
        (void)snprintf(name, sizeof(name), "a module with a name of its own, %u", idx);
        assert_int_equal(nth_verifier_module_load(name, span + 32u * idx, 32), STATUS_SUCCESS);
    }
    nth_verifier_summary(&sums);
    assert_int_equal(sums.own_bytes, own);
    assert_int_equal(nth_balance_now().committed_bytes, own); /* nothing else is there */
}

static void stacks_are_kept_once_while_there_is_memory(void **state)
{
    enum { COUNT = 3000 };
    static const struct nth_trace *traces[COUNT];
    (void)state;
    watch_start("leak");
    watch_tables_leave(0);
    assert_null(trace_numbered(0)); /* there is no table yet */
    rig_pages_refuse(FALSE);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        if (idx == 1000) { /* before the table grows, which it cannot then */
            rig_pages_refuse_only("verifier.");
            rig_pages_refuse(TRUE);
        }
        traces[idx] = trace_numbered(idx);
        assert_true(traces[idx] != NULL || idx > 1000);
    }
    rig_pages_refuse(FALSE);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        const struct nth_trace *again = trace_numbered(idx);
        assert_non_null(again);
        assert_true(traces[idx] == NULL || traces[idx] == again);
        assert_int_equal(again->frames[0].offset, 0x10000u + 5u * idx);
        traces[idx] = again;
    }
    for (unsigned idx = 0; idx < COUNT; idx++) { /* the table has grown meanwhile */
        assert_ptr_equal(trace_numbered(idx), traces[idx]);
    }
}

/* So much is left to the tables, from nothing up: an allocation is made whole or not at all. */
static void an_allocation_without_room_in_the_tables_is_no_memory(void **state)
{
    static const char *const settings[] = {"leak", "heaps,delayed=2", "pageheap=full,delayed=2",
                                           "leak,flags=htc+hfc"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        unsigned served = 0;
        unsigned refused = 0;
        for (size_t left = 0; left < 0x3800; left += left < 0x400 ? 16 : 0x200) {
            HANDLE heap = watch_begin(settings[row]);
            watch_tables_leave(left);
            PVOID block = HeapAlloc(heap, HEAP_ZERO_MEMORY, BYTES);
            PVOID moved = block != NULL ? HeapReAlloc(heap, 0, block, 70 * BYTES) : NULL;
            served += moved != NULL;
            refused += block == NULL;
            struct nth_verifier_summary sums;
            nth_verifier_summary(&sums);
            assert_int_equal(sums.live_count, block != NULL);
            assert_int_equal(HeapValidate(heap, 0, NULL), TRUE);
            rig_pages_refuse(FALSE);
            PVOID other = rig_block_new(heap, BYTES);
            assert_int_equal(HeapFree(heap, 0, other), TRUE);
            assert_true(block == NULL || HeapFree(heap, 0, moved != NULL ? moved : block));
            watch_finish(heap);
            nth_process_reset();
        }
        assert_true(served > 0 && refused > 0);
    }
}

static enum nth_seam_status no_lock(void *self, void **lock)
{
    (void)self;
    (void)lock;
    return NTH_SEAM_REFUSED;
}

static void without_a_lock_it_is_not_switched_on(void **state)
{
    static struct nth_locks locks;
    struct nth_verifier_settings settings;
    struct nth_seam seam = rig_seam();
    (void)state;
    assert_int_equal(nth_verifier_parse("leak", &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_process_start(), NTH_OK);
    const struct nth_locks *real = nth_process.locks;
    locks = *real;
    locks.create = no_lock;
    nth_process.locks = &locks; /* for the verifier's own, */
    assert_int_equal(nth_verifier_start(&settings), STATUS_NO_MEMORY);
    assert_int_equal(nth_verifier_layers(), 0);
    nth_process.locks = real;
    seam.locks = &locks; /* and for the process's */
    nth_seam_set(&seam);
    assert_int_equal(nth_verifier_start(&settings), STATUS_NO_MEMORY);
    assert_int_equal(nth_verifier_layers(), 0);
    seam = rig_seam();
    nth_seam_set(&seam);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    void *outer = nth_verifier_enter();
    assert_null(nth_verifier_take(SIZE_MAX - 64u));
    assert_null(nth_verifier_take(SIZE_MAX / 2u + 64u));
    nth_verifier_leave(outer);
}

/* ---- sizes ---- */

static void sizes_that_no_block_can_have_are_no_memory(void **state)
{
    static const char *const settings[] = {"heaps", "pageheap=full"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        PVOID block = rig_block_new(heap, BYTES);
        assert_null(HeapAlloc(heap, 0, SIZE_MAX - 8u));
        watch_demand(0x4, (ULONG_PTR)heap, SIZE_MAX - 8u, 0, 0);
        assert_null(HeapReAlloc(heap, 0, block, SIZE_MAX - 8u));
        watch_demand(0x4, (ULONG_PTR)heap, SIZE_MAX - 8u, 0, 0);
        assert_int_equal(RtlSizeHeap(heap, 0, block), BYTES);
        assert_true(RtlValidateHeap(heap, 0, block));
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* ---- what the heap refuses ---- */

static void a_block_that_cannot_be_freed_stays_in_the_books(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    PVOID block = rig_block_new(heap, BYTES);
    const uintptr_t header = (uintptr_t)block - 3u;
    const uint8_t before = wild_read(header);
    wild_write(header, before ^ 0x10u);
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
    assert_int_equal(rig_report_count(), 1);
    rig_report_forget();
    assert_true(nth_verifier_knows(block));
    wild_write(header, before);
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.live_count, 1);
    watch_demand_none();
}

/* What the heap itself refuses before it looks at the block. */
static void a_damaged_heap_frees_nothing(void **state)
{
    static const char *const settings[] = {"leak", "heaps"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        HANDLE heap = watch_begin(settings[row]);
        PVOID block = rig_block_new(heap, BYTES);
        struct nth_heap *inside = forge_inside(heap);
        inside->config.seal ^= 1u;
        assert_int_equal(HeapFree(heap, 0, block), FALSE);
        assert_null(HeapReAlloc(heap, 0, block, 2 * BYTES));
        assert_true(rig_report_count() > 0);
        rig_report_forget();
        assert_true(nth_verifier_knows(block));
        inside->config.seal ^= 1u;
        struct nth_verifier_summary sums;
        nth_verifier_summary(&sums);
        assert_int_equal(sums.live_count, 1);
        assert_int_equal(sums.free_count, 0);
        watch_demand_none();
        nth_process_reset();
    }
}

static void a_reallocation_can_be_starved(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak,lowres=0:0");
    char *block = rig_block_new(heap, BYTES);
    block[0] = 7;
    assert_int_equal(nth_verifier_lowres(1000000, 0), STATUS_SUCCESS);
    assert_null(HeapReAlloc(heap, 0, block, 2 * BYTES));
    assert_int_equal(block[0], 7);
    assert_int_equal(nth_verifier_lowres(0, 0), STATUS_SUCCESS);
    block = HeapReAlloc(heap, 0, block, 2 * BYTES);
    assert_non_null(block);
    assert_int_equal(block[0], 7);
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    assert_int_equal(sums.refused_count, 1);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

/* Without stamps the heap itself says what is wrong with an address. */
static void an_address_that_is_no_block_is_the_heaps_to_refuse(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    char *block = rig_block_new(heap, BYTES);
    assert_null(HeapReAlloc(heap, 0, block + 16, 2 * BYTES));
    assert_int_equal(rig_report_count(), 1);
    rig_report_forget();
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_finish(heap);
}

/* Takes the verifier's lock in a thread of its own. */
static void *knows_elsewhere(void *block)
{
    return nth_verifier_knows(block) ? block : NULL;
}

/* A held block's pages are gone: the look at it faults while the verifier's lock is held. */
static void a_fault_under_the_lock_gives_it_up(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    char *block = rig_block_new(heap, 0x8000);
    char *other = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    const uintptr_t page = ((uintptr_t)block + WILD_PAGE_BYTES) & ~(WILD_PAGE_BYTES - 1u);
    wild_access(page, 1, PROT_NONE);
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_VALIDATE, .heap = heap});
    wild_access(page, 1, PROT_READ | PROT_WRITE);
    assert_true(outcome.raised || outcome.value == FALSE);
    rig_report_forget();
    watch_forget();
    pthread_t thread;
    void *knows = NULL;
    assert_int_equal(pthread_create(&thread, NULL, knows_elsewhere, other), 0);
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(pthread_timedjoin_np(thread, &knows, &until), 0);
    assert_ptr_equal(knows, other);
    assert_int_equal(HeapSize(heap, 0, other), BYTES);
}

/* ---- logs ---- */

static char log_path[64];

static HANDLE logged(const char *items)
{
    struct nth_verifier_settings settings;
    char text[256];
    (void)strcpy(log_path, "/tmp/heaprig-edges-XXXXXX");
    const int file = mkstemp(log_path);
    assert_true(file >= 0);
    (void)close(file);
    (void)snprintf(text, sizeof(text), "%s,log=%s", items, log_path);
    assert_int_equal(nth_verifier_parse(text, &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    return rig_heap_new();
}

static const char *log_read(void)
{
    static char text[LOG_BYTES];
    const int file = open(log_path, O_RDONLY);
    const ssize_t len = read(file, text, sizeof(text) - 1);
    (void)close(file);
    assert_int_equal(unlink(log_path), 0);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void demand_has(const char *text, const char *piece)
{
    if (strstr(text, piece) == NULL) {
        fail_msg("expected '%s' in\n%s", piece, text);
    }
}

static void a_log_of_objects_is_ascii(void **state)
{
    (void)state;
    HANDLE heap = logged("leak");
    corner_load("a\"b\\c\td\xC3\xA9\xF0\x9F\x98\x80");
    corner_allocate(heap, 0);
    assert_int_equal(nth_verifier_module_unload(__start_nth_corner), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_stop_count(), 1);
    char parameters[256];
    const ULONG_PTR *told = nth_verifier_stop_at(0)->parameter;
    (void)snprintf(parameters, sizeof(parameters),
                   ",\"parameters\":[\"%#lx\",\"%#lx\",\"%#lx\",\"%#lx\"],\"process\":%ld,",
                   (unsigned long)told[0], (unsigned long)told[1], (unsigned long)told[2],
                   (unsigned long)told[3], (long)getpid());
    assert_int_equal(HeapDestroy(heap), TRUE);
    const char *text = log_read();
    demand_has(text, parameters);
    demand_has(text, "{\"kind\":\"stop\",\"code\":2304,\"layer\":\"Leak\",\"name\":\"ALLOCATION\"");
    demand_has(text, ",\"module\":\"a\\\"b\\\\c\\u0009d\\u00e9\\ud83d\\ude00\"");
    demand_has(text, ",\"allocated\":[\"a\\\"b\\\\c\\u0009d\\u00e9\\ud83d\\ude00+0x");
    assert_string_equal(text + strlen(text) - 3, "]}\n");
}

static void a_log_of_text_names_module_and_what_is_left(void **state)
{
    (void)state;
    HANDLE heap = logged("leak,pageheap=light:leaks,text");
    corner_load("corner");
    corner_allocate(heap, 0);
    PVOID first = made;
    assert_int_equal(nth_verifier_module_unload(__start_nth_corner), STATUS_SUCCESS);
    nth_verifier_exit();
    assert_int_equal(HeapFree(heap, 0, first), TRUE);
    assert_int_equal(HeapDestroy(heap), TRUE);
    const char *text = log_read();
    char left[64];
    (void)snprintf(left, sizeof(left), "heaprig: still allocated: %p, 100 bytes\n", first);
    demand_has(text, "heaprig: stop 0x900 Leak ALLOCATION: ");
    demand_has(text, "\n    module        corner\n    allocated at  #0 corner+0x");
    demand_has(text, left);
    demand_has(text, "1 stops (1 leaks), 1 unloads");
}

/* Longer than a record of the log can be, by frames of this name: what does not fit is left out,
 * whole. */
static void record_too_long(const char *items, bool json, size_t name_len)
{
    char name[512];
    memset(name, 0xFF, name_len); /* six letters each in a log of objects */
    name[name_len] = '\0';
    HANDLE heap = logged(items);
    corner_load(name);
    corner_allocate(heap, 30);
    corner_free(heap, made, 30);
    corner_free(heap, made, 30);
    assert_int_equal(nth_verifier_stop_count(), 1);
    assert_int_equal(HeapDestroy(heap), TRUE);
    const char *text = log_read();
    const char *end = text + strlen(text);
    assert_in_range(strlen(text), 8192, 12288);
    assert_string_equal(end - 1, "\n");
    demand_has(text, json ? "\"code\":7," : "heaprig: stop 0x7 Heaps DOUBLE_FREE: ");
    if (!json) { /* nothing follows what was left out, however short */
        const char *last = strstr(text, "core_verifier_edges");
        assert_non_null(last);
        assert_null(strstr(last + 1, "core_verifier_edges"));
        assert_null(strstr(text, "freed at"));
    }
    if (json) {
        assert_ptr_equal(strchr(text, '\n'), end - 1);
        assert_null(strstr(text, ",]"));
        assert_null(strstr(text, ",,"));
        assert_string_equal(end - 3, "]}\n");
        demand_has(text, ",\"allocated\":[");
        demand_has(text, ",\"freed\":[");
    }
    nth_process_reset();
}

static void a_record_that_is_too_long_is_still_one(void **state)
{
    (void)state;
    record_too_long("heaps,depth=32,text", false, 480);
    for (size_t len = 150; len < 300; len += 7) {
        record_too_long("heaps,depth=32", true, len);
    }
}

static void a_log_that_is_gone_or_full_is_done_without(void **state)
{
    struct nth_verifier_settings settings;
    (void)state;
    assert_int_equal(nth_verifier_parse("heaps,log=/dev/full", &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE});
    assert_int_equal(nth_verifier_stop_count(), 1);
    nth_process_reset();
    HANDLE heap = logged("heaps,text");
    assert_int_equal(unlink(log_path), 0);
    assert_int_equal(mkdir(log_path, 0700), 0);
    PVOID block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    (void)HeapFree(heap, 0, block);
    assert_int_equal(nth_verifier_stop_count(), 1);
    assert_int_equal(rmdir(log_path), 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static void a_stack_that_cannot_be_walked_is_told_as_such(void **state)
{
    static const char *const items[] = {"leak,text", "leak"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        HANDLE heap = logged(items[row]);
        struct nth_stack stack;
        nth_stack_take(&stack, (const void *)0x1234); /* of nobody's frame */
        assert_true(stack.broken);
        assert_int_equal(stack.count, 1);
        void *outer = nth_verifier_enter();
        const struct nth_trace *kept = nth_trace_intern(&stack);
        nth_verifier_leave(outer);
        assert_true(kept->broken);
        struct nth_verifier_summary sums;
        nth_verifier_summary(&sums);
        assert_int_equal(sums.broken_count, 1);
        nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE, .trace = kept});
        assert_int_equal(HeapDestroy(heap), TRUE);
        demand_has(log_read(), row == 0
                                   ? "noticed at    #0 0x1234 (the stack could not be walked)\n"
                                   : ",\"noticed\":[\"0x1234\"],\"noticed_broken\":true}\n");
        nth_process_reset();
    }
}

static void a_stop_breaks_into_a_debugger(void **state)
{
    int status = 0;
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        HANDLE heap = watch_begin("heaps");
        PVOID block = rig_block_new(heap, BYTES);
        (void)HeapFree(heap, 0, block);
        (void)HeapFree(heap, 0, block);
        leave(watch_count() == 1 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        skip(); /* nobody may be traced here */
    }
    assert_true(WIFSTOPPED(status));
    assert_int_equal(WSTOPSIG(status), SIGTRAP);
    assert_int_equal(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- files of modules ---- */

/* The name of the subject's function, or none; never anything else. True when it was found. */
static bool elf_names(const struct elf_copy *elf)
{
    char name[256];
    size_t distance = 0;
    uintptr_t low = 0;
    uintptr_t high = 0;
    nth_symbol_find(&elf->module, elf->symbol + 1, name, sizeof(name), &distance);
    const bool ranged = nth_symbol_range(&elf->module, "subject_calls", true, &low, &high);
    assert_true(memchr(name, '\0', sizeof(name)) != NULL);
    return strcmp(name, "subject_calls") == 0 && distance == 1 && ranged && low <= high;
}

static void damage_try(const struct elf_copy *elf, size_t offset, unsigned *found)
{
    static const uint8_t values[] = {0x00, 0x7F, 0xFF};
    uint8_t before = 0;
    assert_int_equal(pread(elf->file, &before, 1, (off_t)offset), 1);
    for (size_t idx = 0; idx < sizeof(values); idx++) {
        assert_int_equal(pwrite(elf->file, &values[idx], 1, (off_t)offset), 1);
        *found += elf_names(elf);
    }
    assert_int_equal(pwrite(elf->file, &before, 1, (off_t)offset), 1);
}

static void a_damaged_file_of_a_module_names_nothing_wrong(void **state)
{
    struct elf_copy elf;
    ElfW(Ehdr) header;
    unsigned found = 0;
    unsigned tried = 0;
    (void)state;
    elf_copy_make(&elf);
    assert_true(elf_names(&elf));
    assert_int_equal(pread(elf.file, &header, sizeof(header), 0), sizeof(header));
    for (size_t offset = 0; offset < sizeof(header); offset++, tried += 3) {
        damage_try(&elf, offset, &found);
    }
    assert_true(found < tried); /* of some of them the name depends */
    const size_t table_bytes = (size_t)header.e_shnum * sizeof(ElfW(Shdr));
    for (size_t offset = 0; offset < table_bytes; offset += 3, tried += 3) {
        damage_try(&elf, (size_t)header.e_shoff + offset, &found);
    }
    assert_true(elf_names(&elf));
    elf.module.build_id_bytes = sizeof(elf.module.build_id); /* of another file */
    char name[16];
    size_t distance = 0;
    nth_symbol_find(&elf.module, elf.symbol, name, sizeof(name), &distance);
    assert_string_equal(name, "");
    elf_copy_drop(&elf);
    print_message("%u of %u damaged files still named the function\n", found, tried);
}

static void what_is_no_file_of_a_module_names_nothing(void **state)
{
    struct elf_copy elf;
    (void)state;
    elf_copy_make(&elf);
    for (size_t bytes = elf.bytes; bytes > 0; bytes /= 2) { /* cut short */
        assert_int_equal(ftruncate(elf.file, (off_t)bytes), 0);
        assert_true(!elf_names(&elf) || bytes == elf.bytes);
    }
    assert_int_equal(ftruncate(elf.file, 0), 0);
    assert_false(elf_names(&elf));
    elf_copy_drop(&elf);
    assert_false(elf_names(&elf));
    elf.module.info.path = "/";
    assert_false(elf_names(&elf));
    elf.module.info.path = "/dev/null";
    assert_false(elf_names(&elf));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_told_as_utf_16),
        TEST(what_is_no_code_stays_byte_by_byte),
        TEST(many_modules_come_go_and_come_back),
        TEST(a_module_for_which_there_is_no_memory_is_not_there),
        TEST(a_relative_path_becomes_whole),
        TEST(nothing_is_done_while_it_is_off),
        TEST(with_nobody_outside_the_outermost_library_owns),
        TEST(functions_that_keep_are_libcs_own),
        TEST(all_of_many_blocks_are_visited_in_order),
        TEST(the_end_of_the_budget_is_told_once),
        TEST(many_sections_are_told_apart),
        TEST(full_blocks_lie_in_several_areas),
        TEST(a_table_that_cannot_grow_serves_on),
        TEST(stacks_and_modules_are_kept_in_what_was_had_at_the_start),
        TEST(stacks_are_kept_once_while_there_is_memory),
        TEST(an_allocation_without_room_in_the_tables_is_no_memory),
        TEST(without_a_lock_it_is_not_switched_on),
        TEST(sizes_that_no_block_can_have_are_no_memory),
        TEST(a_block_that_cannot_be_freed_stays_in_the_books),
        TEST(a_damaged_heap_frees_nothing),
        TEST(a_reallocation_can_be_starved),
        TEST(an_address_that_is_no_block_is_the_heaps_to_refuse),
        TEST(a_fault_under_the_lock_gives_it_up),
        TEST(a_log_of_objects_is_ascii),
        TEST(a_log_of_text_names_module_and_what_is_left),
        TEST(a_record_that_is_too_long_is_still_one),
        TEST(a_log_that_is_gone_or_full_is_done_without),
        TEST(a_stack_that_cannot_be_walked_is_told_as_such),
        TEST(a_stop_breaks_into_a_debugger),
        TEST(a_damaged_file_of_a_module_names_nothing_wrong),
        TEST(what_is_no_file_of_a_module_names_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
