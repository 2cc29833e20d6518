/* SPDX-License-Identifier: MIT
 *
 * Settings of the verifier as bytes and as text. Calls the pieces of text and the rig's assertion. */
#include "program/verify.h"

#include "program/text_piece.h"
#include "run/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const words[RIG_ROW_COUNT] = {
#define RIG_VERIFY(name, word, sentence) word,
#include "program/verify.def"
};

static const char *const sentences[RIG_ROW_COUNT] = {
#define RIG_VERIFY(name, word, sentence) sentence,
#include "program/verify.def"
};

const char *rig_verify_word(unsigned row)
{
    return row < RIG_ROW_COUNT ? words[row] : NULL;
}

const char *rig_verify_sentence(unsigned row)
{
    return row < RIG_ROW_COUNT ? sentences[row] : NULL;
}

/* ---- Tables ---- */

#define LAYER_FULL 0x20u
#define LAYER_EXCEPTIONS 0x40u
#define LAYER_ONCE 0x80u
#define OPTION_BACKWARDS 0x1u
#define OPTION_UNALIGNED 0x2u
#define OPTION_NOSYNC 0x4u
#define OPTION_LEAKS 0x8u
#define PPM_RATE_FIRST 6u /* from here on the other front end says it */
#define DELAYED_COUNT 4096u
#define DELAYED_BYTES 0x1000000u

static const unsigned ppms[8] = {50000, 0, 1000000, 500000, 250000, 10000, 10000, 500000};
static const unsigned quiets[4] = {500, 0, 1000, 60000};
static const unsigned held_bytes[8] = {DELAYED_BYTES, 0, 100, 1000, 4096, 0x10000, 64, 300};
static const char *const modules[RIG_MODULE_COUNT] = {"one", "two", "three", "four"};
static const char *const layer_words[5] = {"leak", "heaps", "locks", "memory", "lowres"};
static const char *const flag_words[8] = {"htc", "hfc", "hpc", "hvc", "dhc", "ust", "vrf", "hpa"};
/* Of addresses that have 32 bits, and 64; either is read. */
static const char *const ranges[RIG_VERIFY_RANGE_COUNT][2] = {
    {"1-0xffffffff", "1-0xffffffffffffffff"},
    {"1-1", "1-1"},
    {"0xffff0000-0xffffffff", "0xffffffffffff0000-0xffffffffffffffff"},
};
static const char *const option_words[4] = {"backwards", "unaligned", "nosync", "leaks"};

unsigned rig_verify_ppm(unsigned idx)
{
    return ppms[idx % 8u];
}

unsigned rig_verify_quiet_ms(unsigned idx)
{
    return quiets[idx % 4u];
}

const char *rig_module_name(unsigned module)
{
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT);
    return modules[module - 1];
}

/* ---- Bytes ---- */

void rig_verify_from_bytes(struct rig_verify *verify, const uint8_t bytes[RIG_VERIFY_BYTES])
{
    memset(verify, 0, sizeof(*verify));
    const unsigned selector = bytes[1] >> 4;
    verify->flags = bytes[3];
    verify->asked = bytes[0] & 0x1Fu;
    verify->asked_full = (bytes[0] & LAYER_FULL) != 0;
    verify->layers = verify->asked;
    verify->layers |= (verify->flags & RIG_VERIFY_VRF) != 0 ? RIG_VERIFY_BASICS : 0;
    verify->leaks = (bytes[1] & OPTION_LEAKS) != 0;
    verify->backwards = (bytes[1] & OPTION_BACKWARDS) != 0 && verify->asked_full;
    verify->unaligned = (bytes[1] & OPTION_UNALIGNED) != 0 && verify->asked_full;
    verify->nosync = (bytes[1] & OPTION_NOSYNC) != 0;
    verify->full =
        (verify->asked_full || (verify->flags & RIG_VERIFY_HPA) != 0) && !verify->leaks;
    if (verify->asked_full || verify->nosync || verify->leaks || (verify->flags & RIG_VERIFY_HPA) != 0) {
        verify->layers |= RIG_VERIFY_HEAPS;
    }
    verify->exceptions = (bytes[0] & LAYER_EXCEPTIONS) != 0;
    verify->once = (bytes[0] & LAYER_ONCE) != 0;
    verify->selector = selector < RIG_VERIFY_SELECTOR_COUNT && verify->asked_full
                           ? (enum rig_verify_selector)selector
                           : RIG_VERIFY_ALL;
    verify->number = verify->selector == RIG_VERIFY_RANDOM ? bytes[2] % 101u : bytes[2];
    verify->size_max = SIZE_MAX;
    if (verify->selector == RIG_VERIFY_SIZE) {
        verify->size_min = verify->number * 16u;
        verify->size_max = verify->number * 64u;
    } else if (verify->selector == RIG_VERIFY_DLLS) {
        verify->number &= 15u;
        verify->selector = verify->number != 0 ? RIG_VERIFY_DLLS : RIG_VERIFY_ALL;
    }
    if (verify->selector == RIG_VERIFY_ADDRESS) {
        verify->number %= RIG_VERIFY_RANGE_COUNT;
    }
    const unsigned held = bytes[7] >> 5;
    verify->delayed_count = bytes[4] == 0 ? DELAYED_COUNT : bytes[4] - 1u;
    verify->delayed_bytes = bytes[4] == 0 ? DELAYED_BYTES : held_bytes[held];
    verify->by_rate = (bytes[5] & 7u) >= PPM_RATE_FIRST;
    verify->ppm = ppms[bytes[5] & 7u];
    verify->quiet_ms = verify->by_rate ? 1000u * (bytes[5] >> 4 & 7u) : quiets[bytes[5] >> 4 & 3u];
    verify->included = verify->by_rate ? 0 : bytes[6] & 15u;
    verify->by_default =
        !verify->by_rate && (bytes[5] & 0x37u) == 0 && verify->included == 0;
    verify->excluded = bytes[6] >> 4;
    verify->depth = bytes[7] & 31u;
    verify->on = verify->layers != 0 || verify->flags != 0;
}

