/* SPDX-License-Identifier: MIT
 *
 * Stops: told to the hook or written to the log, remembered, and what follows one: a break, an
 * exception, the end of the process. Formats without allocation; no lock is held while it tells. */
#define _GNU_SOURCE
#include "verifier.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "seh.h"

#define TEXT_BYTES 12288u
#define NAME_BYTES 256u
#define QUOTED_BYTES (6u * NAME_BYTES)
#define QUOTED_ROOM_BYTES (QUOTED_BYTES + 256u) /* with what ends the line */

/* A problem that was told, for NTH_FLAVOR_ONCE's sibling: the same one at the same place. */
struct nth_seen_stop {
    struct nth_seen_stop *next;
    ULONG code;
    const struct nth_trace *trace;
    const struct nth_trace *allocated;
};

static const struct {
    ULONG code;
    const char *layer;
    const char *name;
    const char *text;
} rows[NTH_STOP_ROW_COUNT] = {
#define NTH_STOP(layer, code, name, text) {code, #layer, #name, text},
#include <ntheap/stops.def>
#undef NTH_STOP
};

bool nth_stops_start(void)
{
    struct nth_verifier *all = &nth_verifier;
    for (unsigned row = 0; row < NTH_STOP_ROW_COUNT; row++) {
        all->stop_report[row] = all->set.stop_report;
    }
    all->stops = nth_verifier_take(NTH_VERIFIER_STOP_MAX * sizeof(struct nth_stop *));
    return all->stops != NULL;
}

/* ---- Text ---- */

struct text {
    char bytes[TEXT_BYTES];
    size_t len;
    bool full;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = sizeof(text->bytes) - text->len;
    const int len = vsnprintf(text->bytes + text->len, room, format, arguments);
    va_end(arguments);
    if ((size_t)len >= room) { /* or below 0 */
        text->full = true;     /* this piece is left out */
    } else {
        text->len += (size_t)len;
    }
}

/* A JSON string in ASCII, of a name without its end where it is longer than names are. */
static void add_quoted(struct text *text, const char *value)
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
    add(text, "\"%s\"", quoted);
}

/* Whole lines, in one piece where the system can. */
static void write_out(const struct text *text)
{
    const char *path = nth_verifier.set.log;
    const int file = path[0] == '\0' ? STDERR_FILENO
                                     : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    size_t done = 0;
    while (file >= 0 && done < text->len) {
        const ssize_t one = write(file, text->bytes + done, text->len - done);
        if (one <= 0) {
            break;
        }
        done += (size_t)one;
    }
    if (file >= 0 && path[0] != '\0') {
        (void)close(file);
    }
}

static void add_frames(struct text *text, const char *title, const struct nth_trace *trace)
{
    char name[NAME_BYTES];
    for (unsigned idx = 0; trace != NULL && idx < trace->count && !text->full; idx++) {
        nth_verifier_frame_name(&trace->frames[idx], name, sizeof(name));
        add(text, "    %s #%u %s%s\n", idx == 0 ? title : "             ", idx, name,
            trace->broken ? " (the stack could not be walked)" : "");
    }
}

static void add_frames_json(struct text *text, const char *title, const struct nth_trace *trace)
{
    char name[NAME_BYTES];
    if (trace == NULL) {
        return;
    }
    add(text, ",\"%s\":[", title);
    for (unsigned idx = 0;
         idx < trace->count && text->len < sizeof(text->bytes) - QUOTED_ROOM_BYTES; idx++) {
        nth_verifier_frame_name(&trace->frames[idx], name, sizeof(name));
        add(text, "%s", idx == 0 ? "" : ",");
        add_quoted(text, name);
    }
    add(text, "]");
    if (trace->broken) {
        add(text, ",\"%s_broken\":true", title);
    }
}

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

static void tell_text(const struct nth_stop *stop, bool stacks)
{
    struct text text = {.len = 0};
    const char *module = module_named(stop);
    add(&text, "heaprig: stop %#x %s %s: %s\n    parameters    %#lx %#lx %#lx %#lx\n", stop->code,
        stop->layer, stop->name, stop->text, (unsigned long)stop->parameter[0],
        (unsigned long)stop->parameter[1], (unsigned long)stop->parameter[2],
        (unsigned long)stop->parameter[3]);
    if (module != NULL) {
        add(&text, "    module        %s\n", module);
    }
    if (stacks) {
        add_frames(&text, "noticed at   ", stop->trace);
        add_frames(&text, "allocated at ", stop->allocated);
        add_frames(&text, "freed at     ", stop->freed);
    }
    write_out(&text);
}

