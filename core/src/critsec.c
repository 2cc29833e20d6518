/* SPDX-License-Identifier: MIT
 *
 * Critical sections: recursive locks in the caller's memory, on a lock from the seam's table.
 * Making and dropping one counts as work inside, which fork waits for. Calls the seam, lock, probe,
 * seh. */
#include <ntheap/heap.h>
#include <ntheap/seh.h>

#include "lock.h"
#include "probe.h"

#define FREE_COUNT (-1) /* LockCount of a section nobody owns */

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

static void take(RTL_CRITICAL_SECTION *section)
{
    section->RecursionCount = 1;
    __atomic_store_n(&section->LockCount, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&section->OwningThread, (HANDLE)&nth_self, __ATOMIC_RELEASE);
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
}

void EnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    if (!usable(lpCriticalSection)) {
        return;
    }
    if (owned(lpCriticalSection)) {
        lpCriticalSection->RecursionCount++;
        return;
    }
    nth_process.locks->acquire(nth_process.locks->self, lpCriticalSection->LockSemaphore);
    take(lpCriticalSection);
}

BOOL TryEnterCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    if (!usable(lpCriticalSection)) {
        return FALSE;
    }
    if (owned(lpCriticalSection)) {
        lpCriticalSection->RecursionCount++;
        return TRUE;
    }
    if (!nth_process.locks->try_acquire(nth_process.locks->self,
                                        lpCriticalSection->LockSemaphore)) {
        return FALSE;
    }
    take(lpCriticalSection);
    return TRUE;
}

void LeaveCriticalSection(LPCRITICAL_SECTION lpCriticalSection)
{
    if (!usable(lpCriticalSection) || !owned(lpCriticalSection)) {
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
    }
}
