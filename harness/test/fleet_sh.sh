#!/usr/bin/env bash
# ci/fuzz.sh with AFL++, alone and beside libFuzzer, with targets made for it. It must exchange, go on
# where it stopped, tell of crashes, and say in one line what it cannot do.
# usage: fleet_sh.sh BIN SOURCE
set -euo pipefail

bin=$1
source=$2
if ! grep -q '^HEAPRIG_SANITIZERS.*address' "$bin/../CMakeCache.txt" ||
    grep -q -e NTH_STRESS -e '^HEAPRIG_FUZZ:BOOL=ON' "$bin/../CMakeCache.txt"; then
    echo "the same in every build: run in one"
    exit 0
fi
"$source/ci/setup.sh" build fuzz afl

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/bin" "$dir"/afl{,-plain,-cmplog}/bin "$dir/corpus/tiny" "$dir/o"
echo seed >"$dir/corpus/tiny/seed"

fail() {
    printf 'fleet_sh.sh: %s\n' "$1" >&2
    cat "$dir/out" >&2
    tail -n 5 "$dir"/run/*.afl >&2 2>/dev/null || true
    exit 1
}

include=(-std=gnu17 -g -O1 -D_GNU_SOURCE= -I "$source/harness" -I "$source/harness/targets"
    -I "$source/harness/include" -I "$source/core/include")
clang-14 "${include[@]}" -c "$source/harness/targets/stats.c" -o "$dir/o/stats.o"
clang-14 "${include[@]}" -c "$source/harness/targets/features_edges.c" -o "$dir/o/features.o"

# A target from the body of its function, in the builds that are named.
target() {
    local name=$1 body=$2 build
    shift 2
    cat >"$dir/o/$name.c" <<TEXT
#include "engine_features.h"
#include "stats.h"
#include <stdlib.h>
#include <string.h>
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static volatile int sink;
    if (len > 3 && bytes[0] == 'x') sink++;
    rig_stats_add(&rig_stats_now()->inputs, 1);
    $body
    return 0;
}
TEXT
    for build in "$@"; do
        case $build in
        libfuzzer)
            clang-14 "${include[@]}" -fsanitize=address,fuzzer "$dir/o/$name.c" "$dir/o/stats.o" \
                -o "$dir/bin/$name"
            ;;
        afl) afl_target "$name" "$build" -fsanitize=address,fuzzer ;;
        afl-cmplog) AFL_LLVM_CMPLOG=1 afl_target "$name" "$build" -fsanitize=fuzzer ;;
        *) afl_target "$name" "$build" -fsanitize=fuzzer ;;
        esac
    done
    echo "$name tiny" >>"$dir/targets.list"
}

afl_target() {
    AFL_QUIET=1 afl-clang-fast "${include[@]}" "$3" "$dir/o/$1.c" "$dir/o/stats.o" \
        "$dir/o/features.o" -o "$dir/$2/bin/$1"
}

three=(afl afl-plain afl-cmplog)
cp "$source/harness/targets/ops_fuzzer.options" "$dir/o/options"
# What only one input reaches, which no engine guesses: it must come from another.
secret='exchanged by us!'
target well_fuzzer "uint64_t sums[2] = {0, 0}; const char *secret = \"$secret\";
    for (size_t idx = 0; len == 16 && idx < 16; idx++) {
        sums[0] = sums[0] * 1099511628211u + bytes[idx];
        sums[1] = sums[1] * 1099511628211u + (uint8_t)secret[idx];
    }
    if (len == 16 && sums[0] == sums[1]) { sink += 2; }" libfuzzer "${three[@]}"
mkdir -p "$dir/grown/well_fuzzer"
printf %s "$secret" >"$dir/grown/well_fuzzer/secret"
target dies_fuzzer 'if (len > 4 && bytes[0] == 90) abort();' libfuzzer "${three[@]}"
# No branch of its own: how many letters q there are is told by features alone, and not told at all.
count='if (len == 0) return 0;
    size_t count = 0;
    for (size_t idx = 0; idx < 32; idx++) count += (idx < len) & (bytes[idx % len] == 113);'
target hidden_fuzzer "$count rig_features_tell(count, 1);" afl
target silent_fuzzer "$count sink = (int)count;" afl

run() {
    local expected=$1 status=0
    shift
    "$source/ci/fuzz.sh" --from "$dir" "$@" >"$dir/out" 2>&1 || status=$?
    if [ "$status" -ne "$expected" ]; then
        fail "ci/fuzz.sh $*: exit status $status, expected $expected"
    fi
}

says() {
    grep -q -e "$1" "$dir/out" || fail "expected a line like '$1'"
}

number() {
    sed -n "s/^$2 *: *\([0-9]*\).*/\1/p" "$dir/afl/$1/fuzzer_stats"
}

