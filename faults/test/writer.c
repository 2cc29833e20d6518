/* SPDX-License-Identifier: MIT
 *
 * The writer of damage reaches memory that sanitizers guard, and changes do what their rows say. */
#include "faults/damage.h"

#include <ntheap/heap.h>
#include <ntheap/seam.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct nth_report *last_report;

static void note_report(void *context, const struct nth_report *report)
{
    static struct nth_report kept;
    (void)context;
    kept = *report;
    last_report = &kept;
}

/* The header of a live block and the bytes of a freed one are poisoned. Under a sanitizer a plain
 * write would end the process. */
static void poisoned_memory_is_written(void **state)
{
    (void)state;
    static const uint8_t letters[8] = {'A', 'M', 'Y', 'E', 'H', 'E', 'A', 'P'};
    const struct nth_seam seam = {.report = note_report};
    nth_seam_set(&seam);
    HANDLE heap = HeapCreate(0, 0, 0);
    uint8_t *block = HeapAlloc(heap, 0, 100);
    uint8_t *freed = HeapAlloc(heap, 0, 300);
    assert_non_null(HeapAlloc(heap, 0, 200));
    assert_true(HeapFree(heap, 0, freed));
    uint8_t *const places[] = {block - sizeof(letters), freed + 64};
    for (size_t place = 0; place < sizeof(places) / sizeof(places[0]); place++) {
        fault_write(nth_poke, (uintptr_t)places[place], letters, sizeof(letters));
        for (size_t idx = 0; idx < sizeof(letters); idx++) {
            assert_int_equal(nth_peek(places[place] + idx), letters[idx]);
        }
    }
    last_report = NULL;
    assert_false(HeapFree(heap, 0, block));
    assert_non_null(last_report);
    assert_int_equal(last_report->reason, NTH_CORRUPT_BLOCK_HEADER);
    assert_ptr_equal(last_report->block, block);
    nth_seam_set(NULL);
}

static uint64_t after(enum fault_change change, uint64_t before, size_t len, uint64_t mask,
                      unsigned bit)
{
    struct fault_unit unit = {.len = len, .mask = mask, .bit = bit, .address = 0x1234};
    uint64_t number = 0;
    for (size_t idx = 0; idx < len; idx++) {
        unit.bytes[idx] = (uint8_t)(before >> (8 * idx));
        unit.other[idx] = (uint8_t)(0x11 * (idx + 1));
    }
    const bool changed = fault_change_apply(change, &unit);
    for (size_t idx = 0; idx < len; idx++) {
        number |= (uint64_t)unit.bytes[idx] << (8 * idx);
    }
    assert_int_equal(changed, number != before);
    return number;
}

static void a_change_does_what_its_row_says(void **state)
{
    (void)state;
    assert_int_equal(after(FAULT_CHANGE_FLIP, 0, 8, 0, 63), 1ull << 63);
    assert_int_equal(after(FAULT_CHANGE_FLIP, 0, 1, 0, 9), 2);
    assert_int_equal(after(FAULT_CHANGE_FLIP, 0xFF, 8, 0xF0, 5), 0xDF);
    assert_int_equal(after(FAULT_CHANGE_ZERO, 0x1234, 4, 0xF0F0, 0), 0x204);
    assert_int_equal(after(FAULT_CHANGE_ONES, 0, 4, 0, 0), 0xFFFFFFFF);
    assert_int_equal(after(FAULT_CHANGE_PLUS, 0xFF, 1, 0, 0), 0);
    assert_int_equal(after(FAULT_CHANGE_PLUS, 0x100, 8, 0xFF00, 0), 0x200);
    assert_int_equal(after(FAULT_CHANGE_MINUS, 0, 2, 0, 0), 0xFFFF);
    assert_int_equal(after(FAULT_CHANGE_NEIGHBOUR, 0, 2, 0, 0), 0x2211);
    assert_int_equal(after(FAULT_CHANGE_STALE, 0x2211, 2, 0, 0), 0x2211);
    assert_int_equal(after(FAULT_CHANGE_OUTSIDE, 0, 8, 0, 0), 0x1234);
    assert_int_equal(after(FAULT_CHANGE_KEEP, 7, 8, 0, 0), 7);
    assert_int_equal(after(FAULT_CHANGE_NUL, 0x41, 1, 0, 0), 0);
    assert_int_equal(after(FAULT_CHANGE_TEXT, 0, 1, 0, 0), 'A');
    /* Bits that are not there, and no change at all, leave all as it is. */
    struct fault_unit unit = {.bytes = {0x55}, .len = 1, .mask = 0x100, .bit = 3};
    assert_false(fault_change_apply(FAULT_CHANGE_FLIP, &unit));
    assert_int_equal(unit.bytes[0], 0x55);
    unit.mask = 0;
    assert_false(fault_change_apply(FAULT_CHANGE_COUNT, &unit));
    assert_int_equal(unit.bytes[0], 0x55);
}

static void rows_name_changes_and_reasons_that_there_are(void **state)
{
    (void)state;
    const struct fault_damage_info *info;
    for (unsigned row = 0; (info = fault_damage_info(row)) != NULL; row++) {
        assert_true(fault_change_of(info, 0) < FAULT_CHANGE_COUNT);
        assert_non_null(fault_place_info(info->place));
        assert_true(info->notice == FAULT_NOTICE_CALL || info->notice == FAULT_NOTICE_NOBODY ||
                    info->reasons[0] != '\0');
        char reasons[256];
        (void)strncpy(reasons, info->reasons, sizeof(reasons) - 1);
        reasons[sizeof(reasons) - 1] = '\0';
        for (char *word = strtok(reasons, "|"); word != NULL; word = strtok(NULL, "|")) {
            unsigned reason = 0;
            while (reason < NTH_REASON_COUNT &&
                   strcmp(nth_reason_name((enum nth_reason)reason), word) != 0) {
                reason++;
            }
            if (reason == NTH_REASON_COUNT) {
                fail_msg("%s: no reason %s", info->name, word);
            }
        }
    }
    assert_null(fault_place_info(FAULT_PLACE_COUNT));
    assert_null(fault_call_info(FAULT_CALL_COUNT));
    assert_non_null(fault_call_info(FAULT_CALL_COUNT - 1));
    assert_null(fault_form_info(FAULT_FORM_COUNT));
    assert_non_null(fault_form_info((enum fault_form)(FAULT_FORM_COUNT - 1)));
    static const struct fault_damage_info odd = {.change = "NOSUCH"};
    assert_int_equal(fault_change_of(&odd, 0), FAULT_CHANGE_COUNT);
    assert_true(fault_reason_is_of("A|BC", "BC"));
    assert_true(fault_reason_is_of("A|BC", "A"));
    assert_false(fault_reason_is_of("A|BC", "B"));
    assert_false(fault_reason_is_of("", "A"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poisoned_memory_is_written),
        cmocka_unit_test(a_change_does_what_its_row_says),
        cmocka_unit_test(rows_name_changes_and_reasons_that_there_are),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
