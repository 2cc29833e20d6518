/* SPDX-License-Identifier: MIT
 *
 * Symbols in the bytes of an ELF file, which may be damaged, or another one than was loaded: no
 * offset in it is believed before it was checked. Calls nothing of core. */
#define _GNU_SOURCE
#include "verifier.h"

#include <elf.h>
#include <link.h>
#include <string.h>

/* `count` things of `each` bytes at `offset`, or NULL where the file has no such place. */
static const void *at(const struct nth_elf *elf, uint64_t offset, uint64_t count, size_t each)
{
    if (offset > elf->len_bytes || count > (elf->len_bytes - offset) / each) {
        return NULL;
    }
    return elf->bytes + offset;
}

/* Headers and tables may stand at any offset: they are copied before they are looked at. */
static bool section_read(const struct nth_elf *elf, const ElfW(Ehdr) * header, unsigned idx,
                         ElfW(Shdr) * section)
{
    const char *table = at(elf, header->e_shoff, header->e_shnum, sizeof(*section));
    if (table == NULL || idx >= header->e_shnum || header->e_shentsize != sizeof(*section)) {
        return false;
    }
    memcpy(section, table + idx * sizeof(*section), sizeof(*section));
    return true;
}

/* ---- Whose file it is ---- */

uint32_t nth_elf_build_id(const char *notes, size_t bytes, uint8_t *id)
{
    while (bytes >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) header;
        memcpy(&header, notes, sizeof(header));
        const size_t name = nth_round_up(header.n_namesz, 4u);
        const size_t data = nth_round_up(header.n_descsz, 4u);
        if (name > bytes || data > bytes || sizeof(header) + name + data > bytes) {
            return 0;
        }
        if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 &&
            memcmp(notes + sizeof(header), "GNU", 4) == 0 &&
            header.n_descsz <= NTH_BUILD_ID_BYTES) {
            memcpy(id, notes + sizeof(header) + name, header.n_descsz);
            return header.n_descsz;
        }
        notes += sizeof(header) + name + data;
        bytes -= sizeof(header) + name + data;
    }
    return 0;
}

static bool build_id_agrees(const struct nth_elf *elf, const ElfW(Ehdr) * header)
{
    ElfW(Shdr) section;
    uint8_t id[NTH_BUILD_ID_BYTES];
    for (unsigned idx = 0; section_read(elf, header, idx, &section); idx++) {
        const char *notes = at(elf, section.sh_offset, section.sh_size, 1);
        if (section.sh_type != SHT_NOTE || notes == NULL) {
            continue;
        }
        const uint32_t id_bytes = nth_elf_build_id(notes, (size_t)section.sh_size, id);
        if (id_bytes != 0) {
            return id_bytes == elf->build_id_bytes && memcmp(id, elf->build_id, id_bytes) == 0;
        }
    }
    return false;
}

static bool header_read(const struct nth_elf *elf, ElfW(Ehdr) * header)
{
    const char *start = at(elf, 0, 1, sizeof(*header));
    if (start == NULL) {
        return false;
    }
    memcpy(header, start, sizeof(*header));
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
           (elf->build_id_bytes == 0 || build_id_agrees(elf, header));
}

/* ---- Tables ---- */

struct symbols {
    const char *bytes;
    uint64_t count;
    const char *names;
    uint64_t names_bytes;
};

/* The symbols of a section, where it is a table of this type and whole. */
static bool symbols_read(const struct nth_elf *elf, const ElfW(Ehdr) * header,
                         const ElfW(Shdr) * section, unsigned type, struct symbols *symbols)
{
    ElfW(Shdr) names;
    if (section->sh_type != type || !section_read(elf, header, section->sh_link, &names)) {
        return false;
    }
    symbols->count = section->sh_size / sizeof(ElfW(Sym));
    symbols->bytes = at(elf, section->sh_offset, symbols->count, sizeof(ElfW(Sym)));
    symbols->names = at(elf, names.sh_offset, names.sh_size, 1);
    symbols->names_bytes = names.sh_size;
    return symbols->bytes != NULL && symbols->names != NULL;
}

