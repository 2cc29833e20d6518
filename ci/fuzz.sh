#!/usr/bin/env bash
# Set up, build and fuzz every target from the corpus for a while, then print a table.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/fuzz.sh [--help] [--engine E] [--jobs N] [--seconds N | --hours N] [--timeout N] [--json]
                  [--merge] [--bench] [--floors] [--preset P] [--from DIR] [TARGET...]

Installs what is missing, builds the targets for their engines, and runs each target (default: all)
for a share of the time. It starts from corpus/ and from what former runs found, which stays outside
git in build/fuzz (grown/, afl/): a second run goes on where the first stopped. Then prints a table
and every finding with the command that shows it again.

  --engine E    libfuzzer (default), afl, or mix: both, which give each other what they find
  --jobs N      processes at a time: 2 by default, 4 with mix. With afl the first is the main
                instance, the second has ASan, the third CMPLOG, more are plain; with one alone it has
                ASan. With mix the first is libFuzzer, then these three, then both in turn
  --seconds N   for all targets together, default 120; running their corpora once comes on top
  --hours N     the same in hours
  --timeout N   an input that takes so many seconds is a finding, default 25
  --json        one object a line instead of the table
  --merge       add inputs that reach something new to corpus/*/found (ci/corpus.sh merge)
  --bench       then run heaprig bench on each corpus, and say how near fuzzing comes to its rate, both
                by processor time
  --floors      --bench, and a target fails that makes less than half of bench's calls, takes more than
                100 ms of the processor for an input, or more than 200 MiB
  --preset P    libFuzzer's build: fuzz (default: ASan and UBSan), fuzz-msan or fuzz-tsan
  --from DIR    take bin/, corpus/ and targets.list from DIR instead of building, and AFL++'s builds
                from DIR/afl, DIR/afl-plain and DIR/afl-cmplog
  TARGET        run these only

Ctrl-C ends the run early; the table is printed all the same. Exit status: 1 when there is a finding,
or when a target ran fewer than 1,000 inputs, has no coverage counters, or exercised fewer clauses
than its corpus alone, or is below a floor that was asked for; 2 bad usage, an engine that cannot be installed, a full disk, a fuzzer that was
killed. Whatever ends it, corpora and findings stay where they are.
TEXT
}

die() {
    printf 'fuzz.sh: %s\n' "$2" >&2
    exit "$1"
}

number() {
    [[ ${2-} =~ ^[1-9][0-9]{0,6}$ ]] || die 2 "$1 '${2-}': expected a whole number from 1"
}

seconds=120 timeout=25 json=no merge=no from='' targets=() engine=libfuzzer jobs='' preset=fuzz
bench_wanted=no floors=no
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds | --timeout | --jobs)
        number "$1" "${2-}"
        case $1 in
        --seconds) seconds=$2 ;;
        --timeout) timeout=$2 ;;
        --jobs) jobs=$2 ;;
        esac
        shift
        ;;
    --hours)
        number "$1" "${2-}"
        seconds=$(($2 * 3600))
        shift
        ;;
    --engine)
        [[ ${2-} =~ ^(libfuzzer|afl|mix)$ ]] || die 2 "--engine '${2-}': expected libfuzzer, afl or mix"
        engine=$2
        shift
        ;;
    --preset)
        [[ ${2-} =~ ^fuzz(-msan|-tsan)?$ ]] ||
            die 2 "--preset '${2-}': expected fuzz, fuzz-msan or fuzz-tsan"
        preset=$2
        shift
        ;;
    --from)
        [ -f "${2-}/targets.list" ] || die 2 "--from '${2-}': expected a folder with targets.list"
        from=$(cd "$2" && pwd)
        shift
        ;;
    --json) json=yes ;;
    --merge) merge=yes ;;
    --bench) bench_wanted=yes ;;
    --floors) bench_wanted=yes floors=yes ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *) targets+=("$1") ;;
    esac
    shift
done
: "${jobs:=$([ "$engine" = mix ] && echo 4 || echo 2)}"
[ "$engine" != mix ] || [ "$jobs" -ge 2 ] || die 2 "--jobs 1: --engine mix wants 2 or more"
[ "$engine" != afl ] || [ "$merge" = no ] || die 2 "--merge: needs libFuzzer, --engine libfuzzer or mix"

cd "$(dirname "$0")/.."
# shellcheck source=ci/lib/options.sh
. ci/lib/options.sh
# shellcheck source=ci/lib/libfuzzer.sh
. ci/lib/libfuzzer.sh
# shellcheck source=ci/lib/afl.sh
. ci/lib/afl.sh
# shellcheck source=ci/lib/fleet.sh
. ci/lib/fleet.sh
ulimit -f 262144 # 256 MiB a file: a loop that prints must not fill the disk
inputs_min=1000
findings_max=3 # of one process: then it is not started again
start_mib=256  # free on the disk, or nothing is begun
run_mib=64     # free on the disk, or the run ends
rate_min=50    # percent of what heaprig bench makes
slowest_max=100 # ms
memory_max=200  # MiB

# ---- Build ----------------------------------------------------------------------------------------

# Processes of a run, a line each: what afl-fuzz calls it, or its number, and the build it takes.
mapfile -t fleet < <(fleet_of "$engine" "$jobs")
builds=() # those builds, each once
for process in "${fleet[@]}"; do
    kind=${process#* }
    if [[ " ${builds[*]-} " != *" $kind "* ]]; then
        builds+=("$kind")
    fi
done
if [[ " ${builds[*]} " == *" afl-cmplog "* && " ${builds[*]} " != *" afl-plain "* ]]; then
    builds+=(afl-plain)
fi

dir=${from:-build/fuzz}
mkdir -p "$dir" 2>/dev/null || die 2 "$dir: expected a folder that can be made"
disk_check "$start_mib" || die 2 "$dir: expected $start_mib MiB free on its disk: make room, or delete $dir/work"
declare -A programs=() # build -> folder with its bin/
for kind in "${builds[@]}"; do
    preset_of=$([ "$kind" = libfuzzer ] && echo "$preset" || echo "$kind")
    if [ -n "$from" ]; then
        programs[$kind]=$([ "$kind" = libfuzzer ] && echo "$from" || echo "$from/$kind")
        [ -d "${programs[$kind]}/bin" ] || die 2 "--from $from: expected ${programs[$kind]}/bin, the build $kind"
        continue
    fi
    programs[$kind]=build/$preset_of
    ci/setup.sh build fuzz "$(fleet_part "$preset_of")" >&2 || exit 2
    mkdir -p "build/$preset_of"
    printf 'building preset %s, log in %s\n' "$preset_of" "build/$preset_of/build.log" >&2
    wanted=(heaprig_fuzz)
    [ "$bench_wanted" = no ] || wanted+=(heaprig)
    { cmake --preset "$preset_of" && cmake --build --preset "$preset_of" --target "${wanted[@]}"; } \
        >"build/$preset_of/build.log" 2>&1 || {
        cat "build/$preset_of/build.log" >&2
        die 1 "the build failed"
    }
done
started=() # how MSan and TSan are started
if [[ $preset == *-?san ]]; then
    started=(ci/run-sanitized.sh)
fi
if [ "$engine" != libfuzzer ]; then
    command -v afl-fuzz >/dev/null || die 2 "afl-fuzz: not found, ci/setup.sh afl installs it"
fi
home=${from:-${programs[${builds[0]}]}} # where targets.list and corpora are
corpora=$home/corpus
declare -A corpus_of
known=()
while read -r name folder; do
    [ -n "$name" ] || continue
    known+=("$name")
    corpus_of[$name]=$folder
done <"$home/targets.list"
for target in "${targets[@]}"; do
    [ -n "${corpus_of[$target]-}" ] || die 2 "unknown target '$target', expected one of: ${known[*]}"
done
if [ ${#targets[@]} -eq 0 ]; then
    targets=("${known[@]}")
fi

run=$dir/run
rm -rf "$run"
mkdir -p "$run"
export ASAN_OPTIONS=${ASAN_OPTIONS-allocator_may_return_null=1:detect_odr_violation=0:strict_memcmp=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}
if [ -z "${ASAN_SYMBOLIZER_PATH-}" ] && command -v llvm-symbolizer-14 >/dev/null; then
    ASAN_SYMBOLIZER_PATH=$(command -v llvm-symbolizer-14)
    export ASAN_SYMBOLIZER_PATH MSAN_SYMBOLIZER_PATH=$ASAN_SYMBOLIZER_PATH
fi
export TSAN_OPTIONS=${TSAN_OPTIONS-halt_on_error=1:external_symbolizer_path=${ASAN_SYMBOLIZER_PATH-}}

# ---- One target -----------------------------------------------------------------------------------

# What a process that ended with a finding said it was.
finding_in() {
    local rule
    rule=$(sed -n 's/^finding: \(.*\), operation [0-9]*$/\1/p' "$1" | head -n1)
    if [ -z "$rule" ]; then
        rule=$(sed -n -e 's/^SUMMARY: //p' -e 's/^[^ ]*: the rig itself is broken: .*/&/p' \
            -e 's/^==[0-9]*== ERROR: //p' "$1" | tail -n1)
    fi
    echo "${rule:-ended without a word}" | tr '\t' ' ' | cut -c1-200
}

