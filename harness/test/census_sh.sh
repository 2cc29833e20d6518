#!/usr/bin/env bash
# heaprig census: a sampled sweep holds, what it prints adds up, a run can be shown alone, bad usage is one
# line. usage: census_sh.sh BIN SOURCE
set -euo pipefail

heaprig=$1/heaprig
states=$2/corpus/census
if [ ! -x "$heaprig" ]; then
    echo "census_sh.sh: no heaprig in this build"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "census_sh.sh: $1" >&2
    exit 1
}

# The whole of it takes hours: one change in so many, and all kinds of random ones apart.
every=2500
random=20
case $1 in
*/release/bin) every=250 random=150 ;;
esac

status=0
"$heaprig" census --states "$states" --every $every --svg "$work/map.svg" >"$work/table" || status=$?
cat "$work/table"
[ $status -eq 0 ] || fail "exit status $status"
"$heaprig" census --states "$states" --change random --random $random | tail -n1 | grep '^random overwrites with' || fail 'no rate of random overwrites'
grep -q '^single bits ' "$work/table" || fail 'no line of single bits'
grep -Eq '^left out: [0-9]+ changes' "$work/table" || fail 'what was left out is not told'
[ "$(awk '/^single bits|^field values|^pairs/ { bad += $(NF - 3) + $(NF - 2) + $(NF - 1) + $NF } END { print bad + 0 }' "$work/table")" = 0 ] ||
    fail 'the table has what the exit status denies'
grep -Eq '^accounted for: [0-9]{6,} committed bytes, looked at [0-9]{3,} times: each is one thing$' "$work/table" ||
    fail 'committed bytes are not accounted for'
head -c5 "$work/map.svg" | grep -q '<svg' || fail 'no drawing'
tail -n1 "$work/map.svg" | grep -q '</svg>' || fail 'half a drawing'

# Bytes that are spare by the heap's own word, and written. No change is made: the status is for them.
mkdir "$work/written"
printf 'program flags=damage\nparameter arg=5 power:15\nRtlCreateHeap h1 parameters 0\nHeapAlloc s1 h1 100\ndamage segment-front h1\nHeapSize s1\n' \
    >"$work/written/front.heap"
status=0
"$heaprig" census --states "$work/written" --every 1000000000 >"$work/unaccounted" || status=$?
[ $status -eq 1 ] || fail "written spare bytes: exit status $status"
grep -Eq "^front +not accounted for: 0 bytes nobody's, 0 twice .* [1-9][0-9]* written and nobody's; the first at 0x[0-9a-f]+, after step 3, damage$" \
    "$work/unaccounted" || fail 'written spare bytes are not told'
grep -q ' times: NOT each is one thing$' "$work/unaccounted" || fail 'written spare bytes are one thing'
"$heaprig" census --states "$work/written" --every 1000000000 --json >"$work/unaccounted" && fail 'written spare bytes: --json: exit status'
grep -Eq '^\{"account":\{"state":"front","looks":[0-9]+,"bytes":[0-9]+,"nobody":0,"twice":0,"outside":0,"written":[1-9][0-9]*,"first":"0x[0-9a-f]+","step":3,"after":"damage"\}\}$' "$work/unaccounted" ||
    fail "--json: $(head -n1 "$work/unaccounted")"

# A run alone: the same verdict, step by step; and what the sweep counts is what JSON lists.
"$heaprig" census --states "$states" --only 'fresh:heap.config#0:bit17:alloc' >"$work/only" || fail '--only: exit status'
tail -n1 "$work/only" | grep -q ': touch, step 0, HeapAlloc, reported HEAP_CONFIG$' || fail "--only: $(tail -n1 "$work/only")"
"$heaprig" census --states "$states" --only fresh:any:none:walk | tail -n1 | grep -q ': harmless$' || fail 'the control is not harmless'
"$heaprig" census --states "$states" --state fresh --field block.header --change bit --json >"$work/json" || fail '--json: exit status'
grep -q '"field":"block.header","changes":"single bits","not run":0,"harmless":0,"validate":0,"touch":192,' "$work/json" ||
    fail "--json: $(cat "$work/json")"

# One line on standard error, status 2.
refused() {
    local said status=0
    said=$("$heaprig" census "$@" 2>&1 >/dev/null) || status=$?
    [ $status -eq 2 ] || fail "census $*: status $status"
    [ "$(echo "$said" | wc -l)" -eq 1 ] || fail "census $*: $said"
}
refused --states "$states" --state no-such-state
refused --states "$work/none"
refused --every 0
refused --jobs x
refused --only fresh
refused --states "$states" --only fresh:block.header#0:bit64:size
refused --states "$states" --only fresh:block.header#0:bit1:no-such-operation
refused --field
printf 'HeapCreate h2 0\n' >"$work/bad.heap"
refused --states "$work"
"$heaprig" census --help | grep -q -- '--svg' || fail '--help'
