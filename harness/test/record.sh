#!/usr/bin/env bash
# heaprig record: what small programs and real ones do to their blocks is what their traces say, and
# the programs do not notice.
# Usage: record.sh BIN_DIR SOURCE_DIR
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "record.sh: usage: record.sh BIN_DIR SOURCE_DIR" >&2
    exit 2
fi
bin=$(realpath "$1")
heaprig=$bin/heaprig
recorded=$bin/child/recorded
source_dir=$(realpath "$2")
if [ ! -x "$heaprig" ]; then
    echo "record.sh: skipped: this build has no command"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

wrong() {
    echo "record.sh: $*" >&2
    failed=1
}

# expect FILE TEXT WHAT: FILE has a line that matches.
expect() {
    if ! grep -qE -- "$2" "$1"; then
        wrong "$3: expected '$2', got:"
        head -n 30 "$1" >&2
    fi
}

# record NAME STATUS COMMAND...: into NAME.trace and lines in NAME.txt; STATUS as told.
record() {
    local name=$1 status=$2
    shift 2
    if ! "$heaprig" record -o "$name.trace" -- "$@" >"$name.out" 2>"$name.err"; then
        wrong "$name: exit status not 0"
        cat "$name.err" >&2
    fi
    expect "$name.err" "^heaprig record: .*: $status\$" "$name"
    if grep -q "unseen\|stopped\|cut short\|expected" "$name.err"; then
        wrong "$name: the trace is not whole"
        cat "$name.err" >&2
    fi
    if [ -e "$name.trace.raw" ]; then
        wrong "$name: the raw recording is still there"
    fi
    "$heaprig" show "$name.trace" >"$name.txt" || wrong "$name: not readable"
    expect "$name.txt" '^end ' "$name"
}

if [ ! -e "$bin/../lib/libheaprig-record.so" ]; then
    echo "record.sh: this build has no recorder; it says so, and that is all"
    "$heaprig" record -o x.trace -- true 2>none.err && wrong "no recorder: exit status 0"
    expect none.err '^heaprig record: \.\./lib/libheaprig-record\.so: expected the recorder there' none
    if [ -e x.trace.raw ]; then
        wrong "no recorder: left something behind"
    fi
    exit "$failed"
fi

# ---- Every call of the family, in order -----------------------------------------------------------

record family 'exit status 0' "$recorded" family
# From the first marked size on; blocks are named as they come, whatever was there before.
sed -n '/ 70001$/,/^end/p' family.txt |
    awk '$1 != "end" { if (!($2 in names)) { names[$2] = "b" (count + 0); count++ }
                       $2 = names[$2]; print }' >family.got
cat >family.expected <<'END'
alloc b0 70001
calloc b1 72002
memalign b2 70003 align=256
memalign b3 70016 align=64
memalign b4 70005 align=32
memalign b5 70006 align=4096
memalign b6 73728 align=4096
alloc b7 70008
realloc b0 70009
realloc b7 70010
free b7
free b0
free b1
free b2
free b3
free b4
free b5
free b6
END
diff family.expected family.got >&2 || wrong "family: other events than the program made"

# ---- Threads, fork, exec, crashes -----------------------------------------------------------------

record threads 'exit status 0' "$recorded" threads
expect threads.err '^threads.trace: [2-5][0-9]{5} events, 12[0-9]{4} blocks, .*; 5 threads$' threads

# One arena, no caches of threads, and other threads run right after each free: an address is used
# again at once, by anybody. The trace stays whole only if each free stands before.
GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1 LD_PRELOAD=$bin/child/slow.so \
    record reuse 'exit status 0' "$recorded" threads

record fork 'exit status 0' "$recorded" fork
expect fork.err '^fork.trace.1: 2 events, .*; 1 calls on blocks from before$' fork
"$heaprig" show fork.trace.1 >fork.1.txt
printf 'alloc 0 70102\nfree 0\nend skipped=1\n' | diff - fork.1.txt >&2 || wrong "fork: the child"
expect fork.txt ' 70101$' fork
expect fork.txt ' 70103$' fork
if grep -q ' 70102$' fork.txt; then
    wrong "fork: the child wrote into its parent's trace"
