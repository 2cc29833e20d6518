/* SPDX-License-Identifier: MIT
 *
 * Modules one by one: those for which there is no memory, those that are another one at the same
 * place, scans while a stop is told, notes and symbols of files that are not as they should be;
 * stacks that no frame of the caller is found in, or that have one hash. */
#include "support/image.h"
#include "support/watch.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES 100u

static char span[4096]; /* addresses of modules that run no code */

/* The newest module of this name; NULL when there is none. */
static struct nth_module *newest(const char *name)
{
    struct nth_module *module = nth_verifier.modules;
    while (module != NULL && strcmp(module->info.name, name) != 0) {
        module = module->next;
    }
    return module;
}

static SIZE_T unloads(void)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    return (SIZE_T)sums.unload_count;
}

static BOOLEAN take_newest(void *context, const struct nth_allocation *block)
{
    *(struct nth_allocation *)context = *block;
    return TRUE;
}

/* ---- modules without room ---- */

/* What it allocates is nobody's: no leak, and in no list of names but "*". */
static void a_module_without_room_owns_nothing(void **state)
{
    static const char *const settings[] = {"leak", "pageheap=full:dlls=subject.so",
                                           "leak,lowres=1000000:0:subject.so",
                                           "leak,lowres=1000000:0:*"};
    (void)state;
    for (size_t row = 0; row < sizeof(settings) / sizeof(settings[0]); row++) {
        HANDLE heap = watch_begin(settings[row]);
        struct watch_module subject;
        struct nth_allocation block = {.user = NULL};
        watch_tables_leave(0);
        watch_load(&subject, "subject.so");
        nth_verifier_look();
        assert_null(newest("subject.so"));
        rig_pages_refuse(FALSE);
        nth_verifier_look(); /* nothing changed since: nothing is looked at again */
        assert_null(newest("subject.so"));
        PVOID user = subject.calls->allocate(heap, BYTES);
        assert_true((user == NULL) == (row == 3));
        if (user != NULL) {
            assert_int_equal(nth_verifier_enumerate(heap, take_newest, &block), 1);
            assert_int_equal(block.owner, 0);
            assert_false(block.full);
            assert_int_equal(block.allocated->frames[0].module, 0);
            assert_true(block.allocated->frames[0].offset > subject.base);
        }
        watch_unload(&subject);
        watch_demand_none();
        assert_true(user == NULL || HeapFree(heap, 0, user));
        watch_finish(heap);
        nth_process_reset();
    }
}

/* ---- names ---- */

/* In a folder that is gone a relative path stays as it is. */
static void without_a_folder_a_path_stays_relative(void **state)
{
    char before[512];
    char gone[] = "/tmp/heaprig-gone-XXXXXX";
    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(NTH_MODULE_DIR), 0);
    void *handle = dlopen("./subject.so", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    assert_non_null(mkdtemp(gone));
    assert_int_equal(chdir(gone), 0);
    assert_int_equal(rmdir(gone), 0);
    watch_start("leak");
    assert_int_equal(chdir(before), 0);
    const struct nth_module *module = newest("subject.so");
    assert_non_null(module);
    assert_string_equal(module->info.path, "./subject.so");
    assert_int_equal(nth_verifier_dlclose(handle), 0);
}

static void the_program_comes_first_and_has_its_own_name(void **state)
{
    char path[512] = "";
    struct nth_module_info info;
    (void)state;
    watch_start("leak");
    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    assert_true(nth_verifier_module(1, &info));
    assert_string_equal(info.path, path);
    assert_string_equal(info.name, strrchr(path, '/') + 1);
    assert_true(info.loaded);
    assert_false(info.pass_through);
    const uintptr_t here = (uintptr_t)the_program_comes_first_and_has_its_own_name;
    assert_true(here >= info.low && here < info.high);
    assert_true(info.base <= info.low);
    /* All of it: its last variables too. */
    assert_true((uintptr_t)&span[sizeof(span) - 1] < info.high);
}

