#!/usr/bin/env bash
# Build core with one bug planted at a time and see who catches it, and how soon.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/planted.sh [--help] [--list] [--only NN]... [--engine E] [--missed] [--seconds N] [--seeds N]
                     [--jobs N] [--no-random] [--json]
       ci/planted.sh --mutants ...      ci/mutants.sh: bugs by the thousand, made by machine

For each patch in harness/planted: builds the target that its head names (ops_fuzzer where it names
none) on a copy of core with that patch, and tells
  reached, triggered   the planted code ran; it did something else than the right code would have
  corpus               the rule that ended a run over the target's corpus as it is, or what else did
  fuzzing              seconds until a fuzzer that starts from nothing catches it: median of the seeds
  random               seconds until programs drawn at random do, without any guidance (ops_fuzzer)

  --list       print the bugs and end
  --only NN    this one only (may be repeated)
  --engine E   libfuzzer (default) or afl: AFL++ with ASan; it begins with an input of one byte, and
               draws no programs at random
  --missed     fuzz those only that the corpus did not catch
  --seconds N  for each seed of fuzzing, and for random; default 120; 0: the corpus only
  --seeds N    fuzzing runs a bug, default 5
  --jobs N     runs at a time, default 2
  --no-random  no programs drawn at random
  --json       one object a line

Results stay in build/planted for as long as the programs are the same: a run that was ended goes on
where it was. Exit status: 0 all caught by corpus or fuzzing, 1 a bug was missed or a patch does not
apply, 2 bad usage.
TEXT
}

die() {
    printf 'planted.sh: %s\n' "$2" >&2
    exit "$1"
}

if [ "${1-}" = --mutants ]; then
    shift
    exec "$(dirname "$0")/mutants.sh" "$@"
fi

list=no only=() engine=libfuzzer seconds=120 seeds=5 json=no jobs=2 missed=no unguided=yes
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --list) list=yes ;;
    --json) json=yes ;;
    --missed) missed=yes ;;
    --no-random) unguided=no ;;
    --only)
        [[ ${2-} =~ ^[0-9]{2,3}$ ]] || die 2 "--only '${2-}': expected a bug's number"
        only+=("$2")
        shift
        ;;
    --engine)
        [[ ${2-} =~ ^(libfuzzer|afl)$ ]] || die 2 "--engine '${2-}': expected libfuzzer or afl"
        engine=$2
        shift
        ;;
    --seconds | --seeds | --jobs)
        [[ ${2-} =~ ^[0-9]{1,6}$ ]] || die 2 "$1 '${2-}': expected a whole number"
        case $1 in
        --seconds) seconds=$2 ;;
        --seeds) seeds=$2 ;;
        --jobs) jobs=$2 ;;
        esac
        shift
        ;;
    *) die 2 "unknown argument '$1', see --help" ;;
    esac
    shift
done

[ "$engine" = libfuzzer ] || unguided=no
cd "$(dirname "$0")/.."
# shellcheck source=ci/lib/options.sh
. ci/lib/options.sh
bugs=()
for patch in harness/planted/[0-9]*-*.patch; do
    name=$(basename "$patch" .patch)
    if [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" ${name%%-*} "* ]]; then
        bugs+=("$name")
    fi