/* ---- Text ---- */

struct sink {
    char *text;
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct sink *sink, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE: the analyzer does not see va_start */
    const int len = vsnprintf(sink->text + sink->len, RIG_VERIFY_TEXT_BYTES - sink->len, format,
                              arguments);
    va_end(arguments);
    RIG_CHECK(len >= 0 && sink->len + (size_t)len < RIG_VERIFY_TEXT_BYTES);
    sink->len += (size_t)len;
}

static void item(struct sink *sink, const char *word)
{
    put(sink, "%s%s", sink->len == 0 ? "" : ",", word);
}

static void put_modules(struct sink *sink, unsigned mask)
{
    const char *separator = "";
    for (unsigned module = 0; module < RIG_MODULE_COUNT; module++) {
        if ((mask >> module & 1u) != 0) {
            put(sink, "%s%s", separator, modules[module]);
            separator = "+";
        }
    }
}

static void put_page_heap(struct sink *sink, const struct rig_verify *verify)
{
    const bool options[4] = {verify->backwards, verify->unaligned, verify->nosync, verify->leaks};
    if (!verify->asked_full && !verify->nosync && !verify->leaks) {
        return;
    }
    item(sink, verify->asked_full ? "pageheap=full" : "pageheap=light");
    for (unsigned idx = 0; idx < 4; idx++) {
        if (options[idx]) {
            put(sink, ":%s", option_words[idx]);
        }
    }
    switch (verify->selector) {
    case RIG_VERIFY_RANDOM:
        put(sink, ":random=%u", verify->number);
        break;
    case RIG_VERIFY_SIZE:
        put(sink, ":size=%zu-%zu", verify->size_min, verify->size_max);
        break;
    case RIG_VERIFY_DLLS:
        put(sink, ":dlls=");
        put_modules(sink, verify->number);
        break;
    case RIG_VERIFY_BUDGET:
        put(sink, ":budget=%u", verify->number);
        break;
    case RIG_VERIFY_ADDRESS:
        put(sink, ":address=%s", ranges[verify->number][sizeof(void *) == 8]);
        break;
    default:
        break;
    }
}

static void put_lowres(struct sink *sink, const struct rig_verify *verify)
{
    if ((verify->asked & RIG_VERIFY_LOWRES) == 0) {
        return;
    }
    if (verify->by_rate) {
        item(sink, "fault");
        put(sink, "=%u:%u", verify->ppm / 100u, verify->quiet_ms / 1000u);
    } else if (verify->by_default) {
        item(sink, "lowres");
    } else {
        item(sink, "lowres");
        put(sink, "=%u:%u", verify->ppm, verify->quiet_ms);
        if (verify->included != 0) {
            put(sink, ":");
            put_modules(sink, verify->included);
        }
    }
    if (verify->excluded != 0) {
        item(sink, "exclude=");
        put_modules(sink, verify->excluded);
    }
}

