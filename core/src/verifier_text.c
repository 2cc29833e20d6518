/* SPDX-License-Identifier: MIT
 *
 * Settings: their defaults, their ranges, and the grammar that <ntheap/verifier.h> prints. Calls
 * nothing of core. */
#include "verifier.h"

#include <stdio.h>
#include <string.h>

static const struct nth_verifier_settings defaults = {
    .full_size_max = SIZE_MAX,
    .full_percent = 100,
    .delayed_count_max = NTH_DELAYED_COUNT_DEFAULT,
    .delayed_bytes_max = NTH_DELAYED_BYTES_DEFAULT,
    .mapping_budget = NTH_MAPPING_BUDGET_DEFAULT,
    .trace_depth = NTH_TRACE_DEPTH_DEFAULT,
    .lowres_ppm = NTH_LOWRES_PPM_DEFAULT,
    .lowres_quiet_ms = NTH_LOWRES_QUIET_MS_DEFAULT,
    .lowres_kinds = NTH_LOWRES_HEAP_ALLOC,
    .seed = 1,
    .lowres_include = "*",
    .stop_report = NTH_STOP_DEFAULT,
};

void nth_verifier_defaults(struct nth_verifier_settings *settings)
{
    *settings = defaults;
}

bool nth_settings_hold(const struct nth_verifier_settings *set)
{
    const ULONG layers = NTH_VERIFY_BASICS | NTH_VERIFY_LOWRES;
    const ULONG options = NTH_PAGE_HEAP_BACKWARDS | NTH_PAGE_HEAP_UNALIGNED |
                          NTH_PAGE_HEAP_NO_SYNC | NTH_PAGE_HEAP_LEAKS;
    return (set->layers & ~layers) == 0 && (set->layers != 0 || set->global_flags != 0) &&
           set->page_heap <= NTH_PAGE_HEAP_FULL && (set->page_heap_options & ~options) == 0 &&
           set->full_percent <= 100 && set->full_size_min <= set->full_size_max &&
           set->full_address_low <= set->full_address_high && set->trace_depth >= 1 &&
           set->trace_depth <= NTH_TRACE_DEPTH_MAX && set->lowres_ppm <= 1000000u;
}

/* ---- From text ---- */

struct reading {
    const char *text;
    const char *at;
    const char *expected; /* what is wrong, once something is */
    struct nth_verifier_settings set;
    unsigned selectors; /* of full page heap */
};

static bool ends(char one)
{
    return one == '\0' || one == ',' || one == ':';
}

/* The first that does not hold ends the reading. */
static bool demand(struct reading *in, bool holds, const char *expected)
{
    in->expected = holds ? in->expected : expected;
    return holds;
}

static bool fail(struct reading *in, const char *expected)
{
    return demand(in, false, expected);
}

/* This word stands here, with what may stand behind it; it is passed over. */
static bool word(struct reading *in, const char *name, const char *behind)
{
    const size_t len = strlen(name);
    const char after = strncmp(in->at, name, len) == 0 ? in->at[len] : 'x';
    const bool fits = after == '\0' || strchr(behind, after) != NULL;
    in->at += fits ? len : 0;
    return fits;
}

static unsigned digit_of(char one)
{
    const unsigned letter = (unsigned char)one | 0x20u;
    return one >= '0' && one <= '9'         ? (unsigned)(one - '0')
           : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10u
                                            : 16u;
}

/* Digits, up to a character that may follow some number; `max` is 15 at least. */
static bool number(struct reading *in, uint64_t max, const char *expected, uint64_t *value)
{
    const char *at = in->at;
    const unsigned base = at[0] == '0' && (at[1] == 'x' || at[1] == 'X') ? 16u : 10u;
    at += base == 16u ? 2 : 0;
    const char *first = at;
    *value = 0;
    for (; digit_of(*at) < base; at++) {
        const unsigned digit = digit_of(*at);
        if (*value > (max - digit) / base) {
            return fail(in, expected);
        }
        *value = *value * base + digit;
    }
    if (at == first || (!ends(*at) && *at != '-' && *at != '+')) {
        return fail(in, expected);
    }
    in->at = at;
    return true;
}

static bool number_whole(struct reading *in, uint64_t max, const char *expected, uint64_t *value)
{
    return number(in, max, expected, value) && demand(in, ends(*in->at), expected);
}

static bool small(struct reading *in, ULONG max, const char *expected, ULONG *value)
{
    uint64_t wide = 0;
    const bool done = number_whole(in, max, expected, &wide);
    *value = (ULONG)wide;
    return done;
}

static bool names(struct reading *in, char *list)
{
    const size_t len = strcspn(in->at, ",:");
    if (len == 0 || len >= NTH_VERIFIER_NAMES_BYTES || memchr(in->at, '/', len) != NULL) {
        return fail(in, "names of modules without path, joined by '+'");
    }
    memcpy(list, in->at, len);
    list[len] = '\0';
    in->at += len;
    return true;
}

