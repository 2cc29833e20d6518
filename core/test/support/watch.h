/* SPDX-License-Identifier: MIT
 *
 * What the verifier's tests share: the verifier over the tests' arena, its stops remembered, and
 * real shared objects to load. */
#ifndef NTH_TEST_WATCH_H
#define NTH_TEST_WATCH_H

#include <ntheap/verifier.h>

#include "module/subject.h"
#include "support/rig.h"

#define WATCH_STOP_MAX 64u

/* cmocka's: rig_setup and rig_teardown, with the verifier forgotten. */
int watch_setup(void **state);
int watch_teardown(void **state);

/* Start the verifier with settings in the grammar of nth_verifier_parse. */
void watch_start(const char *text);

/* The same with a heap, and its end, at which nothing is left to tell. */
HANDLE watch_begin(const char *text);
void watch_finish(HANDLE heap);

/* Stops since watch_start or watch_forget. */
unsigned watch_count(void);
const struct nth_stop *watch_stop(unsigned idx);
void watch_forget(void);

/* Exactly one stop was made, with this code and these parameters; forgets it. */
void watch_demand(ULONG code, ULONG_PTR first, ULONG_PTR second, ULONG_PTR third, ULONG_PTR fourth);
#define watch_demand_none() assert_int_equal(watch_count(), 0)

/* From here on the verifier's tables have so many bytes left, and get no more until
 * rig_pages_refuse(FALSE). */
void watch_tables_leave(size_t bytes);

/* A shared object of the tests: "subject.so". */
struct watch_module {
    void *handle;
    const struct subject *calls;
    ULONG_PTR base;
    char name[32];
};
void watch_load(struct watch_module *module, const char *name);
/* With the verifier's dlclose, or with the system's own. */
void watch_unload(struct watch_module *module);
void watch_unload_unseen(struct watch_module *module);

/* Exactly one leak was told since, of this block and module; its stack is returned. Forgets it. */
const struct nth_trace *watch_demand_leak(const struct watch_module *module, LPCVOID block);

/* The name of the frame begins with `text`. */
void watch_demand_frame(const struct nth_trace *trace, unsigned idx, const char *text);

#endif
