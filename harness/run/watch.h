/* SPDX-License-Identifier: MIT
 *
 * What the executor does for programs under a verifier (watch.c, do_verify.c, stories.c). */
#ifndef RIG_RUN_WATCH_H
#define RIG_RUN_WATCH_H

#include "exec_internal.h"

#define RIG_MARK_BYTES 48u

enum rig_stop_code {
    RIG_STOP_VIOLATION = 0x2,
    RIG_STOP_UNSYNCHRONIZED = 0x3,
    RIG_STOP_EXTREME = 0x4,
    RIG_STOP_BAD_HANDLE = 0x5,
    RIG_STOP_SWITCHED = 0x6,
    RIG_STOP_DOUBLE_FREE = 0x7,
    RIG_STOP_BLOCK = 0x8,
    RIG_STOP_PROCESS_HEAP = 0x9,
    RIG_STOP_UNEXPECTED = 0xA,
    RIG_STOP_HEADER = 0xB,
    RIG_STOP_PROBING = 0xC,
    RIG_STOP_HELD_MARK = 0xD,
    RIG_STOP_FREED = 0xE,
    RIG_STOP_SUFFIX = 0xF,
    RIG_STOP_START_STAMP = 0x10,
    RIG_STOP_END_STAMP = 0x11,
    RIG_STOP_PREFIX = 0x12,
    RIG_STOP_FIRST_CHANCE = 0x13,
    RIG_STOP_EXECUTABLE = 0x1D,
    RIG_STOP_THREAD_OWNS = 0x200,
    RIG_STOP_LOCK_UNLOADED = 0x201,
    RIG_STOP_LOCK_FREED = 0x202,
    RIG_STOP_LOCK_DOUBLE = 0x203,
    RIG_STOP_LOCK_CORRUPTED = 0x205,
    RIG_STOP_LOCK_OWNER = 0x206,
    RIG_STOP_LOCK_RECURSION = 0x207,
    RIG_STOP_LOCK_COUNT = 0x208,
    RIG_STOP_LOCK_OVER = 0x209,
    RIG_STOP_LOCK_NEVER = 0x210,
    RIG_STOP_LOCK_AGAIN = 0x211,
    RIG_STOP_LOCK_NOT_OWNER = 0x214,
    RIG_STOP_STACK = 0x612,
    RIG_STOP_SIZING = 0x618,
    RIG_STOP_RUN = 0x650,
    RIG_STOP_LEAK = 0x900
};

/* One more stop that this step must lead to, as far as it is not switched off. */
struct rig_expected *rig_watch_expect(struct rig_exec *exec, unsigned code, uintptr_t first,
                                      uintptr_t second, uintptr_t third, uintptr_t fourth);

/* A story ended where there was no memory: what it would have led to from there on is not told. */
bool rig_watch_cut_short(const struct rig_step *step);

/* How many blocks of a heap, live or held, are not as they were left. */
unsigned rig_watch_damage(struct rig_exec *exec, unsigned heap);

/* Where the pages of a full block begin and end, by where it lies and for which size it was placed: one
 * that was resized where it is keeps its pages. */
void rig_watch_pages(const struct rig_exec *exec, uintptr_t user, size_t laid_bytes, uintptr_t *low,
                     uintptr_t *high);

/* do_verify_off.c: VERIFY where no verifier is on. False: finding. */
bool rig_verify_off(struct rig_exec *exec, struct rig_step *step);

#endif
