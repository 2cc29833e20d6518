/* SPDX-License-Identifier: MIT
 *
 * Names of functions, from the symbol tables of ELF files: of a module that may be unloaded by now,
 * from its file. A file is believed only where its build ID is the one that was loaded, and no
 * offset in it before it was checked. Calls the system only; allocates nothing. */
#define _GNU_SOURCE
#include "verifier.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(sizeof(off_t) <= sizeof(size_t), "the size of a file is one of memory");

struct image {
    const char *bytes;
    size_t len_bytes;
};

/* `count` things of `each` bytes at `offset`, or NULL where the file has no such place. */
static const void *at(const struct image *image, uint64_t offset, uint64_t count, size_t each)
{
    if (offset > image->len_bytes || count > (image->len_bytes - offset) / each) {
        return NULL;
    }
    return image->bytes + offset;
}

static bool image_open(const char *path, struct image *image)
{
    struct stat status;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    void *place = MAP_FAILED;
    if (file < 0) {
        return false;
    }
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size > (off_t)sizeof(ElfW(Ehdr))) {
        image->len_bytes = (size_t)status.st_size;
        place = mmap(NULL, image->len_bytes, PROT_READ, MAP_PRIVATE, file, 0);
    }
    (void)close(file);
    image->bytes = place;
    return place != MAP_FAILED;
}

/* Headers and tables may stand at any offset: they are copied before they are looked at. */
static bool section_read(const struct image *image, const ElfW(Ehdr) * header, unsigned idx,
                         ElfW(Shdr) * section)
{
    const char *table = at(image, header->e_shoff, header->e_shnum, sizeof(*section));
    if (table == NULL || idx >= header->e_shnum || header->e_shentsize != sizeof(*section)) {
        return false;
    }
    memcpy(section, table + idx * sizeof(*section), sizeof(*section));
    return true;
}

static bool build_id_agrees(const struct nth_module *module, const struct image *image,
                            const ElfW(Ehdr) * header)
{
    ElfW(Shdr) section;
    for (unsigned idx = 0; section_read(image, header, idx, &section); idx++) {
        const char *note = at(image, section.sh_offset, section.sh_size, 1);
        ElfW(Nhdr) start;
        if (section.sh_type != SHT_NOTE || note == NULL || section.sh_size < sizeof(start) + 4) {
            continue;
        }
        memcpy(&start, note, sizeof(start));
        if (start.n_type == NT_GNU_BUILD_ID && start.n_namesz == 4 &&
            start.n_descsz == module->build_id_bytes &&
            section.sh_size >= sizeof(start) + 4u + start.n_descsz) {
            return memcmp(note + sizeof(start) + 4u, module->build_id, start.n_descsz) == 0;
        }
    }
    return module->build_id_bytes == 0;
}

struct best {
    const char *name;
    size_t name_max;
    uintptr_t start;
};

static void symbols_search(const struct image *image, const ElfW(Ehdr) * header,
                           const ElfW(Shdr) * table, uintptr_t offset, struct best *best)
{
    ElfW(Shdr) names;
    const uint64_t count = table->sh_size / sizeof(ElfW(Sym));
    const char *symbols = at(image, table->sh_offset, count, sizeof(ElfW(Sym)));
    if (symbols == NULL || !section_read(image, header, table->sh_link, &names)) {
        return;
    }
    const char *text = at(image, names.sh_offset, names.sh_size, 1);
    for (uint64_t idx = 0; text != NULL && idx < count; idx++) {
        ElfW(Sym) symbol;
        memcpy(&symbol, symbols + idx * sizeof(symbol), sizeof(symbol));
        const unsigned type = symbol.st_info & 0xFu;
        if ((type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF &&
            symbol.st_name < names.sh_size && offset >= symbol.st_value &&
            offset - symbol.st_value < symbol.st_size &&
            (best->name == NULL || symbol.st_value > best->start)) {
            best->name = text + symbol.st_name;
            best->name_max = (size_t)(names.sh_size - symbol.st_name);
            best->start = symbol.st_value;
        }
    }
}

static void image_search(const struct nth_module *module, const struct image *image,
                         uintptr_t offset, struct best *best)
{
    ElfW(Ehdr) header;
    ElfW(Shdr) section;
    memcpy(&header, image->bytes, sizeof(header));
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
        !build_id_agrees(module, image, &header)) {
        return;
    }
    const unsigned kinds[2] = {SHT_SYMTAB, SHT_DYNSYM};
    for (unsigned kind = 0; kind < 2 && best->name == NULL; kind++) {
        for (unsigned idx = 0; section_read(image, &header, idx, &section); idx++) {
            if (section.sh_type == kinds[kind]) {
                symbols_search(image, &header, &section, offset, best);
            }
        }
    }
}

