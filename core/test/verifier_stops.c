/* SPDX-License-Identifier: MIT
 *
 * What becomes of a stop: bits and flavors, repeated ones, more than are kept, stops without room
 * for a note of them, logs of both kinds and to standard error; sections that are nobody's or
 * somebody else's; visits of allocations and operations. */
#include "support/crew.h"
#include "support/leave.h"
#include "support/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "verifier.h"

#define BYTES 100u

static ULONG self(void)
{
    return (ULONG)syscall(SYS_gettid);
}

static struct nth_verifier_summary sums_now(void)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    return sums;
}

/* ---- what is told ---- */

__attribute__((noinline)) static void fall_over(HANDLE heap, PVOID block)
{
    assert_int_equal(HeapFree(heap, 0, block), FALSE);
}

/* Every bit by itself, with a hook: the log bit tells, the exception bit raises. */
static void report_bits_do_one_thing_each(void **state)
{
    static const struct {
        ULONG report;
        unsigned told;
        bool counted;
        bool raised;
    } rows[] = {
        {0, 0, false, false},
        {NTH_STOP_ACTIVE, 0, true, false},
        {NTH_STOP_ACTIVE | NTH_STOP_LOG, 1, true, false},
        {NTH_STOP_ACTIVE | NTH_STOP_BREAK, 0, true, false},
        {NTH_STOP_ACTIVE | NTH_STOP_EXCEPTION, 0, true, true},
        {NTH_STOP_ACTIVE | NTH_STOP_LOG | NTH_STOP_EXCEPTION, 1, true, true},
        {NTH_STOP_LOG | NTH_STOP_EXCEPTION, 0, false, false},
    };
    (void)state;
    HANDLE heap = watch_begin("heaps");
    PVOID block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    uint64_t stops = 0;
    uint64_t silent = 0;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE", rows[row].report, 0),
                         STATUS_SUCCESS);
        const struct rig_outcome one = rig_free(heap, block);
        assert_int_equal(one.raised, rows[row].raised);
        assert_int_equal(watch_count(), rows[row].told);
        watch_forget();
        stops += rows[row].counted;
        silent += !rows[row].counted;
        assert_true(sums_now().stop_count == stops && sums_now().silenced_count == silent);
    }
    for (SIZE_T idx = 0; idx < stops; idx++) {
        const struct nth_stop *stop = nth_verifier_stop_at(idx);
        assert_int_equal(stop->serial, idx + 1);
        assert_int_equal(stop->thread, self());
        assert_string_equal(stop->layer, "Heaps");
        assert_string_equal(stop->name, "DOUBLE_FREE");
        assert_string_equal(stop->text, "a block freed twice");
    }
    assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE", NTH_STOP_DEFAULT, 0x1),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE", NTH_STOP_DEFAULT, 0x4),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE", 0x2, 0),
                     STATUS_INVALID_PARAMETER);
    watch_finish(heap);
}

/* Every stop is found by its layer and name, and by nothing else. */
static void each_stop_has_its_own_setting(void **state)
{
    static const struct {
        const char *layer;
        const char *name;
    } rows[] = {
#define NTH_STOP(layer, code, name, text) {#layer, #name},
#include <ntheap/stops.def>
#undef NTH_STOP
    };
    (void)state;
    watch_start("leak");
    for (unsigned row = 0; row < NTH_STOP_ROW_COUNT; row++) {
        assert_int_equal(nth_verifier.stop_report[row], NTH_STOP_DEFAULT);
        assert_int_equal(nth_verifier_stop_set(rows[row].layer, rows[row].name, NTH_STOP_ACTIVE,
                                               NTH_FLAVOR_ONCE | NTH_FLAVOR_FATAL),
                         STATUS_SUCCESS);
        for (unsigned other = 0; other < NTH_STOP_ROW_COUNT; other++) {
            assert_int_equal(nth_verifier.stop_report[other],
                             other <= row ? NTH_STOP_ACTIVE : NTH_STOP_DEFAULT);
            assert_int_equal(nth_verifier.stop_flavor[other],
                             other <= row ? NTH_FLAVOR_ONCE | NTH_FLAVOR_FATAL : 0);
        }
    }
}

/* One place, several problems: another block's stack or another code is another one. */
static void once_is_once_for_a_code_a_place_and_an_allocation(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,once");
    char *first = rig_block_new(heap, BYTES);
    char *second = HeapAlloc(heap, 0, BYTES); /* made at another place */
    char *third = rig_block_new(heap, BYTES);
    char *volatile blocks[6] = {first, second, first, second, third + 16, first};
    assert_int_equal(HeapFree(heap, 0, first), TRUE);
    assert_int_equal(HeapFree(heap, 0, second), TRUE);
    const volatile unsigned count = 6; /* one place, not six in a row */
    for (unsigned idx = 0; idx < count; idx++) {
        fall_over(heap, blocks[idx]);
    }
    assert_int_equal(watch_count(), 3);
    assert_int_equal(watch_stop(0)->parameter[1], (ULONG_PTR)first);
    assert_int_equal(watch_stop(1)->parameter[1], (ULONG_PTR)second);
    assert_int_equal(watch_stop(2)->parameter[1], (ULONG_PTR)third + 16);
    assert_int_equal(watch_stop(2)->code, 0x8);
    assert_ptr_equal(watch_stop(0)->trace, watch_stop(1)->trace);
    assert_ptr_equal(watch_stop(0)->trace, watch_stop(2)->trace);
    assert_int_equal(sums_now().silenced_count, 3);
    watch_forget();
    watch_finish(heap);
}

