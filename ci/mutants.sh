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
process that grows past its limits. A killer is left out where it runs none of the mutant's lines, as a
build that counts lines has told before. Mutants with the object code of the original are not counted, nor
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

Results stay in build/mutants for as long as file and headers are the same: a run that was ended, by
Ctrl-C as well, goes on where it was. A killed mutant stays killed while its killer is the same program
over the same files; a survivor meets the killers that are new. Exit status: 0 the floor is reached, 1 it is not or a
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

. ci/lib/killers.sh
killers_read

declare -A kept=()
for path in "${sources[@]}"; do
    mark=$(cat "$path" "$(dirname "$path")"/*.h "$project"/lib*/compile 2>/dev/null | sha256sum)
    kept[$(basename "$path" .c)]=$dir/kept/$(basename "$path" .c).${mark:0:16}
    touch "${kept[$(basename "$path" .c)]}"
done

# A mutant by what it is: numbers change when the list grows.
key() {
    printf '%s:%s-%s:%s' "${1%.*}" "$2" "$3" "$4"
}

# The last word on each mutant: key, status, killer, how, ms, and "now"; of one that survived other
# killers, their mark in place of that.
known_results() {
    local file
    for file in "${!path_of[@]}"; do
        cat "${kept[$file]}"
    done | awk -F'\t' -v OFS='\t' -v marks="$dir/kept/marks.$killers_mark" -v all="$killers_mark" '
        BEGIN { while ((getline row < marks) > 0) { split(row, word, " "); mark[word[1]] = word[2] } }
        NF == 6 { last[$1] = $0 }
        END {
            for (key in last) {
                $0 = last[key]
                if ($2 != "survived" && ($2 != "killed" || mark[$3] == $6)) $6 = "now"
                else if ($2 == "killed") continue
                else if ($6 == all) $6 = "now"
                print
            }
        }'
}

if [ -n "$show" ]; then
    IFS=$'\t' read -r id kind function line start end new reason name < <(grep "^${show//./\\.}	" "$dir/list.$$") ||
        die 2 "no such mutant: $show"
    difference "$id" "${path_of[${id%.*}]}" "$start" "$end" "$new"
    known_results | KEY=$(key "$id" "$start" "$end" "$new") awk -F'\t' -v id="$id" '
        BEGIN { key = ENVIRON["KEY"] }
        $1 == key && $6 == "now" { found = 1; print id ": " $2 ($3 == "-" ? "" : " by " $3) ($4 == "-" ? "" : ": " $4) }
        END { if (!found) print id ": not tried yet" }'
    if [ "$reason" != - ]; then
        echo "$id: $reason"
    fi
    printf '%s\n' "$name"
    exit 0
fi

# ---- Core as it is survives everything ------------------------------------------------------------

work=$dir/runs/$$
# Whoever of them has ended by now is no matter.
children_end() {
    local pid
    for pid in "${!pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
}
trap 'children_end; rm -rf "$dir"/list*".$$" "$work"' EXIT
mkdir -p "$work"
original_libraries
killers_measure

# ---- One mutant -----------------------------------------------------------------------------------

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

# Leaves "key status killer how ms mark" behind, parted by tabs; the mark is of the killer, or of all
# that a mutant survived. Killers that it met before, those with the mark $7, are left out.
trial() {
    local id=$1 function=$2 start=$3 end=$4 new=$5 line=$6 met=$7 work=$dir/runs/$$/$1 file=${1%.*} began path
    local killer killers library made=' ' same=' ' status=survived by=- how=- mark=$killers_mark favourite='' result
    path=${path_of[$file]}
    began=$(date +%s%N)
    mkdir -p "$work/libraries"
    for library in "$dir"/original/*; do
        ln -s "$library" "$work/libraries/"
    done
    mutated "$path" "$start" "$end" "$new" >"$work/$file.c"
    killers=" $(killers_at "$file" "$line" $((line + $(head -c "$end" "$path" | tail -c +$((start + 1)) | tr -dc '\n' | wc -c))))"
    if [ "$killers" = ' ' ]; then
        # Or none was seen to: what a process does before its counters are there is not counted.
        how='no killer was seen to run its lines' killers=" ${killers_of[$file]} "
    fi
    if [ -s "$dir/runs/last.$file.$function" ]; then
        favourite=$(<"$dir/runs/last.$file.$function")
        # Left by other killers, or one that is elsewhere in the function.
        if [[ $killers == *" $favourite "* ]]; then
            killers=" $favourite${killers/ $favourite / }"
        fi
    fi
    for killer in $killers; do
        if [ "$met" != - ] && grep -q "^$killer ${mark_of[$killer]}$" "$dir/kept/marks.$met"; then
            continue
        fi
        for library in ${libraries_of[$killer]//,/ }; do
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
        for library in ${libraries_of[$killer]//,/ }; do
            if [[ $made == *" $library "* ]]; then
                if ! strike "$killer" "$work/libraries" "$work" "${ms_of[$killer]}"; then
                    status=killed by=$killer how=$(cat "$work/how") mark=${mark_of[$killer]}
                    echo "$killer" >"$dir/runs/last.$file.$function"
                    break 2
                fi
                break
            fi
        done
    done
    if [ "$status" = survived ] && [ "$made" = ' ' ] && [ "$met" = - ]; then
        status=same how=-
    fi
    printf '%s\t%s\t%s\t%s\t%d\t%s\n' "$(key "$id" "$start" "$end" "$new")" "$status" "$by" "$how" \
        $((($(date +%s%N) - began) / 1000000)) "$mark" >>"${kept[$file]}"
    rm -rf "$work"
}

# ---- All of them ----------------------------------------------------------------------------------

stopped=no
finish() {
    stopped=yes
    children_end
}
trap finish INT TERM

total=$(wc -l <"$dir/list.$$") done_before=0 begun=0 SECONDS=0
declare -A known=()
while IFS=$'\t' read -r id _ _ _ _ met; do
    known["$id"]=$met
done < <(known_results)
while IFS=$'\t' read -r id kind function line start end new reason _; do
    if [ "$stopped" = yes ] || { [ "$sample" -gt 0 ] && [ "$SECONDS" -ge "$sample" ]; }; then
        break
    fi
    if [ "$reason" != - ]; then
        continue
    fi
    met=${known["$(key "$id" "$start" "$end" "$new")"]--}
    if [ "$met" = now ]; then
        done_before=$((done_before + 1))
        continue
    fi
    while [ ${#pids[@]} -ge "$jobs" ]; do
        reap
        [ "$stopped" = no ] || break 2
    done
    trial "$id" "$function" "$start" "$end" "$new" "$line" "$met" </dev/null 2>>"$dir/errors" & # "Killed", and so on
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
known_results | awk -F'\t' -v OFS='\t' '
    FNR == NR { if ($6 == "now") known[$1] = $2 OFS $3 OFS $4 OFS $5; next }
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
    survivors | while IFS=$'\t' read -r id _ _ how _ kind function line start end new; do
        difference "$id" "${path_of[${id%.*}]}" "$start" "$end" "$new"
        [ "$how" = - ] || printf '%s: %s\n' "$id" "$how"
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
