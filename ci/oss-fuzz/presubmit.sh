#!/bin/bash
# Copyright the heaprig authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Would OSS-Fuzz's review take these files?
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/oss-fuzz/presubmit.sh [--help] [--final] [DIR]

Checks project.yaml, Dockerfile, build.sh and run_tests.sh in DIR (default: ci/oss-fuzz) by the rules of
OSS-Fuzz's presubmit and by our own: build.sh has 30 lines at most, names no sanitizer and no machine, and
takes nothing from the environment but what services give. --final refuses placeholders too.

Exit status: 0 all is well, 1 something is wrong, 2 bad usage.
TEXT
}

final=no dir=''
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    --final) final=yes ;;
    -*)
        printf "presubmit.sh: unknown option '%s', see --help\n" "$argument" >&2
        exit 2
        ;;
    *) dir=$argument ;;
    esac
done
dir=${dir:-$(dirname "$0")}
if [ ! -f "$dir/project.yaml" ]; then
    printf 'presubmit.sh: %s: expected a folder with project.yaml\n' "$dir" >&2
    exit 2
fi
command -v yamllint >/dev/null || {
    printf 'presubmit.sh: no yamllint here; ci/setup.sh services installs it\n' >&2
    exit 2
}
cd "$dir"

status=0
complain() {
    printf '%s: %s\n' "$1" "$2"
    status=1
}

keys='homepage language primary_contact main_repo sanitizers architectures fuzzing_engines auto_ccs
    vendor_ccs help_url builds_per_day file_github_issue coverage_extra_args base_os_version run_tests labels
    selective_unpack view_restrictions blackbox indexer disabled'
variables='SRC WORK OUT CC CXX CFLAGS CXXFLAGS LIB_FUZZING_ENGINE SANITIZER ARCHITECTURE FUZZING_ENGINE'

# A key's value, or its list's items, one a line, without quotes.
value() {
    awk -v key="$1" '
        /^[a-z_]+:/ { here = $1 == key ":"; sub(/^[^:]*: */, ""); if (here && $0 != "") print; next }
        here && /^ *- / { sub(/^ *- */, ""); print }' project.yaml | tr -d "\"'"
}

# Each of a list is one of the words.
among() {
    local key=$1 item
    while read -r item; do
        if [ -n "$item" ] && [[ " $2 " != *" ${item%%:*} "* ]]; then
            complain project.yaml "$key: $item is none of: $2"
        fi
    done < <(value "$key")
}

check_project() {
    local key email
    yamllint -d '{extends: default, rules: {document-start: disable, line-length: disable}}' -f parsable \
        project.yaml || complain project.yaml "yamllint refuses it"
    while read -r key; do
        if [[ " ${keys//$'\n'/ } " != *" $key "* ]]; then
            complain project.yaml "$key is no key of OSS-Fuzz's"
        fi
    done < <(sed -n 's/^\([A-Za-z0-9_-]*\):.*/\1/p' project.yaml)
    for key in language primary_contact main_repo homepage; do
        [ -n "$(value "$key")" ] || complain project.yaml "has no $key"
    done
    among language 'c'
    among sanitizers 'address memory undefined none'
    among architectures 'x86_64 i386 aarch64'
    among fuzzing_engines 'libfuzzer afl honggfuzz centipede none'
    if [ -n "$(value fuzzing_engines)" ] && ! value fuzzing_engines | grep -qx libfuzzer; then
        complain project.yaml "fuzzing_engines: libfuzzer must be there"
    fi
    [[ $(value builds_per_day) =~ ^[1-4]?$ ]] || complain project.yaml "builds_per_day: 1 to 4"
    while read -r email; do
        [[ $email =~ ^[^@\ ]+@[^@\ ]+\.[^@\ ]+$ ]] || complain project.yaml "'$email' is no mail address"
    done < <(value primary_contact; value auto_ccs; value vendor_ccs)
}

