#!/usr/bin/env bash
# The command as its users meet it: good input, bad input, pipes, exit statuses, JSON.
# usage: cli.sh BIN_DIR SOURCE_DIR
set -u
# shellcheck source=harness/test/support/command.sh
. "$(dirname "$0")/support/command.sh"

# has WORDS: ./out holds them.
has() {
    grep -qF -- "$1" out || fail "expected '$1' in: $(head -c 1000 out)"
}

# json FILTER: ./out is an object a line, and the filter is true of one of them at least.
json() {
    jq -c 'select(type == "object")' out >jq.out 2>&1
    [ "$(wc -l <jq.out)" = "$(wc -l <out)" ] || fail "not an object a line: $(head -c 1000 out)"
    jq -s -e "any(.[]; $1)" out >jq.out 2>&1 || fail "no object with $1 in: $(head -c 1000 out)"
}

cat >good.heap <<'TEXT'
# One block, asked for, resized and freed.
program seed=3
HeapAlloc h0 s1 small:40
RtlReAllocateHeap s1 zero small:400
parameter arg=1 small:4
RtlFreeHeap s1
TEXT

# ---- Usage ---------------------------------------------------------------------------------------
commands=$(sed -n 's/^RIG_COMMAND(\([a-z]*\),.*/\1/p' "$source/harness/cli/commands.def")
all=$(paste -sd, <<<"$commands" | sed 's/,/, /g')
[[ $all == *bench,* ]] || fail "commands.def: found '$all'"
expect 2 "heaprig: expected a subcommand: $all" "$heaprig"
expect 2 "heaprig: dance: expected a subcommand: $all" "$heaprig" dance
expect 0 '' "$heaprig" --help
has 'Usage: heaprig SUBCOMMAND'
for command in $commands; do
    has "  $command "
done
for command in ${commands/record/}; do
    expect 0 '' "$heaprig" $command --help
    has "Usage: heaprig $command"
    expect 2 "heaprig $command: --bogus: expected what heaprig $command --help lists" \
        "$heaprig" $command --bogus
    expect 2 "heaprig $command: -Z: expected what heaprig $command --help lists" \
        "$heaprig" $command -Z
done
expect 2 'heaprig run: --subject: expected what heaprig run --help lists' "$heaprig" run --subject
expect 2 'heaprig run: --subject glibc: expected one of core, malloc' \
    "$heaprig" run --subject glibc good.heap
expect 0 '' "$heaprig" run --help
tr -s ' \n' ' ' <out >words
grep -q 'the first by default: core, malloc ' words || fail "run --help: expected the subjects' names"
expect 2 'heaprig run: --timeout 1x: expected a number from 0 to 1000000' \
    "$heaprig" run --timeout 1x good.heap
expect 2 'heaprig run: --check-every -1: expected a number from 0 to 1000000' \
    "$heaprig" run --check-every -1 good.heap
expect 2 'heaprig contract: more: expected options only' "$heaprig" contract more
expect 2 'heaprig asm: expected one file, as in: heaprig asm seed.heap' "$heaprig" asm
expect 2 'heaprig show: good.heap: expected one file' "$heaprig" show good.heap good.heap

# ---- Bad input -----------------------------------------------------------------------------------
printf 'program\nHeapAlloc h0 s1 small:40\nHeapAllok h0\n' >broken.heap
{ printf 'HRPG\2'; head -c 11 /dev/zero; } >newer.bin
head -c 4113 /dev/zero >large.bin
head -c 1048577 /dev/zero | tr '\0' '#' >large.heap
printf 'HRTR\1\10\0\0\11\0' >broken.trace
mkdir folder
for command in run show; do
    expect 2 "heaprig $command: none.bin: expected a file to read: No such file or directory" \
        "$heaprig" $command none.bin
    expect 2 "heaprig $command: folder: expected a file, found a folder" "$heaprig" $command folder
    expect 2 "heaprig $command: newer.bin: byte 4: expected version 1, found 2" \
        "$heaprig" $command newer.bin
    expect 2 "heaprig $command: large.bin: expected a program of 4112 bytes at most, found 4113" \
        "$heaprig" $command large.bin
    expect 2 "heaprig $command: large.heap: expected 1048576 bytes at most, found more" \
        "$heaprig" $command large.heap
    expect 2 "heaprig $command: broken.heap:3: expected an operation, found 'HeapAllok'" \
        "$heaprig" $command broken.heap
done
expect 2 - "$heaprig" run broken.trace
[ "$(wc -l <err)" = 1 ] || fail "run broken.trace: expected one line, found: $(cat err)"
grep -q '^heaprig run: broken.trace: offset 8: expected ' err ||
    fail "run broken.trace: said $(cat err)"
expect 2 'heaprig contract: none: expected a folder of programs: No such file or directory' \
    "$heaprig" contract --corpus none
expect 2 'heaprig contract: folder: expected a program in it' "$heaprig" contract --corpus folder
expect 2 'heaprig bench: none: expected programs: No such file or directory' "$heaprig" bench none
expect 2 'heaprig bench: folder: expected a program in it' "$heaprig" bench folder
expect 2 'heaprig record: none.trace: No such file or directory' \
    "$heaprig" record --from none.trace --windows windows
expect 2 - "$heaprig" record --from broken.trace --windows windows
[ ! -e windows ] || fail 'record --from: left a folder of no windows'

