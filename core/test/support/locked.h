/* SPDX-License-Identifier: MIT
 *
 * What tests of hardware faults share: core's handlers in place, and two pages without access. */
#ifndef NTH_TEST_LOCKED_H
#define NTH_TEST_LOCKED_H

#include "seh.h"

#include "support/wild.h"

static uintptr_t locked; /* a page without access, and one behind it */

/* In the body of each test: cmocka puts its own signal handlers around it. */
static void locked_begin(void **state)
{
    (void)state;
    trace_start();
    nth_seh_reset();
    nth_seh_install();
    locked = wild_map(2, PROT_NONE);
}

static int locked_teardown(void **state)
{
    (void)state;
    wild_unmap(locked, 2);
    assert_null(nth_self.frame);
    assert_null(nth_self.unwind);
    return 0;
}

#endif
