/* SPDX-License-Identifier: MIT
 *
 * See rig.h. The arena is made once and lives as long as the process. */
#include "rig.h"

#include "leave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RIG_ARENA_BYTES NTH_WORDS(0x10000000, 0x8000000)
#define RIG_COMMIT_BYTES ((size_t)0x6000000)

static struct {
    struct nth_arena *arena;
    struct nth_pages pages;       /* what core sees */
    const struct nth_pages *real; /* what stands behind it */
    BOOLEAN refuse;
    const char *refused_prefix; /* NULL: every site */
    void (*on_commit)(void);
    unsigned page_calls;
    unsigned executable_count;
    struct nth_report report;
    unsigned report_count;
    PVOID no_access;
    pid_t pid; /* of the process that runs the tests */
} rig;

/* ---- page source ---- */

static BOOLEAN refused(const struct nth_site *site)
{
    return rig.refuse && (rig.refused_prefix == NULL ||
                          strncmp(site->name, rig.refused_prefix, strlen(rig.refused_prefix)) == 0);
}

/* What is out: bytes of the reservation that begins at a granule, and which pages are committed.
 * Core never commits a page twice, nor takes back what it has not, whatever a page source would put
 * up with. */
static struct {
    size_t reserved_bytes[RIG_ARENA_BYTES / NTH_GRANULE_BYTES];
    uint8_t committed[RIG_ARENA_BYTES / NTH_PAGE_BYTES];
} out;

static size_t place_of(const void *base)
{
    return (size_t)((uintptr_t)base - rig.pages.low);
}

static void demand(BOOLEAN holds, const struct nth_site *site, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "rig: %s: %s\n", site->name, what);
        abort();
    }
}

/* All pages of it are committed, or none, and now are the other. */
static void turn_pages(const struct nth_site *site, const void *base, size_t bytes, BOOLEAN from)
{
    const size_t first = place_of(base);
    demand(first % NTH_PAGE_BYTES == 0 && bytes % NTH_PAGE_BYTES == 0 && bytes > 0, site,
           "no whole pages");
    demand(first < RIG_ARENA_BYTES && bytes <= RIG_ARENA_BYTES - first, site, "no such pages");
    for (size_t page = first / NTH_PAGE_BYTES; page < (first + bytes) / NTH_PAGE_BYTES; page++) {
        demand(out.committed[page] == from, site,
               from ? "pages that are not committed" : "pages that are committed");
        out.committed[page] = !from;
    }
}

static enum nth_seam_status reserve(void *self, const struct nth_site *site, size_t bytes,
                                    void **base)
{
    (void)self;
    rig.page_calls++;
    if (refused(site) || rig.real->reserve(rig.real->self, site, bytes, base) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    out.reserved_bytes[place_of(*base) / NTH_GRANULE_BYTES] = bytes;
    return NTH_SEAM_OK;
}

static enum nth_seam_status commit(void *self, const struct nth_site *site, void *base,
                                   size_t bytes, BOOLEAN executable)
{
    (void)self;
    rig.page_calls++;
    rig.executable_count += executable != FALSE;
    if (rig.on_commit != NULL) {
        rig.on_commit();
    }
    if (refused(site) ||
        rig.real->commit(rig.real->self, site, base, bytes, executable) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    turn_pages(site, base, bytes, FALSE);
    return NTH_SEAM_OK;
}

static enum nth_seam_status decommit(void *self, const struct nth_site *site, void *base,
                                     size_t bytes)
{
    (void)self;
    rig.page_calls++;
    turn_pages(site, base, bytes, TRUE);
    return rig.real->decommit(rig.real->self, site, base, bytes);
}

static enum nth_seam_status release(void *self, const struct nth_site *site, void *base,
                                    size_t bytes)
{
    (void)self;
    const size_t first = place_of(base);
    rig.page_calls++;
    demand(first < RIG_ARENA_BYTES && first % NTH_GRANULE_BYTES == 0 && bytes > 0 &&
               out.reserved_bytes[first / NTH_GRANULE_BYTES] == bytes,
           site, "no whole reservation");
    out.reserved_bytes[first / NTH_GRANULE_BYTES] = 0;
    memset(out.committed + first / NTH_PAGE_BYTES, 0, bytes / NTH_PAGE_BYTES);
    return rig.real->release(rig.real->self, site, base, bytes);
}

static enum nth_seam_status protect(void *self, const struct nth_site *site, void *base,
                                    size_t bytes, BOOLEAN writable)
{
    (void)self;
    rig.page_calls++;
    return refused(site) ? NTH_SEAM_REFUSED
                         : rig.real->protect(rig.real->self, site, base, bytes, writable);
}

void rig_pages_refuse(BOOLEAN refuse)
{
    rig.refuse = refuse;
}

void rig_pages_refuse_only(const char *prefix)
{
    rig.refused_prefix = prefix;
}

void rig_pages_on_commit(void (*hook)(void))
{
    rig.on_commit = hook;
}

unsigned rig_pages_calls(void)
{
    return rig.page_calls;
}

unsigned rig_pages_executable(void)
{
    return rig.executable_count;
}

/* ---- locks ---- */

#define LOCK_MAX 2048u

/* The system's locks, with who holds them: 0 nobody. Core releases what the thread holds and
 * destroys what nobody does, and all that it made is destroyed in the end. */
struct lock {
    uintptr_t taken; /* atomic, as `owner` is: threads */
    uintptr_t owner;
    void *real;
};

static struct lock locks[LOCK_MAX];

static uintptr_t self(void)
{
    static _Thread_local char mine;
    return (uintptr_t)&mine;
}

static void demand_lock(BOOLEAN holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "rig: %s\n", what);
        abort();
    }
}