done
[ ${#bugs[@]} -gt 0 ] || die 2 "no such bug: ${only[*]}"
for number in "${only[@]}"; do
    compgen -G "harness/planted/$number-*.patch" >/dev/null || die 2 "no such bug: $number"
done

# A line of a patch's head: Bug, Target, States, Trigger.
head_of() {
    sed -n "s/^$2: *//p" "harness/planted/$1.patch" | head -n1
}

target_of() {
    local target
    target=$(head_of "$1" Target)
    echo "${target:-ops_fuzzer}"
}

if [ "$list" = yes ]; then
    for name in "${bugs[@]}"; do
        if [ "$json" = yes ]; then
            jq -cn --arg name "$name" --arg bug "$(head_of "$name" Bug)" \
                --arg states "$(head_of "$name" States)" --arg trigger "$(head_of "$name" Trigger)" \
                --arg target "$(target_of "$name")" '{$name, $bug, $target, $states, $trigger}'
        else
            printf '%s\n    %s\n    target: %s\n    needs: %s\n    trigger: %s\n' "$name" \
                "$(head_of "$name" Bug)" "$(target_of "$name")" "$(head_of "$name" States)" \
                "$(head_of "$name" Trigger)"
        fi
    done
    exit 0
fi

# ---- Build ----------------------------------------------------------------------------------------

preset=fuzz parts=(build fuzz) build=$PWD/build/planted/build
if [ "$engine" = afl ]; then
    preset=afl parts+=(afl) build=$PWD/build/planted/afl
fi
ci/setup.sh "${parts[@]}"
dir=$PWD/build/planted
mkdir -p "$dir/src" "$dir/results"

# A patched copy of core's sources. Files that stay the same keep their time, and so their objects.
copy() {
    local name=$1 new=$dir/new to=$dir/src/$1 file changed=()
    rm -rf "$new"
    mkdir -p "$new" "$to"
    cp core/src/*.c core/src/*.h core/src/*.def harness/planted/planted.h "$new/"
    patch -s -p1 -F0 --no-backup-if-mismatch -d "$new" <"harness/planted/$name.patch" >&2 ||
        die 1 "$name.patch does not apply to core/src"
    for file in "$new"/*.c; do
        file=$(basename "$file")
        if [ "$file" != malloc.c ] && ! cmp -s "$new/$file" "core/src/$file"; then
            changed+=("$file")
        fi
    done
    for file in "$new"/*.h; do
        file=$(basename "$file")
        if [ "$file" != planted.h ] && ! cmp -s "$new/$file" "core/src/$file"; then
            mapfile -t changed < <(cd "$new" && printf '%s\n' *.c | grep -v '^malloc\.c$')
            break
        fi
    done
    printf '%s\n' "${changed[@]}" >"$new/compile.list"
    target_of "$name" >"$new/target"
    for file in "$new"/*; do
        cmp -s "$file" "$to/$(basename "$file")" || cp "$file" "$to/"
    done
    rm -rf "$new"
}

for name in "${bugs[@]}"; do
    copy "$name"
done
for old in "$dir"/src/*; do
    if [ ! -e "harness/planted/$(basename "$old").patch" ] || [ ! -e "$old/target" ]; then
        rm -rf "$old"
    fi
done
fuzzers=()
targets=()
for name in "${bugs[@]}"; do
    fuzzer=$(target_of "$name")
    targets+=("planted_${name%%-*}")
    if [ "$unguided" = yes ] && [ "$fuzzer" = ops_fuzzer ]; then
        targets+=("random_${name%%-*}")
    fi
    if [[ " ${fuzzers[*]} " != *" $fuzzer "* ]]; then
        fuzzers+=("$fuzzer")
        targets+=("$fuzzer" "corpus_$fuzzer")
        [ "$engine" = libfuzzer ] || targets+=("${fuzzer}_mutator")
    fi
done
{ cmake --preset "$preset" -B "$build" -DHEAPRIG_TESTS=OFF "-DHEAPRIG_PLANTED=$dir/src" &&
    cmake --build "$build" --target "${targets[@]}"; } >"$dir/build.log" 2>&1 || {
    cat "$dir/build.log" >&2
    die 1 "the build failed"
}

# ---- Run ------------------------------------------------------------------------------------------

once=$PWD/ci/lib/afl_once.sh
export ASAN_OPTIONS=${ASAN_OPTIONS-allocator_may_return_null=1:symbolize=0}

# Who ended a process: the clause and rule, or the first line of what a sanitizer or check said.
who() {
    local line
    line=$(sed -n 's/^finding: \([^ ]* [^:]*\):.*/\1/p' "$1" | head -n1)
    if [ -z "$line" ]; then
        line=$(sed -n -e 's/^SUMMARY: \([^(]*\).*/\1/p' -e 's/^.*the rig itself is broken: /the rig: /p' \
            -e '/assert/Ip' -e 's/^.*runtime error: /undefined: /p' \
            -e 's/^the subject ended.*/&/p' "$1" | head -n1)
    fi
    echo "${line:-ended without a word}" | tr '\t' ' ' | cut -c1-80
}

# One run of a program until it is caught; leaves "caught seconds who reached triggered" behind,
# parted by tabs. What ends a run before the planted code made a difference has not caught it.
trial() {
    local result=$1 limit=$2 status=0 began ended work caught=no by=-
    shift 2
    if [ -s "$result" ]; then
        return
    fi
    work=$(mktemp -d)
    began=$(date +%s%N)
    (ulimit -f 65536 && cd "$work" && mkdir empty && # 64 MiB: a loop that prints must not fill the disk
        HEAPRIG_STATS=$work/stats timeout -k 5 "$limit" "$@" >"$work/log" 2>&1) 2>/dev/null ||
        status=$?
    ended=$(date +%s%N)
    read -r reached triggered < <(od -An -v -t u8 -j 32 -N 16 "$work/stats" | tr -s ' ')
    if [ "$status" -ne 0 ]; then
        by=$(who "$work/log")
        case $status in
        124 | 137) by="does not end" ;; # long after its time
        esac
        if [ "$triggered" = 1 ]; then
            caught=yes
        fi
    fi
    printf '%s\t%s\t%s\t%s\t%s\n' "$caught" \
        "$(awk -v ns=$((ended - began)) 'BEGIN { printf "%.1f", ns / 1e9 }')" "$by" "$reached" \
        "$triggered" >"$result.new"
    mv "$result.new" "$result"
    rm -rf "$work"
}

# replaying PROGRAM FUZZER: the command that has a program of that target go through its corpus.
replaying() {
    if [ "$engine" = afl ]; then
        command=("$1" "$build/corpus/$2"/*)
    else
        mapfile -t options < <(libfuzzer_options "$build/bin/$2")
        command=("$1" "${options[@]}" -runs=0 "$build/corpus/$2")
    fi
}

# fuzzing PROGRAM FUZZER SEED: the command that fuzzes with it until it is caught.
fuzzing() {
    if [ "$engine" = afl ]; then
        command=("$once" "$1" "$build/lib/$2_mutator.so" "$seconds" "$3")
    else
        mapfile -t options < <(libfuzzer_options "$build/bin/$2")
        command=("$1" "${options[@]}" "-max_total_time=$seconds" "-seed=$3" empty)
    fi
}

status=0
for fuzzer in "${fuzzers[@]}"; do
    replaying "$build/bin/$fuzzer" "$fuzzer"
    (cd "$dir" && timeout 300 "${command[@]}" >"$dir/clean.log" 2>&1) ||
        die 1 "core itself does not get through the corpus of $fuzzer: $(who "$dir/clean.log")"
done

running=0
start() {
    if [ "$running" -ge "$jobs" ]; then
        wait -n || true
        running=$((running - 1))
    fi
    trial "$@" &
    running=$((running + 1))
}

declare -A results
for name in "${bugs[@]}"; do
    planted=$build/bin/planted_${name%%-*}
    corpus=$build/corpus/$(target_of "$name")
    mark=$({ cat "$planted" "$build/bin/$(target_of "$name").options" && find "$corpus" -type f -exec sha256sum {} + | sort; } | sha256sum)
    results[$name]=$dir/results/$name/${mark:0:16}
    mkdir -p "${results[$name]}"
    replaying "$planted" "$(target_of "$name")"
    start "${results[$name]}/corpus" 300 "${command[@]}"
done
wait
running=0

# Whether a bug is to be fuzzed.
fuzzed() {
    [ "$seconds" -gt 0 ] &&
        { [ "$missed" = no ] || [ "$(cut -f1 "${results[$1]}/corpus")" = no ]; }
}

# Seed by seed, so that a run that is ended early has something to tell of every bug.
for ((seed = 1; seed <= seeds; seed++)); do
    for name in "${bugs[@]}"; do
        fuzzed "$name" || continue
        fuzzing "$build/bin/planted_${name%%-*}" "$(target_of "$name")" "$seed"
        start "${results[$name]}/fuzzing.$seconds.$seed" $((seconds + 60)) "${command[@]}"
        if [ "$seed" -eq 1 ] && [ "$unguided" = yes ] && [ "$(target_of "$name")" = ops_fuzzer ]; then
            start "${results[$name]}/random.$seconds" $((seconds + 60)) \
                "$build/bin/random_${name%%-*}" "$seconds" 1
        fi
        if [ -t 2 ]; then
            printf '\r%s, seed %s\033[K' "$name" "$seed" >&2
        fi
    done
done
wait
if [ -t 2 ]; then
    printf '\r\033[K' >&2
fi

# ---- Tell -----------------------------------------------------------------------------------------

# Seconds of the middle run, how many runs caught it, how many there were, and by what.
middle() {
    cat "$@" | awk -F'\t' '
        { time[NR] = $1 == "yes" ? $2 : 1e9; caught += $1 == "yes"; if ($1 == "yes") by = $3 }
        END {
            for (i = 2; i <= NR; i++)
                for (j = i; j > 1 && time[j - 1] > time[j]; j--) {
                    swap = time[j]; time[j] = time[j - 1]; time[j - 1] = swap
                }
            middle = time[int((NR + 1) / 2)]
            printf "%s\t%d\t%d\t%s\n", middle < 1e9 ? middle : "-", caught, NR, by == "" ? "-" : by
        }'
}

if [ "$json" = no ]; then
    printf '%-48s %-7s %-9s %-48s' bug reached triggered 'caught by the corpus'
    if [ "$seconds" -gt 0 ]; then
        printf ' %-10s %-7s %-8s' 'fuzzing s' of random
    fi
    printf '\n'
fi
by_corpus=0 by_fuzzing=0
for name in "${bugs[@]}"; do
    at=${results[$name]}
    IFS=$'\t' read -r caught _ by reached triggered <"$at/corpus"
    middle=- hits=0 runs=0 how=- random=-
    if fuzzed "$name"; then
        IFS=$'\t' read -r middle hits runs how < <(middle "$at/fuzzing.$seconds".*)
        if [ -e "$at/random.$seconds" ]; then
            IFS=$'\t' read -r random _ _ _ < <(middle "$at/random.$seconds")
        fi
        read -r reached triggered < <(cat "$at/corpus" "$at"/fuzzing."$seconds".* |
            awk -F'\t' '{ r = r || $4; t = t || $5 } END { print r + 0, t + 0 }')
    fi
    [ "$caught" = no ] || by_corpus=$((by_corpus + 1))
    [ "$hits" -eq 0 ] || by_fuzzing=$((by_fuzzing + 1))
    if [ "$caught" = no ] && [ "$hits" -eq 0 ]; then
        status=1
    fi
    if [ "$json" = yes ]; then
        jq -cn --arg name "$name" --arg caught "$caught" --arg by "$by" --arg middle "$middle" \
            --argjson reached "$reached" --argjson triggered "$triggered" --argjson hits "$hits" \
            --argjson runs "$runs" --arg how "$how" --arg random "$random" --argjson seconds "$seconds" '
            def number: if . == "-" then null else tonumber end;
            {$name, reached: ($reached == 1), triggered: ($triggered == 1),
             corpus: {caught: ($caught == "yes"), by: (if $by == "-" then null else $by end)},
             fuzzing: {$seconds, $runs, caught: $hits, median_s: ($middle | number),
                       by: (if $how == "-" then null else $how end)},
             random: {$seconds, caught_s: ($random | number)}}'
    else
        if [ "$caught" = no ]; then
            by=$([ "$by" = - ] && echo no || echo "no ($by)")
        fi
        printf '%-48s %-7s %-9s %-48s' "${name:0:48}" "$([ "$reached" = 1 ] && echo yes || echo no)" \
            "$([ "$triggered" = 1 ] && echo yes || echo no)" "${by:0:48}"
        if [ "$seconds" -gt 0 ]; then
            printf ' %-10s %-7s %-8s' "$middle" "$hits/$runs" "$random"
        fi
        printf '\n'
    fi
done
if [ "$json" = no ]; then
    printf '\n%d bugs, %d caught by the corpus' ${#bugs[@]} "$by_corpus"
    [ "$seconds" -eq 0 ] || printf ', %d by fuzzing for %d s' "$by_fuzzing" "$seconds"
    printf '\n'
fi
exit "$status"
