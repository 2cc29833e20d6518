#!/usr/bin/env bash
# Line, branch and MC/DC coverage of core and of faults, by tests and corpus or by the corpus alone.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/cover.sh [--help] [--corpus] [--mcdc] [--missing] [--check] [--write]

Builds preset cover, runs all tests and replays the corpus, and prints line and branch coverage of
each file of core and faults, with a total. Pages are left in build/cover/html, numbers in
build/cover/cover.json.

  --corpus   of the corpus alone: each target over its own folder
  --mcdc     of conditions as well: each shown to decide by itself (clang 19; a process that is
             killed or aborts leaves nothing then, so that lines are a little fewer)
  --missing  print every line that is not reached as well (file:line: text)
  --check    exit 1 when core/COVERAGE.md does not list just the functions with lines that are not
             reached, or when a floor there is not kept
  --write    renew the numbers in core/COVERAGE.md; reasons stay, new ones are to be written

Exit status: 0 printed, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'cover.sh: %s\n' "$2" >&2
    exit "$1"
}

missing=no check=no write=no corpus_only=no mcdc=no
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    --missing) missing=yes ;;
    --check) check=yes ;;
    --write) write=yes ;;
    --corpus) corpus_only=yes ;;
    --mcdc) mcdc=yes ;;
    *) die 2 "unknown argument '$argument', see --help" ;;
    esac
done
if [ "$corpus_only$mcdc" != nono ] && [ "$check$write" != nono ]; then
    die 2 "--check and --write are about lines by tests and corpus: without --corpus and --mcdc"
fi

cd "$(dirname "$0")/.."
page=core/COVERAGE.md
if [ "$check" = yes ] && [ ! -f "$page" ]; then
    die 2 "$page is not there: --write makes it"
fi
preset=cover version=14
if [ "$mcdc" = yes ]; then
    preset=cover-mcdc version=19
    ci/setup.sh build programs clang19
else
    ci/setup.sh build sanitizers programs
fi
dir=build/$preset
log=$dir/cover.log
profile=$dir/profile
mkdir -p "$dir"
{ cmake --preset "$preset" && cmake --build --preset "$preset"; } >"$log" 2>&1 || {
    cat "$log" >&2
    die 1 "the build failed"
}

# ---- Run ------------------------------------------------------------------------------------------

rm -rf "$profile"
mkdir -p "$profile"
failed=0
continuous=%c
if [ "$mcdc" = yes ]; then
    continuous= # not to be had together
fi
if [ "$corpus_only" = yes ]; then
    while read -r target folder; do
        LLVM_PROFILE_FILE=$PWD/$profile/%p-%m$continuous.profraw "$dir/bin/$target" \
            "$dir/corpus/$folder" >"$log" 2>&1 || {
            cat "$log" >&2
            failed=1
        }
    done <"$dir/targets.list"
else
    ctest --preset "$preset" >"$log" 2>&1 || {
        sed -n '/tests failed out of/,$p' "$log" >&2
        failed=1
    }
fi

find "$profile" -name '*.profraw' -size +0 >"$dir/profiles"
[ -s "$dir/profiles" ] || die 1 "nothing left a profile"
"llvm-profdata-$version" merge -sparse -failure-mode=all -f "$dir/profiles" -o "$dir/cover.profdata"

# ---- Tell -----------------------------------------------------------------------------------------

programs=()
while read -r target _; do
    [ "$corpus_only" = yes ] && programs+=(-object "$dir/bin/$target")
