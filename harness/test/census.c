/* SPDX-License-Identifier: MIT
 *
 * The census itself: every committed byte is accounted for in every state, the fields are complete,
 * and each bad verdict is given where a subject deserves it. */
#include "census/census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "program/random.h"
#include "run/load.h"

#define STATES RIG_SOURCE_DIR "/corpus/census"
#define ACCOUNT_COUNT 40u /* random programs */
#define BUDGET_PAGES 400u /* every page is looked at before every call */

static struct rig_paths paths;

/* ---- Accounting ---- */

static void print_account(const char *name, const struct rig_census_account *account)
{
    print_message("%s: metadata %llu, user %llu, slack %llu, free %llu, spare %llu; undescribed "
                  "%llu, twice %llu, "
                  "outside %llu, written %llu",
                  name, (unsigned long long)account->bytes[RIG_BYTE_META],
                  (unsigned long long)account->bytes[RIG_BYTE_USER],
                  (unsigned long long)account->bytes[RIG_BYTE_SLACK],
                  (unsigned long long)account->bytes[RIG_BYTE_FREE],
                  (unsigned long long)account->bytes[RIG_BYTE_SPARE],
                  (unsigned long long)account->bytes[RIG_BYTE_UNSAID],
                  (unsigned long long)account->twice, (unsigned long long)account->outside,
                  (unsigned long long)account->written);
    if (account->first != 0) {
        print_message(" (0x%zx, after %s, step %u)", (size_t)account->first,
                      account->call != NULL ? account->call : "nothing", account->step);
    }
    print_message("\n");
}

static void every_committed_byte_of_every_state_is_one_thing(void **state)
{
    (void)state;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    bool held = true;
    assert_true(paths.count >= 7);
    for (size_t idx = 0; idx < paths.count; idx++) {
        struct rig_program program;
        struct rig_census_account account;
        assert_true(rig_load_file(&program, paths.paths[idx], error, sizeof(error)));
        if (!rig_census_account(rig_subject_core(), &program, &account)) {
            print_account(paths.paths[idx], &account);
            held = false;
        }
        assert_true(account.bytes[RIG_BYTE_META] > 0);
        assert_true(account.bytes[RIG_BYTE_USER] > 0);
        assert_true(account.bytes[RIG_BYTE_FREE] > 0);
    }
    assert_true(held);
}

