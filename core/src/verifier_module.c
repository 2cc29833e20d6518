/* SPDX-License-Identifier: MIT
 *
 * Which modules there are: what the dynamic linker has loaded, and ranges that the program
 * declared. Scans run under the dynamic linker's lock and take the verifier's inside it, never the
 * other way round: a program may allocate while it walks over the loaded objects. */
#define _GNU_SOURCE
#include "verifier.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"

#define MODULE_ROOM_FIRST 64u

/* Libraries that allocate for whoever called them. */
static const char *const pass_through[] = {
    "libc.so",      "libc-",       "libstdc++.so", "libc++.so",
    "libc++abi.so", "libgcc_s.so", "libntheap.so", "libntheap-malloc.so"};

/* Functions of libc that keep what they allocate: stream buffers, lists of what to run at exit, the
 * environment, the locale, the time zone. */
static const char *const keepers[] = {"_IO_file_doallocate",
                                      "__cxa_atexit",
                                      "on_exit",
                                      "__cxa_thread_atexit_impl",
                                      "setenv",
                                      "putenv",
                                      "setlocale",
                                      "bindtextdomain",
                                      "textdomain",
                                      "tzset",
                                      "localtime",
                                      "localtime_r",
                                      "dlopen",
                                      "dlsym",
                                      "dlerror"};

static_assert(sizeof(keepers) / sizeof(keepers[0]) <= NTH_VERIFIER_KEEPS, "all of them fit");

struct nth_module *nth_module_numbered(ULONG number)
{
    return number >= 1 && number <= nth_verifier.module_count ? nth_verifier.module_at[number - 1]
                                                              : NULL;
}

/* Declared ranges first: they lie inside loaded objects. */
struct nth_module *nth_module_of(uintptr_t address)
{
    struct nth_module *found = NULL;
    for (struct nth_module *module = nth_verifier.modules; module != NULL; module = module->next) {
        if (module->info.loaded && address >= module->info.low && address < module->info.high) {
            if (module->declared) {
                return module;
            }
            found = module;
        }
    }
    return found;
}

bool nth_module_keeps(const struct nth_module *module, uintptr_t address)
{
    for (unsigned idx = 0; idx < module->keeps_count; idx++) {
        if (address >= module->keeps[2u * idx] && address < module->keeps[2u * idx + 1u]) {
            return true;
        }
    }
    return false;
}

/* ---- Making ---- */

static bool number_take(struct nth_module *module)
{
    struct nth_verifier *all = &nth_verifier;
    if (all->module_count == all->module_room) {
        const ULONG room = all->module_room == 0 ? MODULE_ROOM_FIRST : all->module_room * 2u;
        struct nth_module **longer = nth_verifier_take_around(room * sizeof(struct nth_module *));
        if (longer == NULL) {
            return false;
        }
        if (all->module_count > 0) {
            memcpy(longer, all->module_at, all->module_count * sizeof(*longer));
        }
        all->module_at = longer;
        all->module_room = room;
    }
    all->module_at[all->module_count++] = module;
    module->info.number = all->module_count;
    return true;
}

static bool name_take(struct nth_module *module, const char *path)
{
    char folder[NTH_VERIFIER_PATH_BYTES];
    const size_t len = strlen(path);
    folder[0] = '\0';
    if (path[0] != '/' && !module->declared && strchr(path, '/') != NULL &&
        getcwd(folder, sizeof(folder) - 1) != NULL) {
        const size_t end = strlen(folder);
        folder[end] = '/';
        folder[end + 1] = '\0';
    }
    const size_t before = strlen(folder);
    char *copy = nth_verifier_take_around(before + len + 1);
    USHORT *wide = nth_verifier_take_around((len + 1) * sizeof(USHORT));
    if (copy == NULL || wide == NULL) {
        return false;
    }
    memcpy(copy, folder, before);
    memcpy(copy + before, path, len + 1);
    const char *slash = strrchr(copy, '/');
    module->info.path = copy;
    module->info.name = module->declared || slash == NULL ? copy : slash + 1;
    nth_name_widen(module->info.name, wide);
    module->info.wide_name = wide;
    return true;
}

static bool is_pass_through(const char *name)
{
    for (size_t idx = 0; idx < sizeof(pass_through) / sizeof(pass_through[0]); idx++) {
        if (strncmp(name, pass_through[idx], strlen(pass_through[idx])) == 0) {
            return true;
        }
    }
    return nth_names_have(nth_verifier.set.pass_through, name);
}

