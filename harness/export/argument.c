/* SPDX-License-Identifier: MIT
 *
 * What calls are passed, in C: addresses become variables, or a distance from
 * one; what a parameter points to is made in front of the call. */
#include "emit_internal.h"

/* ---- Addresses
 * ------------------------------------------------------------------------------
 */

struct object *rig_emit_object_exact(struct emit *emit, uintptr_t address)
{
    for (size_t idx = emit->object_count; idx > 0; idx--) {
        if (emit->objects[idx - 1].address == address) {
            return &emit->objects[idx - 1];
        }
    }
    return NULL;
}

/* The one that begins nearest in front of the address, else nearest behind it.
 */
static const struct object *object_near(const struct emit *emit, uintptr_t address)
{
    const struct object *front = NULL;
    const struct object *behind = NULL;
    for (size_t idx = 0; idx < emit->object_count; idx++) {
        const struct object *object = &emit->objects[idx];
        if (object->address <= address) {
            front = front == NULL || object->address >= front->address ? object : front;
        } else {
            behind = behind == NULL || object->address < behind->address ? object : behind;
        }
    }
    if (front != NULL && address - front->address < NEAR_BYTES) {
        return front;
    }
    return behind != NULL && behind->address - address < NEAR_BYTES ? behind : NULL;
}

struct object *rig_emit_object_add(struct emit *emit, uintptr_t address, const char *name)
{
    RIG_CHECK(emit->object_count < OBJECT_MAX);
    struct object *object = &emit->objects[emit->object_count++];
    *object = (struct object){.address = address};
    (void)snprintf(object->name, sizeof(object->name), "%s", name);
    return object;
}

/* Memory of the rig's own becomes memory of the program's own, with the same
 * bytes around. */
static void put_outside(struct emit *emit, struct text *text, uintptr_t address, size_t before_at)
{
    const unsigned odd = address % 16u;
    const unsigned name = ++emit->outside_count;
    (void)fprintf(emit->globals,
                  "\n/* Memory that no heap gave. */\nstatic _Alignas(16) "
                  "unsigned char outside%u[] = {",
                  name);
    for (unsigned idx = 0; idx < odd; idx++) {
        (void)fprintf(emit->globals, "%s0,", idx % 16 == 0 ? "\n    " : " ");
    }
    for (unsigned idx = 0; idx < 2 * AROUND_BYTES; idx++) {
        (void)fprintf(emit->globals, "%s0x%02x,", (idx + odd) % 16 == 0 ? "\n    " : " ",
                      rig_emit_at(emit->tape, before_at)[idx]);
    }
    (void)fprintf(emit->globals, "\n};\n");
    rig_emit_put(text, "(PVOID)(outside%u + %u)", name, AROUND_BYTES + odd);
}

static void put_distance(struct text *text, const char *name, uintptr_t address, uintptr_t from)
{
    if (address >= from) {
        rig_emit_put(text, "(PVOID)((char *)%s + 0x%zx)", name, (size_t)(address - from));
    } else {
        rig_emit_put(text, "(PVOID)((char *)%s - 0x%zx)", name, (size_t)(from - address));
    }
}

/* `before_at`: what stood around it, when that is known. */
void rig_emit_put_address(struct emit *emit, struct text *text, uintptr_t address, size_t before_at)
{
    uintptr_t distance = 0;
    const struct object *object = rig_emit_object_exact(emit, address);
    if (address == 0) {
        rig_emit_put(text, "NULL");
    } else if (object != NULL) {
        rig_emit_put(text, "%s", object->name);
    } else if (rig_emit_base_of(emit->tape, address, &distance)) {
        rig_emit_put(text, "memory(%zu)", (size_t)(distance / BASE_BYTES));
        if (distance % BASE_BYTES != 0) {
            rig_emit_put(text, " + 0x%zx", (size_t)(distance % BASE_BYTES));
        }
    } else if (rig_emit_in_arena(emit->tape, address)) {
        object = object_near(emit, address);
        if (object != NULL) {
            put_distance(text, object->name, address, object->address);
        } else {
            rig_emit_put(text, "(PVOID)(arena_low + 0x%zx)", (size_t)(address - emit->tape->low));
        }
    } else if (before_at != TAPE_NOWHERE && address > 0xFFFF) {
        put_outside(emit, text, address, before_at);
    } else if (address > 0xFFFF && address >> 47 == 0) {
        /* Nothing was mapped there. Below 64 KiB nothing is, in any process. */
        rig_emit_put(text, "(PVOID)(uintptr_t)0x%zx", (size_t)(0x1000 | (address & 0xFFF)));
    } else {
        rig_emit_put(text, "(PVOID)(uintptr_t)0x%zxu", (size_t)address);
    }
}

