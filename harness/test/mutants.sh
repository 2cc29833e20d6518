#!/usr/bin/env bash
# ci/mutants.sh on a small file with known mutants: the list, what becomes of each, a second run.
# usage: mutants.sh BIN SOURCE
set -euo pipefail

source=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'mutants.sh: %s\n' "$1" >&2
    exit 1
}

# ---- A project: one library of one file, and a program that looks at it ----------------------------

project=$dir/project
mkdir -p "$dir/src" "$project/libsmall.so.0"
cat >"$dir/src/small.h" <<'TEXT'
int small_twice(int value);
int small_spent(void);
int small_sign(int value);
int small_least(int left, int right);
int small_room(void);
int small_never(void);
int small_mixed(int one, unsigned other);
static inline int nth_mix(int value) { return value % 1009; }
static inline void nth_poison(int place, int bytes) { (void)place, (void)bytes; }
TEXT
cat >"$dir/src/small.c" <<'TEXT'
#include "small.h"

#include <stdbool.h>

#define NTH_ASSERT(holds) (void)((holds) || small_spent() + 7 > 0)
#define LIKELY(holds) __builtin_expect(!!(holds), 1)
#define TWICE(value) ((value) * 2)
#define NOTE() do { noted = 1; noted |= !noted; } while (0)

static volatile int noted;

int small_twice(int value)
{
    NTH_ASSERT(value > -100);
    if (LIKELY(value < 0)) {
        return 0;
    }
    NOTE();
    return TWICE(value + 1);
}

int small_spent(void)
{
    volatile int left = 3;
    int unseen = 0;
    while (left > 1) {
        left--;
    }
    unseen |= 4;
    return left;
}

int small_sign(int value)
{
    const bool below = value < 0 &&
                       value != -7;
    if (!below) {
        return 1;
    } else {
        return -1;
    }
}

int small_least(int left, int right)
{
    return left < right ? (int)left : right;
}

int small_room(void)
{
    volatile char room[2] = {7};
    return room[0];
}

int small_never(void)
{
    return 8;
}

int small_mixed(int one, unsigned other)
{
    unsigned long list[2] = {other};
    nth_poison(noted, one - 1);
    return nth_mix(one + 9 * (int)list[0]);
}
TEXT
cat >"$dir/looks.c" <<'TEXT'
#include "small.h"
int main(void)
{
    return small_twice(-5) == 0 && small_twice(3) == 8 && small_spent() == 1 && small_sign(-7) == 1 &&
                   small_sign(-8) == -1 && small_sign(1) == 1 && small_least(4, 9) == 4 && small_room() == 7
               ? 0
               : 1;
}
TEXT
echo "clang-14 -std=c17 -O1 -fPIC -I$dir/src" >"$project/libsmall.so.0/compile"
clang-14 -O1 -fPIC -c "$dir/src/small.c" -o "$project/libsmall.so.0/small.o"
clang-14 -shared -Wl,-soname,libsmall.so.0 "$project/libsmall.so.0/small.o" -o "$dir/libsmall.so.0"
clang-14 -I"$dir/src" "$dir/looks.c" "$dir/libsmall.so.0" -o "$dir/looks"
echo "$dir/src/small.c" >"$project/sources"
printf 'looks\tlibsmall.so.0\t%s\n' "$dir/looks" >"$project/killers"
printf 'small\tsmall_spent\tvolatile int left = 3;\t3\t%s\t1\t%s\n' 2 'it starts lower, and ends the same' \
    4 'it starts higher, and ends the same' >"$project/named"

mutants() {
    "$source/ci/planted.sh" --mutants --project "$project" "$@"
}

# ---- The list: kind, function and line, what was there, what stands there now ----------------------