# Note a finding: what it was and the command that shows it.
finding_note() {
    printf '%s\t%s\n' "$2" "$3" >>"$run/$1.findings"
}

# True when a fuzzer ended because somebody else ended it: killed_note TARGET WHO STATUS LOG. An input
# that kills its process leaves a file behind, or a word in the log.
killed_note() {
    case $3 in
    137 | 143) ;;
    *) return 1 ;;
    esac
    if grep -q -e 'Test unit written' -e '^finding: ' "$4"; then
        return 1
    fi
    if [ ! -e "$run/stop" ]; then
        printf '%s: %s was killed by signal %d\n' "$1" "$2" $(($3 - 128)) >>"$run/killed"
    fi
}

# Word `idx` of the numbers that a target left.
word() {
    od -An -v -t u8 -j $(($2 * 8)) -N 8 "$run/$1" 2>/dev/null | tr -d ' ' | grep . || echo 0
}

clauses() {
    od -An -v -t u1 -w1 -j 64 -N "$(word "$1" 6)" "$run/$1" 2>/dev/null | grep -c '^ *1$' || true
}

# Where the numbers of faults begin, in words: behind two bytes a clause.
faults_at() {
    echo $(((64 + 2 * $(word "$1" 6) + 7) / 8))
}

# How many bytes of the table of misuse (0) or damage (1) are `value` or more: 1 the class was made, 3 it was
# reported too.
classes() {
    od -An -v -t u1 -w1 -j $((($(faults_at "$1") + 3) * 8 + 256 * $2)) -N 256 "$run/$1" 2>/dev/null |
        awk -v least="$3" '$1 >= least { count++ } END { print count + 0 }'
}

