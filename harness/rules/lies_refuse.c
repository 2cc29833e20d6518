/* SPDX-License-Identifier: MIT
 *
 * Lies: calls fail that did not, or in another form. The true heap is not
 * asked, save for destroying. */
#include "facts.h"
#include "lies_blocks.h"

/* Every call about blocks: PREFIX(spelling, result, arguments, answer). The answer is that of the
 * same call in the lie told. */
#define REFUSALS(REFUSAL)                                                                          \
    REFUSAL(PVOID, RtlAllocateHeap, (PVOID heap, ULONG flags, SIZE_T bytes),                       \
            ((void)heap, (void)flags, (void)bytes), NULL)                                          \
    REFUSAL(LPVOID, HeapAlloc, (HANDLE heap, DWORD flags, SIZE_T bytes),                           \
            ((void)heap, (void)flags, (void)bytes), NULL)                                          \
    REFUSAL(PVOID, RtlReAllocateHeap, (PVOID heap, ULONG flags, PVOID block, SIZE_T bytes),        \
            ((void)heap, (void)flags, (void)block, (void)bytes), NULL)                             \
    REFUSAL(LPVOID, HeapReAlloc, (HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes),           \
            ((void)heap, (void)flags, (void)block, (void)bytes), NULL)                             \
    REFUSAL(LOGICAL, RtlFreeHeap, (PVOID heap, ULONG flags, PVOID block),                          \
            ((void)heap, (void)flags, (void)block), 0)                                             \
    REFUSAL(BOOL, HeapFree, (HANDLE heap, DWORD flags, LPVOID block),                              \
            ((void)heap, (void)flags, (void)block), FALSE)                                         \
    REFUSAL(SIZE_T, RtlSizeHeap, (PVOID heap, ULONG flags, PVOID block),                           \
            ((void)heap, (void)flags, (void)block), SIZE_MAX)                                      \
    REFUSAL(SIZE_T, HeapSize, (HANDLE heap, DWORD flags, LPCVOID block),                           \
            ((void)heap, (void)flags, (void)block), SIZE_MAX)                                      \
    REFUSAL(BOOLEAN, RtlValidateHeap, (PVOID heap, ULONG flags, PVOID block),                      \
            ((void)heap, (void)flags, (void)block), FALSE)                                         \
    REFUSAL(BOOL, HeapValidate, (HANDLE heap, DWORD flags, LPCVOID block),                         \
            ((void)heap, (void)flags, (void)block), FALSE)                                         \
    REFUSAL(ULONG, RtlMultipleAllocateHeap,                                                        \
            (PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID * array),                   \
            ((void)heap, (void)flags, (void)bytes, (void)count, (void)array), 0)                   \
    REFUSAL(ULONG, RtlMultipleFreeHeap, (PVOID heap, ULONG flags, ULONG count, PVOID * array),     \
            ((void)heap, (void)flags, (void)count, (void)array), 0)                                \
    REFUSAL(NTSTATUS, RtlDisownModuleHeapAllocation, (HANDLE heap, PVOID block),                   \
            ((void)heap, (void)block), (NTSTATUS)STATUS_UNSUCCESSFUL)                              \
    REFUSAL(BOOLEAN, RtlSetUserValueHeap, (PVOID heap, ULONG flags, PVOID block, PVOID value),     \
            ((void)heap, (void)flags, (void)block, (void)value), FALSE)                            \
    REFUSAL(BOOLEAN, RtlGetUserInfoHeap,                                                           \
            (PVOID heap, ULONG flags, PVOID block, PVOID * value, PULONG user_flags),              \
            ((void)heap, (void)flags, (void)block, (void)value, (void)user_flags), FALSE)          \
    REFUSAL(BOOLEAN, RtlSetUserFlagsHeap,                                                          \
            (PVOID heap, ULONG flags, PVOID block, ULONG reset, ULONG set),                        \
            ((void)heap, (void)flags, (void)block, (void)reset, (void)set), FALSE)

/* ---- no: by saying so ---- */

#define NO_CALL(result, name, arguments, unused, answer)                                           \
    static result RIG_NTAPI no_##name arguments                                                    \
    {                                                                                              \
        (void)unused;                                                                              \
        return answer;                                                                             \
    }
REFUSALS(NO_CALL)

/* The heap goes all the same: its caller's memory is looked at afterwards. */
static PVOID RIG_NTAPI no_destroy(PVOID heap)
{
    (void)rig_honest->RtlDestroyHeap(heap);
    return heap;
}

#define NO_SLOT(result, name, arguments, unused, answer) .name = no_##name,
const struct rig_subject rig_lie_no = {REFUSALS(NO_SLOT).RtlDestroyHeap = no_destroy};

/* ---- raise, violate: by an exception ---- */

static void raise_shortage(void)
{
    rig_honest->RaiseException(STATUS_NO_MEMORY, 0, 0, NULL);
}

