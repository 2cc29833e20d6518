#!/usr/bin/env bash
# Change core in one small way at a time and see who notices.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/mutants.sh [--help] [--list] [--show ID] [--try ID]... [--file NAME]... [--sample SECONDS]
                     [--seed TEXT] [--jobs N] [--floor PERCENT] [--json] [--project DIR]
       ci/planted.sh --mutants ...

Makes mutants of core/src/*.c from clang's syntax tree (harness/mutants/mutants.py): one operator,
constant, statement or condition changed. Each is compiled and linked with the rest of core into the
shared libraries that core's unit tests, the targets' drivers and the census are linked with in this
build; these, quickest first, run until one fails: that one has killed the mutant. A hang is a kill, and so is a
process that grows past its limits. Mutants with the object code of the original are not counted, nor
are those that do not compile or that harness/mutants/named.tsv names, with the reason why nothing can or
need notice them. Survivors show what no test and no rule looks at.

  --list            print the mutants and end
  --show ID         print the mutant's difference, what became of it, and its name, and end
  --try ID          this one only, as after a test was added for it (may be repeated)
  --file NAME       of this source file only, as freelist (may be repeated)
  --sample SECONDS  begin no mutant after so long; they come in an order drawn by the seed
  --seed TEXT       of the order, default 1
  --jobs N          mutants at a time, default 2
  --floor PERCENT   the score that is enough, default 95; a sample may miss it by three standard errors
  --json            one object a file, and one a survivor
  --project DIR     other libraries and killers than core's; harness/test/mutants.sh shows what is in it

Core is compiled so that undefined behaviour ends it, as the sanitizers of preset `check` would have it.

Results stay in build/mutants for as long as file, headers and killers are the same: a run that was
ended, by Ctrl-C as well, goes on where it was. Exit status: 0 the floor is reached, 1 it is not or a
killer fails without any mutant, 2 bad usage.
TEXT
}

die() {
    printf 'mutants.sh: %s\n' "$2" >&2
    exit "$1"
}

list=no show='' only=() tried_ids=() sample=0 seed=1 jobs=2 floor=95 json=no project=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --list) list=yes ;;
    --json) json=yes ;;
    --show)
        [[ ${2-} =~ ^[a-z0-9_]+\.[0-9]+$ ]] || die 2 "--show '${2-}': expected an id as --list has them"
        show=$2 only=("${2%.*}")
        shift
        ;;
    --try)
        [[ ${2-} =~ ^[a-z0-9_]+\.[0-9]+$ ]] || die 2 "--try '${2-}': expected an id as --list has them"
        tried_ids+=("$2") only+=("${2%.*}")
        shift
        ;;
    --file)
        [[ ${2-} =~ ^[a-z0-9_]+$ ]] || die 2 "--file '${2-}': expected a name as freelist"
        only+=("$2")
        shift
        ;;
    --seed)
        [[ ${2-} =~ ^[A-Za-z0-9]+$ ]] || die 2 "--seed '${2-}': expected letters and digits"
        seed=$2
        shift
        ;;
    --sample | --jobs | --floor)
        [[ ${2-} =~ ^[0-9]{1,6}$ ]] || die 2 "$1 '${2-}': expected a whole number"
        case $1 in
        --sample) sample=$2 ;;
        --jobs) jobs=$2 ;;
        --floor) floor=$2 ;;
        esac
        shift
        ;;
    --project)
        [ -s "${2-}/killers" ] || die 2 "--project '${2-}': expected a folder with a file named killers"
        project=$(cd "$2" && pwd)
        shift
        ;;
    *) die 2 "unknown argument '$1', see --help" ;;
    esac
    shift
done
[ "$jobs" -gt 0 ] || die 2 "--jobs 0: expected one or more"

cd "$(dirname "$0")/.."
root=$PWD
ci/setup.sh build fuzz mutants

# ---- What is changed, and who is to notice --------------------------------------------------------

# A project is a folder with
#   sources            paths of the files to be changed, one a line
#   killers            name, libraries that it loads (with commas), command; parted by tabs
#   named              mutants that need no killer, see harness/mutants/mutants.py
#   LIBRARY/NAME.o     the objects of a library
#   LIBRARY/compile    the compiler with its flags
if [ -z "$project" ]; then
    dir=$root/build/mutants
    build=$dir/build
    project=$dir/project
    mkdir -p "$project"
else
    dir=$project/results
    build=''
fi
mkdir -p "$dir/runs" "$dir/kept"

# The compiler and flags of a source in one of the build's libraries, without the strict warnings.
compile_of() {
    jq -r --arg file "$root/core/src/$1" --arg object "$2" \
        '.[] | select(.file == $file and (.command | contains($object))) | .command' \
        "$build/compile_commands.json" | sed -e 's/ -o .*//' -e 's/ -W[a-z][^ ]*//g'
}

