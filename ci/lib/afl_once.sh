#!/usr/bin/env bash
# Part of ci/planted.sh: AFL++ from next to nothing until its first crash, in the working folder.
# usage: afl_once.sh PROGRAM MUTATOR SECONDS SEED
# MUTATOR is the library with the mutators by operation. Exit status: that of the crash, run once more so
# that it says what it is; 0 when there was none; 2 when afl-fuzz did not run.
set -euo pipefail

program=$1 library=$2 seconds=$3 seed=$4
timeout=25 # of an input, for afl_environment
# shellcheck source=ci/lib/afl.sh
. "$(dirname "$0")/afl.sh"
printf 'H' >empty/one # an empty input it refuses
options=$ASAN_OPTIONS
afl_environment
unset AFL_AUTORESUME
status=0
AFL_BENCH_UNTIL_CRASH=1 AFL_CUSTOM_MUTATOR_LIBRARY=$library AFL_CUSTOM_MUTATOR_ONLY=1 \
    afl-fuzz -V "$seconds" -s "$seed" -t "$((timeout * 1000))" -m none -G 4112 -i empty -o out -- "$program" \
    >log.afl 2>&1 || status=$?
afl_orphans "$program"
crash=$(find out -path '*/crashes/id:*' 2>/dev/null | sort | head -n1)
if [ -z "$crash" ]; then
    grep -q '^execs_done *: *[1-9]' out/default/fuzzer_stats 2>/dev/null && exit 0
    echo "afl-fuzz did not run, it ended with $status: $(tail -n1 log.afl)" >&2
    exit 2
fi
ASAN_OPTIONS=$options exec "$program" "$crash"
