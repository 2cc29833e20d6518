#!/usr/bin/env bash
# The life of the corpus: grow it, bring inputs in, drop and shrink what it has, check and measure it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/corpus.sh [--help] COMMAND [--seconds N] [--inputs DIR]... [--build DIR] [--corpus DIR]
                    [TARGET...]

  grow      fuzz from the corpus for --seconds (default 120, all targets together), then merge
  merge     take in, out of what fuzzing found (build/fuzz/grown, or --inputs with one TARGET), what reaches
            an edge, or a clause in a state of its heap, that the corpus does not: smallest first, made as
            small as it goes, as text, each with its line in MANIFEST.tsv; then sweep it
            (--seconds bounds the time that making smaller takes, for each target)
  vary      take in, as origin sweep, those variants of seeds (front end on, a large block there, memory
            nearly gone or refused before each call: harness/program/vary.h) that reach what no seed does; seeds of legal
            use, ops_fuzzer's, are looked at for all targets
  prune     drop found inputs whose edges and clause states others have
  minimise  prune, and make those that are left smaller for as long as they keep what is theirs alone
  check     manifest, size, kinds and names of files, duplicates, then a replay of every target;
            --files: without the replay, which is all that needs a build
  reach     what seeds (origin hand, recorded or sweep) alone, and the corpus as it is, reach of what a run of
            --seconds (default 600) a target reaches from it: 90 % of edges and clause states by seeds is
            the aim

  --build DIR   a build of preset fuzz (targets heaprig_fuzz, heaprig_distil, heaprig) instead of building
  --corpus DIR  work on this copy of corpus/
  --jobs N      reach: targets at a time, default 2
  TARGET        these only (default: all)

What changes the corpus does so at the end and whole: a command that is ended early leaves it as it was.
Exit status: 0 fine, 1 a finding, a check that failed or an aim that was missed, 2 bad usage or input.
TEXT
}

die() {
    printf 'corpus.sh: %s\n' "$2" >&2
    exit "$1"
}

cd "$(dirname "$0")/.."
here=$PWD
# shellcheck source=ci/lib/options.sh
. ci/lib/options.sh
cd "$OLDPWD"
command='' seconds='' inputs=() build='' corpus=$here/corpus given=no jobs=2 files_only=no targets=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds | --jobs)
        [[ ${2-} =~ ^[1-9][0-9]{0,6}$ ]] || die 2 "$1 '${2-}': expected a whole number from 1"
        case $1 in
        --seconds) seconds=$2 ;;
        --jobs) jobs=$2 ;;
        esac
        shift
        ;;
    --inputs)
        [ -d "${2-}" ] || die 2 "--inputs '${2-}': expected a folder"
        inputs+=("$(cd "$2" && pwd)")
        shift
        ;;
    --build)
        [ -f "${2-}/targets.list" ] || die 2 "--build '${2-}': expected a build of preset fuzz, with targets.list"
        build=$(cd "$2" && pwd)
        shift
        ;;
    --corpus)
        [ -f "${2-}/MANIFEST.tsv" ] || die 2 "--corpus '${2-}': expected a corpus, with MANIFEST.tsv"
        corpus=$(cd "$2" && pwd) given=yes
        shift
        ;;
    --files) files_only=yes ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *)
        if [ -z "$command" ]; then
            command=$1
        else
            targets+=("$1")
        fi
        ;;
    esac
    shift
