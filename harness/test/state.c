/* SPDX-License-Identifier: MIT
 *
 * No state between runs: after each program every variable of core holds what it held before it.
 * Which variables core has is read from its library's own symbol tables, and where they lie from
 * this program's: so a new variable is looked at without anybody listing it. */
#include "program/random.h"
#include "run/exec.h"
#include "run/load.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VARIABLE_COUNT_MAX 1024u
#define PROGRAM_COUNT_MAX 4096u
#define LOCK_COUNT_MAX 32u /* the process, and some heaps and critical sections */
#define HELD_COUNT_MAX 8192u
#define RANDOM_COUNT 64u
#define RECORD_COUNT 200u
#define AR_MAGIC "!<arch>\n"
#define AR_HEADER_BYTES 60u
#define AR_NAME_BYTES 16u
#define AR_SIZE_AT 48u
#define AR_SIZE_BYTES 10u

/* ELF of this word size; type and binding of a symbol are the same bits in both. */
#define SYMBOL_TYPE(symbol) ELF32_ST_TYPE((symbol)->st_info)
#define SYMBOL_BIND(symbol) ELF32_ST_BIND((symbol)->st_info)

/* What may change from run to run, and why it is no state of a run. Of a table of entries some
 * words may count all the same. */
static const struct allowed {
    const char *file;
    const char *name;
    size_t entry_words; /* 0: nothing of it counts */
    size_t words;       /* so many of each entry do, from its beginning */
    const char *reason;
} allowed[] = {
    {"lock_os.c", "pool_first", 0, 0, "mutexes that nobody uses: each is made anew when taken"},
    {"lock_os.c", "pool_free", 0, 0, "which is taken next: a lock's address decides nothing"},
    {"page.c", "loose", 4, 2, "owner and base say whether an entry means anything: sizes of none"},
};

/* A symbol table with what its entries refer to. */
struct image {
    const uint8_t *bytes;
    const ElfW(Shdr) * sections;
    size_t section_count;
    const char *section_names;
    const ElfW(Sym) * symbols;
    size_t symbol_count;
    const char *names;
};

struct variable {
    const char *file; /* "process.c" */
    const char *name;
    const uint8_t *at;
    size_t len_bytes;
    uint8_t *pristine;
};

static struct {
    struct variable variables[VARIABLE_COUNT_MAX];
    size_t count;
    struct image program;
    struct rig_exec *exec;
    struct {
        char *name;
        struct rig_program program;
    } * programs;
    size_t program_count;
    void *held[HELD_COUNT_MAX];
    size_t held_count;
} test;

/* Memory that stays until the end. */
static void *hold(size_t bytes)
{
    assert_in_range(test.held_count, 0, HELD_COUNT_MAX - 1);
    void *memory = malloc(bytes);
    assert_non_null(memory);
    test.held[test.held_count++] = memory;
    return memory;
}

/* ---- Reading ELF ---------------------------------------------------------------------------- */

static uint8_t *file_whole(const char *path, size_t *len_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("%s: %s", path, strerror(errno));
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *len_bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = hold(*len_bytes + 1);
    assert_int_equal(fread(bytes, 1, *len_bytes, file), *len_bytes);
    (void)fclose(file);
    return bytes;
}

static struct image image_of(const uint8_t *bytes)
{
    struct image image = {.bytes = bytes};
    const ElfW(Ehdr) *header = (const void *)bytes;
    assert_memory_equal(header->e_ident, ELFMAG, SELFMAG);
    image.sections = (const void *)(bytes + header->e_shoff);
    image.section_count = header->e_shnum;
    image.section_names = (const char *)bytes + image.sections[header->e_shstrndx].sh_offset;
    for (size_t idx = 0; idx < image.section_count; idx++) {
        const ElfW(Shdr) *section = &image.sections[idx];
        if (section->sh_type == SHT_SYMTAB) {
            image.symbols = (const void *)(bytes + section->sh_offset);
            image.symbol_count = section->sh_size / sizeof(*image.symbols);
            image.names = (const char *)bytes + image.sections[section->sh_link].sh_offset;
        }
    }
    return image;
}

static const char *symbol_name(const struct image *image, const ElfW(Sym) * symbol)
{
    return image->names + symbol->st_name;
}

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* Defined where variables lie. Constants that need relocating are not among them, nor are the
 * counters and lists that instrumentation keeps in sections of its own. */