void rig_verify_print(const struct rig_verify *verify, char text[RIG_VERIFY_TEXT_BYTES])
{
    struct sink sink = {text, 0};
    const char *separator = "";
    text[0] = '\0';
    if (!verify->on) {
        return;
    }
    for (unsigned idx = 0; idx < 4; idx++) {
        if ((verify->asked >> idx & 1u) != 0) {
            item(&sink, layer_words[idx]);
        }
    }
    put_page_heap(&sink, verify);
    put_lowres(&sink, verify);
    if (verify->flags != 0) {
        item(&sink, "flags=");
    }
    for (unsigned idx = 0; idx < 8; idx++) {
        if ((verify->flags >> idx & 1u) != 0) {
            put(&sink, "%s%s", separator, flag_words[idx]);
            separator = "+";
        }
    }
    if (verify->delayed_count != DELAYED_COUNT || verify->delayed_bytes != DELAYED_BYTES) {
        item(&sink, "delayed=");
        put(&sink, "%zu:%zu", verify->delayed_count, verify->delayed_bytes);
    }
    if (verify->depth != 0) {
        item(&sink, "depth=");
        put(&sink, "%u", verify->depth);
    }
    if (verify->exceptions) {
        item(&sink, "exceptions");
    }
    if (verify->once) {
        item(&sink, "once");
    }
}

static bool number_of(struct rig_piece text, unsigned max, unsigned *number)
{
    unsigned value = 0;
    bool any = false;
    for (; text.len != 0; text = rig_piece_skip(text, 1)) {
        const unsigned digit = (unsigned char)text.at[0] - (unsigned)'0';
        if (digit > 9 || value > (max - digit) / 10u) {
            return false;
        }
        value = value * 10u + digit;
        any = true;
    }
    *number = value;
    return any;
}

static bool modules_of(struct rig_piece text, unsigned *mask)
{
    *mask = 0;
    for (bool more = true; more;) {
        const size_t len = text.len;
        const struct rig_piece part = rig_piece_cut(&text, '+');
        unsigned module = 0;
        more = part.len != len;
        while (module < RIG_MODULE_COUNT && !rig_piece_is(part, modules[module])) {
            module++;
        }
        if (module == RIG_MODULE_COUNT) {
            return false;
        }
        *mask |= 1u << module;
    }
    return true;
}

static bool flags_of(struct rig_piece text, uint8_t *flags)
{
    for (bool more = true; more;) {
        const size_t len = text.len;
        const struct rig_piece part = rig_piece_cut(&text, '+');
        unsigned bit = 0;
        more = part.len != len;
        while (bit < 8 && !rig_piece_is(part, flag_words[bit])) {
            bit++;
        }
        if (bit == 8) {
            return false;
        }
        *flags = (uint8_t)(*flags | 1u << bit);
    }
    return true;
}

/* Index of a number in a table, or `count`. */
static unsigned place_in(const unsigned *table, unsigned count, unsigned number)
{
    unsigned idx = 0;
    while (idx < count && table[idx] != number) {
        idx++;
    }
    return idx;
}

static bool select_by(uint8_t *bytes, enum rig_verify_selector selector, unsigned number)
{
    const bool first = bytes[1] >> 4 == 0;
    bytes[1] = (uint8_t)(bytes[1] | selector << 4);
    bytes[2] = (uint8_t)number;
    return first && number <= 255;
}

static bool page_heap_option(uint8_t *bytes, struct rig_piece text)
{
    unsigned low = 0;
    unsigned high = 0;
    for (unsigned idx = 0; idx < 4; idx++) {
        if (rig_piece_is(text, option_words[idx])) {
            bytes[1] = (uint8_t)(bytes[1] | 1u << idx);
            return true;
        }
    }
    if (rig_piece_take(&text, "random=")) {
        return number_of(text, 100, &low) && select_by(bytes, RIG_VERIFY_RANDOM, low);
    }
    if (rig_piece_take(&text, "size=")) {
        const struct rig_piece from = rig_piece_cut(&text, '-');
        return number_of(from, 255u * 16u, &low) && low % 16u == 0 &&
               number_of(text, 255u * 64u, &high) && high == low * 4u &&
               select_by(bytes, RIG_VERIFY_SIZE, low / 16u);
    }
    if (rig_piece_take(&text, "dlls=")) {
        return modules_of(text, &low) && select_by(bytes, RIG_VERIFY_DLLS, low);
    }
    if (rig_piece_take(&text, "address=")) {
        while (low < RIG_VERIFY_RANGE_COUNT && !rig_piece_is(text, ranges[low][0]) &&
               !rig_piece_is(text, ranges[low][1])) {
            low++;
        }
        return low < RIG_VERIFY_RANGE_COUNT && select_by(bytes, RIG_VERIFY_ADDRESS, low);
    }
    return rig_piece_take(&text, "budget=") && number_of(text, 255, &low) &&
           select_by(bytes, RIG_VERIFY_BUDGET, low);
}

