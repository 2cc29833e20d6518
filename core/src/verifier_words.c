/* SPDX-License-Identifier: MIT
 *
 * Stops, sums and what is left over in words, as text or JSON. Formats without allocation. */
#include "verifier.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define NAME_BYTES 256u
#define QUOTED_BYTES (6u * NAME_BYTES)
#define ENDING_BYTES 128u /* what ends the words, behind the last frame */

struct words {
    char *text;
    size_t room;  /* with the NUL */
    size_t len;   /* written */
    size_t whole; /* of all that there is to say */
    bool shorter; /* frames were left out */
};

/* What does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void add(struct words *words, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = words->room - words->len;
    const int len = vsnprintf(room == 0 ? NULL : words->text + words->len, room, format, arguments);
    va_end(arguments);
    const size_t bytes = len > 0 ? (size_t)len : 0;
    words->whole += bytes;
    if (bytes < room) {
        words->len += bytes;
    } else if (room > 0) {
        words->len = words->room - 1;
    }
}

/* A frame that begins at `from` stays where it leaves room for what ends the words. Where it does
 * not, it and all that follow are left out. */
static void keep_frame(struct words *words, size_t from)
{
    words->shorter = words->shorter || words->len + ENDING_BYTES > words->room;
    if (words->shorter && words->room > 0) {
        words->len = from;
        words->text[from] = '\0';
    }
}

/* A JSON string in ASCII, of a name without its end where it is longer than names are. */
static void add_quoted(struct words *words, const char *value)
{
    USHORT wide[NAME_BYTES];
    char quoted[QUOTED_BYTES];
    char name[NAME_BYTES];
    size_t len = 0;
    (void)snprintf(name, sizeof(name), "%s", value);
    nth_name_widen(name, wide);
    for (const USHORT *one = wide; *one != 0; one++) {
        if (*one < 0x20u || *one >= 0x7Fu) {
            len += (size_t)snprintf(quoted + len, sizeof(quoted) - len, "\\u%04x", *one);
            continue;
        }
        if (*one == '"' || *one == '\\') {
            quoted[len++] = '\\';
        }
        quoted[len++] = (char)*one;
    }
    quoted[len] = '\0';
    add(words, "\"%s\"", quoted);
}

static void add_frames(struct words *words, const char *title, const struct nth_trace *trace)
{
    char name[NAME_BYTES];
    for (unsigned idx = 0; trace != NULL && idx < trace->count; idx++) {
        const size_t from = words->len;
        nth_verifier_frame_name(&trace->frames[idx], name, sizeof(name));
        add(words, "    %s #%u %s%s\n", idx == 0 ? title : "             ", idx, name,
            trace->broken ? " (the stack could not be walked)" : "");
        keep_frame(words, from);
    }
}

static void add_frames_json(struct words *words, const char *title, const struct nth_trace *trace)
{
    char name[NAME_BYTES];
    if (trace == NULL) {
        return;
    }
    add(words, ",\"%s\":[", title);
    for (unsigned idx = 0; idx < trace->count; idx++) {
        const size_t from = words->len;
        nth_verifier_frame_name(&trace->frames[idx], name, sizeof(name));
        add(words, "%s", idx == 0 ? "" : ",");
        add_quoted(words, name);
        keep_frame(words, from);
    }
    add(words, "]");
    if (trace->broken) {
        add(words, ",\"%s_broken\":true", title);
    }
}

/* ---- Stops ---- */

/* The name behind a wide one in a parameter: of a stop that names a module. */
static const char *module_named(const struct nth_stop *stop)
{
    const char *name = NULL;
    if (stop->code != NTH_STOP_ALLOCATION && stop->code != NTH_STOP_LOCK_IN_UNLOADED_DLL) {
        return NULL;
    }
    void *outer = nth_verifier_enter();
    for (const struct nth_module *module = nth_verifier.modules; module != NULL && name == NULL;
         module = module->next) {
        name = (ULONG_PTR)module->info.wide_name == stop->parameter[2] ? module->info.name : NULL;
    }
    nth_verifier_leave(outer);
    return name;
}