# ---- show and asm --------------------------------------------------------------------------------
expect 0 '' "$heaprig" asm good.heap
[ -s good.bin ] || fail 'asm good.heap: expected good.bin'
expect 0 '' "$heaprig" show good.bin
mv out shown.heap
expect 0 '' "$heaprig" show good.heap
cmp -s out shown.heap || fail 'show: the text of the bytes is not the text of the text'
expect 0 '' "$heaprig" asm shown.heap -o again.bin
cmp -s good.bin again.bin || fail 'asm: text made of bytes does not make the same bytes'
expect 0 '' "$heaprig" asm good.heap -o -
cmp -s good.bin out || fail 'asm -o -: other bytes than in the file'
expect 0 '' "$heaprig" show --json good.bin
json '.op == "ALLOC" and (.text | startswith("HeapAlloc "))'
printf 'any bytes at all' >any
expect 0 '' "$heaprig" show any
has 'HeapFree s110 '

# Nothing half made, nothing left behind, nothing lost.
cp good.bin kept.bin
expect 2 "heaprig asm: broken.heap:3: expected an operation, found 'HeapAllok'" \
    "$heaprig" asm broken.heap -o kept.bin
cmp -s good.bin kept.bin || fail 'asm of a broken text touched the file that was there'
expect 2 - "$heaprig" asm good.heap -o folder
expect 2 - "$heaprig" asm good.heap -o none/out.bin
[ -d folder ] || fail 'asm -o folder: the folder is gone'
[ -z "$(find . -name '*.bin.*' -o -name 'folder.*')" ] || fail "asm left $(ls)"
expect 2 'heaprig asm: any: expected a name that ends in .heap, or -o OUT' "$heaprig" asm any

# ---- run -----------------------------------------------------------------------------------------
expect 0 '' "$heaprig" run good.heap
has '0 HeapAlloc h0 s1 size=40 -> 0x'
has '2 parameter small:4 arg=1'
has '3 RtlFreeHeap h0 s1 -> 0x1'
has 'good.heap: held, '
tail -n 1 out >verdict
grep -v 'good\.' out >steps
expect 0 '' "$heaprig" run good.bin
grep -v 'good\.' out | cmp -s - steps || fail 'run: the bytes do other things than the text'
expect 0 '' "$heaprig" run --quiet good.heap
cmp -s out verdict || fail "run --quiet: expected the verdict alone, found: $(head -c 500 out)"
expect 0 '' "$heaprig" run --check-every 1 good.heap any good.bin
has '1 check (check) h0'
expect 0 '' "$heaprig" run --subject malloc good.heap
has '0 HeapAlloc h0 s1 size=40 -> there'
expect 0 '' "$heaprig" run --json good.heap
json '.step == 0 and .call == "HeapAlloc"'
json '.verdict == "held" and .operations == 4'
expect 0 '' "$heaprig" run --confirm good.heap
[ "$(cat out)" = held ] || fail "run --confirm: said $(cat out)"

# A trace: allocate 100 bytes, resize, free, with nothing left out.
printf 'HRTR\1\10\0\0\1\0d\4\0\310\1\5\0\7\0' >good.trace
expect 0 '' "$heaprig" run good.trace
has 'HeapAlloc h0 s0 size=100'
has 'HeapReAlloc h0 s0 size=200'
has 'HeapFree h0 s0'

# Standard input: bytes, and text where the option or its first word says so.
"$heaprig" run <good.bin >out 2>err || fail "run of standard input: $(cat err)"
has 'standard input: held'
"$heaprig" run --text - <good.heap >out 2>err || fail "run --text -: $(cat err)"
has '0 HeapAlloc h0 s1 size=40'
"$heaprig" asm good.heap -o - | "$heaprig" show | cmp -s - shown.heap || fail 'show of a pipe'
"$heaprig" run - </dev/null >out 2>err || fail "run of nothing: $(cat err)"

# A reader who goes away, and a full disk.
for command in "run --check-every 1 good.heap" "show good.heap" "contract --corpus good.heap"; do
    # shellcheck disable=SC2086
    "$heaprig" $command 2>err | head -n 1 >out
    [ ! -s err ] || fail "$command | head: said $(head -c 300 err)"
    [ "$(wc -l <out)" = 1 ] || fail "$command | head: expected a line"
done
if [ -w /dev/full ]; then
    "$heaprig" show good.heap >/dev/full 2>err
    [ $? = 2 ] || fail 'show on a full disk: expected exit status 2'
    grep -qx 'heaprig: standard output: expected to write: No space left on device' err ||
        fail "show on a full disk: said $(cat err)"
fi

# ---- contract and bench --------------------------------------------------------------------------
# So small a corpus leaves clauses unexercised: that is a finding.
expect 1 '' "$heaprig" contract --corpus good.heap
has 'ALLOC-02    RtlAllocateHeap                judged'
has '567 clauses and 111 rulings: '
has 'judged and never exercised by the corpus'
expect 1 '' "$heaprig" contract --corpus good.heap --json
json '.id == "ALLOC-02" and .disposition == "judged" and .rule == "blocks_never_overlap"'
json '.disposition == "judged" and .exercised > 0'
json '.id == "WALK-07" and .disposition == "exempt" and (.because | length) > 20'
json '.summary.clauses == 567'
# The project's own corpus leaves none.
expect 0 '' "$heaprig" contract --prove
has ' 0 missing'
has ', 0 problems'
expect 0 '' "$heaprig" bench --seconds 0 --json good.heap
json '.set == "all" and .programs == 1 and .ratio > 0'
json '.set == "raising" and .core_calls > 0'
expect 0 '' "$heaprig" bench --seconds 0
has 'no-creation'
# Ctrl-C ends it early, and what there is by then is printed.
timeout -s INT 2 "$heaprig" bench --seconds 600 good.heap >out 2>err </dev/null
[ "$(wc -l <out)" -ge 2 ] || fail "bench, interrupted: expected a line of figures: $(cat out err)"
grep -q '^all  *1  *[1-9]' out || fail "bench, interrupted: expected turns of a set: $(cat out)"

exit $failed
