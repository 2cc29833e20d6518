/* SPDX-License-Identifier: MIT
 *
 * Finding lies by name. */
#include "lies.h"

#include <string.h>

const struct rig_subject *rig_honest;
const struct rig_step *rig_lie_step;

static const struct rig_lie *find(const struct rig_lie *lies, size_t count, const char *name)
{
    for (size_t idx = 0; idx < count; idx++) {
        if (strcmp(lies[idx].name, name) == 0) {
            return &lies[idx];
        }
    }
    return NULL;
}

const struct rig_lie *rig_lie_find(const char *name)
{
    size_t count;
    const struct rig_lie *lies = rig_lies_blocks(&count);
    const struct rig_lie *lie = find(lies, count, name);
    if (lie == NULL) {
        lies = rig_lies_heaps(&count);
        lie = find(lies, count, name);
    }
    return lie;
}
