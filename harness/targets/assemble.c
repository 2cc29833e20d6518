/* SPDX-License-Identifier: MIT
 *
 * Makes a corpus of bytes: heaprig-assemble FOLDER LIST. LIST names a file a line; *.heap is parsed
 * as the text form and encoded, anything else is copied. Names in FOLDER are those of the files,
 * `.heap` replaced by `.bin`. */
#include "program/text.h"

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

static void assemble(const char *folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    const char *suffix = strrchr(name, '.');
    const int text = suffix != NULL && strcmp(suffix, ".heap") == 0;
    const int kept = (int)(text ? (size_t)(suffix - name) : strlen(name));
    char out[PATH_BYTES];
    if (snprintf(out, sizeof(out), "%s/%.*s%s", folder, kept, name, text ? ".bin" : "") >=
        (int)sizeof(out)) {
        refuse(path, "a shorter name");
    }
    const size_t len = read_whole(path);
    if (!text) {
        write_whole(out, input, len);
        return;
    }
    static struct rig_program program;
    static uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    char error[PATH_BYTES];
    if (!rig_text_parse(&program, path, input, len, error, sizeof(error))) {
        (void)fprintf(stderr, "%s\n", error);
        exit(2);
    }
    write_whole(out, bytes, rig_program_encode(&program, bytes));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        refuse(argv[0], "a folder and a list of files");
    }
    FILE *list = fopen(argv[2], "r");
    if (list == NULL) {
        refuse(argv[2], "a file that can be read");
    }
    char path[PATH_BYTES];
    while (fgets(path, sizeof(path), list) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        if (path[0] != '\0') {
            assemble(argv[1], path);
        }
    }
    (void)fclose(list);
    return 0;
}
