#!/usr/bin/env bash
# The life of a crash, from a bug planted in core to a file of corpus/regress, with what libFuzzer finds
# and with what AFL++ finds; and what ci/crash.sh says of bad usage. usage: crash_sh.sh BIN SOURCE
set -euo pipefail

bin=$(cd "$1" && pwd) source=$(cd "$2" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    printf 'crash_sh.sh: %s\n' "$1" >&2
    [ ! -s "$dir/out" ] || head -n 20 "$dir/out" >&2
    exit 1
}

# crash STATUS PATTERN ARGUMENT...: ci/crash.sh; with 2, one line and no more. PATTERN -: any output.
crash() {
    local expected=$1 pattern=$2 status=0
    shift 2
    "$source/ci/crash.sh" "$@" >"$dir/out" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || fail "ci/crash.sh $*: exit status $status, expected $expected"
    [ "$pattern" = - ] || grep -q -e "$pattern" "$dir/out" || fail "ci/crash.sh $*: expected a line like '$pattern'"
    [ "$expected" -ne 2 ] || [ "$(wc -l <"$dir/out")" -eq 1 ] || fail "ci/crash.sh $*: more than a line"
}

# ---- Usage ----------------------------------------------------------------------------------------

printf 'HeapAlloc s1 h0 40\n' >good.heap
mkdir none
crash 0 '^usage: ' --help
crash 2 'expected a command'
crash 2 "unknown command 'eat'" eat
crash 2 "unknown option '--eat'" name --eat
crash 2 'name: expected a file' name
crash 2 "none.heap: expected a file that can be read" name none.heap
crash 2 "none: expected inputs in it" sort none
crash 2 "--target 'no_fuzzer': expected a target" name --target no_fuzzer good.heap
crash 2 'expected --target NAME' name good.heap
crash 2 "--heaprig '/nowhere': expected a program" name --heaprig /nowhere good.heap
crash 2 'shrink: expected one file' shrink --target ops_fuzzer good.heap good.heap
crash 2 'add: expected a file and a sentence' add good.heap
crash 2 'add: expected a sentence of 10 to 120' add good.heap short
crash 2 '-o: expected with shrink and export only' name -o x good.heap
if [ ! -x "$bin/heaprig" ] || [ ! -e "$bin/../harness/targets/CMakeFiles/heaprig_driver.dir/driver.c.o" ]; then
    echo "the rest is left out: it takes a build with heaprig, and without an engine"
    exit 0
fi
sound=(--target ops_fuzzer --heaprig "$bin/heaprig")
crash 1 'good.heap: the contract holds: not confirmed' confirm "${sound[@]}" good.heap
crash 0 '^no finding	good.heap$' name "${sound[@]}" good.heap
echo HeapWrong >bad.heap
crash 2 'bad.heap:1' name "${sound[@]}" bad.heap

# ---- The whole way, for an engine -----------------------------------------------------------------

# core with bug 23: a list of heaps that is too short has the newest ones.
bug=23
"$source/harness/test/child/planted" "$bin" "$source" "$bug" "$dir/planted" >out 2>&1 || fail 'no core with the bug'
this=(--heaprig "$dir/planted/heaprig")

