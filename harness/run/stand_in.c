/* SPDX-License-Identifier: MIT
 *
 * Shared objects are opened and closed. A stand-in is a section of the program, whose ends the linker knows. Every function keeps what the
 * call gave it before it returns, or the call would be a jump that leaves no frame. */
#include "stand_in.h"

#include "check.h"
#include "stand_in_calls.h"

#ifdef __ELF__
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct rig_subject *through;
static volatile uintptr_t kept;

#define IN(module) __attribute__((noinline, section("rig_module_" #module)))

#define FUNCTION(module, name, result, arguments, passed)                                          \
    IN(module) static result RIG_NTAPI name##_##module arguments                                   \
    {                                                                                              \
        const result answer = through->name passed;                                                \
        kept = (uintptr_t)answer;                                                                  \
        return answer;                                                                             \
    }

#define SLOT(module, slot, result, arguments, passed) calls.slot = slot##_##module;

#define MODULE(module)                                                                             \
    CALLS(FUNCTION, module)                                                                        \
    extern char __start_rig_module_##module[]; /* NOLINT: the linker's names */                    \
    extern char __stop_rig_module_##module[];  /* NOLINT */                                        \
    static void put_##module(struct rig_subject *to)                                               \
    {                                                                                              \
        struct rig_subject calls = *through;                                                       \
        CALLS(SLOT, module)                                                                        \
        *to = calls;                                                                               \
    }

MODULE(1)
MODULE(2)
MODULE(3)
MODULE(4)

static void range_of(unsigned module, PVOID *base, size_t *bytes)
{
    char *const ranges[RIG_MODULE_COUNT][2] = {
        {__start_rig_module_1, __stop_rig_module_1},
        {__start_rig_module_2, __stop_rig_module_2},
        {__start_rig_module_3, __stop_rig_module_3},
        {__start_rig_module_4, __stop_rig_module_4},
    };
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT);
    *base = ranges[module - 1][0];
    *bytes = (size_t)(ranges[module - 1][1] - ranges[module - 1][0]);
}

/* ---- Shared objects -------------------------------------------------------------------------- */

typedef void (*rig_module_calls)(const struct rig_subject *subject, struct rig_subject *calls);

static struct {
    void *handle;
    rig_module_calls calls;
} opened[RIG_MODULE_COUNT];

/* Beside the program: bin/modules/one. */
static bool path_of(unsigned module, char *path, size_t path_bytes)
{
    const ssize_t len = readlink("/proc/self/exe", path, path_bytes - 1);
    char *slash = NULL;
    if (len > 0) {
        path[len] = '\0';
        slash = strrchr(path, '/');
    }
    if (slash == NULL) {
        return false;
    }
    const size_t room = path_bytes - (size_t)(slash - path);
    const int put = snprintf(slash, room, "/modules/%s", rig_module_name(module));
    return put > 0 && (size_t)put < room;
}

bool rig_modules_are_files(void)
{
    static int files = -1;
    char path[4096];
    if (files < 0) {
        files = 1;
        for (unsigned module = 1; module <= RIG_MODULE_COUNT; module++) {
            files = files && path_of(module, path, sizeof(path)) && access(path, R_OK) == 0;
        }
    }
    return files == 1;
}

NTSTATUS rig_module_open(const struct rig_subject *subject, unsigned module, PVOID *base)
{
    char path[4096];
    struct link_map *map = NULL;
    size_t bytes = 0;
    if (!rig_modules_are_files()) {
        range_of(module, base, &bytes);
        return subject->module_load(rig_module_name(module), *base, bytes);
    }
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT && opened[module - 1].handle == NULL);
    RIG_CHECK(path_of(module, path, sizeof(path)));
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        (void)fprintf(stderr, "%s\n", dlerror());
    }
    RIG_CHECK(handle != NULL && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    void *symbol = dlsym(handle, "rig_module_calls");
    RIG_CHECK(symbol != NULL);
    memcpy(&opened[module - 1].calls, &symbol, sizeof(symbol));
    opened[module - 1].handle = handle;
    *base = (PVOID)(uintptr_t)map->l_addr;
    return STATUS_SUCCESS;
}

NTSTATUS rig_module_close(const struct rig_subject *subject, unsigned module, PVOID *base)
{
    size_t bytes = 0;
    if (!rig_modules_are_files()) {
        range_of(module, base, &bytes);
        return subject->module_unload(*base);
    }
    void *handle = opened[module - 1].handle;
    opened[module - 1].handle = NULL;
    return subject->module_close(handle) == 0 ? STATUS_SUCCESS : (NTSTATUS)STATUS_UNSUCCESSFUL;
}

PVOID rig_module_base(unsigned module)
{
    struct link_map *map = NULL;
    PVOID base = NULL;
    size_t bytes = 0;
    if (!rig_modules_are_files()) {
        range_of(module, &base, &bytes);
    } else if (opened[module - 1].handle != NULL) {
        RIG_CHECK(dlinfo(opened[module - 1].handle, RTLD_DI_LINKMAP, &map) == 0);
        base = (PVOID)(uintptr_t)map->l_addr;
    }
    return base;
}

void rig_modules_drop(void)
{
    for (unsigned idx = 0; idx < RIG_MODULE_COUNT; idx++) {
        if (opened[idx].handle != NULL) {
            (void)dlclose(opened[idx].handle);
            opened[idx].handle = NULL;
        }
    }
}

const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject)
{
    static void (*const puts[RIG_MODULE_COUNT])(struct rig_subject *to) = {put_1, put_2, put_3,
                                                                           put_4};
    static struct rig_subject calls;
    RIG_CHECK(module >= 1 && module <= RIG_MODULE_COUNT);
    if (opened[module - 1].handle != NULL) {
        opened[module - 1].calls(subject, &calls);
        return &calls;
    }
    through = subject;
    puts[module - 1](&calls);
    return &calls;
}

#else

bool rig_modules_are_files(void)
{
    return false;
}

NTSTATUS rig_module_open(const struct rig_subject *subject, unsigned module, PVOID *base)
{
    (void)subject;
    (void)module;
    *base = NULL;
    return (NTSTATUS)STATUS_UNSUCCESSFUL;
}

NTSTATUS rig_module_close(const struct rig_subject *subject, unsigned module, PVOID *base)
{
    return rig_module_open(subject, module, base);
}

PVOID rig_module_base(unsigned module)
{
    (void)module;
    return NULL;
}

void rig_modules_drop(void)
{
}

const struct rig_subject *rig_stand_in(unsigned module, const struct rig_subject *subject)
{
    (void)module;
    return subject;
}

#endif
