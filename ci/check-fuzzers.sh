#!/usr/bin/env bash
# Look at a folder of built fuzz targets as a fuzzing service will use it, more strictly than services do.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/check-fuzzers.sh [--help] [--sanitizer NAME] [--engine NAME] [--arch NAME] [--hide DIR]...
                           [--repeat N] OUT

Checks each target in OUT, which ci/oss-fuzz/build.sh filled, and prints a line a target, or what is
wrong with it:

  files         names that services find; not stripped; the machine's kind; no run-time libraries but
                those of the allow-list, no search path into the build
  sanitizer     the library's own functions are compiled with it, and with no other
  counters      100 or more, and the library's own functions have them
  dictionary    parses, and the engine takes every entry
  options       known sections and keys, dictionaries that are there
  seeds         one zip a target, flat, none longer than max_len; all of them replay clean
  odd input     nothing, one byte, and 64 KiB of 00 and of ff are survived
  repeats       some seeds and nothing, N times each in one process

Targets run from another place than OUT, from /, with everything read-only but /tmp, with nothing in /dev
and with OUT hidden.

  --sanitizer NAME  address (default), undefined or memory
  --engine NAME     libfuzzer (default); other: targets that take files as arguments, without what only
                    libFuzzer tells (counters, dictionary, the count of seeds)
  --arch NAME       x86_64 (default) or i386
  --hide DIR        is not there either when targets run: sources, build
  --repeat N        default 100

Exit status: 0 all is well, 1 something is wrong, 2 bad usage, or OUT is no folder of targets, 130 ended early.
TEXT
}

die() {
    printf 'check-fuzzers.sh: %s\n' "$2" >&2
    exit "$1"
}

sanitizer=address engine=libfuzzer arch=x86_64 repeat=100 hidden=() out=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --sanitizer)
        [[ ${2-} =~ ^(address|undefined|memory)$ ]] ||
            die 2 "--sanitizer '${2-}': expected address, undefined or memory"
        sanitizer=$2
        shift
        ;;
    --engine)
        [[ ${2-} =~ ^(libfuzzer|other)$ ]] || die 2 "--engine '${2-}': expected libfuzzer or other"
        engine=$2
        shift
        ;;
    --arch)
        [[ ${2-} =~ ^(x86_64|i386)$ ]] || die 2 "--arch '${2-}': expected x86_64 or i386"
        arch=$2
        shift
        ;;
    --hide)
        [ -d "${2-}" ] || die 2 "--hide '${2-}': expected a folder"
        hidden+=("$(cd "$2" && pwd -P)")
        shift
        ;;
    --repeat)
        [[ ${2-} =~ ^[1-9][0-9]{0,5}$ ]] || die 2 "--repeat '${2-}': expected a whole number from 1"
        repeat=$2
        shift
        ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *)
        [ -z "$out" ] || die 2 "one folder, not '$out' and '$1'"
        out=$1
        ;;
    esac
    shift
done
[ -n "$out" ] || die 2 "expected the folder that ci/oss-fuzz/build.sh filled, see --help"
[ -d "$out" ] || die 2 "$out: expected a folder of fuzz targets; ci/oss-fuzz/build.sh makes one"
out=$(cd "$out" && pwd -P)
for tool in objdump readelf unzip unshare; do
    command -v "$tool" >/dev/null || die 2 "no $tool here; ci/setup.sh services installs it"
done

edges_min=100       # counters in a target, and edges that its seeds reach
functions_min=10    # of the library in a target, and of these covered by its seeds
seed_bytes_max=5242880
repeated_max=12     # seeds that are repeated
# Functions of what is tested: core, and the rig's parsers in the target that tests these.
library='^(nth_|Rtl|Heap|rig_text_|rig_trace_|rig_contract_|rig_program_)'
libraries='^(libc|libm|libgcc_s|libpthread|libdl|librt|libresolv|ld-linux-x86-64|ld-linux)\.so\.[0-9]+$'
if [ "$sanitizer" = memory ]; then
    # With libstdc++ MSan cannot be had otherwise; images of services have libc++.
    libraries=${libraries/libgcc_s/libgcc_s|libstdc\\+\\+}
fi

# What base images run targets with.
export ASAN_OPTIONS=alloc_dealloc_mismatch=0:allocator_may_return_null=1:check_malloc_usable_size=0:detect_odr_violation=0:detect_leaks=1:detect_stack_use_after_return=1:fast_unwind_on_fatal=0:handle_abort=1:max_uar_stack_size_log=16:quarantine_size_mb=10:strict_memcmp=1:symbolize=1
export MSAN_OPTIONS=print_stats=1:symbolize=1
export UBSAN_OPTIONS=print_stacktrace=1:print_summary=1:silence_unsigned_overflow=1:symbolize=1
flags=(-rss_limit_mb=2560 -timeout=25 -print_funcs=0)
symbolizer=$(command -v "$out/llvm-symbolizer" llvm-symbolizer llvm-symbolizer-19 llvm-symbolizer-14 |
    head -n1) || true
