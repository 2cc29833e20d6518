/* SPDX-License-Identifier: MIT
 *
 * The catalogue's rows as tables. */
#include "catalog.h"

static const struct fault_misuse_info misuses[] = {
#define FAULT_MISUSE(id, name, need, pointer, calls, reason, source, control, what)                \
    {#id,   (name), FAULT_NEED_##need, FAULT_POINTER_##pointer, #calls, #reason, #source, (control), \
     (what)},
#include "catalog_misuse.def"
};

static const struct fault_damage_info damages[] = {
#define FAULT_DAMAGE(id, name, place, change, notice, reasons, source, control, what)              \
    {#id,     (name), FAULT_PLACE_##place, #change, FAULT_NOTICE_##notice, (reasons), #source,       \
     (control), (what)},
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