fi

record forks 'exit status 0' "$recorded" forks
for number in $(seq 1 20); do
    "$heaprig" show "forks.trace.$number" >forks.n.txt || wrong "forks: child $number"
    expect forks.n.txt ' 70104$' "forks: child $number"
done

record exec 'exit status 0' "$recorded" exec
expect exec.txt ' 70201$' exec
"$heaprig" show exec.trace.1 >exec.1.txt
expect exec.1.txt ' 70001$' exec

record many 'exit status 0' "$recorded" many
expect many.txt ' 70301$' many
if [ "$(grep -c '^free' many.txt)" -lt 200000 ]; then
    wrong "many: events are missing"
fi

# The file may not grow: the program goes on, what was written holds.
"$heaprig" record -o limit.trace -- sh -c "ulimit -f 512; exec '$recorded' many" 2>limit.err ||
    wrong "limit: exit status not 0"
expect limit.err '^heaprig record: sh: exit status 0$' limit
expect limit.err '^limit.trace[.0-9]*: [0-9]{4,5} events, .*; recording stopped: File too large$' limit

# Processes that outlive the command.
record late 'exit status 0' sh -c "{ sleep 0.2; exec '$recorded' family; } & exit 0"
expect late.err '^heaprig record: sh: waiting for what it left running$' late
for trace in late.trace*; do
    "$heaprig" show "$trace"
done >late.txt
expect late.txt ' 70009$' late

# What was preloaded before still is.
LD_PRELOAD=libm.so.6 "$heaprig" record -o preload.trace -- printenv LD_PRELOAD \
    >preload.out 2>preload.err || wrong "preload: exit status not 0"
expect preload.out '/libheaprig-record\.so:libm\.so\.6$' preload

record abort 'killed by signal 6' "$recorded" abort
expect abort.txt ' 70401$' abort
record crash 'killed by signal 11' "$recorded" crash
expect crash.txt ' 70402$' crash
record kill 'killed by signal 9' "$recorded" kill
expect kill.txt ' 70403$' kill
record status 'exit status 3' sh -c 'exit 3'

# ---- heaprig itself killed: --finish ---------------------------------------------------------------

"$heaprig" record -o slow.trace -- sh -c "'$recorded' family; touch begun; sleep 600 & echo \$! >pid; wait" \
    2>/dev/null &
rig=$!
while [ ! -s pid ]; do
    sleep 0.05
done
{
    kill -KILL "$rig"
    wait "$rig"
} 2>/dev/null || true
kill "$(cat pid)"
"$heaprig" record --finish slow.trace.raw 2>slow.err || wrong "finish: exit status not 0"
for trace in slow.trace*; do
    "$heaprig" show "$trace"
done >slow.txt
expect slow.txt ' 70009$' finish
if [ -e slow.trace.raw ]; then
    wrong "finish: the raw recording is still there"
fi

# ---- Windows --------------------------------------------------------------------------------------

"$heaprig" record -o w.trace --windows w --count 3 --records 100 -- "$recorded" threads 2>w.err ||
    wrong "windows: exit status not 0"
if [ "$(find w -name '*.heap' | wc -l)" -ne 3 ] || [ "$(cat w/*.heap | wc -l)" -gt 306 ]; then
    wrong "windows: not three of at most 100 records"
fi
expect w/w-realloc.heap '^# w, recorded: ' windows
"$heaprig" record --from w.trace --windows w2 --count 3 --records 100 2>/dev/null
diff -r w w2 >&2 || wrong "windows: not the same from the trace"

"$heaprig" record -o x.trace --windows wx -- "$recorded" exec 2>wx.err ||
    wrong "windows: exit status not 0"
expect wx.err '^x.trace.1: [0-9]+ windows in wx$' "windows are cut out of the longest trace"

# ---- Bad usage: one line, status 2, nothing left behind --------------------------------------------

