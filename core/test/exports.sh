#!/usr/bin/env bash
# The shared library exports exactly the functions that the public headers declare, as a compiler
# sees them. Usage: exports.sh LIBRARY INCLUDE_DIR
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "exports.sh: usage: exports.sh LIBRARY INCLUDE_DIR" >&2
    exit 2
fi
library=$1 include=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for header in "$include"/ntheap/*.h; do
    printf '#include <ntheap/%s>\n' "$(basename "$header")"
done >"$work/all.c"
gcc -fsyntax-only -aux-info "$work/declared.txt" -I"$include" "$work/all.c"

# Lines read `/* dir/ntheap/heap.h:43:NC */ extern PVOID RtlCreateHeap (ULONG, ...);`
grep '/ntheap/[^:]*\.h:.* extern ' "$work/declared.txt" |
    sed -E 's/^[^(]*[ *]([A-Za-z_][A-Za-z0-9_]*) \(.*/\1/' | sort -u >"$work/declared"
# Sanitizers and coverage add names of their own, all reserved to the compiler.
nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^__' | sort -u >"$work/exported"

if ! diff -u --label "declared by the headers" --label "exported by the library" \
    "$work/declared" "$work/exported"; then
    exit 1
fi
printf '%d functions declared, %d exported\n' "$(wc -l <"$work/declared")" \
    "$(wc -l <"$work/exported")"