/* ---- declared ranges ---- */

static void declared_ranges_are_told_apart_by_place_size_and_name(void **state)
{
    (void)state;
    watch_start("leak");
    assert_int_equal(nth_verifier_module_load("one", span, SIZE_MAX), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("one", span, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("one", span + 64, 32), STATUS_SUCCESS);
    const ULONG first = newest("one")->info.number;
    /* One byte of overlap is one too many, and none is none. */
    assert_int_equal(nth_verifier_module_load("two", span, 65), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("two", span + 95, 8), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("two", span, 64), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_module_load("three", span + 96, 8), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_module_unload(span + 65), STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_unload(span + 64), STATUS_SUCCESS);
    assert_int_equal(unloads(), 1);
    static const struct {
        const char *name;
        unsigned offset;
        SIZE_T bytes;
        bool again;
    } rows[] = {{"one", 64, 31, false},
                {"other", 64, 32, false},
                {"one", 65, 31, false},
                {"one", 64, 32, true}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        assert_int_equal(
            nth_verifier_module_load(rows[row].name, span + rows[row].offset, rows[row].bytes),
            STATUS_SUCCESS);
        unsigned loaded = 0;
        ULONG number = 0;
        for (struct nth_module *one = nth_verifier.modules; one != NULL; one = one->next) {
            if (one->declared && one->info.loaded &&
                one->info.base == (uintptr_t)span + rows[row].offset) {
                assert_string_equal(one->info.name, rows[row].name);
                assert_int_equal(one->info.high, one->info.low + rows[row].bytes);
                number = one->info.number;
                loaded++;
            }
        }
        assert_int_equal(loaded, 1);
        assert_true((number == first) == rows[row].again);
        assert_int_equal(nth_verifier_module_unload(span + rows[row].offset), STATUS_SUCCESS);
    }
}

/* Anywhere among the addresses, to the last of them. */
static void a_declared_range_ends_with_the_addresses(void **state)
{
    (void)state;
    watch_start("leak");
    const PVOID low = (PVOID)0x1000; /* NOLINT: no memory, a number */
    assert_int_equal(nth_verifier_module_load("all", low, UINTPTR_MAX - 0xFFFu),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(nth_verifier_module_load("low", low, 0x2000), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_module_unload(low), STATUS_SUCCESS);
    assert_int_equal(nth_verifier_module_load("all", low, UINTPTR_MAX - 0x1000u), STATUS_SUCCESS);
    assert_int_equal(newest("all")->info.high, UINTPTR_MAX);
    assert_int_equal(nth_verifier_module_unload(low), STATUS_SUCCESS);
}

/* A scan of what the dynamic linker has leaves them alone. */
static void a_declared_range_outlasts_scans(void **state)
{
    struct watch_module subject;
    (void)state;
    HANDLE heap = watch_begin("leak");
    assert_int_equal(nth_verifier_module_load("range", span, 64), STATUS_SUCCESS);
    watch_load(&subject, "subject.so");
    nth_verifier_look();
    assert_true(newest("range")->info.loaded);
    watch_unload(&subject);
    assert_int_equal(unloads(), 1);
    assert_true(newest("range")->info.loaded);
    void *outer = nth_verifier_enter();
    assert_ptr_equal(nth_module_of((uintptr_t)span), newest("range"));
    assert_ptr_equal(nth_module_of((uintptr_t)span + 63), newest("range"));
    assert_ptr_not_equal(nth_module_of((uintptr_t)span + 64), newest("range"));
    nth_verifier_leave(outer);
    assert_int_equal(nth_verifier_module_unload(span), STATUS_SUCCESS);
    watch_finish(heap);
}

/* ---- another one at the same place ---- */

enum change { LOW, HIGH, BASE, ID, ID_BYTES, NAME, NONE, CHANGE_COUNT };

static void change(struct nth_module *module, enum change how)
{
    switch (how) {
    case LOW:
        module->info.low += 16;
        break;
    case HIGH:
        module->info.high += 16;
        break;
    case BASE:
        module->info.base += 16;
        break;
    case ID:
        module->build_id[19] ^= 1u;
        break;
    case ID_BYTES:
        module->build_id_bytes--;
        break;
    case NAME:
        module->info.name = "subject.sp";
        break;
    case NONE:
    case CHANGE_COUNT:
        break;
    }
}

/* What is known of a module is changed, as if it had been another file: the scan finds that it is
 * gone, with its leaks, and a new one there. */
static void what_differs_in_anything_is_another_module(void **state)
{
    (void)state;
    for (enum change how = LOW; how < CHANGE_COUNT; how++) {
        struct watch_module subject;
        struct watch_module other;
        HANDLE heap = watch_begin("leak");
        watch_load(&subject, "subject.so");
        PVOID block = subject.calls->allocate(heap, BYTES);
        struct nth_module *before = newest("subject.so");
        assert_int_equal(before->info.live_count, 1);
        assert_int_equal(before->build_id_bytes, 20);
        change(before, how);
        watch_load(&other, "other.so");
        nth_verifier_look();
        assert_int_equal(unloads(), how != NONE);
        assert_int_equal(before->info.loaded, how == NONE);
        assert_true((newest("subject.so") == before) == (how == NONE));
        assert_int_equal(watch_count(), how != NONE);
        if (how != NONE) {
            assert_int_equal(watch_stop(0)->code, 0x900);
            assert_int_equal(watch_stop(0)->parameter[0], (ULONG_PTR)block);
            assert_int_equal(newest("subject.so")->info.base, subject.base);
            watch_forget();
        }
        assert_int_equal(HeapFree(heap, 0, block), TRUE);
        watch_unload(&other);
        watch_unload(&subject);
        watch_finish(heap);
        nth_process_reset();
    }
}

/* ---- scans inside of stops ---- */

static struct watch_module nested;
static unsigned leaks_told;

static void load_another(void *context, const struct nth_stop *stop)
{
    (void)context;
    assert_int_equal(stop->code, 0x900);
    if (leaks_told++ == 0) {
        watch_load(&nested, "builder.so"); /* changes what is loaded, in the middle of telling */
        nth_verifier_look();
    }
}

/* Two modules go at once, and the hook that hears of the first has the modules looked at. */
static void a_hook_may_load_modules(void **state)
{
    struct nth_verifier_settings set;
    struct watch_module subject;
    struct watch_module other;
    (void)state;
    assert_int_equal(nth_verifier_parse("leak", &set, NULL, 0), STATUS_SUCCESS);
    set.stop = load_another;
    leaks_told = 0;
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    HANDLE heap = rig_heap_new();
    watch_load(&subject, "subject.so");
    watch_load(&other, "other.so");
    assert_non_null(subject.calls->allocate(heap, BYTES));
    assert_non_null(other.calls->allocate(heap, BYTES));
    watch_unload_unseen(&subject);
    watch_unload_unseen(&other);
    nth_verifier_look();
    assert_int_equal(leaks_told, 2);
    assert_int_equal(unloads(), 2);
    assert_int_equal(nth_verifier_stop_at(0)->code, 0x900);
    assert_int_equal(nth_verifier_stop_at(1)->code, 0x900);
    assert_true(nth_verifier_stop_at(0)->parameter[2] != nth_verifier_stop_at(1)->parameter[2]);
    assert_false(newest("subject.so")->info.loaded || newest("other.so")->info.loaded);
    assert_true(newest("builder.so")->info.loaded);
    watch_unload(&nested);
    assert_int_equal(leaks_told, 2); /* builder tidies up */
    assert_int_equal(HeapDestroy(heap), TRUE);
}

/* ---- notes and symbols of files ---- */

/* The build ID that the verifier reads when this file is loaded. */
static size_t id_of(const struct elf_copy *elf, uint8_t id[20])
{
    void *handle = dlopen(elf->path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fail_msg("%s", dlerror());
    }
    nth_verifier_look();
    const struct nth_module *module = newest(strrchr(elf->path, '/') + 1);
    assert_non_null(module);
    assert_true(module->info.loaded);
    const size_t bytes = module->build_id_bytes;
    memcpy(id, module->build_id, 20);
    assert_int_equal(nth_verifier_dlclose(handle), 0);
    assert_false(module->info.loaded);
    return bytes;
}

static void a_note_that_is_no_build_id_is_none(void **state)
{
    static const struct {
        ElfW(Nhdr) note;
        const char *name;
        size_t bytes;
    } rows[] = {
        {{4, 20, NT_GNU_BUILD_ID}, "GNU", 20}, /* as it is */
        {{4, 16, NT_GNU_BUILD_ID}, "GNU", 16},   {{4, 19, NT_GNU_BUILD_ID}, "GNU", 19},
        {{4, 21, NT_GNU_BUILD_ID}, "GNU", 0}, /* behind the segment's end */
        {{4, 4096, NT_GNU_BUILD_ID}, "GNU", 0},  {{4, UINT32_MAX, NT_GNU_BUILD_ID}, "GNU", 0},
        {{4096, 20, NT_GNU_BUILD_ID}, "GNU", 0}, {{UINT32_MAX, 20, NT_GNU_BUILD_ID}, "GNU", 0},
        {{5, 16, NT_GNU_BUILD_ID}, "GNU", 0},    {{3, 20, NT_GNU_BUILD_ID}, "GNU", 0},
        {{4, 20, NT_GNU_BUILD_ID}, "GNV", 0},    {{4, 20, NT_GNU_BUILD_ID}, "GNUx", 0},
        {{4, 20, NT_GNU_ABI_TAG}, "GNU", 0},
    };
    uint8_t id[20];
    uint8_t original[20];
    (void)state;
    watch_start("leak");
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct elf_copy elf; /* a fresh file: the dynamic linker knows the old ones */
        elf_copy_make(&elf);
        const size_t place = elf_build_id(&elf);
        elf_get(&elf, place + sizeof(ElfW(Nhdr)) + 4, original, sizeof(original));
        elf_put(&elf, place, &rows[row].note, sizeof(rows[row].note));
        elf_put(&elf, place + sizeof(ElfW(Nhdr)), rows[row].name, 4);
        assert_int_equal(id_of(&elf, id), rows[row].bytes);
        assert_memory_equal(id, original, rows[row].bytes);
        elf_copy_drop(&elf);
    }
}

/* Longer than one that is kept, though the segment has room for it; and a second note behind it. */
static void a_build_id_is_the_first_that_fits(void **state)
{
    (void)state;
    watch_start("leak");
    for (unsigned row = 0; row < 2; row++) {
        struct elf_copy elf;
        ElfW(Ehdr) header;
        ElfW(Phdr) part;
        uint8_t id[20];
        size_t notes[2] = {0, 0};
        elf_copy_make(&elf);
        elf_get(&elf, 0, &header, sizeof(header));
        for (unsigned idx = 0; idx < header.e_phnum; idx++) {
            const size_t place = (size_t)header.e_phoff + idx * sizeof(part);
            elf_get(&elf, place, &part, sizeof(part));
            if (part.p_type == PT_NOTE) {
                notes[0] = place;
            } else if (part.p_type == PT_GNU_EH_FRAME) {
                notes[1] = place; /* becomes one */
            }
        }
        assert_true(notes[0] != 0 && notes[1] != 0);
        const ElfW(Nhdr) wide = {4, 24, NT_GNU_BUILD_ID};
        elf_get(&elf, notes[0], &part, sizeof(part));
        if (row == 0) {
            part.p_memsz += 64;
            elf_put(&elf, notes[0], &part, sizeof(part));
            elf_put(&elf, elf_build_id(&elf), &wide, sizeof(wide));
        } else {
            elf_put(&elf, notes[1], &part, sizeof(part)); /* the same one again */
        }
        assert_int_equal(id_of(&elf, id), row == 0 ? 0 : 20);
        elf_copy_drop(&elf);
    }
}

/* ---- notes of other tools ---- */

static size_t note_put(char *notes, size_t at, uint32_t name_bytes, uint32_t bytes, uint32_t type,
                       const char *name)
{
    const ElfW(Nhdr) header = {name_bytes, bytes, type};
    memcpy(notes + at, &header, sizeof(header));
    at += sizeof(header);
    (void)snprintf(notes + at, 16, "%s", name);
    at += (name_bytes + 3u) & ~(size_t)3;
    memset(notes + at, (int)(0x40 + bytes), bytes);
    return at + ((bytes + 3u) & ~(size_t)3);
}

/* Another note comes first, of any length; behind the build's own nothing is looked at. */
static void a_build_id_behind_another_note_is_found(void **state)
{
    char notes[128];
    uint8_t id[NTH_BUILD_ID_BYTES];
    (void)state;
    for (uint32_t name_bytes = 0; name_bytes < 10; name_bytes++) {
        for (uint32_t bytes = 0; bytes < 10; bytes++) {
            memset(notes, 0, sizeof(notes));
            const size_t first = note_put(notes, 0, name_bytes, bytes, 77, "another");
            const size_t end = note_put(notes, first, 4, 20, NT_GNU_BUILD_ID, "GNU");
            assert_int_equal(nth_elf_build_id(notes, end, id), 20);
            assert_memory_equal(id, notes + end - 20, 20);
            for (size_t less = end - 1; less > 0; less--) {
                assert_int_equal(nth_elf_build_id(notes, less, id), 0);
            }
        }
    }
}

static void name_of(const struct elf_copy *elf, uintptr_t offset, char *name, size_t bytes,
                    size_t *distance)
{
    *distance = 0;
    nth_symbol_find(&elf->module, offset, name, bytes, distance);
}

/* The file's note decides whether it is the file that was loaded. */
static void a_file_is_believed_by_its_build_id(void **state)
{
    struct elf_copy elf;
    ElfW(Nhdr) note;
    char name[64];
    size_t distance = 0;
    (void)state;
    elf_copy_make(&elf);
    const size_t place = elf_build_id(&elf);
    elf_get(&elf, place, &note, sizeof(note));
    elf.module.build_id_bytes = 20;
    elf_get(&elf, place + sizeof(note) + 4, elf.module.build_id, 20);
    name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "subject_calls");
    assert_int_equal(distance, 1);
    elf.module.build_id[19] ^= 1u;
    name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "");
    elf.module.build_id[19] ^= 1u;
    const ElfW(Nhdr)
        wrong[3] = {{5, 20, NT_GNU_BUILD_ID}, {4, 20, NT_GNU_ABI_TAG}, {4, 24, NT_GNU_BUILD_ID}};
    for (unsigned row = 0; row < 3; row++) {
        elf_put(&elf, place, &wrong[row], sizeof(note));
        name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
        assert_string_equal(name, "");
    }
    elf_put(&elf, place, &note, sizeof(note));
    ElfW(Shdr) section;
    ElfW(Shdr) shorter;
    const size_t described = elf_section(&elf, SHT_NOTE, &section);
    shorter = section;
    shorter.sh_size--; /* its ID ends behind the section */
    elf_put(&elf, described, &shorter, sizeof(shorter));
    name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "");
    elf_put(&elf, described, &section, sizeof(section));
    name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "subject_calls");
    elf_copy_drop(&elf);
}

