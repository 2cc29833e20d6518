/* SPDX-License-Identifier: MIT
 *
 * Any argument whatever to any call: the ruled outcome, nothing else touched, and no hardware
 * fault but in the probes of callers' structures (D2, D8, D9, D12, D13, D19). */
#include "support/rig.h"

#include "probe.h"

#include <string.h>

/* Failing values of one call for a bad handle. */
struct failing {
    enum rig_call call;
    uintptr_t value;
    DWORD last_error;
};

#define UNTOUCHED RIG_LAST_ERROR

/* HeapQueryInformation and its Rtl twin have another answer for NULL alone (D64). */
static const struct failing failings[] = {
    {RIG_RTL_ALLOCATE, 0, UNTOUCHED},
    {RIG_HEAP_ALLOC, 0, UNTOUCHED},
    {RIG_RTL_REALLOCATE, 0, UNTOUCHED},
    {RIG_HEAP_REALLOC, 0, UNTOUCHED},
    {RIG_RTL_FREE, FALSE, UNTOUCHED},
    {RIG_HEAP_FREE, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_SIZE, SIZE_MAX, UNTOUCHED},
    {RIG_HEAP_SIZE, SIZE_MAX, UNTOUCHED},
    {RIG_RTL_VALIDATE, FALSE, UNTOUCHED},
    {RIG_HEAP_VALIDATE, FALSE, UNTOUCHED},
    {RIG_RTL_LOCK, FALSE, UNTOUCHED},
    {RIG_HEAP_LOCK, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_UNLOCK, FALSE, UNTOUCHED},
    {RIG_HEAP_UNLOCK, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_WALK, STATUS_INVALID_HANDLE, UNTOUCHED},
    {RIG_HEAP_WALK, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_COMPACT, 0, UNTOUCHED},
    {RIG_HEAP_COMPACT, 0, ERROR_INVALID_HANDLE},
    {RIG_HEAP_SUMMARY, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_ZERO, STATUS_INVALID_HANDLE, UNTOUCHED},
    {RIG_RTL_QUERY, STATUS_INVALID_HANDLE, UNTOUCHED},
    {RIG_HEAP_QUERY, FALSE, ERROR_INVALID_HANDLE},
    {RIG_RTL_SET, STATUS_INVALID_HANDLE, UNTOUCHED},
    {RIG_HEAP_SET, FALSE, ERROR_INVALID_HANDLE},
    {RIG_SET_USER_VALUE, FALSE, ERROR_INVALID_PARAMETER},
    {RIG_GET_USER_INFO, FALSE, ERROR_INVALID_PARAMETER},
    {RIG_SET_USER_FLAGS, FALSE, ERROR_INVALID_PARAMETER},
    {RIG_MULTIPLE_ALLOCATE, 0, ERROR_INVALID_HANDLE},
    {RIG_MULTIPLE_FREE, 0, ERROR_INVALID_HANDLE},
    {RIG_HEAP_DESTROY, FALSE, ERROR_INVALID_HANDLE},
};
#define FAILING_COUNT (sizeof(failings) / sizeof(failings[0]))

/* Room for every structure that a call may want, and a live block. */
static struct {
    PROCESS_HEAP_ENTRY entry;
    RTL_HEAP_WALK_ENTRY rtl_entry;
    HEAP_SUMMARY summary;
    PVOID array[4];
    ULONG value;
    ULONG flags;
    SIZE_T length;
    HANDLE heap;
    PVOID block;
} room;

static int setup(void **state)
{
    memset(&room, 0, sizeof(room));
    return rig_setup(state);
}

static void room_make(void)
{
    room.heap = HeapCreate(0, 0, 0);
    assert_non_null(room.heap);
    room.block = HeapAlloc(room.heap, HEAP_SETTABLE_USER_VALUE, 100);
    assert_non_null(room.block);
    memset(room.block, 0x5A, 100);
}

