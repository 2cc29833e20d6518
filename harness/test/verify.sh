#!/usr/bin/env bash
# heaprig verify: small programs with one bug each, and real programs that load and unload shared
# objects; what cannot be read is refused before anything runs.
# Usage: verify.sh BIN_DIR SOURCE_DIR
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "verify.sh: usage: verify.sh BIN_DIR SOURCE_DIR" >&2
    exit 2
fi
bin=$(realpath "$1")
heaprig=$bin/heaprig
bugs=$bin/child/verify/bugs
plugin=$bin/child/verify/plugin.so
if [ ! -x "$heaprig" ] || [ ! -e "$bin/../lib/libntheap-malloc.so" ] || [ ! -x "$bugs" ]; then
    echo "verify.sh: skipped: this build has no command, or no malloc library"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0
export HOME=$work LC_ALL=C PYTHONMALLOC=malloc GIT_CONFIG_NOSYSTEM=1

wrong() {
    echo "verify.sh: $*" >&2
    head -n 40 out err >&2
    failed=1
}

# verify STATUS ARGUMENT...: exit status as told.
verify() {
    local expected=$1 status=0
    shift
    timeout 120 "$heaprig" verify "$@" >out 2>err || status=$?
    [ "$status" -eq "$expected" ] || wrong "$*: exit status $status, expected $expected"
}

# told COUNT CODE [LINE...]: so many stops, all of this code, and these lines (extended expressions).
told() {
    local count=$1 code=$2 line
    shift 2
    [ "$(grep -c '^stop ' err)" -eq "$count" ] || wrong "expected $count stops"
    [ "$(grep -c "^stop $code " err)" -eq "$count" ] || wrong "expected stops $code"
    for line in "$@"; do
        grep -qE -- "$line" err || wrong "expected a line '$line'"
    done
}

# ---- One bug each --------------------------------------------------------------------------------
verify 0 --heaps -- "$bugs" none
told 0 0x0 '^.*bugs: exit status 0; 0 stops \(0 leaks\)'
verify 7 -- "$bugs" status
told 0 0x0
verify 1 --heaps -- "$bugs" overrun
told 1 0xF 'CORRUPTED_HEAP_BLOCK_SUFFIX' 'noticed at +#0 libntheap-malloc.so' 'allocated at +#0' '#1 bugs!run'
verify 1 --heaps -- "$bugs" underrun
told 1 0x12 '#1 bugs!run'
verify 1 --heaps -- "$bugs" double-free
told 1 0x7 'freed at +#0' '#1 bugs!run'
verify 1 --heaps -- "$bugs" use-after-free
told 1 0xE 'freed at +#0'
verify 1 --heaps -- "$bugs" interior
told 1 0x8
verify 1 --memory --heaps -- "$bugs" stack
told 1 0x612
verify 1 --leak -- "$bugs" leak
told 1 0x900 'module +plugin.so' 'plugin.so!make' 'plugin.so!plugin_leak' 'bugs!with_plugin'
verify 0 --leak -- "$bugs" disown
told 0 0x0 '1 disowned'
verify 1 --heaps -- "$bugs" fork # the child's double free is told; the parent goes on
told 1 0x7

# Page heap: at the instruction; the program dies of it.
verify 1 --pageheap full -- "$bugs" overrun
told 1 0x2 'noticed at +#0 bugs!run' 'allocated at +#0 libntheap-malloc.so' 'killed by signal 11'
verify 1 --pageheap full:backwards -- "$bugs" underrun
told 1 0x2 'killed by signal 11'
verify 1 --pageheap full -- "$bugs" use-after-free
told 1 0x2 'freed at' 'killed by signal 11'
verify 0 --pageheap full -- "$bugs" none
grep -q ' [1-9][0-9]* full blocks' err || wrong 'expected full blocks'
verify 0 --pageheap light:leaks -- "$bugs" keep
grep -qE '^still allocated at the end: 0x[0-9a-f]+, 256 bytes' err || wrong 'expected what is left'
verify 1 --pageheap light -- "$bugs" overrun
told 1 0xF

# Low resources: at the rate, the same again, in the modules named.
verify 0 --lowres 300000,0,bugs -- "$bugs" shortage
first=$(cat out)
if [ "$first" -le 200 ] || [ "$first" -ge 400 ]; then
    wrong "expected some 300 refusals, got $first"
fi
verify 0 --lowres 300000,0,bugs -- "$bugs" shortage
[ "$(cat out)" = "$first" ] || wrong 'expected the same again'
verify 0 --lowres 300000,0,bugs --seed 2 -- "$bugs" shortage
[ "$(cat out)" != "$first" ] || wrong 'expected others with another seed'
verify 0 --lowres 1000000,0,other.so -- "$bugs" shortage
[ "$(cat out)" = 0 ] || wrong 'expected none: another module is named'
verify 0 --lowres 1000000,60000 -- "$bugs" shortage
[ "$(cat out)" = 0 ] || wrong 'expected none: it is quiet still'

