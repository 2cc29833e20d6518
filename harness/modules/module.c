/* SPDX-License-Identifier: MIT
 *
 * A shared object that calls the heap it is given, for programs under the verifier. Every function keeps what
 * the call gave it before it returns, or the call would be a jump that leaves no frame. */
#include <heaprig/subject.h>

#include "run/stand_in_calls.h"

void rig_module_calls(const struct rig_subject *subject, struct rig_subject *calls);

static const struct rig_subject *through;
static volatile uintptr_t kept;

#define FUNCTION(module, name, result, arguments, passed)                                          \
    static result RIG_NTAPI module##name arguments                                                 \
    {                                                                                              \
        const result answer = through->name passed;                                                \
        kept = (uintptr_t)answer;                                                                  \
        return answer;                                                                             \
    }

CALLS(FUNCTION, own_)

#define SLOT(module, slot, result, arguments, passed) calls->slot = module##slot;

void rig_module_calls(const struct rig_subject *subject, struct rig_subject *calls)
{
    through = subject;
    *calls = *subject;
    CALLS(SLOT, own_)
}