done
case $command in
grow | merge | vary | prune | minimise | check | reach) ;;
'') die 2 "expected a command: grow, merge, vary, prune, minimise, check or reach" ;;
*) die 2 "unknown command '$command', expected grow, merge, vary, prune, minimise, check or reach" ;;
esac
if [ "$command" != merge ] && [ ${#inputs[@]} -gt 0 ]; then
    die 2 "--inputs: expected with merge only"
fi
if [ ${#inputs[@]} -gt 0 ] && [ ${#targets[@]} -ne 1 ]; then
    die 2 "--inputs: expected one TARGET that they are for"
fi
cd "$here"
if [ "$command" = grow ]; then
    [ "$given" = no ] || die 2 "--corpus: not with grow, which fuzzes from the corpus that the build has"
    exec ci/fuzz.sh ${build:+--from "$build"} --seconds "${seconds:-120}" --merge "${targets[@]}"
fi
ulimit -f 262144 # 256 MiB a file
corpus_max_bytes=$((2 << 20))
export ASAN_OPTIONS=${ASAN_OPTIONS-allocator_may_return_null=1:detect_odr_violation=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}
if [ -z "${ASAN_SYMBOLIZER_PATH-}" ] && command -v llvm-symbolizer-14 >/dev/null; then
    ASAN_SYMBOLIZER_PATH=$(command -v llvm-symbolizer-14)
    export ASAN_SYMBOLIZER_PATH
fi

# ---- Files ----------------------------------------------------------------------------------------

full() {
    die 2 "$corpus: expected room on its disk: make some and run it again, nothing has changed"
}

check_failed=no
wrong() {
    printf 'corpus: %s\n' "$1" >&2
    check_failed=yes
}

# Files that say the same in one folder, of programs without comments: "one and other" a line.
twins() {
    (
        cd "$corpus"
        # shellcheck disable=SC2016 # awk's own
        find . -name '*.heap' ! -path './.staging.*' -print0 | LC_ALL=C sort -z | xargs -0 -r awk '
            function tell() { if (file != "") { key = folder ":" text; if (key in first) print first[key] " and " file
                else first[key] = file } }
            FNR == 1 { tell(); file = substr(FILENAME, 3); split(file, part, "/"); folder = part[1]; text = "" }
            !/^#/ { text = text $0 "\n" } END { tell() }'
        find . -type f ! -name '*.heap' ! -path './.staging.*' -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum | awk '
            $1 in first { print first[$1] " and " substr($2, 3) } { first[$1] = substr($2, 3) }'
    )
}

check_files() {
    local listed there name target known first path
    [ "$(head -n1 "$corpus/MANIFEST.tsv")" = $'file\ttarget\torigin\treason' ] ||
        wrong 'MANIFEST.tsv:1: expected the columns file, target, origin, reason'
    listed=$(tail -n +2 "$corpus/MANIFEST.tsv" | cut -f1 | LC_ALL=C sort)
    there=$(cd "$corpus" && find . -type f ! -name README.md ! -name MANIFEST.tsv ! -path './.staging.*' | cut -c3- | LC_ALL=C sort)
    while read -r name; do
        wrong "$name: listed in MANIFEST.tsv, expected the file: add it or drop the line"
    done < <(comm -23 <(sort -u <<<"$listed") <(sort <<<"$there"))
    while read -r name; do
        wrong "$name: expected a line in MANIFEST.tsv (file, target, origin, reason), or to be gone"
    done < <(comm -13 <(sort -u <<<"$listed") <(sort <<<"$there"))
    while read -r name; do
        wrong "$name: listed twice in MANIFEST.tsv"
    done < <(uniq -d <<<"$listed")
    known=$(sed -n 's/^ *rig_add_target(\([A-Za-z0-9_-]*\).*/\1/p' harness/targets/CMakeLists.txt | paste -sd'|')
    [ -n "$known" ] || wrong 'harness/targets/CMakeLists.txt: no line rig_add_target(<name>)'
    while IFS= read -r name; do
        wrong "$name"
    done < <(awk -F'\t' -v targets="^($known|-)$" 'NR > 1 && (NF != 4 || $4 == "" ||
        $3 !~ /^(hand|recorded|found|sweep)$/ || $2 !~ targets) {
            print "MANIFEST.tsv:" NR ": expected file, target, origin (hand, recorded, found, sweep), reason: " $0 }
        NR > 1 && split($1, part, "/") == 3 && part[2] ~ /^(found|sweep)$/ && $3 != part[2] {
            print "MANIFEST.tsv:" NR ": expected the origin " part[2] }' \
        "$corpus/MANIFEST.tsv")
    while read -r name target; do
        path=$corpus/$name
        [ -f "$path" ] || continue
        case $name in
        regress/*)
            first=$(head -n1 "$path")
            [[ $first =~ ^'# target: '($known)$ ]] ||
                wrong "$name:1: expected '# target: NAME', the target that replays it"
            [ "$first" = "# target: $target" ] || wrong "$name:1: MANIFEST.tsv says target $target"
            ;;
        text_fuzzer/*) [[ $name == *.in ]] || wrong "$name: expected a name that ends in .in" ;;
        traces/*) [[ $name == *.trace ]] || wrong "$name: expected a name that ends in .trace" ;;
        */*) [[ $name == *.heap ]] || wrong "$name: expected a program as text (*.heap)" ;;
        *) wrong "$name: expected a folder for it" ;;
        esac
    done < <(tail -n +2 "$corpus/MANIFEST.tsv" | cut -f1,2)
    while IFS= read -r name; do
        wrong "$name: expected one of them only, they say the same"
    done < <(twins)
    [ "$(corpus_bytes)" -le "$corpus_max_bytes" ] ||
        wrong "$(corpus_bytes) bytes in all, expected at most $corpus_max_bytes: ci/corpus.sh minimise"
    [ -n "$listed" ] || wrong 'MANIFEST.tsv: expected files'
}

corpus_bytes() {
    find "$corpus" -type f ! -path "$corpus/.staging.*" -exec cat {} + | wc -c
}

if [ "$command" = check ]; then
    check_files
    if [ "$files_only" = yes ] || [ "$check_failed" = yes ]; then
        [ "$check_failed" = no ] || exit 1
        echo "$(($(wc -l <"$corpus/MANIFEST.tsv") - 1)) files, $(corpus_bytes) bytes"
        exit 0
    fi
fi

# ---- Build ----------------------------------------------------------------------------------------

if [ -z "$build" ]; then
    build=$here/build/fuzz
    ci/setup.sh build fuzz
    mkdir -p "$build"
    printf 'building preset fuzz, log in %s\n' "$build/corpus.log" >&2
    { cmake --preset fuzz && cmake --build --preset fuzz --target heaprig_fuzz heaprig_distil heaprig; } \
        >"$build/corpus.log" 2>&1 || {
        cat "$build/corpus.log" >&2
        die 1 "the build failed"
    }
fi
declare -A corpus_of
known=()
while read -r name folder; do
    [ -n "$name" ] || continue
    known+=("$name")
    corpus_of[$name]=$folder
done <"$build/targets.list"
for target in "${targets[@]}"; do
    [ -n "${corpus_of[$target]-}" ] || die 2 "unknown target '$target', expected one of: ${known[*]}"
done
if [ ${#targets[@]} -eq 0 ]; then
    targets=("${known[@]}")
fi
for program in bin/heaprig bin/heaprig-assemble; do
    [ -x "$build/$program" ] || die 2 "$build/$program: expected a build of preset fuzz with heaprig in it"
done
for target in "${targets[@]}"; do
    [ -x "$build/bin/$target" ] || die 2 "$build/bin/$target: expected a fuzz target"
    case $command in
    merge | prune | minimise)
        [ -x "$build/distil/$target" ] || die 2 "$build/distil/$target: expected target heaprig_distil to be built"
        ;;
    esac
done

# One at a time: nobody changes the corpus while it is read. What a command that was killed left, which no
# check looks at, goes.
exec 9<"$corpus"
flock -n 9 || die 2 "$corpus: another ci/corpus.sh works on it, wait for its end"
work=
case $command in
merge | prune | minimise) # what goes in by a rename must be on its disk
    rm -rf "$corpus"/.staging.*
    work=$(mktemp -d "$corpus/.staging.XXXXXX") || die 2 "$corpus: expected room for a folder"
    ;;
*) work=$(mktemp -d) ;;
esac
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Files of a target's corpus: `seeds`, `found` (by this target), `others` (all but those), `all`.
files_of() {
    awk -F'\t' -v folder="${corpus_of[$1]}" -v target="$1" -v which="$2" -v shared="$(
        for name in "${known[@]}"; do
            [ "${corpus_of[$name]}" != "${corpus_of[$1]}" ] || printf ' %s ' "$name"
        done)" '
        NR > 1 && (index($1, folder "/") == 1 || (index($1, "regress/") == 1 && index(shared, " " $2 " "))) {
            own = $3 == "found" && $2 == target && $1 ~ /\/found\//
            if (which == "all" || (which == "hand" && $3 == "hand") || (which == "seeds" && $3 != "found") ||
                (which == "found" && own) || (which == "others" && !own)) print $1 }' "$corpus/MANIFEST.tsv"
}