# Faults of a target in one line, nothing where it makes none.
faults_line() {
    local at made
    at=$(faults_at "$1")
    made=$(word "$1" "$at")
    if [ "$made" -gt 0 ]; then
        printf 'faults: %d made, %d outcomes checked, %d reported by the heap; ' "$made" \
            "$(word "$1" $((at + 1)))" "$(word "$1" $((at + 2)))"
        printf 'classes of misuse: %d made, %d reported; of damage: %d made, %d reported' \
            "$(classes "$1" 0 1)" "$(classes "$1" 0 3)" "$(classes "$1" 1 1)" "$(classes "$1" 1 3)"
    fi
}

# Where the numbers of time begin, in words: behind the tables of faults.
times_at() {
    echo $(($(faults_at "$1") + 3 + 64))
}

# Where the time of a target went, in one line, nothing where its inputs are no programs. A sweep is
# counted as judging.
times_line() {
    local at engine decode call all slowest
    at=$(times_at "$1")
    engine=$(word "$1" "$at") decode=$(word "$1" $((at + 1))) call=$(word "$1" $((at + 2)))
    all=$(($(word "$1" $((at + 3))) + engine)) slowest=$(word "$1" $((at + 4)))
    if [ "$all" -gt "$engine" ]; then
        printf 'time: engine %d %%, decoder %d %%, core %d %%, model and rules %d %%; ' \
            $((engine * 100 / all)) $((decode * 100 / all)) $((call * 100 / all)) \
            $(((all - engine - decode - call) * 100 / all))
        printf 'slowest input %d ms of the processor, memory %d MiB' $((slowest / 1000000)) \
            $(($(word "$1" $((at + 5))) / 1024))
    fi
}

