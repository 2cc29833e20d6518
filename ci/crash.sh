#!/usr/bin/env bash
# The life of a crash: confirm it, name it, tell one from another, shrink it, show it, keep it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/crash.sh [--help] COMMAND [--target TARGET] [--heaprig FILE] [--corpus DIR] [-o OUT] FILE... [SENTENCE]

A FILE is an input that an engine left (crash-*, timeout-*, id:*) or a program as text; the engine does
not matter. Each run is a process of its own, with the options that targets use.

  confirm FILE...     run each three times: does it show its finding every time?
  name FILE...        what the finding is: rule, clauses, operation and reason of the report; of a crash
                      its kind and three frames
  sort FILE|DIR...    one line for each different name: how many inputs have it, and the smallest of them
  shrink FILE         heaprig shrink; -o OUT.heap writes it there
  show FILE           the program as text (heaprig show)
  export FILE         the program as C (heaprig export); -o OUT.c writes it there
  add FILE SENTENCE   into corpus/regress under the next number, named by the sentence, which says what
                      holds once the bug is mended, with its line in MANIFEST.tsv

  --target TARGET   which target found it (default: the folder of FILE, as in findings/ops_fuzzer/crash-1)
  --heaprig FILE    this heaprig instead of a build of preset check (of preset stress for *_stress_fuzzer)
  --corpus DIR      add: this copy of corpus/

Exit status: 0 fine, 1 a finding that did not show again, 2 bad usage or input.
TEXT
}

die() {
    printf 'crash.sh: %s\n' "$2" >&2
    exit "$1"
}

here=$(cd "$(dirname "$0")/.." && pwd)

is_target() {
    grep -q "^ *rig_add_target(${1:-none}[ )]" "$here/harness/targets/CMakeLists.txt"
}

command='' target='' heaprig='' corpus=$here/corpus out='' files=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --target)
        target=${2-}
        is_target "$target" ||
            die 2 "--target '$target': expected a target of harness/targets/CMakeLists.txt"
        shift
        ;;
    --heaprig)
        [ -x "${2-}" ] || die 2 "--heaprig '${2-}': expected a program"
        heaprig=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
        shift
        ;;
    --corpus)
        [ -f "${2-}/MANIFEST.tsv" ] || die 2 "--corpus '${2-}': expected a corpus, with MANIFEST.tsv"
        corpus=$(cd "$2" && pwd)
        shift
        ;;
    -o)
        [ -n "${2-}" ] || die 2 "-o: expected a name"
        out=$2
        shift
        ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *)
        if [ -z "$command" ]; then
            command=$1
        else
            files+=("$1")
        fi
        ;;
    esac
    shift
