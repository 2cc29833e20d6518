#!/usr/bin/env bash
# Line, branch and MC/DC coverage of core and of faults, by tests and corpus or by the corpus alone.
set -euo pipefail

# Tests that take long and reach next to nothing of core and faults that others do not.
slow='^(core/(flips|overwrite)|faults/misuse|harness/(census|census_sh|distribution|mingw|rules|transcript)|sweep_verifier)$'

usage() {
    cat <<'TEXT'
usage: ci/cover.sh [--help] [--all] [--corpus] [--mcdc] [--missing] [--check] [--write] [--project DIR]

Builds preset cover, runs the tests of core, faults and harness and replays the corpus, and prints line
and branch coverage of each file of core and faults, with a total. Pages are left in build/cover/html,
numbers in build/cover/cover.json.

  --all      the slow tests as well, which reach next to nothing more
  --corpus   of the corpus alone, without a unit test: each target over its own folder and
             corpus/regress, verifier_fuzzer once more without modules beside it; heaprig run of
             attacks and traces; races, four threads with ops_fuzzer's programs and forks, under the
             verifier too; heaprig sweep of oom_fuzzer's and verifier_fuzzer's, one call of each path
             refused; heaprig census of one change in 20,000
  --mcdc     of conditions as well: each shown to decide by itself (clang 19; a process that is
             killed or aborts leaves nothing then, so that lines are a little fewer)
  --missing  print every line that is not reached as well (file:line: text)
  --check    exit 1 when core/COVERAGE.md does not list just the functions with lines that are not
             reached, each with a reason, or when a floor there is not kept; with --corpus of the
             floors for the corpus alone only
  --write    renew the table in core/COVERAGE.md; reasons stay, new ones are to be written
  --project DIR  other programs than core's, with a list of their own; harness/test/cover_sh.sh shows
             what is in it

The table has functions, not lines, so that other edits leave it alone. The number of lines is the most
that may be missed there, and one at least must be; with a ? behind it timing decides, and none may be.

Exit status: 0 printed, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'cover.sh: %s\n' "$2" >&2
    exit "$1"
}

missing=no check=no write=no corpus_only=no mcdc=no all=no project=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --all) all=yes ;;
    --missing) missing=yes ;;
    --check) check=yes ;;
    --write) write=yes ;;
    --corpus) corpus_only=yes ;;
    --mcdc) mcdc=yes ;;
    --project)
        [ -s "${2-}/programs" ] || die 2 "--project '${2-}': expected a folder with a file named programs"
        project=$(cd "$2" && pwd)
        shift
        ;;
    *) die 2 "unknown argument '$1', see --help" ;;
    esac
    shift
done
if [ "$corpus_only$mcdc" != nono ] && [ "$write" = yes ] || [ "$mcdc$check" = yesyes ]; then
    die 2 "the list is of lines by tests and corpus: --write goes without --corpus, and neither that nor --check with --mcdc"
fi
if [ -n "$project" ] && [ "$corpus_only$mcdc$all" != nonono ]; then
    die 2 "--project has its own programs: without --corpus, --mcdc and --all"
fi

cd "$(dirname "$0")/.."
root=$PWD page=$PWD/core/COVERAGE.md
preset=cover version=14
if [ "$mcdc" = yes ]; then
    preset=cover-mcdc version=19
fi
dir=$PWD/build/$preset
if [ -n "$project" ]; then
    root=$project page=$project/COVERAGE.md dir=$project/results
fi
if [ "$check" = yes ] && [ "$write" = no ] && [ ! -f "$page" ]; then
    die 2 "$page is not there: --write makes it"
fi
log=$dir/cover.log
profile=$dir/profile
mkdir -p "$dir"
rm -rf "$profile"
mkdir -p "$profile"
failed=0

# ---- Build and run ----------------------------------------------------------------------------------

# A project is a folder with
#   programs      commands, one a line; their programs are built with clang's coverage counters
#   sources       paths of the files looked at, one a line
#   COVERAGE.md   what need not be reached, and why
if [ -n "$project" ]; then
    programs=() sources=()
    while read -ra command; do
        programs+=(-object "${command[0]}")
        LLVM_PROFILE_FILE=$profile/%p-%m.profraw "${command[@]}" >"$log" 2>&1 || {
            cat "$log" >&2
            failed=1
        }
    done <"$project/programs"
    mapfile -t sources <"$project/sources"