[ -n "$symbolizer" ] || die 2 "no llvm-symbolizer here; ci/setup.sh fuzz installs it"
[ "$symbolizer" != "$out/llvm-symbolizer" ] || symbolizer=/srv/llvm-symbolizer

# ---- What there is ----------------------------------------------------------------------------------

tmp=$(mktemp -d)
moved=$tmp/moved
mkdir -p "$moved" "$tmp/logs" "$tmp/pids"

# Ended early, it leaves no target running: first those who start them, then the targets.
# shellcheck disable=SC2317 # called by trap
clean() {
    local pids
    mapfile -t pids < <(jobs -rp)
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" || true
    mapfile -t pids < <(cat "$tmp/pids"/* 2>/dev/null)
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" || true
    rm -rf "$tmp"
}
trap clean EXIT
trap 'exit 130' INT TERM

# A service takes every program for a target, but for those of engines.
programs=()
for path in "$out"/*; do
    name=$(basename "$path")
    if [ -f "$path" ] && [ -x "$path" ] && [[ $(head -c 4 "$path" | tr -d '\0') == $'\x7fELF' ]] &&
        [[ $name != afl-* && $name != jazzer_* && $name != llvm-symbolizer && $name != honggfuzz ]]; then
        programs+=("$name")
    fi
done
[ ${#programs[@]} -gt 0 ] || die 2 "$out: expected fuzz targets; ci/oss-fuzz/build.sh makes them"
find "$out" -maxdepth 1 -type f -exec cp -p {} "$moved/" \;
for name in "${programs[@]}"; do
    mkdir -p "$moved/seeds/$name"
    if [ -f "$out/${name}_seed_corpus.zip" ]; then
        unzip -qo "$out/${name}_seed_corpus.zip" -d "$moved/seeds/$name" >"$tmp/logs/$name.zip" 2>&1 ||
            touch "$tmp/logs/$name.zip.failed"
    fi
done
mkdir "$moved/odd"
: >"$moved/odd/empty"
printf '\n' >"$moved/odd/one"
head -c 65536 /dev/zero >"$moved/odd/zeros"
head -c 65536 /dev/zero | tr '\0' '\377' >"$moved/odd/ones"

# ---- Where targets run --------------------------------------------------------------------------------

cat >"$tmp/inside.sh" <<'TEXT'
set -eu
while read -r _ _ _ _ point _; do
    case $point in
    /proc | /proc/* | /sys | /sys/* | /dev | /dev/* | /mnt/* | /media/*) ;;
    *) mount -o remount,bind,ro "$(printf '%b' "$point")" ;;
    esac
done </proc/self/mountinfo
mount --bind "$INSIDE_MOVED" /srv
mount -o remount,bind,ro /srv
mount -t tmpfs -o size=256m none /tmp
IFS=:
for dir in $INSIDE_HIDDEN; do
    if [ -d "$dir" ]; then
        mount -t tmpfs -o ro none "$dir"
    fi
done
mount -t tmpfs -o ro none /dev
cd /
unset INSIDE_MOVED INSIDE_HIDDEN
exec "$@"
TEXT
namespace=(unshare --mount --propagation private)
if [ "$(id -u)" -ne 0 ]; then
    namespace=(unshare --map-root-user --mount --propagation private)
fi
how=()
if [ "$sanitizer" = memory ] && [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ]; then
    how=(setarch -R)
fi

inside() {
    local IFS=: status=0
    (
        echo "$BASHPID" >"$tmp/pids/$BASHPID"
        exec env -i PATH=/usr/local/bin:/usr/bin:/bin ASAN_OPTIONS="$ASAN_OPTIONS" MSAN_OPTIONS="$MSAN_OPTIONS" \
            UBSAN_OPTIONS="$UBSAN_OPTIONS" ASAN_SYMBOLIZER_PATH="$symbolizer" \
            MSAN_SYMBOLIZER_PATH="$symbolizer" UBSAN_SYMBOLIZER_PATH="$symbolizer" \
            INSIDE_MOVED="$moved" INSIDE_HIDDEN="$out:${hidden[*]-}" \
            timeout -k 5 590 "${namespace[@]}" bash "$tmp/inside.sh" "$@"
    ) || status=$?
    find "$tmp/pids" -type f | while IFS= read -r file; do
        [ -d "/proc/${file##*/}" ] || rm -f "$file"
    done
    return "$status"
}
inside true >"$tmp/logs/namespace" 2>&1 ||
    die 2 "no mount namespace ($(tail -n1 "$tmp/logs/namespace")): run as root, or let users make namespaces"