static bool is_variable(const struct image *image, const ElfW(Sym) * symbol)
{
    const unsigned type = SYMBOL_TYPE(symbol);
    if ((type != STT_OBJECT && type != STT_TLS) || symbol->st_shndx >= image->section_count) {
        return false;
    }
    const char *section = image->section_names + image->sections[symbol->st_shndx].sh_name;
    return (begins(section, ".data") && !begins(section, ".data.rel.ro")) ||
           begins(section, ".bss") || begins(section, ".tdata") || begins(section, ".tbss");
}

/* What a compiler gives a name of its own may be left out by the linker. */
static bool is_named(const char *name)
{
    return name[0] != '\0' && name[0] != '.';
}

/* ---- Finding core's variables --------------------------------------------------------------- */

/* The symbols of one source file in the program: its local ones stand behind its name. */
struct group {
    size_t from;
    size_t until;
};

static const ElfW(Sym) * group_find(const struct group *group, const char *name, size_t bytes)
{
    for (size_t idx = group->from; idx < group->until; idx++) {
        const ElfW(Sym) *symbol = &test.program.symbols[idx];
        if (symbol->st_size == bytes && SYMBOL_TYPE(symbol) != STT_FILE &&
            strcmp(symbol_name(&test.program, symbol), name) == 0) {
            return symbol;
        }
    }
    return NULL;
}

static bool is_local(const struct image *object, const ElfW(Sym) * symbol)
{
    const unsigned type = SYMBOL_TYPE(symbol);
    return SYMBOL_BIND(symbol) == STB_LOCAL &&
           (type == STT_OBJECT || type == STT_TLS || type == STT_FUNC) &&
           is_named(symbol_name(object, symbol));
}

/* Files of other libraries have the same names: it is this one when it holds all that this one
 * does. */
static bool group_holds(const struct group *group, const struct image *object)
{
    for (size_t idx = 0; idx < object->symbol_count; idx++) {
        const ElfW(Sym) *symbol = &object->symbols[idx];
        if (is_local(object, symbol) &&
            group_find(group, symbol_name(object, symbol), symbol->st_size) == NULL) {
            return false;
        }
    }
    return true;
}

static struct group group_of(const struct image *object, const char *file)
{
    const struct image *program = &test.program;
    for (size_t idx = 0; idx < program->symbol_count; idx++) {
        if (SYMBOL_TYPE(&program->symbols[idx]) != STT_FILE ||
            strcmp(symbol_name(program, &program->symbols[idx]), file) != 0) {
            continue;
        }
        struct group group = {idx + 1, idx + 1};
        while (group.until < program->symbol_count &&
               SYMBOL_TYPE(&program->symbols[group.until]) != STT_FILE) {
            group.until++;
        }
        if (group_holds(&group, object)) {
            return group;
        }
    }
    return (struct group){0, 0};
}

/* Symbols known to all files of the library; the linker may have made them local. */
static const ElfW(Sym) * global_find(const char *name, size_t bytes)
{
    const struct group all = {0, test.program.symbol_count};
    return group_find(&all, name, bytes);
}

static int first_object(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    *(struct dl_phdr_info *)out = *info;
    return 1; /* the program itself comes first */
}

static const uint8_t *address_of(const ElfW(Sym) * symbol)
{
    struct dl_phdr_info info;
    (void)dl_iterate_phdr(first_object, &info);
    if (SYMBOL_TYPE(symbol) == STT_TLS) {
        return (const uint8_t *)info.dlpi_tls_data + symbol->st_value;
    }
    return (const uint8_t *)info.dlpi_addr + symbol->st_value;
}

static void variable_add(const char *file, const char *name, const ElfW(Sym) * symbol)
{
    assert_in_range(test.count, 0, VARIABLE_COUNT_MAX - 1);
    struct variable *variable = &test.variables[test.count++];
    *variable = (struct variable){file, name, address_of(symbol), symbol->st_size, NULL};
    variable->pristine = malloc(variable->len_bytes + 1);
    assert_non_null(variable->pristine);
}

static const char *file_of(const struct image *object)
{
    for (size_t idx = 0; idx < object->symbol_count; idx++) {
        if (SYMBOL_TYPE(&object->symbols[idx]) == STT_FILE) {
            return symbol_name(object, &object->symbols[idx]);
        }
    }
    return "";
}