/* ---- Arguments
 * ------------------------------------------------------------------------------
 */

static void put_flags(struct text *text, uint32_t flags, bool creating)
{
    static const struct {
        uint32_t bit;
        const char *name;
        int when; /* 1: of a creation, 0: of any other call, -1: of both */
    } names[] = {
        {HEAP_NO_SERIALIZE, "HEAP_NO_SERIALIZE", -1},
        {0x2, "HEAP_GROWABLE", 1},
        {HEAP_GENERATE_EXCEPTIONS, "HEAP_GENERATE_EXCEPTIONS", -1},
        {HEAP_ZERO_MEMORY, "HEAP_ZERO_MEMORY", -1},
        {HEAP_REALLOC_IN_PLACE_ONLY, "HEAP_REALLOC_IN_PLACE_ONLY", -1},
        {HEAP_SETTABLE_USER_VALUE, "HEAP_SETTABLE_USER_VALUE", 0},
        {HEAP_SETTABLE_USER_FLAG1, "HEAP_SETTABLE_USER_FLAG1", 0},
        {0x400, "HEAP_SETTABLE_USER_FLAG2", 0},
        {HEAP_SETTABLE_USER_FLAG3, "HEAP_SETTABLE_USER_FLAG3", 0},
        {HEAP_CREATE_ENABLE_EXECUTE, "HEAP_CREATE_ENABLE_EXECUTE", 1},
    };
    const size_t from = text->len;
    for (size_t idx = 0; idx < sizeof(names) / sizeof(names[0]); idx++) {
        if ((flags & names[idx].bit) != 0 && names[idx].when != (creating ? 0 : 1)) {
            rig_emit_put(text, "%s%s", text->len == from ? "" : " | ", names[idx].name);
            flags &= ~names[idx].bit;
        }
    }
    if (flags != 0 || text->len == from) {
        rig_emit_put(text, "%s0x%xu", text->len == from ? "" : " | ", flags);
    }
}

static void put_size(struct text *text, uintptr_t bytes)
{
    if (bytes < 0x100000) {
        rig_emit_put(text, "%zu", (size_t)bytes);
    } else {
        rig_emit_put(text, "0x%zxu", (size_t)bytes);
    }
}

unsigned rig_emit_section_of(struct emit *emit, uintptr_t address)
{
    for (unsigned idx = 0; idx < emit->section_count; idx++) {
        if (emit->sections[idx] == address) {
            return idx;
        }
    }
    RIG_CHECK(emit->section_count < SECTION_MAX);
    emit->sections[emit->section_count] = address;
    (void)fprintf(emit->globals, "static CRITICAL_SECTION section%u;\n", emit->section_count);
    return emit->section_count++;
}

/* The variable of a walk's entry, brought to what the rig's held. */
unsigned rig_emit_entry_of_walk(struct emit *emit, uintptr_t address, char kind)
{
    for (unsigned idx = 0; idx < emit->entry_count; idx++) {
        if (emit->entries[idx] == address && emit->entry_kinds[idx] == kind) {
            return idx;
        }
    }
    RIG_CHECK(emit->entry_count < ENTRY_MAX);
    const unsigned idx = emit->entry_count++;
    emit->entries[idx] = address;
    emit->entry_kinds[idx] = kind;
    emit->entry_after[idx] = TAPE_NOWHERE;
    (void)fprintf(emit->globals, "static %s entry%u;\n",
                  kind == 'W' ? "RTL_HEAP_WALK_ENTRY" : "PROCESS_HEAP_ENTRY", idx);
    return idx;
}

static void bytes_write(struct emit *emit, const char *name, size_t offset, size_t bytes)
{
    const uint8_t *from = rig_emit_at(emit->tape, offset);
    bool same = true;
    for (size_t idx = 1; idx < bytes; idx++) {
        same = same && from[idx] == from[0];
    }
    if (same) {
        (void)fprintf(emit->code, "    memset(%s, 0x%02x, %zu);\n", name, from[0], bytes);
        return;
    }
    (void)fprintf(emit->code, "    memcpy(%s, \"", name);
    for (size_t idx = 0; idx < bytes; idx++) {
        (void)fprintf(emit->code, "\\%03o", from[idx]);
    }
    (void)fprintf(emit->code, "\", %zu);\n", bytes);
}

