#!/usr/bin/env bash
# Part of ci/fuzz.sh: processes of libFuzzer. Expects its variables: dir, run, timeout, programs.
# shellcheck disable=SC2154 # they are set there

# Note what a process ended with, and the command that shows it.
libfuzzer_note() {
    local target=$1 log=$2 program=${programs[libfuzzer]}/bin/$1 artifact command
    artifact=$(sed -n 's/.*Test unit written to \(.*\)$/\1/p' "$log" | tail -n1)
    command="$program $artifact"
    case $artifact in
    *timeout-*) command="$program -timeout=$timeout $artifact" ;;
    *oom-*) command="$program -rss_limit_mb=2560 $artifact" ;;
    '') command="$program -runs=0 $corpora/${corpus_of[$target]}" ;;
    esac
    finding_note "$target" "$(finding_in "$log")" "$command"
}

# The corpus once, for the clauses that it exercises by itself.
libfuzzer_replay() {
    local target=$1 status=0 options
    mapfile -t options < <(libfuzzer_options "${programs[libfuzzer]}/bin/$target" "$timeout")
    HEAPRIG_STATS=$run/$target.replay timeout -k 5 $((timeout + 120)) \
        "${started[@]}" "${programs[libfuzzer]}/bin/$target" \
        "${options[@]}" -runs=0 "-artifact_prefix=$dir/findings/$target/" \
        "$corpora/${corpus_of[$target]}" >"$run/$target.replay.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ] && [ "$stop" = no ]; then
        libfuzzer_note "$target" "$run/$target.replay.log"
    fi
}

# One process of a target, started again after a finding until the time is over. Beside AFL++ it ends
# now and then as well, and begins anew with what AFL++ has found.
libfuzzer_job() {
    local target=$1 number=$2 end=$3 left status findings=0 rounds=0 options folders
    mapfile -t options < <(libfuzzer_options "${programs[libfuzzer]}/bin/$target" "$timeout")
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ] && [ "$findings" -lt "$findings_max" ]; do
        local log=$run/$target.$number.$rounds.log round=$left
        folders=("$dir/grown/$target" "$corpora/${corpus_of[$target]}")
        if [ "$engine" = mix ]; then
            round=$((left < exchange ? left : exchange))
            [ "$rounds" -eq 0 ] || afl_queue "$target"
            folders+=("$run/$target.queue")
        fi
        status=0
        HEAPRIG_STATS=$run/$target.stats timeout -k 5 $((round + timeout + 20)) \
            "${started[@]}" "${programs[libfuzzer]}/bin/$target" "${options[@]}" \
            "-max_total_time=$round" "-seed=$((number * 1000 + rounds + 1))" \
            "-artifact_prefix=$dir/findings/$target/" "${folders[@]}" >"$log" 2>&1 || status=$?
        rounds=$((rounds + 1))
        case $status in
        0 | 72 | 124) ;; # its time is over
        130) return ;;   # Ctrl-C
        *)
            if killed_note "$target" "libFuzzer process $number" "$status" "$log"; then
                return
            fi
            libfuzzer_note "$target" "$log"
            findings=$((findings + 1))
            ;;
        esac
        if [ -e "$run/stop" ]; then
            return
        fi
    done
}

libfuzzer_edges() {
    logged "$1" '.* cov: \([0-9]*\) .*'
}

libfuzzer_edges_all() {
    logged "$1" '.*Loaded 1 PC tables.*: \([0-9]*\) \[.*'
}
