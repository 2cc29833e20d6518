/* SPDX-License-Identifier: MIT
 *
 * Input of subcommands. Calls run/load. */
#include "cli/input.h"

#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_BYTES 65536u

static uint8_t bytes[RIG_LOAD_BYTES_MAX + 1];

/* A stream as a file of its own: it is read again to confirm a finding. */
/* A stream may never end; a trace of more than this is a file. */
#define STREAM_BYTES_MAX (256u << 20)

static FILE *copy_of(const char *command, const char *name, FILE *stream)
{
    FILE *copy = tmpfile();
    if (copy == NULL) {
        rig_cli_refuse(command, "%s: expected room for a copy: %s", name, strerror(errno));
    }
    size_t got;
    size_t total = 0;
    while ((got = fread(bytes, 1, COPY_BYTES, stream)) > 0) {
        total += got;
        if (total > STREAM_BYTES_MAX) {
            rig_cli_refuse(command, "%s: expected at most %u MiB from a stream: keep it in a file",
                           name, STREAM_BYTES_MAX >> 20);
        }
        if (fwrite(bytes, 1, got, copy) != got) {
            rig_cli_refuse(command, "%s: expected room for a copy: %s", name, strerror(errno));
        }
    }
    if (ferror(stream) != 0) {
        rig_cli_refuse(command, "%s: expected something to read: %s", name, strerror(errno));
    }
    rewind(copy);
    return copy;
}

static FILE *file_open(const char *command, const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &status) != 0) {
        rig_cli_refuse(command, "%s: expected a file to read: %s", path, strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        rig_cli_refuse(command, "%s: expected a file, found a folder", path);
    }
    if (S_ISREG(status.st_mode)) {
        return file;
    }
    FILE *copy = copy_of(command, path, file);
    (void)fclose(file);
    return copy;
}

/* A trace is known by its first bytes and read as a stream, however long it is. */
static bool is_trace(FILE *file, const char *name)
{
    const size_t got = fread(bytes, 1, 8, file);
    rewind(file);
    return rig_load_form(name, bytes, got) == RIG_LOAD_TRACE;
}

void rig_input_open(struct rig_input *input, const char *command, const char *path, bool text)
{
    const bool standard = strcmp(path, "-") == 0;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    size_t len = 0;
    input->path = path;
    input->name = standard ? "standard input" : path;
    input->file = standard ? copy_of(command, input->name, stdin) : file_open(command, path);
    if (!text && is_trace(input->file, path)) {
        input->form = RIG_LOAD_TRACE;
        return;
    }
    if (!rig_load_read(input->file, input->name, bytes, &len, error, sizeof(error))) {
        rig_cli_refuse(command, "%s", error);
    }
    rewind(input->file);
    input->form = text ? RIG_LOAD_TEXT : rig_load_form(path, bytes, len);
    if (!rig_load_bytes(&input->program, input->form, input->name, bytes, len, error,
                        sizeof(error))) {
        rig_cli_refuse(command, "%s", error);
    }
}

void rig_input_close(struct rig_input *input)
{
    (void)fclose(input->file);
    input->file = NULL;
}
