#!/usr/bin/env bash
# heaprig shrink: small programs that show the same finding, the same each time; crashes and hangs too.
# usage: shrink.sh BIN SOURCE
set -u
# shellcheck source=harness/test/support/command.sh
. "$(dirname "$0")/support/command.sh"

# records FILE: how many there are in its text.
records() {
    "$heaprig" show "$1" | grep -vc '^program'
}

# A program full of what the finding does not need.
noisy() {
    local idx
    echo 'program seed=9'
    for ((idx = 10; idx < 60; idx++)); do
        printf 'HeapAlloc h0 s%d zero small:%d context=locked\n' "$idx" $((idx * 7))
        [ $((idx % 3)) != 0 ] || printf 'RtlFreeHeap s%d\n' "$idx"
    done
    echo 'RtlCreateHeap h3 fixed pages:200 reserve=12'
    echo 'HeapAlloc s3 h3 zero small:40'
    echo "$1"
    for ((idx = 60; idx < 90; idx++)); do
        printf 'HeapAlloc h0 s%d small:%d\ncheck\n' "$idx" "$idx"
    done
}

# ---- Nothing to shrink ---------------------------------------------------------------------------
printf 'HeapAlloc h0 s1 small:40\n' >good.heap
expect 2 'heaprig shrink: good.heap: expected a program with a finding: the contract holds' \
    "$heaprig" shrink good.heap
expect 2 'heaprig shrink: expected one file, as in: heaprig shrink seed.heap' "$heaprig" shrink
expect 2 'heaprig shrink: --seconds 0: expected a number from 1 to 86400' \
    "$heaprig" shrink --seconds 0 good.heap
expect 2 'heaprig shrink: none.heap: expected a file to read: No such file or directory' \
    "$heaprig" shrink none.heap
printf 'HRTR\1\10\0\0\1\0d\4\0\310\1\5\0\7\0' >good.trace
expect 2 'heaprig shrink: good.trace: expected a program, found a trace' "$heaprig" shrink good.trace
expect 0 '' "$heaprig" shrink --help
grep -q '^Usage: heaprig shrink ' out || fail "--help: said $(head -n 1 out)"

# ---- Findings, on a core with a bug --------------------------------------------------------------
plant() {
    "$source/harness/test/child/planted" "$bin" "$source" "$1" "$dir/$1" >plant.out 2>&1 ||
        fail "core with bug $1: $(tail -n 3 plant.out)"
}

# A size too large for a fixed heap is called something else: a ruling is broken.
plant 11
noisy 'HeapReAlloc s3 exceptions boundary:53' >eleven.heap
expect 0 - 11/heaprig shrink eleven.heap -o eleven.small.heap
grep -q "reproduced" err || fail "11: $(cat err)"
[ "$(records eleven.small.heap)" -le 3 ] || fail "11: $(cat eleven.small.heap)"
grep -q '^# Shrunk from eleven.heap: rule a_failure_has_its_form, clause D5, at HeapReAlloc$' \
    eleven.small.heap || fail "11: $(head -n 1 eleven.small.heap)"
expect 1 '' 11/heaprig run --quiet eleven.small.heap
grep -q 'a fresh process found the same: reproduced' out || fail "11: run does not confirm: $(cat out)"
grep -q 'ruling of core/SOURCES.md: A size above the threshold of a nongrowable heap' out ||
    fail "11: a finding on a ruling does not print it: $(cat out)"
expect 1 '' 11/heaprig run --json eleven.small.heap
jq -s -e 'any(.[]; .finding.clauses[0].outcome | strings | startswith("A size above"))' out >jq.out ||
    fail "11: JSON has no ruling: $(cat out)"
# The same each time, as text and as bytes.
expect 0 - 11/heaprig shrink eleven.heap
cmp -s out eleven.small.heap || fail '11: another result the second time'
expect 0 - 11/heaprig shrink eleven.heap -o eleven.small.bin
[ "$(head -c 4 eleven.small.bin)" = HRPG ] || fail '11: OUT.bin is not bytes'
"$heaprig" show eleven.small.bin | diff - <(grep -v '^#' eleven.small.heap) >diff.out ||
    fail "11: bytes and text differ: $(cat diff.out)"
expect 0 - 11/heaprig shrink --json eleven.heap
jq -e '.records == 3 and .reproduced and .records_before > 100 and .runs > 10' out >jq.out ||
    fail "11: --json said $(cat out)"
# Time that is over ends it with what there is.
noisy 'HeapReAlloc s3 exceptions boundary:53' >slow.heap
expect 0 - timeout 60 11/heaprig shrink --seconds 1 slow.heap

# A walk that leaves something out, found by the look at the end.
plant 15
expect 0 - 15/heaprig shrink "$source/corpus/ops_fuzzer/a_walk_shows_every_block_once.heap"
grep -q 'rule the_walk_is_the_heap' out || fail "15: $(cat out err)"
[ "$(grep -vc '^#' out)" -le 6 ] || fail "15: $(cat out)"

# ---- A crash and a hang --------------------------------------------------------------------------
# Core that dies, or never returns, when a block of one size is freed.
mkdir patch
awk '/^LOGICAL RtlFreeHeap\(/ { inside = 1 } { print }
    inside && /^{/ { print "    if (BaseAddress != 0 && RtlSizeHeap(HeapHandle, 0, BaseAddress) == 77) {\n" \
        "        TRAP\n    }"; inside = 0 }' "$source/core/src/api_alloc.c" >patch/api_alloc.c
if ! cmp -s patch/api_alloc.c "$source/core/src/api_alloc.c"; then
    noisy 'HeapAlloc h0 s200 small:77' >trap.heap
    echo 'RtlFreeHeap s200' >>trap.heap
    for kind in crash hang; do
        case $kind in
        crash) sed 's/TRAP/__builtin_trap();/' patch/api_alloc.c >api_alloc.c ;;
        hang) sed 's/TRAP/for (volatile int turn = 0; turn < 1; turn = 0) { }/' patch/api_alloc.c >api_alloc.c ;;
        esac
        "$source/harness/test/child/planted" "$bin" "$source" api_alloc.c "$dir/$kind" \
            >plant.out 2>&1 || fail "$kind: $(tail -n 3 plant.out)"
    done
    expect 0 - crash/heaprig shrink trap.heap -o crash.heap
    [ "$(records crash.heap)" -le 2 ] || fail "crash: $(cat crash.heap)"
    grep -q '^# Shrunk from trap.heap: .* in RtlFreeHeap' crash.heap || fail "crash: $(head -n 1 crash.heap)"
    grep -q 'found the same: reproduced' err || fail "crash: $(cat err)"
    # A look at everything would be a hang too: ten records, so that few tries take their time.
    printf 'HeapAlloc h0 s1 small:40\nHeapAlloc h0 s2 small:77\nRtlFreeHeap s2\n' >hang.heap
    expect 0 - timeout 400 hang/heaprig shrink --timeout 1 --seconds 20 hang.heap -o hang.small.heap
    grep -q '^# Shrunk from hang.heap: a hang in RtlFreeHeap' hang.small.heap ||
        fail "hang: $(cat err hang.small.heap)"
    grep -q 'found the same: reproduced' err || fail "hang: $(cat err)"
else
    fail 'core/src/api_alloc.c: no RtlFreeHeap to plant a crash in'
fi

exit $failed