# assemble FOLDER [OPTION]: the files named on standard input as bytes.
assemble() {
    local out=$1
    shift
    { sed "s|^|$corpus/|" >"$out.list" && mkdir "$out"; } || full
    "$build/bin/heaprig-assemble" "$@" "$out" "$out.list" ||
        die 2 "$corpus: expected files that can be assembled, see the line above"
}

is_text() {
    [ "${corpus_of[$1]}" = text_fuzzer ]
}

# ---- What is worth keeping ------------------------------------------------------------------------

# distil TARGET OPTIONS CANDIDATES BASE: what of CANDIDATES stands out against BASE goes to
# $work/TARGET.new, told of in $work/TARGET.tsv.
distil() {
    local target=$1 status=0 units=(--head 16 --unit 8) more=()
    if is_text "$target"; then
        units=(--head 0 --unit 1)
    fi
    read -ra more <<<"$2"
    if [ -n "$seconds" ]; then
        more+=(--seconds "$seconds")
    fi
    rm -rf "$work/$target.new"
    mkdir "$work/$target.new"
    "$build/distil/$target" "${units[@]}" "${more[@]}" --base "$4" --out "$work/$target.new" "$3" \
        >"$work/$target.tsv" 2>"$work/$target.log" || status=$?
    if [ "$status" -ne 0 ]; then
        if [ -s "$work/$target.new/running" ]; then # it died of an input
            mkdir -p "$build/findings/$target"
            cp "$work/$target.new/running" "$build/findings/$target/crash-distil"
            printf '%s: a finding while inputs were made smaller: %s\n    %s\n' "$target" \
                "$(grep -a -m1 -e '^finding: ' -e 'ERROR: ' "$work/$target.log")" \
                "$build/bin/$target $build/findings/$target/crash-distil" >&2
            exit 1
        fi
        cat "$work/$target.log" >&2
        die 2 "$build/distil/$target: expected it to end well, it ended with $status"
    fi
}

