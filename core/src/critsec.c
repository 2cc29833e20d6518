/* SPDX-License-Identifier: MIT
 *
 * Critical sections: recursive locks in the caller's memory, on a lock from the seam's table.
 * Making and dropping one counts as work inside, which fork waits for. Calls the seam, lock, probe,
 * seh. */
#include <ntheap/heap.h>
#include <ntheap/seh.h>

#include "lock.h"
#include "probe.h"
#include "verifier.h"

#define FREE_COUNT (-1) /* LockCount of a section nobody owns */

/* The locks layer looks at what is done with sections. */
static bool watched(void)
{
    return nth_verifying() && nth_verifier_has(NTH_VERIFY_LOCKS);
}

static void bad_section(const void *section)
{
    const ULONG_PTR where[2] = {EXCEPTION_WRITE_FAULT, (ULONG_PTR)section};
    RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
}

/* A thread is named by its own record. The owner's word is read by other threads that only compare
 * it with themselves. */
static bool owned(const RTL_CRITICAL_SECTION *section)
{
    return __atomic_load_n(&section->OwningThread, __ATOMIC_ACQUIRE) == (HANDLE)&nth_self;
}

static bool usable(RTL_CRITICAL_SECTION *section)
{
    if (!nth_probe_write(section, sizeof(*section)) || section->LockSemaphore == NULL) {
        bad_section(section);
        return false;
    }
    return true;
}

/* What the verifier finds wrong is told, and put right where it can be. */
static void look(RTL_CRITICAL_SECTION *section, const struct nth_caller *caller)
{
    if (watched() && nth_probe_write(section, sizeof(*section))) {
        nth_section_look(section, caller->address);
    }
}

static void take(RTL_CRITICAL_SECTION *section)
{
    section->RecursionCount = 1;
    __atomic_store_n(&section->LockCount, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&section->OwningThread, (HANDLE)&nth_self, __ATOMIC_RELEASE);
}

static void entered(RTL_CRITICAL_SECTION *section)
{
    if (watched()) {
        nth_section_entered(section);
    }
}

void InitializeCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    void *lock = NULL;
    if (!nth_probe_write(lpCriticalSection, sizeof(*lpCriticalSection))) {
        bad_section(lpCriticalSection);
        return;
    }
    *lpCriticalSection = (RTL_CRITICAL_SECTION){.LockCount = FREE_COUNT};
    if (nth_process_start() == NTH_OK) {
        void *outer = nth_gate_enter(&nth_process);
        if (nth_process.locks->create(nth_process.locks->self, &lock) != NTH_SEAM_OK) {
            lock = NULL;
        }
        nth_gate_leave(outer);
    }
    if (lock == NULL) {
        RaiseException(STATUS_NO_MEMORY, 0, 0, NULL);
        return;
    }
    lpCriticalSection->LockSemaphore = lock;
    if (watched()) {
        nth_section_made(lpCriticalSection, NTH_CALLER("a critical section")->address);
    }
}

void EnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    look(lpCriticalSection, NTH_CALLER("a critical section"));
    if (!usable(lpCriticalSection)) {
        return;
    }
    if (owned(lpCriticalSection)) {
        lpCriticalSection->RecursionCount++;
        entered(lpCriticalSection);
        return;
    }
    nth_process.locks->acquire(nth_process.locks->self, lpCriticalSection->LockSemaphore);
    take(lpCriticalSection);
    entered(lpCriticalSection);
}

BOOL TryEnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    look(lpCriticalSection, NTH_CALLER("a critical section"));
    if (!usable(lpCriticalSection)) {
        return FALSE;
    }
    if (owned(lpCriticalSection)) {
        lpCriticalSection->RecursionCount++;
        entered(lpCriticalSection);
        return TRUE;
    }
    if (!nth_process.locks->try_acquire(nth_process.locks->self,
                                        lpCriticalSection->LockSemaphore)) {
        return FALSE;
    }
    take(lpCriticalSection);
    entered(lpCriticalSection);
    return TRUE;
}

void LeaveCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    look(lpCriticalSection, NTH_CALLER("a critical section"));
    if (!usable(lpCriticalSection)) {
        return;
    }
    const bool ours = owned(lpCriticalSection);
    if (watched()) {
        nth_section_left(lpCriticalSection, ours, NTH_CALLER("a critical section")->address);
    }
    if (!ours) {
        return;
    }
    if (--lpCriticalSection->RecursionCount > 0) {
        return;
    }
    __atomic_store_n(&lpCriticalSection->OwningThread, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&lpCriticalSection->LockCount, FREE_COUNT, __ATOMIC_RELAXED);
    nth_process.locks->release(nth_process.locks->self, lpCriticalSection->LockSemaphore);
}

void DeleteCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    if (!nth_probe_write(lpCriticalSection, sizeof(*lpCriticalSection))) {
        bad_section(lpCriticalSection);
        return;
    }
    if (watched()) {
        nth_section_deleted(lpCriticalSection, NTH_CALLER("a critical section")->address);
    }
    if (lpCriticalSection->LockSemaphore != NULL) {
        void *outer = nth_gate_enter(&nth_process);
        nth_process.locks->destroy(nth_process.locks->self, lpCriticalSection->LockSemaphore);
        lpCriticalSection->LockSemaphore = NULL;
        nth_gate_leave(outer);
    }
}

void nth_section_renew(RTL_CRITICAL_SECTION *section)
{
    if (nth_probe_write(section, sizeof(*section)) && section->LockSemaphore != NULL &&
        !owned(section)) {
        section->LockSemaphore = nth_lock_renewed(section->LockSemaphore);
        section->RecursionCount = 0;
        section->LockCount = FREE_COUNT;
        section->OwningThread = NULL;
        if (watched()) {
            nth_section_renewed(section);
        }
    }
}