# ---- One target ---------------------------------------------------------------------------------------

complain() {
    printf '%s: %s: %s\n' "$1" "$2" "$3" >>"$tmp/$1.bad"
}

# What a run that did not end well said of it: the clearest of its lines.
said() {
    local pattern
    for pattern in '^finding: ' '^SUMMARY: ' 'ERROR: ' 'error while loading' '.'; do
        if grep -m1 -e "$pattern" "$1"; then
            return
        fi
    done
    echo "nothing"
}

# Run a target; what it wrote goes to its log. A complaint when it does not end well.
run() {
    local name=$1 what=$2 status=0
    shift 2
    log=$tmp/logs/$name.$(tr -c 'a-z\n' - <<<"$what")
    inside "${how[@]}" "/srv/$name" "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        complain "$name" "$what" "exit status $status: $(said "$log" | cut -c1-200)"
        return 1
    fi
}

check_files() {
    local name=$1 path=$out/$1 machine dynamic where wanted
    [[ $name =~ ^[A-Za-z0-9_-]+_fuzzer$ ]] ||
        complain "$name" files "services want names of A-Z a-z 0-9 _ - that end in _fuzzer"
    if ! grep -q LLVMFuzzerTestOneInput "$path"; then
        complain "$name" files "no LLVMFuzzerTestOneInput in it: stripped, or no target"
    fi
    machine=$(readelf -h "$path" | sed -n 's/^ *Machine: *//p')
    case $arch:$machine in
    x86_64:*X86-64 | i386:*80386) ;;
    *) complain "$name" files "expected $arch, it is $machine" ;;
    esac
    dynamic=$(readelf -d "$path") || complain "$name" files "its dynamic section cannot be read"
    while read -r wanted; do
        [[ $wanted =~ $libraries ]] || complain "$name" files "needs $wanted, which services do not have"
    done < <(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
    while read -r where; do
        [[ $where == "\$ORIGIN"* ]] || complain "$name" files "looks for libraries in $where"
    done < <(sed -n 's/.*\((RPATH)\|(RUNPATH)\).*\[\(.*\)\]/\2/p' <<<"$dynamic")
}

# Of the library's own functions in a target: how many there are, and how many call each sanitizer.
check_sanitizer() {
    local name=$1 all own other
    local -A count
    read -r all 'count[address]' 'count[undefined]' 'count[memory]' < <(objdump -d --no-show-raw-insn "$out/$name" |
        awk -v library="$library" '
            /^[0-9a-f]+ <.*>:$/ { at = $2; gsub(/[<>:]/, "", at); if (at ~ library) seen[at] = 1 }
            /call/ && /<__asan_(report|load|store|mem)/ { asan[at] = 1 }
            /call/ && /<__ubsan_handle_/ { ubsan[at] = 1 }
            /call/ && /<__msan_/ { msan[at] = 1 }
            END {
                for (at in seen) { all++; a += at in asan; u += at in ubsan; m += at in msan }
                print all + 0, a + 0, u + 0, m + 0
            }')
    if [ "$all" -lt "$functions_min" ]; then
        complain "$name" sanitizer "$all functions of the library in it, expected $functions_min or more"
        return
    fi
    own=${count[$sanitizer]}
    if [ $((own * 2)) -lt "$all" ]; then
        complain "$name" sanitizer "$own of the library's $all functions are compiled with $sanitizer, expected half of them"
    fi
    for other in address undefined memory; do
        if [ "$other" != "$sanitizer" ] && [ "${count[$other]}" -gt 0 ]; then
            complain "$name" sanitizer "${count[$other]} of the library's functions are compiled with $other, expected $sanitizer alone"
        fi
    done
    echo "$own of $all functions with $sanitizer" >"$tmp/$name.sanitizer"
}

# Lines of a dictionary that count.
entries_of() {
    sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' "$1"
}

check_dictionary() {
    local name=$1 path=$2 lines
    if [ ! -f "$path" ]; then
        complain "$name" dictionary "no $(basename "$path")"
        return
    fi
    lines=$(entries_of "$path" | LC_ALL=C grep -vE \
        '^([A-Za-z0-9_]+(@[0-9]+)?=)?"([]!#-[^-~ ]|\\\\|\\"|\\x[0-9A-Fa-f][0-9A-Fa-f])+"$' | head -n1) || true
    [ -z "$lines" ] || complain "$name" dictionary "cannot be parsed: $lines"
}

# [section] and `key = value`; the keys of [libfuzzer] are the engine's own.
check_options() {
    local name=$1 path=$out/$1.options section='' line key value keys=' '
    [ -f "$path" ] || return 0
    if [ "$engine" = libfuzzer ] && run "$name" help -help=1; then
        keys=" $(sed -n 's/^ \([a-z_]*\)[[:space:]].*/\1/p' "$log" | tr '\n' ' ')"
    fi
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '' | '#'* | ';'*) continue ;;
        '[libfuzzer]' | '[asan]' | '[msan]' | '[ubsan]' | '[hwasan]' | '[env]')
            section=${line//[\[\]]/}
            continue
            ;;
        esac
        if [[ -z $section || ! $line =~ ^([A-Za-z_]+)\ *=\ *([A-Za-z0-9_.,:/\(\)-]+)$ ]]; then
            complain "$name" options "expected a section or 'key = value', found '$line'"
            continue
        fi
        key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        case $section:$key in
        libfuzzer:dict) [ -f "$out/$value" ] || complain "$name" options "dict = $value: no such file" ;;
        libfuzzer:*)
            if [ "$keys" != ' ' ] && [[ $keys != *" $key "* ]]; then
                complain "$name" options "libFuzzer has no option $key"
            fi
            if [[ ! $value =~ ^(-?[0-9]+|random\([0-9]+,[0-9]+\))$ ]]; then
                complain "$name" options "$key = $value: expected a number"
            fi
            ;;
        env:AFL_DRIVER_DONT_DEFER | env:GODEBUG | asan:* | msan:* | ubsan:* | hwasan:*) ;;
        env:*) complain "$name" options "services pass no $key to targets" ;;
        esac
    done <"$path"
}

