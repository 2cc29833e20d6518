#!/usr/bin/env bash
# Part of ci/mutants.sh: what looks at mutants, how long each of it takes, and which lines it runs.
# Expects its variables: dir, project, jobs, path_of.
# shellcheck disable=SC2154 # they are set there

# The killers by name: what they load, what they run, and a mark that is another one when the program,
# but for libraries that are exchanged, or anything that it reads is another.
declare -A libraries_of=() command_of=() mark_of=()
killers_read() {
    local name libraries command mark word
    while IFS=$'\t' read -r name libraries command; do
        mark=$(for word in $command; do
            if [ -d "$word" ]; then
                find "$word" -type f -exec sha256sum {} + | sort
            elif [ -f "$word" ]; then
                sha256sum "$word"
            fi
        done | cat - <(printf '%s\n' "$libraries" "$command") | sha256sum)
        libraries_of[$name]=$libraries command_of[$name]=$command mark_of[$name]=${mark:0:16}
    done <"$project/killers"
    for name in "${!mark_of[@]}"; do
        echo "$name ${mark_of[$name]}"
    done | sort >"$dir/kept/marks.new"
    killers_mark=$(sha256sum <"$dir/kept/marks.new")
    killers_mark=${killers_mark:0:16}
    mv "$dir/kept/marks.new" "$dir/kept/marks.$killers_mark"
}

# Mutants and their originals are compiled in the same way: from a text, with the same name told.
# compile LIBRARY PATH OUT TEXT [FLAG...]
compile() {
    local library=$1 path=$2 out=$3 text=$4 command
    shift 4
    read -ra command <"$project/$library/compile"
    { printf '# 1 "%s"\n' "$path" && cat "$text"; } |
        "${command[@]}" "-I$(dirname "$path")" -Werror=return-type "$@" -x c -c - -o "$out" 2>/dev/null
}