static enum nth_seam_status lock_create(void *context, void **lock)
{
    (void)context;
    for (struct lock *one = locks; one < locks + LOCK_MAX; one++) {
        if (__atomic_exchange_n(&one->taken, 1, __ATOMIC_ACQ_REL) == 0) {
            *lock = one;
            return nth_locks_os()->create(NULL, &one->real);
        }
    }
    return NTH_SEAM_REFUSED;
}

static void lock_destroy(void *context, void *lock)
{
    struct lock *one = lock;
    (void)context;
    demand_lock(__atomic_load_n(&one->taken, __ATOMIC_ACQUIRE) == 1, "no lock is destroyed");
    demand_lock(__atomic_load_n(&one->owner, __ATOMIC_RELAXED) == 0, "a lock is destroyed held");
    nth_locks_os()->destroy(NULL, one->real);
    __atomic_store_n(&one->taken, 0, __ATOMIC_RELEASE);
}

static void lock_acquire(void *context, void *lock)
{
    struct lock *one = lock;
    (void)context;
    demand_lock(__atomic_load_n(&one->owner, __ATOMIC_RELAXED) != self(), "a lock is taken twice");
    nth_locks_os()->acquire(NULL, one->real);
    __atomic_store_n(&one->owner, self(), __ATOMIC_RELAXED);
}

static BOOLEAN lock_try(void *context, void *lock)
{
    struct lock *one = lock;
    (void)context;
    if (!nth_locks_os()->try_acquire(NULL, one->real)) {
        return FALSE;
    }
    __atomic_store_n(&one->owner, self(), __ATOMIC_RELAXED);
    return TRUE;
}

static void lock_release(void *context, void *lock)
{
    struct lock *one = lock;
    (void)context;
    demand_lock(__atomic_load_n(&one->owner, __ATOMIC_RELAXED) == self(),
                "a lock is released that is not held");
    __atomic_store_n(&one->owner, 0, __ATOMIC_RELAXED);
    nth_locks_os()->release(NULL, one->real);
}

static void lock_pause(void *context)
{
    (void)context;
    nth_locks_os()->pause(NULL);
}

static const struct nth_locks strict_locks = {
    .create = lock_create,
    .destroy = lock_destroy,
    .acquire = lock_acquire,
    .try_acquire = lock_try,
    .release = lock_release,
    .pause = lock_pause,
};

BOOLEAN rig_written(void *place, uint8_t value)
{
    BOOLEAN done = FALSE;
    NT_TRY
    {
        *(volatile uint8_t *)place = value;
        done = TRUE;
    }
    NT_EXCEPT(nth_filter_all, NULL)
    {
        done = FALSE;
    }
    NT_END_TRY
    return done;
}

/* ---- reports ---- */

static void remember(void *context, const struct nth_report *report)
{
    (void)context;
    rig.report = *report;
    rig.report_count++;
}

unsigned rig_report_count(void)
{
    return rig.report_count;
}

const struct nth_report *rig_report_last(void)
{
    return &rig.report;
}

void rig_report_forget(void)
{
    rig.report_count = 0;
    memset(&rig.report, 0, sizeof(rig.report));
}

void rig_report_demand(enum nth_reason reason, HANDLE heap, LPCVOID block)
{
    assert_int_equal(rig.report_count, 1);
    assert_string_equal(nth_reason_name(rig.report.reason), nth_reason_name(reason));
    assert_ptr_equal(rig.report.heap, heap);
    assert_ptr_equal(rig.report.block, block);
    assert_non_null(rig.report.call);
    rig_report_forget();
}

