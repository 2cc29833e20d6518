/* SPDX-License-Identifier: MIT
 *
 * What core reads from outside, read and checked. Calls verifier_text, verifier_elf and
 * verifier_name of core, which need nothing else of it. */
#include "core_parsers.h"

#include "run/check.h"
#include "verifier.h"

#include <elf.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BYTES 512u
#define TEXT_BYTES 4096u /* more than all settings take */
#define NAME_BYTES 64u
#define CUT_BYTES 4u
#define LOOKS_MAX 256u

/* What stands behind `begin`, in a block of its own size with a NUL at the end. */
static char *text_take(const uint8_t *bytes, size_t len, const char *begin)
{
    const size_t before = strlen(begin);
    char *text = malloc(len - before + 1);
    RIG_CHECK(text != NULL);
    memcpy(text, bytes + before, len - before);
    text[len - before] = '\0';
    return text;
}

/* ---- Settings ------------------------------------------------------------------------------- */

struct out {
    size_t len;
    char text[TEXT_BYTES];
};

__attribute__((format(printf, 2, 3))) static void add(struct out *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int len = vsnprintf(out->text + out->len, TEXT_BYTES - out->len, format, arguments);
    va_end(arguments);
    RIG_CHECK(len >= 0);
    RIG_CHECK((size_t)len < TEXT_BYTES - out->len);
    out->len += (size_t)len;
}

/* At most one selector was given; one that says what is so anyway is left out. */
static void page_heap_write(const struct nth_verifier_settings *set, struct out *out)
{
    static const char *const options[4] = {":backwards", ":unaligned", ":nosync", ":leaks"};
    add(out, "pageheap=%s", set->page_heap == NTH_PAGE_HEAP_FULL ? "full" : "light");
    for (unsigned idx = 0; idx < 4; idx++) {
        add(out, "%s", (set->page_heap_options >> idx & 1u) != 0 ? options[idx] : "");
    }
    if (set->full_percent != 100) {
        add(out, ":random=%u", (unsigned)set->full_percent);
    }
    if (set->full_size_min != 0 || set->full_size_max != SIZE_MAX) {
        add(out, ":size=%zu-%#zx", set->full_size_min, set->full_size_max);
    }
    if (set->full_modules[0] != '\0') {
        add(out, ":dlls=%s", set->full_modules);
    }
    if (set->full_address_high != 0) {
        add(out, ":address=%#zx-%zu", (size_t)set->full_address_low,
            (size_t)set->full_address_high);
    }
    add(out, ":budget=%u,", (unsigned)set->mapping_budget);
}

static void names_write(const char *item, const char *names, struct out *out)
{
    if (names[0] != '\0') {
        add(out, "%s=%s,", item, names);
    }
}

/* Settings that came from text, in one spelling. */
static void settings_write(const struct nth_verifier_settings *set, struct out *out)
{
    static const char *const layers[4] = {"leak,", "heaps,", "locks,", "memory,"};
    out->len = 0;
    for (unsigned idx = 0; idx < 4; idx++) {
        add(out, "%s", (set->layers >> idx & 1u) != 0 ? layers[idx] : "");
    }
    if ((set->layers & NTH_VERIFY_HEAPS) != 0) {
        page_heap_write(set, out);
    }
    if (set->global_flags != 0) {
        add(out, "flags=%#x,", (unsigned)set->global_flags);
    }
    if ((set->layers & NTH_VERIFY_LOWRES) != 0) {
        add(out, "lowres=%u:%u:%s,", (unsigned)set->lowres_ppm, (unsigned)set->lowres_quiet_ms,
            set->lowres_include);
    }
    names_write("exclude", set->lowres_exclude, out);
    names_write("pass", set->pass_through, out);
    add(out, "seed=%llu,delayed=%#zx:%zu,depth=%u", (unsigned long long)set->seed,
        set->delayed_count_max, set->delayed_bytes_max, (unsigned)set->trace_depth);
    add(out, "%s%s%s", set->exception_on_stop ? ",exceptions" : "",
        set->auto_disable_stop ? ",once" : "", set->plain_log ? ",text" : "");
    if (set->log[0] != '\0') {
        add(out, ",log=%s", set->log);
    }
}

/* What stood there before a shorter list is no part of it. */
static void tail_clear(char *text, size_t bytes)
{
    const size_t len = strnlen(text, bytes);
    RIG_CHECK(len < bytes);
    memset(text + len, 0, bytes - len);
}

static void tails_clear(struct nth_verifier_settings *set)
{
    tail_clear(set->full_modules, sizeof(set->full_modules));
    tail_clear(set->lowres_include, sizeof(set->lowres_include));
    tail_clear(set->lowres_exclude, sizeof(set->lowres_exclude));
    tail_clear(set->pass_through, sizeof(set->pass_through));
    tail_clear(set->log, sizeof(set->log));
}

