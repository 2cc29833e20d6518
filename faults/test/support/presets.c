/* SPDX-License-Identifier: MIT
 *
 * Presets and scenes. Blocks of the scene: s1 and s2 small, s3 of pages, s10 to s13 side by side
 * and too large for a front end, s20 large, s30 in heap 2, s31 in heap 3. */
#include "presets.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct preset presets[] = {
    {"growable", "HeapCreate h1 0\n", true, true, true, false},
    {"rtl", "RtlCreateHeap h1 0\n", true, true, true, false},
    {"fixed", "HeapCreate h1 reserve=15 fixed 0\n", false, true, true, false},
    {"no-serialize", "HeapCreate h1 no-serialize 0\n", true, false, true, false},
    {"exceptions", "HeapCreate h1 exceptions 0\n", true, true, true, false},
    {"front end", "HeapCreate h1 0\nHeapSetInformation h1\n", true, true, true, false},
    {"caller's memory", "RtlCreateHeap h1 reserve=11 arg=base 0\n", true, true, false, false},
    {"terminating", "HeapCreate h1 0\nHeapSetInformation h1 arg=12\n", true, true, true, true},
};

const struct preset *preset_at(unsigned idx)
{
    return idx < sizeof(presets) / sizeof(presets[0]) ? &presets[idx] : NULL;
}

bool preset_has(const struct preset *preset, const struct fault_misuse_info *misuse)
{
    switch (misuse->need) {
    case FAULT_NEED_FREED_PAGES:
        return preset->decommits;
    case FAULT_NEED_FREED_LARGE:
    case FAULT_NEED_GROWING_HEAP:
    case FAULT_NEED_UNWOUND_HEAP:
        return preset->growable;
    case FAULT_NEED_UNLOCKED_HEAP:
    case FAULT_NEED_LOCKED_BY_OTHER:
        return preset->serializes;
    default:
        return misuse->pointer != FAULT_POINTER_UNCOMMITTED || preset->decommits;
    }
}

/* What the need asks for besides the blocks that every scene has. */
static const char *scene_of(enum fault_need need)
{
    switch (need) {
    case FAULT_NEED_FREED:
    case FAULT_NEED_FREED_SECOND:
    case FAULT_NEED_FREED_LOCKED:
        return "HeapFree s2\n";
    case FAULT_NEED_FREED_EARLIER:
        return "HeapFree s2\nHeapAlloc s4 h1 600\nHeapFree s4\n";
    case FAULT_NEED_FREED_MERGED:
        return "HeapFree s10\nHeapFree s11\n";
    case FAULT_NEED_FREED_PAGES:
        return "HeapAlloc s14 h1 pages:60\nHeapAlloc s15 h1 pages:60\nHeapFree s11\nHeapFree s12\n"
               "HeapFree s14\nHeapFree s15\n";
    case FAULT_NEED_FREED_LARGE:
        return "HeapAlloc s20 h1 pages:200\nHeapFree s20\n";
    case FAULT_NEED_GONE_BLOCK:
    case FAULT_NEED_GONE_HEAP:
        return "HeapCreate h3 0\nHeapAlloc s31 h3 100\nHeapDestroy h3\n";
    case FAULT_NEED_LOCKED_BY_OTHER:
        return "HeapLock h1\n";
    case FAULT_NEED_FREE_SECTION:
        return "InitializeCriticalSection\n";
    case FAULT_NEED_UNWOUND_HEAP:
        return "misuse interrupted h1\n";
    default:
        return "";
    }
}

static const char *names_of(const struct fault_misuse_info *misuse)
{
    switch (misuse->need) {
    case FAULT_NEED_FREED_MERGED:
        return "s11 h1";
    case FAULT_NEED_FREED_PAGES:
        return "s12 h1";
    case FAULT_NEED_FREED_LARGE:
        return "s20 h1";
    case FAULT_NEED_OTHER_HEAP:
        return "s30 h1";
    case FAULT_NEED_PROCESS_HEAP:
        return "h0";
    case FAULT_NEED_BLOCK_PAGES:
        return "s3 h1";
    case FAULT_NEED_BLOCK:
    case FAULT_NEED_BLOCK_WIDE:
        return "s1 h1";
    case FAULT_NEED_GROWING_HEAP:
    case FAULT_NEED_UNWOUND_HEAP:
        return "h1";
    default:
        return "s2 h1";
    }
}

void preset_scene(const struct preset *preset, const struct fault_misuse_info *misuse, char *text,
                  size_t text_bytes)
{
    const int length =
        snprintf(text, text_bytes,
                 "program seed=7 flags=misuse\n"
                 "%s"
                 "HeapAlloc s1 h1 100\nHeapAlloc s2 h1 200\nHeapAlloc s3 h1 20000\n"
                 "HeapAlloc s10 h1 17000\nHeapAlloc s11 h1 17000\nHeapAlloc s12 h1 17000\n"
                 "HeapAlloc s13 h1 17000\nHeapCreate h2 0\nHeapAlloc s30 h2 100\n"
                 "%s",
                 preset->text, scene_of(misuse->need));
    assert(length > 0 && (size_t)length < text_bytes);
}

static unsigned calls_of(const struct fault_misuse_info *misuse)
{
    unsigned count = 0;
    for (unsigned call = 0; call < FAULT_CALL_COUNT; call++) {
        count += (fault_call_info(call)->sets & misuse->calls) != 0;
    }
    return count;
}

unsigned preset_turns(const struct fault_misuse_info *misuse)
{
    return 2 * calls_of(misuse) * FAULT_VARIANTS;
}

void preset_line(const struct fault_misuse_info *misuse, unsigned turn, char *line,
                 size_t line_bytes)
{
    static const char *const contexts[] = {"plain", "filter", "continue", "locked"};
    const unsigned call = turn % (2 * calls_of(misuse));
    const unsigned variant = turn / (2 * calls_of(misuse));
    (void)snprintf(line, line_bytes, "misuse %s %s %s value=%u context=%s flags=%u", misuse->name,
                   names_of(misuse), call % 2 != 0 ? "win32" : "rtl",
                   call / 2 + 256 * (variant * 37 % 256), contexts[variant % 4],
                   variant / 2 % 2 * 2);
}
