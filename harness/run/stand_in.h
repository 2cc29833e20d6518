/* SPDX-License-Identifier: MIT
 *
 * Modules through which calls of the subject go, so that a verifier finds a stack frame there: small shared
 * objects (modules/module.c, built into bin/modules) where they lie beside the program; else stretches of
 * this program's own code, which are declared to the verifier. Calls nothing but the subject and the
 * dynamic linker. */
#ifndef RIG_RUN_STAND_IN_H
#define RIG_RUN_STAND_IN_H

#include "program/verify.h"

#include <heaprig/subject.h>

/* Modules are files, and not stretches of the program. Units: none. Errors: none. */
bool rig_modules_are_files(void);

/* Load or unload module 1 to 4, and where it lies or lay. A file is opened only where it is not open, and
 * closed only where it is. Units: none. Errors: the verifier's; STATUS_UNSUCCESSFUL where there are no
 * modules at all (another object format). */
NTSTATUS rig_module_open(const struct rig_subject *subject, unsigned module, PVOID *base);
NTSTATUS rig_module_close(const struct rig_subject *subject, unsigned module, PVOID *base);

/* Where it lies; NULL for a file that is not open. Units: none. Errors: as said. */
PVOID rig_module_base(unsigned module);

/* Close the files that are open, past any verifier. Units: none. Errors: none. */
void rig_modules_drop(void);

/* The subject as module 1 to 4, which is loaded, calls it: its calls on blocks and heaps go through the module
 * to `subject`, all else is as there. Valid until the next call. Units: none. Errors: none. */
const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject);

#endif