static ElfW(Sym) symbol_at(const struct symbols *symbols, uint64_t idx)
{
    ElfW(Sym) symbol;
    memcpy(&symbol, symbols->bytes + idx * sizeof(symbol), sizeof(symbol));
    return symbol;
}

/* ---- By offset ---- */

struct best {
    const char *name;
    size_t name_max;
    uintptr_t start;
};

static void symbols_search(const struct symbols *symbols, uintptr_t offset, struct best *best)
{
    for (uint64_t idx = 0; idx < symbols->count; idx++) {
        const ElfW(Sym) symbol = symbol_at(symbols, idx);
        const unsigned type = symbol.st_info & 0xFu;
        if ((type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF &&
            symbol.st_name < symbols->names_bytes && offset >= symbol.st_value &&
            offset - symbol.st_value < symbol.st_size &&
            (best->name == NULL || symbol.st_value > best->start)) {
            best->name = symbols->names + symbol.st_name;
            best->name_max = (size_t)(symbols->names_bytes - symbol.st_name);
            best->start = symbol.st_value;
        }
    }
}

void nth_elf_find(const struct nth_elf *elf, uintptr_t offset, char *name, size_t name_bytes,
                  size_t *distance)
{
    const unsigned types[2] = {SHT_SYMTAB, SHT_DYNSYM};
    struct best best = {NULL, 0, 0};
    ElfW(Ehdr) header;
    ElfW(Shdr) section;
    struct symbols symbols;
    name[0] = '\0';
    if (!header_read(elf, &header)) {
        return;
    }
    for (unsigned kind = 0; kind < 2 && best.name == NULL; kind++) {
        for (unsigned idx = 0; section_read(elf, &header, idx, &section); idx++) {
            if (symbols_read(elf, &header, &section, types[kind], &symbols)) {
                symbols_search(&symbols, offset, &best);
            }
        }
    }
    if (best.name != NULL) {
        const size_t len = strnlen(best.name, best.name_max);
        const size_t kept = len < name_bytes ? len : name_bytes - 1;
        memcpy(name, best.name, kept);
        name[kept] = '\0';
        *distance = offset - best.start;
    }
}

/* ---- By name ---- */

static bool symbol_named(const struct symbols *symbols, const char *name, ElfW(Sym) * found)
{
    const size_t len = strlen(name) + 1;
    for (uint64_t idx = 0; idx < symbols->count; idx++) {
        *found = symbol_at(symbols, idx);
        if (found->st_shndx != SHN_UNDEF && found->st_size > 0 &&
            found->st_size <= UINTPTR_MAX - found->st_value &&
            found->st_name < symbols->names_bytes && len <= symbols->names_bytes - found->st_name &&
            memcmp(symbols->names + found->st_name, name, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Where the last function before this offset ends. */
static uintptr_t end_before(const struct symbols *symbols, uintptr_t value)
{
    uintptr_t end = 0;
    for (uint64_t idx = 0; idx < symbols->count; idx++) {
        const ElfW(Sym) symbol = symbol_at(symbols, idx);
        if ((symbol.st_info & 0xFu) == STT_FUNC && symbol.st_value < value &&
            symbol.st_size <= value - symbol.st_value && symbol.st_value + symbol.st_size > end) {
            end = symbol.st_value + symbol.st_size;
        }
    }
    return end != 0 ? end : value;
}

bool nth_elf_range(const struct nth_elf *elf, const char *name, bool helpers, uintptr_t *low,
                   uintptr_t *high)
{
    ElfW(Ehdr) header;
    ElfW(Shdr) section;
    ElfW(Sym) symbol;
    struct symbols symbols;
    if (!header_read(elf, &header)) {
        return false;
    }
    for (unsigned idx = 0; section_read(elf, &header, idx, &section); idx++) {
        if (symbols_read(elf, &header, &section, SHT_DYNSYM, &symbols)) {
            const bool found = symbol_named(&symbols, name, &symbol);
            if (found) {
                *low = helpers ? end_before(&symbols, symbol.st_value) : symbol.st_value;
                *high = symbol.st_value + symbol.st_size;
            }
            return found;
        }
    }
    return false;
}
