#!/usr/bin/env bash
# Real programs give byte-identical output with libntheap-malloc.so preloaded and without.
# Usage: programs.sh LIBRARY CORE_DIR [PROGRAM...]
# shellcheck disable=SC2317 # the run_ functions are called by name
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "programs.sh: usage: programs.sh LIBRARY CORE_DIR [PROGRAM...]" >&2
    exit 2
fi
library=$(realpath "$1")
core=$(realpath "$2")
shift 2
programs=("$@")
if [ ${#programs[@]} -eq 0 ]; then
    programs=(python3 git sqlite3 gcc perl xz sort)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# PYTHONMALLOC: every object is a call of malloc, none comes from python's own arenas.
export PYTHONMALLOC=malloc PYTHONHASHSEED=0 LC_ALL=C TZ=UTC GIT_CONFIG_NOSYSTEM=1 HOME=$work
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.org
export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE

# Data: 50 MB of lines that neither compress to nothing nor repeat.
generate() {
    awk -v bytes="$1" 'BEGIN {
        state = 12345
        while (written < bytes) {
            state = (state * 69069 + 1) % 4294967296
            line = sprintf("%08x key%05d the quick brown fox %d", state, state % 65536, NR)
            print line
            written += length(line) + 1
        }
    }'
}

# Each runs in an empty folder of its own and prints what must not change.

run_python3() {
    cat >records.py <<'PY'
import collections, json, re

Record = collections.namedtuple("Record", "key text numbers")


def records(count):
    state = 1
    for index in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield Record(f"k{state % 5000}", "x" * (state % 200), list(range(state % 40)))


def summary(count):
    groups = collections.defaultdict(list)
    for record in records(count):
        groups[record.key].append(record)
    return json.dumps({k: [len(v), sum(len(r.text) for r in v)] for k, v in sorted(groups.items())})


def words(text):
    return collections.Counter(re.findall(r"\d+", text)).most_common(20)
PY
    cat >main.py <<'PY'
import hashlib, records, threading, unittest

text = records.summary(60000)
print(hashlib.sha256(text.encode()).hexdigest(), records.words(text))
results = [None] * 4


def work(index):
    results[index] = len(records.summary(5000 + index))


threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results)


class Whole(unittest.TestCase):
    def test_same_twice(self):
        self.assertEqual(records.summary(500), records.summary(500))


unittest.main(argv=["main"], exit=False, verbosity=0)
PY
    python3 main.py 2>/dev/null
}

run_git() {
    git init -q -b main one
    (
        cd one
        for round in 1 2 3 4 5 6 7 8; do
            for file in 1 2 3 4 5 6 7 8 9 10; do
                seq "$round" "$((round * file * 100))" >"file$file.txt"
            done
            git add -A
            git commit -q -m "round $round"
        done
        git repack -q -a -d -f --threads=2
    )
    git clone -q --no-local one two
    git -C two fsck --strict --full 2>&1
    git -C two log --stat --format='%H %s'
    git -C two rev-parse HEAD
    git -C two diff HEAD~5 | sha256sum
}

run_sqlite3() {
    sqlite3 t.db <<'SQL'
PRAGMA journal_mode=MEMORY;
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
INSERT INTO t SELECT i, 'name' || (i * 7919 % 100003), i * 31337 % 65521 FROM n;
CREATE INDEX by_name ON t(name);
SELECT count(*), sum(value), min(name), max(name) FROM t;
SELECT value % 10, count(*), sum(id) FROM t GROUP BY 1 ORDER BY 1;
SELECT group_concat(name, ',') FROM (SELECT name FROM t ORDER BY value DESC, id LIMIT 50);
SELECT count(*) FROM t AS a JOIN t AS b ON a.name = b.name WHERE a.id < 20000;
PRAGMA integrity_check;
SQL
    sha256sum <t.db
}

run_gcc() {
    local source
    for source in "$core"/src/*.c; do
        gcc -std=c17 -O2 -I"$core/include" -I"$core/src" -c "$source" -o "$(basename "$source" .c).o"
    done
    sha256sum -- *.o
}

run_perl() {
    perl -e '
        my ($state, %groups) = (1);
        for my $i (1 .. 300000) {
            $state = ($state * 69069 + 1) % 4294967296;
            push @{$groups{$state % 9973}}, "v$state" x ($state % 7);
        }
        for my $key (sort { $a <=> $b } keys %groups) {
            print "$key ", scalar(@{$groups{$key}}), " ", join("", @{$groups{$key}}) =~ tr/5//, "\n";
        }'
}

run_xz() {
    xz -T2 -1 --block-size=8MiB -c ../data >data.xz
    sha256sum <data.xz
    xz -T2 -dc data.xz | sha256sum
}

run_sort() {
    sort --parallel=2 -S 40M -k2 ../data | sha256sum
}

generate 50000000 >data
failed=0
for program in "${programs[@]}"; do
    for kind in plain preloaded; do
        mkdir -p "$program.$kind"
        preload=
        if [ "$kind" = preloaded ]; then
            preload=$library
        fi
        (
            mkdir -p run
            cd run
            if [ -n "$preload" ]; then
                export LD_PRELOAD=$preload
            fi
            "run_$program"
        ) >"$program.$kind/out" 2>"$program.$kind/err" || echo "exit $?" >>"$program.$kind/out"
        rm -rf run
    done
    if cmp -s "$program.plain/out" "$program.preloaded/out" &&
        cmp -s "$program.plain/err" "$program.preloaded/err" &&
        ! grep -q '^exit ' "$program.plain/out"; then
        echo "$program: same output, $(wc -c <"$program.plain/out") bytes"
    else
        echo "$program: output differs with the library preloaded"
        diff "$program.plain/out" "$program.preloaded/out" | head -n 20 || true
        diff "$program.plain/err" "$program.preloaded/err" | head -n 20 || true
        failed=1
    fi
done
exit "$failed"