/* Told, counted and numbered, though there is no memory to keep it or to know it again. */
static void a_stop_without_room_is_told_and_not_kept(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps,once");
    watch_tables_leave(0);
    for (unsigned idx = 1; idx <= 2; idx++) {
        nth_stop(
            &(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE, .parameter = {1, 2, 3, idx}});
        assert_int_equal(watch_stop(0)->serial, idx);
        watch_demand(0x7, 1, 2, 3, idx);
    }
    assert_int_equal(nth_verifier_stop_count(), 2);
    assert_null(nth_verifier_stop_at(0));
    rig_pages_refuse(FALSE);
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE, .parameter = {1, 2, 3, 4}});
    watch_demand(0x7, 1, 2, 3, 4);
    assert_int_equal(nth_verifier_stop_at(0)->serial, 3);
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE, .parameter = {1, 2, 3, 5}});
    watch_demand_none(); /* known now */
    assert_null(nth_verifier_stop_at(1));
    watch_finish(heap);
}

static unsigned heard;

static void hear(void *context, const struct nth_stop *stop)
{
    heard++;
    assert_ptr_equal(context, &heard);
    assert_int_equal(stop->serial, heard);
}

static void the_first_stops_are_kept(void **state)
{
    struct nth_verifier_settings set;
    (void)state;
    assert_int_equal(nth_verifier_parse("heaps", &set, NULL, 0), STATUS_SUCCESS);
    set.stop = hear;
    set.stop_context = &heard;
    heard = 0;
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    for (unsigned idx = 0; idx < NTH_VERIFIER_STOP_MAX + 2u; idx++) {
        nth_stop(
            &(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE, .parameter = {idx, 0, 0, 0}});
    }
    assert_int_equal(heard, 4096 + 2);
    assert_int_equal(nth_verifier_stop_count(), 4096 + 2);
    assert_int_equal(nth_verifier_stop_at(0)->parameter[0], 0);
    assert_int_equal(nth_verifier_stop_at(4095)->parameter[0], 4095);
    assert_null(nth_verifier_stop_at(4096));
    assert_null(nth_verifier_stop_at(SIZE_MAX));
}

/* ---- logs ---- */

static char log_path[64];

