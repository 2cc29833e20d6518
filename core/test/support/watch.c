/* SPDX-License-Identifier: MIT
 *
 * See watch.h. */
#include "support/watch.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "verifier.h"

static struct nth_stop stops[WATCH_STOP_MAX];
static unsigned stop_count;

static void remember(void *context, const struct nth_stop *stop)
{
    (void)context;
    assert_in_range(stop_count, 0, WATCH_STOP_MAX - 1);
    stops[stop_count++] = *stop;
}

int watch_setup(void **state)
{
    stop_count = 0;
    return rig_setup(state);
}

int watch_teardown(void **state)
{
    return rig_teardown(state);
}

void watch_start(const char *text)
{
    struct nth_verifier_settings settings;
    char error[256] = "";
    assert_int_equal(nth_verifier_parse(text, &settings, error, sizeof(error)), STATUS_SUCCESS);
    settings.stop = remember;
    stop_count = 0;
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
}

HANDLE watch_begin(const char *text)
{
    watch_start(text);
    return rig_heap_new();
}

void watch_finish(HANDLE heap)
{
    assert_int_equal(HeapDestroy(heap), TRUE);
    watch_demand_none();
    rig_report_demand_none();
}

unsigned watch_count(void)
{
    return stop_count;
}

const struct nth_stop *watch_stop(unsigned idx)
{
    assert_in_range(idx, 0, stop_count - 1);
    return &stops[idx];
}

void watch_forget(void)
{
    stop_count = 0;
}

void watch_demand(ULONG code, ULONG_PTR first, ULONG_PTR second, ULONG_PTR third, ULONG_PTR fourth)
{
    assert_int_equal(stop_count, 1);
    assert_int_equal(stops[0].code, code);
    assert_int_equal(stops[0].severity, NTH_SEVERITY_ERROR);
    assert_int_equal(stops[0].parameter[0], first);
    assert_int_equal(stops[0].parameter[1], second);
    assert_int_equal(stops[0].parameter[2], third);
    assert_int_equal(stops[0].parameter[3], fourth);
    stop_count = 0;
}

static void memory_leave(struct nth_verifier_chunk *const *memory, void *(*take)(size_t),
                         size_t bytes)
{
    const struct nth_verifier_chunk *chunk = *memory;
    const size_t left = chunk->committed_bytes - chunk->used_bytes;
    assert_true(left == bytes || take(left - bytes) != NULL);
    assert_int_equal(chunk->committed_bytes - chunk->used_bytes, bytes);
}

static void memory_have(struct nth_verifier_chunk *const *memory, void *(*take)(size_t),
                        size_t bytes)
{
    while ((*memory)->committed_bytes - (*memory)->used_bytes < bytes) {
        assert_non_null(take(16));
    }
}

void watch_tables_leave(size_t bytes)
{
    void *outer = nth_verifier_enter();
    memory_have(&nth_verifier.memory, nth_verifier_take, bytes);
    memory_have(&nth_verifier.memory_around, nth_verifier_take_around, bytes);
    rig_pages_refuse_only("verifier.");
    rig_pages_refuse(TRUE);
    memory_leave(&nth_verifier.memory, nth_verifier_take, bytes);
    memory_leave(&nth_verifier.memory_around, nth_verifier_take_around, bytes);
    nth_verifier_leave(outer);
}

void watch_load(struct watch_module *module, const char *name)
{
    char path[512];
    struct link_map *map = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", NTH_MODULE_DIR, name);
    (void)snprintf(module->name, sizeof(module->name), "%s", name);
    module->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module->handle == NULL) {
        fail_msg("%s", dlerror());
    }
    assert_int_equal(dlinfo(module->handle, RTLD_DI_LINKMAP, &map), 0);
    module->base = map->l_addr;
    const struct subject *(*calls)(void) = NULL;
    void *symbol = dlsym(module->handle, "subject_calls");
    memcpy(&calls, &symbol, sizeof(calls));
    assert_non_null(calls);
    module->calls = calls();
}

void watch_unload(struct watch_module *module)
{
    assert_int_equal(nth_verifier_dlclose(module->handle), 0);
}

void watch_unload_unseen(struct watch_module *module)
{
    assert_int_equal(dlclose(module->handle), 0);
}

static void demand_wide(const USHORT *wide, const char *name)
{
    size_t idx = 0;
    for (; name[idx] != '\0'; idx++) {
        assert_int_equal(wide[idx], (unsigned char)name[idx]);
    }
    assert_int_equal(wide[idx], 0);
}

const struct nth_trace *watch_demand_leak(const struct watch_module *module, LPCVOID block)
{
    assert_int_equal(stop_count, 1);
    const struct nth_stop *stop = &stops[0];
    assert_int_equal(stop->code, 0x900);
    assert_int_equal(stop->parameter[0], (ULONG_PTR)block);
    const struct nth_trace *trace = stop->allocated;
    assert_non_null(trace);
    assert_int_equal(stop->parameter[1], (ULONG_PTR)trace);
    demand_wide((const USHORT *)stop->parameter[2], module->name); /* NOLINT: it is an address */
    assert_int_equal(stop->parameter[3], module->base);
    stop_count = 0;
    return trace;
}

void watch_demand_frame(const struct nth_trace *trace, unsigned idx, const char *text)
{
    char name[256];
    assert_in_range(idx, 0, trace->count - 1);
    nth_verifier_frame_name(&trace->frames[idx], name, sizeof(name));
    if (strncmp(name, text, strlen(text)) != 0) {
        fail_msg("frame %u is %s, expected %s", idx, name, text);
    }
}