# JSON: an object a line, whole.
verify 1 --json --leak -- "$bugs" leak
[ "$(jq -r 'select(.kind == "stop") | .name + " " + .module' out)" = 'ALLOCATION plugin.so' ] ||
    wrong 'expected a leak in JSON'
[ "$(jq -r 'select(.kind == "verified") | "\(.status) \(.stops) \(.leaks)"' out)" = '0 1 1' ] ||
    wrong 'expected the sums in JSON'

# ---- Real programs -------------------------------------------------------------------------------
if command -v python3 >/dev/null; then
    python=$(python3 -c 'import sys; print(sys.executable)')
    cat >ctypes_use.py <<'PY'
import _ctypes, ctypes, sys

kind = sys.argv[2]
library = ctypes.CDLL(sys.argv[1])
if kind == "disown":
    assert library.plugin_disown() == 1
elif kind == "tidy":
    for number in range(7):
        assert library.plugin_tidy(number) == 1
    assert library.plugin_print() == 1
else:
    assert library.plugin_leak(int(kind)) == 1
handle = library._handle
del library
_ctypes.dlclose(handle)
print("still running")
PY
    frame=('' 'libc.so.6!' 'libc.so.6!' 'libstdc..\.so.*!' '' '' '')
    for kind in 0 1 2 3 4 5 6; do
        verify 1 --leak -- "$python" ctypes_use.py "$plugin" "$kind"
        told 1 0x900 'module +plugin.so' "${frame[$kind]}" 'plugin.so!make' 'plugin.so!plugin_leak'
        grep -q 'still running' out || wrong 'expected python3 to go on'
    done
    verify 0 --leak --heaps -- "$python" ctypes_use.py "$plugin" tidy
    verify 0 --leak -- "$python" ctypes_use.py "$plugin" disown
    told 0 0x0 '1 disowned'
else
    echo 'verify.sh: no python3: left out'
fi

if command -v sqlite3 >/dev/null; then
    verify 1 --leak --heaps -- sqlite3 :memory: ".load $plugin sqlite3_plugin_init" \
        'CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); SELECT sum(a) FROM t;'
    told 1 0x900 'module +plugin.so' 'plugin.so!sqlite3_plugin_init'
    [ "$(cat out)" = 3 ] || wrong 'expected the sum from sqlite3'
    verify 0 -- sqlite3 :memory: 'SELECT 1;'
else
    echo 'verify.sh: no sqlite3: left out'
fi

if command -v git >/dev/null; then
    git init -q one
    echo text >one/file
    verify 0 --leak --heaps -- git -C one add file
    verify 0 --pageheap full -- git -C one -c user.name=t -c user.email=t@example.org commit -qm one
    verify 0 -- git -C one log --oneline
    told 0 0x0
    grep -q one out || wrong 'expected the commit'
else
    echo 'verify.sh: no git: left out'
fi

# ---- Bad usage and bad input ---------------------------------------------------------------------
# refused LINE ARGUMENT...: status 2, one line, and the command did not run.
refused() {
    local line=$1
    shift
    rm -f ran
    verify 2 "$@" -- touch ran
    [ "$(wc -l <err)" -eq 1 ] || wrong "$*: expected one line"
    grep -qF -- "$line" err || wrong "$*: expected '$line'"
    [ ! -e ran ] || wrong "$*: the command ran"
}
refused 'heaprig verify: --pageheap: character 1: expected light or full, found "half"' --pageheap half
refused 'heaprig verify: --lowres: character 1: expected parts per million' --lowres 1000001
refused 'heaprig verify: --lowres: character 3: expected milliseconds, found "x"' --lowres 1,x
refused 'heaprig verify: --flags: character 1: expected htc' --flags abc
refused 'heaprig verify: --depth: character 1: expected a depth of 1 to 32' --depth 99
refused 'expected -- before the command' true
verify 2 --leak
verify 2 --leak -- /no/such/program
for settings in leek 'leak,depth=0' 'leak,log=/no/such/folder/log'; do
    status=0
    rm -f ran
    LD_PRELOAD=$(realpath "$bin/../lib/libntheap-malloc.so") NTHEAP_VERIFIER=$settings touch ran 2>err || status=$?
    if [ "$status" -ne 2 ] || [ "$(wc -l <err)" -ne 1 ] || [ -e ran ]; then
        wrong "NTHEAP_VERIFIER=$settings: exit status $status"
    fi
    grep -q '^heaprig: NTHEAP_VERIFIER: ' err || wrong "NTHEAP_VERIFIER=$settings: expected a line"
done
LD_PRELOAD=$(realpath "$bin/../lib/libntheap-malloc.so") NTHEAP_VERIFIER=heaps,text,log=$work/log "$bugs" double-free
grep -q 'stop 0x7 Heaps DOUBLE_FREE' log || wrong 'expected a stop in the log'

exit "$failed"