static void tell_json(const struct nth_stop *stop, bool stacks)
{
    struct text text = {.len = 0};
    const char *module = module_named(stop);
    add(&text,
        "{\"kind\":\"stop\",\"code\":%u,\"layer\":\"%s\",\"name\":\"%s\",\"text\":\"%s\","
        "\"parameters\":[\"%#lx\",\"%#lx\",\"%#lx\",\"%#lx\"],\"process\":%ld,\"thread\":%u",
        stop->code, stop->layer, stop->name, stop->text, (unsigned long)stop->parameter[0],
        (unsigned long)stop->parameter[1], (unsigned long)stop->parameter[2],
        (unsigned long)stop->parameter[3], (long)getpid(), stop->thread);
    if (module != NULL) {
        add(&text, ",\"module\":");
        add_quoted(&text, module);
    }
    if (stacks) {
        add_frames_json(&text, "noticed", stop->trace);
        add_frames_json(&text, "allocated", stop->allocated);
        add_frames_json(&text, "freed", stop->freed);
    }
    add(&text, "}\n");
    write_out(&text);
}

/* ---- Making one ---- */

/* The record of a stop, or NULL when it is to be silent. */
static const struct nth_stop *record(const struct nth_stop_wish *wish, unsigned row,
                                     struct nth_stop *spare)
{
    struct nth_verifier *all = &nth_verifier;
    bool silent = (all->stop_report[row] & NTH_STOP_ACTIVE) == 0 ||
                  ((all->stop_flavor[row] & NTH_FLAVOR_ONCE) != 0 && all->stop_told[row]);
    for (struct nth_seen_stop *seen = all->seen;
         all->set.auto_disable_stop && !silent && seen != NULL; seen = seen->next) {
        silent = seen->code == wish->code && seen->trace == wish->trace &&
                 seen->allocated == wish->allocated;
    }
    if (silent) {
        all->sums.silenced_count++;
        return NULL;
    }
    all->stop_told[row] = true;
    if (all->set.auto_disable_stop) {
        struct nth_seen_stop *seen = nth_verifier_take(sizeof(*seen));
        if (seen != NULL) {
            *seen = (struct nth_seen_stop){all->seen, wish->code, wish->trace, wish->allocated};
            all->seen = seen;
        }
    }
    struct nth_stop *made =
        all->stop_count < NTH_VERIFIER_STOP_MAX ? nth_verifier_take(sizeof(struct nth_stop)) : NULL;
    const bool kept = made != NULL;
    made = kept ? made : spare;
    *made = (struct nth_stop){
        .code = wish->code,
        .layer = rows[row].layer,
        .name = rows[row].name,
        .text = rows[row].text,
        .severity = NTH_SEVERITY_ERROR,
        .thread = nth_thread_number(),
        .serial = ++all->sums.stop_count,
        .trace = wish->trace,
        .allocated = wish->allocated,
        .freed = wish->freed,
    };
    memcpy(made->parameter, wish->parameter, sizeof(made->parameter));
    all->sums.leak_count += wish->code == NTH_STOP_ALLOCATION;
    if (kept) {
        all->stops[all->stop_count++] = made;
    }
    return made;
}

static bool traced(void)
{
    char text[4096];
    const int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t len = 0;
    if (file >= 0) {
        len = read(file, text, sizeof(text) - 1);
        (void)close(file);
    }
    text[len > 0 ? len : 0] = '\0';
    const char *line = strstr(text, "TracerPid:");
    return line != NULL && strtol(line + strlen("TracerPid:"), NULL, 10) != 0;
}

static void raise_stop(const struct nth_stop *stop)
{
    EXCEPTION_RECORD record;
    memset(&record, 0, sizeof(record));
    record.ExceptionCode = STATUS_VERIFIER_STOP;
    record.ExceptionAddress = __builtin_return_address(0);
    record.NumberParameters = 5;
    record.ExceptionInformation[0] = stop->code;
    memcpy(&record.ExceptionInformation[1], stop->parameter, sizeof(stop->parameter));
    nth_raise(&record);
}

