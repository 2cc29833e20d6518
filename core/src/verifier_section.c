/* SPDX-License-Identifier: MIT
 *
 * Critical sections, as the locks layer knows them: made where, owned by whom. What stands in the
 * program's structure is compared with that, and put right after the stop, so that the program can
 * go on. */
#include "verifier.h"

#include <ntheap/heap.h>

#include "lock.h"

static struct nth_section **list_of(const void *section)
{
    return &nth_verifier
                .sections[nth_mix((uint64_t)(uintptr_t)section) % NTH_VERIFIER_SECTION_HASH];
}

static struct nth_section *find(const void *section)
{
    struct nth_section *known = *list_of(section);
    while (known != NULL && (const void *)known->at != section) {
        known = known->chain;
    }
    return known;
}

static void remove_known(struct nth_section *known)
{
    struct nth_section **at = list_of(known->at);
    while (*at != known) {
        at = &(*at)->chain;
    }
    *at = known->chain;
    known->chain = nth_verifier.sections_free;
    nth_verifier.sections_free = known;
}

/* The child's only thread: without the lock, which nobody holds and fork does not give out yet. */
void nth_section_renewed(const RTL_CRITICAL_SECTION *section)
{
    struct nth_section *known = find(section);
    if (known != NULL) {
        known->owner = 0;
        known->depth = 0;
        known->lock = section->LockSemaphore;
    }
}

static const struct nth_trace *trace_of(const struct nth_stack *stack)
{
    return nth_trace_intern(stack);
}

void nth_section_made(RTL_CRITICAL_SECTION *section, const void *caller)
{
    struct nth_stack stack;
    struct nth_stop_wish wish = {.code = 0};
    nth_stack_take(&stack, caller);
    void *outer = nth_verifier_enter();
    struct nth_section *known = find(section);
    const struct nth_trace *trace = trace_of(&stack);
    if (known != NULL) {
        wish = (struct nth_stop_wish){
            .code = known->depth > 0 ? NTH_STOP_LOCK_DOUBLE_INITIALIZE
                                     : NTH_STOP_LOCK_ALREADY_INITIALIZED,
            .parameter = {(ULONG_PTR)section, (ULONG_PTR)known->made, 0, 0},
            .trace = trace,
        };
    } else if (nth_verifier.sections_free != NULL) {
        known = nth_verifier.sections_free;
        nth_verifier.sections_free = known->chain;
    } else {
        known = nth_verifier_take(sizeof(*known));
    }
    if (known != NULL) {
        if (wish.code == 0) {
            known->chain = *list_of(section);
            *list_of(section) = known;
        }
        known->at = section;
        known->made = trace;
        known->owner = 0;
        known->depth = 0;
        known->lock = section->LockSemaphore;
    }
    nth_verifier.sections_missed |= known == NULL;
    nth_verifier_leave(outer);
    if (wish.code != 0) {
        nth_stop(&wish);
    }
}

/* What of the structure is not as it was left; it is put right. */
static ULONG compare(struct nth_section *known, struct nth_stop_wish *wish)
{
    RTL_CRITICAL_SECTION *section = known->at;
    const uintptr_t owner = (uintptr_t)__atomic_load_n(&section->OwningThread, __ATOMIC_ACQUIRE);
    if (section->LockSemaphore != known->lock) {
        wish->parameter[1] = (ULONG_PTR)section->LockSemaphore;
        wish->parameter[2] = (ULONG_PTR)known->lock;
        section->LockSemaphore = known->lock;
        return NTH_STOP_LOCK_CORRUPTED;
    }
    if (known->owner == (uintptr_t)&nth_self && owner != known->owner) {
        wish->parameter[1] = owner;
        wish->parameter[2] = known->owner;
        __atomic_store_n(&section->OwningThread, (HANDLE)known->owner, __ATOMIC_RELEASE);
        return NTH_STOP_LOCK_INVALID_OWNER;
    }
    if (known->owner == (uintptr_t)&nth_self && section->RecursionCount != known->depth) {
        wish->parameter[1] = (ULONG_PTR)section->RecursionCount;
        wish->parameter[2] = (ULONG_PTR)known->depth;
        section->RecursionCount = known->depth;
        return NTH_STOP_LOCK_INVALID_RECURSION_COUNT;
    }
    return 0;
}

/* One that is not known was never made, or there was no memory for the note of one. */
static ULONG never_made(void)
{
    return nth_verifier.sections_missed ? 0 : NTH_STOP_LOCK_NOT_INITIALIZED;
}

void nth_section_look(RTL_CRITICAL_SECTION *section, const void *caller)
{
    struct nth_stack stack;
    struct nth_stop_wish wish = {.parameter = {(ULONG_PTR)section, 0, 0, 0}};
    nth_stack_take(&stack, caller);
    void *outer = nth_verifier_enter();
    struct nth_section *known = find(section);
    if (known == NULL) {
        wish.code = never_made();
    } else {
        wish.code = compare(known, &wish);
        wish.parameter[3] = (ULONG_PTR)known->made;
    }
    wish.trace = wish.code != 0 ? trace_of(&stack) : NULL;
    nth_verifier_leave(outer);
    if (wish.code != 0) {
        nth_stop(&wish);
    }
}

void nth_section_entered(RTL_CRITICAL_SECTION *section)
{
    void *outer = nth_verifier_enter();
    struct nth_section *known = find(section);
    if (known != NULL) {
        known->owner = (uintptr_t)&nth_self;
        known->owner_thread = nth_thread_number();
        known->depth = section->RecursionCount;
    }
    nth_verifier_leave(outer);
}