# Together: every instance runs, AFL++ reads what libFuzzer found.
run 0 --engine mix --jobs 4 --seconds 8 well_fuzzer
says '^well_fuzzer  *[0-9]* .* [1-9][0-9]* of [1-9][0-9]*  *-  *0$'
for instance in main asan cmplog; do
    [ "$(number "well_fuzzer/$instance" execs_done)" -gt 100 ] || fail "instance $instance did nothing"
done
[ "$(find "$dir/grown/well_fuzzer" -type f | wc -l)" -gt 1 ] || fail "libFuzzer found nothing"
grep -q 'target_mode *: persistent shmem_testcase deferred' "$dir/afl/well_fuzzer/main/fuzzer_stats" ||
    fail "the main instance is not persistent with input in shared memory"
grep -qrxF "$secret" "$dir/afl/well_fuzzer/main/queue" || fail "AFL++ has nothing of libFuzzer's"

# Once more: both go on with what is there.
before=$(find "$dir/afl/well_fuzzer/main/queue" -maxdepth 1 -name 'id:*' | wc -l)
run 0 --engine mix --jobs 2 --seconds 5 well_fuzzer
grep -q 'Resuming' "$dir/run/well_fuzzer.main.afl" || fail "AFL++ does not go on"
grep -qrxF "$secret" "$dir/afl/well_fuzzer/main/queue" || fail "AFL++ lost what it was given"
grep -q "$before files found in .*/run/well_fuzzer.queue" "$dir"/run/well_fuzzer.1.0.log ||
    fail "libFuzzer does not read AFL++'s"

# A state that only features tell is kept, and without them it is not.
run 0 --engine afl --jobs 1 --seconds 6 hidden_fuzzer
run 0 --engine afl --jobs 1 --seconds 4 silent_fuzzer
told=$(number hidden_fuzzer/main corpus_count)
untold=$(number silent_fuzzer/main corpus_count)
echo "states in the queue: $told with features, $untold without"
[ "$told" -ge $((untold + 4)) ] || fail "$told states with features, $untold without"

# A crash, under AFL++ alone: told once, with a command that shows it.
run 1 --engine afl --jobs 1 --seconds 4 dies_fuzzer
says '^dies_fuzzer .* 1$'
command=$(sed -n 's/^    //p' "$dir/out" | head -n1)
[[ $command == *"/findings/dies_fuzzer/crash-"* ]] || fail "expected a crash of its own: $command"
if (cd "$source" && eval "$command") >"$dir/again" 2>&1; then
    fail "the command does not show the finding: $command"
fi

# Whoever is killed is told of; what was found stays.
killed() {
    local what=$1 line=$2 pid=''
    shift 2
    "$source/ci/fuzz.sh" --from "$dir" --seconds 60 "$@" >"$dir/out" 2>&1 &
    local script=$! status=0 tries
    for ((tries = 0; tries < 150; tries++)); do
        pid=$(pgrep -o -f "$what" || true) # a younger one is a fork on its way to another program
        [ -z "$pid" ] || break
        sleep 0.1
    done
    [ -n "$pid" ] || fail "no process like $what"
    sleep 3
    kill -KILL "$pid"
    wait "$script" || status=$?
    [ "$status" -eq 2 ] || fail "a fuzzer that was killed: exit status $status, expected 2"
    says "$line"
    [ "$(wc -l <"$dir/out")" -le 4 ] || fail "expected the table and one line"
}
killed "^afl-fuzz .* -- $dir/afl/bin/well_fuzzer" \
    '^fuzz.sh: well_fuzzer: AFL++ instance main was killed by signal 9: run it again' \
    --engine afl --jobs 1 well_fuzzer