static void keepers_search(struct nth_module *module)
{
    for (size_t idx = 0; idx < sizeof(keepers) / sizeof(keepers[0]); idx++) {
        uintptr_t *range = &module->keeps[2u * module->keeps_count];
        /* setenv jumps into a helper that stands before it, and leaves no frame of its own. */
        const bool helpers = strcmp(keepers[idx], "setenv") == 0;
        if (nth_symbol_range(module, keepers[idx], helpers, &range[0], &range[1])) {
            module->keeps_count++;
        }
    }
}

/* The file is searched once for as long as it is the same: a process may start the verifier many
 * times. The lock is held. */
static void keepers_find(struct nth_module *module)
{
    static struct nth_module last; /* with keeps as offsets */
    const bool known = module->build_id_bytes > 0 &&
                       module->build_id_bytes == last.build_id_bytes &&
                       memcmp(module->build_id, last.build_id, sizeof(last.build_id)) == 0;
    if (!known) {
        keepers_search(module);
        last = *module;
        for (unsigned idx = 0; idx < 2u * last.keeps_count; idx++) {
            last.keeps[idx] -= module->info.base;
        }
        return;
    }
    module->keeps_count = last.keeps_count;
    for (unsigned idx = 0; idx < 2u * last.keeps_count; idx++) {
        module->keeps[idx] = last.keeps[idx] + module->info.base;
    }
}

/* The lock is held. NULL when there is no memory: what it allocates has no owner then. */
static struct nth_module *module_make(const struct nth_module *like, const char *path)
{
    struct nth_module *module = nth_verifier_take_around(sizeof(*module));
    if (module == NULL) {
        return NULL;
    }
    *module = *like;
    if (!name_take(module, path) || !number_take(module)) {
        return NULL;
    }
    module->info.pass_through = !module->declared && is_pass_through(module->info.name);
    module->next = nth_verifier.modules;
    nth_verifier.modules = module;
    if (module->info.pass_through && strncmp(module->info.name, "libc", 4) == 0) {
        keepers_find(module);
    }
    return module;
}

/* ---- Scanning ---- */

struct scan {
    uint64_t number;
    uint64_t adds;
    uint64_t subs;
};

static int counts_only(struct dl_phdr_info *info, size_t size, void *context)
{
    struct scan *scan = context;
    (void)size;
    scan->adds = info->dlpi_adds;
    scan->subs = info->dlpi_subs;
    return 1;
}

static void describe(const struct dl_phdr_info *info, struct nth_module *like)
{
    like->info.base = info->dlpi_addr;
    like->info.low = UINTPTR_MAX;
    for (unsigned idx = 0; idx < info->dlpi_phnum; idx++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[idx];
        const uintptr_t low = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD) {
            like->info.low = low < like->info.low ? low : like->info.low;
            like->info.high = low + part->p_memsz; /* the last of them is the highest */
        } else if (part->p_type == PT_NOTE && like->build_id_bytes == 0) {
            like->build_id_bytes =
                nth_elf_build_id((const char *)low, part->p_memsz, like->build_id);
        }
    }
}

static bool is_same(const struct nth_module *module, const struct nth_module *like,
                    const char *path)
{
    const char *end = strrchr(path, '/');
    const char *name = end == NULL ? path : end + 1;
    return !module->declared && module->info.base == like->info.base &&
           module->info.low == like->info.low && module->info.high == like->info.high &&
           module->build_id_bytes == like->build_id_bytes &&
           memcmp(module->build_id, like->build_id, sizeof(like->build_id)) == 0 &&
           strcmp(module->info.name, name) == 0;
}

/* One loaded object. The dynamic linker's lock is held: scans come one after the other. */
static int see(struct dl_phdr_info *info, size_t size, void *context)
{
    struct scan *scan = context;
    struct nth_module like = {.info = {.number = 0}};
    struct nth_module *found = NULL;
    const char *path = info->dlpi_name;
    describe(info, &like);
    (void)size;
    void *outer = nth_verifier_enter();
    if (scan->number == 0) {
        scan->number = ++nth_verifier.scans;
        path = nth_verifier.program; /* comes first, and without a name */
    }
    for (found = nth_verifier.modules; found != NULL && !is_same(found, &like, path);
         found = found->next) {
    }
    if (found == NULL) {
        found = module_make(&like, path[0] != '\0' ? path : "?");
    }
    if (found != NULL) {
        found->info.loaded = TRUE;
        found->scan = scan->number;
    }
    scan->adds = info->dlpi_adds;
    scan->subs = info->dlpi_subs;
    nth_verifier_leave(outer);
    return 0;
}