library() {
    local name=$1 objects=$2 source=$3 object
    rm -rf "${project:?}/$name"
    mkdir -p "$project/$name"
    for object in "$build/$objects"/*.c.o; do
        ln -s "$object" "$project/$name/$(basename "$object" .c.o).o"
    done
    compile_of "$source" "$objects" >"$project/$name/compile"
    [ -s "$project/$name/compile" ] || die 1 "$build/compile_commands.json does not say how $source is compiled"
}

prepare_core() {
    local name target corpus library targets=(heaprig_fuzz heaprig harness_census ntheap_malloc)
    for name in core/test/*.c; do
        targets+=("core_$(basename "$name" .c)")
    done
    for name in core/test/child/*.c; do
        targets+=("child_$(basename "$name" .c)")
    done
    {
        cmake -S . -B "$build" -G Ninja -DHEAPRIG_COMPILERS='clang-14;clang' -DHEAPRIG_FLAGS=-O1 \
            -DHEAPRIG_MUTANTS=ON &&
            cmake --build "$build" -j "$jobs" --target "${targets[@]}"
    } >"$dir/build.log" 2>&1 || {
        tail -n 30 "$dir/build.log" >&2
        die 1 "core and its tests do not build, see build/mutants/build.log"
    }
    ls core/src/*.c >"$project/sources"
    library libntheap.so.0 core/CMakeFiles/ntheap_objects.dir/src heap.c
    library libntheap-stress.so harness/targets/CMakeFiles/ntheap_stress_objects.dir/__/__/core/src heap.c
    library libntheap-malloc.so core/CMakeFiles/ntheap_malloc.dir/src malloc.c
    {
        for name in core/test/*.c; do
            name=core_$(basename "$name" .c)
            case $name in
            # Every bit of a heap's metadata, and thousands of overwrites: a minute and more each.
            core_flips | core_overwrite) continue ;;
            core_malloc) library=libntheap.so.0,libntheap-malloc.so ;;
            *) library=libntheap.so.0 ;;
            esac
            printf '%s\t%s\t%s\n' "$name" "$library" "$build/bin/$name"
        done
        while read -r target corpus; do
            case $target in
            text_*) continue ;; # has no core
            *_stress_*) library=libntheap-stress.so ;;
            *) library=libntheap.so.0 ;;
            esac
            printf '%s\t%s\t%s\n' "$target" "$library" "$build/bin/$target $build/corpus/$corpus"
        done <"$build/targets.list"
        # What a heap has committed is told byte for byte; and some changes of its metadata.
        printf '%s\t%s\t%s\n' harness_census libntheap.so.0 "$build/bin/harness_census" \
            census libntheap.so.0 "$build/bin/heaprig census --states $root/corpus/census --every 20000"
    } >"$project/killers.new"
    mv "$project/killers.new" "$project/killers"
}
if [ -n "$build" ]; then
    prepare_core
fi

sources=()
while read -r path; do
    name=$(basename "$path" .c)
    if [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $name "* ]]; then
        sources+=("$path")
    fi
done <"$project/sources"
for name in "${only[@]}"; do
    grep -Eq "(^|/)$name\.c$" "$project/sources" || die 2 "no such file: $name.c"
done
declare -A path_of=()
for path in "${sources[@]}"; do
    path_of[$(basename "$path" .c)]=$path
done

# The mutants, in the order of the seed.
parse_flags() {
    local path=$1 folder
    for folder in "$project"/lib*; do
        if [ -e "$folder/$(basename "$path" .c).o" ]; then
            tr ' ' '\n' <"$folder/compile" | grep -E '^-(I|D|std)'
            return
        fi
    done
    die 1 "$path is in no library"
}
mapfile -t flags < <(parse_flags "${sources[0]}")
order=$seed names=$project/named
if [ -n "$build" ]; then
    names=harness/mutants/named.tsv
fi
if [ "$list" = yes ] || [ -n "$show" ]; then
    order=''
fi
trap 'rm -f "$dir"/list*".$$"' EXIT
/usr/bin/python3 harness/mutants/mutants.py "$order" "$names" "${sources[@]}" -- "${flags[@]}" \
    "-I$(dirname "${sources[0]}")" >"$dir/list.$$" 2>"$dir/list.err.$$" ||
    die 2 "$(tail -n 1 "$dir/list.err.$$")"
if [ ${#tried_ids[@]} -gt 0 ]; then
    awk -F'\t' -v ids="${tried_ids[*]}" '
        BEGIN { count = split(ids, part, " "); for (i = 1; i <= count; i++) wanted[part[i]] = 1 }
        $1 in wanted' "$dir/list.$$" >"$dir/list.tried.$$"
    mv "$dir/list.tried.$$" "$dir/list.$$"
    for id in "${tried_ids[@]}"; do
        grep -q "^${id//./\\.}	" "$dir/list.$$" || die 2 "no such mutant: $id"
    done
fi

# Bytes [start, end) of a file replaced.
mutated() {
    local path=$1 start=$2 end=$3 new=$4
    head -c "$start" "$path"
    jq -rj . <<<"$new"
    tail -c +$((end + 1)) "$path"
}

# What stands there in the original, in one line.
original() {
    head -c "$3" "$1" | tail -c +$(($2 + 1)) | tr -s '\n ' ' '
}

difference() {
    local id=$1 path=$2 start=$3 end=$4 new=$5
    mutated "$path" "$start" "$end" "$new" |
        diff -U 1 --label "$path" --label "$id" "$path" - || true
}

if [ "$list" = yes ]; then
    while IFS=$'\t' read -r id kind function line start end new _; do
        printf '%-16s %-10s %-32s %s -> %s\n' "$id" "$kind" "$function:$line" \
            "$(original "${path_of[${id%.*}]}" "$start" "$end")" "$(jq -r . <<<"$new" | tr -s '\n ' ' ')"
    done <"$dir/list.$$"
    exit 0
fi

# ---- Keys of what is kept -------------------------------------------------------------------------

# The killers: their programs, libraries that are exchanged aside, and all that they read.
killers_mark=$(cut -f3 "$project/killers" | tr ' ' '\n' | sort -u | while read -r word; do
    if [ -d "$word" ]; then
        find "$word" -type f -exec sha256sum {} + | sort
    elif [ -f "$word" ]; then
        sha256sum "$word"
    fi
done | cat - "$project/killers" | sha256sum)
killers_mark=${killers_mark:0:16}

declare -A kept=()
for path in "${sources[@]}"; do
    mark=$(cat "$path" "$(dirname "$path")"/*.h "$project"/lib*/compile 2>/dev/null | sha256sum)
    kept[$(basename "$path" .c)]=$dir/kept/$(basename "$path" .c).${mark:0:16}.$killers_mark
    touch "${kept[$(basename "$path" .c)]}"