static void logged(const char *items)
{
    struct nth_verifier_settings settings;
    char text[256];
    (void)strcpy(log_path, "/tmp/heaprig-stops-XXXXXX");
    const int file = mkstemp(log_path);
    assert_true(file >= 0);
    (void)close(file);
    (void)snprintf(text, sizeof(text), "%s,log=%s", items, log_path);
    assert_int_equal(nth_verifier_parse(text, &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
}

static const char *log_read(void)
{
    static char text[65536];
    const int file = open(log_path, O_RDONLY);
    const ssize_t len = read(file, text, sizeof(text) - 1);
    (void)close(file);
    assert_int_equal(unlink(log_path), 0);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void demand_piece(const char *text, const char *piece, bool there)
{
    if ((strstr(text, piece) != NULL) != there) {
        fail_msg("%s '%s' in\n%s", there ? "expected" : "did not expect", piece, text);
    }
}

/* Files are opened for a moment only, number 0 too, which a program may have closed. */
static void no_file_stays_open(void **state)
{
    char here = 0;
    const struct nth_stop_wish wish = {.code = NTH_STOP_CORRUPTED_HEAP_BLOCK_SUFFIX};
    (void)state;
    const int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 100);
    (void)close(STDIN_FILENO);
    logged("heaps,memory,text");
    HANDLE heap = rig_heap_new();
    void *block = rig_block_new(heap, 100);
    assert_true(HeapFree(heap, 0, block));
    nth_stop(&wish);
    assert_false(HeapFree(heap, 0, block)); /* with stacks, and so with names out of files */
    assert_false(HeapFree(heap, 0, &here)); /* with the bounds of the stack */
    nth_verifier_exit();
    const int first = open("/dev/null", O_RDONLY);
    assert_int_equal(first, STDIN_FILENO);
    assert_int_equal(unlink(log_path), 0);
    if (input >= 0) {
        assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
        (void)close(input);
    } else {
        (void)close(first);
    }
}

/* A whole line of each, letter for letter. */
static void a_stop_is_one_record_of_the_log(void **state)
{
    char expected[1024];
    (void)state;
    const struct nth_stop_wish wish = {.code = NTH_STOP_CORRUPTED_HEAP_BLOCK_SUFFIX,
                                       .parameter = {0x10, 0, 0xabc, 1}};
    logged("heaps");
    nth_stop(&wish);
    (void)snprintf(expected, sizeof(expected),
                   "{\"kind\":\"stop\",\"code\":15,\"layer\":\"Heaps\","
                   "\"name\":\"CORRUPTED_HEAP_BLOCK_SUFFIX\","
                   "\"text\":\"the pattern behind a block was overwritten\","
                   "\"parameters\":[\"0x10\",\"0\",\"0xabc\",\"0x1\"],\"process\":%ld,"
                   "\"thread\":%u}\n",
                   (long)getpid(), self());
    assert_string_equal(log_read(), expected);
    nth_process_reset();
    logged("heaps,text");
    nth_stop(&wish);
    assert_string_equal(log_read(),
                        "heaprig: stop 0xf Heaps CORRUPTED_HEAP_BLOCK_SUFFIX: the pattern behind "
                        "a block was overwritten\n    parameters    0x10 0 0xabc 0x1\n");
}

/* Without the bit for them there are no stacks. */
static void stacks_are_told_where_asked_for(void **state)
{
    static const char *const items[2] = {"heaps", "heaps,text"};
    (void)state;
    for (unsigned row = 0; row < 4; row++) {
        logged(items[row % 2]);
        HANDLE heap = rig_heap_new();
        PVOID block = rig_block_new(heap, BYTES);
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        assert_int_equal(nth_verifier_stop_set("Heaps", "DOUBLE_FREE",
                                               NTH_STOP_ACTIVE | NTH_STOP_LOG |
                                                   (row < 2 ? 0u : NTH_STOP_LOG_STACK),
                                               0),
                         STATUS_SUCCESS);
        fall_over(heap, block);
        assert_int_equal(HeapDestroy(heap), TRUE);
        const char *text = log_read();
        demand_piece(text, "DOUBLE_FREE", true);
        demand_piece(text, row % 2 == 0 ? "\"noticed\":[\"" : "    noticed at    #0 ", row >= 2);
        demand_piece(text, row % 2 == 0 ? "\"allocated\":[\"" : "    allocated at  #0 ", row >= 2);
        demand_piece(text, row % 2 == 0 ? "\"freed\":[\"" : "    freed at      #0 ", row >= 2);
        demand_piece(text, "#fall_over", false);
        nth_process_reset();
    }
}

/* A stop that is not to be logged is not, in no kind of log. */
static void what_is_not_logged_is_in_no_log(void **state)
{
    static const char *const items[2] = {"heaps", "heaps,text"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        logged(items[row]);
        assert_int_equal(
            nth_verifier_stop_set("Heaps", "DOUBLE_FREE", NTH_STOP_ACTIVE | NTH_STOP_LOG_STACK, 0),
            STATUS_SUCCESS);
        nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE});
        assert_int_equal(nth_verifier_stop_count(), 1);
        assert_string_equal(log_read(), "");
        nth_process_reset();
    }
}

/* The stops that name a module do so in the log: a leak, and a lock in an unloaded module. */
static void modules_are_named_in_the_log(void **state)
{
    static const char *const items[2] = {"leak,locks", "leak,locks,text"};
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        struct watch_module subject;
        logged(items[row]);
        HANDLE heap = rig_heap_new();
        watch_load(&subject, "subject.so");
        assert_non_null(subject.calls->make_section());
        watch_unload(&subject);
        nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_ALLOCATION}); /* of no module */
        assert_int_equal(nth_verifier_stop_count(), 2);
        assert_int_equal(HeapDestroy(heap), TRUE);
        const char *text = log_read();
        demand_piece(text, "LOCK_IN_UNLOADED_DLL", true);
        const char *piece =
            row == 0 ? "\"module\":\"subject.so\"" : "    module        subject.so\n";
        demand_piece(text, piece, true);
        text = strstr(text, piece) + strlen(piece);
        demand_piece(text, "ALLOCATION", true);
        demand_piece(text, row == 0 ? "\"module\":" : "    module ", false);
        nth_process_reset();
    }
}

