#!/usr/bin/env bash
# Compare libntheap-malloc.so with glibc's malloc, mimalloc and jemalloc, in one run.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/bench.sh [--help] [--json] [--quick] [--list] [ROW...]

Runs each row (default: all) under glibc's malloc, libntheap-malloc.so ("core"), mimalloc and
jemalloc, each run a process of its own, the allocators taking turns. "heap" is the process heap
called directly, in the row two-threads. The rows run-* are real programs. Prints the median over
all turns of time and of peak resident memory, relative to glibc in the same turn: below 1 is
better than glibc.

--json   one object a line instead of the table
--quick  an eighth of the work and three turns instead of five
--list   the rows and what they do
Exit status: 0 measured, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'bench.sh: %s\n' "$2" >&2
    exit "$1"
}

json=no quick=no list=no rows=()
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    --json) json=yes ;;
    --quick) quick=yes ;;
    --list) list=yes ;;
    -*) die 2 "unknown flag '$argument', expected --json, --quick, --list or --help" ;;
    *) rows+=("$argument") ;;
    esac
done

cd "$(dirname "$0")/.."
ci/setup.sh build programs bench >&2
dir=build/release
mkdir -p "$dir"
{
    cmake --preset release &&
        cmake --build --preset release --target \
            bench_malloc bench_heap bench_timed ntheap_malloc
} >"$dir/bench.log" 2>&1 || {
    cat "$dir/bench.log" >&2
    die 1 "the build failed"
}

# Real programs, at a length that --quick divides.
program_sqlite3() {
    printf '%s' "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value INTEGER);" \
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $((1000000 / divisor)))" \
        " INSERT INTO t SELECT i, 'name' || (i * 7919 % 100003), i * 31337 % 65521 FROM n;" \
        "CREATE INDEX by_name ON t(name);" \
        "SELECT count(*) FROM t AS a JOIN t AS b ON a.name = b.name WHERE a.id < 20000;"
}

program_python3() {
    cat <<TEXT
groups = {}
for index in range($((300000 / divisor))):
    groups.setdefault(index * 7919 % 10007, []).append((index, str(index), [index]))
print(sum(len(group) for group in groups.values()))
TEXT
}

program_perl() {
    cat <<'TEXT'
my ($state, %groups) = (1);
for my $index (1 .. $ARGV[0]) {
    $state = ($state * 69069 + 1) % 4294967296;
    push @{$groups{$state % 9973}}, "v$state" x ($state % 7);
}
print scalar(keys %groups), "\n";
TEXT
}

# Prints the command line of a program row, a NUL after each argument.
command_of() {
    case $1 in
    run-sqlite3) printf '%s\0' sqlite3 :memory: "$(program_sqlite3)" ;;
    run-python3) printf '%s\0' env PYTHONMALLOC=malloc python3 -c "$(program_python3)" ;;
    run-perl) printf '%s\0' perl -e "$(program_perl)" "$((300000 / divisor))" ;;
    run-gcc) printf '%s\0' gcc -std=c17 -O2 -S -o /dev/null \
        -DBENCH_API='"api_malloc.h"' core/bench/rows.c ;;
    esac
}

list_rows() {
    "$dir/bin/bench_malloc" --list
    printf '%s\t%s\n' run-sqlite3 "a million rows inserted, indexed and joined" \
        run-python3 "300,000 tuples, strings and lists" \
        run-perl "300,000 times up to 6 strings in lists" \
        run-gcc "gcc -O2 on one file"
}

if [ "$list" = yes ]; then
    list_rows | column -t -s $'\t'
    exit 0
fi

mapfile -t known < <(list_rows | cut -f1)
for row in "${rows[@]}"; do
    [[ " ${known[*]} " == *" $row "* ]] || die 2 "unknown row '$row', expected one of: ${known[*]}"
done
if [ ${#rows[@]} -eq 0 ]; then
    rows=("${known[@]}")
fi

library_of() {
    case $1 in
    core) echo "$PWD/$dir/lib/libntheap-malloc.so" ;;
    mimalloc | jemalloc) compgen -G "/usr/lib/*/lib$1.so.2" | head -n1 ;;
    esac
}

run() {
    local allocator=$1 row=$2 library
    library=$(library_of "$allocator")
    case $row in
    run-*)
        local command
        mapfile -d '' -t command < <(command_of "$row")
        "$dir/bin/bench_timed" "$library" "${command[@]}"
        return
        ;;
    esac
    case $allocator in
    heap) "$dir/bin/bench_heap" "$row" "$divisor" ;;
    glibc) "$dir/bin/bench_malloc" "$row" "$divisor" ;;
    *) LD_PRELOAD=$library "$dir/bin/bench_malloc" "$row" "$divisor" ;;
    esac
}

