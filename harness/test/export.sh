#!/usr/bin/env bash
# heaprig export: C files that need core's public headers alone, compile without a warning, make the same
# calls as the rig with the same results, and show the same findings; on a sound core they show none.
# usage: export.sh BIN SOURCE
set -u
# shellcheck source=harness/test/support/command.sh
. "$(dirname "$0")/support/command.sh"

# As the build links its own command, with other objects and another library.
build=$(cd "$bin/.." && pwd)
link=$(cd "$build" && ninja -t commands bin/heaprig | tail -n1)
compiler=$(grep -o '^: && [^ ]*' <<<"$link" | cut -c6-)
flags=$(grep -oE -- ' -(fsanitize|fno-sanitize|m)[^ ]*| -Wl,@[^ ]*' <<<"$link" | tr '\n' ' ')

# compile FILE.c LIBRARY OUT: strict, and with no header but core's own and the C library's.
compile() {
    # shellcheck disable=SC2086 # words
    "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 $flags -I"$source/core/include" "$1" "$2" \
        -pthread -o "$3" >compile.out 2>&1
}

# same PROGRAM: its export prints what the rig's calls gave.
same() {
    local name status=0
    name=$(basename "$1" .heap)
    "$heaprig" export "$1" -o "$name.c" >"$name.err" 2>&1 || {
        fail "$name: $(head -n 1 "$name.err")"
        return
    }
    grep -q ': left out: ' "$name.err" && lacking=yes || lacking=no
    compile "$name.c" "$build/lib/libntheap.a" "$name.exe" || {
        fail "$name: $(head -n 3 compile.out)"
        return
    }
    "$heaprig" export --calls "$1" >"$name.want" 2>/dev/null
    timeout 60 "./$name.exe" --verbose >"$name.got" 2>"$name.err" || status=$?
    [ "$status" = 0 ] || fail "$name: exit status $status: $(head -n 2 "$name.err")"
    if [ "$lacking" = yes ]; then # it says so itself
        left="$left $name"
        return
    fi
    diff "$name.want" "$name.got" >"$name.diff" || fail "$name: $(head -n 4 "$name.diff")"
    compared=$((compared + $(wc -l <"$name.want")))
    count=$((count + 1))
}
expect 2 'heaprig export: expected one file, as in: heaprig export seed.heap' "$heaprig" export
expect 2 'heaprig export: none.heap: expected a file to read: No such file or directory' \
    "$heaprig" export none.heap
printf 'HRTR\1\10\0\0\1\0d\4\0\310\1\5\0\7\0' >good.trace
expect 2 'heaprig export: good.trace: expected a program, found a trace' "$heaprig" export good.trace
expect 0 '' "$heaprig" export --help
printf 'HeapAlloc h0 s1 small:40\n' >good.heap
expect 0 '' "$heaprig" export good.heap
grep -q '^ \* The run had no finding' out || fail "good.heap: $(head -n 5 out)"
grep -q 's1 = HeapAlloc(heap0, ' out || fail "good.heap: no call in $(tail -n 20 out)"
! grep -q 'seam.h' out || fail 'good.heap: it needs no seam'

# ---- One program for each operation and each class of fault ----------------------------------------
# Seeds until every operation that makes a call is exported, then every class of the catalogues.
covered=' ' count=0 compared=0 left=''
words_of() {
    "$heaprig" show --json "$1" | jq -r 'select(.op) | if .op == "MISUSE" or .op == "DAMAGE" or .op == "PLAN"
        then .op + ":" + (.text | split(" ")[1]) else .op end' | sort -u
}
printf 'HeapAlloc h0 s1 small:40\nread s1\n' >read.heap
for seed in read.heap "$source"/corpus/ops_fuzzer/*.heap "$source"/corpus/{misuse,oom,corrupt}_fuzzer/*.heap; do
    [ -f "$seed" ] || continue
    new=no
    for word in $(words_of "$seed"); do
        [[ $covered == *" $word "* ]] || new=yes
        covered="$covered$word "
    done
    [ "$new" = no ] || same "$seed"
done
status=0
"$heaprig" export "$source/corpus/verifier_fuzzer/leaks_in_order.heap" >out 2>err || status=$?
[ "$status" -eq 2 ] || fail "a program under the verifier: exit status $status, expected 2"
grep -q 'expected a program without verify=' err || fail "a program under the verifier: $(head -n1 err)"
for op in $(sed -n 's/^RIG_OP(\([A-Z_]*\),.*/\1/p' "$source/harness/program/op.def"); do
    [ "$op" != VERIFY ] || continue # such programs are not exported: their calls go through modules
    [[ $covered == *" $op "* || $covered == *" $op:"* ]] || fail "no seed has the operation $op"
