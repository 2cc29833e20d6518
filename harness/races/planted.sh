#!/usr/bin/env bash
# A race planted in core must be found by TSan, as a race, by threads that use one heap.
# usage: planted.sh PROGRAM CORPUS...
set -euo pipefail

here=$(dirname "$0")
out=$(mktemp)
trap 'rm -f "$out"' EXIT
program=$1
shift
status=0
# One that is seldom met gets a few tries.
for ((try = 1; try <= 3; try++)); do
    status=0
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        "$here/../../ci/run-sanitized.sh" "$program" 4 "$@" >"$out" 2>&1 || status=$?
    if grep -q 'WARNING: ThreadSanitizer: data race' "$out" && [ "$status" -ne 0 ]; then
        grep -m1 '^SUMMARY' "$out"
        exit 0
    fi
done
echo "planted.sh: $program: no race found, exit status $status" >&2
tail -n 5 "$out" >&2
exit 1