# A number of [libfuzzer] of a target's options.
option() {
    sed -n "/^\[libfuzzer\]/,\$s/^$2 *= *\([0-9]*\)$/\1/p" "$out/$1.options" 2>/dev/null | head -n1
}

check_seeds() {
    local name=$1 dir=$moved/seeds/$1 max_len longer
    if [ ! -f "$out/${name}_seed_corpus.zip" ]; then
        complain "$name" seeds "no ${name}_seed_corpus.zip"
    elif [ -f "$tmp/logs/$name.zip.failed" ] || [ -n "$(find "$dir" -mindepth 1 -type d)" ] || [ -z "$(find "$dir" -type f)" ]; then
        complain "$name" seeds "expected a flat zip of files: $(tail -n1 "$tmp/logs/$name.zip")"
    fi
    max_len=$(option "$name" max_len)
    longer=$(find "$dir" -type f -size +"${max_len:-$seed_bytes_max}"c -printf '%f\n' | sort | head -n1)
    [ -z "$longer" ] || complain "$name" seeds "$longer is longer than ${max_len:-$seed_bytes_max} bytes, and would be cut"
}

# What libFuzzer tells of a target that runs a little.
check_start() {
    local name=$1 entries counters
    run "$name" start "${flags[@]}" "${options[@]}" -seed=1337 -runs=4 || return 0
    grep -q '^Done 4 runs' "$log" || complain "$name" start "did not run 4 inputs"
    if grep -q 'no interesting inputs' "$log"; then
        complain "$name" counters "no input is interesting"
    fi
    counters=$(sed -n 's/^INFO: Loaded [0-9]* modules *(\([0-9]*\) .*/\1/p' "$log" | head -n1)
    if [ "${counters:-0}" -lt "$edges_min" ]; then
        complain "$name" counters "${counters:-0} counters, expected $edges_min or more"
    fi
    if [ -f "$dictionary" ]; then
        entries=$(sed -n 's/^Dictionary: \([0-9]*\) entries/\1/p' "$log")
        [ "${entries:-0}" -eq "$(entries_of "$dictionary" | wc -l)" ] ||
            complain "$name" dictionary "the engine takes ${entries:-no} entries of $(entries_of "$dictionary" | wc -l)"
    fi
    echo "${counters:-0} counters" >"$tmp/$name.counters"
}

