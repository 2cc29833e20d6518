/* SPDX-License-Identifier: MIT
 *
 * Each module is a section of the program, whose ends the linker knows. Every function keeps what the
 * call gave it before it returns, or the call would be a jump that leaves no frame. */
#include "stand_in.h"

#include "check.h"

#ifdef __ELF__

static const struct rig_subject *through;
static volatile uintptr_t kept;

#define IN(module) __attribute__((noinline, section("rig_module_" #module)))

/* BODY(name, result, arguments, passed) */
#define CALLS(BODY, module)                                                                        \
    BODY(module, RtlAllocateHeap, PVOID, (PVOID heap, ULONG flags, SIZE_T bytes),                  \
         (heap, flags, bytes))                                                                     \
    BODY(module, HeapAlloc, LPVOID, (HANDLE heap, DWORD flags, SIZE_T bytes),                      \
         (heap, flags, bytes))                                                                     \
    BODY(module, RtlReAllocateHeap, PVOID,                                                         \
         (PVOID heap, ULONG flags, PVOID block, SIZE_T bytes), (heap, flags, block, bytes))        \
    BODY(module, HeapReAlloc, LPVOID, (HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes),      \
         (heap, flags, block, bytes))                                                              \
    BODY(module, RtlFreeHeap, LOGICAL, (PVOID heap, ULONG flags, PVOID block),                     \
         (heap, flags, block))                                                                     \
    BODY(module, HeapFree, BOOL, (HANDLE heap, DWORD flags, LPVOID block), (heap, flags, block))   \
    BODY(module, RtlSizeHeap, SIZE_T, (PVOID heap, ULONG flags, PVOID block),                      \
         (heap, flags, block))                                                                     \
    BODY(module, HeapSize, SIZE_T, (HANDLE heap, DWORD flags, LPCVOID block),                      \
         (heap, flags, block))                                                                     \
    BODY(module, RtlMultipleAllocateHeap, ULONG,                                                   \
         (PVOID heap, ULONG flags, SIZE_T bytes, ULONG count, PVOID * array),                      \
         (heap, flags, bytes, count, array))                                                       \
    BODY(module, RtlMultipleFreeHeap, ULONG,                                                       \
         (PVOID heap, ULONG flags, ULONG count, PVOID * array), (heap, flags, count, array))       \
    BODY(module, RtlDisownModuleHeapAllocation, NTSTATUS, (HANDLE heap, PVOID block),              \
         (heap, block))                                                                            \
    BODY(module, HeapCreate, HANDLE, (DWORD flags, SIZE_T commit, SIZE_T most),                    \
         (flags, commit, most))                                                                    \
    BODY(module, RtlCreateHeap, PVOID,                                                             \
         (ULONG flags, PVOID base, SIZE_T reserve, SIZE_T commit, PVOID lock,                      \
          PRTL_HEAP_PARAMETERS parameters),                                                        \
         (flags, base, reserve, commit, lock, parameters))

#define FUNCTION(module, name, result, arguments, passed)                                          \
    IN(module) static result RIG_NTAPI name##_##module arguments                                   \
    {                                                                                              \
        const result answer = through->name passed;                                                \
        kept = (uintptr_t)answer;                                                                  \
        return answer;                                                                             \
    }

#define SLOT(module, slot, result, arguments, passed) calls.slot = slot##_##module;

#define MODULE(module)                                                                             \
    CALLS(FUNCTION, module)                                                                        \
    extern char __start_rig_module_##module[]; /* NOLINT: the linker's names */                    \
    extern char __stop_rig_module_##module[];  /* NOLINT */                                        \
    static void put_##module(struct rig_subject *to)                                               \
    {                                                                                              \
        struct rig_subject calls = *through;                                                       \
        CALLS(SLOT, module)                                                                        \
        *to = calls;                                                                               \
    }

MODULE(1)
MODULE(2)
MODULE(3)
MODULE(4)

bool rig_stand_in_range(unsigned module, PVOID *base, size_t *bytes)
{
    char *const ranges[RIG_MODULE_COUNT][2] = {
        {__start_rig_module_1, __stop_rig_module_1},
        {__start_rig_module_2, __stop_rig_module_2},
        {__start_rig_module_3, __stop_rig_module_3},
        {__start_rig_module_4, __stop_rig_module_4},
    };
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT);
    *base = ranges[module - 1][0];
    *bytes = (size_t)(ranges[module - 1][1] - ranges[module - 1][0]);
    return true;
}

const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject)
{
    static void (*const puts[RIG_MODULE_COUNT])(struct rig_subject *to) = {put_1, put_2, put_3,
                                                                           put_4};
    static struct rig_subject calls;
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT);
    through = subject;
    puts[module - 1](&calls);
    return &calls;
}

#else

bool rig_stand_in_range(unsigned module, PVOID *base, size_t *bytes)
{
    (void)module;
    *base = NULL;
    *bytes = 0;
    return false;
}

const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject)
{
    (void)module;
    return subject;
}

#endif
