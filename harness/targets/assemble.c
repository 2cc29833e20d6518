/* SPDX-License-Identifier: MIT
 *
 * Makes a corpus of bytes: heaprig-assemble [--vary] FOLDER LIST. LIST names a file a line; *.heap
 * is parsed as the text form and encoded, anything else is copied. Names in FOLDER are those of the
 * files, `.heap` replaced by `.bin`. With --vary each *.heap gives its variants instead,
 * `NAME.1.bin`, `NAME.2.bin` and so on (program/vary.h), and nothing else is looked at. */
#include "program/text.h"
#include "program/vary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX (1u << 22)
#define PATH_BYTES 4096u

static char input[INPUT_BYTES_MAX];

static _Noreturn void refuse(const char *path, const char *expected)
{
    (void)fprintf(stderr, "%s: expected %s\n", path, expected);
    exit(2);
}

static size_t read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        refuse(path, "a file that can be read");
    }
    const size_t len = fread(input, 1, sizeof(input), file);
    if (ferror(file) != 0 || len == sizeof(input)) {
        refuse(path, "a file of less than 4 MiB");
    }
    (void)fclose(file);
    return len;
}

static void write_whole(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wbx");
    if (file == NULL && errno == EEXIST) {
        refuse(path, "a name that no other seed has");
    }
    if (file == NULL || fwrite(bytes, 1, len, file) != len || fclose(file) != 0) {
        refuse(path, "a file that can be written");
    }
}

/* FOLDER/NAME, the first `kept` bytes of it, and a suffix. */
static const char *path_of(const char *folder, const char *name, size_t kept, const char *suffix)
{
    static char out[PATH_BYTES];
    if (snprintf(out, sizeof(out), "%s/%.*s%s", folder, (int)kept, name, suffix) >=
        (int)sizeof(out)) {
        refuse(name, "a shorter name");
    }
    return out;
}

static void write_program(const char *path, const struct rig_program *program)
{
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    write_whole(path, bytes, rig_program_encode(program, bytes));
}

static void write_variants(const char *folder, const char *name, size_t kept,
                           const struct rig_program *program)
{
    static struct rig_program variant;
    for (unsigned wanted = 1; wanted < RIG_VARY_COUNT; wanted++) {
        char suffix[16];
        (void)snprintf(suffix, sizeof(suffix), ".%u.bin", wanted);
        if (rig_program_vary(program, wanted, &variant)) {
            write_program(path_of(folder, name, kept, suffix), &variant);
        }
    }
}

static void assemble(const char *folder, const char *path, bool vary)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    const char *suffix = strrchr(name, '.');
    if (suffix == NULL || strcmp(suffix, ".heap") != 0) {
        if (!vary) {
            write_whole(path_of(folder, name, strlen(name), ""), input, read_whole(path));
        }
        return;
    }
    static struct rig_program program;
    char error[PATH_BYTES];
    const size_t kept = (size_t)(suffix - name);
    if (!rig_text_parse(&program, path, input, read_whole(path), error, sizeof(error))) {
        (void)fprintf(stderr, "%s\n", error);
        exit(2);
    }
    if (vary) {
        write_variants(folder, name, kept, &program);
    } else {
        write_program(path_of(folder, name, kept, ".bin"), &program);
    }
}

int main(int argc, char **argv)
{
    const bool vary = argc == 4 && strcmp(argv[1], "--vary") == 0;
    if (argc != (vary ? 4 : 3)) {
        refuse(argv[0], "a folder and a list of files");
    }
    const char *folder = argv[argc - 2];
    FILE *list = fopen(argv[argc - 1], "r");
    if (list == NULL) {
        refuse(argv[argc - 1], "a file that can be read");
    }
    char path[PATH_BYTES];
    while (fgets(path, sizeof(path), list) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        if (path[0] != '\0') {
            assemble(folder, path, vary);
        }
    }
    (void)fclose(list);
    return 0;
}
