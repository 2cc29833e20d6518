/* SPDX-License-Identifier: MIT
 *
 * Rules on user values and flags. */
#include "blocks.h"

static bool said_no_as_ruled(const struct rig_step *step)
{
    return !step->outcome.raised && step->outcome.value == 0 &&
           step->outcome.error_after == ERROR_INVALID_PARAMETER;
}

static bool said_yes_silently(const struct rig_step *step)
{
    return rig_said_yes(step) && rig_error_untouched(step);
}

/* What a query right after the call found. */
static bool now_is(const struct rig_step *step, PVOID value, ULONG flags)
{
    const struct rig_sight *sight = &step->sight;
    return sight->user_said_yes && sight->user_value_now == value && sight->user_flags_now == flags;
}

/* A block without user information: the value is left alone, the flags are none. */
static bool now_is_none(const struct rig_step *step)
{
    return now_is(step, (PVOID)(uintptr_t)RIG_POISON, 0);
}

void rig_rules_set_user_value(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_block *old = &step->block_before;
    CLAUSE(RUSER_01, old->has_user_value && step->sight.user_known,
           rig_said_yes(step) && now_is(step, step->user_value, old->user_flags));
    CLAUSE(D49, step->sight.user_known,
           old->has_user_value
               ? said_yes_silently(step) && now_is(step, step->user_value, old->user_flags)
               : said_no_as_ruled(step) && now_is_none(step));
}

void rig_rules_get_user_info(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_block *old = &step->block_before;
    const bool flags_wanted = (step->record->arg & 1u) == 0;
    const bool has = old->has_user_value;
    const bool value_right =
        step->user_value == (has ? old->user_value : (PVOID)(uintptr_t)RIG_POISON);
    const bool flags_right = !flags_wanted || step->user_flags == (has ? old->user_flags : 0);
    CLAUSE(RUSER_01, has, rig_said_yes(step) && value_right && flags_right);
    CLAUSE(RUSER_02, !has, rig_said_yes(step) && value_right && flags_right);
    CLAUSE(D49, true, said_yes_silently(step) && value_right && flags_right);
}

void rig_rules_set_user_flags(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_block *old = &step->block_before;
    const ULONG outside = (step->user_reset | step->user_set) & ~(ULONG)HEAP_SETTABLE_USER_FLAGS;
    const ULONG flags = (old->user_flags & ~step->user_reset) | step->user_set;
    const bool has = old->has_user_value;
    const bool unchanged = has ? now_is(step, old->user_value, old->user_flags) : now_is_none(step);
    const bool known = step->sight.user_known;
    CLAUSE(RUSER_03, outside != 0 && known, said_no_as_ruled(step) && unchanged);
    CLAUSE(RUSER_04, outside == 0 && has && known,
           rig_said_yes(step) && now_is(step, old->user_value, flags));
    CLAUSE(D49, known,
           outside == 0 && has ? said_yes_silently(step) && now_is(step, old->user_value, flags)
                               : said_no_as_ruled(step) && unchanged);
}

/* A new block made with the flag. */
void rig_rules_user_made(struct rig_judge *judge, const struct rig_step *step)
{
    const bool seen = step->outcome.value != 0 && step->sight.user_known;
    const ULONG flags = step->flags & HEAP_SETTABLE_USER_FLAGS;
    CLAUSE(RUSER_01, seen, now_is(step, NULL, flags));
    CLAUSE(D49, seen, now_is(step, NULL, flags));
}

void rig_rules_user_resized(struct rig_judge *judge, const struct rig_step *step)
{
    const struct rig_block *old = &step->block_before;
    const bool seen = step->outcome.value != 0 && step->sight.user_known && old->has_user_value;
    const bool moved = step->outcome.value != old->address;
    const bool shrinks = step->size_bytes <= old->size_bytes;
    const ULONG called = step->flags & HEAP_SETTABLE_USER_FLAGS;
    const ULONG flags = shrinks && !moved ? old->user_flags : called;
    CLAUSE(RUSER_05, seen && !moved, now_is(step, old->user_value, flags));
    CLAUSE(D49, seen, now_is(step, old->user_value, flags));
}
