#!/usr/bin/env bash
# Part of ci/fuzz.sh: instances of afl-fuzz. Expects its variables: dir, run, timeout, programs.
# shellcheck disable=SC2154 # they are set there

crashes_shown_max=12 # of one target: each is run again to see what it is

# What every afl-fuzz wants here: no screen of its own, no changes to the machine, no end at a seed
# that crashes, and to go on where the last run stopped.
afl_environment() {
    export AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 \
        AFL_NO_AFFINITY=1 AFL_SKIP_CRASHES=1 AFL_FAST_CAL=1 AFL_CMPLOG_ONLY_NEW=1 \
        AFL_AUTORESUME=1 AFL_SYNC_TIME=1 AFL_IMPORT_FIRST=1 AFL_HANG_TMOUT=$((timeout * 1000))
    # afl-fuzz refuses to start with other values of these, and with any of those that it sees no point in.
    export ASAN_OPTIONS="$ASAN_OPTIONS:abort_on_error=1:symbolize=0:detect_leaks=0"
    unset MSAN_OPTIONS LSAN_OPTIONS
}

# The largest input, as the target's .options file has it.
afl_length() {
    sed -n 's/^max_len *= *\([0-9]*\)$/-G\n\1/p' "${programs[$2]}/bin/$1.options" 2>/dev/null || true
}

# A fork server that ends leaves behind the process that it had stopped between two inputs: those of
# PROGRAM whose parent is neither a fork server nor afl-fuzz.
afl_orphans() {
    local pid parent
    while read -r pid; do
        parent=$(ps -o ppid= -p "$pid" | tr -d ' ')
        if [ -n "$parent" ] && [ ! "/proc/$parent/exe" -ef "$1" ] &&
            [ "$(ps -o comm= -p "$parent")" != afl-fuzz ]; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done < <(pgrep -f -x "$1" || true)
}

# One instance: afl_job TARGET NAME KIND END, with KIND the build it runs. `main` reads what libFuzzer
# finds; the others get it from there.
afl_job() {
    local target=$1 name=$2 kind=$3 end=$4 log=$run/$1.$2.afl status=0 left
    local program=${programs[$kind]}/bin/$target library=${programs[$kind]}/lib/${target}_mutator.so
    local role=(-S "$name") length
    left=$((end - SECONDS))
    [ "$left" -gt 0 ] || return 0
    mapfile -t length < <(afl_length "$target" "$kind")
    if [ "$name" = main ]; then
        role=(-M main)
        if [ "$engine" = mix ]; then
            role+=(-F "$dir/grown/$target")
        fi
    fi
    case $kind in
    afl-cmplog)
        role+=(-c "$program" -l 2AT)
        program=${programs[afl-plain]}/bin/$target
        ;;
    esac
    if [ -f "${program%/bin/*}/bin/$target.dict" ]; then
        role+=(-x "${program%/bin/*}/bin/$target.dict")
    fi
    (
        afl_environment
        if [ -f "$library" ]; then
            export AFL_CUSTOM_MUTATOR_LIBRARY=$library
            # What is compared is matched by bytes, which is the point of that instance.
            [ "$kind" = afl-cmplog ] || export AFL_CUSTOM_MUTATOR_ONLY=1
        fi
        HEAPRIG_STATS=$run/$target.stats exec timeout -s INT -k 20 "$left" \
            afl-fuzz "${role[@]}" -t "$((timeout * 1000))" -m none "${length[@]}" \
            -s "$((${#name} * 1000 + 1))" -i "$corpora/${corpus_of[$target]}" \
            -o "$dir/afl/$target" -- "$program"
    ) >"$log" 2>&1 || status=$?
    afl_orphans "$program"
    afl_orphans "${programs[$kind]}/bin/$target"
    case $status in
    0 | 124 | 130) return ;;
    esac
    if [ -e "$run/stop" ] || killed_note "$target" "AFL++ instance $name" "$status" "$log"; then
        return
    fi
    # What AFL++ says of its own end, without colours.
    printf 'AFL++ instance %s ended: %s\n' "$name" "$(sed 's/\x1b\[[0-9;]*[A-Za-z]//g' "$log" |
        sed -n 's/.*PROGRAM ABORT : //p' | tail -n1 | grep . || tail -n1 "$log")" \
        >>"$run/$target.complaints"
}

# What the main instance has, as links in a folder for libFuzzer: afl-fuzz moves its own about while it
# starts.
afl_queue() {
    mkdir -p "$run/$1.queue"
    find "$dir/afl/$1/main/queue" -maxdepth 1 -name 'id:*' \
        -exec ln -t "$run/$1.queue" {} + 2>/dev/null || true
}

# A number of fuzzer_stats, the largest of all instances.
afl_number() {
    cat "$dir/afl/$1"/*/fuzzer_stats 2>/dev/null |
        sed -n "s/^$2 *: \([0-9]*\).*/\1/p" | sort -n | tail -n1 | grep . || echo 0
}

# Stability of the instance that has the least, in percent.
afl_stability() {
    cat "$dir/afl/$1"/*/fuzzer_stats 2>/dev/null |
        sed -n 's/^stability *: \([0-9.]*\)%.*/\1/p' | sort -n | head -n1 | grep . || echo -
}

# Crashes and hangs of this run, a path a line.
afl_crashes() {
    find "$dir/afl/$1" -path "*/$2/id:*" -newer "$run/$1.began" 2>/dev/null | sort
}

# The corpus once under AFL++'s driver, where there is no libFuzzer.
afl_replay() {
    local target=$1 kind=$2 status=0
    HEAPRIG_STATS=$run/$target.replay timeout -k 5 $((timeout + 120)) \
        "${programs[$kind]}/bin/$target" "$corpora/${corpus_of[$target]}"/* \
        >"$run/$target.replay.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ] && [ "$stop" = no ]; then
        finding_note "$target" "$(finding_in "$run/$target.replay.log")" \
            "${programs[$kind]}/bin/$target $corpora/${corpus_of[$target]}/*"
    fi
}

# Every crash that AFL++ kept, under the name that libFuzzer would give it, run again by the programs
# that there are until one shows it.
afl_findings() {
    local target=$1 file name kind log status shown=0
    while read -r file; do
        name=$dir/findings/$target/crash-$(sha1sum <"$file" | cut -d' ' -f1)
        cp "$file" "$name"
        if [ "$shown" -ge "$crashes_shown_max" ]; then
            continue
        fi
        shown=$((shown + 1))
        log=$run/$target.crash.$shown.log
        status=0
        for kind in libfuzzer afl afl-plain; do
            [ -n "${programs[$kind]-}" ] || continue
            status=0
            timeout -k 5 "$timeout" "${programs[$kind]}/bin/$target" "$name" >"$log" 2>&1 || status=$?
            [ "$status" -eq 0 ] || break
        done
        if [ "$status" -eq 0 ]; then
            finding_note "$target" "a crash that a run of its own does not show" \
                "${programs[$kind]}/bin/$target $name"
        else
            finding_note "$target" "$(finding_in "$log")" "${programs[$kind]}/bin/$target $name"
        fi
    done < <(afl_crashes "$target" crashes)
    while read -r file; do
        name=$dir/findings/$target/timeout-$(sha1sum <"$file" | cut -d' ' -f1)
        cp "$file" "$name"
        kind=afl-plain
        [ -n "${programs[$kind]-}" ] || kind=afl
        finding_note "$target" "timeout after $timeout seconds" \
            "timeout $timeout ${programs[$kind]}/bin/$target $name"
    done < <(afl_crashes "$target" hangs)
}