void rig_report_demand_field(enum nth_reason reason, HANDLE heap, LPCVOID block, const char *field)
{
    const char *seen = rig.report.field;
    assert_string_equal(seen == NULL ? "no field" : seen, field == NULL ? "no field" : field);
    rig_report_demand(reason, heap, block);
}

/* ---- setup ---- */

static void prepare(void)
{
    rig.pid = getpid();
    rig.arena = nth_arena_create(RIG_ARENA_BYTES, RIG_COMMIT_BYTES);
    assert_non_null(rig.arena);
    rig.real = nth_arena_pages(rig.arena);
    rig.pages = *rig.real;
    rig.pages.self = &rig;
    rig.pages.reserve = reserve;
    rig.pages.commit = commit;
    rig.pages.decommit = decommit;
    rig.pages.release = release;
    rig.pages.protect = protect;
    rig.pages.remap = NULL;
    rig.no_access = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(rig.no_access != MAP_FAILED);
}

struct nth_seam rig_seam(void)
{
    struct nth_seam seam = {.pages = &rig.pages,
                            .locks = &strict_locks,
                            .report = remember,
                            .seeded = TRUE,
                            .seed = 0x1234567890ABCDEFu};
    return seam;
}

int rig_setup(void **state)
{
    (void)state;
    if (rig.arena == NULL) {
        prepare();
    }
    rig.refuse = FALSE;
    rig.refused_prefix = NULL;
    rig.on_commit = NULL;
    struct nth_seam seam = rig_seam();
    nth_seam_set(&seam);
    nth_arena_reset(rig.arena);
    memset(&out, 0, sizeof(out));
    rig_report_forget();
    return 0;
}

int rig_teardown(void **state)
{
    (void)state;
    if (getpid() != rig.pid) {
        _exit(1); /* an assertion failed in a child of the test */
    }
    rig.refuse = FALSE;
    rig.on_commit = NULL;
    nth_process_reset();
    const struct nth_balance counted = nth_balance_now();
    const struct nth_balance real = nth_arena_balance(rig.arena);
    return counted.reserved_bytes + real.reserved_bytes == 0 &&
                   counted.committed_bytes + real.committed_bytes == 0 &&
                   counted.reservation_count + real.reservation_count == 0
               ? 0
               : -1;
}

/* ---- heaps ---- */

HANDLE rig_heap_new(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    assert_non_null(heap);
    return heap;
}

PVOID rig_block_new(HANDLE heap, SIZE_T bytes)
{
    PVOID block = HeapAlloc(heap, 0, bytes);
    assert_non_null(block);
    return block;
}

/* ---- calls ---- */

struct run {
    const struct rig_args *args;
    uintptr_t value;
};

static uintptr_t run_block_call(const struct rig_args *a)
{
    switch (a->call) {
    case RIG_RTL_ALLOCATE:
        return (uintptr_t)RtlAllocateHeap(a->heap, a->flags, a->size);
    case RIG_HEAP_ALLOC:
        return (uintptr_t)HeapAlloc(a->heap, a->flags, a->size);
    case RIG_RTL_REALLOCATE:
        return (uintptr_t)RtlReAllocateHeap(a->heap, a->flags, a->block, a->size);
    case RIG_HEAP_REALLOC:
        return (uintptr_t)HeapReAlloc(a->heap, a->flags, a->block, a->size);
    case RIG_RTL_FREE:
        return RtlFreeHeap(a->heap, a->flags, a->block);
    case RIG_HEAP_FREE:
        return (uintptr_t)HeapFree(a->heap, a->flags, a->block);
    case RIG_RTL_SIZE:
        return RtlSizeHeap(a->heap, a->flags, a->block);
    case RIG_HEAP_SIZE:
        return HeapSize(a->heap, a->flags, a->block);
    case RIG_RTL_VALIDATE:
        return RtlValidateHeap(a->heap, a->flags, a->block);
    case RIG_HEAP_VALIDATE:
        return (uintptr_t)HeapValidate(a->heap, a->flags, a->block);
    case RIG_SET_USER_VALUE:
        return RtlSetUserValueHeap(a->heap, a->flags, a->block, a->extra);
    case RIG_GET_USER_INFO:
        return RtlGetUserInfoHeap(a->heap, a->flags, a->block, a->extra, a->extra2);
    case RIG_SET_USER_FLAGS:
        return RtlSetUserFlagsHeap(a->heap, a->flags, a->block, a->reset, a->set);
    case RIG_DISOWN:
        return RtlDisownModuleHeapAllocation(a->heap, a->block);
    default:
        abort();
    }
}

