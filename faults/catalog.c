/* SPDX-License-Identifier: MIT
 *
 * The catalogue's rows as tables. */
#include "catalog.h"

static const struct fault_misuse_info misuses[] = {
#define FAULT_MISUSE(id, name, need, pointer, into, calls, form, reason, source, control, what)    \
    {#id,                                                                                          \
     (name),                                                                                       \
     FAULT_NEED_##need,                                                                            \
     FAULT_POINTER_##pointer,                                                                      \
     FAULT_INTO_##into,                                                                            \
     (calls),                                                                                      \
     FAULT_FORM_##form,                                                                            \
     #reason,                                                                                      \
     #source,                                                                                      \
     (control),                                                                                    \
     (what)},
#include "catalog_misuse.def"
};

static const struct fault_other_info others[] = {
#define FAULT_OTHER(id, name, noticed, source, control, what)                                      \
    {#id, (name), (noticed), (source), (control), (what)},
#include "catalog_other.def"
};

static const struct fault_call_info calls[FAULT_CALL_COUNT] = {
#define FAULT_CALL(name, sets, value, error, raises)                                               \
    {#name, (sets), FAULT_VALUE_##value, FAULT_ERROR_##error, RAISES_##raises},
#define RAISES_YES true
#define RAISES_NO false
#include "call.def"
};

static const struct fault_form_info forms[FAULT_FORM_COUNT] = {
#define FAULT_FORM(name, status, error, what) {#name, (status), (error), (what)},
#include "form.def"
};

static const struct fault_damage_info damages[] = {
#define FAULT_DAMAGE(id, name, place, change, notice, reasons, source, control, what)              \
    {#id,       (name),  FAULT_PLACE_##place, #change, FAULT_NOTICE_##notice,                      \
     (reasons), #source, (control),           (what)},
#include "catalog_damage.def"
};

const struct fault_misuse_info *fault_misuse_info(unsigned idx)
{
    return idx < sizeof(misuses) / sizeof(misuses[0]) ? &misuses[idx] : NULL;
}

const struct fault_damage_info *fault_damage_info(unsigned idx)
{
    return idx < sizeof(damages) / sizeof(damages[0]) ? &damages[idx] : NULL;
}

const struct fault_other_info *fault_other_info(unsigned idx)
{
    return idx < sizeof(others) / sizeof(others[0]) ? &others[idx] : NULL;
}

const struct fault_call_info *fault_call_info(unsigned idx)
{
    return idx < FAULT_CALL_COUNT ? &calls[idx] : NULL;
}

const struct fault_form_info *fault_form_info(enum fault_form form)
{
    return (unsigned)form < FAULT_FORM_COUNT ? &forms[form] : NULL;
}

static const struct fault_plan_info plans[] = {
#define FAULT_PLAN(id, name, plan, seed, noticed, clause, control, what)                           \
    {#id, (name), (plan), (seed), (noticed), #clause, (control), (what)},
#include "catalog_plan.def"
};

const struct fault_plan_info *fault_plan_info(unsigned idx)
{
    return idx < sizeof(plans) / sizeof(plans[0]) ? &plans[idx] : NULL;
}
