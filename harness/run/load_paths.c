/* SPDX-License-Identifier: MIT
 *
 * Files under a folder. Calls the system. */
#ifndef _WIN32
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Takes `path` over, whatever comes back. */
static bool keep(struct rig_paths *paths, char *path)
{
    if (paths->count == paths->room) {
        const size_t room = paths->room == 0 ? 64 : paths->room * 2;
        char **more = realloc(paths->paths, room * sizeof(*more));
        if (more == NULL) {
            free(path);
            return false;
        }
        paths->paths = more;
        paths->room = room;
    }
    paths->paths[paths->count++] = path;
    return true;
}

static char *join(const char *folder, const char *name)
{
    const size_t len = strlen(folder);
    char *path = malloc(len + strlen(name) + 2);
    if (path != NULL) {
        const bool slash = len > 0 && folder[len - 1] == '/';
        (void)sprintf(path, "%s%s%s", folder, slash ? "" : "/", name);
    }
    return path;
}

static bool add(struct rig_paths *paths, const char *path);

static bool add_folder(struct rig_paths *paths, const char *folder)
{
    DIR *directory = opendir(folder);
    bool all = directory != NULL;
    while (all) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            all = errno == 0;
            break;
        }
        if (entry->d_name[0] != '.') {
            char *path = join(folder, entry->d_name);
            all = path != NULL && add(paths, path);
            free(path);
        }
    }
    const int error = errno;
    if (directory != NULL) {
        (void)closedir(directory);
    }
    errno = error;
    return all;
}

static bool add(struct rig_paths *paths, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return false;
    }
    if (S_ISDIR(status.st_mode)) {
        return add_folder(paths, path);
    }
    char *copy = strdup(path);
    return copy != NULL && keep(paths, copy);
}

static int by_name(const void *left, const void *right)
{
    const char *const *one = left;
    const char *const *other = right;
    return strcmp(*one, *other);
}

bool rig_load_paths(struct rig_paths *paths, const char *folder)
{
    *paths = (struct rig_paths){0};
    if (!add(paths, folder)) {
        const int error = errno;
        rig_load_paths_free(paths);
        errno = error;
        return false;
    }
    if (paths->count > 1) {
        qsort(paths->paths, paths->count, sizeof(*paths->paths), by_name);
    }
    return true;
}

void rig_load_paths_free(struct rig_paths *paths)
{
    for (size_t idx = 0; idx < paths->count; idx++) {
        free(paths->paths[idx]);
    }
    free(paths->paths);
    *paths = (struct rig_paths){0};
}
#else
typedef int rig_load_paths_is_empty;
#endif
