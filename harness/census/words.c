/* SPDX-License-Identifier: MIT
 *
 * Words of the census' tables. */
#include "census.h"

#include "run/check.h"

static const struct {
    const char *text;
    bool bad;
} verdicts[RIG_CENSUS_VERDICT_COUNT] = {
#define RIG_CENSUS_VERDICT(name, text, bad, sentence) {text, (bad) != 0},
#include "verdict.def"
};

static const struct {
    const char *text;
    enum rig_census_group group;
} kinds[RIG_CHANGE_COUNT] = {
#define RIG_CENSUS_CHANGE(name, text, group, sentence) {text, RIG_CENSUS_##group},
#include "change.def"
};

static const char *const batteries[RIG_BATTERY_COUNT] = {
#define RIG_CENSUS_BATTERY(name, text, ...) text,
#include "battery.def"
};

const char *rig_census_verdict_name(unsigned verdict)
{
    RIG_CHECK(verdict < RIG_CENSUS_VERDICT_COUNT);
    return verdicts[verdict].text;
}

bool rig_census_verdict_bad(unsigned verdict)
{
    RIG_CHECK(verdict < RIG_CENSUS_VERDICT_COUNT);
    return verdicts[verdict].bad;
}

const char *rig_census_kind_name(unsigned kind)
{
    RIG_CHECK(kind < RIG_CHANGE_COUNT);
    return kinds[kind].text;
}

enum rig_census_group rig_census_kind_group(unsigned kind)
{
    RIG_CHECK(kind < RIG_CHANGE_COUNT);
    return kinds[kind].group;
}

const char *rig_census_group_name(unsigned group)
{
    static const char *const names[RIG_CENSUS_GROUP_COUNT] = {
        "control", "single bits", "pairs of header bits", "field values", "random overwrites"};
    RIG_CHECK(group < RIG_CENSUS_GROUP_COUNT);
    return names[group];
}

const char *rig_census_battery_name(unsigned battery)
{
    RIG_CHECK(battery < RIG_BATTERY_COUNT);
    return batteries[battery];
}