# Nothing of a macro's body, nothing within an assertion; the last return of a function stays; of two
# that are equal either is the smaller; an array has no more room; nothing said to sanitizers, and
# what is mixed is only mixed.
mutants --list | sed -E 's/^small\.[0-9]+ +//; s/ +/ /g; s/ $//' | LC_ALL=C sort >"$dir/list"
LC_ALL=C sort >"$dir/expected" <<'TEXT'
negated small_twice:15 LIKELY(value < 0) -> !(LIKELY(value < 0))
relational small_twice:15 < -> <=
constant small_twice:15 0 -> 1
constant small_twice:16 0 -> 1
dropped small_twice:16 return 0 -> (void)0
arithmetic small_twice:19 + -> -
constant small_twice:19 1 -> 0
constant small_twice:19 1 -> 2
constant small_spent:24 3 -> 2
constant small_spent:24 3 -> 4
constant small_spent:25 0 -> 1
negated small_spent:26 left > 1 -> !(left > 1)
relational small_spent:26 > -> >=
constant small_spent:26 1 -> 0
constant small_spent:26 1 -> 2
dropped small_spent:27 left-- -> (void)0
unary small_spent:27 -- -> ++
dropped small_spent:29 unseen |= 4 -> (void)0
assignment small_spent:29 |= -> &=
constant small_spent:29 4 -> 3
constant small_spent:29 4 -> 5
relational small_sign:35 < -> <=
constant small_sign:35 0 -> 1
logical small_sign:35 && -> ||
relational small_sign:36 != -> ==
unary small_sign:36 - ->
constant small_sign:36 7 -> 6
constant small_sign:36 7 -> 8
unary small_sign:37 ! ->
dropped small_sign:38 return 1 -> (void)0
constant small_sign:38 1 -> 0
constant small_sign:38 1 -> 2
dropped small_sign:40 return -1 -> (void)0
unary small_sign:40 - ->
constant small_sign:40 1 -> 0
constant small_sign:40 1 -> 2
negated small_least:46 left < right -> !(left < right)
constant small_room:51 2 -> 1
constant small_room:51 7 -> 6
constant small_room:51 7 -> 8
constant small_room:52 0 -> 1
constant small_never:57 8 -> 7
constant small_never:57 8 -> 9
constant small_mixed:62 2 -> 1
constant small_mixed:64 0 -> 1
constant small_mixed:64 9 -> 10
constant small_mixed:64 9 -> 8
TEXT
diff "$dir/expected" "$dir/list" >&2 || fail '--list is not as expected'
count=$(wc -l <"$dir/expected")

# ---- What becomes of them --------------------------------------------------------------------------

