/* SPDX-License-Identifier: MIT
 *
 * What a module leaves behind when it is unloaded, and taking an allocation out of that. */
#include "verifier.h"

#include <ntheap/heap.h>

/* The oldest allocation that the module still owns, which it owns no more. */
static bool leak_next(struct nth_module *module, struct nth_stop_wish *wish)
{
    void *outer = nth_verifier_enter();
    struct nth_track *track = module->first;
    if (track != NULL) {
        *wish = (struct nth_stop_wish){
            .code = NTH_STOP_ALLOCATION,
            .parameter = {(ULONG_PTR)track->user, (ULONG_PTR)track->allocated,
                          (ULONG_PTR)module->info.wide_name, module->info.base},
            .allocated = track->allocated,
        };
        nth_track_disown(track);
    }
    nth_verifier_leave(outer);
    return track != NULL;
}

void nth_module_unloaded(struct nth_module *module)
{
    struct nth_stop_wish wish;
    void *outer = nth_verifier_enter();
    nth_verifier.sums.unload_count++;
    nth_verifier_leave(outer);
    if (nth_verifier_has(NTH_VERIFY_LOCKS)) {
        nth_sections_lost(module->info.low, module->info.high, NTH_STOP_LOCK_IN_UNLOADED_DLL,
                          (ULONG_PTR)module->info.wide_name, module->info.base, NULL);
    }
    while (leak_next(module, &wish)) {
        if (nth_verifier_has(NTH_VERIFY_LEAK)) {
            nth_stop(&wish);
        }
    }
}

/* Anything but a live block of exactly this heap is left alone. */
NTSTATUS nth_verified_disown(HANDLE handle, PVOID block)
{
    if (!nth_verifier_has(NTH_VERIFY_LEAK)) {
        return STATUS_SUCCESS;
    }
    void *outer = nth_verifier_enter();
    struct nth_track *track = nth_track_find(block);
    if (track != NULL && track->heap == handle && track->state == NTH_ALLOCATION_LIVE &&
        !track->disowned) {
        nth_track_disown(track);
        track->disowned = true;
        nth_verifier.sums.disown_count++;
    }
    nth_verifier_leave(outer);
    return STATUS_SUCCESS;
}
