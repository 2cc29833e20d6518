/* SPDX-License-Identifier: MIT
 *
 * See stories.h. Each story is one guarded call of several calls; what must be told of it, and of the block
 * that a freed one leaves in the queue, is said to the model before. */
#include "stories.h"

#include "watch.h"

#include <pthread.h>

#define BLOCK_BYTES 200u
#define SECTION_AT 64u /* in the block */
#define DATA_BYTES 256u
#define BASE_BYTES 0x20000u
#define RATE_CALLS RIG_RATE_CALLS

static struct {
    struct rig_exec *exec;
    HANDLE heap;
    char *block;
    CRITICAL_SECTION section;
    CRITICAL_SECTION other;
    _Alignas(64) char data[DATA_BYTES]; /* of a module that is data alone */
    unsigned way;
    unsigned count;
    uintptr_t value;
    char *base;
} story;

static const struct rig_subject *subject(void)
{
    return story.exec->subject;
}

static bool nothing(struct rig_step *step)
{
    step->nothing = true;
    return true;
}

static bool has(const struct rig_exec *exec, unsigned layer)
{
    return (exec->watch.set.layers & layer) != 0;
}

static bool tell(struct rig_exec *exec, struct rig_step *step, void (*body)(void *))
{
    exec->watched.made = true;
    exec->watched.odd = true;
    rig_call(exec, step, body);
    return rig_judge(exec, step);
}

/* A heap of the story's own, made and destroyed beside it: nothing is told of it. */
static void heap_make(void *context)
{
    const ULONG *flags = context;
    story.heap = subject()->HeapCreate(*flags, 0, 0);
}

static void heap_drop(void *context)
{
    (void)context;
    (void)subject()->HeapDestroy(story.heap);
}

static bool with_heap(struct rig_exec *exec, ULONG flags)
{
    story.heap = NULL;
    return rig_call_aside(exec, heap_make, &flags) && story.heap != NULL;
}

/* ---- Sections ------------------------------------------------------------------------------- */

static void block_make(void *context)
{
    (void)context;
    story.block = subject()->HeapAlloc(story.heap, 0, BLOCK_BYTES);
}

/* The same with a block in it; both or neither. */
static bool with_block(struct rig_exec *exec, ULONG flags)
{
    story.block = NULL;
    if (!with_heap(exec, flags)) {
        return false;
    }
    (void)rig_call_aside(exec, block_make, exec);
    if (story.block == NULL) {
        (void)rig_call_aside(exec, heap_drop, exec);
    }
    return story.block != NULL;
}

/* A story that ends with its heap. */
static bool tell_and_drop(struct rig_exec *exec, struct rig_step *step, void (*body)(void *))
{
    const bool held = tell(exec, step, body);
    if (held) {
        (void)rig_call_aside(exec, heap_drop, exec);
    }
    return held;
}

static void freed_with_section(void *context)
{
    struct rig_exec *exec = context;
    CRITICAL_SECTION *section = (CRITICAL_SECTION *)(void *)(story.block + SECTION_AT);
    subject()->InitializeCriticalSection(section);
    CRITICAL_SECTION copy = *section;
    exec->step.outcome.value = subject()->HeapFree(story.heap, 0, story.block) != 0;
    story.other = copy; /* what it holds is given back from here */
}

static void other_drop(void *context)
{
    (void)context;
    subject()->DeleteCriticalSection(&story.other);
}

static bool lock_freed(struct rig_exec *exec, struct rig_step *step)
{
    if (!has(exec, RIG_VERIFY_LOCKS) || !exec->watch.tracks || !with_block(exec, 0)) {
        return nothing(step);
    }
    struct rig_expected *expected =
        rig_watch_expect(exec, RIG_STOP_LOCK_FREED, (uintptr_t)story.block + SECTION_AT, 0,
                         (uintptr_t)story.block, BLOCK_BYTES);
    expected->loose = 1u << 1;
    expected->allocated = true;
    if (!tell(exec, step, freed_with_section)) {
        return false;
    }
    if (!rig_watch_cut_short(step)) {
        (void)rig_call_aside(exec, other_drop, exec); /* 0x210: it was never made there */
    }
    (void)rig_call_aside(exec, heap_drop, exec);
    return true;
}

