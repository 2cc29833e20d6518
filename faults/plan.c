/* SPDX-License-Identifier: MIT
 *
 * Plans and their words. */
#include "plan.h"

#include <stddef.h>

const char *fault_plan_word(unsigned kind)
{
    static const char *const words[FAULT_PLAN_KIND_COUNT] = {
#define FAULT_PLAN_KIND(name, text, what) (text),
#include "plan_kind.def"
    };
    return kind < FAULT_PLAN_KIND_COUNT ? words[kind] : NULL;
}
