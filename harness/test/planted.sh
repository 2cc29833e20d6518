#!/usr/bin/env bash
# Planted bugs: every patch applies to core as it is, and some are caught by the corpus alone.
# usage: planted.sh BIN SOURCE
set -euo pipefail

bin=$1
source=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'planted.sh: %s\n' "$1" >&2
    exit 1
}

count=0
for patch in "$source"/harness/planted/[0-9]*-*.patch; do
    name=$(basename "$patch")
    for line in Bug States Trigger 'Seen by'; do
        grep -q "^$line: *[^ ]" "$patch" || fail "$name: no line '$line:'"
    done
    target=$(sed -n 's/^Target: *//p' "$patch")
    [[ $target =~ ^(|ops_fuzzer|misuse_fuzzer|oom_fuzzer|corrupt_fuzzer|verifier_fuzzer)$ ]] ||
        fail "$name: there is no target '$target'"
    rm -rf "$dir/src"
    cp -r "$source/core/src" "$dir/src"
    patch -s -p1 -F0 -d "$dir/src" <"$patch" >"$dir/out" 2>&1 ||
        fail "$name does not apply to core/src: $(head -n1 "$dir/out")"
    grep -rq 'nth_planted(' "$dir/src" || fail "$name: does not tell that it was reached"
    count=$((count + 1))
done
[ "$count" -ge 45 ] || fail "$count patches, expected 45 or more"

if ! grep -q '^HEAPRIG_SANITIZERS.*address' "$bin/../CMakeCache.txt" ||
    grep -q NTH_STRESS "$bin/../CMakeCache.txt"; then
    echo "$count patches apply; running them is the same in every build"
    exit 0
fi
status=0
"$source/ci/planted.sh" --seconds 0 --json --only 20 --only 23 --only 35 --only 75 >"$dir/table" || status=$?
caught=$(jq -s '[.[] | select(.reached and .triggered and .corpus.caught)] | length' "$dir/table")
[ "$caught" = 4 ] || {
    cat "$dir/table" >&2
    fail "the corpus caught $caught of 4"
}
[ "$status" -eq 0 ] || fail "all were caught, and yet the exit status is $status"
"$source/ci/planted.sh" --list >"$dir/list"
[ "$(grep -cE '^[0-9]+-' "$dir/list")" = "$count" ] || fail "--list does not list $count bugs"
for wrong in '--engine x' '--only 00' '--only x' '--seconds' '--wrong'; do
    status=0
    # shellcheck disable=SC2086 # two words
    "$source/ci/planted.sh" $wrong >/dev/null 2>&1 || status=$?
    [ "$status" -eq 2 ] || fail "ci/planted.sh $wrong: exit status $status, expected 2"
done