else
    if [ "$mcdc" = yes ]; then
        ci/setup.sh build programs clang19
    else
        ci/setup.sh build sanitizers programs
    fi
    { cmake --preset "$preset" && cmake --build --preset "$preset"; } >"$log" 2>&1 || {
        cat "$log" >&2
        die 1 "the build failed"
    }
    continuous=%c
    if [ "$mcdc" = yes ]; then
        continuous= # not to be had together
    fi
    programs=()
    if [ "$corpus_only" = yes ]; then
        # replay PROGRAM ARGUMENT...: one way in which this corpus is run.
        replay() {
            local program=$1
            shift
            if [[ " ${programs[*]} " != *"/$program "* ]]; then
                programs+=(-object "$dir/bin/$program")
            fi
            LLVM_PROFILE_FILE=$profile/%p-%m$continuous.profraw "$dir/bin/$program" "$@" >"$log" 2>&1 || {
                cat "$log" >&2
                failed=1
            }
        }
        while read -r target folder; do
            replay "$target" "$dir/corpus/$folder"
        done <"$dir/targets.list"
        # As a service has it: no shared objects beside it, so that modules are declared.
        mkdir -p "$dir/alone"
        cp "$dir/bin/verifier_fuzzer" "$dir/alone/"
        replay ../alone/verifier_fuzzer "$dir/corpus/verifier_fuzzer"
        replay heaprig run --quiet corpus/attacks/*.heap corpus/traces/*.trace
        replay heaprig sweep --all-sites --per-path-in-all 1 corpus/oom_fuzzer
        replay heaprig sweep --per-path-in-all 1 corpus/verifier_fuzzer
        replay heaprig census --every 20000 --random 2
        replay races 4 --forks 40 corpus/ops_fuzzer corpus/regress
        for settings in leak,heaps,locks,memory pageheap=full:size=0-20000 flags=htc+hfc; do
            replay races 4 --forks 10 --verify "$settings" corpus/ops_fuzzer corpus/regress
        done
    else
        tests=(ctest --preset "$preset")
        if [ "$all" = no ]; then
            tests+=(-E "$slow")
        fi
        "${tests[@]}" >"$log" 2>&1 || {
            sed -n '/tests failed out of/,$p' "$log" >&2
            failed=1
        }
        for program in "$dir"/bin/* "$dir"/bin/child/* "$dir"/lib/*.so; do
            if [ -f "$program" ] && [ -x "$program" ]; then
                programs+=(-object "$program")
            fi
        done
    fi
    sources=("$root"/core/src/*.c "$root"/core/src/*.h "$root"/faults/*.c "$root"/faults/*.h)
fi

find "$profile" -name '*.profraw' -size +0 >"$dir/profiles"
[ -s "$dir/profiles" ] || die 1 "nothing left a profile"
"llvm-profdata-$version" merge -sparse -failure-mode=all -f "$dir/profiles" -o "$dir/cover.profdata"

# ---- Tell -----------------------------------------------------------------------------------------

# cov COMMAND [OPTION...]: llvm-cov over all programs and the sources looked at.
cov() {
    local what=$1
    shift
    "llvm-cov-$version" "$what" "${programs[@]:1}" -instr-profile "$dir/cover.profdata" "$@" \
        "${sources[@]}" 2>/dev/null
}

cov export -format=text >"$dir/export.json"
jq '{files: [.data[0].files[] | {file: .filename, summary}], totals: .data[0].totals}' \
    "$dir/export.json" >"$dir/cover.json"
cov show -format=html -output-dir="$dir/html" >/dev/null
{ # of one source alone it does not tell the name
    if [ "${#sources[@]}" -eq 1 ]; then
        echo "${sources[0]}:"
    fi
    cov show
} >"$dir/cover.txt"

jq -r --arg root "$root/" '
    def share(x): if x.count == 0 then "-" else (x.percent * 100 | floor | . / 100 | tostring) + "%" end;
    def row(name; s): [name, s.lines.count, s.lines.count - s.lines.covered, share(s.lines),
        s.branches.count, s.branches.count - s.branches.covered, share(s.branches)] +
        (if s.mcdc != null and s.mcdc.count > 0
         then [s.mcdc.count, s.mcdc.count - s.mcdc.covered, share(s.mcdc)] else [] end);
    (["file", "lines", "missed", "cover", "branches", "missed", "cover"] +
        (if (.totals.mcdc.count // 0) > 0 then ["conditions", "missed", "cover"] else [] end)),
    (.files[] | select(.summary.lines.count > 0) | row(.file | ltrimstr($root); .summary)),
    row("total"; .totals) | @tsv' "$dir/cover.json" | column -t -R 2,3,4,5,6,7,8,9,10

# file:line: text, of lines that were never reached. A macro's definition is no line of its own.
missed_lines() {
    awk -F'|' -v root="$root/" '
        /^\/.*:$/ { file = $0; sub(/:$/, "", file)
                    if (index(file, root) == 1) { file = substr(file, length(root) + 1) } }
        $2 ~ /^ *0$/ { line = $1; gsub(/ /, "", line); sub(/^[^|]*\|[^|]*\|/, "")
                       if ($0 !~ /^ *#define /) { print file ":" line ":" $0 } }' "$dir/cover.txt"
}
if [ "$missing" = yes ]; then
    echo
    missed_lines
fi

# ---- What is not reached, and why -------------------------------------------------------------------

# "file function lines" of every function with lines that were never reached, parted by tabs.
missed_functions() {
    jq -r --arg root "$root/" '.data[0].functions[] | . as $f |
        [.regions[] | select(.[5] == 0 and .[7] == 0)] | select(length > 0) |
        [($f.filenames[0] | ltrimstr($root)), (map(.[0]) | min), (map(.[2]) | max),
         ($f.name | sub("^.*[:;]"; ""))] | @tsv' "$dir/export.json" |
        LC_ALL=C sort -u >"$dir/functions"
    missed_lines | awk -F: -v functions="$dir/functions" '
        BEGIN { while ((getline row < functions) > 0) {
                    split(row, cell, "\t"); count++
                    file[count] = cell[1]; first[count] = cell[2]; last[count] = cell[3]; name[count] = cell[4] } }
        !seen[$1 ":" $2]++ {
            for (idx = 1; idx <= count; idx++) {
                if (file[idx] == $1 && first[idx] <= $2 && $2 <= last[idx]) { lines[$1 "\t" name[idx]]++; break }
            }
            if (idx > count) { lines[$1 "\t(no function)"]++ }
        }
        END { for (key in lines) print key "\t" lines[key] }' | LC_ALL=C sort
}

# "file function lines" of the page, and the reason as the last column.
listed_functions() {
    # shellcheck disable=SC2016 # the quotes are the page's
    sed -n 's/^| `\([^`]*\)` | `\([^`]*\)` | \([0-9]*?\{0,1\}\) | \(.*\) |$/\1\t\2\t\3\t\4/p' "$page" | LC_ALL=C sort
}

# A line for each way in which the page and what was measured disagree.
disagreements() {
    listed_functions | awk -F'\t' -v missed="$dir/missed" '
        BEGIN { while ((getline row < missed) > 0) {
                    split(row, cell, "\t"); lines[cell[1] " " cell[2]] = cell[3] } }
        { key = $1 " " $2; most = $3; sub(/\?/, "", most)
          if (listed[key]++) { print key ": listed twice" }
          if (!(key in lines)) {
              if ($3 !~ /\?/) { print key ": is listed, but all of it is reached: remove the row" }
          } else if (lines[key] > most + 0) {
              print key ": " lines[key] " lines are not reached, listed are " most
          }
          if ($4 == "" || $4 ~ /^ *\(no reason yet\)/) { print key ": has no reason" } }
        END { for (key in lines) if (!(key in listed)) {
                  print key ": " lines[key] " lines are not reached, and it is not listed" } }' | LC_ALL=C sort
    # A row that cannot be read is one that is not there.
    if [ "$(sed -n '/^| `/p' "$page" | wc -l)" -ne "$(listed_functions | wc -l)" ]; then
        echo "a row of the table is not \`file\` | \`function\` | lines | reason"
    fi
    floors_missed 'Floor'
}

# floors_missed WORDS: a line for each floor of the page under these words that is not kept.
floors_missed() {
    sed -n "s/^$1: \([a-z]*\) \([0-9.]*\) %.*/\1 \2/p" "$page" >"$dir/floors"
    while read -r what floor; do
        jq -r --arg what "$what" --argjson floor "$floor" '.totals[$what].percent // 0 |
            select(. < $floor) | "\($what): \(. * 100 | floor | . / 100) %, under the floor of \($floor) %"' \
            "$dir/cover.json"
    done <"$dir/floors"
    if [ ! -s "$dir/floors" ]; then
        echo "the page has no floor, as '$1: lines 99 %'"
    fi
}