done <"$dir/targets.list"
if [ "$corpus_only" = no ]; then
    for program in "$dir"/bin/* "$dir"/bin/child/* "$dir"/lib/*.so; do
        if [ -f "$program" ] && [ -x "$program" ]; then
            programs+=(-object "$program")
        fi
    done
fi
sources=(core/src/*.c core/src/*.h faults/*.c faults/*.h)

# cov COMMAND [OPTION...]: llvm-cov over all programs and the sources looked at.
cov() {
    local command=$1
    shift
    "llvm-cov-$version" "$command" "${programs[@]:1}" -instr-profile "$dir/cover.profdata" "$@" \
        "${sources[@]}" 2>/dev/null
}

cov export -format=text >"$dir/export.json"
jq '{files: [.data[0].files[] | {file: .filename, summary}], totals: .data[0].totals}' \
    "$dir/export.json" >"$dir/cover.json"
cov show -format=html -output-dir="$dir/html" >/dev/null

jq -r --arg root "$PWD/" '
    def share(x): if x.count == 0 then "-" else (x.percent * 100 | floor | . / 100 | tostring) + "%" end;
    def row(name; s): [name, s.lines.count, s.lines.count - s.lines.covered, share(s.lines),
        s.branches.count, s.branches.count - s.branches.covered, share(s.branches)] +
        (if s.mcdc != null and s.mcdc.count > 0
         then [s.mcdc.count, s.mcdc.count - s.mcdc.covered, share(s.mcdc)] else [] end);
    (["file", "lines", "missed", "cover", "branches", "missed", "cover"] +
        (if (.totals.mcdc.count // 0) > 0 then ["conditions", "missed", "cover"] else [] end)),
    (.files[] | select(.summary.lines.count > 0) | row(.file | ltrimstr($root); .summary)),
    row("total"; .totals) | @tsv' "$dir/cover.json" | column -t -R 2,3,4,5,6,7,8,9,10

# file:line: text, of lines that were never reached.
missed_lines() {
    cov show | awk -F'|' -v root="$PWD/" '
        /^\/.*:$/ { file = $0; sub(root, "", file); sub(/:$/, "", file) }
        $2 ~ /^ *0$/ { line = $1; gsub(/ /, "", line); sub(/^[^|]*\|[^|]*\|/, "")
                       print file ":" line ":" $0 }'
}
if [ "$missing" = yes ]; then
    echo
    missed_lines
fi

# ---- What is not reached, and why -------------------------------------------------------------------

# "file function lines" of every function with lines that were never reached.
missed_functions() {
    jq -r --arg root "$PWD/" '.data[0].functions[] | . as $f |
        [.regions[] | select(.[5] == 0 and .[7] == 0)] | select(length > 0) |
        [($f.filenames[0] | ltrimstr($root)), (map(.[0]) | min), (map(.[2]) | max),
         ($f.name | sub("^.*[:;]"; ""))] | @tsv' "$dir/export.json" |
        grep -E '^(core/src|faults)/[a-z_]*\.[ch]	' | LC_ALL=C sort -u >"$dir/functions"
    missed_lines | awk -F: -v functions="$dir/functions" '
        BEGIN { while ((getline row < functions) > 0) {
                    split(row, cell, "\t"); count++
                    file[count] = cell[1]; first[count] = cell[2]; last[count] = cell[3]; name[count] = cell[4] } }
        !seen[$1 ":" $2]++ {
            for (idx = 1; idx <= count; idx++) {
                if (file[idx] == $1 && first[idx] <= $2 && $2 <= last[idx]) { lines[$1 "\t" name[idx]]++; break }
            }
            if (idx > count) { lines[$1 "\t?"]++ }
        }
        END { for (key in lines) print key "\t" lines[key] }' | LC_ALL=C sort
}

# "file function lines" as the page has it.
listed_functions() {
    sed -n 's/^| `\([^`]*\)` | `\([^`]*\)` | \([0-9]*\) |.*/\1\t\2\t\3/p' "$page" | LC_ALL=C sort
}

# The floors of the page: "lines 99.0".
floors() {
    sed -n 's/^Floor: \([a-z]*\) \([0-9.]*\) %.*/\1 \2/p' "$page"
}

if [ "$write" = yes ]; then
    missed_functions >"$dir/missed"
    awk -F'\t' -v old="$page" '
        BEGIN { while ((getline row < old) > 0) {
                    if (split(row, cell, " \\| ") >= 4 && row ~ /^\| `/) {
                        key = cell[1] " | " cell[2]; sub(/ \|$/, "", cell[4]); reason[key] = cell[4] }
                    else if (row !~ /^\| (file|---)/ && row !~ /^\|/) { print row }
                } }
        BEGIN { print "| file | function | lines | why |"; print "|---|---|---|---|" }
        { key = "| `" $1 "` | `" $2 "`"
          print key " | " $3 " | " (key in reason ? reason[key] : "(no reason yet)") " |" }' \
        "$dir/missed" >"$dir/page"
    cp "$dir/page" "$page"
fi
if [ "$check" = yes ]; then
    missed_functions >"$dir/missed"
    if ! diff <(listed_functions) "$dir/missed" >"$dir/page.diff"; then
        echo "$page does not list what is not reached (< listed, > is so); ci/cover.sh --write renews it:" >&2
        cat "$dir/page.diff" >&2
        failed=1
    fi
    if grep -n '(no reason yet)' "$page" >&2; then
        failed=1
    fi
    while read -r what floor; do
        jq -e --arg what "$what" --argjson floor "$floor" '.totals[$what].percent >= $floor' \
            "$dir/cover.json" >/dev/null || {
            echo "$what: under the floor of $floor % in $page" >&2
            failed=1
        }
    done < <(floors)
fi
exit "$failed"
