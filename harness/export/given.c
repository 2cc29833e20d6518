/* SPDX-License-Identifier: MIT
 *
 * What calls gave, in the words in which the exported program says it, too. */
#include "emit_internal.h"

#include <stdarg.h>

/* ---- Text
 * -----------------------------------------------------------------------------------
 */

void rig_emit_put(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = text->len < text->bytes ? text->bytes - text->len : 0;
    const int more = vsnprintf(room == 0 ? NULL : text->out + text->len, room, format, arguments);
    va_end(arguments);
    text->len += more > 0 ? (size_t)more : 0;
}

const uint8_t *rig_emit_at(const struct tape *tape, size_t offset)
{
    return tape->bytes + offset;
}

uintptr_t rig_emit_word_at(const struct tape *tape, size_t offset, size_t idx)
{
    uintptr_t word = 0;
    memcpy(&word, rig_emit_at(tape, offset) + idx * sizeof(word), sizeof(word));
    return word;
}

uint32_t rig_emit_half_at(const struct tape *tape, size_t offset, size_t idx)
{
    uint32_t half = 0;
    memcpy(&half, rig_emit_at(tape, offset) + idx * sizeof(half), sizeof(half));
    return half;
}

/* ---- What a call gave
 * ----------------------------------------------------------------------- */

/* The base that the caller brought, by the order in which they came first. */
bool rig_emit_base_of(const struct tape *tape, uintptr_t address, uintptr_t *distance)
{
    uintptr_t bases[RIG_HEAP_COUNT];
    unsigned count = 0;
    for (size_t idx = 0; idx < tape->call_count; idx++) {
        const struct tape_call *call = &tape->calls[idx];
        const uintptr_t base = call->arguments[1];
        bool known = call->what != TAPE_RtlCreateHeap || base == 0 || base % 0x10000 != 0;
        for (unsigned before = 0; before < count; before++) {
            known = known || bases[before] == base;
        }
        if (!known && count < RIG_HEAP_COUNT) {
            bases[count++] = base;
        }
    }
    for (unsigned idx = 0; idx < count; idx++) {
        if (address >= bases[idx] && address - bases[idx] < BASE_BYTES) {
            *distance = idx * BASE_BYTES + (address - bases[idx]);
            return true;
        }
    }
    return false;
}

bool rig_emit_in_arena(const struct tape *tape, uintptr_t address)
{
    return tape->low != 0 && address >= tape->low && address - tape->low <= SPAN_BYTES;
}

void rig_emit_put_place(struct text *text, const struct tape *tape, bool places, uintptr_t address)
{
    uintptr_t distance = 0;
    if (address != 0 && rig_emit_base_of(tape, address, &distance)) {
        rig_emit_put(text, "memory+0x%zx", (size_t)distance);
    } else if (places && rig_emit_in_arena(tape, address)) {
        rig_emit_put(text, "0x%zx", (size_t)(address - tape->low));
    } else {
        rig_emit_put(text, "%s", address == 0 ? "0" : "there");
    }
}

static void put_raised(struct text *text, const EXCEPTION_RECORD *record)
{
    rig_emit_put(text, "raised 0x%08x flags=0x%x", record->ExceptionCode, record->ExceptionFlags);
    for (DWORD idx = 0; idx < record->NumberParameters; idx++) {
        if (record->ExceptionCode != STATUS_ACCESS_VIOLATION) {
            rig_emit_put(text, " 0x%zx", (size_t)record->ExceptionInformation[idx]);
        }
    }
}

static void put_value(struct text *text, const struct tape *tape, const struct tape_call *call,
                      bool places)
{
    switch (rig_tape_call_info(call->what)->gives) {
    case 'p':
    case 'h':
        rig_emit_put_place(text, tape, places, call->result);
        break;
    case 'q':
        rig_emit_put(text, "%s", call->result == 0 ? "0" : "there");
        break;
    case 'n':
        rig_emit_put(text, "%zu", (size_t)call->result);
        break;
    case 'b':
        rig_emit_put(text, "%u", call->result != 0);
        break;
    case 's':
        rig_emit_put(text, "0x%08x", (unsigned)(uint32_t)call->result);
        break;
    default:
        rig_emit_put(text, "done");
        break;
    }
}