static void add_stop(struct words *words, const struct nth_stop *stop, bool stacks)
{
    const char *module = module_named(stop);
    add(words, "heaprig: stop %#x %s %s: %s\n    parameters    %#lx %#lx %#lx %#lx\n", stop->code,
        stop->layer, stop->name, stop->text, (unsigned long)stop->parameter[0],
        (unsigned long)stop->parameter[1], (unsigned long)stop->parameter[2],
        (unsigned long)stop->parameter[3]);
    if (module != NULL) {
        add(words, "    module        %s\n", module);
    }
    if (stacks) {
        add_frames(words, "noticed at   ", stop->trace);
        add_frames(words, "allocated at ", stop->allocated);
        add_frames(words, "freed at     ", stop->freed);
    }
}

static void add_stop_json(struct words *words, const struct nth_stop *stop, bool stacks)
{
    const char *module = module_named(stop);
    add(words,
        "{\"kind\":\"stop\",\"code\":%u,\"layer\":\"%s\",\"name\":\"%s\",\"text\":\"%s\","
        "\"parameters\":[\"%#lx\",\"%#lx\",\"%#lx\",\"%#lx\"],\"process\":%ld,\"thread\":%u",
        stop->code, stop->layer, stop->name, stop->text, (unsigned long)stop->parameter[0],
        (unsigned long)stop->parameter[1], (unsigned long)stop->parameter[2],
        (unsigned long)stop->parameter[3], (long)getpid(), stop->thread);
    if (module != NULL) {
        add(words, ",\"module\":");
        add_quoted(words, module);
    }
    if (stacks) {
        add_frames_json(words, "noticed", stop->trace);
        add_frames_json(words, "allocated", stop->allocated);
        add_frames_json(words, "freed", stop->freed);
    }
    add(words, "}\n");
}

SIZE_T nth_verifier_stop_text(const struct nth_stop *stop, BOOLEAN json, BOOLEAN stacks, char *text,
                              SIZE_T text_bytes)
{
    struct words words = {.text = text, .room = text_bytes};
    (json ? add_stop_json : add_stop)(&words, stop, stacks);
    return words.whole;
}

/* ---- At the end ---- */

void nth_words_left(const struct nth_allocation *block, bool json, char *text, size_t text_bytes)
{
    struct words words = {.text = text, .room = text_bytes};
    if (json) {
        add(&words, "{\"kind\":\"left\",\"address\":\"%p\",\"bytes\":%zu,\"process\":%ld",
            block->user, block->user_bytes, (long)getpid());
        add_frames_json(&words, "allocated", block->allocated);
        add(&words, "}\n");
    } else {
        add(&words, "heaprig: still allocated: %p, %zu bytes\n", block->user, block->user_bytes);
        add_frames(&words, "allocated at ", block->allocated);
    }
}

void nth_words_summary(const struct nth_verifier_summary *sums, bool json, char *text,
                       size_t text_bytes)
{
    const char *format =
        json ? "{\"kind\":\"summary\",\"process\":%ld,\"allocations\":%llu,\"frees\":%llu,"
               "\"stops\":%llu,\"leaks\":%llu,\"unloads\":%llu,\"disowned\":%llu,"
               "\"refused\":%llu,\"full\":%llu,\"light_for_lack\":%llu,\"unwalked\":%llu,"
               "\"live\":%zu,\"live_bytes\":%zu,\"held\":%zu,\"own_bytes\":%zu}\n"
             : "heaprig: process %ld: %llu allocations, %llu frees, %llu stops (%llu leaks), %llu "
               "unloads, %llu disowned, %llu refused, %llu full blocks, %llu light for lack of "
               "mappings, %llu stacks not walked, %zu blocks left, %zu bytes, %zu held, %zu bytes "
               "of tables\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, text_bytes, format, (long)getpid(),
                   (unsigned long long)sums->allocation_count, (unsigned long long)sums->free_count,
                   (unsigned long long)sums->stop_count, (unsigned long long)sums->leak_count,
                   (unsigned long long)sums->unload_count, (unsigned long long)sums->disown_count,
                   (unsigned long long)sums->refused_count, (unsigned long long)sums->full_count,
                   (unsigned long long)sums->light_count, (unsigned long long)sums->broken_count,
                   sums->live_count, sums->live_bytes, sums->held_count, sums->own_bytes);
#pragma GCC diagnostic pop
}
