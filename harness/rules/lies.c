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
    static const struct rig_lie *(*const parts[])(size_t * count) = {
        rig_lies_blocks,
        rig_lies_heaps,
        rig_lies_misuse,
        rig_lies_verifier,
    };
    const struct rig_lie *lie = NULL;
    for (size_t part = 0; lie == NULL && part < sizeof(parts) / sizeof(parts[0]); part++) {
        size_t count;
        const struct rig_lie *lies = parts[part](&count);
        lie = find(lies, count, name);
    }
    return lie;
}