static bool range(struct reading *in, uint64_t max, uint64_t *low, uint64_t *high)
{
    if (!number(in, max, "a number", low)) {
        return false;
    }
    if (*in->at != '-') {
        return fail(in, "'-' and the upper bound");
    }
    in->at++;
    return number_whole(in, max, "a number", high) && demand(in, *low <= *high, "bounds in order");
}

static bool page_heap_option(struct reading *in)
{
    struct nth_verifier_settings *set = &in->set;
    uint64_t low = 0;
    uint64_t high = 0;
    if (word(in, "backwards", ",:")) {
        set->page_heap_options |= NTH_PAGE_HEAP_BACKWARDS;
    } else if (word(in, "unaligned", ",:")) {
        set->page_heap_options |= NTH_PAGE_HEAP_UNALIGNED;
    } else if (word(in, "nosync", ",:")) {
        set->page_heap_options |= NTH_PAGE_HEAP_NO_SYNC;
    } else if (word(in, "leaks", ",:")) {
        set->page_heap_options |= NTH_PAGE_HEAP_LEAKS;
    } else if (word(in, "random=", "0123456789")) {
        in->selectors++;
        return small(in, 100, "a percentage of 0 to 100", &set->full_percent);
    } else if (word(in, "size=", "0123456789")) {
        in->selectors++;
        const bool done = range(in, SIZE_MAX, &low, &high);
        set->full_size_min = (SIZE_T)low;
        set->full_size_max = (SIZE_T)high;
        return done;
    } else if (strncmp(in->at, "dlls=", 5) == 0) {
        in->at += 5;
        in->selectors++;
        return names(in, set->full_modules);
    } else if (word(in, "address=", "0123456789")) {
        in->selectors++;
        const bool done = range(in, UINTPTR_MAX, &low, &high);
        set->full_address_low = (ULONG_PTR)low;
        set->full_address_high = (ULONG_PTR)high;
        return done;
    } else if (word(in, "budget=", "0123456789")) {
        return small(in, 1000000, "a number of mappings up to 1000000", &set->mapping_budget);
    } else {
        return fail(in, "backwards, unaligned, nosync, leaks, random=, size=, dlls=, address= or "
                        "budget=");
    }
    return true;
}

static bool page_heap(struct reading *in)
{
    in->set.layers |= NTH_VERIFY_HEAPS;
    if (word(in, "full", ",:")) {
        in->set.page_heap = NTH_PAGE_HEAP_FULL;
    } else if (!word(in, "light", ",:")) {
        return fail(in, "light or full");
    }
    while (*in->at == ':') {
        in->at++;
        if (!page_heap_option(in)) {
            return false;
        }
        if (in->selectors > 1) {
            return fail(in, "one of random=, size=, dlls= and address=");
        }
    }
    const ULONG sided = NTH_PAGE_HEAP_BACKWARDS | NTH_PAGE_HEAP_UNALIGNED;
    return demand(
        in, in->set.page_heap == NTH_PAGE_HEAP_FULL || (in->set.page_heap_options & sided) == 0,
        "full with backwards or unaligned");
}

static bool flags(struct reading *in)
{
    static const struct {
        const char *name;
        ULONG bit;
    } known[] = {{"htc", FLG_HEAP_ENABLE_TAIL_CHECK},   {"hfc", FLG_HEAP_ENABLE_FREE_CHECK},
                 {"hpc", FLG_HEAP_VALIDATE_PARAMETERS}, {"hvc", FLG_HEAP_VALIDATE_ALL},
                 {"vrf", FLG_APPLICATION_VERIFIER},     {"ust", FLG_USER_STACK_TRACE_DB},
                 {"dhc", FLG_HEAP_DISABLE_COALESCING},  {"hpa", FLG_HEAP_PAGE_ALLOCS}};
    uint64_t value = 0;
    ULONG all = 0;
    for (size_t idx = 0; idx < sizeof(known) / sizeof(known[0]); idx++) {
        all |= known[idx].bit;
    }
    if (in->at[0] == '0') {
        const bool done = number_whole(in, UINT32_MAX, "a number", &value);
        in->set.global_flags |= (ULONG)value;
        return done && demand(in, (value & ~(uint64_t)all) == 0, "global flags of heaps only");
    }
    for (;;) {
        size_t idx = 0;
        while (idx < sizeof(known) / sizeof(known[0]) && !word(in, known[idx].name, ",+")) {
            idx++;
        }
        if (idx == sizeof(known) / sizeof(known[0])) {
            return fail(in,
                        "htc, hfc, hpc, hvc, vrf, ust, dhc or hpa joined by '+', or 0x and bits");
        }
        in->set.global_flags |= known[idx].bit;
        if (*in->at != '+') {
            return true;
        }
        in->at++;
    }
}

static bool lowres(struct reading *in)
{
    struct nth_verifier_settings *set = &in->set;
    set->layers |= NTH_VERIFY_LOWRES;
    if (*in->at != '=') {
        return true;
    }
    in->at++;
    if (!small(in, 1000000, "parts per million, 0 to 1000000", &set->lowres_ppm)) {
        return false;
    }
    if (*in->at == ':') {
        in->at++;
        if (!small(in, UINT32_MAX, "milliseconds", &set->lowres_quiet_ms)) {
            return false;
        }
    }
    if (*in->at == ':') {
        in->at++;
        return names(in, set->lowres_include);
    }
    return true;
}

