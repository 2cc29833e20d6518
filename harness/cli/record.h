/* SPDX-License-Identifier: MIT
 *
 * heaprig record. */
#ifndef RIG_CLI_RECORD_H
#define RIG_CLI_RECORD_H

/* Run the subcommand. `argv[0]` is its name. Returns the exit status: 0 when the traces were
 * written, whatever the recorded program's own status was (that one goes to standard error), 2 for
 * bad usage and bad input. Bad options end the process. */
int rig_cli_record(int argc, char **argv);

#endif