/* Good arguments for a call on room.heap. */
static struct rig_args room_args(enum rig_call call)
{
    struct rig_args args = {.call = call, .heap = room.heap, .block = room.block, .size = 50};
    memset(&room.entry, 0, sizeof(room.entry));
    memset(&room.rtl_entry, 0, sizeof(room.rtl_entry));
    room.summary.cb = sizeof(room.summary);
    room.array[0] = room.block;
    room.value = 2;
    switch (call) {
    case RIG_RTL_WALK:
        args.extra = &room.rtl_entry;
        break;
    case RIG_HEAP_WALK:
        args.extra = &room.entry;
        break;
    case RIG_HEAP_SUMMARY:
        args.extra = &room.summary;
        break;
    case RIG_RTL_QUERY:
    case RIG_HEAP_QUERY:
    case RIG_RTL_SET:
    case RIG_HEAP_SET:
        args.extra = &room.value;
        args.extra2 = &room.length;
        args.size = 4;
        break;
    case RIG_GET_USER_INFO:
        args.extra = &room.array[1];
        args.extra2 = &room.flags;
        break;
    case RIG_MULTIPLE_ALLOCATE:
        args.extra = &room.array[1];
        args.set = 1;
        break;
    case RIG_MULTIPLE_FREE:
        args.extra = room.array;
        args.set = 1;
        break;
    default:
        break;
    }
    return args;
}

/* Nothing has happened to the heap, and core has met no fault outside its probes. */
static void demand_unharmed(void)
{
    assert_true(HeapValidate(room.heap, 0, NULL));
    assert_int_equal(HeapSize(room.heap, 0, room.block), 100);
    for (size_t idx = 0; idx < 100; idx++) {
        assert_int_equal(((uint8_t *)room.block)[idx], 0x5A);
    }
    assert_int_equal(nth_faults.in_call, 0);
    assert_int_equal(nth_faults.elsewhere, 0);
}

static void demand_refused(const struct failing *failing, PVOID handle, BOOLEAN reported)
{
    struct rig_args args = room_args(failing->call);
    args.heap = handle;
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_error(&outcome, failing->value, failing->last_error);
    if (reported) {
        rig_report_demand(NTH_CORRUPT_BAD_HANDLE, handle, NULL);
    } else {
        assert_int_equal(outcome.reports, 0);
    }
}

/* D8, D9, D12 */
static void every_call_refuses_a_bad_handle_in_its_own_way(void **state)
{
    (void)state;
    room_make();
    PVOID handles[RIG_FOREIGN_COUNT + 7];
    PROCESS_HEAP_ENTRY further = {0};
    for (unsigned idx = 0; idx < RIG_FOREIGN_COUNT; idx++) {
        handles[idx] = rig_foreign(idx);
    }
    handles[RIG_FOREIGN_COUNT] = room.block;
    handles[RIG_FOREIGN_COUNT + 1] = (uint8_t *)room.heap + 1;
    handles[RIG_FOREIGN_COUNT + 2] = (uint8_t *)room.heap + 16;
    handles[RIG_FOREIGN_COUNT + 3] = (uint8_t *)room.heap + 0x10000;
    handles[RIG_FOREIGN_COUNT + 4] = (uint8_t *)room.heap - 0x10000;
    handles[RIG_FOREIGN_COUNT + 5] = rig_block_new(room.heap, 0x100000); /* a large block */
    while (further.wFlags != PROCESS_HEAP_REGION || further.iRegionIndex != 1) {
        (void)rig_block_new(room.heap, 0x8000);
        (void)rig_element(room.heap, PROCESS_HEAP_REGION, 1, &further);
    }
    handles[RIG_FOREIGN_COUNT + 6] = further.lpData; /* a segment, and not the first */
    for (size_t handle = 0; handle < RIG_FOREIGN_COUNT + 7; handle++) {
        for (size_t idx = 0; idx < FAILING_COUNT; idx++) {
            demand_refused(&failings[idx], handles[handle], TRUE);
        }
        struct rig_args args = {.call = RIG_RTL_DESTROY, .heap = handles[handle]};
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_value(&outcome, (uintptr_t)handles[handle]);
        rig_report_demand(NTH_CORRUPT_BAD_HANDLE, handles[handle], NULL);
    }
    demand_unharmed();
}

/* D13 */
static void the_null_handle_is_refused_silently(void **state)
{
    (void)state;
    room_make();
    for (size_t idx = 0; idx < FAILING_COUNT; idx++) {
        if (failings[idx].call != RIG_RTL_QUERY && failings[idx].call != RIG_HEAP_QUERY) {
            demand_refused(&failings[idx], NULL, FALSE);
        }
    }
    struct rig_args args = {.call = RIG_RTL_DESTROY};
    struct rig_outcome outcome = rig_run(&args);
    rig_demand_value(&outcome, 0);
    assert_int_equal(outcome.reports, 0);
    demand_unharmed();
}

