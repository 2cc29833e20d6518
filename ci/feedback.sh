#!/usr/bin/env bash
# What the mutator by operation and the features are worth: ops_fuzzer with and without each.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/feedback.sh [--help] [--seconds N] [--seeds N]

Builds preset fuzz and runs ops_fuzzer from an empty corpus for N seconds (default 60) with each of N
seeds (default 5), two processes at once, in four ways: as it is, without the mutator by operation,
without features as extra counters, without both. Prints medians over the seeds: core's edges, clauses
exercised, features (a clause in one of eight states of its heap), inputs a second. Exit status: 0, or
2 for bad usage, 1 when a run found something (its log is named).
TEXT
}

die() {
    printf 'feedback.sh: %s\n' "$2" >&2
    exit "$1"
}

seconds=60 seeds=5
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds | --seeds)
        [[ ${2-} =~ ^[1-9][0-9]{0,4}$ ]] || die 2 "$1 '${2-}': expected a whole number from 1"
        if [ "$1" = --seconds ]; then seconds=$2; else seeds=$2; fi
        shift
        ;;
    *) die 2 "unknown argument '$1', see --help" ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
# shellcheck source=ci/lib/options.sh
. ci/lib/options.sh
ci/setup.sh build fuzz
work=build/fuzz/feedback
rm -rf "$work"
mkdir -p "$work"
{ cmake --preset fuzz && cmake --build --preset fuzz --target ops_fuzzer; } >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    die 1 "the build failed"
}

mapfile -t options < <(libfuzzer_options build/fuzz/bin/ops_fuzzer)
one() {
    local without=$1 seed=$2 name=${1:-nothing}.$2
    mkdir -p "$work/$name"
    HEAPRIG_WITHOUT=$without HEAPRIG_STATS=$work/$name.stats build/fuzz/bin/ops_fuzzer \
        "${options[@]}" "-max_total_time=$seconds" "-seed=$seed" \
        "-artifact_prefix=$work/$name-" "$work/$name" >"$work/$name.log" 2>&1 ||
        echo "feedback.sh: a finding, see $work/$name.log" >&2
}

median() {
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

numbers() {
    local name=$1 judged
    [ -s "$work/$name.stats" ] || die 1 "$work/$name.log: the run left no numbers"
    judged=$(od -An -v -t u8 -j 48 -N 8 "$work/$name.stats" | tr -d ' ')
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/$name.log" | sort -n | tail -n1)
    clauses=$(od -An -v -t u1 -w1 -j 64 -N "$judged" "$work/$name.stats" | grep -c '^ *1$' || true)
    features=$(od -An -v -t u1 -w1 -j $((64 + judged)) -N "$judged" "$work/$name.stats" |
        awk '{ for (v = $1; v > 0; v = int(v / 2)) n += v % 2 } END { print n + 0 }')
    speed=$(($(od -An -v -t u8 -N 8 "$work/$name.stats" | tr -d ' ') / seconds))
}

ways=('' features mutator mutator,features)
for way in "${ways[@]}"; do
    for seed in $(seq "$seeds"); do
        one "$way" "$seed" &
        if [ $((seed % 2)) -eq 0 ]; then
            wait
        fi
    done
    wait
    echo "without ${way:-nothing}: done" >&2
done

printf '%-22s %7s %9s %10s %10s\n' without edges clauses features inputs/s
status=0
for way in "${ways[@]}"; do
    for seed in $(seq "$seeds"); do
        numbers "${way:-nothing}.$seed"
        printf '%s %s %s %s\n' "${edges:-0}" "$clauses" "$features" "$speed"
    done >"$work/${way:-nothing}.table"
    grep -q 'finding:' "$work/${way:-nothing}".*.log && status=1
    printf '%-22s %7s %9s %10s %10s\n' "${way:-nothing}" "$(cut -d' ' -f1 "$work/${way:-nothing}.table" | median)" \
        "$(cut -d' ' -f2 "$work/${way:-nothing}.table" | median)" \
        "$(cut -d' ' -f3 "$work/${way:-nothing}.table" | median)" \
        "$(cut -d' ' -f4 "$work/${way:-nothing}.table" | median)"
done
exit "$status"
