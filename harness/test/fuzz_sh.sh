#!/usr/bin/env bash
# ci/fuzz.sh with targets made for it: one that does well, and some that must be told of.
# usage: fuzz_sh.sh BIN SOURCE
set -euo pipefail

bin=$1
source=$2
if ! grep -q '^HEAPRIG_SANITIZERS.*address' "$bin/../CMakeCache.txt" ||
    grep -q NTH_STRESS "$bin/../CMakeCache.txt"; then
    echo "the same in every build: run in one"
    exit 0
fi
"$source/ci/setup.sh" build fuzz

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/bin" "$dir/corpus/tiny"
echo seed >"$dir/corpus/tiny/seed"

fail() {
    printf 'fuzz_sh.sh: %s\n' "$1" >&2
    cat "$dir/out" >&2
    exit 1
}

# A target from the body of its function. Counters are `-fsanitize=fuzzer` when it is compiled.
target() {
    local name=$1 flags=$2 body=$3
    cat >"$dir/$name.c" <<TEXT
#include "stats.h"
#include <stdlib.h>
#include <sys/stat.h>
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static volatile int sink;
    if (len > 3 && bytes[0] == 'x') sink++;
    struct rig_stats *stats = rig_stats_now();
    $body
    return 0;
}
TEXT
    clang-14 -std=gnu17 -g -O1 "-fsanitize=$flags" -I "$source/harness" -I "$source/harness/targets" \
        -I "$source/harness/include" -I "$source/core/include" -c "$dir/$name.c" -o "$dir/$name.o"
    clang-14 -g -fsanitize=address,fuzzer "$dir/$name.o" "$dir/stats.o" -o "$dir/bin/$name"
    echo "$name tiny" >>"$dir/targets.list"
}

clang-14 -std=gnu17 -g -O1 -fsanitize=address -I "$source/harness" -I "$source/harness/targets" \
    -I "$source/harness/include" -I "$source/core/include" \
    -D_GNU_SOURCE= -c "$source/harness/targets/stats.c" -o "$dir/stats.o"
count='rig_stats_add(&stats->inputs, 1);'
clause='atomic_store(&stats->clause_count, 2);'
target well_fuzzer address,fuzzer "$count $clause atomic_store(&stats->exercised[0], 1);"
target dies_fuzzer address,fuzzer "$count if (len > 3) abort();"
target late_fuzzer address,fuzzer "$count static int runs; if (++runs > 2000) abort();"
target loops_fuzzer address,fuzzer "$count while (len > 3) sink++;"
target uncounted_fuzzer address "$count"
target lazy_fuzzer address,fuzzer "if (rand() % 100000 == 0) $count"
# One call of the subject an input; bench makes 4,000 a second.
judged="$count atomic_store(&stats->clause_count, RIG_CLAUSE_COUNT);
    atomic_store(&stats->exercised[0], 1); rig_stats_add(&stats->calls, 1);
    rig_stats_add(&stats->engine_ns, 1); rig_stats_add(&stats->run_ns, 1);"
target heavy_fuzzer address,fuzzer "$judged rig_stats_add(&stats->processor_ns, 1000000);
    rig_stats_slow(stats, 150000000, bytes, len); rig_stats_max(&stats->memory_kib, 300 << 10);"
target light_fuzzer address,fuzzer "$judged rig_stats_add(&stats->processor_ns, 400000);
    rig_stats_slow(stats, 100000000, bytes, len); rig_stats_max(&stats->memory_kib, 200 << 10);"
# The first process, which replays the corpus, exercises a clause; none after it does.
target forgets_fuzzer address,fuzzer "$count $clause
    static int first = -1;
    if (first < 0) first = mkdir(\"$dir/first\", 0777) == 0;
    if (first) atomic_store(&stats->exercised[0], 1);"

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

run 0 --seconds 4 well_fuzzer
says '^well_fuzzer  *[0-9]* .* 1 of 2  *0$'

run 1 --seconds 2 dies_fuzzer
says '^dies_fuzzer .* 1$'
says '^dies_fuzzer: .*deadly signal'
says '^dies_fuzzer: ran [0-9]* inputs, expected 1000 or more'
command=$(sed -n 's/^    //p' "$dir/out" | head -n1)
if (cd "$source" && eval "$command") >"$dir/again" 2>&1; then
    fail "the command does not show the finding: $command"
fi
grep -q 'deadly signal' "$dir/again" || fail "the command shows something else: $command"

run 1 --seconds 4 late_fuzzer
says '^late_fuzzer .* 1$'
says '^late_fuzzer: .*deadly signal'

run 1 --seconds 2 --timeout 2 loops_fuzzer
says '^loops_fuzzer .* 1$'
says '^loops_fuzzer: .*timeout'
says ' -timeout=2 .*/timeout-'

run 1 --seconds 2 uncounted_fuzzer
says '^uncounted_fuzzer: has no coverage counters'

run 1 --seconds 2 lazy_fuzzer
says '^lazy_fuzzer: ran [0-9]* inputs, expected 1000 or more'

run 1 --seconds 2 forgets_fuzzer
says '^forgets_fuzzer: exercised 0 clauses, its corpus alone 1'

run 1 --seconds 2 --floors light_fuzzer
says '^light_fuzzer: heaprig bench gave no rate to compare with'
printf '#!/bin/sh\necho %s\n' "'{\"set\":\"all\",\"core_calls_per_second\":4000}'" >"$dir/bin/heaprig"
chmod +x "$dir/bin/heaprig"
run 0 --seconds 2 --floors light_fuzzer
says '^light_fuzzer: time: .*slowest input 100 ms .* 200 MiB; 62 % of what heaprig bench makes'
run 0 --seconds 2 --bench heavy_fuzzer
run 1 --seconds 2 --floors heavy_fuzzer
says "^heavy_fuzzer: makes 24 % of heaprig bench's calls, expected 50 or more"
says '^heavy_fuzzer: its slowest input, .*/findings/heavy_fuzzer/slowest, took 150 ms of the processor, expected 100 at most'
says '^heavy_fuzzer: took 300 MiB, expected 200 at most'

run 1 --seconds 2 --json dies_fuzzer
jq -e '.target == "dies_fuzzer" and (.findings | length) == 1 and (.findings[0].command | test("dies"))' \
    "$dir/out" >/dev/null || fail "expected one object with one finding"

run 2 --seconds 0
run 2 --seconds
run 2 --unknown
run 2 nothing_fuzzer
says 'unknown target'

# Asked to end, it ends, with the table.
"$source/ci/fuzz.sh" --from "$dir" --seconds 100 well_fuzzer >"$dir/out" 2>&1 &
script=$!
sleep 3
began=$SECONDS
kill -TERM "$script"
status=0
wait "$script" || status=$?
[ "$status" -eq 0 ] || fail "ended early: exit status $status, expected 0"
[ $((SECONDS - began)) -lt 20 ] || fail "took $((SECONDS - began)) s to end"
says '^well_fuzzer  *[0-9]* .* 0$'