# Run one killer with core's libraries from a folder; 0 when it passes. The first line of what it said
# is left in $3/how.
strike() {
    local name=$1 libraries=$2 work=$3 ms=$4 command status=0 pid
    read -ra command <<<"${command_of[$name]}"
    mkdir -p "$work/cwd"
    (
        cd "$work/cwd" || exit
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

# The same with counters of lines: what a killer runs of a source is what it can notice there.
counted_libraries() {
    local folder library compiler command path object objects out=$dir/counted
    rm -rf "$out"
    for folder in "$project"/lib*; do
        library=$(basename "$folder") objects=()
        mkdir -p "$out/$library.objects"
        read -ra command <"$folder/compile"
        for object in "$folder"/*.o; do
            while read -r path; do
                if [ "$(basename "$path" .c)" = "$(basename "$object" .o)" ]; then
                    object=$out/$library.objects/$(basename "$object")
                    "${command[@]}" "-I$(dirname "$path")" -fprofile-instr-generate -fcoverage-mapping \
                        -mllvm -runtime-counter-relocation -c "$path" -o "$object" 2>/dev/null ||
                        die 1 "$path does not compile with counters"
                    break
                fi
            done <"$project/sources"
            objects+=("$object")
        done
        compiler=${command[0]}
        "$compiler" -shared -fprofile-instr-generate -Wl,-soname,"$library" -o "$out/$library" \
            "${objects[@]}" -lpthread || die 1 "$library with counters cannot be linked"
    done
}

# How long a killer takes, and a line "file line 1" for each line of the sources that it runs, 0 for one
# that it does not; nothing when the counters are too much for it. 1 when core itself does not get through.
measure() {
    local name=$1 out=$2 work=$dir/runs/$$/measure.$1 began library objects=()
    mkdir -p "$work/profile"
    began=$(date +%s%N)
    strike "$name" "$dir/original" "$work" 600000 || {
        printf 'mutants.sh: core itself does not get through %s: %s\n' "$name" "$(cat "$work/how")" >&2
        return 1
    }
    echo $((($(date +%s%N) - began) / 1000000)) >"$out.new"
    # Ones that die count as well: the counters are a file in memory.
    if LLVM_PROFILE_FILE=$work/profile/%p-%m%c.profraw strike "$name" "$dir/counted" "$work" 600000 &&
        llvm-profdata-14 merge -sparse "$work/profile" -o "$work/profdata" 2>/dev/null; then
        for library in ${libraries_of[$name]//,/ }; do
            objects+=(-object "$dir/counted/$library")
        done
        llvm-cov-14 export -format=lcov -instr-profile "$work/profdata" "${objects[@]:1}" 2>/dev/null |
            awk -F'[:,]' '
                $1 == "SF" { file = $2; sub(/.*\//, "", file); sub(/\.c$/, "", file); ours = file !~ /\.h$/ }
                $1 == "DA" && ours { print file, $2, ($3 > 0) }' >>"$out.new"
    fi
    rm -rf "$work"
    mv "$out.new" "$out"
}

# Wait until one of those in pids is done. bash forgets some that ended meanwhile, so look who is still there.
declare -A pids=()
reap() {
    local pid
    wait -n "${!pids[@]}" 2>/dev/null || true
    for pid in "${!pids[@]}"; do
        kill -0 "$pid" 2>/dev/null || unset "pids[$pid]"
    done
}

# Sets ms_of, and killers_of of each file, the quickest first: those that load a library which it is in.
# Leaves in $dir/lines a file for each source, "line killer killer" for each line with code.
declare -A ms_of=() killers_of=()
uncounted=' '
killers_measure() {
    local name out file library known counted=no files=()
    known=$({
        cat "$project"/lib*/compile
        xargs cat <"$project/sources"
        cat "$(dirname "$(head -n 1 "$project/sources")")"/*.h
    } | sha256sum)
    known=$dir/kept/lines.${known:0:16}
    mkdir -p "$known"
    for name in "${!mark_of[@]}"; do
        out=$known/$name.${mark_of[$name]}
        files+=("$out")
        if [ -s "$out" ]; then
            continue
        fi
        if [ "$counted" = no ]; then
            counted_libraries
            counted=yes
        fi
        while [ ${#pids[@]} -ge "$jobs" ]; do
            reap
        done
        measure "$name" "$out" </dev/null &
        pids[$!]=$name
    done
    while [ ${#pids[@]} -gt 0 ]; do
        reap
    done
    for out in "${files[@]}"; do
        [ -s "$out" ] || exit 1 # it has said why
    done

    rm -rf "$dir/lines"
    mkdir -p "$dir/lines"
    awk -v dir="$dir/lines" '
        FNR == 1 { name = FILENAME; sub(/.*\//, "", name); sub(/\.[^.]*$/, "", name); next }
        { code[$1 " " $2]; if ($3) killers[$1 " " $2] = killers[$1 " " $2] " " name }
        END { for (key in code) { split(key, part, " "); print part[2] killers[key] >(dir "/" part[1]) } }' "${files[@]}"
    while read -r ms name; do
        # shellcheck disable=SC2034 # a mutant's time is bounded by it
        ms_of[$name]=$ms
        if [ "$(wc -l <"$known/$name.${mark_of[$name]}")" -eq 1 ]; then
            uncounted+="$name "
        fi
        for file in "${!path_of[@]}"; do
            for library in ${libraries_of[$name]//,/ }; do
                if [ -e "$project/$library/$file.o" ]; then
                    killers_of[$file]+=" $name"
                    break
                fi
            done
        done
    done < <(for name in "${!mark_of[@]}"; do
        echo "$(head -n 1 "$known/$name.${mark_of[$name]}") $name"
    done | sort -n)
}

# Those of a file's killers that run any of its lines FIRST to LAST; all of them when no code is there.
killers_at() {
    local file=$1 first=$2 last=$3 there killer
    there=$(awk -v first="$first" -v last="$last" '
        $1 >= first && $1 <= last { code = 1; for (i = 2; i <= NF; i++) if (!seen[$i]++) printf " %s", $i }
        END { print code ? " " : "all" }' "$dir/lines/$file" 2>/dev/null || echo all)
    for killer in ${killers_of[$file]}; do
        if [ "$there" = all ] || [[ "$there$uncounted" == *" $killer "* ]]; then
            printf '%s ' "$killer"
        fi
    done
}