/* A file that the program has no use for is not linked in: then none of it is found. */
static void object_take(const struct image *object)
{
    const char *file = file_of(object);
    const struct group group = group_of(object, file);
    for (size_t idx = 0; idx < object->symbol_count; idx++) {
        const ElfW(Sym) *symbol = &object->symbols[idx];
        const char *name = symbol_name(object, symbol);
        if (!is_variable(object, symbol) || !is_named(name) || symbol->st_size == 0) {
            continue;
        }
        const bool local = SYMBOL_BIND(symbol) == STB_LOCAL;
        const ElfW(Sym) *found =
            local ? group_find(&group, name, symbol->st_size) : global_find(name, symbol->st_size);
        if (found != NULL) {
            variable_add(file, name, found);
        }
    }
}

/* Members of an archive begin at even offsets; those named with a slash in front are its index. */
static void library_take(const uint8_t *bytes, size_t len_bytes)
{
    assert_memory_equal(bytes, AR_MAGIC, strlen(AR_MAGIC));
    size_t at = strlen(AR_MAGIC);
    while (at + AR_HEADER_BYTES <= len_bytes) {
        const char *header = (const char *)bytes + at;
        char digits[AR_SIZE_BYTES + 1] = "";
        memcpy(digits, header + AR_SIZE_AT, AR_SIZE_BYTES);
        const size_t size = strtoul(digits, NULL, 10);
        const uint8_t *member = bytes + at + AR_HEADER_BYTES;
        if (size > SELFMAG && memcmp(member, ELFMAG, SELFMAG) == 0) {
            /* Members need not lie where their structures may be read. */
            uint8_t *copy = hold(size);
            memcpy(copy, member, size);
            const struct image object = image_of(copy);
            object_take(&object); /* keeps pointers into the copy */
        }
        at += AR_HEADER_BYTES + size + size % 2;
    }
}

/* ---- Comparing ------------------------------------------------------------------------------ */

/* The byte has to be what it was. */
static bool counts(const struct variable *variable, size_t byte)
{
    for (size_t idx = 0; idx < sizeof(allowed) / sizeof(allowed[0]); idx++) {
        const struct allowed *row = &allowed[idx];
        if (strcmp(variable->file, row->file) == 0 && strcmp(variable->name, row->name) == 0) {
            const size_t word = byte / sizeof(uintptr_t);
            return row->entry_words != 0 && word % row->entry_words < row->words;
        }
    }
    return true;
}

/* To the linker the red zone that AddressSanitizer puts behind a variable belongs to it. */
__attribute__((no_sanitize("address"))) static uint8_t byte_now(const struct variable *variable,
                                                                size_t idx)
{
    return variable->at[idx];
}

static void remember(void)
{
    for (size_t idx = 0; idx < test.count; idx++) {
        const struct variable *variable = &test.variables[idx];
        for (size_t byte = 0; byte < variable->len_bytes; byte++) {
            variable->pristine[byte] = byte_now(variable, byte);
        }
    }
}

/* The first byte that counts and is not as it was, or the variable's length. */
static size_t differs_at(const struct variable *variable)
{
    size_t byte = 0;
    while (byte < variable->len_bytes &&
           (byte_now(variable, byte) == variable->pristine[byte] || !counts(variable, byte))) {
        byte++;
    }
    return byte;
}

/* The number of variables that are not as they were; each is named. */
static size_t changed(const char *after, bool quiet)
{
    size_t count = 0;
    for (size_t idx = 0; idx < test.count; idx++) {
        const struct variable *variable = &test.variables[idx];
        const size_t byte = differs_at(variable);
        if (byte == variable->len_bytes) {
            continue;
        }
        count++;
        if (!quiet) {
            print_error("%s: %s, byte %zu of %zu, was 0x%02x and is 0x%02x\n", variable->file,
                        variable->name, byte, variable->len_bytes, variable->pristine[byte],
                        byte_now(variable, byte));
            print_error("  after %s\n", after);
        }
    }
    return count;
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void run(const struct rig_program *program)
{
    (void)rig_exec_run(test.exec, program);
}

static struct rig_program *program_add(const char *name)
{
    assert_in_range(test.program_count, 0, PROGRAM_COUNT_MAX - 1);
    char *copy = hold(strlen(name) + 1);
    memcpy(copy, name, strlen(name) + 1);
    test.programs[test.program_count].name = copy;
    return &test.programs[test.program_count++].program;
}

static void folder_load(const char *folder)
{
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    struct rig_paths paths;
    if (!rig_load_paths(&paths, folder)) {
        fail_msg("%s: %s", folder, strerror(errno));
    }
    assert_int_not_equal(paths.count, 0);
    for (size_t idx = 0; idx < paths.count && idx < PROGRAM_COUNT_MAX / 2; idx++) {
        const char *path = paths.paths[idx];
        if (strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".md") == 0) {
            continue;
        }
        if (!rig_load_file(program_add(path), path, error, sizeof(error))) {
            fail_msg("%s", error);
        }
    }
    rig_load_paths_free(&paths);
}

