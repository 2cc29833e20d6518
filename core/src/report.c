/* SPDX-License-Identifier: MIT
 *
 * Noting and delivering reports; the default hook. Formats without allocation. Calls the seam. */
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

static const struct {
    const char *name;
    const char *text;
} reasons[NTH_REASON_COUNT] = {
#define NTH_REASON(name, text) {#name, text},
#include <ntheap/reasons.def>
#undef NTH_REASON
};

const char *nth_reason_name(enum nth_reason reason)
{
    return (unsigned)reason < NTH_REASON_COUNT ? reasons[reason].name : "UNKNOWN";
}

const char *nth_reason_text(enum nth_reason reason)
{
    return (unsigned)reason < NTH_REASON_COUNT ? reasons[reason].text : "UNKNOWN";
}

void nth_note(enum nth_reason reason, const void *block, const char *field)
{
    struct nth_call *call = nth_self.call;
    if (call != NULL && !call->noted) {
        call->noted = 1;
        call->report.reason = reason;
        call->report.heap = call->handle;
        call->report.block = (PVOID)(uintptr_t)block;
        call->report.field = field;
        call->report.call = call->name;
    }
}

int nth_noted(void)
{
    return nth_self.call != NULL && nth_self.call->noted;
}

size_t nth_report_text(const struct nth_report *report, char *text, size_t text_bytes)
{
    const int len =
        snprintf(text, text_bytes, "heaprig: %s: heap %p, block %p, %s%s: %s (%s)\n", report->call,
                 report->heap, report->block, report->field != NULL ? "field " : "",
                 report->field != NULL ? report->field : "no field",
                 nth_reason_text(report->reason), nth_reason_name(report->reason));
    return len > 0 ? (size_t)len : 0;
}

static void print_report(const struct nth_report *report)
{
    char text[320];
    (void)nth_report_text(report, text, sizeof(text));
    (void)!write(STDERR_FILENO, text, strlen(text));
}

void nth_report_deliver(const struct nth_report *report, int fatal)
{
    if (nth_process.seam.report != NULL) {
        nth_process.seam.report(nth_process.seam.report_context, report);
    } else {
        print_report(report);
    }
    if (fatal && nth_load_relaxed(&nth_process.terminate_on_corruption) != 0) {
        nth_terminate(STATUS_HEAP_CORRUPTION);
    }
}
