/* SPDX-License-Identifier: MIT
 *
 * The recording subject. It stands between the executor and the real subject,
 * in whichever thread a call is made; the executor's hooks say which calls are
 * an operation's own. */
#include "tape.h"

#include "run/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define AROUND_BYTES                                                                               \
    64u /* kept in front of and behind an address that is none of the subject's                    \
         */
#define ARRAY_MAX 64u
#define CALL_MAX ((size_t)1 << 18) /* address space; what is not used costs nothing */
#define STEP_MAX ((size_t)1 << 16)
#define BYTES_MAX ((size_t)1 << 26)
#define ASLEEP_FACTOR 10u /* a process that waits for ever uses no CPU time */
#define INFORMATION_MAX 64u

typedef NTSTATUS (*tape_routine)(PVOID heap, PVOID parameter);

static struct {
    const struct rig_subject *honest;
    struct rig_subject subject;
    struct rig_exec *exec;
    struct tape *tape;
    int scratch;    /* a file without a name: asks the system whether memory can be
                       read */
    bool main_next; /* the next guarded body is the operation's own */
    bool main_now;
    pthread_t first;
} recorder;

static _Thread_local unsigned depth;

static const struct tape_call_info infos[TAPE_WHAT_COUNT] = {
#define TAPE_CALL(arity, result, name, gives, takes, ...) {#name, takes, gives},
#define TAPE_CALL_VOID(arity, name, takes, ...) {#name, takes, 'v'},
#include "tape_call.def"
};

const struct tape_call_info *rig_tape_call_info(unsigned what)
{
    RIG_CHECK(what < TAPE_WHAT_COUNT);
    return &infos[what];
}

/* ---- Memory that may not be there
 * ----------------------------------------------------------- */

/* Past sanitizers: the system itself copies, and says no instead of faulting.
 */
static bool readable(uintptr_t address, size_t bytes)
{
    return syscall(SYS_pwrite64, recorder.scratch, address, bytes, 0L) == (long)bytes;
}

static bool writable(uintptr_t address, size_t bytes)
{
    return readable(address, bytes) &&
           syscall(SYS_pread64, recorder.scratch, address, bytes, 0L) == (long)bytes;
}

static size_t bytes_add(uintptr_t address, size_t bytes)
{
    struct tape *tape = recorder.tape;
    if (bytes > BYTES_MAX - tape->byte_count || !readable(address, bytes)) {
        return TAPE_NOWHERE;
    }
    RIG_CHECK(pread(recorder.scratch, tape->bytes + tape->byte_count, bytes, 0) == (ssize_t)bytes);
    tape->byte_count += bytes;
    return tape->byte_count - bytes;
}

/* ---- Calls
 * ----------------------------------------------------------------------------------
 */

static struct tape_call *call_add(unsigned what)
{
    struct tape *tape = recorder.tape;
    if (tape->call_count == CALL_MAX) {
        tape->full = true; /* the last one is written over: such a tape is not used */
        tape->call_count--;
    }
    struct tape_call *call = &tape->calls[tape->call_count++];
    *call = (struct tape_call){
        .what = (uint16_t)what,
        .main = recorder.main_now,
        .nested = depth > 0,
        .second = pthread_equal(pthread_self(), recorder.first) == 0,
    };
    return call;
}

/* How much a parameter points to. */
static size_t pointed_bytes(char takes, const uintptr_t *arguments, size_t idx)
{
    const size_t before = idx == 0 ? 0 : (size_t)arguments[idx - 1];
    switch (takes) {
    case 'A':
        return (before < ARRAY_MAX ? before : ARRAY_MAX) * sizeof(PVOID);
    case 'O':
    case 'L':
        return sizeof(PVOID);
    case 'o':
        return sizeof(ULONG);
    case 'W':
        return sizeof(RTL_HEAP_WALK_ENTRY);
    case 'w':
        return sizeof(PROCESS_HEAP_ENTRY);
    case 'Y':
        return sizeof(HEAP_SUMMARY);
    case 'K':
        return sizeof(CRITICAL_SECTION);
    case 'P':
        return sizeof(RTL_HEAP_PARAMETERS);
    case 'G':
        return (before < EXCEPTION_MAXIMUM_PARAMETERS ? before : EXCEPTION_MAXIMUM_PARAMETERS) *
               sizeof(ULONG_PTR);
    default:
        return 0;
    }
}