static void module_drop(void *context)
{
    (void)context;
    (void)subject()->module_unload(story.data);
}

static void unloaded_with_section(void *context)
{
    struct rig_exec *exec = context;
    CRITICAL_SECTION *section = (CRITICAL_SECTION *)(void *)(story.data + SECTION_AT);
    memset(story.data, 0, sizeof(story.data));
    subject()->InitializeCriticalSection(section);
    story.other = *section;
    exec->watched.status = subject()->module_unload(story.data);
}

static bool lock_unloaded(struct rig_exec *exec, struct rig_step *step)
{
    if (!has(exec, RIG_VERIFY_LOCKS) ||
        subject()->module_load(rig_module_name(1), story.data, sizeof(story.data)) !=
            STATUS_SUCCESS) {
        return nothing(step);
    }
    struct rig_expected *expected =
        rig_watch_expect(exec, RIG_STOP_LOCK_UNLOADED, (uintptr_t)story.data + SECTION_AT, 0, 0,
                         (uintptr_t)story.data);
    expected->loose = 1u << 1 | 1u << 2;
    expected->module = 1;
    expected->allocated = true;
    if (!tell(exec, step, unloaded_with_section)) {
        return false;
    }
    exec->watch.unloads++;
    (void)rig_call_aside(exec, rig_watch_cut_short(step) ? module_drop : other_drop, exec);
    return true;
}

static void *enter_and_end(void *context)
{
    (void)context;
    subject()->EnterCriticalSection(&story.section);
    return NULL;
}

static void thread_ends(void *context)
{
    (void)context;
    pthread_t thread;
    memset(&story.section, 0, sizeof(story.section));
    subject()->InitializeCriticalSection(&story.section);
    RIG_CHECK(pthread_create(&thread, NULL, enter_and_end, NULL) == 0);
    RIG_CHECK(pthread_join(thread, NULL) == 0);
}