/* The other front end: a rate of 10,000, and seconds. */
static bool fault(struct reading *in)
{
    uint64_t seconds = 5;
    ULONG rate = 100;
    in->set.layers |= NTH_VERIFY_LOWRES;
    if (*in->at == '=') {
        in->at++;
        if (!small(in, 10000, "a rate of 1 to 10000", &rate) ||
            !demand(in, rate != 0, "a rate of 1 to 10000")) {
            return false;
        }
        if (*in->at == ':') {
            in->at++;
            if (!number_whole(in, 4000000, "seconds", &seconds)) {
                return false;
            }
        }
    }
    in->set.lowres_ppm = rate * 100u;
    in->set.lowres_quiet_ms = (ULONG)seconds * 1000u;
    return true;
}

static bool delayed(struct reading *in)
{
    uint64_t value = 0;
    if (!number_whole(in, SIZE_MAX, "a number of blocks", &value)) {
        return false;
    }
    in->set.delayed_count_max = (SIZE_T)value;
    if (*in->at == ':') {
        in->at++;
        if (!number_whole(in, SIZE_MAX, "a number of bytes", &value)) {
            return false;
        }
        in->set.delayed_bytes_max = (SIZE_T)value;
    }
    return true;
}

static bool log_path(struct reading *in)
{
    const size_t len = strlen(in->at);
    if (len == 0 || len >= sizeof(in->set.log)) {
        return fail(in, "a path");
    }
    memcpy(in->set.log, in->at, len + 1);
    in->at += len;
    return true;
}

/* `name` and '=' stand here. */
static bool valued(struct reading *in, const char *name)
{
    const size_t len = strlen(name);
    const bool here = strncmp(in->at, name, len) == 0 && in->at[len] == '=';
    in->at += here ? len + 1 : 0;
    return here;
}

static bool item(struct reading *in)
{
    struct nth_verifier_settings *set = &in->set;
    uint64_t value = 0;
    if (word(in, "leak", ",")) {
        set->layers |= NTH_VERIFY_LEAK;
    } else if (word(in, "heaps", ",")) {
        set->layers |= NTH_VERIFY_HEAPS;
    } else if (word(in, "locks", ",")) {
        set->layers |= NTH_VERIFY_LOCKS;
    } else if (word(in, "memory", ",")) {
        set->layers |= NTH_VERIFY_MEMORY;
    } else if (word(in, "basics", ",")) {
        set->layers |= NTH_VERIFY_BASICS;
    } else if (word(in, "exceptions", ",")) {
        set->exception_on_stop = TRUE;
    } else if (word(in, "once", ",")) {
        set->auto_disable_stop = TRUE;
    } else if (word(in, "text", ",")) {
        set->plain_log = TRUE;
    } else if (valued(in, "pageheap")) {
        return page_heap(in);
    } else if (valued(in, "flags")) {
        return flags(in);
    } else if (word(in, "lowres", ",=")) {
        return lowres(in);
    } else if (word(in, "fault", ",=")) {
        return fault(in);
    } else if (valued(in, "exclude")) {
        return names(in, set->lowres_exclude);
    } else if (valued(in, "pass")) {
        return names(in, set->pass_through);
    } else if (valued(in, "seed")) {
        return number_whole(in, UINT64_MAX, "a number", &set->seed);
    } else if (valued(in, "delayed")) {
        return delayed(in);
    } else if (valued(in, "depth")) {
        const bool done = number_whole(in, NTH_TRACE_DEPTH_MAX, "a depth of 1 to 32", &value) &&
                          demand(in, value > 0, "a depth of 1 to 32");
        set->trace_depth = (ULONG)value;
        return done;
    } else if (valued(in, "log")) {
        return log_path(in);
    } else {
        return fail(in, "leak, heaps, locks, memory, basics, pageheap=, flags=, lowres, fault, "
                        "exclude=, pass=, seed=, delayed=, depth=, exceptions, once, text or log=");
    }
    return true;
}

static bool items(struct reading *in)
{
    for (;;) {
        if (!item(in)) {
            return false;
        }
        if (*in->at == '\0') {
            break;
        }
        if (*in->at != ',') {
            return fail(in, "',' or the end");
        }
        in->at++;
    }
    return demand(in, in->set.layers != 0 || in->set.global_flags != 0,
                  "a layer to switch on, such as leak");
}

NTSTATUS nth_verifier_parse(const char *text, struct nth_verifier_settings *settings, char *error,
                            SIZE_T error_bytes)
{
    struct reading in = {.text = text, .at = text};
    nth_verifier_defaults(&in.set);
    if (items(&in)) {
        *settings = in.set;
        return STATUS_SUCCESS;
    }
    if (error_bytes > 0) {
        (void)snprintf(error, error_bytes, "character %zu: expected %s, found %s%.24s%s",
                       (size_t)(in.at - text) + 1u, in.expected, *in.at == '\0' ? "the end" : "\"",
                       in.at, *in.at == '\0' ? "" : "\"");
    }
    return STATUS_INVALID_PARAMETER;
}