# API calls of a target a second of processor time, the engine's included.
rate_of() {
    local spent
    spent=$(word "$1" $(($(times_at "$1") + 6)))
    echo $((spent > 0 ? $(word "$1" 1) * 1000000 / (spent / 1000 + 1) : 0))
}

# API calls a second of `heaprig bench` on the same corpus, in the same build, by processor time as well; 0
# where there is none.
bench_of() {
    local program=${programs[${builds[0]}]}/bin/heaprig
    if [ "$bench_wanted" = yes ] && [ -x "$program" ] && [ "$stop" = no ]; then
        timeout 600 "${started[@]}" "$program" bench --json --seconds 2 "$corpora/${corpus_of[$1]}" 2>/dev/null |
            jq -s 'map(select(.set == "all") | .core_calls_per_second | floor) | first // 0' || echo 0
    else
        echo 0
    fi
}

# The largest number behind a word in the logs of a target.
logged() {
    cat "$run/$1".*.log 2>/dev/null | sed -n "s/$2/\1/p" | sort -n | tail -n1 | grep . || echo 0
}

stop=no full=no
pids=()
# Let every process end: each is asked as Ctrl-C would, through the `timeout` that started it.
halt() {
    stop=yes
    touch "$run/stop" 2>/dev/null || true
    if [ ${#pids[@]} -gt 0 ]; then
        for pid in "${pids[@]}"; do
            pkill -INT -P "$pid" || true
        done
    fi
}
trap halt INT TERM

edges_of() {
    local edges
    edges=$(libfuzzer_edges "$1")
    if [ "$edges" -eq 0 ]; then
        edges=$(afl_number "$1" edges_found)
    fi
    echo "$edges"
}

edges_all_of() {
    local edges
    edges=$(libfuzzer_edges_all "$1")
    if [ "$edges" -eq 0 ]; then
        edges=$(afl_number "$1" total_edges)
    fi
    echo "$edges"
}

status_line() {
    if [ -t 2 ]; then
        printf '\r%s: %d s left, %s inputs, %s edges, %s findings\033[K' "$1" "$2" \
            "$(word "$1.stats" 0)" "$(edges_of "$1")" \
            "$(($(grep -c . "$run/$1.findings") + $(afl_crashes "$1" crashes | wc -l)))" >&2
    fi
}

busy() {
    local pid
    for pid in "${pids[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

# The corpus once, then all processes until the slot of time is over.
fuzz() {
    local target=$1 end began process number=0
    mkdir -p "$dir/grown/$target" "$dir/findings/$target" "$dir/afl/$target"
    touch "$run/$target.findings" "$run/$target.began" "$run/$target.complaints"
    exchange=$(($2 / 4 < 600 ? $2 / 4 : 600))
    exchange=$((exchange > 20 ? exchange : 20))
    if [ -n "${programs[libfuzzer]-}" ]; then
        libfuzzer_replay "$target"
    else
        afl_replay "$target" "${builds[0]}"
    fi
    afl_queue "$target"
    began=$SECONDS end=$((SECONDS + $2))
    pids=()
    for process in "${fleet[@]}"; do
        number=$((number + 1))
        [ "$stop" = no ] || break
        case $process in
        *' libfuzzer') libfuzzer_job "$target" "$number" "$end" & ;;
        *) afl_job "$target" "${process% *}" "${process#* }" "$end" & ;;
        esac 2>>"$run/jobs.log" # where bash says who was killed
        pids+=($!)
    done
    while busy; do
        status_line "$target" $((end > SECONDS ? end - SECONDS : 0))
        if [ "$full" = no ] && ! disk_check "$run_mib"; then
            full=yes
            halt
        fi
        sleep 1 || true
    done
    wait || true
    pids=()
    echo $((SECONDS - began > 0 ? SECONDS - began : 1)) >"$run/$target.seconds"
    if [ -t 2 ]; then
        printf '\r\033[K' >&2
    fi
    afl_findings "$target"
}

# ---- Run ------------------------------------------------------------------------------------------

slot=$((seconds / ${#targets[@]}))
ran=()
for target in "${targets[@]}"; do
    if [ "$stop" = yes ]; then
        break
    fi
    fuzz "$target" $((slot > 0 ? slot : 1))
    ran+=("$target")
done
trap - INT TERM

# ---- Tell -----------------------------------------------------------------------------------------

# What is wrong with a target's run as such, a line each.
complaints() {
    local inputs=$1 edges_all=$2 exercised=$3 replayed=$4 replay_inputs=$5
    if [ "$replay_inputs" -eq 0 ] && [ "$stop" = no ]; then
        echo "its corpus alone ran no input, so there is nothing to compare with"
    fi
    if [ "$inputs" -lt "$inputs_min" ]; then
        echo "ran $inputs inputs, expected $inputs_min or more"
    fi
    if [ "$edges_all" -eq 0 ]; then
        echo "has no coverage counters"
    fi
    if [ "$exercised" -lt "$replayed" ]; then
        echo "exercised $exercised clauses, its corpus alone $replayed"
    fi
}

# What is below a floor, a line each: TARGET RATE BENCH.
below_floors() {
    local at slowest memory kept
    at=$(times_at "$1.stats")
    slowest=$(($(word "$1.stats" $((at + 4))) / 1000000))
    memory=$(($(word "$1.stats" $((at + 5))) / 1024))
    if [ "$3" -eq 0 ]; then
        echo "heaprig bench gave no rate to compare with"
    elif [ $(($2 * 100 / $3)) -lt "$rate_min" ]; then
        echo "makes $(($2 * 100 / $3)) % of heaprig bench's calls, expected $rate_min or more"
    fi
    if [ "$slowest" -gt "$slowest_max" ]; then
        kept=$dir/findings/$1/slowest
        cp "$run/$1.stats.slowest" "$kept" 2>/dev/null || kept='which could not be kept'
        echo "its slowest input, $kept, took $slowest ms of the processor, expected $slowest_max at most"
    fi
    if [ "$memory" -gt "$memory_max" ]; then
        echo "took $memory MiB, expected $memory_max at most"
    fi
}

status=0
if [ "$json" = no ]; then
    printf '%-20s %10s %10s %12s %15s %13s %9s\n' target inputs inputs/s 'API calls/s' \
        edges clauses findings
fi
for target in "${ran[@]}"; do
    took=$(cat "$run/$target.seconds")
    inputs=$(word "$target.stats" 0)
    calls=$(word "$target.stats" 1)
    judged=$(word "$target.stats" 6)
    exercised=$(clauses "$target.stats")
    replayed=$(clauses "$target.replay")
    edges=$(edges_of "$target")
    edges_all=$(edges_all_of "$target")
    at=$(times_at "$target.stats")
    bench=0
    rate=0
    if [ "$judged" -gt 0 ]; then
        bench=$(bench_of "$target")
        rate=$(rate_of "$target.stats")
    fi
    echo "$rate ${bench:-0}" >"$run/$target.rate"
    sort "$run/$target.findings" | awk -F'\t' '!seen[$1]++' >"$run/$target.distinct"
    findings=$(wc -l <"$run/$target.distinct")
    complaints "$inputs" "$edges_all" "$exercised" "$replayed" "$(word "$target.replay" 0)" >>"$run/$target.complaints"
    if [ "$floors" = yes ] && [ "$judged" -gt 0 ] && [ "$stop" = no ]; then
        below_floors "$target" "$rate" "${bench:-0}" >>"$run/$target.complaints"
    fi
    if [ "$findings" -gt 0 ] || [ -s "$run/$target.complaints" ]; then
        status=1
    fi
    if [ "$json" = yes ]; then
        jq -cn --arg target "$target" --argjson inputs "$inputs" --argjson seconds "$took" \
            --argjson calls "$calls" --argjson edges "$edges" --argjson edges_all "$edges_all" \
            --argjson faults "$(word "$target.stats" "$(faults_at "$target.stats")")" \
            --argjson engine_ns "$(word "$target.stats" "$at")" \
            --argjson decode_ns "$(word "$target.stats" $((at + 1)))" \
            --argjson core_ns "$(word "$target.stats" $((at + 2)))" \
            --argjson run_ns "$(word "$target.stats" $((at + 3)))" \
            --argjson slowest_ns "$(word "$target.stats" $((at + 4)))" \
            --argjson memory_kib "$(word "$target.stats" $((at + 5)))" --argjson bench "${bench:-0}" \
            --argjson rate "$rate" \
            --arg engine "$engine" --argjson jobs "$jobs" --arg stability "$(afl_stability "$target")" \
            --argjson exercised "$exercised" --argjson replayed "$replayed" --argjson judged "$judged" \
            --rawfile findings "$run/$target.distinct" --rawfile complaints "$run/$target.complaints" '
            {$target, $inputs, $seconds, inputs_per_s: ($inputs / $seconds | floor),
             calls_per_s: ($calls / $seconds | floor), $edges, $edges_all,
             clauses: $exercised, clauses_of_corpus: $replayed, clauses_judged: $judged, $faults,
             $engine, $jobs, bench_calls_per_s: $bench,
             calls_per_processor_s: $rate, afl_stability: ($stability | tonumber? // null),
             $engine_ns, $decode_ns, $core_ns, $run_ns, $slowest_ns, $memory_kib,
             findings: [$findings | split("\n")[] | select(. != "") | split("\t") |
                        {what: .[0], command: .[1]}],
             complaints: [$complaints | split("\n")[] | select(. != "")]}'
    else
        printf '%-20s %10d %10d %12d %15s %13s %9d\n' "$target" "$inputs" $((inputs / took)) \
            $((calls / took)) "$edges of $edges_all" \
            "$([ "$judged" -gt 0 ] && echo "$exercised of $judged" || echo -)" "$findings"
    fi
done
if [ "$json" = no ]; then
    for target in "${ran[@]}"; do
        line=$(faults_line "$target.stats")
        if [ -n "$line" ]; then
            printf '%s: %s\n' "$target" "$line"
        fi
    done
    for target in "${ran[@]}"; do
        line=$(times_line "$target.stats")
        if [ -n "$line" ]; then
            printf '%s: %s' "$target" "$line"
            read -r rate bench <"$run/$target.rate"
            if [ "$bench" -gt 0 ]; then
                printf '; %d %% of what heaprig bench makes' $((rate * 100 / bench))
            fi
            if [ "$engine" != libfuzzer ]; then
                printf '; AFL++ stability %s %%' "$(afl_stability "$target")"
            fi
            printf '\n'
        fi
    done
    for target in "${ran[@]}"; do
        while IFS=$'\t' read -r what command; do
            printf '\n%s: %s\n    %s\n' "$target" "$what" "$command"
        done <"$run/$target.distinct"
        sed "s/^/\n$target: /" "$run/$target.complaints"
    done
fi

# ---- Keep -----------------------------------------------------------------------------------------

if [ "$merge" = yes ] && [ "$stop" = no ]; then
    for target in "${ran[@]}"; do
        kept=0
        how=()
        afl_queue "$target"
        for folder in "$dir/grown/$target" "$run/$target.queue"; do
            [ ! -d "$folder" ] || how+=(--inputs "$folder")
        done
        if [ ${#how[@]} -eq 0 ]; then
            continue
        fi
        ci/corpus.sh merge ${from:+--build "$from"} "${how[@]}" "$target" >&2 || kept=$?
        if [ "$kept" -gt "$status" ]; then
            status=$kept
        fi
    done
fi
if [ "$full" = yes ]; then
    die 2 "$dir: less than $run_mib MiB free on its disk, ended early: make room and run it again, corpora and findings are kept"
fi
if [ -s "$run/killed" ]; then
    die 2 "$(head -n1 "$run/killed"): run it again, corpora and findings in $dir are kept"
fi
exit "$status"
