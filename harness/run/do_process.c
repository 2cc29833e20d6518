/* SPDX-License-Identifier: MIT
 *
 * Operations on the process: its heaps, statuses and last error, what memory there is, exceptions,
 * critical sections. */
#include "exec_internal.h"

#include <string.h>

/* ---- Heaps of the process ---- */

static void call_process_heap(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value = (uintptr_t)exec->subject->GetProcessHeap();
}

bool rig_do_PROCESS_HEAP(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_process_heap);
    if (!rig_judge(exec, step)) {
        return false;
    }
    if (step->outcome.value != 0) {
        exec->shadow.heaps[0].handle = (HANDLE)step->outcome.value;
    }
    return true;
}

static void call_list(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    const struct rig_subject *subject = exec->subject;
    PVOID *place = step->list_room == 0 ? NULL : step->list;
    step->outcome.value = step->win32 ? subject->GetProcessHeaps(step->list_room, place)
                                      : subject->RtlGetProcessHeaps(step->list_room, place);
}

/* A listing makes the process heap: its handle is asked for first, so that the model knows it. */
bool rig_do_PROCESS_HEAPS(struct rig_exec *exec, struct rig_step *step)
{
    (void)rig_process_heap(exec);
    step->gone_count = exec->gone_count;
    step->list_room = step->record->arg % (RIG_LIST_MAX + 1u);
    for (unsigned idx = 0; idx < RIG_LIST_MAX; idx++) {
        step->list[idx] = (HANDLE)(uintptr_t)RIG_POISON;
    }
    rig_call(exec, step, call_list);
    (void)rig_process_heap(exec); /* it may have been refused before, and made by the call */
    return rig_judge(exec, step);
}

static NTSTATUS list_one(PVOID heap, PVOID parameter)
{
    struct rig_step *step = parameter;
    step->list_parameter_kept = step->list_parameter_kept && step == &rig_exec_now->step;
    if (step->list_calls < RIG_LIST_MAX) {
        step->list[step->list_calls] = heap;
    }
    step->list_calls++;
    return step->list_calls == step->list_stop ? (NTSTATUS)step->list_status
                                               : (NTSTATUS)STATUS_SUCCESS;
}

static void call_enum(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = (uint32_t)exec->subject->RtlEnumProcessHeaps(list_one, step);
}

bool rig_do_ENUM_HEAPS(struct rig_exec *exec, struct rig_step *step)
{
    (void)rig_process_heap(exec);
    step->list_stop = step->record->arg % (RIG_LIST_MAX + 1u);
    step->list_status = 0xC0000000u | step->record->value;
    step->list_parameter_kept = true;
    rig_call(exec, step, call_enum);
    (void)rig_process_heap(exec);
    return rig_judge(exec, step);
}

static void call_validate_all(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value = exec->subject->RtlValidateProcessHeaps();
}

bool rig_do_VALIDATE_ALL(struct rig_exec *exec, struct rig_step *step)
{
    rig_call(exec, step, call_validate_all);
    return rig_judge(exec, step);
}

/* ---- Statuses and the last error ---- */

static const uint32_t codes[] = {
    STATUS_SUCCESS,          STATUS_NO_MORE_ENTRIES,    STATUS_UNSUCCESSFUL,
    STATUS_ACCESS_VIOLATION, STATUS_INVALID_HANDLE,     STATUS_INVALID_PARAMETER,
    STATUS_NO_MEMORY,        STATUS_BUFFER_TOO_SMALL,   STATUS_INFO_LENGTH_MISMATCH,
    STATUS_HEAP_CORRUPTION,  STATUS_RESOURCE_NOT_OWNED, 0x40000000u,
};

#define CODE_COUNT (sizeof(codes) / sizeof(codes[0]))

static uint32_t code_of(const struct rig_record *record)
{
    return record->arg < 128 ? codes[record->arg % CODE_COUNT]
                             : (uint32_t)(record->arg & 0x7Fu) << 24 | record->value;
}

static void call_dos_error(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    step->outcome.value = exec->subject->RtlNtStatusToDosError((NTSTATUS)step->code);
}

bool rig_do_DOS_ERROR(struct rig_exec *exec, struct rig_step *step)
{
    step->code = code_of(step->record);
    rig_call(exec, step, call_dos_error);
    return rig_judge(exec, step);
}

static void call_get_error(void *context)
{
    struct rig_exec *exec = context;
    exec->step.outcome.value = exec->subject->GetLastError();
}

bool rig_do_GET_LAST_ERROR(struct rig_exec *exec, struct rig_step *step)
{
    step->outcome.error_before = exec->subject->GetLastError();
    rig_call(exec, step, call_get_error);
    return rig_judge(exec, step);
}