done

# A mutant by what it is: numbers change when the list grows.
key() {
    printf '%s:%s-%s:%s' "${1%.*}" "$2" "$3" "$4"
}

if [ -n "$show" ]; then
    IFS=$'\t' read -r id kind function line start end new reason name < <(grep "^${show//./\\.}	" "$dir/list.$$") ||
        die 2 "no such mutant: $show"
    difference "$id" "${path_of[${id%.*}]}" "$start" "$end" "$new"
    KEY=$(key "$id" "$start" "$end" "$new") awk -F'\t' -v id="$id" '
        BEGIN { key = ENVIRON["KEY"] }
        $1 == key { found = 1; print id ": " $2 ($3 == "-" ? "" : " by " $3 ": " $4) }
        END { if (!found) print id ": not tried yet" }' "${kept[${id%.*}]}"
    if [ "$reason" != - ]; then
        echo "$id: $reason"
    fi
    printf '%s\n' "$name"
    exit 0
fi

# ---- Core as it is survives everything ------------------------------------------------------------

# Run one killer with core's libraries from a folder; 0 when it passes. The first line of what it said
# is left in $3/how.
strike() {
    local name=$1 libraries=$2 work=$3 ms=$4 command status=0 pid
    read -ra command < <(awk -F'\t' -v name="$name" '$1 == name { print $3 }' "$project/killers")
    mkdir -p "$work/cwd"
    (
        cd "$work/cwd"
        # 64 MiB of a file, 16 GiB of addresses: no mutant may fill the disk or the memory.
        ulimit -c 0 -f 65536 -v 16777216 -t $((ms * 3 / 1000 + 3))
        export LD_LIBRARY_PATH=$libraries
        exec timeout -s KILL $((ms * 5 / 1000 + 10)) "${command[@]}"
    ) >"$work/log" 2>&1 &
    pid=$!
    trap 'kill -KILL -- "-$pid" 2>/dev/null; exit 1' TERM
    wait "$pid" 2>/dev/null || status=$?
    trap - TERM
    kill -KILL -- "-$pid" 2>/dev/null || true # children that it left behind
    case $status in
    0) ;;
    137 | 152) echo 'does not end' >"$work/how" ;;
    *)
        {
            sed -n 's/^finding: \([^ ]* [^:]*\):.*/\1/p' "$work/log"
            sed -n 's/^\[  FAILED  \] \([a-z_0-9]*\).*/\1/p' "$work/log" | tail -n1
            grep -aim1 -e 'assert' -e 'the subject ended' -e 'the rig itself is broken' "$work/log" || true
            echo "status $status"
        } | grep -am1 . | tr -d '\t\r' | cut -c1-80 >"$work/how"
        ;;
    esac
    rm -rf "$work/cwd" "$work/log"
    return "$status"
}