/* D2, D6 */
static void an_allocation_on_a_bad_handle_raises_by_the_calls_bits(void **state)
{
    (void)state;
    static const enum rig_call calls[] = {RIG_RTL_ALLOCATE, RIG_HEAP_ALLOC, RIG_RTL_REALLOCATE,
                                          RIG_HEAP_REALLOC, RIG_MULTIPLE_ALLOCATE};
    room_make();
    HANDLE gone = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 0);
    assert_true(HeapDestroy(gone));
    PVOID handles[] = {NULL, gone, rig_foreign(2), rig_foreign(8), rig_foreign(10)};
    for (size_t idx = 0; idx < 5; idx++) {
        for (size_t handle = 0; handle < 5; handle++) {
            struct rig_args args = room_args(calls[idx]);
            args.heap = handles[handle];
            args.flags = HEAP_GENERATE_EXCEPTIONS;
            struct rig_outcome outcome = rig_run(&args);
            rig_demand_raised(&outcome, STATUS_ACCESS_VIOLATION, (uintptr_t)handles[handle]);
            assert_int_equal(outcome.reports, handles[handle] != NULL);
            args.flags = 0;
            outcome = rig_run(&args);
            assert_false(outcome.raised);
        }
    }
    demand_unharmed();
}

/* D12 */
static void every_call_refuses_a_stale_handle(void **state)
{
    (void)state;
    room_make();
    HANDLE gone = HeapCreate(0, 0, 0);
    assert_true(HeapDestroy(gone));
    for (size_t idx = 0; idx < FAILING_COUNT; idx++) {
        struct rig_args args = room_args(failings[idx].call);
        args.heap = gone;
        struct rig_outcome outcome = rig_run(&args);
        rig_demand_error(&outcome, failings[idx].value, failings[idx].last_error);
        rig_report_demand(NTH_CORRUPT_STALE_HANDLE, gone, NULL);
    }
    demand_unharmed();
}

/* D14 */
static void no_address_given_as_a_block_does_harm(void **state)
{
    (void)state;
    static const enum rig_call calls[] = {
        RIG_RTL_REALLOCATE, RIG_HEAP_REALLOC,  RIG_RTL_FREE,       RIG_HEAP_FREE,
        RIG_RTL_SIZE,       RIG_HEAP_SIZE,     RIG_RTL_VALIDATE,   RIG_HEAP_VALIDATE,
        RIG_SET_USER_VALUE, RIG_GET_USER_INFO, RIG_SET_USER_FLAGS, RIG_MULTIPLE_FREE,
        RIG_DISOWN};
    room_make();
    for (unsigned shift = 0; shift < sizeof(uintptr_t) * 8; shift++) {
        for (unsigned delta = 0; delta < 3; delta++) {
            PVOID bad = (PVOID)(((uintptr_t)1 << shift) - 16 + 16 * (uintptr_t)delta);
            for (size_t idx = 0; bad != NULL && idx < sizeof(calls) / sizeof(calls[0]); idx++) {
                struct rig_args args = room_args(calls[idx]);
                args.block = bad;
                room.array[0] = bad;
                struct rig_outcome outcome = rig_run(&args);
                assert_false(outcome.raised);
                assert_true(outcome.reports <= 1);
            }
        }
    }
    demand_unharmed();
}

/* D14 */
static void no_address_in_the_heaps_own_memory_does_harm(void **state)
{
    (void)state;
    room_make();
    for (size_t offset = 0; offset < 0x2000; offset++) {
        uint8_t *bad = (uint8_t *)room.heap + offset;
        if (bad != room.block) {
            struct rig_outcome outcome = rig_free(room.heap, bad);
            rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
            assert_int_equal(outcome.reports, 1);
            outcome = rig_realloc(room.heap, 0, bad, 10);
            rig_demand_value(&outcome, 0);
            assert_int_equal(outcome.reports, 1);
        }
    }
    demand_unharmed();
}

/* D64, D70, D74 and the like: only these calls look at structures of the caller. */
static void structures_anywhere_are_probed_and_nothing_else_is_touched(void **state)
{
    (void)state;
    static const enum rig_call calls[] = {
        RIG_RTL_WALK, RIG_HEAP_WALK, RIG_HEAP_SUMMARY,  RIG_RTL_QUERY,     RIG_HEAP_QUERY,
        RIG_RTL_SET,  RIG_HEAP_SET,  RIG_GET_USER_INFO, RIG_MULTIPLE_FREE, RIG_MULTIPLE_ALLOCATE};
    static const unsigned bad[] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13}; /* not stack, static */
    room_make();
    for (size_t idx = 0; idx < sizeof(calls) / sizeof(calls[0]); idx++) {
        for (size_t which = 0; which < sizeof(bad) / sizeof(bad[0]); which++) {
            struct rig_args args = room_args(calls[idx]);
            args.extra = rig_foreign(bad[which]);
            struct rig_outcome outcome = rig_run(&args);
            assert_false(outcome.raised);
            assert_int_equal(outcome.reports, 0);
            switch (calls[idx]) {
            case RIG_RTL_WALK:
            case RIG_RTL_QUERY:
            case RIG_RTL_SET:
                rig_demand_value(&outcome, STATUS_ACCESS_VIOLATION);
                break;
            default:
                rig_demand_error(&outcome, 0, ERROR_NOACCESS);
                break;
            }
        }
    }
    demand_unharmed();
}