# The results as files of the corpus: lines "size name new-file reason" in $work/TARGET.rows.
decode() {
    local target=$1 name before now own what id at=$work/$1.files
    rm -rf "$at"
    mkdir "$at"
    : >"$work/$target.rows"
    while IFS=$'\t' read -r name before now own what; do
        local bytes=$work/$target.new/$name
        if is_text "$target"; then
            id=$(sha256sum <"$bytes" | cut -c1-12).in
            cp "$bytes" "$at/$id"
        else
            "$build/bin/heaprig" show "$bytes" >"$work/text.heap"
            "$build/bin/heaprig" asm "$work/text.heap" -o "$work/text.bin"
            cmp -s "$work/text.bin" "$bytes" || die 1 "$name: its text means other bytes: a fault of heaprig show"
            id=$(sha256sum <"$work/text.heap" | cut -c1-12).heap
            mv "$work/text.heap" "$at/$id"
        fi
        printf '%s\t%s\t%s\n' "$(stat -c %s "$at/$id")" "$id" "$what" >>"$work/$target.rows"
        : "$before" "$now" "$own"
    done <"$work/$target.tsv"
    sort -n -o "$work/$target.rows" "$work/$target.rows"
}

# commit TARGET REPLACE: its rows become files and lines of the corpus, in place of all it had found when
# REPLACE is yes. All that can fail comes first; then only renames are left, and no signal comes between.
origin=found new_files=()
commit() {
    local target=$1 replace=$2 folder size id what room kept=0 gone=0 name
    folder=${corpus_of[$target]}/$origin
    declare -A stays=()
    files_of "$target" found >"$work/old"
    room=$((corpus_max_bytes - $(corpus_bytes)))
    if [ "$replace" = yes ]; then
        while read -r name; do
            room=$((room + $(stat -c %s "$corpus/$name")))
        done <"$work/old"
    fi
    : >"$work/lines"
    rm -rf "$work/in"
    mkdir "$work/in"
    while IFS=$'\t' read -r size id what; do
        size=$((size + ${#folder} + ${#id} + ${#target} + ${#what} + 12))
        if [ "$size" -gt "$room" ]; then
            echo "$target: the corpus is full ($((corpus_max_bytes >> 10)) KiB), larger inputs are left out" >&2
            break
        fi
        room=$((room - size))
        printf '%s\t%s\t%s\t%s\n' "$folder/$id" "$target" "$origin" "$what" >>"$work/lines"
        stays[$folder/$id]=yes
        if [ ! -e "$corpus/$folder/$id" ]; then
            cp "$work/$target.files/$id" "$work/in/$id" || full
            kept=$((kept + 1))
            is_text "$target" || new_files+=("$corpus/$folder/$id")
        fi
    done <"$work/$target.rows"
    awk -F'\t' -v lines="$work/lines" -v old="$work/old" -v replace="$replace" '
        BEGIN { while ((getline line < lines) > 0) { split(line, part, "\t"); now[part[1]] = 1; last = last line "\n" }
                while ((getline line < old) > 0) was[line] = 1 }
        now[$1] || (replace == "yes" && was[$1]) { next }
        { print } END { printf "%s", last }' "$corpus/MANIFEST.tsv" >"$work/MANIFEST.tsv" || full
    mkdir -p "$corpus/$folder"
    trap '' INT TERM HUP
    if [ "$kept" -gt 0 ]; then
        mv "$work"/in/* "$corpus/$folder/"
    fi
    mv "$work/MANIFEST.tsv" "$corpus/MANIFEST.tsv"
    if [ "$replace" = yes ]; then
        while read -r name; do
            if [ -z "${stays[$name]-}" ]; then
                rm "$corpus/$name"
                gone=$((gone + 1))
            fi
        done <"$work/old"
    fi
    rmdir --ignore-fail-on-non-empty "$corpus/$folder"
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '%s: %d inputs added, %d gone, %s bytes of corpus\n' "$target" "$kept" "$gone" "$(corpus_bytes)"
}

# Programs that begin like ours, in the one form that their text has; other files are left out.
canonical() {
    local from=$1 to=$2 file left=0
    mkdir -p "$to"
    for file in "$from"/*; do
        [ -f "$file" ] || continue
        if "$build/bin/heaprig" show "$file" >"$work/text.heap" 2>/dev/null &&
            "$build/bin/heaprig" asm "$work/text.heap" -o "$to/$(basename "$file")" 2>/dev/null; then
            continue
        fi
        left=$((left + 1))
    done
    [ "$left" -eq 0 ] || echo "$left files that are no programs were left out" >&2
}

# vary_text TARGET: its seeds cut off, and with another byte, at 24 places each; and programs as text.
vary_text() {
    local target=$1 out=$work/$1.varied name place size number=0
    mkdir "$out" || full
    while read -r name; do
        size=$(stat -c %s "$corpus/$name")
        for place in {0..23}; do
            number=$((number + 1))
            place=$((size * place / 24))
            head -c "$place" "$corpus/$name" >"$out/cut-$number"
            { head -c "$place" "$corpus/$name" && printf '9' && tail -c "+$((place + 2))" "$corpus/$name"; } \
                >"$out/other-$number"
        done
    done < <(files_of "$target" hand)
    while read -r name; do
        cp "$corpus/$name" "$out/$(basename "$name")"
    done < <(files_of ops_fuzzer hand && files_of misuse_fuzzer hand && files_of corrupt_fuzzer hand &&
        files_of oom_fuzzer hand && files_of verifier_fuzzer hand)
}

# merge TARGET WHICH FOLDER...: what of the folders reaches what those files of the corpus do not.
merge() {
    local target=$1 which=$2 base=$work/$1.base folder folders=() options status=0
    shift 2
    for folder in "$@"; do
        [ ! -d "$folder" ] || folders+=("$folder")
    done
    if [ ${#folders[@]} -eq 0 ]; then
        echo "$target: nothing was found yet, ci/corpus.sh grow finds something" >&2
        return
    fi
    files_of "$target" "$which" | assemble "$base"
    # libFuzzer runs what was found in a process of its own and leaves out what ends it.
    cp -r "$base" "$work/$target.merged"
    mapfile -t options < <(libfuzzer_options "$build/bin/$target")
    "$build/bin/$target" "${options[@]}" -set_cover_merge=1 "-artifact_prefix=$work/" "$work/$target.merged" \
        "${folders[@]}" >"$work/$target.merge.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 3 "$work/$target.merge.log" >&2
        die 2 "$target: expected libFuzzer to merge ${folders[*]}, it ended with $status"
    fi
    find "$base" -type f -printf '%f\n' | (cd "$work/$target.merged" && xargs -r -d '\n' rm -f)
    if is_text "$target"; then
        mv "$work/$target.merged" "$work/$target.candidates"
    else
        canonical "$work/$target.merged" "$work/$target.candidates"
    fi
    distil "$target" '' "$work/$target.candidates" "$base"
    decode "$target"
    commit "$target" no
}

# Each new program with its page calls refused in turn.
sweep_new() {
    local log=$build/sweep.log
    if [ ${#new_files[@]} -eq 0 ]; then
        return
    fi
    if timeout 900 "$build/bin/heaprig" sweep --per-path 1 "${new_files[@]}" >"$log" 2>&1; then
        echo "sweep: $(tail -n1 "$log")"
    else
        grep -A2 -e '^FINDING' -e '^sweep: in' "$log" >&2 || tail -n3 "$log" >&2
        exit 1
    fi
}

# The found inputs of a target again, with what else there is as the base.
again() {
    local target=$1
    files_of "$target" found >"$work/had"
    if [ ! -s "$work/had" ]; then
        return
    fi
    assemble "$work/$target.candidates" <"$work/had"
    files_of "$target" others | assemble "$work/$target.base"
    distil "$target" "$2" "$work/$target.candidates" "$work/$target.base"
    decode "$target"
    commit "$target" yes
}

# ---- Replay and reach -----------------------------------------------------------------------------

# What is set in HEAPRIG_STATS: clauses in states of their heap.
states() {
    local count
    count=$(od -An -v -t u8 -j 48 -N 8 "$1" 2>/dev/null | tr -d ' ' | grep . || echo 0)
    od -An -v -t u1 -w1 -j $((64 + count)) -N "$count" "$1" 2>/dev/null |
        awk '{ for (byte = $1; byte > 0; byte = int(byte / 2)) set += byte % 2 } END { print set + 0 }'
}

edges() {
    sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$1" | sort -n | tail -n1 | grep . || echo 0
}

# engine TARGET LOG OPTION...: libFuzzer with the target's own options.
engine() {
    local target=$1 log=$2 options
    shift 2
    mapfile -t options < <(libfuzzer_options "$build/bin/$target")
    HEAPRIG_STATS=$log.stats "$build/bin/$target" "${options[@]}" "$@" >"$log" 2>&1
}

replay() {
    local target=$1 file
    files_of "$target" all | assemble "$work/$target.all"
    engine "$target" "$work/$target.log" -runs=0 "-artifact_prefix=$work/" "$work/$target.all" ||
        wrong "$target: its corpus ends it: $(sed -n -e 's/^finding: //p' -e 's/^SUMMARY: //p' \
            "$work/$target.log" | head -n1)"
    grep -q "^#[0-9]*.DONE.* cov: [1-9]" "$work/$target.log" || wrong "$target: its corpus reaches nothing"
    while read -r file; do # the build's corpus has what its first line says
        file=$(basename "$file" .heap)
        [ -f "$build/corpus/${corpus_of[$target]}/$file.bin" ] ||
            wrong "regress/$file: expected target $target to replay it, $build/corpus has it not: build again"
    done < <(files_of "$target" all | grep '^regress/' || true)
    echo "$target: $(find "$work/$target.all" -type f | wc -l) inputs, $(edges "$work/$target.log") edges"
}

reach() {
    local target=$1 status=0 which
    for which in seeds all; do
        files_of "$target" "$which" | assemble "$work/$target.$which"
        engine "$target" "$work/$target.$which.log" -runs=0 "-artifact_prefix=$work/" "$work/$target.$which" || status=1
    done
    mkdir -p "$work/$target.out" "$build/findings/$target"
    engine "$target" "$work/$target.run.log" "-max_total_time=${seconds:-600}" -seed=1 \
        "-artifact_prefix=$build/findings/$target/" "$work/$target.out" "$work/$target.all" || status=1
    {
        printf '%s %s' "$target" "$status"
        for which in seeds all run; do
            printf ' %s %s' "$(edges "$work/$target.$which.log")" "$(states "$work/$target.$which.log.stats")"
        done
        printf '\n'
    } >"$work/$target.reach"
}

reach_all() {
    local target running=0
    for target in "${targets[@]}"; do
        if [ "$running" -ge "$jobs" ]; then
            wait -n || true
            running=$((running - 1))
        fi
        reach "$target" &
        running=$((running + 1))
    done
    wait
    printf '%-22s %-35s %s\n' '' '------------- edges -------------' '--------- clause states ---------'
    printf '%-22s %6s %6s %6s %6s %6s     %6s %6s %6s %6s %6s\n' target run seeds % all % run seeds % all %
    cat "$work"/*.reach | awk '
        function part(some, of) { return of == 0 ? 100 : 100 * some / of }
        { edges = part($3, $7); states = part($4, $8)
          printf "%-22s %6d %6d %6.1f %6d %6.1f     %6d %6d %6.1f %6d %6.1f%s\n", $1, $7, $3, edges, $5, part($5, $7),
              $8, $4, states, $6, part($6, $8), $2 ? "  a finding: see findings/" $1 " of the build" : ""
          if (edges < 90 || states < 90 || $2) bad = 1 } END { exit bad }' || check_failed=yes
    [ "$(cat "$work"/*.reach | wc -l)" -eq ${#targets[@]} ] || wrong "a run ended without a word"
}

case $command in
merge)
    for target in "${targets[@]}"; do
        if [ ${#inputs[@]} -gt 0 ]; then
            merge "$target" all "${inputs[@]}"
        else
            merge "$target" all "$build/grown/$target"
        fi
    done
    sweep_new
    ;;
vary)
    origin=sweep
    for target in "${targets[@]}"; do
        if is_text "$target"; then
            vary_text "$target"
            merge "$target" seeds "$work/$target.varied"
            continue
        fi
        { files_of "$target" hand && files_of ops_fuzzer hand; } | sort -u | assemble "$work/$target.varied" --vary
        files_of ops_fuzzer seeds | assemble "$work/$target.legal"
        merge "$target" seeds "$work/$target.varied" "$work/$target.legal"
    done
    sweep_new
    ;;
prune)
    for target in "${targets[@]}"; do
        again "$target" --whole
    done
    ;;
minimise)
    for target in "${targets[@]}"; do
        again "$target" ''
    done
    ;;
check)
    for target in "${targets[@]}"; do
        replay "$target"
    done
    ;;
reach) reach_all ;;
esac
[ "$check_failed" = no ]