/* Where there was no memory it was not made. */
static void owned_section_drop(void *context)
{
    (void)context;
    if (story.section.LockSemaphore != NULL) {
        subject()->DeleteCriticalSection(&story.section);
    }
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN
#endif
#ifdef UNDER_TSAN
/* What is done on purpose: a lock that is destroyed while a thread that has ended owns it is what the
 * story is about. And random programs of heaprig bench (rate_of) call heaps while they hold others'
 * locks, in one order and then in the other: one thread is at work. */
const char *__tsan_default_suppressions(void); /* NOLINT: the sanitizer's name */
const char *__tsan_default_suppressions(void)  /* NOLINT: the sanitizer's name */
{
    return "mutex:owned_section_drop\ndeadlock:rate_of\n";
}
#endif

static bool lock_thread(struct rig_exec *exec, struct rig_step *step)
{
    if (!has(exec, RIG_VERIFY_LOCKS) || exec->watch.set.exceptions) {
        return nothing(step); /* in that thread nobody would take an exception */
    }
    struct rig_expected *expected = rig_watch_expect(exec, RIG_STOP_THREAD_OWNS, 0,
                                                     (uintptr_t)&story.section, 0, 0);
    expected->loose = 1u << 0 | 1u << 2 | 1u << 3;
    expected->allocated = true;
    if (!tell(exec, step, thread_ends)) {
        return false;
    }
    (void)rig_call_aside(exec, owned_section_drop, exec); /* 0x208: it is owned, by nobody that is left */
    return true;
}

/* Ways of misusing a section; codes in their order. */
enum misuse {
    MISUSE_NEVER_MADE,
    MISUSE_AGAIN,
    MISUSE_AGAIN_OWNED,
    MISUSE_CORRUPTED,
    MISUSE_OWNER,
    MISUSE_COUNT,
    MISUSE_LEAVE,
    MISUSE_OVER,
    MISUSE_WAYS
};

static void misuse_corrupted(CRITICAL_SECTION *section)
{
    if (story.way == MISUSE_CORRUPTED) {
        story.value = (uintptr_t)section->LockSemaphore;
        section->LockSemaphore = section;
    } else if (story.way == MISUSE_OWNER) {
        story.value = (uintptr_t)section->OwningThread;
        section->OwningThread = section;
    } else {
        section->RecursionCount = 7;
    }
    subject()->EnterCriticalSection(section);
    subject()->LeaveCriticalSection(section);
}

static void misuse(void *context)
{
    CRITICAL_SECTION *section = &story.section;
    (void)context;
    memset(section, 0, sizeof(*section));
    memset(&story.other, 0, sizeof(story.other));
    if (story.way == MISUSE_NEVER_MADE) {
        subject()->DeleteCriticalSection(section);
        return;
    }
    subject()->InitializeCriticalSection(section);
    switch (story.way) {
    case MISUSE_AGAIN:
    case MISUSE_AGAIN_OWNED:
        if (story.way == MISUSE_AGAIN_OWNED) {
            subject()->EnterCriticalSection(section);
        }
        story.other = *section; /* the one that is forgotten */
        subject()->InitializeCriticalSection(section);
        break;
    case MISUSE_CORRUPTED:
    case MISUSE_OWNER:
    case MISUSE_COUNT:
        subject()->EnterCriticalSection(section);
        misuse_corrupted(section);
        subject()->LeaveCriticalSection(section);
        break;
    case MISUSE_OVER:
        subject()->InitializeCriticalSection(&story.other);
        subject()->EnterCriticalSection(&story.other);
        subject()->LeaveCriticalSection(section);
        subject()->LeaveCriticalSection(&story.other);
        subject()->DeleteCriticalSection(&story.other);
        break;
    default:
        subject()->LeaveCriticalSection(section);
        break;
    }
    subject()->DeleteCriticalSection(section);
}

/* Gives back the lock of a section that another was made over. */
static void other_end(void *context)
{
    (void)context;
    if (story.way == MISUSE_AGAIN_OWNED) {
        subject()->LeaveCriticalSection(&story.other);
    }
    subject()->DeleteCriticalSection(&story.other);
}

/* There was no memory for one of the sections: the other is given back, where it was made. */
static void misuse_end(void *context)
{
    const bool again = story.way == MISUSE_AGAIN || story.way == MISUSE_AGAIN_OWNED;
    if (again && story.other.LockSemaphore != NULL) {
        story.section = story.other;
    }
    if (story.way == MISUSE_AGAIN_OWNED && story.section.LockSemaphore != NULL) {
        subject()->LeaveCriticalSection(&story.section);
    }
    owned_section_drop(context);
}

static bool lock_misuse(struct rig_exec *exec, struct rig_step *step)
{
    static const unsigned codes[MISUSE_WAYS] = {
        RIG_STOP_LOCK_NEVER,     RIG_STOP_LOCK_AGAIN, RIG_STOP_LOCK_DOUBLE,
        RIG_STOP_LOCK_CORRUPTED, RIG_STOP_LOCK_OWNER, RIG_STOP_LOCK_RECURSION,
        RIG_STOP_LOCK_NOT_OWNER, RIG_STOP_LOCK_OVER};
    if (!has(exec, RIG_VERIFY_LOCKS)) {
        return nothing(step);
    }
    story.way = step->record->value % MISUSE_WAYS;
    exec->watched.choice = story.way;
    rig_watch_expect(exec, codes[story.way], (uintptr_t)&story.section, 0, 0, 0)->loose = 14u;
    if (!tell(exec, step, misuse)) {
        return false;
    }
    if (rig_watch_cut_short(step)) {
        (void)rig_call_aside(exec, misuse_end, exec);
    } else if (story.way == MISUSE_AGAIN || story.way == MISUSE_AGAIN_OWNED) {
        (void)rig_call_aside(exec, other_end, exec);
    }
    return true;
}

/* ---- Heaps ----------------------------------------------------------------------------------- */

static void executable(void *context)
{
    struct rig_exec *exec = context;
    HANDLE heap = subject()->HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, 0);
    exec->step.outcome.value = heap != NULL;
    story.heap = heap;
    if (heap != NULL) { /* there may be no memory for it, and then nothing to tell of */
        (void)rig_watch_expect(exec, RIG_STOP_EXECUTABLE, 0, 0, 0, 0);
    }
}

