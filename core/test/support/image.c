/* SPDX-License-Identifier: MIT
 *
 * See image.h. */
#define _GNU_SOURCE
#include "support/image.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/watch.h"

void elf_copy_make(struct elf_copy *elf)
{
    struct watch_module subject;
    char path[512];
    char buffer[4096];
    watch_load(&subject, "subject.so");
    elf->symbol = (uintptr_t)dlsym(subject.handle, "subject_calls") - subject.base;
    assert_int_equal(dlclose(subject.handle), 0);
    (void)snprintf(path, sizeof(path), "%s/subject.so", NTH_MODULE_DIR);
    (void)strcpy(elf->path, "/tmp/heaprig-elf-XXXXXX");
    elf->file = mkstemp(elf->path);
    const int from = open(path, O_RDONLY);
    assert_true(elf->file >= 0 && from >= 0);
    elf->bytes = 0;
    for (ssize_t len = 0; (len = read(from, buffer, sizeof(buffer))) > 0;) {
        assert_int_equal(write(elf->file, buffer, (size_t)len), len);
        elf->bytes += (size_t)len;
    }
    (void)close(from);
    memset(&elf->module, 0, sizeof(elf->module));
    elf->module.info.path = elf->path;
}

void elf_copy_drop(const struct elf_copy *elf)
{
    (void)close(elf->file);
    assert_int_equal(unlink(elf->path), 0);
}

void elf_get(const struct elf_copy *elf, size_t offset, void *to, size_t bytes)
{
    assert_int_equal(pread(elf->file, to, bytes, (off_t)offset), bytes);
}

void elf_put(const struct elf_copy *elf, size_t offset, const void *from, size_t bytes)
{
    assert_int_equal(pwrite(elf->file, from, bytes, (off_t)offset), bytes);
}

size_t elf_section(const struct elf_copy *elf, unsigned type, ElfW(Shdr) * section)
{
    ElfW(Ehdr) header;
    elf_get(elf, 0, &header, sizeof(header));
    for (unsigned idx = 0; idx < header.e_shnum; idx++) {
        const size_t place = (size_t)header.e_shoff + idx * sizeof(*section);
        elf_get(elf, place, section, sizeof(*section));
        if (section->sh_type == type) {
            return place;
        }
    }
    fail_msg("no section of type %u", type);
    return 0;
}

size_t elf_build_id(const struct elf_copy *elf)
{
    ElfW(Ehdr) header;
    ElfW(Shdr) section;
    ElfW(Nhdr) note;
    elf_get(elf, 0, &header, sizeof(header));
    for (unsigned idx = 0; idx < header.e_shnum; idx++) {
        elf_get(elf, (size_t)header.e_shoff + idx * sizeof(section), &section, sizeof(section));
        if (section.sh_type == SHT_NOTE) {
            elf_get(elf, (size_t)section.sh_offset, &note, sizeof(note));
            if (note.n_type == NT_GNU_BUILD_ID) {
                return (size_t)section.sh_offset;
            }
        }
    }
    fail_msg("no build ID");
    return 0;
}

size_t elf_symbol(const struct elf_copy *elf, unsigned type, const char *name, ElfW(Sym) * symbol)
{
    ElfW(Ehdr) header;
    ElfW(Shdr) table;
    ElfW(Shdr) names;
    char text[64] = "";
    elf_get(elf, 0, &header, sizeof(header));
    (void)elf_section(elf, type, &table);
    elf_get(elf, (size_t)header.e_shoff + table.sh_link * sizeof(names), &names, sizeof(names));
    for (size_t at = 0; at < table.sh_size; at += sizeof(*symbol)) {
        elf_get(elf, (size_t)table.sh_offset + at, symbol, sizeof(*symbol));
        (void)!pread(elf->file, text, sizeof(text) - 1, (off_t)(names.sh_offset + symbol->st_name));
        if (strcmp(text, name) == 0) {
            return (size_t)table.sh_offset + at;
        }
    }
    fail_msg("no symbol %s", name);
    return 0;
}
