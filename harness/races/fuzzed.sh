#!/usr/bin/env bash
# Fuzzing with threads under TSan, beginning with nothing: a race planted in core is found, as a race, within
# five minutes; core as it is stays silent for twenty seconds.
# usage: fuzzed.sh race|clean PROGRAM
set -euo pipefail

what=$1
program=$2
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/grown"
seconds=$([ "$what" = race ] && echo 300 || echo 20)
status=0
TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 "$here/../../ci/run-sanitized.sh" "$program" -seed=1 \
    -max_len=4112 -timeout=60 -rss_limit_mb=4096 "-max_total_time=$seconds" "-artifact_prefix=$dir/" "$dir/grown" \
    >"$dir/out" 2>&1 || status=$?
inputs=$(sed -n 's/^#\([0-9]*\).*/\1/p' "$dir/out" | tail -n1)
fail() {
    printf 'fuzzed.sh: %s: %s; exit status %s after %s inputs\n' "$program" "$1" "$status" "${inputs:-0}" >&2
    tail -n 30 "$dir/out" >&2
    exit 1
}

if [ "$what" = clean ]; then
    [ "$status" -eq 0 ] || fail 'expected no finding'
    [ "${inputs:-0}" -ge 100 ] || fail 'expected a hundred inputs or more'
else
    [ "$status" -ne 0 ] || fail 'expected a race'
    grep -q 'WARNING: ThreadSanitizer: data race' "$dir/out" || fail 'expected a data race'
    compgen -G "$dir/crash-*" >/dev/null || fail 'expected the input that shows it'
fi
echo "$inputs inputs; $(grep -m1 '^SUMMARY' "$dir/out" || echo 'nothing found')"
