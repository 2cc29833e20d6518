#!/usr/bin/env bash
# ci/corpus.sh: its checks fail for what they name, bad usage is told in one line, and, on a small corpus
# with a build of its own, merge, prune and minimise do what they say and leave it whole when ended early.
# usage: corpus_sh.sh BIN SOURCE
set -euo pipefail

bin=$(cd "$1" && pwd) source=$(cd "$2" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'corpus_sh.sh: %s\n' "$1" >&2
    [ ! -s "$dir/out" ] || head -n 20 "$dir/out" >&2
    exit 1
}

# expect STATUS PATTERN ARGUMENT...: with 2, one line and no more.
expect() {
    local expected=$1 pattern=$2 status=0
    shift 2
    "$source/ci/corpus.sh" "$@" >"$dir/out" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || fail "ci/corpus.sh $*: exit status $status, expected $expected"
    grep -q -e "$pattern" "$dir/out" || fail "ci/corpus.sh $*: expected a line like '$pattern'"
    [ "$expected" -ne 2 ] || [ "$(wc -l <"$dir/out")" -eq 1 ] || fail "ci/corpus.sh $*: more than a line"
}

# ---- Usage ----------------------------------------------------------------------------------------

expect 0 '^usage: ' --help
expect 2 'expected a command'
expect 2 "unknown command 'eat'" eat
expect 2 "unknown option '--eat'" check --eat
expect 2 "--seconds '0': expected a whole number" grow --seconds 0
expect 2 "--build '/nowhere': expected a build" merge --build /nowhere
expect 2 "--corpus '/nowhere': expected a corpus" check --corpus /nowhere
expect 2 "--inputs '/nowhere': expected a folder" merge --inputs /nowhere ops_fuzzer
expect 2 '--inputs: expected with merge only' prune --inputs "$dir" ops_fuzzer
expect 2 '--inputs: expected one TARGET' merge --inputs "$dir"
expect 2 '--corpus: not with grow' grow --corpus "$source/corpus"

# ---- Checks of files, each with what must fail it ---------------------------------------------------

expect 0 '^[0-9]* files, [0-9]* bytes$' check --files

# fails PATTERN COMMAND: the check of a copy in which the command was run fails and says so.
fails() {
    rm -rf "$dir/copy"
    cp -r "$source/corpus" "$dir/copy"
    (cd "$dir/copy" && eval "$2")
    expect 1 "$1" check --files --corpus "$dir/copy"
}
one=regress/001-just-under-half-of-all-sizes-is-shortage.heap
fails 'MANIFEST.tsv:1: expected the columns' "sed -i 1s/origin/source/ MANIFEST.tsv"
fails "$one: listed in MANIFEST.tsv, expected the file" "rm $one"
fails 'census/new.heap: expected a line' 'echo check >census/new.heap'
fails 'listed twice' "grep $one MANIFEST.tsv >more && cat more >>MANIFEST.tsv"
fails 'MANIFEST.tsv:[0-9]*: expected file, target, origin' "sed -i 's/\thand\t/\tguess\t/' MANIFEST.tsv"
fails 'MANIFEST.tsv:[0-9]*: expected file, target, origin' "sed -i 's/\tops_fuzzer\t/\tnot_fuzzer\t/' MANIFEST.tsv"
fails "$one:1: expected '# target: NAME'" "sed -i 1d $one"
fails "$one:1: expected '# target: NAME'" "sed -i '1s/ops_fuzzer/no_fuzzer/' $one"
fails "$one:1: MANIFEST.tsv says target ops_fuzzer" "sed -i '1s/ops_fuzzer/oom_fuzzer/' $one"
fails 'expected one of them only, they say the same' "{ echo '# again'; cat $one; } >regress/999-again.heap
    printf 'regress/999-again.heap\tops_fuzzer\thand\tagain\n' >>MANIFEST.tsv"
fails 'expected a program as text' "echo x >ops_fuzzer/x.bin
    printf 'ops_fuzzer/x.bin\tops_fuzzer\thand\tx\n' >>MANIFEST.tsv"
fails 'expected the origin found' "mkdir -p oom_fuzzer/found && echo check >oom_fuzzer/found/x.heap
    printf 'oom_fuzzer/found/x.heap\toom_fuzzer\thand\tx\n' >>MANIFEST.tsv"
fails 'expected the origin sweep' "mkdir -p oom_fuzzer/sweep && echo check >oom_fuzzer/sweep/x.heap
    printf 'oom_fuzzer/sweep/x.heap\toom_fuzzer\tfound\tx\n' >>MANIFEST.tsv"
fails 'bytes in all, expected at most 2097152' "{ yes '# much' || true; } | head -c 2097152 >>$one"

# ---- Merging ----------------------------------------------------------------------------------------

if [ ! -e "$bin/../harness/targets/CMakeFiles/heaprig_driver.dir/driver.c.o" ]; then
    echo "the rest is left out: it takes a build whose targets have no engine"
    exit 0
fi
build=$dir/build
"$source/harness/test/child/counted" "$bin" "$source" libfuzzer '' "$build" >"$dir/out" 2>&1 ||
    fail 'no build with counters'