# All seeds. libFuzzer says how many it read, and which functions they cover.
check_replay() {
    local name=$1 seeds=$2 read_count edges covered all=()
    if [ "$engine" = other ]; then
        mapfile -t all < <(cd "$moved" && find "seeds/$name" -type f -printf '/srv/%p\n')
        run "$name" seeds "${all[@]}" || return 0
        echo "$seeds seeds" >"$tmp/$name.seeds"
        return
    fi
    run "$name" seeds "${flags[@]}" "${options[@]}" -runs=0 -print_coverage=1 "/srv/seeds/$name" || return 0
    read_count=$(sed -n 's/^INFO: seed corpus: files: \([0-9]*\) .*/\1/p' "$log")
    [ "${read_count:-0}" -eq "$seeds" ] || complain "$name" seeds "ran ${read_count:-0} seeds of $seeds"
    edges=$(sed -n 's/.*INITED cov: \([0-9]*\) .*/\1/p' "$log")
    if [ "${edges:-0}" -lt "$edges_min" ]; then
        complain "$name" counters "the seeds reach ${edges:-0} edges, expected $edges_min or more"
    fi
    covered=$(awk -v library="$library" '$1 == "COVERED_FUNC:" && $6 ~ library' "$log" | wc -l)
    if [ "$covered" -lt "$functions_min" ]; then
        complain "$name" counters "the seeds cover $covered of the library's functions, expected $functions_min or more: it was compiled without counters"
    fi
    echo "$seeds seeds,${edges:-0} edges" >"$tmp/$name.seeds"
}

check_target() {
    local name=$1 dictionary options=() seeds every log
    check_files "$name"
    check_sanitizer "$name"
    dictionary=$out/$(sed -n 's/^dict *= *//p' "$out/$name.options" 2>/dev/null | head -n1)
    [ -f "$dictionary" ] || dictionary=$out/$name.dict
    check_dictionary "$name" "$dictionary"
    check_options "$name"
    check_seeds "$name"
    if [ "$engine" = libfuzzer ]; then
        options=("-dict=/srv/$(basename "$dictionary")" "-artifact_prefix=/tmp/")
        [ -f "$dictionary" ] || options=("-artifact_prefix=/tmp/")
        if [ -n "$(option "$name" max_len)" ]; then
            options+=("-max_len=$(option "$name" max_len)")
        fi
        check_start "$name"
    fi
    seeds=$(find "$moved/seeds/$name" -type f | wc -l)
    if [ "$seeds" -gt 0 ]; then
        check_replay "$name" "$seeds"
    fi
    local odd=(/srv/odd/empty /srv/odd/one /srv/odd/zeros /srv/odd/ones) some=() again=()
    every=$((seeds / repeated_max + 1))
    mapfile -t some < <(cd "$moved" && find "seeds/$name" -type f -printf '/srv/%p\n' | LC_ALL=C sort |
        awk -v every="$every" 'NR % every == 0')
    if [ "$engine" = libfuzzer ]; then
        again=(-runs="$repeat" "${flags[@]}" -artifact_prefix=/tmp/)
        run "$name" "odd input" "${flags[@]}" -artifact_prefix=/tmp/ "${odd[@]}" || return 0
        [ "$(grep -c '^Executed ' "$log")" -eq ${#odd[@]} ] ||
            complain "$name" "odd input" "did not run all of ${odd[*]##*/}"
        run "$name" repeats "${again[@]}" "${some[@]}" /srv/odd/empty || return 0
    else
        run "$name" "odd input" "${odd[@]}" || return 0
        local list=() idx
        for ((idx = 0; idx < repeat; idx++)); do
            list+=("${some[@]}")
        done
        run "$name" repeats "${list[@]}" || return 0
    fi
    echo "$((${#some[@]} + 1)) x $repeat" >"$tmp/$name.repeats"
}

# ---- All ------------------------------------------------------------------------------------------------

for name in "${programs[@]}"; do
    check_target "$name" &
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
        wait -n || true
    done
done
wait
for path in "$out"/*_seed_corpus.zip "$out"/*.dict "$out"/*.options; do
    name=$(basename "$path")
    name=${name%_seed_corpus.zip}
    name=${name%.*}
    if [ -e "$path" ] && [ ! -x "$out/$name" ] && ! grep -qsE "^dict *= *$name\.dict$" "$out"/*.options; then
        complain "$name" files "$(basename "$path") belongs to no target"
        programs+=("$name")
    fi
done

status=0
for name in $(printf '%s\n' "${programs[@]}" | sort -u); do
    if [ -s "$tmp/$name.bad" ]; then
        sort -u "$tmp/$name.bad"
        status=1
    elif [ ! -f "$tmp/$name.repeats" ]; then
        printf '%s: the checks did not come to an end\n' "$name"
        status=1
    else
        parts=$(cat "$tmp/$name".{sanitizer,counters,seeds,repeats} 2>/dev/null | paste -sd, | sed 's/,/, /g') || true
        printf '%-24s %s\n' "$name" "$parts"
    fi
done
exit "$status"
