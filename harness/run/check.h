/* SPDX-License-Identifier: MIT
 *
 * RIG_CHECK: what must hold of the rig itself, in every build. One condition a check. */
#ifndef RIG_RUN_CHECK_H
#define RIG_RUN_CHECK_H

/* Prints the condition with its place and aborts unless `holds`. Our bug, never the subject's. */
void rig_check_at(int holds, const char *condition, const char *file, int line);

#define RIG_CHECK(condition) rig_check_at((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

#endif