struct entry rig_emit_entry_of(const struct tape *tape, const struct tape_call *call, size_t offset)
{
    RTL_HEAP_WALK_ENTRY rtl;
    PROCESS_HEAP_ENTRY win32;
    if (call->what == TAPE_RtlWalkHeap) {
        memcpy(&rtl, rig_emit_at(tape, offset), sizeof(rtl));
        return (struct entry){(uintptr_t)rtl.DataAddress, rtl.DataSize, rtl.OverheadBytes,
                              rtl.SegmentIndex, rtl.Flags};
    }
    memcpy(&win32, rig_emit_at(tape, offset), sizeof(win32));
    return (struct entry){(uintptr_t)win32.lpData, win32.cbData, win32.cbOverhead,
                          win32.iRegionIndex, win32.wFlags};
}

static void put_out(struct text *text, const struct tape *tape, const struct tape_call *call,
                    size_t idx, bool places)
{
    const struct tape_data *data = &call->data[idx];
    switch (rig_tape_call_info(call->what)->takes[idx]) {
    case 'A':
        for (size_t one = 0; one * sizeof(PVOID) < data->bytes; one++) {
            rig_emit_put(text, one == 0 ? " [" : " ");
            rig_emit_put_place(text, tape, places, rig_emit_word_at(tape, data->after_at, one));
        }
        rig_emit_put(text, data->bytes == 0 ? "" : "]");
        break;
    case 'O':
    case 'L':
        rig_emit_put(text, " 0x%zx", (size_t)rig_emit_word_at(tape, data->after_at, 0));
        break;
    case 'o':
        rig_emit_put(text, " 0x%x", rig_emit_half_at(tape, data->after_at, 0));
        break;
    case 'Y':
        for (size_t one = 1; one < sizeof(HEAP_SUMMARY) / sizeof(size_t); one++) {
            rig_emit_put(text, " %zu", (size_t)rig_emit_word_at(tape, data->after_at, one));
        }
        break;
    case 'i':
        for (size_t one = 0; (one + 1) * sizeof(uint32_t) <= data->bytes; one++) {
            rig_emit_put(text, " 0x%x", rig_emit_half_at(tape, data->after_at, one));
        }
        break;
    case 'K': {
        CRITICAL_SECTION section;
        memcpy(&section, rig_emit_at(tape, data->after_at), sizeof(section));
        rig_emit_put(text, " %d %d", (int)section.LockCount, (int)section.RecursionCount);
        break;
    }
    case 'W':
    case 'w': {
        const struct entry entry = rig_emit_entry_of(tape, call, data->after_at);
        rig_emit_put(text, " ");
        rig_emit_put_place(text, tape, places, entry.address);
        rig_emit_put(text, " %zu %u %u %u", entry.bytes, entry.overhead, entry.idx, entry.flags);
        break;
    }
    default:
        break;
    }
}

size_t rig_emit_given(const struct tape *tape, const struct tape_call *call,
                      const struct tape_step *step, bool places, char *out, size_t out_bytes)
{
    struct text text = {out, out_bytes, 0};
    if (call->raised) {
        put_raised(&text, &call->exception);
    } else {
        put_value(&text, tape, call, places);
        for (size_t idx = 0; rig_tape_call_info(call->what)->takes[idx] != '\0'; idx++) {
            if (call->data[idx].after_at != TAPE_NOWHERE && call->data[idx].bytes > 0) {
                put_out(&text, tape, call, idx, places);
            }
        }
    }
    if (call->reports > 0) {
        rig_emit_put(&text, " reported=%u:%s", (unsigned)call->reports, call->reason);
    }
    if (step != NULL && step->outcome.error_after != step->outcome.error_before) {
        rig_emit_put(&text, " error=%u", step->outcome.error_after);
    }
    return text.len;
}