/* What a child process writes to standard error. */
static const char *child_says(void (*body)(void))
{
    static char text[65536];
    int ends[2];
    int status = 0;
    size_t len = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        body();
        leave(0);
    }
    (void)close(ends[1]);
    for (ssize_t got = 0; (got = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0;) {
        len += (size_t)got;
    }
    text[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return text;
}

static void start_plain(const char *items)
{
    struct nth_verifier_settings settings;
    assert_int_equal(nth_verifier_parse(items, &settings, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
}

static void without_log(void)
{
    start_plain("leak,pageheap=light:leaks");
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    PVOID disowned = rig_block_new(heap, BYTES + 1u);
    PVOID freed = rig_block_new(heap, BYTES + 2u);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, disowned), STATUS_SUCCESS);
    assert_int_equal(HeapFree(heap, 0, freed), TRUE);
    fall_over(heap, freed);
    assert_true(block != NULL);
    nth_verifier_exit();
}

/* With no log and no hook all of it is text on standard error. */
static void without_a_log_standard_error_has_it(void **state)
{
    (void)state;
    const char *text = child_says(without_log);
    demand_piece(text, "heaprig: stop 0x7 Heaps DOUBLE_FREE: a block freed twice\n", true);
    demand_piece(text, "    freed at      #0 ", true);
    demand_piece(text, ", 100 bytes\n    allocated at  #0 ", true);
    demand_piece(text, ", 101 bytes", false); /* disowned (D102) */
    demand_piece(text, ", 102 bytes", false); /* freed */
    demand_piece(text,
                 ": 3 allocations, 1 frees, 1 stops (0 leaks), 0 unloads, 1 disowned, 0 "
                 "refused, 0 full blocks, 0 light for lack of mappings, 0 stacks not walked, "
                 "2 blocks left, 201 bytes, 1 held, ",
                 true);
}

static void summary_in_objects(void **state)
{
    char expected[512];
    (void)state;
    logged("leak,pageheap=light:leaks");
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    PVOID disowned = rig_block_new(heap, BYTES + 1u);
    assert_int_equal(HeapFree(heap, 0, rig_block_new(heap, 5)), TRUE);
    assert_int_equal(RtlDisownModuleHeapAllocation(heap, disowned), STATUS_SUCCESS);
    nth_verifier_exit();
    const SIZE_T own = sums_now().own_bytes;
    const char *text = log_read();
    (void)snprintf(expected, sizeof(expected),
                   "{\"kind\":\"left\",\"address\":\"%p\",\"bytes\":100,\"process\":%ld,"
                   "\"allocated\":[\"",
                   block, (long)getpid());
    assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
    demand_piece(text, "\"bytes\":101", false);
    (void)snprintf(expected, sizeof(expected),
                   "\n{\"kind\":\"summary\",\"process\":%ld,\"allocations\":3,\"frees\":1,"
                   "\"stops\":0,\"leaks\":0,\"unloads\":0,\"disowned\":1,\"refused\":0,\"full\":0,"
                   "\"light_for_lack\":0,\"unwalked\":0,\"live\":2,\"live_bytes\":201,\"held\":1,"
                   "\"own_bytes\":%zu}\n",
                   (long)getpid(), own);
    demand_piece(text, expected, true);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

static int lowest_file(void)
{
    const int file = open("/dev/null", O_RDONLY);
    (void)close(file);
    return file;
}

static void without_input(void)
{
    (void)close(STDIN_FILENO); /* the log gets its number */
    logged("heaps");
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    fall_over(heap, block);
    assert_int_equal(lowest_file(), STDIN_FILENO);
    const char *text = log_read();
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void a_log_may_be_the_first_of_all_files(void **state)
{
    (void)state;
    const char *text = child_says(without_input);
    demand_piece(text, "\"name\":\"DOUBLE_FREE\"", true);
    demand_piece(text, "\"noticed\":[\"core_verifier_stops!", true);
}

/* Only with the option for it what is left is listed. */
static void what_is_left_is_listed_when_asked_for(void **state)
{
    (void)state;
    logged("leak,text");
    HANDLE heap = rig_heap_new();
    (void)rig_block_new(heap, BYTES);
    nth_verifier_exit();
    const char *text = log_read();
    demand_piece(text, "still allocated", false);
    demand_piece(text, "1 blocks left, 100 bytes", true);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* A name of one letter is a name. */
static void a_log_may_have_a_short_name(void **state)
{
    char folder[] = "/tmp/heaprig-short-XXXXXX";
    char before[512];
    struct nth_verifier_settings set;
    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    const mode_t mask = umask(0);
    const int next = dup(0);
    (void)close(next);
    assert_int_equal(nth_verifier_parse("leak,pageheap=light:leaks,log=l", &set, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    HANDLE heap = rig_heap_new();
    (void)rig_block_new(heap, BYTES);
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE});
    nth_verifier_exit();
    struct stat status;
    (void)strcpy(log_path, "l");
    const int still = dup(0);
    (void)close(still);
    assert_int_equal(still, next); /* no file stayed open */
    assert_int_equal(stat(log_path, &status), 0);
    assert_int_equal(status.st_mode & 0777u, 0666);
    const char *text = log_read();
    (void)umask(mask);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(folder), 0);
    demand_piece(text, "{\"kind\":\"stop\"", true);
    demand_piece(text, "{\"kind\":\"left\"", true);
    demand_piece(text, "{\"kind\":\"summary\"", true);
    demand_piece(text, "heaprig:", false);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* Mappings of files, by lines of the system's list. */
static unsigned mappings(void)
{
    char text[4096];
    unsigned lines = 0;
    const int file = open("/proc/self/maps", O_RDONLY);
    for (ssize_t len = 0; (len = read(file, text, sizeof(text))) > 0;) {
        for (ssize_t idx = 0; idx < len; idx++) {
            lines += text[idx] == '\n';
        }
    }
    (void)close(file);
    return lines;
}

/* Stops open files: logs, what the system says of the process, the files of modules. */
static void stops_leave_no_file_open(void **state)
{
    char local[16];
    (void)state;
    logged("leak,memory");
    HANDLE heap = rig_heap_new();
    struct watch_module subject;
    watch_load(&subject, "subject.so");
    assert_non_null(subject.calls->allocate(heap, BYTES));
    const int before = lowest_file();
    unsigned mapped = 0;
    for (unsigned turn = 0; turn < 100; turn++) {
        (void)HeapFree(heap, 0, local);
        mapped = turn == 5 ? mappings() : mapped;
    }
    watch_unload(&subject);
    assert_int_equal(nth_verifier_stop_count(), 101);
    assert_int_equal(lowest_file(), before);
    assert_in_range(mappings(), mapped / 2, mapped + 20);
    rig_report_forget();
    assert_int_equal(HeapDestroy(heap), TRUE);
    demand_piece(log_read(), "FREE_THREAD_STACK_MEMORY_AS_HEAP", true);
}

/* Letters at the edges of what is ASCII and can be printed. */
static void names_are_quoted_letter_by_letter(void **state)
{
    static char span[64];
    (void)state;
    logged("leak");
    assert_int_equal(nth_verifier_module_load("a\x1f \x7e\x7f\x01!", span, 16), STATUS_SUCCESS);
    const struct nth_module *module = nth_verifier.modules;
    nth_stop(&(struct nth_stop_wish){
        .code = NTH_STOP_ALLOCATION,
        .parameter = {0, 0, (ULONG_PTR)module->info.wide_name, module->info.base}});
    demand_piece(log_read(), "\"module\":\"a\\u001f ~\\u007f\\u0001!\"", true);
}

static void break_without_files(void)
{
    struct rlimit files;
    start_plain("heaps");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    const struct rlimit none = {0, files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE});
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(nth_verifier_stop_count(), 1);
}

/* Where nobody can say whether a debugger is there, none is. */
static void a_break_needs_to_know_of_a_debugger(void **state)
{
    (void)state;
    demand_piece(child_says(break_without_files), "DOUBLE_FREE", true);
}

/* ---- sections ---- */

/* Made before the verifier was there, or while it had no memory for the note: nothing is said of
 * the one that it could not note. */
static void a_section_without_room_is_not_taken_for_one_never_made(void **state)
{
    CRITICAL_SECTION section;
    CRITICAL_SECTION known;
    CRITICAL_SECTION never;
    (void)state;
    memset(&never, 0, sizeof(never));
    watch_start("locks");
    InitializeCriticalSection(&known);
    DeleteCriticalSection(&never);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x210);
    watch_forget();
    watch_tables_leave(0);
    InitializeCriticalSection(&section);
    EnterCriticalSection(&section);
    assert_int_equal(section.RecursionCount, 1);
    EnterCriticalSection(&section);
    assert_int_equal(section.RecursionCount, 2);
    LeaveCriticalSection(&section);
    LeaveCriticalSection(&section);
    DeleteCriticalSection(&section);
    watch_demand_none();
    rig_pages_refuse(FALSE);
    EnterCriticalSection(&known);
    LeaveCriticalSection(&known);
    LeaveCriticalSection(&known); /* of those that are known all is told as ever */
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x214);
    watch_forget();
    DeleteCriticalSection(&known);
}

static void a_section_made_before_is_told_and_works(void **state)
{
    CRITICAL_SECTION section;
    (void)state;
    InitializeCriticalSection(&section);
    watch_start("locks");
    EnterCriticalSection(&section);
    assert_int_equal(section.RecursionCount, 1);
    watch_demand(0x210, (ULONG_PTR)&section, 0, 0, 0);
    LeaveCriticalSection(&section);
    assert_int_equal(section.RecursionCount, 0);
    watch_demand(0x210, (ULONG_PTR)&section, 0, 0, 0);
    DeleteCriticalSection(&section);
    watch_demand(0x210, (ULONG_PTR)&section, 0, 0, 0);
}

struct holder {
    CRITICAL_SECTION *section;
    int held;
    int done;
    ULONG thread;
};

static void *hold(void *context)
{
    struct holder *holder = context;
    holder->thread = self();
    EnterCriticalSection(holder->section);
    crew_raise(&holder->held);
    crew_await(&holder->done);
    LeaveCriticalSection(holder->section);
    return NULL;
}

/* The second parameter says whose it is. */
static void leaving_another_threads_section_names_its_owner(void **state)
{
    CRITICAL_SECTION section;
    struct holder holder = {.section = &section};
    pthread_t thread;
    (void)state;
    watch_start("locks");
    InitializeCriticalSection(&section);
    assert_int_equal(pthread_create(&thread, NULL, hold, &holder), 0);
    crew_await(&holder.held);
    LeaveCriticalSection(&section);
    assert_int_equal(watch_count(), 1);
    const ULONG_PTR made = watch_stop(0)->parameter[3];
    assert_true(made != 0);
    watch_demand(0x214, (ULONG_PTR)&section, holder.thread, self(), made);
    crew_raise(&holder.done);
    assert_int_equal(pthread_join(thread, NULL), 0);
    watch_demand_none(); /* it is as it was */
    DeleteCriticalSection(&section);
}

/* Only sections inside of what is freed go with it. */
static void sections_beside_a_freed_block_stay(void **state)
{
    CRITICAL_SECTION on_stack;
    (void)state;
    HANDLE heap = watch_begin("locks,leak");
    enum { COUNT = 40 };
    CRITICAL_SECTION *sections[COUNT];
    InitializeCriticalSection(&on_stack);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        sections[idx] = rig_block_new(heap, sizeof(CRITICAL_SECTION));
        InitializeCriticalSection(sections[idx]);
    }
    char *block = rig_block_new(heap, sizeof(CRITICAL_SECTION));
    assert_int_equal(HeapFree(heap, 0, block), TRUE);
    watch_demand_none();
    CRITICAL_SECTION *lost = sections[COUNT / 2];
    const CRITICAL_SECTION copy = *lost;
    assert_int_equal(HeapFree(heap, 0, lost), TRUE);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x202);
    assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)lost);
    assert_int_equal(watch_stop(0)->parameter[2], (ULONG_PTR)lost);
    assert_int_equal(watch_stop(0)->parameter[3], sizeof(CRITICAL_SECTION));
    watch_forget();
    nth_process.locks->destroy(nth_process.locks->self, copy.LockSemaphore);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        if (sections[idx] != lost) {
            DeleteCriticalSection(sections[idx]);
            assert_int_equal(HeapFree(heap, 0, sections[idx]), TRUE);
        }
    }
    DeleteCriticalSection(&on_stack);
    watch_finish(heap);
}

