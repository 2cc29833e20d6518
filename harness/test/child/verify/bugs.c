/* SPDX-License-Identifier: MIT
 *
 * A program with one bug of each kind: bugs KIND. Loads plugin.so from beside itself for some. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *volatile block;

static int with_plugin(int (*act)(int (*leak)(int kind), int (*disown)(void)))
{
    char path[4096];
    const ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 32);
    path[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return 3;
    }
    (void)strcpy(slash, "/plugin.so");
    void *plugin = dlopen(path, RTLD_NOW);
    void *symbols[2] = {NULL, NULL};
    int (*leak)(int kind) = NULL;
    int (*disown)(void) = NULL;
    if (plugin == NULL) {
        return 3;
    }
    symbols[0] = dlsym(plugin, "plugin_leak");
    symbols[1] = dlsym(plugin, "plugin_disown");
    memcpy(&leak, &symbols[0], sizeof(leak));
    memcpy(&disown, &symbols[1], sizeof(disown));
    const int status = act(leak, disown);
    (void)dlclose(plugin);
    return status;
}

static int do_leak(int (*leak)(int kind), int (*disown)(void))
{
    (void)disown;
    return leak(0) ? 0 : 3;
}

static int do_disown(int (*leak)(int kind), int (*disown)(void))
{
    (void)leak;
    return disown() ? 0 : 3;
}

static int run(const char *kind)
{
    block = malloc(256);
    if (strcmp(kind, "none") == 0) {
        free(block);
    } else if (strcmp(kind, "keep") == 0) {
        return 0;
    } else if (strcmp(kind, "status") == 0) {
        free(block);
        return 7;
    } else if (strcmp(kind, "overrun") == 0) {
        block[256] = 1;
        free(block);
    } else if (strcmp(kind, "underrun") == 0) {
        block[-1] = 1;
        free(block);
    } else if (strcmp(kind, "double-free") == 0) {
        free(block);
        free(block);
    } else if (strcmp(kind, "use-after-free") == 0) {
        free(block);
        block[10] = 1;
        for (int idx = 0; idx < 5000; idx++) {
            free(malloc(256));
        }
    } else if (strcmp(kind, "interior") == 0) {
        free(block + 16);
    } else if (strcmp(kind, "stack") == 0) {
        char local[64] = "";
        block = local;
        free(block);
    } else if (strcmp(kind, "leak") == 0) {
        free(block);
        return with_plugin(do_leak);
    } else if (strcmp(kind, "disown") == 0) {
        free(block);
        return with_plugin(do_disown);
    } else if (strcmp(kind, "shortage") == 0) {
        int failed = 0;
        for (int idx = 0; idx < 1000; idx++) {
            void *one = malloc(10);
            failed += one == NULL;
            free(one);
        }
        free(block);
        (void)printf("%d\n", failed);
    } else if (strcmp(kind, "fork") == 0) {
        const pid_t child = fork();
        free(block);
        if (child == 0) {
            free(block);
            exit(0); /* NOLINT: with its destructors */
        }
        (void)sleep(0);
    } else {
        return 2;
    }
    return 0;
}

int main(int argc, char **argv)
{
    return argc == 2 ? run(argv[1]) : 2;
}
