#!/usr/bin/env bash
# Set up, build and run all tests. The last line counts them.
set -euo pipefail

presets_default=(check stress release msan tsan m32)

usage() {
    cat <<TEXT
usage: ci/test.sh [--help] [PRESET...]

Installs what is missing, then configures, builds and tests each preset (default:
${presets_default[*]}). Without any named, what the tests do not reach
of core and faults is compared with core/COVERAGE.md, and a sample of mutants of core follows, five
minutes of it. Exit status: 0 all passed, 1 something failed, 2 bad usage.
TEXT
}

die() {
    printf 'test.sh: %s\n' "$2" >&2
    exit "$1"
}

cd "$(dirname "$0")/.."
known=" $(sed -n '/"workflowPresets"/,$s/^      "name": "\([a-z0-9-]*\)",$/\1/p' CMakePresets.json |
    tr '\n' ' ')"
presets=()
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    *)
        [[ $argument != *[!a-z0-9-]* && $known == *" $argument "* ]] ||
            die 2 "unknown preset '$argument', expected one of:$known"
        presets+=("$argument")
        ;;
    esac
done
if [ ${#presets[@]} -eq 0 ]; then
    presets=("${presets_default[@]}")
fi

parts=(build programs)
for preset in "${presets[@]}"; do
    case $preset in
    release) parts+=(mingw) ;;
    m32 | afl) parts+=("$preset") ;;
    fuzz-tsan) parts+=(clang19) ;;
    *) parts+=(sanitizers) ;;
    esac
done
ci/setup.sh "${parts[@]}"

passed=0
failed=0

# The value of an attribute of the JUnit file's testsuite element, 0 when it is not there.
attribute() {
    local value
    value=$(sed -n "/<testsuite/,/>/s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$2" | head -n1)
    echo "${value:-0}"
}

# A step that must succeed; its output is shown only when it does not.
step() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
}

run_preset() {
    local preset=$1 dir=build/$1 began=$SECONDS tests bad
    mkdir -p "$dir"
    rm -f "$dir/junit.xml"
    if ! step "$dir/configure.log" cmake --preset "$preset"; then
        echo "$preset: configure failed"
        failed=$((failed + 1))
        return
    fi
    if ! step "$dir/build.log" cmake --build --preset "$preset" -- -k 0; then
        echo "$preset: build failed"
        failed=$((failed + 1))
        return
    fi
    echo "$preset: built in $((SECONDS - began)) s"
    began=$SECONDS
    local status=0
    ctest --preset "$preset" --output-junit "$PWD/$dir/junit.xml" || status=$?
    tests=0 bad=0
    if [ -s "$dir/junit.xml" ]; then
        tests=$(attribute tests "$dir/junit.xml")
        bad=$(attribute failures "$dir/junit.xml")
    fi
    # No test run at all is a failure, and so is a ctest that failed without naming a test.
    if [ "$tests" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; }; then
        bad=$((bad + 1))
        tests=$((tests + 1))
    fi
    passed=$((passed + tests - bad))
    failed=$((failed + bad))
    echo "$preset: $((tests - bad)) passed, $bad failed in $((SECONDS - began)) s"
}

for preset in "${presets[@]}"; do
    echo "== $preset"
    run_preset "$preset"
done

# Same input, same transcript: in every build of one word size and one set of constants.
same_transcripts() {
    local preset program lines first='' first_preset='' how
    for preset in check release msan tsan; do
        program=build/$preset/bin/harness_transcript
        if [[ " ${presets[*]} " != *" $preset "* ]]; then
            continue
        fi
        how=()
        if [ "$preset" = msan ] || [ "$preset" = tsan ]; then
            how=(ci/run-sanitized.sh)
        fi
        if ! lines=$("${how[@]}" "$program" child) || [ "$(grep -c . <<<"$lines")" -lt 100 ]; then
            echo "transcripts of $preset: expected a line for each program"
            failed=$((failed + 1))
        elif [ -z "$first" ]; then
            first=$lines first_preset=$preset
        elif [ "$lines" = "$first" ]; then
            echo "transcripts of $first_preset and $preset: the same"
            passed=$((passed + 1))
        else
            echo "transcripts of $first_preset and $preset: different"
            failed=$((failed + 1))
        fi
    done
}
same_transcripts

# A sample of core's mutants, another with each commit. harness/README.md says what the floor is from.
sample_mutants() {
    local log=build/mutants.log began=$SECONDS commit
    echo "== mutants"
    commit=$(git rev-parse HEAD 2>/dev/null) || commit=1
    if ci/planted.sh --mutants --sample 300 --seed "$commit" --floor 80 >"$log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        sed '/^file /,$d' "$log"
    fi
    sed -n '/^file /p; /^all /p' "$log"
    tail -n 2 "$log"
    echo "mutants: $((SECONDS - began)) s"
}

# What of core and faults no test reaches is what core/COVERAGE.md says.
check_cover() {
    local log=build/cover-check.log began=$SECONDS
    echo "== cover"
    mkdir -p build
    if ci/cover.sh --check >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        sed '/^file /,/^total /d' "$log"
    fi
    sed -n '/^file /p; /^total /p' "$log"
    echo "cover: $((SECONDS - began)) s"
}
if [ "${presets[*]}" = "${presets_default[*]}" ]; then
    check_cover
    sample_mutants
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
