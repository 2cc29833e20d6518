/* SPDX-License-Identifier: MIT
 *
 * Stops: told to the hook or written to the log, remembered, and what follows one: a break, an
 * exception, the end of the process. No lock is held while it tells. */
#define _GNU_SOURCE
#include "verifier.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "seh.h"

#define TEXT_BYTES 12288u /* of a record of the log */

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

/* ---- The log ---- */

static bool log_is_json(void)
{
    return nth_verifier.set.log[0] != '\0' && !nth_verifier.set.plain_log;
}

/* Whole lines, in one piece where the system can. */
static void write_out(const char *text)
{
    const char *path = nth_verifier.set.log;
    const int file = path[0] == '\0' ? STDERR_FILENO
                                     : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const size_t len = strlen(text);
    size_t done = 0;
    while (file >= 0 && done < len) {
        const ssize_t one = write(file, text + done, len - done);
        if (one <= 0) {
            break;
        }
        done += (size_t)one;
    }
    if (file >= 0 && path[0] != '\0') {
        (void)close(file);
    }
}

static void tell(const struct nth_stop *stop, bool stacks)
{
    char text[TEXT_BYTES];
    (void)nth_verifier_stop_text(stop, log_is_json(), stacks, text, sizeof(text));
    write_out(text);
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
    } else if ((report & NTH_STOP_LOG) != 0) {
        tell(stop, (report & NTH_STOP_LOG_STACK) != 0);
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
    char text[TEXT_BYTES];
    (void)context;
    if (block->state == NTH_ALLOCATION_LIVE && !block->disowned) {
        nth_words_left(block, log_is_json(), text, sizeof(text));
        write_out(text);
    }
    return TRUE;
}

void nth_verifier_exit(void)
{
    struct nth_verifier_summary sums;
    char text[TEXT_BYTES];
    if (!nth_verifying()) {
        return;
    }
    nth_modules_look();
    if ((nth_verifier.set.page_heap_options & NTH_PAGE_HEAP_LEAKS) != 0) {
        (void)nth_verifier_enumerate(NULL, left_over, NULL);
    }
    nth_verifier_summary(&sums);
    nth_words_summary(&sums, log_is_json(), text, sizeof(text));
    write_out(text);
}