# Libraries without any mutant, as they are linked with one.
link() {
    local library=$1 out=$2 changed=$3 object objects=() compiler
    read -r compiler _ <"$project/$library/compile"
    for object in "$project/$library"/*.o; do
        if [ "$(basename "$object")" != "$(basename "$changed")" ]; then
            objects+=("$object")
        fi
    done
    "$compiler" -shared -Wl,-soname,"$library" -o "$out/$library" "${objects[@]}" "$changed" -lpthread
}

original_libraries() {
    local folder objects
    rm -rf "$dir/original"
    mkdir -p "$dir/original"
    for folder in "$project"/lib*; do
        objects=("$folder"/*.o)
        link "$(basename "$folder")" "$dir/original" "${objects[0]}" ||
            die 1 "$(basename "$folder") cannot be linked"
    done
}

# How long each killer takes, quickest first: kept with the killers.
base=$dir/kept/killers.$killers_mark
work=$dir/runs/$$
trap 'rm -rf "$dir"/list*".$$" "$work"' EXIT
mkdir -p "$work"
original_libraries
if [ ! -s "$base" ]; then
    while IFS=$'\t' read -r name _ _; do
        began=$(date +%s%N)
        strike "$name" "$dir/original" "$work" 600000 ||
            die 1 "core itself does not get through $name: $(cat "$work/how")"
        printf '%d\t%s\n' $((($(date +%s%N) - began) / 1000000)) "$name"
    done <"$project/killers" | sort -n >"$base.new"
    mv "$base.new" "$base"
fi

# Killers of a file, quickest first: those that load a library which it is in.
declare -A killers_of=() needs=() ms_of=()
while IFS=$'\t' read -r name libraries _; do
    needs[$name]=$libraries
done <"$project/killers"
while IFS=$'\t' read -r ms name; do
    ms_of[$name]=$ms
    for file in "${!path_of[@]}"; do
        for library in ${needs[$name]//,/ }; do
            if [ -e "$project/$library/$file.o" ]; then
                killers_of[$file]+=" $name"
                break
            fi
        done
    done
done <"$base"

# ---- One mutant -----------------------------------------------------------------------------------

# Mutants and their originals are compiled in the same way: from a text, with the same name told.
compile() {
    local library=$1 path=$2 out=$3 text=$4 command
    read -ra command <"$project/$library/compile"
    { printf '# 1 "%s"\n' "$path" && cat "$text"; } |
        "${command[@]}" "-I$(dirname "$path")" -Werror=return-type -x c -c - -o "$out" 2>/dev/null
}

declare -A plain=()
for file in "${!path_of[@]}"; do
    for folder in "$project"/lib*; do
        if [ -e "$folder/$file.o" ]; then
            library=$(basename "$folder")
            plain[$file]+=" $library"
            mkdir -p "$dir/plain/$library"
            compile "$library" "${path_of[$file]}" "$dir/plain/$library/$file.o" "${path_of[$file]}" ||
                die 1 "${path_of[$file]} does not compile"
        fi
    done
done

# Make the mutant's library: 0 done, 1 it does not compile, 2 it is the same as the original.
make_library() {
    local library=$1 path=$2 work=$3 file
    file=$(basename "$path" .c)
    compile "$library" "$path" "$work/$file.o" "$work/$file.c" || return 1
    if cmp -s "$work/$file.o" "$dir/plain/$library/$file.o"; then
        return 2
    fi
    link "$library" "$work/libraries" "$work/$file.o"
}

# Leaves "key status killer how ms" behind, parted by tabs.
trial() {
    local id=$1 function=$2 start=$3 end=$4 new=$5 work=$dir/runs/$$/$1 file=${1%.*} began path
    local killer library made=' ' same=' ' status=survived by=- how=- favourite='' result
    path=${path_of[$file]}
    began=$(date +%s%N)
    mkdir -p "$work/libraries"
    for library in "$dir"/original/*; do
        ln -s "$library" "$work/libraries/"
    done
    mutated "$path" "$start" "$end" "$new" >"$work/$file.c"
    if [ -s "$dir/runs/last.$file.$function" ]; then
        favourite=$(<"$dir/runs/last.$file.$function")
        # Left by other killers, it may be none any more.
        [[ " ${killers_of[$file]} " == *" $favourite "* ]] || favourite=''
    fi
    for killer in $favourite ${killers_of[$file]}; do
        for library in ${needs[$killer]//,/ }; do
            if [[ " ${plain[$file]} " == *" $library "* && $made$same != *" $library "* ]]; then
                rm -f "$work/libraries/$library"
                result=0
                make_library "$library" "$path" "$work" || result=$?
                case $result in
                0) made+="$library " ;;
                2)
                    ln -s "$dir/original/$library" "$work/libraries/"
                    same+="$library "
                    ;;
                *)
                    status=broken
                    break 2
                    ;;
                esac
            fi
        done
        # With nothing changed in what it loads there is nothing to notice.
        for library in ${needs[$killer]//,/ }; do
            if [[ $made == *" $library "* ]]; then
                if ! strike "$killer" "$work/libraries" "$work" "${ms_of[$killer]}"; then
                    status=killed by=$killer how=$(cat "$work/how")
                    echo "$killer" >"$dir/runs/last.$file.$function"
                    break 2
                fi
                break
            fi
        done
    done
    if [ "$status" = survived ] && [ "$made" = ' ' ]; then
        status=same
    fi
    printf '%s\t%s\t%s\t%s\t%d\n' "$(key "$id" "$start" "$end" "$new")" "$status" "$by" "$how" \
        $((($(date +%s%N) - began) / 1000000)) >>"${kept[$file]}"
    rm -rf "$work"
}

# ---- All of them ----------------------------------------------------------------------------------

stopped=no
declare -A pids=()
finish() {
    local pid
    stopped=yes
    for pid in "${!pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
}
trap finish INT TERM

# Wait until a mutant is done. bash forgets some that ended meanwhile, so look who is still there.
reap() {
    local pid
    wait -n "${!pids[@]}" 2>/dev/null || true
    for pid in "${!pids[@]}"; do
        kill -0 "$pid" 2>/dev/null || unset "pids[$pid]"
    done
}

total=$(wc -l <"$dir/list.$$") done_before=0 begun=0 SECONDS=0
declare -A known=()
for file in "${!path_of[@]}"; do
    while IFS=$'\t' read -r id _; do
        known["$id"]=yes
    done <"${kept[$file]}"
done
while IFS=$'\t' read -r id kind function line start end new reason _; do
    if [ "$stopped" = yes ] || { [ "$sample" -gt 0 ] && [ "$SECONDS" -ge "$sample" ]; }; then
        break
    fi
    if [ "$reason" != - ]; then
        continue
    fi
    if [ -n "${known["$(key "$id" "$start" "$end" "$new")"]-}" ]; then
        done_before=$((done_before + 1))
        continue
    fi
    while [ ${#pids[@]} -ge "$jobs" ]; do
        reap
        [ "$stopped" = no ] || break 2
    done
    trial "$id" "$function" "$start" "$end" "$new" </dev/null 2>>"$dir/errors" & # "Killed", and so on
    pids[$!]=$id
    begun=$((begun + 1))
    if [ -t 2 ]; then
        printf '\r%d of %d, %s\033[K' $((done_before + begun)) "$total" "$id" >&2
    fi
done <"$dir/list.$$"
while [ ${#pids[@]} -gt 0 ]; do
    reap
done
trap - INT TERM
took=$SECONDS
if [ -t 2 ]; then
    printf '\r\033[K' >&2
fi

# ---- Tell -----------------------------------------------------------------------------------------

# A line a mutant that is known: id status killer how ms, and what the list says of it.
for file in "${!path_of[@]}"; do
    cat "${kept[$file]}"
done | awk -F'\t' -v OFS='\t' '
    FNR == NR { known[$1] = $2 OFS $3 OFS $4 OFS $5; next }
    {
        split($1, part, ".")
        key = part[1] ":" $5 "-" $6 ":" $7
        if ($8 == "-" && key in known) print $1, known[key], $2, $3, $4, $5, $6, $7
    }' - "$dir/list.$$" >"$work/joined"

table() {
    awk -F'\t' -v json="$json" '
        FNR == NR { split($1, part, "."); all[part[1]]++; count[part[1], "named"] += $8 != "-"; next }
        { split($1, part, "."); count[part[1], $2]++ }
        function row(name, mutants, killed, survived, same, broken, named) {
            counted = killed + survived
            score = counted ? sprintf("%.1f", 100 * killed / counted) : "-"
            if (json == "yes")
                printf "{\"file\":\"%s\",\"mutants\":%d,\"killed\":%d,\"survived\":%d,\"same\":%d,\"broken\":%d,\"named\":%d,\"untried\":%d,\"score\":%s}\n",
                    name, mutants, killed, survived, same, broken, named,
                    mutants - counted - same - broken - named, counted ? score : "null"
            else
                printf "%-14s %8d %8d %9d %8d %8d %8d %8d %8s\n", name, mutants, killed, survived, same,
                    broken, named, mutants - counted - same - broken - named, score
        }
        END {
            if (json != "yes")
                printf "%-14s %8s %8s %9s %8s %8s %8s %8s %8s\n", "file", "mutants", "killed",
                    "survived", "same", "broken", "named", "untried", "score %"
            n = 0
            for (name in all) names[++n] = name
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && names[j - 1] > names[j]; j--) {
                    swap = names[j]; names[j] = names[j - 1]; names[j - 1] = swap
                }
            for (i = 1; i <= n; i++) {
                name = names[i]
                row(name, all[name], count[name, "killed"], count[name, "survived"],
                    count[name, "same"], count[name, "broken"], count[name, "named"])
                a += all[name]; k += count[name, "killed"]; s += count[name, "survived"]
                e += count[name, "same"]; b += count[name, "broken"]
                d += count[name, "named"]
            }
            row("all", a, k, s, e, b, d)
        }' "$dir/list.$$" "$work/joined"
}

survivors() {
    awk -F'\t' '$2 == "survived"' "$work/joined" | sort -t$'\t' -k1,1V
}

if [ "$json" = no ]; then
    survivors | while IFS=$'\t' read -r id _ _ _ _ kind function line start end new; do
        difference "$id" "${path_of[${id%.*}]}" "$start" "$end" "$new"
    done
    echo
fi
table
if [ "$json" = yes ]; then
    survivors | while IFS=$'\t' read -r id _ _ _ _ kind function line start end new; do
        jq -cn --arg id "$id" --arg kind "$kind" --arg function "$function" --argjson line "$line" \
            --arg old "$(original "${path_of[${id%.*}]}" "$start" "$end")" --argjson new "$new" \
            '{survivor: $id, $kind, $function, $line, $old, $new}'
    done
else
    read -r tried ms < <(awk -F'\t' '{ ms += $5 } END { print NR, ms + 0 }' "$work/joined")
    printf '\n%d mutants, %d known before, %d tried now in %d s; seed %s\n' "$total" "$done_before" \
        "$begun" "$took" "$seed"
    if [ "$tried" -gt 0 ]; then
        printf 'all of them take about %d s with %d at a time\n' $((ms * total / tried / 1000 / jobs)) "$jobs"
    fi
fi
# Of few mutants the score says little: a sample fails where luck alone can hardly be the reason.
awk -F'\t' -v floor="$floor" '
    FNR == NR { total += $8 == "-"; next }
    { n[$2]++ }
    END {
        counted = n["killed"] + n["survived"]
        left = total - counted - n["same"] - n["broken"]
        slack = counted ? 3 * sqrt(floor * (100 - floor) / counted * left / total) : 0
        exit !(counted && 100 * n["killed"] / counted >= floor - slack)
    }' "$dir/list.$$" "$work/joined"