static void raise_violation(void)
{
    const ULONG_PTR where[2] = {0, 0};
    rig_honest->RaiseException(STATUS_ACCESS_VIOLATION, 0, 2, where);
}

/* Only returned from when a filter continues. */
#define RAISE_CALL(result, name, arguments, unused, answer)                                        \
    static result RIG_NTAPI raise_##name arguments                                                 \
    {                                                                                              \
        (void)unused;                                                                              \
        raise_shortage();                                                                          \
        return answer;                                                                             \
    }
REFUSALS(RAISE_CALL)
#define RAISE_SLOT(result, name, arguments, unused, answer) .name = raise_##name,
const struct rig_subject rig_lie_raise = {REFUSALS(RAISE_SLOT)};

#define VIOLATE_CALL(result, name, arguments, unused, answer)                                      \
    static result RIG_NTAPI violate_##name arguments                                               \
    {                                                                                              \
        (void)unused;                                                                              \
        raise_violation();                                                                         \
        return answer;                                                                             \
    }
REFUSALS(VIOLATE_CALL)
#define VIOLATE_SLOT(result, name, arguments, unused, answer) .name = violate_##name,
const struct rig_subject rig_lie_violate = {REFUSALS(VIOLATE_SLOT)};

/* ---- contrary: silent where exceptions are in force, an exception where they are not ---- */

static void contradict(void)
{
    const enum rig_op op = rig_lie_step->op;
    const bool may = op == RIG_OP_ALLOC || op == RIG_OP_REALLOC || op == RIG_OP_MULTI_ALLOC;
    if (!may || !rig_exceptions_on(rig_lie_step)) {
        raise_shortage();
    }
}

#define CONTRARY_CALL(result, name, arguments, unused, answer)                                     \
    static result RIG_NTAPI contrary_##name arguments                                              \
    {                                                                                              \
        (void)unused;                                                                              \
        contradict();                                                                              \
        return answer;                                                                             \
    }
REFUSALS(CONTRARY_CALL)
#define CONTRARY_SLOT(result, name, arguments, unused, answer) .name = contrary_##name,
const struct rig_subject rig_lie_contrary = {REFUSALS(CONTRARY_SLOT)};

/* ---- deny: no to what was yes, yes to what was no ---- */

static BOOLEAN RIG_NTAPI deny_set_value(PVOID heap, ULONG flags, PVOID block, PVOID value)
{
    return !rig_honest->RtlSetUserValueHeap(heap, flags, block, value);
}

static BOOLEAN RIG_NTAPI deny_get_info(PVOID heap, ULONG flags, PVOID block, PVOID *value,
                                       PULONG user_flags)
{
    return !rig_honest->RtlGetUserInfoHeap(heap, flags, block, value, user_flags);
}

static BOOLEAN RIG_NTAPI deny_set_flags(PVOID heap, ULONG flags, PVOID block, ULONG reset,
                                        ULONG set)
{
    return !rig_honest->RtlSetUserFlagsHeap(heap, flags, block, reset, set);
}

const struct rig_subject rig_lie_deny = {
    .RtlSetUserValueHeap = deny_set_value,
    .RtlGetUserInfoHeap = deny_get_info,
    .RtlSetUserFlagsHeap = deny_set_flags,
};

/* ---- section: critical sections raise, and cannot be had ---- */

static void RIG_NTAPI section_raise(LPCRITICAL_SECTION section)
{
    (void)section;
    raise_violation();
}

static BOOL RIG_NTAPI section_busy(LPCRITICAL_SECTION section)
{
    (void)section;
    return FALSE;
}

const struct rig_subject rig_lie_section = {
    .InitializeCriticalSection = section_raise,
    .EnterCriticalSection = section_raise,
    .TryEnterCriticalSection = section_busy,
    .LeaveCriticalSection = section_raise,
    .DeleteCriticalSection = section_raise,
};

/* ---- silence: nothing is raised ---- */

static void RIG_NTAPI silence(DWORD code, DWORD flags, DWORD count, const ULONG_PTR *arguments)
{
    (void)code;
    (void)flags;
    (void)count;
    (void)arguments;
}

const struct rig_subject rig_lie_silence = {.RaiseException = silence};

/* ---- handles: a vectored handler is said to be there when it is not, and the reverse ---- */

static PVOID RIG_NTAPI handles_add(ULONG first, RIG_VECTORED_HANDLER handler)
{
    static char nobody[2];
    (void)first;
    return handler == NULL ? nobody : NULL;
}

static ULONG RIG_NTAPI handles_remove(PVOID handle)
{
    return !rig_honest->RemoveVectoredExceptionHandler(handle);
}

const struct rig_subject rig_lie_handles = {
    .AddVectoredExceptionHandler = handles_add,
    .RemoveVectoredExceptionHandler = handles_remove,
};