/* A loaded module that the latest scan did not see; marked as gone. */
static struct nth_module *gone_next(uint64_t scan)
{
    struct nth_module *module = NULL;
    void *outer = nth_verifier_enter();
    if (nth_verifier.scans == scan) {
        module = nth_verifier.modules;
        while (module != NULL &&
               (!module->info.loaded || module->declared || module->scan == scan)) {
            module = module->next;
        }
        if (module != NULL) {
            module->info.loaded = FALSE;
        }
    }
    nth_verifier_leave(outer);
    return module;
}

/* A fork waits until this is over: the child would find the dynamic linker's lock held for good. */
void nth_modules_look(void)
{
    struct scan scan = {0, 0, 0};
    void *outer = nth_gate_enter(&nth_verifier);
    (void)dl_iterate_phdr(counts_only, &scan);
    const bool changed = scan.adds != nth_load_acquire(&nth_verifier.adds) ||
                         scan.subs != nth_load_acquire(&nth_verifier.subs);
    if (changed) {
        (void)dl_iterate_phdr(see, &scan);
        nth_store_release(&nth_verifier.adds, scan.adds);
        nth_store_release(&nth_verifier.subs, scan.subs);
    }
    nth_gate_leave(outer);
    if (!changed) {
        return;
    }
    for (struct nth_module *gone = gone_next(scan.number); gone != NULL;
         gone = gone_next(scan.number)) {
        nth_module_unloaded(gone);
    }
}

void nth_modules_start(void)
{
    const ssize_t len =
        readlink("/proc/self/exe", nth_verifier.program, sizeof(nth_verifier.program) - 1);
    nth_verifier.program[len > 0 ? len : 0] = '\0';
}

/* ---- The public side ---- */

BOOLEAN nth_verifier_module(ULONG number, struct nth_module_info *info)
{
    if (!nth_verifying()) {
        return FALSE;
    }
    void *outer = nth_verifier_enter();
    const struct nth_module *module = nth_module_numbered(number);
    if (module != NULL) {
        *info = module->info;
    }
    nth_verifier_leave(outer);
    return module != NULL;
}

void nth_verifier_look(void)
{
    if (nth_verifying()) {
        nth_modules_look();
    }
}

int nth_verifier_dlclose(void *handle)
{
    if (!nth_verifying()) {
        return dlclose(handle);
    }
    nth_modules_look();
    const int result = dlclose(handle);
    nth_modules_look();
    return result;
}

NTSTATUS nth_verifier_module_load(const char *name, PVOID base, SIZE_T bytes)
{
    const uintptr_t low = (uintptr_t)base;
    NTSTATUS status = STATUS_SUCCESS;
    if (!nth_verifying()) {
        return STATUS_UNSUCCESSFUL;
    }
    if (bytes == 0 || bytes > UINTPTR_MAX - low) {
        return STATUS_INVALID_PARAMETER;
    }
    const struct nth_module like = {
        .info = {.loaded = TRUE, .base = low, .low = low, .high = low + bytes},
        .declared = true,
    };
    void *outer = nth_verifier_enter();
    struct nth_module *again = NULL;
    for (struct nth_module *module = nth_verifier.modules; module != NULL; module = module->next) {
        if (module->declared && module->info.loaded && low < module->info.high &&
            module->info.low < low + bytes) {
            status = STATUS_INVALID_PARAMETER;
        }
        if (module->declared && !module->info.loaded && module->info.low == low &&
            module->info.high == low + bytes && strcmp(module->info.name, name) == 0) {
            again = module;
        }
    }
    if (status == STATUS_SUCCESS && again != NULL) {
        again->info.loaded = TRUE;
    } else if (status == STATUS_SUCCESS && module_make(&like, name) == NULL) {
        status = STATUS_NO_MEMORY;
    }
    nth_verifier_leave(outer);
    return status;
}

NTSTATUS nth_verifier_module_unload(PVOID base)
{
    if (!nth_verifying()) {
        return STATUS_UNSUCCESSFUL;
    }
    void *outer = nth_verifier_enter();
    struct nth_module *module = nth_verifier.modules;
    while (module != NULL &&
           (!module->declared || !module->info.loaded || module->info.base != (uintptr_t)base)) {
        module = module->next;
    }
    if (module != NULL) {
        module->info.loaded = FALSE;
    }
    nth_verifier_leave(outer);
    if (module == NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    nth_module_unloaded(module);
    return STATUS_SUCCESS;
}