static void entry_set(struct emit *emit, const struct tape_call *call, size_t param, unsigned idx)
{
    const struct tape_data *data = &call->data[param];
    const size_t now = emit->entry_after[idx];
    char name[24];
    char text[256];
    struct text place = {text, sizeof(text), 0};
    if (now != TAPE_NOWHERE && memcmp(rig_emit_at(emit->tape, now),
                                      rig_emit_at(emit->tape, data->before_at), data->bytes) == 0) {
        return;
    }
    (void)snprintf(name, sizeof(name), "&entry%u", idx);
    bytes_write(emit, name, data->before_at, data->bytes);
    const uintptr_t address = rig_emit_word_at(emit->tape, data->before_at, 0);
    rig_emit_put_address(emit, &place, address, TAPE_NOWHERE);
    (void)fprintf(emit->code, "    entry%u.%s = %s;\n", idx,
                  emit->entry_kinds[idx] == 'W' ? "DataAddress" : "lpData", text);
}

static void parameters_set(struct emit *emit, const struct tape_call *call, size_t param)
{
    RTL_HEAP_PARAMETERS given;
    memcpy(&given, rig_emit_at(emit->tape, call->data[param].before_at), sizeof(given));
    emit->uses_parameters = true;
    FILE *code = emit->code;
    (void)fprintf(code, "    memset(&parameters, 0, sizeof(parameters));\n");
    (void)fprintf(code, "    parameters.Length = %u;\n", given.Length);
    const struct {
        const char *name;
        size_t bytes;
    } members[] = {
        {"SegmentReserve", given.SegmentReserve},
        {"SegmentCommit", given.SegmentCommit},
        {"DeCommitFreeBlockThreshold", given.DeCommitFreeBlockThreshold},
        {"DeCommitTotalFreeThreshold", given.DeCommitTotalFreeThreshold},
        {"MaximumAllocationSize", given.MaximumAllocationSize},
        {"VirtualMemoryThreshold", given.VirtualMemoryThreshold},
        {"InitialCommit", given.InitialCommit},
        {"InitialReserve", given.InitialReserve},
        {"Reserved[0]", given.Reserved[0]},
        {"Reserved[1]", given.Reserved[1]},
    };
    for (size_t idx = 0; idx < sizeof(members) / sizeof(members[0]); idx++) {
        if (members[idx].bytes != 0) {
            (void)fprintf(code, "    parameters.%s = 0x%zxu;\n", members[idx].name,
                          members[idx].bytes);
        }
    }
    if (given.CommitRoutine != NULL) {
        emit->uses_routine = true;
        (void)fprintf(code, "    parameters.CommitRoutine = commit_routine;\n");
    }
}

/* An address that is to be written to or read from, and is not what the call
 * wants. */
static bool put_misplaced(struct emit *emit, struct text *text, const struct tape_call *call,
                          size_t idx, const char *type)
{
    const struct tape_data *data = &call->data[idx];
    const uintptr_t address = call->arguments[idx];
    if (address == 0) {
        rig_emit_put(text, "NULL");
        return true;
    }
    const bool read_only = type[0] == 'c'; /* const */
    if (data->before_at != TAPE_NOWHERE && (data->writable || read_only) &&
        !rig_emit_in_arena(emit->tape, address)) {
        return false;
    }
    if (data->bytes == 0 && !rig_emit_in_arena(emit->tape, address)) {
        return false;
    }
    rig_emit_put(text, "(%s)", type);
    rig_emit_put_address(emit, text, address,
                         data->bytes >= 2 * AROUND_BYTES ? data->before_at : TAPE_NOWHERE);
    return true;
}

/* What one parameter is in C. Statements that it needs in front go to the code.
 */