done
for kind in misuse damage; do
    for class in $(sed -n 's/^FAULT_[A-Z]*([A-Z_0-9]*, *"\([a-z0-9-]*\)".*/\1/p' "$source/faults/catalog_$kind.def"); do
        [[ $covered == *" ${kind^^}:$class "* ]] || fail "no seed has the $kind $class"
    done
done
echo "$count programs without a finding: $compared calls gave what they gave in the rig"
echo "not compared, for plans that no C file has:${left:- none}"
[ "$(wc -w <<<"$left")" -le 2 ] || fail "too many were not compared: $left"
[ "$compared" -gt 500 ] || fail "$compared calls compared"

# ---- Findings ------------------------------------------------------------------------------------
# Bugs planted in core: the export shows each on that core, and none on the sound one.
findings=0
for pair in 05:user_values_and_flags_follow_their_block \
    07:a_fixed_heap_serves_its_threshold_and_not_a_byte_more \
    09:a_block_in_place_shrinks_always_and_grows_where_there_is_room \
    11:a_fixed_heap_serves_its_threshold_and_not_a_byte_more \
    14:a_large_block_takes_what_pages_there_are_or_none 15:a_walk_shows_every_block_once \
    16:further_regions_double_every_sixteen 20:a_heap_lives_in_its_callers_memory \
    21:null_may_stand_anywhere_among_many 23:heaps_are_listed_in_order \
    34:the_only_block_that_fits_is_found 38:the_threshold_has_a_limit_of_its_own \
    46:the_largest_allocation_itself_is_served 52:pages_go_back_past_both_thresholds; do
    bug=${pair%%:*}
    seed=$source/corpus/ops_fuzzer/${pair#*:}.heap
    "$source/harness/test/child/planted" "$bin" "$source" "$bug" "$dir/$bug" >plant.out 2>&1 || {
        fail "core with bug $bug: $(tail -n 3 plant.out)"
        continue
    }
    "$bug/heaprig" export "$seed" -o "$bug.c" 2>err || fail "$bug: $(cat err)"
    grep -q '^ \* Rule [a-z_]*: ' "$bug.c" || fail "$bug: the export does not name its rule"
    for which in planted sound; do
        library=$dir/$bug/libntheap.a expected=1
        if [ "$which" = sound ]; then
            library=$build/lib/libntheap.a expected=0
        fi
        compile "$bug.c" "$library" "$bug.exe" || fail "$bug: $(head -n 3 compile.out)"
        status=0
        timeout 60 "./$bug.exe" >out 2>err || status=$?
        [ "$status" = "$expected" ] ||
            fail "$bug: exit status $status on the $which core, expected $expected: $(head -n 2 err)"
    done
    rm -rf "${dir:?}/$bug"
    findings=$((findings + 1))
done
echo "$findings findings show on a core with the bug, and not on the sound one"

# A crash: core that aborts, as an assertion would, when a heap's third block is freed.
mkdir -p crash
sed '/^enum nth_status nth_op_free(/,/^{/s/^{/{\n    static int count;\n    if (++count == 3) {\n        __builtin_trap();\n    }/' \
    "$source/core/src/ops.c" >crash/ops.c
cmp -s crash/ops.c "$source/core/src/ops.c" && fail 'crash: no line of ops.c was changed'
printf 'HeapAlloc s%s h0 40\n' 1 2 3 4 >crash.heap
printf 'RtlFreeHeap s%s\n' 1 2 3 4 >>crash.heap
if "$source/harness/test/child/planted" "$bin" "$source" "$dir/crash/ops.c" "$dir/crash" >plant.out 2>&1; then
    crash/heaprig export crash.heap -o crash.c 2>err || fail "crash: $(cat err)"
    grep -q '^ \* The last call did not return in the rig' crash.c || fail "crash: $(head -n 5 crash.c)"
    grep -q 'RtlFreeHeap(heap0, 0x[0-9a-f]*u, s3)' crash.c || fail "crash: not the third block in $(tail -n 12 crash.c)"
    ! grep -q 'RtlFreeHeap(heap0, 0x[0-9a-f]*u, s4)' crash.c || fail 'crash: a call behind it is there'
    compile crash.c "$dir/crash/libntheap.a" crash.exe || fail "crash: $(head -n 3 compile.out)"
    status=0
    timeout 60 ./crash.exe >out 2>err || status=$?
    [ "$status" != 0 ] || fail 'crash: it does not show on the core that crashes'
    compile crash.c "$build/lib/libntheap.a" crash.exe || fail "crash: $(head -n 3 compile.out)"
    expect 0 '' timeout 60 ./crash.exe
else
    fail "core that crashes: $(tail -n 3 plant.out)"
fi
[ "$findings" -ge 10 ] || fail "$findings findings, expected 10 or more"

exit $failed