static bool executable_heap(struct rig_exec *exec, struct rig_step *step)
{
    if (!has(exec, RIG_VERIFY_MEMORY)) {
        return nothing(step);
    }
    if (!tell(exec, step, executable)) {
        return false;
    }
    if (story.heap != NULL) {
        (void)rig_call_aside(exec, heap_drop, exec);
    }
    return true;
}

RIG_UNSANITIZED static void run_block(void *context)
{
    void (*function)(void);
    (void)context;
    memcpy(&function, &story.block, sizeof(function));
    function();
}

static bool run(struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.marks || !with_block(exec, 0)) {
        return nothing(step);
    }
    const uintptr_t at = (uintptr_t)story.block;
    struct rig_expected *expected = rig_watch_expect(exec, RIG_STOP_RUN, at, 0, 0, 0);
    expected->loose = 14u;
    expected->allocated = true;
    exec->watched.made = true;
    exec->watched.odd = true;
    exec->watched.place = at;
    rig_call(exec, step, run_block);
    exec->watched.violated = step->outcome.raised &&
                             step->outcome.exception.ExceptionCode == STATUS_ACCESS_VIOLATION;
    if (!rig_judge(exec, step)) {
        return false;
    }
    (void)rig_call_aside(exec, heap_drop, exec);
    return true;
}

static void *intrude(void *context)
{
    (void)context;
    story.value = subject()->HeapSize(story.heap, 0, story.block);
    return NULL;
}

static void two_threads_body(void *context)
{
    (void)context;
    pthread_t thread;
    RIG_CHECK(pthread_create(&thread, NULL, intrude, NULL) == 0);
    RIG_CHECK(pthread_join(thread, NULL) == 0);
}

/* One after the other: a stop where a heap without a lock is to be one thread's. */
static bool two_threads(struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.marks || exec->watch.set.exceptions || !with_block(exec, HEAP_NO_SERIALIZE)) {
        return nothing(step);
    }
    if (exec->watch.set.nosync) {
        rig_watch_expect(exec, RIG_STOP_UNSYNCHRONIZED, (uintptr_t)story.heap, 0, 0, 0)->loose =
            1u << 1 | 1u << 2;
    }
    return tell_and_drop(exec, step, two_threads_body);
}

static NTSTATUS RIG_NTAPI violate(PVOID base, PVOID *address, PSIZE_T bytes)
{
    (void)base;
    (void)address;
    (void)bytes;
    if (story.count++ > 0) { /* where memory runs out before nobody asks, and nothing is told */
        rig_watch_expect(story.exec, RIG_STOP_UNEXPECTED, (uintptr_t)story.heap, 0, 0,
                         STATUS_ACCESS_VIOLATION)
            ->loose = 1u << 1;
        const ULONG_PTR where[2] = {EXCEPTION_READ_FAULT, 0x123};
        subject()->RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
    }
    return STATUS_SUCCESS;
}

static void routine_heap(void *context)
{
    (void)context;
    RTL_HEAP_PARAMETERS parameters = {.Length = sizeof(parameters),
                                      .InitialCommit = 2u * 0x1000u,
                                      .InitialReserve = BASE_BYTES,
                                      .CommitRoutine = violate};
    story.heap = subject()->RtlCreateHeap(0, story.base, BASE_BYTES, 2u * 0x1000u, NULL, &parameters);
}

static void routine_body(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value = subject()->HeapAlloc(story.heap, 0, 0x8000) != NULL;
}

static bool routine(struct rig_exec *exec, struct rig_step *step)
{
    if (!exec->watch.marks || exec->watch.set.full || has(exec, RIG_VERIFY_LOWRES)) {
        return nothing(step);
    }
    if (story.base == NULL) {
        story.base = rig_memory_reserve(BASE_BYTES);
        RIG_CHECK(rig_memory_open(story.base, BASE_BYTES));
    }
    story.count = 0;
    story.heap = NULL;
    memset(story.base, 0, BASE_BYTES);
    (void)rig_call_aside(exec, routine_heap, exec);
    if (story.heap == NULL) {
        return nothing(step);
    }
    return tell_and_drop(exec, step, routine_body);
}

/* ---- Listing, coalescing, rates --------------------------------------------------------------- */

