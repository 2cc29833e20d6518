/* SPDX-License-Identifier: MIT
 *
 * The driver of builds without a fuzzing engine: runs a target over files and folders, so that
 * every build has every target. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

#define PATH_BYTES 4096u
#define READ_BYTES 65536u

static unsigned long input_count;

static _Noreturn void refuse(const char *path, const char *expected)
{
    (void)fprintf(stderr, "%s: expected %s\n", path, expected);
    exit(2);
}

static void progress(const char *path)
{
    static time_t last;
    const time_t now = time(NULL);
    if (now != last && isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r%lu inputs, now %s\033[K", input_count, path);
    }
    last = now;
}

/* The bytes lie in a block of exactly their size, so that reading past them shows. */
static void run_stream(FILE *file, const char *path)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    size_t got;
    do {
        uint8_t *more = realloc(bytes, len + READ_BYTES);
        if (more == NULL) {
            refuse(path, "an input that fits into memory");
        }
        bytes = more;
        got = fread(bytes + len, 1, READ_BYTES, file);
        len += got;
    } while (got == READ_BYTES);
    if (ferror(file) != 0) {
        refuse(path, "a file that can be read");
    }
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    if (exact == NULL) {
        refuse(path, "an input that fits into memory");
    }
    memcpy(exact, bytes, len);
    free(bytes);
    progress(path);
    (void)LLVMFuzzerTestOneInput(exact, len);
    input_count++;
    free(exact);
}

static int by_name(const struct dirent **one, const struct dirent **other)
{
    return strcmp((*one)->d_name, (*other)->d_name);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_path(const char *path, unsigned depth);

static void run_folder(const char *path, unsigned depth)
{
    struct dirent **entries;
    const int count = depth > 8 ? -1 : scandir(path, &entries, visible, by_name);
    if (count < 0) {
        refuse(path, "a folder that can be read");
    }
    for (int idx = 0; idx < count; idx++) {
        char name[PATH_BYTES];
        const int len = snprintf(name, sizeof(name), "%s/%s", path, entries[idx]->d_name);
        free(entries[idx]);
        if (len < 0 || (size_t)len >= sizeof(name)) {
            refuse(path, "shorter names");
        }
        run_path(name, depth + 1);
    }
    free(entries);
}

static void run_path(const char *path, unsigned depth)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        refuse(path, "a file or folder");
    }
    if (S_ISDIR(status.st_mode)) {
        run_folder(path, depth);
        return;
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        refuse(path, "a file that can be read");
    }
    run_stream(file, path);
    (void)fclose(file);
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL) {
        (void)LLVMFuzzerInitialize(&argc, &argv);
    }
    if (argc < 2) {
        run_stream(stdin, "standard input");
    }
    for (int idx = 1; idx < argc; idx++) {
        run_path(argv[idx], 0);
    }
    if (input_count == 0) {
        refuse(argv[1], "at least one input");
    }
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[K");
    }
    (void)fprintf(stderr, "%lu inputs\n", input_count);
    return 0;
}