# way ENGINE: from findings/ops_fuzzer, where the engine left what it found, to corpus/regress.
way() {
    local engine=$1 corpus=$dir/$1.corpus found=$dir/$1/findings/ops_fuzzer inputs input distinct added status
    mapfile -t inputs < <(find "$found" -type f ! -name README.txt | sort)
    [ ${#inputs[@]} -gt 0 ] || fail "$engine: found nothing in the time given"
    input=${inputs[0]}
    crash 0 'confirmed in 3 processes: heaps_are_listed [A-Z0-9+-]* at [A-Za-z]*GetProcessHeaps, no report$' \
        confirm "${this[@]}" "$input"
    # As many inputs as there may be: one name each for what is the same.
    cp "$input" "$found/again"
    crash 0 '^[0-9]*	[a-z_]* [A-Z0-9+-]* at [A-Za-z]*, no report	' sort "${this[@]}" "$found"
    distinct=$(grep -c . out)
    [ "$distinct" -lt "$(find "$found" -type f | wc -l)" ] || fail "$engine: two equal inputs have two names"
    rm "$found/again"
    crash 0 'reproduced' shrink "${this[@]}" "$input" -o "$engine.heap"
    [ "$(grep -vc -e '^#' -e '^program' "$engine.heap")" -le 6 ] || fail "$engine: not small: $(cat "$engine.heap")"
    crash 0 'GetProcessHeaps' show "${this[@]}" --target ops_fuzzer "$engine.heap"
    crash 0 - export "${this[@]}" --target ops_fuzzer "$engine.heap" -o "$engine.c"
    grep -q '^ \* Rule ' "$engine.c" || fail "$engine: the C file does not name its rule"
    mkdir -p "$corpus"
    cp -r "$source/corpus/regress" "$source/corpus/MANIFEST.tsv" "$corpus/"
    crash 0 "$corpus/regress/[0-9]*-a-short-list-has-the-oldest-heaps.heap" add "${this[@]}" --target ops_fuzzer \
        --corpus "$corpus" "$engine.heap" 'A short list has the oldest heaps'
    added=$(head -n1 out)
    [ "$(head -n1 "$added")" = '# target: ops_fuzzer' ] || fail "$engine: $added names no target"
    grep -q "^regress/$(basename "$added")	ops_fuzzer	found	a bug once: " "$corpus/MANIFEST.tsv" ||
        fail "$engine: no line in the manifest"
    crash 2 'it is there already' add "${this[@]}" --target ops_fuzzer --corpus "$corpus" "$engine.heap" \
        'A short list has the oldest heaps'
    # It holds on sound core, and shows the bug where it is.
    crash 0 '^no finding' name --heaprig "$bin/heaprig" "$added"
    crash 0 'confirmed in 3' confirm "${this[@]}" "$added"
    "$bin/heaprig" asm "$added" -o "$engine.bin"
    "$bin/ops_fuzzer" "$engine.bin" >out 2>&1 || fail "$engine: sound core does not get through it"
    status=0
    "$dir/$engine/bin/ops_fuzzer" "$engine.bin" >out 2>&1 </dev/null || status=$?
    [ "$status" -ne 0 ] || fail "$engine: the target does not show the bug"
    echo "$engine: $(basename "$input") became $(basename "$added")"
}

mkdir -p libfuzzer/findings/ops_fuzzer afl/findings/ops_fuzzer empty
"$source/harness/test/child/counted" "$bin" "$source" libfuzzer "$bug" "$dir/libfuzzer" >out 2>&1 ||
    fail 'no fuzzer with the bug'
options=(-seed=1 -max_total_time=90 -max_len=2064 -print_funcs=0 -artifact_prefix="$dir/libfuzzer/findings/ops_fuzzer/")
ASAN_OPTIONS=allocator_may_return_null=1:symbolize=0 timeout 120 libfuzzer/bin/ops_fuzzer "${options[@]}" empty \
    >out 2>&1 || true
way libfuzzer

if ! command -v afl-fuzz >/dev/null || ! command -v afl-clang-fast >/dev/null; then
    echo "afl: left out: no afl-fuzz (ci/setup.sh afl)"
    exit 0
fi
"$source/harness/test/child/counted" "$bin" "$source" afl "$bug" "$dir/afl" >out 2>&1 || fail 'no AFL++ target with the bug'
mkdir afl.in
printf 'HeapCreate h1 0\nHeapCreate h2 0\nGetProcessHeaps arg=8\n' >afl.heap
"$bin/heaprig" asm afl.heap -o afl.in/first
AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_BENCH_UNTIL_CRASH=1 \
    AFL_FAST_CAL=1 ASAN_OPTIONS=abort_on_error=1:symbolize=0:detect_leaks=0:allocator_may_return_null=1 \
    timeout 120 env -u MSAN_OPTIONS -u LSAN_OPTIONS afl-fuzz -i afl.in -o afl.out -V 90 -s 1 -m none -t 10000 -- afl/bin/ops_fuzzer >out 2>&1 || true
[ -d afl.out ] || fail 'afl-fuzz did not start'
find afl.out -path '*/crashes/id*' -type f -exec cp {} afl/findings/ops_fuzzer/ \;
way afl