# Nobody asks for the doubled value of nothing; what is written to `unseen` leaves no trace in the
# code; without one of its returns a function does not compile; a loop that does not end is seen.
status=0
mutants --jobs 1 >"$dir/out" || status=$?
[ "$status" -eq 1 ] || fail "survivors and a score below the floor: exit status $status, expected 1"
kept=("$project"/results/kept/small.*)
[ ${#kept[@]} -eq 1 ] || fail "${#kept[@]} files of results, expected one"
IFS=$'\t' read -r survived same broken < <(awk -F'\t' '{ n[$2]++ }
    END { printf "%d\t%d\t%d\n", n["survived"], n["same"], n["broken"] }' "${kept[0]}")

# What became of a mutant, by its line in the list.
fate() {
    local id
    id=$(mutants --list | grep -E "$1" | cut -d' ' -f1)
    [ "$(wc -l <<<"$id")" -eq 1 ] || fail "'$1' names several mutants"
    mutants --show "$id" | grep "^$id: " | tail -n 1 | sed 's/^[^:]*: //'
}
expect() {
    local found
    found=$(fate "$1")
    [ "$found" = "$2" ] || fail "'$1': $found, expected: $2"
}
expect 'relational +small_twice:15' survived
expect 'relational +small_sign:35' survived
expect 'constant +small_never:57 +8 -> 7' 'survived: no killer was seen to run its lines'
expect 'constant +small_spent:29 +4 -> 5' same
expect 'dropped +small_spent:29' same
expect 'dropped +small_sign:40' broken
expect 'arithmetic +small_twice:19' 'killed by looks: status 1'
expect 'dropped +small_spent:27' 'killed by looks: does not end'
expect 'relational +small_sign:36' 'killed by looks: status 1'
expect 'constant +small_spent:24 +3 -> 4' 'it starts higher, and ends the same'
[ "$same" -eq 6 ] || fail "$same with the code of the original, expected 6"
[ "$broken" -ge 1 ] || fail "$broken do not compile, expected one or more"
grep -q "^small  *$count " "$dir/out" || fail "the table does not tell of $count mutants"
grep -q '^+    if (LIKELY(value <= 0)) {$' "$dir/out" || fail 'a survivor is told without its difference'

# ---- Again: nothing is done anew; another text is -----------------------------------------------------

mutants --floor 0 >"$dir/again" || fail 'with a floor of 0: an exit status that is not 0'
grep -q "$((count - 2)) known before, 0 tried now" "$dir/again" || fail 'a second run tries mutants anew'
mutants --floor 0 --json | jq -se --argjson count "$count" --argjson survived "$survived" '
    .[0].file == "small" and .[0].mutants == $count and .[0].survived == $survived and
    ([.[] | select(.survivor)] | length) == $survived' >/dev/null || fail '--json tells something else'
sed -i 's/small_twice(3) == 8/small_twice(3) == 8 \&\& small_twice(0) == 2/' "$dir/looks.c"
clang-14 -I"$dir/src" "$dir/looks.c" "$dir/libsmall.so.0" -o "$dir/looks"
mutants --floor 0 >"$dir/again"
grep -q " $((same + broken)) known before" "$dir/again" || fail 'another killer, and yet old results count'
expect 'relational +small_twice:15' 'killed by looks: status 1'

# One more that looks at nothing but the sign: what is killed stays so, and survivors meet it, but for
# those that it does not run.
cat >"$dir/sees.c" <<'TEXT'
#include "small.h"
#include <stdio.h>
int main(int count, char **words)
{
    fclose(fopen(words[count - 1], "a"));
    return small_sign(0) == 1 ? 0 : 1;
}
TEXT
clang-14 -I"$dir/src" "$dir/sees.c" "$dir/libsmall.so.0" -o "$dir/sees"
printf 'sees\tlibsmall.so.0\t%s %s\n' "$dir/sees" "$dir/seen" >>"$project/killers"
mutants --floor 0 >"$dir/again"
left=$(awk '$1 == "all" { print $4; exit }' <(mutants --floor 0))
[ "$left" -lt "$survived" ] || fail "$left survive, as many as before"
tried=$(sed -n 's/.* \([0-9]*\) tried now.*/\1/p' "$dir/again")
[ "$tried" -gt 0 ] && [ "$tried" -lt "$survived" ] || fail "$tried tried when a killer was added, and $survived survived"
expect 'relational +small_sign:35' 'killed by sees: status 1'
sed -i '$d' "$project/killers"

# One alone: the others are neither tried nor told of.
rm -rf "$project/results/kept"
id=$(mutants --list | grep -E 'relational +small_twice:15' | cut -d' ' -f1)
mutants --try "$id" >"$dir/again" || fail 'one that is killed: an exit status that is not 0'
grep -q '^1 mutants, 0 known before, 1 tried now' "$dir/again" || fail '--try tries another number of mutants'
[ "$(wc -l < <(cat "$project"/results/kept/small.*))" -eq 1 ] || fail '--try has other results'

# ---- Ended early, and a killer that is no judge -----------------------------------------------------

rm -rf "$project/results/kept"
status=0
"$source/ci/mutants.sh" --project "$project" --jobs 1 --floor 0 >"$dir/early" &
pid=$!
until [ -n "$(cat "$project"/results/kept/small.* 2>/dev/null)" ]; do
    sleep 0.05
    kill -0 "$pid" || fail 'it ended by itself before there was a result'
done
kill -TERM "$pid"
wait "$pid" || status=$?
[ "$status" -eq 0 ] || fail "ended early: exit status $status, expected 0"
grep -q '^all ' "$dir/early" || fail 'ended early: no table'
mutants --floor 0 >"$dir/again"
if grep -q ' 0 known before' "$dir/again" || grep -q ', 0 tried now' "$dir/again"; then
    fail 'a run that was ended early does not go on'
fi
grep -Eq "^all +$count .* 2 +0 +[0-9.]+\$" "$dir/again" || fail 'some were not tried in the end'

# Ended while it measures its killers, it leaves none of them behind.
# shellcheck disable=SC2016 # the killer's own
printf '#!/bin/sh\necho $$ >%s\nexec sleep 600\n' "$dir/slow.pid" >"$dir/slow"
chmod +x "$dir/slow"
printf 'slow\tlibsmall.so.0\t%s\n' "$dir/slow" >>"$project/killers"
"$source/ci/mutants.sh" --project "$project" --jobs 1 >"$dir/early" 2>&1 &
pid=$!
until [ -s "$dir/slow.pid" ]; do
    sleep 0.05
    kill -0 "$pid" || fail 'it ended by itself before it ran the slow killer'
done
slow=$(<"$dir/slow.pid")
kill -0 "$slow" || fail 'the slow killer is not there to be left behind'
kill -TERM "$pid"
wait "$pid" && fail 'ended while it measures: exit status 0'
for _ in {1..200}; do
    kill -0 "$slow" 2>/dev/null || break
    sleep 0.05
done
if kill -0 "$slow" 2>/dev/null; then
    kill -KILL "$slow"
    fail 'ended while it measures: a killer was left behind'
fi
sed -i '$d' "$project/killers"

cp "$project/named" "$dir/named"
printf 'small\tsmall_spent\tvolatile int left = 3;\t3\t5\t1\tno such mutant\n' >>"$project/named"
status=0
mutants >"$dir/out" 2>"$dir/err" || status=$?
if [ "$status" -ne 2 ] || ! grep -q 'no mutant has this name' "$dir/err"; then
    fail "a name of no mutant: exit status $status, $(cat "$dir/err")"
fi
mv "$dir/named" "$project/named"

printf 'looks\tlibsmall.so.0\tfalse\n' >"$project/killers"
status=0
mutants >"$dir/out" 2>"$dir/err" || status=$?
if [ "$status" -ne 1 ] || ! grep -q 'core itself does not get through looks' "$dir/err"; then
    fail "a killer that always fails: exit status $status, $(cat "$dir/err")"
fi

for wrong in '--file nothing' '--file' '--show 1' '--try 1' '--try small.999' '--seed' '--sample x' '--jobs 0' '--wrong' '--project /'; do
    status=0
    # shellcheck disable=SC2086 # two words
    mutants $wrong >/dev/null 2>"$dir/err" || status=$?
    [ "$status" -eq 2 ] || fail "$wrong: exit status $status, expected 2"
    [ "$(wc -l <"$dir/err")" -eq 1 ] || fail "$wrong: not one line: $(cat "$dir/err")"
done