enum { SECTION_COUNT = 600, OWNED_COUNT = 40 };
static CRITICAL_SECTION many[SECTION_COUNT];
static ULONG leaver;

static void *leave_with_many(void *context)
{
    (void)context;
    leaver = self();
    for (unsigned idx = 0; idx < OWNED_COUNT; idx++) {
        EnterCriticalSection(&many[idx * 15u]);
    }
    return NULL;
}

static unsigned sections_told;

static void count_section(void *context, const struct nth_stop *stop)
{
    const ULONG code = *(const ULONG *)context;
    assert_int_equal(stop->code, code);
    sections_told++;
}

/* ThreadSanitizer knows of 64 locks a thread holds, and no more. */
static void *leave_with_some(void *context)
{
    CRITICAL_SECTION *first = context;
    for (unsigned idx = 0; idx < OWNED_COUNT; idx++) {
        EnterCriticalSection(&first[idx]);
    }
    return NULL;
}

/* Wherever a section stands in the table, it is found: when its thread ends, when its memory goes.
 */
static void all_of_many_sections_are_found(void **state)
{
    static const ULONG codes[2] = {0x200, 0x202};
    int status = 0;
    (void)state;
    for (unsigned row = 0; row < 2; row++) {
        const pid_t child = fork();
        if (child == 0) {
            struct nth_verifier_settings set;
            pthread_t thread;
            assert_int_equal(nth_verifier_parse("locks,leak", &set, NULL, 0), STATUS_SUCCESS);
            set.stop = count_section;
            set.stop_context = (void *)(uintptr_t)&codes[row];
            assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
            HANDLE heap = rig_heap_new();
            CRITICAL_SECTION *sections = rig_block_new(heap, SECTION_COUNT * sizeof(*sections));
            for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
                InitializeCriticalSection(row == 0 ? &many[idx] : &sections[idx]);
            }
            for (unsigned idx = 0; row == 0 && idx < SECTION_COUNT; idx += OWNED_COUNT) {
                assert_int_equal(pthread_create(&thread, NULL, leave_with_some, &many[idx]), 0);
                assert_int_equal(pthread_join(thread, NULL), 0);
            }
            if (row == 1) {
                assert_int_equal(HeapFree(heap, 0, sections), TRUE);
            }
            leave(sections_told == SECTION_COUNT ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

static HANDLE locked_heaps[3];

static void *leave_with_heaps(void *context)
{
    for (unsigned idx = 0; idx < 3; idx++) {
        assert_int_equal(HeapLock(locked_heaps[idx]), TRUE);
    }
    return context;
}

static void a_thread_that_ends_with_locked_heaps_is_told_of_each(void **state)
{
    int status = 0;
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        watch_start("locks");
        for (unsigned idx = 0; idx < 3; idx++) {
            locked_heaps[idx] = rig_heap_new();
        }
        assert_int_equal(pthread_create(&thread, NULL, leave_with_heaps, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(watch_count(), 3);
        for (unsigned idx = 0; idx < 3; idx++) {
            assert_int_equal(watch_stop(idx)->code, 0x200);
            assert_int_equal(watch_stop(idx)->parameter[1], (ULONG_PTR)locked_heaps[idx]);
        }
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Notes of sections that are gone are used again; and such a note is no section that is owned. */
static void a_deleted_section_is_forgotten(void **state)
{
    CRITICAL_SECTION section;
    CRITICAL_SECTION other;
    (void)state;
    watch_start("locks");
    SIZE_T own = 0;
    for (unsigned turn = 0; turn < 20000; turn++) {
        InitializeCriticalSection(&section);
        DeleteCriticalSection(&section);
        own = turn == 10 ? (SIZE_T)sums_now().own_bytes : own;
    }
    assert_int_equal(sums_now().own_bytes, own);
    InitializeCriticalSection(&other);
    InitializeCriticalSection(&section);
    EnterCriticalSection(&section);
    void *lock = section.LockSemaphore;
    section.LockSemaphore = NULL; /* it may not go while it is held */
    DeleteCriticalSection(&section);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x208);
    assert_int_equal(watch_stop(0)->parameter[1], 1);
    assert_int_equal(watch_stop(0)->parameter[2], self());
    watch_demand_frame(watch_stop(0)->trace, 0, "core_verifier_stops!a_deleted_section");
    watch_forget();
    LeaveCriticalSection(&other);
    assert_int_equal(watch_count(), 1);
    assert_int_equal(watch_stop(0)->code, 0x214); /* it owns none */
    watch_forget();
    nth_process.locks->release(nth_process.locks->self, lock);
    nth_process.locks->destroy(nth_process.locks->self, lock);
    DeleteCriticalSection(&other);
    watch_demand_none();
}

/* Each section that a thread ends with is told once, whatever else there is. */
static void a_thread_that_ends_with_many_sections_is_told_of_each(void **state)
{
    unsigned told[SECTION_COUNT];
    int status = 0;
    (void)state;
    const pid_t child = fork(); /* what is owned by nobody any more is left to it */
    if (child == 0) {
        pthread_t thread;
        watch_start("locks");
        for (unsigned idx = 0; idx < SECTION_COUNT; idx++) {
            InitializeCriticalSection(&many[idx]);
        }
        assert_int_equal(pthread_create(&thread, NULL, leave_with_many, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        memset(told, 0, sizeof(told));
        assert_int_equal(watch_count(), OWNED_COUNT);
        for (unsigned idx = 0; idx < OWNED_COUNT; idx++) {
            const struct nth_stop *stop = watch_stop(idx);
            const CRITICAL_SECTION *section =
                (const CRITICAL_SECTION *)stop->parameter[1]; /* NOLINT */
            assert_int_equal(stop->code, 0x200);
            assert_int_equal(stop->parameter[0], leaver);
            assert_in_range(section - many, 0, SECTION_COUNT - 1);
            assert_int_equal((section - many) % 15, 0);
            assert_int_equal(told[section - many]++, 0);
        }
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static CRITICAL_SECTION heap_section;
static HANDLE heap_with_section;

static void *leave_with_the_heap(void *context)
{
    (void)context;
    leaver = self();
    assert_int_equal(HeapLock(heap_with_section), TRUE);
    return NULL;
}

/* A heap on the caller's section: the section is told of, not the heap besides. */
static void a_thread_that_ends_with_a_heap_on_a_section_is_told_once(void **state)
{
    int status = 0;
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        watch_start("locks");
        InitializeCriticalSection(&heap_section);
        heap_with_section = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, &heap_section, NULL);
        assert_non_null(heap_with_section);
        assert_int_equal(pthread_create(&thread, NULL, leave_with_the_heap, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(watch_count(), 1);
        assert_int_equal(watch_stop(0)->code, 0x200);
        assert_int_equal(watch_stop(0)->parameter[0], leaver);
        assert_int_equal(watch_stop(0)->parameter[1], (ULONG_PTR)&heap_section);
        leave(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- visits ---- */

struct visit {
    HANDLE heap;
    unsigned count;
    unsigned most;
    uint64_t serial;
    PVOID addresses[1100];
};

static BOOLEAN allocate_more(void *context, const struct nth_allocation *block)
{
    struct visit *visit = context;
    assert_true(block->serial > visit->serial);
    visit->serial = block->serial;
    visit->count++;
    (void)rig_block_new(visit->heap, 1);
    return visit->count < visit->most;
}

/* What is allocated by the visits is not visited: it would never end. */
static void a_visit_may_allocate(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    struct visit visit = {.heap = heap, .most = 1000};
    for (unsigned idx = 0; idx < 130; idx++) {
        (void)rig_block_new(heap, BYTES);
    }
    assert_int_equal(nth_verifier_enumerate(heap, allocate_more, &visit), 130);
    assert_int_equal(visit.count, 130);
    visit = (struct visit){.heap = heap, .most = 64};
    assert_int_equal(nth_verifier_enumerate(heap, allocate_more, &visit), 64);
    visit = (struct visit){.heap = heap, .most = 1000};
    assert_int_equal(nth_verifier_enumerate(NULL, allocate_more, &visit), 130 + 130 + 64);
    watch_finish(heap);
}

static BOOLEAN remember_address(void *context, const struct nth_operation *one)
{
    struct visit *visit = context;
    assert_in_range(visit->count, 0, 1099);
    visit->addresses[visit->count++] = one->address;
    return visit->count < visit->most;
}

/* 1,024 are kept, and no older one is shown for them (D104). */
static void the_newest_operations_are_kept(void **state)
{
    enum { COUNT = 700 };
    static PVOID blocks[COUNT];
    static struct visit visit;
    (void)state;
    HANDLE heap = watch_begin("leak");
    for (unsigned idx = 0; idx < COUNT; idx++) {
        blocks[idx] = rig_block_new(heap, BYTES);
    }
    visit = (struct visit){.most = 2000};
    assert_int_equal(nth_verifier_operations(NULL, remember_address, &visit), COUNT);
    assert_ptr_equal(visit.addresses[0], blocks[COUNT - 1]);
    assert_ptr_equal(visit.addresses[COUNT - 1], blocks[0]);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_int_equal(HeapFree(heap, 0, blocks[idx]), TRUE);
    }
    visit = (struct visit){.most = 2000};
    assert_int_equal(nth_verifier_operations(NULL, remember_address, &visit), 1024);
    for (unsigned idx = 0; idx < 1024; idx++) {
        assert_ptr_equal(visit.addresses[idx],
                         idx < COUNT ? blocks[COUNT - 1u - idx] : blocks[2u * COUNT - 1u - idx]);
    }
    visit = (struct visit){.most = 7};
    assert_int_equal(nth_verifier_operations(NULL, remember_address, &visit), 7);
    watch_finish(heap);
}

/* The log is written on while it is visited: what is overwritten meanwhile is not shown. */
static BOOLEAN operate(void *context, const struct nth_operation *one)
{
    struct visit *visit = context;
    (void)one;
    visit->count++;
    (void)rig_block_new(visit->heap, 1);
    return TRUE;
}

static void a_visit_of_operations_ends_where_they_are_overwritten(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    struct visit visit = {.heap = heap};
    for (unsigned idx = 0; idx < 1024; idx++) {
        (void)rig_block_new(heap, BYTES);
    }
    /* With each one visited the oldest goes: half of them are seen. */
    assert_int_equal(nth_verifier_operations(NULL, operate, &visit), 512);
    watch_finish(heap);
}

static void off_there_is_nothing_to_visit(void **state)
{
    struct visit visit = {.most = 10};
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    assert_int_equal(nth_verifier_enumerate(NULL, allocate_more, &visit), 0);
    assert_int_equal(nth_verifier_operations(NULL, remember_address, &visit), 0);
    assert_int_equal(nth_verifier_operations(block, remember_address, &visit), 0);
    assert_int_equal(visit.count, 0);
    assert_int_equal(HeapDestroy(heap), TRUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(report_bits_do_one_thing_each),
        TEST(each_stop_has_its_own_setting),
        TEST(once_is_once_for_a_code_a_place_and_an_allocation),
        TEST(a_stop_without_room_is_told_and_not_kept),
        TEST(the_first_stops_are_kept),
        TEST(no_file_stays_open),
        TEST(a_stop_is_one_record_of_the_log),
        TEST(stacks_are_told_where_asked_for),
        TEST(what_is_not_logged_is_in_no_log),
        TEST(modules_are_named_in_the_log),
        TEST(without_a_log_standard_error_has_it),
        TEST(summary_in_objects),
        TEST(a_log_may_be_the_first_of_all_files),
        TEST(what_is_left_is_listed_when_asked_for),
        TEST(a_log_may_have_a_short_name),
        TEST(stops_leave_no_file_open),
        TEST(names_are_quoted_letter_by_letter),
        TEST(a_break_needs_to_know_of_a_debugger),
        TEST(a_section_without_room_is_not_taken_for_one_never_made),
        TEST(a_section_made_before_is_told_and_works),
        TEST(leaving_another_threads_section_names_its_owner),
        TEST(sections_beside_a_freed_block_stay),
        TEST(a_thread_that_ends_with_many_sections_is_told_of_each),
        TEST(all_of_many_sections_are_found),
        TEST(a_thread_that_ends_with_locked_heaps_is_told_of_each),
        TEST(a_deleted_section_is_forgotten),
        TEST(a_thread_that_ends_with_a_heap_on_a_section_is_told_once),
        TEST(a_visit_may_allocate),
        TEST(the_newest_operations_are_kept),
        TEST(a_visit_of_operations_ends_where_they_are_overwritten),
        TEST(off_there_is_nothing_to_visit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
