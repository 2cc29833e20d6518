#!/usr/bin/env bash
# Part of ci/fuzz.sh: which processes a run has, and the room they need. Expects its variable dir.
# shellcheck disable=SC2154 # it is set there

# The processes of an engine and a number of them, a line each: a name and a build.
fleet_of() {
    local engine=$1 jobs=$2 number afl=0
    for ((number = 1; number <= jobs; number++)); do
        case $engine in
        libfuzzer) echo "$number libfuzzer" ;;
        afl) fleet_afl "$number" "$jobs" ;;
        mix)
            if [ "$number" -eq 1 ] || { [ "$number" -gt 4 ] && [ $((number % 2)) -eq 1 ]; }; then
                echo "$number libfuzzer"
            else
                afl=$((afl + 1))
                fleet_afl "$afl" "$jobs"
            fi
            ;;
        esac
    done
}

# AFL++ instance `number` where there are `jobs` processes.
fleet_afl() {
    case $1 in
    1) echo "main $([ "$2" -eq 1 ] && echo afl || echo afl-plain)" ;;
    2) echo 'asan afl' ;;
    3) echo 'cmplog afl-cmplog' ;;
    *) echo "plain$1 afl-plain" ;;
    esac
}

# The part of ci/setup.sh that a preset needs.
fleet_part() {
    case $1 in
    afl*) echo afl ;;
    fuzz-tsan) echo clang19 ;;
    *) echo fuzz ;;
    esac
}

# Whether so many MiB are free.
disk_check() {
    local free
    free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge "$1" ]
}
