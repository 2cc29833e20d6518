/* SPDX-License-Identifier: MIT
 *
 * Lies about heaps, put together from the files that tell them. */
#include "lies_heaps.h"

#include "../run/check.h"

#define LIES_MAX 128u

const struct rig_lie *rig_lies_heaps(size_t *count)
{
    static const struct rig_lie *(*const parts[])(size_t * count) = {
        rig_lies_create, rig_lies_lock, rig_lies_walk, rig_lies_look, rig_lies_process, rig_lies_plan,
    };
    static struct rig_lie lies[LIES_MAX];
    size_t total = 0;
    for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
        size_t more;
        const struct rig_lie *told = parts[part](&more);
        RIG_CHECK(total + more <= LIES_MAX);
        for (size_t idx = 0; idx < more; idx++) {
            lies[total++] = told[idx];
        }
    }
    *count = total;
    return lies;
}