/* D19: allocate, reallocate and free are bit by bit in rulings_alloc. */
static void no_flag_bit_of_any_call_does_harm(void **state)
{
    (void)state;
    static const enum rig_call calls[] = {
        RIG_RTL_ALLOCATE,  RIG_RTL_SIZE,       RIG_RTL_VALIDATE,     RIG_RTL_COMPACT,
        RIG_HEAP_COMPACT,  RIG_HEAP_SUMMARY,   RIG_RTL_ZERO,         RIG_SET_USER_VALUE,
        RIG_GET_USER_INFO, RIG_SET_USER_FLAGS, RIG_MULTIPLE_ALLOCATE};
    room_make();
    for (size_t idx = 0; idx < sizeof(calls) / sizeof(calls[0]); idx++) {
        struct rig_args args = room_args(calls[idx]);
        const struct rig_outcome plain = rig_run(&args);
        for (unsigned bit = 0; bit <= 32; bit++) {
            args = room_args(calls[idx]);
            args.flags = bit == 32 ? UINT32_MAX : (ULONG)1 << bit;
            struct rig_outcome outcome = rig_run(&args);
            assert_false(outcome.raised);
            assert_int_equal(outcome.reports, 0);
            assert_int_equal(outcome.last_error, RIG_LAST_ERROR);
            if (calls[idx] == RIG_RTL_ALLOCATE) {
                assert_int_not_equal(outcome.value, 0);
                assert_true(HeapFree(room.heap, args.flags, (PVOID)outcome.value));
            } else if (calls[idx] != RIG_RTL_COMPACT && calls[idx] != RIG_HEAP_COMPACT) {
                assert_int_equal(outcome.value, plain.value);
            }
        }
    }
    demand_unharmed();
}

/* D3, D41 */
static void every_odd_size_is_refused_or_served_whole(void **state)
{
    (void)state;
    const SIZE_T top = (SIZE_T)1 << (sizeof(SIZE_T) * 8 - 1);
    room_make();
    for (unsigned shift = 0; shift < sizeof(SIZE_T) * 8; shift++) {
        for (SIZE_T delta = 0; delta < 48; delta++) {
            const SIZE_T sizes[] = {((SIZE_T)1 << shift) - 24 + delta,
                                    top + ((SIZE_T)1 << shift) - delta};
            for (size_t idx = 0; idx < 2; idx++) {
                uint8_t *block = HeapAlloc(room.heap, 0, sizes[idx]);
                if (block == NULL) {
                    assert_true(sizes[idx] >= 0x1000000); /* the arena has room for less */
                    continue;
                }
                assert_int_equal(HeapSize(room.heap, 0, block), sizes[idx]);
                if (sizes[idx] != 0) {
                    block[0] = 1;
                    block[sizes[idx] - 1] = 1;
                }
                assert_true(HeapFree(room.heap, 0, block));
            }
        }
    }
    for (SIZE_T delta = 0; delta < 0x3000; delta++) {
        assert_null(HeapReAlloc(room.heap, 0, room.block, SIZE_MAX - delta));
    }
    demand_unharmed();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_call_refuses_a_bad_handle_in_its_own_way),
        TEST(the_null_handle_is_refused_silently),
        TEST(an_allocation_on_a_bad_handle_raises_by_the_calls_bits),
        TEST(every_call_refuses_a_stale_handle),
        TEST(no_address_given_as_a_block_does_harm),
        TEST(no_address_in_the_heaps_own_memory_does_harm),
        TEST(structures_anywhere_are_probed_and_nothing_else_is_touched),
        TEST(no_flag_bit_of_any_call_does_harm),
        TEST(every_odd_size_is_refused_or_served_whole),
    };
    return cmocka_run_group_tests_name("bad arguments", tests, NULL, NULL);
}