static void listing_body(void *context)
{
    struct rig_exec *exec = context;
    HANDLE list[RIG_LIST_MAX];
    exec->step.outcome.value = subject()->GetProcessHeaps(RIG_LIST_MAX, list);
}

static bool listing(struct rig_exec *exec, struct rig_step *step)
{
    exec->watched.made = true;
    exec->watched.odd = true;
    exec->watched.turns = 0;
    if (!rig_process_heap(exec)) {
        return nothing(step);
    }
    for (unsigned idx = 0; idx < RIG_HEAP_COUNT; idx++) {
        exec->watched.turns += exec->shadow.heaps[idx].live;
    }
    rig_call(exec, step, listing_body);
    return rig_judge(exec, step);
}

/* Three blocks side by side: the first two are freed, and one of the size of both is asked for in a heap
 * that has no more. */
static void coalesce_body(void *context)
{
    struct rig_exec *exec = context;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    char *blocks[3];
    unsigned idle = 0;
    for (unsigned idx = 0; idx < 3; idx++) {
        blocks[idx] = subject()->HeapAlloc(story.heap, 0, 0x400);
    }
    (void)subject()->HeapFree(story.heap, 0, blocks[0]);
    (void)subject()->HeapFree(story.heap, 0, blocks[1]);
    while (subject()->HeapWalk(story.heap, &entry)) {
        idle += entry.wFlags == 0 && (char *)entry.lpData < blocks[2] && entry.cbData >= 0x3C0;
    }
    exec->watched.turns = idle;
}

static bool coalesce(struct rig_exec *exec, struct rig_step *step)
{
    if (exec->watch.marks || has(exec, RIG_VERIFY_LOWRES) ||
        (exec->watch.set.flags & RIG_VERIFY_HFC) != 0 || exec->subject->HeapWalk == NULL) {
        return nothing(step);
    }
    if (!with_heap(exec, HEAP_NO_SERIALIZE)) {
        return nothing(step);
    }
    return tell_and_drop(exec, step, coalesce_body);
}

static void rate_body(void *context)
{
    struct rig_exec *exec = context;
    unsigned refused = 0;
    for (unsigned turn = 0; turn < RATE_CALLS; turn++) {
        PVOID block = subject()->HeapAlloc(story.heap, 0, 16);
        refused += block == NULL;
        if (block != NULL) {
            (void)subject()->HeapFree(story.heap, 0, block);
        }
    }
    exec->watched.turns = refused;
    exec->step.outcome.value = RATE_CALLS;
}

/* Called by the program itself: some other module is included, or nothing is named. */
static bool rate(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_watch *watch = &exec->watch;
    if (!has(exec, RIG_VERIFY_LOWRES) || watch->set.included != 0 || exec->watch.rates++ >= 2u ||
        watch->set.full || (watch->set.flags & RIG_VERIFY_HVC) != 0 || !with_heap(exec, 0)) {
        return nothing(step);
    }
    exec->watched.spared = watch->ppm == 0 || watch->clock_ms < watch->quiet_until_ms;
    return tell_and_drop(exec, step, rate_body);
}

bool rig_story(struct rig_exec *exec, struct rig_step *step)
{
    story.exec = exec;
    switch (exec->watched.row) {
    case RIG_ROW_LOCK_FREED:
        return lock_freed(exec, step);
    case RIG_ROW_LOCK_UNLOADED:
        return lock_unloaded(exec, step);
    case RIG_ROW_LOCK_THREAD:
        return lock_thread(exec, step);
    case RIG_ROW_LOCK_MISUSE:
        return lock_misuse(exec, step);
    case RIG_ROW_EXECUTABLE:
        return executable_heap(exec, step);
    case RIG_ROW_RUN:
        return run(exec, step);
    case RIG_ROW_TWO_THREADS:
        return two_threads(exec, step);
    case RIG_ROW_ROUTINE:
        return routine(exec, step);
    case RIG_ROW_LISTING:
        return listing(exec, step);
    case RIG_ROW_COALESCE:
        return coalesce(exec, step);
    case RIG_ROW_RATE:
        return rate(exec, step);
    default:
        return nothing(step);
    }
}