# refuse TEXT ARGUMENT...
refuse() {
    local text=$1 status=0
    shift
    mkdir empty
    (cd empty && "$heaprig" record "$@" >../refuse.out 2>../refuse.err) || status=$?
    if [ "$status" -ne 2 ] || [ "$(wc -l <refuse.err)" -ne 1 ]; then
        wrong "record $*: exit status $status, expected 2 and one line: $(cat refuse.err)"
    fi
    expect refuse.err "$text" "record $*"
    if [ -s refuse.out ] || ! rmdir empty; then
        wrong "record $*: left something behind"
        rm -rf empty
    fi
}

refuse '^heaprig record: expected a command, as in: heaprig record -- ls$'
refuse '^heaprig record: expected a command, ' -o x.trace
refuse '^heaprig record: expected a command, ' -o x.trace --
refuse '^heaprig record: ls: expected -- before the command$' ls
refuse '^heaprig record: no-such-program: No such file or directory$' -- no-such-program
refuse '^heaprig record: /: Permission denied$' -o x.trace -- /
refuse '^heaprig record: no/where.raw: No such file or directory$' -o no/where -- true
refuse '^heaprig record: none.trace: No such file or directory$' --from none.trace --windows .
refuse '^heaprig record: --from: expected --windows DIR beside it$' --from none.trace
refuse '^heaprig record: expected one of a command, --from and --finish$' --finish x.raw -- ls
refuse '^heaprig record: none.raw: No such file or directory$' --finish none.raw
refuse '--count 0: expected a number from 1 to 64' --count 0 -- true
refuse '--records 513: expected a number from 16 to 512' --records 513 -- true
refuse '--no-such-option: expected ' --no-such-option -- true
mkdir old.trace.raw
if "$heaprig" record -o old.trace -- true 2>refuse.err; then
    wrong "an older recording is overwritten"
fi
expect refuse.err '^heaprig record: old.trace.raw: an older recording is there; --finish' older

# ---- Real programs do not notice -------------------------------------------------------------------

export LC_ALL=C TZ=UTC HOME=$work PYTHONHASHSEED=0 PYTHONMALLOC=malloc GIT_CONFIG_NOSYSTEM=1

# same NAME COMMAND...: the same output with and without a recording, and a trace worth the name.
same() {
    local name=$1
    shift
    "$@" >"$name.plain" 2>"$name.plain.err" || wrong "$name: does not run"
    "$heaprig" record -o "$name.trace" -- "$@" >"$name.out" 2>"$name.err" || wrong "$name: fails"
    cmp "$name.plain" "$name.out" >&2 || wrong "$name: other output"
    expect "$name.err" '^heaprig record: .*: exit status 0$' "$name"
    sed "/^heaprig record: /d; /^$name\.trace[.0-9]*: /d" "$name.err" |
        cmp - "$name.plain.err" >&2 || wrong "$name: other errors"
    expect "$name.err" "^$name\\.trace[.0-9]*: [0-9]{3,} events" "$name"
    if grep -q "unseen\|stopped" "$name.err"; then
        wrong "$name: $(cat "$name.err")"
    fi
    "$heaprig" show "$name.trace" >/dev/null || wrong "$name: not readable"
}

python=$(python3 -c 'import sys; print(sys.executable)')
same python3 "$python" -S -c 'import json, re
text = json.dumps([{"n": i, "t": str(i) * 7} for i in range(500)])
print(len(text), len(re.findall("[0-9]+", text)), sum(len(x["t"]) for x in json.loads(text)))'
same sqlite3 sqlite3 :memory: 'CREATE TABLE t(i INTEGER PRIMARY KEY, n TEXT);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000)
INSERT INTO t SELECT x, hex(x * 7919) FROM c;
SELECT count(*), min(n), max(n) FROM t; SELECT n FROM t ORDER BY n DESC LIMIT 5;'
mkdir repository
(
    cd repository
    git init -q .
    cp -r "$source_dir/harness/trace" .
    git add .
    git -c user.name=test -c user.email=test@example.org commit -q -m first
)
same git git -C repository log --stat --format=%s
same gcc gcc -std=c17 -O1 -I"$source_dir/harness" -S -o - "$source_dir/harness/trace/names.c"
same sort sort --parallel=2 -S 1M many.txt

if [ "$failed" -eq 0 ]; then
    echo "record.sh: all traces are what the programs did"
fi
exit "$failed"
