#!/usr/bin/env bash
# Set up, build and fuzz every target from the corpus for a while, then print a table.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/fuzz.sh [--help] [--seconds N] [--timeout N] [--json] [--merge] [--from DIR] [TARGET...]

Installs what is missing, builds preset fuzz, and runs each target (default: all) under libFuzzer,
two processes at once. They start from corpus/ and from what former runs found, which stays outside
git in build/fuzz/work. Then prints a table and every finding with the command that shows it again.

  --seconds N   for all targets together, default 120
  --timeout N   an input that takes so many seconds is a finding, default 25
  --json        one object a line instead of the table
  --merge       add inputs that reach something new to corpus/*/found, 2 MiB in all at most, and
                sweep them (heaprig sweep)
  --from DIR    take bin/, corpus/ and targets.list from DIR instead of building
  TARGET        run these only

Ctrl-C ends the run early; the table is printed all the same. Exit status: 1 when there is a finding,
or when a target ran fewer than 1,000 inputs, has no coverage counters, or exercised fewer clauses
than its corpus alone; 2 bad usage.
TEXT
}

die() {
    printf 'fuzz.sh: %s\n' "$2" >&2
    exit "$1"
}

number() {
    [[ ${2-} =~ ^[1-9][0-9]{0,6}$ ]] || die 2 "$1 '${2-}': expected a whole number from 1"
}

seconds=120 timeout=25 json=no merge=no dir='' targets=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds)
        number "$1" "${2-}"
        seconds=$2
        shift
        ;;
    --timeout)
        number "$1" "${2-}"
        timeout=$2
        shift
        ;;
    --from)
        [ -f "${2-}/targets.list" ] || die 2 "--from '${2-}': expected a folder with targets.list"
        dir=$(cd "$2" && pwd)
        shift
        ;;
    --json) json=yes ;;
    --merge) merge=yes ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *) targets+=("$1") ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
ulimit -f 262144 # 256 MiB a file: a loop that prints must not fill the disk
inputs_min=1000
found_max_kib=2048
findings_max=3 # of one process: then it is not started again

# ---- Build ----------------------------------------------------------------------------------------

if [ -z "$dir" ]; then
    dir=build/fuzz
    ci/setup.sh build fuzz
    mkdir -p "$dir"
    printf 'building preset fuzz, log in %s\n' "$dir/build.log" >&2
    { cmake --preset fuzz && cmake --build --preset fuzz --target heaprig_fuzz; } \
        >"$dir/build.log" 2>&1 || {
        cat "$dir/build.log" >&2
        die 1 "the build failed"
    }
fi
declare -A corpus_of
known=()
while read -r name folder; do
    [ -n "$name" ] || continue
    known+=("$name")
    corpus_of[$name]=$folder
done <"$dir/targets.list"
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
    export ASAN_SYMBOLIZER_PATH
fi

# ---- One target -----------------------------------------------------------------------------------

# libFuzzer's options of a target: its .options file, its dictionary.
options_of() {
    local file=$dir/bin/$1
    if [ -f "$file.options" ]; then
        sed -n '/^\[libfuzzer\]/,/^\[/s/^\([a-z_]*\) *= *\([^ ]*\)$/-\1=\2/p' "$file.options" |
            grep -v -e '^-dict=' -e '^-timeout=' || true
    fi
    if [ -f "$file.dict" ]; then
        echo "-dict=$file.dict"
    fi
    printf '%s\n' "-timeout=$timeout" -rss_limit_mb=2560 -print_funcs=0 -print_final_stats=1
}

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
    local target=$1 log=$2 artifact command
    artifact=$(sed -n 's/.*Test unit written to \(.*\)$/\1/p' "$log" | tail -n1)
    command="$dir/bin/$target $artifact"
    case $artifact in
    *timeout-*) command="$dir/bin/$target -timeout=$timeout $artifact" ;;
    *oom-*) command="$dir/bin/$target -rss_limit_mb=2560 $artifact" ;;
    '') command="$dir/bin/$target -runs=0 $dir/corpus/${corpus_of[$target]}" ;;
    esac
    printf '%s\t%s\n' "$(finding_in "$log")" "$command" >>"$run/$target.findings"
}

# One process of a target, started again after a finding until the time is over.
job() {
    local target=$1 number=$2 end=$3 left status findings=0 options
    mapfile -t options < <(options_of "$target")
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ] && [ "$findings" -lt "$findings_max" ]; do
        local log=$run/$target.$number.$findings.log
        status=0
        HEAPRIG_STATS=$run/$target.stats timeout -k 5 $((left + timeout + 20)) \
            "$dir/bin/$target" "${options[@]}" "-max_total_time=$left" "-seed=$((number * 1000 + findings + 1))" \
            "-artifact_prefix=$dir/findings/$target/" "$dir/work/$target" \
            "$dir/corpus/${corpus_of[$target]}" >"$log" 2>&1 || status=$?
        case $status in
        0 | 72 | 130) return ;; # its time is over, or Ctrl-C
        esac
        finding_note "$target" "$log"
        findings=$((findings + 1))
    done
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

# The largest number behind a word in the logs of a target.
logged() {
    cat "$run/$1".*.log 2>/dev/null | sed -n "s/$2/\1/p" | sort -n | tail -n1 | grep . || echo 0
}

stop=no
pids=()
# shellcheck disable=SC2317 # called by trap
interrupt() {
    stop=yes
    if [ ${#pids[@]} -gt 0 ]; then
        for pid in "${pids[@]}"; do
            pkill -INT -P "$pid" || true
        done
    fi
}
trap interrupt INT TERM

status_line() {
    if [ -t 2 ]; then
        printf '\r%s: %d s left, %s inputs, %s edges, %s findings\033[K' "$1" "$2" \
            "$(word "$1.stats" 0)" "$(logged "$1" '.* cov: \([0-9]*\) .*')" \
            "$(grep -c . "$run/$1.findings")" >&2
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

# The corpus once, then two processes until the slot of time is over.
fuzz() {
    local target=$1 end=$((SECONDS + $2)) began=$SECONDS status=0 options
    mkdir -p "$dir/work/$target" "$dir/findings/$target"
    touch "$run/$target.findings"
    mapfile -t options < <(options_of "$target")
    HEAPRIG_STATS=$run/$target.replay timeout -k 5 $((timeout + 120)) "$dir/bin/$target" \
        "${options[@]}" -runs=0 "-artifact_prefix=$dir/findings/$target/" \
        "$dir/corpus/${corpus_of[$target]}" >"$run/$target.replay.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ] && [ "$stop" = no ]; then
        finding_note "$target" "$run/$target.replay.log"
    fi
    pids=()
    local number
    for number in 1 2; do
        job "$target" "$number" "$end" &
        pids+=($!)
    done
    while busy; do
        status_line "$target" $((end > SECONDS ? end - SECONDS : 0))
        sleep 1 || true
    done
    wait || true
    pids=()
    echo $((SECONDS - began > 0 ? SECONDS - began : 1)) >"$run/$target.seconds"
    if [ -t 2 ]; then
        printf '\r\033[K' >&2
    fi
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
    edges=$(logged "$target" '.* cov: \([0-9]*\) .*')
    edges_all=$(logged "$target" '.*Loaded 1 PC tables.*: \([0-9]*\) \[.*')
    sort "$run/$target.findings" | awk -F'\t' '!seen[$1]++' >"$run/$target.distinct"
    findings=$(wc -l <"$run/$target.distinct")
    complaints "$inputs" "$edges_all" "$exercised" "$replayed" "$(word "$target.replay" 0)" >"$run/$target.complaints"
    if [ "$findings" -gt 0 ] || [ -s "$run/$target.complaints" ]; then
        status=1
    fi
    if [ "$json" = yes ]; then
        jq -cn --arg target "$target" --argjson inputs "$inputs" --argjson seconds "$took" \
            --argjson calls "$calls" --argjson edges "$edges" --argjson edges_all "$edges_all" \
            --argjson faults "$(word "$target.stats" "$(faults_at "$target.stats")")" \
            --argjson exercised "$exercised" --argjson replayed "$replayed" --argjson judged "$judged" \
            --rawfile findings "$run/$target.distinct" --rawfile complaints "$run/$target.complaints" '
            {$target, $inputs, $seconds, inputs_per_s: ($inputs / $seconds | floor),
             calls_per_s: ($calls / $seconds | floor), $edges, $edges_all,
             clauses: $exercised, clauses_of_corpus: $replayed, clauses_judged: $judged, $faults,
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
        while IFS=$'\t' read -r what command; do
            printf '\n%s: %s\n    %s\n' "$target" "$what" "$command"
        done <"$run/$target.distinct"
        sed "s/^/\n$target: /" "$run/$target.complaints"
    done
fi

# ---- Keep -----------------------------------------------------------------------------------------

# Inputs that reach what the committed corpus does not, smallest first, while there is room.
keep() {
    local target=$1 folder=corpus/${corpus_of[$1]}/found merged options name size kept=0
    mapfile -t options < <(options_of "$target")
    merged=$(mktemp -d)
    find "$dir/corpus/${corpus_of[$target]}" -type f -exec cp {} "$merged"/ \;
    "$dir/bin/$target" "${options[@]}" -set_cover_merge=1 "$merged" "$dir/work/$target" \
        >"$run/$target.merge.log" 2>&1 || {
        rm -rf "$merged"
        echo "$target: not merged, see $run/$target.merge.log" >&2
        return
    }
    mkdir -p "$folder"
    while read -r size name; do
        if [ -e "$dir/corpus/${corpus_of[$target]}/$name" ]; then
            continue
        fi
        if [ $(($(cat corpus/*/found/*.bin 2>/dev/null | wc -c) + size)) -gt $((found_max_kib * 1024)) ]; then
            echo "$target: corpus/*/found is full ($found_max_kib KiB)" >&2
            break
        fi
        cp "$merged/$name" "$folder/$name.bin"
        new_files+=("$folder/$name.bin")
        kept=$((kept + 1))
    done < <(find "$merged" -type f -printf '%s %f\n' | sort -n)
    rm -rf "$merged"
    echo "$target: $kept inputs added to $folder" >&2
}

# Each new program with its page calls refused in turn.
sweep_new() {
    local log=$run/sweep.log
    if [ ${#new_files[@]} -eq 0 ] || [ ! -x "$dir/bin/heaprig" ]; then
        return
    fi
    if timeout 900 "$dir/bin/heaprig" sweep --per-path 1 "${new_files[@]}" >"$log" 2>&1; then
        echo "sweep: $(tail -n1 "$log")" >&2
    else
        grep -A2 -e '^FINDING' -e '^sweep: in' "$log" >&2 || tail -n3 "$log" >&2
        status=1
    fi
}

new_files=()
if [ "$merge" = yes ] && [ "$stop" = no ]; then
    for target in "${ran[@]}"; do
        if [ "$target" = text_fuzzer ]; then
            programs=("${new_files[@]}")
            keep "$target"
            new_files=("${programs[@]}") # texts are no programs
        else
            keep "$target"
        fi
    done
    sweep_new
fi
exit "$status"