turns=5 divisor=1
if [ "$quick" = yes ]; then
    turns=3 divisor=8
fi
for allocator in core mimalloc jemalloc; do
    [ -e "$(library_of "$allocator")" ] || die 1 "the library of $allocator is not there"
done

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for row in "${rows[@]}"; do
    allocators=(glibc core mimalloc jemalloc)
    if [ "$row" = two-threads ]; then
        allocators+=(heap)
    fi
    for ((turn = 0; turn < turns; turn++)); do
        for ((step = 0; step < ${#allocators[@]}; step++)); do
            allocator=${allocators[(turn + step) % ${#allocators[@]}]}
            measured=$(run "$allocator" "$row") || die 1 "$row failed under $allocator"
            echo "$row $turn $allocator $measured" >>"$results"
        done
    done
    if [ -t 2 ]; then
        printf '\r%s   \033[K' "$row done" >&2
    fi
done
if [ -t 2 ]; then
    printf '\r\033[K' >&2
fi

awk -v json="$json" -v turns="$turns" '
    function median(list, count,    i, j, swap) {
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
                swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap
            }
        return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
    }
    function over_turns(values, row, allocator, against,    turn, count, list) {
        for (turn = 0; turn < turns; turn++)
            list[++count] = values[row, turn, allocator] / (against == "" ? 1 : values[row, turn, against])
        return median(list, count)
    }
    {
        if (!($1 in calls)) rows[++row_count] = $1
        seconds[$1, $2, $3] = $4; peak[$1, $2, $3] = $5; calls[$1] = $6
        ran[$1, $3] = 1
    }
    END {
        name_count = split("glibc core mimalloc jemalloc heap", names, " ")
        if (json != "yes") {
            printf "%-18s %12s | %-35s | %-35s\n", "", "glibc", "time, glibc = 1", "peak memory, glibc = 1"
            printf "%-18s %12s | %8s %8s %8s %8s | %8s %8s %8s %8s\n", "row", "M calls/s",
                "core", "mimalloc", "jemalloc", "heap", "core", "mimalloc", "jemalloc", "heap"
        }
        for (r = 1; r <= row_count; r++) {
            row = rows[r]; times = ""; peaks = ""
            for (n = 1; n <= name_count; n++) {
                name = names[n]
                if (!((row, name) in ran)) {
                    times = times sprintf(" %8s", ""); peaks = peaks sprintf(" %8s", "")
                    continue
                }
                time_ratio = over_turns(seconds, row, name, "glibc")
                peak_ratio = over_turns(peak, row, name, "glibc")
                rate = calls[row] / over_turns(seconds, row, name, "") / 1e6
                if (name == "glibc") base = rate
                else {
                    times = times sprintf(" %8.2f", time_ratio)
                    peaks = peaks sprintf(" %8.2f", peak_ratio)
                }
                if (row ~ /^cost-/) cost[row, name] = 1000 / rate
                if (json == "yes")
                    printf "{\"row\":\"%s\",\"allocator\":\"%s\",\"turns\":%d,\"calls\":%d,\"mcalls_per_s\":%.3f,\"peak_kib\":%d,\"time_ratio\":%.3f,\"peak_ratio\":%.3f}\n",
                        row, name, turns, calls[row], rate, over_turns(peak, row, name, ""), time_ratio, peak_ratio
            }
            if (json != "yes")
                printf "%-18s %12s |%s |%s\n", row, (base > 0) ? sprintf("%.2f", base) : "-", times, peaks
        }
        if (json != "yes" && ("cost-1k" in calls) && ("cost-10m" in calls)) {
            printf "\n%-18s", "ns a call"
            for (n = 1; n < name_count; n++) printf " %9s", names[n]
            print ""
            for (r = 1; r <= row_count; r++)
                if (rows[r] ~ /^cost-/) {
                    printf "%-18s", rows[r]
                    for (n = 1; n < name_count; n++) printf " %9.1f", cost[rows[r], names[n]]
                    print ""
                }
            printf "%-18s", "10 M against 1 K"
            for (n = 1; n < name_count; n++)
                printf " %9.2f", cost["cost-10m", names[n]] / cost["cost-1k", names[n]]
            print ""
        }
    }' "$results"