static void call_set_error(void *context)
{
    struct rig_exec *exec = context;
    exec->subject->SetLastError(exec->step.code);
    exec->step.outcome.value = exec->subject->GetLastError();
}

bool rig_do_SET_LAST_ERROR(struct rig_exec *exec, struct rig_step *step)
{
    step->code = code_of(step->record);
    rig_call(exec, step, call_set_error);
    return rig_judge(exec, step);
}

/* From here on there is only so much memory. */
bool rig_do_BUDGET(struct rig_exec *exec, struct rig_step *step)
{
    const uint16_t value = step->record->value;
    if (exec->subject->budget != NULL) {
        exec->subject->budget((value & 0x8000u) != 0 ? SIZE_MAX : value & 0x1FFu);
    }
    return true;
}

/* ---- Exceptions ---- */

static void call_raise(void *context)
{
    struct rig_exec *exec = context;
    struct rig_step *step = &exec->step;
    exec->subject->RaiseException(step->code, step->raise_flags, step->raise_count,
                                  step->raise_null ? NULL : step->raise_arguments);
    step->outcome.value = 1;
}

bool rig_do_RAISE(struct rig_exec *exec, struct rig_step *step)
{
    const struct rig_record *record = step->record;
    step->code = code_of(record);
    step->raise_flags = (record->flags & 1u) != 0 ? EXCEPTION_NONCONTINUABLE : 0;
    step->raise_null = (record->flags & 2u) != 0;
    step->raise_count = record->value % (EXCEPTION_MAXIMUM_PARAMETERS + 3u);
    for (unsigned idx = 0; idx < EXCEPTION_MAXIMUM_PARAMETERS + 2u; idx++) {
        step->raise_arguments[idx] = (ULONG_PTR)idx * 0x1111u + record->value;
    }
    rig_handlers_due(exec, step);
    rig_call(exec, step, call_raise);
    return rig_judge(exec, step);
}

/* ---- Critical sections ---- */

#define SECTION_CALL(function, name)                                                               \
    static void function(void *context)                                                            \
    {                                                                                              \
        struct rig_exec *exec = context;                                                           \
        exec->subject->name(&exec->sections[exec->step.object_idx].section);                       \
        exec->step.outcome.value = 1;                                                              \
    }
SECTION_CALL(call_section_init, InitializeCriticalSection)
SECTION_CALL(call_section_enter, EnterCriticalSection)
SECTION_CALL(call_section_leave, LeaveCriticalSection)
SECTION_CALL(call_section_delete, DeleteCriticalSection)

static void call_section_try(void *context)
{
    struct rig_exec *exec = context;
    CRITICAL_SECTION *section = &exec->sections[exec->step.object_idx].section;
    exec->step.outcome.value = exec->subject->TryEnterCriticalSection(section) != 0;
}

static bool section_do(struct rig_exec *exec, struct rig_step *step, void (*body)(void *))
{
    const CRITICAL_SECTION *section = &exec->sections[step->object_idx].section;
    step->section_depth = exec->sections[step->object_idx].depth;
    step->section_before = section->RecursionCount;
    rig_call(exec, step, body);
    step->section_after = section->RecursionCount;
    return rig_judge(exec, step);
}

bool rig_do_SECTION_INIT(struct rig_exec *exec, struct rig_step *step)
{
    struct rig_section *section = &exec->sections[step->object_idx];
    memset(&section->section, 0, sizeof(section->section));
    if (!section_do(exec, step, call_section_init)) {
        return false;
    }
    /* Where the rig's filter continued, the call came back without having made it. */
    section->live = !step->outcome.raised && step->outcome.filter_runs == 0;
    section->depth = 0;
    return true;
}

bool rig_do_SECTION_ENTER(struct rig_exec *exec, struct rig_step *step)
{
    if (!section_do(exec, step, call_section_enter)) {
        return false;
    }
    exec->sections[step->object_idx].depth += !step->outcome.raised;
    return true;
}

bool rig_do_SECTION_TRY(struct rig_exec *exec, struct rig_step *step)
{
    if (!section_do(exec, step, call_section_try)) {
        return false;
    }
    exec->sections[step->object_idx].depth += step->outcome.value != 0;
    return true;
}

bool rig_do_SECTION_LEAVE(struct rig_exec *exec, struct rig_step *step)
{
    if (!section_do(exec, step, call_section_leave)) {
        return false;
    }
    exec->sections[step->object_idx].depth -= !step->outcome.raised;
    return true;
}

bool rig_do_SECTION_DELETE(struct rig_exec *exec, struct rig_step *step)
{
    if (!section_do(exec, step, call_section_delete)) {
        return false;
    }
    exec->sections[step->object_idx].live = false;
    return true;
}