static bool owns_any(void)
{
    for (unsigned idx = 0; idx < NTH_VERIFIER_SECTION_HASH; idx++) {
        for (const struct nth_section *known = nth_verifier.sections[idx]; known != NULL;
             known = known->chain) {
            if (known->owner == (uintptr_t)&nth_self) {
                return true;
            }
        }
    }
    return false;
}

/* Before the section is given up, while its structure is this thread's. */
void nth_section_left(RTL_CRITICAL_SECTION *section, bool owned, const void *caller)
{
    struct nth_stack stack;
    struct nth_stop_wish wish = {.code = 0};
    nth_stack_take(&stack, caller);
    void *outer = nth_verifier_enter();
    struct nth_section *known = find(section);
    if (known != NULL && owned) {
        known->depth--;
        known->owner = known->depth > 0 ? known->owner : 0;
    } else if (known != NULL) {
        wish = (struct nth_stop_wish){
            .code = owns_any() ? NTH_STOP_LOCK_OVER_RELEASED : NTH_STOP_THREAD_NOT_LOCK_OWNER,
            .parameter = {(ULONG_PTR)section, known->owner != 0 ? known->owner_thread : 0,
                          nth_thread_number(), (ULONG_PTR)known->made},
            .trace = trace_of(&stack),
        };
    }
    nth_verifier_leave(outer);
    if (wish.code != 0) {
        nth_stop(&wish);
    }
}

void nth_section_deleted(RTL_CRITICAL_SECTION *section, const void *caller)
{
    struct nth_stack stack;
    struct nth_stop_wish wish = {.code = 0};
    nth_stack_take(&stack, caller);
    void *outer = nth_verifier_enter();
    struct nth_section *known = find(section);
    if (known == NULL) {
        wish.code = never_made();
        wish.parameter[0] = (ULONG_PTR)section;
    } else {
        if (known->depth > 0) {
            wish.code = NTH_STOP_LOCK_INVALID_LOCK_COUNT;
            wish.parameter[0] = (ULONG_PTR)section;
            wish.parameter[1] = (ULONG_PTR)known->depth;
            wish.parameter[2] = known->owner_thread;
            wish.parameter[3] = (ULONG_PTR)known->made;
        }
        remove_known(known);
    }
    wish.trace = wish.code != 0 ? trace_of(&stack) : NULL;
    nth_verifier_leave(outer);
    if (wish.code != 0) {
        nth_stop(&wish);
    }
}

static struct nth_section *inside(uintptr_t low, uintptr_t high)
{
    for (unsigned idx = 0; idx < NTH_VERIFIER_SECTION_HASH; idx++) {
        for (struct nth_section *known = nth_verifier.sections[idx]; known != NULL;
             known = known->chain) {
            if ((uintptr_t)known->at >= low && (uintptr_t)known->at < high) {
                return known;
            }
        }
    }
    return NULL;
}

void nth_sections_lost(uintptr_t low, uintptr_t high, ULONG code, ULONG_PTR third, ULONG_PTR fourth,
                       const struct nth_trace *trace)
{
    struct nth_section *known = NULL;
    do {
        struct nth_stop_wish wish = {.code = code, .parameter = {0, 0, third, fourth}};
        void *outer = nth_verifier_enter();
        known = inside(low, high);
        if (known != NULL) {
            wish.parameter[0] = (ULONG_PTR)known->at;
            wish.parameter[1] = (ULONG_PTR)known->made;
            wish.trace = trace;
            wish.allocated = known->made;
            remove_known(known);
        }
        nth_verifier_leave(outer);
        if (known != NULL) {
            nth_stop(&wish);
        }
    } while (known != NULL);
}

/* The owner's record goes away with the thread: nobody is taken for it later. */
static bool owned_next(struct nth_stop_wish *wish)
{
    bool found = false;
    void *outer = nth_verifier_enter();
    for (unsigned idx = 0; idx < NTH_VERIFIER_SECTION_HASH && !found; idx++) {
        for (struct nth_section *known = nth_verifier.sections[idx]; known != NULL && !found;
             known = known->chain) {
            if (known->owner == (uintptr_t)&nth_self) {
                *wish = (struct nth_stop_wish){
                    .code = NTH_STOP_EXIT_THREAD_OWNS_LOCK,
                    .parameter = {known->owner_thread, (ULONG_PTR)known->at,
                                  (ULONG_PTR)known->at->DebugInfo, (ULONG_PTR)known->made},
                    .allocated = known->made,
                };
                known->owner = 0;
                found = true;
            }
        }
    }
    nth_verifier_leave(outer);
    return found;
}

void nth_sections_exit(void)
{
    struct nth_stop_wish wish;
    while (owned_next(&wish)) {
        nth_stop(&wish);
    }
    const struct nth_slot *slot = NULL;
    for (uint32_t number = 0; (slot = nth_slot_numbered(number)) != NULL; number++) {
        HANDLE handle = nth_load_acquire(&slot->handle);
        if (handle != NULL && nth_lock_owned(slot) && slot->caller_lock == NULL) {
            wish = (struct nth_stop_wish){
                .code = NTH_STOP_EXIT_THREAD_OWNS_LOCK,
                .parameter = {nth_thread_number(), (ULONG_PTR)handle, 0, 0},
            };
            nth_stop(&wish);
        }
    }
}