static void every_committed_byte_of_random_programs_is_one_thing(void **state)
{
    (void)state;
    unsigned bad = 0;
    for (uint32_t seed = 0; seed < ACCOUNT_COUNT; seed++) {
        struct rig_program program;
        struct rig_census_account account;
        rig_program_random(&program, seed, 40 + seed % 40);
        program.records[0] = (struct rig_record){.op = RIG_OP_BUDGET, .value = BUDGET_PAGES};
        if (!rig_census_account(rig_subject_core(), &program, &account)) {
            char name[32];
            (void)snprintf(name, sizeof(name), "program %u", seed);
            print_account(name, &account);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

/* A subject that keeps one field to itself. */
static const char *hidden;
static BOOLEAN (*visit_given)(void *context, const struct rig_field *field);
static bool was_hidden;

static BOOLEAN visit_others(void *context, const struct rig_field *field)
{
    const bool hide = strcmp(field->name, hidden) == 0;
    was_hidden = was_hidden || hide;
    return hide ? TRUE : visit_given(context, field);
}

static size_t fields_but_one(HANDLE heap,
                             BOOLEAN (*visit)(void *context, const struct rig_field *field),
                             void *context)
{
    visit_given = visit;
    return rig_subject_core()->fields(heap, visit_others, context);
}

static void a_field_that_is_not_told_is_missed_whichever_it_is(void **state)
{
    (void)state;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    struct rig_subject subject = *rig_subject_core();
    struct rig_census_state made;
    unsigned count = 0;
    subject.fields = fields_but_one;
    for (size_t idx = 0; idx < paths.count; idx++) {
        assert_true(rig_census_state_make(&made, rig_subject_core(), paths.paths[idx], error,
                                          sizeof(error)));
        for (uint32_t row = 0; row < made.row_count; row++) {
            struct rig_census_account account;
            hidden = made.rows[row];
            was_hidden = false;
            if (rig_census_account(&subject, &made.program, &account)) {
                fail_msg("%s: %s is not missed", made.name, hidden);
            }
            assert_true(was_hidden);
            count++;
        }
        rig_census_state_free(&made);
    }
    assert_true(count > 100);
}

/* ---- Verdicts ---- */

static struct rig_census_state fresh;
static bool poked;
static volatile int *hung; /* between processes */

static void poke_noted(PVOID address, uint8_t value)
{
    poked = true;
    rig_subject_core()->poke(address, value);
}

static void reset_noted(uint32_t seed)
{
    poked = false;
    rig_subject_core()->reset(seed);
}

static uint64_t reports_none(struct rig_report *last)
{
    memset(last, 0, sizeof(*last));
    return 0;
}

static bool freed;

static BOOL free_noted(HANDLE heap, DWORD flags, PVOID block)
{
    freed = poked;
    return rig_subject_core()->HeapFree(heap, flags, block);
}

/* Reports as they are, and from the first HeapFree on as if the heap were damaged. */
static uint64_t reports_damaged(struct rig_report *last)
{
    const uint64_t count = rig_subject_core()->reports(last);
    freed = freed && poked;
    if (freed) {
        last->reason = "DAMAGED";
    }
    return count;
}

static SIZE_T size_wrong(HANDLE heap, ULONG flags, LPCVOID block)
{
    const SIZE_T bytes = rig_subject_core()->HeapSize(heap, flags, block);
    return bytes == SIZE_MAX ? 0 : bytes;
}

static SIZE_T size_crashes(HANDLE heap, ULONG flags, LPCVOID block)
{
    if (poked) {
        abort();
    }
    return rig_subject_core()->HeapSize(heap, flags, block);
}

static SIZE_T size_hangs_once(HANDLE heap, ULONG flags, LPCVOID block)
{
    if (poked && *hung == 0) {
        *hung = 1;
        for (volatile unsigned turn = 0;; turn++) {
        }
    }
    return rig_subject_core()->HeapSize(heap, flags, block);
}

/* Like another, but for what a test puts in its place. */
static struct rig_subject subject_like_core(void)
{
    struct rig_subject subject = *rig_subject_core();
    subject.poke = poke_noted;
    subject.reset = reset_noted;
    return subject;
}

static struct rig_census_result run_on(const struct rig_subject *subject, const char *text,
                                       enum rig_census_battery first)
{
    struct rig_census_change change;
    assert_true(rig_census_change_parse(&fresh, text, &change));
    struct rig_census_runner *runner = rig_census_runner_create(subject, &fresh, 1);
    const struct rig_census_result result = rig_census_run(runner, &change, first);
    rig_census_runner_destroy(runner);
    return result;
}

#define DAMAGE "heap.config#0:bit9"

static void what_is_not_reported_is_silent(void **state)
{
    (void)state;
    struct rig_subject subject = subject_like_core();
    assert_int_equal(run_on(&subject, DAMAGE, RIG_BATTERY_SIZE).verdict, RIG_CENSUS_TOUCH);
    subject.reports = reports_none;
    const struct rig_census_result result = run_on(&subject, DAMAGE, RIG_BATTERY_SIZE);
    assert_int_equal(result.verdict, RIG_CENSUS_SILENT);
    assert_string_equal(result.clause, "D81");
}

/* D18: a hardware fault leaves a damaged heap, and so does a reallocation that cannot be undone. */
static void a_damaged_heap_has_met_a_fault_unless_a_reallocation_reported(void **state)
{
    (void)state;
    struct rig_subject subject = subject_like_core();
    subject.HeapFree = free_noted;
    subject.reports = reports_damaged;
    assert_int_equal(run_on(&subject, DAMAGE, RIG_BATTERY_FREE).verdict, RIG_CENSUS_CRASH);
    assert_int_equal(run_on(&subject, DAMAGE, RIG_BATTERY_GROW).verdict, RIG_CENSUS_TOUCH);
}

static void what_is_reported_and_fails_in_another_form_is_wrong(void **state)
{
    (void)state;
    struct rig_subject subject = subject_like_core();
    subject.HeapSize = size_wrong;
    assert_int_equal(run_on(&subject, DAMAGE, RIG_BATTERY_SIZE).verdict, RIG_CENSUS_WRONG);
}

static void where_a_verdict_falls_tells_touch_from_validate(void **state)
{
    (void)state;
    assert_int_equal(run_on(rig_subject_core(), "heap.flags#0:bit3", RIG_BATTERY_SIZE).verdict,
                     RIG_CENSUS_VALIDATE);
    assert_int_equal(run_on(rig_subject_core(), "heap.spare#0:bit3", RIG_BATTERY_SIZE).verdict,
                     RIG_CENSUS_HARMLESS);
    assert_int_equal(run_on(rig_subject_core(), "any:none", RIG_BATTERY_SIZE).verdict,
                     RIG_CENSUS_HARMLESS);
}

/* One change, all its runs, in two shards. */
static void sweep(const struct rig_subject *subject, struct rig_census_change *change,
                  struct rig_census_sheet *sheet)
{
    const struct rig_census_options options = {
        .subject = subject, .jobs = 2, .every = 1, .seed = 1, .limit_s = 1};
    assert_true(rig_census_change_parse(&fresh, DAMAGE, change));
    *sheet = (struct rig_census_sheet){.changes = change, .count = 1};
    assert_true(rig_census_sweep(&options, &fresh, sheet));
}

static unsigned verdicts_of(const struct rig_census_sheet *sheet, enum rig_census_verdict verdict)
{
    unsigned count = 0;
    for (unsigned first = 0; first < RIG_BATTERY_COUNT; first++) {
        count += sheet->verdicts[first] == (uint8_t)verdict;
    }
    return count;
}

static void a_death_is_a_verdict_and_the_shard_goes_on_behind_it(void **state)
{
    (void)state;
    struct rig_census_change change;
    struct rig_census_sheet sheet;
    struct rig_subject subject = subject_like_core();
    subject.HeapSize = size_crashes;
    sweep(&subject, &change, &sheet);
    assert_int_equal(verdicts_of(&sheet, RIG_CENSUS_OPEN), 0);
    assert_true(verdicts_of(&sheet, RIG_CENSUS_CRASH) >= RIG_BATTERY_COUNT - 2);
    assert_int_equal(rig_census_worst(&sheet, 0), RIG_CENSUS_CRASH);
    rig_census_sheet_free(&sheet);
}

static void a_run_without_end_is_a_verdict(void **state)
{
    (void)state;
    struct rig_census_change change;
    struct rig_census_sheet sheet;
    struct rig_subject subject = subject_like_core();
    subject.HeapSize = size_hangs_once;
    hung = mmap(NULL, sizeof(*hung), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)(uintptr_t)hung != MAP_FAILED);
    sweep(&subject, &change, &sheet);
    assert_int_equal(verdicts_of(&sheet, RIG_CENSUS_HANG), 1);
    assert_int_equal(verdicts_of(&sheet, RIG_CENSUS_OPEN), 0);
    assert_int_equal(rig_census_worst(&sheet, 0), RIG_CENSUS_HANG);
    rig_census_sheet_free(&sheet);
    (void)munmap((void *)(uintptr_t)hung, sizeof(*hung));
}

static void every_change_has_a_name_that_leads_back_to_it(void **state)
{
    (void)state;
    size_t count = 0;
    size_t looked = 0;
    char name[RIG_CENSUS_NAME_BYTES];
    struct rig_census_change *changes = rig_census_changes(&fresh, 10, &count);
    struct rig_census_poke *pokes = calloc(rig_census_pokes_max(&fresh), sizeof(*pokes));
    unsigned kinds = 0;
    assert_non_null(pokes);
    for (size_t idx = 0; idx < count; idx++) {
        kinds |= 1u << changes[idx].kind;
        assert_true(changes[idx].kind == RIG_CHANGE_RANDOM ||
                    rig_census_pokes(&fresh, &changes[idx], 1, pokes) > 0);
        if (idx % 20000 == 0 || idx + 1 == count) {
            struct rig_census_change found;
            rig_census_change_print(&fresh, &changes[idx], name);
            assert_true(rig_census_change_parse(&fresh, name, &found));
            assert_int_equal(found.field, changes[idx].field);
            assert_int_equal(found.at, changes[idx].at);
            assert_int_equal(found.target, changes[idx].target);
            assert_int_equal(found.kind, changes[idx].kind);
            looked++;
        }
    }
    assert_true(looked > 5);
    assert_int_equal(kinds, (1u << RIG_CHANGE_COUNT) - 2u);
    free(pokes);
    free(changes);
}

/* ---- */

static int setup(void **state)
{
    (void)state;
    char error[RIG_LOAD_ERROR_BYTES_MAX];
    return rig_load_paths(&paths, STATES) &&
                   rig_census_state_make(&fresh, rig_subject_core(), STATES "/fresh.heap", error,
                                         sizeof(error))
               ? 0
               : 1;
}

static int teardown(void **state)
{
    (void)state;
    rig_census_state_free(&fresh);
    rig_load_paths_free(&paths);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_committed_byte_of_every_state_is_one_thing),
        cmocka_unit_test(every_committed_byte_of_random_programs_is_one_thing),
        cmocka_unit_test(a_field_that_is_not_told_is_missed_whichever_it_is),
        cmocka_unit_test(what_is_not_reported_is_silent),
        cmocka_unit_test(a_damaged_heap_has_met_a_fault_unless_a_reallocation_reported),
        cmocka_unit_test(what_is_reported_and_fails_in_another_form_is_wrong),
        cmocka_unit_test(where_a_verdict_falls_tells_touch_from_validate),
        cmocka_unit_test(a_death_is_a_verdict_and_the_shard_goes_on_behind_it),
        cmocka_unit_test(a_run_without_end_is_a_verdict),
        cmocka_unit_test(every_change_has_a_name_that_leads_back_to_it),
    };
    return cmocka_run_group_tests_name("census", tests, setup, teardown);
}