# A corpus of one seed and one regression, and a folder of inputs of which one is new, one says nothing
# new, and one is no program.
small=$dir/small
mkdir -p "$small/ops_fuzzer" "$small/regress" "$dir/inputs"
printf 'HeapAlloc s1 h0 40\nHeapFree s1\n' >"$small/ops_fuzzer/first.heap"
cp "$source/corpus/$one" "$small/regress/"
{
    printf 'file\ttarget\torigin\treason\nops_fuzzer/first.heap\tops_fuzzer\thand\tone block\n'
    grep "^$one" "$source/corpus/MANIFEST.tsv"
} >"$small/MANIFEST.tsv"
{
    printf 'HeapAlloc s1 h0 40\n'
    for ((idx = 1; idx < 40; idx++)); do
        printf 'read s1\n'
    done
    printf 'RtlCreateHeap h3 fixed pages:200 reserve=12\nHeapAlloc s60 h3 40\nHeapReAlloc s60 zero 4000\n'
    printf 'GetProcessHeaps\ncheck\n'
} >"$dir/new.heap"
heaprig=$bin/heaprig
"$heaprig" asm "$dir/new.heap" -o "$dir/inputs/new"
"$heaprig" asm "$small/ops_fuzzer/first.heap" -o "$dir/inputs/old"
echo 'no program at all' >"$dir/inputs/text"
small_corpus() {
    expect "$1" "$2" "${@:3}" --build "$build" --corpus "$small"
}
sum() {
    (cd "$small" && find . -type f -exec sha256sum {} + | sort)
}
before=$(sum)

small_corpus 2 "unknown target 'eat_fuzzer'" check eat_fuzzer
small_corpus 0 '^ops_fuzzer: 2 inputs, [1-9][0-9]* edges$' check ops_fuzzer

# Ended early, by a signal or for want of room, it leaves all as it was.
for signal in INT TERM KILL; do
    # A job of its own group: what it started ends with it.
    (
        set -m
        "$source/ci/corpus.sh" merge --build "$build" --corpus "$small" \
            --inputs "$dir/inputs" ops_fuzzer >"$dir/out" 2>&1 &
        for ((turn = 0; turn < 200; turn++)); do
            [ ! -e "$(echo "$small"/.staging.*/ops_fuzzer.new)" ] || break # it is at work
            sleep 0.05
        done
        kill "-$signal" -- "-$!"
        wait "$!" || true
    ) 2>/dev/null
    [ "$(sum | grep -v staging)" = "$before" ] || fail "ended by $signal, merge left something else"
done
(
    exec 8<"$small"
    flock 8
    expect 2 'another ci/corpus.sh works on it' merge --build "$build" --corpus "$small" ops_fuzzer
)

# The new one comes in smaller and as text, with its line; the rest stays out.
small_corpus 0 '^ops_fuzzer: [1-9] inputs added, 0 gone' merge --inputs "$dir/inputs" ops_fuzzer
[ -z "$(find "$small" -name '.staging*')" ] || fail 'merge left its folder behind'
added=$(find "$small/ops_fuzzer/found" -type f)
[ "$(wc -l <<<"$added")" -eq 1 ] || fail "expected one input, found $added"
[ "$(grep -c . "$added")" -lt 30 ] || fail "not made smaller: $(wc -l <"$added") lines"
grep -q "^ops_fuzzer/found/$(basename "$added")	ops_fuzzer	found	alone has [1-9][0-9]* edges" \
    "$small/MANIFEST.tsv" || fail "no line with a reason: $(tail -n1 "$small/MANIFEST.tsv")"
expect 0 '^3 files' check --files --corpus "$small"
small_corpus 0 '^ops_fuzzer: 0 inputs added, 0 gone' merge --inputs "$dir/inputs" ops_fuzzer

# What is not minimal is made so; what others reach goes.
cp "$dir/new.heap" "$small/ops_fuzzer/found/long.heap"
sed -i "s|^ops_fuzzer/found/[^\t]*|ops_fuzzer/found/long.heap|" "$small/MANIFEST.tsv"
cp "$added" "$dir/added"
rm "$added"
small_corpus 0 '^ops_fuzzer: 1 inputs added, 1 gone' minimise ops_fuzzer
[ ! -e "$small/ops_fuzzer/found/long.heap" ] || fail 'minimise kept the long input'
expect 0 '^3 files' check --files --corpus "$small"
cp "$dir/new.heap" "$small/ops_fuzzer/second.heap"
printf 'ops_fuzzer/second.heap\tops_fuzzer\thand\tall of it\n' >>"$small/MANIFEST.tsv"
small_corpus 0 '^ops_fuzzer: 0 inputs added, 1 gone' prune ops_fuzzer
expect 0 '^3 files' check --files --corpus "$small"
[ ! -e "$small/ops_fuzzer/found" ] || fail 'prune kept what a seed reaches'

# Variants of a seed come in as such, what they reach is reached then.
small_corpus 0 '^ops_fuzzer: [1-9][0-9]* inputs added, 0 gone' vary ops_fuzzer
varied=$(sed -n '/^ops_fuzzer\/sweep\/[0-9a-f]*\.heap	ops_fuzzer	sweep	/p' "$small/MANIFEST.tsv" | wc -l)
[ "$varied" -gt 0 ] || fail 'no line of a variant'
[ "$varied" -eq "$(find "$small/ops_fuzzer/sweep" -type f | wc -l)" ] || fail "$varied lines of variants"
expect 0 "^$((3 + varied)) files" check --files --corpus "$small"
small_corpus 0 '^ops_fuzzer: 0 inputs added, 0 gone' vary ops_fuzzer

# A corpus that reaches little is told of, and one that cannot be read.
small_corpus 1 '^ops_fuzzer .* [0-9.]*$' reach --seconds 3 ops_fuzzer
awk '$1 == "ops_fuzzer" && $3 > 0 && $4 < 90 && $5 >= $3 && $2 > $5 { found = 1 } END { exit !found }' "$dir/out" ||
    fail 'expected two seeds to reach less than 90 %'
echo 'HeapWrong' >>"$small/ops_fuzzer/first.heap"
status=0
"$source/ci/corpus.sh" check --build "$build" --corpus "$small" ops_fuzzer >"$dir/out" 2>&1 || status=$?
[ "$status" -eq 2 ] || fail "a seed that cannot be read: exit status $status, expected 2"
