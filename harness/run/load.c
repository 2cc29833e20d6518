/* SPDX-License-Identifier: MIT
 *
 * From files to programs. Calls both forms' readers. */
#include "load.h"

#include "program/text.h"

#include <errno.h>
#include <string.h>

static bool begins(const uint8_t *bytes, size_t len_bytes, const char *text)
{
    return len_bytes >= strlen(text) && memcmp(bytes, text, strlen(text)) == 0;
}

static bool ends(const char *name, const char *ending)
{
    const size_t len = strlen(name);
    return len >= strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0;
}

enum rig_load_form rig_load_form(const char *name, const uint8_t *bytes, size_t len_bytes)
{
    if (ends(name, ".heap") || begins(bytes, len_bytes, "program ") ||
        begins(bytes, len_bytes, "program\n")) {
        return RIG_LOAD_TEXT;
    }
    return begins(bytes, len_bytes, "HRTR") ? RIG_LOAD_TRACE : RIG_LOAD_BINARY;
}

static bool load_binary(struct rig_program *program, const char *name, const uint8_t *bytes,
                        size_t len_bytes, char *error, size_t error_bytes)
{
    if (len_bytes > RIG_PROGRAM_BYTES_MAX) {
        (void)snprintf(error, error_bytes, "%s: expected a program of %u bytes at most, found %zu",
                       name, RIG_PROGRAM_BYTES_MAX, len_bytes);
        return false;
    }
    if (rig_program_decode(program, bytes, len_bytes) == RIG_DECODE_NEW_VERSION) {
        (void)snprintf(error, error_bytes, "%s: byte 4: expected version %u, found %u", name,
                       RIG_VERSION, bytes[4]);
        return false;
    }
    return true;
}

bool rig_load_bytes(struct rig_program *program, enum rig_load_form form, const char *name,
                    const uint8_t *bytes, size_t len_bytes, char *error, size_t error_bytes)
{
    if (form == RIG_LOAD_BINARY) {
        return load_binary(program, name, bytes, len_bytes, error, error_bytes);
    }
    if (form == RIG_LOAD_TEXT) {
        return rig_text_parse(program, name, (const char *)bytes, len_bytes, error, error_bytes);
    }
    (void)snprintf(error, error_bytes, "%s: expected a program, found a trace", name);
    return false;
}

bool rig_load_read(FILE *file, const char *name, uint8_t *bytes, size_t *len_bytes, char *error,
                   size_t error_bytes)
{
    errno = 0;
    *len_bytes = fread(bytes, 1, RIG_LOAD_BYTES_MAX + 1, file);
    if (ferror(file) != 0) {
        (void)snprintf(error, error_bytes, "%s: expected a file to read: %s", name,
                       strerror(errno));
        return false;
    }
    if (*len_bytes > RIG_LOAD_BYTES_MAX) {
        (void)snprintf(error, error_bytes, "%s: expected %zu bytes at most, found more", name,
                       RIG_LOAD_BYTES_MAX);
        return false;
    }
    return true;
}

bool rig_load_file(struct rig_program *program, const char *path, char *error, size_t error_bytes)
{
    static uint8_t bytes[RIG_LOAD_BYTES_MAX + 1];
    size_t len = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)snprintf(error, error_bytes, "%s: expected a file to read: %s", path,
                       strerror(errno));
        return false;
    }
    const bool read = rig_load_read(file, path, bytes, &len, error, error_bytes);
    (void)fclose(file);
    return read && rig_load_bytes(program, rig_load_form(path, bytes, len), path, bytes, len, error,
                                  error_bytes);
}
