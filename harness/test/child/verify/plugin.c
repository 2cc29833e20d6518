/* SPDX-License-Identifier: MIT
 *
 * A shared object that real programs load: python3 through ctypes, sqlite3 as an extension. What it
 * allocates it asks for in every way there is; what it keeps is a leak when it is unloaded. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* operator new and delete of libstdc++, by their names. */
extern void *_Znwm(unsigned long bytes); /* NOLINT: the compiler's name */
extern void _ZdlPv(void *block);         /* NOLINT: the compiler's name */

int plugin_leak(int kind);
int plugin_tidy(int kind);
int plugin_disown(void);
int plugin_print(void);
int sqlite3_plugin_init(void *database, char **error, const void *calls);

static void *volatile kept;

static void *make(int kind)
{
    char *text = NULL;
    switch (kind) {
    case 0:
        return malloc(100);
    case 1:
        return strdup("a copy that libc makes");
    case 2:
        return asprintf(&text, "%d bytes that libc prints", kind) < 0 ? NULL : text;
    case 3:
        return _Znwm(200);
    case 4:
        return realloc(NULL, 300);
    case 5:
        return aligned_alloc(4096, 4096);
    default:
        return calloc(5, 80);
    }
}

int plugin_leak(int kind)
{
    kept = make(kind);
    return kept != NULL;
}

int plugin_tidy(int kind)
{
    void *made = make(kind);
    if (kind == 3) {
        _ZdlPv(made);
    } else {
        free(made);
    }
    return made != NULL;
}

/* The process heap's call, as it is found at run time; the block is the malloc library's. */
int plugin_disown(void)
{
    uint32_t (*disown)(void *heap, void *block) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "RtlDisownModuleHeapAllocation");
    void *(*listed)(uint32_t count, void **heaps) = NULL;
    void *lister = dlsym(RTLD_DEFAULT, "GetProcessHeaps");
    void *heaps[8] = {NULL};
    if (symbol == NULL || lister == NULL) {
        return 0;
    }
    memcpy(&disown, &symbol, sizeof(disown));
    memcpy(&listed, &lister, sizeof(listed));
    kept = make(0);
    (void)listed(8, heaps);
    for (unsigned idx = 0; idx < 8 && heaps[idx] != NULL; idx++) {
        if (disown(heaps[idx], kept) != 0) {
            return 0;
        }
    }
    return 1;
}

/* The first output of a program makes stdio allocate: that is libc's to keep. */
int plugin_print(void)
{
    (void)setenv("PLUGIN_WAS_HERE", "yes", 1);
    return fprintf(stdout, "plugin\n") > 0 && fflush(stdout) == 0;
}

int sqlite3_plugin_init(void *database, char **error, const void *calls)
{
    (void)database;
    (void)error;
    (void)calls;
    (void)plugin_leak(1);
    return 0;
}