static size_t information_bytes(const struct tape_call_info *info, const uintptr_t *arguments,
                                size_t idx)
{
    const bool information = info->takes[idx] == 'I' || info->takes[idx] == 'i';
    const size_t bytes = information ? arguments[idx + 1] : 0;
    return bytes < INFORMATION_MAX ? bytes : INFORMATION_MAX;
}

static void data_before(struct tape_call *call, const struct tape_call_info *info)
{
    for (size_t idx = 0; info->takes[idx] != '\0'; idx++) {
        struct tape_data *data = &call->data[idx];
        const uintptr_t address = call->arguments[idx];
        const char takes = info->takes[idx];
        data->bytes = pointed_bytes(takes, call->arguments, idx) +
                      information_bytes(info, call->arguments, idx);
        data->before_at = TAPE_NOWHERE;
        data->after_at = TAPE_NOWHERE;
        if (address != 0 && data->bytes > 0) {
            data->before_at = bytes_add(address, data->bytes);
            data->writable = takes != 'G' && writable(address, data->bytes);
        } else if (takes == 'M' && address != 0) {
            data->writable = writable(address, 1);
        } else if (address != 0 && (takes == 'H' || takes == 'B' || takes == 'V')) {
            data->before_at = bytes_add(address - AROUND_BYTES, 2u * AROUND_BYTES);
        }
    }
}

static uint64_t reports_now(const char **reason)
{
    struct rig_report report = {.reason = NULL};
    const uint64_t count = recorder.honest->reports == NULL ? 0 : recorder.honest->reports(&report);
    *reason = report.reason;
    return count;
}

/* The call is over, whether it returned or raised. */
static void over(struct tape_call *call)
{
    call->reports = reports_now(&call->reason) - call->reports;
}

static size_t enter(unsigned what, const uintptr_t *arguments, size_t count)
{
    struct tape_call *call = call_add(what);
    memcpy(call->arguments, arguments, count * sizeof(*arguments));
    if (!call->nested) {
        data_before(call, rig_tape_call_info(what));
    }
    depth++;
    call->reports = reports_now(&call->reason);
    return recorder.tape->call_count - 1;
}

static void leave(size_t at, uintptr_t result)
{
    struct tape_call *call = &recorder.tape->calls[at];
    call->returned = true;
    call->result = result;
    depth--;
    over(call);
    for (size_t idx = 0; idx < TAPE_PARAMETERS_MAX; idx++) {
        struct tape_data *data = &call->data[idx];
        if (data->writable) {
            data->after_at = bytes_add(call->arguments[idx], data->bytes);
        }
    }
}

/* ---- The calls as the executor sees them
 * ---------------------------------------------------- */

#define WORD(value) (uintptr_t)(value)
#define PARAMETERS_0(a) void
#define PARAMETERS_1(a) a one
#define PARAMETERS_2(a, b) a one, b two
#define PARAMETERS_3(a, b, c) a one, b two, c three
#define PARAMETERS_4(a, b, c, d) a one, b two, c three, d four
#define PARAMETERS_5(a, b, c, d, e) a one, b two, c three, d four, e five
#define PARAMETERS_6(a, b, c, d, e, f) a one, b two, c three, d four, e five, f six
#define WORDS_0 0
#define WORDS_1 WORD(one)
#define WORDS_2 WORDS_1, WORD(two)
#define WORDS_3 WORDS_2, WORD(three)
#define WORDS_4 WORDS_3, WORD(four)
#define WORDS_5 WORDS_4, WORD(five)
#define WORDS_6 WORDS_5, WORD(six)
#define PASS_0
#define PASS_1 one
#define PASS_2 one, two
#define PASS_3 one, two, three
#define PASS_4 one, two, three, four
#define PASS_5 one, two, three, four, five
#define PASS_6 one, two, three, four, five, six