if [ "$write" = yes ]; then
    missed_functions >"$dir/missed"
    if [ ! -f "$page" ]; then
        printf '# What is not reached\n\nFloor: lines 0 %%\n\n' >"$page"
    fi
    listed_functions >"$dir/listed"
    {
        sed '/^| file | function /,$d' "$page"
        echo '| file | function | lines | why |'
        echo '|---|---|---|---|'
        awk -F'\t' -v listed="$dir/listed" '
            BEGIN { while ((getline row < listed) > 0) {
                        split(row, cell, "\t"); key = cell[1] "\t" cell[2]
                        reason[key] = cell[4]; if (cell[3] ~ /\?/) { most[key] = cell[3] } } }
            { key = $1 "\t" $2; lines = $3
              if (key in most) { lines = (most[key] + 0 > lines ? most[key] + 0 : lines) "?"; delete most[key] }
              print $1 "\t" $2 "\t" lines "\t" (reason[key] != "" ? reason[key] : "(no reason yet)") }
            END { for (key in most) print key "\t" most[key] "\t" reason[key] }' "$dir/missed" | LC_ALL=C sort |
            awk -F'\t' '{ print "| `" $1 "` | `" $2 "` | " $3 " | " $4 " |" }'
    } >"$dir/page"
    cp "$dir/page" "$page"
fi
if [ "$check" = yes ]; then
    if [ "$corpus_only" = yes ]; then
        floors_missed 'Floor, the corpus alone' >"$dir/disagreements"
    else
        missed_functions >"$dir/missed"
        disagreements >"$dir/disagreements"
    fi
    if [ -s "$dir/disagreements" ]; then
        echo "${page#"$PWD"/} and what is reached disagree (ci/cover.sh --write renews its table):" >&2
        cat "$dir/disagreements" >&2
        failed=1
    fi
fi
exit "$failed"
