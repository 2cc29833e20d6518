#!/usr/bin/env bash
# What fuzzing services get: files and workflows by their rules, then a build by ci/oss-fuzz/build.sh as a
# service makes it (libFuzzer and ASan), looked at by ci/check-fuzzers.sh.
# usage: services.sh BIN SOURCE
# shellcheck disable=SC2016 # $ is sed's, and the Dockerfile's
set -euo pipefail

source=$2
"$source/ci/setup.sh" build fuzz services

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'services.sh: %s\n' "$1" >&2
    cat "$dir/said" >&2
    exit 1
}

run() {
    local expected=$1 status=0
    shift
    "$@" >"$dir/said" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || fail "$*: exit status $status, expected $expected"
}

says() {
    grep -qE -e "$1" "$dir/said" || fail "expected a line like '$1'"
}

# ---- The files of OSS-Fuzz ------------------------------------------------------------------------------

presubmit=$source/ci/oss-fuzz/presubmit.sh
run 0 "$presubmit"
run 1 "$presubmit" --final
says '^project.yaml: line [0-9]+ is a placeholder'
says '^Dockerfile: line [0-9]+ is a placeholder'
run 2 "$presubmit" --unknown
run 2 "$presubmit" "$dir"
says 'expected a folder with project.yaml'

# refused FILE EXPRESSION LINE: a copy in which sed changed the file is refused, in this line.
refused() {
    rm -rf "$dir/copy"
    mkdir "$dir/copy"
    cp -p "$source"/ci/oss-fuzz/{project.yaml,Dockerfile,build.sh,run_tests.sh} "$dir/copy/"
    sed -i -E "$2" "$dir/copy/$1"
    ! cmp -s "$dir/copy/$1" "$source/ci/oss-fuzz/$1" || fail "sed '$2' changed nothing in $1"
    run 1 "$presubmit" "$dir/copy"
    says "^$1: $3"
}
refused project.yaml '$a owner: nobody' 'owner is no key'
refused project.yaml 's/^language: c/language: cobol/' 'language: cobol is none of'
refused project.yaml '/^main_repo/d' 'has no main_repo'
refused project.yaml '/^primary_contact/d' 'has no primary_contact'
refused project.yaml 's/- memory/- thread/' 'sanitizers: thread is none of'
refused project.yaml 's/- i386/- sparc/' 'architectures: sparc is none of'
refused project.yaml 's/- centipede/- radamsa/' 'fuzzing_engines: radamsa is none of'
refused project.yaml '/- libfuzzer/d' 'fuzzing_engines: libfuzzer must be there'
refused project.yaml '$a builds_per_day: 5' 'builds_per_day: 1 to 4'
refused project.yaml 's/contact@/contact-/' '.* is no mail address'
refused project.yaml '$a  : [' 'yamllint refuses it'
refused Dockerfile '/apache.org/d' 'has no Apache licence'
refused Dockerfile 's/^FROM .*/FROM debian:12/' 'FROM is no '
refused Dockerfile 's/:ubuntu-24-04//' 'FROM is '
refused Dockerfile 's/^RUN apt-get update \&\& .*/RUN true; \\/' 'apt-get install without apt-get update'
refused Dockerfile 's/--depth 1 //' 'no git clone with --depth 1'
refused Dockerfile 's|https://example|https://another|' 'does not clone main_repo'
refused Dockerfile 's/^COPY .*/COPY build.sh $SRC\//' 'does not copy'
refused Dockerfile '/^WORKDIR/d' 'has no WORKDIR'
refused build.sh '/apache.org/d' 'has no Apache licence'
refused build.sh '1s/ -eu//' 'does not begin with'
refused build.sh '$a cc x.c -lFuzzingEngine' '-lFuzzingEngine is long gone'
refused build.sh '$a cc -fsanitize=address x.c' 'names a sanitizer or a machine'
refused build.sh '$a cc -march=native x.c' 'names a sanitizer or a machine'
refused build.sh '$a ls "$HOME"' '.HOME is not of those'
refused build.sh '$a true\ntrue\ntrue\ntrue\ntrue' '[0-9]+ lines, expected 30 at most'
refused run_tests.sh '/apache.org/d' 'has no Apache licence'
touch "$dir/copy/seeds.zip"
run 1 "$presubmit" "$dir/copy"
says '^seeds.zip: archives are not taken'
rm "$dir/copy/run_tests.sh"
run 1 "$presubmit" "$dir/copy"
says '^run_tests.sh: is missing'
chmod -x "$dir/copy/build.sh"
run 1 "$presubmit" "$dir/copy"
says '^build.sh: cannot be executed'

# ---- Workflows --------------------------------------------------------------------------------------------

run 0 "$source/ci/lint.sh"
wrong() {
    sed -E "$1" "$source/.github/workflows/cflite_pr.yml" >"$dir/workflow.yml"
    ! cmp -s "$dir/workflow.yml" "$source/.github/workflows/cflite_pr.yml" || fail "sed '$1' changed nothing"
    run 1 "$source/ci/lint.sh" "$dir/workflow.yml"
    says "workflow.yml:.*$2"
}
wrong 's/^jobs:/jobs: /' 'trailing spaces'
wrong 's/runs-on: .*/runs-on: debian-latest/' 'label "debian-latest" is unknown'
wrong 's/matrix\.sanitizer/matrix.sanitiser/' 'property "sanitiser" is not defined'
wrong 's/timeout-minutes/timeout-hours/' 'unexpected key "timeout-hours"'
wrong 's/^permissions: .*/permissions: write-all/' 'no .permissions: read-all'
wrong 's/fuzzers@v1/fuzzers@0123456789012345678901234567890123456789/' 'a hash without its tag'
wrong 's/fuzzers@v1/fuzzers/' 'an action without a version'
run 2 "$source/ci/lint.sh" "$dir/nothing.yml"

if ! { unshare --mount --propagation private true || unshare --map-root-user --mount --propagation private true; } 2>/dev/null; then
    echo "left out: the build check wants mount namespaces, which this machine does not give"
    exit 0
fi

# ---- A build, as a service makes it -----------------------------------------------------------------------

local=$source/ci/oss-fuzz/local.sh
run 2 "$local"
run 2 "$local" --sanitizer thread "$dir/service"
says "thread': expected one of address"
run 0 "$local" "$dir/service"
cat "$dir/said"
while read -r name _; do
    for file in "$name" "${name}_seed_corpus.zip" "$name.dict" "$name.options"; do
        [ -z "$name" ] || [ -f "$dir/service/out/$file" ] || fail "$file is not in OUT"
    done
done <"$dir/service/work/heaprig/targets.list"
[ "$(wc -l <"$dir/said")" -eq "$(grep -c . "$dir/service/work/heaprig/targets.list")" ] ||
    fail "expected a line a target"

# A seed zip holds the assembled seeds, all of them.
run 0 unzip -qo "$dir/service/out/text_fuzzer_seed_corpus.zip" -d "$dir/seeds"
run 0 diff -r "$dir/service/work/heaprig/corpus/text_fuzzer" "$dir/seeds"
