#!/usr/bin/env bash
# What each layer of the verifier costs: time and peak memory against the verifier being off.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/verifier.sh [--help] [--json] [--turns N] [--divisor N] [ROW...]

Runs rows of core's benchmark (ci/bench.sh --list; default: pairs-1k vectors-small larson
two-threads) under libntheap-malloc.so with the verifier off and with one layer after the other on, each
run a process of its own, the layers taking turns. Prints the median over all turns of time and of peak
resident memory, relative to "off" in the same turn.

--json       one object a line instead of the table
--turns N    so many turns (default 3)
--divisor N  rows run at 1/N of their length (default 8192)
Exit status: 0 measured, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'verifier.sh: %s\n' "$2" >&2
    exit "$1"
}

number() {
    [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die 2 "$1: expected a number from 1 to 999999, found '$2'"
}

json=no turns=3 divisor=8192 rows=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --json) json=yes ;;
    --turns | --divisor)
        [ $# -ge 2 ] || die 2 "$1: expected a number behind it"
        number "$1" "$2"
        if [ "$1" = --turns ]; then turns=$2; else divisor=$2; fi
        shift
        ;;
    -*) die 2 "unknown flag '$1', expected --json, --turns, --divisor or --help" ;;
    *) rows+=("$1") ;;
    esac
    shift
done
[ ${#rows[@]} -gt 0 ] || rows=(pairs-1k vectors-small larson two-threads)

cd "$(dirname "$0")/.."
dir=${HEAPRIG_BUILD:-build/release}
if [ -z "${HEAPRIG_BUILD:-}" ]; then
    ci/setup.sh build >&2
    mkdir -p "$dir"
    { cmake --preset release && cmake --build --preset release --target bench_malloc ntheap_malloc; } \
        >"$dir/verifier.log" 2>&1 || die 1 "the build failed: $dir/verifier.log"
fi
bench=$dir/bin/bench_malloc
library=$(realpath "$dir/lib/libntheap-malloc.so") || die 1 "$dir/lib: no libntheap-malloc.so"
for row in "${rows[@]}"; do
    "$bench" --list | cut -f1 | grep -qxF -- "$row" || die 2 "$row: expected a row of $bench --list"
done

layers=(off leak heaps 'leak,heaps' locks memory pageheap=full lowres=0)

# One run: "seconds KiB".
run() {
    local settings=$1 row=$2
    if [ "$settings" = off ]; then
        LD_PRELOAD=$library "$bench" "$row" "$divisor"
    else
        LD_PRELOAD=$library NTHEAP_VERIFIER=$settings,text,log=/dev/null "$bench" "$row" "$divisor"
    fi | awk '{ print $1, $2 }'
}

median() {
    sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ "$json" = yes ] || printf '%-16s %-14s %10s %10s\n' row layer 'time x' 'memory x'
for row in "${rows[@]}"; do
    for ((turn = 0; turn < turns; turn++)); do
        for layer in "${layers[@]}"; do
            run "$layer" "$row" >"$work/one" 2>"$work/err" ||
                die 1 "$row under $layer: $(head -n1 "$work/err")"
            if [ "$layer" = off ]; then
                read -r base_seconds base_kib <"$work/one"
            fi
            read -r seconds kib <"$work/one"
            awk -v a="$seconds" -v b="$base_seconds" 'BEGIN { print a / (b > 0 ? b : 1e-9) }' >>"$work/$row.$layer.time"
            awk -v a="$kib" -v b="$base_kib" 'BEGIN { print a / b }' >>"$work/$row.$layer.memory"
        done
    done
    for layer in "${layers[@]}"; do
        time=$(median <"$work/$row.$layer.time")
        memory=$(median <"$work/$row.$layer.memory")
        if [ "$json" = yes ]; then
            printf '{"row":"%s","layer":"%s","time":%s,"memory":%s}\n' "$row" "$layer" "$time" "$memory"
        else
            printf '%-16s %-14s %10.2f %10.2f\n' "$row" "$layer" "$time" "$memory"
        fi
    done
done