void nth_symbol_find(const struct nth_module *module, uintptr_t offset, char *name,
                     size_t name_bytes, size_t *distance)
{
    struct image image = {NULL, 0};
    struct best best = {NULL, 0, 0};
    name[0] = '\0';
    if (module->declared || !image_open(module->info.path, &image)) {
        return;
    }
    image_search(module, &image, offset, &best);
    if (best.name != NULL) {
        const size_t len = strnlen(best.name, best.name_max);
        const size_t kept = len < name_bytes ? len : name_bytes - 1;
        memcpy(name, best.name, kept);
        name[kept] = '\0';
        *distance = offset - best.start;
    }
    (void)munmap((void *)(uintptr_t)image.bytes, image.len_bytes);
}

/* The dynamic symbols of a file, with their names. */
struct symbols {
    const char *bytes;
    uint64_t count;
    const char *text;
    uint64_t text_bytes;
};

static bool symbols_find(const struct image *image, struct symbols *symbols)
{
    ElfW(Ehdr) header;
    ElfW(Shdr) section;
    ElfW(Shdr) names;
    memcpy(&header, image->bytes, sizeof(header));
    for (unsigned idx = 0; section_read(image, &header, idx, &section); idx++) {
        symbols->count = section.sh_size / sizeof(ElfW(Sym));
        symbols->bytes = at(image, section.sh_offset, symbols->count, sizeof(ElfW(Sym)));
        if (section.sh_type == SHT_DYNSYM && symbols->bytes != NULL &&
            section_read(image, &header, section.sh_link, &names)) {
            symbols->text = at(image, names.sh_offset, names.sh_size, 1);
            symbols->text_bytes = names.sh_size;
            return symbols->text != NULL;
        }
    }
    return false;
}

static ElfW(Sym) symbol_at(const struct symbols *symbols, uint64_t idx)
{
    ElfW(Sym) symbol;
    memcpy(&symbol, symbols->bytes + idx * sizeof(symbol), sizeof(symbol));
    return symbol;
}

static bool symbol_named(const struct symbols *symbols, const char *name, ElfW(Sym) * found)
{
    const size_t len = strlen(name) + 1;
    for (uint64_t idx = 0; idx < symbols->count; idx++) {
        *found = symbol_at(symbols, idx);
        if (found->st_shndx != SHN_UNDEF && found->st_size > 0 &&
            found->st_name < symbols->text_bytes && len <= symbols->text_bytes - found->st_name &&
            memcmp(symbols->text + found->st_name, name, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Where the last function before this address ends. */
static uintptr_t end_before(const struct symbols *symbols, uintptr_t value)
{
    uintptr_t end = 0;
    for (uint64_t idx = 0; idx < symbols->count; idx++) {
        const ElfW(Sym) symbol = symbol_at(symbols, idx);
        const uintptr_t here = symbol.st_value + symbol.st_size;
        if ((symbol.st_info & 0xFu) == STT_FUNC && symbol.st_value < value && here <= value &&
            here > end) {
            end = here;
        }
    }
    return end != 0 ? end : value;
}

bool nth_symbol_range(const struct nth_module *module, const char *name, bool helpers,
                      uintptr_t *low, uintptr_t *high)
{
    struct image image = {NULL, 0};
    struct symbols symbols;
    ElfW(Sym) symbol;
    if (!image_open(module->info.path, &image)) {
        return false;
    }
    const bool found = symbols_find(&image, &symbols) && symbol_named(&symbols, name, &symbol);
    if (found) {
        *low =
            module->info.base + (helpers ? end_before(&symbols, symbol.st_value) : symbol.st_value);
        *high = module->info.base + symbol.st_value + symbol.st_size;
    }
    (void)munmap((void *)(uintptr_t)image.bytes, image.len_bytes);
    return found;
}
