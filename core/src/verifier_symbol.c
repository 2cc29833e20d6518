/* SPDX-License-Identifier: MIT
 *
 * Names of functions from the files of modules, which may be unloaded by now. Calls verifier_elf
 * and the system only; allocates nothing. */
#define _GNU_SOURCE
#include "verifier.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(sizeof(off_t) <= sizeof(size_t), "the size of a file is one of memory");

static bool file_open(const struct nth_module *module, struct nth_elf *elf)
{
    struct stat status;
    const int file = open(module->info.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    void *place = MAP_FAILED;
    if (file < 0) {
        return false;
    }
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        elf->len_bytes = (size_t)status.st_size;
        place = mmap(NULL, elf->len_bytes, PROT_READ, MAP_PRIVATE, file, 0);
    }
    (void)close(file);
    elf->bytes = place;
    elf->build_id = module->build_id;
    elf->build_id_bytes = module->build_id_bytes;
    return place != MAP_FAILED;
}

static void file_close(const struct nth_elf *elf)
{
    (void)munmap((void *)(uintptr_t)elf->bytes, elf->len_bytes);
}

void nth_symbol_find(const struct nth_module *module, uintptr_t offset, char *name,
                     size_t name_bytes, size_t *distance)
{
    struct nth_elf elf;
    name[0] = '\0';
    if (!module->declared && file_open(module, &elf)) {
        nth_elf_find(&elf, offset, name, name_bytes, distance);
        file_close(&elf);
    }
}

bool nth_symbol_range(const struct nth_module *module, const char *name, bool helpers,
                      uintptr_t *low, uintptr_t *high)
{
    struct nth_elf elf;
    if (!file_open(module, &elf)) {
        return false;
    }
    const bool found = nth_elf_range(&elf, name, helpers, low, high);
    if (found) {
        *low += module->info.base;
        *high += module->info.base;
    }
    file_close(&elf);
    return found;
}