check_dockerfile() {
    local lines base os repo
    [ -f Dockerfile ] || return 0
    lines=$(grep -v '^#' Dockerfile | sed ':a;/\\$/{N;s/\\\n */ /;ba}')
    base=$(sed -n 's/^FROM  *gcr\.io\/oss-fuzz-base\/base-builder\(:[a-z0-9-]*\)\{0,1\}$/base\1/p' <<<"$lines")
    os=$(value base_os_version)
    [ -n "$base" ] || complain Dockerfile "FROM is no gcr.io/oss-fuzz-base/base-builder"
    if [ "$base" != "base${os:+:$os}" ]; then
        complain Dockerfile "FROM is ${base#base:}, base_os_version of project.yaml '$os'"
    fi
    if grep -E '^RUN .*apt-get .*install' <<<"$lines" | grep -qvE '^RUN .*apt-get update.*apt-get .*install'; then
        complain Dockerfile "apt-get install without apt-get update in the same RUN"
    fi
    repo=$(value main_repo)
    if ! grep -q -e '^RUN git clone .*--depth 1 ' <<<"$lines"; then
        complain Dockerfile "no git clone with --depth 1"
    elif ! grep -F 'git clone' <<<"$lines" | grep -qF -e " $repo "; then
        complain Dockerfile "does not clone main_repo of project.yaml, $repo"
    fi
    # shellcheck disable=SC2016 # as it stands there
    grep -qF 'COPY build.sh run_tests.sh $SRC/' <<<"$lines" || complain Dockerfile "does not copy build.sh and run_tests.sh"
    grep -q '^WORKDIR ' <<<"$lines" || complain Dockerfile "has no WORKDIR"
}

check_scripts() {
    local name code known
    for name in build.sh run_tests.sh; do
        [ -f "$name" ] || continue
        [ "$(head -n1 "$name")" = '#!/bin/bash -eu' ] || complain "$name" "does not begin with #!/bin/bash -eu"
        [ -x "$name" ] || complain "$name" "cannot be executed"
        code=$(sed 's/^ *#.*//' "$name")
        if grep -qe '-lFuzzingEngine' <<<"$code"; then
            complain "$name" "-lFuzzingEngine is long gone: LIB_FUZZING_ENGINE"
        fi
        if grep -qE -e '-fsanitize|-march|-mtune|-fuzzer' <<<"$code"; then
            complain "$name" "names a sanitizer or a machine: these come with the environment"
        fi
        known=" $variables $(sed -n 's/^ *\([A-Za-z_]*\)=.*/\1/p' <<<"$code" | tr '\n' ' ')"
        while read -r variable; do
            if [[ $known != *" $variable "* ]]; then
                complain "$name" "\$$variable is not of those that services set"
            fi
        done < <(grep -oE '\$\{?[A-Za-z_]+' <<<"$code" | tr -dc 'A-Za-z_\n' | sort -u)
    done
    if [ -f build.sh ] && [ "$(wc -l <build.sh)" -gt 30 ]; then
        complain build.sh "$(wc -l <build.sh) lines, expected 30 at most"
    fi
}

check_folder() {
    local name
    for name in Dockerfile build.sh run_tests.sh; do
        [ -f "$name" ] || complain "$name" "is missing"
    done
    for name in Dockerfile *.sh *.c *.h *.py; do
        if [ -f "$name" ] && ! grep -q 'http://www.apache.org/licenses/LICENSE-2.0' "$name"; then
            complain "$name" "has no Apache licence in its head"
        fi
    done
    while read -r name; do
        complain "${name#./}" "archives are not taken: seeds are packed by the build"
    done < <(find . -name '*.zip' -o -name '*.tar' -o -name '*.gz' -o -name '*.tgz')
    if [ "$final" = yes ]; then
        while IFS=: read -r name line _; do
            complain "$name" "line $line is a placeholder"
        done < <(grep -nE '^[^#]*(example\.invalid|PLACEHOLDER)' /dev/null project.yaml Dockerfile build.sh run_tests.sh)
    fi
}

check_project
check_folder
check_dockerfile
check_scripts
exit "$status"