#define SPOILS 10u

/* One setting out of its range. */
static void spoil(struct nth_verifier_settings *set, unsigned which)
{
    switch (which) {
    case 0:
        set->layers |= NTH_VERIFY_LOWRES << 1;
        break;
    case 1:
        set->layers = set->global_flags = 0;
        break;
    case 2:
        set->page_heap = NTH_PAGE_HEAP_FULL + 1u;
        break;
    case 3:
        set->page_heap_options |= NTH_PAGE_HEAP_LEAKS << 1;
        break;
    case 4:
        set->full_percent = 101;
        break;
    case 5:
        set->full_size_min = 2;
        set->full_size_max = 1;
        break;
    case 6:
        set->full_address_low = 2;
        set->full_address_high = 1;
        break;
    case 7:
        set->trace_depth = 0;
        break;
    case 8:
        set->trace_depth = NTH_TRACE_DEPTH_MAX + 1u;
        break;
    default:
        set->lowres_ppm = 1000001;
        break;
    }
}

static void ranges_hold(const struct nth_verifier_settings *set)
{
    RIG_CHECK(nth_settings_hold(set));
    for (unsigned which = 0; which < SPOILS; which++) {
        struct nth_verifier_settings past = *set;
        spoil(&past, which);
        RIG_CHECK(!nth_settings_hold(&past));
    }
}

static void settings_both_ways(struct nth_verifier_settings *set)
{
    struct nth_verifier_settings again;
    struct out out;
    tails_clear(set);
    ranges_hold(set);
    settings_write(set, &out);
    RIG_CHECK(nth_verifier_parse(out.text, &again, NULL, 0) == STATUS_SUCCESS);
    tails_clear(&again);
    RIG_CHECK(memcmp(set, &again, sizeof(again)) == 0);
}

/* True when the text was read; else the place that the error tells, 1 and on. */
static bool settings_parse(const char *text, struct nth_verifier_settings *set, char *error,
                           size_t *place)
{
    static const struct nth_verifier_settings none;
    char cut[CUT_BYTES];
    memset(set, 0, sizeof(*set));
    memset(error, '?', ERROR_BYTES);
    *place = 0;
    if (nth_verifier_parse(text, set, error, ERROR_BYTES) == STATUS_SUCCESS) {
        return true;
    }
    RIG_CHECK(memcmp(set, &none, sizeof(none)) == 0);
    RIG_CHECK(strnlen(error, ERROR_BYTES) < ERROR_BYTES - 1);
    RIG_CHECK(sscanf(error, "character %zu: expected ", place) == 1);
    RIG_CHECK(nth_verifier_parse(text, set, NULL, 0) != STATUS_SUCCESS);
    RIG_CHECK(nth_verifier_parse(text, set, cut, sizeof(cut)) != STATUS_SUCCESS);
    RIG_CHECK(strcmp(cut, "cha") == 0);
    return false;
}

/* WHAT is said, and TEXT is what stands at the place. */
static void error_tells(const char *error, const char *text, size_t place)
{
    char found[ERROR_BYTES];
    const char *what = strstr(error, ": expected ");
    const char *comma = strstr(error, ", found ");
    RIG_CHECK(place >= 1);
    RIG_CHECK(place <= strlen(text) + 1);
    RIG_CHECK(what != NULL);
    RIG_CHECK(comma != NULL);
    RIG_CHECK(comma > what + strlen(": expected "));
    (void)snprintf(found, sizeof(found),
                   text[place - 1] == '\0' ? ", found the end%.24s" : ", found \"%.24s\"",
                   text + place - 1);
    RIG_CHECK(strcmp(comma, found) == 0);
}

void rig_read_settings(const uint8_t *bytes, size_t len)
{
    struct nth_verifier_settings set;
    char error[ERROR_BYTES];
    size_t place = 0;
    size_t again = 0;
    char *text = text_take(bytes, len, RIG_SETTINGS_BEGIN);
    if (settings_parse(text, &set, error, &place)) {
        settings_both_ways(&set);
    } else {
        error_tells(error, text, place);
        text[place - 1] = '\0'; /* all before it was well */
        RIG_CHECK(settings_parse(text, &set, error, &again) || again == place);
    }
    free(text);
}

/* ---- Files of modules -------------------------------------------------------------------------
 */

struct answer {
    bool found;
    size_t distance;
    char name[NAME_BYTES];
};