/* Without a symbol table the names of what is exported are left. */
static void a_stripped_file_names_what_it_exports(void **state)
{
    struct nth_module module;
    struct watch_module bare;
    char name[64];
    size_t distance = 0;
    (void)state;
    watch_load(&bare, "bare.so");
    const uintptr_t offset = (uintptr_t)dlsym(bare.handle, "subject_calls") - bare.base;
    assert_int_equal(dlclose(bare.handle), 0);
    memset(&module, 0, sizeof(module));
    module.info.path = NTH_MODULE_DIR "/bare.so";
    nth_symbol_find(&module, offset + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "subject_calls");
    assert_int_equal(distance, 1);
    module.declared = true; /* a range of the program's has no file */
    nth_symbol_find(&module, offset + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "");
}

static void a_longer_name_is_cut_to_its_room(void **state)
{
    struct elf_copy elf;
    char name[16];
    size_t distance = 0;
    (void)state;
    elf_copy_make(&elf);
    static const struct {
        size_t bytes;
        const char *name;
    } rows[] = {
        {1, ""}, {4, "sub"}, {13, "subject_call"}, {14, "subject_calls"}, {16, "subject_calls"}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        memset(name, 'x', sizeof(name));
        name_of(&elf, elf.symbol, name, rows[row].bytes, &distance);
        assert_string_equal(name, rows[row].name);
        assert_int_equal(distance, 0);
        for (size_t idx = strlen(name) + 1; idx < sizeof(name); idx++) {
            assert_int_equal(name[idx], 'x');
        }
    }
    elf_copy_drop(&elf);
}