static uintptr_t run_heap_call(const struct rig_args *a)
{
    HEAP_INFORMATION_CLASS class_id = (HEAP_INFORMATION_CLASS)a->class_id;
    switch (a->call) {
    case RIG_RTL_LOCK:
        return RtlLockHeap(a->heap);
    case RIG_HEAP_LOCK:
        return (uintptr_t)HeapLock(a->heap);
    case RIG_RTL_UNLOCK:
        return RtlUnlockHeap(a->heap);
    case RIG_HEAP_UNLOCK:
        return (uintptr_t)HeapUnlock(a->heap);
    case RIG_RTL_WALK:
        return RtlWalkHeap(a->heap, a->extra);
    case RIG_HEAP_WALK:
        return (uintptr_t)HeapWalk(a->heap, a->extra);
    case RIG_RTL_COMPACT:
        return RtlCompactHeap(a->heap, a->flags);
    case RIG_HEAP_COMPACT:
        return HeapCompact(a->heap, a->flags);
    case RIG_HEAP_SUMMARY:
        return (uintptr_t)HeapSummary(a->heap, a->flags, a->extra);
    case RIG_RTL_ZERO:
        return RtlZeroHeap(a->heap, a->flags);
    case RIG_RTL_QUERY:
        return RtlQueryHeapInformation(a->heap, class_id, a->extra, a->size, a->extra2);
    case RIG_HEAP_QUERY:
        return (uintptr_t)HeapQueryInformation(a->heap, class_id, a->extra, a->size, a->extra2);
    case RIG_RTL_SET:
        return RtlSetHeapInformation(a->heap, class_id, a->extra, a->size);
    case RIG_HEAP_SET:
        return (uintptr_t)HeapSetInformation(a->heap, class_id, a->extra, a->size);
    case RIG_MULTIPLE_ALLOCATE:
        return RtlMultipleAllocateHeap(a->heap, a->flags, a->size, a->set, a->extra);
    case RIG_MULTIPLE_FREE:
        return RtlMultipleFreeHeap(a->heap, a->flags, a->set, a->extra);
    case RIG_RTL_DESTROY:
        return (uintptr_t)RtlDestroyHeap(a->heap);
    case RIG_HEAP_DESTROY:
        return (uintptr_t)HeapDestroy(a->heap);
    default:
        return run_block_call(a);
    }
}

static void run_body(void *context)
{
    struct run *run = context;
    run->value = run_heap_call(run->args);
}

struct rig_outcome rig_run(const struct rig_args *args)
{
    struct rig_outcome outcome;
    struct run run = {.args = args};
    memset(&outcome, 0, sizeof(outcome));
    rig_report_forget();
    SetLastError(RIG_LAST_ERROR);
    nth_seh_install(); /* cmocka puts its own handlers around every test */
    outcome.raised = nth_guard(run_body, &run, &outcome.record) ? FALSE : TRUE;
    outcome.value = run.value;
    outcome.last_error = GetLastError();
    outcome.reports = rig_report_count();
    return outcome;
}

struct rig_outcome rig_alloc(HANDLE heap, ULONG flags, SIZE_T size)
{
    struct rig_args args = {.call = RIG_HEAP_ALLOC, .heap = heap, .flags = flags, .size = size};
    return rig_run(&args);
}

struct rig_outcome rig_realloc(HANDLE heap, ULONG flags, PVOID block, SIZE_T size)
{
    struct rig_args args = {
        .call = RIG_HEAP_REALLOC, .heap = heap, .flags = flags, .block = block, .size = size};
    return rig_run(&args);
}

struct rig_outcome rig_free(HANDLE heap, PVOID block)
{
    struct rig_args args = {.call = RIG_HEAP_FREE, .heap = heap, .block = block};
    return rig_run(&args);
}

void rig_demand_value(const struct rig_outcome *outcome, uintptr_t value)
{
    rig_demand_error(outcome, value, RIG_LAST_ERROR);
}

void rig_demand_error(const struct rig_outcome *outcome, uintptr_t value, DWORD last_error)
{
    assert_false(outcome->raised);
    assert_int_equal(outcome->value, value);
    assert_int_equal(outcome->last_error, last_error);
}

