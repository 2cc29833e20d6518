#!/usr/bin/env bash
# The pages' commands: every script, option, subcommand, preset, target, test and file that they name is
# there; and those of README.md that call a program of this build are run, and print what README.md shows.
# usage: docs.sh BIN SOURCE
set -euo pipefail

bin=$1
source=$(cd "$2" && pwd)
build=$(cd "$bin/.." && pwd)
preset=''
if grep -q '^HEAPRIG_SANITIZERS.*address' "$build/CMakeCache.txt"; then
    grep -q NTH_STRESS "$build/CMakeCache.txt" || preset=check
elif grep -q '^HEAPRIG_FLAGS:STRING=-O2 -g$' "$build/CMakeCache.txt" &&
    grep -q '^HEAPRIG_SANITIZERS:STRING=$' "$build/CMakeCache.txt"; then
    preset=release
fi
if [ -z "$preset" ]; then
    echo "pages speak of presets check and release"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=no

wrong() {
    printf 'docs.sh: %s: %s\n    %s\n' "$file" "$1" "$command" >&2
    bad=yes
}

# Lines "page<tab>command": what is indented as code, and what stands in backticks, broken lines joined. What
# follows after two blanks is a remark.
commands_of() {
    awk -v file="${1#"$source"/}" '
        function tell(text,   part, count, idx) {
            sub(/^\$ /, "", text); sub(/  +[^ ].*$/, "", text); gsub(/[ \n]+/, " ", text); sub(/ \\$/, "", text)
            count = split(text, part, / && /)
            for (idx = 1; idx <= count; idx++) if (part[idx] ~ /^([A-Z_]+=[^ ]+ )*(ci\/[a-z-]+(\/[a-z_-]+)*\.sh|harness\/test\/[a-z_]+\.sh|cmake|ctest|heaprig|build\/[a-z0-9-]+\/bin\/[a-z_]+)( |$)/)
                print file "\t" part[idx]
        }
        function spans(text,   part, count, idx) {
            count = split(text, part, "`")
            for (idx = 2; idx <= count; idx += 2) tell(part[idx])
        }
        /^    / { tell(substr($0, 5)); next }
        /^ *$/ { spans(prose); prose = ""; next }
        /^\|/ { spans($0); next }
        { prose = prose " " $0 }
        END { spans(prose) }' "$1"
}

declare -A helps=()
# has_options HELP-KEY COMMAND...: every --option among the words is in the help of the command.
has_options() {
    local key=$1 word option
    shift
    for word in "$@"; do
        case $word in
        --) break ;; # the rest is another command's
        --?*)
            option=${word%%=*}
            grep -qE -e "(^|[^a-z-])$option($|[^a-z-])" <<<"${helps[$key]}" || wrong "$key has no option $option"
            ;;
        esac
    done
}

presets=" $(jq -r '.configurePresets[].name' "$source/CMakePresets.json" | tr '\n' ' ')"
targets=$(sed -n 's/^ *rig_add_target(\([a-z_]*\).*/\1/p' "$source/harness/targets/CMakeLists.txt")

look() {
    local words key word previous=''
    # Quotes hold no blanks in what is looked at here.
    read -ra words <<<"${command//\'/}"
    while [[ ${words[0]} == *=* ]]; do
        words=("${words[@]:1}")
    done
    for word in "${words[@]}"; do
        if [ "$previous" = --preset ] && [[ $presets != *" $word "* ]]; then
            wrong "there is no preset $word"
        fi
        case $word in
        corpus/* | core/* | faults/* | harness/*)
            [ "${words[0]}" = ctest ] || compgen -G "$source/$word" >/dev/null || wrong "there is no $word"
            ;;
        *_fuzzer) grep -qxF "${word##*/}" <<<"$targets" || wrong "there is no target ${word##*/}" ;;
        esac
        previous=$word
    done
    case ${words[0]} in
    ci/*)
        key=${words[0]}
        if [ ! -x "$source/$key" ]; then
            wrong "there is no $key"
            return
        fi
        [[ " ${words[*]:1}" == *" --"* ]] || return 0
        [ -n "${helps[$key]-}" ] || helps[$key]=$("$source/$key" --help)
        has_options "$key" "${words[@]:1}"
        ;;
    heaprig | */heaprig)
        key=${words[1]-}
        case $key in
        '' | --* | [A-Z]*) return ;;
        esac
        [ -n "${helps[$key]-}" ] || helps[$key]=$("$bin/heaprig" "$key" --help 2>/dev/null) || {
            wrong "heaprig has no $key"
            return
        }
        has_options "$key" "${words[@]:2}"
        ;;
    ctest)
        if [[ " ${words[*]} " == *" --preset $preset "* ]]; then
            word=$(sed -n "s/.* -R \([^ ]*\).*/\1/p" <<<"$command" | tr -d "'\\\\")
            ctest --test-dir "$bin/.." -N -R "$word" | grep -q 'Total Tests: [1-9]' || wrong "no test matches $word"
        fi
        ;;
    esac
}

# ---- What they name is there ----------------------------------------------------------------------

while read -r page; do
    commands_of "$page"
done < <(find "$source" -name '*.md' ! -path "$source/build/*" | LC_ALL=C sort) >"$dir/commands"
count=$(wc -l <"$dir/commands")
while IFS=$'\t' read -r file command; do
    look </dev/null
done <"$dir/commands"
[ "$count" -ge 60 ] || {
    echo "docs.sh: $count commands found, expected 60 or more" >&2
    bad=yes
}

# ---- README's are run -----------------------------------------------------------------------------

# Numbers and blanks do not count.
mask() {
    sed -E -e 's/0x[0-9a-f]+/@/g' -e 's/[0-9]+/#/g' -e "s/^ *//" -e 's/ +/ /g' -e 's/ $//'
}

# What README shows below a command: indented lines up to the next command or heading.
shown() {
    awk -v command="$1" '
        on && (/^#/ || /^    build\//) && !/: exit status/ { exit }
        on && /^    / { print }
        index($0, "    " command) == 1 { on = 1 }' "$source/README.md"
}

run_count=0
while IFS=$'\t' read -r file command; do
    if [ "$file" != README.md ] || [[ $command != "build/$preset/bin/"* || $command == *\<* || $command != *\ * ]]; then
        continue
    fi
    # One that is shown with an exit status of 1 ends with 1.
    (cd "$source" && ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 \
        bash -c "${command//build\/$preset\//$build/}" </dev/null >"$dir/out" 2>&1) && status=0 || status=$?
    [ "$status" -le 1 ] || wrong "its exit status is $status: $(tail -n1 "$dir/out")"
    sed "s|$build/|build/$preset/|g" "$dir/out" | mask >"$dir/printed"
    shown "$command" | mask >"$dir/expected"
    # Each line that is shown comes, in this order.
    missing=$(awk -v printed="$dir/printed" '
        $0 == "..." || $0 == "" { next }
        { found = 0
          while (!found && (getline line < printed) > 0) { found = line == $0 }
          if (!found) { print; exit } }' "$dir/expected")
    [ -z "$missing" ] || wrong "does not print (numbers aside): $missing"
    run_count=$((run_count + 1))
done <"$dir/commands"
if [ "$run_count" -lt 2 ]; then
    echo "docs.sh: $run_count of README.md's commands were run, expected 2 or more" >&2
    bad=yes
fi
[ "$bad" = no ] || exit 1
echo "$count commands looked at, $run_count of them run"