static struct answer by_offset(const struct nth_elf *elf, uintptr_t offset)
{
    struct answer answer = {.distance = SIZE_MAX};
    memset(answer.name, '?', NAME_BYTES);
    nth_elf_find(elf, offset, answer.name, NAME_BYTES, &answer.distance);
    answer.found = answer.distance != SIZE_MAX;
    const size_t len = strnlen(answer.name, NAME_BYTES);
    RIG_CHECK(len < NAME_BYTES);
    RIG_CHECK(answer.found || len == 0);
    RIG_CHECK(len == 0 || memmem(elf->bytes, elf->len_bytes, answer.name, len) != NULL);
    memset(answer.name + len, 0, NAME_BYTES - len);
    return answer;
}

/* The file has this start with a size behind it that goes beyond the distance. */
static bool symbol_stands(const struct nth_elf *elf, uintptr_t start, size_t distance)
{
    const char *at = elf->bytes;
    const char *const end = at + elf->len_bytes;
    while ((at = memmem(at, (size_t)(end - at), &start, sizeof(start))) != NULL) {
        uintptr_t size = 0;
        if ((size_t)(end - at) >= sizeof(start) + sizeof(size)) {
            memcpy(&size, at + sizeof(start), sizeof(size));
        }
        if (size > distance) {
            return true;
        }
        at++;
    }
    return false;
}

/* Where a function was found its symbol stands in the file, at its start is a function too (of
 * another table, maybe, around it), and a smaller room has less of its name. */
static struct answer by_offset_checked(const struct nth_elf *elf, uintptr_t offset)
{
    const struct answer answer = by_offset(elf, offset);
    char cut[CUT_BYTES];
    size_t distance = SIZE_MAX;
    if (answer.found) {
        const uintptr_t start = offset - answer.distance;
        RIG_CHECK(answer.distance <= offset);
        RIG_CHECK(symbol_stands(elf, start, answer.distance));
        RIG_CHECK(by_offset(elf, start).found);
        nth_elf_find(elf, offset, cut, sizeof(cut), &distance);
        RIG_CHECK(distance == answer.distance);
        RIG_CHECK(strnlen(cut, CUT_BYTES) == strnlen(answer.name, CUT_BYTES - 1));
        RIG_CHECK(memcmp(cut, answer.name, strlen(cut)) == 0);
    }
    return answer;
}

struct range {
    bool found;
    uintptr_t low;
    uintptr_t high;
};

static struct range by_name(const struct nth_elf *elf, const char *name, bool helpers)
{
    struct range range = {.low = 1};
    range.found = nth_elf_range(elf, name, helpers, &range.low, &range.high);
    RIG_CHECK(range.found ? range.low < range.high : range.low == 1);
    RIG_CHECK(range.found || range.high == 0);
    return range;
}

static struct range by_name_checked(const struct nth_elf *elf, const char *name)
{
    const struct range own = by_name(elf, name, false);
    const struct range wide = by_name(elf, name, true);
    RIG_CHECK(own.found == wide.found);
    RIG_CHECK(own.high == wide.high);
    RIG_CHECK(wide.low <= own.low);
    RIG_CHECK(!own.found || memmem(elf->bytes, elf->len_bytes, name, strlen(name) + 1) != NULL);
    return own;
}

/* The build ID that a file's notes tell where they first say so. */
static uint32_t build_id_of(const uint8_t *bytes, size_t len, uint8_t *id)
{
    const size_t before = sizeof(ElfW(Nhdr));
    const uint8_t *owner = memmem(bytes, len, "GNU", 4);
    if (owner == NULL || (size_t)(owner - bytes) < before) {
        return 0;
    }
    const uint8_t *notes = owner - before;
    const uint32_t id_bytes =
        nth_elf_build_id((const char *)notes, len - (size_t)(notes - bytes), id);
    RIG_CHECK(id_bytes <= NTH_BUILD_ID_BYTES);
    return id_bytes;
}

/* Of any file, of the one that was loaded, and of another, whose ID differs in a bit. */
struct files {
    struct nth_elf any;
    struct nth_elf own;
    struct nth_elf other;
};

static void look_by_name(const struct files *files, const char *name)
{
    const struct range any = by_name_checked(&files->any, name);
    const struct range own = by_name(&files->own, name, false);
    if (own.found) {
        RIG_CHECK(any.found);
        RIG_CHECK(own.low == any.low);
        RIG_CHECK(own.high == any.high);
        RIG_CHECK(files->own.build_id_bytes == 0 || !by_name(&files->other, name, false).found);
    }
}

static void look(const struct files *files, uintptr_t offset)
{
    const struct answer any = by_offset_checked(&files->any, offset);
    const struct answer own = by_offset(&files->own, offset);
    if (own.found) {
        RIG_CHECK(own.distance == any.distance);
        RIG_CHECK(strcmp(own.name, any.name) == 0);
        RIG_CHECK(files->own.build_id_bytes == 0 || !by_offset(&files->other, offset).found);
    }
    if (any.name[0] != '\0') {
        look_by_name(files, any.name);
    }
}

