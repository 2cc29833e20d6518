/* SPDX-License-Identifier: MIT
 *
 * What the shared objects of the verifier's tests can be told to do: `subject_calls`, by dlsym. */
#ifndef NTH_TEST_SUBJECT_H
#define NTH_TEST_SUBJECT_H

#include <ntheap/heap.h>

struct subject {
    void *(*allocate)(HANDLE heap, SIZE_T bytes);
    void *(*rtl_allocate)(HANDLE heap, SIZE_T bytes);
    ULONG (*allocate_many)(HANDLE heap, SIZE_T bytes, ULONG count, PVOID *array);
    void *(*reallocate)(HANDLE heap, PVOID block, SIZE_T bytes);
    BOOL (*free)(HANDLE heap, PVOID block);
    NTSTATUS (*disown)(HANDLE heap, PVOID block);
    void *(*call_back)(void *(*callback)(HANDLE heap, SIZE_T bytes), HANDLE heap, SIZE_T bytes);
    CRITICAL_SECTION *(*make_section)(void);
    void (*drop_section)(void);
    void *(*built)(void); /* by its constructor */
};

#endif
