/* SPDX-License-Identifier: MIT
 *
 * A copy of a shared object of the verifier's tests, in a file of its own that may be damaged, and
 * the places in it where names come from. */
#ifndef NTH_TEST_IMAGE_H
#define NTH_TEST_IMAGE_H

#include <ntheap/types.h>

#include <link.h>
#include <stddef.h>

#include "verifier.h"

struct elf_copy {
    char path[64];
    int file;
    size_t bytes;
    struct nth_module module; /* as the verifier would know it, without a build ID */
    uintptr_t symbol;         /* offset of subject_calls */
};

void elf_copy_make(struct elf_copy *elf);
void elf_copy_drop(const struct elf_copy *elf);

/* Read and write the file. */
void elf_get(const struct elf_copy *elf, size_t offset, void *to, size_t bytes);
void elf_put(const struct elf_copy *elf, size_t offset, const void *from, size_t bytes);

/* Where the first section of this type is described, and its description. */
size_t elf_section(const struct elf_copy *elf, unsigned type, ElfW(Shdr) * section);
/* Where the note with the build ID begins, in the file. */
size_t elf_build_id(const struct elf_copy *elf);
/* Where the symbol of this name is, in the table of this type. */
size_t elf_symbol(const struct elf_copy *elf, unsigned type, const char *name, ElfW(Sym) * symbol);

#endif
