#!/usr/bin/env bash
# Every corpus file has a line in corpus/MANIFEST.tsv, every line a file; 2 MiB in all at most; the
# names of targets and origins are known. usage: manifest.sh BIN SOURCE
set -euo pipefail

cd "$2/corpus"
fail() {
    echo "manifest: $1" >&2
    exit 1
}

[ "$(head -n1 MANIFEST.tsv)" = $'file\ttarget\torigin\treason' ] || fail 'MANIFEST.tsv:1: not the columns'
listed=$(tail -n +2 MANIFEST.tsv | cut -f1 | LC_ALL=C sort)
there=$(find . -type f ! -name README.md ! -name MANIFEST.tsv ! -path '*/found/*' | cut -c3- | LC_ALL=C sort)
difference=$(diff <(echo "$listed") <(echo "$there") || true)
[ -z "$difference" ] || fail "MANIFEST.tsv and the folder differ (< listed only, > there only):
$difference"
[ "$(echo "$listed" | uniq -d)" = '' ] || fail "listed twice: $(echo "$listed" | uniq -d)"
targets=$(sed -n 's/^ *rig_add_target(\([A-Za-z0-9_-]*\).*/\1/p' ../harness/targets/CMakeLists.txt | paste -sd'|')
[ -n "$targets" ] || fail 'harness/targets/CMakeLists.txt: no line rig_add_target(<name>)'
awk -F'\t' -v targets="^($targets|-)$" 'NR > 1 && (NF != 4 || $4 == "" || $3 !~ /^(hand|recorded|found|sweep)$/ ||
    $2 !~ targets) { print "manifest: MANIFEST.tsv:" NR ": " $0; bad = 1 }
    END { exit bad }' MANIFEST.tsv >&2
[ "$(cat $(find . -type f) | wc -c)" -le $((2 << 20)) ] || fail 'more than 2 MiB'
echo "$(echo "$listed" | wc -l) files"