#define TAPE_CALL(arity, result_type, name, gives, takes, ...)                                     \
    static result_type RIG_NTAPI tape_##name(PARAMETERS_##arity(__VA_ARGS__))                      \
    {                                                                                              \
        const uintptr_t arguments[] = {WORDS_##arity};                                             \
        const size_t at = enter(TAPE_##name, arguments, arity);                                    \
        const result_type result = recorder.honest->name(PASS_##arity);                            \
        leave(at, WORD(result));                                                                   \
        return result;                                                                             \
    }
#define TAPE_CALL_VOID(arity, name, takes, ...)                                                    \
    static void RIG_NTAPI tape_##name(PARAMETERS_##arity(__VA_ARGS__))                             \
    {                                                                                              \
        const uintptr_t arguments[] = {WORDS_##arity};                                             \
        const size_t at = enter(TAPE_##name, arguments, arity);                                    \
        recorder.honest->name(PASS_##arity);                                                       \
        leave(at, 0);                                                                              \
    }
#include "tape_call.def"

/* ---- Services
 * -------------------------------------------------------------------------------
 */

/* A body that an exception leaves does not come back to leave its calls: the
 * last one that is not over is the one that raised. */
static void raised(size_t from, const EXCEPTION_RECORD *record)
{
    struct tape *tape = recorder.tape;
    for (size_t idx = tape->call_count; idx > from; idx--) {
        struct tape_call *call = &tape->calls[idx - 1];
        if (!call->returned && !call->raised && !call->nested) {
            call->raised = true;
            call->exception = *record;
            over(call);
            return;
        }
    }
}

static BOOLEAN tape_guard(void (*body)(void *context), void *context, EXCEPTION_RECORD *record)
{
    const unsigned depth_before = depth;
    const bool main_before = recorder.main_now;
    const size_t from = recorder.tape->call_count;
    recorder.main_now = recorder.main_next || recorder.main_now;
    recorder.main_next = false;
    const BOOLEAN returned = recorder.honest->guard(body, context, record);
    recorder.main_now = main_before;
    depth = depth_before;
    if (!returned) {
        raised(from, record);
    }
    return returned;
}

static BOOLEAN tape_guard_filter(void (*body)(void *context), void *context, rig_filter filter,
                                 void *filter_context, EXCEPTION_RECORD *record)
{
    const unsigned depth_before = depth;
    const size_t from = recorder.tape->call_count;
    recorder.main_now = true; /* only operations have filters */
    recorder.main_next = false;
    const BOOLEAN returned =
        recorder.honest->guard_filter(body, context, filter, filter_context, record);
    recorder.main_now = false;
    depth = depth_before;
    if (!returned) {
        raised(from, record);
    }
    return returned;
}

static void service_add(unsigned what, const uintptr_t *arguments, size_t count)
{
    struct tape_call *call = call_add(what);
    memcpy(call->arguments, arguments, count * sizeof(*arguments));
    call->returned = true;
}

static void tape_poke(PVOID address, uint8_t value)
{
    const bool there = readable((uintptr_t)address, 1); /* else poking faults, and is to */
    const uint8_t old = there ? recorder.honest->peek(address) : 0;
    const uintptr_t arguments[] = {WORD(address), (uintptr_t)(old ^ value), there};
    service_add(TAPE_POKE, arguments, 3);
    recorder.honest->poke(address, value);
}

static BOOLEAN tape_sealed_put(HANDLE heap, PVOID address, uint64_t value)
{
    uint64_t old = 0;
    (void)recorder.honest->sealed_get(heap, address, &old);
    const uint64_t bits = old ^ value;
    const uintptr_t arguments[] = {WORD(heap), WORD(address), (uintptr_t)(bits & 0xFFFFFFu),
                                   (uintptr_t)(bits >> 24 & 0xFFFFFFu)};
    service_add(TAPE_SEALED, arguments, 4);
    return recorder.honest->sealed_put(heap, address, value);
}

static void tape_budget(size_t pages)
{
    service_add(TAPE_BUDGET, &(const uintptr_t){pages}, 1);
    recorder.honest->budget(pages);
}

static void tape_plan(const struct fault_plan *plan)
{
    const struct fault_plan none = {.kind = FAULT_PLAN_NONE};
    const struct fault_plan *made = plan != NULL ? plan : &none;
    const uintptr_t arguments[] = {made->kind, made->calls, made->count, made->n};
    service_add(TAPE_PLAN, arguments, 4);
    recorder.honest->plan(plan);
}

static void tape_interrupt(DWORD code)
{
    service_add(TAPE_INTERRUPT, &(const uintptr_t){code}, 1);
    recorder.honest->interrupt(code);
}

static struct rig_holdings tape_holdings(void)
{
    const struct rig_holdings held = recorder.honest->holdings();
    const uintptr_t arguments[] = {held.reserved_bytes, held.committed_bytes,
                                   held.reservation_count};
    service_add(TAPE_HOLDINGS, arguments, 3);
    return held;
}

/* What the subject does not have stays left out. */
static void subject_make(const struct rig_subject *honest)
{
    struct rig_subject *subject = &recorder.subject;
    recorder.honest = honest;
    *subject = *honest;
    subject->guard = tape_guard;
    subject->guard_filter = honest->guard_filter == NULL ? NULL : tape_guard_filter;
    subject->poke = honest->poke == NULL || honest->peek == NULL ? NULL : tape_poke;
    subject->sealed_put = honest->sealed_put == NULL ? NULL : tape_sealed_put;
    subject->budget = honest->budget == NULL ? NULL : tape_budget;
    subject->plan = honest->plan == NULL ? NULL : tape_plan;
    subject->interrupt = honest->interrupt == NULL ? NULL : tape_interrupt;
    subject->holdings = honest->holdings == NULL ? NULL : tape_holdings;
#define TAPE_CALL(arity, result, name, gives, takes, ...)                                          \
    subject->name = honest->name == NULL ? NULL : tape_##name;
#define TAPE_CALL_VOID(arity, name, takes, ...)                                                    \
    subject->name = honest->name == NULL ? NULL : tape_##name;
#include "tape_call.def"
}

/* ---- Steps
 * ----------------------------------------------------------------------------------
 */

static struct tape_step step_of(const struct rig_step *step)
{
    return (struct tape_step){
        .idx = step->idx,
        .phase = step->phase,
        .op = step->op,
        .call = step->call,
        .context = step->context,
        .second = step->second,
        .held = step->heap != NULL && step->heap_before.lock_depth > 0,
        .name = step->name,
        .heap = step->heap == NULL ? RIG_HEAP_COUNT : step->heap->idx,
        .from = recorder.tape->step_from,
        .outcome = step->outcome,
        .sight = step->sight,
        .stamp = step->block == NULL ? 0 : step->block_before.stamp,
        .list_stop = step->list_stop,
        .list_status = step->list_status,
    };
}

static void before(void *context, const struct rig_step *step)
{
    (void)context;
    recorder.main_next = true;
    recorder.tape->now = step_of(step);
}

/* The model writes to a new block right after the watcher. */
static void fills_add(const struct rig_step *step, const struct rig_shadow *shadow)
{
    const uintptr_t stamp = shadow->stamp_next;
    const uintptr_t one[] = {step->outcome.value, step->size_bytes, stamp};
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
        if (step->outcome.value != 0) {
            service_add(TAPE_FILL, one, 3);
        }
        break;
    case RIG_OP_WRITE: {
        const uintptr_t again[] = {step->block->address, step->block->size_bytes, stamp};
        service_add(TAPE_FILL, again, 3);
        break;
    }
    case RIG_OP_MULTI_ALLOC:
        for (ULONG idx = 0; idx < step->many_count && step->many_after[idx] != NULL &&
                            step->many_after[idx] != step->many_before[idx];
             idx++) {
            const uintptr_t each[] = {WORD(step->many_after[idx]), step->size_bytes, stamp + idx};
            service_add(TAPE_FILL, each, 3);
        }
        break;
    default:
        break;
    }
}

/* A look of the rig's own, at all that there is or at what is free in the end.
 */
static bool looks(const struct tape_step *step, unsigned what)
{
    if (step->phase != RIG_PHASE_END) {
        return step->phase == RIG_PHASE_CHECK;
    }
    return step->op == RIG_OP_WALK || step->op == RIG_OP_CHECK || step->op == RIG_OP_SUMMARY ||
           (step->op == RIG_OP_COMPACT && what != TAPE_HeapCompact && what != TAPE_HeapAlloc &&
            what != TAPE_HeapFree);
}

/* Calls that count wherever they are made. A look's own lock counts on top of
 * the program's. */
static bool changes(const struct tape_step *step, const struct tape_call *call)
{
    const bool locks = call->what == TAPE_HeapLock || call->what == TAPE_HeapUnlock;
    const bool frees = call->what == TAPE_HeapFree || call->what == TAPE_RtlFreeHeap;
    return call->what == TAPE_POKE || call->what == TAPE_SEALED || (locks && step->held) ||
           (step->phase == RIG_PHASE_PROGRAM &&
            (locks || (step->op == RIG_OP_MISUSE && frees) || call->what == TAPE_INTERRUPT ||
             call->what == TAPE_BUDGET || call->what == TAPE_PLAN || call->what == TAPE_FILL ||
             call->what == TAPE_GetProcessHeap));
}

/* The looks beside an operation change nothing, and are kept for the finding
 * alone. */
static void looks_drop(struct tape *tape, const struct tape_step *step)
{
    size_t kept = step->from;
    for (size_t idx = step->from; idx < tape->call_count; idx++) {
        const struct tape_call *call = &tape->calls[idx];
        const bool own = call->main && !looks(step, call->what);
        if (!call->nested && (own || changes(step, call))) {
            tape->calls[kept++] = *call;
        }
    }
    tape->call_count = kept;
}

static void watch(void *context, const struct rig_step *step, const struct rig_judge *judge)
{
    struct tape *tape = recorder.tape;
    (void)context;
    recorder.main_next = false;
    if (tape->step_count == STEP_MAX) {
        tape->full = true;
        return;
    }
    struct tape_step *made = &tape->steps[tape->step_count++];
    *made = step_of(step);
    made->last = judge->broken_count > 0;
    tape->refusals += step->outcome.refusals;
    tape->reports += step->outcome.reports;
    if (made->last) {
        tape->end = TAPE_FINDING;
        tape->broken_count = judge->broken_count;
        memcpy(tape->broken, judge->broken, sizeof(tape->broken));
    } else if (!step->nothing) {
        fills_add(step, judge->shadow);
        looks_drop(tape, made);
    }
    made->to = tape->call_count;
    tape->step_from = tape->call_count;
}

/* ---- Recording
 * ------------------------------------------------------------------------------
 */

static _Noreturn void child(const struct rig_cli_how *how, const struct rig_program *program)
{
    const struct itimerval budget = {.it_value = {.tv_sec = (time_t)how->timeout_s}};
    const struct rlimit none = {0, 0};
    const struct rig_options options = {
        .subject = &recorder.subject,
        .check_every = (unsigned)how->check_every,
        .judge = true,
        .watch = watch,
        .before = before,
    };
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)setitimer(ITIMER_PROF, &budget, NULL);
    (void)alarm((unsigned)(how->timeout_s * ASLEEP_FACTOR));
    subject_make(how->subject);
    recorder.exec = rig_exec_create(&options);
    recorder.scratch = memfd_create("scratch", MFD_CLOEXEC);
    recorder.first = pthread_self();
    RIG_CHECK(recorder.exec != NULL);
    RIG_CHECK(recorder.scratch >= 0);
    recorder.subject.reset(program->seed); /* from here on it knows where its memory is */
    if (how->subject->offset != NULL) {
        recorder.tape->low = (uintptr_t)0 - how->subject->offset(NULL);
    }
    const struct rig_verdict verdict = rig_exec_run(recorder.exec, program);
    recorder.tape->end = verdict.found ? TAPE_FINDING : TAPE_HELD;
    _exit(0);
}

static void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* The step that the process did not survive. */
static void died(struct tape *tape)
{
    struct tape_step *made = &tape->steps[tape->step_count++];
    *made = tape->now;
    made->from = tape->step_from;
    made->to = tape->call_count;
    made->last = true;
    tape->end = TAPE_DIED;
}

struct tape *rig_tape_record(const struct rig_cli_how *how, const struct rig_program *program)
{
    int status = 0;
    struct tape *tape = shared(sizeof(*tape));
    if (tape == NULL) {
        return NULL;
    }
    tape->calls = shared(CALL_MAX * sizeof(*tape->calls));
    tape->steps = shared((STEP_MAX + 1) * sizeof(*tape->steps));
    tape->bytes = shared(BYTES_MAX);
    tape->end = TAPE_DIED;
    recorder.tape = tape;
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        child(how, program);
    }
    if (pid < 0 || tape->calls == NULL || tape->steps == NULL || tape->bytes == NULL ||
        waitpid(pid, &status, 0) != pid) {
        return NULL;
    }
    if (tape->end == TAPE_DIED) {
        died(tape);
    }
    tape->call_count = tape->end == TAPE_DIED ? tape->call_count : tape->step_from;
    return tape;
}

void rig_tape_free(struct tape *tape)
{
    (void)munmap(tape->calls, CALL_MAX * sizeof(*tape->calls));
    (void)munmap(tape->steps, (STEP_MAX + 1) * sizeof(*tape->steps));
    (void)munmap(tape->bytes, BYTES_MAX);
    (void)munmap(tape, sizeof(*tape));
}