/* Of functions that lie around an address the one that begins last is meant, whichever stands
 * first in the table. */
static void the_innermost_function_gives_its_name(void **state)
{
    static const char *const others[] = {"make_section", "inner_allocate"};
    struct elf_copy elf;
    ElfW(Sym) subject;
    ElfW(Sym) around;
    char name[64];
    size_t distance = 0;
    (void)state;
    elf_copy_make(&elf);
    const size_t subject_at = elf_symbol(&elf, SHT_SYMTAB, "subject_calls", &subject);
    for (unsigned row = 0; row < 2; row++) {
        const size_t at = elf_symbol(&elf, SHT_SYMTAB, others[row], &around);
        const ElfW(Sym) before = around;
        around.st_value = subject.st_value - 8u;
        around.st_size = subject.st_size + 16u;
        elf_put(&elf, at, &around, sizeof(around));
        name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
        assert_string_equal(name, "subject_calls");
        name_of(&elf, elf.symbol - 8u, name, sizeof(name), &distance);
        assert_string_equal(name, others[row]);
        assert_int_equal(distance, 0);
        name_of(&elf, elf.symbol - 9u, name, sizeof(name), &distance);
        assert_string_not_equal(name, others[row]);
        around.st_value = 0x1000000; /* where nothing else is */
        around.st_size = 16;
        elf_put(&elf, at, &around, sizeof(around));
        name_of(&elf, 0x100000F, name, sizeof(name), &distance);
        assert_string_equal(name, others[row]);
        assert_int_equal(distance, 15);
        name_of(&elf, 0x1000010, name, sizeof(name), &distance);
        assert_string_equal(name, "");
        name_of(&elf, 0xFFFFFF, name, sizeof(name), &distance);
        assert_string_equal(name, "");
        elf_put(&elf, at, &before, sizeof(before));
    }
    /* The same, with the two changed places in the table. */
    const size_t at = elf_symbol(&elf, SHT_SYMTAB, others[0], &around);
    around.st_value = subject.st_value - 8u;
    around.st_size = subject.st_size + 16u;
    elf_put(&elf, subject_at, &around, sizeof(around));
    elf_put(&elf, at, &subject, sizeof(subject));
    name_of(&elf, elf.symbol + 1, name, sizeof(name), &distance);
    assert_string_equal(name, "subject_calls");
    elf_copy_drop(&elf);
}