done
case $command in
confirm | name | sort | shrink | show | export | add) ;;
'') die 2 "expected a command: confirm, name, sort, shrink, show, export or add" ;;
*) die 2 "unknown command '$command', expected confirm, name, sort, shrink, show, export or add" ;;
esac
sentence=''
if [ "$command" = add ]; then
    [ ${#files[@]} -eq 2 ] || die 2 "add: expected a file and a sentence in quotes"
    sentence=${files[1]}
    files=("${files[0]}")
    [[ $sentence =~ ^[A-Za-z0-9][A-Za-z0-9\ ,.\'-]{9,119}$ ]] ||
        die 2 "add: expected a sentence of 10 to 120 letters, digits and blanks, found '$sentence'"
fi
[ ${#files[@]} -gt 0 ] || die 2 "$command: expected a file"
case $command in
shrink | show | export) [ ${#files[@]} -eq 1 ] || die 2 "$command: expected one file" ;;
*) [ -z "$out" ] || die 2 "-o: expected with shrink and export only" ;;
esac
listed=()
for file in "${files[@]}"; do
    if [ "$command" = sort ] && [ -d "$file" ]; then
        while IFS= read -r name; do
            listed+=("$name")
        done < <(find "$file" -type f ! -name README.txt | LC_ALL=C sort)
        continue
    fi
    [ -f "$file" ] || die 2 "$file: expected a file that can be read"
    listed+=("$file")
done
[ ${#listed[@]} -gt 0 ] || die 2 "${files[0]}: expected inputs in it, found none"

# The target of a file: as said, else a folder on its way that is named after one, else its first line.
target_of() {
    local path part
    path=$(cd "$(dirname "$1")" && pwd)
    if [ -n "$target" ]; then
        echo "$target"
        return
    fi
    if [[ $(head -c 200 "$1" | tr -d '\0' | head -n1) =~ ^'# target: '([A-Za-z0-9_-]+)$ ]]; then
        echo "${BASH_REMATCH[1]}"
        return
    fi
    while [ "$path" != / ]; do
        part=$(basename "$path")
        if is_target "$part"; then
            echo "$part"
            return
        fi
        path=$(dirname "$path")
    done
    die 2 "$1: expected --target NAME, its folder does not say which target found it"
}
of=$(target_of "${listed[0]}")
[ "$of" != text_fuzzer ] || [ "$command" = confirm ] || [ "$command" = name ] || [ "$command" = sort ] ||
    [ "$command" = add ] || die 2 "$command: expected a program; an input of text_fuzzer is text as it is"

# ---- The programs ---------------------------------------------------------------------------------

preset=check
[[ $of != *_stress_fuzzer ]] || preset=stress
program=heaprig
[ "$of" != text_fuzzer ] || program=text_fuzzer
if [ -z "$heaprig" ]; then
    heaprig=$here/build/$preset/bin/$program
    if [ ! -x "$heaprig" ]; then
        (
            cd "$here"
            ci/setup.sh build sanitizers
            mkdir -p "build/$preset"
            printf 'building preset %s, log in %s\n' "$preset" "build/$preset/crash.log" >&2
            { cmake --preset "$preset" && cmake --build --preset "$preset" --target "$program"; } \
                >"build/$preset/crash.log" 2>&1 || {
                cat "build/$preset/crash.log" >&2
                die 1 "the build failed"
            }
        )
    fi
fi
how=(--check-every 64) # as targets look (harness/targets/*_fuzzer.c)
# A name wants the stack of an abort; shrink tells aborts apart by their first line, so it gets none.
asan=${ASAN_OPTIONS-allocator_may_return_null=1:detect_odr_violation=0}
export ASAN_OPTIONS=$asan:handle_abort=1
export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}
if [ -z "${ASAN_SYMBOLIZER_PATH-}" ] && command -v llvm-symbolizer-14 >/dev/null; then
    ASAN_SYMBOLIZER_PATH=$(command -v llvm-symbolizer-14)
    export ASAN_SYMBOLIZER_PATH
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- Names ----------------------------------------------------------------------------------------

# Of what a dying process said its kind and three frames of the project; libc and the machinery of a
# failed assertion are left out.
frames_of() {
    local kind frames
    kind=$(sed -n -e 's/^==[0-9]*==ERROR: [A-Za-z]*Sanitizer: \([A-Za-z-]*\).*/\1/p' \
        -e 's/^.*runtime error: /undefined: /p' "$1" | sed 's/0x[0-9a-f]*\|[0-9][0-9]*/N/g' | head -n1)
    frames=$(sed -n 's/^ *#[0-9]* 0x[0-9a-f]* in \([^ ]*\) .*\/\(core\|faults\|harness\|src\)\/.*/\1/p' "$1" |
        grep -v -e '^nth_assert' -e '^rig_check' -e '^nth_guard$' -e '^__' | head -n 3 | paste -sd' ')
    printf '%s in %s' "${kind:-death}" "${frames:-unknown frames}"
}

# The name of what a file's run comes to, nothing when the contract holds.
name_of() {
    local file=$1 status=0 log=$work/log json=$work/json
    if [ "$of" = text_fuzzer ]; then
        timeout -k 5 60 "$heaprig" "$file" >"$log" 2>&1 || status=$?
        [ "$status" -eq 0 ] || frames_of "$log"
        return
    fi
    timeout -k 5 300 "$heaprig" run --json "${how[@]}" "$file" >"$json" 2>"$log" || status=$?
    case $status in
    0) return ;;
    2) die 2 "$(head -n1 "$log")" ;;
    esac
    if jq -e -s 'any(.[]; .finding)' "$json" >/dev/null 2>&1; then
        jq -r -s '[.[] | select(.finding)][0].finding
            | (.call // ((.text // "") | split(" ")[1])) as $call
            | (((.came // "") | capture("reported=[0-9]+:(?<reason>[A-Z_]+)").reason) // "no report") as $reason
            | "\(.rule) \([.clauses[]?.id] | join("+")) at \($call), \($reason)"' "$json" | tr -s ' '
    else
        frames_of "$log"
    fi
}

# ---- Commands -------------------------------------------------------------------------------------

confirm() {
    local file first now turn bad=0
    for file in "${listed[@]}"; do
        first=$(name_of "$file")
        for turn in 2 3; do
            now=$(name_of "$file")
            [ "$now" = "$first" ] || break
        done
        if [ -z "$first" ] && [ "$now" = "$first" ]; then
            echo "$file: the contract holds: not confirmed"
            bad=1
        elif [ "$now" != "$first" ]; then
            echo "$file: '$first', then '$now' in run $turn: not confirmed"
            bad=1
        else
            echo "$file: confirmed in 3 processes: $first"
        fi
    done
    return "$bad"
}

names() {
    local file name
    for file in "${listed[@]}"; do
        name=$(name_of "$file")
        printf '%s\t%s\t%s\n' "${name:-no finding}" "$(stat -c %s "$file")" "$file"
    done
}

add() {
    local file=${listed[0]} name number slug end regress=$corpus/regress to
    name=$(name_of "$file")
    slug=$(tr '[:upper:]' '[:lower:]' <<<"$sentence" | tr -cs 'a-z0-9\n' - | sed 's/-*$//')
    number=$(find "$regress" -name '[0-9][0-9][0-9]-*' -printf '%f\n' 2>/dev/null | sort | tail -n1 | cut -c1-3)
    number=$(printf %03d $((10#${number:-0} + 1)))
    end=heap
    [ "$of" != text_fuzzer ] || end=in
    to=regress/$number-$slug.$end
    mkdir -p "$regress"
    if [ "$end" = heap ]; then
        {
            echo "# target: $of"
            echo "# $sentence. Was: ${name:-nothing that shows here}." | fold -s -w 98 | sed -e 's/ *$//' -e '2,$s/^/# /'
            "$heaprig" show "$file"
        } >"$work/file"
        "$heaprig" asm "$work/file" -o "$work/bytes" 2>"$work/log" || die 2 "$(head -n1 "$work/log")"
    else
        die 2 "$file: expected a program; give an input of text_fuzzer a name in corpus/text_fuzzer by hand"
    fi
    for have in "$regress"/*.heap; do
        if [ -f "$have" ] && cmp -s <(grep -v '^#' "$have") <(grep -v '^#' "$work/file"); then
            die 2 "$have: it is there already"
        fi
    done
    cp "$corpus/MANIFEST.tsv" "$work/manifest"
    printf '%s\t%s\tfound\ta bug once: %s\n' "$to" "$of" "$sentence" >>"$work/manifest"
    { cp "$work/file" "$corpus/.adding" && cp "$work/manifest" "$corpus/.adding.tsv"; } 2>/dev/null || {
        rm -f "$corpus/.adding" "$corpus/.adding.tsv"
        die 2 "$corpus: expected room for two files, nothing has changed"
    }
    trap '' INT TERM HUP
    mv "$corpus/.adding" "$corpus/$to"
    mv "$corpus/.adding.tsv" "$corpus/MANIFEST.tsv"
    echo "$corpus/$to"
    [ -n "$name" ] || echo "it shows no finding on this core: the bug is mended, or of another build" >&2
}

case $command in
confirm) confirm ;;
name) names | awk -F'\t' '{ print $1 "\t" $3 }' ;;
sort)
    names | sort -t$'\t' -k1,1 -k2,2n | awk -F'\t' '
        $1 != last { if (count) print count "\t" last "\t" least; last = $1; least = $3; count = 0 }
        { count++ } END { if (count) print count "\t" last "\t" least }'
    ;;
shrink) ASAN_OPTIONS=$asan "$heaprig" shrink "${how[@]}" "${listed[0]}" ${out:+-o "$out"} ;;
show) "$heaprig" show "${listed[0]}" ;;
export) "$heaprig" export "${how[@]}" "${listed[0]}" ${out:+-o "$out"} ;;
add) add ;;
esac