void rig_demand_raised(const struct rig_outcome *outcome, NTSTATUS code, uintptr_t information)
{
    BOOLEAN violation = code == STATUS_ACCESS_VIOLATION;
    assert_true(outcome->raised);
    assert_int_equal(outcome->record.ExceptionCode, code);
    assert_int_equal(outcome->record.ExceptionFlags, 0);
    assert_null(outcome->record.ExceptionRecord);
    assert_int_equal(outcome->record.NumberParameters, violation ? 2 : 1);
    if (violation) {
        assert_int_equal(outcome->record.ExceptionInformation[0], EXCEPTION_READ_FAULT);
    }
    assert_int_equal(outcome->record.ExceptionInformation[violation ? 1 : 0], information);
    assert_int_equal(outcome->last_error, RIG_LAST_ERROR);
}

/* ---- a child ---- */

static int child_pipe[2];

static void child_terminate(void *context, NTSTATUS status)
{
    (void)context;
    leave(write(child_pipe[1], &status, sizeof(status)) == (ssize_t)sizeof(status) ? 0 : 1);
}

static void child_run(void (*body)(void *context), void *context)
{
    struct nth_seam seam = rig_seam();
    NTSTATUS none = 0;
    seam.terminate = child_terminate;
    nth_seam_set(&seam);
    nth_arena_reset(rig.arena);
    body(context);
    leave(write(child_pipe[1], &none, sizeof(none)) == (ssize_t)sizeof(none) ? 0 : 1);
}

NTSTATUS rig_child_status(void (*body)(void *context), void *context)
{
    NTSTATUS status = 1;
    int how = 0;
    assert_int_equal(pipe(child_pipe), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_run(body, context);
    }
    (void)close(child_pipe[1]);
    if (read(child_pipe[0], &status, sizeof(status)) != (ssize_t)sizeof(status)) {
        status = 1;
    }
    (void)close(child_pipe[0]);
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFEXITED(how) && WEXITSTATUS(how) == 0 ? status : 1;
}

/* ---- elements of a heap ---- */

BOOLEAN rig_element(HANDLE heap, WORD flags, unsigned skip, PROCESS_HEAP_ENTRY *entry)
{
    memset(entry, 0, sizeof(*entry));
    while (HeapWalk(heap, entry)) {
        if (entry->wFlags == flags && skip-- == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

struct wanted_field {
    enum nth_field_kind kind;
    const char *name; /* NULL: the kind decides */
    LPCVOID block;
    struct nth_field found;
};

static BOOLEAN field_wanted(void *context, const struct nth_field *field)
{
    struct wanted_field *wanted = context;
    const BOOLEAN fits =
        wanted->name != NULL ? strcmp(field->name, wanted->name) == 0 : field->kind == wanted->kind;
    if (!fits || (wanted->block != NULL && field->block != wanted->block)) {
        return TRUE;
    }
    wanted->found = *field;
    return FALSE;
}

struct nth_field rig_field(HANDLE heap, enum nth_field_kind kind, LPCVOID block)
{
    struct wanted_field wanted = {.kind = kind, .block = block};
    assert_true(nth_fields(heap, field_wanted, &wanted) > 0);
    assert_non_null(wanted.found.address);
    return wanted.found;
}

BOOLEAN rig_field_keep(void *list, const struct nth_field *field)
{
    struct rig_field_list *kept = list;
    assert_in_range(kept->count, 0, kept->room - 1);
    kept->fields[kept->count++] = *field;
    return TRUE;
}

struct nth_field rig_field_named(HANDLE heap, const char *name, LPCVOID block)
{
    struct wanted_field wanted = {.name = name, .block = block};
    assert_true(nth_fields(heap, field_wanted, &wanted) > 0);
    assert_non_null(wanted.found.address);
    return wanted.found;
}

void rig_flip(PVOID address)
{
    nth_poke(address, nth_peek(address) ^ 1u);
}

/* ---- bad arguments ---- */

PVOID rig_foreign(unsigned idx)
{
    static uint8_t in_static[64];
    uint8_t on_stack[64];
    uintptr_t stack = ((uintptr_t)on_stack + 31) & ~(uintptr_t)31;
    uintptr_t statics = ((uintptr_t)in_static + 31) & ~(uintptr_t)31;
    uintptr_t no_access = (uintptr_t)rig.no_access;
    const uintptr_t addresses[RIG_FOREIGN_COUNT] = {1,
                                                    8,
                                                    16,
                                                    0x1000,
                                                    0x10000,
                                                    stack,
                                                    statics,
                                                    statics + 3,
                                                    no_access,
                                                    no_access + 16,
                                                    (uintptr_t)1 << (sizeof(uintptr_t) * 8 - 1),
                                                    (uintptr_t)0xDEADBEEFDEADBEE0u,
                                                    UINTPTR_MAX,
                                                    UINTPTR_MAX - 15};
    assert_true(idx < RIG_FOREIGN_COUNT);
    return (PVOID)addresses[idx];
}