void rig_emit_put_argument(struct emit *emit, struct text *text, const struct tape_call *call,
                           size_t idx)
{
    const struct tape_call_info *info = rig_tape_call_info(call->what);
    const uintptr_t value = call->arguments[idx];
    const struct tape_data *data = &call->data[idx];
    switch (info->takes[idx]) {
    case 'H':
    case 'B':
    case 'E':
        rig_emit_put_address(emit, text, value, data->before_at);
        break;
    case 'M':
        if (emit->misused && value != 0 && !data->writable) {
            rig_emit_put(text, "(PVOID)(uintptr_t)0x10000u"); /* a page that nobody can write to */
        } else {
            rig_emit_put_address(emit, text, value, TAPE_NOWHERE);
        }
        break;
    case 'V':
        rig_emit_put(text, "(PVOID)(uintptr_t)0x%zx", (size_t)value);
        break;
    case 'F':
        put_flags(text, (uint32_t)value,
                  call->what == TAPE_RtlCreateHeap || call->what == TAPE_HeapCreate);
        break;
    case 'Z':
        put_size(text, value);
        break;
    case 'C':
        rig_emit_put(text, "%u", (unsigned)value);
        break;
    case 'U':
    case 'S':
        rig_emit_put(text,
                     info->takes[1] == 'U' && info->takes[0] == 'H' ? "(HEAP_INFORMATION_CLASS)%u"
                                                                    : "0x%xu",
                     (unsigned)(uint32_t)value);
        break;
    case 'A':
        if (!put_misplaced(emit, text, call, idx, "PVOID *")) {
            emit->uses_array = true;
            rig_emit_put(text, "array");
            for (size_t one = 0; one * sizeof(PVOID) < data->bytes; one++) {
                char entry[256];
                struct text place = {entry, sizeof(entry), 0};
                const uintptr_t address = rig_emit_word_at(emit->tape, data->before_at, one);
                if (address == RIG_POISON) {
                    rig_emit_put(&place, "(PVOID)(uintptr_t)0x%xu", RIG_POISON);
                } else {
                    rig_emit_put_address(emit, &place, address, TAPE_NOWHERE);
                }
                (void)fprintf(emit->code, "    array[%zu] = %s;\n", one, entry);
            }
        }
        break;
    case 'O':
        if (!put_misplaced(emit, text, call, idx, "PVOID *")) {
            emit->uses_out = true;
            (void)fprintf(emit->code, "    user_value = (PVOID)(uintptr_t)0x%zxu;\n",
                          (size_t)rig_emit_word_at(emit->tape, data->before_at, 0));
            rig_emit_put(text, "&user_value");
        }
        break;
    case 'o':
        if (!put_misplaced(emit, text, call, idx, "PULONG")) {
            emit->uses_user_flags = true;
            (void)fprintf(emit->code, "    user_flags = 0x%xu;\n",
                          rig_emit_half_at(emit->tape, data->before_at, 0));
            rig_emit_put(text, "&user_flags");
        }
        break;
    case 'L':
        if (!put_misplaced(emit, text, call, idx, "PSIZE_T")) {
            emit->uses_length = true;
            (void)fprintf(emit->code, "    length = 0x%zxu;\n",
                          (size_t)rig_emit_word_at(emit->tape, data->before_at, 0));
            rig_emit_put(text, "&length");
        }
        break;
    case 'W':
    case 'w':
        if (!put_misplaced(emit, text, call, idx,
                           info->takes[idx] == 'W' ? "PRTL_HEAP_WALK_ENTRY"
                                                   : "LPPROCESS_HEAP_ENTRY")) {
            const unsigned entry = rig_emit_entry_of_walk(emit, value, info->takes[idx]);
            entry_set(emit, call, idx, entry);
            emit->entry_after[entry] =
                data->after_at != TAPE_NOWHERE ? data->after_at : data->before_at;
            rig_emit_put(text, "&entry%u", entry);
        }
        break;
    case 'Y':
        if (!put_misplaced(emit, text, call, idx, "LPHEAP_SUMMARY")) {
            emit->uses_summary = true;
            bytes_write(emit, "&summary", data->before_at, data->bytes);
            rig_emit_put(text, "&summary");
        }
        break;
    case 'I':
    case 'i':
        if (!put_misplaced(emit, text, call, idx, "PVOID")) {
            emit->uses_information = true;
            if (data->bytes > 0) {
                bytes_write(emit, "information", data->before_at, data->bytes);
            }
            rig_emit_put(text, "information");
        }
        break;
    case 'K':
        if (!put_misplaced(emit, text, call, idx, "LPCRITICAL_SECTION")) {
            rig_emit_put(text, "&section%u", rig_emit_section_of(emit, value));
        }
        break;
    case 'P':
        if (!put_misplaced(emit, text, call, idx, "PRTL_HEAP_PARAMETERS")) {
            parameters_set(emit, call, idx);
            rig_emit_put(text, "&parameters");
        }
        break;
    case 'G':
        if (!put_misplaced(emit, text, call, idx, "const ULONG_PTR *")) {
            emit->uses_raise = true;
            for (size_t one = 0; one * sizeof(ULONG_PTR) < data->bytes; one++) {
                (void)fprintf(emit->code, "    arguments[%zu] = 0x%zxu;\n", one,
                              (size_t)rig_emit_word_at(emit->tape, data->before_at, one));
            }
            rig_emit_put(text, "arguments");
        }
        break;
    case 'R':
        emit->uses_listing = emit->uses_listing || value != 0;
        rig_emit_put(text, value == 0 ? "NULL" : "listing");
        break;
    case 'r':
        rig_emit_put(text, "NULL");
        break;
    case 'X':
        if (value == 0) {
            rig_emit_put(text, "NULL");
        } else {
            rig_emit_put(text, "handler_%s", rig_handler_kind((RIG_VECTORED_HANDLER)value));
        }
        break;
    default:
        rig_emit_put(text, "0");
        break;
    }
}