static void programs_load(void)
{
    folder_load(RIG_SOURCE_DIR "/corpus/ops_fuzzer");
    folder_load(RIG_SOURCE_DIR "/corpus/regress");
    assert_int_not_equal(test.program_count, 0);
}

static void programs_generate(void)
{
    char name[32];
    for (uint32_t seed = 0; seed < RANDOM_COUNT; seed++) {
        (void)snprintf(name, sizeof(name), "swarm %u", seed);
        rig_program_random_swarm(program_add(name), seed, RECORD_COUNT);
        (void)snprintf(name, sizeof(name), "uniform %u", seed);
        rig_program_random(program_add(name), seed, RECORD_COUNT);
    }
}

static int prepare(void **state)
{
    const struct rig_options options = {.subject = rig_subject_core(), .judge = true};
    size_t len = 0;
    (void)state;
    test.program = image_of(file_whole("/proc/self/exe", &len));
    assert_non_null(test.program.symbols);
    const uint8_t *library = file_whole(RIG_BIN_DIR "/../lib/libntheap.a", &len);
    library_take(library, len);
    test.programs = calloc(PROGRAM_COUNT_MAX, sizeof(*test.programs));
    assert_non_null(test.programs);
    programs_load();
    programs_generate();
    test.exec = rig_exec_create(&options);
    assert_non_null(test.exec);
    return 0;
}

/* All programs once: what is set up once a process, or whenever somebody takes the signal handlers
 * away (as cmocka does before each test), is set up now, and as many locks were made as are ever
 * needed at once. */
static void warm_up(void)
{
    for (size_t idx = 0; idx < test.program_count; idx++) {
        run(&test.programs[idx].program);
    }
    remember();
}

static int clean_up(void **state)
{
    (void)state;
    rig_exec_destroy(test.exec);
    free(test.programs);
    for (size_t idx = 0; idx < test.count; idx++) {
        free(test.variables[idx].pristine);
    }
    for (size_t idx = 0; idx < test.held_count; idx++) {
        free(test.held[idx]);
    }
    return 0;
}

static const struct variable *variable_find(const char *file, const char *name)
{
    for (size_t idx = 0; idx < test.count; idx++) {
        if (strcmp(test.variables[idx].file, file) == 0 &&
            strcmp(test.variables[idx].name, name) == 0) {
            return &test.variables[idx];
        }
    }
    return NULL;
}

static void the_variables_of_core_are_found(void **state)
{
    (void)state;
    assert_in_range(test.count, 16, VARIABLE_COUNT_MAX);
    assert_non_null(variable_find("lock.c", "nth_self"));
    assert_non_null(variable_find("process.c", "nth_process"));
}

static void a_changed_byte_is_seen(void **state)
{
    (void)state;
    warm_up();
    for (size_t idx = 0; idx < test.count; idx++) {
        struct variable *variable = &test.variables[idx];
        const size_t byte = counts(variable, variable->len_bytes - 1) ? variable->len_bytes - 1 : 0;
        variable->pristine[byte] ^= 1;
        assert_int_equal(changed("a change", true), counts(variable, byte) ? 1 : 0);
        variable->pristine[byte] ^= 1;
    }
}

static void no_program_leaves_state(void **state)
{
    (void)state;
    warm_up();
    for (size_t idx = 0; idx < test.program_count; idx++) {
        run(&test.programs[idx].program);
        assert_int_equal(changed(test.programs[idx].name, false), 0);
    }
}

/* Few are needed at once; so if many were ever taken, programs left theirs behind. */
static void no_program_leaves_a_lock(void **state)
{
    size_t count = 0;
    (void)state;
    warm_up();
    const struct variable *used = variable_find("lock_os.c", "pool_first_used");
    assert_non_null(used);
    memcpy(&count, used->at, sizeof(count));
    assert_in_range(count, 1, LOCK_COUNT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_variables_of_core_are_found),
        cmocka_unit_test(a_changed_byte_is_seen),
        cmocka_unit_test(no_program_leaves_state),
        cmocka_unit_test(no_program_leaves_a_lock),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
