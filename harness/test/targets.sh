#!/usr/bin/env bash
# Fuzz targets without an engine: every one over its corpus and over what is no program at all, and
# what the driver says of bad input.
# usage: targets.sh BIN SOURCE
set -euo pipefail

bin=$1
source=$2
if grep -q '^HEAPRIG_FUZZ:BOOL=ON' "$bin/../CMakeCache.txt" ||
    grep -q '^HEAPRIG_ENGINE:STRING=..*' "$bin/../CMakeCache.txt"; then
    echo "these targets have an engine"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'targets.sh: %s\n' "$1" >&2
    cat "$dir/out" >&2
    exit 1
}

run() {
    local expected=$1 status=0
    shift
    "$@" >"$dir/out" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || fail "$*: exit status $status, expected $expected"
}

word() {
    od -An -v -t u8 -j $(($1 * 8)) -N 8 "$dir/stats" | tr -d ' '
}

mkdir -p "$dir/odd/deep" "$dir/empty"
: >"$dir/odd/nothing"
head -c 65536 /dev/zero >"$dir/odd/zeros"
head -c 65536 /dev/zero | tr '\0' '\377' >"$dir/odd/ones"
printf 'HRPG\377' >"$dir/odd/newer"
printf 'HRPG' >"$dir/odd/deep/short"

while read -r name folder; do
    [ -n "$name" ] || continue
    [ -d "$source/corpus/$folder" ] || fail "$name: no folder corpus/$folder"
    target=$bin/$name
    # Ten times in one process and in either order: nothing is left from one input to the next.
    run 0 "$target" "$dir/odd" "$dir/odd" "$dir/odd"
    grep -q '^15 inputs$' "$dir/out" || fail "$name: expected 15 inputs"
    run 0 env HEAPRIG_STATS="$dir/stats" "$target" "$dir/odd/zeros" "$dir/odd/nothing"
    [ "$(word 0)" = 2 ] || fail "$name: counted $(word 0) inputs, expected 2"
    run 0 env HEAPRIG_STATS="$dir/stats" "$target" "$dir/odd/nothing"
    [ "$(word 0)" = 3 ] || fail "$name: counted $(word 0) inputs in both, expected 3"
    rm -f "$dir/stats"
    run 0 "$target" <"$dir/odd/ones"
    run 2 "$target" "$dir/not-there"
    grep -q 'not-there: expected a file or folder' "$dir/out" || fail "$name: says something else"
    run 2 "$target" "$dir/empty"
    run 2 env HEAPRIG_STATS="$dir/not/there" "$target" "$dir/odd/zeros"
done <"$bin/../targets.list"

# A program counts its calls and its clauses.
printf 'HeapAlloc s1 h0 100\nHeapFree s1\n' >"$dir/two.heap"
echo "$dir/two.heap" >"$dir/list"
run 0 "$bin/heaprig-assemble" "$dir/empty" "$dir/list"
run 0 env HEAPRIG_STATS="$dir/stats" "$bin/ops_fuzzer" "$dir/empty/two.bin"
[ "$(word 1)" -gt 2 ] || fail "counted $(word 1) calls of two operations and the looks after them"
[ "$(word 2)" = 2 ] || fail "counted $(word 2) operations, expected 2"
[ "$(word 6)" -gt 0 ] || fail "no clauses"
exercised=$(od -An -v -t u1 -w1 -j 64 "$dir/stats" | grep -c '^ *1$')
[ "$exercised" -gt 0 ] || fail "no clause exercised"
[ "$exercised" -lt "$(word 6)" ] || fail "two operations exercised all clauses"

times=$(((64 + 2 * $(word 6) + 7) / 8 + 3 + 64))
for number in 1 2 3 4 5; do # decoder, calls, all of the run, slowest input, memory
    [ "$(word $((times + number)))" -gt 0 ] || fail "number $number of time and memory is 0"
done
cmp -s "$dir/stats.slowest" "$dir/empty/two.bin" || fail "the only input is not kept as the slowest"
[ "$(word $((times + 2)))" -lt "$(word $((times + 3)))" ] || fail "calls took longer than the run"

run 2 "$bin/heaprig-assemble" "$dir/empty" "$dir/list"
grep -q 'a name that no other seed has' "$dir/out" || fail "two seeds of one name are one"

# What is no text form stops the build of a corpus.
echo 'HeapAlloc s256' >"$dir/two.heap"
run 2 "$bin/heaprig-assemble" "$dir/empty" "$dir/list"
grep -q 'two.heap:1: expected' "$dir/out" || fail "the assembler says something else"