static bool page_heap_of(uint8_t *bytes, struct rig_piece text)
{
    const struct rig_piece kind = rig_piece_cut(&text, ':');
    if (rig_piece_is(kind, "full")) {
        bytes[0] |= LAYER_FULL;
    } else if (!rig_piece_is(kind, "light")) {
        return false;
    }
    while (text.len != 0) {
        if (!page_heap_option(bytes, rig_piece_cut(&text, ':'))) {
            return false;
        }
    }
    const bool implied = (bytes[0] & LAYER_FULL) != 0 ||
                         (bytes[1] & (OPTION_NOSYNC | OPTION_LEAKS)) != 0;
    bytes[0] |= implied ? 0 : RIG_VERIFY_HEAPS;
    return true;
}

static bool lowres_of(uint8_t *bytes, struct rig_piece text, bool by_rate)
{
    unsigned number = 0;
    unsigned quiet = 0;
    unsigned mask = 0;
    const struct rig_piece ppm = rig_piece_cut(&text, ':');
    const struct rig_piece time = rig_piece_cut(&text, ':');
    bytes[0] |= RIG_VERIFY_LOWRES;
    if (!number_of(ppm, 1000000, &number) || !number_of(time, 60000, &quiet) ||
        (text.len != 0 && (by_rate || !modules_of(text, &mask)))) {
        return false;
    }
    const unsigned first = by_rate ? PPM_RATE_FIRST : 0;
    const unsigned count = by_rate ? 8u - PPM_RATE_FIRST : PPM_RATE_FIRST;
    const unsigned idx = place_in(ppms + first, count, by_rate ? number * 100u : number);
    const unsigned wait = by_rate ? quiet : place_in(quiets, 4, quiet);
    bytes[5] = (uint8_t)((first + idx) | wait << 4);
    bytes[6] = (uint8_t)(bytes[6] | mask);
    return idx < count && wait < (by_rate ? 8u : 4u);
}

static bool delayed_of(uint8_t *bytes, struct rig_piece text)
{
    unsigned blocks = 0;
    unsigned number = DELAYED_BYTES;
    const struct rig_piece count = rig_piece_cut(&text, ':');
    if (!number_of(count, 254, &blocks) ||
        (text.len != 0 && !number_of(text, DELAYED_BYTES, &number))) {
        return false;
    }
    const unsigned idx = place_in(held_bytes, 8, number);
    bytes[4] = (uint8_t)(blocks + 1u);
    bytes[7] = (uint8_t)(bytes[7] | idx << 5);
    return idx < 8;
}

static bool item_of(uint8_t *bytes, struct rig_piece text)
{
    unsigned number = 0;
    for (unsigned idx = 0; idx < 4; idx++) {
        if (rig_piece_is(text, layer_words[idx])) {
            bytes[0] = (uint8_t)(bytes[0] | 1u << idx);
            return true;
        }
    }
    if (rig_piece_is(text, "basics")) {
        bytes[0] |= RIG_VERIFY_BASICS;
    } else if (rig_piece_is(text, "exceptions")) {
        bytes[0] |= LAYER_EXCEPTIONS;
    } else if (rig_piece_is(text, "once")) {
        bytes[0] |= LAYER_ONCE;
    } else if (rig_piece_take(&text, "pageheap=")) {
        return page_heap_of(bytes, text);
    } else if (rig_piece_take(&text, "flags=")) {
        return flags_of(text, &bytes[3]);
    } else if (rig_piece_is(text, "lowres")) {
        bytes[0] |= RIG_VERIFY_LOWRES;
    } else if (rig_piece_take(&text, "lowres=")) {
        return lowres_of(bytes, text, false);
    } else if (rig_piece_take(&text, "fault=")) {
        return lowres_of(bytes, text, true);
    } else if (rig_piece_take(&text, "exclude=")) {
        const bool known = modules_of(text, &number);
        bytes[6] = (uint8_t)(bytes[6] | number << 4);
        return known;
    } else if (rig_piece_take(&text, "delayed=")) {
        return delayed_of(bytes, text);
    } else if (rig_piece_take(&text, "depth=")) {
        const bool known = number_of(text, 31, &number) && number != 0;
        bytes[7] = (uint8_t)(bytes[7] | number);
        return known;
    } else {
        return false;
    }
    return true;
}

bool rig_verify_parse(uint8_t bytes[RIG_VERIFY_BYTES], const char *text, size_t len_bytes)
{
    struct rig_piece rest = {text, len_bytes};
    uint8_t made[RIG_VERIFY_BYTES] = {0};
    if (len_bytes != 0 && text[len_bytes - 1] == ',') {
        return false;
    }
    do {
        if (!item_of(made, rig_piece_cut(&rest, ','))) {
            return false;
        }
    } while (rest.len != 0);
    memcpy(bytes, made, sizeof(made));
    return true;
}