void rig_read_image(const uint8_t *bytes, size_t len)
{
    uint8_t ids[2][NTH_BUILD_ID_BYTES] = {{0}};
    uintptr_t last = 0;
    unsigned looks = 0;
    const uint32_t id_bytes = build_id_of(bytes, len, ids[0]);
    memcpy(ids[1], ids[0], sizeof(ids[1]));
    ids[1][0] ^= 1u;
    const struct nth_elf image = {.bytes = (const char *)bytes, .len_bytes = len};
    struct files files = {image, image, image};
    files.own.build_id = ids[0];
    files.other.build_id = ids[1];
    files.own.build_id_bytes = files.other.build_id_bytes = id_bytes;
    /* Offsets of functions are words of the file. */
    for (size_t at = 0; at + sizeof(last) <= len && looks < LOOKS_MAX; at += sizeof(last)) {
        uintptr_t word;
        memcpy(&word, bytes + at, sizeof(word));
        if (word != last) {
            look(&files, word);
            look(&files, word + 1u);
            looks++;
        }
        last = word;
    }
}

/* ---- Names of modules -------------------------------------------------------------------------
 */

/* The UTF-8 of a code, which is no half of a surrogate. */
static size_t encode(uint32_t code, uint8_t *out)
{
    if (code < 0x80u) {
        out[0] = (uint8_t)code;
        return 1;
    }
    const size_t more = code < 0x800u ? 1 : code < 0x10000u ? 2 : 3;
    static const uint8_t leads[4] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t idx = more; idx > 0; idx--) {
        out[idx] = (uint8_t)(0x80u | (code & 0x3Fu));
        code >>= 6;
    }
    out[0] = (uint8_t)(leads[more] | code);
    return more + 1;
}

/* How many bytes of text one code takes here, 0 when what stands here is no UTF-8. */
static size_t sequence(const char *text, uint32_t *code)
{
    const uint8_t first = (uint8_t)text[0];
    const size_t count = first < 0x80u ? 1 : first < 0xE0u ? 2 : first < 0xF0u ? 3 : 4;
    uint8_t again[4];
    *code = count == 1 ? first : first & (0x7Fu >> count);
    for (size_t idx = 1; idx < count; idx++) {
        *code = *code << 6 | ((uint8_t)text[idx] & 0x3Fu);
        if (text[idx] == '\0') {
            return 0;
        }
    }
    const bool known = *code < 0xD800u || (*code > 0xDFFFu && *code <= 0x10FFFFu);
    return known && encode(*code, again) == count && memcmp(again, text, count) == 0 ? count : 0;
}

static void name_widen(const char *text)
{
    USHORT *wide = malloc((strlen(text) + 1) * sizeof(USHORT));
    RIG_CHECK(wide != NULL);
    nth_name_widen(text, wide);
    const USHORT *at = wide;
    while (*text != '\0') {
        uint32_t code = 0;
        const size_t count = sequence(text, &code);
        if (count == 4) {
            RIG_CHECK(at[0] == (0xD800u | (code - 0x10000u) >> 10));
            RIG_CHECK(at[1] == (0xDC00u | (code & 0x3FFu)));
            at++;
        } else {
            RIG_CHECK(*at == (count != 0 ? code : (uint8_t)*text));
        }
        at++;
        text += count != 0 ? count : 1;
    }
    RIG_CHECK(*at == 0);
    free(wide);
}

/* A list has the names between its '+', and all names where one is a star: asked for each of them,
 * and for each without its last letter. */
static void list_has(const char *text)
{
    struct out all = {.len = 0};
    add(&all, "+%.1024s+", text);
    const char *list = all.text + 1;
    const bool star = strstr(all.text, "+*+") != NULL;
    for (size_t at = 0; list[at] != '\0'; at += strcspn(list + at, "+") + 1) {
        const size_t len = strcspn(list + at, "+");
        for (size_t kept = len; kept > 0 && kept + 1 >= len; kept--) {
            struct out name = {.len = 0};
            add(&name, "+%.*s+", (int)kept, list + at);
            const bool within = star || strstr(all.text, name.text) != NULL;
            name.text[name.len - 1] = '\0';
            RIG_CHECK(nth_names_have(list, name.text + 1) == within);
        }
    }
}

void rig_read_name(const uint8_t *bytes, size_t len)
{
    char *text = text_take(bytes, len, RIG_NAME_BEGIN);
    name_widen(text);
    list_has(text);
    free(text);
}
