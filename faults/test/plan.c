/* SPDX-License-Identifier: MIT
 *
 * Plans as words and as bytes: what is printed is read again, what is no plan is refused and
 * changes nothing, near words are named. */
#include "faults/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool parse(struct fault_plan *plan, const char *text)
{
    return fault_plan_parse(plan, text, strlen(text));
}

static void demand_same(const struct fault_plan *plan, const struct fault_plan *other)
{
    assert_int_equal(plan->kind, other->kind);
    assert_int_equal(plan->calls, other->calls);
    assert_int_equal(plan->count, other->count);
    assert_int_equal(plan->n, other->n);
}

static void every_plan_is_read_as_it_is_printed(void **state)
{
    (void)state;
    static const uint16_t numbers[] = {0, 1, 255, 65535};
    for (unsigned kind = 0; kind < FAULT_PLAN_KIND_COUNT; kind++) {
        for (unsigned calls = 0; calls < 256; calls += 5) {
            for (unsigned row = 0; row < sizeof(numbers) / sizeof(numbers[0]); row++) {
                const struct fault_plan plan = {.kind = (uint8_t)kind,
                                                .calls = (uint8_t)calls,
                                                .count = (uint8_t)(calls / 3u),
                                                .n = numbers[row]};
                char text[FAULT_PLAN_TEXT_BYTES];
                const size_t len = fault_plan_print(&plan, text);
                struct fault_plan read = {0};
                assert_true(len < sizeof(text) && len == strlen(text));
                assert_true(fault_plan_parse(&read, text, len));
                demand_same(&read, &plan);
                uint8_t bytes[FAULT_PLAN_BYTES];
                fault_plan_to_bytes(&plan, bytes);
                read = (struct fault_plan){.n = 7};
                assert_true(fault_plan_from_bytes(&read, bytes));
                demand_same(&read, &plan);
            }
        }
    }
}

static void parts_may_be_left_out(void **state)
{
    (void)state;
    struct fault_plan plan;
    assert_true(parse(&plan, "nth"));
    assert_true(plan.kind == FAULT_PLAN_NTH && plan.n == 0 && plan.calls == 0 && plan.count == 0);
    assert_true(parse(&plan, "nth:3"));
    assert_int_equal(plan.n, 3);
    assert_true(parse(&plan, "nth:3:commit+reserve"));
    assert_int_equal(plan.calls, FAULT_PAGE_COMMIT | FAULT_PAGE_RESERVE);
    assert_true(parse(&plan, "nth:3:all:2"));
    assert_true(plan.calls == 0 && plan.count == 2);
}

static void what_is_no_plan_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "nt",
        "nthh",
        "nth:",
        "nth:x",
        "nth:-1",
        "nth:65536",
        "nth::all",
        "nth:3:",
        "nth:3:+",
        "nth:3:comm",
        "nth:3:all+commit",
        "nth:3:commit+",
        "nth:3:commit:",
        "nth:3:commit:256",
        "nth:3:commit:1x",
        "nth:3:commit:1:1",
        "nth:99999999999999999999",
        ":3",
    };
    for (size_t idx = 0; idx < sizeof(texts) / sizeof(texts[0]); idx++) {
        struct fault_plan plan = {.kind = 1, .calls = 2, .count = 3, .n = 4};
        const struct fault_plan before = plan;
        if (parse(&plan, texts[idx])) {
            fail_msg("'%s' was taken for a plan", texts[idx]);
        }
        demand_same(&plan, &before);
    }
    static const uint8_t bytes[][FAULT_PLAN_BYTES] = {
        {FAULT_PLAN_KIND_COUNT}, {0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}};
    for (size_t idx = 0; idx < sizeof(bytes) / sizeof(bytes[0]); idx++) {
        struct fault_plan plan = {.n = 4};
        assert_false(fault_plan_from_bytes(&plan, bytes[idx]));
        assert_true(plan.kind == 0 && plan.n == 0);
    }
}

static void an_empty_part_is_no_plan(void **state)
{
    static const char *const texts[] = {"nth:3::5", "nth:3:+:5", "nth::commit:5"};
    (void)state;
    for (size_t idx = 0; idx < sizeof(texts) / sizeof(texts[0]); idx++) {
        struct fault_plan plan = {.kind = FAULT_PLAN_NTH, .n = 4};
        assert_false(fault_plan_parse(&plan, texts[idx], strlen(texts[idx])));
        assert_true(plan.kind == FAULT_PLAN_NTH && plan.n == 4);
    }
}

static void near_words_are_named_and_all_where_none_is_near(void **state)
{
    (void)state;
    char near[512];
    fault_plan_near("nhh:3", near, sizeof(near));
    assert_non_null(strstr(near, "nth"));
    const size_t some = strlen(near);
    fault_plan_near("somethingelse", near, sizeof(near));
    assert_true(strlen(near) > some);
    for (unsigned kind = 0; kind < FAULT_PLAN_KIND_COUNT; kind++) {
        assert_non_null(strstr(near, fault_plan_word(kind)));
    }
    assert_null(fault_plan_word(FAULT_PLAN_KIND_COUNT));
    char tiny[8];
    fault_plan_near("somethingelse", tiny, sizeof(tiny));
    assert_true(strlen(tiny) < sizeof(tiny));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plan_is_read_as_it_is_printed),
        cmocka_unit_test(parts_may_be_left_out),
        cmocka_unit_test(what_is_no_plan_is_refused_and_changes_nothing),
        cmocka_unit_test(an_empty_part_is_no_plan),
        cmocka_unit_test(near_words_are_named_and_all_where_none_is_near),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
