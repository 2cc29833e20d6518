#!/usr/bin/env bash
# Every program of corpus/attacks comes out as its lines "#> NUMBER CALL REASON" say: those calls, and no
# others, make a report; "#> nobody" where none does. The contract holds in all of them.
# usage: attacks.sh BIN SOURCE
set -euo pipefail

heaprig=$1/heaprig
count=0
bad=0
for file in "$2"/corpus/attacks/*.heap; do
    wanted=$(sed -n 's/^#> //p' "$file")
    if ! log=$("$heaprig" run "$file" 2>&1); then
        printf 'attacks: %s: does not hold:\n%s\n' "$file" "$log" >&2
        bad=1
        continue
    fi
    if grep -q -e ': nothing to do it with' -e 'skipped: ' <<<"$log"; then
        printf 'attacks: %s: something could not be done:\n%s\n' "$file" "$log" >&2
        bad=1
    fi
    came=$(sed -n -e '/(check)/d' -e '/(end)/d' \
        -e 's/^\([0-9]*\) \([A-Za-z]*\) .*reported=[0-9]*:\([A-Z_]*\).*/\1 \2 \3/p' <<<"$log")
    if [ "${came:-nobody}" != "$wanted" ]; then
        printf 'attacks: %s: expected\n%s\nand came\n%s\n' "$file" "$wanted" "${came:-nobody}" >&2
        bad=1
    fi
    count=$((count + 1))
done
[ "$count" -ge 20 ] || { echo "attacks: $count programs, expected 20 at least" >&2; exit 1; }
echo "$count attacks"
exit "$bad"
