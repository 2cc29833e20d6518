/* SPDX-License-Identifier: MIT
 *
 * The subjects that ship: the one table of them. The first is the default. */
#include <heaprig/subject.h>

#include <string.h>

static const struct rig_subject *(*const subjects[])(void) = {
#ifdef _WIN32
    rig_subject_ntdll,
#else
    rig_subject_core,
#endif
    rig_subject_malloc,
};

#define SUBJECT_COUNT (sizeof(subjects) / sizeof(subjects[0]))

const struct rig_subject *rig_subject_at(size_t idx)
{
    return idx < SUBJECT_COUNT ? subjects[idx]() : NULL;
}

const struct rig_subject *rig_subject_find(const char *name)
{
    for (size_t idx = 0; idx < SUBJECT_COUNT; idx++) {
        if (strcmp(subjects[idx]()->name, name) == 0) {
            return subjects[idx]();
        }
    }
    return NULL;
}
