#!/usr/bin/env bash
# Line and branch coverage of core by all unit tests: a table, one file a line, and a total.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/cover.sh [--help] [--missing]

Builds preset cover, runs all tests and prints line and branch coverage of each file of core, with
a total. --missing prints every line of core that no test reached as well (file:line: text). Exit
status: 0 printed, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'cover.sh: %s\n' "$2" >&2
    exit "$1"
}

missing=no
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    --missing) missing=yes ;;
    *) die 2 "unknown argument '$argument', expected --missing" ;;
    esac
done

cd "$(dirname "$0")/.."
ci/setup.sh build sanitizers programs
dir=build/cover
log=$dir/cover.log
profile=$dir/profile
mkdir -p "$dir"
{ cmake --preset cover && cmake --build --preset cover; } >"$log" 2>&1 || {
    cat "$log" >&2
    die 1 "the build failed"
}
rm -rf "$profile"
mkdir -p "$profile"
tests=0
ctest --preset cover >"$log" 2>&1 || tests=$?
if [ "$tests" -ne 0 ]; then
    sed -n '/tests failed out of/,$p' "$log" >&2
fi

find "$profile" -name '*.profraw' -size +0 >"$dir/profiles"
[ -s "$dir/profiles" ] || die 1 "no test left a profile"
llvm-profdata-14 merge -sparse -failure-mode=all -f "$dir/profiles" -o "$dir/cover.profdata"

programs=()
for program in "$dir"/bin/* "$dir"/bin/child/* "$dir"/lib/*.so; do
    if [ -f "$program" ] && [ -x "$program" ]; then
        programs+=(-object "$program")
    fi
done
sources=(core/src/*.c core/src/*.h)

# Columns 8 to 10 are lines (all, missed, cover), 11 to 13 are branches.
llvm-cov-14 report "${programs[@]:1}" -instr-profile "$dir/cover.profdata" "${sources[@]}" \
    2>/dev/null |
    awk '
    BEGIN { printf "%-24s %7s %7s %8s %9s %7s %8s\n",
            "file", "lines", "missed", "cover", "branches", "missed", "cover" }
    (/\.[ch] / || /^TOTAL/) && $8 > 0 {
        name = $1
        sub(/.*\//, "", name)
        printf "%-24s %7s %7s %8s %9s %7s %8s\n",
            name == "TOTAL" ? "total" : name, $8, $9, $10, $11, $12, $13
    }'

if [ "$missing" = yes ]; then
    echo
    llvm-cov-14 show "${programs[@]:1}" -instr-profile "$dir/cover.profdata" "${sources[@]}" \
        2>/dev/null | awk -F'|' -v root="$PWD/" '
        /^\/.*:$/ { file = $0; sub(root, "", file); sub(/:$/, "", file) }
        $2 ~ /^ *0$/ { line = $1; gsub(/ /, "", line); sub(/^[^|]*\|[^|]*\|/, "")
                       print file ":" line ":" $0 }'
fi
exit "$((tests != 0))"
