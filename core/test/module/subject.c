/* SPDX-License-Identifier: MIT
 *
 * A shared object for the verifier's tests, built several times over:
 *   subject, other   does what it is told to
 *   builder          allocates in its constructor and frees in its destructor
 *   forgetter        allocates in its constructor
 *   bare             subject without symbol tables, its functions but the first hidden
 * It takes the heap's calls from whoever loads it. */
#include "subject.h"

#define NOINLINE __attribute__((noinline))

static CRITICAL_SECTION section;
static void *kept;

/* No tail call: this module's frame is to be on the stack. */
static void *volatile result;

NOINLINE static void *inner_allocate(HANDLE heap, SIZE_T bytes)
{
    result = HeapAlloc(heap, 0, bytes);
    return result;
}

static void *rtl_allocate(HANDLE heap, SIZE_T bytes)
{
    result = RtlAllocateHeap(heap, HEAP_ZERO_MEMORY, bytes);
    return result;
}

static ULONG allocate_many(HANDLE heap, SIZE_T bytes, ULONG count, PVOID *array)
{
    volatile ULONG made = RtlMultipleAllocateHeap(heap, 0, bytes, count, array);
    return made;
}

static void *reallocate(HANDLE heap, PVOID block, SIZE_T bytes)
{
    result = HeapReAlloc(heap, 0, block, bytes);
    return result;
}

static BOOL free_block(HANDLE heap, PVOID block)
{
    volatile BOOL done = HeapFree(heap, 0, block);
    return done;
}

static NTSTATUS disown(HANDLE heap, PVOID block)
{
    volatile NTSTATUS status = RtlDisownModuleHeapAllocation(heap, block);
    return status;
}

static void *call_back(void *(*callback)(HANDLE heap, SIZE_T bytes), HANDLE heap, SIZE_T bytes)
{
    result = callback(heap, bytes);
    return result;
}

static CRITICAL_SECTION *make_section(void)
{
    InitializeCriticalSection(&section);
    return &section;
}

static void drop_section(void)
{
    DeleteCriticalSection(&section);
}

static void *built(void)
{
    return kept;
}

static const struct subject calls = {
    .allocate = inner_allocate,
    .rtl_allocate = rtl_allocate,
    .allocate_many = allocate_many,
    .reallocate = reallocate,
    .free = free_block,
    .disown = disown,
    .call_back = call_back,
    .make_section = make_section,
    .drop_section = drop_section,
    .built = built,
};

const struct subject *subject_calls(void);
const struct subject *subject_calls(void)
{
    return &calls;
}

#ifdef SUBJECT_BUILDS
__attribute__((constructor)) static void build(void)
{
    kept = HeapAlloc(GetProcessHeap(), 0, 77);
}
#endif

#ifdef SUBJECT_TIDIES
__attribute__((destructor)) static void tidy(void)
{
    (void)HeapFree(GetProcessHeap(), 0, kept);
}
#endif
