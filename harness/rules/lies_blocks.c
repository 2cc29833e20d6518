/* SPDX-License-Identifier: MIT
 *
 * Lies about blocks, by name. */
#include "lies_blocks.h"

static const struct {
    const char *name;
    const char *what;
    const struct rig_subject *calls;
} names[] = {
    {"no", "no call about blocks works, and none raises", &rig_lie_no},
    {"raise", "every call about blocks raises a shortage", &rig_lie_raise},
    {"violate", "every call about blocks raises an access violation", &rig_lie_violate},
    {"contrary", "calls raise where they should not, and are silent where they should",
     &rig_lie_contrary},
    {"deny", "calls about user values say yes for no and no for yes", &rig_lie_deny},
    {"section", "critical sections raise and cannot be had", &rig_lie_section},
    {"silence", "RaiseException raises nothing", &rig_lie_silence},
    {"handles", "vectored handlers are there when they are not, and the reverse", &rig_lie_handles},
    {"block", "a block where there is none", &rig_lie_block},
    {"status", "a status in the place of a pointer", &rig_lie_status},
    {"overlap", "a block that somebody has already", &rig_lie_overlap},
    {"skew", "a block half a word further than it is", &rig_lie_skew},
    {"dirt", "bytes that should be zero are not", &rig_lie_dirt},
    {"spoil", "a byte of a live block is changed", &rig_lie_spoil},
    {"locked", "the heap's lock is taken once too often", &rig_lie_locked},
    {"taken", "a block although memory was refused, and nothing is held for it", &rig_lie_taken},
    {"serialize", "HEAP_NO_SERIALIZE on a call is not heeded", &rig_lie_serialize},
    {"unserialize", "a call takes no lock that should", &rig_lie_unserialize},
    {"size", "the size of a block is told one too small, or 1 for 0", &rig_lie_size},
    {"count", "multiple calls count one too many", &rig_lie_count},
    {"user", "another user value is told", &rig_lie_user},
    {"error", "another last error is told", &rig_lie_error},
    {"mapping", "another error code for a status", &rig_lie_mapping},
    {"report", "one report more is told", &rig_lie_report},
    {"hushed", "one report fewer is told", &rig_lie_hushed},
    {"swallow", "no exception leaves a call", &rig_lie_swallow},
    {"held", "the heap claims to hold nothing", &rig_lie_held},
    {"code", "exceptions carry another code", &rig_lie_code},
    {"parameters", "exceptions carry more parameters than there can be", &rig_lie_parameters},
    {"flags", "exceptions are continuable when they are not, and the reverse", &rig_lie_flags},
    {"link", "exceptions have a cause where there is none", &rig_lie_link},
    {"nowhere", "exceptions have no address", &rig_lie_nowhere},
    {"unasked", "filters are not asked", &rig_lie_unasked},
    {"insist", "an exception leaves the call although a filter continued", &rig_lie_insist},
};

#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

const struct rig_lie *rig_lies_blocks(size_t *count)
{
    static struct rig_lie lies[NAME_COUNT];
    for (size_t idx = 0; idx < NAME_COUNT; idx++) {
        lies[idx] = (struct rig_lie){
            .name = names[idx].name, .what = names[idx].what, .calls = *names[idx].calls};
    }
    *count = NAME_COUNT;
    return lies;
}