killed "^$dir/bin/well_fuzzer .*max_total_time" \
    '^fuzz.sh: well_fuzzer: libFuzzer process 1 was killed by signal 9: run it again' --jobs 1 well_fuzzer
for folder in afl/well_fuzzer/main/queue grown/well_fuzzer; do
    grep -qrxF "$secret" "$dir/$folder" || fail "something was lost in $folder"
done

# None of AFL++'s processes is left.
left=$(pgrep -f -x "$dir/afl[a-z-]*/bin/[a-z_]*" || true)
[ -z "$left" ] || fail "processes left behind: $left"

# A disk that fills up, at the beginning and on the way.
mkdir "$dir/path"
cat >"$dir/path/df" <<TEXT
#!/bin/sh
count=\$(cat "$dir/asked" 2>/dev/null || echo 0)
echo \$((count + 1)) >"$dir/asked"
echo Filesystem
[ "\$count" -lt "\$FULL_AFTER" ] && echo "disk 9999 0 9999" || echo "disk 9999 9998 1"
TEXT
chmod +x "$dir/path/df"
FULL_AFTER=0 PATH=$dir/path:$PATH run 2 --seconds 60 well_fuzzer
says '^fuzz.sh: .*: expected 256 MiB free on its disk'
rm -f "$dir/asked"
began=$SECONDS
FULL_AFTER=4 PATH=$dir/path:$PATH run 2 --engine mix --jobs 2 --seconds 60 well_fuzzer
says '^fuzz.sh: .*: less than 64 MiB free on its disk, ended early'
says '^well_fuzzer '
[ $((SECONDS - began)) -lt 40 ] || fail "took $((SECONDS - began)) s to end on a full disk"

# An engine that is not there and cannot be had.
tools=$dir/tools
mkdir "$tools"
for tool in /usr/bin/* /bin/*; do
    case ${tool##*/} in
    afl-* | apt-get) ;;
    *) ln -sf "$tool" "$tools/" ;;
    esac
done
printf '#!/bin/sh\necho "E: no network" >&2\nexit 100\n' >"$tools/apt-get"
chmod +x "$tools/apt-get"
copy=$dir/copy
mkdir -p "$copy/build"
cp -r "$source/ci" "$copy/ci"
status=0
PATH=$tools "$copy/ci/fuzz.sh" --engine afl --seconds 5 >"$dir/out" 2>&1 || status=$?
[ "$status" -eq 2 ] || fail "an engine that cannot be installed: exit status $status, expected 2"
says '^setup.sh: apt-get could not install afl++'
PATH=$tools run 2 --engine afl --seconds 5 well_fuzzer
says '^fuzz.sh: afl-fuzz: not found'

# The wrapper of MSan and TSan: addresses are not random where the kernel needs that, and only there.
echo 28 >"$dir/few"
echo 32 >"$dir/many"
for bits in few many; do
    HEAPRIG_RND_BITS=$dir/$bits "$source/ci/run-sanitized.sh" cat /proc/self/personality
done >"$dir/out"
[ "$(tr '\n' ' ' <"$dir/out")" = '00000000 00040000 ' ] || fail "run-sanitized.sh: other personalities"
printf '#!/bin/sh\nexit 1\n' >"$dir/path/setarch"
chmod +x "$dir/path/setarch"
status=0
HEAPRIG_RND_BITS=$dir/many PATH=$dir/path:$PATH "$source/ci/run-sanitized.sh" true >"$dir/out" 2>&1 ||
    status=$?
[ "$status" -eq 2 ] || fail "setarch is refused: exit status $status, expected 2"
says 'vm.mmap_rnd_bits is 32 and setarch -R is refused'

run 2 --engine hare
run 2 --engine mix --jobs 1
run 2 --jobs 0
run 2 --hours x
run 2 --preset check
run 2 --engine afl --merge
rm -r "$dir/afl-cmplog"
run 2 --engine mix --jobs 4 well_fuzzer
says 'expected .*/afl-cmplog/bin, the build afl-cmplog'