void nth_stop(const struct nth_stop_wish *wish)
{
    struct nth_verifier *all = &nth_verifier;
    struct nth_stop spare;
    unsigned row = 0;
    while (rows[row].code != wish->code) {
        row++;
        NTH_ASSERT(row < NTH_STOP_ROW_COUNT);
    }
    void *outer = nth_verifier_enter();
    const ULONG report = all->stop_report[row];
    const ULONG flavor = all->stop_flavor[row];
    const struct nth_stop *stop = record(wish, row, &spare);
    nth_verifier_leave(outer);
    if (stop == NULL) {
        return;
    }
    if ((report & NTH_STOP_LOG) != 0 && all->set.stop != NULL) {
        all->set.stop(all->set.stop_context, stop);
    } else if ((report & NTH_STOP_LOG) != 0 && (all->set.log[0] == '\0' || all->set.plain_log)) {
        tell_text(stop, (report & NTH_STOP_LOG_STACK) != 0);
    } else if ((report & NTH_STOP_LOG) != 0) {
        tell_json(stop, (report & NTH_STOP_LOG_STACK) != 0);
    }
    const bool breaks = (report & NTH_STOP_BREAK) != 0;
    if ((report & NTH_STOP_EXCEPTION) != 0 || (breaks && all->set.exception_on_stop)) {
        raise_stop(stop);
    } else if (breaks && traced()) {
        (void)raise(SIGTRAP);
    }
    if ((flavor & NTH_FLAVOR_FATAL) != 0) {
        nth_terminate(STATUS_VERIFIER_STOP);
    }
}

/* ---- The public side ---- */

SIZE_T nth_verifier_stop_count(void)
{
    struct nth_verifier_summary sums;
    nth_verifier_summary(&sums);
    return (SIZE_T)sums.stop_count;
}

const struct nth_stop *nth_verifier_stop_at(SIZE_T idx)
{
    return nth_verifying() && idx < nth_verifier.stop_count ? nth_verifier.stops[idx] : NULL;
}

NTSTATUS nth_verifier_stop_set(const char *layer, const char *name, ULONG report, ULONG flavor)
{
    const ULONG report_bits = NTH_STOP_DEFAULT | NTH_STOP_EXCEPTION;
    NTSTATUS status = STATUS_INVALID_PARAMETER;
    if (!nth_verifying()) {
        return STATUS_UNSUCCESSFUL;
    }
    if ((report & ~report_bits) != 0 || (flavor & ~(NTH_FLAVOR_FATAL | NTH_FLAVOR_ONCE)) != 0) {
        return STATUS_INVALID_PARAMETER;
    }
    void *outer = nth_verifier_enter();
    for (unsigned row = 0; row < NTH_STOP_ROW_COUNT; row++) {
        if (strcmp(rows[row].layer, layer) == 0 && strcmp(rows[row].name, name) == 0) {
            nth_verifier.stop_report[row] = report;
            nth_verifier.stop_flavor[row] = flavor;
            status = STATUS_SUCCESS;
        }
    }
    nth_verifier_leave(outer);
    return status;
}

void nth_verifier_summary(struct nth_verifier_summary *summary)
{
    memset(summary, 0, sizeof(*summary));
    if (nth_verifying()) {
        void *outer = nth_verifier_enter();
        *summary = nth_verifier.sums;
        nth_verifier_leave(outer);
    }
}

/* ---- At the end ---- */

static BOOLEAN left_over(void *context, const struct nth_allocation *block)
{
    struct text text = {.len = 0};
    (void)context;
    if (block->state != NTH_ALLOCATION_LIVE || block->disowned) {
        return TRUE;
    }
    if (nth_verifier.set.log[0] == '\0' || nth_verifier.set.plain_log) {
        add(&text, "heaprig: still allocated: %p, %zu bytes\n", block->user, block->user_bytes);
        add_frames(&text, "allocated at ", block->allocated);
    } else {
        add(&text, "{\"kind\":\"left\",\"address\":\"%p\",\"bytes\":%zu,\"process\":%ld",
            block->user, block->user_bytes, (long)getpid());
        add_frames_json(&text, "allocated", block->allocated);
        add(&text, "}\n");
    }
    write_out(&text);
    return TRUE;
}

void nth_verifier_exit(void)
{
    struct nth_verifier_summary sums;
    struct text text = {.len = 0};
    if (!nth_verifying()) {
        return;
    }
    nth_modules_look();
    if ((nth_verifier.set.page_heap_options & NTH_PAGE_HEAP_LEAKS) != 0) {
        (void)nth_verifier_enumerate(NULL, left_over, NULL);
    }
    nth_verifier_summary(&sums);
    const bool json = nth_verifier.set.log[0] != '\0' && !nth_verifier.set.plain_log;
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
    (void)snprintf(text.bytes, sizeof(text.bytes), format, (long)getpid(),
                   (unsigned long long)sums.allocation_count, (unsigned long long)sums.free_count,
                   (unsigned long long)sums.stop_count, (unsigned long long)sums.leak_count,
                   (unsigned long long)sums.unload_count, (unsigned long long)sums.disown_count,
                   (unsigned long long)sums.refused_count, (unsigned long long)sums.full_count,
                   (unsigned long long)sums.light_count, (unsigned long long)sums.broken_count,
                   sums.live_count, sums.live_bytes, sums.held_count, sums.own_bytes);
#pragma GCC diagnostic pop
    text.len = strlen(text.bytes);
    write_out(&text);
}