/* Where the range of a function begins that takes its helpers along, and where names end. */
static void ranges_come_from_symbols_that_hold(void **state)
{
    struct elf_copy elf;
    ElfW(Sym) subject;
    ElfW(Sym) symbol;
    char longest[4096];
    uintptr_t low = 0;
    uintptr_t high = 0;
    (void)state;
    elf_copy_make(&elf);
    elf.module.info.base = 0x100000;
    const size_t at = elf_symbol(&elf, SHT_DYNSYM, "subject_calls", &subject);
    assert_true(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    assert_int_equal(low, 0x100000 + elf.symbol);
    assert_int_equal(high, low + (uintptr_t)subject.st_size);
    memset(longest, 's', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_false(nth_symbol_range(&elf.module, longest, false, &low, &high));
    assert_false(nth_symbol_range(&elf.module, "subject_call", false, &low, &high));
    assert_false(nth_symbol_range(&elf.module, "subject_callsx", false, &low, &high));
    symbol = subject;
    symbol.st_name = UINT32_MAX; /* of no name */
    elf_put(&elf, at, &symbol, sizeof(symbol));
    assert_false(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    symbol = subject;
    symbol.st_size = 0; /* of no bytes */
    elf_put(&elf, at, &symbol, sizeof(symbol));
    assert_false(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    symbol = subject;
    symbol.st_shndx = SHN_UNDEF; /* of somebody else */
    elf_put(&elf, at, &symbol, sizeof(symbol));
    assert_false(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    symbol = subject;
    symbol.st_size = UINTPTR_MAX - subject.st_value + 1u; /* that ends behind all addresses */
    elf_put(&elf, at, &symbol, sizeof(symbol));
    assert_false(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    symbol.st_size--;
    elf_put(&elf, at, &symbol, sizeof(symbol));
    assert_true(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    elf_put(&elf, at, &subject, sizeof(subject));
    elf.module.build_id_bytes = sizeof(elf.module.build_id); /* of another file */
    assert_false(nth_symbol_range(&elf.module, "subject_calls", false, &low, &high));
    elf.module.build_id_bytes = 0;
    /* A function before it: helpers are what lies between the two. */
    ElfW(Shdr) table;
    (void)elf_section(&elf, SHT_DYNSYM, &table);
    const size_t first = (size_t)table.sh_offset + sizeof(symbol);
    elf_get(&elf, first, &symbol, sizeof(symbol));
    assert_true(first != at);
    static const struct {
        int value; /* from the function's start */
        intptr_t bytes;
        unsigned type;
        int low;
    } rows[] = {{-32, 16, STT_FUNC, -16}, {-32, -4, STT_FUNC, 0},   {-32, 32, STT_FUNC, 0},
                {-32, 33, STT_FUNC, 0},   {-32, 16, STT_OBJECT, 0}, {0, 16, STT_FUNC, 0},
                {-1, 0, STT_FUNC, -1}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        ElfW(Sym) before = symbol;
        before.st_value = (uintptr_t)((intptr_t)elf.symbol + rows[row].value);
        before.st_size = (uintptr_t)rows[row].bytes;
        before.st_info = (unsigned char)(STB_GLOBAL << 4 | rows[row].type);
        before.st_shndx = 1;
        elf_put(&elf, first, &before, sizeof(before));
        assert_true(nth_symbol_range(&elf.module, "subject_calls", true, &low, &high));
        assert_int_equal(low, 0x100000 + (uintptr_t)((intptr_t)elf.symbol + rows[row].low));
        assert_int_equal(high, 0x100000 + elf.symbol + (uintptr_t)subject.st_size);
    }
    elf_copy_drop(&elf);
    assert_false(nth_symbol_range(&elf.module, "subject_calls", true, &low, &high));
}

/* ---- stacks ---- */

static unsigned deeper(struct nth_stack *stack, const void *caller, unsigned depth)
{
    if (depth > 0) {
        const volatile unsigned below = deeper(stack, caller, depth - 1);
        return below + 1;
    }
    nth_stack_take(stack, caller);
    return 0;
}

/* The search for the caller's frame gives up: what is known is the caller itself. */
static void a_caller_that_is_no_frame_is_all_of_its_stack(void **state)
{
    struct nth_stack stack;
    (void)state;
    watch_start("leak");
    assert_int_equal(deeper(&stack, (const void *)0x1234, 200), 200);
    assert_true(stack.broken);
    assert_int_equal(stack.count, 1);
    assert_int_equal(stack.addresses[0], 0x1234);
}

/* What libc allocates below such a function is its own; below others it is the caller's. */
static void functions_that_keep_own_what_is_below_them(void **state)
{
    static const char *const names[] = {"setenv", "putenv", "on_exit", "strdup", "getline"};
    unsigned looked = 0;
    (void)state;
    watch_start("leak");
    const uintptr_t here = (uintptr_t)functions_that_keep_own_what_is_below_them + 4u;
    for (unsigned row = 0; row < sizeof(names) / sizeof(names[0]); row++) {
        void *function = dlsym(RTLD_NEXT, names[row]);
        void *outer = nth_verifier_enter();
        const struct nth_module *libc = nth_module_of((uintptr_t)function);
        const struct nth_stack stack = {.count = 2, .addresses = {(uintptr_t)function + 8u, here}};
        const struct nth_module *owner = nth_stack_owner(&stack);
        const struct nth_module *program = nth_module_numbered(1);
        nth_verifier_leave(outer);
        if (libc == NULL || strncmp(libc->info.name, "libc.so", 7) != 0) {
            continue; /* a sanitizer has one of its own in its place */
        }
        assert_ptr_equal(owner, row < 3 ? libc : program);
        looked++;
    }
    print_message("%u of them are libc's here\n", looked);
}

static const struct nth_trace *intern(const struct nth_stack *stack)
{
    void *outer = nth_verifier_enter();
    const struct nth_trace *trace = nth_trace_intern(stack);
    nth_verifier_leave(outer);
    assert_non_null(trace);
    return trace;
}

/* One hash is no proof: what was kept is changed, so that another stack has its hash. */
static void stacks_with_one_hash_are_told_apart(void **state)
{
    (void)state;
    for (unsigned row = 0; row < 5; row++) {
        const struct nth_stack stack = {.count = 2, .addresses = {0x10, 0x20}};
        watch_start("leak");
        const struct nth_trace *kept = intern(&stack);
        struct nth_trace *writable = (struct nth_trace *)(uintptr_t)kept;
        struct nth_trace_frame *frames = (struct nth_trace_frame *)(uintptr_t)kept->frames;
        assert_ptr_equal(intern(&stack), kept);
        switch (row) {
        case 0:
            writable->count = 1;
            break;
        case 1:
            writable->broken = TRUE;
            break;
        case 2:
            frames[1].module = 7;
            break;
        case 3:
            frames[1].offset = 0x21;
            break;
        default:
            frames[0].offset = 0x11;
            break;
        }
        const struct nth_trace *fresh = intern(&stack);
        assert_ptr_not_equal(fresh, kept);
        assert_int_equal(fresh->count, 2);
        assert_int_equal(fresh->frames[0].offset, 0x10);
        assert_int_equal(fresh->frames[1].offset, 0x20);
        assert_false(fresh->broken);
        assert_ptr_equal(intern(&stack), fresh);
        nth_process_reset();
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_module_without_room_owns_nothing),
        TEST(without_a_folder_a_path_stays_relative),
        TEST(the_program_comes_first_and_has_its_own_name),
        TEST(declared_ranges_are_told_apart_by_place_size_and_name),
        TEST(a_declared_range_ends_with_the_addresses),
        TEST(a_declared_range_outlasts_scans),
        TEST(what_differs_in_anything_is_another_module),
        TEST(a_hook_may_load_modules),
        TEST(a_note_that_is_no_build_id_is_none),
        TEST(a_build_id_is_the_first_that_fits),
        TEST(a_build_id_behind_another_note_is_found),
        TEST(a_file_is_believed_by_its_build_id),
        TEST(a_stripped_file_names_what_it_exports),
        TEST(a_longer_name_is_cut_to_its_room),
        TEST(the_innermost_function_gives_its_name),
        TEST(ranges_come_from_symbols_that_hold),
        TEST(functions_that_keep_own_what_is_below_them),
        TEST(a_caller_that_is_no_frame_is_all_of_its_stack),
        TEST(stacks_with_one_hash_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
