/* SPDX-License-Identifier: MIT
 *
 * Subject ntdll: the heap of the Windows that the rig runs on. Held to the documents. Exceptions are
 * caught by a vectored handler that jumps back to the guard, since C compilers for this platform do
 * not all know __try; so filters of programs are left out. */
#ifdef _WIN32
#include <heaprig/subject.h>

#include "../run/check.h"

#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

/* Guards of a thread, innermost first. */
struct guard {
    struct guard *outer;
    EXCEPTION_RECORD *record;
    jmp_buf jump;
};

static _Thread_local struct guard *guard_now;

static LONG NTAPI guard_handler(EXCEPTION_POINTERS *info)
{
    struct guard *guard = guard_now;
    if (guard == NULL) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    *guard->record = *info->ExceptionRecord;
    longjmp(guard->jump, 1);
}

static BOOLEAN ntdll_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    static PVOID handler;
    struct guard guard = {.outer = guard_now, .record = record};
    if (handler == NULL) {
        handler = AddVectoredExceptionHandler(0, guard_handler);
    }
    if (setjmp(guard.jump) != 0) {
        guard_now = guard.outer;
        return FALSE;
    }
    guard_now = &guard;
    body(context);
    guard_now = guard.outer;
    return TRUE;
}

static struct rig_subject subject = {
    .name = "ntdll",
    .claims = RIG_CLAIM_BASIC | RIG_CLAIM_DOCUMENTED,
    .guard = ntdll_guard,
};

/* Every heap that a program left behind, but for the process heap. */
static void ntdll_reset(uint32_t seed)
{
    HANDLE heaps[64];
    (void)seed;
    const DWORD count = GetProcessHeaps(64, heaps);
    static HANDLE first[64];
    static DWORD first_count;
    if (first_count == 0) {
        first_count = count < 64 ? count : 64;
        memcpy(first, heaps, first_count * sizeof(first[0]));
    }
    for (DWORD idx = 0; idx < count && idx < 64; idx++) {
        bool ours = true;
        for (DWORD old = 0; old < first_count; old++) {
            ours = ours && heaps[idx] != first[old];
        }
        if (ours) {
            (void)HeapDestroy(heaps[idx]);
        }
    }
}

/* Rtl calls have no import library everywhere: all are found by name, in whichever module has them. */
static void find(void *place, const char *name)
{
    static const char *const modules[] = {"ntdll.dll", "kernel32.dll"};
    for (size_t idx = 0; idx < sizeof(modules) / sizeof(modules[0]); idx++) {
        const HMODULE module = GetModuleHandleA(modules[idx]);
        const FARPROC call = module == NULL ? NULL : GetProcAddress(module, name);
        if (call != NULL) {
            memcpy(place, &call, sizeof(call));
            return;
        }
    }
}

const struct rig_subject *rig_subject_ntdll(void)
{
    if (subject.reset == NULL) {
        subject.reset = ntdll_reset;
#define RIG_CALL(result, call, arguments) find(&subject.call, #call);
#include <heaprig/calls.def>
    }
    return &subject;
}
#else
typedef int rig_ntdll_is_empty;
#endif
